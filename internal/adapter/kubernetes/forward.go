package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/websocket"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/streaming/pkg/httpstream"
	"k8s.io/streaming/pkg/httpstream/spdy"
	"k8s.io/streaming/pkg/httpstream/wsstream"

	"github.com/doorward/doorward"
	"github.com/doorward/doorward/internal/gate"
	"github.com/doorward/doorward/internal/lane"
	"github.com/doorward/doorward/internal/relay"
	"github.com/doorward/doorward/internal/wire/frame"
)

const (
	protocolForward = "portforward.k8s.io"
	tunnelPrefix    = "SPDY/3.1+" // of the WebSocket protocol that carries SPDY
	maxForwards     = 64          // connections of one port-forward at once
	pairWait        = 30 * time.Second
)

// forward serves kubectl port-forward. The stream that it opens says nothing of
// ports; each connection on it does, and each is judged as a request of its own,
// with its port. The text that was asked for here is judged to tell the client
// at once when there is no use.
func (q *query) forward(text string) error {
	s := q.lane.Session
	if s.Detects() {
		return q.refuse(text, http.StatusForbidden, "what goes through a forwarded port cannot be masked, and what this target sends has to be", "Whoever keeps the configuration can take the target out of the detect rules.")
	}
	st, err := s.Read(s.Context(), text)
	if err != nil {
		return err
	}
	if s.Outcome(st) == doorward.Deny {
		_, err := q.ask(text) // records it, and says why
		if err == nil {
			err = errors.New("the rules changed while this was decided")
		}
		return err
	}
	arrive := make(chan httpstream.Stream, 1)
	over := make(chan struct{})
	conn, err := q.upgradeForward(text, func(st httpstream.Stream, _ <-chan struct{}) error {
		if _, err := portOf(st); err != nil {
			return err
		}
		select {
		case arrive <- st:
			return nil
		case <-over:
			return errors.New("the connection has ended")
		}
	})
	if err != nil {
		return err
	}
	defer conn.Close()
	_ = q.upgraded(nil)
	s.Busy(false) // a shutdown does not wait for a connection that nobody ends
	f := &forwards{q: q, conn: conn, pairs: map[string]*pair{}, slots: make(chan struct{}, maxForwards)}
	defer f.open.Wait()
	defer close(over)
	defer conn.Close()
	for {
		select {
		case st := <-arrive:
			f.add(st)
		case <-conn.CloseChan():
			return nil
		case <-s.Context().Done():
			return nil
		}
	}
}

// upgradeForward takes the client's connection over: SPDY, or SPDY within
// WebSocket.
func (q *query) upgradeForward(text string, handle httpstream.NewStreamHandler) (httpstream.Connection, error) {
	if !wsstream.IsWebSocketRequest(q.r) {
		offered := q.r.Header[http.CanonicalHeaderKey(httpstream.HeaderProtocolVersion)]
		if !strings.Contains(strings.Join(offered, ","), protocolForward) {
			return nil, q.refuse(text, http.StatusForbidden, "the client speaks no protocol for this that doorward does", "Use kubectl 1.5 or newer.")
		}
		if _, err := httpstream.Handshake(q.r, q.w, []string{protocolForward}); err != nil {
			return nil, q.upgraded(err)
		}
		conn := spdy.NewResponseUpgrader().UpgradeResponse(q.w, q.r, handle)
		if conn == nil {
			return nil, q.upgraded(errors.New("the client's connection cannot be upgraded"))
		}
		return conn, nil
	}
	up := websocket.Upgrader{Subprotocols: []string{tunnelPrefix + protocolForward}, HandshakeTimeout: headerWait, CheckOrigin: func(*http.Request) bool { return true }}
	if !wsstream.IsWebSocketRequestWithTunnelingProtocol(q.r) {
		return nil, q.refuse(text, http.StatusForbidden, "the client speaks no protocol for this that doorward does", "Use kubectl.")
	}
	ws, err := up.Upgrade(q.w, q.r, nil)
	if err != nil {
		return nil, q.upgraded(err)
	}
	if ws.Subprotocol() != tunnelPrefix+protocolForward {
		_ = ws.Close()
		return nil, q.upgraded(errors.New("the client chose another protocol"))
	}
	conn, err := spdy.NewServerConnection(portforward.NewTunnelingConnection("client", ws), handle)
	if err != nil {
		_ = ws.Close()
		return nil, q.upgraded(err)
	}
	return conn, nil
}

// upgraded marks the answer as begun, for better or worse: no other can follow
// on the connection.
func (q *query) upgraded(err error) error {
	q.mu.Lock()
	q.sent = true
	q.mu.Unlock()
	return err
}

func portOf(st httpstream.Stream) (uint16, error) {
	n, err := strconv.ParseUint(st.Headers().Get(corev1.PortHeader), 10, 16)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("%.20q is no port", st.Headers().Get(corev1.PortHeader))
	}
	return uint16(n), nil
}

// forwards are the connections of one port-forward. A connection has two
// streams with the same request id: one for data, one for what goes wrong.
type forwards struct {
	q     *query
	conn  httpstream.Connection
	slots chan struct{}
	open  sync.WaitGroup

	mu    sync.Mutex
	pairs map[string]*pair
}

type pair struct{ data, faults httpstream.Stream }

