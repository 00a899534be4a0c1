package http

import "strconv"

// IsField tells whether a field can be sent: its name is a token and its value
// holds no control bytes and no white space around it.
func IsField(name, value string) bool {
	if !isToken(name) || !isText(value) {
		return false
	}
	a, b := trim(value, 0, len(value))
	return b-a == len(value)
}

// AppendRequest appends a whole request. Host comes first, then the fields in
// their order, then Content-Length when there is a body or the method takes one
// (POST, PUT, PATCH). Fields that say how the message is framed are skipped:
// Host, Content-Length, Transfer-Encoding and Trailer. Connection, Expect and
// Upgrade are the caller's to leave out.
//
// It never appends what a [Reader] would not read as the same request: a field
// that [IsField] refuses is left out, and where method, target or host are
// malformed nothing is appended at all.
func AppendRequest(dst []byte, method, target, host string, fields []Field, body []byte) []byte {
	if !isRequest(method, target, host) {
		return dst
	}
	dst = append(dst, method...)
	dst = append(dst, ' ')
	dst = append(dst, target...)
	dst = append(dst, " HTTP/1.1\r\nHost: "...)
	dst = append(dst, host...)
	dst = append(dst, "\r\n"...)
	for i := range fields {
		if !isFraming(fields[i].Name) {
			dst = appendField(dst, fields[i])
		}
	}
	if len(body) > 0 || method == "POST" || method == "PUT" || method == "PATCH" {
		dst = append(dst, "Content-Length: "...)
		dst = strconv.AppendInt(dst, int64(len(body)), 10)
		dst = append(dst, "\r\n"...)
	}
	dst = append(dst, "\r\n"...)
	return append(dst, body...)
}

func isRequest(method, path, host string) bool {
	for i := range len(method) {
		if c := method[i]; (c < 'A' || c > 'Z') && c != '-' {
			return false
		}
	}
	for i := range len(path) {
		if c := path[i]; c <= ' ' || c >= 0x7f {
			return false
		}
	}
	return method != "" && path != "" && target(method, path) == "" && isHost(host)
}

func isFraming(name string) bool {
	switch len(name) {
	case len("host"):
		return is(name, "host")
	case len("trailer"):
		return is(name, "trailer")
	case len("content-length"):
		return is(name, "content-length")
	case len("transfer-encoding"):
		return is(name, "transfer-encoding")
	}
	return false
}

func appendField(dst []byte, f Field) []byte {
	if !IsField(f.Name, f.Value) {
		return dst
	}
	dst = append(dst, f.Name...)
	dst = append(dst, ": "...)
	dst = append(dst, f.Value...)
	return append(dst, "\r\n"...)
}

// AppendAnswer appends the head of an answer, with the empty line that ends it.
// The caller gives Content-Length or Transfer-Encoding among the fields, of which
// those that [IsField] refuses are left out. A status outside of 100 to 599 is
// sent as 502.
func AppendAnswer(dst []byte, status int, fields []Field) []byte {
	if status < 100 || status > 599 {
		status = 502
	}
	dst = append(dst, "HTTP/1.1 "...)
	dst = strconv.AppendInt(dst, int64(status), 10)
	dst = append(dst, ' ')
	dst = append(dst, phrase(status)...)
	dst = append(dst, "\r\n"...)
	for i := range fields {
		dst = appendField(dst, fields[i])
	}
	return append(dst, "\r\n"...)
}

// AppendChunk appends body as one chunk. An empty body appends nothing: it would
// end the answer.
func AppendChunk(dst, body []byte) []byte {
	if len(body) == 0 {
		return dst
	}
	dst = strconv.AppendUint(dst, uint64(len(body)), 16)
	dst = append(dst, "\r\n"...)
	dst = append(dst, body...)
	return append(dst, "\r\n"...)
}

// AppendLastChunk appends the end of a chunked body.
func AppendLastChunk(dst []byte) []byte { return append(dst, "0\r\n\r\n"...) }

// phrase is the reason phrase of a status (RFC 9110, 15), for people who read
// the wire; an empty one is as good.
func phrase(status int) string {
	switch status {
	case 100:
		return "Continue"
	case 200:
		return "OK"
	case 201:
		return "Created"
	case 202:
		return "Accepted"
	case 204:
		return "No Content"
	case 206:
		return "Partial Content"
	case 301:
		return "Moved Permanently"
	case 302:
		return "Found"
	case 303:
		return "See Other"
	case 304:
		return "Not Modified"
	case 307:
		return "Temporary Redirect"
	case 308:
		return "Permanent Redirect"
	case 400:
		return "Bad Request"
	case 401:
		return "Unauthorized"
	case 403:
		return "Forbidden"
	case 404:
		return "Not Found"
	case 405:
		return "Method Not Allowed"
	case 408:
		return "Request Timeout"
	case 409:
		return "Conflict"
	case 413:
		return "Content Too Large"
	case 414:
		return "URI Too Long"
	case 415:
		return "Unsupported Media Type"
	case 417:
		return "Expectation Failed"
	case 422:
		return "Unprocessable Content"
	case 423:
		return "Locked"
	case 429:
		return "Too Many Requests"
	case 431:
		return "Request Header Fields Too Large"
	case 500:
		return "Internal Server Error"
	case 501:
		return "Not Implemented"
	case 502:
		return "Bad Gateway"
	case 503:
		return "Service Unavailable"
	case 504:
		return "Gateway Timeout"
	case 505:
		return "HTTP Version Not Supported"
	}
	return ""
}
