package e2e

import (
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/doorward/doorward/e2e/harness"
	"github.com/doorward/doorward/e2e/sshtest"
)

// TestSSHFiles lets files be read, and tries to change them by what was opened
// for reading, and by names that lead elsewhere.
func TestSSHFiles(t *testing.T) {
	h := openHost(t, sshtest.Options{}, func(c *harness.Config, s *sshtest.Server) {
		c.Rules = []any{
			map[string]any{"name": "session", "targets": []string{"*"}, "when": "effect.kinds == ['sftp']", "then": "allow"},
			map[string]any{"name": "look", "targets": []string{"*"}, "when": "effect.kinds.all(k, k.startsWith('sftp ')) && effect.verbs.all(v, v == 'read') && effect.objects.all(o, o.name.startsWith('" + s.Home() + "/open/'))", "then": "allow"},
			map[string]any{"name": "drop", "targets": []string{"*"}, "when": "effect.kinds == ['sftp write'] && effect.verbs.all(v, v in ['create', 'update']) && effect.objects.all(o, o.name.startsWith('" + s.Home() + "/open/drop/'))", "then": "allow"},
		}
	})
	home := h.sshd.Home()
	write := func(name, text string) string {
		p := filepath.Join(home, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return p
	}
	open, secret := write("open/readme", "read me"), write("closed/secret", "the secret")
	if err := os.MkdirAll(filepath.Join(home, "open/drop"), 0o755); err != nil {
		t.Fatal(err)
	}
	for link, to := range map[string]string{"open/out": "../closed", "open/innocent": "../closed/secret", "open/loop": "loop", "open/drop/out": "../../closed/made", "open/drop/readme": "../readme"} {
		if err := os.Symlink(to, filepath.Join(home, link)); err != nil {
			t.Fatal(err)
		}
	}
	before, err := os.Stat(open)
	if err != nil {
		t.Fatal(err)
	}
	conn, c := h.files()

	f, err := c.Open(open)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(f); err != nil || string(b) != "read me" {
		t.Errorf("the file holds %q (%v)", b, err)
	}
	refuse := func(what string, err error) {
		t.Helper()
		if err == nil {
			t.Errorf("%s went through", what)
		} else if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%s ended the session: %v", what, err)
		}
	}
	_, err = f.WriteAt([]byte("changed"), 0)
	refuse("writing to what was opened for reading", err)
	refuse("a mode by the open file", f.Chmod(0o777))
	refuse("cutting by the open file", f.Truncate(0))
	refuse("cutting by name", c.Truncate(open, 0))
	refuse("times", c.Chtimes(open, time.Unix(0, 0), time.Unix(0, 0)))
	refuse("removing", c.Remove(open))
	refuse("renaming", c.Rename(open, filepath.Join(home, "open/other")))
	refuse("renaming over, by the extension", c.PosixRename(open, filepath.Join(home, "open/drop/over")))
	refuse("a hard link", c.Link(secret, filepath.Join(home, "open/drop/hard")))
	refuse("a link", c.Symlink(secret, filepath.Join(home, "open/drop/link")))
	refuse("a folder", c.Mkdir(filepath.Join(home, "open/drop/folder")))
	for _, name := range []string{secret, filepath.Join(home, "open/../closed/secret"), home + "/open//../closed/secret", filepath.Join(home, "open/out/secret"), filepath.Join(home, "open/innocent"), filepath.Join(home, "open/loop"), home + "/open/readme/../../closed/secret", "open/../closed/secret", "closed/secret", "/proc/self/root" + secret, strings.Repeat("a/", 5000)} {
		g, err := c.Open(name)
		if err == nil {
			b, _ := io.ReadAll(g)
			t.Errorf("%.80s was opened: %q", name, b)
		}
		if _, err := c.Stat(name); err == nil {
			t.Errorf("%.80s was looked at", name)
		}
	}
	_, err = c.ReadDir(filepath.Join(home, "open/out"))
	refuse("listing behind a link", err)
	_, err = c.ReadDir(home)
	refuse("listing above", err)
	for _, name := range []string{"open/drop/out", "open/drop/readme", "open/new", "open/drop/../new"} {
		for _, flags := range []int{os.O_WRONLY | os.O_CREATE, os.O_WRONLY | os.O_CREATE | os.O_TRUNC, os.O_WRONLY | os.O_APPEND, os.O_RDWR | os.O_CREATE | os.O_TRUNC, os.O_WRONLY | os.O_CREATE | os.O_EXCL} {
			g, err := c.OpenFile(home+"/"+name, flags)
			if err == nil {
				_, err = g.Write([]byte("changed"))
				g.Close()
			}
			refuse("writing "+name, err)
		}
	}
	// What is allowed works.
	g, err := c.OpenFile(filepath.Join(home, "open/drop/new"), os.O_WRONLY|os.O_CREATE|os.O_TRUNC)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := g.Write([]byte("dropped")); err != nil {
		t.Error(err)
	}
	if err := g.Close(); err != nil {
		t.Error(err)
	}
	if b, err := os.ReadFile(filepath.Join(home, "open/drop/new")); string(b) != "dropped" {
		t.Errorf("the new file holds %q (%v)", b, err)
	}
	after, err := os.Stat(open)
	if err != nil || after.Mode() != before.Mode() || !after.ModTime().Equal(before.ModTime()) || after.Size() != before.Size() {
		t.Errorf("the file changed: %v (%v)", after, err)
	}
	for _, name := range []string{"closed/made", "open/new", "open/other", "open/drop/over", "open/drop/hard", "open/drop/link", "open/drop/folder"} {
		if _, err := os.Lstat(filepath.Join(home, name)); err == nil {
			t.Errorf("%s was made", name)
		}
	}
	h.rawFiles(conn, secret)
	conn.Close()
	h.audited()
}

