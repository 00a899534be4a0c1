package cli

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

const policyConfig = `
targets:
  app:
    postgres: { address: "h:1", database: d, user: u, functions: [price_of] }
policy:
  rules:
    - name: reads
      who: { groups: [engineers] }
      targets: [app]
      when: effect.read_only
      then: allow
    - name: writes
      who: { groups: [engineers] }
      targets: [app]
      when: effect.writes && !effect.unbounded
      then: review
      reviewers: { groups: [dba] }
    - name: no-unbounded-writes
      targets: ["*"]
      when: effect.unbounded
      then: deny
      hint: Add a WHERE clause.
masking:
  - targets: [app]
    columns: [customers.email]
    operator: redact
`

const policySchema = `
CREATE TABLE public.customers (id int PRIMARY KEY, name text, email text);
CREATE TABLE public.orders (id int PRIMARY KEY, customer_id int, total numeric);
`

// policyFiles writes the two files and gives their paths.
func policyFiles(t *testing.T) (dir, config, schema string) {
	t.Helper()
	dir = t.TempDir()
	config, schema = filepath.Join(dir, "doorward.yaml"), filepath.Join(dir, "schema.sql")
	for path, text := range map[string]string{config: policyConfig, schema: policySchema} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir, config, schema
}

// policyRun runs a command line as the program would.
func policyRun(t *testing.T, stdin string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	var root struct {
		Policy PolicyCmd `cmd:""`
		Config ConfigCmd `cmd:""`
	}
	var out, errs bytes.Buffer
	k, err := kong.New(&root, kong.Name("doorward"), kong.Writers(&out, &errs))
	if err != nil {
		t.Fatal(err)
	}
	ctx, err := k.Parse(args)
	if err != nil {
		return "", err.Error(), CodeUsage
	}
	err = ctx.Run(&Env{Stdin: strings.NewReader(stdin), Stdout: &out, Stderr: &errs})
	if err != nil {
		errs.WriteString(err.Error())
	}
	return out.String(), errs.String(), exitCode(err)
}

func TestPolicyEval(t *testing.T) {
	_, config, schema := policyFiles(t)
	input := strings.Join([]string{
		`{"id": "read", "sql": "SELECT id, name FROM customers"}`,
		`{"id": 2, "sql": "SELECT id, email FROM customers"}`,
		``,
		`{"id": "compare", "sql": "SELECT id FROM customers WHERE email LIKE 'a%'"}`,
		`{"id": "write", "sql": "UPDATE orders SET total = 1 WHERE id = 3"}`,
		`{"id": "all", "sql": "DELETE FROM orders"}`,
		`{"id": "two", "sql": "SELECT 1; DELETE FROM orders"}`,
		`{"id": "broken", "sql": "SELEC 1"}`,
		`{"id": "redis", "redis": ["GET", "k"]}`,
		`{"id": "both", "redis": ["GET", "k"], "sql": "SELECT 1"}`,
		`{"id": "none"}`,
		`{"id": "number", "sql": 1}`,
		`[]`,
		`{"id": "last", "sql": "SELECT 1"}`,
	}, "\n")
	stdout, stderr, code := policyRun(t, input, "policy", "eval", "--config", config, "--schema", schema, "--target", "app", "--user", "ada", "--groups", "engineers,x", "--agent", "codex")
	if code != 0 || stderr != "" {
		t.Fatalf("exit code %d: %s", code, stderr)
	}
	type answer struct {
		ID       any
		Decision string
		Rule     string
		Reason   string
		Effect   map[string]any
		Masks    []string
	}
	var got []answer
	lines := bufio.NewScanner(strings.NewReader(stdout))
	for lines.Scan() {
		var keys map[string]json.RawMessage
		var a answer
		if err := errors.Join(json.Unmarshal(lines.Bytes(), &keys), json.Unmarshal(lines.Bytes(), &a)); err != nil {
			t.Fatalf("%s: %v", lines.Text(), err)
		}
		for _, k := range []string{"decision", "rule", "reason", "effect", "masks"} {
			if _, ok := keys[k]; !ok {
				t.Errorf("no %q in %s", k, lines.Text())
			}
		}
		if string(keys["masks"]) == "null" || a.Reason == "" {
			t.Errorf("null or empty in %s", lines.Text())
		}
		got = append(got, a)
	}
	want := []struct {
		id                     any
		decision, rule, reason string
		masks                  string
	}{
		{"read", "allow", "reads", "", ""},
		{2.0, "allow", "reads", "", "public.customers.email"},
		{"compare", "deny", "", "public.customers.email", "public.customers.email"},
		{"write", "review", "writes", "dba", ""},
		{"all", "deny", "no-unbounded-writes", "", ""},
		{"two", "deny", "no-unbounded-writes", "", ""},
		{"broken", "deny", "", "", ""},
		{"redis", "deny", "", "protocol not supported yet", ""},
		{"both", "deny", "", "two requests", ""},
		{"none", "deny", "", "no text", ""},
		{"number", "deny", "", "no text", ""},
		{nil, "deny", "", "not a JSON object", ""},
		{"last", "allow", "reads", "", ""},
	}
	if len(got) != len(want) {
		t.Fatalf("%d answers:\n%s", len(got), stdout)
	}
	for i, w := range want {
		g := got[i]
		if g.ID != w.id || g.Decision != w.decision || g.Rule != w.rule || !strings.Contains(g.Reason, w.reason) || strings.Join(g.Masks, " ") != w.masks {
			t.Errorf("%v: %+v, want %+v", w.id, g, w)
		}
	}
	if verbs, _ := json.Marshal(got[0].Effect["verbs"]); string(verbs) != `["read"]` {
		t.Errorf("effect: %v", got[0].Effect)
	}
}

