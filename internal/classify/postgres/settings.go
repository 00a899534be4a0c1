package postgres

import (
	"strconv"
	"strings"

	pg "github.com/pganalyze/pg_query_go/v6"

	"github.com/doorward/doorward"
)

// MaxTimeout bounds the time-outs that count as lowered. A higher one, or none,
// as pg_dump asks for, is an object of the kind "limit": the gate's own limits
// hold whatever the target's are, but a policy may mind.
const MaxTimeout = 10_000 // milliseconds

// settingRule says which values of a setting are harmless. All values are
// compared in lower case.
type settingRule func(v string) bool

func oneOf(values ...string) settingRule {
	return func(v string) bool {
		for _, x := range values {
			if v == x {
				return true
			}
		}
		return false
	}
}

func number(lo, hi int64) settingRule {
	return func(v string) bool {
		n, err := strconv.ParseInt(v, 10, 64)
		return err == nil && n >= lo && n <= hi
	}
}

func plainText(v string) bool {
	if len(v) > 256 {
		return false
	}
	for _, r := range v {
		if r < 0x20 || r == 0x7f {
			return false
		}
	}
	return true
}

var boolean = oneOf("on", "off", "true", "false", "yes", "no", "1", "0")

// harmlessSettings are the only ones that a session may set.
var harmlessSettings = map[string]settingRule{
	"statement_timeout":                   lowTimeout,
	"lock_timeout":                        lowTimeout,
	"idle_in_transaction_session_timeout": lowTimeout,
	"idle_session_timeout":                lowTimeout,
	"transaction_timeout":                 lowTimeout,
	"timezone":                            plainText,
	"datestyle":                           plainText,
	"intervalstyle":                       oneOf("postgres", "postgres_verbose", "sql_standard", "iso_8601"),
	"application_name":                    plainText,
	"extra_float_digits":                  number(-15, 3),
	"client_encoding":                     oneOf("utf8", "utf-8", "unicode"),
	"standard_conforming_strings":         oneOf("on", "true", "yes", "1"),
	"bytea_output":                        oneOf("hex", "escape"),
	"client_min_messages":                 oneOf("notice", "warning", "error", "log", "info"),
	"synchronize_seqscans":                boolean,
	"row_security":                        boolean,
	"xmloption":                           oneOf("content", "document"),
	"quote_all_identifiers":               boolean,
	"jit":                                 boolean,
	"transaction_isolation":               isolation,
	"default_transaction_isolation":       isolation,
	"transaction_read_only":               oneOf("on", "true", "yes", "1"),
	"default_transaction_read_only":       oneOf("on", "true", "yes", "1"),
	"transaction_deferrable":              boolean,
	"default_transaction_deferrable":      boolean,
	"default_text_search_config":          plainText,
	"lc_messages":                         oneOf("c", "en_us.utf-8", "en_us.utf8", "c.utf-8", "posix"),
	"backslash_quote":                     oneOf("safe_encoding", "off"),
	"escape_string_warning":               boolean,
	"geqo":                                boolean,
	"restrict_nonsystem_relation_kind":    oneOf("view, foreign-table", "view", "foreign-table"),
	"plan_cache_mode":                     oneOf("auto", "force_generic_plan", "force_custom_plan"),
}

// timeouts are the settings that end what takes too long.
var timeouts = set(`statement_timeout lock_timeout idle_in_transaction_session_timeout idle_session_timeout transaction_timeout`)

var isolation = oneOf("read committed", "read uncommitted", "repeatable read", "serializable")

// pinnedPath reports whether a search_path finds nothing that the pinned one
// does not find.
func (a *analyzer) pinnedPath(v string) bool {
	v = strings.ReplaceAll(v, " ", "")
	path := strings.ToLower(strings.Join(a.cat.path, ","))
	return v == "" || v == "pg_catalog" || v == path || v == "pg_catalog,"+path
}

// lowTimeout is more than nothing and at most MaxTimeout.
func lowTimeout(v string) bool {
	n, ok := milliseconds(v)
	return ok && n >= 1 && n <= MaxTimeout
}

