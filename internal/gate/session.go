package gate

import (
	"context"
	"errors"
	"io"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/doorward/doorward"
)

// maxVerdicts bounds the decisions that a session remembers.
const maxVerdicts = 256

// Session is one client's connection to one target. Ask, Reply and the state
// belong to the one goroutine that serves it; Kill may come from anywhere.
type Session struct {
	gate        *Gate
	id          string
	Identity    doorward.Identity
	Target      *Target
	State       State
	application string
	client      io.Writer
	tape        doorward.Tape
	started     time.Time
	ctx         context.Context
	cancel      context.CancelCauseFunc
	kill        func()
	ending      sync.Once
	closing     sync.Once
	expiry      *time.Timer // ends the session with the credential; nil: that has no end
	busy        atomic.Bool
	requests    atomic.Uint64
	refused     uint64
	held        uint64
	rows        atomic.Int64
	bytes       int64
	verdicts    map[*doorward.Reading]verdict
	waiting     atomic.Pointer[context.CancelFunc]
	lastReceipt doorward.Receipt
	lastDenial  *doorward.Denial
	scratch     []byte
}

type verdict struct {
	rules    *Rules
	decision doorward.Decision
}

// ID names the session everywhere.
func (s *Session) ID() string { return s.id }

// Context ends when the session is killed or closed.
func (s *Session) Context() context.Context { return s.ctx }

// Err says why the session was ended, or nil.
func (s *Session) Err() error { return context.Cause(s.ctx) }

// CouldWrite reports whether any rule could let this identity write here. When
// it is false, the adapter pins the target's own read-only mode for good.
func (s *Session) CouldWrite() bool {
	return s.gate.rules.Load().Policy.CouldWrite(&s.Identity, s.Target.Name)
}

// OnKill adds what must happen when the session is ended from outside, such as
// closing the upstream connection. It runs at once when that is already so.
func (s *Session) OnKill(f func()) { context.AfterFunc(s.ctx, f) }

// end stops the session: its context first, then its client connection.
func (s *Session) end(why error) {
	s.ending.Do(func() {
		s.cancel(why)
		if errors.Is(why, doorward.ErrRevoked) {
			s.gate.Stats.Killed.Add(1)
		}
		if s.kill != nil {
			s.kill()
		}
	})
}

// StopWaiting makes a request that waits for people stop waiting: the client
// cancelled it. It reports whether one was waiting.
func (s *Session) StopWaiting() bool {
	if c := s.waiting.Load(); c != nil {
		(*c)()
		return true
	}
	return false
}

// Rules gives the rules in force, to be compared by pointer: what was compiled
// under other rules must be compiled again.
func (s *Session) Rules() *Rules { return s.gate.rules.Load() }

// Read classifies a text in the session's state. A text that does not parse is
// refused here, and the refusal is recorded.
func (s *Session) Read(ctx context.Context, text string) (*Statement, error) {
	s.State.used = s.State.used[:0]
	r, err := s.Target.Dialect.Read(text, &s.State)
	var unread *CatalogError
	if errors.As(err, &unread) {
		s.gate.opt.Log.Error("the catalog of a target cannot be read", "target", s.Target.Name, "error", unread.Err)
		return nil, s.refuse(ctx, text, nil, &doorward.Denial{Decision: "error", Reason: "the catalog of the target cannot be read now, so nothing can be understood", Hint: "The target may be down. Try again shortly.", Retry: true, Code: "08006"})
	}
	if err != nil {
		d := &doorward.Denial{Decision: "deny", Reason: "this cannot be understood, so it cannot be allowed: " + err.Error(), Hint: "Send a statement that the target's own grammar accepts, within doorward's limits.", Code: "42601"}
		return nil, s.refuse(ctx, text, nil, d)
	}
	return &Statement{Text: text, Reading: r, Runs: strings.Join(s.State.used, ";\n")}, nil
}

// decide gives the verdict on a statement under the rules in force.
func (s *Session) decide(st *Statement) doorward.Decision {
	rules := s.gate.rules.Load()
	if !rules.Policy.TimeDependent() && !st.Reading.Stateful {
		if v, ok := s.verdicts[st.Reading]; ok && v.rules == rules {
			return v.decision
		}
	}
	d := rules.Policy.Decide(s.input(rules, &st.Reading.Effect))
	if d.Version == "" {
		d.Version = rules.Policy.Version()
	}
	if s.verdicts == nil || len(s.verdicts) >= maxVerdicts {
		s.verdicts = make(map[*doorward.Reading]verdict, 4)
	}
	s.verdicts[st.Reading] = verdict{rules, d}
	return d
}

// Outcome is what the rules in force say about a statement, for what has to be
// known before it is asked for. It permits nothing.
func (s *Session) Outcome(st *Statement) doorward.Outcome { return s.decide(st).Outcome }

// event starts an event of this session.
func (s *Session) event(kind doorward.EventKind) doorward.Event {
	return doorward.Event{Kind: kind, Time: s.gate.opt.Now(), Session: s.id, Name: s.Identity.Name, Subject: s.Identity.Subject, Agent: s.Identity.Agent, Run: s.Identity.Run, Target: s.Target.Name, Protocol: s.Target.Protocol}
}

