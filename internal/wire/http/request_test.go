package http

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
)

// get is a request with these lines behind the first one.
func get(lines string) string { return "GET / HTTP/1.1\r\nHost: a\r\n" + lines + "\r\n" }

func post(lines, body string) string { return "POST / HTTP/1.1\r\nHost: a\r\n" + lines + "\r\n" + body }

func chunks(body string) string { return post("Transfer-Encoding: chunked\r\n", body) }

var accepted = []struct {
	name, in string
	count    int
	bodies   string
}{
	{"nothing", "", 0, ""},
	{"an empty line and nothing", "\r\n", 0, ""},
	{"plain", get(""), 1, ""},
	{"an empty line before it", "\r\n" + get(""), 1, ""},
	{"pipelined", get("") + "\r\n" + get("") + post("Content-Length: 2\r\n", "hi") + get(""), 4, "hi"},
	{"options *", "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", 1, ""},
	{"method with -", "M-SEARCH / HTTP/1.1\r\nHost: a\r\n\r\n", 1, ""},
	{"target", "GET //a/%2F%c3%a4/?q=%zz&[x]=\"{|}^`\\?? HTTP/1.1\r\nHost: a\r\n\r\n", 1, ""},
	{"host and port", "GET / HTTP/1.1\r\nhOST:\t a-b_c.example:65535 \r\n\r\n", 1, ""},
	{"IPv6", "GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", 1, ""},
	{"IPv6 without port", "GET / HTTP/1.1\r\nHost: [2001:db8::1]\r\n\r\n", 1, ""},
	{"empty value, obs-text, tab", get("A:\r\nB: \xff\xfe \t x\r\n!#$%&'*+-.^_`|~09azAZ: y\r\n"), 1, ""},
	{"length 0", post("Content-Length: 0\r\n", ""), 1, ""},
	{"length with zeros", post("Content-Length: 000000000000000003\r\n", "abc"), 1, "abc"},
	{"no body", post("", ""), 1, ""},
	{"no chunks", chunks("0\r\n\r\n"), 1, ""},
	{"chunks", chunks("3\r\nabc\r\n0000000A\r\n0123456789\r\n0b\r\n0123456789x\r\n00\r\n\r\n") + get(""), 2, "abc01234567890123456789x"},
	{"Chunked", post("transfer-ENCODING: ChunKed\r\n", "1\r\n\n\r\n0\r\n\r\n"), 1, "\n"},
	{"expect", post("Expect: 100-Continue\r\nContent-Length: 1\r\n", "x"), 1, "x"},
	{"nothing is read behind close", get("Connection: keep-alive, Close\r\n") + "rubbish", 1, ""},
	{"a large body", post("Content-Length: 300000\r\n", strings.Repeat("0123456789", 30000)), 1, strings.Repeat("0123456789", 30000)},
	{"a large chunk", chunks("186A0\r\n" + strings.Repeat("0123456789", 10000) + "\r\n0\r\n\r\n"), 1, strings.Repeat("0123456789", 10000)},
}

func TestRequestAccepted(t *testing.T) {
	for _, c := range accepted {
		t.Run(c.name, func(t *testing.T) {
			all, err := requests(strings.NewReader(c.in), Limits{})
			bodies := ""
			for _, m := range all {
				bodies += m.body
			}
			if err != io.EOF || len(all) != c.count || bodies != c.bodies {
				t.Fatalf("%d requests, body %.100q: %v", len(all), bodies, err)
			}
			checkRequests(t, []byte(c.in), Limits{})
		})
	}
}

