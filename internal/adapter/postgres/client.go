package postgres

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/doorward/doorward"
	"github.com/doorward/doorward/internal/gate"
	"github.com/doorward/doorward/internal/upstream"
	wire "github.com/doorward/doorward/internal/wire/postgres"
)

const (
	maxBatch    = 16 << 20 // bytes of one batch of extended messages
	maxMessages = 20000    // messages of one batch
	flushAt     = 32 << 10 // bytes released at once
)

var (
	errTerminate = errors.New("the client said goodbye")
	errProtocol  = errors.New("protocol violation")
)

// client is one session: both directions, one goroutine.
type client struct {
	srv    *Server
	gate   *gate.Gate
	conn   net.Conn
	s      *gate.Session
	up     *upstream.Conn
	in     *wire.Reader // from the client
	out    *wire.Reader // from the target
	pid    uint32
	secret []byte

	running     atomic.Bool // a statement is running: a cancel makes sense
	tx          byte        // the target's transaction status: I, T or E
	readOnly    bool        // the target is pinned to read-only transactions
	async       []byte      // notifications that came between requests
	writeBy     time.Time   // write deadline of the client's connection
	hurried     bool        // the client's connection has a read deadline
	open2       bool        // messages were sent since the last Sync
	skip        bool        // a refusal came before a Flush: discard up to the Sync
	reshaped    bool        // the open transaction has changed the shape of things
	ddl         bool        // the shape of things may have changed: look at the catalog first
	guardInside bool        // the guard is a savepoint in a transaction of the client

	stmts   map[string]*prepared
	portals map[string]*portal

	batch []byte // frames collected for one request
	msgs  []msg
	buf   []byte // frames to be released

	plan       planCache
	lastDesc   []byte // the last RowDescription, and what it says
	lastFields []wire.Field
}

// prepared is a statement that the target knows by name.
type prepared struct {
	st    *gate.Statement
	oids  []uint32
	desc  []wire.Field // from Describe; formats are those of the description
	known bool         // desc is set (an empty one says that no rows come)
}

// portal is a statement bound to its parameters.
type portal struct {
	st      *gate.Statement
	prep    *prepared
	params  []doorward.Param
	results []int16
	permit  *gate.Permit
	fields  []wire.Field
	known   bool
	sent    gate.Sent // what earlier Executes sent of it
}

// msg is one client message within the batch.
type msg struct {
	typ      byte
	from, to int
}

// run serves requests until the session ends.
func (c *client) run() error {
	for {
		c.patience()
		end, err := c.collect()
		if err != nil {
			if ended := c.s.Err(); ended != nil {
				c.farewell(ended)
				return ended
			}
			if errors.Is(err, os.ErrDeadlineExceeded) {
				c.farewell(errIdleInTx)
				return errIdleInTx
			}
			if errors.Is(err, errProtocol) || errors.Is(err, wire.ErrTooLong) || errors.Is(err, wire.ErrType) {
				c.farewell(err)
			}
			return err
		}
		c.s.Busy(true)
		err = c.serve(end)
		c.s.Busy(false)
		if err != nil {
			if ended := c.s.Err(); ended != nil {
				err = ended
			}
			c.farewell(err)
			return err
		}
		c.rest()
	}
}

// maxIdleInTx bounds how long a transaction may stay open with nothing asked:
// it holds locks and a snapshot at the target. The target has the same limit
// from doorward, but a session may be allowed to set that one.
const maxIdleInTx = 10 * time.Minute

var errIdleInTx = &doorward.Denial{Decision: "error", Code: "25P03", Reason: "the transaction was idle for " + maxIdleInTx.String() + " and was rolled back"}

// patience sets how long the next message may take.
func (c *client) patience() {
	switch open := c.tx != 'I' || c.open2; {
	case open:
		_ = c.conn.SetReadDeadline(time.Now().Add(maxIdleInTx))
	case c.hurried:
		_ = c.conn.SetReadDeadline(time.Time{})
	default:
		return
	}
	c.hurried = c.tx != 'I' || c.open2
}

// farewell tells the client why its session ends, if it still listens.
func (c *client) farewell(err error) {
	code, msg := "08P01", err.Error()
	var d *doorward.Denial
	switch {
	case errors.As(err, &d):
		code, msg = orCode(d.Code, "57P01"), d.Reason
	case errors.Is(err, doorward.ErrRevoked):
		code = "57P01"
	case errors.Is(err, errProtocol), errors.Is(err, wire.ErrTooLong), errors.Is(err, wire.ErrType):
	default:
		code, msg = "08006", "the session cannot go on"
	}
	_ = c.conn.SetWriteDeadline(time.Now().Add(time.Second))
	_ = c.s.Tell(wire.AppendNotice(nil, 'E', wire.Notice{Severity: "FATAL", Code: code, Message: "doorward: " + msg}))
}

