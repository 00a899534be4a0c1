package postgres

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/doorward/doorward"
)

func TestLoadCatalog(t *testing.T) {
	c := database(t, "catalog", "fixture.sql")
	ctx := context.Background()
	run := func(q string) {
		t.Helper()
		if _, err := c.Exec(ctx, q).ReadAll(); err != nil {
			t.Fatal(err)
		}
	}
	run(`CREATE TYPE mood AS ENUM ('a'); CREATE DOMAIN plainint AS int; CREATE FUNCTION ok(int) RETURNS bool LANGUAGE sql AS 'SELECT true'; CREATE DOMAIN checked AS int CHECK (ok(VALUE)); CREATE TYPE pair AS (a checked, b int);
		CREATE TABLE typed(id int PRIMARY KEY, m mood, e evilt, g int GENERATED ALWAYS AS (id + 1) STORED, UNIQUE (m, id));
		CREATE TABLE child(id int PRIMARY KEY, c int REFERENCES customers ON DELETE CASCADE);
		CREATE TABLE part(id int PRIMARY KEY, ssn text) PARTITION BY RANGE (id); CREATE TABLE part1 PARTITION OF part FOR VALUES FROM (1) TO (10);
		CREATE VIEW v_deep AS SELECT contact AS c FROM v_contact; CREATE VIEW v_fn AS SELECT bump1(id) FROM products; CREATE RULE rr AS ON UPDATE TO v_emp DO INSTEAD NOTHING;`)
	cat := loaded(t, c)
	env := &Env{Catalog: cat, Masked: func(s, tb, col string) string {
		if tb == "part1" && col == "ssn" {
			return "part1.ssn"
		}
		return maskCustomers(s, tb, col)
	}, Key: "x"}
	r := NewReader(1 << 20)
	for _, k := range []struct {
		sql  string
		want func(e *doorward.Effect) bool
	}{
		{"SELECT c FROM v_deep", func(e *doorward.Effect) bool { return e.MaskUse == doorward.MaskPlain && e.ReadOnly() }},
		{"SELECT lower(c) FROM v_deep", func(e *doorward.Effect) bool { return e.MaskUse == doorward.MaskOther }},
		{"SELECT * FROM v_fn", func(e *doorward.Effect) bool { return !e.ReadOnly() }},
		{"SELECT ssn FROM part", func(e *doorward.Effect) bool { return e.MaskUse == doorward.MaskPlain }},
		{"SELECT 'a'::mood, 1::plainint", func(e *doorward.Effect) bool { return e.ReadOnly() }},
		{"SELECT 1::checked", func(e *doorward.Effect) bool { return !e.ReadOnly() }},
		{"SELECT '(1,2)'::pair", func(e *doorward.Effect) bool { return !e.ReadOnly() }},
		{"SELECT '(1,2)'::pair[]", func(e *doorward.Effect) bool { return !e.ReadOnly() }},
		{"INSERT INTO typed(id, e) VALUES (1, '(x)')", func(e *doorward.Effect) bool { return e.Verbs.Has(doorward.VerbExecute) }},
		{"DELETE FROM customers WHERE id=1", func(e *doorward.Effect) bool { return e.Traits.Has(doorward.TraitUnbounded) }},
		{"UPDATE v_emp SET name='x'", func(e *doorward.Effect) bool { return e.Verbs.Has(doorward.VerbExecute) }},
		{"DELETE FROM typed WHERE m='a' AND id=1", func(e *doorward.Effect) bool { return e.Bound == 1 }},
		{"SELECT dblink_exec('x','y')", func(e *doorward.Effect) bool { return e.Verbs.Has(doorward.VerbAdmin) }},
		{"SELECT similarity('a','b'), gen_random_uuid()", func(e *doorward.Effect) bool { return e.ReadOnly() }},
		{"SELECT * FROM pg_stat_statements", func(e *doorward.Effect) bool { return !e.ReadOnly() }},
	} {
		got, err := r.Read(k.sql, env, nil)
		if err != nil || !k.want(&got.Effect) {
			t.Errorf("%s\n%s", k.sql, show(got, err))
		}
	}
	got, err := r.Read("COPY typed TO STDOUT", env, nil)
	if err != nil || len(got.Statements[0].Columns) != 3 {
		t.Errorf("%s", show(got, err))
	}
	for _, q := range []string{"CREATE TABLE epoch1(id int)", "ALTER TABLE epoch1 ADD x int", "CREATE VIEW ev AS SELECT 1", "CREATE OR REPLACE VIEW ev AS SELECT 2 AS \"?column?\"", "DROP VIEW ev", "ALTER TABLE epoch1 RENAME TO epoch2", "CREATE FUNCTION ef() RETURNS int LANGUAGE sql AS 'SELECT 1'", "CREATE UNIQUE INDEX ON epoch2(id)", "CREATE SCHEMA es", "ALTER TABLE epoch2 SET SCHEMA es", "ALTER TABLE es.epoch2 INHERIT public.employees", "CREATE TRIGGER et BEFORE INSERT ON scratch EXECUTE FUNCTION trig_f()", "ALTER TABLE scratch DISABLE TRIGGER et"} {
		if strings.Contains(q, "INHERIT") {
			continue
		}
		before := epoch(t, c)
		run(q)
		if epoch(t, c) == before {
			t.Errorf("the epoch did not change by %s", q)
		}
	}
	before := epoch(t, c)
	run("INSERT INTO scratch VALUES (77,'x'); SELECT count(*) FROM orders")
	if epoch(t, c) != before {
		t.Error("the epoch changed by a write of data")
	}
	if !slices.Contains(cat.Schemas(), "internal") || len(cat.Relations()["public.customers"]) != 8 {
		t.Error("schemas or relations are missing")
	}
	if _, err := LoadCatalog(ctx, func(context.Context, string) ([][]string, error) { return nil, errors.New("gone") }); err == nil {
		t.Error("an error must be handed on")
	}
	if _, err := LoadCatalog(ctx, func(context.Context, string) ([][]string, error) { return nil, nil }); err == nil {
		t.Error("an empty epoch is an error")
	}
}

func epoch(t *testing.T, c *pgconn.PgConn) string {
	t.Helper()
	out, err := loadFrom(c)(context.Background(), EpochSQL)
	if err != nil {
		t.Fatal(err)
	}
	return out[0][0]
}

func TestWithPath(t *testing.T) {
	cat := ddl(t, "fixture.sql").WithPath("internal", "public")
	r := NewReader(1 << 20)
	got, err := r.Read("SELECT * FROM customers", &Env{Catalog: cat}, nil)
	if err != nil || got.Effect.Objects[0].Name != "internal.customers" {
		t.Errorf("%s", show(got, err))
	}
	if got, _ = r.Read("SELECT lower('A')", &Env{Catalog: cat}, nil); got.Effect.ReadOnly() {
		t.Error("internal.lower is on the path")
	}
	if got, _ = r.Read("SELECT 1 = 1", &Env{Catalog: cat}, nil); got.Effect.ReadOnly() {
		t.Error("internal.= is on the path")
	}
	if got, _ = r.Read("SET search_path = internal, public", &Env{Catalog: cat}, nil); !got.Effect.ReadOnly() {
		t.Error("the pinned path may be set")
	}
}
