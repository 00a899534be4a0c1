package ssh

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/doorward/doorward"
	classify "github.com/doorward/doorward/internal/classify/ssh"
	"github.com/doorward/doorward/internal/gate"
	"github.com/doorward/doorward/internal/upstream"
	wire "github.com/doorward/doorward/internal/wire/ssh"
)

// serveForward serves a channel that wants a TCP connection from the target
// (RFC 4254, section 7.2): `ssh -L`, `ssh -W` and `ssh -J`.
func (c *connection) serveForward(ctx context.Context, n ssh.NewChannel) {
	reject := func(d *doorward.Denial) {
		text := "doorward: " + d.Reason
		if d.Hint != "" {
			text += ". " + d.Hint
		}
		_ = n.Reject(ssh.Prohibited, text)
	}
	s, err := c.take(ctx)
	if err != nil {
		reject(&doorward.Denial{Reason: reasonOf(err)})
		return
	}
	why := errors.New("a fault of doorward")
	defer func() {
		s.sink.end()
		s.Close(why)
	}()
	s.Busy(true)
	defer s.Busy(false)
	x := &channel{c: c, s: s, left: make(chan struct{})}
	over := make(chan struct{})
	defer close(over)
	go func() {
		select {
		case <-c.left:
			x.gone.Store(true)
			s.StopWaiting()
		case <-over:
		}
	}()
	ch, p, up, err := x.forward(n)
	var d *doorward.Denial
	if errors.As(err, &d) {
		reject(d)
		why = nil
		return
	}
	if err != nil {
		_ = n.Reject(ssh.ConnectionFailed, "doorward: "+reasonOf(err))
		why = err
		return
	}
	why = x.pump(ch, p, up)
}

// forward judges the connection and makes it.
func (x *channel) forward(n ssh.NewChannel) (ssh.Channel, *gate.Permit, *forwarded, error) {
	var m struct {
		Host       string
		Port       uint32
		Origin     string
		OriginPort uint32
	}
	if err := ssh.Unmarshal(n.ExtraData(), &m); err != nil {
		return nil, nil, nil, fmt.Errorf("a forwarded connection that cannot be read: %w", err)
	}
	x.want = classify.Request{Account: x.c.account, Kind: classify.KindForward, Host: m.Host, Port: m.Port}
	text, err := x.want.Text()
	if err != nil {
		return nil, nil, nil, x.s.Refuse(x.s.Context(), "forward", &doorward.Denial{Decision: "deny", Reason: "this cannot be understood, so it cannot be allowed: " + err.Error()})
	}
	if x.s.Stream() != nil {
		d := &doorward.Denial{Decision: "deny", Reason: "what goes through a forwarded connection cannot be masked, and what this target sends has to be", Hint: "Whoever keeps the configuration can take the target out of the detect rules."}
		return nil, nil, nil, x.s.Refuse(x.s.Context(), text, d)
	}
	p, err := x.ask(text, nil)
	if err != nil {
		return nil, nil, nil, err
	}
	up, err := x.dial()
	if err != nil {
		return nil, nil, nil, errors.Join(err, p.Reply().Done("not run"))
	}
	to, err := up.Forward(p)
	if err != nil {
		_ = up.Close()
		d := &doorward.Denial{Decision: "error", Reason: err.Error()}
		return nil, nil, nil, errors.Join(p.Reply().Done("not run"), d)
	}
	ch, reqs, err := n.Accept()
	if err != nil {
		_ = up.Close()
		return nil, nil, nil, errors.Join(err, p.Reply().Done("not run"))
	}
	go ssh.DiscardRequests(reqs)
	x.s.sink.use(ch)
	x.s.Busy(false) // a shutdown does not wait for a connection that nobody ends
	return ch, p, &forwarded{to, up}, nil
}

// forwarded is a connection that takes its SSH connection with it.
type forwarded struct {
	*upstream.Forwarded
	conn *upstream.SSHConn
}

// Close implements io.Closer.
func (f *forwarded) Close() error { return errors.Join(f.Forwarded.Close(), f.conn.Close()) }

// pump moves bytes both ways until both sides are done.
func (x *channel) pump(ch ssh.Channel, p *gate.Permit, to *forwarded) error {
	r := p.Reply()
	var cut atomic.Pointer[doorward.Denial]
	defer ch.Close()
	if err := r.Durable(x.s.Context()); err != nil {
		_ = to.Close()
		return errors.Join(err, r.Done("connection lost"))
	}
	if t := p.Limits().Time; t > 0 {
		limit := time.AfterFunc(t, func() {
			cut.Store(&doorward.Denial{Decision: "deny", Reason: fmt.Sprintf("stopped at the time limit of %s", t)})
			_ = to.Close()
			_ = ch.Close()
		})
		defer limit.Stop()
	}
	stop := context.AfterFunc(x.s.Context(), func() { _ = to.Close(); _ = ch.Close() })
	defer stop()
	var in sync.WaitGroup
	in.Add(1)
	go x.c.guard(func() {
		defer in.Done()
		buf := make([]byte, chunk)
		for {
			n, err := ch.Read(buf)
			if n > 0 {
				if r.Input(buf[:n]) != nil {
					_ = to.Close()
					return
				}
				if err := to.Stream(p, buf[:n]); err != nil {
					_ = to.Close()
					return
				}
			}
			if err != nil {
				_ = to.CloseWrite()
				return
			}
		}
	})
	buf := make([]byte, chunk)
	var fault error
	for {
		n, err := to.Read(buf)
		if n > 0 {
			if !r.Pour(0, n) {
				cut.Store(r.Over())
				break
			}
			if fault = r.Release(wire.Append(nil, wire.Output, buf[:n])); fault != nil {
				break
			}
		}
		if err != nil {
			break
		}
	}
	if fault == nil && cut.Load() == nil {
		// The far side may still read, until it closes.
		_ = ch.CloseWrite()
		done := make(chan struct{})
		go func() { in.Wait(); close(done) }()
		select {
		case <-done:
		case <-to.Ended:
			_ = ch.Close()
		}
	} else {
		_ = to.Close()
		_ = ch.Close()
	}
	in.Wait()
	_ = to.Close()
	code := ""
	switch {
	case cut.Load() != nil:
		code = cut.Load().Reason
	case fault != nil:
		code = "connection lost"
	case x.s.Err() != nil:
		code = "ended"
	}
	return errors.Join(r.Next(0, code), x.s.Err())
}
