package postgres

import (
	"strings"

	pg "github.com/pganalyze/pg_query_go/v6"

	"github.com/doorward/doorward"
)

const maxKeyList = 100 // values of a key list that count as row-bounded

// target opens the relation that a write goes to.
func (a *analyzer) target(rv *pg.RangeVar, verb doorward.Verb, sc *scope) (*relation, *from) {
	if rv.GetSchemaname() == "" && sc.findCTE(rv.GetRelname()) != nil {
		a.unsure("a write to the WITH query " + quoteName(rv.GetRelname()) + " is not possible")
	}
	rel, r := a.open(rv, verb)
	f := single(r, rv.GetAlias(), rel)
	if f.items[0].alias == "" {
		f.items[0].alias = rv.GetRelname()
	}
	if rel == nil {
		a.unknownTaint()
		return nil, f
	}
	switch rel.kind {
	case kindView:
		a.viewTarget(rel, verb)
	case kindTable, kindPartitioned, kindForeign:
	default:
		a.unsure(rel.full() + " is not a table")
	}
	a.sideEffects(rel, verb)
	for _, d := range rel.descendants() {
		a.sideEffects(d, verb)
	}
	for _, c := range f.cols { // errors of a write can show the row
		if c.tainted() {
			a.touch(c.value)
		}
	}
	return rel, f
}

// sideEffects notes rules and triggers: code that runs with the write.
func (a *analyzer) sideEffects(rel *relation, verb doorward.Verb) {
	if rel.rules {
		a.sink.object("rule", rel.full(), doorward.VerbExecute)
		a.sink.rows(-1)
		if a.sink.hint == "" {
			a.sink.hint = rel.full() + " has rules that turn a write into other statements"
		}
	}
	for _, t := range rel.triggers {
		if !fires(t.events, verb) || a.listed[t.function] || a.listed[afterDot(t.function)] {
			continue
		}
		a.sink.object("trigger", rel.full()+"."+t.name, doorward.VerbExecute)
		a.sink.uncounted()
		if a.sink.hint == "" {
			a.sink.hint = "the trigger function " + t.function + " is not listed as free of side effects beyond its row"
		}
	}
}

func afterDot(s string) string {
	for i := len(s) - 1; i >= 0; i-- {
		if s[i] == '.' {
			return s[i+1:]
		}
	}
	return s
}

func fires(events string, verb doorward.Verb) bool {
	for _, e := range events {
		switch {
		case e == 'i' && verb.Has(doorward.VerbCreate), e == 'u' && verb.Has(doorward.VerbUpdate),
			(e == 'd' || e == 't') && verb.Has(doorward.VerbDelete):
			return true
		}
	}
	return false
}

// viewTarget: a write to a view is one to the tables under it.
func (a *analyzer) viewTarget(rel *relation, verb doorward.Verb) {
	body := rel.view()
	if body == nil {
		return // noted when it was opened
	}
	for _, n := range body.GetFromClause() {
		rv := n.GetRangeVar()
		if rv == nil {
			continue
		}
		if base := a.cat.lookup(rv.GetSchemaname(), rv.GetRelname()); base != nil && !a.viewing[base] {
			a.sink.object(relationKind(base), base.full(), verb)
			a.sideEffects(base, verb)
			if base.kind == kindView {
				a.viewing[base] = true
				a.viewTarget(base, verb)
				delete(a.viewing, base)
			}
		}
	}
	if len(body.GetFromClause()) != 1 && len(rel.triggers) == 0 {
		a.unsure("a write to the view " + rel.full() + " is not understood")
	}
}

