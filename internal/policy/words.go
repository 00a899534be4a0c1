package policy

import (
	"fmt"
	"slices"
	"strings"

	"github.com/doorward/doorward"
)

// This file holds what people read when the answer is no.

func maskedReason(e *doorward.Effect) string {
	if len(e.Masked) == 0 {
		return "it cannot be ruled out that this uses a masked column in a way that shows its value"
	}
	return "the statement uses " + listing(e.Masked) + " in a way that could show masked values"
}

func denyReason(r *rule, e *doorward.Effect) string {
	if r.Reason != "" {
		return r.Reason
	}
	if r.outside != nil {
		var out []string
		for i := range e.Objects {
			if o := &e.Objects[i]; counts(o) && !r.outside.match(o.Kind, o.Name) {
				out = append(out, o.Kind+" "+o.Name)
			}
		}
		if len(out) > 0 {
			return listing(out) + " is not on the list of what may be touched"
		}
	}
	return "a rule denies this"
}

func denyHint(r *rule, e *doorward.Effect, v *view) string {
	switch {
	case r.Hint != "":
		return r.Hint
	case r.outside != nil:
		return "The list: " + listing(r.Outside) + "."
	case e.Hint != "":
		return e.Hint
	}
	return v.hintFor(e)
}

// hintFor says what is open to the identity: commands to those who run
// commands.
func (v *view) hintFor(e *doorward.Effect) string {
	if slices.Contains(e.Kinds, kindExec) || slices.Contains(e.Kinds, "script") {
		if hint := v.runs(); hint != "" {
			return hint
		}
	}
	if e.HTTP != nil {
		if hint := v.paths(); hint != "" {
			return hint
		}
	}
	return v.hint()
}

// maxPathsShown bounds the patterns that a hint lists.
const maxPathsShown = 12

// paths says which requests to an HTTP service the rules name; "" where none
// does.
func (v *view) paths() string {
	var free, asked []string
	for _, r := range v.rules {
		switch r.outcome {
		case doorward.Allow:
			free = append(free, r.Objects...)
		case doorward.Hold:
			asked = append(asked, r.Objects...)
		}
	}
	list := func(ps []string) string {
		more := ""
		if len(ps) > maxPathsShown {
			more = fmt.Sprintf(" and %d more", len(ps)-maxPathsShown)
			ps = ps[:maxPathsShown]
		}
		out := make([]string, len(ps))
		for i, p := range ps {
			out[i] = strings.TrimPrefix(p, "path:")
		}
		return strings.Join(out, ", ") + more
	}
	switch {
	case len(free) > 0 && len(asked) > 0:
		return "Open to you: " + list(free) + ". With a person's yes: " + list(asked) + ". Each within its rule."
	case len(free) > 0:
		return "Open to you: " + list(free) + ". Each within its rule."
	case len(asked) > 0:
		return "Open to you with a person's yes: " + list(asked) + ". Each within its rule."
	}
	return ""
}

func defaultReason(in Input) string {
	if !in.Effect.Complete {
		return "doorward cannot tell for certain what this would do"
	}
	what := strings.Join(in.Effect.Verbs.Names(), ", ")
	if what == "" {
		what = "nothing that is known"
	}
	return fmt.Sprintf("no rule lets %s do this (%s) on %s", in.Identity, what, in.Target)
}

func defaultHint(e *doorward.Effect, v *view) string {
	if e.Hint != "" {
		return e.Hint
	}
	return v.hintFor(e)
}

// possibilities says what the identity could do on the target instead.
func (v *view) possibilities(id *doorward.Identity, target string) string {
	var free, asked []string
	for verb := doorward.VerbRead; verb < doorward.VerbSession; verb <<= 1 {
		w := doing(id, target, verb)
		best := doorward.Deny
		for _, r := range v.rules {
			if r.possible(w) == no {
				continue
			}
			if r.outcome == doorward.Deny && r.possible(w) == yes {
				best = doorward.Deny
				break
			}
			best = min(best, r.outcome)
		}
		switch best {
		case doorward.Allow:
			free = append(free, verb.String())
		case doorward.Hold:
			asked = append(asked, verb.String())
		}
	}
	switch {
	case len(free) > 0 && len(asked) > 0:
		return fmt.Sprintf("On %s you may: %s. With a person's yes: %s. Each within its rule.", target, strings.Join(free, ", "), strings.Join(asked, ", "))
	case len(free) > 0:
		return fmt.Sprintf("On %s you may: %s. Each within its rule.", target, strings.Join(free, ", "))
	case len(asked) > 0:
		return fmt.Sprintf("On %s you may, with a person's yes: %s. Each within its rule.", target, strings.Join(asked, ", "))
	}
	return fmt.Sprintf("Nothing on %s is open to you; ask whoever keeps the policy.", target)
}

// listing joins at most eight names.
func listing(names []string) string {
	const most = 8
	if len(names) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
	}
	return strings.Join(names, ", ")
}
