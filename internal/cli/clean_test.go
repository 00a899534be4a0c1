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

// FuzzReadEvents: whatever a server sends, events are bounded and the reader ends.
func FuzzReadEvents(f *testing.F) {
	f.Add("event: review\ndata: {\"id\":1}\n\n: still here\n\nevent:x\ndata:a\ndata: b\n\ndata:\n\n")
	f.Fuzz(func(t *testing.T, s string) {
		total := 0
		_, err := readEvents(strings.NewReader(s), func() {}, func(kind string, data []byte) (bool, error) {
			if strings.ContainsAny(kind, "\n") {
				t.Fatalf("kind %q", kind)
			}
			total += len(data)
			return false, nil
		})
		if err == nil && total > len(s) {
			t.Fatalf("%d bytes of events from %d", total, len(s))
		}
	})
}

func TestReadEvents(t *testing.T) {
	var got []string
	_, err := readEvents(strings.NewReader("event: a\ndata: 1\n\n: beat\n\nevent: b\ndata: 2\ndata: 3\n\nevent: cut\ndata: 4"), func() {}, func(kind string, data []byte) (bool, error) {
		got = append(got, kind+"="+string(data))
		return false, nil
	})
	if diff := cmp.Diff([]string{"a=1", "b=2\n3"}, got); err != nil || diff != "" {
		t.Error(err, diff)
	}
}
