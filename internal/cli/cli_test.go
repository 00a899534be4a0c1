package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/alecthomas/kong"

	"github.com/doorward/doorward"
	"github.com/doorward/doorward/internal/api"
	"github.com/doorward/doorward/internal/api/apitest"
)

// TestMain lets the tests run this binary as doorward itself.
func TestMain(m *testing.M) {
	if os.Getenv("TEST_AS_DOORWARD") == "1" {
		os.Exit(Main(&Env{Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr}, os.Args[1:]))
	}
	os.Exit(m.Run())
}

// done is what one command line did.
type done struct {
	code     int
	out, err string
}

// doorwardWith runs a command line in this process.
func doorwardWith(env *Env, args ...string) done {
	var out, errs bytes.Buffer
	env.Stdout, env.Stderr = &out, &errs
	if env.Stdin == nil {
		env.Stdin = strings.NewReader("")
	}
	code := Main(env, args)
	return done{code, out.String(), errs.String()}
}

func run(t *testing.T, code int, args ...string) done {
	t.Helper()
	d := doorwardWith(&Env{}, args...)
	if d.code != code {
		t.Fatalf("doorward %s: code %d, want %d\nout: %s\nerr: %s", strings.Join(args, " "), d.code, code, d.out, d.err)
	}
	for _, r := range d.out + d.err {
		if r != '\n' && r != '\t' && (r < 0x20 || r == 0x7f || unsafeRune(r)) {
			t.Errorf("doorward %s sends %U to the terminal: %q", strings.Join(args, " "), r, d.out+d.err)
			break
		}
	}
	return d
}

// login signs a person in, and keeps the sign-in for the rest of the test.
func login(t *testing.T, h *apitest.House, user string) {
	t.Helper()
	dir := t.TempDir()
	for _, v := range []string{"DOORWARD_TOKEN", "DOORWARD_SERVER", "DOORWARD_CA", "DOORWARD_CONFIG"} {
		t.Setenv(v, "")
		os.Unsetenv(v)
	}
	t.Setenv("DOORWARD_CONFIG_DIR", dir)
	ca := filepath.Join(dir, "given-ca.pem")
	if err := os.WriteFile(ca, []byte(h.CA), 0o600); err != nil {
		t.Fatal(err)
	}
	d := doorwardWith(&Env{Stdin: strings.NewReader(user + "'s password\n")}, "login", "--server", h.URL, "--user", user, "--password-stdin", "--ca", ca)
	if d.code != 0 {
		t.Fatalf("login: %+v", d)
	}
}

func unmarshal[T any](t *testing.T, text string) T {
	t.Helper()
	var v T
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return v
}

const nasty = "update orders\nset note = '\x1b]0;owned\x07\u202e\u009b31m' where id = 1"

func TestSignInAndOut(t *testing.T) {
	h := apitest.Start(t, nil)
	login(t, h, "ada")
	me := unmarshal[api.Me](t, run(t, 0, "whoami", "--json").out)
	if me.Name != "ada" || me.Credential == "" {
		t.Errorf("%+v", me)
	}
	if d := run(t, 0, "whoami"); !strings.Contains(d.out, "ada") || !strings.Contains(d.out, "engineers") {
		t.Error(d.out)
	}
	if d := run(t, 0, "targets"); !strings.Contains(d.out, "orders-db") || strings.Contains(d.out, "secret-db") {
		t.Error(d.out)
	}
	if got := unmarshal[[]api.TargetInfo](t, run(t, 0, "targets", "--json").out); len(got) != 1 {
		t.Error(got)
	}
	kept, err := loadCredentials()
	if err != nil {
		t.Fatal(err)
	}
	run(t, 0, "logout")
	run(t, CodeNotSigned, "whoami")
	run(t, 0, "logout")
	t.Setenv("DOORWARD_TOKEN", kept.Token)
	t.Setenv("DOORWARD_SERVER", h.URL)
	t.Setenv("DOORWARD_CA", filepath.Join(os.Getenv("DOORWARD_CONFIG_DIR"), "given-ca.pem"))
	if d := run(t, CodeNotSigned, "whoami"); !strings.Contains(d.err, "hint: ") || strings.Contains(d.err, kept.Token) {
		t.Error(d.err)
	}
}

