package kubecases

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"strings"
	"time"
)

// misled runs a case whose target misbehaves, or leads elsewhere: first the
// steps as they are, then a request that the policies let through, so that the
// answer is really met.
func (j *judge) misled(ctx context.Context) error {
	var replies []reply
	for i := range j.steps {
		if j.steps[i].Op == "upstream_reply" {
			r, err := j.steps[i].reply(j.w.rogue.trap)
			if err != nil {
				return err
			}
			replies = append(replies, r)
		}
	}
	if err := j.answers(ctx); err != nil {
		return err
	}
	for _, steps := range [][]Step{j.steps, j.steered()} {
		j.w.rogue.do(replies)
		first := len(steps) > 0 && &steps[0] == &j.steps[0]
		s, err := run(ctx, steps, j.g.to(target(j.plan)), j.g.TLS(), nil)
		if err != nil {
			return err
		}
		time.Sleep(settle)
		j.leaks(s)
		if bytes.Contains(s.bytes, []byte(rogueToken)) {
			j.bad("the client got doorward's own credential")
		}
		j.unfollowed(s)
		if first {
			j.decide(&round{seen: s})
			continue
		}
		// Of what the policies let through: the answer is refused, or the client
		// gets it as it is.
		what := "no answer"
		for _, a := range s.answers {
			kind, _, by := a.is()
			what = kind + " " + by
			if kind == passed {
				j.passedOn(a, replies)
			}
		}
		j.by += " | let through by the policies: " + what
	}
	return nil
}

// passedOn checks an answer of the rogue that the client got.
func (j *judge) passedOn(a *answer, replies []reply) {
	switch {
	case a.status == http.StatusSwitchingProtocols:
		j.bad("a change of protocol that nobody asked for was passed on")
	case a.header.Get("Content-Encoding") != "":
		j.bad("an answer in an encoding that cannot be masked was passed on: %s", a.header.Get("Content-Encoding"))
	case len(replies) > 0 && a.status != replies[len(replies)-1].status && a.status != replies[0].status:
		j.bad("the client got %d, the target said %d", a.status, replies[0].status)
	}
}

// steered are the steps with a request that the policies let through in place of
// the first that is sent.
func (j *judge) steered() []Step {
	out := append([]Step(nil), j.steps...)
	for i := range out {
		if out[i].sends() {
			out[i].Request = Request{Method: http.MethodGet, Target: "/api/v1/namespaces/dev/pods"}
			break
		}
	}
	return out
}

// unfollowed checks that doorward asked the rogue no more than the client did,
// and went nowhere else.
func (j *judge) unfollowed(s *seen) {
	came, caught := j.w.rogue.saw()
	if caught > 0 {
		j.bad("doorward went where the target's answer led: %d connections", caught)
	}
	if len(came) > s.asked {
		j.bad("the client asked %d times, and the target was asked %d times: %+v", s.asked, len(came), came)
	}
	for _, c := range came {
		if strings.Contains(c.header.Get("Authorization"), j.g.agent.Token) {
			j.bad("the target got the client's credential")
		}
		if j.has("dns") {
			j.bad("a server that is not the target's got a request: %s %s", c.method, c.uri)
		}
	}
}

// answers checks that the target can be used, where the rogue does nothing bad:
// else a refusal shows nothing.
func (j *judge) answers(ctx context.Context) error {
	if j.has("dns") {
		return nil
	}
	j.w.rogue.do(nil)
	s, err := run(ctx, []Step{{Op: "send", Request: Request{Method: http.MethodGet, Target: "/api/v1/namespaces/dev/pods"}}}, j.g.to(target(j.plan)), j.g.TLS(), nil)
	if err != nil {
		return err
	}
	if len(s.answers) != 1 || s.answers[0].status != http.StatusOK {
		return errors.New("a harmless answer of the target does not come through: " + s.describe())
	}
	return nil
}
