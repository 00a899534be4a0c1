package mask

import (
	"bytes"
	"sort"
)

// Bounds of a stream.
const (
	streamHold    = 64 << 10 // most that is held back while a line, or a key, has no end
	streamContext = 256      // stays in sight around a border: of what was sent, and behind a forced one
)

// Stream masks text that comes in pieces, such as the output of a command:
// values are found across the borders of pieces and of terminal escape
// sequences. It holds the last line back until it is whole, or until Flush. Not
// for concurrent use.
type Stream struct {
	c     scanner
	on    bool
	sent  []byte // the end of what was sent, unmasked and without escape sequences
	held  []byte // what came and was not sent
	plain []byte // a text without its escape sequences
	cuts  []cut  // where these were
}

// Stream starts masking the text of one stream of a target.
func (s *Set) Stream(target string) *Stream {
	t := &Stream{}
	t.c.init(s, target)
	t.on = t.c.wanted != 0
	return t
}

// Detects reports whether values are looked for in what this target sends.
func (s *Set) Detects(target string) bool {
	_, wanted := s.detection(target)
	return wanted != 0
}

// Write takes a piece and appends to dst what can be sent by now.
func (t *Stream) Write(dst, piece []byte) []byte {
	if !t.on {
		return append(dst, piece...)
	}
	t.held = append(t.held, piece...)
	if len(t.held) <= streamHold && !bytes.ContainsAny(piece, "\n\r") {
		return dst // no need to look at all that is held for each of many small pieces
	}
	for {
		end := bytes.LastIndexAny(t.held, "\n\r") + 1
		end = t.keyBorder(end)
		switch {
		case end > 0:
			dst = t.send(dst, end, end)
		case len(t.held) > streamHold:
			dst = t.send(dst, t.force(), len(t.held))
		default:
			return dst
		}
		if len(t.held) <= streamHold {
			return dst
		}
	}
}

// Flush appends what is held back: at the end of the stream, or when nothing
// more has come for a while. A value that goes on afterwards is still seen, but
// its beginning was sent.
func (t *Stream) Flush(dst []byte) []byte {
	if !t.on || len(t.held) == 0 {
		return dst
	}
	return t.send(dst, len(t.held), len(t.held))
}

// Held is how many bytes wait.
func (t *Stream) Held() int { return len(t.held) }

var (
	keyBegin = []byte("-----BEGIN ")
	keyEnd   = []byte("-----END ")
	keyWord  = []byte("PRIVATE KEY")
)

// keyBorder moves a border back to the front of a private key that has no end
// before it: a key is one value of many lines.
func (t *Stream) keyBorder(end int) int {
	if !t.c.wanted.has(kindSecret) {
		return end
	}
	b := t.held[:end]
	i := bytes.LastIndex(b, keyBegin)
	if i < 0 || bytes.Contains(b[i:], keyEnd) {
		return end
	}
	line := b[i:]
	if k := bytes.IndexByte(line, '\n'); k >= 0 {
		line = line[:k]
	}
	if !bytes.Contains(line, keyWord) {
		return end
	}
	if len(t.held)-i > streamHold {
		return end // it is no key, or not one that can be held
	}
	return bytes.LastIndexByte(b[:i], '\n') + 1
}

// force finds a border in a line that is too long to be held. What stands
// behind it is enough to see which values reach over it, and the border is
// moved out of them.
func (t *Stream) force() int {
	before := len(t.sent)
	text := append(t.sent, t.held...)
	plain := t.strip(text)
	first := t.plainAt(before, len(plain)) // where the held begins
	p := len(plain) - streamContext
	if p <= first { // nearly all of it is escape sequences
		p = t.plainAt(len(text)-streamContext, len(plain))
	}
	// After a blank if there is one: what grows without blanks, such as a
	// token, may not be known for a value by its first part.
	low := max(first, p-streamHold/2)
	if i := bytes.LastIndexAny(plain[low:max(low, p)], " \t,;"); i >= 0 {
		p = low + i + 1
	}
	t.c.found = detect(t.c.found[:0], plain, t.c.wanted, 0)
	for _, f := range t.c.found {
		if f.start < p && p < f.end {
			p = f.start
			if p <= first { // it has begun before, or is longer than what can be held
				p = f.end
			}
			break
		}
	}
	if p <= first || p >= len(plain) {
		return len(t.held)
	}
	return t.rawAt(p) - before
}

// send masks and sends what is held up to end. Values are looked for in what is
// held up to seen, so that they are the same on both sides of a forced border.
func (t *Stream) send(dst []byte, end, seen int) []byte {
	before := len(t.sent)
	text := append(t.sent, t.held[:seen]...)
	dst = t.maskTo(dst, text, before, before+end)
	t.sent = t.context(text[:before+end])
	t.held = append(t.held[:0], t.held[end:]...)
	if cap(t.held) > 2*streamHold && len(t.held) < 1024 {
		t.held = append([]byte(nil), t.held...)
		t.sent = append([]byte(nil), t.sent...)
	}
	return dst
}

