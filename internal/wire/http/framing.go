package http

import (
	"strconv"
	"strings"
)

// framing is what the fields of a head say about its message, for both sides.
type framing struct {
	length  int64 // Content-Length; -1: there is none
	chunked bool
	close   bool   // Connection: close
	upgrade string // Upgrade, or "upgrade" by Connection alone
	host    string
	hosts   int
	expect  int
	cont    bool // the one Expect is 100-continue
	trailer bool
}

// framing reads the fields that say where a message ends and what becomes of
// its connection. All that could be read in two ways is refused (RFC 9112, 6.3).
func (r *Reader) framing(fields []Field) (f framing, err error) {
	f.length = -1
	asked := false
	for i := range fields {
		name, value := fields[i].Name, fields[i].Value
		switch len(name) {
		case len("host"):
			if is(name, "host") {
				f.host = value
				f.hosts++
			}
		case len("expect"):
			if is(name, "expect") {
				f.expect++
				f.cont = is(value, "100-continue")
			}
		case len("upgrade"):
			switch {
			case is(name, "trailer"):
				f.trailer = true
			case is(name, "upgrade") && f.upgrade == "":
				f.upgrade, asked = value, true
			}
		case len("connection"):
			if is(name, "connection") {
				f.close = f.close || hasToken(value, "close")
				asked = asked || hasToken(value, "upgrade")
			}
		case len("content-length"):
			if is(name, "content-length") {
				if f.length >= 0 {
					return f, r.refuse(400, nth(i)+" is a second Content-Length", "send one Content-Length")
				}
				if f.length = length(value); f.length < 0 {
					return f, r.refuse(400, nth(i)+" (Content-Length) is not a number of at most 18 digits", "send the length of the body in decimal digits")
				}
			}
		case len("transfer-encoding"):
			if is(name, "transfer-encoding") {
				if f.chunked {
					return f, r.refuse(400, nth(i)+" is a second Transfer-Encoding", "send one Transfer-Encoding: chunked")
				}
				if !is(value, "chunked") {
					status := 400
					if isToken(value) {
						status = 501
					}
					return f, r.refuse(status, nth(i)+" (Transfer-Encoding) is not chunked alone", "send Transfer-Encoding: chunked, or Content-Length")
				}
				f.chunked = true
			}
		}
	}
	if f.chunked && f.length >= 0 {
		return f, r.refuse(400, "there are both Content-Length and Transfer-Encoding", "send one of them")
	}
	if asked && f.upgrade == "" {
		f.upgrade = "upgrade"
	}
	return f, nil
}

// length is the value of a Content-Length, or -1 when it is not 1 to 18 digits.
func length(s string) int64 {
	if len(s) == 0 || len(s) > 18 {
		return -1
	}
	n := int64(0)
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return -1
		}
		n = n*10 + int64(s[i]-'0')
	}
	return n
}

// isHost tells whether s is host or host:port: a name of letters, digits, '.',
// '-' and '_', or an IPv6 address in brackets and without a zone; the port 1 to
// 65535. RFC 3986 allows more, which no service is called by and parsers differ
// on.
func isHost(s string) bool {
	if len(s) > 255+len(":65535") {
		return false
	}
	host, port, named := s, "", false
	if strings.HasPrefix(s, "[") {
		end := strings.IndexByte(s, ']')
		if end < 0 || !isIPv6(s[1:end]) {
			return false
		}
		if end+1 == len(s) {
			return true
		}
		return s[end+1] == ':' && isPort(s[end+2:])
	}
	if host, port, named = strings.Cut(s, ":"); named && !isPort(port) {
		return false
	}
	for i := range len(host) {
		c := host[i]
		if c|0x20 >= 'a' && c|0x20 <= 'z' || c >= '0' && c <= '9' || c == '.' || c == '-' || c == '_' {
			continue
		}
		return false
	}
	return host != "" && len(host) <= 255
}

func isPort(s string) bool {
	if s == "" || len(s) > 5 || length(s) < 0 {
		return false
	}
	n, err := strconv.Atoi(s)
	return err == nil && n >= 1 && n <= 65535
}
