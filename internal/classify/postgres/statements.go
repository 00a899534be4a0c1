package postgres

import (
	"maps"
	"strings"

	pg "github.com/pganalyze/pg_query_go/v6"

	"github.com/doorward/doorward"
)

// statement reads one statement, by kind. A kind that is not here or in ddl is
// not known, and so never allowed.
func (a *analyzer) statement(n *pg.Node, st *doorward.Statement) {
	switch x := n.GetNode().(type) {
	case *pg.Node_SelectStmt:
		a.selectStatement(x.SelectStmt, st)
	case *pg.Node_InsertStmt:
		st.Kind = "INSERT"
		a.written(a.insert(x.InsertStmt, nil), len(x.InsertStmt.GetReturningList()) > 0, st)
	case *pg.Node_UpdateStmt:
		st.Kind = "UPDATE"
		a.written(a.update(x.UpdateStmt, nil), len(x.UpdateStmt.GetReturningList()) > 0, st)
	case *pg.Node_DeleteStmt:
		st.Kind = "DELETE"
		a.written(a.delete(x.DeleteStmt, nil), len(x.DeleteStmt.GetReturningList()) > 0, st)
	case *pg.Node_MergeStmt:
		st.Kind = "MERGE"
		a.written(a.merge(x.MergeStmt, nil), len(x.MergeStmt.GetReturningList()) > 0, st)
	case *pg.Node_CopyStmt:
		a.copy(x.CopyStmt, st)
	case *pg.Node_ExplainStmt:
		a.explain(x.ExplainStmt, st)
	case *pg.Node_TransactionStmt:
		a.transaction(x.TransactionStmt, st)
	case *pg.Node_VariableSetStmt:
		a.variableSet(x.VariableSetStmt, st)
	case *pg.Node_VariableShowStmt:
		a.show(x.VariableShowStmt, st)
	case *pg.Node_PrepareStmt:
		a.prepare(x.PrepareStmt, st)
	case *pg.Node_ExecuteStmt:
		a.executePrepared(x.ExecuteStmt, st)
	case *pg.Node_DeallocateStmt:
		st.Kind, st.Control, st.Name = "DEALLOCATE", doorward.ControlDeallocate, x.DeallocateStmt.GetName()
		a.sink.verbs |= doorward.VerbSession
		if st.Name == "" {
			a.forget(true, false)
		} else {
			a.prepared[st.Name] = nil
		}
	case *pg.Node_DeclareCursorStmt:
		a.declare(x.DeclareCursorStmt, st)
	case *pg.Node_FetchStmt:
		a.fetch(x.FetchStmt, st)
	case *pg.Node_ClosePortalStmt:
		st.Kind, st.Control, st.Name = "CLOSE", doorward.ControlClose, x.ClosePortalStmt.GetPortalname()
		a.sink.verbs |= doorward.VerbSession
		if st.Name == "" {
			a.forget(false, true)
		} else {
			a.cursors[st.Name] = nil
		}
	case *pg.Node_ListenStmt:
		st.Kind, st.Control, st.Name = "LISTEN", doorward.ControlListen, x.ListenStmt.GetConditionname()
		a.sink.object("channel", st.Name, doorward.VerbExecute)
	case *pg.Node_UnlistenStmt:
		st.Kind, st.Control, st.Name = "UNLISTEN", doorward.ControlListen, x.UnlistenStmt.GetConditionname()
		a.sink.verbs |= doorward.VerbSession
	case *pg.Node_NotifyStmt:
		st.Kind = "NOTIFY"
		a.sink.object("channel", x.NotifyStmt.GetConditionname(), doorward.VerbExecute)
	case *pg.Node_DiscardStmt:
		a.discard(x.DiscardStmt, st)
	case *pg.Node_LockStmt:
		a.lockTables(x.LockStmt, st)
	case *pg.Node_ConstraintsSetStmt:
		st.Kind = "SET CONSTRAINTS"
		a.sink.object("setting", "constraints", doorward.VerbUpdate)
	case *pg.Node_DoStmt:
		st.Kind = "DO"
		a.sink.object("code", "DO", doorward.VerbExecute)
		a.opaque("write the statements themselves instead of a DO block: what a block does cannot be seen")
	case *pg.Node_CallStmt:
		a.call(x.CallStmt, st)
	case *pg.Node_TruncateStmt:
		a.truncate(x.TruncateStmt, st)
	default:
		a.define(n, st)
	}
}

