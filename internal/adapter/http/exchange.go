package http

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/doorward/doorward"
	classify "github.com/doorward/doorward/internal/classify/http"
	"github.com/doorward/doorward/internal/gate"
	"github.com/doorward/doorward/internal/lane"
	"github.com/doorward/doorward/internal/upstream"
	wire "github.com/doorward/doorward/internal/wire/http"
)

// noBody is the length of an answer that has no body by its nature.
const noBody = -2

// client is where an answer goes.
type client interface {
	head(status int, fields []wire.Field, length int64) error // length: of the body, -1 when it is not known, or noBody
	write(b []byte) error
	flush() error // what was written goes out
	end() error   // the answer is whole
	hangUp()      // the connection ends after this answer
}

// incoming is a request as it came.
type incoming struct {
	method, target, host string
	fields               []wire.Field
	length               int64  // of the body; below 0: not known
	upgrade              string // what it wants to change to
	wrong                string // why it could be read in two ways
	remote               string
	secure               bool
	body                 func(limit int64, take taker) ([]byte, error) // reads it, once
	watch                func(left func()) (stop func())               // calls left when the client goes away
}

// exchange is one request and its answer.
type exchange struct {
	srv    *Server
	lanes  *lane.Pool
	in     incoming
	client client
	lane   *lane.Lane

	ctx     context.Context // ends when the client leaves
	cancel  context.CancelFunc
	service Service
	prefix  string // in front of the service's paths on this host: /TARGET, or ""
	path    string // the request's target behind it
	size    int64  // of the body that is held
	review  int64  // that the client says it redeems
	held    *doorward.Review
	unread  bool // the body was not read
	refused int  // HTTP status of a refusal that is not the gate's

	answer answer
	sent   bool // the head of an answer was sent
}

// serve serves the request and reports whether its answer is whole.
func (x *exchange) serve(ctx context.Context) bool {
	x.ctx, x.cancel = context.WithCancel(ctx)
	defer x.cancel()
	x.unread = x.in.length != 0
	target, ok := x.route()
	if !ok {
		return x.problem(&doorward.Denial{Decision: "deny", Reason: "no service is reached by this address", Hint: "Write https://…/TARGET/path, or the service's own host name. `doorward targets` lists what you reach."}, http.StatusNotFound)
	}
	token, ok := bearer(x.in.fields)
	if !ok {
		return x.problem(&doorward.Denial{Decision: "deny", Reason: "you are not signed in", Hint: "Send Authorization: Bearer with your token. `doorward run` gives an agent one; `doorward login` signs you in.", Code: "28000"}, 0)
	}
	l, err := x.lanes.Take(target, token, x.open(target, token))
	if err != nil {
		return x.problem(lane.Denial(err), 0)
	}
	defer x.lanes.Put(l)
	x.lane = l
	if x.service, ok = x.srv.opt.Service(target); !ok || l.Target.Protocol != "http" {
		return x.problem(&doorward.Denial{Decision: "deny", Reason: "the target is not an HTTP service", Hint: "`doorward targets` says how each is reached."}, http.StatusNotFound)
	}
	l.Sink.Use(x)
	defer l.Sink.Use(nil)
	l.Busy(true)
	defer l.Busy(false)
	defer func() { x.srv.bodies.Add(-x.size) }()
	return x.finish(x.run())
}

// finish tells the client what went wrong, if something did.
func (x *exchange) finish(err error) bool {
	s := x.lane.Session
	if err == nil {
		return x.client.end() == nil
	}
	if ended := s.Err(); ended != nil {
		err = &doorward.Denial{Decision: "deny", Reason: ended.Error(), Code: "28000"}
	}
	if x.sent {
		return false // the client must not take it for whole
	}
	d := lane.Denial(err)
	if s.Err() != nil {
		return x.problem(d, x.refused)
	}
	x.answer = x.problemAnswer(d, x.refused)
	if err := s.Tell(x.answer.frames(nil)); err != nil {
		return false
	}
	return x.client.end() == nil
}

// route finds the target: by the host, or by the first part of the path.
func (x *exchange) route() (target string, ok bool) {
	host, _, _ := strings.Cut(strings.ToLower(x.in.host), ":")
	if target = x.srv.opt.Target(host); target != "" {
		x.path = x.in.target
		return target, true
	}
	if !strings.HasPrefix(x.in.target, "/") {
		return "", false
	}
	path, query := x.in.target, ""
	if i := strings.IndexByte(path, '?'); i >= 0 { // a query may hold slashes
		path, query = path[:i], path[i:]
	}
	target, rest, _ := strings.Cut(path[1:], "/")
	if target == "" || len(target) > 63 || strings.ContainsAny(target, "%;") {
		return "", false
	}
	x.prefix, x.path = "/"+target, "/"+rest+query
	return target, true
}

