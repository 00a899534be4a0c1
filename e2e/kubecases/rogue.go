package kubecases

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

// rogue is an API server that answers as a case wants. Beside it there is a
// trap, where nobody has any business.
type rogue struct {
	ca   []byte // PEM
	addr string
	trap string // its address

	server *http.Server
	l      net.Listener
	snare  net.Listener
	wg     sync.WaitGroup

	mu      sync.Mutex
	replies []reply
	seen    []came
	caught  int // connections to the trap
}

// came is a request that the rogue got.
type came struct {
	method, uri string
	header      http.Header
	conn        string // the other side's address
}

// reply is one answer of the rogue.
type reply struct {
	status  int
	headers Headers
	body    []byte
}

// harmless is what the rogue answers when it has nothing else to say: an empty
// list.
var harmless = reply{200, Headers{{"Content-Type", "application/json"}}, []byte(`{"kind":"PodList","apiVersion":"v1","metadata":{"resourceVersion":"1"},"items":[]}`)}

func startRogue() (*rogue, error) {
	cert, ca, err := selfSigned()
	if err != nil {
		return nil, err
	}
	r := &rogue{ca: ca}
	if r.l, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		return nil, err
	}
	if r.snare, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		r.l.Close()
		return nil, err
	}
	r.addr, r.trap = r.l.Addr().String(), r.snare.Addr().String()
	r.server = &http.Server{
		Handler: r, ErrorLog: log.New(io.Discard, "", 0), ReadHeaderTimeout: 10 * time.Second,
		// Answers are written as bytes, which HTTP/2 has no way for.
		TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){},
		TLSConfig:    &tls.Config{Certificates: []tls.Certificate{cert}},
	}
	r.wg.Go(func() { _ = r.server.ServeTLS(r.l, "", "") })
	r.wg.Go(func() {
		for {
			c, err := r.snare.Accept()
			if err != nil {
				return
			}
			r.mu.Lock()
			r.caught++
			r.mu.Unlock()
			c.Close()
		}
	})
	return r, nil
}

// selfSigned makes a certificate for 127.0.0.1 that vouches for itself.
func selfSigned() (tls.Certificate, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "rogue"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{"localhost"},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), nil
}

// do sets the answers, in order, and forgets what was seen. The last one is
// given again and again.
func (r *rogue) do(replies []reply) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.replies, r.seen, r.caught = replies, nil, 0
}

// saw gives the requests that came since, and how many connections the trap got.
func (r *rogue) saw() ([]came, int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]came(nil), r.seen...), r.caught
}

// ServeHTTP writes the next answer as bytes, whatever it is.
func (r *rogue) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	r.mu.Lock()
	r.seen = append(r.seen, came{req.Method, req.RequestURI, req.Header.Clone(), req.RemoteAddr})
	answer := harmless
	if len(r.replies) > 0 {
		answer = r.replies[0]
		if len(r.replies) > 1 {
			r.replies = r.replies[1:]
		}
	}
	r.mu.Unlock()
	_, _ = io.Copy(io.Discard, io.LimitReader(req.Body, 16<<20))
	conn, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		return
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	var b strings.Builder
	fmt.Fprintf(&b, "HTTP/1.1 %d %s\r\n", answer.status, http.StatusText(answer.status))
	for _, h := range answer.headers {
		fmt.Fprintf(&b, "%s: %s\r\n", h[0], h[1])
	}
	if answer.status >= 200 && !answer.headers.has("Content-Length") && !answer.headers.has("Transfer-Encoding") {
		fmt.Fprintf(&b, "Content-Length: %d\r\n", len(answer.body))
	}
	b.WriteString("Connection: close\r\n\r\n")
	_, _ = io.WriteString(conn, b.String())
	_, _ = conn.Write(answer.body)
}

// close ends it.
func (r *rogue) close() {
	r.server.Close()
	r.snare.Close()
	r.wg.Wait()
}

// reply reads the step's answer. Where it leads elsewhere it leads to the trap,
// for what cannot be reached cannot be seen to be followed.
func (s *Step) reply(trap string) (reply, error) {
	out := reply{status: s.Status}
	if out.status == 0 {
		out.status = http.StatusOK
	}
	var err error
	if len(s.BodyGen) > 0 {
		var encoding string
		if encoding, out.body, err = generate(s.BodyGen); err != nil {
			return out, err
		}
		if encoding != "" && encoding != "identity" && !s.Headers.has("Content-Encoding") {
			out.headers = append(out.headers, [2]string{"Content-Encoding", encoding})
		}
	} else if out.body, err = s.body(); err != nil {
		return out, err
	}
	for _, h := range s.Headers {
		if strings.EqualFold(h[0], "Location") {
			if u, err := url.Parse(h[1]); err == nil && u.Host != "" {
				u.Host = trap
				h[1] = u.String()
			}
		}
		out.headers = append(out.headers, h)
	}
	if !out.headers.has("Content-Type") && len(out.body) > 0 {
		out.headers = append(out.headers, [2]string{"Content-Type", "application/json"})
	}
	return out, nil
}
