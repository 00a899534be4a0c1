package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/doorward/doorward"
)

// stateOpening is a review whose opening is not recorded yet: nobody sees it.
const stateOpening = doorward.ReviewState("opening")

// Bounds of what a review holds.
const (
	MaxStatement = 1 << 20 // bytes of statement text
	maxBody      = 4 << 20 // bytes of everything together
	maxListBytes = 8 << 20 // bytes of reviews that one listing returns
	maxOpenBytes = 8 << 20 // bytes of the open reviews of one subject
)

// Reviews holds reviews and votes. Every move is a compare-and-set.
type Reviews interface {
	// OpenReview makes a review that nobody sees yet and returns it with its
	// ID. It fails with ErrLive if one of the same digest is open, with
	// ErrLimit above the limits, or when one subject's are too large together.
	OpenReview(ctx context.Context, r doorward.Review, perSubject, overall int) (doorward.Review, error)
	// ShowReview turns an opened review into a waiting one.
	ShowReview(ctx context.Context, id int64) error
	// DropReview removes a review that was opened and never shown.
	DropReview(ctx context.Context, id int64) error
	// Review gives one review with its votes, or ErrNotFound.
	Review(ctx context.Context, id int64) (doorward.Review, error)
	// ReviewByDigest gives the newest shown review of a digest, or ErrNotFound.
	ReviewByDigest(ctx context.Context, digest string) (doorward.Review, error)
	// Reviews lists, newest first.
	Reviews(ctx context.Context, q ReviewQuery) ([]doorward.Review, error)
	// AddVote adds a vote to a review that is waiting, not expired at v.At,
	// and has exactly seen votes; and moves it to next (which may be waiting).
	// Otherwise, and for a second vote of one subject or name: ErrConflict.
	AddVote(ctx context.Context, id int64, seen int, v doorward.Vote, next doorward.ReviewState) (doorward.Review, error)
	// MoveReview moves a review as m says, or fails with ErrConflict.
	MoveReview(ctx context.Context, m ReviewMove) (doorward.Review, error)
	// ExpireReviews moves up to 100 open reviews whose time is over to
	// expired and returns them; next is when the following one is due (zero: none).
	ExpireReviews(ctx context.Context, now time.Time) (moved []doorward.Review, next time.Time, err error)
}

// ReviewQuery says which reviews to list.
type ReviewQuery struct {
	State  doorward.ReviewState // "" for all
	Before int64                // only IDs below this; 0: from the newest
	Limit  int                  // at most 200, which is also the default
}

// ReviewMove is a compare-and-set of a review's state.
type ReviewMove struct {
	ID      int64
	From    doorward.ReviewState
	To      doorward.ReviewState
	Digest  string    // must match, when not empty
	Now     time.Time // the review must not be expired then, when not zero
	Decided time.Time // when it was decided, unless it was before
}

// OpenReview implements [Reviews].
func (s *Store) OpenReview(ctx context.Context, r doorward.Review, perSubject, overall int) (doorward.Review, error) {
	if len(r.Statement) > MaxStatement {
		return r, fmt.Errorf("store: the statement has %d bytes, a review holds at most %d", len(r.Statement), MaxStatement)
	}
	r.State, r.Votes, r.ID = stateOpening, nil, 0
	body, err := json.Marshal(r)
	if err != nil {
		return r, fmt.Errorf("store: review: %w", err)
	}
	if len(body) > maxBody {
		return r, fmt.Errorf("store: the review has %d bytes, at most %d fit", len(body), maxBody)
	}
	id, err := do(ctx, s, func(tx *sql.Tx) (int64, error) {
		var all, own, live, ownBytes int
		row := tx.QueryRow(`SELECT count(*), coalesce(sum(CASE WHEN subject = ? THEN 1 ELSE 0 END), 0), coalesce(sum(CASE WHEN digest = ? THEN 1 ELSE 0 END), 0),
			coalesce(sum(CASE WHEN subject = ? THEN octet_length(body) ELSE 0 END), 0)
			FROM reviews WHERE state IN ('opening', 'waiting', 'approved')`, r.Identity.Subject, r.Digest, r.Identity.Subject)
		if err := row.Scan(&all, &own, &live, &ownBytes); err != nil {
			return 0, err
		}
		if live > 0 {
			return 0, ErrLive
		}
		if own >= perSubject || all >= overall || ownBytes+len(body) > maxOpenBytes {
			return 0, ErrLimit
		}
		var id int64
		err := tx.QueryRow(`INSERT INTO reviews (digest, state, subject, created, decided, expires, votes, body) VALUES (?, ?, ?, ?, 0, ?, 0, ?) RETURNING id`,
			r.Digest, stateOpening, r.Identity.Subject, stamp(r.Created), stamp(r.Expires), string(body)).Scan(&id)
		return id, err
	})
	r.ID = id
	return r, err
}

