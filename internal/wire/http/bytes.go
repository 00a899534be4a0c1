package http

// The bytes of a token (RFC 9110, 5.6.2), a bit for each of ASCII.
const (
	tokenLow = uint64(1<<10-1)<<'0' |
		1<<'!' | 1<<'#' | 1<<'$' | 1<<'%' | 1<<'&' | 1<<'\'' | 1<<'*' | 1<<'+' | 1<<'-' | 1<<'.'
	tokenHigh = uint64(1<<26-1)<<('A'-64) | uint64(1<<26-1)<<('a'-64) |
		1<<('^'-64) | 1<<('_'-64) | 1<<('`'-64) | 1<<('|'-64) | 1<<('~'-64)
)

// inToken tells whether a token may hold c. A shift by 64 or more gives zero.
func inToken(c byte) bool {
	return uint64(1)<<c&tokenLow|uint64(1)<<(c-64)&tokenHigh != 0
}

func isToken(s string) bool {
	for i := range len(s) {
		if !inToken(s[i]) {
			return false
		}
	}
	return s != ""
}

// isText tells whether v holds nothing but VCHAR, SP, HTAB and obs-text (RFC
// 9110, 5.5): what a field value and a reason phrase may hold.
func isText[T string | []byte](v T) bool {
	i := 0
	// Eight bytes at once: none may be below 0x20 or be 0x7f. A tab is below
	// 0x20 too, so a hit is left to the loop after it.
	for ; i+8 <= len(v); i += 8 {
		x := uint64(v[i]) | uint64(v[i+1])<<8 | uint64(v[i+2])<<16 | uint64(v[i+3])<<24 |
			uint64(v[i+4])<<32 | uint64(v[i+5])<<40 | uint64(v[i+6])<<48 | uint64(v[i+7])<<56
		del := x ^ 0x7f7f7f7f7f7f7f7f
		if ((x-0x2020202020202020)&^x|(del-0x0101010101010101)&^del)&0x8080808080808080 != 0 {
			break
		}
	}
	for ; i < len(v); i++ {
		if c := v[i]; c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}

// is compares with a lower-case ASCII text, without regard to case.
func is[T string | []byte](s T, lower string) bool {
	if len(s) != len(lower) {
		return false
	}
	for i := range len(lower) {
		if c := s[i]; c != lower[i] && (c < 'A' || c > 'Z' || c+('a'-'A') != lower[i]) {
			return false
		}
	}
	return true
}

// hasToken tells whether a comma-separated list holds this token, given in
// lower case.
func hasToken(list, lower string) bool {
	for from, i := 0, 0; i <= len(list); i++ {
		if i < len(list) && list[i] != ',' {
			continue
		}
		a, b := trim(list, from, i)
		if is(list[a:b], lower) {
			return true
		}
		from = i + 1
	}
	return false
}

// trim moves both ends of s[a:b] past spaces and tabs.
func trim[T string | []byte](s T, a, b int) (int, int) {
	for a < b && (s[a] == ' ' || s[a] == '\t') {
		a++
	}
	for a < b && (s[b-1] == ' ' || s[b-1] == '\t') {
		b--
	}
	return a, b
}

// hex is the value of one hexadecimal digit.
func hex(c byte) (int64, bool) {
	switch {
	case '0' <= c && c <= '9':
		return int64(c - '0'), true
	case 'a' <= c && c <= 'f':
		return int64(c-'a') + 10, true
	case 'A' <= c && c <= 'F':
		return int64(c-'A') + 10, true
	}
	return 0, false
}
