package gate

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/doorward/doorward"
	"github.com/doorward/doorward/internal/mask"
	"github.com/doorward/doorward/internal/policy"
)

// Rules is what decides: one policy with the masks that belong to it. It is
// replaced as a whole.
type Rules struct {
	Policy *policy.Policy
	Masks  *mask.Set
}

// Options wires a gate to the rest of the house.
type Options struct {
	Identifier  Identifier
	Reviewer    Reviewer
	Ledger      Ledger
	Recorder    Recorder
	Registry    Registry
	Target      func(name string) (*Target, bool)
	Rules       Rules
	ReviewWait  time.Duration // how long a held request waits on the wire; 45 s when zero
	MaxSessions int           // 10,000 when zero
	Log         *slog.Logger
	Now         func() time.Time // time.Now when nil
}

// Gate is the one decision point of a doorward process.
type Gate struct {
	opt      Options
	rules    atomic.Pointer[Rules]
	mu       sync.Mutex
	sessions map[string]*Session
	rates    rates
	failures rates // failed sign-ins by address
	draining atomic.Bool

	// Counters for metrics; read with atomic loads.
	Stats Stats
}

// Stats counts what happened since the start.
type Stats struct {
	Sessions, SignInsFailed, Allowed, Refused, Held, Killed, Rows, Bytes, Faults atomic.Int64
}

// New makes a gate. Every port is required.
func New(opt Options) (*Gate, error) {
	if opt.Identifier == nil || opt.Reviewer == nil || opt.Ledger == nil || opt.Recorder == nil || opt.Registry == nil || opt.Target == nil || opt.Rules.Policy == nil || opt.Rules.Masks == nil {
		return nil, errors.New("gate: a port is missing")
	}
	if opt.ReviewWait == 0 {
		opt.ReviewWait = 45 * time.Second
	}
	if opt.MaxSessions == 0 {
		opt.MaxSessions = 10000
	}
	if opt.Log == nil {
		opt.Log = slog.Default()
	}
	if opt.Now == nil {
		opt.Now = time.Now
	}
	g := &Gate{opt: opt, sessions: map[string]*Session{}}
	g.rules.Store(&opt.Rules)
	return g, nil
}

// SetRules replaces policy and masks. Requests judged from now on see them.
func (g *Gate) SetRules(r Rules) { g.rules.Store(&r) }

// Rules gives the rules in force.
func (g *Gate) Rules() Rules { return *g.rules.Load() }

// maxFailures is how many failed sign-ins of one address are recorded in a minute.
const maxFailures = 120

// Hello is what a client said before its session exists.
type Hello struct {
	Credential  doorward.Credential
	Target      string
	Application string // what the client calls itself; a claim, bounded and escaped before use
	Kill        func() // closes the client's connection; called at most once, from any goroutine
}