func TestSignInRefused(t *testing.T) {
	h := apitest.Start(t, nil)
	login(t, h, "ada")
	ca := filepath.Join(os.Getenv("DOORWARD_CONFIG_DIR"), "given-ca.pem")
	d := doorwardWith(&Env{Stdin: strings.NewReader("wrong")}, "login", "--server", h.URL, "--user", "ada", "--password-stdin", "--ca", ca)
	if d.code != CodeNotSigned || strings.Contains(d.err, "wrong\n") {
		t.Errorf("%+v", d)
	}
	for _, args := range [][]string{
		{"login", "--server", h.URL, "--ca", ca},                                              // nobody to ask
		{"login", "--server", h.URL, "--ca", ca, "--user", "ada"},                             // no terminal
		{"login", "--server", h.URL, "--ca", ca, "--password-stdin"},                          // whose?
		{"login", "--server", "http://doorward.example", "--user", "ada", "--password-stdin"}, // plain
		{"login", "--server", h.URL, "--ca", ca, "--user", "ada", "--provider", "nothing"},    // no such
		{"login", "--server", h.URL, "--ca", ca, "--user", "a", "--password-stdin"},           // empty
		{"login", "--server", h.URL, "--password-stdin", "--token-stdin", "--user", "a"},      // both
		{"reviews", "show", "x"}, {"nothing"}, {"run", "--agent", "codex"}, {"reviews"}, {"run"}, // usage
		{"sessions", "ls", "--limit", "0"}, {"health", "--url", "nonsense"}, {"connect", "orders-db", "stray"},
	} {
		run(t, CodeUsage, args...)
	}
	if d := doorwardWith(&Env{Stdin: strings.NewReader("x")}, "login", "--server", h.URL, "--user", "ada", "--password-stdin"); d.code != CodeError || !strings.Contains(d.err, "--ca") {
		t.Errorf("an unknown CA: %+v", d)
	}
	if d := doorwardWith(&Env{Stdin: strings.NewReader("x")}, "login", "--server", "https://127.0.0.1:1", "--user", "ada", "--password-stdin"); d.code != CodeError || !strings.Contains(d.err, "doorward serve") {
		t.Errorf("no server: %+v", d)
	}
}

func TestReviewsCommands(t *testing.T) {
	h := apitest.Start(t, nil)
	agent, _ := h.Agent(t, "ada")
	login(t, h, "dora")
	if d := run(t, 0, "reviews", "ls"); !strings.Contains(d.out, "Nothing waits") {
		t.Error(d.out)
	}
	first := h.Review(t, agent, nasty)
	second := h.Review(t, agent, "delete from orders where id = 2")
	if d := run(t, 0, "reviews", "ls"); !strings.Contains(d.out, "ada via codex") || !strings.Contains(d.out, `\x1b`) || len(strings.Split(strings.TrimSpace(d.out), "\n")) != 3 {
		t.Error(d.out)
	}
	if got := unmarshal[[]api.Review](t, run(t, 0, "reviews", "ls", "--json").out); len(got) != 2 || got[1].Statement != nasty {
		t.Errorf("%+v", got)
	}
	id := fmt.Sprint(first.ID)
	if d := run(t, CodeHeld, "reviews", "show", id); !strings.Contains(d.out, "update orders") || !strings.Contains(d.out, "reviews approve") {
		t.Error(d.out)
	}
	if d := run(t, 0, "reviews", "approve", id, "--max-rows", "1", "--comment", "fine"); !strings.Contains(d.out, "approved") {
		t.Error(d.out)
	}
	if d := run(t, 0, "reviews", "show", id); !strings.Contains(d.out, "at most 1 rows by dora") {
		t.Error(d.out)
	}
	run(t, 0, "reviews", "deny", fmt.Sprint(second.ID), "--json")
	run(t, CodeDenied, "reviews", "show", fmt.Sprint(second.ID), "--json")
	run(t, CodeError, "reviews", "approve", id)   // decided already
	run(t, CodeError, "reviews", "show", "12345") // no such
	login(t, h, "ada")
	third := h.Review(t, agent, "delete from orders where id = 3")
	if d := run(t, CodeDenied, "reviews", "approve", fmt.Sprint(third.ID)); !strings.Contains(d.err, "hint: ") {
		t.Error(d.err)
	}
	if d := run(t, CodeHeld, "reviews", "show", fmt.Sprint(third.ID)); !strings.Contains(d.out, "reviews withdraw") {
		t.Error(d.out)
	}
	if d := run(t, 0, "reviews", "withdraw", fmt.Sprint(third.ID), "--reason", "wrong table"); !strings.Contains(d.out, "withdrawn: it is denied") {
		t.Error(d.out)
	}
	run(t, CodeDenied, "reviews", "show", fmt.Sprint(third.ID))
	run(t, CodeError, "reviews", "withdraw", fmt.Sprint(third.ID)) // decided already
	fourth := h.Review(t, agent, "delete from orders where id = 4")
	if r := unmarshal[api.Review](t, run(t, 0, "reviews", "withdraw", fmt.Sprint(fourth.ID), "--json").out); r.ID != fourth.ID || r.State != doorward.ReviewDenied {
		t.Errorf("%+v", r)
	}
	fifth := h.Review(t, agent, "delete from orders where id = 5")
	login(t, h, "dora")
	if d := run(t, CodeDenied, "reviews", "withdraw", fmt.Sprint(fifth.ID)); !strings.Contains(d.err, "hint: ") {
		t.Error(d.err)
	}
}

