package cases

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/doorward/doorward/e2e/rawpg"
)

// script runs steps on connections that it opens as they are named.
type script struct {
	options func(conn string) rawpg.Options // how the connection signs in
	lookup  func(signature string) (uint32, error)
	timeout time.Duration // of a wait that names none

	conns map[string]*rawpg.Conn
	raw   map[string]bool // opened by raw_connect: what comes back need not be messages
	hung  []string        // waits without a timeout of their own that got no answer
}

// seen is what the client saw, over all connections.
type seen struct {
	*rawpg.Result
	closed bool
	hung   []string
	took   time.Duration
	bytes  int64
	own    []byte // what came to the agent: not to connections named other or victim
	readyZ int    // ReadyForQuery messages on the main connection
}

func (s *script) close() {
	for _, c := range s.conns {
		c.Close()
	}
}

func (s *script) conn(ctx context.Context, name string) (*rawpg.Conn, error) {
	if name == "" {
		name = "main"
	}
	if c := s.conns[name]; c != nil {
		return c, nil
	}
	c, err := rawpg.Connect(ctx, s.options(name))
	if err != nil {
		return nil, err
	}
	s.conns[name] = c
	return c, nil
}

// run does the steps; settle is how long to wait at the end for a connection
// that has answered nothing yet.
func (s *script) run(ctx context.Context, steps []Step, settle time.Duration) (*seen, error) {
	s.conns, s.raw, s.hung = map[string]*rawpg.Conn{}, map[string]bool{}, nil
	start := time.Now()
	for i, st := range steps {
		if err := s.step(ctx, st); err != nil {
			return nil, fmt.Errorf("step %d (%s): %w", i+1, st.Op, err)
		}
	}
	out := &seen{took: time.Since(start), hung: s.hung}
	for name, c := range s.conns {
		if c.Closed {
			continue
		}
		if s.raw[name] {
			c.DrainRaw(settle)
		} else {
			c.Drain(50 * time.Millisecond)
			if len(c.Result().Errors) == 0 && settle > 0 {
				c.Drain(settle)
			}
		}
	}
	var messages []rawpg.Message
	var raw []byte
	for _, name := range slices.Sorted(maps.Keys(s.conns)) {
		c := s.conns[name]
		messages, raw = append(messages, c.Messages...), append(raw, c.Raw...)
		if name != "other" && name != "victim" {
			out.own = append(out.own, c.Result().Bytes...)
		}
		out.closed = out.closed || c.Closed
		out.bytes += c.Received
		if bytes.Contains(c.Raw, []byte("SFATAL\x00")) || bytes.Contains(c.Raw, []byte("SERROR\x00")) {
			out.closed = true
		}
	}
	if m := s.conns["main"]; m != nil {
		for _, msg := range m.Messages {
			if msg.Type == 'Z' {
				out.readyZ++
			}
		}
	}
	out.Result = rawpg.Read(messages, raw)
	return out, nil
}

func (s *script) step(ctx context.Context, st Step) error {
	name := st.Conn
	if name == "" {
		name = "main"
	}
	switch st.Op {
	case "connect":
		opt := s.options(name)
		var params map[string]string
		if len(st.Params) > 0 {
			if err := json.Unmarshal(st.Params, &params); err != nil {
				return err
			}
		}
		for _, k := range slices.Sorted(maps.Keys(params)) {
			i := slices.IndexFunc(opt.Startup, func(p [2]string) bool { return p[0] == k })
			if i >= 0 {
				opt.Startup[i][1] = params[k]
			} else {
				opt.Startup = append(opt.Startup, [2]string{k, params[k]})
			}
		}
		opt.Startup = append(opt.Startup, st.ExtraPairs...)
		opt.Version = st.Version
		c, err := rawpg.Connect(ctx, opt)
		if err != nil {
			return err
		}
		s.conns[name] = c
		return nil
	case "raw_connect":
		b, err := st.Bytes()
		if err != nil {
			return err
		}
		c, err := rawpg.Plain(ctx, s.options(name))
		if err != nil {
			return err
		}
		s.conns[name], s.raw[name] = c, true
		c.Send(b)
		c.DrainRaw(300 * time.Millisecond)
		return nil
	case "sleep":
		time.Sleep(time.Duration(st.MS) * time.Millisecond)
		return nil
	case "cancel":
		c, err := s.conn(ctx, st.Of)
		if err != nil {
			return err
		}
		return c.Cancel(ctx, st.XorSecret)
	}
	c, err := s.conn(ctx, name)
	if err != nil {
		return err
	}
	switch st.Op {
	case "wait":
		s.wait(c, name, st)
		return nil
	case "close":
		c.Close()
		return nil
	}
	b, err := s.message(st)
	if err != nil {
		return err
	}
	c.Send(b)
	return nil
}

func (s *script) wait(c *rawpg.Conn, name string, st Step) {
	types, limit := st.For, s.timeout
	if types == "" {
		types = "Z"
	}
	if st.TimeoutMS > 0 {
		limit = time.Duration(st.TimeoutMS) * time.Millisecond
	}
	if s.raw[name] {
		c.DrainRaw(min(limit, time.Second))
		return
	}
	if !c.ReadUntil(types, limit) && !c.Closed && st.TimeoutMS == 0 {
		s.hung = append(s.hung, fmt.Sprintf("no message of type %q on %s within %s", types, name, limit))
	}
}

// message makes the bytes of a step that sends.
func (s *script) message(st Step) ([]byte, error) {
	var text []byte
	switch st.Op {
	case "Q", "P", "CopyData", "raw":
		var err error
		if text, err = st.Bytes(); err != nil {
			return nil, err
		}
	}
	switch st.Op {
	case "Q":
		if !st.NoNul {
			text = append(text, 0)
		}
		return rawpg.Msg('Q', text), nil
	case "P":
		return rawpg.Msg('P', rawpg.Parse(st.Stmt, text, st.OIDs)), nil
	case "B":
		params, err := values(st.Params)
		if err != nil {
			return nil, err
		}
		return rawpg.Msg('B', rawpg.Bind(st.Portal, st.Stmt, st.Formats, params, st.ResultFormats)), nil
	case "E":
		return rawpg.Msg('E', rawpg.Execute(st.Portal, st.Max)), nil
	case "D", "C":
		kind := st.Kind
		if kind == "" {
			kind = "S"
		}
		return rawpg.Msg(st.Op[0], append([]byte(kind+st.Name), 0)), nil
	case "S", "H", "X":
		return rawpg.Msg(st.Op[0], nil), nil
	case "F":
		oid := st.OID
		if oid == 0 {
			var err error
			if oid, err = s.lookup(st.Func); err != nil {
				return nil, err
			}
		}
		args, err := encode(st.Args)
		if err != nil {
			return nil, err
		}
		return rawpg.Msg('F', rawpg.FunctionCall(oid, nil, args, 0)), nil
	case "CopyData":
		return rawpg.Msg('d', text), nil
	case "CopyDone":
		return rawpg.Msg('c', nil), nil
	case "CopyFail":
		return rawpg.Msg('f', []byte("x\x00")), nil
	case "raw":
		return text, nil
	}
	return nil, fmt.Errorf("unknown step")
}
