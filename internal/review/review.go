package review

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/doorward/doorward"
	"github.com/doorward/doorward/internal/store"
)

// Errors that callers tell apart.
var (
	// ErrNotFound says that there is no such review.
	ErrNotFound = errors.New("there is no such review")
	// ErrNotApproved says that the review is not approved (any more), so nothing may run.
	ErrNotApproved = errors.New("the review is not approved")
	// ErrDecided says that the review was decided, so no vote counts any more.
	ErrDecided = errors.New("the review was decided already")
	// ErrVoted says that this person has voted already.
	ErrVoted = errors.New("you have voted on this review already")
)

// Ledger is where events become durable.
type Ledger interface {
	Append(context.Context, doorward.Event) (doorward.Receipt, error)
}

// Options of a Service.
type Options struct {
	Expiry     time.Duration    // of a review, and of its approval; 1 h when 0
	URL        string           // base address of the console; the review's own is URL/reviews/ID
	Ledger     Ledger           // required
	PerSubject int              // open reviews of one subject; 50 when 0
	Overall    int              // open reviews of all; 1000 when 0
	LedgerWait time.Duration    // the longest wait for an event to be durable; 10 s when 0
	Log        *slog.Logger     // slog.Default() when nil
	Now        func() time.Time // for tests; the clock when nil
}

// Service is the room of reviews.
type Service struct {
	store store.Reviews
	opts  Options
	now   func() time.Time
	hub   hub

	files stripes // by digest
	votes stripes // by review

	wake  chan struct{} // the sweeper looks again
	stop  context.CancelFunc
	ended chan struct{}
}

// New makes the service and starts its sweeper. Close ends it.
func New(s store.Reviews, opts Options) (*Service, error) {
	if s == nil || opts.Ledger == nil {
		return nil, errors.New("review: needs a store and a ledger")
	}
	defaults(&opts.Expiry, time.Hour)
	defaults(&opts.LedgerWait, 10*time.Second)
	defaults(&opts.PerSubject, 50)
	defaults(&opts.Overall, 1000)
	if opts.Log == nil {
		opts.Log = slog.Default()
	}
	opts.URL = strings.TrimRight(opts.URL, "/")
	ctx, stop := context.WithCancel(context.Background())
	sv := &Service{store: s, opts: opts, now: opts.Now, wake: make(chan struct{}, 1), stop: stop, ended: make(chan struct{})}
	if sv.now == nil {
		sv.now = forwardClock()
	}
	go sv.sweep(ctx)
	return sv, nil
}

func defaults[T int | time.Duration](v *T, d T) {
	if *v <= 0 {
		*v = d
	}
}

// forwardClock gives the time of day or, if that was set back while the
// process ran, the time that has really passed: an approval does not live
// longer because somebody moved the clock.
func forwardClock() func() time.Time {
	start := time.Now()
	return func() time.Time {
		now := time.Now()
		wall, passed := now.Round(0), start.Round(0).Add(now.Sub(start))
		if passed.After(wall) {
			return passed.UTC()
		}
		return wall.UTC()
	}
}

// Close ends the sweeper and all subscriptions.
func (s *Service) Close() error {
	s.stop()
	<-s.ended
	s.hub.close()
	return nil
}

// stripes are locks by key, a fixed number of them.
type stripes struct{ mu [64]sync.Mutex }

func (l *stripes) lock(n uint64) func() {
	m := &l.mu[n%uint64(len(l.mu))]
	m.Lock()
	return m.Unlock
}

// record appends an event and waits until it is durable.
func (s *Service) record(ctx context.Context, ev doorward.Event) error {
	ctx, cancel := context.WithTimeout(ctx, s.opts.LedgerWait)
	defer cancel()
	rc, err := s.opts.Ledger.Append(ctx, ev)
	if err == nil {
		_, err = rc.Wait(ctx)
	}
	if err != nil {
		return fmt.Errorf("%s of review %d could not be recorded, so it does not count: %w", ev.Kind, ev.Review, err)
	}
	return nil
}

