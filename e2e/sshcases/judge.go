package sshcases

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/doorward/doorward/e2e/sshtest"
)

// judge runs one case and collects what is wrong with it.
type judge struct {
	*plan
	w      *world
	g      *gate
	marker string
	before string          // of the probe
	script *sshtest.Script // of the target, where it misbehaves
	added  string          // a command that the runner added to the case's steps

	outcome, by string
	problems    []string
}

func (j *judge) bad(format string, args ...any) {
	j.problems = append(j.problems, fmt.Sprintf(format, args...))
}

func (j *judge) may(what string) bool { return slices.Contains(j.Expect.Accept, what) }

// judge says what doorward did and what is wrong with it. c is the client, nil
// where there was more than one.
func (j *judge) judge(ctx context.Context, s *seen, c *client) error {
	stopped := s.stopped()
	switch {
	case s.isHeld() != 0:
		j.outcome = "review"
	case stopped == nil && j.opens():
		j.outcome = j.opened(c)
	case stopped != nil, c != nil && c.refused == "" && c.closed() && len(s.status) == 0:
		j.outcome = "deny"
	default:
		j.outcome = "allow"
	}
	if j.by == "" && stopped != nil {
		j.by = stopped.Error()
	}
	if !j.may(j.outcome) {
		j.bad("%s, accepted is only %s: %s", j.outcome, strings.Join(j.Expect.Accept, " or "), tail(j.by+" | "+string(s.bytes)))
	}
	if j.outcome != "allow" {
		time.Sleep(settle)
		if err := j.harmless(ctx, s); err != nil {
			return err
		}
	}
	switch {
	case j.outcome == "review" && j.may("review"):
		return j.approve(ctx, c)
	case j.outcome == "allow" && j.may("allow") && c != nil && j.script == nil:
		return j.worked(ctx, s, true)
	case j.outcome == "allow" && j.may("allow") && j.script != nil:
		return j.shown(ctx, s)
	}
	return nil
}

// opens reports whether the target opens something in this case.
func (j *judge) opens() bool {
	return slices.ContainsFunc(j.steps, func(s Step) bool { return s.From != "" })
}

// opened says whether what the target opened was let through.
func (j *judge) opened(c *client) string {
	answers := j.w.rogue.Opened()
	if len(answers) == 0 {
		j.bad("the target did not get to open anything: %q", j.w.rogue.Seen())
	}
	c.mu.Lock()
	got := slices.Clone(c.upstream)
	c.mu.Unlock()
	if len(got) > 0 || bytes.Contains(c.bytes, []byte("from-the-upstream")) {
		j.bad("the target opened %q at the client", got)
		return "allow"
	}
	for _, what := range slices.Sorted(maps.Keys(answers)) {
		if answers[what] == "accepted" {
			return "allow"
		}
		j.by = what + ": " + answers[what]
	}
	return "deny"
}

func tail(s string) string {
	s = strings.ReplaceAll(strings.TrimSpace(s), "\n", " ⏎ ")
	return s[max(0, len(s)-400):]
}

// harmless checks that nothing of what was stopped had an effect.
func (j *judge) harmless(ctx context.Context, s *seen) error {
	if _, err := os.Lstat(j.marker); err == nil {
		j.bad("had its effect: the marker was made")
	}
	s.mu.Lock()
	all, stdout := bytes.Clone(s.bytes), bytes.Clone(s.stdout)
	s.mu.Unlock()
	for _, l := range j.check.Leak {
		if bytes.Contains(all, []byte(l)) {
			j.bad("leaks %q", l)
		}
	}
	if j.check.LeakExec && scpHeader.Match(stdout) {
		j.bad("leaks a file by the scp protocol: %.80q", stdout)
	}
	if after, err := probe(ctx, j.plan); err != nil {
		return err
	} else if after != j.before {
		j.bad("had its effect: the probe went from %q to %q", j.before, after)
	}
	if j.script != nil {
		return j.rogue()
	}
	if log := j.w.host.Log(); strings.Contains(log, "server_request_direct_tcpip") || strings.Contains(log, "server_request_direct_streamlocal") || strings.Contains(log, "server_input_global_request: tcpip-forward") || strings.Contains(log, "streamlocal-forward@openssh.com") || strings.Contains(log, "server_request_tun") {
		j.bad("a forwarding reached the host: %s", tail(log))
	}
	ran, err := j.w.host.Ran()
	if err != nil {
		return err
	}
	return j.attribute(ctx, s, ran)
}