// milliseconds reads a time as the server does: a bare number is milliseconds.
func milliseconds(v string) (int64, bool) {
	v = strings.TrimSpace(v)
	i := 0
	for i < len(v) && v[i] >= '0' && v[i] <= '9' {
		i++
	}
	if i == 0 || i > 12 || (i > 1 && v[0] == '0') {
		return 0, false
	}
	n, err := strconv.ParseInt(v[:i], 10, 64)
	if err != nil {
		return 0, false
	}
	switch strings.TrimSpace(v[i:]) {
	case "", "ms":
		return n, true
	case "us":
		return n / 1000, n >= 1000
	case "s":
		return n * 1000, true
	case "min":
		return n * 60_000, true
	case "h":
		return n * 3_600_000, true
	case "d":
		return n * 86_400_000, true
	}
	return 0, false
}

// set judges one setting. ok is false where the value is not a constant.
func (a *analyzer) set(name, value string, ok bool) {
	name = strings.ToLower(name)
	switch name {
	case "role", "session_authorization":
		a.sink.object("role", value, doorward.VerbAdmin)
		a.hintSettings()
		return
	}
	rule := harmlessSettings[name]
	if name == "search_path" {
		rule = a.pinnedPath
	}
	value = strings.ToLower(value)
	if ok && rule != nil && rule(value) {
		a.sink.object("setting", name, doorward.VerbSession)
		return
	}
	if ok && timeouts[name] {
		if _, known := milliseconds(value); known {
			a.sink.object("limit", name, doorward.VerbSession)
			a.hintTimeout(name)
			return
		}
	}
	if ok && boolean(value) && (name == "transaction_read_only" || name == "default_transaction_read_only") {
		a.readWrite(name)
		return
	}
	a.sink.object("setting", name, doorward.VerbAdmin)
	if a.sink.hint == "" {
		switch {
		case timeouts[name]:
			a.hintTimeout(name)
		case name == "search_path":
			a.sink.hint = "search_path is pinned: write the schema before the name instead"
		default:
			a.hintSettings()
		}
	}
}

func (a *analyzer) hintTimeout(name string) {
	if a.sink.hint == "" {
		a.sink.hint = name + " may be lowered to between 1 ms and " + strconv.Itoa(MaxTimeout) + " ms, not raised or switched off"
	}
}

func (a *analyzer) hintSettings() {
	if a.sink.hint == "" {
		a.sink.hint = "a session may set TimeZone, DateStyle, application_name, extra_float_digits, client_encoding UTF8 and lower its time-outs"
	}
}

// readWrite is a request to leave read-only mode: it changes no data itself,
// but it is not for those who may only read.
func (a *analyzer) readWrite(name string) {
	a.sink.object("setting", name, doorward.VerbUpdate)
	if a.sink.hint == "" {
		a.sink.hint = "begin with BEGIN or BEGIN READ ONLY"
	}
}

func (a *analyzer) variableSet(x *pg.VariableSetStmt, st *doorward.Statement) {
	st.Kind, st.Control, st.Name = "SET", doorward.ControlSet, strings.ToLower(x.GetName())
	switch x.GetKind() {
	case pg.VariableSetKind_VAR_SET_VALUE:
		v, ok := settingText(x.GetName(), x.GetArgs())
		if strings.EqualFold(x.GetName(), "search_path") && !searchPathArgs(x.GetArgs()) {
			ok = false
		}
		a.set(x.GetName(), v, ok)
	case pg.VariableSetKind_VAR_SET_MULTI:
		switch x.GetName() {
		case "TRANSACTION", "SESSION CHARACTERISTICS":
			st.Kind = "SET " + x.GetName()
			a.transactionModes(x.GetArgs(), st)
		default: // TRANSACTION SNAPSHOT
			st.Kind = "SET " + x.GetName()
			a.sink.object("setting", strings.ToLower(x.GetName()), doorward.VerbAdmin)
		}
	case pg.VariableSetKind_VAR_SET_DEFAULT, pg.VariableSetKind_VAR_RESET:
		if x.GetKind() == pg.VariableSetKind_VAR_RESET {
			st.Kind = "RESET"
		}
		a.reset(x.GetName())
	case pg.VariableSetKind_VAR_RESET_ALL:
		st.Kind = "RESET ALL"
		st.Name = "all"
		a.sink.object("setting", "all", doorward.VerbAdmin)
		a.sink.hint = "reset the settings by their names"
	default:
		a.sink.object("setting", strings.ToLower(x.GetName()), doorward.VerbAdmin)
		a.hintSettings()
	}
}

