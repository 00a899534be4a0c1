package postgres

import (
	"strconv"

	pg "github.com/pganalyze/pg_query_go/v6"

	"github.com/doorward/doorward"
)

// query reads a SELECT, VALUES, TABLE or set operation.
func (a *analyzer) query(s *pg.SelectStmt, parent *scope) rows {
	a.depth++
	defer func() { a.depth-- }()
	if s == nil || !a.step() {
		return rows{open: true}
	}
	sc := child(parent)
	a.with(s.GetWithClause(), sc)
	if s.GetIntoClause() != nil {
		a.unsure("SELECT INTO is only understood at the start of a statement")
	}
	var out rows
	switch {
	case s.GetOp() != pg.SetOperation_SETOP_NONE && s.GetOp() != pg.SetOperation_SET_OPERATION_UNDEFINED:
		out = a.setOperation(s, sc)
		a.sort(s.GetSortClause(), &scope{parent: sc, froms: []*from{{rows: out}}}, out)
	case len(s.GetValuesLists()) > 0:
		out = a.values(s, sc)
		a.sort(s.GetSortClause(), &scope{parent: sc, froms: []*from{{rows: out}}}, out)
	default:
		out = a.plain(s, sc)
	}
	a.limit(s.GetLimitCount(), sc)
	a.limit(s.GetLimitOffset(), sc)
	if len(s.GetLockingClause()) > 0 {
		a.lock(sc)
	}
	return out
}

func (a *analyzer) limit(n *pg.Node, sc *scope) {
	if n != nil {
		a.consume(n, &scope{parent: sc.parent, ctes: sc.ctes})
	}
}

// lock is SELECT ... FOR UPDATE and its kin.
func (a *analyzer) lock(sc *scope) {
	a.sink.traits |= doorward.TraitLocks
	a.sink.verbs |= doorward.VerbUpdate
	for _, f := range sc.froms {
		for _, it := range f.items {
			if it.rel != nil {
				a.sink.object(relationKind(it.rel), it.rel.full(), doorward.VerbUpdate)
			}
		}
	}
	if a.sink.hint == "" {
		a.sink.hint = "leave FOR UPDATE or FOR SHARE out: reading does not need it"
	}
}

func (a *analyzer) setOperation(s *pg.SelectStmt, sc *scope) rows {
	l := a.query(s.GetLarg(), sc)
	r := a.query(s.GetRarg(), sc)
	return a.combine(l, r, s.GetOp() == pg.SetOperation_SETOP_UNION && s.GetAll())
}

// combine joins the columns of both sides of a set operation. Only UNION ALL
// hands rows on without comparing them.
func (a *analyzer) combine(l, r rows, all bool) rows {
	if l.open || r.open {
		return a.settle(rows{cols: append(append([]column(nil), l.cols...), r.cols...), open: true})
	}
	out := rows{cols: make([]column, len(l.cols))}
	for i := range l.cols {
		v := l.cols[i].value
		v.source = ""
		if i < len(r.cols) {
			rv := r.cols[i].value
			if !v.tainted() && rv.tainted() {
				v = rv
			}
			v.derived = v.derived || rv.derived
			if v.mask != "" && rv.mask != "" && v.mask != rv.mask {
				v = a.use(v) // two different rules: not to be told apart by row
			}
		}
		v.source = ""
		if !all {
			v = a.compare(v)
		}
		out.cols[i] = column{l.cols[i].name, v}
	}
	return out
}

func (a *analyzer) values(s *pg.SelectStmt, sc *scope) rows {
	var out rows
	for i, l := range s.GetValuesLists() {
		var row rows
		for j, n := range l.GetList().GetItems() {
			v := a.expr(n, sc)
			v.source = ""
			row.cols = append(row.cols, column{"column" + strconv.Itoa(j+1), v})
		}
		if i == 0 {
			out = row
			continue
		}
		out = a.combine(out, row, true)
	}
	return out
}

