package mask

import "unicode/utf8"

// json searches a document string by string and number by number, each with
// its key as context, so that what comes out is a document again. Escapes are
// decoded before the search.
func (c *scanner) json(dst, v []byte, h hint) ([]byte, bool) {
	key, level := h, nameNone
	for i := 0; i < len(v); {
		switch b := v[i]; {
		case b == '"':
			end, plain := stringEnd(v, i+1)
			if end < 0 { // not well formed: nothing is known about the rest
				dst, _ = c.text(dst, v[i:], h)
				return dst, false
			}
			raw := v[i+1 : end]
			i = end + 1
			text := raw
			if !plain {
				c.buf = unescapeJSON(c.buf[:0], raw)
				text = c.buf
			}
			if isKey(v, i) {
				dst, _ = c.jsonString(dst, raw, text, h, nameNone)
				key, level = nameHint(text)|h, secretName(text)
				continue
			}
			dst, _ = c.jsonString(dst, raw, text, key, level)
		case isDigit(b) || b == '-':
			end := i + 1
			for end < len(v) && (isDigit(v[end]) || v[end] == '.' || v[end]|0x20 == 'e' || v[end] == '+' || v[end] == '-') {
				end++
			}
			dst = c.jsonNumber(dst, v[i:end], key)
			i = end
		default:
			dst = append(dst, b)
			i++
		}
	}
	return dst, false
}

// jsonString appends a string with its quotes, masked.
func (c *scanner) jsonString(dst, raw, text []byte, h hint, level int) ([]byte, bool) {
	dst = append(dst, '"')
	if level != nameNone && c.wanted.has(kindSecret) && len(text) > 0 && secretLike(text, min(level, namePassword), true, '"') {
		dst = c.ops[kindSecret].appendText(dst, text, kindSecret)
		return append(dst, '"'), true
	}
	out, hit := c.text(c.out[:0], text, h)
	c.out = out
	if !hit {
		return append(append(dst, raw...), '"'), false
	}
	return append(escapeJSON(dst, out), '"'), true
}

// jsonNumber appends a number, or a string in its place. Numbers are too short
// to be looked at below seven digits.
func (c *scanner) jsonNumber(dst, v []byte, h hint) []byte {
	if len(v) < minPhone {
		return append(dst, v...)
	}
	out, hit := c.text(c.out[:0], v, h)
	c.out = out
	if !hit {
		return append(dst, v...)
	}
	if len(out) == 0 {
		return append(dst, "null"...)
	}
	return append(escapeJSON(append(dst, '"'), out), '"')
}

// stringEnd is the index of the quote that ends a string, or -1.
func stringEnd(v []byte, i int) (end int, plain bool) {
	plain = true
	for ; i < len(v); i++ {
		switch v[i] {
		case '"':
			return i, plain
		case '\\':
			plain = false
			i++
		}
	}
	return -1, false
}

// isKey reports whether a colon follows.
func isKey(v []byte, i int) bool {
	for ; i < len(v); i++ {
		switch v[i] {
		case ' ', '\t', '\n', '\r':
		default:
			return v[i] == ':'
		}
	}
	return false
}

// unescapeJSON decodes the inside of a string.
func unescapeJSON(dst, raw []byte) []byte {
	for i := 0; i < len(raw); i++ {
		b := raw[i]
		if b != '\\' || i+1 >= len(raw) {
			dst = append(dst, b)
			continue
		}
		i++
		switch raw[i] {
		case 'b':
			dst = append(dst, '\b')
		case 'f':
			dst = append(dst, '\f')
		case 'n':
			dst = append(dst, '\n')
		case 'r':
			dst = append(dst, '\r')
		case 't':
			dst = append(dst, '\t')
		case 'u':
			r, ok := hex4(raw, i+1)
			if !ok {
				dst = append(dst, '\\', 'u')
				continue
			}
			i += 4
			if r >= 0xd800 && r < 0xdc00 && i+2 < len(raw) && raw[i+1] == '\\' && raw[i+2] == 'u' {
				if low, ok := hex4(raw, i+3); ok && low >= 0xdc00 && low < 0xe000 {
					r = 0x10000 + (r-0xd800)<<10 + (low - 0xdc00)
					i += 6
				}
			}
			dst = utf8.AppendRune(dst, r)
		default:
			dst = append(dst, raw[i])
		}
	}
	return dst
}

func hex4(v []byte, i int) (rune, bool) {
	if i+4 > len(v) {
		return 0, false
	}
	r := rune(0)
	for _, b := range v[i : i+4] {
		if !isHex(b) {
			return 0, false
		}
		r = r<<4 | rune(hexValue(b))
	}
	return r, true
}

// escapeJSON encodes the inside of a string.
func escapeJSON(dst, v []byte) []byte {
	for _, b := range v {
		switch {
		case b == '"' || b == '\\':
			dst = append(dst, '\\', b)
		case b == '\n':
			dst = append(dst, '\\', 'n')
		case b == '\t':
			dst = append(dst, '\\', 't')
		case b == '\r':
			dst = append(dst, '\\', 'r')
		case b < 0x20:
			dst = append(dst, '\\', 'u', '0', '0', hexDigits[b>>4], hexDigits[b&15])
		default:
			dst = append(dst, b)
		}
	}
	return dst
}
