package cli

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/doorward/doorward/internal/api"
)

const (
	endRunTime = 5 * time.Second
	graceTime  = 10 * time.Second // for the command, once doorward itself is told to end
)

// RunCmd runs an agent with a credential of its own.
type RunCmd struct {
	Agent   string        `help:"Name of the agent, as policies and reviewers see it." required:""`
	Task    string        `help:"What the agent is to do: reviewers see it."`
	Target  []string      `help:"Bind the credential to this target; may be repeated. Default: all that you reach." sep:"none"`
	TTL     time.Duration `help:"How long the credential lasts at most. Default: as long as the gate lets it." name:"ttl"`
	Command []string      `arg:"" passthrough:"" help:"The command, after --."`
}

// Help is shown by --help.
func (*RunCmd) Help() string {
	return "Example:\n  doorward run --agent codex --task 'fix order 4711' --target orders-db -- codex\n\nThe command gets PGHOST, PGPORT, PGUSER, PGPASSWORD, PGSSLMODE, PGSSLROOTCERT, DOORWARD_RUN and, where there is only one target, PGDATABASE; PG* and DOORWARD_* settings of your own are taken out. Where there are SSH targets, ssh, scp and sftp find them as TARGET.doorward with a certificate of the run, and your own ssh agent is taken out. Where there are clusters, KUBECONFIG names a configuration with them and nothing else. Where there are HTTP services, DOORWARD_HTTP is where they are (each behind its name), DOORWARD_TOKEN the bearer token and DOORWARD_CA the file of the CA. The credential names you and the agent, cannot approve anything, and ends when the command does. The exit code is the command's own."
}

// Run mints, runs and revokes.
func (k *RunCmd) Run(env *Env) error {
	command := passed(k.Command)
	if len(command) == 0 {
		return exitf(CodeUsage, "which command? Example: doorward run --agent %s -- psql", cleanLine(k.Agent))
	}
	if k.TTL != 0 && (k.TTL < time.Second || k.TTL > 24*time.Hour) {
		return exitf(CodeUsage, "--ttl must be between 1s and 24h")
	}
	path, err := exec.LookPath(command[0])
	if err != nil {
		return exitf(CodeUsage, "%s cannot be run: %w", cleanLine(command[0]), errors.Unwrap(err))
	}
	c, err := signedIn()
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	// An interrupt from the keyboard is the command's to answer, once it runs.
	// Until then it ends doorward.
	early, stopEarly := signal.NotifyContext(ctx, os.Interrupt)
	key, public, err := newSSHKey()
	if err != nil {
		return err
	}
	var run api.RunStarted
	err = c.call(early, http.MethodPost, "/api/v1/runs", api.RunRequest{Agent: k.Agent, SSHKey: public, Task: k.Task, Targets: k.Target, TTL: int64(k.TTL / time.Second)}, &run)
	defer stopEarly()
	if err != nil {
		return err
	}
	defer endRun(env, c, run.Run)
	dir, err := os.MkdirTemp("", "doorward-run-") // mode 0700
	if err != nil {
		return fmt.Errorf("making a folder for the CA certificate: %w", err)
	}
	defer os.RemoveAll(dir)
	vars := append(withoutOthers(os.Environ()), "DOORWARD_RUN="+run.Run)
	if run.Postgres != nil {
		ca := filepath.Join(dir, "ca.pem")
		if err := os.WriteFile(ca, []byte(run.Postgres.CAPEM), 0o600); err != nil {
			return fmt.Errorf("writing the CA certificate: %w", err)
		}
		database, err := onlyTarget(early, c, run.Targets)
		if err != nil {
			return err
		}
		vars = append(vars, postgresVars(run.Postgres.Host, run.Postgres.Port, "agent", run.Token, ca, database)...)
	}
	if run.SSH != nil {
		more, err := runSSH(early, c, filepath.Join(dir, "ssh"), key, public, &run)
		if err != nil {
			return err
		}
		vars = append(vars, more...)
	}
	clusters, err := runKubernetes(early, c, dir, &run)
	if err != nil {
		return err
	}
	services, err := runHTTP(early, c, dir, &run)
	if err != nil {
		return err
	}
	vars = append(append(vars, clusters...), services...)
	if run.Postgres == nil && run.SSH == nil && clusters == nil && services == nil {
		return exitf(CodeError, "the gate serves no protocol that this command can set up")
	}
	fmt.Fprintf(env.Stderr, "doorward: run %s: %s may reach %s until %s, as you and watched; it ends with the command.\n",
		cleanLine(run.Run), cleanLine(k.Agent), cleanLine(orAll(run.Targets)), when(run.Expires))
	if early.Err() != nil {
		return exitf(CodeError, "interrupted before the command began")
	}
	return child(ctx, env, path, command[1:], vars)
}

// runSSH writes the ssh configuration of a run and gives the variables that
// point at it.
func runSSH(ctx context.Context, c *client, dir string, key []byte, public string, run *api.RunStarted) ([]string, error) {
	targets, err := sshTargets(ctx, c)
	if err != nil {
		return nil, err
	}
	if len(run.Targets) > 0 {
		targets = slices.DeleteFunc(targets, func(t string) bool { return !slices.Contains(run.Targets, t) })
	}
	if err := writeSSH(dir, key, public, *run.SSH, targets); err != nil {
		return nil, err
	}
	if err := sshShims(dir); err != nil {
		return nil, err
	}
	return append(sshVars(dir, run.SSH), "PATH="+filepath.Join(dir, "bin")+string(os.PathListSeparator)+os.Getenv("PATH")), nil
}