// Open identifies the client and opens its session, or refuses. Everything that
// the client is sent goes through the session to client.
func (g *Gate) Open(ctx context.Context, h Hello, client io.Writer) (*Session, error) {
	// Step 1: who is it? The client learns only that it is not signed in.
	id, err := g.opt.Identifier.Identify(ctx, h.Credential)
	if err != nil {
		g.Stats.SignInsFailed.Add(1)
		host, _, _ := net.SplitHostPort(h.Credential.Remote)
		if !g.failures.take(host, maxFailures, g.opt.Now()) {
			// Beyond that it is counted, not recorded: strangers must not be able
			// to fill the disk.
			return nil, &doorward.Denial{Decision: "deny", Reason: "too many failed sign-ins from this address", Hint: "Wait a minute.", Retry: true, Code: "28000"}
		}
		ev := doorward.Event{Kind: doorward.EventSignInFailed, Time: g.opt.Now(), Protocol: h.Credential.Protocol, Target: clip(h.Target, 256), Fields: map[string]string{"remote": h.Credential.Remote}}
		if _, e := g.appendWait(ctx, ev); e != nil {
			return nil, g.fault("ledger", e)
		}
		return nil, &doorward.Denial{Decision: "deny", Reason: err.Error(), Hint: "Sign in with `doorward login`, or start the agent with `doorward run`.", Code: "28000"}
	}
	// Step 2: may it be here at all?
	target, ok := g.opt.Target(h.Target)
	if ok && len(id.Targets) > 0 && !contains(id.Targets, h.Target) {
		ok = false
	}
	if !ok || target.Protocol != h.Credential.Protocol || !g.rules.Load().Policy.Reaches(&id, h.Target) {
		return nil, g.turnAway(ctx, id, h, "no target of that name is open to you", "`doorward targets` lists what you may reach.")
	}
	if g.draining.Load() {
		return nil, &doorward.Denial{Decision: "error", Reason: "doorward is shutting down", Retry: true, Code: "57P03"}
	}
	// Step 3: the session, its index entry, its opening event, its tape.
	s := &Session{gate: g, id: newID(), Identity: id, Target: target, client: client, started: g.opt.Now(), kill: h.Kill, application: clip(h.Application, 128)}
	s.State.session = s
	s.ctx, s.cancel = context.WithCancelCause(context.WithoutCancel(ctx))
	if !g.admit(s) {
		return nil, &doorward.Denial{Decision: "error", Reason: "too many sessions", Hint: "Close some, or raise limits.sessions.", Retry: true, Code: "53300"}
	}
	// Access that was ended between the first look and here found no session to
	// end: so look again, now that the session can be found.
	if _, err := g.opt.Identifier.Identify(ctx, h.Credential); err != nil {
		g.dismiss(s)
		return nil, g.turnAway(ctx, id, h, "your access was ended", "Sign in with `doorward login`, or start the agent with `doorward run`.")
	}
	header := doorward.Header{Session: s.id, Identity: id, Target: target.Name, Protocol: target.Protocol, Remote: h.Credential.Remote, Started: s.started}
	if err := g.begin(ctx, s, header); err != nil {
		s.cancel(err)
		g.dismiss(s)
		return nil, err
	}
	// What goes on without asking, such as a shell or a stream, ends with the
	// credential as well.
	if !id.Expires.IsZero() {
		s.expiry = time.AfterFunc(id.Expires.Sub(g.opt.Now()), func() { s.end(expired()) })
	}
	g.Stats.Sessions.Add(1)
	return s, nil
}

func (g *Gate) begin(ctx context.Context, s *Session, h doorward.Header) error {
	if err := g.opt.Registry.BeginSession(ctx, h); err != nil {
		return g.fault("session index", err)
	}
	ev := s.event(doorward.EventSessionOpen)
	ev.Fields = map[string]string{"remote": h.Remote, "application": s.application}
	if _, err := g.appendWait(ctx, ev); err != nil {
		return g.undo(s, g.fault("ledger", err))
	}
	tape, err := g.opt.Recorder.Open(ctx, h)
	if err != nil {
		return g.undo(s, g.fault("recorder", err))
	}
	s.tape = tape
	return nil
}

// undo closes what was begun of a session that could not be opened, as far as it
// can: the index and the log must not show one that is not there.
func (g *Gate) undo(s *Session, why *doorward.Denial) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	ev := s.event(doorward.EventSessionClose)
	ev.Reason = "it could not be opened: " + why.Reason
	if _, err := g.opt.Ledger.Append(ctx, ev); err != nil {
		g.opt.Log.Error("the end of a session could not be recorded", "session", s.id, "error", err)
	}
	if err := g.opt.Registry.EndSession(ctx, SessionEnd{ID: s.id, Ended: g.opt.Now(), Why: ev.Reason}); err != nil {
		g.opt.Log.Error("the end of a session could not be written to the index", "session", s.id, "error", err)
	}
	return why
}

