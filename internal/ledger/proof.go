package ledger

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/doorward/doorward"
)

func (l *Log) sign(t *tree) ([]byte, error) {
	msg, err := note.Sign(&note.Note{Text: checkpointText(l.signer.Name(), t.size, t.root())}, l.signer)
	if err != nil {
		return nil, fmt.Errorf("signing a checkpoint: %w", err)
	}
	return msg, nil
}

// Checkpoint signs the tree over all durable events. Kept by somebody else,
// it proves later that nothing before it was changed or dropped.
func (l *Log) Checkpoint() ([]byte, error) {
	msg, _, err := l.checkpoint()
	return msg, err
}

func (l *Log) checkpoint() (msg []byte, size uint64, err error) {
	l.treeMu.Lock()
	defer l.treeMu.Unlock()
	if l.cached == nil || l.cachedAt != l.published.size {
		msg, err := l.sign(&l.published)
		if err != nil {
			return nil, 0, err
		}
		l.cached, l.cachedAt = msg, l.published.size
	}
	return append([]byte(nil), l.cached...), l.cachedAt, nil
}

// Tree is the size and root of the tree over all durable events.
func (l *Log) Tree() (size uint64, root string) {
	l.treeMu.Lock()
	defer l.treeMu.Unlock()
	return l.published.size, l.published.root().String()
}

// Proof shows that one event is in the tree of a signed checkpoint.
type Proof struct {
	Index      uint64   `json:"index"`
	Leaf       string   `json:"leaf"` // RFC 6962 hash of the event
	Hashes     []string `json:"hashes"`
	Checkpoint string   `json:"checkpoint"` // signed
}

// Prove gives the inclusion proof of an event. It is checked before it is
// returned.
func (l *Log) Prove(index uint64) (Proof, error) {
	msg, err := l.Checkpoint()
	if err != nil {
		return Proof{}, err
	}
	c, err := parseCheckpoint(msg, l.verifier)
	if err != nil {
		return Proof{}, err
	}
	if index >= c.size {
		return Proof{}, fmt.Errorf("there is no event %d: the ledger has %d", index, c.size)
	}
	r := storedHashes{l.hashes}
	leaf, err := r.ReadHashes([]int64{tlog.StoredHashIndex(0, int64(index))})
	if err != nil {
		return Proof{}, err
	}
	p, err := tlog.ProveRecord(int64(c.size), int64(index), r)
	if err != nil {
		return Proof{}, err
	}
	if err := tlog.CheckRecord(p, int64(c.size), c.root, int64(index), leaf[0]); err != nil {
		return Proof{}, fmt.Errorf("the hashes file is damaged, run `doorward audit verify`: %w", err)
	}
	out := Proof{Index: index, Leaf: leaf[0].String(), Checkpoint: string(msg), Hashes: []string{}}
	for _, h := range p {
		out.Hashes = append(out.Hashes, h.String())
	}
	return out, nil
}

// Check checks the proof with the ledger's public key, and that it is about
// this event (the exact bytes as exported).
func (p Proof) Check(v note.Verifier, event []byte) error {
	c, err := parseCheckpoint([]byte(p.Checkpoint), v)
	if err != nil {
		return err
	}
	var hashes tlog.RecordProof
	for _, s := range p.Hashes {
		h, err := tlog.ParseHash(s)
		if err != nil {
			return errors.New("the proof holds something that is no hash")
		}
		hashes = append(hashes, h)
	}
	if p.Index >= c.size {
		return errors.New("the event is past the checkpoint")
	}
	if err := tlog.CheckRecord(hashes, int64(c.size), c.root, int64(p.Index), tlog.RecordHash(event)); err != nil {
		return fmt.Errorf("the proof does not hold: %w", err)
	}
	return nil
}

