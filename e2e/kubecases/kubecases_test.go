package kubecases

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/doorward/doorward/e2e/kubetest"
)

var here = endpoint{addr: "127.0.0.1:1", prefix: "/t", token: "abc"}

func TestRequestAt(t *testing.T) {
	text := func(s string) *string { return &s }
	const auth = "Authorization: Bearer abc\r\n"
	for name, c := range map[string]struct {
		in    Request
		want  string
		lines int
	}{
		"parts":           {Request{Method: "GET", Target: "/api?x=1", Headers: Headers{{"A", "b"}, {"A", "c"}}}, "GET /t/api?x=1 HTTP/1.1\r\nHost: 127.0.0.1:1\r\n" + auth + "A: b\r\nA: c\r\n\r\n", 1},
		"body":            {Request{Method: "POST", Target: "/api", Headers: Headers{{"host", "h"}}, Body: json.RawMessage(`"x\n"`)}, "POST /t/api HTTP/1.1\r\n" + auth + "host: h\r\nContent-Length: 2\r\n\r\nx\n", 1},
		"JSON body":       {Request{Method: "POST", Target: "/api", Headers: Headers{{"host", "h"}}, Body: json.RawMessage(`{"a": 1}`)}, "POST /t/api HTTP/1.1\r\n" + auth + "host: h\r\nContent-Length: 8\r\n\r\n{\"a\": 1}", 1},
		"own length":      {Request{Method: "POST", Target: "/api", Headers: Headers{{"host", "h"}, {"content-length", "9"}}, Body: json.RawMessage(`"x"`)}, "POST /t/api HTTP/1.1\r\n" + auth + "host: h\r\ncontent-length: 9\r\n\r\nx", 1},
		"absolute":        {Request{Method: "GET", Target: "https://k/api", Headers: Headers{{"host", "h"}}}, "GET https://k/api HTTP/1.1\r\n" + auth + "host: h\r\n\r\n", 1},
		"CONNECT":         {Request{Method: "CONNECT", Target: "k:443", Headers: Headers{{"host", "h"}}}, "CONNECT k:443 HTTP/1.1\r\n" + auth + "host: h\r\n\r\n", 1},
		"raw":             {Request{Raw: text("GET /a HTTP/1.1\r\nHost: h\r\n\r\n")}, "GET /t/a HTTP/1.1\r\n" + auth + "Host: h\r\n\r\n", 1},
		"raw, bare LF":    {Request{Raw: text("GET /a HTTP/1.1\nHost: h\n\n")}, "GET /t/a HTTP/1.1\nAuthorization: Bearer abc\nHost: h\n\n", 1},
		"two":             {Request{Raw: text("POST /a HTTP/1.1\r\nContent-Length: 2\r\n\r\nxyGET /b HTTP/1.1\r\n\r\n")}, "POST /t/a HTTP/1.1\r\n" + auth + "Content-Length: 2\r\n\r\nxyGET /t/b HTTP/1.1\r\n" + auth + "\r\n", 2},
		"no plain length": {Request{Raw: text("POST /a HTTP/1.1\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /b HTTP/1.1\r\n\r\n")}, "POST /t/a HTTP/1.1\r\n" + auth + "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /b HTTP/1.1\r\n\r\n", 1},
		"no end":          {Request{Raw: text("GET /a")}, "GET /t/a", 1},
		"hexadecimal":     {Request{RawHex: text(hex.EncodeToString([]byte("GET /\xff HTTP/1.1\r\n\r\n")))}, "GET /t/\xff HTTP/1.1\r\n" + auth + "\r\n", 1},
	} {
		m, err := c.in.at(here)
		if err != nil || string(m.bytes) != c.want || len(m.lines) != c.lines {
			t.Errorf("%s: %q with %d requests, %v; want %q", name, m.bytes, len(m.lines), err, c.want)
		}
	}
}

