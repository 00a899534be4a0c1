package http

import (
	"reflect"
	"strings"
	"testing"
)

func orders(t *testing.T) *Env {
	t.Helper()
	ops, err := NewOperations([]Operation{
		{ID: "getOrder", Method: "GET", Path: "/v1/orders/{id}", Params: []Param{{Name: "id", Type: "integer", Required: true}, {Name: "expand", Query: true, Type: "string", List: true}, {Name: "deep", Query: true, Type: "boolean"}, {Name: "over", Query: true, Type: "number"}}},
		{ID: "newest", Method: "GET", Path: "/v1/orders/newest"},
		{ID: "refundOrder", Method: "POST", Path: "/v1/orders/{id}/refund", Params: []Param{{Name: "id", Type: "integer", Required: true}, {Name: "reason", Query: true, Type: "string", Required: true}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return &Env{Operations: ops}
}

// TestOperations has requests that are an operation of the document, with their
// arguments typed, and requests that are none for certain.
func TestOperations(t *testing.T) {
	env := orders(t)
	for _, c := range []struct {
		method, target, id string
		args               map[string]any
		doubt              string // in the hint; "": the effect is complete
	}{
		{"GET", "/v1/orders/17", "getOrder", map[string]any{"id": int64(17)}, ""},
		{"HEAD", "/v1/orders/17", "getOrder", map[string]any{"id": int64(17)}, ""},
		{"GET", "/v1/orders/newest", "newest", map[string]any{}, ""},
		{"GET", "/v1/orders/17?expand=a&expand=b&deep=true&over=1.5", "getOrder", map[string]any{"id": int64(17), "expand": []any{"a", "b"}, "deep": true, "over": 1.5}, ""},
		{"POST", "/v1/orders/17/refund?reason=x", "refundOrder", map[string]any{"id": int64(17), "reason": "x"}, ""},
		{"POST", "/v1/orders/17/refund", "refundOrder", nil, "needs the parameter reason"},
		{"GET", "/v1/orders/017", "getOrder", nil, "not of the type integer"},
		{"GET", "/v1/orders/+17", "getOrder", nil, "not of the type integer"},
		{"GET", "/v1/orders/17?deep=1", "getOrder", nil, "not of the type boolean"},
		{"GET", "/v1/orders/17?over=1e400", "getOrder", nil, "not of the type number"},
		{"GET", "/v1/orders/17?deep=true&deep=false", "getOrder", nil, "more than once"},
		{"GET", "/v1/orders/17?admin=1", "getOrder", nil, "has no parameter admin"},
		{"GET", "/v1/orders/17/", "", nil, "no operation"},
		{"GET", "/v1/ORDERS/17", "", nil, "no operation"},
		{"DELETE", "/v1/orders/17", "", nil, "no operation"},
		{"OPTIONS", "/v1/orders/17", "", nil, "no operation"},
	} {
		r, err := FromHTTP(Incoming{Method: c.method, Target: c.target}, env)
		if err != nil {
			t.Errorf("%s %s: %v", c.method, c.target, err)
			continue
		}
		text, err := r.Text()
		if err != nil {
			t.Fatal(err)
		}
		reading, err := Read(text, env)
		if err != nil {
			t.Fatal(err)
		}
		e := reading.Effect
		if e.HTTP.Operation != c.id || e.Complete != (c.doubt == "") || !strings.Contains(e.Hint, c.doubt) || c.doubt == "" && !reflect.DeepEqual(e.HTTP.Args, c.args) {
			t.Errorf("%s %s: operation %q, arguments %v, complete %v, %q", c.method, c.target, e.HTTP.Operation, e.HTTP.Args, e.Complete, e.Hint)
		}
	}
}

// TestOperationsRefuses has documents that cannot be used.
func TestOperationsRefuses(t *testing.T) {
	id := []Param{{Name: "id", Type: "string"}}
	for want, ops := range map[string][]Operation{
		"no operationId":     {{Method: "GET", Path: "/a"}},
		"stands twice":       {{ID: "a", Method: "GET", Path: "/a"}, {ID: "a", Method: "GET", Path: "/b"}},
		"only in part":       {{ID: "a", Method: "GET", Path: "/{id}.json", Params: id}},
		"is not described":   {{ID: "a", Method: "GET", Path: "/{other}", Params: id}},
		"begin with a slash": {{ID: "a", Method: "GET", Path: "a"}},
	} {
		if _, err := NewOperations(ops); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v, want %q", ops, err, want)
		}
	}
}
