package ledger

import (
	"fmt"
	"os"
	"path/filepath"
)

// allocateStep is how far ahead of the batches a segment is filled with zeros.
// An fdatasync of bytes that the file has already is one write of the disk; for
// a file that grows, the file system's journal is written with it.
const allocateStep = 1 << 20

var zeros [64 << 10]byte

// segmentState is the segment that is being written.
type segmentState struct {
	segment   file
	first     uint64 // index of its first event
	size      int64  // where the next batch goes
	allocated int64  // size of the file: zeros behind the last batch
}

// put writes a whole batch behind the last one.
func (l *Log) put(b []byte) error {
	if end := l.size + int64(len(b)); end > l.allocated {
		l.allocate(end)
	}
	if err := writeAt(l.segment, b, l.size); err != nil {
		return fmt.Errorf("writing %s: %w", segmentName(l.first), err)
	}
	l.size += int64(len(b))
	l.allocated = max(l.allocated, l.size)
	return nil
}

// allocate fills the file with zeros, up to end and somewhat further. Where
// that fails, so will the batch itself if it has no room.
func (l *Log) allocate(end int64) {
	for to := end + min(allocateStep, l.opts.SegmentBytes); l.allocated < to; {
		n, err := l.segment.WriteAt(zeros[:min(int64(len(zeros)), to-l.allocated)], l.allocated)
		l.allocated += int64(n)
		if err != nil {
			return
		}
	}
}

func writeAt(f file, b []byte, at int64) error {
	n, err := f.WriteAt(b, at)
	if err == nil && n != len(b) {
		err = fmt.Errorf("only %d of %d bytes were written", n, len(b))
	}
	return err
}

// rotate ends the segment, all of which is durable, and starts the next one.
func (l *Log) rotate() error {
	if err := l.hashes.Sync(); err != nil {
		return err
	}
	// Its size is in the header of the next.
	if err := l.segment.Truncate(l.size); err != nil {
		return err
	}
	if err := l.segment.Sync(); err != nil {
		return err
	}
	old := l.segment
	if err := l.startSegment(segmentHeader{l.tree.size, l.first, uint64(l.size), l.tree.root()}); err != nil {
		return err
	}
	return old.Close()
}

func (l *Log) startSegment(h segmentHeader) error {
	name := segmentName(h.first)
	d, err := os.OpenFile(filepath.Join(l.dir, name), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	f := l.wrapped(name, d)
	err = writeAt(f, h.encode(), 0)
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = syncDir(l.dir)
	}
	if err != nil {
		f.Close()
		return err
	}
	l.segmentState = segmentState{f, h.first, segmentHeaderSize, segmentHeaderSize}
	return nil
}

func (l *Log) wrapped(name string, f *os.File) file {
	if l.opts.wrap != nil {
		return l.opts.wrap(name, diskFile{f})
	}
	return diskFile{f}
}
