package mask

// card looks at a payment card number: a known issuer and length, digits in
// the usual groups, and the Luhn check.
func (s *search) card(n *number) int {
	b := s.b
	g := &n.groups
	if g[0].len() < 4 || n.digits < 12 {
		return 0
	}
	start := g[0].start
	if c := s.before(start); c == '+' {
		return 0
	}
	end := 0
	switch {
	case g[0].len() >= 12 && g[0].len() <= 19:
		end = g[0].end
	case g[0].len() == 4 && n.n >= 3:
		sep := b[g[0].end]
		same := func(k int) bool { return n.n > k && b[g[k-1].end] == sep }
		switch {
		case same(1) && same(2) && g[1].len() == 4 && g[2].len() == 4 && same(3) && g[3].len() == 4:
			end = g[3].end
			if same(4) && g[4].len() == 3 && luhn(b[start:g[4].end]) {
				end = g[4].end
			}
		case same(1) && same(2) && g[1].len() == 6 && (g[2].len() == 5 || g[2].len() == 4):
			end = g[2].end
		case same(1) && same(2) && g[1].len() == 4 && g[2].len() == 5:
			end = g[2].end
		}
		if sep == '/' {
			return 0
		}
	}
	if end == 0 || !s.ends(end) || !luhn(b[start:end]) {
		return 0
	}
	var d [19]byte
	k := 0
	for _, c := range b[start:end] {
		if isDigit(c) {
			d[k] = c
			k++
		}
	}
	switch issuer(d[:k]) {
	case issuerNone:
		if h, _ := s.context(start); !h.has(kindCard) {
			return 0
		}
	case issuerRare:
		if h, _ := s.context(start); !h.has(kindCard) {
			return 0
		}
	}
	return s.add(kindCard, start, end)
}

// luhn checks the digits of v; separators are left out.
func luhn(v []byte) bool {
	sum, double, zero := 0, false, true
	for i := len(v) - 1; i >= 0; i-- {
		c := v[i]
		if !isDigit(c) {
			continue
		}
		d := int(c - '0')
		zero = zero && d == 0
		if double {
			if d *= 2; d > 9 {
				d -= 9
			}
		}
		sum += d
		double = !double
	}
	return sum%10 == 0 && !zero
}

// How sure the leading digits and the length are.
const (
	issuerNone  = iota
	issuerRare  // a card where something says so
	issuerKnown // a card by itself
)

// issuer classifies a number by its leading digits and its length.
func issuer(d []byte) int {
	n := len(d)
	p4 := int(d[0]-'0')*1000 + int(d[1]-'0')*100 + int(d[2]-'0')*10 + int(d[3]-'0')
	p3, p2 := p4/10, p4/100
	switch {
	case d[0] == '4':
		if n == 16 || n == 19 || n == 13 {
			return issuerKnown
		}
	case p2 >= 51 && p2 <= 55 || p4 >= 2221 && p4 <= 2720:
		if n == 16 {
			return issuerKnown
		}
	case p2 == 34 || p2 == 37:
		if n == 15 {
			return issuerKnown
		}
	case p4 == 6011 || p3 >= 644 && p3 <= 649 || p2 == 65:
		if n >= 16 {
			return issuerKnown
		}
	case p4 >= 3528 && p4 <= 3589:
		if n >= 16 {
			return issuerKnown
		}
	case p4 == 2131 || p4 == 1800:
		if n == 15 {
			return issuerKnown
		}
	case p3 >= 300 && p3 <= 305 || p3 == 309 || p2 == 36 || p2 == 38 || p2 == 39:
		if n == 14 {
			return issuerKnown
		}
	case p2 == 62 || p2 == 81:
		if n >= 16 {
			return issuerKnown
		}
	case p2 == 50 || p2 >= 56 && p2 <= 59 || d[0] == '6':
		if n == 16 || n == 18 || n == 19 {
			return issuerKnown
		}
	}
	if n >= 12 {
		return issuerRare
	}
	return issuerNone
}
