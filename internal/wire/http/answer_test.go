package http

import (
	"io"
	"strings"
	"testing"
)

func ok(lines, body string) string { return "HTTP/1.1 200 OK\r\n" + lines + "\r\n" + body }

func okChunks(body string) string { return ok("Transfer-Encoding: chunked\r\n", body) }

var acceptedAnswers = []struct {
	name, method, in string
	statuses         string // of each answer, and its body
	done             bool   // after the last one
}{
	{"nothing", "GET", "", "", false},
	{"length", "GET", ok("Content-Length: 2\r\n", "hi"), "200 hi;", true},
	{"length 0", "GET", ok("Content-Length: 0\r\n", ""), "200 ;", true},
	{"two", "GET", ok("Content-Length: 2\r\n", "hi") + ok("Content-Length: 0\r\n", ""), "200 hi;200 ;", true},
	{"until the end", "GET", ok("", "hi\r\n\r\nhi"), "200 hi\r\n\r\nhi;", false},
	{"until the end, nothing", "GET", ok("", ""), "200 ;", false},
	{"close", "GET", ok("Connection: close\r\nContent-Length: 2\r\n", "hi") + "more", "200 hi;", false},
	{"HTTP/1.0", "GET", "HTTP/1.0 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\nhi", "200 hi;", false},
	{"no reason", "GET", "HTTP/1.1 404 \r\nContent-Length: 0\r\n\r\n", "404 ;", true},
	{"no space either", "GET", "HTTP/1.1 404\r\nContent-Length: 0\r\n\r\n", "404 ;", true},
	{"any reason", "GET", "HTTP/1.1 404  n\xf6 \t such \r\nContent-Length: 0\r\n\r\n", "404 ;", true},
	{"HEAD", "HEAD", ok("Content-Length: 20\r\n", "") + okChunks("") + ok("", ""), "200 ;200 ;200 ;", true},
	{"204 and 304", "GET", "HTTP/1.1 204 X\r\nContent-Length: 0\r\n\r\nHTTP/1.1 204 X\r\n\r\nHTTP/1.1 304 X\r\nContent-Length: 20\r\n\r\n", "204 ;204 ;304 ;", true},
	{"interim", "GET", strings.Repeat("HTTP/1.1 103 Early\r\nLink: </x>\r\n\r\n", 8) + ok("Content-Length: 2\r\n", "hi"), "200 hi;", true},
	{"chunks", "GET", okChunks("3\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\n") + ok("Content-Length: 2\r\n", "hi"), "200 abc0123456789;200 hi;", true},
	{"extensions", "GET", okChunks("3;a=\"b;\t\"\r\nabc\r\n0;\r\n\r\n"), "200 abc;", true},
	{"longest extension", "GET", okChunks("00000003;" + strings.Repeat("x", 255) + "\r\nabc\r\n0\r\n\r\n"), "200 abc;", true},
	{"trailers", "GET", okChunks("3\r\nabc\r\n0\r\nX: y\r\nContent-Length: 5\r\n\r\n") + ok("Content-Length: 2\r\n", "hi"), "200 abc;200 hi;", true},
	{"large chunks", "GET", okChunks("186A0\r\n" + strings.Repeat("0123456789", 10000) + "\r\n1\r\nx\r\n0\r\n\r\n"), "200 " + strings.Repeat("0123456789", 10000) + "x;", true},
	{"upgrade offered", "GET", ok("Upgrade: h2\r\nConnection: Upgrade\r\nContent-Length: 0\r\n", ""), "200 ;", true},
}

func TestAnswerAccepted(t *testing.T) {
	for _, c := range acceptedAnswers {
		t.Run(c.name, func(t *testing.T) {
			all, err := answers(strings.NewReader(c.in), Limits{}, c.method, make([]byte, 4096))
			got, done := "", false
			for _, m := range all {
				got += string([]byte{'0' + byte(m.Status/100), '0' + byte(m.Status/10%10), '0' + byte(m.Status%10)}) + " " + m.body + ";"
				done = m.done
			}
			if err != io.EOF || got != c.statuses || done != c.done {
				t.Fatalf("%.100q done %v: %v", got, done, err)
			}
			checkAnswers(t, []byte(c.in), Limits{}, c.method)
		})
	}
}

