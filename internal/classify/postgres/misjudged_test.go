package postgres

import (
	"context"
	"slices"
	"testing"

	"github.com/doorward/doorward"
)

// Statements that were once misjudged, and their neighbours.
func TestMisjudged(t *testing.T) {
	env := fixtureEnv(t)
	masked := *env
	masked.Masked, masked.Key = maskCustomers, "PM"
	none := *env
	none.Masked, none.Key = func(string, string, string) string { return "" }, "none"
	const setting = "SELECT set_config(name, 'UTC', false) FROM pg_settings WHERE name = 'TimeZone'"
	p1, p2, p3, p23 := []string{"P1"}, []string{"P2"}, []string{"P3"}, []string{"P2", "P3"}
	r := NewReader(8 << 20)
	for _, k := range []struct {
		sql    string
		policy []string
		want   string
	}{
		// What pg_dump says to set what an older server may not have has no other part.
		{setting, p1, "allow"},
		{setting + " ORDER BY purge_orders()", p1, "deny"},
		{setting + " ORDER BY (SELECT pg_terminate_backend(1))", p1, "deny"},
		{setting + " WINDOW w AS (ORDER BY purge_orders())", p1, "deny"},
		{setting + " HAVING purge_orders() > 0", p1, "deny"},
		{setting + " LIMIT purge_orders()", p1, "deny"},
		{"SELECT DISTINCT ON (purge_orders()) set_config(name, 'UTC', false) FROM pg_settings WHERE name = 'TimeZone'", p1, "deny"},
		{"SELECT set_config(name, 'UTC', false) FILTER (WHERE purge_orders() > 0) FROM pg_settings WHERE name = 'TimeZone'", p1, "deny"},

		// Rows multiply outside of the select list too.
		{"INSERT INTO scratch SELECT 1, 'x'", p2, "allow"},
		{"INSERT INTO scratch SELECT 1, 'x' ORDER BY 1", p2, "allow"},
		{"INSERT INTO scratch SELECT DISTINCT 1, 'x'", p2, "allow"},
		{"INSERT INTO scratch SELECT 1, 'x' ORDER BY generate_series(1, 100000)", p2, "review"},
		{"INSERT INTO audit_log(msg) SELECT 'x' GROUP BY generate_series(1, 100000)", p2, "review"},
		{"INSERT INTO audit_log(msg) SELECT 'x' GROUP BY CUBE (1, 2, 3)", p2, "review"},
		{"INSERT INTO audit_log(msg) SELECT DISTINCT ON (generate_series(1, 100000)) 'x'", p2, "review"},
		{"INSERT INTO audit_log(msg) VALUES ('x') ORDER BY generate_series(1, 100000)", p2, "review"},
		{"INSERT INTO audit_log(msg) SELECT (count(*) OVER (ORDER BY generate_series(1, 100000)))::text", p2, "review"},
		{"INSERT INTO audit_log(msg) SELECT 'x' WINDOW w AS (ORDER BY generate_series(1, 100000))", p2, "review"},
		{"INSERT INTO audit_log(msg) SELECT (generate_series(1, 1000) IN (SELECT 1))::text", p2, "review"},

		{"INSERT INTO orders (note) SELECT p0::VARCHAR FROM (VALUES ($1, 0), ($2, 1)) AS imp_sen(p0, sen_counter) ORDER BY sen_counter RETURNING id", p2, "allow"},
		{"INSERT INTO audit_log(msg) SELECT a FROM (VALUES ('x'), ('y')) v(a), (SELECT 1 UNION ALL SELECT 2) w", p2, "allow"},
		{"INSERT INTO audit_log(msg) SELECT a FROM (VALUES ('x')) v(a), orders", p2, "review"},
		{"INSERT INTO audit_log(msg) SELECT a FROM (SELECT note FROM orders) v(a)", p2, "review"},
		{"INSERT INTO audit_log(msg) SELECT a FROM (SELECT generate_series(1, 1000)::text) v(a)", p2, "review"},
		{"INSERT INTO audit_log(msg) SELECT 'x' FROM unnest($1::int[])", p2, "review"},
		{"INSERT INTO audit_log(msg) VALUES (CASE WHEN $1 THEN greatest('a', 'b') ELSE crypt('a', gen_salt('bf')) END)", p2, "allow"},

		// Code that cannot be seen into is for a person, where nothing is masked.
		{"DO $$BEGIN DELETE FROM orders; END$$", p2, "review"},
		{"CALL p_purge()", p2, "review"},
		{"SELECT run_sql('x')", p2, "review"},
		{"DO $$BEGIN RAISE NOTICE '%', (SELECT ssn FROM customers LIMIT 1); END$$", p23, "deny"},
		{"SELECT run_sql('x')", p23, "deny"},
		{"SELECT emp_list()", p23, "deny"},
		{"SELECT 1 === 2", p23, "deny"},
		{"SELECT price_of(1)", p23, "allow"},

		// Settings and native code hide in functions and types.
		{"ALTER FUNCTION bump() COST 10", p2, "review"},
		{"ALTER FUNCTION bump() SET session_replication_role = replica", p2, "deny"},
		{"ALTER FUNCTION bump() SECURITY DEFINER SET role = 'postgres'", p2, "deny"},
		{"CREATE TYPE t", p2, "review"},
		{"CREATE TYPE t (INPUT = x, OUTPUT = y)", p2, "deny"},

		// Definitions that look at masked columns.
		{"ALTER TABLE customers ADD COLUMN z int DEFAULT 0", p23, "review"},
		{"ALTER TABLE customers ADD CHECK (balance >= 0)", p23, "review"},
		{"ALTER TABLE customers ALTER COLUMN city TYPE varchar(50)", p23, "review"},
		{"ALTER TABLE customers ALTER COLUMN city TYPE text USING email", p23, "deny"},
		{"ALTER TABLE customers ALTER COLUMN city TYPE text USING upper(city)", p23, "review"},
		{"ALTER TABLE customers ADD COLUMN e2 text GENERATED ALWAYS AS (lower(email)) STORED", p23, "deny"},
		{"ALTER TABLE customers ADD CHECK (ssn NOT LIKE '1%')", p23, "deny"},
		{"ALTER TABLE customers ADD CONSTRAINT k EXCLUDE USING gist ((email || 'x') WITH =)", p23, "deny"},
		{"ALTER TABLE orders ADD CONSTRAINT fk FOREIGN KEY (note) REFERENCES customers (email)", p23, "deny"},
		{"ALTER TABLE customers ADD FOREIGN KEY (ssn) REFERENCES scratch (v)", p23, "deny"},
		{"ALTER TABLE orders ADD FOREIGN KEY (product_id) REFERENCES products", p23, "review"},
		{"CREATE INDEX ON customers (email)", p23, "review"},
		{"CREATE INDEX ON customers ((1 / length(email)))", p23, "deny"},
		{"CREATE INDEX ON customers (id) WHERE email LIKE 'a%'", p23, "deny"},
		{"CREATE POLICY p ON customers USING (id = 1)", p23, "review"},
		{"CREATE POLICY p ON customers USING (email = 'x')", p23, "deny"},
		{"CREATE RULE r AS ON UPDATE TO customers DO ALSO INSERT INTO scratch VALUES (1, NEW.email)", p23, "deny"},
		{"CREATE RULE r AS ON UPDATE TO customers DO ALSO INSERT INTO scratch VALUES (1, NEW.city)", p23, "review"},
		{"CREATE TRIGGER t BEFORE UPDATE ON customers FOR EACH ROW WHEN (OLD.email = 'x') EXECUTE FUNCTION trig_f()", p23, "deny"},
		{"ALTER TABLE customers RENAME COLUMN email TO e", p23, "deny"},
		{"ALTER TABLE customers RENAME COLUMN city TO town", p23, "review"},
		{"ALTER TABLE customers RENAME TO clients", p23, "deny"},
		{"ALTER TABLE customers SET SCHEMA internal", p23, "deny"},
		{"ALTER TABLE customers_vip RENAME TO vips", p23, "review"}, // masked by what it inherits from
		{"ALTER TABLE customers_vip NO INHERIT customers", p23, "deny"},
		{"ALTER TABLE orders RENAME TO o2", p23, "review"},

		// EXPLAIN opens no cursor: an older one of that name is still what it was.
		{"EXPLAIN DECLARE c CURSOR FOR SELECT 'x'", p3, "allow"},
		{"EXPLAIN DECLARE c CURSOR FOR SELECT 'x'; FETCH ALL FROM c", p3, "deny"},

		// A NULL marker that a value may equal would show which one does.
		{"COPY customers (ssn) TO STDOUT", p3, "masked"},
		{`COPY customers (ssn) TO STDOUT (NULL '\N')`, p3, "masked"},
		{"COPY customers (ssn) TO STDOUT (NULL '')", p3, "masked"},
		{"COPY customers (ssn) TO STDOUT (FORMAT csv, NULL '123-45-6789')", p3, "masked"},
		{"COPY customers (ssn) TO STDOUT (NULL '123-45-6789')", p3, "deny"},
		{`COPY customers (ssn) TO STDOUT (NULL E'\\\\x')`, p3, "deny"},
		{"COPY (SELECT ssn FROM customers) TO STDOUT NULL AS '123-45-6789'", p3, "deny"},
		{"COPY orders TO STDOUT (NULL 'NULL')", p3, "allow"},

		// What an INSERT brings for a masked column may take the column's place.
		{"INSERT INTO customers (id, name, email) VALUES (1, 'x', 'y') ON CONFLICT (id) DO UPDATE SET name = EXCLUDED.name, email = EXCLUDED.email", p23, "masked"},
		{"INSERT INTO customers (id, name, email) VALUES (1, 'x', 'y') ON CONFLICT (id) DO UPDATE SET city = EXCLUDED.email", p23, "deny"},
		{"INSERT INTO customers (id, name, email) VALUES (1, 'x', 'y') ON CONFLICT (id) DO UPDATE SET email = lower(EXCLUDED.email)", p23, "deny"},
		{"INSERT INTO customers (id, name, email) VALUES (1, 'x', 'y') ON CONFLICT (id) DO UPDATE SET email = customers.email", p23, "deny"},
		{"UPDATE customers SET email = excluded.email FROM customers excluded WHERE customers.id = 1", p23, "deny"},

		// A sequence that is asked for by its name moves by the rows of the statement.
		{"SELECT nextval('orders_id_seq')", p1, "deny"},
		{"SELECT nextval('orders_id_seq')", p2, "allow"},
		{"select nextval('public.orders_id_seq'::regclass)", p2, "allow"},
		{"INSERT INTO orders (id, note) VALUES (nextval('orders_id_seq'), 'x') RETURNING id", p2, "allow"},
		{"SELECT nextval('nothing')", p2, "review"},
		{"SELECT nextval('orders')", p2, "review"},
		{"SELECT nextval($1)", p2, "review"},
		{"SELECT nextval('orders_id_seq') FROM generate_series(1, 100000)", p2, "review"},
		{"SELECT nextval('orders_id_seq'), generate_series(1, 100000)", p2, "review"},
		{"SELECT nextval('orders_id_seq') ORDER BY generate_series(1, 100000)", p2, "review"},
		{"SELECT nextval('orders_id_seq'), generate_series(1, 100000) ORDER BY 2 LIMIT 1", p2, "review"},
		{"SELECT setval('orders_id_seq', 1)", p2, "review"},

		// What tools ask.
		{"SELECT txid_current_if_assigned(), pg_current_xact_id_if_assigned(), current_query()", p1, "allow"},
		{"SELECT (pg_identify_object('pg_class'::regclass, 'orders'::regclass, 0)).identity, pg_relation_filepath('orders')", p1, "allow"},
		{"SELECT similarity(note, 'n1'), digest(note, 'sha256'), 'a=>1'::hstore -> 'a' FROM orders", p1, "allow"},
		{"SELECT txid_current()", p1, "deny"},
		{"SELECT * FROM crosstab('SELECT 1, 2, 3') AS t(a int, b int)", p1, "deny"},
	} {
		e := &none
		if slices.Contains(k.policy, "P3") {
			e = &masked
		}
		got, err := r.Read(k.sql, e, nil)
		if err != nil {
			t.Errorf("%s: %v", k.sql, err)
			continue
		}
		if v := judge(k.policy, &got.Effect); v != k.want {
			t.Errorf("%v: got %s, want %s: %s\n%s", k.policy, v, k.want, k.sql, show(got, nil))
		}
	}
}

