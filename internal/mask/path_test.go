package mask

import (
	"fmt"
	"strings"
	"testing"
)

// showSteps writes steps in one form.
func showSteps(steps []step) string {
	var b strings.Builder
	for _, s := range steps {
		if s.deep {
			b.WriteString("..")
		}
		if s.any {
			b.WriteString("[*]")
		} else {
			fmt.Fprintf(&b, "[%q]", s.name)
		}
	}
	return b.String()
}

func TestParseField(t *testing.T) {
	for _, c := range []struct{ in, method, path, steps string }{
		{`$.a`, "", "", `["a"]`},
		{`$.customer.email`, "", "", `["customer"]["email"]`},
		{`$.items[*].card`, "", "", `["items"][*]["card"]`},
		{`$..ssn`, "", "", `..["ssn"]`},
		{`$.a.*`, "", "", `["a"][*]`},
		{`$.*.*`, "", "", `[*][*]`},
		{`$['odd.name']`, "", "", `["odd.name"]`},
		{`$["it's"]['a\'b\\\n\u00e9\ud83d\ude00']`, "", "", `["it's"]["a'b\\\né😀"]`},
		{`$..['odd.name'][*]`, "", "", `..["odd.name"][*]`},
		{`$['']`, "", "", `[""]`},
		{`$.größe._x9`, "", "", `["größe"]["_x9"]`},
		{`GET /orders/*: $.a`, "GET", "/orders/*", `["a"]`},
		{`* *: $.a`, "*", "*", `["a"]`},
		{`M-SEARCH /Ab c: d: $.a`, "M-SEARCH", "/Ab c: d", `["a"]`},
		{`GET /x: $['a: $b']`, "GET", "/x", `["a: $b"]`},
	} {
		r, steps, err := parseField(c.in)
		if err != nil || r.method != c.method || r.path != c.path || showSteps(steps) != c.steps || r.name != c.in {
			t.Errorf("%s: %q %q %s: %v", c.in, r.method, r.path, showSteps(steps), err)
		}
	}
}

// TestFieldErrors says what is wrong, and where.
func TestFieldErrors(t *testing.T) {
	for in, want := range map[string]string{
		``: "write a path such as", `a.b`: "write a path such as", `customers.email`: "write a path such as", ` $.a`: "write a path such as", `@.a`: "write a path such as",
		`$`: "say what of it", `$.`: "at byte 2: there is no name", `$a`: "at byte 2: a step begins with", `$.a b`: "at byte 2: \" \" cannot stand", `$.a$`: "at byte 2:", `$. a`: "at byte 2:", `$.é-`: `"-" cannot stand`,
		`$.first-name`: "write the name as ['…']", `$.a.0`: "write ['0'], or [*]", `$.1a`: "write ['1a']", `$...a`: "at byte 2:", `$..`: "at byte 2: there is no name", `$.a.`: "at byte 4:",
		`$..*`: "everything at any depth", `$..[*]`: "everything at any depth",
		`$.a[0]`: "at byte 4: within [ ] stands a name in quotes, or *: no index", `$.a[-1]`: "no index", `$[1:2]`: "no slice", `$[?@.a]`: "no filter", `$[ 'a']`: "no index", `$[`: "no index", `$[*`: "no index", `$[]`: "no index", `$[a]`: "no index",
		`$['a`: "has no end", `$['a'`: "has no end", `$['a','b']`: "is not alone", `$['a"]`: "has no end", `$['a\`: "an escape", `$['a\x']`: "an escape", `$['a\"']`: "an escape", `$['\u12']`: "an escape", `$['\u12`: "an escape", `$['\ud800']`: "is none", "$['\ufffd']": "is none", "$['a\n']": "control character",
		"$.\xff": "UTF-8", `$.` + strings.Repeat("a", maxPattern): "longer than", `$` + strings.Repeat(".a", maxSteps+1): "more than 64 steps",
		`get /a: $.a`: "a method in capital letters", `GET: $.a`: "a method", ` /a: $.a`: "a method", `: $.a`: "a method", `GET orders: $.a`: "do not begin with /", `GET : $.a`: "do not begin with /", `GET /[a: $.a`: "not a valid pattern", "GET /\x00: $.a": "zero byte", `GET /a:$.a`: "write a path", `GET /a $.a`: "write a path",
	} {
		_, err := Compile([]Rule{{Detect: []string{"EMAIL"}, Operator: "null"}, {Fields: []string{"$.ok", in}, Operator: "redact"}}, testKey)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "masking[1]: field ") {
			t.Errorf("%q: %v, want %s", in, err, want)
		}
	}
	for _, r := range []Rule{
		{Operator: "redact"}, {Fields: []string{"$.a"}, Detect: []string{"EMAIL"}, Operator: "redact"}, {Fields: []string{"$.a"}, Columns: []string{"a.b"}, Operator: "redact"},
	} {
		if _, err := Compile([]Rule{r}, testKey); err == nil || !strings.Contains(err.Error(), "exactly one of columns, detect and fields") {
			t.Errorf("%v: %v", r, err)
		}
	}
	if _, err := Compile([]Rule{{Fields: []string{"$.a"}, Operator: "hash"}}, nil); err == nil {
		t.Error("a keyed operator without a key")
	}
	many := make([]string, maxFields+1)
	for i := range many {
		many[i] = "$.a"
	}
	if _, err := Compile([]Rule{{Fields: many, Operator: "redact"}}, testKey); err == nil || !strings.Contains(err.Error(), "more than 1000 fields") {
		t.Error(err)
	}
}

