package rawpg

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"time"
)

// Split says how the bytes that a client writes are cut into segments.
type Split string

// The ways to cut.
const (
	SplitNone   Split = "none"
	SplitRandom Split = "random"
	SplitBytes  Split = "bytes"
)

// keepBytes bounds what a connection keeps of what it received; beyond it
// messages are counted and thrown away.
const keepBytes = 160 << 20

// Options of a connection.
type Options struct {
	Addr     string
	TLS      *tls.Config // nil: no TLS
	Version  uint32      // 0: 3.0
	Startup  [][2]string // parameters, in order; duplicates are sent as they are
	Password string
	Split    Split
	Seed     uint64        // of SplitRandom
	Timeout  time.Duration // of a single read or write; 0: 10 s
}

// Message is one backend message.
type Message struct {
	Type byte
	Body []byte
}

// Conn is one connection and everything that it received.
type Conn struct {
	Messages []Message
	Raw      []byte // what came before, or instead of, messages
	Received int64  // bytes, also of messages not kept
	Closed   bool   // the other side closed, or this one did
	PID      uint32
	Secret   []byte
	Status   map[string]string
	Tx       byte // transaction status of the last ReadyForQuery

	opt  Options
	net  net.Conn
	buf  []byte
	rnd  *rand.Rand
	kept int64
}

// Plain opens a socket and sends nothing.
func Plain(ctx context.Context, opt Options) (*Conn, error) {
	if opt.Timeout == 0 {
		opt.Timeout = 10 * time.Second
	}
	d := net.Dialer{Timeout: 10 * time.Second}
	n, err := d.DialContext(ctx, "tcp", opt.Addr)
	if err != nil {
		return nil, err
	}
	return &Conn{opt: opt, net: n, Status: map[string]string{}, rnd: rand.New(rand.NewPCG(opt.Seed, 1))}, nil
}

