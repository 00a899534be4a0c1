package gate

import (
	"errors"
	"sync/atomic"

	"github.com/doorward/doorward"
)

// Permit is the right to send exactly these bytes to production, once. Only
// Ask makes one. It carries its own copy of the bytes that were judged.
type Permit struct {
	session *Session
	frames  []byte
	sealed  bool // the intents are written down: durable already, or for reads on their way
	spent   atomic.Bool
	acts    []act
	grant   doorward.Grant
	limits  doorward.Limits
	reads   bool
	rules   *Rules // in force when it was asked for

	rehearsal bool // the target is to change nothing
}

// act is one statement of the request as it was permitted.
type act struct {
	n       uint64 // request number
	st      *Statement
	rule    string
	limits  doorward.Limits
	receipt doorward.Receipt
	done    bool

	rehearsal bool
}

// ErrPermit says that a permit does not allow what was attempted with it.
var ErrPermit = errors.New("gate: permit refused")

// Spend gives the bytes of the permit, once, to the connection of the session
// that it was made for.
func (p *Permit) Spend(s *Session) ([]byte, error) {
	switch {
	case p == nil:
		return nil, errors.Join(ErrPermit, errors.New("there is none"))
	case p.session == nil || !p.sealed:
		return nil, errors.Join(ErrPermit, errors.New("it was not sealed by the gate"))
	case s == nil || p.session != s:
		return nil, errors.Join(ErrPermit, errors.New("it belongs to another session"))
	case !p.spent.CompareAndSwap(false, true):
		return nil, errors.Join(ErrPermit, errors.New("it is spent"))
	}
	if err := s.Err(); err != nil {
		return nil, errors.Join(ErrPermit, err)
	}
	return p.frames, nil
}

// Streaming reports whether data of the client may follow under this permit on
// the session's connection (COPY data): it was spent, and the session lives.
func (p *Permit) Streaming(s *Session) error {
	if p == nil || p.session == nil || s == nil || p.session != s || !p.sealed || !p.spent.Load() {
		return ErrPermit
	}
	if err := s.Err(); err != nil {
		return errors.Join(ErrPermit, err)
	}
	return nil
}

// covers reports whether the permit let this statement run in this session, so
// that a portal it opened may go on being read.
func (p *Permit) covers(s *Session, st *Statement) bool {
	if p == nil || p.session != s || !p.sealed || p.rules != s.gate.rules.Load() {
		return false
	}
	for i := range p.acts {
		if p.acts[i].st == st {
			return true
		}
	}
	return false
}

// MaxRows is the row bound that the approval carries, or 0. The adapter must
// roll back when more rows changed.
func (p *Permit) MaxRows() int64 { return p.grant.MaxRows }

// Reads reports whether everything in the permit only reads.
func (p *Permit) Reads() bool { return p.reads }

// Rehearsal reports whether the permit is only to try out what is in it:
// upstream must send it so that the target changes nothing.
func (p *Permit) Rehearsal() bool { return p.rehearsal }

// Limits are the tightest limits of all that is in the permit.
func (p *Permit) Limits() doorward.Limits { return p.limits }
