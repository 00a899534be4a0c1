package http

import (
	"io"
	"strings"
	"testing"
)

func TestAppendRequest(t *testing.T) {
	fields := []Field{{"Accept", "*/*"}, {"content-LENGTH", "9"}, {"Transfer-Encoding", "chunked"}, {"HOST", "evil"}, {"Trailer", "X"},
		{"X-Bad", "a\r\nEvil: 1"}, {"X-Bad\r\nEvil", "1"}, {"X-Bad", "\x00"}, {"", "x"}, {"X-Bad ", "x"}, {"X-Bad", " x"}, {"X-Bad", "token\n"}, {"Good", ""}}
	for _, c := range []struct{ method, target, host, body, want string }{
		{"GET", "/a?b", "h:80", "", "GET /a?b HTTP/1.1\r\nHost: h:80\r\nAccept: */*\r\nGood: \r\n\r\n"},
		{"POST", "/", "h", "", "POST / HTTP/1.1\r\nHost: h\r\nAccept: */*\r\nGood: \r\nContent-Length: 0\r\n\r\n"},
		{"PUT", "/", "h", "", "PUT / HTTP/1.1\r\nHost: h\r\nAccept: */*\r\nGood: \r\nContent-Length: 0\r\n\r\n"},
		{"DELETE", "/", "[::1]", "abc", "DELETE / HTTP/1.1\r\nHost: [::1]\r\nAccept: */*\r\nGood: \r\nContent-Length: 3\r\n\r\nabc"},
		{"OPTIONS", "*", "h", "", "OPTIONS * HTTP/1.1\r\nHost: h\r\nAccept: */*\r\nGood: \r\n\r\n"},
		{"GET", "/ HTTP/1.1\r\nEvil: 1", "h", "", ""},
		{"GET", "/a b", "h", "", ""},
		{"GET", "/\xe4", "h", "", ""},
		{"GET", "", "h", "", ""},
		{"GET", "http://b/", "h", "", ""},
		{"GET ", "/", "h", "", ""},
		{"get", "/", "h", "", ""},
		{"", "/", "h", "", ""},
		{"GET", "/", "h\r\nEvil: 1", "", ""},
		{"GET", "/", "", "", ""},
	} {
		if got := string(AppendRequest([]byte("kept"), c.method, c.target, c.host, fields, []byte(c.body))); got != "kept"+c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}

func TestAppendAnswer(t *testing.T) {
	b := AppendAnswer(nil, 200, []Field{{"Transfer-Encoding", "chunked"}, {"X", "a\nb"}})
	b = AppendChunk(b, []byte("hello, world, hello"))
	b = AppendChunk(b, nil)
	b = AppendLastChunk(b)
	const want = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n13\r\nhello, world, hello\r\n0\r\n\r\n"
	if string(b) != want {
		t.Errorf("%q", b)
	}
	for status, want := range map[int]string{299: "HTTP/1.1 299 \r\n\r\n", 0: "HTTP/1.1 502 Bad Gateway\r\n\r\n", 1000: "HTTP/1.1 502 Bad Gateway\r\n\r\n"} {
		if got := string(AppendAnswer(nil, status, nil)); got != want {
			t.Errorf("%q", got)
		}
	}
	for status := 200; status < 600; status++ {
		a, err := NewReader(strings.NewReader(string(AppendAnswer(nil, status, nil))), Limits{}).Answer("GET")
		if err != nil || a.Status != status {
			t.Errorf("status %d is read as %+v: %v", status, a, err)
		}
	}
}

func TestBytes(t *testing.T) {
	const others = "!#$%&'*+-.^_`|~"
	for i := range 256 {
		c := byte(i)
		token := c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || strings.IndexByte(others, c) >= 0 && c < 0x80
		if inToken(c) != token {
			t.Errorf("token with %q: %v", c, !token)
		}
		text := c == '\t' || c >= ' ' && c != 0x7f
		for at := range 20 {
			b := []byte(strings.Repeat("\xff~ A", 5))
			b[at] = c
			if isText(b) != text || isText(string(b)) != text {
				t.Fatalf("text with %q at %d: %v", c, at, !text)
			}
		}
	}
}

// TestAllocations holds that a request or an answer costs the text of its head
// and no more.
func TestAllocations(t *testing.T) {
	src := &endless{one: []byte(typicalRequest)}
	r := NewReader(src, Limits{})
	body := make([]byte, 0, 4096)
	if n := testing.AllocsPerRun(100, func() {
		if _, err := r.Request(); err != nil {
			t.Fatal(err)
		}
		if b, err := r.Body(body, 4096); err != nil || len(b) != 1024 {
			t.Fatal(len(b), err)
		}
	}); n > 1 {
		t.Errorf("a request allocates %v times", n)
	}
	r = NewReader(&endless{one: []byte(typicalAnswer)}, Limits{})
	if n := testing.AllocsPerRun(100, func() { readAnswer(t, r, body[:4096]) }); n > 1 {
		t.Errorf("an answer allocates %v times", n)
	}
	// A declared length costs nothing before the bytes come.
	r = NewReader(strings.NewReader(post("Content-Length: 1000000000\r\n", "x")), Limits{})
	r.Request()
	if b, err := r.Body(nil, 1<<40); err != io.ErrUnexpectedEOF || cap(b) > 1<<16 {
		t.Errorf("%d bytes: %v", cap(b), err)
	}
}
