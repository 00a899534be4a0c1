package config

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

const app = `
targets: { app: { postgres: { address: "h:1", database: d, user: u, functions: [f] } } }
`

func TestMerge(t *testing.T) {
	a := parse(t, app+`
policy: { rules: [{ name: reads, targets: [app], when: effect.read_only, then: allow }] }
`)
	b, err := Parse("b.yaml", []byte(app+`
review: { wait: 10s }
policy:
  rules:
    - { name: reads, targets: [app], when: effect.read_only, then: allow }
    - { name: no, targets: [app], when: effect.unbounded, then: deny }
masking: [{ targets: [app], columns: [customers.email], operator: redact }]
`))
	if err != nil {
		t.Fatal(err)
	}
	c, err := Merge(a, b)
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Policy.Rules) != 2 || c.Policy.Rules[1].Name != "no" || len(c.Masking) != 1 || c.Review.Wait != 10*time.Second || len(c.Targets) != 1 {
		t.Errorf("%+v", c)
	}
	if c.CompiledPolicy().Rules() != 2 || len(a.Policy.Rules) != 1 || len(b.Policy.Rules) != 2 {
		t.Error("the policy is not the merged one, or an input was changed")
	}
	if p := c.where.find("policy.rules[1].when"); p.file != "b.yaml" || p.line != 8 {
		t.Errorf("the second rule is said to be at %+v", p)
	}
	other, err := Merge(b, a)
	if err != nil || other.CompiledPolicy().Version() != c.CompiledPolicy().Version() {
		t.Error("the order of files matters", err)
	}
	if same, err := Merge(a, a, a); err != nil || same.CompiledPolicy().Version() != a.CompiledPolicy().Version() {
		t.Error("merging with itself changes something", err)
	}
	if _, err := Merge(); err == nil {
		t.Error("nothing merges")
	}
}

