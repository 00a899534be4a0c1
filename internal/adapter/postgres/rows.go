package postgres

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/doorward/doorward"
	"github.com/doorward/doorward/internal/gate"
	wire "github.com/doorward/doorward/internal/wire/postgres"
)

// firstUserOID is where objects of users begin; below it are the system's own.
const firstUserOID = 16384

// rowPlan is a mask plan as the row path needs it.
type rowPlan struct {
	*gate.MaskPlan
	cols int
	pass bool // nothing is masked: rows go through as they are
}

// Passes reports whether a column's bytes may pass unseen.
func (p *rowPlan) Passes(col int) bool { return gate.Passes(p.MaskPlan, col) }

// planCache remembers the last plan: the same statement is often run again.
type planCache struct {
	rules  *gate.Rules
	fields []wire.Field
	masked []string
	plan   *rowPlan
}

// maxRemembered bounds the description that is kept to recognise the next one.
const maxRemembered = 8 << 10

// fields parses a RowDescription, unless it is the one that came last.
func (c *client) fields(body []byte) ([]wire.Field, error) {
	if c.lastDesc != nil && bytes.Equal(c.lastDesc, body) {
		return c.lastFields, nil
	}
	f, err := wire.ParseRowDescription(body)
	if err != nil {
		return nil, err
	}
	if len(body) <= maxRemembered {
		c.lastDesc, c.lastFields = append(c.lastDesc[:0], body...), f
	}
	return f, nil
}

// errShape says that the answer has another shape than the statement was
// understood to have.
var errShape = errors.New("the answer has another shape than was understood")

// shaped makes the plan for the rows that come now. An answer that nobody
// understood is dropped, and the client is told to ask again.
func (r *relay) shaped(st *doorward.Statement, fields []wire.Field) (err error) {
	r.plan, err = r.c.rowPlan(r.r, st, fields)
	if errors.Is(err, errShape) && r.c.s.Err() == nil {
		r.stop(&doorward.Denial{Decision: "error", Reason: "the target changed while this ran: its answer is not the one that was understood", Hint: "Send it again.", Retry: true, Code: "0A000"})
		return nil
	}
	return err
}

// rowPlan compiles what is masked in rows with these fields. Two things name
// the masked columns, and either is enough: the classifier's reading of the
// statement, and the origin that the target itself gives each column.
func (c *client) rowPlan(r *gate.Reply, st *doorward.Statement, fields []wire.Field) (*rowPlan, error) {
	known := st != nil && st.Known
	if known && len(st.Columns) != len(fields) {
		// Somebody changed the table between the reading and the answer.
		return nil, errors.Join(errShape, c.s.Target.Dialect.Refresh(c.s.Context()))
	}
	var buf [16]string
	masked := buf[:0]
	for i, f := range fields {
		m := ""
		if known {
			m = st.Columns[i].Masked
		}
		if f.Table >= firstUserOID {
			origin, ok := c.s.Target.Dialect.Origin(f.Table, f.Attr)
			if !ok {
				// The catalog is older than this table.
				if err := c.s.Target.Dialect.Refresh(c.s.Context()); err != nil {
					return nil, err
				}
				if origin, ok = c.s.Target.Dialect.Origin(f.Table, f.Attr); !ok {
					return nil, fmt.Errorf("a column comes from a table that the catalog does not know (%d)", f.Table)
				}
			}
			if m == "" {
				m = origin
			}
		}
		masked = append(masked, m)
	}
	rules := c.s.Rules()
	pc := &c.plan
	if pc.plan != nil && pc.rules == rules && slices.Equal(pc.masked, masked) && slices.EqualFunc(pc.fields, fields, func(a, b wire.Field) bool { return a.OID == b.OID && a.Format == b.Format && a.Name == b.Name }) {
		return pc.plan, nil
	}
	cols := make([]gate.MaskColumn, len(fields))
	for i, f := range fields {
		cols[i] = gate.MaskColumn{Masked: masked[i], OID: f.OID, Binary: f.Format == 1, Scan: true, Name: f.Name}
	}
	p := &rowPlan{MaskPlan: r.Plan(cols), cols: len(fields)}
	p.pass = !p.Touches()
	*pc = planCache{rules: rules, fields: slices.Clone(fields), masked: slices.Clone(masked), plan: p}
	return p, nil
}

