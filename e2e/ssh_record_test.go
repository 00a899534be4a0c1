package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/doorward/doorward/e2e/harness"
	"github.com/doorward/doorward/e2e/sshtest"
)

// TestSSHMasking has values leave a host by every way there is.
func TestSSHMasking(t *testing.T) {
	h := openHost(t, sshtest.Options{}, func(c *harness.Config, _ *sshtest.Server) {
		c.Masking = []any{map[string]any{"targets": []string{orders}, "detect": []string{"EMAIL", "CREDIT_CARD", "SECRET"}, "operator": "redact"}}
	})
	const mail, card = "grace.hopper@navy.example", "4111 1111 1111 1111"
	key := "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIKq0Tq6pVZ0r9pZ2\nRbM1JSiTdhZ7cDqF0FQ3xxyyZZaa\n-----END PRIVATE KEY-----\n"
	file := filepath.Join(h.sshd.Home(), "people.txt")
	text := "name grace\nmail " + mail + "\ncard " + card + "\n" + key + "end\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	clean := func(what, got string) {
		t.Helper()
		for _, v := range []string{mail, "grace.hopper", card, "4111", "MC4CAQ", "RbM1JS"} {
			if strings.Contains(got, v) {
				t.Errorf("%s: %q came out:\n%s", what, v, got)
			}
		}
	}
	for name, command := range map[string]string{
		"whole":              "cat " + file,
		"standard error":     "cat " + file + " >&2",
		"byte by byte":       "dd bs=1 status=none if=" + file,
		"coloured in parts":  "grep --color=always -e @ -e ' 1111 1111' " + file,
		"without a line end": "printf '%s' 'mail " + mail + "'",
	} {
		e := h.ssh(command)
		if e.status != 0 {
			t.Errorf("%s: exit status %d: %s", name, e.status, e.err)
		}
		clean(name, e.out+e.err)
		if name == "whole" && (!strings.Contains(e.out, "name grace\nmail [EMAIL]\ncard ") || !strings.HasSuffix(e.out, "end\n")) {
			t.Errorf("what is no value was changed:\n%s", e.out)
		}
	}
	e := h.run(h.command(h.cert, "ssh", "-tt", "-F", h.cert, orders+".doorward", "cat "+file))
	clean("terminal", e.out+e.err)
	got := filepath.Join(h.dir, "got")
	h.works(h.run(h.command(h.cert, "scp", "-F", h.cert, orders+".doorward:"+file, got)))
	b, err := os.ReadFile(got)
	if err != nil || !strings.HasSuffix(string(b), "end\n") {
		t.Errorf("scp: %v\n%s", err, b)
	}
	clean("scp", string(b))
	// What cannot be masked as a whole is not given away.
	big := filepath.Join(h.sshd.Home(), "big.txt")
	if err := os.WriteFile(big, []byte(strings.Repeat("x", 17<<20)), 0o600); err != nil {
		t.Fatal(err)
	}
	h.refused(h.run(h.command(h.cert, "scp", "-F", h.cert, orders+".doorward:"+big, got)), "can be masked")
	h.refused(h.run(h.command(h.cert, "ssh", "-F", h.cert, "-W", h.sshd.Addr(), orders+".doorward")), "cannot be masked")
	h.audited()
	for _, dir := range []string{"tapes", "ledger"} {
		err := filepath.Walk(filepath.Join(h.gate.State, dir), func(path string, info os.FileInfo, err error) error {
			if err != nil || info.IsDir() {
				return err
			}
			b, err := os.ReadFile(path)
			if strings.Contains(string(b), "RbM1JS") {
				t.Errorf("%s holds a clear value", path)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestSSHLimits passes each limit of a rule.
func TestSSHLimits(t *testing.T) {
	limited := func(commands string, limits map[string]any) map[string]any {
		return map[string]any{"name": "limits-" + commands, "targets": []string{orders}, "commands": []string{commands}, "then": "allow", "limits": limits}
	}
	h := openHost(t, sshtest.Options{}, func(c *harness.Config, _ *sshtest.Server) {
		c.Rules = []any{
			limited("head -c 3000000 /dev/zero", map[string]any{"bytes": "1MiB"}),
			limited("seq 1000", map[string]any{"rows": 100}),
			limited("sleep 60", map[string]any{"time": "1s"}),
			limited("true", map[string]any{"per_minute": 3}),
			map[string]any{"name": "files", "targets": []string{orders}, "when": "effect.kinds.all(k, k.startsWith('sftp'))", "then": "allow", "limits": map[string]any{"bytes": "1MiB"}},
		}
	})
	e := h.ssh("head -c 3000000 /dev/zero")
	h.refused(e, "1048576 bytes")
	if len(e.out) > 1<<20 || e.status != 126 {
		t.Errorf("%d bytes came, exit status %d", len(e.out), e.status)
	}
	e = h.ssh("seq 1000")
	h.refused(e, "100 rows")
	if n := strings.Count(e.out, "\n"); n > 100 {
		t.Errorf("%d lines came", n)
	}
	start := time.Now()
	h.refused(h.ssh("sleep 60"), "time limit of 1s")
	if took := time.Since(start); took > 15*time.Second {
		t.Errorf("it was stopped after %s", took)
	}
	for i := range 5 {
		if e := h.ssh("true"); i < 3 {
			h.works(e)
		} else {
			h.refused(e, "more than 3 requests in a minute")
		}
	}
	big := filepath.Join(h.sshd.Home(), "big")
	if err := os.WriteFile(big, make([]byte, 3<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	h.refused(h.run(h.command(h.cert, "scp", "-F", h.cert, orders+".doorward:"+big, filepath.Join(h.dir, "got"))), "1048576 bytes")
	h.audited()
}

// TestSSHRecord replays what was done on a host, and proves the record.
func TestSSHRecord(t *testing.T) {
	h := openHost(t, sshtest.Options{}, nil)
	if e := h.ssh("echo out-1; echo err-1 >&2; exit 3"); e.out != "out-1\n" || e.err != "err-1\n" || e.status != 3 {
		t.Fatalf("%+v", e)
	}
	id := h.sessionOf("out-1")
	tty := h.command(h.cert, "ssh", "-tt", "-F", h.cert, orders+".doorward")
	in, err := tty.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for _, s := range []string{"export PS1=\r", "echo typed-$((40+2))\r", "stty -echo; read -r X; stty echo\r", "hunter2-hidden\r", "exit 5\r"} {
			time.Sleep(700 * time.Millisecond)
			fmt.Fprint(in, s)
		}
	}()
	if e := h.run(tty); e.status != 5 || !strings.Contains(e.out, "typed-42") {
		t.Fatalf("%+v", e)
	}
	shell := h.sessionOf("shell")
	if out := h.cli("sessions", "replay", "--plain", id); !strings.Contains(out, "out-1") || !strings.Contains(out, "err-1") || !strings.Contains(out, "exit status 3") {
		t.Errorf("the replay shows\n%s", out)
	}
	out := h.cli("sessions", "replay", "--plain", shell)
	for _, want := range []string{"typed-42", "typed, as far as one can tell: echo typed-$((40+2))", "the screen did not show", "exit status 5"} {
		if !strings.Contains(out, want) {
			t.Errorf("the replay has no %q:\n%s", want, out)
		}
	}
	cast := h.cli("sessions", "export", shell, "--format", "asciicast")
	if !strings.HasPrefix(cast, `{"version":3,`) || !strings.Contains(cast, "typed-42") {
		t.Errorf("the cast is\n%s", cast)
	}
	if all := out + cast + h.cli("sessions", "export", shell, "--format", "json"); strings.Contains(all, "hunter2") {
		t.Error("what the screen did not show was kept")
	}
	h.audited()
}
