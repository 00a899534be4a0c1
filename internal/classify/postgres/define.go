package postgres

import (
	"strings"

	pg "github.com/pganalyze/pg_query_go/v6"

	"github.com/doorward/doorward"
)

// shape notes one object whose shape changes.
func (a *analyzer) shape(kind, name string, verb doorward.Verb) {
	if name == "" {
		name = "?"
	}
	a.sink.object(kind, name, verb)
	a.sink.uncounted()
}

// admin notes an act on the server itself: no sane policy lets it be approved.
func (a *analyzer) admin(st *doorward.Statement, statement, kind, name string) {
	st.Kind = statement
	a.shape(kind, name, doorward.VerbAdmin)
	if a.sink.hint == "" {
		a.sink.hint = statement + " acts on the server and is not run through doorward"
	}
}

// define reads the statements that change the shape of things, permissions,
// or the server. Their parts are not looked into: none of them is ever a read.
func (a *analyzer) define(n *pg.Node, st *doorward.Statement) {
	st.Known = true
	if a.acts(n, st) || a.permits(n, st) {
		return
	}
	const def = doorward.VerbDefine
	switch x := n.GetNode().(type) {
	case *pg.Node_CreateTableAsStmt:
		a.createTableAs(x.CreateTableAsStmt, st)
	case *pg.Node_CreateStmt:
		st.Kind = "CREATE TABLE"
		a.newRelation("table", x.CreateStmt.GetRelation())
		if x.CreateStmt.GetTablespacename() != "" {
			a.shape("tablespace", x.CreateStmt.GetTablespacename(), def)
		}
		for _, p := range x.CreateStmt.GetInhRelations() {
			a.shape("table", a.named(p.GetRangeVar()), def)
		}
	case *pg.Node_AlterTableStmt:
		a.alterTable(x.AlterTableStmt, st)
	case *pg.Node_DropStmt:
		a.drop(x.DropStmt, st)
	case *pg.Node_IndexStmt:
		st.Kind = "CREATE INDEX"
		a.shape("table", a.named(x.IndexStmt.GetRelation()), def)
		exprs := []*pg.Node{x.IndexStmt.GetWhereClause()}
		for _, p := range x.IndexStmt.GetIndexParams() {
			exprs = append(exprs, p.GetIndexElem().GetExpr())
		}
		a.overTable(x.IndexStmt.GetRelation(), exprs...)
		if x.IndexStmt.GetConcurrent() {
			a.sink.traits |= doorward.TraitIrreversible
		}
	case *pg.Node_ViewStmt:
		st.Kind = "CREATE VIEW"
		a.newRelation("view", x.ViewStmt.GetView())
		a.body(x.ViewStmt.GetQuery(), child(nil))
	case *pg.Node_RuleStmt:
		st.Kind = "CREATE RULE"
		a.shape("table", a.named(x.RuleStmt.GetRelation()), def)
		a.shape("rule", x.RuleStmt.GetRulename(), def|doorward.VerbExecute)
		a.overTable(x.RuleStmt.GetRelation(), append([]*pg.Node{x.RuleStmt.GetWhereClause()}, x.RuleStmt.GetActions()...)...)
	case *pg.Node_CreateTrigStmt:
		st.Kind = "CREATE TRIGGER"
		a.shape("table", a.named(x.CreateTrigStmt.GetRelation()), def)
		a.shape("trigger", x.CreateTrigStmt.GetTrigname(), def|doorward.VerbExecute)
		a.overTable(x.CreateTrigStmt.GetRelation(), x.CreateTrigStmt.GetWhenClause())
	case *pg.Node_CreateFunctionStmt:
		st.Kind = "CREATE FUNCTION"
		if x.CreateFunctionStmt.GetIsProcedure() {
			st.Kind = "CREATE PROCEDURE"
		}
		a.createFunction(x.CreateFunctionStmt, st)
	case *pg.Node_AlterFunctionStmt:
		st.Kind = "ALTER FUNCTION"
		a.shape("function", join(fieldNames(x.AlterFunctionStmt.GetFunc().GetObjname())), def)
		for _, n := range x.AlterFunctionStmt.GetActions() {
			if d := n.GetDefElem(); strings.EqualFold(d.GetDefname(), "set") {
				a.admin(st, st.Kind, "setting", d.GetArg().GetVariableSetStmt().GetName())
			}
		}
	case *pg.Node_RenameStmt:
		st.Kind = "ALTER " + objectWord(x.RenameStmt.GetRenameType()) + " RENAME"
		a.rename(x.RenameStmt)
	case *pg.Node_AlterObjectSchemaStmt:
		st.Kind = "ALTER SET SCHEMA"
		a.shape("schema", x.AlterObjectSchemaStmt.GetNewschema(), def)
		if rv := x.AlterObjectSchemaStmt.GetRelation(); rv != nil {
			a.shape("table", a.named(rv), def)
			a.unmasks(rv, true, func(r *relation, c string) (string, string, string, bool) {
				return x.AlterObjectSchemaStmt.GetNewschema(), r.name, c, true
			})
		}
	case *pg.Node_CreateSchemaStmt:
		st.Kind = "CREATE SCHEMA"
		a.shape("schema", x.CreateSchemaStmt.GetSchemaname(), def)
		for _, e := range x.CreateSchemaStmt.GetSchemaElts() {
			var in doorward.Statement
			a.statement(e, &in)
		}
	case *pg.Node_CreateSeqStmt:
		st.Kind = "CREATE SEQUENCE"
		a.newRelation("sequence", x.CreateSeqStmt.GetSequence())
	case *pg.Node_AlterSeqStmt:
		st.Kind = "ALTER SEQUENCE"
		a.shape("sequence", a.named(x.AlterSeqStmt.GetSequence()), def)
	case *pg.Node_CreateEnumStmt:
		st.Kind = "CREATE TYPE"
		a.shape("type", join(fieldNames(x.CreateEnumStmt.GetTypeName())), def)
	case *pg.Node_AlterEnumStmt:
		st.Kind = "ALTER TYPE"
		a.shape("type", join(fieldNames(x.AlterEnumStmt.GetTypeName())), def)
	case *pg.Node_CompositeTypeStmt:
		st.Kind = "CREATE TYPE"
		a.shape("type", a.named(x.CompositeTypeStmt.GetTypevar()), def)
	case *pg.Node_CreateRangeStmt:
		st.Kind = "CREATE TYPE"
		a.shape("type", join(fieldNames(x.CreateRangeStmt.GetTypeName())), def)
	case *pg.Node_CreateDomainStmt:
		st.Kind = "CREATE DOMAIN"
		a.shape("type", join(fieldNames(x.CreateDomainStmt.GetDomainname())), def)
	case *pg.Node_AlterDomainStmt:
		st.Kind = "ALTER DOMAIN"
		a.shape("type", join(fieldNames(x.AlterDomainStmt.GetTypeName())), def)
	case *pg.Node_DefineStmt:
		st.Kind = "CREATE " + objectWord(x.DefineStmt.GetKind())
		name := join(fieldNames(x.DefineStmt.GetDefnames()))
		a.shape(strings.ToLower(objectWord(x.DefineStmt.GetKind())), name, def)
		switch x.DefineStmt.GetKind() {
		case pg.ObjectType_OBJECT_TYPE, pg.ObjectType_OBJECT_TSPARSER, pg.ObjectType_OBJECT_TSTEMPLATE:
			if len(x.DefineStmt.GetDefinition()) > 0 { // made of native code
				a.admin(st, st.Kind, "language", "c")
			}
		}
	case *pg.Node_CreateCastStmt:
		st.Kind = "CREATE CAST"
		a.shape("cast", join(fieldNames(x.CreateCastStmt.GetTargettype().GetNames())), def)
	case *pg.Node_CommentStmt:
		st.Kind = "COMMENT"
		a.shape(strings.ToLower(objectWord(x.CommentStmt.GetObjtype())), nodeName(x.CommentStmt.GetObject()), def)
	case *pg.Node_RefreshMatViewStmt:
		st.Kind = "REFRESH MATERIALIZED VIEW"
		if rel, _ := a.open(x.RefreshMatViewStmt.GetRelation(), doorward.VerbRead); rel != nil {
			a.shape(relationKind(rel), rel.full(), doorward.VerbUpdate)
		}
		a.sink.rows(-1)
	case *pg.Node_ClusterStmt:
		st.Kind = "CLUSTER"
		a.shape("table", a.named(x.ClusterStmt.GetRelation()), def)
	case *pg.Node_VacuumStmt:
		st.Kind = "VACUUM"
		if !x.VacuumStmt.GetIsVacuumcmd() {
			st.Kind = "ANALYZE"
		}
		for _, r := range x.VacuumStmt.GetRels() {
			a.shape("table", a.named(r.GetVacuumRelation().GetRelation()), def)
		}
		if len(x.VacuumStmt.GetRels()) == 0 {
			a.shape("database", "all tables", def)
		}
	case *pg.Node_ReindexStmt:
		st.Kind = "REINDEX"
		a.shape("table", a.named(x.ReindexStmt.GetRelation()), def)
	case *pg.Node_CreateStatsStmt:
		st.Kind = "CREATE STATISTICS"
		a.shape("statistics", join(fieldNames(x.CreateStatsStmt.GetDefnames())), def)
	case *pg.Node_AlterStatsStmt:
		st.Kind = "ALTER STATISTICS"
		a.shape("statistics", join(fieldNames(x.AlterStatsStmt.GetDefnames())), def)
	case *pg.Node_AlterTypeStmt, *pg.Node_AlterOperatorStmt, *pg.Node_AlterCollationStmt, *pg.Node_AlterObjectDependsStmt,
		*pg.Node_AlterTsdictionaryStmt, *pg.Node_AlterTsconfigurationStmt, *pg.Node_CreateConversionStmt:
		st.Kind = "ALTER"
		a.shape("object", "", def)
	case *pg.Node_CreatedbStmt:
		st.Kind = "CREATE DATABASE"
		a.shape("database", x.CreatedbStmt.GetDbname(), def)
	case *pg.Node_DropdbStmt:
		st.Kind = "DROP DATABASE"
		a.shape("database", x.DropdbStmt.GetDbname(), def)
		a.sink.traits |= doorward.TraitIrreversible | doorward.TraitUnbounded
	default:
		st.Kind = "UNKNOWN"
		a.unsure("this kind of statement is not known to doorward")
	}
}

