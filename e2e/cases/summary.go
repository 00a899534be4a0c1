package cases

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Summary counts outcomes.
type Summary struct {
	Total, Failed int
	ByOutcome     map[string]int // "attack deny": 231
	OverBlocked   []string       // benign cases that were stopped, tolerated or not
}

// Summarise counts outcomes.
func Summarise(list []Outcome) Summary {
	s := Summary{Total: len(list), ByOutcome: map[string]int{}}
	for _, o := range list {
		if !o.OK {
			s.Failed++
		}
		s.ByOutcome[o.Kind+" "+o.Outcome]++
		if o.Kind == "benign" && (o.Outcome == "deny" || o.Outcome == "review") {
			s.OverBlocked = append(s.OverBlocked, o.ID+" "+string(o.Mode))
		}
	}
	return s
}

// String is the summary on one or two lines.
func (s Summary) String() string {
	var parts []string
	for _, k := range slices.Sorted(maps.Keys(s.ByOutcome)) {
		parts = append(parts, fmt.Sprintf("%s %d", k, s.ByOutcome[k]))
	}
	out := fmt.Sprintf("%d runs, %d failed: %s", s.Total, s.Failed, strings.Join(parts, ", "))
	if len(s.OverBlocked) > 0 {
		out += "\nover-blocked: " + strings.Join(s.OverBlocked, ", ")
	}
	return out
}