// bearer gives the client's credential: one Authorization header, as a bearer
// token (RFC 6750, section 2.1).
func bearer(fields []wire.Field) (token string, ok bool) {
	for _, f := range fields {
		if !strings.EqualFold(f.Name, "authorization") {
			continue
		}
		if token != "" || len(f.Value) > tokenLimit {
			return "", false
		}
		scheme, value, _ := strings.Cut(f.Value, " ")
		if token = strings.TrimSpace(value); !strings.EqualFold(scheme, "Bearer") || token == "" {
			return "", false
		}
	}
	return token, token != ""
}

// open opens a session for the request.
func (x *exchange) open(target, token string) lane.Opener {
	return func(to io.Writer) (*gate.Session, error) {
		// A client that leaves in the middle must not leave half a session behind.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(x.ctx), openWait)
		defer cancel()
		agent := ""
		for _, f := range x.in.fields {
			if strings.EqualFold(f.Name, "user-agent") {
				agent = f.Value
			}
		}
		return x.srv.opt.Gate.Open(ctx, gate.Hello{
			Credential:  doorward.Credential{Protocol: "http", Secret: token, Remote: x.in.remote, Secure: x.in.secure},
			Target:      target,
			Application: printable(agent),
		}, to)
	}
}

// run reads the request, asks the gate about it, and relays the answer.
func (x *exchange) run() error {
	req, err := x.read()
	if err != nil {
		return err
	}
	stop := x.in.watch(x.cancel)
	defer stop()
	text, err := req.Text()
	if err != nil {
		return x.refuse(0, err.Error(), "")
	}
	p, err := x.ask(text)
	if err != nil {
		return err
	}
	return x.relay(p, req)
}

// line is what is recorded of a request that cannot be read.
func (x *exchange) line() string { return printable(x.in.method + " " + x.path) }

// refuse records that the request was refused before it got to the gate.
func (x *exchange) refuse(status int, reason, hint string) error {
	x.refused = status
	return x.lane.Refuse(x.lane.Context(), x.line(), &doorward.Denial{Decision: "deny", Reason: reason, Hint: hint})
}

// read makes of the HTTP request what is judged.
func (x *exchange) read() (*classify.Request, error) {
	if x.in.wrong != "" {
		return nil, x.refuse(http.StatusBadRequest, x.in.wrong, "")
	}
	if x.in.upgrade != "" {
		return nil, x.refuse(http.StatusBadRequest, "a change of protocol to "+printable(x.in.upgrade)+" is not let through: what follows it could not be judged", "Leave the header Upgrade out.")
	}
	body, err := x.body()
	if err != nil {
		return nil, err
	}
	in := classify.Incoming{Method: x.in.method, Target: x.path, Fields: classifyFields(x.in.fields), Body: body}
	for _, f := range in.Fields {
		if strings.EqualFold(f.Name, "doorward-review") {
			if x.review, err = strconv.ParseInt(f.Value, 10, 64); err != nil || x.review <= 0 {
				return nil, x.refuse(http.StatusBadRequest, "the header Doorward-Review is not the number of a review", "As in Doorward-Review: 12.")
			}
		}
	}
	req, err := classify.FromHTTP(in, &classify.Env{Headers: x.service.Headers})
	var bad *classify.Refusal
	switch {
	case errors.As(err, &bad):
		return nil, x.refuse(bad.Status, bad.Reason, bad.Hint)
	case err != nil:
		return nil, x.refuse(http.StatusBadRequest, err.Error(), "")
	}
	return req, nil
}

// taker counts bytes of a body that came. An error says that no more may.
type taker func(n int) error

var errBodies = errors.New("too many large requests at once")

// take counts what came of the body, until it is done. What a client says of
// its size does not count: it may never come, and others would go without.
func (x *exchange) take(n int) error {
	x.size += int64(n)
	if x.srv.bodies.Add(int64(n)) > maxBodies {
		return errBodies
	}
	return nil
}

