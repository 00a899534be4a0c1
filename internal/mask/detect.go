package mask

import (
	"bytes"
	"encoding/binary"
	"math/bits"
)

// search is one pass over a text. It goes forward from one interesting byte
// to the next; what it finds is in order and does not overlap.
type search struct {
	b      []byte
	out    []finding
	from   int // end of the last finding: nothing grows back over it
	wanted kindSet
	hint   hint
	table  tableState
	dull   [alphabets]int // up to here, no secret of an alphabet begins
}

// role is what a byte can be the start of. All bytes with a role lie between
// '-' and '@', which is what makes the test of eight at a time cheap.
type role uint8

const (
	roleNone role = iota
	roleDigit
	roleAt
	roleColon
	roleEqual
	roleDash
	roleClose
)

var roles = func() (r [256]role) {
	for b := '0'; b <= '9'; b++ {
		r[b] = roleDigit
	}
	r['@'], r[':'], r['='], r['-'], r['>'] = roleAt, roleColon, roleEqual, roleDash, roleClose
	return r
}()

const (
	eachByte = 0x0101010101010101
	highBits = 0x80 * eachByte
)

// interesting marks the bytes of w between '-' and '@' by their high bits.
func interesting(w uint64) uint64 {
	low := w &^ highBits
	return (low + (0x80-'-')*eachByte) &^ (low + (0x80-'@'-1)*eachByte) &^ w & highBits
}

// awsPrefix opens the one kind of secret that may hold no interesting byte.
var awsPrefix = []byte("AKIA")

// detect appends the values of the wanted kinds in b to dst.
func detect(dst []finding, b []byte, wanted kindSet, h hint) []finding {
	s := search{b: b, out: dst, wanted: wanted, hint: h}
	aws := len(b)
	if wanted.has(kindSecret) && len(b) >= 20 {
		if k := bytes.Index(b, awsPrefix); k >= 0 {
			aws = k
		}
	}
	for i := 0; ; {
		for i+8 <= len(b) {
			if m := interesting(binary.LittleEndian.Uint64(b[i:])); m != 0 {
				i += bits.TrailingZeros64(m) >> 3
				break
			}
			i += 8
		}
		for i < len(b) && roles[b[i]] == roleNone {
			i++
		}
		for aws < i {
			if aws >= s.from {
				if end := s.prefixed(aws); end > 0 {
					s.add(kindSecret, aws, end)
					i = max(i, end)
				}
			}
			at := aws + 4
			aws = len(b)
			if k := bytes.Index(b[at:], awsPrefix); k >= 0 {
				aws = at + k
			}
		}
		if i >= len(b) {
			return s.out
		}
		next := 0
		switch roles[b[i]] {
		case roleDigit:
			next = s.digit(i)
		case roleAt:
			next = s.at(i, i+1)
		case roleColon:
			next = s.colon(i)
		case roleEqual:
			next = s.assigned(i)
		case roleDash:
			next = s.dash(i)
		case roleClose:
			next = s.tag(i)
		}
		i = max(i+1, next)
	}
}

// add records a finding, if its kind is wanted. Nothing after it may grow
// back over it in either case.
func (s *search) add(k kind, start, end int) int {
	if s.wanted.has(k) {
		s.out = append(s.out, finding{start, end, k})
	}
	s.from = end
	return end
}

// peek is the byte at i, or 0 outside of the text.
func (s *search) peek(i int) byte {
	if uint(i) < uint(len(s.b)) {
		return s.b[i]
	}
	return 0
}

// before is the byte before i, or 0 where a finding or the text begins.
func (s *search) before(i int) byte {
	if i > s.from {
		return s.b[i-1]
	}
	return 0
}

// Classes of bytes, as bits.
const (
	isWord   = 1 << iota // letters, digits, _
	isToken              // those, and -
	isLocal              // of the part of an e-mail address before the @
	isDomain             // of the part after it
	isURLish             // of a URL
	isValue              // of a secret after its name, unquoted
)

var classes = func() (c [256]uint8) {
	for i := range 256 {
		b := byte(i)
		if isAlnum(b) {
			c[i] = isWord | isToken | isLocal | isDomain | isURLish | isValue
		}
		if b > 0x20 && b < 0x7f && bytes.IndexByte([]byte("\"'<>\\^`{|}"), b) < 0 {
			c[i] |= isURLish
		}
		if b > 0x20 && b < 0x7f && bytes.IndexByte([]byte("\"'<>\\`|,;&()[]{}"), b) < 0 {
			c[i] |= isValue
		}
		if b >= 0x80 {
			c[i] |= isURLish
		}
	}
	c['_'] |= isWord | isToken | isLocal
	c['-'] |= isToken | isLocal | isDomain
	c['.'] |= isLocal | isDomain
	c['%'] |= isLocal
	c['+'] |= isLocal
	c['\''] |= isLocal
	return c
}()

// runEnd is the end of the run of a class that begins at i.
func (s *search) runEnd(i int, class uint8) int {
	b := s.b
	for i < len(b) && classes[b[i]]&class != 0 {
		i++
	}
	return i
}

// tokenEnd is the end of a token of letters, digits, _ and single dashes.
func (s *search) tokenEnd(i int) int {
	b := s.b
	for i < len(b) && classes[b[i]]&isToken != 0 {
		if b[i] == '-' && s.peek(i+1) == '-' {
			break
		}
		i++
	}
	return i
}

// runStart is the start of the run of a class that ends before i.
func (s *search) runStart(i int, class uint8) int {
	b := s.b
	for i > s.from && classes[b[i-1]]&class != 0 {
		i--
	}
	return i
}

// tokenStart is the start of the token that ends before i.
func (s *search) tokenStart(i int) int {
	b := s.b
	for i > s.from && classes[b[i-1]]&isToken != 0 {
		if b[i-1] == '-' && i-1 > s.from && b[i-2] == '-' {
			break
		}
		i--
	}
	return i
}

// escaped corrects the start of a word when its first letter belongs to an
// escape such as \n or \u003d in JSON within text.
func (s *search) escaped(start int) int {
	if start == 0 || s.b[start-1] != '\\' {
		return start
	}
	switch s.b[start] {
	case 'n', 'r', 't', 'b', 'f':
		return start + 1
	case 'u':
		if start+5 <= len(s.b) {
			for _, b := range s.b[start+1 : start+5] {
				if !isHex(b) {
					return start
				}
			}
			return start + 5
		}
	}
	return start
}
