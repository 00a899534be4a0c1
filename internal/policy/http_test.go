package policy

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/doorward/doorward"
)

func request(h doorward.HTTP) *doorward.Effect {
	verb := doorward.VerbCreate
	return &doorward.Effect{Verbs: verb, Kinds: []string{h.Method}, Complete: true, Bound: -1, HTTP: &h,
		Objects: []doorward.Object{{Kind: "path", Name: h.Method + " " + h.Path, Verb: verb}}}
}

func refund(body any) *doorward.Effect {
	return request(doorward.HTTP{
		Method: "POST", Path: "/v1/refunds/17/lines/", Size: 40, Body: body,
		Query:   map[string][]string{"dry": {"1"}, "tag": {"a", "b"}, "bare": {""}},
		Headers: map[string]string{"content-type": "application/json", "x-team": "payments"},
	})
}

func TestHTTPConditions(t *testing.T) {
	body := map[string]any{
		"amount": int64(100), "rate": 0.5, "note": "x", "void": nil, "ok": true,
		"items": []any{map[string]any{"sku": "a", "qty": int64(2)}, map[string]any{"sku": "b", "qty": 1.5}},
		"form":  []string{"p", "q"},
	}
	const fails = "fails"
	for when, want := range map[string]string{
		"http.method == 'POST'":                                                     "true",
		"http.method in ['GET', 'HEAD']":                                            "false",
		"http.path == '/v1/refunds/17/lines/'":                                      "true",
		"http.path.startsWith('/v1/') && glob(http.path, '/v1/*/lines/')":           "true",
		"http.segments == ['v1', 'refunds', '17', 'lines', '']":                     "true",
		"size(http.segments) == 5 && http.segments[2].matches('^[0-9]+$')":          "true",
		"http.segments[9] == 'x'":                                                   fails,
		"http.query['dry'] == ['1']":                                                "true",
		"http.query['tag'] == ['a']":                                                "false",
		"http.query.tag == ['a', 'b'] && 'b' in http.query.tag":                     "true",
		"http.query['bare'] == ['']":                                                "true",
		"http.query['none'] == ['1']":                                               fails,
		"'none' in http.query":                                                      "false",
		"http.query.all(k, k in ['dry', 'tag', 'bare'])":                            "true",
		"has(http.query.dry) && !has(http.query.none)":                              "true",
		"http.headers['x-team'] == 'payments'":                                      "true",
		"http.headers['X-Team'] == 'payments'":                                      fails,
		"'authorization' in http.headers":                                           "false",
		"http.size <= 40":                                                           "true",
		"http.body.amount <= 100":                                                   "true",
		"http.body.amount < 100.0":                                                  "false",
		"http.body.amount == 100.0":                                                 "true",
		"http.body.rate * 2.0 == 1.0":                                               "true",
		"http.body.rate < 1":                                                        "true",
		"http.body.amount <= 100 && http.query['dry'] == ['1']":                     "true",
		"http.body.missing <= 100":                                                  fails,
		"has(http.body.amount) && !has(http.body.missing)":                          "true",
		"!has(http.body.missing) || http.body.missing < 3":                          "true",
		"http.body.note <= 100":                                                     fails,
		"http.body.note == 100":                                                     "false",
		"http.body.void == null":                                                    "true",
		"http.body.ok == true":                                                      "true",
		"http.body.ok && http.body.amount == 100":                                   "true",
		"http.body.note && true":                                                    fails,
		"type(http.body.amount) == int && type(http.body) == map":                   "true",
		"http.body.items.all(i, i.qty <= 2)":                                        "true",
		"http.body.items.exists(i, i.sku == 'b')":                                   "true",
		"http.body.items[0].sku == 'a' && http.body['items'][1]['qty'] == 1.5":      "true",
		"http.body.form == ['p', 'q']":                                              "true",
		"http.body.form.exists(v, v == 'q')":                                        "true",
		"http.body == null":                                                         "false",
		"http.body.all(k, k != 'admin')":                                            "true",
		"http == http":                                                              "true",
		"effect.objects.all(o, o.kind == 'path') && effect.complete":                "true",
		"http.body.items.map(i, i.sku) == ['a', 'b'] && http.body.amount in [100]":  "true",
		"http.body.amount + 1 > 100 && !effect.read_only && target.name == 'pay'":   "true",
		"http.method == 'GET' || (http.method == 'POST' && http.body.amount < 500)": "true",
	} {
		p := compile(t, Rule{Name: "r", Targets: all, When: when, Then: "allow"})
		d := p.Decide(Input{Identity: ada, Target: "pay", Protocol: "http", Effect: refund(body), Now: now})
		got := "false"
		switch {
		case d.Outcome == doorward.Allow:
			got = "true"
		case strings.Contains(d.Reason, "could not be evaluated"):
			got = fails
		}
		if got != want {
			t.Errorf("%s: %s, want %s (%s)", when, got, want, d.Reason)
		}
		// What cannot be evaluated denies as a part of other rules too.
		if want == fails {
			open := compile(t, Rule{Name: "a", Targets: all, Then: "allow"}, Rule{Name: "d", Targets: all, When: when, Then: "deny"})
			if d := open.Decide(Input{Identity: ada, Target: "pay", Protocol: "http", Effect: refund(body), Now: now}); d.Outcome != doorward.Deny {
				t.Errorf("%s: a denial that fails allows", when)
			}
		}
	}
}

