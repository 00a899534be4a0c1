package e2e

import (
	"path/filepath"
	"testing"

	"github.com/doorward/doorward/e2e/cases"
	"github.com/doorward/doorward/e2e/httpcases"
)

// httpCorpus gives the standard cases, and those that go beyond them.
func httpCorpus(t *testing.T) []*httpcases.Case {
	t.Helper()
	dir := filepath.Join(root(t), "e2e/testdata")
	list, err := httpcases.Load(filepath.Join(dir, "corpus/http.jsonl"), filepath.Join(dir, "httpextra.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// TestHTTPCorpus runs every adversarial HTTP case.
func TestHTTPCorpus(t *testing.T) {
	out, err := httpcases.Run(t.Context(), httpCorpus(t), httpcases.Options{
		Policies: filepath.Join(root(t), "e2e/policies"),
		Report: func(o cases.Outcome) {
			if !o.OK {
				t.Errorf("%s (%s) %s: %q", o.ID, o.Outcome, o.Title, o.Problems)
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Log(cases.Summarise(out))
}

// TestHTTPCorpusIsReal checks that what the cases send comes to the service
// without doorward.
func TestHTTPCorpusIsReal(t *testing.T) {
	out, err := httpcases.Run(t.Context(), httpCorpus(t), httpcases.Options{Direct: true, Report: func(o cases.Outcome) {
		if !o.OK {
			t.Errorf("%s %s: %q", o.ID, o.Title, o.Problems)
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Log(cases.Summarise(out))
}
