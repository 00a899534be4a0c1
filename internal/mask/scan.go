package mask

import "sync"

// finding is one detected value.
type finding struct {
	start, end int
	kind       kind
}

// scanner applies the detect rules of one target. Not for concurrent use.
type scanner struct {
	target string
	set    *Set
	ops    [kindCount]transform
	wanted kindSet
	found  []finding
	buf    []byte // decoded text
	out    []byte // masked text
}

func newScanner(s *Set, target string) *scanner {
	c := &scanner{}
	c.init(s, target)
	return c
}

// init makes the scanner serve a target of a set.
func (c *scanner) init(s *Set, target string) {
	if c.set == s && c.target == target {
		return
	}
	c.set, c.target = s, target
	ops, wanted := s.detection(target)
	c.wanted = wanted
	for k, op := range ops {
		c.ops[k] = transform{op: op}
		if op.keyed() {
			c.ops[k].key = newKeyer(s.derive(operatorNames[op], target, "detect "+kind(k).String()))
		}
	}
}

// text appends v with every detected value replaced, and reports whether
// there was any.
func (c *scanner) text(dst, v []byte, h hint) ([]byte, bool) {
	c.found = detect(c.found[:0], v, c.wanted, h)
	if len(c.found) == 0 {
		return append(dst, v...), false
	}
	at := 0
	for _, f := range c.found {
		dst = append(dst, v[at:f.start]...)
		dst = c.ops[f.kind].appendText(dst, v[f.start:f.end], f.kind)
		at = f.end
	}
	return append(dst, v[at:]...), true
}

// workerPool keeps what is used again: scanners for free text, key memories.
type workerPool struct{ pool sync.Pool }

// Text appends src to dst with every detected value replaced: for free text
// such as errors, notices and plans. Safe for concurrent use.
func (s *Set) Text(target string, dst, src []byte) []byte {
	if len(s.detects) == 0 {
		return append(dst, src...)
	}
	c, _ := s.pool.pool.Get().(*scanner)
	if c == nil {
		c = &scanner{}
	}
	c.init(s, target)
	if c.wanted == 0 {
		dst = append(dst, src...)
	} else {
		dst, _ = c.text(dst, src, 0)
	}
	s.pool.pool.Put(c)
	return dst
}

var spanPool sync.Pool

// Detect appends the values of every known type in a text to dst, in order
// and without overlap. Safe for concurrent use.
func Detect(dst []Span, text []byte) []Span { return DetectColumn(dst, text, "") }

// DetectColumn is [Detect] for a value of a column whose name is known: nine
// digits in a column "ssn" are taken for what the name says.
func DetectColumn(dst []Span, text []byte, name string) []Span {
	c, _ := spanPool.Get().(*scanner)
	if c == nil {
		c = &scanner{}
	}
	c.found = detect(c.found[:0], text, allKinds, hintOf(name))
	for _, f := range c.found {
		dst = append(dst, Span{f.start, f.end, f.kind.String()})
	}
	spanPool.Put(c)
	return dst
}

// scanScalar searches a value of one type and replaces what is found. Where
// the form of the value cannot take a replacement, it becomes NULL.
func (p *Plan) scanScalar(dst []byte, k class, bin bool, h hint, v []byte) ([]byte, bool) {
	s := p.scan
	switch k {
	case classText:
		dst, _ = s.text(dst, v, h)
		return dst, false
	case classInet, classCIDR:
		return p.appendScalar(dst, k, bin, s.ops[kindIP], v)
	case classMAC:
		return dst, true
	case classJSON:
		return s.json(dst, v, h)
	case classJSONB:
		if !bin {
			return s.json(dst, v, h)
		}
		if len(v) == 0 || v[0] != 1 {
			return dst, true
		}
		return s.json(append(dst, 1), v[1:], h)
	case classBytea:
		return s.bytea(dst, bin, h, v)
	}
	// XML, and types that are not built in: a composite, an enum, citext,
	// hstore. A replacement of letters, digits and brackets keeps the text
	// form readable; a binary form has lengths inside.
	if !bin {
		dst, _ = s.text(dst, v, h)
		return dst, false
	}
	s.found = detect(s.found[:0], v, s.wanted, h)
	if len(s.found) > 0 {
		return dst, true
	}
	return append(dst, v...), false
}

// bytea searches the bytes themselves, not their hex form.
func (c *scanner) bytea(dst []byte, bin bool, h hint, v []byte) ([]byte, bool) {
	if bin {
		dst, _ = c.text(dst, v, h)
		return dst, false
	}
	var ok bool
	if c.buf, ok = unhexBytea(c.buf[:0], v); !ok {
		return dst, true
	}
	n := len(dst)
	dst, hit := c.text(dst, c.buf, h)
	if !hit {
		return append(dst[:n], v...), false
	}
	c.buf = append(c.buf[:0], dst[n:]...)
	return appendHex(append(dst[:n], `\x`...), c.buf), false
}

// unhexBytea decodes the text form of bytea. The old escape form is refused:
// nobody sends it unless asked to.
func unhexBytea(dst, v []byte) ([]byte, bool) {
	if len(v) < 2 || v[0] != '\\' || v[1] != 'x' || len(v)%2 != 0 {
		return dst, false
	}
	for i := 2; i < len(v); i += 2 {
		if !isHex(v[i]) || !isHex(v[i+1]) {
			return dst, false
		}
		dst = append(dst, hexValue(v[i])<<4|hexValue(v[i+1]))
	}
	return dst, true
}