// Refuse records that something was refused outside of Ask (a message that the
// protocol adapter never lets pass) and gives the denial back.
func (s *Session) Refuse(ctx context.Context, text string, d *doorward.Denial) error {
	return s.refuse(ctx, text, nil, d)
}

// Refused reports whether this denial was the last one that was recorded.
func (s *Session) Refused(d *doorward.Denial) bool { return d != nil && s.lastDenial == d }

func (s *Session) refuse(ctx context.Context, text string, params []doorward.Param, d *doorward.Denial) error {
	n := s.requests.Add(1)
	s.refused++
	s.gate.Stats.Refused.Add(1)
	text = shownOfRefused(text)
	ev := s.event(doorward.EventRefused)
	ev.Request, ev.Text, ev.Params = n, text, RenderParams(params)
	ev.Decision, ev.Rule, ev.Reason, ev.Review = d.Decision, d.Rule, d.Reason, d.Review
	ev.Policy = s.gate.rules.Load().Policy.Version()
	rec := doorward.RequestRecord{Statement: text, Params: ev.Params, Decision: d.Decision, Rule: d.Rule, Reason: d.Reason, Review: d.Review}
	if err := s.record(n, rec); err != nil {
		return err
	}
	r, err := s.gate.opt.Ledger.Append(ctx, ev)
	if err != nil {
		return s.broken("ledger", err)
	}
	// A refusal has no effect to protect, so it need not wait for the disk; the
	// session's next durable event and its close do.
	s.lastReceipt, s.lastDenial = r, d
	return d
}

// record writes a request to the tape.
func (s *Session) record(n uint64, rec doorward.RequestRecord) error {
	s.scratch = appendRequest(s.scratch[:0], rec)
	if err := s.tape.Write(doorward.Frame{Kind: doorward.FrameRequest, At: s.gate.opt.Now(), Request: n, Data: s.scratch}); err != nil {
		return s.broken("recorder", err)
	}
	s.trim()
	return nil
}

// trim drops a scratch buffer that one large statement made large.
func (s *Session) trim() {
	if cap(s.scratch) > 4096 {
		s.scratch = nil
	}
}

// broken ends the session because a part of ours failed: nothing more may pass.
func (s *Session) broken(what string, err error) error {
	d := s.gate.fault(what, err)
	s.end(d)
	return d
}

// Note puts a text of doorward's own on the tape.
func (s *Session) Note(text string) error {
	if err := s.tape.Write(doorward.Frame{Kind: doorward.FrameNote, At: s.gate.opt.Now(), Request: s.requests.Load(), Data: []byte(text)}); err != nil {
		return s.broken("recorder", err)
	}
	return nil
}

// Tell sends bytes of doorward's own making to the client (errors, notices,
// handshakes), after they were put on the tape.
func (s *Session) Tell(frames []byte) error {
	if err := s.tape.Write(doorward.Frame{Kind: doorward.FrameReply, At: s.gate.opt.Now(), Request: s.requests.Load(), Data: frames}); err != nil {
		return s.broken("recorder", err)
	}
	_, err := s.client.Write(frames)
	return err
}

// Busy marks the session as working on a request or not, for draining.
func (s *Session) Busy(b bool) { s.busy.Store(b) }

// Text masks values in text for people: notices, error messages.
func (s *Session) Text(in string) string {
	return string(s.gate.rules.Load().Masks.Text(s.Target.Name, nil, []byte(in)))
}

// Close seals the tape and writes the closing event. It must be called once the
// client is served, whatever happened; why is nil for an orderly end.
func (s *Session) Close(why error) {
	s.closing.Do(func() {
		if cause := context.Cause(s.ctx); cause != nil {
			why = cause
		}
		if s.expiry != nil {
			s.expiry.Stop()
		}
		s.end(errors.New("closed"))
		s.gate.dismiss(s)
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		end := SessionEnd{ID: s.id, Ended: s.gate.opt.Now(), Why: "closed", Requests: s.requests.Load(), Refused: s.refused, Held: s.held, Rows: s.rows.Load(), Bytes: s.bytes}
		kind := doorward.EventSessionClose
		if why != nil {
			end.Why = why.Error()
			if errors.Is(why, doorward.ErrRevoked) {
				ev := s.event(doorward.EventSessionKilled)
				ev.Reason = end.Why
				if _, err := s.gate.opt.Ledger.Append(ctx, ev); err != nil {
					s.gate.fault("ledger", err)
				}
			}
		}
		ev := s.event(kind)
		ev.Reason, ev.Request, ev.Rows, ev.Bytes = end.Why, end.Requests, end.Rows, end.Bytes
		seal, err := s.tape.Close()
		if err != nil {
			s.gate.fault("recorder", err)
			ev.Error = "the tape could not be sealed: " + err.Error()
		} else {
			end.Seal = seal
			if n, ok := s.tape.(interface{ Name() string }); ok {
				end.Tape = n.Name()
			}
			ev.Fields = map[string]string{"tape": end.Tape, "tape_hash": seal.Hash, "tape_frames": strconv.FormatUint(seal.Frames, 10), "tape_bytes": strconv.FormatInt(seal.Bytes, 10)}
		}
		if _, err := s.gate.appendWait(ctx, ev); err != nil {
			s.gate.fault("ledger", err)
		}
		if err := s.gate.opt.Registry.EndSession(ctx, end); err != nil {
			s.gate.fault("session index", err)
		}
	})
}
