package upstream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	classify "github.com/doorward/doorward/internal/classify/ssh"
	"github.com/doorward/doorward/internal/gate"
)

// SSHOptions says how a host is reached by SSH.
type SSHOptions struct {
	Name     string
	Address  string // host:port
	User     string // account when the client names none
	Accounts []string
	HostKeys []ssh.PublicKey // pinned; at least one
	// Auth gives the ways to sign in as an account, asked at each connection,
	// so that keys and passwords can rotate.
	Auth func(account string, s *gate.Session) ([]ssh.AuthMethod, error)
}

// SSH is a host behind the gate: it dials, and nothing else can.
type SSH struct{ opt SSHOptions }

// ErrHostKey says that the host showed a key that is not pinned.
var ErrHostKey = errors.New("the host's key is not the pinned one")

// ErrAccount says that a client named an account that the target does not lend.
var ErrAccount = errors.New("no such account on this target")

// NewSSH checks the options of a target.
func NewSSH(opt SSHOptions) (*SSH, error) {
	switch {
	case opt.Auth == nil || opt.User == "":
		return nil, fmt.Errorf("target %s: no account or no way to sign in", opt.Name)
	case len(opt.HostKeys) == 0:
		return nil, fmt.Errorf("target %s: no host key is pinned", opt.Name)
	}
	return &SSH{opt}, nil
}

// Dial signs in for a session as one of the target's accounts ("": the usual
// one). The session is the only one whose permits can be sent.
func (t *SSH) Dial(ctx context.Context, s *gate.Session, account string) (*SSHConn, error) {
	if s == nil {
		return nil, errors.New("upstream: no session")
	}
	raw, conn, chans, reqs, err := t.connect(ctx, s, account)
	if err != nil {
		return nil, err
	}
	c := &SSHConn{raw: raw, conn: conn, session: s, account: account}
	go ssh.DiscardRequests(reqs)
	go c.refuse(chans)
	s.OnKill(c.Abort)
	return c, nil
}

// Probe signs in and out again, to see whether the target is there, shows the
// pinned key and lets doorward in.
func (t *SSH) Probe(ctx context.Context) error {
	raw, conn, chans, reqs, err := t.connect(ctx, nil, "")
	if err != nil {
		return err
	}
	go ssh.DiscardRequests(reqs)
	go func() {
		for n := range chans {
			_ = n.Reject(ssh.Prohibited, "not let through")
		}
	}()
	return errors.Join(conn.Close(), ignoreClosed(raw.Close()))
}

