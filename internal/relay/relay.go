package relay

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/doorward/doorward"
	"github.com/doorward/doorward/internal/gate"
	"github.com/doorward/doorward/internal/upstream"
	"github.com/doorward/doorward/internal/wire/frame"
)

const (
	chunk     = 32 << 10
	bulkChunk = 128 << 10              // of an answer that is read as a whole
	lineWait  = 100 * time.Millisecond // how long a line without its end is held back
	ptyWait   = 30 * time.Millisecond  // the same in front of a person
	endWait   = 5 * time.Second        // for the rest of the output after the end was told
	stopGrace = time.Second            // for a command that was told to end
	maxCells  = 10000                  // columns or rows of a window
)

// StatusFailed is the exit status of what could not be done, as OpenSSH's own.
const StatusFailed = 255

// ErrClientLeft says that the client went away in the middle.
var ErrClientLeft = errors.New("the client left")

// Process is a command, a shell or a subsystem that runs at the target under a
// spent permit.
type Process interface {
	io.Reader                          // what it writes to standard output
	Stderr() io.Reader                 // and to standard error
	Stream(*gate.Permit, []byte) error // writes what the client streams
	CloseWrite() error                 // no more input comes
	Close() error                      //
	Signal(name string) error          // name without SIG
	Resize(columns, rows uint32) error //
	Ended() <-chan upstream.End        // gets one value, or closes
}

// Event is what a client says beside its input.
type Event struct {
	Signal        string // name without SIG; "": the window has a new size
	Columns, Rows uint32
}

// Client is the client's side of a process.
type Client struct {
	Session  *gate.Session
	Input    io.Reader    // nil: it sends none
	Events   <-chan Event // nil: it has none
	Terminal *Event       // its window, when it asked for a terminal
	Gone     func() bool  // it has left
	Guard    func(func()) // runs what may not take the process down with it
	First    []byte       // frames to be released before anything else, such as a head
	Code     string       // what the record says of a process that ended well; "" for nothing
	Bulk     bool         // output comes without pauses, to an end: it is moved in large pieces
	Filter   Filter       // what standard output goes through; nil: the session's own masking of text
}

// Filter changes what a process writes on its way to the client. An error ends
// the process: nothing more may be sent.
type Filter interface {
	Write(dst, piece []byte) ([]byte, error) // appends what may be sent by now
	Flush(dst []byte) []byte                 // appends what is held back, when nothing has come for a while
	Close(dst []byte) ([]byte, error)        // appends the rest, at the end
	Held() int                               // bytes that a Flush would give
	Rows() int64                             // rows that went through so far; below 0: lines are counted
}

// text is the filter of text.
type text struct{ *gate.MaskStream }

// Write implements Filter.
func (t text) Write(dst, piece []byte) ([]byte, error) { return t.MaskStream.Write(dst, piece), nil }

// Close implements Filter.
func (t text) Close(dst []byte) ([]byte, error) { return t.Flush(dst), nil }

// Rows implements Filter.
func (t text) Rows() int64 { return -1 }

// relay moves what one permit lets run: three streams and an end. Everything
// towards the client goes through emit, one frame at a time.
type relay struct {
	c     Client
	abort func() // ends the connection to the target
	proc  Process
	p     *gate.Permit
	r     *gate.Reply
	keys  *keys // at a terminal

	mu    sync.Mutex // over r: one frame at a time, however long the client takes
	state sync.Mutex // over cut and fault
	cut   *doorward.Denial
	fault error
	stop  sync.Once

	halted chan struct{} // closed once it was told to end
}

// Run relays a process that the permit started, to its end. abort ends the
// connection to the target, for a process that does not end when it is told to.
// It returns a *doorward.Denial for a process that was stopped, which the client
// has to be told.
func Run(c Client, p *gate.Permit, proc Process, abort func()) error {
	defer proc.Close()
	l := &relay{c: c, abort: abort, proc: proc, p: p, r: p.Reply(), halted: make(chan struct{})}
	if err := l.r.Durable(c.Session.Context()); err != nil {
		return errors.Join(err, l.r.Done("connection lost"))
	}
	if c.Terminal != nil {
		l.keys = &keys{}
		l.r.Whole()
		if err := l.emit(frame.AppendWindow(nil, c.Terminal.Columns, c.Terminal.Rows), 0, 0); err != nil {
			return errors.Join(err, l.r.Done("connection lost"))
		}
	}
	if len(c.First) > 0 {
		if err := l.emit(c.First, 0, 0); err != nil {
			return errors.Join(err, l.r.Done("connection lost"))
		}
	}
	if t := p.Limits().Time; t > 0 {
		limit := time.AfterFunc(t, func() {
			l.end(&doorward.Denial{Decision: "deny", Reason: fmt.Sprintf("stopped at the time limit of %s", t), Hint: "Ask for less at once."})
		})
		defer limit.Stop()
	}
	over := make(chan struct{})
	var side sync.WaitGroup
	side.Add(1)
	go func() { defer side.Done(); c.Guard(func() { l.control(over) }) }()
	if c.Input != nil {
		go c.Guard(l.input)
	}
	var out sync.WaitGroup
	for _, stream := range []struct {
		kind byte
		from io.Reader
	}{{frame.Output, proc}, {frame.Errors, proc.Stderr()}} {
		out.Add(1)
		go func() {
			defer out.Done()
			c.Guard(func() { l.output(stream.kind, stream.from) })
		}()
	}
	drained := make(chan struct{})
	go func() { out.Wait(); close(drained) }()
	end := upstream.End{}
	select {
	case end = <-proc.Ended():
		select {
		case <-drained:
		case <-time.After(endWait):
			l.halt()
			<-drained
		}
	case <-drained:
		// It closed its output and goes on: it is watched to its end.
		select {
		case end = <-proc.Ended():
		case <-l.halted:
			select {
			case end = <-proc.Ended():
			case <-time.After(endWait):
			}
		}
	}
	close(over)
	side.Wait()
	if err := l.keep(true); err != nil {
		l.broken(err)
	}
	return l.finish(end)
}

