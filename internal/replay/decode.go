package replay

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/doorward/doorward"
)

// maxMessage is the largest server message that is taken apart; of a larger
// one only the size is told.
const maxMessage = 1 << 20

// Bounds of one entry, and of the statements whose columns are remembered.
const (
	maxText       = 64 << 10
	maxColumns    = 1664 // as many as Postgres has
	maxEntry      = 4 << 20
	maxRemembered = 8 << 10
)

// decoder turns frames into entries.
type decoder struct {
	limit    Limit
	started  time.Time
	protocol string
	emit     func(Entry) error

	shapes    map[string][]field // what a statement returned when it was described
	statement string             // of the request being answered
	texts     map[uint64]string  // statements of requests without an outcome yet

	request uint64 // whose reply is being read
	at      time.Time
	partial []byte // a message that goes on in the next frame
	skip    int    // bytes of an oversized message still to come
	reply   *Entry // result being read
	held    int    // bytes of its rows
	fields  []field
	unknown bool // fields come from an earlier description: formats are guesses

	channels channels // of an SSH session
	output   *burst   // being gathered
	input    *burst
}

func (d *decoder) entry(f doorward.Frame, kind string) Entry {
	return Entry{AtMS: ms(f.At.Sub(d.started)), Request: f.Request, Kind: kind, Columns: []string{}, Rows: [][]*string{}}
}

// now is an entry about what is being sent.
func (d *decoder) now(kind, text string) Entry {
	return Entry{AtMS: ms(d.at.Sub(d.started)), Request: d.request, Kind: kind, Columns: []string{}, Rows: [][]*string{}, Text: text}
}

// frame takes one frame of the tape.
func (d *decoder) frame(f doorward.Frame) error {
	if inFrames(d.protocol) {
		return d.sshFrame(f)
	}
	switch f.Kind {
	case doorward.FrameReply:
		if f.Request == d.request {
			break
		}
		if err := d.resync(); err != nil {
			return err
		}
		d.request = f.Request
		d.statement = d.texts[f.Request]
		d.fields, d.unknown = nil, false
	case doorward.FrameCut, doorward.FrameOutcome:
		if f.Request == d.request {
			if err := d.resync(); err != nil {
				return err
			}
		}
	}
	return d.frameOfAny(f)
}

// frameOfAny takes a frame that means the same in each protocol, and replies.
func (d *decoder) frameOfAny(f doorward.Frame) error {
	e := d.entry(f, "")
	switch f.Kind {
	case doorward.FrameRequest:
		return d.requested(e, f)
	case doorward.FrameReply:
		return d.replied(f)
	case doorward.FrameNote:
		e.Kind = KindNote
		e.Text, e.Truncated = text(f.Data, maxText)
	case doorward.FrameOutcome:
		e.Kind = KindOutcome
		var o doorward.OutcomeRecord
		if err := json.Unmarshal(f.Data, &o); err != nil {
			e.Error = "this outcome cannot be read"
			break
		}
		e.RowCount, e.TookMS = o.Rows, ms(o.Took)
		e.Text = d.channels.ended(f.Request)
		e.Error, e.Truncated = text([]byte(o.Error), maxText)
		delete(d.texts, f.Request)
	case doorward.FrameCut:
		e.Kind = KindCut
		var c doorward.CutRecord
		if err := json.Unmarshal(f.Data, &c); err != nil {
			e.Error = "this cut mark cannot be read"
			break
		}
		why, _ := text([]byte(c.Why), 1<<10)
		e.Text = fmt.Sprintf("%d bytes were left out: %s", c.Bytes, why)
	case doorward.FrameInput:
		e.Kind = KindInput
		e.Text, e.Truncated = text(f.Data, d.limit.Cell)
	default:
		return nil
	}
	return d.emit(e)
}

func (d *decoder) requested(e Entry, f doorward.Frame) error {
	e.Kind = KindRequest
	var r doorward.RequestRecord
	if err := json.Unmarshal(f.Data, &r); err != nil {
		e.Error = "this request cannot be read"
		return d.emit(e)
	}
	e.Statement, e.Truncated = text([]byte(r.Statement), maxText)
	e.Params, e.Masked = r.Params, r.Masked
	if len(e.Params) > 1000 {
		e.Params, e.Truncated = e.Params[:1000], true
	}
	for i, p := range e.Params {
		var cut bool
		e.Params[i], cut = text([]byte(p), d.limit.Cell)
		e.Truncated = e.Truncated || cut
	}
	e.Decision, e.Rule, e.Reason, e.Review = r.Decision, r.Rule, r.Reason, r.Review
	if d.texts == nil || len(d.texts) > 1024 {
		d.texts = map[uint64]string{}
	}
	if len(r.Statement) <= maxRemembered {
		d.texts[f.Request] = r.Statement
	}
	if inFrames(d.protocol) {
		if pty := terminalOf(r.Statement); pty != nil {
			e.Size = size(pty.Columns, pty.Rows)
			d.channels.of(f.Request).size = e.Size
		}
	}
	return d.emit(e)
}