// Requests of other protocols, and those without a body, have empty values.
func TestHTTPOfOthers(t *testing.T) {
	for _, e := range []*doorward.Effect{read("public.a"), {Complete: true}, request(doorward.HTTP{})} {
		p := compile(t, Rule{Name: "r", Targets: all, Then: "allow",
			When: "http.method == '' && http.path == '' && http.segments == [] && http.query == {} && http.headers == {} && http.body == null && http.size == 0"})
		if d := p.ask(ada, e); d.Outcome != doorward.Allow {
			t.Errorf("%+v: %s", e, d.Reason)
		}
		p = compile(t, Rule{Name: "r", Targets: all, Then: "allow", When: "http.body.amount <= 100"})
		if d := p.ask(ada, e); d.Outcome != doorward.Deny || d.Rule != "r" {
			t.Errorf("%+v: a body that is not there is %v", e, d)
		}
	}
}

func TestHTTPTypeErrors(t *testing.T) {
	for when, want := range map[string]string{
		"http.metod == 'GET'":      "did you mean http.method?",
		"http.qqqqqqqqq == 'GET'":  "known are http.args, http.body, http.headers, http.method, http.operation, http.path, http.query, http.segments, http.size",
		"http.method == 3":         "column",
		"http.size == 'x'":         "column",
		"http.query['a'] == 'x'":   "column",
		"http.headers['a'] == [1]": "column",
		"http.segments == 'x'":     "column",
		"http.path.amount == 1":    "column",
		"htp.method == 'GET'":      "did you mean http?",
		"http":                     "not true or false",
	} {
		_, err := Compile(Document{Rules: []Rule{{Name: "r", Targets: all, When: when, Then: "allow"}}})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", when, err)
		}
	}
}

// What a request says is open until it is made.
func TestHTTPIsNeverKnown(t *testing.T) {
	atoms := []string{"http.method == 'GET'", "http.method != 'GET'", "'' == http.path", "http.size == 0", "http.size > 0", "http.body == null", "http.segments == []", "'a' in http.query", "http.query == {}",
		"http.body.ok == true", "has(http.body.ok)", "http.headers['a'] == 'b'", "'x' in http.segments", "http == http"}
	worlds := []world{notReadOnly(ada, "t"), notReadOnly(nil, ""), {}, {identity: ada, target: "t"}}
	for v := doorward.VerbRead; v <= doorward.VerbUnknown; v <<= 1 {
		worlds = append(worlds, doing(ada, "t", v), doing(nil, "t", v))
	}
	for _, a := range atoms {
		for _, when := range []string{a, "!(" + a + ")", a + " && true", "false || " + a, "!(" + a + ") || " + a} {
			c, err := compileCondition(when)
			if err != nil {
				t.Fatalf("%s: %v", when, err)
			}
			for _, w := range worlds {
				if got := c.possible(w); got != maybe {
					t.Errorf("%s: said to be %v", when, got)
				}
			}
		}
	}
	// A rule with such a condition keeps the target within reach, and a denial
	// with one takes nothing away for certain.
	p := compile(t, Rule{Name: "a", Targets: all, When: "http.method == 'POST'", Then: "allow"}, Rule{Name: "d", Targets: all, When: "http.body.amount > 5", Then: "deny"})
	if !p.Reaches(ada, "t") || !p.CouldWrite(ada, "t") || !p.CouldAnyoneWrite("t") || p.TimeDependent() {
		t.Error("a rule about requests is not taken for one that may match")
	}
	list := p.WhoCan("t", doorward.VerbCreate)
	if len(list) != 2 || list[0].Always || list[1].Always || list[1].When != "http.method == 'POST'" {
		t.Errorf("%+v", list)
	}
}

