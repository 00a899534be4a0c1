package e2e

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"

	"github.com/doorward/doorward/e2e/harness"
	"github.com/doorward/doorward/e2e/sshtest"
)

// client signs in with a credential, by a library that does what it is told.
func (h *hosts) client(token string) *ssh.Client {
	h.t.Helper()
	c, err := ssh.Dial("tcp", h.gate.SSH, &ssh.ClientConfig{User: orders, Auth: []ssh.AuthMethod{ssh.Password(token)}, HostKeyCallback: ssh.InsecureIgnoreHostKey(), Timeout: 10 * time.Second})
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { c.Close() })
	return c
}

func (h *hosts) files() (*ssh.Client, *sftp.Client) {
	h.t.Helper()
	c := h.client(h.ada.Token)
	f, err := sftp.NewClient(c)
	if err != nil {
		h.t.Fatal(err)
	}
	return c, f
}

// live lists the sessions that are open.
func (h *hosts) live() []harness.Session {
	h.t.Helper()
	list, err := h.ada.Sessions(h.t.Context(), "live=true&target="+orders)
	if err != nil {
		h.t.Fatal(err)
	}
	return list
}

func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for range 100 {
		if f() {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Errorf("not so after 10 s: %s", what)
}

// TestSSHBrokenFilePacket sends an operation whose attributes are cut short.
func TestSSHBrokenFilePacket(t *testing.T) {
	h := openHost(t, sshtest.Options{}, nil)
	for _, kind := range []byte{9, 10} { // SETSTAT, FSETSTAT
		s, err := h.client(h.ada.Token).NewSession()
		if err != nil {
			t.Fatal(err)
		}
		in, err := s.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := s.RequestSubsystem("sftp"); err != nil {
			t.Fatal(err)
		}
		for _, b := range [][]byte{{1, 0, 0, 0, 3}, {kind, 0, 0, 0, 1, 0, 0, 0, 1, '/', 0, 0, 0, 1}} {
			if _, err := in.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(b))), b...)); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(300 * time.Millisecond)
		s.Close()
	}
	h.works(h.ssh("true"))
	h.audited()
}

// TestSSHLinks tries to get out of a folder by links, from inside of it.
func TestSSHLinks(t *testing.T) {
	h := openHost(t, sshtest.Options{}, nil)
	secret := h.write("secret", "TOP SECRET\n", 0o600)
	_, f := h.files()
	home := h.sshd.Home()
	// What a person of the host could make there: the gate refuses some of it.
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Symlink(secret, home+"/direct"); err == nil {
		t.Error("a link to the outside was made")
	}
	must(os.Symlink(secret, home+"/direct"))
	must(os.MkdirAll(home+"/d0/d1/d2/d3", 0o700))
	must(os.Mkdir(home+"/z", 0o700))
	must(os.Symlink(home+"/z", home+"/d0/d1/d2/d3/l"))
	up := strings.Repeat("../", strings.Count(home, "/")+1)
	evil := "d0/d1/d2/d3/l/" + up + strings.TrimPrefix(secret, "/")
	if err := f.Symlink(evil, home+"/e"); err == nil {
		t.Error("a link that leads outside by the way of another was made")
	}
	must(os.Symlink(evil, home+"/k0"))
	if real, err := filepath.EvalSymlinks(home + "/k0"); err != nil || real != secret {
		t.Fatalf("the test's own link leads to %s: %v", real, err)
	}
	for i := 1; i <= 80; i++ {
		must(os.Symlink(fmt.Sprintf("k%d", i-1), fmt.Sprintf("%s/k%d", home, i)))
	}
	must(os.Symlink(h.dir, home+"/outside"))
	for _, name := range []string{"direct", "k0", "k5", "k19", "k20", "k21", "k35", "k39", "k40", "k60", "k71", "k75", "k80", "outside/secret", "z/../direct", "./direct", "direct/", "d0/d1/d2/d3/l/" + up + strings.TrimPrefix(secret, "/")} {
		path := home + "/" + name
		if file, err := f.Open(path); err == nil {
			b, _ := io.ReadAll(file)
			file.Close()
			if bytes.Contains(b, []byte("SECRET")) {
				t.Errorf("%s: read %q", name, b)
			}
		}
		if file, err := f.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC); err == nil {
			_, _ = file.Write([]byte("OWNED"))
			file.Close()
		}
		_ = f.Chmod(path, 0o777)
		_ = f.Truncate(path, 0)
	}
	b, err := os.ReadFile(secret)
	i, err2 := os.Stat(secret)
	if err != nil || err2 != nil || string(b) != "TOP SECRET\n" || i.Mode().Perm() != 0o600 {
		t.Errorf("the file outside is now %q, %v", b, i.Mode())
	}
}