func (a *analyzer) insert(s *pg.InsertStmt, parent *scope) rows {
	a.depth++
	defer func() { a.depth-- }()
	sc := child(parent)
	a.with(s.GetWithClause(), sc)
	rel, f := a.target(s.GetRelation(), doorward.VerbCreate, sc)
	var cols []string
	for _, n := range s.GetCols() {
		cols = append(cols, n.GetResTarget().GetName())
		a.assignTarget(n.GetResTarget(), sc)
	}
	if len(cols) == 0 && rel != nil {
		cols = rel.columns
	}
	sel := s.GetSelectStmt().GetSelectStmt()
	switch {
	case sel == nil && s.GetSelectStmt() == nil: // DEFAULT VALUES
		a.sink.rows(1)
		cols = nil
	case sel == nil:
		a.unsure("this INSERT is not known to doorward")
	default:
		if sel.GetLimitCount() == nil {
			for _, l := range sel.GetValuesLists() {
				a.sequences(l.GetList().GetItems())
			}
		}
		out := a.query(sel, sc)
		if len(s.GetCols()) == 0 && !out.open && len(out.cols) < len(cols) {
			cols = cols[:len(out.cols)]
		}
		for _, c := range out.cols {
			a.use(c.value) // a copy elsewhere
		}
		a.sink.rows(a.rowBound(sel))
	}
	a.writtenColumns(rel, cols)
	if oc := s.GetOnConflictClause(); oc != nil {
		a.onConflict(oc, rel, f, sc)
	}
	ret := child(&scope{parent: parent, ctes: sc.ctes})
	ret.froms = []*from{f}
	return a.targets(s.GetReturningList(), ret)
}

func (a *analyzer) onConflict(oc *pg.OnConflictClause, rel *relation, f *from, sc *scope) {
	inner := &scope{parent: sc, froms: []*from{f}}
	if inf := oc.GetInfer(); inf != nil {
		for _, n := range inf.GetIndexElems() {
			e := n.GetIndexElem()
			if e == nil {
				a.unsure("this ON CONFLICT is not known to doorward")
				continue
			}
			if e.GetName() != "" {
				v, ok := f.items[0].find(e.GetName())
				if !ok && !f.open {
					a.unsure("there is no column " + quoteName(e.GetName()) + " that doorward knows")
				}
				a.use(v)
			}
			a.consume(e.GetExpr(), inner)
		}
		a.consume(inf.GetWhereClause(), inner)
	}
	if oc.GetAction() != pg.OnConflictAction_ONCONFLICT_UPDATE {
		return
	}
	if rel != nil {
		a.sink.object(relationKind(rel), rel.full(), doorward.VerbUpdate)
		a.sideEffects(rel, doorward.VerbUpdate)
	}
	excluded := &from{rows: rows{open: f.open}, items: []*item{{alias: "excluded", rows: f.rows, given: true}}}
	a.assignments(oc.GetTargetList(), rel, &scope{parent: sc, froms: []*from{f, excluded}})
	a.consume(oc.GetWhereClause(), &scope{parent: sc, froms: []*from{f, excluded}})
}

func (a *analyzer) assignTarget(t *pg.ResTarget, sc *scope) {
	for _, i := range t.GetIndirection() {
		if ix := i.GetAIndices(); ix != nil {
			a.consume(ix.GetLidx(), sc)
			a.consume(ix.GetUidx(), sc)
		}
	}
}

// assignments reads SET lists.
func (a *analyzer) assignments(list []*pg.Node, rel *relation, sc *scope) []string {
	var cols []string
	for _, n := range list {
		t := n.GetResTarget()
		if t == nil {
			a.unsure("this SET is not known to doorward")
			continue
		}
		cols = append(cols, t.GetName())
		a.assignTarget(t, sc)
		if it, name := excluded(t.GetVal(), sc); it != nil && name == t.GetName() && len(t.GetIndirection()) == 0 {
			if v, ok := it.find(name); ok { // the client's own value, for the column that it gave it for
				a.reach(v)
				continue
			}
		}
		a.consume(t.GetVal(), sc)
	}
	a.writtenColumns(rel, cols)
	return cols
}

// excluded reads EXCLUDED.column of ON CONFLICT DO UPDATE.
func excluded(n *pg.Node, sc *scope) (*item, string) {
	names := fieldNames(n.GetColumnRef().GetFields())
	if len(names) != 2 || isStar(n.GetColumnRef()) {
		return nil, ""
	}
	if it := sc.table("", names[0]); it != nil && it.given {
		return it, names[1]
	}
	return nil, ""
}

