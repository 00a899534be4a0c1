package mask

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

var plain = ObjectsOptions{Plain: true}

// TestPlainLeaks puts each value in each form at places that have a meaning in
// an answer of Kubernetes, or none.
func TestPlainLeaks(t *testing.T) {
	set := objectsSet(t)
	places := []string{
		`{"kind":"Pod","metadata":{"name":%s}}`, `{"metadata":{"uid":%s,"continue":%[1]s}}`, `{"kind":%s}`, `{"apiVersion":%s}`,
		`{"data":%s}`, `{"data":{"a":%s}}`, `{"stringData":%s}`, `{"annotations":{"a":%s}}`, `{"columnDefinitions":[{"name":%s}]}`,
		`{"kind":"Secret","data":{"a":%s}}`, `{"type":%s,"object":%[1]s}`, `{"name":{"x":[%s]}}`, `{"value":[%s,{"key":%[1]s}]}`,
		`{"name":"a","value":%s}`, `[[[%s]]]`, `%s`, `{"a":1,"a":%s}`, `{"ownerReferences":[{"uid":%s}]}`, `{"rows":[{"cells":[%s]}]}`,
	}
	for value := range leaks {
		for form, text := range inForms(value) {
			if form == "gzip" && len(value) > 60 {
				continue
			}
			for _, place := range places {
				in := fmt.Sprintf(place, text)
				out := maskObjects(t, set, plain, in)
				if part := leaked([]byte(out), value); part != "" || !json.Valid([]byte(out)) {
					t.Errorf("%s: %q came out:\nfrom %s\n  to %s", form, part, in, out)
				}
			}
		}
	}
}

// TestPlain masks what it must, and nothing else.
func TestPlain(t *testing.T) {
	set := objectsSet(t)
	many := ObjectsOptions{Plain: true, Many: true}
	for _, c := range []struct {
		opt      ObjectsOptions
		in, want string
	}{
		{plain, `{"kind":"Secret","apiVersion":"v1","data":{"a":"aGVsbG8="},"stringData":{"b":"c"}}`, `{"kind":"Secret","apiVersion":"v1","data":{"a":"aGVsbG8="},"stringData":{"b":"c"}}`},
		{plain, `{"data":{"a":"b"},"kind":"Secret"}`, `{"data":{"a":"b"},"kind":"Secret"}`},
		{plain, `{"note":"{\"kind\":\"Secret\",\"stringData\":{\"b\":\"c\"}}"}`, `{"note":"{\"kind\":\"Secret\",\"stringData\":{\"b\":\"c\"}}"}`},
		{ObjectsOptions{Plain: true, Secrets: true, Watch: true}, `{"data":"x"}`, `{"data":"x"}`},
		{plain, `{"ada@corp.example":3}`, `{"[EMAIL]":3}`},
		{plain, `{"a":{"ada@corp.example":3,"x":1,"bob@corp.example":4},"cyd@corp.example":{}}`, `{"a":{"[EMAIL]":3,"x":1,"[EMAIL]#2":4},"[EMAIL]":{}}`},
		{plain, `{"\u0061da@corp.example":3}`, `{"[EMAIL]":3}`},
		{plain, `"ada@corp.example"`, `"[EMAIL]"`},
		{plain, `4111111111111111`, `0`}, {plain, `[4111111111111111,4111111111111112]`, `[0,4111111111111112]`},
		{plain, `{"a":4.111111111111111e15,"b":-4111111111111111,"c":411111111111111.1e1}`, `{"a":0,"b":0,"c":0}`},
		{plain, `{"ssn":536228147,"id":536228147}`, `{"ssn":0,"id":536228147}`},
		{plain, `{"name":"db_password","value":"hunter2hunter2"}`, `{"name":"db_password","value":"[SECRET]"}`},
		{plain, `true`, `true`}, {plain, ` null `, ` null `}, {plain, ``, ``}, {plain, "\n", "\n"},
		{many, "", ""}, {many, "1\n2\n\n\"ada@corp.example\"\n", "1\n2\n\n\"[EMAIL]\"\n"},
		{many, "{\"a\":\"ada@corp.example\"}\r\n{}\n[]{}", "{\"a\":\"[EMAIL]\"}\r\n{}\n[]{}"},
	} {
		if got := maskObjects(t, set, c.opt, c.in); got != c.want {
			t.Errorf("%s\ngave %s\nwant %s", c.in, got, c.want)
		}
	}
}

