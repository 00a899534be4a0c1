package http

import (
	"bytes"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	wire "github.com/doorward/doorward/internal/wire/http"
)

// pair is a client's end, and doorward's end as it serves it.
func pair(t *testing.T) (client net.Conn, c *conn1) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if client, err = net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	raw, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close(); _ = raw.Close() })
	c = &conn1{srv: &Server{}, raw: raw, conn: raw, in: &timed{conn: raw, raw: raw}}
	c.r = wire.NewReader(c.in, wire.Limits{})
	return client, c
}

func next(t *testing.T, c *conn1) string {
	t.Helper()
	c.in.begin()
	r, err := c.r.Request()
	if err != nil {
		t.Fatal(err)
	}
	return r.Target
}

const second = "GET /second HTTP/1.1\r\nHost: h\r\n\r\n"

// A client that leaves is seen, whatever it sent before: else its request would
// hold a place at the service for as long as the answer takes.
func TestClientsThatLeaveAreSeen(t *testing.T) {
	for name, c := range map[string]struct {
		with, after string
	}{
		"nothing more":                {},
		"a byte with the request":     {with: "G"},
		"a byte after it":             {after: "G"},
		"a request with the request":  {with: second},
		"a request after it":          {after: second},
		"much with, and much after":   {with: strings.Repeat("x", 20<<10), after: strings.Repeat("y", 20<<10)},
		"more than is kept, and goes": {after: strings.Repeat("y", 200<<10)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client, conn := pair(t)
			_, _ = io.WriteString(client, "GET /first HTTP/1.1\r\nHost: h\r\n\r\n"+c.with)
			next(t, conn)
			left := make(chan struct{})
			stop := conn.watch(func() { close(left) })
			defer stop()
			time.Sleep(2 * watchAfter)
			go func() {
				_, _ = io.WriteString(client, c.after)
				_ = client.Close()
			}()
			select {
			case <-left:
			case <-time.After(5 * time.Second):
				t.Error("nobody saw it")
			}
		})
	}
}

// What is sent ahead is read at its turn, whole and in order, wherever it was
// cut, and whenever it came.
func TestWhatIsSentAheadIsKept(t *testing.T) {
	long := "GET /" + strings.Repeat("l", 4000) + " HTTP/1.1\r\nHost: h\r\n\r\n"
	for _, wait := range []time.Duration{0, watchAfter, 3 * watchAfter} {
		for cut := 0; cut <= len(second); cut += 7 {
			client, conn := pair(t)
			_, _ = io.WriteString(client, "GET /first HTTP/1.1\r\nHost: h\r\n\r\n"+second[:cut])
			next(t, conn)
			stop := conn.watch(func() { t.Error("a client that is there was taken for one that left") })
			_, _ = io.WriteString(client, second[cut:]+long)
			time.Sleep(wait)
			stop()
			if got := next(t, conn); got != "/second" {
				t.Fatalf("cut at %d: %q", cut, got)
			}
			stop = conn.watch(func() { t.Error("the same, at the second") })
			time.Sleep(wait / 2)
			stop()
			if got := next(t, conn); len(got) != 4001 {
				t.Fatalf("cut at %d: %q", cut, got)
			}
		}
	}
}

// Many requests, watched for a moment each, on one connection.
func TestWatchIsStopped(t *testing.T) {
	client, conn := pair(t)
	go func() {
		for range 50 {
			_, _ = io.WriteString(client, second)
			time.Sleep(2 * time.Millisecond)
		}
	}()
	for i := range 50 {
		if got := next(t, conn); got != "/second" {
			t.Fatalf("%d: %q", i, got)
		}
		stop := conn.watch(func() { t.Error("it is there") })
		if i%10 == 0 {
			time.Sleep(watchAfter + time.Millisecond)
		}
		stop()
	}
}

// A connection that is told to end between two requests does not wait for one.
func TestFinishBetweenRequests(t *testing.T) {
	_, conn := pair(t)
	conn.finish() // before the deadline of the next request is set
	done := make(chan bool)
	go func() { done <- conn.one() }()
	select {
	case more := <-done:
		if more {
			t.Error("another request may follow")
		}
	case <-time.After(5 * time.Second):
		t.Fatal("it waits for a request")
	}
}