// copyOut is a COPY TO STDOUT that is being answered.
type copyOut struct {
	masker *gate.CopyMasker // nil: nothing is masked
	mem    []byte
}

// startCopy takes CopyInResponse and CopyOutResponse.
func (r *relay) startCopy(f []byte, o *op) error {
	if o.kind != 'Q' && o.kind != 'E' || r.copy != nil {
		return r.unexpected(f)
	}
	body := wire.Body(f)
	if len(body) < 3 || body[0] > 1 {
		return r.unexpected(f)
	}
	st := o.statement()
	if st == nil {
		return r.unexpected(f)
	}
	if f[0] == 'G' {
		if st.Control != doorward.ControlCopyIn {
			return r.unexpected(f)
		}
		r.c.buf = append(r.c.buf, f...)
		return r.copyIn(o)
	}
	if st.Control != doorward.ControlCopyOut || !st.Known {
		return r.unexpected(f)
	}
	binary := body[0] == 1
	if binary != (st.Format == "binary") {
		return r.unexpected(f)
	}
	n := int(body[1])<<8 | int(body[2])
	if n != len(st.Columns) {
		return fmt.Errorf("the target copies %d columns where %d were understood", n, len(st.Columns))
	}
	cols := make([]gate.MaskColumn, n)
	for i, col := range st.Columns {
		cols[i] = gate.MaskColumn{Masked: col.Masked, Binary: binary, Scan: true, Name: col.Name}
		if !binary {
			cols[i].OID = 25 // COPY's text and csv are text whatever the type
		}
	}
	r.copy = &copyOut{}
	if plan := r.r.Plan(cols); plan.Touches() {
		r.copy.masker = plan.Copy(st)
	}
	r.c.buf = append(r.c.buf, f...)
	return nil
}

// copyData takes CopyData of a COPY TO STDOUT.
func (r *relay) copyData(f []byte) error {
	if r.copy == nil {
		return r.unexpected(f)
	}
	if r.cut != nil {
		return nil
	}
	r.r.Turn(r.ops[0].act)
	if !r.r.Count(len(f)) {
		r.stop(r.r.Over())
		return nil
	}
	if r.copy.masker == nil {
		r.c.buf = append(r.c.buf, f...)
		return nil
	}
	var err error
	if r.copy.mem, err = r.copy.masker.Append(r.copy.mem[:0], wire.Body(f)); err != nil {
		return err
	}
	r.emitCopy()
	return nil
}

func (r *relay) emitCopy() {
	if len(r.copy.mem) > 0 {
		r.c.buf = wire.AppendFrame(r.c.buf, 'd', r.copy.mem)
	}
}

// endCopy takes CopyDone of a COPY TO STDOUT.
func (r *relay) endCopy(f []byte) error {
	if r.copy.masker != nil && r.cut == nil {
		var err error
		if r.copy.mem, err = r.copy.masker.Close(r.copy.mem[:0]); err != nil {
			return err
		}
		r.emitCopy()
	}
	r.copy = nil
	if r.cut == nil {
		r.c.buf = append(r.c.buf, f...)
	}
	return nil
}

// copyIn streams the client's COPY data to the target under the permit.
func (r *relay) copyIn(o *op) error {
	c := r.c
	if r.held {
		// The client sends only once it is told to, and what it is told of the
		// end still waits for the bound.
		r.held = false
		if err := r.flush(); err != nil {
			return err
		}
		r.held = true
	} else if err := r.flush(); err != nil {
		return err
	}
	if r.mute {
		return r.unexpected([]byte{'G'}) // nobody is there to send data
	}
	if o.kind == 'E' && len(r.ops) > 1 && r.ops[1].kind == 'S' {
		// The Sync behind this Execute was held back, and the client sends
		// another one.
		r.ops = append(r.ops[:1], r.ops[2:]...)
		c.open2, r.owes = true, false
	}
	defer func() {
		_ = c.conn.SetReadDeadline(time.Time{})
		c.hurried = false
	}()
	out := make([]byte, 0, flushAt)
	for {
		if c.in.Buffered() == 0 {
			by := time.Now().Add(maxIdleInTx)
			if !r.limit.IsZero() && r.limit.Before(by) {
				by = r.limit
			}
			_ = c.conn.SetReadDeadline(by)
		}
		f, err := c.in.Next()
		if errors.Is(err, os.ErrDeadlineExceeded) && c.s.Err() == nil {
			// The data did not come in time. Its end is unknown, so the session
			// cannot go on either.
			return &doorward.Denial{Decision: "error", Code: "57014", Reason: "the data of the COPY did not come within its time limit"}
		}
		if err != nil {
			return err
		}
		switch f[0] {
		case 'd', 'c', 'f':
		case 'H', 'S':
			continue
		default:
			return fmt.Errorf("%w: %q came during COPY", errProtocol, f[0])
		}
		if f[0] == 'd' {
			if err := r.r.Input(wire.Body(f)); err != nil {
				return err
			}
		}
		out = append(out, f...)
		if f[0] != 'd' || len(out) >= flushAt || c.in.Buffered() == 0 {
			if f[0] != 'd' && o.kind == 'E' {
				// The target says how it ended when it is asked, and the client's
				// Sync comes later.
				out = append(out, 'H', 0, 0, 0, 4)
			}
			if err := c.up.SendBody(r.p, out); err != nil {
				return err
			}
			out = out[:0]
		}
		if f[0] != 'd' {
			return nil
		}
	}
}