// replied takes bytes that the client was sent.
func (d *decoder) replied(f doorward.Frame) error {
	d.at = f.At
	if d.protocol != "postgres" {
		e := d.entry(f, KindReply)
		e.Text, e.Truncated = text(f.Data, maxText)
		return d.emit(e)
	}
	data := f.Data
	for len(data) > 0 || len(d.partial) > 0 {
		if d.skip > 0 {
			n := min(d.skip, len(data))
			d.skip -= n
			data = data[n:]
			if len(data) == 0 {
				return nil
			}
			continue
		}
		if len(d.partial) > 0 {
			// Take just what the message needs.
			need := 5
			if len(d.partial) >= 5 {
				need = messageSize(d.partial)
			}
			n := min(max(need-len(d.partial), 0), len(data))
			d.partial = append(d.partial, data[:n]...)
			data = data[n:]
			if len(d.partial) < 5 {
				return nil
			}
		} else if len(data) < 5 {
			d.partial = append(d.partial, data...)
			return nil
		}
		msg := data
		whole := len(d.partial) > 0
		if whole {
			msg = d.partial
		}
		size := messageSize(msg)
		if size < 5 {
			return d.lost()
		}
		if size > maxMessage {
			if err := d.oversized(msg[0], size); err != nil {
				return err
			}
			d.skip = size
			if whole {
				d.skip -= len(d.partial)
				d.partial = d.partial[:0]
			}
			continue
		}
		if len(msg) < size {
			if !whole {
				d.partial = append(d.partial[:0], data...)
				return nil
			}
			if len(data) == 0 {
				return nil
			}
			continue
		}
		if whole {
			d.partial = d.partial[:0]
			msg = msg[:size]
		} else {
			msg, data = data[:size], data[size:]
		}
		if err := d.message(msg[0], msg[5:]); err != nil {
			return err
		}
	}
	return nil
}

// messageSize is the length of the message at the start of b, with its type.
func messageSize(b []byte) int {
	n := int(b[1])<<24 | int(b[2])<<16 | int(b[3])<<8 | int(b[4])
	return n + 1
}

// lost gives up on a stream whose framing is broken.
func (d *decoder) lost() error {
	d.partial = d.partial[:0]
	d.skip = 1 << 62 // until the next request
	return d.emit(d.now(KindNote, "what was sent here is not the Postgres protocol and is not shown"))
}

func (d *decoder) oversized(kind byte, size int) error {
	if kind == 'D' || kind == 'd' {
		e := d.result()
		e.RowCount++
		e.Truncated = true
		return nil
	}
	return d.emit(d.now(KindNote, fmt.Sprintf("a message of %d bytes is not shown", size)))
}

// result is the entry of the result being read.
func (d *decoder) result() *Entry {
	if d.reply == nil {
		e := d.now(KindReply, "")
		d.reply, d.held = &e, 0
		if d.fields == nil {
			if d.fields = d.shapes[d.statement]; d.fields != nil {
				d.unknown = true
			}
		}
		for _, f := range d.fields[:min(len(d.fields), maxColumns)] {
			d.reply.Columns = append(d.reply.Columns, f.name)
		}
	}
	return d.reply
}

func (d *decoder) message(kind byte, b []byte) error {
	switch kind {
	case 'T':
		if err := d.endReply(); err != nil {
			return err
		}
		d.fields, d.unknown = parseFields(b), false
		if d.statement != "" && len(d.shapes) < 256 && len(d.fields) <= maxColumns {
			d.shapes[d.statement] = d.fields
		}
	case 'D':
		d.row(b)
	case 'C':
		e := d.result()
		tag, _ := text(bytes.TrimRight(b, "\x00"), 256)
		if e.Text != "" && !strings.HasSuffix(e.Text, "\n") {
			e.Text += "\n"
		}
		e.Text += tag
		d.fields = nil
		return d.endReply()
	case 'E', 'N':
		return d.notice(kind, b)
	case 'H': // COPY to the client
		d.fields = nil
		d.result()
	case 'd':
		e := d.result()
		e.RowCount++
		if room := maxText - len(e.Text); room > 0 {
			t, cut := text(b, room)
			e.Text += t
			e.Truncated = e.Truncated || cut
		} else {
			e.Truncated = true
		}
	case 'A':
		return d.emit(d.now(KindNote, notification(b)))
	case 's': // portal suspended: the rest comes with a later Execute
		return d.endReply()
	}
	return nil
}

