package postgres

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// A real server for the tests that compare a reading with what PostgreSQL
// says. They are skipped where PostgreSQL is not installed.

type testServer struct {
	port int
	cmd  *exec.Cmd
	dir  string
	err  error
}

var (
	serverOnce sync.Once
	theServer  testServer
)

func TestMain(m *testing.M) {
	code := m.Run()
	if theServer.cmd != nil {
		_ = theServer.cmd.Process.Signal(syscall.SIGINT)
		_ = theServer.cmd.Wait()
	}
	if theServer.dir != "" {
		_ = os.RemoveAll(theServer.dir)
	}
	os.Exit(code)
}

func binaries() string {
	dirs, _ := filepath.Glob("/usr/lib/postgresql/*/bin/postgres")
	if len(dirs) > 0 {
		return filepath.Dir(dirs[len(dirs)-1])
	}
	if p, err := exec.LookPath("postgres"); err == nil {
		return filepath.Dir(p)
	}
	return ""
}

func (s *testServer) start() error {
	bin := binaries()
	if bin == "" {
		return fmt.Errorf("PostgreSQL is not installed")
	}
	dir, err := os.MkdirTemp("/tmp", "doorward-classify-")
	if err != nil {
		return err
	}
	s.dir = dir
	attr := &syscall.SysProcAttr{}
	if os.Geteuid() == 0 {
		u, err := user.Lookup("postgres")
		if err != nil {
			return err
		}
		uid, _ := strconv.Atoi(u.Uid)
		gid, _ := strconv.Atoi(u.Gid)
		if err := os.Chown(dir, uid, gid); err != nil {
			return err
		}
		attr.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	s.port = l.Addr().(*net.TCPAddr).Port
	l.Close()
	init := exec.Command(filepath.Join(bin, "initdb"), "-D", filepath.Join(dir, "data"), "-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync")
	init.SysProcAttr, init.Dir = attr, dir
	if out, err := init.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w: %s", err, out)
	}
	s.cmd = exec.Command(filepath.Join(bin, "postgres"), "-D", filepath.Join(dir, "data"), "-c", "listen_addresses=127.0.0.1", "-p", strconv.Itoa(s.port), "-k", dir, "-c", "fsync=off")
	s.cmd.SysProcAttr, s.cmd.Dir = attr, dir
	if err := s.cmd.Start(); err != nil {
		s.cmd = nil
		return err
	}
	deadline := time.Now().Add(20 * time.Second)
	for time.Now().Before(deadline) {
		c, err := s.connect("postgres")
		if err == nil {
			c.Close(context.Background())
			return nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	return fmt.Errorf("the server did not start")
}

func (s *testServer) connect(db string) (*pgconn.PgConn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return pgconn.Connect(ctx, fmt.Sprintf("host=127.0.0.1 port=%d user=postgres dbname=%s sslmode=disable", s.port, db))
}

// database makes a database of its own from a schema file and connects to it.
func database(t testing.TB, name, file string) *pgconn.PgConn {
	t.Helper()
	if testing.Short() {
		t.Skip("needs a server")
	}
	serverOnce.Do(func() { theServer.err = theServer.start() })
	if theServer.err != nil {
		t.Fatalf("no server: %v (make setup installs it; -short leaves these tests out)", theServer.err)
	}
	ctx := context.Background()
	admin, err := theServer.connect("postgres")
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close(ctx)
	for _, q := range []string{"CREATE ROLE app_owner", "CREATE ROLE agent_ro", "CREATE DATABASE " + name} {
		_, err = admin.Exec(ctx, q).ReadAll()
	}
	if err != nil {
		t.Fatal(err)
	}
	c, err := theServer.connect(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(ctx) })
	tree, err := parseSchema(readFile(t, file))
	if err != nil {
		t.Fatal(err)
	}
	text := readFile(t, file)
	for _, raw := range tree.GetStmts() { // one by one: an extension may be missing
		if _, err := c.Exec(ctx, statementText(text, raw)).ReadAll(); err != nil && !strings.Contains(err.Error(), "extension") {
			t.Logf("%v", err)
		}
	}
	return c
}

func loadFrom(c *pgconn.PgConn) func(context.Context, string) ([][]string, error) {
	return func(ctx context.Context, sql string) ([][]string, error) {
		res, err := c.Exec(ctx, sql).ReadAll()
		if err != nil {
			return nil, err
		}
		var out [][]string
		for _, r := range res {
			for _, row := range r.Rows {
				var f []string
				for _, v := range row {
					f = append(f, string(v))
				}
				out = append(out, f)
			}
		}
		return out, nil
	}
}

func loaded(t testing.TB, c *pgconn.PgConn) *Catalog {
	t.Helper()
	cat, err := LoadCatalog(context.Background(), loadFrom(c))
	if err != nil {
		t.Fatal(err)
	}
	return cat
}
