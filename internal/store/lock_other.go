//go:build !unix

package store

import (
	"errors"
	"os"
)

// lockFile refuses: without a lock that ends with its process, two servers
// could own one store.
func lockFile(string) (*os.File, error) {
	return nil, errors.New("store: the embedded store needs a Unix system to lock its file")
}
