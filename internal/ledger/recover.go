package ledger

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/doorward/doorward"
)

// Recovery is what Open did to the files that a crash left behind. Nothing
// that was ever acknowledged is touched.
type Recovery struct {
	Segment string // file that was cut, or removed when it held nothing
	Offset  int64  // where it was cut
	Bytes   int64  // how much was cut: the start of a batch that was never acknowledged
	Hashes  int64  // hashes written anew, from the events
}

// Open opens the ledger in dir, and makes it if there is none. It refuses a
// log that is not as it was acknowledged. What a crash left half-written, and
// was never acknowledged, is cut off and reported by an event of kind fault.
func Open(dir string, opts Options) (*Log, error) {
	if opts.SegmentBytes <= 0 {
		opts.SegmentBytes = defaultSegment
	}
	if opts.Behind == 0 {
		opts.Behind = 100
	}
	if opts.Every <= 0 {
		opts.Every = time.Second
	}
	if opts.History <= 0 {
		opts.History = time.Minute
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the ledger's folder: %w", err)
	}
	lk, err := lock(dir)
	if err != nil {
		return nil, err
	}
	l := &Log{dir: dir, opts: opts, lock: lk, pen: make(chan struct{}, 1), wake: make(chan struct{}, 1), dirty: make(chan struct{}, 1), stop: make(chan struct{})}
	if err := l.open(); err != nil {
		if l.hashes != nil {
			l.hashes.Close()
		}
		if l.segment != nil {
			l.segment.Close()
		}
		lk.Close()
		return nil, fmt.Errorf("opening the ledger in %s: %w", dir, err)
	}
	l.published = l.tree
	l.durable.Store(l.tree.size)
	l.written.Store(l.tree.size)
	l.next = l.tree.size
	l.fill, l.group = make([]byte, batchHeaderSize), newGroup()
	l.timer = time.AfterFunc(time.Hour, l.late)
	l.timer.Stop()
	l.done.Add(2)
	go l.commit()
	go l.checkpoints()
	if err := l.report(); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// report makes an event of what was recovered.
func (l *Log) report() error {
	r := l.recovered
	if r == nil || r.Segment == "" {
		return nil
	}
	rc, err := l.Append(context.Background(), doorward.Event{
		Kind:   doorward.EventFault,
		Reason: "the end of the ledger was half-written by a crash, was never acknowledged, and was cut off",
		Fields: map[string]string{"segment": r.Segment, "offset": strconv.FormatInt(r.Offset, 10), "bytes": strconv.FormatInt(r.Bytes, 10)},
	})
	if err != nil {
		return err
	}
	_, err = rc.Wait(context.Background())
	return err
}

const refuse = "this was not done by a crash. Keep the folder as it is, run `doorward audit verify`, and restore it from a backup"

func (l *Log) open() error {
	names, err := segmentNames(l.dir)
	if err != nil {
		return err
	}
	cp, cpErr := readSmall(filepath.Join(l.dir, checkpointName), maxCheckpoint)
	if cpErr != nil && !errors.Is(cpErr, fs.ErrNotExist) {
		return cpErr
	}
	if cpErr != nil && len(names) > 0 {
		return fmt.Errorf("there are events but no checkpoint: %s", refuse)
	}
	l.signer, l.verifier, err = loadSigner(l.dir, cpErr != nil)
	if err != nil {
		return err
	}
	l.hashes, err = os.OpenFile(filepath.Join(l.dir, hashesName), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	if cpErr != nil {
		// A new log: the checkpoint of the empty tree comes first, so that
		// events without a checkpoint are never right.
		if err := l.writeCheckpoint(true); err != nil {
			return err
		}
		if cp, err = os.ReadFile(filepath.Join(l.dir, checkpointName)); err != nil {
			return err
		}
	}
	seen, err := parseCheckpoint(cp, l.verifier)
	if err != nil {
		return fmt.Errorf("%w: %s", err, refuse)
	}
	l.saved = seen.size
	names, last, err := l.segmentChain(names, seen)
	if err != nil {
		return err
	}
	if len(names) == 0 {
		if !l.nothingFrom(segmentName(0), seen) {
			return fmt.Errorf("there were events, but there is no segment file: %s", refuse)
		}
		return l.startSegment(segmentHeader{root: (&tree{}).root()})
	}
	t, err := loadTree(last.first, storedHashes{l.hashes})
	if errors.Is(err, errNoHash) || (err == nil && t.root() != last.root) {
		if t, err = l.rebuildHashes(names[:len(names)-1], last); err != nil {
			return err
		}
	}
	if err != nil {
		return err
	}
	l.tree = *t
	if err := trimHistory(l.dir); err != nil {
		return err
	}
	if err := l.scanLast(names[len(names)-1], last, seen); err != nil {
		return err
	}
	return l.checkTree(seen)
}

// segmentChain checks that the segments follow each other, by their headers
// and sizes.
func (l *Log) segmentChain(names []string, seen checkpointBody) ([]string, segmentHeader, error) {
	var prev segmentHeader
	var prevSize uint64
	for i, name := range names {
		path := filepath.Join(l.dir, name)
		f, err := os.Open(path)
		if err != nil {
			return nil, prev, err
		}
		buf := make([]byte, segmentHeaderSize)
		n, err := io.ReadFull(f, buf)
		info, serr := f.Stat()
		f.Close()
		if serr != nil {
			return nil, prev, serr
		}
		if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
			return nil, prev, err
		}
		h, err := parseSegmentHeader(buf[:n])
		if err != nil && i == len(names)-1 && info.Size() <= segmentHeaderSize && l.nothingFrom(name, seen) {
			// The header is durable before the first batch: nothing in here
			// was ever acknowledged.
			l.recovered = &Recovery{Segment: name, Bytes: info.Size()}
			if err := os.Remove(path); err != nil {
				return nil, prev, err
			}
			return names[:i], prev, syncDir(l.dir)
		}
		if err != nil {
			return nil, prev, fmt.Errorf("%s: %w: %s", name, err, refuse)
		}
		wrong := segmentName(h.first) != name || h.prevSize != prevSize || h.prevFirst != prev.first
		if (i == 0) != (h.first == 0) || (i > 0 && h.first <= prev.first) {
			wrong = true
		}
		if wrong {
			return nil, prev, fmt.Errorf("%s does not follow the segment before it (one is missing, was cut, or was exchanged): %s", name, refuse)
		}
		prev, prevSize = h, uint64(info.Size())
	}
	return names, prev, nil
}

// nothingFrom says that no event from the first of the segment on was ever
// acknowledged, as far as the checkpoint and the hashes file know.
func (l *Log) nothingFrom(name string, seen checkpointBody) bool {
	first, err := strconv.ParseUint(strings.TrimSuffix(name, segmentSuffix), 10, 62)
	if err != nil || seen.size > first {
		return false
	}
	var h tlog.Hash
	n, _ := l.hashes.ReadAt(h[:], storedCount(first)*tlog.HashSize)
	return n < tlog.HashSize || h == tlog.Hash{}
}

// rebuildHashes makes the hashes file anew from all segments but the last:
// it was not synced when the machine stopped.
func (l *Log) rebuildHashes(names []string, last segmentHeader) (*tree, error) {
	t := &tree{}
	var stored []tlog.Hash
	for _, name := range names {
		f, err := os.Open(filepath.Join(l.dir, name))
		if err != nil {
			return nil, err
		}
		err = func() error {
			defer f.Close()
			r := bufio.NewReaderSize(f, 1<<18)
			if _, err := r.Discard(segmentHeaderSize); err != nil {
				return err
			}
			var buf []byte
			for {
				h, body, err := readBatch(r, &buf)
				if err == io.EOF {
					return nil
				}
				if err == nil && h.first != t.size {
					err = errors.New("a batch is missing or doubled")
				}
				if err == nil {
					stored = stored[:0]
					err = splitEvents(body, h, func(_ uint64, leaf []byte) error {
						stored = t.add(stored, leaf)
						return nil
					})
				}
				if err != nil {
					return err
				}
				if err := l.storeHashes(h.first, stored); err != nil {
					return err
				}
			}
		}()
		if err != nil {
			return nil, fmt.Errorf("%s: %w: %s", name, err, refuse)
		}
	}
	if t.size != last.first || t.root() != last.root {
		return nil, fmt.Errorf("the events before %s are not those it was started after: %s", segmentName(last.first), refuse)
	}
	if l.recovered == nil {
		l.recovered = &Recovery{}
	}
	l.recovered.Hashes += storedCount(t.size)
	return t, nil
}

// readBatch reads one batch into *buf. io.EOF means a clean end, errUnwritten
// that there are zeros: the end if nothing else follows.
func readBatch(r io.Reader, buf *[]byte) (batchHeader, []byte, error) {
	var head [batchHeaderSize]byte
	n, err := io.ReadFull(r, head[:])
	if err == io.EOF {
		return batchHeader{}, nil, io.EOF
	}
	if err != nil && err != io.ErrUnexpectedEOF {
		return batchHeader{}, nil, err
	}
	h, err := parseBatchHeader(head[:n])
	if err != nil {
		return h, nil, err
	}
	size := int(h.events) + int(h.signed)
	if cap(*buf) < size {
		*buf = make([]byte, size)
	}
	body := (*buf)[:size]
	if _, err := io.ReadFull(r, body); err != nil {
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			err = errors.New("a batch is cut short")
		}
		return h, nil, err
	}
	return h, body, nil
}