// scpHeader is how a file begins in the old scp protocol.
var scpHeader = regexp.MustCompile(`(?m)^\x00?[CD][0-7]{4} \d+ `)

// attribute checks what ran on the host in a case that was stopped: it may only
// be the first thing that a channel asked for, where that was not refused, is
// let through by itself, and had nothing with it that was refused.
func (j *judge) attribute(ctx context.Context, s *seen, ran []sshtest.Ran) error {
	type ask struct {
		step int
		text string
	}
	var asked []ask
	taken := false // the channel has had its one
	var refused []Step
	for i, st := range j.steps {
		if st.From != "" {
			continue
		}
		if j.forms[i] == "channel" && st.Channel == "session" {
			taken, refused = false, nil
			continue
		}
		if j.forms[i] != "req" {
			continue
		}
		if !runs(st.Req) {
			if s.denied[i] != "" {
				refused = append(refused, st)
			}
			continue
		}
		if st.Req == "exec" && !taken && s.denied[i] == "" {
			text, err := st.text(j.Case)
			if err != nil {
				return err
			}
			asked = append(asked, ask{i, text})
		}
		taken = true
	}
	if j.added != "" && j.outcome != "deny" {
		asked = append(asked, ask{len(j.steps), j.added})
	}
	// What was answered with doorward's own exit status did not run.
	denied := 0
	for _, n := range s.status {
		if n == deniedStatus {
			denied++
		}
	}
	if len(ran) > max(len(asked)-denied, 0) {
		j.bad("%d commands ran on the host, %d were asked for and %d refused", len(ran), len(asked), denied)
	}
	for _, r := range ran {
		i := slices.IndexFunc(asked, func(a ask) bool { return a.text == r.Command })
		// A case of one step was stopped whole.
		if i < 0 || len(j.steps) == 1 {
			j.bad("ran on the host: %.200q", r.Command)
			continue
		}
		asked = slices.Delete(asked, i, i+1)
		for _, st := range refused {
			if v, ok := r.Env[st.Name]; st.Req == "env" && ok && v == st.Value {
				j.bad("a refused variable reached the host: %s", st.Name)
			}
		}
		for _, v := range []string{"SSH_TTY", "DISPLAY", "SSH_AUTH_SOCK"} {
			if r.Env[v] != "" {
				j.bad("%s is set on the host: a terminal, a display or an agent was passed on", v)
			}
		}
		c, err := dial(ctx, j.g.dialed(target(j.plan)))
		if err != nil {
			return err
		}
		if err := j.alone(c, r.Command); err != nil {
			j.bad("ran on the host although it is not let through by itself: %.200q (%v)", r.Command, err)
		}
		c.close()
	}
	return nil
}

// rogue checks what the target that misbehaves saw and got.
func (j *judge) rogue() error {
	for what, how := range j.w.rogue.Opened() {
		if how == "accepted" {
			j.bad("the target's %s was accepted", what)
		}
	}
	if j.has("upstream") {
		for _, x := range j.w.rogue.Seen() {
			if x != "handshake failed" {
				j.bad("the target with another host key saw %q", x)
			}
		}
	}
	return nil
}

