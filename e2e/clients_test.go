package e2e

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/doorward/doorward/e2e/pgtest"
)

// TestClients has unmodified clients do their ordinary work.
func TestClients(t *testing.T) {
	p := open(t, pgtest.Options{}, nil)
	token := p.agent("ada")
	dir := root(t)
	tmp := t.TempDir()

	t.Run("psql", func(t *testing.T) {
		p := p.in(t)
		psql := func(commands ...string) (string, error) {
			args := []string{"-X", "-v", "ON_ERROR_STOP=1"}
			for _, c := range commands {
				args = append(args, "-c", c)
			}
			return p.program(token, "psql", args...)
		}
		out, err := psql("SELECT id, name, email, ssn FROM customers WHERE id < 4 ORDER BY id")
		p.wants(out, err, "Customer 1", "(3 rows)")
		out, err = psql(`\dt+`)
		p.wants(out, err, "customers", "orders", "marks")
		out, err = psql(`\d customers`)
		p.wants(out, err, "customers_pkey", "email", "integer")
		out, err = psql(`\d+ open_orders`, `\di`, `\dv`, `\dn`, `\df`, `\du`, `\l`, `\dp`, `\dT`, `\ds`)
		p.wants(out, err, "open_orders", "orders_pkey", "orders_id_seq")
		file := filepath.Join(tmp, "copy.csv")
		out, err = psql(`\copy (SELECT id, name, email FROM customers ORDER BY id) TO '` + file + `' CSV HEADER`)
		p.wants(out, err, "COPY 50")
		csv, err := os.ReadFile(file)
		p.wants(string(csv), err, "id,name,email", "50,Customer 50,")
		out, err = psql(`\copy customers TO '` + file + `'`)
		p.wants(out, err, "COPY 50")
		csv, err = os.ReadFile(file)
		p.wants(string(csv), err, "Customer 50")
		out, err = psql("BEGIN", "SELECT count(*) FROM orders", "COMMIT")
		p.wants(out, err, "200")
		out, err = psql(`\set FETCH_COUNT 50`, "SELECT id FROM orders")
		p.wants(out, err)
		out, err = psql("DROP TABLE orders")
		if err == nil || !strings.Contains(out, "ERROR") || !strings.Contains(out, "HINT:  Write a migration") {
			t.Errorf("DROP TABLE: %v\n%s", err, out)
		}
		out, err = psql("INSERT INTO marks VALUES ('psql')", "SELECT * FROM marks")
		p.wants(out, err, "INSERT 0 1", "psql")
	})

	t.Run("pgbench", func(t *testing.T) {
		p := p.in(t)
		script := filepath.Join(tmp, "select.sql")
		if err := os.WriteFile(script, []byte("\\set id random(1, 200)\nSELECT status, total FROM orders WHERE id = :id;\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, mode := range []string{"simple", "extended", "prepared"} {
			out, err := p.program(token, "pgbench", "-n", "-M", mode, "-f", script, "-c", "4", "-j", "2", "-t", "200")
			p.wants(out, err, "800/800")
		}
		// pgbench's own tables and script.
		p.pgbenchTables()
		out, err := p.program(token, "pgbench", "-n", "-S", "-M", "prepared", "-c", "4", "-t", "100")
		p.wants(out, err, "400/400")
	})

	t.Run("pg_dump", func(t *testing.T) {
		p := p.in(t)
		out, err := p.program(token, "pg_dump", "--schema-only", "--no-owner", "--no-privileges")
		p.wants(out, err, "CREATE TABLE public.customers", "CREATE VIEW public.open_orders", "PRIMARY KEY", "database dump complete")
	})

	t.Run("psycopg2", func(t *testing.T) {
		p := p.in(t)
		out, err := p.program(token, "/usr/bin/python3", filepath.Join(dir, "e2e/clients/psycopg.py"))
		p.wants(out, err, "psycopg2 works")
	})

	t.Run("node-postgres", func(t *testing.T) {
		p := p.in(t)
		out, err := p.program(token, "node", filepath.Join(dir, "e2e/node/pg.mjs"))
		p.wants(out, err, "node-postgres works")
	})

	t.Run("JDBC", func(t *testing.T) {
		p := p.in(t)
		out, err := p.program(token, "java", "-cp", "/usr/share/java/postgresql.jar", filepath.Join(dir, "e2e/clients/Jdbc.java"))
		p.wants(out, err, "JDBC works")
	})

	t.Run("pgx", func(t *testing.T) { p.in(t).pgx(token) })
}

// in is the place for a subtest.
func (p *place) in(t *testing.T) *place { return &place{t, p.pg, p.gate, p.approved} }

// pgbenchTables makes what pgbench -S reads, beside doorward.
func (p *place) pgbenchTables() {
	p.t.Helper()
	err := p.pg.Exec(p.t.Context(), "shop", `SET ROLE shop; CREATE TABLE pgbench_accounts(aid int PRIMARY KEY, bid int, abalance int, filler char(84));
		CREATE TABLE pgbench_branches(bid int PRIMARY KEY, bbalance int, filler char(88)); INSERT INTO pgbench_branches VALUES (1, 0);
		INSERT INTO pgbench_accounts SELECT i, 1, 0 FROM generate_series(1, 100000) i;`)
	if err != nil {
		p.t.Fatal(err)
	}
}

// pgx works through every mode that pgx has.
func (p *place) pgx(token string) {
	t, ctx := p.t, p.t.Context()
	for name, mode := range map[string]pgx.QueryExecMode{
		"cache statement": pgx.QueryExecModeCacheStatement, "cache describe": pgx.QueryExecModeCacheDescribe,
		"describe": pgx.QueryExecModeDescribeExec, "exec": pgx.QueryExecModeExec, "simple": pgx.QueryExecModeSimpleProtocol,
	} {
		cfg, err := pgx.ParseConfig(fmt.Sprintf("postgres://agent@%s/shop-db?sslmode=require", p.gate.Postgres))
		if err != nil {
			t.Fatal(err)
		}
		cfg.Password, cfg.TLSConfig, cfg.DefaultQueryExecMode = token, p.gate.TLS(), mode
		cfg.TLSConfig.MinVersion = tls.VersionTLS13
		c, err := pgx.ConnectConfig(ctx, cfg)
		if err != nil {
			t.Fatal(err)
		}
		for i := range 3 {
			var id int
			var who, email string
			if err := c.QueryRow(ctx, "SELECT id, name, email FROM customers WHERE id = $1", 7+i).Scan(&id, &who, &email); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if who != fmt.Sprintf("Customer %d", 7+i) || strings.Contains(email, "person") {
				t.Errorf("%s: %d %q %q", name, id, who, email)
			}
		}
		var b pgx.Batch
		for i := range 10 {
			b.Queue("SELECT total::text FROM orders WHERE id = $1", i+1)
		}
		if err := c.SendBatch(ctx, &b).Close(); err != nil {
			t.Errorf("%s: a batch: %v", name, err)
		}
		if _, err := c.Exec(ctx, "INSERT INTO marks VALUES ($1)", "pgx "+name); err != nil {
			t.Errorf("%s: an insert: %v", name, err)
		}
		var pe *pgconn.PgError
		if _, err := c.Exec(ctx, "DROP TABLE orders"); !errors.As(err, &pe) || pe.Code != "42501" || pe.Hint == "" {
			t.Errorf("%s: DROP TABLE: %v", name, err)
		}
		tx, err := c.Begin(ctx)
		if err != nil {
			t.Fatal(err)
		}
		var n int
		if err := tx.QueryRow(ctx, "SELECT count(*) FROM orders").Scan(&n); err != nil || n != 200 {
			t.Errorf("%s: %d rows in a transaction (%v)", name, n, err)
		}
		if err := tx.Commit(ctx); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		p.pgxCopy(c, name)
		p.pgxCancel(c, name)
		c.Close(ctx)
	}
}

// pgxCopy writes by COPY and reads by COPY.
func (p *place) pgxCopy(c *pgx.Conn, name string) {
	n, err := c.CopyFrom(p.t.Context(), pgx.Identifier{"marks"}, []string{"id"}, pgx.CopyFromRows([][]any{{"copy 1 " + name}, {"copy 2 " + name}}))
	if err != nil || n != 2 {
		p.t.Errorf("%s: COPY in: %d rows, %v", name, n, err)
	}
	var out strings.Builder
	if _, err := c.PgConn().CopyTo(p.t.Context(), &out, "COPY (SELECT id, email FROM customers WHERE id < 3) TO STDOUT"); err != nil || strings.Contains(out.String(), "person") || strings.Count(out.String(), "\n") != 2 {
		p.t.Errorf("%s: COPY out: %q, %v", name, out.String(), err)
	}
}

// pgxCancel cancels its own query, and only that.
func (p *place) pgxCancel(c *pgx.Conn, name string) {
	ctx, cancel := context.WithTimeout(p.t.Context(), 15*time.Second)
	defer cancel()
	done := make(chan error, 1)
	go func() {
		_, err := c.Exec(ctx, "SELECT count(*) FROM generate_series(1, 100000000000)")
		done <- err
	}()
	time.Sleep(400 * time.Millisecond)
	if err := c.PgConn().CancelRequest(ctx); err != nil {
		p.t.Errorf("%s: cancel: %v", name, err)
	}
	var pe *pgconn.PgError
	if err := <-done; !errors.As(err, &pe) || pe.Code != "57014" {
		p.t.Errorf("%s: the cancelled query ended with %v", name, err)
	}
}
