package doorward_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestForgeriesDoNotCompile holds the one idea of the house: a Permit comes
// from the gate and from nowhere else, and only upstream writes to production.
// Each forgery must be a compile error, and for the reason given.
func TestForgeriesDoNotCompile(t *testing.T) {
	const head = "package forged\n\nimport (\n\t\"github.com/doorward/doorward/internal/gate\"\n\t\"github.com/doorward/doorward/internal/upstream\"\n)\n\nvar _ gate.Permit\nvar _ upstream.Conn\n\n"
	cases := []struct{ name, body, reason string }{
		{"a permit with bytes of one's own", "var p = gate.Permit{frames: []byte(\"Q\")}", "unexported field frames"},
		{"a permit sealed by hand", "func f(p *gate.Permit) { p.sealed = true }", "p.sealed undefined"},
		{"a permit unspent by hand", "func f(p *gate.Permit) { p.spent.Store(false) }", "p.spent undefined"},
		{"the bytes of a permit changed", "func f(p *gate.Permit) { p.frames[0] = 0 }", "p.frames undefined"},
		{"a connection with a socket of one's own", "var c = upstream.Conn{raw: nil}", "unexported field raw"},
		{"bytes sent without a permit", "func f(c *upstream.Conn) { c.Send([]byte(\"DROP\")) }", "cannot use"},
		{"a write past Send", "func f(c *upstream.Conn) { c.Write([]byte(\"DROP\")) }", "c.Write undefined"},
		{"the inner write", "func f(c *upstream.Conn) { c.write([]byte(\"DROP\")) }", "c.write undefined"},
		{"the socket itself", "func f(c *upstream.Conn) { c.raw.Write(nil) }", "c.raw undefined"},
		{"a stream without a permit", "func f(c *upstream.Conn) { c.SendBody([]byte(\"x\")) }", "not enough arguments"},
		{"a control statement of one's own", "func f(c *upstream.Conn) { c.Control(\"DROP TABLE t\") }", "cannot use"},
		{"a command without a permit", "func f(c *upstream.SSHConn) { c.Start(\"rm -rf /\") }", "cannot use"},
		{"the host's connection itself", "func f(c *upstream.SSHConn) { c.conn.OpenChannel(\"session\", nil) }", "c.conn undefined"},
		{"a write to a command past its permit", "func f(p *upstream.SSHProcess) { p.Write([]byte(\"x\")) }", "p.Write undefined"},
		{"a request on a command's channel", "func f(p *upstream.SSHProcess) { p.SendRequest(\"exec\", false, nil) }", "p.SendRequest undefined"},
		{"input without a permit", "func f(p *upstream.SSHProcess) { p.Stream([]byte(\"x\")) }", "not enough arguments"},
		{"a file changed without a permit", "func f(x *upstream.Files) { x.Change(\"/etc/passwd\") }", "cannot use"},
		{"the host's files past the permits", "func f(x *upstream.Files) { x.client.Remove(\"/etc/passwd\") }", "x.client undefined"},
		{"a file written without a permit", "func f(x *upstream.File) { x.WriteAt([]byte(\"x\"), 0) }", "not enough arguments"},
		{"bytes forwarded without a permit", "func f(x *upstream.Forwarded) { x.Write(nil) }", "x.Write undefined"},
		{"a request to a cluster without a permit", "func f(k *upstream.Kubernetes, s *gate.Session) { k.Send(nil, s, \"DELETE /api\") }", "cannot use"},
		{"the way to the cluster itself", "func f(k *upstream.Kubernetes) { k.transport.RoundTrip(nil) }", "k.transport undefined"},
		{"doorward's own look with a path of one's own", "func f(k *upstream.Kubernetes, s *gate.Session) { k.Live(nil, s, \"/api/v1/secrets\") }", "cannot use"},
		{"a command in a pod without a permit", "func f(k *upstream.Kubernetes, s *gate.Session) { k.Start(nil, s, \"sh\", \"exec\") }", "cannot use"},
		{"input of a command in a pod past its permit", "func f(p *upstream.KubernetesProcess) { p.Write([]byte(\"x\")) }", "p.Write undefined"},
		{"bytes to a port without a permit", "func f(x *upstream.KubernetesForward) { x.Stream([]byte(\"x\")) }", "not enough arguments"},
		{"a rehearsal made the act", "func f(p *gate.Permit) { p.rehearsal = false }", "p.rehearsal undefined"},
		{"a session made by hand", "var s = gate.Session{gate: nil}", "unexported field gate"},
		{"a verdict of one's own", "func f(s *gate.Session) { s.verdicts = nil }", "s.verdicts undefined"},
		{"a reply without a permit", "var r = gate.Reply{p: nil}", "unexported field p"},
		{"the port called past the gate", "func f(s *gate.Session) { s.gate = nil }", "s.gate undefined"},
	}
	root, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp(filepath.Join(root, "internal"), "forged")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	build := func(body string) (string, error) {
		if err := os.WriteFile(filepath.Join(dir, "forged.go"), []byte(head+body+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("go", "build", ".")
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	if out, err := build("func f(c *upstream.Conn, p *gate.Permit) error { return c.Send(p) }"); err != nil {
		t.Fatalf("the honest use does not compile, so this test would prove nothing:\n%s", out)
	}
	for _, c := range cases {
		out, err := build(c.body)
		if err == nil {
			t.Errorf("%s compiles", c.name)
		} else if !strings.Contains(out, c.reason) {
			t.Errorf("%s fails for another reason than %q:\n%s", c.name, c.reason, out)
		}
	}
}