func (s *Service) event(kind doorward.EventKind, r *doorward.Review, fields map[string]string) doorward.Event {
	fields["digest"] = r.Digest
	return doorward.Event{
		Time: s.now(), Kind: kind, Session: r.Session, Target: r.Target, Protocol: r.Protocol,
		Name: r.Identity.Name, Subject: r.Identity.Subject, Agent: r.Identity.Agent, Run: r.Identity.Run,
		Rule: r.Rule, Policy: r.Policy, Review: r.ID, Fields: fields,
	}
}

// File finds the review that this request already has, or opens one. It
// returns the one that is waiting or approved, or the one that was denied and
// whose time is not over, if it was opened under the same policy version; only
// else a new one. What it returns is durable.
func (s *Service) File(ctx context.Context, r doorward.Review) (doorward.Review, error) {
	if err := s.check(&r); err != nil {
		return doorward.Review{}, err
	}
	defer s.files.lock(hash(r.Digest))()
	for range 3 {
		old, err := s.store.ReviewByDigest(ctx, r.Digest)
		switch {
		case err == nil && s.live(&old) && old.Policy == r.Policy:
			return s.shown(old), nil
		case err == nil && isOpen(old.State): // its time is over, or the policy is another one now
			if err := s.retire(ctx, &old); err != nil {
				return doorward.Review{}, err
			}
		case err != nil && !errors.Is(err, store.ErrNotFound):
			return doorward.Review{}, fmt.Errorf("look for the review of this request: %w", err)
		}
		made, err := s.open(ctx, r)
		if errors.Is(err, store.ErrLive) {
			continue // another process was quicker
		}
		return made, err
	}
	return doorward.Review{}, errors.New("another doorward is opening a review of the same request: send the request again")
}

// retire ends a review that an identical request must not find any more.
func (s *Service) retire(ctx context.Context, r *doorward.Review) error {
	now, err := s.store.MoveReview(ctx, store.ReviewMove{ID: r.ID, From: r.State, To: doorward.ReviewExpired, Decided: s.now()})
	if errors.Is(err, store.ErrConflict) {
		return nil // it moved by itself; look again
	}
	if err != nil {
		return fmt.Errorf("end review %d: %w", r.ID, err)
	}
	s.hub.publish(s.shown(now))
	return nil
}

func isOpen(s doorward.ReviewState) bool {
	return s == doorward.ReviewWaiting || s == doorward.ReviewApproved
}

// live says whether the identical request gets this review.
func (s *Service) live(r *doorward.Review) bool {
	return (isOpen(r.State) || r.State == doorward.ReviewDenied) && r.Expires.After(s.now())
}

func (s *Service) check(r *doorward.Review) error {
	params := 0
	for _, p := range r.Params {
		params += len(p)
	}
	switch {
	case len(r.Digest) != 64:
		return errors.New("a review needs the digest of its request")
	case r.Identity.Subject == "" || r.Target == "":
		return errors.New("a review needs who asks, and for which target")
	case len(r.Statement) > store.MaxStatement || params > store.MaxStatement:
		return &doorward.Denial{Decision: "deny", Rule: r.Rule,
			Reason: fmt.Sprintf("the request is too large to be reviewed: %d bytes of statement and %d of parameters, at most %d of each", len(r.Statement), params, store.MaxStatement),
			Hint:   "Split it into smaller requests, so that a person can read them."}
	case r.MaxRows < 0:
		return fmt.Errorf("a review's row bound cannot be %d", r.MaxRows)
	}
	merged, err := merge(r.Reviewers)
	if err != nil {
		return &doorward.Denial{Decision: "deny", Rule: r.Rule, Reason: err.Error()}
	}
	r.Reviewers = merged
	if len(r.Why) > 4<<10 {
		r.Why = strings.ToValidUTF8(r.Why[:4<<10], "") + "…"
	}
	return nil
}

