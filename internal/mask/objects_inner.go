package mask

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"errors"
	"io"
	"unicode/utf8"
)

// minBase64 is the shortest string that is looked into as base64: eight bytes.
const minBase64 = 11

// child is what masks the strings within strings.
func (o *Objects) child() *Objects {
	if o.inner == nil {
		o.inner = &Objects{level: o.level + 1, many: true}
		o.inner.opt.Plain = o.opt.Plain
		o.inner.c.init(o.c.set, o.c.target)
		o.inner.search = o.search
	}
	o.inner.packed = o.packed
	return o.inner
}

// mask appends a decoded string with all that is detected replaced. Where hit
// is false there was nothing, and what it appends has no meaning. What a string
// holds in another form is decoded first: JSON, base64, gzip in base64.
func (o *Objects) mask(dst, text []byte, h hint, level int) ([]byte, bool) {
	c := &o.c
	if level != nameNone && c.wanted.has(kindSecret) && len(text) > 0 && secretLike(text, min(level, namePassword), true, '"') {
		return o.used(kindSecret).appendText(dst, text, kindSecret), true
	}
	if documentLike(text) {
		if out, hit, ok := o.document(dst, text, o.bottom(h, level)); ok {
			return out, hit
		}
	}
	if len(text) >= minBase64 {
		if out, hit, ok := o.bytes(dst, text, h, false); ok {
			return out, hit
		}
	}
	return o.searched(dst, text, h)
}

// documentLike reports whether a string may be JSON that holds strings.
func documentLike(text []byte) bool {
	for i, b := range text {
		switch b {
		case ' ', '\n', '\t', '\r':
		case '{', '[':
			return true
		case '"':
			return len(text)-i > 2
		default:
			return false
		}
	}
	return false
}

// document masks a string that is JSON, or lines of JSON. Where it is not, ok
// is false. What lies too deep to be looked at is replaced as a whole.
func (o *Objects) document(dst, text []byte, bottom frame) (out []byte, hit, ok bool) {
	if o.level >= maxObjectsInner {
		return append(dst, o.whole()...), true, true
	}
	n := len(dst)
	k := o.child()
	k.begin(bottom)
	dst, err := k.Write(dst, text)
	if err == nil {
		dst, err = k.Close(dst)
	}
	if errors.Is(err, errLate) {
		return append(dst[:n], SecretMarker...), true, true
	}
	return dst, k.changed, err == nil
}

// bytes masks a string that is base64. Ok is false where it is not, or, unless
// it must be, where what is in it is no text.
func (o *Objects) bytes(dst, text []byte, h hint, must bool) (out []byte, hit, ok bool) {
	enc := base64Of(text)
	if enc == nil {
		return dst, false, false
	}
	var head [12]byte
	if !must {
		n, err := enc.Decode(head[:], text[:8])
		if err == nil && !bytes.HasPrefix(head[:n], gzipMagic) && !printable(head[:n]) {
			return dst, false, false
		}
	}
	raw, err := enc.AppendDecode(trim(o.raw), text)
	if o.raw = raw; err != nil {
		return dst, false, false
	}
	packed := bytes.HasPrefix(raw, gzipMagic)
	if !must && !packed && (!printable(raw) || !utf8.Valid(raw)) {
		return dst, false, false
	}
	if o.level >= maxObjectsInner {
		return append(dst, o.whole()...), true, true
	}
	k := o.child()
	if packed {
		// What cannot be looked into is not shown: broken, too large, or packed
		// twice, which would make little of much work.
		hit = true
		if !o.packed {
			if o.flat, ok = inflate(trim(o.flat), raw); ok {
				k.packed = true
				k.out, hit = k.mask(trim(k.out), o.flat, h, nameNone)
			}
		}
		if !hit {
			return dst, false, true
		}
		return enc.AppendEncode(dst, []byte(o.whole())), true, true
	}
	k.out, hit = k.mask(trim(k.out), raw, h, nameNone)
	if !hit {
		return dst, false, true
	}
	return enc.AppendEncode(dst, k.out), true, true
}

var gzipMagic = []byte{0x1f, 0x8b}

// inflate unpacks gzip, up to a bound. Ok is false where it cannot.
func inflate(dst, v []byte) (flat []byte, ok bool) {
	z, err := gzip.NewReader(bytes.NewReader(v))
	if err != nil {
		return dst, false
	}
	most := int64(min(maxObjectsInflate, max(minObjectsInflate, maxObjectsRatio*len(v))))
	w := bytes.NewBuffer(dst)
	n, err := io.Copy(w, io.LimitReader(z, most+1))
	return w.Bytes(), err == nil && n <= most
}

// base64Of gives the encoding of a string that is nothing but base64, in one
// of the two alphabets, with or without padding, in lines or not.
func base64Of(v []byte) *base64.Encoding {
	n, pad := 0, 0
	std, url := false, false
	for _, b := range v {
		switch {
		case isAlnum(b):
			n++
		case b == '+' || b == '/':
			n++
			std = true
		case b == '-' || b == '_':
			n++
			url = true
		case b == '=':
			pad++
			continue
		case b == '\n' || b == '\r':
			continue
		default:
			return nil
		}
		if pad > 0 {
			return nil
		}
	}
	switch {
	case n == 0 || pad > 2 || std && url:
		return nil
	case (n+pad)%4 == 0 && url:
		return base64.URLEncoding
	case (n+pad)%4 == 0:
		return base64.StdEncoding
	case pad > 0 || n%4 == 1:
		return nil
	case url:
		return base64.RawURLEncoding
	}
	return base64.RawStdEncoding
}