// scanLast reads the whole last segment, adds it to the tree, and cuts off a
// tail that was never acknowledged.
func (l *Log) scanLast(name string, head segmentHeader, seen checkpointBody) error {
	path := filepath.Join(l.dir, name)
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	at := int64(segmentHeaderSize)
	r := bufio.NewReaderSize(io.NewSectionReader(f, at, info.Size()-at), 1<<18)
	var buf []byte
	for {
		h, body, err := readBatch(r, &buf)
		if err == io.EOF {
			break
		}
		if errors.Is(err, errUnwritten) {
			end, zerr := zerosTo(f, at, info.Size())
			if zerr != nil {
				return zerr
			}
			if end {
				err = l.neverAcknowledged(f, at, at, seen)
				if err != nil {
					return fmt.Errorf("%s: it ends at byte %d, but %w: %s", name, at, err, refuse)
				}
				break
			}
		}
		if err == nil && h.first != l.tree.size {
			return fmt.Errorf("%s: at byte %d a batch starts with event %d instead of %d: %s", name, at, h.first, l.tree.size, refuse)
		}
		if err == nil {
			err = l.addBatch(h, body)
		}
		if errors.Is(err, errTampered) {
			return fmt.Errorf("%s: at byte %d: %w: %s", name, at, err, refuse)
		}
		if err != nil {
			if terr := l.neverAcknowledged(f, at, info.Size(), seen); terr != nil {
				return fmt.Errorf("%s: at byte %d: %w, and %w: %s", name, at, err, terr, refuse)
			}
			l.recovered = &Recovery{Segment: name, Offset: at, Bytes: info.Size() - at}
			break
		}
		at += batchHeaderSize + int64(len(body))
	}
	if err := f.Truncate(at); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	d, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	l.segmentState = segmentState{l.wrapped(name, d), head.first, at, at}
	return nil
}

