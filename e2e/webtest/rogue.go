package webtest

import (
	"bufio"
	"net"
	"net/http"
	"sync"
	"time"
)

// Rogue is a service that does with each request what a test wants.
type Rogue struct {
	Addr string

	l       net.Listener
	mu      sync.Mutex
	act     func(net.Conn, *http.Request) bool
	conns   []net.Conn
	arrived []string
}

// StartRogue starts one.
func StartRogue() (*Rogue, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &Rogue{Addr: l.Addr().String(), l: l}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			r.mu.Lock()
			r.conns = append(r.conns, c)
			r.mu.Unlock()
			go r.serve(c)
		}
	}()
	return r, nil
}

// Do says what happens to the requests that come from now on, after each was
// read whole; act reports whether the connection goes on. What came is forgotten.
func (r *Rogue) Do(act func(c net.Conn, req *http.Request) bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.act, r.arrived = act, nil
}

// Say answers with these bytes, and ends the connection.
func (r *Rogue) Say(text string) {
	r.Do(func(c net.Conn, _ *http.Request) bool {
		_, _ = c.Write([]byte(text))
		return false
	})
}

// Arrived are the requests that came since Do: method, blank, target.
func (r *Rogue) Arrived() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.arrived...)
}

// Stop ends it, and its connections.
func (r *Rogue) Stop() {
	_ = r.l.Close()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.conns {
		_ = c.Close()
	}
}

func (r *Rogue) serve(c net.Conn) {
	defer c.Close()
	in := bufio.NewReader(c)
	for {
		req, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		body := make([]byte, 4096)
		for err == nil {
			_, err = req.Body.Read(body)
		}
		r.mu.Lock()
		r.arrived = append(r.arrived, req.Method+" "+req.RequestURI)
		act := r.act
		r.mu.Unlock()
		_ = c.SetWriteDeadline(time.Now().Add(10 * time.Second))
		if act == nil || !act(c, req) {
			return
		}
	}
}