func (a *analyzer) plain(s *pg.SelectStmt, sc *scope) rows {
	if a.settingSelect(s) {
		return rows{cols: []column{{name: "set_config"}}}
	}
	a.fromList(s.GetFromClause(), sc)
	out := a.targets(s.GetTargetList(), sc)
	a.consume(s.GetWhereClause(), sc)
	a.group(s.GetGroupClause(), sc, out)
	a.consume(s.GetHavingClause(), sc)
	for _, w := range s.GetWindowClause() {
		a.window(w.GetWindowDef(), sc)
	}
	for _, d := range s.GetDistinctClause() {
		if d.GetNode() == nil { // plain DISTINCT compares every column
			for i, c := range out.cols {
				out.cols[i].value = a.compare(c.value)
			}
			continue
		}
		a.sortKey(d, sc, out)
	}
	a.sort(s.GetSortClause(), sc, out)
	return out
}

// targets reads a select or RETURNING list.
func (a *analyzer) targets(list []*pg.Node, sc *scope) rows {
	var out rows
	for _, n := range list {
		t := n.GetResTarget()
		if t == nil {
			a.unsure("this part of a select list is not known to doorward")
			out.open = true
			continue
		}
		if ref := t.GetVal().GetColumnRef(); ref != nil && isStar(ref) {
			r := a.star(ref, sc)
			out.cols = append(out.cols, r.cols...)
			out.open = out.open || r.open
		} else if ind := t.GetVal().GetAIndirection(); ind != nil && starred(ind) {
			a.expr(t.GetVal(), sc)
			out.open = true
		} else {
			v := a.expr(t.GetVal(), sc)
			name := t.GetName()
			if name == "" {
				name = a.figureName(t.GetVal())
			}
			out.cols = append(out.cols, column{name, v})
		}
		if len(out.cols) > maxColumns {
			a.unsure("the statement yields too many columns to be understood")
			out.open = true
			break
		}
	}
	return a.settle(out)
}

// settle: where there may be more columns than are known, the places of the
// masked ones are not known, so that they may not go on.
func (a *analyzer) settle(r rows) rows {
	if !r.open {
		return r
	}
	var taint value
	for _, c := range r.cols {
		if c.tainted() {
			taint = a.use(c.value)
			if a.inView == 0 {
				a.sink.hint = "name the columns one by one: the place of the masked ones among the others is not known"
			}
		}
	}
	if taint.tainted() {
		for i := range r.cols {
			r.cols[i].value = taint
		}
	}
	return r
}

func isStar(ref *pg.ColumnRef) bool {
	f := ref.GetFields()
	return len(f) > 0 && f[len(f)-1].GetAStar() != nil
}

func starred(ind *pg.A_Indirection) bool {
	f := ind.GetIndirection()
	return len(f) > 0 && f[len(f)-1].GetAStar() != nil
}

// star expands * or t.*.
func (a *analyzer) star(ref *pg.ColumnRef, sc *scope) rows {
	names := fieldNames(ref.GetFields())
	var out rows
	if len(names) == 0 {
		for _, f := range sc.froms {
			out.cols = append(out.cols, f.cols...)
			out.open = out.open || f.open
		}
	} else {
		schema, name := "", names[len(names)-1]
		if len(names) > 1 {
			schema = names[len(names)-2]
		}
		it := sc.table(schema, name)
		if it == nil {
			a.unsure("there is nothing named " + quoteName(name) + " in FROM that doorward knows")
			return rows{open: true}
		}
		out.cols = append(out.cols, it.cols...)
		out.open = it.open
	}
	for _, c := range out.cols {
		a.reach(c.value)
	}
	return out
}

func fieldNames(fields []*pg.Node) []string {
	var out []string
	for _, f := range fields {
		if s := f.GetString_(); s != nil {
			out = append(out, s.GetSval())
		}
	}
	return out
}

