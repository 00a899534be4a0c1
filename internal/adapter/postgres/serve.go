package postgres

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/subtle"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/doorward/doorward"
	"github.com/doorward/doorward/internal/gate"
	"github.com/doorward/doorward/internal/upstream"
	wire "github.com/doorward/doorward/internal/wire/postgres"
)

const (
	signInTimeout = 30 * time.Second
	killGrace     = 2 * time.Second
	maxPassword   = 16 << 10
	maxClient     = 64 << 20 // one client message
	maxServer     = 64 << 20 // one server message
)

// Options wires the adapter.
type Options struct {
	TLS      *tls.Config // nil: no TLS, which only a loopback listener may have
	Loopback bool        // credentials without TLS are taken from loopback addresses
	Dial     func(ctx context.Context, s *gate.Session, set upstream.Settings) (*upstream.Conn, error)
	Log      *slog.Logger
}

// Server serves Postgres clients.
type Server struct {
	opt Options
	mu  sync.Mutex
	key map[uint32]*client // by the process id that the client was told
}

// New makes a server.
func New(opt Options) *Server {
	if opt.Log == nil {
		opt.Log = slog.Default()
	}
	return &Server{opt: opt, key: map[uint32]*client{}}
}

// Serve serves one connection until it ends. It owns conn.
func (srv *Server) Serve(ctx context.Context, g *gate.Gate, conn net.Conn) error {
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(signInTimeout))
	conn, start, secure, err := srv.greet(ctx, conn)
	if err != nil || start == nil {
		return err
	}
	defer conn.Close()
	c := &client{srv: srv, gate: g, conn: conn}
	c.in = wire.NewReader(conn, maxClient)
	c.in.Expect("QPBDECSHFXdcf")
	defer srv.drop(c)
	if err := c.signIn(ctx, start, secure); err != nil {
		return err
	}
	// Whatever happens, a fault of ours too: the target lets go and the record
	// says that the session ended.
	err = errors.New("a fault of doorward")
	defer func() {
		if c.up != nil {
			_ = c.up.Close()
		}
		c.s.Close(err)
	}()
	_ = conn.SetDeadline(time.Time{})
	err = c.run()
	if errors.Is(err, io.EOF) || errors.Is(err, errTerminate) {
		err = nil
	}
	return err
}

// greet reads startup packets up to the one that opens a session. A nil start
// without an error means that the connection has done its work (a cancel).
func (srv *Server) greet(ctx context.Context, conn net.Conn) (net.Conn, *wire.Startup, bool, error) {
	secure, gss := false, false
	for {
		var head [4]byte
		if _, err := io.ReadFull(conn, head[:]); err != nil {
			return conn, nil, false, err
		}
		if head[0] == 0x16 && !secure && srv.opt.TLS != nil {
			// TLS without the request for it (libpq's sslnegotiation=direct).
			tc := tls.Server(&replayConn{Conn: conn, first: bytes.NewReader(head[:])}, srv.opt.TLS)
			if err := tc.HandshakeContext(ctx); err != nil {
				return conn, nil, false, err
			}
			if tc.ConnectionState().NegotiatedProtocol != "postgresql" {
				return conn, nil, false, errors.New("direct TLS without the postgresql protocol name")
			}
			conn, secure = tc, true
			continue
		}
		st, err := wire.ReadStartupRest(conn, head)
		if err != nil {
			fatal(conn, "08P01", err.Error(), "")
			return conn, nil, false, err
		}
		switch st.Code {
		case wire.CodeTLS:
			if secure || srv.opt.TLS == nil {
				if secure {
					return conn, nil, false, errors.New("TLS was asked for twice")
				}
				if _, err := conn.Write([]byte{'N'}); err != nil {
					return conn, nil, false, err
				}
				continue
			}
			if _, err := conn.Write([]byte{'S'}); err != nil {
				return conn, nil, false, err
			}
			tc := tls.Server(conn, srv.opt.TLS)
			if err := tc.HandshakeContext(ctx); err != nil {
				return conn, nil, false, fmt.Errorf("TLS: %w", err)
			}
			conn, secure = tc, true
		case wire.CodeGSS:
			if gss || secure {
				return conn, nil, false, errors.New("GSS encryption was asked for twice, or inside TLS")
			}
			gss = true
			if _, err := conn.Write([]byte{'N'}); err != nil {
				return conn, nil, false, err
			}
		case wire.CodeCancel:
			srv.cancel(ctx, st)
			return conn, nil, false, nil
		default:
			if major, _ := st.Version(); major != 3 {
				err := fmt.Errorf("protocol version %d is not spoken here; 3.0 and 3.2 are", major)
				fatal(conn, "0A000", err.Error(), "")
				return conn, nil, false, err
			}
			return conn, st, secure, nil
		}
	}
}

