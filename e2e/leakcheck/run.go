package leakcheck

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"os"
	"regexp"
	"runtime"
	"slices"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/doorward/doorward/e2e/harness"
	"github.com/doorward/doorward/e2e/pgtest"
	"github.com/doorward/doorward/e2e/rawpg"
)

// Options of a run.
type Options struct {
	Schema  string        // SQL file of the sample schema
	Policy  string        // file with the policy in force beside the masking
	Blind   bool          // values in formats that no detector knows
	Direct  bool          // without doorward: check that each case leaks, each oracle tells
	Workers int           // 0: twice the processors
	Report  func(Outcome) // called as outcomes come in
}

// Outcome of a case.
type Outcome struct {
	ID      string   `json:"id"`
	Title   string   `json:"title"`
	Kind    string   `json:"kind"`
	Channel string   `json:"channel"`
	OK      bool     `json:"ok"`
	Denied  bool     `json:"denied"` // the client got an error
	Problem string   `json:"problem,omitempty"`
	Errors  []string `json:"errors,omitempty"`
}

// Sensitive are the columns that are masked.
var Sensitive = []string{"name", "email", "ssn", "phone", "card", "dob", "ip", "notes"}

const template = "leak_tpl"

type runner struct {
	pg        *pgtest.Server
	passwords map[string]string
	gate      *harness.Gate
	token     string
	functions map[string]uint32
}

// Run runs the cases, each half of an oracle in a database of its own.
func Run(ctx context.Context, list []*Case, opt Options) ([]Outcome, error) {
	if opt.Workers == 0 {
		opt.Workers = 2 * runtime.NumCPU()
	}
	// Without passwords the cases that sign in again from inside have their
	// full reach.
	pg, err := pgtest.Start(ctx, pgtest.Options{Trust: true})
	if err != nil {
		return nil, err
	}
	defer pg.Stop()
	r := &runner{pg: pg, passwords: map[string]string{"postgres": pg.Password}, functions: map[string]uint32{}}
	if err := r.prepare(ctx, opt); err != nil {
		return nil, err
	}
	if !opt.Direct {
		config, err := r.config(list, opt)
		if err != nil {
			return nil, err
		}
		if r.gate, err = harness.Start(ctx, config); err != nil {
			return nil, err
		}
		defer r.gate.Close()
		c, err := r.gate.SignIn(ctx, "agent")
		if err != nil {
			return nil, err
		}
		r.token = c.Token
	}
	out := make([]Outcome, len(list))
	work := make(chan int)
	var wg sync.WaitGroup
	var mu sync.Mutex
	for range opt.Workers {
		wg.Go(func() {
			for i := range work {
				o := r.one(ctx, list[i], opt)
				mu.Lock()
				out[i] = o
				if opt.Report != nil {
					opt.Report(o)
				}
				mu.Unlock()
			}
		})
	}
	for i := range list {
		work <- i
	}
	close(work)
	wg.Wait()
	if r.gate != nil && r.gate.Ended() {
		return out, fmt.Errorf("doorward ended during the run:\n%s", r.gate.LogTail(4000))
	}
	return out, ctx.Err()
}

func (r *runner) prepare(ctx context.Context, opt Options) error {
	sql, err := os.ReadFile(opt.Schema)
	if err != nil {
		return err
	}
	text := string(sql)
	if opt.Blind {
		text = Blind(text)
	}
	if r.passwords["agent"], err = r.pg.Role(ctx, "agent"); err != nil {
		return err
	}
	text += ";GRANT SELECT,INSERT,UPDATE,DELETE ON ALL TABLES IN SCHEMA public TO agent; GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO agent; GRANT CREATE ON SCHEMA public TO agent"
	if err := r.pg.Create(ctx, template, "", "", text); err != nil {
		return err
	}
	c, err := r.pg.Connect(ctx, template)
	if err != nil {
		return err
	}
	defer c.Terminate()
	res, err := c.Query("SELECT oid, proname FROM pg_proc WHERE pronamespace='public'::regnamespace", 10*time.Second)
	if err != nil {
		return err
	}
	for _, row := range res.Rows {
		oid, err := strconv.ParseUint(string(row[0]), 10, 32)
		if err != nil {
			return err
		}
		r.functions[string(row[1])] = uint32(oid)
	}
	return nil
}