// group reads GROUP BY: an input column comes before an output name.
func (a *analyzer) group(list []*pg.Node, sc *scope, out rows) {
	for _, n := range list {
		if gs := n.GetGroupingSet(); gs != nil {
			a.group(gs.GetContent(), sc, out)
			continue
		}
		if row := n.GetRowExpr(); row != nil {
			a.group(row.GetArgs(), sc, out)
			continue
		}
		if name := bareName(n); name != "" {
			if _, known, _ := (&scope{froms: sc.froms}).find(name); known {
				a.consume(n, sc)
				continue
			}
			if a.outputKey(name, out) {
				continue
			}
		}
		if a.ordinalKey(n, out) {
			continue
		}
		a.consume(n, sc)
	}
}

func (a *analyzer) sort(list []*pg.Node, sc *scope, out rows) {
	for _, n := range list {
		sb := n.GetSortBy()
		if sb == nil {
			a.unsure("this ORDER BY is not known to doorward")
			continue
		}
		if len(sb.GetUseOp()) > 0 {
			a.operator(fieldNames(sb.GetUseOp()))
		}
		a.sortKey(sb.GetNode(), sc, out)
	}
}

// sortKey reads one key of ORDER BY or DISTINCT ON: an output name comes
// before an input column.
func (a *analyzer) sortKey(n *pg.Node, sc *scope, out rows) {
	if name := bareName(n); name != "" && a.outputKey(name, out) {
		return
	}
	if a.ordinalKey(n, out) {
		return
	}
	a.consume(n, sc)
}

func bareName(n *pg.Node) string {
	f := n.GetColumnRef().GetFields()
	if len(f) != 1 {
		return ""
	}
	return f[0].GetString_().GetSval()
}

func (a *analyzer) outputKey(name string, out rows) bool {
	found := false
	for _, c := range out.cols {
		if c.name == name {
			found = true
			a.use(c.value)
		}
	}
	return found
}

func (a *analyzer) ordinalKey(n *pg.Node, out rows) bool {
	c := n.GetAConst()
	if c == nil {
		return false
	}
	i, ok := c.GetVal().(*pg.A_Const_Ival)
	if !ok {
		return true // a constant of another kind: the server refuses it, or it is inert
	}
	k := int(i.Ival.GetIval())
	if k >= 1 && k <= len(out.cols) && !out.open {
		a.use(out.cols[k-1].value)
		return true
	}
	for _, c := range out.cols {
		a.use(c.value)
	}
	return true
}

// with reads the WITH queries of a statement into a scope.
func (a *analyzer) with(w *pg.WithClause, sc *scope) {
	if w == nil {
		return
	}
	if sc.ctes == nil {
		sc.ctes = map[string]*cte{}
	}
	for _, n := range w.GetCtes() {
		if n.GetCommonTableExpr().GetCtequery().GetSelectStmt() == nil {
			a.below++
		}
	}
	if !w.GetRecursive() {
		for _, n := range w.GetCtes() {
			c := &cte{node: n.GetCommonTableExpr(), name: n.GetCommonTableExpr().GetCtename()}
			// Later queries see it; its own body does not.
			c.scope = &scope{parent: sc.parent, ctes: cloneCTEs(sc.ctes)}
			a.readCTE(c)
			sc.ctes[c.name] = c
		}
		return
	}
	var all []*cte
	for _, n := range w.GetCtes() {
		c := &cte{node: n.GetCommonTableExpr(), name: n.GetCommonTableExpr().GetCtename(), scope: sc}
		sc.ctes[c.name] = c
		all = append(all, c)
	}
	for _, c := range all {
		a.readCTE(c)
	}
}

func cloneCTEs(m map[string]*cte) map[string]*cte {
	out := make(map[string]*cte, len(m))
	for k, v := range m {
		out[k] = v
	}
	return out
}

// readCTE reads one WITH query, once.
func (a *analyzer) readCTE(c *cte) {
	if c.done {
		return
	}
	if c.working {
		if !c.known {
			a.unsure("the WITH query " + quoteName(c.name) + " refers to itself in a way that doorward does not follow")
			c.open = true
		}
		return
	}
	c.working = true
	body := c.node.GetCtequery()
	sel := body.GetSelectStmt()
	names := fieldNames(c.node.GetAliascolnames())
	if sel != nil && sel.GetOp() == pg.SetOperation_SETOP_UNION {
		a.recursiveCTE(c, sel, names)
	} else {
		c.rows = rename(a.body(body, c.scope), names)
	}
	a.searchCycle(c)
	c.working, c.done = false, true
}

