package identity

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/doorward/doorward"
	"github.com/doorward/doorward/internal/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// journal is a ledger in memory that can fail.
type journal struct {
	mu     sync.Mutex
	events []doorward.Event
	broken error
}

func (j *journal) Append(_ context.Context, ev doorward.Event) (doorward.Receipt, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.broken == nil {
		j.events = append(j.events, ev)
	}
	return receipt{j.broken}, nil
}

func (j *journal) last(t *testing.T, kind doorward.EventKind) doorward.Event {
	t.Helper()
	j.mu.Lock()
	defer j.mu.Unlock()
	for i := len(j.events) - 1; i >= 0; i-- {
		if j.events[i].Kind == kind {
			return j.events[i]
		}
	}
	t.Fatalf("no event %s", kind)
	return doorward.Event{}
}

type receipt struct{ err error }

func (r receipt) Wait(context.Context) (uint64, error) { return 0, r.err }

// lines is where the log goes.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

type world struct {
	*Service
	t       *testing.T
	dir     string
	store   *store.Store
	journal *journal
	log     *lines
	ahead   atomic.Int64 // the clock is ahead by this
	client  *http.Client
	idp     *idp
}

// providers of most tests: an issuer for people, one for jobs, a local one.
func (w *world) providers() []Provider {
	ps := []Provider{{Name: "local", Local: &Local{Users: []User{
		{Name: "ada@corp.example", Password: "correct horse", Groups: []string{"eng", "dba"}},
		{Name: "bob@corp.example", Password: "battery staple"},
	}}}}
	if w.idp != nil {
		ps = append(ps, Provider{Name: "corp", OIDC: &OIDC{Issuer: w.idp.URL, ClientID: "gate", ClientSecret: clientSecret}},
			Provider{Name: "ci", Workload: &Workload{Issuer: w.idp.URL, Audience: "gate-ci", Subject: "claims.sub", Groups: []string{"ci"}, Require: map[string]string{"repo.owner": "corp"}}})
	}
	return ps
}

func start(t *testing.T, i *idp) *world {
	w := &world{t: t, dir: t.TempDir(), journal: &journal{}, log: &lines{}, idp: i}
	if i != nil {
		w.client = i.Client()
	}
	w.open()
	t.Cleanup(w.close)
	return w
}

func (w *world) open() {
	w.t.Helper()
	var err error
	if w.store, err = store.Open(w.t.Context(), "sqlite://"+filepath.Join(w.dir, "state.db")); err != nil {
		w.t.Fatal(err)
	}
	w.Service, err = New(w.t.Context(), Config{Providers: w.providers()}, w.store, Options{
		Ledger: w.journal, HTTP: w.client, Log: slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Now: func() time.Time { return time.Now().Add(time.Duration(w.ahead.Load())) },
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) close() {
	w.Service.Close()
	w.store.Close()
	if w.client != nil {
		w.client.CloseIdleConnections()
	}
}

func (w *world) restart() {
	w.close()
	w.open()
}

func (w *world) identify(secret string) (doorward.Identity, error) {
	return w.Identify(w.t.Context(), doorward.Credential{Protocol: "postgres", Secret: secret, User: "ada", Remote: "10.0.0.1:5", Secure: true})
}

func (w *world) good(secret string) doorward.Identity {
	w.t.Helper()
	id, err := w.identify(secret)
	if err != nil {
		w.t.Fatalf("refused: %v\n%s", err, w.log)
	}
	return id
}

// refused checks what a client learns, and what the log says.
func (w *world) refused(secret, check string) {
	w.t.Helper()
	id, err := w.identify(secret)
	w.checkRefusal(id, err, check)
}

func (w *world) checkRefusal(id doorward.Identity, err error, check string) {
	w.t.Helper()
	var d *doorward.Denial
	switch {
	case err == nil:
		w.t.Fatalf("it was taken as %+v", id)
	case !errors.Is(err, ErrNotSignedIn) || !errors.As(err, &d) || d.Hint == "":
		w.t.Fatalf("the error is %#v", err)
	case id.Subject != "" || id.Name != "":
		w.t.Fatal("an identity came with the error")
	case !strings.Contains(w.log.String(), check):
		w.t.Fatalf("the log does not say %q:\n%s", check, w.log)
	}
	_, ref, ok := strings.Cut(err.Error(), "(reference ")
	if ref, _, _ = strings.Cut(ref, ")"); !ok || !strings.Contains(w.log.String(), "reference="+ref) {
		w.t.Fatalf("the reference in %q is not in the log", err)
	}
}

func (w *world) signIn(user, password string) doorward.Identity {
	w.t.Helper()
	id, err := w.SignIn(w.t.Context(), "local", user, password)
	if err != nil {
		w.t.Fatal(err)
	}
	return id
}

func (w *world) ada() doorward.Identity { return w.signIn("ada@corp.example", "correct horse") }

func (w *world) issue(id doorward.Identity) string {
	w.t.Helper()
	token, _, err := w.Issue(w.t.Context(), id, 0)
	if err != nil {
		w.t.Fatal(err)
	}
	return token
}

func (w *world) forward(d time.Duration) { w.ahead.Add(int64(d)) }

func denial(t *testing.T, err error, want string) {
	t.Helper()
	var d *doorward.Denial
	if !errors.As(err, &d) || !strings.Contains(d.Reason, want) || d.Hint == "" {
		t.Fatalf("error %v, want a denial with %q", err, want)
	}
}

func text(v any) string { return fmt.Sprint(v) }
