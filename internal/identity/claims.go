package identity

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

const (
	maxDepth     = 16
	maxName      = 512 // bytes of a subject or name
	maxGroups    = 1000
	maxGroupName = 256
)

// claims are the members of a JSON object, by their exact names.
type claims map[string]any

// parseObject reads one JSON object, strictly: no member twice (two parsers
// could take different ones), nothing after it, valid UTF-8, not too deep.
func parseObject(data []byte) (claims, error) {
	if len(data) > maxSecret || !utf8.Valid(data) {
		return nil, errors.New("not a JSON object of at most 16 KiB in UTF-8")
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	v, err := parseValue(d, 0)
	if err != nil {
		return nil, err
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("something follows the JSON object")
	}
	m, ok := v.(map[string]any)
	if !ok {
		return nil, errors.New("not a JSON object")
	}
	return m, nil
}

func parseValue(d *json.Decoder, depth int) (any, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("JSON is nested more than %d deep", maxDepth)
	}
	t, err := d.Token()
	if err != nil {
		return nil, errors.New("not JSON")
	}
	switch t {
	case json.Delim('{'):
		m := map[string]any{}
		for d.More() {
			k, err := d.Token()
			if err != nil {
				return nil, errors.New("not JSON")
			}
			name, ok := k.(string)
			if _, twice := m[name]; !ok || twice {
				return nil, fmt.Errorf("the JSON member %q is there twice", printable(name))
			}
			if m[name], err = parseValue(d, depth+1); err != nil {
				return nil, err
			}
		}
		_, err = d.Token()
		return m, err
	case json.Delim('['):
		var l []any
		for d.More() {
			v, err := parseValue(d, depth+1)
			if err != nil {
				return nil, err
			}
			l = append(l, v)
		}
		_, err = d.Token()
		return l, err
	}
	return t, nil
}

// header is what a token says about its own signature: claims of nobody yet.
type header struct {
	alg, kid string
}

// split takes a token apart, without trusting any of it, and gives its header
// and its payload. The issuer in it says only whom to ask.
func split(token string) (header, claims, error) {
	var h header
	if len(token) > maxSecret {
		return h, nil, fmt.Errorf("the token has %d bytes, at most %d are read", len(token), maxSecret)
	}
	parts := strings.SplitN(token, ".", 4)
	if len(parts) != 3 || parts[0] == "" || parts[1] == "" || parts[2] == "" {
		return h, nil, errors.New("not a signed token of three parts")
	}
	var objects [2]claims
	for i, name := range []string{"header", "payload", "signature"} {
		// One token has one spelling: Strict refuses stray bits, and line
		// breaks, which the decoder would skip, are refused before.
		raw, err := base64.RawURLEncoding.Strict().DecodeString(parts[i])
		if strings.ContainsAny(parts[i], "\r\n") {
			err = errors.New("it has line breaks")
		}
		if err == nil && i < len(objects) {
			objects[i], err = parseObject(raw)
		}
		if err != nil {
			return h, nil, fmt.Errorf("the token's %s cannot be read: %w", name, err)
		}
	}
	head := objects[0]
	var ok bool
	if h.alg, ok = head["alg"].(string); !ok || h.alg == "" {
		return h, nil, errors.New("the token's header names no algorithm")
	}
	if kid, there := head["kid"]; there {
		if h.kid, ok = kid.(string); !ok || h.kid == "" || len(h.kid) > 256 {
			return h, nil, errors.New("the token's key ID is not a short text")
		}
	}
	if typ, there := head["typ"]; there {
		if t, ok := typ.(string); !ok || !strings.EqualFold(t, "JWT") {
			return h, nil, fmt.Errorf("a token of type %q is not an ID token", printable(fmt.Sprint(typ)))
		}
	}
	for _, name := range []string{"crit", "jwk", "jku", "x5u", "b64", "zip", "enc"} {
		if _, there := head[name]; there {
			return h, nil, fmt.Errorf("the token's header has %q, which is not taken", name)
		}
	}
	return h, objects[1], nil
}

// text gives a claim that must be a text.
func (c claims) text(name string) (string, error) {
	v, there := c[name]
	if !there || v == nil {
		return "", fmt.Errorf("the token has no claim %q", name)
	}
	s, ok := v.(string)
	if !ok || s == "" {
		return "", fmt.Errorf("the token's claim %q is not a text", name)
	}
	return s, nil
}

// moment gives a claim that is a time; ok is false if it is not there.
func (c claims) moment(name string) (t time.Time, ok bool, err error) {
	v, there := c[name]
	if !there {
		return t, false, nil
	}
	n, isNumber := v.(json.Number)
	f, ferr := n.Float64()
	if !isNumber || ferr != nil || math.IsNaN(f) || f < 0 || f > 1<<40 {
		return t, false, fmt.Errorf("the token's claim %q is not a time", name)
	}
	return time.Unix(int64(f), 0).UTC(), true, nil
}

// path finds a claim by its exact name or, where there is none of that name,
// by its path through objects: "realm_access.roles".
func (c claims) path(path string) (any, bool) {
	if v, ok := c[path]; ok {
		return v, true
	}
	var at any = map[string]any(c)
	for name := range strings.SplitSeq(path, ".") {
		m, ok := at.(map[string]any)
		if !ok {
			return nil, false
		}
		if at, ok = m[name]; !ok {
			return nil, false
		}
	}
	return at, true
}

// audience gives the audiences, in either form.
func (c claims) audience() ([]string, error) {
	switch v := c["aud"].(type) {
	case string:
		return []string{v}, nil
	case []any:
		var out []string
		for _, a := range v {
			s, ok := a.(string)
			if !ok {
				return nil, errors.New("the token's audience is not a list of texts")
			}
			out = append(out, s)
		}
		return out, nil
	}
	return nil, errors.New("the token has no audience")
}

// groups gives the groups, each exactly as it is written. A group claim that
// is somewhere else, or of another form, is an error: unknown is not empty.
func (c claims) groups(path string) ([]string, error) {
	if names, there := c["_claim_names"]; there {
		m, ok := names.(map[string]any)
		_, elsewhere := m[strings.SplitN(path, ".", 2)[0]]
		if !ok || elsewhere || m[path] != nil {
			return nil, errors.New("the token does not carry the groups, it says that they are elsewhere (too many for the token): have the identity provider send those that matter here")
		}
	}
	v, there := c.path(path)
	if !there {
		return nil, nil
	}
	var list []any
	switch v := v.(type) {
	case string:
		list = []any{v}
	case []any:
		list = v
	default:
		return nil, fmt.Errorf("the token's groups claim %q is not a list of texts", path)
	}
	if len(list) > maxGroups {
		return nil, fmt.Errorf("the token has %d groups, at most %d are read", len(list), maxGroups)
	}
	var out []string
	for _, g := range list {
		s, ok := g.(string)
		if !ok || s == "" || len(s) > maxGroupName {
			return nil, fmt.Errorf("a group in the token's claim %q is not a short text", path)
		}
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out, nil
}

// checkName says whether a text can name somebody: not empty, not long, and
// with nothing in it that a reader does not see.
func checkName(what, s string) error {
	if s == "" || len(s) > maxName || !utf8.ValidString(s) || strings.TrimSpace(s) != s {
		return fmt.Errorf("the %s is empty, too long, or starts or ends with a space", what)
	}
	for _, r := range s {
		if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || unicode.Is(unicode.Zl, r) || unicode.Is(unicode.Zp, r) {
			return fmt.Errorf("the %s has a character in it that cannot be seen (U+%04X)", what, r)
		}
	}
	return nil
}
