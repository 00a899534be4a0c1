package cli

import (
	"os"
	"path/filepath"
	"testing"
)

// TestNodeCA keeps the authorities that Node was told of before.
func TestNodeCA(t *testing.T) {
	dir := t.TempDir()
	before := filepath.Join(dir, "before.pem")
	if err := os.WriteFile(before, []byte("theirs\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for env, want := range map[string]string{"": "ours\n", before: "ours\ntheirs\n", filepath.Join(dir, "nothing"): "ours\n"} {
		path, err := nodeCA(dir, []byte("ours"), env)
		if err != nil {
			t.Fatal(err)
		}
		if b, err := os.ReadFile(path); err != nil || string(b) != want {
			t.Errorf("after %q: %q, %v", env, b, err)
		}
	}
}