func TestRoutes(t *testing.T) {
	srv := &Server{opt: Options{Target: func(host string) string { return map[string]string{"orders.internal": "orders"}[host] }}}
	for _, c := range []struct{ host, target, want, prefix, path string }{
		{"orders.internal", "/orders/a?b=/c", "orders", "", "/orders/a?b=/c"},
		{"ORDERS.internal:8443", "/", "orders", "", "/"},
		{"gate", "/orders", "orders", "/orders", "/"},
		{"gate", "/orders/", "orders", "/orders", "/"},
		{"gate", "/orders//a", "orders", "/orders", "//a"},
		{"gate", "/orders/a/b?c=/d", "orders", "/orders", "/a/b?c=/d"},
		{"gate", "/orders?since=2026/01/01", "orders", "/orders", "/?since=2026/01/01"},
		{"gate", "/orders?next=http://x/?y", "orders", "/orders", "/?next=http://x/?y"},
		{"gate", "//orders/a", "", "", ""},
		{"gate", "/?orders", "", "", ""},
		{"gate", "/o%72ders/a", "", "", ""},
		{"gate", "/orders;x/a", "", "", ""},
		{"gate", "*", "", "", ""},
		{"gate", "http://orders.internal/a", "", "", ""},
	} {
		x := &exchange{srv: srv, in: incoming{host: c.host, target: c.target}}
		target, ok := x.route()
		if ok != (c.want != "") || target != c.want || ok && (x.prefix != c.prefix || x.path != c.path) {
			t.Errorf("%s %s: target %q, prefix %q, path %q", c.host, c.target, target, x.prefix, x.path)
		}
	}
}

// A little that is packed may be much: no more of it is held than of what is
// sent whole.
func TestStartIsBounded(t *testing.T) {
	for _, n := range []int{0, 1, maxWhole, maxWhole + 1, 4 * maxWhole} {
		b, more, err := start(bytes.NewReader(make([]byte, n)), maxWhole)
		if err != nil || more != (n > maxWhole) || len(b) != min(n, maxWhole+1) {
			t.Errorf("%d bytes: %d, more %v, %v", n, len(b), more, err)
		}
	}
}

// What a client says of a body's size takes nothing from others: only what came
// does, and it is given back.
func TestBodiesCountAsTheyCome(t *testing.T) {
	post := func(t *testing.T, head, body string) (*exchange, error) {
		client, conn := pair(t)
		_, _ = io.WriteString(client, "POST / HTTP/1.1\r\nHost: h\r\n"+head+"\r\n\r\n"+body)
		_ = client.(*net.TCPConn).CloseWrite()
		req, err := conn.r.Request()
		if err != nil {
			t.Fatal(err)
		}
		x := &exchange{srv: conn.srv, in: conn.incoming(req)}
		_, err = x.in.body(8<<20, x.take)
		return x, err
	}
	long := strings.Repeat("x", 100<<10)
	x, err := post(t, "Content-Length: 8000000", long)
	if held := x.srv.bodies.Load(); err == nil || held != x.size || held < 80<<10 || held > 100<<10 {
		t.Errorf("a body of which 100 KiB came holds %d (%d), %v", held, x.size, err)
	}
	x, err = post(t, "Transfer-Encoding: chunked", "")
	if held := x.srv.bodies.Load(); err == nil || held != 0 {
		t.Errorf("a body of which nothing came holds %d, %v", held, err)
	}
}

func TestBodiesTogetherAreBounded(t *testing.T) {
	client, conn := pair(t)
	conn.srv.bodies.Store(maxBodies - 10<<10)
	go func() {
		_, _ = io.WriteString(client, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\n"+strings.Repeat("x", 1000000))
	}()
	req, err := conn.r.Request()
	if err != nil {
		t.Fatal(err)
	}
	x := &exchange{srv: conn.srv, in: conn.incoming(req)}
	if _, err = x.in.body(8<<20, x.take); !errors.Is(err, errBodies) {
		t.Errorf("got %v", err)
	}
	if conn.in.take != nil {
		t.Error("what comes later is counted for this body")
	}
}
