package kubernetes

import (
	"bufio"
	"encoding/json"
	"errors"
	"net/url"
	"os"
	"reflect"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

var samples = []string{
	`GET "/api/v1/namespaces/dev/pods"`,
	"GET \"/api/v1/namespaces/dev/pods?limit=5&watch=true\"\naccept \"application/json;as=Table;v=v1;g=meta.k8s.io,application/json\"",
	"POST \"/api/v1/namespaces/dev/pods/p1/exec?command=ls&command=a+b\"\nstream exec",
	"PATCH \"/apis/apps/v1/namespaces/dev/deployments/web/scale\"\naccept \"application/json\"\ncontent-type \"application/merge-patch+json\"\nbody\n{\"spec\":{\"replicas\":0}}\n",
	"DELETE \"/api/v1/namespaces/dev/pods/p1?gracePeriodSeconds=0\"",
}

func TestTextAndParse(t *testing.T) {
	for _, text := range samples {
		r, err := Parse(text)
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		if again, err := r.Text(); err != nil || again != text {
			t.Errorf("%q is written %q, %v", text, again, err)
		}
	}
	for _, text := range []string{
		"", "GET", "GET ", "GET /api", "GET  \"/api\"", "GET \"/api\" ", "GET \"/api\"\n", "get \"/api\"", "GET `/api`", "GET \"\\x2fapi\"", "GET \"/api?\"", "GET \"/api\"\nbody\n", "GET \"/api\"\naccept \"\"", "GET \"/api\"\naccept x", "GET \"/api\"\nstream exec", "GET \"/api\"\nstream ", "GET \"/api\"\ncontent-type \"application/json\"",
		"GET \"/api/v1/namespaces/dev/pods?watch=true&limit=5\"", "GET \"/api/v1/namespaces/dev/pods?limit=%35\"", "GET \"/api/v1/namespaces/dev/pods/p1/exec?command=ls\"", "GET \"/api/v1/namespaces/dev/pods/p1/exec?command=ls\"\nstream attach", "GET \"/api/v1/namespaces/dev/pods/p1/exec?command=a%20b\"\nstream exec",
		"POST \"/api/v1/namespaces/dev/configmaps\"\nbody\n{}", "POST \"/api/v1/namespaces/dev/configmaps\"\ncontent-type \"application/json\"", "POST \"/api/v1/namespaces/dev/configmaps\"\ncontent-type \"application/json; charset=utf-8\"\nbody\n{}", "POST \"/api/v1/namespaces/dev/configmaps\"\ncontent-type \"application/json\"\naccept \"a\"\nbody\n{}",
		"POST \"/api/v1/namespaces/dev/configmaps\"\ncontent-type \"application/json\"\nbody\n{\"a\":1,\"a\":1}", "GET \"/api\"\naccept \"a\"\naccept \"b\"", strings.Repeat("a", MaxText+1),
	} {
		if r, err := Parse(text); !errors.Is(err, ErrRequest) {
			t.Errorf("%.100q is read as %+v, %v", text, r, err)
		}
		if _, err := Read(text, nil); !errors.Is(err, ErrRequest) {
			t.Errorf("%.100q has an effect", text)
		}
	}
	for _, r := range []Request{
		{Method: "GET", Path: "/api", Stream: "exec"}, {Method: "GET", Path: "/api", Body: []byte("{}"), ContentType: typeJSON}, {Method: "GET", Path: "/api", Query: url.Values{"timeout": {}}},
		{Method: "GET", Path: "/api", Query: url.Values{"timeout": {"1s", "2s"}}}, {Method: "POST", Path: dev + "/configmaps", ContentType: typeJSON}, {Method: "GET", Path: "/api", Accept: "a\nb"}, {Method: "GET\n", Path: "/api"}, {Method: "GET", Path: "/api?x"}, {},
		{Method: "PATCH", Path: dev + "/configmaps/c", ContentType: typeApply, Body: []byte("a: 1")},
	} {
		if text, err := r.Text(); err == nil {
			t.Errorf("%+v is written %q", r, text)
		}
	}
}

// The table has everything that a current API server serves.
func TestBuiltin(t *testing.T) {
	f, err := os.Open("testdata/discovery.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	n := 0
	for s := bufio.NewScanner(f); s.Scan(); {
		w := strings.Fields(s.Text())
		if len(w) != 6 || w[0] == "#" {
			continue
		}
		n++
		group, version, resource, sub, scope, kind := strings.Trim(w[0], "-"), w[1], w[2], strings.Trim(w[3], "-"), w[4], w[5]
		g := groups[group]
		if g == nil || !g.versions[version] || g.resources[resource] == nil {
			t.Errorf("%s is not in the table", s.Text())
			continue
		}
		res := g.resources[resource]
		if res.namespaced != (scope == "N") || sub == "" && res.kind != kind || sub != "" && !res.subresources[sub] {
			t.Errorf("%s is %+v in the table", s.Text(), res)
		}
		a := Attributes{Group: group, Version: version, Resource: resource, Subresource: sub}
		if list := forms(&a, res); sub != "" && !strings.HasSuffix(kind, "Options") && list[0].kind != kind {
			t.Errorf("%s has bodies %v", s.Text(), list)
		}
	}
	if n < 100 {
		t.Errorf("only %d lines", n)
	}
	for key := range natures {
		group, resource, _ := strings.Cut(key, "/")
		if groups[group] == nil || resource != "*" && groups[group].resources[resource] == nil {
			t.Errorf("%s has a nature and is not in the table", key)
		}
	}
	for _, list := range []map[string]bool{asks, lasting, puts} {
		for key := range list {
			if group, resource, _ := strings.Cut(key, "/"); groups[group] == nil || groups[group].resources[resource] == nil {
				t.Errorf("%s is not in the table", key)
			}
		}
	}
}

func TestLiveAndPin(t *testing.T) {
	const pre = `"preconditions":{"uid":"u1","resourceVersion":"7"}`
	const meta = `"metadata":{"uid":"u1","resourceVersion":"7"}`
	for _, c := range []struct{ message, live, target, body string }{
		{"DELETE " + dev + "/pods/p1", dev + "/pods/p1", dev + "/pods/p1", `{"kind":"DeleteOptions","apiVersion":"v1",` + pre + `}`},
		{"DELETE " + dev + "/pods/p1?gracePeriodSeconds=007&propagationPolicy=Orphan&dryRun=All&orphanDependents=0&pretty=true", dev + "/pods/p1", dev + "/pods/p1?pretty=true",
			`{"kind":"DeleteOptions","apiVersion":"v1","dryRun":["All"],"gracePeriodSeconds":7,"orphanDependents":false,"propagationPolicy":"Orphan",` + pre + `}`},
		{"DELETE " + dev + "/pods/p1\n{\"propagationPolicy\":\"Background\",\"preconditions\":null}", dev + "/pods/p1", "", `{"propagationPolicy":"Background",` + pre + `}`},
		{"DELETE " + dev + "/pods/p1\n{\"preconditions\":{\"uid\":\"u1\"}}", dev + "/pods/p1", "", `{` + pre + `}`},
		{"POST " + dev + "/pods/p1/eviction\n{\"metadata\":{\"name\":\"p1\"}}", dev + "/pods/p1", "", `{"metadata":{"name":"p1"},"deleteOptions":{"preconditions":{"uid":"u1"}}}`},
		{"PUT " + apps + "/deployments/web\n{\"metadata\":{\"name\":\"web\",\"resourceVersion\":\"7\"},\"spec\":{\"replicas\":1.50}}", apps + "/deployments/web", "", `{"metadata":{"name":"web","resourceVersion":"7","uid":"u1"},"spec":{"replicas":1.50}}`},
		{"PATCH " + apps + "/deployments/web/scale" + merge + `{"spec":{"replicas":3}}`, apps + "/deployments/web/scale", "", `{"spec":{"replicas":3},` + meta + `}`},
		{"PATCH " + apps + "/deployments/web/status" + strat + `{}`, apps + "/deployments/web", "", `{` + meta + `}`},
		{"PATCH " + apps + "/deployments/web?fieldManager=a" + apply + "spec: {}\n", apps + "/deployments/web", "", `{"spec":{},` + meta + `}`},
		{"PATCH " + apps + "/deployments/web" + patch6 + `[{"op":"remove","path":"/spec/x"}]`, apps + "/deployments/web", "", `[{"op":"test","path":"/metadata/uid","value":"u1"},{"op":"test","path":"/metadata/resourceVersion","value":"7"},{"op":"remove","path":"/spec/x"}]`},
		{"PUT /api/v1/namespaces/dev/finalize\n{}", "/api/v1/namespaces/dev", "", `{` + meta + `}`},
		{"PATCH " + dev + "/pods/p1/ephemeralcontainers" + strat + `{"spec":{}}`, dev + "/pods/p1", "", `{"spec":{},` + meta + `}`},
	} {
		r := mustSend(t, c.message)
		before, _ := r.Text()
		if live, ok := r.Live(); !ok || live != c.live {
			t.Errorf("%q is about %q, %v", c.message, live, ok)
		}
		p, err := r.Pin("u1", "7")
		if err != nil {
			t.Errorf("%q: %v", c.message, err)
			continue
		}
		if string(p.Body) != c.body || c.target != "" && p.target() != c.target {
			t.Errorf("%q is pinned as %s\n got %s\nwant %s", c.message, p.target(), p.Body, c.body)
		}
		if after, _ := r.Text(); after != before {
			t.Errorf("%q was changed to %q", before, after)
		}
		again, err := p.Pin("u1", "7")
		if err != nil || c.body[0] == '{' && string(again.Body) != c.body {
			t.Errorf("%q pinned twice: %v", c.message, err)
		}
		if _, err := p.Pin("u2", "7"); err == nil {
			t.Errorf("%q is held to two objects", c.message)
		}
		if _, err := p.Pin("u1", "8"); err == nil && strings.Contains(c.body, "7") {
			t.Errorf("%q is held to two versions", c.message)
		}
		if _, err := r.Pin("", "7"); err == nil {
			t.Errorf("%q is held to nothing", c.message)
		}
		if _, err := r.Pin("u1", ""); err == nil {
			t.Errorf("%q is held to no version", c.message)
		}
	}
	for _, m := range []string{
		"GET " + dev + "/pods/p1", "GET /version", "POST " + dev + "/configmaps\n{}", "DELETE " + dev + "/pods", "POST " + dev + "/pods/p1/exec?command=ls", "DELETE " + dev + "/pods/p1/proxy", "POST " + dev + "/serviceaccounts/a/token\n{}",
	} {
		r := mustSend(t, m)
		if live, ok := r.Live(); ok {
			t.Errorf("%q is about %q", m, live)
		}
		if p, err := r.Pin("u1", "7"); err == nil {
			t.Errorf("%q is pinned as %+v", m, p)
		}
	}
	for _, m := range []string{
		"PUT " + dev + "/configmaps/c\n{\"metadata\":{\"uid\":\"other\"}}", "PUT " + dev + "/configmaps/c\n{\"metadata\":{\"resourceVersion\":\"6\"}}", "PUT " + dev + "/configmaps/c\n{\"metadata\":{\"resourceVersion\":7}}", "DELETE " + dev + "/pods/p1\n{\"preconditions\":{\"uid\":\"other\"}}",
		"PATCH " + dev + "/configmaps/c" + patch6 + `[{"op":"test","path":"/metadata/uid","value":"other"}]`,
	} {
		if p, err := mustSend(t, m).Pin("u1", "7"); err == nil {
			t.Errorf("%q is pinned as %s", m, p.Body)
		}
	}
}

func TestParseMessage(t *testing.T) {
	for _, text := range []string{"", "GET", "GET /a b", "GET /a\nx", "GET /a\n: x\n\n{}", "GET /a\nx y: z\n"} {
		if h, err := ParseMessage(text); err == nil {
			t.Errorf("%q is read as %+v", text, h)
		}
	}
	h, err := ParseMessage("PATCH /a\r\nContent-Type: x/y\r\nA:b\r\n\r\nc: 1\r\n")
	if err != nil || h.Method != "PATCH" || h.Target != "/a" || string(h.Body) != "c: 1\n" || !reflect.DeepEqual(h.Header, map[string][]string{"Content-Type": {"x/y"}, "A": {"b"}}) {
		t.Errorf("%+v, %v", h, err)
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range samples {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r, err := Parse(text)
		if err != nil {
			if !errors.Is(err, ErrRequest) {
				t.Fatalf("%v is not ErrRequest", err)
			}
			return
		}
		again, err := r.Text()
		if err != nil || again != text {
			t.Fatalf("%q is written %q, %v", text, again, err)
		}
		checkReading(t, r, text)
	})
}

// checkReading holds what was let through to what a server makes of it.
func checkReading(t *testing.T, r *Request, text string) {
	t.Helper()
	u, err := url.Parse("https://h" + r.target())
	if err != nil || u.Path != r.Path || u.RawPath != "" || u.EscapedPath() != r.Path || u.Fragment != "" || u.Host != "h" || !reflect.DeepEqual(u.Query(), queryOf(r)) {
		t.Fatalf("%q is another URL: %+v, %v", r.target(), u, err)
	}
	a, err := r.Attributes()
	if err != nil {
		t.Fatal(err)
	}
	b, _, err := resolve(r.Method, u.Path, u.Query())
	if err != nil || a != b {
		t.Fatalf("%q is %+v and %+v, %v", text, a, b, err)
	}
	reading, err := Read(text, &Env{Groups: []string{"x.io"}})
	if err != nil {
		return
	}
	e := &reading.Effect
	if len(e.Kinds) == 0 || e.Verbs == 0 || len(e.Objects) == 0 {
		t.Fatalf("%q does nothing: %+v", text, e)
	}
	if e.ReadOnly() && (r.Stream != "" || r.Method != "GET" && !strings.HasPrefix(r.Path, "/apis/auth")) {
		t.Fatalf("%q is read-only", text)
	}
	if len(r.Body) > 0 && !json.Valid(r.Body) {
		t.Fatalf("the body %q is not JSON", r.Body)
	}
	if live, ok := r.Live(); ok {
		p, err := r.Pin("u", "1")
		if !strings.HasPrefix(r.Path, live) {
			t.Fatalf("%q is about %q", text, live)
		}
		if err == nil {
			if _, err := p.Text(); err != nil {
				t.Fatalf("%q pinned: %v", text, err)
			}
		}
	}
}

func queryOf(r *Request) url.Values {
	if r.Query == nil {
		return url.Values{}
	}
	return r.Query
}

func FuzzFromHTTP(f *testing.F) {
	for _, c := range corpus(f) {
		name, value := "", ""
		for k, v := range c.Input.Headers {
			name, value = k, v
		}
		f.Add(c.Input.Method, c.Input.Target, name, value, []byte(c.Input.Body))
	}
	f.Add("PATCH", apps+"/deployments/web", "Content-Type", typeApply, []byte("a: {b: [1, ~]}"))
	f.Add("PATCH", apps+"/deployments/web", "Content-Type", typeJSONPatch, []byte(`[{"op":"add","path":"/spec/a~1","value":1}]`))
	f.Fuzz(func(t *testing.T, method, target, name, value string, body []byte) {
		r, err := FromHTTP(HTTP{Method: method, Target: target, Header: map[string][]string{name: {value}}, Body: body})
		if err != nil {
			refusal(t, err)
			return
		}
		text, err := r.Text()
		if err != nil {
			t.Fatalf("%+v is let through, and has no text: %v", r, err)
		}
		back, err := Parse(text)
		if err != nil || !reflect.DeepEqual(back, r) {
			t.Fatalf("%+v comes back as %+v, %v", r, back, err)
		}
		if path, _, _ := strings.Cut(target, "?"); path != r.Path {
			t.Fatalf("%q became %q", target, r.Path)
		}
		checkReading(t, r, text)
	})
}

// FuzzJSON compares with the standard library, and what is written with what
// readers of JSON and YAML find in it.
func FuzzJSON(f *testing.F) {
	f.Add(`{"a":[1,-2.5e3,"\ud83d\ude00\n",null,true],"b":{}}`)
	f.Add(`{"a":"\u0085\u2028","<<":{"a":1}}`)
	f.Fuzz(func(t *testing.T, text string) {
		n, err := readJSON([]byte(text))
		if err != nil {
			refusal(t, err)
			return
		}
		if !json.Valid([]byte(text)) {
			t.Fatalf("%q is not JSON", text)
		}
		var b strings.Builder
		writeJSON(&b, n)
		var want, got, inYAML any
		for i, out := range []*any{&want, &got} {
			d := json.NewDecoder(strings.NewReader([]string{text, b.String()}[i]))
			d.UseNumber()
			if err := d.Decode(out); err != nil {
				t.Fatalf("%q: %v", text, err)
			}
		}
		if !reflect.DeepEqual(want, got) {
			t.Fatalf("%q is written %q", text, b.String())
		}
		if len(text) > 500 {
			return // YAML bounds the length of keys
		}
		if err := yaml.Unmarshal([]byte(b.String()), &inYAML); err != nil {
			t.Fatalf("%q is not YAML: %v", b.String(), err)
		}
		if !sameValue(inYAML, want) {
			t.Fatalf("%q is %#v in YAML", b.String(), inYAML)
		}
	})
}

// sameValue compares what YAML's reader made with what JSON's made, but for how
// numbers are kept.
func sameValue(y, j any) bool {
	switch j := j.(type) {
	case map[string]any:
		m, ok := y.(map[string]any)
		if !ok || len(m) != len(j) {
			return false
		}
		for k, v := range j {
			w, there := m[k]
			if !there || !sameValue(w, v) {
				return false
			}
		}
		return true
	case []any:
		l, ok := y.([]any)
		if !ok || len(l) != len(j) {
			return false
		}
		for i := range j {
			if !sameValue(l[i], j[i]) {
				return false
			}
		}
		return true
	case json.Number:
		switch y.(type) {
		case int, int64, uint64, float64:
			return true
		}
		return false
	}
	return reflect.DeepEqual(y, j)
}

// FuzzYAML: what is read of YAML is written as JSON that reads back the same.
func FuzzYAML(f *testing.F) {
	f.Add("a: {b: [1, ~, \"x\"]}\nc: |\n  x\n")
	f.Add("a: &x [1]\nb: *x")
	f.Fuzz(func(t *testing.T, text string) {
		n, err := readYAML([]byte(text))
		if err != nil {
			refusal(t, err)
			return
		}
		var b strings.Builder
		writeJSON(&b, n)
		again, err := readJSON([]byte(b.String()))
		if err != nil {
			t.Fatalf("%q is written %q: %v", text, b.String(), err)
		}
		var c strings.Builder
		writeJSON(&c, again)
		if b.String() != c.String() {
			t.Fatalf("%q and %q", b.String(), c.String())
		}
	})
}
