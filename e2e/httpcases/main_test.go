package httpcases

import (
	"os"
	"testing"

	"github.com/doorward/doorward/e2e/harness"
)

func TestMain(m *testing.M) {
	code := m.Run()
	harness.Cleanup() // several tests share the binary
	os.Exit(code)
}
