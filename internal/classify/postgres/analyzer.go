package postgres

import (
	"sort"
	"strings"
	"sync"

	pg "github.com/pganalyze/pg_query_go/v6"

	"github.com/doorward/doorward"
)

// Limits on the work of one reading. Over them, the reading is incomplete.
const (
	maxNodes     = 400_000
	maxNesting   = 400
	maxViewDepth = 24
	maxColumns   = 20_000
)

// maskHint says what may be done with a masked column.
const maskHint = "a masked column may be selected by its plain name (its values come back masked), counted with count(column), or tested with IS NULL; leave it out of expressions, WHERE, JOIN, GROUP BY, ORDER BY, DISTINCT and writes, or ask for the other columns only"

// analyzer reads one text. It is used once.
type analyzer struct {
	env      *Env
	cat      *Catalog
	st       State
	listed   map[string]bool
	sink     *sink
	masks    *sync.Map // *relation to map[string]rule and "any" to bool, of this catalog and environment
	nodes    int
	depth    int
	inView   int
	viewing  map[*relation]bool
	subNames map[*pg.SubLink]string // names of the columns of scalar subqueries
	once     map[*pg.FuncCall]bool  // calls that run once for each row of a bounded statement
	stateful bool
	prepared map[string]*doorward.Reading // made by this text; nil value: closed by it
	cursors  map[string]*doorward.Reading
	closed   struct{ prepared, cursors bool } // everything older is closed
	below    int                              // queries that write and stand in WITH, so far
	shaped   bool                             // a statement before this one changed the shape of things
}

func newAnalyzer(env *Env, cat *Catalog, st State) *analyzer {
	a := &analyzer{masks: &sync.Map{}, env: env, cat: cat, st: st, listed: map[string]bool{}, viewing: map[*relation]bool{}, subNames: map[*pg.SubLink]string{},
		prepared: map[string]*doorward.Reading{}, cursors: map[string]*doorward.Reading{}}
	if env != nil {
		for _, f := range env.Functions {
			a.listed[strings.TrimSuffix(strings.TrimSpace(f), "()")] = true
		}
	}
	return a
}

func (a *analyzer) read(text string, tree *pg.ParseResult) *doorward.Reading {
	out := &doorward.Reading{Effect: doorward.Effect{Complete: true}}
	for _, raw := range tree.GetStmts() {
		st := a.one(raw.GetStmt())
		st.Text = statementText(text, raw)
		out.Statements = append(out.Statements, st)
	}
	out.Effect = union(out.Statements)
	out.Stateful = a.stateful
	return out
}

// one reads one statement into an effect of its own.
func (a *analyzer) one(n *pg.Node) doorward.Statement {
	outer, below := a.sink, a.below
	a.sink = newSink()
	st := doorward.Statement{}
	a.statement(n, &st)
	if a.shaped && a.sink.resolves {
		a.unsure("an earlier statement of the same text changes the shape of things, so that names may mean something else by now: send it as a request of its own")
	}
	if a.sink.verbs.Has(doorward.VerbDefine) {
		a.shaped = true
	}
	st.Effect = a.sink.effect(st.Kind)
	switch st.Kind {
	case "INSERT", "UPDATE", "DELETE", "MERGE", "COPY FROM":
		st.Counted = a.below == below
	}
	a.sink = outer
	return st
}

// union is the effect of all statements together.
func union(sts []doorward.Statement) doorward.Effect {
	s := newSink()
	var kinds []string
	seen := map[string]bool{}
	for i := range sts {
		s.add(&sts[i].Effect)
		for _, k := range sts[i].Effect.Kinds {
			if !seen[k] {
				seen[k] = true
				kinds = append(kinds, k)
			}
		}
	}
	if len(sts) > 1 {
		s.traits |= doorward.TraitMulti
	}
	e := s.effect("")
	e.Kinds = kinds
	return e
}

type objectKey struct{ kind, name string }

// sink gathers the effect of one statement.
type sink struct {
	verbs    doorward.Verb
	traits   doorward.Trait
	objects  map[objectKey]doorward.Verb
	complete bool
	refuse   string
	hint     string
	bound    int64
	use      doorward.MaskUse
	masked   map[string]bool
	resolves bool // names of relations were resolved
}

func newSink() *sink {
	return &sink{objects: map[objectKey]doorward.Verb{}, complete: true, masked: map[string]bool{}}
}

func (s *sink) object(kind, name string, v doorward.Verb) {
	s.objects[objectKey{kind, name}] |= v
	s.verbs |= v
}

// rows adds what a write can touch; negative: nothing bounds it.
func (s *sink) rows(n int64) {
	switch {
	case n < 0:
		s.traits |= doorward.TraitUnbounded
		s.bound = -1
	case s.bound >= 0:
		s.bound += n
	}
}

// uncounted is for effects whose rows are not known, but which are not for
// that reason without a bound: a key pins them, or they are not rows.
func (s *sink) uncounted() { s.bound = -1 }

func (s *sink) add(e *doorward.Effect) {
	s.verbs |= e.Verbs
	s.traits |= e.Traits
	for _, o := range e.Objects {
		s.objects[objectKey{o.Kind, o.Name}] |= o.Verb
	}
	s.complete = s.complete && e.Complete
	if s.refuse == "" {
		s.refuse = e.Refuse
	}
	if s.hint == "" {
		s.hint = e.Hint
	}
	if e.Bound < 0 || s.bound < 0 {
		s.bound = -1
	} else {
		s.bound += e.Bound
	}
	s.use = max(s.use, e.MaskUse)
	for _, m := range e.Masked {
		s.masked[m] = true
	}
}

func (s *sink) effect(kind string) doorward.Effect {
	e := doorward.Effect{Verbs: s.verbs, Traits: s.traits, Complete: s.complete, Refuse: s.refuse, Hint: s.hint, Bound: s.bound, MaskUse: s.use}
	if kind != "" {
		e.Kinds = []string{kind}
	}
	for k, v := range s.objects {
		e.Objects = append(e.Objects, doorward.Object{Kind: k.kind, Name: k.name, Verb: v})
	}
	sort.Slice(e.Objects, func(i, j int) bool {
		if e.Objects[i].Kind != e.Objects[j].Kind {
			return e.Objects[i].Kind < e.Objects[j].Kind
		}
		return e.Objects[i].Name < e.Objects[j].Name
	})
	for m := range s.masked {
		e.Masked = append(e.Masked, m)
	}
	sort.Strings(e.Masked)
	if e.MaskUse != doorward.MaskNone {
		e.Traits |= doorward.TraitMasked
	}
	if !e.Complete {
		e.Verbs |= doorward.VerbUnknown
	}
	return e
}

// unsure makes the effect incomplete: it is never allowed by default.
func (a *analyzer) unsure(why string) {
	a.sink.complete = false
	if a.sink.hint == "" {
		a.sink.hint = why
	}
}

// step counts one node and reports whether the reading may go on.
func (a *analyzer) step() bool {
	a.nodes++
	if a.nodes > maxNodes || a.depth > maxNesting {
		a.unsure("the statement is too large or too deeply nested to be understood: simplify it")
		return false
	}
	return true
}
