package review_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/doorward/doorward"
	"github.com/doorward/doorward/internal/review"
	"github.com/doorward/doorward/internal/store"
)

func TestMain(m *testing.M) {
	if dir := killedDir(); dir != "" {
		spendUntilKilled(dir)
		return
	}
	goleak.VerifyTestMain(m)
}

// journal is a ledger in memory, which can be made to fail at each of its
// steps, and to hang.
type journal struct {
	mu     sync.Mutex
	events []doorward.Event
	fail   func(doorward.Event) error // Append
	stuck  func(doorward.Event) error // Wait; errHang hangs
}

var errHang = errors.New("hang")

func (j *journal) Append(_ context.Context, ev doorward.Event) (doorward.Receipt, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.fail != nil {
		if err := j.fail(ev); err != nil {
			return nil, err
		}
	}
	var err error
	if j.stuck != nil {
		err = j.stuck(ev)
	}
	if err == nil {
		j.events = append(j.events, ev)
	}
	return receipt{err}, nil
}

type receipt struct{ err error }

func (r receipt) Wait(ctx context.Context) (uint64, error) {
	if errors.Is(r.err, errHang) {
		<-ctx.Done()
		return 0, ctx.Err()
	}
	return 0, r.err
}

func (j *journal) kinds() (out []string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, e := range j.events {
		out = append(out, fmt.Sprintf("%s %d %s %s", e.Kind, e.Review, e.Name, e.Decision))
	}
	return out
}

// clock moves when a test says so.
type clock struct{ ns atomic.Int64 }

func (c *clock) now() time.Time          { return time.Unix(0, c.ns.Load()).UTC() }
func (c *clock) forward(d time.Duration) { c.ns.Add(int64(d)) }

type world struct {
	t     *testing.T
	dir   string
	store *store.Store
	log   *journal
	clock *clock
	*review.Service
}

func start(t *testing.T, more ...func(*review.Options)) *world {
	w := &world{t: t, dir: t.TempDir(), log: &journal{}, clock: &clock{}}
	w.clock.ns.Store(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC).UnixNano())
	w.open(more...)
	t.Cleanup(w.close)
	return w
}

func (w *world) open(more ...func(*review.Options)) {
	w.t.Helper()
	var err error
	if w.store, err = store.Open(w.t.Context(), "sqlite://"+filepath.Join(w.dir, "state.db")); err != nil {
		w.t.Fatal(err)
	}
	opts := review.Options{Ledger: w.log, URL: "https://gate.example/", Now: w.clock.now, LedgerWait: 200 * time.Millisecond, Log: slog.New(slog.DiscardHandler)}
	for _, f := range more {
		f(&opts)
	}
	if w.Service, err = review.New(w.store, opts); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) close() {
	w.Service.Close()
	w.store.Close()
}

func (w *world) restart() {
	w.close()
	w.open()
}

func person(name string, groups ...string) doorward.Identity {
	return doorward.Identity{Subject: "corp:" + name, Name: name + "@corp.example", Provider: "corp", Groups: groups}
}

var (
	yes = doorward.Vote{Approve: true}
	no  = doorward.Vote{Comment: "not this way"}
)

func request(n int, quorums ...doorward.Quorum) doorward.Review {
	if len(quorums) == 0 {
		quorums = []doorward.Quorum{{Groups: []string{"dba"}, Count: 1}}
	}
	id := person("ada", "eng", "dba")
	id.Agent, id.Run = "codex", "run_1"
	stmt := fmt.Sprintf("UPDATE orders SET state = 'x' WHERE id = %d", n)
	return doorward.Review{Digest: doorward.Digest("orders", id, stmt, nil, "fp", 1), Identity: id, Target: "orders", Protocol: "postgres", Session: "s1", Statement: stmt,
		Rule: "writes", Reason: "writes need a yes", Reviewers: quorums, Policy: "v1", Fingerprint: "fp"}
}

func (w *world) file(r doorward.Review) doorward.Review {
	w.t.Helper()
	got, err := w.File(w.t.Context(), r)
	if err != nil {
		w.t.Fatal(err)
	}
	return got
}

func (w *world) vote(id int64, who doorward.Identity, v doorward.Vote) doorward.Review {
	w.t.Helper()
	got, err := w.Vote(w.t.Context(), id, who, v)
	if err != nil {
		w.t.Fatalf("%s votes: %v", who.Name, err)
	}
	return got
}

