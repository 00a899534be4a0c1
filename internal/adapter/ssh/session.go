package ssh

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/doorward/doorward"
	classify "github.com/doorward/doorward/internal/classify/ssh"
	"github.com/doorward/doorward/internal/gate"
	"github.com/doorward/doorward/internal/relay"
	"github.com/doorward/doorward/internal/upstream"
	"github.com/doorward/doorward/internal/wire/frame"
)

const (
	statusRefused = 126 // exit status of what was not let through
	actWait       = 2 * time.Minute
	maxRequests   = 1000 // of one channel before its act
)

// channel is one session channel of a client (RFC 4254, section 6).
type channel struct {
	c    *connection
	s    *channelSession
	ch   ssh.Channel
	reqs <-chan *ssh.Request
	want classify.Request
	bad  string // a variable that was refused and changes what runs
	gone atomic.Bool
	left chan struct{}    // closed once the client has closed the channel
	wins chan relay.Event // window changes and signals once something runs
}

func (c *connection) serveSession(ctx context.Context, n ssh.NewChannel) {
	s, err := c.take(ctx)
	if err != nil {
		_ = n.Reject(ssh.Prohibited, reasonOf(err))
		return
	}
	ch, reqs, err := n.Accept()
	if err != nil {
		s.sink.end()
		s.Close(err)
		return
	}
	s.sink.use(ch)
	x := &channel{c: c, s: s, ch: ch, reqs: reqs, want: classify.Request{Account: c.account}, wins: make(chan relay.Event, 16), left: make(chan struct{})}
	why := errors.New("a fault of doorward")
	defer func() {
		_ = ch.Close()
		s.sink.end()
		s.Close(why)
	}()
	why = x.serve()
}

func reasonOf(err error) string {
	var d *doorward.Denial
	if errors.As(err, &d) {
		return d.Reason
	}
	return "doorward cannot open the session"
}

// serve collects what the client wants, and does it.
func (x *channel) serve() error {
	act, err := x.collect()
	if err != nil || !act {
		go ssh.DiscardRequests(x.reqs) // or the whole connection waits for somebody to take them
		return err
	}
	go x.c.guard(x.watch)
	x.s.Busy(true)
	defer x.s.Busy(false)
	err = x.act()
	if ended := x.s.Err(); ended != nil {
		x.say(ended.Error(), "")
		x.exit(relay.StatusFailed)
		return ended
	}
	var d *doorward.Denial
	if errors.As(err, &d) {
		x.deny(d)
		return nil
	}
	return err
}

// collect takes the channel's requests up to the one that acts.
func (x *channel) collect() (bool, error) {
	idle := time.NewTimer(actWait)
	defer idle.Stop()
	for range maxRequests {
		var r *ssh.Request
		var ok bool
		select {
		case r, ok = <-x.reqs:
		case <-idle.C:
			return false, errors.New("the client opened a channel and asked for nothing")
		case <-x.s.Context().Done():
			x.say(x.s.Err().Error(), "")
			return false, x.s.Err()
		}
		if !ok {
			return false, nil
		}
		good, act := true, false
		switch r.Type {
		case "env":
			good = x.env(r.Payload)
		case "pty-req":
			good = x.want.PTY == nil && x.pty(r.Payload)
		case "exec":
			var m struct{ Command string }
			act = ssh.Unmarshal(r.Payload, &m) == nil
			x.want.Kind, x.want.Command, good = classify.KindExec, m.Command, act
		case "shell":
			act = len(r.Payload) == 0
			x.want.Kind, good = classify.KindShell, act
		case "subsystem":
			var m struct{ Name string }
			act = ssh.Unmarshal(r.Payload, &m) == nil
			x.want.Kind, x.want.Subsystem, good = classify.KindSubsystem, m.Name, act
		case "window-change", "signal", "eow@openssh.com":
			// Nothing runs yet.
		default:
			good = false
			x.refused(r.Type)
		}
		if r.WantReply {
			if err := r.Reply(good, nil); err != nil {
				return false, err
			}
		}
		if act {
			return true, nil
		}
		if !good && (r.Type == "exec" || r.Type == "shell" || r.Type == "subsystem") {
			return false, fmt.Errorf("a %s request that cannot be read", r.Type)
		}
	}
	return false, errors.New("the client asked for too much before it asked for anything to run")
}

// refused records a request of a kind that is never let through: X11, agent and
// whatever else there is.
func (x *channel) refused(kind string) {
	_ = x.s.Refuse(x.s.Context(), "channel request "+printable(kind), &doorward.Denial{Decision: "deny", Reason: "a channel request of this kind is not let through"})
}

