package ledger

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/doorward/doorward"
)

// Options of a log. The zero value is good.
type Options struct {
	SegmentBytes int64         // a segment file takes no more than this; 0: 64 MiB
	Behind       uint64        // most events without a signature over them; 0: 100
	Every        time.Duration // how far the checkpoint file may lag; 0: 1 second
	History      time.Duration // least time between two lines of history; 0: 1 minute

	wrap func(name string, f file) file // tests put a failing disk here
}

// file is what the committer writes to.
type file interface {
	Write([]byte) (int, error)
	Sync() error
	Close() error
}

type diskFile struct{ *os.File }

// Sync implements file by fdatasync.
func (d diskFile) Sync() error { return syncData(d.File) }

// Log is an open ledger. Its methods may be called by any goroutine.
type Log struct {
	dir      string
	opts     Options
	signer   note.Signer
	verifier note.Verifier
	lock     *os.File
	hashes   *os.File

	mu     sync.Mutex
	fill   *batch        // takes events
	spare  []byte        // buffer of the batch before
	next   uint64        // index of the next event
	space  chan struct{} // closed when fill is taken by the committer; nil: nobody waits
	failed error
	closed bool
	armed  bool // timer is running
	timer  *time.Timer
	wake   chan struct{}

	durable atomic.Uint64

	// The committer's own.
	segment      file
	segmentFirst uint64
	segmentSize  int64
	tree         tree
	signed       uint64 // size of the last tree signed in a batch
	stored       []tlog.Hash
	raw          []byte

	treeMu    sync.Mutex
	published tree // durable, and its hashes are in the file
	cached    []byte
	cachedAt  uint64

	dirty       chan struct{} // published moved
	stop        chan struct{} // ends the checkpointer
	done        sync.WaitGroup
	historyFrom time.Time
	written     uint64 // size of the tree in the checkpoint file

	recovered *Recovery
}

// batch is what one commit writes.
type batch struct {
	buf   []byte // header, events
	count int
	first uint64
	wrote chan struct{} // closed when the batch is in the file, if not yet on the disk; or never will be
	done  chan struct{}
	err   error // valid once done is closed
	wake  chan struct{}
}

// receipt implements doorward.Receipt.
type receipt struct {
	b     *batch
	index uint64
	lazy  bool
}

// Wait returns once the event is durable or never will be. When ctx ends
// first, the event may still become durable.
func (r *receipt) Wait(ctx context.Context) (uint64, error) {
	select {
	case <-r.b.done:
	default:
		if r.lazy {
			nudge(r.b.wake)
		}
		select {
		case <-r.b.done:
		case <-ctx.Done():
			return 0, fmt.Errorf("waiting for the ledger's disk: %w", context.Cause(ctx))
		}
	}
	if r.b.err != nil {
		return 0, r.b.err
	}
	return r.index, nil
}

// Written returns once the event is in the file: from then on it outlives this
// process, if not yet the machine.
func (r *receipt) Written(ctx context.Context) error {
	select {
	case <-r.b.wrote:
	default:
		select {
		case <-r.b.wrote:
		case <-ctx.Done():
			return fmt.Errorf("waiting for the ledger's file: %w", context.Cause(ctx))
		}
	}
	select {
	case <-r.b.done:
		return r.b.err
	default:
		return nil
	}
}

// ErrClosed says that the log was closed.
var ErrClosed = errors.New("the ledger is closed")

