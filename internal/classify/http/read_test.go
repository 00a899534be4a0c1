package http

import (
	"bufio"
	"encoding/json"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/doorward/doorward"
	"github.com/doorward/doorward/internal/policy"
)

func TestText(t *testing.T) {
	in := Incoming{"POST", "/v1/orders?q=a+b&dry", fields("Content-Type", "application/json", "Accept", "*/*", "Host", "x"), []byte("{\"a\":\n1}")}
	text, err := roundTrip(t, in, nil).Text()
	if err != nil {
		t.Fatal(err)
	}
	const want = "POST \"/v1/orders?q=a%20b&dry\"\nheader accept \"*/*\"\nheader content-type \"application/json\"\nbody\n{\"a\":\n1}"
	if text != want {
		t.Errorf("%s", text)
	}
	in.Fields[0].Value, in.Body = "a/b", []byte("\x00\xff")
	if text, _ = roundTrip(t, in, nil).Text(); !strings.HasSuffix(text, "\nbody base64\nAP8=") {
		t.Errorf("%s", text)
	}
	whole := Incoming{"POST", "/x", fields("Content-Type", "a/b"), make([]byte, MaxBody)}
	roundTrip(t, whole, nil)
}

// A text that Text would write differently is none.
func TestParseIsStrict(t *testing.T) {
	for _, text := range []string{
		"", "GET", "GET ", "GET /x", `GET "/x" `, `GET  "/x"`, "GET \"/x\"\n", "get \"/x\"", `GET "x"`, "GET `/x`", `GET "/\x78"`, `GET "/x?"`, `GET "/x?&"`, `GET "/%78"`, `GET "/x?a=b+c"`, `GET "/x?a=%2f"`, `GET "/x%2b"`, `GET "/%c3%a9"`, `GET "/x/../y"`,
		"GET \"/x\"\nheader accept \"a\"\nheader accept \"a\"", "GET \"/x\"\nheader range \"a\"\nheader accept \"a\"", "GET \"/x\"\nheader Accept \"a\"", "GET \"/x\"\nheader accept \"\"", "GET \"/x\"\nheader accept \" a\"", "GET \"/x\"\nheader accept \"\\x61\"", "GET \"/x\"\nheader accept a", "GET \"/x\"\nheader  \"a\"", "GET \"/x\"\nheader",
		"GET \"/x\"\nheader host \"a\"", "GET \"/x\"\nheader authorization \"a\"", "GET \"/x\"\nheader x-forwarded-for \"a\"", "GET \"/x\"\nheader x_a \"a\"", "GET \"/x\"\nheader accept \"\\r\\n\"", "GET \"/x\"\nheader accept \"é\"", "GET \"/x\"\nheader prefer \"wait=3\"", "HEAD \"/x\"\nheader range \"bytes=0-1\"",
		"GET \"/x\"\nheader content-type \"a/b\"", "POST \"/x\"\nbody\nx", "POST \"/x\"\nheader content-type \"a/b\"\nbody\n", "POST \"/x\"\nheader content-type \"A/b\"\nbody\nx", "POST \"/x\"\nheader content-type \"a/b;c=d\"\nbody\nx", "POST \"/x\"\nheader content-type \"a/b\"\nbody\n\x00", "POST \"/x\"\nheader content-type \"a/b\"\nbody base64\nAA", "POST \"/x\"\nheader content-type \"a/b\"\nbody base64\nAA==\n", "POST \"/x\"\nheader content-type \"a/b\"\nbody base64\nAB==",
		"POST \"/x\"\nheader content-type \"a/b\"\nbody base64\neA==", "POST \"/x\"\nheader content-type \"application/json\"\nbody\n{", "GET \"/x\"\nheader content-type \"application/json\"\nbody\n{}", "POST \"/x\"\nbody\nx\nheader content-type \"a/b\"", strings.Repeat("a", MaxText+1),
	} {
		if r, err := Parse(text); err == nil {
			t.Errorf("%.80q is read as %+v", text, r)
		} else {
			refusal(t, err)
		}
	}
	for _, r := range []*Request{{}, {Method: "GET"}, {Method: "GET", Path: "x"}, {Method: "GET", Path: "/a//b"}, {Method: "GET", Path: "/a\xff"}, {Method: "GET", Path: "/", Query: []Pair{{}, {Bare: true}}}, {Method: "GET", Path: "/", Query: []Pair{{Key: "a", Value: "b", Bare: true}}},
		{Method: "GET", Path: "/", Query: []Pair{{Key: "_method"}}}, {Method: "GET", Path: "/", Fields: fields("b", "1", "a", "1")}, {Method: "GET", Path: "/", Fields: fields("host", "1")}, {Method: "POST", Path: "/", Body: []byte("x")}, {Method: "POST", Path: "/", Fields: fields("content-type", "a/b"), Body: make([]byte, MaxBody+1)}} {
		if text, err := r.Text(); err == nil {
			t.Errorf("%+v is written as %.80q", r.Fields, text)
		}
	}
}