// acts reads what acts on the server, on other servers, or on who one is.
func (a *analyzer) acts(n *pg.Node, st *doorward.Statement) bool {
	switch x := n.GetNode().(type) {
	case *pg.Node_CreateRoleStmt:
		a.admin(st, "CREATE ROLE", "role", x.CreateRoleStmt.GetRole())
	case *pg.Node_AlterRoleStmt:
		a.admin(st, "ALTER ROLE", "role", x.AlterRoleStmt.GetRole().GetRolename())
	case *pg.Node_AlterRoleSetStmt:
		a.admin(st, "ALTER ROLE SET", "role", x.AlterRoleSetStmt.GetRole().GetRolename())
	case *pg.Node_DropRoleStmt:
		a.admin(st, "DROP ROLE", "role", "")
	case *pg.Node_GrantRoleStmt:
		a.admin(st, "GRANT ROLE", "role", "")
	case *pg.Node_ReassignOwnedStmt:
		a.admin(st, "REASSIGN OWNED", "role", "")
	case *pg.Node_AlterSystemStmt:
		a.admin(st, "ALTER SYSTEM", "setting", x.AlterSystemStmt.GetSetstmt().GetName())
	case *pg.Node_AlterDatabaseSetStmt:
		a.admin(st, "ALTER DATABASE SET", "database", x.AlterDatabaseSetStmt.GetDbname())
	case *pg.Node_AlterDatabaseStmt:
		a.admin(st, "ALTER DATABASE", "database", x.AlterDatabaseStmt.GetDbname())
	case *pg.Node_AlterDatabaseRefreshCollStmt:
		a.admin(st, "ALTER DATABASE", "database", x.AlterDatabaseRefreshCollStmt.GetDbname())
	case *pg.Node_CheckPointStmt:
		a.admin(st, "CHECKPOINT", "server", "checkpoint")
	case *pg.Node_LoadStmt:
		a.admin(st, "LOAD", "file", x.LoadStmt.GetFilename())
	case *pg.Node_CreateSubscriptionStmt:
		a.admin(st, "CREATE SUBSCRIPTION", "subscription", x.CreateSubscriptionStmt.GetSubname())
		a.leaves()
	case *pg.Node_AlterSubscriptionStmt:
		a.admin(st, "ALTER SUBSCRIPTION", "subscription", x.AlterSubscriptionStmt.GetSubname())
		a.leaves()
	case *pg.Node_DropSubscriptionStmt:
		a.admin(st, "DROP SUBSCRIPTION", "subscription", x.DropSubscriptionStmt.GetSubname())
	case *pg.Node_CreatePublicationStmt:
		a.admin(st, "CREATE PUBLICATION", "publication", x.CreatePublicationStmt.GetPubname())
		a.leaves()
	case *pg.Node_AlterPublicationStmt:
		a.admin(st, "ALTER PUBLICATION", "publication", x.AlterPublicationStmt.GetPubname())
		a.leaves()
	case *pg.Node_CreateEventTrigStmt:
		a.admin(st, "CREATE EVENT TRIGGER", "event trigger", x.CreateEventTrigStmt.GetTrigname())
	case *pg.Node_AlterEventTrigStmt:
		a.admin(st, "ALTER EVENT TRIGGER", "event trigger", x.AlterEventTrigStmt.GetTrigname())
	case *pg.Node_CreateExtensionStmt:
		a.admin(st, "CREATE EXTENSION", "extension", x.CreateExtensionStmt.GetExtname())
	case *pg.Node_AlterExtensionStmt:
		a.admin(st, "ALTER EXTENSION", "extension", x.AlterExtensionStmt.GetExtname())
	case *pg.Node_AlterExtensionContentsStmt:
		a.admin(st, "ALTER EXTENSION", "extension", x.AlterExtensionContentsStmt.GetExtname())
	case *pg.Node_CreateFdwStmt:
		a.admin(st, "CREATE FOREIGN DATA WRAPPER", "server", x.CreateFdwStmt.GetFdwname())
	case *pg.Node_AlterFdwStmt:
		a.admin(st, "ALTER FOREIGN DATA WRAPPER", "server", x.AlterFdwStmt.GetFdwname())
	case *pg.Node_CreateForeignServerStmt:
		a.admin(st, "CREATE SERVER", "server", x.CreateForeignServerStmt.GetServername())
		a.leaves()
	case *pg.Node_AlterForeignServerStmt:
		a.admin(st, "ALTER SERVER", "server", x.AlterForeignServerStmt.GetServername())
		a.leaves()
	case *pg.Node_CreateUserMappingStmt:
		a.admin(st, "CREATE USER MAPPING", "server", x.CreateUserMappingStmt.GetServername())
	case *pg.Node_AlterUserMappingStmt:
		a.admin(st, "ALTER USER MAPPING", "server", x.AlterUserMappingStmt.GetServername())
	case *pg.Node_DropUserMappingStmt:
		a.admin(st, "DROP USER MAPPING", "server", x.DropUserMappingStmt.GetServername())
	case *pg.Node_CreateForeignTableStmt:
		a.admin(st, "CREATE FOREIGN TABLE", "foreign", a.named(x.CreateForeignTableStmt.GetBaseStmt().GetRelation()))
		a.leaves()
	case *pg.Node_ImportForeignSchemaStmt:
		a.admin(st, "IMPORT FOREIGN SCHEMA", "server", x.ImportForeignSchemaStmt.GetServerName())
		a.leaves()
	case *pg.Node_CreateTableSpaceStmt:
		a.admin(st, "CREATE TABLESPACE", "tablespace", x.CreateTableSpaceStmt.GetTablespacename())
	case *pg.Node_DropTableSpaceStmt:
		a.admin(st, "DROP TABLESPACE", "tablespace", x.DropTableSpaceStmt.GetTablespacename())
	case *pg.Node_AlterTableSpaceOptionsStmt:
		a.admin(st, "ALTER TABLESPACE", "tablespace", x.AlterTableSpaceOptionsStmt.GetTablespacename())
	case *pg.Node_AlterTableMoveAllStmt:
		a.admin(st, "ALTER TABLE ALL IN TABLESPACE", "tablespace", x.AlterTableMoveAllStmt.GetOrigTablespacename())
	case *pg.Node_CreatePlangStmt:
		a.admin(st, "CREATE LANGUAGE", "language", x.CreatePlangStmt.GetPlname())
	case *pg.Node_CreateTransformStmt:
		a.admin(st, "CREATE TRANSFORM", "language", x.CreateTransformStmt.GetLang())
	case *pg.Node_CreateAmStmt:
		a.admin(st, "CREATE ACCESS METHOD", "server", x.CreateAmStmt.GetAmname())
	case *pg.Node_CreateOpClassStmt, *pg.Node_CreateOpFamilyStmt, *pg.Node_AlterOpFamilyStmt:
		a.admin(st, "CREATE OPERATOR CLASS", "server", "operator class")
	case *pg.Node_SecLabelStmt:
		a.admin(st, "SECURITY LABEL", "server", "security label")
	default:
		return false
	}
	return true
}

