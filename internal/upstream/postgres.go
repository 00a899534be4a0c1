package upstream

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/doorward/doorward/internal/gate"
	wire "github.com/doorward/doorward/internal/wire/postgres"
)

// dialTimeout bounds a connection attempt with its sign-in.
const dialTimeout = 10 * time.Second

// writeInline is how much is written without a goroutine of its own: what the
// socket buffers of both sides surely hold, so that neither side can wait for
// the other.
const writeInline = 32 << 10

// PostgresOptions says how a Postgres target is reached.
type PostgresOptions struct {
	Name       string
	Address    string // host:port
	Database   string
	User       string
	Password   func() (string, error) // asked at each connection, so that it can rotate
	TLS        string                 // verify-full (default), verify-ca, require, off
	CA         string                 // file; the system's roots when empty
	ClientCert string                 // files, for certificate sign-in
	ClientKey  string
	Time       time.Duration // the target's own statement_timeout; 0: none
	Lock       time.Duration // lock_timeout; 10 s when zero
	IdleInTx   time.Duration // idle_in_transaction_session_timeout; 10 min when zero
	SearchPath string        // "public, pg_temp" when empty
}

// Postgres is a Postgres target: it dials, and nothing else can.
type Postgres struct {
	opt  PostgresOptions
	host string
	port uint16
}

// NewPostgres checks the options of a target.
func NewPostgres(opt PostgresOptions) (*Postgres, error) {
	host, p, err := net.SplitHostPort(opt.Address)
	if err != nil {
		return nil, fmt.Errorf("target %s: address %q is not host:port: %w", opt.Name, opt.Address, err)
	}
	port, err := strconv.ParseUint(p, 10, 16)
	if err != nil || port == 0 {
		return nil, fmt.Errorf("target %s: port %q is not a port number", opt.Name, p)
	}
	if opt.Lock == 0 {
		opt.Lock = 10 * time.Second
	}
	if opt.IdleInTx == 0 {
		opt.IdleInTx = 10 * time.Minute
	}
	if opt.SearchPath == "" {
		opt.SearchPath = "public, pg_temp"
	}
	t := &Postgres{opt: opt, host: host, port: uint16(port)}
	if _, err := t.tls(); err != nil {
		return nil, fmt.Errorf("target %s: %w", opt.Name, err)
	}
	return t, nil
}