// finish tells the client and the record how it ended.
func (l *relay) finish(end upstream.End) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	cut, fault := l.stopped()
	if fault == nil && l.c.Gone() && !end.Known {
		fault = ErrClientLeft
	}
	if fault != nil {
		return errors.Join(fault, l.r.Done("connection lost"))
	}
	if err := l.c.Session.Err(); err != nil {
		return errors.Join(err, l.r.Done("ended"))
	}
	code, last := "", []byte(nil)
	switch {
	case cut != nil:
		if err := errors.Join(l.r.Next(0, "stopped: "+cut.Reason), l.c.Session.Note(cut.Reason)); err != nil {
			return err
		}
		return cut
	case end.Failure != "":
		code = l.c.Session.Text(end.Failure)
		last = frame.AppendExit(frame.Append(nil, frame.Message, []byte("the target: "+code+"\n")), StatusFailed)
	case !end.Known:
		code, last = "the target did not say how it ended", frame.AppendExit(nil, StatusFailed)
	case end.Signal != "":
		code, last = "signal "+end.Signal, frame.Append(nil, frame.Signal, []byte(end.Signal))
	default:
		last = frame.AppendExit(nil, end.Status)
		code = l.c.Code
		if end.Status != 0 {
			code = fmt.Sprintf("exit status %d", end.Status)
		}
	}
	if err := l.r.Release(last); err != nil {
		return errors.Join(err, l.r.Next(0, code))
	}
	return l.r.Next(0, code)
}

// end stops what runs, for a reason that the client is told.
func (l *relay) end(why *doorward.Denial) {
	l.state.Lock()
	if l.cut == nil {
		l.cut = why
	}
	l.state.Unlock()
	l.halt()
}

// stopped says why the relay was stopped, if it was.
func (l *relay) stopped() (cut *doorward.Denial, fault error) {
	l.state.Lock()
	defer l.state.Unlock()
	return l.cut, l.fault
}

// broken stops what runs because it can no longer be relayed.
func (l *relay) broken(err error) {
	l.state.Lock()
	if l.fault == nil {
		l.fault = err
	}
	l.state.Unlock()
	l.halt()
}

// halt ends what runs at the target: first by a signal, then by closing it.
func (l *relay) halt() {
	l.stop.Do(func() {
		close(l.halted)
		go func() {
			_ = l.proc.Signal("TERM")
			_ = l.proc.Signal("KILL")
			_ = l.proc.Close()
			// A host waits for the command before it answers the close, and
			// takes no signal for one that it forces.
			time.AfterFunc(stopGrace, l.abort)
		}()
	})
}

// emit records and sends frames that say n more bytes and rows more lines.
func (l *relay) emit(frames []byte, rows int64, n int) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if cut, _ := l.stopped(); cut != nil {
		return nil
	}
	if n > 0 && !l.r.Pour(rows, n) {
		over := l.r.Over()
		over.Hint = "Ask for less at once."
		l.end(over)
		return nil
	}
	return l.r.Release(frames)
}

var newline = []byte{'\n'}

// output relays one of the target's streams, masked.
func (l *relay) output(kind byte, from io.Reader) {
	var f Filter
	if kind == frame.Output && l.c.Filter != nil {
		f = l.c.Filter
	} else if s := l.c.Session.Stream(); s != nil {
		f = text{s}
	}
	hold := lineWait
	if l.c.Terminal != nil {
		hold = ptyWait
	}
	var out []byte
	var counted int64
	send := func(b []byte) bool {
		for len(b) > 0 {
			part := b[:min(len(b), frame.MaxBody)]
			b = b[len(part):]
			rows := int64(bytes.Count(part, newline))
			if f != nil && f.Rows() >= 0 {
				rows = f.Rows() - counted
				counted += rows
			}
			out = frame.Append(out[:0], kind, part)
			if err := l.emit(out, rows, len(part)); err != nil {
				l.broken(err)
				return false
			}
		}
		return true
	}
	if f == nil { // nothing is looked for
		buf := make([]byte, l.chunk())
		for {
			n, err := l.read(from, buf)
			l.see(buf[:n])
			if n > 0 && !send(buf[:n]) {
				return
			}
			if err != nil {
				return
			}
		}
	}
	l.filtered(f, from, hold, send)
}

