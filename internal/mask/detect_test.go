package mask

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// mark writes a text with what was found in it: <TYPE:value>.
func mark(text string, column string) string {
	var b strings.Builder
	at := 0
	for _, s := range DetectColumn(nil, []byte(text), column) {
		fmt.Fprintf(&b, "%s<%s:%s>", text[at:s.Start], s.Type, text[s.Start:s.End])
		at = s.End
	}
	return b.String() + text[at:]
}

// TestDetectMarked reads testdata/detect.txt: each line is a text in which the
// values to find are marked as <TYPE:value>. \n stands for a newline and \t for
// a tab; "column|" in front gives a column name; # begins a comment.
func TestDetectMarked(t *testing.T) {
	data, err := os.ReadFile("testdata/detect.txt")
	if err != nil {
		t.Fatal(err)
	}
	for n, line := range strings.Split(string(data), "\n") {
		if line == "" || strings.HasPrefix(line, "# ") {
			continue
		}
		column := ""
		if c, rest, ok := strings.Cut(line, "¦"); ok {
			column, line = c, rest
		}
		want := strings.NewReplacer(`\n`, "\n", `\t`, "\t", `\\`, `\`).Replace(line)
		text := want
		for _, k := range Types() {
			text = unmark(text, k)
		}
		if got := mark(text, column); got != want {
			t.Errorf("line %d\n got %s\nwant %s", n+1, got, want)
		}
	}
}

func unmark(s, k string) string {
	for {
		i := strings.Index(s, "<"+k+":")
		if i < 0 {
			return s
		}
		j := strings.Index(s[i:], ">")
		s = s[:i] + s[i+len(k)+2:i+j] + s[i+j+1:]
	}
}

// checkSpans holds what is true of every answer.
func checkSpans(t interface{ Fatalf(string, ...any) }, text []byte, spans []Span) {
	at := 0
	for _, s := range spans {
		if s.Start < at || s.End <= s.Start || s.End > len(text) {
			t.Fatalf("span %v after %d in a text of %d bytes: %q", s, at, len(text), text)
		}
		if _, ok := parseKind(s.Type); !ok {
			t.Fatalf("span %v has no known type", s)
		}
		at = s.End
	}
}

func FuzzDetect(f *testing.F) {
	for _, s := range []string{"", "ada@corp.example", "4539 5787 6362 1486", "::1", "-----BEGIN PRIVATE KEY-----", `{"password":"hunter22"}`, "eyJ.eyJ.", "AKIAAKIAAKIAAKIAAKIA", "+1 (0)", `\u0040`, "%40a", "1/2/2020 10:00", "postgres://u:p@h/d", "a\tssn\n1\t536228147", "INSERT INTO t (a) VALUES ('536228147')"} {
		f.Add([]byte(s), "ssn")
	}
	f.Fuzz(func(t *testing.T, text []byte, column string) {
		spans := DetectColumn(nil, text, column)
		checkSpans(t, text, spans)
		// The same bytes give the same answer, whatever lies behind them.
		again := DetectColumn(nil, append(bytes.Clone(text), 'x')[:len(text)], column)
		if fmt.Sprint(spans) != fmt.Sprint(again) {
			t.Fatalf("%v and then %v", spans, again)
		}
	})
}

// TestDetectAnywhere puts a value between any bytes that do not touch it.
func TestDetectAnywhere(t *testing.T) {
	values := map[string][]string{
		"EMAIL":       {"ada.quimby@secretmail.test", "o'brien@corp.example", "x+y_z@a.b.co.uk"},
		"CREDIT_CARD": {"4539578763621486", "4539 5787 6362 1486", "3742-454554-00126", "6011000990139424"},
		"US_SSN":      {"536-22-8147"},
		"IBAN":        {"DE89370400440532013000", "GB29 NWBK 6016 1331 9268 19", "FR1420041010050500013M02606"},
		"IP":          {"203.0.113.77", "2001:db8::35b9", "fe80::1ff:fe23:4567:890a"},
		"PHONE":       {"+1 212 555 0143", "(415) 555-0188", "+442079460955"},
		"SECRET":      {"AKIAIOSFODNN7EXAMPLE", "ghp_" + strings.Repeat("a1B2", 9), "xoxb-12345678901-abcdefABCDEF", "sk_live_4eC39HqLyjWDarjtT1zdp7dc", "glpat-AbCdEfGhIjKlMnOpQr12", "npm_" + strings.Repeat("Za9", 12)},
		"MAC":         {"aa:bb:cc:dd:ee:ff", "00-1b-63-84-45-e6"},
		"URL":         {"https://corp.example/a/b?c=d"},
		"DATE":        {"1984-03-17", "3/17/1984"},
	}
	rapid.Check(t, func(t *rapid.T) {
		k := rapid.SampledFrom(Types()).Draw(t, "kind")
		v := rapid.SampledFrom(values[k]).Draw(t, "value")
		edge := rapid.SampledFrom([]string{" ", "\t", "\n", "|", "\"", "('", ">", "; "})
		head := rapid.StringMatching(`[a-zé ,;]{0,40}`).Draw(t, "head") + edge.Draw(t, "left")
		tail := rapid.SampledFrom([]string{" ", "\t", "\n", "|", "\"", "')", "<", "; ", ". "}).Draw(t, "right") + rapid.StringMatching(`[a-zé ,;]{0,40}`).Draw(t, "tail")
		spans := Detect(nil, []byte(head+v+tail))
		for _, s := range spans {
			if s.Start <= len(head) && s.End >= len(head)+len(v) && s.Type == k {
				return
			}
		}
		t.Fatalf("%s %q not found in %q: %v", k, v, head+v+tail, spans)
	})
}

func TestDetectAllocatesNothing(t *testing.T) {
	data := denseRows(8 << 10)
	spans := Detect(nil, data)
	if n := testing.AllocsPerRun(50, func() { spans = Detect(spans[:0], data) }); n > 0 && !raced {
		t.Errorf("%v allocations a call", n)
	}
}

// TestDetectHostile feeds the pass what could make it slow. A quadratic step
// would take minutes at this size: the bound is far from both.
func TestDetectHostile(t *testing.T) {
	for _, unit := range []string{"1-", "1 ", "a@", "a:", "=", "--", "::", "1.1.1.", "eyJ.", "AKIA", "-----BEGIN PRIVATE KEY-----", "password=", `\u0040`, "+1 ", "((", "ssn 1", "\"", "http://", "a:b@", "123456789,", "1a-", "sk-", "ghp_1", "DE11", "token:\"", "{\"a\":\"", "1/1/20 ", "INSERT INTO t (a) VALUES ('536228147',", "a.", "x\\n1"} {
		data := []byte(strings.Repeat(unit, 256<<10/len(unit)))
		start := time.Now()
		checkSpans(t, data, Detect(nil, data))
		if took := time.Since(start); took > 10*time.Second {
			t.Errorf("%q repeated: %v for %d bytes", unit, took, len(data))
		} else if testing.Verbose() {
			t.Logf("%-30q %v", unit, took)
		}
	}
}

// TestDetectData scores the detector on labelled records, where they are.
func TestDetectData(t *testing.T) {
	path := os.Getenv("DOORWARD_MASK_DATA")
	if path == "" {
		t.Skip("DOORWARD_MASK_DATA names no file of labelled records (JSON lines with text and spans): nothing to score")
	}
	scoreFile(t, path)
}
