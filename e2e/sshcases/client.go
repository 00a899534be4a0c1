package sshcases

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
)

// seen is what the client saw. Its fields are read under mu until the client
// is closed.
type seen struct {
	mu      sync.Mutex
	bytes   []byte         // everything that was said to the client, in the clear
	stdout  []byte         // of the session's channels
	stderr  []byte         //
	denied  map[int]string // by step: how it was refused
	status  []uint32       // exit statuses that came
	signal  string         // exit signal
	refused string         // why there was no sign-in
	held    []int64        // reviews that the client was told of
	changed chan struct{}
}

var heldLine = regexp.MustCompile(`doorward: held for approval, review (\d+)`)

// deniedStatus is the exit status of what doorward refuses.
const deniedStatus = 126

func newSeen() *seen { return &seen{denied: map[int]string{}, changed: make(chan struct{}, 1)} }

func (s *seen) poke() {
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

func (s *seen) say(b []byte) {
	s.mu.Lock()
	s.bytes = append(append(s.bytes, b...), '\n')
	s.mu.Unlock()
}

func (s *seen) deny(step int, format string, args ...any) {
	why := fmt.Sprintf(format, args...)
	s.mu.Lock()
	if s.denied[step] == "" {
		s.denied[step] = why
	}
	s.bytes = append(append(s.bytes, why...), '\n')
	s.mu.Unlock()
	s.poke()
}

func (s *seen) output(errs bool, b []byte) {
	s.mu.Lock()
	if s.bytes = append(s.bytes, b...); errs {
		s.stderr = append(s.stderr, b...)
		s.held = s.held[:0]
		for _, m := range heldLine.FindAllSubmatch(s.stderr, -1) {
			if n, err := strconv.ParseInt(string(m[1]), 10, 64); err == nil {
				s.held = append(s.held, n)
			}
		}
	} else {
		s.stdout = append(s.stdout, b...)
	}
	s.mu.Unlock()
	s.poke()
}

// isHeld gives the review that the client waits for, 0 for none.
func (s *seen) isHeld() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.held) == 0 {
		return 0
	}
	return s.held[len(s.held)-1]
}

// wait waits until cond holds, or the time is over.
func (s *seen) wait(limit time.Duration, cond func() bool) bool {
	deadline := time.After(limit)
	for {
		if cond() {
			return true
		}
		select {
		case <-s.changed:
		case <-time.After(20 * time.Millisecond):
		case <-deadline:
			return cond()
		}
	}
}

// client drives one connection.
type client struct {
	*seen
	conn     ssh.Conn
	chans    []*channel
	done     chan struct{} // closed when the connection has ended
	upstream []string      // channels that the server opened
}

// channel is one open channel of kind session.
type channel struct {
	ssh.Channel
	acts []int         // steps that asked for something to run
	over chan struct{} // closed when the channel is
}

// dialed says how a connection is made.
type dialed struct {
	addr   string
	config ssh.ClientConfig
	prefix string // bytes in front of the version
}

// dial signs in. A refusal is not an error: it stands in seen.
func dial(ctx context.Context, d dialed) (*client, error) {
	c := &client{seen: newSeen(), done: make(chan struct{})}
	raw, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "tcp", d.addr)
	if err != nil {
		return nil, err
	}
	_ = raw.SetDeadline(time.Now().Add(30 * time.Second))
	if d.prefix != "" {
		if _, err := io.WriteString(raw, d.prefix); err != nil {
			c.refused = err.Error()
		}
	}
	d.config.BannerCallback = func(m string) error { c.say([]byte(m)); return nil }
	conn, chans, reqs, err := ssh.NewClientConn(raw, d.addr, &d.config)
	if err != nil {
		raw.Close()
		close(c.done)
		c.refused = err.Error()
		c.say([]byte(err.Error()))
		return c, nil
	}
	_ = raw.SetDeadline(time.Time{})
	c.conn = conn
	go func() {
		for q := range reqs {
			c.say(append([]byte(q.Type+" "), q.Payload...))
			if q.WantReply {
				_ = q.Reply(false, nil)
			}
		}
	}()
	go func() {
		// A client that would take whatever the server opens.
		for n := range chans {
			c.mu.Lock()
			c.upstream = append(c.upstream, n.ChannelType())
			c.mu.Unlock()
			if ch, in, err := n.Accept(); err == nil {
				go ssh.DiscardRequests(in)
				go c.copy(ch, false)
			}
		}
	}()
	go func() {
		_ = conn.Wait()
		close(c.done)
		c.poke()
	}()
	return c, nil
}

