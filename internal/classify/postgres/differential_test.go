package postgres

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/doorward/doorward"
)

// The corpus and the tools' queries against a catalog read from a server,
// extensions and all.
func TestCorpusOnServer(t *testing.T) {
	c := database(t, "corpus", "fixture.sql")
	env := &Env{Catalog: loaded(t, c), Functions: []string{"public.price_of"}, Key: "P"}
	masked := *env
	masked.Masked, masked.Key = maskCustomers, "PM"
	r := NewReader(8 << 20)
	for _, k := range corpus(t) {
		if k.Input.Type != "sql" || k.Input.SQL == "" {
			continue
		}
		e := env
		if slices.Contains(k.Policy, "P3") {
			e = &masked
		}
		got := "deny"
		reading, err := r.Read(k.Input.SQL, e, nil)
		if err == nil {
			got = judge(k.Policy, &reading.Effect)
			if got == "masked" && maskedColumns(reading) == 0 {
				got = "allow"
			}
		}
		if !slices.Contains(k.Expect.Accept, got) {
			t.Errorf("%s: got %s, want %v\n%s\n%s", k.ID, got, k.Expect.Accept, k.Input.SQL, show(reading, err))
		}
		if err == nil && got == "allow" {
			checkColumns(t, c, reading)
		}
	}
	for _, file := range []string{"psql_queries.jsonl", "orm_queries.jsonl", "pgdump_queries.jsonl"} {
		st := &session{}
		for _, q := range queries(t, file) {
			if strings.HasPrefix(q, "SET ") && strings.HasSuffix(q, "_timeout = 0") {
				continue
			}
			got, err := r.Read(q, env, st)
			if err != nil {
				t.Fatal(err)
			}
			st.keep(got)
			if !got.Effect.ReadOnly() {
				t.Errorf("not read-only: %.800s\n%s", q, show(got, nil))
			}
			checkColumns(t, c, got)
		}
	}
}

