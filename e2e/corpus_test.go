package e2e

import (
	"path/filepath"
	"testing"

	"github.com/doorward/doorward/e2e/cases"
	"github.com/doorward/doorward/e2e/leakcheck"
	"github.com/doorward/doorward/e2e/rawpg"
)

// TestCorpus runs every adversarial case by the simple and by the extended
// protocol, whole, split at random and byte by byte.
func TestCorpus(t *testing.T) {
	dir := root(t)
	list, err := cases.Load(filepath.Join(dir, "e2e/testdata/corpus/postgres.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	for _, split := range []rawpg.Split{rawpg.SplitNone, rawpg.SplitRandom, rawpg.SplitBytes} {
		t.Run(string(split), func(t *testing.T) {
			opt := cases.Options{
				Fixture: filepath.Join(dir, "e2e/testdata/corpus/fixtures/postgres.sql"), Policies: filepath.Join(dir, "e2e/policies"),
				Modes: []cases.Mode{cases.Simple, cases.Extended}, Split: split, Seed: 20261124,
				Report: func(o cases.Outcome) {
					if !o.OK {
						t.Errorf("%s %s (%s) %s: %q", o.ID, o.Mode, o.Outcome, o.Title, o.Problems)
					}
				},
			}
			out, err := cases.Run(t.Context(), list, opt)
			if err != nil {
				t.Fatal(err)
			}
			t.Log(cases.Summarise(out))
		})
	}
}

// TestLeaks runs the masking kit, with values in known and in unknown formats.
func TestLeaks(t *testing.T) {
	dir := root(t)
	for name, blind := range map[string]bool{"known": false, "blind": true} {
		t.Run(name, func(t *testing.T) {
			list, err := leakcheck.Load(filepath.Join(dir, "e2e/testdata/masking/leak_cases.jsonl"), blind)
			if err != nil {
				t.Fatal(err)
			}
			_, err = leakcheck.Run(t.Context(), list, leakcheck.Options{
				Schema: filepath.Join(dir, "e2e/testdata/masking/leak_schema.sql"), Policy: filepath.Join(dir, "e2e/policies/P2.yaml"), Blind: blind,
				Report: func(o leakcheck.Outcome) {
					if !o.OK {
						t.Errorf("%s %s %s: %s", o.ID, o.Kind, o.Title, o.Problem)
					}
				},
			})
			if err != nil {
				t.Fatal(err)
			}
		})
	}
}