// TestPlainKeyed keeps equal keys equal, and others apart.
func TestPlainKeyed(t *testing.T) {
	set := mustCompile(t, Rule{Detect: []string{"EMAIL"}, Operator: "pseudonym"})
	var got []map[string]int
	out := maskObjects(t, set, plain, `[{"ada@corp.example":1,"bob@corp.example":2},{"x":0,"bob@corp.example":3}]`)
	if err := json.Unmarshal([]byte(out), &got); err != nil || len(got[0]) != 2 || len(got[1]) != 2 {
		t.Fatal(out, err)
	}
	for k, v := range got[0] {
		if _, same := got[1][k]; same != (v == 2) || strings.Contains(k, "#") {
			t.Error(out)
		}
	}
}

func TestPlainRows(t *testing.T) {
	set := mustCompile(t)
	for _, c := range []struct {
		many bool
		in   string
		want int64
	}{
		{false, ``, 0}, {false, `[]`, 0}, {false, `[1,"a",{},[1,2]]`, 4}, {false, `[[1,2],[3]]`, 2}, {false, `7`, 1}, {false, `"a"`, 1}, {false, `{}`, 1}, {false, `{"items":[]}`, 1},
		{false, `{"items":[{},{"a":[1,2,3]},3]}`, 3}, {false, `{"n":1,"data":["a","b"],"more":[null]}`, 3}, {false, `{"a":{"items":[1,2,3]}}`, 1}, {false, `{"a":[[1,2],[3]]}`, 2},
		{true, "{}\n[1,2]\n{\"a\":[1,2,3]}\n5\n[]\n", 1 + 2 + 3 + 1},
	} {
		for size := 1; size < 9; size++ {
			if _, rows, err := runObjects(set, ObjectsOptions{Plain: true, Many: c.many}, []byte(c.in), size); err != nil || rows != c.want {
				t.Errorf("%s: %d rows, want %d: %v", c.in, rows, c.want, err)
			}
		}
	}
}

func TestPlainRefuses(t *testing.T) {
	set := objectsSet(t)
	for _, c := range []struct {
		many bool
		in   string
	}{
		{false, `{} {}`}, {false, "{}\n{}"}, {false, `1 2`}, {false, `{`}, {false, `<html>`}, {false, `ada@corp.example`}, {false, "\ufeff{}"}, {false, "\x1e{}"},
		{true, `4111 1111 1111 1111`}, {true, "1\n4111 1111"}, {true, `{} 4111`}, {true, `078-05-1120`}, {true, "{}\n{"}, {true, `{},{}`},
	} {
		for _, size := range []int{1, 2, 3, 100} {
			if out, _, err := runObjects(set, ObjectsOptions{Plain: true, Many: c.many}, []byte(c.in), size); !errors.Is(err, ErrObjects) || strings.Contains(err.Error(), "Kubernetes") {
				t.Errorf("%q in pieces of %d is taken: %v: %q", c.in, size, err, out)
			}
		}
	}
}

// fieldSet has rules of every form, and detection beside them.
func fieldSet(t testing.TB) *Set {
	return mustCompile(t,
		Rule{Fields: []string{"$.customer.email", "$.items[*].card", "$..ssn"}, Operator: "redact"},
		Rule{Fields: []string{"$.whole.*", "$['odd.name']", "GET /orders/*: $.order"}, Operator: "null"},
		Rule{Fields: []string{"$..deep..er", "$.items[*].n"}, Operator: "pseudonym"},
		Rule{Fields: []string{"$.soft"}, Operator: "partial"},
		Rule{Targets: []string{"other"}, Fields: []string{"$.other"}, Operator: "redact"},
		Rule{Detect: []string{"EMAIL", "PHONE"}, Operator: "redact"})
}