// permits reads what changes permissions.
func (a *analyzer) permits(n *pg.Node, st *doorward.Statement) bool {
	const grant = doorward.VerbGrant
	switch x := n.GetNode().(type) {
	case *pg.Node_GrantStmt:
		st.Kind = "GRANT"
		if !x.GrantStmt.GetIsGrant() {
			st.Kind = "REVOKE"
		}
		kind := strings.ToLower(objectWord(x.GrantStmt.GetObjtype()))
		for _, o := range x.GrantStmt.GetObjects() {
			if rv := o.GetRangeVar(); rv != nil {
				a.shape(kind, a.named(rv), grant)
				continue
			}
			a.shape(kind, nodeName(o), grant)
		}
		if x.GrantStmt.GetObjtype() == pg.ObjectType_OBJECT_PARAMETER_ACL {
			a.shape("setting", "parameter", doorward.VerbAdmin)
		}
		if len(x.GrantStmt.GetObjects()) == 0 {
			a.shape(kind, "", grant)
		}
	case *pg.Node_AlterDefaultPrivilegesStmt:
		st.Kind = "ALTER DEFAULT PRIVILEGES"
		a.shape("schema", "default privileges", grant)
	case *pg.Node_AlterOwnerStmt:
		st.Kind = "ALTER OWNER"
		name := nodeName(x.AlterOwnerStmt.GetObject())
		if rv := x.AlterOwnerStmt.GetRelation(); rv != nil {
			name = a.named(rv)
		}
		a.shape(strings.ToLower(objectWord(x.AlterOwnerStmt.GetObjectType())), name, grant)
	case *pg.Node_CreatePolicyStmt:
		st.Kind = "CREATE POLICY"
		a.shape("table", a.named(x.CreatePolicyStmt.GetTable()), grant)
		a.overTable(x.CreatePolicyStmt.GetTable(), x.CreatePolicyStmt.GetQual(), x.CreatePolicyStmt.GetWithCheck())
	case *pg.Node_AlterPolicyStmt:
		st.Kind = "ALTER POLICY"
		a.shape("table", a.named(x.AlterPolicyStmt.GetTable()), grant)
		a.overTable(x.AlterPolicyStmt.GetTable(), x.AlterPolicyStmt.GetQual(), x.AlterPolicyStmt.GetWithCheck())
	case *pg.Node_DropOwnedStmt:
		st.Kind = "DROP OWNED"
		a.shape("role", roles(x.DropOwnedStmt.GetRoles()), grant|doorward.VerbDefine|doorward.VerbDelete)
		a.sink.traits |= doorward.TraitIrreversible | doorward.TraitUnbounded
	default:
		return false
	}
	return true
}

