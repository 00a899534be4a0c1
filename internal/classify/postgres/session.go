package postgres

import (
	pg "github.com/pganalyze/pg_query_go/v6"

	"github.com/doorward/doorward"
)

// forget closes everything of a sort.
func (a *analyzer) forget(prepared, cursors bool) {
	if prepared {
		a.prepared, a.closed.prepared = map[string]*doorward.Reading{}, true
	}
	if cursors {
		a.cursors, a.closed.cursors = map[string]*doorward.Reading{}, true
	}
}

// inner reads a statement that another one keeps for later.
func (a *analyzer) inner(n *pg.Node) *doorward.Reading {
	st := a.one(n)
	return &doorward.Reading{Effect: st.Effect, Statements: []doorward.Statement{st}}
}

func (a *analyzer) prepare(s *pg.PrepareStmt, st *doorward.Statement) {
	st.Kind, st.Control, st.Name, st.Known = "PREPARE", doorward.ControlPrepare, s.GetName(), true
	for _, n := range s.GetArgtypes() {
		a.cast(n.GetTypeName())
	}
	a.sink.verbs |= doorward.VerbSession
	if !preparable(s.GetQuery()) {
		a.unsure("only SELECT, INSERT, UPDATE, DELETE, MERGE and VALUES can be prepared")
		return
	}
	st.Inner = a.inner(s.GetQuery())
	a.sink.add(&st.Inner.Effect)
	a.sink.resolves = true
	a.prepared[st.Name] = st.Inner
}

func preparable(n *pg.Node) bool {
	switch n.GetNode().(type) {
	case *pg.Node_SelectStmt, *pg.Node_InsertStmt, *pg.Node_UpdateStmt, *pg.Node_DeleteStmt, *pg.Node_MergeStmt:
		return true
	}
	return false
}

func (a *analyzer) findPrepared(name string) *doorward.Reading {
	if r, ok := a.prepared[name]; ok {
		return r
	}
	if a.closed.prepared {
		return nil
	}
	a.stateful = true
	if a.st == nil {
		return nil
	}
	r, ok := a.st.Prepared(name)
	if !ok {
		return nil
	}
	return r
}

func (a *analyzer) executePrepared(s *pg.ExecuteStmt, st *doorward.Statement) {
	st.Kind, st.Control, st.Name = "EXECUTE", doorward.ControlExecute, s.GetName()
	for _, n := range s.GetParams() {
		a.consume(n, child(nil))
	}
	a.sink.resolves = true
	r := a.findPrepared(s.GetName())
	if r == nil {
		a.unsure("there is no prepared statement " + quoteName(s.GetName()) + " that doorward has seen: prepare it first")
		return
	}
	a.hand(r, st)
}

// hand gives a statement the effect and the columns of the one it runs.
func (a *analyzer) hand(r *doorward.Reading, st *doorward.Statement) {
	a.sink.add(&r.Effect)
	if len(r.Statements) != 1 {
		a.unsure("more than one statement was kept under this name")
		return
	}
	in := &r.Statements[0]
	st.Columns, st.Known, st.Returns = in.Columns, in.Known, in.Returns
}

func (a *analyzer) declare(s *pg.DeclareCursorStmt, st *doorward.Statement) {
	st.Kind, st.Control, st.Name, st.Known = "DECLARE CURSOR", doorward.ControlDeclare, s.GetPortalname(), true
	if s.GetQuery().GetSelectStmt() == nil {
		a.unsure("a cursor is declared for SELECT or VALUES")
		return
	}
	st.Inner = a.inner(s.GetQuery())
	a.sink.add(&st.Inner.Effect)
	a.sink.resolves = true
	a.cursors[st.Name] = st.Inner
}

func (a *analyzer) fetch(s *pg.FetchStmt, st *doorward.Statement) {
	st.Kind, st.Control, st.Name = "FETCH", doorward.ControlFetch, s.GetPortalname()
	if s.GetIsmove() {
		st.Kind = "MOVE"
	}
	r, ok := a.cursors[st.Name]
	if !ok && !a.closed.cursors {
		a.stateful = true
		if a.st != nil {
			r, ok = a.st.Cursor(st.Name)
		}
	}
	if !ok || r == nil {
		a.unsure("there is no cursor " + quoteName(st.Name) + " that doorward has seen: declare it first")
		return
	}
	a.hand(r, st)
	if s.GetIsmove() {
		st.Columns, st.Returns, st.Known = nil, false, true
	}
}
