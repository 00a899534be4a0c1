package ledger

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/mod/sumdb/note"
)

// VerifyOptions say what the files are held against.
type VerifyOptions struct {
	Checkpoint string // a checkpoint file that somebody else kept: finds a rollback or a rewritten log
	Key        string // public key file; "": key.pub in the folder, which who owns the folder could exchange
	Tapes      string // folder of the recordings; "": tapes are not looked at
}

const (
	maxProblems = 1000
	maxListed   = 10000
)

// Verify checks the ledger in dir, offline: every event, the tree over them,
// every signed checkpoint, what the events say of each other, and the tapes.
// The error is for a check that could not be made at all.
func Verify(dir string, opts VerifyOptions) (Report, error) {
	v := &verifier{dir: dir, sums: map[uint64][]claim{}, story: newStory(opts.Tapes)}
	v.Open, v.Interrupted, v.Unknown, v.Problems, v.Notes = []string{}, []string{}, []Pending{}, []Problem{}, []string{}
	v.story.report = &v.Report
	key := opts.Key
	if key == "" {
		key = filepath.Join(dir, publicName)
	}
	var err error
	if v.key, err = LoadKey(key); err != nil {
		return v.Report, err
	}
	v.Origin = v.key.Name()
	// A server may be writing. It writes events first, then their hashes, then
	// checkpoints over them: looked at the other way round, each must be
	// borne out by what is looked at after it.
	if err := v.claims(opts.Checkpoint); err != nil {
		return v.Report, err
	}
	if v.hashes, err = os.Open(filepath.Join(dir, hashesName)); err != nil {
		v.problem(0, "the hashes file cannot be read: %v", err)
	} else {
		defer v.hashes.Close()
		info, err := v.hashes.Stat()
		if err != nil {
			return v.Report, fmt.Errorf("reading the hashes file: %w", err)
		}
		v.stored = bufio.NewReaderSize(io.NewSectionReader(v.hashes, 0, info.Size()), 1<<16)
	}
	if err := v.segments(); err != nil {
		return v.Report, err
	}
	v.end()
	v.OK = len(v.Problems) == 0
	return v.Report, nil
}

// claim is a signed statement about the tree.
type claim struct {
	from string // where it was found
	root [32]byte
}

type verifier struct {
	Report
	dir    string
	key    note.Verifier
	sums   map[uint64][]claim // by size
	most   uint64             // largest size claimed
	hashes *os.File
	stored *bufio.Reader // nil once it ended or was wrong
	behind uint64        // events that the hashes file does not have
	stack  []subtree
	last   uint64 // size at the last good checkpoint inside of segments
	story  *story
}

// subtree is a perfect part of the tree, of 1<<level events.
type subtree struct {
	level int
	hash  [32]byte
}

// claims collects all signed checkpoints but those inside of the segments.
func (v *verifier) claims(outside string) error {
	if outside != "" {
		msg, err := readSmall(outside, maxCheckpoint)
		if err != nil {
			return fmt.Errorf("reading the outside checkpoint: %w", err)
		}
		if c, ok := v.claim("the outside checkpoint", msg); ok {
			v.Witness = c.size
		}
	}
	msg, err := readSmall(filepath.Join(v.dir, checkpointName), maxCheckpoint)
	if err != nil {
		v.problem(0, "the checkpoint cannot be read: %v", err)
	} else {
		v.claim("the checkpoint", msg)
	}
	history, err := readSmall(filepath.Join(v.dir, historyName), maxHistoryBytes)
	if errors.Is(err, fs.ErrNotExist) {
		v.problem(0, "the history of checkpoints is missing")
		return nil
	}
	if err != nil {
		v.problem(0, "the history of checkpoints cannot be read: %v", err)
		return nil
	}
	var before uint64
	for n := 1; len(history) > 0; n++ {
		entry, rest, whole := bytes.Cut(history, []byte("\n"+historyEnd))
		if !whole {
			v.note("the last entry of the history of checkpoints is cut short, as a crash leaves it")
			break
		}
		history = rest
		c, ok := v.claim(fmt.Sprintf("checkpoint %d of the history", n), append(entry[:len(entry):len(entry)], '\n'))
		if ok && c.size < before {
			v.problem(c.size, "checkpoint %d of the history is over fewer events than the one before it: the log was rolled back once", n)
		}
		before = max(before, c.size)
	}
	return nil
}