func TestAccessEnd(t *testing.T) {
	h := apitest.Start(t, nil)
	id, token := h.Agent(t, "ada")
	login(t, h, "ben")
	if d := run(t, CodeDenied, "access", "end", id.Subject, "--reason", "a test"); !strings.Contains(d.err, "hint: ") {
		t.Error(d.err)
	}
	login(t, h, "sam")
	run(t, CodeUsage, "access", "end", id.Subject)
	if d := run(t, CodeUsage, "access", "end", "ada", "--reason", "a test"); !strings.Contains(d.err, "provider:subject") {
		t.Error(d.err)
	}
	if _, err := h.Identity.Identify(t.Context(), doorward.Credential{Secret: token, Secure: true}); err != nil {
		t.Fatal(err)
	}
	if d := run(t, 0, "access", "end", id.Subject, "--reason", "a test"); !strings.Contains(d.out, "local:ada had is ended") {
		t.Error(d.out)
	}
	if _, err := h.Identity.Identify(t.Context(), doorward.Credential{Secret: token, Secure: true}); err == nil {
		t.Error("the agent's credential still works")
	}
	if got := unmarshal[map[string]string](t, run(t, 0, "access", "end", id.Subject, "--reason", "again", "--json").out); got["ended"] != id.Subject {
		t.Errorf("%v", got)
	}
}

// lines collects what a command prints while it runs.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) until(t *testing.T, want string) string {
	t.Helper()
	for range 200 {
		l.mu.Lock()
		s := l.b.String()
		l.mu.Unlock()
		if strings.Contains(s, want) {
			return s
		}
		time.Sleep(50 * time.Millisecond)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	t.Fatalf("%q did not come: %s", want, l.b.String())
	return ""
}

// start runs this test binary as doorward.
func start(t *testing.T, out, errs *lines, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), "TEST_AS_DOORWARD=1")
	cmd.Stdout, cmd.Stderr = out, errs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if cmd.ProcessState == nil {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	})
	return cmd
}

func TestWatch(t *testing.T) {
	h := apitest.Start(t, nil)
	agent, _ := h.Agent(t, "ada")
	login(t, h, "dora")
	h.Review(t, agent, "delete from orders where id = 1")
	var out, errs lines
	reviews := start(t, &out, &errs, "reviews", "watch", "--json")
	out.until(t, "id = 1")
	r := h.Review(t, agent, nasty)
	out.until(t, `\u001b`)
	if _, err := h.Reviews.Vote(t.Context(), r.ID, mustPerson(t, h, "dora"), doorward.Vote{Approve: true}); err != nil {
		t.Fatal(err)
	}
	text := out.until(t, `"state":"approved"`)
	for line := range strings.Lines(text) {
		unmarshal[api.Review](t, line)
	}
	if err := reviews.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := reviews.Wait(); err != nil {
		t.Errorf("Ctrl-C: %v %s", err, errs.b.String())
	}

	login(t, h, "ada")
	var sout, serrs lines
	sessions := start(t, &sout, &serrs, "sessions", "watch")
	time.Sleep(300 * time.Millisecond)
	h.Session(t, "sess-w", agent, "select 1", true)
	sout.until(t, "opened  sess-w")
	if err := h.Live.Kill("sess-w", "x"); err != nil {
		t.Fatal(err)
	}
	sout.until(t, "closed  sess-w")
	// When the sign-in ends the watch ends, with the code that says so.
	run(t, 0, "logout")
	err := sessions.Wait()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != CodeNotSigned {
		t.Errorf("after signing out: %v %s", err, serrs.b.String())
	}
}