// open makes a new review: kept but unseen, then recorded, then shown.
func (s *Service) open(ctx context.Context, r doorward.Review) (doorward.Review, error) {
	var none doorward.Review
	r.Created = s.now()
	r.Expires = r.Created.Add(s.opts.Expiry)
	r.Decided = time.Time{}
	r.Votes = nil
	r.URL = ""
	made, err := s.store.OpenReview(ctx, r, s.opts.PerSubject, s.opts.Overall)
	if errors.Is(err, store.ErrLimit) {
		return none, &doorward.Denial{Decision: "deny", Rule: r.Rule, Retry: true,
			Reason: fmt.Sprintf("too many requests wait for review already (at most %d of one person, with 8 MiB of text together, and %d in all)", s.opts.PerSubject, s.opts.Overall),
			Hint:   "Wait until some are answered, or ask the reviewers to deny those that are not needed."}
	}
	if err != nil {
		return none, fmt.Errorf("open review: %w", err)
	}
	quorums, err := json.Marshal(made.Reviewers)
	if err == nil {
		ev := s.event(doorward.EventReviewOpened, &made, map[string]string{"expires": made.Expires.Format(time.RFC3339Nano), "reviewers": string(quorums), "fingerprint": made.Fingerprint})
		if made.Why != "" {
			ev.Fields["why"] = made.Why
		}
		ev.Text, ev.Params, ev.Reason, ev.Rows = made.Statement, made.Params, made.Reason, made.MaxRows
		err = s.record(ctx, ev)
	}
	if err == nil {
		err = s.store.ShowReview(ctx, made.ID)
	}
	if err != nil {
		// The caller's context may be over; tidying up is not its business.
		tidy, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		if derr := s.store.DropReview(tidy, made.ID); derr != nil {
			s.opts.Log.Error("a review that was not opened could not be dropped", "review", made.ID, "error", derr)
		}
		return none, err
	}
	made.State = doorward.ReviewWaiting
	made = s.shown(made)
	s.hub.publish(made)
	s.poke()
	return made, nil
}

// shown adds what is not kept.
func (s *Service) shown(r doorward.Review) doorward.Review {
	if s.opts.URL != "" {
		r.URL = s.opts.URL + "/reviews/" + strconv.FormatInt(r.ID, 10)
	}
	return r
}

func hash(s string) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(s) {
		h = (h ^ uint64(s[i])) * 1099511628211
	}
	return h
}

// Get gives one review.
func (s *Service) Get(ctx context.Context, id int64) (doorward.Review, error) {
	r, err := s.store.Review(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		return r, ErrNotFound
	}
	if err != nil {
		return r, fmt.Errorf("review %d: %w", id, err)
	}
	return s.seen(r), nil
}

// seen is the review as it is now: one whose time is over is expired, even if
// the sweeper has not been there yet.
func (s *Service) seen(r doorward.Review) doorward.Review {
	if isOpen(r.State) && !r.Expires.After(s.now()) {
		r.State = doorward.ReviewExpired
	}
	return s.shown(r)
}

// Query says which reviews to list.
type Query struct {
	State  doorward.ReviewState // "" for all
	Before int64                // only IDs below this; 0: from the newest
	Limit  int                  // at most 200, which is also the default
}

// List lists reviews, newest first. It stops early when the statements
// together grow large; go on with Before.
func (s *Service) List(ctx context.Context, q Query) ([]doorward.Review, error) {
	rs, err := s.store.Reviews(ctx, store.ReviewQuery{State: q.State, Before: q.Before, Limit: q.Limit})
	if err != nil {
		return nil, fmt.Errorf("list reviews: %w", err)
	}
	out := rs[:0]
	for _, r := range rs {
		if r = s.seen(r); q.State == "" || r.State == q.State {
			out = append(out, r)
		}
	}
	return out, nil
}
