package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/doorward/doorward/e2e/harness"
	"github.com/doorward/doorward/e2e/pgtest"
	"github.com/doorward/doorward/e2e/rawpg"
)

func TestMain(m *testing.M) {
	code := m.Run()
	harness.Cleanup()
	os.Exit(code)
}

func root(t *testing.T) string {
	t.Helper()
	r, err := harness.Root()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// place is a server with the shop's data, and a doorward before it.
type place struct {
	t    *testing.T
	pg   *pgtest.Server
	gate *harness.Gate

	approved *sync.Map // counters that somebody said yes to
}

const schema = `
CREATE TABLE customers(id int PRIMARY KEY, name text NOT NULL, email text, ssn text, city text);
INSERT INTO customers SELECT i, 'Customer '||i, 'person'||i||'@shop.example', lpad((100+i)::text,3,'0')||'-45-'||lpad(i::text,4,'0'), 'Oslo' FROM generate_series(1,50) i;
CREATE TABLE orders(id serial PRIMARY KEY, customer_id int REFERENCES customers, status text DEFAULT 'open', total numeric(12,2));
INSERT INTO orders(customer_id,total) SELECT 1+i%50, i FROM generate_series(1,200) i;
CREATE TABLE counters(id int PRIMARY KEY, n int NOT NULL DEFAULT 0);
INSERT INTO counters SELECT i, 0 FROM generate_series(1,5000) i;
CREATE TABLE marks(id text PRIMARY KEY);
CREATE VIEW open_orders AS SELECT id, customer_id, total FROM orders WHERE status='open';
`

// rules of the shop: reads and inserts go, other bounded writes wait for a
// yes, what is unbounded or changes shape is refused.
var rules = []any{
	map[string]any{"name": "reads", "targets": []string{"*"}, "when": "effect.read_only", "then": "allow", "limits": map[string]any{"rows": 1000000, "bytes": "1GiB", "time": "30s"}},
	map[string]any{"name": "inserts", "targets": []string{"*"}, "when": "effect.complete && effect.writes && effect.verbs.all(v, v in ['create', 'read', 'session'])", "then": "allow"},
	map[string]any{"name": "bounded-writes-need-a-yes", "targets": []string{"*"}, "when": "effect.complete && effect.writes && !effect.unbounded && ('update' in effect.verbs || 'delete' in effect.verbs)", "then": "review", "reviewers": map[string]any{"groups": []string{"dba"}, "count": 1}},
	map[string]any{"name": "no-schema-changes", "targets": []string{"*"}, "when": "'define' in effect.verbs", "then": "deny", "reason": "the schema is changed by migrations only", "hint": "Write a migration and open a pull request."},
	map[string]any{"name": "no-unbounded-writes", "targets": []string{"*"}, "when": "effect.unbounded && ('update' in effect.verbs || 'delete' in effect.verbs)", "then": "deny", "hint": "Add a WHERE clause that names the rows by key."},
}

var masking = []any{map[string]any{"targets": []string{"*"}, "columns": []string{"customers.email", "customers.ssn"}, "operator": "redact"}}

var users = []harness.User{
	{Name: "ada", Password: "ada-password-0123456789", Groups: []string{"engineers"}},
	{Name: "bob", Password: "bob-password-0123456789", Groups: []string{"engineers"}},
	{Name: "dora", Password: "dora-password-0123456789", Groups: []string{"dba"}},
}

// open starts a server and a doorward; change may adjust the configuration.
func open(t *testing.T, pg pgtest.Options, change func(*harness.Config)) *place {
	t.Helper()
	ctx := t.Context()
	s, err := pgtest.Start(ctx, pg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Stop() })
	pw, err := s.Role(ctx, "shop")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Create(ctx, "shop", "", "shop", ""); err != nil {
		t.Fatal(err)
	}
	c, err := s.ConnectAs(ctx, "shop", pw, "shop")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Query(schema, 30*time.Second); err != nil {
		t.Fatal(err)
	}
	c.Terminate()
	cfg := &harness.Config{
		Users: users, Rules: rules, Masking: masking, Wait: 500 * time.Millisecond,
		Targets: []harness.Target{{Name: "shop-db", Address: s.Addr(), Database: "shop", User: "shop", Password: pw}},
	}
	if change != nil {
		change(cfg)
	}
	g := startGate(t, cfg)
	return &place{t, s, g, &sync.Map{}}
}

// as signs a person in.
func (p *place) as(user string) *harness.Client {
	p.t.Helper()
	c, err := p.gate.SignIn(p.t.Context(), user)
	if err != nil {
		p.t.Fatal(err)
	}
	return c
}

// agent starts a run of an agent for a person and gives its token.
func (p *place) agent(person string) string {
	p.t.Helper()
	_, token, err := p.as(person).Run(p.t.Context(), "codex", "fix order 7", []string{"shop-db"}, 30*time.Minute)
	if err != nil {
		p.t.Fatal(err)
	}
	return token
}

// connect signs a token in on the wire.
func (p *place) connect(token string) *rawpg.Conn {
	p.t.Helper()
	c, err := p.gate.Connect(p.t.Context(), "shop-db", token)
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(c.Close)
	return c
}

// value asks the server beside doorward.
func (p *place) value(q string) string {
	p.t.Helper()
	v, err := p.pg.Value(context.WithoutCancel(p.t.Context()), "shop", q)
	if err != nil {
		p.t.Fatal(err)
	}
	return v
}

// env is how libpq programs reach the target through doorward.
func (p *place) env(token string) []string {
	host, port, _ := strings.Cut(p.gate.Postgres, ":")
	return append(os.Environ(), "PGHOST="+host, "PGPORT="+port, "PGUSER=agent", "PGPASSWORD="+token, "PGDATABASE=shop-db",
		"PGSSLMODE=verify-full", "PGSSLROOTCERT="+p.gate.CAPath(), "PGCONNECT_TIMEOUT=10", "PAGER=cat", "PSQLRC=/dev/null", "PGAPPNAME=e2e")
}

// program runs a client through doorward and gives its output.
func (p *place) program(token, name string, args ...string) (string, error) {
	p.t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		p.t.Fatalf("%s is missing: run scripts/setup.sh", name)
	}
	ctx, cancel := context.WithTimeout(p.t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env, cmd.Dir = p.env(token), filepath.Join(root(p.t), "e2e")
	out, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%s %s: %w", name, strings.Join(args, " "), err)
	}
	return string(out), err
}

// wants checks a program's success and what it printed.
func (p *place) wants(out string, err error, contain ...string) {
	p.t.Helper()
	if err != nil {
		p.t.Errorf("%v\n%s", err, out)
	}
	for _, c := range contain {
		if !strings.Contains(out, c) {
			p.t.Errorf("no %q in:\n%s", c, out)
		}
	}
	if strings.Contains(out, "@shop.example") || strings.Contains(out, "-45-00") {
		p.t.Errorf("a masked value in the clear:\n%s", out)
	}
}