func databaseName(c *Case, half int) string {
	return fmt.Sprintf("leak_%s_%d", strings.ToLower(c.ID), half)
}

func (c *Case) account() string {
	if c.Role == "owner" {
		return "postgres"
	}
	return "agent"
}

func (r *runner) config(list []*Case, opt Options) (*harness.Config, error) {
	p, err := harness.LoadPolicies(opt.Policy)
	if err != nil {
		return nil, err
	}
	c := &harness.Config{Wait: 100 * time.Millisecond}
	var names []string
	for _, k := range list {
		for half := range 2 {
			if half == 1 && k.Kind == "leak" {
				continue
			}
			n := databaseName(k, half)
			names = append(names, n)
			c.Targets = append(c.Targets, harness.Target{Name: n, Address: r.pg.Addr(), Database: n, User: k.account(), Password: r.passwords[k.account()]})
		}
	}
	c.Rules, _ = p.For("leaks", names)
	var columns []string
	for _, col := range Sensitive {
		columns = append(columns, "customers."+col, "customers_eu."+col)
	}
	c.Masking = []any{map[string]any{"targets": names, "columns": columns, "operator": "redact"}}
	if !opt.Blind {
		c.Masking = append(c.Masking, map[string]any{"targets": names, "detect": []string{"EMAIL", "CREDIT_CARD", "US_SSN", "IBAN", "PHONE", "IP", "SECRET"}, "operator": "redact"})
	}
	c.Users = []harness.User{{Name: "agent", Password: "agent-password-0123456789", Groups: append([]string{"engineers"}, p.Groups...)}}
	return c, nil
}

func (r *runner) one(ctx context.Context, c *Case, opt Options) Outcome {
	o := Outcome{ID: c.ID, Title: c.Title, Kind: c.Kind, Channel: c.Channel}
	a, err := r.half(ctx, c, 0, c.Steps)
	if err != nil {
		o.Problem = "could not be run: " + err.Error()
		return o
	}
	for _, e := range a.Errors {
		o.Errors = append(o.Errors, e.String())
	}
	o.Denied = len(a.Errors) > 0
	if c.Kind == "leak" {
		hits := c.check(a.items)
		if opt.Direct && len(hits) == 0 {
			o.Problem = "nothing leaks without a gate"
		}
		if !opt.Direct && len(hits) > 0 {
			o.Problem = fmt.Sprintf("leaks %v by %s", hits, strings.Join(channels(c, a.items), ", "))
		}
		o.OK = o.Problem == ""
		return o
	}
	b, err := r.half(ctx, c, 1, c.Alt)
	if err != nil {
		o.Problem = "could not be run: " + err.Error()
		return o
	}
	lits := literals(append(slices.Clone(c.Steps), c.Alt...))
	told := !slices.EqualFunc(strip(a.items, lits), strip(b.items, lits), func(x, y item) bool {
		return x.channel == y.channel && bytes.Equal(x.data, y.data)
	})
	if c.Channel == "time" {
		told = (a.took - b.took).Abs() > 200*time.Millisecond
	}
	if a.denied() && b.denied() && c.Channel != "time" {
		told = false
	}
	if told == opt.Direct {
		o.OK = true
	} else if opt.Direct {
		o.Problem = "the answers cannot be told apart without a gate"
	} else {
		o.Problem = fmt.Sprintf("the answers can be told apart: %s in %s, %s in %s", a.Describe(), a.took.Round(time.Millisecond), b.Describe(), b.took.Round(time.Millisecond))
	}
	return o
}

// item is one thing that the client received, by the channel it came on.
type item struct {
	channel string
	data    []byte
}

