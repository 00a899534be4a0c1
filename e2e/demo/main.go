package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/doorward/doorward/e2e/harness"
	"github.com/doorward/doorward/e2e/pgtest"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx)
	harness.Cleanup()
	if err != nil {
		fmt.Fprintln(os.Stderr, "\ndemo:", err)
		os.Exit(1)
	}
}

const data = `
CREATE TABLE customers(id int PRIMARY KEY, name text NOT NULL, email text, ssn text, city text);
INSERT INTO customers VALUES
  (1,'Alice Ames','alice.ames@shop.example','123-45-6789','Lisbon'),
  (2,'Bob Brand','bob.brand@shop.example','234-56-7890','Oslo'),
  (3,'Carla Cruz','carla.cruz@shop.example','345-67-8901','Porto');
CREATE TABLE orders(id int PRIMARY KEY, customer_id int REFERENCES customers, status text, total numeric(10,2));
INSERT INTO orders VALUES (41,1,'open',120.50),(42,2,'open',80.00),(43,3,'shipped',19.90);
`

const (
	password = "correct-horse-battery-staple" // of the two demo people
	update   = "UPDATE orders SET status = 'refunded' WHERE id = 42"
)

// demo is the stage: a server, a doorward and two people.
type demo struct {
	pg    *pgtest.Server
	gate  *harness.Gate
	asked *bufio.Reader // nil when nobody is there to be asked
	step  int
}

func run(ctx context.Context) error {
	d := &demo{}
	if os.Getenv("CI") == "" {
		d.asked = bufio.NewReader(os.Stdin)
	}
	fmt.Println("Starting a private PostgreSQL and doorward before it …")
	var err error
	if d.pg, err = pgtest.Start(ctx, pgtest.Options{}); err != nil {
		return err
	}
	defer d.pg.Stop()
	secret, err := d.pg.Role(ctx, "orders_app")
	if err != nil {
		return err
	}
	if err := d.pg.Create(ctx, "orders", "", "orders_app", "SET ROLE orders_app;"+data); err != nil {
		return err
	}
	if d.gate, err = harness.Start(ctx, config(d.pg, secret)); err != nil {
		return err
	}
	defer d.gate.Close()
	fmt.Printf("  production: PostgreSQL on %s, whose password only doorward knows\n  doorward:   console %s, Postgres on %s\n  files:      %s\n", d.pg.Addr(), d.gate.Console, d.gate.Postgres, d.gate.Dir)
	for _, act := range []func(context.Context) error{d.signIn, d.read, d.drop, d.hold, d.replay, d.prove} {
		if err := act(ctx); err != nil {
			return err
		}
	}
	fmt.Println("\nThat was the main job: read masked, refuse with a hint, hold for a person, run once, replay, prove.")
	return d.stay(ctx)
}

func config(pg *pgtest.Server, secret string) *harness.Config {
	rule := func(name, when, then string, more map[string]any) map[string]any {
		r := map[string]any{"name": name, "who": map[string]any{"groups": []string{"engineers"}}, "targets": []string{"orders-db"}, "when": when, "then": then}
		for k, v := range more {
			r[k] = v
		}
		return r
	}
	wait := 2 * time.Second
	return &harness.Config{
		Wait: wait,
		Users: []harness.User{
			{Name: "ada@shop.example", Password: password, Groups: []string{"engineers"}},
			{Name: "grace@shop.example", Password: password, Groups: []string{"dba"}},
		},
		Targets: []harness.Target{{Name: "orders-db", Address: pg.Addr(), Database: "orders", User: "orders_app", Password: secret}},
		Rules: []any{
			rule("engineers-read", "effect.read_only", "allow", map[string]any{"limits": map[string]any{"rows": 10000, "bytes": "64MiB", "time": "30s"}}),
			rule("bounded-writes-need-a-yes", "effect.writes && !effect.unbounded && !('define' in effect.verbs)", "review", map[string]any{"reviewers": map[string]any{"groups": []string{"dba"}, "count": 1}}),
			rule("no-schema-changes", "'define' in effect.verbs", "deny", map[string]any{"reason": "agents do not change the schema", "hint": "Write a migration and open a pull request."}),
			rule("no-unbounded-writes", "effect.unbounded", "deny", map[string]any{"hint": "Add a WHERE clause that names the rows by key."}),
		},
		Masking: []any{map[string]any{"targets": []string{"orders-db"}, "columns": []string{"customers.email", "customers.ssn"}, "operator": "partial"}},
	}
}