// reset brings back a default that doorward cannot see. That is harmless only
// where no value could do harm.
func (a *analyzer) reset(name string) {
	name = strings.ToLower(name)
	switch name {
	case "timezone", "datestyle", "intervalstyle", "application_name", "extra_float_digits", "bytea_output",
		"client_min_messages", "xmloption", "jit", "geqo", "plan_cache_mode", "default_text_search_config":
		a.sink.object("setting", name, doorward.VerbSession)
	case "role", "session_authorization":
		a.sink.object("role", "default", doorward.VerbAdmin)
	default:
		a.sink.object("setting", name, doorward.VerbAdmin)
	}
	if a.sink.verbs.Has(doorward.VerbAdmin) {
		a.hintSettings()
	}
}

// settingText gives a setting's value as the server would see it.
func settingText(name string, args []*pg.Node) (string, bool) {
	var parts []string
	for _, n := range args {
		if tc := n.GetTypeCast(); tc != nil && strings.EqualFold(name, "timezone") {
			n = tc.GetArg() // SET TIME ZONE INTERVAL '+1' HOUR TO MINUTE
		}
		v, ok := constantText(n)
		if !ok {
			return "", false
		}
		parts = append(parts, v)
	}
	return strings.Join(parts, ", "), true
}

// searchPathArgs reports whether each element is one plain schema name: a name
// with a comma in it is one schema, not two.
func searchPathArgs(args []*pg.Node) bool {
	for _, n := range args {
		if v, ok := constantText(n); !ok || strings.ContainsAny(v, ", \"") {
			return false
		}
	}
	return true
}

func constantText(n *pg.Node) (string, bool) {
	switch x := n.GetNode().(type) {
	case *pg.Node_AConst:
		if x.AConst.GetIsnull() {
			return "", false
		}
		switch v := x.AConst.GetVal().(type) {
		case *pg.A_Const_Ival:
			return strconv.FormatInt(int64(v.Ival.GetIval()), 10), true
		case *pg.A_Const_Fval:
			return v.Fval.GetFval(), true
		case *pg.A_Const_Sval:
			return v.Sval.GetSval(), true
		case *pg.A_Const_Boolval:
			return strconv.FormatBool(v.Boolval.GetBoolval()), true
		}
	case *pg.Node_String_:
		return x.String_.GetSval(), true
	case *pg.Node_Integer:
		return strconv.FormatInt(int64(x.Integer.GetIval()), 10), true
	case *pg.Node_Float:
		return x.Float.GetFval(), true
	case *pg.Node_Boolean:
		return strconv.FormatBool(x.Boolean.GetBoolval()), true
	case *pg.Node_TypeName:
		return join(fieldNames(x.TypeName.GetNames())), true
	}
	return "", false
}

// setConfig reads set_config with three constants. pg_dump and drivers call it
// so; it reports whether it was read.
func (a *analyzer) setConfig(f *pg.FuncCall) bool {
	if len(f.GetArgs()) != 3 || len(f.GetAggOrder()) > 0 || f.GetAggFilter() != nil || f.GetOver() != nil {
		return false
	}
	name, ok1 := constantText(f.GetArgs()[0])
	v, ok2 := constantText(f.GetArgs()[1])
	if !ok1 || !ok2 {
		return false
	}
	if l, ok := constantText(f.GetArgs()[2]); !ok || !boolean(strings.ToLower(l)) {
		return false
	}
	if strings.EqualFold(name, "search_path") && v != "" {
		a.sink.object("setting", "search_path", doorward.VerbAdmin)
		return true
	}
	a.set(name, v, true)
	return true
}

