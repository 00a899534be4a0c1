package http

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/doorward/doorward"
	classify "github.com/doorward/doorward/internal/classify/http"
	"github.com/doorward/doorward/internal/gate"
	"github.com/doorward/doorward/internal/relay"
	"github.com/doorward/doorward/internal/upstream"
	wire "github.com/doorward/doorward/internal/wire/http"
)

const (
	maxRatio   = 200      // how much larger an answer may become when it is unpacked
	minUnpack  = 16 << 20 // the same, however small it is packed
	maxHeaders = 16 << 10 // bytes of the headers of an answer that are sent on
	zstdWindow = 8 << 20  // memory for one answer (RFC 9659)
)

// shaped is how an answer's body is read: nil where it has none.
type shaped struct {
	body   io.ReadCloser
	filter relay.Filter
}

// passed are the headers of answers that are sent on. Cookies and what asks for
// credentials are the business of doorward and the service alone; what is a
// checksum of the body is not of what is sent on.
var passed = func() map[string]bool {
	m := map[string]bool{}
	for _, name := range strings.Fields(`content-language content-disposition content-range etag last-modified location link retry-after allow
		accept-ranges vary x-request-id x-correlation-id traceparent deprecation sunset preference-applied x-total-count x-total x-page x-per-page
		x-next-page x-prev-page x-total-pages x-next-cursor ratelimit ratelimit-policy ratelimit-limit ratelimit-remaining ratelimit-reset
		x-ratelimit-limit x-ratelimit-remaining x-ratelimit-reset`) {
		m[name] = true
	}
	return m
}()

// shape decides how an answer is read: the head that the client gets, and the
// filter that its body goes through.
func (x *exchange) shape(a *upstream.HTTPAnswer, req *classify.Request) (shaped, error) {
	s := x.lane.Session
	if a.Status < 200 || a.Status > 599 {
		return shaped{}, x.garbled(fmt.Sprintf("the status %d", a.Status))
	}
	x.answer = answer{status: a.Status}
	encoding := ""
	for _, f := range a.Fields {
		switch strings.ToLower(f.Name) {
		case "content-type":
			x.answer.kind = f.Value
		case "content-encoding":
			if encoding != "" {
				return shaped{}, x.garbled("it is encoded more than once")
			}
			encoding = strings.ToLower(f.Value)
		}
	}
	if err := x.headers(a.Fields); err != nil {
		return shaped{}, err
	}
	if x.held != nil {
		x.answer.fields = append(x.answer.fields, wire.Field{Name: "Doorward-Review", Value: strconv.FormatInt(x.held.ID, 10)})
	}
	if req.Method == http.MethodHead || a.Status == http.StatusNoContent || a.Status == http.StatusNotModified {
		x.answer.length = noBody
		return shaped{}, nil
	}
	if a.Length == 0 {
		x.answer.length = 0
		return shaped{}, nil
	}
	body, err := x.unpack(a, encoding)
	if err != nil {
		return shaped{}, err
	}
	f, err := x.filter(s, a, req)
	return shaped{body, f}, err
}

// filter is what the body goes through, by its type.
func (x *exchange) filter(s *gate.Session, a *upstream.HTTPAnswer, req *classify.Request) (relay.Filter, error) {
	kind := media(x.answer.kind)
	x.answer.live = kind == "text/event-stream"
	fields := s.MasksFields()
	if !fields && !s.Detects() {
		return pass{}, nil
	}
	if a.Status == http.StatusPartialContent {
		return nil, x.garbled("it is a part of something, and a value could be cut in two")
	}
	request := req.Object()
	switch {
	case isJSON(kind):
		return plain{s.Objects(gate.ObjectsOptions{Plain: true, Request: request})}, nil
	case kind == "application/x-ndjson" || kind == "application/ndjson" || kind == "application/jsonl" || kind == "application/x-jsonlines" || kind == "application/json-lines":
		return plain{s.Objects(gate.ObjectsOptions{Plain: true, Many: true, Request: request})}, nil
	case kind == "text/event-stream":
		return events{s.Events(request)}, nil
	case slices.ContainsFunc(x.service.Binary, func(p string) bool { ok, _ := path.Match(p, kind); return ok }):
		return pass{}, nil
	case fields:
		return nil, x.garbled("fields are masked in it, and it is not JSON but " + printable(kind))
	case strings.HasPrefix(kind, "text/") || slices.Contains(textTypes, kind) || strings.HasSuffix(kind, "+xml") || strings.HasSuffix(kind, "+yaml"):
		if !readable(x.answer.kind) {
			return nil, x.garbled("nothing is found in its encoding: " + printable(x.answer.kind))
		}
		return &text{mask: s.Stream(), markup: kind == "text/html" || strings.HasSuffix(kind, "xml")}, nil
	}
	return nil, x.garbled("its type is " + printable(kind) + "; the target can list it under binary:")
}

// textTypes are types of text that do not say so.
var textTypes = []string{"application/xml", "application/javascript", "application/x-javascript", "application/yaml", "application/x-yaml", "application/x-www-form-urlencoded", "application/graphql", "application/sql", "application/toml", "application/csv"}

