package http

import (
	"reflect"
	"strings"
	"testing"
)

func TestBodiesRefused(t *testing.T) {
	for _, m := range []string{"GET", "HEAD", "OPTIONS", "DELETE"} {
		_, err := FromHTTP(Incoming{m, "/x", fields("Content-Type", "application/json"), []byte("{}")}, nil)
		refusal(t, err)
	}
	const ct = "application/json"
	for _, c := range []struct {
		status     int
		kind, body string
	}{
		{415, "", "x"}, {415, "json", "{}"}, {415, "application/json, text/plain", "{}"}, {415, "application/json; charset", "{}"}, {415, "application/", "{}"}, {415, "/json", "{}"}, {415, "text/plain; a=b; a=c", "x"},
		{415, "application/json; charset=utf-16", "{}"}, {415, "text/plain; charset=utf-7", "x"}, {415, typeForm + "; charset=ibm037", "a=b"}, {415, "text/html; charset=iso-8859-1", "x"}, {415, "multipart/form-data", "x"}, {415, "multipart/form-data; boundary=\"a b\"", "x"}, {415, "multipart/form-data; boundary=" + strings.Repeat("a", 71), "x"},
		{400, ct, "{"}, {400, ct, ""[:0] + " "}, {400, ct, "{}{}"}, {400, ct, "{} x"}, {400, ct, "\ufeff{}"}, {400, ct, `{"a":1,"a":2}`}, {400, ct, `{"a":1,"\u0061":2}`}, {400, ct, `{"x":{"a":1,"a":2}}`}, {400, ct, `[{"a":1,"a":2}]`},
		{400, ct, `{"a":"` + "\xff" + `"}`}, {400, ct, `"\ud800"`}, {400, ct, `"\ud800\u0041"`}, {400, ct, `"\udc00\ud800"`}, {400, ct, `"\ud800u0041"`}, {400, ct, `"\x"`}, {400, ct, "\"a\nb\""}, {400, ct, `"a`}, {400, ct, `"\`}, {400, ct, `"\u12"`}, {400, ct, `"\u+123"`},
		{400, ct, "01"}, {400, ct, "+1"}, {400, ct, "1."}, {400, ct, ".5"}, {400, ct, "1e"}, {400, ct, "-"}, {400, ct, "0x1"}, {400, ct, "NaN"}, {400, ct, "Infinity"}, {400, ct, "'a'"}, {400, ct, "{a:1}"}, {400, ct, "[1,]"}, {400, ct, `{"a":1,}`}, {400, ct, "[1 2]"}, {400, ct, "/*x*/1"}, {400, ct, "nul"}, {400, ct, "True"}, {400, ct, "{]"}, {400, ct, `{"a"}`}, {400, ct, `{,}`},
		{400, ct, strings.Repeat("[", maxDepth+1) + strings.Repeat("]", maxDepth+1)}, {400, ct, "[" + strings.Repeat("0,", maxValues) + "0]"},
		{400, ct, `{"_method":"DELETE"}`}, {400, ct, `{"a":1,"_METHOD":"DELETE"}`}, {400, ct, `{"\u005fmethod":"DELETE"}`}, {400, "application/vnd.api+json", `{"_method":"DELETE"}`}, {400, "text/plain", ` {"_method":"DELETE"}`}, {400, ct, `{"X-HTTP-Method-Override":"PUT"}`},
		{400, typeForm, "a=1;b=2"}, {400, typeForm, "a=%"}, {400, typeForm, "a=%ff"}, {400, typeForm, "a b"}, {400, typeForm, "a=\u00fc"}, {400, typeForm, "_method=DELETE"}, {400, typeForm, "a=1&%5fMethod=DELETE"}, {415, typeForm, `{"a":1}`}, {415, typeForm, "[1]"}, {400, typeForm, "a=1\r\n"}, {400, typeForm, strings.Repeat("a&", maxPairs) + "a"},
	} {
		in := post(c.kind, c.body)
		_, err := FromHTTP(in, nil)
		if err == nil {
			t.Errorf("%s %.60q is let through", c.kind, c.body)
			continue
		}
		if r := refusal(t, err); r.Status != c.status {
			t.Errorf("%s %.60q: %+v", c.kind, c.body, r)
		}
	}
	if _, err := FromHTTP(Incoming{"POST", "/x", fields("Content-Type", "a/b"), make([]byte, MaxBody+1)}, nil); refusal(t, err).Status != 413 {
		t.Error(err)
	}
	if _, err := FromHTTP(Incoming{"POST", "/x", nil, []byte("x")}, nil); refusal(t, err).Status != 415 {
		t.Error(err)
	}
}

func TestTypes(t *testing.T) {
	for kind, want := range map[string]string{
		"Application/JSON":                           "application/json",
		"application/json;charset=UTF-8":             "application/json; charset=utf-8",
		"application/json; charset=\"utf-8\"":        "application/json; charset=utf-8",
		"application/json;":                          "application/json",
		"text/plain ; B=\"x y\" ; a=1":               `text/plain; a=1; b="x y"`,
		"text/plain; charset*0=ut; charset*1=f-8":    "text/plain; charset=utf-8",
		"application/vnd.api+json; ext=\"bulk\"":     "application/vnd.api+json; ext=bulk",
		"multipart/form-data; boundary=\"--a'(b):\"": `multipart/form-data; boundary="--a'(b):"`,
	} {
		if r := roundTrip(t, post(kind, "1"), nil); r.field("content-type") != want {
			t.Errorf("%s: sent as %s", kind, r.field("content-type"))
		}
	}
	// Without a body there is nothing that could have a type.
	for _, m := range []string{"GET", "POST"} {
		if r := roundTrip(t, Incoming{m, "/x", fields("Content-Type", "nonsense"), []byte{}}, nil); r.Fields != nil || r.Body != nil {
			t.Errorf("%+v", r)
		}
	}
}

func read(t *testing.T, in Incoming) (body any, complete bool, hint string) {
	t.Helper()
	text, err := roundTrip(t, in, nil).Text()
	if err != nil {
		t.Fatal(err)
	}
	reading, err := Read(text, nil)
	if err != nil {
		t.Fatal(err)
	}
	e := reading.Effect
	if e.Complete != (e.Hint == "") || e.ReadOnly() && in.Method == "POST" {
		t.Errorf("%+v", e)
	}
	return e.HTTP.Body, e.Complete, e.Hint
}

func TestBodies(t *testing.T) {
	deep := strings.Repeat("[", maxDepth) + strings.Repeat("]", maxDepth)
	for _, c := range []struct {
		kind, body string
		want       any
		complete   bool
	}{
		{"application/json", ` {"a" : 1, "b":[true,false,null,"x",-2,1.5,1e2,0,-0.0]} `, map[string]any{"a": int64(1), "b": []any{true, false, nil, "x", int64(-2), 1.5, 100.0, int64(0), 0.0}}, true},
		{"application/merge-patch+json", `{"a":{}}`, map[string]any{"a": map[string]any{}}, true},
		{"text/json", `[]`, []any{}, true},
		{"application/json", `"a\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00é"`, "a\"\\/\b\f\n\r\té😀é", true},
		{"application/json", "null", nil, true},
		{"application/json", "9223372036854775807", int64(9223372036854775807), true},
		{"application/json", "-9223372036854775808", int64(-9223372036854775808), true},
		{"application/json", "9223372036854775808", float64(1 << 63), false},
		{"application/json", "12345678901234567890", 12345678901234567890.0, false},
		{"application/json", "100000000000000000000", 1e20, true},
		{"application/json", "1e400", nil, false},
		{"application/json", "1e-400", 0.0, false},
		{"application/json", "0e999999999999", 0.0, false},
		{"application/json", "0.1", 0.1, true},
		{"application/json", "1.10E+3", 1100.0, true},
		{"application/json", "0.10000000000000000001", 0.1, false},
		{"application/json", `{"a":1,"A":2}`, map[string]any{"a": int64(1), "A": int64(2)}, false},
		{"application/json", `{"task":1,"ta\u017fk":2}`, map[string]any{"task": int64(1), "taſk": int64(2)}, false},
		{"application/json", `{"A":1,"b":2,"a":3}`, map[string]any{"A": int64(1), "b": int64(2), "a": int64(3)}, false},
		{"application/json", `{"b":1,"C":2,"a":3}`, map[string]any{"b": int64(1), "C": int64(2), "a": int64(3)}, true},
		{"application/json", "-0", int64(0), true},
		{"application/json", `{"a":{"A":1},"b":{"a":1}}`, map[string]any{"a": map[string]any{"A": int64(1)}, "b": map[string]any{"a": int64(1)}}, true},
		{"application/json", `{"x":{"_method":"y"},"method":"z"}`, map[string]any{"x": map[string]any{"_method": "y"}, "method": "z"}, true},
		{typeForm, "a=1&b=x+y&a=2&c", map[string]any{"a": []string{"1", "2"}, "b": "x y", "c": ""}, true},
		{typeForm, "a=1&A=2", map[string]any{"a": "1", "A": "2"}, false},
		{typeForm, "a.b=1&a_b=2", map[string]any{"a.b": "1", "a_b": "2"}, false},
		{typeForm, "a=1&a[]=2", map[string]any{"a": "1", "a[]": "2"}, false},
		{typeForm, "f[a]=1&f[b]=2", map[string]any{"f[a]": "1", "f[b]": "2"}, true},
		{"text/plain", "hello", nil, true},
		{"text/plain", `{"cancel":"all"}`, map[string]any{"cancel": "all"}, true},
		{"text/plain", "\n [1]", []any{int64(1)}, true},
		{"text/plain", `{"cancel":`, nil, false},
		{"text/plain", `{"a":1,"a":2}`, nil, false},
		{"application/x-ndjson", "{}\n{}", nil, false},
		{"text/plain", "\ufeff{}", nil, false},
		{"application/octet-stream", "{\x00}\x00", nil, false},
		{"application/octet-stream", "\xff\xfe{\x00}\x00", nil, false},
		{"application/octet-stream", "\x00\x00\x00{\x00\x00\x00}", nil, false},
		{"application/octet-stream", "\x89PNG\x00\xff", nil, true},
		{"application/xml", "<a/>", nil, true},
		{"text/plain", "caf\u00e9\r\n\tb\n", nil, true},
		{"text/plain", "\u0085", nil, true},
	} {
		got, complete, hint := read(t, post(c.kind, c.body))
		if !reflect.DeepEqual(got, c.want) || complete != c.complete {
			t.Errorf("%s %q: %#v %v (%s), want %#v %v", c.kind, c.body, got, complete, hint, c.want, c.complete)
		}
	}
	if _, complete, _ := read(t, post("application/json", deep)); !complete {
		t.Error("not as deep as it may be")
	}
	// The same of a query.
	for target, want := range map[string]bool{"/x?a=1&a=2": true, "/x?a=1&A=2": false, "/x?a.b&a_b": false, "/x?a&+a": false, "/x?a[]=1&a=2": false, "/x?a[b]=1&a[c]=2": true, "/x?a[]=1&a[]=2": true, "/x?k&%E2%84%AA": false} {
		if _, complete, _ := read(t, get(target)); complete != want {
			t.Errorf("%s: complete %v", target, complete)
		}
	}
}

func TestMultipart(t *testing.T) {
	part := func(disposition, body string) string {
		return "--B\r\nContent-Disposition: " + disposition + "\r\n\r\n" + body + "\r\n"
	}
	const end = "--B--\r\n"
	good := part(`form-data; name="a"`, "1") + part(`form-data; name="f"; filename="payment_method.csv"`, "_method=x\r\nname=_method")
	for body, want := range map[string]bool{
		good + end:                              true,
		good + "--B--":                          true,
		part(`form-data; name=a`, "\x00") + end: true,
		good:                                    false,
		"x\r\n" + good + end:                    false,
		good + end + "x":                        false,
		"":                                      false,
		"nonsense":                              false,
		strings.ReplaceAll(good+end, "\r\n", "\n"):                                    false,
		part("attachment; name=a", "1") + end:                                         false,
		part("form-data", "1") + end:                                                  false,
		part("form-data; name=a; name=b", "1") + end:                                  false,
		part("form-data; name=a\r\nContent-Disposition: form-data; name=b", "") + end: false,
		"--B\r\n\r\n1\r\n" + end:                                                      false,
		strings.Repeat(part("form-data; name=a", ""), maxParts+1) + end:               false,
	} {
		if body == "" {
			continue
		}
		if _, complete, hint := read(t, post("multipart/form-data; boundary=B", body)); complete != want {
			t.Errorf("%.200q: complete %v (%s)", body, complete, hint)
		}
	}
	for _, d := range []string{`form-data; name="_method"`, `form-data; name=_METHOD`, `form-data; name="a"; name="_method"`, `form-data; name*=utf-8''_method`, `form-data; name*=utf-8''%5fmethod`, `form-data; name*0="_met"; name*1="hod"`, `form-data; NAME="_method"`, `form-data; name = "_method"`, `form-data; name='_method'`, `form-data; name="x-http-method-override"`,
		"form-data; name=a\r\nContent-Disposition: form-data; name=_method"} {
		if _, err := FromHTTP(post("multipart/form-data; boundary=B", part(d, "DELETE")+end), nil); err == nil {
			t.Errorf("%s is let through", d)
		}
	}
}
