package review_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/doorward/doorward"
	"github.com/doorward/doorward/internal/review"
)

func TestAwaitWakes(t *testing.T) {
	w := start(t)
	r := w.file(request(1))
	const n = 50
	got := make(chan doorward.ReviewState, n)
	for range n {
		go func() {
			r, err := w.Await(context.Background(), r.ID)
			if err != nil {
				t.Error(err)
			}
			got <- r.State
		}()
	}
	time.Sleep(20 * time.Millisecond)
	w.vote(r.ID, person("bob", "dba"), no)
	for range n {
		select {
		case s := <-got:
			if s != doorward.ReviewDenied {
				t.Fatal(s)
			}
		case <-time.After(5 * time.Second):
			t.Fatal("somebody still waits")
		}
	}
}

func TestAwaitEndsWithItsContext(t *testing.T) {
	w := start(t)
	r := w.file(request(1))
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	got, err := w.Await(ctx, r.ID)
	if !errors.Is(err, context.DeadlineExceeded) || got.ID != r.ID || got.State != doorward.ReviewWaiting {
		t.Fatalf("%+v, %v", got, err)
	}
	if _, err := w.Await(t.Context(), 999); !errors.Is(err, review.ErrNotFound) {
		t.Fatal(err)
	}
}

func TestRestart(t *testing.T) {
	w := start(t)
	r, r2 := w.file(request(1, doorward.Quorum{Groups: []string{"dba"}, Count: 2})), w.file(request(2))
	w.vote(r.ID, person("bob", "dba"), yes)
	w.vote(r2.ID, person("bob", "dba"), yes)
	w.restart()
	if again := w.file(request(1)); again.ID != r.ID || len(again.Votes) != 1 || again.URL != r.URL {
		t.Fatalf("after a restart: %+v", again)
	}
	done := make(chan doorward.Review, 1)
	go func() {
		got, err := w.Await(context.Background(), r.ID)
		if err != nil {
			t.Error(err)
		}
		done <- got
	}()
	w.refused(r.ID, person("bob", "dba"), yes, "voted on this review already")
	w.vote(r.ID, person("eve", "dba"), yes)
	if got := <-done; got.State != doorward.ReviewApproved {
		t.Fatal(got.State)
	}
	if got, err := w.Await(t.Context(), r2.ID); err != nil || got.State != doorward.ReviewApproved {
		t.Fatalf("%s, %v", got.State, err)
	}
	for _, r := range []doorward.Review{r, r2} {
		if _, err := w.Redeem(t.Context(), r.ID, r.Digest); err != nil {
			t.Fatal(err)
		}
	}
}

func TestRedeemRace(t *testing.T) {
	w := start(t)
	const reviews, callers = 30, 64
	for n := range reviews {
		r := w.file(request(n))
		w.vote(r.ID, person("bob", "dba"), yes)
		var won atomic.Int64
		var wg sync.WaitGroup
		for range callers {
			wg.Go(func() {
				switch _, err := w.Redeem(t.Context(), r.ID, r.Digest); {
				case err == nil:
					won.Add(1)
				case !errors.Is(err, review.ErrNotApproved):
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if won.Load() != 1 {
			t.Fatalf("review %d was redeemed %d times", r.ID, won.Load())
		}
	}
}

// TestVotesRace: votes, retries, redemptions, withdrawals and expiry at once.
// Whatever the order: no grant without its votes, never two.
func TestVotesRace(t *testing.T) {
	w := start(t, func(o *review.Options) { o.LedgerWait = 5 * time.Second })
	for n := range 20 {
		r := w.file(request(n, doorward.Quorum{Groups: []string{"dba"}, Count: 3}))
		var grants atomic.Int64
		var wg sync.WaitGroup
		for i := range 6 {
			wg.Go(func() { // distinct people, and the same people again
				_, err := w.Vote(t.Context(), r.ID, person(fmt.Sprint("p", i%4), "dba"), yes)
				if err != nil && !errors.Is(err, review.ErrDecided) && !errors.Is(err, review.ErrVoted) {
					t.Error(err)
				}
			})
			wg.Go(func() {
				for range 5 {
					if got, err := w.File(t.Context(), request(n, r.Reviewers...)); err != nil || got.ID != r.ID && got.State != doorward.ReviewWaiting {
						t.Errorf("%+v, %v", got, err)
					}
					if _, err := w.Redeem(t.Context(), r.ID, r.Digest); err == nil {
						grants.Add(1)
					}
					runtime.Gosched()
				}
			})
		}
		if n%3 == 0 {
			wg.Go(func() {
				time.Sleep(time.Duration(rand.IntN(3000)) * time.Microsecond)
				_, _ = w.Withdraw(t.Context(), r.ID, r.Identity, "never mind")
			})
		}
		wg.Wait()
		got, err := w.Get(t.Context(), r.ID)
		if err != nil {
			t.Fatal(err)
		}
		if want := got.State == doorward.ReviewSpent; grants.Load() > 1 || (grants.Load() == 1) != want {
			t.Fatalf("%d grants of a review that is %s", grants.Load(), got.State)
		}
		if got.State == doorward.ReviewSpent && len(got.Votes) < 3 {
			t.Fatalf("a grant with %d votes", len(got.Votes))
		}
	}
}

func TestFileRace(t *testing.T) {
	w := start(t)
	var ids sync.Map
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() {
			r, err := w.File(t.Context(), request(1))
			if err != nil {
				t.Error(err)
			}
			ids.Store(r.ID, true)
		})
	}
	wg.Wait()
	n := 0
	ids.Range(func(any, any) bool { n++; return true })
	if n != 1 || len(w.log.kinds()) != 1 {
		t.Fatalf("%d reviews of one request, %d events", n, len(w.log.kinds()))
	}
}

func TestSubscribe(t *testing.T) {
	w := start(t, func(o *review.Options) { o.PerSubject = 1000 })
	ctx, cancel := context.WithCancel(t.Context())
	quick, slow := w.Subscribe(ctx), w.Subscribe(ctx)
	const n = 200
	for i := range n {
		r := w.file(request(i))
		if got := <-quick; got.ID != r.ID || got.State != doorward.ReviewWaiting || got.URL == "" {
			t.Fatalf("told of %+v", got)
		}
	}
	seen, marks := 0, 0
	for len(slow) > 0 {
		if r := <-slow; r.ID == 0 {
			marks++
		} else {
			seen++
		}
	}
	if marks != 1 || seen == 0 || seen >= n {
		t.Fatalf("the slow one saw %d reviews and %d marks", seen, marks)
	}
	w.file(request(n))
	if got := <-slow; got.ID != n+1 {
		t.Fatalf("after the mark: %+v", got)
	}
	cancel()
	for range quick { // closed in the end
	}
	for range slow {
	}
	w.Service.Close()
	if _, ok := <-w.Subscribe(t.Context()); ok {
		t.Fatal("a closed service has news")
	}
}
