package postgres

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/doorward/doorward"
	"github.com/doorward/doorward/internal/gate"
	"github.com/doorward/doorward/internal/upstream"
	wire "github.com/doorward/doorward/internal/wire/postgres"
)

// stopGrace is how long the target may take to stop after it was told to.
const stopGrace = 5 * time.Second

// writeWait bounds how long a client may leave its answer unread.
const writeWait = 5 * time.Minute

// relay follows the answer to one permit.
type relay struct {
	c      *client
	w      *work
	p      *gate.Permit
	r      *gate.Reply
	ops    []op
	held   bool             // nothing is released before the row bound was checked
	rows   int64            // rows changed, for the bound
	cut    *doorward.Denial // a limit was passed: rows are dropped, the target was told to stop
	failed bool             // an error came: what follows up to the Sync is not answered
	over   bool             // an answer was cut: under a guard nothing is kept
	mute   bool             // the client was told of a cut: nothing more up to ReadyForQuery
	owes   bool             // the Sync at the end of the batch is still to be sent
	plan   *rowPlan
	copy   *copyOut
	limit  time.Time
	asked  chan struct{} // closed when the cancel that stop sent was taken; nil: none was sent
	waits  []ended       // outcomes that a guard, or the end of the transaction, holds back

	waiting bool   // the batch is a transaction of its own: what was done stands only at its end
	code    string // the error that failed it
}

// execute sends a permit and follows its answer to the end.
func (c *client) execute(p *gate.Permit, w *work) error {
	guard, err := c.prepare(p, w)
	if err != nil {
		var d *doorward.Denial
		if e := p.Reply().Done("not run"); e != nil {
			return errors.Join(err, e)
		}
		if errors.As(err, &d) {
			return c.refused(d, w.end)
		}
		return err
	}
	if w.end == 'Q' {
		delete(c.stmts, "")
		c.s.State.Forget("", false)
	}
	r := relay{c: c, w: w, p: p, r: p.Reply(), ops: w.ops, held: guard, owes: w.owesSync}
	r.waiting = !guard && c.tx == 'I' && !c.open2 && w.end == 'S' && !p.Reads()
	if len(c.async) > 0 {
		c.buf, c.async = append(c.buf, c.async...), nil
	}
	if t := p.Limits().Time; t > 0 {
		r.limit = time.Now().Add(t)
	}
	c.running.Store(true)
	defer c.running.Store(false)
	if err := c.up.Send(p); err != nil {
		return errors.Join(err, r.r.Done("connection lost"))
	}
	c.open2 = w.end == 'H' && w.ops[len(w.ops)-1].kind != 'S'
	if err = r.follow(); err == nil {
		err = c.quiet()
	}
	if !r.limit.IsZero() {
		_ = c.up.SetReadDeadline(time.Time{})
	}
	if err != nil {
		// What runs must not go on behind the client's back.
		c.up.Abort()
		return errors.Join(err, r.r.Done("connection lost"))
	}
	if r.asked != nil {
		// A cancel names a session, not a statement: one that was still on its
		// way would end the next request.
		<-r.asked
	}
	if guard {
		if err := r.settleGuard(); err != nil {
			return errors.Join(err, r.r.Done("connection lost"))
		}
	}
	return errors.Join(r.flush(), r.r.Done(""))
}

// prepare puts the target into the transaction mode that the request needs.
// It reports whether a guard transaction is open that bounds an approved write.
func (c *client) prepare(p *gate.Permit, w *work) (bool, error) {
	if bound := p.MaxRows(); bound > 0 {
		return true, c.openGuard(w)
	}
	if c.tx != 'I' || c.open2 {
		return false, nil
	}
	writes := !p.Reads() || c.beginsWriting(w)
	switch {
	case writes && c.readOnly:
		if code, err := c.control(upstream.AllowWrites); err != nil || code != "" {
			return false, errors.Join(err, errCode(code))
		}
		c.readOnly = false
	case !writes && !c.readOnly && w.runs() > 0:
		if code, err := c.control(upstream.ForbidWrites); err != nil || code != "" {
			return false, errors.Join(err, errCode(code))
		}
		c.readOnly = true
	}
	return false, nil
}

