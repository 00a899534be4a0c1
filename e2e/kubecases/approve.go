package kubecases

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/doorward/doorward/e2e/harness"
	"github.com/doorward/doorward/e2e/kubetest"
)

// approve checks that what is held runs once a person says yes and the
// identical request comes, once, and is held again afterwards.
func (j *judge) approve(ctx context.Context) error {
	waiting, err := j.g.held(ctx, target(j.plan))
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(waiting, func(r harness.Review) bool { return r.ID == j.review }) {
		j.bad("the client was told of review %d, and these wait: %+v", j.review, waiting)
		return nil
	}
	shown, err := j.shown(ctx)
	if err != nil {
		return err
	}
	if err := j.g.agent.Vote(ctx, j.review, true, "", 0); err == nil {
		j.bad("the one who asked approved it")
	}
	if err := j.g.approver.Vote(ctx, j.review, true, "approved by the corpus runner", 0); err != nil {
		j.bad("review %d cannot be approved: %v", j.review, err)
		return nil
	}
	r, err := j.once(ctx)
	if err != nil {
		return err
	}
	j.leaks(r.seen)
	if !j.ran(r) {
		return nil
	}
	if s, err := j.g.approver.Review(ctx, j.review); err != nil || s.State != "spent" {
		j.bad("review %d is %s after it ran, want spent (%v)", j.review, s.State, err)
	}
	done := r.answers[j.at]
	if done.status < 300 {
		if err := j.effect(ctx); err != nil {
			return err
		}
	} else if j.Kind == "benign" {
		j.bad("after the yes the API server refuses it: %s", r.describe())
	}
	j.by += fmt.Sprintf(" | approved: %d; people saw %d bytes of preview", done.status, len(shown))
	return j.again(ctx)
}

// shown is what people see beside the request.
func (j *judge) shown(ctx context.Context) (string, error) {
	var v struct {
		Preview   string `json:"preview"`
		Statement string `json:"statement"`
	}
	if err := j.g.approver.Do(ctx, http.MethodGet, fmt.Sprintf("/api/v1/reviews/%d", j.review), nil, &v); err != nil {
		return "", err
	}
	if v.Statement == "" {
		j.bad("people do not see what they decide on")
	}
	for _, value := range j.secrets {
		if strings.Contains(v.Preview, value) {
			j.bad("the preview shows the value of a Secret: %q", value)
		}
	}
	return v.Preview, nil
}

// ran checks that the approved request reached the API server exactly once.
func (j *judge) ran(r *round) bool {
	if len(r.answers) <= j.at {
		j.bad("after the yes no answer came")
		return false
	}
	if what, _, by := r.answers[j.at].is(); what != passed {
		j.bad("after the yes the identical request is %s: %s", what, by)
		return false
	}
	acted, looks := j.acted(r)
	for _, e := range acted {
		if a := j.check.Attrs; a != nil && !a.fits(e) {
			j.bad("what reached the API server is %+v, want %+v", attrsOf(e), *a)
		}
	}
	// What the client itself wants to be rehearsed cannot be told from doorward's
	// own rehearsal.
	if len(acted) != 1 && !(j.rehearses() && len(acted) == 0 && looks > 0) {
		j.bad("after the yes it reached the API server %d times: %+v", len(acted), r.events)
	}
	return true
}

// acted are the events of the request that was held, without those of the
// requests beside it, and without doorward's own looks at what it is about,
// which are counted.
func (j *judge) acted(r *round) (acted []kubetest.Event, looks int) {
	var beside []line
	for i, a := range r.answers {
		if what, _, _ := a.is(); what == passed && i != j.at {
			beside = append(beside, a.line)
		}
	}
	for _, e := range r.events {
		switch i := slices.IndexFunc(beside, func(l line) bool { return l.is(e) && l.writes() == changes(e) }); {
		case i >= 0:
			beside = slices.Delete(beside, i, i+1)
		case len(r.answers) > j.at && r.answers[j.at].line.looked(e):
			looks++
		default:
			acted = append(acted, e)
		}
	}
	return acted, looks
}

// changes reports whether the event's verb is one that changes something.
func changes(e kubetest.Event) bool {
	return !slices.Contains([]string{"get", "list", "watch", "head"}, e.Verb)
}

// effect checks that what ran did something.
func (j *judge) effect(ctx context.Context) error {
	after, err := j.w.look(ctx)
	if err != nil {
		return err
	}
	e := j.before.diff(after)
	if e.none() && !j.rehearses() {
		j.bad("the API server says that it ran, and nothing has changed")
	}
	j.by += " | " + e.String()
	if j.check.After != "" {
		if got, err := j.w.probe(ctx, j.plan); err != nil || got != j.check.After {
			j.bad("the probe gives %q after, want %q (%v)", got, j.check.After, err)
		}
	}
	return nil
}

// rehearses reports whether the client itself wants nothing to be kept.
func (j *judge) rehearses() bool {
	for i := range j.steps {
		m, err := j.steps[i].at(endpoint{})
		if err == nil && (bytes.Contains(m.bytes, []byte("dryRun=All")) || bytes.Contains(m.bytes, []byte(`"dryRun"`))) {
			return true
		}
	}
	return false
}

// again sends the identical request once more: the approval is used. What it
// opens is left to wait: a no would stand for cases that ask the same.
func (j *judge) again(ctx context.Context) error {
	r, err := j.once(ctx)
	if err != nil {
		return err
	}
	time.Sleep(settle)
	for i, a := range r.answers {
		what, review, by := a.is()
		if what == passed && i == j.at {
			j.bad("the approval was used twice: %d %s", a.status, firstLine(a.body))
		}
		if review == j.review {
			j.bad("the used review %d is told of again: %s", review, by)
		}
	}
	acted, _ := j.acted(r)
	for _, e := range acted {
		j.bad("the approval was used twice: %s %s reached the API server", e.Verb, e.URI)
	}
	return nil
}
