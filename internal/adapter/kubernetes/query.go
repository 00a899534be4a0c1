package kubernetes

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/doorward/doorward"
	classify "github.com/doorward/doorward/internal/classify/kubernetes"
	"github.com/doorward/doorward/internal/gate"
	"github.com/doorward/doorward/internal/lane"
	"github.com/doorward/doorward/internal/relay"
	"github.com/doorward/doorward/internal/upstream"
	"github.com/doorward/doorward/internal/wire/frame"
	wire "github.com/doorward/doorward/internal/wire/kubernetes"
)

// query is one HTTP request of a client.
type query struct {
	srv      *Server
	lane     *lane.Lane
	w        http.ResponseWriter
	r        *http.Request
	target   string // what stands behind the cluster's name in the request's target
	req      *classify.Request
	at       classify.Attributes
	warnings []string
	size     int64
	object   []byte // that the request is about, once it was looked at
	looked   bool
	protobuf bool // the client takes nothing but protobuf
	refused  int  // HTTP status of a refusal that is not the gate's

	mu    sync.Mutex
	until time.Time // when a deadline for writing was last set
	sent  bool      // the head of an answer was sent
	live  bool      // each piece goes out at once: a watch, a log that is followed
}

// bodyWait bounds how long the body of a request may take to come.
const bodyWait = 30 * time.Second

// protobufType is the media type of the API's protobuf.
const protobufType = "application/vnd.kubernetes.protobuf"

// errAborted says that an answer was broken off after its head was sent.
var errAborted = errors.New("the answer was broken off")

// serve answers the request: by the cluster, or by doorward itself.
func (q *query) serve() {
	s := q.lane.Session
	s.Busy(true)
	defer s.Busy(false)
	defer func() { q.srv.bodies.Add(-q.size) }()
	err := q.answer()
	if err == nil {
		return
	}
	if ended := s.Err(); ended != nil {
		err = &doorward.Denial{Decision: "deny", Reason: ended.Error(), Code: "28000"}
	}
	q.mu.Lock()
	sent := q.sent
	q.mu.Unlock()
	if sent {
		panic(http.ErrAbortHandler) // the client must not take it for whole
	}
	d := lane.Denial(err)
	code := lane.Status(d, q.refused)
	if s.Err() != nil {
		reply(q.w, q.warnings, d, code)
		return
	}
	// What asks for paths that are no resources shows a text, and no Status.
	plain := code >= 500 && q.req != nil && !q.at.IsResource
	if err := s.Tell(answerFrames(d, code, q.warnings, plain)); err != nil {
		panic(http.ErrAbortHandler)
	}
}

// answer reads the request, asks the gate about it, and relays the answer.
func (q *query) answer() error {
	if err := q.read(); err != nil {
		return err
	}
	if q.req.Stream != "" {
		return q.stream()
	}
	text, err := q.req.Text()
	if err != nil {
		return q.refuse(q.line(), 0, err.Error(), "")
	}
	p, err := q.ask(text)
	if err != nil {
		return err
	}
	return q.relay(p)
}

// line is what is recorded of a request that cannot be read.
func (q *query) line() string { return printable(q.r.Method + " " + q.target) }

// refuse records that the request was refused before it got to the gate.
func (q *query) refuse(text string, status int, reason, hint string) error {
	q.refused = status
	return q.lane.Refuse(q.lane.Context(), text, &doorward.Denial{Decision: "deny", Reason: reason, Hint: hint})
}

// read makes of the HTTP request what is judged.
func (q *query) read() error {
	body, err := q.body()
	if err != nil {
		return err
	}
	h := classify.HTTP{Method: q.r.Method, Target: q.target, Header: q.r.Header, Body: body}
	if len(q.r.Trailer) > 0 { // net/http has taken the header out
		header := q.r.Header.Clone()
		for name := range q.r.Trailer {
			header.Add("Trailer", name)
		}
		h.Header = header
	}
	q.req, err = classify.FromHTTP(h)
	var bad *classify.Refusal
	switch {
	case errors.As(err, &bad):
		return q.refuse(q.line(), bad.Status, bad.Reason, bad.Hint)
	case err != nil:
		return q.refuse(q.line(), http.StatusBadRequest, err.Error(), "")
	}
	if q.at, err = q.req.Attributes(); err != nil {
		return q.refuse(q.line(), http.StatusBadRequest, err.Error(), "")
	}
	return q.accept()
}

