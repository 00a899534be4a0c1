package tape

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/doorward/doorward"
)

// Options of a recorder. The zero value is good.
type Options struct {
	SessionBytes int64         // replies and input kept of one session; 0: 64 MiB
	ReplyBytes   int64         // of one request; 0: 256 KiB
	Every        time.Duration // how long a frame may wait for its block; 0: 1 second

	open func(path string, flag int) (file, error) // tests put a failing disk here
}

type file interface {
	io.Writer
	Sync() error
	Close() error
}

const (
	blockBytes = 32 << 10 // a block is written when it has this many raw bytes
	keepBytes  = 128 << 10
)

// Recorder makes tapes in one folder.
type Recorder struct {
	dir     string
	opts    Options
	enc     *zstd.Encoder
	err     error // of NewRecorder; every Open returns it
	buffers sync.Pool

	mu    sync.Mutex
	dirty []*Tape // tapes that hold a buffer
	spare []*Tape
	armed bool
}

type buffer struct{ raw []byte }

// NewRecorder makes a recorder. It holds no goroutine and no open file while
// nothing is recorded.
func NewRecorder(dir string, opts Options) *Recorder {
	if opts.SessionBytes <= 0 {
		opts.SessionBytes = 64 << 20
	}
	if opts.ReplyBytes <= 0 {
		opts.ReplyBytes = 256 << 10
	}
	if opts.Every <= 0 {
		opts.Every = time.Second
	}
	if opts.open == nil {
		opts.open = func(path string, flag int) (file, error) { return os.OpenFile(path, flag, 0o600) }
	}
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(2),
		zstd.WithWindowSize(64<<10), zstd.WithEncoderCRC(false), zstd.WithLowerEncoderMem(true))
	r := &Recorder{dir: dir, opts: opts, enc: enc, err: err}
	r.buffers.New = func() any { return &buffer{make([]byte, 0, blockBytes+blockBytes/4)} }
	return r
}

// Dir is the folder of the tapes.
func (r *Recorder) Dir() string { return r.dir }

// Tape is one session's recording. It implements doorward.Tape.
type Tape struct {
	r       *Recorder
	name    string
	started time.Time

	mu     sync.Mutex
	buf    *buffer // nil while idle
	count  uint32  // frames in buf
	chain  [32]byte
	frames uint64
	size   int64 // of the file
	kept   int64 // bytes of replies and input in the session
	err    error
	closed bool
	listed bool // in r.dirty

	whole uint64 // request that has no bound of its own; 0: none

	// The request whose replies are being bounded.
	request uint64
	part    [2]int64 // bytes kept of its replies and of its input
	left    int64    // bytes left out
	leftAt  time.Time
}

// Open starts the tape of a session. There must not be one yet.
func (r *Recorder) Open(ctx context.Context, h doorward.Header) (doorward.Tape, error) {
	t, err := r.Start(ctx, h)
	if err != nil {
		return nil, err
	}
	return t, nil
}

// Start is Open, with the concrete type.
func (r *Recorder) Start(ctx context.Context, h doorward.Header) (*Tape, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if r.err != nil {
		return nil, fmt.Errorf("the recorder could not start: %w", r.err)
	}
	if !ValidSession(h.Session) {
		return nil, fmt.Errorf("the session id %.80q cannot name a tape: use 1 to 64 letters, digits, _ or -", h.Session)
	}
	if h.Started.IsZero() {
		h.Started = time.Now()
	}
	head, err := json.Marshal(h)
	if err != nil {
		return nil, fmt.Errorf("the tape's header: %w", err)
	}
	if len(head) > maxHeader {
		return nil, fmt.Errorf("the tape's header has %d bytes, more than %d", len(head), maxHeader)
	}
	b := binary.LittleEndian.AppendUint32([]byte(magic), uint32(len(head)))
	b = append(b, head...)
	t := &Tape{r: r, name: Name(h.Session, h.Started), started: h.Started, chain: sha256.Sum256(b)}
	path := t.path()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("making the folder for a tape: %w", err)
	}
	if err := t.put(os.O_CREATE|os.O_EXCL, b); err != nil {
		return nil, err
	}
	return t, nil
}

// Name is the file name relative to the recordings' folder, as the event that
// closes the session names it.
func (t *Tape) Name() string { return t.name }

func (t *Tape) path() string { return filepath.Join(t.r.dir, filepath.FromSlash(t.name)) }

// put appends to the file, which is open only here.
func (t *Tape) put(flag int, b []byte, sync ...bool) error {
	f, err := t.r.opts.open(t.path(), os.O_WRONLY|os.O_APPEND|flag)
	if err == nil {
		var n int
		n, err = f.Write(b)
		if err == nil && n != len(b) {
			err = io.ErrShortWrite
		}
		if err == nil && len(sync) > 0 {
			err = f.Sync()
		}
		if e := f.Close(); err == nil {
			err = e
		}
	}
	if err != nil {
		return fmt.Errorf("recording to %s: %w", t.name, err)
	}
	t.size += int64(len(b))
	return nil
}