func errCode(code string) error {
	if code == "" {
		return nil
	}
	return fmt.Errorf("the target refused doorward's own statement (%s)", code)
}

// beginsWriting reports whether the request opens a transaction in which this
// identity may later write.
func (c *client) beginsWriting(w *work) bool {
	for i := range w.acts {
		for j := range w.acts[i].Statement.Reading.Statements {
			st := &w.acts[i].Statement.Reading.Statements[j]
			if st.Control == doorward.ControlBegin && !st.ReadOnly {
				return c.s.CouldWrite()
			}
		}
	}
	return false
}

// follow reads the answer until everything that was sent is answered.
func (r *relay) follow() error {
	c := r.c
	if !r.limit.IsZero() {
		_ = c.up.SetReadDeadline(r.limit)
	}
	for len(r.ops) > 0 {
		if r.owes && r.ops[0].kind == 'S' {
			if err := c.up.SendBody(r.p, []byte{'S', 0, 0, 0, 4}); err != nil {
				return err
			}
			r.owes = false
		}
		f, err := c.out.Peek()
		if err != nil {
			return err
		}
		if f == nil {
			if err := r.flush(); err != nil {
				return err
			}
			if err := c.out.Fill(); err != nil {
				if errors.Is(err, os.ErrDeadlineExceeded) && c.s.Err() == nil {
					if err := r.late(); err != nil {
						return err
					}
					continue
				}
				return fmt.Errorf("target: %w", err)
			}
			continue
		}
		c.out.Skip(len(f))
		muted, from := r.mute && f[0] != 'Z' && f[0] != 'S' && f[0] != 'A', len(c.buf)
		if err := r.frame(f); err != nil {
			return err
		}
		if muted {
			c.buf = c.buf[:from]
		}
		if len(c.buf) >= flushAt && !r.held {
			if err := r.flush(); err != nil {
				return err
			}
		}
		if r.held && len(c.buf) > maxHeld {
			return &doorward.Denial{Decision: "error", Reason: "an approved write answered with more than can be held back until its row bound is checked", Code: "54000"}
		}
	}
	return nil
}

// maxHeld bounds what is kept of an answer while its row bound is not checked.
const maxHeld = 8 << 20

// late acts on a time limit: once it stops the statement, then the session.
func (r *relay) late() error {
	if r.cut != nil {
		return &doorward.Denial{Decision: "error", Reason: "the target did not stop at the time limit", Code: "57P01"}
	}
	r.stop(&doorward.Denial{Decision: "deny", Reason: fmt.Sprintf("stopped at the time limit of %s", r.p.Limits().Time), Hint: "Narrow the request.", Code: "57014"})
	return nil
}

// stop cuts the answer: the target is told to stop, and what still comes is dropped.
func (r *relay) stop(why *doorward.Denial) {
	if r.cut != nil {
		return
	}
	r.cut, r.over = why, true
	ctx, cancel := context.WithTimeout(r.c.s.Context(), stopGrace)
	r.asked = make(chan struct{})
	go func() {
		defer close(r.asked)
		defer cancel()
		if err := r.c.up.Cancel(ctx); err != nil {
			r.c.srv.opt.Log.Warn("a statement over its limit could not be stopped by a cancel", "session", r.c.s.ID(), "error", err)
		}
	}()
	_ = r.c.up.SetReadDeadline(time.Now().Add(stopGrace))
	if r.limit.IsZero() {
		r.limit = time.Now().Add(stopGrace)
	}
}

// flush releases what is ready.
func (r *relay) flush() error {
	c := r.c
	if len(c.buf) == 0 || r.held {
		return nil
	}
	// A client that does not read holds the target up: it has until a little
	// after the time limit. A deadline that still does is left as it is.
	now := time.Now()
	wait := writeWait
	if !r.limit.IsZero() {
		wait = max(r.limit.Sub(now), 0) + stopGrace
	}
	if left := c.writeBy.Sub(now); left > wait || left < wait/2 {
		c.writeBy = now.Add(wait)
		_ = c.conn.SetWriteDeadline(c.writeBy)
	}
	err := r.r.Release(c.buf)
	c.buf = c.buf[:0]
	return err
}

