package http

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/doorward/doorward/internal/lane"
	wire "github.com/doorward/doorward/internal/wire/http"
)

// h2 serves the connections that speak HTTP/2, by net/http. They come to it one
// by one, after their handshake.
type h2 struct {
	*http.Server
	conns chan net.Conn
	over  chan struct{}
	once  sync.Once
	open  sync.Map // of net.Conn to *conn2
}

// conn2 is a client's connection that speaks HTTP/2.
type conn2 struct {
	lanes *lane.Pool
	end   chan struct{} // closed at its end
}

type poolKey struct{}

func (srv *Server) newH2() *h2 {
	h := &h2{conns: make(chan net.Conn), over: make(chan struct{})}
	h.Server = &http.Server{
		Handler:           http.HandlerFunc(srv.stream),
		ReadHeaderTimeout: headerWait, IdleTimeout: idleWait, MaxHeaderBytes: 64 << 10,
		HTTP2:                        &http.HTTP2Config{MaxConcurrentStreams: maxStreams},
		Protocols:                    new(http.Protocols),
		ErrorLog:                     slog.NewLogLogger(srv.opt.Log.Handler(), slog.LevelDebug),
		DisableGeneralOptionsHandler: true, // OPTIONS * is answered by net/http itself otherwise
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			if open, ok := h.open.Load(c); ok {
				return context.WithValue(ctx, poolKey{}, open.(*conn2).lanes)
			}
			return ctx
		},
		ConnState: func(c net.Conn, st http.ConnState) {
			if st != http.StateClosed && st != http.StateHijacked {
				return
			}
			if open, ok := h.open.LoadAndDelete(c); ok {
				close(open.(*conn2).end)
			}
		},
	}
	h.Protocols.SetHTTP2(true)
	return h
}

// Accept implements net.Listener.
func (h *h2) Accept() (net.Conn, error) {
	select {
	case c := <-h.conns:
		return c, nil
	case <-h.over:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (h *h2) Close() error {
	h.once.Do(func() { close(h.over) })
	return nil
}

// Addr implements net.Listener.
func (h *h2) Addr() net.Addr { return &net.TCPAddr{} }

// serve serves one connection to its end.
func (h *h2) serve(c net.Conn) {
	open := &conn2{lane.New(), make(chan struct{})}
	defer open.lanes.Close()
	h.open.Store(c, open)
	select {
	case h.conns <- c:
		<-open.end
	case <-h.over:
		h.open.Delete(c)
	}
}

// stream serves one request of HTTP/2.
func (srv *Server) stream(w http.ResponseWriter, r *http.Request) {
	defer func() {
		if p := recover(); p != nil {
			if p != http.ErrAbortHandler {
				srv.fault(p)
			}
			panic(http.ErrAbortHandler)
		}
	}()
	ctl := http.NewResponseController(w)
	x := &exchange{srv: srv, lanes: r.Context().Value(poolKey{}).(*lane.Pool), in: incoming2(r, ctl), client: &client2{w: w, ctl: ctl}}
	if !x.serve(r.Context()) {
		panic(http.ErrAbortHandler)
	}
}

// client2 writes an answer by HTTP/2.
type client2 struct {
	w     http.ResponseWriter
	ctl   *http.ResponseController
	until time.Time
	bare  bool
}

// head implements client.
func (c *client2) head(status int, fields []wire.Field, length int64) error {
	h := c.w.Header()
	for _, f := range fields {
		h.Add(f.Name, f.Value)
	}
	if c.bare = length == noBody; length >= 0 {
		h.Set("Content-Length", strconv.FormatInt(length, 10))
	}
	c.deadline()
	c.w.WriteHeader(status)
	return nil
}

func (c *client2) deadline() {
	if now := time.Now(); now.Sub(c.until) > time.Second {
		c.until = now
		_ = c.ctl.SetWriteDeadline(now.Add(writeWait))
	}
}

// write implements client.
func (c *client2) write(b []byte) error {
	if c.bare || len(b) == 0 {
		return nil
	}
	c.deadline()
	_, err := c.w.Write(b)
	return err
}

// flush implements client. A stream may have nothing to say for longer than a
// deadline, which would end it.
func (c *client2) flush() error {
	c.deadline()
	err := c.ctl.Flush()
	c.until = time.Time{}
	_ = c.ctl.SetWriteDeadline(time.Time{})
	return err
}

// end implements client: the handler's return ends the stream.
func (c *client2) end() error { return nil }

// hangUp implements client: only the stream ends.
func (c *client2) hangUp() {}

// incoming2 is a request of HTTP/2, as net/http has read it.
func incoming2(r *http.Request, ctl *http.ResponseController) incoming {
	in := incoming{method: r.Method, target: r.RequestURI, host: r.Host, remote: r.RemoteAddr, secure: r.TLS != nil, length: r.ContentLength}
	for _, name := range slices.Sorted(maps.Keys(r.Header)) {
		for _, v := range r.Header[name] {
			in.fields = append(in.fields, wire.Field{Name: name, Value: v})
		}
	}
	// A host beside the authority has to say the same (RFC 9113, section 8.3.1).
	for _, host := range r.Header["Host"] {
		if host != r.Host {
			in.wrong = "the header Host says something else than :authority"
		}
	}
	for name := range r.Trailer { // net/http has taken the header out
		in.fields = append(in.fields, wire.Field{Name: "Trailer", Value: name})
	}
	in.body = func(limit int64, take taker) ([]byte, error) {
		if r.ContentLength == 0 {
			return nil, nil
		}
		_ = ctl.SetReadDeadline(time.Now().Add(bodyWait))
		defer func() { _ = ctl.SetReadDeadline(time.Time{}) }()
		b, err := io.ReadAll(io.LimitReader(&taken{r.Body, take}, limit+1))
		switch {
		case int64(len(b)) > limit:
			return nil, &wire.Fault{Status: http.StatusRequestEntityTooLarge, Reason: fmt.Sprintf("the body has more than %d bytes", limit)}
		case err != nil:
			return nil, err
		case len(r.Trailer) > 0 && slices.ContainsFunc(slices.Collect(maps.Values(r.Trailer)), func(v []string) bool { return len(v) > 0 }):
			return nil, &wire.Fault{Status: http.StatusBadRequest, Reason: "trailers are not let through"}
		}
		if r.ContentLength >= 0 && int64(len(b)) != r.ContentLength {
			return nil, errors.New("the body is not as long as it says")
		}
		return b, nil
	}
	in.watch = func(func()) func() { return func() {} } // the request's context ends
	return in
}

// taken counts what is read.
type taken struct {
	r    io.Reader
	take taker
}

// Read implements io.Reader.
func (t *taken) Read(p []byte) (int, error) {
	n, err := t.r.Read(p)
	if over := t.take(n); over != nil {
		return n, over
	}
	return n, err
}