// harmless variables are dropped in silence where the target does not take
// them: clients send them by themselves.
func harmless(name string) bool {
	switch name {
	case "LANG", "LANGUAGE", "COLORTERM", "NO_COLOR", "TERM_PROGRAM", "TERM_PROGRAM_VERSION", "TZ":
		return true
	}
	return strings.HasPrefix(name, "LC_")
}

// plainValue takes what names a language or a terminal, and no path.
func plainValue(v string) bool {
	return len(v) <= 128 && !strings.ContainsFunc(v, func(r rune) bool {
		return !(r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || strings.ContainsRune("_.@:+-=,", r))
	})
}

// env takes a variable, if the target lets clients set it. One that is not
// taken and could matter makes the act fail: it would not run as it was meant.
func (x *channel) env(payload []byte) bool {
	var m struct{ Name, Value string }
	if ssh.Unmarshal(payload, &m) != nil {
		return false
	}
	for _, pattern := range x.c.srv.opt.Allowed(x.s.Target.Name) {
		prefix, star := strings.CutSuffix(pattern, "*")
		if m.Name == pattern || (star && strings.HasPrefix(m.Name, prefix)) {
			if len(x.want.Env) >= classify.MaxEnv || (harmless(m.Name) && !plainValue(m.Value)) {
				x.bad = printable(m.Name)
				return false
			}
			x.want.Env = append(x.want.Env, classify.Variable{Name: m.Name, Value: m.Value})
			return true
		}
	}
	if !harmless(m.Name) {
		x.bad = printable(m.Name)
	}
	return false
}

func (x *channel) pty(payload []byte) bool {
	var m struct {
		Term                         string
		Columns, Rows, Width, Height uint32
		Modes                        string
	}
	if ssh.Unmarshal(payload, &m) != nil || len(m.Term) > 64 || strings.ContainsFunc(m.Term, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return false
	}
	x.want.PTY = &classify.PTY{Term: m.Term, Columns: min(m.Columns, 10000), Rows: min(m.Rows, 10000), Modes: []byte(m.Modes)}
	return true
}

// watch takes the requests that come once the act has begun.
func (x *channel) watch() {
	refused := 0
	for r := range x.reqs {
		good := false
		switch r.Type {
		case "window-change", "signal":
			good = true
			x.event(r)
		case "eow@openssh.com":
		default:
			// A second act, or a variable for one: nothing of it is done. The
			// session's record is the relay's, so it notes it for it.
			if refused++; refused <= maxRefusals {
				_ = x.s.Note("refused: a channel request " + printable(r.Type) + " while something runs")
				if r.Type == "exec" || r.Type == "shell" || r.Type == "subsystem" {
					_ = x.say("a second "+r.Type+" on one channel is not let through: nothing of it runs", "Open a channel for each.")
				}
			}
		}
		if r.WantReply {
			_ = r.Reply(good, nil)
		}
	}
	x.gone.Store(true)
	close(x.left)
	x.s.StopWaiting()
}

// event hands a window change or a signal to what runs.
func (x *channel) event(r *ssh.Request) {
	var e relay.Event
	if r.Type == "signal" {
		var m struct{ Name string }
		if ssh.Unmarshal(r.Payload, &m) != nil || m.Name == "" {
			return
		}
		e.Signal = printable(m.Name)
	} else {
		var m struct{ Columns, Rows, Width, Height uint32 }
		if ssh.Unmarshal(r.Payload, &m) != nil {
			return
		}
		e.Columns, e.Rows = m.Columns, m.Rows
	}
	select {
	case x.wins <- e:
		return
	default:
	}
	// Nobody takes them now: the newest counts.
	select {
	case <-x.wins:
	default:
	}
	select {
	case x.wins <- e:
	default:
	}
}

// run starts what the permit is for and relays it to its end.
func (x *channel) run(up *upstream.SSHConn, p *gate.Permit) error {
	proc, err := up.Start(p)
	if err != nil {
		x.c.srv.opt.Log.Warn("a target did not start what was permitted", "target", x.s.Target.Name, "session", x.s.ID(), "error", err)
		d := &doorward.Denial{Decision: "error", Reason: "the target did not start it: " + err.Error()}
		return errors.Join(p.Reply().Done("not run"), x.s.Note(d.Reason), d)
	}
	client := relay.Client{Session: x.s.Session, Input: x.ch, Events: x.wins, Gone: x.gone.Load, Guard: x.c.guard}
	if t := x.want.PTY; t != nil {
		client.Terminal = &relay.Event{Columns: t.Columns, Rows: t.Rows}
	}
	return relay.Run(client, p, proc, up.Abort)
}

