package e2e

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/doorward/doorward/e2e/harness"
	"github.com/doorward/doorward/e2e/pgtest"
	"github.com/doorward/doorward/e2e/rawpg"
)

// limited is a shop with tight limits.
func limited(t *testing.T) *place {
	return open(t, pgtest.Options{}, func(c *harness.Config) {
		c.Rules = []any{map[string]any{"name": "reads", "targets": []string{"*"}, "when": "effect.read_only", "then": "allow", "limits": map[string]any{"rows": 100, "bytes": "20KiB", "time": "1s", "per_minute": 40}}}
	})
}

func TestLimits(t *testing.T) {
	p := limited(t)
	c := p.connect(p.agent("ada"))
	for name, x := range map[string]struct{ sql, code string }{
		"rows":  {"SELECT * FROM generate_series(1, 1000)", "54000"},
		"bytes": {"SELECT repeat('x', 1000) FROM generate_series(1, 50)", "54000"},
		"copy":  {"COPY (SELECT * FROM generate_series(1, 1000)) TO STDOUT", "54000"},
		"time":  {"SELECT count(*) FROM generate_series(1, 2000000000)", "57014"},
	} {
		start := time.Now()
		r, err := c.Query(x.sql, 20*time.Second)
		if err == nil || len(r.Errors) != 1 || r.Errors[0]['C'] != x.code || !strings.Contains(r.Errors[0]['M'], "doorward") {
			t.Errorf("%s: %v (%s)", name, err, r.Describe())
		}
		if len(r.Rows) > 100 {
			t.Errorf("%s: %d rows came", name, len(r.Rows))
		}
		if d := time.Since(start); d > 15*time.Second {
			t.Errorf("%s took %v", name, d)
		}
		if r, err := c.Query("SELECT 1", 10*time.Second); err != nil || r.Value() != "1" {
			t.Errorf("after %s the session does not go on: %v", name, err)
		}
	}
	var last error
	for range 50 {
		if _, last = c.Query("SELECT 1", 10*time.Second); last != nil {
			break
		}
	}
	if last == nil || !strings.Contains(last.Error(), "minute") {
		t.Errorf("the rate was not limited: %v", last)
	}
}

