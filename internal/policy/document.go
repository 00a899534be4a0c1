package policy

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Document is the section `policy:` of the configuration.
type Document struct {
	Rules []Rule `yaml:"rules" json:"rules"`

	// Bound is further content that decisions depend on and that the version
	// must therefore cover: the masking rules, the functions of targets. The
	// configuration fills it in; it is not written in the file's policy section.
	Bound []byte `yaml:"-" json:"-"`
}

// Rule is one rule. All parts that are given must match for it to apply.
type Rule struct {
	Name       string            `yaml:"name" json:"name"`                                 // unique; shown to people and kept in the record
	Who        Who               `yaml:"who,omitempty" json:"who,omitzero"`                // empty: everybody
	Targets    []string          `yaml:"targets" json:"targets"`                           // globs over target names
	When       string            `yaml:"when,omitempty" json:"when,omitempty"`             // CEL; empty: always
	Objects    []string          `yaml:"objects,omitempty" json:"objects,omitempty"`       // applies only if every object is in this list
	Outside    []string          `yaml:"outside,omitempty" json:"outside,omitempty"`       // applies only if some object is not in this list
	Commands   []string          `yaml:"commands,omitempty" json:"commands,omitempty"`     // applies only to one plain command that matches one of these
	Words      map[string]string `yaml:"words,omitempty" json:"words,omitempty"`           // what {name} stands for in commands: a regular expression for one word, or a part of it
	Then       string            `yaml:"then" json:"then"`                                 // allow, review or deny
	Hint       string            `yaml:"hint,omitempty" json:"hint,omitempty"`             // what would be allowed instead
	Reason     string            `yaml:"reason,omitempty" json:"reason,omitempty"`         // for people
	Reviewers  Reviewers         `yaml:"reviewers,omitempty" json:"reviewers,omitzero"`    // who may say yes; for review
	Limits     Limits            `yaml:"limits,omitempty" json:"limits,omitzero"`          // for allow and review
	MaxRows    int64             `yaml:"max_rows,omitempty" json:"max_rows,omitempty"`     // row bound that an approval carries; for review
	Incomplete bool              `yaml:"incomplete,omitempty" json:"incomplete,omitempty"` // may send what is not fully understood to review
	Preview    bool              `yaml:"preview,omitempty" json:"preview,omitempty"`       // the reviewer is to see a measured preview; for review
}

// Who says whom a rule is about. Users, groups and workloads name the
// principal: one match is enough. Agents and providers narrow it down.
type Who struct {
	Users     []string `yaml:"users,omitempty" json:"users,omitempty"`         // globs over the names of people; an agent's person counts
	Groups    []string `yaml:"groups,omitempty" json:"groups,omitempty"`       // globs over groups, of people and workloads
	Workloads []string `yaml:"workloads,omitempty" json:"workloads,omitempty"` // globs over the names of workloads
	Agents    []string `yaml:"agents,omitempty" json:"agents,omitempty"`       // only through one of these agents ("*": any agent)
	Providers []string `yaml:"providers,omitempty" json:"providers,omitempty"` // only those whom one of these providers vouches for
}

// IsZero reports whether the rule is about everybody.
func (w Who) IsZero() bool {
	return len(w.Users)+len(w.Groups)+len(w.Workloads)+len(w.Agents)+len(w.Providers) == 0
}

// Reviewers says who may approve, and how many of them it takes.
type Reviewers struct {
	Groups       []string `yaml:"groups,omitempty" json:"groups,omitempty"`
	Users        []string `yaml:"users,omitempty" json:"users,omitempty"`
	Count        int      `yaml:"count,omitempty" json:"count,omitempty"` // 0 means 1
	SelfApproval bool     `yaml:"self_approval,omitempty" json:"self_approval,omitempty"`
}

// IsZero reports whether nothing was said about reviewers.
func (r Reviewers) IsZero() bool {
	return len(r.Groups)+len(r.Users) == 0 && r.Count == 0 && !r.SelfApproval
}

// Limits bound each request that a rule lets run.
type Limits struct {
	Rows      int64         `yaml:"rows,omitempty" json:"rows,omitempty"`
	Bytes     Size          `yaml:"bytes,omitempty" json:"bytes,omitempty"`
	Time      time.Duration `yaml:"time,omitempty" json:"time,omitempty"`
	PerMinute int64         `yaml:"per_minute,omitempty" json:"per_minute,omitempty"`
}

// IsZero reports whether there is no limit.
func (l Limits) IsZero() bool { return l == Limits{} }

// Size is a number of bytes, written as "64MiB", "10kB" or a plain number.
type Size int64

var sizeUnits = []struct {
	name  string
	bytes int64
}{
	{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10},
	{"GB", 1e9}, {"MB", 1e6}, {"kB", 1e3}, {"KB", 1e3}, {"B", 1},
}

// ParseSize reads a size such as "64MiB".
func ParseSize(s string) (Size, error) {
	text, unit := strings.TrimSpace(s), int64(1)
	for _, u := range sizeUnits {
		if head, ok := strings.CutSuffix(text, u.name); ok {
			text, unit = strings.TrimSpace(head), u.bytes
			break
		}
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 || n > math.MaxInt64/unit {
		return 0, fmt.Errorf("%.40q is not a size: write a whole number and a unit, such as 64MiB or 256KiB", s)
	}
	return Size(n * unit), nil
}

// String is the size in its largest whole binary unit.
func (s Size) String() string {
	for _, u := range sizeUnits[:3] {
		if s != 0 && int64(s)%u.bytes == 0 {
			return strconv.FormatInt(int64(s)/u.bytes, 10) + u.name
		}
	}
	return strconv.FormatInt(int64(s), 10)
}

// UnmarshalYAML reads "64MiB" or a plain number.
func (s *Size) UnmarshalYAML(read func(any) error) error {
	var raw any
	if err := read(&raw); err != nil {
		return err
	}
	switch v := raw.(type) {
	case string, uint64, int64, int:
		size, err := ParseSize(fmt.Sprint(v))
		*s = size
		return err
	}
	return errors.New("not a size: write a whole number and a unit, such as 64MiB")
}

// MarshalYAML writes the size as [Size.String].
func (s Size) MarshalYAML() (any, error) { return s.String(), nil }

// MarshalJSON writes the size as [Size.String].
func (s Size) MarshalJSON() ([]byte, error) { return json.Marshal(s.String()) }

// Error is one thing that is wrong with a document.
type Error struct {
	Rule  int    // index into Document.Rules
	Name  string // the rule's name, if it has one
	Field string // the YAML path within the rule, such as "when" or "who.groups"
	Msg   string // what is wrong
	Hint  string // what was meant, or what to write
}

// Error is the message with the place and the hint.
func (e *Error) Error() string {
	where := fmt.Sprintf("rule %d", e.Rule+1)
	if e.Name != "" {
		where = fmt.Sprintf("rule %q", e.Name)
	}
	if e.Field != "" {
		where += ", " + e.Field
	}
	msg := where + ": " + e.Msg
	if e.Hint != "" {
		msg += "; " + e.Hint
	}
	return msg
}

// Errors are all the things that are wrong with a document.
type Errors []*Error

// Error lists them, one a line.
func (es Errors) Error() string {
	lines := make([]string, len(es))
	for i, e := range es {
		lines[i] = e.Error()
	}
	return strings.Join(lines, "\n")
}
