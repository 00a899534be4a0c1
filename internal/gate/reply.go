package gate

import (
	"context"
	"fmt"
	"time"

	"github.com/doorward/doorward"
)

// Reply carries what the target answers to one permit back to the client:
// masked by its plan, counted against its limits, recorded, then released.
type Reply struct {
	p        *Permit
	at       int // act that is being answered
	rows     int64
	bytes    int64
	carried  Sent // by earlier pieces of the same portal
	start    time.Time
	released bool
	ended    bool
}

// Reply starts the answer to a permit.
func (p *Permit) Reply() *Reply {
	return &Reply{p: p, start: p.session.gate.opt.Now()}
}

// Plan compiles what is masked in rows of these columns.
func (r *Reply) Plan(cols []MaskColumn) *MaskPlan {
	s := r.p.session
	return s.gate.rules.Load().Masks.Plan(s.Target.Name, cols)
}

// Count adds one row of n bytes and reports whether the limits of the act that
// is being answered still hold.
func (r *Reply) Count(n int) bool { return r.Pour(1, n) }

// Pour adds rows that have n bytes together, for targets that answer with a
// stream and not with rows, and reports as Count does. A row is a line then.
func (r *Reply) Pour(rows int64, n int) bool {
	r.rows += rows
	r.bytes += int64(n)
	if r.at >= len(r.p.acts) {
		return true
	}
	l := &r.p.acts[r.at].limits
	sent := r.Sent()
	return (l.Rows == 0 || sent.Rows <= l.Rows) && (l.Bytes == 0 || sent.Bytes <= l.Bytes)
}

// Sent is how much of an answer was sent.
type Sent struct{ Rows, Bytes int64 }

// Sent is what was sent of the portal that is being answered, so far.
func (r *Reply) Sent() Sent { return Sent{r.rows + r.carried.Rows, r.bytes + r.carried.Bytes} }

// Carry counts what was sent of the same portal before towards the limits of
// the act that is being answered, until the next Turn.
func (r *Reply) Carry(s Sent) { r.carried = s }

// Over says which limit was passed, for the client.
func (r *Reply) Over() *doorward.Denial {
	a := r.p.acts[min(r.at, len(r.p.acts)-1)]
	d := &doorward.Denial{Decision: "deny", Rule: a.rule, Code: "54000", Hint: "Add a LIMIT or narrow the condition."}
	if a.limits.Rows != 0 && r.Sent().Rows > a.limits.Rows {
		d.Reason = fmt.Sprintf("the answer was cut: more than %d rows", a.limits.Rows)
	} else {
		d.Reason = fmt.Sprintf("the answer was cut: more than %d bytes", a.limits.Bytes)
	}
	return d
}

// Release records frames and sends them to the client. The first release waits
// until the intents are durable: a read overlaps its fsync, its answer does not.
func (r *Reply) Release(frames []byte) error {
	s := r.p.session
	if !r.released {
		if err := r.Durable(s.ctx); err != nil {
			return err
		}
	}
	var n uint64
	if r.at < len(r.p.acts) {
		n = r.p.acts[r.at].n
	} else {
		n = s.requests.Load()
	}
	if err := s.tape.Write(doorward.Frame{Kind: doorward.FrameReply, At: s.gate.opt.Now(), Request: n, Data: frames}); err != nil {
		return s.broken("recorder", err)
	}
	_, err := s.client.Write(frames)
	return err
}

// Durable waits until every intent of the permit is on disk.
func (r *Reply) Durable(ctx context.Context) error {
	if n := len(r.p.acts); n > 0 && !r.released {
		// Events are durable in order, so the last one stands for all.
		if _, err := r.p.acts[n-1].receipt.Wait(ctx); err != nil {
			return r.p.session.broken("ledger", err)
		}
	}
	r.released = true
	return nil
}

// Whole lets the tape keep the answer to the act that is being answered up to
// the bound of the session, as far as the recorder can: it is a session in
// itself, such as a shell.
func (r *Reply) Whole() {
	if t, ok := r.p.session.tape.(interface{ Whole(uint64) }); ok && r.at < len(r.p.acts) {
		t.Whole(r.p.acts[r.at].n)
	}
}

// Input puts what the client streamed (COPY data) on the tape.
func (r *Reply) Input(data []byte) error {
	s := r.p.session
	if err := s.tape.Write(doorward.Frame{Kind: doorward.FrameInput, At: s.gate.opt.Now(), Request: s.requests.Load(), Data: data}); err != nil {
		return s.broken("recorder", err)
	}
	return nil
}

// Turn says which act of the permit is being answered now, by its place.
func (r *Reply) Turn(i int) {
	if i != r.at {
		r.at, r.rows, r.bytes, r.carried = i, 0, 0, Sent{}
	}
}

// Next writes the outcome of the act that was being answered. changed is the
// number of rows that the target says it touched; code is the target's error
// code, or "".
func (r *Reply) Next(changed int64, code string) error {
	if r.at >= len(r.p.acts) || r.p.acts[r.at].done {
		return nil
	}
	s, a := r.p.session, &r.p.acts[r.at]
	a.done = true
	if changed > r.rows {
		r.rows = changed
	}
	now := s.gate.opt.Now()
	ev := s.event(doorward.EventOutcome)
	ev.Time, ev.Request, ev.Rows, ev.Bytes, ev.Error, ev.Took = now, a.n, r.rows, r.bytes, code, now.Sub(r.start)
	s.scratch = appendOutcome(s.scratch[:0], doorward.OutcomeRecord{Rows: r.rows, Bytes: r.bytes, Error: code, Took: ev.Took})
	if err := s.tape.Write(doorward.Frame{Kind: doorward.FrameOutcome, At: now, Request: a.n, Data: s.scratch}); err != nil {
		return s.broken("recorder", err)
	}
	receipt, err := s.gate.opt.Ledger.Append(s.ctx, ev)
	if err != nil {
		return s.broken("ledger", err)
	}
	s.lastReceipt = receipt
	s.rows.Add(r.rows)
	s.bytes += r.bytes
	s.gate.Stats.Rows.Add(r.rows)
	s.gate.Stats.Bytes.Add(r.bytes)
	r.rows, r.bytes = 0, 0
	return nil
}

// Done ends the answer. Acts that were not answered get the outcome code, or
// "not run" when it is "".
func (r *Reply) Done(code string) error {
	if r.ended {
		return nil
	}
	r.ended = true
	if code == "" {
		code = "not run"
	}
	for i := range r.p.acts {
		r.Turn(i)
		if err := r.Next(0, code); err != nil {
			return err
		}
	}
	return nil
}