type received struct {
	*rawpg.Result
	items []item
	took  time.Duration
}

// denied reports whether doorward said no.
func (r *received) denied() bool {
	return slices.ContainsFunc(r.Errors, func(e rawpg.Error) bool { return e['C'] == "42501" })
}

// half runs steps in a fresh database.
func (r *runner) half(ctx context.Context, c *Case, n int, steps []Step) (*received, error) {
	db := databaseName(c, n)
	if err := r.pg.Create(ctx, db, template, "", ""); err != nil {
		return nil, err
	}
	defer r.pg.Drop(ctx, db)
	opt := rawpg.Options{Addr: r.pg.Addr(), Password: r.passwords[c.account()], Timeout: 20 * time.Second, Startup: [][2]string{{"user", c.account()}, {"database", db}, {"application_name", "leakcheck"}}}
	if r.gate != nil {
		opt.Addr, opt.TLS, opt.Password = r.gate.Postgres, r.gate.TLS(), r.token
	}
	con, err := rawpg.Dial(ctx, opt)
	if err != nil {
		return nil, err
	}
	defer con.Close()
	var others []*rawpg.Conn
	defer func() {
		for _, x := range others {
			x.Close()
		}
	}()
	start := time.Now()
	for _, s := range steps {
		q := s.Other
		if s.OtherApp != nil {
			set := "SET application_name='" + *s.OtherApp + "'"
			q = &set
		}
		if q == nil {
			if err := r.step(con, s); err != nil {
				return nil, err
			}
			continue
		}
		// Somebody else, beside doorward, who stays until the end.
		x, err := r.pg.Connect(ctx, db)
		if err != nil {
			return nil, err
		}
		others = append(others, x)
		if _, err := x.Query(*q, 20*time.Second); err != nil {
			return nil, err
		}
	}
	con.Drain(10 * time.Millisecond)
	out := &received{Result: con.Result(), took: time.Since(start)}
	out.items = items(con.Messages)
	return out, nil
}

// step sends one step and reads to its end.
func (r *runner) step(con *rawpg.Conn, s Step) error {
	switch {
	case s.Q != nil:
		con.Send(rawpg.Msg('Q', append([]byte(*s.Q), 0)))
	case s.Bin != nil:
		con.Send(rawpg.Msg('P', rawpg.Parse("", []byte(*s.Bin), nil)))
		con.Send(rawpg.Msg('B', rawpg.Bind("", "", nil, nil, []int16{1})))
		con.Send(rawpg.Msg('D', []byte("P\x00")))
		con.Send(rawpg.Msg('E', rawpg.Execute("", s.Max)))
		if s.Max > 0 {
			con.Send(rawpg.Msg('E', rawpg.Execute("", s.Max)))
		}
		con.Send(rawpg.Msg('S', nil))
	case s.Fast != nil:
		var args [][]byte
		for _, a := range s.Args {
			_, v, _ := strings.Cut(a, ":")
			args = append(args, []byte(v))
		}
		con.Send(rawpg.Msg('F', rawpg.FunctionCall(r.functions[*s.Fast], []int16{0}, args, 0)))
	default:
		return fmt.Errorf("a step does nothing that is known")
	}
	deadline := time.Now().Add(20 * time.Second)
	for {
		m, ok := con.Read(deadline)
		switch {
		case !ok && con.Closed:
			return nil
		case !ok:
			return fmt.Errorf("no answer to %.80q", s.text())
		case m.Type == 'G':
			con.Send(rawpg.Msg('f', []byte("no\x00")))
		case m.Type == 'Z':
			return nil
		}
	}
}