// headers takes what is sent on of an answer's headers.
func (x *exchange) headers(fields []wire.Field) error {
	s := x.lane.Session
	detects := s.Detects()
	size := 0
	for _, f := range fields {
		name := strings.ToLower(f.Name)
		if !passed[name] && !slices.Contains(x.service.AnswerHeaders, name) {
			continue
		}
		v := f.Value
		if name == "location" {
			v = x.location(v)
		}
		if detects {
			v = s.Text(v)
		}
		if size += len(name) + len(v); size > maxHeaders {
			return x.garbled(fmt.Sprintf("its headers have more than %d bytes", maxHeaders))
		}
		x.answer.fields = append(x.answer.fields, wire.Field{Name: f.Name, Value: v})
	}
	if detects {
		x.answer.kind = s.Text(x.answer.kind)
	}
	return nil
}

// location makes an address of the service's own one that leads through
// doorward. Nothing here ever goes there itself.
func (x *exchange) location(v string) string {
	u, err := url.Parse(v)
	if err != nil || u.User != nil {
		return v
	}
	if u.Host != "" {
		if !slices.ContainsFunc(x.service.Origins, func(o string) bool { return strings.EqualFold(u.Scheme+"://"+u.Host, o) }) {
			return v
		}
		u.Scheme, u.Host = "", ""
		if u.Path == "" {
			u.Path = "/"
		}
	}
	if strings.HasPrefix(u.Path, "/") {
		if u.RawPath != "" {
			u.RawPath = x.prefix + u.RawPath
		}
		u.Path = x.prefix + u.Path
	}
	return u.String()
}

// garbled is an answer that is not shown.
func (x *exchange) garbled(why string) error {
	x.refused = http.StatusBadGateway
	return &doorward.Denial{Decision: "error", Reason: "the service's answer cannot be shown: " + why}
}

// unpack takes the encoding off that was asked for. Another one was not.
func (x *exchange) unpack(a *upstream.HTTPAnswer, encoding string) (io.ReadCloser, error) {
	if encoding == "" || encoding == "identity" {
		return a, nil
	}
	if encoding == "x-gzip" {
		encoding = "gzip"
	}
	if !slices.Contains(x.service.Encodings, encoding) {
		return nil, x.garbled("it is encoded as " + printable(encoding) + ", which nobody asked for")
	}
	packed := &counted{r: a}
	var r io.Reader
	var err error
	switch encoding {
	case "gzip":
		r, err = gzip.NewReader(packed)
	case "br":
		r = brotli.NewReader(packed)
	case "zstd":
		r, err = zstd.NewReader(packed, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(zstdWindow))
	default:
		err = errors.New("not known")
	}
	if err != nil {
		return nil, x.garbled("it is not " + printable(encoding))
	}
	return &unpacked{r: r, packed: packed, under: a}, nil
}

// counted counts what is read.
type counted struct {
	r io.Reader
	n int64
}

// Read implements io.Reader.
func (c *counted) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

// unpacked bounds what comes out of a packed body by what went in.
type unpacked struct {
	r      io.Reader
	packed *counted
	under  io.Closer
	n      int64
}

var errBomb = errors.New("it is packed too densely")

// Read implements io.Reader.
func (u *unpacked) Read(p []byte) (int, error) {
	n, err := u.r.Read(p)
	u.n += int64(n)
	if u.n > minUnpack && u.n > u.packed.n*maxRatio {
		return 0, errBomb
	}
	return n, err
}

// Close implements io.Closer.
func (u *unpacked) Close() error {
	if z, ok := u.r.(*zstd.Decoder); ok {
		z.Close()
	}
	return u.under.Close()
}

// isJSON reports whether a type is one document of JSON.
func isJSON(kind string) bool { return kind == "application/json" || strings.HasSuffix(kind, "+json") }

func media(v string) string {
	v, _, _ = strings.Cut(v, ";")
	return strings.ToLower(strings.TrimSpace(v))
}

// pass is a filter that changes nothing.
type pass struct{}

// Write implements relay.Filter.
func (pass) Write(dst, piece []byte) ([]byte, error) { return append(dst, piece...), nil }

// Flush implements relay.Filter.
func (pass) Flush(dst []byte) []byte { return dst }

// Close implements relay.Filter.
func (pass) Close(dst []byte) ([]byte, error) { return dst, nil }

// Held implements relay.Filter.
func (pass) Held() int { return 0 }

// Rows implements relay.Filter: lines are counted.
func (pass) Rows() int64 { return -1 }

// plain is the filter of JSON.
type plain struct{ *gate.MaskObjects }

// Flush implements relay.Filter: nothing can be said of half a value.
func (plain) Flush(dst []byte) []byte { return dst }

// Held implements relay.Filter.
func (plain) Held() int { return 0 }

// events is the filter of server-sent events.
type events struct{ *gate.MaskEvents }

// Flush implements relay.Filter: nothing can be said of half an event.
func (events) Flush(dst []byte) []byte { return dst }

// Held implements relay.Filter.
func (events) Held() int { return 0 }

// Rows implements relay.Filter: lines are counted.
func (events) Rows() int64 { return -1 }

// appendJSON appends a text as JSON behind what comes before it.
func appendJSON(dst []byte, before, s string) []byte {
	dst = append(dst, before...)
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c > 0x7e || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			b, err := json.Marshal(s)
			if err != nil {
				b = []byte(`""`)
			}
			return append(dst, b...)
		}
	}
	dst = append(dst, '"')
	dst = append(dst, s...)
	return append(dst, '"')
}
