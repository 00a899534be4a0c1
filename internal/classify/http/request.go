package http

import (
	"encoding/base64"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/doorward/doorward/internal/classify/scan"
)

// Bounds of a request.
const (
	MaxBody = 8 << 20                   // bytes of a body
	MaxText = MaxBody/3*4 + 4 + 512<<10 // bytes of a request's text: a body in base64, and what stands before it
)

// Request is one request to a service in the one form in which it is judged,
// recorded, approved and sent.
type Request struct {
	Method string  // GET, HEAD, OPTIONS, POST, PUT, PATCH or DELETE
	Path   string  // decoded once, valid UTF-8, without dot segments; begins with a slash
	Query  []Pair  // decoded, in order; nil for none
	Fields []Field // the headers that are sent on: names in lower case, sorted by name, one each
	Body   []byte  // exact bytes; nil for none
}

// Target is the path and the query as they are sent (RFC 9112, 3.2.1), encoded
// in the one way that [FromHTTP] reads as the same request: a blank is %20, and
// hexadecimal digits are in upper case.
func (r *Request) Target() string { return string(r.appendTarget(nil)) }

func (r *Request) appendTarget(b []byte) []byte {
	b = appendEncoded(b, r.Path, plainInPath)
	if len(r.Query) > 0 {
		b = append(b, '?')
		b = appendQuery(b, r.Query)
	}
	return b
}

// Text is the request as it is judged, recorded, shown and approved:
//
//	METHOD "TARGET"
//	header NAME "VALUE"          (each, in order of names)
//	body                         (left out without a body)
//	BODY                         (exact bytes to the end)
//
// A body that is not valid UTF-8, or holds control characters other than tab and
// line ends, stands in base64 (RFC 4648, 4), behind a line "body base64". A
// request that is out of bounds or could not have come from [FromHTTP] is a
// [*Refusal]. What the body says is looked at by [Parse] and [Read] only.
func (r *Request) Text() (string, error) {
	if err := r.check(); err != nil {
		return "", err
	}
	return r.write()
}

// check looks at everything but the inside of the body.
func (r *Request) check() error {
	if err := checkMethod(r.Method); err != nil {
		return err
	}
	if err := checkPath(r.Path); err != nil {
		return err
	}
	if err := checkQuery(r.Query); err != nil {
		return err
	}
	return r.checkFields()
}

func (r *Request) write() (string, error) {
	if len(r.Body) > MaxBody {
		return "", tooLarge(len(r.Body))
	}
	b := make([]byte, 0, 256+len(r.Path)+len(r.Body))
	b = append(b, r.Method...)
	b = append(b, ' ')
	b = strconv.AppendQuote(b, r.Target())
	for _, f := range r.Fields {
		b = append(b, "\nheader "...)
		b = append(b, f.Name...)
		b = append(b, ' ')
		b = strconv.AppendQuote(b, f.Value)
	}
	switch {
	case len(r.Body) == 0:
	case legible(r.Body):
		b = append(b, "\nbody\n"...)
		b = append(b, r.Body...)
	default:
		b = append(b, "\nbody base64\n"...)
		b = base64.StdEncoding.AppendEncode(b, r.Body)
	}
	if len(b) > MaxText {
		return "", refuse(statusTooLarge, "", "the request's text has %d bytes; the most is %d", len(b), MaxText)
	}
	return string(b), nil
}

func tooLarge(n int) *Refusal {
	return refuse(statusTooLarge, "", "the body has %d bytes; the most is %d", n, MaxBody)
}

// legible reports whether people can read a body as it is.
func legible(body []byte) bool {
	for i := 0; i < len(body); {
		c, size := rune(body[i]), 1
		if c >= utf8.RuneSelf {
			if c, size = utf8.DecodeRune(body[i:]); c == utf8.RuneError && size == 1 || c < 0xa0 {
				return false
			}
		} else if c < ' ' && c != '\t' && c != '\r' && c != '\n' || c == 0x7f {
			return false
		}
		i += size
	}
	return true
}

// Parse reads a text that [Request.Text] gave, and no other: a text that Text
// would write differently is a [*Refusal].
func Parse(text string) (*Request, error) {
	r, _, err := parse(text)
	return r, err
}

func parse(text string) (*Request, *content, error) {
	if len(text) > MaxText {
		return nil, nil, refuse(statusTooLarge, "", "the text has %d bytes; the most is %d", len(text), MaxText)
	}
	r, ok := takeApart(text)
	if !ok {
		return nil, nil, bad("%.60q is not the text of a request", text)
	}
	if err := r.check(); err != nil {
		return nil, nil, err
	}
	c, err := r.readBody()
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
	return r, c, nil
}

// takeApart takes a text apart, without a look at what its parts say.
func takeApart(text string) (*Request, bool) {
	method, rest, ok := strings.Cut(text, " ")
	if !ok {
		return nil, false
	}
	r := &Request{Method: method}
	s := scan.Scanner{Rest: rest}
	path, query, err := parseTarget(s.Quoted())
	if err != nil {
		return nil, false
	}
	r.Path, r.Query = path, query
	for s.Word("\nheader ") {
		name, rest, _ := strings.Cut(s.Rest, " ")
		if len(r.Fields) == maxFields {
			return nil, false
		}
		s.Rest = rest
		r.Fields = append(r.Fields, Field{name, s.Quoted()})
	}
	switch {
	case s.Word("\nbody\n"):
		r.Body, s.Rest = []byte(s.Rest), ""
	case s.Word("\nbody base64\n"):
		body, err := base64.StdEncoding.Strict().DecodeString(s.Rest)
		if err != nil {
			return nil, false
		}
		r.Body, s.Rest = body, ""
	default:
		return r, !s.Failed && s.Rest == ""
	}
	return r, !s.Failed && len(r.Body) > 0
}
