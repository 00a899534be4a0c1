package policy

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/doorward/doorward"
)

// Input is everything that a decision depends on.
type Input struct {
	Identity *doorward.Identity
	Target   string // name of the target
	Protocol string // protocol of the target
	Effect   *doorward.Effect
	Now      time.Time // used by conditions that ask for the time; in UTC
}

// view is the list of rules that are about one identity and target, denials
// first, then reviews, then permissions, each by name.
type view struct {
	rules []*rule
	hint  func() string
	runs  func() string // as hint, for commands; "" where no rule is about them
}

// Decide answers the one question of this package. It is a pure function of
// the policy and the input, and it never fails: what cannot be decided is
// denied.
func (p *Policy) Decide(in Input) doorward.Decision {
	d := p.decide(in)
	d.Version = p.version
	return d
}

func (p *Policy) decide(in Input) doorward.Decision {
	id, e := in.Identity, in.Effect
	if id == nil || e == nil {
		return deny("", "the request came to the policy without an identity or an effect", "this is a fault of doorward: report it")
	}
	if e.Refuse != "" {
		return deny("", e.Refuse, e.Hint)
	}
	if e.MaskUse == doorward.MaskOther {
		hint := e.Hint
		if hint == "" {
			hint = "Masked columns can be selected as plain output columns; they come back masked. They cannot be compared, computed with, sorted by or copied."
		}
		return deny("", maskedReason(e), hint)
	}
	if !boundTo(id, in.Target) {
		return deny("", "the credential is not for target "+in.Target, "It is for "+listing(id.Targets)+".")
	}
	v := p.prepare(id, in.Target)
	f := facts{identity: id, effect: e, target: in.Target, protocol: in.Protocol, now: in.Now}

	var out doorward.Decision
	var first *rule
	opted := e.Complete // somebody takes responsibility for what is not understood
	for _, r := range v.rules {
		if r.objects != nil && !within(r.objects, e) {
			continue
		}
		if r.outside != nil && within(r.outside, e) {
			continue
		}
		if len(r.Commands) > 0 && !matchCommands(r.commands, e) {
			continue
		}
		ok, err := r.when.holds(&f)
		if err != nil {
			return deny(r.Name, "the condition of this rule could not be evaluated: "+clip(err.Error(), 200), "Whoever keeps the policy has to correct the rule.")
		}
		if !ok {
			continue
		}
		if r.outcome == doorward.Deny {
			return deny(r.Name, denyReason(r, e), denyHint(r, e, v))
		}
		if first == nil {
			first = r
		}
		out.Limits = out.Limits.Tighten(r.limits)
		if r.outcome == doorward.Hold {
			opted = opted || r.Incomplete
			out.Preview = out.Preview || r.Preview
			if r.MaxRows > 0 && (out.MaxRows == 0 || r.MaxRows < out.MaxRows) {
				out.MaxRows = r.MaxRows
			}
			if !slices.ContainsFunc(out.Reviewers, func(q doorward.Quorum) bool { return sameQuorum(q, r.quorum) }) {
				out.Reviewers = append(out.Reviewers, r.quorum)
			}
		}
	}
	if first == nil || !opted {
		return deny("", defaultReason(in), defaultHint(e, v))
	}
	out.Outcome, out.Rule, out.Reason, out.Hint = first.outcome, first.Name, first.Reason, first.Hint
	if out.Reason == "" {
		if out.Outcome == doorward.Hold {
			out.Reason = "needs a yes from " + quorums(out.Reviewers)
		} else {
			out.Reason = "allowed by rule " + first.Name
		}
	}
	return out
}

// Reaches reports whether anything could be allowed to this identity on this
// target, with or without review.
func (p *Policy) Reaches(id *doorward.Identity, target string) bool {
	return p.could(id, target, world{identity: id, target: target})
}

// CouldWrite reports whether this identity could be allowed anything on this
// target that is not plainly a read. It is false only when that is certain.
func (p *Policy) CouldWrite(id *doorward.Identity, target string) bool {
	return p.could(id, target, notReadOnly(id, target))
}