// notice takes a NoticeResponse.
func (r *relay) notice(f []byte) error {
	n, err := wire.ParseNotice(wire.Body(f))
	if err != nil {
		return err
	}
	r.c.buf = wire.AppendNotice(r.c.buf, 'N', r.c.censor(n))
	return nil
}

// notification takes a NotificationResponse. Its payload is text of anyone who
// may notify, so it is masked like text, and withheld where columns are masked.
func (r *relay) notification(f []byte) error {
	var err error
	r.c.buf, err = r.c.notification(r.c.buf, f)
	return err
}

func (c *client) notification(dst, f []byte) ([]byte, error) {
	channel, payload, err := wire.ParseNotification(wire.Body(f))
	if err != nil {
		return dst, err
	}
	if payload != "" {
		if c.s.MasksColumns() {
			payload = "withheld by doorward"
		} else {
			payload = c.s.Text(payload)
		}
	}
	return wire.AppendNotification(dst, c.pid, channel, payload), nil
}

// censor takes data out of errors and notices. The code and the severity stay.
// Where columns are masked, only messages that speak of nothing but the
// statement's own text keep theirs.
func (c *client) censor(n wire.Notice) wire.Notice {
	out := wire.Notice{Severity: n.Severity, Code: n.Code}
	if c.s.MasksColumns() && !speaksOfTextOnly(n.Code) {
		out.Message = "the target reported " + n.Code + "; its text is withheld because columns are masked here"
		return out
	}
	out.Message = c.s.Text(n.Message)
	out.Hint = c.s.Text(n.Hint)
	if n.Detail != "" {
		out.Detail = c.s.Text(n.Detail)
	}
	return out
}

// speaksOfTextOnly lists the SQLSTATE classes whose messages name identifiers
// and states but never values of rows: syntax and missing objects, transaction
// states, resources, operator intervention, connection.
func speaksOfTextOnly(code string) bool {
	if len(code) != 5 {
		return false
	}
	switch code[:2] {
	case "08", "0A", "25", "26", "34", "3B", "3D", "3F", "40", "53", "54", "55", "57":
		return true
	case "42":
		return code != "42804" && code != "42846"
	}
	return false
}

// pinned are the settings that must never change under a session.
var pinned = map[string]func(string) bool{
	"client_encoding":             func(v string) bool { return v == "UTF8" },
	"standard_conforming_strings": func(v string) bool { return v == "on" },
}

// parameter takes a ParameterStatus. A pinned setting that moved ends the session.
func (c *client) parameter(f []byte, tell bool) error {
	k, v, err := wire.ParseParameterStatus(wire.Body(f))
	if err != nil {
		return err
	}
	if ok := pinned[k]; ok != nil && !ok(v) {
		return fmt.Errorf("%w: the target's %s became %q", errProtocol, k, v)
	}
	switch k {
	case "default_transaction_read_only":
		if tell && (v == "on") != c.readOnly {
			return fmt.Errorf("%w: the target's read-only mode was changed from within", errProtocol)
		}
		return nil
	case "session_authorization", "is_superuser":
		return fmt.Errorf("%w: the identity at the target changed", errProtocol)
	}
	if tell {
		if bytes.ContainsAny([]byte(v), "\x00") {
			return errProtocol
		}
		c.buf = wire.AppendParameterStatus(c.buf, k, c.s.Text(v))
	}
	return nil
}