func (l *relay) chunk() int {
	if l.c.Bulk {
		return bulkChunk
	}
	return chunk
}

// read reads what there is, or in bulk a whole buffer.
func (l *relay) read(from io.Reader, buf []byte) (n int, err error) {
	n, err = from.Read(buf)
	for l.c.Bulk && err == nil && n < len(buf) {
		var m int
		m, err = from.Read(buf[n:])
		n += m
	}
	return n, err
}

// filtered is output through a filter: a line without its end goes out when
// nothing more has come for a while.
func (l *relay) filtered(f Filter, from io.Reader, hold time.Duration, send func([]byte) bool) {
	type piece struct {
		b   []byte
		err error
	}
	pieces := make(chan piece)
	done := make(chan struct{})
	defer close(done)
	go func() {
		// One buffer is read into while the other is worked on: a piece is taken
		// once the one before it is done with.
		var bufs [2][]byte
		for i := 0; ; i = 1 - i {
			if bufs[i] == nil {
				bufs[i] = make([]byte, l.chunk())
			}
			n, err := l.read(from, bufs[i])
			l.see(bufs[i][:n])
			select {
			case pieces <- piece{bufs[i][:n], err}:
			case <-done:
				return
			}
			if err != nil {
				return
			}
		}
	}()
	wait := time.NewTimer(time.Hour)
	defer wait.Stop()
	var out []byte
	for {
		select {
		case p := <-pieces:
			var err error
			out, err = f.Write(out[:0], p.b)
			if err == nil && p.err != nil {
				if p.err == io.EOF {
					out, err = f.Close(out)
				} else {
					out = f.Flush(out)
				}
			}
			if err != nil {
				l.end(&doorward.Denial{Decision: "error", Reason: "stopped: what the target sends cannot be masked: " + err.Error()})
				return
			}
			if !send(out) || p.err != nil {
				return
			}
			if f.Held() > 0 {
				wait.Reset(hold)
			} else {
				wait.Stop()
			}
		case <-wait.C:
			if out = f.Flush(out[:0]); !send(out) {
				return
			}
		}
	}
}

// see lets keys know what the terminal shows, before it is masked.
func (l *relay) see(b []byte) {
	if l.keys != nil && len(b) > 0 {
		l.keys.show(b)
	}
}

// input relays what the client types or streams.
func (l *relay) input() {
	buf := make([]byte, chunk)
	for {
		n, err := l.c.Input.Read(buf)
		if n > 0 {
			// Not under the lock of the output: a client may wait to be read
			// before it reads.
			if e := l.record(buf[:n]); e != nil {
				l.broken(e)
				return
			}
			if e := l.proc.Stream(l.p, buf[:n]); e != nil {
				return // it ended, and its end comes by the other way
			}
		}
		if err != nil {
			_ = l.proc.CloseWrite()
			return
		}
	}
}

// record keeps what the client sends: at a terminal, what the screen shows of it.
func (l *relay) record(b []byte) error {
	if l.keys == nil {
		return l.r.Input(b)
	}
	l.keys.press(b, time.Now())
	return l.keep(false)
}

// keep writes down the lines of which it is known whether the screen showed them.
func (l *relay) keep(over bool) error {
	if l.keys == nil {
		return nil
	}
	for _, t := range l.keys.settled(time.Now(), over) {
		if len(t.keys) > 0 {
			if err := l.r.Input([]byte(l.c.Session.Text(string(t.keys)))); err != nil {
				return err
			}
		}
		if t.note != "" {
			if err := l.c.Session.Note(l.c.Session.Text(t.note)); err != nil {
				return err
			}
		}
	}
	return nil
}

// control passes window changes and signals on. It may wait for a client that
// does not read; what ends things does not wait for it.
func (l *relay) control(over chan struct{}) {
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case e, ok := <-l.c.Events:
			if !ok {
				l.c.Events = nil
				continue
			}
			if e.Signal != "" {
				if err := l.c.Session.Note("signal " + e.Signal); err != nil {
					l.broken(err)
					return
				}
				_ = l.proc.Signal(e.Signal)
				continue
			}
			if l.c.Terminal == nil {
				continue
			}
			e.Columns, e.Rows = min(e.Columns, maxCells), min(e.Rows, maxCells)
			if err := l.emit(frame.AppendWindow(nil, e.Columns, e.Rows), 0, 0); err != nil {
				l.broken(err)
				return
			}
			_ = l.proc.Resize(e.Columns, e.Rows)
		case <-tick.C:
			if err := l.keep(false); err != nil {
				l.broken(err)
				return
			}
		case <-over:
			return
		}
	}
}
