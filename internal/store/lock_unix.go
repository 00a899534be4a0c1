//go:build unix

package store

import (
	"fmt"
	"os"
	"syscall"
)

// lockFile takes the lock that keeps a second process off the store. The lock
// ends with the process, however it ends.
func lockFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("store: lock file: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("store: another doorward uses this store (%s is locked): stop it, or give this one a store of its own", path)
	}
	return f, nil
}
