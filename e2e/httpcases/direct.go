package httpcases

import (
	"bytes"
	"context"
	"slices"
	"time"

	"github.com/doorward/doorward/e2e/cases"
)

// What a direct run shows.
const (
	shown  = "shown"   // the service sees all of it
	absent = "not run" // it cannot be shown without doorward
)

// direct sends the case's bytes to the service itself and checks that it sees
// them: what does not come there through doorward, doorward has stopped.
func (j *judge) direct(ctx context.Context) error {
	j.outcome = absent
	if want := j.check.GoReads; want != "" {
		if got := j.goReads(); got != want {
			j.bad("net/http reads %q, want %q", got, want)
		}
	}
	if j.check.NoDirect != "" || j.has("dns") || j.has("send_slow") {
		j.by = j.check.NoDirect
		return nil
	}
	var want []byte
	for i := range j.steps {
		if j.steps[i].sends() {
			m, err := j.steps[i].at(endpoint{})
			if err != nil {
				return err
			}
			want = append(want, m.bytes...)
		}
	}
	j.w.service.do(j.replies)
	s, err := run(ctx, j.steps, endpoint{addr: j.w.service.addr}, nil, whole)
	if err != nil {
		return err
	}
	time.Sleep(settle)
	came := j.w.service.saw()
	j.outcome, j.by = shown, s.describe()
	if got := bytes.Join(came.conns, nil); !bytes.Equal(got, want) {
		j.bad("the service saw %.300q, want %.300q", got, want)
	}
	if len(s.answers) == 0 && !slices.ContainsFunc(j.replies, func(r reply) bool { return r.raw != nil }) {
		j.bad("the service does not answer")
	}
	for _, t := range slices.Concat(j.check.Leak, j.check.Evidence, j.check.Contains) {
		if !bytes.Contains(s.bytes, []byte(t)) {
			j.bad("%q does not come", t)
		}
	}
	return nil
}

// goReads is what net/http makes of the first bytes that are sent: METHOD|path,
// or "reject".
func (j *judge) goReads() string {
	m, err := j.steps[slices.IndexFunc(j.steps, Step.sends)].at(endpoint{})
	if err != nil {
		return err.Error()
	}
	return cases.GoReads(m.bytes)
}