// opaque is code that cannot be seen into: it may write any number of rows.
func (a *analyzer) opaque(hint string) {
	a.sink.uncounted()
	a.sink.traits |= doorward.TraitUnbounded
	if a.sink.hint == "" {
		a.sink.hint = hint
	}
	a.unknownTaint()
}

// output makes the client's columns of a result.
func (a *analyzer) output(out rows, st *doorward.Statement) {
	st.Returns, st.Known = true, !out.open
	for _, c := range out.cols {
		if c.derived {
			a.maskOther(c.value)
		}
		st.Columns = append(st.Columns, doorward.Column{Name: c.name, Source: c.source, Masked: c.mask})
	}
	if out.open {
		st.Columns = nil
	}
}

func (a *analyzer) written(out rows, returns bool, st *doorward.Statement) {
	st.Known = true
	if returns {
		a.output(out, st)
	}
}

func (a *analyzer) selectStatement(s *pg.SelectStmt, st *doorward.Statement) {
	st.Kind = "SELECT"
	if len(s.GetFromClause()) == 0 && s.GetLimitCount() == nil && a.rowBound(s) == 1 {
		a.sequences(s.GetTargetList()) // SELECT nextval('s'), as ORMs ask
	}
	into := firstInto(s)
	if into == nil {
		a.output(a.query(s, nil), st)
		if a.massRead(s) {
			a.sink.traits |= doorward.TraitMassRead
		}
		return
	}
	st.Kind = "SELECT INTO"
	a.createAs(s, into, st)
}

// massRead is a query of tables that neither a condition, nor a limit, nor an
// aggregate bounds.
func (a *analyzer) massRead(s *pg.SelectStmt) bool {
	if s.GetOp() == pg.SetOperation_SETOP_UNION {
		return s.GetLimitCount() == nil && (a.massRead(s.GetLarg()) || a.massRead(s.GetRarg()))
	}
	if len(s.GetFromClause()) == 0 || s.GetWhereClause() != nil || s.GetLimitCount() != nil || len(s.GetGroupClause()) > 0 || len(s.GetDistinctClause()) > 0 {
		return false
	}
	for _, n := range s.GetTargetList() {
		names := fieldNames(n.GetResTarget().GetVal().GetFuncCall().GetFuncname())
		if len(names) > 0 && n.GetResTarget().GetVal().GetFuncCall().GetOver() == nil && aggregates[names[len(names)-1]] {
			return false
		}
	}
	for k := range a.sink.objects {
		switch k.kind {
		case "table", "view", "matview", "foreign":
			return true
		}
	}
	return false
}

var aggregates = set(`count sum avg min max array_agg string_agg json_agg jsonb_agg json_object_agg jsonb_object_agg
	bool_and bool_or every bit_and bit_or stddev variance percentile_cont percentile_disc mode`)

// firstInto finds and takes INTO of the leftmost SELECT, where the grammar
// lets it stand.
func firstInto(s *pg.SelectStmt) *pg.IntoClause {
	for x := s; x != nil; x = x.GetLarg() {
		if into := x.GetIntoClause(); into != nil {
			x.IntoClause = nil
			return into
		}
	}
	return nil
}

// createAs is a table made from a query.
func (a *analyzer) createAs(s *pg.SelectStmt, into *pg.IntoClause, st *doorward.Statement) {
	out := a.query(s, nil)
	for _, c := range out.cols {
		a.use(c.value) // a copy elsewhere
	}
	a.newRelation("table", into.GetRel())
	a.sink.verbs |= doorward.VerbCreate
	a.sink.rows(-1)
	if into.GetTableSpaceName() != "" {
		a.sink.object("tablespace", into.GetTableSpaceName(), doorward.VerbDefine)
	}
	st.Known = true
}

