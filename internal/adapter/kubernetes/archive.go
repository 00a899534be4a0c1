package kubernetes

import (
	"path"
	"strings"

	"github.com/doorward/doorward/internal/gate"
	"github.com/doorward/doorward/internal/relay"
)

// archive is the filter of what a command writes when that is a tar archive, as
// `kubectl cp` has it written: its files are masked, each as a whole. Any other
// output is text, and nil.
func (q *query) archive() relay.Filter {
	if !q.lane.Detects() || !writesArchive(q.req.Query["command"]) {
		return nil
	}
	return archive{q.lane.Archive()}
}

// writesArchive reports whether a command is tar that writes an archive to its
// output: tar cf - …
func writesArchive(argv []string) bool {
	if len(argv) < 3 || path.Base(argv[0]) != "tar" {
		return false
	}
	flags := strings.TrimPrefix(argv[1], "-")
	return flags != "" && strings.Trim(flags, "cfhvp") == "" && strings.Contains(flags, "c") && strings.HasSuffix(flags, "f") && argv[2] == "-"
}

// archive is the filter of a tar archive.
type archive struct{ *gate.MaskArchive }

// Flush implements relay.Filter: nothing can be said of half a file.
func (archive) Flush(dst []byte) []byte { return dst }

// Held implements relay.Filter.
func (archive) Held() int { return 0 }

// Rows implements relay.Filter.
func (archive) Rows() int64 { return 0 }
