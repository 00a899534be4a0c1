package kubernetes

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
)

// difference says where two documents do not say the same, or "". An empty
// value is the same as none; amounts (500m, 0.5) and times are compared by what
// they mean.
func difference(was, is []byte) string {
	a, err := decode(was)
	if err != nil {
		return "the start"
	}
	b, err := decode(is)
	if err != nil {
		return "the start"
	}
	return differ("", a, b)
}

func decode(b []byte) (v any, err error) {
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	err = d.Decode(&v)
	return v, err
}

// differ is difference below a path.
func differ(path string, a, b any) string {
	if empty(a) && empty(b) {
		return ""
	}
	here := path
	if here == "" {
		here = "the start"
	}
	switch a := a.(type) {
	case map[string]any:
		b, ok := b.(map[string]any)
		if !ok {
			return here
		}
		for _, key := range slices.Sorted(maps.Keys(a)) {
			if d := differ(path+"."+key, a[key], b[key]); d != "" {
				return d
			}
		}
		for _, key := range slices.Sorted(maps.Keys(b)) {
			if _, ok := a[key]; !ok && !empty(b[key]) {
				return path + "." + key
			}
		}
		return ""
	case []any:
		b, ok := b.([]any)
		if !ok || len(a) != len(b) {
			return here
		}
		for i := range a {
			if d := differ(fmt.Sprintf("%s[%d]", path, i), a[i], b[i]); d != "" {
				return d
			}
		}
		return ""
	case string:
		switch b := b.(type) {
		case string:
			if a == b || sameAmount(a, b) || sameTime(a, b) {
				return ""
			}
		}
	case json.Number:
		switch b := b.(type) {
		case json.Number:
			if sameNumber(string(a), string(b)) {
				return ""
			}
		case string: // an amount may be written as a number
			if sameAmount(string(a), b) {
				return ""
			}
		}
	case bool:
		if a == b {
			return ""
		}
	}
	return here
}

// empty reports whether a value says nothing where a field is optional.
func empty(v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case bool:
		return !v
	case string:
		return v == ""
	case json.Number:
		f, err := v.Float64()
		return err == nil && f == 0 && !strings.ContainsAny(string(v), "123456789")
	case []any:
		return len(v) == 0
	case map[string]any:
		for _, x := range v {
			if !empty(x) {
				return false
			}
		}
		return true
	}
	return false
}

func sameNumber(a, b string) bool {
	if a == b {
		return true
	}
	_, err := strconv.ParseInt(a, 10, 64)
	_, err2 := strconv.ParseInt(b, 10, 64)
	if err == nil && err2 == nil {
		return false // Go writes an integer in one way
	}
	x, err := strconv.ParseFloat(a, 64)
	y, err2 := strconv.ParseFloat(b, 64)
	return err == nil && err2 == nil && x == y
}

func sameAmount(a, b string) bool {
	if len(a) > maxQuantity || len(b) > maxQuantity {
		return false
	}
	x, err := resource.ParseQuantity(a)
	y, err2 := resource.ParseQuantity(b)
	return err == nil && err2 == nil && x.Cmp(y) == 0
}

func sameTime(a, b string) bool {
	x, err := time.Parse(time.RFC3339, a)
	y, err2 := time.Parse(time.RFC3339, b)
	return err == nil && err2 == nil && x.Equal(y)
}