// newRelation notes a relation that is made. One that would hide another is
// not understood: names would mean something else from then on.
func (a *analyzer) newRelation(kind string, rv *pg.RangeVar) {
	schema, name := rv.GetSchemaname(), rv.GetRelname()
	temp := rv.GetRelpersistence() == "t" || strings.HasPrefix(schema, "pg_temp")
	switch {
	case temp:
		schema = "pg_temp"
	case schema == "" && len(a.cat.path) > 0:
		schema = a.cat.path[0]
	}
	a.sink.object(kind, schema+"."+name, doorward.VerbDefine)
	a.sink.uncounted()
	_, isType := a.cat.typeOf("", name)
	if temp && (isType || a.cat.lookup("", name) != nil) {
		a.unsure("a temporary relation named " + quoteName(name) + " would hide the one of that name: choose another name")
	}
	if schema == "pg_catalog" {
		a.sink.object(kind, schema+"."+name, doorward.VerbAdmin)
	}
}

// top reads a query that is part of another statement: COPY, EXPLAIN, a cursor.
func (a *analyzer) top(n *pg.Node, sc *scope) rows {
	switch x := n.GetNode().(type) {
	case *pg.Node_SelectStmt:
		return a.query(x.SelectStmt, sc)
	case *pg.Node_InsertStmt, *pg.Node_UpdateStmt, *pg.Node_DeleteStmt, *pg.Node_MergeStmt:
		return a.body(n, sc)
	}
	a.unsure("this kind of statement is not known to doorward here")
	return rows{open: true}
}

func (a *analyzer) explain(s *pg.ExplainStmt, st *doorward.Statement) {
	st.Kind, st.Returns, st.Known = "EXPLAIN", true, true
	st.Columns = []doorward.Column{{Name: "QUERY PLAN"}}
	analyze := false
	for _, n := range s.GetOptions() {
		d := n.GetDefElem()
		v, _ := constantText(d.GetArg())
		switch strings.ToLower(d.GetDefname()) {
		case "analyze":
			analyze = analyze || d.GetArg() == nil || !isFalse(v)
		case "verbose", "costs", "settings", "buffers", "wal", "timing", "summary", "format", "generic_plan", "memory", "serialize":
		default:
			a.unsure("the EXPLAIN option " + quoteName(d.GetDefname()) + " is not known to doorward")
		}
	}
	var inner doorward.Statement
	outer, cursors := a.sink, a.cursors
	a.sink, a.cursors = newSink(), maps.Clone(a.cursors)
	a.statement(s.GetQuery(), &inner)
	a.cursors = cursors // EXPLAIN DECLARE opens none: a cursor of that name is still what it was
	resolves := a.sink.resolves
	e := a.sink.effect("")
	a.sink = outer
	a.sink.resolves = resolves
	if analyze {
		st.Kind = "EXPLAIN ANALYZE"
		a.sink.add(&e)
		a.sink.verbs |= doorward.VerbRead
		return
	}
	// Not run, but planned: functions marked immutable run, tables do not change.
	const written = doorward.VerbCreate | doorward.VerbUpdate | doorward.VerbDelete | doorward.VerbDefine
	for i, o := range e.Objects {
		if o.Verb&written != 0 {
			e.Objects[i].Verb = o.Verb&^written | doorward.VerbRead
		}
	}
	if e.Verbs&written != 0 {
		e.Verbs = e.Verbs&^written | doorward.VerbRead
	}
	e.Traits &^= doorward.TraitUnbounded | doorward.TraitLocks
	if !e.Verbs.Has(doorward.VerbExecute) {
		e.Bound = 0
	}
	a.sink.add(&e)
	a.sink.verbs |= doorward.VerbRead
}