// CouldAnyoneWrite reports whether somebody could be allowed anything on this
// target that is not plainly a read. It is false only when that is certain.
func (p *Policy) CouldAnyoneWrite(target string) bool {
	w := notReadOnly(nil, target)
	could := false
	for _, r := range p.rules {
		switch possible := r.possible(w); {
		case !r.targets.match(target) || possible == no:
		case r.outcome == doorward.Deny:
			if possible == yes && r.Who.IsZero() {
				return false
			}
		default:
			could = true
		}
	}
	return could
}

func (p *Policy) could(id *doorward.Identity, target string, w world) bool {
	if id == nil || !boundTo(id, target) {
		return false
	}
	any := false
	for _, r := range p.prepare(id, target).rules {
		switch {
		case r.outcome == doorward.Deny:
			if r.possible(w) == yes {
				return false
			}
		case r.possible(w) != no:
			any = true
		}
	}
	return any
}

// boundTo reports whether the credential may be used for the target.
func boundTo(id *doorward.Identity, target string) bool {
	return len(id.Targets) == 0 || slices.Contains(id.Targets, target)
}

// prepare gives the rules for one identity and target, from the memo when it
// is there.
func (p *Policy) prepare(id *doorward.Identity, target string) *view {
	var buf [256]byte
	key := viewKey(buf[:0], id, target)
	p.mu.RLock()
	v := p.views[string(key)]
	p.mu.RUnlock()
	if v != nil {
		return v
	}
	v = p.newView(id, target)
	if len(key) <= maxViewKey {
		p.mu.Lock()
		if len(p.views) >= maxViews {
			clear(p.views)
		}
		p.views[string(key)] = v
		p.mu.Unlock()
	}
	return v
}

// viewKey holds every part of an identity that who matches on.
func viewKey(b []byte, id *doorward.Identity, target string) []byte {
	put := func(s string) {
		b = binary.AppendUvarint(b, uint64(len(s)))
		b = append(b, s...)
	}
	put(target)
	put(id.Name)
	put(id.Agent)
	put(id.Provider)
	if id.Workload {
		b = append(b, 1)
	} else {
		b = append(b, 0)
	}
	for _, g := range id.Groups {
		put(g)
	}
	return b
}

func (p *Policy) newView(id *doorward.Identity, target string) *view {
	v := &view{}
	for _, outcome := range []doorward.Outcome{doorward.Deny, doorward.Hold, doorward.Allow} {
		for _, r := range p.rules {
			if r.outcome == outcome && r.applies(id, target) {
				v.rules = append(v.rules, r)
			}
		}
	}
	// The memo must not keep the caller's identity: it may be changed.
	who := doorward.Identity{Name: strings.Clone(id.Name), Agent: id.Agent, Provider: id.Provider, Workload: id.Workload, Groups: slices.Clone(id.Groups)}
	v.hint = sync.OnceValue(func() string { return v.possibilities(&who, target) })
	v.runs = sync.OnceValue(func() string { return v.commandHint(&who, target) })
	return v
}

// within reports whether every object of the effect is in the list. Settings,
// accounts and columns do not count: settings hold no data, the target says
// which accounts there are, and a column's relation is an object of its own. Whatever else a classifier may name has to be listed.
// An effect that touches nothing at all is within every list.
func within(list *objectPatterns, e *doorward.Effect) bool {
	for i := range e.Objects {
		if o := &e.Objects[i]; counts(o) && !list.match(o.Kind, o.Name) {
			return false
		}
	}
	return true
}

func counts(o *doorward.Object) bool {
	return o.Kind != "setting" && o.Kind != "limit" && o.Kind != "account" && o.Kind != "column"
}

func deny(rule, reason, hint string) doorward.Decision {
	return doorward.Decision{Outcome: doorward.Deny, Rule: rule, Reason: reason, Hint: hint}
}

func sameQuorum(a, b doorward.Quorum) bool {
	return a.Count == b.Count && a.SelfApproval == b.SelfApproval && slices.Equal(a.Groups, b.Groups) && slices.Equal(a.Users, b.Users)
}

func quorums(qs []doorward.Quorum) string {
	parts := make([]string, len(qs))
	for i, q := range qs {
		who := append(slices.Clone(q.Groups), q.Users...)
		parts[i] = strings.Join(who, " or ")
		if q.Count > 1 {
			parts[i] = fmt.Sprintf("%d of %s", q.Count, parts[i])
		}
	}
	return strings.Join(parts, " and ")
}
