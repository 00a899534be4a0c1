package policy

import (
	"slices"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"

	"github.com/doorward/doorward"
)

// tri is an answer that may be open.
type tri int8

const (
	no tri = iota
	maybe
	yes
)

func triOf(b bool) tri {
	if b {
		return yes
	}
	return no
}

// world is what is known of a request that has not been made: the identity
// and target always, the effect in part.
type world struct {
	identity *doorward.Identity // nil: anybody
	target   string             // "": any
	flags    map[string]tri     // bool fields of effect; absent: maybe
	verbs    map[string]tri     // verbs of the effect; absent: maybe
}

// notReadOnly is the world of requests that may do more than read.
func notReadOnly(id *doorward.Identity, target string) world {
	return world{identity: id, target: target, flags: map[string]tri{"read_only": no}}
}

// doing is the world of complete requests that do verb.
func doing(id *doorward.Identity, target string, verb doorward.Verb) world {
	w := world{
		identity: id, target: target,
		flags: map[string]tri{"complete": yes},
		verbs: map[string]tri{verb.String(): yes},
	}
	if verb.Has(doorward.VerbRead | doorward.VerbSession) {
		w.flags["read_only"], w.flags["writes"], w.flags["unbounded"] = yes, no, no
		for _, v := range []doorward.Verb{doorward.VerbCreate, doorward.VerbUpdate, doorward.VerbDelete, doorward.VerbDefine,
			doorward.VerbGrant, doorward.VerbExecute, doorward.VerbAdmin, doorward.VerbUnknown} {
			w.verbs[v.String()] = no
		}
	} else {
		w.flags["read_only"], w.flags["writes"] = no, maybe
		if verb.Has(doorward.VerbWrites) {
			w.flags["writes"] = yes
		}
	}
	return w
}

// possible says whether the condition can hold in the world. It is no only
// when it certainly cannot.
func (c *condition) possible(w world) tri {
	if c.expr == nil {
		return yes
	}
	return possible(c.expr, w)
}

// possible says whether the rule can apply in the world. Its lists may match or
// not, but `commands` matches commands only, whose verbs are few.
func (r *rule) possible(w world) tri {
	out := r.when.possible(w)
	if r.objects != nil || r.outside != nil || len(r.Commands) > 0 {
		out = min(out, maybe)
	}
	if len(r.Commands) == 0 {
		return out
	}
	if w.flags["read_only"] == yes {
		return no
	}
	for _, verb := range (doorward.VerbUpdate | doorward.VerbDelete | doorward.VerbDefine | doorward.VerbGrant | doorward.VerbAdmin | doorward.VerbUnknown).Names() {
		if w.verbs[verb] == yes {
			return no
		}
	}
	return out
}

// allVerbsIn recognises effect.verbs.all(v, v in ['create', …]).
func allVerbsIn(e ast.Expr) (words []string, ok bool) {
	if e.Kind() != ast.ComprehensionKind {
		return nil, false
	}
	c := e.AsComprehension()
	v, name, ok := selected(c.IterRange())
	starts, isAll := literal[bool](c.AccuInit())
	if !ok || v != "effect" || name != "verbs" || !isAll || !starts || c.LoopStep().Kind() != ast.CallKind {
		return nil, false
	}
	step := c.LoopStep().AsCall()
	if step.FunctionName() != operators.LogicalAnd || len(step.Args()) != 2 || step.Args()[1].Kind() != ast.CallKind {
		return nil, false
	}
	in := step.Args()[1].AsCall()
	if in.FunctionName() != operators.In || in.Args()[0].Kind() != ast.IdentKind || in.Args()[0].AsIdent() != c.IterVar() || in.Args()[1].Kind() != ast.ListKind {
		return nil, false
	}
	for _, item := range in.Args()[1].AsList().Elements() {
		word, ok := literal[string](item)
		if !ok {
			return nil, false
		}
		words = append(words, word)
	}
	return words, true
}

func possible(e ast.Expr, w world) tri {
	if b, ok := literal[bool](e); ok {
		return triOf(b)
	}
	if v, name, ok := selected(e); ok {
		return w.flag(v, name)
	}
	if words, ok := allVerbsIn(e); ok {
		for verb, t := range w.verbs {
			if t == yes && !slices.Contains(words, verb) {
				return no
			}
		}
		return maybe
	}
	if e.Kind() != ast.CallKind {
		return maybe
	}
	call := e.AsCall()
	args := call.Args()
	switch call.FunctionName() {
	case operators.LogicalAnd:
		out := yes
		for _, a := range args {
			out = min(out, possible(a, w))
		}
		return out
	case operators.LogicalOr:
		out := no
		for _, a := range args {
			out = max(out, possible(a, w))
		}
		return out
	case operators.LogicalNot:
		return yes - possible(args[0], w)
	case operators.In:
		word, ok := literal[string](args[0])
		v, name, ok2 := selected(args[1])
		if !ok || !ok2 {
			return maybe
		}
		switch {
		case v == "effect" && name == "verbs":
			if t, known := w.verbs[word]; known {
				return t
			}
			if _, real := doorward.ParseVerb(word); !real {
				return no
			}
		case v == "identity" && name == "groups" && w.identity != nil:
			return triOf(slices.Contains(w.identity.Groups, word))
		}
	case operators.Equals, operators.NotEquals:
		get, word, ok := stringAndLiteral(args)
		if !ok {
			return maybe
		}
		for i := range args {
			v, name, ok := selected(args[i])
			if !ok || (v == "identity" && (w.identity == nil || name == "run")) || v == "effect" ||
				(v == "target" && (w.target == "" || name != "name")) {
				continue
			}
			f := &facts{identity: w.identity, target: w.target}
			return triOf((get(f) == word) == (call.FunctionName() == operators.Equals))
		}
	}
	return maybe
}

func (w world) flag(variable, name string) tri {
	switch {
	case variable == "effect":
		if t, known := w.flags[name]; known {
			return t
		}
	case variable == "identity" && w.identity != nil:
		if b, ok := fields[typeIdentity][name].get(&facts{identity: w.identity}).(bool); ok {
			return triOf(b)
		}
	}
	return maybe
}
