package upstream

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	wire "github.com/doorward/doorward/internal/wire/http"
)

// httpConn is one connection to a service.
type httpConn struct {
	raw   net.Conn // TCP
	conn  net.Conn // TLS over it, or the same
	r     *wire.Reader
	out   []byte
	used  int       // requests before this one
	since time.Time // of when it became free
	last  bool      // it cannot be used again
}

// errNoAnswer says that a connection ended before any byte of an answer came.
var errNoAnswer = errors.New("the service closed the connection without an answer")

// earlyWait is for an answer that came before its request was sent whole.
const earlyWait = time.Second

// maxWriteKept bounds the buffer that a connection keeps between requests.
const maxWriteKept = 64 << 10

// roundTrip sends a request and reads the head of its answer. sent reports
// whether any of it may have arrived.
func (c *httpConn) roundTrip(ctx context.Context, out *Outgoing) (a *HTTPAnswer, sent bool, err error) {
	// The end of the context ends whatever the connection waits for.
	stop := context.AfterFunc(ctx, func() { _ = c.raw.SetDeadline(time.Unix(1, 0)) })
	defer func() {
		if err != nil {
			stop()
		}
	}()
	if err := c.raw.SetDeadline(time.Now().Add(answerWait)); err != nil {
		return nil, false, err
	}
	if ctx.Err() != nil {
		return nil, false, context.Cause(ctx)
	}
	c.out = wire.AppendRequest(c.out[:0], out.Method, out.Target, out.Host, out.Fields, out.Body)
	if len(c.out) == 0 {
		return nil, false, errors.New("the request cannot be written as HTTP")
	}
	n, err := c.conn.Write(c.out)
	if cap(c.out) > maxWriteKept {
		c.out = nil
	}
	var head *wire.Answer
	if err != nil {
		if head = c.early(out.Method); head == nil {
			return nil, n > 0, errors.Join(errNoAnswer, err)
		}
		err = nil
	} else {
		head, err = c.r.Answer(out.Method)
	}
	var fault *wire.Fault
	switch {
	case errors.As(err, &fault):
		return nil, true, fmt.Errorf("its answer is not HTTP as it should be: %w", fault)
	case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET):
		return nil, true, errors.Join(errNoAnswer, err)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, true, fmt.Errorf("there was no answer within %s", answerWait)
	case err != nil:
		return nil, true, err
	}
	c.last = c.last || head.Close
	length := head.Length
	if length < 0 {
		length = -1
	}
	// How long a body may take is for the rules, and for who waits for it.
	if err := c.raw.SetDeadline(time.Time{}); err != nil {
		return nil, true, err
	}
	if ctx.Err() != nil {
		return nil, true, context.Cause(ctx)
	}
	return &HTTPAnswer{Status: head.Status, Fields: head.Fields, Length: length, conn: c, stop: stop}, true, nil
}

// early gives the answer of a service that refuses a request before it has read
// it whole, and reads no further (RFC 9110, section 10.1.1); nil: there is none.
func (c *httpConn) early(method string) *wire.Answer {
	c.last = true
	if c.raw.SetReadDeadline(time.Now().Add(earlyWait)) != nil {
		return nil
	}
	head, err := c.r.Answer(method)
	if err != nil || head.Status < 400 {
		return nil
	}
	return head
}

// alive reports whether nothing came on a connection that nobody used, not even
// its end.
func (c *httpConn) alive() bool {
	sys, ok := c.raw.(syscall.Conn)
	if !ok {
		return true
	}
	raw, err := sys.SyscallConn()
	if err != nil {
		return false
	}
	quiet := false
	err = raw.Read(func(fd uintptr) bool {
		var b [1]byte
		n, err := syscall.Read(int(fd), b[:])
		quiet = n < 0 && (errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.EWOULDBLOCK))
		return true // in any case: it does not wait
	})
	return err == nil && quiet && c.drained()
}

