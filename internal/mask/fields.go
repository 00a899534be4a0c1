package mask

import (
	"math"
	"slices"
)

// paths follows the field rules of one answer through its documents. For each
// array and object that is open it keeps the states of the paths that may go
// on below it: see [step].
type paths struct {
	rules  []fieldRule
	steps  []step
	roots  []int32 // the first steps of the rules that apply
	states []int32
	stack  []pathFrame
	seen   []uint32 // for each state, the turn it was added in
	turn   uint32
	by     []transform // of each rule, where it was needed
	hit    []bool      // of each rule
}

// pathFrame is an array or object that is open, or the answer itself.
type pathFrame struct {
	from, own int32 // its states are states[from:own]
	next      int32 // those of its next value are states[own:next]
	all       int32 // the rule, counted from 1, that masks all of it; or 0
	by        int32 // the rule that masks its next value; or 0
}

// paths gives what follows the field rules that apply, or nil.
func (s *Set) paths(target, request string) *paths {
	var p *paths
	for i := range s.fields {
		r := &s.fields[i]
		if !matchTarget(r.targets, target) || !r.applies(request) {
			continue
		}
		if p == nil {
			p = &paths{rules: s.fields, steps: s.steps, seen: make([]uint32, len(s.steps))}
			p.by, p.hit = make([]transform, len(s.fields)), make([]bool, len(s.fields))
		}
		p.roots = append(p.roots, r.first)
	}
	return p
}

// begin stands before a document.
func (p *paths) begin() {
	p.states = append(p.states[:0], p.roots...)
	p.stack = append(p.stack[:0], pathFrame{next: int32(len(p.roots))})
}

// open goes into the next value, an array or an object.
func (p *paths) open(array bool) {
	f := &p.stack[len(p.stack)-1]
	p.states = p.states[:f.next]
	p.stack = append(p.stack, pathFrame{f.own, f.next, f.next, f.by, f.by})
	if array {
		p.enter(nil, true) // the same for every element
	}
}

// shut leaves an array or object.
func (p *paths) shut() { p.stack = p.stack[:len(p.stack)-1] }

// enter goes to a member of the object, or to the elements of the array.
func (p *paths) enter(key []byte, array bool) {
	f := &p.stack[len(p.stack)-1]
	p.states = p.states[:f.own]
	if p.turn++; p.turn == 0 { // after 4 billion keys
		clear(p.seen)
		p.turn = 1
	}
	f.by = f.all
	for i := f.from; i < f.own; i++ {
		at := p.states[i]
		s := &p.steps[at]
		if s.deep {
			p.add(at)
		}
		switch {
		case !s.any && (array || s.name != string(key)):
		case s.rule > 0:
			f.by = p.stricter(f.by, s.rule)
		default:
			p.add(at + 1)
		}
	}
	f.next = int32(len(p.states))
}

// add adds a state of the next value, once.
func (p *paths) add(state int32) {
	if p.seen[state] != p.turn {
		p.seen[state] = p.turn
		p.states = append(p.states, state)
	}
}

// stricter gives the rule with the stricter operator, or else the first.
func (p *paths) stricter(a, b int32) int32 {
	if a == 0 || p.rules[b-1].op > p.rules[a-1].op || p.rules[b-1].op == p.rules[a-1].op && b < a {
		return b
	}
	return a
}

// field gives the rule that masks the value that comes now, counted from 1,
// or 0.
func (o *Objects) field() int32 {
	if o.paths == nil {
		return 0
	}
	return o.paths.stack[len(o.paths.stack)-1].by
}

// fieldOperator gives the operator of a rule, and notes that it was applied.
func (o *Objects) fieldOperator(rule int32) transform {
	p, i := o.paths, rule-1
	p.hit[i] = true
	t := &p.by[i]
	if t.op == opNone {
		t.op = p.rules[i].op
		if t.op.keyed() {
			t.key = newKeyer(o.c.set.derive(operatorNames[t.op], o.c.target, "field "+p.rules[i].name))
		}
	}
	return *t
}

