package mask

import (
	"errors"
	"strconv"
)

// cell is what the name of a Table's column says of its cells.
type cell struct {
	hint  hint
	level uint8
}

var errLate = errors.New("an object says that it is a Secret after its values: it is not known how to show them")

// decoded gives a string without its escapes. It is valid until the next call
// with the same buffer.
func decoded(buf *[]byte, raw []byte, marks content) []byte {
	if marks&markEscape == 0 {
		return raw
	}
	*buf = unescapeJSON(trim(*buf), raw)
	return *buf
}

// quote makes a token of a string.
func (o *Objects) quote(v []byte) []byte {
	o.changed = true
	o.repl = append(escapeJSON(append(trim(o.repl), '"'), v), '"')
	return o.repl
}

// token notes that a value was replaced by a constant.
func (o *Objects) token(v []byte) []byte {
	o.changed = true
	return v
}

// stringValue takes a string that is a value, and gives what takes its place,
// or nil.
func (o *Objects) stringValue(raw []byte, marks content) ([]byte, error) {
	f := &o.stack[len(o.stack)-1]
	if !o.search && (f.next == placePlain || f.place == placeAny && o.field() == 0) {
		return nil, nil
	}
	h, level := f.hint, int(f.level)
	secret := f.flags&flagSecret != 0
	switch f.next {
	case placeKeep, placeStatic:
		return nil, nil
	case placeHeading:
		o.column(decoded(&o.text, raw, marks))
		return nil, nil
	case placeHidden:
		return o.token(quotedMarker), nil
	case placeHiddenBase64:
		return o.token(quotedMarkerBase64), nil
	}
	text := decoded(&o.text, raw, marks)
	switch f.next {
	case placeKind:
		if f.isKind(text) {
			return nil, errLate
		}
		if f.place == placeObject {
			return nil, nil
		}
	case placeVersion:
		if string(text) == "v1" {
			f.flags |= flagCore
		}
		if f.place == placeObject {
			return nil, nil
		}
	case placeHiddenMaybe:
		if len(text)%4 == 0 && base64Of(text) != nil {
			return o.token(quotedMarkerBase64), nil
		}
	case placeMessage:
		if secret && !plainMessage(text) {
			return o.token(quotedMessage), nil
		}
	case placeName:
		if o.search {
			f.about, f.pair, _ = o.names(text)
		}
	case placeValue:
		if f.pair != nameNone || f.about != 0 {
			h, level = h|f.about, max(level, int(f.pair))
		}
	case placeApplied: // of the same kind as the object, which is known by now
		out, hit, ok := o.document(trim(o.out), text, frame{next: placeObject, flags: f.flags&flagSecret | flagKind})
		o.out = out
		switch {
		case ok && hit:
			return o.quote(out), nil
		case ok:
			return nil, nil
		case secret:
			return o.token(quotedMarker), nil
		}
	case placeBinary:
		if out, hit, ok := o.bytes(trim(o.out), text, h, true); ok && o.search {
			if o.out = out; !hit {
				return nil, nil
			}
			return o.quote(out), nil
		}
	default:
		if secret && f.next.hides(f.flags) {
			return o.token(quotedMarker), nil
		}
	}
	rule := o.field()
	if !o.search && rule == 0 {
		return nil, nil
	}
	if f.array {
		h, level = o.element(f, text, h, level)
	}
	if rule > 0 {
		return o.fieldString(rule, text, h, level), nil
	}
	out, hit := o.mask(trim(o.out), text, h, level)
	o.out = out
	if !hit {
		return nil, nil
	}
	return o.quote(out), nil
}

// element adds what is known of a string in an array: the column of a cell,
// or the option before a word of a command.
func (o *Objects) element(f *frame, text []byte, h hint, level int) (hint, int) {
	if f.place == placeCells && int(f.index) < len(o.columns) {
		c := o.columns[f.index]
		return h | c.hint, max(level, int(c.level))
	}
	level, f.pair = max(level, int(f.pair)), nameNone
	if len(text) > 1 && text[0] == '-' && len(text) <= maxName && indexByte(text, '=') < 0 && indexByte(text, ' ') < 0 {
		f.pair = uint8(secretName(text))
	}
	return h, level
}

// column keeps what the name of a column says.
func (o *Objects) column(name []byte) {
	i := int(o.stack[len(o.stack)-2].index)
	if i >= maxObjectsColumns {
		return
	}
	for len(o.columns) <= i {
		o.columns = append(o.columns, cell{})
	}
	o.columns[i] = cell{nameHint(name), uint8(secretName(name))}
}

// number gives what takes the place of a number, or nil. A number that is
// detected becomes 0: clients that know its type could not read a string.
func (o *Objects) number(f *frame, v []byte) []byte {
	if f.next.hides(f.flags) {
		return zeroWord
	}
	if !o.search || f.next == placeStatic || f.next == placeKeep {
		return nil
	}
	h, level := f.hint, int(f.level)
	switch {
	case f.next == placeValue:
		h, level = h|f.about, max(level, int(f.pair))
	case f.place == placeCells && int(f.index) < len(o.columns):
		h, level = h|o.columns[f.index].hint, max(level, int(o.columns[f.index].level))
	}
	if level >= namePassword && o.c.wanted.has(kindSecret) && len(v) >= 4 {
		return zeroWord
	}
	if len(v) < minPhone {
		return nil
	}
	if v[0] == '-' {
		v = v[1:]
	}
	if o.hits(v, h) {
		return zeroWord
	}
	for i, b := range v {
		if b == '.' || b|0x20 == 'e' { // 4.111e15 is a number of 16 digits
			x, err := strconv.ParseFloat(string(v), 64)
			if err != nil || o.hits(v[:i], h) {
				return zeroWord
			}
			if x < 1e20 {
				o.flat = strconv.AppendFloat(trim(o.flat), x, 'f', 0, 64)
				if o.hits(o.flat, h) {
					return zeroWord
				}
			}
			break
		}
	}
	return nil
}

// hits reports whether anything is detected in a text.
func (o *Objects) hits(v []byte, h hint) bool {
	o.c.found = detect(o.c.found[:0], v, o.c.wanted, h)
	return len(o.c.found) > 0
}
