package postgres

import (
	"strings"
	"testing"

	"github.com/doorward/doorward"
)

// contexts are places where an expression can stand, each with a hole.
var contexts = []string{
	"SELECT @", "SELECT (@)", "SELECT 1 WHERE @ IS NOT NULL AND @ IS NULL", "SELECT 1 WHERE (@)::text = 'x'", "SELECT id FROM products ORDER BY (@)", "SELECT id FROM products ORDER BY id, (@) DESC NULLS LAST",
	"SELECT 1 FROM products GROUP BY (@)", "SELECT 1 FROM products GROUP BY GROUPING SETS ((id), ((@)::text))", "SELECT 1 FROM products GROUP BY ROLLUP ((@)::text)", "SELECT 1 HAVING (@) IS NULL",
	"SELECT DISTINCT ON ((@)) id FROM products", "SELECT id FROM products LIMIT (@)::text::int", "SELECT id FROM products OFFSET (@)::text::int", "SELECT id FROM products FETCH FIRST ((@)::text::int) ROWS ONLY",
	"SELECT CASE WHEN (@) IS NULL THEN 1 END", "SELECT CASE (@) WHEN 'x' THEN 1 END", "SELECT CASE WHEN true THEN (@) END", "SELECT CASE WHEN false THEN 1 ELSE (@)::text::int END",
	"SELECT coalesce((@)::text, 'x')", "SELECT nullif((@)::text, 'x')", "SELECT greatest((@)::text, 'x')", "SELECT least('x', (@)::text)",
	"SELECT ARRAY[(@)]", "SELECT ARRAY(SELECT (@))", "SELECT ROW((@), 1)", "SELECT ((@)::text, 2)", "SELECT (ARRAY[1,2])[(@)::text::int]", "SELECT (ARRAY[1,2])[(@)::text::int:2]", "SELECT (ROW((@))).f1",
	"SELECT (@)::text", "SELECT CAST((@) AS text)", "SELECT (@)::text COLLATE \"C\"", "SELECT (@)::text || 'x'", "SELECT 'x' LIKE (@)::text", "SELECT (@)::text ILIKE 'x'", "SELECT (@)::text SIMILAR TO 'x'", "SELECT (@)::text ~ 'x'",
	"SELECT 1 WHERE (@)::text BETWEEN 'a' AND 'b'", "SELECT 1 WHERE 'a' BETWEEN SYMMETRIC (@)::text AND 'b'", "SELECT 1 WHERE (@)::text IN ('a', 'b')", "SELECT 1 WHERE 'a' IN ('b', (@)::text)", "SELECT 1 WHERE 'a' IN (SELECT (@)::text)",
	"SELECT 1 WHERE 'a' = ANY (ARRAY[(@)::text])", "SELECT 1 WHERE 'a' <> ALL (SELECT (@)::text)", "SELECT 1 WHERE (@)::text IS DISTINCT FROM 'x'", "SELECT 1 WHERE ((@)::text = 'x') IS TRUE", "SELECT NOT ((@)::text = 'x')",
	"SELECT EXISTS (SELECT 1 WHERE (@)::text = 'x')", "SELECT (SELECT (SELECT (@)::text))", "SELECT lower((@)::text)", "SELECT concat(VARIADIC ARRAY[(@)::text])", "SELECT make_interval(days => length((@)::text))", "SELECT count(*) FILTER (WHERE (@)::text = 'x') FROM products",
	"SELECT string_agg(name, (@)::text) FROM products", "SELECT string_agg(name, ',' ORDER BY (@)::text) FROM products", "SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY (@)::text) FROM products", "SELECT count(DISTINCT (@)::text) FROM products",
	"SELECT rank() OVER (ORDER BY (@)::text) FROM products", "SELECT rank() OVER (PARTITION BY (@)::text) FROM products", "SELECT rank() OVER w FROM products WINDOW w AS (ORDER BY (@)::text)", "SELECT sum(id) OVER (ORDER BY id ROWS (@)::text::int PRECEDING) FROM products",
	"SELECT lag(id, (@)::text::int) OVER (ORDER BY id) FROM products", "SELECT extract(year FROM (@)::text::date)", "SELECT now() AT TIME ZONE (@)::text", "SELECT substring((@)::text FROM 1 FOR 2)", "SELECT trim(BOTH 'x' FROM (@)::text)", "SELECT position('x' IN (@)::text)", "SELECT overlay('abc' PLACING (@)::text FROM 1)",
	"SELECT xmlelement(name a, (@)::text)", "SELECT xmlelement(name a, xmlattributes((@)::text AS b))", "SELECT xmlforest((@)::text AS a)", "SELECT xmlconcat(xmlparse(content (@)::text))", "SELECT xmlserialize(content (@)::text::xml AS text)", "SELECT xmlpi(name a, (@)::text)", "SELECT xmlroot(xmlparse(document (@)::text), version '1.0')", "SELECT (@)::text::xml IS DOCUMENT",
	"SELECT JSON_OBJECT('a': (@)::text)", "SELECT JSON_ARRAY((@)::text)", "SELECT JSON_ARRAY(SELECT (@)::text)", "SELECT JSON_OBJECTAGG(name: (@)::text) FROM products", "SELECT JSON_ARRAYAGG((@)::text) FROM products", "SELECT JSON_VALUE(jsonb '{}', '$.a' PASSING (@)::text AS x)", "SELECT JSON_QUERY((@)::text::jsonb, '$.a')", "SELECT JSON_EXISTS((@)::text::jsonb, '$.a')", "SELECT JSON_SCALAR((@)::text)", "SELECT JSON((@)::text)", "SELECT JSON_SERIALIZE((@)::text)", "SELECT (@)::text IS JSON", "SELECT JSON_VALUE(jsonb '{}', '$.a' DEFAULT (@)::text ON EMPTY)",
	"SELECT * FROM JSON_TABLE((@)::text::jsonb, '$' COLUMNS (a text PATH '$.a')) t", "SELECT * FROM XMLTABLE('/a' PASSING ((@)::text::xml) COLUMNS b text PATH 'c') t", "SELECT * FROM XMLTABLE('/a' PASSING ('<a/>'::xml) COLUMNS b text PATH 'c' DEFAULT ((@)::text)) t",
	"SELECT * FROM generate_series(1, length((@)::text))", "SELECT * FROM ROWS FROM (generate_series(1, 2), unnest(ARRAY[(@)::text])) t", "SELECT * FROM products, LATERAL (SELECT (@)::text) t", "SELECT * FROM products p JOIN orders o ON (@)::text = 'x'", "SELECT * FROM products p LEFT JOIN orders o ON p.id = length((@)::text)",
	"SELECT * FROM products TABLESAMPLE bernoulli ((@)::text::int)", "SELECT * FROM products TABLESAMPLE system (1) REPEATABLE ((@)::text::int)", "VALUES (1), (length((@)::text))", "SELECT 1 UNION SELECT length((@)::text)", "SELECT 1 UNION ALL (SELECT 2 ORDER BY (@)::text)",
	"WITH t AS (SELECT length((@)::text) AS n) SELECT 1", "WITH t AS (SELECT (@)::text AS n) SELECT n FROM t", "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + length((@)::text) FROM t WHERE n < 3) SELECT * FROM t",
	"EXPLAIN SELECT length((@)::text)", "EXPLAIN (ANALYZE) SELECT length((@)::text)", "COPY (SELECT length((@)::text)) TO STDOUT", "DECLARE c CURSOR FOR SELECT length((@)::text)", "PREPARE p AS SELECT length((@)::text)", "PREPARE p(text) AS SELECT $1; EXECUTE p((@)::text)",
	"SELECT (SELECT 1 FROM products WHERE name = (@)::text LIMIT 1)", "SELECT GROUPING((@)::text) FROM products GROUP BY (@)::text", "SELECT * FROM (VALUES ((@)::text)) v(x)", "TABLE products ORDER BY (@)::text", "SELECT name FROM products ORDER BY length(name) USING <, (@)::text",
}

