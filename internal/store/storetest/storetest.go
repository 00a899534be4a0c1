package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/doorward/doorward"
	"github.com/doorward/doorward/internal/store"
)

// Run tests a store. open gives a new, empty one each time, and closes it
// when the test ends.
func Run(t *testing.T, open func(t *testing.T) store.Data) {
	for name, test := range map[string]func(*testing.T, store.Data){
		"reviews keep everything":               reviewsKeep,
		"reviews open once a digest":            reviewsOpenOnce,
		"reviews are limited":                   reviewsLimited,
		"reviews list":                          reviewsList,
		"votes are compare-and-set":             votesCAS,
		"votes race":                            votesRace,
		"reviews move once":                     reviewsMoveOnce,
		"reviews expire":                        reviewsExpire,
		"sessions":                              sessions,
		"sessions search is literal":            sessionsSearch,
		"credentials":                           credentials,
		"credentials end with what they are of": credentialsEnd,
		"revocations":                           revocations,
		"credentials race with revocation":      credentialsRace,
		"keys":                                  keys,
		"a context that is over writes nothing": contextOver,
	} {
		t.Run(name, func(t *testing.T) { test(t, open(t)) })
	}
}

var start = time.Date(2026, 3, 1, 12, 0, 0, 123456789, time.UTC)

