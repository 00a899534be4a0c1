package sshtest

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/doorward/doorward/e2e/pgtest"
)

// Server is a running sshd. Unless it is bare it passes no signals on: sshd does
// so neither for root nor for what a ForceCommand started. It lets the user that this program runs as in, and
// holds nobody back: it takes every environment variable and forwards what it
// is asked to, so that what a gate lets through has its effect.
type Server struct {
	Host    string
	Port    int
	User    string // the account
	Dir     string
	HostKey string // public, as in "ssh-ed25519 AAAA…"
	Key     []byte // PEM of the private key that signs in

	signer ssh.Signer
	config string
	bare   bool
	proc   *pgtest.Process
}

// Options of a server.
type Options struct {
	Certificates bool     // certificates of the authority that Trust names sign in, too
	Bare         bool     // takes signals for what it runs, as an account that is not root, and does not note it
	Lines        []string // further lines of sshd_config; the first of two wins
}

// wrapper is what sshd runs in place of every command (ForceCommand): it notes
// the command and the environment, and then runs the command as sshd would.
const wrapper = `#!/bin/sh
new=$(/usr/bin/mktemp '%[1]s/.new-XXXXXXXXXX') || exit 97
{ printf '%%s\0' "$SSH_ORIGINAL_COMMAND"; /usr/bin/env -0; } >"$new"
/bin/mv "$new" "%[1]s/ran-${new##*-}"
unset new
cd "$HOME" || exit 97
if [ -z "$SSH_ORIGINAL_COMMAND" ]; then exec "$SHELL" -l; fi
exec "$SHELL" -c "$SSH_ORIGINAL_COMMAND"
`

// mark is in the environment of all that a server runs.
const mark = "DOORWARD_SSHTEST"

// Bin is the path of sshd.
func Bin() (string, error) {
	for _, name := range []string{"sshd", "/usr/sbin/sshd", "/usr/local/sbin/sshd"} {
		p, err := exec.LookPath(name)
		if err == nil {
			return filepath.Abs(p) // sshd starts itself anew and wants its whole path
		}
	}
	return "", fmt.Errorf("no sshd found: run scripts/setup.sh, or install the package openssh-server")
}

// Start runs a server with keys of its own on a free loopback port.
func Start(ctx context.Context, opt Options) (*Server, error) {
	bin, err := Bin()
	if err != nil {
		return nil, err
	}
	me, err := user.Current()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(memory(), "doorward-sshd-")
	if err != nil {
		return nil, err
	}
	s := &Server{Host: "127.0.0.1", User: me.Username, Dir: dir, bare: opt.Bare}
	if err := s.prepare(opt); err != nil {
		s.Stop()
		return nil, err
	}
	for range 5 { // another program may take the port between our look and our start
		if s.Port, err = pgtest.FreePort(); err != nil {
			break
		}
		if err = s.run(ctx, bin); err == nil {
			return s, nil
		} else if !strings.Contains(err.Error(), "Address already in use") {
			break
		}
	}
	s.Stop()
	return nil, err
}

// memory is a file system in memory, or "": a session writes a file.
func memory() string {
	const dir = "/dev/shm"
	if os.Getenv("TMPDIR") != "" || syscall.Access(dir, 2) != nil {
		return ""
	}
	return dir
}

// Home is where what it runs starts, and its $HOME: empty, for what a real
// account runs at each sign-in would be part of every test.
func (s *Server) Home() string { return s.path("home") }

func (s *Server) path(name string) string { return filepath.Join(s.Dir, name) }

// NewKey makes a key: its PEM, and the signer.
func NewKey() ([]byte, ssh.Signer, error) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		return nil, nil, err
	}
	signer, err := ssh.NewSignerFromKey(private)
	return pem.EncodeToMemory(block), signer, err
}

// Line is a public key as it stands in files, without a comment.
func Line(k ssh.PublicKey) string { return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(k))) }

