package api

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
)

// New makes the handler of everything that doorward serves over HTTP: the
// API, sign-in, health, metrics and the console. Serve it with [Server].
func New(d Deps) (http.Handler, error) {
	if err := d.check(); err != nil {
		return nil, err
	}
	s := &server{Deps: d, log: d.Log, hosts: map[string]bool{}, closing: d.Closing}
	for _, h := range d.Hosts {
		s.hosts[hostname(h)] = true
	}
	s.hub = newHub(s)
	d.Identity.Watch(func(credential string) {
		s.hub.dropIf(func(l *listener) bool { return credential != "" && l.cred == credential })
	})
	s.audits.turn = make(chan struct{}, 1)
	s.byHost = newLimiter(20, 3*time.Second, 20_000)
	s.byUser = newLimiter(10, 6*time.Second, 20_000)
	s.views = newLimiter(120, 500*time.Millisecond, 20_000)

	mux := http.NewServeMux()
	config := huma.Config{
		OpenAPI: &huma.OpenAPI{
			OpenAPI: "3.1.0",
			Info: &huma.Info{
				Title:       "doorward",
				Version:     d.Version,
				Description: "Reviews, sessions, runs and the audit log of a doorward gate. Sign in with POST /api/v1/token and send the token as a bearer token; browsers sign in with POST /api/v1/signin and send the X-Doorward-CSRF header with everything that changes state. Credentials of agents reach /api/v1/me and nothing else. Errors are problem documents (RFC 9457).",
				License:     &huma.License{Name: "Apache-2.0", Identifier: "Apache-2.0"},
			},
			Components: &huma.Components{
				Schemas: huma.NewMapRegistry("#/components/schemas/", huma.DefaultSchemaNamer),
				SecuritySchemes: map[string]*huma.SecurityScheme{
					"bearer": {Type: "http", Scheme: "bearer"},
					"cookie": {Type: "apiKey", In: "cookie", Name: cookieName},
				},
			},
			Security: []map[string][]string{{"bearer": {}}, {"cookie": {}}},
		},
		OpenAPIPath:                  "/api/v1/openapi",
		Formats:                      map[string]huma.Format{"application/json": huma.DefaultJSONFormat, "json": huma.DefaultJSONFormat},
		DefaultFormat:                "application/json",
		RejectUnknownQueryParameters: true,
		Transformers:                 []huma.Transformer{quiet},
	}
	api := humago.New(mux, config)
	s.routes(api)
	mux.HandleFunc("GET /signin/oidc/callback", s.oidcCallback)
	mux.HandleFunc("GET /signin/oidc/{provider}", s.oidcStart)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { plain(w, http.StatusOK, "ok") })
	mux.HandleFunc("GET /readyz", s.readyz)
	if d.Metrics != nil {
		mux.Handle("GET /metrics", d.Metrics)
	}
	mux.Handle("/", consoleHandler(d.Console))
	return s.wrap(mux), nil
}

// server is the handler's state.
type server struct {
	Deps
	log     *slog.Logger
	hosts   map[string]bool
	hub     *hub
	byHost  *limiter // sign-ins by address
	byUser  *limiter // sign-ins by user
	views   *limiter // recordings looked at, by person
	audits  audits
	ready   readiness
	closing <-chan struct{}
}

