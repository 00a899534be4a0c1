package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	_ "modernc.org/sqlite" // the database/sql driver "sqlite"
)

// Errors that callers tell apart.
var (
	// ErrNotFound says that there is no such row.
	ErrNotFound = errors.New("not found")
	// ErrConflict says that the row is no longer as the caller believed: look again.
	ErrConflict = errors.New("changed in the meantime")
	// ErrLive says that a review of this digest is open already.
	ErrLive = errors.New("a review of this request is open already")
	// ErrLimit says that there are too many open reviews.
	ErrLimit = errors.New("too many open reviews")
	// ErrClosed says that the store was closed.
	ErrClosed = errors.New("the store is closed")
)

// Data is everything that a store holds. A new kind of store implements it and
// passes storetest.Run.
type Data interface {
	Reviews
	Sessions
	Credentials
	Keys
	// Ping reports whether the store can be written to, for readiness checks.
	Ping(context.Context) error
	// Close ends all work; writes that were not yet answered fail.
	Close() error
}

var _ Data = (*Store)(nil)

const (
	queueLength = 1024             // writes waiting for the one writer
	batchLength = 128              // writes that share one commit
	commitLimit = 30 * time.Second // the longest that one commit may take
)

// Store is the embedded SQLite store. One process owns the file (a lock beside
// it holds others off), one goroutine writes, and writes that arrive together
// share one synchronous commit.
type Store struct {
	path  string
	wr    *sql.DB // one connection
	rd    *sql.DB // a few connections, which cannot write
	lock  *os.File
	seal  *sealer
	queue chan job
	done  chan struct{} // the writer has ended

	mu     sync.RWMutex
	closed bool

	interrupted []string // sessions that the process before left open
}

// job is one write on its way to the writer.
type job struct {
	ctx  context.Context
	run  func(*sql.Tx) error
	done func(error)
}

// Open opens or makes the store that dsn names: "sqlite:///absolute/path". It
// brings the schema up to date, marks sessions that an earlier process left
// open as ended ("interrupted"), and drops reviews whose opening was never
// recorded. The directory is made with mode 0700, the files with mode 0600.
func Open(ctx context.Context, dsn string) (*Store, error) {
	path, err := sqlitePath(dsn)
	if err != nil {
		return nil, err
	}
	if err := prepareFile(path); err != nil {
		return nil, err
	}
	lock, err := lockFile(path + ".lock")
	if err != nil {
		return nil, err
	}
	s := &Store{path: path, lock: lock, queue: make(chan job, queueLength), done: make(chan struct{})}
	if err := s.open(ctx); err != nil {
		s.closeFiles()
		return nil, err
	}
	go s.writer()
	if err := s.recover(ctx); err != nil {
		_ = s.Close()
		return nil, fmt.Errorf("store %s: recover: %w", path, err)
	}
	return s, nil
}

// sqlitePath gives the file of a DSN, or says what a DSN looks like.
func sqlitePath(dsn string) (string, error) {
	const want = `want "sqlite:///absolute/path/state.db"`
	u, err := url.Parse(dsn)
	switch {
	case err != nil:
		// The parser's message would repeat the DSN, which may hold a password.
		return "", fmt.Errorf("store address cannot be read: %s", want)
	case u.Scheme == "postgres" || u.Scheme == "postgresql":
		return "", fmt.Errorf("store address: this version keeps its state in SQLite only, not in PostgreSQL: %s", want)
	case u.Scheme != "sqlite":
		return "", fmt.Errorf("store address: unknown kind %q: %s", u.Scheme, want)
	case u.Host != "" || u.User != nil || u.Opaque != "":
		return "", fmt.Errorf("store address: the path must be absolute, with three slashes: %s", want)
	case u.RawQuery != "" || u.Fragment != "":
		return "", fmt.Errorf("store address: takes no options after the path (write %%3F for a question mark in a name): %s", want)
	case !filepath.IsAbs(u.Path) || strings.HasSuffix(u.Path, "/") || strings.ContainsRune(u.Path, 0):
		return "", fmt.Errorf("store address: the path must be an absolute path of a file: %s", want)
	}
	return filepath.Clean(u.Path), nil
}

func prepareFile(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("store: make folder: %w", err)
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("store: open file: %w (may this user write there?)", err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return fmt.Errorf("store: %w", err)
	}
	if !st.Mode().IsRegular() {
		return fmt.Errorf("store: %s is not a regular file", path)
	}
	if st.Mode().Perm()&0o077 != 0 {
		if err := f.Chmod(0o600); err != nil {
			return fmt.Errorf("store: %s can be read by others, and that could not be changed: %w (run: chmod 600 %s)", path, err, path)
		}
	}
	return nil
}

