package leakcheck

import (
	"bytes"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base32"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf16"
)

// Hit is a secret that was found, and how it was written.
type Hit struct {
	Secret    string   `json:"secret"`
	Encodings []string `json:"encodings"`
}

// String names secret and encodings.
func (h Hit) String() string {
	return fmt.Sprintf("%q (%s)", h.Secret, strings.Join(h.Encodings, ", "))
}

var (
	jsonEscape  = regexp.MustCompile(`\\u([0-9a-fA-F]{4})`)
	htmlEscape  = regexp.MustCompile(`&#(x?)([0-9a-fA-F]{2,4});`)
	percent     = regexp.MustCompile(`%([0-9a-fA-F]{2})`)
	octal       = regexp.MustCompile(`\\([0-3][0-7]{2})`)
	digits      = regexp.MustCompile(`[0-9]+`)
	notHex      = regexp.MustCompile(`[^0-9a-f]`)
	replacement = []byte("\uFFFD")
)

// haystack is what was received, in every form that it is searched in.
type haystack struct {
	raw, low, norm, cells []byte
	hex, oneLine, codes   []byte
	decoded               map[string][]byte // lower case
}

// Find looks for each secret in blobs, and in values, the single fields in
// the order in which they came.
func Find(blobs, values [][]byte, secrets []string) []Hit {
	h := newHaystack(blobs, values)
	var out []Hit
	for _, s := range secrets {
		if found := h.find(s); len(found) > 0 {
			out = append(out, Hit{s, found})
		}
	}
	return out
}

func newHaystack(blobs, values [][]byte) *haystack {
	h := &haystack{raw: bytes.Join(blobs, []byte("\n"))}
	h.low = bytes.ToLower(h.raw)
	h.norm, h.cells = normal(h.raw), normal(bytes.Join(values, nil))
	h.hex = notHex.ReplaceAll(h.low, nil)
	h.oneLine = bytes.ReplaceAll(h.raw, []byte("\n"), nil)
	for _, d := range digits.FindAll(h.raw, -1) {
		if n, err := strconv.Atoi(string(d)); err == nil && len(d) <= 3 && n < 256 {
			h.codes = append(h.codes, byte(n))
		}
	}
	h.decoded = map[string][]byte{
		"json-u": jsonEscape.ReplaceAllFunc(h.raw, func(m []byte) []byte { return runeOf(m[2:], 16) }),
		"html": htmlEscape.ReplaceAllFunc(h.raw, func(m []byte) []byte {
			if m[2] == 'x' {
				return runeOf(m[3:len(m)-1], 16)
			}
			return runeOf(m[2:len(m)-1], 10)
		}),
		"url":   percent.ReplaceAllFunc(h.raw, func(m []byte) []byte { return byteOf(m[1:], 16) }),
		"octal": octal.ReplaceAllFunc(h.raw, func(m []byte) []byte { return byteOf(m[1:], 8) }),
	}
	for k, v := range h.decoded {
		if bytes.Equal(v, h.raw) {
			delete(h.decoded, k)
		} else {
			h.decoded[k] = bytes.ToLower(v)
		}
	}
	return h
}

func runeOf(b []byte, base int) []byte {
	n, err := strconv.ParseInt(string(b), base, 32)
	if err != nil {
		return replacement
	}
	return []byte(string(rune(n)))
}

func byteOf(b []byte, base int) []byte {
	n, err := strconv.ParseUint(string(b), base, 8)
	if err != nil {
		return replacement
	}
	return []byte{byte(n)}
}

// normal keeps letters, digits, bytes over 0x7f and @, in lower case.
func normal(b []byte) []byte {
	out := make([]byte, 0, len(b))
	for _, c := range bytes.ToLower(b) {
		if c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 0x80 || c == '@' {
			out = append(out, c)
		}
	}
	return out
}

func (h *haystack) find(secret string) []string {
	var out []string
	b := []byte(secret)
	low, norm := bytes.ToLower(b), normal(b)
	try := func(name string, found bool) {
		if found {
			out = append(out, name)
		}
	}
	in := bytes.Contains
	try("plain", in(h.raw, b))
	try("case", in(h.low, low))
	if len(norm) >= 6 {
		back := reverse(norm)
		try("separators", in(h.norm, norm))
		try("split", in(h.cells, norm))
		try("reversed", in(h.norm, back) || in(h.cells, back))
		try("shift+1", in(h.raw, shift(b)))
		if r := rot13(b); !bytes.Equal(r, b) {
			try("rot13", in(h.raw, r))
		}
		try("codes", in(h.codes, b) || in(h.codes, low))
	}
	x := []byte(hex.EncodeToString(b))
	try("hex", in(h.low, x) || in(h.hex, x))
	if len(b) >= 8 {
		try("base64", h.base64(b))
		try("base32", in(h.low, []byte(strings.ToLower(base32.StdEncoding.EncodeToString(b)[:len(b)*8/5]))))
	}
	le, be := utf16Bytes(secret)
	try("utf16", in(h.raw, le) || in(h.raw, be))
	for _, name := range []string{"json-u", "html", "url", "octal"} {
		try(name, in(h.decoded[name], low))
	}
	for _, d := range digests(b) {
		try("weakhash", in(h.low, []byte(hex.EncodeToString(d))) || in(h.raw, d))
	}
	return out
}

func reverse(b []byte) []byte {
	out := make([]byte, len(b))
	for i, c := range b {
		out[len(b)-1-i] = c
	}
	return out
}

func shift(b []byte) []byte {
	out := make([]byte, len(b))
	for i, c := range b {
		out[i] = min(c, 254) + 1
	}
	return out
}

func rot13(b []byte) []byte {
	out := bytes.Clone(b)
	for i, c := range out {
		switch {
		case c >= 'a' && c <= 'z':
			out[i] = 'a' + (c-'a'+13)%26
		case c >= 'A' && c <= 'Z':
			out[i] = 'A' + (c-'A'+13)%26
		}
	}
	return out
}

// base64 looks for the secret at each of the three alignments, leaving out
// the characters that its neighbours share.
func (h *haystack) base64(b []byte) bool {
	for pad, skip := range []int{0, 2, 3} {
		e := base64.RawStdEncoding.EncodeToString(append(make([]byte, pad), b...))[skip:]
		if (len(b)+pad)%3 != 0 {
			e = e[:len(e)-1]
		}
		if len(e) < 10 {
			continue
		}
		for _, v := range []string{e, strings.NewReplacer("+", "-", "/", "_").Replace(e)} {
			if bytes.Contains(h.raw, []byte(v)) || bytes.Contains(h.oneLine, []byte(v)) {
				return true
			}
		}
	}
	return false
}

func utf16Bytes(s string) (le, be []byte) {
	for _, u := range utf16.Encode([]rune(s)) {
		le = append(le, byte(u), byte(u>>8))
		be = append(be, byte(u>>8), byte(u))
	}
	return le, be
}

func digests(b []byte) [][]byte {
	m, s1, s256, s512 := md5.Sum(b), sha1.Sum(b), sha256.Sum256(b), sha512.Sum512(b)
	return [][]byte{m[:], s1[:], s256[:], s512[:]}
}
