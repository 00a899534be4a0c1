package sshtest

import (
	"errors"
	"os"
	"slices"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

func TestServerLifecycle(t *testing.T) {
	ctx := t.Context()
	s, err := Start(ctx, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Stop()
	const command = "printf '%s' \"two  words\nand 'lines'\"; printf oops >&2; exit 7"
	r, err := s.Run(ctx, command)
	if err != nil || r.Stdout != "two  words\nand 'lines'" || r.Stderr != "oops" || r.Status != 7 {
		t.Fatalf("the command gave %+v, %v", r, err)
	}
	ran, err := s.Commands()
	if err != nil || !slices.Equal(ran, []string{command}) {
		t.Errorf("it says that it ran %q, %v", ran, err)
	}
	if err := s.Forget(); err != nil {
		t.Fatal(err)
	}
	go s.Run(ctx, "sleep 300")
	for i := 0; ; i++ {
		ran, err := s.Commands()
		if err == nil && slices.Equal(ran, []string{"sleep 300"}) && len(s.Running()) > 0 {
			break
		}
		if i == 200 {
			t.Fatalf("after Forget it says that it ran %q, %v", ran, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
	old := s.HostKey
	if err := s.ReplaceHostKey(ctx); err != nil || s.HostKey == old {
		t.Fatalf("the host key did not change: %v", err)
	}
	if left := s.Running(); len(left) > 0 {
		t.Errorf("still running: %v", left)
	}
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(s.Dir); !os.IsNotExist(err) {
		t.Errorf("the folder is still there: %v", err)
	}
}

// TestBare signals what runs.
func TestBare(t *testing.T) {
	ctx := t.Context()
	s, err := Start(ctx, Options{Bare: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Stop()
	c, err := s.Dial(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	session, err := c.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	if err := session.Start("sleep 300"); err != nil {
		t.Fatal(err)
	}
	for i := 0; len(s.Running()) == 0; i++ {
		if i == 200 {
			t.Fatal("the command does not show")
		}
		time.Sleep(20 * time.Millisecond)
	}
	if err := session.Signal(ssh.SIGTERM); err != nil {
		t.Fatal(err)
	}
	var exit *ssh.ExitError
	if err := session.Wait(); !errors.As(err, &exit) || exit.Signal() != "TERM" {
		t.Errorf("it ended with %v", err)
	}
	if _, err := s.Ran(); err == nil {
		t.Error("a bare server says what it ran")
	}
}

func TestRogue(t *testing.T) {
	r, err := StartRogue()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	old := r.HostKey
	if err := r.ReplaceHostKey(); err != nil || r.HostKey == old {
		t.Errorf("the host key did not change: %v", err)
	}
	r.Do(Script{Output: []byte("\x1b[2Jhello"), Open: []string{"x11"}, Request: []string{"exec"}})
	key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(r.HostKey))
	if err != nil {
		t.Fatal(err)
	}
	_, signer, err := NewKey()
	if err != nil {
		t.Fatal(err)
	}
	c, err := ssh.Dial("tcp", r.Addr(), &ssh.ClientConfig{User: "me", Auth: []ssh.AuthMethod{ssh.PublicKeys(signer)}, HostKeyCallback: ssh.FixedHostKey(key)})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	session, err := c.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	out, err := session.Output("id")
	if string(out) != "\x1b[2Jhello" || err != nil {
		t.Errorf("it said %q, %v", out, err)
	}
	if seen := r.Seen(); !slices.Equal(seen, []string{"user me", "exec id"}) {
		t.Errorf("it saw %q", seen)
	}
	if o := r.Opened(); o["channel x11"] == "" || o["channel x11"] == "accepted" || o["request exec"] != "refused" {
		t.Errorf("it opened %v", o)
	}
}