// outcome writes down how an act ended. Under a guard it is not known before
// the guard is settled.
func (r *relay) outcome(act int, rows int64, code string) error {
	if r.held || (r.waiting && code == "") {
		r.waits = append(r.waits, ended{act, rows, code})
		return nil
	}
	r.r.Turn(act)
	return r.r.Next(rows, code)
}

// settle writes down the outcomes that waited for the guard. undone is why
// nothing of them stays, or "".
func (r *relay) settle(undone string) error {
	for _, e := range r.waits {
		if undone != "" && e.code == "" {
			e.rows, e.code = 0, undone
		}
		if err := r.outcome(e.act, e.rows, e.code); err != nil {
			return err
		}
	}
	r.waits = nil
	return nil
}

// ended is the end of an act as the target told it.
type ended struct {
	act  int
	rows int64
	code string
}

// frame takes one message of the target in the state that the session is in.
func (r *relay) frame(f []byte) error {
	c := r.c
	o := &r.ops[0]
	switch f[0] {
	case 'D':
		return r.row(f, o)
	case 'd':
		return r.copyData(f)
	case 'N':
		return r.notice(f)
	case 'A':
		return r.notification(f)
	case 'S':
		return c.parameter(f, true)
	case 'E':
		return r.error(f, o)
	case 'Z':
		return r.ready(f, o)
	case 'T', 'n', 't':
		return r.description(f, o)
	case 'C', 'I', 's':
		return r.complete(f, o)
	case '1', '2', '3':
		return r.acknowledge(f, o)
	case 'G', 'H':
		return r.startCopy(f, o)
	case 'c':
		if r.copy == nil {
			break
		}
		return r.endCopy(f)
	}
	return fmt.Errorf("%w: the target sent %q, which is not due", errProtocol, f[0])
}

func (r *relay) unexpected(f []byte) error {
	return fmt.Errorf("%w: the target sent %q, which is not due", errProtocol, f[0])
}

// acknowledge takes ParseComplete, BindComplete and CloseComplete: only now do
// names mean what the batch said.
func (r *relay) acknowledge(f []byte, o *op) error {
	c := r.c
	want := map[byte]byte{'1': 'P', '2': 'B', '3': 'C'}[f[0]]
	if o.kind != want || len(f) != wire.HeaderLen {
		return r.unexpected(f)
	}
	switch o.kind {
	case 'P':
		if c.stmts == nil {
			c.stmts = make(map[string]*prepared, 1)
		}
		c.stmts[o.name] = o.prep
		if o.name != "" && !c.s.State.Prepare(o.name, o.prep.st) {
			return errors.New("too many prepared statements")
		}
	case 'B':
		if c.portals == nil {
			c.portals = make(map[string]*portal, 1)
		}
		c.portals[o.name] = o.port
		if o.name != "" && !c.s.State.Declare(o.name, o.port.st) {
			return errors.New("too many portals")
		}
		if o.last {
			if err := r.outcome(o.act, 0, ""); err != nil {
				return err
			}
		}
	case 'C':
		if o.sub == 'S' {
			delete(c.stmts, o.name)
			c.s.State.Forget(o.name, false)
		} else {
			delete(c.portals, o.name)
			c.s.State.CloseCursor(o.name, false)
		}
	}
	c.buf = append(c.buf, f...)
	r.ops = r.ops[1:]
	return nil
}

// description takes RowDescription, NoData and ParameterDescription.
func (r *relay) description(f []byte, o *op) error {
	c := r.c
	switch o.kind {
	case 'Q':
		if f[0] != 'T' {
			return r.unexpected(f)
		}
		fields, err := c.fields(wire.Body(f))
		if err != nil {
			return err
		}
		if err := r.shaped(o.statement(), fields); err != nil || r.cut != nil {
			return err
		}
		c.buf = append(c.buf, f...)
		return nil
	case 'D', 'd':
	default:
		return r.unexpected(f)
	}
	if f[0] == 't' {
		if o.sub != 'S' {
			return r.unexpected(f)
		}
		c.buf = append(c.buf, f...)
		return nil
	}
	var fields []wire.Field
	if f[0] == 'T' {
		var err error
		if fields, err = c.fields(wire.Body(f)); err != nil {
			return err
		}
	}
	if o.sub == 'S' {
		o.prep.desc, o.prep.known = fields, true
	} else {
		o.port.fields, o.port.known = fields, true
	}
	if o.kind != 'd' {
		c.buf = append(c.buf, f...)
	}
	r.ops = r.ops[1:]
	return nil
}