// approve checks that what is held runs once a person says yes, once, and is
// held again afterwards.
func (j *judge) approve(ctx context.Context, c *client) error {
	id := c.isHeld()
	held, err := j.g.held(ctx, target(j.plan))
	if err != nil {
		return err
	}
	if len(held) != 1 || held[0].ID != id {
		j.bad("the client waits for review %d, and these wait: %+v", id, held)
		return nil
	}
	if err := j.g.agent.Vote(ctx, id, true, "", 0); err == nil {
		j.bad("the one who asked approved it")
	}
	if err := j.g.approver.Vote(ctx, id, true, "approved by the corpus runner", 0); err != nil {
		j.bad("review %d cannot be approved: %v", id, err)
		return nil
	}
	for _, ch := range c.chans {
		select {
		case <-ch.over:
		case <-time.After(20 * time.Second):
			j.bad("after the yes the channel was not closed within 20 s")
			return nil
		}
	}
	if err := j.worked(ctx, c.seen, false); err != nil {
		return err
	}
	if r, err := j.g.approver.Review(ctx, id); err != nil || r.State != "spent" {
		j.bad("review %d is %s after it ran, want spent (%v)", id, r.State, err)
	}
	if err := j.w.host.Forget(); err != nil {
		return err
	}
	again, err := j.attempt(ctx)
	if err != nil {
		return err
	}
	defer again.close()
	second := again.isHeld()
	if second == 0 || second == id {
		j.bad("the identical request was not held again after its approval was used (%v)", again.stopped())
	}
	time.Sleep(settle)
	if ran, err := j.w.host.Commands(); err != nil || len(ran) > 0 {
		j.bad("the approval was used twice: %q ran (%v)", ran, err)
	}
	if second != 0 {
		_ = j.g.approver.Vote(ctx, second, false, "not again", 0)
	}
	return nil
}

// worked checks that what was let through ran as it would have without a gate:
// the same bytes, once, with the same end.
func (j *judge) worked(ctx context.Context, s *seen, quiet bool) error {
	var want []string
	var env []Step
	for i, st := range j.steps {
		if j.forms[i] != "req" {
			continue
		}
		switch st.Req {
		case "exec":
			text, err := st.text(j.Case)
			if err != nil {
				return err
			}
			want = append(want, text)
		case "env":
			env = append(env, st)
		}
	}
	if j.added != "" {
		want = append(want, j.added)
	}
	ran, err := j.w.host.Ran()
	if err != nil {
		return err
	}
	var got []string
	for _, r := range ran {
		got = append(got, r.Command)
		for _, v := range env {
			if r.Env[v.Name] != v.Value {
				j.bad("%s is %q on the host, want %q", v.Name, r.Env[v.Name], v.Value)
			}
		}
	}
	if !slices.Equal(got, want) {
		j.bad("%.300q ran on the host, want %.300q", got, want)
	}
	for _, t := range j.check.Contains {
		if !bytes.Contains(s.stdout, []byte(t)) && !bytes.Contains(s.stderr, []byte(t)) {
			j.bad("%q did not come back", t)
		}
	}
	if j.check.After != "" {
		if after, err := probe(ctx, j.plan); err != nil || after != j.check.After {
			j.bad("the probe gives %q after, want %q (%v)", after, j.check.After, err)
		}
	}
	if len(want) != 1 || len(env) > 0 {
		return nil
	}
	return j.same(ctx, s, want[0], quiet)
}

// same compares what came with what comes without a gate. Where two direct runs
// differ from each other only the end counts.
func (j *judge) same(ctx context.Context, s *seen, command string, quiet bool) error {
	first, err := j.w.host.Run(ctx, command)
	if err != nil {
		return err
	}
	second, err := j.w.host.Run(ctx, command)
	if err != nil {
		return err
	}
	if len(s.status) != 1 || int(s.status[0]) != first.Status && int(s.status[0]) != second.Status {
		j.bad("exit status %v, without a gate %d", s.status, first.Status)
	}
	steady := first == second && (strings.HasPrefix(command, "cat ") || strings.HasPrefix(command, "tail ") || strings.HasPrefix(command, "ls "))
	if steady && string(s.stdout) != first.Stdout {
		j.bad("the output differs: %d bytes, without a gate %d", len(s.stdout), len(first.Stdout))
	}
	if quiet && first == second && string(s.stderr) != first.Stderr {
		j.bad("standard error is %.200q, without a gate %.200q", s.stderr, first.Stderr)
	}
	if first.Stdout != "" && len(s.stdout) == 0 {
		j.bad("no output came")
	}
	return nil
}