func TestEffect(t *testing.T) {
	verbs := map[string]doorward.Verb{"GET": doorward.VerbRead, "HEAD": doorward.VerbRead, "OPTIONS": doorward.VerbRead, "POST": doorward.VerbCreate, "PUT": doorward.VerbCreate | doorward.VerbUpdate, "PATCH": doorward.VerbUpdate, "DELETE": doorward.VerbDelete}
	for method, verb := range verbs {
		text, _ := roundTrip(t, Incoming{method, "/v1/%41/?a=1&b&a=2", fields("Accept", "x"), nil}, nil).Text()
		reading, err := Read(text, nil)
		if err != nil {
			t.Fatal(err)
		}
		want := doorward.Effect{Verbs: verb, Kinds: []string{method}, Complete: true, Bound: -1, Objects: []doorward.Object{{Kind: "path", Name: method + " /v1/A/", Verb: verb}},
			HTTP: &doorward.HTTP{Method: method, Path: "/v1/A/", Query: map[string][]string{"a": {"1", "2"}, "b": {""}}, Headers: map[string]string{"accept": "x"}}}
		if !reflect.DeepEqual(reading.Effect, want) || len(reading.Statements) != 1 || !reflect.DeepEqual(reading.Statements[0], doorward.Statement{Kind: method, Text: text, Effect: want}) {
			t.Errorf("%s: %+v", method, reading)
		}
		if reading.Effect.ReadOnly() != (verb == doorward.VerbRead) {
			t.Error(method)
		}
	}
}

// The digest says the same about the same text, wherever it lies in memory, and
// something else once anything that a condition can see is another.
func TestDigest(t *testing.T) {
	digest := func(in Incoming) string {
		text, err := roundTrip(t, in, &Env{Headers: []string{"x-a"}}).Text()
		if err != nil {
			t.Fatal(err)
		}
		reading, err := Read(text, &Env{Headers: []string{"x-a"}})
		if err != nil {
			t.Fatal(err)
		}
		return reading.Effect.Digest()
	}
	seen := map[string]bool{}
	for _, in := range []Incoming{get("/x"), get("/x?a=1"), get("/x?a=1&a=1"), get("/x", "X-A", "1"), get("/x", "X-A", "2"), post("application/json", `{"a":1,"b":{"c":2,"d":3}}`), post("application/json", `{"a":1,"b":{"c":2,"d":4}}`), post("text/plain", "a"), post("text/plain", "ab")} {
		d := digest(in)
		if seen[d] {
			t.Errorf("%+v: as another", in)
		}
		seen[d] = true
		for range 20 {
			if digest(in) != d {
				t.Fatalf("%+v: not the same again", in)
			}
		}
	}
}