func (t *Postgres) tls() (*tls.Config, error) {
	mode := t.opt.TLS
	if mode == "" {
		mode = "verify-full"
	}
	if mode == "off" {
		return nil, nil
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: t.host}
	if t.opt.CA != "" {
		pem, err := os.ReadFile(t.opt.CA)
		if err != nil {
			return nil, fmt.Errorf("the CA file cannot be read: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("the CA file %s holds no certificate", t.opt.CA)
		}
	}
	if t.opt.ClientCert != "" {
		pair, err := tls.LoadX509KeyPair(t.opt.ClientCert, t.opt.ClientKey)
		if err != nil {
			return nil, fmt.Errorf("the client certificate cannot be used: %w", err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	switch mode {
	case "verify-full":
	case "require":
		c.InsecureSkipVerify = true
	case "verify-ca":
		c.InsecureSkipVerify = true
		c.VerifyConnection = func(st tls.ConnectionState) error {
			inter := x509.NewCertPool()
			for _, cert := range st.PeerCertificates[1:] {
				inter.AddCert(cert)
			}
			_, err := st.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: c.RootCAs, Intermediates: inter})
			return err
		}
	default:
		return nil, fmt.Errorf("tls %q is none of verify-full, verify-ca, require, off", mode)
	}
	return c, nil
}

func (t *Postgres) config(application string, readOnly bool) (*pgconn.Config, error) {
	// Everything is set here; nothing is taken from the environment.
	c, err := pgconn.ParseConfig("host=localhost sslmode=disable")
	if err != nil {
		return nil, err
	}
	if c.TLSConfig, err = t.tls(); err != nil {
		return nil, err
	}
	c.Host, c.Port, c.Database, c.User = t.host, t.port, t.opt.Database, t.opt.User
	c.Fallbacks = nil
	c.ConnectTimeout = dialTimeout
	c.Password = ""
	if t.opt.Password != nil {
		if c.Password, err = t.opt.Password(); err != nil {
			return nil, fmt.Errorf("the password of target %s cannot be had: %w", t.opt.Name, err)
		}
	}
	ro := "off"
	if readOnly {
		ro = "on"
	}
	c.RuntimeParams = map[string]string{
		"application_name":                    application,
		"client_encoding":                     "UTF8",
		"standard_conforming_strings":         "on",
		"backslash_quote":                     "safe_encoding",
		"search_path":                         t.opt.SearchPath,
		"default_transaction_read_only":       ro,
		"lock_timeout":                        ms(t.opt.Lock),
		"idle_in_transaction_session_timeout": ms(t.opt.IdleInTx),
	}
	if t.opt.Time > 0 {
		c.RuntimeParams["statement_timeout"] = ms(t.opt.Time)
	}
	return c, nil
}

func ms(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }

// Settings are what a session may choose of its own connection.
type Settings struct {
	Application      string // names the person and the agent in the target's own log
	DateStyle        string
	TimeZone         string
	IntervalStyle    string
	ExtraFloatDigits string
}

// Dial signs in for a session, with everything pinned that changes what a
// statement means, and the target's own read-only mode on. The session is the only one whose permits can be sent.
func (t *Postgres) Dial(ctx context.Context, s *gate.Session, set Settings) (*Conn, error) {
	if s == nil {
		return nil, errors.New("upstream: no session")
	}
	cfg, err := t.config(set.Application, true)
	if err != nil {
		return nil, err
	}
	for k, v := range map[string]string{"DateStyle": set.DateStyle, "TimeZone": set.TimeZone, "IntervalStyle": set.IntervalStyle, "extra_float_digits": set.ExtraFloatDigits} {
		if v != "" {
			cfg.RuntimeParams[k] = v
		}
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	pc, err := pgconn.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("target %s does not let doorward in: %w", t.opt.Name, scrub(err))
	}
	h, err := pc.Hijack()
	if err != nil {
		_ = pc.Close(ctx)
		return nil, err
	}
	if h.TxStatus != 'I' || h.Frontend.ReadBufferLen() > 0 {
		_ = h.Conn.Close()
		return nil, errors.New("upstream: the target said more than its greeting")
	}
	c := &Conn{raw: h.Conn, session: s, target: t, params: h.ParameterStatuses, pid: h.PID, secret: h.SecretKey}
	_ = c.raw.SetDeadline(time.Time{})
	s.OnKill(c.Abort)
	return c, nil
}

// scrub keeps what an operator needs of a connection error. pgconn's own text
// names host, user and database and never the password.
func scrub(err error) error { return err }

// Control is a statement of doorward's own. The list is closed.
type Control int

// The control statements.
const (
	BeginGuard    Control = iota // opens the transaction that bounds an approved write
	CommitGuard                  // ends it with the write kept
	RollbackGuard                // ends it with the write undone
	SaveGuard                    // the same three inside a transaction of the client
	ReleaseGuard
	UndoGuard
	AllowWrites  // the next transaction may write
	ForbidWrites // and no more
	FailBatch    // makes an unfinished batch of extended messages fail
	FailBlock    // makes the client's transaction fail, as a refused statement does
)

var controls = [...]string{
	BeginGuard:    "BEGIN READ WRITE",
	CommitGuard:   "COMMIT",
	RollbackGuard: "ROLLBACK",
	SaveGuard:     `SAVEPOINT "doorward guard"`,
	ReleaseGuard:  `RELEASE SAVEPOINT "doorward guard"`,
	UndoGuard:     `ROLLBACK TO SAVEPOINT "doorward guard"`,
	AllowWrites:   "SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE",
	ForbidWrites:  "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
	FailBatch:     "doorward refused a statement",
	FailBlock:     `ROLLBACK TO SAVEPOINT "doorward refused a statement"`,
}

// OwnName is the name of the statement and the portal that doorward's own
// statements use. Clients cannot use it.
const OwnName = "doorward own"

// controlFrames are extended messages with names of their own: a simple Query,
// or the unnamed statement, would take the client's unnamed statement away.
var controlFrames = func() (out [len(controls)][]byte) {
	for i, sql := range controls {
		f := append(wire.AppendNamed(nil, 'C', 'P', OwnName), wire.AppendNamed(nil, 'C', 'S', OwnName)...)
		f = wire.AppendParse(f, OwnName, sql)
		if Control(i) != FailBatch { // which fails at its Parse, and is meant to
			f = wire.AppendBind(f, OwnName, OwnName)
			f = wire.AppendExecute(f, OwnName)
			f = wire.AppendNamed(f, 'C', 'S', OwnName)
		}
		out[i] = wire.AppendFrame(f, 'S', nil)
	}
	return out
}()

// Conn is a connection to production that is bound to one session.
type Conn struct {
	raw     net.Conn
	session *gate.Session
	target  *Postgres
	params  map[string]string
	pid     uint32
	secret  []byte

	aborting sync.Once // Abort or Close, whichever comes first

	mu      sync.Mutex
	writing chan error // the write that is on its way in the background
}

// Answers are the message types that a control statement is answered with when
// the target takes it, in order.
func (k Control) Answers() string {
	if k == FailBatch {
		return "33EZ"
	}
	return "3312C3Z"
}

// Parameters are the settings that the server reported at sign-in.
func (c *Conn) Parameters() map[string]string { return c.params }

// Read reads what the server says.
func (c *Conn) Read(b []byte) (int, error) { return c.raw.Read(b) }

// SetReadDeadline bounds the next reads.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.raw.SetReadDeadline(t) }

// Send spends the permit and writes its bytes.
func (c *Conn) Send(p *gate.Permit) error {
	frames, err := p.Spend(c.session)
	if err != nil {
		return err
	}
	return c.write(frames)
}

// SendBody writes data that the client streams under a spent permit (COPY).
func (c *Conn) SendBody(p *gate.Permit, frames []byte) error {
	if err := p.Streaming(c.session); err != nil {
		return err
	}
	if err := c.settle(); err != nil {
		return err
	}
	_, err := c.raw.Write(frames)
	return err
}

// Control writes one of doorward's own statements.
func (c *Conn) Control(k Control) error {
	if k < 0 || int(k) >= len(controlFrames) {
		return errors.New("upstream: no such control statement")
	}
	if err := c.settle(); err != nil {
		return err
	}
	_, err := c.raw.Write(controlFrames[k])
	return err
}

// write writes small pieces at once. A large one goes out in the background,
// since the server may have to be read from before it takes more.
func (c *Conn) write(b []byte) error {
	if err := c.settle(); err != nil {
		return err
	}
	if len(b) <= writeInline {
		_, err := c.raw.Write(b)
		return err
	}
	done := make(chan error, 1)
	c.mu.Lock()
	c.writing = done
	c.mu.Unlock()
	go func() {
		_, err := c.raw.Write(b)
		if err != nil {
			_ = c.raw.Close()
		}
		done <- err
	}()
	return nil
}

// settle waits for a write in the background.
func (c *Conn) settle() error {
	c.mu.Lock()
	w := c.writing
	c.writing = nil
	c.mu.Unlock()
	if w == nil {
		return nil
	}
	return <-w
}

// Cancel asks the server to stop the running statement, by a connection of its own.
func (c *Conn) Cancel(ctx context.Context) error {
	cfg, err := c.target.config("", true)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	d := &net.Dialer{}
	conn, err := d.DialContext(ctx, "tcp", net.JoinHostPort(c.target.host, strconv.Itoa(int(c.target.port))))
	if err != nil {
		return err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(dialTimeout))
	if cfg.TLSConfig != nil {
		if conn, err = startTLS(ctx, conn, cfg.TLSConfig); err != nil {
			return err
		}
	}
	if _, err := conn.Write(wire.AppendCancel(nil, c.pid, c.secret)); err != nil {
		return err
	}
	var one [1]byte
	_, _ = conn.Read(one[:])
	return nil
}

func startTLS(ctx context.Context, conn net.Conn, cfg *tls.Config) (net.Conn, error) {
	if _, err := conn.Write(wire.AppendTLSRequest(nil)); err != nil {
		return nil, err
	}
	var one [1]byte
	if _, err := conn.Read(one[:]); err != nil {
		return nil, err
	}
	if one[0] != 'S' {
		return nil, errors.New("the target does not speak TLS")
	}
	tc := tls.Client(conn, cfg)
	return tc, tc.HandshakeContext(ctx)
}

// Abort ends the connection and what runs on it: a server notices that its
// client left only when it next writes, and would finish the statement first.
func (c *Conn) Abort() {
	c.aborting.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), abortWait)
		defer cancel()
		_ = c.Cancel(ctx)
		_ = c.raw.Close()
	})
}

// abortWait bounds how long Abort tries to cancel.
const abortWait = 2 * time.Second

// Close ends the connection, with a Terminate so that the server knows.
func (c *Conn) Close() error {
	var err error
	c.aborting.Do(func() {
		_ = c.raw.SetWriteDeadline(time.Now().Add(time.Second))
		_, _ = c.raw.Write([]byte{'X', 0, 0, 0, 4})
		err = c.raw.Close()
	})
	return err
}