func (c *client) close() {
	if c.conn != nil {
		_ = c.conn.Close()
		<-c.done
	}
}

func (c *client) copy(r io.Reader, errs bool) {
	b := make([]byte, 32<<10)
	for {
		n, err := r.Read(b)
		if n > 0 {
			c.output(errs, b[:n])
		}
		if err != nil {
			return
		}
	}
}

func (c *client) closed() bool {
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}

// within runs f, which may hang, and gives up after a while or when the client
// is told that it has to wait for an approval.
func (c *client) within(limit time.Duration, f func() error) error {
	done := make(chan error, 1)
	go func() { done <- f() }()
	deadline := time.After(limit)
	for {
		select {
		case err := <-done:
			return err
		case <-deadline:
			return errors.New("no answer within " + limit.String())
		case <-time.After(20 * time.Millisecond):
			if c.isHeld() != 0 {
				return errHeld
			}
		}
	}
}

var errHeld = errors.New("held")

// openLimit and replyLimit are how long an answer may take.
const (
	openLimit  = 15 * time.Second
	replyLimit = 15 * time.Second
)

// session opens a channel of kind session; nil: it was refused.
func (c *client) session(step int) *channel {
	var ch ssh.Channel
	var in <-chan *ssh.Request
	err := c.within(openLimit, func() (err error) { ch, in, err = c.conn.OpenChannel("session", nil); return })
	if err != nil {
		c.deny(step, "channel session: %v", err)
		return nil
	}
	out := &channel{Channel: ch, over: make(chan struct{})}
	c.chans = append(c.chans, out)
	var copies sync.WaitGroup
	copies.Go(func() { c.copy(ch, false) })
	copies.Go(func() { c.copy(ch.Stderr(), true) })
	go func() {
		for q := range in {
			c.say(append([]byte(q.Type+" "), q.Payload...))
			c.ended(q)
			if q.WantReply {
				_ = q.Reply(false, nil)
			}
		}
		copies.Wait()
		close(out.over)
		c.poke()
	}()
	return out
}

func (c *client) ended(q *ssh.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch q.Type {
	case "exit-status":
		var m struct{ Status uint32 }
		if ssh.Unmarshal(q.Payload, &m) == nil {
			c.status = append(c.status, m.Status)
		}
	case "exit-signal":
		var m struct {
			Signal     string
			Core       bool
			Text, Lang string
		}
		if ssh.Unmarshal(q.Payload, &m) == nil {
			c.signal = m.Signal
		}
	}
}

// runs reports whether a request asks for something to run.
func runs(kind string) bool { return kind == "exec" || kind == "shell" || kind == "subsystem" }

// request sends one request on the channel.
func (c *client) request(ch *channel, i int, s *Step, cs *Case) error {
	payload, err := requestData(s, cs)
	if err != nil {
		return err
	}
	want := s.WantReply == nil || *s.WantReply
	if s.WantReply == nil && (s.Req == "signal" || s.Req == "window-change") {
		want = false // RFC 4254 wants none for these
	}
	if runs(s.Req) {
		ch.acts = append(ch.acts, i)
	}
	var ok bool
	err = c.within(replyLimit, func() (err error) { ok, err = ch.SendRequest(s.Req, want, payload); return })
	switch {
	case errors.Is(err, errHeld):
		return nil
	case err != nil:
		c.deny(i, "%s: %v", s.Req, err)
	case want && !ok:
		c.deny(i, "%s: refused", s.Req)
	}
	if s.Stdin != "" {
		_, _ = io.WriteString(ch, s.Stdin)
	}
	return nil
}

