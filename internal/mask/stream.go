package mask

import "bytes"

// Bounds of a stream.
const (
	streamHold    = 64 << 10 // most that is held back while a line, or a key, has no end
	streamContext = 256      // what was sent stays in sight, so that a value that goes on is seen
)

// Stream masks text that comes in pieces, such as the output of a command:
// values are found across the borders of pieces and of terminal escape
// sequences. It holds the last line back until it is whole, or until Flush. Not
// for concurrent use.
type Stream struct {
	c     scanner
	on    bool
	sent  []byte // the end of what was sent, unmasked
	held  []byte // what came and was not sent
	plain []byte // a text without its escape sequences
	at    []int  // where each byte of plain stands in it
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
	for {
		end := bytes.LastIndexAny(t.held, "\n\r") + 1
		end = t.keyBorder(end)
		switch {
		case end > 0:
		case len(t.held) > streamHold:
			end = t.force()
		default:
			return dst
		}
		dst = t.send(dst, end)
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
	return t.send(dst, len(t.held))
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

// force finds a border in a line that is too long to be held: after the last
// blank, or anywhere.
func (t *Stream) force() int {
	if i := bytes.LastIndexAny(t.held, " \t,;"); i > len(t.held)-4096 && i >= 0 {
		return i + 1
	}
	return len(t.held)
}

// send masks and sends what is held up to end.
func (t *Stream) send(dst []byte, end int) []byte {
	before := len(t.sent)
	text := append(t.sent, t.held[:end]...)
	dst = t.mask(dst, text, before)
	keep := min(len(text), streamContext)
	t.sent = append(text[:0], text[len(text)-keep:]...)
	t.held = append(t.held[:0], t.held[end:]...)
	if cap(t.held) > 2*streamHold && len(t.held) < 1024 {
		t.held = append([]byte(nil), t.held...)
		t.sent = append([]byte(nil), t.sent...)
	}
	return dst
}

// mask appends text from the byte `from` on; what is before that was sent.
func (t *Stream) mask(dst, text []byte, from int) []byte {
	plain, at := text, []int(nil)
	if bytes.IndexByte(text, 0x1b) >= 0 {
		plain, at = t.strip(text)
	}
	c := &t.c
	c.found = detect(c.found[:0], plain, c.wanted, 0)
	for _, f := range c.found {
		start, end := f.start, f.end
		if at != nil {
			start, end = at[f.start], at[f.end-1]+1
		}
		if end <= from {
			continue
		}
		if start >= from {
			dst = append(dst, text[from:start]...)
		}
		dst = c.ops[f.kind].appendText(dst, plain[f.start:f.end], f.kind)
		if at != nil {
			dst = appendEscapes(dst, text[max(start, from):end])
		}
		from = end
	}
	return append(dst, text[from:]...)
}

// strip takes the escape sequences out of text, and says where each byte that
// is left stands.
func (t *Stream) strip(text []byte) ([]byte, []int) {
	t.plain, t.at = t.plain[:0], t.at[:0]
	for i := 0; i < len(text); {
		if n := escape(text[i:]); n > 0 {
			i += n
			continue
		}
		t.plain = append(t.plain, text[i])
		t.at = append(t.at, i)
		i++
	}
	return t.plain, t.at
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
		for i := 2; i < len(b) && i < 64; i++ {
			if b[i] >= 0x40 && b[i] <= 0x7e {
				return i + 1
			}
			if b[i] < 0x20 || b[i] > 0x3f {
				return i
			}
		}
		return min(len(b), 64)
	case c >= 0x20 && c <= 0x2f:
		return min(len(b), 3)
	}
	return 2
}
