package upstream

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// service answers each request on a connection by what answer says to its
// target, in one write.
func service(t *testing.T, secure bool, answer func(r *http.Request) string) (h *HTTP, conns *atomic.Int32) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	scheme, opt := "http", HTTPOptions{Name: "t"}
	if secure {
		s := httptest.NewUnstartedServer(nil)
		s.StartTLS()
		conf := &tls.Config{Certificates: s.TLS.Certificates}
		opt.TLS = s.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
		opt.TLS.ServerName = "example.com"
		s.Close()
		scheme = "https"
		l = tls.NewListener(l, conf)
	}
	opt.Address = &url.URL{Scheme: scheme, Host: l.Addr().String()}
	conns = &atomic.Int32{}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			conns.Add(1)
			go func() {
				defer c.Close()
				in := bufio.NewReader(c)
				for {
					r, err := http.ReadRequest(in)
					if err != nil {
						return
					}
					if _, err = io.Copy(io.Discard, r.Body); err != nil {
						return
					}
					if _, err := io.WriteString(c, answer(r)); err != nil {
						return
					}
				}
			}()
		}
	}()
	if h, err = NewHTTP(opt); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close(); _ = l.Close() })
	return h, conns
}

func sized(body string) string {
	return fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
}

func get(t *testing.T, h *HTTP, method, target string) string {
	t.Helper()
	a, err := h.exchange(t.Context(), &Outgoing{Method: method, Target: target, Host: "h"})
	if err != nil {
		t.Fatalf("%s %s: %v", method, target, err)
	}
	defer a.Close()
	b, err := io.ReadAll(a)
	if err != nil {
		t.Fatalf("%s %s: %v", method, target, err)
	}
	return string(b)
}

// A service that sends more than its answer must not answer the next client
// with it, wherever on the way it was kept: in the socket, in TLS, or in the
// reader.
func TestWhatIsLeftBehindAnAnswerIsNobodysAnswer(t *testing.T) {
	stolen := sized("stolen")
	long := strings.Repeat("x", 12<<10) // more than the reader takes with the head
	for name, c := range map[string]struct{ method, answer string }{
		"an answer more":              {"GET", sized("mine") + stolen},
		"an answer more, behind much": {"GET", sized(long) + stolen},
		"chunked, an answer more":     {"GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nmine\r\n0\r\n\r\n" + stolen},
		"HEAD with a body":            {"HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n" + stolen},
		"HEAD with a long body":       {"HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 50\r\nX: " + strings.Repeat("x", 8<<10-60) + "\r\n\r\n" + stolen},
		"204 with a body":             {"GET", "HTTP/1.1 204 No Content\r\n\r\n" + stolen},
		"304 with a body":             {"GET", "HTTP/1.1 304 Not Modified\r\n\r\n" + stolen},
		"nothing, and more":           {"POST", sized("") + stolen},
	} {
		for _, secure := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, TLS %v", name, secure), func(t *testing.T) {
				h, _ := service(t, secure, func(r *http.Request) string {
					if r.URL.Path == "/first" {
						return c.answer
					}
					return sized("own")
				})
				get(t, h, c.method, "/first")
				if got := get(t, h, "GET", "/next"); got != "own" {
					t.Errorf("the next client got %.40q", got)
				}
			})
		}
	}
}

// TLS gives one record at once: what is behind it is held where neither the
// socket nor the reader shows it.
func TestARecordBehindTheAnswerIsNobodysAnswer(t *testing.T) {
	h, _ := service(t, true, func(r *http.Request) string {
		if r.URL.Path == "/first" {
			return sized(strings.Repeat("x", 16<<10-46)) + strings.Repeat(sized("stolen"), 40)
		}
		return sized("own")
	})
	for range 20 {
		get(t, h, "GET", "/first")
		if got := get(t, h, "GET", "/next"); got != "own" {
			t.Fatalf("the next client got %.40q", got)
		}
	}
}

func TestConnectionsAreUsedAgain(t *testing.T) {
	for _, secure := range []bool{false, true} {
		h, conns := service(t, secure, func(r *http.Request) string { return sized(r.URL.Path) })
		for i := range 20 {
			target := fmt.Sprint("/", i)
			ctx, cancel := context.WithCancel(t.Context())
			a, err := h.exchange(ctx, &Outgoing{Method: "GET", Target: target, Host: "h"})
			if err != nil {
				t.Fatal(err)
			}
			b, err := io.ReadAll(a)
			cancel() // as the end of an answer that is relayed does, before it is closed
			_ = a.Close()
			if err != nil || string(b) != target {
				t.Fatalf("%q, %v", b, err)
			}
		}
		if n := conns.Load(); n != 1 {
			t.Errorf("TLS %v: %d connections for requests one after the other", secure, n)
		}
	}
}