func TestContexts(t *testing.T) {
	env := fixtureEnv(t)
	masked := *env
	masked.Masked, masked.Key = maskCustomers, "PM"
	r := NewReader(8 << 20)
	calls := []string{"public.bump()", "bump()", "nextval('orders_id_seq')", "pg_sleep(1)", "(1 === 1)", "lie()", "(1::evilt)", "dblink('x','y')", "set_config('a.b','c',false)", "pg_read_file('x')", "evil_agg(1)", "(1 OPERATOR(internal.=) 1)"}
	for _, c := range contexts {
		for _, call := range calls {
			q := strings.ReplaceAll(c, "@", call)
			got, err := r.Read(q, env, nil)
			if err != nil {
				t.Errorf("%s: %v", q, err)
				continue
			}
			if got.Effect.ReadOnly() {
				t.Errorf("read-only: %s", q)
			}
		}
		// A harmless expression must pass: the deny above is for the call.
		q := strings.ReplaceAll(c, "@", "1")
		if got, err := r.Read(q, env, nil); err != nil || !got.Effect.ReadOnly() {
			t.Errorf("not read-only: %s: %s", q, show(got, err))
		}
		for _, secret := range []string{"(SELECT ssn FROM customers LIMIT 1)", "(SELECT x.c FROM (SELECT card AS c FROM public.customers) x LIMIT 1)", "(SELECT contact FROM v_contact LIMIT 1)", "(SELECT email FROM customers_vip LIMIT 1)"} {
			q := strings.ReplaceAll(c, "@", secret)
			got, err := r.Read(q, &masked, nil)
			if err != nil {
				t.Errorf("%s: %v", q, err)
				continue
			}
			plain := maskedColumns(got) > 0 || strings.Contains(c, "@ IS NOT NULL")
			if got.Effect.MaskUse != doorward.MaskOther && !(plain && strings.HasPrefix(c, "SELECT @") || plain && c == "SELECT (@)") {
				t.Errorf("masked column may be used: %s\n%s", q, show(got, nil))
			}
		}
	}
}

