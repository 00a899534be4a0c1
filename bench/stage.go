package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/doorward/doorward/e2e/harness"
	"github.com/doorward/doorward/e2e/pgtest"
	"github.com/doorward/doorward/e2e/rawpg"
)

// way is one way to reach the server.
type way struct {
	name     string
	addr     string
	user     string
	password string
	database string
	pid      int           // of the process in the middle; 0: none
	ca       string        // PEM file; "": no TLS
	gate     *harness.Gate // with TLS only
}

// stage is the server and all ways to it.
type stage struct {
	pg      *pgtest.Server
	bouncer *pgtest.Process
	gate    *harness.Gate
	dir     string
	ways    []*way // direct, pgbouncer, doorward
	masked  *way   // doorward, a target with a masked column
}

const tables = `
CREATE TABLE pgbench_accounts(aid int PRIMARY KEY, bid int, abalance int, filler char(84));
INSERT INTO pgbench_accounts SELECT i, 1, 0, '' FROM generate_series(1, 100000) i;
CREATE TABLE wide AS SELECT %s FROM generate_series(1, %d) i;
VACUUM ANALYZE;`

const password = "bench-password-0123456789"

func newStage(ctx context.Context, s settings) (*stage, error) {
	dir, err := os.MkdirTemp("", "doorward-bench-")
	if err != nil {
		return nil, err
	}
	st := &stage{dir: dir}
	if err := st.set(ctx, s); err != nil {
		st.close()
		return nil, err
	}
	return st, nil
}

func (st *stage) set(ctx context.Context, s settings) error {
	var err error
	if st.pg, err = pgtest.Start(ctx, pgtest.Options{Trust: true, Settings: map[string]string{"max_connections": "2300", "shared_buffers": "256MB", "shared_preload_libraries": ""}}); err != nil {
		return err
	}
	secret, err := st.pg.Role(ctx, "bench")
	if err != nil {
		return err
	}
	var cols []string
	for i := range 10 {
		cols = append(cols, fmt.Sprintf("'column %d of row '||i||' in full' AS c%d", i, i))
	}
	if err := st.pg.Create(ctx, "bench", "", "bench", ""); err != nil {
		return err
	}
	c, err := st.pg.ConnectAs(ctx, "bench", secret, "bench")
	if err != nil {
		return err
	}
	defer c.Terminate()
	for _, q := range strings.SplitAfter(fmt.Sprintf(tables, strings.Join(cols, ", "), s.wideRows), ";") {
		if strings.TrimSpace(q) == "" {
			continue
		}
		if _, err := c.Query(q, 5*time.Minute); err != nil {
			return err
		}
	}
	st.ways = []*way{{name: "direct", addr: st.pg.Addr(), user: "bench", password: secret, database: "bench"}}
	if err := st.startBouncer(secret); err != nil {
		return err
	}
	return st.startGate(ctx, secret, s)
}

