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
	SegmentBytes int64         // a new segment file is begun when one has this many; 0: 64 MiB
	Behind       uint64        // most events without a signature over them; 0: 100
	Every        time.Duration // how far the checkpoint file may lag; 0: 1 second
	History      time.Duration // least time between two lines of history; 0: 1 minute

	wrap func(name string, f file) file // tests put a failing disk here
}

// file is a segment that is being written.
type file interface {
	WriteAt(b []byte, off int64) (int, error)
	Sync() error
	Truncate(size int64) error
	Close() error
}

type diskFile struct{ *os.File }

// Sync implements file by fdatasync.
func (d diskFile) Sync() error { return syncData(d.File) }

// Log is an open ledger. Its methods may be called by any goroutine.
//
// An event takes three steps: Append puts it into a buffer, whoever holds the
// pen writes the buffer into the segment's file as one batch, and the
// committer makes what is in the file durable. A caller that only needs its
// event in the file writes it itself, so that it waits for nobody.
type Log struct {
	dir      string
	opts     Options
	signer   note.Signer
	verifier note.Verifier
	lock     *os.File
	hashes   *os.File

	mu     sync.Mutex
	fill   []byte        // room for a batch header, then events
	count  int           // events in fill
	next   uint64        // index of the next event
	group  *group        // of all events from the last swap on
	space  chan struct{} // closed when fill is taken; nil: nobody waits
	failed error
	closed bool
	armed  bool // timer is running
	timer  *time.Timer
	wake   chan struct{}

	written atomic.Uint64 // events in the file
	durable atomic.Uint64 // events on the disk

	pen chan struct{} // full while somebody writes; what follows belongs to them
	segmentState
	tree    tree
	signed  uint64 // size of the last tree signed in a batch
	spare   []byte // the other buffer
	pending []tlog.Hash
	stored  []tlog.Hash // the committer's

	treeMu    sync.Mutex
	published tree // durable, and its hashes are in the file
	cached    []byte
	cachedAt  uint64

	dirty       chan struct{} // published moved
	stop        chan struct{} // ends the checkpointer
	done        sync.WaitGroup
	raw         []byte
	historyFrom time.Time
	saved       uint64 // size of the tree in the checkpoint file

	recovered *Recovery
}

// group is what one fdatasync makes durable.
type group struct {
	done chan struct{}
	err  error // valid once done is closed
}

func newGroup() *group { return &group{done: make(chan struct{})} }

// receipt implements doorward.Receipt.
type receipt struct {
	l     *Log
	g     *group
	index uint64
}

// Wait returns once the event is durable or never will be. When ctx ends
// first, the event may still become durable.
func (r *receipt) Wait(ctx context.Context) (uint64, error) {
	select {
	case <-r.g.done:
	default:
		nudge(r.l.wake)
		select {
		case <-r.g.done:
		case <-ctx.Done():
			return 0, fmt.Errorf("waiting for the ledger's disk: %w", context.Cause(ctx))
		}
	}
	if r.g.err != nil {
		return 0, r.g.err
	}
	return r.index, nil
}