// ProveGrowth gives the proof that the present tree has the tree of the first
// size events as its beginning, and the present checkpoint.
func (l *Log) ProveGrowth(size uint64) (hashes []string, checkpoint []byte, err error) {
	msg, err := l.Checkpoint()
	if err != nil {
		return nil, nil, err
	}
	c, err := parseCheckpoint(msg, l.verifier)
	if err != nil {
		return nil, nil, err
	}
	if size < 1 || size > c.size {
		return nil, nil, fmt.Errorf("the ledger has %d events, not %d", c.size, size)
	}
	p, err := tlog.ProveTree(int64(c.size), int64(size), storedHashes{l.hashes})
	if err != nil {
		return nil, nil, err
	}
	hashes = []string{}
	for _, h := range p {
		hashes = append(hashes, h.String())
	}
	return hashes, msg, nil
}

// checkpoints keeps the checkpoint file at most opts.Every behind.
func (l *Log) checkpoints() {
	defer l.done.Done()
	for {
		select {
		case <-l.stop:
			return
		case <-l.dirty:
		}
		wait := time.NewTimer(l.opts.Every)
		select {
		case <-l.stop:
			wait.Stop()
			return
		case <-wait.C:
		}
		if err := l.writeCheckpoint(false); err != nil {
			l.fail(err)
			return
		}
	}
}

// writeCheckpoint writes the checkpoint file and, at most once in
// opts.History or when last is set, a line of history.
func (l *Log) writeCheckpoint(last bool) error {
	msg, size, err := l.checkpoint()
	if err != nil {
		return err
	}
	_, serr := os.Stat(filepath.Join(l.dir, checkpointName))
	if size == l.saved && serr == nil {
		return nil
	}
	// History first: where there is a checkpoint there is a history.
	if last || time.Since(l.historyFrom) >= l.opts.History {
		l.historyFrom = time.Now()
		if err := appendHistory(l.dir, msg); err != nil {
			return fmt.Errorf("writing the history of checkpoints: %w", err)
		}
	}
	if err := writeFileDurably(l.dir, checkpointName, msg, 0o644); err != nil {
		return err
	}
	l.saved = size
	return nil
}

