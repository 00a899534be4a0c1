package postgres

import (
	pg "github.com/pganalyze/pg_query_go/v6"

	"github.com/doorward/doorward"
)

// fromList reads a FROM or USING list into the scope.
func (a *analyzer) fromList(list []*pg.Node, sc *scope) {
	for _, n := range list {
		f := a.fromItem(n, sc)
		sc.froms = append(sc.froms, f)
	}
}

func unknownFrom() *from { return &from{rows: rows{open: true}} }

// fromItem reads one entry. sc holds the entries before it, which only
// LATERAL ones and functions see.
func (a *analyzer) fromItem(n *pg.Node, sc *scope) *from {
	a.depth++
	defer func() { a.depth-- }()
	if !a.step() {
		return unknownFrom()
	}
	outer := &scope{parent: sc.parent, ctes: sc.ctes}
	pick := func(lateral bool) *scope {
		if lateral {
			return sc
		}
		return outer
	}
	switch x := n.GetNode().(type) {
	case *pg.Node_RangeVar:
		return a.rangeVar(x.RangeVar, sc)
	case *pg.Node_RangeSubselect:
		r := a.body(x.RangeSubselect.GetSubquery(), pick(x.RangeSubselect.GetLateral()))
		return single(r, x.RangeSubselect.GetAlias(), nil)
	case *pg.Node_RangeFunction:
		return a.rangeFunction(x.RangeFunction, sc)
	case *pg.Node_RangeTableSample:
		f := a.fromItem(x.RangeTableSample.GetRelation(), sc)
		m := fieldNames(x.RangeTableSample.GetMethod())
		if len(m) == 2 && m[0] == "pg_catalog" {
			m = m[1:]
		}
		if len(m) != 1 || (m[0] != "system" && m[0] != "bernoulli") || len(a.cat.visible("", m[0])) > 0 {
			a.sink.object("function", join(m), doorward.VerbExecute)
		}
		a.consumeAll(x.RangeTableSample.GetArgs(), outer)
		a.consume(x.RangeTableSample.GetRepeatable(), outer)
		return f
	case *pg.Node_RangeTableFunc:
		return a.xmlTable(x.RangeTableFunc, sc)
	case *pg.Node_JsonTable:
		return a.jsonTable(x.JsonTable, sc)
	case *pg.Node_JoinExpr:
		return a.join(x.JoinExpr, sc)
	}
	a.unsure("this part of FROM is not known to doorward")
	return unknownFrom()
}

// single makes an entry of one item, with its alias.
func single(r rows, alias *pg.Alias, rel *relation) *from {
	it := &item{rel: rel, rows: rename(r, fieldNames(alias.GetColnames())), alias: alias.GetAliasname()}
	if it.alias == "" && rel != nil {
		it.alias, it.schema = rel.name, rel.schema
	}
	return &from{rows: it.rows, items: []*item{it}}
}

func (a *analyzer) rangeVar(rv *pg.RangeVar, sc *scope) *from {
	if rv.GetSchemaname() == "" && rv.GetCatalogname() == "" {
		if c := sc.findCTE(rv.GetRelname()); c != nil {
			a.readCTE(c)
			f := single(c.rows, rv.GetAlias(), nil)
			if f.items[0].alias == "" {
				f.items[0].alias = rv.GetRelname()
			}
			return f
		}
	}
	rel, r := a.open(rv, doorward.VerbRead)
	f := single(r, rv.GetAlias(), rel)
	if f.items[0].alias == "" {
		f.items[0].alias = rv.GetRelname()
	}
	return f
}

