package e2e

import (
	"bytes"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/doorward/doorward/e2e/harness"
	"github.com/doorward/doorward/e2e/pgtest"
	"github.com/doorward/doorward/e2e/rawpg"
)

// One batch is judged before any of it runs. These tests send batches, names
// and sequences in which what was judged would not be what runs.

func parse(name, sql string) []byte     { return rawpg.Msg('P', rawpg.Parse(name, []byte(sql), nil)) }
func bind(portal, stmt string) []byte   { return rawpg.Msg('B', rawpg.Bind(portal, stmt, nil, nil, nil)) }
func execute(portal string) []byte      { return rawpg.Msg('E', rawpg.Execute(portal, 0)) }
func describe(kind, name string) []byte { return rawpg.Msg('D', append([]byte(kind+name), 0)) }
func closing(kind, name string) []byte  { return rawpg.Msg('C', append([]byte(kind+name), 0)) }

var (
	syncMsg  = rawpg.Msg('S', nil)
	flushMsg = rawpg.Msg('H', nil)
)

// run is a statement by the extended protocol without its Sync.
func run(sql string) []byte {
	return bytes.Join([][]byte{parse("", sql), bind("", ""), execute("")}, nil)
}

// batch sends messages and reads up to ReadyForQuery.
func batch(t *testing.T, c *rawpg.Conn, messages ...[]byte) *rawpg.Result {
	t.Helper()
	c.Messages = nil
	c.Send(bytes.Join(messages, nil))
	if !c.ReadUntil("Z", 15*time.Second) {
		t.Fatalf("no ReadyForQuery came: %s", c.Result().Describe())
	}
	r := c.Result()
	if bytes.Contains(r.Data, []byte("@shop")) {
		t.Errorf("a masked value came: %s", r.Data)
	}
	return r
}

func query(t *testing.T, c *rawpg.Conn, sql string) *rawpg.Result {
	t.Helper()
	return batch(t, c, rawpg.Msg('Q', append([]byte(sql), 0)))
}

func denied(t *testing.T, r *rawpg.Result, say string) {
	t.Helper()
	if len(r.Errors) == 0 || !strings.Contains(r.Errors[0]['M'], say) {
		t.Errorf("want an error that says %q: %s", say, r.Describe())
	}
}

func fine(t *testing.T, r *rawpg.Result) {
	t.Helper()
	if len(r.Errors) > 0 {
		t.Errorf("fails: %s", r.Describe())
	}
}

// anything allows whatever is understood, ten rows at a time.
func anything(c *harness.Config) {
	c.Wait = 10 * time.Second
	c.Rules = []any{map[string]any{"name": "all", "targets": []string{"*"}, "when": "effect.complete", "then": "allow", "limits": map[string]any{"rows": 10, "time": "20s"}}}
}

// emails is masked by the reading of the statement only: no column of the
// result has an origin.
const emails = "SELECT email FROM customers WHERE id < 4 UNION ALL SELECT 'x'"