// NewReview makes a review for tests: n makes its digest.
func NewReview(n int, subject string) doorward.Review {
	return doorward.Review{
		Digest:    fmt.Sprintf("%064x", n),
		Identity:  doorward.Identity{Subject: subject, Name: strings.TrimPrefix(subject, "corp:") + "@corp.example", Provider: "corp", Groups: []string{"eng"}, Agent: "codex", Run: "run_1"},
		Target:    "orders-db",
		Protocol:  "postgres",
		Session:   "s1",
		Statement: "UPDATE orders SET state = 'x' WHERE id = $1 -- ' \"; DROP TABLE reviews; \u202e\x01",
		Params:    []string{"17", ""},
		Summary:   doorward.Summary{Verbs: []string{"update"}, Objects: []doorward.SummaryObject{{Kind: "table", Name: "public.orders", Verbs: []string{"update"}}}, Complete: true, Bound: 1},
		Why:       "ticket 4", Rule: "bounded-writes", Reason: "writes need a yes",
		Reviewers: []doorward.Quorum{{Groups: []string{"dba"}, Count: 2}},
		MaxRows:   10, Policy: "v1", Fingerprint: "fp",
		Created: start, Expires: start.Add(time.Hour),
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantErr(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("error is %v, want %v", err, want)
	}
}

func same(t *testing.T, got, want any) {
	t.Helper()
	if d := cmp.Diff(want, got); d != "" {
		t.Fatalf("(-want +got)\n%s", d)
	}
}

func shown(t *testing.T, s store.Data, r doorward.Review) doorward.Review {
	t.Helper()
	made, err := s.OpenReview(t.Context(), r, 1000, 10000)
	must(t, err)
	must(t, s.ShowReview(t.Context(), made.ID))
	made, err = s.Review(t.Context(), made.ID)
	must(t, err)
	return made
}

func reviewsKeep(t *testing.T, s store.Data) {
	ctx := t.Context()
	r := NewReview(1, "corp:ada")
	made, err := s.OpenReview(ctx, r, 10, 10)
	must(t, err)
	if made.ID <= 0 {
		t.Fatalf("ID is %d", made.ID)
	}
	_, err = s.Review(ctx, made.ID)
	wantErr(t, err, store.ErrNotFound) // nobody sees it yet
	_, err = s.ReviewByDigest(ctx, r.Digest)
	wantErr(t, err, store.ErrNotFound)
	must(t, s.ShowReview(ctx, made.ID))
	wantErr(t, s.ShowReview(ctx, made.ID), store.ErrConflict)
	wantErr(t, s.DropReview(ctx, made.ID), store.ErrConflict)
	r.ID, r.State = made.ID, doorward.ReviewWaiting
	got, err := s.Review(ctx, made.ID)
	must(t, err)
	same(t, got, r)
	got, err = s.ReviewByDigest(ctx, r.Digest)
	must(t, err)
	same(t, got, r)
	_, err = s.Review(ctx, made.ID+1)
	wantErr(t, err, store.ErrNotFound)
	_, err = s.Review(ctx, -1)
	wantErr(t, err, store.ErrNotFound)

	large := NewReview(2, "corp:ada")
	large.Statement = strings.Repeat("é", store.MaxStatement/2)
	large = shown(t, s, large)
	if len(large.Statement) != store.MaxStatement {
		t.Fatalf("statement has %d bytes", len(large.Statement))
	}
	large.Digest = fmt.Sprintf("%064x", 3)
	large.Statement += "x"
	if _, err := s.OpenReview(ctx, large, 10, 10); err == nil {
		t.Fatal("a statement above the bound was kept")
	}
}

func reviewsOpenOnce(t *testing.T, s store.Data) {
	ctx := t.Context()
	var won atomic.Int64
	var wg sync.WaitGroup
	for range 32 {
		wg.Go(func() {
			switch _, err := s.OpenReview(ctx, NewReview(1, "corp:ada"), 100, 100); {
			case err == nil:
				won.Add(1)
			case !errors.Is(err, store.ErrLive):
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if won.Load() != 1 {
		t.Fatalf("%d reviews were opened", won.Load())
	}
	// One that is over does not hold the digest.
	var last int64
	for _, end := range []doorward.ReviewState{doorward.ReviewDenied, doorward.ReviewExpired} {
		r := shown(t, s, NewReview(2, "corp:ada"))
		_, err := s.OpenReview(ctx, NewReview(2, "corp:ada"), 100, 100)
		wantErr(t, err, store.ErrLive)
		_, err = s.MoveReview(ctx, store.ReviewMove{ID: r.ID, From: doorward.ReviewWaiting, To: end})
		must(t, err)
		if r.ID <= last {
			t.Fatalf("ID %d came after %d", r.ID, last)
		}
		last = r.ID
	}
	r, err := s.OpenReview(ctx, NewReview(3, "corp:ada"), 100, 100)
	must(t, err)
	must(t, s.DropReview(ctx, r.ID))
	shown(t, s, NewReview(3, "corp:ada"))
}

func reviewsLimited(t *testing.T, s store.Data) {
	ctx := t.Context()
	for i := range 3 {
		_, err := s.OpenReview(ctx, NewReview(i, "corp:ada"), 3, 5)
		must(t, err)
	}
	_, err := s.OpenReview(ctx, NewReview(3, "corp:ada"), 3, 5)
	wantErr(t, err, store.ErrLimit)
	for i := range 2 {
		_, err := s.OpenReview(ctx, NewReview(10+i, "corp:bob"), 3, 5)
		must(t, err)
	}
	_, err = s.OpenReview(ctx, NewReview(20, "corp:eve"), 3, 5)
	wantErr(t, err, store.ErrLimit)
}

func reviewsList(t *testing.T, s store.Data) {
	ctx := t.Context()
	var ids []int64
	for i := range 5 {
		ids = append(ids, shown(t, s, NewReview(i, "corp:ada")).ID)
	}
	_, err := s.MoveReview(ctx, store.ReviewMove{ID: ids[2], From: doorward.ReviewWaiting, To: doorward.ReviewDenied})
	must(t, err)
	list := func(q store.ReviewQuery) (out []int64) {
		t.Helper()
		rs, err := s.Reviews(ctx, q)
		must(t, err)
		for _, r := range rs {
			out = append(out, r.ID)
		}
		return out
	}
	same(t, list(store.ReviewQuery{}), []int64{ids[4], ids[3], ids[2], ids[1], ids[0]})
	same(t, list(store.ReviewQuery{State: doorward.ReviewWaiting, Limit: 3}), []int64{ids[4], ids[3], ids[1]})
	same(t, list(store.ReviewQuery{State: doorward.ReviewWaiting, Before: ids[1]}), []int64{ids[0]})
	same(t, list(store.ReviewQuery{State: doorward.ReviewDenied}), []int64{ids[2]})
	if got := list(store.ReviewQuery{State: doorward.ReviewSpent}); len(got) != 0 {
		t.Fatalf("spent: %v", got)
	}
}

// NewVote makes a yes for tests.
func NewVote(name string) doorward.Vote {
	return doorward.Vote{By: name, Subject: "corp:" + name, Groups: []string{"dba"}, Approve: true, Comment: "ok", MaxRows: 3, At: start.Add(time.Minute)}
}

func votesCAS(t *testing.T, s store.Data) {
	ctx := t.Context()
	r := shown(t, s, NewReview(1, "corp:ada"))
	_, err := s.AddVote(ctx, r.ID, 1, NewVote("bob"), doorward.ReviewWaiting)
	wantErr(t, err, store.ErrConflict) // it has no vote yet
	got, err := s.AddVote(ctx, r.ID, 0, NewVote("bob"), doorward.ReviewWaiting)
	must(t, err)
	same(t, got.Votes, []doorward.Vote{NewVote("bob")})
	if got.State != doorward.ReviewWaiting || !got.Decided.IsZero() {
		t.Fatalf("state %s, decided %s", got.State, got.Decided)
	}
	twice := NewVote("bob")
	_, err = s.AddVote(ctx, r.ID, 1, twice, doorward.ReviewApproved)
	wantErr(t, err, store.ErrConflict) // same subject
	twice.Subject, twice.By = "saml:bob", "BOB"
	_, err = s.AddVote(ctx, r.ID, 1, twice, doorward.ReviewApproved)
	wantErr(t, err, store.ErrConflict) // same name
	got, err = s.Review(ctx, r.ID)
	must(t, err)
	if len(got.Votes) != 1 || got.State != doorward.ReviewWaiting {
		t.Fatalf("a refused vote left something: %d votes, %s", len(got.Votes), got.State)
	}
	late := NewVote("eve")
	late.At = r.Expires
	_, err = s.AddVote(ctx, r.ID, 1, late, doorward.ReviewApproved)
	wantErr(t, err, store.ErrConflict)
	got, err = s.AddVote(ctx, r.ID, 1, NewVote("eve"), doorward.ReviewApproved)
	must(t, err)
	same(t, got.Votes, []doorward.Vote{NewVote("bob"), NewVote("eve")})
	if got.State != doorward.ReviewApproved || !got.Decided.Equal(start.Add(time.Minute)) {
		t.Fatalf("state %s, decided %s", got.State, got.Decided)
	}
	_, err = s.AddVote(ctx, r.ID, 2, NewVote("dan"), doorward.ReviewDenied)
	wantErr(t, err, store.ErrConflict)
	list, err := s.Reviews(ctx, store.ReviewQuery{})
	must(t, err)
	same(t, list[0], got)
}

func votesRace(t *testing.T, s store.Data) {
	ctx := t.Context()
	r := shown(t, s, NewReview(1, "corp:ada"))
	var won atomic.Int64
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			switch _, err := s.AddVote(ctx, r.ID, 0, NewVote(fmt.Sprint("p", i)), doorward.ReviewWaiting); {
			case err == nil:
				won.Add(1)
			case !errors.Is(err, store.ErrConflict):
				t.Error(err)
			}
		})
	}
	wg.Wait()
	got, err := s.Review(ctx, r.ID)
	must(t, err)
	if won.Load() != 1 || len(got.Votes) != 1 {
		t.Fatalf("%d votes won, %d are kept", won.Load(), len(got.Votes))
	}
}

func reviewsMoveOnce(t *testing.T, s store.Data) {
	ctx := t.Context()
	r := shown(t, s, NewReview(1, "corp:ada"))
	spend := store.ReviewMove{ID: r.ID, From: doorward.ReviewApproved, To: doorward.ReviewSpent, Digest: r.Digest, Now: start.Add(2 * time.Minute)}
	_, err := s.MoveReview(ctx, spend)
	wantErr(t, err, store.ErrConflict) // not approved
	_, err = s.AddVote(ctx, r.ID, 0, NewVote("bob"), doorward.ReviewApproved)
	must(t, err)
	for _, wrong := range []func(*store.ReviewMove){
		func(m *store.ReviewMove) { m.Digest = fmt.Sprintf("%064x", 2) },
		func(m *store.ReviewMove) { m.Now = r.Expires },
		func(m *store.ReviewMove) { m.ID++ },
		func(m *store.ReviewMove) { m.From = doorward.ReviewWaiting },
	} {
		m := spend
		wrong(&m)
		_, err := s.MoveReview(ctx, m)
		wantErr(t, err, store.ErrConflict)
	}
	var won atomic.Int64
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() {
			got, err := s.MoveReview(ctx, spend)
			switch {
			case err == nil:
				won.Add(1)
				if got.State != doorward.ReviewSpent || len(got.Votes) != 1 || !got.Decided.Equal(start.Add(time.Minute)) {
					t.Errorf("spent review: %+v", got)
				}
			case !errors.Is(err, store.ErrConflict):
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if won.Load() != 1 {
		t.Fatalf("%d moves won", won.Load())
	}
}

func reviewsExpire(t *testing.T, s store.Data) {
	ctx := t.Context()
	moved, next, err := s.ExpireReviews(ctx, start)
	must(t, err)
	if len(moved) != 0 || !next.IsZero() {
		t.Fatalf("an empty store: %v, %s", moved, next)
	}
	a := shown(t, s, NewReview(1, "corp:ada"))
	b := NewReview(2, "corp:ada")
	b.Expires = start.Add(2 * time.Hour)
	b = shown(t, s, b)
	c := shown(t, s, NewReview(3, "corp:ada"))
	_, err = s.AddVote(ctx, c.ID, 0, NewVote("bob"), doorward.ReviewApproved)
	must(t, err)
	moved, next, err = s.ExpireReviews(ctx, start.Add(time.Hour-1))
	must(t, err)
	if len(moved) != 0 || !next.Equal(a.Expires) {
		t.Fatalf("too early: %v, %s", moved, next)
	}
	moved, next, err = s.ExpireReviews(ctx, start.Add(time.Hour))
	must(t, err)
	if len(moved) != 2 || moved[0].ID != a.ID || moved[1].ID != c.ID || moved[0].State != doorward.ReviewExpired || len(moved[1].Votes) != 1 || !next.Equal(b.Expires) {
		t.Fatalf("expired: %+v, %s", moved, next)
	}
	got, err := s.Review(ctx, c.ID)
	must(t, err)
	same(t, got, moved[1])
}

func header(id, name, target string, at time.Time) doorward.Header {
	return doorward.Header{Session: id, Identity: doorward.Identity{Subject: "corp:" + name, Name: name, Agent: "codex"}, Target: target, Protocol: "postgres", Remote: "127.0.0.1:5", Started: at}
}

func sessions(t *testing.T, s store.Data) {
	ctx := t.Context()
	for i := range 3 {
		must(t, s.BeginSession(ctx, header(fmt.Sprint("s", i), "ada", "orders", start.Add(time.Duration(i)*time.Second))))
	}
	must(t, s.BeginSession(ctx, header("x", "bob", "billing", start.Add(time.Minute))))
	wantErr(t, s.BeginSession(ctx, header("x", "eve", "orders", start)), store.ErrConflict)
	end := store.SessionEnd{Ended: start.Add(time.Hour), Reason: "closed", Seal: doorward.Seal{Hash: "h", Frames: 3, Bytes: 9}, Requests: 4, Refused: 1, Held: 2, Rows: 7, Bytes: 100, Tape: "2026/s1.tape"}
	must(t, s.EndSession(ctx, "s1", end))
	wantErr(t, s.EndSession(ctx, "s1", end), store.ErrConflict)
	wantErr(t, s.EndSession(ctx, "none", end), store.ErrConflict)
	got, err := s.Session(ctx, "s1")
	must(t, err)
	same(t, got, store.SessionRow{Header: header("s1", "ada", "orders", start.Add(time.Second)), SessionEnd: end})
	_, err = s.Session(ctx, "none")
	wantErr(t, err, store.ErrNotFound)
	for _, c := range []struct {
		q    store.SessionQuery
		want []string
	}{
		{store.SessionQuery{}, []string{"x", "s2", "s1", "s0"}},
		{store.SessionQuery{Limit: 2}, []string{"x", "s2"}},
		{store.SessionQuery{Live: true}, []string{"x", "s2", "s0"}},
		{store.SessionQuery{Target: "orders", Live: true}, []string{"s2", "s0"}},
		{store.SessionQuery{Subject: "corp:bob"}, []string{"x"}},
		{store.SessionQuery{Before: start.Add(2 * time.Second)}, []string{"s1", "s0"}},
		{store.SessionQuery{Text: "BILL"}, []string{"x"}},
		{store.SessionQuery{Text: "codex", Target: "billing"}, []string{"x"}},
	} {
		rows, err := s.Sessions(ctx, c.q)
		must(t, err)
		var ids []string
		for _, r := range rows {
			ids = append(ids, r.Session)
		}
		same(t, ids, c.want)
	}
}

func sessionsSearch(t *testing.T, s store.Data) {
	ctx := t.Context()
	for i, name := range []string{"a%b", "a_b", "axb", `a\b`, "ÄÖ'; --"} {
		must(t, s.BeginSession(ctx, header(fmt.Sprint("s", i), name, "orders", start)))
	}
	for text, want := range map[string]string{"%": "s0", "a_b": "s1", `\`: "s3", "äö'; -": "s4"} {
		rows, err := s.Sessions(ctx, store.SessionQuery{Text: text})
		must(t, err)
		if len(rows) != 1 || rows[0].Session != want {
			t.Fatalf("search for %q: %d rows", text, len(rows))
		}
	}
	if _, err := s.Sessions(ctx, store.SessionQuery{Text: strings.Repeat("x", 10000)}); err == nil {
		t.Fatal("an endless search text was taken")
	}
}

func credential(id string, kind store.CredentialKind, parent string) store.Credential {
	c := store.Credential{ID: id, Hash: fmt.Sprintf("%064s", id), Kind: kind, Parent: parent, Task: "fix it", Created: start, Expires: start.Add(time.Hour),
		Identity: doorward.Identity{Subject: "corp:ada", Name: "ada", Provider: "corp", Groups: []string{"eng"}, Credential: id, Targets: []string{"a"}, Expires: start.Add(time.Hour)}}
	if kind == store.AgentCredential {
		c.Identity.Agent, c.Identity.Run = "codex", "run_"+id
	}
	return c
}

func credentials(t *testing.T, s store.Data) {
	ctx := t.Context()
	p, a := credential("p", store.PersonCredential, ""), credential("a", store.AgentCredential, "p")
	a.Created = start.Add(time.Second)
	must(t, s.AddCredential(ctx, p))
	must(t, s.AddCredential(ctx, a))
	wantErr(t, s.AddCredential(ctx, p), store.ErrConflict)
	other := credential("q", store.PersonCredential, "")
	other.Hash = p.Hash
	wantErr(t, s.AddCredential(ctx, other), store.ErrConflict)
	got, err := s.CredentialByHash(ctx, a.Hash)
	must(t, err)
	same(t, got, a)
	got, err = s.Credential(ctx, "p")
	must(t, err)
	same(t, got, p)
	_, err = s.Credential(ctx, "none")
	wantErr(t, err, store.ErrNotFound)
	_, err = s.CredentialByHash(ctx, strings.Repeat("0", 64))
	wantErr(t, err, store.ErrNotFound)
	must(t, s.TouchCredential(ctx, "p", start.Add(time.Minute)))
	must(t, s.TouchCredential(ctx, "p", start)) // does not go back
	got, err = s.Credential(ctx, "p")
	must(t, err)
	same(t, got.Seen, start.Add(time.Minute))
	for _, c := range []struct {
		q    store.CredentialQuery
		want []string
	}{
		{store.CredentialQuery{}, []string{"a", "p"}},
		{store.CredentialQuery{Kind: store.AgentCredential}, []string{"a"}},
		{store.CredentialQuery{Run: "run_a"}, []string{"a"}},
		{store.CredentialQuery{Subject: "corp:ada", Live: start}, []string{"a", "p"}},
		{store.CredentialQuery{Live: start.Add(time.Hour)}, nil},
		{store.CredentialQuery{Subject: "corp:bob"}, nil},
		{store.CredentialQuery{Limit: 1}, []string{"a"}},
	} {
		cs, err := s.Credentials(ctx, c.q)
		must(t, err)
		var ids []string
		for _, c := range cs {
			ids = append(ids, c.ID)
		}
		same(t, ids, c.want)
	}
	n, err := s.PurgeCredentials(ctx, start.Add(time.Hour))
	must(t, err)
	same(t, n, int64(0))
	n, err = s.PurgeCredentials(ctx, start.Add(time.Hour+1))
	must(t, err)
	same(t, n, int64(2))
}

func credentialsEnd(t *testing.T, s store.Data) {
	ctx := t.Context()
	for _, c := range []store.Credential{
		credential("p", store.PersonCredential, ""), credential("a1", store.AgentCredential, "p"), credential("a2", store.AgentCredential, "a1"),
		credential("q", store.PersonCredential, ""), credential("j", store.AgentCredential, "jwt_1"),
	} {
		must(t, s.AddCredential(ctx, c))
	}
	r := store.Revocation{Kind: store.RevokedCredential, What: "p", At: start.Add(time.Minute), Until: start.Add(time.Hour), Reason: "lost laptop"}
	ids, err := s.Revoke(ctx, r)
	must(t, err)
	slices.Sort(ids)
	same(t, ids, []string{"a1", "a2", "p"})
	ids, err = s.Revoke(ctx, r)
	must(t, err)
	if len(ids) != 0 {
		t.Fatalf("ended twice: %v", ids)
	}
	got, err := s.Credential(ctx, "a2")
	must(t, err)
	if !got.Ended.Equal(r.At) || got.Reason != r.Reason {
		t.Fatalf("ended %s: %q", got.Ended, got.Reason)
	}
	wantErr(t, s.AddCredential(ctx, credential("a3", store.AgentCredential, "p")), store.ErrConflict)
	// A token of somebody else's: what came from it ends.
	r.What = "jwt_1"
	ids, err = s.Revoke(ctx, r)
	must(t, err)
	same(t, ids, []string{"j"})
	wantErr(t, s.AddCredential(ctx, credential("a4", store.AgentCredential, "jwt_1")), store.ErrConflict)
	// All that is left of a subject.
	ids, err = s.Revoke(ctx, store.Revocation{Kind: store.RevokedSubject, What: "corp:ada", At: start.Add(time.Minute), Until: start.Add(time.Hour)})
	must(t, err)
	same(t, ids, []string{"q"})
}

func revocations(t *testing.T, s store.Data) {
	ctx := t.Context()
	a := store.Revocation{Kind: store.RevokedSubject, What: "corp:ada", At: start, Until: start.Add(time.Hour), Reason: "left"}
	b := store.Revocation{Kind: store.RevokedCredential, What: "jwt_1", At: start.Add(1), Until: start.Add(2 * time.Hour)}
	for _, r := range []store.Revocation{a, b} {
		_, err := s.Revoke(ctx, r)
		must(t, err)
	}
	got, err := s.Revocations(ctx, start)
	must(t, err)
	same(t, got, []store.Revocation{a, b})
	early := a
	early.At, early.Until, early.Reason = start.Add(-time.Hour), start, "again"
	_, err = s.Revoke(ctx, early) // an older one does not weaken it
	must(t, err)
	got, err = s.Revocations(ctx, start)
	must(t, err)
	a.Reason = "again"
	same(t, got, []store.Revocation{a, b})
	got, err = s.Revocations(ctx, start.Add(time.Hour))
	must(t, err)
	same(t, got, []store.Revocation{b})
	for _, bad := range []store.Revocation{{Kind: "x", What: "y", At: start}, {Kind: store.RevokedSubject, At: start}, {Kind: store.RevokedSubject, What: "x"}} {
		if _, err := s.Revoke(ctx, bad); err == nil {
			t.Fatalf("%+v was taken", bad)
		}
	}
}

// credentialsRace starts children while their parent ends: none may live on.
func credentialsRace(t *testing.T, s store.Data) {
	ctx := t.Context()
	must(t, s.AddCredential(ctx, credential("p", store.PersonCredential, "")))
	var wg sync.WaitGroup
	for i := range 32 {
		wg.Go(func() {
			if i == 16 {
				_, err := s.Revoke(ctx, store.Revocation{Kind: store.RevokedCredential, What: "p", At: start, Until: start.Add(time.Hour)})
				if err != nil {
					t.Error(err)
				}
				return
			}
			if err := s.AddCredential(ctx, credential(fmt.Sprint("a", i), store.AgentCredential, "p")); err != nil && !errors.Is(err, store.ErrConflict) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	live, err := s.Credentials(ctx, store.CredentialQuery{Live: start})
	must(t, err)
	if len(live) != 0 {
		t.Fatalf("%d credentials outlive what they came from", len(live))
	}
}

func keys(t *testing.T, s store.Data) {
	ctx := t.Context()
	_, err := s.Key(ctx, "log")
	wantErr(t, err, store.ErrNotFound)
	var mu sync.Mutex
	var made int
	got := map[string]bool{}
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			v, err := s.EnsureKey(ctx, "log", func() ([]byte, error) {
				mu.Lock()
				defer mu.Unlock()
				made++
				return fmt.Appendf(nil, "secret %d", i), nil
			})
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			got[string(v)] = true
		})
	}
	wg.Wait()
	if made == 0 || len(got) != 1 {
		t.Fatalf("callers got %d different keys", len(got))
	}
	must(t, s.PutKey(ctx, "log", []byte{0, 1, 2}))
	v, err := s.Key(ctx, "log")
	must(t, err)
	same(t, v, []byte{0, 1, 2})
	if _, err := s.EnsureKey(ctx, "bad", func() ([]byte, error) { return nil, errors.New("no randomness") }); err == nil {
		t.Fatal("a key that could not be made was given")
	}
	for name, v := range map[string][]byte{"": {1}, "large": make([]byte, 1<<20), strings.Repeat("x", 1000): {1}} {
		if err := s.PutKey(ctx, name, v); err == nil {
			t.Fatalf("key %.10q of %d bytes was kept", name, len(v))
		}
	}
}

func contextOver(t *testing.T, s store.Data) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.OpenReview(ctx, NewReview(1, "corp:ada"), 10, 10); err == nil {
		t.Fatal("a write went through although its context was over")
	}
	must(t, s.Ping(t.Context()))
	rs, err := s.Reviews(t.Context(), store.ReviewQuery{})
	must(t, err)
	if len(rs) != 0 {
		t.Fatal("something was written")
	}
	if err := s.AddCredential(ctx, credential("p", store.PersonCredential, "")); err == nil {
		t.Fatal("a write went through although its context was over")
	}
	_, err = s.Credential(t.Context(), "p")
	wantErr(t, err, store.ErrNotFound)
}