// Connect opens a socket, starts TLS if asked, sends the startup packet and
// signs in. A refusal by the server is no error: it is in Messages.
func Connect(ctx context.Context, opt Options) (*Conn, error) {
	c, err := Plain(ctx, opt)
	if err != nil {
		return nil, err
	}
	if opt.TLS != nil {
		if err := c.startTLS(ctx); err != nil {
			c.Close()
			return nil, err
		}
	}
	version := opt.Version
	if version == 0 {
		version = 3 << 16
	}
	c.Send(StartupPacket(version, opt.Startup))
	if err := c.signIn(); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// Dial is Connect for a client that only works signed in: a refusal is an error.
func Dial(ctx context.Context, opt Options) (*Conn, error) {
	c, err := Connect(ctx, opt)
	if err != nil {
		return nil, err
	}
	if c.Tx == 0 {
		defer c.Close()
		return nil, fmt.Errorf("sign-in at %s: %s", opt.Addr, c.Result().FirstError())
	}
	c.Messages = nil
	return c, nil
}

func (c *Conn) startTLS(ctx context.Context) error {
	c.Send([]byte{0, 0, 0, 8, 4, 210, 22, 47})
	var answer [1]byte
	c.net.SetReadDeadline(time.Now().Add(c.opt.Timeout))
	if _, err := io.ReadFull(c.net, answer[:]); err != nil {
		return fmt.Errorf("the answer to SSLRequest from %s: %w", c.opt.Addr, err)
	}
	if answer[0] != 'S' {
		return fmt.Errorf("%s refuses TLS (answered %q)", c.opt.Addr, answer[0])
	}
	t := tls.Client(c.net, c.opt.TLS)
	if err := t.HandshakeContext(ctx); err != nil {
		return fmt.Errorf("TLS with %s: %w", c.opt.Addr, err)
	}
	c.net = t
	return nil
}

func (c *Conn) signIn() error {
	var sc *scram
	for {
		m, ok := c.Read(time.Now().Add(c.opt.Timeout))
		if !ok || m.Type == 'E' || m.Type == 'Z' {
			return nil
		}
		if m.Type != 'R' || len(m.Body) < 4 {
			continue
		}
		switch binary.BigEndian.Uint32(m.Body) {
		case 0:
		case 3:
			c.Send(Msg('p', append([]byte(c.opt.Password), 0)))
		case 10:
			sc = newScram(c.opt.Password)
			first := sc.first()
			b := append([]byte("SCRAM-SHA-256\x00"), binary.BigEndian.AppendUint32(nil, uint32(len(first)))...)
			c.Send(Msg('p', append(b, first...)))
		case 11:
			if sc == nil {
				return errors.New("SASL continues before it began")
			}
			final, err := sc.final(m.Body[4:])
			if err != nil {
				return err
			}
			c.Send(Msg('p', final))
		case 12:
			if sc == nil || !sc.verify(m.Body[4:]) {
				return errors.New("the server did not prove that it knows the password")
			}
		default:
			return fmt.Errorf("sign-in method %d is not spoken here", binary.BigEndian.Uint32(m.Body))
		}
	}
}

// Send writes b, cut as the options say. A failure marks the connection closed.
func (c *Conn) Send(b []byte) {
	if c.Closed {
		return
	}
	for len(b) > 0 {
		n := len(b)
		switch c.opt.Split {
		case SplitBytes:
			n = 1
			// A megabyte in one-byte records says no more than its first and
			// last kilobytes do, and takes minutes.
			if len(b) > 96<<10 {
				n = 4093
			}
		case SplitRandom:
			n = 1 + c.rnd.IntN(min(len(b), 1+c.rnd.IntN(64)*c.rnd.IntN(64)))
		}
		c.net.SetWriteDeadline(time.Now().Add(c.opt.Timeout))
		if _, err := c.net.Write(b[:n]); err != nil {
			// What the server said before it closed may still be there to be read.
			if errors.Is(err, os.ErrDeadlineExceeded) {
				c.Closed = true
			}
			return
		}
		b = b[n:]
	}
}

// Read gives the next message, or false when the deadline passed or the
// connection ended.
func (c *Conn) Read(deadline time.Time) (Message, bool) {
	for {
		if len(c.buf) >= 5 {
			n := int(binary.BigEndian.Uint32(c.buf[1:5]))
			if n < 4 || n > 1<<30 {
				c.Raw, c.buf, c.Closed = append(c.Raw, c.buf...), nil, true
				return Message{}, false
			}
			if len(c.buf) >= n+1 {
				m := Message{c.buf[0], c.buf[5 : n+1 : n+1]}
				c.buf = c.buf[n+1:]
				c.note(m)
				return m, true
			}
		}
		if c.Closed || !c.fill(deadline) {
			return Message{}, false
		}
	}
}

func (c *Conn) fill(deadline time.Time) bool {
	if cap(c.buf)-len(c.buf) < 64<<10 {
		// A new array: earlier messages keep the old one.
		c.buf = append(make([]byte, 0, max(256<<10, 2*len(c.buf)+64<<10)), c.buf...)
	}
	c.net.SetReadDeadline(deadline)
	n, err := c.net.Read(c.buf[len(c.buf):cap(c.buf)])
	c.buf = c.buf[:len(c.buf)+n]
	c.Received += int64(n)
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		c.Closed = true
	}
	return n > 0
}

func (c *Conn) note(m Message) {
	if c.kept += int64(len(m.Body)); c.kept <= keepBytes || m.Type == 'E' {
		c.Messages = append(c.Messages, m)
	}
	switch m.Type {
	case 'K':
		if len(m.Body) >= 8 {
			c.PID, c.Secret = binary.BigEndian.Uint32(m.Body), slices.Clone(m.Body[4:])
		}
	case 'S':
		if f := fields(m.Body, 2); len(f) == 2 {
			c.Status[f[0]] = f[1]
		}
	case 'Z':
		if len(m.Body) == 1 {
			c.Tx = m.Body[0]
		}
	}
}

// ReadUntil reads up to a message of one of the types, or gives false after the timeout.
func (c *Conn) ReadUntil(types string, timeout time.Duration) bool {
	deadline := time.Now().Add(timeout)
	for {
		m, ok := c.Read(deadline)
		if !ok {
			return false
		}
		for i := range len(types) {
			if types[i] == m.Type {
				return true
			}
		}
	}
}

