package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"

	"github.com/doorward/doorward"
	"github.com/doorward/doorward/internal/policy"
)

// manual is the example of the manual, as far as this version speaks it.
const manual = `
listen:
  console: 127.0.0.1:8443
  postgres: 127.0.0.1:15432
store: sqlite:///var/lib/doorward/state.db
recordings: file:///var/lib/doorward/tapes
identity:
  providers:
    - name: corp
      oidc: { issuer: https://idp.example, client_id: doorward, client_secret: { env: OIDC_SECRET }, groups_claim: groups }
    - name: ci
      workload: { issuer: https://ci.example, audience: doorward, subject: claims.sub, groups: ["ci"] }
targets:
  orders-db:
    postgres: { address: db.internal:5432, database: orders, user: doorward, password: { env: ORDERS_PW }, tls: verify-full }
policy:
  rules:
    - name: engineers-read
      who: { groups: [engineers] }          # humans, and agents acting for them
      targets: [orders-db]
      when: effect.read_only
      then: allow
      limits: { rows: 10000, bytes: 64MiB, time: 30s }
    - name: bounded-writes-need-a-yes
      who: { groups: [engineers] }
      targets: [orders-db]
      when: effect.writes && !effect.unbounded
      then: review
      reviewers: { groups: [dba, team-leads], count: 1 }
    - name: no-unbounded-writes
      targets: ["*"]
      when: effect.unbounded
      then: deny
      hint: Add a WHERE clause that names the rows by key.
masking:
  - targets: [orders-db]
    columns: [customers.email, customers.ssn, customers.card]
    operator: partial                       # redact | partial | hash | pseudonym | null | generalise
  - detect: [EMAIL, CREDIT_CARD, US_SSN, IBAN, PHONE, SECRET]
    operator: redact
`

