package mask

import "bytes"

// Bounds of looking for the name of a column in a table within a text.
const (
	maxTableLine = 8 << 10
	maxTableCell = 64
)

// tableHead is what is known of the first line of a text. It is found when the
// first value asks for it.
type tableHead struct {
	known bool
	delim byte // 0: the text is no table
	start int
	end   int
}

// tableHint reads the name of the column that a value at i stands in, where
// the text is a table: psql's output, CSV, or an INSERT with a list of columns.
func (s *search) tableHint(i int) hint {
	b := s.b
	line := i
	for line > 0 && b[line-1] != '\n' {
		line--
		if i-line > maxTableLine {
			return 0
		}
	}
	if hasPrefixAt(b, line, "INSERT INTO ") {
		return s.insertHint(line, i)
	}
	h := &s.head
	if !h.known {
		h.known = true
		s.readHead()
	}
	if h.delim == 0 || line <= h.end {
		return 0
	}
	col, quoted := 0, false
	for _, c := range b[line:i] {
		if c == '"' {
			quoted = !quoted
		} else if c == h.delim && !quoted {
			col++
		}
	}
	for p := h.start; p < h.end; col-- {
		q := p
		for q < h.end && b[q] != h.delim {
			q++
		}
		if col == 0 {
			return cellHint(b[p:q])
		}
		p = q + 1
	}
	return 0
}

// readHead looks at the first line of the text that is not empty.
func (s *search) readHead() {
	b := s.b
	h := &s.head
	for h.start < len(b) && (b[h.start] == '\n' || b[h.start] == '\r') {
		h.start++
	}
	n := bytes.IndexByte(b[h.start:min(len(b), h.start+maxTableLine)], '\n')
	if n < 0 {
		return
	}
	h.end = h.start + n
	for _, d := range [...]byte{'\t', '|', ',', ';'} {
		if bytes.IndexByte(b[h.start:h.end], d) >= 0 {
			h.delim = d
			return
		}
	}
	h.delim = '\t' // one column
}

// cellHint reads the name in a cell of the first line. Prose is no name.
func cellHint(cell []byte) hint {
	cell = bytes.Trim(cell, " \"\r'`")
	if len(cell) == 0 || len(cell) > maxTableCell {
		return 0
	}
	spaces := 0
	for _, c := range cell {
		if classes[c]&isToken == 0 && c != ' ' && c != '.' {
			return 0
		}
		if c == ' ' {
			spaces++
		}
	}
	if spaces > 2 {
		return 0
	}
	return nameHint(cell)
}

// insertHint finds the column of a value in INSERT INTO t (a, b) VALUES (…), (…).
func (s *search) insertHint(line, i int) hint {
	b := s.b
	list := bytes.IndexByte(b[line:i], '(')
	if list < 0 {
		return 0
	}
	list += line + 1
	shut := bytes.IndexByte(b[list:i], ')')
	if shut < 0 {
		return 0
	}
	shut += list
	col, depth, quoted := 0, 0, false
	for _, c := range b[shut+1 : i] {
		switch {
		case c == '\'':
			quoted = !quoted
		case quoted:
		case c == '(':
			if depth++; depth == 1 {
				col = 0
			}
		case c == ')':
			depth--
		case c == ',' && depth == 1:
			col++
		}
	}
	if depth != 1 {
		return 0
	}
	for p := list; p < shut; col-- {
		q := p
		for q < shut && b[q] != ',' {
			q++
		}
		if col == 0 {
			return cellHint(b[p:q])
		}
		p = q + 1
	}
	return 0
}