// ShowReview implements [Reviews].
func (s *Store) ShowReview(ctx context.Context, id int64) error {
	_, err := s.MoveReview(ctx, ReviewMove{ID: id, From: stateOpening, To: doorward.ReviewWaiting})
	return err
}

// DropReview implements [Reviews].
func (s *Store) DropReview(ctx context.Context, id int64) error {
	_, err := do(ctx, s, func(tx *sql.Tx) (struct{}, error) {
		return struct{}{}, one(tx.Exec(`DELETE FROM reviews WHERE id = ? AND state = ?`, id, stateOpening))
	})
	return err
}

// one turns "no row changed" into ErrConflict.
func one(res sql.Result, err error) error {
	if err != nil {
		return err
	}
	n, err := res.RowsAffected()
	if err != nil {
		return err
	}
	if n != 1 {
		return ErrConflict
	}
	return nil
}

// querier is what a transaction and a database have in common.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

const reviewColumns = `SELECT id, state, created, decided, expires, votes, body FROM reviews `

// readReviews runs a query that selects reviewColumns, and adds the votes. It
// stops before the bytes of a listing grow past their bound.
func readReviews(ctx context.Context, q querier, query string, args ...any) ([]doorward.Review, error) {
	rows, err := q.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []doorward.Review
	size := 0
	votes := map[int]int{}
	for rows.Next() {
		var r doorward.Review
		var state, body string
		var id, created, decided, expires int64
		var n int
		if err := rows.Scan(&id, &state, &created, &decided, &expires, &n, &body); err != nil {
			return nil, err
		}
		if size += len(body); size > maxListBytes && len(out) > 0 {
			break
		}
		if err := json.Unmarshal([]byte(body), &r); err != nil {
			return nil, fmt.Errorf("review %d cannot be read: %w", id, err)
		}
		r.ID, r.State = id, doorward.ReviewState(state)
		r.Created, r.Decided, r.Expires = moment(created), moment(decided), moment(expires)
		if n > 0 {
			votes[len(out)] = n
		}
		out = append(out, r)
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	rows.Close()
	for i, n := range votes {
		if out[i].Votes, err = readVotes(ctx, q, out[i].ID); err != nil {
			return nil, err
		}
		if len(out[i].Votes) != n {
			return nil, fmt.Errorf("review %d should have %d votes and has %d: the store is damaged", out[i].ID, n, len(out[i].Votes))
		}
	}
	return out, nil
}

func readVotes(ctx context.Context, q querier, id int64) ([]doorward.Vote, error) {
	rows, err := q.QueryContext(ctx, `SELECT body FROM votes WHERE review = ? ORDER BY number`, id)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []doorward.Vote
	for rows.Next() {
		var body string
		var v doorward.Vote
		if err := rows.Scan(&body); err != nil {
			return nil, err
		}
		if err := json.Unmarshal([]byte(body), &v); err != nil {
			return nil, fmt.Errorf("a vote of review %d cannot be read: %w", id, err)
		}
		out = append(out, v)
	}
	return out, rows.Err()
}

func oneReview(ctx context.Context, q querier, where string, args ...any) (doorward.Review, error) {
	rs, err := readReviews(ctx, q, reviewColumns+where, args...)
	if err != nil {
		return doorward.Review{}, err
	}
	if len(rs) == 0 {
		return doorward.Review{}, ErrNotFound
	}
	return rs[0], nil
}

// read runs fn in a read transaction: all of its queries see one state.
func read[T any](ctx context.Context, s *Store, fn func(querier) (T, error)) (T, error) {
	var zero T
	tx, err := s.rd.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return zero, fmt.Errorf("store: %w", err)
	}
	defer tx.Rollback()
	return fn(tx)
}

// Review implements [Reviews].
func (s *Store) Review(ctx context.Context, id int64) (doorward.Review, error) {
	return read(ctx, s, func(q querier) (doorward.Review, error) {
		return oneReview(ctx, q, `WHERE id = ? AND state <> 'opening'`, id)
	})
}

// ReviewByDigest implements [Reviews].
func (s *Store) ReviewByDigest(ctx context.Context, digest string) (doorward.Review, error) {
	return read(ctx, s, func(q querier) (doorward.Review, error) {
		return oneReview(ctx, q, `WHERE digest = ? AND state <> 'opening' ORDER BY id DESC LIMIT 1`, digest)
	})
}

