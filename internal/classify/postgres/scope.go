package postgres

import (
	"strings"

	pg "github.com/pganalyze/pg_query_go/v6"

	"github.com/doorward/doorward"
)

// value is what is known of an expression's result.
type value struct {
	source  string // "schema.table.column" when it is plainly that column
	mask    string // the masking rule that the value must pass; "" when it is clear
	origin  string // the masked column it comes from
	derived bool   // made from a masked column inside a view: may not be used at all
	secret  string // a column that shows secrets of the server: using it is an administrative act
}

func (v value) tainted() bool { return v.mask != "" || v.derived }

// column is one named output of a relation, join or query.
type column struct {
	name string
	value
}

// rows is what a query yields.
type rows struct {
	cols []column
	open bool // there may be more columns than are known
}

// item is one thing in FROM that can be named.
type item struct {
	alias  string
	schema string    // of the relation, when it has no alias of its own
	given  bool      // the row that an INSERT brings
	rel    *relation // nil for queries, functions, joins
	rows
}

// from is one entry of a FROM list: a single item, or a join of several.
type from struct {
	rows          // what * and bare names see
	items []*item // what qualified names see
}

// cte is one WITH query.
type cte struct {
	name string
	rows
	node    *pg.CommonTableExpr
	done    bool
	working bool // being read: a reference now is a recursive one
	known   bool // the columns of the non-recursive part are there
	scope   *scope
}

// scope is one level of names.
type scope struct {
	parent *scope
	froms  []*from
	ctes   map[string]*cte
	opaque bool // names above it are hidden (views)
}

func child(parent *scope) *scope { return &scope{parent: parent} }

func (sc *scope) findCTE(name string) *cte {
	for s := sc; s != nil; s = s.parent {
		if c := s.ctes[name]; c != nil {
			return c
		}
	}
	return nil
}

var systemColumns = map[string]bool{"ctid": true, "oid": true, "tableoid": true, "xmin": true, "xmax": true, "cmin": true, "cmax": true}

// find resolves a bare column name, nearest level first, tainted ones first
// where a level has several. known is false when no level has it; open is
// true when one might.
func (sc *scope) find(name string) (v value, known, open bool) {
	for s := sc; s != nil; s = s.parent {
		here := false
		for _, f := range s.froms {
			for _, c := range f.cols {
				if c.name == name && (!known || c.tainted() || c.secret != "") {
					v, known = c.value, true
				}
			}
			here = here || f.open
		}
		open = open || here
		if known {
			if here && s.parent != nil && !v.tainted() { // it may not be there after all
				if ov, ok, _ := s.parent.find(name); ok && (ov.tainted() || ov.secret != "") {
					return ov, true, open
				}
			}
			return v, true, open
		}
		if systemColumns[name] {
			for _, f := range s.froms {
				for _, it := range f.items {
					if it.rel != nil {
						return value{}, true, open
					}
				}
			}
		}
	}
	return value{}, false, open
}

// table finds the item that a qualifier names.
func (sc *scope) table(schema, name string) *item {
	for s := sc; s != nil; s = s.parent {
		for _, f := range s.froms {
			for _, it := range f.items {
				if it.alias == name && (schema == "" || it.schema == schema) {
					return it
				}
			}
		}
	}
	return nil
}

// find looks a column up in one item.
func (it *item) find(name string) (value, bool) {
	var out value
	found := false
	for _, c := range it.cols {
		if c.name == name && (!found || c.tainted()) {
			out, found = c.value, true
		}
	}
	if !found && it.rel != nil && systemColumns[name] {
		return value{}, true
	}
	return out, found
}

// use is called for a value that goes anywhere but plainly out.
func (a *analyzer) use(v value) value {
	if !v.tainted() {
		return value{}
	}
	if a.inView > 0 {
		return value{derived: true, mask: v.mask, origin: v.origin}
	}
	a.maskOther(v)
	return value{}
}

// compare is called for a value that goes out after rows were compared by it.
// The owner of a view chose to; a request may not.
func (a *analyzer) compare(v value) value {
	if a.inView > 0 {
		return v
	}
	if v.tainted() {
		return a.use(v)
	}
	return v
}