// Append adds an event, in the order of the calls. It waits (until ctx ends)
// only while the buffer is full; the receipt tells when the event is durable.
// An event without a time gets the present one.
func (l *Log) Append(ctx context.Context, ev doorward.Event) (doorward.Receipt, error) {
	if ev.Time.IsZero() {
		ev.Time = time.Now()
	}
	for {
		l.mu.Lock()
		if l.failed != nil || l.closed {
			err := l.failed
			l.mu.Unlock()
			if err == nil {
				err = ErrClosed
			}
			return nil, err
		}
		if len(l.fill.buf) < maxBatch && l.fill.count < maxBatchEvents {
			break
		}
		if l.space == nil {
			l.space = make(chan struct{})
		}
		space := l.space
		l.mu.Unlock()
		select {
		case <-space:
		case <-ctx.Done():
			return nil, fmt.Errorf("the ledger's disk is too slow, its buffer is full: %w", context.Cause(ctx))
		}
	}
	b := l.fill
	at := len(b.buf)
	buf, err := appendEvent(append(b.buf, 0, 0, 0, 0, 0), &ev)
	if n := len(buf) - at - 5; err == nil && n > MaxEvent {
		err = fmt.Errorf("an event of %d bytes is over the ledger's bound of %d: send a smaller statement", n, MaxEvent)
	}
	if err != nil {
		b.buf = buf[:at]
		l.mu.Unlock()
		return nil, err
	}
	binary.LittleEndian.PutUint32(buf[at:], uint32(len(buf)-at-4))
	b.buf = buf
	b.count++
	r := &receipt{b, l.next, ev.Kind == doorward.EventOutcome}
	l.next++
	urgent := !r.lazy || b.count >= lazyEvents || len(b.buf) >= lazyBytes
	if !urgent && !l.armed {
		l.armed = true
		l.timer.Reset(lazyWait)
	}
	l.mu.Unlock()
	if urgent {
		nudge(l.wake)
	}
	return r, nil
}

// Nothing runs because of an outcome, so it may share the commit of what comes
// next, for a short while. Waiting for its receipt commits it at once.
const (
	lazyWait   = 3 * time.Millisecond
	lazyEvents = 256
	lazyBytes  = 256 << 10
)

// late commits outcomes that nothing else came for.
func (l *Log) late() {
	l.mu.Lock()
	l.armed = false
	l.mu.Unlock()
	nudge(l.wake)
}

func nudge(wake chan struct{}) {
	select {
	case wake <- struct{}{}:
	default:
	}
}

// Size is the number of durable events.
func (l *Log) Size() uint64 { return l.durable.Load() }

// Dir is the folder of the log.
func (l *Log) Dir() string { return l.dir }

// Health is nil, or why the log takes no more events.
func (l *Log) Health() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failed == nil && l.closed {
		return ErrClosed
	}
	return l.failed
}

// Recovered tells what was done to the files when they were opened; nil if
// nothing was.
func (l *Log) Recovered() *Recovery { return l.recovered }

// Key is the public key that checks this log's checkpoints.
func (l *Log) Key() ([]byte, error) { return os.ReadFile(filepath.Join(l.dir, publicName)) }

// Close commits what was appended, writes a last checkpoint and lets go of
// the folder.
func (l *Log) Close() error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return nil
	}
	l.closed = true
	l.mu.Unlock()
	l.timer.Stop()
	nudge(l.wake)
	close(l.stop)
	l.done.Wait()
	err := l.Health()
	if errors.Is(err, ErrClosed) {
		err = nil
	}
	if err == nil {
		err = l.writeCheckpoint(true)
	}
	for _, c := range []interface{ Close() error }{l.segment, l.hashes, l.lock} {
		if e := c.Close(); err == nil {
			err = e
		}
	}
	return err
}

// fail ends the log for good: everything that waits gets err.
func (l *Log) fail(b *batch, err error) {
	err = fmt.Errorf("the ledger failed and takes no more events until doorward is restarted: %w", err)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failed == nil {
		l.failed = err
	}
	for _, x := range []*batch{b, l.fill} {
		if x != nil && x.err == nil {
			x.err = l.failed
			close(x.done)
			select {
			case <-x.wrote:
			default:
				close(x.wrote)
			}
		}
	}
	if l.space != nil {
		close(l.space)
		l.space = nil
	}
}

func (l *Log) newBatch(buf []byte, first uint64) *batch {
	return &batch{buf: append(buf[:0], make([]byte, batchHeaderSize)...), first: first, wrote: make(chan struct{}), done: make(chan struct{}), wake: l.wake}
}

// commit is the committer: the one goroutine that writes events.
func (l *Log) commit() {
	defer l.done.Done()
	for range l.wake {
		for {
			l.mu.Lock()
			b := l.fill
			if l.failed != nil {
				l.mu.Unlock()
				return
			}
			if b.count == 0 {
				closed := l.closed
				l.mu.Unlock()
				if closed {
					return
				}
				break
			}
			l.fill = l.newBatch(l.spare, l.next)
			l.spare = nil
			if l.space != nil {
				close(l.space)
				l.space = nil
			}
			l.mu.Unlock()
			if err := l.write(b); err != nil {
				l.fail(b, err)
				return
			}
			if cap(b.buf) <= 2*maxBatch {
				l.mu.Lock()
				l.spare = b.buf
				l.mu.Unlock()
			}
			b.buf = nil
		}
	}
}