// body reads the request's body, and turns protobuf into JSON: what is judged
// is what people can read, and it is that which is sent.
func (q *query) body() ([]byte, error) {
	ctl := http.NewResponseController(q.w)
	// What it says of its size is taken, up to what it may be, until it is done.
	q.size = classify.MaxBody
	if n := q.r.ContentLength; n >= 0 && n < q.size {
		q.size = n
	}
	if q.srv.bodies.Add(q.size) > maxBodies {
		return nil, &doorward.Denial{Decision: "error", Reason: "too many large requests at once", Hint: "Try again shortly.", Retry: true, Code: "53300"}
	}
	_ = ctl.SetReadDeadline(time.Now().Add(bodyWait))
	b, err := io.ReadAll(http.MaxBytesReader(q.w, q.r.Body, classify.MaxBody))
	if err != nil {
		// What is missing of the body is not waited for: the connection ends with
		// this answer.
		_ = ctl.SetReadDeadline(time.Now())
		q.w.Header().Set("Connection", "close")
		var big *http.MaxBytesError
		if errors.As(err, &big) {
			return nil, q.refuse(q.line(), http.StatusRequestEntityTooLarge, fmt.Sprintf("the body has more than %d bytes", classify.MaxBody), "API servers take no more either.")
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil, q.refuse(q.line(), http.StatusRequestTimeout, fmt.Sprintf("the body did not come whole within %s", bodyWait), "")
		}
		return nil, q.refuse(q.line(), http.StatusBadRequest, "the body cannot be read: it is shorter than it says, or its chunks are not well formed", "")
	}
	_ = ctl.SetReadDeadline(time.Time{})
	q.srv.bodies.Add(int64(len(b)) - q.size) // what it was bounded by, and did not have
	q.size = int64(len(b))
	if media(q.r.Header.Get("Content-Type")) != protobufType || len(b) == 0 {
		return b, nil
	}
	js, err := wire.ToJSON(b)
	if err != nil {
		return nil, q.refuse(q.line(), http.StatusUnsupportedMediaType, "the protobuf body cannot be read as JSON without a loss: "+err.Error(), "Send it as JSON.")
	}
	q.r.Header.Set("Content-Type", "application/json")
	return js, nil
}

func media(v string) string {
	v, _, _ = strings.Cut(v, ";")
	return strings.ToLower(strings.TrimSpace(v))
}

// accept settles the form of the answer. Clusters are asked for JSON: it can be
// masked, and read in the record. A client that takes nothing but protobuf gets
// what the JSON says, as protobuf.
func (q *query) accept() error {
	if q.req.Accept == "" || !q.at.IsResource || q.text() {
		return nil
	}
	var json []string
	other := false
	for part := range strings.SplitSeq(q.req.Accept, ",") {
		part = strings.TrimSpace(part)
		switch media(part) {
		case "application/json":
			json = append(json, part)
		case "*/*", "application/*":
			json = append(json, "application/json")
		case protobufType:
			// A table, or metadata alone, has no form in protobuf here; nor do the
			// events of a watch.
			if strings.Contains(strings.ToLower(part), "as=") || q.at.Verb == "watch" {
				other = true
				continue
			}
			q.protobuf = true
		default:
			other = true
		}
	}
	if len(json) > 0 {
		q.protobuf = false
		q.req.Accept = strings.Join(json, ",")
		return nil
	}
	if q.protobuf {
		q.req.Accept = "application/json"
		return nil
	}
	if other {
		return q.refuse(q.line(), http.StatusNotAcceptable, "the answer is asked for in a form that cannot be masked: "+printable(q.req.Accept), "Take application/json too.")
	}
	return nil
}

// text reports whether the answer is text and not an object.
func (q *query) text() bool {
	return q.at.Resource == "pods" && q.at.Subresource == "log" || q.at.Subresource == "proxy"
}

// ask judges a text of this session. A write of an object that people have to
// decide on is bound to the object as it is now first.
func (q *query) ask(text string) (*gate.Permit, error) {
	s := q.lane.Session
	st, err := s.Read(s.Context(), text)
	if err != nil {
		return nil, err
	}
	req := gate.Request{Frames: []byte(text), Acts: []gate.Act{{Statement: st}}, State: "none", Gone: q.gone, OnHold: q.onHold}
	// What is denied is looked at no further: nothing of it may be learnt.
	outcome := s.Outcome(st)
	if outcome != doorward.Deny {
		if err := q.unmasked(text); err != nil {
			return nil, err
		}
	}
	if outcome == doorward.Hold {
		if err := q.bind(&req); err != nil {
			return nil, err
		}
	}
	stop := context.AfterFunc(q.r.Context(), func() { s.StopWaiting() })
	defer stop()
	return s.Ask(s.Context(), req)
}

func (q *query) gone() bool { return q.r.Context().Err() != nil }

// onHold keeps where the request waits: HTTP can say it only with the answer.
func (q *query) onHold(r doorward.Review) error {
	q.warnings = append(q.warnings, heldText(r))
	return nil
}

// cluster gives the session's cluster. What goes wrong is told to the client
// without what only an operator should see.
func (q *query) cluster() (*upstream.Kubernetes, func(), error) {
	c, done, err := q.srv.opt.Cluster(q.lane.Context(), q.lane.Session)
	if err != nil {
		return nil, nil, q.unreached(err)
	}
	return c, done, nil
}

// unreached says why the cluster did not answer, as far as the client may know.
func (q *query) unreached(err error) error {
	d, code := q.srv.unreached(q.lane.Session, err)
	q.refused = code
	return d
}