func mustPerson(t *testing.T, h *apitest.House, name string) doorward.Identity {
	id, _ := h.Person(t, name)
	return id
}

func TestSessionsCommands(t *testing.T) {
	h := apitest.Start(t, nil)
	agent, _ := h.Agent(t, "ada")
	h.Session(t, "sess-one", agent, nasty, false)
	h.Session(t, "sess-two", agent, "select 2", true)
	login(t, h, "ada")
	if d := run(t, 0, "sessions", "ls", "codex"); !strings.Contains(d.out, "sess-one") || !strings.Contains(d.out, "open") {
		t.Error(d.out)
	}
	if got := unmarshal[[]api.Session](t, run(t, 0, "sessions", "ls", "--live", "--json").out); len(got) != 1 || got[0].ID != "sess-two" {
		t.Errorf("%+v", got)
	}
	if d := run(t, 0, "sessions", "ls", "no such thing"); !strings.Contains(d.out, "No such") {
		t.Error(d.out)
	}
	if d := run(t, 0, "sessions", "show", "sess-one"); !strings.Contains(d.out, "ada via codex") {
		t.Error(d.out)
	}
	if d := run(t, 0, "sessions", "replay", "sess-one"); !strings.Contains(d.out, "update orders") || !strings.Contains(d.out, `\x1b]0;owned`) || !strings.Contains(d.out, "whole and unchanged") {
		t.Error(d.out)
	}
	if got := unmarshal[api.Timeline](t, run(t, 0, "sessions", "replay", "sess-one", "--json").out); got.Entries[0].Statement != nasty {
		t.Errorf("%+v", got.Entries[0])
	}
	if got := len(h.Events(t, doorward.EventReplayed)); got != 2 {
		t.Errorf("%d views are recorded", got)
	}
	tapes := filepath.Join(h.Dir, "tapes")
	if d := run(t, 0, "sessions", "replay", "sess-one", "--tapes", tapes); !strings.Contains(d.out, "update orders") {
		t.Error(d.out)
	}
	file := filepath.Join(t.TempDir(), "one.cast")
	run(t, 0, "sessions", "export", "sess-one", "--out", file)
	if raw, err := os.ReadFile(file); err != nil || !bytes.Contains(raw, []byte(`"version"`)) {
		t.Errorf("%v %s", err, raw)
	}
	run(t, CodeError, "sessions", "export", "sess-one", "--out", file) // it is there
	for _, args := range [][]string{{"--json"}, {"--format", "json", "--tapes", tapes}} {
		d := doorwardWith(&Env{}, append([]string{"sessions", "export", "sess-one"}, args...)...)
		if got := unmarshal[api.Timeline](t, d.out); len(got.Entries) != 3 {
			t.Errorf("%v: %+v", args, got)
		}
	}
	run(t, CodeError, "sessions", "show", "nothing")
	run(t, 0, "sessions", "kill", "sess-two")
	if len(h.Live.Killed) != 1 || h.Live.Killed[0] != "sess-two by ada" {
		t.Errorf("%v", h.Live.Killed)
	}
	run(t, CodeError, "sessions", "kill", "sess-one")
}