// shown checks what came from a target that says what the case wants, and that
// the recording of it harms nobody who looks at it.
func (j *judge) shown(ctx context.Context, s *seen) error {
	if err := j.rogue(); err != nil {
		return err
	}
	var want, got []string
	for i, st := range j.steps {
		if j.forms[i] == "req" && st.Req == "exec" && st.From == "" {
			text, err := st.text(j.Case)
			if err != nil {
				return err
			}
			want = append(want, "exec "+text)
		}
	}
	if j.added != "" {
		want = append(want, "exec "+j.added)
	}
	for _, x := range j.w.rogue.Seen() {
		if strings.HasPrefix(x, "exec ") {
			got = append(got, x)
		}
	}
	if !slices.Equal(got, want) {
		j.bad("the target saw %.300q, want %.300q", got, want)
	}
	if j.script.Output == nil {
		return nil
	}
	if !bytes.Equal(s.stdout, j.script.Output) {
		j.bad("%q came, the target said %q", s.stdout, j.script.Output)
	}
	list, err := j.g.agent.Sessions(ctx, "target="+target(j.plan))
	if err != nil {
		return err
	}
	if len(list) == 0 {
		j.bad("there is no recorded session")
		return nil
	}
	tapes := filepath.Join(j.g.State, "tapes")
	found := false
	for _, one := range list {
		tl, err := j.g.agent.Timeline(ctx, one.ID)
		if err != nil {
			return err
		}
		if !tl.Verified.OK {
			j.bad("the recording is not whole: %v", tl.Verified.Problems)
		}
		for _, e := range tl.Entries {
			found = found || strings.Contains(e.Text, string(j.script.Output))
		}
		// As text, and as a program with a terminal shows it.
		text, err := j.g.CLI(ctx, "sessions", "replay", one.ID, "--tapes", tapes)
		if err != nil {
			return err
		}
		if strings.ContainsAny(text, "\x1b\a\u009b") {
			j.bad("a replay as text holds control characters: %.200q", text)
		}
		screen, err := j.onTerminal(ctx, "sessions", "replay", one.ID, "--tapes", tapes, "--speed", "0")
		if err != nil {
			return err
		}
		// Commands to the terminal itself: OSC, DCS, APC, PM, SOS.
		if m := commands.FindString(screen); m != "" {
			j.bad("a replay on a terminal commands it: %.200q", m)
		}
	}
	if !found {
		j.bad("no recording holds the bytes that came: %q", j.script.Output)
	}
	return nil
}

var commands = regexp.MustCompile("\x1b[\\]PX^_].*|[\u0090\u0098\u009d\u009e\u009f].*")

// onTerminal runs doorward on a terminal and gives what that was sent.
func (j *judge) onTerminal(ctx context.Context, args ...string) (string, error) {
	path, err := exec.LookPath("script")
	if err != nil {
		return "", fmt.Errorf("script is missing: run scripts/setup.sh: %w", err)
	}
	cmd, err := j.g.Command(ctx, args...)
	if err != nil {
		return "", err
	}
	var line []string
	for _, a := range cmd.Args {
		line = append(line, "'"+strings.ReplaceAll(a, "'", `'\''`)+"'")
	}
	on := exec.CommandContext(ctx, path, "-qec", strings.Join(line, " "), "/dev/null")
	on.Env = append(cmd.Env, "TERM=xterm-256color")
	out, err := on.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("doorward %s on a terminal: %w: %s", strings.Join(args, " "), err, out)
	}
	return string(out), err
}
