package postgres

import (
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/doorward/doorward"
)

func readFile(t testing.TB, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

type corpusCase struct {
	ID     string
	Kind   string
	Policy []string
	Title  string
	Input  struct {
		Type, SQL, Hex string
		Gen            *struct {
			Prefix, Unit, Suffix string
			Count                int
		}
		Steps []struct {
			Op, SQL, Hex, Stmt, Portal, Name, Conn string
		}
	}
	Expect struct {
		Outcome string
		Accept  []string
	}
}

func corpus(t testing.TB) []corpusCase {
	var out []corpusCase
	for line := range strings.Lines(readFile(t, "postgres.jsonl")) {
		var c corpusCase
		if err := json.Unmarshal([]byte(line), &c); err != nil {
			t.Fatal(err)
		}
		out = append(out, c)
	}
	return out
}

func fixtureEnv(t testing.TB) *Env {
	return &Env{Catalog: ddl(t, "fixture.sql"), Functions: []string{"price_of"}, Key: "P"}
}

func TestCorpus(t *testing.T) {
	env := fixtureEnv(t)
	masked := *env
	masked.Masked, masked.Key = maskCustomers, "PM"
	r := NewReader(8 << 20)
	for _, c := range corpus(t) {
		if c.Input.Type != "sql" {
			continue
		}
		t.Run(c.ID, func(t *testing.T) {
			text := c.Input.SQL
			if c.Input.Hex != "" {
				b, err := hex.DecodeString(c.Input.Hex)
				if err != nil {
					t.Fatal(err)
				}
				text = string(b)
			}
			if g := c.Input.Gen; g != nil {
				text = g.Prefix + strings.Repeat(g.Unit, g.Count) + g.Suffix
			}
			e := env
			if slices.Contains(c.Policy, "P3") {
				e = &masked
			}
			reading, err := r.Read(text, e, nil)
			got := "deny"
			if err == nil {
				got = judge(c.Policy, &reading.Effect)
				if got == "masked" && maskedColumns(reading) == 0 {
					got = "allow"
				}
			}
			if !slices.Contains(c.Expect.Accept, got) {
				t.Errorf("%s: %s: got %s, want one of %v\n%.300s\n%s", c.ID, c.Title, got, c.Expect.Accept, text, show(reading, err))
			}
			if err == nil && !slices.Contains(c.Policy, "P2") && c.Kind == "attack" && got == "review" {
				t.Errorf("review under a read-only policy")
			}
			if got == "masked" {
				for _, s := range reading.Statements {
					if !s.Known {
						t.Errorf("columns not known")
					}
				}
			}
		})
	}
}

// maskedColumns counts the output columns that come back masked.
func maskedColumns(r *doorward.Reading) int {
	n := 0
	for _, s := range r.Statements {
		for _, c := range s.Columns {
			if c.Masked != "" {
				n++
			}
		}
	}
	return n
}

func show(r *doorward.Reading, err error) string {
	if err != nil {
		return "error: " + err.Error()
	}
	b, _ := json.MarshalIndent(r.Effect.Summary(), "", " ")
	out := string(b) + " hint: " + r.Effect.Hint
	for _, s := range r.Statements {
		c, _ := json.Marshal(s.Columns)
		out += "\n" + s.Kind + " " + string(c)
	}
	return out
}