func TestFields(t *testing.T) {
	set := fieldSet(t)
	many := ObjectsOptions{Plain: true, Many: true}
	request := func(r string) ObjectsOptions { return ObjectsOptions{Plain: true, Request: r} }
	for _, c := range []struct {
		opt      ObjectsOptions
		in, want string
		masked   string
	}{
		{plain, `{"customer":{"email":"x","name":"y"}}`, `{"customer":{"email":"[redacted]","name":"y"}}`, "$.customer.email"},
		{plain, `{"customer":{"em\u0061il":"x"}}`, `{"customer":{"em\u0061il":"[redacted]"}}`, "$.customer.email"},
		{plain, `{"cus\u0074omer":{"email":"x","email":"y"},"customer":{"email":"z"}}`, `{"cus\u0074omer":{"email":"[redacted]","email":"[redacted]"},"customer":{"email":"[redacted]"}}`, "$.customer.email"},
		{plain, `{"customer":{"email":[1,"a",true,false,null,{"x":-1.5e3,"y":[["z"]]}]}}`, `{"customer":{"email":[0,"[redacted]",false,false,null,{"x":0,"y":[["[redacted]"]]}]}}`, "$.customer.email"},
		{plain, `{"customer":[{"email":"x"}],"Customer":{"email":"x"},"email":"x"}`, `{"customer":[{"email":"x"}],"Customer":{"email":"x"},"email":"x"}`, ""},
		{plain, `{"customer":{"email":null},"whole":{}}`, `{"customer":{"email":null},"whole":{}}`, ""},
		{plain, `[{"customer":{"email":"x"}}]`, `[{"customer":{"email":"x"}}]`, ""},
		{plain, `{"items":[{"card":1,"b":2},{"card":"x"},[{"card":3}],"card"],"card":4}`, `{"items":[{"card":0,"b":2},{"card":"[redacted]"},[{"card":3}],"card"],"card":4}`, "$.items[*].card"},
		{plain, `{"items":{"k":{"card":1}}}`, `{"items":{"k":{"card":0}}}`, "$.items[*].card"},
		{plain, `[{"ssn":1,"a":[[{"ssn":{"x":"2"}}]]},"ssn"]`, `[{"ssn":0,"a":[[{"ssn":{"x":"[redacted]"}}]]},"ssn"]`, "$..ssn"},
		{plain, `{"whole":{"a":"x","b":[1,{"c":true}]},"a":"x"}`, `{"whole":{"a":null,"b":[null,{"c":null}]},"a":"x"}`, "$.whole.*"},
		{plain, `{"whole":["a",1],"odd.name":"x","odd":{"name":"y"}}`, `{"whole":[null,null],"odd.name":null,"odd":{"name":"y"}}`, "$.whole.*,$['odd.name']"},
		{plain, `{"er":1,"deep":{"er":"x","a":[{"er":"x"}],"b":{"deep":{"er":"x"}}}}`, `{"er":1,"deep":{"er":"p_","a":[{"er":"p_"}],"b":{"deep":{"er":"p_"}}}}`, "$..deep..er"},
		{plain, `{"whole":{"ssn":"x"},"customer":{"email":{"ssn":1}}}`, `{"whole":{"ssn":null},"customer":{"email":{"ssn":0}}}`, "$.customer.email,$.whole.*"},
		{plain, `{"soft":"4000 0000 0000 1234","b":"ada@corp.example"}`, `{"soft":"**** **** **** 1234","b":"[EMAIL]"}`, "$.soft"},
		{plain, `{"soft":"mail ada@corp.example"}`, `{"soft":"[EMAIL]"}`, "$.soft"},
		{plain, `{"soft":"{\"a\":[\"\\u0061da@corp.example\"]}"}`, `{"soft":"[EMAIL]"}`, "$.soft"},
		{plain, `{"soft":"+49 30 901820 1234 5"}`, `{"soft":"[PHONE]"}`, "$.soft"},
		{plain, `{"soft":1234567890123456,"x":{"soft":1}}`, `{"soft":3456,"x":{"soft":1}}`, "$.soft"},
		{plain, `{"ada@corp.example":1,"customer":{"email":{"bob@corp.example":"x"}}}`, `{"[EMAIL]":1,"customer":{"email":{"[EMAIL]":"[redacted]"}}}`, "$.customer.email"},
		{plain, `{"order":"x","other":"y"}`, `{"order":null,"other":"y"}`, "GET /orders/*: $.order"},
		{request("GET /orders/17"), `{"order":"x"}`, `{"order":null}`, "GET /orders/*: $.order"},
		{request("GET /Orders//17/"), `{"order":"x"}`, `{"order":null}`, "GET /orders/*: $.order"},
		{request("GET /orders;v=1/17"), `{"order":"x"}`, `{"order":null}`, "GET /orders/*: $.order"},
		{request("GET /orders/17/lines/2"), `{"order":"x"}`, `{"order":null}`, "GET /orders/*: $.order"},
		{request("POST /orders/17"), `{"order":"x","soft":"abc"}`, `{"order":"x","soft":"****"}`, "$.soft"},
		{request("GET /customers/17"), `{"order":"x"}`, `{"order":"x"}`, ""},
		{many, "{\"customer\":{\"email\":\"x\"}}\n{\"email\":\"x\"}\n{\"customer\":{\"email\":\"x\"}}", "{\"customer\":{\"email\":\"[redacted]\"}}\n{\"email\":\"x\"}\n{\"customer\":{\"email\":\"[redacted]\"}}", "$.customer.email"},
		{ObjectsOptions{}, `{"customer":{"email":"x"}}`, `{"customer":{"email":"x"}}`, ""},
	} {
		for _, size := range []int{1, 2, 7, 1 << 20} {
			o := set.Objects("shop", c.opt)
			var out []byte
			var err error
			for in := []byte(c.in); len(in) > 0 && err == nil; in = in[min(size, len(in)):] {
				out, err = o.Write(out, in[:min(size, len(in))])
			}
			if err == nil {
				out, err = o.Close(out)
			}
			got := string(out)
			for i := strings.Index(got, "p_"); i >= 0 && !strings.Contains(c.want, got[i:min(i+18, len(got))]); {
				got = got[:i+2] + got[i+18:]
				next := strings.Index(got[i+2:], "p_")
				if next < 0 {
					break
				}
				i += 2 + next
			}
			if err != nil || got != c.want || strings.Join(o.Masked(), ",") != c.masked {
				t.Errorf("%s %s\ngave %s (%v)\nwant %s (%s): %v", c.opt.Request, c.in, got, o.Masked(), c.want, c.masked, err)
				break
			}
		}
	}
	if !set.Fields("shop") || objectsSet(t).Fields("shop") || mustCompile(t, Rule{Targets: []string{"a*"}, Fields: []string{"$.a"}, Operator: "null"}).Fields("shop") {
		t.Error("Fields")
	}
}

