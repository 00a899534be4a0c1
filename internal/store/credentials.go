package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/doorward/doorward"
)

// Credentials holds what doorward issued, and what was revoked.
type Credentials interface {
	// AddCredential adds a credential; its ID and hash must be new. If it has
	// a Parent that doorward issued, the parent must not have ended: ErrConflict.
	AddCredential(ctx context.Context, c Credential) error
	// CredentialByHash gives the credential with this hash of its secret, or ErrNotFound.
	CredentialByHash(ctx context.Context, hash string) (Credential, error)
	// Credential gives the credential with this ID, or ErrNotFound.
	Credential(ctx context.Context, id string) (Credential, error)
	// Credentials lists, newest first.
	Credentials(ctx context.Context, q CredentialQuery) ([]Credential, error)
	// TouchCredential notes that the credential was used, if that is later than what is known.
	TouchCredential(ctx context.Context, id string, seen time.Time) error
	// Revoke ends what r names and everything that came from it, and keeps r
	// itself until r.Until. It returns the IDs of the credentials it ended.
	Revoke(ctx context.Context, r Revocation) ([]string, error)
	// Revocations lists what is revoked and not over at now.
	Revocations(ctx context.Context, now time.Time) ([]Revocation, error)
	// PurgeCredentials removes credentials that expired before, revocations
	// that are over, and says how many.
	PurgeCredentials(ctx context.Context, before time.Time) (int64, error)
}

// CredentialKind says what a credential is for.
type CredentialKind string

// The kinds of credentials.
const (
	PersonCredential CredentialKind = "person" // a person's own, for command line and wire
	AgentCredential  CredentialKind = "agent"  // an agent's run
	WebCredential    CredentialKind = "web"    // a console session
)

// Credential is one that doorward issued. The secret itself is nowhere.
type Credential struct {
	ID       string            `json:"id"`
	Hash     string            `json:"-"` // hex SHA-256 of the secret
	Kind     CredentialKind    `json:"kind"`
	Identity doorward.Identity `json:"identity"`
	Parent   string            `json:"parent,omitempty"` // the credential it came from; ends with it
	Task     string            `json:"task,omitempty"`
	Created  time.Time         `json:"created"`
	Expires  time.Time         `json:"expires"`
	Seen     time.Time         `json:"seen,omitzero"`
	Ended    time.Time         `json:"ended,omitzero"`
	Reason   string            `json:"reason,omitempty"` // why it ended
}

// CredentialQuery says which credentials to list.
type CredentialQuery struct {
	Kind    CredentialKind // "" for all
	Subject string         // "" for all
	Run     string         // "" for all
	Live    time.Time      // only those that are live then; zero: all
	Limit   int            // at most 1000; 200 when 0
}

// RevocationKind says what a revocation names.
type RevocationKind string

// The kinds of revocations.
const (
	RevokedCredential RevocationKind = "credential" // one credential, ours or an identity provider's
	RevokedSubject    RevocationKind = "subject"    // all of a subject's credentials up to now
)

// Revocation ends access.
type Revocation struct {
	Kind   RevocationKind
	What   string // ID of the credential, or subject
	At     time.Time
	Until  time.Time // when it may be forgotten
	Reason string
}

// AddCredential implements [Credentials].
func (s *Store) AddCredential(ctx context.Context, c Credential) error {
	if c.ID == "" || len(c.ID) > 128 || len(c.Hash) != 64 {
		return errors.New("store: a credential needs an ID and the SHA-256 of its secret")
	}
	id, err := json.Marshal(c.Identity)
	if err != nil {
		return fmt.Errorf("store: credential: %w", err)
	}
	if len(id) > 256<<10 || len(c.Task) > 16<<10 {
		return fmt.Errorf("store: the credential of %s is too large", c.Identity.Name)
	}
	_, err = do(ctx, s, func(tx *sql.Tx) (none struct{}, err error) {
		if c.Parent != "" {
			var n int
			err := tx.QueryRow(`SELECT (SELECT count(*) FROM credentials WHERE id = ? AND ended <> 0)
				+ (SELECT count(*) FROM revocations WHERE kind = 'credential' AND what = ?)`, c.Parent, c.Parent).Scan(&n)
			if err != nil {
				return none, err
			}
			if n > 0 {
				return none, ErrConflict
			}
		}
		return none, one(tx.Exec(`INSERT INTO credentials (id, hash, kind, subject, run, parent, created, expires, seen, ended, reason, identity, task)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 0, '', ?, ?) ON CONFLICT DO NOTHING`,
			c.ID, c.Hash, c.Kind, c.Identity.Subject, c.Identity.Run, c.Parent, stamp(c.Created), stamp(c.Expires), stamp(c.Seen), string(id), c.Task))
	})
	return err
}

const credentialColumns = `SELECT id, hash, kind, parent, created, expires, seen, ended, reason, identity, task FROM credentials `

func readCredentials(ctx context.Context, q querier, query string, args ...any) ([]Credential, error) {
	rows, err := q.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, fmt.Errorf("store: credentials: %w", err)
	}
	defer rows.Close()
	var out []Credential
	for rows.Next() {
		var c Credential
		var created, expires, seen, ended int64
		var id string
		if err := rows.Scan(&c.ID, &c.Hash, &c.Kind, &c.Parent, &created, &expires, &seen, &ended, &c.Reason, &id, &c.Task); err != nil {
			return nil, fmt.Errorf("store: credentials: %w", err)
		}
		if err := json.Unmarshal([]byte(id), &c.Identity); err != nil {
			return nil, fmt.Errorf("store: credential %s cannot be read: %w", c.ID, err)
		}
		c.Created, c.Expires, c.Seen, c.Ended = moment(created), moment(expires), moment(seen), moment(ended)
		out = append(out, c)
	}
	return out, rows.Err()
}

