package postgres

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/doorward/doorward"
)

// Every statement of the corpus's scripts, read in order, one session a case.
func TestCorpusScripts(t *testing.T) {
	env := fixtureEnv(t)
	masked := *env
	masked.Masked, masked.Key = maskCustomers, "PM"
	r := NewReader(8 << 20)
	for _, c := range corpus(t) {
		if c.Input.Type != "script" {
			continue
		}
		e, st, outcomes := env, &session{}, []string{}
		if strings.Contains(strings.Join(c.Policy, " "), "P3") {
			e = &masked
		}
		for _, s := range c.Input.Steps {
			if s.SQL == "" || (s.Op != "Q" && s.Op != "P") || s.Conn == "other" || s.Conn == "victim" {
				continue
			}
			got, err := r.Read(s.SQL, e, st)
			if err != nil {
				outcomes = append(outcomes, "deny")
				continue
			}
			o := judge(c.Policy, &got.Effect)
			outcomes = append(outcomes, o)
			if o == "allow" || o == "masked" {
				st.keep(got)
				if s.Op == "P" && s.Stmt != "" {
					st.prepared[s.Stmt] = got
				}
			}
		}
		all := strings.Join(outcomes, " ")
		if c.Kind == "benign" && (strings.Contains(all, "deny") || strings.Contains(all, "review")) {
			t.Errorf("%s %s: %s", c.ID, c.Title, all)
		}
		if c.Kind == "attack" && len(outcomes) > 0 && !strings.Contains(all, "deny") && !strings.Contains(all, "review") && !strings.Contains(all, "masked") {
			t.Logf("%s %s: %s (stopped elsewhere)", c.ID, c.Title, all)
		}
	}
}

