package replay

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// All that keeps a recording harmless in a terminal is in this file: Clean for
// text, Filter for what a terminal program drew.

// Clean makes text harmless in a terminal: control characters, escape
// sequences and characters that reverse or hide text are shown as escapes.
// Line feeds and tabs stay.
func Clean(s string) string { return clean(s, "\n\t") }

// clean is Clean with other control characters to keep.
func clean(s, keep string) string {
	ok := true
	for i := range len(s) {
		if c := s[i]; c < 0x20 && c != '\n' && c != '\t' || c >= 0x7f {
			ok = false
			break
		}
	}
	if ok {
		return s
	}
	var b strings.Builder
	b.Grow(len(s) + 16)
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		switch {
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(&b, `\x%02x`, s[0])
		case r <= 0x7f && strings.IndexByte(keep, byte(r)) >= 0:
			b.WriteRune(r)
		case r < 0x20 || r == 0x7f:
			fmt.Fprintf(&b, `\x%02x`, r)
		case r > 0x7f && !unicode.IsPrint(r) || unicode.Is(unicode.Other, r):
			fmt.Fprintf(&b, `\u{%x}`, r)
		default:
			b.WriteRune(r)
		}
		s = s[n:]
	}
	return b.String()
}

// cleanCell is Clean for one line.
func cleanCell(s string) string {
	s = strings.ReplaceAll(strings.ReplaceAll(s, "\n", `\n`), "\t", `\t`)
	return Clean(s)
}

// typed is Clean for what was typed: the keys that edit a line stay as they
// are, since a line feed, a Ctrl-C or a rubout draws nothing.
func typed(s string) string { return clean(s, "\n\t\r\b\x03\x04\x7f") }

// Bounds of what one sequence may hold back. Past them it is over, so that a
// sequence that never ends cannot hide all that comes after it.
const (
	maxParams = 128      // bytes of parameters
	maxString = 64 << 10 // bytes of a command string: OSC, DCS, APC, PM, SOS
	maxDigits = 4        // of one number
)

// Filter lets of a terminal's output only that through which draws: printable
// text; CR, LF, TAB and BS; and the sequences below, which move the cursor,
// colour, erase, insert and delete, scroll, and switch to the other screen.
// Everything else is dropped: command strings (titles, clipboard, links,
// images), queries that the terminal would answer as if somebody typed, modes
// of keyboard, mouse and paste, 8-bit controls, the printer, window sizes, the
// erasing of the scrollback. It is an allow-list: what it does not know, it
// drops.
//
// The bytes may come in any pieces; a sequence leaves whole or not at all, so
// what several filters give may be mixed between calls. The zero value is
// ready. Format of the sequences: ECMA-48, and "XTerm Control Sequences".
type Filter struct {
	// Dropped counts the bytes of command strings that were left out: they may
	// hold text of any length, so who looks should know.
	Dropped int64

	lines lineEnds
	state filterState
	seq   []byte // of the sequence being read: parameters, or an intermediate
	over  bool   // it is too long to be one
	held  int    // bytes of it, for Dropped
	part  [utf8.UTFMax]byte
	parts int  // bytes of an unfinished character
	cr    bool // the last byte out was a CR

	// What was changed and Reset has to change back.
	alt, hidden, region, drawn, insert, origin, nowrap, charset bool
}

type lineEnds uint8

const (
	linesAsTheyAre lineEnds = iota
	linesReturn             // a bare LF goes to the start of the line: output without a terminal
	linesIndex              // a bare LF only moves down, also where the terminal driver would return
)

type filterState uint8

const (
	ground     filterState = iota
	escape                 // after ESC
	escapeMore             // after ESC and an intermediate
	csi                    // after ESC [
	command                // in a command string
)

// Append appends to dst what of b may be drawn.
func (f *Filter) Append(dst, b []byte) []byte {
	for i := 0; i < len(b); {
		c := b[i]
		if f.state != ground {
			var again bool
			dst, again = f.step(dst, c)
			if !again {
				i++
			}
			continue
		}
		if f.parts > 0 || c >= utf8.RuneSelf {
			var n int
			dst, n = f.character(dst, b[i:])
			i += n
			continue
		}
		if c >= 0x20 && c < 0x7f {
			// Most output is plain text: copy it in one piece.
			n := 1
			for i+n < len(b) && b[i+n] >= 0x20 && b[i+n] < 0x7f {
				n++
			}
			dst = append(dst, b[i:i+n]...)
			f.cr = false
			i += n
			continue
		}
		dst = f.control(dst, c)
		i++
	}
	return dst
}

