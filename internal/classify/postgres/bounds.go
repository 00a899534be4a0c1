package postgres

import (
	"strings"

	pg "github.com/pganalyze/pg_query_go/v6"
)

// pinned notes how many rows an UPDATE or DELETE can touch: WHERE must pin
// every column of a key with constants.
func (a *analyzer) pinned(rel *relation, alias string, where *pg.Node, inherits bool) {
	if where.GetCurrentOfExpr() != nil {
		a.sink.rows(1)
		return
	}
	if rel == nil || where == nil || (rel.kind != kindTable && rel.kind != kindPartitioned) {
		a.sink.rows(-1)
		return
	}
	pins := map[string]int64{}
	a.pins(where, rel, alias, pins)
	best := int64(-1)
	for _, key := range rel.keys {
		n := int64(1)
		for _, c := range key {
			p, ok := pins[c]
			if !ok {
				n = -1
				break
			}
			n *= p
			if n > maxKeyList {
				n = -1
				break
			}
		}
		if n >= 0 && len(key) > 0 && (best < 0 || n < best) {
			best = n
		}
	}
	if best >= 0 && inherits && rel.kind == kindTable && len(rel.children) > 0 {
		// Keys do not reach over inheritance: a child may hold the key again.
		a.sink.uncounted()
		return
	}
	a.sink.rows(best)
}

// pins collects the columns that a condition sets equal to constants.
func (a *analyzer) pins(n *pg.Node, rel *relation, alias string, pins map[string]int64) {
	if b := n.GetBoolExpr(); b != nil {
		if b.GetBoolop() == pg.BoolExprType_AND_EXPR {
			for _, x := range b.GetArgs() {
				a.pins(x, rel, alias, pins)
			}
		}
		return
	}
	e := n.GetAExpr()
	if e == nil || !a.plainEquals(e) {
		return
	}
	l, r := e.GetLexpr(), e.GetRexpr()
	var count int64
	switch e.GetKind() {
	case pg.A_Expr_Kind_AEXPR_OP:
		if lr, rr := l.GetRowExpr(), r.GetRowExpr(); lr != nil && rr != nil && len(lr.GetArgs()) == len(rr.GetArgs()) {
			for i := range lr.GetArgs() {
				if c := keyColumn(lr.GetArgs()[i], rel, alias); c != "" && constant(rr.GetArgs()[i]) {
					pins[c] = 1
				}
			}
			return
		}
		if keyColumn(l, rel, alias) == "" {
			l, r = r, l
		}
		if constant(r) {
			count = 1
		}
	case pg.A_Expr_Kind_AEXPR_IN:
		for _, x := range r.GetList().GetItems() {
			if !constant(x) {
				return
			}
			count++
		}
	case pg.A_Expr_Kind_AEXPR_OP_ANY:
		count = arrayLength(r)
	}
	c := keyColumn(l, rel, alias)
	if c == "" || count < 1 || count > maxKeyList {
		return
	}
	if old, ok := pins[c]; !ok || count < old {
		pins[c] = count
	}
}

func (a *analyzer) plainEquals(e *pg.A_Expr) bool {
	names := fieldNames(e.GetName())
	switch len(names) {
	case 1:
		return names[0] == "=" && a.cat.userOperator("", "=") == nil
	case 2:
		return names[0] == "pg_catalog" && names[1] == "="
	}
	return false
}

// keyColumn gives the name of a column of the target, or "".
func keyColumn(n *pg.Node, rel *relation, alias string) string {
	ref := n.GetColumnRef()
	if ref == nil || isStar(ref) {
		return ""
	}
	names := fieldNames(ref.GetFields())
	switch len(names) {
	case 1:
		// A bare name may belong to another item only where the target has no
		// such column, or the server finds it ambiguous.
		if rel.has(names[0]) {
			return names[0]
		}
	case 2:
		if names[0] == alias && rel.has(names[1]) {
			return names[1]
		}
	case 3:
		if names[0] == rel.schema && names[1] == rel.name && alias == rel.name && rel.has(names[2]) {
			return names[2]
		}
	}
	return ""
}

// constant is a literal, a parameter, or one of them cast to a built-in type.
func constant(n *pg.Node) bool {
	switch x := n.GetNode().(type) {
	case *pg.Node_AConst, *pg.Node_ParamRef:
		return true
	case *pg.Node_TypeCast:
		names := fieldNames(x.TypeCast.GetTypeName().GetNames())
		return len(names) > 0 && builtinTypes[names[len(names)-1]] && constant(x.TypeCast.GetArg())
	case *pg.Node_AExpr:
		names := fieldNames(x.AExpr.GetName())
		return x.AExpr.GetKind() == pg.A_Expr_Kind_AEXPR_OP && x.AExpr.GetLexpr() == nil && len(names) == 1 && names[0] == "-" && constant(x.AExpr.GetRexpr())
	}
	return false
}

// arrayLength gives the length of a constant array, or 0.
func arrayLength(n *pg.Node) int64 {
	if tc := n.GetTypeCast(); tc != nil {
		n = tc.GetArg()
	}
	if arr := n.GetAArrayExpr(); arr != nil {
		for _, x := range arr.GetElements() {
			if !constant(x) {
				return 0
			}
		}
		return int64(len(arr.GetElements()))
	}
	if s, ok := n.GetAConst().GetVal().(*pg.A_Const_Sval); ok {
		t := s.Sval.GetSval()
		if strings.HasPrefix(t, "{") {
			return int64(strings.Count(t, ",")) + 1
		}
	}
	return 0
}