// Names that the server gives to columns decide what other names mean, so that
// they must be the same here.
func TestNamesOnServer(t *testing.T) {
	c := database(t, "names", "fixture.sql")
	env := &Env{Catalog: loaded(t, c), Key: "P"}
	r := NewReader(8 << 20)
	texts := []string{
		"SELECT true, false, NULL, 1, 'x', 1.5, B'1', date '2020-01-01', interval '1 day', 1::int, '1'::int4, 1::bigint::text, (1)::text, -1, - id, +id, id + 1, id::text, (id)::text, name COLLATE \"C\" FROM products",
		"SELECT (SELECT 1)::text, (SELECT 1), (SELECT 1 AS a)::text, (SELECT * FROM (SELECT 1 AS z) q), (SELECT q.* FROM (SELECT 1 AS y) q)::int, (VALUES (1)), (SELECT 1 UNION SELECT 2)::text, (SELECT id FROM products LIMIT 1), (WITH t AS (SELECT 1 AS w) SELECT w FROM t), EXISTS (SELECT 1), ARRAY(SELECT 1), 1 IN (SELECT 1)",
		"SELECT CASE WHEN true THEN 1 END, CASE WHEN true THEN 1 ELSE id END, CASE WHEN true THEN id ELSE 1 END, CASE WHEN true THEN 1 ELSE lower(name)::int END, (CASE WHEN true THEN 1 ELSE 2 END)::text, CASE WHEN true THEN '1' ELSE name COLLATE \"C\" END, CASE WHEN true THEN 1 ELSE 2::int END FROM products",
		"SELECT coalesce(1,2), nullif(1,2), greatest(1,2), least(1,2), ROW(1,2), (1,2), ARRAY[1], (ARRAY[1])[1], (ARRAY[id])[1], (p).id, (ROW(1)).f1, (p.*)::text, p, p::text, current_date, current_time, current_time(1), current_timestamp(2), localtime, localtimestamp, current_user, user, session_user, current_role, current_catalog, current_schema FROM products p",
		"SELECT extract(year FROM now()), now() AT TIME ZONE 'UTC', trim('x'), trim(leading 'x' from 'y'), substring('x' from 1), substring('x' similar 'y' escape '#'), position('a' in 'b'), overlay('a' placing 'b' from 1), cast(1 as text), 'a' LIKE 'b', 1 BETWEEN 1 AND 2, 1 IS NULL, true IS TRUE, NOT true, true AND false, 1 = ANY(ARRAY[1]), 1 IS DISTINCT FROM 2, normalize('a'), 'a' IS NORMALIZED, collation for ('a'), timestamp '2020-01-01', now()::date",
		"SELECT xmlconcat('<a/>'::xml), xmlelement(name a), xmlforest(1 AS a), xmlparse(content 'a'), xmlpi(name a), xmlroot('<a/>'::xml, version '1.0'), xmlserialize(content '<a/>'::xml AS text), '<a/>'::xml IS DOCUMENT, ('<a/>'::xml IS DOCUMENT)::text, xmlexists('/a' PASSING ('<a/>'::xml))",
		"SELECT count(*), count(*)::int, sum(id) OVER (), grouping(id), max(id) FILTER (WHERE true), percentile_cont(0.5) WITHIN GROUP (ORDER BY id) FROM products GROUP BY id",
		"SELECT * FROM lower('a')", "SELECT * FROM lower('a') AS x", "SELECT * FROM lower('a') AS x(y)", "SELECT * FROM generate_series(1,2)", "SELECT * FROM generate_series(1,2) WITH ORDINALITY g", "SELECT * FROM generate_series(1,2) WITH ORDINALITY AS g(a,b)", "SELECT * FROM unnest(ARRAY[1,2])", "SELECT * FROM unnest(ARRAY[1,2]) u", "SELECT * FROM unnest(ARRAY[1,2], ARRAY['a','b'])", "SELECT * FROM unnest(ARRAY[1,2], ARRAY['a','b']) AS u(a)", "SELECT * FROM ROWS FROM (generate_series(1,2), lower('x')) AS t", "SELECT * FROM json_each('{}')", "SELECT * FROM json_each('{}') j", "SELECT * FROM json_array_elements('[]')", "SELECT * FROM json_array_elements('[]') e", "SELECT * FROM jsonb_array_elements_text('[]') WITH ORDINALITY AS e", "SELECT * FROM json_to_record('{}') AS x(a int, b text)", "SELECT * FROM current_date", "SELECT * FROM current_date AS d", "SELECT * FROM cast(1 AS int) AS c", "SELECT * FROM coalesce(1,2)", "SELECT * FROM regexp_matches('a','b')", "SELECT * FROM pg_options_to_table(ARRAY['a=b'])", "SELECT * FROM pg_get_keywords()", "SELECT * FROM json_object_keys('{}')", "SELECT * FROM regexp_split_to_table('a','b') x", "SELECT * FROM string_to_table('a','b')", "SELECT * FROM aclexplode(NULL)", "SELECT * FROM pg_show_all_settings()", "SELECT * FROM ts_parse('default','a')", "SELECT * FROM jsonb_path_query('{}','$')", "SELECT * FROM generate_subscripts(ARRAY[1],1) s",
		"SELECT * FROM products p JOIN orders o USING (id)", "SELECT * FROM products NATURAL JOIN orders", "SELECT * FROM products p LEFT JOIN orders o USING (id) RIGHT JOIN customers c USING (id, name)", "SELECT * FROM (products p JOIN orders o USING (id)) AS j(a,b)", "SELECT u.* FROM products p JOIN orders o USING (id) AS u", "SELECT o.*, p.* FROM products p JOIN orders o USING (id)", "SELECT p.id, o.id, id FROM products p FULL JOIN orders o USING (id)", "SELECT * FROM products p, orders o, LATERAL (SELECT p.id AS pid) l", "SELECT * FROM (VALUES (1,2),(3,4)) v", "SELECT * FROM (VALUES (1,2)) v(a)", "TABLE v_contact", "SELECT * FROM mv_sales", "SELECT * FROM customers_vip", "SELECT v.* FROM v_emp v", "SELECT * FROM orders_id_seq",
		"WITH a(x) AS (SELECT 1, 2) SELECT * FROM a", "WITH RECURSIVE r(n) AS (SELECT 1, 2 UNION ALL SELECT n+1, 3 FROM r WHERE n<3) SELECT * FROM r", "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n+1 FROM r WHERE n<3) SEARCH BREADTH FIRST BY n SET o CYCLE n SET c USING p SELECT * FROM r", "SELECT 1 AS a UNION SELECT 2 AS b", "SELECT id FROM products UNION ALL SELECT qty FROM orders", "SELECT * FROM products UNION ALL SELECT 1,'a',2,3", "SELECT * FROM XMLTABLE('/a' PASSING ('<a/>'::xml) COLUMNS x text PATH 'y', o FOR ORDINALITY) t",
		"SELECT ctid, tableoid, xmin FROM products", "SELECT products.ctid, p.* FROM products, LATERAL (SELECT 1) p", "SELECT * FROM products TABLESAMPLE system(1)", "SELECT (p).* FROM products p",
	}
	for _, k := range contexts {
		texts = append(texts, strings.ReplaceAll(k, "@", "1"), strings.ReplaceAll(k, "@", "(SELECT ssn FROM customers LIMIT 1)"), strings.ReplaceAll(k, "@", "'2020-01-01'"))
	}
	for _, k := range attacks {
		texts = append(texts, k.sql)
	}
	for _, q := range texts {
		got, err := r.Read(q, env, nil)
		if err != nil {
			t.Errorf("%s: %v", q, err)
			continue
		}
		if len(got.Statements) == 1 {
			checkColumns(t, c, got)
		}
	}
}