// statement is the one that is being answered.
func (o *op) statement() *doorward.Statement {
	all := o.st.Reading.Statements
	if o.at < len(all) {
		return &all[o.at]
	}
	return nil
}

// row takes a DataRow.
func (r *relay) row(f []byte, o *op) error {
	c := r.c
	if o.kind != 'Q' && o.kind != 'E' {
		return r.unexpected(f)
	}
	if r.cut != nil {
		return nil
	}
	if r.plan == nil {
		if o.kind == 'Q' {
			return r.unexpected(f) // rows without a description
		}
		p := o.port
		if !p.known && p.prep.known {
			p.fields, p.known = withFormats(p.prep.desc, p.results), true
		}
		if !p.known {
			return errors.New("rows came that nobody described")
		}
		if err := r.shaped(o.statement(), p.fields); err != nil || r.cut != nil {
			return err
		}
	}
	r.r.Turn(o.act)
	if o.port != nil && o.port.sent.Rows > 0 {
		r.r.Carry(o.port.sent)
		o.port.sent = gate.Sent{}
	}
	if !r.r.Count(len(f)) {
		r.stop(r.r.Over())
		return nil
	}
	if r.plan.pass {
		c.buf = append(c.buf, f...)
		return nil
	}
	var err error
	c.buf, err = wire.AppendRow(c.buf, f, r.plan.cols, r.plan)
	return err
}

// complete takes CommandComplete, EmptyQueryResponse and PortalSuspended.
func (r *relay) complete(f []byte, o *op) error {
	c := r.c
	if o.kind != 'Q' && o.kind != 'E' || r.copy != nil {
		return r.unexpected(f)
	}
	rows := int64(0)
	if f[0] == 'C' {
		tag := wire.Body(f)
		if len(tag) == 0 || tag[len(tag)-1] != 0 {
			return r.unexpected(f)
		}
		n, writes := wire.TagRows(tag[:len(tag)-1])
		rows = n
		if writes {
			r.rows += n
		}
		if st := o.statement(); st != nil {
			if err := c.moved(o, st); err != nil {
				return err
			}
		}
	}
	if r.cut != nil {
		// The statement ended before the cancel reached it: what it did stands,
		// and is recorded so. The client is told that its answer is not whole.
		d := *r.cut
		if st := o.statement(); st != nil && !st.Effect.ReadOnly() && !r.held {
			d.Reason += "; the statement itself ran to its end"
		}
		c.buf = wire.AppendNotice(c.buf, 'E', denialNotice("ERROR", &d))
		r.cut, r.mute = nil, true
		if err := c.s.Note(d.Reason); err != nil {
			return err
		}
	} else {
		c.buf = append(c.buf, f...)
	}
	r.plan = nil
	if o.kind == 'Q' {
		o.at++
		return nil // its act ends with ReadyForQuery
	}
	if f[0] == 's' && o.port != nil {
		r.r.Turn(o.act)
		o.port.sent = r.r.Sent() // the limits are the portal's, not the piece's
	}
	if err := r.outcome(o.act, rows, ""); err != nil {
		return err
	}
	r.ops = r.ops[1:]
	return nil
}

