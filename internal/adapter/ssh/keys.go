package ssh

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
)

const (
	maxLine   = 1024     // of what is typed, before it is looked at without a line end
	maxScreen = 16 << 10 // of what was shown since a line began
)

// keys follows what a person types at a terminal. What the screen shows is
// recorded; what it does not, such as a password, is not: only that it was
// typed. It is an aid for who reads the record, and controls nothing.
type keys struct {
	mu    sync.Mutex
	line  []byte // as it stands on the screen, as far as one can tell
	raw   []byte // the keys themselves
	shown []byte // without control bytes and escape sequences
	inEsc int    // 0: text; 1: after ESC; 2: in CSI
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

// typed is what is recorded of input: the keys, and a note for people.
type typed struct {
	keys []byte
	note string
}

// press takes keys and gives what can be recorded by now.
func (k *keys) press(b []byte) []typed {
	k.mu.Lock()
	defer k.mu.Unlock()
	var out []typed
	for _, c := range b {
		k.raw = append(k.raw, c)
		switch {
		case c == '\r' || c == '\n':
			out = append(out, k.end())
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
			out = append(out, k.end())
		}
	}
	return out
}

// end gives the line that was typed, if the screen showed it.
func (k *keys) end() typed {
	defer func() { k.line, k.raw, k.shown = k.line[:0], k.raw[:0], k.shown[:0] }()
	text := strings.TrimSpace(string(k.line))
	if text == "" {
		return typed{keys: bytes.Clone(k.raw[max(len(k.raw)-1, 0):])}
	}
	if !bytes.Contains(k.shown, bytes.TrimSpace(k.line)) {
		return typed{note: fmt.Sprintf("%d keys were typed that the screen did not show: they are not kept", len(k.raw))}
	}
	return typed{keys: bytes.Clone(k.raw), note: "typed, as far as one can tell: " + text}
}

// rest gives what is left when the session ends.
func (k *keys) rest() (typed, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.raw) == 0 {
		return typed{}, false
	}
	return k.end(), true
}
