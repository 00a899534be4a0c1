package cases

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/doorward/doorward/e2e/rawpg"
)

// byteLimit is what a result may be when a case accepts "allow only with a
// limit": the standard policies' 64 MiB a statement, and some for framing.
const byteLimit = 80 << 20

// matches compares a probe's value with what a case wants: ">0", "!=x",
// "~regex" or the value itself.
func matches(got, want string) bool {
	switch {
	case strings.HasPrefix(want, ">"):
		g, err1 := strconv.ParseFloat(got, 64)
		w, err2 := strconv.ParseFloat(want[1:], 64)
		return err1 == nil && err2 == nil && g > w
	case strings.HasPrefix(want, "!="):
		return got != want[2:]
	case strings.HasPrefix(want, "~"):
		re, err := regexp.Compile(want[1:])
		return err == nil && re.MatchString(got)
	}
	return got == want
}

var sqlstate = regexp.MustCompile(`^[0-9A-Z]{5}$`)
var letters = regexp.MustCompile(`^[A-Za-z]+$`)

func isState(text string) bool { return sqlstate.MatchString(text) && !letters.MatchString(text) }

// shows reports whether the client saw the text outside of errors, or, for a
// SQLSTATE, an error with it.
func (s *seen) shows(text string) bool {
	if isState(text) {
		return slices.ContainsFunc(s.Errors, func(e rawpg.Error) bool { return e['C'] == text })
	}
	return bytes.Contains(s.Other, []byte(text)) || bytes.Contains(s.Data, []byte(text))
}

func (s *seen) showsAll(texts []string) bool {
	for _, t := range texts {
		if !s.shows(t) {
			return false
		}
	}
	return len(texts) > 0
}

func (s *seen) stopped() bool { return len(s.Errors) > 0 || s.closed }

// leaks lists the strings that stand in any byte that the agent got.
func (s *seen) leaks(c *Check) []string {
	var out []string
	for _, l := range c.Leak {
		if bytes.Contains(s.own, []byte(l)) {
			out = append(out, l)
		}
	}
	return out
}

// facts are what was measured around a run.
type facts struct {
	before, after string // the probe
	held          int    // reviews that the run opened
}

// judge says what doorward did and what is wrong with it.
func judge(c *Case, s *seen, f facts, accept []string) (outcome string, problems []string) {
	bad := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	may := func(what string) bool { return slices.Contains(accept, what) }
	moved := c.Check.Probe != nil && f.before != f.after
	switch {
	case f.held > 0:
		outcome = "review"
	case s.stopped():
		outcome = "deny"
	case c.Expect.Outcome == "masked" || (may("masked") && len(c.Check.Leak) > 0 && len(s.Rows) > 0):
		outcome = "masked"
	default:
		outcome = "allow"
	}
	for _, h := range s.hung {
		bad("hangs: %s", h)
	}
	if c.Check.Probe != nil && !matches(f.before, c.Check.Before) {
		bad("the probe gave %q before, want %q: the fixture is not as the case needs it", f.before, c.Check.Before)
	}
	for _, l := range s.leaks(&c.Check) {
		bad("leaks %q", l)
	}
	if s.bytes > byteLimit {
		bad("sent %d MiB to the client: no byte limit", s.bytes>>20)
	}
	switch outcome {
	case "review", "deny":
		if moved {
			bad("had its effect: the probe went from %q to %q", f.before, f.after)
		}
		// Text that shows the ungated effect may also come from a harmless step
		// after the error; an error that another session got may not.
		if c.Kind == "attack" && !may("allow") && s.showsAll(c.Check.Evidence) && isState(c.Check.Evidence[0]) {
			bad("shows the effect: %q", c.Check.Evidence)
		}
		if !may(outcome) {
			bad("%s, accepted is only %s: %s", outcome, strings.Join(accept, " or "), s.FirstError())
		}
	case "masked", "allow":
		unharmed := c.Kind == "robustness" && s.showsAll(c.Check.Evidence) // the session simply went on
		if !may(outcome) && !(outcome == "allow" && may("masked")) && !unharmed {
			bad("no error reached the client, accepted is only %s (%s)", strings.Join(accept, " or "), s.Describe())
		}
		if moved && !may("allow") {
			bad("had its effect: the probe went from %q to %q", f.before, f.after)
		}
	}
	if c.Kind == "benign" && outcome != "deny" && outcome != "review" {
		if c.Check.Probe != nil && !matches(f.after, c.Check.After) {
			bad("the probe gave %q after, want %q", f.after, c.Check.After)
		}
		for _, t := range c.Check.Contains {
			if !s.shows(t) {
				bad("%q did not come back (%s)", t, s.Describe())
			}
		}
		if c.Check.Rows != nil && len(s.Rows) != *c.Check.Rows {
			bad("%d rows came back, want %d", len(s.Rows), *c.Check.Rows)
		}
	}
	return outcome, problems
}

// confirm says whether, without doorward, the case does what it claims.
func confirm(c *Case, s *seen, f facts) (problems []string) {
	bad := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	k := &c.Check
	if k.Probe != nil && !matches(f.before, k.Before) {
		bad("the probe gave %q before, want %q", f.before, k.Before)
	}
	if k.Probe != nil && !matches(f.after, k.After) {
		bad("the probe gave %q after, want %q", f.after, k.After)
	}
	for _, l := range k.Leak {
		if !bytes.Contains(s.Bytes, []byte(l)) {
			bad("%q does not come back", l)
		}
	}
	for _, e := range append(slices.Clone(k.Evidence), k.Contains...) {
		if !s.shows(e) {
			bad("%q is not seen", e)
		}
	}
	if k.ServerError != "" {
		var codes []string
		for _, e := range s.Errors {
			codes = append(codes, e['C'])
		}
		all := strings.Join(codes, " ")
		if len(codes) == 0 || !(matches(all, k.ServerError) || strings.Contains(all, k.ServerError)) {
			bad("errors %q, want %q", codes, k.ServerError)
		}
	}
	ms := int(s.took.Milliseconds())
	if k.MinMS > 0 && ms < k.MinMS {
		bad("took %d ms, want at least %d", ms, k.MinMS)
	}
	if k.HangMS > 0 && (ms < k.HangMS*9/10 || s.readyZ > 1+len(c.Input.Session)) {
		bad("ended after %d ms, want it still running", ms)
	}
	if k.ConnClosed && !s.closed {
		bad("the connection was not closed")
	}
	if k.OK && len(s.Errors) > 0 {
		bad("fails: %s", s.FirstError())
	}
	if k.Rows != nil && len(s.Rows) != *k.Rows {
		bad("%d rows, want %d", len(s.Rows), *k.Rows)
	}
	return problems
}