// zerosTo says that the file has nothing but zeros from one byte to another.
func zerosTo(f io.ReaderAt, from, to int64) (bool, error) {
	buf := make([]byte, len(zeros))
	for from < to {
		n, err := f.ReadAt(buf[:min(int64(len(buf)), to-from)], from)
		if n == 0 && err != nil {
			return false, err
		}
		if !allZero(buf[:n]) {
			return false, nil
		}
		from += int64(n)
	}
	return true, nil
}

var errTampered = errors.New("the events are not those that were recorded")

// addBatch adds a good batch to the tree, checks it against the hashes file,
// and writes the hashes that the file does not have yet.
func (l *Log) addBatch(h batchHeader, body []byte) error {
	t := l.tree
	l.stored = l.stored[:0]
	if err := splitEvents(body, h, func(_ uint64, leaf []byte) error {
		l.stored = t.add(l.stored, leaf)
		return nil
	}); err != nil {
		if err != errChecksum { // a torn batch has no good checksum
			err = fmt.Errorf("%w: %w", errTampered, err)
		}
		return err
	}
	base := storedCount(h.first)
	have := make([]byte, len(l.stored)*tlog.HashSize)
	n, err := l.hashes.ReadAt(have, base*tlog.HashSize)
	if err != nil && err != io.EOF {
		return fmt.Errorf("reading the hashes file: %w", err)
	}
	var zero tlog.Hash
	missing := false
	for i, want := range l.stored {
		switch {
		case n < (i+1)*tlog.HashSize, bytes.Equal(have[i*tlog.HashSize:(i+1)*tlog.HashSize], zero[:]):
			missing = true
		case !bytes.Equal(have[i*tlog.HashSize:(i+1)*tlog.HashSize], want[:]):
			return fmt.Errorf("%w: the hash of event %d or later does not match the hashes file", errTampered, h.first)
		}
	}
	if h.signed > 0 {
		c, err := parseCheckpoint(body[h.events:], l.verifier)
		if err != nil {
			return fmt.Errorf("%w: %w", errTampered, err)
		}
		if c.size != t.size || c.root != t.root() {
			return fmt.Errorf("%w: the checkpoint after event %d does not match", errTampered, t.size)
		}
		l.signed = t.size
	}
	if missing {
		if err := l.storeHashes(h.first, l.stored); err != nil {
			return err
		}
		if l.recovered == nil {
			l.recovered = &Recovery{}
		}
		l.recovered.Hashes += int64(len(l.stored))
	}
	l.tree = t
	return nil
}