// rowBound gives the most rows that a query yields, or -1.
func (a *analyzer) rowBound(s *pg.SelectStmt) int64 {
	if s == nil {
		return -1
	}
	if n := s.GetLimitCount().GetAConst(); n != nil && s.GetLimitOption() != pg.LimitOption_LIMIT_OPTION_WITH_TIES {
		if i, ok := n.GetVal().(*pg.A_Const_Ival); ok && i.Ival.GetIval() >= 0 {
			return int64(i.Ival.GetIval())
		}
	}
	if len(s.GetGroupClause()) > 0 || len(s.GetWindowClause()) > 0 || hasCall(s.GetSortClause()) || hasCall(s.GetDistinctClause()) {
		return -1 // functions of sets and grouping sets multiply rows there too
	}
	if v := len(s.GetValuesLists()); v > 0 {
		for _, l := range s.GetValuesLists() {
			if hasCall(l.GetList().GetItems()) {
				return -1
			}
		}
		return int64(v)
	}
	if s.GetOp() == pg.SetOperation_SETOP_UNION {
		l, r := a.rowBound(s.GetLarg()), a.rowBound(s.GetRarg())
		if l < 0 || r < 0 {
			return -1
		}
		return l + r
	}
	if s.GetOp() != pg.SetOperation_SETOP_NONE && s.GetOp() != pg.SetOperation_SET_OPERATION_UNDEFINED {
		return a.rowBound(s.GetLarg())
	}
	if hasCall(s.GetTargetList()) {
		return -1
	}
	n := int64(1)
	for _, f := range s.GetFromClause() { // lists of VALUES, as ORMs send rows; nothing: one row
		k := a.rowBound(f.GetRangeSubselect().GetSubquery().GetSelectStmt())
		if k < 0 || n*k > MaxText {
			return -1
		}
		n *= k
	}
	return n
}

// scalarFunctions never yield a set, so that they do not multiply rows.
var scalarFunctions = set(`now clock_timestamp statement_timestamp transaction_timestamp current_timestamp gen_random_uuid random lower upper
	coalesce concat concat_ws format length replace substr substring trim btrim ltrim rtrim to_char to_date to_timestamp to_number
	date_trunc age md5 jsonb_build_object jsonb_build_array json_build_object json_build_array to_json to_jsonb array_to_string
	string_to_array nextval currval lastval round floor ceil abs encode decode timezone make_date make_timestamp make_interval uuid_generate_v4
	left right lpad rpad initcap position overlay extract date_part greatest least count sum min max avg
	to_tsvector sha224 sha256 sha384 sha512 digest hmac crypt gen_salt gen_random_bytes jsonb_set jsonb_insert jsonb_strip_nulls jsonb_object json_object
	array_append array_prepend array_cat array_remove array_fill make_timestamptz make_time chr ascii reverse repeat translate split_part regexp_replace
	trunc sign power sqrt mod div justify_days justify_hours justify_interval current_setting current_database current_schema version
	uuid_generate_v1 uuid_generate_v1mc uuid_generate_v3 uuid_generate_v5 uuidv4 uuidv7 inet_client_addr pg_backend_pid quote_literal quote_ident to_hex`)

func hasCall(list []*pg.Node) bool {
	for _, n := range list {
		if callIn(n, 0) {
			return true
		}
	}
	return false
}

func callIn(n *pg.Node, depth int) bool {
	if n == nil || n.GetNode() == nil {
		return false
	}
	if depth > maxNesting {
		return true
	}
	kids := func(list ...*pg.Node) bool {
		for _, k := range list {
			if callIn(k, depth+1) {
				return true
			}
		}
		return false
	}
	switch x := n.GetNode().(type) {
	case *pg.Node_AConst, *pg.Node_ParamRef, *pg.Node_ColumnRef, *pg.Node_SetToDefault, *pg.Node_SqlvalueFunction:
		return false
	case *pg.Node_SubLink:
		return kids(x.SubLink.GetTestexpr())
	case *pg.Node_ResTarget:
		return kids(x.ResTarget.GetVal())
	case *pg.Node_SortBy:
		return kids(x.SortBy.GetNode())
	case *pg.Node_TypeCast:
		return kids(x.TypeCast.GetArg())
	case *pg.Node_AExpr:
		return kids(x.AExpr.GetLexpr(), x.AExpr.GetRexpr())
	case *pg.Node_BoolExpr:
		return kids(x.BoolExpr.GetArgs()...)
	case *pg.Node_NullTest:
		return kids(x.NullTest.GetArg())
	case *pg.Node_CoalesceExpr:
		return kids(x.CoalesceExpr.GetArgs()...)
	case *pg.Node_MinMaxExpr:
		return kids(x.MinMaxExpr.GetArgs()...)
	case *pg.Node_CollateClause:
		return kids(x.CollateClause.GetArg())
	case *pg.Node_CaseExpr:
		return kids(append([]*pg.Node{x.CaseExpr.GetArg(), x.CaseExpr.GetDefresult()}, x.CaseExpr.GetArgs()...)...)
	case *pg.Node_CaseWhen:
		return kids(x.CaseWhen.GetExpr(), x.CaseWhen.GetResult())
	case *pg.Node_AArrayExpr:
		return kids(x.AArrayExpr.GetElements()...)
	case *pg.Node_RowExpr:
		return kids(x.RowExpr.GetArgs()...)
	case *pg.Node_List:
		return kids(x.List.GetItems()...)
	case *pg.Node_FuncCall:
		names := fieldNames(x.FuncCall.GetFuncname())
		if len(names) == 0 || !scalarFunctions[names[len(names)-1]] || x.FuncCall.GetOver() != nil || len(x.FuncCall.GetAggOrder()) > 0 {
			return true
		}
		return kids(x.FuncCall.GetArgs()...)
	}
	return true
}
