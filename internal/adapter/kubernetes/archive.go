package kubernetes

import (
	"bytes"
	"path"
	"slices"
	"strings"

	"github.com/doorward/doorward/internal/gate"
	"github.com/doorward/doorward/internal/relay"
)

// archive is the filter of what tar writes, as `kubectl cp` has it written: the
// files of an archive are masked, each as a whole. Any other output, of tar too,
// is text.
func (q *query) archive() relay.Filter {
	argv := q.req.Query["command"]
	if !q.lane.Detects() || len(argv) < 2 || path.Base(argv[0]) != "tar" || !slices.ContainsFunc(argv[1:], makesArchive) {
		return nil
	}
	return &archive{session: q.lane.Session}
}

// makesArchive reports whether an argument of tar has it make one: c as in
// cf, -cf, -C / -cf - and --create. That it is one is seen from its first block.
func makesArchive(arg string) bool {
	return strings.HasPrefix("--create", arg) && len(arg) > 3 || !strings.HasPrefix(arg, "--") && strings.Contains(arg, "c")
}

// block is the size of a block of an archive; its header says "ustar" at magic.
const (
	block = 512
	magic = 257
)

// archive is the filter of a tar archive, or of text where it is none.
type archive struct {
	session *gate.Session
	first   []byte // until there is a block
	tar     *gate.MaskArchive
	text    *gate.MaskStream
}

// Write implements relay.Filter.
func (a *archive) Write(dst, piece []byte) ([]byte, error) {
	if a.tar == nil && a.text == nil {
		if a.first = append(a.first, piece...); len(a.first) < block {
			return dst, nil
		}
		piece = a.decide()
	}
	return a.pass(dst, piece)
}

func (a *archive) pass(dst, piece []byte) ([]byte, error) {
	if a.tar != nil {
		return a.tar.Write(dst, piece)
	}
	return a.text.Write(dst, piece), nil
}

// decide looks at what has come, and gives it back.
func (a *archive) decide() []byte {
	head := a.first
	a.first = nil
	if len(head) >= block && (bytes.HasPrefix(head[magic:], []byte("ustar")) || bytes.Count(head[:block], []byte{0}) == block) {
		a.tar = a.session.Archive()
	} else if a.text = a.session.Stream(); a.text == nil {
		a.tar = a.session.Archive() // nothing is looked for any more: it passes what there is
	}
	return head
}

// Flush implements relay.Filter: nothing can be said of half a file.
func (a *archive) Flush(dst []byte) []byte {
	if a.text != nil {
		return a.text.Flush(dst)
	}
	return dst
}

// Close implements relay.Filter.
func (a *archive) Close(dst []byte) ([]byte, error) {
	if a.tar == nil && a.text == nil && len(a.first) > 0 {
		var err error
		if dst, err = a.pass(dst, a.decide()); err != nil {
			return dst, err
		}
	}
	switch {
	case a.tar != nil:
		return a.tar.Close(dst)
	case a.text != nil:
		return a.text.Flush(dst), nil
	}
	return dst, nil
}

// Held implements relay.Filter.
func (a *archive) Held() int {
	if a.text != nil {
		return a.text.Held()
	}
	return 0
}

// Rows implements relay.Filter.
func (a *archive) Rows() int64 {
	if a.text != nil {
		return -1
	}
	return 0
}