// add takes a stream, and serves the connection once both are there.
func (f *forwards) add(st httpstream.Stream) {
	kind := st.Headers().Get(corev1.StreamType)
	id := st.Headers().Get(corev1.PortForwardRequestIDHeader)
	f.mu.Lock()
	p := f.pairs[id]
	if p == nil {
		if len(f.pairs) >= maxForwards {
			f.mu.Unlock()
			_ = st.Reset()
			return
		}
		p = &pair{}
		f.pairs[id] = p
		time.AfterFunc(pairWait, func() { f.forget(id, p) })
	}
	bad := id == "" || len(id) > 64
	switch {
	case kind == corev1.StreamTypeData && p.data == nil:
		p.data = st
	case kind == corev1.StreamTypeError && p.faults == nil:
		p.faults = st
	default:
		bad = true
	}
	whole := p.data != nil && p.faults != nil && !bad
	if whole || bad {
		delete(f.pairs, id)
	}
	f.mu.Unlock()
	if bad {
		_ = st.Reset()
		return
	}
	if !whole {
		return
	}
	select {
	case f.slots <- struct{}{}:
	default:
		f.fail(p, &doorward.Denial{Reason: "too many connections at once"})
		return
	}
	f.open.Add(1)
	go func() {
		defer func() { <-f.slots; f.open.Done() }()
		f.q.guard(func() { f.serve(p) })
	}()
}

// forget drops the one stream of a connection whose other did not come.
func (f *forwards) forget(id string, p *pair) {
	f.mu.Lock()
	mine := f.pairs[id] == p
	if mine {
		delete(f.pairs, id)
	}
	f.mu.Unlock()
	if !mine {
		return
	}
	for _, st := range []httpstream.Stream{p.data, p.faults} {
		if st != nil {
			_ = st.Reset()
			f.conn.RemoveStreams(st)
		}
	}
}

// fail tells the client what is wrong with a connection.
func (f *forwards) fail(p *pair, d *doorward.Denial) {
	_, _ = p.faults.Write([]byte(message(d)))
	_ = p.faults.Close()
	_ = p.data.Reset()
}

// serve judges one connection and moves its bytes.
func (f *forwards) serve(p *pair) {
	defer f.conn.RemoveStreams(p.data, p.faults)
	q := f.q
	token, _ := bearer(q.r.Header)
	l, err := lane.Open(q.srv.opener(q.r, q.lane.Target.Name, token))
	if err != nil {
		f.fail(p, lane.Denial(err))
		return
	}
	defer func() { l.Close(l.Err()) }()
	l.Sink.Use(dataSink{p.data})
	if err := f.pump(l, p); err != nil {
		f.fail(p, lane.Denial(err))
		return
	}
	_ = p.faults.Close()
	_ = p.data.Close()
}

func (f *forwards) pump(l *lane.Lane, p *pair) error {
	q := f.q
	port, err := portOf(p.data)
	if err != nil {
		return err
	}
	req := *q.req
	req.Query = url.Values{"ports": {strconv.Itoa(int(port))}}
	text, err := req.Text()
	if err != nil {
		return err
	}
	s := l.Session
	st, err := s.Read(s.Context(), text)
	if err != nil {
		return err
	}
	gone := func() bool {
		select {
		case <-f.conn.CloseChan():
			return true
		default:
			return false
		}
	}
	ctx, cancel := context.WithCancel(s.Context())
	defer cancel()
	go func() {
		select {
		case <-f.conn.CloseChan():
			s.StopWaiting()
			cancel()
		case <-q.lane.Context().Done():
			cancel()
		case <-ctx.Done():
		}
	}()
	permit, err := s.Ask(s.Context(), gate.Request{Frames: []byte(text), Acts: []gate.Act{{Statement: st}}, State: "one connection", Gone: gone})
	if err != nil {
		return err
	}
	c, done, err := q.srv.opt.Cluster(ctx, s)
	if err != nil {
		d, _ := q.srv.unreached(s, err)
		return errors.Join(d, permit.Reply().Done("not run"))
	}
	defer done()
	to, err := c.Forward(ctx, s, permit)
	if err != nil {
		d, _ := q.srv.unreached(s, err)
		return errors.Join(d, permit.Reply().Done("not run"))
	}
	stop := context.AfterFunc(ctx, func() { _ = to.Close() })
	defer stop()
	if err := relay.Pump(s, q.guard, permit, farEnd{p.data}, to); err != nil {
		return err
	}
	if why := to.Fault(); why != "" {
		return &doorward.Denial{Decision: "error", Reason: "the cluster did not connect: " + printable(s.Text(why))}
	}
	return nil
}

// farEnd is the client's end of a forwarded connection.
type farEnd struct{ httpstream.Stream }

// CloseWrite tells the client that no more comes.
func (e farEnd) CloseWrite() error { return e.Stream.Close() }

// Close ends it both ways.
func (e farEnd) Close() error { return e.Stream.Reset() }

// dataSink gives what is released to the client's stream.
type dataSink struct{ to httpstream.Stream }

// Receive implements lane.Receiver.
func (d dataSink) Receive(kind byte, body []byte) error {
	if kind != frame.Output {
		return nil
	}
	_, err := d.to.Write(body)
	return err
}