// act asks the gate about what the client wants, and runs it.
func (x *channel) act() error {
	text, err := x.want.Text()
	if err != nil {
		d := &doorward.Denial{Decision: "deny", Reason: "this cannot be understood, so it cannot be allowed: " + err.Error()}
		return x.s.Refuse(x.s.Context(), printable(x.want.Kind+" "+x.want.Command), d)
	}
	if x.bad != "" {
		d := &doorward.Denial{Decision: "deny", Reason: "the environment variable " + x.bad + " is not let through, and without it this would not run as asked", Hint: "Take it out of SendEnv or SetEnv, or have it listed under env of the target."}
		return x.s.Refuse(x.s.Context(), text, d)
	}
	p, err := x.ask(text, x.onHold)
	if err != nil {
		return err
	}
	up, err := x.dial()
	if err != nil {
		return errors.Join(err, p.Reply().Done("not run"))
	}
	defer up.Close()
	over := make(chan struct{})
	defer close(over)
	go func() {
		select {
		case <-x.left:
			up.Abort() // whatever it is in the middle of
		case <-over:
		}
	}()
	if x.want.Kind == classify.KindSubsystem && x.want.Subsystem == "sftp" {
		return x.serveFiles(up, p)
	}
	return x.run(up, p)
}

// ask judges a request of this session.
func (x *channel) ask(text string, held func(doorward.Review) error) (*gate.Permit, error) {
	st, err := x.s.Read(x.s.Context(), text)
	if err != nil {
		return nil, err
	}
	if oldCopy(&st.Reading.Effect) && x.s.Detects() {
		return nil, x.s.Refuse(x.s.Context(), text, &doorward.Denial{Decision: "deny", Reason: "scp's old protocol tells a file's size before its bytes, so they cannot be masked, and what this target sends has to be", Hint: "Use scp without -O, or sftp."})
	}
	return x.s.Ask(x.s.Context(), gate.Request{Frames: []byte(text), Acts: []gate.Act{{Statement: st}}, State: "one connection", Gone: x.gone.Load, OnHold: held})
}

// oldCopy reports whether a command sends files by scp's protocol.
func oldCopy(e *doorward.Effect) bool {
	if len(e.Commands) != 1 || path.Base(e.Commands[0][0]) != "scp" {
		return false
	}
	for _, o := range e.Objects {
		if o.Kind == "file" && o.Verb.Has(doorward.VerbRead) {
			return true
		}
	}
	return false
}

// dial connects to the target. What goes wrong is told to the client without
// what only an operator should see.
func (x *channel) dial() (*upstream.SSHConn, error) {
	up, err := x.c.srv.opt.Dial(x.s.Context(), x.s.Session, x.c.account)
	if err == nil {
		return up, nil
	}
	if x.s.Err() != nil {
		return nil, x.s.Err()
	}
	x.c.srv.opt.Log.Error("target does not answer", "target", x.s.Target.Name, "error", err)
	d := &doorward.Denial{Decision: "error", Reason: "the target cannot be reached", Hint: "The operator finds the reason in doorward's log."}
	switch {
	case errors.Is(err, upstream.ErrHostKey):
		d.Reason, d.Hint = "the target shows another host key than the one that is pinned: it may not be the target", "The operator compares the keys, and changes host_keys if the new one is right."
	case errors.Is(err, upstream.ErrAccount):
		d.Decision, d.Reason, d.Hint = "deny", fmt.Sprintf("there is no account %q to be had on this target", printable(x.c.account)), "Leave out the account in front of the @, or have it listed under users of the target."
	}
	return nil, x.s.Refuse(x.s.Context(), "connect", d)
}

// onHold tells the client at once where its request waits.
func (x *channel) onHold(r doorward.Review) error {
	return x.say(fmt.Sprintf("held for approval, review %d: %s", r.ID, r.URL), "It runs as soon as it is approved. If this connection gives up first, send the same again later.")
}

// say tells the client something of doorward's own, on standard error.
func (x *channel) say(text, hint string) error {
	end := "\n"
	if x.want.PTY != nil {
		end = "\r\n"
	}
	msg := "doorward: " + text + end
	if hint != "" {
		msg += "doorward: hint: " + hint + end
	}
	return x.s.Tell(frame.Append(nil, frame.Message, []byte(msg)))
}

func (x *channel) exit(status uint32) {
	_ = x.s.Tell(frame.AppendExit(nil, status))
}

// deny tells the client why its request did not run.
func (x *channel) deny(d *doorward.Denial) {
	_ = x.say(d.Error(), d.Hint)
	status := uint32(statusRefused)
	if d.Decision == "error" {
		status = relay.StatusFailed
	}
	x.exit(status)
}
