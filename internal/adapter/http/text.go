package http

import (
	"bytes"
	"errors"
	"mime"
	"strconv"
	"strings"

	"github.com/doorward/doorward/internal/gate"
)

// text is the filter of text where values are looked for.
type text struct {
	mask   *gate.MaskStream
	markup bool   // character references are read
	held   []byte // the beginning of one
	plain  []byte
}

// errNotText says that bytes came that no text has: it may be in an encoding in
// which nothing is found.
var errNotText = errors.New("it holds zero bytes, which no text has")

// Write implements relay.Filter.
func (t *text) Write(dst, piece []byte) ([]byte, error) {
	if bytes.IndexByte(piece, 0) >= 0 {
		return dst, errNotText
	}
	if !t.markup {
		return t.mask.Write(dst, piece), nil
	}
	if len(t.held) > 0 {
		piece = append(t.held, piece...)
	}
	t.plain, t.held = dereference(t.plain[:0], piece, t.held[:0])
	return t.mask.Write(dst, t.plain), nil
}

// Flush implements relay.Filter.
func (t *text) Flush(dst []byte) []byte { return t.mask.Flush(dst) }

// Close implements relay.Filter.
func (t *text) Close(dst []byte) ([]byte, error) {
	if len(t.held) > 0 {
		dst = t.mask.Write(dst, t.held)
		t.held = nil
	}
	return t.mask.Flush(dst), nil
}

// Held implements relay.Filter.
func (t *text) Held() int { return t.mask.Held() }

// Rows implements relay.Filter: lines are counted.
func (t *text) Rows() int64 { return -1 }

// maxReference bounds a character reference, with its & and ;.
const maxReference = 16

// named are the references by name to characters that values are made of.
var named = map[string]byte{"commat": '@', "period": '.', "lowbar": '_', "colon": ':', "sol": '/', "plus": '+', "equals": '=', "num": '#'}

// dereference writes what character references stand for, where that has no
// meaning of its own in markup: an address is the same with &#64; in it, and
// is not found. What may be the beginning of a reference is kept in held.
func dereference(dst, b, held []byte) (plain, rest []byte) {
	for {
		i := bytes.IndexByte(b, '&')
		if i < 0 {
			return append(dst, b...), held
		}
		dst = append(dst, b[:i]...)
		b = b[i:]
		end := bytes.IndexByte(b[:min(len(b), maxReference)], ';')
		if end < 0 && len(b) < maxReference && reference(b[1:]) {
			return dst, append(held, b...)
		}
		if end > 0 {
			if c, ok := character(string(b[1:end])); ok {
				dst = append(dst, c)
				b = b[end+1:]
				continue
			}
		}
		dst = append(dst, '&')
		b = b[1:]
	}
}

// reference reports whether b can be within a reference.
func reference(b []byte) bool {
	for i, c := range b {
		if !(c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '#' && i == 0) {
			return false
		}
	}
	return true
}

// character is what a reference stands for, if it is plain in markup.
func character(name string) (byte, bool) {
	if c, ok := named[name]; ok {
		return c, true
	}
	digits, ok := strings.CutPrefix(name, "#")
	if !ok {
		return 0, false
	}
	base := 10
	if h := strings.TrimLeft(digits, "xX"); len(h) == len(digits)-1 {
		digits, base = h, 16
	}
	n, err := strconv.ParseUint(digits, base, 32)
	if err != nil || n >= 0x7f || n < ' ' || n == '<' || n == '>' || n == '&' || n == '"' || n == '\'' || n == '`' {
		return 0, false
	}
	return byte(n), true
}

// charsets are those in which ASCII is written as such.
var charsets = map[string]bool{"": true, "utf-8": true, "utf8": true, "us-ascii": true, "ascii": true, "latin1": true}

// readable reports whether values are found in text of a content type.
func readable(contentType string) bool {
	_, params, err := mime.ParseMediaType(contentType)
	if err != nil {
		return !strings.Contains(strings.ToLower(contentType), "charset")
	}
	c := strings.ToLower(params["charset"])
	return charsets[c] || strings.HasPrefix(c, "iso-8859-") || strings.HasPrefix(c, "windows-125")
}