func (a *analyzer) transaction(s *pg.TransactionStmt, st *doorward.Statement) {
	a.sink.verbs |= doorward.VerbSession
	st.Known = true
	switch s.GetKind() {
	case pg.TransactionStmtKind_TRANS_STMT_BEGIN, pg.TransactionStmtKind_TRANS_STMT_START:
		st.Kind, st.Control = "BEGIN", doorward.ControlBegin
		a.transactionModes(s.GetOptions(), st)
	case pg.TransactionStmtKind_TRANS_STMT_COMMIT:
		st.Kind, st.Control = "COMMIT", doorward.ControlCommit
		a.chain(s)
	case pg.TransactionStmtKind_TRANS_STMT_ROLLBACK:
		st.Kind, st.Control = "ROLLBACK", doorward.ControlRollback
		a.chain(s)
	case pg.TransactionStmtKind_TRANS_STMT_SAVEPOINT:
		st.Kind, st.Control, st.Name = "SAVEPOINT", doorward.ControlSavepoint, s.GetSavepointName()
	case pg.TransactionStmtKind_TRANS_STMT_RELEASE:
		st.Kind, st.Control, st.Name = "RELEASE", doorward.ControlRelease, s.GetSavepointName()
	case pg.TransactionStmtKind_TRANS_STMT_ROLLBACK_TO:
		st.Kind, st.Control, st.Name = "ROLLBACK TO", doorward.ControlRollbackTo, s.GetSavepointName()
	case pg.TransactionStmtKind_TRANS_STMT_PREPARE, pg.TransactionStmtKind_TRANS_STMT_COMMIT_PREPARED, pg.TransactionStmtKind_TRANS_STMT_ROLLBACK_PREPARED:
		st.Kind = "PREPARE TRANSACTION"
		a.sink.object("transaction", s.GetGid(), doorward.VerbAdmin)
		a.sink.hint = "use COMMIT or ROLLBACK: prepared transactions outlive the session"
	default:
		a.unsure("this transaction statement is not known to doorward")
	}
}

// chain: a chained transaction begins without a BEGIN that could be judged.
func (a *analyzer) chain(s *pg.TransactionStmt) {
	if s.GetChain() {
		a.unsure("AND CHAIN is not understood: begin the next transaction with BEGIN")
	}
}

func (a *analyzer) call(s *pg.CallStmt, st *doorward.Statement) {
	st.Kind = "CALL"
	names := fieldNames(s.GetFunccall().GetFuncname())
	name := join(names)
	if len(names) == 1 && len(a.cat.path) > 0 {
		name = a.cat.path[0] + "." + name
	}
	a.sink.object("procedure", name, doorward.VerbExecute)
	for _, n := range s.GetFunccall().GetArgs() {
		a.consume(n, child(nil))
	}
	a.opaque("write the statements themselves instead of calling a procedure")
}

func (a *analyzer) truncate(s *pg.TruncateStmt, st *doorward.Statement) {
	st.Kind = "TRUNCATE"
	for _, n := range s.GetRelations() {
		rel, _ := a.open(n.GetRangeVar(), doorward.VerbDelete)
		if rel == nil {
			continue
		}
		a.sideEffects(rel, doorward.VerbDelete)
		if s.GetBehavior() == pg.DropBehavior_DROP_CASCADE {
			seen := map[*relation]bool{}
			for queue := []*relation{rel}; len(queue) > 0; queue = queue[1:] {
				for _, fk := range queue[0].referenced {
					if !seen[fk.from] {
						seen[fk.from] = true
						queue = append(queue, fk.from)
						a.sink.object(relationKind(fk.from), fk.from.full(), doorward.VerbDelete)
					}
				}
			}
		}
	}
	a.sink.rows(-1)
}

// AccessShareLock is the lock that reading takes anyway.
const accessShareLock = 1

func (a *analyzer) lockTables(s *pg.LockStmt, st *doorward.Statement) {
	st.Kind = "LOCK TABLE"
	a.sink.traits |= doorward.TraitLocks
	verb := doorward.VerbRead
	if s.GetMode() != accessShareLock {
		verb |= doorward.VerbUpdate
	}
	for _, n := range s.GetRelations() {
		a.open(n.GetRangeVar(), verb)
	}
	if a.sink.hint == "" {
		a.sink.hint = "leave LOCK TABLE out: a read-only transaction with REPEATABLE READ sees one state"
	}
}

func (a *analyzer) discard(s *pg.DiscardStmt, st *doorward.Statement) {
	st.Kind, st.Control = "DISCARD", doorward.ControlDiscard
	a.sink.verbs |= doorward.VerbSession
	switch s.GetTarget() {
	case pg.DiscardMode_DISCARD_PLANS:
		st.Name = "plans"
	case pg.DiscardMode_DISCARD_SEQUENCES:
		st.Name = "sequences"
	case pg.DiscardMode_DISCARD_TEMP:
		st.Name = "temp"
		a.sink.object("schema", "pg_temp", doorward.VerbDefine)
	default:
		st.Name = "all"
		a.sink.object("setting", "all", doorward.VerbAdmin)
		a.sink.hint = "use DEALLOCATE ALL and CLOSE ALL: DISCARD ALL resets settings that doorward pins"
		a.forget(true, true)
	}
}