// drained reports whether TLS holds nothing that was read from the connection
// already: an answer that nobody asked for would be the next client's. A read
// whose time is over gives what is held and never waits.
func (c *httpConn) drained() bool {
	if c.conn == c.raw {
		return true
	}
	if c.raw.SetReadDeadline(time.Unix(1, 0)) != nil {
		return false
	}
	var b [1]byte
	n, err := c.conn.Read(b[:])
	return n == 0 && errors.Is(err, os.ErrDeadlineExceeded)
}

func (c *httpConn) close() { _ = c.raw.Close() }

// dial connects to the service.
func (h *HTTP) dial(ctx context.Context) (*httpConn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	port := h.opt.Address.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[h.opt.Address.Scheme]
	}
	addrs, err := h.resolve(ctx, h.opt.Address.Hostname())
	if err != nil {
		return nil, err
	}
	var raw net.Conn
	for _, a := range addrs {
		// The address that was looked at is the one that is dialed: a name that
		// is asked again may lead elsewhere.
		if raw, err = (&net.Dialer{}).DialContext(ctx, "tcp", net.JoinHostPort(a.String(), port)); err == nil {
			break
		}
	}
	if err != nil {
		return nil, err
	}
	c := &httpConn{raw: raw, conn: raw}
	if h.opt.Address.Scheme == "https" {
		t := tls.Client(raw, h.opt.TLS)
		if err := t.HandshakeContext(ctx); err != nil {
			_ = raw.Close()
			return nil, fmt.Errorf("TLS: %w", err)
		}
		c.conn = t
	}
	c.r = wire.NewReader(c.conn, wire.Limits{})
	return c, nil
}

// ErrAddress says that the name of a service leads to where it must not.
var ErrAddress = errors.New("the name leads to an address that is not allowed")

// resolve gives the addresses of a host. All of them have to be allowed: of a
// name that leads to several places, none is trusted more than the worst.
func (h *HTTP) resolve(ctx context.Context, host string) ([]netip.Addr, error) {
	if a, err := netip.ParseAddr(host); err == nil {
		a = a.Unmap()
		if len(h.opt.Networks) > 0 && !within(h.opt.Networks, a) {
			return nil, fmt.Errorf("%w: %s is in none of the target's networks", ErrAddress, a)
		}
		return []netip.Addr{a}, nil
	}
	resolver := net.DefaultResolver
	if h.opt.Resolver != "" {
		resolver = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, h.opt.Resolver)
		}}
	}
	found, err := resolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("%s has no address", host)
	}
	for i, a := range found {
		a = a.Unmap()
		found[i] = a
		if !allowed(h.opt.Networks, a, host) {
			return nil, fmt.Errorf("%w: %s is %s", ErrAddress, host, a)
		}
	}
	return found, nil
}

// nat64 addresses hold an IPv4 address in their last four bytes (RFC 6052).
var nat64 = netip.MustParsePrefix("64:ff9b::/96")

// metadata are where clouds tell a machine its credentials, beside the
// link-local 169.254.169.254.
var metadata = map[netip.Addr]bool{
	netip.MustParseAddr("fd00:ec2::254"):   true,
	netip.MustParseAddr("100.100.100.200"): true,
	netip.MustParseAddr("168.63.129.16"):   true,
	netip.MustParseAddr("192.0.0.192"):     true,
}

// allowed reports whether a name may lead to an address.
func allowed(networks []netip.Prefix, a netip.Addr, host string) bool {
	if len(networks) > 0 {
		return within(networks, a)
	}
	if nat64.Contains(a) {
		b := a.As16()
		a = netip.AddrFrom4([4]byte(b[12:]))
	}
	if host == "localhost" {
		return a.IsLoopback()
	}
	if metadata[a] {
		return false
	}
	return !a.IsLoopback() && !a.IsUnspecified() && !a.IsLinkLocalUnicast() && !a.IsMulticast() && !a.IsInterfaceLocalMulticast() && a.Zone() == ""
}

func within(networks []netip.Prefix, a netip.Addr) bool {
	for _, n := range networks {
		if n.Contains(a) {
			return true
		}
	}
	return false
}