func roles(list []*pg.Node) string {
	var out []string
	for _, n := range list {
		out = append(out, n.GetRoleSpec().GetRolename())
	}
	return strings.Join(out, ",")
}

func (a *analyzer) createTableAs(s *pg.CreateTableAsStmt, st *doorward.Statement) {
	st.Kind = "CREATE TABLE AS"
	kind := "table"
	if s.GetObjtype() == pg.ObjectType_OBJECT_MATVIEW {
		st.Kind, kind = "CREATE MATERIALIZED VIEW", "matview"
	}
	if e := s.GetQuery().GetExecuteStmt(); e != nil {
		var in doorward.Statement
		a.executePrepared(e, &in)
		for _, c := range in.Columns {
			if c.Masked != "" {
				a.maskOther(value{mask: c.Masked, origin: c.Source})
			}
		}
		a.newRelation(kind, s.GetInto().GetRel())
		a.sink.verbs |= doorward.VerbCreate
		a.sink.rows(-1)
		return
	}
	sel := s.GetQuery().GetSelectStmt()
	if sel == nil {
		a.unsure("this CREATE TABLE AS is not known to doorward")
		return
	}
	kindName := st.Kind
	a.createAs(sel, s.GetInto(), st)
	st.Kind = kindName
}

func (a *analyzer) createFunction(s *pg.CreateFunctionStmt, st *doorward.Statement) {
	names := fieldNames(s.GetFuncname())
	a.shape("function", join(names), doorward.VerbDefine|doorward.VerbExecute)
	for _, n := range s.GetOptions() {
		d := n.GetDefElem()
		v, _ := constantText(d.GetArg())
		switch strings.ToLower(d.GetDefname()) {
		case "language":
			switch strings.ToLower(v) {
			case "sql", "plpgsql":
			default: // c, internal, untrusted languages
				a.admin(st, st.Kind, "language", v)
			}
		case "set":
			a.admin(st, st.Kind, "setting", d.GetArg().GetVariableSetStmt().GetName())
		}
	}
}

