package gate

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"

	"github.com/doorward/doorward"
	"github.com/doorward/doorward/internal/policy"
)

func (s *Session) input(rules *Rules, e *doorward.Effect) policy.Input {
	return policy.Input{Identity: &s.Identity, Target: s.Target.Name, Protocol: s.Target.Protocol, Effect: e, Now: s.gate.opt.Now()}
}

// Act is one statement of a request.
type Act struct {
	Statement *Statement
	Params    []doorward.Param
	Continues *Permit // it goes on reading a portal that this permit opened
	Prepare   bool    // it is only prepared: nothing runs, so a review waits until it does
	Opens     bool    // it opens a portal that this request does not execute
}

// Request is what goes upstream in one piece: the exact bytes and what they mean.
type Request struct {
	Frames []byte // judged as a whole; copied
	Acts   []Act
	State  string // what else changes its meaning: the transaction status
	Gone   func() bool
	// Unbounded says why a row bound could not be held for this request, or "".
	Unbounded func() string
	OnHold    func(doorward.Review) error // tells the client where to look
	Preview   func() string               // for people: what would change; asked for when the request is held
	Still     func() bool                 // whether what people saw is still so; asked once they have decided
	Review    int64                       // that the client says it redeems; 0: it says nothing
}

// maxPreview bounds what people are shown of a rehearsal.
const maxPreview = 64 << 10

// Ask decides on a request. It returns a Permit, or a *doorward.Denial, or the
// error of a session that must end.
func (s *Session) Ask(ctx context.Context, req Request) (*Permit, error) {
	// Step 1: is the session still welcome?
	if err := s.welcome(); err != nil {
		return nil, err
	}
	// Step 2: judge every statement before any of them runs.
	p := &Permit{session: s, reads: true, rules: s.gate.rules.Load()}
	var held *doorward.Decision
	for i := range req.Acts {
		a := &req.Acts[i]
		d := s.decide(a.Statement)
		if d.Outcome != doorward.Allow && d.Outcome != doorward.Hold {
			return nil, s.refuse(ctx, a.Statement.Text, a.Params, deny(d))
		}
		if a.Prepare {
			continue
		}
		if d.Outcome == doorward.Hold && !(a.Continues.covers(s, a.Statement) && a.Statement.Reading.Effect.ReadOnly()) {
			if den := s.unholdable(a, d); den != nil {
				return nil, s.refuse(ctx, a.Statement.Text, a.Params, den)
			}
			held = strictest(held, d)
		}
		if !a.Statement.Reading.Effect.ReadOnly() {
			p.reads = false
		}
		p.limits = p.limits.Tighten(d.Limits)
		p.acts = append(p.acts, act{st: a.Statement, rule: d.Rule, limits: d.Limits})
		if d.Limits.PerMinute > 0 && !s.gate.rates.take(s.Identity.Subject+"\x00"+d.Rule, d.Limits.PerMinute, s.gate.opt.Now()) {
			return nil, s.refuse(ctx, a.Statement.Text, a.Params, &doorward.Denial{Decision: "deny", Rule: d.Rule, Reason: fmt.Sprintf("more than %d requests in a minute", d.Limits.PerMinute), Hint: "Wait a minute, or ask for fewer things at once.", Retry: true, Code: "53400"})
		}
	}
	// Step 3: wait for people where a rule says so. What they approved is
	// consumed before anything runs.
	if held != nil {
		if held.MaxRows > 0 {
			if d := boundless(&req, held.Rule, 0); d != nil {
				texts, params, _ := gather(req.Acts)
				return nil, s.refuse(ctx, texts, params, d)
			}
		}
		grant, err := s.hold(ctx, req, *held)
		if err != nil {
			return nil, err
		}
		p.grant = grant
		// Policy is asked again: it may have changed while people thought.
		for i := range req.Acts {
			if d := s.decide(req.Acts[i].Statement); d.Outcome == doorward.Deny || d.Version != held.Version {
				d.Outcome, d.Reason = doorward.Deny, "the policy changed while this waited for approval"
				return nil, s.refuse(ctx, req.Acts[i].Statement.Text, req.Acts[i].Params, deny(d))
			}
		}
	}
	// Step 4: write the intents down.
	n := 0
	for i := range req.Acts {
		if req.Acts[i].Prepare {
			continue
		}
		if err := s.intend(ctx, &p.acts[n], req.Acts[i].Params, p.grant); err != nil {
			return nil, err
		}
		n++
	}
	// Step 5: an intent that is not just a read is durable before the act.
	if !p.reads && n > 0 {
		if _, err := p.acts[n-1].receipt.Wait(ctx); err != nil {
			return nil, s.broken("ledger", err)
		}
	}
	// That of a read is at least in the file: it outlives this process, and the
	// disk works while the target does.
	if p.reads && n > 0 {
		if w, ok := p.acts[n-1].receipt.(written); ok {
			if err := w.Written(ctx); err != nil {
				return nil, s.broken("ledger", err)
			}
		} else if _, err := p.acts[n-1].receipt.Wait(ctx); err != nil {
			return nil, s.broken("ledger", err)
		}
	}
	// Step 6: seal.
	if err := s.welcome(); err != nil {
		return nil, err
	}
	p.frames = append(make([]byte, 0, len(req.Frames)), req.Frames...)
	p.sealed = true
	s.gate.Stats.Allowed.Add(int64(n))
	return p, nil
}