func parse(t testing.TB, text string) *Config {
	t.Helper()
	c, err := Parse("doorward.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestManual(t *testing.T) {
	c := parse(t, manual)
	pg := c.Targets["orders-db"].Postgres
	if pg.Address != "db.internal:5432" || pg.Password.Env != "ORDERS_PW" || pg.TLS != "verify-full" || pg.MaxConnections != DefaultMaxConnections {
		t.Errorf("%+v", pg)
	}
	if c.Review.Wait != 45*time.Second || c.Review.Expiry != time.Hour || c.Review.URL != "https://127.0.0.1:8443" {
		t.Errorf("%+v", c.Review)
	}
	if c.StorePath() != "/var/lib/doorward/state.db" || c.StateDir() != "/var/lib/doorward" || c.Ledger != "/var/lib/doorward/ledger" || c.RecordingsDir() != "/var/lib/doorward/tapes" {
		t.Error(c.StorePath(), c.StateDir(), c.Ledger, c.RecordingsDir())
	}
	if c.Record.ReplyBytes != 256<<10 || c.Record.SessionBytes != 64<<20 {
		t.Errorf("%+v", c.Record)
	}
	r := c.Policy.Rules[0]
	if r.Limits.Rows != 10000 || r.Limits.Bytes != 64<<20 || r.Limits.Time != 30*time.Second || r.Who.Groups[0] != "engineers" {
		t.Errorf("%+v", r)
	}
	o := c.Identity.Providers[0].OIDC
	if o.NameClaim != "email" || !cmp.Equal(o.Audiences, []string{"doorward"}) || len(o.Scopes) != 3 {
		t.Errorf("%+v", o)
	}
	set, err := c.MaskSet(make([]byte, 32))
	if err != nil || set.Column("orders-db", "public", "customers", "email") == "" || set.Column("orders-db", "public", "customers", "name") != "" {
		t.Error("masking", err)
	}
	d := c.CompiledPolicy().Decide(policy.Input{
		Identity: &doorward.Identity{Name: "ada", Groups: []string{"engineers"}}, Target: "orders-db", Protocol: "postgres",
		Effect: &doorward.Effect{Verbs: doorward.VerbRead, Complete: true},
	})
	if d.Outcome != doorward.Allow || d.Limits.Rows != 10000 {
		t.Errorf("%+v", d)
	}
	if w := c.Warnings(); len(w) != 0 {
		t.Errorf("%v", Problems(w))
	}
}

func TestEmpty(t *testing.T) {
	for _, text := range []string{"", "# nothing\n", "---\n", "{}", "null"} {
		c := parse(t, text)
		if c.Listen.Console != DefaultConsole || c.Store != DefaultStore {
			t.Errorf("%q: %+v", text, c)
		}
	}
}

// Each case changes the manual's example; the message must hold the line and
// the words.
func TestProblems(t *testing.T) {
	for name, c := range map[string]struct{ old, new, want string }{
		"unknown key":      {"listen:\n", "lisen:\n", `doorward.yaml:2:1: unknown key "lisen"; did you mean listen?`},
		"unknown key deep": {"      then: allow\n", "      thn: allow\n", `doorward.yaml:22:7: policy.rules[0]: unknown key "thn"; did you mean then?`},
		"nothing like it":  {"store:", "banana:", "known keys are listen, store,"},
		"twice":            {"store: sqlite:///var/lib/doorward/state.db", "store: sqlite:///a\nstore: sqlite:///b", "doorward.yaml:6:1: not YAML: mapping key"},
		"tabs":             {"listen:\n  console", "listen:\n\tconsole", "indent with blanks"},
		"alias":            {`["*"]`, `[*]`, "not YAML"},
		"anchor":           {"[orders-db]\n      when: effect.read_only", "&a [orders-db]\n      when: effect.read_only", "anchors and aliases"},
		"tag":              {"when: effect.unbounded", "when: !effect.unbounded", "doorward.yaml:32:13: policy.rules[2].when: YAML reads a leading ! as a tag; put the text in quotes"},
		"second document":  {"masking:", "---\nmasking:", "second document"},
		"not a list":       {"targets: [orders-db]\n      when: effect.read_only", "targets: orders-db\n      when: effect.read_only", "doorward.yaml:20:16: policy.rules[0].targets: here stands a single value where a list is wanted; write it in brackets"},
		"not a map":        {"who: { groups: [engineers] }  ", "who: engineers  ", "known keys are users, groups, workloads, agents, providers"},
		"list for text":    {"when: effect.read_only", "when: [effect.read_only]", "here stands a list where one value is wanted"},
		"empty entry":      {"[dba, team-leads]", "[dba, ~]", "policy.rules[1].reviewers.groups[1]: an entry of the list is empty"},
		"not a number":     {"rows: 10000", "rows: many", "doorward.yaml:23:23: policy.rules[0].limits.rows: this is not a whole number"},
		"number in quotes": {"rows: 10000", `rows: "10000"`, "without quotes|digits only"},
		"not a size":       {"64MiB", "64 megs", "policy.rules[0].limits.bytes: this is not a size"},
		"not a time":       {"time: 30s", "time: 30", "policy.rules[0].limits.time: this is not a length of time"},
		"plain secret":     {"password: { env: ORDERS_PW }", "password: hunter2", "write { env: NAME }"},
		"two secrets":      {"{ env: ORDERS_PW }", "{ env: ORDERS_PW, file: /x }", "exactly one place"},
		"bad condition":    {"when: effect.read_only", "when: effect.readonly", `doorward.yaml:21:7: policy.rules[0].when: rule "engineers-read": column 7 of the condition: undefined field 'readonly'; did you mean effect.read_only?`},
		"no reviewers":     {"reviewers: { groups: [dba, team-leads], count: 1 }", "reviewers: { count: 1 }", "nobody could say yes"},
		"unknown target":   {"targets: [orders-db]\n      when: effect.read_only", "targets: [order-db]\n      when: effect.read_only", `doorward.yaml:20:17: policy.rules[0].targets[0]: there is no target "order-db"; did you mean orders-db?`},
		"masking target":   {"  - targets: [orders-db]\n", "  - targets: [ordersdb]\n", `masking[0].targets[0]: there is no target "ordersdb"; did you mean orders-db?`},
		"masking operator": {"operator: partial", "operator: partal", "doorward.yaml:36:5: masking[0]: operator"},
		"masking column":   {"[customers.email,", "[email,", "masking[0]"},
		"masking detect":   {"[EMAIL, ", "[EMIAL, ", "masking[1]"},
		"protocol":         {"    postgres: { address", "    postgre: { address", `unknown key "postgre"; did you mean postgres?`},
		"address":          {"db.internal:5432", "db.internal", `targets.orders-db.postgres.address: "db.internal" is not an address; write host:port`},
		"tls":              {"tls: verify-full", "tls: verify", "did you mean verify-ca?|did you mean verify-full?|known are verify-full"},
		"tls prefer":       {"tls: verify-full", "tls: prefer", "never falls back to plain text"},
		"tls disable":      {"tls: verify-full", "tls: disable", "did you mean off?"},
		"client cert":      {"tls: verify-full", "tls: verify-full, client_cert: /x", "comes with its key"},
		"functions":        {"tls: verify-full", "tls: verify-full, functions: [price_of(int)]", "without arguments"},
		"max connections":  {"tls: verify-full", "tls: verify-full, max_connections: -1", "from 1 to 100000"},
		"store":            {"sqlite:///var/lib/doorward/state.db", "mysql://x", "doorward.yaml:5:1: store: this is not a store that doorward knows"},
		"recordings":       {"file:///var/lib/doorward/tapes", "s3://x", "recordings: this is not a place"},
		"same listeners":   {"127.0.0.1:15432", "127.0.0.1:8443", "the console listens here already"},
		"listener":         {"127.0.0.1:15432", "15432", `"15432" is not an address`},
		"plaintext":        {"  postgres: 127.0.0.1:15432", "  postgres: 0.0.0.0:15432\n  plaintext_on_loopback: true", "doorward.yaml:4:3: listen.postgres: plaintext_on_loopback is set, but this is not a loopback address"},
		"two kinds":        {"workload: {", "local: { users: [{ name: a, password: { value: b } }] }\n      workload: {", "exactly one kind"},
		"no kind":          {"      workload: { issuer: https://ci.example, audience: doorward, subject: claims.sub, groups: [\"ci\"] }\n", "", "exactly one kind"},
		"provider name":    {"name: ci", "name: corp", "the name of another provider"},
		"issuer":           {"https://idp.example", "http://idp.example", "by https only"},
		"issuer text":      {"https://idp.example", "idp.example", "not the address of an issuer"},
		"subject":          {"claims.sub", "sub", "write claims.NAME"},
		"client_id":        {"client_id: doorward, ", "", "client_id: this is missing"},
		"an admin glob":    {"identity:\n", "identity:\n  admins: ['*']\n", "identity.admins[0]: this is not the name of one group"},
		"bad wait":         {"store:", "review: { wait: 3h }\nstore:", "review.wait: 3h0m0s is out of range"},
		"bad url":          {"store:", "review: { url: console }\nstore:", "review.url: this is not the address of a console"},
		"who provider":     {"who: { groups: [engineers] }  ", "who: { providers: [crop] }  ", `there is no provider "crop"; did you mean corp?`},
		"tests":            {"masking:", "tests:\n  - { target: orders-db, sql: SELECT 1, expect: alow }\nmasking:", `"alow" is not an outcome`},
		"tests rule":       {"masking:", "tests:\n  - { target: orders-db, sql: SELECT 1, expect: allow, rule: x }\nmasking:", `there is no rule "x"`},
		"cert":             {"store:", "tls: { cert: /x }\nstore:", "set tls.key too"},
		"record":           {"store:", "record: { reply_bytes: 1GiB }\nstore:", "larger than its whole session"},
		"target name":      {"  orders-db:\n", "  \"orders db\":\n", "letters, digits"},
		"bool":             {"  postgres: 127.0.0.1:15432", "  plaintext_on_loopback: yes", "neither true nor false"},
		"deep":             {"when: effect.read_only", "when: " + strings.Repeat("[", 400), "nested more than"},
		"deeper":           {"when: effect.read_only", "when:\n        " + strings.Repeat("- ", 400) + "x", "nested more than"},
	} {
		t.Run(name, func(t *testing.T) {
			text := strings.Replace(manual, c.old, c.new, 1)
			if text == manual {
				t.Fatal("the case changes nothing")
			}
			_, err := Parse("doorward.yaml", []byte(text))
			var ps Problems
			if !errors.As(err, &ps) {
				t.Fatalf("no problem: %v", err)
			}
			found := false
			for _, want := range strings.Split(c.want, "|") {
				found = found || strings.Contains(err.Error(), want)
			}
			if !found {
				t.Errorf("got:  %v\nwant: %s", err, c.want)
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Error("the message shows a secret")
			}
			for _, p := range ps {
				if p.File == "" || p.Line == 0 && !strings.Contains(p.Msg, "bytes") {
					t.Errorf("without a place: %v", p)
				}
			}
		})
	}
}

func TestManyProblemsAtOnce(t *testing.T) {
	text := strings.NewReplacer("then: allow", "thn: allow", "rows: 10000", "rows: x", "env: ORDERS_PW", "evn: ORDERS_PW").Replace(manual)
	_, err := Parse("f", []byte(text))
	var ps Problems
	if !errors.As(err, &ps) || len(ps) != 3 {
		t.Fatalf("%v", err)
	}
	for i := 1; i < len(ps); i++ {
		if ps[i].Line < ps[i-1].Line {
			t.Error("not in the order of the file")
		}
	}
	var b strings.Builder
	b.WriteString("policy: { rules: [")
	for range 500 {
		b.WriteString("{ nmae: x },")
	}
	b.WriteString("] }")
	_, err = Parse("f", []byte(b.String()))
	if n := strings.Count(err.Error(), "\n"); n > maxProblem {
		t.Errorf("%d lines", n)
	}
}

func TestTooLarge(t *testing.T) {
	if _, err := Parse("f", []byte("# "+strings.Repeat("x", maxFile))); err == nil {
		t.Error("taken")
	}
}

func TestScalars(t *testing.T) {
	c := parse(t, `
targets: { app: { postgres: { address: "h:1", database: 007, user: true, tls: off } } }
policy:
  rules:
    - name: 12
      targets: [app]
      when: true
      then: allow
      limits: { rows: 1_000, bytes: 4096 }
    - name: folded
      targets: ["*"]
      when: >-
        effect.writes
        && effect.unbounded
      hint: |
        two
        lines
      then: deny
`)
	pg := c.Targets["app"].Postgres
	if pg.Database != "007" || pg.User != "true" || pg.TLS != "off" {
		t.Errorf("%+v", pg)
	}
	r := c.Policy.Rules
	if r[0].Name != "12" || r[0].When != "true" || r[0].Limits.Rows != 1000 || r[0].Limits.Bytes != 4096 || r[1].When != "effect.writes && effect.unbounded" || r[1].Hint != "two\nlines\n" {
		t.Errorf("%+v", r)
	}
}

func TestSecret(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "pw")
	if err := os.WriteFile(file, []byte("from-file\r\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("DOORWARD_TEST_SECRET", "from-env")
	for s, want := range map[Secret]string{
		{Env: "DOORWARD_TEST_SECRET"}: "from-env", {File: file}: "from-file", {Value: "from-value"}: "from-value", {}: "",
	} {
		got, err := s.Resolve()
		if err != nil || got != want {
			t.Errorf("%v: %q, %v", s, got, err)
		}
		if want == "" {
			continue
		}
		j, err := json.Marshal(map[string]any{"s": s, "c": Config{Targets: map[string]Target{"a": {Postgres: &PostgresTarget{Password: s}}}}})
		if err != nil {
			t.Fatal(err)
		}
		y, err := yaml.Marshal(map[string]any{"s": s})
		if err != nil {
			t.Fatal(err)
		}
		var log strings.Builder
		slog.New(slog.NewTextHandler(&log, nil)).Info("x", "s", s, "t", PostgresTarget{Password: s})
		for _, out := range []string{fmt.Sprint(s), fmt.Sprintf("%+v %#v %q %s", s, s, s, s), fmt.Sprintf("%+v", PostgresTarget{Password: s}), string(j), string(y), log.String()} {
			if strings.Contains(out, want) {
				t.Errorf("shown: %s", out)
			}
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "empty"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "big"), make([]byte, maxSecret+1), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, s := range []Secret{{Env: "DOORWARD_TEST_NO_SUCH"}, {File: filepath.Join(dir, "none")}, {File: filepath.Join(dir, "empty")}, {File: filepath.Join(dir, "big")}, {File: dir}} {
		if v, err := s.Resolve(); err == nil {
			t.Errorf("%v is %q", s, v)
		}
	}
}

func TestEnvironment(t *testing.T) {
	const text = `
targets:
  app:
    postgres: { address: "env:DOORWARD_TEST_ADDRESS", database: "env:DOORWARD_TEST_DB", user: app, password: { env: DOORWARD_TEST_PW } }
`
	t.Setenv("DOORWARD_TEST_ADDRESS", "")
	t.Setenv("DOORWARD_TEST_DB", "orders")
	t.Setenv("DOORWARD_TEST_PW", "")
	c := parse(t, text)
	if got := c.Targets["app"].Postgres.Database; got != "orders" {
		t.Errorf("database %q", got)
	}
	err := c.Ready()
	if err == nil || !strings.Contains(err.Error(), "DOORWARD_TEST_ADDRESS") || !strings.Contains(err.Error(), "DOORWARD_TEST_PW") || strings.Contains(err.Error(), "DOORWARD_TEST_DB") {
		t.Errorf("%v", err)
	}
	t.Setenv("DOORWARD_TEST_ADDRESS", "10.0.0.1:5432")
	t.Setenv("DOORWARD_TEST_PW", "x")
	c = parse(t, text)
	if c.Targets["app"].Postgres.Address != "10.0.0.1:5432" {
		t.Error(c.Targets["app"].Postgres.Address)
	}
	if err := c.Ready(); err != nil {
		t.Error(err)
	}
	t.Setenv("DOORWARD_TEST_ADDRESS", "nonsense")
	if _, err := Parse("f", []byte(text)); err == nil {
		t.Error("an address that is none is taken from the environment")
	}
}

func TestVersionCoversMasking(t *testing.T) {
	a := parse(t, manual)
	same := parse(t, "# a comment\n"+strings.Replace(manual, "127.0.0.1:8443", "127.0.0.1:9443", 1))
	if a.CompiledPolicy().Version() != same.CompiledPolicy().Version() {
		t.Error("a listener changes the version of the policy")
	}
	for _, r := range [][2]string{{"operator: partial", "operator: redact"}, {"rows: 10000", "rows: 10001"}, {"tls: verify-full", "tls: verify-full, functions: [f]"}} {
		b := parse(t, strings.Replace(manual, r[0], r[1], 1))
		if a.CompiledPolicy().Version() == b.CompiledPolicy().Version() {
			t.Errorf("%s does not change the version", r[1])
		}
	}
}

func TestWarnings(t *testing.T) {
	c := parse(t, `
listen: { console: "0.0.0.0:8443" }
identity: { providers: [{ name: local, local: { users: [{ name: ada, password: { value: x }, groups: [engineers] }] } }] }
targets:
  a: { postgres: { address: "db:5432", database: a, user: a, password: { value: x }, tls: off } }
  b: { postgres: { address: "127.0.0.1:5432", database: a, user: a, tls: off } }
policy:
  rules:
    - { name: r, targets: [a], then: allow }
    - { name: s, targets: [a], then: review, reviewers: { groups: [dba], self_approval: true } }
`)
	text := Problems(c.Warnings()).Error()
	for _, want := range []string{"not encrypted", "a password stands in the file", "targets.b: no rule lets anybody", "without any limit", `nobody is in group "dba"`, "approve what they", "set review.url"} {
		if !strings.Contains(text, want) {
			t.Errorf("no warning %q in:\n%s", want, text)
		}
	}
}
