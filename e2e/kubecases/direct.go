package kubecases

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/doorward/doorward/e2e/cases"
	"github.com/doorward/doorward/e2e/kubetest"
)

// What a direct run shows.
const (
	shown   = "shown"   // the API server does what the case is about
	arrived = "reached" // the API server got it, and did not do it here
	absent  = "not run" // the case says that it cannot be shown
)

// direct runs the case without doorward, as an over-privileged account, and
// checks that it does what it claims.
func (j *judge) direct(ctx context.Context) error {
	j.outcome = absent
	if j.check.NoDirect != "" || j.has("upstream_reply") || j.has("dns") {
		j.by = j.check.NoDirect
		return nil
	}
	from, err := j.w.cluster.AuditSize()
	if err != nil {
		return err
	}
	j.w.cluster.Kubelet.Forget()
	e, conf := j.w.direct()
	start := time.Now()
	s, err := run(ctx, j.steps, e, conf, nil)
	if err != nil {
		return err
	}
	took := time.Since(start).Milliseconds()
	time.Sleep(settle)
	events, err := j.w.events(from)
	if err != nil {
		return err
	}
	after, err := j.w.look(ctx)
	if err != nil {
		return err
	}
	j.confirm(s, events, j.before.diff(after))
	j.confirmTime(s, took)
	if j.check.After != "" {
		if got, err := j.w.probe(ctx, j.plan); err != nil || got != j.check.After {
			j.bad("the probe gives %q after, want %q (%v)", got, j.check.After, err)
		}
	}
	return nil
}

func (j *judge) confirm(s *seen, events []kubetest.Event, e effect) {
	j.outcome = arrived
	var signs []string
	for _, a := range s.answers {
		if a.status < 400 {
			signs = append(signs, fmt.Sprintf("answered %d", a.status))
		}
	}
	for _, a := range j.w.cluster.Kubelet.Acts() {
		signs = append(signs, fmt.Sprintf("the node did %s %s/%s %q", a.Kind, a.Namespace, a.Pod, a.Command))
	}
	if !e.none() {
		signs = append(signs, "changed "+e.String())
	}
	if slices.ContainsFunc(j.secrets, func(v string) bool { return bytes.Contains(s.bytes, []byte(v)) }) {
		signs = append(signs, "the value of a Secret came")
	}
	if bytes.Contains(s.bytes, elsewhere) {
		signs = append(signs, "another namespace came")
	}
	if len(signs) > 0 {
		j.outcome = shown
	}
	j.by = strings.Join(append(signs, s.describe()[:min(len(s.describe()), 120)]), "; ")
	if len(s.answers) == 0 && !j.check.ConnClosed {
		j.bad("the API server does not answer")
	}
	if a := j.check.Attrs; a != nil && !slices.ContainsFunc(events, a.fits) {
		j.bad("the API server makes %+v of it, want %+v", attrsOfAll(events), *a)
	}
	for _, t := range slices.Concat(j.check.Leak, j.check.Evidence, j.check.Contains) {
		if !bytes.Contains(s.bytes, []byte(t)) {
			j.bad("%q does not come back", t)
		}
	}
	if j.check.Rows != nil {
		if got := rows(s.answers); got != *j.check.Rows {
			j.bad("%d objects come back, want %d", got, *j.check.Rows)
		}
	}
	if j.check.Before != "" && j.probed != j.check.Before {
		j.bad("the probe gives %q before, want %q", j.probed, j.check.Before)
	}
	if want := j.check.ServerError; want != "" && !slices.ContainsFunc(s.answers, func(a *answer) bool {
		st := a.apiStatus()
		return fmt.Sprint(a.status) == want || st != nil && st.Reason == want
	}) {
		j.bad("the API server's error is not %s: %s", want, s.describe())
	}
	if j.Kind == "benign" {
		for _, a := range s.answers {
			if a.status >= 300 && a.status != http.StatusSwitchingProtocols {
				j.bad("a benign request is answered with %d: %s", a.status, firstLine(a.body))
			}
		}
	}
	if want := j.check.GoReads; want != "" {
		if got := j.goReads(); got != want {
			j.bad("net/http reads %q, want %q", got, want)
		}
	}
}

func attrsOfAll(events []kubetest.Event) (out []Attrs) {
	for _, e := range events {
		out = append(out, attrsOf(e))
	}
	return out
}

func (j *judge) confirmTime(s *seen, took int64) {
	if m := j.check.MinMS; m > 0 && took < m {
		j.bad("took %d ms, want at least %d", took, m)
	}
	if m := j.check.HangMS; m > 0 && took < m*9/10 {
		j.bad("ended after %d ms, want it still running", took)
	}
	if j.check.ConnClosed && !s.ended {
		j.bad("the connection was not closed")
	}
}

// goReads is what net/http makes of the first bytes that are sent: METHOD|path,
// or "reject".
func (j *judge) goReads() string {
	m, err := j.steps[slices.IndexFunc(j.steps, Step.sends)].at(endpoint{addr: "orders.internal"})
	if err != nil {
		return err.Error()
	}
	return cases.GoReads(m.bytes)
}