func (s *Store) open(ctx context.Context) error {
	pragmas := func(extra ...string) string {
		q := url.Values{"_txlock": {"immediate"}, "_pragma": append([]string{"busy_timeout(10000)", "journal_mode(WAL)", "synchronous(FULL)", "foreign_keys(1)", "trusted_schema(0)"}, extra...)}
		return (&url.URL{Scheme: "file", OmitHost: true, Path: s.path, RawQuery: q.Encode()}).String()
	}
	var err error
	if s.wr, err = sql.Open("sqlite", pragmas()); err != nil {
		return fmt.Errorf("store %s: %w", s.path, err)
	}
	s.wr.SetMaxOpenConns(1)
	s.wr.SetMaxIdleConns(1)
	if err := migrate(ctx, s.wr); err != nil {
		return fmt.Errorf("store %s: %w", s.path, err)
	}
	if s.rd, err = sql.Open("sqlite", pragmas("query_only(1)")); err != nil {
		return fmt.Errorf("store %s: %w", s.path, err)
	}
	s.rd.SetMaxOpenConns(4)
	s.rd.SetMaxIdleConns(4)
	if s.seal, err = openSealer(ctx, s.path+".key", s.rd); err != nil {
		return fmt.Errorf("store %s: %w", s.path, err)
	}
	return nil
}

// recover tidies up after a process that ended without a word.
func (s *Store) recover(ctx context.Context) error {
	ids, err := do(ctx, s, func(tx *sql.Tx) ([]string, error) {
		if _, err := tx.Exec(`DELETE FROM reviews WHERE state = ?`, stateOpening); err != nil {
			return nil, err
		}
		return interruptSessions(tx, time.Now())
	})
	s.interrupted = ids
	return err
}

// Interrupted lists the sessions that Open found open, from a process that
// ended without closing them.
func (s *Store) Interrupted() []string { return s.interrupted }

// Path is the database file.
func (s *Store) Path() string { return s.path }

// Ping reports whether a write goes through.
func (s *Store) Ping(ctx context.Context) error {
	_, err := do(ctx, s, func(tx *sql.Tx) (struct{}, error) {
		_, err := tx.Exec(`UPDATE meta SET value = value WHERE name = 'schema'`)
		return struct{}{}, err
	})
	return err
}

// Close ends the writer and closes the files. It may be called twice.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	close(s.queue)
	s.mu.Unlock()
	<-s.done
	return s.closeFiles()
}

func (s *Store) closeFiles() error {
	var errs []error
	if s.rd != nil {
		errs = append(errs, s.rd.Close())
	}
	if s.wr != nil {
		errs = append(errs, s.wr.Close())
	}
	if s.lock != nil {
		errs = append(errs, s.lock.Close())
	}
	return errors.Join(errs...)
}

// do runs fn in the writer's transaction and returns once it is committed, or
// once ctx ends; in the second case the write may still happen, and the error
// says so. The value comes only with a nil error.
func do[T any](ctx context.Context, s *Store, fn func(*sql.Tx) (T, error)) (T, error) {
	type result struct {
		v   T
		err error
	}
	var zero, v T
	ch := make(chan result, 1)
	j := job{
		ctx:  ctx,
		run:  func(tx *sql.Tx) (err error) { v, err = fn(tx); return err },
		done: func(err error) { ch <- result{v, err} },
	}
	s.mu.RLock()
	if s.closed {
		s.mu.RUnlock()
		return zero, ErrClosed
	}
	select {
	case s.queue <- j:
		s.mu.RUnlock()
	case <-ctx.Done():
		s.mu.RUnlock()
		return zero, fmt.Errorf("store: busy, nothing was written: %w", context.Cause(ctx))
	}
	select {
	case r := <-ch:
		if r.err != nil {
			return zero, r.err
		}
		return r.v, nil
	case <-ctx.Done():
		return zero, fmt.Errorf("store: gave up waiting for the disk, the write may still happen: %w", context.Cause(ctx))
	}
}

// writer is the one goroutine that writes.
func (s *Store) writer() {
	defer close(s.done)
	batch := make([]job, 0, batchLength)
	for j := range s.queue {
		batch = append(batch[:0], j)
	more:
		for len(batch) < batchLength {
			select {
			case j, ok := <-s.queue:
				if !ok {
					break more
				}
				batch = append(batch, j)
			default:
				break more
			}
		}
		s.commit(batch)
	}
}

// commit runs a batch in one transaction. A write that fails is undone alone;
// a commit that fails, fails all of them.
func (s *Store) commit(batch []job) {
	errs := make([]error, len(batch))
	err := s.runBatch(batch, errs)
	for i, j := range batch {
		if errs[i] == nil && err != nil {
			errs[i] = fmt.Errorf("store %s: %w", s.path, err)
		}
		j.done(errs[i])
	}
}

func (s *Store) runBatch(batch []job, errs []error) error {
	ctx, cancel := context.WithTimeout(context.Background(), commitLimit)
	defer cancel()
	tx, err := s.wr.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() // after Commit this does nothing
	for i, j := range batch {
		if j.ctx.Err() != nil {
			errs[i] = fmt.Errorf("store: nothing was written: %w", context.Cause(j.ctx))
			continue
		}
		if _, err := tx.Exec(`SAVEPOINT one`); err != nil {
			return err
		}
		if errs[i] = j.run(tx); errs[i] != nil {
			if _, err := tx.Exec(`ROLLBACK TO one`); err != nil {
				return err
			}
		}
		if _, err := tx.Exec(`RELEASE one`); err != nil {
			return err
		}
	}
	return tx.Commit()
}

// stamp and moment keep times as nanoseconds since 1970 in UTC; 0 is no time.
func stamp(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

func moment(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.Unix(0, n).UTC()
}