// checkColumns compares the names and sources of a reading with what the
// server describes.
func checkColumns(t *testing.T, c *pgconn.PgConn, r *doorward.Reading) {
	t.Helper()
	ctx := context.Background()
	for _, s := range r.Statements {
		if s.Kind == "SELECT" && !s.Known {
			t.Logf("not known: %.200s", s.Text)
		}
		if s.Kind != "SELECT" || !s.Known {
			continue
		}
		d, err := c.Prepare(ctx, "", s.Text, nil)
		if err != nil {
			t.Logf("skipped: %v: %.200s", err, s.Text) // a query of another version, or another case's point
			continue
		}
		if len(d.Fields) != len(s.Columns) {
			t.Errorf("%d columns, the server has %d: %.300s\n%v", len(s.Columns), len(d.Fields), s.Text, s.Columns)
			continue
		}
		for i, f := range d.Fields {
			if f.Name != s.Columns[i].Name {
				t.Errorf("column %d is %q, the server says %q: %.300s", i+1, s.Columns[i].Name, f.Name, s.Text)
			}
		}
	}
}

type leakCase struct {
	ID, Kind, Title, Role string
	Steps, Alt            []struct{ Q, Bin, Fast string }
	Secrets, Absent       []string
}

func leakCases(t testing.TB) []leakCase {
	var out []leakCase
	for line := range strings.Lines(readFile(t, "leak_cases.jsonl")) {
		var c leakCase
		if err := json.Unmarshal([]byte(line), &c); err != nil {
			t.Fatal(err)
		}
		out = append(out, c)
	}
	return out
}

