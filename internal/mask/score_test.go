package mask

import (
	"bufio"
	"encoding/json"
	"os"
	"testing"
)

// wantHit is the least share of labelled values that must be covered, and
// wantPrecision that of findings that must touch a labelled value.
var wantHit = map[string]float64{"EMAIL": 0.97, "CREDIT_CARD": 0.97, "IBAN": 0.97, "IP": 0.97, "SECRET": 0.97, "PHONE": 0.90, "US_SSN": 0.90, "DATE": 0.90}

const wantPrecision = 0.98

// scoreFile holds the detector to labelled records: {"text", "spans":
// [{"start", "end", "type"}], "ignore": [...]}.
func scoreFile(t *testing.T, path string) {
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	type record struct {
		Text   string
		Spans  []Span
		Ignore []Span
	}
	gold, hit, found, right := map[string]int{}, map[string]int{}, map[string]int{}, map[string]int{}
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var r record
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			t.Fatal(err)
		}
		spans := Detect(nil, []byte(r.Text))
		checkSpans(t, []byte(r.Text), spans)
		for _, g := range r.Spans {
			gold[g.Type]++
			covered, all := 0, 0
			for i := g.Start; i < g.End; i++ {
				if !isAlnum(r.Text[i]) && r.Text[i] < 0x80 {
					continue
				}
				all++
				for _, s := range spans {
					if i >= s.Start && i < s.End {
						covered++
					}
				}
			}
			if covered*10 >= all*9 {
				hit[g.Type]++
			}
		}
		for _, s := range spans {
			touches := func(list []Span) bool {
				for _, g := range list {
					if g.Start < s.End && s.Start < g.End {
						return true
					}
				}
				return false
			}
			if touches(r.Ignore) {
				continue
			}
			found[s.Type]++
			if touches(r.Spans) {
				right[s.Type]++
			}
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	for k, want := range wantHit {
		if gold[k] == 0 {
			continue
		}
		got := float64(hit[k]) / float64(gold[k])
		precision := float64(right[k]) / float64(max(found[k], 1))
		t.Logf("%-12s %5d labelled: hit %.3f, precision %.3f", k, gold[k], got, precision)
		if got < want || precision < wantPrecision {
			t.Errorf("%s: hit %.3f (want %.2f), precision %.3f (want %.2f)", k, got, want, precision, wantPrecision)
		}
	}
}
