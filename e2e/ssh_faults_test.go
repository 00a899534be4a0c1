package e2e

import (
	"bytes"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/doorward/doorward/e2e/harness"
	"github.com/doorward/doorward/e2e/sshtest"
)

func dialUnix(path string) (net.Conn, error) {
	c, err := net.Dial("unix", path)
	if err == nil {
		err = c.SetDeadline(time.Now().Add(20 * time.Second))
	}
	return c, err
}

// TestSSHReviews holds commands until somebody says yes or no, or nobody is
// there any more.
func TestSSHReviews(t *testing.T) {
	h := openHost(t, sshtest.Options{}, nil)
	ctx := t.Context()
	start := func(name string) (string, func() ended) {
		path := filepath.Join(h.sshd.Home(), name)
		cmd := h.command(h.cert, "ssh", "-F", h.cert, orders+".doorward", "touch "+path)
		done := make(chan ended, 1)
		go func() { done <- h.run(cmd) }()
		return path, func() ended {
			select {
			case e := <-done:
				return e
			case <-time.After(30 * time.Second):
				t.Fatal("ssh does not end")
				return ended{}
			}
		}
	}
	path, wait := start("held-yes")
	r := h.waiting()
	if !strings.Contains(r.Statement, "touch "+path) || r.Target != orders || r.Identity.Name != "ada" {
		t.Errorf("the reviewer sees %+v", r)
	}
	if err := h.ada.Vote(ctx, r.ID, true, "", 0); err == nil {
		t.Error("ada approved what she asked for")
	}
	h.nothing()
	if err := h.dora.Vote(ctx, r.ID, true, "", 0); err != nil {
		t.Fatal(err)
	}
	e := wait()
	if e.status != 0 || !strings.Contains(e.err, "held for approval, review ") || !strings.Contains(e.err, "http") {
		t.Errorf("after the yes: %+v", e)
	}
	if ran, err := h.sshd.Commands(); err != nil || len(ran) != 1 || ran[0] != "touch "+path {
		t.Errorf("the host ran %q (%v)", ran, err)
	}

	h.forget()
	_, wait = start("held-no")
	r = h.waiting()
	if err := h.dora.Vote(ctx, r.ID, false, "not today", 0); err != nil {
		t.Fatal(err)
	}
	if e := wait(); e.status != 126 || !strings.Contains(e.err, "doorward: ") || !strings.Contains(e.err, "not today") {
		t.Errorf("after the no: %+v", e)
	}
	h.nothing()

	// Who left does not get what is approved afterwards run behind their back.
	gone := h.command(h.cert, "ssh", "-F", h.cert, orders+".doorward", "touch "+filepath.Join(h.sshd.Home(), "held-gone"))
	if err := gone.Start(); err != nil {
		t.Fatal(err)
	}
	r = h.waiting()
	gone.Process.Kill()
	gone.Wait()
	time.Sleep(time.Second)
	if err := h.dora.Vote(ctx, r.ID, true, "", 0); err != nil {
		t.Logf("a vote after the client left: %v", err)
	}
	time.Sleep(time.Second)
	h.nothing()
	// The identical request later redeems the approval.
	path, wait = start("held-gone")
	if e := wait(); e.status != 0 {
		t.Errorf("the approved request, asked again: %+v", e)
	}
	if _, err := os.Stat(path); err != nil {
		t.Error(err)
	}
	h.audited()
}

