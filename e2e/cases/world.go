package cases

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/doorward/doorward/e2e/harness"
	"github.com/doorward/doorward/e2e/pgtest"
	"github.com/doorward/doorward/e2e/rawpg"
)

const template = "app_tpl"

// People of every gate that the runner starts. The case's main connection is
// the agent's; connections named other and victim are somebody else's.
var people = []string{"agent", "other", "victim", "approver"}

// world is the server that cases run against, with its accounts.
type world struct {
	pg        *pgtest.Server
	passwords map[string]string // of roles
}

func newWorld(ctx context.Context, fixture string) (*world, error) {
	sql, err := os.ReadFile(fixture)
	if err != nil {
		return nil, err
	}
	// Without passwords the attacks that sign in again from inside (dblink to
	// itself) have their full reach.
	pg, err := pgtest.Start(ctx, pgtest.Options{Trust: true})
	if err != nil {
		return nil, err
	}
	w := &world{pg: pg, passwords: map[string]string{"postgres": pg.Password}}
	for _, role := range []string{"app_owner", "agent_ro"} {
		if w.passwords[role], err = pg.Role(ctx, role); err != nil {
			pg.Stop()
			return nil, err
		}
	}
	if err := pg.Create(ctx, template, "", "app_owner", string(sql)); err != nil {
		pg.Stop()
		return nil, fmt.Errorf("load %s: %w", fixture, err)
	}
	return w, nil
}

// account is the role that the case's upstream sessions have.
func account(c *Case) (string, error) {
	switch c.Check.Role {
	case "owner", "":
		return "app_owner", nil
	case "super":
		return "postgres", nil
	case "ro":
		return "agent_ro", nil
	}
	return "", fmt.Errorf("role %q is not known", c.Check.Role)
}

func (w *world) lookup(ctx context.Context, db string) func(string) (uint32, error) {
	return func(signature string) (uint32, error) {
		v, err := w.pg.Value(ctx, db, "SELECT '"+signature+"'::regprocedure::oid::int8")
		if err != nil {
			return 0, err
		}
		var oid uint32
		_, err = fmt.Sscan(v, &oid)
		return oid, err
	}
}

// job is one case in one mode, with a database of its own.
type job struct {
	c    *Case
	mode Mode
	db   string // also the name of the target
	role string
}

var notWord = regexp.MustCompile(`[^a-z0-9]+`)

func newJob(c *Case, mode Mode, port, n int) (*job, error) {
	id := strings.Trim(notWord.ReplaceAllString(strings.ToLower(c.ID), "_"), "_")
	j := &job{mode: mode, db: fmt.Sprintf("c%d_%s_%c", n, id[max(0, len(id)-24):], mode[0])}
	var err error
	if j.role, err = account(c); err != nil {
		return nil, err
	}
	j.c, err = c.at(j.db, port)
	return j, err
}

// prepare makes the job's database and does the case's own preparations.
func (w *world) prepare(ctx context.Context, j *job) error {
	if err := w.pg.Create(ctx, j.db, template, "app_owner", ""); err != nil {
		return err
	}
	return w.pg.Exec(ctx, j.db, j.c.Check.Setup...)
}

// remove undoes what the case left behind, inside its database and outside.
func (w *world) remove(ctx context.Context, j *job) {
	// A clean-up that has nothing to clean fails, and that is fine.
	for _, q := range j.c.Check.Cleanup {
		w.pg.Exec(ctx, j.db, q)
	}
	if n, err := w.pg.Value(ctx, "postgres", "SELECT count(*) FROM pg_prepared_xacts WHERE database='"+j.db+"'"); err != nil || n != "0" {
		w.rollBack(ctx, j)
	}
	w.pg.Drop(ctx, "sec_victim_"+j.db)
	w.pg.Drop(ctx, j.db)
}

// rollBack ends the prepared transactions of the job's database.
func (w *world) rollBack(ctx context.Context, j *job) {
	if c, err := w.pg.Connect(ctx, j.db); err == nil {
		r, _ := c.Query("SELECT gid FROM pg_prepared_xacts WHERE database=current_database()", 5*time.Second)
		for _, row := range r.Rows {
			c.Query("ROLLBACK PREPARED '"+string(row[0])+"'", 5*time.Second)
		}
		c.Terminate()
	}
}

func (w *world) probe(ctx context.Context, j *job) (string, error) {
	if j.c.Check.Probe == nil {
		return "", nil
	}
	db := j.db
	if j.c.Check.ProbeDB != "" {
		db = j.c.Check.ProbeDB
	}
	return w.pg.Value(ctx, db, *j.c.Check.Probe)
}