// printable reports whether there are no bytes that text does not have.
func printable(v []byte) bool {
	for _, b := range v {
		if b < ' ' && b != '\n' && b != '\t' && b != '\r' && b != 0x1b || b == 0x7f {
			return false
		}
	}
	return true
}

// searched is mask for a text that is in no other form.
func (o *Objects) searched(dst, text []byte, h hint) (out []byte, hit bool) {
	c := &o.c
	c.found = detect(c.found[:0], text, c.wanted, h)
	found := len(c.found)
	pem := len(text) > minPEM && c.wanted.has(kindSecret) && bytes.Contains(text, pemBase64)
	escaped := bytes.IndexByte(text, '\\') >= 0 && bytes.Contains(text, unicodeEscape)
	if found == 0 && !pem && !escaped {
		return dst, false
	}
	if found == 1 && c.found[0].kind == kindDate && isStamp(text) {
		return o.used(kindDate).appendStamp(dst, text), true
	}
	start, at := len(dst), 0
	for _, f := range c.found {
		dst = append(dst, text[at:f.start]...)
		dst = o.used(f.kind).appendText(dst, text[f.start:f.end], f.kind)
		at = f.end
	}
	dst = append(dst, text[at:]...)
	if escaped {
		// JSON that is not whole, or stands within other text: what its escapes
		// hide cannot be replaced piece by piece.
		o.flat = unescapeJSON(trim(o.flat), text)
		c.found = detect(c.found, o.flat, c.wanted, h)
		if !sameFindings(c.found[:found], text, c.found[found:], o.flat) {
			return append(dst[:start], o.whole()...), true
		}
	}
	if pem {
		dst, pem = o.pem(dst, start)
	}
	return dst, found > 0 || pem
}

// sameFindings reports whether all that is found in b was found in a as well,
// to its last letter.
func sameFindings(x []finding, a []byte, y []finding, b []byte) bool {
	if len(y) > len(x) {
		return false
	}
	for len(y) > 0 {
		if len(x) == 0 {
			return false
		}
		if bytes.Equal(a[x[0].start:x[0].end], b[y[0].start:y[0].end]) {
			y = y[1:]
		}
		x = x[1:]
	}
	return true
}

var (
	unicodeEscape = []byte(`\u00`)
	pemBase64     = []byte("LS0tLS1CRUdJTi") // -----BEGIN in base64
)

// minPEM is less than a private key has in base64.
const minPEM = 40

// pem replaces private keys that stand in base64 in a text, such as in a
// kubeconfig: dst from start on.
func (o *Objects) pem(dst []byte, start int) (out []byte, hit bool) {
	text := append([]byte(nil), dst[start:]...)
	dst = dst[:start]
	for {
		i := bytes.Index(text, pemBase64)
		if i < 0 {
			return append(dst, text...), hit
		}
		end := i
		for end < len(text) && (isAlnum(text[end]) || text[end] == '+' || text[end] == '/') {
			end++
		}
		dst = append(dst, text[:i]...)
		raw, _ := base64.RawStdEncoding.DecodeString(string(text[i:end]))
		if bytes.Contains(raw, pemWord) {
			hit = true
			dst = o.used(kindSecret).appendText(dst, text[i:end], kindSecret)
		} else {
			dst = append(dst, text[i:end]...)
		}
		text = text[end:]
	}
}

// isStamp reports whether a text is a time as Kubernetes writes it: RFC 3339.
func isStamp(v []byte) bool {
	const form = "dddd-dd-ddTdd:dd:dd"
	if len(v) <= len(form) {
		return false
	}
	for i := range len(form) {
		if form[i] != v[i] && (form[i] != 'd' || !isDigit(v[i])) {
			return false
		}
	}
	v = v[len(form)+stampFraction(v):]
	return string(v) == "Z" || len(v) == 6 && (v[0] == '+' || v[0] == '-') && allDigits(v[1:3]) && v[3] == ':' && allDigits(v[4:])
}

// stampFraction is the length of the fraction of a second, with its point.
func stampFraction(v []byte) int {
	const at = len("2006-01-02T15:04:05")
	n := 0
	if at < len(v) && v[at] == '.' {
		for n = 1; at+n < len(v) && isDigit(v[at+n]); n++ {
		}
	}
	return n
}

// appendStamp appends the masked form of a time: a time again, to as many
// digits, for clients that know its type could not read anything else.
func (t transform) appendStamp(dst, v []byte) []byte {
	switch {
	case t.op == opGeneralise:
		dst = append(append(dst, v[:4]...), "-01-01"...)
	case t.op.keyed():
		dst = appendDate(dst, pseudoDate(t.key.number(v)))
	default:
		dst = appendDate(dst, daysOf(redactedYear, 1, 1))
	}
	dst = append(dst, "T00:00:00"...)
	for i := range stampFraction(v) {
		dst = append(dst, ".0"[min(i, 1)])
	}
	return append(dst, 'Z')
}
