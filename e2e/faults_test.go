package e2e

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/doorward/doorward/e2e/harness"
	"github.com/doorward/doorward/e2e/pgtest"
	"github.com/doorward/doorward/e2e/rawpg"
)

// TestBadConfiguration wants a wrong file to be refused whole, with file,
// line and what was meant.
func TestBadConfiguration(t *testing.T) {
	dir := t.TempDir()
	g := &harness.Gate{Dir: dir}
	for name, tc := range map[string]struct{ file, says string }{
		"unknown field":   {"polcy: {}\n", "polcy"},
		"bad condition":   {"policy: { rules: [ { name: r, targets: ['*'], when: 'effect.redonly', then: allow } ] }\n", "redonly"},
		"bad outcome":     {"policy: { rules: [ { name: r, targets: ['*'], then: maybe } ] }\n", "maybe"},
		"bad address":     {"targets: { a: { postgres: { address: nowhere, database: d, user: u } } }\n", "nowhere"},
		"not YAML":        {"policy: [\n", "yaml"},
		"unset variable":  {"targets: { a: { postgres: { address: 'h:1', database: d, user: u, password: { env: DOORWARD_NOT_SET } } } }\n", "DOORWARD_NOT_SET"},
		"missing file":    {"", "no such file"},
		"unknown masking": {"masking: [ { targets: ['*'], columns: [a.b], operator: blur } ]\n", "blur"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(dir, strings.ReplaceAll(name, " ", "-")+".yaml")
			if tc.file != "" {
				if err := os.WriteFile(path, []byte(tc.file), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			cmd, err := g.Command(ctx, "serve", "--config", path)
			if err != nil {
				t.Fatal(err)
			}
			out, err := cmd.CombinedOutput()
			if err == nil || ctx.Err() != nil {
				t.Fatalf("doorward started with it (%v):\n%s", err, out)
			}
			if s := strings.ToLower(string(out)); !strings.Contains(s, strings.ToLower(tc.says)) || !strings.Contains(s, strings.ToLower(filepath.Base(path))) {
				t.Errorf("the message names neither file nor %q:\n%s", tc.says, out)
			}
		})
	}
}

// TestReload has a wrong file refused and the old rules stay, and a right one
// taken.
func TestReload(t *testing.T) {
	p := open(t, pgtest.Options{}, nil)
	token := p.agent("ada")
	good := p.gate.Config().Rules
	p.gate.Config().Rules = []any{map[string]any{"name": "all", "targets": []string{"*"}, "when": "effect.redonly", "then": "allow"}}
	p.reload()
	if _, err := p.connect(token).Query("SELECT 1", 10*time.Second); err != nil {
		t.Errorf("after a wrong file: %v", err)
	}
	if p.gate.Ended() {
		t.Fatal("doorward ended over a wrong file")
	}
	// A session that is open already is under the new rules, too.
	session := p.connect(token)
	p.gate.Config().Rules = append(good, map[string]any{"name": "closed", "targets": []string{"*"}, "when": "effect.read_only", "then": "deny", "reason": "closed for the night"})
	p.reload()
	deadline := time.Now().Add(10 * time.Second)
	for {
		_, err := session.Query("SELECT 1", 10*time.Second)
		if err != nil && strings.Contains(err.Error(), "closed for the night") {
			break
		}
		if session.Closed || time.Now().After(deadline) {
			t.Fatalf("the new rules are not in force after 10 s: %v", err)
		}
		time.Sleep(200 * time.Millisecond)
	}
}

func (p *place) reload() {
	p.t.Helper()
	if err := p.gate.WriteConfig(); err != nil {
		p.t.Fatal(err)
	}
	p.gate.Signal(syscall.SIGHUP)
	time.Sleep(1500 * time.Millisecond)
}

// TestBadCredentials lets nobody in who is not known, and says so clearly.
func TestBadCredentials(t *testing.T) {
	p := open(t, pgtest.Options{}, nil)
	ctx := t.Context()
	good := p.agent("ada")
	for name, token := range map[string]string{
		"empty": "", "nonsense": "hunter2", "cut": good[:len(good)-1], "changed": good[:len(good)-2] + "xx", "long": strings.Repeat("a", 9000),
		"none": "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhZGEifQ.",
	} {
		c, err := rawpg.Connect(ctx, rawpg.Options{Addr: p.gate.Postgres, TLS: p.gate.TLS(), Password: token, Startup: [][2]string{{"user", "agent"}, {"database", "shop-db"}}})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		r := c.Result()
		if c.Tx != 0 || len(r.Errors) == 0 {
			t.Errorf("%s: let in, or closed without a word: %s", name, r.Describe())
		} else if code := r.Errors[0]['C']; code != "28000" && code != "28P01" {
			t.Errorf("%s: %s", name, r.FirstError())
		}
		if token != "" && strings.Contains(string(r.Bytes), token) {
			t.Errorf("%s: the credential comes back in the error", name)
		}
		c.Close()
	}
	for name, db := range map[string]string{"unknown target": "nowhere", "no target": "", "somebody else's": "postgres"} {
		c, err := rawpg.Connect(ctx, rawpg.Options{Addr: p.gate.Postgres, TLS: p.gate.TLS(), Password: good, Startup: [][2]string{{"user", "agent"}, {"database", db}}})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if r := c.Result(); c.Tx != 0 || len(r.Errors) == 0 {
			t.Errorf("%s: let in, or closed without a word: %s", name, r.Describe())
		}
		c.Close()
	}
	if b, err := os.ReadFile(p.gate.LogPath()); err != nil || strings.Contains(string(b), good) {
		t.Errorf("a credential stands in the log (%v)", err)
	}
}

// TestRevoked ends a session when the run that it belongs to is revoked.
func TestRevoked(t *testing.T) {
	p := open(t, pgtest.Options{}, nil)
	ctx := t.Context()
	ada := p.as("ada")
	run, token, err := ada.Run(ctx, "codex", "", []string{"shop-db"}, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	c := p.connect(token)
	if _, err := c.Query("SELECT 1", 10*time.Second); err != nil {
		t.Fatal(err)
	}
	if err := ada.Do(ctx, "DELETE", "/api/v1/runs/"+run, nil, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Query("SELECT 2", 10*time.Second); err == nil {
		// What was under way may end; what comes after the revocation may not.
		time.Sleep(time.Second)
		if _, err := c.Query("SELECT 3", 10*time.Second); err == nil {
			t.Error("the session goes on after the run was revoked")
		}
	}
	if c, err := p.gate.Connect(ctx, "shop-db", token); err == nil {
		c.Close()
		t.Error("a revoked token was let in")
	}
}

// TestAgentsHaveNoAPI keeps agents from all of the API but /me.
func TestAgentsHaveNoAPI(t *testing.T) {
	p := open(t, pgtest.Options{}, nil)
	c := p.gate.Client(p.agent("ada"))
	for _, path := range []string{"/reviews?state=all", "/sessions", "/targets", "/runs", "/audit", "/events"} {
		err := c.Do(t.Context(), "GET", "/api/v1"+path, nil, nil)
		if se, ok := err.(*harness.StatusError); !ok || se.Status != 403 {
			t.Errorf("GET %s: %v", path, err)
		}
	}
	if err := c.Do(t.Context(), "GET", "/api/v1/me", nil, nil); err != nil {
		t.Error(err)
	}
}

// TestNoTLS takes no password before TLS, and nothing that came before TLS
// counts after it.
func TestNoTLS(t *testing.T) {
	p := open(t, pgtest.Options{}, nil)
	ctx := t.Context()
	startup := [][2]string{{"user", "agent"}, {"database", "shop-db"}}
	c, err := rawpg.Connect(ctx, rawpg.Options{Addr: p.gate.Postgres, Password: p.agent("ada"), Startup: startup})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	r := c.Result()
	if c.Tx != 0 || len(r.Errors) == 0 {
		t.Errorf("signed in without TLS: %s", r.Describe())
	}
	for _, m := range c.Messages {
		if m.Type == 'R' && len(m.Body) >= 4 && m.Body[3] == 3 {
			t.Error("the password was asked for before TLS")
		}
	}
	// A startup packet in the same segment as SSLRequest.
	s, err := rawpg.Plain(ctx, rawpg.Options{Addr: p.gate.Postgres})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	s.Send(append([]byte{0, 0, 0, 8, 4, 210, 22, 47}, rawpg.StartupPacket(3<<16, startup)...))
	s.DrainRaw(5 * time.Second)
	if !s.Closed {
		t.Error("the connection goes on after plaintext behind SSLRequest")
	}
}

// TestVersions answers protocol 3.2 and versions that do not exist.
func TestVersions(t *testing.T) {
	p := open(t, pgtest.Options{}, nil)
	token := p.agent("ada")
	for _, version := range []uint32{3 << 16, 3<<16 | 2, 3<<16 | 9999} {
		c, err := rawpg.Connect(t.Context(), rawpg.Options{Addr: p.gate.Postgres, TLS: p.gate.TLS(), Version: version, Password: token, Startup: [][2]string{{"user", "agent"}, {"database", "shop-db"}}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Query("SELECT 1", 10*time.Second); err != nil {
			t.Errorf("protocol %d.%d: %v", version>>16, version&0xffff, err)
		}
		c.Close()
	}
	for _, version := range []uint32{2 << 16, 4 << 16} {
		c, err := rawpg.Connect(t.Context(), rawpg.Options{Addr: p.gate.Postgres, TLS: p.gate.TLS(), Version: version, Password: token, Startup: [][2]string{{"user", "agent"}, {"database", "shop-db"}}})
		if err != nil {
			t.Fatal(err)
		}
		if c.Tx != 0 {
			t.Errorf("protocol %d was accepted", version>>16)
		}
		c.Close()
	}
}

// TestDeadUpstream has a target that refuses, one that never answers, and one
// that dies while it answers.
func TestDeadUpstream(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0") // accepts, and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	port, err := pgtest.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	p := open(t, pgtest.Options{}, func(c *harness.Config) {
		for name, addr := range map[string]string{"closed": fmt.Sprintf("127.0.0.1:%d", port), "silent": silent.Addr().String()} {
			c.Targets = append(c.Targets, harness.Target{Name: name, Address: addr, Database: "d", User: "u", Password: "p"})
		}
		wrong := c.Targets[0]
		wrong.Name, wrong.Password = "wrong-password", "not this"
		c.Targets = append(c.Targets, wrong)
	})
	ctx := t.Context()
	token := p.as("ada").Token
	for _, target := range []string{"closed", "silent", "wrong-password"} {
		start := time.Now()
		c, err := rawpg.Connect(ctx, rawpg.Options{Addr: p.gate.Postgres, TLS: p.gate.TLS(), Password: token, Timeout: 40 * time.Second, Startup: [][2]string{{"user", "agent"}, {"database", target}}})
		if err != nil {
			t.Fatal(err)
		}
		r := c.Result()
		if c.Tx != 0 { // it may sign in first and dial with the first request
			r, _ = c.Query("SELECT 1", 40*time.Second)
		}
		if len(r.Errors) == 0 {
			t.Errorf("%s: no error within %s", target, time.Since(start))
		}
		if strings.Contains(string(r.Bytes), "not this") {
			t.Errorf("%s: the target's password is in the error", target)
		}
		c.Close()
	}
	c := p.connect(token)
	if _, err := c.Query("SELECT 1", 10*time.Second); err != nil {
		t.Fatal(err)
	}
	c.Send(rawpg.Msg('Q', []byte("SELECT count(*) FROM generate_series(1, 100000000000)\x00")))
	time.Sleep(300 * time.Millisecond)
	if err := p.pg.Exec(ctx, "postgres", "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname='shop'"); err != nil {
		t.Fatal(err)
	}
	c.ReadUntil("EZ", 20*time.Second)
	if r := c.Result(); len(r.Errors) == 0 && !c.Closed {
		t.Error("the client hears nothing of a target that died")
	}
	// The next session works.
	if _, err := p.connect(token).Query("SELECT 1", 10*time.Second); err != nil {
		t.Errorf("after the target came back: %v", err)
	}
}

// TestFullDisk fills the disk under doorward's record: nothing runs that
// cannot be recorded, and nothing is released.
func TestFullDisk(t *testing.T) {
	if os.Getuid() != 0 {
		t.Fatal("this test mounts a small file system and has to run as root")
	}
	disk := filepath.Join(t.TempDir(), "disk")
	if err := os.Mkdir(disk, 0o700); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", disk).CombinedOutput(); err != nil {
		t.Fatalf("mount: %v: %s", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", "-l", disk).CombinedOutput(); err != nil {
			t.Errorf("umount: %v: %s", err, out)
		}
	})
	p := open(t, pgtest.Options{}, func(c *harness.Config) { c.State = filepath.Join(disk, "state") })
	token := p.agent("ada")
	c := p.connect(token)
	if _, err := c.Query("SELECT 1", 10*time.Second); err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		if _, err := c.Query(fmt.Sprintf("INSERT INTO marks VALUES ('disk-before-%d')", i), 10*time.Second); err != nil {
			t.Fatal(err)
		}
	}
	fill := filepath.Join(disk, "fill")
	f, err := os.Create(fill)
	if err != nil {
		t.Fatal(err)
	}
	for block := make([]byte, 1<<16); ; {
		if n, err := f.Write(block); err != nil || n < len(block) {
			break
		}
	}
	f.Close()
	// Room that is left in open files may take a few; then it has to stop.
	stopped := -1
	for i := range 3000 {
		if c.Closed || c.Tx == 0 {
			if c, err = p.gate.Connect(t.Context(), "shop-db", token); err != nil {
				stopped = i
				break
			}
		}
		id := fmt.Sprintf("disk-%d", i)
		if _, err := c.Query(fmt.Sprintf("INSERT INTO marks VALUES ('%s') /* %s */", id, strings.Repeat("x", 2000)), 20*time.Second); err != nil {
			stopped = i
			if v := p.value("SELECT count(*) FROM marks WHERE id='" + id + "'"); v != "0" {
				t.Errorf("%s ran though it was refused: %v", id, err)
			}
			t.Logf("after %d requests the client was told: %v", i, err)
			break
		}
	}
	if stopped < 0 {
		t.Fatal("3000 requests ran on a full disk: they cannot all be on record")
	}
	if p.gate.Ended() {
		t.Log("doorward ended on a full disk: closed, too, is safe")
	}
	if err := os.Remove(fill); err != nil {
		t.Fatal(err)
	}
	if p.gate.Ended() {
		if err := p.gate.Launch(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	// With room again it works again, by itself or after a restart.
	deadline := time.Now().Add(10 * time.Second)
	for restarted := false; ; {
		again, err := p.gate.Connect(t.Context(), "shop-db", token)
		if err == nil {
			_, err = again.Query("SELECT 1", 10*time.Second)
			again.Close()
		}
		if err == nil {
			break
		}
		if time.Now().After(deadline) {
			if restarted {
				t.Fatalf("with room again, and after a restart, it does not work: %v", err)
			}
			t.Logf("doorward has to be started again after a full disk: %v", err)
			p.gate.Kill()
			if err := p.gate.Launch(t.Context()); err != nil {
				t.Fatal(err)
			}
			restarted, deadline = true, time.Now().Add(10*time.Second)
		}
		time.Sleep(300 * time.Millisecond)
	}
	p.recorded("disk-")
	p.audited()
}