// say opens a step: what happens next, and why it matters.
func (d *demo) say(title string, lines ...string) {
	d.step++
	fmt.Printf("\n── %d. %s\n", d.step, title)
	for _, l := range lines {
		fmt.Println("   " + l)
	}
	d.enter("to see it")
}

func (d *demo) enter(what string) {
	if d.asked == nil {
		return
	}
	fmt.Printf("   [Enter %s] ", what)
	if _, err := d.asked.ReadString('\n'); err != nil {
		fmt.Println()
		d.asked = nil // nobody is there
	}
}

// cli runs a doorward command as a person, shows it and gives what it printed.
func (d *demo) cli(ctx context.Context, person, stdin string, args ...string) (string, error) {
	cmd, err := d.gate.Command(ctx, args...)
	if err != nil {
		return "", err
	}
	home := filepath.Join(d.gate.Dir, person)
	if err := os.MkdirAll(home, 0o700); err != nil {
		return "", err
	}
	cmd.Env = append(cmd.Env, "HOME="+home, "XDG_CONFIG_HOME="+home, "XDG_STATE_HOME="+home, "XDG_CACHE_HOME="+home, "DBUS_SESSION_BUS_ADDRESS=disabled:", "PAGER=cat", "PSQLRC=/dev/null")
	cmd.Stdin = strings.NewReader(stdin)
	fmt.Printf("   %s$ doorward %s\n", strings.Split(person, "@")[0], quote(args))
	var out bytes.Buffer
	w := io.MultiWriter(&out, &indent{})
	cmd.Stdout, cmd.Stderr = w, w
	err = cmd.Run()
	return out.String(), err
}

// indent prints lines below the step that they belong to.
type indent struct{ within bool }

// Write prints b with every line moved in.
func (w *indent) Write(b []byte) (int, error) {
	for _, l := range strings.SplitAfter(string(b), "\n") {
		if l == "" {
			continue
		}
		if !w.within {
			fmt.Print("     ")
		}
		fmt.Print(l)
		w.within = !strings.HasSuffix(l, "\n")
	}
	return len(b), nil
}

func quote(args []string) string {
	var out []string
	for _, a := range args {
		if strings.ContainsAny(a, " '*;()<>$") {
			a = `"` + a + `"`
		}
		out = append(out, a)
	}
	return strings.Join(out, " ")
}

// psql runs statements as ada's agent.
func (d *demo) psql(ctx context.Context, statements ...string) (string, error) {
	args := []string{"run", "--agent", "codex", "--task", "refund order 42", "--target", "orders-db", "--", "psql", "-X", "-v", "ON_ERROR_STOP=1"}
	for _, s := range statements {
		args = append(args, "-c", s)
	}
	return d.cli(ctx, "ada@shop.example", "", args...)
}

// must turns what did not go as claimed into an error.
func must(claim string, ok bool, out string) error {
	if ok {
		return nil
	}
	return fmt.Errorf("this did not go as claimed: %s\nthe output was:\n%s", claim, out)
}

func (d *demo) signIn(ctx context.Context) error {
	d.say("Two people sign in", "Ada is an engineer; an agent will act for her. Grace is a database administrator.")
	for _, who := range []string{"ada@shop.example", "grace@shop.example"} {
		out, err := d.cli(ctx, who, password+"\n", "login", "--server", d.gate.Console, "--user", who, "--password-stdin", "--ca", d.gate.CAPath())
		if err != nil {
			return fmt.Errorf("%s cannot sign in: %w\n%s", who, err, out)
		}
	}
	return nil
}

