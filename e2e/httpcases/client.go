package httpcases

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"time"
)

const (
	answerWait = 75 * time.Second // for an answer: longer than doorward waits for the rest of a request
	moreWait   = 2 * time.Second  // for the end of the connection, when the client has ended its side
	mostRead   = 80 << 20         // of one answer

	slowEvery = 500 * time.Millisecond
	slowFor   = 90 * time.Second

	oneByOne = 4 << 10 // bytes that are cut one by one; those behind in larger pieces
)

// Ways that a message is sent.
const (
	whole = "none"
	bytew = "bytes"
	cut   = "random"
	two   = "h2" // by HTTP/2
)

// client is one connection, written byte by byte as a case wants it.
type client struct {
	conn   net.Conn
	br     *bufio.Reader
	got    *recorder
	split  string
	random *rand.Rand
	closed bool // by the other side
}

// recorder keeps all that came.
type recorder struct {
	io.Reader
	mu  sync.Mutex
	all []byte
}

// Read implements io.Reader.
func (r *recorder) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.all) < mostRead {
		r.all = append(r.all, p[:n]...)
	}
	return n, err
}

// dial connects, with HTTP/1.1 and no other protocol; without a configuration,
// without TLS.
func dial(ctx context.Context, addr string, conf *tls.Config, split string) (*client, error) {
	var d interface {
		DialContext(ctx context.Context, network, addr string) (net.Conn, error)
	} = &net.Dialer{Timeout: 10 * time.Second}
	if conf != nil {
		conf = conf.Clone()
		conf.NextProtos = []string{"http/1.1"}
		d = &tls.Dialer{NetDialer: &net.Dialer{Timeout: 10 * time.Second}, Config: conf}
	}
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	c := &client{conn: conn, split: split, random: rand.New(rand.NewPCG(1, 2))}
	c.got = &recorder{Reader: c.conn}
	c.br = bufio.NewReaderSize(c.got, 64<<10)
	return c, nil
}

func (c *client) close() { c.conn.Close() }

// write sends bytes as they are, cut as the client cuts them. That the other
// side does not take them all is no error: it may have answered before.
func (c *client) write(b []byte) {
	_ = c.conn.SetWriteDeadline(time.Now().Add(answerWait))
	for sent := 0; len(b) > 0; {
		n := len(b)
		switch {
		case c.split == whole:
		case c.split == bytew && sent < oneByOne:
			n = 1
		case c.split == bytew:
			n = 997
		default:
			n = 1 + c.random.IntN(max(len(b)/4, 40))
		}
		n = min(n, len(b))
		if _, err := c.conn.Write(b[:n]); err != nil {
			return
		}
		sent, b = sent+n, b[n:]
	}
}

// answer is one answer of HTTP.
type answer struct {
	line   line
	plain  *plain
	status int
	header http.Header
	body   []byte // as it came
	broken error  // why the body has no end, nil if it has
	extra  bool   // nobody asked for it
}

// read reads the answer of a request; nil if none came.
func (c *client) read(l line, wait time.Duration) (*answer, error) {
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
	a := &answer{line: l, status: resp.StatusCode, header: resp.Header}
	var body io.Reader = resp.Body
	if a.status == http.StatusSwitchingProtocols {
		_ = c.conn.SetReadDeadline(time.Now().Add(moreWait))
		body = c.br
	}
	a.body, a.broken = io.ReadAll(io.LimitReader(body, mostRead))
	if a.broken != nil || resp.Close || a.status == http.StatusSwitchingProtocols {
		c.closed = true
	}
	return a, nil
}

// halfClose says that nothing more is sent.
func (c *client) halfClose() {
	if w, ok := c.conn.(interface{ CloseWrite() error }); ok {
		_ = w.CloseWrite()
	}
}

// seen is what one run of a case's steps showed to the client.
type seen struct {
	bytes   []byte // all that came, as sent and decoded
	answers []*answer
	lines   []line // of the requests that were sent
	asked   int    // how many those are, and what is no request
	vague   bool   // readers may differ about how many
	ended   bool   // the last request was answered by the end of the connection
	silent  bool   // the last request was not answered at all
	garbled error  // what came is not HTTP
}

// run does the steps that send, at an endpoint that conf trusts.
func run(ctx context.Context, steps []Step, e endpoint, conf *tls.Config, split string) (*seen, error) {
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
				s.finish(c)
				c.close()
			}
			if c, err = dial(ctx, e.addr, conf, split); err != nil {
				return nil, err
			}
		}
		if st.Op == "send_slow" {
			slowly(ctx, c, st, m, e, conf)
		} else {
			c.write(m.bytes)
		}
		s.collect(c, m)
	}
	s.finish(c)
	return s, nil
}

// collect reads the answers of what was sent.
func (s *seen) collect(c *client, m message) {
	lines := m.lines
	if len(lines) == 0 {
		lines = []line{{}} // there may be an answer to what is no request
	}
	s.asked += len(lines)
	s.lines = append(s.lines, m.lines...)
	s.vague = s.vague || m.vague
	for n, l := range lines {
		a, err := c.read(l, answerWait)
		if err != nil {
			s.garbled = err
			return
		}
		if a == nil {
			s.ended, s.silent = c.closed, !c.closed
			return
		}
		if n < len(m.plain) {
			a.plain = m.plain[n]
		}
		s.answers = append(s.answers, a)
	}
}

// finish ends the client's side and reads what nobody asked for.
func (s *seen) finish(c *client) {
	c.halfClose()
	for !c.closed {
		a, err := c.read(line{method: "GET"}, moreWait)
		if err != nil && s.garbled == nil {
			s.garbled = err
		}
		if err != nil || a == nil {
			break
		}
		a.extra = true
		s.answers = append(s.answers, a)
	}
	c.got.mu.Lock()
	defer c.got.mu.Unlock()
	s.keep(c.got.all)
	c.got.all = nil
}

// keep notes what came, and what is in it.
func (s *seen) keep(b []byte) {
	s.bytes = append(s.bytes, b...)
	for _, a := range s.answers {
		s.bytes = append(append(s.bytes, '\n'), a.body...)
		if e := a.header.Get("Content-Encoding"); e != "" {
			s.bytes = append(append(s.bytes, '\n'), decode(e, a.body)...)
		}
	}
}

// describe is what came, in short.
func (s *seen) describe() string {
	out := "no answer"
	for i, a := range s.answers {
		if i == 0 {
			out = ""
		} else {
			out += " | "
		}
		out += fmt.Sprintf("%d %.250s", a.status, bytes.TrimSpace(a.body))
	}
	return out
}

// slowly sends the message piece by piece, on as many connections as the step
// wants, until all is sent, the other side closes, or the time is up.
func slowly(ctx context.Context, c *client, st *Step, m message, e endpoint, conf *tls.Config) {
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
		other, err := dial(ctx, e.addr, conf, whole)
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
}

func (c *client) trickle(ctx context.Context, b []byte, size int, every time.Duration) {
	for len(b) > 0 && ctx.Err() == nil {
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
	}
}

func isTimeout(err error) bool {
	var t net.Error
	return errors.As(err, &t) && t.Timeout()
}
