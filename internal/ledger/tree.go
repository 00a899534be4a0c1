package ledger

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"

	"golang.org/x/mod/sumdb/tlog"
)

// tree is the growing end of the Merkle tree: the roots of the perfect
// subtrees that make up the tree so far, at most one a level.
type tree struct {
	size  uint64
	roots [64]tlog.Hash // roots[l] is valid when bit l of size is set
}

// add appends a leaf, given with its 0x00 in front, and appends the hashes
// to be stored for it to dst, in the order of tlog.StoredHashIndex.
func (t *tree) add(dst []tlog.Hash, leaf []byte) []tlog.Hash {
	h := tlog.Hash(sha256.Sum256(leaf))
	dst = append(dst, h)
	level := 0
	for t.size>>level&1 == 1 {
		h = tlog.NodeHash(t.roots[level], h)
		dst = append(dst, h)
		level++
	}
	t.roots[level] = h
	t.size++
	return dst
}

// root is the hash of the whole tree.
func (t *tree) root() tlog.Hash {
	if t.size == 0 {
		return sha256.Sum256(nil)
	}
	var h tlog.Hash
	first := true
	for l := range 64 {
		if t.size>>l&1 == 0 {
			continue
		}
		if first {
			h, first = t.roots[l], false
		} else {
			h = tlog.NodeHash(t.roots[l], h)
		}
	}
	return h
}

// loadTree reads the growing end of the tree of this size from stored hashes.
func loadTree(size uint64, r tlog.HashReader) (*tree, error) {
	t := &tree{size: size}
	var at []int64
	var levels []int
	done := uint64(0)
	for l := 63; l >= 0; l-- {
		if size>>l&1 == 1 {
			at = append(at, tlog.StoredHashIndex(l, int64(done>>l)))
			levels = append(levels, l)
			done += 1 << l
		}
	}
	hashes, err := r.ReadHashes(at)
	if err != nil {
		return nil, err
	}
	for i, l := range levels {
		t.roots[l] = hashes[i]
	}
	return t, nil
}

// errNoHash says that the hashes file does not reach that far.
var errNoHash = errors.New("the hashes file is too short")

// storedHashes reads the hashes file.
type storedHashes struct{ r io.ReaderAt }

// ReadHashes implements tlog.HashReader.
func (s storedHashes) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	for i, at := range indexes {
		if _, err := s.r.ReadAt(out[i][:], at*tlog.HashSize); err != nil {
			if err == io.EOF || err == io.ErrUnexpectedEOF {
				return nil, errNoHash
			}
			return nil, fmt.Errorf("reading the hashes file: %w", err)
		}
	}
	return out, nil
}

func storedCount(size uint64) int64 { return tlog.StoredHashCount(int64(size)) }
