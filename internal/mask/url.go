package mask

// colon looks at what a colon can stand in: a URL, an IPv6 or MAC address that
// begins with letters, or the name of a secret.
func (s *search) colon(i int) int {
	b := s.b
	if i+3 < len(b) && b[i+1] == '/' && b[i+2] == '/' {
		return s.url(i)
	}
	if i+1 < len(b) && (isHex(b[i+1]) || b[i+1] == ':') {
		start := i
		for start > s.from && i-start < 5 && isHex(b[start-1]) {
			start--
		}
		if i-start <= 4 {
			if end := s.hexGroups(s.escaped(start)); end > 0 {
				return end
			}
		}
	}
	return s.assigned(i)
}

// maxURL is how far a URL is read that is not looked for as such.
const maxURL = 2048

// url looks at a URL around "://" at i. One that carries a password is a
// secret as a whole.
func (s *search) url(i int) int {
	b := s.b
	start := i
	for start > s.from && (isAlnum(b[start-1]) || b[start-1] == '+' || b[start-1] == '-' || b[start-1] == '.') && i-start < 40 {
		start--
	}
	if start < i {
		start = s.escaped(start)
	}
	for start < i && !isAlpha(b[start]) {
		start++
	}
	if i-start < 2 {
		return i + 3
	}
	if c := s.peek(i + 3); !isAlnum(c) && c < 0x80 && c != '[' && c != ':' && c != '_' && c != '%' {
		return i + 3
	}
	most := len(b)
	if !s.wanted.has(kindURL) {
		most = min(most, i+maxURL) // it is looked into again
	}
	end := i + 3
	brackets := 0
	at, pass, slash := 0, 0, 0
	authority := true
	for end < most && classes[b[end]]&isURLish != 0 {
		switch b[end] {
		case '/', '?', '#':
			if authority {
				authority, slash = false, end
			}
		case '@':
			if authority || at == 0 && pass > 0 && end-i < 300 {
				at = end
			}
		case ':':
			if authority && pass == 0 {
				pass = end
			}
		case '(', '[':
			brackets++
		case ')', ']':
			if brackets--; brackets < 0 {
				goto done
			}
		case ',':
			// More often the end of a field than a part of the URL; in front
			// of the path it separates the hosts of a connection string.
			if !authority || at == 0 {
				goto done
			}
		}
		end++
	}
done:
	for end > i+3 {
		switch b[end-1] {
		case '.', ',', ';', ':', '!', '?', '*':
			end--
			continue
		}
		break
	}
	if end <= i+3 {
		return i + 3
	}
	if slash > pass && at > slash && allDigits(b[pass+1:slash]) {
		at = 0 // a port, and an @ in the path
	}
	if pass > 0 && at > pass+1 && at < end {
		return s.add(kindSecret, start, end)
	}
	if hasPrefixAt(b, i+3, "hooks.slack.com/services/") {
		return s.add(kindSecret, start, end)
	}
	if !s.wanted.has(kindURL) {
		return i + 3 // look inside
	}
	return s.add(kindURL, start, end)
}

func hasPrefixAt(b []byte, i int, p string) bool {
	return i >= 0 && len(b)-i >= len(p) && string(b[i:i+len(p)]) == p
}
