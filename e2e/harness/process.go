package harness

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/doorward/doorward/e2e/pgtest"
	"github.com/doorward/doorward/e2e/rawpg"
)

// Gate is a running doorward.
type Gate struct {
	Dir      string // holds the configuration and the log
	State    string // holds what doorward keeps
	Console  string // base URL of the console and the API
	Postgres string // address of the Postgres listener
	SSH      string // address of the SSH listener, where the configuration has hosts
	CA       []byte // PEM

	Kubernetes string // address of the listener for clusters, where the configuration has some
	Services   string // address of the listener for HTTP services, where the configuration has some
	HTTP       *http.Client

	config  *Config
	console string
	proc    *pgtest.Process
	keep    bool
}

// StartupLimit is how long doorward may take until it is ready.
const StartupLimit = 30 * time.Second

// Start writes the configuration, starts doorward and waits until it is ready.
func Start(ctx context.Context, c *Config) (*Gate, error) {
	dir, err := os.MkdirTemp("", "doorward-e2e-")
	if err != nil {
		return nil, err
	}
	g := &Gate{Dir: dir, State: c.State, config: c, keep: os.Getenv("DOORWARD_KEEP") != ""}
	if g.State == "" {
		g.State = filepath.Join(dir, "state")
	}
	if err := os.MkdirAll(g.State, 0o700); err != nil {
		return nil, err
	}
	var ports [5]int
	for i := range ports {
		// The same port may be free twice in a row.
		for ports[i] == 0 || slices.Contains(ports[:i], ports[i]) {
			if ports[i], err = pgtest.FreePort(); err != nil {
				return nil, err
			}
		}
	}
	g.console, g.Postgres = fmt.Sprintf("127.0.0.1:%d", ports[0]), fmt.Sprintf("127.0.0.1:%d", ports[1])
	g.SSH, g.Kubernetes = fmt.Sprintf("127.0.0.1:%d", ports[2]), fmt.Sprintf("127.0.0.1:%d", ports[3])
	g.Services = fmt.Sprintf("127.0.0.1:%d", ports[4])
	if err := g.Launch(ctx); err != nil {
		g.Close()
		return nil, err
	}
	return g, nil
}

// Launch starts the process, the first time or after its end, with what the
// configuration now says and the state that is there.
func (g *Gate) Launch(ctx context.Context) error {
	if err := g.WriteConfig(); err != nil {
		return err
	}
	bin, err := Binary()
	if err != nil {
		return err
	}
	log, err := os.OpenFile(g.LogPath(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(bin, "serve", "--config", g.ConfigPath())
	cmd.Stdout, cmd.Stderr = log, log
	if g.proc, err = pgtest.Spawn(cmd, syscall.SIGKILL); err != nil {
		return err
	}
	deadline := time.Now().Add(StartupLimit)
	for {
		err := g.ready(ctx)
		if err == nil {
			return nil
		}
		if g.proc.Ended() {
			return fmt.Errorf("doorward ended at start: %v\n%s", g.proc.Err(), g.LogTail(4000))
		}
		if time.Now().After(deadline) || ctx.Err() != nil {
			return fmt.Errorf("doorward was not ready within %s: %w\n%s", StartupLimit, err, g.LogTail(4000))
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// WriteConfig writes the configuration file anew.
func (g *Gate) WriteConfig() error {
	b, err := g.config.YAML(Listeners{Console: g.console, Postgres: g.Postgres, SSH: g.SSH, Kubernetes: g.Kubernetes, HTTP: g.Services}, g.State)
	if err != nil {
		return err
	}
	return os.WriteFile(g.ConfigPath(), b, 0o600)
}

func (g *Gate) ready(ctx context.Context) error {
	ca, err := os.ReadFile(filepath.Join(g.State, "ca.pem"))
	if err != nil {
		return err
	}
	if g.HTTP == nil || !bytes.Equal(ca, g.CA) {
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(ca) {
			return errors.New("ca.pem holds no certificate")
		}
		g.CA = ca
		g.HTTP = &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, MaxIdleConnsPerHost: 16}}
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	var last error
	for _, scheme := range []string{"https", "http"} {
		if err := get(ctx, g.HTTP, scheme+"://"+g.console+"/readyz"); err != nil {
			last = errors.Join(last, err)
			continue
		}
		g.Console = scheme + "://" + g.console
		return nil
	}
	return last
}

func get(ctx context.Context, c *http.Client, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	res, err := c.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(res.Body, 1<<16))
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s: %s", url, res.Status, body)
	}
	return nil
}

// TLS is how a client trusts this doorward.
func (g *Gate) TLS() *tls.Config {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(g.CA)
	return &tls.Config{RootCAs: pool, ServerName: "127.0.0.1"}
}

// CAPath is the file with the CA certificate.
func (g *Gate) CAPath() string { return filepath.Join(g.State, "ca.pem") }

// ConfigPath is the configuration file.
func (g *Gate) ConfigPath() string { return filepath.Join(g.Dir, "doorward.yaml") }

// LogPath is the file with all that doorward printed.
func (g *Gate) LogPath() string { return filepath.Join(g.Dir, "doorward.log") }

// LogTail is the last n bytes of the log.
func (g *Gate) LogTail(n int) string {
	b, _ := os.ReadFile(g.LogPath())
	return string(b[max(0, len(b)-n):])
}

// Config is the configuration, to be changed before WriteConfig or Launch.
func (g *Gate) Config() *Config { return g.config }

// PID of the process.
func (g *Gate) PID() int { return g.proc.PID() }

// Ended reports whether the process has ended.
func (g *Gate) Ended() bool { return g.proc == nil || g.proc.Ended() }

// Signal sends a signal to the process.
func (g *Gate) Signal(s syscall.Signal) error { return g.proc.Signal(s) }

// Kill ends the process without a chance to clean up.
func (g *Gate) Kill() {
	g.proc.Signal(syscall.SIGKILL)
	<-g.proc.Done()
}

// Stop asks the process to end and waits.
func (g *Gate) Stop(grace time.Duration) error { return g.proc.Stop(syscall.SIGTERM, grace) }

// Close ends the process and removes its folder; with DOORWARD_KEEP set the
// folder stays.
func (g *Gate) Close() error {
	var err error
	if !g.Ended() {
		err = g.Stop(15 * time.Second)
	}
	if !g.keep {
		os.RemoveAll(g.Dir)
	}
	return err
}

// Connect signs in to a target with a token as the password.
func (g *Gate) Connect(ctx context.Context, target, token string) (*rawpg.Conn, error) {
	return rawpg.Dial(ctx, rawpg.Options{Addr: g.Postgres, TLS: g.TLS(), Password: token, Timeout: 60 * time.Second, Startup: [][2]string{{"user", "agent"}, {"database", target}}})
}

// Command prepares a run of the doorward binary with further arguments.
func (g *Gate) Command(ctx context.Context, args ...string) (*exec.Cmd, error) {
	bin, err := Binary()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, bin, args...)
	cmd.Env = append(os.Environ(), "HOME="+g.Dir, "XDG_CONFIG_HOME="+g.Dir, "XDG_STATE_HOME="+g.Dir)
	return cmd, nil
}

// CLI runs the doorward binary and gives what it printed on standard output.
func (g *Gate) CLI(ctx context.Context, args ...string) (string, error) {
	cmd, err := g.Command(ctx, args...)
	if err != nil {
		return "", err
	}
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("doorward %s: %w: %s", strings.Join(args, " "), err, errs.String())
	}
	return out.String(), nil
}