func TestPlan(t *testing.T) {
	for _, bad := range []string{
		`{"type":"other"}`, `{"type":"http","method":"GET","target":"/","more":1}`, `{"type":"http","request":"GET /"}`, `{"type":"raw_http","method":"GET"}`,
		`{"type":"script","steps":[]}`, `{"type":"script","steps":[{"op":"fly"}]}`, `{"type":"script","steps":[{"op":"send","status":200}]}`, `{"type":"script","steps":[{"op":"dns","name":"x"}]}`,
		`{"type":"http","method":"GET","target":"/","headers":{"a":1}}`,
	} {
		c := &Case{Input: json.RawMessage(bad)}
		if _, err := c.plan(); err == nil {
			t.Errorf("%s is taken", bad)
		}
	}
	c := &Case{Input: json.RawMessage(`{"type":"http","method":"GET","target":"/","headers":{"B":"1","A":["2","3"],"B":"4"}}`), Check: json.RawMessage(`{"leak":["","x"]}`)}
	p, err := c.plan()
	if err != nil || len(p.steps[0].Headers) != 4 || p.steps[0].Headers[3] != [2]string{"B", "4"} || len(p.check.Leak) != 1 {
		t.Errorf("%+v, %v", p, err)
	}
	c.Check = json.RawMessage(`{"new_key":1}`)
	if _, err := c.plan(); err == nil {
		t.Error("a check that is not known is taken")
	}
}

func TestGenerate(t *testing.T) {
	for in, want := range map[string]string{
		`"identity:abc"`: "abc", `{"prefix":"a","unit":"bc","count":2,"suffix":"d"}`: "abcbcd", `"identity:bomb:3"`: "   ",
		`"br:hello"`: "\x40\x00\x10hello\x03", `"br:"`: "\x06",
	} {
		if _, got, err := generate(json.RawMessage(in)); err != nil || string(got) != want {
			t.Errorf("%s gives %q, %v; want %q", in, got, err, want)
		}
	}
	e, b, err := generate(json.RawMessage(`"gzip:bomb:8MiB"`))
	if err != nil || e != "gzip" || len(b) > 64<<10 || len(b) == 0 {
		t.Errorf("%s of %d bytes, %v", e, len(b), err)
	}
	for _, bad := range []string{`"plain"`, `"lz4:x"`, `"gzip:bomb:xMiB"`, `{"unit":"abc","count":999999999}`, `1`} {
		if _, _, err := generate(json.RawMessage(bad)); err == nil {
			t.Errorf("%s is taken", bad)
		}
	}
}

