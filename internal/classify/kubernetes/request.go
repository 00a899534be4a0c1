package kubernetes

import (
	"fmt"
	"net/url"
	"strings"

	"github.com/doorward/doorward/internal/classify/scan"
)

// Bounds of a request.
const (
	MaxBody = 3 << 20           // bytes of a body: the API server's own bound
	MaxText = MaxBody + 512<<10 // bytes of a request's text

	maxPath   = 2048      // bytes of a path
	maxQuery  = 256 << 10 // bytes of a query as written; a command of 64 KiB fits, with its encoding
	maxAccept = 2048      // bytes of the formats that a client takes
)

// The streams that a client can ask for, and that both ends of are terminated.
const (
	StreamExec        = "exec"
	StreamAttach      = "attach"
	StreamPortForward = "portforward"
)

// Request is one request to an API server in the one form in which it is
// judged, recorded, approved and sent.
type Request struct {
	Method      string     // GET, HEAD, POST, PUT, PATCH or DELETE
	Path        string     // absolute; nothing in it is encoded, and nothing has to be
	Query       url.Values // nil when there is none
	Accept      string     // formats that the client takes, in its order, separated by commas; "" when it did not say
	ContentType string     // of the body, without parameters; "" without a body
	Stream      string     // one of the Stream constants; "" for a request that is answered at once
	Body        []byte     // JSON, without duplicate keys and in valid UTF-8; nil when there is none
}

// Text is the request as it is judged, recorded and shown:
//
//	METHOD "PATH?QUERY"
//	accept "FORMATS"             (left out when empty)
//	content-type "TYPE"          (left out without a body)
//	stream exec                  (or attach, or portforward; left out otherwise)
//	body                         (left out without a body)
//	BODY                         (exact bytes to the end)
//
// The query is encoded by [url.Values.Encode]. A request that is out of bounds
// or contradicts itself is a [*Refusal].
func (r *Request) Text() (string, error) {
	if _, err := r.inspect(); err != nil {
		return "", err
	}
	return r.write()
}

func (r *Request) write() (string, error) {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %q", r.Method, r.target())
	if r.Accept != "" {
		fmt.Fprintf(&b, "\naccept %q", r.Accept)
	}
	if r.ContentType != "" {
		fmt.Fprintf(&b, "\ncontent-type %q", r.ContentType)
	}
	if r.Stream != "" {
		b.WriteString("\nstream " + r.Stream)
	}
	if len(r.Body) > 0 {
		b.WriteString("\nbody\n")
		b.Write(r.Body)
	}
	if b.Len() > MaxText {
		return "", refuse(statusTooLarge, "", "the request's text has %d bytes; the most is %d", b.Len(), MaxText)
	}
	return b.String(), nil
}

// target is the path and the query as they are sent.
func (r *Request) target() string {
	if len(r.Query) == 0 {
		return r.Path
	}
	return r.Path + "?" + r.Query.Encode()
}

// Parse reads a text that [Request.Text] gave, and no other: a text that Text
// would write differently is a [*Refusal].
func Parse(text string) (*Request, error) {
	r, _, err := parse(text)
	return r, err
}

func parse(text string) (*Request, *facts, error) {
	if len(text) > MaxText {
		return nil, nil, refuse(statusTooLarge, "", "the text has %d bytes; the most is %d", len(text), MaxText)
	}
	r, ok := takeApart(text)
	if !ok {
		return nil, nil, bad("%.60q is not the text of a request", text)
	}
	f, err := r.inspect()
	if err != nil {
		return nil, nil, err
	}
	again, err := r.write()
	if err != nil {
		return nil, nil, err
	}
	if again != text {
		return nil, nil, bad("%.60q is not how it is written", text)
	}
	return r, f, nil
}

// takeApart takes a text apart, without a look at what its parts say.
func takeApart(text string) (*Request, bool) {
	r := &Request{}
	method, rest, ok := strings.Cut(text, " ")
	if !ok {
		return nil, false
	}
	r.Method = method
	s := scan.Scanner{Rest: rest}
	path, query, asked := strings.Cut(s.Quoted(), "?")
	r.Path = path
	if asked {
		values, err := parseQuery(query)
		if err != nil || len(values) == 0 {
			return nil, false
		}
		r.Query = values
	}
	if s.Word("\naccept ") {
		if r.Accept = s.Quoted(); r.Accept == "" {
			return nil, false
		}
	}
	if s.Word("\ncontent-type ") {
		if r.ContentType = s.Quoted(); r.ContentType == "" {
			return nil, false
		}
	}
	if s.Word("\nstream ") {
		line, _, _ := strings.Cut(s.Rest, "\n")
		r.Stream = line
		s.Rest = s.Rest[len(line):]
		if line == "" {
			return nil, false
		}
	}
	if s.Word("\nbody\n") {
		if s.Rest == "" {
			return nil, false
		}
		r.Body, s.Rest = []byte(s.Rest), ""
	}
	return r, !s.Failed && s.Rest == ""
}
