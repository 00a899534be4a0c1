package cli

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/doorward/doorward/internal/api"
	"github.com/doorward/doorward/internal/config"
	"github.com/doorward/doorward/internal/ledger"
)

const (
	reachTime  = 15 * time.Second
	certNotice = 14 * 24 * time.Hour
)

// DoctorCmd looks for what is wrong.
type DoctorCmd struct {
	Config string `help:"The gate's configuration file: check what a gate needs. Without it: check this machine's sign-in." type:"existingfile" env:"DOORWARD_CONFIG"`
	JSONFlag
}

// Help is shown by --help.
func (*DoctorCmd) Help() string {
	return "Examples:\n  doorward doctor                              this machine's sign-in\n  doorward doctor --config doorward.yaml       a gate: configuration, secrets, ports, store, ledger, TLS, targets\n\nIt changes nothing. Exit codes: 0 all is well, 1 something is wrong."
}

// finding is what one check found.
type finding struct {
	Check  string `json:"check"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail"`
	Hint   string `json:"hint,omitempty"`
}

type doctor struct {
	env   *Env
	found []finding
}

func (d *doctor) good(check, format string, args ...any) {
	d.found = append(d.found, finding{Check: check, OK: true, Detail: fmt.Sprintf(format, args...)})
}

func (d *doctor) bad(check, hint, format string, args ...any) {
	d.found = append(d.found, finding{Check: check, Detail: fmt.Sprintf(format, args...), Hint: hint})
}

// Run checks and reports.
func (k *DoctorCmd) Run(env *Env) error {
	ctx, stop := interruptible()
	defer stop()
	d := &doctor{env: env}
	if k.Config != "" {
		d.gate(ctx, k.Config)
	} else {
		d.person(ctx)
	}
	wrong := slices.ContainsFunc(d.found, func(f finding) bool { return !f.OK })
	if k.JSON {
		if err := printJSON(env.Stdout, map[string]any{"ok": !wrong, "checks": d.found}); err != nil {
			return err
		}
	} else {
		d.print()
	}
	if wrong {
		return &Exit{Code: CodeError}
	}
	return nil
}

func (d *doctor) print() {
	for _, f := range d.found {
		mark := "ok   "
		if !f.OK {
			mark = "WRONG"
		}
		fmt.Fprintf(d.env.Stdout, "%s  %-12s %s\n", mark, cleanLine(f.Check), cleanText(strings.ReplaceAll(f.Detail, "\n", "\n                    ")))
		if f.Hint != "" {
			fmt.Fprintf(d.env.Stdout, "       %-12s %s\n", "", cleanLine(f.Hint))
		}
	}
}

// person checks what `doorward login` left.
func (d *doctor) person(ctx context.Context) {
	cred, err := loadCredentials()
	if err != nil {
		d.bad("sign-in", "Run `doorward login --server https://HOST:8443`.", "%v", err)
		return
	}
	d.good("sign-in", "there is one for %s", cred.Server)
	c, err := newClient(cred.Server, cred.CA, cred.Token)
	if err != nil {
		d.bad("address", "Run `doorward login` again.", "%v", err)
		return
	}
	if _, err := probe(c.base.JoinPath("healthz"), cred.CA, 5*time.Second); err != nil {
		d.bad("server", "Check the address, the network and the certificate.", "%v", err)
		return
	}
	d.good("server", "%s answers", cred.Server)
	var me api.Me
	if err := c.call(ctx, http.MethodGet, "/api/v1/me", nil, &me); err != nil {
		d.bad("identity", "Run `doorward login` again.", "%v", err)
		return
	}
	d.good("identity", "%s, until %s", me.Identity.String(), when(me.Expires))
	if path, _, err := credentialsFile(); err == nil {
		d.private("file", path)
	}
	var targets []api.TargetInfo
	if err := c.call(ctx, http.MethodGet, "/api/v1/targets", nil, &targets); err != nil {
		d.bad("targets", "", "%v", err)
		return
	}
	for _, t := range targets {
		addr := net.JoinHostPort(t.Host, fmt.Sprint(t.Port))
		conn, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "tcp", addr)
		if err != nil {
			d.bad("targets", "Check that the gate's "+t.Protocol+" port can be reached from here.", "%s at %s: %v", t.Name, addr, err)
			continue
		}
		conn.Close()
		d.good("targets", "%s at %s can be reached", t.Name, addr)
	}
}

// private checks that only the owner can read a file, when it exists.
func (d *doctor) private(check, path string) {
	st, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		d.bad(check, "", "%v", err)
	case st.Mode().Perm()&0o077 != 0:
		d.bad(check, "chmod 600 "+path, "%s can be read by others (mode %o)", path, st.Mode().Perm())
	default:
		d.good(check, "%s is private", path)
	}
}

// gate checks what `doorward serve` needs.
func (d *doctor) gate(ctx context.Context, path string) {
	c, err := config.Load(path)
	if err != nil {
		d.bad("config", "Correct the file; `doorward config check` says the same.", "%v", err)
		return
	}
	d.good("config", "%s is right: %d targets, %d rules", path, len(c.Targets), len(c.Policy.Rules))
	if err := c.Ready(); err != nil {
		d.bad("secrets", "Give doorward the same environment and files here as where it serves.", "%v", err)
	} else {
		d.good("secrets", "all are there")
	}
	running := d.ports(c)
	d.state(c)
	d.ledger(c, running)
	d.tls(c)
	d.targets(ctx, c, path)
}

