package kubecases

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/doorward/doorward/e2e/kubetest"
)

// judge runs one case and collects what is wrong with it.
type judge struct {
	*plan
	w *world
	g *gate

	before  snapshot
	secrets []string // values of all Secrets
	probed  string   // what the probe said before

	outcome, by string
	review      int64
	at          int // which answer says so
	problems    []string
}

func (j *judge) bad(format string, args ...any) {
	j.problems = append(j.problems, fmt.Sprintf(format, args...))
}

func (j *judge) may(what string) bool { return slices.Contains(j.Expect.Accept, what) }

// settle is how long what a case should not have done gets to show.
const settle = 200 * time.Millisecond

// round is one run of the case's steps, and what the cluster says of it.
type round struct {
	*seen
	events []kubetest.Event
	acts   []string // what the node was had to do
}

// once does the steps through the gate.
func (j *judge) once(ctx context.Context) (*round, error) {
	from, err := j.w.cluster.AuditSize()
	if err != nil {
		return nil, err
	}
	j.w.cluster.Kubelet.Forget()
	var touch touched
	s, err := run(ctx, j.steps, j.g.to(target(j.plan)), j.g.TLS(), func(l line) { j.w.touch(ctx, l, &touch) })
	if err != nil {
		return nil, err
	}
	time.Sleep(settle)
	r := &round{seen: s}
	if r.events, err = j.w.events(from); err != nil {
		return nil, err
	}
	for _, a := range j.w.cluster.Kubelet.Acts() {
		r.acts = append(r.acts, fmt.Sprintf("%s %s/%s %q", a.Kind, a.Namespace, a.Pod, a.Command))
	}
	for _, a := range s.answers {
		if what, _, _ := a.is(); what == passed && a.line.live() && a.status == http.StatusOK {
			if mark := touch.of(a.line); mark != "" && !bytes.Contains(a.body, []byte(mark)) {
				j.bad("a change that was made while the watch was open did not come: %.300q", a.body)
			}
		}
	}
	return r, nil
}

// through runs a case through the gate.
func (j *judge) through(ctx context.Context) error {
	if j.has("upstream_reply") || j.has("dns") {
		return j.misled(ctx)
	}
	stop := j.control(ctx)
	r, err := j.once(ctx)
	if err := stop(); err != nil {
		j.bad("while this was sent doorward did not serve another client: %v", err)
	}
	if err != nil {
		return err
	}
	j.decide(r)
	j.reached(r)
	j.leaks(r.seen)
	if j.outcome != passed {
		return j.afterwards(ctx, r)
	}
	if j.may(passed) || j.may("masked") {
		return j.worked(ctx, r)
	}
	return nil
}

// controlPath is what another client asks for while a slow one is at it.
const controlPath = "/version"

// control has another client served while a slow one is at it.
func (j *judge) control(ctx context.Context) (stop func() error) {
	if !j.has("send_slow") {
		return func() error { return nil }
	}
	got := make(chan error, 1)
	time.AfterFunc(2*time.Second, func() {
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+j.g.Kubernetes+"/"+target(j.plan)+controlPath, nil)
		if err != nil {
			got <- err
			return
		}
		req.Header.Set("Authorization", "Bearer "+j.g.agent.Token)
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: j.g.TLS()}}
		defer client.CloseIdleConnections()
		resp, err := client.Do(req)
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode != http.StatusOK {
				err = fmt.Errorf("GET /version: %s", resp.Status)
			}
		}
		got <- err
	})
	return func() error { return <-got }
}

// decide says what doorward did.
func (j *judge) decide(r *round) {
	j.outcome = passed
	for i, a := range r.answers {
		what, review, by := a.is()
		if what == passed {
			if a.extra && len(r.lines()) > 0 {
				j.bad("an answer came that nobody asked for: %d %s", a.status, firstLine(a.body))
			}
			continue
		}
		if why := a.readable(); why != "" {
			j.bad("%s", why)
		}
		if j.outcome == passed {
			j.outcome, j.review, j.by, j.at = what, review, by, i
		}
	}
	if j.outcome == passed && (r.ended || r.garbled != nil) {
		j.outcome, j.by = denied, "the connection was closed"
	}
	if j.outcome == passed && r.silent {
		j.bad("no answer came within %s, and the connection stayed open", answerWait)
		j.outcome = denied
	}
	if r.garbled != nil {
		j.bad("%v", r.garbled)
	}
	if j.outcome == passed && j.Expect.Outcome == "masked" {
		j.outcome = "masked"
	}
	if !j.may(j.outcome) {
		j.bad("%s, accepted is only %s: %s", j.outcome, strings.Join(j.Expect.Accept, " or "), r.describe())
	}
}

func (s *seen) lines() (out []line) {
	for _, a := range s.answers {
		out = append(out, a.line)
	}
	return out
}

// describe is what came, in short.
func (s *seen) describe() string {
	var out []string
	for _, a := range s.answers {
		out = append(out, fmt.Sprintf("%d %.200s", a.status, bytes.TrimSpace(a.body)))
	}
	if len(out) == 0 {
		return "no answer"
	}
	return strings.Join(out, " | ")
}

