package postgres

import (
	"context"
	"fmt"
	"strings"
)

// EpochSQL is one cheap query whose result changes when the shape of the
// database does: the youngest change and the size of each catalog that a
// [Catalog] is read from. It sees what its own transaction may see.
const EpochSQL = `SELECT pg_catalog.md5(pg_catalog.string_agg(e.v, ',' ORDER BY e.v)) FROM (
SELECT 'c' || pg_catalog.count(*) || '.' || COALESCE(pg_catalog.max(xmin::pg_catalog.text::pg_catalog.int8), 0) || '.' || COALESCE(pg_catalog.sum(xmin::pg_catalog.text::pg_catalog.int8 % 1000003), 0) AS v FROM pg_catalog.pg_class
UNION ALL SELECT 'a' || pg_catalog.count(*) || '.' || COALESCE(pg_catalog.max(xmin::pg_catalog.text::pg_catalog.int8), 0) || '.' || COALESCE(pg_catalog.sum(xmin::pg_catalog.text::pg_catalog.int8 % 1000003), 0) AS v FROM pg_catalog.pg_attribute
UNION ALL SELECT 'p' || pg_catalog.count(*) || '.' || COALESCE(pg_catalog.max(xmin::pg_catalog.text::pg_catalog.int8), 0) || '.' || COALESCE(pg_catalog.sum(xmin::pg_catalog.text::pg_catalog.int8 % 1000003), 0) AS v FROM pg_catalog.pg_proc
UNION ALL SELECT 'r' || pg_catalog.count(*) || '.' || COALESCE(pg_catalog.max(xmin::pg_catalog.text::pg_catalog.int8), 0) || '.' || COALESCE(pg_catalog.sum(xmin::pg_catalog.text::pg_catalog.int8 % 1000003), 0) AS v FROM pg_catalog.pg_rewrite
UNION ALL SELECT 't' || pg_catalog.count(*) || '.' || COALESCE(pg_catalog.max(xmin::pg_catalog.text::pg_catalog.int8), 0) || '.' || COALESCE(pg_catalog.sum(xmin::pg_catalog.text::pg_catalog.int8 % 1000003), 0) AS v FROM pg_catalog.pg_trigger
UNION ALL SELECT 'i' || pg_catalog.count(*) || '.' || COALESCE(pg_catalog.max(xmin::pg_catalog.text::pg_catalog.int8), 0) || '.' || COALESCE(pg_catalog.sum(xmin::pg_catalog.text::pg_catalog.int8 % 1000003), 0) AS v FROM pg_catalog.pg_inherits
UNION ALL SELECT 'o' || pg_catalog.count(*) || '.' || COALESCE(pg_catalog.max(xmin::pg_catalog.text::pg_catalog.int8), 0) || '.' || COALESCE(pg_catalog.sum(xmin::pg_catalog.text::pg_catalog.int8 % 1000003), 0) AS v FROM pg_catalog.pg_operator
UNION ALL SELECT 'k' || pg_catalog.count(*) || '.' || COALESCE(pg_catalog.max(xmin::pg_catalog.text::pg_catalog.int8), 0) || '.' || COALESCE(pg_catalog.sum(xmin::pg_catalog.text::pg_catalog.int8 % 1000003), 0) AS v FROM pg_catalog.pg_cast
UNION ALL SELECT 'n' || pg_catalog.count(*) || '.' || COALESCE(pg_catalog.max(xmin::pg_catalog.text::pg_catalog.int8), 0) || '.' || COALESCE(pg_catalog.sum(xmin::pg_catalog.text::pg_catalog.int8 % 1000003), 0) AS v FROM pg_catalog.pg_namespace
UNION ALL SELECT 'y' || pg_catalog.count(*) || '.' || COALESCE(pg_catalog.max(xmin::pg_catalog.text::pg_catalog.int8), 0) || '.' || COALESCE(pg_catalog.sum(xmin::pg_catalog.text::pg_catalog.int8 % 1000003), 0) AS v FROM pg_catalog.pg_type
UNION ALL SELECT 'x' || pg_catalog.count(*) || '.' || COALESCE(pg_catalog.max(xmin::pg_catalog.text::pg_catalog.int8), 0) || '.' || COALESCE(pg_catalog.sum(xmin::pg_catalog.text::pg_catalog.int8 % 1000003), 0) AS v FROM pg_catalog.pg_index
UNION ALL SELECT 's' || pg_catalog.count(*) || '.' || COALESCE(pg_catalog.max(xmin::pg_catalog.text::pg_catalog.int8), 0) || '.' || COALESCE(pg_catalog.sum(xmin::pg_catalog.text::pg_catalog.int8 % 1000003), 0) AS v FROM pg_catalog.pg_constraint
UNION ALL SELECT 'e' || pg_catalog.count(*) || '.' || COALESCE(pg_catalog.max(xmin::pg_catalog.text::pg_catalog.int8), 0) || '.' || COALESCE(pg_catalog.sum(xmin::pg_catalog.text::pg_catalog.int8 % 1000003), 0) AS v FROM pg_catalog.pg_extension) e`

