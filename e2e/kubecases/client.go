package kubecases

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	answerWait = 75 * time.Second // for an answer: longer than a server waits for the rest of a request
	liveFor    = 2 * time.Second  // how long an answer without an end is listened to
	touchAfter = 300 * time.Millisecond
	moreWait   = 250 * time.Millisecond // for answers that nobody asked for
	mostRead   = 256 << 20              // of one answer

	slowEvery = 500 * time.Millisecond
	slowFor   = 90 * time.Second
)

// client is one connection, written byte by byte as a case wants it.
type client struct {
	conn   *tls.Conn
	br     *bufio.Reader
	got    *recorder
	closed bool // by the other side
}

// recorder keeps all that came.
type recorder struct {
	io.Reader
	mu  sync.Mutex
	all []byte
}

func (r *recorder) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.all) < mostRead {
		r.all = append(r.all, p[:n]...)
	}
	return n, err
}

// dial connects, with HTTP/1.1 and no other protocol.
func dial(ctx context.Context, addr string, conf *tls.Config) (*client, error) {
	conf = conf.Clone()
	conf.NextProtos = []string{"http/1.1"}
	d := tls.Dialer{NetDialer: &net.Dialer{Timeout: 10 * time.Second}, Config: conf}
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	c := &client{conn: conn.(*tls.Conn)}
	c.got = &recorder{Reader: c.conn}
	c.br = bufio.NewReaderSize(c.got, 64<<10)
	return c, nil
}

func (c *client) close() { c.conn.Close() }

// write sends bytes as they are. That the other side does not take them all is
// no error: it may have answered before.
func (c *client) write(b []byte) {
	_ = c.conn.SetWriteDeadline(time.Now().Add(answerWait))
	_, _ = c.conn.Write(b)
}

// answer is one answer of HTTP.
type answer struct {
	line    line
	status  int
	header  http.Header
	body    []byte // decoded
	broken  error  // why the body has no end, nil if it has
	extra   bool   // nobody asked for it
	warning string
}

// read reads the answer of a request; nil if none came. live is called while
// an answer without an end comes.
func (c *client) read(l line, wait time.Duration, live func()) (*answer, error) {
	if c.closed {
		return nil, nil
	}
	_ = c.conn.SetReadDeadline(time.Now().Add(wait))
	if _, err := c.br.Peek(1); err != nil {
		c.closed = !isTimeout(err)
		return nil, nil
	}
	_ = c.conn.SetReadDeadline(time.Now().Add(answerWait))
	var resp *http.Response
	var err error
	for { // 100 and its like say that there is more to come
		resp, err = http.ReadResponse(c.br, &http.Request{Method: l.method})
		if err != nil || resp.StatusCode >= 200 || resp.StatusCode == http.StatusSwitchingProtocols {
			break
		}
	}
	if err != nil {
		c.closed = true
		return nil, fmt.Errorf("what came is no answer of HTTP: %w", err)
	}
	a := &answer{line: l, status: resp.StatusCode, header: resp.Header, warning: strings.Join(resp.Header["Warning"], "\n")}
	var body io.Reader = resp.Body
	if a.status == http.StatusSwitchingProtocols {
		body = c.br
	}
	if l.live() || a.status == http.StatusSwitchingProtocols {
		_ = c.conn.SetReadDeadline(time.Now().Add(liveFor))
		if live != nil && a.status < 300 {
			defer time.AfterFunc(touchAfter, live).Stop()
		}
	}
	a.body, a.broken = io.ReadAll(io.LimitReader(body, mostRead))
	if a.broken != nil || resp.Close || a.status == http.StatusSwitchingProtocols {
		c.closed = true
	}
	if resp.Header.Get("Content-Encoding") == "gzip" {
		if z, err := gzip.NewReader(bytes.NewReader(a.body)); err == nil {
			a.body, _ = io.ReadAll(io.LimitReader(z, mostRead))
		}
	}
	return a, nil
}

// status is a Status of the API.
type status struct {
	Kind, APIVersion, Status, Message, Reason string
	Code                                      int
	Details                                   *struct {
		Causes []struct{ Reason, Message string }
	}
}

// apiStatus gives the Status in the answer, nil if it has none.
func (a *answer) apiStatus() *status {
	var s status
	if json.Unmarshal(a.body, &s) != nil || s.Kind != "Status" {
		return nil
	}
	return &s
}

func (s *status) cause(reason string) string {
	if s != nil && s.Details != nil {
		for _, c := range s.Details.Causes {
			if c.Reason == reason {
				return c.Message
			}
		}
	}
	return ""
}

// What an answer is.
const (
	passed = "allow"
	held   = "review"
	denied = "deny"
)

// is says what the gate did with the request.
func (a *answer) is() (what string, review int64, by string) {
	if a.status < 400 {
		if a.broken != nil && !a.line.live() && a.status != http.StatusSwitchingProtocols {
			return denied, 0, "the answer was broken off: " + a.broken.Error()
		}
		return passed, 0, ""
	}
	if a.line.method == http.MethodHead {
		return denied, 0, fmt.Sprintf("%d, without a body", a.status) // had it passed, it would be in the audit log
	}
	s := a.apiStatus()
	if d := s.cause("DoorwardDecision"); d != "" {
		if n, err := strconv.ParseInt(s.cause("DoorwardReview"), 10, 64); err == nil && d == "review" {
			return held, n, s.Message
		}
		return denied, 0, s.Message
	}
	// net/http answers by itself what it cannot read.
	if s == nil && a.header.Get("Content-Security-Policy") == "" {
		return denied, 0, fmt.Sprintf("net/http: %d %s", a.status, firstLine(a.body))
	}
	return passed, 0, ""
}