// attacks name a policy and a text that it must not allow. P1: not read-only.
// P3: refused. M: every output column is masked. P4: an object off the list.
var attacks = []struct{ policy, sql string }{
	{"P1", "(SELECT 1 INTO x)"}, {"P1", "SELECT 1 INTO x UNION SELECT 2"}, {"P1", "WITH a AS (SELECT 1) SELECT * INTO t2 FROM a"}, {"P1", "CREATE TABLE IF NOT EXISTS t AS SELECT 1"}, {"P1", "CREATE TEMP TABLE t AS TABLE products"},
	{"P1", "SET LOCAL session_authorization = 'postgres'"}, {"P1", `SET "role" TO postgres`}, {"P1", "SET SESSION ROLE postgres"}, {"P1", "SET ROLE NONE"}, {"P1", "RESET ALL"}, {"P1", "DISCARD ALL"}, {"P1", "SET default_transaction_read_only = off"}, {"P1", "SET transaction_read_only = 0"}, {"P1", "SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE"}, {"P1", "SET TRANSACTION READ WRITE"}, {"P1", "START TRANSACTION READ WRITE"},
	{"P1", "SET search_path TO public, internal"}, {"P1", "SET search_path = 'internal'"}, {"P1", "SET SCHEMA 'internal'"}, {"P1", "SET search_path = 'public, internal'"}, {"P1", "SET search_path = 'pg_catalog,public'"}, {"P1", `SET search_path = "$user", public`}, {"P1", "SET search_path = public, pg_catalog"}, {"P1", "SET search_path TO DEFAULT"}, {"P1", "RESET search_path"}, {"P1", "SET NAMES 'latin1'"}, {"P1", "SET client_encoding = 'GBK'"}, {"P1", "RESET client_encoding"}, {"P1", "SET CLIENT_ENCODING TO SQL_ASCII"},
	{"P1", "SET statement_timeout = 0"}, {"P1", "SET statement_timeout = '0s'"}, {"P1", "SET statement_timeout = -1"}, {"P1", "SET statement_timeout = '1h'"}, {"P1", "SET statement_timeout TO DEFAULT"}, {"P1", "RESET statement_timeout"}, {"P1", "SET statement_timeout = '0x0'"}, {"P1", "SET statement_timeout = '10min'"}, {"P1", "SET lock_timeout = 0"}, {"P1", "SELECT set_config('statement_timeout','0',false)"}, {"P1", "SELECT pg_catalog.set_config('search_path','internal',false)"}, {"P1", "SELECT set_config('search' || '_path','internal',false)"}, {"P1", "SELECT set_config(name,'internal',false) FROM pg_settings WHERE name = 'search_path'"}, {"P1", "SELECT set_config(name,'off',false) FROM pg_settings WHERE name = 'standard_conforming_strings'"},
	{"P1", "SET standard_conforming_strings = off"}, {"P1", "SET backslash_quote = on"}, {"P1", "SET session_replication_role = replica"}, {"P1", "SET local_preload_libraries = 'x'"}, {"P1", "SET log_statement = 'none'"}, {"P1", "SET app.org = 'b'"}, {"P1", "SET work_mem = '10GB'"}, {"P1", "SET client_min_messages = debug5"}, {"P1", "SET TRANSACTION SNAPSHOT '0-1'"}, {"P1", "SET application_name = E'x\\ny'"}, {"P1", "SET allow_system_table_mods = on"}, {"P1", "SET temp_tablespaces = 'x'"},
	{"P1", "EXPLAIN ANALYZE DELETE FROM orders"}, {"P1", "EXPLAIN ANALYSE DELETE FROM orders"}, {"P1", "EXPLAIN (ANALYZE off, ANALYZE) DELETE FROM orders"}, {"P1", "EXPLAIN (ANALYZE, ANALYZE false) DELETE FROM orders"}, {"P1", "EXPLAIN (VERBOSE, ANALYZE TRUE) UPDATE orders SET qty=1"}, {"P1", "EXPLAIN (ANALYZE 2) DELETE FROM orders"}, {"P1", "EXPLAIN (nosuch) SELECT 1"}, {"P1", "EXPLAIN ANALYZE INSERT INTO scratch VALUES (3,'x')"}, {"P1", "EXPLAIN ANALYZE WITH d AS (DELETE FROM orders RETURNING 1) SELECT * FROM d"}, {"P1", "EXPLAIN ANALYZE CREATE MATERIALIZED VIEW m AS SELECT 1"},
	{"P1", "COPY orders FROM PROGRAM 'id'"}, {"P1", "COPY (SELECT 1) TO PROGRAM 'sh'"}, {"P1", "COPY orders TO '/tmp/x'"}, {"P1", "COPY scratch FROM STDIN WHERE bump() > 0"}, {"P1", "COPY (INSERT INTO scratch VALUES (5,'x') RETURNING *) TO STDOUT"}, {"P1", "COPY (SELECT bump()) TO STDOUT"}, {"P1", "COPY products TO STDOUT (ENCODING 'latin1')"},
	{"P1", "LOCK TABLE orders"}, {"P1", "LOCK orders IN ACCESS SHARE MODE"}, {"P1", "LOCK orders IN SHARE MODE NOWAIT"}, {"P1", "SELECT * FROM orders FOR KEY SHARE"}, {"P1", "SELECT * FROM (SELECT * FROM orders FOR UPDATE) x"}, {"P1", "WITH x AS (SELECT * FROM orders FOR SHARE SKIP LOCKED) SELECT 1"}, {"P1", "SELECT (SELECT 1 FROM orders LIMIT 1 FOR NO KEY UPDATE)"},
	{"P1", "NOTIFY ch, 'x'"}, {"P1", "LISTEN ch"}, {"P1", "SELECT pg_notify('a','b')"}, {"P1", "CALL p_purge()"}, {"P1", "DO 'BEGIN END'"}, {"P1", "DO LANGUAGE plpgsql $$BEGIN END$$"}, {"P1", "CREATE FUNCTION f() RETURNS int LANGUAGE sql RETURN 1"}, {"P1", "ALTER FUNCTION bump() IMMUTABLE"}, {"P1", "LOAD 'x'"}, {"P1", "VACUUM"}, {"P1", "ANALYZE"}, {"P1", "CLUSTER"}, {"P1", "REASSIGN OWNED BY a TO b"}, {"P1", "SECURITY LABEL ON TABLE orders IS 'x'"}, {"P1", "IMPORT FOREIGN SCHEMA s FROM SERVER x INTO y"}, {"P1", "ALTER EXTENSION hstore UPDATE"}, {"P1", "ALTER DATABASE app SET search_path = internal"}, {"P1", "SET CONSTRAINTS ALL DEFERRED"}, {"P1", "COMMIT PREPARED 'x'"}, {"P1", "COMMIT AND CHAIN"}, {"P1", "ROLLBACK AND CHAIN"},
	{"P1", "SELECT * FROM pg_ls_dir('.')"}, {"P1", "SELECT pg_catalog.pg_read_binary_file('x')"}, {"P1", "SELECT (pg_stat_file('x')).size"}, {"P1", "SELECT lo_import('/etc/passwd')"}, {"P1", "SELECT loread(1, 2)"}, {"P1", "SELECT pg_stat_get_activity(NULL)"}, {"P1", "SELECT pg_terminate_backend(1)"}, {"P1", "SELECT pg_advisory_xact_lock(1)"}, {"P1", "SELECT pg_try_advisory_lock(1)"}, {"P1", "SELECT setseed(0)"}, {"P1", "SELECT txid_current()"}, {"P1", "SELECT pg_current_xact_id()"}, {"P1", "SELECT pg_export_snapshot()"}, {"P1", "SELECT database_to_xml(true,true,'')"}, {"P1", "SELECT query_to_xml_and_xmlschema('x',true,true,'')"}, {"P1", "SELECT cursor_to_xml('c',1,true,true,'')"}, {"P1", "SELECT pg_create_logical_replication_slot('a','b')"}, {"P1", "SELECT pg_logical_slot_peek_changes('a',NULL,NULL)"}, {"P1", "SELECT binary_upgrade_set_record_init_privs(true)"}, {"P1", "SELECT pg_stat_clear_snapshot()"}, {"P1", "SELECT nosuch()"}, {"P1", "SELECT pg_catalog.nosuch()"}, {"P1", "SELECT nosuch.f()"}, {"P1", "SELECT pg_temp.f()"}, {"P1", "SELECT internal.lower('A')"}, {"P1", "SELECT crosstab('x')"}, {"P1", "SELECT get_raw_page('x',0)"},
	{"P1", "SELECT (id).bump1 FROM products"}, {"P1", "SELECT p.bump1 FROM products p"}, {"P1", "SELECT (1).bump1"}, {"P1", "SELECT p.pg_sleep FROM products p"}, {"P1", "SELECT 1 === 1"}, {"P1", "SELECT 1 OPERATOR(public.===) 1"}, {"P1", "SELECT 1 OPERATOR(internal.=) ANY (ARRAY[1])"}, {"P1", "SELECT 1 OPERATOR(internal.=) ANY (SELECT 1)"}, {"P1", "SELECT id FROM products ORDER BY id USING OPERATOR(internal.=)"}, {"P1", "SELECT 1 OPERATOR(nosuch.+) 1"}, {"P1", "SELECT ROW('x')::evilt"}, {"P1", "SELECT CAST(1 AS evilt[])"}, {"P1", "SELECT json_populate_record(NULL::evilt, '{}')"}, {"P1", "SELECT 1::nosuchtype"}, {"P1", "SELECT evil_agg(id) OVER () FROM products"}, {"P1", "SELECT count(*) FROM v_side"}, {"P1", "SELECT 1 FROM v_side"}, {"P1", "SELECT x FROM (SELECT * FROM v_side) q"}, {"P1", "EXPLAIN SELECT * FROM v_side"},
	{"P1", "SELECT * FROM nosuch"}, {"P1", "SELECT nosuch FROM products"}, {"P1", "SELECT x.id FROM products"}, {"P1", "SELECT * FROM pg_toast.pg_toast_1"}, {"P1", "SELECT * FROM internal.nosuch"}, {"P1", "EXECUTE nosuch"}, {"P1", "FETCH ALL FROM nosuch"}, {"P1", "MOVE 1 FROM nosuch"}, {"P1", "UPDATE pg_class SET relname='x'"}, {"P1", "DELETE FROM pg_catalog.pg_proc"}, {"P1", "INSERT INTO products DEFAULT VALUES"}, {"P1", "WITH a AS (INSERT INTO scratch VALUES (7,'y') RETURNING id) SELECT * FROM a"}, {"P1", "WITH a AS (MERGE INTO scratch s USING products p ON s.id=p.id WHEN MATCHED THEN DELETE RETURNING 1) SELECT * FROM a"}, {"P1", "SELECT (WITH d AS (DELETE FROM orders RETURNING 1) SELECT count(*) FROM d)"}, {"P1", "SELECT * FROM (WITH d AS (DELETE FROM orders RETURNING id) SELECT * FROM d) q"}, {"P1", "WITH RECURSIVE a AS (SELECT 1), b AS (DELETE FROM orders) SELECT * FROM a"},
	{"P1", "BEGIN; SELECT 1; COMMIT; DROP TABLE orders"}, {"P1", "PREPARE p AS DELETE FROM orders WHERE id=$1; EXECUTE p(1)"}, {"P1", "PREPARE p AS SELECT 1; DEALLOCATE p; EXECUTE p"}, {"P1", "PREPARE p AS SELECT 1; DEALLOCATE ALL; EXECUTE p"}, {"P1", "DECLARE c CURSOR FOR SELECT bump(); FETCH c"}, {"P1", "DECLARE c CURSOR FOR SELECT 1; CLOSE ALL; FETCH c"}, {"P1", "DECLARE c CURSOR FOR SELECT 1 FROM orders FOR UPDATE"},
	{"P1", "TABLE pg_authid"}, {"P1", "SELECT 1 FROM pg_shadow"}, {"P1", "SELECT (a).query FROM pg_stat_activity a"}, {"P1", "SELECT a FROM pg_stat_activity a"}, {"P1", "SELECT * FROM pg_stat_activity"}, {"P1", "SELECT pid FROM pg_stat_activity WHERE query ~ 'x'"}, {"P1", "SELECT s.q FROM (SELECT query AS q FROM pg_stat_activity) s"}, {"P1", "SELECT to_json(a) FROM pg_stat_activity a"}, {"P1", "SELECT subconninfo FROM pg_subscription"}, {"P1", "SELECT umoptions FROM pg_user_mapping"}, {"P1", "SELECT * FROM information_schema.user_mapping_options"}, {"P1", "SELECT * FROM pg_stats"}, {"P1", "SELECT stavalues1 FROM pg_statistic"}, {"P1", "SELECT data FROM pg_largeobject"}, {"P1", "SELECT * FROM pg_file_settings"}, {"P1", "SHOW primary_conninfo"},
	{"P1", "SELECT 1 FROM products TABLESAMPLE bump (1)"}, {"P1", "SELECT * FROM products TABLESAMPLE public.system (1)"}, {"P1", "CREATE DATABASE x"}, {"P1", "ALTER SYSTEM RESET ALL"}, {"P1", "CREATE PUBLICATION p FOR ALL TABLES"}, {"P1", "ALTER TABLE orders SET (fillfactor = 10)"}, {"P1", "REFRESH MATERIALIZED VIEW CONCURRENTLY mv_sales"}, {"P1", "CREATE TEMP VIEW v AS SELECT 1"}, {"P1", "ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO PUBLIC"}, {"P1", "GRANT app_owner TO agent_ro"},

	{"P3", "SELECT ssn FROM customers GROUP BY ssn"}, {"P3", "SELECT ssn FROM customers GROUP BY 1"}, {"P3", "SELECT ssn AS s FROM customers GROUP BY s"}, {"P3", "SELECT DISTINCT ssn FROM customers"}, {"P3", "SELECT DISTINCT * FROM customers"}, {"P3", "SELECT * FROM customers ORDER BY 4"}, {"P3", "SELECT id, ssn AS x FROM customers ORDER BY x"}, {"P3", "SELECT count(DISTINCT ssn) FROM customers"}, {"P3", "SELECT id FROM customers c WHERE (c.*) IS NULL"}, {"P3", "SELECT id FROM customers WHERE (ssn, id) IN (SELECT '1', 1)"}, {"P3", "SELECT id FROM customers WHERE EXISTS (SELECT ssn INTERSECT SELECT '123-45-6789')"}, {"P3", "SELECT id FROM customers WHERE ssn IS NOT DISTINCT FROM 'x'"}, {"P3", "SELECT id FROM customers NATURAL JOIN (SELECT '123-45-6789'::text AS ssn) q"}, {"P3", "SELECT 1 FROM customers JOIN (SELECT 'x' AS ssn) q USING (ssn)"},
	{"P3", "WITH t AS (SELECT * FROM customers) SELECT t FROM t"}, {"P3", "SELECT (c).* FROM customers c"}, {"P3", "SELECT (c).ssn FROM customers c"}, {"P3", "SELECT to_jsonb(q) FROM (SELECT ssn FROM customers) q"}, {"P3", "SELECT q.x FROM (SELECT ROW(ssn) AS x FROM customers) q"}, {"P3", "SELECT ARRAY(SELECT ssn FROM customers)"}, {"P3", "SELECT customers.*::text FROM customers"}, {"P3", "SELECT count(c) FROM customers c WHERE c::text LIKE '%1%'"}, {"P3", "SELECT c = c FROM customers c"}, {"P3", "SELECT row_to_json(customers) FROM customers"}, {"P3", "SELECT ssn(c) FROM customers c"},
	{"P3", "SELECT * FROM v_contact WHERE contact LIKE '1%'"}, {"P3", "SELECT max(contact) FROM v_contact"}, {"P3", "SELECT v FROM v_contact v"}, {"P3", "EXPLAIN SELECT * FROM customers WHERE ssn='x'"}, {"P3", "SELECT ssn FROM customers UNION SELECT ''"}, {"P3", "SELECT ssn FROM customers EXCEPT ALL SELECT '1'"}, {"P3", "SELECT ssn FROM customers INTERSECT ALL SELECT '1'"}, {"P3", "SELECT 1 FROM customers UNION ALL SELECT 2 FROM customers WHERE ssn > ''"}, {"P3", "SELECT ssn FROM customers UNION ALL SELECT 'x' ORDER BY 1"}, {"P3", "SELECT ssn FROM customers UNION ALL SELECT email FROM customers"},
	{"P3", "UPDATE customers SET name=ssn WHERE id=1"}, {"P3", "UPDATE customers SET (name,city)=(SELECT ssn,'x' FROM customers LIMIT 1) WHERE id=1"}, {"P3", "UPDATE customers SET name=ssn WHERE id=1 RETURNING name"}, {"P3", "INSERT INTO scratch VALUES (9,(SELECT ssn FROM customers LIMIT 1))"}, {"P3", "INSERT INTO scratch TABLE v_contact"}, {"P3", "DELETE FROM customers WHERE ssn='x'"}, {"P3", "MERGE INTO scratch s USING customers c ON s.v=c.ssn WHEN MATCHED THEN DELETE"}, {"P3", "MERGE INTO scratch s USING customers c ON s.id=c.id WHEN NOT MATCHED THEN INSERT VALUES (1,c.ssn)"}, {"P3", "INSERT INTO customers(id,name) VALUES (1,'x') ON CONFLICT (id) DO UPDATE SET name=customers.ssn"}, {"P3", "INSERT INTO customers(id,name) VALUES (1,'x') ON CONFLICT (id) DO UPDATE SET name='y' WHERE customers.ssn LIKE '1%'"}, {"P3", "DELETE FROM orders USING customers c WHERE c.id=customer_id AND c.email ~ 'a'"}, {"P3", "CREATE TABLE t AS SELECT ssn FROM customers"}, {"P3", "SELECT ssn INTO t FROM customers"}, {"P3", "CREATE VIEW v AS SELECT reverse(ssn) FROM customers"}, {"P3", "PREPARE p AS SELECT ssn FROM customers; CREATE TABLE t AS EXECUTE p"},
	{"P3", "SELECT * FROM json_to_recordset((SELECT json_agg(c) FROM customers c)) AS t(ssn text)"}, {"P3", "SELECT * FROM unnest((SELECT array_agg(ssn) FROM customers)) x"}, {"P3", "SELECT * FROM customers c, nosuch_func() f"}, {"P3", "SELECT a FROM (SELECT f.*, ssn FROM nosuch_func() f, customers) t(b,a)"}, {"P3", "WITH t(a,b) AS (SELECT f.*, ssn FROM nosuch_func() f, customers) SELECT b FROM t"}, {"P3", "SELECT j.g FROM (nosuch_func() u CROSS JOIN customers c) AS j(a,b,c,d,e,f,g)"}, {"P3", "WITH RECURSIVE t AS (SELECT ssn, 1 AS n FROM customers UNION SELECT ssn, n FROM t) SELECT * FROM t"}, {"P3", "WITH RECURSIVE t(s) AS (SELECT ssn FROM customers UNION ALL SELECT s FROM t) SEARCH DEPTH FIRST BY s SET o SELECT o FROM t"}, {"P3", "WITH RECURSIVE t(a,b) AS (SELECT 'x', ssn FROM customers UNION ALL SELECT b, a FROM t WHERE a LIKE '1%') SELECT 1 FROM t"},
	{"P3", "SELECT * FROM XMLTABLE('/a' PASSING (SELECT xmlagg(xmlelement(name a, ssn)) FROM customers) COLUMNS x text PATH '.')"}, {"P3", "SELECT 1 FROM customers c JOIN LATERAL (SELECT c.ssn AS z) q ON q.z LIKE '1%'"}, {"P3", "SELECT 1 FROM customers a JOIN customers b ON a.ssn = b.ssn AND a.id <> b.id"}, {"P3", "SELECT c.id FROM customers c ORDER BY c"}, {"P3", "SELECT count(*) FROM customers GROUP BY customers"}, {"P3", "SELECT (SELECT x.ssn FROM (SELECT 1) y) || '' FROM customers x"}, {"P3", "SELECT (SELECT s::text FROM unnest(ARRAY[NULL::products]) s LIMIT 1) FROM (SELECT ssn AS s FROM customers) q"}, {"P3", "SELECT ssn[1] FROM customers"}, {"P3", "SELECT 1 FROM customers WHERE ssn IS NOT NULL AND ssn > ''"}, {"P3", "SELECT bool_or(email IS NULL OR email > 'm') FROM customers"}, {"P3", "SELECT count(ssn) OVER (PARTITION BY ssn) FROM customers"}, {"P3", "SELECT id FROM customers WINDOW w AS (ORDER BY ssn)"},

	{"M", "SELECT c.ssn FROM customers c"}, {"M", "SELECT SSN FROM CUSTOMERS"}, {"M", `SELECT U&"\0073sn" FROM customers`}, {"M", "SELECT (SELECT c.ssn) FROM customers c"}, {"M", "SELECT x FROM customers c CROSS JOIN LATERAL (VALUES (c.ssn)) v(x)"}, {"M", "SELECT q.z FROM customers c, LATERAL (SELECT c.ssn AS z) q"}, {"M", "SELECT e FROM customers AS c(a,b,d,e)"}, {"M", "WITH RECURSIVE a AS (SELECT * FROM b), b AS (SELECT ssn FROM customers) SELECT * FROM a"}, {"M", "WITH RECURSIVE r(a,b,c) AS (SELECT 'x','y',ssn FROM customers UNION ALL SELECT b,c,a FROM r WHERE false) SELECT a,b,c FROM r"}, {"M", "WITH customers AS (SELECT * FROM customers) SELECT ssn FROM customers"}, {"M", "WITH customers AS (SELECT 1 AS ssn) SELECT ssn FROM public.customers"}, {"M", "SELECT j.ssn FROM (customers a CROSS JOIN (SELECT 1 AS z) b) AS j"}, {"M", "SELECT d FROM (customers a CROSS JOIN (SELECT 1 AS z) b) AS j(a,b,c,d)"}, {"M", "SELECT ssn FROM customers UNION ALL SELECT 'x'"}, {"M", "VALUES ((SELECT ssn FROM customers LIMIT 1)), ('x')"}, {"M", "SELECT contact FROM v_contact"}, {"M", "SELECT ssn FROM customers_vip"}, {"M", "SELECT ssn FROM ONLY customers"}, {"M", "SELECT x.ssn FROM customers x TABLESAMPLE system(100)"}, {"M", "DELETE FROM customers WHERE id=1 RETURNING ssn"}, {"M", "UPDATE customers SET city='x' WHERE id=1 RETURNING customers.ssn"}, {"M", "PREPARE p AS SELECT ssn FROM customers; EXECUTE p"}, {"M", "DECLARE c CURSOR FOR SELECT ssn FROM customers; FETCH ALL FROM c"}, {"M", "COPY customers (ssn) TO STDOUT"}, {"M", "SELECT (SELECT ssn FROM unnest(ARRAY[NULL::products]) ssn LIMIT 1) FROM customers"}, {"M", "SELECT ssn FROM customers a LEFT JOIN (SELECT 1 AS y) b ON true"}, {"M", "SELECT u.s FROM (SELECT ssn AS s FROM customers UNION ALL SELECT ssn FROM customers_vip) u"},

	{"P4", "WITH employees AS (SELECT 1) SELECT * FROM public.employees"}, {"P4", "SELECT (SELECT max(salary) FROM employees)"}, {"P4", "SELECT * FROM customers WHERE EXISTS (SELECT 1 FROM employees)"}, {"P4", "SELECT * FROM products ORDER BY (SELECT 1 FROM internal.secrets)"}, {"P4", "SELECT * FROM v_emp"}, {"P4", "TABLE internal.customers"}, {"P4", "COPY (TABLE employees) TO STDOUT"}, {"P4", "EXPLAIN SELECT * FROM employees"}, {"P4", "DECLARE c CURSOR FOR TABLE employees"}, {"P4", "SELECT 1 FROM products JOIN employees USING (id)"}, {"P4", "SELECT * FROM mv_sales"}, {"P4", "SELECT last_value FROM orders_id_seq"}, {"P4", "SELECT * FROM pg_proc"}, {"P4", "SELECT emp_list()"}, {"P4", "WITH a AS (WITH products AS (SELECT 1) SELECT 1) SELECT * FROM employees"}, {"P4", `SELECT * FROM "app".public.employees`}, {"P4", "SELECT 1 UNION ALL SELECT salary FROM employees"}, {"P4", "SELECT * FROM products p TABLESAMPLE system(1), LATERAL (SELECT * FROM employees) e"},
}