func (d *decoder) row(b []byte) {
	e := d.result()
	e.RowCount++
	if len(e.Rows) >= d.limit.Rows || d.held > maxEntry || len(b) < 2 {
		e.Truncated = true
		return
	}
	n := int(b[0])<<8 | int(b[1])
	b = b[2:]
	row := make([]*string, 0, min(n, maxColumns, len(b)/4+1))
	for i := range n {
		if len(b) < 4 || i == maxColumns {
			e.Truncated = true
			break
		}
		size := int32(b[0])<<24 | int32(b[1])<<16 | int32(b[2])<<8 | int32(b[3])
		b = b[4:]
		if size < 0 {
			row = append(row, nil)
			continue
		}
		if int(size) > len(b) {
			e.Truncated = true
			break
		}
		f := field{guess: true}
		if i < len(d.fields) {
			f = d.fields[i]
			f.guess = d.unknown
		}
		v, cut := f.show(b[:size], d.limit.Cell)
		e.Truncated = e.Truncated || cut
		row = append(row, &v)
		d.held += len(v)
		b = b[size:]
	}
	d.held += 24 * len(row)
	e.Rows = append(e.Rows, row)
}

// resync ends the reply being read: a cut may have left it in mid-message, and
// what follows starts with a new one.
func (d *decoder) resync() error {
	if d.reply != nil && (len(d.partial) > 0 || d.skip > 0) {
		d.reply.Truncated = true
	}
	d.partial, d.skip = d.partial[:0], 0
	return d.endReply()
}

// endReply gives out the result being read.
func (d *decoder) endReply() error {
	if d.reply == nil {
		return nil
	}
	e := *d.reply
	d.reply = nil
	return d.emit(e)
}

func (d *decoder) finish() error {
	if inFrames(d.protocol) {
		return d.sshFinish()
	}
	return d.resync()
}

// notice renders an error or a notice of the server, or one of doorward's own.
func (d *decoder) notice(kind byte, b []byte) error {
	var sev, code, msg string
	var more []string
	for len(b) > 1 && b[0] != 0 {
		c := b[0]
		end := bytes.IndexByte(b[1:], 0)
		if end < 0 {
			break
		}
		v, _ := text(b[1:1+end], d.limit.Cell)
		b = b[2+end:]
		switch c {
		case 'V':
			sev = v
		case 'S':
			if sev == "" {
				sev = v
			}
		case 'C':
			code = v
		case 'M':
			msg = v
		case 'D':
			more = append(more, "DETAIL: "+v)
		case 'H':
			more = append(more, "HINT: "+v)
		case 'W':
			more = append(more, "CONTEXT: "+v)
		}
	}
	if kind == 'E' {
		if err := d.endReply(); err != nil {
			return err
		}
		e := d.now(KindReply, strings.Join(more, "\n"))
		e.Error = fmt.Sprintf("%s %s: %s", sev, code, msg)
		return d.emit(e)
	}
	return d.emit(d.now(KindNote, strings.Join(append([]string{sev + ": " + msg}, more...), "\n")))
}

func notification(b []byte) string {
	if len(b) < 4 {
		return "NOTIFY"
	}
	parts := bytes.SplitN(b[4:], []byte{0}, 3)
	s := "NOTIFY"
	for _, p := range parts[:min(2, len(parts))] {
		t, _ := text(p, 1<<10)
		s += " " + t
	}
	return s
}

// text makes bytes valid UTF-8 of at most limit bytes. Bytes that are mostly
// no text are shown in hex.
func text(b []byte, limit int) (s string, cut bool) {
	if utf8.Valid(b) {
		if len(b) <= limit {
			return string(b), false
		}
		for limit > 0 && !utf8.RuneStart(b[limit]) {
			limit--
		}
		return string(b[:limit]), true
	}
	if bytes.IndexByte(b, 0) < 0 {
		return text([]byte(strings.ToValidUTF8(string(b), "\uFFFD")), limit)
	}
	if len(b) > limit/2 {
		return `\x` + hex.EncodeToString(b[:limit/2]), true
	}
	return `\x` + hex.EncodeToString(b), false
}
