package cli

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/doorward/doorward"
	"github.com/doorward/doorward/internal/classify/postgres"
	"github.com/doorward/doorward/internal/config"
	"github.com/doorward/doorward/internal/policy"
)

// PolicyCmd groups the commands about the policy.
type PolicyCmd struct {
	Check  PolicyCheckCmd  `cmd:"" help:"Check the policy of configuration files."`
	Test   PolicyTestCmd   `cmd:"" help:"Run the cases that stand in the configuration or beside it."`
	Eval   PolicyEvalCmd   `cmd:"" help:"Say what would be decided about requests, one JSON object a line."`
	WhoCan PolicyWhoCanCmd `cmd:"" name:"who-can" help:"List who could do something to a target, and by which rule."`
}

// PolicyCheckCmd checks the policy.
type PolicyCheckCmd struct {
	Config []string `short:"c" required:"" sep:"none" placeholder:"FILE" help:"Configuration file; may be given several times."`
	JSON   bool     `help:"Print JSON."`
}

// Help is shown by --help.
func (*PolicyCheckCmd) Help() string {
	return `The same as "doorward config check".

Example:
  doorward policy check --config doorward.yaml`
}

// Run checks the files.
func (c *PolicyCheckCmd) Run(env *Env) error { return checkFiles(env, c.Config, false, c.JSON) }

// judge reads requests and decides about them, without a server.
type judge struct {
	cfg      *config.Config
	target   string
	protocol string
	reader   *postgres.Reader
	env      *postgres.Env
	host     *config.SSHTarget
	cluster  *config.KubernetesTarget
	service  *config.HTTPTarget
	now      time.Time
}

// maxSchema bounds a schema file.
const maxSchema = 64 << 20