// TestSSHKill ends a session from outside in the middle of a command: without a
// terminal by a signal, with one by the end of the terminal.
func TestSSHKill(t *testing.T) {
	for name, tc := range map[string]struct {
		flag string
		bare bool // sshd passes signals on
	}{"plain": {"-T", true}, "terminal": {"-tt", false}} {
		t.Run(name, func(t *testing.T) {
			h := openHost(t, sshtest.Options{Bare: tc.bare}, nil)
			const command = "echo started; sleep 300"
			cmd := h.command(h.cert, "ssh", "-F", h.cert, tc.flag, orders+".doorward", command)
			var errs bytes.Buffer
			cmd.Stderr = &errs
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			b := make([]byte, 7)
			if _, err := io.ReadFull(out, b); err != nil || string(b) != "started" {
				cmd.Wait()
				t.Fatalf("%q, %v: %s", b, err, &errs)
			}
			if err := h.ada.Do(t.Context(), "POST", "/api/v1/sessions/"+h.sessionOf(command)+"/kill", nil, nil); err != nil {
				t.Fatal(err)
			}
			ended := make(chan error, 1)
			go func() { ended <- cmd.Wait() }()
			select {
			case err := <-ended:
				if err == nil {
					t.Error("ssh ended as if all were well")
				}
			case <-time.After(10 * time.Second):
				t.Fatal("ssh goes on after the kill")
			}
			if !strings.Contains(errs.String(), "doorward: ") {
				t.Errorf("the client is told nothing: %q", errs.String())
			}
			h.idle()
			h.hasEvent("session.killed", "")
			h.audited()
		})
	}
}

