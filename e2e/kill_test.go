package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/doorward/doorward/e2e/harness"
	"github.com/doorward/doorward/e2e/pgtest"
)

// event of the ledger, as `doorward audit export` prints it.
type event struct {
	Event struct {
		Kind string `json:"kind"`
		Text string `json:"text"`
	} `json:"event"`

	raw string // the line
}

// ledger gives the events of the log, read offline.
func (p *place) ledger() []event {
	p.t.Helper()
	out, err := p.gate.CLI(context.WithoutCancel(p.t.Context()), "audit", "export", "--ledger", filepath.Join(p.gate.State, "ledger"))
	if err != nil {
		p.t.Fatalf("audit export: %v", err)
	}
	var list []event
	for s := bufio.NewScanner(strings.NewReader(out)); s.Scan(); {
		var e event
		if err := json.Unmarshal(s.Bytes(), &e); err != nil {
			p.t.Fatalf("audit export printed %q: %v", s.Text(), err)
		}
		e.raw = s.Text()
		list = append(list, e)
	}
	return list
}

var marker = regexp.MustCompile(`(kill|disk|disk-before)-[0-9]+(-[0-9]+)*`)

// recorded checks that every statement with a marker that the server ran or
// began to run stands in the ledger as an intent.
func (p *place) recorded(prefix string) {
	p.t.Helper()
	intents := map[string]bool{}
	for _, e := range p.ledger() {
		if e.Event.Kind == "request.intent" {
			for _, m := range marker.FindAllString(e.Event.Text, -1) {
				intents[m] = true
			}
		}
	}
	c, err := p.pg.Connect(context.WithoutCancel(p.t.Context()), "shop")
	if err != nil {
		p.t.Fatal(err)
	}
	defer c.Terminate()
	r, err := c.Query("SELECT id FROM marks WHERE id LIKE '"+prefix+"%'", 20*time.Second)
	if err != nil {
		p.t.Fatal(err)
	}
	ran := map[string]bool{}
	for _, row := range r.Rows {
		ran[string(row[0])] = true
	}
	// The server's own log of statements knows of reads, too.
	if f, err := os.Open(filepath.Join(p.pg.Dir, "log")); err == nil {
		defer f.Close()
		for s := bufio.NewScanner(f); s.Scan(); {
			if strings.Contains(s.Text(), "statement: ") || strings.Contains(s.Text(), "execute ") {
				for _, m := range marker.FindAllString(s.Text(), -1) {
					ran[m] = true
				}
			}
		}
	}
	missing := 0
	for id := range ran {
		if strings.HasPrefix(id, prefix) && !intents[id] {
			if missing++; missing <= 5 {
				p.t.Errorf("%s ran upstream and is not in the ledger", id)
			}
		}
	}
	p.t.Logf("%d marked statements ran upstream, %d of them are missing from %d intents", len(ran), missing, len(intents))
	if len(ran) == 0 {
		p.t.Error("nothing ran: the test shows nothing")
	}
}

// kills is how often TestKill kills doorward.
const kills = 200

