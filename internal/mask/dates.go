package mask

// date looks at a date that begins with the first group of n.
func (s *search) date(n *number) int {
	b := s.b
	g := &n.groups
	first := g[0]
	switch first.len() {
	case 4:
		if n.n < 3 || !plausibleYear(number4(b[first.start:])) || g[1].len() > 2 || g[2].len() > 2 {
			return 0
		}
		sep := b[first.end]
		if sep == ' ' || b[g[1].end] != sep || !validDay(value(b, g[1]), value(b, g[2])) {
			return 0
		}
		return s.dateEnd(n, 3, sep)
	case 1, 2:
		if n.n >= 3 && g[1].len() <= 2 && (g[2].len() == 4 || g[2].len() == 2) {
			sep := b[first.end]
			x, y := value(b, first), value(b, g[1])
			if sep != ' ' && b[g[1].end] == sep && (validDay(x, y) || validDay(y, x)) {
				if g[2].len() == 4 && plausibleYear(number4(b[g[2].start:])) {
					return s.dateEnd(n, 3, sep)
				}
				if k, _ := s.context(first.start); g[2].len() == 2 && k.has(kindDate) {
					return s.dateEnd(n, 3, sep)
				}
			}
		}
		return s.monthDate(n)
	case 8:
		v := b[first.start:first.end]
		if n.n > 1 && b[first.end] != ' ' || !plausibleYear(number4(v)) || !validDay(two(v[4:]), two(v[6:])) || !s.ends(first.end) {
			return 0
		}
		if k, _ := s.context(first.start); k.has(kindDate) {
			return s.add(kindDate, first.start, first.end)
		}
	}
	return 0
}

func plausibleYear(y int) bool { return y >= 1800 && y < 2200 }

func validDay(month, day int) bool { return month >= 1 && month <= 12 && day >= 1 && day <= 31 }

func number4(v []byte) int { return two(v)*100 + two(v[2:]) }

func value(b []byte, g group) int {
	n := 0
	for _, c := range b[g.start:g.end] {
		n = n*10 + int(c-'0')
	}
	return n
}

// dateEnd finishes a date of the first k groups: nothing may hang on to it but
// a time of day.
func (s *search) dateEnd(n *number, k int, sep byte) int {
	b := s.b
	end := n.groups[k-1].end
	start := n.groups[0].start
	if c := s.peek(end); c == 'T' && isDigit(s.peek(end+1)) || c == ' ' && isDigit(s.peek(end+1)) {
		return s.add(kindDate, start, s.clock(end))
	}
	if !s.ends(end) || end < len(b) && b[end] == sep && isAlnum(s.peek(end+1)) {
		return 0
	}
	if s.peek(end) == ':' && isDigit(s.peek(end+1)) { // 21/10/2021:09:32:49
		return s.add(kindDate, start, s.clock(end))
	}
	return s.add(kindDate, start, end)
}

// clock is the end of a time of day that stands after one byte at i, or i.
func (s *search) clock(i int) int {
	p := i + 1
	pair := func() bool {
		if isDigit(s.peek(p)) && isDigit(s.peek(p+1)) {
			p += 2
			return true
		}
		return false
	}
	if !pair() || s.peek(p) != ':' {
		return i
	}
	p++
	if !pair() {
		return i
	}
	if s.peek(p) == ':' && isDigit(s.peek(p+1)) {
		p++
		if !pair() {
			return i
		}
		switch {
		case s.peek(p) == '.' && isDigit(s.peek(p+1)):
			for p++; isDigit(s.peek(p)); p++ {
			}
		case s.peek(p) == ',' && s.peek(p+4) == ' ' && allDigits(s.b[p+1:p+4]): // of log lines
			p += 4
		}
	}
	if c := s.peek(p + 1); s.peek(p) == ' ' && (c == '+' || c == '-') && isDigit(s.peek(p+2)) && isDigit(s.peek(p+5)) {
		p++ // of access logs
	}
	switch c := s.peek(p); {
	case c == 'Z' && !isAlnum(s.peek(p+1)):
		p++
	case (c == '+' || c == '-') && isDigit(s.peek(p+1)) && isDigit(s.peek(p+2)):
		p += 3
		if s.peek(p) == ':' && isDigit(s.peek(p+1)) {
			p++
		}
		for isDigit(s.peek(p)) {
			p++
		}
	}
	return p
}

// monthDate looks at dates with the month in letters: 17 March 1984,
// 17-Mar-84, March 17, 1984, 21/Oct/2021:09:32:49.
func (s *search) monthDate(n *number) int {
	b := s.b
	day := n.groups[0]
	if d := value(b, day); d < 1 || d > 31 {
		return 0
	}
	p := day.end
	if c := s.peek(p) | 0x20; isLower(c) && isAlpha(s.peek(p+1)) && !isAlpha(s.peek(p+2)) { // 17th
		switch string([]byte{c, s.peek(p+1) | 0x20}) {
		case "st", "nd", "rd", "th":
			p += 2
		}
	}
	if hasPrefixAt(b, p, " of ") {
		p += 3
	}
	c := s.peek(p)
	if (c == ' ' || c == '-' || c == '/' || c == '.') && isAlpha(s.peek(p+1)) {
		end := p + 1
		for isAlpha(s.peek(end)) {
			end++
		}
		if isMonth(b[p+1 : end]) {
			for i := 0; i < 2 && (s.peek(end) == '.' || s.peek(end) == ',' || s.peek(end) == ' ' || s.peek(end) == c); i++ {
				end++
			}
			if year := s.year(end); year > 0 {
				if s.peek(year) == ':' || s.peek(year) == ' ' {
					year = s.clock(year)
				}
				return s.add(kindDate, day.start, year)
			}
		}
	}
	// March 17, 1984
	q := day.start
	if s.before(q) != ' ' {
		return 0
	}
	q--
	if s.before(q) == '.' {
		q--
	}
	w := q
	for w > s.from && isAlpha(b[w-1]) && q-w < 10 {
		w--
	}
	if q-w < 3 || !isMonth(b[w:q]) || isAlpha(s.before(w)) {
		return 0
	}
	end := p
	if s.peek(end) == ',' {
		end++
	}
	if s.peek(end) != ' ' {
		return 0
	}
	year := s.year(end + 1)
	if year == 0 {
		return 0
	}
	return s.add(kindDate, w, year)
}

// year is the end of a year at i, or 0.
func (s *search) year(i int) int {
	end := i
	for isDigit(s.peek(end)) {
		end++
	}
	if !(end-i == 4 && plausibleYear(number4(s.b[i:]))) && !(end-i == 2 && s.before(i) != ' ') {
		return 0
	}
	if c := s.peek(end); isAlpha(c) || c == '_' {
		return 0
	}
	return end
}

// isMonth knows the English names of months, whole or shortened.
func isMonth(v []byte) bool {
	if len(v) < 3 || len(v) > 9 {
		return false
	}
	var w [9]byte
	for i, c := range v {
		w[i] = c | 0x20
	}
	const names = "january  february march    april    may      june     july     august   septemberoctober  november december "
	for m := 0; m < 12; m++ {
		name := names[m*9 : m*9+9]
		if name[:3] != string(w[:3]) {
			continue
		}
		return len(v) == 3 || len(v) == 4 && string(w[:4]) == "sept" || string(w[:len(v)]) == name[:len(v)] && (len(v) == 9 || name[len(v)] == ' ')
	}
	return false
}