// Reviews implements [Reviews].
func (s *Store) Reviews(ctx context.Context, q ReviewQuery) ([]doorward.Review, error) {
	if q.Limit <= 0 || q.Limit > 200 {
		q.Limit = 200
	}
	if q.Before <= 0 {
		q.Before = 1<<63 - 1
	}
	return read(ctx, s, func(db querier) ([]doorward.Review, error) {
		if q.State != "" {
			return readReviews(ctx, db, reviewColumns+`WHERE state = ? AND state <> 'opening' AND id < ? ORDER BY id DESC LIMIT ?`, q.State, q.Before, q.Limit)
		}
		return readReviews(ctx, db, reviewColumns+`WHERE state <> 'opening' AND id < ? ORDER BY id DESC LIMIT ?`, q.Before, q.Limit)
	})
}

// AddVote implements [Reviews].
func (s *Store) AddVote(ctx context.Context, id int64, seen int, v doorward.Vote, next doorward.ReviewState) (doorward.Review, error) {
	body, err := json.Marshal(v)
	if err != nil {
		return doorward.Review{}, fmt.Errorf("store: vote: %w", err)
	}
	if len(body) > 256<<10 {
		return doorward.Review{}, fmt.Errorf("store: the vote has %d bytes, at most %d fit", len(body), 256<<10)
	}
	var decided int64
	if next != doorward.ReviewWaiting {
		decided = stamp(v.At)
	}
	return do(ctx, s, func(tx *sql.Tx) (doorward.Review, error) {
		var none doorward.Review
		if err := one(tx.Exec(`UPDATE reviews SET state = ?, decided = ?, votes = votes + 1 WHERE id = ? AND state = 'waiting' AND votes = ? AND expires > ?`,
			next, decided, id, seen, stamp(v.At))); err != nil {
			return none, err
		}
		if err := one(tx.Exec(`INSERT INTO votes (review, number, subject, name, body) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`,
			id, seen+1, v.Subject, strings.ToLower(v.By), string(body))); err != nil {
			return none, err
		}
		return oneReview(ctx, tx, `WHERE id = ?`, id)
	})
}

// MoveReview implements [Reviews].
func (s *Store) MoveReview(ctx context.Context, m ReviewMove) (doorward.Review, error) {
	now, decided := stamp(m.Now), stamp(m.Decided)
	return do(ctx, s, func(tx *sql.Tx) (doorward.Review, error) {
		// A decision keeps its time when it is spent later.
		err := one(tx.Exec(`UPDATE reviews SET state = ?, decided = CASE WHEN decided = 0 THEN ? ELSE decided END
			WHERE id = ? AND state = ? AND (? = '' OR digest = ?) AND (? = 0 OR expires > ?)`,
			m.To, decided, m.ID, m.From, m.Digest, m.Digest, now, now))
		if err != nil {
			return doorward.Review{}, err
		}
		return oneReview(ctx, tx, `WHERE id = ?`, m.ID)
	})
}

// ExpireReviews implements [Reviews].
func (s *Store) ExpireReviews(ctx context.Context, now time.Time) ([]doorward.Review, time.Time, error) {
	due, err := read(ctx, s, func(q querier) (int64, error) { return nextExpiry(ctx, q) })
	if err != nil || due == 0 || due > stamp(now) {
		return nil, moment(due), err
	}
	type result struct {
		moved []doorward.Review
		next  int64
	}
	r, err := do(ctx, s, func(tx *sql.Tx) (r result, err error) {
		r.moved, err = readReviews(ctx, tx, reviewColumns+`WHERE state IN ('waiting', 'approved') AND expires <= ? ORDER BY expires, id LIMIT 100`, stamp(now))
		if err != nil {
			return r, err
		}
		for i := range r.moved {
			m := &r.moved[i]
			if err := one(tx.Exec(`UPDATE reviews SET state = 'expired', decided = CASE WHEN decided = 0 THEN ? ELSE decided END WHERE id = ? AND state = ?`, stamp(now), m.ID, m.State)); err != nil {
				return r, err
			}
			if m.State = doorward.ReviewExpired; m.Decided.IsZero() {
				m.Decided = moment(stamp(now))
			}
		}
		r.next, err = nextExpiry(ctx, tx)
		return r, err
	})
	return r.moved, moment(r.next), err
}

func nextExpiry(ctx context.Context, q querier) (int64, error) {
	rows, err := q.QueryContext(ctx, `SELECT min(expires) FROM reviews WHERE state IN ('waiting', 'approved')`)
	if err != nil {
		return 0, err
	}
	defer rows.Close()
	var n sql.NullInt64
	if !rows.Next() {
		return 0, errors.Join(rows.Err(), errors.New("store: no answer"))
	}
	if err := rows.Scan(&n); err != nil {
		return 0, err
	}
	return n.Int64, rows.Err()
}
