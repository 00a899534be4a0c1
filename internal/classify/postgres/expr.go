package postgres

import (
	"strings"

	pg "github.com/pganalyze/pg_query_go/v6"

	"github.com/doorward/doorward"
)

// consume reads an expression whose value is used for anything but plain
// output.
func (a *analyzer) consume(n *pg.Node, sc *scope) value {
	if n == nil || n.GetNode() == nil {
		return value{}
	}
	return a.use(a.expr(n, sc))
}

func (a *analyzer) consumeAll(list []*pg.Node, sc *scope) value {
	var out value
	for _, n := range list {
		if v := a.consume(n, sc); v.derived {
			out = v
		}
	}
	return out
}

func merge(vs ...value) value {
	for _, v := range vs {
		if v.derived {
			return v
		}
	}
	return value{}
}

// expr reads an expression. Only a plain column, or a query in parentheses
// that yields one, keeps its mask; every other use of a masked column is noted.
func (a *analyzer) expr(n *pg.Node, sc *scope) value {
	if n == nil || n.GetNode() == nil {
		return value{}
	}
	a.depth++
	defer func() { a.depth-- }()
	if !a.step() {
		return value{}
	}
	switch x := n.GetNode().(type) {
	case *pg.Node_AConst, *pg.Node_ParamRef, *pg.Node_SetToDefault, *pg.Node_Integer, *pg.Node_Float,
		*pg.Node_Boolean, *pg.Node_String_, *pg.Node_BitString:
		return value{}
	case *pg.Node_ColumnRef:
		return a.columnRef(x.ColumnRef, sc)
	case *pg.Node_List:
		return a.consumeAll(x.List.GetItems(), sc)
	case *pg.Node_AExpr:
		return a.aExpr(x.AExpr, sc)
	case *pg.Node_BoolExpr:
		return a.consumeAll(x.BoolExpr.GetArgs(), sc)
	case *pg.Node_NullTest:
		return a.nullTest(x.NullTest, sc)
	case *pg.Node_BooleanTest:
		return a.consume(x.BooleanTest.GetArg(), sc)
	case *pg.Node_SubLink:
		return a.subLink(x.SubLink, sc)
	case *pg.Node_FuncCall:
		return a.funcCall(x.FuncCall, sc)
	case *pg.Node_NamedArgExpr:
		return a.consume(x.NamedArgExpr.GetArg(), sc)
	case *pg.Node_TypeCast:
		a.cast(x.TypeCast.GetTypeName())
		return a.consume(x.TypeCast.GetArg(), sc)
	case *pg.Node_CollateClause:
		a.collation(x.CollateClause.GetCollname())
		return a.consume(x.CollateClause.GetArg(), sc)
	case *pg.Node_CaseExpr:
		return a.caseExpr(x.CaseExpr, sc)
	case *pg.Node_CoalesceExpr:
		return a.consumeAll(x.CoalesceExpr.GetArgs(), sc)
	case *pg.Node_MinMaxExpr:
		return a.consumeAll(x.MinMaxExpr.GetArgs(), sc)
	case *pg.Node_AArrayExpr:
		return a.consumeAll(x.AArrayExpr.GetElements(), sc)
	case *pg.Node_RowExpr:
		return a.consumeAll(x.RowExpr.GetArgs(), sc)
	case *pg.Node_AIndirection:
		return a.indirection(x.AIndirection, sc)
	case *pg.Node_SqlvalueFunction:
		return value{}
	case *pg.Node_GroupingFunc:
		return a.consumeAll(x.GroupingFunc.GetArgs(), sc)
	case *pg.Node_XmlExpr:
		v := a.consumeAll(x.XmlExpr.GetArgs(), sc)
		for _, t := range x.XmlExpr.GetNamedArgs() {
			if rt := t.GetResTarget(); rt != nil {
				v = merge(v, a.consume(rt.GetVal(), sc))
				continue
			}
			v = merge(v, a.consume(t, sc))
		}
		return v
	case *pg.Node_XmlSerialize:
		a.typeName(x.XmlSerialize.GetTypeName())
		return a.consume(x.XmlSerialize.GetExpr(), sc)
	case *pg.Node_CurrentOfExpr:
		return value{}
	case *pg.Node_MultiAssignRef:
		return a.consume(x.MultiAssignRef.GetSource(), sc)
	case *pg.Node_ResTarget:
		return a.consume(x.ResTarget.GetVal(), sc)
	case *pg.Node_MergeSupportFunc:
		return value{}
	}
	return a.jsonExpr(n, sc)
}

