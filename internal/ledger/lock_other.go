//go:build !unix

package ledger

import (
	"fmt"
	"os"
	"runtime"
)

func lock(dir string) (*os.File, error) {
	return nil, fmt.Errorf("a ledger cannot be written on %s (no flock): run the server on Linux; verifying works here", runtime.GOOS)
}