// Write adds a frame. Replies and input over the bounds are left out, and a
// cut mark says how much. An error is final: the tape takes nothing more.
func (t *Tape) Write(f doorward.Frame) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.err != nil {
		return t.err
	}
	if t.closed {
		return errors.New("the tape is closed")
	}
	if len(f.Data) > MaxFrame {
		return t.fail(fmt.Errorf("a frame of %d bytes is over the tape's bound of %d", len(f.Data), MaxFrame))
	}
	switch f.Kind {
	case doorward.FrameReply, doorward.FrameInput:
		if f.Request != t.request {
			t.endRequest()
			t.request, t.part = f.Request, [2]int64{}
		}
		part := &t.part[0]
		if f.Kind == doorward.FrameInput {
			part = &t.part[1]
		}
		room := t.r.opts.SessionBytes - t.kept
		if f.Request != t.whole || t.whole == 0 {
			room = min(room, t.r.opts.ReplyBytes-*part)
		}
		if n := int64(len(f.Data)); n > room {
			room = max(room, 0)
			t.left += n - room
			t.leftAt = f.At
			f.Data = f.Data[:room]
			if room == 0 {
				return nil
			}
		}
		*part += int64(len(f.Data))
		t.kept += int64(len(f.Data))
	case doorward.FrameOutcome:
		if f.Request == t.request {
			t.endRequest()
		}
	}
	t.add(&f)
	if len(t.buf.raw) >= blockBytes {
		return t.flush(false)
	}
	return nil
}

// Whole takes the bound of one request away, for one that is a session in
// itself, such as a shell. The bound of the session stays.
func (t *Tape) Whole(request uint64) {
	t.mu.Lock()
	t.whole = request
	t.mu.Unlock()
}

// endRequest writes what was left out of the current request.
func (t *Tape) endRequest() {
	if t.left == 0 {
		return
	}
	why := "request"
	if t.kept >= t.r.opts.SessionBytes {
		why = "session"
	}
	var space [96]byte
	b := append(space[:0], `{"bytes":`...)
	b = strconv.AppendInt(b, t.left, 10)
	b = append(b, `,"why":"over the bound of bytes kept of one `...)
	b = append(b, why...)
	b = append(b, `"}`...)
	t.left = 0
	t.add(&doorward.Frame{Kind: doorward.FrameCut, At: t.leftAt, Request: t.request, Data: b})
}

func (t *Tape) add(f *doorward.Frame) {
	if t.buf == nil {
		t.buf = t.r.buffers.Get().(*buffer)
		t.r.wake(t)
	}
	t.buf.raw = appendFrame(t.buf.raw, f, f.At.Sub(t.started).Nanoseconds())
	t.count++
	t.frames++
}

func (t *Tape) fail(err error) error {
	t.err = err
	t.release()
	return err
}

// release gives the buffer back.
func (t *Tape) release() {
	b := t.buf
	t.buf, t.count = nil, 0
	if b != nil && cap(b.raw) <= keepBytes {
		b.raw = b.raw[:0]
		t.r.buffers.Put(b)
	}
}

// flush writes the buffer as a block. The lock is held.
func (t *Tape) flush(release bool) error {
	if t.err != nil || t.buf == nil {
		return t.err
	}
	if len(t.buf.raw) > 0 {
		out := t.r.buffers.Get().(*buffer)
		b := append(out.raw[:0], make([]byte, blockHeadSize+32)...)
		b = t.r.enc.EncodeAll(t.buf.raw, b)
		data := b[blockHeadSize+32:]
		b[0] = blockMark
		binary.LittleEndian.PutUint32(b[1:], uint32(len(data)))
		binary.LittleEndian.PutUint32(b[5:], uint32(len(t.buf.raw)))
		binary.LittleEndian.PutUint32(b[9:], t.count)
		t.chain = link(t.chain, b[:blockHeadSize], data)
		copy(b[blockHeadSize:], t.chain[:])
		err := t.put(0, b)
		out.raw = b[:0]
		if cap(b) <= keepBytes {
			t.r.buffers.Put(out)
		}
		if err != nil {
			return t.fail(err)
		}
		t.buf.raw = t.buf.raw[:0]
		t.count = 0
	}
	if release || cap(t.buf.raw) > keepBytes {
		t.release()
	}
	return nil
}

// Close ends the tape: it writes what is left and the trailer, and makes the
// file durable.
func (t *Tape) Close() (doorward.Seal, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return doorward.Seal{}, errors.New("the tape is closed already")
	}
	t.closed = true
	if t.err != nil {
		return doorward.Seal{}, t.err
	}
	t.endRequest()
	if err := t.flush(true); err != nil {
		return doorward.Seal{}, err
	}
	b := binary.LittleEndian.AppendUint64([]byte{endMark}, t.frames)
	t.chain = link(t.chain, b, nil)
	b = append(b, t.chain[:]...)
	if err := t.put(0, b, true); err != nil {
		return doorward.Seal{}, t.fail(err)
	}
	if err := syncDir(filepath.Dir(t.path())); err != nil {
		return doorward.Seal{}, t.fail(fmt.Errorf("recording to %s: %w", t.name, err))
	}
	return doorward.Seal{Hash: hex.EncodeToString(t.chain[:]), Frames: t.frames, Bytes: t.size}, nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	if e := d.Close(); err == nil {
		err = e
	}
	return err
}

// wake lists a tape that got a buffer, for the sweeper.
func (r *Recorder) wake(t *Tape) {
	r.mu.Lock()
	if !t.listed {
		t.listed = true
		r.dirty = append(r.dirty, t)
	}
	if !r.armed {
		r.armed = true
		time.AfterFunc(r.opts.Every, r.sweep)
	}
	r.mu.Unlock()
}

// sweep writes out every tape that holds a buffer and gives the buffers back,
// so that a session that does nothing costs next to nothing.
func (r *Recorder) sweep() {
	r.mu.Lock()
	list := r.dirty
	r.dirty, r.spare = r.spare[:0], nil
	for _, t := range list {
		t.listed = false
	}
	r.armed = false
	r.mu.Unlock()
	for i, t := range list {
		t.mu.Lock()
		if t.buf != nil {
			t.flush(true) // an error stays in the tape: its next Write returns it
		}
		t.mu.Unlock()
		list[i] = nil
	}
	r.mu.Lock()
	if r.spare == nil && cap(list) <= 4096 {
		r.spare = list[:0]
	}
	r.mu.Unlock()
}