// settingSelect reads SELECT set_config(name, 'x', false) FROM pg_settings
// WHERE name = 'y', by which pg_dump sets what an older server may not have.
func (a *analyzer) settingSelect(s *pg.SelectStmt) bool {
	if len(s.GetTargetList()) != 1 || len(s.GetFromClause()) != 1 || s.GetWithClause() != nil || len(s.GetGroupClause()) > 0 ||
		len(s.GetDistinctClause()) > 0 || s.GetHavingClause() != nil || len(s.GetWindowClause()) > 0 || len(s.GetSortClause()) > 0 ||
		s.GetLimitCount() != nil || s.GetLimitOffset() != nil || len(s.GetLockingClause()) > 0 {
		return false // a part that would go unread
	}
	f := s.GetTargetList()[0].GetResTarget().GetVal().GetFuncCall()
	if len(f.GetAggOrder()) > 0 || f.GetAggFilter() != nil || f.GetOver() != nil || f.GetAggDistinct() || f.GetAggWithinGroup() || f.GetFuncVariadic() {
		return false
	}
	names := fieldNames(f.GetFuncname())
	rv := s.GetFromClause()[0].GetRangeVar()
	where := s.GetWhereClause().GetAExpr()
	if len(names) == 0 || names[len(names)-1] != "set_config" || (len(names) > 1 && names[0] != "pg_catalog") || len(f.GetArgs()) != 3 ||
		len(a.cat.visible("", "set_config")) > 0 || rv.GetRelname() != "pg_settings" || (rv.GetSchemaname() != "" && rv.GetSchemaname() != "pg_catalog") ||
		rv.GetAlias() != nil || where.GetKind() != pg.A_Expr_Kind_AEXPR_OP || !a.plainEquals(where) {
		return false
	}
	name, ok1 := constantText(where.GetRexpr())
	v, ok2 := constantText(f.GetArgs()[1])
	l, ok3 := constantText(f.GetArgs()[2])
	if !ok1 || !ok2 || !ok3 || !boolean(strings.ToLower(l)) || bareName(where.GetLexpr()) != "name" || bareName(f.GetArgs()[0]) != "name" || name == "search_path" {
		return false
	}
	a.set(name, v, true)
	a.sink.object("catalog", "pg_catalog.pg_settings", doorward.VerbRead)
	return true
}

// transactionModes reads READ ONLY, READ WRITE, ISOLATION LEVEL, DEFERRABLE.
func (a *analyzer) transactionModes(opts []*pg.Node, st *doorward.Statement) {
	a.sink.verbs |= doorward.VerbSession
	for _, n := range opts {
		d := n.GetDefElem()
		v, ok := constantText(d.GetArg())
		switch d.GetDefname() {
		case "transaction_isolation", "transaction_deferrable":
			if !ok {
				a.unsure("this transaction mode is not known to doorward")
			}
		case "transaction_read_only":
			st.ReadOnly = ok && v != "0" && v != "false"
			if !st.ReadOnly {
				a.readWrite("transaction_read_only")
			}
		default:
			a.unsure("this transaction mode is not known to doorward")
		}
	}
}

// settings that show where secrets are or what they are.
var secretSettings = set(`primary_conninfo ssl_passphrase_command restore_command archive_command archive_cleanup_command recovery_end_command`)

func (a *analyzer) show(x *pg.VariableShowStmt, st *doorward.Statement) {
	st.Kind, st.Returns, st.Known = "SHOW", true, true
	name := strings.ToLower(x.GetName())
	verb := doorward.VerbRead
	if secretSettings[name] {
		verb |= doorward.VerbAdmin
	}
	a.sink.object("setting", name, verb)
	st.Columns = []doorward.Column{{Name: x.GetName()}}
	if name == "all" {
		st.Columns = []doorward.Column{{Name: "name"}, {Name: "setting"}, {Name: "description"}}
	}
}
