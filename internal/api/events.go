package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/doorward/doorward"
)

const (
	heartbeat       = 15 * time.Second
	maxStreams      = 256
	maxStreamsEach  = 8
	streamQueue     = 64
	streamWriteTime = 10 * time.Second
	livePoll        = time.Second
)

// notice is one event on its way to the listeners.
type notice struct {
	kind    string // "review" or "session"
	review  *doorward.Review
	session *SessionEvent
}

type listener struct {
	ch   chan notice
	name string // whose it is, for the bound
	cred string // the credential that it was opened with
	gone bool   // ch is closed
}

// hub hands events to the open streams. It works only while there are any.
type hub struct {
	s *server

	mu        sync.Mutex
	listeners map[*listener]bool
	each      map[string]int
	stop      context.CancelFunc // of the feeders; nil when there are none
}

func newHub(s *server) *hub {
	return &hub{s: s, listeners: map[*listener]bool{}, each: map[string]int{}}
}

func (h *hub) join(subject, credential string) (*listener, *Problem) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.listeners) >= maxStreams || h.each[subject] >= maxStreamsEach {
		return nil, problem(http.StatusTooManyRequests, "too many event streams are open", "Close other tabs of the console, or try again later.")
	}
	l := &listener{ch: make(chan notice, streamQueue), name: subject, cred: credential}
	h.listeners[l] = true
	h.each[subject]++
	if h.stop == nil {
		ctx, stop := context.WithCancel(context.Background())
		h.stop = stop
		reviews := h.s.Reviews.Subscribe(ctx)
		go h.feedReviews(ctx, reviews)
		go h.feedSessions(ctx)
	}
	return l, nil
}

func (h *hub) leave(l *listener) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.listeners[l] {
		return
	}
	delete(h.listeners, l)
	if h.each[l.name]--; h.each[l.name] <= 0 {
		delete(h.each, l.name)
	}
	if len(h.listeners) == 0 && h.stop != nil {
		h.stop()
		h.stop = nil
	}
}

func (h *hub) send(n notice) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for l := range h.listeners {
		if l.gone {
			continue
		}
		select {
		case l.ch <- n:
		default:
			// It is too slow: its stream closes, the browser comes back and
			// reads the state anew. Nothing is silently left out.
			l.gone = true
			close(l.ch)
		}
	}
}

func (h *hub) dropAll() { h.dropIf(func(*listener) bool { return true }) }

func (h *hub) dropIf(which func(*listener) bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for l := range h.listeners {
		if which(l) && !l.gone {
			l.gone = true
			close(l.ch)
		}
	}
}

func (h *hub) feedReviews(ctx context.Context, ch <-chan doorward.Review) {
	for {
		select {
		case <-ctx.Done():
			return
		case r, ok := <-ch:
			if !ok {
				if ctx.Err() == nil {
					h.s.log.Warn("the stream of reviews ended; event streams are closed so that clients read anew")
					h.dropAll()
				}
				return
			}
			if r.ID == 0 { // some were lost on the way
				h.dropAll()
				continue
			}
			h.send(notice{kind: "review", review: &r})
		}
	}
}

// feedSessions tells what changed among the live sessions.
func (h *hub) feedSessions(ctx context.Context) {
	known := map[string]LiveSession{}
	for _, l := range h.s.Live.Sessions() {
		known[l.ID] = l
	}
	tick := time.NewTicker(livePoll)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now := map[string]LiveSession{}
		for _, l := range h.s.Live.Sessions() {
			now[l.ID] = l
			if _, old := known[l.ID]; !old {
				h.send(notice{kind: "session", session: &SessionEvent{Session: fromLive(l), Event: "opened"}})
			}
		}
		for id, l := range known {
			if _, still := now[id]; !still {
				ended := fromLive(l)
				ended.Live, ended.Ended = false, time.Now().UTC()
				h.send(notice{kind: "session", session: &SessionEvent{Session: ended, Event: "closed"}})
			}
		}
		known = now
	}
}

func fromLive(l LiveSession) Session {
	return Session{ID: l.ID, Identity: l.Identity, Target: l.Target, Protocol: l.Protocol, Remote: l.Remote, Started: l.Started, Live: true, Requests: l.Requests}
}

type eventsInput struct{}

// events streams what the caller may see, until they leave or their sign-in
// ends. The sign-in is checked again with every heartbeat.
func (s *server) events(ctx context.Context, _ *eventsInput) (*huma.StreamResponse, error) {
	c, err := asking(ctx)
	if err != nil {
		return nil, err
	}
	l, p := s.hub.join(c.id.Subject, c.id.Credential)
	if p != nil {
		return nil, p
	}
	return &huma.StreamResponse{Body: func(hc huma.Context) {
		defer s.hub.leave(l)
		r, w := humago.Unwrap(hc)
		w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
		w.Header().Set("X-Accel-Buffering", "no")
		w.WriteHeader(http.StatusOK)
		rc := http.NewResponseController(w)
		if err := rc.SetReadDeadline(time.Time{}); err != nil {
			s.log.Debug("no read deadline on this connection", "error", err)
		}
		s.stream(r, c, l, w, rc)
	}}, nil
}

func (s *server) stream(r *http.Request, c *caller, l *listener, w http.ResponseWriter, rc *http.ResponseController) {
	put := func(text string) bool {
		if err := rc.SetWriteDeadline(time.Now().Add(streamWriteTime)); err != nil {
			return false
		}
		if _, err := w.Write([]byte(text)); err != nil {
			return false
		}
		return rc.Flush() == nil
	}
	if !put("retry: 2000\n: doorward\n\n") {
		return
	}
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	for {
		select {
		case <-r.Context().Done():
			return
		case <-s.closing:
			return
		case <-beat.C:
			again, p := s.identify(r)
			if p != nil || again.id.Subject != c.id.Subject {
				return
			}
			c = again
			if !put(": still here\n\n") {
				return
			}
		case n, ok := <-l.ch:
			if !ok {
				return
			}
			data, show, err := s.render(c, n)
			if err != nil {
				s.log.Error("an event could not be rendered", "error", err)
				return
			}
			if show && !put(fmt.Sprintf("event: %s\ndata: %s\n\n", n.kind, data)) {
				return
			}
		}
	}
}

// render gives the JSON of an event, when the caller may see it. JSON has no
// line breaks, so one data line holds it.
func (s *server) render(c *caller, n notice) (data []byte, show bool, err error) {
	switch {
	case n.review != nil && s.seesReview(c.id, *n.review):
		data, err = json.Marshal(s.forCaller(c.id, *n.review))
		return data, true, err
	case n.session != nil && s.seesIdentity(c.id, n.session.Identity):
		data, err = json.Marshal(n.session)
		return data, true, err
	}
	return nil, false, nil
}