func (v *verifier) claim(from string, msg []byte) (checkpointBody, bool) {
	c, err := parseCheckpoint(msg, v.key)
	if err != nil {
		v.problem(0, "%s: %v", from, err)
		return c, false
	}
	v.sums[c.size] = append(v.sums[c.size], claim{from, c.root})
	v.most = max(v.most, c.size)
	return c, true
}

// segments reads all segment files in order.
func (v *verifier) segments() error {
	names, err := segmentNames(v.dir)
	if err != nil {
		return fmt.Errorf("reading the ledger: %w", err)
	}
	sizes := make([]int64, len(names))
	for i := len(names) - 1; i >= 0; i-- {
		info, err := os.Stat(filepath.Join(v.dir, names[i]))
		if err != nil {
			return fmt.Errorf("reading the ledger: %w", err)
		}
		sizes[i] = info.Size()
	}
	v.check() // claims about the empty tree
	var prev segmentHeader
	var prevSize uint64
	for i, name := range names {
		f, err := os.Open(filepath.Join(v.dir, name))
		if err != nil {
			v.problem(v.Size, "%s cannot be read: %v", name, err)
			return nil
		}
		r := newCounter(f, 0, sizes[i])
		head := make([]byte, segmentHeaderSize)
		n, _ := io.ReadFull(r, head)
		h, err := parseSegmentHeader(head[:n])
		switch {
		case err != nil && i == len(names)-1 && n < segmentHeaderSize && v.Size >= v.most:
			v.note("%s was only begun when the server was killed: it holds nothing", name)
			f.Close()
			return nil
		case err != nil:
			v.problem(v.Size, "%s: %v", name, err)
		case !bytes.Equal(head, h.encode()):
			v.problem(v.Size, "%s: the segment's header was changed", name)
		case segmentName(h.first) != name || h.prevFirst != prev.first || h.prevSize != prevSize:
			v.problem(v.Size, "%s does not follow the segment before it: one is missing, was cut, or was exchanged", name)
		case h.first != v.Size:
			v.problem(v.Size, "%s starts with event %d, but the events before it end at %d", name, h.first, v.Size)
		case h.root != v.root():
			v.problem(v.Size, "%s was started after other events than those that are there now", name)
		default:
			err = v.batches(name, f, r, i == len(names)-1)
			f.Close()
			if err != nil {
				return err
			}
			prev, prevSize = h, uint64(sizes[i])
			continue
		}
		f.Close()
		return nil // what follows cannot be held against anything
	}
	return nil
}

type counter struct {
	r *bufio.Reader
	n int64
}

// Read implements io.Reader.
func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

func newCounter(f io.ReaderAt, from, to int64) *counter {
	return &counter{r: bufio.NewReaderSize(io.NewSectionReader(f, from, to-from), 1<<16), n: from}
}

// rereads are the pauses before the end of the last segment is read again: the
// server may be in the middle of writing it.
var rereads = []time.Duration{time.Millisecond, 5 * time.Millisecond, 20 * time.Millisecond}

