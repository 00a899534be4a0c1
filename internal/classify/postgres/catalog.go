package postgres

import (
	_ "embed"
	"sort"
	"strings"
	"sync"

	pg "github.com/pganalyze/pg_query_go/v6"
)

// Relation kinds, as in pg_class.relkind.
const (
	kindTable       = 'r'
	kindPartitioned = 'p'
	kindView        = 'v'
	kindMatView     = 'm'
	kindSequence    = 'S'
	kindForeign     = 'f'
)

// Catalog is an immutable snapshot of the names that a target's database
// knows. It may be shared by any number of readers.
type Catalog struct {
	epoch     string
	path      []string // schemas searched after pg_catalog
	schemas   map[string]bool
	relations map[string]*relation // "schema.name"
	byOID     map[string]*relation
	functions map[string][]*function // by bare name
	operators map[string][]*operator // by bare name
	types     map[string]*userType   // "schema.name"
	casts     []userCast
}

// Epoch names the snapshot: two snapshots with the same epoch are equal.
func (c *Catalog) Epoch() string { return c.epoch }

type relation struct {
	oid, schema, name string
	kind              byte
	columns           []string
	types             map[string]string   // column to type name, user types only ("schema.name")
	keys              [][]string          // primary and unique keys, without predicate or expression
	shown             map[string]bool     // columns that other unique indexes and exclusions read: writing one shows what is there
	generated         map[string][]string // generated column to the columns that it is made from
	parents, children []*relation
	refs              []foreignKey // where this is the referencing side
	referenced        []foreignKey // where this is the referenced side
	definition        string       // of views and materialized views
	triggers          []trigger
	rules             bool // rules beside a view's own
	rls               bool
	open              bool // columns not known

	once sync.Once
	body *pg.SelectStmt // parsed definition; nil when it does not parse
}

type foreignKey struct {
	from, to         *relation
	fromCols, toCols []string
	onDelete         byte // a no action, r restrict, c cascade, n set null, d set default
	onUpdate         byte
}

type trigger struct {
	name, function string // function is "schema.name"
	events         string // some of "iudt"
}

type function struct {
	schema, name string
	extension    string // "" for one that people made
	language     string
}

type operator struct {
	schema, name string
	extension    string
}

type userType struct {
	schema, name string
	kind         byte // b base, c composite, d domain, e enum, r range, m multirange, p pseudo
	safe         bool // no check of its own that could run code
	extension    string
}

type userCast struct {
	from, to  string // type names, "schema.name" or a bare built-in name
	extension string
}

//go:embed builtin_functions.txt
var builtinFunctionText string

//go:embed builtin_relations.txt
var builtinRelationText string

//go:embed builtin_types.txt
var builtinTypeText string

type builtin struct {
	pure    bool
	columns []string // of a function with several output columns
	open    bool     // output columns not fixed
}

var (
	builtinFunctions = parseBuiltinFunctions(builtinFunctionText)
	builtinRelations = parseBuiltinRelations(builtinRelationText)
	builtinTypes     = parseBuiltinTypes(builtinTypeText)
)

func parseBuiltinFunctions(text string) map[string]builtin {
	out := make(map[string]builtin, 3000)
	for line := range strings.Lines(text) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), "|")
		if len(f) != 3 || line[0] == '#' {
			continue
		}
		b := builtin{pure: f[1] == "p", open: f[2] == "?"}
		if f[2] != "" && !b.open {
			b.columns = strings.Split(f[2], ",")
		}
		out[f[0]] = b
	}
	return out
}

func parseBuiltinRelations(text string) map[string]*relation {
	out := make(map[string]*relation, 300)
	for line := range strings.Lines(text) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), "|")
		if len(f) != 3 || line[0] == '#' {
			continue
		}
		schema, name, _ := strings.Cut(f[0], ".")
		out[f[0]] = &relation{schema: schema, name: name, kind: f[1][0], columns: strings.Split(f[2], ",")}
	}
	return out
}

func parseBuiltinTypes(text string) map[string]bool {
	out := map[string]bool{}
	for _, t := range strings.Fields(text) {
		out[t] = true
		out["_"+t] = true
	}
	return out
}

func newCatalog(path ...string) *Catalog {
	return &Catalog{
		path:      path,
		schemas:   map[string]bool{"pg_catalog": true, "information_schema": true},
		relations: map[string]*relation{},
		byOID:     map[string]*relation{},
		functions: map[string][]*function{},
		operators: map[string][]*operator{},
		types:     map[string]*userType{},
	}
}

// WithPath gives the same catalog for sessions whose search_path is pinned to
// other schemas than "public". pg_catalog always comes first.
func (c *Catalog) WithPath(schemas ...string) *Catalog {
	out := *c
	out.path = append([]string(nil), schemas...)
	out.epoch = c.epoch + " " + strings.Join(schemas, ",")
	return &out
}