// startBouncer runs pgbouncer in session mode, as an unprivileged user.
func (st *stage) startBouncer(secret string) error {
	path, err := exec.LookPath("pgbouncer")
	if err != nil {
		return fmt.Errorf("pgbouncer is missing: run scripts/setup.sh")
	}
	port, err := pgtest.FreePort()
	if err != nil {
		return err
	}
	users, ini := filepath.Join(st.dir, "users.txt"), filepath.Join(st.dir, "pgbouncer.ini")
	if err := os.WriteFile(users, fmt.Appendf(nil, "\"bench\" %q\n", secret), 0o600); err != nil {
		return err
	}
	conf := fmt.Sprintf("[databases]\nbench = host=%s port=%d dbname=bench user=bench password=%s\n[pgbouncer]\nlisten_addr=127.0.0.1\nlisten_port=%d\nauth_type=plain\nauth_file=%s\npool_mode=session\nmax_client_conn=3000\ndefault_pool_size=1100\nunix_socket_dir=\nlog_connections=0\nlog_disconnections=0\nignore_startup_parameters=extra_float_digits\n",
		st.pg.Host, st.pg.Port, secret, port, users)
	if err := os.WriteFile(ini, []byte(conf), 0o600); err != nil {
		return err
	}
	for _, p := range []string{st.dir, users, ini} {
		if err := pgtest.Own(p); err != nil {
			return err
		}
	}
	log, err := os.Create(filepath.Join(st.dir, "pgbouncer.log"))
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(path, "-q", ini)
	cmd.Dir, cmd.Stdout, cmd.Stderr = st.dir, log, log
	if err := pgtest.Unprivileged(cmd); err != nil {
		return err
	}
	if st.bouncer, err = pgtest.Spawn(cmd, syscall.SIGKILL); err != nil {
		return err
	}
	w := &way{name: "pgbouncer", addr: net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), user: "bench", password: secret, database: "bench", pid: st.bouncer.PID()}
	st.ways = append(st.ways, w)
	deadline := time.Now().Add(10 * time.Second)
	for {
		c, err := w.connect(context.Background())
		if err == nil {
			c.Terminate()
			return nil
		}
		if st.bouncer.Ended() || time.Now().After(deadline) {
			b, _ := os.ReadFile(log.Name())
			return fmt.Errorf("pgbouncer did not come up: %w\n%s", err, b)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// startGate runs doorward with everything on: policy, record, value
// detection; for one of its two targets a masked column, too.
func (st *stage) startGate(ctx context.Context, secret string, s settings) error {
	target := harness.Target{Name: "bench", Address: st.pg.Addr(), Database: "bench", User: "bench", Password: secret, Fields: map[string]any{"max_connections": 2200}}
	masked := target
	masked.Name = "masked"
	targets := []string{"bench", "masked"}
	cfg := &harness.Config{
		Wait: time.Second, Targets: []harness.Target{target, masked},
		Users: []harness.User{{Name: "ada", Password: password, Groups: []string{"engineers"}}},
		Rules: []any{
			map[string]any{"name": "reads", "targets": targets, "when": "effect.read_only", "then": "allow", "limits": map[string]any{"rows": 10_000_000, "bytes": "16GiB", "time": "10m"}},
			map[string]any{"name": "no-unbounded-writes", "targets": targets, "when": "effect.unbounded", "then": "deny"},
		},
		Masking: []any{map[string]any{"targets": []string{"masked"}, "columns": []string{"wide.c3"}, "operator": "partial"}},
		Plain:   !s.tls,
	}
	var err error
	if st.gate, err = harness.Start(ctx, cfg); err != nil {
		return err
	}
	person, err := st.gate.SignIn(ctx, "ada")
	if err != nil {
		return err
	}
	w := way{name: "doorward", addr: st.gate.Postgres, user: "agent", password: person.Token, database: "bench", pid: st.gate.PID()}
	if s.tls {
		w.gate, w.ca = st.gate, st.gate.CAPath()
	}
	m := w
	m.name, m.database = "doorward, one column masked", "masked"
	st.ways, st.masked = append(st.ways, &w), &m
	return nil
}

func (st *stage) close() {
	if st.gate != nil {
		st.gate.Close()
	}
	if st.bouncer != nil && !st.bouncer.Ended() {
		st.bouncer.Stop(syscall.SIGINT, 5*time.Second)
	}
	if st.pg != nil {
		st.pg.Stop()
	}
	os.RemoveAll(st.dir)
}

// connect opens a connection this way.
func (w *way) connect(ctx context.Context) (*rawpg.Conn, error) {
	opt := rawpg.Options{Addr: w.addr, Password: w.password, Timeout: 60 * time.Second, Startup: [][2]string{{"user", w.user}, {"database", w.database}}}
	if w.gate != nil {
		opt.TLS = w.gate.TLS()
	}
	return rawpg.Dial(ctx, opt)
}

// env is how libpq goes this way.
func (w *way) env() []string {
	host, port, _ := net.SplitHostPort(w.addr)
	env := append(os.Environ(), "PGHOST="+host, "PGPORT="+port, "PGUSER="+w.user, "PGPASSWORD="+w.password, "PGDATABASE="+w.database)
	if w.ca != "" {
		return append(env, "PGSSLMODE=verify-full", "PGSSLROOTCERT="+w.ca)
	}
	return append(env, "PGSSLMODE=disable")
}

// cpu is the processor time that the process in the middle has used.
func (w *way) cpu() (time.Duration, error) {
	if w.pid == 0 {
		return 0, nil
	}
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", w.pid))
	if err != nil {
		return 0, err
	}
	_, rest, ok := strings.Cut(string(b), ") ")
	f := strings.Fields(rest)
	if !ok || len(f) < 13 {
		return 0, fmt.Errorf("/proc/%d/stat makes no sense", w.pid)
	}
	user, err1 := strconv.ParseInt(f[11], 10, 64)
	system, err2 := strconv.ParseInt(f[12], 10, 64)
	if err1 != nil || err2 != nil {
		return 0, fmt.Errorf("/proc/%d/stat makes no sense", w.pid)
	}
	return time.Duration(user+system) * time.Second / 100, nil // USER_HZ is 100 on Linux
}

// memory is the process's resident memory.
func (w *way) memory() (int64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", w.pid))
	if err != nil {
		return 0, err
	}
	for _, l := range strings.Split(string(b), "\n") {
		if f := strings.Fields(l); len(f) == 3 && f[0] == "VmRSS:" {
			kb, err := strconv.ParseInt(f[1], 10, 64)
			return kb << 10, err
		}
	}
	return 0, fmt.Errorf("/proc/%d/status has no VmRSS", w.pid)
}
