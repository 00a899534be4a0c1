package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/doorward/doorward"
)

// Sessions is the index of sessions: which there are, whose, and how they ended.
type Sessions interface {
	// BeginSession adds a live session. The ID must be new.
	BeginSession(ctx context.Context, h doorward.Header) error
	// EndSession ends a live session; ErrConflict if it is not live.
	EndSession(ctx context.Context, id string, end SessionEnd) error
	// Session gives one session, or ErrNotFound.
	Session(ctx context.Context, id string) (SessionRow, error)
	// Sessions lists, newest first.
	Sessions(ctx context.Context, q SessionQuery) ([]SessionRow, error)
}

// SessionEnd is how a session ended.
type SessionEnd struct {
	Ended    time.Time     `json:"ended,omitzero"`
	Reason   string        `json:"reason,omitempty"` // "closed", "killed", "revoked", "interrupted", ...
	Seal     doorward.Seal `json:"seal,omitzero"`    // of its tape
	Requests int64         `json:"requests"`
	Refused  int64         `json:"refused"`
	Held     int64         `json:"held"`
	Rows     int64         `json:"rows"`
	Bytes    int64         `json:"bytes"`          // sent to the client
	Tape     string        `json:"tape,omitempty"` // its file, relative to the recordings
}

// SessionRow is a session in the index.
type SessionRow struct {
	doorward.Header
	SessionEnd
	Live bool `json:"live"`
}

// SessionQuery says which sessions to list.
type SessionQuery struct {
	Text    string    // part of the ID, name, subject, agent, run, target, protocol or address, any case
	Target  string    // exactly this target
	Subject string    // exactly this subject
	Live    bool      // only live ones
	Before  time.Time // only those that started before; zero: all
	Limit   int       // at most 500; 100 when 0
}

// BeginSession implements [Sessions].
func (s *Store) BeginSession(ctx context.Context, h doorward.Header) error {
	if h.Session == "" || len(h.Session) > 128 {
		return fmt.Errorf("store: a session needs an ID of 1 to 128 bytes")
	}
	h.Started = h.Started.UTC()
	header, err := json.Marshal(h)
	if err != nil {
		return fmt.Errorf("store: session: %w", err)
	}
	if len(header) > 64<<10 {
		return fmt.Errorf("store: the header of session %s has %d bytes, at most %d fit", h.Session, len(header), 64<<10)
	}
	search := strings.ToLower(strings.Join([]string{h.Session, h.Identity.Name, h.Identity.Subject, h.Identity.Agent, h.Identity.Run, h.Target, h.Protocol, h.Remote}, "\n"))
	_, err = do(ctx, s, func(tx *sql.Tx) (struct{}, error) {
		err := one(tx.Exec(`INSERT INTO sessions (id, subject, target, started, ended, search, header, outcome) VALUES (?, ?, ?, ?, 0, ?, ?, '') ON CONFLICT DO NOTHING`,
			h.Session, h.Identity.Subject, h.Target, stamp(h.Started), search, string(header)))
		return struct{}{}, err
	})
	return err
}

// EndSession implements [Sessions].
func (s *Store) EndSession(ctx context.Context, id string, end SessionEnd) error {
	_, err := do(ctx, s, func(tx *sql.Tx) (struct{}, error) { return struct{}{}, endSession(tx, id, end) })
	return err
}

func endSession(tx *sql.Tx, id string, end SessionEnd) error {
	if end.Ended.IsZero() {
		end.Ended = time.Now()
	}
	end.Ended = end.Ended.UTC()
	end.Reason = cut(end.Reason, 1024)
	outcome, err := json.Marshal(end)
	if err != nil {
		return fmt.Errorf("store: session: %w", err)
	}
	return one(tx.Exec(`UPDATE sessions SET ended = ?, outcome = ? WHERE id = ? AND ended = 0`, stamp(end.Ended), string(outcome), id))
}

// cut bounds a text for people, without splitting a character.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "") + "…"
}

func interruptSessions(tx *sql.Tx, now time.Time) ([]string, error) {
	rows, err := tx.Query(`SELECT id FROM sessions WHERE ended = 0`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var ids []string
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	for _, id := range ids {
		if err := endSession(tx, id, SessionEnd{Ended: now, Reason: "interrupted"}); err != nil {
			return nil, err
		}
	}
	return ids, nil
}

// Session implements [Sessions].
func (s *Store) Session(ctx context.Context, id string) (SessionRow, error) {
	rows, err := s.readSessions(ctx, `WHERE id = ?`, id)
	if err != nil {
		return SessionRow{}, err
	}
	if len(rows) == 0 {
		return SessionRow{}, ErrNotFound
	}
	return rows[0], nil
}

// Sessions implements [Sessions].
func (s *Store) Sessions(ctx context.Context, q SessionQuery) ([]SessionRow, error) {
	switch {
	case q.Limit <= 0:
		q.Limit = 100
	case q.Limit > 500:
		q.Limit = 500
	}
	var where []string
	var args []any
	add := func(cond string, arg any) { where, args = append(where, cond), append(args, arg) }
	if q.Live {
		where = append(where, `ended = 0`)
	}
	if q.Target != "" {
		add(`target = ?`, q.Target)
	}
	if q.Subject != "" {
		add(`subject = ?`, q.Subject)
	}
	if !q.Before.IsZero() {
		add(`started < ?`, stamp(q.Before))
	}
	if q.Text != "" {
		if len(q.Text) > 256 {
			return nil, fmt.Errorf("the search text has %d bytes, at most 256 are searched for", len(q.Text))
		}
		add(`search LIKE ? ESCAPE '\'`, "%"+strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`).Replace(strings.ToLower(q.Text))+"%")
	}
	cond := ""
	if len(where) > 0 {
		cond = `WHERE ` + strings.Join(where, ` AND `) + ` `
	}
	return s.readSessions(ctx, cond+`ORDER BY started DESC, id DESC LIMIT ?`, append(args, q.Limit)...)
}

func (s *Store) readSessions(ctx context.Context, rest string, args ...any) ([]SessionRow, error) {
	rows, err := s.rd.QueryContext(ctx, `SELECT ended, header, outcome FROM sessions `+rest, args...)
	if err != nil {
		return nil, fmt.Errorf("store: sessions: %w", err)
	}
	defer rows.Close()
	var out []SessionRow
	for rows.Next() {
		var ended int64
		var header, outcome string
		var r SessionRow
		if err := rows.Scan(&ended, &header, &outcome); err != nil {
			return nil, fmt.Errorf("store: sessions: %w", err)
		}
		if err := json.Unmarshal([]byte(header), &r.Header); err != nil {
			return nil, fmt.Errorf("store: a session cannot be read: %w", err)
		}
		if outcome != "" {
			if err := json.Unmarshal([]byte(outcome), &r.SessionEnd); err != nil {
				return nil, fmt.Errorf("store: session %s cannot be read: %w", r.Session, err)
			}
		}
		r.Live = ended == 0
		out = append(out, r)
	}
	return out, rows.Err()
}
