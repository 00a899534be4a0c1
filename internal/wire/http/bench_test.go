package http

import (
	"bufio"
	"io"
	nethttp "net/http"
	"strings"
	"testing"
)

var body1K = strings.Repeat("0123456789abcdef", 64)

var typicalRequest = "POST /v1/customers/42/refunds?expand=charge HTTP/1.1\r\nHost: payments.internal:8443\r\n" +
	"User-Agent: agent/1.4 (linux; amd64)\r\nAccept: application/json\r\nAccept-Encoding: gzip\r\n" +
	"Authorization: Bearer eyJhbGciOiJFUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhZ2VudCIsImF1ZCI6ImRvb3J3YXJkIn0.c2lnbmF0dXJl\r\n" +
	"Content-Type: application/json\r\nContent-Length: 1024\r\nIdempotency-Key: 3f1c0f6e-7d3a-4b0c-9a60-3d2a7f0f2a11\r\n" +
	"X-Request-Id: 01J9Z3N3M4Q6\r\nTraceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n\r\n" + body1K

var typicalAnswer = "HTTP/1.1 200 OK\r\nDate: Tue, 24 Nov 2026 17:14:32 GMT\r\nServer: payments\r\nContent-Type: application/json; charset=utf-8\r\n" +
	"Content-Length: 1024\r\nCache-Control: no-store\r\nVary: Accept-Encoding\r\nX-Request-Id: 01J9Z3N3M4Q6\r\n" +
	"X-Content-Type-Options: nosniff\r\nStrict-Transport-Security: max-age=63072000\r\nEtag: \"33a64df551425fcc\"\r\n\r\n" + body1K

// endless gives one message after the other, at most one a call.
type endless struct {
	one  []byte
	rest []byte
}

func (s *endless) Read(p []byte) (int, error) {
	if len(s.rest) == 0 {
		s.rest = s.one
	}
	n := copy(p, s.rest)
	s.rest = s.rest[n:]
	return n, nil
}

func readAnswer(t testing.TB, r *Reader, p []byte) {
	a, err := r.Answer("POST")
	if err != nil || a.Length != 1024 {
		t.Fatal(a, err)
	}
	for err == nil {
		_, err = r.Read(p)
	}
	if err != io.EOF || !r.Done() {
		t.Fatal(err)
	}
}

func BenchmarkRequest(b *testing.B) {
	b.ReportAllocs()
	b.SetBytes(int64(len(typicalRequest)))
	r := NewReader(&endless{one: []byte(typicalRequest)}, Limits{})
	body := make([]byte, 0, 4096)
	for b.Loop() {
		if _, err := r.Request(); err != nil {
			b.Fatal(err)
		}
		if _, err := r.Body(body, 4096); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAnswer(b *testing.B) {
	b.ReportAllocs()
	b.SetBytes(int64(len(typicalAnswer)))
	r := NewReader(&endless{one: []byte(typicalAnswer)}, Limits{})
	p := make([]byte, 4096)
	for b.Loop() {
		readAnswer(b, r, p)
	}
}

func BenchmarkAppendRequest(b *testing.B) {
	b.ReportAllocs()
	r := NewReader(strings.NewReader(typicalRequest), Limits{})
	q, err := r.Request()
	if err != nil {
		b.Fatal(err)
	}
	var dst []byte
	body := []byte(body1K)
	for b.Loop() {
		dst = AppendRequest(dst[:0], q.Method, q.Target, q.Host, q.Fields, body)
	}
}

func BenchmarkAppendAnswer(b *testing.B) {
	b.ReportAllocs()
	r := NewReader(strings.NewReader(typicalAnswer), Limits{})
	a, err := r.Answer("POST")
	if err != nil {
		b.Fatal(err)
	}
	var dst []byte
	for b.Loop() {
		dst = AppendAnswer(dst[:0], a.Status, a.Fields)
	}
}

// The same by the standard library, to compare with.

func BenchmarkStandardRequest(b *testing.B) {
	b.ReportAllocs()
	b.SetBytes(int64(len(typicalRequest)))
	r := bufio.NewReader(&endless{one: []byte(typicalRequest)})
	for b.Loop() {
		q, err := nethttp.ReadRequest(r)
		if err != nil {
			b.Fatal(err)
		}
		io.Copy(io.Discard, q.Body)
	}
}

func BenchmarkStandardAnswer(b *testing.B) {
	b.ReportAllocs()
	b.SetBytes(int64(len(typicalAnswer)))
	r := bufio.NewReader(&endless{one: []byte(typicalAnswer)})
	for b.Loop() {
		a, err := nethttp.ReadResponse(r, nil)
		if err != nil {
			b.Fatal(err)
		}
		io.Copy(io.Discard, a.Body)
	}
}
