package cli

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

func TestCleanLine(t *testing.T) {
	for in, want := range map[string]string{
		"select 1":                  "select 1",
		"grüße 東京 🙂":                "grüße 東京 🙂",
		"a\x1b[2Jb":                 `a\x1b[2Jb`,
		"a\nb\tc\rd":                `a\nb\tc\rd`,
		"bell\x07\x7f":              `bell\x07\x7f`,
		"c1 \u009b31m":              `c1 \u{9b}31m`,
		"bidi \u202egnol\u202c":     `bidi \u{202e}gnol\u{202c}`,
		"zero\u200bwidth \ufeff":    `zero\u{200b}width \u{feff}`,
		"tag \U000e0041":            `tag \u{e0041}`,
		"bad \xff\xfe":              `bad \xff\xfe`,
		"\u2028line":                `\u{2028}line`,
		"osc \x1b]0;title\x07 done": `osc \x1b]0;title\x07 done`,
	} {
		if got := cleanLine(in); got != want {
			t.Errorf("cleanLine(%q) = %q, want %q", in, got, want)
		}
	}
	if got := cleanText("a\n\tb\r\x1b"); got != "a\n\tb"+`\r\x1b` {
		t.Errorf("cleanText: %q", got)
	}
}

// FuzzClean: nothing that a terminal acts on gets through, and the JSON form
// still means the same.
func FuzzClean(f *testing.F) {
	f.Add("a\x1b[2J\u202e\x9b\xff\U000e0041\n")
	f.Fuzz(func(t *testing.T, s string) {
		for _, r := range cleanLine(s) {
			if r < 0x20 || r == 0x7f || unsafeRune(r) {
				t.Fatalf("%q leaves %U", s, r)
			}
		}
		var b bytes.Buffer
		if err := printJSON(&b, s); err != nil {
			t.Fatal(err)
		}
		for _, r := range strings.TrimSuffix(b.String(), "\n") {
			if r < 0x20 || r == 0x7f || unsafeRune(r) {
				t.Fatalf("the JSON of %q leaves %U", s, r)
			}
		}
		var back string
		if err := json.Unmarshal(b.Bytes(), &back); err != nil {
			t.Fatal(err)
		}
		if utf8.ValidString(s) && back != s {
			t.Fatal(cmp.Diff(s, back))
		}
	})
}