// written is a receipt that tells apart what is in the file and what is on the
// disk.
type written interface {
	Written(context.Context) error
}

// unholdable says why people cannot be asked about this act: what they would
// approve is not all that it would do.
func (s *Session) unholdable(a *Act, d doorward.Decision) *doorward.Denial {
	switch {
	case a.Statement.Reading.Stateful:
		return &doorward.Denial{Decision: "deny", Rule: d.Rule, Reason: "this needs approval, and what a name of the session stands for cannot be approved", Hint: "Send the statement itself instead of the name it was prepared or declared under."}
	case a.Continues != nil || a.Opens:
		return &doorward.Denial{Decision: "deny", Rule: d.Rule, Reason: "this needs approval, and a portal that is approved is executed in the batch that binds it", Hint: "Send Bind and Execute together."}
	}
	return nil
}

// boundless says why a row bound cannot be held for this request, or nil.
func boundless(req *Request, rule string, review int64) *doorward.Denial {
	why := unbounded(req)
	if why == "" {
		return nil
	}
	return &doorward.Denial{Decision: "deny", Rule: rule, Review: review, Reason: "the approval bounds the rows, and that cannot be held " + why, Hint: "Send the write alone, as a plain INSERT, UPDATE, DELETE, MERGE or COPY."}
}

// bounds reports whether the rule or anyone who approved bounds the rows.
func bounds(r *doorward.Review) bool {
	bound := r.MaxRows > 0
	for _, v := range r.Votes {
		bound = bound || v.MaxRows > 0
	}
	return bound
}

func unbounded(req *Request) string {
	for i := range req.Acts {
		if req.Acts[i].Prepare {
			continue
		}
		for j := range req.Acts[i].Statement.Reading.Statements {
			st := &req.Acts[i].Statement.Reading.Statements[j]
			if !st.Counted && !st.Effect.ReadOnly() {
				return "where the target does not count the rows itself (" + st.Kind + ")"
			}
		}
	}
	if req.Unbounded != nil {
		return req.Unbounded()
	}
	return ""
}

// changed reports whether a text would do something else by now than when it
// was judged.
func (s *Session) changed(ctx context.Context, acts []Act) (bool, error) {
	if err := s.Target.Dialect.Refresh(ctx); err != nil {
		return false, err
	}
	for i := range acts {
		r, err := s.Target.Dialect.Read(acts[i].Statement.Text, &s.State)
		if err != nil || !reflect.DeepEqual(r, acts[i].Statement.Reading) {
			return true, nil
		}
	}
	return false, nil
}

