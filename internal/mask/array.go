package mask

import "encoding/binary"

// Bounds of Postgres arrays.
const maxDims = 6

// element masks or scans one element of an array.
func (p *Plan) element(dst []byte, c *column, v []byte, scan bool) ([]byte, bool) {
	if scan {
		return p.scanScalar(dst, c.elem, c.binary, c.hint, v)
	}
	return p.appendScalar(dst, c.elem, c.binary, c.by, v)
}

// appendBinaryArray rewrites an array in the binary format, element by
// element. An array that is not well formed becomes NULL.
func (p *Plan) appendBinaryArray(dst []byte, c *column, v []byte, scan bool) ([]byte, bool) {
	if len(v) < 12 {
		return dst, true
	}
	dims := binary.BigEndian.Uint32(v)
	if dims > maxDims || binary.BigEndian.Uint32(v[8:]) != elementOf(c.oid) {
		return dst, true
	}
	head := 12 + 8*int(dims)
	if len(v) < head {
		return dst, true
	}
	count := uint64(1)
	if dims == 0 {
		count = 0
	}
	for i := range int(dims) {
		count *= uint64(binary.BigEndian.Uint32(v[12+8*i:]))
		if count > uint64(len(v)/4) {
			return dst, true
		}
	}
	start := len(dst)
	dst = append(dst, v[:head]...)
	v = v[head:]
	nulls := byte(0)
	for range count {
		if len(v) < 4 {
			return dst, true
		}
		n := int32(binary.BigEndian.Uint32(v))
		v = v[4:]
		if n == -1 {
			nulls = 1
			dst = append(dst, 0xff, 0xff, 0xff, 0xff)
			continue
		}
		if n < 0 || int(n) > len(v) {
			return dst, true
		}
		at := len(dst)
		dst = append(dst, 0, 0, 0, 0)
		out, null := p.element(dst, c, v[:n:n], scan)
		v = v[n:]
		if null {
			nulls = 1
			dst = append(dst[:at], 0xff, 0xff, 0xff, 0xff)
			continue
		}
		dst = out
		binary.BigEndian.PutUint32(dst[at:], uint32(len(dst)-at-4))
	}
	if len(v) != 0 {
		return dst, true
	}
	copy(dst[start+4:], []byte{0, 0, 0, nulls})
	return dst, false
}

// appendTextArray rewrites an array in the text format: {a,"b c",NULL,{...}}.
// An array that is not well formed becomes NULL.
func (p *Plan) appendTextArray(dst []byte, c *column, v []byte, scan bool) ([]byte, bool) {
	i := 0
	if len(v) > 0 && v[0] == '[' { // bounds: [0:2]={...}
		for i < len(v) && v[i] != '=' {
			if b := v[i]; !isDigit(b) && b != '[' && b != ']' && b != ':' && b != '-' && b != '+' {
				return dst, true
			}
			i++
		}
		i++
		if i > len(v) {
			return dst, true
		}
		dst = append(dst, v[:i]...)
	}
	depth := 0
	closed := false
	for i < len(v) {
		switch b := v[i]; b {
		case '{':
			if depth++; depth > maxDims || closed {
				return dst, true
			}
			dst = append(dst, b)
			i++
		case '}':
			if depth--; depth < 0 {
				return dst, true
			}
			closed = depth == 0
			dst = append(dst, b)
			i++
		case ',':
			if depth == 0 {
				return dst, true
			}
			dst = append(dst, b)
			i++
		default:
			if depth == 0 {
				return dst, true
			}
			raw, quoted, n, ok := p.readElement(v[i:])
			if !ok {
				return dst, true
			}
			i += n
			if !quoted && len(raw) == 4 && (string(raw) == "NULL" || string(raw) == "null") {
				dst = append(dst, "NULL"...)
				continue
			}
			out, null := p.element(p.out[:0], c, raw, scan)
			p.out = out
			if null {
				dst = append(dst, "NULL"...)
				continue
			}
			dst = append(dst, '"')
			for _, b := range out {
				if b == '"' || b == '\\' {
					dst = append(dst, '\\')
				}
				dst = append(dst, b)
			}
			dst = append(dst, '"')
		}
	}
	return dst, !closed
}

// readElement reads one element of an array in the text format.
func (p *Plan) readElement(v []byte) (raw []byte, quoted bool, n int, ok bool) {
	p.elem = p.elem[:0]
	i := 0
	if v[0] == '"' {
		for i = 1; i < len(v); i++ {
			switch v[i] {
			case '"':
				return p.elem, true, i + 1, true
			case '\\':
				if i++; i >= len(v) {
					return nil, false, 0, false
				}
			}
			p.elem = append(p.elem, v[i])
		}
		return nil, false, 0, false
	}
	for ; i < len(v); i++ {
		switch v[i] {
		case ',', '}':
			return p.elem, false, i, true
		case '{', '"':
			return nil, false, 0, false
		case '\\':
			if i++; i >= len(v) {
				return nil, false, 0, false
			}
			quoted = true // an escaped NULL is not NULL
		}
		p.elem = append(p.elem, v[i])
	}
	return nil, false, 0, false
}