// Drain reads whatever comes within d.
func (c *Conn) Drain(d time.Duration) {
	deadline := time.Now().Add(d)
	for {
		if _, ok := c.Read(deadline); !ok {
			return
		}
	}
}

// DrainRaw reads bytes that need not be messages within d.
func (c *Conn) DrainRaw(d time.Duration) {
	deadline := time.Now().Add(d)
	for !c.Closed && c.fill(deadline) {
	}
	c.Raw, c.buf = append(c.Raw, c.buf...), nil
}

// Query sends a simple query and reads to ReadyForQuery. Only the messages of
// this query are in the result; the connection forgets them.
func (c *Conn) Query(sql string, timeout time.Duration) (*Result, error) {
	c.Messages, c.kept = nil, 0
	c.Send(Msg('Q', append([]byte(sql), 0)))
	if !c.ReadUntil("Z", timeout) {
		r := c.Result()
		if e := r.FirstError(); e != "" {
			return r, fmt.Errorf("%s: the connection ended: %s", short(sql), e)
		}
		return r, fmt.Errorf("%s: no answer within %s", short(sql), timeout)
	}
	r := c.Result()
	c.Messages, c.kept = nil, 0
	if e := r.FirstError(); e != "" {
		return r, fmt.Errorf("%s: %s", short(sql), e)
	}
	return r, nil
}

// Discard reads to ReadyForQuery and keeps nothing: it says how much came. It
// is for measuring, and costs as little as reading frames can.
func (c *Conn) Discard(timeout time.Duration) (size int64, rows int, err error) {
	c.net.SetReadDeadline(time.Now().Add(timeout))
	buf := make([]byte, 256<<10)
	have := copy(buf, c.buf)
	c.buf = nil
	skip, failed := 0, false // bytes of the current message that are still to come
	for {
		at := 0
		for {
			n := min(skip, have-at)
			at, skip = at+n, skip-n
			if skip > 0 || have-at < 5 {
				break
			}
			t, length := buf[at], int(binary.BigEndian.Uint32(buf[at+1:]))
			switch t {
			case 'D', 'd':
				rows++
			case 'E':
				failed = true
			case 'Z':
				if have-at >= length+1 {
					size += int64(length) + 1
					c.Tx = buf[at+5]
					if failed {
						return size, rows, errors.New("the server or the gate reported an error")
					}
					return size, rows, nil
				}
			}
			if t == 'Z' {
				break
			}
			size, at, skip = size+int64(length)+1, at+5, length-4
		}
		have = copy(buf, buf[at:have])
		n, err := c.net.Read(buf[have:])
		if have += n; n == 0 && err != nil {
			c.Closed = true
			return size, rows, err
		}
	}
}

// Cancel sends a CancelRequest for c's key, changed by xor, on a socket of its own.
func (c *Conn) Cancel(ctx context.Context, xor uint32) error {
	d := net.Dialer{Timeout: 5 * time.Second}
	n, err := d.DialContext(ctx, "tcp", c.opt.Addr)
	if err != nil {
		return err
	}
	defer n.Close()
	secret := slices.Clone(c.Secret)
	if len(secret) >= 4 {
		binary.BigEndian.PutUint32(secret, binary.BigEndian.Uint32(secret)^xor)
	}
	b := binary.BigEndian.AppendUint32(nil, uint32(12+len(secret)))
	b = binary.BigEndian.AppendUint32(b, 80877102)
	b = binary.BigEndian.AppendUint32(b, c.PID)
	n.SetDeadline(time.Now().Add(5 * time.Second))
	_, err = n.Write(append(b, secret...))
	return err
}

// Close ends the connection without a word.
func (c *Conn) Close() {
	c.Closed = true
	c.net.Close()
}

// Terminate says goodbye and closes.
func (c *Conn) Terminate() {
	c.Send(Msg('X', nil))
	c.Close()
}

func short(s string) string {
	if len(s) > 80 {
		return s[:80] + "…"
	}
	return s
}