// welcome says whether the session may still ask for anything.
func (s *Session) welcome() error {
	if err := s.Err(); err != nil {
		return &doorward.Denial{Decision: "deny", Reason: err.Error(), Code: "57P01"}
	}
	if !s.Identity.Expires.IsZero() && !s.gate.opt.Now().Before(s.Identity.Expires) {
		err := expired()
		s.end(err)
		return err
	}
	return nil
}

func expired() *doorward.Denial {
	return &doorward.Denial{Decision: "deny", Reason: "your sign-in has expired", Hint: "Sign in again with `doorward login`, or start a new run.", Code: "57P01"}
}

// Rehearse gives a permit to try out, at the target, what people are to decide
// on: upstream sends it in such a way that nothing is changed. It is given only
// for one act that a rule holds for review, and it is recorded as what it is.
func (s *Session) Rehearse(ctx context.Context, req Request) (*Permit, error) {
	if err := s.welcome(); err != nil {
		return nil, err
	}
	if len(req.Acts) != 1 || s.decide(req.Acts[0].Statement).Outcome != doorward.Hold {
		return nil, errors.New("gate: only what waits for people is rehearsed")
	}
	a := &req.Acts[0]
	d := s.decide(a.Statement)
	p := &Permit{session: s, rehearsal: true, rules: s.gate.rules.Load(), limits: d.Limits, acts: []act{{st: a.Statement, rule: d.Rule, limits: d.Limits, rehearsal: true}}}
	if err := s.intend(ctx, &p.acts[0], a.Params, doorward.Grant{}); err != nil {
		return nil, err
	}
	if _, err := p.acts[0].receipt.Wait(ctx); err != nil {
		return nil, s.broken("ledger", err)
	}
	p.frames = append(make([]byte, 0, len(req.Frames)), req.Frames...)
	p.sealed = true
	return p, nil
}

func (s *Session) intend(ctx context.Context, a *act, params []doorward.Param, grant doorward.Grant) error {
	a.n = s.requests.Add(1)
	ev := s.event(doorward.EventIntent)
	ev.Request, ev.Text, ev.Params = a.n, a.st.Text, RenderParams(params)
	ev.Decision, ev.Rule, ev.Review = "allow", a.rule, grant.Review
	if grant.Review != 0 {
		ev.Reason = "approved by " + strings.Join(grant.By, ", ")
	}
	if a.rehearsal {
		ev.Reason = "rehearsal: nothing is changed"
	}
	ev.Policy = s.gate.rules.Load().Policy.Version()
	if a.st.Runs != "" {
		ev.Fields = map[string]string{"runs": a.st.Runs}
	}
	rec := doorward.RequestRecord{Statement: a.st.Text, Params: ev.Params, Decision: "allow", Rule: a.rule, Reason: ev.Reason, Review: grant.Review, Masked: a.st.Reading.Effect.Masked}
	if err := s.record(a.n, rec); err != nil {
		return err
	}
	r, err := s.gate.opt.Ledger.Append(ctx, ev)
	if err != nil {
		return s.broken("ledger", err)
	}
	a.receipt, s.lastReceipt = r, r
	return nil
}

func deny(d doorward.Decision) *doorward.Denial {
	return &doorward.Denial{Decision: "deny", Rule: d.Rule, Reason: d.Reason, Hint: d.Hint}
}

// strictest joins two holds: every reviewer of both is needed.
func strictest(a *doorward.Decision, b doorward.Decision) *doorward.Decision {
	if a == nil {
		b.Reviewers = append([]doorward.Quorum(nil), b.Reviewers...)
		return &b
	}
	if a.Rule != b.Rule {
		a.Reviewers = append(a.Reviewers, b.Reviewers...)
	}
	if b.MaxRows != 0 && (a.MaxRows == 0 || b.MaxRows < a.MaxRows) {
		a.MaxRows = b.MaxRows
	}
	return a
}