func TestBounds(t *testing.T) {
	cat, err := CatalogFromDDL(`CREATE TABLE t(a int, b int, c text, u text UNIQUE, PRIMARY KEY (a, b));
		CREATE TABLE one(id int PRIMARY KEY, t_a int, t_b int, n int, FOREIGN KEY (t_a, t_b) REFERENCES t(a, b));
		CREATE TABLE parent(id int PRIMARY KEY); CREATE TABLE kid(id int PRIMARY KEY, p int REFERENCES parent ON DELETE CASCADE);
		CREATE UNIQUE INDEX ON one(n) WHERE n > 0;
		CREATE TABLE ev(id int PRIMARY KEY, at date) PARTITION BY RANGE (id); CREATE TABLE ev1 PARTITION OF ev FOR VALUES FROM (1) TO (2);
		CREATE FUNCTION tf() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'; CREATE TABLE tt(id int PRIMARY KEY); CREATE TRIGGER tg BEFORE UPDATE ON tt EXECUTE FUNCTION tf();`)
	if err != nil {
		t.Fatal(err)
	}
	r := NewReader(1 << 20)
	env := &Env{Catalog: cat, Key: "x"}
	for _, c := range []struct {
		sql   string
		bound int64 // -1: unbounded
	}{
		{"UPDATE one SET n=1 WHERE id=1", 1}, {"UPDATE one SET n=1 WHERE 1=id", 1}, {"UPDATE one SET n=1 WHERE id=$1 AND n > 5", 1}, {"DELETE FROM one WHERE id IN (1,2,3)", 3}, {"DELETE FROM one WHERE id = ANY(ARRAY[1,2])", 2}, {"DELETE FROM one WHERE id = ANY('{1,2,3,4}')", 4}, {"DELETE FROM one WHERE id = ANY('{1,2}'::int[])", 2},
		{"DELETE FROM one WHERE id = '5'::int", 1}, {"DELETE FROM one WHERE one.id = -5", 1}, {"DELETE FROM one o WHERE o.id = 5", 1}, {"DELETE FROM public.one WHERE public.one.id = 5", 1}, {"UPDATE t SET c='x' WHERE a=1 AND b=2", 1}, {"UPDATE t SET c='x' WHERE (a,b)=(1,2)", 1}, {"UPDATE t SET c='x' WHERE a IN (1,2) AND b IN (1,2,3)", 6}, {"UPDATE t SET c='x' WHERE u='k'", 1},
		{"UPDATE t SET c='x' WHERE a=1", -1}, {"UPDATE one SET n=1 WHERE n=1", -1}, {"UPDATE one SET n=1 WHERE id=id", -1}, {"UPDATE one SET n=1 WHERE id=1 OR 1=1", -1}, {"UPDATE one SET n=1 WHERE id=1 OR id=2", -1}, {"UPDATE one SET n=1 WHERE NOT (id=1)", -1}, {"UPDATE one SET n=1 WHERE (id=1) IS NOT NULL", -1}, {"UPDATE one SET n=1 WHERE id <> 1", -1}, {"UPDATE one SET n=1 WHERE id >= 1", -1}, {"UPDATE one SET n=1 WHERE id NOT IN (1)", -1}, {"DELETE FROM one WHERE id <> ALL(ARRAY[1])", -1}, {"DELETE FROM one WHERE id = ALL(ARRAY[]::int[])", -1}, {"DELETE FROM one WHERE id = ANY($1)", -1}, {"DELETE FROM one WHERE id IN (SELECT 1)", -1}, {"DELETE FROM one WHERE id IN (1, n)", -1}, {"DELETE FROM one WHERE id = n", -1}, {"DELETE FROM one WHERE true", -1}, {"DELETE FROM one", -1},
		{"DELETE FROM one o USING t WHERE t.a=1 AND t.b=1", -1}, {"DELETE FROM one o USING t AS one WHERE one.a=1", -1}, {"UPDATE one SET n=1 FROM one x WHERE x.id=1", -1}, {"UPDATE one SET n=1 FROM t WHERE one.id=1", 1}, {"UPDATE one SET n=1 WHERE id = (SELECT max(id) FROM one)", -1}, {"DELETE FROM one WHERE id IN (" + strings.TrimSuffix(strings.Repeat("1,", 101), ",") + ")", -1},
		{"DELETE FROM parent WHERE id=1", -1}, {"UPDATE parent SET id=2 WHERE id=1", 1}, {"DELETE FROM kid WHERE id=1", 1}, {"UPDATE ev SET at=now() WHERE id=1", 1}, {"UPDATE ev1 SET at=now() WHERE id=1", 1},
		{"INSERT INTO one VALUES (1),(2)", 2}, {"INSERT INTO one SELECT 1", 1}, {"INSERT INTO one SELECT * FROM one LIMIT 7", 7}, {"INSERT INTO one SELECT generate_series(1,9)", -1}, {"INSERT INTO one SELECT unnest(ARRAY[1,2])", -1}, {"INSERT INTO one VALUES (generate_series(1,9))", -1}, {"INSERT INTO one SELECT * FROM one", -1}, {"INSERT INTO one DEFAULT VALUES", 1}, {"INSERT INTO one VALUES (1, 2, 3, 4) ON CONFLICT (id) DO UPDATE SET n = 2", 1}, {"INSERT INTO one SELECT 1 UNION ALL SELECT 2", 2}, {"INSERT INTO one SELECT * FROM one LIMIT NULL", -1}, {"INSERT INTO one SELECT * FROM one ORDER BY 1 FETCH FIRST 2 ROWS WITH TIES", -1},
		{"MERGE INTO one o USING (SELECT 1 AS id) s ON o.id=s.id WHEN MATCHED THEN DELETE", -1}, {"TRUNCATE one", -1}, {"WITH d AS (DELETE FROM one RETURNING id) UPDATE one SET n=1 WHERE id=1", -1}, {"WITH d AS (DELETE FROM kid WHERE id=1) UPDATE one SET n=1 WHERE id=1", 2}, {"COPY one FROM STDIN", -1},
	} {
		got, err := r.Read(c.sql, env, nil)
		if err != nil {
			t.Errorf("%s: %v", c.sql, err)
			continue
		}
		unbounded := got.Effect.Traits.Has(doorward.TraitUnbounded)
		if got.Effect.Bound != c.bound || unbounded != (c.bound < 0) {
			t.Errorf("%s: bound %d unbounded %v, want %d\n%s", c.sql, got.Effect.Bound, unbounded, c.bound, show(got, nil))
		}
	}
	got, _ := r.Read("UPDATE tt SET id=1 WHERE id=2", env, nil)
	if !got.Effect.Verbs.Has(doorward.VerbExecute) {
		t.Error("a trigger must count as code")
	}
	got, _ = r.Read("UPDATE tt SET id=1 WHERE id=2", &Env{Catalog: cat, Functions: []string{"tf"}, Key: "y"}, nil)
	if got.Effect.Verbs.Has(doorward.VerbExecute) || got.Effect.Bound != 1 {
		t.Error("a listed trigger function does not count")
	}
}

