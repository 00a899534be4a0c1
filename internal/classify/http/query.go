package http

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Bounds of a query, and of a form in a body.
const (
	maxQuery = 64 << 10 // bytes of a query, as it came and as it is sent
	maxPairs = 1000
)

// Pair is one parameter of a query or a form, decoded.
type Pair struct {
	Key, Value string
	Bare       bool // there was no '='
}

// parseQuery reads what stands behind the question mark of a target.
func parseQuery(raw string) ([]Pair, *Refusal) {
	if len(raw) > maxQuery {
		return nil, refuse(statusTooLong, "", "the query has %d bytes; the most is %d", len(raw), maxQuery)
	}
	q, err := parsePairs(raw, "the query")
	if err != nil {
		return nil, err
	}
	return q, checkQuery(q)
}

// checkQuery looks at decoded parameters.
func checkQuery(q []Pair) *Refusal {
	if err := checkPairs(q, "the query"); err != nil {
		return err
	}
	n := len(q)
	for i := range q {
		n += sizeEncoded(q[i].Key, plainInQuery) + 1 + sizeEncoded(q[i].Value, plainInQuery)
	}
	if n > maxQuery {
		return refuse(statusTooLong, "", "the query has %d bytes when it is encoded; the most is %d", n, maxQuery)
	}
	return nil
}

// parsePairs reads parameters as the URL standard has them, parted by & only.
// Nothing between two & is no parameter.
func parsePairs(raw, what string) ([]Pair, *Refusal) {
	if raw == "" {
		return nil, nil
	}
	if err := checkRaw(raw, what); err != nil {
		return nil, err
	}
	var out []Pair
	for part := range strings.SplitSeq(raw, "&") {
		if part == "" {
			continue
		}
		if len(out) == maxPairs {
			return nil, bad("%s has more than %d parameters", what, maxPairs)
		}
		key, value, valued := strings.Cut(part, "=")
		out = append(out, Pair{Key: unescape(key), Value: unescape(value), Bare: !valued})
	}
	return out, nil
}

func checkPairs(q []Pair, what string) *Refusal {
	if len(q) > maxPairs {
		return bad("%s has more than %d parameters", what, maxPairs)
	}
	for i := range q {
		p := &q[i]
		switch {
		case p.Bare && (p.Key == "" || p.Value != ""):
			return bad("%s holds a parameter that cannot be written", what)
		case !utf8.ValidString(p.Key) || !utf8.ValidString(p.Value):
			return bad("the parameter %.60q of %s is not valid UTF-8", p.Key, what)
		case strings.ContainsFunc(p.Key, unicode.IsControl):
			return bad("the name of the parameter %.60q of %s holds a control character", p.Key, what)
		case strings.ContainsFunc(p.Value, func(c rune) bool { return unicode.IsControl(c) && c != '\t' && c != '\n' && c != '\r' }):
			return bad("the parameter %.60q of %s holds a control character", p.Key, what)
		case override(p.Key):
			return refuse(statusBad, "send the method that is meant", "the parameter %.60q of %s would change the method", p.Key, what)
		}
	}
	return nil
}

// overrides are names by which frameworks take another method than that of the
// request line, with underscores in place of what override replaces.
var overrides = map[string]bool{
	"_method": true, "_httpmethod": true, "_http_method": true, "_method_override": true,
	"x_http_method": true, "x_http_method_override": true, "x_method_override": true, "http_method_override": true,
}

// override reports whether a parameter, a key of a body or a header is taken
// for the method. PHP leaves blanks in front out, and takes a dot, a blank and a
// bracket for an underscore; brackets at the end make a list for it and for
// Rails.
func override(key string) bool {
	const longest = 64
	if len(key) > longest {
		return false
	}
	key = strings.ToLower(strings.TrimSpace(key))
	if i := strings.LastIndexByte(key, '['); i > 0 {
		key = key[:strings.IndexByte(key[1:], '[')+1]
	}
	return overrides[strings.Map(func(c rune) rune {
		if strings.ContainsRune("-. []", c) {
			return '_'
		}
		return c
	}, key)]
}

// unescape decodes a name or value whose escapes were looked at.
func unescape(s string) string {
	if strings.IndexByte(s, '%') < 0 && strings.IndexByte(s, '+') < 0 {
		return s
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		switch c := s[i]; c {
		case '+':
			b = append(b, ' ')
		case '%':
			b = append(b, unhex(s[i+1])<<4|unhex(s[i+2]))
			i += 2
		default:
			b = append(b, c)
		}
	}
	return string(b)
}

func plainInQuery(c byte) bool { return unreserved(c) || strings.IndexByte("/:@!$'()*,", c) >= 0 }

func appendQuery(b []byte, q []Pair) []byte {
	for i := range q {
		if i > 0 {
			b = append(b, '&')
		}
		b = appendEncoded(b, q[i].Key, plainInQuery)
		if !q[i].Bare {
			b = append(b, '=')
			b = appendEncoded(b, q[i].Value, plainInQuery)
		}
	}
	return b
}