// TestSSHHeldFile exchanges a file for a link while people think about it.
func TestSSHHeldFile(t *testing.T) {
	h := openHost(t, sshtest.Options{}, func(c *harness.Config, _ *sshtest.Server) {
		c.Rules = append(c.Rules, map[string]any{"name": "held-files", "targets": []string{"*"}, "when": "effect.kinds.all(k, k == 'sftp write') && effect.objects.all(o, o.name.contains('/held'))", "then": "review", "reviewers": map[string]any{"groups": []string{"dba"}}})
	})
	outside := h.write("outside", "original", 0o600)
	home := h.sshd.Home()
	for name, swap := range map[string]bool{"held-swapped": true, "held-good": false} {
		path := filepath.Join(home, name)
		if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
		_, f := h.files()
		done := make(chan error, 1)
		go func() {
			file, err := f.OpenFile(path, os.O_WRONLY)
			if err == nil {
				_, err = file.Write([]byte("CHANGED!"))
				file.Close()
			}
			done <- err
		}()
		r := h.waiting()
		if swap {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(outside, path); err != nil {
				t.Fatal(err)
			}
		}
		if err := h.dora.Vote(t.Context(), r.ID, true, "", 0); err != nil {
			t.Fatal(err)
		}
		if err := <-done; (err != nil) != swap {
			t.Errorf("%s: %v", name, err)
		}
	}
	if b, err := os.ReadFile(outside); err != nil || string(b) != "original" {
		t.Errorf("the file outside is %q", b)
	}
	if b, err := os.ReadFile(filepath.Join(home, "held-good")); err != nil || string(b) != "CHANGED!" {
		t.Errorf("what was approved was not done: %q", b)
	}
}

