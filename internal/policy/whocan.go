package policy

import (
	"strings"

	"github.com/doorward/doorward"
)

// Possibility is one rule that bears on what could be done to a target.
type Possibility struct {
	Rule      string   `json:"rule"`
	Who       Who      `json:"who,omitzero"`
	Decision  string   `json:"decision"`            // allow, review or deny
	Always    bool     `json:"always"`              // it holds for every request that does this
	When      string   `json:"when,omitempty"`      // the condition, if it is open whether it holds
	Objects   []string `json:"objects,omitempty"`   // only if all it touches is in this list
	Outside   []string `json:"outside,omitempty"`   // only if something it touches is not in this list
	Commands  []string `json:"commands,omitempty"`  // only if it is one plain command that matches one of these
	Reviewers []string `json:"reviewers,omitempty"` // who may say yes
}

// WhoCan lists the rules that could decide on requests that do verb on target,
// by anybody: denials first, then reviews, then permissions. A rule that
// certainly does not match is left out.
func (p *Policy) WhoCan(target string, verb doorward.Verb) []Possibility {
	w := doing(nil, target, verb)
	out := []Possibility{}
	for _, outcome := range []doorward.Outcome{doorward.Deny, doorward.Hold, doorward.Allow} {
		for _, r := range p.rules {
			could, open := r.possible(w), r.when.possible(w) == maybe
			if r.outcome != outcome || !r.targets.match(target) || could == no {
				continue
			}
			x := Possibility{Rule: r.Name, Who: r.Who, Decision: outcome.String(), Always: could == yes,
				Objects: r.Objects, Outside: r.Outside, Commands: r.Commands}
			if open {
				x.When = strings.Join(strings.Fields(r.When), " ")
			}
			if outcome == doorward.Hold {
				x.Reviewers = append(append(x.Reviewers, r.quorum.Groups...), r.quorum.Users...)
			}
			out = append(out, x)
		}
	}
	return out
}

// String is the people in a few words: "group engineers, user ada; by agent codex".
func (w Who) String() string {
	if w.IsZero() {
		return "everybody"
	}
	var parts []string
	add := func(kind string, names []string) {
		for _, n := range names {
			parts = append(parts, kind+" "+n)
		}
	}
	add("group", w.Groups)
	add("user", w.Users)
	add("workload", w.Workloads)
	s := strings.Join(parts, ", ")
	if s == "" {
		s = "everybody"
	}
	if len(w.Agents) > 0 {
		s += "; by agent " + strings.Join(w.Agents, ", ")
	}
	if len(w.Providers) > 0 {
		s += "; vouched for by " + strings.Join(w.Providers, ", ")
	}
	return s
}
