package cases

import (
	"bytes"
	"encoding/json"
	"io"
	"log"
	"net"
	"net/http"
	"time"
)

// Strict decodes JSON that has no key which out does not know.
func Strict(raw []byte, out any) error {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	return d.Decode(out)
}

// GoReads is what net/http makes of the first bytes of a connection:
// METHOD|path, or "reject".
func GoReads(sent []byte) string {
	read := make(chan string, 1)
	note := func(s string) {
		select {
		case read <- s:
		default:
		}
	}
	near, far := net.Pipe()
	defer near.Close()
	l := &oneConn{far, make(chan struct{})}
	srv := &http.Server{ErrorLog: log.New(io.Discard, "", 0), ReadHeaderTimeout: 2 * time.Second, Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { note(r.Method + "|" + r.URL.Path) })}
	go func() { _ = srv.Serve(l) }()
	defer srv.Close()
	go func() {
		_ = near.SetDeadline(time.Now().Add(5 * time.Second))
		_, _ = near.Write(sent)
	}()
	b := make([]byte, 4096)
	_ = near.SetReadDeadline(time.Now().Add(5 * time.Second))
	_, _ = near.Read(b)
	note("reject")
	return <-read
}

// oneConn is a listener that gives one connection.
type oneConn struct {
	conn net.Conn
	done chan struct{}
}

// Accept gives the connection, the first time.
func (l *oneConn) Accept() (net.Conn, error) {
	if c := l.conn; c != nil {
		l.conn = nil
		return c, nil
	}
	<-l.done
	return nil, net.ErrClosed
}

// Close ends Accept.
func (l *oneConn) Close() error {
	select {
	case <-l.done:
	default:
		close(l.done)
	}
	return nil
}

// Addr is none.
func (*oneConn) Addr() net.Addr { return &net.TCPAddr{} }