// moved notes what a completed statement did to the session's own state.
func (c *client) moved(o *op, st *doorward.Statement) error {
	s := &c.s.State
	ok := true
	switch st.Control {
	case doorward.ControlPrepare:
		if st.Inner != nil {
			ok = s.Prepare(st.Name, &gate.Statement{Text: st.Text, Reading: st.Inner, Inner: true})
		}
	case doorward.ControlDeallocate:
		s.Forget(st.Name, st.Name == "")
		if st.Name == "" {
			c.stmts = nil
		} else {
			delete(c.stmts, st.Name)
		}
	case doorward.ControlDeclare:
		if st.Inner != nil {
			ok = s.Declare(st.Name, &gate.Statement{Text: st.Text, Reading: st.Inner, Inner: true})
		}
	case doorward.ControlClose:
		s.CloseCursor(st.Name, st.Name == "")
		if st.Name == "" {
			c.portals = nil
		} else {
			delete(c.portals, st.Name)
		}
	case doorward.ControlDiscard:
		s.Forget("", true)
		s.CloseCursor("", true)
		c.stmts, c.portals = nil, nil
	}
	if !ok {
		return errors.New("too many prepared statements or cursors")
	}
	if st.Effect.Verbs.Has(doorward.VerbDefine | doorward.VerbGrant) {
		c.reshaped = true
	}
	if st.Effect.Verbs.Has(shaping) {
		c.ddl = true
	}
	return nil
}

// answerCut ends a statement that failed after its answer was cut: the client
// is told the reason for the cut.
func (r *relay) answerCut(o *op) error {
	d := r.cut
	r.cut = nil
	r.c.buf = wire.AppendNotice(r.c.buf, 'E', denialNotice("ERROR", d))
	return r.fail(o, d.Code)
}

// error takes an ErrorResponse.
func (r *relay) error(f []byte, o *op) error {
	n, err := wire.ParseNotice(wire.Body(f))
	if err != nil {
		return err
	}
	if r.cut != nil {
		return r.answerCut(o)
	}
	if ended := r.c.s.Err(); ended != nil {
		// It was cancelled because the session ended: the client is told that.
		return errors.Join(ended, r.fail(o, n.Code))
	}
	n = r.c.censor(n)
	r.c.buf = wire.AppendNotice(r.c.buf, 'E', n)
	if n.Severity == "FATAL" || n.Severity == "PANIC" {
		if err := r.flush(); err != nil {
			return err
		}
		return fmt.Errorf("the target ended the session (%s)", n.Code)
	}
	return r.fail(o, n.Code)
}

// fail notes that a statement failed: nothing up to the Sync is answered.
func (r *relay) fail(o *op, code string) error {
	r.code = code
	r.plan, r.copy, r.failed = nil, nil, true
	if o.act >= 0 {
		if err := r.outcome(o.act, 0, code); err != nil {
			return err
		}
	}
	if o.kind == 'P' && o.name == "" {
		delete(r.c.stmts, "")
	}
	if o.kind == 'Q' {
		o.kind = 'S' // only ReadyForQuery is due now
		return nil
	}
	for len(r.ops) > 0 && r.ops[0].kind != 'S' {
		r.ops = r.ops[1:]
	}
	if len(r.ops) == 0 {
		r.c.skip = true // the batch ended in a Flush; the target discards up to the Sync
		r.c.open2 = true
	}
	return nil
}

// ready takes ReadyForQuery.
func (r *relay) ready(f []byte, o *op) error {
	c := r.c
	if (o.kind != 'S' && o.kind != 'Q') || len(f) != 6 || r.copy != nil {
		return r.unexpected(f)
	}
	switch f[5] {
	case 'I', 'T', 'E':
	default:
		return r.unexpected(f)
	}
	c.tx = f[5]
	if c.tx == 'I' && !r.held {
		c.endOfTransaction()
	}
	r.mute = false
	if r.waiting {
		r.waiting = false
		undone := ""
		if r.failed {
			undone = "rolled back: " + r.code
		}
		if err := r.settle(undone); err != nil {
			return err
		}
	}
	if o.sub == 'o' { // the Sync was doorward's own
		c.skip = r.failed // the client's own Sync is still to come
		r.ops = r.ops[1:]
		return nil
	}
	if o.kind == 'Q' {
		if err := r.outcome(0, r.rows, ""); err != nil {
			return err
		}
	}
	c.buf = append(c.buf, f...)
	r.ops = r.ops[1:]
	return nil
}