func (s *Server) prepare(opt Options) error {
	var err error
	if s.Key, s.signer, err = NewKey(); err != nil {
		return err
	}
	if err := s.newHostKey(); err != nil {
		return err
	}
	if os.Getuid() == 0 {
		// sshd wants an empty folder to lock its unprivileged part into.
		if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
			return err
		}
	}
	for _, dir := range []string{"ran", "home"} {
		if err := os.Mkdir(s.path(dir), 0o700); err != nil {
			return err
		}
	}
	if s.bare {
		// The user that PostgreSQL runs as, where this program is root.
		cmd := &exec.Cmd{}
		if err := pgtest.Unprivileged(cmd); err != nil {
			return err
		}
		if a := cmd.SysProcAttr; a != nil && a.Credential != nil {
			u, err := user.LookupId(strconv.Itoa(int(a.Credential.Uid)))
			if err != nil {
				return err
			}
			s.User = u.Username
		}
	}
	lines := append(slices.Clone(opt.Lines),
		"ListenAddress 127.0.0.1", "HostKey "+s.path("host"), "AuthorizedKeysFile "+s.path("keys"), "PidFile none",
		"AllowUsers "+s.User, "PermitRootLogin prohibit-password", "PasswordAuthentication no", "KbdInteractiveAuthentication no",
		"UsePAM no", "StrictModes no", "LogLevel DEBUG1", "UseDNS no", "PrintMotd no", "PrintLastLog no",
		"MaxSessions 200", "MaxStartups 200", "LoginGraceTime 30",
		"AcceptEnv *", "AllowTcpForwarding yes", "AllowStreamLocalForwarding yes", "AllowAgentForwarding yes", "X11Forwarding yes", "PermitTunnel yes", "GatewayPorts clientspecified",
		"SetEnv "+mark+"="+s.Dir+" HOME="+s.Home(), "Subsystem sftp "+sftpServer(), "Subsystem netconf /bin/cat",
	)
	if !s.bare {
		lines = append(lines, "ForceCommand "+s.path("wrapper"))
	}
	if opt.Certificates {
		lines = append(lines, "TrustedUserCAKeys "+s.path("ca"))
	}
	s.config = strings.Join(lines, "\n") + "\n"
	for name, data := range map[string]string{"keys": Line(s.signer.PublicKey()) + "\n", "ca": "", "wrapper": fmt.Sprintf(wrapper, s.path("ran"))} {
		if err := os.WriteFile(s.path(name), []byte(data), 0o700); err != nil {
			return err
		}
	}
	return nil
}

// give makes all files those of the account.
func (s *Server) give() error {
	if !s.bare {
		return nil
	}
	return filepath.WalkDir(s.Dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return pgtest.Own(path)
	})
}

func sftpServer() string {
	for _, p := range []string{"/usr/lib/openssh/sftp-server", "/usr/libexec/openssh/sftp-server", "/usr/libexec/sftp-server", "/usr/lib/ssh/sftp-server"} {
		if _, err := os.Stat(p); err == nil {
			return p
		}
	}
	return "internal-sftp"
}

func (s *Server) newHostKey() error {
	text, signer, err := NewKey()
	if err != nil {
		return err
	}
	s.HostKey = Line(signer.PublicKey())
	return os.WriteFile(s.path("host"), text, 0o600)
}

func (s *Server) run(ctx context.Context, bin string) error {
	if err := os.WriteFile(s.path("config"), fmt.Appendf(nil, "Port %d\n%s", s.Port, s.config), 0o600); err != nil {
		return err
	}
	if err := s.give(); err != nil {
		return err
	}
	cmd := exec.Command(bin, "-D", "-f", s.path("config"), "-E", s.path("log"))
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=" + s.Dir}
	cmd.Dir = s.Dir
	// A file, not a pipe: sessions that outlive sshd would hold a pipe open.
	out, err := os.Create(s.path("printed"))
	if err != nil {
		return err
	}
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, out
	if s.bare {
		if err := pgtest.Unprivileged(cmd); err != nil {
			return err
		}
	}
	if s.proc, err = pgtest.Spawn(cmd, syscall.SIGKILL); err != nil {
		return err
	}
	deadline := time.Now().Add(20 * time.Second)
	for {
		c, err := s.Dial(ctx)
		if err == nil {
			return c.Close()
		}
		if s.proc.Ended() || time.Now().After(deadline) || ctx.Err() != nil {
			printed, _ := os.ReadFile(s.path("printed"))
			return fmt.Errorf("sshd did not come up: %w\n%s\n%s", err, printed, s.Log())
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// Addr is host:port.
func (s *Server) Addr() string { return net.JoinHostPort(s.Host, strconv.Itoa(s.Port)) }

// Log is what sshd logged, with debugging.
func (s *Server) Log() string {
	b, _ := os.ReadFile(s.path("log"))
	return string(b)
}

// Dial signs in beside everything.
func (s *Server) Dial(ctx context.Context) (*ssh.Client, error) {
	raw, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "tcp", s.Addr())
	if err != nil {
		return nil, err
	}
	key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(s.HostKey))
	if err != nil {
		return nil, err
	}
	_ = raw.SetDeadline(time.Now().Add(10 * time.Second))
	c, chans, reqs, err := ssh.NewClientConn(raw, s.Addr(), &ssh.ClientConfig{User: s.User, Auth: []ssh.AuthMethod{ssh.PublicKeys(s.signer)}, HostKeyCallback: ssh.FixedHostKey(key)})
	if err != nil {
		raw.Close()
		return nil, err
	}
	_ = raw.SetDeadline(time.Time{})
	return ssh.NewClient(c, chans, reqs), nil
}

// Result of a command that ran beside the gate.
type Result struct {
	Stdout, Stderr string
	Status         int // -1: none came
}

// Run runs a command beside everything.
func (s *Server) Run(ctx context.Context, command string) (Result, error) {
	c, err := s.Dial(ctx)
	if err != nil {
		return Result{}, err
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { c.Close() })()
	session, err := c.NewSession()
	if err != nil {
		return Result{}, err
	}
	var out, errs bytes.Buffer
	session.Stdout, session.Stderr = &out, &errs
	err = session.Run(command)
	r := Result{Stdout: out.String(), Stderr: errs.String()}
	switch e := err.(type) {
	case nil:
	case *ssh.ExitError:
		r.Status = e.ExitStatus()
	case *ssh.ExitMissingError:
		r.Status = -1
	default:
		return r, err
	}
	return r, nil
}

// Ran is one command that the server really ran.
type Ran struct {
	Command string // "": a login shell
	Env     map[string]string
	at      time.Time
}

// Ran lists what the server ran since the start or the last Forget, in order.
func (s *Server) Ran() ([]Ran, error) {
	if s.bare {
		return nil, errors.New("a bare server does not note what it runs")
	}
	files, err := filepath.Glob(s.path("ran/ran-*"))
	if err != nil {
		return nil, err
	}
	var out []Ran
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			return nil, err
		}
		st, err := os.Stat(f)
		if err != nil {
			return nil, err
		}
		command, rest, ok := strings.Cut(string(b), "\x00")
		if !ok {
			return nil, fmt.Errorf("%s is not whole", f)
		}
		r := Ran{Command: command, Env: map[string]string{}, at: st.ModTime()}
		for _, v := range strings.Split(rest, "\x00") {
			if k, v, ok := strings.Cut(v, "="); ok {
				r.Env[k] = v
			}
		}
		out = append(out, r)
	}
	slices.SortFunc(out, func(a, b Ran) int { return a.at.Compare(b.at) })
	return out, nil
}

