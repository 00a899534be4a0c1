package mask

// bottom is where a document stands of which nothing is known but what is said
// of the string that it is in.
func (o *Objects) bottom(h hint, level int) frame {
	f := frame{hint: h, level: uint8(level)}
	if o.opt.Plain {
		f.place, f.next = placeAny, placeAny
	}
	return f
}

// counted counts a value of plain JSON, if it is what [Objects.Rows] counts.
func (o *Objects) counted() {
	n := len(o.stack)
	if !o.stack[n-1].array || n == 3 && o.stack[1].array {
		return
	}
	if !o.list { // the document counts by its elements, and not as one
		o.list = true
		o.rows--
	}
	o.rows++
}

// distinct numbers the key in o.out where it is not the first of its object
// that was replaced: of two keys that are the same, clients drop one. Keyed
// operators keep keys apart by themselves.
func (o *Objects) distinct(f *frame) {
	keyed := len(o.c.found) > 0 && string(o.out) != redactedText
	for _, x := range o.c.found {
		keyed = keyed && o.c.ops[x.kind].op.keyed()
	}
	if keyed {
		return
	}
	if f.index++; f.index > 1 {
		o.out = appendInt(append(o.out, '#'), int64(f.index))
	}
}
