package ssh

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/crypto/ssh"

	"github.com/doorward/doorward"
	classify "github.com/doorward/doorward/internal/classify/ssh"
	"github.com/doorward/doorward/internal/gate"
	"github.com/doorward/doorward/internal/relay"
	"github.com/doorward/doorward/internal/upstream"
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
	why = relay.Pump(x.s.Session, x.c.guard, p, ch, up)
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
	if x.s.Detects() {
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