func TestParseMessage(t *testing.T) {
	for text, want := range map[string]Incoming{
		"GET /x?a=1":  {Method: "GET", Target: "/x?a=1"},
		"GET /x\r\n":  {Method: "GET", Target: "/x"},
		"POST /x\n{}": {"POST", "/x", fields("Content-Type", "application/json"), []byte("{}")},
		"POST /x\nContent-Type: text/plain\nX-A: b:c\nX-A: d\n\nhi\nthere\n": {"POST", "/x", fields("Content-Type", "text/plain", "X-A", "b:c", "X-A", "d"), []byte("hi\nthere")},
		"DELETE /x\nAccept: */*": {Method: "DELETE", Target: "/x", Fields: fields("Accept", "*/*")},
	} {
		got, err := ParseMessage(text)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "GET", "GET /x HTTP/1.1", "GET /x\nno header", "GET /x\n: v", "GET /x\na b: c"} {
		_, err := ParseMessage(text)
		if err == nil {
			t.Errorf("%q is a message", text)
			continue
		}
		refusal(t, err)
	}
}

// wireCases are refused by the codec, before anything comes here.
var wireCases = []string{"ht-a020", "ht-a021", "ht-a045", "ht-a046", "ht-a048", "ht-a049", "ht-a050"}

func TestCorpus(t *testing.T) {
	p, err := policy.Compile(policy.Document{Rules: []policy.Rule{
		{Name: "look", Targets: []string{"*"}, Then: "allow", Objects: []string{"path:GET /api/v1/status", "path:HEAD /api/v1/status", "path:GET /api/v1/orders", "path:GET /api/v1/orders/*", "path:HEAD /api/v1/orders", "path:HEAD /api/v1/orders/*"}},
		{Name: "order", Targets: []string{"*"}, Then: "review", Objects: []string{"path:POST /api/v1/orders"}, Reviewers: policy.Reviewers{Groups: []string{"sre"}}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Open("testdata/http.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	n := 0
	for s := bufio.NewScanner(f); s.Scan(); {
		var c struct {
			ID     string
			Input  struct{ Type, Request string }
			Expect struct{ Accept []string }
		}
		if err := json.Unmarshal(s.Bytes(), &c); err != nil {
			t.Fatal(err)
		}
		if c.Input.Type != "raw_http" || slices.Contains(wireCases, c.ID) {
			continue
		}
		n++
		in, ok := raw(c.Input.Request)
		if !ok {
			t.Errorf("%s cannot be read", c.ID)
			continue
		}
		got, why := decide(p, in)
		t.Logf("%s %s %s", c.ID, got, why)
		if !slices.Contains(c.Expect.Accept, got.String()) {
			t.Errorf("%s: %s (%s), want %v", c.ID, got, why, c.Expect.Accept)
		}
	}
	if n < 35 {
		t.Errorf("only %d cases", n)
	}
}

func decide(p *policy.Policy, in Incoming) (doorward.Outcome, string) {
	r, err := FromHTTP(in, nil)
	if err != nil {
		return doorward.Deny, err.Error()
	}
	text, err := r.Text()
	if err != nil {
		return doorward.Deny, err.Error()
	}
	reading, err := Read(text, nil)
	if err != nil {
		return doorward.Deny, err.Error()
	}
	d := p.Decide(policy.Input{Identity: &doorward.Identity{Subject: "s", Name: "ada"}, Target: "orders", Protocol: "http", Effect: &reading.Effect})
	return d.Outcome, d.Rule + ": " + d.Reason
}

// raw takes a request apart as a lenient reader does.
func raw(s string) (Incoming, bool) {
	head, body, _ := strings.Cut(s, "\r\n\r\n")
	lines := strings.Split(head, "\r\n")
	words := strings.Split(lines[0], " ")
	if len(words) != 3 {
		return Incoming{}, false
	}
	in := Incoming{Method: words[0], Target: words[1], Body: []byte(body)}
	for _, l := range lines[1:] {
		name, value, _ := strings.Cut(l, ":")
		in.Fields = append(in.Fields, Field{strings.TrimSpace(name), value})
	}
	return in, true
}