func TestControls(t *testing.T) {
	r := NewReader(1 << 20)
	env := fixtureEnv(t)
	for _, c := range []struct {
		sql     string
		control doorward.Control
		name    string
		ro      bool
	}{
		{"BEGIN", doorward.ControlBegin, "", false}, {"BEGIN READ ONLY", doorward.ControlBegin, "", true}, {"START TRANSACTION ISOLATION LEVEL SERIALIZABLE, READ ONLY, DEFERRABLE", doorward.ControlBegin, "", true}, {"COMMIT", doorward.ControlCommit, "", false}, {"END", doorward.ControlCommit, "", false}, {"ABORT", doorward.ControlRollback, "", false}, {"SAVEPOINT a", doorward.ControlSavepoint, "a", false}, {"ROLLBACK TO a", doorward.ControlRollbackTo, "a", false}, {"RELEASE a", doorward.ControlRelease, "a", false},
		{"DEALLOCATE p", doorward.ControlDeallocate, "p", false}, {"DEALLOCATE ALL", doorward.ControlDeallocate, "", false}, {"CLOSE c", doorward.ControlClose, "c", false}, {"CLOSE ALL", doorward.ControlClose, "", false}, {"SET TIME ZONE 'UTC'", doorward.ControlSet, "timezone", false}, {"COPY products TO STDOUT", doorward.ControlCopyOut, "", false}, {"COPY scratch FROM STDIN", doorward.ControlCopyIn, "", false}, {"LISTEN x", doorward.ControlListen, "x", false}, {"DISCARD PLANS", doorward.ControlDiscard, "plans", false},
	} {
		got, err := r.Read(c.sql, env, nil)
		if err != nil {
			t.Fatal(err)
		}
		s := got.Statements[0]
		if s.Control != c.control || s.Name != c.name || s.ReadOnly != c.ro {
			t.Errorf("%s: %+v", c.sql, s)
		}
	}
	got, err := r.Read("COPY (SELECT id, name FROM products) TO STDOUT WITH (FORMAT csv, DELIMITER ';', NULL 'nil', QUOTE '''', HEADER)", env, nil)
	if err != nil {
		t.Fatal(err)
	}
	s := got.Statements[0]
	if s.Format != "csv" || s.Delim != ';' || s.Null != "nil" || s.Quote != '\'' || s.Escape != '\'' || !s.Header || len(s.Columns) != 2 || !s.Known {
		t.Errorf("%+v", s)
	}
	got, err = r.Read("SELECT 1 ; /* x */ SELECT 'é;' ; ", env, nil)
	if err != nil || len(got.Statements) != 2 || got.Statements[0].Text != "SELECT 1" || !strings.HasSuffix(got.Statements[1].Text, "SELECT 'é;'") {
		t.Errorf("%+v %v", got, err)
	}
	st := &session{}
	first, _ := r.Read("PREPARE q AS SELECT id FROM products", env, st)
	st.keep(first)
	got, _ = r.Read("EXECUTE q", env, st)
	if !got.Stateful || !got.Effect.ReadOnly() || len(got.Statements[0].Columns) != 1 {
		t.Errorf("%s", show(got, nil))
	}
	st.prepared["q"], _ = r.Read("DELETE FROM orders", env, st)
	if got, _ = r.Read("EXPLAIN ANALYZE EXECUTE q", env, st); got.Effect.ReadOnly() {
		t.Error("EXECUTE was cached although it depends on the session")
	}
}

