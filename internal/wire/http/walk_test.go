package http

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand"
	nethttp "net/http"
	"strings"
	"testing"
	"testing/iotest"
)

const bodyLimit = 1 << 20

// tight is small, so that fuzzing reaches the limits.
var tight = Limits{Head: 512, Fields: 8, Line: 128}

// message is a request that was accepted, with its body.
type message struct {
	Request
	body string
}

// requests reads a connection to its end or first error.
func requests(src io.Reader, opt Limits) (all []message, err error) {
	r := NewReader(src, opt)
	for {
		q, err := r.Request()
		if err != nil {
			return all, err
		}
		m := message{Request: *q}
		m.Fields = append([]Field(nil), q.Fields...)
		body, err := r.Body(nil, bodyLimit)
		if err != nil {
			return all, err
		}
		m.body = string(body)
		all = append(all, m)
	}
}

// reply is an answer that was accepted, with what came of its body.
type reply struct {
	Answer
	body string
	end  string // empty: the body ended
	done bool
}

func answers(src io.Reader, opt Limits, method string, p []byte) (all []reply, err error) {
	r := NewReader(src, opt)
	for {
		a, err := r.Answer(method)
		if err != nil {
			return all, err
		}
		m := reply{Answer: *a}
		m.Fields = append([]Field(nil), a.Fields...)
		var body []byte
		for err == nil {
			var n int
			n, err = r.Read(p)
			body = append(body, p[:n]...)
		}
		if m.body, m.done = string(body), r.Done(); err != io.EOF {
			m.end = err.Error()
			return append(all, m), err
		}
		all = append(all, m)
	}
}

// pieces gives what it holds in pieces of random length, and at times nothing.
type pieces struct {
	b    []byte
	rand *rand.Rand
}

func (s *pieces) Read(p []byte) (int, error) {
	if len(s.b) == 0 {
		return 0, io.EOF
	}
	n := copy(p, s.b[:min(len(s.b), s.rand.Intn(40))])
	s.b = s.b[n:]
	return n, nil
}

// splits are ways in which the same bytes may come.
func splits(b []byte) map[string]io.Reader {
	return map[string]io.Reader{
		"byte by byte":   iotest.OneByteReader(bytes.NewReader(b)),
		"halves":         iotest.HalfReader(bytes.NewReader(b)),
		"end with data":  iotest.DataErrReader(bytes.NewReader(b)),
		"random pieces":  &pieces{b, rand.New(rand.NewSource(int64(len(b))))},
		"bytes and last": iotest.OneByteReader(iotest.DataErrReader(bytes.NewReader(b))),
	}
}

// checkRequests holds what is true of any bytes that a client may send.
func checkRequests(t *testing.T, b []byte, opt Limits) {
	t.Helper()
	all, err := requests(bytes.NewReader(b), opt)
	if f := (*Fault)(nil); errors.As(err, &f) {
		switch f.Status {
		case 400, 413, 414, 417, 431, 501, 505:
		default:
			t.Fatalf("status %d for %q", f.Status, b)
		}
	} else if err != io.EOF && err != io.ErrUnexpectedEOF {
		t.Fatalf("%v for %q", err, b)
	}
	want := fmt.Sprintf("%#v %v", all, err)
	for how, src := range splits(b) {
		all, err := requests(src, opt)
		if got := fmt.Sprintf("%#v %v", all, err); got != want {
			t.Fatalf("%s: %s\nat once: %s\nbytes %q", how, got, want, b)
		}
	}

	std := bufio.NewReader(bytes.NewReader(b))
	for _, m := range all {
		if two, _ := std.Peek(2); string(two) == "\r\n" {
			std.Discard(2)
		}
		checkStandard(t, std, m)
		checkAgain(t, m)
	}
}

