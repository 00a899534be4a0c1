package mask

import "bytes"

// Bounds of looking for the name of a column in a table within a text.
const (
	maxTableLine = 4 << 10
	maxTableCell = 64
	maxTableCols = 64
)

// tableState is what is known of the table that a text is. It is read as far
// as a value asks for it and never twice, so that its cost does not grow with
// the number of questions.
type tableState struct {
	started bool
	delim   byte // 0: the text is no table
	headEnd int
	head    [maxTableCols]hint // by column of the first line

	pos    int // read up to here
	line   int // start of the line that pos is in
	col    int
	quoted bool

	insert bool // the line is INSERT INTO t (a, b) VALUES (…), (…)
	depth  int
	list   [maxTableCols]hint // by column of the INSERT
}

// tableHint gives what the name of the column says that a value at i stands
// in, where the text is a table: psql's output, CSV, or an INSERT with a list
// of columns.
func (s *search) tableHint(i int) hint {
	t := &s.table
	if !t.started {
		t.started = true
		s.readHead()
		s.newLine(0)
	}
	if i > t.pos {
		if n := bytes.LastIndexByte(s.b[t.pos:i], '\n'); n >= 0 {
			s.newLine(t.pos + n + 1)
		}
	}
	if t.insert || t.delim != 0 && t.line > t.headEnd {
		for ; t.pos < i; t.pos++ {
			switch c := s.b[t.pos]; {
			case t.insert:
				t.insertByte(c)
			case c == '"':
				t.quoted = !t.quoted
			case c == t.delim && !t.quoted:
				t.col++
			}
		}
	}
	t.pos = max(t.pos, i)
	switch {
	case t.col >= maxTableCols:
		return 0
	case t.insert:
		if t.depth == 1 {
			return t.list[t.col]
		}
		return 0
	case t.delim == 0 || t.line <= t.headEnd:
		return 0
	}
	return t.head[t.col]
}

// readHead reads the names in the first line that is not empty.
func (s *search) readHead() {
	b := s.b
	t := &s.table
	start := 0
	for start < len(b) && (b[start] == '\n' || b[start] == '\r') {
		start++
	}
	n := bytes.IndexByte(b[start:min(len(b), start+maxTableLine)], '\n')
	if n < 0 {
		return
	}
	line := b[start : start+n]
	t.headEnd = start + n
	t.delim = '\t' // also where there is one column
	for _, d := range [...]byte{'\t', '|', ',', ';'} {
		if bytes.IndexByte(line, d) >= 0 {
			t.delim = d
			break
		}
	}
	readNames(&t.head, line, t.delim)
}

// readNames reads what the names in a list say.
func readNames(to *[maxTableCols]hint, list []byte, delim byte) {
	clear(to[:])
	for col := 0; col < maxTableCols; col++ {
		n := bytes.IndexByte(list, delim)
		if n < 0 {
			to[col] = cellHint(list)
			return
		}
		to[col] = cellHint(list[:n])
		list = list[n+1:]
	}
}

// newLine begins a line at i.
func (s *search) newLine(i int) {
	b := s.b
	t := &s.table
	t.pos, t.line, t.col, t.depth, t.quoted, t.insert = i, i, 0, 0, false, false
	if !hasPrefixAt(b, i, "INSERT INTO ") {
		return
	}
	rest := b[i:min(len(b), i+maxTableLine)]
	open := bytes.IndexByte(rest, '(')
	if open < 0 {
		return
	}
	shut := bytes.IndexByte(rest[open:], ')')
	if shut < 0 {
		return
	}
	readNames(&t.list, rest[open+1:open+shut], ',')
	t.insert = true
	t.pos = i + open + shut + 1
}

// insertByte follows the values of an INSERT.
func (t *tableState) insertByte(c byte) {
	switch {
	case c == '\'':
		t.quoted = !t.quoted
	case t.quoted:
	case c == '(':
		if t.depth++; t.depth == 1 {
			t.col = 0
		}
	case c == ')':
		t.depth--
	case c == ',' && t.depth == 1:
		t.col++
	}
}

// cellHint reads the name in a cell. Prose is no name.
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
