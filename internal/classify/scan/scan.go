package scan

import (
	"strconv"
	"strings"
)

// Scanner takes a text apart from its front. After a failure it gives nothing
// any more.
type Scanner struct {
	Rest   string
	Failed bool
}

// Word takes prefix if it comes next.
func (s *Scanner) Word(prefix string) bool {
	rest, ok := strings.CutPrefix(s.Rest, prefix)
	if !ok || s.Failed {
		return false
	}
	s.Rest = rest
	return true
}

// Expect takes prefix, or fails.
func (s *Scanner) Expect(prefix string) {
	if !s.Word(prefix) {
		s.Failed = true
	}
}

// Quoted takes a text in quotes, as %q writes it, or fails.
func (s *Scanner) Quoted() string {
	q, err := strconv.QuotedPrefix(s.Rest)
	if err != nil || s.Failed {
		s.Failed = true
		return ""
	}
	s.Rest = s.Rest[len(q):]
	v, err := strconv.Unquote(q)
	if err != nil {
		s.Failed = true
	}
	return v
}

// Span takes the bytes that are in set.
func (s *Scanner) Span(set string) string {
	n := len(s.Rest) - len(strings.TrimLeft(s.Rest, set))
	out := s.Rest[:n]
	s.Rest = s.Rest[n:]
	return out
}

// Letter reports whether c is a letter of ASCII.
func Letter(c byte) bool { return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' }

// Digit reports whether c is a digit of ASCII.
func Digit(c byte) bool { return c >= '0' && c <= '9' }

// Identifier reports whether s can name a shell variable.
func Identifier(s string) bool {
	for i := range len(s) {
		if c := s[i]; c != '_' && !Letter(c) && (i == 0 || !Digit(c)) {
			return false
		}
	}
	return s != ""
}
