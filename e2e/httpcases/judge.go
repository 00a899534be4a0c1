package httpcases

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// judge runs one case and collects what is wrong with it.
type judge struct {
	*plan
	w       *world
	g       *gate
	replies []reply
	offline verdict // of doorward policy eval

	outcome, by string
	review      int64
	at          int // which answer says so
	problems    []string
}

func (j *judge) bad(format string, args ...any) {
	j.problems = append(j.problems, fmt.Sprintf(format, args...))
}

func (j *judge) may(what string) bool { return slices.Contains(j.Expect.Accept, what) }

// What an answer is.
const (
	passed = "allow"
	held   = "review"
	denied = "deny"
	failed = "error" // there is no answer of the service that could be shown
	masked = "masked"
)

// problem is what doorward says when it does not let something through.
type problem struct {
	Type     string `json:"type"`
	Status   int    `json:"status"`
	Detail   string `json:"detail"`
	Decision string `json:"decision"`
	Reason   string `json:"reason"`
	Review   int64  `json:"review"`
}

// errBroken stands for an answer that did not come.
var errBroken = errors.New("no answer came")

// clean reports whether HTTP/2 says the requests of all steps as HTTP/1.1 does.
func (p *plan) clean() bool {
	for i := range p.steps {
		if !p.steps[i].sends() {
			continue
		}
		m, err := p.steps[i].at(endpoint{})
		if err != nil || m.parts != nil && !m.parts.clean() || slices.ContainsFunc(m.plain, func(p *plain) bool { return p == nil || !p.clean() }) {
			return false
		}
	}
	return true
}

// is says what doorward did with the request.
func (a *answer) is() (what string, p problem) {
	if a.header.Get("Content-Type") != "application/problem+json" {
		if a.header.Get("Content-Security-Policy") == "" && a.status >= 400 {
			return denied, problem{Reason: fmt.Sprintf("%d by net/http: %.100s", a.status, a.body)} // doorward's own answers have it
		}
		if a.broken != nil && a.status != http.StatusSwitchingProtocols {
			return denied, problem{Reason: "the answer was broken off: " + a.broken.Error()}
		}
		return passed, p
	}
	if a.line.method == http.MethodHead {
		p.Reason = fmt.Sprintf("%d, without a body", a.status)
		p.Review, _ = strconv.ParseInt(a.header.Get("Doorward-Review"), 10, 64)
		if p.Review != 0 {
			return held, p
		}
		return denied, p
	}
	if json.Unmarshal(a.body, &p) != nil || !strings.HasPrefix(p.Type, "urn:doorward:") {
		return passed, problem{}
	}
	switch p.Decision {
	case "review":
		return held, p
	case "deny":
		return denied, p
	}
	return failed, p
}

// unreadable says what is wrong with a refusal, "" for nothing.
func (a *answer) unreadable(p problem) string {
	if p.Type == "" {
		return "" // it has no body
	}
	if p.Status != a.status || a.status < 400 || !strings.HasPrefix(p.Detail, "doorward: ") || len(p.Detail) < 20 || p.Reason == "" {
		return fmt.Sprintf("the refusal does not say who refuses what, and why: %d %+v", a.status, p)
	}
	return ""
}

// round is one run of the case's steps, and what came to the service.
type round struct {
	*seen
	came
	arrived []arrived
	outcome string
	by      string
	review  int64
	at      int
}

// once does the steps through the gate in one of the ways; nil if the case cannot
// be said in it.
func (j *judge) once(ctx context.Context, way string) (*round, error) {
	j.w.service.do(j.replies)
	if j.has("dns") {
		j.w.names.say(j.says())
	}
	var s *seen
	var err error
	if way == two {
		s, err = run2(ctx, j.steps, j.g.to(), j.g.TLS())
	} else {
		s, err = run(ctx, j.steps, j.g.to(), j.g.TLS(), way)
	}
	if s == nil || err != nil {
		return nil, err
	}
	time.Sleep(settle)
	r := &round{seen: s, came: j.w.service.saw()}
	for _, b := range r.conns {
		list, err := exact(b)
		if err != nil {
			j.bad("%s: %v", way, err)
		}
		r.arrived = append(r.arrived, list...)
	}
	r.arrived = slices.DeleteFunc(r.arrived, func(a arrived) bool { return a.target == controlTarget })
	j.decide(r, way)
	j.reached(r, way)
	j.leaks(s, way)
	return r, nil
}

// through runs a case through the gate, in all ways. The last one is kept.
func (j *judge) through(ctx context.Context) error {
	before := j.memory()
	ways := []string{bytew, cut, two, whole}
	if j.has("send_slow") || j.has("dns") {
		ways = []string{whole}
	}
	outcomes := map[string]string{}
	var last *round
	for _, way := range ways {
		stop := j.control(ctx)
		r, err := j.once(ctx, way)
		if err := stop(); err != nil {
			j.bad("while this was sent doorward did not serve another client: %v", err)
		}
		if err != nil {
			return err
		}
		if r != nil {
			outcomes[way], last = r.outcome, r
		}
	}
	j.outcome, j.by, j.review, j.at = last.outcome, last.by, last.review, last.at
	for way, got := range outcomes {
		// HTTP/2 says each part of a request apart, so what breaks out of one in
		// HTTP/1.1 may be refused there.
		if way == two && got == denied && j.may(denied) && !j.clean() {
			continue
		}
		if got != j.outcome {
			j.bad("sent %s it is %s, whole %s", way, got, j.outcome)
		}
	}
	if !j.may(j.outcome) {
		j.bad("%s, accepted is only %s: %s", j.outcome, strings.Join(j.Expect.Accept, " or "), last.describe())
	}
	if outcomes[two] != "" {
		j.by += " | by HTTP/2, too"
	}
	j.agrees(last)
	if after := j.memory(); after > before+maxGrowth {
		j.bad("doorward grew by %d MiB", (after-before)>>20)
	}
	switch {
	case j.outcome == held && j.may(held):
		return j.approve(ctx)
	case j.outcome == passed || j.outcome == masked:
		j.worked(last)
	}
	return nil
}

