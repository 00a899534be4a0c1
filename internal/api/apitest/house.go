package apitest

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/doorward/doorward"
	"github.com/doorward/doorward/internal/api"
	"github.com/doorward/doorward/internal/identity"
	"github.com/doorward/doorward/internal/ledger"
	"github.com/doorward/doorward/internal/replay"
	"github.com/doorward/doorward/internal/review"
	"github.com/doorward/doorward/internal/store"
	"github.com/doorward/doorward/internal/tape"
)

// House is a running server and the rooms behind it.
type House struct {
	URL      string
	CA       string // PEM
	Dir      string
	Store    *store.Store
	Ledger   *ledger.Log
	Reviews  *review.Service
	Identity *identity.Service
	Recorder *tape.Recorder
	Live     *Live
	Log      *Logged
	Server   *httptest.Server
}

// People and their passwords, all of the local provider "local".
var People = []identity.User{
	{Name: "ada", Password: "ada's password", Groups: []string{"engineers"}},
	{Name: "ben", Password: "ben's password", Groups: []string{"engineers"}},
	{Name: "dora", Password: "dora's password", Groups: []string{"dba"}},
	{Name: "sam", Password: "sam's password", Groups: []string{"security"}},
}

// Live is what the gate would say of open sessions.
type Live struct {
	mu     sync.Mutex
	open   []api.LiveSession
	Killed []string // "ID by NAME"
}

// Sessions lists the open sessions.
func (l *Live) Sessions() []api.LiveSession {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.open)
}

// Kill ends one.
func (l *Live) Kill(id, by string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := len(l.open)
	l.open = slices.DeleteFunc(l.open, func(s api.LiveSession) bool { return s.ID == id })
	if len(l.open) == n {
		return errors.New("no such session")
	}
	l.Killed = append(l.Killed, id+" by "+by)
	return nil
}

// Open adds one.
func (l *Live) Open(s api.LiveSession) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open = append(l.open, s)
}

// Logged keeps everything that was logged.
type Logged struct {
	mu   sync.Mutex
	text []byte
}

// Write implements io.Writer.
func (l *Logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = append(l.text, p...)
	return len(p), nil
}

// String is all of it.
func (l *Logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(l.text)
}

// Start builds the house. change, where not nil, may change the API's
// dependencies before it starts.
func Start(t testing.TB, change func(*api.Deps)) *House {
	t.Helper()
	ctx := t.Context()
	dir := t.TempDir()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	h := &House{Dir: dir, Live: &Live{}, Log: &Logged{}}
	log := slog.New(slog.NewTextHandler(h.Log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	var err error
	h.Store, err = store.Open(ctx, "sqlite://"+filepath.Join(dir, "state.db"))
	must(err)
	h.Ledger, err = ledger.Open(filepath.Join(dir, "ledger"), ledger.Options{})
	must(err)
	h.Reviews, err = review.New(h.Store, review.Options{Ledger: h.Ledger, URL: "https://doorward.example", Log: log})
	must(err)
	h.Identity, err = identity.New(ctx, identity.Config{Providers: []identity.Provider{{Name: "local", Local: &identity.Local{Users: People}}}}, h.Store, identity.Options{Ledger: h.Ledger, Log: log})
	must(err)
	tapes := filepath.Join(dir, "tapes")
	h.Recorder = tape.NewRecorder(tapes, tape.Options{})
	h.Server = httptest.NewUnstartedServer(nil)
	deps := api.Deps{
		Identity: h.Identity, Reviews: h.Reviews, Store: h.Store, Ledger: h.Ledger, Live: h.Live, Log: log,
		Replay: func(ctx context.Context, session string) (*api.Timeline, error) {
			r, err := replay.Open(tapes, session)
			if err != nil {
				return nil, err
			}
			return r.Timeline(ctx)
		},
		Tape: func(ctx context.Context, session, format string, w io.Writer) error {
			r, err := replay.Open(tapes, session)
			switch {
			case err != nil:
				return err
			case format == "json":
				return r.JSON(ctx, w)
			}
			return r.Asciicast(ctx, w)
		},
		Verify: func(context.Context) (api.Audit, error) {
			r, err := ledger.Verify(h.Ledger.Dir(), ledger.VerifyOptions{})
			if err != nil {
				return api.Audit{}, err
			}
			a := api.Audit{Size: r.Size, Root: r.Root, OK: r.OK}
			for _, p := range r.Problems {
				a.Problems = append(a.Problems, p.What)
			}
			return a, nil
		},
		SSH: func(string, doorward.Identity) (api.SSHAccess, error) { return api.SSHAccess{}, api.ErrNoSSH },
		Targets: func() []api.TargetInfo {
			return []api.TargetInfo{
				{Name: "orders-db", Protocol: "postgres", Host: "127.0.0.1", Port: 15432, CAPEM: h.CA},
				{Name: "secret-db", Protocol: "postgres", Host: "127.0.0.1", Port: 15432, CAPEM: h.CA},
			}
		},
		Reaches: func(id *doorward.Identity, target string) bool {
			return target == "orders-db" || slices.Contains(id.Groups, "security")
		},
		Ready:   func() error { return h.Store.Ping(context.Background()) },
		Console: fstest.MapFS{"index.html": {Data: []byte("<!doctype html><title>doorward</title>")}, "assets/app-1a2b.js": {Data: []byte("1")}},
		Hosts:   []string{"doorward.example"},
		Admins:  []string{"security"},
		Version: "test",
	}
	if change != nil {
		change(&deps)
	}
	handler, err := api.New(deps)
	must(err)
	h.Server.Config = api.Server(handler, log)
	h.Server.EnableHTTP2 = true
	h.Server.StartTLS()
	h.URL = h.Server.URL
	h.CA = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: h.Server.Certificate().Raw}))
	t.Cleanup(func() {
		h.Server.CloseClientConnections()
		h.Server.Close()
		must(h.Reviews.Close())
		must(h.Identity.Close())
		must(h.Ledger.Close())
		must(h.Store.Close())
	})
	return h
}