// A body of many values makes a condition give up; it does not make it slow.
func TestHTTPCost(t *testing.T) {
	items := make([]any, 100_000)
	for i := range items {
		items[i] = map[string]any{"n": int64(i)}
	}
	p := compile(t, Rule{Name: "r", Targets: all, When: "http.body.items.all(a, http.body.items.exists(b, b.n == a.n))", Then: "allow"})
	d := p.Decide(Input{Identity: ada, Target: "pay", Protocol: "http", Effect: refund(map[string]any{"items": items}), Now: now})
	if d.Outcome != doorward.Deny || !strings.Contains(d.Reason, "could not be evaluated") {
		t.Errorf("%+v", d)
	}
}

func TestHTTPObjects(t *testing.T) {
	p := compile(t, Rule{Name: "r", Targets: all, Objects: []string{"path:POST /v1/refunds/*", "GET /v1/status"}, Then: "allow"})
	for object, want := range map[string]doorward.Outcome{
		"POST /v1/refunds/17": doorward.Allow, "POST /v1/refunds/17/lines": doorward.Allow, "GET /v1/status": doorward.Allow,
		"POST /v1/refunds": doorward.Deny, "POST /v1/refunds-all": doorward.Deny, "PUT /v1/refunds/17": doorward.Deny, "GET /v1/status/": doorward.Deny, "GET /V1/status": doorward.Deny, "HEAD /v1/status": doorward.Deny,
	} {
		method, path, _ := strings.Cut(object, " ")
		if d := p.ask(ada, request(doorward.HTTP{Method: method, Path: path})); d.Outcome != want {
			t.Errorf("%s: %v", object, d)
		}
	}
}

// The quick way and the whole one agree on requests as well.
func TestHTTPFastIsCEL(t *testing.T) {
	more := []string{"http.method == 'POST'", "http.size > 3", "http.body.amount <= 100", "has(http.body.amount)", "'dry' in http.query", "http.query['dry'] == ['1']"}
	env, err := environment()
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		op := func() string { return rapid.SampledFrom([]string{" && ", " || "}).Draw(t, "op") }
		when := genWhen(t, 2) + op() + "(" + rapid.SampledFrom(more).Draw(t, "http") + op() + genWhen(t, 1) + ")"
		c, err := compileCondition(when)
		if err != nil {
			t.Fatal(err)
		}
		tree, _ := env.Compile(when)
		prog, err := env.Program(tree)
		if err != nil {
			t.Fatal(err)
		}
		in := genInput(t)
		if rapid.Bool().Draw(t, "http") {
			in.Effect.HTTP = refund(map[string]any{"amount": rapid.Int64Range(99, 101).Draw(t, "amount")}).HTTP
		}
		f := &facts{identity: in.Identity, effect: in.Effect, target: in.Target, protocol: in.Protocol, now: in.Now}
		got, gotErr := c.holds(f)
		out, _, wantErr := prog.Eval(newActivation(f))
		if (gotErr != nil) != (wantErr != nil) || wantErr == nil && got != (out.Value() == true) {
			t.Fatalf("%s: %v %v, CEL: %v %v", when, got, gotErr, out, wantErr)
		}
	})
}

// TestHTTPHint has a denial name the requests that are open.
func TestHTTPHint(t *testing.T) {
	p := compile(t,
		Rule{Name: "look", Targets: []string{"*"}, Objects: []string{"path:GET /api/v1/orders", "GET /api/v1/orders/*"}, Then: "allow"},
		Rule{Name: "refund", Targets: []string{"*"}, Objects: []string{"POST /api/v1/refunds"}, Then: "review", Reviewers: Reviewers{Groups: []string{"dba"}}},
	)
	d := p.ask(ada, &doorward.Effect{Verbs: doorward.VerbDelete, Complete: true, Bound: -1, Kinds: []string{"DELETE"}, Objects: []doorward.Object{{Kind: "path", Name: "DELETE /api/v1/orders/1", Verb: doorward.VerbDelete}}, HTTP: &doorward.HTTP{Method: "DELETE", Path: "/api/v1/orders/1"}})
	if want := "Open to you: GET /api/v1/orders, GET /api/v1/orders/*. With a person's yes: POST /api/v1/refunds. Each within its rule."; d.Outcome != doorward.Deny || d.Hint != want {
		t.Errorf("%s: %q, want %q", d.Outcome, d.Hint, want)
	}
}