func (a *analyzer) columnRef(ref *pg.ColumnRef, sc *scope) value {
	names := fieldNames(ref.GetFields())
	if isStar(ref) { // count(c.*), row(c.*), t IS NULL forms
		if len(names) == 0 {
			var out value
			for _, f := range sc.froms {
				for _, c := range f.cols {
					a.reach(c.value)
					out = merge(out, a.use(c.value))
				}
			}
			return out
		}
		if it := a.qualifier(names, sc); it != nil {
			return a.wholeRow(it)
		}
		a.unsure("there is nothing named " + quoteName(join(names)) + " in FROM that doorward knows")
		return value{}
	}
	switch len(names) {
	case 0:
		a.unsure("this column reference is not known to doorward")
		return value{}
	case 1:
		v, known, open := sc.find(names[0])
		if known {
			return a.reach(v)
		}
		if it := sc.table("", names[0]); it != nil {
			return a.wholeRow(it)
		}
		if open {
			return value{}
		}
		a.unsure("there is no column " + quoteName(names[0]) + " that doorward knows")
		return value{}
	}
	last := names[len(names)-1]
	it := a.qualifier(names[:len(names)-1], sc)
	if it == nil {
		a.unsure("there is nothing named " + quoteName(join(names[:len(names)-1])) + " in FROM that doorward knows")
		return value{}
	}
	if v, ok := it.find(last); ok {
		return a.reach(v)
	}
	// t.f can also mean the function f of the row t.
	v := a.wholeRow(it)
	a.fieldOrFunction(last, !it.open)
	return v
}

func (a *analyzer) qualifier(names []string, sc *scope) *item {
	schema := ""
	if len(names) > 1 {
		schema = names[len(names)-2]
	}
	return sc.table(schema, names[len(names)-1])
}

// fieldOrFunction is for a name after a dot that may be a field or a function
// called in the notation of a field.
func (a *analyzer) fieldOrFunction(name string, surelyFunction bool) {
	_, builtinName := builtinFunctions[name]
	switch {
	case len(a.cat.functions[name]) > 0, builtinName, a.listed[name]:
		a.function("", name)
	case surelyFunction:
		a.unsure("there is no column " + quoteName(name) + " that doorward knows")
	}
}

func (a *analyzer) indirection(x *pg.A_Indirection, sc *scope) value {
	v := a.consume(x.GetArg(), sc)
	for _, f := range x.GetIndirection() {
		switch i := f.GetNode().(type) {
		case *pg.Node_AIndices:
			v = merge(v, a.consume(i.AIndices.GetLidx(), sc), a.consume(i.AIndices.GetUidx(), sc))
		case *pg.Node_String_:
			a.fieldOrFunction(i.String_.GetSval(), false)
		case *pg.Node_AStar:
		default:
			a.unsure("this kind of subscript is not known to doorward")
		}
	}
	return v
}

// nullTest lets a masked column be tested for NULL.
func (a *analyzer) nullTest(x *pg.NullTest, sc *scope) value {
	if ref := x.GetArg().GetColumnRef(); ref != nil && !isStar(ref) {
		v := a.columnRef(ref, sc)
		if v.derived {
			return a.use(v)
		}
		return value{}
	}
	return a.consume(x.GetArg(), sc)
}

func (a *analyzer) aExpr(x *pg.A_Expr, sc *scope) value {
	names := fieldNames(x.GetName())
	switch x.GetKind() {
	case pg.A_Expr_Kind_AEXPR_OP, pg.A_Expr_Kind_AEXPR_OP_ANY, pg.A_Expr_Kind_AEXPR_OP_ALL,
		pg.A_Expr_Kind_AEXPR_DISTINCT, pg.A_Expr_Kind_AEXPR_NOT_DISTINCT, pg.A_Expr_Kind_AEXPR_NULLIF,
		pg.A_Expr_Kind_AEXPR_IN, pg.A_Expr_Kind_AEXPR_LIKE, pg.A_Expr_Kind_AEXPR_ILIKE:
		a.operator(names)
	case pg.A_Expr_Kind_AEXPR_SIMILAR:
		a.operator(names)
		a.function("pg_catalog", "similar_to_escape")
	case pg.A_Expr_Kind_AEXPR_BETWEEN, pg.A_Expr_Kind_AEXPR_NOT_BETWEEN,
		pg.A_Expr_Kind_AEXPR_BETWEEN_SYM, pg.A_Expr_Kind_AEXPR_NOT_BETWEEN_SYM:
		for _, o := range []string{"<", "<=", ">", ">="} {
			a.operator([]string{o})
		}
	default:
		a.unsure("this kind of operator is not known to doorward")
	}
	return merge(a.consume(x.GetLexpr(), sc), a.consume(x.GetRexpr(), sc))
}

// operator notes an operator that people made: it runs a function of theirs.
func (a *analyzer) operator(names []string) {
	if len(names) == 0 {
		return
	}
	schema, name := "", names[len(names)-1]
	if len(names) > 1 {
		schema = names[len(names)-2]
	}
	if schema == "pg_catalog" {
		return
	}
	if o := a.cat.userOperator(schema, name); o != nil {
		a.execute("operator", o.schema+"."+o.name)
		a.unknownTaint()
		return
	}
	if schema == "" {
		return
	}
	for _, o := range a.cat.operators[name] {
		if o.schema == schema { // of an extension
			return
		}
	}
	a.execute("operator", schema+"."+name)
}