// character takes one character beyond ASCII, or the rest of one, off b. It
// reports how many bytes of b it took: none, where b[0] does not belong to it.
func (f *Filter) character(dst, b []byte) ([]byte, int) {
	had := f.parts
	n := copy(f.part[had:], b)
	p := f.part[:had+n]
	at := 0
	for at == 0 || at < had { // what is held may turn out to be several broken ones
		if !utf8.FullRune(p[at:]) {
			f.parts = copy(f.part[:], p[at:])
			return dst, n
		}
		r, size := utf8.DecodeRune(p[at:])
		dst = appendDrawn(dst, r)
		at += size
	}
	f.parts, f.cr = 0, false
	return dst, at - had
}

// appendDrawn appends a character as it may be drawn.
func appendDrawn(dst []byte, r rune) []byte {
	switch {
	case unicode.IsPrint(r):
		return utf8.AppendRune(dst, r)
	case unicode.Is(unicode.Zs, r):
		return append(dst, ' ')
	case unicode.Is(unicode.Cf, r): // direction, joiners: they hide and reverse
		return dst
	}
	return utf8.AppendRune(dst, utf8.RuneError)
}

// control takes a control character.
func (f *Filter) control(dst []byte, c byte) []byte {
	switch c {
	case 0x1b:
		f.state, f.seq, f.over, f.held = escape, f.seq[:0], false, 1
	case '\n':
		switch {
		case f.cr || f.lines == linesAsTheyAre:
			dst = append(dst, '\n')
		case f.lines == linesReturn:
			dst = append(dst, '\r', '\n')
		default:
			dst = append(dst, 0x1b, 'D') // index
		}
		f.cr = false
	case '\r', '\t', '\b':
		dst = append(dst, c)
		f.cr = c == '\r'
	}
	return dst
}

// drop ends a sequence that does not draw.
func (f *Filter) drop() {
	if f.state == command || f.over {
		f.Dropped += int64(f.held)
	}
	f.state, f.held, f.over = ground, 0, false
}

// emit ends a sequence that may be drawn.
func (f *Filter) emit(dst []byte, seq ...byte) []byte {
	f.state, f.held, f.cr = ground, 0, false
	return append(dst, seq...)
}

// step takes the next byte of a sequence. It reports whether the byte is still
// to be taken, because it ended the sequence without being part of it.
func (f *Filter) step(dst []byte, c byte) (_ []byte, again bool) {
	if f.state == command {
		switch {
		case c == 0x1b: // the first half of its end, or of something new
			f.drop()
			return dst, true
		case c == '\a', c == 0x18, c == 0x1a:
			f.held++
			f.drop()
		case c == '\n', c == '\r', f.held > maxString:
			f.drop()
			return dst, true
		default:
			f.held++
		}
		return dst, false
	}
	switch {
	case c == 0x1b:
		f.drop()
		return dst, true
	case c == 0x18, c == 0x1a: // cancel
		f.held++
		f.drop()
		return dst, false
	case c < 0x20: // controls act in the middle of a sequence
		return f.control(dst, c), false
	case c == 0x7f:
		return dst, false
	case c > 0x7f:
		f.drop()
		return dst, true
	}
	f.held++
	switch f.state {
	case escape:
		return f.escaped(dst, c), false
	case escapeMore:
		if c < 0x30 {
			f.over = true
			return dst, false
		}
		// The character sets of ASCII and of the lines of boxes.
		if !f.over && f.seq[0] == '(' && (c == 'B' || c == '0') {
			f.charset = c == '0'
			return f.emit(dst, 0x1b, '(', c), false
		}
		f.drop()
		return dst, false
	}
	if c >= 0x40 {
		return f.control7(dst, c), false
	}
	if len(f.seq) == maxParams {
		f.over = true
		return dst, false
	}
	f.seq = append(f.seq, c)
	return dst, false
}

// escaped takes the byte after ESC.
func (f *Filter) escaped(dst []byte, c byte) []byte {
	switch c {
	case '[':
		f.state = csi
		return dst
	case ']', 'P', '_', '^', 'X', 'k': // OSC, DCS, APC, PM, SOS, screen's title
		f.state = command
		return dst
	case '7', '8', 'D', 'E', 'M': // save and restore the cursor; move by a line
		return f.emit(dst, 0x1b, c)
	case 'c': // full reset: what of it draws
		dst = f.Reset(dst)
		return append(f.emit(dst), "\x1b[H\x1b[2J"...)
	}
	if c < 0x30 {
		f.state, f.seq = escapeMore, append(f.seq, c)
		return dst
	}
	f.drop()
	return dst
}