// checkStandard wants net/http to read the same request.
func checkStandard(t *testing.T, std *bufio.Reader, m message) {
	t.Helper()
	q, err := nethttp.ReadRequest(std)
	if err != nil {
		t.Fatalf("net/http refuses %#v: %v", m, err)
	}
	body, err := io.ReadAll(q.Body)
	if err != nil {
		t.Fatalf("net/http refuses the body of %#v: %v", m, err)
	}
	if q.Method != m.Method || q.RequestURI != m.Target || q.Host != m.Host || string(body) != m.body || q.ContentLength != m.Length || q.Close != m.Close {
		t.Fatalf("net/http reads %s %s %s %d %q close %v, not %#v", q.Method, q.RequestURI, q.Host, q.ContentLength, body, q.Close, m)
	}
	fields := 0
	for name, values := range q.Header {
		if name == "Cache-Control" && q.Header.Get("Pragma") != "" {
			continue // net/http makes one of the other
		}
		for _, v := range values {
			if !has(m.Fields, name, v) {
				t.Fatalf("net/http reads %s: %q, which is not in %#v", name, v, m)
			}
		}
		fields += len(values)
	}
	if fields > len(m.Fields) {
		t.Fatalf("net/http reads %d fields, not %#v", fields, m)
	}
}

func has(fields []Field, name, value string) bool {
	for _, f := range fields {
		if strings.EqualFold(f.Name, name) && f.Value == value {
			return true
		}
	}
	return false
}

// checkAgain wants a request that is written out to be read as itself.
func checkAgain(t *testing.T, m message) {
	t.Helper()
	b := AppendRequest(nil, m.Method, m.Target, m.Host, m.Fields, []byte(m.body))
	opt := Limits{Head: 1 << 20, Fields: 1000, Line: 1 << 16}
	again, err := requests(bytes.NewReader(b), opt)
	if len(again) != 1 || err != io.EOF {
		t.Fatalf("%#v became %q: %v", m, b, err)
	}
	got := again[0]
	got.Fields, m.Fields = meant(got.Fields), meant(m.Fields)
	if int(max(got.Length, 0)) != len(m.body) {
		t.Fatalf("the length of %#v became %d", m, got.Length)
	}
	got.Length = m.Length
	if a, b := fmt.Sprintf("%#v", got), fmt.Sprintf("%#v", m); a != b {
		t.Fatalf("%s became %s", b, a)
	}
}

// meant are the fields that do not frame the message.
func meant(fields []Field) (out []Field) {
	for _, f := range fields {
		if !isFraming(f.Name) {
			out = append(out, f)
		}
	}
	return out
}

// checkAnswers holds what is true of any bytes that a server may send.
func checkAnswers(t *testing.T, b []byte, opt Limits, method string) {
	t.Helper()
	all, err := answers(bytes.NewReader(b), opt, method, make([]byte, 512))
	if f := (*Fault)(nil); errors.As(err, &f) && f.Status != 502 || f == nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		t.Fatalf("%v for %q", err, b)
	}
	want := fmt.Sprintf("%#v %v", all, err)
	for how, src := range splits(b) {
		for _, size := range []int{1, 7, 64 << 10} {
			all, err := answers(src, opt, method, make([]byte, size))
			if got := fmt.Sprintf("%#v %v", all, err); got != want {
				t.Fatalf("%s by %d: %s\nat once: %s\nbytes %q", how, size, got, want, b)
			}
			src = splits(b)[how]
		}
	}

	std := bufio.NewReaderSize(bytes.NewReader(b), 64<<10)
	for _, m := range all {
		if announces(m.Fields) {
			return // net/http reads trailers, and is stricter about what announces them
		}
		a := new(nethttp.Response)
		for a.StatusCode < 200 {
			var err error
			if a, err = nethttp.ReadResponse(std, &nethttp.Request{Method: method}); err != nil {
				t.Fatalf("net/http refuses %#v: %v", m, err)
			}
		}
		body, err := io.ReadAll(a.Body)
		if m.end != "" {
			return
		}
		if err != nil || a.StatusCode != m.Status || string(body) != m.body || len(a.Header) > len(m.Fields) {
			t.Fatalf("net/http reads %d %q (%v), not %#v", a.StatusCode, body, err, m)
		}
		if a.Close && !m.Close {
			t.Fatalf("net/http closes the connection behind %#v", m)
		}
		for name, values := range a.Header {
			for _, v := range values {
				if !has(m.Fields, name, v) {
					t.Fatalf("net/http reads %s: %q, which is not in %#v", name, v, m)
				}
			}
		}
	}
}

func announces(fields []Field) bool {
	for _, f := range fields {
		if is(f.Name, "trailer") {
			return true
		}
	}
	return false
}