func (srv *Server) unreached(s *gate.Session, err error) (*doorward.Denial, int) {
	if ended := s.Err(); ended != nil {
		return &doorward.Denial{Decision: "deny", Reason: ended.Error(), Code: "28000"}, 0
	}
	level := slog.LevelError
	if errors.Is(err, context.Canceled) { // the client left
		level = slog.LevelDebug
	}
	srv.opt.Log.Log(context.Background(), level, "target does not answer", "target", s.Target.Name, "session", s.ID(), "error", err)
	d := &doorward.Denial{Decision: "error", Reason: "the cluster cannot be reached", Hint: "The operator finds the reason in doorward's log.", Retry: true}
	switch {
	case errors.Is(err, upstream.ErrRedirect):
		d.Reason, d.Retry = "the cluster's answer leads elsewhere, and doorward does not go there", false
	case errors.Is(err, upstream.ErrCredential):
		d.Reason, d.Hint = "the cluster does not take doorward's own credential", "The operator renews it."
	case errors.Is(err, upstream.ErrBusy):
		d.Reason, d.Hint = err.Error(), "Ask for fewer things at once."
		return d, http.StatusTooManyRequests
	case errors.Is(err, gate.ErrPermit):
		d.Reason, d.Retry = "the permit was refused", false
	case errors.Is(err, upstream.ErrAs):
		return &doorward.Denial{Decision: "deny", Reason: "your name, or that of a group of yours, begins with system: and cannot be used on this cluster"}, http.StatusForbidden
	}
	return d, http.StatusBadGateway
}

// relay sends what was permitted and gives the client the answer.
func (q *query) relay(p *gate.Permit) error {
	s := q.lane.Session
	c, done, err := q.cluster()
	if err != nil {
		return errors.Join(err, p.Reply().Done("not run"))
	}
	defer done()
	ctx, cancel := context.WithCancel(s.Context())
	defer cancel()
	stop := context.AfterFunc(q.r.Context(), cancel)
	defer stop()
	var late atomic.Bool
	limit := p.Limits().Time
	if limit > 0 {
		// The relay has this limit too; this one is for what has no answer yet.
		timer := time.AfterFunc(limit, func() { late.Store(true); cancel() })
		defer timer.Stop()
	}
	resp, err := c.Send(ctx, s, p)
	if err != nil && late.Load() && s.Err() == nil {
		d := &doorward.Denial{Decision: "deny", Reason: fmt.Sprintf("stopped at the time limit of %s", limit), Hint: "Ask for less at once."}
		return errors.Join(d, p.Reply().Done("stopped: "+d.Reason))
	}
	if err != nil {
		err = q.unreached(err)
		return errors.Join(err, p.Reply().Done("no answer"))
	}
	q.live = q.at.Verb == "watch" || q.req.Query.Get("follow") == "true"
	if q.live {
		s.Busy(false) // a shutdown does not wait for what nobody ends
	}
	first, filter, err := q.shape(resp)
	if err != nil {
		_ = resp.Body.Close()
		return errors.Join(err, p.Reply().Done("not understood"))
	}
	client := relay.Client{Session: s, First: first, Filter: filter, Bulk: !q.live, Gone: q.gone, Guard: q.guard, Code: codeOf(resp)}
	err = relay.Run(client, p, upstream.Body(resp.Body, cancel), cancel)
	q.flush()
	return err
}

// codeOf is what the record says of an answer that is an error of the cluster's.
func codeOf(resp *http.Response) string {
	if resp.StatusCode < 400 {
		return ""
	}
	return fmt.Sprintf("%d %s", resp.StatusCode, http.StatusText(resp.StatusCode))
}

func (q *query) guard(f func()) {
	defer func() {
		if p := recover(); p != nil {
			q.srv.opt.Log.Error("a request ended by a fault of doorward", "panic", fmt.Sprint(p))
			q.lane.Close(errors.New("a fault of doorward"))
		}
	}()
	f()
}

// Receive implements lane.Receiver: it writes an answer by HTTP.
func (q *query) Receive(kind byte, body []byte) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	ctl := http.NewResponseController(q.w)
	// Each setting goes through the connection's own goroutine.
	if now := time.Now(); q.live || now.Sub(q.until) > time.Second {
		q.until = now
		_ = ctl.SetWriteDeadline(now.Add(writeWait))
	}
	if q.live {
		// A watch may have nothing to say for longer than that: with HTTP/2 a
		// deadline that passes ends the stream, whether anything is written or not.
		defer func() { _ = ctl.SetWriteDeadline(time.Time{}) }()
	}
	switch kind {
	case frame.Head:
		var h head
		if err := json.Unmarshal(body, &h); err != nil {
			return err
		}
		if q.sent {
			return errAborted
		}
		q.sent = true
		writeHead(q.w, h)
		if q.live {
			return ctl.Flush()
		}
	case frame.Output:
		if _, err := q.w.Write(body); err != nil {
			return err
		}
		if q.live {
			return ctl.Flush()
		}
	case frame.Message: // the answer could not be read to its end
		return errAborted
	}
	return nil
}

func (q *query) flush() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.sent {
		ctl := http.NewResponseController(q.w)
		_ = ctl.Flush()
		_ = ctl.SetWriteDeadline(time.Time{})
	}
}