// hold files the request for review, waits for people as long as the wire can,
// and redeems what they approved.
func (s *Session) hold(ctx context.Context, req Request, d doorward.Decision) (doorward.Grant, error) {
	var none doorward.Grant
	texts, params, effect := gather(req.Acts)
	if !shownWhole(params) {
		return none, s.refuse(ctx, texts, params, &doorward.Denial{Decision: "deny", Rule: d.Rule, Reason: fmt.Sprintf("this needs approval, and its parameters have more than %d KiB: people could not see what they approve", maxShown>>10), Hint: "Send less at once."})
	}
	// The effect is bound too: after a change of the target the same text may
	// do something else.
	state := "policy=" + d.Version + " state=" + req.State + " effect=" + effect.Digest()
	r := doorward.Review{
		Digest:   doorward.Digest(s.Target.Name, s.Identity, texts, params, state, d.MaxRows),
		Identity: s.Identity, Target: s.Target.Name, Protocol: s.Target.Protocol, Session: s.id,
		Statement: texts, Params: RenderParams(params), Effect: effect, Summary: effect.Summary(), Why: s.Identity.Task,
		Rule: d.Rule, Reason: d.Reason, Reviewers: d.Reviewers, MaxRows: d.MaxRows, Policy: d.Version, Fingerprint: state,
		Created: s.gate.opt.Now(),
	}
	if req.Preview != nil {
		if r.Preview = req.Preview(); len(r.Preview) > maxPreview {
			r.Preview = "This is cut; the request is whole.\n" + strings.ToValidUTF8(r.Preview[:maxPreview], "")
		}
	}
	r, err := s.gate.opt.Reviewer.File(ctx, r)
	if err != nil {
		var den *doorward.Denial
		if errors.As(err, &den) {
			return none, s.refuse(ctx, texts, params, den)
		}
		return none, s.broken("review store", err)
	}
	if req.Review != 0 && req.Review != r.ID {
		return none, s.refuse(ctx, texts, params, &doorward.Denial{Decision: "review", Rule: r.Rule, Reason: fmt.Sprintf("this is not what review %d is about, or that was used; it waits as review %d", req.Review, r.ID), Hint: "An approval is for exactly the request that was held.", Review: r.ID, URL: r.URL, Retry: true})
	}
	if r.State == doorward.ReviewWaiting {
		s.held++
		s.gate.Stats.Held.Add(1)
		if err := s.Note(fmt.Sprintf("held for review %d (rule %s)", r.ID, d.Rule)); err != nil {
			return none, err
		}
		if req.OnHold != nil {
			if err := req.OnHold(r); err != nil {
				return none, err
			}
		}
		wait, cancel := context.WithTimeout(ctx, s.gate.opt.ReviewWait)
		stop := context.AfterFunc(s.ctx, cancel)
		s.waiting.Store(&cancel)
		r2, err := s.gate.opt.Reviewer.Await(wait, r.ID)
		s.waiting.Store(nil)
		stop()
		timedOut := wait.Err() != nil
		cancel()
		if err != nil && !timedOut {
			return none, s.broken("review store", err)
		}
		if err == nil {
			r = r2
		}
	}
	switch r.State {
	case doorward.ReviewApproved:
	case doorward.ReviewDenied:
		return none, s.refuse(ctx, texts, params, &doorward.Denial{Decision: "deny", Rule: r.Rule, Reason: fmt.Sprintf("review %d was denied%s", r.ID, comment(r)), Review: r.ID, URL: r.URL})
	case doorward.ReviewExpired:
		return none, s.refuse(ctx, texts, params, &doorward.Denial{Decision: "review", Rule: r.Rule, Reason: fmt.Sprintf("review %d expired", r.ID), Hint: "Send the same request again to ask anew.", Review: r.ID, URL: r.URL, Retry: true})
	case doorward.ReviewSpent:
		return none, s.refuse(ctx, texts, params, &doorward.Denial{Decision: "review", Rule: r.Rule, Reason: fmt.Sprintf("review %d was used already", r.ID), Hint: "Send the same request again to ask anew.", Review: r.ID, URL: r.URL, Retry: true})
	default:
		return none, s.refuse(ctx, texts, params, &doorward.Denial{Decision: "review", Rule: r.Rule, Reason: fmt.Sprintf("held, review %d: %s", r.ID, r.Reason), Hint: "Once it is approved, send exactly the same request again: it runs once. See " + r.URL, Review: r.ID, URL: r.URL, Retry: true})
	}
	if r.Policy != d.Version {
		return none, s.refuse(ctx, texts, params, &doorward.Denial{Decision: "deny", Rule: r.Rule, Reason: "the policy changed since the approval", Review: r.ID, URL: r.URL, Retry: true})
	}
	if err := s.welcome(); err != nil {
		return none, err
	}
	if bounds(&r) {
		if d := boundless(&req, r.Rule, r.ID); d != nil {
			return none, s.refuse(ctx, texts, params, d)
		}
	}
	switch changed, err := s.changed(ctx, req.Acts); {
	case err != nil:
		return none, s.broken("catalog", err)
	case changed, req.Still != nil && !req.Still():
		return none, s.refuse(ctx, texts, params, &doorward.Denial{Decision: "review", Rule: r.Rule, Reason: "the target changed while this was held, so that it may do something else now", Hint: "Send the same request again to ask anew.", Review: r.ID, URL: r.URL, Retry: true})
	}
	if req.Gone != nil && req.Gone() {
		return none, errors.New("the client left while its request was held; the approval is not used")
	}
	g, err := s.gate.opt.Reviewer.Redeem(ctx, r.ID, r.Digest)
	if err != nil {
		s.gate.opt.Log.Warn("an approval could not be used", "review", r.ID, "session", s.id, "error", err)
		return none, s.refuse(ctx, texts, params, &doorward.Denial{Decision: "review", Rule: r.Rule, Reason: fmt.Sprintf("the approval of review %d cannot be used (any more)", r.ID), Hint: "Send the same request again to ask anew.", Review: r.ID, URL: r.URL, Retry: true})
	}
	return g, nil
}

