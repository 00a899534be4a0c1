package replay

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"time"

	"github.com/doorward/doorward"
	sshrequest "github.com/doorward/doorward/internal/classify/ssh"
	"github.com/doorward/doorward/internal/wire/frame"
)

// The protocols whose sessions are streams: recorded as the frames of package
// frame.
const (
	protocolSSH        = "ssh"
	protocolKubernetes = "kubernetes"
	protocolHTTP       = "http"
)

func inFrames(protocol string) bool {
	return protocol == protocolSSH || protocol == protocolKubernetes || protocol == protocolHTTP
}

// Bounds of what is made one entry of a timeline, and of what is remembered.
const (
	burstTime   = 100 * time.Millisecond // of output
	typingPause = time.Second            // within input
	maxChannels = 1024                   // requests without an outcome yet
	maxColumnsX = 1000                   // of a terminal that is shown
	maxRowsX    = 500
	maxWarnings = 10  // of an answer's head
	maxWarning  = 500 // bytes of one
	maxHeaders  = 40  // of an answer's head
)

// split calls fn with each frame in the data of one tape frame. The recorder is
// given whole frames, and its bound may cut the end off, so the data begins
// with a frame, and of the last one some may be missing (cut). It reports false
// when something else stands there. An error of fn ends it.
func split(data []byte, fn func(kind byte, body []byte, cut bool) error) (bool, error) {
	for len(data) > 0 {
		kind, body, rest, err := frame.Next(data)
		switch {
		case err != nil:
			return false, nil
		case body != nil:
			if err := fn(kind, body, false); err != nil {
				return true, err
			}
			data = rest
		case len(data) < frame.HeaderLen:
			return true, nil
		default:
			switch kind = data[0]; kind {
			case frame.Output, frame.Errors, frame.Message:
				return true, fn(kind, data[frame.HeaderLen:], true)
			}
			return true, nil
		}
	}
	return true, nil
}

// channel is what is known of the output of one request. Each stream has its
// own filter: what the target leaves unfinished on one cannot swallow what
// comes on another.
type channel struct {
	output, errors, message Filter
	status                  string // how the command ended
	size                    string // of its terminal, in a timeline
	answer                  bool   // it is an answer of HTTP, and ends without a status
}

func (c *channel) filter(kind byte) (*Filter, string) {
	switch kind {
	case frame.Errors:
		return &c.errors, StreamErrors
	case frame.Message:
		return &c.message, StreamMessage
	}
	return &c.output, StreamOutput
}

// forget is for after a cut.
func (c *channel) forget() {
	for _, f := range []*Filter{&c.output, &c.errors, &c.message} {
		f.forget()
	}
}

// channels are those of the requests that have no outcome yet.
type channels map[uint64]*channel

func (cs *channels) of(request uint64) *channel {
	c := (*cs)[request]
	if c == nil {
		if *cs == nil || len(*cs) >= maxChannels {
			*cs = channels{}
		}
		c = &channel{}
		(*cs)[request] = c
	}
	return c
}

// ended forgets a channel and says how its command ended.
func (cs channels) ended(request uint64) string {
	c := cs[request]
	if c == nil {
		return ""
	}
	delete(cs, request)
	if c.answer {
		return ""
	}
	return c.status
}

// ending is the end that an Exit or a Signal frame tells, as text and as the
// status that ssh itself would end with.
func ending(kind byte, body []byte) (text string, status uint32) {
	if kind == frame.Signal {
		name, _ := text64(body)
		return "ended by signal " + name, 255
	}
	status = binary.BigEndian.Uint32(body)
	return fmt.Sprintf("exit status %d", status), status
}

// answerHead is the head of an HTTP answer, for people.
func answerHead(body []byte) string {
	var h struct {
		Status   int         `json:"status"`
		Type     string      `json:"content_type"`
		Warnings []string    `json:"warnings"`
		Fields   [][2]string `json:"fields"`
	}
	if json.Unmarshal(body, &h) != nil {
		return "an answer whose head cannot be read"
	}
	kind, _ := text64([]byte(h.Type))
	out := fmt.Sprintf("answer: %d", h.Status)
	if kind != "" {
		out += ", " + kind
	}
	for i, w := range h.Warnings {
		if i == maxWarnings {
			break
		}
		w, _ := text([]byte(w), maxWarning)
		out += "\nwarning: " + cleanCell(w)
	}
	for i, f := range h.Fields {
		if i == maxHeaders {
			break
		}
		name, _ := text64([]byte(f[0]))
		v, _ := text([]byte(f[1]), maxWarning)
		out += "\nheader " + name + ": " + cleanCell(v)
	}
	return out
}

// text64 is short text that others wrote, harmless and on one line.
func text64(b []byte) (string, bool) {
	s, cut := text(b, 64)
	return cleanCell(s), cut
}

// terminalOf is the terminal that a request asked for, or nil.
func terminalOf(statement string) *sshrequest.PTY {
	r, err := sshrequest.Parse(statement)
	if err != nil {
		return nil
	}
	return r.PTY
}

// window reads the body of a Window frame.
func window(body []byte) (columns, rows uint32) {
	return binary.BigEndian.Uint32(body), binary.BigEndian.Uint32(body[4:])
}

// size is the size of a terminal, as far as one is drawn. Clients that do not
// know their own say 0.
func size(columns, rows uint32) string {
	if columns == 0 || rows == 0 {
		columns, rows = 80, 24
	}
	return fmt.Sprintf("%dx%d", min(columns, maxColumnsX), min(rows, maxRowsX))
}

