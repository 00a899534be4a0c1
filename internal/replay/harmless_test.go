package replay

import (
	"bytes"
	"regexp"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

// allowed is the list of sequences, written down a second time.
var allowed = regexp.MustCompile(`^\x1b(?:[78DEM]|\([0B]|\[(?:` +
	`[0-9]{0,4}[A-GIZ` + "`" + `adeLMPXST@b]` +
	`|(?:[0-9]{0,4};)?[0-9]{0,4}[Hfr]` +
	`|[0-2]?[JK]|[su]|[0-9:;]{0,128}m|4[hl]` +
	`|\?(?:6|7|25|47|1047|1048|1049)(?:;(?:6|7|25|47|1047|1048|1049))*[hl]))`)

// onlyDraws fails when something is in out that may do more than draw.
func onlyDraws(t testing.TB, out []byte) {
	t.Helper()
	for b := out; len(b) > 0; {
		if b[0] == 0x1b {
			n := len(allowed.Find(b))
			if n == 0 {
				t.Fatalf("%q is let through at %d of %q", b[:min(len(b), 20)], len(out)-len(b), out)
			}
			b = b[n:]
			continue
		}
		r, n := utf8.DecodeRune(b)
		if r == utf8.RuneError && n == 1 || r < 0x20 && !strings.ContainsRune("\r\n\t\b", r) || r >= 0x7f && r < 0xa0 || r >= 0xa0 && !unicode.IsPrint(r) {
			t.Fatalf("%U is let through at %d of %q", r, len(out)-len(b), out)
		}
		b = b[n:]
	}
}

// filtered gives b to a filter in pieces of n bytes.
func filtered(lines lineEnds, b []byte, n int) []byte {
	f := Filter{lines: lines}
	var out []byte
	for len(b) > 0 {
		k := min(n, len(b))
		out = f.Append(out, b[:k])
		b = b[k:]
	}
	return out
}

func TestFilter(t *testing.T) {
	for name, c := range map[string]struct{ in, want string }{
		"text":                        {"ls -l\r\ntotal 0\ta\b\r\n", "ls -l\r\ntotal 0\ta\b\r\n"},
		"characters":                  {"é€😀 ä\u0308", "é€😀 ä\u0308"},
		"colours":                     {"\x1b[1;31mx\x1b[38:2::1:2:3m\x1b[m", "\x1b[1;31mx\x1b[38:2::1:2:3m\x1b[m"},
		"moves":                       {"\x1b[H\x1b[2;3H\x1b[2J\x1b[K\x1b[1;20r\x1bM\x1b7\x1b8\x1b[5A", "\x1b[H\x1b[2;3H\x1b[2J\x1b[K\x1b[1;20r\x1bM\x1b7\x1b8\x1b[5A"},
		"other screen":                {"\x1b[?1049h\x1b[?25l", "\x1b[?1049h\x1b[?25l"},
		"of a list, what draws":       {"\x1b[?1049;2004;1000h", "\x1b[?1049h"},
		"corpus case ss-a088":         {"\x1b[2J\x1b]52;c;ZXZpbA==\a", "\x1b[2J"},
		"title":                       {"\x1b]0;owned\x1b\\x", "x"},
		"title in C1":                 {"\u009d0;owned\u009cx\x9b31mx", "�0;owned�x�31mx"},
		"title of screen":             {"\x1bkowned\x1b\\x", "x"},
		"link":                        {"\x1b]8;;http://evil\x1b\\x\x1b]8;;\x1b\\", "x"},
		"DCS, APC, PM, SOS":           {"\x1bPq#0\x1b\\\x1b_Ga\x1b\\\x1b^x\x1b\\\x1bXx\x1b\\.", "."},
		"tmux carries an OSC":         {"\x1bPtmux;\x1b\x1b]52;c;eA==\a\x1b\\.", "."},
		"queries":                     {"\x05\x1b[c\x1b[>c\x1b[=c\x1b[6n\x1b[?6n\x1bZ\x1b[>q\x1b[x\x1b[18t\x1b[?u\x1b[?1;1;0S\x1b[?4m.", "."},
		"modes of mouse and keyboard": {"\x1b[?1000h\x1b[?1006h\x1b[?2004h\x1b[?1h\x1b=\x1b>\x1b[>4;2m\x1b[2h\x1b[20h\x1b[?1h.", "."},
		"printer, size, 132 columns":  {"\x1b[5i\x1b[8;1;1t\x1b[?3h\x1b[?5i.", "."},
		"scrollback":                  {"\x1b[3J\x1b[2J", "\x1b[2J"},
		"mouse tracking by T":         {"\x1b[1;2;3;4;5T\x1b[2T", "\x1b[2T"},
		"soft reset, margins":         {"\x1b[!p\x1b[1;2s\x1b[s\x1b[u", "\x1b[s\x1b[u"},
		"full reset":                  {"\x1b[31m\x1bcx", "\x1b[31m\x1b[0m\x1b[H\x1b[2Jx"},
		"huge counts":                 {"\x1b[99999b\x1b[9999b", "\x1b[9999b"},
		"controls inside":             {"\x1b[3\r1\am\x1b\n[32m", "\r\x1b[31m\n\x1b[32m"},
		"cancelled":                   {"\x1b[3\x18m\x1b]0;a\x1ab", "mb"},
		"a new one inside":            {"\x1b[3\x1b[4mx", "\x1b[4mx"},
		"one that never ends":         {"\x1b]0;hidden\r\nshown", "\r\nshown"},
		"character sets":              {"\x1b(0q\x1b(B\x1b(A\x1b)0\x1b%G\x1b#8\x0e\x0f", "\x1b(0q\x1b(B"},
		"directions":                  {"a\u202eb\u2066c\u200dd\u2028e\u00a0f\ue000", "abcd�e f�"},
		"broken characters":           {"\xe2\x82A\xf0\x9f\x98", "��A"},
		"a character in a sequence":   {"\x1b[3é1m\x1bé", "é1mé"},
	} {
		t.Run(name, func(t *testing.T) {
			for n := 1; n <= len(c.in); n++ {
				got := filtered(linesAsTheyAre, []byte(c.in), n)
				if string(got) != c.want {
					t.Fatalf("in pieces of %d: %q instead of %q", n, got, c.want)
				}
				onlyDraws(t, got)
			}
		})
	}
}

// What is hidden in a command string is bounded, and counted.
func TestFilterIsNotBlinded(t *testing.T) {
	var f Filter
	out := f.Append(nil, []byte("\x1bP"+strings.Repeat("x", 2*maxString)+"\r\nshown"))
	if !bytes.HasSuffix(out, []byte("x\r\nshown")) || f.Dropped < maxString || f.Dropped > maxString+4 {
		t.Fatalf("%d bytes dropped, %d left", f.Dropped, len(out))
	}
	f = Filter{}
	if out = f.Append(nil, []byte("\x1b["+strings.Repeat("1", 4*maxParams)+"mx")); string(out) != "x" || f.Dropped < 4*maxParams || len(f.seq) > maxParams {
		t.Fatalf("%q, %d dropped", out, f.Dropped)
	}
}

func TestFilterLines(t *testing.T) {
	const in = "a\nb\r\nc\r\x1b[m\nd"
	for lines, want := range map[lineEnds]string{
		linesAsTheyAre: in,
		linesReturn:    "a\r\nb\r\nc\r\x1b[m\r\nd",
		linesIndex:     "a\x1bDb\r\nc\r\x1b[m\x1bDd",
	} {
		for n := 1; n < len(in); n++ {
			if got := filtered(lines, []byte(in), n); string(got) != want {
				t.Errorf("%d: %q instead of %q", lines, got, want)
			}
		}
	}
}

// The terminal is left as it was found.
func TestFilterReset(t *testing.T) {
	var f Filter
	f.Append(nil, []byte("\x1b[?1049h\x1b[?25l\x1b[2;5r\x1b[31m\x1b[4h\x1b[?7l\x1b[?6h\x1b(0\x1b]0;"))
	got := f.Reset(nil)
	onlyDraws(t, got)
	for _, want := range []string{"\x1b[?1049l", "\x1b[?25h", "\x1b[r", "\x1b[0m", "\x1b[4l", "\x1b[?7h", "\x1b[?6l", "\x1b(B"} {
		if !bytes.Contains(got, []byte(want)) {
			t.Errorf("%q is missing in %q", want, got)
		}
	}
	if got := f.Reset(nil); len(got) != 0 {
		t.Errorf("a second reset: %q", got)
	}
	if got := f.Append(nil, []byte("x")); string(got) != "x" {
		t.Errorf("something was unfinished: %q", got)
	}
}

func TestPlain(t *testing.T) {
	for in, want := range map[string]string{
		"a\r\nb":                          "a\nb",
		"a\r\r\nb":                        "a\nb",
		"\x1b[1;31mred\x1b[0m\r\n":        "red\n",
		"10%\r\x1b[K20%\r\n":              "10%\n20%\n",
		"secret\b\b\b\b\b\bpublic":        "secretpublic",
		"one\x1b[5;1Htwo\x1b[6;1Hthree":   "one\ntwo\nthree",
		"\x1b(0lqk\x1b(B\x1b[?1049hx\x1b": "lqkx",
		"\x1b[":                           "",
	} {
		if got := Plain(in); got != want {
			t.Errorf("%q: %q instead of %q", in, got, want)
		}
	}
}

func FuzzFilter(f *testing.F) {
	f.Add([]byte("\x1b[2J\x1b]52;c;ZXZpbA==\a\x1b[?1049;1000h\u009b31mé"), uint8(3), uint8(1))
	f.Add([]byte("\xf0\x9f\x98\x80\xe2\x82\n\r\n\x1bP\x1b\\\x1b(0\x1b[1;2;3m"), uint8(1), uint8(2))
	f.Add([]byte("\x1bc\x1b[1;1r\x1b[3\n1m\x1b[?25l"), uint8(200), uint8(0))
	f.Fuzz(func(t *testing.T, b []byte, step, lines uint8) {
		mode := lineEnds(lines % 3)
		whole := filtered(mode, b, len(b)+1)
		onlyDraws(t, whole)
		pieces := filtered(mode, b, 1+int(step))
		if !bytes.Equal(whole, pieces) {
			t.Fatalf("in pieces of %d: %q instead of %q", 1+int(step), pieces, whole)
		}
		// What went through goes through again unchanged, and as text has no
		// controls left.
		if again := filtered(linesAsTheyAre, whole, len(whole)+1); !bytes.Equal(again, whole) {
			t.Fatalf("a second time: %q instead of %q", again, whole)
		}
		for _, r := range Plain(string(whole)) {
			if r < 0x20 && r != '\n' && r != '\t' || r >= 0x7f && r < 0xa0 {
				t.Fatalf("%U in %q", r, Plain(string(whole)))
			}
		}
		var fl Filter
		fl.Append(nil, b)
		onlyDraws(t, fl.Reset(nil))
	})
}