func (w *world) refused(id int64, who doorward.Identity, v doorward.Vote, want string) {
	w.t.Helper()
	if _, err := w.Vote(w.t.Context(), id, who, v); err == nil || !strings.Contains(err.Error(), want) {
		w.t.Fatalf("the vote of %s: %v, want %q", who, err, want)
	}
}

func TestAskApproveRunOnce(t *testing.T) {
	w := start(t)
	r := w.file(request(1))
	if r.State != doorward.ReviewWaiting || r.URL != fmt.Sprintf("https://gate.example/reviews/%d", r.ID) || !r.Expires.Equal(w.clock.now().Add(time.Hour)) {
		t.Fatalf("opened: %+v", r)
	}
	if _, err := w.Redeem(t.Context(), r.ID, r.Digest); !errors.Is(err, review.ErrNotApproved) {
		t.Fatalf("redeemed while waiting: %v", err)
	}
	got := w.vote(r.ID, person("bob", "dba"), doorward.Vote{Approve: true, Comment: " fine ", By: "eve", Subject: "corp:eve", Groups: []string{"x"}, Self: true})
	if v := got.Votes[0]; got.State != doorward.ReviewApproved || v.By != "bob@corp.example" || v.Subject != "corp:bob" || v.Comment != "fine" || v.Self || !cmp.Equal(v.Groups, []string{"dba"}) {
		t.Fatalf("approved: %+v", got)
	}
	w.refused(r.ID, person("eve", "dba"), yes, "decided already")
	if again := w.file(request(1)); again.ID != r.ID || again.State != doorward.ReviewApproved {
		t.Fatalf("the identical request got review %d, %s", again.ID, again.State)
	}
	if _, err := w.Redeem(t.Context(), r.ID, request(2).Digest); !errors.Is(err, review.ErrNotApproved) {
		t.Fatalf("another request redeemed: %v", err)
	}
	g, err := w.Redeem(t.Context(), r.ID, r.Digest)
	if err != nil || g.Review != r.ID || !cmp.Equal(g.By, []string{"bob@corp.example"}) {
		t.Fatalf("redeemed: %+v, %v", g, err)
	}
	if _, err := w.Redeem(t.Context(), r.ID, r.Digest); !errors.Is(err, review.ErrNotApproved) {
		t.Fatalf("redeemed twice: %v", err)
	}
	if next := w.file(request(1)); next.ID == r.ID {
		t.Fatal("a spent review was given again")
	}
	want := []string{
		"review.opened 1 ada@corp.example ", "review.vote 1 bob@corp.example approve", "review.spent 1 ada@corp.example ", "review.opened 2 ada@corp.example ",
	}
	if d := cmp.Diff(want, w.log.kinds()); d != "" {
		t.Error(d)
	}
	opened := w.log.events[0]
	if opened.Text != r.Statement || opened.Agent != "codex" || opened.Fields["digest"] != r.Digest || opened.Policy != "v1" {
		t.Errorf("the event: %+v", opened)
	}
}

func TestWhoMayVote(t *testing.T) {
	w := start(t)
	r := w.file(request(1, doorward.Quorum{Groups: []string{"dba"}, Users: []string{"root@corp.example", "corp:007"}, Count: 3}))
	agent := person("bob", "dba")
	agent.Agent = "codex"
	job := person("ci", "dba")
	job.Workload = true
	chain := person("bob", "dba")
	chain.Chain = []string{"sub"}
	w.refused(r.ID, agent, yes, "agents cannot vote")
	w.refused(r.ID, chain, yes, "agents cannot vote")
	w.refused(r.ID, job, yes, "workloads cannot vote")
	w.refused(r.ID, doorward.Identity{}, yes, "not signed in")
	w.refused(r.ID, r.Identity, yes, "agents cannot vote")
	w.refused(r.ID, person("ada", "dba"), yes, "what you, or an agent of yours, asked for")
	w.refused(r.ID, person("ada", "dba"), no, "what you, or an agent of yours, asked for")
	other := doorward.Identity{Subject: "saml:1", Name: "ADA@corp.example", Groups: []string{"dba"}}
	w.refused(r.ID, other, yes, "what you, or an agent of yours, asked for")
	w.refused(r.ID, person("mallory", "eng"), yes, "not among the reviewers")
	w.refused(r.ID, person("mallory", "DBA", "dba,admins", " dba"), yes, "not among the reviewers")
	w.refused(r.ID, person("mallory", "root@corp.example"), no, "not among the reviewers")
	w.refused(r.ID+1, person("bob", "dba"), yes, "no such review")
	w.refused(r.ID, person("bob", "dba"), doorward.Vote{Approve: true, MaxRows: -1}, "cannot be -1")
	w.refused(r.ID, person("bob", "dba"), doorward.Vote{Approve: true, Comment: strings.Repeat("x", 5000)}, "at most 4096")
	w.vote(r.ID, person("root"), yes)
	w.vote(r.ID, doorward.Identity{Subject: "corp:007", Name: "james"}, yes)
	w.refused(r.ID, person("root"), yes, "voted on this review already")
	w.refused(r.ID, person("root"), no, "voted on this review already")
	w.refused(r.ID, doorward.Identity{Subject: "saml:9", Name: "JAMES", Groups: []string{"dba"}}, yes, "voted on this review already")
	if got := w.vote(r.ID, person("bob", "dba"), yes); got.State != doorward.ReviewApproved {
		t.Fatalf("after three: %s", got.State)
	}
	votes := 0
	for _, k := range w.log.kinds() {
		if strings.HasPrefix(k, "review.vote") {
			votes++
		}
	}
	if votes != 3 {
		t.Errorf("%d votes are in the ledger", votes)
	}
}

