package gate

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/doorward/doorward"
	"github.com/doorward/doorward/internal/mask"
	"github.com/doorward/doorward/internal/policy"
)

// The ports of these tests keep what they are told in memory and fail on
// demand: what is tested is that the gate lets nothing pass when one of them
// does. The real rooms behind the ports are tested where they live, and all
// together under e2e.

type house struct {
	gate     *Gate
	ledger   *ledgerPort
	recorder *recorderPort
	reviewer *reviewerPort
	registry *registryPort
	client   *clientPort
	dialect  *dialectPort
}

type fault struct {
	err  error
	hang bool
}

func (f *fault) check(ctx context.Context) error {
	if f.hang {
		<-ctx.Done()
		return ctx.Err()
	}
	return f.err
}

type ledgerPort struct {
	append, wait fault
	events       []doorward.Event
}

type receipt struct{ l *ledgerPort }

func (r receipt) Wait(ctx context.Context) (uint64, error) {
	return uint64(len(r.l.events)), r.l.wait.check(ctx)
}

func (l *ledgerPort) Append(ctx context.Context, ev doorward.Event) (doorward.Receipt, error) {
	if err := l.append.check(ctx); err != nil {
		return nil, err
	}
	l.events = append(l.events, ev)
	return receipt{l}, nil
}

func (l *ledgerPort) kinds() string {
	var out []string
	for _, e := range l.events {
		out = append(out, string(e.Kind))
	}
	return strings.Join(out, " ")
}

type recorderPort struct {
	open, write fault
	frames      []doorward.Frame
}

type tapePort struct{ r *recorderPort }

func (r *recorderPort) Open(ctx context.Context, _ doorward.Header) (doorward.Tape, error) {
	return tapePort{r}, r.open.check(ctx)
}

func (t tapePort) Write(f doorward.Frame) error {
	if t.r.write.err != nil {
		return t.r.write.err
	}
	f.Data = append([]byte(nil), f.Data...)
	t.r.frames = append(t.r.frames, f)
	return nil
}

func (t tapePort) Close() (doorward.Seal, error) { return doorward.Seal{Hash: "h"}, nil }

type reviewerPort struct {
	file, await, redeem fault
	state               doorward.ReviewState
	redeemed            int
	filed               []doorward.Review
}

func (r *reviewerPort) File(ctx context.Context, rv doorward.Review) (doorward.Review, error) {
	rv.ID, rv.State = 7, doorward.ReviewWaiting
	r.filed = append(r.filed, rv)
	return rv, r.file.check(ctx)
}

func (r *reviewerPort) Await(ctx context.Context, id int64) (doorward.Review, error) {
	if err := r.await.check(ctx); err != nil {
		return doorward.Review{}, err
	}
	rv := r.filed[len(r.filed)-1]
	rv.State = r.state
	return rv, nil
}

func (r *reviewerPort) Redeem(ctx context.Context, id int64, _ string) (doorward.Grant, error) {
	if err := r.redeem.check(ctx); err != nil {
		return doorward.Grant{}, err
	}
	r.redeemed++
	return doorward.Grant{Review: id}, nil
}

type registryPort struct{ begin, end fault }

func (r *registryPort) BeginSession(ctx context.Context, _ doorward.Header) error {
	return r.begin.check(ctx)
}
func (r *registryPort) EndSession(ctx context.Context, _ SessionEnd) error { return r.end.check(ctx) }

type clientPort struct {
	got  []byte
	fail error
}

func (c *clientPort) Write(b []byte) (int, error) {
	if c.fail != nil {
		return 0, c.fail
	}
	c.got = append(c.got, b...)
	return len(b), nil
}

// dialectPort reads texts by their first word.
type dialectPort struct{ cache map[string]*doorward.Reading }