func (a *analyzer) maskOther(v value) {
	a.sink.use = doorward.MaskOther
	a.touch(v)
	a.sink.hint = maskHint
}

// touch notes that the request reaches a masked column.
func (a *analyzer) touch(v value) {
	if !v.tainted() || a.inView > 0 {
		return
	}
	if v.origin != "" {
		a.sink.masked[v.origin] = true
	}
	a.sink.use = max(a.sink.use, doorward.MaskPlain)
	if v.derived {
		a.sink.use = doorward.MaskOther
		a.sink.hint = maskHint
	}
}

// reach is called when a column is referred to.
func (a *analyzer) reach(v value) value {
	if v.secret != "" {
		a.sink.object("column", v.secret, doorward.VerbAdmin|doorward.VerbRead)
		if a.sink.hint == "" {
			a.sink.hint = "leave " + v.secret + " out: it can show secrets or what other sessions do"
		}
	}
	a.touch(v)
	return v
}

// wholeRow is called when a row is used as one value.
func (a *analyzer) wholeRow(it *item) value {
	var out value
	for _, c := range it.cols {
		a.reach(c.value)
		if u := a.use(c.value); u.derived {
			out = u
		}
	}
	return out
}

// rule is what masks a column.
type rule struct{ name, origin string }

// masked gives the rule for a column of a relation, by the relation itself,
// by what it inherits from and by what inherits from it.
func (a *analyzer) masked(r *relation, col string) (name, origin string) {
	if a.env == nil || a.env.Masked == nil || r.system() {
		return "", ""
	}
	rules, ok := a.masks.Load(r)
	if !ok {
		rules, _ = a.masks.LoadOrStore(r, a.maskRules(r))
	}
	m := rules.(map[string]rule)[col]
	return m.name, m.origin
}

func (a *analyzer) maskRules(r *relation) map[string]rule {
	out := map[string]rule{}
	for _, p := range append(append([]*relation{r}, r.ancestors()...), r.descendants()...) {
		for _, c := range p.columns {
			if _, ok := out[c]; !ok {
				if m := a.env.Masked(p.schema, p.name, c); m != "" {
					out[c] = rule{m, p.full() + "." + c}
				}
			}
		}
	}
	for c, sources := range r.generated { // made from a masked column: as that one
		for _, s := range sources {
			if m, ok := out[s]; ok && out[c].name == "" {
				out[c] = m
			}
		}
	}
	return out
}

// relationKind is the kind of an object as policies name it.
func relationKind(r *relation) string {
	if r.system() {
		return "catalog"
	}
	switch r.kind {
	case kindView:
		return "view"
	case kindMatView:
		return "matview"
	case kindSequence:
		return "sequence"
	case kindForeign:
		return "foreign"
	}
	return "table"
}

// open resolves a relation, notes the verb on it, and gives its columns.
// Views are followed into what they read.
func (a *analyzer) open(rv *pg.RangeVar, verb doorward.Verb) (*relation, rows) {
	a.sink.resolves = true
	schema, name := rv.GetSchemaname(), rv.GetRelname()
	r := a.cat.lookup(schema, name)
	if r == nil {
		if schema != "" {
			name = schema + "." + name
		}
		a.sink.object("table", name, verb)
		a.unsure("there is no relation " + quoteName(name) + " that doorward knows: name it with its schema, or create it first")
		return nil, rows{open: true}
	}
	return r, a.openRelation(r, verb)
}

func quoteName(n string) string { return "\"" + strings.ReplaceAll(n, "\"", "\"\"") + "\"" }

