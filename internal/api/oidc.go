package api

import (
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/doorward/doorward"
)

// stateCookie binds a sign-in by OIDC to the browser that began it. Its prefix
// keeps other hosts of the same domain from setting it. It is Lax, because the
// browser brings it back from the provider's site.
const (
	stateCookie = "__Host-doorward_signin"
	stateTime   = 10 * time.Minute
)

var errorCode = regexp.MustCompile(`^[a-z_]{1,64}$`)

// oidcStart sends the browser to the provider.
func (s *server) oidcStart(w http.ResponseWriter, r *http.Request) {
	if !s.secure(r) {
		plain(w, http.StatusForbidden, "Signing in needs https://.")
		return
	}
	if _, ok := s.byHost.take(remoteHost(r)); !ok {
		plain(w, http.StatusTooManyRequests, "Too many sign-ins from this address. Wait a little.")
		return
	}
	next, err := localPath(r.URL.Query().Get("next"))
	if err != nil {
		plain(w, http.StatusBadRequest, "next must be a page of this site.")
		return
	}
	url, state, err := s.Identity.StartSignIn(r.Context(), r.PathValue("provider"), s.callback(r))
	if err != nil {
		s.oidcFailed(w, r, err)
		return
	}
	http.SetCookie(w, &http.Cookie{Name: stateCookie, Value: base64.RawURLEncoding.EncodeToString([]byte(next)) + "." + state, Path: "/",
		MaxAge: int(stateTime / time.Second), HttpOnly: true, Secure: true, SameSite: http.SameSiteLaxMode})
	w.Header().Set("Location", url)
	w.WriteHeader(http.StatusSeeOther)
}

// callback is where the provider sends the browser back to.
func (s *server) callback(r *http.Request) string {
	base := strings.TrimRight(s.URL, "/")
	if base == "" {
		base = "https://" + r.Host // the host is one of ours: it was checked
		if r.TLS == nil {
			base = "http://" + r.Host
		}
	}
	return base + "/signin/oidc/callback"
}

// oidcCallback takes the code that the browser brings, once.
func (s *server) oidcCallback(w http.ResponseWriter, r *http.Request) {
	if !s.secure(r) {
		plain(w, http.StatusForbidden, "Signing in needs https://.")
		return
	}
	if _, ok := s.byHost.take(remoteHost(r)); !ok {
		plain(w, http.StatusTooManyRequests, "Too many sign-ins from this address. Wait a little.")
		return
	}
	cookies := r.CookiesNamed(stateCookie)
	http.SetCookie(w, &http.Cookie{Name: stateCookie, Path: "/", MaxAge: -1, HttpOnly: true, Secure: true, SameSite: http.SameSiteLaxMode})
	q := r.URL.Query()
	if code := q.Get("error"); code != "" {
		if !errorCode.MatchString(code) {
			code = "no reason given"
		}
		plain(w, http.StatusForbidden, "The identity provider refused the sign-in: "+code+".")
		return
	}
	if len(cookies) != 1 || len(q["state"]) != 1 || len(q["code"]) != 1 {
		plain(w, http.StatusBadRequest, "This sign-in was not begun in this browser, or took too long. Begin again.")
		return
	}
	where, state, ok := strings.Cut(cookies[0].Value, ".")
	raw, err := base64.RawURLEncoding.DecodeString(where)
	next, nerr := localPath(string(raw))
	if !ok || err != nil || nerr != nil || state == "" || subtle.ConstantTimeCompare([]byte(state), []byte(q.Get("state"))) != 1 {
		plain(w, http.StatusBadRequest, "This sign-in was not begun in this browser, or took too long. Begin again.")
		return
	}
	id, err := s.Identity.FinishSignIn(r.Context(), state, q.Get("code"))
	if err != nil {
		s.oidcFailed(w, r, err)
		return
	}
	cookie, _, err := s.webSession(r.Context(), id)
	if err != nil {
		s.oidcFailed(w, r, err)
		return
	}
	session := sessionCookie(cookie)
	http.SetCookie(w, &session)
	w.Header().Set("Location", next)
	w.WriteHeader(http.StatusSeeOther)
}

// oidcFailed says on a plain page why there is no sign-in.
func (s *server) oidcFailed(w http.ResponseWriter, r *http.Request, err error) {
	var p *Problem
	var denial *doorward.Denial
	switch {
	case errors.As(err, &p):
		plain(w, p.Status, p.Error()+". "+p.Hint)
	case errors.As(err, &denial):
		plain(w, http.StatusForbidden, denial.Reason+". "+denial.Hint)
	default:
		s.log.Error("a sign-in failed", "path", clip(r.URL.Path, 200), "error", err)
		plain(w, http.StatusInternalServerError, "doorward failed while you signed in. Its log says more.")
	}
}

// localPath lets only pages of this site through: nothing that a browser could
// take for another host.
func localPath(p string) (string, error) {
	if p == "" {
		return "/", nil
	}
	if len(p) > 512 || p[0] != '/' || strings.HasPrefix(p, "//") || strings.ContainsAny(p, "\\\r\n\t") {
		return "", errors.New("not a page of this site")
	}
	for _, r := range p {
		if r < 0x21 || r > 0x7e {
			return "", errors.New("not a page of this site")
		}
	}
	return p, nil
}