// Commands are those of Ran.
func (s *Server) Commands() ([]string, error) {
	list, err := s.Ran()
	var out []string
	for _, r := range list {
		out = append(out, r.Command)
	}
	return out, err
}

// Forget empties what Ran and Log give.
func (s *Server) Forget() error {
	files, err := filepath.Glob(s.path("ran/ran-*"))
	for _, f := range files {
		if e := os.Remove(f); e != nil {
			err = e
		}
	}
	if e := os.Truncate(s.path("log"), 0); e != nil {
		err = e
	}
	return err
}

// Running lists the processes of this server's sessions, by what they run.
func (s *Server) Running() map[int]string {
	out := map[int]string{}
	found, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, f := range found {
		b, err := os.ReadFile(f)
		if err != nil || !slices.Contains(strings.Split(string(b), "\x00"), mark+"="+s.Dir) {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(f)))
		if err != nil {
			continue
		}
		line, _ := os.ReadFile(filepath.Join(filepath.Dir(f), "cmdline"))
		out[pid] = strings.TrimSpace(strings.ReplaceAll(string(line), "\x00", " "))
	}
	return out
}

// ReplaceHostKey has the server come back with another host key, as a host
// that was set up anew, or one in between, would.
func (s *Server) ReplaceHostKey(ctx context.Context) error {
	bin, err := Bin()
	if err != nil {
		return err
	}
	s.end()
	if err := s.newHostKey(); err != nil {
		return err
	}
	return s.run(ctx, bin)
}

// Trust names the authority whose certificates sign in from now on.
func (s *Server) Trust(authority string) error {
	return os.WriteFile(s.path("ca"), []byte(strings.TrimSpace(authority)+"\n"), 0o600)
}

// Pause stops the server from answering (dead network, not a closed port).
func (s *Server) Pause() error { return s.proc.Signal(syscall.SIGSTOP) }

// Resume undoes Pause.
func (s *Server) Resume() error { return s.proc.Signal(syscall.SIGCONT) }

// end ends sshd and the sessions that it started.
func (s *Server) end() error {
	if s.proc == nil {
		return nil
	}
	var err error
	if !s.proc.Ended() {
		s.proc.Signal(syscall.SIGCONT)
		err = s.proc.Stop(syscall.SIGTERM, 5*time.Second)
	}
	// Its children are in the group that Spawn made; commands are in groups of
	// their own and carry the mark.
	syscall.Kill(-s.proc.PID(), syscall.SIGKILL)
	for pid := range s.Running() {
		syscall.Kill(pid, syscall.SIGKILL)
	}
	return err
}

// Stop ends the server and what it still runs, and removes its folder.
func (s *Server) Stop() error {
	err := s.end()
	os.RemoveAll(s.Dir)
	return err
}
