package store_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/doorward/doorward"
	"github.com/doorward/doorward/internal/store"
	"github.com/doorward/doorward/internal/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func dsn(dir string) string { return "sqlite://" + filepath.Join(dir, "state", "a b#c?.db") }

func escaped(dir string) string {
	return strings.NewReplacer("#", "%23", "?", "%3F").Replace(dsn(dir))
}

func open(t *testing.T, dir string) *store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), escaped(dir))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestContract(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Data { return open(t, t.TempDir()) })
}

func TestDSN(t *testing.T) {
	for _, bad := range []string{"", "state.db", "/var/lib/state.db", "sqlite://state.db", "sqlite://relative/state.db", "sqlite:state.db", "sqlite:///", "sqlite:///dir/",
		"sqlite:///a.db?mode=memory", "sqlite:///a.db#x", "postgres://u:hunter2@h/db", "mysql://h/db", "sqlite://u:hunter2@/x", "sqlite://%zz:hunter2"} {
		s, err := store.Open(t.Context(), bad)
		if err == nil {
			s.Close()
			t.Errorf("%q was opened", bad)
			continue
		}
		if !strings.Contains(err.Error(), "sqlite:///") || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: message %q", bad, err)
		}
	}
}

func TestFilesAreForTheOwnerAlone(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	if _, err := s.EnsureKey(t.Context(), "k", func() ([]byte, error) { return []byte("x"), nil }); err != nil {
		t.Fatal(err)
	}
	if st, _ := os.Stat(filepath.Join(dir, "state")); st.Mode().Perm() != 0o700 {
		t.Errorf("folder has mode %o", st.Mode().Perm())
	}
	files, _ := os.ReadDir(filepath.Join(dir, "state"))
	if len(files) < 4 {
		t.Errorf("only %d files", len(files))
	}
	for _, f := range files {
		if st, _ := f.Info(); st.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %o", f.Name(), st.Mode().Perm())
		}
	}
	s.Close()
	if err := os.Chmod(s.Path(), 0o644); err != nil {
		t.Fatal(err)
	}
	open(t, dir).Close()
	if st, _ := os.Stat(s.Path()); st.Mode().Perm() != 0o600 {
		t.Errorf("after opening, the file has mode %o", st.Mode().Perm())
	}
	if err := os.Chmod(s.Path()+".key", 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Open(t.Context(), escaped(dir)); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("a key file that others can read: %v", err)
	}
}

func TestOneProcessOwnsIt(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	if _, err := store.Open(t.Context(), escaped(dir)); err == nil || !strings.Contains(err.Error(), "another doorward") {
		t.Fatalf("opened twice: %v", err)
	}
	s.Close()
	open(t, dir)
}

func TestEverythingSurvivesReopening(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	ctx := t.Context()
	opened, err := s.OpenReview(ctx, storetest.NewReview(1, "corp:ada"), 9, 9)
	if err != nil {
		t.Fatal(err)
	}
	shown, err := s.OpenReview(ctx, storetest.NewReview(2, "corp:ada"), 9, 9)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.ShowReview(ctx, shown.ID), s.PutKey(ctx, "log", []byte("private")),
		s.BeginSession(ctx, doorward.Header{Session: "s1", Started: time.Now()}), s.BeginSession(ctx, doorward.Header{Session: "s2", Started: time.Now()}),
		s.EndSession(ctx, "s2", store.SessionEnd{Reason: "closed"})); err != nil {
		t.Fatal(err)
	}
	s.Close()
	if err := s.Ping(ctx); !errors.Is(err, store.ErrClosed) {
		t.Errorf("a closed store: %v", err)
	}
	s = open(t, dir)
	if _, err := s.Review(ctx, shown.ID); err != nil {
		t.Errorf("the review: %v", err)
	}
	// The one that was never shown is gone, and holds nobody up.
	again, err := s.OpenReview(ctx, storetest.NewReview(1, "corp:ada"), 9, 9)
	if err != nil || again.ID <= opened.ID {
		t.Errorf("open again: %v, ID %d after %d", err, again.ID, opened.ID)
	}
	if v, err := s.Key(ctx, "log"); err != nil || string(v) != "private" {
		t.Errorf("the key: %q, %v", v, err)
	}
	if got := s.Interrupted(); len(got) != 1 || got[0] != "s1" {
		t.Errorf("interrupted: %v", got)
	}
	if r, err := s.Session(ctx, "s1"); err != nil || r.Live || r.Reason != "interrupted" || r.Ended.IsZero() {
		t.Errorf("the session that was open: %+v, %v", r, err)
	}
	if r, err := s.Session(ctx, "s2"); err != nil || r.Reason != "closed" {
		t.Errorf("the session that was closed: %+v, %v", r, err)
	}
}