// Person gives the identity of one of the People, and a token of theirs.
func (h *House) Person(t testing.TB, name string) (doorward.Identity, string) {
	t.Helper()
	id, err := h.Identity.SignIn(t.Context(), "local", name, name+"'s password")
	if err != nil {
		t.Fatal(err)
	}
	token, _, err := h.Identity.Issue(t.Context(), id, 0)
	if err != nil {
		t.Fatal(err)
	}
	id, err = h.Identity.Identify(t.Context(), doorward.Credential{Protocol: "test", Secret: token, Secure: true})
	if err != nil {
		t.Fatal(err)
	}
	return id, token
}

// Agent gives the identity and the token of an agent of a person's.
func (h *House) Agent(t testing.TB, person string) (doorward.Identity, string) {
	t.Helper()
	id, _ := h.Person(t, person)
	_, token, err := h.Identity.StartRun(t.Context(), id, identity.RunRequest{Agent: "codex", Task: "a test"})
	if err != nil {
		t.Fatal(err)
	}
	id, err = h.Identity.Identify(t.Context(), doorward.Credential{Protocol: "test", Secret: token, Secure: true})
	if err != nil {
		t.Fatal(err)
	}
	return id, token
}

// Review files one that waits for a dba.
func (h *House) Review(t testing.TB, id doorward.Identity, statement string) doorward.Review {
	t.Helper()
	r, err := h.Reviews.File(t.Context(), doorward.Review{
		Digest: doorward.Digest("orders-db", id, statement, nil, "", -1), Identity: id, Target: "orders-db", Protocol: "postgres", Session: "s1",
		Statement: statement, Summary: doorward.Summary{Verbs: []string{"update"}, Bound: -1, Complete: true},
		Rule: "writes", Reason: "writes need a yes", Reviewers: []doorward.Quorum{{Groups: []string{"dba"}, Count: 1}}, Policy: "p1",
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// Session records a session of one request, and leaves it open or not.
func (h *House) Session(t testing.TB, session string, id doorward.Identity, statement string, open bool) {
	t.Helper()
	head := doorward.Header{Session: session, Identity: id, Target: "orders-db", Protocol: "postgres", Remote: "127.0.0.1:1", Started: time.Now().UTC()}
	if err := h.Store.BeginSession(t.Context(), head); err != nil {
		t.Fatal(err)
	}
	tp, err := h.Recorder.Open(t.Context(), head)
	if err != nil {
		t.Fatal(err)
	}
	request, err := json.Marshal(doorward.RequestRecord{Statement: statement, Decision: "allow", Rule: "reads"})
	if err != nil {
		t.Fatal(err)
	}
	for i, f := range []doorward.Frame{
		{Kind: doorward.FrameRequest, Data: request},
		{Kind: doorward.FrameNote, Data: []byte("a note from doorward")},
		{Kind: doorward.FrameOutcome, Data: []byte(`{"rows":3,"bytes":30,"took":1000000}`)},
	} {
		f.Request, f.At = 1, head.Started.Add(time.Duration(i)*time.Millisecond)
		if err := tp.Write(f); err != nil {
			t.Fatal(err)
		}
	}
	seal, err := tp.Close()
	if err != nil {
		t.Fatal(err)
	}
	if open {
		h.Live.Open(api.LiveSession{ID: session, Identity: id, Target: "orders-db", Protocol: "postgres", Started: head.Started, Requests: 1})
		return
	}
	if err := h.Store.EndSession(t.Context(), session, store.SessionEnd{Ended: time.Now(), Reason: "closed", Seal: seal, Requests: 1, Rows: 3, Bytes: 30}); err != nil {
		t.Fatal(err)
	}
}

// Events gives all events of a kind.
func (h *House) Events(t testing.TB, kind doorward.EventKind) []doorward.Event {
	t.Helper()
	var out []doorward.Event
	err := h.Ledger.Read(t.Context(), 0, func(_ uint64, ev doorward.Event) error {
		if ev.Kind == kind {
			out = append(out, ev)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}