func TestOneDenyDenies(t *testing.T) {
	w := start(t)
	r := w.file(request(1, doorward.Quorum{Groups: []string{"dba"}, Count: 2}))
	w.vote(r.ID, person("bob", "dba"), yes)
	if got := w.vote(r.ID, person("eve", "dba"), no); got.State != doorward.ReviewDenied {
		t.Fatalf("state %s", got.State)
	}
	w.refused(r.ID, person("dan", "dba"), yes, "decided already")
	if again := w.file(request(1)); again.ID != r.ID || again.State != doorward.ReviewDenied {
		t.Fatalf("the identical request got review %d, %s", again.ID, again.State)
	}
	if _, err := w.Redeem(t.Context(), r.ID, r.Digest); !errors.Is(err, review.ErrNotApproved) {
		t.Fatal(err)
	}
	w.clock.forward(time.Hour)
	if again := w.file(request(1)); again.ID == r.ID {
		t.Fatal("a denial outlived its time")
	}
}

func TestSelfApproval(t *testing.T) {
	w := start(t)
	r := w.file(request(1, doorward.Quorum{Groups: []string{"dba"}, Count: 1, SelfApproval: true}))
	w.refused(r.ID, r.Identity, yes, "agents cannot vote")
	got := w.vote(r.ID, person("ada", "dba"), yes)
	if got.State != doorward.ReviewApproved || !got.Votes[0].Self || w.log.events[1].Fields["self"] != "true" {
		t.Fatalf("%+v", got)
	}
	// It counts only where it is allowed.
	r = w.file(request(2, doorward.Quorum{Groups: []string{"dba"}, Count: 1, SelfApproval: true}, doorward.Quorum{Groups: []string{"eng"}, Count: 1}))
	if got := w.vote(r.ID, person("ada", "dba", "eng"), yes); got.State != doorward.ReviewWaiting {
		t.Fatal("the requester's own yes counted for others")
	}
	if got := w.vote(r.ID, person("bob", "eng"), yes); got.State != doorward.ReviewApproved {
		t.Fatal(got.State)
	}
}

func TestRowBoundIsTheSmallest(t *testing.T) {
	for _, c := range []struct {
		rule   int64
		votes  []int64
		expect int64
	}{{0, []int64{0, 0}, 0}, {0, []int64{7, 0}, 7}, {5, []int64{7, 0}, 5}, {5, []int64{7, 3}, 3}, {0, []int64{9, 4}, 4}, {5, []int64{0, 0}, 5}} {
		w := start(t)
		req := request(1, doorward.Quorum{Groups: []string{"dba"}, Count: 2})
		req.MaxRows = c.rule
		r := w.file(req)
		for i, n := range c.votes {
			w.vote(r.ID, person(fmt.Sprint("p", i), "dba"), doorward.Vote{Approve: true, MaxRows: n})
		}
		if g, err := w.Redeem(t.Context(), r.ID, r.Digest); err != nil || g.MaxRows != c.expect {
			t.Errorf("%+v: %+v, %v", c, g, err)
		}
	}
}