// replayConn gives back the bytes that were looked at.
type replayConn struct {
	net.Conn
	first *bytes.Reader
}

func (r *replayConn) Read(b []byte) (int, error) {
	if r.first.Len() > 0 {
		return r.first.Read(b)
	}
	return r.Conn.Read(b)
}

func fatal(w io.Writer, code, msg, hint string) {
	_, _ = w.Write(wire.AppendNotice(nil, 'E', wire.Notice{Severity: "FATAL", Code: code, Message: "doorward: " + msg, Hint: hint}))
}

// allowed startup parameters and the values they may have; nil takes any.
var startupParams = map[string]func(string) bool{
	"user": nil, "database": nil,
	"application_name":            func(v string) bool { return len(v) <= 256 },
	"client_encoding":             isUTF8,
	"standard_conforming_strings": func(v string) bool { return strings.EqualFold(v, "on") },
	"replication":                 func(v string) bool { return v == "false" || v == "off" || v == "no" || v == "0" },
	"DateStyle":                   plain, "datestyle": plain,
	"TimeZone": plain, "timezone": plain,
	"extra_float_digits": plain,
	"IntervalStyle":      plain, "intervalstyle": plain,
}

func isUTF8(v string) bool {
	switch strings.ToUpper(strings.ReplaceAll(strings.Trim(v, "'\" "), "-", "")) {
	case "UTF8", "UNICODE":
		return true
	}
	return false
}

// plain takes values that name a style, a zone or a number.
func plain(v string) bool {
	if len(v) > 64 {
		return false
	}
	for _, r := range v {
		if !(r == ' ' || r == ',' || r == '_' || r == '/' || r == '+' || r == '-' || r == ':' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z') {
			return false
		}
	}
	return true
}

// checkStartup refuses parameters that are unknown, doubled or not as allowed.
func checkStartup(st *wire.Startup) (map[string]string, []string, error) {
	got := map[string]string{}
	var unknown []string
	for _, kv := range st.Params {
		k, v := kv[0], kv[1]
		if strings.HasPrefix(k, "_pq_.") {
			unknown = append(unknown, k)
			continue
		}
		check, ok := startupParams[k]
		if !ok {
			return nil, nil, fmt.Errorf("startup parameter %q is not allowed", clean(k))
		}
		if check != nil && !check(v) {
			return nil, nil, fmt.Errorf("startup parameter %q does not take %q here", k, clean(v))
		}
		key := strings.ToLower(k)
		if _, twice := got[key]; twice {
			return nil, nil, fmt.Errorf("startup parameter %q is there twice", k)
		}
		got[key] = v
	}
	if got["user"] == "" {
		return nil, nil, errors.New("no user name in the startup packet")
	}
	if got["database"] == "" {
		got["database"] = got["user"]
	}
	return got, unknown, nil
}

// clean bounds and escapes what a client said before it is shown or logged.
func clean(s string) string {
	if len(s) > 64 {
		s = s[:64] + "…"
	}
	return strings.Map(func(r rune) rune {
		if r < 0x20 || r == 0x7f {
			return '?'
		}
		return r
	}, s)
}

// signIn takes the client from its startup packet to its first ReadyForQuery.
func (c *client) signIn(ctx context.Context, st *wire.Startup, secure bool) error {
	params, unknown, err := checkStartup(st)
	if err != nil {
		fatal(c.conn, "0A000", err.Error(), "Leave it out of the connection string; doorward pins what changes the meaning of a statement.")
		return err
	}
	var out []byte
	_, minor := st.Version()
	if minor > 2 || minor == 1 || len(unknown) > 0 {
		newest := uint32(3<<16 | min(minor, 2))
		if minor == 1 {
			newest = 3 << 16
		}
		out = wire.AppendNegotiate(out, newest, unknown)
		minor = int(newest & 0xffff)
	}
	loopback := c.srv.opt.Loopback && isLoopback(c.conn.RemoteAddr())
	if !secure && !loopback {
		err := errors.New("sign-in needs TLS")
		fatal(c.conn, "28000", "sign-in needs TLS: the credential would travel in clear", "Connect with sslmode=verify-full (`doorward connect` shows how).")
		return err
	}
	if _, err := c.conn.Write(wire.AppendAuth(out, 3)); err != nil {
		return err
	}
	pw, err := c.password()
	if err != nil {
		fatal(c.conn, "28P01", "a password message was expected", "")
		return err
	}
	hello := gate.Hello{
		Credential:  doorward.Credential{Protocol: "postgres", Secret: pw, User: params["user"], Remote: c.conn.RemoteAddr().String(), Secure: secure || loopback},
		Target:      params["database"],
		Application: clean(params["application_name"]),
		// The deadline wakes whatever the session waits for, so that it can say
		// why it ends; the connection is closed a moment later in any case.
		Kill: func() {
			_ = c.conn.SetDeadline(time.Now())
			time.AfterFunc(killGrace, func() { _ = c.conn.Close() })
		},
	}
	c.s, err = c.gate.Open(ctx, hello, c.conn)
	if err != nil {
		var d *doorward.Denial
		if errors.As(err, &d) {
			fatal(c.conn, orCode(d.Code, "28000"), d.Reason, d.Hint)
		} else {
			fatal(c.conn, "58000", "doorward cannot open the session", "")
		}
		return err
	}
	if err := c.open(params, minor); err != nil {
		c.s.Close(err)
		return err
	}
	return nil
}

