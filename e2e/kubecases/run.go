package kubecases

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/doorward/doorward/e2e/cases"
)

// Options of a run.
type Options struct {
	Policies string              // folder with P5.yaml …
	Direct   bool                // without doorward: check that each case does what it claims
	Wait     time.Duration       // how long doorward lets a held request wait; 0: 1 s
	Report   func(cases.Outcome) // called as outcomes come in
}

// written is the mode of all Kubernetes cases.
const written = cases.Script

// Run runs the cases one after the other: they name the same objects. An error
// means that the run itself failed; what the cases showed is in the outcomes.
func Run(ctx context.Context, list []*Case, opt Options) ([]cases.Outcome, error) {
	if opt.Wait == 0 {
		opt.Wait = time.Second
	}
	w, err := newWorld(ctx)
	if err != nil {
		return nil, err
	}
	defer w.close()
	var g *gate
	if !opt.Direct {
		if g, err = w.newGate(ctx, list, opt.Policies, opt.Wait); err != nil {
			return nil, err
		}
		defer g.Close()
	}
	var out []cases.Outcome
	for _, c := range list {
		o := w.one(ctx, c, g)
		if g != nil && g.Ended() {
			o.OK, o.Problems = false, append(o.Problems, "doorward ended during this case: "+strings.ReplaceAll(strings.TrimSpace(g.LogTail(1500)), "\n", " ⏎ "))
			if err := g.Launch(ctx); err != nil {
				return append(out, o), err
			}
			if err := g.signIn(ctx); err != nil {
				return append(out, o), err
			}
		}
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
func (w *world) one(ctx context.Context, c *Case, g *gate) cases.Outcome {
	o := cases.Outcome{ID: c.ID, Title: c.Title, Kind: c.Kind, Policy: c.Policy, Mode: written, Split: "none"}
	start := time.Now()
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	j := &judge{w: w, g: g}
	if err := j.do(ctx, c); err != nil {
		j.bad("could not be run: %v", err)
	}
	o.Outcome, o.By, o.Problems = j.outcome, strings.Join(strings.Fields(j.by), " "), j.problems
	o.OK, o.Took = len(o.Problems) == 0, time.Since(start).Milliseconds()
	return o
}

// do runs the case between the preparations and the restoration.
func (j *judge) do(ctx context.Context, c *Case) error {
	var err error
	if j.plan, err = c.plan(); err != nil {
		return err
	}
	w := j.w
	for _, command := range j.check.Setup {
		if out, err := w.shell(ctx, command); err != nil {
			return fmt.Errorf("setup %q: %w: %s", command, err, out)
		}
	}
	w.provided = nil
	lines, applies, err := j.lines()
	if err != nil {
		return err
	}
	if err := w.provide(ctx, lines, applies); err != nil {
		return err
	}
	if j.before, err = w.look(ctx); err != nil {
		return err
	}
	if j.secrets, err = w.secretValues(ctx); err != nil {
		return err
	}
	if j.probed, err = w.probe(ctx, j.plan); err != nil {
		return err
	}
	if j.g == nil {
		err = j.direct(ctx)
	} else {
		err = j.through(ctx)
	}
	for _, command := range j.check.Cleanup {
		_, _ = w.shell(ctx, command)
	}
	// Whatever went wrong, the next case finds the cluster as it was.
	after, lookErr := w.look(ctx)
	if lookErr != nil {
		return lookErr
	}
	e := j.before.diff(after)
	e.added = append(e.added, w.provided...)
	if restoreErr := w.restore(ctx, e); restoreErr != nil {
		return fmt.Errorf("the fixture could not be restored: %w", restoreErr)
	}
	return err
}

// lines are the requests of all steps, and whether one is an apply.
func (j *judge) lines() (out []line, applies bool, err error) {
	for i := range j.steps {
		if !j.steps[i].sends() {
			continue
		}
		m, err := j.steps[i].at(endpoint{})
		if err != nil {
			return nil, false, err
		}
		out = append(out, m.lines...)
		applies = applies || strings.Contains(strings.ToLower(string(m.bytes)), "apply-patch+")
	}
	return out, applies, nil
}
