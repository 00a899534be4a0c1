package http

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Bounds of a path.
const (
	maxPath     = 4096 // bytes, as it came and as it is sent
	maxSegments = 128
)

// notRaw are the bytes that RFC 3986 lets stand nowhere in a target. Servers
// decode, cut at, or normalise some of them.
const notRaw = "\"<>\\^`{|}#"

// checkRaw wants the bytes that can stand in a path, a query or a form, and
// whole percent escapes. What says where they stand.
func checkRaw(s, what string) *Refusal {
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '#':
			return bad("%s holds a #", what).WithHint("a fragment is not sent; write a # that is meant as %23")
		case c == ';':
			return bad("%s holds a semicolon", what).WithHint("servers take it for the beginning of something else; leave it out of a path, and write it as %3B in a query")
		case c <= ' ' || c > '~' || strings.IndexByte(notRaw, c) >= 0:
			return bad("%s holds the byte %q as it is", what, c).WithHint("encode it, as in %20 for a blank")
		case c == '%':
			if i+2 >= len(s) || !hexDigit(s[i+1]) || !hexDigit(s[i+2]) {
				return bad("%s holds a %% without two hexadecimal digits behind it", what).WithHint("write a % that is meant as %25")
			}
			i += 2
		}
	}
	return nil
}

// parsePath decodes a path, once, and wants one that every server and every
// rule reads in one way.
func parsePath(raw string) (string, *Refusal) {
	if len(raw) > maxPath {
		return "", refuse(statusTooLong, "", "the path has %d bytes; the most is %d", len(raw), maxPath)
	}
	if err := checkRaw(raw, "the path"); err != nil {
		return "", err
	}
	path := raw
	if strings.IndexByte(raw, '%') >= 0 {
		b := make([]byte, 0, len(raw))
		for i := 0; i < len(raw); i++ {
			c := raw[i]
			if c == '%' {
				c = unhex(raw[i+1])<<4 | unhex(raw[i+2])
				i += 2
				if c == '/' {
					return "", bad("the path %.120q holds an encoded slash", raw).WithHint("servers differ in whether it parts two segments; ask for a path without it")
				}
			}
			b = append(b, c)
		}
		path = string(b)
	}
	return path, checkPath(path)
}

// checkPath looks at a decoded path.
func checkPath(p string) *Refusal {
	if p == "" || p[0] != '/' {
		return bad("the path %.80q does not begin with a slash", p)
	}
	if !utf8.ValidString(p) {
		return bad("the path %.120q is not valid UTF-8", p)
	}
	for i, c := range p {
		switch {
		case c == '\\':
			return bad("the path %.120q holds a backslash", p).WithHint("some servers take it for a slash")
		case c == ';':
			return bad("the path %.120q holds a semicolon", p).WithHint("some servers leave it, and what follows, out of the path")
		case c == '?' || c == '#':
			return bad("the path %.120q holds an encoded %c", p, c).WithHint("servers that decode before they route end the path there")
		case unicode.IsControl(c):
			return bad("the path %.120q holds a control character", p)
		case c >= utf8.RuneSelf && confusing(c):
			return bad("the path %.120q holds %U, which is taken for another character, or cannot be seen", p, c).WithHint("leave it out")
		case c == '%' && encodedAgain(p[i+1:]):
			return bad("the path %.120q is encoded twice", p).WithHint("encode it once")
		}
	}
	if p != "/" {
		if err := checkSegments(p); err != nil {
			return err
		}
	}
	if n := sizePath(p); n > maxPath {
		return refuse(statusTooLong, "", "the path has %d bytes; the most is %d", n, maxPath)
	}
	return nil
}

func checkSegments(p string) *Refusal {
	n := strings.Count(p, "/")
	if n > maxSegments {
		return refuse(statusTooLong, "", "the path has %d segments; the most is %d", n, maxSegments)
	}
	rest, more := p[1:], true
	for more {
		var s string
		s, rest, more = strings.Cut(rest, "/")
		switch {
		case s == "":
			if more {
				return bad("the path %.120q holds two slashes in a row", p).WithHint("write one")
			}
		case s == "." || s == "..":
			return bad("the path %.120q holds the segment %q", p, s).WithHint("write the path that is meant")
		case strings.TrimFunc(s, unicode.IsSpace) != s:
			// Some servers take the blank off. And a pattern such as * /status
			// must not find its blank in a path.
			return bad("a segment of the path %.120q begins or ends with a blank", p).WithHint("leave it out")
		case strings.Trim(s, ". ") == "":
			return bad("the path %.120q holds the segment %q", p, s).WithHint("some servers leave dots and blanks at the end of a name out; write the path that is meant")
		}
	}
	return nil
}

// encodedAgain reports whether an escape stands behind a percent sign that was
// itself encoded: %2f, or %u002f as some servers have it.
func encodedAgain(s string) bool {
	if len(s) >= 2 && hexDigit(s[0]) && hexDigit(s[1]) {
		return true
	}
	return len(s) >= 5 && (s[0] == 'u' || s[0] == 'U') && hexDigit(s[1]) && hexDigit(s[2]) && hexDigit(s[3]) && hexDigit(s[4])
}

// lookalikes are characters that some servers turn into / \ . % ; ? or #, by
// the compatibility forms of Unicode (NFKC), by NFC, or by the nearest
// character of a code page.
const lookalikes = "\uFF0F\u2044\u2215\u2100\u2101\u2105\u2106\u29F8" + // slashes, and signs with one in them
	"\uFF3C\uFE68\u2216\u29F5" + // backslashes
	"\uFF0E\uFE52\u2024\u2025\u2026\uFE19\uFE30" + // dots
	"\uFF05\uFE6A" + // percent signs
	"\uFF1B\uFE54\u037E\uFE14" + // semicolons; U+037E is one in NFC too
	"\uFF1F\uFE56\uFE16\uFF03\uFE5F" // question marks and number signs

// confusing reports whether c is not what it looks like, or is not seen: one of
// the lookalikes, a character that turns the direction of a text, one without
// width, or the end of a line.
func confusing(c rune) bool {
	return strings.ContainsRune(lookalikes, c) ||
		unicode.In(c, unicode.Cf, unicode.Zl, unicode.Zp, unicode.Variation_Selector, unicode.Other_Default_Ignorable_Code_Point)
}

func hexDigit(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}

func unhex(c byte) byte {
	switch {
	case c <= '9':
		return c - '0'
	case c >= 'a':
		return c - 'a' + 10
	}
	return c - 'A' + 10
}

func unreserved(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '.' || c == '_' || c == '~'
}

// plainInPath are bytes that stand in a path as they are: pchar of RFC 3986
// without the semicolon, and the slash.
func plainInPath(c byte) bool { return unreserved(c) || strings.IndexByte("!$&'()*+,=:@/", c) >= 0 }

func sizePath(p string) int { return sizeEncoded(p, plainInPath) }

func sizeEncoded(s string, plain func(byte) bool) int {
	n := len(s)
	for i := range len(s) {
		if !plain(s[i]) {
			n += 2
		}
	}
	return n
}

func appendEncoded(b []byte, s string, plain func(byte) bool) []byte {
	const hex = "0123456789ABCDEF"
	for i := range len(s) {
		if c := s[i]; plain(c) {
			b = append(b, c)
		} else {
			b = append(b, '%', hex[c>>4], hex[c&15])
		}
	}
	return b
}