func orCode(code, other string) string {
	if code == "" {
		return other
	}
	return code
}

func isLoopback(a net.Addr) bool {
	t, ok := a.(*net.TCPAddr)
	return ok && t.IP.IsLoopback()
}

func (c *client) password() (string, error) {
	rd := wire.NewReader(c.conn, maxPassword)
	rd.Expect("p")
	f, err := rd.Next()
	if err != nil {
		return "", err
	}
	if f[0] != 'p' || rd.Buffered() > 0 {
		return "", errors.New("not a password message")
	}
	return wire.ParseText(wire.Body(f))
}

// open connects upstream and greets the client.
func (c *client) open(params map[string]string, minor int) error {
	id := c.s.Identity
	app := "doorward:" + clean(id.String()) + " " + c.s.ID()
	set := upstream.Settings{Application: ascii(app), DateStyle: params["datestyle"], TimeZone: params["timezone"], IntervalStyle: params["intervalstyle"], ExtraFloatDigits: params["extra_float_digits"]}
	up, err := c.srv.opt.Dial(c.s.Context(), c.s, set)
	if err != nil {
		c.srv.opt.Log.Error("target does not answer", "target", c.s.Target.Name, "error", err)
		d := &doorward.Denial{Decision: "error", Reason: "the target cannot be reached", Hint: "The operator finds the reason in doorward's log.", Code: "08006"}
		_ = c.s.Refuse(c.s.Context(), "connect", d)
		fatal(c.conn, "08006", d.Reason, d.Hint)
		return err
	}
	c.up, c.readOnly = up, true
	c.out = wire.NewReader(up, maxServer)
	out := wire.AppendAuth(nil, 0)
	for _, k := range reported {
		if v, ok := up.Parameters()[k]; ok {
			out = wire.AppendParameterStatus(out, k, v)
		}
	}
	out = wire.AppendParameterStatus(out, "session_authorization", clean(params["user"]))
	out = wire.AppendParameterStatus(out, "application_name", clean(params["application_name"]))
	out = wire.AppendParameterStatus(out, "is_superuser", "off")
	c.tx = 'I'
	pid, secret := c.srv.register(c, minor)
	out = wire.AppendKey(out, pid, secret)
	out = wire.AppendReady(out, 'I')
	return c.s.Tell(out)
}

// reported are the settings that a client is told of.
var reported = []string{"server_version", "server_encoding", "client_encoding", "DateStyle", "IntervalStyle", "TimeZone", "integer_datetimes", "standard_conforming_strings", "in_hot_standby", "scram_iterations"}

func ascii(s string) string {
	return strings.Map(func(r rune) rune {
		if r < 0x20 || r > 0x7e {
			return '?'
		}
		return r
	}, s)
}

func (srv *Server) register(c *client, minor int) (uint32, []byte) {
	n := 4
	if minor >= 2 {
		n = 32
	}
	c.secret = make([]byte, n)
	rand.Read(c.secret)
	srv.mu.Lock()
	defer srv.mu.Unlock()
	for {
		var b [4]byte
		rand.Read(b[:])
		pid := binary.BigEndian.Uint32(b[:]) & 0x7fffffff
		if _, taken := srv.key[pid]; pid != 0 && !taken {
			srv.key[pid] = c
			c.pid = pid
			return pid, c.secret
		}
	}
}

func (srv *Server) drop(c *client) {
	srv.mu.Lock()
	delete(srv.key, c.pid)
	srv.mu.Unlock()
}

// cancel stops the statement of the session whose key this is, and nothing
// else: the key is drawn anew for each session and checked in constant time.
func (srv *Server) cancel(ctx context.Context, st *wire.Startup) {
	srv.mu.Lock()
	c := srv.key[st.PID]
	srv.mu.Unlock()
	if c == nil || subtle.ConstantTimeCompare(c.secret, st.Secret) != 1 {
		return
	}
	if c.s.StopWaiting() || !c.running.Load() {
		return
	}
	if err := c.up.Cancel(ctx); err != nil {
		srv.opt.Log.Warn("cancel did not reach the target", "session", c.s.ID(), "error", err)
	}
}
