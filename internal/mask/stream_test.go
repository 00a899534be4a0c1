package mask

import (
	"bytes"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

func streamSet(t testing.TB) *Set {
	return mustCompile(t, Rule{Detect: []string{"EMAIL", "CREDIT_CARD", "US_SSN", "IBAN", "SECRET"}, Operator: "redact"})
}

// TestStreamBorders cuts a text at random places: whatever the pieces, no
// value comes out, and all the rest does.
func TestStreamBorders(t *testing.T) {
	key := "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7\nVJTUt9Us8cKjMzEfYyjiWA4R4/M2bS1GB4t7NXp98C3SC6dVMvDuictGeurT8jNb\n-----END PRIVATE KEY-----\n"
	text := "user ada@corp.example logged in\n" +
		"\x1b[31mcard 4111 11\x1b[0m11 1111 1111\x1b[m end\r\n" +
		"a\x1b[1md\x1b[0ma@corp.exa\x1b[K\x1b[1mmple\n" +
		"\x1b]0;title of ada@corp.example\x07\n" +
		key + "ssn 078-05-1120 and more\nplain line\nlast without end, grace@corp.example"
	secrets := []string{"ada@corp", "a@corp", "4111 11", "11 1111 1111", "MIIEvQ", "VJTUt9", "078-05", "grace"}
	keep := []string{"logged in\n", "end\r\n", "plain line\n", "last without end, ", "\x1b[31mcard "}
	set := streamSet(t)
	rnd := rand.New(rand.NewPCG(1, 1))
	for trial := range 3000 {
		s := set.Stream("host")
		var out []byte
		for rest := []byte(text); len(rest) > 0; {
			n := 1 + rnd.IntN(min(len(rest), 1+trial%60))
			out = s.Write(out, rest[:n])
			rest = rest[n:]
		}
		out = s.Flush(out)
		for _, v := range secrets {
			if bytes.Contains(out, []byte(v)) {
				t.Fatalf("%q came out:\n%q", v, out)
			}
		}
		for _, v := range keep {
			if !bytes.Contains(out, []byte(v)) {
				t.Fatalf("%q is missing:\n%q", v, out)
			}
		}
	}
}

// TestStreamFlush sees a value whose beginning was sent already.
func TestStreamFlush(t *testing.T) {
	s := streamSet(t).Stream("host")
	out := s.Flush(s.Write(nil, []byte("mail ada@corp.ex")))
	if !bytes.Contains(out, []byte("mail ")) {
		t.Fatalf("%q", out)
	}
	out = s.Write(nil, []byte("ample is here\n"))
	if bytes.Contains(out, []byte("ample")) || !bytes.HasSuffix(out, []byte(" is here\n")) {
		t.Fatalf("%q", out)
	}
}

func TestStreamPassesWhatIsClean(t *testing.T) {
	set := streamSet(t)
	rnd := rand.New(rand.NewPCG(2, 2))
	clean := []byte(strings.Repeat("lorem ipsum \x1b[1mdolor\x1b[0m sit\tamet\r\n", 9000))
	clean = append(clean, bytes.Repeat([]byte("x"), 300<<10)...) // one line that is too long to hold
	s := set.Stream("host")
	var out []byte
	for rest := clean; len(rest) > 0; {
		n := min(len(rest), 1+rnd.IntN(40<<10))
		out = s.Write(out, rest[:n])
		rest = rest[n:]
		if s.Held() > streamHold {
			t.Fatalf("%d bytes are held", s.Held())
		}
	}
	if out = s.Flush(out); !bytes.Equal(out, clean) {
		t.Fatal("clean text was changed")
	}
	off := mustCompile(t).Stream("host")
	if got := off.Write(nil, []byte("ada@corp.example no end")); string(got) != "ada@corp.example no end" {
		t.Fatalf("%q", got)
	}
}

// TestStreamLongLines has values around the place where a line becomes too long
// to be held: they come out masked as if all had been seen at once.
func TestStreamLongLines(t *testing.T) {
	set := streamSet(t)
	rnd := rand.New(rand.NewPCG(3, 3))
	token := "eyJ" + strings.Repeat("hbGciOiJIUzI1NiIsInR5cCI6", 60) + "." + strings.Repeat("eyJzdWIiOiIxMjM0NTY3", 40) + ".SflKxwRJSMeKKF2QT4fw"
	key := `"-----BEGIN PRIVATE KEY-----\n` + strings.Repeat(`MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7\n`, 30) + `-----END PRIVATE KEY-----"`
	values := map[string][]string{
		"4111 1111 1111 1111":                     {"4111", "1111"},
		"5500-0055-5555-5559":                     {"5500", "0055", "5555"},
		"078-05-1120":                             {"078", "1120"},
		"DE89 3704 0044 0532 0130 00":             {"DE89", "3704", "0532"},
		"ada.lovelace@corp.example":               {"lovelace", "corp"},
		"password=\"Tr0ub4 d0r, and; some more\"": {"Tr0ub4", "d0r", "some more"},
		token: {"hbGci", "eyJzdW", "SflKx"},
		key:   {"MIIEvQ", "AoIBAQC7"},
	}
	words := []string{"lorem ", "ipsum, ", "dolor\t", "\x1b[1msit\x1b[0m ", "amet;", "consecteturadipiscingelit", " "}
	fill := func(n int) string {
		var b strings.Builder
		for b.Len() < n {
			b.WriteString(words[rnd.IntN(len(words))])
		}
		text := []byte(b.String()[:n])
		copy(text[max(0, n-8):], "xxxxxxxx") // no part of an escape sequence at the end
		return string(text)
	}
	run := func(text string) []byte {
		s := set.Stream("host")
		var out []byte
		size := 1 + rnd.IntN(1<<(4+rnd.IntN(14)))
		for rest := []byte(text); len(rest) > 0; {
			n := min(len(rest), 1+rnd.IntN(size))
			out = s.Write(out, rest[:n])
			rest = rest[n:]
			if s.Held() > streamHold || cap(s.held) > 2*streamHold+4*size || cap(s.sent) > 4*streamHold+4*size {
				t.Fatalf("%d bytes are held, in %d and %d", s.Held(), cap(s.held), cap(s.sent))
			}
		}
		return s.Flush(out)
	}
	for _, value := range slices.Sorted(maps.Keys(values)) { // the same order each time: what fails fails again
		parts := values[value]
		for range 60 {
			v := value
			if i := rnd.IntN(len(v)); rnd.IntN(3) == 0 && len(v) < 100 {
				v = v[:i] + "\x1b[1m" + strings.Repeat("\x1b[0m", rnd.IntN(80)) + v[i:]
			}
			text := fill(streamHold-len(v)-600+rnd.IntN(900+len(v))) + " " + v + " " + fill(rnd.IntN(100<<10))
			out := run(text)
			for _, p := range parts {
				if bytes.Contains(out, []byte(p)) {
					i, w := bytes.Index(out, []byte(p)), set.Whole("host", nil, []byte(text))
					t.Fatalf("%q of %q came out: %q; all at once: %v", p, v, out[max(0, i-300):min(len(out), i+300)], bytes.Contains(w, []byte(p)))
				}
			}
			if want := set.Whole("host", nil, []byte(text)); !bytes.Equal(out, want) {
				t.Fatalf("around %q: %d bytes, want %d", v, len(out), len(want))
			}
		}
	}
	for range 40 {
		if text := fill(rnd.IntN(300 << 10)); string(run(text)) != text {
			t.Fatal("clean text was changed")
		}
	}
}

// TestWhole masks a text that no stream could hold.
func TestWhole(t *testing.T) {
	set := streamSet(t)
	key := "-----BEGIN PRIVATE KEY-----\n" + strings.Repeat("MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7\n", 4000) + "-----END PRIVATE KEY-----"
	text := "card 4111 11\x1b[0m11 1111 1111 end\n" + key + "\nmail ada@corp.example\n"
	out := string(set.Whole("host", []byte("> "), []byte(text)))
	for _, v := range []string{"4111", "1111", "MIIEvQ", "PRIVATE", "ada"} {
		if strings.Contains(out, v) {
			t.Errorf("%q came out", v)
		}
	}
	if !strings.HasPrefix(out, "> card ") || !strings.Contains(out, "\x1b[0m end\n") || strings.Count(out, "\n") != 3 {
		t.Errorf("%.300q", out)
	}
	if got := mustCompile(t).Whole("host", nil, []byte(text)); string(got) != text {
		t.Error("a text of a target without rules was changed")
	}
}

func FuzzStream(f *testing.F) {
	f.Add([]byte("ada@corp.example \x1b[3"), []byte("1m x\n"), uint8(3))
	set := streamSet(f)
	f.Fuzz(func(t *testing.T, a, b []byte, n uint8) {
		s := set.Stream("host")
		out := s.Write(nil, a)
		if n%2 == 0 {
			out = s.Flush(out)
		}
		out = s.Flush(s.Write(out, b))
		if len(Detect(nil, append(bytes.Clone(a), b...))) == 0 && !bytes.ContainsRune(append(bytes.Clone(a), b...), 0x1b) && n%2 == 1 {
			if !bytes.Equal(out, append(bytes.Clone(a), b...)) {
				t.Fatalf("clean text was changed: %q%q -> %q", a, b, out)
			}
		}
	})
}

// TestStreamNoEscape has values stand in what only looks like an escape sequence.
func TestStreamNoEscape(t *testing.T) {
	set := streamSet(t)
	for _, text := range []string{"\x1b[1 4111 1111 1111 1111 x\n", "\x1b[4111111111111111 m\n", "\x1b[ 4111 1111 1111 1111 m\n", "\x1b]0;4111111111111111\x07\n", "\x1b[?1;4111111111111111 h\n"} {
		s := set.Stream("host")
		if out := s.Flush(s.Write(nil, []byte(text))); bytes.Contains(out, []byte("1111 1111")) || bytes.Contains(out, []byte("11111111")) {
			t.Errorf("%q: %q", text, out)
		}
	}
}

// TestStreamManyEscapes has more escape sequences between a name and its value
// than stay in sight as bytes, with the border of a long line among them.
func TestStreamManyEscapes(t *testing.T) {
	set := streamSet(t)
	escapes := strings.Repeat("\x1b[0m", 200)
	for off := 0; off < 1300; off += 7 {
		text := strings.Repeat("lorem ", streamHold/6+1) + "password="
		text = text[len(text)-streamHold+off:] + escapes + `"Tr0ub4 d0r, and"` + strings.Repeat(" ipsum", 100)
		s := set.Stream("host")
		var out []byte
		for rest := []byte(text); len(rest) > 0; rest = rest[min(len(rest), 31):] {
			out = s.Write(out, rest[:min(len(rest), 31)])
		}
		if out = s.Flush(out); bytes.Contains(out, []byte("Tr0ub4")) {
			t.Fatalf("at %d: the value came out", off)
		}
	}
}