// writtenColumns: whether a value is there already shows when a unique column
// that is masked, or a reference to one, is written.
func (a *analyzer) writtenColumns(rel *relation, cols []string) {
	if rel == nil {
		return
	}
	written := map[string]bool{}
	for _, c := range cols {
		written[c] = true
	}
	for c := range written { // a value may be cast on its way in
		if t := rel.types[c]; t != "" && t != generatedColumn {
			for _, k := range a.cat.casts {
				if k.extension == "" && typeMatches(k.to, t) {
					a.execute("cast", k.from+" to "+k.to)
				}
			}
		}
	}
	for base, cols := range a.under(rel, cols) {
		a.writtenColumns(base, cols)
	}
	for _, r := range append([]*relation{rel}, rel.descendants()...) { // rows may go to, or be in, any of them
		a.shows(r, written)
	}
}

// shows is for the columns written to one table.
func (a *analyzer) shows(rel *relation, written map[string]bool) {
	look := func(c string, in *relation, column string) {
		if m, origin := a.masked(in, column); m != "" && written[c] {
			a.oracle(value{mask: m, origin: origin}, rel.full()+"."+c)
		}
	}
	for _, key := range rel.keys {
		for _, c := range key {
			look(c, rel, c)
		}
	}
	for c := range rel.shown {
		look(c, rel, c)
		for _, s := range rel.generated[c] {
			look(s, rel, s)
		}
	}
	for _, fk := range rel.refs {
		for i, c := range fk.fromCols {
			if i < len(fk.toCols) {
				look(c, fk.to, fk.toCols[i])
			}
		}
	}
}

// under gives the columns of tables that columns of a view are.
func (a *analyzer) under(rel *relation, cols []string) map[*relation][]string {
	if rel.kind != kindView {
		return nil
	}
	outer := a.sink
	a.sink = newSink()
	r := a.openRelation(rel, doorward.VerbRead) // what it reads was noted when it was opened
	a.sink = outer
	out := map[*relation][]string{}
	for _, c := range r.cols {
		for _, w := range cols {
			if i := strings.LastIndexByte(c.source, '.'); w == c.name && i > 0 {
				if base := a.cat.relations[c.source[:i]]; base != nil && base.kind != kindView {
					out[base] = append(out[base], c.source[i+1:])
				}
			}
		}
	}
	return out
}

func (a *analyzer) oracle(v value, name string) {
	if a.inView > 0 {
		return
	}
	a.maskOther(v)
	a.sink.hint = "writing " + name + " would show whether the value is there already: it is unique, or refers to a masked column"
}

func (a *analyzer) update(s *pg.UpdateStmt, parent *scope) rows {
	a.depth++
	defer func() { a.depth-- }()
	sc := child(parent)
	a.with(s.GetWithClause(), sc)
	rel, f := a.target(s.GetRelation(), doorward.VerbUpdate, sc)
	sc.froms = append(sc.froms, f)
	a.fromList(s.GetFromClause(), sc)
	cols := a.assignments(s.GetTargetList(), rel, sc)
	a.consume(s.GetWhereClause(), sc)
	a.pinned(rel, f.items[0].alias, s.GetWhereClause(), s.GetRelation().GetInh())
	if rel != nil {
		a.cascade(rel, cols, doorward.VerbUpdate, map[*relation]bool{})
	}
	return a.targets(s.GetReturningList(), sc)
}

func (a *analyzer) delete(s *pg.DeleteStmt, parent *scope) rows {
	a.depth++
	defer func() { a.depth-- }()
	sc := child(parent)
	a.with(s.GetWithClause(), sc)
	rel, f := a.target(s.GetRelation(), doorward.VerbDelete, sc)
	sc.froms = append(sc.froms, f)
	a.fromList(s.GetUsingClause(), sc)
	a.consume(s.GetWhereClause(), sc)
	a.pinned(rel, f.items[0].alias, s.GetWhereClause(), s.GetRelation().GetInh())
	if rel != nil {
		a.cascade(rel, nil, doorward.VerbDelete, map[*relation]bool{})
	}
	return a.targets(s.GetReturningList(), sc)
}

