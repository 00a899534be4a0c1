package ssh

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/doorward/doorward"
	"github.com/doorward/doorward/internal/gate"
	"github.com/doorward/doorward/internal/upstream"
)

const (
	signInTimeout = 30 * time.Second
	idleTimeout   = 10 * time.Minute // a connection without any channel
	killGrace     = 2 * time.Second
	maxChannels   = 32 // of one connection
	maxTries      = 6
)

// Principal is what stands in the certificates that doorward's own authority
// signs for clients: they are good for doorward, and for no host.
const Principal = "doorward-client"

// CredentialExtension is the extension of such a certificate that holds the id
// of the credential that it stands for.
const CredentialExtension = "credential@doorward"

// Options wires the adapter.
type Options struct {
	HostKey   ssh.Signer // shown to clients; may be a host certificate
	Authority ssh.PublicKey
	Dial      func(ctx context.Context, s *gate.Session, account string) (*upstream.SSHConn, error)
	Allowed   func(target string) []string // environment variables that clients may set
	Log       *slog.Logger
}

// Server serves SSH clients.
type Server struct {
	opt Options
}

// New makes a server.
func New(opt Options) *Server {
	if opt.Log == nil {
		opt.Log = slog.Default()
	}
	return &Server{opt: opt}
}

// connection is one client's SSH connection.
type connection struct {
	srv     *Server
	gate    *gate.Gate
	raw     net.Conn
	conn    *ssh.ServerConn
	cred    doorward.Credential
	account string
	target  string
	open    atomic.Int32 // channels
	served  sync.WaitGroup
	left    chan struct{} // closed once the client's connection has ended

	mu    sync.Mutex
	spare *channelSession // of the sign-in, until the first channel takes it
}

// channelSession is a session of the gate with the channel that it writes to.
type channelSession struct {
	*gate.Session
	sink *sink
}

// Serve serves one connection until it ends. It owns raw.
func (srv *Server) Serve(ctx context.Context, g *gate.Gate, raw net.Conn) error {
	defer raw.Close()
	c := &connection{srv: srv, gate: g, raw: raw, left: make(chan struct{})}
	defer c.dropSpare(nil)
	_ = raw.SetDeadline(time.Now().Add(signInTimeout))
	conn, chans, reqs, err := ssh.NewServerConn(&strict{Conn: raw}, c.config(ctx))
	if err != nil {
		return err
	}
	_ = raw.SetDeadline(time.Time{})
	c.conn = conn
	defer conn.Close()
	if c.spare == nil {
		return errors.New("a connection was signed in without a session")
	}
	go func() {
		defer close(c.left)
		_ = conn.Wait()
	}()
	go c.guard(func() { c.global(ctx, reqs) })
	return c.channels(ctx, chans)
}

// config is made for each connection: its callbacks belong to it.
func (c *connection) config(ctx context.Context) *ssh.ServerConfig {
	cfg := &ssh.ServerConfig{
		MaxAuthTries: maxTries, ServerVersion: "SSH-2.0-doorward",
		PasswordCallback: func(m ssh.ConnMetadata, password []byte) (*ssh.Permissions, error) {
			return nil, c.signIn(ctx, m, doorward.Credential{Secret: string(password)})
		},
		PublicKeyCallback: func(_ ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
			id, err := c.srv.certified(key)
			if err != nil {
				return nil, err
			}
			return &ssh.Permissions{Extensions: map[string]string{CredentialExtension: id}}, nil
		},
		// Only here it is shown that the client has the key.
		VerifiedPublicKeyCallback: func(m ssh.ConnMetadata, key ssh.PublicKey, p *ssh.Permissions, _ string) (*ssh.Permissions, error) {
			id, err := c.srv.certified(key)
			if err != nil {
				return nil, err
			}
			return p, c.signIn(ctx, m, doorward.Credential{ByID: id})
		},
	}
	// What Terrapin (CVE-2023-48795) weakens is safe only under strict key
	// exchange, which not every client knows: ChaCha20-Poly1305 and MACs over
	// the encrypted text are not spoken.
	cfg.Ciphers = []string{ssh.CipherAES128GCM, ssh.CipherAES256GCM, ssh.CipherAES128CTR, ssh.CipherAES192CTR, ssh.CipherAES256CTR}
	cfg.MACs = []string{ssh.HMACSHA256, ssh.HMACSHA512}
	cfg.AddHostKey(c.srv.opt.HostKey)
	return cfg
}