func TestReplyLeadsToTheTrap(t *testing.T) {
	s := Step{Status: 307, Request: Request{Headers: Headers{{"Location", "https://attacker.example/x?y=1"}}}}
	r, err := s.reply("127.0.0.1:9")
	if err != nil || r.headers[0][1] != "https://127.0.0.1:9/x?y=1" {
		t.Errorf("%+v, %v", r, err)
	}
	s.Headers[0][1] = "/api/v1/secrets"
	if r, err = s.reply("127.0.0.1:9"); err != nil || r.headers[0][1] != "/api/v1/secrets" {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestAnswerIs(t *testing.T) {
	status := func(causes string) []byte {
		return []byte(`{"kind":"Status","apiVersion":"v1","status":"Failure","message":"doorward: it is not allowed here","reason":"Forbidden","code":403,"details":{"causes":[` + causes + `]}}`)
	}
	csp := http.Header{"Content-Security-Policy": {"x"}, "Content-Type": {"application/json"}}
	for name, c := range map[string]struct {
		a      answer
		want   string
		review int64
	}{
		"success":           {answer{status: 200}, passed, 0},
		"the cluster's own": {answer{status: 404, header: csp, body: []byte(`{"kind":"Status","message":"pods not found"}`)}, passed, 0},
		"the cluster's 403": {answer{status: 403, header: csp, body: status("")}, passed, 0},
		"refused":           {answer{status: 403, header: csp, body: status(`{"reason":"DoorwardDecision","message":"deny"}`)}, denied, 0},
		"held":              {answer{status: 403, header: csp, body: status(`{"reason":"DoorwardDecision","message":"review"},{"reason":"DoorwardReview","message":"7"}`)}, held, 7},
		"denied by people":  {answer{status: 403, header: csp, body: status(`{"reason":"DoorwardDecision","message":"deny"},{"reason":"DoorwardReview","message":"7"}`)}, denied, 0},
		"net/http":          {answer{status: 400, header: http.Header{}, body: []byte("400 Bad Request")}, denied, 0},
		"broken off":        {answer{status: 200, broken: errors.New("EOF")}, denied, 0},
		"a watch ends":      {answer{status: 200, broken: errors.New("timeout"), line: line{"GET", "/api/v1/pods?watch=1"}}, passed, 0},
	} {
		what, review, _ := c.a.is()
		if what != c.want || review != c.review {
			t.Errorf("%s: %s %d, want %s %d", name, what, review, c.want, c.review)
		}
	}
	a := answer{status: 403, header: csp, body: status(`{"reason":"DoorwardDecision","message":"deny"}`)}
	if why := a.readable(); why != "" {
		t.Error(why)
	}
	a.status = 401
	if a.readable() == "" {
		t.Error("a Status of another code is readable")
	}
}

func TestLooked(t *testing.T) {
	event := func(verb, uri string) kubetest.Event {
		return kubetest.Event{Verb: verb, URI: uri, User: kubetest.Person{Username: "admin"}}
	}
	const web = "/apis/apps/v1/namespaces/dev/deployments/web"
	patch := line{"PATCH", web + "/scale?fieldManager=a"}
	for uri, verb := range map[string]string{web: "get", web + "/scale": "get", web + "/scale?dryRun=All&fieldManager=a": "patch"} {
		if !patch.looked(event(verb, uri)) {
			t.Errorf("%s %s is no look", verb, uri)
		}
	}
	for uri, verb := range map[string]string{web + "/scale?fieldManager=a": "patch", web + "2": "get", "/api/v1/namespaces/dev/secrets/web": "get", web + "?dryRun=All": "patch", web + "/scale?dryRun=All&dryRun=": "patch"} {
		if patch.looked(event(verb, uri)) {
			t.Errorf("%s %s is a look", verb, uri)
		}
	}
	if (line{"GET", web}).looked(event("get", web)) {
		t.Error("a read is looked at")
	}
	stranger := event("get", web)
	stranger.User.Username = "system:anonymous"
	if patch.looked(stranger) {
		t.Error("somebody else's look is doorward's")
	}
	if !(line{"GET", "/api/v1/pods?b=%3D&a=1"}).is(event("list", "/api/v1/pods?a=1&b==")) || (line{"GET", "/api/v1/pods?a=1"}).is(event("list", "/api/v1/pods?a=1&a=2")) {
		t.Error("requests are not compared by their parameters")
	}
}

func TestDiff(t *testing.T) {
	e := snapshot{"/a": []byte("1"), "/b": []byte("1"), "/c": []byte("1")}.diff(snapshot{"/a": []byte("1"), "/b": []byte("2"), "/d": []byte("1")})
	if e.String() != "+/d ~/b ~/c" || e.none() {
		t.Errorf("%s", e)
	}
}

func TestIdentity(t *testing.T) {
	for _, c := range []struct {
		a, b string
		same bool
	}{
		{`{"kind":"PodList","items":[{"metadata":{"name":"a","uid":"1"}},{"metadata":{"name":"b","uid":"2"}}]}`, `{"kind":"PodList","metadata":{"resourceVersion":"9"},"items":[{"metadata":{"name":"b","uid":"2"}},{"metadata":{"name":"a","uid":"1"}}]}`, true},
		{`{"kind":"PodList","items":[{"metadata":{"name":"a","uid":"1"}}]}`, `{"kind":"PodList","items":[]}`, false},
		{`{"kind":"Table","rows":[{"object":{"metadata":{"name":"a","uid":"1"}}}]}`, `{"kind":"Table","rows":[]}`, false},
		{`{"a":1,"b":2}`, `{"b":2,"a":1}`, true}, {`{"a":1}`, `{"a":2}`, false}, {`ok`, `ok`, true}, {`ok`, `no`, false},
	} {
		if got := strings.Join(identity([]byte(c.a)), "|") == strings.Join(identity([]byte(c.b)), "|"); got != c.same {
			t.Errorf("%s and %s: %v", c.a, c.b, got)
		}
	}
}

func TestFixture(t *testing.T) {
	list, err := readFixture()
	if err != nil || len(list) < 20 {
		t.Fatalf("%d objects, %v", len(list), err)
	}
	dev := false
	for _, m := range list {
		dev = dev || m.path == "/api/v1/namespaces/dev/pods/p1"
		// What may not come out has to be told from what may.
		if strings.Contains(m.path, "/namespaces/dev/") && bytes.Contains(m.json, elsewhere) {
			t.Errorf("%s says that it is of another namespace", m.path)
		}
	}
	if !dev {
		t.Error("there is no p1")
	}
}

// TestReached wants a refusal to count for nothing where the request got through
// all the same.
func TestReached(t *testing.T) {
	const web = "/apis/apps/v1/namespaces/dev/deployments/web"
	refusal := func(decision, method, target string) *answer {
		return &answer{line: line{method, target}, status: 403, header: http.Header{"Content-Security-Policy": {"x"}}, body: []byte(`{"kind":"Status","details":{"causes":[{"reason":"DoorwardDecision","message":"` + decision + `"},{"reason":"DoorwardReview","message":"7"}]}}`)}
	}
	event := func(verb, uri, user string) kubetest.Event {
		return kubetest.Event{Verb: verb, URI: uri, User: kubetest.Person{Username: user}}
	}
	for name, c := range map[string]struct {
		accept  []string
		answers []*answer
		events  []kubetest.Event
		acts    []string
		want    int // problems
	}{
		"refused":               {[]string{"deny"}, []*answer{refusal("deny", "GET", "/api/v1/secrets")}, nil, nil, 0},
		"refused, and sent":     {[]string{"deny"}, []*answer{refusal("deny", "GET", "/api/v1/secrets")}, []kubetest.Event{event("list", "/api/v1/secrets", "admin")}, nil, 1},
		"sent as nobody":        {[]string{"deny"}, []*answer{refusal("deny", "GET", "/api/v1/secrets")}, []kubetest.Event{event("list", "/api/v1/secrets", "system:anonymous")}, nil, 1},
		"refused, and looked":   {[]string{"deny"}, []*answer{refusal("deny", "DELETE", web)}, []kubetest.Event{event("get", web, "admin")}, nil, 1},
		"the node did it":       {[]string{"deny"}, []*answer{refusal("deny", "GET", "/api/v1/namespaces/dev/pods/p1/exec")}, nil, []string{"exec"}, 1},
		"held, and looked":      {[]string{"review"}, []*answer{refusal("review", "DELETE", web)}, []kubetest.Event{event("get", web, "admin")}, nil, 0},
		"held, and sent":        {[]string{"review"}, []*answer{refusal("review", "DELETE", web)}, []kubetest.Event{event("delete", web, "admin")}, nil, 1},
		"held, other looked at": {[]string{"review"}, []*answer{refusal("review", "DELETE", web)}, []kubetest.Event{event("get", "/api/v1/namespaces/dev/secrets/db", "admin")}, nil, 1},
		"let through":           {[]string{"allow"}, []*answer{{line: line{"GET", "/api?a=1"}, status: 200}}, []kubetest.Event{event("get", "/api?a=1", "admin")}, nil, 0},
		"twice":                 {[]string{"allow"}, []*answer{{line: line{"GET", "/api"}, status: 200}}, []kubetest.Event{event("get", "/api", "admin"), event("get", "/api", "admin")}, nil, 1},
		"something else":        {[]string{"allow"}, []*answer{{line: line{"GET", "/api"}, status: 200}}, []kubetest.Event{event("get", "/apis", "admin")}, nil, 2},
	} {
		j := &judge{plan: &plan{Case: &Case{}}}
		j.Expect.Accept = c.accept
		j.reached(&round{seen: &seen{answers: c.answers}, events: c.events, acts: c.acts})
		if len(j.problems) != c.want {
			t.Errorf("%s: %q, want %d problems", name, j.problems, c.want)
		}
	}
}

// FuzzRaw wants the endpoint to be put into any bytes, and no other byte to be
// lost.
func FuzzRaw(f *testing.F) {
	for _, s := range []string{"", "GET", "GET /a HTTP/1.1\r\n\r\n", "POST /a HTTP/1.1\nContent-Length: 3\n\nabcGET /b HTTP/1.1\n\n", "\n\n\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m := raw(b, endpoint{addr: "h", prefix: "/t"})
		if len(m.bytes) < len(b) || len(m.lines) > 1+bytes.Count(b, []byte("\n")) {
			t.Errorf("%q became %q with %d requests", b, m.bytes, len(m.lines))
		}
	})
}
