package mask

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// objectsSet detects what the leak list below is made of.
func objectsSet(t testing.TB) *Set {
	return mustCompile(t, Rule{Detect: []string{"EMAIL", "CREDIT_CARD", "US_SSN", "IBAN", "SECRET"}, Operator: "redact"})
}

// maskObjects masks a whole answer in one piece.
func maskObjects(t testing.TB, s *Set, opt ObjectsOptions, in string) string {
	t.Helper()
	out, _, err := runObjects(s, opt, []byte(in), len(in)+1)
	if err != nil {
		t.Fatalf("%v\n%.2000s", err, in)
	}
	return string(out)
}

// runObjects masks an answer in pieces of a size.
func runObjects(s *Set, opt ObjectsOptions, in []byte, size int) (out []byte, rows int64, err error) {
	o := s.Objects("cluster", opt)
	for len(in) > 0 {
		n := min(len(in), size)
		if out, err = o.Write(out, in[:n]); err != nil {
			return out, o.Rows(), err
		}
		in = in[n:]
	}
	out, err = o.Close(out)
	return out, o.Rows(), err
}

// leaks are values that must not come out, and what of them would be telling.
var leaks = map[string][]string{
	"ada.lovelace@corp.example":                         {"lovelace", "ada."},
	"4111 1111 1111 1111":                               {"4111 1", "1111 1111"},
	"5500005555555559":                                  {"5500005", "5555559"},
	"078-05-1120":                                       {"078-05", "1120"},
	"DE89 3704 0044 0532 0130 00":                       {"DE89 3704", "0532"},
	"AKIAIOSFODNN7EXAMPLE":                              {"IOSFODNN"},
	"ghp_16C7e42F292c6912E7710c838347Ae178B4a":          {"16C7e42F"},
	"postgres://app:Tr0ub4dor3@db.internal:5432/orders": {"Tr0ub4dor3"},
	"-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkq\n-----END PRIVATE KEY-----": {"MIIEvQIBADANBgkq"},
}

// leaked says what of a value stands in an answer, in any of the forms that
// something may read.
func leaked(out []byte, value string) string {
	forms := [][]byte{out}
	for b := out; bytes.IndexByte(b, '\\') >= 0 && len(forms) < 6; {
		b = unescapeJSON(nil, b)
		forms = append(forms, b)
	}
	var walk func(v []byte, depth int)
	walk = func(v []byte, depth int) {
		for _, run := range bytes.FieldsFunc(v, func(r rune) bool {
			return r > 127 || !isAlnum(byte(r)) && r != '+' && r != '/' && r != '='
		}) {
			if raw, err := base64.StdEncoding.DecodeString(string(run)); err == nil && len(raw) > 3 && depth < 4 {
				forms = append(forms, raw, unescapeJSON(nil, raw))
				walk(raw, depth+1)
			}
		}
	}
	for _, f := range slices.Clone(forms) {
		walk(f, 0)
	}
	for _, f := range forms {
		for _, part := range leaks[value] {
			if bytes.Contains(f, []byte(part)) {
				return part
			}
		}
	}
	return ""
}

// quoteUnicode writes a string with every character as an escape.
func quoteUnicode(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		fmt.Fprintf(&b, `\u%04x`, r)
	}
	b.WriteByte('"')
	return b.String()
}

