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
	for i := range w.acts {
		for j := range w.acts[i].Statement.Reading.Statements {
			switch w.acts[i].Statement.Reading.Statements[j].Control {
			case doorward.ControlNone, doorward.ControlCopyIn, doorward.ControlExecute:
			default:
				return &doorward.Denial{Decision: "deny", Reason: "the approval bounds the rows, and that cannot be held with transaction control in the same request", Hint: "Send the write alone."}
			}
		}
	}
	if c.open2 || w.end == 'H' {
		return &doorward.Denial{Decision: "deny", Reason: "the approval bounds the rows, and that cannot be held in the middle of a pipeline", Hint: "Send the write alone, with a Sync."}
	}
	c.guardInside = c.tx == 'T'
	k := upstream.BeginGuard
	switch c.tx {
	case 'T':
		k = upstream.SaveGuard
	case 'E':
		return &doorward.Denial{Decision: "error", Reason: "the transaction has failed already", Code: "25P02"}
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
	failed := c.tx == 'E'
	over := !failed && r.rows > bound
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
