package kubernetes

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/doorward/doorward"
	"github.com/doorward/doorward/internal/gate"
	"github.com/doorward/doorward/internal/upstream"
)

const (
	maxLanes   = 256 // sessions of one connection
	maxIdle    = 16  // of these, without a request
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
	conns  sync.Map     // of net.Conn to *lanes
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
			ls := &lanes{free: map[laneKey][]*lane{}}
			srv.conns.Store(c, ls)
			return context.WithValue(ctx, lanesKey{}, ls)
		},
		ConnState: func(c net.Conn, st http.ConnState) {
			if st != http.StateClosed && st != http.StateHijacked {
				return
			}
			if ls, ok := srv.conns.LoadAndDelete(c); ok {
				go ls.(*lanes).close() // it waits for the disk
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

type lanesKey struct{}

// lanes are the sessions of one client's connection.
type lanes struct {
	mu    sync.Mutex
	free  map[laneKey][]*lane
	count int
	over  bool // the connection has ended
}

// laneKey is for whom a session was opened: another token is another session.
type laneKey struct {
	target string
	token  [sha256.Size]byte
}

// lane is a session of the gate that serves one request at a time.
type lane struct {
	*gate.Session
	key  laneKey
	sink *sink
}

var errTooMany = errors.New("too many requests at once on one connection")

// take gives a session for a request: a free one, or a new one.
func (srv *Server) take(r *http.Request, target, token string) (*lane, error) {
	ls := r.Context().Value(lanesKey{}).(*lanes)
	key := laneKey{target, sha256.Sum256([]byte(token))}
	for {
		ls.mu.Lock()
		free := ls.free[key]
		if len(free) == 0 {
			break
		}
		l := free[len(free)-1]
		ls.free[key] = free[:len(free)-1]
		ls.mu.Unlock()
		if l.Err() == nil {
			return l, nil
		}
		ls.drop(l)
	}
	if ls.over || ls.count >= maxLanes {
		ls.mu.Unlock()
		return nil, errTooMany
	}
	ls.count++
	ls.mu.Unlock()
	l, err := srv.open(r, target, token)
	if err != nil {
		ls.mu.Lock()
		ls.count--
		ls.mu.Unlock()
		return nil, err
	}
	l.key = key
	l.OnKill(func() { ls.ended(l) })
	return l, nil
}

// ended closes a session that was ended while it was free. One that serves a
// request is closed when that is over.
func (ls *lanes) ended(l *lane) {
	ls.mu.Lock()
	free := ls.free[l.key]
	i := slices.Index(free, l)
	if i >= 0 {
		ls.free[l.key] = slices.Delete(free, i, i+1)
	}
	ls.mu.Unlock()
	if i >= 0 {
		ls.drop(l)
	}
}

// open opens a session.
func (srv *Server) open(r *http.Request, target, token string) (*lane, error) {
	l := &lane{sink: &sink{}}
	// A client that leaves in the middle must not leave half a session behind.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), openWait)
	defer cancel()
	s, err := srv.opt.Gate.Open(ctx, gate.Hello{
		Credential:  doorward.Credential{Protocol: "kubernetes", Secret: token, Remote: r.RemoteAddr, Secure: r.TLS != nil},
		Target:      target,
		Application: printable(application(r)),
	}, l.sink)
	if err != nil {
		return nil, err
	}
	l.Session = s
	return l, nil
}

// application is what the client says that it is.
func application(r *http.Request) string {
	if c := r.Header.Get("Kubectl-Command"); c != "" {
		return c + " (" + r.UserAgent() + ")"
	}
	return r.UserAgent()
}

// put gives a session back.
func (ls *lanes) put(l *lane) {
	ls.mu.Lock()
	if !ls.over && l.Err() == nil && len(ls.free[l.key]) < maxIdle {
		ls.free[l.key] = append(ls.free[l.key], l)
		ls.mu.Unlock()
		return
	}
	ls.mu.Unlock()
	ls.drop(l)
}

func (ls *lanes) drop(l *lane) {
	l.Close(l.Err())
	ls.mu.Lock()
	ls.count--
	ls.mu.Unlock()
}

func (ls *lanes) close() {
	ls.mu.Lock()
	ls.over = true
	all := ls.free
	ls.free = nil
	ls.mu.Unlock()
	for _, free := range all {
		for _, l := range free {
			ls.drop(l)
		}
	}
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
	l, err := srv.take(r, target, token)
	if err != nil {
		reply(w, nil, asDenial(err), 0)
		return
	}
	ls := r.Context().Value(lanesKey{}).(*lanes)
	defer ls.put(l)
	q := &query{srv: srv, lane: l, w: w, r: r, target: rest}
	l.sink.use(q)
	defer l.sink.use(nil)
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