// items splits what came by channel.
func items(messages []rawpg.Message) []item {
	var out []item
	for _, m := range messages {
		switch m.Type {
		case 'T':
			for _, c := range rawpg.RowDescription(m.Body) {
				out = append(out, item{"colname", []byte(c.Name)})
			}
		case 'D':
			for _, v := range rawpg.Row(m.Body) {
				if v != nil {
					out = append(out, item{"row", v})
				}
			}
		case 'E', 'N':
			name := map[byte]string{'E': "error", 'N': "notice"}[m.Type]
			for _, f := range bytes.Split(m.Body, []byte{0}) {
				if len(f) > 1 && !bytes.ContainsRune([]byte("SVCFLRP"), rune(f[0])) {
					out = append(out, item{name, f[1:]})
				}
			}
		case 'd':
			out = append(out, item{"copy", m.Body})
		case 'A', 'V':
			name := map[byte]string{'A': "notify", 'V': "funcall"}[m.Type]
			out = append(out, item{name, m.Body[min(4, len(m.Body)):]})
		case 'S':
			out = append(out, item{"param", m.Body})
		case 'C':
			out = append(out, item{"tag", m.Body})
		}
	}
	return out
}

// check looks for the case's secrets, and for what else must be absent.
func (c *Case) check(list []item) []Hit {
	var blobs, values [][]byte
	for _, it := range list {
		blobs = append(blobs, it.data)
		if it.channel == "row" && len(it.data) > 0 {
			values = append(values, it.data)
		}
	}
	hits := Find(blobs, values, c.Secrets)
	low := bytes.ToLower(bytes.Join(blobs, []byte("\n")))
	for _, a := range c.Absent {
		if x, ok := strings.CutPrefix(a, `\x:`); ok {
			want, err := hex.DecodeString(x)
			if err == nil && slices.ContainsFunc(values, func(v []byte) bool { return bytes.Equal(v, want) }) {
				hits = append(hits, Hit{a, []string{"binary"}})
			}
		} else if strings.HasPrefix(a, `\rows:`) {
			if parts := strings.SplitN(a, ":", 3); len(parts) == 3 && ordered(values) == parts[2] {
				hits = append(hits, Hit{a, []string{"ordered"}})
			}
		} else if bytes.Contains(low, bytes.ToLower([]byte(a))) {
			hits = append(hits, Hit{a, []string{"literal"}})
		}
	}
	return hits
}

// ordered joins the second of each pair of values by the order of the first.
func ordered(values [][]byte) string {
	type pair struct {
		n int
		s string
	}
	var pairs []pair
	for i := 0; i+1 < len(values); i += 2 {
		n, err := strconv.Atoi(string(values[i]))
		if err != nil {
			return ""
		}
		pairs = append(pairs, pair{n, string(values[i+1])})
	}
	sort.Slice(pairs, func(i, j int) bool { return pairs[i].n < pairs[j].n })
	var b strings.Builder
	for _, p := range pairs {
		b.WriteString(p.s)
	}
	return b.String()
}

func channels(c *Case, list []item) []string {
	var out []string
	for _, it := range list {
		if len(c.check([]item{it})) > 0 && !slices.Contains(out, it.channel) {
			out = append(out, it.channel)
		}
	}
	if len(out) == 0 {
		return []string{"several together"}
	}
	return out
}

var quoted = regexp.MustCompile(`'([^']+)'`)

// literals are the client's own, longest first: they tell it nothing new
// when they come back.
func literals(steps []Step) []string {
	var out []string
	for _, s := range steps {
		for _, m := range quoted.FindAllStringSubmatch(s.text(), -1) {
			out = append(out, m[1])
		}
	}
	slices.SortFunc(out, func(a, b string) int {
		if len(a) != len(b) {
			return len(b) - len(a)
		}
		return strings.Compare(a, b)
	})
	return slices.Compact(out)
}

func strip(list []item, lits []string) []item {
	var out []item
	for _, it := range list {
		for _, l := range lits {
			it.data = bytes.ReplaceAll(it.data, []byte("'"+l+"'"), []byte("'?'"))
			it.data = bytes.ReplaceAll(it.data, []byte("("+l+")"), []byte("(?)"))
		}
		out = append(out, it)
	}
	return out
}
