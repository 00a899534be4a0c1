package cli

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"net/url"
	"runtime"
	"runtime/debug"
	"time"
)

// ServeCmd runs the gate.
type ServeCmd struct {
	Config string `help:"The configuration file." required:"" type:"existingfile" env:"DOORWARD_CONFIG"`
}

// Help is shown by --help.
func (*ServeCmd) Help() string {
	return "Example:\n  doorward serve --config /etc/doorward/doorward.yaml\n\nSIGTERM and Ctrl-C drain it; SIGHUP loads the configuration again."
}

// Run serves until it is told to end.
func (k *ServeCmd) Run(env *Env) error {
	if env.Serve == nil {
		return exitf(CodeError, "this binary cannot serve")
	}
	ctx, stop := interruptible()
	defer stop()
	return env.Serve(ctx, k.Config, func() {
		fmt.Fprintln(env.Stderr, "doorward is ready.")
	})
}

// DemoCmd runs the demonstration.
type DemoCmd struct{}

// Help is shown by --help.
func (*DemoCmd) Help() string {
	return "Example:\n  doorward demo\n\nIt starts a gate with a database of its own and shows what to try."
}

// Run runs it until it is told to end.
func (k *DemoCmd) Run(env *Env) error {
	if env.Demo == nil {
		return exitf(CodeError, "this binary has no demonstration built in; `make demo` in the source runs one")
	}
	ctx, stop := interruptible()
	defer stop()
	return env.Demo(ctx)
}

// TargetCmd groups what operators do about targets.
type TargetCmd struct {
	Plan TargetPlanCmd `cmd:"" help:"Print the SQL of the least-privilege role that the policy needs in a target."`
}

// TargetPlanCmd prints the role.
type TargetPlanCmd struct {
	Target string `arg:"" help:"Name of the target."`
	Config string `help:"The configuration file." required:"" type:"existingfile" env:"DOORWARD_CONFIG"`
	JSONFlag
}

// Help is shown by --help.
func (*TargetPlanCmd) Help() string {
	return "Example:\n  doorward target plan orders-db --config doorward.yaml > role.sql"
}

// Run prints.
func (k *TargetPlanCmd) Run(env *Env) error {
	if env.TargetPlan == nil {
		return exitf(CodeError, "this binary cannot plan targets")
	}
	ctx, stop := interruptible()
	defer stop()
	sql, err := env.TargetPlan(ctx, k.Config, k.Target)
	if err != nil {
		return err
	}
	if k.JSON {
		return printJSON(env.Stdout, map[string]string{"target": k.Target, "sql": sql})
	}
	_, err = fmt.Fprintln(env.Stdout, cleanText(sql))
	return err
}

// HealthCmd is for the probes of containers and service managers.
type HealthCmd struct {
	URL     string        `help:"What to ask." default:"https://127.0.0.1:8443/readyz" name:"url"`
	CA      string        `help:"CA certificate of the server. Not needed for loopback addresses." name:"ca" type:"existingfile"`
	Timeout time.Duration `help:"How long to wait." default:"5s"`
	JSONFlag
}

// Help is shown by --help.
func (*HealthCmd) Help() string {
	return "Example:\n  doorward health --url https://127.0.0.1:8443/healthz\n\nExit codes: 0 ready, 1 not. Certificates of loopback addresses are not checked: nothing secret is sent."
}

// Run asks.
func (k *HealthCmd) Run(env *Env) error {
	u, err := url.Parse(k.URL)
	if err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http") {
		return exitf(CodeUsage, "--url is not an address; it looks like https://127.0.0.1:8443/readyz")
	}
	var ca string
	if k.CA != "" {
		pem, err := readBounded(k.CA, maxCredentials)
		if err != nil {
			return exitf(CodeUsage, "--ca: %w", err)
		}
		ca = string(pem)
	}
	status, err := probe(u, ca, k.Timeout)
	if k.JSON {
		text := ""
		if err != nil {
			text = err.Error()
		}
		if perr := printJSON(env.Stdout, map[string]any{"url": k.URL, "ok": err == nil, "status": status, "error": text}); perr != nil {
			return perr
		}
		if err != nil {
			return &Exit{Code: CodeError}
		}
		return nil
	}
	if err != nil {
		return err
	}
	fmt.Fprintln(env.Stdout, "ok")
	return nil
}

// probe asks a page that carries nothing secret either way.
func probe(u *url.URL, ca string, wait time.Duration) (status int, err error) {
	ctx, done := context.WithTimeout(context.Background(), wait)
	defer done()
	scheme := *u
	scheme.Path, scheme.RawQuery = "", ""
	server := scheme.String()
	if u.Scheme == "http" { // nothing secret is sent, so plain HTTP is fine anywhere
		server = "https://" + u.Host
	}
	c, err := newClient(server, ca, "")
	if err != nil {
		return 0, err
	}
	if t, ok := c.http.Transport.(*http.Transport); ok {
		defer t.CloseIdleConnections()
		if ca == "" && loopback(u.Hostname()) {
			t.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: true} // loopback, and nothing secret
		}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return 0, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return 0, c.explain(err)
	}
	defer resp.Body.Close()
	body, err := readAll(resp.Body, "the answer", 64<<10)
	if err != nil {
		return resp.StatusCode, err
	}
	if resp.StatusCode != http.StatusOK {
		return resp.StatusCode, fmt.Errorf("%s answered %s: %s", cleanLine(u.Host), cleanLine(resp.Status), cleanLine(short(string(body), 200)))
	}
	return resp.StatusCode, nil
}

// VersionCmd says what this is.
type VersionCmd struct{ JSONFlag }

// Help is shown by --help.
func (*VersionCmd) Help() string { return "Example:\n  doorward version --json" }

// Run prints.
func (k *VersionCmd) Run(env *Env) error {
	v, commit := Version()
	if k.JSON {
		return printJSON(env.Stdout, map[string]string{"version": v, "commit": commit, "go": runtime.Version(), "os": runtime.GOOS, "arch": runtime.GOARCH})
	}
	_, err := fmt.Fprintf(env.Stdout, "doorward %s %s (%s, %s/%s)\n", v, commit, runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return err
}

// Version is the module's version and the commit that the binary was built from.
func Version() (version, commit string) {
	version, commit = "devel", "unknown"
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return version, commit
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		version = v
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 {
			commit = s.Value[:12]
		}
	}
	return version, commit
}