// TestWrittenUnique: writing a masked column that is unique in whatever way,
// under whatever name, shows whether a value is there.
func TestWrittenUnique(t *testing.T) {
	const schema = `
CREATE TABLE customers (id int PRIMARY KEY, name text, email text, ssn text, card text, tag text,
  mail text GENERATED ALWAYS AS (lower(email)) STORED, EXCLUDE USING btree (card WITH =));
CREATE UNIQUE INDEX ON customers (lower(email));
CREATE UNIQUE INDEX ON customers (tag) WHERE ssn IS NOT NULL;
CREATE TABLE plain (id int PRIMARY KEY, email text);
CREATE TABLE only_expr (id int PRIMARY KEY, email text, ssn text);
CREATE UNIQUE INDEX ON only_expr (lower(email));
CREATE VIEW v AS SELECT id, email AS contact, name FROM customers;
CREATE VIEW vv AS SELECT id AS i, contact AS c, name AS n FROM v;
CREATE TABLE parent (id int, ssn text);
CREATE TABLE kid (UNIQUE (ssn)) INHERITS (parent);`
	mask := func(s, tb, col string) string {
		if tb == "parent" && col == "ssn" {
			return "parent.ssn"
		}
		if tb == "only_expr" && col != "id" {
			return "only_expr." + col
		}
		return maskCustomers(s, tb, col)
	}
	check := func(t *testing.T, cat *Catalog) {
		r, env := NewReader(1<<20), &Env{Catalog: cat, Masked: mask, Key: "x"}
		for sql, want := range map[string]doorward.MaskUse{
			"INSERT INTO customers (id, name) VALUES (1, 'x')":  doorward.MaskPlain,
			"INSERT INTO customers (id, email) VALUES (1, 'x')": doorward.MaskOther,
			"INSERT INTO customers (id, card) VALUES (1, 'x')":  doorward.MaskOther,
			"INSERT INTO customers (id, ssn) VALUES (1, 'x')":   doorward.MaskOther, // tells whether its tag is there
			"UPDATE customers SET email = 'x' WHERE id = 1":     doorward.MaskOther,
			"UPDATE customers SET name = 'x' WHERE id = 1":      doorward.MaskPlain,
			"INSERT INTO only_expr (id, ssn) VALUES (1, 'x')":   doorward.MaskPlain,
			"INSERT INTO only_expr (id, email) VALUES (1, 'x')": doorward.MaskOther,
			"INSERT INTO plain VALUES (1, 'x')":                 doorward.MaskNone,
			"INSERT INTO v (id, contact) VALUES (1, 'x')":       doorward.MaskOther,
			"INSERT INTO v (id, name) VALUES (1, 'x')":          doorward.MaskPlain,
			"UPDATE vv SET c = 'x' WHERE i = 1":                 doorward.MaskOther,
			"UPDATE vv SET n = 'x' WHERE i = 1":                 doorward.MaskPlain,
			"UPDATE parent SET ssn = 'x' WHERE id = 1":          doorward.MaskOther,
			"INSERT INTO kid VALUES (1, 'x')":                   doorward.MaskOther,
			"COPY v (id, contact) FROM STDIN":                   doorward.MaskOther,
			"SELECT mail FROM customers":                        doorward.MaskPlain,
			"SELECT id FROM customers WHERE mail = 'x'":         doorward.MaskOther,
			"SELECT id, tag FROM customers":                     doorward.MaskNone,
		} {
			got, err := r.Read(sql, env, nil)
			if err != nil || got.Effect.MaskUse != want {
				t.Errorf("%s: want %d\n%s", sql, want, show(got, err))
			}
		}
	}
	t.Run("file", func(t *testing.T) {
		cat, err := CatalogFromDDL(schema)
		if err != nil {
			t.Fatal(err)
		}
		check(t, cat)
	})
	t.Run("server", func(t *testing.T) {
		c := database(t, "written", "empty.sql")
		if _, err := c.Exec(context.Background(), schema).ReadAll(); err != nil {
			t.Fatal(err)
		}
		check(t, loaded(t, c))
	})
}
