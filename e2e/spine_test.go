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

// TestSpine is the main job: an agent reads masked data, is refused a DROP
// with a hint, has an UPDATE held until a person says yes, and the session is
// replayed and proved afterwards.
func TestSpine(t *testing.T) {
	p := open(t, pgtest.Options{}, nil)
	ctx := t.Context()
	ada, dora := p.as("ada"), p.as("dora")
	token := p.agent("ada")
	c := p.connect(token)

	r, err := c.Query("SELECT id, name, email FROM customers WHERE id = 7", 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Rows) != 1 || string(r.Rows[0][1]) != "Customer 7" || strings.Contains(string(r.Bytes), "person7@") {
		t.Errorf("the read came back as %q", r.Data)
	}

	r, err = c.Query("DROP TABLE orders", 10*time.Second)
	if err == nil || r.Errors[0]['C'] != "42501" || !strings.Contains(r.Errors[0]['H'], "migration") {
		t.Errorf("DROP TABLE: %v", err)
	}
	if v := p.value("SELECT count(*) FROM orders"); v != "200" {
		t.Fatalf("the table holds %s", v)
	}

	const update = "UPDATE orders SET status = 'shipped' WHERE id = 7"
	r, err = c.Query(update, 10*time.Second)
	if err == nil {
		t.Fatal("the update was not held")
	}
	if s := r.Errors[0].String(); !strings.Contains(s, "held") {
		t.Errorf("the client is told %q", s)
	}
	if len(r.Notices) == 0 || !strings.Contains(r.Notices[0].String(), "http") {
		t.Errorf("no notice told the client where to look: %v", r.Notices)
	}
	if v := p.value("SELECT status FROM orders WHERE id=7"); v != "open" {
		t.Fatalf("the held update ran: status is %s", v)
	}
	waiting, err := dora.Reviews(ctx, "waiting")
	if err != nil || len(waiting) != 1 {
		t.Fatalf("%d reviews wait (%v)", len(waiting), err)
	}
	w := waiting[0]
	if w.Statement != update || w.Identity.Name != "ada" || w.Identity.Agent != "codex" || w.Target != "shop-db" {
		t.Errorf("the reviewer sees %+v", w)
	}
	if err := ada.Vote(ctx, w.ID, true, "", 0); err == nil {
		t.Error("ada approved what her own agent asked for")
	}
	if err := p.gate.Client(token).Vote(ctx, w.ID, true, "", 0); err == nil {
		t.Error("an agent approved")
	}
	if err := dora.Vote(ctx, w.ID, true, "order 7 left the house", 0); err != nil {
		t.Fatal(err)
	}
	// Not the identical request: it has to be held by itself.
	if _, err := c.Query("UPDATE orders SET status = 'shipped' WHERE id = 8", 10*time.Second); err == nil {
		t.Error("another update ran on the approval of this one")
	}
	if r, err = c.Query(update, 10*time.Second); err != nil || len(r.Tags) != 1 || r.Tags[0] != "UPDATE 1" {
		t.Fatalf("the approved update: %v %v", r.Describe(), err)
	}
	if v := p.value("SELECT status FROM orders WHERE id=7"); v != "shipped" {
		t.Errorf("status is %s after the approved update", v)
	}
	p.value("UPDATE orders SET status='open' WHERE id=7 RETURNING 1")
	if _, err := c.Query(update, 10*time.Second); err == nil || p.value("SELECT status FROM orders WHERE id=7") != "open" {
		t.Errorf("the approval was used twice (%v)", err)
	}
	c.Terminate()
	p.replayed(ada, update)
	p.audited()
}

// replayed finds the agent's session and looks at its replay.
func (p *place) replayed(c *harness.Client, update string) {
	t, ctx := p.t, p.t.Context()
	t.Helper()
	list, err := c.Sessions(ctx, "target=shop-db")
	if err != nil || len(list) == 0 {
		t.Fatalf("%d sessions (%v)", len(list), err)
	}
	found := false
	for _, s := range list {
		tl, err := c.Timeline(ctx, s.ID)
		if err != nil {
			t.Errorf("timeline of %s: %v", s.ID, err)
			continue
		}
		if !tl.Verified.OK {
			t.Errorf("the recording of %s is not whole: %v", s.ID, tl.Verified.Problems)
		}
		var asked, decided, masked bool
		for _, e := range tl.Entries {
			asked = asked || e.Statement == update
			decided = decided || e.Decision == "deny"
			masked = masked || len(e.Rows) > 0
		}
		found = found || asked && decided && masked
	}
	if !found {
		t.Error("no session's timeline shows the read, the refusal and the update")
	}
}

