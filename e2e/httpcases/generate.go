package httpcases

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"

	"github.com/doorward/doorward/e2e/cases"
)

// mostGenerated bounds what a case makes of a few words.
const mostGenerated = 512 << 20

// encodings of bodies that cases can ask for.
var encodings = []string{"identity", "gzip", "x-gzip", "deflate", "br", "zstd"}

// generate makes a body of what stands in body_gen: {prefix, unit, count, suffix,
// encoding}, or a text "ENCODING:TEXT", or "ENCODING:bomb:SIZE", of which the
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
	if !ok || !slices.Contains(encodings, name) {
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

// spaces has no end.
type spaces struct{}

// Read implements io.Reader.
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
	case "gzip", "x-gzip":
		w = gzip.NewWriter(&out)
	case "deflate":
		w, err = zlib.NewWriterLevel(&out, flate.BestCompression)
	case "zstd":
		w, err = zstd.NewWriter(&out)
	case "br":
		w = brotli.NewWriter(&out)
	case "", "identity":
		b, err := io.ReadAll(io.LimitReader(content, mostGenerated+1))
		if err == nil && len(b) > mostGenerated {
			err = errors.New("the body is too long")
		}
		return b, err
	default:
		err = fmt.Errorf("the encoding %q is not known", name)
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

// decode takes a content coding off, as far as it goes: a client that would
// understand more than doorward does must not see more.
func decode(name string, b []byte) []byte {
	var r io.Reader
	var err error
	switch strings.ToLower(strings.TrimSpace(name)) {
	case "gzip", "x-gzip":
		r, err = gzip.NewReader(bytes.NewReader(b))
	case "deflate":
		if r, err = zlib.NewReader(bytes.NewReader(b)); err != nil {
			r, err = flate.NewReader(bytes.NewReader(b)), nil
		}
	case "br":
		r = brotli.NewReader(bytes.NewReader(b))
	case "zstd":
		var z *zstd.Decoder
		if z, err = zstd.NewReader(bytes.NewReader(b)); err == nil {
			defer z.Close()
			r = z
		}
	default:
		return b
	}
	if err != nil {
		return b
	}
	out, _ := io.ReadAll(io.LimitReader(r, mostRead))
	return out
}
