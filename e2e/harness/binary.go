package harness

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
)

// Root is the folder of the module.
func Root() (string, error) {
	out, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("go env GOMOD: %w", err)
	}
	mod := strings.TrimSpace(string(out))
	if mod == "" || mod == os.DevNull {
		return "", errors.New("not inside the module: run this from the repository")
	}
	return filepath.Dir(mod), nil
}

var built string // path of a binary that this process built

var binary = sync.OnceValues(func() (string, error) {
	if p := os.Getenv("DOORWARD_BIN"); p != "" {
		return p, nil
	}
	root, err := Root()
	if err != nil {
		return "", err
	}
	// Not in a temporary folder of a test: several tests share it.
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = os.TempDir()
	}
	path := filepath.Join(cache, "doorward-e2e", fmt.Sprintf("doorward-%d", os.Getpid()))
	cmd := exec.Command("go", "build", "-o", path, "./cmd/doorward")
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build ./cmd/doorward: %w\n%s", err, out)
	}
	built = path
	return path, nil
})

// Binary is the path of the doorward binary: $DOORWARD_BIN, or one that is
// built from the source now.
func Binary() (string, error) { return binary() }

// Cleanup removes a binary that Binary built.
func Cleanup() {
	if built != "" {
		os.Remove(built)
	}
}
