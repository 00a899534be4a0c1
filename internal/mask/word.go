package mask

// word looks at a digit at i inside of a word: an IBAN, a known form of secret,
// an address in hexadecimal groups. The pass goes on after the word.
func (s *search) word(i int) int {
	b := s.b
	start := s.escaped(s.tokenStart(i))
	end := i
	plain := true // hexadecimal, as in a UUID or a digest
	for end < len(b) && classes[b[end]]&isToken != 0 {
		if c := b[end]; c == '-' {
			if s.peek(end+1) == '-' {
				break
			}
		} else if plain {
			plain = isHex(c)
		}
		end++
	}
	g := i
	for g > start && isAlnum(b[g-1]) {
		g--
	}
	h := i
	for h < end && h-g <= 4 && isHex(b[h]) {
		h++
	}
	if h-g <= 4 && h < len(b) && (b[h] == ':' || b[h] == '-' && h-g == 2 || b[h] == '.' && h-g == 4) && allHex(b[g:h]) {
		if e := s.hexGroups(g); e > 0 {
			return e
		}
	}
	if i == start+2 && isAlpha(b[start]) && isAlpha(b[start+1]) {
		if e := s.iban(start); e > 0 {
			return e
		}
	}
	if s.wanted.has(kindSecret) {
		if end-start >= 16 && !(plain && allHex(b[start:i])) || s.before(start) == '.' || s.peek(end) == '.' {
			if e := s.token(start, end); e > 0 {
				return e
			}
		}
	}
	return max(end, i+1)
}

func allHex(v []byte) bool {
	for _, c := range v {
		if !isHex(c) {
			return false
		}
	}
	return true
}

// token looks for a known form of secret in a run of letters, digits, _ and -:
// at its start, and after each _ and - in it.
func (s *search) token(start, end int) int {
	b := s.b
	if s.before(start) == '.' { // SG.xxx.yyy, hvs.xxx
		p := max(s.runStart(start-1, isWord), start-6)
		if n := start - p; n <= 5 {
			if e := s.prefixed(p); e > 0 {
				return s.add(kindSecret, p, e)
			}
		}
	}
	for p := start; p < end; p++ {
		if p > start && b[p-1] != '_' && b[p-1] != '-' {
			continue
		}
		if end-p < 12 && s.peek(end) != '.' {
			break
		}
		if e := s.prefixed(p); e > 0 {
			return s.add(kindSecret, p, e)
		}
	}
	return 0
}

// iban looks at an IBAN at p: country, length and the mod-97 check; compact,
// or in groups of four. Where the check fails, the context can still say it.
func (s *search) iban(p int) int {
	b := s.b
	if p+15 > len(b) || !isDigit(b[p+2]) || !isDigit(b[p+3]) {
		return 0
	}
	if c := s.before(p); classes[c]&isToken != 0 && s.escaped(p-1) != p {
		return 0
	}
	want := ibanLength(b[p]&^0x20, b[p+1]&^0x20)
	if want == 0 {
		return 0
	}
	rem := func(r int, c byte) int {
		switch {
		case isDigit(c):
			return (r*10 + int(c-'0')) % 97
		default:
			return (r*100 + int(c&^0x20-'A') + 10) % 97
		}
	}
	r, n, i := 0, 0, p
	sep := byte(0)
	for n < want {
		c := s.peek(i)
		if !isAlnum(c) {
			if n == 0 || n%4 != 0 || (c != ' ' && c != '-') || sep != 0 && c != sep || n > 4 && sep == 0 {
				return 0
			}
			sep = c
			i++
			continue
		}
		if n >= 4 {
			if sep != 0 && n%4 == 0 && b[i-1] != sep {
				return 0
			}
			r = rem(r, c)
		}
		n++
		i++
	}
	for _, c := range b[p : p+4] {
		r = rem(r, c)
	}
	if c := s.peek(i); classes[c]&isWord != 0 {
		return 0
	}
	if r != 1 {
		if k, _ := s.context(p); !k.has(kindIBAN) {
			return 0
		}
	}
	return s.add(kindIBAN, p, i)
}

// ibanLength is the length of an IBAN by country, or 0.
func ibanLength(a, b byte) int {
	switch string([]byte{a, b}) {
	case "NO":
		return 15
	case "BE":
		return 16
	case "DK", "FI", "FO", "GL", "NL", "SD", "FK":
		return 18
	case "MK", "SI":
		return 19
	case "AT", "BA", "EE", "KZ", "LT", "LU", "XK", "MN":
		return 20
	case "CH", "CR", "HR", "LI", "LV":
		return 21
	case "BG", "BH", "DE", "GB", "GE", "IE", "ME", "RS":
		return 22
	case "AE", "GI", "IL", "IQ", "OM", "SO", "TL":
		return 23
	case "AD", "CZ", "ES", "MD", "PK", "RO", "SA", "SE", "SK", "TN", "VG":
		return 24
	case "PT", "ST", "LY":
		return 25
	case "IS", "TR":
		return 26
	case "DJ", "FR", "GR", "IT", "MC", "MR", "SM", "BI":
		return 27
	case "AL", "AZ", "BY", "CY", "DO", "GT", "HN", "HU", "LB", "PL", "SV", "NI":
		return 28
	case "BR", "EG", "PS", "QA", "UA":
		return 29
	case "JO", "KW", "MU", "YE":
		return 30
	case "MT", "SC":
		return 31
	case "LC":
		return 32
	case "RU":
		return 33
	}
	return 0
}
