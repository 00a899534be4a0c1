package mask

const (
	minPhone = 7
	maxPhone = 15 // E.164
)

// phoneShape is a number as a phone number would be written.
type phoneShape struct {
	start, end int
	lens       [10]int // digits of each group
	ends       [10]int // end of each group
	n          int     // groups
	digits     int
	plus       bool // a country code
	paren      bool // opens with a bracket
	seps       [10]byte
}

// phone looks at a phone number whose first digit is at i.
func (s *search) phone(i int) int {
	var p phoneShape
	if !s.phoneShape(i, &p) {
		return 0
	}
	if p.plus {
		if p.digits >= 8 && (s.ends(p.end) || s.peek(p.end) == '-' && isAlpha(s.peek(p.end+1)) || s.extension(p.end) > p.end) {
			return s.add(kindPhone, p.start, s.extension(p.end))
		}
		return 0
	}
	if end := s.nanp(i, &p); end > 0 {
		return end
	}
	if p.digits < minPhone || p.digits > 13 {
		return 0
	}
	if !s.ends(p.end) && !(s.peek(p.end) == '-' && isAlpha(s.peek(p.end+1)) && p.seps[0] != '-') {
		if s.extension(p.end) == p.end {
			return 0
		}
	}
	k, keyed := s.context(p.start)
	sure := k.has(kindPhone) || s.phoneAfter(p.end)
	if !sure && !keyed && p.n >= 3 {
		first := s.b[i]
		switch {
		case p.paren:
			sure = p.digits >= 8 && p.digits <= 12 && p.n >= 3
		case first == '0' && p.lens[0] >= 2 && p.digits >= 9 && p.digits <= 11 && p.seps[0] != '/' && p.seps[0] != '-':
			sure = p.seps[0] == ' ' || allEqual(p.lens[:p.n], 2)
		}
	}
	if !sure {
		return 0
	}
	if p.n == 1 && p.digits < 10 && k&hintWeak != 0 {
		return 0
	}
	return s.add(kindPhone, p.start, s.extension(p.end))
}

func allEqual(v []int, x int) bool {
	for _, n := range v {
		if n != x {
			return false
		}
	}
	return true
}

// nationalLength is the number of digits after + for country codes where it
// does not vary, or 0.
func nationalLength(v []byte) int {
	switch v[0] {
	case '1', '7':
		return 11
	case '3':
		if v[1] == '3' || v[1] == '4' || v[1] == '2' {
			return 11
		}
	case '4':
		switch v[1] {
		case '4':
			return 12
		case '1', '5', '8':
			return 11
		}
	case '6':
		if v[1] == '1' {
			return 11
		}
	case '9':
		if v[1] == '1' {
			return 12
		}
	}
	return 0
}

// phoneShape reads the groups of a number.
func (s *search) phoneShape(i int, p *phoneShape) bool {
	b := s.b
	p.start = i
	if s.before(p.start) == '(' {
		p.start--
		p.paren = true
	}
	if s.before(p.start) == '+' {
		p.start--
		p.plus = true
		if s.before(p.start) == '(' {
			p.start--
		}
	}
	if p.plus && (isAlnum(s.before(p.start)) || classes[s.before(p.start)]&isLocal != 0 && s.before(p.start) != '\'') {
		return false
	}
	most := maxPhone
	if p.plus && i+2 < len(b) && isDigit(b[i+1]) || p.plus && b[i] == '1' {
		if n := nationalLength(b[i:min(i+2, len(b))]); n > 0 {
			most = n
		}
	}
	at := i
	for {
		g := at
		for at < len(b) && isDigit(b[at]) {
			at++
		}
		if p.digits+at-g > most+2 { // a trunk zero in brackets may be in it
			if p.n == 0 {
				return false
			}
			return p.digits >= minPhone
		}
		p.digits += at - g
		p.lens[p.n], p.ends[p.n] = at-g, at
		p.n++
		p.end = at
		if p.n == len(p.lens) || p.plus && p.digits >= most {
			break
		}
		sep := byte(0)
		q := at
		if s.peek(q) == ')' && (p.n <= 2) {
			q++
			sep = ')'
			p.end = q
		}
		if c := s.peek(q); c == ' ' || c == '-' || c == '.' || c == '/' {
			q++
			sep = c
		}
		if s.peek(q) == '(' && (p.n == 1) && isDigit(s.peek(q+1)) {
			q++
			if sep == 0 {
				sep = '('
			}
			if s.b[q] == '0' && s.peek(q+1) == ')' && most < maxPhone {
				most++ // +41 (0)69: a zero that is not dialled from abroad
			}
		}
		if sep == 0 || !isDigit(s.peek(q)) {
			p.end = at
			break
		}
		p.end = at
		if sep == ' ' && !p.plus && p.n >= 3 && (p.seps[p.n-2] == '.' || p.seps[p.n-2] == '-') {
			break
		}
		if sep == ' ' && p.digits >= minPhone && s.nextIsOther(q) {
			break
		}
		p.seps[p.n-1] = sep
		at = q
	}
	return p.digits >= minPhone
}

