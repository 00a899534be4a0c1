package http

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/doorward/doorward"
	classify "github.com/doorward/doorward/internal/classify/http"
	"github.com/doorward/doorward/internal/gate"
	"github.com/doorward/doorward/internal/relay"
	"github.com/doorward/doorward/internal/upstream"
	"github.com/doorward/doorward/internal/wire/frame"
	wire "github.com/doorward/doorward/internal/wire/http"
)

// maxWhole is the size up to which an answer is read whole before it is sent.
const maxWhole = 256 << 10

// answer is the head of an answer, and the body of one that is sent whole.
type answer struct {
	status int
	kind   string // content type
	fields []wire.Field
	length int64 // as in client
	body   []byte
	live   bool // each piece goes out at once
}

// heads are the headers that the client gets.
func (a *answer) heads() []wire.Field {
	out := make([]wire.Field, 0, len(a.fields)+6)
	if a.kind != "" {
		out = append(out, wire.Field{Name: "Content-Type", Value: a.kind})
	}
	out = append(out, a.fields...)
	// What keeps a browser from making anything of what a service sends, and
	// anybody from keeping what was masked for one.
	return append(out, wire.Field{Name: "Cache-Control", Value: "no-store"}, wire.Field{Name: "X-Content-Type-Options", Value: "nosniff"}, wire.Field{Name: "Content-Security-Policy", Value: "default-src 'none'; sandbox"})
}

// frames appends the frames of the answer: its head, and its body if it is here.
func (a *answer) frames(dst []byte) []byte {
	var head []byte
	head = append(head, `{"status":`...)
	head = strconv.AppendInt(head, int64(a.status), 10)
	head = appendJSON(head, `,"content_type":`, a.kind)
	if len(a.fields) > 0 {
		head = append(head, `,"fields":[`...)
		for i, f := range a.fields {
			if i > 0 {
				head = append(head, ',')
			}
			head = appendJSON(head, "[", f.Name)
			head = appendJSON(head, ",", f.Value)
			head = append(head, ']')
		}
		head = append(head, ']')
	}
	head = append(head, '}')
	dst = frame.Append(dst, frame.Head, head)
	for b := a.body; len(b) > 0; b = b[min(len(b), frame.MaxBody):] {
		dst = frame.Append(dst, frame.Output, b[:min(len(b), frame.MaxBody)])
	}
	return dst
}

// relay sends what was permitted and gives the client the answer.
func (x *exchange) relay(p *gate.Permit, req *classify.Request) error {
	s := x.lane.Session
	service, done, err := x.srv.opt.Reach(s.Context(), s)
	if err != nil {
		return errors.Join(x.unreached(err), p.Reply().Done("not run"))
	}
	defer done()
	ctx, cancel := context.WithCancel(s.Context())
	defer cancel()
	stop := context.AfterFunc(x.ctx, cancel)
	defer stop()
	var late atomic.Bool
	limit := p.Limits().Time
	if limit > 0 {
		timer := time.AfterFunc(limit, func() { late.Store(true); cancel() })
		defer timer.Stop()
	}
	overdue := &doorward.Denial{Decision: "deny", Reason: fmt.Sprintf("stopped at the time limit of %s", limit), Hint: "Ask for less at once."}
	a, err := service.Send(ctx, s, p)
	if err != nil && late.Load() && s.Err() == nil {
		return errors.Join(overdue, p.Reply().Done("stopped: "+overdue.Reason))
	}
	if err != nil {
		err = x.unreached(err)
		return errors.Join(err, p.Reply().Done("no answer"))
	}
	shape, err := x.shape(a, req)
	if err != nil {
		_ = a.Close()
		return errors.Join(err, p.Reply().Done("not understood"))
	}
	// Half a document is of no use to anybody: it is read whole if it can be.
	settles := a.Length >= 0 || isJSON(media(x.answer.kind))
	if shape.body == nil || settles && a.Length <= maxWhole && !x.answer.live {
		if shape.body == nil {
			shape.body = a
		}
		raw, more, err := start(shape.body, maxWhole)
		if !more {
			defer shape.body.Close()
			err := x.whole(p, shape.filter, raw, err)
			if err != nil && late.Load() && s.Err() == nil && !x.sent {
				return errors.Join(overdue, p.Reply().Done(""))
			}
			return err
		}
		// What is little while it is packed may be much: it is not held.
		shape.body = &resumed{io.MultiReader(bytes.NewReader(raw), shape.body), shape.body}
	}
	if x.answer.live {
		s.Busy(false) // a shutdown does not wait for what nobody ends
	}
	x.answer.length = -1
	c := relay.Client{Session: s, First: x.answer.frames(nil), Filter: shape.filter, Bulk: !x.answer.live, Gone: x.gone, Guard: x.guard, Code: x.code()}
	return errors.Join(relay.Run(c, p, upstream.Body(shape.body, cancel), cancel), x.note(shape.filter))
}

