package identity

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
)

func FuzzSplit(f *testing.F) {
	for _, s := range []string{"", "a.b.c", "..", "eyJhbGciOiJSUzI1NiJ9.e30.c2ln", "eyJhbGciOiJub25lIn0.e30.", strings.Repeat(".", 100), "eyJhbGciOiJSUzI1NiJ9.e30.c2ln\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, token string) {
		h, c, err := split(token)
		if err != nil {
			return
		}
		if h.alg == "" || c == nil || strings.Count(token, ".") != 2 || strings.ContainsAny(token, "=\r\n ") {
			t.Fatalf("%q was taken", token)
		}
		_, _ = c.text("iss")
		_, _ = c.audience()
		_, _ = c.groups("realm_access.roles")
		_, _, _ = c.moment("exp")
	})
}

func FuzzParseObject(f *testing.F) {
	for _, s := range []string{`{}`, `{"a":1,"a":2}`, `{"a":{"b":[1,"x",null,true]}}`, `{"a":1}x`, `[`, "\xff", `{"a":1e999}`, `{"exp":1.5}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := parseObject(data)
		if err != nil {
			return
		}
		// What is taken is JSON, and the standard parser reads the same.
		var other map[string]any
		d := json.NewDecoder(strings.NewReader(string(data)))
		d.UseNumber()
		if err := d.Decode(&other); err != nil {
			t.Fatalf("%q was taken: %v", data, err)
		}
		if len(other) != len(c) || (len(c) > 0 && !reflect.DeepEqual(normal(map[string]any(c)), normal(other))) {
			t.Fatalf("%q: %v and %v", data, c, other)
		}
		for name := range c {
			_, _, _ = c.moment(name)
			_, _ = c.text(name)
			_, _ = c.groups(name)
			if v, ok := c.path(name); !ok || !reflect.DeepEqual(v, c[name]) {
				t.Fatalf("path %q", name)
			}
		}
	})
}

// normal makes empty lists comparable.
func normal(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for k, e := range v {
			out[k] = normal(e)
		}
		return out
	case []any:
		out := []any{}
		for _, e := range v {
			out = append(out, normal(e))
		}
		return out
	}
	return v
}

func FuzzParseKeys(f *testing.F) {
	good, err := json.Marshal(map[string]any{"keys": []any{publicJWK("idp-rsa-1"), publicJWK("idp-ec-1")}})
	if err != nil {
		f.Fatal(err)
	}
	for _, s := range []string{string(good), `{}`, `{"keys":[{"kty":"oct","k":"AAAA","alg":"HS256"}]}`, `{"keys":[{"kty":"RSA","n":"AQ","e":"AQAB"}]}`, `{"keys":null}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		keys, err := parseKeys(data)
		if err != nil {
			return
		}
		for i := range keys {
			if !keys[i].IsPublic() || fits(keys[i].Key, "HS256") || fits(keys[i].Key, "none") {
				t.Fatalf("key %d of %q", i, data)
			}
		}
	})
}

func FuzzParseArgon(f *testing.F) {
	f.Add("$argon2id$v=19$m=65536,t=3,p=2$c2FsdHNhbHQ$c2FsdHNhbHRzYWx0c2FsdA")
	f.Add("$argon2id$v=19$m=65536,t=3,p=2$$")
	f.Fuzz(func(t *testing.T, s string) {
		h, err := parseArgon(s)
		if err == nil && (h.memory > 256<<10 || h.time > 16 || len(h.sum) < 16) {
			t.Fatalf("%q was taken: %+v", s, h)
		}
	})
}

func FuzzToken(f *testing.F) {
	f.Add(newToken(prefixPerson))
	f.Add("dw_p_")
	f.Fuzz(func(t *testing.T, s string) {
		if _, err := tokenHash(s, prefixPerson); err == nil && (len(s) != len(prefixPerson)+43 || strings.ContainsAny(s, "\r\n=+/")) {
			t.Fatalf("%q was taken", s)
		}
	})
}
