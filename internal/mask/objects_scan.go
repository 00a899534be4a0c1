package mask

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"unicode/utf8"
)

// want is what may come next in a document.
type want uint8

const (
	wantDocument want = iota // a document, or the end of the answer
	wantValue
	wantElement // the first element of an array, or its end
	wantMember  // the first key of an object, or its end
	wantKey
	wantColon
	wantNext // a comma, or the end of the array or object
)

// frame is an array or an object that is open. The one at the bottom of the
// stack stands for the answer itself.
type frame struct {
	array bool
	place place // what it is
	next  place // what the next value is: of the key, or an element
	flags flags
	level uint8 // how much the key says that the value is a secret
	pair  uint8 // the same, for a value whose name is a member of its own
	hint  hint  // what the key speaks of
	about hint  // the same, for a value whose name is a member of its own
	index int32 // elements before this one; of a plain object, keys that were replaced
}

// content tells what a string is made of.
type content uint8

const (
	markEscape content = 1 << iota // there is a backslash
	markHigh                       // there are bytes above 127
)

var (
	errControl  = errors.New("not JSON: a control character in a string")
	errEscape   = errors.New("not JSON: an escape in a string that is none")
	errUTF8     = errors.New("not JSON: a string is not UTF-8")
	errString   = fmt.Errorf("a string is larger than %d MiB: ask for less, for example by name", MaxObjectsString>>20)
	errKey      = fmt.Errorf("a key is larger than %d MiB", MaxObjectsKey>>20)
	errDepth    = fmt.Errorf("more than %d arrays and objects in each other", MaxObjectsDepth)
	errWord     = errors.New("not JSON: neither a number nor true, false or null")
	errLoose    = errors.New("a number or word that is no part of a document") // in text: "[1] 4111 1111 …"
	errDocument = errors.New("a second document in an answer that has one")
	errLine     = errors.New("a number or word that is a document does not stand on a line of its own")
)

// scan masks a piece. What is not replaced is copied in runs. After an error,
// at says where.
func (o *Objects) scan(dst, b []byte) (out []byte, at int, err error) {
	i := 0
	if len(o.held) > 0 {
		if dst, i, err = o.resume(dst, b); err != nil || len(o.held) > 0 {
			return dst, i, err
		}
	}
	from := i // the first byte that was not copied
	for i < len(b) {
		switch c := b[i]; c {
		case ' ', '\t', '\r':
			i++
		case '\n':
			o.line = true
			i++
		case '"':
			end, marks, _, err := stringSpan(b, i+1)
			if err != nil {
				return dst, end, err
			}
			if end >= len(b) {
				return o.hold(dst, b, from, i)
			}
			repl, err := o.string(b[i+1:end], marks)
			if err != nil {
				return dst, i, err
			}
			if repl != nil {
				dst = append(append(dst, b[from:i]...), repl...)
				from = end + 1
			}
			i = end + 1
			if i < len(b) && b[i] == ':' && o.state == wantColon { // the usual case, without another round
				o.state = wantValue
				i++
			}
		case ':':
			if o.state != wantColon {
				return dst, i, unexpected(c, o.state)
			}
			o.state = wantValue
			i++
		case ',':
			if o.state != wantNext {
				return dst, i, unexpected(c, o.state)
			}
			f := &o.stack[len(o.stack)-1]
			if o.state = wantKey; f.array {
				o.state = wantValue
				f.index++
			}
			i++
		case '{', '[':
			if err := o.open(c == '['); err != nil {
				return dst, i, err
			}
			i++
		case '}', ']':
			if err := o.shut(c); err != nil {
				return dst, i, err
			}
			i++
		default:
			end := wordEnd(b, i)
			if end == i {
				return dst, i, unexpected(c, o.state)
			}
			if end == len(b) {
				return o.hold(dst, b, from, i)
			}
			repl, err := o.word(b[i:end])
			if err != nil {
				return dst, i, err
			}
			if repl != nil {
				dst = append(append(dst, b[from:i]...), repl...)
				from = end
			}
			i = end
		}
	}
	return append(dst, b[from:]...), i, nil
}

// hold keeps a token that has no end yet, which begins at i.
func (o *Objects) hold(dst, b []byte, from, i int) ([]byte, int, error) {
	dst = append(dst, b[from:i]...)
	o.held, o.heldMarks, o.heldSkip = append(o.held[:0], b[i]), 0, false
	_, _, err := o.more(b[i+1:])
	return dst, i, err
}

