package sshtest

import (
	"fmt"
	"net"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
)

// Rogue is an SSH server that lets every key in and does what a test wants of
// an upstream that misbehaves.
type Rogue struct {
	HostKey string // public: the one that it shows now

	l      net.Listener
	mu     sync.Mutex
	signer ssh.Signer
	script Script
	seen   []string
	opened map[string]string
	conns  map[net.Conn]bool
	served sync.WaitGroup
}

// Script is what the server does from now on.
type Script struct {
	Output  []byte   // answer of every command, with exit status 0
	Open    []string // kinds of channels that it opens to the client when a command comes
	Global  []string // requests that it makes on the connection when a command comes
	Request []string // requests that it makes on the command's channel
	Banner  string   // shown before the sign-in
}

// StartRogue runs one on a free loopback port.
func StartRogue() (*Rogue, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &Rogue{l: l, conns: map[net.Conn]bool{}, opened: map[string]string{}}
	if err := r.ReplaceHostKey(); err != nil {
		l.Close()
		return nil, err
	}
	r.served.Go(func() {
		for {
			raw, err := l.Accept()
			if err != nil {
				return
			}
			r.mu.Lock()
			r.conns[raw] = true
			r.mu.Unlock()
			r.served.Go(func() {
				r.serve(raw)
				raw.Close()
				r.mu.Lock()
				delete(r.conns, raw)
				r.mu.Unlock()
			})
		}
	})
	return r, nil
}

// Addr is host:port.
func (r *Rogue) Addr() string { return r.l.Addr().String() }

// Do sets the script and forgets what was seen.
func (r *Rogue) Do(s Script) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.script, r.seen, r.opened = s, nil, map[string]string{}
}

// ReplaceHostKey has new connections see another host key.
func (r *Rogue) ReplaceHostKey() error {
	_, signer, err := NewKey()
	if err != nil {
		return err
	}
	r.UseHostKey(signer)
	return nil
}

// Signer is the host key in use.
func (r *Rogue) Signer() ssh.Signer {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.signer
}

// UseHostKey has new connections see this key.
func (r *Rogue) UseHostKey(s ssh.Signer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.signer, r.HostKey = s, Line(s.PublicKey())
}

// Seen lists what clients asked for: "user root", "env LANG=C", "exec uptime",
// "channel direct-tcpip" and so on, in order.
func (r *Rogue) Seen() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.seen...)
}

// Opened says how each channel and request that the script opened was
// answered: "accepted", or the refusal.
func (r *Rogue) Opened() map[string]string {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := map[string]string{}
	for k, v := range r.opened {
		out[k] = v
	}
	return out
}

func (r *Rogue) note(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.seen) < 10000 {
		r.seen = append(r.seen, fmt.Sprintf(format, args...))
	}
}

func (r *Rogue) answered(what, how string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.opened[what] = how
}

// Close ends it and all its connections.
func (r *Rogue) Close() {
	r.l.Close()
	r.mu.Lock()
	for c := range r.conns {
		c.Close()
	}
	r.mu.Unlock()
	r.served.Wait()
}

func (r *Rogue) serve(raw net.Conn) {
	r.mu.Lock()
	script, signer := r.script, r.signer
	r.mu.Unlock()
	cfg := &ssh.ServerConfig{
		PublicKeyCallback: func(ssh.ConnMetadata, ssh.PublicKey) (*ssh.Permissions, error) { return nil, nil },
		PasswordCallback:  func(ssh.ConnMetadata, []byte) (*ssh.Permissions, error) { return nil, nil },
	}
	if script.Banner != "" {
		cfg.BannerCallback = func(ssh.ConnMetadata) string { return script.Banner }
	}
	cfg.AddHostKey(signer)
	_ = raw.SetDeadline(time.Now().Add(20 * time.Second))
	conn, chans, reqs, err := ssh.NewServerConn(raw, cfg)
	if err != nil {
		r.note("handshake failed")
		return
	}
	_ = raw.SetDeadline(time.Time{})
	r.note("user %s", conn.User())
	r.served.Go(func() {
		for q := range reqs {
			r.note("global %s", q.Type)
			if q.WantReply {
				_ = q.Reply(false, nil)
			}
		}
	})
	for n := range chans {
		if n.ChannelType() != "session" {
			r.note("channel %s", n.ChannelType())
			_ = n.Reject(ssh.Prohibited, "not here")
			continue
		}
		ch, in, err := n.Accept()
		if err != nil {
			return
		}
		r.served.Go(func() { r.session(conn, ch, in, script) })
	}
}

func (r *Rogue) session(conn ssh.Conn, ch ssh.Channel, in <-chan *ssh.Request, script Script) {
	defer ch.Close()
	for q := range in {
		switch q.Type {
		case "exec", "subsystem":
			var m struct{ Text string }
			_ = ssh.Unmarshal(q.Payload, &m)
			r.note("%s %s", q.Type, m.Text)
		case "env":
			var m struct{ Name, Value string }
			_ = ssh.Unmarshal(q.Payload, &m)
			r.note("env %s=%s", m.Name, m.Value)
		default:
			r.note("%s", q.Type)
		}
		if q.WantReply {
			_ = q.Reply(true, nil)
		}
		if q.Type != "exec" && q.Type != "shell" && q.Type != "subsystem" {
			continue
		}
		r.misbehave(conn, ch, script)
		_, _ = ch.Write(script.Output)
		_, _ = ch.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{0}))
		return
	}
}

// misbehave opens and asks for what no upstream should.
func (r *Rogue) misbehave(conn ssh.Conn, ch ssh.Channel, script Script) {
	for _, kind := range script.Open {
		opened, reqs, err := conn.OpenChannel(kind, openData(kind))
		if err != nil {
			r.answered("channel "+kind, err.Error())
			continue
		}
		go ssh.DiscardRequests(reqs)
		_, _ = opened.Write([]byte("from-the-upstream"))
		opened.Close()
		r.answered("channel "+kind, "accepted")
	}
	for _, kind := range script.Global {
		r.request("global "+kind, func() (bool, error) {
			ok, _, err := conn.SendRequest(kind, true, openData(kind))
			return ok, err
		})
	}
	for _, kind := range script.Request {
		r.request("request "+kind, func() (bool, error) { return ch.SendRequest(kind, true, openData(kind)) })
	}
}

func (r *Rogue) request(what string, ask func() (bool, error)) {
	ok, err := ask()
	switch {
	case err != nil:
		r.answered(what, err.Error())
	case ok:
		r.answered(what, "accepted")
	default:
		r.answered(what, "refused")
	}
}

// openData is what a request or a channel of this kind carries (RFC 4254).
func openData(kind string) []byte {
	switch kind {
	case "forwarded-tcpip", "direct-tcpip":
		return ssh.Marshal(struct {
			Host   string
			Port   uint32
			From   string
			Origin uint32
		}{"127.0.0.1", 22, "127.0.0.1", 1234})
	case "forwarded-streamlocal@openssh.com":
		return ssh.Marshal(struct{ Path, Reserved string }{"/tmp/s", ""})
	case "x11":
		return ssh.Marshal(struct {
			From   string
			Origin uint32
		}{"127.0.0.1", 1234})
	case "exec", "subsystem":
		return ssh.Marshal(struct{ Text string }{"id"})
	case "tcpip-forward":
		return ssh.Marshal(struct {
			Host string
			Port uint32
		}{"0.0.0.0", 9999})
	}
	return nil
}
