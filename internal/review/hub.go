package review

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/doorward/doorward"
)

const (
	maxWaiters     = 16384 // calls of Await at once
	maxSubscribers = 1024
	subscriberRoom = 64 // reviews that a slow subscriber may lag behind
)

// hub tells this process what changed.
type hub struct {
	mu      sync.Mutex
	waiters map[int64]map[chan struct{}]struct{}
	waiting int
	subs    map[*subscriber]struct{}
	closed  bool
}

type subscriber struct {
	ch   chan doorward.Review
	lost bool // the marker was sent, and nothing got through since
}

// publish wakes those who wait for the review and tells all subscribers. It
// never waits for them.
func (h *hub) publish(r doorward.Review) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for c := range h.waiters[r.ID] {
		select {
		case c <- struct{}{}:
		default: // it has been told already
		}
	}
	for s := range h.subs {
		switch {
		case len(s.ch) < subscriberRoom:
			s.lost = false
			s.ch <- r
		case !s.lost: // the last place is kept for the marker
			s.lost = true
			s.ch <- doorward.Review{}
		}
	}
}

func (h *hub) wait(id int64) (chan struct{}, func(), error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return nil, nil, errors.New("doorward is stopping")
	}
	if h.waiting >= maxWaiters {
		return nil, nil, fmt.Errorf("%d requests wait for an answer already: send the request again later", maxWaiters)
	}
	if h.waiters == nil {
		h.waiters = map[int64]map[chan struct{}]struct{}{}
	}
	if h.waiters[id] == nil {
		h.waiters[id] = map[chan struct{}]struct{}{}
	}
	c := make(chan struct{}, 1)
	h.waiters[id][c] = struct{}{}
	h.waiting++
	return c, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.waiters[id], c)
		if len(h.waiters[id]) == 0 {
			delete(h.waiters, id)
		}
		h.waiting--
	}, nil
}

func (h *hub) subscribe() *subscriber {
	s := &subscriber{ch: make(chan doorward.Review, subscriberRoom+1)}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed || len(h.subs) >= maxSubscribers {
		close(s.ch)
		return s
	}
	if h.subs == nil {
		h.subs = map[*subscriber]struct{}{}
	}
	h.subs[s] = struct{}{}
	return s
}

func (h *hub) leave(s *subscriber) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, ok := h.subs[s]; ok {
		delete(h.subs, s)
		close(s.ch)
	}
}

func (h *hub) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	for s := range h.subs {
		delete(h.subs, s)
		close(s.ch)
	}
}

// Subscribe tells of every review that changed, from now until ctx ends. A
// subscriber that lags too far behind loses reviews, and gets one with ID 0
// in their place: list them again then. The channel is closed at the end, and
// at once if there are too many subscribers.
func (s *Service) Subscribe(ctx context.Context) <-chan doorward.Review {
	sub := s.hub.subscribe()
	context.AfterFunc(ctx, func() { s.hub.leave(sub) })
	return sub.ch
}

// Await returns once the review is decided, spent or expired. When ctx ends
// first it returns the review as it was last seen, with the context's error.
func (s *Service) Await(ctx context.Context, id int64) (doorward.Review, error) {
	changed, leave, err := s.hub.wait(id)
	if err != nil {
		return doorward.Review{}, err
	}
	defer leave()
	for {
		r, err := s.Get(ctx, id)
		if err != nil {
			if ctx.Err() != nil {
				return doorward.Review{ID: id}, context.Cause(ctx)
			}
			return r, err
		}
		if r.State != doorward.ReviewWaiting {
			return r, nil
		}
		over := time.NewTimer(max(r.Expires.Sub(s.now()), time.Millisecond))
		select {
		case <-changed:
		case <-over.C:
		case <-ctx.Done():
			over.Stop()
			return r, context.Cause(ctx)
		}
		over.Stop()
	}
}

// poke makes the sweeper look when the next review is due.
func (s *Service) poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// sweep moves reviews whose time is over to expired, when it is.
func (s *Service) sweep(ctx context.Context) {
	defer close(s.ended)
	for {
		next, err := s.expire(ctx)
		wait := time.Minute
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			s.opts.Log.Error("expired reviews could not be swept", "error", err)
			wait = 5 * time.Second
		case !next.IsZero():
			wait = min(wait, max(next.Sub(s.now()), 10*time.Millisecond))
		}
		t := time.NewTimer(wait)
		select {
		case <-t.C:
		case <-s.wake:
		case <-ctx.Done():
			t.Stop()
			return
		}
		t.Stop()
	}
}

func (s *Service) expire(ctx context.Context) (time.Time, error) {
	moved, next, err := s.store.ExpireReviews(ctx, s.now())
	for _, r := range moved {
		s.hub.publish(s.shown(r))
	}
	return next, err
}