func (a *analyzer) rangeFunction(rf *pg.RangeFunction, sc *scope) *from {
	var out rows
	var taint value
	alias := rf.GetAlias()
	for _, l := range rf.GetFunctions() {
		parts := l.GetList().GetItems()
		if len(parts) == 0 {
			a.unsure("this function in FROM is not known to doorward")
			out.open = true
			continue
		}
		if v := a.use(a.expr(parts[0], sc)); v.derived { // a masked value went into a function inside a view
			taint = v
		}
		var defs []*pg.Node
		if len(parts) > 1 {
			defs = parts[1].GetList().GetItems()
		}
		if len(defs) == 0 {
			defs = rf.GetColdeflist()
		}
		named := ""
		if len(rf.GetFunctions()) == 1 {
			named = alias.GetAliasname()
		}
		r := a.functionColumns(parts[0], named)
		if len(defs) > 0 {
			r = rows{}
			for _, d := range defs {
				a.typeName(d.GetColumnDef().GetTypeName())
				r.cols = append(r.cols, column{name: d.GetColumnDef().GetColname()})
			}
		}
		out.cols = append(out.cols, r.cols...)
		out.open = out.open || r.open
	}
	if taint.derived {
		for i := range out.cols {
			out.cols[i].value = taint
		}
	}
	if rf.GetOrdinality() && !out.open {
		out.cols = append(out.cols, column{name: "ordinality"})
	}
	f := single(out, alias, nil)
	if f.items[0].alias == "" && len(rf.GetFunctions()) == 1 {
		f.items[0].alias = a.figureName(rf.GetFunctions()[0].GetList().GetItems()[0])
	}
	return f
}

// functionColumns gives the columns of one function in FROM.
func (a *analyzer) functionColumns(n *pg.Node, alias string) rows {
	fc := n.GetFuncCall()
	one := func() rows {
		name := alias
		if name == "" {
			name = a.figureName(n)
		}
		return rows{cols: []column{{name: name}}}
	}
	if fc == nil { // CURRENT_DATE and its kin, casts, COALESCE
		return one()
	}
	names := fieldNames(fc.GetFuncname())
	name := names[len(names)-1]
	if name == "unnest" {
		if len(fc.GetArgs()) == 1 {
			// An array of rows yields their fields instead.
			return rows{cols: one().cols, open: !plainArray(fc.GetArgs()[0])}
		}
		var r rows
		for _, arg := range fc.GetArgs() {
			r.open = r.open || !plainArray(arg)
			r.cols = append(r.cols, column{name: "unnest"})
		}
		return r
	}
	b, ok := builtinFunctions[name]
	if !ok || b.open || len(a.cat.visible("", name)) > 0 {
		return rows{open: true}
	}
	if len(b.columns) == 0 {
		return one()
	}
	var r rows
	for _, c := range b.columns {
		r.cols = append(r.cols, column{name: c})
	}
	return r
}

// plainArray is an array whose elements are surely not rows.
func plainArray(n *pg.Node) bool {
	switch x := n.GetNode().(type) {
	case *pg.Node_AArrayExpr:
		for _, e := range x.AArrayExpr.GetElements() {
			if !constant(e) && !plainArray(e) {
				return false
			}
		}
		return true
	case *pg.Node_TypeCast:
		names := fieldNames(x.TypeCast.GetTypeName().GetNames())
		return len(names) > 0 && builtinTypes[names[len(names)-1]]
	case *pg.Node_FuncCall:
		names := fieldNames(x.FuncCall.GetFuncname())
		return len(names) == 1 && (names[0] == "string_to_array" || names[0] == "regexp_split_to_array" || names[0] == "current_schemas")
	}
	return false
}

func (a *analyzer) xmlTable(x *pg.RangeTableFunc, sc *scope) *from {
	a.consume(x.GetDocexpr(), sc)
	a.consume(x.GetRowexpr(), sc)
	for _, n := range x.GetNamespaces() {
		a.consume(n.GetResTarget().GetVal(), sc)
	}
	var r rows
	for _, n := range x.GetColumns() {
		c := n.GetRangeTableFuncCol()
		if c == nil {
			a.unsure("this XMLTABLE column is not known to doorward")
			r.open = true
			continue
		}
		a.typeName(c.GetTypeName())
		a.consume(c.GetColexpr(), sc)
		a.consume(c.GetColdefexpr(), sc)
		r.cols = append(r.cols, column{name: c.GetColname()})
	}
	return single(r, x.GetAlias(), nil)
}