// The queries of LoadCatalog. Each gives text; lists are separated by \x1f.
const (
	loadRelations = `SELECT c.oid::pg_catalog.text, n.nspname, c.relname, c.relkind::pg_catalog.text,
 CASE WHEN c.relkind IN ('v','m') AND n.nspname NOT IN ('pg_catalog','information_schema') THEN pg_catalog.pg_get_viewdef(c.oid) END,
 CASE WHEN EXISTS (SELECT 1 FROM pg_catalog.pg_rewrite r WHERE r.ev_class = c.oid AND NOT (r.ev_type = '1' AND r.is_instead AND c.relkind IN ('v','m')) AND n.nspname NOT IN ('pg_catalog','information_schema')) THEN 't' ELSE 'f' END,
 CASE WHEN c.relrowsecurity THEN 't' ELSE 'f' END
 FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind IN ('r','p','v','m','S','f') AND n.nspname !~ '^pg_t(oast|emp)'`
	loadColumns = `SELECT a.attrelid::pg_catalog.text, a.attname,
 CASE WHEN a.attgenerated <> '' THEN 'g' END,
 CASE WHEN tn.nspname NOT IN ('pg_catalog','information_schema') THEN tn.nspname || '.' || t.typname END
 FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid = a.attrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 JOIN pg_catalog.pg_type t ON t.oid = a.atttypid JOIN pg_catalog.pg_namespace tn ON tn.oid = t.typnamespace
 WHERE a.attnum > 0 AND NOT a.attisdropped AND c.relkind IN ('r','p','v','m','S','f') AND n.nspname !~ '^pg_t(oast|emp)'
 ORDER BY a.attrelid, a.attnum`
	loadKeys = `SELECT i.indrelid::pg_catalog.text, pg_catalog.array_to_string(ARRAY(SELECT a.attname FROM pg_catalog.unnest(i.indkey::pg_catalog.int2[]) WITH ORDINALITY k(n, o)
 JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.n WHERE k.o <= i.indnkeyatts ORDER BY k.o), pg_catalog.chr(31))
 FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE i.indisunique AND i.indisvalid AND i.indisready AND i.indpred IS NULL AND i.indexprs IS NULL AND n.nspname !~ '^pg_(toast|temp|catalog)'`
	loadShown = `SELECT i.indrelid::pg_catalog.text, a.attname FROM pg_catalog.pg_index i
 JOIN pg_catalog.pg_class c ON c.oid = i.indrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum > 0
 WHERE (i.indisunique OR i.indisexclusion) AND n.nspname !~ '^pg_(toast|temp|catalog)'
 AND (a.attnum = ANY (i.indkey::pg_catalog.int2[]) OR EXISTS (SELECT 1 FROM pg_catalog.pg_depend d
 WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = i.indexrelid AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
 AND d.refobjid = i.indrelid AND d.refobjsubid = a.attnum))`
	loadGenerated = `SELECT a.attrelid::pg_catalog.text, a.attname, f.attname FROM pg_catalog.pg_attribute a
 JOIN pg_catalog.pg_attrdef k ON k.adrelid = a.attrelid AND k.adnum = a.attnum
 JOIN pg_catalog.pg_depend d ON ((d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = a.attrelid AND d.objsubid = a.attnum)
 OR (d.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass AND d.objid = k.oid)) AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjid = a.attrelid
 JOIN pg_catalog.pg_attribute f ON f.attrelid = d.refobjid AND f.attnum > 0 AND f.attnum = d.refobjsubid AND f.attnum <> a.attnum AND NOT f.attisdropped
 WHERE a.attgenerated <> '' AND NOT a.attisdropped`
	loadInherits    = `SELECT i.inhrelid::pg_catalog.text, i.inhparent::pg_catalog.text FROM pg_catalog.pg_inherits i JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid WHERE c.relkind IN ('r','p','f')`
	loadForeignKeys = `SELECT k.conrelid::pg_catalog.text, k.confrelid::pg_catalog.text, k.confdeltype::pg_catalog.text, k.confupdtype::pg_catalog.text,
 pg_catalog.array_to_string(ARRAY(SELECT a.attname FROM pg_catalog.unnest(k.conkey) WITH ORDINALITY x(n, o) JOIN pg_catalog.pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = x.n ORDER BY x.o), pg_catalog.chr(31)),
 pg_catalog.array_to_string(ARRAY(SELECT a.attname FROM pg_catalog.unnest(k.confkey) WITH ORDINALITY x(n, o) JOIN pg_catalog.pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = x.n ORDER BY x.o), pg_catalog.chr(31))
 FROM pg_catalog.pg_constraint k WHERE k.contype = 'f'`
	loadTriggers = `SELECT t.tgrelid::pg_catalog.text, t.tgname, n.nspname || '.' || p.proname, t.tgtype::pg_catalog.text
 FROM pg_catalog.pg_trigger t JOIN pg_catalog.pg_proc p ON p.oid = t.tgfoid JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
 WHERE NOT t.tgisinternal AND t.tgenabled <> 'D'`
	loadFunctions = `SELECT n.nspname, p.proname, l.lanname, pg_catalog.max(e.extname)
 FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace JOIN pg_catalog.pg_language l ON l.oid = p.prolang
 LEFT JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND d.objid = p.oid AND d.deptype = 'e'
 LEFT JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid
 WHERE n.nspname NOT IN ('pg_catalog','information_schema') OR p.oid >= 16384
 GROUP BY n.nspname, p.proname, l.lanname, d.objid IS NULL`
	loadOperators = `SELECT n.nspname, o.oprname, pg_catalog.max(e.extname)
 FROM pg_catalog.pg_operator o JOIN pg_catalog.pg_namespace n ON n.oid = o.oprnamespace
 LEFT JOIN pg_catalog.pg_proc p ON p.oid = o.oprcode LEFT JOIN pg_catalog.pg_language l ON l.oid = p.prolang
 LEFT JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_operator'::pg_catalog.regclass AND d.objid = o.oid AND d.deptype = 'e' AND l.lanname IN ('c','internal')
 LEFT JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid
 WHERE o.oid >= 16384 GROUP BY n.nspname, o.oprname, d.objid IS NULL`
	loadTypes = `SELECT n.nspname, t.typname, t.typtype::pg_catalog.text,
 CASE WHEN t.typtype = 'd' THEN (SELECT pg_catalog.count(*) FROM pg_catalog.pg_constraint k WHERE k.contypid = t.oid AND k.contype = 'c')::pg_catalog.text END,
 (SELECT e.extname FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid WHERE d.classid = 'pg_catalog.pg_type'::pg_catalog.regclass AND d.objid = t.oid AND d.deptype = 'e' LIMIT 1),
 CASE WHEN t.typtype = 'd' THEN (SELECT CASE WHEN bn.nspname = 'pg_catalog' THEN '' ELSE bn.nspname || '.' || b.typname END FROM pg_catalog.pg_type b JOIN pg_catalog.pg_namespace bn ON bn.oid = b.typnamespace WHERE b.oid = t.typbasetype) END
 FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
 WHERE n.nspname NOT IN ('pg_catalog','information_schema') AND n.nspname !~ '^pg_t(oast|emp)' AND t.typcategory <> 'A'
 AND NOT EXISTS (SELECT 1 FROM pg_catalog.pg_class c WHERE c.oid = t.typrelid AND c.relkind <> 'c')`
	loadTypeFields = `SELECT n.nspname, c.relname, fn.nspname, ft.typname FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
 JOIN pg_catalog.pg_type ft ON ft.oid = a.atttypid JOIN pg_catalog.pg_namespace fn ON fn.oid = ft.typnamespace
 WHERE c.relkind = 'c' AND fn.nspname NOT IN ('pg_catalog')`
	loadCasts = `SELECT CASE WHEN sn.nspname = 'pg_catalog' THEN s.typname ELSE sn.nspname || '.' || s.typname END, CASE WHEN tn.nspname = 'pg_catalog' THEN t.typname ELSE tn.nspname || '.' || t.typname END,
 (SELECT e.extname FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid WHERE d.classid = 'pg_catalog.pg_cast'::pg_catalog.regclass AND d.objid = k.oid AND d.deptype = 'e' LIMIT 1)
 FROM pg_catalog.pg_cast k JOIN pg_catalog.pg_type s ON s.oid = k.castsource JOIN pg_catalog.pg_namespace sn ON sn.oid = s.typnamespace
 JOIN pg_catalog.pg_type t ON t.oid = k.casttarget JOIN pg_catalog.pg_namespace tn ON tn.oid = t.typnamespace
 WHERE k.oid >= 16384 AND k.castmethod <> 'b'`
	loadSchemas = `SELECT nspname FROM pg_catalog.pg_namespace`
)

