package httpcases

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// client2 speaks HTTP/2 frame by frame, so that what a careful client would not
// send is sent.
type client2 struct {
	conn   *tls.Conn
	framer *http2.Framer
	next   uint32
	closed bool
}

func dial2(ctx context.Context, addr string, conf *tls.Config) (*client2, error) {
	conf = conf.Clone()
	conf.NextProtos = []string{"h2"}
	d := tls.Dialer{NetDialer: &net.Dialer{Timeout: 10 * time.Second}, Config: conf}
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	c := &client2{conn: conn.(*tls.Conn), next: 1}
	if c.conn.ConnectionState().NegotiatedProtocol != "h2" {
		conn.Close()
		return nil, errors.New("doorward does not speak HTTP/2")
	}
	_ = conn.SetDeadline(time.Now().Add(answerWait))
	c.framer = http2.NewFramer(conn, conn)
	c.framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	if _, err = conn.Write([]byte(http2.ClientPreface)); err == nil {
		err = c.framer.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: mostRead})
	}
	if err == nil {
		err = c.framer.WriteWindowUpdate(0, mostRead)
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return c, nil
}

// sayable reports whether a request can be said in HTTP/2 and means there what
// it means in HTTP/1.1: connections are none of its headers' business.
func (p *plain) sayable() bool {
	return p != nil && p.framed() && len(p.body) <= maxBody2 && !slices.ContainsFunc(p.headers, func(h [2]string) bool {
		return slices.Contains([]string{"connection", "keep-alive", "te", "upgrade", "http2-settings", "proxy-connection", "transfer-encoding", "expect"}, strings.ToLower(h[0]))
	})
}

// clean reports whether a request holds nothing but visible bytes and blanks in
// its headers: else it is another one in HTTP/1.1, where they end lines.
func (p *plain) clean() bool {
	odd := func(s string) bool { return strings.ContainsFunc(s, func(c rune) bool { return c < ' ' || c > '~' }) }
	return !strings.Contains(p.target, " ") && !odd(p.target) && !slices.ContainsFunc(p.headers, func(h [2]string) bool { return odd(h[0]) || odd(h[1]) })
}

// maxBody2 is what can be sent without waiting for the server to want more.
const maxBody2 = 48 << 10

// maxFirstFrame is the size of frames that a server takes without a word
// (RFC 9113, section 4.2).
const maxFirstFrame = 16 << 10

// send sends one request and reads its answer; nil if the stream or the
// connection was ended in place of one.
func (c *client2) send(p *plain, token string) (*answer, error) {
	if c.closed {
		return nil, nil
	}
	id := c.next
	c.next += 2
	var block bytes.Buffer
	enc := hpack.NewEncoder(&block)
	put := func(name, value string) {
		_ = enc.WriteField(hpack.HeaderField{Name: name, Value: value})
	}
	put(":method", p.method)
	put(":scheme", "https")
	put(":authority", p.host)
	put(":path", p.target)
	if token != "" {
		put("authorization", "Bearer "+token)
	}
	for _, h := range p.headers {
		put(strings.ToLower(h[0]), h[1])
	}
	if len(p.body) > 0 && !p.headers.has("Content-Length") {
		put("content-length", strconv.Itoa(len(p.body)))
	}
	_ = c.conn.SetDeadline(time.Now().Add(answerWait))
	// It may have answered before all was sent.
	_ = c.write(id, block.Bytes(), p.body)
	return c.read(id, p)
}

func (c *client2) write(id uint32, head, body []byte) error {
	n := min(len(head), maxFirstFrame)
	err := c.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: head[:n], EndHeaders: n == len(head), EndStream: len(body) == 0})
	for head = head[n:]; err == nil && len(head) > 0; head = head[n:] {
		n = min(len(head), maxFirstFrame)
		err = c.framer.WriteContinuation(id, n == len(head), head[:n])
	}
	for err == nil && len(body) > 0 {
		n = min(len(body), maxFirstFrame)
		err = c.framer.WriteData(id, n == len(body), body[:n])
		body = body[n:]
	}
	return err
}

func (c *client2) read(id uint32, p *plain) (*answer, error) {
	var a *answer
	for {
		f, err := c.framer.ReadFrame()
		if err != nil {
			c.closed = true
			if a != nil {
				a.broken = err
			}
			if isTimeout(err) {
				return a, fmt.Errorf("no answer by HTTP/2 within %s", answerWait)
			}
			return a, nil
		}
		switch f := f.(type) {
		case *http2.SettingsFrame:
			if !f.IsAck() {
				_ = c.framer.WriteSettingsAck()
			}
		case *http2.PingFrame:
			_ = c.framer.WritePing(true, f.Data)
		case *http2.GoAwayFrame:
			c.closed = true
			if f.LastStreamID < id {
				return a, nil
			}
		case *http2.RSTStreamFrame:
			if f.StreamID == id {
				if a != nil {
					a.broken = fmt.Errorf("the stream was reset: %s", f.ErrCode)
				}
				return a, nil
			}
		case *http2.MetaHeadersFrame:
			if f.StreamID != id {
				continue
			}
			if status, err := strconv.Atoi(f.PseudoValue("status")); err == nil && status >= 200 {
				a = &answer{line: p.line, plain: p, status: status, header: http.Header{}}
			}
			if a != nil {
				for _, h := range f.RegularFields() {
					a.header.Add(h.Name, h.Value)
				}
			}
			if f.StreamEnded() {
				return a, nil
			}
		case *http2.DataFrame:
			if f.StreamID != id || a == nil {
				continue
			}
			a.body = append(a.body, f.Data()...)
			if f.StreamEnded() {
				return a, nil
			}
		}
	}
}

// run2 does the steps by HTTP/2; nil if they cannot be said there.
func run2(ctx context.Context, steps []Step, e endpoint, conf *tls.Config) (*seen, error) {
	var says [][]*plain
	var again []bool
	for i := range steps {
		if !steps[i].sends() {
			continue
		}
		m, err := steps[i].at(endpoint{})
		if err != nil {
			return nil, err
		}
		if m.parts != nil {
			m.plain, m.vague = []*plain{m.parts}, false
		}
		if m.vague || len(m.plain) == 0 || steps[i].Op == "send_slow" || slices.ContainsFunc(m.plain, func(p *plain) bool { return !p.sayable() }) {
			return nil, nil
		}
		says, again = append(says, m.plain), append(again, steps[i].Op == "send_same_connection")
	}
	s := &seen{}
	var c *client2
	defer func() {
		if c != nil {
			c.conn.Close()
		}
	}()
	for i, list := range says {
		if c == nil || !again[i] {
			if c != nil {
				c.conn.Close()
			}
			var err error
			if c, err = dial2(ctx, e.addr, conf); err != nil {
				return nil, err
			}
		}
		for _, p := range list {
			s.asked++
			s.lines = append(s.lines, p.line)
			a, err := c.send(p, e.token)
			if err != nil {
				s.garbled = err
			}
			if a == nil {
				s.ended = true
				break
			}
			s.answers = append(s.answers, a)
		}
	}
	var heads bytes.Buffer
	for _, a := range s.answers {
		_ = a.header.Write(&heads)
	}
	s.keep(heads.Bytes())
	return s, nil
}
