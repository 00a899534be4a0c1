package scan

import (
	"fmt"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// JSON reads the parts that every value of JSON is made of (RFC 8259), strictly:
// blanks, signs and strings. What the values become is for whoever reads them.
// After a failure it gives nothing any more.
type JSON struct {
	Data  string // valid UTF-8
	At    int    // of the next byte
	Wrong string // what is wrong first, and where; "" for nothing
}

// Fail notes what is wrong here.
func (p *JSON) Fail(what string) {
	if p.Wrong == "" {
		line := 1 + strings.Count(p.Data[:min(p.At, len(p.Data))], "\n")
		p.Wrong = fmt.Sprintf("line %d, byte %d: %s", line, p.At, what)
		p.At = len(p.Data)
	}
}

// Blanks takes blanks.
func (p *JSON) Blanks() {
	for p.At < len(p.Data) {
		switch p.Data[p.At] {
		case ' ', '\t', '\r', '\n':
			p.At++
		default:
			return
		}
	}
}

// Next takes c if it comes next, after blanks.
func (p *JSON) Next(c byte) bool {
	p.Blanks()
	if p.At < len(p.Data) && p.Data[p.At] == c {
		p.At++
		return true
	}
	return false
}

// End fails if anything but blanks is left.
func (p *JSON) End() {
	p.Blanks()
	if p.Wrong == "" && p.At < len(p.Data) {
		p.Fail("something stands behind the end of the body")
	}
}

// String takes the string that begins here, with its quotes, and gives what it
// says.
func (p *JSON) String() string {
	start := p.At + 1
	for i := start; i < len(p.Data) && p.Data[i] >= ' ' && p.Data[i] != '\\'; i++ {
		if p.Data[i] == '"' {
			p.At = i + 1
			return p.Data[start:i]
		}
	}
	var b strings.Builder
	for p.At = start; p.At < len(p.Data); {
		switch c := p.Data[p.At]; {
		case c == '"':
			p.At++
			return b.String()
		case c == '\\':
			p.escape(&b)
		case c < ' ':
			p.Fail("a string holds a control character")
			return ""
		default:
			b.WriteByte(c)
			p.At++
		}
	}
	p.Fail("a string does not end")
	return ""
}

func (p *JSON) escape(b *strings.Builder) {
	p.At++
	if p.At >= len(p.Data) {
		return
	}
	if i := strings.IndexByte(`"\/bfnrt`, p.Data[p.At]); i >= 0 {
		b.WriteByte("\"\\/\b\f\n\r\t"[i])
		p.At++
		return
	}
	r, ok := p.unicode()
	if ok && utf16.IsSurrogate(r) {
		if ok = strings.HasPrefix(p.Data[p.At:], `\`); ok {
			p.At++
			low, whole := p.unicode()
			r = utf16.DecodeRune(r, low)
			ok = whole && r != utf8.RuneError
		}
	}
	if !ok {
		p.Fail("a string holds an escape that means nothing")
		return
	}
	b.WriteRune(r)
}

// unicode reads uXXXX.
func (p *JSON) unicode() (rune, bool) {
	s := p.Data[min(p.At, len(p.Data)):]
	if len(s) < 5 || s[0] != 'u' {
		return 0, false
	}
	var r rune
	for i := 1; i < 5; i++ {
		d := strings.IndexByte("0123456789abcdef", s[i]|0x20)
		if d < 0 || s[i] < '0' {
			return 0, false
		}
		r = r<<4 | rune(d)
	}
	p.At += 5
	return r, true
}