// context is what stays in sight of a text that was sent, in its place: its last
// bytes without escape sequences, for these may be any number between a name and
// its value, and the sequence at its end, which may not be whole yet.
func (t *Stream) context(text []byte) []byte {
	tail := len(text)
	if i := bytes.LastIndexByte(text, 0x1b); i >= 0 && i+escape(text[i:]) == len(text) {
		tail = i
	}
	plain := t.strip(text[:tail])
	plain = plain[max(0, len(plain)-streamContext):]
	return append(append(text[:0], plain...), text[tail:]...)
}

// mask appends text from the byte `from` on; what is before that was sent.
func (t *Stream) mask(dst, text []byte, from int) []byte {
	return t.maskTo(dst, text, from, len(text))
}

// maskTo appends text[from:to]; what is before was sent, and what is behind only
// says where values end. No value reaches over to.
func (t *Stream) maskTo(dst, text []byte, from, to int) []byte {
	plain := t.strip(text)
	c := &t.c
	c.found = detect(c.found[:0], plain, c.wanted, 0)
	for _, f := range c.found {
		start, end := t.rawAt(f.start), t.rawAt(f.end-1)+1
		if end <= from {
			continue
		}
		if start >= to {
			break
		}
		if start >= from {
			dst = append(dst, text[from:start]...)
		}
		dst = c.ops[f.kind].appendText(dst, plain[f.start:f.end], f.kind)
		if len(t.cuts) > 0 {
			dst = appendEscapes(dst, text[max(start, from):end])
		}
		from = end
	}
	return append(dst, text[min(from, to):to]...)
}

// cut is a place where escape sequences were taken out of a text.
type cut struct {
	plain int // the first byte after it, in the plain text
	skip  int // how many bytes were taken out up to here
}

// strip gives text without its escape sequences, and notes where they stood.
func (t *Stream) strip(text []byte) []byte {
	t.cuts = t.cuts[:0]
	i := bytes.IndexByte(text, 0x1b)
	if i < 0 {
		return text
	}
	t.plain = append(t.plain[:0], text[:i]...)
	for i < len(text) {
		at := i
		for n := escape(text[i:]); n > 0; n = escape(text[i:]) {
			i += n
		}
		if i > at {
			t.cuts = append(t.cuts, cut{len(t.plain), i - len(t.plain)})
		}
		next := bytes.IndexByte(text[i:], 0x1b)
		if next < 0 {
			next = len(text) - i
		}
		t.plain = append(t.plain, text[i:i+next]...)
		i += next
	}
	return t.plain
}

// rawAt says where the byte p of the plain text stands in the text that was
// stripped last.
func (t *Stream) rawAt(p int) int {
	k := sort.Search(len(t.cuts), func(k int) bool { return t.cuts[k].plain > p })
	if k == 0 {
		return p
	}
	return p + t.cuts[k-1].skip
}

// plainAt is the first of the n bytes of the plain text that does not stand
// before raw.
func (t *Stream) plainAt(raw, n int) int {
	return sort.Search(n, func(p int) bool { return t.rawAt(p) >= raw })
}

// appendEscapes appends the escape sequences of text: colours that were set
// inside of a value stay set after it.
func appendEscapes(dst, text []byte) []byte {
	for i := 0; i < len(text); {
		if n := escape(text[i:]); n > 0 {
			dst = append(dst, text[i:i+n]...)
			i += n
			continue
		}
		i++
	}
	return dst
}

// maxCSI bounds a control sequence.
const maxCSI = 48

// escape is the length of the escape sequence at the start of b (ECMA-48), or
// 0. Of strings, such as OSC, it is the introducer only: what a string holds is
// text that somebody may read.
func escape(b []byte) int {
	if len(b) == 0 || b[0] != 0x1b {
		return 0
	}
	if len(b) == 1 {
		return 1
	}
	switch c := b[1]; {
	case c == '[':
		// Parameters, then intermediate bytes, then one that ends it. What is no
		// such sequence, or holds a number that no terminal knows, is text: a
		// value could stand in it.
		digits, between := 0, false
		for i := 2; i < len(b) && i < maxCSI; i++ {
			switch x := b[i]; {
			case x >= 0x40 && x <= 0x7e:
				return i + 1
			case x >= 0x20 && x <= 0x2f:
				between = true
			case between || x < 0x30 || x > 0x3f:
				return 2
			case x <= '9':
				if digits++; digits > 5 {
					return 2
				}
			default:
				digits = 0
			}
		}
		if len(b) < maxCSI {
			return len(b) // it is not whole yet
		}
		return 2
	case c >= 0x20 && c <= 0x2f:
		return min(len(b), 3)
	}
	return 2
}
