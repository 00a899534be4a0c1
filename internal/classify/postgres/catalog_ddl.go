package postgres

import (
	"crypto/sha256"
	"encoding/hex"
	"reflect"
	"strings"

	pg "github.com/pganalyze/pg_query_go/v6"
)

// CatalogFromDDL makes a catalog from a schema file: the CREATE and ALTER
// statements in it, in order. Of what extensions make, only the functions that
// compute are known, and their types.
func CatalogFromDDL(sql string) (*Catalog, error) {
	c := newCatalog("public")
	c.schemas["public"] = true
	sum := sha256.Sum256([]byte(sql))
	c.epoch = "ddl " + hex.EncodeToString(sum[:8])
	tree, err := parseSchema(sql)
	if err != nil {
		return nil, err
	}
	b := &builder{c: c}
	for _, raw := range tree.GetStmts() {
		b.statement(raw.GetStmt())
	}
	return c, nil
}

type builder struct{ c *Catalog }

func (b *builder) qualify(names []string) (schema, name string) {
	if len(names) == 0 {
		return "public", ""
	}
	if len(names) == 1 {
		return "public", names[0]
	}
	return names[len(names)-2], names[len(names)-1]
}

func (b *builder) find(rv *pg.RangeVar) *relation {
	if rv == nil {
		return nil
	}
	return b.c.lookup(rv.GetSchemaname(), rv.GetRelname())
}

func (b *builder) make(rv *pg.RangeVar, kind byte) *relation {
	schema, name := rv.GetSchemaname(), rv.GetRelname()
	if schema == "" {
		schema = "public"
	}
	r := &relation{schema: schema, name: name, kind: kind, types: map[string]string{}}
	b.c.relations[r.full()] = r
	return r
}

func (b *builder) statement(n *pg.Node) {
	switch x := n.GetNode().(type) {
	case *pg.Node_CreateSchemaStmt:
		b.c.schemas[x.CreateSchemaStmt.GetSchemaname()] = true
		for _, e := range x.CreateSchemaStmt.GetSchemaElts() {
			b.statement(e)
		}
	case *pg.Node_CreateExtensionStmt:
		b.extension(x.CreateExtensionStmt)
	case *pg.Node_CreateStmt:
		kind := byte(kindTable)
		if x.CreateStmt.GetPartspec() != nil {
			kind = kindPartitioned
		}
		b.table(x.CreateStmt, kind)
	case *pg.Node_CreateForeignTableStmt:
		b.table(x.CreateForeignTableStmt.GetBaseStmt(), kindForeign)
	case *pg.Node_CreateSeqStmt:
		b.sequence(x.CreateSeqStmt.GetSequence())
	case *pg.Node_ViewStmt:
		b.view(x.ViewStmt.GetView(), x.ViewStmt.GetQuery().GetSelectStmt(), fieldNames(x.ViewStmt.GetAliases()), kindView)
	case *pg.Node_CreateTableAsStmt:
		into := x.CreateTableAsStmt.GetInto()
		kind := byte(kindTable)
		if x.CreateTableAsStmt.GetObjtype() == pg.ObjectType_OBJECT_MATVIEW {
			kind = kindMatView
		}
		b.view(into.GetRel(), x.CreateTableAsStmt.GetQuery().GetSelectStmt(), fieldNames(into.GetColNames()), kind)
	case *pg.Node_IndexStmt:
		b.index(x.IndexStmt)
	case *pg.Node_AlterTableStmt:
		b.alter(x.AlterTableStmt)
	case *pg.Node_RuleStmt:
		if r := b.find(x.RuleStmt.GetRelation()); r != nil {
			r.rules = true
		}
	case *pg.Node_CreateTrigStmt:
		b.trigger(x.CreateTrigStmt)
	case *pg.Node_CreateFunctionStmt:
		schema, name := b.qualify(fieldNames(x.CreateFunctionStmt.GetFuncname()))
		b.c.functions[name] = append(b.c.functions[name], &function{schema: schema, name: name})
	case *pg.Node_DefineStmt:
		b.defineStatement(x.DefineStmt)
	case *pg.Node_CreateEnumStmt:
		b.userType(fieldNames(x.CreateEnumStmt.GetTypeName()), 'e', true)
	case *pg.Node_CreateRangeStmt:
		b.userType(fieldNames(x.CreateRangeStmt.GetTypeName()), 'r', false)
	case *pg.Node_CreateDomainStmt:
		safe := b.safe(x.CreateDomainStmt.GetTypeName())
		for _, k := range x.CreateDomainStmt.GetConstraints() {
			if k.GetConstraint().GetContype() == pg.ConstrType_CONSTR_CHECK {
				safe = false
			}
		}
		b.userType(fieldNames(x.CreateDomainStmt.GetDomainname()), 'd', safe)
	case *pg.Node_CompositeTypeStmt:
		rv := x.CompositeTypeStmt.GetTypevar()
		safe := true
		for _, f := range x.CompositeTypeStmt.GetColdeflist() {
			safe = safe && b.safe(f.GetColumnDef().GetTypeName())
		}
		names := []string{rv.GetRelname()}
		if rv.GetSchemaname() != "" {
			names = []string{rv.GetSchemaname(), rv.GetRelname()}
		}
		b.userType(names, 'c', safe)
	case *pg.Node_CreateCastStmt:
		if x.CreateCastStmt.GetFunc() != nil || x.CreateCastStmt.GetInout() {
			b.c.casts = append(b.c.casts, userCast{from: join(fieldNames(x.CreateCastStmt.GetSourcetype().GetNames())), to: join(fieldNames(x.CreateCastStmt.GetTargettype().GetNames()))})
		}
	case *pg.Node_DropStmt:
		b.drop(x.DropStmt)
	case *pg.Node_RenameStmt:
		b.rename(x.RenameStmt)
	}
}