// Written returns once the event is in the file: from then on it outlives this
// process, if not yet the machine. It is on its way to the disk then.
func (r *receipt) Written(ctx context.Context) error {
	l := r.l
	if l.written.Load() > r.index {
		return nil
	}
	select {
	case l.pen <- struct{}{}:
	case <-ctx.Done():
		return fmt.Errorf("waiting for the ledger's file: %w", context.Cause(ctx))
	}
	err := l.flush(nil)
	<-l.pen
	nudge(l.wake)
	return err
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
		if len(l.fill) < maxBatch && l.count < maxBatchEvents {
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
	at := len(l.fill)
	buf, err := appendEvent(append(l.fill, 0, 0, 0, 0, 0), &ev)
	if n := len(buf) - at - 5; err == nil && n > MaxEvent {
		err = fmt.Errorf("an event of %d bytes is over the ledger's bound of %d: send a smaller statement", n, MaxEvent)
	}
	if err != nil {
		l.fill = buf[:at]
		l.mu.Unlock()
		return nil, err
	}
	binary.LittleEndian.PutUint32(buf[at:], uint32(len(buf)-at-4))
	l.fill = buf
	l.count++
	r := &receipt{l, l.group, l.next}
	l.next++
	urgent := l.count >= lazyEvents || len(l.fill) >= lazyBytes
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

// An event that nobody waits for shares the commit of what comes next, for a
// short while. Asking for its receipt commits it at once.
const (
	lazyWait   = 3 * time.Millisecond
	lazyEvents = 256
	lazyBytes  = 256 << 10
)

// late commits what nobody asked for.
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
	if err == nil {
		err = l.segment.Truncate(l.size)
	}
	for _, c := range []interface{ Close() error }{l.segment, l.hashes, l.lock} {
		if e := c.Close(); err == nil {
			err = e
		}
	}
	return err
}

// fail ends the log for good: everything that waits gets err, which it gives
// back as it will be told from now on.
func (l *Log) fail(err error) error {
	err = fmt.Errorf("the ledger failed and takes no more events until doorward is restarted: %w", err)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failed != nil {
		return l.failed
	}
	l.failed = err
	l.group.err = err
	close(l.group.done)
	if l.space != nil {
		close(l.space)
		l.space = nil
	}
	return err
}

// flush writes what was appended into the file, as one batch. Who calls it
// holds the pen. With a group it swaps that for the present one: all that is
// in the file then, and nothing else, is of the group that was swapped out,
// which it gives back.
func (l *Log) flush(swap **group) error {
	l.mu.Lock()
	if l.failed != nil {
		err := l.failed
		l.mu.Unlock()
		return err
	}
	buf, count, first := l.fill, l.count, l.next-uint64(l.count)
	if swap != nil {
		l.group, *swap = *swap, l.group
	}
	if count == 0 {
		l.mu.Unlock()
		return nil
	}
	l.fill = append(l.spare[:0], make([]byte, batchHeaderSize)...)
	l.spare, l.count = nil, 0
	if l.space != nil {
		close(l.space)
		l.space = nil
	}
	l.mu.Unlock()
	buf, err := l.write(buf, count, first)
	if err != nil {
		// The group that was swapped out fails with this one.
		err = l.fail(err)
		if swap != nil {
			(*swap).err = err
			close((*swap).done)
		}
		return err
	}
	l.written.Store(l.tree.size)
	if cap(buf) <= 2*maxBatch {
		l.spare = buf
	}
	return nil
}

// write makes a batch of events and puts it into the file.
func (l *Log) write(buf []byte, count int, first uint64) ([]byte, error) {
	for rest := buf[batchHeaderSize:]; len(rest) > 0; {
		n := binary.LittleEndian.Uint32(rest)
		l.pending = l.tree.add(l.pending, rest[4:4+n])
		rest = rest[4+n:]
	}
	signed := 0
	if l.tree.size-l.signed >= l.opts.Behind {
		msg, err := l.sign(&l.tree)
		if err != nil {
			return buf, err
		}
		buf = append(buf, msg...)
		signed = len(msg)
		l.signed = l.tree.size
	}
	putBatchHeader(buf, batchHeader{count: uint32(count), first: first, durable: l.durable.Load(), signed: uint32(signed)})
	return buf, l.put(buf)
}

// commit is the committer: the one goroutine that makes events durable.
func (l *Log) commit() {
	defer l.done.Done()
	spare := newGroup()
	for range l.wake {
		for {
			l.pen <- struct{}{}
			g := spare
			if l.flush(&g) != nil {
				<-l.pen
				return
			}
			if l.tree.size == l.durable.Load() {
				// Nothing is in g: nobody can have a receipt of it.
				spare = g
				over := l.drained()
				<-l.pen
				if over {
					return
				}
				break
			}
			spare = newGroup()
			if l.sync(g) != nil {
				return
			}
		}
	}
}

// drained says that the log is closed and nothing waits to be written.
func (l *Log) drained() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.closed && l.count == 0
}

// sync makes what is in the file durable, writes its hashes, acknowledges it, and
// then publishes its tree. It is called with the pen and gives it back as soon as it can.
func (l *Log) sync(g *group) error {
	t, first := l.tree, l.durable.Load()
	l.pending, l.stored = l.stored[:0], l.pending
	full := l.size >= l.opts.SegmentBytes
	segment, name := l.segment, segmentName(l.first)
	if !full {
		<-l.pen
	} else {
		defer func() { <-l.pen }()
	}
	if err := segment.Sync(); err != nil {
		g.err = l.fail(fmt.Errorf("fdatasync of %s: %w", name, err))
		close(g.done)
		return g.err
	}
	// Before it is acknowledged: what is told to be durable must not be followed
	// by a failed log, which could not take its outcome.
	if err := l.storeHashes(first, l.stored); err != nil {
		g.err = l.fail(err)
		close(g.done)
		return g.err
	}
	l.durable.Store(t.size)
	close(g.done)
	l.treeMu.Lock()
	l.published = t
	l.treeMu.Unlock()
	nudge(l.dirty)
	if full {
		if err := l.rotate(); err != nil {
			return l.fail(fmt.Errorf("starting a new segment: %w", err))
		}
	}
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
