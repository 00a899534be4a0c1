package http

import (
	"context"
	"errors"
	"io"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/doorward/doorward/internal/lane"
	wire "github.com/doorward/doorward/internal/wire/http"
)

const (
	watchAfter  = 50 * time.Millisecond // until a client that may leave is watched
	maxAhead    = 64 << 10              // bytes that a client may send while its request is served
	maxOutKept  = 256 << 10             // of a connection's buffer for answers
	flushAt     = 64 << 10              // bytes that wait for more of an answer
	lingerBytes = 256 << 10             // of a refused body that are read so that the answer arrives
	lingerTime  = 500 * time.Millisecond
)

// conn1 is a client's connection that speaks HTTP/1.1.
type conn1 struct {
	srv   *Server
	raw   net.Conn // for deadlines
	conn  net.Conn
	in    *timed
	r     *wire.Reader
	lanes *lane.Pool
	tls   bool

	out   []byte
	until time.Time // when the deadline for writing was last set
	chunk bool      // the answer's body goes out in chunks
	bare  bool      // the answer has no body

	last   atomic.Bool // no further request is read
	active atomic.Bool // a request is being served
}

// serve1 serves one connection of HTTP/1.1.
func (srv *Server) serve1(raw, conn net.Conn, secure bool) {
	c := &conn1{srv: srv, raw: raw, conn: conn, in: &timed{conn: conn, raw: raw}, lanes: lane.New(), tls: secure}
	c.r = wire.NewReader(c.in, wire.Limits{})
	defer c.lanes.Close()
	if !srv.speaks(raw, c.finish) {
		return
	}
	for !c.last.Load() && c.one() {
	}
}

// finish makes the connection end once its request is done.
func (c *conn1) finish() {
	c.last.Store(true)
	if !c.active.Load() {
		_ = c.raw.SetReadDeadline(time.Now())
	}
}

// one serves one request and reports whether another may follow.
func (c *conn1) one() bool {
	c.in.begin()
	if c.last.Load() { // finish may have set its deadline before this one
		return false
	}
	req, err := c.r.Request()
	if err != nil {
		var fault *wire.Fault
		if errors.As(err, &fault) {
			// There is no session to record it in: who sent it is not known.
			c.srv.opt.Log.Debug("a request that is not HTTP as it should be", "remote", c.raw.RemoteAddr().String(), "reason", fault.Reason)
			_ = c.raw.SetWriteDeadline(time.Now().Add(headerWait))
			_, _ = c.conn.Write((&wireProblem{status: fault.Status, reason: fault.Reason, hint: fault.Hint}).bare())
			c.linger()
		}
		return false
	}
	c.active.Store(true)
	defer c.active.Store(false)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	x := &exchange{srv: c.srv, lanes: c.lanes, in: c.incoming(req), client: c}
	whole := x.serve(ctx)
	c.in.known = c.in.known || x.lane != nil
	if whole && x.unread {
		// The rest of the body was not read, so where the next request begins is
		// not known.
		c.linger()
		return false
	}
	return whole && !req.Close && !c.last.Load()
}

// linger reads a little of what still comes, so that a client that sends gets
// the answer before the end of the connection (RFC 9112, section 9.6).
func (c *conn1) linger() {
	_ = c.raw.SetReadDeadline(time.Now().Add(lingerTime))
	if w, ok := c.conn.(interface{ CloseWrite() error }); ok {
		_ = w.CloseWrite()
	} else if w, ok := c.raw.(interface{ CloseWrite() error }); ok {
		_ = w.CloseWrite()
	}
	_, _ = io.CopyN(io.Discard, c.in, lingerBytes)
}

func (c *conn1) incoming(req *wire.Request) incoming {
	in := incoming{method: req.Method, target: req.Target, host: req.Host, fields: req.Fields, length: req.Length, remote: c.raw.RemoteAddr().String(), secure: c.tls, upgrade: req.Upgrade}
	if c.srv.opt.Loopback && !c.tls {
		in.secure = true // the configuration counts loopback as secure
	}
	in.body = func(limit int64, take taker) ([]byte, error) {
		if req.Length == 0 {
			return nil, nil
		}
		if req.Continue {
			_ = c.raw.SetWriteDeadline(time.Now().Add(headerWait))
			if _, err := c.conn.Write([]byte("HTTP/1.1 100 Continue\r\n\r\n")); err != nil {
				return nil, err
			}
		}
		_ = c.raw.SetReadDeadline(time.Now().Add(bodyWait))
		c.in.take = take
		defer func() { c.in.take = nil }()
		return c.r.Body(nil, limit)
	}
	in.watch = c.watch
	return in
}