// more adds the bytes of b that belong to the token that is held, and gives
// their number. Whole: the token has its end.
func (o *Objects) more(b []byte) (n int, whole bool, err error) {
	bound, large := maxObjectsWord, errWord
	if o.held[0] == '"' {
		i := 0
		if o.heldSkip && len(b) > 0 {
			i = 1
		}
		end, marks, skip, err := stringSpan(b, i)
		if err != nil {
			return end, false, err
		}
		if len(b) > 0 {
			o.heldSkip = skip
		}
		o.heldMarks |= marks
		n, whole = min(end+1, len(b)), end < len(b)
		bound, large = MaxObjectsString+2, errString
	} else {
		n = wordEnd(b, 0)
		whole = n < len(b)
	}
	if len(o.held)+n > bound {
		return n, false, large
	}
	o.held = append(o.held, b[:n]...)
	return n, whole, nil
}

// resume goes on with the token that is held. It gives the index of the first
// byte after it.
func (o *Objects) resume(dst, b []byte) ([]byte, int, error) {
	n, whole, err := o.more(b)
	if err != nil || !whole {
		return dst, n, err
	}
	dst, err = o.endHeld(dst)
	return dst, n, err
}

// endHeld masks the token that is held and is whole now.
func (o *Objects) endHeld(dst []byte) ([]byte, error) {
	token := o.held
	o.held = nil // what follows must not see it
	var repl []byte
	var err error
	if token[0] == '"' {
		repl, err = o.string(token[1:len(token)-1], o.heldMarks)
	} else {
		repl, err = o.word(token)
	}
	if err != nil {
		return dst, err
	}
	if repl == nil {
		repl = token
	}
	dst = append(dst, repl...)
	o.held = trim(token)
	return dst, nil
}

// stringSpan goes on in a string at i and gives the index of the quote that
// ends it, or len(b). Skip: the last byte of b escapes the one after it. After
// an error, end says where.
func stringSpan(b []byte, i int) (end int, marks content, skip bool, err error) {
	const (
		quotes  = '"' * eachByte
		slashes = '\\' * eachByte
		spaces  = ' ' * eachByte
	)
	high := uint64(0)
	for {
		for i+8 <= len(b) {
			w := binary.LittleEndian.Uint64(b[i:])
			q, s := w^quotes, w^slashes
			// The lowest bit that is set is exact; those above may not be.
			m := ((q-eachByte)&^q | (s-eachByte)&^s | (w-spaces)&^w) & highBits
			if m == 0 {
				high |= w
				i += 8
				continue
			}
			n := bits.TrailingZeros64(m) >> 3
			high |= w & (1<<(8*n) - 1)
			i += n
			break
		}
		for i < len(b) && b[i] != '"' && b[i] != '\\' && b[i] >= ' ' {
			high |= uint64(b[i])
			i++
			if i+8 <= len(b) {
				break
			}
		}
		if i >= len(b) {
			i = len(b)
			break
		}
		if c := b[i]; c == '"' {
			break
		} else if c < ' ' {
			return i, marks, false, errControl
		} else if c == '\\' {
			marks |= markEscape
			if i+1 >= len(b) {
				i, skip = len(b), true
				break
			}
			i += 2
		}
	}
	if high&highBits != 0 {
		marks |= markHigh
	}
	return i, marks, skip, nil
}

// wordEnd is the end of a number or of true, false, null that begins at i.
func wordEnd(b []byte, i int) int {
	for i < len(b) && (isAlnum(b[i]) || b[i] == '.' || b[i] == '-' || b[i] == '+') {
		i++
	}
	return i
}

// open begins an array or an object.
func (o *Objects) open(array bool) error {
	if err := o.value(); err != nil {
		return err
	}
	if len(o.stack) > MaxObjectsDepth {
		return errDepth
	}
	p := &o.stack[len(o.stack)-1]
	f := frame{array: array, flags: p.flags & flagSecret}
	if f.place = p.next.inside(array, f.flags); p.place == placeAny {
		f.place = placeAny
	}
	if len(o.stack) == 1 {
		f.flags = p.flags // what is known of the document from where it stands
	}
	o.state = wantMember
	if array {
		o.state = wantElement
		f.next, f.hint, f.level = f.place.element(), p.hint, p.level
	}
	switch {
	case o.opt.Plain:
		if len(o.stack) == 1 && array {
			o.list = true
			o.rows--
		}
	case o.opt.Watch:
	case len(o.stack) == 2 && f.place.listing():
		o.listed()
	case len(o.stack) == 3 && p.place.listing():
		o.rows++
	}
	if f.place == placeColumns {
		o.columns = o.columns[:0]
	}
	if p.next == placeData && !array {
		p.flags |= flagShown
	}
	o.stack = append(o.stack, f)
	if o.paths != nil {
		o.paths.open(array)
	}
	return nil
}

// listed says that the document holds items.
func (o *Objects) listed() {
	if !o.list {
		o.list, o.rows = true, 0
	}
}