func loadSchema(path string) (*postgres.Catalog, error) {
	if path == "" {
		return nil, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, exitf(CodeUsage, "the schema cannot be read: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxSchema+1))
	if err != nil {
		return nil, exitf(CodeUsage, "the schema cannot be read: %w", err)
	}
	if len(b) > maxSchema {
		return nil, exitf(CodeUsage, "the schema %s has more than %d bytes; make it with pg_dump --schema-only", path, maxSchema)
	}
	catalog, err := postgres.CatalogFromDDL(string(b))
	if err != nil {
		return nil, exitf(CodeUsage, "the schema %s cannot be understood: %w", path, err)
	}
	return catalog, nil
}

func newJudge(cfg *config.Config, target string, catalog *postgres.Catalog, now time.Time) (*judge, error) {
	t, ok := cfg.Targets[target]
	if !ok {
		var names []string
		for n := range cfg.Targets {
			names = append(names, n)
		}
		slices.Sort(names)
		hint := "targets are " + strings.Join(names, ", ")
		if hit := policy.Closest(target, names); hit != "" {
			hint = "did you mean " + hit + "?"
		}
		return nil, exitf(CodeUsage, "there is no target %q; %s", target, hint)
	}
	key := make([]byte, 32) // values are not masked here, only named
	masks, err := cfg.MaskSet(key)
	if err != nil {
		return nil, exitf(CodeUsage, "%w", err)
	}
	j := &judge{cfg: cfg, target: target, protocol: t.Protocol(), host: t.SSH, cluster: t.Kubernetes, service: t.HTTP, now: now}
	if t.Postgres != nil {
		j.reader = postgres.NewReader(64 << 20)
		j.env = &postgres.Env{
			Catalog:   catalog,
			Functions: t.Postgres.Functions,
			Masked: func(schema, table, column string) string {
				return masks.Column(target, schema, table, column)
			},
			Key: target,
		}
	}
	return j, nil
}

// sql gives the decision, and the effect; nil when the text was not understood.
func (j *judge) sql(id *doorward.Identity, text string) (doorward.Decision, *doorward.Effect) {
	if j.reader == nil {
		return j.refuse("target "+j.target+" does not speak SQL", "")
	}
	reading, err := j.reader.Read(text, j.env, nil)
	if err != nil {
		return j.refuse(err.Error(), "")
	}
	return j.cfg.CompiledPolicy().Decide(policy.Input{Identity: id, Target: j.target, Protocol: j.protocol, Effect: &reading.Effect, Now: j.now}), &reading.Effect
}

// asker is who asks, as flags say it.
type asker struct {
	User     string   `required:"" help:"Name of the person, or of the workload."`
	Groups   []string `placeholder:"GROUP,..." help:"Groups of the user."`
	Agent    string   `help:"The agent that acts for the user."`
	Provider string   `help:"The identity provider that vouches for the user; default: the only one in the configuration."`
	Workload bool     `help:"The user is a workload."`
}

func (a *asker) identity(cfg *config.Config) *doorward.Identity {
	provider := a.Provider
	if ps := cfg.Identity.Providers; provider == "" && len(ps) == 1 {
		provider = ps[0].Name
	}
	return &doorward.Identity{Subject: provider + ":" + a.User, Name: a.User, Provider: provider, Groups: a.Groups, Agent: a.Agent, Workload: a.Workload}
}

// PolicyEvalCmd decides about requests that come as JSON lines.
type PolicyEvalCmd struct {
	Config []string `short:"c" required:"" sep:"none" placeholder:"FILE" help:"Configuration file; may be given several times."`
	Target string   `required:"" help:"Name of the target."`
	Schema string   `placeholder:"FILE" help:"SQL file with the target's schema (pg_dump --schema-only): names are resolved by it."`
	Now    string   `placeholder:"TIME" help:"Decide as if it were this time (RFC 3339)."`
	asker  `embed:""`
}

// Help is shown by --help.
func (*PolicyEvalCmd) Help() string {
	return `Reads JSON lines {"id", "sql"}, {"id", "ssh"}, {"id", "kubernetes"} or
{"id", "http"} from standard input and prints one JSON line for each, in the same
order. Needs no server.

  {"id", "ssh": {"exec": "uptime", "env": {"LANG": "C"}, "account": "root", "pty": true}}
  {"id", "ssh": {"shell": true}}      {"id", "ssh": {"subsystem": "sftp"}}
  {"id", "ssh": {"forward": "host:port"}}
  {"id", "ssh": {"file": {"op": "read", "path": "/var/log/app.log"}}}
  {"id", "kubernetes": {"method": "GET", "target": "/api/v1/namespaces/dev/pods",
    "headers": {"Accept": "application/json"}, "body": "…"}}
  {"id", "http": {"method": "POST", "target": "/api/v1/orders?dry=1",
    "headers": {"Content-Type": "application/json"}, "body": "…"}}

The answers:

  {"id", "decision": "allow"|"review"|"deny", "rule", "reason", "effect", "masks"}

Example:
  echo '{"id": 1, "sql": "DELETE FROM orders"}' |
    doorward policy eval --config doorward.yaml --target orders-db \
      --user ada --groups engineers --schema schema.sql`
}

// evalKeys are the keys of requests to targets of other protocols.
var evalKeys = []string{"redis", "mongo", "mysql", "mcp"}

type policyAnswer struct {
	ID       json.RawMessage   `json:"id,omitempty"`
	Decision string            `json:"decision"`
	Rule     string            `json:"rule"`
	Reason   string            `json:"reason"`
	Hint     string            `json:"hint,omitempty"`
	Effect   *doorward.Summary `json:"effect"`
	Masks    []string          `json:"masks"`
}

// maxRequestLine bounds one line of input.
const maxRequestLine = 16 << 20

// Run reads to the end of the input.
func (c *PolicyEvalCmd) Run(env *Env) error {
	cfg, err := loadConfig(c.Config)
	if err != nil {
		return err
	}
	now := time.Now()
	if c.Now != "" {
		if now, err = time.Parse(time.RFC3339, c.Now); err != nil {
			return exitf(CodeUsage, "--now %q is not a time; write it as in 2026-01-31T09:30:00Z", c.Now)
		}
	}
	catalog, err := loadSchema(c.Schema)
	if err != nil {
		return err
	}
	j, err := newJudge(cfg, c.Target, catalog, now)
	if err != nil {
		return err
	}
	id := c.identity(cfg)
	in := bufio.NewReaderSize(env.Stdin, 64<<10)
	out := bufio.NewWriterSize(env.Stdout, 64<<10)
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	for n := 1; ; n++ {
		line, err := readRequest(in)
		if err != nil && !errors.Is(err, io.EOF) {
			out.Flush()
			return exitf(CodeError, "line %d: %w", n, err)
		}
		if len(bytes.TrimSpace(line)) > 0 {
			if werr := enc.Encode(j.line(id, line)); werr != nil {
				return exitf(CodeError, "write the answer: %w", werr)
			}
		}
		if in.Buffered() == 0 || err != nil {
			if werr := out.Flush(); werr != nil {
				return exitf(CodeError, "write the answer: %w", werr)
			}
		}
		if err != nil {
			return nil
		}
	}
}

// readRequest reads one line without its end. The last line comes with io.EOF.
func readRequest(r *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		if len(line)+len(part) > maxRequestLine {
			return nil, fmt.Errorf("longer than %d bytes", maxRequestLine)
		}
		line = append(line, part...)
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		return bytes.TrimSuffix(line, []byte("\n")), err
	}
}

// line answers one line. What is not a request is denied, as on the wire.
func (j *judge) line(id *doorward.Identity, line []byte) policyAnswer {
	deny := func(id json.RawMessage, reason string) policyAnswer {
		return policyAnswer{ID: id, Decision: doorward.Deny.String(), Reason: reason, Masks: []string{}}
	}
	var req map[string]json.RawMessage
	if err := json.Unmarshal(line, &req); err != nil || req == nil {
		return deny(nil, "the line is not a JSON object")
	}
	sql, ok := req["sql"]
	if reason := oneRequest(req); reason != "" {
		return deny(req["id"], reason)
	}
	for _, key := range evalKeys {
		if _, other := req[key]; other {
			return deny(req["id"], "protocol not supported yet")
		}
	}
	if raw, isSSH := req["ssh"]; isSSH {
		text, err := parseSSHLine(raw)
		if err != nil {
			return deny(req["id"], err.Error())
		}
		d, e := j.ssh(id, text)
		return answerOf(req["id"], d, e)
	}
	if raw, isKubernetes := req["kubernetes"]; isKubernetes {
		h, err := parseKubernetesLine(raw)
		if err != nil {
			return deny(req["id"], err.Error())
		}
		d, e := j.kubernetes(id, h)
		return answerOf(req["id"], d, e)
	}
	if raw, isHTTP := req["http"]; isHTTP {
		in, err := parseHTTPLine(raw)
		if err != nil {
			return deny(req["id"], err.Error())
		}
		d, e := j.http(id, in)
		return answerOf(req["id"], d, e)
	}
	var text *string
	if !ok || json.Unmarshal(sql, &text) != nil || text == nil {
		return deny(req["id"], `the line has no text "sql", no "ssh", no "kubernetes" and no "http"`)
	}
	d, e := j.sql(id, *text)
	return answerOf(req["id"], d, e)
}

// oneRequest says which two requests a line holds, or is "".
func oneRequest(req map[string]json.RawMessage) string {
	first := ""
	for _, key := range append([]string{"sql", "ssh", "kubernetes", "http"}, evalKeys...) {
		if _, has := req[key]; !has {
			continue
		}
		if first != "" {
			return `the line holds two requests: "` + first + `" and "` + key + `"`
		}
		first = key
	}
	return ""
}

func answerOf(id json.RawMessage, d doorward.Decision, e *doorward.Effect) policyAnswer {
	a := policyAnswer{ID: id, Decision: d.Outcome.String(), Rule: d.Rule, Reason: d.Reason, Hint: d.Hint, Masks: []string{}}
	if e != nil {
		s := e.Summary()
		if s.Verbs == nil {
			s.Verbs = []string{}
		}
		a.Effect = &s
		a.Masks = append(a.Masks, e.Masked...)
	}
	return a
}

// PolicyTestCmd runs the cases of a configuration.
type PolicyTestCmd struct {
	Config []string `short:"c" required:"" sep:"none" placeholder:"FILE" help:"Configuration file; may be given several times."`
	Schema string   `placeholder:"FILE" help:"SQL file with the target's schema; default: what the tests name."`
	JSON   bool     `help:"Print JSON, one object for each case."`
}

// Help is shown by --help.
func (*PolicyTestCmd) Help() string {
	return `Cases stand in the configuration under tests:, or beside doorward.yaml in
doorward.test.yaml:

  schema: schema.sql
  tests:
    - name: nobody empties a table
      target: orders-db
      as: { user: ada, groups: [engineers], agent: codex }
      sql: DELETE FROM orders
      expect: deny
      rule: no-unbounded-writes      # may be left out
    - target: app-host
      as: { user: ada, groups: [engineers] }
      ssh: exec systemctl stop app
      expect: deny
    - target: cluster
      as: { user: ada, groups: [engineers] }
      kubernetes: DELETE /api/v1/namespaces/dev
      expect: deny
    - target: orders
      as: { user: ada, groups: [engineers] }
      http: GET /api/v1/orders/17
      expect: allow

Exit code 0: all as expected; 1: some are not.

Example:
  doorward policy test --config doorward.yaml`
}

type testAnswer struct {
	Name   string       `json:"name"`
	Place  string       `json:"place"`
	OK     bool         `json:"ok"`
	Wrong  string       `json:"wrong,omitempty"`
	Answer policyAnswer `json:"answer"`
}

// Run runs all cases.
func (c *PolicyTestCmd) Run(env *Env) error {
	cfg, err := loadConfig(c.Config)
	if err != nil {
		return err
	}
	if cfg, err = cfg.WithTests(); err != nil {
		return &Exit{Code: CodeUsage, Err: err}
	}
	if len(cfg.Tests) == 0 {
		return exitf(CodeUsage, "there are no cases; write them under tests: in %s or in %s", c.Config[0], config.TestFile(c.Config[0]))
	}
	schema := c.Schema
	if schema == "" {
		schema = cfg.SchemaPath()
	}
	catalog, err := loadSchema(schema)
	if err != nil {
		return err
	}
	judges := map[string]*judge{}
	failed := 0
	for i, t := range cfg.Tests {
		j := judges[t.Target]
		if j == nil {
			if j, err = newJudge(cfg, t.Target, catalog, time.Now()); err != nil {
				return err
			}
			judges[t.Target] = j
		}
		a := j.test(t)
		a.Place = cfg.TestPlace(i)
		if !a.OK {
			failed++
		}
		if err := a.print(env, c.JSON); err != nil {
			return err
		}
	}
	if failed > 0 {
		return exitf(CodeError, "%d of %d cases are not as expected", failed, len(cfg.Tests))
	}
	if !c.JSON {
		fmt.Fprintf(env.Stdout, "all as expected: %s\n", count(len(cfg.Tests), "case"))
	}
	return nil
}

func (j *judge) test(t config.Test) testAnswer {
	who := asker{User: t.As.User, Groups: t.As.Groups, Agent: t.As.Agent, Provider: t.As.Provider, Workload: t.As.Workload}
	text, decide := t.SQL, j.sql
	if t.SSH != "" {
		text, decide = t.SSH, j.ssh
	}
	if t.Kubernetes != "" {
		text, decide = t.Kubernetes, j.kubernetesText
	}
	if t.HTTP != "" {
		text, decide = t.HTTP, j.httpText
	}
	d, e := decide(who.identity(j.cfg), text)
	a := testAnswer{Name: t.Name, Answer: answerOf(nil, d, e)}
	if a.Name == "" {
		a.Name = strings.Join(strings.Fields(text), " ")
	}
	switch {
	case a.Answer.Decision != t.Expect:
		a.Wrong = fmt.Sprintf("expected %s, is %s: %s", t.Expect, a.Answer.Decision, d.Reason)
		if d.Rule != "" {
			a.Wrong += " (rule " + d.Rule + ")"
		}
	case t.Rule != "" && t.Rule != d.Rule:
		a.Wrong = fmt.Sprintf("expected rule %s to decide, it was %q", t.Rule, d.Rule)
	default:
		for _, m := range t.Masks {
			if !slices.Contains(a.Answer.Masks, m) {
				a.Wrong = fmt.Sprintf("expected %s to be masked; masked are %v", m, a.Answer.Masks)
			}
		}
	}
	a.OK = a.Wrong == ""
	return a
}

func (a *testAnswer) print(env *Env, asJSON bool) error {
	if asJSON {
		return printJSON(env.Stdout, a)
	}
	if a.OK {
		return nil
	}
	_, err := fmt.Fprintf(env.Stdout, "%s: %s: %s\n", a.Place, cleanLine(a.Name), cleanLine(a.Wrong))
	return err
}

// PolicyWhoCanCmd lists the rules that bear on an effect.
type PolicyWhoCanCmd struct {
	Config []string `short:"c" required:"" sep:"none" placeholder:"FILE" help:"Configuration file; may be given several times."`
	Target string   `required:"" help:"Name of the target."`
	Effect string   `required:"" placeholder:"VERB" help:"What would be done: read, create, update, delete, define, grant, execute, admin or session."`
	JSON   bool     `help:"Print JSON."`
}

// Help is shown by --help.
func (*PolicyWhoCanCmd) Help() string {
	return `Lists every rule that could decide, denials first. A rule with a condition
decides only where the condition holds; the strictest rule that matches wins.

Example:
  doorward policy who-can --config doorward.yaml --target orders-db --effect delete`
}

// Run prints the list.
func (c *PolicyWhoCanCmd) Run(env *Env) error {
	cfg, err := loadConfig(c.Config)
	if err != nil {
		return err
	}
	if _, err := newJudge(cfg, c.Target, nil, time.Time{}); err != nil {
		return err
	}
	verb, ok := doorward.ParseVerb(c.Effect)
	if !ok {
		return exitf(CodeUsage, "%q is not an effect; write one of %s", c.Effect, strings.Join(doorward.Verb(1<<16-1).Names(), ", "))
	}
	list := cfg.CompiledPolicy().WhoCan(c.Target, verb)
	if c.JSON {
		return printJSON(env.Stdout, list)
	}
	if len(list) == 0 {
		fmt.Fprintf(env.Stdout, "Nobody: no rule lets anybody %s on %s.\n", c.Effect, c.Target)
		return nil
	}
	t := newTable(env.Stdout, "DECISION", "WHO", "RULE", "CONDITION")
	for _, p := range list {
		t.row(p.Decision, p.Who.String(), p.Rule, condition(p))
	}
	return t.done()
}

func condition(p policy.Possibility) string {
	var parts []string
	if p.When != "" {
		parts = append(parts, p.When)
	}
	if len(p.Objects) > 0 {
		parts = append(parts, "only "+strings.Join(p.Objects, ", "))
	}
	if len(p.Outside) > 0 {
		parts = append(parts, "outside of "+strings.Join(p.Outside, ", "))
	}
	if len(p.Commands) > 0 {
		parts = append(parts, "only the commands "+strings.Join(p.Commands, "; "))
	}
	if len(p.Reviewers) > 0 {
		parts = append(parts, "yes from "+strings.Join(p.Reviewers, " or "))
	}
	if len(parts) == 0 {
		return "always"
	}
	return strings.Join(parts, "; ")
}
