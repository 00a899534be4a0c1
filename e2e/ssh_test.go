package e2e

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/doorward/doorward/e2e/cases"
	"github.com/doorward/doorward/e2e/harness"
	"github.com/doorward/doorward/e2e/sshcases"
	"github.com/doorward/doorward/e2e/sshtest"
)

// TestSSHCorpus runs every adversarial SSH case.
func TestSSHCorpus(t *testing.T) {
	dir := root(t)
	list, err := sshcases.Load(filepath.Join(dir, "e2e/testdata/corpus/ssh.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	out, err := sshcases.Run(t.Context(), list, sshcases.Options{
		Policies: filepath.Join(dir, "e2e/policies"),
		Report: func(o cases.Outcome) {
			if !o.OK {
				t.Errorf("%s (%s) %s: %q", o.ID, o.Outcome, o.Title, o.Problems)
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Log(cases.Summarise(out))
}

// TestSSHCorpusIsReal checks that what the cases show is there without doorward.
func TestSSHCorpusIsReal(t *testing.T) {
	list, err := sshcases.Load(filepath.Join(root(t), "e2e/testdata/corpus/ssh.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	_, err = sshcases.Run(t.Context(), list, sshcases.Options{Direct: true, Report: func(o cases.Outcome) {
		if !o.OK {
			t.Errorf("%s %s: %q", o.ID, o.Title, o.Problems)
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
}

// hosts is a host with sshd, and a doorward before it.
type hosts struct {
	t    *testing.T
	sshd *sshtest.Server
	gate *harness.Gate
	ada  *harness.Client
	dora *harness.Client
	dir  string // of the clients' files
	cert string // ssh's configuration: signs in by certificate
	pass string // and by password
}

// target is the name of the host behind doorward.
const orders = "orders-host"

// openHost starts a host and a doorward; change may adjust the configuration.
func openHost(t *testing.T, opt sshtest.Options, change func(*harness.Config, *sshtest.Server)) *hosts {
	t.Helper()
	ctx := t.Context()
	for _, name := range []string{"ssh", "ssh-agent", "scp", "sftp", "rsync", "script"} {
		if _, err := exec.LookPath(name); err != nil {
			t.Fatalf("%s is missing: run scripts/setup.sh", name)
		}
	}
	s, err := sshtest.Start(ctx, opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Stop() })
	// What is asked for runs, in the host's home for files; what the tests name
	// is held or refused.
	rules := []any{
		map[string]any{"name": "programs", "targets": []string{"*"}, "when": "effect.kinds.all(k, k in ['exec', 'script', 'pty', 'shell', 'sftp'])", "incomplete": false, "then": "allow", "limits": map[string]any{"bytes": "1GiB", "time": "120s"}},
		map[string]any{"name": "files", "targets": []string{"*"}, "when": "effect.kinds.all(k, k.startsWith('sftp ')) && effect.objects.all(o, o.kind != 'file' || o.name.startsWith('" + s.Home() + "/') || o.name == '" + s.Home() + "')", "then": "allow"},
		map[string]any{"name": "look-around", "targets": []string{"*"}, "when": "effect.kinds.all(k, k in ['sftp stat', 'sftp lstat'])", "then": "allow"},
		map[string]any{"name": "one-address", "targets": []string{"*"}, "when": "effect.kinds.all(k, k == 'forward') && effect.objects.all(o, o.name == '" + s.Addr() + "')", "then": "allow"},
		map[string]any{"name": "held", "targets": []string{"*"}, "commands": []string{"touch " + s.Home() + "/{name}"}, "words": map[string]any{"name": "held-[a-z]+"}, "then": "review", "reviewers": map[string]any{"groups": []string{"dba"}}},
		map[string]any{"name": "no-reboot", "targets": []string{"*"}, "commands": []string{"reboot"}, "then": "deny", "reason": "the host stays up", "hint": "Ask the operators for a maintenance window."},
	}
	c := &harness.Config{Users: users, Rules: rules, Wait: 20 * time.Second, Hosts: []harness.Host{
		{Name: orders, Address: s.Addr(), User: s.User, Key: s.Key, HostKeys: []string{s.HostKey}},
	}}
	if change != nil {
		change(c, s)
	}
	g := startGate(t, c)
	h := &hosts{t: t, sshd: s, gate: g, dir: t.TempDir()}
	if h.ada, err = g.SignIn(ctx, "ada"); err != nil {
		t.Fatal(err)
	}
	if h.dora, err = g.SignIn(ctx, "dora"); err != nil {
		t.Fatal(err)
	}
	h.certificate()
	h.password("password", h.ada.Token)
	if err := s.Forget(); err != nil {
		t.Fatal(err)
	}
	return h
}

func (h *hosts) write(name, text string, mode os.FileMode) string {
	h.t.Helper()
	p := filepath.Join(h.dir, name)
	if err := os.WriteFile(p, []byte(text), mode); err != nil {
		h.t.Fatal(err)
	}
	return p
}

func (h *hosts) cli(args ...string) string {
	h.t.Helper()
	return doorwardAs(h.t, h.gate, h.ada, args...)
}

// certificate has doorward write keys and configuration, as a person would.
func (h *hosts) certificate() {
	dir := filepath.Join(h.dir, "cert")
	h.cli("ssh-cert", "--out", dir)
	h.cert = filepath.Join(dir, "config")
}

// password writes a configuration that signs in with the credential as the
// password, by way of a program that prints it.
func (h *hosts) password(name, secret string) string {
	h.t.Helper()
	askpass := h.write(name+"-askpass", "#!/bin/sh\ncat '"+h.write(name+"-secret", secret, 0o600)+"'\n", 0o700)
	host, port, _ := strings.Cut(h.gate.SSH, ":")
	h.pass = h.write(name+"-config", fmt.Sprintf(`Host %s.doorward
  HostName %s
  Port %s
  User %s
  HostKeyAlias doorward
  UserKnownHostsFile %s
  GlobalKnownHostsFile /dev/null
  StrictHostKeyChecking yes
  PubkeyAuthentication no
  PreferredAuthentications password
  NumberOfPasswordPrompts 1
`, orders, host, port, orders, filepath.Join(h.dir, "cert", "known_hosts")), 0o600)
	h.write(name+"-env", askpass, 0o600)
	return h.pass
}

// ran is how a program ended.
type ended struct {
	out, err string
	status   int
}

// env is the environment of clients: none of this machine's own agents and
// configuration.
func (h *hosts) env(config string) []string {
	askpass, _ := os.ReadFile(strings.TrimSuffix(config, "-config") + "-env")
	return []string{"PATH=" + os.Getenv("PATH"), "HOME=" + h.dir, "TERM=xterm-256color", "SSH_ASKPASS=" + string(askpass), "SSH_ASKPASS_REQUIRE=force", "DISPLAY=:99"}
}

// command prepares a client's program; its process ends with the test.
func (h *hosts) command(config string, args ...string) *exec.Cmd {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(h.t.Context(), time.Minute)
	h.t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Env, cmd.Dir, cmd.WaitDelay = h.env(config), h.dir, 5*time.Second
	return cmd
}

func (h *hosts) run(cmd *exec.Cmd) ended {
	h.t.Helper()
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		h.t.Fatalf("%s: %v\n%s%s", strings.Join(cmd.Args, " "), err, &out, &errs)
	}
	return ended{out.String(), errs.String(), cmd.ProcessState.ExitCode()}
}

// ssh runs ssh by certificate.
func (h *hosts) ssh(args ...string) ended {
	h.t.Helper()
	return h.run(h.command(h.cert, append([]string{"ssh", "-F", h.cert, orders + ".doorward"}, args...)...))
}

// works wants a program to succeed and to say nothing about it.
func (h *hosts) works(e ended) {
	h.t.Helper()
	if e.status != 0 || strings.Contains(e.err, "doorward:") {
		h.t.Errorf("exit status %d\n%s%s", e.status, e.out, e.err)
	}
}

// refused wants a program to be refused, with a message.
func (h *hosts) refused(e ended, says ...string) {
	h.t.Helper()
	if e.status == 0 || !strings.Contains(e.err, "doorward: ") {
		h.t.Errorf("exit status %d, not refused:\n%s%s", e.status, e.out, e.err)
	}
	for _, s := range says {
		if !strings.Contains(strings.ToLower(e.err), strings.ToLower(s)) {
			h.t.Errorf("the message has no %q:\n%s", s, e.err)
		}
	}
}

// nothing wants the host to have run nothing.
func (h *hosts) nothing() {
	h.t.Helper()
	if ran, err := h.sshd.Commands(); err != nil || len(ran) > 0 {
		h.t.Errorf("the host ran %q (%v)", ran, err)
	}
}

func (h *hosts) forget() {
	h.t.Helper()
	if err := h.sshd.Forget(); err != nil {
		h.t.Fatal(err)
	}
}

// on runs f as a subtest that h reports to.
func (h *hosts) on(name string, f func(t *testing.T)) {
	outer := h.t
	outer.Run(name, func(t *testing.T) {
		h.t = t
		defer func() { h.t = outer }()
		h.forget()
		f(t)
	})
}

func random(t *testing.T, n int) []byte {
	t.Helper()
	b := make([]byte, n)
	if _, err := rand.Read(b); err != nil {
		t.Fatal(err)
	}
	return b
}

// same wants two files to be alike.
func (h *hosts) same(a, b string) {
	h.t.Helper()
	x, err1 := os.ReadFile(a)
	y, err2 := os.ReadFile(b)
	if err1 != nil || err2 != nil || !bytes.Equal(x, y) {
		h.t.Errorf("%s (%d bytes, %v) and %s (%d bytes, %v) differ", a, len(x), err1, b, len(y), err2)
	}
}

// sessionOf finds the live or recorded session that shows the text.
func (h *hosts) sessionOf(text string) string {
	h.t.Helper()
	return sessionShowing(h.t, h.ada, orders, text)
}

// waiting gives the one review that waits.
func (h *hosts) waiting() harness.Review {
	h.t.Helper()
	for range 200 {
		if list, err := h.dora.Reviews(h.t.Context(), "waiting"); err == nil && len(list) == 1 {
			return list[0]
		}
		time.Sleep(50 * time.Millisecond)
	}
	h.t.Fatal("no review waits")
	return harness.Review{}
}

// audited stops doorward and checks its whole record offline.
func (h *hosts) audited() {
	h.t.Helper()
	auditedWhole(h.t, h.gate)
}

// TestSSHClients has the programs of OpenSSH, and rsync, work through doorward
// as they are.
func TestSSHClients(t *testing.T) {
	h := openHost(t, sshtest.Options{}, nil)
	host, home := orders+".doorward", h.sshd.Home()

	h.on("streams", func(t *testing.T) {
		for name, config := range map[string]string{"password": h.pass, "certificate": h.cert} {
			cmd := h.command(config, "ssh", "-F", config, host, "cat; echo problem >&2; exit 7")
			cmd.Stdin = strings.NewReader("one\x00two\nthree")
			e := h.run(cmd)
			if e.out != "one\x00two\nthree" || e.err != "problem\n" || e.status != 7 {
				t.Errorf("by %s: %+v", name, e)
			}
		}
		if ran, err := h.sshd.Commands(); err != nil || len(ran) != 2 || ran[0] != "cat; echo problem >&2; exit 7" {
			t.Errorf("the host ran %q (%v)", ran, err)
		}
	})
	h.on("wrong password", func(t *testing.T) {
		bad := h.ada.Token[:len(h.ada.Token)-2] + "xx"
		good := h.pass
		config := h.password("wrong", bad)
		h.pass = good
		e := h.run(h.command(config, "ssh", "-F", config, host, "true"))
		if e.status != 255 || !strings.Contains(e.err, "Permission denied") || strings.Contains(e.err, bad) {
			t.Errorf("%+v", e)
		}
		h.nothing()
	})
	h.on("unknown target", func(t *testing.T) {
		e := h.run(h.command(h.cert, "ssh", "-F", h.cert, "-l", "nowhere", host, "true"))
		if e.status != 255 || !strings.Contains(e.err, "Permission denied") {
			t.Errorf("%+v", e)
		}
		e = h.run(h.command(h.cert, "ssh", "-F", h.cert, "-l", "nobody@"+orders, host, "true"))
		h.refused(e, "account")
		h.nothing()
	})
	h.on("refused", func(t *testing.T) {
		e := h.ssh("reboot")
		h.refused(e, "the host stays up", "no-reboot", "maintenance window")
		if e.status != 126 || e.out != "" {
			t.Errorf("%+v", e)
		}
		h.nothing()
	})
	h.on("signal", func(t *testing.T) {
		if e := h.ssh("kill -USR1 $$"); e.status != 255 && e.status != 138 {
			t.Errorf("%+v", e)
		}
	})
	h.on("terminal", func(t *testing.T) {
		e := h.run(h.command(h.cert, "script", "-qec", "ssh -F '"+h.cert+"' -t "+host+" 'tty; stty size; echo $TERM'", "/dev/null"))
		if e.status != 0 || !strings.Contains(e.out, "/dev/pts/") || !strings.Contains(e.out, "xterm-256color") {
			t.Errorf("%+v", e)
		}
		cmd := h.command(h.cert, "ssh", "-F", h.cert, "-tt", host)
		cmd.Stdin = strings.NewReader("echo $((40+2)) is the answer\nexit 3\n")
		e = h.run(cmd)
		if e.status != 3 || !strings.Contains(e.out, "42 is the answer") {
			t.Errorf("a shell: %+v", e)
		}
		ran, err := h.sshd.Ran()
		if err != nil || len(ran) != 2 || ran[0].Env["SSH_TTY"] == "" || ran[1].Command != "" {
			t.Errorf("the host ran %+v (%v)", ran, err)
		}
	})
	h.on("variables", func(t *testing.T) {
		cmd := h.command(h.cert, "ssh", "-F", h.cert, "-o", "SendEnv=LC_TEST", host, "true")
		cmd.Env = append(cmd.Env, "LC_TEST=nb_NO.UTF-8")
		h.works(h.run(cmd))
		if ran, err := h.sshd.Ran(); err != nil || len(ran) != 1 || ran[0].Env["LC_TEST"] != "nb_NO.UTF-8" {
			t.Errorf("the host ran %+v (%v)", ran, err)
		}
		h.forget()
		h.refused(h.run(h.command(h.cert, "ssh", "-F", h.cert, "-o", "SetEnv=LC_TEST=/tmp/catalog", host, "true")), "LC_TEST")
		h.refused(h.run(h.command(h.cert, "ssh", "-F", h.cert, "-o", "SetEnv=BASH_ENV=/tmp/x", host, "true")), "BASH_ENV")
		h.nothing()
	})
	h.on("agent and X11", func(t *testing.T) {
		// ssh goes on without what it is refused.
		e := h.run(h.command(h.cert, "ssh-agent", "ssh", "-F", h.cert, "-A", "-X", host, "true"))
		if e.status != 0 {
			t.Errorf("%+v", e)
		}
		ran, err := h.sshd.Ran()
		if err != nil || len(ran) != 1 || ran[0].Env["SSH_AUTH_SOCK"] != "" || ran[0].Env["DISPLAY"] != "" {
			t.Errorf("the host ran %+v (%v)", ran, err)
		}
		h.hasEvent("request.refused", "auth-agent-req@openssh.com")
		h.hasEvent("request.refused", "x11-req")
	})
	h.on("doorward run", func(t *testing.T) {
		out := h.cli("run", "--agent", "codex", "--target", orders, "--", "sh", "-c", "ssh "+host+" 'echo from the run' && scp -q '"+h.pass+"' "+host+":by-run")
		if !strings.Contains(out, "from the run") {
			t.Errorf("%q", out)
		}
		h.same(h.pass, filepath.Join(home, "by-run"))
		h.hasEvent("session.open", "codex")
	})
	h.on("remote forwarding", func(t *testing.T) {
		e := h.run(h.command(h.cert, "ssh", "-F", h.cert, "-o", "ExitOnForwardFailure=yes", "-R", "0:127.0.0.1:1", host, "true"))
		if e.status == 0 {
			t.Errorf("%+v", e)
		}
		h.nothing()
	})
	for _, mode := range []string{"-s", "-O"} {
		h.on("scp "+mode, func(t *testing.T) {
			up := h.write("up", string(random(t, 3<<20)), 0o640)
			there := filepath.Join(home, "scp"+mode)
			h.works(h.run(h.command(h.cert, "scp", mode, "-F", h.cert, "-p", up, host+":"+there)))
			h.same(up, there)
			down := filepath.Join(h.dir, "down"+mode)
			h.works(h.run(h.command(h.cert, "scp", mode, "-F", h.cert, host+":"+there, down)))
			h.same(up, down)
		})
	}
	h.on("sftp", func(t *testing.T) {
		up := h.write("up", string(random(t, 1<<20)), 0o600)
		batch := h.write("batch", strings.Join([]string{
			"mkdir box", "put " + up + " box/a", "rename box/a box/b", "chmod 600 box/b", "symlink b box/link", "ls -l box", "get box/link " + filepath.Join(h.dir, "down"),
			"rm box/link", "rm box/b", "rmdir box", "put " + up + " kept", "pwd",
		}, "\n")+"\n", 0o600)
		e := h.run(h.command(h.cert, "sftp", "-F", h.cert, "-b", batch, host))
		h.works(e)
		if !strings.Contains(e.out, home) {
			t.Errorf("pwd is not the home:\n%s", e.out)
		}
		h.same(up, filepath.Join(h.dir, "down"))
		h.same(up, filepath.Join(home, "kept"))
		if _, err := os.Stat(filepath.Join(home, "box")); !os.IsNotExist(err) {
			t.Errorf("box is still there: %v", err)
		}
	})
	h.on("sftp refused", func(t *testing.T) {
		if err := os.Symlink("/etc/passwd", filepath.Join(home, "innocent")); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink("/etc", filepath.Join(home, "etc")); err != nil {
			t.Fatal(err)
		}
		out := filepath.Join(h.dir, "stolen")
		for _, line := range []string{
			"get /etc/passwd " + out, "get ../../../../../../etc/passwd " + out, "get innocent " + out, "get etc/passwd " + out,
			"put " + h.cert + " /tmp/doorward-e2e-must-not-be", "ls /etc", "rename innocent /tmp/doorward-e2e-must-not-be", "mkdir etc/doorward-e2e-must-not-be", "ln innocent hard",
		} {
			e := h.run(h.command(h.cert, "sftp", "-F", h.cert, "-b", h.write("batch", line+"\n", 0o600), host))
			if e.status == 0 {
				t.Errorf("%s went through:\n%s%s", line, e.out, e.err)
			}
			if b, err := os.ReadFile(out); err == nil && bytes.Contains(b, []byte("root:x:0:0")) {
				t.Errorf("%s gave the file", line)
			}
			os.Remove(out)
		}
		for _, p := range []string{"/tmp/doorward-e2e-must-not-be", "/etc/doorward-e2e-must-not-be", filepath.Join(home, "hard")} {
			if _, err := os.Lstat(p); err == nil {
				t.Errorf("%s was made", p)
				os.Remove(p)
			}
		}
	})
	h.on("rsync", func(t *testing.T) {
		from, back := filepath.Join(h.dir, "tree"), filepath.Join(h.dir, "back")
		for i := range 20 {
			p := filepath.Join(from, fmt.Sprint("d", i%3), fmt.Sprint("f", i))
			if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(p, random(t, 1000*i), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		shell := "ssh -F " + h.cert
		h.works(h.run(h.command(h.cert, "rsync", "-az", "-e", shell, from+"/", host+":synced/")))
		h.works(h.run(h.command(h.cert, "rsync", "-az", "-e", shell, host+":synced/", back+"/")))
		if out, err := exec.Command("diff", "-r", from, back).CombinedOutput(); err != nil {
			t.Errorf("the trees differ: %v\n%s", err, out)
		}
	})
	h.on("large output", func(t *testing.T) {
		big := filepath.Join(home, "big")
		if err := os.WriteFile(big, random(t, 64<<20), 0o600); err != nil {
			t.Fatal(err)
		}
		defer os.Remove(big)
		got := filepath.Join(h.dir, "big")
		f, err := os.Create(got)
		if err != nil {
			t.Fatal(err)
		}
		cmd := h.command(h.cert, "ssh", "-F", h.cert, "-o", "RekeyLimit=8M", host, "cat big")
		var errs bytes.Buffer
		cmd.Stdout, cmd.Stderr = f, &errs
		start := time.Now()
		if err := cmd.Run(); err != nil {
			t.Errorf("%v\n%s", err, &errs)
		}
		t.Logf("64 MiB took %s", time.Since(start))
		f.Close()
		h.same(big, got)
	})
	h.on("large input", func(t *testing.T) {
		data := random(t, 16<<20)
		cmd := h.command(h.cert, "ssh", "-F", h.cert, host, "cat > streamed")
		cmd.Stdin = bytes.NewReader(data)
		h.works(h.run(cmd))
		h.same(h.write("data", string(data), 0o600), filepath.Join(home, "streamed"))
	})
	h.on("jump", func(t *testing.T) {
		key := h.write("inner", string(h.sshd.Key), 0o600)
		known := h.write("inner-known", "inner "+h.sshd.HostKey+"\n", 0o600)
		inner := func(addr string) ended {
			name, port, _ := strings.Cut(addr, ":")
			text, err := os.ReadFile(h.cert)
			if err != nil {
				t.Fatal(err)
			}
			config := h.write("jump-config", fmt.Sprintf("Host inner\n  HostName %s\n  Port %s\n  User %s\n  IdentityFile %s\n  IdentitiesOnly yes\n  UserKnownHostsFile %s\n  HostKeyAlias inner\n  StrictHostKeyChecking yes\n%s", name, port, h.sshd.User, key, known, text), 0o600)
			return h.run(h.command(config, "ssh", "-F", config, "-J", host, "inner", "echo inside"))
		}
		e := inner(h.sshd.Addr())
		h.works(e)
		if e.out != "inside\n" {
			t.Errorf("%+v", e)
		}
		h.forget()
		other, err := sshtest.StartRogue()
		if err != nil {
			t.Fatal(err)
		}
		defer other.Close()
		if e := inner(other.Addr()); e.status == 0 || !strings.Contains(e.err, "doorward") {
			t.Errorf("to another address: %+v", e)
		}
		if seen := other.Seen(); len(seen) > 0 {
			t.Errorf("the other address was reached: %q", seen)
		}
	})
	h.on("port forwarding", func(t *testing.T) { h.localForward(t, host) })
	h.on("shared connection", func(t *testing.T) {
		control := filepath.Join(h.dir, "cm")
		opts := []string{"-F", h.cert, "-o", "ControlMaster=auto", "-o", "ControlPersist=60", "-o", "ControlPath=" + control}
		first := h.command(h.cert, append(append([]string{"ssh"}, opts...), host, "echo first")...)
		// The master keeps standard error open: it goes nowhere.
		out, err := first.Output()
		if err != nil || string(out) != "first\n" {
			t.Fatalf("%q, %v", out, err)
		}
		defer func() { h.run(h.command(h.cert, append(append([]string{"ssh"}, opts...), "-O", "exit", host)...)) }()
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				cmd := h.command(h.cert, append(append([]string{"ssh"}, opts...), host, fmt.Sprintf("sleep 0.3; echo %d; exit %d", i, i))...)
				out, _ := cmd.Output()
				if string(out) != fmt.Sprintln(i) || cmd.ProcessState.ExitCode() != i {
					t.Errorf("session %d: %q, exit status %d", i, out, cmd.ProcessState.ExitCode())
				}
			})
		}
		wg.Wait()
		if e := h.run(h.command(h.cert, append(append([]string{"ssh"}, opts...), host, "reboot")...)); e.status != 126 {
			t.Errorf("refused in a shared connection: %+v", e)
		}
	})
	h.on("recorded", func(t *testing.T) {
		e := h.ssh("echo recorded-output; echo recorded-error >&2")
		h.works(e)
		id := h.sessionOf("echo recorded-output")
		var all string
		for range 50 {
			tl, err := h.ada.Timeline(t.Context(), id)
			if err != nil {
				t.Fatal(err)
			}
			if !tl.Verified.OK {
				t.Errorf("the recording is not whole: %v", tl.Verified.Problems)
			}
			for _, e := range tl.Entries {
				all += e.Text
			}
			if strings.Contains(all, "recorded-error") {
				break
			}
			time.Sleep(50 * time.Millisecond)
		}
		if !strings.Contains(all, "recorded-output") || !strings.Contains(all, "recorded-error") {
			t.Errorf("the recording shows %q", all)
		}
	})
	h.t = t
	h.audited()
}

// localForward opens a local port that leads through doorward to the one
// address that policy allows, and one to another.
func (h *hosts) localForward(t *testing.T, host string) {
	for name, tc := range map[string]struct {
		to   string
		want bool
	}{"allowed": {h.sshd.Addr(), true}, "another": {h.gate.SSH, false}} {
		socket := filepath.Join(h.dir, "l-"+name)
		cmd := h.command(h.cert, "ssh", "-F", h.cert, "-N", "-o", "ExitOnForwardFailure=yes", "-L", socket+":"+tc.to, host)
		var errs bytes.Buffer
		cmd.Stderr = &errs
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		defer func() {
			cmd.Process.Kill()
			cmd.Wait()
		}()
		var c io.ReadWriteCloser
		for i := 0; ; i++ {
			conn, err := dialUnix(socket)
			if err == nil {
				c = conn
				break
			}
			if i == 200 {
				t.Fatalf("%s: ssh does not listen: %v\n%s", name, err, &errs)
			}
			time.Sleep(50 * time.Millisecond)
		}
		b := make([]byte, 8)
		n, err := io.ReadFull(c, b)
		c.Close()
		if got := err == nil && string(b[:n]) == "SSH-2.0-"; got != tc.want {
			t.Errorf("%s: read %q (%v)", name, b[:n], err)
		}
	}
}
