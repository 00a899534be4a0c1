package mask

import (
	"bytes"
	"math/rand/v2"
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