// write makes a batch durable, acknowledges it, and then publishes its tree.
func (l *Log) write(b *batch) error {
	l.stored = l.stored[:0]
	for rest := b.buf[batchHeaderSize:]; len(rest) > 0; {
		n := binary.LittleEndian.Uint32(rest)
		l.stored = l.tree.add(l.stored, rest[4:4+n])
		rest = rest[4+n:]
	}
	signed := 0
	if l.tree.size-l.signed >= l.opts.Behind {
		msg, err := l.sign(&l.tree)
		if err != nil {
			return err
		}
		b.buf = append(b.buf, msg...)
		signed = len(msg)
		l.signed = l.tree.size
	}
	putBatchHeader(b.buf, b.count, b.first, signed)
	if l.segmentSize > segmentHeaderSize && l.segmentSize+int64(len(b.buf)) > l.opts.SegmentBytes {
		if err := l.rotate(b.first); err != nil {
			return fmt.Errorf("starting a new segment: %w", err)
		}
	}
	if err := writeAll(l.segment, b.buf); err != nil {
		return fmt.Errorf("writing %s: %w", segmentName(l.segmentFirst), err)
	}
	// Under the lock: fail may run in the checkpointer at the same time.
	l.mu.Lock()
	select {
	case <-b.wrote:
	default:
		close(b.wrote)
	}
	l.mu.Unlock()
	if err := l.segment.Sync(); err != nil {
		return fmt.Errorf("fdatasync of %s: %w", segmentName(l.segmentFirst), err)
	}
	l.segmentSize += int64(len(b.buf))
	l.durable.Store(l.tree.size)
	// Under the lock: fail may run in the checkpointer at the same time.
	l.mu.Lock()
	close(b.done)
	l.mu.Unlock()

	if err := l.storeHashes(b.first, l.stored); err != nil {
		return l.after(err)
	}
	l.treeMu.Lock()
	l.published = l.tree
	l.treeMu.Unlock()
	nudge(l.dirty)
	return nil
}

// after fails the log for an error that came after its batch was durable.
func (l *Log) after(err error) error {
	l.fail(nil, err)
	return nil
}

func (l *Log) storeHashes(first uint64, hashes []tlog.Hash) error {
	l.raw = l.raw[:0]
	for i := range hashes {
		l.raw = append(l.raw, hashes[i][:]...)
	}
	if _, err := l.hashes.WriteAt(l.raw, storedCount(first)*tlog.HashSize); err != nil {
		return fmt.Errorf("writing the hashes file: %w", err)
	}
	return nil
}

func writeAll(f file, b []byte) error {
	n, err := f.Write(b)
	if err == nil && n != len(b) {
		err = fmt.Errorf("only %d of %d bytes were written", n, len(b))
	}
	return err
}

// rotate ends the segment and starts the next one, whose first event is
// first. The tree already has the batch in it, so the root comes from what
// was published.
func (l *Log) rotate(first uint64) error {
	if err := l.hashes.Sync(); err != nil {
		return err
	}
	l.treeMu.Lock()
	root := l.published.root()
	l.treeMu.Unlock()
	old := l.segment
	h := segmentHeader{first, l.segmentFirst, uint64(l.segmentSize), root}
	if err := l.startSegment(h); err != nil {
		return err
	}
	return old.Close()
}

func (l *Log) startSegment(h segmentHeader) error {
	name := segmentName(h.first)
	d, err := os.OpenFile(filepath.Join(l.dir, name), os.O_CREATE|os.O_EXCL|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	f := l.wrapped(name, d)
	err = writeAll(f, h.encode())
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
	l.segment, l.segmentFirst, l.segmentSize = f, h.first, segmentHeaderSize
	return nil
}

func (l *Log) wrapped(name string, f *os.File) file {
	if l.opts.wrap != nil {
		return l.opts.wrap(name, diskFile{f})
	}
	return diskFile{f}
}