func TestExpiry(t *testing.T) {
	w := start(t)
	waiting, approved := w.file(request(1)), w.file(request(2))
	w.vote(approved.ID, person("bob", "dba"), yes)
	w.clock.forward(time.Hour - 1)
	if again := w.file(request(2)); again.ID != approved.ID {
		t.Fatal("expired too early")
	}
	w.clock.forward(1)
	w.refused(waiting.ID, person("bob", "dba"), yes, "it is expired")
	if _, err := w.Redeem(t.Context(), approved.ID, approved.Digest); !errors.Is(err, review.ErrNotApproved) {
		t.Fatalf("an approval that is over was redeemed: %v", err)
	}
	if got, err := w.Await(t.Context(), waiting.ID); err != nil || got.State != doorward.ReviewExpired {
		t.Fatalf("%s, %v", got.State, err)
	}
	if again := w.file(request(2)); again.ID == approved.ID || again.State != doorward.ReviewWaiting {
		t.Fatalf("the identical request got review %d, %s", again.ID, again.State)
	}
	list, err := w.List(t.Context(), review.Query{State: doorward.ReviewWaiting})
	if err != nil || len(list) != 1 {
		t.Fatalf("waiting: %d, %v", len(list), err)
	}
}

func TestSweeperExpires(t *testing.T) {
	w := start(t, func(o *review.Options) { o.Now, o.Expiry = nil, 50*time.Millisecond })
	r := w.file(request(1))
	sub := w.Subscribe(t.Context())
	got, err := w.Await(t.Context(), r.ID)
	if err != nil || got.State != doorward.ReviewExpired {
		t.Fatalf("%s, %v", got.State, err)
	}
	select {
	case got := <-sub:
		if got.ID != r.ID || got.State != doorward.ReviewExpired {
			t.Fatalf("%+v", got)
		}
	case <-time.After(5 * time.Second):
		t.Fatal("nobody was told")
	}
	if kept, err := w.store.Review(t.Context(), r.ID); err != nil || kept.State != doorward.ReviewExpired {
		t.Fatalf("in the store it is %s, %v", kept.State, err)
	}
}

func TestNewPolicyNewReview(t *testing.T) {
	w := start(t)
	r := w.file(request(1))
	w.vote(r.ID, person("bob", "dba"), yes)
	next := request(1)
	next.Policy = "v2"
	got := w.file(next)
	if got.ID == r.ID || got.State != doorward.ReviewWaiting {
		t.Fatalf("review %d, %s", got.ID, got.State)
	}
	if _, err := w.Redeem(t.Context(), r.ID, r.Digest); !errors.Is(err, review.ErrNotApproved) {
		t.Fatalf("the approval under the old policy was redeemed: %v", err)
	}
}

func TestWithdraw(t *testing.T) {
	w := start(t)
	// A reviewer takes the yes back before it ran.
	r := w.file(request(1))
	w.vote(r.ID, person("bob", "dba"), yes)
	for _, who := range []doorward.Identity{person("eve", "dba"), {}, func() doorward.Identity { id := person("bob", "dba"); id.Agent = "codex"; return id }()} {
		if _, err := w.Withdraw(t.Context(), r.ID, who, ""); err == nil {
			t.Fatalf("%s withdrew it", who)
		}
	}
	if got, err := w.Withdraw(t.Context(), r.ID, person("bob", "dba"), "wrong table"); err != nil || got.State != doorward.ReviewDenied {
		t.Fatalf("%s, %v", got.State, err)
	}
	if _, err := w.Redeem(t.Context(), r.ID, r.Digest); !errors.Is(err, review.ErrNotApproved) {
		t.Fatal(err)
	}
	// The requester, or the agent, cancels.
	r = w.file(request(2))
	if got, err := w.Withdraw(t.Context(), r.ID, r.Identity, ""); err != nil || got.State != doorward.ReviewDenied {
		t.Fatalf("%s, %v", got.State, err)
	}
	w.refused(r.ID, person("bob", "dba"), yes, "decided already")
	if _, err := w.Withdraw(t.Context(), r.ID, r.Identity, ""); !errors.Is(err, review.ErrDecided) {
		t.Fatal(err)
	}
}