// TestKill kills doorward at random points under load. Everything that ran
// upstream is in the record, and no approval ran twice.
func TestKill(t *testing.T) {
	p := open(t, pgtest.Options{Settings: map[string]string{"log_statement": "all", "log_min_messages": "log"}}, func(c *harness.Config) {
		c.Wait = 20 * time.Millisecond
	})
	ctx := t.Context()
	n := kills
	if testing.Short() {
		n = 20
	}
	// A person's token: an agent's run would end before the test does on a slow
	// machine.
	token, dora := p.as("ada").Token, p.as("dora")
	var approved, served int
	reach := 250 * time.Millisecond
	for i := range n {
		before := served
		load, stop := context.WithCancel(ctx)
		var wg sync.WaitGroup
		var mu sync.Mutex
		for w := range 3 {
			wg.Go(func() {
				k := p.load(load, token, i, w)
				mu.Lock()
				served += k
				mu.Unlock()
			})
		}
		wg.Go(func() { p.redeem(load, token, i) })
		wg.Go(func() {
			k := p.approve(load, dora)
			mu.Lock()
			approved += k
			mu.Unlock()
		})
		time.Sleep(20*time.Millisecond + rand.N(reach))
		p.gate.Kill()
		stop()
		wg.Wait()
		// On a slow machine the load needs longer before it is interrupted.
		if served == before {
			reach = min(2*reach, 2*time.Second)
		} else {
			reach = max(reach*3/4, 250*time.Millisecond)
		}
		if err := p.gate.Launch(ctx); err != nil {
			t.Fatalf("after kill %d: %v", i+1, err)
		}
	}
	// What was approved and not yet spent may run now, and never again.
	for range 2 {
		p.redeemAll(token)
	}
	t.Logf("%d kills, %d statements answered, %d approvals", n, served, approved)
	if approved == 0 || served == 0 {
		t.Error("the load did nothing: the test shows nothing")
	}
	if v := p.value("SELECT count(*) FROM counters WHERE n > 1"); v != "0" {
		t.Errorf("%s approvals ran twice", v)
	}
	if v := p.value("SELECT count(*) FROM counters WHERE n = 1"); v == "0" {
		t.Error("no approval ran: the test shows nothing")
	}
	p.recorded("kill-")
	p.audited()
}

// load reads and writes with marks until doorward is gone.
func (p *place) load(ctx context.Context, token string, round, worker int) (answered int) {
	c, err := p.gate.Connect(ctx, "shop-db", token)
	if err != nil {
		return 0
	}
	defer c.Close()
	for k := 0; ctx.Err() == nil; k++ {
		id := fmt.Sprintf("kill-%d-%d-%d", round, worker, k)
		q := "SELECT count(*) FROM orders WHERE status <> '" + id + "'"
		if k%2 == 0 {
			q = "INSERT INTO marks VALUES ('" + id + "')"
		}
		if _, err := c.Query(q, 5*time.Second); err != nil {
			return answered
		}
		answered++
	}
	return answered
}

// redeem asks for updates that need a yes. Each counter is changed by one
// statement that is approved at most once.
func (p *place) redeem(ctx context.Context, token string, round int) {
	c, err := p.gate.Connect(ctx, "shop-db", token)
	if err != nil {
		return
	}
	defer c.Close()
	for k := 0; ctx.Err() == nil && k < 200; k++ {
		// Also those of the rounds before: their approvals may be unspent.
		id := 1 + (round*10+k%20)%5000
		if _, err := c.Query(fmt.Sprintf("UPDATE counters SET n = n + 1 WHERE id = %d", id), 5*time.Second); err != nil && c.Closed {
			return
		}
	}
}

// redeemAll sends each update that was approved once more.
func (p *place) redeemAll(token string) {
	c, err := p.gate.Connect(context.WithoutCancel(p.t.Context()), "shop-db", token)
	if err != nil {
		p.t.Errorf("after the kills nobody can connect: %v", err)
		return
	}
	defer c.Close()
	p.approved.Range(func(id, _ any) bool {
		_, err := c.Query("UPDATE counters SET n = n + 1 WHERE id = "+id.(string), 10*time.Second)
		return err == nil || !c.Closed
	})
}

var counter = regexp.MustCompile(`WHERE id = (\d+)$`)

// approve says yes once for each counter.
func (p *place) approve(ctx context.Context, dora *harness.Client) (n int) {
	for ctx.Err() == nil {
		list, err := dora.Reviews(ctx, "waiting")
		if err != nil {
			return n
		}
		for _, r := range list {
			m := counter.FindStringSubmatch(r.Statement)
			if m == nil {
				continue
			}
			if _, done := p.approved.LoadOrStore(m[1], true); done {
				continue
			}
			if dora.Vote(ctx, r.ID, true, "", 0) == nil {
				n++
			}
		}
		time.Sleep(5 * time.Millisecond)
	}
	return n
}
