package httpcases

import (
	"bytes"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/doorward/doorward/e2e/harness"
)

// TestHTTP2 sends what cases cannot say: frames and pseudo-headers that do not
// fit one another. Whatever doorward makes of them, one plain request at most may
// come to the service.
func TestHTTP2(t *testing.T) {
	root, err := harness.Root()
	if err != nil {
		t.Fatal(err)
	}
	w, err := newWorld(Options{Policies: filepath.Join(root, "e2e/policies"), Wait: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer w.close()
	g, err := w.gate(t.Context(), &plan{Case: &Case{Policy: []string{"P7"}}})
	if err != nil {
		t.Fatal(err)
	}
	get := func(more ...string) []string {
		return append([]string{":method", "GET", ":scheme", "https", ":authority", serviceHost, ":path", "/api/v1/orders"}, more...)
	}
	post := func(more ...string) []string {
		return append([]string{":method", "POST", ":scheme", "https", ":authority", serviceHost, ":path", "/api/v1/orders", "content-type", "application/json"}, more...)
	}
	const smuggled = "GET /admin HTTP/1.1\r\nHost: orders.internal\r\n\r\n"
	for name, c := range map[string]struct {
		head, trailer []string
		body          string
		passes        bool
	}{
		"fine":                           {head: get(), passes: true},
		"another host":                   {head: get("host", "admin.internal")},
		"two authorities":                {head: append([]string{":authority", "admin.internal"}, get()...)},
		"no authority, host":             {head: []string{":method", "GET", ":scheme", "https", ":path", "/api/v1/orders", "host", serviceHost}, passes: true},
		"no path":                        {head: []string{":method", "GET", ":scheme", "https", ":authority", serviceHost}},
		"empty path":                     {head: []string{":method", "GET", ":scheme", "https", ":authority", serviceHost, ":path", ""}},
		"two paths":                      {head: append([]string{":path", "/admin"}, get()...)},
		"pseudo-header behind a header":  {head: append([]string{"accept", "*/*"}, get()...)},
		"unknown pseudo-header":          {head: append([]string{":protocol", "websocket"}, get()...)},
		"extended CONNECT":               {head: []string{":method", "CONNECT", ":protocol", "websocket", ":scheme", "https", ":authority", serviceHost, ":path", "/api/v1/orders"}},
		"CONNECT":                        {head: []string{":method", "CONNECT", ":authority", "orders.internal:22"}},
		"transfer-encoding":              {head: post("transfer-encoding", "chunked"), body: "0\r\n\r\n" + smuggled},
		"connection":                     {head: get("connection", "x-gate-user")},
		"upgrade":                        {head: get("upgrade", "h2c")},
		"te":                             {head: get("te", "gzip")},
		"length of 0 with a body":        {head: post("content-length", "0"), body: smuggled},
		"length too short":               {head: post("content-length", "2"), body: "{}" + smuggled},
		"length too long":                {head: post("content-length", "2000"), body: "{}"},
		"two lengths":                    {head: post("content-length", "2", "content-length", "48"), body: "{}"},
		"GET with a body without length": {head: get("content-type", "text/plain"), body: smuggled},
		"name in upper case":             {head: get("X-Gate-User", "admin")},
		"line end in a value":            {head: get("accept", "a\r\nX-Gate-User: admin")},
		"line end in a name":             {head: get("a\r\nx-gate-user", "admin")},
		"NUL in a value":                 {head: get("accept", "a\x00b")},
		"blank in the path":              {head: []string{":method", "GET", ":scheme", "https", ":authority", serviceHost, ":path", "/api/v1/orders HTTP/1.1\r\nX: y"}},
		"absolute path":                  {head: []string{":method", "GET", ":scheme", "https", ":authority", serviceHost, ":path", "http://admin.internal/api/v1/orders"}},
		"credential in the authority":    {head: []string{":method", "GET", ":scheme", "https", ":authority", "a@" + serviceHost, ":path", "/api/v1/orders"}},
		"trailers":                       {head: post(), body: "{}", trailer: []string{"x-gate-user", "admin"}},
		"trailers that were announced":   {head: post("trailer", "x-gate-user"), body: "{}", trailer: []string{"x-gate-user", "admin"}},
		"pseudo-header in the trailers":  {head: post(), body: "{}", trailer: []string{":path", "/admin"}},
		"cookies in pieces":              {head: get("cookie", "a=b", "cookie", "c=d"), passes: true},
	} {
		t.Run(name, func(t *testing.T) {
			w.service.do(nil)
			conn, err := dial2(t.Context(), g.Services, g.TLS())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.conn.Close()
			var block bytes.Buffer
			enc := hpack.NewEncoder(&block)
			fields := func(list []string) []byte {
				block.Reset()
				for i := 0; i < len(list); i += 2 {
					_ = enc.WriteField(hpack.HeaderField{Name: list[i], Value: list[i+1]})
				}
				return bytes.Clone(block.Bytes())
			}
			head := fields(append(slices.Clone(c.head), "authorization", "Bearer "+g.agent.Token))
			_ = conn.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: head, EndHeaders: true, EndStream: c.body == "" && c.trailer == nil})
			if c.body != "" {
				_ = conn.framer.WriteData(1, c.trailer == nil, []byte(c.body))
			}
			if c.trailer != nil {
				_ = conn.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: fields(c.trailer), EndHeaders: true, EndStream: true})
			}
			a, err := conn.read(1, &plain{})
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(settle)
			what := denied
			if a != nil {
				what, _ = a.is()
			}
			came := w.service.saw()
			for _, b := range came.conns {
				list, err := exact(b)
				if err != nil || len(list) != 1 {
					t.Fatalf("%q came: %v", b, err)
				}
				if why := list[0].outside() + " " + list[0].target; list[0].wrong(g.agent.Token) != nil || why != " /api/v1/orders" {
					t.Errorf("%q came: %s %q", b, why, list[0].wrong(g.agent.Token))
				}
			}
			if (what == passed) != (len(came.conns) == 1) || len(came.conns) > 1 {
				t.Errorf("%s, and %q came", what, came.conns)
			}
			if c.passes != (what == passed) {
				t.Errorf("%s: %+v", what, a)
			}
			t.Log(what, a != nil && a.status != 0)
		})
	}
}
