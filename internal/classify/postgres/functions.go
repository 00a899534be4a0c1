package postgres

import (
	"strings"

	pg "github.com/pganalyze/pg_query_go/v6"

	"github.com/doorward/doorward"
)

func (a *analyzer) funcCall(f *pg.FuncCall, sc *scope) value {
	names := fieldNames(f.GetFuncname())
	if len(names) == 0 || len(names) > 3 {
		a.unsure("this function is not known to doorward")
		return value{}
	}
	schema, name := "", names[len(names)-1]
	if len(names) > 1 {
		schema = names[len(names)-2]
	}
	if name == "set_config" && (schema == "" || schema == "pg_catalog") && len(a.cat.visible("", name)) == 0 {
		if a.setConfig(f) {
			return value{}
		}
	}
	if name == "system_user" && len(f.GetArgs()) == 0 { // a column's name before PostgreSQL 16
		if v, known, _ := sc.find(name); known {
			return a.reach(v)
		}
	}
	if name == "nextval" && a.once[f] && (schema == "" || schema == "pg_catalog") && len(a.cat.visible("", name)) == 0 && a.nextval(f) {
		return value{}
	}
	clean := a.function(schema, name)
	var v value
	if clean && plainCount(f, name) {
		if ref := f.GetArgs()[0].GetColumnRef(); ref != nil && !isStar(ref) {
			if c := a.columnRef(ref, sc); c.derived {
				v = a.use(c)
			}
		} else {
			v = a.consume(f.GetArgs()[0], sc)
		}
	} else {
		v = a.consumeAll(f.GetArgs(), sc)
	}
	for _, o := range f.GetAggOrder() {
		sb := o.GetSortBy()
		if sb == nil {
			a.unsure("this ORDER BY is not known to doorward")
			continue
		}
		if len(sb.GetUseOp()) > 0 {
			a.operator(fieldNames(sb.GetUseOp()))
		}
		v = merge(v, a.consume(sb.GetNode(), sc))
	}
	v = merge(v, a.consume(f.GetAggFilter(), sc))
	if f.GetOver() != nil {
		v = merge(v, a.window(f.GetOver(), sc))
	}
	return v
}

// sequences notes which calls of nextval stand alone as values of rows that a
// statement's bound counts.
func (a *analyzer) sequences(list []*pg.Node) {
	for _, n := range list {
		if t := n.GetResTarget(); t != nil {
			n = t.GetVal()
		}
		if f := n.GetFuncCall(); f != nil {
			if a.once == nil {
				a.once = map[*pg.FuncCall]bool{}
			}
			a.once[f] = true
		}
	}
}

// nextval moves a sequence that is named by a constant: an update of it.
func (a *analyzer) nextval(f *pg.FuncCall) bool {
	if len(f.GetArgs()) != 1 || f.GetOver() != nil || f.GetAggFilter() != nil || len(f.GetAggOrder()) > 0 {
		return false
	}
	arg := f.GetArgs()[0]
	if tc := arg.GetTypeCast(); tc != nil {
		if _, t := lastTwo(fieldNames(tc.GetTypeName().GetNames())); t != "regclass" {
			return false
		}
		arg = tc.GetArg()
	}
	text, ok := constantText(arg)
	if !ok {
		return false
	}
	tree, err := parse("SELECT FROM " + text) // as the server reads a name
	if err != nil || len(tree.GetStmts()) != 1 {
		return false
	}
	from := tree.GetStmts()[0].GetStmt().GetSelectStmt().GetFromClause()
	if len(from) != 1 || from[0].GetRangeVar() == nil || from[0].GetRangeVar().GetAlias() != nil {
		return false
	}
	rel := a.cat.lookup(from[0].GetRangeVar().GetSchemaname(), from[0].GetRangeVar().GetRelname())
	if rel == nil || rel.kind != kindSequence {
		return false
	}
	a.sink.resolves = true
	a.sink.object("sequence", rel.full(), doorward.VerbUpdate)
	return true
}

func lastTwo(names []string) (schema, name string) {
	switch n := len(names); {
	case n > 1:
		return names[n-2], names[n-1]
	case n == 1:
		return "", names[0]
	}
	return "", ""
}

// plainCount is count(x), which shows only how many values are not NULL.
func plainCount(f *pg.FuncCall, name string) bool {
	return name == "count" && len(f.GetArgs()) == 1 && !f.GetAggDistinct() && !f.GetAggStar() && !f.GetFuncVariadic() && !f.GetAggWithinGroup()
}

func (a *analyzer) window(w *pg.WindowDef, sc *scope) value {
	if w == nil {
		return value{}
	}
	v := a.consumeAll(w.GetPartitionClause(), sc)
	for _, n := range w.GetOrderClause() {
		sb := n.GetSortBy()
		if sb == nil {
			a.unsure("this window is not known to doorward")
			continue
		}
		if len(sb.GetUseOp()) > 0 {
			a.operator(fieldNames(sb.GetUseOp()))
		}
		v = merge(v, a.consume(sb.GetNode(), sc))
	}
	return merge(v, a.consume(w.GetStartOffset(), sc), a.consume(w.GetEndOffset(), sc))
}

