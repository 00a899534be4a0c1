package http

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"time"

	wire "github.com/doorward/doorward/internal/wire/http"
)

// client2 writes an answer by HTTP/2.
type client2 struct {
	w     http.ResponseWriter
	ctl   *http.ResponseController
	until time.Time
	bare  bool
	wrote int // since the last flush
}

// head implements client.
func (c *client2) head(status int, fields []wire.Field, length int64) error {
	h := c.w.Header()
	for _, f := range fields {
		h.Add(f.Name, f.Value)
	}
	if c.bare = length == noBody; length >= 0 {
		h.Set("Content-Length", strconv.FormatInt(length, 10))
	}
	c.deadline()
	c.w.WriteHeader(status)
	return nil
}

func (c *client2) deadline() {
	if now := time.Now(); now.Sub(c.until) > time.Second {
		c.until = now
		_ = c.ctl.SetWriteDeadline(now.Add(writeWait))
	}
}

// write implements client.
func (c *client2) write(b []byte) error {
	if c.bare || len(b) == 0 {
		return nil
	}
	c.deadline()
	_, err := c.w.Write(b)
	return err
}

// flush implements client. A stream may have nothing to say for longer than a
// deadline, which would end it.
func (c *client2) flush() error {
	c.deadline()
	err := c.ctl.Flush()
	c.until = time.Time{}
	_ = c.ctl.SetWriteDeadline(time.Time{})
	return err
}

// end implements client: the handler's return ends the stream.
func (c *client2) end() error { return nil }

// hangUp implements client: only the stream ends.
func (c *client2) hangUp() {}

// incoming2 is a request of HTTP/2, as net/http has read it.
func incoming2(r *http.Request, ctl *http.ResponseController) incoming {
	in := incoming{method: r.Method, target: r.RequestURI, host: r.Host, remote: r.RemoteAddr, secure: r.TLS != nil, length: r.ContentLength}
	for _, name := range slices.Sorted(maps.Keys(r.Header)) {
		for _, v := range r.Header[name] {
			in.fields = append(in.fields, wire.Field{Name: name, Value: v})
		}
	}
	for name := range r.Trailer { // net/http has taken the header out
		in.fields = append(in.fields, wire.Field{Name: "Trailer", Value: name})
	}
	in.body = func(limit int64) ([]byte, error) {
		if r.ContentLength == 0 {
			return nil, nil
		}
		_ = ctl.SetReadDeadline(time.Now().Add(bodyWait))
		defer func() { _ = ctl.SetReadDeadline(time.Time{}) }()
		b, err := io.ReadAll(io.LimitReader(r.Body, limit+1))
		switch {
		case int64(len(b)) > limit:
			return nil, &wire.Fault{Status: http.StatusRequestEntityTooLarge, Reason: fmt.Sprintf("the body has more than %d bytes", limit)}
		case err != nil:
			return nil, err
		case len(r.Trailer) > 0 && slices.ContainsFunc(slices.Collect(maps.Values(r.Trailer)), func(v []string) bool { return len(v) > 0 }):
			return nil, &wire.Fault{Status: http.StatusBadRequest, Reason: "trailers are not let through"}
		}
		if r.ContentLength >= 0 && int64(len(b)) != r.ContentLength {
			return nil, errors.New("the body is not as long as it says")
		}
		return b, nil
	}
	in.watch = func(func()) func() { return func() {} } // the request's context ends
	return in
}