// rest gives buffers back while nothing happens.
func (c *client) rest() {
	if c.in.Buffered() > 0 {
		return
	}
	c.in.Idle()
	c.out.Idle()
	if cap(c.batch) > 4096 {
		c.batch = nil
	}
	if cap(c.buf) > 4096 {
		c.buf = nil
	}
	if cap(c.msgs) > 64 {
		c.msgs = nil
	}
}

// collect reads client messages up to one that asks for an answer: Query (Q),
// Sync (S), Flush (H), FunctionCall (F). It returns that message's type.
func (c *client) collect() (byte, error) {
	c.batch, c.msgs = c.batch[:0], c.msgs[:0]
	for {
		f, err := c.in.Next()
		if err != nil {
			return 0, err
		}
		t := f[0]
		switch t {
		case 'X':
			return 0, errTerminate
		case 'd', 'c', 'f':
			// Left over from a COPY that failed or was refused: the protocol
			// has the server ignore it.
			continue
		case 'P', 'B', 'D', 'E', 'C', 'S', 'H', 'Q', 'F':
		default:
			return 0, fmt.Errorf("%w: message %q is unknown or not due", errProtocol, t)
		}
		if c.skip {
			if t != 'S' {
				continue
			}
			c.msgs = append(c.msgs[:0], msg{typ: 'S'})
			return 'S', nil
		}
		if (t == 'Q' || t == 'F') && (len(c.msgs) > 0 || c.open2) {
			return 0, fmt.Errorf("%w: %q came before the Sync of the messages before it", errProtocol, t)
		}
		from := len(c.batch)
		c.batch = append(c.batch, f...)
		c.msgs = append(c.msgs, msg{t, from, len(c.batch)})
		switch t {
		case 'S', 'H', 'Q', 'F':
			return t, nil
		}
		if len(c.batch) > maxBatch || len(c.msgs) >= maxMessages {
			// A pipeline that never syncs goes out piece by piece: doorward
			// puts a Flush of its own behind this piece.
			from := len(c.batch)
			c.batch = wire.AppendFrame(c.batch, 'H', nil)
			c.msgs = append(c.msgs, msg{'H', from, len(c.batch)})
			return 'H', nil
		}
	}
}

// serve answers one request.
func (c *client) serve(end byte) error {
	if c.ddl {
		if err := c.s.Target.Dialect.Refresh(c.s.Context()); err != nil {
			return &doorward.Denial{Decision: "error", Reason: "the catalog of the target cannot be read", Code: "08006"}
		}
		c.ddl = false
	}
	if end == 'F' {
		d := &doorward.Denial{Decision: "deny", Reason: "function call messages are not let through", Hint: "Call the function in a SELECT.", Code: "42501"}
		if err := c.s.Refuse(c.s.Context(), "FunctionCall", d); err != nil && err != error(d) {
			return err
		}
		return c.refused(d, 'Q')
	}
	if c.skip { // the Sync that ends a refused batch
		c.skip = false
		if err := c.failTarget(); err != nil {
			return err
		}
		return c.s.Tell(wire.AppendReady(nil, c.tx))
	}
	w := work{c: c, end: end}
	err := c.judge(&w)
	if err == nil {
		err = w.together()
	}
	if err != nil {
		err = c.recorded(&w, err)
	} else {
		var p *gate.Permit
		p, err = c.s.Ask(c.s.Context(), gate.Request{Frames: w.frames, Acts: w.acts, State: c.fingerprint(), Gone: c.gone, OnHold: c.onHold, Unbounded: w.unbounded})
		if err == nil {
			for i := range w.ops {
				if w.ops[i].port != nil && w.ops[i].kind == 'B' {
					w.ops[i].port.permit = p
				}
			}
			return c.execute(p, &w)
		}
	}
	var d *doorward.Denial
	if errors.As(err, &d) && c.s.Err() == nil {
		return c.refused(d, end)
	}
	return err
}

// recorded puts a refusal of the adapter's own into the record, as those of the
// gate are: what was asked is known as far as it was read.
func (c *client) recorded(w *work, err error) error {
	var d *doorward.Denial
	if !errors.As(err, &d) || c.s.Refused(d) || c.s.Err() != nil {
		return err
	}
	var texts []string
	for i := range w.acts {
		texts = append(texts, w.acts[i].Statement.Text)
	}
	return c.s.Refuse(c.s.Context(), strings.Join(texts, ";\n"), d)
}

// fingerprint is what else changes the meaning of a statement here.
func (c *client) fingerprint() string {
	if c.tx == 'I' {
		return "no transaction"
	}
	return "in transaction"
}

// refused tells the client that its request did not run, and makes the
// target's transaction state agree with what it is told.
func (c *client) refused(d *doorward.Denial, end byte) error {
	delete(c.stmts, "")
	c.s.State.Forget("", false)
	if end != 'H' {
		if err := c.failTarget(); err != nil {
			return err
		}
	} else {
		c.skip = true
	}
	out := wire.AppendNotice(nil, 'E', denialNotice("ERROR", d))
	if end != 'H' {
		out = wire.AppendReady(out, c.tx)
	}
	return c.s.Tell(out)
}

