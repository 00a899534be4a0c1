package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/doorward/doorward/internal/api"
	"github.com/doorward/doorward/internal/replay"
)

const maxRecording = 1 << 30

// SessionsLsCmd lists sessions.
type SessionsLsCmd struct {
	Query  string `arg:"" optional:"" help:"Part of a name, agent, target, run or id."`
	Target string `help:"Only sessions with this target."`
	Live   bool   `help:"Only those that are open now."`
	Limit  int    `help:"How many at most." default:"50"`
	JSONFlag
}

// Help is shown by --help.
func (*SessionsLsCmd) Help() string { return "Example:\n  doorward sessions ls codex --live" }

// Run lists.
func (k *SessionsLsCmd) Run(env *Env) error {
	ctx, stop := interruptible()
	defer stop()
	if k.Limit < 1 || k.Limit > 500 {
		return exitf(CodeUsage, "--limit must be between 1 and 500")
	}
	c, err := signedIn()
	if err != nil {
		return err
	}
	all, err := listSessions(ctx, c, url.Values{"q": {k.Query}, "target": {k.Target}, "live": {fmt.Sprint(k.Live)}, "limit": {fmt.Sprint(k.Limit)}})
	if err != nil {
		return err
	}
	if k.JSON {
		return printJSON(env.Stdout, all)
	}
	if len(all) == 0 {
		fmt.Fprintln(env.Stdout, "No such sessions.")
		return nil
	}
	t := newTable(env.Stdout, "ID", "WHO", "TARGET", "STARTED", "STATE", "REQUESTS", "REFUSED", "ROWS")
	for _, s := range all {
		t.row(s.ID, s.Identity.String(), s.Target, when(s.Started), sessionState(s), fmt.Sprint(s.Requests), fmt.Sprint(s.Refused), fmt.Sprint(s.Rows))
	}
	return t.done()
}

func listSessions(ctx context.Context, c *client, q url.Values) ([]api.Session, error) {
	for name, v := range q {
		if v[0] == "" {
			q.Del(name)
		}
	}
	var out []api.Session
	err := c.call(ctx, http.MethodGet, "/api/v1/sessions?"+q.Encode(), nil, &out)
	return out, err
}

func sessionState(s api.Session) string {
	switch {
	case s.Live:
		return "open"
	case s.Why != "":
		return s.Why
	}
	return "closed"
}

// SessionsShowCmd shows one session.
type SessionsShowCmd struct {
	ID string `arg:"" help:"The session."`
	JSONFlag
}

// Help is shown by --help.
func (*SessionsShowCmd) Help() string { return "Example:\n  doorward sessions show 01jd3k" }

// Run shows.
func (k *SessionsShowCmd) Run(env *Env) error {
	ctx, stop := interruptible()
	defer stop()
	c, err := signedIn()
	if err != nil {
		return err
	}
	var s api.Session
	if err := c.call(ctx, http.MethodGet, "/api/v1/sessions/"+url.PathEscape(k.ID), nil, &s); err != nil {
		return err
	}
	if k.JSON {
		return printJSON(env.Stdout, s)
	}
	w := env.Stdout
	fmt.Fprintf(w, "Session %s: %s\n", cleanLine(s.ID), cleanLine(sessionState(s)))
	field(w, "who", s.Identity.String())
	field(w, "run", s.Identity.Run)
	field(w, "groups", strings.Join(s.Identity.Groups, ", "))
	field(w, "target", s.Target+" ("+s.Protocol+")")
	field(w, "from", s.Remote)
	field(w, "started", when(s.Started))
	field(w, "ended", when(s.Ended))
	field(w, "requests", fmt.Sprintf("%d, of which %d were denied or held", s.Requests, s.Refused))
	field(w, "sent", fmt.Sprintf("%d rows, %d bytes", s.Rows, s.Bytes))
	return nil
}

// SessionsKillCmd ends a session.
type SessionsKillCmd struct {
	ID string `arg:"" help:"The session."`
	JSONFlag
}

// Help is shown by --help.
func (*SessionsKillCmd) Help() string { return "Example:\n  doorward sessions kill 01jd3k" }