func TestAttacks(t *testing.T) {
	env := fixtureEnv(t)
	masked := *env
	masked.Masked, masked.Key = maskCustomers, "PM"
	r := NewReader(8 << 20)
	for _, a := range attacks {
		got, err := r.Read(a.sql, &masked, nil)
		if err != nil {
			t.Errorf("%s: %v", a.sql, err)
			continue
		}
		e := &got.Effect
		bad := false
		switch a.policy {
		case "P1":
			bad = judgeP1(e) == "allow"
		case "P3":
			bad = e.MaskUse != doorward.MaskOther
		case "P4":
			bad = judgeP4(e) == "allow"
		case "M":
			bad = e.MaskUse != doorward.MaskPlain
			last := got.Statements[len(got.Statements)-1]
			bad = bad || !last.Known || len(last.Columns) == 0
			for _, c := range last.Columns {
				bad = bad || c.Masked == ""
			}
		}
		if bad {
			t.Errorf("%s: %s\n%s", a.policy, a.sql, show(got, nil))
		}
	}
}

// harmless texts must stay usable.
func TestHarmless(t *testing.T) {
	env := fixtureEnv(t)
	masked := *env
	masked.Masked, masked.Key = maskCustomers, "PM"
	r := NewReader(8 << 20)
	for _, q := range []string{
		"WITH customers AS (SELECT 1 AS ssn) SELECT ssn || '' FROM customers WHERE ssn > 0", "SELECT x.ssn || '' FROM (SELECT * FROM customers) x(id, ssn, b, c)", "SELECT count(email), count(*) FROM customers GROUP BY city HAVING count(ssn) > 1",
		"SELECT id FROM customers WHERE email IS NULL ORDER BY name", "SELECT c.id FROM customers c WHERE EXISTS (SELECT 1 FROM orders o WHERE o.customer_id = c.id)", "SELECT city, avg(balance) FROM customers GROUP BY 1 ORDER BY 2 DESC", "SELECT id, upper(label) FROM v_contact WHERE label LIKE 'A%'",
	} {
		got, err := r.Read(q, &masked, nil)
		if err != nil || !got.Effect.ReadOnly() || got.Effect.MaskUse == doorward.MaskOther || maskedColumns(got) > 0 {
			t.Errorf("%s\n%s", q, show(got, err))
		}
	}
}