// failTarget brings the target where a failed statement would have: the open
// batch is undone, or the open transaction is failed.
func (c *client) failTarget() error {
	var err error
	switch {
	case c.open2:
		_, err = c.control(upstream.FailBatch)
		c.open2 = false
	case c.tx == 'T':
		_, err = c.control(upstream.FailBlock)
	}
	return err
}

// denialNotice renders a denial as a Postgres error: the hint as HINT, and the
// schema that all protocols share, as JSON, in DETAIL.
func denialNotice(severity string, d *doorward.Denial) wire.Notice {
	detail, _ := json.Marshal(d)
	msg := "doorward: " + d.Reason
	if d.Rule != "" {
		msg += " (rule " + d.Rule + ")"
	}
	return wire.Notice{Severity: severity, Code: orCode(d.Code, "42501"), Message: msg, Detail: string(detail), Hint: d.Hint}
}

// onHold tells the client at once where its request waits.
func (c *client) onHold(r doorward.Review) error {
	return c.s.Tell(wire.AppendNotice(nil, 'N', wire.Notice{
		Severity: "NOTICE", Code: "01000",
		Message: fmt.Sprintf("doorward: held for approval, review %d: %s", r.ID, r.URL),
		Hint:    "It runs as soon as it is approved. If this connection gives up first, send the same statement again later.",
	}))
}

// gone reports whether the client hung up while its request was held.
func (c *client) gone() bool {
	defer c.conn.SetReadDeadline(time.Time{})
	c.hurried = false
	for c.in.Buffered() < maxPeek {
		_ = c.conn.SetReadDeadline(time.Now().Add(time.Millisecond))
		if err := c.in.Fill(); err != nil {
			if !errors.Is(err, os.ErrDeadlineExceeded) {
				return true
			}
			break
		}
	}
	f, err := c.in.Peek()
	return err != nil || (f != nil && f[0] == 'X')
}

// maxPeek bounds what is read of a client whose request is held, to see
// whether it left.
const maxPeek = 64 << 10

// control runs one of doorward's own statements and swallows its answer. It
// returns the error code, if there was one.
func (c *client) control(k upstream.Control) (string, error) {
	if err := c.quiet(); err != nil {
		return "", err
	}
	if err := c.up.Control(k); err != nil {
		return "", err
	}
	code, due := "", k.Answers()
	skipping := k == upstream.FailBatch // a target that discards up to the Sync answers that only
	for {
		f, err := c.out.Next()
		if err != nil {
			return "", fmt.Errorf("target: %w", err)
		}
		switch f[0] {
		case 'E':
			n, err := wire.ParseNotice(wire.Body(f))
			if err != nil {
				return "", err
			}
			if code != "" {
				return "", fmt.Errorf("%w: the target failed twice", errProtocol)
			}
			code = n.Code
		case 'S':
			if err := c.parameter(f, false); err != nil {
				return "", err
			}
		case 'Z':
			if len(f) != 6 || (code == "" && !skipping && due != "Z") {
				return "", errProtocol
			}
			c.tx = f[5]
			if c.tx == 'I' {
				c.endOfTransaction()
			}
			return code, nil
		case 'N':
		case 'A':
			if len(c.async) < maxAsync {
				if c.async, err = c.notification(c.async, f); err != nil {
					return "", err
				}
			}
		default:
			if code != "" || due == "" || f[0] != due[0] {
				return "", fmt.Errorf("%w: the target sent %q", errProtocol, f[0])
			}
			due = due[1:]
		}
	}
}

// maxAsync bounds the notifications that wait for the next answer.
const maxAsync = 1 << 20

// quiet makes sure that the target has nothing more to say about what was
// asked: a later request must not take it for its own answer.
func (c *client) quiet() error {
	for {
		f, err := c.out.Peek()
		if err != nil {
			return err
		}
		if f == nil {
			if c.out.Buffered() == 0 {
				return nil
			}
			if err := c.out.Fill(); err != nil {
				return fmt.Errorf("target: %w", err)
			}
			continue
		}
		switch f[0] {
		case 'N':
		case 'A':
			if c.async, err = c.notification(c.async, f); err != nil {
				return err
			}
		case 'S':
			if err := c.parameter(f, false); err != nil {
				return err
			}
		default:
			return fmt.Errorf("%w: the target sent %q after its answer", errProtocol, f[0])
		}
		c.out.Skip(len(f))
	}
}

// endOfTransaction forgets what does not outlive a transaction.
func (c *client) endOfTransaction() {
	if len(c.portals) > 0 {
		clear(c.portals)
	}
	c.s.State.CloseCursor("", true)
	c.reshaped = false
}