// shut ends an array or an object.
func (o *Objects) shut(c byte) error {
	f := &o.stack[len(o.stack)-1]
	first := wantMember
	if f.array {
		first = wantElement
	}
	if len(o.stack) == 1 || f.array != (c == ']') || o.state != wantNext && o.state != first {
		return unexpected(c, o.state)
	}
	o.stack = o.stack[:len(o.stack)-1]
	if o.paths != nil {
		o.paths.shut()
	}
	o.after()
	return nil
}

// value checks that a value may come.
func (o *Objects) value() error {
	switch o.state {
	case wantValue, wantElement:
		if o.opt.Plain && len(o.stack) <= 3 {
			o.counted()
		}
		return nil
	case wantDocument:
		if o.docs > 0 && !o.many {
			return errDocument
		}
		o.docs, o.list = 1, false
		if o.opt.Watch || o.opt.Plain {
			o.rows++
		} else {
			o.rows = 1
		}
		return nil
	}
	return fmt.Errorf("not JSON: a value where %s was to come", o.state)
}

// after says that a value has ended.
func (o *Objects) after() {
	o.state = wantNext
	if len(o.stack) == 1 {
		o.state = wantDocument
	}
}

// string takes a whole string, without its quotes. Where it is a key or a
// value that is shown as it is, it gives nil; otherwise what takes the place
// of the string, with quotes.
func (o *Objects) string(raw []byte, marks content) ([]byte, error) {
	if len(raw) > MaxObjectsString {
		return nil, errString
	}
	if marks&markHigh != 0 && !utf8.Valid(raw) {
		return nil, errUTF8
	}
	if marks&markEscape != 0 && !validEscapes(raw) {
		return nil, errEscape
	}
	if o.state == wantKey || o.state == wantMember {
		if len(raw) > MaxObjectsKey {
			return nil, errKey
		}
		o.state = wantColon
		return o.member(raw, marks), nil
	}
	if err := o.value(); err != nil {
		return nil, err
	}
	repl, err := o.stringValue(raw, marks)
	o.after()
	return repl, err
}

// word takes a whole number, true, false or null: nil where it is shown as it
// is, and otherwise what takes its place.
func (o *Objects) word(v []byte) ([]byte, error) {
	first := o.docs == 0
	if err := o.value(); err != nil {
		return nil, err
	}
	if len(o.stack) == 1 {
		if o.level > 0 {
			return nil, errLoose
		}
		if o.opt.Plain && !first && !o.line {
			return nil, errLine
		}
		o.line = false
	}
	f := &o.stack[len(o.stack)-1]
	var repl []byte
	switch string(v) {
	case "null":
		if len(o.stack) == 2 && f.next.listing() && !o.opt.Watch {
			o.listed()
		}
	case "true", "false":
		if rule := o.field(); rule > 0 {
			repl = o.fieldBool(rule)
		} else if f.next.hides(f.flags) {
			repl = falseWord
		}
	default:
		if !validNumber(v) {
			return nil, errWord
		}
		if rule := o.field(); rule > 0 {
			repl = o.fieldNumber(rule, f, v)
		} else {
			repl = o.number(f, v)
		}
	}
	if repl != nil {
		o.changed = true
	}
	o.after()
	return repl, nil
}

var (
	falseWord = []byte("false")
	zeroWord  = []byte("0")
)

// validEscapes checks the escapes of a string.
func validEscapes(raw []byte) bool {
	for i := 0; i < len(raw); i++ {
		if raw[i] != '\\' {
			continue
		}
		i++
		if i >= len(raw) {
			return false
		}
		switch raw[i] {
		case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		case 'u':
			if _, ok := hex4(raw, i+1); !ok {
				return false
			}
			i += 4
		default:
			return false
		}
	}
	return true
}

// validNumber checks a number against the grammar of JSON.
func validNumber(v []byte) bool {
	i := 0
	digits := func() bool {
		start := i
		for i < len(v) && isDigit(v[i]) {
			i++
		}
		return i > start
	}
	if i < len(v) && v[i] == '-' {
		i++
	}
	start := i
	if !digits() || v[start] == '0' && i > start+1 {
		return false
	}
	if i < len(v) && v[i] == '.' {
		i++
		if !digits() {
			return false
		}
	}
	if i < len(v) && v[i]|0x20 == 'e' {
		i++
		if i < len(v) && (v[i] == '+' || v[i] == '-') {
			i++
		}
		if !digits() {
			return false
		}
	}
	return i == len(v) && len(v) <= maxObjectsWord
}

// String says it for an error.
func (w want) String() string {
	switch w {
	case wantDocument:
		return "a document"
	case wantValue:
		return "a value"
	case wantElement:
		return "an element or ]"
	case wantMember:
		return "a key or }"
	case wantKey:
		return "a key"
	case wantColon:
		return "a colon"
	}
	return "a comma or the end"
}

func unexpected(c byte, w want) error {
	return fmt.Errorf("not JSON: %q where %s was to come", c, w)
}
