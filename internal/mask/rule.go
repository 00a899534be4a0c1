package mask

import (
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
)

// Rule is one entry of the section "masking:" of the configuration. It names
// columns, types of values to detect, or fields of JSON (exactly one of the
// three), and what to do with them.
type Rule struct {
	// Targets are names or globs ("orders-*"); empty: every target.
	Targets []string `yaml:"targets,omitempty" json:"targets,omitempty"`
	// Columns are patterns: table.column or schema.table.column, each part a
	// name or a glob. Names are as Postgres folds them: lower case unless the
	// name was made with quotes.
	Columns []string `yaml:"columns,omitempty" json:"columns,omitempty"`
	// Detect lists types of values to find wherever they stand: see [Types].
	Detect []string `yaml:"detect,omitempty" json:"detect,omitempty"`
	// Fields are paths of what is masked in JSON that HTTP targets answer, in a
	// subset of RFC 9535: $.customer.email, $.items[*].card, $..ssn (at any
	// depth), $.customer.* (every member or element), $['odd.name'] and
	// $..['odd.name']. Before a path may stand the requests that it is limited
	// to, a method or *, a blank and a glob over the decoded path, in which *
	// matches / too: GET /orders/*: $.customer.email. Names compare exactly,
	// after the escapes of a key are decoded. Whatever a path selects is masked:
	// a string by the operator, a number by a number (or null, where the
	// operator is null), true and false by false (or null), and of arrays and
	// objects every such value below; the keys there stay, and null does. A path
	// does not go into JSON that stands in a string: name the string.
	Fields []string `yaml:"fields,omitempty" json:"fields,omitempty"`
	// Operator is redact, partial, hash, pseudonym, null or generalise.
	Operator string `yaml:"operator" json:"operator"`
}

// Limits of a rule set: far above what people write, low enough to bound the
// work of a compiled set.
const (
	maxRules    = 1000
	maxPatterns = 10000
	maxPattern  = 400
	minKey      = 16
)

// operator is what becomes of a value. The order is from softest to
// strictest: where several rules meet, the larger wins.
type operator uint8

const (
	opNone operator = iota
	opGeneralise
	opPartial
	opPseudonym
	opHash
	opRedact
	opNull
)

var operatorNames = [...]string{"", "generalise", "partial", "pseudonym", "hash", "redact", "null"}

// Operators lists the names that [Rule.Operator] may have.
func Operators() []string {
	return []string{"redact", "partial", "hash", "pseudonym", "null", "generalise"}
}

func parseOperator(s string) (operator, bool) {
	for i, n := range operatorNames {
		if i > 0 && n == s {
			return operator(i), true
		}
	}
	return opNone, false
}

func (o operator) keyed() bool { return o == opHash || o == opPseudonym }

type columnRule struct {
	targets []string
	parts   [3]string // schema ("*" when the pattern has none), table, column
	name    string    // the pattern as written
	op      operator
}

type detectRule struct {
	targets []string
	kinds   kindSet
	op      operator
}

// Set is a compiled, immutable set of rules. It is safe for concurrent use.
type Set struct {
	columns []columnRule
	detects []detectRule
	fields  []fieldRule
	steps   []step // of the paths of the fields
	key     []byte
	pool    workerPool
	keys    workerPool // of key memories
}

// Compile checks rules and makes a [Set] of them. The key feeds the operators
// hash and pseudonym, and must then hold at least 16 bytes: with a key that
// can be guessed, so can the values.
func Compile(rules []Rule, key []byte) (*Set, error) {
	if len(rules) > maxRules {
		return nil, fmt.Errorf("masking: %d rules are too many: at most %d", len(rules), maxRules)
	}
	s := &Set{key: slices.Clone(key)}
	patterns := 0
	for i, r := range rules {
		where := fmt.Sprintf("masking[%d]", i)
		op, ok := parseOperator(r.Operator)
		if !ok {
			return nil, fmt.Errorf("%s: operator %q is not known: use one of %s", where, r.Operator, strings.Join(Operators(), ", "))
		}
		if op.keyed() && len(key) < minKey {
			return nil, fmt.Errorf("%s: operator %s needs a key of at least %d bytes: set the masking key", where, r.Operator, minKey)
		}
		if oneOf(len(r.Columns), len(r.Detect), len(r.Fields)) != 1 {
			return nil, fmt.Errorf("%s: give exactly one of columns, detect and fields", where)
		}
		for _, t := range r.Targets {
			if err := checkGlob(t); err != nil {
				return nil, fmt.Errorf("%s: target %q: %w", where, t, err)
			}
		}
		patterns += len(r.Columns) + len(r.Fields) + len(r.Targets)
		if patterns > maxPatterns {
			return nil, fmt.Errorf("%s: too many patterns: at most %d in all", where, maxPatterns)
		}
		targets := slices.Clone(r.Targets)
		for _, c := range r.Columns {
			parts, err := parseColumn(c)
			if err != nil {
				return nil, fmt.Errorf("%s: column %q: %w", where, c, err)
			}
			s.columns = append(s.columns, columnRule{targets: targets, parts: parts, name: c, op: op})
		}
		for _, f := range r.Fields {
			if err := s.addField(f, targets, op); err != nil {
				return nil, fmt.Errorf("%s: field %q: %w", where, f, err)
			}
		}
		var kinds kindSet
		for _, d := range r.Detect {
			k, ok := parseKind(d)
			if !ok {
				return nil, fmt.Errorf("%s: detect %q is not known: use some of %s", where, d, strings.Join(Types(), ", "))
			}
			kinds |= 1 << k
		}
		if kinds != 0 {
			s.detects = append(s.detects, detectRule{targets: targets, kinds: kinds, op: op})
		}
	}
	return s, nil
}