// TestFieldNumbers masks numbers to numbers.
func TestFieldNumbers(t *testing.T) {
	in := `[0,1,100,1e2,1.0e2,-7,4711,4711.25,1234567890123456,12345678901234567890,12345678901234567891,1e300,9007199254740993,-0.0,123456789012345678901234567890.5]`
	for _, op := range Operators() {
		set := mustCompile(t, Rule{Fields: []string{"$[*]"}, Operator: op})
		out := maskObjects(t, set, plain, in)
		var got, was []any
		if err := errors.Join(json.Unmarshal([]byte(out), &got), json.Unmarshal([]byte(in), &was)); err != nil || len(got) != len(was) {
			t.Fatalf("%s: %s: %v", op, out, err)
		}
		for i, v := range got {
			f, ok := v.(float64)
			if op == "null" != !ok || f > maxSafe {
				t.Errorf("%s: %v became %v", op, was[i], v)
			}
			if op == "hash" || op == "pseudonym" {
				if f == was[i] || i > 0 && (f == got[i-1]) != (i == 3 || i == 4) {
					t.Errorf("%s: %v became %v: %s", op, was[i], v, out)
				}
			}
		}
		want := map[string]string{"redact": `[0,0,0,0`, "generalise": `[0,0,100,100,100,0,4000,4000,1000000000000000,0`, "partial": `[0,0,0,0,0,0,0,0,3456,0`}[op]
		if !strings.HasPrefix(out, want) {
			t.Errorf("%s: %s", op, out)
		}
	}
}