func (v *verifier) batches(name string, f io.ReaderAt, r *counter, last bool) error {
	var buf []byte
	again := 0
	for {
		at := r.n
		h, body, err := readBatch(r, &buf)
		if err == io.EOF {
			return nil
		}
		if err == nil && h.first != v.Size {
			err = &misplaced{h.first, v.Size}
		} else if err == nil {
			err = v.batch(h, body)
		}
		if err == nil {
			again = 0
			continue
		}
		if last && torn(err) && v.Size >= v.most && !v.hasHash() {
			if again < len(rereads) && !(errors.Is(err, errUnwritten) && again > 0) {
				time.Sleep(rereads[again])
				again++
				r = newCounter(f, at, 1<<62)
				continue
			}
			end, terr := v.tail(newCounter(f, at, 1<<62))
			if terr != nil {
				return fmt.Errorf("reading the ledger: %w", terr)
			}
			if end == tailUnwritten {
				return nil
			}
			// What was written while the tail was looked at is no fault of it.
			if h, body, err := readBatch(newCounter(f, at, 1<<62), &buf); err == nil && whole(h, body) {
				r = newCounter(f, at, 1<<62)
				continue
			}
			if end == tailTorn {
				v.note("the end of %s (from byte %d) is half-written: a crash left it, or it is being written now; it was never acknowledged", name, at)
				return nil
			}
		}
		// Nothing after it can be trusted to be in its place.
		v.problem(v.Size, "%s at byte %d: %v", name, at, err)
		return nil
	}
}

func whole(h batchHeader, body []byte) bool {
	return splitEvents(body, h, func(uint64, []byte) error { return nil }) == nil
}

// misplaced is a good batch in the wrong place.
type misplaced struct{ has, want uint64 }

// Error implements error.
func (m *misplaced) Error() string {
	return fmt.Sprintf("a batch starts with event %d instead of %d: events were dropped, doubled or moved", m.has, m.want)
}

// torn says that err may be what a crash does to the end of a file.
func torn(err error) bool {
	var m *misplaced
	return !errors.As(err, &m) && !errors.Is(err, errBody)
}

// errBody says that a batch has a good checksum and yet is wrong inside.
var errBody = errors.New("the batch was made by something else than doorward")

// What the end of the last segment is.
type tailKind int

const (
	tailUnwritten tailKind = iota // zeros
	tailTorn                      // what a crash leaves
	tailLost                      // what was there was acknowledged
)

// tail says what the end of the last segment is. A crash leaves whatever the
// disk took of what was not yet acknowledged, in any order; a batch that was
// written after this was acknowledged knows of it.
func (v *verifier) tail(r *counter) (tailKind, error) {
	kind := tailUnwritten
	buf := make([]byte, 1<<20)
	kept := 0 // a header may lie across two reads
	for {
		n, err := io.ReadFull(r, buf[kept:])
		b := buf[:kept+n]
		if !allZero(b) {
			kind = tailTorn
		}
		for o := 0; ; o++ {
			i := bytes.Index(b[o:], []byte(batchMagic))
			if i < 0 {
				break
			}
			o += i
			if h, err := parseBatchHeader(b[o:]); err == nil && h.durable > v.Size {
				return tailLost, nil
			}
		}
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return kind, nil
		}
		if err != nil {
			return kind, err
		}
		kept = copy(buf, b[len(b)-batchHeaderSize:])
	}
}

// hasHash says that the hashes file goes on, past the events read so far.
func (v *verifier) hasHash() bool {
	if v.stored == nil {
		return false
	}
	next, err := v.stored.Peek(32)
	return err == nil && !bytes.Equal(next, make([]byte, 32))
}

func (v *verifier) batch(h batchHeader, body []byte) error {
	err := splitEvents(body, h, func(index uint64, leaf []byte) error {
		ev, err := decodeEvent(leaf[1:])
		if err != nil {
			v.problem(index, "event %d is %v", index, err)
		}
		v.add(leaf)
		if err == nil {
			v.story.add(index, ev)
		}
		v.check()
		return nil
	})
	if err != nil && err != errChecksum {
		err = fmt.Errorf("%w: %w", errBody, err)
	}
	if err != nil || h.signed == 0 {
		return err
	}
	c, err := parseCheckpoint(body[h.events:], v.key)
	if err != nil {
		v.problem(v.Size, "in the segment after event %d: %v", v.Size, err)
		return nil
	}
	if c.size != v.Size || c.root != v.root() {
		v.problem(v.last, "events between %d and %d were changed, dropped or exchanged: they do not match the checkpoint signed after them", v.last, v.Size)
		return nil
	}
	v.last, v.Signed = v.Size, max(v.Signed, v.Size)
	v.Checkpoints++
	return nil
}