// softer reports whether a value under the operator must be searched too: what
// is found may be masked more strictly. Of the operators that show a part of a
// value, detection knows better which part.
func (o *Objects) softer(op operator) bool {
	return o.search && (o.most > op || op <= opPartial)
}

// fieldString gives what takes the place of a string under a field rule.
func (o *Objects) fieldString(rule int32, text []byte, h hint, level int) []byte {
	t, k := o.fieldOperator(rule), noKind
	if o.softer(t.op) {
		for x := o; x != nil; x = x.inner {
			x.worst = transform{}
		}
		out, hit := o.mask(trim(o.out), text, h, level)
		o.out = out
		for x := o; hit && x != nil; x = x.inner {
			if x.worst.op > t.op || x.worst.op == t.op && t.op <= opPartial {
				t, k = x.worst, x.worstKind
			}
		}
	}
	if t.op == opNull {
		return o.token(nullWord)
	}
	o.out = t.appendText(trim(o.out), text, k)
	return o.quote(o.out)
}

// used is the operator of a kind that was detected. It remembers the
// strictest.
func (o *Objects) used(k kind) transform {
	t := o.c.ops[k]
	if t.op > o.worst.op {
		o.worst, o.worstKind = t, k
	}
	return t
}

// whole replaces a text that cannot be looked into.
func (o *Objects) whole() string {
	if o.worst.op < opRedact {
		o.worst, o.worstKind = transform{op: opRedact}, noKind
	}
	return redactedText
}

// fieldNumber gives what takes the place of a number under a field rule: a
// number, so that clients that know its type can read it, or null.
func (o *Objects) fieldNumber(rule int32, f *frame, v []byte) []byte {
	t := o.fieldOperator(rule)
	switch {
	case t.op == opNull:
		return nullWord
	case o.softer(t.op) && o.number(f, v) != nil:
		return zeroWord
	}
	o.repl = appendInt(trim(o.repl), t.jsonNumber(v))
	return o.repl
}

// fieldBool gives what takes the place of true or false under a field rule.
func (o *Objects) fieldBool(rule int32) []byte {
	if o.fieldOperator(rule).op == opNull {
		return nullWord
	}
	return falseWord
}

var nullWord = []byte("null")

// maxSafe is the largest whole number that every client of JSON reads as it is.
const maxSafe = 1<<53 - 1

// jsonNumber is the masked form of a number. Equal numbers are masked equally,
// however they are written: 100, 1e2.
func (t transform) jsonNumber(v []byte) int64 {
	n, whole := parseInt(v)
	f, ok := 0.0, false
	if !whole {
		f, ok = parseFloat(v, 64)
		if ok && f == math.Trunc(f) && math.Abs(f) <= maxSafe {
			n, whole = int64(f), true
		}
	}
	switch t.op {
	case opGeneralise:
		if !whole && ok && math.Abs(f) < 1e15 {
			n, whole = int64(f), true
		}
		if whole {
			return coarseInt(n)
		}
	case opPartial:
		if whole {
			return lastFour(n)
		}
	case opHash, opPseudonym:
		var m int64
		switch {
		case whole:
			m = int64(t.key.numberOf(uint64(n)) & maxSafe)
		case ok && !allDigits(v[indexByte(v, '-')+1:]):
			m = int64(t.key.numberOf(math.Float64bits(f)) & maxSafe)
		default: // digits that no type holds
			m = int64(t.key.number(v) & maxSafe)
		}
		if whole && m == n {
			m ^= 1
		}
		return m
	}
	return 0
}

// Masked gives the names of the field rules that masked something so far, as
// they stand in [Rule.Fields], sorted. Of several that select the same value,
// it is the one with the strictest operator, or else the first.
func (o *Objects) Masked() []string {
	if o.paths == nil {
		return nil
	}
	var names []string
	for i, hit := range o.paths.hit {
		if hit {
			names = append(names, o.paths.rules[i].name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}