func TestKeysAreSealed(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	secret := []byte("-----this-must-not-be-on-disk-----")
	if err := errors.Join(s.PutKey(t.Context(), "a", secret), s.PutKey(t.Context(), "b", []byte("other"))); err != nil {
		t.Fatal(err)
	}
	s.Close()
	files, _ := filepath.Glob(filepath.Join(dir, "state", "*"))
	for _, f := range files {
		if b, _ := os.ReadFile(f); bytes.Contains(b, secret) {
			t.Errorf("%s holds the key in clear", f)
		}
	}
	// A sealed key under another name, and a changed one, do not open.
	db, err := sql.Open("sqlite", "file:"+strings.NewReplacer("#", "%23", "?", "%3f").Replace(s.Path()))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec(`UPDATE secrets SET sealed = (SELECT sealed FROM secrets WHERE name = 'a') WHERE name = 'b'`); err != nil {
		t.Fatal(err)
	}
	db.Close()
	s = open(t, dir)
	if v, err := s.Key(t.Context(), "b"); err == nil {
		t.Errorf("a swapped key opened: %q", v)
	}
	s.Close()
	if err := os.Remove(s.Path() + ".key"); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Open(t.Context(), escaped(dir)); err == nil || !strings.Contains(err.Error(), "missing") {
		t.Errorf("without its key file: %v", err)
	}
}

func TestStrangeFilesAreRefused(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "x.db")
	if err := os.WriteFile(path, []byte(strings.Repeat("not a database ", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Open(t.Context(), "sqlite://"+path); err == nil {
		t.Error("a text file was opened")
	}
	if _, err := store.Open(t.Context(), "sqlite://"+dir); err == nil {
		t.Error("a folder was opened")
	}
	newer := filepath.Join(dir, "newer.db")
	db, _ := sql.Open("sqlite", newer)
	if _, err := db.Exec(`CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL); INSERT INTO meta VALUES ('schema', 999)`); err != nil {
		t.Fatal(err)
	}
	db.Close()
	if _, err := store.Open(t.Context(), "sqlite://"+newer); err == nil || !strings.Contains(err.Error(), "newer doorward") {
		t.Errorf("a newer schema: %v", err)
	}
}

// TestWritesShareCommits: many writers at once must not wait for a disk flush each.
func TestWritesShareCommits(t *testing.T) {
	s := open(t, t.TempDir())
	const n = 500
	begin := time.Now()
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			if err := s.BeginSession(t.Context(), doorward.Header{Session: fmt.Sprint(i), Started: time.Now()}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	t.Logf("%d sessions in %s", n, time.Since(begin))
	rows, err := s.Sessions(t.Context(), store.SessionQuery{Live: true, Limit: n})
	if err != nil || len(rows) != n {
		t.Fatalf("%d sessions, %v", len(rows), err)
	}
}

// TestCloseUnderLoad: every write is answered, none hangs.
func TestCloseUnderLoad(t *testing.T) {
	s := open(t, t.TempDir())
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var wg sync.WaitGroup
	kept := make([]bool, 300)
	for i := range kept {
		wg.Go(func() {
			err := s.BeginSession(ctx, doorward.Header{Session: fmt.Sprint(i), Started: time.Now()})
			if err != nil && !errors.Is(err, store.ErrClosed) {
				t.Error(err)
			}
			kept[i] = err == nil
		})
	}
	time.Sleep(time.Millisecond)
	s.Close()
	wg.Wait()
	s2, err := store.Open(ctx, "sqlite://"+strings.NewReplacer("#", "%23", "?", "%3F").Replace(s.Path()))
	if err != nil {
		t.Fatal(err)
	}
	defer s2.Close()
	for i, ok := range kept {
		if _, err := s2.Session(ctx, fmt.Sprint(i)); ok && err != nil {
			t.Errorf("session %d was confirmed and is not there: %v", i, err)
		}
	}
}
