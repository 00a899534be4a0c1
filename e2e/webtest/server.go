package webtest

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Seen is a request that came.
type Seen struct {
	Method, URI, Host string
	Header            http.Header
	Body              []byte
	Client            string // common name of the client's certificate
	Conn              string // the other end's address: one for each connection
}

// Server is the service. Paths that no test has set answer with what came, as
// JSON; see [Came].
type Server struct {
	URL  string // http://127.0.0.1:port
	Addr string
	TLS  string // https://127.0.0.1:port, where a client certificate is asked for
	CA   string // PEM file: of the service's certificate
	Cert string // PEM file: a client's certificate
	Key  string // PEM file: its key

	plain, secure *httptest.Server

	mu     sync.Mutex
	seen   []Seen
	set    map[string]http.HandlerFunc
	tokens int
}

// Came is what the service says of a request where nothing else is set.
type Came struct {
	Method string `json:"method"`
	URI    string `json:"uri"`
	Size   int    `json:"size"`
	SHA256 string `json:"sha256"`
}

// ClientID and ClientSecret are what the token endpoint at /oauth/token takes;
// the tokens are TokenPrefix and a number.
const (
	ClientID     = "gate"
	ClientSecret = "oauth-client-secret"
	TokenPrefix  = "oauth-access-"
)

// Start starts the service; dir is where its certificates are written.
func Start(dir string) (*Server, error) {
	s := &Server{set: map[string]http.HandlerFunc{}}
	conf, err := s.certificates(dir)
	if err != nil {
		return nil, err
	}
	h := http.HandlerFunc(s.serve)
	s.plain = httptest.NewServer(h)
	s.secure = httptest.NewUnstartedServer(h)
	s.secure.TLS = conf
	s.secure.StartTLS()
	s.URL, s.TLS = s.plain.URL, s.secure.URL
	s.Addr = strings.TrimPrefix(s.URL, "http://")
	return s, nil
}

// Stop ends the service, and the requests that it still answers.
func (s *Server) Stop() {
	s.plain.CloseClientConnections()
	s.secure.CloseClientConnections()
	s.plain.Close()
	s.secure.Close()
}

// Drop closes all connections to the service.
func (s *Server) Drop() { s.plain.CloseClientConnections() }

// Set says how a path is answered.
func (s *Server) Set(path string, h http.HandlerFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.set[path] = h
}

// Answer sets a path's answer; headers are name, value, name, value.
func (s *Server) Answer(path string, status int, body []byte, headers ...string) {
	s.Set(path, func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i+1 < len(headers); i += 2 {
			w.Header().Add(headers[i], headers[i+1])
		}
		if len(body) > 0 {
			w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		}
		w.WriteHeader(status)
		_, _ = w.Write(body)
	})
}

// Pieces sets a path's answer, which is sent in pieces: each is a chunk, and
// goes out by itself.
func (s *Server) Pieces(path, kind string, pieces ...string) {
	s.Set(path, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", kind)
		for _, p := range pieces {
			_, _ = io.WriteString(w, p)
			w.(http.Flusher).Flush()
		}
	})
}

// Endless sets a path's answer to events that never end, one every 20 ms.
func (s *Server) Endless(path string) {
	s.Set(path, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for i := 0; ; i++ {
			fmt.Fprintf(w, "id: %d\ndata: {\"n\":%d}\n\n", i, i)
			w.(http.Flusher).Flush()
			select {
			case <-r.Context().Done():
				return
			case <-time.After(20 * time.Millisecond):
			}
		}
	})
}

// Seen are the requests to a path that came, in their order; "" is all paths.
func (s *Server) Seen(path string) []Seen {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(s.seen), func(x Seen) bool {
		p, _, _ := strings.Cut(x.URI, "?")
		return path != "" && p != path
	})
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // it is not a request that came
	}
	x := Seen{Method: r.Method, URI: r.RequestURI, Host: r.Host, Header: r.Header.Clone(), Body: bytes.Clone(body), Conn: r.RemoteAddr}
	if r.TLS != nil && len(r.TLS.PeerCertificates) > 0 {
		x.Client = r.TLS.PeerCertificates[0].Subject.CommonName
	}
	if r.URL.Path == "/oauth/token" {
		r.Body = io.NopCloser(bytes.NewReader(body))
		s.token(w, r)
		return
	}
	s.mu.Lock()
	s.seen = append(s.seen, x)
	h := s.set[r.URL.Path]
	s.mu.Unlock()
	if h != nil {
		h(w, r)
		return
	}
	sum := sha256.Sum256(body)
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(Came{r.Method, r.RequestURI, len(body), hex.EncodeToString(sum[:])})
}

// token gives out access tokens to the client (RFC 6749, section 4.4).
func (s *Server) token(w http.ResponseWriter, r *http.Request) {
	id, secret, ok := r.BasicAuth()
	if !ok {
		id, secret = r.FormValue("client_id"), r.FormValue("client_secret")
	}
	w.Header().Set("Content-Type", "application/json")
	if r.Method != http.MethodPost || r.FormValue("grant_type") != "client_credentials" || id != ClientID || secret != ClientSecret {
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = io.WriteString(w, `{"error":"invalid_client"}`)
		return
	}
	s.mu.Lock()
	s.tokens++
	n := s.tokens
	s.mu.Unlock()
	fmt.Fprintf(w, `{"access_token":"%s%d","token_type":"Bearer","expires_in":3600}`, TokenPrefix, n)
}