func TestFieldApplies(t *testing.T) {
	for _, c := range []struct {
		field, request string
		want           bool
	}{
		{"$.a", "GET /x", true}, {"GET /x: $.a", "", true}, {"GET /x: $.a", "GET /x", true}, {"GET /x: $.a", "POST /x", false}, {"* /x: $.a", "POST /x", true},
		{"GET /x: $.a", "GET /xy", false}, {"GET /x: $.a", "GET /x/", true}, {"GET /x: $.a", "GET //X;a=b//", true}, {"GET /X/[A-Z]: $.a", "GET /X/B", true}, {"GET /[Z_a]: $.a", "GET /_", true},
		{"GET /x/*: $.a", "GET /x/a/b", true}, {"GET /x/*: $.a", "GET /x", false}, {"GET *: $.a", "GET /", true}, {"GET /x/?: $.a", "GET /x/é", true}, {"GET /x: $.a", "nonsense", true}, {"GET /: $.a", "GET //", true},
	} {
		r, _, err := parseField(c.field)
		if err != nil || r.applies(c.request) != c.want {
			t.Errorf("%s for %s: %v: %v", c.field, c.request, !c.want, err)
		}
	}
}

// FuzzField compiles any path, and what compiles selects what it names.
func FuzzField(f *testing.F) {
	for _, s := range []string{`$.a.b`, `$..ssn`, `$['o\'d\u00e9'][*]`, `GET /a/*: $..a..["b"].*`, `$.a[0]`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		set, err := Compile([]Rule{{Fields: []string{in}, Operator: "redact"}}, nil)
		if err != nil {
			return
		}
		if again, steps, err := parseField("$" + showField(set.steps)); err != nil || showSteps(steps) != showSteps(set.steps) || again.path != "" {
			t.Fatalf("%q: %s is %s: %v", in, showSteps(set.steps), showSteps(steps), err)
		}
		doc := `"planted"`
		for i := len(set.steps) - 1; i >= 0; i-- {
			if s := set.steps[i]; s.any {
				doc = "[1," + doc + "]"
			} else {
				doc = `{"0":"shown",` + quoteJSON(s.name) + ":" + doc + "}"
			}
			if set.steps[i].deep {
				doc = `[{"":` + doc + `}]`
			}
		}
		for _, size := range []int{1, 3, 1 << 20} {
			out, _, err := runObjects(set, plain, []byte(doc), size)
			if err != nil || strings.Contains(string(out), "planted") {
				t.Fatalf("%q in pieces of %d: %s gives %s: %v", in, size, doc, out, err)
			}
		}
	})
}

// showField writes steps as a path.
func showField(steps []step) string {
	var b strings.Builder
	for _, s := range steps {
		if s.deep {
			b.WriteString("..")
		}
		if s.any {
			b.WriteString("[*]")
			continue
		}
		b.WriteString("['")
		for _, r := range s.name {
			switch {
			case r == '\'' || r == '\\':
				b.WriteString("\\" + string(r))
			case r < ' ':
				fmt.Fprintf(&b, "\\u%04x", r)
			default:
				b.WriteRune(r)
			}
		}
		b.WriteString("']")
	}
	return b.String()
}
