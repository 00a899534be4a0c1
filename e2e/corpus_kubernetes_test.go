package e2e

import (
	"path/filepath"
	"testing"

	"github.com/doorward/doorward/e2e/cases"
	"github.com/doorward/doorward/e2e/kubecases"
)

// TestKubernetesCorpus runs every adversarial Kubernetes case.
func TestKubernetesCorpus(t *testing.T) {
	dir := root(t)
	list, err := kubecases.Load(filepath.Join(dir, "e2e/testdata/corpus/kubernetes.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	out, err := kubecases.Run(t.Context(), list, kubecases.Options{
		Policies: filepath.Join(dir, "e2e/policies"),
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

// TestKubernetesCorpusIsReal checks that what the cases show is there without
// doorward.
func TestKubernetesCorpusIsReal(t *testing.T) {
	list, err := kubecases.Load(filepath.Join(root(t), "e2e/testdata/corpus/kubernetes.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	out, err := kubecases.Run(t.Context(), list, kubecases.Options{Direct: true, Report: func(o cases.Outcome) {
		if !o.OK {
			t.Errorf("%s %s: %q", o.ID, o.Title, o.Problems)
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Log(cases.Summarise(out))
}