// decide says what doorward did.
func (j *judge) decide(r *round, way string) {
	r.outcome = passed
	for i, a := range r.answers {
		what, p := a.is()
		switch {
		case a.extra && r.vague:
			j.bad("%s: after a request whose end is not certain there was another answer: %d %.200s", way, a.status, a.body)
		case a.extra && what == passed:
			j.bad("%s: an answer came that nobody asked for: %d %.200s", way, a.status, a.body)
		}
		if what == passed {
			continue
		}
		if why := a.unreadable(p); why != "" {
			j.bad("%s: %s", way, why)
		}
		if what == failed {
			// Where nobody misbehaves there is nothing that could fail.
			if !j.has("upstream_reply") && !j.has("dns") && !(j.has("send_slow") && a.status == http.StatusRequestTimeout) {
				j.bad("%s: that is no decision: %s", way, p.Detail)
			}
			what = denied
		}
		if r.outcome == passed {
			r.outcome, r.review, r.by, r.at = what, p.Review, p.Reason, i
		}
	}
	if r.outcome == passed && (r.ended || r.garbled != nil) {
		r.outcome, r.by = denied, "the connection was closed"
	}
	if r.outcome == passed && r.silent {
		j.bad("%s: no answer came within %s, and the connection stayed open", way, answerWait)
		r.outcome = denied
	}
	if r.garbled != nil {
		j.bad("%s: %v", way, r.garbled)
	}
	if r.outcome == passed && j.Expect.Outcome == masked {
		r.outcome = masked
	}
}

// reached checks that nothing came to the service but what was let through, once
// each, in a form that can be read in one way.
func (j *judge) reached(r *round, way string) {
	var let []*answer
	for _, a := range r.answers {
		what, _ := a.is()
		// An answer of the service that cannot be shown was asked for.
		refused := what != held && j.has("upstream_reply")
		if !a.extra && (what == passed || refused) {
			let = append(let, a)
		}
	}
	if r.ended && j.has("upstream_reply") { // so may be a request whose answer was broken off
		for _, l := range r.lines[min(len(r.answers), len(r.lines)):] {
			let = append(let, &answer{line: l, header: http.Header{}, broken: errBroken})
		}
	}
	for i := range r.arrived {
		a := &r.arrived[i]
		for _, why := range a.wrong(j.g.agent.Token) {
			j.bad("%s: %s", way, why)
		}
		if slices.Contains(j.Policy, "P7") {
			if why := a.outside(); why != "" {
				j.bad("%s: reached the service: %s %s: %s", way, a.method, a.target, why)
			}
		}
		at := slices.IndexFunc(let, func(x *answer) bool { return a.same(x.line) })
		if at < 0 {
			j.bad("%s: reached the service: %s %s %.300q", way, a.method, a.target, a.body)
			continue
		}
		if p := let[at].plain; p != nil && !bytes.Equal(p.body, a.body) {
			j.bad("%s: the body %.200q became %.200q", way, p.body, a.body)
		}
		let = slices.Delete(let, at, at+1)
	}
	for _, a := range let {
		if what, _ := a.is(); what == passed {
			j.bad("%s: was answered without the service: %v", way, a.line)
		}
	}
	if r.caught > 0 {
		j.bad("%s: doorward went where the service's answer led: %d connections", way, r.caught)
	}
	if j.has("dns") {
		if j.w.names.questions() == 0 && slices.ContainsFunc(r.answers, func(a *answer) bool { what, _ := a.is(); return what == failed }) {
			j.bad("%s: the name was not asked for", way)
		}
		if r.dialled > 0 {
			j.bad("%s: doorward went where the name must not lead", way)
		}
	}
}

// address is what is masked wherever P7 is in force.
var address = regexp.MustCompile(`[A-Za-z0-9._-]+@[a-z-]+\.example`)

// leaks checks every byte that the client got.
func (j *judge) leaks(s *seen, way string) {
	for _, l := range j.check.Leak {
		if bytes.Contains(s.bytes, []byte(l)) {
			j.bad("%s: leaks %q", way, l)
		}
	}
	if found := address.Find(s.bytes); found != nil && slices.Contains(j.Policy, "P7") && (j.has("upstream_reply") || j.may(denied) && !bytes.Contains(j.Input, found)) { // a client may be told what it sent itself
		j.bad("%s: leaks %q", way, found)
	}
	if j.g != nil && bytes.Contains(s.bytes, []byte(j.g.agent.Token)) {
		j.bad("%s: the client's credential came back", way)
	}
}

// maxGrowth bounds what doorward may need more at once, at any time of a case.
const maxGrowth = 512 << 20

// memory is the most that doorward ever needed, in bytes.
func (j *judge) memory() int64 {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", j.g.PID()))
	_, rest, _ := strings.Cut(string(b), "VmHWM:")
	words := strings.Fields(rest)
	if len(words) == 0 {
		return 0
	}
	n, _ := strconv.ParseInt(words[0], 10, 64)
	return n << 10
}