// TestFieldsDoNotAllocate for each value.
func TestFieldsDoNotAllocate(t *testing.T) {
	if raced {
		t.Skip("counted without the race detector")
	}
	in := ordersPage(64 << 10)
	dst := make([]byte, 0, 2*len(in))
	for _, op := range []string{"redact", "pseudonym", "partial", "null"} {
		set := mustCompile(t, Rule{Fields: []string{"$.items[*].customer.email", "$.items[*].card", "$..ssn"}, Operator: op}, Rule{Detect: Types(), Operator: "redact"})
		o := set.Objects("shop", ObjectsOptions{Plain: true, Many: true})
		if n := testing.AllocsPerRun(20, func() {
			if _, err := o.Write(dst, in); err != nil {
				t.Fatal(err)
			}
		}); n > 0 {
			t.Errorf("%s: %v allocations", op, n)
		}
		if len(o.Masked()) != 3 {
			t.Errorf("%v", o.Masked())
		}
	}
}

// TestFieldsMany follows many paths that all go on at any depth.
func TestFieldsMany(t *testing.T) {
	var fields []string
	for i := range maxFields {
		fields = append(fields, fmt.Sprintf("$..a..a..a.f%d", i))
	}
	set := mustCompile(t, Rule{Fields: fields, Operator: "redact"})
	in := strings.Repeat(`{"a":`, 500) + `{"f7":"secret","f":"shown"}` + strings.Repeat("}", 500)
	if out := maskObjects(t, set, plain, in); strings.Contains(out, "secret") || !strings.Contains(out, "shown") {
		t.Error(out[2400:])
	}
}

// plantValue puts marks into a random document where the rules of fieldSet
// select something.
func plantValue(r *rand.Rand, depth int, under bool) any {
	keys := []string{"customer", "email", "items", "card", "ssn", "whole", "odd.name", "deep", "er", "n", "soft", "x", "kind", "name", "value", "data", "", "ä"}
	switch n := r.IntN(8); {
	case n < 4 && depth > 0:
		m := map[string]any{}
		for range r.IntN(5) {
			k := keys[r.IntN(len(keys))]
			m[k] = plantValue(r, depth-1, under || k == "ssn")
		}
		return m
	case n < 6 && depth > 0:
		a := []any{}
		for range r.IntN(4) {
			a = append(a, plantValue(r, depth-1, under))
		}
		return a
	case under && n%2 == 0:
		return 987654321123
	case under:
		return "pl\u00e4nted"
	}
	return randomString(r)
}

// TestFieldsSplits has the same come out wherever the pieces end, JSON of the
// same form, and none of what was planted.
func TestFieldsSplits(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	set := fieldSet(t)
	for range 400 {
		value := plantValue(r, 6, false)
		in := []byte(quoteJSON(value))
		whole, _, err := runObjects(set, plain, in, len(in)+1)
		if err != nil {
			t.Fatalf("%v: %s", err, in)
		}
		var got any
		if err := json.Unmarshal(whole, &got); err != nil || !sameForm(value, got) {
			t.Fatalf("the form has changed:\n%s\n%s", in, whole)
		}
		if bytes.Contains(whole, []byte("pl\u00e4nted")) || bytes.Contains(whole, []byte("987654321123")) {
			t.Fatalf("it came out:\n%s\n%s", in, whole)
		}
		for size := 1; size < min(len(in), 64); size++ {
			if out, _, err := runObjects(set, plain, in, size); err != nil || !bytes.Equal(out, whole) {
				t.Fatalf("in pieces of %d: %v\n%s\n%s", size, err, out, whole)
			}
		}
	}
}

// sameForm reports whether two documents have the same arrays and, by number,
// the same members.
func sameForm(a, b any) bool {
	switch x := a.(type) {
	case map[string]any:
		y, ok := b.(map[string]any)
		return ok && len(x) == len(y)
	case []any:
		y, ok := b.([]any)
		for i := range x {
			ok = ok && len(x) == len(y) && sameForm(x[i], y[i])
		}
		return ok
	}
	return true
}

