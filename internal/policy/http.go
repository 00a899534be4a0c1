package policy

import (
	"strings"

	"cel.dev/cel-go/common/types"

	"github.com/doorward/doorward"
)

// httpFields are the fields of the variable http: what a request to an HTTP
// service says. For requests of other protocols they are empty texts, lists and
// maps, null and 0.
//
// A parameter, header or key of the body that is not there is an error of the
// condition, and an error denies: http.body.amount <= 100 denies a body without
// an amount, and so does every use of a body that is neither JSON nor a form.
// has(http.body.amount) and 'dry' in http.query ask whether there is one.
// Parameters are lists, as one may come several times: http.query['dry'] ==
// ['1'] holds for exactly one. In the body of a form a field is a text when it
// comes once, and a list otherwise. Names are compared exactly.
var httpFields = map[string]field{
	"method":   {types.StringType, func(f *facts) any { return f.http().Method }},
	"path":     {types.StringType, func(f *facts) any { return f.http().Path }},
	"segments": {types.NewListType(types.StringType), func(f *facts) any { return segments(f.http().Path) }},
	"query": {types.NewMapType(types.StringType, types.NewListType(types.StringType)), func(f *facts) any {
		if q := f.http().Query; q != nil {
			return q
		}
		return map[string][]string{}
	}},
	"headers": {types.NewMapType(types.StringType, types.StringType), func(f *facts) any {
		if h := f.http().Headers; h != nil {
			return h
		}
		return map[string]string{}
	}},
	"operation": {types.StringType, func(f *facts) any { return f.http().Operation }},
	"args": {types.NewMapType(types.StringType, types.DynType), func(f *facts) any {
		if a := f.http().Args; a != nil {
			return a
		}
		return map[string]any{}
	}},
	"body": {types.DynType, func(f *facts) any { return f.http().Body }},
	"size": {types.IntType, func(f *facts) any { return f.http().Size }},
}

var noHTTP doorward.HTTP

func (f *facts) http() *doorward.HTTP {
	if f.effect == nil || f.effect.HTTP == nil {
		return &noHTTP
	}
	return f.effect.HTTP
}

// segments are the parts of a path between its slashes: of /v1/orders/17 they
// are v1, orders and 17, and of /v1/orders/ the last one is empty.
func segments(path string) []string {
	path = strings.TrimPrefix(path, "/")
	if path == "" {
		return []string{}
	}
	return strings.Split(path, "/")
}