func (g *Gate) turnAway(ctx context.Context, id doorward.Identity, h Hello, reason, hint string) error {
	g.Stats.Refused.Add(1)
	ev := doorward.Event{Kind: doorward.EventRefused, Time: g.opt.Now(), Name: id.Name, Subject: id.Subject, Agent: id.Agent, Run: id.Run, Target: clip(h.Target, 256), Protocol: h.Credential.Protocol, Decision: "deny", Reason: reason}
	if _, err := g.appendWait(ctx, ev); err != nil {
		return g.fault("ledger", err)
	}
	return &doorward.Denial{Decision: "deny", Reason: reason, Hint: hint, Code: "3D000"}
}

// appendWait appends an event and waits until it is durable.
func (g *Gate) appendWait(ctx context.Context, ev doorward.Event) (uint64, error) {
	r, err := g.opt.Ledger.Append(ctx, ev)
	if err != nil {
		return 0, err
	}
	return r.Wait(ctx)
}

// fault counts and logs a failure of ours, and gives what the client is told.
func (g *Gate) fault(what string, err error) *doorward.Denial {
	g.Stats.Faults.Add(1)
	g.opt.Log.Error("refused: a part of doorward failed", "part", what, "error", err)
	return &doorward.Denial{Decision: "error", Reason: "doorward cannot do this safely now: its " + what + " failed", Hint: "Nothing was run. Tell the operator; the log of doorward says why.", Retry: true, Code: "58000"}
}

func (g *Gate) admit(s *Session) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.sessions) >= g.opt.MaxSessions {
		return false
	}
	g.sessions[s.id] = s
	return true
}

func (g *Gate) dismiss(s *Session) {
	g.mu.Lock()
	delete(g.sessions, s.id)
	g.mu.Unlock()
}

// Live is a session that is open now.
type Live struct {
	ID       string
	Identity doorward.Identity
	Target   string
	Protocol string
	Started  time.Time
	Requests uint64
	Rows     int64
}

// Sessions lists the open sessions.
func (g *Gate) Sessions() []Live {
	g.mu.Lock()
	defer g.mu.Unlock()
	out := make([]Live, 0, len(g.sessions))
	for _, s := range g.sessions {
		out = append(out, Live{s.id, s.Identity, s.Target.Name, s.Target.Protocol, s.started, s.requests.Load(), s.rows.Load()})
	}
	return out
}

// Kill ends a session at once, in the middle of a request too.
func (g *Gate) Kill(id, by string) error {
	g.mu.Lock()
	s := g.sessions[id]
	g.mu.Unlock()
	if s == nil {
		return fmt.Errorf("no open session %q", id)
	}
	s.end(fmt.Errorf("%w: killed by %s", doorward.ErrRevoked, by))
	return nil
}

// Revoke ends every session that rests on the credential.
func (g *Gate) Revoke(credential string) {
	g.each(func(s *Session) {
		if s.Identity.Credential == credential {
			s.end(doorward.ErrRevoked)
		}
	})
}

// Drain refuses new sessions and ends the open ones when they are idle, or all
// of them once ctx is done.
func (g *Gate) Drain(ctx context.Context) {
	g.draining.Store(true)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		left := 0
		g.each(func(s *Session) {
			left++
			if !s.busy.Load() {
				s.end(errors.New("doorward is shutting down"))
			}
		})
		if left == 0 {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			g.each(func(s *Session) { s.end(errors.New("doorward is shutting down")) })
			g.waitEmpty(5 * time.Second)
			return
		}
	}
}

func (g *Gate) waitEmpty(d time.Duration) {
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		g.mu.Lock()
		n := len(g.sessions)
		g.mu.Unlock()
		if n == 0 {
			return
		}
	}
}

func (g *Gate) each(f func(*Session)) {
	g.mu.Lock()
	all := make([]*Session, 0, len(g.sessions))
	for _, s := range g.sessions {
		all = append(all, s)
	}
	g.mu.Unlock()
	for _, s := range all {
		f(s)
	}
}

func newID() string {
	var b [12]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

func clip(s string, n int) string {
	if len(s) > n {
		return s[:n]
	}
	return s
}

func contains(list []string, s string) bool {
	for _, v := range list {
		if v == s {
			return true
		}
	}
	return false
}