func (s *server) routes(api huma.API) {
	op := func(method, path, id, summary string, more ...func(*huma.Operation)) huma.Operation {
		o := huma.Operation{OperationID: id, Method: method, Path: path, Summary: summary, MaxBodyBytes: maxBody, BodyReadTimeout: 10 * time.Second}
		for _, m := range more {
			m(&o)
		}
		return o
	}
	public := func(o *huma.Operation) { o.Security = []map[string][]string{{}} }

	huma.Register(api, op("GET", "/api/v1/me", "me", "Who the caller is", agentsToo), s.me)
	huma.Register(api, op("GET", "/api/v1/providers", "providers", "The ways to sign in", public), s.providers)
	huma.Register(api, op("POST", "/api/v1/signin", "signin", "Sign in by cookie", public), s.signin)
	huma.Register(api, op("POST", "/api/v1/signout", "signout", "Sign out: ends this sign-in"), s.signout)
	huma.Register(api, op("POST", "/api/v1/token", "token", "Sign in for a bearer token", public), s.token)

	huma.Register(api, op("GET", "/api/v1/reviews", "reviews", "Reviews that the caller asked for or may answer"), s.reviews)
	huma.Register(api, op("GET", "/api/v1/reviews/{id}", "review", "One review"), s.review)
	huma.Register(api, op("POST", "/api/v1/reviews/{id}/votes", "vote", "Answer a review, as the person signed in"), s.vote)
	huma.Register(api, op("POST", "/api/v1/reviews/{id}/withdraw", "withdraw", "Take back a request, or one's yes to it, that has not run"), s.withdraw)
	huma.Register(api, op("GET", "/api/v1/events", "events", "Reviews and sessions as they change, as server-sent events", eventStream), s.events)

	huma.Register(api, op("GET", "/api/v1/sessions", "sessions", "Sessions, newest first"), s.sessions)
	huma.Register(api, op("GET", "/api/v1/sessions/{id}", "session", "One session"), s.session)
	huma.Register(api, op("GET", "/api/v1/sessions/{id}/timeline", "timeline", "A session's recording; looking at it is itself recorded"), s.timeline)
	huma.Register(api, op("GET", "/api/v1/sessions/{id}/tape", "tape", "A session's recording as a file; looking at it is itself recorded", tapeFile), s.tape)
	huma.Register(api, op("POST", "/api/v1/sessions/{id}/kill", "kill", "End a live session now"), s.kill)

	huma.Register(api, op("GET", "/api/v1/targets", "targets", "Targets that the caller can reach"), s.targets)
	huma.Register(api, op("GET", "/api/v1/ssh", "ssh", "How SSH clients connect"), s.sshInfo)
	huma.Register(api, op("POST", "/api/v1/ssh/certificate", "sshCertificate", "A short-lived SSH certificate for the caller's credential"), s.sshCertificate)
	huma.Register(api, op("GET", "/api/v1/targets/{name}/connect", "connect", "How to connect to a target"), s.connect)
	huma.Register(api, op("POST", "/api/v1/runs", "start-run", "Mint a credential for an agent that acts for the caller", created), s.startRun)
	huma.Register(api, op("GET", "/api/v1/runs", "runs", "Runs of the caller's agents"), s.runs)
	huma.Register(api, op("DELETE", "/api/v1/runs/{id}", "end-run", "End a run: its credential stops working at once"), s.endRun)
	huma.Register(api, op("POST", "/api/v1/access/end", "end-access", "End all access that a subject and its agents have now; for administrators"), s.endAccess)
	huma.Register(api, op("GET", "/api/v1/audit", "audit", "The state of the audit log"), s.audit)
}

func agentsToo(o *huma.Operation) {
	o.Description = "The only call that an agent's credential may make."
}

func created(o *huma.Operation) { o.DefaultStatus = http.StatusCreated }

func eventStream(o *huma.Operation) {
	o.Responses = map[string]*huma.Response{"200": {
		Description: "Events named review (data: a Review) and session (data: a SessionEvent), until the sign-in ends.",
		Content:     map[string]*huma.MediaType{"text/event-stream": {Schema: &huma.Schema{Type: huma.TypeString}}},
	}}
}

func tapeFile(o *huma.Operation) {
	o.Responses = map[string]*huma.Response{"200": {
		Description: "The recording.",
		Content: map[string]*huma.MediaType{
			"application/json":        {Schema: &huma.Schema{Type: huma.TypeObject}},
			"application/x-asciicast": {Schema: &huma.Schema{Type: huma.TypeString}},
		},
	}}
}

func plain(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	fmt.Fprintln(w, text)
}

// readyAge is how old the answer of /readyz may be: it writes to the disk to
// find out, and it is open to everybody.
const readyAge = time.Second

type readiness struct {
	mu  sync.Mutex
	at  time.Time
	err error
}

func (s *server) readyz(w http.ResponseWriter, r *http.Request) {
	s.ready.mu.Lock()
	if time.Since(s.ready.at) > readyAge {
		s.ready.err = s.Ready()
		s.ready.at = time.Now()
	}
	err := s.ready.err
	s.ready.mu.Unlock()
	if err != nil {
		s.log.Warn("not ready", "error", err)
		plain(w, http.StatusServiceUnavailable, "not ready") // why is in the log: this page is for everybody
		return
	}
	plain(w, http.StatusOK, "ready")
}

// check finds what is missing before anything is served.
func (d *Deps) check() error {
	var missing []string
	for name, absent := range map[string]bool{
		"Identity": d.Identity == nil, "Reviews": d.Reviews == nil, "Store": d.Store == nil,
		"Ledger": d.Ledger == nil, "Replay": d.Replay == nil, "Tape": d.Tape == nil, "Verify": d.Verify == nil,
		"Live": d.Live == nil, "Targets": d.Targets == nil, "Reaches": d.Reaches == nil, "SSH": d.SSH == nil, "Ready": d.Ready == nil,
	} {
		if absent {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("api: the program did not wire %s", strings.Join(missing, ", "))
	}
	if d.Log == nil {
		d.Log = slog.New(slog.DiscardHandler)
	}
	if d.Console != nil {
		if _, err := fs.Stat(d.Console, "index.html"); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("api: the console's files cannot be read: %w", err)
		}
	}
	return nil
}

// fault is the answer when something of ours failed: the log says what.
func (s *server) fault(ctx context.Context, what string, err error) error {
	if ctx.Err() != nil {
		return problem(499, "the client went away", "")
	}
	s.log.Error(what, "error", err)
	return problem(http.StatusInternalServerError, what, "Nothing was changed. The server's log says more; try again.")
}