// neverAcknowledged says nil when the bytes from at on cannot have been
// acknowledged: a batch is acknowledged only when it is whole on disk, and
// its hashes, the checkpoint and batches that know of it are written after
// that. A batch that does not know of it may be whole: the disk takes what was
// not yet acknowledged in any order.
func (l *Log) neverAcknowledged(f io.ReaderAt, at, size int64, seen checkpointBody) error {
	if seen.size > l.tree.size {
		return fmt.Errorf("the checkpoint covers events up to %d", seen.size)
	}
	var h tlog.Hash
	if n, _ := l.hashes.ReadAt(h[:], storedCount(l.tree.size)*tlog.HashSize); n == tlog.HashSize && h != (tlog.Hash{}) {
		return errors.New("the hashes file has events past it")
	}
	const window = 1 << 20
	buf := make([]byte, window+batchHeaderSize)
	for from := at + 1; from < size; from += window {
		n, err := f.ReadAt(buf, from)
		if err != nil && err != io.EOF {
			return err
		}
		for b, o := buf[:n], 0; ; o++ {
			i := bytes.Index(b[o:], []byte(batchMagic))
			if i < 0 {
				break
			}
			o += i
			if h, err := parseBatchHeader(b[o:]); err == nil && h.durable > l.tree.size {
				return fmt.Errorf("a later batch follows at byte %d", from+int64(o))
			}
		}
	}
	return nil
}

// checkTree checks the whole against the checkpoint file and the length of
// the hashes file.
func (l *Log) checkTree(seen checkpointBody) error {
	if seen.size > l.tree.size {
		return fmt.Errorf("the checkpoint has %d events, the segments only %d: %s", seen.size, l.tree.size, refuse)
	}
	root, err := tlog.TreeHash(int64(seen.size), storedHashes{l.hashes})
	if err != nil {
		return err
	}
	if seen.size > 0 && root != seen.root {
		return fmt.Errorf("the tree over the first %d events does not match the signed checkpoint: %s", seen.size, refuse)
	}
	end := storedCount(l.tree.size) * tlog.HashSize
	info, err := l.hashes.Stat()
	if err != nil {
		return err
	}
	if info.Size() > end {
		extra := make([]byte, min(info.Size()-end, 1<<16))
		if _, err := l.hashes.ReadAt(extra, end); err != nil && err != io.EOF {
			return err
		}
		if len(bytes.Trim(extra, "\x00")) > 0 {
			return fmt.Errorf("the hashes file has more than the %d events of the segments (events were cut off): %s", l.tree.size, refuse)
		}
		if err := l.hashes.Truncate(end); err != nil {
			return err
		}
	}
	return l.hashes.Sync()
}