func (d *demo) read(ctx context.Context) error {
	d.say("The agent reads", "It runs an ordinary psql, with a credential that doorward made for this one command.", "The e-mail address and the number come back masked.")
	out, err := d.psql(ctx, "SELECT id, name, email, ssn FROM customers ORDER BY id")
	if err != nil {
		return fmt.Errorf("the read failed: %w", err)
	}
	return errors.Join(
		must("the rows come back", strings.Contains(out, "Alice Ames") && strings.Contains(out, "(3 rows)"), out),
		must("addresses and numbers are masked", !strings.Contains(out, "alice.ames@") && !strings.Contains(out, "123-45-6789"), out))
}

func (d *demo) drop(ctx context.Context) error {
	d.say("The agent tries to drop a table", "It is refused, and told what would be allowed.")
	out, err := d.psql(ctx, "DROP TABLE orders")
	n, probe := d.pg.Value(ctx, "orders", "SELECT count(*) FROM orders")
	return errors.Join(probe,
		must("DROP is refused with a hint", err != nil && strings.Contains(out, "ERROR") && strings.Contains(out, "Write a migration"), out),
		must("the table is still there with its 3 rows", n == "3", n))
}

var reviewNumber = regexp.MustCompile(`review (\d+)`)

func (d *demo) hold(ctx context.Context) error {
	d.say("The agent updates one order", "The rule wants a yes from a database administrator. Until then nothing runs.")
	out, err := d.psql(ctx, update)
	m := reviewNumber.FindStringSubmatch(out)
	status, probe := d.pg.Value(ctx, "orders", "SELECT status FROM orders WHERE id=42")
	if err := errors.Join(probe,
		must("the update is held for a review", err != nil && m != nil, out),
		must("nothing has changed upstream", status == "open", status)); err != nil {
		return err
	}
	if err := d.yes(ctx, m[1]); err != nil {
		return err
	}
	d.say("The agent sends exactly the same again", "It runs, once. A third time is held anew.")
	out, err = d.psql(ctx, update)
	status, probe = d.pg.Value(ctx, "orders", "SELECT status FROM orders WHERE id=42")
	if err := errors.Join(probe, err,
		must("the approved update runs", strings.Contains(out, "UPDATE 1"), out),
		must("the order is refunded upstream", status == "refunded", status)); err != nil {
		return err
	}
	out, err = d.psql(ctx, update)
	return must("the approval is used up: the next one is held", err != nil && reviewNumber.MatchString(out), out)
}

// yes has grace approve: in her browser when somebody is there, otherwise in
// a terminal.
func (d *demo) yes(ctx context.Context, number string) error {
	d.say("Grace decides", "Who, why, and exactly what would run:")
	// The exit code says that the review waits.
	if out, _ := d.cli(ctx, "grace@shop.example", "", "reviews", "show", number); !strings.Contains(out, update) {
		return must("the reviewer sees the statement", false, out)
	}
	if d.asked != nil {
		url := d.gate.Console + "/reviews/" + number
		fmt.Printf("   In a browser: %s (user grace@shop.example, password %s;\n   the browser will ask about the certificate, which doorward made itself).\n", url, password)
		openBrowser(url)
		d.enter("once it is approved there, or now to approve it in the terminal")
		c, err := d.gate.SignIn(ctx, "grace@shop.example")
		if err != nil {
			return err
		}
		if list, err := c.Reviews(ctx, "all"); err == nil {
			for _, r := range list {
				if fmt.Sprint(r.ID) == number && r.State == "approved" {
					fmt.Println("   Approved in the browser.")
					return nil
				}
			}
		}
	}
	out, err := d.cli(ctx, "grace@shop.example", "", "reviews", "approve", number, "--comment", "the customer called")
	if err != nil {
		return fmt.Errorf("the approval failed: %w\n%s", err, out)
	}
	return nil
}