// rawFiles sends packets that no library sends: handles that were never given,
// operations without a name, lengths that lie.
func (h *hosts) rawFiles(conn *ssh.Client, secret string) {
	text := func(parts ...string) (out []byte) {
		for _, p := range parts {
			out = append(binary.BigEndian.AppendUint32(out, uint32(len(p))), p...)
		}
		return out
	}
	id := func(kind byte, rest ...byte) []byte { return append([]byte{kind, 0, 0, 0, 7}, rest...) }
	for name, body := range map[string][]byte{
		"read of a made-up handle":  id(5, append(text("0"), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0)...),
		"write to a made-up handle": id(6, append(text("\x00\x00\x00\x00"), make([]byte, 12)...)...),
		"copy-data":                 id(200, text("copy-data", "0")...),
		"hardlink":                  id(200, text("hardlink@openssh.com", secret, secret+"2")...),
		"lsetstat":                  id(200, append(text("lsetstat@openssh.com", secret), 0, 0, 0, 4, 0, 0, 1, 0xff)...),
		"users-groups-by-id":        id(200, text("users-groups-by-id@openssh.com", "\x00\x00\x00\x00", "")...),
		"expand-path":               id(200, text("expand-path@openssh.com", "~root")...),
		"unknown":                   id(250, text("x")...),
		"a name that lies":          id(3, 0xff, 0xff, 0xff, 0xf0, 'x'),
		"nothing":                   {},
		"only a kind":               {3},
		"a second init":             {1, 0, 0, 0, 3},
		"a NUL in the name":         id(3, append(text("/etc\x00/passwd"), 0, 0, 0, 1, 0, 0, 0, 0)...),
		"all attributes":            id(9, append(text(secret), 0x80, 0, 0, 0x0f, 0xff)...),
	} {
		s, err := conn.NewSession()
		if err != nil {
			h.t.Fatalf("%s: %v", name, err)
		}
		in, err1 := s.StdinPipe()
		out, err2 := s.StdoutPipe()
		if err := errors.Join(err1, err2, s.RequestSubsystem("sftp")); err != nil {
			h.t.Fatalf("%s: %v", name, err)
		}
		send := func(b []byte) { _, _ = in.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(b))), b...)) }
		send([]byte{1, 0, 0, 0, 3})
		send(body)
		done := make(chan []byte, 1)
		go func() {
			b, _ := io.ReadAll(io.LimitReader(out, 1<<16))
			done <- b
		}()
		time.Sleep(50 * time.Millisecond)
		in.Close()
		select {
		case b := <-done:
			if strings.Contains(string(b), "root:x") || strings.Contains(string(b), "the secret") {
				h.t.Errorf("%s: %q", name, b)
			}
		case <-time.After(15 * time.Second):
			h.t.Errorf("%s: the session hangs", name)
		}
		s.Close()
	}
	if b, err := os.ReadFile(secret); string(b) != "the secret" {
		h.t.Errorf("the secret is now %q (%v)", b, err)
	}
	if _, err := os.Lstat(secret + "2"); err == nil {
		h.t.Error("a hard link was made")
	}
	if st, err := os.Stat(secret); err != nil || st.Mode().Perm() != 0o644 {
		h.t.Errorf("the mode is now %v (%v)", st.Mode(), err)
	}
	// A packet that says it is enormous.
	s, err := conn.NewSession()
	if err != nil {
		h.t.Fatal(err)
	}
	defer s.Close()
	in, _ := s.StdinPipe()
	if err := s.RequestSubsystem("sftp"); err != nil {
		h.t.Fatal(err)
	}
	_, _ = in.Write([]byte{0xff, 0xff, 0xff, 0xff, 1})
	ended := make(chan error, 1)
	go func() { ended <- s.Wait() }()
	select {
	case <-ended:
	case <-time.After(15 * time.Second):
		h.t.Error("a packet of 4 GiB is waited for")
	}
}