// cascade follows foreign keys that make a write go on to other tables.
func (a *analyzer) cascade(rel *relation, cols []string, verb doorward.Verb, seen map[*relation]bool) {
	if seen[rel] {
		return
	}
	seen[rel] = true
	for _, fk := range rel.referenced {
		action := fk.onDelete
		if verb == doorward.VerbUpdate {
			action = fk.onUpdate
			if !overlap(cols, fk.toCols) {
				continue
			}
		}
		switch action {
		case 'c':
			a.sink.object(relationKind(fk.from), fk.from.full(), verb)
			a.sink.rows(-1)
			a.sideEffects(fk.from, verb)
			a.cascade(fk.from, fk.fromCols, verb, seen)
		case 'n', 'd':
			a.sink.object(relationKind(fk.from), fk.from.full(), doorward.VerbUpdate)
			a.sink.rows(-1)
			a.sideEffects(fk.from, doorward.VerbUpdate)
			a.cascade(fk.from, fk.fromCols, doorward.VerbUpdate, seen)
		}
	}
}

func overlap(x, y []string) bool {
	for _, i := range x {
		for _, j := range y {
			if i == j {
				return true
			}
		}
	}
	return false
}

func (a *analyzer) merge(s *pg.MergeStmt, parent *scope) rows {
	a.depth++
	defer func() { a.depth-- }()
	sc := child(parent)
	a.with(s.GetWithClause(), sc)
	var verb doorward.Verb
	for _, n := range s.GetMergeWhenClauses() {
		switch n.GetMergeWhenClause().GetCommandType() {
		case pg.CmdType_CMD_INSERT:
			verb |= doorward.VerbCreate
		case pg.CmdType_CMD_UPDATE:
			verb |= doorward.VerbUpdate
		case pg.CmdType_CMD_DELETE:
			verb |= doorward.VerbDelete
		case pg.CmdType_CMD_NOTHING:
		default:
			a.unsure("this MERGE is not known to doorward")
		}
	}
	rel, f := a.target(s.GetRelation(), verb|doorward.VerbUpdate, sc)
	sc.froms = append(sc.froms, f)
	sc.froms = append(sc.froms, a.fromItem(s.GetSourceRelation(), &scope{parent: sc.parent, ctes: sc.ctes}))
	a.consume(s.GetJoinCondition(), sc)
	for _, n := range s.GetMergeWhenClauses() {
		w := n.GetMergeWhenClause()
		a.consume(w.GetCondition(), sc)
		if w.GetCommandType() == pg.CmdType_CMD_INSERT {
			var cols []string
			for _, t := range w.GetTargetList() {
				cols = append(cols, t.GetResTarget().GetName())
				a.assignTarget(t.GetResTarget(), sc)
			}
			if len(cols) == 0 && rel != nil {
				cols = rel.columns
			}
			a.writtenColumns(rel, cols)
			a.consumeAll(w.GetValues(), sc)
			continue
		}
		cols := a.assignments(w.GetTargetList(), rel, sc)
		if rel != nil && w.GetCommandType() == pg.CmdType_CMD_DELETE {
			a.cascade(rel, nil, doorward.VerbDelete, map[*relation]bool{})
		} else if rel != nil {
			a.cascade(rel, cols, doorward.VerbUpdate, map[*relation]bool{})
		}
	}
	a.sink.rows(-1)
	// What * means here differs between versions: only named columns are known.
	out := a.targets(s.GetReturningList(), sc)
	for _, n := range s.GetReturningList() {
		if isStar(n.GetResTarget().GetVal().GetColumnRef()) {
			out.open = true
		}
	}
	return out
}
