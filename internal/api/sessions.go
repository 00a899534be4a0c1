package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/doorward/doorward"
	"github.com/doorward/doorward/internal/replay"
	"github.com/doorward/doorward/internal/store"
)

const tapeTime = 10 * time.Minute // to send one recording

type sessionsInput struct {
	Q      string `query:"q" maxLength:"256" doc:"part of a name, agent, target, run or session id"`
	Target string `query:"target" maxLength:"128"`
	Live   bool   `query:"live" doc:"only those that are open now"`
	Limit  int    `query:"limit" minimum:"1" maximum:"500" default:"100"`
	Before string `query:"before" format:"date-time" doc:"only those that began before, for the next page"`
}

type sessionsOutput struct{ Body []Session }

func (s *server) sessions(ctx context.Context, in *sessionsInput) (*sessionsOutput, error) {
	c, err := asking(ctx)
	if err != nil {
		return nil, err
	}
	q := store.SessionQuery{Text: in.Q, Target: in.Target, Live: in.Live, Limit: in.Limit}
	if !s.admin(c.id) {
		q.Subject = c.id.Subject
	}
	if in.Before != "" {
		if q.Before, err = time.Parse(time.RFC3339, in.Before); err != nil {
			return nil, problem(http.StatusUnprocessableEntity, "before is not a time", "Write it like 2026-01-02T15:04:05Z.")
		}
	}
	rows, err := s.Store.Sessions(ctx, q)
	if err != nil {
		return nil, s.fault(ctx, "the sessions cannot be read", err)
	}
	live := s.liveSessions()
	out := &sessionsOutput{Body: make([]Session, 0, len(rows))}
	for _, r := range rows {
		out.Body = append(out.Body, fromRow(r, live))
	}
	return out, nil
}

// liveSessions is what the gate knows of open sessions, by id.
func (s *server) liveSessions() map[string]LiveSession {
	m := map[string]LiveSession{}
	for _, l := range s.Live.Sessions() {
		m[l.ID] = l
	}
	return m
}

func fromRow(r store.SessionRow, live map[string]LiveSession) Session {
	v := Session{ID: r.Session, Identity: r.Identity, Target: r.Target, Protocol: r.Protocol, Remote: r.Remote, Started: r.Started,
		Ended: r.Ended, Why: r.Reason, Live: r.Live, Requests: r.Requests, Rows: r.Rows, Bytes: r.Bytes, Refused: r.Refused}
	if l, ok := live[r.Session]; ok && r.Live {
		v.Requests = l.Requests
	}
	return v
}

type sessionInput struct {
	ID string `path:"id" maxLength:"128" pattern:"^[A-Za-z0-9._-]+$"`
}

type sessionOutput struct{ Body Session }

