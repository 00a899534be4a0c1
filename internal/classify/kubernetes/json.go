package kubernetes

import (
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/doorward/doorward/internal/classify/scan"
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
	p := reader{JSON: scan.JSON{Data: string(data)}}
	n := p.value(0)
	if p.End(); p.Wrong != "" {
		return nil, bad("the body is not JSON as it is let through: %s", p.Wrong)
	}
	return n, nil
}

// reader reads JSON. After a failure it gives nothing any more.
type reader struct {
	scan.JSON
	n int // values so far
}

func (p *reader) fail(what string) *node {
	p.Fail(what)
	return &node{}
}

func (p *reader) value(depth int) *node {
	p.Blanks()
	if p.n++; p.n > maxValues {
		return p.fail("it has too many values")
	}
	if depth > maxDepth {
		return p.fail("it nests too deep")
	}
	if p.At >= len(p.Data) {
		return p.fail("it ends too early")
	}
	switch c := p.Data[p.At]; {
	case c == '{':
		p.At++
		return p.object(depth)
	case c == '[':
		p.At++
		return p.array(depth)
	case c == '"':
		return &node{kind: stringNode, text: p.String()}
	case c == '-' || digit(c):
		return &node{kind: numberNode, text: p.number()}
	}
	for word, kind := range map[string]nodeKind{"null": nullNode, "true": boolNode, "false": boolNode} {
		if strings.HasPrefix(p.Data[p.At:], word) {
			p.At += len(word)
			return &node{kind: kind, text: word}
		}
	}
	return p.fail("no value begins like this")
}

func (p *reader) object(depth int) *node {
	n := newObject()
	seen := map[string]bool{}
	if p.Next('}') {
		return n
	}
	for p.Wrong == "" {
		p.Blanks()
		if p.At >= len(p.Data) || p.Data[p.At] != '"' {
			return p.fail("a key is missing")
		}
		if p.n++; p.n > maxValues {
			return p.fail("it has too many values")
		}
		key := p.String()
		if seen[key] {
			return p.fail("the key " + strconv.Quote(clip(key)) + " stands twice in one object")
		}
		seen[key] = true
		if !p.Next(':') {
			return p.fail("a colon is missing")
		}
		n.keys, n.list = append(n.keys, key), append(n.list, p.value(depth+1))
		if p.Next('}') {
			return n
		}
		if !p.Next(',') {
			return p.fail("a comma or the end of the object is missing")
		}
	}
	return n
}

func (p *reader) array(depth int) *node {
	n := &node{kind: arrayNode}
	if p.Next(']') {
		return n
	}
	for p.Wrong == "" {
		n.list = append(n.list, p.value(depth+1))
		if p.Next(']') {
			return n
		}
		if !p.Next(',') {
			return p.fail("a comma or the end of the array is missing")
		}
	}
	return n
}

func (p *reader) number() string {
	start := p.At
	end := start
	for end < len(p.Data) && strings.IndexByte("+-.eE0123456789", p.Data[end]) >= 0 {
		end++
	}
	s := p.Data[start:end]
	if !jsonNumber(s) {
		p.fail("a number is not written as JSON has it")
		return ""
	}
	p.At = end
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
