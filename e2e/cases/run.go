package cases

import (
	"context"
	"fmt"
	"hash/fnv"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/doorward/doorward/e2e/harness"
	"github.com/doorward/doorward/e2e/rawpg"
)

// Mode says by which protocol a case of type sql goes.
type Mode string

// The modes. A case that is a script goes as it is written.
const (
	Simple   Mode = "simple"
	Extended Mode = "extended"
	Script   Mode = "written"
)

// Options of a run.
type Options struct {
	Fixture  string        // SQL of the template database
	Policies string        // folder with P1.yaml …
	Direct   bool          // without doorward: check that each case does what it claims
	Modes    []Mode        // Simple, Extended or both
	Split    rawpg.Split   //
	Seed     uint64        // of the random split
	Workers  int           // cases at a time; 0: twice the processors
	Batch    int           // targets a doorward process serves; 0: 60
	Wait     time.Duration // how long doorward lets a held request wait; 0: 300 ms
	Report   func(Outcome) // called as outcomes come in, one at a time
}

// Outcome of one case in one mode.
type Outcome struct {
	ID       string   `json:"id"`
	Title    string   `json:"title"`
	Kind     string   `json:"kind"`
	Policy   []string `json:"policy"`
	Mode     Mode     `json:"mode"`
	Split    string   `json:"split"`
	OK       bool     `json:"ok"`
	Outcome  string   `json:"outcome"`
	By       string   `json:"by,omitempty"` // what stopped it, as the client was told
	Problems []string `json:"problems,omitempty"`
	Took     int64    `json:"took_ms"`
}

// Run runs the cases. An error means that the run itself failed; what the
// cases showed is in the outcomes.
func Run(ctx context.Context, list []*Case, opt Options) ([]Outcome, error) {
	if opt.Workers == 0 {
		opt.Workers = 2 * runtime.NumCPU()
	}
	if opt.Batch == 0 {
		opt.Batch = 60
	}
	if opt.Wait == 0 {
		opt.Wait = 300 * time.Millisecond
	}
	if opt.Split == "" {
		opt.Split = rawpg.SplitNone
	}
	w, err := newWorld(ctx, opt.Fixture)
	if err != nil {
		return nil, err
	}
	defer w.pg.Stop()
	var jobs []*job
	// Mode after mode: a case never runs beside itself, for some change what
	// all databases share.
	for i, m := range opt.Modes {
		for _, c := range list {
			mode := m
			if c.Input.Type == "script" {
				if i > 0 {
					continue
				}
				mode = Script
			}
			j, err := newJob(c, mode, w.pg.Port, len(jobs))
			if err != nil {
				return nil, fmt.Errorf("%s: %w", c.ID, err)
			}
			jobs = append(jobs, j)
		}
	}
	var out []Outcome
	for batch := range slices.Chunk(jobs, opt.Batch) {
		r, err := w.batch(ctx, batch, opt)
		out = append(out, r...)
		if err != nil {
			return out, err
		}
	}
	return out, nil
}

// batch runs jobs beside one another, through one doorward.
func (w *world) batch(ctx context.Context, jobs []*job, opt Options) ([]Outcome, error) {
	var g *gate
	if !opt.Direct {
		c, err := w.config(jobs, opt.Policies, opt.Wait)
		if err != nil {
			return nil, err
		}
		if g, err = newGate(ctx, c); err != nil {
			return nil, err
		}
		defer g.Close()
	}
	out := make([]Outcome, len(jobs))
	work := make(chan int)
	var wg sync.WaitGroup
	var mu sync.Mutex
	for range opt.Workers {
		wg.Go(func() {
			for i := range work {
				o := w.run(ctx, jobs[i], g, opt)
				mu.Lock()
				if g != nil && g.Ended() {
					o.OK, o.Problems = false, append(o.Problems, "doorward ended during this case or one beside it: "+tail(g.LogTail(1500)))
					if err := g.Launch(ctx); err != nil {
						o.Problems = append(o.Problems, "and did not start again: "+err.Error())
					} else if err := g.signIn(ctx); err != nil {
						o.Problems = append(o.Problems, "and lets nobody sign in: "+err.Error())
					}
				}
				out[i] = o
				if opt.Report != nil {
					opt.Report(o)
				}
				mu.Unlock()
			}
		})
	}
	for i := range jobs {
		work <- i
	}
	close(work)
	wg.Wait()
	return out, ctx.Err()
}