func (a *analyzer) rename(s *pg.RenameStmt) {
	verb := doorward.VerbDefine
	switch s.GetRenameType() {
	case pg.ObjectType_OBJECT_ROLE, pg.ObjectType_OBJECT_DATABASE, pg.ObjectType_OBJECT_TABLESPACE, pg.ObjectType_OBJECT_FDW,
		pg.ObjectType_OBJECT_FOREIGN_SERVER, pg.ObjectType_OBJECT_LANGUAGE, pg.ObjectType_OBJECT_SUBSCRIPTION,
		pg.ObjectType_OBJECT_PUBLICATION, pg.ObjectType_OBJECT_EVENT_TRIGGER:
		verb = doorward.VerbAdmin
	case pg.ObjectType_OBJECT_POLICY:
		verb = doorward.VerbGrant
	}
	name := nodeName(s.GetObject())
	if rv := s.GetRelation(); rv != nil {
		name = a.named(rv)
		switch s.GetRenameType() {
		case pg.ObjectType_OBJECT_COLUMN:
			a.unmasks(rv, true, func(r *relation, c string) (string, string, string, bool) {
				return r.schema, r.name, s.GetNewname(), c == s.GetSubname()
			})
		case pg.ObjectType_OBJECT_TABLE, pg.ObjectType_OBJECT_FOREIGN_TABLE:
			a.unmasks(rv, true, func(r *relation, c string) (string, string, string, bool) { return r.schema, s.GetNewname(), c, true })
		}
	}
	if name == "" {
		name = s.GetSubname()
	}
	a.shape(strings.ToLower(objectWord(s.GetRenameType())), name, verb)
}