func TestPolicyEvalStranger(t *testing.T) {
	_, config, schema := policyFiles(t)
	stdout, _, code := policyRun(t, `{"id":1,"sql":"SELECT 1"}`, "policy", "eval", "-c", config, "--schema", schema, "--target", "app", "--user", "eve")
	if code != 0 || !strings.Contains(stdout, `"decision":"deny"`) || !strings.Contains(stdout, "Nothing on app is open to you") {
		t.Errorf("%d: %s", code, stdout)
	}
}

func TestPolicyUsage(t *testing.T) {
	dir, config, schema := policyFiles(t)
	bad := filepath.Join(dir, "bad.yaml")
	if err := os.WriteFile(bad, []byte(strings.Replace(policyConfig, "then: allow", "thn: allow", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"policy", "eval", "-c", config, "--target", "ap", "--user", "a"}, "did you mean app?"},
		{[]string{"policy", "eval", "-c", config, "--target", "app"}, "--user"},
		{[]string{"policy", "eval", "--target", "app", "--user", "a"}, "--config"},
		{[]string{"policy", "eval", "-c", config, "--target", "app", "--user", "a", "--schema", dir + "/none"}, "schema"},
		{[]string{"policy", "eval", "-c", config, "--target", "app", "--user", "a", "--now", "noon"}, "is not a time"},
		{[]string{"policy", "eval", "-c", bad, "--target", "app", "--user", "a"}, `bad.yaml:11:7: policy.rules[0]: unknown key "thn"; did you mean then?`},
		{[]string{"policy", "check", "-c", bad}, "did you mean then?"},
		{[]string{"config", "check", bad}, "did you mean then?"},
		{[]string{"config", "check", dir + "/none.yaml"}, "no such file"},
		{[]string{"policy", "test", "-c", config, "--schema", schema}, "there are no cases"},
		{[]string{"policy", "who-can", "-c", config, "--target", "app", "--effect", "destroy"}, "write one of read, create"},
		{[]string{"policy", "who-can", "-c", config, "--target", "x", "--effect", "read"}, "there is no target"},
	} {
		_, stderr, code := policyRun(t, "", c.args...)
		if code != CodeUsage || !strings.Contains(stderr, c.want) {
			t.Errorf("%v: exit code %d: %s", c.args, code, stderr)
		}
	}
}