// function notes what calling a function does. It reports whether the function
// is one of pg_catalog that is known to be pure.
func (a *analyzer) function(schema, name string) bool {
	switch schema {
	case "pg_catalog":
		return a.builtin(name)
	case "information_schema":
		if strings.HasPrefix(name, "_pg_") {
			return false
		}
		a.execute("function", schema+"."+name)
		return false
	}
	var found, extension *function
	for _, f := range a.cat.visible(schema, name) {
		if f.extension == "" {
			found = f
		} else {
			extension = f
		}
	}
	_, isBuiltin := builtinFunctions[name]
	switch {
	case found != nil:
		a.userFunction(found.schema, name)
	case schema == "" && isBuiltin:
		return a.builtin(name)
	case extension != nil:
		if !pureExtensionFunctions[extension.extension+"."+name] {
			a.userFunction(extension.schema, name)
		}
	default: // one that is not in the catalog
		if schema == "" && len(a.cat.path) > 0 {
			schema = a.cat.path[0]
		}
		a.userFunction(schema, name)
	}
	return false
}

func (a *analyzer) userFunction(schema, name string) {
	full := schema + "." + name
	if a.listed[full] || (a.listed[name] && a.cat.onPath(schema)) {
		a.sink.object("function", full, doorward.VerbRead)
		return
	}
	if adminFunction(name) {
		a.sink.object("function", full, doorward.VerbAdmin|doorward.VerbExecute)
		a.leaves()
		return
	}
	a.execute("function", full)
	a.unknownTaint() // what it returns may be anything
}

func (a *analyzer) builtin(name string) bool {
	b, ok := builtinFunctions[name]
	if ok && b.pure {
		return true
	}
	full := "pg_catalog." + name
	switch {
	case hiddenQuery(name):
		// The query is in a string: what it reads cannot be seen.
		a.unsure(name + " runs a query that doorward cannot see: write the query itself")
		a.execute("function", full)
		a.unknownTaint()
	case !ok || adminFunction(name):
		a.sink.object("function", full, doorward.VerbAdmin|doorward.VerbExecute)
		if a.sink.hint == "" {
			a.sink.hint = "function " + full + " acts on the server and is not called through doorward"
		}
	default:
		a.execute("function", full)
	}
	return false
}

// hiddenQuery names built-in functions that run SQL given as text, or read
// whatever relation they are told to.
func hiddenQuery(name string) bool {
	return strings.Contains(name, "to_xml") || name == "ts_stat" || name == "ts_rewrite" ||
		name == "lo_get" || name == "loread" || name == "currtid2"
}

// adminFunction names functions that reach the server itself: files, other
// sessions, replication, settings, other servers.
func adminFunction(name string) bool {
	for _, p := range adminPrefixes {
		if strings.HasPrefix(name, p) {
			return true
		}
	}
	return adminNames[name]
}

var adminPrefixes = []string{"pg_read_", "pg_ls_", "pg_file_", "pg_logdir", "pg_create_", "pg_drop_", "pg_replication_",
	"pg_logical_", "pg_copy_", "pg_backup", "pg_start_backup", "pg_stop_backup", "pg_switch_", "pg_wal_", "pg_stat_reset", "pg_log_",
	"pg_control_", "pg_hba_", "pg_ident_", "pg_import_", "binary_upgrade_", "dblink", "pg_promote", "pg_rotate_", "pg_show_all_file",
	"pg_show_replication", "pg_stat_get_wal_", "pg_sync_", "pg_clear_", "pg_set_"}

var adminNames = set(`pg_stat_file lo_import lo_export pg_terminate_backend pg_cancel_backend pg_reload_conf
	set_config pg_export_snapshot pg_current_logfile pg_nextoid pg_stop_making_pinned_objects get_raw_page
	heap_page_items bt_page_items page_header pg_stat_get_activity pg_stat_get_backend_activity pg_extension_config_dump
	pg_stat_statements_reset pg_reload pg_prewarm pg_buffercache_evict`)

// Functions of common extensions that only compute.
var pureExtensionFunctions = set(`pg_trgm.similarity pg_trgm.word_similarity pg_trgm.strict_word_similarity pg_trgm.show_trgm pg_trgm.show_limit
	uuid-ossp.uuid_generate_v1 uuid-ossp.uuid_generate_v1mc uuid-ossp.uuid_generate_v3 uuid-ossp.uuid_generate_v4 uuid-ossp.uuid_generate_v5
	uuid-ossp.uuid_nil uuid-ossp.uuid_ns_dns uuid-ossp.uuid_ns_url uuid-ossp.uuid_ns_oid uuid-ossp.uuid_ns_x500
	fuzzystrmatch.levenshtein fuzzystrmatch.levenshtein_less_equal fuzzystrmatch.soundex fuzzystrmatch.difference
	fuzzystrmatch.metaphone fuzzystrmatch.dmetaphone fuzzystrmatch.dmetaphone_alt unaccent.unaccent
	pgcrypto.digest pgcrypto.hmac pgcrypto.crypt pgcrypto.gen_salt pgcrypto.gen_random_bytes pgcrypto.gen_random_uuid
	pgcrypto.encrypt pgcrypto.decrypt pgcrypto.armor pgcrypto.dearmor
	hstore.hstore hstore.akeys hstore.avals hstore.skeys hstore.svals hstore.each hstore.exist hstore.defined hstore.delete hstore.slice
	hstore.hstore_to_json hstore.hstore_to_jsonb hstore.hstore_to_array hstore.hstore_to_matrix hstore.exists_all hstore.exists_any
	intarray.icount intarray.sort intarray.sort_asc intarray.sort_desc intarray.uniq intarray.idx intarray.subarray intarray.intset
	citext.citext citext.regexp_match citext.regexp_matches citext.regexp_replace citext.regexp_split_to_array citext.regexp_split_to_table
	citext.replace citext.split_part citext.strpos citext.translate
	ltree.subltree ltree.subpath ltree.nlevel ltree.index ltree.text2ltree ltree.ltree2text ltree.lca
	vector.cosine_distance vector.l2_distance vector.inner_product vector.l1_distance vector.vector_dims vector.vector_norm`)