func TestRun(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("needs sh")
	}
	h := apitest.Start(t, nil)
	login(t, h, "ada")
	t.Setenv("PGHOSTADDR", "192.0.2.1")
	t.Setenv("PGSERVICE", "around")
	script := `printf '%s\n' "$PGHOST" "$PGPORT" "$PGDATABASE" "$PGSSLMODE" "$DOORWARD_RUN" "$PGHOSTADDR$PGSERVICE$DOORWARD_CONFIG_DIR" "$PGPASSWORD"; cat "$PGSSLROOTCERT"; stat -c %a "$PGSSLROOTCERT"; echo "$PGSSLROOTCERT"; exit 7`
	d := run(t, 7, "run", "--agent", "codex", "--task", "fix it", "--target", "orders-db", "--ttl", "1h", "--", "sh", "-c", script)
	got := strings.Split(d.out, "\n")
	if got[0] != "127.0.0.1" || got[1] != "15432" || got[2] != "orders-db" || got[3] != "verify-full" || !strings.HasPrefix(got[4], "run_") || got[5] != "" {
		t.Errorf("%q", got[:6])
	}
	token := got[6]
	if !strings.Contains(d.out, strings.TrimSpace(h.CA)) || !strings.Contains(d.out, "\n600\n") {
		t.Error(d.out)
	}
	if strings.Contains(d.err, token) || !strings.Contains(d.err, "codex may reach orders-db") {
		t.Error(d.err)
	}
	ca := got[len(got)-2]
	if _, err := os.Stat(ca); err == nil {
		t.Errorf("%s is still there", ca)
	}
	if _, err := h.Identity.Identify(t.Context(), doorward.Credential{Secret: token, Secure: true}); err == nil {
		t.Error("the credential outlives the command")
	}
	runs := unmarshal[[]api.Run](t, run(t, 0, "agents", "ls", "--all", "--json").out)
	if len(runs) != 1 || runs[0].Live || runs[0].Task != "fix it" || runs[0].Run != got[4] {
		t.Errorf("%+v", runs)
	}
	if d := run(t, 0, "agents", "ls"); !strings.Contains(d.out, "No agent runs") {
		t.Error(d.out)
	}
	if d := run(t, 0, "run", "--agent", "codex", "--", "sh", "-c", `echo "[$PGDATABASE]"`); d.out != "[orders-db]\n" { // the only one
		t.Error(d.out)
	}
	run(t, CodeUsage, "run", "--agent", "codex", "--", "no-such-command-anywhere")
	run(t, CodeUsage, "run", "--agent", "codex", "--ttl", "48h", "--", "true")
	run(t, CodeUsage, "run", "--agent", "Not A Name", "--", "true")
	run(t, CodeError, "run", "--agent", "codex", "--target", "secret-db", "--", "true")
	if got := h.Events(t, doorward.EventCredential); len(got) != 3 {
		t.Errorf("%d credentials were issued", len(got))
	}
	login(t, h, "sam")
	if d := run(t, 0, "run", "--agent", "codex", "--", "sh", "-c", `echo "[$PGDATABASE]"`); d.out != "[]\n" { // there are two
		t.Error(d.out)
	}
}

// A signal to doorward reaches the command, and the credential still ends.
func TestRunIsSignalled(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("needs sh")
	}
	h := apitest.Start(t, nil)
	login(t, h, "ada")
	for _, sig := range []os.Signal{syscall.SIGTERM, os.Interrupt} {
		var out, errs lines
		cmd := start(t, &out, &errs, "run", "--agent", "codex", "--", "sh", "-c", `trap 'echo told; exit 9' TERM INT; echo "token $PGPASSWORD"; while :; do sleep 0.05; done`)
		text := out.until(t, "token dw_")
		token := strings.TrimSpace(strings.TrimPrefix(strings.Split(text, "\n")[0], "token "))
		if _, err := h.Identity.Identify(t.Context(), doorward.Credential{Secret: token, Secure: true}); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Process.Signal(sig); err != nil {
			t.Fatal(err)
		}
		err := cmd.Wait()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != 9 {
			t.Errorf("%v: %v %s", sig, err, errs.b.String())
		}
		out.until(t, "told")
		if _, err := h.Identity.Identify(t.Context(), doorward.Credential{Secret: token, Secure: true}); err == nil {
			t.Errorf("%v: the credential outlives the command", sig)
		}
	}
}