func TestBatches(t *testing.T) {
	p := open(t, pgtest.Options{}, anything)
	p.value(`CREATE VIEW v AS SELECT id, city AS x FROM customers; GRANT ALL ON v TO shop;
		CREATE TABLE kid(id int, c int REFERENCES customers DEFERRABLE INITIALLY DEFERRED); GRANT ALL ON kid TO shop; SELECT 1`)
	token := p.agent("ada")

	t.Run("names change in a batch", func(t *testing.T) {
		c := p.in(t).connect(token)
		fine(t, batch(t, c, parse("s1", "SELECT 'a'::text AS email"), describe("S", "s1"), syncMsg))
		denied(t, batch(t, c, run("DEALLOCATE s1"), run("PREPARE s1 AS "+emails), bind("", "s1"), execute(""), syncMsg), "in one batch")
		denied(t, batch(t, c, closing("S", "s1"), parse("s1", emails), run("EXECUTE s1"), syncMsg), "in one batch")
		query(t, c, "BEGIN")
		fine(t, batch(t, c, parse("", "SELECT 'a'::text FROM orders"), bind("c1", ""), describe("P", "c1"), syncMsg))
		denied(t, batch(t, c, run("CLOSE c1"), run("DECLARE c1 CURSOR FOR "+emails), execute("c1"), syncMsg), "in one batch")
	})

	t.Run("names may be used alone", func(t *testing.T) {
		c := p.in(t).connect(token)
		fine(t, query(t, c, "PREPARE s AS SELECT 1"))
		fine(t, batch(t, c, parse("", "EXECUTE s"), bind("", ""), describe("P", ""), execute(""), syncMsg))
		fine(t, query(t, c, "BEGIN"))
		fine(t, query(t, c, "DECLARE k CURSOR FOR SELECT 1"))
		fine(t, batch(t, c, parse("", "FETCH k"), bind("", ""), describe("P", ""), execute(""), syncMsg))
	})

	t.Run("a COPY fails before it reads its Sync", func(t *testing.T) {
		c := p.in(t).connect(token)
		c.Messages = nil
		c.Send(bytes.Join([][]byte{run("COPY marks FROM STDIN (FREEZE)"), syncMsg}, nil))
		time.Sleep(300 * time.Millisecond)
		c.Send(rawpg.Msg('c', nil))
		denied(t, batch(t, c, syncMsg), "FREEZE")
		a := batch(t, c, run(emails), run("INSERT INTO marks VALUES ('desync a')"), syncMsg)
		b := batch(t, c, parse("", "SELECT 'a'::text"), bind("", ""), describe("P", ""), execute(""), run("INSERT INTO marks VALUES ('desync b')"), syncMsg)
		if len(a.Rows) != 4 || len(b.Rows) != 1 || b.Value() != "a" {
			t.Errorf("the answers are shifted: %s, then %s", a.Describe(), b.Describe())
		}
	})

	t.Run("a COPY in a batch works", func(t *testing.T) {
		c := p.in(t).connect(token)
		c.Messages = nil
		c.Send(bytes.Join([][]byte{run("COPY marks(id) FROM STDIN"), syncMsg}, nil))
		if !c.ReadUntil("G", 10*time.Second) {
			t.Fatalf("no CopyInResponse: %s", c.Result().Describe())
		}
		c.Send(rawpg.Msg('d', []byte("copied 1\ncopied 2\n")))
		c.Send(rawpg.Msg('c', nil))
		if r := batch(t, c, syncMsg); len(r.Errors) > 0 || len(r.Tags) != 1 || r.Tags[0] != "COPY 2" {
			t.Errorf("COPY: %s", r.Describe())
		}
		fine(t, query(t, c, "SELECT 1"))
	})

	t.Run("shapes change in a batch", func(t *testing.T) {
		c := p.in(t).connect(token)
		fine(t, query(t, c, "CREATE VIEW vv AS SELECT id, city AS x FROM customers"))
		denied(t, batch(t, c, run("CREATE OR REPLACE VIEW vv AS SELECT id, email AS x FROM customers"), run("SELECT x FROM vv"), syncMsg), "in one batch")
		fine(t, query(t, c, "BEGIN"))
		fine(t, query(t, c, "CREATE OR REPLACE VIEW vv AS SELECT id, email AS x FROM customers"))
		denied(t, query(t, c, "SELECT x FROM vv"), "before it is committed")
		fine(t, query(t, c, "ROLLBACK"))
		fine(t, query(t, c, "SELECT x FROM vv WHERE id < 4"))
	})

	t.Run("a prepared statement is read anew", func(t *testing.T) {
		c := p.in(t).connect(token)
		fine(t, query(t, c, "PREPARE s AS SELECT x FROM v WHERE id < 4"))
		fine(t, batch(t, c, parse("w", "SELECT x FROM v WHERE id < 4"), describe("S", "w"), syncMsg))
		fine(t, query(t, c, "EXECUTE s"))
		p.value("CREATE OR REPLACE VIEW v AS SELECT id, email AS x FROM customers; SELECT 1")
		time.Sleep(2500 * time.Millisecond)
		batch(t, c, bind("", "w"), execute(""), syncMsg)
		query(t, c, "EXECUTE s") // batch looks for what must not come
		query(t, c, "EXECUTE w")
	})

	t.Run("a new column is masked at once", func(t *testing.T) {
		c := p.in(t).connect(token)
		query(t, c, "SELECT * FROM customers WHERE id = 1")
		p.value("ALTER TABLE customers ADD mail2 text; SELECT 1")
		if r := query(t, c, "SELECT * FROM customers WHERE id = 1"); len(r.Errors) > 0 {
			denied(t, r, "changed while") // it was read before doorward knew of the column
		}
		fine(t, query(t, c, "SELECT * FROM customers WHERE id = 1"))
	})

	t.Run("Parse, Describe, Flush and then a write", func(t *testing.T) { // as asyncpg does
		c := p.in(t).connect(token)
		c.Messages = nil
		c.Send(bytes.Join([][]byte{parse("a1", "INSERT INTO marks VALUES ('flushed')"), describe("S", "a1"), flushMsg}, nil))
		if !c.ReadUntil("n", 10*time.Second) {
			t.Fatal("no description came")
		}
		fine(t, batch(t, c, bind("", "a1"), execute(""), syncMsg))
		c.Messages = nil
		c.Send(bytes.Join([][]byte{parse("", "SELECT nonsense FROM orders"), flushMsg}, nil))
		if !c.ReadUntil("E", 10*time.Second) {
			t.Fatal("no error came")
		}
		fine(t, batch(t, c, syncMsg))
		fine(t, query(t, c, "SELECT 1"))
	})

	t.Run("notifications survive doorward's own statements", func(t *testing.T) {
		c := p.in(t).connect(token)
		fine(t, query(t, c, "LISTEN ch"))
		seen := 0
		for i := range 4 {
			p.value("SELECT 1 FROM pg_notify('ch','x')")
			time.Sleep(200 * time.Millisecond)
			sql := "SELECT 1"
			if i%2 == 0 {
				sql = "INSERT INTO marks VALUES ('notified " + string(rune('a'+i)) + "')"
			}
			fine(t, query(t, c, sql))
			for _, m := range c.Messages {
				if m.Type == 'A' {
					seen++
				}
			}
		}
		if seen != 4 {
			t.Errorf("%d of 4 notifications came", seen)
		}
	})

	t.Run("a limit cuts the answer, not the record", func(t *testing.T) {
		c := p.in(t).connect(token)
		denied(t, query(t, c, "INSERT INTO marks SELECT 'cut'||g FROM generate_series(1, 20) g RETURNING id"), "ran to its end")
		query(t, c, "SELECT generate_series(1, 20); INSERT INTO marks VALUES ('cut last')")
		fine(t, query(t, c, "SELECT 1"))
		if n := p.value("SELECT count(*) FROM marks WHERE id LIKE 'cut%'"); n != "21" {
			t.Errorf("%s rows are there, want 21", n)
		}
	})

	t.Run("pieces of a portal share one limit", func(t *testing.T) {
		c := p.in(t).connect(token)
		fine(t, query(t, c, "BEGIN"))
		fine(t, batch(t, c, parse("", "SELECT generate_series(1, 50)"), bind("p", ""), syncMsg))
		rows := 0
		for range 5 {
			rows += len(batch(t, c, rawpg.Msg('E', rawpg.Execute("p", 8)), syncMsg).Rows)
		}
		if rows > 10 {
			t.Errorf("%d rows came under a limit of 10", rows)
		}
	})

	t.Run("what was rolled back is recorded so", func(t *testing.T) {
		c := p.in(t).connect(token)
		if r := batch(t, c, run("INSERT INTO kid VALUES (1, 9999)"), syncMsg); len(r.Errors) != 1 {
			t.Errorf("the deferred constraint held nothing: %s", r.Describe())
		}
		if r := batch(t, c, run("INSERT INTO kid VALUES (2, 1)"), run("SELECT 1/0"), syncMsg); len(r.Errors) != 1 {
			t.Errorf("the batch did not fail: %s", r.Describe())
		}
		c.Terminate()
		if n := p.value("SELECT count(*) FROM kid"); n != "0" {
			t.Fatalf("%s rows are there", n)
		}
		time.Sleep(300 * time.Millisecond)
		if out := p.exported(); strings.Count(out, `"error":"rolled back: 2`) != 2 {
			t.Errorf("the record does not say that both were rolled back:\n%s", out)
		}
	})

	t.Run("a killed session takes its statement with it", func(t *testing.T) {
		c := p.in(t).connect(token)
		lock, err := p.pg.Connect(t.Context(), "shop")
		if err != nil {
			t.Fatal(err)
		}
		defer lock.Terminate()
		query(t, lock, "BEGIN; SELECT * FROM orders WHERE id = 1 FOR UPDATE")
		c.Send(rawpg.Msg('Q', []byte("UPDATE orders SET status = 'killed' WHERE id = 1\x00")))
		time.Sleep(time.Second)
		ada := p.as("ada")
		id := p.value("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
		if id != "1" {
			t.Fatalf("%s statements wait for the lock", id)
		}
		sessions, err := ada.Sessions(t.Context(), "target=shop-db")
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range sessions {
			_ = ada.Do(t.Context(), "POST", "/api/v1/sessions/"+s.ID+"/kill", map[string]any{}, nil)
		}
		c.Drain(3 * time.Second)
		query(t, lock, "COMMIT")
		time.Sleep(time.Second)
		if v := p.value("SELECT count(*) FROM orders WHERE status = 'killed'"); v != "0" {
			t.Error("the write of a killed session was committed")
		}
	})
}

// exported is the whole audit log.
func (p *place) exported() string {
	p.t.Helper()
	bin, err := harness.Binary()
	if err != nil {
		p.t.Fatal(err)
	}
	out, err := exec.Command(bin, "audit", "export", "--ledger", filepath.Join(p.gate.State, "ledger")).CombinedOutput()
	if err != nil {
		p.t.Fatalf("audit export: %v\n%s", err, out)
	}
	return string(out)
}

// reviewed lets reads through, and asks for every update and delete.
func reviewed(c *harness.Config) {
	c.Wait = 10 * time.Second
	c.Rules = []any{
		map[string]any{"name": "all", "targets": []string{"*"}, "when": "effect.complete && !('update' in effect.verbs) && !('delete' in effect.verbs)", "then": "allow", "limits": map[string]any{"rows": 10, "time": "20s"}},
		map[string]any{"name": "writes", "targets": []string{"*"}, "when": "effect.complete && ('update' in effect.verbs || 'delete' in effect.verbs)", "then": "review", "reviewers": map[string]any{"groups": []string{"dba"}, "count": 1}, "limits": map[string]any{"rows": 10}},
	}
}

// votes answers the next review with a yes for at most so many rows (0: any).
func (p *place) votes(rows int64) {
	dora := p.as("dora")
	for range 200 {
		list, err := dora.Reviews(p.t.Context(), "waiting")
		if err == nil && len(list) > 0 {
			if err := dora.Vote(p.t.Context(), list[0].ID, true, "", rows); err != nil {
				p.t.Errorf("the vote: %v", err)
			}
			return
		}
		time.Sleep(30 * time.Millisecond)
	}
}

func TestApprovalsBindWhatRuns(t *testing.T) {
	p := open(t, pgtest.Options{}, reviewed)
	token := p.agent("ada")
	changed := func() string { return p.value("SELECT count(*) FROM orders WHERE status = 'changed'") }

	t.Run("a name cannot be approved", func(t *testing.T) {
		c := p.in(t).connect(token)
		fine(t, batch(t, c, parse("s1", "UPDATE orders SET status = 'changed' WHERE id = 1"), syncMsg))
		denied(t, query(t, c, "EXECUTE s1"), "cannot be approved")
	})
	t.Run("a portal is executed where it is bound", func(t *testing.T) {
		c := p.in(t).connect(token)
		fine(t, query(t, c, "BEGIN"))
		denied(t, batch(t, c, parse("u", "UPDATE orders SET status = 'changed'"), bind("p1", "u"), syncMsg), "in the batch that binds it")
	})
	for name, sql := range map[string]string{
		"a write inside of WITH":    "WITH d AS (UPDATE orders SET status = 'changed' RETURNING 1) SELECT count(*) FROM d",
		"a write that EXPLAIN runs": "EXPLAIN ANALYZE UPDATE orders SET status = 'changed'",
		"a second write in WITH":    "WITH d AS (UPDATE orders SET status = 'changed' RETURNING 1) UPDATE counters SET n = 1 WHERE id = 1",
	} {
		t.Run(name, func(t *testing.T) {
			c := p.in(t).connect(token)
			go p.votes(1)
			denied(t, query(t, c, sql), "bounds the rows")
		})
	}
	t.Run("a cut answer is not kept", func(t *testing.T) {
		c := p.in(t).connect(token)
		go p.votes(5)
		if r := query(t, c, "UPDATE orders SET status = 'changed' RETURNING id"); len(r.Errors) != 1 {
			t.Errorf("no error came: %s", r.Describe())
		}
		fine(t, query(t, c, "SELECT 1"))
	})
	for name, leave := range map[string]func(*rawpg.Conn){"politely": (*rawpg.Conn).Terminate, "at once": (*rawpg.Conn).Close} {
		t.Run("a client that left "+name, func(t *testing.T) {
			c := p.in(t).connect(token)
			c.Send(rawpg.Msg('Q', []byte("UPDATE orders SET status = 'changed' WHERE id = "+map[string]string{"politely": "3", "at once": "4"}[name]+"\x00")))
			time.Sleep(700 * time.Millisecond)
			leave(c)
			time.Sleep(300 * time.Millisecond)
			p.votes(0)
			time.Sleep(time.Second)
		})
	}
	if n := changed(); n != "0" {
		t.Errorf("%s rows were changed without a yes for them", n)
	}
	t.Run("the target changed meanwhile", func(t *testing.T) {
		p.value("CREATE VIEW w AS SELECT id, status FROM orders; GRANT ALL ON w TO shop; SELECT 1")
		time.Sleep(1500 * time.Millisecond)
		c := p.in(t).connect(token)
		go func() {
			time.Sleep(time.Second)
			p.value("CREATE OR REPLACE VIEW w AS SELECT id, status FROM orders WHERE id < 100; SELECT 1")
			p.value("ALTER TABLE orders RENAME TO orders_old; CREATE VIEW orders AS SELECT * FROM orders_old; GRANT ALL ON orders TO shop; SELECT 1")
			time.Sleep(2 * time.Second)
			p.votes(0)
		}()
		denied(t, query(t, c, "UPDATE orders SET status = 'changed' WHERE id = 5"), "changed while this was held")
	})
}
