package pgtest

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/doorward/doorward/e2e/rawpg"
)

// Server is a running PostgreSQL.
type Server struct {
	Host     string
	Port     int
	Admin    string // superuser
	Password string // the superuser's
	Dir      string

	proc *Process
	idle chan *rawpg.Conn // administrator's connections to "postgres" that wait for use
}

// Options of a server.
type Options struct {
	Settings map[string]string // over the fast defaults
	Trust    bool              // every role signs in from loopback without a password
}

// Bin is the folder with PostgreSQL's programs.
func Bin() (string, error) {
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/postgres")
	if len(found) == 0 {
		if p, err := exec.LookPath("postgres"); err == nil {
			return filepath.Dir(p), nil
		}
		return "", fmt.Errorf("no PostgreSQL server found in /usr/lib/postgresql/*/bin or PATH: run scripts/setup.sh, or install the package postgresql")
	}
	slices.Sort(found)
	return filepath.Dir(found[len(found)-1]), nil
}

// Start makes a cluster and runs it.
func Start(ctx context.Context, opt Options) (*Server, error) {
	bin, err := Bin()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(memory(), "doorward-pg-")
	if err != nil {
		return nil, err
	}
	s := &Server{Host: "127.0.0.1", Admin: "postgres", Password: secret(), Dir: dir, idle: make(chan *rawpg.Conn, 4)}
	if err := s.start(ctx, bin, opt); err != nil {
		s.Stop()
		return nil, err
	}
	return s, nil
}

// memory is a file system in memory with room to spare, or "": making and
// dropping a database is some thousand files, which take long on a disk.
func memory() string {
	const dir, room = "/dev/shm", 4 << 30
	var st syscall.Statfs_t
	if os.Getenv("TMPDIR") != "" || syscall.Statfs(dir, &st) != nil || int64(st.Bavail)*int64(st.Bsize) < room || syscall.Access(dir, 2) != nil {
		return ""
	}
	return dir
}

func (s *Server) start(ctx context.Context, bin string, opt Options) error {
	pw := filepath.Join(s.Dir, "pw")
	if err := os.WriteFile(pw, []byte(s.Password), 0o600); err != nil {
		return err
	}
	for _, p := range []string{s.Dir, pw} {
		if err := Own(p); err != nil {
			return err
		}
	}
	data := filepath.Join(s.Dir, "data")
	auth := "scram-sha-256"
	if opt.Trust {
		auth = "trust"
	}
	init := exec.CommandContext(ctx, filepath.Join(bin, "initdb"), "-D", data, "-U", s.Admin, "--pwfile", pw, "--auth="+auth, "-E", "UTF8", "--locale=C.UTF-8", "--no-sync", "--no-instructions")
	init.Dir = s.Dir
	if err := Unprivileged(init); err != nil {
		return err
	}
	if out, err := init.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w\n%s", err, out)
	}
	os.Remove(pw)
	for range 5 { // another program may take the port between our look and our start
		if err := s.run(ctx, bin, data, opt); err == nil {
			return nil
		} else if !strings.Contains(err.Error(), "Address already in use") {
			return err
		}
	}
	return fmt.Errorf("no free port for PostgreSQL after 5 tries")
}