// TestLeaks runs whatever a reading lets through (reads, and writes too, which
// is more than a read-only policy would) and looks for the secrets in what no
// mask covers.
func TestLeaks(t *testing.T) {
	c := database(t, "leaks", "leak_schema.sql")
	ctx := context.Background()
	offline := &Env{Catalog: ddl(t, "leak_schema.sql"), Masked: maskLeak, Key: "L"}
	online := &Env{Catalog: loaded(t, c), Masked: maskLeak, Key: "L"}
	r := NewReader(8 << 20)
	for _, k := range leakCases(t) {
		for _, env := range []*Env{offline, online} {
			st := &session{}
			denied := false
			if _, err := c.Exec(ctx, "BEGIN").ReadAll(); err != nil {
				t.Fatal(err)
			}
			for _, s := range k.Steps {
				q := s.Q
				if q == "" {
					q = s.Bin
				}
				if q == "" {
					continue
				}
				got, err := r.Read(q, env, st)
				if err != nil || !allowedMasked(&got.Effect) {
					denied = true
					continue
				}
				if k.Kind == "oracle" && maskedColumns(got) == 0 && got.Effect.MaskUse != doorward.MaskPlain {
					t.Errorf("%s (%s): the oracle is allowed: %s\n%s", k.ID, k.Title, q, show(got, nil))
				}
				st.keep(got)
				if q == "BEGIN" {
					continue
				}
				checkSecrets(t, c, k, q, got)
			}
			if k.Kind == "oracle" && !denied {
				t.Errorf("%s (%s): the oracle is allowed", k.ID, k.Title)
			}
			if _, err := c.Exec(ctx, "ROLLBACK").ReadAll(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// allowedMasked is the softest policy there could be: everything that is
// understood, is not an execution or an administrative act, and uses masked
// columns plainly only.
func allowedMasked(e *doorward.Effect) bool {
	return e.Complete && e.Refuse == "" && !e.Verbs.Has(doorward.VerbExecute|doorward.VerbAdmin|doorward.VerbUnknown) && e.MaskUse != doorward.MaskOther
}

func checkSecrets(t *testing.T, c *pgconn.PgConn, k leakCase, q string, got *doorward.Reading) {
	t.Helper()
	res, err := c.Exec(context.Background(), q).ReadAll()
	if err != nil {
		// The gate takes DETAIL out of errors that masked tables can fill.
		if pe, ok := err.(*pgconn.PgError); ok && got.Effect.MaskUse == doorward.MaskNone {
			for _, s := range k.Secrets {
				if strings.Contains(pe.Message+pe.Detail+pe.Hint, s) {
					t.Errorf("%s: the error holds a secret: %s: %v", k.ID, q, pe)
				}
			}
		}
		return
	}
	sts := got.Statements
	for i, result := range res {
		var cols []doorward.Column
		if i < len(sts) {
			cols = sts[i].Columns
			if len(result.FieldDescriptions) > 0 && (!sts[i].Known || len(cols) != len(result.FieldDescriptions)) && got.Effect.MaskUse != doorward.MaskNone {
				t.Errorf("%s: columns of %s: %v, the server has %d", k.ID, q, cols, len(result.FieldDescriptions))
			}
		}
		for _, row := range result.Rows {
			for j, v := range row {
				if j < len(cols) && cols[j].Masked != "" {
					continue
				}
				for _, s := range append(append([]string(nil), k.Secrets...), k.Absent...) {
					if strings.Contains(strings.ToLower(string(v)), strings.ToLower(s)) {
						t.Errorf("%s (%s): column %d of %s shows %q", k.ID, k.Title, j+1, q, s)
					}
				}
			}
		}
	}
}

// Plain selections of masked columns must come back masked, not be denied.
func TestLeaksUseful(t *testing.T) {
	env := &Env{Catalog: ddl(t, "leak_schema.sql"), Masked: maskLeak, Key: "L"}
	r := NewReader(1 << 20)
	for _, id := range []string{"A03", "A07", "A09", "A10", "A11", "A12", "A13", "A14", "A15", "A16", "A18", "A19", "A27", "C02", "C03", "C05"} {
		for _, k := range leakCases(t) {
			if k.ID != id {
				continue
			}
			st := &session{}
			for _, s := range k.Steps {
				if s.Q == "" {
					continue
				}
				got, err := r.Read(s.Q, env, st)
				if err != nil {
					t.Errorf("%s: %v", id, err)
					continue
				}
				st.keep(got)
				if s.Q != "BEGIN" && !strings.HasPrefix(s.Q, "DECLARE") && (!allowedMasked(&got.Effect) || maskedColumns(got) == 0) {
					t.Errorf("%s: %s should come back masked\n%s", id, s.Q, show(got, nil))
				}
			}
		}
	}
}
