package httpcases

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/doorward/doorward/e2e/harness"
)

// approve checks that what is held runs once a person says yes and the
// identical request comes, once, and is held again afterwards.
func (j *judge) approve(ctx context.Context) error {
	waiting, err := j.g.held(ctx)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(waiting, func(r harness.Review) bool { return r.ID == j.review }) {
		j.bad("the client was told of review %d, and these wait: %+v", j.review, waiting)
		return nil
	}
	r, err := j.g.approver.Review(ctx, j.review)
	if err != nil {
		return err
	}
	p := j.asked()
	if p != nil && len(p.body) > 0 && !strings.Contains(r.Statement, string(p.body)) {
		j.bad("people do not see the body %.200q in %.400q", p.body, r.Statement)
	}
	if err := j.g.agent.Vote(ctx, j.review, true, "", 0); err == nil {
		j.bad("the one who asked approved it")
	}
	if err := j.g.approver.Vote(ctx, j.review, true, "approved by the corpus runner", 0); err != nil {
		j.bad("review %d cannot be approved: %v", j.review, err)
		return nil
	}
	done, err := j.once(ctx, whole)
	if err != nil {
		return err
	}
	if j.at >= len(done.answers) {
		j.bad("after the yes no answer came: %s", done.by)
		return nil
	}
	if what, p := done.answers[j.at].is(); what != passed {
		j.bad("after the yes the identical request is %s: %s", what, p.Reason)
		return nil
	}
	switch {
	case p == nil && len(done.arrived) != done.asked || p != nil && count(done.arrived, p) != 1:
		j.bad("after the yes it reached the service %d times: %+v", count(done.arrived, p), done.arrived)
	case p != nil && !slices.ContainsFunc(done.arrived, func(a arrived) bool { return a.same(p.line) && bytes.Equal(a.body, p.body) }):
		j.bad("what people saw is not what ran: %+v", done.arrived)
	}
	if s, err := j.g.approver.Review(ctx, j.review); err != nil || s.State != "spent" {
		j.bad("review %d is %s after it ran, want spent (%v)", j.review, s.State, err)
	}
	j.worked(done)
	j.by += fmt.Sprintf(" | approved: %d", done.answers[j.at].status)
	again, err := j.once(ctx, whole)
	if err != nil {
		return err
	}
	if again.outcome != held || again.review == j.review {
		j.bad("the approval was used twice: the third time it is %s by review %d: %s", again.outcome, again.review, again.by)
	}
	return nil
}

// count counts a request among those that came.
func count(list []arrived, p *plain) (n int) {
	for _, a := range list {
		if p == nil || a.same(p.line) {
			n++
		}
	}
	return n
}

// asked is the request that is held, as it can be read in one way; nil else.
func (j *judge) asked() *plain {
	var all []*plain
	for i := range j.steps {
		if j.steps[i].sends() {
			if m, err := j.steps[i].at(endpoint{}); err == nil {
				all = append(all, m.plain...)
			}
		}
	}
	if j.at < len(all) {
		return all[j.at]
	}
	return nil
}

// worked checks the answers of what was let through.
func (j *judge) worked(r *round) {
	want := []reply{harmless}
	if len(j.replies) > 0 {
		want = j.replies
	}
	for i, a := range r.answers {
		w := want[min(i, len(want)-1)]
		if what, _ := a.is(); what != passed || w.raw != nil {
			continue
		}
		if a.status != w.status {
			j.bad("the status is %d, the service's %d", a.status, w.status)
		}
		if a.header.Get("Content-Encoding") != "" {
			j.bad("an answer in the encoding %s was passed on", a.header.Get("Content-Encoding"))
		}
		body := w.body
		if e := w.headers.get("Content-Encoding"); e != nil {
			body = decode(*e, body)
		}
		if a.line.method == http.MethodHead || w.status == http.StatusNoContent || w.status == http.StatusNotModified {
			body = nil
		}
		if j.Expect.Outcome != masked && !bytes.Equal(a.body, body) && !address.Match(body) {
			j.bad("the answer is %.200q, the service's %.200q", a.body, body)
		}
		if j.Expect.Outcome == masked && (len(a.body) == 0) != (len(body) == 0) {
			j.bad("the masked answer is %.200q", a.body)
		}
	}
	for _, t := range j.check.Contains {
		if !bytes.Contains(r.bytes, []byte(t)) {
			j.bad("%q does not come", t)
		}
	}
}

// controlTarget is what another client asks for while a slow one is at it.
const controlTarget = "/api/v1/status?control=1"

// control has another client served while a slow one is at it.
func (j *judge) control(ctx context.Context) (stop func() error) {
	if !j.has("send_slow") {
		return func() error { return nil }
	}
	got := make(chan error, 1)
	time.AfterFunc(2*time.Second, func() {
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+j.g.Services+controlTarget, nil)
		if err != nil {
			got <- err
			return
		}
		req.Host = serviceHost
		req.Header.Set("Authorization", "Bearer "+j.g.agent.Token)
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: j.g.TLS()}}
		defer client.CloseIdleConnections()
		resp, err := client.Do(req)
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode != http.StatusOK {
				err = fmt.Errorf("GET %s: %s", controlTarget, resp.Status)
			}
		}
		got <- err
	})
	return func() error { return <-got }
}
