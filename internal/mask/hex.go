package mask

// hexGroups looks at an IPv6 or a MAC address that begins at i. It gives the
// end of what it found, or of a chain of groups that is neither, or 0.
func (s *search) hexGroups(i int) int {
	b := s.b
	switch c := s.before(i); {
	case isAlnum(c) && s.escaped(i-1) != i, c == '_', c == '.', c == ':' && i > 0 && b[i-1] == ':' && b[i] != ':':
		return 0
	}
	if end := s.mac(i); end > 0 {
		return s.add(kindMAC, i, end)
	}
	if s.peek(i) == ':' && s.peek(i+1) != ':' {
		return 0
	}
	_, n, ok := scanV6(b[i:])
	end := i + n
	if !ok || n < 3 {
		return s.hexChain(i)
	}
	if c := s.peek(end); isAlnum(c) || c == '_' || c == ':' && isHex(s.peek(end+1)) {
		return s.hexChain(i)
	}
	digits := 0
	for _, c := range b[i:end] {
		if isDigit(c) {
			digits++
		}
	}
	if digits == 0 {
		return end
	}
	return s.add(kindIP, i, s.prefixLength(end, 128))
}

// hexChain is the end of a long chain such as a fingerprint, or 0: its parts
// are not addresses.
func (s *search) hexChain(i int) int {
	n, end := 0, i
	for {
		g := end
		for isHex(s.peek(g)) {
			g++
		}
		if g-end != 2 {
			break
		}
		n++
		end = g
		if s.peek(g) != ':' {
			break
		}
		end++
	}
	if n >= 6 {
		return end
	}
	return 0
}

// mac gives the end of a MAC address at i, or 0: six or eight pairs.
func (s *search) mac(i int) int {
	b := s.b
	sep := s.peek(i + 2)
	if sep != ':' && sep != '-' {
		return s.ciscoMAC(i)
	}
	pairs, p := 0, i
	for {
		if !isHex(s.peek(p)) || !isHex(s.peek(p+1)) {
			return 0
		}
		p += 2
		pairs++
		if pairs == 9 {
			return 0
		}
		if s.peek(p) != sep || !isHex(s.peek(p+1)) {
			break
		}
		p++
	}
	if (pairs != 6 && pairs != 8) || p < len(b) && (isAlnum(b[p]) || b[p] == '_') {
		return 0
	}
	return p
}

// ciscoMAC is aabb.ccdd.eeff, with at least one letter.
func (s *search) ciscoMAC(i int) int {
	b := s.b
	if i+14 > len(b) || b[i+4] != '.' || b[i+9] != '.' {
		return 0
	}
	letters := 0
	for k, c := range b[i : i+14] {
		if k == 4 || k == 9 {
			continue
		}
		if !isHex(c) {
			return 0
		}
		if !isDigit(c) {
			letters++
		}
	}
	if c := s.peek(i + 14); letters == 0 || isAlnum(c) || c == '_' || c == '.' && isAlnum(s.peek(i+15)) {
		return 0
	}
	return i + 14
}

// prefixLength takes in /24 after an address that ends at i.
func (s *search) prefixLength(i, most int) int {
	if s.peek(i) != '/' {
		return i
	}
	p, n := i+1, 0
	for p < i+4 && isDigit(s.peek(p)) {
		n = n*10 + int(s.b[p]-'0')
		p++
	}
	if c := s.peek(p); p == i+1 || n > most || isAlnum(c) || c == '_' || c == '/' || c == '.' && isDigit(s.peek(p+1)) {
		return i
	}
	return p
}
