package http

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/doorward/doorward/internal/gate"
	"github.com/doorward/doorward/internal/upstream"
)

const (
	headerWait = 10 * time.Second
	openWait   = 15 * time.Second
	idleWait   = 3 * time.Minute
	bodyWait   = 30 * time.Second
	writeWait  = 5 * time.Minute // for a client that does not read
	tokenLimit = 16 << 10
	maxBodies  = 512 << 20 // bytes of all requests together
	maxStreams = 250       // of one HTTP/2 connection
)

// Options wires the adapter.
type Options struct {
	Gate *gate.Gate
	TLS  *tls.Config
	// Loopback lets clients without TLS in, on a loopback address.
	Loopback bool
	// Target gives the target that clients reach by this host name, or "".
	Target func(host string) string
	// Service gives what is to be known of a target before a request to it is
	// read; ok is false where there is no such target.
	Service func(target string) (Service, bool)
	// Reach gives the session's service, within the target's bound of requests at
	// once; done gives the place back.
	Reach func(ctx context.Context, s *gate.Session) (h *upstream.HTTP, done func(), err error)
	Log   *slog.Logger
}

// Service is what the adapter has to know of a target.
type Service struct {
	Headers       []string // request headers that are sent on beside the usual ones, in lower case
	AnswerHeaders []string // answer headers that are sent on beside the usual ones, in lower case
	Encodings     []string // of answers that were asked for
	Binary        []string // types that are passed on although nothing can be masked in them
	Origins       []string // scheme://host of the service, as it may write it in a Location
}

// Server serves the clients of HTTP services.
type Server struct {
	opt    Options
	h2     *h2
	dates  atomic.Pointer[dateText]
	bodies atomic.Int64 // bytes of requests that are being read, judged or held

	mu    sync.Mutex
	conns map[net.Conn]func() // lets one end once its request is done; nil: it speaks nothing yet
	l     net.Listener        // nil: it is not served
	over  bool
	done  sync.WaitGroup
}

// New makes a server. Serve it with [Server.Serve].
func New(opt Options) *Server {
	if opt.Log == nil {
		opt.Log = slog.Default()
	}
	srv := &Server{opt: opt, conns: map[net.Conn]func(){}}
	srv.h2 = srv.newH2()
	return srv
}

// Serve accepts connections until the listener is closed.
func (srv *Server) Serve(l net.Listener) error {
	srv.mu.Lock()
	srv.l = l
	srv.mu.Unlock()
	go func() { _ = srv.h2.Serve(srv.h2) }()
	defer srv.h2.Close()
	for {
		c, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			srv.opt.Log.Warn("accept", "error", err)
			time.Sleep(50 * time.Millisecond)
			continue
		}
		if !srv.enter(c) {
			_ = c.Close()
			continue
		}
		go srv.connection(c)
	}
}

func (srv *Server) enter(c net.Conn) bool {
	srv.mu.Lock()
	defer srv.mu.Unlock()
	if srv.over {
		return false
	}
	srv.conns[c] = nil
	srv.done.Add(1)
	return true
}

// speaks notes how a connection can be asked to end. It reports whether the
// server still serves.
func (srv *Server) speaks(c net.Conn, finish func()) bool {
	srv.mu.Lock()
	defer srv.mu.Unlock()
	srv.conns[c] = finish
	return !srv.over
}

func (srv *Server) leave(c net.Conn) {
	srv.mu.Lock()
	delete(srv.conns, c)
	srv.mu.Unlock()
	srv.done.Done()
}

// connection serves one connection to its end.
func (srv *Server) connection(c net.Conn) {
	defer srv.leave(c)
	defer c.Close()
	defer func() {
		if p := recover(); p != nil {
			srv.fault(p)
		}
	}()
	_ = c.SetDeadline(time.Now().Add(headerWait))
	in := bufio.NewReaderSize(c, 512)
	first, err := in.Peek(1)
	if err != nil {
		return
	}
	plain := &peeked{Conn: c, in: in}
	if first[0] != 0x16 { // no TLS record of a handshake
		if srv.opt.Loopback {
			_ = c.SetDeadline(time.Time{})
			srv.serve1(c, plain, false)
			return
		}
		d := &wireProblem{status: http.StatusBadRequest, reason: "this listener speaks TLS", hint: "Use https://."}
		_, _ = c.Write(d.bare())
		return
	}
	t := tls.Server(plain, srv.opt.TLS)
	ctx, cancel := context.WithTimeout(context.Background(), headerWait)
	defer cancel()
	if err := t.HandshakeContext(ctx); err != nil {
		srv.opt.Log.Debug("TLS", "remote", c.RemoteAddr().String(), "error", err)
		return
	}
	_ = c.SetDeadline(time.Time{})
	if t.ConnectionState().NegotiatedProtocol == "h2" {
		if srv.speaks(c, func() {}) {
			srv.h2.serve(t)
		}
		return
	}
	srv.serve1(c, t, true)
}

// peeked is a connection of which something was looked at.
type peeked struct {
	net.Conn
	in *bufio.Reader
}

// Read implements net.Conn.
func (p *peeked) Read(b []byte) (int, error) {
	if p.in != nil {
		if p.in.Buffered() > 0 {
			return p.in.Read(b)
		}
		p.in = nil
	}
	return p.Conn.Read(b)
}

func (srv *Server) fault(p any) {
	srv.opt.Gate.Stats.Faults.Add(1)
	srv.opt.Log.Error("a request ended by a fault of doorward", "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
}

// Shutdown ends the server: requests that are open may finish until ctx ends.
func (srv *Server) Shutdown(ctx context.Context) error {
	srv.mu.Lock()
	srv.over = true
	if srv.l != nil {
		_ = srv.l.Close()
	}
	for raw, finish := range srv.conns {
		if finish != nil {
			finish()
		} else {
			_ = raw.Close()
		}
	}
	srv.mu.Unlock()
	_ = srv.h2.Shutdown(ctx) // lets connections of HTTP/2 end
	ended := make(chan struct{})
	go func() { srv.done.Wait(); close(ended) }()
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
	}
	srv.mu.Lock()
	for raw := range srv.conns {
		_ = raw.Close()
	}
	srv.mu.Unlock()
	return ctx.Err()
}