// addField adds one entry of [Rule.Fields].
func (s *Set) addField(field string, targets []string, op operator) error {
	if len(s.fields) == maxFields {
		return fmt.Errorf("more than %d fields in all", maxFields)
	}
	r, steps, err := parseField(field)
	if err != nil {
		return err
	}
	r.targets, r.op, r.first = targets, op, int32(len(s.steps))
	s.fields = append(s.fields, r)
	steps[len(steps)-1].rule = int32(len(s.fields))
	s.steps = append(s.steps, steps...)
	return nil
}

// oneOf counts the lists that are not empty.
func oneOf(lengths ...int) (n int) {
	for _, l := range lengths {
		if l > 0 {
			n++
		}
	}
	return n
}

// Column gives the name of the column pattern that applies to a column of a
// target (the pattern as it stands in the rule), or "". Where several apply,
// the one with the strictest operator wins, and among those the first.
func (s *Set) Column(target, schema, table, column string) string {
	best := opNone
	name := ""
	for i := range s.columns {
		r := &s.columns[i]
		if r.op > best && glob(r.parts[2], column) && glob(r.parts[1], table) && glob(r.parts[0], schema) && matchTarget(r.targets, target) {
			best, name = r.op, r.name
		}
	}
	return name
}

// operatorFor gives the strictest operator of the rules that carry a pattern
// of this name for a target. A name that no rule carries is redacted: someone
// decided that the column is masked, and not knowing how is no reason to show it.
func (s *Set) operatorFor(target, name string) operator {
	best := opNone
	for i := range s.columns {
		r := &s.columns[i]
		if r.name == name && r.op > best && matchTarget(r.targets, target) {
			best = r.op
		}
	}
	if best == opNone {
		return opRedact
	}
	return best
}

// detection gives, for a target, the operator of each detected kind.
func (s *Set) detection(target string) (ops [kindCount]operator, wanted kindSet) {
	for i := range s.detects {
		r := &s.detects[i]
		if !matchTarget(r.targets, target) {
			continue
		}
		for k := range kind(kindCount) {
			if r.kinds.has(k) {
				ops[k] = max(ops[k], r.op)
			}
		}
		wanted |= r.kinds
	}
	return ops, wanted
}

// derive makes the key of one column or type on one target: equal values are
// equal under one pattern, and say nothing across patterns or targets.
func (s *Set) derive(use, target, name string) []byte {
	h := hmac.New(sha256.New, s.key)
	for _, p := range []string{"doorward mask 1", use, target, name} {
		fmt.Fprintf(h, "%d:%s", len(p), p)
	}
	return h.Sum(nil)
}

func matchTarget(globs []string, target string) bool {
	if len(globs) == 0 {
		return true
	}
	for _, g := range globs {
		if glob(g, target) {
			return true
		}
	}
	return false
}

// glob reports whether name matches a checked pattern. "*" matches anything.
func glob(pattern, name string) bool {
	if pattern == "*" || pattern == name {
		return true
	}
	if !strings.ContainsAny(pattern, `*?[\`) {
		return false
	}
	// path.Match gives "/" a meaning that names do not have.
	ok, err := path.Match(strings.ReplaceAll(pattern, "/", "\x00"), strings.ReplaceAll(name, "/", "\x00"))
	return err == nil && ok
}

func checkGlob(p string) error {
	if p == "" {
		return errors.New("is empty")
	}
	if len(p) > maxPattern {
		return fmt.Errorf("is longer than %d bytes", maxPattern)
	}
	if strings.ContainsRune(p, 0) {
		return errors.New("holds a zero byte")
	}
	if _, err := path.Match(strings.ReplaceAll(p, "/", "\x00"), ""); err != nil {
		return errors.New("is not a valid pattern: * matches anything, ? one character, [ab] a set")
	}
	return nil
}

func parseColumn(c string) (parts [3]string, err error) {
	p := strings.Split(c, ".")
	switch len(p) {
	case 2:
		parts = [3]string{"*", p[0], p[1]}
	case 3:
		parts = [3]string{p[0], p[1], p[2]}
	default:
		return parts, errors.New("write table.column or schema.table.column; each part may be a pattern such as *")
	}
	for _, q := range parts {
		if err := checkGlob(q); err != nil {
			return parts, fmt.Errorf("part %q %w", q, err)
		}
	}
	return parts, nil
}
