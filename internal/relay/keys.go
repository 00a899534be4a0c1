package relay

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"time"
)

const (
	maxLine    = 1024     // of what is typed, before it is looked at without a line end
	maxScreen  = 16 << 10 // of what was shown since a line began
	maxPending = 32       // lines that were typed and not shown yet
	echoWait   = time.Second
)

// keys follows what a person types at a terminal. What the screen shows is
// recorded; what it does not, such as a password, is not: only that it was
// typed. It is an aid for who reads the record, and controls nothing.
type keys struct {
	mu      sync.Mutex
	line    []byte // as it stands on the screen, as far as one can tell
	raw     []byte // the keys themselves
	pending []line
	shown   []byte // without control bytes and escape sequences
	inEsc   int    // 0: text; 1: after ESC; 2: in CSI
}

// line is one that was typed.
type line struct {
	keys, text []byte
	at         time.Time
}

// typed is what is recorded of input: the keys, and a note for people.
type typed struct {
	keys []byte
	note string
}

// show takes what the terminal shows.
func (k *keys) show(b []byte) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, c := range b {
		switch {
		case k.inEsc == 1 && c == '[':
			k.inEsc = 2
		case k.inEsc == 1, k.inEsc == 2 && c >= 0x40 && c <= 0x7e:
			k.inEsc = 0
		case k.inEsc == 2:
		case c == 0x1b:
			k.inEsc = 1
		case c == 0x08: // what was shown before is written over
			k.shown = k.shown[:max(len(k.shown)-1, 0)]
		case c >= 0x20 && c != 0x7f:
			k.shown = append(k.shown, c)
		}
	}
	if n := len(k.shown) - maxScreen; n > 0 {
		k.shown = append(k.shown[:0], k.shown[n:]...)
	}
}

// press takes keys.
func (k *keys) press(b []byte, now time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, c := range b {
		if len(k.raw) == 0 && len(k.pending) == 0 {
			k.shown = k.shown[:0] // what stood there before is no echo
		}
		k.raw = append(k.raw, c)
		switch {
		case c == '\r' || c == '\n':
			k.end(now)
			continue
		case c == 0x7f || c == 0x08:
			if n := len(k.line); n > 0 {
				k.line = k.line[:n-1]
			}
		case c == 0x15 || c == 0x03: // ^U, ^C
			k.line = k.line[:0]
		case c == 0x17: // ^W
			k.line = bytes.TrimRight(k.line, " ")
			k.line = k.line[:bytes.LastIndexByte(k.line, ' ')+1]
		case c >= 0x20:
			k.line = append(k.line, c)
		}
		if len(k.raw) >= maxLine {
			k.end(now)
		}
	}
}

func (k *keys) end(now time.Time) {
	k.pending = append(k.pending, line{bytes.Clone(k.raw), bytes.TrimSpace(bytes.Clone(k.line)), now})
	k.line, k.raw = k.line[:0], k.raw[:0]
}

// settled gives the lines of which it is known by now whether the screen showed
// them: an echo comes a moment after the keys. At the end all of them are.
func (k *keys) settled(now time.Time, over bool) []typed {
	k.mu.Lock()
	defer k.mu.Unlock()
	if over && len(k.raw) > 0 {
		k.end(now)
	}
	var out []typed
	for len(k.pending) > 0 {
		l := k.pending[0]
		i := bytes.Index(k.shown, l.text)
		switch {
		case len(l.text) == 0:
			out = append(out, typed{keys: l.keys[len(l.keys)-1:]})
		case i >= 0:
			out = append(out, typed{keys: l.keys, note: "typed, as far as one can tell: " + strings.ToValidUTF8(string(l.text), "?")})
			k.shown = append(k.shown[:0], k.shown[i+len(l.text):]...)
		case over || len(k.pending) > maxPending || now.Sub(l.at) > echoWait:
			out = append(out, typed{note: fmt.Sprintf("%d keys were typed that the screen did not show: they are not kept", len(l.keys))})
		default:
			return out
		}
		k.pending = k.pending[1:]
	}
	return out
}