func oneCredential(cs []Credential, err error) (Credential, error) {
	if err != nil {
		return Credential{}, err
	}
	if len(cs) == 0 {
		return Credential{}, ErrNotFound
	}
	return cs[0], nil
}

// CredentialByHash implements [Credentials].
func (s *Store) CredentialByHash(ctx context.Context, hash string) (Credential, error) {
	return oneCredential(readCredentials(ctx, s.rd, credentialColumns+`WHERE hash = ?`, hash))
}

// Credential implements [Credentials].
func (s *Store) Credential(ctx context.Context, id string) (Credential, error) {
	return oneCredential(readCredentials(ctx, s.rd, credentialColumns+`WHERE id = ?`, id))
}

// Credentials implements [Credentials].
func (s *Store) Credentials(ctx context.Context, q CredentialQuery) ([]Credential, error) {
	switch {
	case q.Limit <= 0:
		q.Limit = 200
	case q.Limit > 1000:
		q.Limit = 1000
	}
	live := stamp(q.Live)
	return readCredentials(ctx, s.rd, credentialColumns+`WHERE (? = '' OR kind = ?) AND (? = '' OR subject = ?) AND (? = '' OR run = ?)
		AND (? = 0 OR (ended = 0 AND expires > ?)) ORDER BY created DESC, id DESC LIMIT ?`,
		q.Kind, q.Kind, q.Subject, q.Subject, q.Run, q.Run, live, live, q.Limit)
}

// TouchCredential implements [Credentials].
func (s *Store) TouchCredential(ctx context.Context, id string, seen time.Time) error {
	_, err := do(ctx, s, func(tx *sql.Tx) (struct{}, error) {
		_, err := tx.Exec(`UPDATE credentials SET seen = ? WHERE id = ? AND seen < ?`, stamp(seen), id, stamp(seen))
		return struct{}{}, err
	})
	return err
}

// Revoke implements [Credentials].
func (s *Store) Revoke(ctx context.Context, r Revocation) ([]string, error) {
	if r.What == "" || r.At.IsZero() || len(r.What) > 1024 {
		return nil, errors.New("store: a revocation needs what it revokes, and when")
	}
	r.Reason = cut(r.Reason, 1024)
	return do(ctx, s, func(tx *sql.Tx) ([]string, error) {
		var todo []string
		switch r.Kind {
		case RevokedCredential:
			todo = []string{r.What}
		case RevokedSubject:
			ids, err := liveIDs(tx, `SELECT id FROM credentials WHERE subject = ? AND ended = 0`, r.What)
			if err != nil {
				return nil, err
			}
			todo = ids
		default:
			return nil, fmt.Errorf("store: unknown kind of revocation %q", r.Kind)
		}
		if _, err := tx.Exec(`INSERT INTO revocations (kind, what, at, until, reason) VALUES (?, ?, ?, ?, ?)
			ON CONFLICT (kind, what) DO UPDATE SET
				at = CASE WHEN excluded.at > revocations.at THEN excluded.at ELSE revocations.at END,
				until = CASE WHEN excluded.until > revocations.until THEN excluded.until ELSE revocations.until END,
				reason = excluded.reason`, r.Kind, r.What, stamp(r.At), stamp(r.Until), r.Reason); err != nil {
			return nil, err
		}
		var ended []string
		seen := map[string]bool{}
		for len(todo) > 0 {
			id := todo[0]
			if todo = todo[1:]; seen[id] {
				continue
			}
			seen[id] = true
			children, err := liveIDs(tx, `SELECT id FROM credentials WHERE parent = ? AND ended = 0`, id)
			if err != nil {
				return nil, err
			}
			todo = append(todo, children...)
			res, err := tx.Exec(`UPDATE credentials SET ended = ?, reason = ? WHERE id = ? AND ended = 0`, stamp(r.At), r.Reason, id)
			if err != nil {
				return nil, err
			}
			if n, err := res.RowsAffected(); err != nil {
				return nil, err
			} else if n > 0 {
				ended = append(ended, id)
			}
		}
		return ended, nil
	})
}

func liveIDs(tx *sql.Tx, query string, arg string) ([]string, error) {
	rows, err := tx.Query(query, arg)
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
	return ids, rows.Err()
}

// Revocations implements [Credentials].
func (s *Store) Revocations(ctx context.Context, now time.Time) ([]Revocation, error) {
	rows, err := s.rd.QueryContext(ctx, `SELECT kind, what, at, until, reason FROM revocations WHERE until > ? ORDER BY at`, stamp(now))
	if err != nil {
		return nil, fmt.Errorf("store: revocations: %w", err)
	}
	defer rows.Close()
	var out []Revocation
	for rows.Next() {
		var r Revocation
		var at, until int64
		if err := rows.Scan(&r.Kind, &r.What, &at, &until, &r.Reason); err != nil {
			return nil, fmt.Errorf("store: revocations: %w", err)
		}
		r.At, r.Until = moment(at), moment(until)
		out = append(out, r)
	}
	return out, rows.Err()
}

// PurgeCredentials implements [Credentials].
func (s *Store) PurgeCredentials(ctx context.Context, before time.Time) (int64, error) {
	return do(ctx, s, func(tx *sql.Tx) (int64, error) {
		res, err := tx.Exec(`DELETE FROM credentials WHERE expires < ?`, stamp(before))
		if err != nil {
			return 0, err
		}
		n, err := res.RowsAffected()
		if err != nil {
			return 0, err
		}
		_, err = tx.Exec(`DELETE FROM revocations WHERE until < ?`, stamp(before))
		return n, err
	})
}