func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// connect dials and signs in.
func (t *SSH) connect(ctx context.Context, s *gate.Session, account string) (net.Conn, ssh.Conn, <-chan ssh.NewChannel, <-chan *ssh.Request, error) {
	fail := func(err error) (net.Conn, ssh.Conn, <-chan ssh.NewChannel, <-chan *ssh.Request, error) {
		return nil, nil, nil, nil, err
	}
	user := account
	if user == "" {
		user = t.opt.User
	}
	if !slices.Contains(t.opt.Accounts, user) {
		return fail(ErrAccount)
	}
	auth, err := t.opt.Auth(user, s)
	if err != nil {
		return fail(fmt.Errorf("the credential of target %s cannot be had: %w", t.opt.Name, err))
	}
	var wrong bool
	cfg := &ssh.ClientConfig{
		User: user, Auth: auth, Timeout: dialTimeout, ClientVersion: "SSH-2.0-doorward",
		HostKeyAlgorithms: t.algorithms(),
		HostKeyCallback: func(_ string, _ net.Addr, key ssh.PublicKey) error {
			for _, k := range t.opt.HostKeys {
				if bytes.Equal(k.Marshal(), key.Marshal()) {
					return nil
				}
			}
			wrong = true
			return ErrHostKey
		},
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	raw, err := (&net.Dialer{}).DialContext(ctx, "tcp", t.opt.Address)
	if err != nil {
		return fail(fmt.Errorf("target %s: %w", t.opt.Name, err))
	}
	_ = raw.SetDeadline(time.Now().Add(dialTimeout))
	stop := context.AfterFunc(ctx, func() { _ = raw.Close() })
	conn, chans, reqs, err := ssh.NewClientConn(raw, t.opt.Address, cfg)
	stop()
	if err != nil {
		_ = raw.Close()
		if wrong || strings.Contains(err.Error(), "no common algorithm for host key") {
			err = ErrHostKey
		}
		return fail(fmt.Errorf("target %s does not let doorward in: %w", t.opt.Name, err))
	}
	_ = raw.SetDeadline(time.Time{})
	return raw, conn, chans, reqs, nil
}

// algorithms are those of the pinned keys: the host is asked for a key that can
// be checked.
func (t *SSH) algorithms() []string {
	var out []string
	for _, k := range t.opt.HostKeys {
		if k.Type() == ssh.KeyAlgoRSA {
			out = append(out, ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256)
			continue
		}
		out = append(out, k.Type())
	}
	return out
}

// SSHConn is a connection to a host that is bound to one session.
type SSHConn struct {
	raw     net.Conn
	conn    ssh.Conn
	session *gate.Session
	account string

	mu       sync.Mutex
	running  *SSHProcess
	aborting sync.Once
}

// refuse turns away what the host wants to open on its own: agent, X11 and
// forwarded connections.
func (c *SSHConn) refuse(chans <-chan ssh.NewChannel) {
	for n := range chans {
		_ = c.session.Note(fmt.Sprintf("the target wanted to open a channel %.64q: refused", n.ChannelType()))
		_ = n.Reject(ssh.Prohibited, "not let through")
	}
}

// take spends a permit and gives the request that it is for. The bytes of the
// permit are the request's text, which is what was judged.
func (c *SSHConn) take(p *gate.Permit, kinds ...string) (*classify.Request, error) {
	text, err := p.Spend(c.session)
	if err != nil {
		return nil, err
	}
	r, err := classify.Parse(string(text))
	if err != nil {
		return nil, errors.Join(gate.ErrPermit, err)
	}
	if r.Account != c.account || !slices.Contains(kinds, r.Kind) {
		return nil, errors.Join(gate.ErrPermit, errors.New("it is for something else"))
	}
	return r, nil
}

// SSHProcess is a command, shell or subsystem that runs on the host. What is
// written to it goes under the permit that started it.
type SSHProcess struct {
	ch      ssh.Channel
	ended   chan End
	session *gate.Session
}

// Stream writes what the client streams under the spent permit that started
// the process.
func (p *SSHProcess) Stream(permit *gate.Permit, b []byte) error {
	if err := permit.Streaming(p.session); err != nil {
		return err
	}
	_, err := p.ch.Write(b)
	return err
}

// Read reads what it writes to standard output.
func (p *SSHProcess) Read(b []byte) (int, error) { return p.ch.Read(b) }

// Stderr is what it writes to standard error.
func (p *SSHProcess) Stderr() io.Reader { return readOnly{p.ch.Stderr()} }

type readOnly struct{ from io.Reader }

func (r readOnly) Read(b []byte) (int, error) { return r.from.Read(b) }

// CloseWrite tells it that no more input comes.
func (p *SSHProcess) CloseWrite() error { return p.ch.CloseWrite() }

// Close closes its channel.
func (p *SSHProcess) Close() error { return p.ch.Close() }

// Ended gets one value when the host says how it ended, or closes.
func (p *SSHProcess) Ended() <-chan End { return p.ended }

// End is how a process ended.
type End struct {
	Status uint32
	Signal string // name without SIG; "" when there is a status
	Known  bool   // the target said so

	Failure string // why it did not run, or not to its end, in the target's words
}

// Start spends the permit and runs what it is for: exec, shell or subsystem.
func (c *SSHConn) Start(p *gate.Permit) (*SSHProcess, error) {
	r, err := c.take(p, "exec", "shell", "subsystem")
	if err != nil {
		return nil, err
	}
	ch, reqs, err := c.conn.OpenChannel("session", nil)
	if err != nil {
		return nil, fmt.Errorf("the target opens no session: %w", err)
	}
	proc := &SSHProcess{ch: ch, ended: make(chan End, 1), session: c.session}
	go proc.watch(reqs)
	if err := start(ch, r); err != nil {
		_ = ch.Close()
		return nil, err
	}
	c.mu.Lock()
	c.running = proc
	c.mu.Unlock()
	return proc, nil
}

// start sends the requests of RFC 4254, section 6.
func start(ch ssh.Channel, r *classify.Request) error {
	for _, v := range r.Env {
		if _, err := ch.SendRequest("env", false, ssh.Marshal(struct{ Name, Value string }{v.Name, v.Value})); err != nil {
			return err
		}
	}
	if r.PTY != nil {
		msg := struct {
			Term                         string
			Columns, Rows, Width, Height uint32
			Modes                        string
		}{r.PTY.Term, r.PTY.Columns, r.PTY.Rows, 0, 0, string(r.PTY.Modes)}
		if ok, err := ch.SendRequest("pty-req", true, ssh.Marshal(msg)); err != nil || !ok {
			return errors.Join(errors.New("the target gives no terminal"), err)
		}
	}
	var ok bool
	var err error
	switch r.Kind {
	case "exec":
		ok, err = ch.SendRequest("exec", true, ssh.Marshal(struct{ Command string }{r.Command}))
	case "shell":
		ok, err = ch.SendRequest("shell", true, nil)
	case "subsystem":
		ok, err = ch.SendRequest("subsystem", true, ssh.Marshal(struct{ Name string }{r.Subsystem}))
	}
	if err == nil && !ok {
		err = errors.New("the target refused to run it")
	}
	return err
}

func (p *SSHProcess) watch(reqs <-chan *ssh.Request) {
	var end End
	for r := range reqs {
		switch r.Type {
		case "exit-status":
			var m struct{ Status uint32 }
			if ssh.Unmarshal(r.Payload, &m) == nil {
				end = End{Status: m.Status, Known: true}
			}
		case "exit-signal":
			var m struct {
				Signal        string
				Core          bool
				Message, Lang string
			}
			if ssh.Unmarshal(r.Payload, &m) == nil && len(m.Signal) <= 32 {
				end = End{Signal: m.Signal, Known: true}
			}
		}
		if r.WantReply {
			_ = r.Reply(false, nil)
		}
	}
	p.ended <- end
	close(p.ended)
}

// Resize tells the host the size of the client's window.
func (p *SSHProcess) Resize(columns, rows uint32) error {
	_, err := p.ch.SendRequest("window-change", false, ssh.Marshal(struct{ Columns, Rows, Width, Height uint32 }{columns, rows, 0, 0}))
	return err
}

// signals are those of RFC 4254, section 6.10.
var signals = []string{"ABRT", "ALRM", "FPE", "HUP", "ILL", "INT", "KILL", "PIPE", "QUIT", "SEGV", "TERM", "USR1", "USR2"}

// Signal sends a signal to what runs. Others than those of RFC 4254 are refused.
func (p *SSHProcess) Signal(name string) error {
	if !slices.Contains(signals, name) {
		return fmt.Errorf("signal %.32q is not one of RFC 4254", name)
	}
	_, err := p.ch.SendRequest("signal", false, ssh.Marshal(struct{ Name string }{name}))
	return err
}

// Forwarded is a TCP connection that the host made.
type Forwarded struct {
	ended   chan struct{}
	ch      ssh.Channel
	session *gate.Session
}

// Ended is closed once the host has closed it.
func (f *Forwarded) Ended() <-chan struct{} { return f.ended }

// Read reads what comes from there.
func (f *Forwarded) Read(b []byte) (int, error) { return f.ch.Read(b) }

// Stream writes what the client sends, under the spent permit that opened it.
func (f *Forwarded) Stream(permit *gate.Permit, b []byte) error {
	if err := permit.Streaming(f.session); err != nil {
		return err
	}
	_, err := f.ch.Write(b)
	return err
}

// CloseWrite tells the other side that no more comes.
func (f *Forwarded) CloseWrite() error { return f.ch.CloseWrite() }

// Close ends the connection.
func (f *Forwarded) Close() error { return f.ch.Close() }

// Forward spends the permit and opens the connection that it is for.
func (c *SSHConn) Forward(p *gate.Permit) (*Forwarded, error) {
	r, err := c.take(p, "forward")
	if err != nil {
		return nil, err
	}
	ch, reqs, err := c.conn.OpenChannel("direct-tcpip", ssh.Marshal(struct {
		Host       string
		Port       uint32
		Origin     string
		OriginPort uint32
	}{r.Host, r.Port, "127.0.0.1", 0}))
	if err != nil {
		return nil, fmt.Errorf("the target does not connect: %w", err)
	}
	f := &Forwarded{make(chan struct{}), ch, c.session}
	go func() {
		ssh.DiscardRequests(reqs)
		close(f.ended)
	}()
	return f, nil
}

// Abort ends the connection and what runs on it: a host lets a command without
// a terminal go on when its client leaves, so it is told to end it.
func (c *SSHConn) Abort() {
	c.aborting.Do(func() {
		_ = c.raw.SetWriteDeadline(time.Now().Add(time.Second))
		c.mu.Lock()
		p := c.running
		c.mu.Unlock()
		if p != nil {
			_ = p.Signal("TERM")
			_ = p.Signal("KILL")
		}
		_ = c.conn.Close()
	})
}

// Close ends the connection.
func (c *SSHConn) Close() error {
	c.aborting.Do(func() {
		_ = c.raw.SetWriteDeadline(time.Now().Add(time.Second))
		_ = c.conn.Close()
	})
	return nil
}