var refusedAnswers = []struct {
	name, in string
	status   int // 0: io.ErrUnexpectedEOF
}{
	{"cut in the head", "HTTP/1.1 200 OK\r\n", 0},
	{"cut behind an interim", "HTTP/1.1 100 Continue\r\n\r\n", 0},
	{"cut in the body", ok("Content-Length: 3\r\n", "hi"), 0},
	{"cut in a chunk", okChunks("3\r\nhi"), 0},
	{"cut behind a chunk", okChunks("2\r\nhi\r\n"), 0},
	{"cut before the empty line", okChunks("0\r\n"), 0},
	{"cut in the trailers", okChunks("0\r\nX: y\r\n"), 0},
	{"101", "HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", 502},
	{"nine interim", strings.Repeat("HTTP/1.1 100 Continue\r\n\r\n", 9) + ok("", ""), 502},
	{"interim with a length", "HTTP/1.1 100 Continue\r\nContent-Length: 3\r\n\r\nabc" + ok("", ""), 502},
	{"204 with a length", "HTTP/1.1 204 No\r\nContent-Length: 3\r\n\r\nabc", 502},
	{"204 with chunks", "HTTP/1.1 204 No\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 502},
	{"empty line first", "\r\n" + ok("", ""), 502},
	{"LF in the status line", "HTTP/1.1 200 OK\n\r\n", 502},
	{"LF ends the head", "HTTP/1.1 200 OK\r\n\n", 502},
	{"CR in the reason", "HTTP/1.1 200 O\rK\r\n\r\n", 502},
	{"ESC in the reason", "HTTP/1.1 200 \x1b[2J\r\n\r\n", 502},
	{"NUL in the reason", "HTTP/1.1 200 \x00\r\n\r\n", 502},
	{"HTTP/2", "HTTP/2.0 200 OK\r\n\r\n", 502},
	{"HTTP/2 short", "HTTP/2 200 OK\r\n\r\n", 502},
	{"HTTP/1.2", "HTTP/1.2 200 OK\r\n\r\n", 502},
	{"ICY", "ICY 200 OK........\r\n\r\n", 502},
	{"two spaces", "HTTP/1.1  200 OK\r\n\r\n", 502},
	{"four digits", "HTTP/1.1 2000 OK\r\n\r\n", 502},
	{"two digits", "HTTP/1.1 20 OK\r\n\r\n", 502},
	{"sign", "HTTP/1.1 +20 OK\r\n\r\n", 502},
	{"status 099", "HTTP/1.1 099 OK\r\n\r\n", 502},
	{"status 600", "HTTP/1.1 600 OK\r\n\r\n", 502},
	{"no status", "HTTP/1.1\r\n\r\n", 502},
	{"folded", ok("X: a\r\n b\r\n", ""), 502},
	{"space before the colon", ok("Content-Length : 2\r\n", "hi"), 502},
	{"no colon", ok("X\r\n", ""), 502},
	{"NUL in a value", ok("X: \x00\r\n", ""), 502},
	{"both", ok("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"), 502},
	{"two lengths", ok("Content-Length: 2\r\nContent-Length: 2\r\n", "hi"), 502},
	{"list of lengths", ok("Content-Length: 2, 2\r\n", "hi"), 502},
	{"length -1", ok("Content-Length: -1\r\n", "hi"), 502},
	{"gzip", ok("Transfer-Encoding: gzip\r\n", "hi"), 502},
	{"gzip, chunked", ok("Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n"), 502},
	{"chunks in HTTP/1.0", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 502},
	{"size with space", okChunks("3 \r\nabc\r\n0\r\n\r\n"), 502},
	{"size, space, extension", okChunks("3 ;x\r\nabc\r\n0\r\n\r\n"), 502},
	{"size with 0x", okChunks("0x3\r\nabc\r\n0\r\n\r\n"), 502},
	{"size of 9 digits", okChunks("000000003\r\nabc\r\n0\r\n\r\n"), 502},
	{"no size but an extension", okChunks(";x\r\n\r\n"), 502},
	{"extension too long", okChunks("00000003;" + strings.Repeat("x", 256) + "\r\nabc\r\n0\r\n\r\n"), 502},
	{"extension with CR", okChunks("3;\rx\r\nabc\r\n0\r\n\r\n"), 502},
	{"extension with LF", okChunks("3;x\nabc\r\n0\r\n\r\n"), 502},
	{"extensions in sum", okChunks(strings.Repeat("1;"+strings.Repeat("x", 250)+"\r\nx\r\n", 100) + "0\r\n\r\n"), 502},
	{"LF behind data", okChunks("3\r\nabc\n0\r\n\r\n"), 502},
	{"too much data", okChunks("3\r\nabcd\r\n0\r\n\r\n"), 502},
	{"trailer folded", okChunks("0\r\nX: y\r\n z\r\n\r\n"), 502},
	{"trailer is no field", okChunks("0\r\nHTTP/1.1 200 OK\r\n\r\n"), 502},
	{"trailer with LF", okChunks("0\r\nX: y\n\r\n"), 502},
	{"trailer too long", okChunks("0\r\n" + strings.Repeat("X: yyyyyyyyyyyyyyyyyyyy\r\n", 400) + "\r\n"), 502},
	{"trailer line too long", okChunks("0\r\nX: " + strings.Repeat("y", 9000) + "\r\n\r\n"), 502},
	{"head too long", ok("X: "+strings.Repeat("y", 64<<10)+"\r\n", ""), 502},
	{"too many fields", ok(strings.Repeat("X: y\r\n", 129), ""), 502},
}

func TestAnswerRefused(t *testing.T) {
	for _, c := range refusedAnswers {
		t.Run(c.name, func(t *testing.T) {
			all, err := answers(strings.NewReader(c.in), Limits{}, "GET", make([]byte, 4096))
			checkStatus(t, err, c.status)
			for _, m := range all {
				if m.done {
					t.Errorf("%#v looks whole", m)
				}
			}
			checkAnswers(t, []byte(c.in), Limits{}, "GET")
		})
	}
	if _, err := NewReader(strings.NewReader(ok("", "")), Limits{}).Answer("CONNECT"); err == nil {
		t.Error("a tunnel is taken for an answer")
	}
}

// slow gives one piece a call, and an error where there is a nil one.
type slow struct{ give []string }

func (s *slow) Read(p []byte) (int, error) {
	if len(s.give) == 0 {
		return 0, io.EOF
	}
	next := s.give[0]
	s.give = s.give[1:]
	if next == "" {
		return 0, io.ErrClosedPipe
	}
	return copy(p, next), nil
}

// TestRead wants what came to be given at once, and no more read than is due.
func TestRead(t *testing.T) {
	src := &slow{[]string{"HTTP/1.1 200 OK\r\nTransfer-", "", "Encoding: chunked\r\n\r\n5\r\nab", "", "c", "de\r\n", "0\r\n\r\nextra"}}
	r := NewReader(src, Limits{})
	if _, err := r.Answer("GET"); err != io.ErrClosedPipe {
		t.Fatal(err)
	}
	a, err := r.Answer("GET") // a time-out loses nothing
	if err != nil || a.Status != 200 || a.Length != -1 {
		t.Fatalf("%+v: %v", a, err)
	}
	if n, err := r.Read(nil); n != 0 || err != nil {
		t.Fatalf("%d: %v", n, err)
	}
	p := make([]byte, 100)
	for _, want := range []string{"ab", "", "c", "de"} {
		n, err := r.Read(p)
		if string(p[:n]) != want || (want == "") != (err == io.ErrClosedPipe) {
			t.Fatalf("%q: %v, want %q", p[:n], err, want)
		}
	}
	if _, err := r.Answer("GET"); err != errUnread || r.Done() {
		t.Fatalf("an answer behind a body that was not read: %v", err)
	}
	if n, err := r.Read(p); n != 0 || err != io.EOF || !r.Done() || r.Buffered() != len("extra") {
		t.Fatalf("%d: %v; done %v, %d buffered", n, err, r.Done(), r.Buffered())
	}
	if n, err := r.Read(p); n != 0 || err != io.EOF {
		t.Fatalf("%d: %v", n, err)
	}
}
