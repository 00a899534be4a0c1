package ledger

import (
	"errors"
	"io/fs"
	"path/filepath"
	"slices"

	"github.com/doorward/doorward"
	"github.com/doorward/doorward/internal/tape"
)

// FieldEnd is the key in Event.Fields of a session.close event that tells how
// the session ended. EndInterrupted marks one that a crash of the server ended
// and whose requests may have unknown outcomes.
const (
	FieldEnd       = "end"
	EndInterrupted = "interrupted"
)

// story checks what the events say of each other. It remembers the sessions
// that are open, and which reviews were used.
type story struct {
	tapes  string
	report *Report
	open   map[string]*told
	spent  map[int64]uint64 // review: event that spent it
	used   map[int64]use
}

type told struct {
	index   uint64
	intents int
	pending map[uint64][]Pending // by request
}

// use is the last request that ran on a review. The parts of one request are
// numbered without a gap and run on the same one.
type use struct {
	session string
	request uint64
}

func newStory(tapes string) *story {
	return &story{tapes: tapes, open: map[string]*told{}, spent: map[int64]uint64{}, used: map[int64]use{}}
}

func (s *story) add(i uint64, ev doorward.Event) {
	switch ev.Kind {
	case doorward.EventServerStart:
		// One server at a time writes a ledger: what is open now ended with
		// the server before.
		s.interrupt()
	case doorward.EventSessionOpen:
		s.begin(i, ev)
	case doorward.EventSessionClose:
		s.close(i, ev)
	case doorward.EventIntent:
		s.intent(i, ev)
	case doorward.EventOutcome:
		s.outcome(i, ev)
	case doorward.EventReviewSpent:
		if before, ok := s.spent[ev.Review]; ok {
			s.report.problem(i, "review %d was spent twice: by event %d and by event %d", ev.Review, before, i)
			return
		}
		s.spent[ev.Review] = i
	}
}

func (s *story) begin(i uint64, ev doorward.Event) {
	if ev.Session == "" {
		s.report.problem(i, "a session was opened without an id")
		return
	}
	if t, ok := s.open[ev.Session]; ok {
		s.report.problem(i, "session %q was opened twice: by event %d and by event %d", ev.Session, t.index, i)
		return
	}
	s.report.Sessions++
	s.open[ev.Session] = &told{index: i}
}

func (s *story) close(i uint64, ev doorward.Event) {
	t, ok := s.open[ev.Session]
	interrupted := ev.Fields[FieldEnd] == EndInterrupted
	if !ok {
		// A server that starts marks what its own list of sessions has open.
		// A crash between that list and the ledger leaves them apart by one.
		if !interrupted {
			s.report.problem(i, "session %q was closed, but it is not open", ev.Session)
		}
		return
	}
	delete(s.open, ev.Session)
	if interrupted {
		s.list(&s.report.Interrupted, ev.Session)
	}
	orderly := !interrupted && ev.Error == "" && (ev.Reason == "" || ev.Reason == "closed")
	for _, p := range t.unknown() {
		if orderly {
			s.report.problem(p.Index, "session %q was closed in order, but how its request %d ended is not recorded", ev.Session, p.Request)
		}
		s.unknown(p)
	}
	s.seal(i, ev, t, interrupted)
}

// seal checks the session's tape.
func (s *story) seal(i uint64, ev doorward.Event, t *told, interrupted bool) {
	name := ev.Fields[tape.FieldTape]
	if ev.Fields[tape.FieldHash] == "" {
		if t.intents > 0 && !interrupted {
			why := ""
			if ev.Error != "" {
				why = ": " + clip(ev.Error)
			}
			s.report.problem(i, "session %q was closed without the seal of its tape%s", ev.Session, why)
		}
		return
	}
	if s.tapes == "" {
		return
	}
	if !filepath.IsLocal(filepath.FromSlash(name)) {
		s.report.problem(i, "session %q names a tape outside of the recordings: %q", ev.Session, name)
		return
	}
	err := tape.CheckSeal(filepath.Join(s.tapes, filepath.FromSlash(name)), ev.Fields)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		s.report.problem(i, "the tape %s of session %s is missing", name, ev.Session)
	case err != nil:
		s.report.problem(i, "the tape %s of session %s: %v", name, ev.Session, err)
	default:
		s.report.Tapes++
	}
}

func (s *story) intent(i uint64, ev doorward.Event) {
	if ev.Review != 0 {
		before, ok := s.used[ev.Review]
		now := use{ev.Session, ev.Request}
		if _, spent := s.spent[ev.Review]; !spent {
			s.report.problem(i, "request %d of session %q ran on review %d, which was not spent before", ev.Request, ev.Session, ev.Review)
		}
		// All parts of one request are written down before any of it runs: what
		// follows an outcome is another request.
		part := before.session == ev.Session && (before.request == ev.Request || before.request == ev.Request-1) && s.unanswered(before)
		if ok && !part {
			s.report.problem(i, "review %d was used twice: by request %d of session %q and by request %d of session %q", ev.Review, before.request, before.session, ev.Request, ev.Session)
		}
		s.used[ev.Review] = now
	}
	t, ok := s.open[ev.Session]
	if !ok {
		s.report.problem(i, "a request of session %q was let through, but the session is not open", ev.Session)
		return
	}
	if t.pending == nil {
		t.pending = map[uint64][]Pending{}
	}
	t.intents++
	t.pending[ev.Request] = append(t.pending[ev.Request], Pending{i, ev.Session, ev.Request, clip(ev.Text)})
}

// unanswered says that the request has no outcome yet.
func (s *story) unanswered(u use) bool {
	t := s.open[u.session]
	return t != nil && len(t.pending[u.request]) > 0
}

func clip(s string) string { return s[:min(len(s), 500)] }

func (s *story) outcome(i uint64, ev doorward.Event) {
	t, ok := s.open[ev.Session]
	if !ok || len(t.pending[ev.Request]) == 0 {
		s.report.problem(i, "request %d of session %q has an outcome, but no record that it was let through", ev.Request, ev.Session)
		return
	}
	if rest := t.pending[ev.Request][1:]; len(rest) > 0 {
		t.pending[ev.Request] = rest
	} else {
		delete(t.pending, ev.Request)
	}
}

// unknown lists the requests without an outcome, in order.
func (t *told) unknown() []Pending {
	var out []Pending
	for _, p := range t.pending {
		out = append(out, p...)
	}
	slices.SortFunc(out, func(a, b Pending) int {
		if a.Index < b.Index {
			return -1
		}
		return 1
	})
	return out
}

func (s *story) interrupt() {
	for _, id := range s.sessions() {
		s.list(&s.report.Interrupted, id)
		for _, p := range s.open[id].unknown() {
			s.unknown(p)
		}
	}
	clear(s.open)
}

// sessions lists the open sessions in the order in which they began.
func (s *story) sessions() []string {
	var ids []string
	for id := range s.open {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, func(a, b string) int {
		if s.open[a].index < s.open[b].index {
			return -1
		}
		return 1
	})
	return ids
}

func (s *story) list(to *[]string, id string) {
	if len(*to) < maxListed {
		*to = append(*to, id)
	}
}

func (s *story) unknown(p Pending) {
	if len(s.report.Unknown) < maxListed {
		s.report.Unknown = append(s.report.Unknown, p)
	}
}

func (s *story) end() {
	for _, id := range s.sessions() {
		s.list(&s.report.Open, id)
		for _, p := range s.open[id].unknown() {
			s.unknown(p)
		}
	}
}
