package kubecases

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/klauspost/compress/zstd"

	"github.com/doorward/doorward/e2e/cases"
)

// mostGenerated bounds what a case makes of a few words.
const mostGenerated = 512 << 20

// generate makes a body of what stands in body_gen: {prefix, unit, count,
// suffix}, or a text "ENCODING:TEXT", or "ENCODING:bomb:SIZE", of which the
// content is SIZE bytes of spaces. The encoding is given, "" for none.
func generate(raw json.RawMessage) (encoding string, body []byte, err error) {
	if len(raw) > 0 && raw[0] == '{' {
		var g struct {
			Prefix, Unit, Suffix string
			Count                int
			Encoding             string
		}
		if err := cases.Strict(raw, &g); err != nil {
			return "", nil, err
		}
		if g.Count < 0 || len(g.Unit)*g.Count > mostGenerated {
			return "", nil, fmt.Errorf("a body of %d bytes is too long", len(g.Unit)*g.Count)
		}
		body, err = encode(g.Encoding, strings.NewReader(g.Prefix+strings.Repeat(g.Unit, g.Count)+g.Suffix))
		return g.Encoding, body, err
	}
	var text string
	if err := json.Unmarshal(raw, &text); err != nil {
		return "", nil, err
	}
	name, rest, ok := strings.Cut(text, ":")
	if !ok || !encodings[name] {
		return "", nil, fmt.Errorf("body_gen %.60q begins with no encoding", text)
	}
	var content io.Reader = strings.NewReader(rest)
	if size, ok := strings.CutPrefix(rest, "bomb:"); ok {
		n, err := bytesOf(size)
		if err != nil {
			return "", nil, err
		}
		content = io.LimitReader(spaces{}, n)
	}
	body, err = encode(name, content)
	return name, body, err
}

var encodings = map[string]bool{"identity": true, "gzip": true, "deflate": true, "br": true, "zstd": true}

// spaces has no end.
type spaces struct{}

func (spaces) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	return len(p), nil
}

func bytesOf(s string) (int64, error) {
	shift := 0
	for i, unit := range []string{"KiB", "MiB", "GiB"} {
		if n, ok := strings.CutSuffix(s, unit); ok {
			s, shift = n, 10*(i+1)
		}
	}
	n, err := strconv.ParseInt(strings.TrimSpace(s), 10, 64)
	if err != nil || n < 0 || n > 1<<40>>shift {
		return 0, fmt.Errorf("%q is not a size", s)
	}
	return n << shift, nil
}

// encode applies a content coding.
func encode(name string, content io.Reader) ([]byte, error) {
	var out bytes.Buffer
	var w io.WriteCloser
	var err error
	switch name {
	case "gzip":
		w = gzip.NewWriter(&out)
	case "deflate":
		w, err = zlib.NewWriterLevel(&out, flate.BestCompression)
	case "zstd":
		w, err = zstd.NewWriter(&out)
	case "br":
		b, err := io.ReadAll(io.LimitReader(content, mostGenerated))
		if err != nil {
			return nil, err
		}
		return stored(b)
	default:
		b, err := io.ReadAll(io.LimitReader(content, mostGenerated+1))
		if err == nil && len(b) > mostGenerated {
			err = errors.New("the body is too long")
		}
		return b, err
	}
	if err != nil {
		return nil, err
	}
	if _, err := io.Copy(w, content); err != nil {
		return nil, err
	}
	err = w.Close()
	return out.Bytes(), err
}

// stored is Brotli (RFC 7932) without any compression: every reader of it takes
// that.
func stored(b []byte) ([]byte, error) {
	var out []byte
	first := true
	for len(b) > 0 {
		n := min(len(b), 1<<16)
		// ISLAST 0, MNIBBLES 0 (four), MLEN-1 in 16 bits, ISUNCOMPRESSED 1.
		head, bits := uint32(n-1)<<3|1<<19, 20
		if first {
			head, bits = head<<1, bits+1 // WBITS 16 is one zero
			first = false
		}
		for ; bits > 0; bits -= 8 {
			out = append(out, byte(head))
			head >>= 8
		}
		out, b = append(out, b[:n]...), b[n:]
	}
	if first {
		return []byte{0x06}, nil // WBITS 16, ISLAST, ISLASTEMPTY
	}
	return append(out, 3), nil // ISLAST, ISLASTEMPTY
}