func (b *builder) safe(t *pg.TypeName) bool {
	names := fieldNames(t.GetNames())
	schema, name := "", ""
	if len(names) > 0 {
		name = names[len(names)-1]
	}
	if len(names) > 1 {
		schema = names[len(names)-2]
	}
	ut, ok := b.c.typeOf(schema, name)
	return ok && (ut == nil || ut.safe)
}

func (b *builder) userType(names []string, kind byte, safe bool) {
	schema, name := b.qualify(names)
	b.c.types[schema+"."+name] = &userType{schema: schema, name: name, kind: kind, safe: safe}
}

func (b *builder) sequence(rv *pg.RangeVar) {
	r := b.make(rv, kindSequence)
	r.columns = []string{"last_value", "log_cnt", "is_called"}
}

func (b *builder) table(s *pg.CreateStmt, kind byte) {
	r := b.make(s.GetRelation(), kind)
	for _, p := range s.GetInhRelations() {
		parent := b.find(p.GetRangeVar())
		if parent == nil {
			r.open = true
			continue
		}
		r.parents = append(r.parents, parent)
		parent.children = append(parent.children, r)
		for _, c := range parent.columns {
			if !r.has(c) {
				r.columns = append(r.columns, c)
			}
		}
		if s.GetPartbound() != nil {
			r.keys = append(r.keys, parent.keys...)
		}
	}
	for _, e := range s.GetTableElts() {
		switch x := e.GetNode().(type) {
		case *pg.Node_ColumnDef:
			b.column(r, x.ColumnDef)
		case *pg.Node_Constraint:
			b.constraint(r, x.Constraint, "")
		case *pg.Node_TableLikeClause:
			if from := b.find(x.TableLikeClause.GetRelation()); from != nil {
				r.columns = append(r.columns, from.columns...)
			} else {
				r.open = true
			}
		}
	}
	for _, k := range s.GetConstraints() {
		b.constraint(r, k.GetConstraint(), "")
	}
}

func (b *builder) column(r *relation, d *pg.ColumnDef) {
	if !r.has(d.GetColname()) {
		r.columns = append(r.columns, d.GetColname())
	}
	names := fieldNames(d.GetTypeName().GetNames())
	if len(names) > 0 {
		switch last := names[len(names)-1]; {
		case last == "serial" || last == "bigserial" || last == "smallserial" || last == "serial4" || last == "serial8" || last == "serial2":
			b.sequence(&pg.RangeVar{Schemaname: r.schema, Relname: r.name + "_" + d.GetColname() + "_seq"})
		case !builtinTypes[last]:
			schema, name := b.qualify(names)
			if b.c.types[schema+"."+name] != nil {
				r.types[d.GetColname()] = schema + "." + name
			}
		}
	}
	for _, k := range d.GetConstraints() {
		b.constraint(r, k.GetConstraint(), d.GetColname())
	}
}