// readable says what is wrong with a refusal as kubectl reads it, "" for
// nothing.
func (a *answer) readable() string {
	s := a.apiStatus()
	switch {
	case s == nil:
		return "" // net/http's own, or half an answer
	case s.APIVersion != "v1" || s.Status != "Failure" || s.Code != a.status || s.Reason == "":
		return fmt.Sprintf("the Status says %s %s %d %q, the answer %d", s.APIVersion, s.Status, s.Code, s.Reason, a.status)
	case !strings.HasPrefix(s.Message, "doorward: ") || len(s.Message) < 20:
		return fmt.Sprintf("the message does not say who refuses, and why: %q", s.Message)
	case strings.HasPrefix(a.header.Get("Content-Type"), "application/json"):
		return ""
	}
	return "a Status as " + a.header.Get("Content-Type")
}

func firstLine(b []byte) string {
	s, _, _ := strings.Cut(strings.TrimSpace(string(b)), "\n")
	return s[:min(len(s), 200)]
}

// seen is what one run of a case's steps showed to the client.
type seen struct {
	bytes   []byte // all that came, as sent and decoded
	answers []*answer
	asked   int   // requests that were sent
	ended   bool  // the last request was answered by the end of the connection
	silent  bool  // the last request was not answered at all
	garbled error // what came is not HTTP
}

// run does the steps that send, at an endpoint that conf trusts. live, where it
// is not nil, is called while an answer without an end comes.
func run(ctx context.Context, steps []Step, e endpoint, conf *tls.Config, live func(line)) (*seen, error) {
	s := &seen{}
	var c *client
	defer func() {
		if c != nil {
			c.close()
		}
	}()
	for i := range steps {
		st := &steps[i]
		if !st.sends() {
			continue
		}
		m, err := st.at(e)
		if err != nil {
			return nil, fmt.Errorf("step %d: %w", i+1, err)
		}
		if c == nil || st.Op != "send_same_connection" {
			if c != nil {
				s.keep(c)
				c.close()
			}
			if c, err = dial(ctx, e.addr, conf); err != nil {
				return nil, err
			}
		}
		if st.Op == "send_slow" {
			if err := slowly(ctx, c, st, m, e, conf); err != nil {
				return nil, err
			}
		} else {
			c.write(m.bytes)
		}
		s.collect(c, m, live)
	}
	s.keep(c)
	return s, nil
}

// collect reads the answers of what was sent, and those that come besides.
func (s *seen) collect(c *client, m message, live func(line)) {
	lines := m.lines
	if len(lines) == 0 {
		lines = []line{{}} // there may be an answer to what is no request
	}
	s.asked += len(lines)
	for n := 0; ; n++ {
		l, wait := line{method: "GET"}, moreWait
		if n < len(lines) {
			l, wait = lines[n], answerWait
		}
		var during func()
		if live != nil {
			during = func() { live(l) }
		}
		a, err := c.read(l, wait, during)
		if err != nil {
			s.garbled = err
			return
		}
		if a == nil {
			s.ended, s.silent = n < len(lines) && c.closed, n < len(lines) && !c.closed
			return
		}
		a.extra = n >= len(lines)
		s.answers = append(s.answers, a)
	}
}

func (s *seen) keep(c *client) {
	c.got.mu.Lock()
	defer c.got.mu.Unlock()
	s.bytes = append(s.bytes, c.got.all...)
	c.got.all = nil
	for _, a := range s.answers {
		s.bytes = append(append(s.bytes, '\n'), a.body...)
	}
}

// slowly sends the message piece by piece, on as many connections as the step
// wants, until all is sent, the other side closes, or the time is up.
func slowly(ctx context.Context, c *client, st *Step, m message, e endpoint, conf *tls.Config) error {
	every, size, limit := slowEvery, max(st.Bytes, 1), slowFor
	if st.IntervalMS > 0 {
		every = time.Duration(st.IntervalMS) * time.Millisecond
	}
	if st.TimeoutMS > 0 {
		limit = time.Duration(st.TimeoutMS) * time.Millisecond
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var wg sync.WaitGroup
	defer wg.Wait()
	for range st.Connections - 1 {
		other, err := dial(ctx, e.addr, conf)
		if err != nil {
			continue // it takes no more
		}
		wg.Go(func() {
			defer other.close()
			other.trickle(ctx, m.bytes, size, every)
		})
	}
	c.trickle(ctx, m.bytes, size, every)
	cancel()
	return nil
}

func (c *client) trickle(ctx context.Context, b []byte, size int, every time.Duration) {
	for len(b) > 0 {
		n := min(size, len(b))
		_ = c.conn.SetWriteDeadline(time.Now().Add(5 * time.Second))
		if _, err := c.conn.Write(b[:n]); err != nil {
			return
		}
		b = b[n:]
		// What came says that nobody waits for the rest.
		_ = c.conn.SetReadDeadline(time.Now().Add(every))
		if _, err := c.br.Peek(1); err == nil || !isTimeout(err) {
			return
		}
		if ctx.Err() != nil {
			return
		}
	}
}

func isTimeout(err error) bool {
	var t net.Error
	return errors.As(err, &t) && t.Timeout()
}
