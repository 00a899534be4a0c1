package cli

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// cleanLine makes text that others wrote safe for one line of a terminal:
// nothing in it can move the cursor, change colours, end the line, hide text
// or reverse its direction. What was there is shown as an escape.
func cleanLine(s string) string { return clean(s, false) }

// cleanText is [cleanLine] for text of several lines: line feeds and tabs stay.
func cleanText(s string) string { return clean(s, true) }

func clean(s string, lines bool) string {
	if plainASCII(s) {
		return s
	}
	var b strings.Builder
	b.Grow(len(s) + 16)
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		switch {
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(&b, `\x%02x`, s[0])
		case lines && (r == '\n' || r == '\t'):
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case r == '\r':
			b.WriteString(`\r`)
		case r < 0x20 || r == 0x7f:
			fmt.Fprintf(&b, `\x%02x`, r)
		case unsafeRune(r):
			fmt.Fprintf(&b, `\u{%x}`, r)
		default:
			b.WriteRune(r)
		}
		s = s[n:]
	}
	return b.String()
}

func plainASCII(s string) bool {
	for i := range len(s) {
		if s[i] < 0x20 || s[i] > 0x7e {
			return false
		}
	}
	return true
}

// unsafeRune: C1 controls, direction overrides and other invisible format
// characters, private use, line and paragraph separators.
func unsafeRune(r rune) bool {
	return unicode.In(r, unicode.Cc, unicode.Cf, unicode.Co, unicode.Cs, unicode.Zl, unicode.Zp)
}

// cleanJSON makes a JSON text safe for a terminal without changing what it
// means: characters beyond ASCII can only stand in strings, where an escape
// says the same.
func cleanJSON(doc []byte) []byte {
	out := make([]byte, 0, len(doc))
	for i := 0; i < len(doc); {
		r, n := utf8.DecodeRune(doc[i:])
		switch {
		case r == 0x7f || (r > 0x7f && r < 0x10000 && unsafeRune(r)):
			out = fmt.Appendf(out, `\u%04x`, r)
		case r >= 0x10000 && unsafeRune(r):
			r -= 0x10000
			out = fmt.Appendf(out, `\u%04x\u%04x`, 0xd800+(r>>10), 0xdc00+(r&0x3ff))
		default:
			out = append(out, doc[i:i+n]...)
		}
		i += n
	}
	return out
}

// short cuts text to n runes for a table.
func short(s string, n int) string {
	r := []rune(s)
	if len(r) <= n {
		return s
	}
	return string(r[:n-1]) + "…"
}