// requestData is what a request carries (RFC 4254, section 6).
func requestData(s *Step, c *Case) ([]byte, error) {
	if s.Data != "" {
		return hex.DecodeString(s.Data)
	}
	switch s.Req {
	case "exec":
		text, err := s.text(c)
		return ssh.Marshal(struct{ Text string }{text}), err
	case "subsystem":
		return ssh.Marshal(struct{ Name string }{s.Name}), nil
	case "env":
		return ssh.Marshal(struct{ Name, Value string }{s.Name, s.Value}), nil
	case "pty-req":
		modes, err := hex.DecodeString(s.Modes)
		if s.Modes == "" {
			modes = []byte{0}
		}
		return ssh.Marshal(struct {
			Term                         string
			Columns, Rows, Width, Height uint32
			Modes                        string
		}{or(s.Term, "xterm-256color"), number(s.Columns, 80), number(s.Rows, 24), 0, 0, string(modes)}), err
	case "window-change":
		return ssh.Marshal(struct{ Columns, Rows, Width, Height uint32 }{number(s.Columns, 132), number(s.Rows, 50), 0, 0}), nil
	case "signal":
		return ssh.Marshal(struct{ Name string }{or(s.Signal, or(s.Name, "TERM"))}), nil
	case "break":
		return ssh.Marshal(struct{ Milliseconds uint32 }{500}), nil
	case "x11-req":
		return ssh.Marshal(struct {
			Single         bool
			Method, Cookie string
			Screen         uint32
		}{false, "MIT-MAGIC-COOKIE-1", strings.Repeat("0123456789abcdef", 2), 0}), nil
	case "shell", "auth-agent-req@openssh.com", "auth-agent-req", "keepalive@openssh.com", "eow@openssh.com":
		return nil, nil
	}
	return nil, fmt.Errorf("request %q is not known", s.Req)
}

func or(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

func number(p *uint32, or uint32) uint32 {
	if p != nil {
		return *p
	}
	return or
}

// connects is what "direct-tcpip" and "forwarded-tcpip" carry.
type connects struct {
	Host   string
	Port   uint32
	Origin string
	From   uint32
}

// open opens a channel that is not a session. One that opens is written to and
// read, for what there is to be seen.
func (c *client) open(i int, s *Step) error {
	var data []byte
	switch s.Channel {
	case "direct-tcpip", "forwarded-tcpip":
		data = ssh.Marshal(connects{s.Host, s.Port, "127.0.0.1", 40000})
	case "direct-streamlocal@openssh.com":
		data = ssh.Marshal(struct {
			Path, Reserved string
			Port           uint32
		}{s.Path, "", 0})
	case "forwarded-streamlocal@openssh.com":
		data = ssh.Marshal(struct{ Path, Reserved string }{s.Path, ""})
	case "tun@openssh.com":
		data = ssh.Marshal(struct{ Mode, Unit uint32 }{1, 0x7fffffff})
	case "x11":
		data = ssh.Marshal(struct {
			Origin string
			From   uint32
		}{"127.0.0.1", 40000})
	case "auth-agent@openssh.com", "auth-agent":
	default:
		if s.Data == "" {
			return fmt.Errorf("channel %q is not known", s.Channel)
		}
	}
	if s.Data != "" {
		var err error
		if data, err = hex.DecodeString(s.Data); err != nil {
			return err
		}
	}
	var ch ssh.Channel
	var in <-chan *ssh.Request
	err := c.within(openLimit, func() (err error) { ch, in, err = c.conn.OpenChannel(s.Channel, data); return })
	if err != nil {
		if !errors.Is(err, errHeld) {
			c.deny(i, "channel %s: %v", s.Channel, err)
		}
		return nil
	}
	go ssh.DiscardRequests(in)
	go c.copy(ch, false)
	_, _ = io.WriteString(ch, "SSH-2.0-attacker\r\n")
	time.Sleep(300 * time.Millisecond)
	_ = ch.Close()
	return nil
}

// global makes a request on the connection.
func (c *client) global(i int, s *Step) error {
	var data []byte
	var err error
	switch {
	case s.Data != "":
		data, err = hex.DecodeString(s.Data)
	case s.Global == "tcpip-forward" || s.Global == "cancel-tcpip-forward":
		data = ssh.Marshal(struct {
			Host string
			Port uint32
		}{s.Host, s.Port})
	case strings.HasSuffix(s.Global, "streamlocal-forward@openssh.com"):
		data = ssh.Marshal(struct{ Path string }{s.Path})
	case s.Global == "no-more-sessions@openssh.com" || s.Global == "keepalive@openssh.com":
	default:
		err = fmt.Errorf("global request %q is not known", s.Global)
	}
	if err != nil {
		return err
	}
	want := s.WantReply == nil || *s.WantReply
	var ok bool
	var answer []byte
	err = c.within(replyLimit, func() (err error) { ok, answer, err = c.conn.SendRequest(s.Global, want, data); return })
	switch {
	case err != nil:
		c.deny(i, "global %s: %v", s.Global, err)
	case want && !ok:
		c.deny(i, "global %s: refused", s.Global)
	}
	c.say(answer)
	return nil
}