// reached checks that nothing reached the API server but what was let through,
// and doorward's own look at what is held: at the object, and a rehearsal.
func (j *judge) reached(r *round) {
	var let, waits []line
	for _, a := range r.answers {
		switch what, _, _ := a.is(); {
		case what == passed && !a.extra:
			let = append(let, a.line)
		case what == held, what == denied && j.may("review"):
			waits = append(waits, a.line)
		}
	}
	for _, e := range r.events {
		if j.has("send_slow") && e.URI == controlPath {
			continue
		}
		if i := slices.IndexFunc(let, func(l line) bool { return l.is(e) }); i >= 0 {
			if a := j.check.Attrs; a != nil && r.asked == 1 {
				if !a.fits(e) {
					j.bad("what reached the API server is %+v, want %+v", attrsOf(e), *a)
				}
			}
			let = slices.Delete(let, i, i+1)
			continue
		}
		if !slices.ContainsFunc(waits, func(l line) bool { return l.looked(e) }) {
			j.bad("reached the API server: %s %s as %s, answered %d", e.Verb, e.URI, e.User.Username, e.Status.Code)
		}
	}
	if len(let) > 0 {
		j.bad("was answered without the API server: %v", let)
	}
	acting := 0
	for _, a := range r.answers {
		if what, _, _ := a.is(); what == passed {
			acting++
		}
	}
	if len(r.acts) > acting {
		j.bad("the node was had to do %q", r.acts)
	}
}

// is reports whether the event is the request: the path and the parameters are
// the same, however they are written.
func (l line) is(e kubetest.Event) bool {
	u, err := url.ParseRequestURI(e.URI)
	asked := l.url()
	return err == nil && asked != nil && u.Path == asked.Path && reflect.DeepEqual(u.Query(), asked.Query())
}

// looked reports whether the event is doorward's own, for people to decide on
// the request: it reads the object, or has the API server keep nothing.
func (l line) looked(e kubetest.Event) bool {
	u, err := url.ParseRequestURI(e.URI)
	asked := l.url()
	if err != nil || asked == nil || !l.writes() || e.User.Username != "admin" {
		return false
	}
	if e.Verb == "get" && e.Object.Resource == "apiservices" && e.Object.Subresource == "" {
		// Who serves the group that the request is about: another server may not
		// know how to keep nothing.
		group, version, ok := groupOf(asked.Path)
		return ok && e.Object.Name == version+"."+group
	}
	if e.Verb == "get" {
		o, ok := objectAt(asked.Path)
		return ok && o.name != "" && e.Object.Subresource == "" && u.Path == o.path() || ok && u.Path == asked.Path && o.rest == "scale"
	}
	return u.Path == asked.Path && reflect.DeepEqual(u.Query()["dryRun"], []string{"All"}) && l.method != http.MethodDelete
}

// groupOf gives the API group and version of a path /apis/GROUP/VERSION/….
func groupOf(path string) (group, version string, ok bool) {
	parts := strings.Split(path, "/")
	if len(parts) < 4 || parts[1] != "apis" {
		return "", "", false
	}
	return parts[2], parts[3], true
}

// attrsOf is what the API server's audit makes of a request.
func attrsOf(e kubetest.Event) Attrs {
	return Attrs{e.Verb, e.Object.APIGroup, e.Object.Namespace, e.Object.Resource, e.Object.Subresource, e.Object.Name}
}

// fits reports whether the attributes are those of the event, which has the
// name of what is created from the object itself.
func (a Attrs) fits(e kubetest.Event) bool {
	got := attrsOf(e)
	if a.Verb == "create" && a.Name == "" {
		got.Name = ""
	}
	return got == a
}

// elsewhere begins what stands in namespaces that the policies do not open.
var elsewhere = []byte("beyond-dev")

// leaks checks every byte that the client got.
func (j *judge) leaks(s *seen) {
	for _, l := range j.check.Leak {
		if bytes.Contains(s.bytes, []byte(l)) {
			j.bad("leaks %q", l)
		}
	}
	for _, v := range j.secrets {
		if bytes.Contains(s.bytes, []byte(v)) {
			j.bad("leaks the value of a Secret: %q", v)
		}
	}
	if bytes.Contains(s.bytes, elsewhere) {
		j.bad("shows what stands in another namespace")
	}
}

// afterwards checks that what was stopped had no effect, and, where it is held,
// what comes after a yes.
func (j *judge) afterwards(ctx context.Context, r *round) error {
	if err := j.harmless(ctx); err != nil {
		return err
	}
	if j.outcome == held && j.may(held) {
		return j.approve(ctx)
	}
	return nil
}

func (j *judge) harmless(ctx context.Context) error {
	after, err := j.w.look(ctx)
	if err != nil {
		return err
	}
	if e := j.before.diff(after); !e.none() {
		j.bad("had its effect: %s", e)
	}
	probed, err := j.w.probe(ctx, j.plan)
	if err == nil && probed != j.probed {
		j.bad("had its effect: the probe went from %q to %q", j.probed, probed)
	}
	return err
}
