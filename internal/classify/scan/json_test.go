package scan

import (
	"encoding/json"
	"testing"
	"unicode/utf8"
)

// TestJSONString has strings that are read, and strings that are none.
func TestJSONString(t *testing.T) {
	for in, want := range map[string]string{
		`""`: "", `"plain"`: "plain", `"a\"b\\c\/d\b\f\n\r\t"`: "a\"b\\c/d\b\f\n\r\t",
		`"\u0041\u00e9\u20AC"`: "Aé€", `"\ud83d\ude00"`: "😀", "\"\u00e9 as it is\"": "é as it is",
	} {
		p := JSON{Data: in}
		if got := p.String(); got != want || p.Wrong != "" || p.At != len(in) {
			t.Errorf("%s: %q at %d, %q", in, got, p.At, p.Wrong)
		}
	}
	for _, in := range []string{
		`"`, `"a`, `"\`, `"\x"`, `"\u12"`, `"\u12g4"`, `"\u+123"`, "\"\\u\x11111\"", "\"a\nb\"", "\"\x00\"",
		`"\ud83d"`, `"\ud83dx"`, `"\ud83d\n"`, `"\ud83d\ud83d"`, `"\ude00"`,
		// Half a character, and then letters: the second half needs its backslash.
		`"\ud83dude00"`,
	} {
		p := JSON{Data: in}
		if got := p.String(); p.Wrong == "" {
			t.Errorf("%s: read as %q", in, got)
		}
	}
}

// FuzzJSONString compares with encoding/json, which puts a sign in the place of
// half a character where this refuses.
func FuzzJSONString(f *testing.F) {
	for _, s := range []string{`"a"`, `"\ud83d\ude00"`, `"\ud83dude00"`, `"\u00e9"x`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if !utf8.ValidString(s) || len(s) == 0 || s[0] != '"' {
			return
		}
		p := JSON{Data: s}
		got := p.String()
		if p.Wrong != "" {
			return
		}
		var want string
		if err := json.Unmarshal([]byte(s[:p.At]), &want); err != nil || got != want {
			t.Errorf("%q: %q, and encoding/json says %q, %v", s[:p.At], got, want, err)
		}
	})
}
