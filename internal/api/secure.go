package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"runtime/debug"
	"strings"
	"time"

	"github.com/doorward/doorward"
	"github.com/doorward/doorward/internal/identity"
)

const (
	cookieName = "doorward_session"
	csrfHeader = "X-Doorward-CSRF"

	cookieToken = "dw_s_" // what the cookie's secret begins with

	maxBody   = 1 << 20
	maxToken  = 16 << 10
	replyTime = 60 * time.Second // to write one answer
)

// policyHeader is the content security policy of every answer: only the
// console's own files run, nothing inline, nobody frames it.
const policyHeader = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"

// Server gives an http.Server for the handler that [New] made, with the
// bounds that the handler relies on. The caller sets TLSConfig and serves.
func Server(h http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       30 * time.Second,
		IdleTimeout:       120 * time.Second,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}

// wrap puts the checks that every request passes around the routes.
func (s *server) wrap(next http.Handler) http.Handler {
	crossOrigin := http.NewCrossOriginProtection()
	crossOrigin.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		writeProblem(w, problem(http.StatusForbidden, "this request came from another site", "Use the console at its own address."))
	}))
	inner := crossOrigin.Handler(s.authenticated(next))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer s.recovered(w, r)
		headers(w, r)
		rc := http.NewResponseController(w)
		if err := rc.SetWriteDeadline(time.Now().Add(replyTime)); err != nil && r.ProtoMajor < 2 {
			s.log.Debug("no write deadline on this connection", "error", err)
		}
		if !s.hostAllowed(r.Host) {
			writeProblem(w, problem(http.StatusMisdirectedRequest, fmt.Sprintf("doorward is not served as %q", clip(r.Host, 120)), "Use its configured address, or add this name to the console's hosts."))
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		inner.ServeHTTP(w, r)
	})
}

func (s *server) recovered(w http.ResponseWriter, r *http.Request) {
	v := recover()
	if v == nil {
		return
	}
	if v == http.ErrAbortHandler {
		panic(v)
	}
	s.log.Error("a request failed inside doorward", "method", r.Method, "path", clip(r.URL.Path, 200), "panic", fmt.Sprint(v), "stack", string(debug.Stack()))
	writeProblem(w, problem(http.StatusInternalServerError, "doorward failed while it answered", "The server's log says more."))
}

func headers(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Security-Policy", policyHeader)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=(), payment=(), usb=()")
	if r.TLS != nil && !loopbackName(hostname(r.Host)) {
		h.Set("Strict-Transport-Security", "max-age=31536000")
	}
	if !strings.HasPrefix(r.URL.Path, "/assets/") {
		h.Set("Cache-Control", "no-store")
	}
}

// hostAllowed stops DNS rebinding: a name that an attacker controls may point
// here, but the browser still says that name. Addresses cannot be rebound.
func (s *server) hostAllowed(host string) bool {
	name := hostname(host)
	if loopbackName(name) {
		return true
	}
	if _, err := netip.ParseAddr(name); err == nil {
		return true
	}
	return s.hosts[name]
}

// hostname is the host without port, brackets, trailing dot or capitals.
func hostname(host string) string {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	return strings.ToLower(strings.TrimSuffix(host, "."))
}

func loopbackName(name string) bool {
	if name == "localhost" {
		return true
	}
	a, err := netip.ParseAddr(name)
	return err == nil && a.IsLoopback()
}

// caller is who asks, kept in the request's context once it was checked.
type caller struct {
	id     doorward.Identity
	token  string // the secret presented, for signing out
	cookie bool   // it came in the cookie
	csrf   string // what state-changing requests by cookie must carry
}

type callerKey struct{}

// asking gives the caller of this request. It fails when no credential was
// checked, even where a route was left open by mistake.
func asking(ctx context.Context) (*caller, error) {
	c, ok := ctx.Value(callerKey{}).(*caller)
	if !ok {
		return nil, notSignedIn()
	}
	return c, nil
}

func notSignedIn() *Problem {
	return problem(http.StatusUnauthorized, "not signed in", "Sign in at the console, or run `doorward login`.")
}

// open lists what may be reached without a credential. Everything else under
// /api/ and /signin/ needs one.
var open = map[string]bool{
	"GET /api/v1/providers":    true,
	"POST /api/v1/signin":      true,
	"POST /api/v1/token":       true,
	"GET /api/v1/openapi.json": true,
}