// Run kills.
func (k *SessionsKillCmd) Run(env *Env) error {
	ctx, stop := interruptible()
	defer stop()
	c, err := signedIn()
	if err != nil {
		return err
	}
	if err := c.call(ctx, http.MethodPost, "/api/v1/sessions/"+url.PathEscape(k.ID)+"/kill", nil, nil); err != nil {
		return err
	}
	if k.JSON {
		return printJSON(env.Stdout, map[string]any{"killed": k.ID})
	}
	fmt.Fprintf(env.Stdout, "Session %s is ended.\n", cleanLine(k.ID))
	return nil
}

// SessionsWatchCmd follows sessions as they open and close.
type SessionsWatchCmd struct{ JSONFlag }

// Help is shown by --help.
func (*SessionsWatchCmd) Help() string {
	return "Example:\n  doorward sessions watch\n\nFirst the sessions that are open, then every one that opens or closes, until Ctrl-C."
}

// Run follows the event stream.
func (k *SessionsWatchCmd) Run(env *Env) error {
	ctx, stop := interruptible()
	defer stop()
	c, err := signedIn()
	if err != nil {
		return err
	}
	open := map[string]bool{}
	show := func(e api.SessionEvent) error {
		if open[e.ID] == (e.Event == "opened") {
			return nil
		}
		if e.Event == "opened" {
			open[e.ID] = true
		} else {
			delete(open, e.ID)
		}
		if k.JSON {
			return printJSON(env.Stdout, e)
		}
		_, err := fmt.Fprintf(env.Stdout, "%s  %s  %s  %s  %s\n", time.Now().Format("15:04:05"), cleanLine(e.Event), cleanLine(e.ID), cleanLine(e.Identity.String()), cleanLine(e.Target))
		return err
	}
	return c.follow(ctx, func() (bool, error) {
		all, err := listSessions(ctx, c, url.Values{"live": {"true"}, "limit": {"500"}})
		if err != nil {
			return false, err
		}
		for _, s := range all {
			if err := show(api.SessionEvent{Session: s, Event: "opened"}); err != nil {
				return true, err
			}
		}
		return false, nil
	}, func(kind string, data []byte) (bool, error) {
		if kind != "session" {
			return false, nil
		}
		var e api.SessionEvent
		if err := json.Unmarshal(data, &e); err != nil {
			return true, fmt.Errorf("the gate sent an event that this version does not understand: %w", err)
		}
		err := show(e)
		return err != nil, err
	})
}