// TestEndingASession ends a session by the API in the middle of a query.
func TestEndingASession(t *testing.T) {
	p := open(t, pgtest.Options{}, nil)
	ctx := t.Context()
	ada := p.as("ada")
	c := p.connect(p.agent("ada"))
	const slow = "SELECT count(*) FROM generate_series(1, 4000000000)"
	c.Send(rawpg.Msg('Q', append([]byte(slow), 0)))
	live := ""
	for range 100 {
		if list, err := ada.Sessions(ctx, "live=true"); err == nil && len(list) == 1 && p.running(slow) == "1" {
			live = list[0].ID
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	if live == "" {
		t.Fatal("the session is not shown as live")
	}
	if err := ada.Do(ctx, "POST", "/api/v1/sessions/"+live+"/kill", map[string]any{}, nil); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	c.ReadUntil("Z", 10*time.Second)
	r := c.Result()
	if len(r.Errors) == 0 || r.Errors[0]['C'] != "57P01" {
		t.Errorf("the client was told %s", r.Describe())
	}
	if d := time.Since(start); d > 5*time.Second {
		t.Errorf("the session ended after %v", d)
	}
	p.audited()
}

// running counts the backends that run a statement of this text.
func (p *place) running(sql string) string {
	v, err := p.pg.Value(context.WithoutCancel(p.t.Context()), "shop", "SELECT count(*) FROM pg_stat_activity WHERE state='active' AND query = '"+sql+"'")
	if err != nil {
		return ""
	}
	return v
}

// TestARefusalFailsTheTransaction holds that what the client is told of its
// transaction is true at the target.
func TestARefusalFailsTheTransaction(t *testing.T) {
	p := open(t, pgtest.Options{}, nil)
	c := p.connect(p.agent("ada"))
	for _, sql := range []string{"BEGIN", "INSERT INTO marks VALUES ('in-a-failed-transaction')"} {
		if _, err := c.Query(sql, 10*time.Second); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.Query("DELETE FROM orders", 10*time.Second); err == nil {
		t.Fatal("the unbounded delete ran")
	}
	if _, err := c.Query("SELECT 1", 10*time.Second); err == nil || !strings.Contains(err.Error(), "aborted") {
		t.Errorf("the transaction goes on: %v", err)
	}
	if r, err := c.Query("COMMIT", 10*time.Second); err != nil || len(r.Tags) != 1 || r.Tags[0] != "ROLLBACK" {
		t.Errorf("COMMIT gave %s, %v", r.Describe(), err)
	}
	if v := p.value("SELECT count(*) FROM marks"); v != "0" {
		t.Errorf("%s rows of the failed transaction stay", v)
	}
}

// TestARefusalInABatchSendsNothing puts a refused statement behind good ones,
// with and without a Flush between them.
func TestARefusalInABatchSendsNothing(t *testing.T) {
	p := open(t, pgtest.Options{}, nil)
	for name, flush := range map[string]bool{"sync": false, "flush": true} {
		c := p.connect(p.agent("ada"))
		run := func(sql string) {
			c.Send(rawpg.Msg('P', rawpg.Parse("", []byte(sql), nil)))
			c.Send(rawpg.Msg('B', rawpg.Bind("", "", nil, nil, nil)))
			c.Send(rawpg.Msg('E', rawpg.Execute("", 0)))
		}
		run("INSERT INTO marks VALUES ('" + name + "')")
		if flush {
			c.Send(rawpg.Msg('H', nil))
			if !c.ReadUntil("C", 10*time.Second) {
				t.Fatalf("%s: the flushed part was not answered: %s", name, c.Result().Describe())
			}
		}
		run("DELETE FROM orders")
		run("INSERT INTO marks VALUES ('after " + name + "')")
		c.Send(rawpg.Msg('S', nil))
		if !c.ReadUntil("Z", 10*time.Second) {
			t.Fatalf("%s: no answer", name)
		}
		if r := c.Result(); len(r.Errors) != 1 || r.Errors[0]['C'] != "42501" {
			t.Errorf("%s: %s", name, r.Describe())
		}
		if r, err := c.Query("SELECT 1", 10*time.Second); err != nil || r.Value() != "1" {
			t.Errorf("%s: the session does not go on: %v", name, err)
		}
	}
	if v := p.value("SELECT (SELECT count(*) FROM marks) || '/' || (SELECT count(*) FROM orders)"); v != "0/200" {
		t.Errorf("marks/orders are %s", v)
	}
}

// TestRowsThatNobodyDescribed executes without a Describe, in text and binary.
func TestRowsThatNobodyDescribed(t *testing.T) {
	p := open(t, pgtest.Options{}, nil)
	for _, format := range []int16{0, 1} {
		c := p.connect(p.agent("ada"))
		c.Send(rawpg.Msg('P', rawpg.Parse("", []byte("SELECT id, email, ssn FROM customers ORDER BY id LIMIT 3"), nil)))
		c.Send(rawpg.Msg('B', rawpg.Bind("", "", nil, nil, []int16{format})))
		c.Send(rawpg.Msg('E', rawpg.Execute("", 2)))
		c.Send(rawpg.Msg('E', rawpg.Execute("", 0)))
		c.Send(rawpg.Msg('S', nil))
		if !c.ReadUntil("Z", 10*time.Second) {
			t.Fatal("no answer")
		}
		r := c.Result()
		if len(r.Errors) > 0 || len(r.Rows) != 3 || strings.Contains(string(r.Bytes), "@shop") || strings.Contains(string(r.Bytes), "-45-") {
			t.Errorf("format %d: %s %q", format, r.Describe(), r.Bytes)
		}
		for _, m := range c.Messages {
			if m.Type == 'T' {
				t.Error("the client got a description that it did not ask for")
			}
		}
	}
}

// TestCancel cancels one's own statement, and cannot cancel another's.
func TestCancel(t *testing.T) {
	p := open(t, pgtest.Options{}, nil)
	c, other := p.connect(p.agent("ada")), p.connect(p.agent("bob"))
	const slow = "SELECT count(*) FROM generate_series(1, 3000000000)"
	c.Send(rawpg.Msg('Q', append([]byte(slow), 0)))
	for i := 0; p.running(slow) != "1"; i++ {
		if i == 200 {
			t.Fatal("the statement does not run")
		}
		time.Sleep(20 * time.Millisecond)
	}
	if err := c.Cancel(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	if err := other.Cancel(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	time.Sleep(300 * time.Millisecond)
	if p.running(slow) != "1" {
		t.Fatal("a wrong key, or another's, stopped the statement")
	}
	if err := c.Cancel(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	if !c.ReadUntil("Z", 10*time.Second) {
		t.Fatal("the statement was not cancelled")
	}
	if r := c.Result(); len(r.Errors) != 1 || r.Errors[0]['C'] != "57014" {
		t.Errorf("%s", r.Describe())
	}
}

// TestCopyInIsHeld streams rows in under an approval.
func TestCopyInIsHeld(t *testing.T) {
	p := open(t, pgtest.Options{}, func(c *harness.Config) {
		c.Wait = 20 * time.Second
		c.Rules = append([]any{map[string]any{"name": "loads", "targets": []string{"*"}, "when": "effect.complete && effect.verbs.all(v, v == 'create')", "then": "review", "reviewers": map[string]any{"groups": []string{"dba"}}}}, rules...)
	})
	ctx := t.Context()
	dora := p.as("dora")
	c := p.connect(p.agent("ada"))
	go func() {
		for range 200 {
			if list, err := dora.Reviews(ctx, "waiting"); err == nil && len(list) == 1 {
				_ = dora.Vote(ctx, list[0].ID, true, "", 0)
				return
			}
			time.Sleep(50 * time.Millisecond)
		}
	}()
	c.Send(rawpg.Msg('Q', []byte("COPY marks FROM STDIN\x00")))
	if !c.ReadUntil("GE", 30*time.Second) || len(c.Result().Errors) > 0 {
		t.Fatalf("COPY did not start: %s", c.Result().Describe())
	}
	for range 1000 {
		c.Send(rawpg.Msg('d', []byte("row "+strings.Repeat("x", 100)+time.Now().String()+"\n")))
	}
	c.Send(rawpg.Msg('c', nil))
	if !c.ReadUntil("Z", 20*time.Second) {
		t.Fatal("no answer")
	}
	if r := c.Result(); len(r.Errors) > 0 || p.value("SELECT count(*) FROM marks") != "1000" {
		t.Errorf("%s; %s rows", r.Describe(), p.value("SELECT count(*) FROM marks"))
	}
}
