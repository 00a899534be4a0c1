package mask

import (
	"errors"
	"fmt"
)

// Bounds of an answer in JSON. An object of Kubernetes is at most 1.5 MiB in
// etcd, so its answers stay far below all of them.
const (
	// MaxObjectsString bounds one string, as sent, in bytes.
	MaxObjectsString = 8 << 20
	// MaxObjectsKey bounds the key of a member, as sent, in bytes.
	MaxObjectsKey = 1 << 20
	// MaxObjectsDepth bounds how deep arrays and objects lie in each other.
	MaxObjectsDepth = 1000

	maxObjectsWord    = 1024     // a number
	maxObjectsColumns = 256      // columns of a table whose names are kept
	maxObjectsInner   = 8        // documents within strings of documents
	maxObjectsInflate = 16 << 20 // a compressed value, unpacked
	maxObjectsRatio   = 32       // the same, for each byte that it has packed: manifests have 5 to 15
	minObjectsInflate = 64 << 10 // the same, however small it is packed
	objectsKeep       = 64 << 10 // the most that a buffer holds on to between values
)

// ErrObjects is in every error about an answer that cannot be masked. The
// answer must then end: nothing after the error is known to be masked.
var ErrObjects = errors.New("the answer cannot be masked")

// ObjectsOptions says what an answer is.
type ObjectsOptions struct {
	// Secrets: the request was for Secrets. Their values are never shown,
	// whatever the rules detect: see [SecretMarker]. Answers that hold Secrets
	// by what they say of themselves (kind) are treated so without it.
	Secrets bool
	// Watch: a sequence of documents of the form {"type": …, "object": …}.
	// Without it there is one document at most.
	Watch bool
	// Plain: JSON of any service, and not of Kubernetes; Secrets and Watch then
	// have no meaning. No key has one either, every string, number and key is
	// searched, and the field rules (see [Rule.Fields]) apply. There is one
	// document at most, of any type.
	Plain bool
	// Many: a sequence of documents of any number, such as NDJSON, for Plain.
	// A number, true, false or null that is a document stands on a line of its
	// own: what is read as text must not be taken for numbers.
	Many bool
	// Request is what the answer is to, for Plain: the method, a blank and the
	// decoded path ("GET /orders/17"). Field rules that are limited to requests
	// are matched by it; where it is empty, all of them apply.
	Request string
}

// Objects masks what a Kubernetes API server answers in JSON (an object, a
// list, a Table, a Status, or the events of a watch), or what any service does
// ([ObjectsOptions.Plain]). The answer may come in
// pieces that are split anywhere; what is held back is the string or number
// that a piece ended in. The form of the answer never changes: strings stay
// strings, numbers numbers, and what clients need to work with an object (its
// name, its versions, …) is left alone. Not for concurrent use.
type Objects struct {
	c       scanner
	opt     ObjectsOptions
	search  bool // something is detected on this target
	many    bool // more than one document may come
	changed bool // something was replaced
	line    bool // a line has ended since the last document that is a word
	level   int  // how many strings this document lies in
	packed  bool // one of these is compressed
	state   want
	stack   []frame
	columns []cell     // of the last table
	inner   *Objects   // masks documents in strings
	keys    *keyMemory // what was seen of keys
	paths   *paths     // follows the field rules; nil: there are none

	most      operator  // the strictest of what is detected
	worst     transform // the strictest that was used
	worstKind kind      // of the value it was used for

	held      []byte  // a token without an end, with its first byte
	heldMarks content // of its bytes so far
	heldSkip  bool    // its last byte escapes the next

	docs   int
	rows   int64
	list   bool  // this document has items, rows or elements
	offset int64 // bytes of earlier pieces
	err    error

	key  []byte // a key, decoded
	text []byte // a string, decoded
	out  []byte // a string, masked
	repl []byte // a token, masked and encoded
	raw  []byte // bytes of a string in base64
	flat []byte // bytes of a compressed string
}

// Objects starts masking one answer of a target.
func (s *Set) Objects(target string, opt ObjectsOptions) *Objects {
	o := &Objects{opt: opt, many: opt.Watch}
	o.c.init(s, target)
	o.search = o.c.wanted != 0
	if opt.Plain {
		o.opt.Watch, o.opt.Secrets = false, false
		o.many, o.paths = opt.Many, s.paths(target, opt.Request)
		for _, t := range o.c.ops {
			o.most = max(o.most, t.op)
		}
		o.begin(o.bottom(0, nameNone))
		return o
	}
	bottom := frame{next: placeObject}
	if opt.Watch {
		bottom.next = placeEvent
	}
	if opt.Secrets {
		bottom.flags = flagSecret
	}
	o.begin(bottom)
	return o
}

// begin makes o ready for documents that stand in a frame.
func (o *Objects) begin(bottom frame) {
	o.stack = append(o.stack[:0], bottom)
	o.state, o.docs, o.rows, o.offset = wantDocument, 0, 0, 0
	o.held, o.heldMarks, o.heldSkip = o.held[:0], 0, false
	o.list, o.changed, o.err = false, false, nil
	o.columns = o.columns[:0]
	o.line = false
	if o.paths != nil {
		o.paths.begin()
	}
}

// Write takes a piece and appends to dst what may be sent by now. After an
// error (not JSON, or beyond a bound; [ErrObjects] is in it) dst is as it was,
// nothing more may be sent, and every call fails.
func (o *Objects) Write(dst, piece []byte) ([]byte, error) {
	if o.err != nil {
		return dst, o.err
	}
	out, at, err := o.scan(dst, piece)
	if err != nil {
		o.err = fmt.Errorf("%w: at byte %d, object %d: %w", ErrObjects, o.offset+int64(at), o.rows, err)
		return dst, o.err
	}
	o.offset += int64(len(piece))
	return out, nil
}

// Close ends the answer: a document that is not whole is an error. No
// document at all is none: there was nothing to show.
func (o *Objects) Close(dst []byte) ([]byte, error) {
	o.forget()
	if o.err != nil {
		return dst, o.err
	}
	if len(o.held) > 0 && o.held[0] != '"' && len(o.stack) == 1 {
		out, err := o.endHeld(dst) // a number has no end of its own
		if err == nil {
			return out, nil
		}
		o.err = fmt.Errorf("%w: at byte %d: %w", ErrObjects, o.offset, err)
		return dst, o.err
	}
	if len(o.held) > 0 || o.state != wantDocument {
		o.err = fmt.Errorf("%w: at byte %d, object %d: the answer ended inside of a document: the connection to the target broke, ask again", ErrObjects, o.offset, o.rows)
		return dst, o.err
	}
	return dst, nil
}

// Rows is the number of objects seen so far: items of a list, rows of a
// Table, events of a watch, 1 for anything else. Where the JSON is plain, it is
// the sum over the documents: of an array its elements, of an object the
// elements of the arrays that are its members, but at least 1; of others 1.
func (o *Objects) Rows() int64 { return o.rows }

// Held is how many bytes wait for the rest of a string or number.
func (o *Objects) Held() int { return len(o.held) }

// trim gives a buffer back that one large value has made large.
func trim(b []byte) []byte {
	if cap(b) > objectsKeep {
		return nil
	}
	return b[:0]
}
