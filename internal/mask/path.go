package mask

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// Bounds of the section's field patterns.
const (
	maxFields = 1000 // in all rules
	maxSteps  = 64   // of one path
)

// step is one step of a path: what it selects below a value. The steps of a
// set stand in one list, those of a path behind each other, so that the index
// of a step says how far a path has come: it is a state of the automaton that
// the paths are.
type step struct {
	name string
	any  bool  // every member and every element
	deep bool  // at any depth
	rule int32 // where it is the last: what it selects is masked by this rule, counted from 1
}

// fieldRule is one entry of [Rule.Fields].
type fieldRule struct {
	targets []string
	method  string // "" or *: any
	path    string // a glob over the path of a request; "": any
	lower   string // the same in lower case
	first   int32  // its first step
	name    string // as it was written
	op      operator
}

// possible says what a path may hold.
const possible = "possible are .name, ['name'], .*, [*] and ..name"

// parseField reads one entry of [Rule.Fields]: a path, or the requests that it
// is limited to, a colon, a blank, and a path.
func parseField(s string) (r fieldRule, steps []step, err error) {
	if len(s) > maxPattern {
		return r, nil, fmt.Errorf("is longer than %d bytes", maxPattern)
	}
	if !utf8.ValidString(s) {
		return r, nil, errors.New("is not UTF-8")
	}
	at := 0
	if !strings.HasPrefix(s, "$") {
		i := strings.Index(s, ": $")
		if i < 0 {
			return r, nil, errors.New("write a path such as $.customer.email, or GET /orders/*: $.customer.email")
		}
		if r.method, r.path, err = parseRequest(s[:i]); err != nil {
			return r, nil, err
		}
		r.lower = lowered(r.path)
		at = i + len(": ")
	}
	if steps, err = parsePath(s, at+len("$")); err != nil {
		return r, nil, err
	}
	r.name = s
	return r, steps, nil
}

// parseRequest reads what stands before a path: METHOD /glob.
func parseRequest(s string) (method, path string, err error) {
	method, path, ok := strings.Cut(s, " ")
	if !ok || !isMethod(method) {
		return "", "", errors.New("before the path stands a method in capital letters, or *, a blank, and a glob: GET /orders/*: $.customer.email")
	}
	if !strings.HasPrefix(path, "/") && !strings.HasPrefix(path, "*") {
		return "", "", fmt.Errorf("the requests %q do not begin with / or *: write GET /orders/*", path)
	}
	if err := checkGlob(path); err != nil {
		return "", "", fmt.Errorf("the requests %q: the glob %w", path, err)
	}
	return method, path, nil
}

// isMethod reports whether s is a method, or * for each.
func isMethod(s string) bool {
	if s == "*" {
		return true
	}
	for i := range len(s) {
		if !isUpper(s[i]) && s[i] != '-' {
			return false
		}
	}
	return s != ""
}

// parsePath reads the steps from byte i of s on: a subset of RFC 9535, 2.5.
func parsePath(s string, i int) (steps []step, err error) {
	if i == len(s) {
		return nil, errors.New("$ is the whole answer: say what of it, " + possible)
	}
	for i < len(s) {
		if len(steps) == maxSteps {
			return nil, fmt.Errorf("has more than %d steps", maxSteps)
		}
		var t step
		from := i
		switch {
		case strings.HasPrefix(s[i:], ".."):
			t.deep = true
			if i += 2; i < len(s) && s[i] == '[' {
				t.name, t.any, i, err = bracket(s, i)
			} else {
				t.name, t.any, i, err = dotted(s, i)
			}
			if err == nil && t.any {
				err = errors.New("everything at any depth cannot be named: name a member, or mask what lies around it, for all below it is masked too")
			}
		case s[i] == '.':
			t.name, t.any, i, err = dotted(s, i+1)
		case s[i] == '[':
			t.name, t.any, i, err = bracket(s, i)
		default:
			err = fmt.Errorf("a step begins with . or [, not with %q; %s", cutRune(s[i:]), possible)
		}
		if err != nil {
			return nil, fmt.Errorf("at byte %d: %w", from+1, err)
		}
		steps = append(steps, t)
	}
	return steps, nil
}