// idle waits until nothing runs on the host any more.
func (h *hosts) idle() {
	h.t.Helper()
	for i := 0; len(h.sshd.Running()) > 0; i++ {
		if i == 100 {
			h.t.Fatalf("still running on the host: %v", h.sshd.Running())
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// hasEvent wants the ledger to hold an event of the kind with the text.
func (h *hosts) hasEvent(kind, text string) {
	h.t.Helper()
	p := &place{t: h.t, gate: h.gate}
	var seen []string
	for _, e := range p.ledger() {
		if kind == "" || e.Event.Kind == kind {
			if strings.Contains(strings.ToLower(e.raw), strings.ToLower(text)) {
				return
			}
			seen = append(seen, e.raw)
		}
	}
	h.t.Errorf("no event %s with %q: %q", kind, text, seen)
}

// TestSSHHostKey refuses a host that shows another key than the pinned one.
func TestSSHHostKey(t *testing.T) {
	h := openHost(t, sshtest.Options{}, nil)
	h.works(h.ssh("true"))
	if err := h.sshd.ReplaceHostKey(t.Context()); err != nil {
		t.Fatal(err)
	}
	h.forget()
	e := h.ssh("true")
	h.refused(e, "host key")
	if strings.Contains(e.err, h.sshd.Addr()) {
		t.Errorf("the client is told the address: %s", e.err)
	}
	h.nothing()
	if strings.Contains(h.sshd.Log(), "Accepted publickey") {
		t.Error("doorward signed in to a host with another key")
	}
	h.hasEvent("", "host key")
	h.audited()
}

// TestSSHDeadHost has clear errors where the host does not answer.
func TestSSHDeadHost(t *testing.T) {
	h := openHost(t, sshtest.Options{}, nil)
	h.works(h.ssh("true"))
	h.forget()
	if err := h.sshd.Pause(); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	h.refused(h.ssh("true"), "reached")
	if took := time.Since(start); took > 40*time.Second {
		t.Errorf("a host that does not answer took %s", took)
	}
	if err := h.sshd.Resume(); err != nil {
		t.Fatal(err)
	}
	h.works(h.ssh("true"))
	// In the middle of a command.
	cmd := h.command(h.cert, "ssh", "-F", h.cert, orders+".doorward", "echo started; sleep 300")
	done := make(chan ended, 1)
	go func() { done <- h.run(cmd) }()
	h.sessionOf("sleep 300")
	for i := 0; ; i++ {
		if ran, err := h.sshd.Commands(); err == nil && len(ran) == 2 {
			break
		}
		if i == 100 {
			t.Fatal("the command does not run")
		}
		time.Sleep(50 * time.Millisecond)
	}
	h.sshd.Stop()
	select {
	case e := <-done:
		if e.status == 0 {
			t.Errorf("the host died in the middle: %+v", e)
		}
	case <-time.After(15 * time.Second):
		t.Error("ssh hangs after the host died")
	}
	h.refused(h.ssh("true"), "reached")
	h.hasEvent("", "reached")
	h.audited()
}

// TestSSHAuthority signs in to a host that trusts doorward's authority.
func TestSSHAuthority(t *testing.T) {
	h := openHost(t, sshtest.Options{Certificates: true}, func(c *harness.Config, _ *sshtest.Server) {
		c.Hosts[0].Key, c.Hosts[0].Fields = nil, map[string]any{"ca": true}
	})
	h.refused(h.ssh("true"), "reached")
	h.nothing()
	if err := h.sshd.Trust(h.cli("ssh-ca")); err != nil {
		t.Fatal(err)
	}
	h.works(h.ssh("true"))
	if log := h.sshd.Log(); !strings.Contains(log, "ED25519-CERT") || !strings.Contains(log, "ada") {
		t.Errorf("the host's log does not name who came:\n%s", log)
	}
	// What doorward gives its clients is nothing for the host itself.
	dir := filepath.Dir(h.cert)
	host, port, _ := strings.Cut(h.sshd.Addr(), ":")
	e := h.run(h.command(h.cert, "ssh", "-F", "/dev/null", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes",
		"-i", filepath.Join(dir, "id_ed25519"), "-o", "CertificateFile="+filepath.Join(dir, "id_ed25519-cert.pub"), "-p", port, "-l", h.sshd.User, host, "true"))
	if e.status != 255 {
		t.Errorf("a client's certificate lets it in to the host: %+v", e)
	}
}

// TestSSHRevoked ends what a credential opened when the credential ends.
func TestSSHRevoked(t *testing.T) {
	h := openHost(t, sshtest.Options{Bare: true}, nil)
	ctx := t.Context()
	run, token, err := h.ada.Run(ctx, "codex", "look at the host", []string{orders}, 10*time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	config := h.password("agent", token)
	if e := h.run(h.command(config, "ssh", "-F", config, orders+".doorward", "echo agent")); e.status != 0 || e.out != "agent\n" {
		t.Fatalf("%+v", e)
	}
	cmd := h.command(config, "ssh", "-F", config, orders+".doorward", "sleep 300")
	done := make(chan ended, 1)
	go func() { done <- h.run(cmd) }()
	h.sessionOf("sleep 300")
	if err := h.ada.Do(ctx, "DELETE", "/api/v1/runs/"+run, nil, nil); err != nil {
		t.Fatal(err)
	}
	select {
	case e := <-done:
		if e.status == 0 {
			t.Errorf("%+v", e)
		}
	case <-time.After(10 * time.Second):
		t.Error("the session goes on after its run was revoked")
	}
	if e := h.run(h.command(config, "ssh", "-F", config, orders+".doorward", "true")); e.status != 255 {
		t.Errorf("a revoked credential was let in: %+v", e)
	}
	h.idle()
}

// TestSSHGarbage has a listener that takes no nonsense and does not fall over.
func TestSSHGarbage(t *testing.T) {
	h := openHost(t, sshtest.Options{}, nil)
	var wg sync.WaitGroup
	for name, data := range map[string]string{
		"TLS": "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "HTTP": "GET / HTTP/1.1\r\nHost: x\r\n\r\n", "PROXY": "PROXY TCP4 10.0.0.1 10.0.0.2 1 22\r\nSSH-2.0-x\r\n",
		"version 1": "SSH-1.5-x\r\n", "a long line": strings.Repeat("a", 1<<20), "a long version": "SSH-2.0-" + strings.Repeat("b", 1<<16) + "\r\n",
		"a long packet": "SSH-2.0-x\r\n\xff\xff\xff\xff\x04", "zeros": strings.Repeat("\x00", 4096), "nothing": "",
	} {
		wg.Go(func() {
			c, err := net.DialTimeout("tcp", h.gate.SSH, 5*time.Second)
			if err != nil {
				t.Errorf("%s: %v", name, err)
				return
			}
			defer c.Close()
			// A client gets half a minute to sign in.
			_ = c.SetDeadline(time.Now().Add(45 * time.Second))
			_, _ = io.WriteString(c, data)
			if n, err := io.Copy(io.Discard, c); n > 1<<16 {
				t.Errorf("%s: %d bytes came", name, n)
			} else if ne, ok := err.(net.Error); ok && ne.Timeout() {
				t.Errorf("%s: the connection stays open", name)
			}
		})
	}
	// Those who behave are served meanwhile.
	h.works(h.ssh("true"))
	wg.Wait()
	if h.gate.Ended() {
		t.Fatal("doorward ended")
	}
	h.works(h.ssh("true"))
}