func TestRevoke(t *testing.T) {
	h := apitest.Start(t, nil)
	agent, token := h.Agent(t, "ada")
	login(t, h, "ada")
	if d := run(t, 0, "agents", "ls"); !strings.Contains(d.out, agent.Run) || !strings.Contains(d.out, "a test") {
		t.Error(d.out)
	}
	run(t, 0, "agents", "revoke", agent.Run)
	if _, err := h.Identity.Identify(t.Context(), doorward.Credential{Secret: token, Secure: true}); err == nil {
		t.Error("it still works")
	}
	run(t, CodeError, "agents", "revoke", "run_nothing")
	// An agent cannot use the command line.
	_, other := h.Agent(t, "ada")
	t.Setenv("DOORWARD_TOKEN", other)
	t.Setenv("DOORWARD_SERVER", h.URL)
	t.Setenv("DOORWARD_CA", filepath.Join(os.Getenv("DOORWARD_CONFIG_DIR"), "given-ca.pem"))
	if d := run(t, 0, "whoami"); !strings.Contains(d.out, "ada via codex") {
		t.Error(d.out)
	}
	run(t, CodeDenied, "reviews", "ls")
	run(t, CodeDenied, "run", "--agent", "sub", "--", "true")
}

func TestConnect(t *testing.T) {
	h := apitest.Start(t, nil)
	login(t, h, "ada")
	kept, err := loadCredentials()
	if err != nil {
		t.Fatal(err)
	}
	d := run(t, 0, "connect", "orders-db")
	for _, want := range []string{"psql 'host=127.0.0.1 port=15432 dbname=orders-db", "postgresql://token@127.0.0.1:15432/orders-db?", "jdbc:postgresql://127.0.0.1:15432/orders-db?", "verify-full"} {
		if !strings.Contains(d.out, want) {
			t.Errorf("no %s in %s", want, d.out)
		}
	}
	if strings.Contains(d.out+d.err, kept.Token) {
		t.Error("the token is shown")
	}
	got := unmarshal[map[string]any](t, run(t, 0, "connect", "orders-db", "--json").out)
	if raw, err := os.ReadFile(got["ca_file"].(string)); err != nil || string(raw) != h.CA {
		t.Errorf("%v %s", err, raw)
	}
	run(t, CodeError, "connect", "secret-db")
	bin := t.TempDir()
	if err := os.WriteFile(filepath.Join(bin, "psql"), []byte("#!/bin/sh\necho \"$PGDATABASE $PGSSLMODE $#:$*\"\nexit 3\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+string(os.PathListSeparator)+os.Getenv("PATH"))
	if d := run(t, 3, "connect", "--exec", "orders-db", "--", "-c", "select 1"); d.out != "orders-db verify-full 2:-c select 1\n" {
		t.Errorf("%q", d.out)
	}
}

func TestDoctorAndHealth(t *testing.T) {
	h := apitest.Start(t, nil)
	t.Setenv("DOORWARD_CONFIG_DIR", t.TempDir())
	if d := run(t, 1, "doctor"); !strings.Contains(d.out, "WRONG") {
		t.Error(d.out)
	}
	login(t, h, "ada")
	d := run(t, 1, "doctor", "--json") // nothing listens where the target is said to be
	got := unmarshal[struct{ Checks []finding }](t, d.out)
	wrong := 0
	for _, f := range got.Checks {
		if !f.OK && f.Check != "targets" {
			wrong++
		}
	}
	if wrong > 0 || len(got.Checks) < 4 {
		t.Error(d.out)
	}
	run(t, 0, "health", "--url", h.URL+"/readyz")
	if got := unmarshal[map[string]any](t, run(t, 1, "health", "--url", h.URL+"/nothing.txt", "--json").out); got["ok"] != false {
		t.Errorf("%v", got)
	}
	run(t, 1, "health", "--url", "https://127.0.0.1:1/readyz", "--timeout", "2s")
}

func TestGateDoctor(t *testing.T) {
	dir := t.TempDir()
	conf := filepath.Join(dir, "doorward.yaml")
	text := fmt.Sprintf("listen: { console: %s, postgres: %s }\nstore: sqlite://%s/state/state.db\nidentity:\n  providers:\n    - name: local\n      local: { users: [{ name: ada, password: { env: DOCTOR_TEST_PW }, groups: [eng] }] }\ntargets:\n  db:\n    postgres: { address: 127.0.0.1:1, database: d, user: u, tls: \"off\" }\npolicy:\n  rules:\n    - { name: reads, who: { groups: [eng] }, targets: [db], when: effect.read_only, then: allow }\n", freePort(t), freePort(t), dir)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	asked := ""
	env := &Env{Reach: func(_ context.Context, path, target string) error {
		asked = path + " " + target
		return errors.New("connection refused")
	}}
	d := doorwardWith(env, "doctor", "--config", conf)
	for _, want := range []string{"ok     config", "WRONG  secrets", "DOCTOR_TEST_PW", "WRONG  target", "connection refused", "ok     store", "ok     audit"} {
		if !strings.Contains(d.out, want) {
			t.Errorf("no %q in\n%s%s", want, d.out, d.err)
		}
	}
	if asked != conf+" db" || d.code != 1 {
		t.Errorf("%q %d", asked, d.code)
	}
	if _, err := os.Stat(filepath.Join(dir, "state")); err == nil {
		t.Error("doctor made the state folder")
	}
	if err := os.WriteFile(conf, []byte("nonsense: true\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if d := doorwardWith(env, "doctor", "--config", conf); d.code != 1 || !strings.Contains(d.out, "WRONG  config") {
		t.Errorf("%+v", d)
	}
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func TestServeAndPlan(t *testing.T) {
	conf := filepath.Join(t.TempDir(), "c.yaml")
	if err := os.WriteFile(conf, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	env := &Env{
		Serve: func(_ context.Context, path string, ready func()) error {
			ready()
			return exitf(CodeUsage, "%s is empty\x1b[2J", path)
		},
		TargetPlan: func(_ context.Context, _, target string) (string, error) { return "CREATE ROLE " + target + ";", nil },
	}
	if d := doorwardWith(env, "serve", "--config", conf); d.code != CodeUsage || !strings.Contains(d.err, "ready") || strings.Contains(d.err, "\x1b") {
		t.Errorf("%+v", d)
	}
	if d := doorwardWith(env, "target", "plan", "orders", "--config", conf); d.code != 0 || d.out != "CREATE ROLE orders;\n" {
		t.Errorf("%+v", d)
	}
	if d := run(t, 0, "version", "--json"); !strings.Contains(d.out, `"go"`) {
		t.Error(d.out)
	}
	run(t, CodeError, "demo")
}

// Every command has a help with an example, and takes --json where it prints data.
func TestHelp(t *testing.T) {
	k, err := kong.New(&commands{}, kong.Bind(&Env{}))
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, leaf := range k.Model.Leaves(true) {
		n++
		path := strings.Fields(strings.Split(leaf.Path(), " <")[0])
		d := run(t, 0, append(path, "--help")...)
		if !strings.Contains(d.out, "Example") {
			t.Errorf("%s: no example in its help", leaf.Path())
		}
	}
	if n < 30 {
		t.Errorf("%d commands", n)
	}
	run(t, 0)
	run(t, 0, "--help")
	if d := run(t, CodeUsage, "reviews", "approve"); !strings.Contains(d.err, "doorward reviews approve --help") {
		t.Error(d.err)
	}
}

// What a server that is not doorward, or is hostile, answers.
func TestHostileServer(t *testing.T) {
	h := apitest.Start(t, nil)
	login(t, h, "ada")
	answer := func(f http.HandlerFunc) { h.Server.Config.Handler = f }
	answer(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(500)
		fmt.Fprint(w, "<html>\x1b[2J")
	})
	if d := run(t, CodeError, "whoami"); !strings.Contains(d.err, "is it a doorward server") {
		t.Error(d.err)
	}
	answer(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"name":5}`) })
	run(t, CodeError, "whoami")
	stolen := make(chan string, 1)
	answer(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/elsewhere" {
			stolen <- r.Header.Get("Authorization")
		}
		http.Redirect(w, r, h.URL+"/elsewhere", http.StatusTemporaryRedirect)
	})
	run(t, CodeError, "whoami")
	select {
	case s := <-stolen:
		t.Errorf("a redirect was followed with %q", s)
	default:
	}
	answer(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(403)
		fmt.Fprint(w, `{"title":"Forbidden","status":403,"detail":"no\u001b[2J","hint":"\u202e"}`)
	})
	if d := run(t, CodeDenied, "whoami"); !strings.Contains(d.err, `no\x1b[2J`) {
		t.Error(d.err)
	}
}