// dotted reads the name, or the *, that follows a dot.
func dotted(s string, i int) (name string, any bool, end int, err error) {
	if i < len(s) && s[i] == '*' {
		return "", true, i + 1, nil
	}
	end = i
	for end < len(s) && (isAlnum(s[end]) || s[end] == '_' || s[end] >= utf8.RuneSelf) {
		end++
	}
	switch {
	case end < len(s) && s[end] != '.' && s[end] != '[', end == i && end < len(s):
		return "", false, 0, fmt.Errorf("%q cannot stand in a name after a dot: write the name as ['…']; %s", cutRune(s[end:]), possible)
	case end == i:
		return "", false, 0, errors.New("there is no name after the dot; " + possible)
	case isDigit(s[i]):
		return "", false, 0, fmt.Errorf("a name after a dot does not begin with a digit: write ['%s'], or [*] for every element of an array", s[i:end])
	}
	return s[i:end], false, end, nil
}

// bracket reads ['name'], ["name"] or [*].
func bracket(s string, i int) (name string, any bool, end int, err error) {
	i++
	switch {
	case strings.HasPrefix(s[i:], "*]"):
		return "", true, i + 2, nil
	case i == len(s) || s[i] != '\'' && s[i] != '"':
		return "", false, 0, errors.New("within [ ] stands a name in quotes, or *: no index, no slice, no list and no filter; " + possible)
	}
	quote := s[i]
	i++
	for end = i; end < len(s) && s[end] != quote; end++ {
		switch {
		case s[end] < ' ':
			return "", false, 0, errors.New("there is a control character in a name: write it as an escape, such as \\n")
		case s[end] == '\\':
			if end++; end == len(s) || s[end] != '\\' && s[end] != quote && !escapeAt(s, end) {
				return "", false, 0, errors.New("there is an escape in a name that is none: \\\\, \\', \\n or \\u00e9")
			}
		}
	}
	if !strings.HasPrefix(s[min(end, len(s)):], string(quote)+"]") {
		return "", false, 0, errors.New("a name in brackets has no end, or is not alone: write ['name']")
	}
	b := unescapeJSON(nil, []byte(s[i:end]))
	if strings.ContainsRune(string(b), utf8.RuneError) {
		return "", false, 0, errors.New("a name holds a character that is none, U+FFFD or half of a pair")
	}
	return string(b), false, end + 2, nil
}

// escapeAt reports whether what follows a backslash is an escape of JSON.
func escapeAt(s string, i int) bool {
	if s[i] == 'u' {
		_, ok := hex4([]byte(s[i+1:min(len(s), i+5)]), 0)
		return ok
	}
	return strings.IndexByte("/bfnrt", s[i]) >= 0
}

// cutRune is the first character of s.
func cutRune(s string) string {
	_, n := utf8.DecodeRuneInString(s)
	return s[:n]
}

// applies reports whether the rule is for a request, METHOD and decoded path.
// One that is not known may be any. Services take paths for the same that
// differ in the case of letters, a slash at the end, a slash twice or a
// parameter after a semicolon: what is masked under one is masked under all.
func (r *fieldRule) applies(request string) bool {
	if request == "" || r.path == "" {
		return true
	}
	method, path, ok := strings.Cut(request, " ")
	if !ok {
		return true
	}
	if r.method != "*" && r.method != method {
		return false
	}
	low := lowered(path)
	return glob(r.path, path) || glob(r.lower, low) || glob(r.lower, plainPath(low))
}

// lowered is s with its ASCII letters in lower case.
func lowered(s string) string {
	b := []byte(s)
	for i, c := range b {
		if isUpper(c) {
			b[i] = c | 0x20
		}
	}
	return string(b)
}

// plainPath is a path without parameters of its parts, empty parts, and a
// slash at its end.
func plainPath(p string) string {
	b := make([]byte, 0, len(p))
	for part := range strings.SplitSeq(p, "/") {
		if part, _, _ = strings.Cut(part, ";"); part != "" {
			b = append(append(b, '/'), part...)
		}
	}
	if len(b) == 0 {
		return "/"
	}
	return string(b)
}

// Fields reports whether any field rule applies to the target at all. Where
// one does, an answer of it that is not JSON is not trusted: nobody knows
// where the fields stand in it.
func (s *Set) Fields(target string) bool {
	for i := range s.fields {
		if matchTarget(s.fields[i].targets, target) {
			return true
		}
	}
	return false
}
