package replay

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/doorward/doorward"
	"github.com/doorward/doorward/internal/wire/frame"
)

// castTerm is the terminal that an asciicast is for.
type castTerm struct {
	Cols int    `json:"cols"`
	Rows int    `json:"rows"`
	Type string `json:"type,omitempty"`
}

// castHead is the first line of an asciicast.
type castHead struct {
	Version   int      `json:"version"`
	Term      castTerm `json:"term"`
	Timestamp int64    `json:"timestamp"`
	Idle      int      `json:"idle_time_limit"`
	Title     string   `json:"title"`
}

// castWriter writes the lines of an asciicast v3, whose times are intervals
// (https://docs.asciinema.org/manual/asciicast/v3/).
type castWriter struct {
	out  *bufio.Writer
	enc  *json.Encoder
	last int64 // microseconds
}

func newCastWriter(w io.Writer) *castWriter {
	c := &castWriter{out: bufio.NewWriter(w)}
	c.enc = json.NewEncoder(c.out)
	c.enc.SetEscapeHTML(false)
	return c
}

// event writes what happened at a time since the session's start.
func (c *castWriter) event(at time.Duration, code, data string) error {
	us := max(at.Microseconds(), c.last)
	after := float64(us-c.last) / 1e6
	c.last = us
	return c.enc.Encode([]any{after, code, data})
}

// Asciicast writes the session as an asciicast v3 recording. What terminal
// programs wrote went through a [Filter]: it may be shown in any terminal.
func (r *Replay) Asciicast(ctx context.Context, w io.Writer) error {
	c := newCastWriter(w)
	write := r.castText
	if drawn, err := r.Drawn(ctx); err != nil {
		return err
	} else if drawn {
		write = r.castSSH
	}
	err := write(ctx, c)
	if e := c.out.Flush(); err == nil {
		err = e
	}
	return err
}

func (r *Replay) castHead(c *castWriter, term castTerm) error {
	return c.enc.Encode(castHead{3, term, r.header.Started.Unix(), 2, strings.TrimSpace(r.title())})
}

// Drawn reports whether the session is best shown as a terminal: it is of SSH,
// or somebody had a terminal in it.
func (r *Replay) Drawn(ctx context.Context) (bool, error) {
	if r.header.Protocol != protocolKubernetes {
		return r.header.Protocol == protocolSSH, nil
	}
	_, _, err := r.frames(ctx, func(f doorward.Frame) error {
		if f.Kind != doorward.FrameReply {
			return nil
		}
		_, err := split(f.Data, func(kind byte, _ []byte, _ bool) error {
			if kind == frame.Window {
				return errFound
			}
			return nil
		})
		return err
	})
	if errors.Is(err, errFound) {
		return true, nil
	}
	return false, err
}

// castText shows the text of a session that had no terminal.
func (r *Replay) castText(ctx context.Context, c *castWriter) error {
	if err := r.castHead(c, castTerm{Cols: 120, Rows: 40}); err != nil {
		return err
	}
	event := func(at time.Duration, s string) error {
		return c.event(at, "o", strings.ReplaceAll(s, "\n", "\r\n"))
	}
	if err := event(0, r.title()); err != nil {
		return err
	}
	_, _, err := r.each(ctx, Limit{}, func(e Entry) error {
		return event(time.Duration(e.AtMS*1000)*time.Microsecond, e.String())
	})
	if err != nil {
		return err
	}
	// The reader of an asciicast waits for this: the session's end.
	return c.event(0, "x", "0")
}

// errFound ends a look at a tape.
var errFound = errors.New("found")

// term is the terminal of an SSH session: the first that a request asks for,
// or the first size that a client tells.
func (r *Replay) term(ctx context.Context) (castTerm, error) {
	t := castTerm{Cols: 80, Rows: 24}
	set := func(columns, rows uint32) error {
		if _, err := fmt.Sscanf(size(columns, rows), "%dx%d", &t.Cols, &t.Rows); err != nil {
			return err
		}
		return errFound
	}
	_, _, err := r.frames(ctx, func(f doorward.Frame) error {
		switch f.Kind {
		case doorward.FrameRequest:
			var rec doorward.RequestRecord
			if json.Unmarshal(f.Data, &rec) != nil {
				return nil
			}
			if pty := terminalOf(rec.Statement); pty != nil {
				t.Type, _ = text64([]byte(pty.Term))
				return set(pty.Columns, pty.Rows)
			}
		case doorward.FrameReply:
			_, err := split(f.Data, func(kind byte, body []byte, _ bool) error {
				if kind == frame.Window {
					return set(window(body))
				}
				return nil
			})
			return err
		}
		return nil
	})
	if errors.Is(err, errFound) {
		err = nil
	}
	return t, err
}

// maxMarker bounds the text of a marker, in bytes.
const maxMarker = 1 << 10

