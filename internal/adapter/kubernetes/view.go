package kubernetes

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/pmezard/go-difflib/difflib"
	"sigs.k8s.io/yaml"

	"github.com/doorward/doorward/internal/gate"
)

const (
	longText   = 1 << 10 // of one text of an object, in a preview
	maxUnseen  = 50      // paths whose change cannot be shown
	lastWanted = "kubectl.kubernetes.io/last-applied-configuration"
)

// view is an object for people: as it is, to be compared only, and masked.
type view struct{ raw, masked map[string]any }

// view makes one of an object in JSON.
func (q *query) view(object []byte, secret bool) (*view, error) {
	m := q.lane.Objects(gate.ObjectsOptions{Secrets: secret})
	shown, err := m.Write(nil, object)
	if err == nil {
		shown, err = m.Close(shown)
	}
	if err != nil {
		return nil, errors.New("what the cluster sends cannot be masked")
	}
	v := &view{}
	for _, one := range []struct {
		b  []byte
		to *map[string]any
	}{{object, &v.raw}, {shown, &v.masked}} {
		d := json.NewDecoder(bytes.NewReader(one.b))
		d.UseNumber()
		if err := d.Decode(one.to); err != nil {
			return nil, errors.New("what the cluster sends is no object")
		}
		bookkeeping(*one.to)
		if q.at.Subresource == "" {
			delete(*one.to, "status") // which a write of the object itself leaves as it is
		}
	}
	return v, nil
}

// bookkeeping takes out what the API server keeps for itself.
func bookkeeping(o map[string]any) {
	if meta, ok := o["metadata"].(map[string]any); ok {
		delete(meta, "managedFields")
		delete(meta, "generation")
		delete(meta, "resourceVersion")
	}
}

// annotation takes one annotation of an object out, and gives it.
func annotation(o map[string]any, name string) any {
	meta, _ := o["metadata"].(map[string]any)
	all, _ := meta["annotations"].(map[string]any)
	v := all[name]
	delete(all, name)
	if len(all) == 0 {
		delete(meta, "annotations")
	}
	return v
}

// text is the masked object in YAML, long texts shortened: what is cut must not
// be at the choice of who wrote the object.
func (v *view) text() (string, error) {
	b, err := yaml.Marshal(shortened(v.masked))
	return strings.ToValidUTF8(string(b), "?"), err
}

func shortened(v any) any {
	switch x := v.(type) {
	case string:
		if len(x) > longText {
			return strings.ToValidUTF8(x[:longText/2], "") + fmt.Sprintf("… (%d more bytes)", len(x)-longText/2)
		}
	case []any:
		out := make([]any, len(x))
		for i := range x {
			out[i] = shortened(x[i])
		}
		return out
	case map[string]any:
		out := make(map[string]any, len(x))
		for k := range x {
			out[k] = shortened(x[k])
		}
		return out
	}
	return v
}

// difference is what changes between two views: lines as they would be shown,
// and the paths of what changes behind a mask.
func difference(before, after *view) (string, error) {
	var out strings.Builder
	// What kubectl applied is the object once more; its change matters to the
	// next apply.
	was, is := annotation(before.raw, lastWanted), annotation(after.raw, lastWanted)
	annotation(before.masked, lastWanted)
	annotation(after.masked, lastWanted)
	if was != is {
		out.WriteString("The annotation " + lastWanted + " changes: what `kubectl apply` removes next time is decided by it.\n")
	}
	unseen := hidden(nil, "", before.raw, after.raw, before.masked, after.masked)
	for i, path := range unseen {
		if i == maxUnseen {
			fmt.Fprintf(&out, "… and %d more\n", len(unseen)-maxUnseen)
			break
		}
		out.WriteString(path + " changes, and is not shown.\n")
	}
	a, err := before.text()
	if err != nil {
		return "", err
	}
	b, err := after.text()
	if err != nil {
		return "", err
	}
	diff, err := difflib.GetUnifiedDiffString(difflib.UnifiedDiff{A: difflib.SplitLines(a), B: difflib.SplitLines(b), FromFile: "now", ToFile: "then", Context: 3})
	if err != nil {
		return "", err
	}
	out.WriteString(diff)
	if out.Len() == 0 {
		return "The cluster says that nothing would change.", nil
	}
	return out.String(), nil
}

// hidden adds the paths of what differs and looks the same: masked, or cut off.
func hidden(paths []string, path string, before, after, shownBefore, shownAfter any) []string {
	if a, ok := before.(map[string]any); ok {
		if b, ok := after.(map[string]any); ok {
			sa, _ := shownBefore.(map[string]any)
			sb, _ := shownAfter.(map[string]any)
			keys := slices.Sorted(maps.Keys(a))
			for k := range b {
				if _, both := a[k]; !both {
					keys = append(keys, k)
				}
			}
			for _, k := range keys {
				paths = hidden(paths, path+"."+k, a[k], b[k], sa[k], sb[k])
			}
			return paths
		}
	}
	if a, ok := before.([]any); ok {
		if b, ok := after.([]any); ok && len(a) == len(b) {
			sa, _ := shownBefore.([]any)
			sb, _ := shownAfter.([]any)
			for i := range a {
				var x, y any
				if i < len(sa) && i < len(sb) {
					x, y = sa[i], sb[i]
				}
				paths = hidden(paths, path+"["+strconv.Itoa(i)+"]", a[i], b[i], x, y)
			}
			return paths
		}
	}
	if same(before, after) || !same(shortened(shownBefore), shortened(shownAfter)) {
		return paths
	}
	return append(paths, strings.TrimPrefix(printable(path), "."))
}

func same(a, b any) bool {
	x, err1 := json.Marshal(a)
	y, err2 := json.Marshal(b)
	return err1 == nil && err2 == nil && bytes.Equal(x, y)
}

// holdsMasks reports whether a body holds a text that the live object was shown
// with, and does not have.
func holdsMasks(body, live, shown []byte) (string, bool) {
	var b, l, s any
	if json.Unmarshal(body, &b) != nil || json.Unmarshal(live, &l) != nil || json.Unmarshal(shown, &s) != nil {
		return "", false
	}
	real, masked := map[string]bool{}, map[string]bool{}
	texts(l, func(t string) { real[t] = true })
	texts(s, func(t string) {
		if !real[t] {
			masked[t] = true
		}
	})
	found := ""
	if len(masked) > 0 {
		texts(b, func(t string) {
			if masked[t] {
				found = t
			}
		})
	}
	return found, found != ""
}

// texts calls f with each text in a JSON value.
func texts(v any, f func(string)) {
	switch x := v.(type) {
	case string:
		f(x)
	case []any:
		for _, e := range x {
			texts(e, f)
		}
	case map[string]any:
		for _, e := range x {
			texts(e, f)
		}
	}
}
