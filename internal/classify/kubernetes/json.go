package kubernetes

import (
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// Bounds of a body.
const (
	maxDepth  = 256     // levels of objects and arrays
	maxValues = 200_000 // values and keys of all levels together
)

// nodeKind says what a node is.
type nodeKind uint8

const (
	nullNode nodeKind = iota
	boolNode
	numberNode
	stringNode
	arrayNode
	objectNode
)

// node is one value of a body, in the order in which it was written.
type node struct {
	kind nodeKind
	text string   // of a string: its value; of a number or boolean: as it is written
	keys []string // of an object; each once
	list []*node  // values of an object, in the order of keys, or of an array
}

// get gives the value of a key, or nil.
func (n *node) get(key string) *node {
	if n == nil || n.kind != objectNode {
		return nil
	}
	for i, k := range n.keys {
		if k == key {
			return n.list[i]
		}
	}
	return nil
}

// at gives the value below several keys, or nil.
func (n *node) at(keys ...string) *node {
	for _, k := range keys {
		n = n.get(k)
	}
	return n
}

// set puts a value under a key, in place or at the end.
func (n *node) set(key string, value *node) {
	for i, k := range n.keys {
		if k == key {
			n.list[i] = value
			return
		}
	}
	n.keys, n.list = append(n.keys, key), append(n.list, value)
}

// is reports whether there is a node of this kind.
func (n *node) is(kind nodeKind) bool { return n != nil && n.kind == kind }

func stringOf(s string) *node { return &node{kind: stringNode, text: s} }
func newObject() *node        { return &node{kind: objectNode} }

// readJSON reads one JSON value (RFC 8259), strictly: no key twice in one
// object, valid UTF-8 and whole characters in every string, nothing behind the
// value, and no more levels and values than the bounds.
func readJSON(data []byte) (*node, error) {
	if !utf8.Valid(data) {
		return nil, bad("the body is not valid UTF-8")
	}
	p := reader{data: string(data)}
	n := p.value(0)
	p.blanks()
	if p.err == nil && p.at < len(p.data) {
		p.fail("something stands behind the end of the body")
	}
	if p.err != nil {
		return nil, p.err
	}
	return n, nil
}

// reader reads JSON. After an error it gives nothing any more.
type reader struct {
	data string
	at   int
	n    int // values so far
	err  *Refusal
}

func (p *reader) fail(what string) *node {
	if p.err == nil {
		line := 1 + strings.Count(p.data[:min(p.at, len(p.data))], "\n")
		p.err = bad("the body is not JSON as it is let through: line %d, byte %d: %s", line, p.at, what)
		p.at = len(p.data)
	}
	return &node{}
}

func (p *reader) blanks() {
	for p.at < len(p.data) && strings.IndexByte(" \t\r\n", p.data[p.at]) >= 0 {
		p.at++
	}
}

// next takes c if it comes next, after blanks.
func (p *reader) next(c byte) bool {
	p.blanks()
	if p.at < len(p.data) && p.data[p.at] == c {
		p.at++
		return true
	}
	return false
}

func (p *reader) value(depth int) *node {
	p.blanks()
	if p.n++; p.n > maxValues {
		return p.fail("it has too many values")
	}
	if depth > maxDepth {
		return p.fail("it nests too deep")
	}
	if p.at >= len(p.data) {
		return p.fail("it ends too early")
	}
	switch c := p.data[p.at]; {
	case c == '{':
		p.at++
		return p.object(depth)
	case c == '[':
		p.at++
		return p.array(depth)
	case c == '"':
		return &node{kind: stringNode, text: p.str()}
	case c == '-' || digit(c):
		return &node{kind: numberNode, text: p.number()}
	}
	for word, kind := range map[string]nodeKind{"null": nullNode, "true": boolNode, "false": boolNode} {
		if strings.HasPrefix(p.data[p.at:], word) {
			p.at += len(word)
			return &node{kind: kind, text: word}
		}
	}
	return p.fail("no value begins like this")
}

func (p *reader) object(depth int) *node {
	n := newObject()
	seen := map[string]bool{}
	if p.next('}') {
		return n
	}
	for p.err == nil {
		p.blanks()
		if p.at >= len(p.data) || p.data[p.at] != '"' {
			return p.fail("a key is missing")
		}
		if p.n++; p.n > maxValues {
			return p.fail("it has too many values")
		}
		key := p.str()
		if seen[key] {
			return p.fail("the key " + strconv.Quote(clip(key)) + " stands twice in one object")
		}
		seen[key] = true
		if !p.next(':') {
			return p.fail("a colon is missing")
		}
		n.keys, n.list = append(n.keys, key), append(n.list, p.value(depth+1))
		if p.next('}') {
			return n
		}
		if !p.next(',') {
			return p.fail("a comma or the end of the object is missing")
		}
	}
	return n
}

func (p *reader) array(depth int) *node {
	n := &node{kind: arrayNode}
	if p.next(']') {
		return n
	}
	for p.err == nil {
		n.list = append(n.list, p.value(depth+1))
		if p.next(']') {
			return n
		}
		if !p.next(',') {
			return p.fail("a comma or the end of the array is missing")
		}
	}
	return n
}

// str reads a string, which begins here.
func (p *reader) str() string {
	start := p.at + 1
	end := strings.IndexAny(p.data[start:], "\"\\")
	if end >= 0 && p.data[start+end] == '"' && !control(p.data[start:start+end]) {
		p.at = start + end + 1
		return p.data[start : start+end]
	}
	var b strings.Builder
	for p.at = start; p.at < len(p.data); {
		switch c := p.data[p.at]; {
		case c == '"':
			p.at++
			return b.String()
		case c == '\\':
			p.escape(&b)
		case c < ' ':
			p.fail("a string holds a control character")
			return ""
		default:
			b.WriteByte(c)
			p.at++
		}
	}
	p.fail("a string does not end")
	return ""
}

func control(s string) bool { return strings.ContainsFunc(s, func(c rune) bool { return c < ' ' }) }

func (p *reader) escape(b *strings.Builder) {
	p.at++
	if p.at >= len(p.data) {
		return
	}
	c := p.data[p.at]
	if i := strings.IndexByte(`"\/bfnrt`, c); i >= 0 {
		b.WriteByte("\"\\/\b\f\n\r\t"[i])
		p.at++
		return
	}
	r, ok := p.unicode()
	if ok && utf16.IsSurrogate(r) {
		low, ok2 := p.unicode()
		if r = utf16.DecodeRune(r, low); !ok2 || r == utf8.RuneError {
			ok = false
		}
	}
	if !ok {
		p.fail("a string holds an escape that means nothing")
		return
	}
	b.WriteRune(r)
}

// unicode reads uXXXX, or \uXXXX.
func (p *reader) unicode() (rune, bool) {
	s := strings.TrimPrefix(p.data[min(p.at, len(p.data)):], `\`)
	if len(s) < 5 || s[0] != 'u' {
		return 0, false
	}
	n, err := strconv.ParseUint(s[1:5], 16, 16)
	if err != nil || strings.Trim(s[1:5], "0123456789abcdefABCDEF") != "" {
		return 0, false
	}
	p.at = len(p.data) - len(s) + 5
	return rune(n), true
}

func (p *reader) number() string {
	start := p.at
	end := start
	for end < len(p.data) && strings.IndexByte("+-.eE0123456789", p.data[end]) >= 0 {
		end++
	}
	s := p.data[start:end]
	if !jsonNumber(s) {
		p.fail("a number is not written as JSON has it")
		return ""
	}
	p.at = end
	return s
}

// maxNumber bounds the digits of a number: no field takes more.
const maxNumber = 64

// jsonNumber reports whether s is a number as RFC 8259 writes it.
func jsonNumber(s string) bool {
	if len(s) > maxNumber {
		return false
	}
	s = strings.TrimPrefix(s, "-")
	whole := len(s) - len(strings.TrimLeft(s, "0123456789"))
	if whole == 0 || whole > 1 && s[0] == '0' {
		return false
	}
	s = s[whole:]
	if rest, ok := strings.CutPrefix(s, "."); ok {
		n := len(rest) - len(strings.TrimLeft(rest, "0123456789"))
		if n == 0 {
			return false
		}
		s = rest[n:]
	}
	if s == "" {
		return true
	}
	if s[0] != 'e' && s[0] != 'E' {
		return false
	}
	s = s[1:]
	if s != "" && (s[0] == '+' || s[0] == '-') {
		s = s[1:]
	}
	return s != "" && strings.Trim(s, "0123456789") == ""
}

// writeJSON writes a value so that readers of JSON and of YAML find the same in
// it: YAML takes some characters for line ends, and others it refuses.
func writeJSON(b *strings.Builder, n *node) {
	switch n.kind {
	case nullNode:
		b.WriteString("null")
	case boolNode, numberNode:
		b.WriteString(n.text)
	case stringNode:
		writeString(b, n.text)
	case arrayNode:
		b.WriteByte('[')
		for i, v := range n.list {
			if i > 0 {
				b.WriteByte(',')
			}
			writeJSON(b, v)
		}
		b.WriteByte(']')
	case objectNode:
		b.WriteByte('{')
		for i, k := range n.keys {
			if i > 0 {
				b.WriteByte(',')
			}
			writeString(b, k)
			b.WriteByte(':')
			writeJSON(b, n.list[i])
		}
		b.WriteByte('}')
	}
}

func writeString(b *strings.Builder, s string) {
	const hex = "0123456789abcdef"
	b.WriteByte('"')
	for _, c := range s {
		switch {
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteRune(c)
		case c == '\n':
			b.WriteString(`\n`)
		case c == '\t':
			b.WriteString(`\t`)
		case c == '\r':
			b.WriteString(`\r`)
		case c < ' ' || c >= 0x7f && c < 0xa0 || c == 0x2028 || c == 0x2029 || c == 0xfeff || c == 0xfffe || c == 0xffff:
			b.WriteString(`\u`)
			for shift := 12; shift >= 0; shift -= 4 {
				b.WriteByte(hex[c>>shift&0xf])
			}
		default:
			b.WriteRune(c)
		}
	}
	b.WriteByte('"')
}

// clip shortens a text for a message.
func clip(s string) string {
	const most = 60
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}
