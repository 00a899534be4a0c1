package relay

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/doorward/doorward"
	"github.com/doorward/doorward/internal/gate"
	"github.com/doorward/doorward/internal/wire/frame"
)

// Connection is a connection that the target made under a spent permit.
type Connection interface {
	io.Reader
	Stream(*gate.Permit, []byte) error
	CloseWrite() error
	Close() error
	Ended() <-chan struct{} // closed once the far side has closed it
}

// Far is the client's side of a connection.
type Far interface {
	io.Reader
	CloseWrite() error
	Close() error
}

// Pump moves bytes both ways until both sides are done. What comes from the
// target goes to the client through the session, as output.
func Pump(s *gate.Session, guard func(func()), p *gate.Permit, ch Far, to Connection) error {
	r := p.Reply()
	var cut atomic.Pointer[doorward.Denial]
	defer ch.Close()
	if err := r.Durable(s.Context()); err != nil {
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
	stop := context.AfterFunc(s.Context(), func() { _ = to.Close(); _ = ch.Close() })
	defer stop()
	var in sync.WaitGroup
	in.Add(1)
	go guard(func() {
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
			if fault = r.Release(frame.Append(nil, frame.Output, buf[:n])); fault != nil {
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
		case <-to.Ended():
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
	case s.Err() != nil:
		code = "ended"
	}
	return errors.Join(r.Next(0, code), s.Err())
}