// onlyTarget gives the target when there is no choice: one was named, or the
// person reaches just one.
func onlyTarget(ctx context.Context, c *client, named []string) (string, error) {
	if len(named) == 0 {
		var all []api.TargetInfo
		if err := c.call(ctx, http.MethodGet, "/api/v1/targets", nil, &all); err != nil {
			return "", err
		}
		for _, t := range all {
			if t.Protocol == "postgres" {
				named = append(named, t.Name)
			}
		}
	}
	if len(named) == 1 {
		return named[0], nil
	}
	return "", nil
}

func orAll(targets []string) string {
	if len(targets) == 0 {
		return "all your targets"
	}
	return strings.Join(targets, ", ")
}

// endRun takes the credential away. When that fails its expiry bounds it.
func endRun(env *Env, c *client, run string) {
	ctx, done := context.WithTimeout(context.Background(), endRunTime)
	defer done()
	if err := c.call(ctx, http.MethodDelete, "/api/v1/runs/"+url.PathEscape(run), nil, nil); err != nil {
		fmt.Fprintf(env.Stderr, "doorward: the credential of run %s could not be ended: %s; it ends by itself. Try `doorward agents revoke %s`.\n", cleanLine(run), cleanLine(err.Error()), cleanLine(run))
	}
}

// postgresVars are libpq's settings for the way through the gate.
func postgresVars(host string, port int, user, token, ca, database string) []string {
	vars := []string{"PGHOST=" + host, "PGPORT=" + strconv.Itoa(port), "PGUSER=" + user, "PGPASSWORD=" + token, "PGSSLMODE=verify-full", "PGSSLROOTCERT=" + ca}
	if database != "" {
		vars = append(vars, "PGDATABASE="+database)
	}
	return vars
}

// withoutOthers is withoutPostgres, and takes out what would lead ssh around
// the gate: an agent with the person's own keys, and so for kubectl and helm.
func withoutOthers(vars []string) []string {
	return slices.DeleteFunc(withoutPostgres(vars), func(v string) bool {
		name, _, _ := strings.Cut(v, "=")
		return name == "SSH_AUTH_SOCK" || name == "SSH_AGENT_PID" || name == "SSH_ASKPASS" || name == "RSYNC_RSH" || name == "GIT_SSH" || name == "GIT_SSH_COMMAND" || strings.HasPrefix(name, "KUBE") || strings.HasPrefix(name, "HELM_KUBE")
	})
}

// withoutPostgres takes out what could lead a client around the gate, or hand
// it another credential: libpq's settings, and doorward's own for the person.
func withoutPostgres(vars []string) []string {
	keep := []string{"PGAPPNAME", "PGCLIENTENCODING", "PGDATESTYLE", "PGTZ", "PGCONNECT_TIMEOUT"}
	return slices.DeleteFunc(slices.Clone(vars), func(v string) bool {
		name, _, _ := strings.Cut(v, "=")
		return (strings.HasPrefix(name, "PG") && !slices.Contains(keep, name)) || strings.HasPrefix(name, "DOORWARD_")
	})
}

// passed is what stands after the options, without the "--" that may lead it.
func passed(args []string) []string {
	if len(args) > 0 && args[0] == "--" {
		return args[1:]
	}
	return args
}

// child runs a command with these variables, hands signals on to it, and gives
// its exit code. When ctx ends the command is told to, and is killed if it
// does not.
func child(ctx context.Context, env *Env, path string, args, vars []string) error {
	cmd := exec.Command(path, args...)
	cmd.Env = vars
	cmd.Stdin, cmd.Stdout, cmd.Stderr = env.Stdin, env.Stdout, env.Stderr
	cmd.WaitDelay = graceTime
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, os.Interrupt, syscall.SIGQUIT)
	defer signal.Stop(signals)
	if err := cmd.Start(); err != nil {
		return exitf(CodeError, "%s cannot be started: %w", cleanLine(path), err)
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	_, tty := terminal(env.Stdin)
	over := ctx.Done()
	var kill <-chan time.Time
	for {
		select {
		case err := <-done:
			return childExit(err)
		case s := <-signals:
			// A terminal has given these to the command already.
			if tty && (s == os.Interrupt || s == syscall.SIGQUIT) {
				continue
			}
			_ = cmd.Process.Signal(s) // it may have ended just now: then done tells
		case <-over:
			over = nil
			_ = cmd.Process.Signal(syscall.SIGTERM)
			kill = time.After(graceTime)
		case <-kill:
			_ = cmd.Process.Kill()
		}
	}
}

func childExit(err error) error {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &exit):
		code := exit.ExitCode()
		if ws, ok := exit.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
			code = 128 + int(ws.Signal())
		}
		return &Exit{Code: code}
	}
	return exitf(CodeError, "waiting for the command: %w", err)
}
