package frame

import (
	"bytes"
	"errors"
	"testing"
)

func TestFrames(t *testing.T) {
	b := Append(nil, Output, []byte("out"))
	b = Append(b, Errors, nil)
	b = AppendWindow(b, 80, 24)
	b = Append(b, Signal, []byte("TERM"))
	b = AppendExit(b, 3)
	want := []struct {
		kind byte
		body string
	}{{Output, "out"}, {Errors, ""}, {Window, "\x00\x00\x00\x50\x00\x00\x00\x18"}, {Signal, "TERM"}, {Exit, "\x00\x00\x00\x03"}}
	whole := b
	for _, w := range want {
		kind, body, rest, err := Next(b)
		if err != nil || kind != w.kind || body == nil || string(body) != w.body {
			t.Fatalf("%q %q, want %q %q: %v", kind, body, w.kind, w.body, err)
		}
		b = rest
	}
	if len(b) > 0 {
		t.Fatalf("%q is left", b)
	}
	for n := range len(whole) {
		for rest := whole[:n]; ; {
			_, body, next, err := Next(rest)
			if err != nil {
				t.Fatalf("cut at %d: %v", n, err)
			}
			if body == nil {
				break
			}
			rest = next
		}
	}
	for _, bad := range [][]byte{{'?', 0, 0, 0, 0}, {Window, 0, 0, 0, 7}, {Exit, 0, 0, 0, 5}, {Output, 0xff, 0, 0, 0}} {
		if _, _, _, err := Next(bad); !errors.Is(err, ErrFrame) {
			t.Errorf("%q is taken: %v", bad, err)
		}
	}
}

func FuzzNext(f *testing.F) {
	f.Add(AppendExit(Append(nil, Output, []byte("x")), 1))
	f.Fuzz(func(t *testing.T, b []byte) {
		var again []byte
		rest := b
		for {
			kind, body, next, err := Next(rest)
			if err != nil || body == nil {
				break
			}
			again = Append(again, kind, body)
			rest = next
		}
		if !bytes.Equal(again, b[:len(b)-len(rest)]) {
			t.Fatalf("%q became %q", b, again)
		}
	})
}