func (s *server) session(ctx context.Context, in *sessionInput) (*sessionOutput, error) {
	_, row, err := s.visibleSession(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	return &sessionOutput{Body: fromRow(row, s.liveSessions())}, nil
}

// visibleSession gives a session that the caller may see. One that they may
// not see answers as one that does not exist.
func (s *server) visibleSession(ctx context.Context, id string) (*caller, store.SessionRow, error) {
	c, err := asking(ctx)
	if err != nil {
		return nil, store.SessionRow{}, err
	}
	row, err := s.Store.Session(ctx, id)
	if errors.Is(err, store.ErrNotFound) || (err == nil && !s.seesIdentity(c.id, row.Identity)) {
		return nil, store.SessionRow{}, problem(http.StatusNotFound, "there is no session "+clip(id, 128)+" that you may see", "People see their own sessions and their agents'; administrators see all.")
	}
	if err != nil {
		return nil, store.SessionRow{}, s.fault(ctx, "the session cannot be read", err)
	}
	return c, row, nil
}

// viewing writes down that the caller looks at a recording, before they do.
func (s *server) viewing(ctx context.Context, id, how string) error {
	c, row, err := s.visibleSession(ctx, id)
	if err != nil {
		return err
	}
	if wait, ok := s.views.take(c.id.Subject); !ok {
		return tooMany("too many recordings were asked for", wait)
	}
	ev := s.event(doorward.EventReplayed, c.id)
	ev.Session, ev.Target, ev.Protocol = row.Session, row.Target, row.Protocol
	ev.Fields = map[string]string{"how": how, "owner": row.Identity.String()}
	if err := s.record(ctx, ev); err != nil {
		return s.fault(ctx, "the recording cannot be shown, because that cannot be written down", err)
	}
	return nil
}

func tooMany(detail string, wait time.Duration) error {
	secs := fmt.Sprint(int(wait.Seconds()) + 1)
	return huma.ErrorWithHeaders(problem(http.StatusTooManyRequests, detail, "Try again in "+secs+" s."), http.Header{"Retry-After": {secs}})
}

type timelineOutput struct{ Body *Timeline }

func (s *server) timeline(ctx context.Context, in *sessionInput) (*timelineOutput, error) {
	if err := s.viewing(ctx, in.ID, "timeline"); err != nil {
		return nil, err
	}
	t, err := s.Replay(ctx, in.ID)
	if errors.Is(err, replay.ErrNotFound) {
		return nil, noRecording()
	}
	if err != nil {
		return nil, s.fault(ctx, "the recording cannot be read", err)
	}
	return &timelineOutput{Body: t}, nil
}

func noRecording() *Problem {
	return problem(http.StatusNotFound, "there is no recording of this session", "It may have been moved away. The audit log still has what happened.")
}

type tapeInput struct {
	ID     string `path:"id" maxLength:"128" pattern:"^[A-Za-z0-9._-]+$"`
	Format string `query:"format" enum:"asciicast,json" default:"asciicast"`
}

func (s *server) tape(ctx context.Context, in *tapeInput) (*huma.StreamResponse, error) {
	if err := s.viewing(ctx, in.ID, in.Format); err != nil {
		return nil, err
	}
	return &huma.StreamResponse{Body: func(hc huma.Context) {
		r, w := humago.Unwrap(hc)
		name, kind := in.ID+".json", "application/json"
		if in.Format == "asciicast" {
			name, kind = in.ID+".cast", "application/x-asciicast"
		}
		if err := http.NewResponseController(w).SetWriteDeadline(time.Now().Add(tapeTime)); err != nil {
			s.log.Debug("no write deadline on this connection", "error", err)
		}
		out := &countingWriter{w: w, head: func() {
			w.Header().Set("Content-Type", kind)
			w.Header().Set("Content-Disposition", fmt.Sprintf("attachment; filename=%q", name))
		}}
		err := s.Tape(r.Context(), in.ID, in.Format, out)
		switch {
		case err == nil && out.n == 0:
			out.head()
		case errors.Is(err, replay.ErrNotFound) && out.n == 0:
			writeProblem(w, noRecording())
		case err != nil && out.n == 0:
			s.log.Error("a recording cannot be read", "session", in.ID, "error", err)
			writeProblem(w, problem(http.StatusInternalServerError, "the recording cannot be read", "The server's log says more."))
		case err != nil:
			s.log.Error("a recording was cut off while it was sent", "session", in.ID, "error", err)
			panic(http.ErrAbortHandler) // so that the client sees that it is not whole
		}
	}}, nil
}

// countingWriter sets the headers with the first byte, so that an error before
// it can still be a proper answer.
type countingWriter struct {
	w    http.ResponseWriter
	head func()
	n    int64
}

// Write implements io.Writer.
func (c *countingWriter) Write(p []byte) (int, error) {
	if c.n == 0 {
		c.head()
	}
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

type noBody struct{}

func (s *server) kill(ctx context.Context, in *sessionInput) (*noBody, error) {
	c, row, err := s.visibleSession(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	open := slices.ContainsFunc(s.Live.Sessions(), func(l LiveSession) bool { return l.ID == in.ID })
	if !row.Live || !open {
		return nil, problem(http.StatusConflict, "the session has ended already", "GET /api/v1/sessions?live=true lists the open ones.")
	}
	if err := s.Live.Kill(in.ID, c.id.Name); err != nil {
		return nil, s.fault(ctx, "the session could not be ended", err)
	}
	s.log.Info("a session was ended", "session", in.ID, "by", c.id.Name)
	return &noBody{}, nil
}

// event starts an event of the caller's doing.
func (s *server) event(kind doorward.EventKind, id doorward.Identity) doorward.Event {
	return doorward.Event{Time: time.Now().UTC(), Kind: kind, Name: id.Name, Subject: id.Subject, Agent: id.Agent, Run: id.Run, Protocol: "http"}
}

// record makes an event durable.
func (s *server) record(ctx context.Context, ev doorward.Event) error {
	ctx, done := context.WithTimeout(ctx, 10*time.Second)
	defer done()
	r, err := s.Ledger.Append(ctx, ev)
	if err != nil {
		return err
	}
	_, err = r.Wait(ctx)
	return err
}