var refused = []struct {
	name, in string
	status   int // 0: io.ErrUnexpectedEOF
}{
	{"cut in the method", "GE", 0},
	{"cut behind CR", "\r\n\r", 0},
	{"cut in the head", "GET / HTTP/1.1\r\nHost: a\r\n", 0},
	{"cut in the body", post("Content-Length: 3\r\n", "ab"), 0},
	{"cut in a chunk", chunks("3\r\nab"), 0},
	{"cut behind the chunks", chunks("0\r\n"), 0},
	{"two empty lines", "\r\n\r\n" + get(""), 400},
	{"empty line with LF", "\n" + get(""), 400},
	{"LF in the request line", "GET / HTTP/1.1\nHost: a\r\n\r\n", 400},
	{"LF behind a field", "GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n", 400},
	{"LF ends the head", "GET / HTTP/1.1\r\nHost: a\r\n\n", 400},
	{"CR in the request line", "GET /\r HTTP/1.1\r\nHost: a\r\n\r\n", 400},
	{"CR at the end of the request line", "GET / HTTP/1.1\r\r\nHost: a\r\n\r\n", 400},
	{"CR in a value", get("X: a\rb\r\n"), 400},
	{"CR at the end of a value", get("X: a\r\r\n"), 400},
	{"CR alone as a line", get("\r\r\n"), 400},
	{"NUL in a value", get("X: a\x00b\r\n"), 400},
	{"NUL late in a value", get("X: 0123456789abcdef\x00\r\n"), 400},
	{"DEL in a value", get("X: 01234567\x7f\r\n"), 400},
	{"ESC in a value", get("X: \x1b[2J\r\n"), 400},
	{"folded", get("X: a\r\n b\r\n"), 400},
	{"folded by tab", get("X: a\r\n\tb\r\n"), 400},
	{"a line of a space", get("X: a\r\n \r\n"), 400},
	{"space before the first field", "GET / HTTP/1.1\r\n Host: a\r\n\r\n", 400},
	{"space before the colon", get("Content-Length : 3\r\n"), 400},
	{"tab before the colon", get("X\t: 3\r\n"), 400},
	{"space in the name", get("X Y: 3\r\n"), 400},
	{"no name", get(": x\r\n"), 400},
	{"no colon", get("X\r\n"), 400},
	{"name with a byte of obs-text", get("X\xe4: x\r\n"), 400},
	{"name with NUL", get("Content-Length\x00: 3\r\n"), 400},
	{"name in brackets", get("(X): x\r\n"), 400},
	{"name with /", get("X/Y: x\r\n"), 400},
	{"two spaces", "GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400},
	{"two spaces before the version", "GET /  HTTP/1.1\r\nHost: a\r\n\r\n", 400},
	{"space behind the version", "GET / HTTP/1.1 \r\nHost: a\r\n\r\n", 400},
	{"space in the target", "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", 400},
	{"a second target", "GET / HTTP/1.1 HTTP/1.1\r\nHost: a\r\n\r\n", 400},
	{"tab between", "GET\t/\tHTTP/1.1\r\nHost: a\r\n\r\n", 400},
	{"space first", " GET / HTTP/1.1\r\nHost: a\r\n\r\n", 400},
	{"HTTP/0.9", "GET /\r\n\r\n", 400},
	{"HTTP/0.9 with space", "GET / \r\n\r\n", 400},
	{"HTTP/1.0", "GET / HTTP/1.0\r\nHost: a\r\n\r\n", 505},
	{"HTTP/1.2", "GET / HTTP/1.2\r\nHost: a\r\n\r\n", 505},
	{"HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505},
	{"HTTP/1.10", "GET / HTTP/1.10\r\nHost: a\r\n\r\n", 400},
	{"http/1.1", "GET / http/1.1\r\nHost: a\r\n\r\n", 400},
	{"HTTP/+.1", "GET / HTTP/+.1\r\nHost: a\r\n\r\n", 505},
	{"lower-case method", "get / HTTP/1.1\r\nHost: a\r\n\r\n", 400},
	{"method with a colon", "GET: / HTTP/1.1\r\nHost: a\r\n\r\n", 400},
	{"method with a digit", "GET1 / HTTP/1.1\r\nHost: a\r\n\r\n", 400},
	{"no method", " / HTTP/1.1\r\nHost: a\r\n\r\n", 400},
	{"TLS", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n", 400},
	{"obs-text in the target", "GET /\xe4 HTTP/1.1\r\nHost: a\r\n\r\n", 400},
	{"DEL in the target", "GET /\x7f HTTP/1.1\r\nHost: a\r\n\r\n", 400},
	{"NUL in the target", "GET /\x00 HTTP/1.1\r\nHost: a\r\n\r\n", 400},
	{"absolute target", "GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", 400},
	{"authority", "CONNECT b:443 HTTP/1.1\r\nHost: b:443\r\n\r\n", 400},
	{"relative target", "GET a HTTP/1.1\r\nHost: a\r\n\r\n", 400},
	{"* for GET", "GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400},
	{"fragment", "GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", 400},
	{"bad escape", "GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n", 400},
	{"cut escape", "GET /a%2 HTTP/1.1\r\nHost: a\r\n\r\n", 400},
	{"escape cut by the query", "GET /a%2?x HTTP/1.1\r\nHost: a\r\n\r\n", 400},
	{"no Host", "GET / HTTP/1.1\r\n\r\n", 400},
	{"two Hosts", get("Host: a\r\n"), 400},
	{"two Hosts by case", get("hOsT: b\r\n"), 400},
	{"two lengths", post("Content-Length: 3\r\nContent-Length: 3\r\n", "abc"), 400},
	{"two lengths that differ", post("Content-Length: 3\r\ncontent-length: 4\r\n", "abc"), 400},
	{"a list of lengths", post("Content-Length: 3, 3\r\n", "abc"), 400},
	{"length +3", post("Content-Length: +3\r\n", "abc"), 400},
	{"length -0", post("Content-Length: -0\r\n", ""), 400},
	{"length 0x3", post("Content-Length: 0x3\r\n", "abc"), 400},
	{"length 3_0", post("Content-Length: 3_0\r\n", "abc"), 400},
	{"empty length", post("Content-Length:\r\n", ""), 400},
	{"length of 19 digits", post("Content-Length: 0000000000000000003\r\n", "abc"), 400},
	{"length too large", post("Content-Length: 999999999999999999\r\n", "abc"), 413},
	{"both", post("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"), 400},
	{"both, length 0", post("Transfer-Encoding: chunked\r\nContent-Length: 0\r\n", "0\r\n\r\n"), 400},
	{"identity", post("Transfer-Encoding: identity\r\n", ""), 501},
	{"gzip", post("Transfer-Encoding: gzip\r\n", ""), 501},
	{"xchunked", post("Transfer-Encoding: xchunked\r\n", "0\r\n\r\n"), 501},
	{"gzip, chunked", post("Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n"), 400},
	{"chunked, identity", post("Transfer-Encoding: chunked, identity\r\n", "0\r\n\r\n"), 400},
	{"chunked;q=1", post("Transfer-Encoding: chunked;q=1\r\n", "0\r\n\r\n"), 400},
	{"chunked,", post("Transfer-Encoding: chunked,\r\n", "0\r\n\r\n"), 400},
	{"chunked twice", post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"), 400},
	{"chunked and identity", post("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", "0\r\n\r\n"), 400},
	{"empty coding", post("Transfer-Encoding:\r\n", ""), 400},
	{"\"chunked\"", post("Transfer-Encoding: \"chunked\"\r\n", ""), 400},
	{"chunked with a vertical tab", post("Transfer-Encoding: \x0bchunked\r\n", "0\r\n\r\n"), 400},
	{"chunK with the Kelvin sign", post("Transfer-Encoding: chun\u212aed\r\n", ""), 400},
	{"trailer announced", post("Trailer: X\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"), 400},
	{"other expectation", post("Expect: 200-ok\r\n", ""), 417},
	{"two expectations", post("Expect: 100-continue, x\r\n", ""), 417},
	{"expected twice", post("Expect: 100-continue\r\nExpect: 100-continue\r\n", ""), 417},
	{"empty expectation", post("Expect:\r\n", ""), 417},
	{"size with 0x", chunks("0x3\r\nabc\r\n0\r\n\r\n"), 400},
	{"size with space behind", chunks("3 \r\nabc\r\n0\r\n\r\n"), 400},
	{"size with space before", chunks(" 3\r\nabc\r\n0\r\n\r\n"), 400},
	{"size with sign", chunks("+3\r\nabc\r\n0\r\n\r\n"), 400},
	{"negative size", chunks("-3\r\nabc\r\n0\r\n\r\n"), 400},
	{"size of 9 digits", chunks("000000003\r\nabc\r\n0\r\n\r\n"), 400},
	{"size of 17 digits", chunks("10000000000000003\r\nabc\r\n0\r\n\r\n"), 400},
	{"no size", chunks("\r\nabc\r\n0\r\n\r\n"), 400},
	{"no digits", chunks("g\r\nabc\r\n0\r\n\r\n"), 400},
	{"size too large", chunks("ffffffff\r\nabc"), 413},
	{"sum too large", chunks("1\r\nx\r\n100000\r\n"), 413},
	{"extension", chunks("3;x=y\r\nabc\r\n0\r\n\r\n"), 400},
	{"empty extension", chunks("3;\r\nabc\r\n0\r\n\r\n"), 400},
	{"extension with LF", chunks("3;\nabc\r\n0\r\n\r\n"), 400},
	{"LF behind a size", chunks("3\nabc\r\n0\r\n\r\n"), 400},
	{"CR alone behind a size", chunks("3\rabc\r\n0\r\n\r\n"), 400},
	{"LF behind data", chunks("3\r\nabc\n0\r\n\r\n"), 400},
	{"CR alone behind data", chunks("3\r\nabc\r0\r\n\r\n"), 400},
	{"too much data", chunks("3\r\nabcd\r\n0\r\n\r\n"), 400},
	{"trailer", chunks("0\r\nX: y\r\n\r\n"), 400},
	{"LF ends the chunks", chunks("0\r\n\n"), 400},
	{"LF behind the last size", chunks("0\n\r\n"), 400},
	{"too long a target", "GET /" + strings.Repeat("a", 16<<10) + " HTTP/1.1\r\nHost: a\r\n\r\n", 414},
	{"too long a head", get("X: " + strings.Repeat("a", 64<<10) + "\r\n"), 431},
	{"too many fields", get(strings.Repeat("X: y\r\n", 128)), 431},
}

func TestRequestRefused(t *testing.T) {
	for _, c := range refused {
		t.Run(c.name, func(t *testing.T) {
			_, err := requests(strings.NewReader(c.in), Limits{})
			checkStatus(t, err, c.status)
			// A request behind it must not come to life.
			all, _ := requests(strings.NewReader(c.in+get("")+get("")), Limits{})
			if len(all) > 0 && c.status != 0 {
				t.Errorf("a request is read behind it: %#v", all)
			}
			checkRequests(t, []byte(c.in), Limits{})
		})
	}
	for _, host := range []string{"", "a:", "a:0", "a:65536", "a:1x", "a:-1", ":80", "a@b", "a/b", "a b", "a,b", "a?b", "a#b", "a\\b", "a%41", "\xe4", "a:80:80", "::1",
		"[::1", "[]", "[1.2.3.4]", "[::1%25eth0]", "[::1%eth0]", "[::1]x", "[::1]:", "[::1]80", "[a]", "http://a", "user:pw@a", strings.Repeat("a", 256), "a\tb", "'a'", "a;b"} {
		_, err := requests(strings.NewReader("GET / HTTP/1.1\r\nHost: "+host+"\r\n\r\n"), Limits{})
		if f := (*Fault)(nil); !errors.As(err, &f) || f.Status != 400 {
			t.Errorf("host %q: %v", host, err)
		}
		if b := AppendRequest(nil, "GET", "/", host, nil, nil); len(b) > 0 {
			t.Errorf("host %q is written", host)
		}
	}
}

func checkStatus(t *testing.T, err error, status int) {
	t.Helper()
	f := (*Fault)(nil)
	if status == 0 {
		if err != io.ErrUnexpectedEOF {
			t.Errorf("%v, want io.ErrUnexpectedEOF", err)
		}
	} else if !errors.As(err, &f) || f.Status != status {
		t.Errorf("%v, want a fault of status %d", err, status)
	} else if f.Reason == "" || status != 502 && f.Hint == "" {
		t.Errorf("%+v does not say what and what to do", f)
	}
}

// TestEveryByte puts each control byte at each place of a request: none may pass
// but where a value or a body may hold it.
func TestEveryByte(t *testing.T) {
	whole := post("X-Long-Name: some longer value\r\nContent-Length: 3\r\n", "abc")
	head := strings.Index(whole, "\r\n\r\n") + 4
	for at := range head - 1 { // one behind that is in the body: CR LF CR, and LF as sent
		for c := range 256 {
			if c >= ' ' && c < 0x7f {
				continue
			}
			in := whole[:at] + string([]byte{byte(c)}) + whole[at:]
			all, err := requests(strings.NewReader(in), Limits{})
			value := at > strings.Index(whole, "X-L")+11 && at <= strings.Index(whole, "\r\nContent")
			if value && (c >= 0x80 || c == '\t') || c == '\t' && len(all) == 1 && len(all[0].Fields) == 3 && all[0].Fields[0].Value == "a" && all[0].body == "abc" {
				continue // obs-text in a value, or white space around one
			}
			if len(all) > 0 || err == io.EOF {
				t.Errorf("byte %#x at %d passes: %#v", c, at, all)
			}
			checkRequests(t, []byte(in), Limits{})
		}
	}
}

func TestRequestFields(t *testing.T) {
	r := NewReader(strings.NewReader(get("B: 1\r\na:\t2 \r\nB: 3\r\nConnection: upgrade\r\nExpect: 100-continue\r\n")+"more"), Limits{})
	q, err := r.Request()
	if err != nil || len(q.Fields) != 6 || q.Fields[1] != (Field{"B", "1"}) || q.Fields[2] != (Field{"a", "2"}) || q.Fields[3] != (Field{"B", "3"}) ||
		q.Upgrade != "upgrade" || !q.Continue || q.Close || r.Buffered() != 4 {
		t.Fatalf("%+v, %d buffered: %v", q, r.Buffered(), err)
	}
	r = NewReader(strings.NewReader(get("Upgrade:\r\nUpgrade: websocket\r\n")), Limits{})
	if q, err := r.Request(); err != nil || q.Upgrade != "websocket" {
		t.Fatalf("%+v: %v", q, err)
	}
	r = NewReader(strings.NewReader(get("Upgrade:\r\n")), Limits{})
	if q, err := r.Request(); err != nil || q.Upgrade != "upgrade" {
		t.Fatalf("%+v: %v", q, err)
	}
}

// TestOrder wants a reader to give nothing that was not read in its turn.
func TestOrder(t *testing.T) {
	r := NewReader(strings.NewReader(post("Content-Length: 40\r\n", get("")+get(""))), Limits{})
	if _, err := r.Request(); err != nil {
		t.Fatal(err)
	}
	if q, err := r.Request(); err != errUnread {
		t.Fatalf("the body was read as the request %+v: %v", q, err)
	}
	prefix := []byte("keep")
	if b, err := r.Body(prefix, 10); err == nil || string(b) != "keep" {
		t.Fatalf("%q: %v", b, err)
	}
	if b, err := r.Body(prefix, 100); err == nil || string(b) != "keep" {
		t.Fatalf("the reader goes on behind a fault: %q %v", b, err)
	}
	if q, err := r.Request(); err == nil {
		t.Fatalf("the reader goes on behind a fault: %+v", q)
	}
	r = NewReader(strings.NewReader(post("Content-Length: 2\r\n", "hi")), Limits{})
	r.Request()
	for range 2 {
		b, err := r.Body(prefix, 2)
		if err != nil || string(b) != "keephi" {
			t.Fatalf("%q: %v", b, err)
		}
		prefix = b[:4:4]
		r = NewReader(bytes.NewReader([]byte(chunks("1\r\nh\r\n1\r\ni\r\n0\r\n\r\n"))), Limits{})
		r.Request()
	}
}