// authenticated checks the credential of every request below /api/ that is
// not in the open list, before any route is looked up.
func (s *server) authenticated(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		api := r.URL.Path == "/api" || strings.HasPrefix(r.URL.Path, "/api/")
		if !api || open[r.Method+" "+r.URL.Path] {
			next.ServeHTTP(w, r)
			return
		}
		c, p := s.identify(r)
		if p != nil {
			writeProblem(w, p)
			return
		}
		if c.id.Agent != "" && r.URL.Path != "/api/v1/me" {
			writeProblem(w, problem(http.StatusForbidden, "agents may not use the API", "A person has to do this: with their own sign-in, in the console or with the doorward command."))
			return
		}
		if c.cookie && !safeMethod(r.Method) && !identity.CheckCSRF(c.token, r.Header.Get(csrfHeader)) {
			writeProblem(w, problem(http.StatusForbidden, "the "+csrfHeader+" header is missing or wrong", "Send the csrf value that GET /api/v1/me gives."))
			return
		}
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), callerKey{}, c)))
	})
}

func safeMethod(m string) bool {
	return m == http.MethodGet || m == http.MethodHead
}

// identify checks the bearer token, or else the cookie. A request that has a
// bad bearer token is not rescued by its cookie.
func (s *server) identify(r *http.Request) (*caller, *Problem) {
	c := &caller{}
	switch auth := r.Header.Values("Authorization"); {
	case len(auth) > 1:
		return nil, problem(http.StatusBadRequest, "more than one Authorization header", "Send one.")
	case len(auth) == 1:
		scheme, token, ok := strings.Cut(auth[0], " ")
		if !ok || !strings.EqualFold(scheme, "Bearer") {
			return nil, problem(http.StatusUnauthorized, "the Authorization header is not a bearer token", "Send `Authorization: Bearer TOKEN`.")
		}
		c.token = strings.TrimSpace(token)
		if strings.HasPrefix(c.token, cookieToken) { // it would do without the CSRF header
			return nil, problem(http.StatusUnauthorized, "a console session is not a bearer token", "Sign in with POST /api/v1/token, or `doorward login`.")
		}
	default:
		for _, k := range r.CookiesNamed(cookieName) {
			if c.token != "" {
				return nil, problem(http.StatusBadRequest, "more than one session cookie", "Clear this site's cookies and sign in again.")
			}
			c.token, c.cookie = k.Value, true
		}
	}
	if c.token == "" {
		return nil, notSignedIn()
	}
	if len(c.token) > maxToken {
		return nil, problem(http.StatusUnauthorized, "the token is too long", "Sign in again.")
	}
	var id doorward.Identity
	var err error
	switch {
	case !s.secure(r):
		return nil, problem(http.StatusForbidden, "credentials may not travel without encryption", "Use https://.")
	case c.cookie:
		id, c.csrf, err = s.Identity.WebSession(r.Context(), c.token)
	default:
		id, err = s.Identity.Identify(r.Context(), doorward.Credential{Protocol: "http", Secret: c.token, Remote: r.RemoteAddr, Secure: true})
	}
	if err != nil {
		return nil, s.refused(r, err)
	}
	if id.Subject == "" || (!id.Expires.IsZero() && !time.Now().Before(id.Expires)) {
		return nil, problem(http.StatusUnauthorized, "this sign-in has ended", "Sign in again: at the console, or with `doorward login`.")
	}
	c.id = id
	return c, nil
}

// refused is the answer to a credential that identity does not take.
func (s *server) refused(r *http.Request, err error) *Problem {
	var denial *doorward.Denial
	if !errors.As(err, &denial) {
		s.log.Error("a credential could not be checked", "remote", r.RemoteAddr, "error", err)
		return problem(http.StatusServiceUnavailable, "doorward cannot check who you are now", "Try again shortly. The server's log says more.")
	}
	if denial.Retry {
		return problem(http.StatusServiceUnavailable, denial.Reason, denial.Hint)
	}
	return problem(http.StatusUnauthorized, denial.Reason, denial.Hint)
}

// secure reports whether the request's secret travelled safely.
func (s *server) secure(r *http.Request) bool {
	if r.TLS != nil {
		return true
	}
	if !s.PlainLoopback {
		return false
	}
	a, err := netip.ParseAddrPort(r.RemoteAddr)
	return err == nil && a.Addr().IsLoopback()
}

// remoteHost is the client's address without its port.
func remoteHost(r *http.Request) string {
	h, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return h
}