const listSeparator = "\x1f"

// LoadCatalog reads the names that a database knows. query runs one statement
// and gives its rows as text, NULL as "". All statements should run in one
// REPEATABLE READ transaction with search_path at the value that sessions are
// pinned to, so that the snapshot is of one moment.
func LoadCatalog(ctx context.Context, query func(ctx context.Context, sql string) ([][]string, error)) (*Catalog, error) {
	c := newCatalog("public")
	byOID := c.byOID
	load := func(what, sql string, columns int, row func([]string)) error {
		out, err := query(ctx, sql)
		if err != nil {
			return fmt.Errorf("reading the %s of the database: %w", what, err)
		}
		for _, r := range out {
			if len(r) != columns {
				return fmt.Errorf("reading the %s of the database: a row has %d values, not %d", what, len(r), columns)
			}
			row(r)
		}
		return nil
	}
	var err error
	step := func(what, sql string, columns int, row func([]string)) {
		if err == nil {
			err = load(what, sql, columns, row)
		}
	}
	step("epoch", EpochSQL, 1, func(r []string) { c.epoch = r[0] })
	step("schemas", loadSchemas, 1, func(r []string) { c.schemas[r[0]] = true })
	step("relations", loadRelations, 7, func(r []string) {
		rel := &relation{oid: r[0], schema: r[1], name: r[2], kind: r[3][0], definition: r[4], rules: r[5] == "t", rls: r[6] == "t", types: map[string]string{}}
		byOID[r[0]] = rel
		c.relations[rel.full()] = rel
	})
	step("columns", loadColumns, 4, func(r []string) {
		rel := byOID[r[0]]
		if rel == nil {
			return
		}
		rel.columns = append(rel.columns, r[1])
		switch {
		case r[2] != "":
			rel.types[r[1]] = generatedColumn
		case r[3] != "":
			rel.types[r[1]] = r[3]
		}
	})
	step("keys", loadKeys, 2, func(r []string) {
		if rel := byOID[r[0]]; rel != nil && r[1] != "" {
			rel.keys = append(rel.keys, strings.Split(r[1], listSeparator))
		}
	})
	step("unique indexes", loadShown, 2, func(r []string) {
		if rel := byOID[r[0]]; rel != nil {
			rel.show(r[1])
		}
	})
	step("generated columns", loadGenerated, 3, func(r []string) {
		if rel := byOID[r[0]]; rel != nil {
			rel.madeFrom(r[1], r[2])
		}
	})
	step("inheritance", loadInherits, 2, func(r []string) {
		if kid, parent := byOID[r[0]], byOID[r[1]]; kid != nil && parent != nil {
			kid.parents = append(kid.parents, parent)
			parent.children = append(parent.children, kid)
		}
	})
	step("foreign keys", loadForeignKeys, 6, func(r []string) {
		from, to := byOID[r[0]], byOID[r[1]]
		if from == nil || to == nil {
			return
		}
		addForeignKey(foreignKey{from: from, to: to, onDelete: first(r[2]), onUpdate: first(r[3]),
			fromCols: strings.Split(r[4], listSeparator), toCols: strings.Split(r[5], listSeparator)})
	})
	step("triggers", loadTriggers, 4, func(r []string) {
		if rel := byOID[r[0]]; rel != nil {
			rel.triggers = append(rel.triggers, trigger{name: r[1], function: r[2], events: triggerEvents(r[3])})
		}
	})
	step("functions", loadFunctions, 4, func(r []string) {
		f := &function{schema: r[0], name: r[1], language: r[2]}
		if r[2] == "c" || r[2] == "internal" || r[3] != "" {
			f.extension = r[3]
		}
		c.functions[r[1]] = append(c.functions[r[1]], f)
	})
	step("operators", loadOperators, 3, func(r []string) {
		c.operators[r[1]] = append(c.operators[r[1]], &operator{schema: r[0], name: r[1], extension: r[2]})
	})
	base := map[*userType]string{}
	step("types", loadTypes, 6, func(r []string) {
		t := &userType{schema: r[0], name: r[1], kind: first(r[2]), extension: r[4], safe: true}
		switch {
		case t.kind == 'd' && r[3] != "0":
			t.safe = false
		case t.kind == 'p':
			t.safe = false
		}
		base[t] = r[5]
		c.types[r[0]+"."+r[1]] = t
	})
	fields := map[string][]string{}
	step("fields of types", loadTypeFields, 4, func(r []string) {
		fields[r[0]+"."+r[1]] = append(fields[r[0]+"."+r[1]], r[2]+"."+r[3])
	})
	step("casts", loadCasts, 3, func(r []string) {
		c.casts = append(c.casts, userCast{from: r[0], to: r[1], extension: r[2]})
	})
	if err != nil {
		return nil, err
	}
	if c.epoch == "" {
		return nil, fmt.Errorf("reading the epoch of the database: it is empty")
	}
	spreadUnsafe(c, base, fields)
	return c, nil
}

