package ledger

import (
	"os"
	"syscall"
)

// syncData makes what was written to f durable, with no more metadata than
// is needed to read it again.
func syncData(f *os.File) error {
	for {
		if err := syscall.Fdatasync(int(f.Fd())); err != syscall.EINTR {
			return err
		}
	}
}