func (a *analyzer) jsonTable(x *pg.JsonTable, sc *scope) *from {
	a.jsonValue(x.GetContextItem(), sc)
	a.jsonPath(x.GetPathspec(), sc)
	for _, n := range x.GetPassing() {
		a.consume(n, sc)
	}
	a.jsonBehavior(x.GetOnError(), sc)
	r := rows{cols: a.jsonColumns(x.GetColumns(), sc)}
	return single(r, x.GetAlias(), nil)
}

func (a *analyzer) jsonColumns(list []*pg.Node, sc *scope) []column {
	var out []column
	for _, n := range list {
		c := n.GetJsonTableColumn()
		if c == nil || !a.step() {
			a.unsure("this JSON_TABLE column is not known to doorward")
			continue
		}
		a.typeName(c.GetTypeName())
		a.jsonPath(c.GetPathspec(), sc)
		a.jsonBehavior(c.GetOnEmpty(), sc)
		a.jsonBehavior(c.GetOnError(), sc)
		if len(c.GetColumns()) > 0 {
			out = append(out, a.jsonColumns(c.GetColumns(), sc)...)
			continue
		}
		out = append(out, column{name: c.GetName()})
	}
	return out
}

func (a *analyzer) jsonPath(p *pg.JsonTablePathSpec, sc *scope) {
	if p != nil {
		a.consume(p.GetString_(), sc)
	}
}

// join reads both sides, their condition, and what * and bare names see.
func (a *analyzer) join(j *pg.JoinExpr, sc *scope) *from {
	l := a.fromItem(j.GetLarg(), sc)
	r := a.fromItem(j.GetRarg(), &scope{parent: sc.parent, ctes: sc.ctes, froms: append(append([]*from(nil), sc.froms...), l)})
	var using []string
	if j.GetIsNatural() {
		using = a.natural(l, r)
	} else {
		using = fieldNames(j.GetUsingClause())
	}
	out := &from{items: append(append([]*item(nil), l.items...), r.items...)}
	out.open = l.open || r.open
	shared := map[string]bool{}
	var merged []column
	for _, name := range using {
		shared[name] = true
		a.operator([]string{"="})
		lv, lok := pickColumn(l.cols, name)
		rv, rok := pickColumn(r.cols, name)
		if (!lok && !l.open) || (!rok && !r.open) {
			a.unsure("the join column " + quoteName(name) + " is not known to doorward")
		}
		v := lv
		if rv.tainted() && !lv.tainted() {
			v = rv
		}
		a.reach(v)
		v = a.compare(v)
		merged = append(merged, column{name, v})
	}
	out.cols = append(out.cols, merged...)
	for _, side := range [][]column{l.cols, r.cols} {
		for _, c := range side {
			if !shared[c.name] {
				out.cols = append(out.cols, c)
			}
		}
	}
	if j.GetQuals() != nil {
		a.consume(j.GetQuals(), &scope{parent: sc.parent, ctes: sc.ctes, froms: []*from{{rows: rows{cols: append(append([]column(nil), l.cols...), r.cols...), open: out.open}, items: out.items}}})
	}
	if ja := j.GetJoinUsingAlias(); ja != nil {
		out.items = append(out.items, &item{alias: ja.GetAliasname(), rows: rows{cols: merged}})
	}
	if al := j.GetAlias(); al != nil {
		rr := rename(out.rows, fieldNames(al.GetColnames()))
		return &from{rows: rr, items: []*item{{alias: al.GetAliasname(), rows: rr}}}
	}
	return out
}

func pickColumn(cols []column, name string) (value, bool) {
	for _, c := range cols {
		if c.name == name {
			return c.value, true
		}
	}
	return value{}, false
}

// natural gives the names that both sides have. Where a side is not fully
// known, any tainted column may be one of them.
func (a *analyzer) natural(l, r *from) []string {
	var out []string
	for _, c := range l.cols {
		if _, ok := pickColumn(r.cols, c.name); ok {
			out = append(out, c.name)
		}
	}
	if l.open || r.open {
		a.unsure("NATURAL JOIN with columns that are not known to doorward: name them with USING")
		for _, c := range append(append([]column(nil), l.cols...), r.cols...) {
			a.use(c.value)
		}
	}
	return out
}