func (s *Server) run(ctx context.Context, bin, data string, opt Options) error {
	port, err := FreePort()
	if err != nil {
		return err
	}
	s.Port = port
	settings := map[string]string{
		"listen_addresses": s.Host, "port": strconv.Itoa(port), "unix_socket_directories": s.Dir,
		"fsync": "off", "full_page_writes": "off", "autovacuum": "off", "jit": "off",
		"wal_level": "logical", "max_wal_senders": "4", "max_replication_slots": "8", "max_prepared_transactions": "10",
		"max_connections": "200", "shared_buffers": "64MB", "shared_preload_libraries": "pg_stat_statements",
		"log_min_messages": "warning", "max_wal_size": "4GB", "checkpoint_timeout": "1h",
	}
	maps.Copy(settings, opt.Settings)
	args := []string{"-D", data}
	for _, k := range slices.Sorted(maps.Keys(settings)) {
		args = append(args, "-c", k+"="+settings[k])
	}
	log, err := os.OpenFile(filepath.Join(s.Dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(filepath.Join(bin, "postgres"), args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = s.Dir, log, log
	if err := Unprivileged(cmd); err != nil {
		return err
	}
	if s.proc, err = Spawn(cmd, syscall.SIGQUIT); err != nil {
		return err
	}
	deadline := time.Now().Add(60 * time.Second)
	for {
		c, err := s.Connect(ctx, "postgres")
		if err == nil {
			c.Terminate()
			return nil
		}
		if s.proc.Ended() || time.Now().After(deadline) || ctx.Err() != nil {
			out, _ := os.ReadFile(filepath.Join(s.Dir, "log"))
			return fmt.Errorf("PostgreSQL did not come up: %w\n%s", err, out)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// Addr is host:port.
func (s *Server) Addr() string { return net.JoinHostPort(s.Host, strconv.Itoa(s.Port)) }

// Stop ends the server and removes its folder.
func (s *Server) Stop() error {
	var err error
	if s.proc != nil && !s.proc.Ended() {
		err = s.proc.Stop(syscall.SIGINT, 10*time.Second)
	}
	os.RemoveAll(s.Dir)
	return err
}

// Pause stops the server's processes from answering (dead network, not a
// closed port); Resume lets them go on.
func (s *Server) Pause() error { return s.proc.Signal(syscall.SIGSTOP) }

// Resume undoes Pause.
func (s *Server) Resume() error { return s.proc.Signal(syscall.SIGCONT) }

// Connect signs the administrator in to a database.
func (s *Server) Connect(ctx context.Context, db string) (*rawpg.Conn, error) {
	return s.ConnectAs(ctx, s.Admin, s.Password, db)
}

// ConnectAs signs a role in to a database.
func (s *Server) ConnectAs(ctx context.Context, user, password, db string) (*rawpg.Conn, error) {
	return rawpg.Dial(ctx, rawpg.Options{Addr: s.Addr(), Password: password, Startup: [][2]string{{"user", user}, {"database", db}}})
}

// Exec runs statements as administrator, each by itself, and stops at the
// first that fails.
func (s *Server) Exec(ctx context.Context, db string, statements ...string) error {
	if len(statements) == 0 {
		return nil
	}
	c, err := s.borrow(ctx, db)
	if err != nil {
		return err
	}
	for _, q := range statements {
		if _, err := c.Query(q, 60*time.Second); err != nil {
			c.Terminate()
			return err
		}
	}
	s.giveBack(db, c)
	return nil
}

// borrow gives a connection of the administrator. Those to "postgres" are kept:
// a new one costs as much as a small database.
func (s *Server) borrow(ctx context.Context, db string) (*rawpg.Conn, error) {
	if db == "postgres" {
		select {
		case c := <-s.idle:
			if _, err := c.Query("SELECT 1", 10*time.Second); err == nil {
				return c, nil
			}
			c.Terminate()
		default:
		}
	}
	return s.Connect(ctx, db)
}

func (s *Server) giveBack(db string, c *rawpg.Conn) {
	if db == "postgres" {
		select {
		case s.idle <- c:
			return
		default:
		}
	}
	c.Terminate()
}

// Value runs one query as administrator: the first column of the first row,
// or "ERR" with the server's message.
func (s *Server) Value(ctx context.Context, db, query string) (string, error) {
	c, err := s.borrow(ctx, db)
	if err != nil {
		return "", err
	}
	r, err := c.Query(query, 30*time.Second)
	if err != nil {
		c.Terminate()
		if len(r.Errors) == 0 {
			return "", err
		}
		return r.Value(), nil
	}
	s.giveBack(db, c)
	return r.Value(), nil
}

// Role makes a role that can sign in, with a password of its own.
func (s *Server) Role(ctx context.Context, name string) (password string, err error) {
	password = secret()
	return password, s.Exec(ctx, "postgres", fmt.Sprintf("CREATE ROLE %s LOGIN PASSWORD '%s'", Quote(name), password))
}

// Create makes a database, from a template if one is named, and loads SQL
// into it as administrator.
func (s *Server) Create(ctx context.Context, name, template, owner, sql string) error {
	q := "CREATE DATABASE " + Quote(name)
	if template != "" {
		q += " TEMPLATE " + Quote(template) + " STRATEGY file_copy"
	}
	if owner != "" {
		q += " OWNER " + Quote(owner)
	}
	if err := s.Exec(ctx, "postgres", q); err != nil {
		return err
	}
	if sql == "" {
		return nil
	}
	return s.Exec(ctx, name, sql)
}

// Drop removes a database and ends its sessions.
func (s *Server) Drop(ctx context.Context, name string) error {
	return s.Exec(ctx, "postgres", "DROP DATABASE IF EXISTS "+Quote(name)+" WITH (FORCE)")
}

// Quote makes an SQL identifier.
func Quote(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

func secret() string {
	b := make([]byte, 16)
	rand.Read(b)
	return hex.EncodeToString(b)
}
