package httpcases

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"
)

// service is the HTTP service that cases are about. It writes down every byte
// that comes, refuses nothing, and answers as a case wants. Beside it there is a
// trap, where nobody has any business.
type service struct {
	addr string // on 127.0.0.1; the same port is taken on ::1 where there is one
	trap string

	listeners []net.Listener
	wg        sync.WaitGroup

	mu      sync.Mutex
	replies []reply
	conns   []*inbound
	dialled int // connections since do
	caught  int // connections to the trap since do
}

// inbound is one connection to the service.
type inbound struct {
	conn  net.Conn
	bytes []byte // that came since do
}

// reply is one answer of the service.
type reply struct {
	status  int
	headers Headers
	body    []byte // as it goes over the wire, without chunks
	raw     []byte // in place of all else
}

// harmless is what the service answers when it has nothing else to say.
var harmless = reply{200, Headers{{"Content-Type", "application/json"}}, []byte(`{"served":true,"orders":[{"id":17,"item":"a"}]}`), nil}

// pause is how long the service waits for the rest of what is no whole request.
const pause = 300 * time.Millisecond

func startService() (*service, error) {
	s := &service{}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s.addr = l.Addr().String()
	s.listeners = append(s.listeners, l)
	// Names may lead to this machine's other address.
	if six, err := net.Listen("tcp", net.JoinHostPort("::1", s.port())); err == nil {
		s.listeners = append(s.listeners, six)
	}
	for _, l := range s.listeners {
		s.wg.Go(func() {
			s.accept(l, func(c net.Conn) { s.serve(c) })
		})
	}
	trap, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		s.close()
		return nil, err
	}
	s.trap = trap.Addr().String()
	s.listeners = append(s.listeners, trap)
	s.wg.Go(func() {
		s.accept(trap, func(c net.Conn) {
			s.mu.Lock()
			s.caught++
			s.mu.Unlock()
			c.Close()
		})
	})
	return s, nil
}

func (s *service) port() string {
	_, port, _ := net.SplitHostPort(s.addr)
	return port
}

func (s *service) accept(l net.Listener, fn func(net.Conn)) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		s.wg.Go(func() { fn(c) })
	}
}

// close ends it, and all connections.
func (s *service) close() {
	for _, l := range s.listeners {
		l.Close()
	}
	s.mu.Lock()
	for _, c := range s.conns {
		c.conn.Close()
	}
	s.mu.Unlock()
	s.wg.Wait()
}

// do sets the answers, in order, and forgets what was seen. The last one is
// given again and again.
func (s *service) do(replies []reply) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.replies, s.dialled, s.caught = replies, 0, 0
	for _, c := range s.conns {
		c.bytes = nil
	}
}

// came is what came to the service since do.
type came struct {
	conns   [][]byte // bytes by connection
	dialled int
	caught  int
}

func (s *service) saw() came {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := came{dialled: s.dialled, caught: s.caught}
	for _, c := range s.conns {
		if len(c.bytes) > 0 {
			out.conns = append(out.conns, bytes.Clone(c.bytes))
		}
	}
	return out
}

func (s *service) next() reply {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.replies) == 0 {
		return harmless
	}
	r := s.replies[0]
	if len(s.replies) > 1 {
		s.replies = s.replies[1:]
	}
	return r
}

// serve answers what looks like a request to somebody who does not look hard.
func (s *service) serve(conn net.Conn) {
	defer conn.Close()
	in := &inbound{conn: conn}
	s.mu.Lock()
	s.conns = append(s.conns, in)
	s.dialled++
	s.mu.Unlock()
	var waiting []byte
	piece := make([]byte, 64<<10)
	for {
		wait := 5 * time.Minute
		if len(waiting) > 0 {
			wait = pause
		}
		_ = conn.SetReadDeadline(time.Now().Add(wait))
		n, err := conn.Read(piece)
		s.mu.Lock()
		in.bytes = append(in.bytes, piece[:n]...)
		s.mu.Unlock()
		waiting = append(waiting, piece[:n]...)
		for len(waiting) > 0 {
			n, head := guess(waiting)
			if n == 0 {
				break
			}
			waiting = waiting[n:]
			if !s.answer(conn, head) {
				return
			}
		}
		if err != nil {
			if len(waiting) > 0 {
				s.answer(conn, false)
			}
			return
		}
	}
}

// guess says where the first request ends, 0 for not yet.
func guess(b []byte) (n int, head bool) {
	end := bytes.Index(b, []byte("\n\r\n")) + 3
	if i := bytes.Index(b, []byte("\n\n")) + 2; end == 2 || i > 1 && i < end {
		end = i
	}
	if end < 2 {
		return 0, false
	}
	head = bytes.HasPrefix(b, []byte("HEAD "))
	text := strings.ToLower(string(b[:end]))
	if strings.Contains(text, "chunked") {
		i := bytes.Index(b[end:], []byte("0\r\n\r\n"))
		if i < 0 {
			return 0, head
		}
		return end + i + 5, head
	}
	if _, v, ok := strings.Cut(text, "content-length:"); ok {
		v, _, _ = strings.Cut(v, "\n")
		if l, err := strconv.Atoi(strings.TrimSpace(v)); err == nil && l > 0 {
			if end+l > len(b) {
				return 0, head
			}
			end += l
		}
	}
	return end, head
}

// answer gives the next answer and reports whether the connection goes on.
func (s *service) answer(conn net.Conn, head bool) bool {
	r := s.next()
	_ = conn.SetWriteDeadline(time.Now().Add(30 * time.Second))
	if r.raw != nil {
		_, err := conn.Write(r.raw)
		return err == nil
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "HTTP/1.1 %d %s\r\n", r.status, http.StatusText(r.status))
	for _, h := range r.headers {
		fmt.Fprintf(&b, "%s: %s\r\n", h[0], h[1])
	}
	body := r.body
	coding := r.headers.get("Transfer-Encoding")
	switch {
	case r.status < 200 || r.status == http.StatusNoContent || r.status == http.StatusNotModified:
		body = nil
	case coding != nil && !r.headers.has("Content-Length") && len(body) > 0:
		body = fmt.Appendf(nil, "%x\r\n%s\r\n0\r\n\r\n", len(body), body)
	case coding == nil && !r.headers.has("Content-Length"):
		fmt.Fprintf(&b, "Content-Length: %d\r\n", len(body))
	}
	b.WriteString("\r\n")
	if !head {
		b.Write(body)
	}
	_, err := conn.Write(b.Bytes())
	ends := r.headers.get("Connection")
	return err == nil && (ends == nil || !strings.EqualFold(*ends, "close"))
}

// reply reads the step's answer. Where it leads elsewhere it leads to the trap,
// for what cannot be reached cannot be seen to be followed.
func (s *Step) reply(trap string) (reply, error) {
	out := reply{status: s.Status}
	if out.status == 0 {
		out.status = http.StatusOK
	}
	var err error
	switch {
	case s.Reply != "":
		out.raw = []byte(s.Reply)
		return out, nil
	case s.ReplyHex != "":
		out.raw, err = hex.DecodeString(s.ReplyHex)
		return out, err
	case len(s.BodyGen) > 0:
		var encoding string
		if encoding, out.body, err = generate(s.BodyGen); err != nil {
			return out, err
		}
		if encoding != "" && encoding != "identity" && !s.Headers.has("Content-Encoding") {
			out.headers = append(out.headers, [2]string{"Content-Encoding", encoding})
		}
	default:
		if out.body, err = s.body(); err != nil {
			return out, err
		}
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