// certified checks a certificate of doorward's own authority and gives the id
// of the credential in it.
func (srv *Server) certified(key ssh.PublicKey) (string, error) {
	cert, ok := key.(*ssh.Certificate)
	if !ok || srv.opt.Authority == nil {
		return "", errors.New("plain keys are not taken; `doorward ssh-cert` gives a certificate")
	}
	if cert.CertType != ssh.UserCert || !bytes.Equal(cert.SignatureKey.Marshal(), srv.opt.Authority.Marshal()) {
		return "", errors.New("the certificate is not of doorward's authority")
	}
	switch cert.Key.Type() {
	case ssh.KeyAlgoED25519, ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521, ssh.KeyAlgoRSA:
	default:
		return "", fmt.Errorf("a certificate for a key of type %.40q is not taken", cert.Key.Type())
	}
	if len(cert.CriticalOptions) > 0 {
		return "", errors.New("the certificate has options that doorward does not know")
	}
	if len(cert.ValidPrincipals) != 1 || cert.ValidPrincipals[0] != Principal { // none would mean any
		return "", errors.New("the certificate is for something else than doorward")
	}
	checker := &ssh.CertChecker{}
	if err := checker.CheckCert(Principal, cert); err != nil {
		return "", fmt.Errorf("the certificate is not good: %w", err)
	}
	id := cert.Extensions[CredentialExtension]
	if id == "" {
		return "", errors.New("the certificate names no credential")
	}
	return id, nil
}

// signIn opens the connection's first session with the gate. An error is shown
// to the client as a banner: SSH itself says only that it failed.
func (c *connection) signIn(ctx context.Context, m ssh.ConnMetadata, cred doorward.Credential) error {
	c.dropSpare(nil)                   // of a try before
	c.account, c.target = "", m.User() // a client may name another user in each try
	if at := strings.LastIndexByte(c.target, '@'); at >= 0 {
		c.account, c.target = c.target[:at], c.target[at+1:]
		if c.account == "" {
			return refuseSignIn("the account in front of the @ is empty", "Write ACCOUNT@TARGET, or TARGET alone.")
		}
	}
	cred.Protocol, cred.User, cred.Remote, cred.Secure = "ssh", m.User(), m.RemoteAddr().String(), true
	c.cred = cred
	s, err := c.session(ctx)
	if err != nil {
		var d *doorward.Denial
		if errors.As(err, &d) {
			return refuseSignIn(d.Reason, d.Hint)
		}
		return refuseSignIn("doorward cannot open the session", "")
	}
	c.mu.Lock()
	c.spare = s
	c.mu.Unlock()
	return nil
}

func refuseSignIn(reason, hint string) error {
	text := "doorward: " + reason + "\n"
	if hint != "" {
		text += "doorward: hint: " + hint + "\n"
	}
	return &ssh.BannerError{Err: errors.New(reason), Message: text}
}

// session opens a session of the gate for a channel to come.
func (c *connection) session(ctx context.Context) (*channelSession, error) {
	out := &channelSession{sink: &sink{stuck: func() { _ = c.raw.Close() }}}
	hello := gate.Hello{Credential: c.cred, Target: c.target, Application: printable(clientVersion(c.conn)), Kill: func() {
		// What runs is ended by its own relay, which tells the client why; a
		// client that does not listen is cut off.
		time.AfterFunc(killGrace, func() {
			if !out.sink.ended() {
				_ = c.raw.Close()
			}
		})
	}}
	s, err := c.gate.Open(ctx, hello, out.sink)
	if err != nil {
		return nil, err
	}
	out.Session = s
	return out, nil
}

func clientVersion(c *ssh.ServerConn) string {
	if c == nil {
		return ""
	}
	return string(c.ClientVersion())
}

// take gives a session for a channel: that of the sign-in, or a new one.
func (c *connection) take(ctx context.Context) (*channelSession, error) {
	c.mu.Lock()
	s := c.spare
	c.spare = nil
	c.mu.Unlock()
	if s != nil && s.Err() == nil {
		return s, nil
	}
	if s != nil {
		s.Close(s.Err())
	}
	return c.session(ctx)
}

func (c *connection) dropSpare(why error) {
	c.mu.Lock()
	s := c.spare
	c.spare = nil
	c.mu.Unlock()
	if s != nil {
		s.sink.end()
		s.Close(why)
	}
}