// spreadUnsafe: a type made of one that can run code can run code.
func spreadUnsafe(c *Catalog, base map[*userType]string, fields map[string][]string) {
	unsafe := func(name string) bool {
		schema, n, _ := strings.Cut(name, ".")
		t := c.types[name]
		if t == nil {
			t = c.types[schema+"."+strings.TrimPrefix(n, "_")]
		}
		return t != nil && !t.safe
	}
	for changed := true; changed; {
		changed = false
		for name, t := range c.types {
			if !t.safe {
				continue
			}
			bad := base[t] != "" && unsafe(base[t])
			for _, f := range fields[name] {
				bad = bad || unsafe(f)
			}
			if bad {
				t.safe, changed = false, true
			}
		}
	}
}

func addForeignKey(fk foreignKey) {
	fk.from.refs = append(fk.from.refs, fk)
	fk.to.referenced = append(fk.to.referenced, fk)
}

func first(s string) byte {
	if s == "" {
		return 0
	}
	return s[0]
}

// triggerEvents reads pg_trigger.tgtype.
func triggerEvents(tgtype string) string {
	var n int
	if _, err := fmt.Sscan(tgtype, &n); err != nil {
		return "iudt"
	}
	out := ""
	for _, e := range []struct {
		bit  int
		name string
	}{{1 << 2, "i"}, {1 << 3, "d"}, {1 << 4, "u"}, {1 << 5, "t"}} {
		if n&e.bit != 0 {
			out += e.name
		}
	}
	return out
}
