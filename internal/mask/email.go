package mask

// at looks at an e-mail address around an @ that stands at i; the domain
// begins at next (the two differ where the @ is written %40 or \u0040).
func (s *search) at(i, next int) int {
	b := s.b
	start := i
	for start > s.from {
		c := b[start-1]
		if classes[c]&isLocal != 0 {
			start--
			continue
		}
		// two-byte UTF-8: accented, Greek, Cyrillic letters
		if c >= 0x80 && c < 0xc0 && start-1 > s.from && b[start-2] >= 0xc3 && b[start-2] <= 0xd3 {
			start -= 2
			continue
		}
		break
	}
	if start < i {
		start = s.escaped(start)
	}
	for start < i && (b[start] == '.' || b[start] == '\'' || b[start] == '-' || b[start] == '+' || b[start] == '%') {
		start++
	}
	if start >= i || b[i-1] == '.' || i-start > 64 {
		return i + 1
	}
	end, dot := next, 0
	for end < len(b) {
		c := b[end]
		if classes[c]&isDomain == 0 {
			if c < 0x80 || c == 0xc2 || c >= 0xe2 && c < 0xe3 {
				break
			}
		} else if c == '.' {
			if end == next || b[end-1] == '.' || b[end-1] == '-' {
				break
			}
			if end+1 >= len(b) || !isAlnum(b[end+1]) && b[end+1] < 0x80 {
				break
			}
			dot = end
		}
		end++
	}
	for end > next && (b[end-1] == '-' || b[end-1] == '.') {
		end--
	}
	if dot == 0 || dot+2 >= end || end-next > 253 {
		return i + 1
	}
	top := b[dot+1 : end]
	if isDigit(top[0]) || fileEnding(top) {
		return i + 1
	}
	for _, c := range top {
		if isDigit(c) && string(top[:2]) != "xn" {
			return i + 1
		}
	}
	if string(b[start:i]) == "git" {
		return end
	}
	return s.add(kindEmail, start, end)
}

// fileEnding tells logo@2x.png from an address.
func fileEnding(top []byte) bool {
	switch string(top) {
	case "png", "jpg", "jpeg", "gif", "svg", "webp", "css", "js":
		return true
	}
	return false
}