func (b *builder) constraint(r *relation, k *pg.Constraint, col string) {
	switch k.GetContype() {
	case pg.ConstrType_CONSTR_PRIMARY, pg.ConstrType_CONSTR_UNIQUE:
		keys := fieldNames(k.GetKeys())
		if len(keys) == 0 && col != "" {
			keys = []string{col}
		}
		if len(keys) > 0 {
			r.keys = append(r.keys, keys)
		}
	case pg.ConstrType_CONSTR_FOREIGN:
		to := b.find(k.GetPktable())
		if to == nil {
			return
		}
		from := fieldNames(k.GetFkAttrs())
		if len(from) == 0 && col != "" {
			from = []string{col}
		}
		target := fieldNames(k.GetPkAttrs())
		if len(target) == 0 && len(to.keys) > 0 {
			target = to.keys[0]
		}
		addForeignKey(foreignKey{from: r, to: to, fromCols: from, toCols: target, onDelete: first(k.GetFkDelAction()), onUpdate: first(k.GetFkUpdAction())})
	case pg.ConstrType_CONSTR_EXCLUSION:
		for _, c := range columnNames(k) {
			r.show(c)
		}
	case pg.ConstrType_CONSTR_GENERATED:
		r.types[col] = generatedColumn
		for _, c := range columnNames(k.GetRawExpr()) {
			r.madeFrom(col, c)
		}
	}
}

func (b *builder) view(rv *pg.RangeVar, sel *pg.SelectStmt, names []string, kind byte) {
	r := b.make(rv, kind)
	if sel == nil {
		r.open = true
		return
	}
	a := newAnalyzer(&Env{Catalog: b.c}, b.c, nil)
	a.sink = newSink()
	out := rename(a.query(sel, nil), names)
	for _, c := range out.cols {
		r.columns = append(r.columns, c.name)
	}
	r.open = out.open
	if kind == kindView || kind == kindMatView {
		r.once.Do(func() { r.body = sel })
	}
}

func (b *builder) index(s *pg.IndexStmt) {
	r := b.find(s.GetRelation())
	if r == nil || !s.GetUnique() {
		return
	}
	for _, c := range columnNames(s) {
		r.show(c)
	}
	if s.GetWhereClause() != nil {
		return
	}
	var cols []string
	for _, p := range s.GetIndexParams() {
		if p.GetIndexElem().GetName() == "" {
			return
		}
		cols = append(cols, p.GetIndexElem().GetName())
	}
	r.keys = append(r.keys, cols)
}

func (b *builder) alter(s *pg.AlterTableStmt) {
	r := b.find(s.GetRelation())
	if r == nil {
		return
	}
	for _, n := range s.GetCmds() {
		c := n.GetAlterTableCmd()
		switch c.GetSubtype() {
		case pg.AlterTableType_AT_AddColumn:
			b.column(r, c.GetDef().GetColumnDef())
		case pg.AlterTableType_AT_DropColumn:
			for i, x := range r.columns {
				if x == c.GetName() {
					r.columns = append(r.columns[:i:i], r.columns[i+1:]...)
					break
				}
			}
		case pg.AlterTableType_AT_AddConstraint:
			b.constraint(r, c.GetDef().GetConstraint(), "")
		case pg.AlterTableType_AT_EnableRowSecurity:
			r.rls = true
		case pg.AlterTableType_AT_AttachPartition:
			b.inherit(b.find(c.GetDef().GetPartitionCmd().GetName()), r)
		case pg.AlterTableType_AT_AddInherit:
			b.inherit(r, b.find(c.GetDef().GetRangeVar()))
		}
	}
}

func (b *builder) inherit(kid, parent *relation) {
	if kid != nil && parent != nil {
		kid.parents = append(kid.parents, parent)
		parent.children = append(parent.children, kid)
	}
}

// extensionTypes are the types of the extensions whose functions are known.
var extensionTypes = map[string][]string{"hstore": {"hstore"}, "citext": {"citext"}, "ltree": {"ltree", "lquery", "ltxtquery"}, "vector": {"vector"}}