// whole masks an answer that is not large, and sends it in one piece. A nil
// filter is for one without a body; broken says that it did not come whole.
func (x *exchange) whole(p *gate.Permit, f relay.Filter, raw []byte, broken error) error {
	r := p.Reply()
	if broken != nil {
		return errors.Join(x.garbled("it ended too early, or is not encoded as it says"), r.Done("the answer ended too early"))
	}
	var body []byte
	rows := int64(-1)
	if f != nil {
		var err error
		if body, err = f.Write(make([]byte, 0, len(raw)+64), raw); err == nil {
			body, err = f.Close(body)
		}
		if err != nil {
			return errors.Join(x.garbled(err.Error()), r.Done("not understood"))
		}
		rows = f.Rows()
		if rows < 0 {
			rows = lines(body)
		}
	}
	x.answer.body = body
	if f != nil {
		x.answer.length = int64(len(body))
	}
	if len(body) > 0 && !r.Pour(rows, len(body)) {
		over := r.Over()
		over.Hint = "Ask for less at once."
		return errors.Join(over, r.Done("stopped: "+over.Reason))
	}
	if err := r.Release(x.answer.frames(nil)); err != nil {
		return errors.Join(err, r.Done("connection lost"))
	}
	return errors.Join(r.Next(0, x.code()), x.note(f))
}

// note says on the tape which fields were masked.
func (x *exchange) note(f relay.Filter) error {
	m, ok := f.(interface{ Masked() []string })
	if !ok {
		return nil
	}
	if names := m.Masked(); len(names) > 0 {
		return x.lane.Note("masked: " + strings.Join(names, ", "))
	}
	return nil
}

// code is what the record says of an answer that is an error of the service's.
func (x *exchange) code() string {
	if x.answer.status < 400 {
		return ""
	}
	return fmt.Sprintf("%d %s", x.answer.status, http.StatusText(x.answer.status))
}

func (x *exchange) guard(f func()) {
	defer func() {
		if p := recover(); p != nil {
			x.srv.fault(p)
			x.lane.Close(errors.New("a fault of doorward"))
		}
	}()
	f()
}

// errAborted says that an answer was broken off after its head was sent.
var errAborted = errors.New("the answer was broken off")

// Receive implements lane.Receiver: it writes an answer. The head is that of
// the exchange; what the frame holds of it is for the record.
func (x *exchange) Receive(kind byte, body []byte) error {
	switch kind {
	case frame.Head:
		if x.sent {
			return errAborted
		}
		x.sent = true
		if x.unread {
			x.client.hangUp()
		}
		if err := x.client.head(x.answer.status, x.answer.heads(), x.answer.length); err != nil {
			return err
		}
		if x.answer.live {
			return x.client.flush()
		}
	case frame.Output:
		if err := x.client.write(body); err != nil {
			return err
		}
		if x.answer.live {
			return x.client.flush()
		}
	case frame.Message: // the answer could not be read to its end
		return errAborted
	}
	return nil
}

// start reads all there is, or what is a little more than limit; more reports
// that.
func start(from io.Reader, limit int) (b []byte, more bool, err error) {
	b, err = io.ReadAll(io.LimitReader(from, int64(limit)+1))
	return b, err == nil && len(b) > limit, err
}

// resumed is a body whose beginning was read already.
type resumed struct {
	io.Reader
	io.Closer
}

func lines(b []byte) int64 {
	n := int64(bytes.Count(b, []byte{'\n'}))
	if len(b) > 0 && b[len(b)-1] != '\n' {
		n++
	}
	return n
}