func TestLimits(t *testing.T) {
	w := start(t, func(o *review.Options) { o.PerSubject = 3 })
	for i := range 3 {
		w.file(request(i))
	}
	var d *doorward.Denial
	if _, err := w.File(t.Context(), request(9)); !errors.As(err, &d) || !d.Retry || d.Hint == "" {
		t.Fatalf("a fourth: %v", err)
	}
	w.file(request(1)) // the ones that are there go on
	big := request(10)
	big.Statement = strings.Repeat("x", 1<<20+1)
	if _, err := w.File(t.Context(), big); !errors.As(err, &d) || !strings.Contains(d.Reason, "too large") {
		t.Fatalf("a huge statement: %v", err)
	}
	for _, q := range [][]doorward.Quorum{{{Count: 1}}, {{Groups: []string{"a"}, Count: 33}}, {{Groups: []string{"a"}, Count: 20}, {Groups: []string{"b"}, Count: 20}}} {
		if _, err := w.File(t.Context(), request(11, q...)); !errors.As(err, &d) {
			t.Fatalf("%+v: %v", q, err)
		}
	}
	none := request(11)
	none.Reviewers = nil
	if _, err := w.File(t.Context(), none); err == nil {
		t.Fatal("a review that nobody may answer was opened")
	}
	for _, bad := range []func(*doorward.Review){func(r *doorward.Review) { r.Digest = "" }, func(r *doorward.Review) { r.Identity.Subject = "" }, func(r *doorward.Review) { r.MaxRows = -1 }} {
		r := request(12)
		bad(&r)
		if _, err := w.File(t.Context(), r); err == nil {
			t.Fatalf("%+v was opened", r)
		}
	}
}

// TestLedgerFaults: whatever cannot be recorded has no effect.
func TestLedgerFaults(t *testing.T) {
	broken := errors.New("disk full")
	for name, set := range map[string]func(*journal, doorward.EventKind){
		"append fails": func(j *journal, k doorward.EventKind) {
			j.fail = func(ev doorward.Event) error { return when(ev.Kind == k, broken) }
		},
		"wait fails": func(j *journal, k doorward.EventKind) {
			j.stuck = func(ev doorward.Event) error { return when(ev.Kind == k, broken) }
		},
		"wait hangs": func(j *journal, k doorward.EventKind) {
			j.stuck = func(ev doorward.Event) error { return when(ev.Kind == k, errHang) }
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := start(t)
			set(w.log, doorward.EventReviewOpened)
			if _, err := w.File(t.Context(), request(1)); err == nil {
				t.Fatal("a review was opened and not recorded")
			}
			if list, _ := w.List(t.Context(), review.Query{}); len(list) != 0 {
				t.Fatal("a review is there that was not recorded")
			}
			w.log.fail, w.log.stuck = nil, nil
			r := w.file(request(1)) // and nothing is in its way
			set(w.log, doorward.EventReviewVote)
			if _, err := w.Vote(t.Context(), r.ID, person("bob", "dba"), yes); err == nil {
				t.Fatal("a vote counted and was not recorded")
			}
			if got, _ := w.Get(t.Context(), r.ID); got.State != doorward.ReviewWaiting || len(got.Votes) != 0 {
				t.Fatalf("a vote counted and was not recorded: %+v", got)
			}
			w.log.fail, w.log.stuck = nil, nil
			w.vote(r.ID, person("bob", "dba"), yes)
			set(w.log, doorward.EventReviewSpent)
			if g, err := w.Redeem(t.Context(), r.ID, r.Digest); err == nil || g.Review != 0 {
				t.Fatal("a grant was given and not recorded")
			}
			w.log.fail, w.log.stuck = nil, nil
			if _, err := w.Redeem(t.Context(), r.ID, r.Digest); !errors.Is(err, review.ErrNotApproved) {
				t.Fatalf("used up, and then: %v", err)
			}
		})
	}
}

func when(b bool, err error) error {
	if b {
		return err
	}
	return nil
}

func TestStoreFaults(t *testing.T) {
	w := start(t)
	r := w.file(request(1))
	w.vote(r.ID, person("bob", "dba"), yes)
	w.store.Close()
	ctx := t.Context()
	_, err1 := w.File(ctx, request(2))
	_, err2 := w.Vote(ctx, r.ID, person("eve", "dba"), yes)
	_, err3 := w.Await(ctx, r.ID)
	_, err4 := w.List(ctx, review.Query{})
	g, err5 := w.Redeem(ctx, r.ID, r.Digest)
	for i, err := range []error{err1, err2, err3, err4, err5} {
		if err == nil {
			t.Errorf("call %d worked without a store", i+1)
		}
	}
	if g.Review != 0 {
		t.Error("there is a grant")
	}
}