func TestConfigCheck(t *testing.T) {
	_, config, _ := policyFiles(t)
	stdout, stderr, code := policyRun(t, "", "config", "check", config)
	if code != 0 || !strings.HasPrefix(stdout, "right: 1 target, 3 rules, 1 masking rule (policy ") || !strings.Contains(stderr, "warning: ") {
		t.Errorf("%d: %s%s", code, stdout, stderr)
	}
	stdout, _, code = policyRun(t, "", "policy", "check", "-c", config, "--json")
	var a struct {
		OK       bool
		Version  string
		Rules    int
		Warnings []problemJSON
	}
	if err := json.Unmarshal([]byte(stdout), &a); err != nil || code != 0 || !a.OK || a.Rules != 3 || len(a.Version) != 64 || len(a.Warnings) == 0 || a.Warnings[0].Line == 0 {
		t.Errorf("%d, %v: %s", code, err, stdout)
	}
	if err := os.WriteFile(config, []byte("stroe: x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	stdout, _, code = policyRun(t, "", "config", "check", config, "--json")
	if code != CodeUsage || !strings.Contains(stdout, `"ok":false`) || !strings.Contains(stdout, `"hint":"did you mean store?"`) || !strings.Contains(stdout, `"line":1`) {
		t.Errorf("%d: %s", code, stdout)
	}
}

func TestPolicyTest(t *testing.T) {
	dir, config, _ := policyFiles(t)
	beside := filepath.Join(dir, "doorward.test.yaml")
	write := func(text string) {
		if err := os.WriteFile(beside, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const good = `
schema: schema.sql
tests:
  - { target: app, as: { user: ada, groups: [engineers] }, sql: SELECT email FROM customers, expect: allow, rule: reads, masks: [public.customers.email] }
  - { target: app, as: { user: ada }, sql: SELECT email FROM customers, expect: deny }
  - { target: app, as: { user: ada, groups: [engineers], agent: codex }, sql: DELETE FROM orders WHERE id = 1, expect: review, rule: writes }
`
	write(good)
	stdout, stderr, code := policyRun(t, "", "policy", "test", "-c", config)
	if code != 0 || stdout != "all as expected: 3 cases\n" {
		t.Errorf("%d: %s%s", code, stdout, stderr)
	}
	write(good + "  - { name: wrong, target: app, as: { user: ada, groups: [engineers] }, sql: DELETE FROM orders, expect: review }\n" +
		"  - { target: app, as: { user: ada, groups: [engineers] }, sql: SELECT id FROM customers, expect: allow, masks: [public.customers.email] }\n" +
		"  - { target: app, as: { user: ada, groups: [engineers] }, sql: SELECT id FROM customers, expect: allow, rule: writes }\n")
	stdout, stderr, code = policyRun(t, "", "policy", "test", "-c", config)
	if code != CodeError || !strings.Contains(stdout, "doorward.test.yaml:7: wrong: expected review, is deny") || !strings.Contains(stdout, "(rule no-unbounded-writes)") ||
		!strings.Contains(stdout, "to be masked") || !strings.Contains(stdout, "expected rule writes to decide") || !strings.Contains(stderr, "3 of 6 cases") {
		t.Errorf("%d: %s%s", code, stdout, stderr)
	}
	stdout, _, code = policyRun(t, "", "policy", "test", "-c", config, "--json")
	if n := strings.Count(stdout, "\n"); n != 6 || code != CodeError || !strings.Contains(stdout, `"ok":false`) {
		t.Errorf("%d, %d lines: %s", code, n, stdout)
	}
}

func TestPolicyWhoCan(t *testing.T) {
	_, config, _ := policyFiles(t)
	stdout, _, code := policyRun(t, "", "policy", "who-can", "-c", config, "--target", "app", "--effect", "delete")
	for _, want := range []string{"deny", "everybody", "no-unbounded-writes", "review", "group engineers", "yes from dba"} {
		if !strings.Contains(stdout, want) {
			t.Errorf("no %q in\n%s", want, stdout)
		}
	}
	if code != 0 || strings.Contains(stdout, "reads") {
		t.Errorf("%d:\n%s", code, stdout)
	}
	stdout, _, _ = policyRun(t, "", "policy", "who-can", "-c", config, "--target", "app", "--effect", "execute", "--json")
	var list []struct{ Rule, Decision string }
	if err := json.Unmarshal([]byte(stdout), &list); err != nil || len(list) == 0 {
		t.Errorf("%v: %s", err, stdout)
	}
}

const hostConfig = `
targets:
  host:
    ssh: { address: "h:22", user: deploy, users: [root], password: { env: HOST_PASSWORD }, host_keys: ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f"] }
  db:
    postgres: { address: "h:1", database: d, user: u }
policy:
  rules:
    - name: look
      targets: [host]
      commands: [uptime, "tail -n {1..1000} /var/log/{name}.log"]
      words: { name: "[a-z]+" }
      then: allow
    - name: logs
      targets: [host]
      when: effect.read_only
      objects: ["file:/var/log/*"]
      then: allow
    - name: restart
      targets: [host]
      commands: [systemctl restart app]
      then: review
      reviewers: { groups: [sre] }
tests:
  - { target: host, as: { user: ada }, ssh: exec uptime, expect: allow, rule: look }
  - { target: host, as: { user: ada }, ssh: "exec uptime; id", expect: deny }
  - { target: host, as: { user: ada }, ssh: "as \"root\"\nexec systemctl restart app", expect: review }
  - { target: db, as: { user: ada }, sql: SELECT 1, expect: deny }
`

func TestPolicyEvalSSH(t *testing.T) {
	config := filepath.Join(t.TempDir(), "doorward.yaml")
	if err := os.WriteFile(config, []byte(hostConfig), 0o600); err != nil {
		t.Fatal(err)
	}
	for line, want := range map[string]string{
		`{"exec": "uptime"}`:                                           "allow look",
		`{"exec": "uptime", "env": {"LANG": "C"}}`:                     "allow look",
		`{"exec": "uptime", "env": {"PAGER": "sh"}}`:                   "deny  not let through",
		`{"exec": "uptime", "account": "root"}`:                        "allow look",
		`{"exec": "uptime", "account": "mallory"}`:                     "deny  no account",
		`{"exec": "uptime", "pty": true}`:                              "deny ",
		`{"exec": "tail -n 5 /var/log/x.log"}`:                         "allow look",
		`{"exec": "tail -n 5 /var/log/x.log; id"}`:                     "deny ",
		`{"exec": "systemctl restart app"}`:                            "review restart",
		`{"exec": ""}`:                                                 "deny  empty",
		`{"exec": "uptime\u0000"}`:                                     "deny  NUL",
		`{"shell": true}`:                                              "deny ",
		`{"subsystem": "sftp"}`:                                        "allow logs",
		`{"subsystem": "netconf"}`:                                     "deny ",
		`{"forward": "127.0.0.1:22"}`:                                  "deny ",
		`{"forward": "[::1]:22"}`:                                      "deny ",
		`{"forward": "127.0.0.1"}`:                                     "deny  not host:port",
		`{"file": {"op": "read", "path": "/var/log/x"}}`:               "allow logs",
		`{"file": {"op": "read", "path": "/var/log/../x"}}`:            "deny  not absolute and clean",
		`{"file": {"op": "write", "path": "/var/log/x", "flags": []}}`: "deny ",
		`{"exec": "uptime", "shell": true}`:                            "deny  one of",
		`{}`:                                                           "deny  one of",
		`{"exec": "uptime", "envs": {}}`:                               "deny  unknown field",
		`"exec uptime"`:                                                "deny  not a request",
		`null`:                                                         "deny  one of",
	} {
		stdout, stderr, code := policyRun(t, `{"id": 1, "ssh": `+line+"}\n", "policy", "eval", "--config", config, "--target", "host", "--user", "ada")
		var a policyAnswer
		if err := json.Unmarshal([]byte(stdout), &a); code != 0 || err != nil {
			t.Fatalf("%s: exit code %d: %s%s", line, code, stdout, stderr)
		}
		wantDecision, rest, _ := strings.Cut(want, " ")
		rule, reason, _ := strings.Cut(rest, " ")
		if a.Decision != wantDecision || a.Rule != rule || !strings.Contains(a.Reason, reason) {
			t.Errorf("%s: %s", line, stdout)
		}
	}
	for target, line := range map[string]string{"db": `{"ssh": {"exec": "uptime"}}`, "host": `{"sql": "SELECT 1"}`} {
		stdout, _, _ := policyRun(t, line, "policy", "eval", "--config", config, "--target", target, "--user", "ada")
		if !strings.Contains(stdout, `"deny"`) || !strings.Contains(stdout, "does not speak") {
			t.Errorf("%s on %s: %s", line, target, stdout)
		}
	}
	stdout, _, _ := policyRun(t, `{"sql": "SELECT 1", "ssh": {"exec": "uptime"}}`, "policy", "eval", "--config", config, "--target", "host", "--user", "ada")
	if !strings.Contains(stdout, "two requests") {
		t.Error(stdout)
	}
	stdout, stderr, code := policyRun(t, "", "policy", "test", "--config", config)
	if code != 0 || !strings.Contains(stdout, "4 cases") {
		t.Errorf("policy test: %d %s%s", code, stdout, stderr)
	}
	stdout, _, _ = policyRun(t, "", "policy", "who-can", "--config", config, "--target", "host", "--effect", "execute")
	if !strings.Contains(stdout, "only the commands uptime; tail -n {1..1000} /var/log/{name}.log") {
		t.Error(stdout)
	}
	for bad, want := range map[string]string{
		"ssh: exec uptime, expect: allow, rule: look": "ssh: uptime, expect: allow",
		"ssh: \"exec uptime; id\"":                    "ssh: exec uptime, sql: SELECT 1",
	} {
		if err := os.WriteFile(config, []byte(strings.Replace(hostConfig, bad, want, 1)), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, stderr, code := policyRun(t, "", "policy", "check", "--config", config); code == 0 || !strings.Contains(stderr, "tests[") {
			t.Errorf("%s: %d %s", want, code, stderr)
		}
	}
}