// body reads the request's body.
func (x *exchange) body() ([]byte, error) {
	if x.in.length == 0 {
		return nil, nil
	}
	if x.in.length > classify.MaxBody {
		return nil, x.refuse(http.StatusRequestEntityTooLarge, fmt.Sprintf("the body has %d bytes; the most is %d", x.in.length, classify.MaxBody), "Send less at once.")
	}
	b, err := x.in.body(classify.MaxBody, x.take)
	var fault *wire.Fault
	switch {
	case errors.Is(err, errBodies):
		return nil, &doorward.Denial{Decision: "error", Reason: errBodies.Error(), Hint: "Try again shortly.", Retry: true, Code: "53300"}
	case errors.As(err, &fault):
		return nil, x.refuse(fault.Status, fault.Reason, fault.Hint)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, x.refuse(http.StatusRequestTimeout, fmt.Sprintf("the body did not come whole within %s", bodyWait), "")
	case err != nil:
		return nil, x.refuse(http.StatusBadRequest, "the body cannot be read: it is shorter than it says", "")
	}
	x.unread = false
	x.srv.bodies.Add(int64(len(b)) - x.size) // what came with it is not kept
	x.size = int64(len(b))
	return b, nil
}

// ask judges the request.
func (x *exchange) ask(text string) (*gate.Permit, error) {
	s := x.lane.Session
	st, err := s.Read(s.Context(), text)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(x.ctx, func() { s.StopWaiting() })
	defer stop()
	req := gate.Request{Frames: []byte(text), Acts: []gate.Act{{Statement: st}}, State: "none", Gone: x.gone, OnHold: x.onHold, Review: x.review}
	return s.Ask(s.Context(), req)
}

func (x *exchange) gone() bool { return x.ctx.Err() != nil }

// onHold keeps where the request waits: HTTP can say it only with the answer.
// A client may wish to wait for less than doorward would (RFC 7240).
func (x *exchange) onHold(r doorward.Review) error {
	x.held = &r
	if seconds, ok := classify.Wait(classifyFields(x.in.fields)); ok {
		timer := time.AfterFunc(time.Duration(seconds)*time.Second, x.stopWaiting)
		context.AfterFunc(x.ctx, func() { timer.Stop() })
	}
	return nil
}

// stopWaiting ends the wait for people. It may come a moment before the wait
// begins, or when it is over and the next request of the session waits already.
func (x *exchange) stopWaiting() {
	for range 100 {
		if x.ctx.Err() != nil || x.lane.StopWaiting() {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

func classifyFields(fields []wire.Field) []classify.Field {
	out := make([]classify.Field, len(fields))
	for i, f := range fields {
		out[i] = classify.Field(f)
	}
	return out
}

// unreached says why the service did not answer, as far as the client may know.
func (x *exchange) unreached(err error) error {
	s := x.lane.Session
	if ended := s.Err(); ended != nil {
		return &doorward.Denial{Decision: "deny", Reason: ended.Error(), Code: "28000"}
	}
	level := slog.LevelError
	if errors.Is(err, context.Canceled) { // the client left
		level = slog.LevelDebug
	}
	x.srv.opt.Log.Log(context.Background(), level, "target does not answer", "target", s.Target.Name, "session", s.ID(), "error", err)
	x.refused = http.StatusBadGateway
	d := &doorward.Denial{Decision: "error", Reason: "the service cannot be reached", Hint: "The operator finds the reason in doorward's log.", Retry: true}
	switch {
	case errors.Is(err, upstream.ErrUnknownFate):
		d.Reason, d.Hint, d.Retry = "the connection to the service broke after the request was sent", "Whether it was done is not known: look before you send it again.", false
	case errors.Is(err, upstream.ErrCredential):
		d.Reason, d.Hint, d.Retry = "the service does not take doorward's own credential", "The operator renews it.", false
	case errors.Is(err, upstream.ErrAddress):
		d.Reason, d.Retry = "the service's name leads to where it must not", false
	case errors.Is(err, upstream.ErrBusy):
		d.Reason, d.Hint = "the service has too many requests at once", "Ask for fewer things at once."
		x.refused = http.StatusTooManyRequests
	case errors.Is(err, gate.ErrPermit):
		d.Reason, d.Retry = "the permit was refused", false
	}
	return d
}

// printable bounds and escapes what a client said before it is recorded.
func printable(s string) string {
	if len(s) > 200 {
		s = s[:200] + "..."
	}
	return gate.Printable(s)
}