func TestLimits(t *testing.T) {
	r := NewReader(1 << 20)
	start := time.Now()
	defer func() { t.Logf("all in %v", time.Since(start)) }()
	for name, text := range map[string]string{
		"parens": "SELECT " + strings.Repeat("(", 200000), "plus": "SELECT 1" + strings.Repeat("+1", 400000), "casts": "SELECT 1" + strings.Repeat("::int", 150000), "unions": "SELECT 1" + strings.Repeat(" UNION SELECT 1", 60000),
		"joins": "SELECT 1 FROM a" + strings.Repeat(" CROSS JOIN a", 70000), "not": "SELECT " + strings.Repeat("NOT ", 200000) + "true", "isnull": "SELECT 1" + strings.Repeat(" IS NULL", 100000), "collate": "SELECT 'a'" + strings.Repeat(" COLLATE \"C\"", 80000), "comma unions": "SELECT 1,2" + strings.Repeat(" UNION SELECT 1,2", 50000), "minus": "SELECT " + strings.Repeat("- ", 400000) + "1", "ops": "SELECT 1" + strings.Repeat("@@1", 300000), "sub": strings.Repeat("SELECT (", 100000), "case": "SELECT " + strings.Repeat("CASE WHEN ", 100000), "array": "SELECT " + strings.Repeat("ARRAY[", 150000), "strings": "SELECT 'a'" + strings.Repeat("||'a'", 200000), "likes": "SELECT 'a'" + strings.Repeat(" LIKE 'a' ESCAPE 'b'", 50000), "at": "SELECT now()" + strings.Repeat(" AT TIME ZONE 'UTC'", 50000),
		"short plus": "SELECT 1" + strings.Repeat("+1", 8000), "short casts": "SELECT 1" + strings.Repeat("::int", 3000), "size": strings.Repeat(" ", MaxText+1), "nul": "SELECT 1\x00", "utf8": "SELECT '\xff'", "statements": strings.Repeat("SELECT 1;", 101),
	} {
		began := time.Now()
		got, err := r.Read(text, nil, nil)
		t.Logf("%s: %v", name, time.Since(began))
		if err == nil && got.Effect.ReadOnly() || err != nil && got != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := r.Read(strings.Repeat(" ", MaxText+1), nil, nil); !errors.Is(err, ErrLimit) {
		t.Errorf("%v", err)
	}
	// Large but flat texts are fine.
	for name, text := range map[string]string{
		"in list": "SELECT 1 WHERE 1 IN (" + strings.TrimSuffix(strings.Repeat("1,", 40000), ",") + ")", "values": "VALUES " + strings.TrimSuffix(strings.Repeat("(1,'2020-01-01'::date,-1),", 8000), ","), "or": "SELECT 1 WHERE 1=1" + strings.Repeat(" OR 1=2", 20000), "literal": "SELECT '" + strings.Repeat("(", 500000) + "'",
	} {
		if got, err := r.Read(text, nil, nil); err != nil || !got.Effect.ReadOnly() {
			t.Errorf("%s: %v %v", name, err, got != nil)
		}
	}
}

func TestCacheKeys(t *testing.T) {
	r := NewReader(1 << 20)
	env := fixtureEnv(t)
	masked := *env
	masked.Masked, masked.Key = maskCustomers, "PM"
	x, _ := r.Read("SELECT ssn FROM customers", env, nil)
	y, _ := r.Read("SELECT ssn FROM customers", &masked, nil)
	if x == y || maskedColumns(x) != 0 || maskedColumns(y) != 1 {
		t.Error("the environment must be part of the key")
	}
	if z, _ := r.Read("SELECT ssn FROM customers", &masked, nil); z != y {
		t.Error("a repeated text must come from the cache")
	}
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 200 {
				if _, err := r.Read(fmt.Sprintf("SELECT %d FROM v_contact", (g*i)%50), &masked, nil); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	for i := range 3000 {
		if _, err := r.Read(fmt.Sprintf("SELECT %d", i), env, nil); err != nil {
			t.Fatal(err)
		}
	}
	var bytes int64
	for i := range r.cache.shards {
		bytes += r.cache.shards[i].bytes
	}
	if bytes > 1<<20 {
		t.Errorf("the cache holds %d bytes", bytes)
	}
	text := "SELECT id, name FROM products WHERE id = $1"
	r.Read(text, &masked, nil)
	if n := testing.AllocsPerRun(100, func() { r.Read(text, &masked, nil) }); n != 0 {
		t.Errorf("%v allocations for a repeated text", n)
	}
}

func BenchmarkRepeated(b *testing.B) {
	r := NewReader(1 << 20)
	env := fixtureEnv(b)
	text := "SELECT id, name FROM products WHERE id = $1"
	r.Read(text, env, nil)
	b.ReportAllocs()
	for b.Loop() {
		r.Read(text, env, nil)
	}
}

func BenchmarkNew(b *testing.B) {
	env := fixtureEnv(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := read("SELECT abalance FROM products WHERE id = 12345", env, env.Catalog, nil, &sync.Map{}); err != nil {
			b.Fatal(err)
		}
	}
}

func FuzzRead(f *testing.F) {
	for _, c := range corpus(f) {
		if c.Input.SQL != "" {
			f.Add(c.Input.SQL)
		}
	}
	for _, a := range attacks {
		f.Add(a.sql)
	}
	env := fixtureEnv(f)
	masked := *env
	masked.Masked, masked.Key = maskCustomers, "PM"
	f.Fuzz(func(t *testing.T, text string) {
		r := NewReader(1 << 16)
		got, err := r.Read(text, &masked, nil)
		if (err == nil) == (got == nil) {
			t.Fatalf("reading %v with error %v", got, err)
		}
		if err != nil {
			return
		}
		e := &got.Effect
		if e.ReadOnly() && (e.Writes() || e.Verbs.Has(doorward.VerbExecute|doorward.VerbAdmin)) {
			t.Fatalf("read-only, but %v", e.Verbs)
		}
		for _, s := range got.Statements {
			for _, c := range s.Columns {
				if c.Masked != "" && e.MaskUse == doorward.MaskNone {
					t.Fatalf("a masked column, but no use of one: %s", text)
				}
			}
			if !s.Effect.Complete && e.Complete {
				t.Fatal("the whole is surer than its part")
			}
		}
	})
}