// openBrowser shows an address if there is a desktop to show it on.
func openBrowser(url string) {
	if os.Getenv("DISPLAY") == "" && os.Getenv("WAYLAND_DISPLAY") == "" {
		return
	}
	if p, err := exec.LookPath("xdg-open"); err == nil {
		if cmd := exec.Command(p, url); cmd.Start() == nil {
			go cmd.Wait()
		}
	}
}

func (d *demo) replay(ctx context.Context) error {
	d.say("What happened, afterwards", "Every session has a recording: who, what exactly, the decision, the masked answer.")
	c, err := d.gate.SignIn(ctx, "ada@shop.example")
	if err != nil {
		return err
	}
	out, err := d.cli(ctx, "ada@shop.example", "", "sessions", "ls")
	if err != nil || !strings.Contains(out, "codex") {
		return must("the sessions are listed", false, fmt.Sprintf("%s (%v)", out, err))
	}
	list, err := c.Sessions(ctx, "target=orders-db")
	if err != nil {
		return err
	}
	for _, s := range list {
		tl, err := c.Timeline(ctx, s.ID)
		if err != nil {
			return err
		}
		asked, ran := false, false
		for _, e := range tl.Entries {
			asked = asked || e.Kind == "request" && e.Statement == update
			ran = ran || asked && e.Kind == "outcome" && e.Error == "" && e.RowCount == 1
		}
		if ran {
			out, err := d.cli(ctx, "ada@shop.example", "", "sessions", "replay", s.ID, "--tapes", filepath.Join(d.gate.State, "tapes"))
			return errors.Join(err, must("the replay shows the update", strings.Contains(out, "refunded"), out), must("the recording is whole", tl.Verified.OK, strings.Join(tl.Verified.Problems, "; ")))
		}
	}
	return must("a recording shows the update that ran", false, fmt.Sprintf("%d sessions", len(list)))
}

func (d *demo) prove(ctx context.Context) error {
	d.say("Nothing is missing from the record", "The log is a Merkle tree with signed checkpoints; anybody can check it offline.")
	args := []string{"audit", "verify", "--ledger", filepath.Join(d.gate.State, "ledger"), "--tapes", filepath.Join(d.gate.State, "tapes")}
	out, err := d.cli(ctx, "grace@shop.example", "", args...)
	if err != nil {
		return fmt.Errorf("audit verify: %w\n%s", err, out)
	}
	// And it notices when one byte is changed.
	copied := filepath.Join(d.gate.Dir, "tampered")
	if err := os.CopyFS(copied, os.DirFS(filepath.Join(d.gate.State, "ledger"))); err != nil {
		return err
	}
	if err := tamper(copied); err != nil {
		return err
	}
	fmt.Println("   Now a copy in which one byte of one statement was changed:")
	out, err = d.cli(ctx, "grace@shop.example", "", "audit", "verify", "--ledger", copied)
	return must("a changed byte is found", err != nil, out)
}

// tamper changes one byte of the recorded update.
func tamper(dir string) error {
	return filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		i := bytes.LastIndex(b, []byte("refunded"))
		if i < 0 {
			return nil
		}
		b[i] = 'R'
		if err := os.WriteFile(path, b, 0o600); err != nil {
			return err
		}
		return filepath.SkipAll
	})
}

// stay leaves all running until somebody has looked around.
func (d *demo) stay(ctx context.Context) error {
	if d.asked == nil {
		return nil
	}
	fmt.Printf("All of it runs until you press Enter: the console is at %s (ada@shop.example or grace@shop.example, password %s).\n", d.gate.Console, password)
	done := make(chan struct{})
	go func() {
		d.asked.ReadString('\n')
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done():
	}
	return nil
}
