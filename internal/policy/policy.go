package policy

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/doorward/doorward"
)

// Bounds of a document.
const (
	maxRules   = 2000
	maxList    = 2000 // entries of one list
	maxEntry   = 512  // bytes of one entry
	maxText    = 2000 // bytes of a hint or a reason
	maxViews   = 4096 // prepared lists that are kept
	maxViewKey = 8192 // bytes of an identity that is worth keeping one for
)

// Policy is a compiled document. It is immutable and safe for concurrent use.
type Policy struct {
	rules   []*rule // by name
	version string
	time    bool

	mu    sync.RWMutex
	views map[string]*view // memo of what prepare gives
}

// rule is a compiled Rule.
type rule struct {
	Rule
	outcome   doorward.Outcome
	targets   patterns
	users     patterns
	groups    patterns
	workloads patterns
	agents    patterns
	providers patterns
	principal bool // users, groups or workloads were given
	objects   *objectPatterns
	outside   *objectPatterns
	commands  []commandPattern
	when      condition
	limits    doorward.Limits
	quorum    doorward.Quorum
}

// Compile checks a document and prepares it. The error is [Errors].
func Compile(doc Document) (*Policy, error) {
	if len(doc.Rules) > maxRules {
		return nil, Errors{{Rule: maxRules, Msg: fmt.Sprintf("there are %d rules; the most is %d", len(doc.Rules), maxRules), Hint: "use groups and globs to say more with fewer"}}
	}
	p := &Policy{views: map[string]*view{}}
	var errs Errors
	seen := map[string]int{}
	for i := range doc.Rules {
		r, es := compileRule(i, doc.Rules[i])
		errs = append(errs, es...)
		if first, dup := seen[r.Name]; dup && r.Name != "" {
			errs = append(errs, &Error{Rule: i, Name: r.Name, Field: "name", Msg: fmt.Sprintf("rule %d has this name already", first+1), Hint: "give each rule a name of its own"})
		}
		seen[r.Name] = i
		p.rules = append(p.rules, r)
		p.time = p.time || r.when.time
	}
	if len(errs) > 0 {
		return nil, errs
	}
	slices.SortFunc(p.rules, func(a, b *rule) int { return cmp.Compare(a.Name, b.Name) })
	p.version = version(p.rules, doc.Bound)
	return p, nil
}

// version is a hash over everything that decisions depend on, whatever the
// order and layout of the file.
func version(rules []*rule, bound []byte) string {
	h := sha256.New()
	put := func(b []byte) {
		h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(b))))
		h.Write(b)
	}
	put([]byte("doorward policy 1"))
	put(bound)
	for _, r := range rules {
		b, err := json.Marshal(r.Rule)
		if err != nil {
			panic("policy: a rule that cannot be written: " + err.Error()) // strings, numbers and lists only
		}
		put(b)
	}
	return hex.EncodeToString(h.Sum(nil))
}

func compileRule(i int, doc Rule) (*rule, Errors) {
	r := &rule{Rule: doc}
	var errs Errors
	bad := func(field, msg, hint string) {
		errs = append(errs, &Error{Rule: i, Name: clip(doc.Name, 80), Field: field, Msg: msg, Hint: hint})
	}
	switch {
	case strings.TrimSpace(doc.Name) == "":
		bad("name", "a rule needs a name", "people see it in every refusal, as in name: engineers-read")
	case len(doc.Name) > 128 || strings.ContainsFunc(doc.Name, func(c rune) bool { return c < ' ' }):
		bad("name", "a name is one line of at most 128 bytes", "")
	}
	switch doc.Then {
	case "allow":
		r.outcome = doorward.Allow
	case "review":
		r.outcome = doorward.Hold
	case "deny":
		r.outcome = doorward.Deny
	case "":
		bad("then", "what the rule does is missing", "write then: allow, then: review or then: deny")
		r.outcome = doorward.Deny
	default:
		hint := "known are allow, review and deny"
		if hit := Closest(doc.Then, []string{"allow", "review", "deny"}); hit != "" {
			hint = "did you mean " + hit + "?"
		}
		bad("then", fmt.Sprintf("%q is not an outcome", clip(doc.Then, 40)), hint)
		r.outcome = doorward.Deny
	}
	list := func(field string, entries []string) patterns {
		if len(entries) > maxList {
			bad(field, fmt.Sprintf("%d entries; the most is %d", len(entries), maxList), "use globs")
			return patterns{}
		}
		for _, e := range entries {
			if strings.TrimSpace(e) == "" || len(e) > maxEntry {
				bad(field, fmt.Sprintf("%q is empty or longer than %d bytes", clip(e, 40), maxEntry), "")
			}
		}
		return newPatterns(entries)
	}
	if len(doc.Targets) == 0 {
		bad("targets", "the rule names no target", `write targets: ["*"] for all of them`)
	}
	r.targets = list("targets", doc.Targets)
	r.users = list("who.users", doc.Who.Users)
	r.groups = list("who.groups", doc.Who.Groups)
	r.workloads = list("who.workloads", doc.Who.Workloads)
	r.agents = list("who.agents", doc.Who.Agents)
	r.providers = list("who.providers", doc.Who.Providers)
	r.principal = len(doc.Who.Users)+len(doc.Who.Groups)+len(doc.Who.Workloads) > 0
	for field, entries := range map[string][]string{"objects": doc.Objects, "outside": doc.Outside} {
		list(field, entries)
		for _, e := range entries {
			if kind, name, ok := strings.Cut(e, ":"); ok && (kind == "" || name == "") {
				bad(field, fmt.Sprintf("%q is not an object", clip(e, 40)), "write a name such as public.customers, or a kind and a name such as function:public.price_of")
			}
		}
	}
	list("commands", doc.Commands)
	compileCommands(r, bad)
	r.objects, r.outside = newObjectPatterns(doc.Objects), newObjectPatterns(doc.Outside)
	when, err := compileCondition(doc.When)
	if err != nil {
		msg, hint := asCELError(err)
		bad("when", msg, hint)
	}
	r.when = when
	if len(doc.Hint) > maxText {
		bad("hint", fmt.Sprintf("longer than %d bytes", maxText), "")
	}
	if len(doc.Reason) > maxText {
		bad("reason", fmt.Sprintf("longer than %d bytes", maxText), "")
	}
	compileReview(r, list, bad)
	compileLimits(r, bad)
	return r, sorted(errs)
}

