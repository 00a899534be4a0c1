package mask

import (
	"bytes"
	"fmt"
)

// MaxEvent bounds an event of a stream, as sent, in bytes.
const MaxEvent = 1 << 20

// Events masks a stream of server-sent events (text/event-stream, HTML
// standard, 9.2.6). The stream may come in pieces that are split anywhere; an
// event is held back until it is whole. The lines of its data are one text:
// where it is JSON, it is masked as [ObjectsOptions.Plain] says, and otherwise
// as a text. Comments and other fields are masked as texts.
//
// Where field rules apply, nothing else is trusted: data that is not JSON
// becomes [redacted] (but the word [DONE] stays), comments lose their text, and
// an event name or an id stays only where it is made of letters, digits and a
// few signs.
//
// A value that a service cuts into several events is not found. Lines come out
// with LF at their end, and the data after all other fields. Not for concurrent
// use.
type Events struct {
	o     *Objects
	on    bool // anything may be replaced
	line  []byte
	data  []byte // of this event, each line with LF
	rest  []byte // the other lines of this event, masked
	out   []byte
	size  int   // bytes of this event
	begun bool  // the first line has ended
	lf    bool  // the last byte was CR: LF that follows is a part of it
	field bool  // this event has data
	count int64 // events
	err   error
}

// Events starts masking a stream of events that answers a request, the method,
// a blank and the decoded path, of a target.
func (s *Set) Events(target, request string) *Events {
	e := &Events{o: s.Objects(target, ObjectsOptions{Plain: true, Request: request})}
	e.on = e.o.search || e.o.paths != nil
	return e
}

// Write takes a piece and appends to dst what may be sent by now. After an
// error (an event above [MaxEvent]; [ErrObjects] is in it) dst is as it was,
// nothing more may be sent, and every call fails.
func (e *Events) Write(dst, piece []byte) ([]byte, error) {
	if e.err != nil {
		return dst, e.err
	}
	out := dst
	for len(piece) > 0 {
		if e.lf && piece[0] == '\n' {
			piece = piece[1:]
		}
		e.lf = false
		n := bytes.IndexAny(piece, "\r\n")
		end := n
		if n < 0 {
			end = len(piece)
		}
		if e.size += min(end+1, len(piece)); e.size > MaxEvent {
			e.err = fmt.Errorf("%w: event %d is larger than %d KiB: ask for less", ErrObjects, e.count+1, MaxEvent>>10)
			return dst, e.err
		}
		e.line = append(e.line, piece[:end]...)
		if n < 0 {
			break
		}
		e.lf = piece[n] == '\r'
		piece = piece[n+1:]
		out = e.end(out)
	}
	return out, nil
}

// Close ends the stream. What is held of an event is masked and sent; clients
// drop an event that has no end.
func (e *Events) Close(dst []byte) ([]byte, error) {
	if e.err != nil {
		return dst, e.err
	}
	if len(e.line) > 0 {
		dst = e.end(dst)
	}
	return e.flush(dst), nil
}

// Held is how many bytes of an event wait for its end.
func (e *Events) Held() int { return len(e.line) + len(e.data) + len(e.rest) }

// Rows is the number of events that had data.
func (e *Events) Rows() int64 { return e.count }

// Masked is [Objects.Masked] for the stream.
func (e *Events) Masked() []string { return e.o.Masked() }

var (
	byteOrderMark = []byte("\ufeff")
	doneWord      = []byte("[DONE]") // how streams of language models end
	dataName      = []byte("data")
)

// end takes the line that has its end.
func (e *Events) end(dst []byte) []byte {
	line := e.line
	if !e.begun {
		line = bytes.TrimPrefix(line, byteOrderMark)
	}
	e.begun = true
	if len(line) == 0 {
		dst = append(e.flush(dst), '\n')
		e.line = trim(e.line)
		return dst
	}
	name, value, colon := bytes.Cut(line, []byte{':'})
	value = bytes.TrimPrefix(value, []byte{' '})
	switch {
	case bytes.Equal(name, dataName):
		e.field = true
		e.data = append(append(e.data, value...), '\n')
	case e.o.paths == nil:
		e.rest = append(e.other(e.rest, line, value), '\n')
	case colon && len(name) == 0:
		e.rest = append(e.rest, ":\n"...)
	case known(name):
		if !plainWord(value) {
			line = append(append(line[:len(name)], ": "...), redactedText...)
			value = nil
		}
		e.rest = append(e.other(e.rest, line, value), '\n')
	}
	e.line = trim(e.line)
	return dst
}

// maxEventWord bounds the name or the id of an event where field rules apply.
const maxEventWord = 64

// known reports whether clients act on a field of this name.
func known(name []byte) bool {
	switch string(name) {
	case "event", "id", "retry":
		return true
	}
	return false
}

// plainWord reports whether a value looks like a name or an id.
func plainWord(v []byte) bool {
	for _, b := range v {
		if classes[b]&isToken == 0 && b != '.' && b != ':' && b != '/' {
			return false
		}
	}
	return len(v) <= maxEventWord
}

// text appends a text, masked, and reports whether anything was found. It has
// as many lines as before or fewer.
func (e *Events) text(dst, v []byte) ([]byte, bool) {
	if !e.o.search {
		return append(dst, v...), false
	}
	out, hit := e.o.mask(trim(e.o.out), v, 0, nameNone)
	if e.o.out = out; !hit {
		return append(dst, v...), false
	}
	return append(dst, out...), true
}

// other appends a line that is no data, masked: as a whole, for its name is
// context, and then its value, which may be in a form that is decoded first.
func (e *Events) other(dst, line, value []byte) []byte {
	n := len(dst)
	dst, hit := e.text(dst, line)
	if !hit && len(value) > 0 {
		dst, _ = e.text(append(dst[:n], line[:len(line)-len(value)]...), value)
	}
	return dst
}

// flush sends what there is of an event, without the line that ends it.
func (e *Events) flush(dst []byte) []byte {
	dst = append(dst, e.rest...)
	if e.field {
		e.count++
		data := e.data[:len(e.data)-1]
		if e.on {
			data = e.masked(data)
		}
		for line := range bytes.SplitSeq(data, []byte{'\n'}) {
			dst = append(append(append(dst, "data: "...), line...), '\n')
		}
	}
	e.data, e.rest, e.out = trim(e.data), trim(e.rest), trim(e.out)
	e.size, e.field = 0, false
	return dst
}

// masked gives the data of an event, masked.
func (e *Events) masked(data []byte) []byte {
	o := e.o
	o.begin(o.bottom(0, nameNone))
	out, err := o.Write(trim(e.out), data)
	if err == nil {
		out, err = o.Close(out)
	}
	switch {
	case err == nil:
		e.out = out
	case o.paths == nil:
		e.out, _ = e.text(trim(e.out), data)
	case bytes.Equal(data, doneWord):
		return data
	default:
		e.out = append(trim(e.out), redactedText...)
	}
	return e.out
}
