package postgres

import (
	"errors"
	"fmt"

	"github.com/doorward/doorward"
	"github.com/doorward/doorward/internal/upstream"
	wire "github.com/doorward/doorward/internal/wire/postgres"
)

// openGuard opens the transaction, or inside one of the client's the savepoint,
// in which a write runs whose approval bounds the rows that it may change.
func (c *client) openGuard(w *work) error {
	if why := w.unbounded(); why != "" { // asked before the approval was used, too
		return &doorward.Denial{Decision: "deny", Reason: "the approval bounds the rows, and that cannot be held " + why, Hint: "Send the write alone."}
	}
	c.guardInside = c.tx == 'T'
	k := upstream.BeginGuard
	if c.guardInside {
		k = upstream.SaveGuard
	}
	code, err := c.control(k)
	if err == nil {
		err = errCode(code)
	}
	return err
}

// settleGuard keeps the write if it changed no more rows than approved, and
// undoes it otherwise. Only then does the client get its answer.
func (r *relay) settleGuard() error {
	c := r.c
	r.held = false
	inside := c.guardInside
	bound := r.p.MaxRows()
	failed := c.tx == 'E' || (r.failed && !r.over)
	over := !failed && (r.rows > bound || r.over)
	keep, undo := upstream.CommitGuard, upstream.RollbackGuard
	if inside {
		keep, undo = upstream.ReleaseGuard, upstream.UndoGuard
	}
	switch {
	case failed:
		// Inside a transaction of the client, that has failed by its own statement.
		if !inside {
			if _, err := c.control(undo); err != nil {
				return err
			}
		}
		if err := r.settle("rolled back"); err != nil {
			return err
		}
	case over:
		if _, err := c.control(undo); err != nil {
			return err
		}
		if inside {
			if _, err := c.control(upstream.FailBlock); err != nil {
				return err
			}
		}
		if r.over && r.rows <= bound {
			// Its answer was cut, and the client has been told so.
			if err := errors.Join(c.s.Note("rolled back: the answer was cut"), r.settle("rolled back: the answer was cut")); err != nil {
				return err
			}
			c.endReady()
			return nil
		}
		d := &doorward.Denial{Decision: "deny", Reason: fmt.Sprintf("it would change %d rows, and the approval is for at most %d: rolled back", r.rows, bound), Hint: "Narrow the statement, or ask for a larger bound.", Code: "54000"}
		if err := errors.Join(c.s.Note(d.Reason), r.settle("rolled back: over the approved rows")); err != nil {
			return err
		}
		c.buf = wire.AppendNotice(c.buf[:0], 'E', denialNotice("ERROR", d))
		c.buf = wire.AppendReady(c.buf, c.tx)
		return nil
	default:
		code, err := c.control(keep)
		if err != nil {
			return err
		}
		if want := map[bool]byte{true: 'T', false: 'I'}[inside]; code == "" && c.tx != want {
			return fmt.Errorf("%w: the target's transaction is %q after the guard was kept", errProtocol, c.tx)
		}
		if code != "" {
			// A deferred constraint failed at the commit.
			if err := r.settle(code); err != nil {
				return err
			}
			d := &doorward.Denial{Decision: "error", Reason: "the target refused to commit", Code: code}
			c.buf = wire.AppendNotice(c.buf[:0], 'E', denialNotice("ERROR", d))
			c.buf = wire.AppendReady(c.buf, c.tx)
			return nil
		}
		if err := r.settle(""); err != nil {
			return err
		}
	}
	c.endReady()
	return nil
}

// endReady makes the ReadyForQuery at the end of what is held tell the state
// that the session is in now.
func (c *client) endReady() {
	if n := len(c.buf); n >= 6 && c.buf[n-6] == 'Z' {
		c.buf[n-1] = c.tx
	}
}