// gate is a doorward for a batch of jobs.
type gate struct {
	*harness.Gate
	tokens   map[string]string
	approver *harness.Client
}

// policySet names the set of standard policies that a case wants: "P1" is in
// force beside the others unless P2 is named.
func policySet(c *Case) []string {
	set := slices.Clone(c.Policy)
	if !slices.Contains(set, "P1") && !slices.Contains(set, "P2") {
		set = append(set, "P1")
	}
	slices.Sort(set)
	return slices.Compact(set)
}

// policyFiles finds the files of a set: one for the whole set if there is
// one, otherwise one for each policy.
func policyFiles(dir string, set []string) []string {
	for _, sep := range []string{"-", "+", ""} {
		whole := filepath.Join(dir, strings.Join(set, sep)+".yaml")
		if _, err := os.Stat(whole); err == nil {
			return []string{whole}
		}
	}
	var out []string
	for _, p := range set {
		out = append(out, filepath.Join(dir, p+".yaml"))
	}
	return out
}

// config makes one configuration with a target for each job.
func (w *world) config(jobs []*job, policies string, wait time.Duration) (*harness.Config, error) {
	bySet := map[string][]string{}
	sets := map[string][]string{}
	c := &harness.Config{Wait: wait}
	for _, j := range jobs {
		set := policySet(j.c)
		key := strings.Join(set, "")
		sets[key], bySet[key] = set, append(bySet[key], j.db)
	}
	functions := map[string][]string{}
	groups, reviewers := []string{"engineers"}, []string{"approvers"}
	for key, set := range sets {
		p, err := harness.LoadPolicies(policyFiles(policies, set)...)
		if err != nil {
			return nil, err
		}
		rules, masking := p.For(key, bySet[key])
		c.Rules, c.Masking = append(c.Rules, rules...), append(c.Masking, masking...)
		functions[key] = p.Functions
		groups, reviewers = append(groups, p.Groups...), append(reviewers, p.Reviewers...)
	}
	for _, j := range jobs {
		fs := functions[strings.Join(policySet(j.c), "")]
		c.Targets = append(c.Targets, harness.Target{Name: j.db, Address: w.pg.Addr(), Database: j.db, User: j.role, Password: w.passwords[j.role], Functions: fs})
	}
	slices.Sort(groups)
	slices.Sort(reviewers)
	for _, name := range people {
		u := harness.User{Name: name, Password: name + "-password-0123456789", Groups: slices.Compact(groups)}
		if name == "approver" {
			u.Groups = slices.Compact(reviewers)
		}
		c.Users = append(c.Users, u)
	}
	return c, nil
}

func newGate(ctx context.Context, c *harness.Config) (*gate, error) {
	h, err := harness.Start(ctx, c)
	if err != nil {
		return nil, err
	}
	g := &gate{Gate: h, tokens: map[string]string{}}
	if err := g.signIn(ctx); err != nil {
		h.Close()
		return nil, err
	}
	return g, nil
}

func (g *gate) signIn(ctx context.Context) error {
	for _, name := range people {
		c, err := g.SignIn(ctx, name)
		if err != nil {
			return err
		}
		g.tokens[name] = c.Token
		if name == "approver" {
			g.approver = c
		}
	}
	return nil
}

// options say how a case's connection goes through the gate.
func (g *gate) options(j *job, split rawpg.Split, seed uint64) func(string) rawpg.Options {
	return func(conn string) rawpg.Options {
		person := "agent"
		if conn == "other" || conn == "victim" {
			person = conn
		}
		return rawpg.Options{Addr: g.Postgres, TLS: g.TLS(), Password: g.tokens[person], Split: split, Seed: seed, Startup: startup(j, person, j.db)}
	}
}

// direct says how a case's connection goes straight to the server.
func (w *world) direct(j *job, split rawpg.Split, seed uint64) func(string) rawpg.Options {
	return func(string) rawpg.Options {
		return rawpg.Options{Addr: w.pg.Addr(), Password: w.passwords[j.role], Split: split, Seed: seed, Startup: startup(j, j.role, j.db)}
	}
}

func startup(j *job, user, db string) [][2]string {
	out := [][2]string{{"user", user}, {"database", db}}
	for k, v := range j.c.Input.Startup {
		out = append(out, [2]string{k, v})
	}
	return out
}
