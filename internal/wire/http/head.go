package http

// Field is one header field. Name is as it was sent; Value is without the white
// space around it.
type Field struct{ Name, Value string }

// span is where a field is in the head.
type span struct{ name, colon, value, end int32 }

// part is where a part of a request line is in the head.
type part struct{ from, to int }

// head reads a whole head, its start line by start, and gives its text. It
// consumes nothing before all of it is there, so that a time-out of the
// connection loses nothing. It puts where the fields are into r.spans.
func (r *Reader) head(start func(r *Reader, from, to int) error) (string, error) {
	r.spans = r.spans[:0]
	at := 0
	end, err := r.startLine(at)
	if err != nil {
		return "", err
	}
	if end == 2 && !r.answer {
		// One empty line before a request is what some old clients send after a
		// body (RFC 9112, 2.2).
		at = end
		if end, err = r.startLine(at); err != nil {
			return "", err
		}
	}
	if err := start(r, at, end-2); err != nil {
		return "", err
	}
	for {
		at = end
		if end, err = r.line(at, r.opt.Head-at); err != nil {
			return "", r.lineFault(err, 431, nth(len(r.spans)), "the whole head", "send fewer or shorter fields")
		}
		if end-at == 2 {
			break
		}
		if len(r.spans) == r.opt.Fields {
			return "", r.refuse(431, "the head has too many fields", "send fewer fields")
		}
		s, wrong := field(r.buf[r.r+at : r.r+end-2])
		if wrong != "" {
			return "", r.refuse(400, nth(len(r.spans))+" "+wrong, "send it as Name: value, on one line of its own (RFC 9112, 5)")
		}
		off := int32(at)
		r.spans = append(r.spans, span{s.name + off, s.colon + off, s.value + off, s.end + off})
	}
	text := string(r.buf[r.r : r.r+at])
	r.r += end
	return text, nil
}

func (r *Reader) startLine(at int) (int, error) {
	end, err := r.line(at, min(r.opt.Line+2, r.opt.Head-at))
	if err != nil {
		return 0, r.lineFault(err, 414, "the first line", "it", "send a shorter target")
	}
	return end, nil
}

// lineFault turns what line says into a fault; errors of the connection stay as
// they are.
func (r *Reader) lineFault(err error, status int, where, what, hint string) error {
	switch err {
	case errLong:
		return r.refuse(status, where+": "+what+" is too long", hint)
	case errBare:
		return r.refuse(400, where+" ends with a bare LF", "end lines with CR LF")
	}
	return err
}

// field finds the parts of a field line, or says what is wrong with it.
func field(line []byte) (s span, wrong string) {
	if line[0] == ' ' || line[0] == '\t' {
		return s, "begins with white space (a folded line, or a line before the first field)"
	}
	n := 0
	for n < len(line) && inToken(line[n]) {
		n++
	}
	switch {
	case n == len(line):
		return s, "has no colon"
	case line[n] != ':' && (line[n] == ' ' || line[n] == '\t'):
		return s, "has white space in its name or before the colon"
	case line[n] != ':':
		return s, "has a byte in its name that a name cannot have"
	case n == 0:
		return s, "has no name"
	}
	a, b := trim(line, n+1, len(line))
	if !isText(line[a:b]) {
		return s, "(" + string(line[:min(n, 64)]) + ") has a control byte in its value"
	}
	return span{0, int32(n), int32(a), int32(b)}, ""
}

// cut gives the fields of a head as slices of its text, into dst.
func (r *Reader) cut(dst []Field, text string) []Field {
	dst = dst[:0]
	for _, s := range r.spans {
		dst = append(dst, Field{text[s.name:s.colon], text[s.value:s.end]})
	}
	return dst
}