func tail(s string) string { return strings.ReplaceAll(strings.TrimSpace(s), "\n", " ⏎ ") }

// run runs one job and judges it.
func (w *world) run(ctx context.Context, j *job, g *gate, opt Options) Outcome {
	o := Outcome{ID: j.c.ID, Title: j.c.Title, Kind: j.c.Kind, Policy: j.c.Policy, Mode: j.mode, Split: string(opt.Split)}
	start := time.Now()
	defer w.remove(ctx, j)
	var err error
	if g == nil {
		err = w.runDirect(ctx, j, opt, &o)
	} else {
		err = w.runGate(ctx, j, g, opt, &o)
	}
	if err != nil {
		o.Problems = append(o.Problems, "could not be run: "+err.Error())
	}
	o.OK, o.Took = len(o.Problems) == 0, time.Since(start).Milliseconds()
	return o
}

func seed(j *job, opt Options) uint64 {
	h := fnv.New64a()
	fmt.Fprintf(h, "%s %s %d", j.c.ID, j.mode, opt.Seed)
	return h.Sum64()
}

func (w *world) runDirect(ctx context.Context, j *job, opt Options, o *Outcome) error {
	if j.c.Check.NoDirect != "" {
		o.Outcome = "not-applicable"
		return nil
	}
	if err := w.prepare(ctx, j); err != nil {
		return err
	}
	s := &script{options: w.direct(j, opt.Split, seed(j, opt)), lookup: w.lookup(ctx, j.db), timeout: 8 * time.Second}
	if j.c.Check.HangMS > 0 {
		s.timeout = time.Duration(j.c.Check.HangMS) * time.Millisecond
	}
	steps, err := j.c.steps(j.mode)
	if err != nil {
		return err
	}
	// What a naive gate would have sent first on the same connection.
	var pre []Step
	for _, q := range j.c.Input.Session {
		pre = append(pre, Step{Op: "Q", Text: Text{SQL: &q}}, Step{Op: "wait"})
	}
	at := 0
	if len(steps) > 0 && (steps[0].Op == "connect" || steps[0].Op == "raw_connect") {
		at = 1
	}
	steps = slices.Concat(steps[:at:at], pre, steps[at:])
	seen, f, err := w.attempt(ctx, j, s, steps, 0)
	if err != nil {
		return err
	}
	o.Outcome = "confirmed"
	if j.mode == Extended && slices.ContainsFunc(seen.Errors, isMulti) {
		o.Outcome = "not-applicable" // the server takes one statement a Parse
		return nil
	}
	o.By, o.Problems = seen.FirstError(), confirm(j.c, seen, f)
	return nil
}

func isMulti(e rawpg.Error) bool {
	return e['C'] == "42601" && strings.Contains(e['M'], "multiple commands")
}

// attempt probes, runs the steps and probes again before the connections
// close.
func (w *world) attempt(ctx context.Context, j *job, s *script, steps []Step, settle time.Duration) (*seen, facts, error) {
	var f facts
	var err error
	if f.before, err = w.probe(ctx, j); err != nil {
		return nil, f, fmt.Errorf("probe: %w", err)
	}
	defer s.close()
	out, err := s.run(ctx, steps, settle)
	if err != nil {
		return nil, f, err
	}
	if f.after, err = w.probe(ctx, j); err != nil {
		return nil, f, fmt.Errorf("probe: %w", err)
	}
	return out, f, nil
}