func (a *analyzer) alterTable(s *pg.AlterTableStmt, st *doorward.Statement) {
	st.Kind = "ALTER " + objectWord(s.GetObjtype())
	name := a.named(s.GetRelation())
	kind := strings.ToLower(objectWord(s.GetObjtype()))
	for _, n := range s.GetCmds() {
		verb := doorward.VerbDefine
		switch n.GetAlterTableCmd().GetSubtype() {
		case pg.AlterTableType_AT_ChangeOwner, pg.AlterTableType_AT_EnableRowSecurity, pg.AlterTableType_AT_DisableRowSecurity,
			pg.AlterTableType_AT_ForceRowSecurity, pg.AlterTableType_AT_NoForceRowSecurity:
			verb = doorward.VerbGrant
		case pg.AlterTableType_AT_GenericOptions, pg.AlterTableType_AT_AlterColumnGenericOptions:
			verb = doorward.VerbAdmin
		case pg.AlterTableType_AT_DropColumn, pg.AlterTableType_AT_AlterColumnType:
			a.sink.traits |= doorward.TraitIrreversible
		}
		a.shape(kind, name, verb)
		a.alterMasked(s.GetRelation(), n.GetAlterTableCmd())
	}
	if len(s.GetCmds()) == 0 {
		a.shape(kind, name, doorward.VerbDefine)
	}
}