func (r *relation) full() string { return r.schema + "." + r.name }

func (r *relation) system() bool {
	return r.schema == "pg_catalog" || r.schema == "information_schema"
}

func (r *relation) has(column string) bool {
	for _, c := range r.columns {
		if c == column {
			return true
		}
	}
	return false
}

func (r *relation) show(column string) {
	if r.shown == nil {
		r.shown = map[string]bool{}
	}
	r.shown[column] = true
}

func (r *relation) madeFrom(column, source string) {
	if r.generated == nil {
		r.generated = map[string][]string{}
	}
	r.generated[column] = append(r.generated[column], source)
}

// view gives the parsed body of a view, or nil.
func (r *relation) view() *pg.SelectStmt {
	r.once.Do(func() {
		tree, err := parse(strings.TrimRight(strings.TrimSpace(r.definition), ";"))
		if err == nil && len(tree.GetStmts()) == 1 {
			r.body = tree.GetStmts()[0].GetStmt().GetSelectStmt()
		}
	})
	return r.body
}

// lookup resolves a relation name as the server does with the pinned path.
func (c *Catalog) lookup(schema, name string) *relation {
	if schema != "" {
		if r := builtinRelations[schema+"."+name]; r != nil {
			return c.system(schema+"."+name, r)
		}
		return c.relations[schema+"."+name]
	}
	if r := builtinRelations["pg_catalog."+name]; r != nil {
		return c.system("pg_catalog."+name, r)
	}
	if r := c.relations["pg_catalog."+name]; r != nil {
		return r
	}
	for _, s := range c.path {
		if r := c.relations[s+"."+name]; r != nil {
			return r
		}
	}
	return nil
}

// system prefers what the target itself says about one of its catalogs.
func (c *Catalog) system(full string, fallback *relation) *relation {
	if r := c.relations[full]; r != nil {
		return r
	}
	return fallback
}

// visible gives user functions that an unqualified or qualified name can mean.
func (c *Catalog) visible(schema, name string) []*function {
	var out []*function
	for _, f := range c.functions[name] {
		if f.schema == schema || (schema == "" && c.onPath(f.schema)) {
			out = append(out, f)
		}
	}
	return out
}

func (c *Catalog) onPath(schema string) bool {
	for _, s := range c.path {
		if s == schema {
			return true
		}
	}
	return false
}

func (c *Catalog) userOperator(schema, name string) *operator {
	for _, o := range c.operators[name] {
		if (o.schema == schema || (schema == "" && c.onPath(o.schema))) && o.extension == "" {
			return o
		}
	}
	return nil
}

func (c *Catalog) typeOf(schema, name string) (*userType, bool) {
	if schema == "pg_catalog" || schema == "information_schema" {
		return nil, true
	}
	if schema == "" && (builtinTypes[name] || builtinRelations["pg_catalog."+strings.TrimPrefix(name, "_")] != nil) {
		return nil, true
	}
	look := func(s string) *userType {
		if t := c.types[s+"."+name]; t != nil {
			return t
		}
		return c.types[s+"."+strings.TrimPrefix(name, "_")]
	}
	if schema != "" {
		t := look(schema)
		return t, t != nil
	}
	for _, s := range c.path {
		if t := look(s); t != nil {
			return t, true
		}
	}
	return nil, false
}

// ancestors gives every relation that r inherits from, nearest first.
func (r *relation) ancestors() []*relation {
	return closure(r, func(x *relation) []*relation { return x.parents })
}

// descendants gives every relation whose rows r holds too.
func (r *relation) descendants() []*relation {
	return closure(r, func(x *relation) []*relation { return x.children })
}

func closure(r *relation, next func(*relation) []*relation) []*relation {
	var out []*relation
	seen := map[*relation]bool{r: true}
	for queue := []*relation{r}; len(queue) > 0; queue = queue[1:] {
		for _, p := range next(queue[0]) {
			if !seen[p] {
				seen[p] = true
				out = append(out, p)
				queue = append(queue, p)
			}
		}
	}
	return out
}

// Relations lists the full names of the relations outside of the system
// schemas, sorted, each with its columns.
func (c *Catalog) Relations() map[string][]string {
	out := map[string][]string{}
	for n, r := range c.relations {
		if !r.system() {
			out[n] = append([]string(nil), r.columns...)
		}
	}
	return out
}

// Schemas lists the names of the schemas, sorted.
func (c *Catalog) Schemas() []string {
	out := make([]string, 0, len(c.schemas))
	for s := range c.schemas {
		out = append(out, s)
	}
	sort.Strings(out)
	return out
}