// ports reports whether a gate serves at the console's address already.
func (d *doctor) ports(c *config.Config) (running bool) {
	for _, p := range []struct{ name, addr string }{{"console", c.Listen.Console}, {"postgres", c.Listen.Postgres}, {"ssh", c.Listen.SSH}, {"kubernetes", c.Listen.Kubernetes}, {"http", c.Listen.HTTP}} {
		if p.addr == "" {
			continue
		}
		l, err := net.Listen("tcp", p.addr)
		if err == nil {
			l.Close()
			d.good("port", "%s: %s is free", p.name, p.addr)
			continue
		}
		if p.name == "console" {
			if _, perr := probe(&url.URL{Scheme: "https", Host: dialable(p.addr), Path: "/healthz"}, "", 3*time.Second); perr == nil {
				running = true
			}
		}
		if running {
			d.good("port", "%s: %s is in use, and a gate answers at the console's address", p.name, p.addr)
			continue
		}
		d.bad("port", "Another program may use it; choose another address under listen:, or stop that program.", "%s: %v", p.name, err)
	}
	return running
}

// dialable turns a listening address into one that can be connected to.
func dialable(addr string) string {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return addr
	}
	if ip := net.ParseIP(host); host == "" || (ip != nil && ip.IsUnspecified()) {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}

func (d *doctor) state(c *config.Config) {
	for _, dir := range []struct{ name, path string }{{"store", c.StateDir()}, {"recordings", c.RecordingsDir()}, {"ledger", c.Ledger}} {
		// What is not there yet is made by the gate, below what is.
		at := dir.path
		for {
			if _, err := os.Stat(at); err == nil || !errors.Is(err, fs.ErrNotExist) || at == filepath.Dir(at) {
				break
			}
			at = filepath.Dir(at)
		}
		f, err := os.CreateTemp(at, ".doorward-doctor-*")
		if err != nil {
			d.bad(dir.name, "The gate's user must be able to write there.", "%s: %v", dir.path, err)
			continue
		}
		f.Close()
		os.Remove(f.Name())
		d.good(dir.name, "%s can be written", dir.path)
	}
	d.private("store", c.StorePath())
}

func (d *doctor) ledger(c *config.Config, running bool) {
	if _, err := os.Stat(c.Ledger); errors.Is(err, fs.ErrNotExist) {
		d.good("audit", "there is no ledger yet: the gate makes it")
		return
	}
	r, err := ledger.Verify(c.Ledger, ledger.VerifyOptions{})
	switch {
	case err != nil && running:
		d.good("audit", "not checked while a gate writes to it; the console's audit page shows its state")
	case err != nil:
		d.bad("audit", "Keep a copy of the folder before anything else, then see docs on the audit log.", "%v", err)
	case !r.OK:
		what := "the report of `doorward audit verify` says more"
		if len(r.Problems) > 0 {
			what = r.Problems[0].What
		}
		d.bad("audit", "Keep a copy of the folder before anything else; `doorward audit verify` lists everything.", "%d problems, the first: %s", len(r.Problems)+r.More, what)
	default:
		d.good("audit", "%d events are whole and unchanged", r.Size)
	}
}

func (d *doctor) tls(c *config.Config) {
	if c.TLS.Cert == "" {
		ca := filepath.Join(c.StateDir(), "ca.pem")
		raw, err := readBounded(ca, maxCredentials)
		if errors.Is(err, fs.ErrNotExist) {
			d.good("tls", "the gate will make its own CA in %s", c.StateDir())
			return
		}
		if err != nil {
			d.bad("tls", "", "%v", err)
			return
		}
		d.certificate(ca, raw)
		return
	}
	pair, err := tls.LoadX509KeyPair(c.TLS.Cert, c.TLS.Key)
	if err != nil {
		d.bad("tls", "tls.cert must be a PEM chain, leaf first, and tls.key its key.", "%v", err)
		return
	}
	d.certificate(c.TLS.Cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: pair.Certificate[0]}))
}

func (d *doctor) certificate(path string, raw []byte) {
	block, _ := pem.Decode(raw)
	if block == nil {
		d.bad("tls", "It must be PEM.", "%s holds no certificate", path)
		return
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	switch {
	case err != nil:
		d.bad("tls", "", "%s: %v", path, err)
	case time.Now().After(cert.NotAfter):
		d.bad("tls", "Renew it.", "%s expired at %s", path, when(cert.NotAfter))
	case time.Now().Before(cert.NotBefore):
		d.bad("tls", "Check the clock.", "%s is not valid before %s", path, when(cert.NotBefore))
	case time.Until(cert.NotAfter) < certNotice:
		d.bad("tls", "Renew it now.", "%s expires at %s", path, when(cert.NotAfter))
	default:
		d.good("tls", "%s is valid until %s", path, when(cert.NotAfter))
	}
}

func (d *doctor) targets(ctx context.Context, c *config.Config, path string) {
	var names []string
	for name := range c.Targets {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		if d.env.Reach == nil {
			continue
		}
		ctx, done := context.WithTimeout(ctx, reachTime)
		err := d.env.Reach(ctx, path, name)
		done()
		if err != nil {
			d.bad("target", "Check address, TLS, user and password of this target.", "%s: %v", name, err)
			continue
		}
		d.good("target", "%s: signed in", name)
	}
}