// audited stops doorward and checks its record offline.
func (p *place) audited() {
	p.t.Helper()
	auditedWhole(p.t, p.gate)
}

// TestApprovalWhileWaiting has a person say yes while the client waits.
func TestApprovalWhileWaiting(t *testing.T) {
	p := open(t, pgtest.Options{}, func(c *harness.Config) { c.Wait = 20 * time.Second })
	ctx := t.Context()
	c := p.connect(p.agent("ada"))
	dora := p.as("dora")
	answered := make(chan error, 1)
	go func() {
		for range 200 {
			if list, err := dora.Reviews(ctx, "waiting"); err == nil && len(list) == 1 {
				answered <- dora.Vote(ctx, list[0].ID, true, "", 0)
				return
			}
			time.Sleep(50 * time.Millisecond)
		}
		answered <- context.DeadlineExceeded
	}()
	c.Send(rawpg.Msg('P', rawpg.Parse("", []byte("UPDATE orders SET total = $1 WHERE id = $2"), nil)))
	c.Send(rawpg.Msg('B', rawpg.Bind("", "", nil, [][]byte{[]byte("12.50"), []byte("9")}, nil)))
	c.Send(rawpg.Msg('E', rawpg.Execute("", 0)))
	c.Send(rawpg.Msg('S', nil))
	if !c.ReadUntil("Z", 30*time.Second) {
		t.Fatal("no answer")
	}
	if err := <-answered; err != nil {
		t.Fatal(err)
	}
	if r := c.Result(); len(r.Errors) > 0 || p.value("SELECT total FROM orders WHERE id=9") != "12.50" {
		t.Errorf("after the yes: %s", r.Describe())
	}
}

// TestApprovalSurvivesRestart has the review approved before, and redeemed
// after, doorward is killed and started again.
func TestApprovalSurvivesRestart(t *testing.T) {
	p := open(t, pgtest.Options{}, nil)
	ctx := t.Context()
	token, dora := p.agent("ada"), p.as("dora")
	const update = "UPDATE orders SET total = 1 WHERE id = 3"
	if _, err := p.connect(token).Query(update, 10*time.Second); err == nil {
		t.Fatal("the update was not held")
	}
	list, err := dora.Reviews(ctx, "waiting")
	if err != nil || len(list) != 1 {
		t.Fatalf("%d reviews wait (%v)", len(list), err)
	}
	if err := dora.Vote(ctx, list[0].ID, true, "", 0); err != nil {
		t.Fatal(err)
	}
	p.gate.Kill()
	if err := p.gate.Launch(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := p.connect(token).Query(update, 10*time.Second); err != nil {
		t.Fatalf("after the restart: %v", err)
	}
	if v := p.value("SELECT total FROM orders WHERE id=3"); v != "1.00" {
		t.Errorf("total is %s", v)
	}
}

// TestRowBound has a reviewer say yes "as long as it changes at most one row".
func TestRowBound(t *testing.T) {
	p := open(t, pgtest.Options{}, nil)
	ctx := t.Context()
	c, dora := p.connect(p.agent("ada")), p.as("dora")
	const update = "UPDATE orders SET status = 'closed' WHERE id IN (1, 2, 3)"
	if _, err := c.Query(update, 10*time.Second); err == nil {
		t.Fatal("the update was not held")
	}
	list, err := dora.Reviews(ctx, "waiting")
	if err != nil || len(list) != 1 {
		t.Fatalf("%d reviews wait (%v)", len(list), err)
	}
	if err := dora.Vote(ctx, list[0].ID, true, "", 1); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Query(update, 10*time.Second); err == nil {
		t.Error("three rows changed under a bound of one")
	}
	if v := p.value("SELECT count(*) FROM orders WHERE status='closed'"); v != "0" {
		t.Errorf("%s rows were changed", v)
	}
}
