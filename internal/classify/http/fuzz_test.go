package http

import (
	"encoding/json"
	"errors"
	"regexp"
	"strings"
	"testing"
)

func FuzzFromHTTP(f *testing.F) {
	f.Add("GET", "/v1/orders/%31%37?a=b+c&d", "Accept: */*\nPrefer: wait=3, a\nX-Team: x", "")
	f.Add("POST", "/v1/orders", "Content-Type: application/json", `{"a":[1,2.5,"\u00e9"]}`)
	f.Add("POST", "/v1/orders", "Content-Type: application/x-www-form-urlencoded", "a=1&b=%20")
	f.Add("POST", "/x/", "Content-Type: multipart/form-data; boundary=B", "--B\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n--B--\r\n")
	f.Add("PUT", "/%E4%B8%AD", "Content-Type: text/plain; charset*0=ut; charset*1=f-8; x*=utf-8''%e4", "\x00{")
	f.Add("GET", "/a/..;/b", "Range: bytes=0-1\nCookie: a", "")
	env := &Env{Headers: []string{"x-team", "cookie"}}
	f.Fuzz(func(t *testing.T, method, target, head, body string) {
		in := Incoming{Method: method, Target: target, Body: []byte(body)}
		for line := range strings.SplitSeq(head, "\n") {
			name, value, _ := strings.Cut(line, ":")
			in.Fields = append(in.Fields, Field{name, value})
		}
		Wait(in.Fields)
		r, err := FromHTTP(in, env)
		if err != nil {
			var refused *Refusal
			if !errors.As(err, &refused) || refused.Reason == "" {
				t.Fatalf("%v", err)
			}
			return
		}
		stays(t, r, env)
		if string(r.Body) != body || strings.ContainsAny(r.Target(), " ;#\\\"\r\n\x00") || strings.Contains(r.Path, "//") || strings.Contains(r.Path+"/", "/../") || strings.Contains(r.Path, " /") {
			t.Fatalf("%q: %+v", target, r)
		}
	})
}

func FuzzParse(f *testing.F) {
	f.Add("GET \"/v1/orders?a=1\"\nheader accept \"*/*\"")
	f.Add("POST \"/x\"\nheader content-type \"application/json\"\nbody\n{\"a\":1}")
	f.Add("POST \"/x\"\nheader content-type \"a/b\"\nbody base64\nAP8=")
	f.Add("GET \"/x\"\nheader range \"bytes=0-1\"\nheader x-team \"a\"")
	f.Fuzz(func(t *testing.T, text string) {
		Read(text, nil)
		r, err := Parse(text)
		if err != nil {
			return
		}
		if again, err := r.Text(); err != nil || again != text {
			t.Fatalf("%q is written as %q, %v", text, again, err)
		}
		env := &Env{}
		for _, h := range r.Fields {
			env.Headers = append(env.Headers, h.Name)
		}
		stays(t, r, env)
	})
}

func FuzzParseMessage(f *testing.F) {
	f.Add("POST /x\nContent-Type: text/plain\n\nhi")
	f.Add("POST /x\n{}")
	f.Fuzz(func(t *testing.T, text string) {
		if in, err := ParseMessage(text); err == nil {
			FromHTTP(in, nil)
		}
	})
}

var zero = regexp.MustCompile(`-0([],}]|$)`)

// What is read as JSON is JSON for the standard library as well, which knows
// more of it, and has the same in it.
func FuzzJSON(f *testing.F) {
	for _, s := range []string{`{"a":[1,-2.5e3,"\ud83d\ude00",null,true]}`, "12345678901234567890", "1e400", `{"a":1,"A":2}`, "[[[]]]", `"\`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		v, doubt, err := readJSON([]byte(s))
		if err != nil {
			return
		}
		if !json.Valid([]byte(s)) {
			t.Fatalf("%q is no JSON", s)
		}
		if doubt != "" {
			return
		}
		var want any
		if err := json.Unmarshal([]byte(s), &want); err != nil {
			t.Fatal(err)
		}
		a, _ := json.Marshal(v)
		var got any
		if err := json.Unmarshal(a, &got); err != nil {
			t.Fatal(err)
		}
		x, _ := json.Marshal(got)
		y, _ := json.Marshal(want)
		// A whole -0 is the int64 0.
		if zero.ReplaceAllString(string(x), "0$1") != zero.ReplaceAllString(string(y), "0$1") {
			t.Fatalf("%q: %s, want %s", s, x, y)
		}
	})
}

func BenchmarkRequest(b *testing.B) {
	body := []byte(`{"customer":"ada","items":[` + strings.TrimSuffix(strings.Repeat(`{"sku":"a-1","qty":2,"price":10.5},`, 28), ",") + `]}`)
	in := Incoming{"POST", "/v1/orders?dry=1", fields("Host", "orders", "Content-Type", "application/json", "Accept", "*/*", "User-Agent", "curl/8", "Content-Length", "1024", "Authorization", "Bearer x"), body}
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		r, err := FromHTTP(in, nil)
		if err != nil {
			b.Fatal(err)
		}
		text, err := r.Text()
		if err != nil {
			b.Fatal(err)
		}
		if _, err := Read(text, nil); err != nil {
			b.Fatal(err)
		}
	}
}