// nextIsOther tells whether the digits at i, after a space, begin something of
// their own: a date, a time, an amount.
func (s *search) nextIsOther(i int) bool {
	b := s.b
	g := i
	for g < len(b) && isDigit(b[g]) {
		g++
	}
	c := s.peek(g)
	if c == ':' || (c == '-' || c == '/' || c == '.') && g-i != 3 && isDigit(s.peek(g+1)) {
		return true
	}
	return classes[c]&isWord != 0 || g-i > 5
}

// nanp looks at a North American number: (212) 555-0143, 212-555-0143,
// 212.555.0143, 1-212-555-0143, or ten digits where the context says so.
func (s *search) nanp(i int, p *phoneShape) int {
	k := 0
	switch {
	case p.n >= 4 && (p.lens[0] == 1 && s.b[i] == '1' || p.lens[0] == 3 && hasPrefixAt(s.b, i, "001")):
		k = 1
	case p.n == 1 && p.lens[0] == 10 || p.n >= 2 && p.lens[0] == 10 && p.seps[0] == ' ':
		end := p.ends[0]
		if s.b[i] < '2' || s.b[i+3] < '2' || !s.ends(end) && s.extension(end) == end {
			return 0
		}
		if c, _ := s.context(p.start); c.has(kindPhone) || s.phoneAfter(end) {
			return s.add(kindPhone, p.start, s.extension(end))
		}
		return 0
	}
	if p.n < k+3 || p.lens[k] != 3 || p.lens[k+1] != 3 || p.lens[k+2] != 4 {
		return 0
	}
	end := p.ends[k+2]
	area := s.b[p.ends[k]-3]
	exchange := s.b[p.ends[k+1]-3]
	sep := p.seps[k+1]
	if p.n > k+3 && p.seps[k+2] != ' ' {
		return 0
	}
	if sep == '/' || p.seps[k] == '/' && sep != '-' {
		return 0
	}
	if !p.paren && p.seps[k] != sep && k == 0 && p.seps[k] != '/' {
		return 0
	}
	if !s.ends(end) && s.extension(end) == end {
		return 0
	}
	sure := area >= '2' && (exchange >= '2' || sep == '-' || p.paren)
	if !sure {
		c, _ := s.context(p.start)
		sure = c.has(kindPhone) || s.phoneAfter(end) || k == 1
	}
	if !sure {
		return 0
	}
	return s.add(kindPhone, p.start, s.extension(end))
}

// extension takes in x123, ext. 123 after a number that ends at i.
func (s *search) extension(i int) int {
	p := i
	if s.peek(p) == ' ' {
		p++
	}
	switch {
	case hasPrefixAt(s.b, p, "ext"):
		p += 3
		if s.peek(p) == '.' {
			p++
		}
	case s.peek(p) == 'x' || s.peek(p) == '#':
		p++
	default:
		return i
	}
	if s.peek(p) == ' ' {
		p++
	}
	g := p
	for isDigit(s.peek(p)) && p-g < 6 {
		p++
	}
	if p == g || classes[s.peek(p)]&isWord != 0 {
		return i
	}
	return p
}

// phoneAfter reads the word behind a number: "415 5550 office".
func (s *search) phoneAfter(i int) bool {
	c := s.peek(i)
	if c != ' ' && c != '-' {
		return false
	}
	i++
	if s.peek(i) == '(' {
		i++
	}
	end := i
	for isAlpha(s.peek(end)) && end-i < 10 {
		end++
	}
	var v [16]byte
	switch string(fold(&v, s.b[i:end])) {
	case "office", "mobile", "fax", "cell", "home", "work", "phone":
		return true
	}
	return false
}

// fold writes a short word to v in lower case; a long one is empty.
func fold(v *[16]byte, w []byte) []byte {
	if len(w) > len(v) {
		return nil
	}
	for i, c := range w {
		if isUpper(c) {
			c |= 0x20
		}
		v[i] = c
	}
	return v[:len(w)]
}