// recursiveCTE reads the first part, then the second with the columns of the
// first, until the columns do not change any more.
func (a *analyzer) recursiveCTE(c *cte, sel *pg.SelectStmt, names []string) {
	a.depth++
	defer func() { a.depth-- }()
	sc := child(c.scope)
	a.with(sel.GetWithClause(), sc)
	first := a.query(sel.GetLarg(), sc)
	if len(sel.GetSortClause()) > 0 || sel.GetLimitCount() != nil || sel.GetLimitOffset() != nil || len(sel.GetLockingClause()) > 0 {
		a.limit(sel.GetLimitCount(), sc)
		a.limit(sel.GetLimitOffset(), sc)
		if len(sel.GetLockingClause()) > 0 {
			a.lock(sc)
		}
	}
	c.rows, c.known = rename(first, names), true
	for range len(first.cols) + 2 {
		second := a.query(sel.GetRarg(), sc)
		next := rename(a.combine(first, second, sel.GetAll()), names)
		if sameTaint(next, c.rows) {
			c.rows = next
			a.sort(sel.GetSortClause(), &scope{parent: sc, froms: []*from{{rows: next}}}, next)
			return
		}
		c.rows = next
		if !a.step() {
			return
		}
	}
	a.unsure("the WITH query " + quoteName(c.name) + " could not be followed")
	a.unknownTaint()
}

func sameTaint(x, y rows) bool {
	if len(x.cols) != len(y.cols) || x.open != y.open {
		return false
	}
	for i := range x.cols {
		if x.cols[i].mask != y.cols[i].mask || x.cols[i].derived != y.cols[i].derived {
			return false
		}
	}
	return true
}

func (a *analyzer) searchCycle(c *cte) {
	search, cycle := c.node.GetSearchClause(), c.node.GetCycleClause()
	if search == nil && cycle == nil {
		return
	}
	for _, col := range c.cols {
		a.use(col.value) // rows are compared and put into new columns
	}
	if search != nil {
		c.cols = append(c.cols, column{name: search.GetSearchSeqColumn()})
	}
	if cycle != nil {
		a.consume(cycle.GetCycleMarkValue(), c.scope)
		a.consume(cycle.GetCycleMarkDefault(), c.scope)
		c.cols = append(c.cols, column{name: cycle.GetCycleMarkColumn()}, column{name: cycle.GetCyclePathColumn()})
	}
}

// body reads the query of a WITH item, which may also be a write.
func (a *analyzer) body(n *pg.Node, sc *scope) rows {
	switch x := n.GetNode().(type) {
	case *pg.Node_SelectStmt:
		return a.query(x.SelectStmt, sc)
	case *pg.Node_InsertStmt:
		return a.insert(x.InsertStmt, sc)
	case *pg.Node_UpdateStmt:
		return a.update(x.UpdateStmt, sc)
	case *pg.Node_DeleteStmt:
		return a.delete(x.DeleteStmt, sc)
	case *pg.Node_MergeStmt:
		return a.merge(x.MergeStmt, sc)
	}
	a.unsure("this kind of query is not known to doorward")
	return rows{open: true}
}

// rename gives the columns new names, from the first on.
func rename(r rows, names []string) rows {
	out := rows{open: r.open, cols: append([]column(nil), r.cols...)}
	if r.open && len(names) > 0 { // the names may fall on other columns than they seem to
		var taint value
		for _, c := range out.cols {
			if c.tainted() {
				taint = value{mask: c.mask, origin: c.origin, derived: true, secret: taint.secret}
			}
			if c.secret != "" {
				taint.secret = c.secret
			}
		}
		for i := range out.cols {
			out.cols[i].value = taint
		}
		for len(out.cols) < len(names) {
			out.cols = append(out.cols, column{value: taint})
		}
	}
	for i, n := range names {
		if i < len(out.cols) {
			out.cols[i].name = n
		}
	}
	return out
}
