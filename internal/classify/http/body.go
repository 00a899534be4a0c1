package http

import (
	"bytes"
	"mime"
	"strings"
	"unicode"
)

const (
	typeForm      = "application/x-www-form-urlencoded"
	typeMultipart = "multipart/form-data"
)

// media is a content type.
type media struct {
	text   string // as it is sent
	name   string // type/subtype, in lower case
	params map[string]string
}

// parseMedia reads a content type, and writes it in one way.
func parseMedia(v string) (media, *Refusal) {
	const hint = "as in application/json"
	name, params, err := mime.ParseMediaType(v)
	if err != nil || !strings.Contains(name, "/") {
		return media{}, refuse(statusMedia, hint, "the content type %.80q is not one", v)
	}
	// What nobody but the service can decode, nobody but the service can judge:
	// a body in UTF-7 or EBCDIC does not look like what it says.
	if c, ok := params["charset"]; ok {
		if c = strings.ToLower(c); c != "utf-8" && c != "us-ascii" {
			return media{}, refuse(statusMedia, "send the body in UTF-8", "the content type %.80q has the charset %.40q", v, c)
		}
		params["charset"] = c
	}
	if b, ok := params["boundary"]; ok && !boundary(b) || !ok && name == typeMultipart {
		return media{}, refuse(statusMedia, "it is 1 to 70 letters, digits and '()+_,-./:=?", "the content type %.80q has no boundary that could be used", v)
	}
	m := media{text: mime.FormatMediaType(name, params), name: name, params: params}
	if m.text == "" {
		return media{}, refuse(statusMedia, hint, "the content type %.80q cannot be written", v)
	}
	return m, nil
}

// boundary reports whether b is one (RFC 2046, 5.1.1), without blanks.
func boundary(b string) bool {
	for i := range len(b) {
		if c := b[i]; !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("'()+_,-./:=?", c) >= 0) {
			return false
		}
	}
	return b != "" && len(b) <= 70
}

// json reports whether a body of this type is JSON (RFC 8259; RFC 6839, 3.1).
func (m *media) json() bool {
	return m.name == "application/json" || m.name == "text/json" || strings.HasSuffix(m.name, "+json")
}

// content is what a body says.
type content struct {
	value any    // of JSON or a form; nil for anything else
	hint  string // why it is not fully known; "" when it is
}

// readBody looks into the body. The content is never nil without an error.
func (r *Request) readBody() (*content, error) {
	c := &content{}
	if sameNames(r.Query) {
		c.hint = sameNamesHint
	}
	if len(r.Body) == 0 {
		return c, nil
	}
	if len(r.Body) > MaxBody {
		return nil, tooLarge(len(r.Body))
	}
	switch r.Method {
	case "GET", "HEAD", "OPTIONS", "DELETE":
		return nil, bad("%s has a body of %d bytes", r.Method, len(r.Body)).WithHint("leave it out: it has no meaning in HTTP, and servers read it as a second request")
	}
	m, err := parseMedia(r.field("content-type"))
	if err != nil {
		return nil, err
	}
	if m.text != r.field("content-type") {
		return nil, bad("the header content-type is not as it is sent on")
	}
	switch {
	case m.json():
		err = c.readJSON(r.Body)
	case m.name == typeForm:
		err = c.readForm(r.Body)
	case m.name == typeMultipart:
		err = c.readMultipart(r.Body, m.params["boundary"])
	case looksJSON(r.Body):
		// Many services do not look at the type.
		if bad := c.readJSON(r.Body); bad != nil {
			c.value, c.hint = nil, "The body begins as JSON does, and is none: "+bad.Reason+"."
		}
	}
	if err != nil {
		return nil, err
	}
	if err := checkTop(c.value); err != nil {
		return nil, err
	}
	return c, nil
}

// looksJSON reports whether a service that does not look at the type would read
// JSON, in whichever of the encodings that readers of JSON guess.
func looksJSON(body []byte) bool {
	body = bytes.TrimLeft(body, " \t\r\n\x00\xef\xbb\xbf\xfe\xff")
	return len(body) > 0 && (body[0] == '{' || body[0] == '[')
}

func (c *content) readJSON(body []byte) *Refusal {
	v, doubt, err := readJSON(body)
	if err != nil {
		return err
	}
	c.value = v
	if doubt != "" {
		c.hint = doubt
	}
	return nil
}

// checkTop refuses a body whose own keys would change the method.
func checkTop(v any) *Refusal {
	m, _ := v.(map[string]any)
	for key := range m {
		if override(key) {
			return refuse(statusBad, "send the method that is meant", "the key %.60q of the body would change the method", key)
		}
	}
	return nil
}

// readForm reads a form as the query is read.
func (c *content) readForm(body []byte) *Refusal {
	if looksJSON(body) {
		return refuse(statusMedia, "JSON needs Content-Type: application/json", "the body is said to be a form, and begins as JSON does")
	}
	pairs, err := parsePairs(string(body), "the form")
	if err == nil {
		err = checkPairs(pairs, "the form")
	}
	if err != nil {
		return err
	}
	if sameNames(pairs) {
		c.hint = sameNamesHint
	}
	form := map[string]any{}
	for key, list := range values(pairs) {
		if form[key] = list; len(list) == 1 {
			form[key] = list[0]
		}
	}
	c.value = form
	return nil
}

// values are parameters by name, each in order.
func values(pairs []Pair) map[string][]string {
	m := make(map[string][]string, len(pairs))
	for i := range pairs {
		m[pairs[i].Key] = append(m[pairs[i].Key], pairs[i].Value)
	}
	return m
}

const sameNamesHint = "Two parameters have names that some servers take for one. Send the one that is meant."

// sameNames reports whether two names that differ are one for some servers: of
// letters in another case, of a dot or a blank for an underscore, or where one
// of them is a list (as PHP and Rails read a[]).
func sameNames(pairs []Pair) bool {
	if len(pairs) < 2 {
		return false
	}
	names := make(map[string]string, len(pairs)) // by what they may be taken for
	for i := range pairs {
		key := pairs[i].Key
		folded := strings.Map(func(c rune) rune {
			if c == '.' || c == ' ' {
				return '_'
			}
			return c
		}, fold(strings.Trim(key, " ")))
		if other, ok := names[folded]; ok && other != key {
			return true
		}
		names[folded] = key
	}
	for folded := range names {
		if base, _, is := strings.Cut(folded, "["); is && base != "" {
			if _, ok := names[base]; ok {
				return true
			}
		}
	}
	return false
}

// fold gives the same for two texts that differ only in the case of letters.
func fold(s string) string {
	return strings.Map(func(c rune) rune {
		if c < 0x80 {
			if c >= 'A' && c <= 'Z' {
				c += 'a' - 'A'
			}
			return c
		}
		low := c
		for next := unicode.SimpleFold(c); next != c; next = unicode.SimpleFold(next) {
			low = min(low, next)
		}
		if low >= 'A' && low <= 'Z' {
			low += 'a' - 'A'
		}
		return low
	}, s)
}
