package upstream

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/url"
	"sync"
	"time"

	classify "github.com/doorward/doorward/internal/classify/http"
	"github.com/doorward/doorward/internal/gate"
	wire "github.com/doorward/doorward/internal/wire/http"
)

// HTTPOptions says how an HTTP service is reached.
type HTTPOptions struct {
	Name    string
	Address *url.URL    // scheme (http or https) and host; nothing else of it counts
	Host    string      // what the service is told that it is called
	TLS     *tls.Config // for https
	// Sign puts doorward's credential into a request; nil: there is none.
	Sign func(ctx context.Context, out *Outgoing) error
	// Refused is told that the service did not take the credential; may be nil.
	Refused func()
	// Who gives headers that tell the service who asks; may be nil.
	Who       func(s *gate.Session) []wire.Field
	Encodings string         // that the service may answer in, as Accept-Encoding has it
	Networks  []netip.Prefix // where the name may lead; empty: anywhere but this machine and its link
	Resolver  string         // host:port of the DNS server that is asked; "": the system's
}

// Outgoing is a request on its way to a service.
type Outgoing struct {
	Method, Target, Host string
	Fields               []wire.Field
	Body                 []byte
}

// HTTP is an HTTP service behind the gate. Its connections are shared by all
// sessions: what is sent on one is one permit's request at a time, and nothing
// of a session stays on it.
type HTTP struct {
	opt  HTTPOptions
	mu   sync.Mutex
	idle []*httpConn // the one that was used last is at the end
	over bool
}

// HTTPAnswer is what a service answers. The caller closes it.
type HTTPAnswer struct {
	Status int
	Fields []wire.Field
	Length int64 // of the body; -1: not known yet
	conn   *httpConn
	h      *HTTP
	stop   func() bool

	mu      sync.Mutex
	reading bool  // somebody is within a Read
	closed  bool  // the connection is no longer this answer's
	end     error // what every later Read says
}

// Bounds of connections to a service.
const (
	maxIdleHTTP = 128
	idleHTTP    = 55 * time.Second // most servers close after 60 s or more
	idleWrite   = 5 * time.Second  // the same for what must not be sent twice
	answerWait  = 5 * time.Minute  // for the head of an answer, where no rule says less
)

// ErrUnknownFate says that the connection to a service broke after the request
// was sent: nobody knows whether it ran.
var ErrUnknownFate = errors.New("the connection broke after the request was sent: it is not known whether it ran")

// NewHTTP checks the options of a service.
func NewHTTP(opt HTTPOptions) (*HTTP, error) {
	if opt.Address == nil || opt.Address.Host == "" || opt.Address.Scheme != "http" && opt.Address.Scheme != "https" {
		return nil, fmt.Errorf("target %s: no way to the service", opt.Name)
	}
	if opt.Address.Scheme == "https" && opt.TLS == nil {
		return nil, fmt.Errorf("target %s: https without TLS", opt.Name)
	}
	if opt.Host == "" {
		opt.Host = opt.Address.Host
	}
	return &HTTP{opt: opt}, nil
}

// Send spends the permit and sends its request: the permit's bytes are the text
// that was judged, and nothing of the client is sent but what it holds.
func (h *HTTP) Send(ctx context.Context, s *gate.Session, p *gate.Permit) (*HTTPAnswer, error) {
	if p.Rehearsal() {
		return nil, errors.Join(gate.ErrPermit, ErrNoRehearsal)
	}
	text, err := p.Spend(s)
	if err != nil {
		return nil, err
	}
	r, err := classify.Parse(string(text))
	if err != nil {
		return nil, errors.Join(gate.ErrPermit, err)
	}
	out := &Outgoing{Method: r.Method, Target: r.Target(), Host: h.opt.Host, Body: r.Body}
	out.Fields = make([]wire.Field, 0, len(r.Fields)+4)
	for _, f := range r.Fields {
		out.Fields = append(out.Fields, wire.Field{Name: f.Name, Value: f.Value})
	}
	if h.opt.Encodings != "" {
		out.Fields = append(out.Fields, wire.Field{Name: "accept-encoding", Value: h.opt.Encodings})
	}
	// Doorward's own headers come last; none of the client's has their names.
	if h.opt.Who != nil {
		out.Fields = append(out.Fields, h.opt.Who(s)...)
	}
	if h.opt.Sign != nil {
		if err := h.opt.Sign(ctx, out); err != nil {
			return nil, fmt.Errorf("target %s: %w", h.opt.Name, errors.Join(ErrCredential, err))
		}
	}
	return h.exchange(ctx, out)
}

