package sshcases

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/doorward/doorward/e2e/cases"
	"github.com/doorward/doorward/e2e/sshtest"
)

// Options of a run.
type Options struct {
	Policies string              // folder with P6.yaml …
	Direct   bool                // without doorward: check that each case does what it claims
	Wait     time.Duration       // how long doorward lets a held request wait; 0: 20 s
	Report   func(cases.Outcome) // called as outcomes come in
}

// written is the mode of all SSH cases.
const written = cases.Script

// Run runs the cases one after the other: some of them name the same paths. An
// error means that the run itself failed; what the cases showed is in the
// outcomes.
func Run(ctx context.Context, list []*Case, opt Options) ([]cases.Outcome, error) {
	if opt.Wait == 0 {
		opt.Wait = 20 * time.Second
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
	for i, c := range list {
		o := w.one(ctx, c, g, filepath.Join(w.dir, fmt.Sprintf("m%d", i)))
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
func (w *world) one(ctx context.Context, c *Case, g *gate, marker string) cases.Outcome {
	o := cases.Outcome{ID: c.ID, Title: c.Title, Kind: c.Kind, Policy: c.Policy, Mode: written, Split: "none"}
	start := time.Now()
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	p, err := c.at(marker)
	if err == nil {
		err = w.ready(ctx, p)
	}
	if err == nil {
		if g == nil {
			err = w.direct(ctx, p, marker, &o)
		} else {
			err = w.through(ctx, p, marker, g, &o)
		}
		w.cleanup(ctx, p)
	}
	if err != nil {
		o.Problems = append(o.Problems, "could not be run: "+err.Error())
	}
	o.OK, o.Took = len(o.Problems) == 0, time.Since(start).Milliseconds()
	return o
}

func (w *world) ready(ctx context.Context, p *plan) error {
	w.rogue.UseHostKey(w.pin)
	w.rogue.Do(sshtest.Script{})
	if err := w.prepare(ctx, p); err != nil {
		return err
	}
	return w.host.Forget()
}

// settle is how long what a case should not have done gets to show.
const settle = 250 * time.Millisecond

// through runs a case through the gate.
func (w *world) through(ctx context.Context, p *plan, marker string, g *gate, o *cases.Outcome) error {
	before, err := probe(ctx, p)
	if err != nil {
		return err
	}
	j := &judge{plan: p, w: w, g: g, marker: marker, before: before}
	switch {
	case p.has("kex"):
		err = j.kex(ctx)
	case p.has("auth"):
		err = j.auth(ctx)
	default:
		err = j.session(ctx)
	}
	o.Outcome, o.By, o.Problems = j.outcome, j.by, j.problems
	return err
}

func probe(ctx context.Context, p *plan) (string, error) {
	if p.check.Probe == "" {
		return "", nil
	}
	return shell(ctx, p.check.Probe)
}

// kex is a case about what the client offers before there is a connection.
func (j *judge) kex(ctx context.Context) error {
	if len(j.steps) != 1 {
		return errors.New("a kex step stands alone")
	}
	o, err := offer(ctx, j.g.SSH, j.steps[0].Kex)
	if err != nil {
		return err
	}
	s := newSeen()
	s.bytes = o.said
	if o.cipher == "" {
		s.refused = "nothing in common"
		return j.judge(ctx, s, nil)
	}
	if o.affected() {
		j.bad("agrees on %s %s without strict key exchange", o.cipher, o.mac)
	}
	if !o.strict {
		j.bad("does not announce strict key exchange")
	}
	return j.judge(ctx, s, nil)
}

// auth is a case about signing in: every way is tried, and where one succeeds
// the rest of the case is done, or a harmless command that shows it.
func (j *judge) auth(ctx context.Context) error {
	step := j.step("auth")
	ways, err := j.g.ways(ctx, step)
	if err != nil {
		return err
	}
	if err := j.control(ctx); err != nil {
		return err
	}
	var in []string
	all := newSeen()
	for _, way := range ways {
		d := j.g.dialed(j.user())
		d.config.Auth = way.auth
		c, err := dial(ctx, d)
		if err != nil {
			return err
		}
		if c.refused != "" {
			all.refused = c.refused
		} else {
			in = append(in, way.name)
			if err := j.steer(c); err != nil {
				c.close()
				return err
			}
		}
		c.close()
		all.say(c.bytes)
	}
	if len(in) > 0 {
		all.refused = ""
		j.by = "signed in: " + strings.Join(in, ", ")
	}
	return j.judge(ctx, all, nil)
}

// control signs in as one should: where that fails, a refusal shows nothing.
func (j *judge) control(ctx context.Context) error {
	c, err := dial(ctx, j.g.dialed(target(j.plan)))
	if err != nil {
		return err
	}
	defer c.close()
	if c.refused != "" {
		return fmt.Errorf("a good credential is refused: %s", c.refused)
	}
	return nil
}

// user is the user name that the client signs in with.
func (j *judge) user() string {
	if s := j.step("auth_user"); s != nil {
		return *s.AuthUser
	}
	return target(j.plan)
}

// session is a case whose client signs in as it should, apart from what its
// steps say, and then does them in order.
func (j *judge) session(ctx context.Context) error {
	c, err := j.attempt(ctx)
	if err != nil {
		return err
	}
	defer c.close()
	if c.refused != "" {
		if !j.has("auth_user") && !j.has("raw_prefix") {
			return fmt.Errorf("a good credential is refused: %s", c.refused)
		}
		if err := j.control(ctx); err != nil {
			return err
		}
	}
	return j.judge(ctx, c.seen, c)
}

// attempt does the whole case on one connection.
func (j *judge) attempt(ctx context.Context) (*client, error) {
	d := j.g.dialed(j.user())
	if s := j.step("raw_prefix"); s != nil {
		d.prefix = unescape(*s.RawPrefix)
	}
	if s := j.step("transport"); s != nil {
		if s.Transport != "rekey" {
			return nil, fmt.Errorf("transport %q is not known", s.Transport)
		}
		d.config.RekeyThreshold = 256
	}
	if err := j.upstream(ctx); err != nil {
		return nil, err
	}
	c, err := dial(ctx, d)
	if err != nil || c.refused != "" {
		return c, err
	}
	if err := j.steer(c); err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

// upstream makes the target behave as the steps say.
func (j *judge) upstream(ctx context.Context) error {
	var s sshtest.Script
	used, change := false, false
	for i, st := range j.steps {
		switch {
		case j.forms[i] == "upstream" && st.Upstream == "new-host-key":
			used, change = true, true
		case j.forms[i] == "upstream":
			return fmt.Errorf("upstream %q is not known", st.Upstream)
		case j.forms[i] == "upstream_output":
			used, s.Output = true, []byte(*st.UpstreamOutput)
		case st.From == "":
		case j.forms[i] == "channel":
			used, s.Open = true, append(s.Open, st.Channel)
		case j.forms[i] == "global":
			used, s.Global = true, append(s.Global, st.Global)
		case j.forms[i] == "req":
			used, s.Request = true, append(s.Request, st.Req)
		}
	}
	if !used {
		return nil
	}
	j.script = &s
	if change {
		// The key that doorward knows is let in, so that the change is what
		// counts.
		j.w.rogue.Do(sshtest.Script{})
		c, err := dial(ctx, j.g.dialed(target(j.plan)))
		if err != nil {
			return err
		}
		err = j.alone(c, "uptime")
		c.close()
		if err != nil {
			return fmt.Errorf("before the host key changes: %w", err)
		}
		if err := j.w.rogue.ReplaceHostKey(); err != nil {
			return err
		}
	}
	j.w.rogue.Do(s)
	return nil
}

// alone runs one command and wants it to be let through.
func (j *judge) alone(c *client, command string) error {
	if c.refused != "" {
		return errors.New(c.refused)
	}
	ch := c.session(0)
	if ch == nil {
		return fmt.Errorf("no channel: %v", c.denied)
	}
	if err := c.request(ch, 0, &Step{Req: "exec", Command: &command}, j.Case); err != nil {
		return err
	}
	c.finish(ch, 20*time.Second)
	return c.stopped()
}

// stopped says how doorward refused what the client asked for, nil if it did
// not.
func (s *seen) stopped() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.refused != "":
		return errors.New(s.refused)
	case len(s.held) > 0:
		return fmt.Errorf("held: review %d", s.held[len(s.held)-1])
	case slices.Contains(s.status, deniedStatus) && strings.Contains(string(s.stderr), "doorward: "):
		return errors.New(firstLine(s.stderr))
	case strings.HasPrefix(string(s.stderr), "doorward: ") || strings.Contains(string(s.stderr), "\ndoorward: "):
		return errors.New(firstLine(s.stderr))
	}
	for _, i := range slices.Sorted(maps.Keys(s.denied)) {
		return errors.New(s.denied[i])
	}
	return nil
}

func firstLine(b []byte) string {
	line, _, _ := strings.Cut(strings.TrimSpace(string(b)), "\n")
	return line
}

// finish sends the end of the input and waits for the channel's.
func (c *client) finish(ch *channel, limit time.Duration) bool {
	_ = ch.CloseWrite()
	over := func() bool {
		select {
		case <-ch.over:
			return true
		default:
			return c.closed() || c.isHeld() != 0
		}
	}
	return c.wait(limit, over)
}

// steer does the case's steps on a connection.
func (j *judge) steer(c *client) error {
	var ch *channel
	acted := false
	for i := range j.steps {
		s := &j.steps[i]
		if s.From != "" || c.isHeld() != 0 {
			continue
		}
		var err error
		switch j.forms[i] {
		case "req":
			if ch == nil {
				if ch = c.session(i); ch == nil {
					return nil // refused, which stands in what was seen
				}
			}
			acted = acted || runs(s.Req)
			err = c.request(ch, i, s, j.Case)
		case "channel":
			if s.Channel == "session" {
				ch = c.session(i)
			} else {
				acted = true
				err = c.open(i, s)
			}
		case "global":
			acted = true
			err = c.global(i, s)
		}
		if err != nil {
			return fmt.Errorf("step %d: %w", i+1, err)
		}
	}
	if !acted && (j.has("auth") || j.script != nil || j.has("transport") || j.has("raw_prefix")) {
		// What the case does needs something to run, and names nothing.
		command := "uptime"
		if ch == nil {
			if ch = c.session(len(j.steps)); ch == nil {
				return nil
			}
		}
		if err := c.request(ch, len(j.steps), &Step{Req: "exec", Command: &command}, j.Case); err != nil {
			return err
		}
		j.added = command
	}
	for _, ch := range c.chans {
		if j.check.LeakExec {
			// The old scp protocol waits for the other side's nods.
			_, _ = ch.Write(make([]byte, 8))
		}
		if len(ch.acts) == 0 && j.added == "" {
			_ = ch.Close()
			continue
		}
		if !c.finish(ch, 25*time.Second) {
			j.bad("hangs: the channel was not closed within 25 s")
		}
	}
	return nil
}

// direct runs a case without doorward and checks that it does what it claims.
func (w *world) direct(ctx context.Context, p *plan, marker string, o *cases.Outcome) error {
	o.Outcome = "not-applicable"
	k := &p.check
	if k.NoDirect != "" || len(p.steps) != 1 || p.steps[0].Req != "exec" || !(k.Marker || len(k.Leak) > 0 || k.LeakExec || len(k.Contains) > 0 || k.After != "") {
		return nil
	}
	command, err := p.steps[0].text(p.Case)
	if err != nil {
		return err
	}
	at, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	r, err := w.host.Run(at, command)
	if err != nil && at.Err() == nil {
		return err
	}
	o.Outcome = "confirmed"
	bad := func(format string, args ...any) { o.Problems = append(o.Problems, fmt.Sprintf(format, args...)) }
	if _, err := os.Stat(marker); k.Marker && err != nil {
		bad("the marker was not made: %+v", r)
	}
	for _, l := range append(slices.Clone(k.Leak), k.Contains...) {
		if !strings.Contains(r.Stdout+r.Stderr, l) {
			bad("%q does not come: %+v", l, r)
		}
	}
	if after, err := probe(ctx, p); err != nil || k.After != "" && after != k.After {
		bad("the probe gives %q after, want %q (%v)", after, k.After, err)
	}
	return nil
}