func quoteJSON(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// inForms gives a value in the forms in which it may stand in a document: each
// is a JSON string.
func inForms(value string) map[string]string {
	b64 := base64.StdEncoding.EncodeToString([]byte("it is " + value + " they said"))
	var gz bytes.Buffer
	z := gzip.NewWriter(&gz)
	fmt.Fprintf(z, `{"log": %q}`, value)
	z.Close()
	return map[string]string{
		"plain":       quoteJSON("before " + value + " behind"),
		"alone":       quoteJSON(value),
		"unicode":     quoteUnicode(value),
		"inner":       quoteJSON(`{"a":{"b":[1,` + quoteJSON(value) + `]}}`),
		"inner twice": quoteJSON(`{"a":` + quoteJSON(`[{"b":`+quoteUnicode(value)+`}]`) + `}`),
		"inner lines": quoteJSON("{\"a\":1}\n{\"a\":" + quoteUnicode(value) + "}\n"),
		"inner word":  quoteJSON(quoteUnicode(value)),
		"inner cut":   quoteJSON(`{"a":` + quoteUnicode(value) + `,"b":`),
		"yaml":        quoteJSON("user:\n  contact: " + value + "\n  level: 3\n"),
		"base64":      quoteJSON(b64),
		"base64 url":  quoteJSON(base64.RawURLEncoding.EncodeToString([]byte(value + "??>>"))),
		"base64 json": quoteJSON(base64.StdEncoding.EncodeToString([]byte(`{"v":` + quoteUnicode(value) + `}`))),
		"base64 text": quoteJSON(b64[:20] + "\n" + b64[20:] + "\n"),
		"json base64": quoteJSON(`{"v":"` + b64 + `"}`),
		"gzip":        quoteJSON(base64.StdEncoding.EncodeToString(gz.Bytes())),
	}
}

// TestObjectsLeaks puts each value in each form at each place of a document
// that is searched.
func TestObjectsLeaks(t *testing.T) {
	set := objectsSet(t)
	places := []string{
		`{"kind":"Pod","apiVersion":"v1","metadata":{"name":"p","annotations":{"note":%s}},"spec":{}}`,
		`{"kind":"Pod","apiVersion":"v1","metadata":{"name":"p","labels":{"note":%s}}}`,
		`{"kind":"Pod","apiVersion":"v1","metadata":{"annotations":{"kubectl.kubernetes.io/last-applied-configuration":%s}}}`,
		`{"kind":"Pod","apiVersion":"v1","spec":{"containers":[{"env":[{"name":"X","value":%s}]}]}}`,
		`{"kind":"Pod","apiVersion":"v1","spec":{"containers":[{"args":["-c",%s]}]}}`,
		`{"kind":"ConfigMap","apiVersion":"v1","data":{"file.txt":%s}}`,
		`{"kind":"ConfigMapList","apiVersion":"v1","metadata":{},"items":[{"metadata":{"name":"a"},"data":{"file.txt":%s}}]}`,
		`{"apiVersion":"example.com/v1","kind":"Widget","metadata":{"name":"w"},"spec":{"metadata":{"name":%s}}}`,
		`{"apiVersion":"example.com/v1","kind":"Widget","spec":{"apiVersion":%s,"kind":"x"}}`,
		`{"apiVersion":"example.com/v1","items":[{"spec":{"note":%s}}],"kind":"WidgetList"}`,
		`{"kind":"Table","apiVersion":"meta.k8s.io/v1","columnDefinitions":[{"name":"Note"}],"rows":[{"cells":[%s],"object":{"metadata":{"name":"x"}}}]}`,
		`{"kind":"Table","apiVersion":"meta.k8s.io/v1","rows":[{"cells":[],"object":{"data":{"x":%s}}}]}`,
		`{"kind":"Status","apiVersion":"v1","status":"Failure","message":%s}`,
		`{"kind":"Event","apiVersion":"v1","message":%s}`,
		`{"kind":"Widget","columnDefinitions":[{"name":%s}]}`,
		`{"kind":"Widget","metadata":{"name":{"x":%s},"uid":[[%[1]s]]}}`,
		`{"kind":"Widget","metadata":[{"name":%s}]}`,
		`[[[%s]]]`,
		`%s`,
	}
	for value := range leaks {
		for form, text := range inForms(value) {
			if form == "gzip" && len(value) > 60 {
				continue
			}
			for _, place := range places {
				in := fmt.Sprintf(place, text)
				if !json.Valid([]byte(in)) {
					t.Fatalf("%s is no JSON", in)
				}
				out := maskObjects(t, set, ObjectsOptions{}, in)
				if part := leaked([]byte(out), value); part != "" {
					t.Errorf("%s: %q came out:\nfrom %s\n  to %s", form, part, in, out)
				}
				if shapeOf(t, out) != shapeOf(t, in) {
					t.Errorf("the form has changed:\nfrom %s\n  to %s", in, out)
				}
			}
			out := maskObjects(t, set, ObjectsOptions{Watch: true}, `{"type":"ADDED","object":{"kind":"X","spec":{"v":`+text+`}}}`+"\n")
			if part := leaked([]byte(out), value); part != "" {
				t.Errorf("%s: watch: %q came out: %s", form, part, out)
			}
		}
		in := fmt.Sprintf(`{"kind":"ConfigMap","apiVersion":"v1","binaryData":{"x":%q}}`, base64.StdEncoding.EncodeToString([]byte("\x00\x01 "+value+" \xff\x80")))
		if part := leaked([]byte(maskObjects(t, set, ObjectsOptions{}, in)), value); part != "" {
			t.Errorf("binaryData: %q came out", part)
		}
	}
}

// shapeOf is a document without what its strings and numbers say: what a
// client with types depends on.
func shapeOf(t testing.TB, doc string) string {
	t.Helper()
	var b strings.Builder
	d := json.NewDecoder(strings.NewReader(doc))
	d.UseNumber()
	for {
		token, err := d.Token()
		if err != nil {
			if d.More() || err.Error() != "EOF" {
				t.Fatalf("%v: %s", err, doc)
			}
			return b.String()
		}
		switch v := token.(type) {
		case json.Delim:
			b.WriteString(v.String())
		default:
			fmt.Fprintf(&b, "%T ", v)
		}
	}
}

// TestObjectsKeepsStructure has what clients need come out as it was, whatever
// it looks like.
func TestObjectsKeepsStructure(t *testing.T) {
	set := mustCompile(t, Rule{Detect: Types(), Operator: "redact"})
	meta := `{"name":"10.1.2.3","generateName":"10.1.2.3-","namespace":"10.1.2.3","uid":"10.1.2.3","resourceVersion":"10.1.2.3","creationTimestamp":"2026-01-02T03:04:05Z","deletionTimestamp":"2026-01-02T03:04:05Z","selfLink":"https://x.example/a","continue":"ada@corp.example","ownerReferences":[{"apiVersion":"10.1.2.3/v1","kind":"10.1.2.3","name":"10.1.2.3","uid":"10.1.2.3","controller":true}],"managedFields":[{"manager":"kubectl","operation":"Update","apiVersion":"v1","time":"2026-01-02T03:04:05Z","fieldsType":"FieldsV1","fieldsV1":{"f:metadata":{"f:labels":{".":{},"f:app":{}}}}}],"labels":{"app":"web"},"generation":4}`
	for _, in := range []string{
		`{"kind":"Pod","apiVersion":"10.1.2.3/v1","metadata":` + meta + `}`,
		`{"kind":"PodList","apiVersion":"v1","metadata":{"continue":"ada@corp.example"},"items":[{"metadata":` + meta + `}]}`,
		`{"apiVersion":"v1","items":[{"apiVersion":"v1","kind":"PodList","items":[{"metadata":` + meta + `}]}],"kind":"List"}`,
		`{"kind":"Deployment","spec":{"template":{"metadata":` + meta + `,"spec":{}},"volumeClaimTemplates":[{"metadata":` + meta + `}]}}`,
		`{"kind":"CronJob","spec":{"jobTemplate":{"metadata":` + meta + `,"spec":{"template":{"metadata":` + meta + `}}}}}`,
		`{"kind":"Table","columnDefinitions":[{"name":"Created 2026-01-02","type":"string","format":"date","description":"see https://x.example/a","priority":0}],"rows":[{"cells":["web",7],"object":{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":` + meta + `}}]}`,
	} {
		if out := maskObjects(t, set, ObjectsOptions{}, in); out != in {
			t.Errorf("changed:\nfrom %s\n  to %s", in, out)
		}
		in = `{"type":"MODIFIED","object":` + in + "}\n" + `{"type":"BOOKMARK","object":{"kind":"Pod","apiVersion":"v1","metadata":{"resourceVersion":"12","creationTimestamp":null}}}` + "\n"
		if out := maskObjects(t, set, ObjectsOptions{Watch: true}, in); out != in {
			t.Errorf("changed in a watch:\nfrom %s\n  to %s", in, out)
		}
	}
}

// TestObjectsValues wants what becomes of single values.
func TestObjectsValues(t *testing.T) {
	set := mustCompile(t, Rule{Detect: Types(), Operator: "redact"})
	for _, c := range [][2]string{
		// Numbers stay numbers.
		{`{"spec":{"pan":4111111111111111,"port":8443,"at":-4111111111111111,"f":4.111111111111111e15}}`, `{"spec":{"pan":0,"port":8443,"at":0,"f":0}}`},
		{`{"spec":{"password":12345678,"passwordLength":12}}`, `{"spec":{"password":0,"passwordLength":12}}`},
		// Times stay times.
		{`{"status":{"startTime":"2026-01-02T03:04:05Z","at":"2026-01-02T03:04:05.123456Z","zone":"2026-01-02T03:04:05+02:00"}}`, `{"status":{"startTime":"1900-01-01T00:00:00Z","at":"1900-01-01T00:00:00.000000Z","zone":"1900-01-01T00:00:00Z"}}`},
		{`{"status":{"message":"since 2026-01-02T03:04:05Z"}}`, `{"status":{"message":"since [DATE]"}}`},
		// Secrets by the name beside them.
		{`{"spec":{"env":[{"name":"DB_PASSWORD","value":"hunter2!"},{"name":"DB_HOST","value":"db"}]}}`, `{"spec":{"env":[{"name":"DB_PASSWORD","value":"[SECRET]"},{"name":"DB_HOST","value":"db"}]}}`},
		{`{"spec":{"env":[{"name":"SSN","value":"078051120"}]}}`, `{"spec":{"env":[{"name":"SSN","value":"[US_SSN]"}]}}`},
		{`{"spec":{"args":["--db-password","hunter2!","--port","80"]}}`, `{"spec":{"args":["--db-password","[SECRET]","--port","80"]}}`},
		{`{"spec":{"args":["--db-password=hunter2!"]}}`, `{"spec":{"args":["--db-password=[SECRET]"]}}`},
		{`{"spec":{"dbPassword":"hunter2!","passwords":["swordfish1","swordfish2"]}}`, `{"spec":{"dbPassword":"[SECRET]","passwords":["[SECRET]","[SECRET]"]}}`},
		{`{"spec":{"env":[{"name":"DB_PASSWORD","valueFrom":{"secretKeyRef":{"name":"db-password","key":"password"}}}]}}`, `{"spec":{"env":[{"name":"DB_PASSWORD","valueFrom":{"secretKeyRef":{"name":"db-password","key":"password"}}}]}}`},
		// Keys.
		{`{"data":{"ada@corp.example":"x"}}`, `{"data":{"[EMAIL]":"x"}}`},
		{`{"metadata":{"managedFields":[{"fieldsV1":{"f:spec":{"f:mails":{"v:\"ada@corp.example\"":{}}}}}]}}`, `{"metadata":{"managedFields":[{"fieldsV1":{"f:spec":{"f:mails":{"v:\"[EMAIL]\"":{}}}}}]}}`},
		// A cell speaks of what its column is called.
		{`{"kind":"Table","columnDefinitions":[{"name":"Name"},{"name":"SSN"}],"rows":[{"cells":["078051120","078051120"]},{"cells":["a",78051120]}]}`, `{"kind":"Table","columnDefinitions":[{"name":"Name"},{"name":"SSN"}],"rows":[{"cells":["078051120","[US_SSN]"]},{"cells":["a",78051120]}]}`},
		// Keys of the same meaning in another spelling.
		{`{"\u006betadata":1,"m\u0065tadata":{"n\u0061me":"10.1.2.3"}}`, `{"\u006betadata":1,"m\u0065tadata":{"n\u0061me":"10.1.2.3"}}`},
		// kubectl's copy keeps its own structure.
		{`{"kind":"Pod","metadata":{"annotations":{"kubectl.kubernetes.io/last-applied-configuration":"{\"kind\":\"Pod\",\"metadata\":{\"name\":\"10.1.2.3\"},\"spec\":{\"ip\":\"10.1.2.3\"}}\n"}}}`, `{"kind":"Pod","metadata":{"annotations":{"kubectl.kubernetes.io/last-applied-configuration":"{\"kind\":\"Pod\",\"metadata\":{\"name\":\"10.1.2.3\"},\"spec\":{\"ip\":\"[IP]\"}}\n"}}}`},
		// Other copies do not.
		{`{"kind":"Pod","metadata":{"annotations":{"copy":"{\"metadata\":{\"name\":\"10.1.2.3\"}}"}}}`, `{"kind":"Pod","metadata":{"annotations":{"copy":"{\"metadata\":{\"name\":\"[IP]\"}}"}}}`},
		// Clean values come out byte by byte, however they are written.
		{"{ \"a\" : [ 1 , -0.5e+3,true,false , null ],\r\n\t\"\\u00e4\":\"\\/\\b\\f\\n\\r\\t\\\\ \\ud83d\\ude00 ä\" }", "{ \"a\" : [ 1 , -0.5e+3,true,false , null ],\r\n\t\"\\u00e4\":\"\\/\\b\\f\\n\\r\\t\\\\ \\ud83d\\ude00 ä\" }"},
		{` {"kind":"Pod"} `, ` {"kind":"Pod"} `},
		{`12 `, `12 `}, {`12`, `12`}, {`"x"`, `"x"`}, {`null`, `null`}, {``, ``},
	} {
		if out := maskObjects(t, set, ObjectsOptions{}, c[0]); out != c[1] {
			t.Errorf("\nfrom %s\n  to %s\nwant %s", c[0], out, c[1])
		}
	}
}

// TestObjectsOperators has a replacement of each operator be a string that
// stands in JSON.
func TestObjectsOperators(t *testing.T) {
	in := `{"spec":{"a":"ada@corp.example","b":"4111 1111 1111 1111","c":"2026-01-02T03:04:05Z","d":4111111111111111,"e":"eyJtYWlsIjoiYWRhQGNvcnAuZXhhbXBsZSJ9"}}`
	for _, op := range Operators() {
		set, err := Compile([]Rule{{Detect: Types(), Operator: op}}, []byte("0123456789abcdef"))
		if err != nil {
			t.Fatal(err)
		}
		out := maskObjects(t, set, ObjectsOptions{}, in)
		if shapeOf(t, out) != shapeOf(t, in) {
			t.Errorf("%s: the form has changed: %s", op, out)
		}
		for _, v := range []string{"ada@", "4111", "03:04:05", "eyJtYWlsIjoiYWRh"} {
			if strings.Contains(out, v) {
				t.Errorf("%s: %q came out: %s", op, v, out)
			}
		}
	}
}

// TestObjectsRows counts objects.
func TestObjectsRows(t *testing.T) {
	set := mustCompile(t)
	for _, c := range []struct {
		in    string
		watch bool
		want  int64
	}{
		{`{"kind":"Pod"}`, false, 1},
		{`{"kind":"PodList","items":[{},{},{"items":[{},{}]}]}`, false, 3},
		{`{"apiVersion":"v1","items":[{}],"kind":"PodList"}`, false, 1},
		{`{"kind":"PodList","items":[]}`, false, 0},
		{`{"kind":"PodList","items":null}`, false, 0},
		{`{"kind":"Table","rows":[{"cells":[1]},{"cells":[{}]}]}`, false, 2},
		{`{"kind":"Widget","rows":[{},{}],"items":[{},{}]}`, false, 1},
		{`{"kind":"Status"}`, false, 1},
		{`"x"`, false, 1}, {``, false, 0}, {"\n", true, 0},
		{`{"type":"ADDED","object":{"kind":"Pod"}}{"type":"ADDED","object":{"kind":"Table","rows":[{},{}]}}` + "\n", true, 2},
	} {
		for size := 1; size < 9; size++ {
			_, rows, err := runObjects(set, ObjectsOptions{Watch: c.watch}, []byte(c.in), size)
			if err != nil || rows != c.want {
				t.Errorf("%s: %d rows, want %d: %v", c.in, rows, c.want, err)
			}
		}
	}
}

// TestObjectsRefuses wants an error for what is no JSON, or not whole, or
// beyond a bound, with and without rules.
func TestObjectsRefuses(t *testing.T) {
	bad := []string{
		`{`, `[`, `"`, `"x`, `{"a"`, `{"a":`, `{"a":1`, `{"a":1,`, `[1,`, `[1`, `tru`, `-`, `{"a":"\`,
		`}`, `]`, `{]`, `[}`, `{"a":1]`, `[1}`, `{"a"}`, `{"a",1}`, `{a:1}`, `{1:1}`, `{"a":}`, `{"a":1,}`, `[1,]`, `[,1]`, `{,}`, `[1 2]`, `{"a":1 "b":2}`, `{"a"::1}`, `:`, `,`,
		`nul`, `True`, `NaN`, `01`, `1.`, `.5`, `1e`, `1e+`, `+1`, `--1`, `0x10`, `1-2`, `-a`,
		"\"\n\"", "\"\x00\"", `"\x"`, `"\u12"`, `"\u12g4"`, "\"\xff\"", "\"\xc3\"", "\ufeff{}",
		`{} {}`, `{}x`, `{}1`, `1 2`, `'a'`, `/* */ {}`,
		strings.Repeat("[", MaxObjectsDepth+1) + strings.Repeat("]", MaxObjectsDepth+1),
		strings.Repeat("1", maxObjectsWord+1),
		`{"` + strings.Repeat("k", MaxObjectsKey+1) + `":1}`,
		`"` + strings.Repeat("x", MaxObjectsString+1) + `"`,
		"k8s\x00\x0a\x00", "<html>", "a: b\n",
	}
	for _, rules := range [][]Rule{nil, {{Detect: Types(), Operator: "redact"}}} {
		set := mustCompile(t, rules...)
		for _, in := range bad {
			for _, size := range []int{1, 3, 4096, 1 << 30} {
				if size < 4096 && len(in) > 1<<16 {
					continue
				}
				if out, _, err := runObjects(set, ObjectsOptions{}, []byte(in), size); !errors.Is(err, ErrObjects) {
					t.Errorf("%.60q in pieces of %d is taken: %v: %.60q", in, size, err, out)
				}
			}
		}
		o := set.Objects("cluster", ObjectsOptions{})
		if out, err := o.Write([]byte("before"), []byte(`{"a":1}}`)); err == nil || string(out) != "before" {
			t.Errorf("%q, %v", out, err)
		}
		if _, err := o.Write(nil, []byte(`{}`)); err == nil {
			t.Error("it went on after an error")
		}
		if _, err := o.Close(nil); err == nil {
			t.Error("it was closed after an error")
		}
	}
	deep := strings.Repeat("[", MaxObjectsDepth) + strings.Repeat("]", MaxObjectsDepth)
	if out := maskObjects(t, mustCompile(t), ObjectsOptions{}, deep); out != deep {
		t.Error("the deepest document that is allowed was changed")
	}
}

// TestObjectsInnerDepth replaces what lies too deep to be looked into.
func TestObjectsInnerDepth(t *testing.T) {
	set := objectsSet(t)
	text := quoteUnicode("ada.lovelace@corp.example")
	for depth := range 14 {
		out := maskObjects(t, set, ObjectsOptions{}, `{"spec":{"v":`+text+`}}`)
		b := []byte(out)
		for range 20 {
			if bytes.Contains(b, []byte("lovelace")) {
				t.Fatalf("it came out of depth %d", depth)
			}
			b = unescapeJSON(nil, b)
		}
		text = quoteJSON("[" + text + "]")
	}
}

// TestObjectsBombs does not unpack what is made to be large, or packed twice.
func TestObjectsBombs(t *testing.T) {
	set := objectsSet(t)
	pack := func(v string) string {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		io.WriteString(z, v)
		z.Close()
		return base64.StdEncoding.EncodeToString(b.Bytes())
	}
	r := rand.New(rand.NewPCG(9, 9))
	usual := make([]byte, 200<<10)
	for i := range usual {
		usual[i] = "abcdefgh: \n"[r.IntN(11)]
	}
	for what, v := range map[string]string{
		"zeros":   pack(strings.Repeat("0", 40<<20)),
		"twice":   pack(`{"a":"` + pack("nothing in it") + `"}`),
		"cut":     pack(string(usual))[:40<<10],
		"no gzip": base64.StdEncoding.EncodeToString([]byte("\x1f\x8b and some more of it")),
		"small":   pack("nothing"),
		"usual":   pack(string(usual)),
	} {
		shown := what == "usual" || what == "small"
		in := `{"kind":"ConfigMap","data":{"v":"` + v + `"}}`
		if out := maskObjects(t, set, ObjectsOptions{}, in); (out == in) != shown {
			t.Errorf("%s: shown: %v, want %v", what, out == in, shown)
		}
	}
}

// random documents

func randomString(r *rand.Rand) string {
	parts := []string{"web", "ä", "\\", "\"", "\n", "{", "[1]", "a b", "kind", "/", "\u2028", "😀", "0", "data", "=", ": "}
	var b strings.Builder
	for range r.IntN(5) {
		b.WriteString(parts[r.IntN(len(parts))])
	}
	if r.IntN(3) == 0 {
		i := r.IntN(len(leaks))
		for v := range leaks {
			if i--; i < 0 {
				b.WriteString(" " + v + " ")
				break
			}
		}
	}
	return b.String()
}

func randomValue(r *rand.Rand, depth int) any {
	keys := []string{"kind", "apiVersion", "metadata", "items", "rows", "cells", "object", "spec", "template", "data", "stringData", "binaryData", "annotations", "name", "value", "labels", "managedFields", "message", "details", "causes", lastApplied, "x", "password", ""}
	switch n := r.IntN(10); {
	case n < 3 && depth > 0:
		m := map[string]any{}
		for range r.IntN(5) {
			m[keys[r.IntN(len(keys))]] = randomValue(r, depth-1)
		}
		return m
	case n < 5 && depth > 0:
		a := []any{}
		for range r.IntN(4) {
			a = append(a, randomValue(r, depth-1))
		}
		return a
	case n == 5:
		return []any{true, false, nil, 1.5, -3, 4111111111111111, 1e300}[r.IntN(7)]
	case n == 6 && depth > 0:
		return quoteJSON(randomValue(r, depth-1))
	case n == 7:
		return base64.StdEncoding.EncodeToString([]byte(randomString(r)))
	case n == 8:
		return []string{"Secret", "Table", "v1", "SecretList", "Status"}[r.IntN(5)]
	}
	return randomString(r)
}

// TestObjectsSplits has the same come out wherever the pieces end, and has it
// be a document of the same form.
func TestObjectsSplits(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	sets := []*Set{mustCompile(t), objectsSet(t), mustCompile(t, Rule{Detect: Types(), Operator: "partial"})}
	for trial := range 600 {
		set := sets[trial%len(sets)]
		opt := ObjectsOptions{Secrets: r.IntN(3) == 0, Watch: r.IntN(3) == 0}
		in := []byte(quoteJSON(randomValue(r, 5)))
		if opt.Watch {
			in = append(append(append(append(in, '\n'), `{"type":"ADDED","object":`...), in...), "}\n"...)
		}
		whole, rows, err := runObjects(set, opt, in, len(in)+1)
		if errors.Is(err, errLate) {
			continue
		}
		if err != nil {
			t.Fatalf("%v: %s", err, in)
		}
		if shapeOf(t, string(whole)) != shapeOf(t, string(in)) {
			t.Fatalf("the form has changed:\n%s\n%s", in, whole)
		}
		for cut := 1; cut < len(in); cut++ {
			o := set.Objects("cluster", opt)
			out, err := o.Write(nil, in[:cut])
			if err == nil {
				out, err = o.Write(out, in[cut:])
			}
			if err == nil {
				out, err = o.Close(out)
			}
			if err != nil || !bytes.Equal(out, whole) || o.Rows() != rows {
				t.Fatalf("cut at %d: %v, %d rows, want %d\nfrom %s\n  to %s\nwant %s", cut, err, o.Rows(), rows, in, out, whole)
			}
		}
		if out, _, err := runObjects(set, opt, in, 1); err != nil || !bytes.Equal(out, whole) {
			t.Fatalf("byte by byte: %v\n%s\n%s", err, out, whole)
		}
	}
}

// TestObjectsMemory holds no more than a string, and gives it back.
func TestObjectsMemory(t *testing.T) {
	set := objectsSet(t)
	o := set.Objects("cluster", ObjectsOptions{})
	in := []byte(`{"kind":"ConfigMap","data":{"big":"` + strings.Repeat("x ", 2<<20) + `","small":"ada@corp.example"}}`)
	var out []byte
	for rest := in; len(rest) > 0; {
		n := min(len(rest), 4096)
		var err error
		if out, err = o.Write(out[:0], rest[:n]); err != nil {
			t.Fatal(err)
		}
		rest = rest[n:]
	}
	if _, err := o.Close(nil); err != nil {
		t.Fatal(err)
	}
	for _, b := range [][]byte{o.held, o.key, o.text, o.out, o.repl, o.raw, o.flat} {
		if cap(b) > 2*objectsKeep {
			t.Errorf("%d bytes are kept", cap(b))
		}
	}
}

// TestObjectsDoesNotAllocate for each value.
func TestObjectsDoesNotAllocate(t *testing.T) {
	if raced {
		t.Skip("counted without the race detector")
	}
	list := podList(20)
	dst := make([]byte, 0, 2*len(list))
	for _, set := range []*Set{mustCompile(t), objectsSet(t)} {
		o := set.Objects("cluster", ObjectsOptions{Watch: true})
		event := append([]byte(`{"type":"ADDED","object":`), list...)
		event = append(event, "}\n"...)
		if n := testing.AllocsPerRun(20, func() {
			if _, err := o.Write(dst, event); err != nil {
				t.Fatal(err)
			}
		}); n > 0 {
			t.Errorf("%v allocations", n)
		}
	}
}

func FuzzObjects(f *testing.F) {
	f.Add([]byte(`{"kind":"Secret","apiVersion":"v1","data":{"a":"aHVudGVyMg=="}}`), uint8(3), uint8(1))
	f.Add([]byte(`{"type":"ADDED","object":{"metadata":{"annotations":{"a":"{\"b\":\"ada@corp.example\"}"}}}}`), uint8(9), uint8(2))
	f.Add([]byte(`{"kind":"Table","columnDefinitions":[{"name":"a"}],"rows":[{"cells":["\ud83d\u0000",1e5]}]}`), uint8(1), uint8(4))
	sets := []*Set{mustCompile(f), objectsSet(f)}
	f.Fuzz(func(t *testing.T, in []byte, size, mode uint8) {
		set := sets[int(mode>>2)%2]
		opt := ObjectsOptions{Secrets: mode&1 != 0, Watch: mode&2 != 0}
		whole, rows, err := runObjects(set, opt, in, len(in)+1)
		out, again, err2 := runObjects(set, opt, in, int(size)+1)
		if (err == nil) != (err2 == nil) || err == nil && (!bytes.Equal(out, whole) || rows != again) {
			t.Fatalf("in pieces of %d: %v, %v\n%q\n%q\n%q", size, err, err2, in, whole, out)
		}
		if err != nil || opt.Watch {
			return
		}
		if len(bytes.TrimSpace(in)) > 0 && (!json.Valid(in) || !json.Valid(whole)) {
			t.Fatalf("taken, but not JSON: %q\n%q", in, whole)
		}
		if shapeOf(t, string(in)) != shapeOf(t, string(whole)) {
			t.Fatalf("the form has changed: %q\n%q", in, whole)
		}
	})
}