func (w *world) runGate(ctx context.Context, j *job, g *gate, opt Options, o *Outcome) error {
	if err := w.prepare(ctx, j); err != nil {
		return err
	}
	steps, err := j.c.steps(j.mode)
	if err != nil {
		return err
	}
	// A standard policy lets a statement run for ten seconds.
	s := &script{options: g.options(j, opt.Split, seed(j, opt)), lookup: w.lookup(ctx, j.db), timeout: 20 * time.Second}
	settle := time.Duration(0)
	if !slices.Contains(j.c.Expect.Accept, "allow") && !slices.Contains(j.c.Expect.Accept, "masked") {
		settle = 3 * time.Second
	}
	seen, f, err := w.attempt(ctx, j, s, steps, settle)
	if err != nil {
		return err
	}
	held, err := g.held(ctx, j)
	if err != nil {
		return err
	}
	f.held = len(held)
	accept := j.c.Expect.Accept
	if j.mode == Extended && w.multi(ctx, j) {
		// The server itself refuses several statements in one Parse.
		accept = append(slices.Clone(accept), "deny")
	}
	o.Outcome, o.Problems = judge(j.c, seen, f, accept)
	o.By = seen.FirstError()
	if o.By == "" && seen.closed {
		o.By = "connection closed"
	}
	if f.held > 0 && len(o.Problems) == 0 && j.c.Kind != "benign" {
		o.Problems = w.approved(ctx, j, g, s, steps, held)
	}
	return nil
}

// multi reports whether the server would refuse the case's text in a Parse
// for being several statements.
func (w *world) multi(ctx context.Context, j *job) bool {
	text, err := j.c.Input.Bytes()
	if err != nil || !slices.Contains(text, ';') {
		return false
	}
	s := &script{options: w.direct(j, rawpg.SplitNone, 0), timeout: 5 * time.Second}
	defer s.close()
	out, err := s.run(ctx, []Step{{Op: "P", Text: j.c.Input.Text}, {Op: "S"}, {Op: "wait"}}, 0)
	return err == nil && slices.ContainsFunc(out.Errors, isMulti)
}

// held lists the reviews that wait for the job's target.
func (g *gate) held(ctx context.Context, j *job) ([]harness.Review, error) {
	all, err := g.approver.Reviews(ctx, "waiting")
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(all, func(r harness.Review) bool { return r.Target != j.db }), nil
}

// approved says yes to what is held, sends the identical request again, and
// wants the effect to happen, and then never again.
func (w *world) approved(ctx context.Context, j *job, g *gate, s *script, steps []Step, held []harness.Review) (problems []string) {
	bad := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	var spent []int64
	var after string
	// A script may hold something to be approved after each thing approved.
	for round := 0; len(held) > 0 && round < 5; round++ {
		for _, r := range held {
			if err := g.approver.Vote(ctx, r.ID, true, "approved by the corpus runner", 0); err != nil {
				bad("review %d cannot be approved: %v", r.ID, err)
				return problems
			}
			spent = append(spent, r.ID)
		}
		seen, f, err := w.attempt(ctx, j, s, steps, 0)
		if err != nil {
			bad("the retry after the yes could not be run: %v", err)
			return problems
		}
		after = f.after
		for _, l := range seen.leaks(&j.c.Check) {
			bad("leaks %q after the yes", l)
		}
		if held, err = g.held(ctx, j); err != nil {
			bad("reviews cannot be listed: %v", err)
			return problems
		}
		if len(held) == 0 && j.c.Check.Probe != nil && !matches(after, j.c.Check.After) && !slices.Contains(j.c.Expect.Accept, "deny") {
			bad("after the yes the probe gives %q, want %q (%s)", after, j.c.Check.After, seen.Describe())
		}
	}
	if len(held) > 0 {
		bad("the identical request is held again after a yes: review %d", held[0].ID)
	}
	for _, id := range spent {
		if r, err := g.approver.Review(ctx, id); err != nil {
			bad("review %d cannot be read: %v", id, err)
		} else if r.State != "spent" && !slices.Contains(j.c.Expect.Accept, "deny") {
			bad("review %d is %s after it ran, want spent", id, r.State)
		}
	}
	if len(problems) > 0 || slices.Contains(j.c.Expect.Accept, "deny") {
		return problems
	}
	// A third time: the approval is used up.
	seen, f, err := w.attempt(ctx, j, s, steps, 0)
	switch {
	case err != nil:
		bad("the request after the approval was used could not be run: %v", err)
	case !seen.stopped():
		bad("the approval was used twice: the third request was not stopped")
	case j.c.Check.Probe != nil && f.before != f.after:
		bad("the approval was used twice: the probe went from %q to %q", f.before, f.after)
	}
	return problems
}