// sshCast turns the frames of an SSH session's tape into the events of an
// asciicast:
//
//	o  output and errors, as they may be drawn; messages of doorward's own too
//	i  input
//	r  a new size of the terminal
//	m  "#N …" for what became of request N, "doorward: …" for a message
//	x  the exit status of the command that ended last, at the very end
type sshCast struct {
	c        *castWriter
	started  time.Time
	channels channels
	size     string
	status   string // of the command that ended last
}

func (r *Replay) castSSH(ctx context.Context, c *castWriter) error {
	term, err := r.term(ctx)
	if err != nil {
		return err
	}
	if err := r.castHead(c, term); err != nil {
		return err
	}
	s := &sshCast{c: c, started: r.header.Started, size: fmt.Sprintf("%dx%d", term.Cols, term.Rows)}
	if _, _, err := r.frames(ctx, s.frame); err != nil {
		return err
	}
	if s.status == "" { // it runs, or nothing in it ever ended
		return nil
	}
	return c.event(0, "x", s.status)
}

func (s *sshCast) frame(f doorward.Frame) error {
	at := f.At.Sub(s.started)
	switch f.Kind {
	case doorward.FrameRequest:
		return s.request(at, f)
	case doorward.FrameReply:
		return s.reply(at, f)
	case doorward.FrameInput:
		// In pieces, so that no line of the file is without bound.
		for b := f.Data; len(b) > 0; {
			part := b[:min(len(b), maxText)]
			b = b[len(part):]
			if err := s.c.event(at, "i", typed(string(part))); err != nil {
				return err
			}
		}
	case doorward.FrameNote:
		return s.marker(at, 0, string(f.Data))
	case doorward.FrameCut:
		s.channel(f.Request, false).forget()
		var c doorward.CutRecord
		if json.Unmarshal(f.Data, &c) != nil {
			return s.marker(at, f.Request, "not recorded")
		}
		return s.marker(at, f.Request, fmt.Sprintf("%d bytes are not recorded: %s", c.Bytes, c.Why))
	case doorward.FrameOutcome:
		s.channels.ended(f.Request)
		var o doorward.OutcomeRecord
		if json.Unmarshal(f.Data, &o) == nil && o.Error != "" {
			return s.marker(at, f.Request, "failed: "+o.Error)
		}
	}
	return nil
}

// channel is that of a request. Without a terminal on the target, the client's
// own returns at the end of a line.
func (s *sshCast) channel(request uint64, pty bool) *channel {
	known := s.channels[request] != nil
	ch := s.channels.of(request)
	if !known {
		ch.message.lines = linesReturn
		if !pty {
			ch.output.lines, ch.errors.lines = linesReturn, linesReturn
		}
	}
	return ch
}

// marker writes a marker about a request, or (0) a message.
func (s *sshCast) marker(at time.Duration, request uint64, t string) error {
	t = strings.TrimRight(t, "\r\n")
	if request == 0 {
		t = "doorward: " + strings.TrimPrefix(t, "doorward: ")
	} else {
		t = fmt.Sprintf("#%d %s", request, t)
	}
	t, cut := text([]byte(t), maxMarker)
	if t = cleanCell(t); cut {
		t += "…"
	}
	return s.c.event(at, "m", t)
}

func (s *sshCast) request(at time.Duration, f doorward.Frame) error {
	var r doorward.RequestRecord
	if json.Unmarshal(f.Data, &r) != nil {
		return s.marker(at, f.Request, "this request cannot be read")
	}
	pty := terminalOf(r.Statement)
	s.channel(f.Request, pty != nil)
	if pty != nil {
		if err := s.resize(at, size(pty.Columns, pty.Rows)); err != nil {
			return err
		}
	}
	return s.marker(at, f.Request, fmt.Sprintf("%s%s%s%s: %s", r.Decision, part(", rule ", r.Rule), review(r.Review), part(", ", r.Reason), r.Statement))
}

func (s *sshCast) resize(at time.Duration, size string) error {
	if size == s.size {
		return nil
	}
	s.size = size
	return s.c.event(at, "r", size)
}

func (s *sshCast) reply(at time.Duration, f doorward.Frame) error {
	ch := s.channel(f.Request, false)
	ok, err := split(f.Data, func(kind byte, body []byte, cut bool) error {
		switch kind {
		case frame.Window:
			return s.resize(at, size(window(body)))
		case frame.Exit, frame.Signal:
			how, status := ending(kind, body)
			s.status = fmt.Sprint(status)
			return s.marker(at, f.Request, how)
		case frame.Message:
			if err := s.marker(at, 0, string(body)); err != nil {
				return err
			}
		}
		filter, _ := ch.filter(kind)
		out := filter.Append(nil, body)
		if cut {
			filter.forget()
		}
		if len(out) == 0 {
			return nil
		}
		return s.c.event(at, "o", string(out))
	})
	if err != nil || ok {
		return err
	}
	ch.forget()
	return s.marker(at, f.Request, "what was sent here is not an SSH session's and is not shown")
}