// burst is an entry that grows while frames of the same kind come.
type burst struct {
	entry   Entry
	kind    byte // of the wire frames; 0 for input
	began   time.Time
	last    time.Time
	raw     []byte
	screen  []byte
	dropped int64
}

// sshFrame takes one frame of an SSH session's tape.
func (d *decoder) sshFrame(f doorward.Frame) error {
	switch f.Kind {
	case doorward.FrameReply:
		return d.sshReply(f)
	case doorward.FrameInput:
		return d.sshInput(f)
	}
	if err := d.sshFlush(); err != nil {
		return err
	}
	if f.Kind == doorward.FrameCut {
		d.channels.of(f.Request).forget()
	}
	return d.frameOfAny(f)
}

func (d *decoder) sshReply(f doorward.Frame) error {
	ch := d.channels.of(f.Request)
	d.request, d.at = f.Request, f.At
	ok, err := split(f.Data, func(kind byte, body []byte, cut bool) error {
		switch kind {
		case frame.Window:
			now := size(window(body))
			if now == ch.size { // the first is as the request asked
				return nil
			}
			ch.size = now
			if err := d.sshFlush(); err != nil {
				return err
			}
			e := d.now(KindResize, "")
			e.Size = now
			return d.emit(e)
		case frame.Exit, frame.Signal:
			ch.status, _ = ending(kind, body)
			return nil
		case frame.Head:
			// The exit that comes after an answer is the relay's own.
			ch.answer = true
			if err := d.sshFlush(); err != nil {
				return err
			}
			return d.emit(d.now(KindNote, answerHead(body)))
		}
		return d.sshOutput(f, ch, kind, body, cut)
	})
	if err != nil || ok {
		return err
	}
	ch.forget()
	if err := d.sshFlush(); err != nil {
		return err
	}
	return d.emit(d.now(KindNote, "what was sent here cannot be read and is not shown"))
}

// sshOutput gathers output into entries: one for what comes at once.
func (d *decoder) sshOutput(f doorward.Frame, ch *channel, kind byte, body []byte, cut bool) error {
	filter, stream := ch.filter(kind)
	for len(body) > 0 {
		if b := d.output; b != nil && (b.entry.Request != f.Request || b.kind != kind || f.At.Sub(b.began) > burstTime || len(b.raw) >= maxText) {
			if err := d.endBurst(&d.output); err != nil {
				return err
			}
		}
		if d.output == nil {
			d.output = &burst{entry: d.entry(f, KindReply), kind: kind, began: f.At}
			d.output.entry.Stream = stream
		}
		b := d.output
		part := body[:min(len(body), maxText-len(b.raw))]
		body = body[len(part):]
		before := filter.Dropped
		b.raw = append(b.raw, part...)
		b.screen = filter.Append(b.screen, part)
		b.dropped += filter.Dropped - before
	}
	if cut && d.output != nil {
		d.output.entry.Truncated = true
		filter.forget()
	}
	return nil
}

// sshInput gathers what was typed or streamed: one entry for a line.
func (d *decoder) sshInput(f doorward.Frame) error {
	if b := d.input; b != nil && (b.entry.Request != f.Request || f.At.Sub(b.last) > typingPause || len(b.raw)+len(f.Data) > d.limit.Cell) {
		if err := d.endBurst(&d.input); err != nil {
			return err
		}
	}
	if d.input == nil {
		d.input = &burst{entry: d.entry(f, KindInput), began: f.At}
	}
	b := d.input
	b.last = f.At
	b.raw = append(b.raw, f.Data[:min(len(f.Data), d.limit.Cell+1)]...) // one more: so that it says that it is cut
	if bytes.ContainsAny(f.Data, "\r\n") || len(b.raw) > d.limit.Cell {
		return d.endBurst(&d.input)
	}
	return nil
}

// endBurst gives out an entry that was gathered. What was typed has the time
// of its last key: what it brought about comes after it.
func (d *decoder) endBurst(at **burst) error {
	b := *at
	if b == nil {
		return nil
	}
	*at = nil
	e := b.entry
	if e.Kind == KindInput {
		if err := d.endBurst(&d.output); err != nil {
			return err
		}
		e.AtMS = ms(b.last.Sub(d.started))
		e.Text, e.Truncated = text(b.raw, d.limit.Cell)
		return d.emit(e)
	}
	var cut bool
	e.Text, cut = text(b.raw, maxText)
	e.Truncated, e.Dropped = e.Truncated || cut, b.dropped
	if string(b.screen) != e.Text {
		s := string(b.screen)
		e.Screen = &s
	}
	return d.emit(e)
}

// sshFlush gives out all that was gathered.
func (d *decoder) sshFlush() error {
	if err := d.endBurst(&d.output); err != nil {
		return err
	}
	return d.endBurst(&d.input)
}

// sshFinish ends the timeline. Commands that ended without an outcome, because
// the server did, still say how.
func (d *decoder) sshFinish() error {
	if err := d.sshFlush(); err != nil {
		return err
	}
	for len(d.channels) > 0 {
		first := uint64(math.MaxUint64)
		for n := range d.channels {
			first = min(first, n)
		}
		d.request = first
		if status := d.channels.ended(first); status != "" {
			if err := d.emit(d.now(KindNote, status)); err != nil {
				return err
			}
		}
	}
	return nil
}