func compileReview(r *rule, list func(string, []string) patterns, bad func(field, msg, hint string)) {
	doc := &r.Rule
	list("reviewers.groups", doc.Reviewers.Groups)
	list("reviewers.users", doc.Reviewers.Users)
	if r.outcome != doorward.Hold {
		for field, given := range map[string]bool{"reviewers": !doc.Reviewers.IsZero(), "max_rows": doc.MaxRows != 0, "preview": doc.Preview, "incomplete": doc.Incomplete} {
			if given {
				bad(field, "only a rule with then: review can say this", "remove it, or write then: review")
			}
		}
		return
	}
	if len(doc.Reviewers.Groups)+len(doc.Reviewers.Users) == 0 {
		bad("reviewers", "nobody could say yes", "name groups or users, as in reviewers: { groups: [dba], count: 1 }")
	}
	r.quorum = doorward.Quorum{
		Groups:       doc.Reviewers.Groups,
		Users:        doc.Reviewers.Users,
		Count:        max(doc.Reviewers.Count, 1),
		SelfApproval: doc.Reviewers.SelfApproval,
	}
	if doc.Reviewers.Count < 0 || doc.Reviewers.Count > 100 {
		bad("reviewers.count", fmt.Sprintf("%d is not a number of reviewers", doc.Reviewers.Count), "write 1 or more")
	} else if n := len(doc.Reviewers.Users); len(doc.Reviewers.Groups) == 0 && n > 0 && r.quorum.Count > n {
		bad("reviewers.count", fmt.Sprintf("%d yeses are asked of %d people", r.quorum.Count, n), "name more people or a group, or ask for fewer")
	}
	if doc.MaxRows < 0 {
		bad("max_rows", "a row bound is not negative", "leave it out for no bound")
	}
}

func compileLimits(r *rule, bad func(field, msg, hint string)) {
	l := r.Rule.Limits
	if r.outcome == doorward.Deny && !l.IsZero() {
		bad("limits", "a rule that denies has nothing to limit", "remove it")
	}
	if l.Rows < 0 {
		bad("limits.rows", "a limit is not negative", "leave it out for no limit")
	}
	if l.Bytes < 0 {
		bad("limits.bytes", "a limit is not negative", "leave it out for no limit")
	}
	if l.Time < 0 {
		bad("limits.time", "a limit is not negative", "leave it out for no limit")
	}
	if l.PerMinute < 0 {
		bad("limits.per_minute", "a limit is not negative", "leave it out for no limit")
	}
	r.limits = doorward.Limits{Rows: l.Rows, Bytes: int64(l.Bytes), Time: l.Time, PerMinute: l.PerMinute}
}

func sorted(errs Errors) Errors {
	slices.SortStableFunc(errs, func(a, b *Error) int { return cmp.Compare(a.Field, b.Field) })
	return errs
}

// applies reports whether the rule is about this identity and target at all.
func (r *rule) applies(id *doorward.Identity, target string) bool {
	if !r.targets.match(target) {
		return false
	}
	if len(r.Who.Providers) > 0 && !r.providers.match(id.Provider) {
		return false
	}
	if len(r.Who.Agents) > 0 && (id.Agent == "" || !r.agents.match(id.Agent)) {
		return false
	}
	if !r.principal {
		return true
	}
	if r.groups.matchAny(id.Groups) {
		return true
	}
	if id.Workload {
		return r.workloads.match(id.Name)
	}
	return r.users.match(id.Name)
}

// Version identifies the content: two policies with the same version decide
// the same. It is the hex SHA-256 of the rules and of Document.Bound.
func (p *Policy) Version() string { return p.version }

// TimeDependent reports whether some condition asks for the time, so that a
// verdict must not be kept.
func (p *Policy) TimeDependent() bool { return p.time }

// Rules gives the number of rules.
func (p *Policy) Rules() int { return len(p.rules) }