// TestSSHGone has clients leave in the middle of things.
func TestSSHGone(t *testing.T) {
	h := openHost(t, sshtest.Options{}, func(c *harness.Config, _ *sshtest.Server) {
		c.Rules = append(c.Rules, map[string]any{"name": "held-forwards", "targets": []string{"*"}, "when": "effect.kinds.all(k, k == 'forward') && effect.objects.all(o, o.name.startsWith('127.0.0.2:'))", "then": "review", "reviewers": map[string]any{"groups": []string{"dba"}}})
	})
	t.Run("held forward", func(t *testing.T) {
		h.t = t
		l, err := net.Listen("tcp", "127.0.0.2:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		got := make(chan struct{}, 1)
		go func() {
			if c, err := l.Accept(); err == nil {
				got <- struct{}{}
				c.Close()
			}
		}()
		c := h.client(h.ada.Token)
		go func() {
			if n, err := c.Dial("tcp", l.Addr().String()); err == nil {
				n.Close()
			}
		}()
		r := h.waiting()
		c.Close()
		eventually(t, "the session of a client that left has ended", func() bool { return len(h.live()) == 0 })
		if err := h.dora.Vote(t.Context(), r.ID, true, "", 0); err != nil {
			t.Fatal(err)
		}
		select {
		case <-got:
			t.Error("it was connected although the client had left")
		case <-time.After(2 * time.Second):
		}
	})
	t.Run("blocked open", func(t *testing.T) {
		h.t = t
		fifo := h.sshd.Home() + "/fifo"
		if err := syscall.Mkfifo(fifo, 0o600); err != nil {
			t.Fatal(err)
		}
		c, f := h.files()
		go func() { _, _ = f.Open(fifo) }()
		eventually(t, "the file is being opened", func() bool { return len(h.live()) > 0 })
		time.Sleep(500 * time.Millisecond)
		c.Close()
		eventually(t, "the session of a client that left has ended", func() bool { return len(h.live()) == 0 })
	})
	t.Run("requests that nobody takes", func(t *testing.T) {
		h.t = t
		c := h.client(h.ada.Token)
		ch, reqs, err := c.OpenChannel("session", nil)
		if err != nil {
			t.Fatal(err)
		}
		go ssh.DiscardRequests(reqs)
		for i := range 60 {
			kind := "env"
			if i == 0 {
				kind = "exec"
			}
			_, _ = ch.SendRequest(kind, false, []byte{1})
		}
		ok := make(chan error, 1)
		go func() {
			s, err := c.NewSession()
			if err == nil {
				err = s.Run("true")
			}
			ok <- err
		}()
		select {
		case err := <-ok:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(10 * time.Second):
			t.Error("the connection stands still")
		}
		c.Close()
		eventually(t, "no session is left", func() bool { return len(h.live()) == 0 })
	})
	h.t = t
	h.audited()
}

// TestSSHExpiry has a shell and a forward outlive their credential.
func TestSSHExpiry(t *testing.T) {
	h := openHost(t, sshtest.Options{}, nil)
	_, token, err := h.ada.Run(t.Context(), "bot", "x", []string{orders}, 3*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	s, err := h.client(token).NewSession()
	if err != nil {
		t.Fatal(err)
	}
	in, err := s.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	s.Stdout, s.Stderr = &out, &errs
	if err := s.Shell(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(5 * time.Second)
	fmt.Fprintln(in, "echo still-$((40+2)); exit")
	_ = s.Wait()
	if strings.Contains(out.String(), "still-42") || !strings.Contains(errs.String(), "expired") {
		t.Errorf("%q, %q", out.String(), errs.String())
	}
}

// TestSSHEnds has commands end in odd ways.
func TestSSHEnds(t *testing.T) {
	h := openHost(t, sshtest.Options{}, nil)
	if e := h.ssh("sh -c 'exec >/dev/null 2>&1; sleep 7; exit 3'"); e.status != 3 {
		t.Errorf("a command that closed its output: exit status %d: %s", e.status, e.err)
	}
	if e := h.run(h.command(h.cert, "sh", "-c", "yes | ssh -F "+h.cert+" "+orders+".doorward 'echo x; exit 7'")); e.status != 7 || e.out != "x\n" {
		t.Errorf("a command that reads nothing: %+v", e)
	}
	if e := h.ssh("kill -9 $$"); e.status == 0 {
		t.Errorf("a command that was killed: %+v", e)
	}
	key, exe := h.write("k600", "secret", 0o600), h.write("x755", "#!/bin/sh\n", 0o755)
	home := h.sshd.Home()
	h.works(h.run(h.command(h.cert, "scp", "-F", h.cert, key, exe, orders+".doorward:"+home+"/")))
	for name, mode := range map[string]os.FileMode{"k600": 0o600, "x755": 0o755} {
		if i, err := os.Stat(home + "/" + name); err != nil || i.Mode().Perm() != mode {
			t.Errorf("%s arrived as %v (%v)", name, i.Mode(), err)
		}
	}
	h.audited()
}

// TestSSHFileLimits holds the limits of a rule for files, too.
func TestSSHFileLimits(t *testing.T) {
	h := openHost(t, sshtest.Options{}, func(c *harness.Config, s *sshtest.Server) {
		c.Rules = []any{map[string]any{"name": "files", "targets": []string{"*"}, "when": "effect.kinds.all(k, k.startsWith('sftp'))", "then": "allow", "limits": map[string]any{"time": "2s", "rows": 3}}}
	})
	home := h.sshd.Home()
	for i := range 20 {
		if err := os.WriteFile(fmt.Sprintf("%s/f%d", home, i), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	_, f := h.files()
	if list, err := f.ReadDir(home); err == nil {
		t.Errorf("%d entries came", len(list))
	}
	file, err := f.OpenFile(home+"/f1", os.O_RDWR)
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(3 * time.Second)
	if _, err := file.Write([]byte("late")); err == nil {
		t.Error("a file was written after its time")
	}
	if b, _ := os.ReadFile(home + "/f1"); len(b) > 0 {
		t.Errorf("the file holds %q", b)
	}
}