// alterMasked reads the parts of an ALTER TABLE that look at rows: they copy
// columns, or fail by what is in them.
func (a *analyzer) alterMasked(rv *pg.RangeVar, c *pg.AlterTableCmd) {
	var exprs []*pg.Node
	constraint := func(n *pg.Node) {
		k := n.GetConstraint()
		exprs = append(exprs, k.GetRawExpr(), k.GetWhereClause())
		if k.GetContype() == pg.ConstrType_CONSTR_FOREIGN { // compared with what is there
			to, cols := a.cat.lookup(k.GetPktable().GetSchemaname(), k.GetPktable().GetRelname()), fieldNames(k.GetPkAttrs())
			if to != nil && len(cols) == 0 && len(to.keys) > 0 {
				cols = to.keys[0]
			}
			for _, col := range cols {
				if to != nil {
					if m, origin := a.masked(to, col); m != "" {
						a.maskOther(value{mask: m, origin: origin})
					}
				}
			}
			if from := a.cat.lookup(rv.GetSchemaname(), rv.GetRelname()); from != nil {
				for _, col := range fieldNames(k.GetFkAttrs()) {
					if m, origin := a.masked(from, col); m != "" {
						a.maskOther(value{mask: m, origin: origin})
					}
				}
			}
		}
		for _, e := range k.GetExclusions() {
			for _, x := range e.GetList().GetItems() {
				exprs = append(exprs, x.GetIndexElem().GetExpr())
			}
		}
	}
	switch c.GetSubtype() {
	case pg.AlterTableType_AT_AddColumn, pg.AlterTableType_AT_AlterColumnType:
		exprs = append(exprs, c.GetDef().GetColumnDef().GetRawDefault())
		for _, k := range c.GetDef().GetColumnDef().GetConstraints() {
			constraint(k)
		}
	case pg.AlterTableType_AT_AddConstraint:
		constraint(c.GetDef())
	case pg.AlterTableType_AT_DropInherit, pg.AlterTableType_AT_DetachPartition:
		child := rv
		if p := c.GetDef().GetPartitionCmd().GetName(); p != nil {
			child = p
		}
		a.unmasks(child, false, func(r *relation, c string) (string, string, string, bool) { return r.schema, r.name, c, true })
	default:
		exprs = append(exprs, c.GetDef()) // an expression, or nothing that is read here
		if !expression(c.GetDef()) {
			return
		}
	}
	a.overTable(rv, exprs...)
}

func expression(n *pg.Node) bool {
	switch n.GetNode().(type) {
	case *pg.Node_AExpr, *pg.Node_FuncCall, *pg.Node_ColumnRef, *pg.Node_TypeCast, *pg.Node_CaseExpr, *pg.Node_CoalesceExpr, *pg.Node_BoolExpr:
		return true
	}
	return false
}

// overTable reads expressions and actions that are kept with a table for what
// they do with its masked columns.
func (a *analyzer) overTable(rv *pg.RangeVar, list ...*pg.Node) {
	rel := a.cat.lookup(rv.GetSchemaname(), rv.GetRelname())
	if rel == nil || !a.anyMasked() {
		return
	}
	outer := a.sink
	a.sink = newSink()
	var r rows
	for _, c := range rel.columns {
		v := value{source: rel.full() + "." + c}
		v.mask, v.origin = a.masked(rel, c)
		r.cols = append(r.cols, column{c, v})
	}
	sc := &scope{froms: []*from{{rows: r, items: []*item{{alias: rel.name, schema: rel.schema, rows: r}, {alias: "old", rows: r}, {alias: "new", rows: r}}}}}
	for _, n := range list {
		switch n.GetNode().(type) {
		case nil:
		case *pg.Node_InsertStmt, *pg.Node_UpdateStmt, *pg.Node_DeleteStmt, *pg.Node_SelectStmt:
			a.body(n, &scope{froms: []*from{{items: sc.froms[0].items}}})
		default:
			a.consume(n, sc)
		}
	}
	in := a.sink
	a.sink = outer
	if in.use != doorward.MaskOther || len(in.masked) == 0 {
		return
	}
	for m := range in.masked {
		a.sink.masked[m] = true
	}
	a.sink.use = doorward.MaskOther
	a.sink.hint = maskHint
}

// unmasks refuses a change of names after which a rule would not find a masked
// column any more. then gives a column's schema, table and name afterwards,
// and whether the change is about it; stays says that the table keeps what it
// inherits from.
func (a *analyzer) unmasks(rv *pg.RangeVar, stays bool, then func(r *relation, column string) (schema, table, name string, about bool)) {
	rel := a.cat.lookup(rv.GetSchemaname(), rv.GetRelname())
	if rel == nil || !a.anyMasked() || rel.kind == kindView {
		return
	}
	for _, c := range rel.columns {
		m, origin := a.masked(rel, c)
		if m == "" {
			continue
		}
		schema, table, name, about := then(rel, c)
		if about && stays && name == c {
			for _, p := range rel.ancestors() {
				about = about && a.env.Masked(p.schema, p.name, c) == ""
			}
		}
		if about && a.env.Masked(schema, table, name) == "" {
			a.maskOther(value{mask: m, origin: origin})
			a.sink.hint = "the rule that masks " + rel.full() + "." + c + " would not find it under its new name: change the rules first"
		}
	}
}