// add puts a leaf into the tree, and holds each hash against the file.
func (v *verifier) add(leaf []byte) {
	s := subtree{0, sha256.Sum256(leaf)}
	v.compare(s.hash)
	for len(v.stack) > 0 && v.stack[len(v.stack)-1].level == s.level {
		left := v.stack[len(v.stack)-1]
		v.stack = v.stack[:len(v.stack)-1]
		s = subtree{s.level + 1, node(left.hash, s.hash)}
		v.compare(s.hash)
	}
	v.stack = append(v.stack, s)
	v.Size++
}

// compare holds a hash against the next one of the hashes file.
func (v *verifier) compare(want [32]byte) {
	if v.stored == nil {
		v.behind++
		return
	}
	var have [32]byte
	if n, err := io.ReadFull(v.stored, have[:]); err != nil {
		if n > 0 {
			v.note("the hashes file ends within a hash, as a crash leaves it")
		}
		v.stored = nil
		v.behind++
		return
	}
	if have != want {
		v.problem(v.Size, "event %d, or one before it that shares a hash with it, does not match the hashes file", v.Size)
		v.stored = nil
	}
}

func node(left, right [32]byte) [32]byte {
	var b [65]byte
	b[0] = 1
	copy(b[1:], left[:])
	copy(b[33:], right[:])
	return sha256.Sum256(b[:])
}

func (v *verifier) root() [32]byte {
	if len(v.stack) == 0 {
		return sha256.Sum256(nil)
	}
	h := v.stack[len(v.stack)-1].hash
	for i := len(v.stack) - 2; i >= 0; i-- {
		h = node(v.stack[i].hash, h)
	}
	return h
}

// check holds the tree against the claims about this size.
func (v *verifier) check() {
	claims, ok := v.sums[v.Size]
	if !ok {
		return
	}
	delete(v.sums, v.Size)
	root := v.root()
	good := true
	for _, c := range claims {
		if c.root != root {
			good = false
			v.problem(v.Signed, "%s is over %d events, and these are not the events that are here: an event up to there was changed, or this is another history (a fork)", c.from, v.Size)
			continue
		}
		v.Checkpoints++
	}
	if good {
		v.Signed = max(v.Signed, v.Size)
	}
}

// end makes the checks that need the whole log.
func (v *verifier) end() {
	for size, claims := range v.sums {
		for _, c := range claims {
			v.problem(v.Size, "%s is over %d events, but only %d good ones are here: the log was cut off, damaged or rolled back", c.from, size, v.Size)
		}
	}
	if v.stored != nil && v.hashes != nil {
		rest, err := io.ReadAll(io.LimitReader(v.stored, 1<<20))
		if err != nil {
			v.problem(v.Size, "the hashes file cannot be read: %v", err)
		} else if len(bytes.Trim(rest, "\x00")) > 0 {
			v.problem(v.Size, "the hashes file goes on after event %d: events were cut off the end", v.Size)
		}
	}
	if v.behind > 0 && v.hashes != nil && len(v.Problems) == 0 {
		v.note("the hashes file lacks %d hashes, as a crash leaves it; it is completed when the server starts", v.behind)
	}
	if n := v.Size - min(v.Signed, v.Size); n >= 100 {
		v.problem(v.Signed, "the last %d events are under no checkpoint: doorward signs after at most 100", n)
	} else if n > 0 {
		v.note("the last %d events are under no checkpoint yet", n)
	}
	root := v.root()
	v.Root = base64.StdEncoding.EncodeToString(root[:])
	v.story.end()
}