// control7 ends a control sequence: ESC [ parameters final.
func (f *Filter) control7(dst []byte, final byte) []byte {
	private := len(f.seq) > 0 && f.seq[0] == '?'
	body := f.seq
	if private {
		body = body[1:]
	}
	if f.over || !numbers(body, final == 'm' && !private) {
		f.drop()
		return dst
	}
	if final == 'h' || final == 'l' {
		return f.modes(dst, body, private, final)
	}
	count := 1 + strings.Count(string(body), ";")
	ok := false
	switch final {
	case 'A', 'B', 'C', 'D', 'E', 'F', 'G', 'I', 'Z', '`', 'a', 'd', 'e', // move
		'L', 'M', 'P', 'X', '@', 'S', 'T', 'b': // insert, delete, erase, scroll, repeat
		ok = count == 1 // more make another thing of it: T with five tracks the mouse
	case 'H', 'f':
		ok = count <= 2
	case 'r':
		ok = count <= 2
		f.region = f.region || ok && !private
	case 'J', 'K': // not J with 3: that erases what was there before the replay
		ok = len(body) == 0 || len(body) == 1 && body[0] <= '2'
	case 's', 'u':
		ok = len(body) == 0
	case 'm':
		ok = true
		f.drawn = f.drawn || !private
	}
	if private || !ok {
		f.drop()
		return dst
	}
	return f.sequence(dst, body, final)
}

func (f *Filter) sequence(dst, body []byte, final byte) []byte {
	return append(append(f.emit(dst, 0x1b, '['), body...), final)
}

// modes takes the setting and unsetting of modes, of which few only draw.
func (f *Filter) modes(dst, body []byte, private bool, final byte) []byte {
	var let []string
	for p := range strings.SplitSeq(string(body), ";") {
		n, err := strconv.Atoi(p)
		if err != nil {
			continue
		}
		on := final == 'h'
		switch {
		case !private && n == 4:
			f.insert = on
		case private && n == 6:
			f.origin = on
		case private && n == 7:
			f.nowrap = !on
		case private && n == 25:
			f.hidden = !on
		case private && (n == 47 || n == 1047 || n == 1049):
			f.alt = on
		case private && n == 1048: // save and restore the cursor
		default:
			continue
		}
		let = append(let, strconv.Itoa(n))
	}
	if len(let) == 0 {
		f.drop()
		return dst
	}
	out := strings.Join(let, ";")
	if private {
		out = "?" + out
	}
	return f.sequence(dst, []byte(out), final)
}

// numbers reports whether b is nothing but short numbers and their separators.
func numbers(b []byte, colons bool) bool {
	digits := 0
	for _, c := range b {
		switch {
		case c >= '0' && c <= '9':
			if digits++; digits > maxDigits {
				return false
			}
		case c == ';', colons && c == ':':
			digits = 0
		default:
			return false
		}
	}
	return true
}

// Reset appends what takes back all that the filter let through which stays:
// colours, the other screen, a hidden cursor, a part of the screen that
// scrolls. It forgets what was unfinished.
func (f *Filter) Reset(dst []byte) []byte {
	back := []struct {
		on  *bool
		seq string
	}{
		{&f.drawn, "\x1b[0m"},
		{&f.charset, "\x1b(B"},
		{&f.insert, "\x1b[4l"},
		{&f.nowrap, "\x1b[?7h"},
		{&f.origin, "\x1b[?6l"},
		{&f.region, "\x1b7\x1b[r\x1b8"}, // without a move of the cursor
		{&f.hidden, "\x1b[?25h"},
		{&f.alt, "\x1b[?1049l"},
	}
	for _, b := range back {
		if *b.on {
			dst = append(dst, b.seq...)
			*b.on = false
		}
	}
	f.forget()
	return dst
}

// forget drops what is unfinished: bytes are missing after it.
func (f *Filter) forget() {
	f.state, f.held, f.over, f.parts, f.cr = ground, 0, false, 0, false
}

// Plain is what a filter gave, as text without any sequence: line feeds and
// tabs stay, what was drawn over something else stands on a line after it, and
// so does what was drawn elsewhere on the screen.
func Plain(drawn string) string {
	if strings.IndexFunc(drawn, func(r rune) bool { return r < 0x20 && r != '\n' && r != '\t' }) < 0 {
		return Clean(drawn)
	}
	b := make([]byte, 0, len(drawn))
	elsewhere := false
	for i := 0; i < len(drawn); i++ {
		switch c := drawn[i]; c {
		case 0x1b:
			end := sequenceEnd(drawn, i)
			elsewhere = elsewhere || end < len(drawn) && drawn[i+1] != '(' && strings.IndexByte("HfdEFABD", drawn[end]) >= 0
			i = end
		case '\r':
			elsewhere = true
		case '\b':
		default:
			if elsewhere && c != '\n' && len(b) > 0 && b[len(b)-1] != '\n' {
				b = append(b, '\n')
			}
			elsewhere = false
			b = append(b, c)
		}
	}
	return Clean(string(b))
}

// sequenceEnd is the place of the last byte of the sequence at i, in the form
// in which a filter gives them.
func sequenceEnd(s string, i int) int {
	if i++; i >= len(s) {
		return len(s)
	}
	switch s[i] {
	case '(':
		return i + 1
	case '[':
		for i++; i < len(s) && s[i] < 0x40; i++ {
		}
	}
	return i
}
