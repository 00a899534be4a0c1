package kubernetes

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/klauspost/compress/gzip"

	"github.com/doorward/doorward"
	"github.com/doorward/doorward/internal/gate"
	"github.com/doorward/doorward/internal/relay"
	"github.com/doorward/doorward/internal/wire/frame"
	wire "github.com/doorward/doorward/internal/wire/kubernetes"
)

// maxTurned bounds an answer that is turned into protobuf: it has to be whole.
const maxTurned = 64 << 20

// maxWarnings bounds what a cluster's own warnings add to an answer's head.
const (
	maxWarnings = 20
	maxWarning  = 2 << 10 // bytes of one
)

// shape decides how an answer is read: the head that the client gets, and the
// filter that its body goes through.
func (q *query) shape(resp *http.Response) (first []byte, f relay.Filter, err error) {
	s := q.lane.Session
	if err := plainBody(resp); err != nil {
		return nil, nil, q.garbled(err.Error())
	}
	h := head{Status: resp.StatusCode, Type: resp.Header.Get("Content-Type"), Warnings: slices.Clone(q.warnings)}
	for i, w := range resp.Header["Warning"] {
		if i == maxWarnings {
			break
		}
		h.Warnings = append(h.Warnings, s.Text(warnText(w[:min(len(w), maxWarning)])))
	}
	secrets := q.at.Group == "" && q.at.Resource == "secrets" && !q.srv.opt.ShowSecrets(s.Target.Name)
	if secrets {
		for i, w := range h.Warnings[len(q.warnings):] {
			if !plainWarning(w) {
				h.Warnings[len(q.warnings)+i] = "a warning of the cluster is not shown: it may quote values of a Secret"
			}
		}
	}
	isJSON := media(h.Type) == "application/json"
	switch {
	case q.discovery():
		f = pass{} // what the API server says of itself: documents of its own, in many forms
	case isJSON && q.protobuf:
		h.Type = protobufType
		f = &turned{objects: q.objects(secrets)}
	case isJSON:
		f = objects{q.objects(secrets)}
	case secrets || media(h.Type) == protobufType:
		return nil, nil, q.garbled("the answer is not JSON: " + printable(h.Type))
	default:
		f = nil // text: masked line by line
	}
	b, err := json.Marshal(h)
	if err != nil {
		return nil, nil, err
	}
	return frame.Append(nil, frame.Head, b), f, nil
}

// plainWarning reports whether a warning about a Secret is of a kind that quotes
// names of fields only.
func plainWarning(w string) bool {
	return strings.HasPrefix(w, "unknown field \"") || strings.HasPrefix(w, "duplicate field \"") || strings.HasPrefix(w, "metadata.finalizers: ")
}

// garbled is an answer that cannot be masked.
func (q *query) garbled(why string) error {
	q.refused = http.StatusBadGateway
	return &doorward.Denial{Decision: "error", Reason: "the cluster's answer cannot be masked: " + why}
}

// plainBody takes the compression off.
func plainBody(resp *http.Response) error {
	switch enc := strings.ToLower(resp.Header.Get("Content-Encoding")); enc {
	case "", "identity":
		return nil
	case "gzip":
		z, err := gzip.NewReader(resp.Body)
		if err != nil {
			return errors.New("it is no gzip")
		}
		resp.Body = &unzipped{z, resp.Body}
		return nil
	default:
		return fmt.Errorf("it is encoded as %.20q", enc)
	}
}

type unzipped struct {
	io.Reader
	under io.Closer
}

// Close implements io.Closer.
func (u *unzipped) Close() error { return u.under.Close() }

// discovery reports whether the request is about the API server itself.
func (q *query) discovery() bool {
	if q.at.IsResource {
		return false
	}
	for _, p := range []string{"/api", "/apis", "/openapi", "/version", "/healthz", "/livez", "/readyz", "/.well-known", "/openid"} {
		if rest, ok := strings.CutPrefix(q.req.Path, p); ok && (rest == "" || rest[0] == '/') {
			return true
		}
	}
	return false
}

func (q *query) objects(secrets bool) *gate.MaskObjects {
	return q.lane.Objects(gate.ObjectsOptions{Secrets: secrets, Watch: q.at.Verb == "watch"})
}

// pass is a filter that changes nothing and counts nothing.
type pass struct{}

// Write implements relay.Filter.
func (pass) Write(dst, piece []byte) ([]byte, error) { return append(dst, piece...), nil }

// Flush implements relay.Filter.
func (pass) Flush(dst []byte) []byte { return dst }

// Close implements relay.Filter.
func (pass) Close(dst []byte) ([]byte, error) { return dst, nil }

// Held implements relay.Filter.
func (pass) Held() int { return 0 }

// Rows implements relay.Filter.
func (pass) Rows() int64 { return 0 }

// objects is the filter of JSON.
type objects struct{ *gate.MaskObjects }

// Flush implements relay.Filter: nothing can be said of half a value.
func (objects) Flush(dst []byte) []byte { return dst }

// Held implements relay.Filter.
func (objects) Held() int { return 0 }

// turned is the filter of JSON for a client that takes protobuf only.
type turned struct {
	objects *gate.MaskObjects
	js      []byte
}

var errTurned = fmt.Errorf("the answer has more than %d bytes, and the client takes protobuf only", maxTurned)

// Write implements relay.Filter.
func (t *turned) Write(dst, piece []byte) ([]byte, error) {
	var err error
	if t.js, err = t.objects.Write(t.js, piece); err == nil && len(t.js) > maxTurned {
		err = errTurned
	}
	return dst, err
}

// Flush implements relay.Filter.
func (t *turned) Flush(dst []byte) []byte { return dst }

// Close implements relay.Filter.
func (t *turned) Close(dst []byte) ([]byte, error) {
	js, err := t.objects.Close(t.js)
	if err != nil || len(js) == 0 {
		return dst, err
	}
	pb, err := wire.FromJSON(js)
	return append(dst, pb...), err
}

// Held implements relay.Filter.
func (t *turned) Held() int { return 0 }

// Rows implements relay.Filter.
func (t *turned) Rows() int64 { return t.objects.Rows() }

// warnText is the text of a Warning header.
func warnText(v string) string {
	_, text, ok := strings.Cut(v, `"`)
	if !ok {
		return printable(v)
	}
	if i := strings.LastIndexByte(text, '"'); i >= 0 {
		text = text[:i]
	}
	return strings.NewReplacer(`\"`, `"`, `\\`, `\`).Replace(text)
}