// FuzzPlain takes any bytes, and plants a value where a rule selects it.
func FuzzPlain(f *testing.F) {
	f.Add([]byte(`{"customer":{"em\u0061il":"x"},"ssn":[1,{"a":true}]}`), uint8(3), false)
	f.Add([]byte("{\"items\":[{\"card\":4e9}]}\n4111111111111111\n\"ada@corp.example\"\n"), uint8(1), true)
	f.Add([]byte(`{"ada@corp.example":{"deep":[{"er":"[1,\"a\"]"}]},"soft":"+49 30 901820"}`), uint8(7), false)
	set := fieldSet(f)
	f.Fuzz(func(t *testing.T, in []byte, size uint8, many bool) {
		opt := ObjectsOptions{Plain: true, Many: many}
		whole, rows, err := runObjects(set, opt, in, len(in)+1)
		out, again, err2 := runObjects(set, opt, in, int(size)+1)
		if (err == nil) != (err2 == nil) || err == nil && (!bytes.Equal(out, whole) || rows != again) {
			t.Fatalf("in pieces of %d: %v, %v\n%q\n%q\n%q", size, err, err2, in, whole, out)
		}
		if err != nil || many || len(bytes.TrimSpace(in)) == 0 {
			return
		}
		if !json.Valid(in) || !json.Valid(whole) {
			t.Fatalf("taken, but not JSON: %q\n%q", in, whole)
		}
		planted := []byte(`{"ssn":"planted-7d1","a":[` + string(in) + `,{"s\u0073n":[[{"b":"planted-7d1","c":7130000001}]]}],"customer":{"email":` + string(in) + `,"email":"planted-7d1"}}`)
		if bytes.Contains(in, []byte("7d1")) || bytes.Contains(in, []byte("713")) {
			return
		}
		out, _, err = runObjects(set, opt, planted, int(size)+1)
		if err != nil { // too deep
			return
		}
		if !json.Valid(out) || bytes.Contains(out, []byte("planted")) || bytes.Contains(out, []byte("713")) {
			t.Fatalf("it came out:\n%q\n%q", planted, out)
		}
	})
}

// ordersPage is an answer as shops send it, of some size.
func ordersPage(size int) []byte {
	r := rand.New(rand.NewPCG(1, 9))
	b := []byte(`{"page":1,"items":[`)
	for i := 0; len(b) < size-300; i++ {
		if i > 0 {
			b = append(b, ',')
		}
		b = fmt.Appendf(b, `{"id":%d,"ref":"ord_%x","status":"paid","customer":{"id":%d,"email":"user%d@corp.example","city":"Lisbon"},"card":"4111 1111 1111 1111","total":%d.%02d,"ssn":null,"created":"2026-03-04T11:22:33Z","note":"leave it at the door, please; ring twice"}`, i, r.Uint64(), r.IntN(1e6), i, r.IntN(1000), r.IntN(100))
	}
	if i := bytes.Index(b, []byte(`"ssn":null`)); i >= 0 {
		b = slices.Replace(b, i, i+len(`"ssn":null`), []byte(`"ssn":"536-22-8147"`)...)
	}
	return append(b, "]}\n"...)
}

func BenchmarkPlain(b *testing.B) {
	detect := Rule{Detect: []string{"EMAIL", "CREDIT_CARD", "US_SSN", "IBAN", "PHONE", "SECRET"}, Operator: "redact"}
	fields := Rule{Fields: []string{"$.items[*].customer.email", "$.items[*].card", "$..ssn"}, Operator: "redact"}
	for _, size := range []int{1 << 10, 1 << 20} {
		in := ordersPage(size)
		for _, c := range []struct {
			name  string
			rules []Rule
		}{{"check", nil}, {"detect", []Rule{detect}}, {"fields", []Rule{fields}}, {"both", []Rule{detect, fields}}} {
			b.Run(fmt.Sprintf("%s/%dK", c.name, size>>10), func(b *testing.B) {
				set := mustCompile(b, c.rules...)
				b.SetBytes(int64(len(in)))
				b.ReportAllocs()
				var out []byte
				for b.Loop() {
					o := set.Objects("shop", plain)
					for rest := in; len(rest) > 0; {
						n := min(len(rest), 32<<10)
						var err error
						if out, err = o.Write(out[:0], rest[:n]); err != nil {
							b.Fatal(err)
						}
						rest = rest[n:]
					}
					if _, err := o.Close(out[:0]); err != nil && err != io.EOF {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