func (d *dialectPort) Read(text string, _ *State) (*doorward.Reading, error) {
	if r, ok := d.cache[text]; ok {
		return r, nil
	}
	word, _, _ := strings.Cut(text, " ")
	e := doorward.Effect{Complete: true, Bound: -1, Kinds: []string{word}}
	switch word {
	case "SELECT":
		e.Verbs = doorward.VerbRead
	case "UPDATE":
		e.Verbs = doorward.VerbUpdate
	case "DROP":
		e.Verbs, e.Traits = doorward.VerbDefine, doorward.TraitUnbounded
	default:
		return nil, errors.New("syntax error")
	}
	r := &doorward.Reading{Effect: e, Statements: []doorward.Statement{{Kind: word, Effect: e}}}
	d.cache[text] = r
	return r, nil
}

func (d *dialectPort) Origin(uint32, int16) (string, bool) { return "", true }
func (d *dialectPort) Refresh(context.Context) error       { return nil }

type identifierPort struct{}

func (identifierPort) Identify(_ context.Context, c doorward.Credential) (doorward.Identity, error) {
	if c.Secret != "good" {
		return doorward.Identity{}, errors.New("not signed in (reference 1)")
	}
	return doorward.Identity{Subject: "p:1", Name: "ada", Groups: []string{"engineers"}, Credential: "c1"}, nil
}

func testPolicy(t *testing.T) *policy.Policy {
	t.Helper()
	p, err := policy.Compile(policy.Document{Rules: []policy.Rule{
		{Name: "reads", Targets: []string{"*"}, When: "effect.read_only", Then: "allow"},
		{Name: "writes", Targets: []string{"*"}, When: "effect.writes && !effect.unbounded", Then: "review", Reviewers: policy.Reviewers{Groups: []string{"dba"}, Count: 1}},
		{Name: "drops", Targets: []string{"*"}, When: "effect.unbounded", Then: "deny", Hint: "Do not."},
	}})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func newHouse(t *testing.T) *house {
	t.Helper()
	h := &house{ledger: &ledgerPort{}, recorder: &recorderPort{}, reviewer: &reviewerPort{state: doorward.ReviewApproved}, registry: &registryPort{}, client: &clientPort{}, dialect: &dialectPort{cache: map[string]*doorward.Reading{}}}
	masks, err := mask.Compile(nil, make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	target := &Target{Target: doorward.Target{Name: "db", Protocol: "postgres"}, Dialect: h.dialect}
	h.gate, err = New(Options{
		Identifier: identifierPort{}, Reviewer: h.reviewer, Ledger: h.ledger, Recorder: h.recorder, Registry: h.registry,
		Target:     func(name string) (*Target, bool) { return target, name == "db" },
		Rules:      Rules{Policy: testPolicy(t), Masks: masks},
		ReviewWait: 100 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func hello() Hello {
	return Hello{Credential: doorward.Credential{Protocol: "postgres", Secret: "good"}, Target: "db"}
}

func (h *house) open(t *testing.T) *Session {
	t.Helper()
	s, err := h.gate.Open(t.Context(), hello(), io.Writer(h.client))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close(nil) })
	return s
}

func (h *house) try(ctx context.Context, s *Session, text string) (*Permit, error) {
	st, err := s.Read(ctx, text)
	if err != nil {
		return nil, err
	}
	return s.Ask(ctx, Request{Frames: []byte(text), Acts: []Act{{Statement: st}}})
}

func (h *house) ask(t *testing.T, s *Session, text string) *Permit {
	t.Helper()
	p, err := h.try(t.Context(), s, text)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func testPolicyDenyAll(t *testing.T) *policy.Policy {
	t.Helper()
	p, err := policy.Compile(policy.Document{Rules: []policy.Rule{{Name: "nothing", Targets: []string{"*"}, When: "true", Then: "deny"}}})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// mend takes all faults away.
func (h *house) mend() {
	h.ledger.append, h.ledger.wait, h.recorder.open, h.recorder.write = fault{}, fault{}, fault{}, fault{}
	h.reviewer.file, h.reviewer.await, h.reviewer.redeem = fault{}, fault{}, fault{}
}