func comment(r doorward.Review) string {
	for _, v := range r.Votes {
		if !v.Approve {
			if v.Comment != "" {
				return " by " + v.By + ": " + v.Comment
			}
			return " by " + v.By
		}
	}
	return ""
}

// gather joins what would run into what people see and what the digest binds.
func gather(acts []Act) (string, []doorward.Param, doorward.Effect) {
	var texts []string
	var params []doorward.Param
	var e doorward.Effect
	first, runs := true, 0
	for i := range acts {
		if !acts[i].Prepare {
			runs++
		}
	}
	for i := range acts {
		a := &acts[i]
		if a.Prepare {
			continue
		}
		texts = append(texts, a.Statement.Text)
		params = append(params, a.Params...)
		if runs > 1 {
			// Keeps (text, params) pairs apart when several run in one piece.
			params = append(params, doorward.Param{Type: uint32(len(a.Params)), Null: true, Binary: true})
		}
		if first {
			e, first = a.Statement.Reading.Effect, false
			continue
		}
		e = merge(e, a.Statement.Reading.Effect)
	}
	return strings.Join(texts, ";\n"), params, e
}

func merge(a, b doorward.Effect) doorward.Effect {
	a.Verbs |= b.Verbs
	a.Traits |= b.Traits | doorward.TraitMulti
	a.Objects = append(append([]doorward.Object(nil), a.Objects...), b.Objects...)
	a.Kinds = append(append([]string(nil), a.Kinds...), b.Kinds...)
	a.Complete = a.Complete && b.Complete
	a.Masked = append(append([]string(nil), a.Masked...), b.Masked...)
	if a.Bound >= 0 && b.Bound >= 0 {
		a.Bound += b.Bound
	} else {
		a.Bound = -1
	}
	return a
}