func (a *analyzer) drop(s *pg.DropStmt, st *doorward.Statement) {
	word := objectWord(s.GetRemoveType())
	st.Kind = "DROP " + word
	verb := doorward.VerbDefine
	switch s.GetRemoveType() {
	case pg.ObjectType_OBJECT_EVENT_TRIGGER, pg.ObjectType_OBJECT_FDW, pg.ObjectType_OBJECT_FOREIGN_SERVER, pg.ObjectType_OBJECT_LANGUAGE,
		pg.ObjectType_OBJECT_EXTENSION, pg.ObjectType_OBJECT_PUBLICATION, pg.ObjectType_OBJECT_ACCESS_METHOD, pg.ObjectType_OBJECT_TRANSFORM,
		pg.ObjectType_OBJECT_OPCLASS, pg.ObjectType_OBJECT_OPFAMILY:
		verb = doorward.VerbAdmin
	case pg.ObjectType_OBJECT_POLICY:
		verb = doorward.VerbGrant
	case pg.ObjectType_OBJECT_TABLE, pg.ObjectType_OBJECT_SCHEMA, pg.ObjectType_OBJECT_MATVIEW, pg.ObjectType_OBJECT_SEQUENCE:
		// All its rows go with it, and nothing bounds them.
		a.sink.traits |= doorward.TraitIrreversible | doorward.TraitUnbounded
		verb |= doorward.VerbDelete
	}
	if s.GetConcurrent() {
		a.sink.traits |= doorward.TraitIrreversible
	}
	for _, o := range s.GetObjects() {
		name := nodeName(o)
		switch s.GetRemoveType() {
		case pg.ObjectType_OBJECT_TABLE, pg.ObjectType_OBJECT_VIEW, pg.ObjectType_OBJECT_MATVIEW, pg.ObjectType_OBJECT_SEQUENCE, pg.ObjectType_OBJECT_FOREIGN_TABLE:
			schema, rel := "", name
			if i := strings.LastIndexByte(name, '.'); i >= 0 {
				schema, rel = name[:i], name[i+1:]
			}
			name = a.named(&pg.RangeVar{Schemaname: schema, Relname: rel})
		}
		a.shape(strings.ToLower(word), name, verb)
	}
}

// named gives a relation's full name, as it resolves or as it would be made.
func (a *analyzer) named(rv *pg.RangeVar) string {
	if rv == nil {
		return ""
	}
	if r := a.cat.lookup(rv.GetSchemaname(), rv.GetRelname()); r != nil {
		if r.system() {
			a.sink.object("catalog", r.full(), doorward.VerbAdmin)
		}
		return r.full()
	}
	schema := rv.GetSchemaname()
	if schema == "" && len(a.cat.path) > 0 {
		schema = a.cat.path[0]
	}
	return schema + "." + rv.GetRelname()
}

// objectWord is the word for a kind of object: "TABLE", "MATERIALIZED VIEW".
func objectWord(t pg.ObjectType) string {
	w := strings.ReplaceAll(strings.TrimPrefix(t.String(), "OBJECT_"), "_", " ")
	if w == "MATVIEW" {
		return "MATERIALIZED VIEW"
	}
	return w
}

// nodeName gives the name in a node that names an object.
func nodeName(n *pg.Node) string {
	switch x := n.GetNode().(type) {
	case *pg.Node_String_:
		return x.String_.GetSval()
	case *pg.Node_List:
		var out []string
		for _, i := range x.List.GetItems() {
			out = append(out, nodeName(i))
		}
		return strings.Join(out, ".")
	case *pg.Node_ObjectWithArgs:
		return join(fieldNames(x.ObjectWithArgs.GetObjname()))
	case *pg.Node_TypeName:
		return join(fieldNames(x.TypeName.GetNames()))
	case *pg.Node_RangeVar:
		if x.RangeVar.GetSchemaname() != "" {
			return x.RangeVar.GetSchemaname() + "." + x.RangeVar.GetRelname()
		}
		return x.RangeVar.GetRelname()
	case *pg.Node_AccessPriv:
		return x.AccessPriv.GetPrivName()
	}
	return ""
}