func appendHistory(dir string, msg []byte) error {
	f, err := os.OpenFile(filepath.Join(dir, historyName), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(append(msg[:len(msg):len(msg)], historyEnd...))
	if err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	return err
}

// historyEnd is the line after each checkpoint in the history.
const historyEnd = ".\n"

// trimHistory cuts off an entry that a crash left half-written.
func trimHistory(dir string) error {
	f, err := os.OpenFile(filepath.Join(dir, historyName), os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	tail := make([]byte, min(info.Size(), 2*maxCheckpoint))
	from := info.Size() - int64(len(tail))
	if _, err := f.ReadAt(tail, from); err != nil && err != io.EOF {
		return err
	}
	whole := bytes.LastIndex(tail, []byte("\n"+historyEnd)) + len("\n"+historyEnd)
	if whole == len(tail) || len(tail) == 0 {
		return nil
	}
	if whole < len("\n"+historyEnd) {
		if from > 0 {
			return fmt.Errorf("the history of checkpoints does not end with one: %s", refuse)
		}
		whole = 0
	}
	if err := f.Truncate(from + int64(whole)); err != nil {
		return err
	}
	return f.Sync()
}

// Read calls fn with every durable event from index from on, in order, until
// fn returns an error or ctx ends.
func (l *Log) Read(ctx context.Context, from uint64, fn func(index uint64, ev doorward.Event) error) error {
	return readFiles(ctx, l.dir, from, l.Size(), func(i uint64, leaf []byte) error {
		ev, err := decodeEvent(leaf[1:])
		if err != nil {
			return fmt.Errorf("event %d: %w", i, err)
		}
		return fn(i, ev)
	})
}

// Export calls fn with the exact bytes of every event from index from on. It
// reads the files only, and works while a server writes to them, up to the
// last whole batch.
func Export(ctx context.Context, dir string, from uint64, fn func(index uint64, event []byte) error) error {
	return readFiles(ctx, dir, from, 1<<62, func(i uint64, leaf []byte) error { return fn(i, leaf[1:]) })
}

func decodeEvent(b []byte) (doorward.Event, error) {
	var ev doorward.Event
	if err := json.Unmarshal(b, &ev); err != nil {
		return ev, fmt.Errorf("not the JSON of an event: %w", err)
	}
	return ev, nil
}

func readFiles(ctx context.Context, dir string, from, to uint64, fn func(uint64, []byte) error) error {
	names, err := segmentNames(dir)
	if err != nil {
		return fmt.Errorf("reading the ledger: %w", err)
	}
	if len(names) == 0 && to > 0 && to < 1<<62 {
		return fmt.Errorf("reading the ledger: no segment files in %s", dir)
	}
	next := from
	for i, name := range names {
		if i+1 < len(names) && strings.Compare(names[i+1], segmentName(from)) <= 0 {
			continue // the next segment starts at or before from
		}
		if next >= to {
			return nil
		}
		var tail *tailError
		err := readSegment(ctx, filepath.Join(dir, name), from, to, &next, fn)
		if errors.As(err, &tail) && to == 1<<62 && i == len(names)-1 {
			return nil // the server is writing it now, or a crash left it
		}
		if err != nil {
			return err
		}
	}
	if to < 1<<62 && next < to {
		return fmt.Errorf("reading the ledger: event %d is missing: run `doorward audit verify`", next)
	}
	return nil
}

// tailError is a batch that cannot be read.
type tailError struct{ err error }

// Error implements error.
func (e *tailError) Error() string { return e.err.Error() }

// Unwrap gives the cause.
func (e *tailError) Unwrap() error { return e.err }

func readSegment(ctx context.Context, path string, from, to uint64, next *uint64, fn func(uint64, []byte) error) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("reading the ledger: %w", err)
	}
	defer f.Close()
	r := bufio.NewReaderSize(f, 1<<18)
	if _, err := r.Discard(segmentHeaderSize); err != nil {
		return &tailError{fmt.Errorf("reading %s: %w", path, err)}
	}
	var buf []byte
	for ctx.Err() == nil {
		if *next >= to {
			return nil // what follows may be half-written
		}
		head, err := r.Peek(batchHeaderSize)
		if len(head) == 0 && err == io.EOF {
			return nil
		}
		h, err := parseBatchHeader(head)
		if errors.Is(err, errUnwritten) {
			return nil
		}
		if err == nil && h.first >= to {
			return nil
		}
		if err == nil && h.first+uint64(h.count) <= from {
			if _, err := r.Discard(batchHeaderSize + int(h.events) + int(h.signed)); err != nil {
				return &tailError{fmt.Errorf("reading %s: %w", path, err)}
			}
			continue
		}
		var body []byte
		if err == nil {
			h, body, err = readBatch(r, &buf)
		}
		if err == nil && h.first > *next {
			err = fmt.Errorf("event %d is missing", *next)
		}
		if err != nil {
			return &tailError{fmt.Errorf("reading %s: %w", path, err)}
		}
		if err := splitEvents(body, h, func(i uint64, leaf []byte) error {
			if i < from || i >= to {
				return nil
			}
			*next = i + 1
			return fn(i, leaf)
		}); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// ReadCheckpoint reads the newest checkpoint of the ledger in dir, and checks
// its signature against the public key beside it.
func ReadCheckpoint(dir string) ([]byte, error) {
	v, err := LoadKey(filepath.Join(dir, publicName))
	if err != nil {
		return nil, err
	}
	msg, err := readSmall(filepath.Join(dir, checkpointName), maxCheckpoint)
	if err != nil {
		return nil, fmt.Errorf("reading the checkpoint: %w", err)
	}
	if _, err := parseCheckpoint(msg, v); err != nil {
		return nil, err
	}
	return msg, nil
}