// watch calls left when the client goes away while its request is served. It
// looks only once that has taken a while; stop ends it.
func (c *conn1) watch(left func()) (stop func()) {
	var mu sync.Mutex
	var done chan struct{}
	stopped := false
	_ = c.raw.SetReadDeadline(time.Time{})
	timer := time.AfterFunc(watchAfter, func() {
		mu.Lock()
		defer mu.Unlock()
		if stopped {
			return
		}
		done = make(chan struct{})
		go func() {
			defer close(done)
			if gone := c.in.peek(); gone {
				mu.Lock()
				over := stopped
				mu.Unlock()
				if !over {
					left()
				}
			}
		}()
	})
	return func() {
		timer.Stop()
		mu.Lock()
		stopped = true
		reading := done
		mu.Unlock()
		if reading != nil {
			_ = c.raw.SetReadDeadline(time.Unix(1, 0))
			<-reading
			_ = c.raw.SetReadDeadline(time.Time{})
		}
	}
}

// timed reads a connection: while nothing of a request has come it may wait for
// long, and then not.
type timed struct {
	raw, conn net.Conn
	known     bool // the client has signed in: it may wait long between requests
	begun     bool
	ahead     []byte // was read while a request was served
	take      taker  // while a body is read
}

func (t *timed) begin() {
	t.begun = len(t.ahead) > 0
	wait := headerWait
	if t.known && !t.begun {
		wait = idleWait
	}
	_ = t.raw.SetReadDeadline(time.Now().Add(wait))
}

// Read implements io.Reader.
func (t *timed) Read(p []byte) (n int, err error) {
	if t.take != nil {
		if err := t.take(0); err != nil {
			return 0, err
		}
		defer func() { _ = t.take(n) }() // the next read says it
	}
	if len(t.ahead) > 0 {
		n := copy(p, t.ahead)
		t.ahead = t.ahead[n:]
		return n, nil
	}
	n, err = t.conn.Read(p)
	if n > 0 && !t.begun {
		t.begun = true
		_ = t.raw.SetReadDeadline(time.Now().Add(headerWait))
	}
	return n, err
}

// peek waits until the client leaves, and reports whether it did. What it sends
// before is kept for its turn. One that sends more than [maxAhead] is taken for
// one that left: behind it nobody would see whether it does, and its request
// would hold its place at the service for as long as that likes.
func (t *timed) peek() (gone bool) {
	var b [1 << 10]byte
	for {
		n, err := t.conn.Read(b[:])
		if t.ahead = append(t.ahead, b[:n]...); len(t.ahead) > maxAhead {
			return true
		}
		var timeout net.Error
		if err != nil {
			return !(errors.As(err, &timeout) && timeout.Timeout())
		}
	}
}

// head implements client.
func (c *conn1) head(status int, fields []wire.Field, length int64) error {
	c.chunk, c.bare = false, false
	switch {
	case length >= 0:
		fields = append(fields, wire.Field{Name: "Content-Length", Value: strconv.FormatInt(length, 10)})
	case length == noBody:
		c.bare = true
	default:
		c.chunk = true
		fields = append(fields, wire.Field{Name: "Transfer-Encoding", Value: "chunked"})
	}
	if c.last.Load() {
		fields = append(fields, wire.Field{Name: "Connection", Value: "close"})
	}
	fields = append(fields, wire.Field{Name: "Date", Value: c.srv.date()})
	c.out = wire.AppendAnswer(c.out, status, fields)
	return nil
}

// write implements client.
func (c *conn1) write(b []byte) error {
	if c.bare || len(b) == 0 {
		return nil
	}
	if c.chunk {
		c.out = wire.AppendChunk(c.out, b)
	} else {
		c.out = append(c.out, b...)
	}
	if len(c.out) >= flushAt {
		return c.flush()
	}
	return nil
}

// flush implements client.
func (c *conn1) flush() error {
	if len(c.out) == 0 {
		return nil
	}
	if now := time.Now(); now.Sub(c.until) > time.Second {
		c.until = now
		_ = c.raw.SetWriteDeadline(now.Add(writeWait))
	}
	_, err := c.conn.Write(c.out)
	if c.out = c.out[:0]; cap(c.out) > maxOutKept {
		c.out = nil
	}
	return err
}

// end implements client.
func (c *conn1) end() error {
	if c.chunk {
		c.out = wire.AppendLastChunk(c.out)
		c.chunk = false
	}
	return c.flush()
}

// hangUp implements client.
func (c *conn1) hangUp() { c.last.Store(true) }

// dateText is how a second is written.
type dateText struct {
	second int64
	text   string
}

// date is the time as HTTP writes it (RFC 9110, section 5.6.7).
func (srv *Server) date() string {
	now := time.Now()
	if d := srv.dates.Load(); d != nil && d.second == now.Unix() {
		return d.text
	}
	d := &dateText{now.Unix(), now.UTC().Format("Mon, 02 Jan 2006 15:04:05 GMT")}
	srv.dates.Store(d)
	return d.text
}