// Who still reads an answer that was closed must not read from the connection's
// next one.
func TestAClosedAnswerReadsNothing(t *testing.T) {
	h, _ := service(t, false, func(r *http.Request) string { return sized(r.URL.Path) })
	a, err := h.exchange(t.Context(), &Outgoing{Method: "GET", Target: "/a", Host: "h"})
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 2)
	if n, err := io.ReadFull(a, b); n != 2 || err != nil { // all of it, and not its end
		t.Fatal(n, err)
	}
	_ = a.Close()
	other, err := h.exchange(t.Context(), &Outgoing{Method: "GET", Target: "/b", Host: "h"})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if n, err := a.Read(b); n != 0 || !errors.Is(err, net.ErrClosed) {
		t.Fatalf("a closed answer gave %q, %v", b[:n], err)
	}
	if got, err := io.ReadAll(other); string(got) != "/b" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}

// An answer that is closed while somebody waits for more of it ends its
// connection.
func TestCloseWithinARead(t *testing.T) {
	h, _ := service(t, false, func(r *http.Request) string {
		if r.URL.Path == "/slow" {
			return "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"
		}
		return sized("own")
	})
	a, err := h.exchange(t.Context(), &Outgoing{Method: "GET", Target: "/slow", Host: "h"})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() { _, err := io.ReadAll(a); done <- err }()
	time.Sleep(20 * time.Millisecond)
	_ = a.Close()
	select {
	case err := <-done:
		if err == nil {
			t.Error("half an answer passed for a whole one")
		}
	case <-time.After(5 * time.Second):
		t.Fatal("the reader waits")
	}
	if got := get(t, h, "GET", "/next"); got != "own" {
		t.Errorf("got %q", got)
	}
}

// Clients that leave at any moment leave no deadline and no bytes to others.
func TestAnswersBelongToTheirRequests(t *testing.T) {
	for _, secure := range []bool{false, true} {
		h, _ := service(t, secure, func(r *http.Request) string {
			if rand.IntN(4) == 0 {
				time.Sleep(time.Duration(rand.IntN(1000)) * time.Microsecond)
			}
			return sized(r.URL.Path + strings.Repeat(".", rand.IntN(20<<10)))
		})
		var wg sync.WaitGroup
		var whole atomic.Int32
		for i := range 8 {
			wg.Go(func() {
				for j := range 150 {
					target := fmt.Sprintf("/%d/%d", i, j)
					ctx, cancel := context.WithCancel(t.Context())
					leaves := j%3 == 0
					if leaves {
						time.AfterFunc(time.Duration(rand.IntN(1500))*time.Microsecond, cancel)
					}
					a, err := h.exchange(ctx, &Outgoing{Method: "GET", Target: target, Host: "h"})
					if err == nil {
						var b []byte
						b, err = io.ReadAll(a)
						_ = a.Close()
						if err == nil && strings.TrimRight(string(b), ".") != target {
							t.Errorf("%s got the answer %.40q", target, b)
						}
					}
					if err != nil && !leaves {
						t.Errorf("%s: %v", target, err)
					}
					if err == nil {
						whole.Add(1)
					}
					cancel()
				}
			})
		}
		wg.Wait()
		if whole.Load() < 800 {
			t.Errorf("TLS %v: %d of 1200 requests were answered", secure, whole.Load())
		}
	}
}

// A service that refuses a large body without reading it is heard.
func TestAnEarlyRefusalIsHeard(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		_, _ = io.ReadAtLeast(c, make([]byte, 64), 64)
		_, _ = io.WriteString(c, "HTTP/1.1 413 Content Too Large\r\nContent-Length: 8\r\nConnection: close\r\n\r\ntoo much")
		_ = c.(*net.TCPConn).CloseWrite()
		time.Sleep(200 * time.Millisecond)
		_ = c.(*net.TCPConn).SetReadBuffer(1 << 10)
		_ = c.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
		_, _ = io.Copy(io.Discard, io.LimitReader(c, 64<<10)) // and then no more of it
	}()
	h, err := NewHTTP(HTTPOptions{Name: "t", Address: &url.URL{Scheme: "http", Host: l.Addr().String()}})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	a, err := h.exchange(t.Context(), &Outgoing{Method: "POST", Target: "/", Host: "h", Body: make([]byte, 32<<20)})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	if b, err := io.ReadAll(a); a.Status != 413 || string(b) != "too much" {
		t.Errorf("%d %q %v", a.Status, b, err)
	}
}
