package http

import (
	"math"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/doorward/doorward/internal/classify/scan"
)

// Bounds of a body that is JSON.
const (
	maxDepth  = 200     // levels of objects and arrays
	maxValues = 200_000 // values of all levels together
)

// Why JSON is not fully known, although it can be read.
const (
	doubtNumber = "The body holds a number that not every reader can keep exactly: of more than about 15 digits, or too large. Send it as a text, or a smaller one."
	doubtCase   = "Two keys of one object in the body differ only in the case of letters, which some services take for one. Send the one that is meant."
)

// readJSON reads one JSON value (RFC 8259), strictly: no key twice in one
// object, valid UTF-8 and whole characters in every string, nothing behind the
// value, and no more levels and values than the bounds. It gives nil, bool,
// int64, float64, string, []any and map[string]any, and what is in doubt about
// them, or "".
func readJSON(data []byte) (v any, doubt string, err *Refusal) {
	if !utf8.Valid(data) {
		return nil, "", bad("the body is not valid UTF-8")
	}
	p := reader{JSON: scan.JSON{Data: string(data)}}
	v = p.value(0)
	if p.End(); p.Wrong != "" {
		return nil, "", bad("the body is not JSON as it is let through: %s", p.Wrong)
	}
	return v, p.doubt, nil
}

// reader reads JSON. After a failure it gives nothing any more.
type reader struct {
	scan.JSON
	n     int // values so far
	doubt string
}

func (p *reader) fail(what string) any {
	p.Fail(what)
	return nil
}

func (p *reader) value(depth int) any {
	p.Blanks()
	if p.n++; p.n > maxValues {
		return p.fail("it has too many values")
	}
	if p.At >= len(p.Data) {
		return p.fail("it ends too early")
	}
	switch c := p.Data[p.At]; {
	case (c == '{' || c == '[') && depth >= maxDepth:
		return p.fail("it nests too deep")
	case c == '{':
		p.At++
		return p.object(depth)
	case c == '[':
		p.At++
		return p.array(depth)
	case c == '"':
		return p.String()
	case c == '-' || c >= '0' && c <= '9':
		return p.number()
	}
	switch rest := p.Data[p.At:]; {
	case strings.HasPrefix(rest, "null"):
		p.At += 4
		return nil
	case strings.HasPrefix(rest, "true"):
		p.At += 4
		return true
	case strings.HasPrefix(rest, "false"):
		p.At += 5
		return false
	}
	return p.fail("no value begins like this")
}

func (p *reader) object(depth int) any {
	out := map[string]any{}
	if p.Next('}') {
		return out
	}
	var folded map[string]bool // made once a key is not in lower case
	for p.Wrong == "" {
		p.Blanks()
		if p.At >= len(p.Data) || p.Data[p.At] != '"' {
			return p.fail("a key is missing")
		}
		key := p.String()
		if _, twice := out[key]; twice {
			return p.fail("the key " + strconv.Quote(clip(key)) + " stands twice in one object")
		}
		folded = p.checkCase(key, out, folded)
		if !p.Next(':') {
			return p.fail("a colon is missing")
		}
		out[key] = p.value(depth + 1)
		if p.Next('}') {
			return out
		}
		if !p.Next(',') {
			return p.fail("a comma or the end of the object is missing")
		}
	}
	return nil
}

// checkCase notes a key that is one of those before but for the case of letters.
// The keys before are in out; folded has them as fold gives them, or is nil while
// that is how they are written.
func (p *reader) checkCase(key string, out map[string]any, folded map[string]bool) map[string]bool {
	f := fold(key)
	if folded == nil {
		if f == key {
			return nil
		}
		folded = make(map[string]bool, len(out)+1)
		for k := range out {
			folded[k] = true
		}
	}
	if folded[f] {
		p.doubt = doubtCase
	}
	folded[f] = true
	return folded
}

func (p *reader) array(depth int) any {
	out := []any{}
	if p.Next(']') {
		return out
	}
	for p.Wrong == "" {
		out = append(out, p.value(depth+1))
		if p.Next(']') {
			return out
		}
		if !p.Next(',') {
			return p.fail("a comma or the end of the array is missing")
		}
	}
	return nil
}

// number reads a number: an int64 when it is written as a whole one that fits,
// and a float64 otherwise. One that the float64 is not is in doubt.
func (p *reader) number() any {
	start := p.At
	digits := func() bool {
		from := p.At
		for p.At < len(p.Data) && p.Data[p.At] >= '0' && p.Data[p.At] <= '9' {
			p.At++
		}
		return p.At > from
	}
	take := func(set string) bool {
		if p.At < len(p.Data) && strings.IndexByte(set, p.Data[p.At]) >= 0 {
			p.At++
			return true
		}
		return false
	}
	const wrong = "a number is not written as JSON has it"
	take("-")
	whole := true
	if !take("0") && !digits() {
		return p.fail(wrong)
	}
	if take(".") {
		if whole = false; !digits() {
			return p.fail(wrong)
		}
	}
	if take("eE") {
		whole = false
		take("+-")
		if !digits() {
			return p.fail(wrong)
		}
	}
	s := p.Data[start:p.At]
	if whole {
		if n, err := strconv.ParseInt(s, 10, 64); err == nil {
			return n
		}
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || math.IsInf(f, 0) || !same(s, f) {
		p.doubt = doubtNumber
	}
	if math.IsInf(f, 0) {
		return nil
	}
	return f
}

// same reports whether f is the number that s writes, as far as its shortest
// form tells.
func same(s string, f float64) bool {
	a, m, ok := significant(s)
	b, n, _ := significant(strconv.FormatFloat(f, 'e', -1, 64))
	return ok && a == b && (m == n || a == "")
}

// significant gives the digits of a number without zeros at the ends, and the
// power of ten of a point before them.
func significant(s string) (digits string, power int, ok bool) {
	s = strings.TrimPrefix(s, "-")
	if i := strings.IndexAny(s, "eE"); i >= 0 {
		n, err := strconv.Atoi(s[i+1:])
		if err != nil || n > 1e6 || n < -1e6 {
			return "", 0, false
		}
		s, power = s[:i], n
	}
	whole, fraction, _ := strings.Cut(s, ".")
	digits = strings.TrimLeft(whole+fraction, "0")
	power += len(whole) - (len(whole) + len(fraction) - len(digits))
	return strings.TrimRight(digits, "0"), power, true
}

// clip shortens a text for a message.
func clip(s string) string {
	const most = 60
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}