// playOnline plays a session in the terminal if it is one of SSH, and prints
// its timeline otherwise.
func playOnline(env *Env, id string, speed *float64) error {
	if err := checkSpeed(speed); err != nil {
		return err
	}
	ctx, stop := interruptible()
	defer stop()
	c, err := signedIn()
	if err != nil {
		return err
	}
	var s api.Session
	if err := c.call(ctx, http.MethodGet, "/api/v1/sessions/"+url.PathEscape(id), nil, &s); err != nil {
		return err
	}
	if s.Protocol != "ssh" {
		if speed != nil {
			return exitf(CodeUsage, "--speed is for --tapes, and for SSH sessions in a terminal")
		}
		return replayOnline(env, id, false)
	}
	resp, err := c.open(ctx, http.MethodGet, "/api/v1/sessions/"+url.PathEscape(id)+"/tape?format=asciicast", nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if err := replay.PlayCast(ctx, io.LimitReader(resp.Body, maxRecording), env.Stdout, speedOr(speed, 1)); err != nil {
		return fmt.Errorf("playing the recording: %w", err)
	}
	return nil
}

// replayOnline prints a session's timeline as the gate renders it.
func replayOnline(env *Env, id string, asJSON bool) error {
	ctx, stop := interruptible()
	defer stop()
	c, err := signedIn()
	if err != nil {
		return err
	}
	var t api.Timeline
	if err := c.call(ctx, http.MethodGet, "/api/v1/sessions/"+url.PathEscape(id)+"/timeline", nil, &t); err != nil {
		return err
	}
	if asJSON {
		if err := printJSON(env.Stdout, t); err != nil {
			return err
		}
	} else {
		showTimeline(env.Stdout, t)
	}
	if !t.Verified.OK {
		return exitf(CodeError, "the recording is not whole: %s", cleanLine(strings.Join(t.Verified.Problems, "; ")))
	}
	return nil
}

func showTimeline(w io.Writer, t api.Timeline) {
	fmt.Fprintf(w, "Session %s\n", cleanLine(t.Header.Session))
	field(w, "who", t.Header.Identity.String())
	field(w, "target", t.Header.Target)
	field(w, "started", when(t.Header.Started))
	for _, e := range t.Entries {
		at := fmt.Sprintf("[%8.3fs]", e.AtMS/1000)
		switch e.Kind {
		case "request":
			fmt.Fprintf(w, "\n%s #%d %s", at, e.Request, cleanLine(e.Decision))
			if e.Rule != "" {
				fmt.Fprintf(w, " by rule %s", cleanLine(e.Rule))
			}
			if e.Review != 0 {
				fmt.Fprintf(w, ", review %d", e.Review)
			}
			fmt.Fprintln(w)
			block(w, e.Statement)
			for i, p := range e.Params {
				fmt.Fprintf(w, "    $%d = %s\n", i+1, cleanLine(p))
			}
			if e.Reason != "" && e.Decision != "allow" {
				fmt.Fprintf(w, "    reason: %s\n", cleanLine(e.Reason))
			}
			if len(e.Masked) > 0 {
				fmt.Fprintf(w, "    masked: %s\n", cleanLine(strings.Join(e.Masked, ", ")))
			}
		case "outcome":
			if e.Text == "" {
				e.Text = fmt.Sprintf("%d rows", e.RowCount)
			}
			fmt.Fprintf(w, "%s #%d %s in %.1f ms", at, e.Request, cleanLine(e.Text), e.TookMS)
			if e.Error != "" {
				fmt.Fprintf(w, ", error: %s", cleanLine(e.Error))
			}
			fmt.Fprintln(w)
		default:
			showRows(w, at, e)
		}
	}
	state := "whole and unchanged"
	if !t.Verified.OK {
		state = "NOT whole: " + strings.Join(t.Verified.Problems, "; ")
	}
	fmt.Fprintf(w, "\nThe recording is %s.\n", cleanLine(state))
}

func showRows(w io.Writer, at string, e api.Entry) {
	if len(e.Columns) > 0 {
		t := newTable(w, append([]string{}, e.Columns...)...)
		for _, r := range e.Rows {
			cells := make([]string, len(r))
			for i, c := range r {
				cells[i] = "NULL"
				if c != nil {
					cells[i] = short(*c, 60)
				}
			}
			t.row(cells...)
		}
		if err := t.done(); err != nil {
			return
		}
	}
	if e.Text != "" {
		fmt.Fprintf(w, "%s %s\n", at, cleanLine(strings.TrimSpace(e.Kind+" "+e.Stream)))
		if e.Stream != "" {
			block(w, e.Plain())
		} else {
			block(w, e.Text)
		}
	}
	if e.Size != "" {
		fmt.Fprintf(w, "%s the terminal is now %s\n", at, cleanLine(e.Size))
	}
	if e.Dropped > 0 {
		fmt.Fprintf(w, "    (%d bytes of commands to the terminal are not shown)\n", e.Dropped)
	}
	if e.Error != "" {
		fmt.Fprintf(w, "%s error: %s\n", at, cleanLine(e.Error))
	}
	if e.Truncated {
		fmt.Fprintf(w, "    (more rows came than are shown)\n")
	}
}

// exportOnline saves a session's recording as the gate renders it.
func exportOnline(env *Env, id, format, out string) error {
	if _, tty := terminal(env.Stdout); tty && (out == "" || out == "-") {
		return exitf(CodeUsage, "a recording is not for a terminal: give --out FILE, or send it to another command; `sessions replay` shows it")
	}
	ctx, stop := interruptible()
	defer stop()
	c, err := signedIn()
	if err != nil {
		return err
	}
	resp, err := c.open(ctx, http.MethodGet, "/api/v1/sessions/"+url.PathEscape(id)+"/tape?format="+url.QueryEscape(format), nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body := io.LimitReader(resp.Body, maxRecording)
	if out == "" || out == "-" {
		if _, err := io.Copy(env.Stdout, body); err != nil {
			return fmt.Errorf("receiving the recording: %w", err)
		}
		return nil
	}
	f, err := os.OpenFile(out, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if _, err := io.Copy(f, body); err != nil {
		f.Close()
		os.Remove(out)
		return fmt.Errorf("receiving the recording: %w", err)
	}
	return f.Close()
}
