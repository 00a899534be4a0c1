package mask

// Bounds of a number that stands in groups.
const (
	maxGroups = 8
	maxDigits = 24
)

// group is a run of digits.
type group struct{ start, end int }

func (g group) len() int { return g.end - g.start }

// number is a run of digits, with the runs that single separators join to it.
type number struct {
	groups [maxGroups]group
	n      int
	digits int
	token  int // end of what no space interrupts
}

// digit looks at what a digit at i can be in. The byte before it is no digit.
func (s *search) digit(i int) int {
	b := s.b
	if i > s.from {
		switch p := b[i-1]; {
		case p == 'u' && hasPrefixAt(b, i-2, `\u0040`): // an escaped @
			return s.at(i-2, i+4)
		case isAlpha(p):
			if w := i - 1; s.escaped(w) != i && !(i >= 6 && s.escaped(i-5) == i) {
				return s.word(i)
			}
		case p == '_':
			return s.word(i)
		case p == '-' || p == '.':
			if i-1 > s.from && (isAlnum(b[i-2]) || b[i-2] == '_') {
				return s.word(i)
			}
		case p == '%' && b[i] == '4' && s.peek(i+1) == '0': // %40 is @
			return s.at(i-1, i+2)
		}
	}
	// Most numbers are short and stand alone, or begin a word: leave early.
	d := i + 1
	for d < len(b) && isDigit(b[d]) {
		d++
	}
	switch c := s.peek(d); {
	case c == '-' || c == '.' || c == '/' || c == ':' || c == ' ':
	case d-i < 7:
		if isAlpha(c) {
			if !isHex(c) && !ordinal(c) {
				return s.tokenEnd(d)
			}
		} else if p := s.before(i); p != ' ' && p != '+' && p != '(' {
			return d
		}
	}
	// Hexadecimal groups that begin with a digit.
	h := i
	for h < len(b) && h-i < 5 && isHex(b[h]) {
		h++
	}
	if h < len(b) && h-i <= 4 && (b[h] == ':' || b[h] == '-' && h-i == 2 || b[h] == '.' && h-i == 4) {
		if end := s.hexGroups(i); end > 0 {
			return end
		}
	}
	if h > d && d-i < 7 && h-i > 4 && !ordinal(s.peek(d)) {
		return s.tokenEnd(h) // a hexadecimal word
	}
	var n number
	s.groups(i, &n)
	if end := s.date(&n); end > 0 {
		return end
	}
	if n.n == 1 && n.digits < 7 && s.before(i) != '+' && s.before(i) != '(' {
		return s.afterNumber(&n)
	}
	if s.peek(n.groups[0].end) == '.' && n.groups[0].len() <= 3 {
		if end := s.ipv4(i); end > 0 {
			return end
		}
	}
	if end := s.card(&n); end > 0 {
		return end
	}
	if end := s.ssn(&n); end > 0 {
		return end
	}
	if end := s.phone(i); end > 0 {
		return end
	}
	return s.afterNumber(&n)
}

// ordinal reports whether a letter can follow the day of a month, or stand
// between a phone number and its extension.
func ordinal(c byte) bool {
	switch c | 0x20 {
	case 's', 'n', 'r', 't', 'x', 'd':
		return true
	}
	return false
}

// groups reads a number. It stops early when it is longer than anything known.
func (s *search) groups(i int, n *number) {
	b := s.b
	spaced := false
	for {
		start := i
		for i < len(b) && isDigit(b[i]) {
			i++
		}
		n.groups[n.n] = group{start, i}
		n.n++
		n.digits += i - start
		if !spaced {
			n.token = i
		}
		if n.n == maxGroups || n.digits > maxDigits || i+1 >= len(b) || !isDigit(b[i+1]) {
			return
		}
		switch b[i] {
		case ' ':
			spaced = true
		case '-', '.', '/':
		default:
			return
		}
		i++
	}
}

// afterNumber is where the pass goes on after a number that was nothing: what
// hangs on to it belongs to it.
func (s *search) afterNumber(n *number) int {
	end := n.token
	for {
		end = s.runEnd(end, isWord)
		c := s.peek(end)
		if classes[c]&isToken == 0 && !((c == '.' || c == '/' || c == ':') && isDigit(s.peek(end+1))) {
			return end
		}
		if c == '-' && s.peek(end+1) == '-' {
			return end
		}
		end++
	}
}

// ends reports whether a value may end at i: no letter, digit or _ follows,
// and no separator with something behind it that belongs to the same token.
func (s *search) ends(i int) bool {
	c := s.peek(i)
	if classes[c]&isWord != 0 || c == '@' {
		return false
	}
	switch c {
	case '-', '.':
		return !isAlnum(s.peek(i+1)) || c == '.' && isUpper(s.peek(i+1))
	case '/':
		return !isDigit(s.peek(i + 1))
	}
	return true
}

// ipv4 looks at a dotted address.
func (s *search) ipv4(i int) int {
	_, n, ok := scanV4(s.b[i:])
	end := i + n
	if !ok || isAlnum(s.peek(end)) || s.peek(end) == '_' {
		return 0
	}
	if c := s.peek(end); (c == '.' || c == '-') && isDigit(s.peek(end+1)) {
		return 0
	}
	// Mozilla/5.0 (…) Chrome/119.0.0.0: a version after the name of a product.
	if s.before(i) == '/' && isAlpha(s.peek(i-2)) {
		return 0
	}
	if c := s.before(i); (c == ' ' || c == ':' || c == '=' || c == '"') && s.versionBefore(i) {
		return 0
	}
	return s.add(kindIP, i, s.prefixLength(end, 32))
}

// ssn looks at a US social security number (or ITIN): 3-2-4, or nine digits
// where the context says so.
func (s *search) ssn(n *number) int {
	b := s.b
	g := &n.groups
	start := g[0].start
	var end int
	sure := false
	switch {
	case n.n >= 3 && g[0].len() == 3 && g[1].len() == 2 && g[2].len() == 4 && b[g[0].end] == b[g[1].end]:
		end = g[2].end
		sep := b[g[0].end]
		sure = sep == '-' || sep == ' '
		if sep == '/' || n.n > 3 && (b[end] == sep || b[end] != ' ') {
			return 0
		}
	case g[0].len() == 9 && (n.n == 1 || b[g[0].end] == ' '):
		end = g[0].end
	default:
		return 0
	}
	if !s.ends(end) || s.before(start) == '+' {
		return 0
	}
	area := b[start : start+3]
	zero := string(area) == "000" || string(b[end-4:end]) == "0000"
	group := string(b[end-6:end-4]) == "00"
	if sure {
		group = string(b[g[1].start:g[1].end]) == "00"
	}
	if !sure || zero || group || string(area) == "666" || area[0] == '9' {
		if k, _ := s.context(start); !k.has(kindSSN) {
			return 0
		}
	}
	return s.add(kindSSN, start, end)
}