func (a *analyzer) execute(kind, name string) {
	a.sink.object(kind, name, doorward.VerbExecute)
	a.sink.uncounted()
	if a.sink.hint == "" {
		a.sink.hint = kind + " " + name + " is not known to be free of side effects: use built-in ones, or have it listed for the target"
	}
}

func (a *analyzer) collation(names []*pg.Node) {
	if len(names) == 0 || len(names) > 3 {
		a.unsure("this collation is not known to doorward")
	}
}

func (a *analyzer) caseExpr(x *pg.CaseExpr, sc *scope) value {
	v := a.consume(x.GetArg(), sc)
	if x.GetArg() != nil {
		a.operator([]string{"="})
	}
	for _, w := range x.GetArgs() {
		cw := w.GetCaseWhen()
		if cw == nil {
			a.unsure("this CASE is not known to doorward")
			continue
		}
		v = merge(v, a.consume(cw.GetExpr(), sc), a.consume(cw.GetResult(), sc))
	}
	return merge(v, a.consume(x.GetDefresult(), sc))
}

func (a *analyzer) subLink(x *pg.SubLink, sc *scope) value {
	sel := x.GetSubselect().GetSelectStmt()
	if sel == nil {
		a.unsure("this subquery is not known to doorward")
		return value{}
	}
	out := a.query(sel, sc)
	switch x.GetSubLinkType() {
	case pg.SubLinkType_EXISTS_SUBLINK:
		return value{} // its columns are not looked at
	case pg.SubLinkType_EXPR_SUBLINK:
		if len(out.cols) == 1 && !out.open {
			a.subNames[x] = out.cols[0].name
			v := out.cols[0].value
			v.source = ""
			return v
		}
	case pg.SubLinkType_ANY_SUBLINK, pg.SubLinkType_ALL_SUBLINK, pg.SubLinkType_ARRAY_SUBLINK,
		pg.SubLinkType_ROWCOMPARE_SUBLINK, pg.SubLinkType_MULTIEXPR_SUBLINK:
		if op := fieldNames(x.GetOperName()); len(op) > 0 {
			a.operator(op)
		} else {
			a.operator([]string{"="})
		}
	default:
		a.unsure("this kind of subquery is not known to doorward")
	}
	v := a.consume(x.GetTestexpr(), sc)
	for _, c := range out.cols {
		v = merge(v, a.use(c.value))
	}
	return v
}

// cast notes a cast that can run code.
func (a *analyzer) cast(t *pg.TypeName) {
	schema, name := a.typeName(t)
	full := name
	if schema != "" && schema != "pg_catalog" {
		full = schema + "." + name
	}
	for _, c := range a.cat.casts {
		if c.extension == "" && typeMatches(c.to, full) {
			a.execute("cast", c.from+" to "+c.to)
			a.unknownTaint()
			return
		}
	}
}

func typeMatches(cast, name string) bool {
	strip := func(s string) string {
		if i := strings.LastIndexByte(s, '.'); i >= 0 {
			s = s[i+1:]
		}
		return strings.TrimPrefix(s, "_")
	}
	return strip(cast) == strip(name)
}

// typeName notes a type whose input can run code, and gives its name.
func (a *analyzer) typeName(t *pg.TypeName) (schema, name string) {
	if t == nil {
		return "", ""
	}
	names := fieldNames(t.GetNames())
	if len(names) == 0 || len(names) > 3 {
		a.unsure("this type is not known to doorward")
		return "", ""
	}
	name = names[len(names)-1]
	if len(names) > 1 {
		schema = names[len(names)-2]
	}
	if t.GetPctType() {
		a.unsure("%TYPE is not known to doorward here")
		return schema, name
	}
	a.knownType(schema, name, 0)
	return schema, name
}

func (a *analyzer) knownType(schema, name string, depth int) {
	if r := a.cat.lookup(schema, strings.TrimPrefix(name, "_")); r != nil && !r.system() && (schema != "" || !builtinTypes[name]) {
		if depth > 8 {
			a.unsure("the type " + quoteName(name) + " is nested too deeply")
			return
		}
		for _, t := range r.types { // a row type: its fields' types count
			s, n, _ := strings.Cut(t, ".")
			a.knownType(s, n, depth+1)
		}
		return
	}
	t, ok := a.cat.typeOf(schema, name)
	switch {
	case !ok:
		a.execute("type", name)
		a.unsure("there is no type " + quoteName(name) + " that doorward knows")
	case t != nil && !t.safe:
		a.execute("type", t.schema+"."+t.name)
	}
}

func join(names []string) string { return strings.Join(names, ".") }