// extension makes the functions and types of an extension that are known to
// compute only.
func (b *builder) extension(s *pg.CreateExtensionStmt) {
	ext, schema := s.GetExtname(), "public"
	for _, n := range s.GetOptions() {
		if v, ok := constantText(n.GetDefElem().GetArg()); ok && n.GetDefElem().GetDefname() == "schema" {
			schema = v
		}
	}
	for full := range pureExtensionFunctions {
		if name, ok := strings.CutPrefix(full, ext+"."); ok {
			b.c.functions[name] = append(b.c.functions[name], &function{schema: schema, name: name, extension: ext})
		}
	}
	for _, t := range extensionTypes[ext] {
		b.c.types[schema+"."+t] = &userType{schema: schema, name: t, kind: 'b', safe: true, extension: ext}
	}
}

func (b *builder) trigger(s *pg.CreateTrigStmt) {
	r := b.find(s.GetRelation())
	if r == nil {
		return
	}
	schema, name := b.qualify(fieldNames(s.GetFuncname()))
	events := ""
	for _, e := range []struct {
		bit  int32
		name string
	}{{1 << 2, "i"}, {1 << 3, "d"}, {1 << 4, "u"}, {1 << 5, "t"}} {
		if s.GetEvents()&e.bit != 0 {
			events += e.name
		}
	}
	r.triggers = append(r.triggers, trigger{name: s.GetTrigname(), function: schema + "." + name, events: events})
}

func (b *builder) defineStatement(s *pg.DefineStmt) {
	names := fieldNames(s.GetDefnames())
	schema, name := b.qualify(names)
	switch s.GetKind() {
	case pg.ObjectType_OBJECT_AGGREGATE:
		b.c.functions[name] = append(b.c.functions[name], &function{schema: schema, name: name})
	case pg.ObjectType_OBJECT_OPERATOR:
		b.c.operators[name] = append(b.c.operators[name], &operator{schema: schema, name: name})
	case pg.ObjectType_OBJECT_TYPE:
		b.userType(names, 'b', false)
	}
}

func (b *builder) drop(s *pg.DropStmt) {
	for _, o := range s.GetObjects() {
		schema, name := b.qualify(strings.Split(nodeName(o), "."))
		switch s.GetRemoveType() {
		case pg.ObjectType_OBJECT_TABLE, pg.ObjectType_OBJECT_VIEW, pg.ObjectType_OBJECT_MATVIEW, pg.ObjectType_OBJECT_SEQUENCE, pg.ObjectType_OBJECT_FOREIGN_TABLE:
			delete(b.c.relations, schema+"."+name)
		}
	}
}

func (b *builder) rename(s *pg.RenameStmt) {
	r := b.find(s.GetRelation())
	if r == nil {
		return
	}
	switch s.GetRenameType() {
	case pg.ObjectType_OBJECT_TABLE, pg.ObjectType_OBJECT_VIEW, pg.ObjectType_OBJECT_MATVIEW:
		delete(b.c.relations, r.full())
		r.name = s.GetNewname()
		b.c.relations[r.full()] = r
	case pg.ObjectType_OBJECT_COLUMN:
		for i, c := range r.columns {
			if c == s.GetSubname() {
				r.columns[i] = s.GetNewname()
			}
		}
	}
}

// columnNames gives the names of the columns that stand anywhere in a tree.
func columnNames(tree any) []string {
	var out []string
	var walk func(reflect.Value)
	walk = func(v reflect.Value) {
		switch v.Kind() {
		case reflect.Pointer, reflect.Interface:
			if v.IsNil() {
				return
			}
			switch x := v.Interface().(type) {
			case *pg.ColumnRef:
				if names := fieldNames(x.GetFields()); len(names) > 0 {
					out = append(out, names[len(names)-1])
				}
			case *pg.IndexElem:
				if x.GetName() != "" {
					out = append(out, x.GetName())
				}
			}
			walk(v.Elem())
		case reflect.Slice:
			for i := range v.Len() {
				walk(v.Index(i))
			}
		case reflect.Struct:
			for i := range v.NumField() {
				if v.Type().Field(i).IsExported() {
					walk(v.Field(i))
				}
			}
		}
	}
	walk(reflect.ValueOf(tree))
	return out
}