// exchange sends a request and reads the head of its answer.
func (h *HTTP) exchange(ctx context.Context, out *Outgoing) (*HTTPAnswer, error) {
	reads := out.Method == "GET" || out.Method == "HEAD" || out.Method == "OPTIONS"
	for try := 0; ; try++ {
		c, err := h.take(ctx, reads && try == 0, !reads)
		if err != nil {
			return nil, fmt.Errorf("target %s: %w", h.opt.Name, err)
		}
		a, sent, err := c.roundTrip(ctx, out)
		if err == nil {
			a.h = h
			return a, h.accept(a)
		}
		c.close()
		if ctx.Err() != nil {
			return nil, fmt.Errorf("target %s: %w", h.opt.Name, context.Cause(ctx))
		}
		// A server may close a connection that nobody uses just when it is used
		// again. What only reads is sent once more, on a connection of its own.
		if c.used > 0 && reads && try == 0 && errors.Is(err, errNoAnswer) {
			continue
		}
		if sent && !reads {
			err = errors.Join(ErrUnknownFate, err)
		}
		return nil, fmt.Errorf("target %s: %w", h.opt.Name, err)
	}
}

// accept turns away answers that clients must not see.
func (h *HTTP) accept(a *HTTPAnswer) error {
	if a.Status != 401 || h.opt.Sign == nil {
		return nil
	}
	if h.opt.Refused != nil {
		h.opt.Refused()
	}
	_ = a.Close()
	return fmt.Errorf("target %s: %w", h.opt.Name, ErrCredential)
}

// Probe asks for the root, to see whether the service is there and takes the
// credential. Any answer but 401 and 5xx will do.
func (h *HTTP) Probe(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	out := &Outgoing{Method: "HEAD", Target: "/", Host: h.opt.Host}
	if h.opt.Sign != nil {
		if err := h.opt.Sign(ctx, out); err != nil {
			return fmt.Errorf("target %s: %w", h.opt.Name, err)
		}
	}
	a, err := h.exchange(ctx, out)
	if err != nil {
		return err
	}
	defer a.Close()
	if a.Status >= 500 {
		return fmt.Errorf("target %s: the service answers %d", h.opt.Name, a.Status)
	}
	return nil
}

// Read reads the body of the answer. At its end it gives the connection back, and
// after Close it touches it no more: it may serve another's answer by then.
func (a *HTTPAnswer) Read(p []byte) (int, error) {
	a.mu.Lock()
	if a.closed {
		a.mu.Unlock()
		return 0, a.end
	}
	a.reading = true
	a.mu.Unlock()
	n, err := a.conn.r.Read(p)
	a.mu.Lock()
	a.reading = false
	a.mu.Unlock()
	if err == io.EOF {
		a.release(io.EOF)
	}
	return n, err
}

// Close ends the answer. A connection whose answer was read to its end is used
// again.
func (a *HTTPAnswer) Close() error {
	a.release(net.ErrClosed)
	return nil
}

// release parts the answer from its connection. One that is still being read
// from is closed, whatever has come of the answer.
func (a *HTTPAnswer) release(end error) {
	a.mu.Lock()
	if a.closed {
		a.mu.Unlock()
		return
	}
	a.closed, a.end = true, end
	busy := a.reading
	a.mu.Unlock()
	if a.stop() && !busy && a.conn.r.Done() && a.conn.r.Buffered() == 0 && !a.conn.last {
		a.h.put(a.conn)
		return
	}
	a.conn.close()
}

// take gives a connection: one that is free, or a new one. What must not be
// sent twice gets one that was used a moment ago, or a new one.
func (h *HTTP) take(ctx context.Context, old, careful bool) (*httpConn, error) {
	limit := idleHTTP
	if careful {
		limit = idleWrite
	}
	for old || careful {
		h.mu.Lock()
		n := len(h.idle)
		if n == 0 {
			h.mu.Unlock()
			break
		}
		c := h.idle[n-1]
		h.idle = h.idle[:n-1]
		h.mu.Unlock()
		if time.Since(c.since) < limit && c.alive() {
			return c, nil
		}
		c.close()
	}
	return h.dial(ctx)
}

func (h *HTTP) put(c *httpConn) {
	c.used++
	c.since = time.Now()
	h.mu.Lock()
	var first *httpConn
	if h.over {
		first = c
	} else {
		h.idle = append(h.idle, c)
		if len(h.idle) > maxIdleHTTP || time.Since(h.idle[0].since) > idleHTTP {
			first = h.idle[0]
			h.idle = append(h.idle[:0], h.idle[1:]...)
		}
	}
	h.mu.Unlock()
	if first != nil {
		first.close()
	}
}

// Close ends connections that nobody uses, and those in use once they are free.
func (h *HTTP) Close() {
	h.mu.Lock()
	idle := h.idle
	h.idle, h.over = nil, true
	h.mu.Unlock()
	for _, c := range idle {
		c.close()
	}
}

var _ io.ReadCloser = (*HTTPAnswer)(nil)