func (a *analyzer) openRelation(r *relation, verb doorward.Verb) rows {
	if r.schema == "pg_toast" || strings.HasPrefix(r.schema, "pg_temp") || strings.HasPrefix(r.schema, "pg_toast_temp") {
		a.unsure("relations in " + r.schema + " are not read through doorward")
	}
	kind := relationKind(r)
	a.sink.object(kind, r.full(), verb)
	if kind == "catalog" && verb&^doorward.VerbRead != 0 {
		a.sink.object("catalog", r.full(), doorward.VerbAdmin)
	}
	if secretRelations[r.name] && r.system() {
		a.sink.object("catalog", r.full(), doorward.VerbAdmin)
		if a.sink.hint == "" {
			a.sink.hint = r.full() + " shows secrets or data of tables and is not read through doorward"
		}
	}
	if kind == "foreign" {
		a.leaves()
	}
	for _, d := range r.descendants() {
		if d.kind == kindForeign {
			a.sink.object("foreign", d.full(), verb)
			a.leaves()
		}
	}
	out := rows{open: r.open}
	var under rows
	if (r.kind == kindView || r.kind == kindMatView) && !r.system() {
		under = a.openView(r)
		out.open = out.open || under.open
	}
	var taint value // of a view whose columns cannot be told apart
	if under.open {
		for _, c := range under.cols {
			if c.tainted() {
				taint = value{mask: c.mask, origin: c.origin, derived: true}
			}
		}
		under.cols = nil
	}
	for i, name := range r.columns {
		c := column{name: name, value: value{source: r.full() + "." + name}}
		if i < len(under.cols) {
			c.mask, c.origin, c.derived, c.secret = under.cols[i].mask, under.cols[i].origin, under.cols[i].derived, under.cols[i].secret
			if s := under.cols[i].source; s != "" {
				c.source = s
			}
		}
		if taint.derived {
			c.value = taint
		}
		if m, origin := a.masked(r, name); m != "" && c.mask == "" {
			c.mask, c.origin = m, origin
		}
		if r.schema == "pg_catalog" && secretColumns[r.name+"."+name] {
			c.secret = r.full() + "." + name
		}
		out.cols = append(out.cols, c)
	}
	if len(r.columns) == 0 {
		out.cols = append(out.cols, under.cols...)
	}
	return out
}

func (a *analyzer) leaves() {
	a.sink.traits |= doorward.TraitLeaves
}

// openView reads the body of a view: its relations, functions and columns
// count as if they stood in the request.
func (a *analyzer) openView(r *relation) rows {
	body := r.view()
	if body == nil || a.viewing[r] || len(a.viewing) >= maxViewDepth || a.depth > maxNesting {
		a.unsure("what the view " + r.full() + " reads is not known to doorward")
		a.unknownTaint()
		return rows{open: true}
	}
	a.viewing[r] = true
	a.inView++
	out := a.query(body, &scope{opaque: true})
	a.inView--
	delete(a.viewing, r)
	return out
}

// unknownTaint is for what cannot be followed: it may hold masked columns,
// where the database has any.
func (a *analyzer) unknownTaint() {
	if a.anyMasked() {
		a.sink.use = doorward.MaskOther
	}
}

// anyMasked reports whether a column of the database is masked.
func (a *analyzer) anyMasked() bool {
	if a.env == nil || a.env.Masked == nil {
		return false
	}
	const key = "any"
	v, ok := a.masks.Load(key)
	if !ok {
		some := false
		for _, r := range a.cat.relations {
			for _, c := range r.columns {
				if m, _ := a.masked(r, c); m != "" {
					some = true
				}
			}
			if some {
				break
			}
		}
		v, _ = a.masks.LoadOrStore(key, some)
	}
	return v.(bool)
}

// Relations and columns of pg_catalog that show secrets, data of tables or
// what other sessions do.
var secretRelations = set(`pg_authid pg_shadow pg_hba_file_rules pg_ident_file_mappings pg_file_settings
	pg_largeobject pg_statistic pg_statistic_ext_data pg_stats pg_stats_ext pg_stats_ext_exprs
	user_mapping_options _pg_user_mappings`)

var secretColumns = set(`pg_subscription.subconninfo pg_user_mapping.umoptions pg_user_mappings.umoptions
	pg_stat_activity.query pg_stat_activity.application_name pg_stat_activity.client_hostname
	pg_stat_wal_receiver.conninfo pg_stat_replication.application_name
	pg_prepared_statements.statement pg_cursors.statement pg_stat_gssapi.principal pg_stat_ssl.client_dn`)

func set(words string) map[string]bool {
	out := map[string]bool{}
	for _, w := range strings.Fields(words) {
		out[w] = true
	}
	return out
}