// note records what was refused on the connection itself.
func (c *connection) note(ctx context.Context, text, reason, hint string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.spare == nil {
		s, err := c.session(ctx)
		if err != nil {
			return // turned away, which is recorded
		}
		c.spare = s
	}
	_ = c.spare.Refuse(c.spare.Context(), text, &doorward.Denial{Decision: "deny", Reason: reason, Hint: hint})
}

// maxRefusals bounds what one connection may be refused before it is closed: a
// client must not be able to fill the disk by asking.
const maxRefusals = 200

// global answers requests on the connection: all of them are refused.
func (c *connection) global(ctx context.Context, reqs <-chan *ssh.Request) {
	refused := 0
	for r := range reqs {
		switch r.Type {
		case "keepalive@openssh.com", "no-more-sessions@openssh.com", "hostkeys-prove-00@openssh.com":
		default:
			if refused++; refused > maxRefusals {
				_ = c.raw.Close()
			} else {
				c.note(ctx, "global "+printable(r.Type), "this request is not let through", "Listening on the target, for ports or for sockets, is not possible through doorward.")
			}
		}
		if r.WantReply {
			_ = r.Reply(false, nil)
		}
	}
}

// channels serves channels until the connection ends.
func (c *connection) channels(ctx context.Context, chans <-chan ssh.NewChannel) error {
	idle := time.NewTimer(idleTimeout)
	defer idle.Stop()
	refused := 0
	defer c.served.Wait()
	defer c.raw.Close()
	for {
		c.mu.Lock()
		var gone <-chan struct{}
		var spare *channelSession
		if spare = c.spare; spare != nil {
			gone = spare.Context().Done()
		}
		c.mu.Unlock()
		var n ssh.NewChannel
		var ok bool
		select {
		case n, ok = <-chans:
		case <-gone:
			c.mu.Lock()
			taken := c.spare != spare
			c.mu.Unlock()
			if taken {
				continue // a channel took it, and it ended there
			}
			return spare.Err()
		case <-idle.C:
			if c.open.Load() == 0 {
				return errors.New("nothing was asked for a long time")
			}
			idle.Reset(idleTimeout)
			continue
		}
		if !ok {
			return nil
		}
		idle.Reset(idleTimeout)
		if c.open.Add(1) > maxChannels {
			c.open.Add(-1)
			_ = n.Reject(ssh.ResourceShortage, "too many channels on one connection")
			continue
		}
		var serve func()
		switch n.ChannelType() {
		case "session":
			serve = func() { c.serveSession(ctx, n) }
		case "direct-tcpip":
			serve = func() { c.serveForward(ctx, n) }
		default:
			if refused++; refused > maxRefusals {
				return errors.New("too many refused channels")
			}
			kind := printable(n.ChannelType())
			c.note(ctx, "channel "+kind, "a channel of this kind is not let through", "")
			_ = n.Reject(ssh.Prohibited, "doorward lets no channel of kind "+kind+" through")
			c.open.Add(-1)
			continue
		}
		c.served.Add(1)
		go func() {
			defer c.served.Done()
			defer c.open.Add(-1)
			c.guard(serve)
		}()
	}
}

// guard keeps a fault in one connection from ending the others: it ends that
// connection.
func (c *connection) guard(f func()) {
	defer func() {
		if p := recover(); p != nil {
			c.srv.opt.Log.Error("a connection ended by a fault of doorward", "panic", fmt.Sprint(p))
			_ = c.raw.Close()
		}
	}()
	f()
}

// printable bounds and escapes what a client said before it is shown or logged.
func printable(s string) string {
	if len(s) > 64 {
		s = s[:64] + "…"
	}
	return gate.Printable(s)
}

// strict is a connection whose first bytes must be an SSH version. RFC 4253
// lets servers, not clients, say something before it; what stands there, such
// as a PROXY header, would be taken for something by somebody.
type strict struct {
	net.Conn
	seen int
}

const versionPrefix = "SSH-2.0-"

var errNotSSH = errors.New("the client does not begin with an SSH version")

// Read implements net.Conn.
func (s *strict) Read(b []byte) (int, error) {
	n, err := s.Conn.Read(b)
	for i := 0; i < n && s.seen < len(versionPrefix); i++ {
		if b[i] != versionPrefix[s.seen] {
			return 0, errNotSSH
		}
		s.seen++
	}
	return n, err
}
