package kubernetes

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/doorward/doorward"
	"github.com/doorward/doorward/internal/gate"
	"github.com/doorward/doorward/internal/lane"
	"github.com/doorward/doorward/internal/upstream"
)

const (
	headerWait = 10 * time.Second
	openWait   = 15 * time.Second
	idleWait   = 3 * time.Minute
	writeWait  = 5 * time.Minute // for a client that does not read
	maxHeader  = 64 << 10
	tokenLimit = 16 << 10
	maxBodies  = 512 << 20 // bytes of all requests together
)

// Options wires the adapter.
type Options struct {
	Gate *gate.Gate
	// Cluster gives the session's cluster, within the target's bound of requests
	// at once; done gives the place back.
	Cluster func(ctx context.Context, s *gate.Session) (c *upstream.Kubernetes, done func(), err error)
	// ShowSecrets reports whether the values of Secrets are passed on.
	ShowSecrets func(target string) bool
	Log         *slog.Logger
}

// Server serves the clients of clusters. A cluster is the first part of the
// path: https://doorward:16443/TARGET.
type Server struct {
	opt    Options
	http   *http.Server
	conns  sync.Map     // of net.Conn to *lane.Pool
	bodies atomic.Int64 // bytes of requests that are being read, judged or held
}

// New makes a server. Serve it with [Server.Serve].
func New(opt Options) *Server {
	if opt.Log == nil {
		opt.Log = slog.Default()
	}
	srv := &Server{opt: opt}
	srv.http = &http.Server{
		Handler: srv, ReadHeaderTimeout: headerWait, IdleTimeout: idleWait, MaxHeaderBytes: maxHeader,
		ErrorLog: slog.NewLogLogger(opt.Log.Handler(), slog.LevelDebug),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			lanes := lane.New()
			srv.conns.Store(c, lanes)
			return context.WithValue(ctx, poolKey{}, lanes)
		},
		ConnState: func(c net.Conn, st http.ConnState) {
			if st != http.StateClosed && st != http.StateHijacked {
				return
			}
			if lanes, ok := srv.conns.LoadAndDelete(c); ok {
				go lanes.(*lane.Pool).Close() // it waits for the disk
			}
		},
	}
	// OPTIONS * is answered by net/http itself otherwise.
	srv.http.DisableGeneralOptionsHandler = true
	return srv
}

// Serve accepts TLS connections until the listener is closed.
func (srv *Server) Serve(l net.Listener) error { return srv.http.Serve(l) }

// Shutdown ends the server: requests that are open may finish until ctx ends.
func (srv *Server) Shutdown(ctx context.Context) error {
	err := srv.http.Shutdown(ctx)
	if err != nil {
		_ = srv.http.Close()
	}
	return err
}

type poolKey struct{}

// opener opens a session for a request.
func (srv *Server) opener(r *http.Request, target, token string) lane.Opener {
	return func(client io.Writer) (*gate.Session, error) {
		// A client that leaves in the middle must not leave half a session behind.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), openWait)
		defer cancel()
		return srv.opt.Gate.Open(ctx, gate.Hello{
			Credential:  doorward.Credential{Protocol: "kubernetes", Secret: token, Remote: r.RemoteAddr, Secure: r.TLS != nil},
			Target:      target,
			Application: printable(application(r)),
		}, client)
	}
}

// application is what the client says that it is.
func application(r *http.Request) string {
	if c := r.Header.Get("Kubectl-Command"); c != "" {
		return c + " (" + r.UserAgent() + ")"
	}
	return r.UserAgent()
}

// ServeHTTP serves one request.
func (srv *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	secure(w)
	defer func() {
		p := recover()
		if p == nil {
			return
		}
		if p == http.ErrAbortHandler {
			panic(p)
		}
		srv.opt.Log.Error("a request ended by a fault of doorward", "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
		panic(http.ErrAbortHandler)
	}()
	target, rest, ok := split(r.RequestURI)
	if !ok {
		reply(w, nil, &doorward.Denial{Decision: "deny", Reason: "there is no target in this address", Hint: "`doorward kubeconfig` writes a configuration for kubectl: its server is https://…/TARGET."}, http.StatusNotFound)
		return
	}
	token, ok := bearer(r.Header)
	if !ok {
		reply(w, nil, &doorward.Denial{Decision: "deny", Reason: "you are not signed in", Hint: "Sign in with `doorward login`; `doorward kubeconfig` sets kubectl up.", Code: "28000"}, 0)
		return
	}
	lanes := r.Context().Value(poolKey{}).(*lane.Pool)
	l, err := lanes.Take(target, token, srv.opener(r, target, token))
	if err != nil {
		reply(w, nil, lane.Denial(err), 0)
		return
	}
	defer lanes.Put(l)
	q := &query{srv: srv, lane: l, w: w, r: r, target: rest}
	l.Sink.Use(q)
	defer l.Sink.Use(nil)
	q.serve()
}

// split takes the target's name off the front of a request's target.
func split(uri string) (target, rest string, ok bool) {
	if !strings.HasPrefix(uri, "/") {
		return "", "", false
	}
	target, rest, _ = strings.Cut(uri[1:], "/")
	if i := strings.IndexByte(target, '?'); i >= 0 {
		target, rest = target[:i], target[i:]
		return target, "/" + rest, target != ""
	}
	return target, "/" + rest, target != "" && len(target) <= 63 && !strings.ContainsAny(target, "%;")
}

// bearer gives the client's credential: one Authorization header, as a bearer
// token.
func bearer(h http.Header) (string, bool) {
	values := h["Authorization"]
	if len(values) != 1 || len(values[0]) > tokenLimit {
		return "", false
	}
	scheme, token, ok := strings.Cut(values[0], " ")
	token = strings.TrimSpace(token)
	return token, ok && strings.EqualFold(scheme, "Bearer") && token != ""
}

// secure sets the headers that keep a browser from making anything of what a
// cluster sends.
func secure(w http.ResponseWriter) {
	h := w.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", "default-src 'none'; sandbox")
	h.Set("Cache-Control", "no-store")
}

// printable bounds and escapes what a client said before it is recorded.
func printable(s string) string {
	if len(s) > 120 {
		s = s[:120] + "..."
	}
	return gate.Printable(s)
}
