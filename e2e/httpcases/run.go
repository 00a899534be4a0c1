package httpcases

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/doorward/doorward/e2e/cases"
)

// Options of a run.
type Options struct {
	Policies string              // folder with P7.yaml …
	Direct   bool                // without doorward: check that each case does what it claims
	Wait     time.Duration       // how long doorward lets a held request wait; 0: 200 ms
	Report   func(cases.Outcome) // called as outcomes come in
}

// Run runs the cases one after the other. An error means that the run itself
// failed; what the cases showed is in the outcomes.
func Run(ctx context.Context, list []*Case, opt Options) ([]cases.Outcome, error) {
	if opt.Wait == 0 {
		opt.Wait = 200 * time.Millisecond
	}
	w, err := newWorld(opt)
	if err != nil {
		return nil, err
	}
	defer w.close()
	var judged map[string]verdict
	if !opt.Direct {
		if judged, err = w.evaluate(ctx, list); err != nil {
			return nil, err
		}
	}
	var out []cases.Outcome
	for _, c := range list {
		o := w.one(ctx, c, judged[c.ID])
		if out = append(out, o); opt.Report != nil {
			opt.Report(o)
		}
		if ctx.Err() != nil {
			return out, ctx.Err()
		}
	}
	return out, nil
}

// one runs one case and judges it.
func (w *world) one(ctx context.Context, c *Case, offline verdict) cases.Outcome {
	o := cases.Outcome{ID: c.ID, Title: c.Title, Kind: c.Kind, Policy: c.Policy, Mode: cases.Script, Split: "all"}
	start := time.Now()
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	j := &judge{w: w, offline: offline}
	if err := j.do(ctx, c); err != nil {
		j.bad("could not be run: %v", err)
	}
	if j.g != nil && j.g.Ended() {
		j.bad("doorward ended during this case: %s", strings.ReplaceAll(strings.TrimSpace(j.g.LogTail(1500)), "\n", " ⏎ "))
		if err := j.g.again(ctx); err != nil {
			j.bad("doorward does not start again: %v", err)
		}
	}
	o.Outcome, o.By, o.Problems = j.outcome, strings.Join(strings.Fields(j.by), " "), j.problems
	o.OK, o.Took = len(o.Problems) == 0, time.Since(start).Milliseconds()
	return o
}

// do runs the case.
func (j *judge) do(ctx context.Context, c *Case) error {
	var err error
	if j.plan, err = c.plan(); err != nil {
		return err
	}
	for i := range j.steps {
		if j.steps[i].Op == "upstream_reply" {
			r, err := j.steps[i].reply(j.w.service.trap)
			if err != nil {
				return fmt.Errorf("step %d: %w", i+1, err)
			}
			j.replies = append(j.replies, r)
		}
	}
	if j.w.opt.Direct {
		return j.direct(ctx)
	}
	if j.g, err = j.w.gate(ctx, j.plan); err != nil {
		return err
	}
	return j.through(ctx)
}