func TestMergeConflicts(t *testing.T) {
	for name, c := range map[string]struct{ a, b, want string }{
		"target": {app, strings.Replace(app, "h:1", "h:2", 1), "b.yaml:2:12: targets.app: app is set differently in a.yaml, line 2"},
		"value":  {"store: sqlite:///a", "store: sqlite:///b", "store: this is set differently in a.yaml, line 1"},
		"rule": {
			"policy: { rules: [{ name: r, targets: ['*'], then: allow }] }", "policy: { rules: [{ name: r, targets: ['*'], then: deny }] }",
			"has this name already",
		},
		"listener": {"listen: { console: '127.0.0.1:1' }", "listen: { postgres: '127.0.0.1:1' }", "the console listens here already"},
	} {
		dir := t.TempDir()
		files := []string{filepath.Join(dir, "a.yaml"), filepath.Join(dir, "b.yaml")}
		write(t, files[0], c.a)
		write(t, files[1], c.b)
		_, err := LoadFiles(files...)
		if err == nil || !strings.Contains(strings.ReplaceAll(err.Error(), dir+"/", ""), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestWith(t *testing.T) {
	a := parse(t, app)
	b, err := a.With(func(c *Config) {
		c.Targets["app"].Postgres.Address = "127.0.0.1:77"
		c.Store = "sqlite:///tmp/x.db"
	})
	if err != nil {
		t.Fatal(err)
	}
	if b.Targets["app"].Postgres.Address != "127.0.0.1:77" || b.Ledger != "/tmp/ledger" || a.Targets["app"].Postgres.Address != "h:1" {
		t.Errorf("%+v", b)
	}
	if _, err := a.With(func(c *Config) { c.Store = "x" }); err == nil {
		t.Error("a wrong change is taken")
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestLoadErrors(t *testing.T) {
	dir := t.TempDir()
	for _, files := range [][]string{{}, {filepath.Join(dir, "none.yaml")}, {dir}} {
		if _, err := LoadFiles(files...); err == nil {
			t.Errorf("%v loads", files)
		}
	}
}

func TestTestsBeside(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "doorward.yaml")
	write(t, file, app+"tests: [{ target: app, sql: SELECT 1, expect: deny }]\n")
	c, err := Load(file)
	if err != nil {
		t.Fatal(err)
	}
	if same, err := c.WithTests(); err != nil || len(same.Tests) != 1 || same.SchemaPath() != "" {
		t.Error(same, err)
	}
	write(t, filepath.Join(dir, "doorward.test.yaml"), "schema: sub/schema.sql\ntests:\n  - { target: app, sql: SELECT 2, expect: deny }\n")
	both, err := c.WithTests()
	if err != nil || len(both.Tests) != 2 || both.SchemaPath() != filepath.Join(dir, "sub/schema.sql") || !strings.HasSuffix(both.TestPlace(1), "doorward.test.yaml:3") {
		t.Error(both, err)
	}
	write(t, filepath.Join(dir, "doorward.test.yaml"), "tests:\n  - { target: ap, sql: SELECT 2, expect: deny }\n")
	if _, err := c.WithTests(); err == nil || !strings.Contains(err.Error(), "did you mean app?") || !strings.Contains(err.Error(), "doorward.test.yaml:2") {
		t.Error(err)
	}
	write(t, filepath.Join(dir, "doorward.test.yaml"), "policy: {}\n")
	if _, err := c.WithTests(); err == nil || !strings.Contains(err.Error(), "unknown key") {
		t.Error(err)
	}
}

func TestWatch(t *testing.T) {
	file := filepath.Join(t.TempDir(), "doorward.yaml")
	write(t, file, app)
	var mu sync.Mutex
	var seen []string
	add := func(s string) { mu.Lock(); seen = append(seen, s); mu.Unlock() }
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		watch(ctx, file, 10*time.Millisecond, func(c *Config) { add("new " + c.Targets["app"].Postgres.Database) }, func(err error) {
			var ps Problems
			switch {
			case errors.As(err, &ps):
				add("wrong")
			default:
				add("gone")
			}
		})
	}()
	step := func(want string, do func()) {
		t.Helper()
		do()
		for range 2000 {
			mu.Lock()
			ok := len(seen) > 0 && seen[len(seen)-1] == want
			mu.Unlock()
			if ok {
				return
			}
			time.Sleep(5 * time.Millisecond)
		}
		t.Fatalf("no %q in %v", want, seen)
	}
	time.Sleep(30 * time.Millisecond)
	// A whole file at a time, so that the test does not depend on its luck.
	put := func(text string) {
		write(t, file+".new", text)
		if err := os.Rename(file+".new", file); err != nil {
			t.Fatal(err)
		}
	}
	step("new e", func() { put(strings.Replace(app, "database: d", "database: e", 1)) })
	step("wrong", func() { put(strings.Replace(app, "database: d", "databse: e", 1)) })
	step("new f", func() { put(strings.Replace(app, "database: d", "database: f", 1)) })
	step("gone", func() { os.Remove(file) })
	step("new g", func() { put(strings.Replace(app, "database: d", "database: g", 1)) })
	time.Sleep(50 * time.Millisecond)
	stop()
	<-done
	if len(seen) != 5 {
		t.Errorf("called for nothing: %v", seen)
	}
}

func FuzzLoad(f *testing.F) {
	f.Add([]byte(manual))
	f.Add([]byte(app))
	for _, s := range []string{"", "a: b", "- - - -", "[[[[", "{", "&a [*a]", "!!binary x", "? a\n: b", "a: |\n  x\n", "%YAML 1.2\n---\n", "policy: {rules: [{when: '1/0'}]}",
		"<<: {}", "targets: {a: {postgres: null}}", "'a': \"\\x00\"", "a: !t b", "store: .inf\nledger: .nan", "listen: {console: ~}", "policy:\n  rules:\n  - name: x\n    when: |-\n      true\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := Parse("f.yaml", data)
		if err != nil {
			var ps Problems
			if !errors.As(err, &ps) || len(ps) == 0 {
				t.Fatalf("not Problems: %v", err)
			}
			return
		}
		if c.CompiledPolicy() == nil {
			t.Fatal("no policy")
		}
		if again, err := Merge(c, c); err != nil || again.CompiledPolicy().Version() != c.CompiledPolicy().Version() {
			t.Fatalf("merging with itself: %v", err)
		}
		c.Warnings()
		_ = c.Ready()
	})
}
