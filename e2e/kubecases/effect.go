package kubecases

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// snapshot is what the cluster holds, by path: what people decide, not what the
// cluster says of itself.
type snapshot map[string][]byte

// effect is the difference of two snapshots.
type effect struct {
	added   []string
	changed map[string][]byte // path to how it was; also what is gone
}

func (e effect) none() bool { return len(e.added)+len(e.changed) == 0 }

// String names what is different.
func (e effect) String() string {
	var out []string
	for _, p := range e.added {
		out = append(out, "+"+p)
	}
	for _, p := range slices.Sorted(maps.Keys(e.changed)) {
		out = append(out, "~"+p)
	}
	if len(out) > 8 {
		out = append(out[:8], fmt.Sprintf("and %d more", len(out)-8))
	}
	return strings.Join(out, " ")
}

// moving are resources that change by themselves, or with others.
var moving = []string{"events", "leases", "leasecandidates", "endpoints", "endpointslices", "componentstatuses", "controllerrevisions", "ipaddresses", "servicecidrs"}

// collections are the paths of all that the API server can list.
func (w *world) collections(ctx context.Context) ([]string, error) {
	roots := []string{"/api/v1"}
	b, err := w.get(ctx, "/apis")
	if err != nil {
		return nil, err
	}
	var groups struct {
		Groups []struct{ PreferredVersion struct{ GroupVersion string } }
	}
	if err := json.Unmarshal(b, &groups); err != nil {
		return nil, err
	}
	for _, g := range groups.Groups {
		roots = append(roots, "/apis/"+g.PreferredVersion.GroupVersion)
	}
	var out []string
	for _, root := range roots {
		b, err := w.get(ctx, root)
		if err != nil {
			return nil, err
		}
		var list struct {
			Resources []struct {
				Name  string
				Verbs []string
			}
		}
		if err := json.Unmarshal(b, &list); err != nil {
			return nil, fmt.Errorf("%s: %w", root, err)
		}
		for _, r := range list.Resources {
			if slices.Contains(r.Verbs, "list") && !strings.Contains(r.Name, "/") && !slices.Contains(moving, r.Name) {
				out = append(out, root+"/"+r.Name)
			}
		}
	}
	return out, nil
}

// look takes a snapshot.
func (w *world) look(ctx context.Context) (snapshot, error) {
	out := snapshot{}
	for _, c := range w.listed {
		b, err := w.get(ctx, c)
		if err != nil {
			return nil, err
		}
		var list struct{ Items []json.RawMessage }
		if err := json.Unmarshal(b, &list); err != nil {
			return nil, fmt.Errorf("%s: %w", c, err)
		}
		for _, raw := range list.Items {
			path, lasting, err := w.lasting(c, raw)
			if err != nil {
				return nil, err
			}
			if path != "" {
				out[path] = lasting
			}
		}
	}
	return out, nil
}

// lasting is what of an object counts: "" for one that another object makes.
func (w *world) lasting(collection string, raw []byte) (string, []byte, error) {
	var o map[string]any
	if err := json.Unmarshal(raw, &o); err != nil {
		return "", nil, err
	}
	m, _ := o["metadata"].(map[string]any)
	name, _ := m["name"].(string)
	namespace, _ := m["namespace"].(string)
	if m["ownerReferences"] != nil || name == "kube-root-ca.crt" || strings.HasSuffix(collection, "/flowschemas") || strings.HasSuffix(collection, "/prioritylevelconfigurations") {
		return "", nil, nil
	}
	delete(o, "status")
	for _, k := range []string{"resourceVersion", "managedFields", "generation"} {
		delete(m, k)
	}
	if a, ok := m["annotations"].(map[string]any); ok {
		delete(a, "deployment.kubernetes.io/revision")
	}
	at, ok := objectAt(collection)
	if !ok {
		return "", nil, fmt.Errorf("%s is no collection", collection)
	}
	at.namespace, at.name = namespace, name
	b, err := json.Marshal(o)
	return at.path(), b, err
}

func (s snapshot) diff(after snapshot) effect {
	e := effect{changed: map[string][]byte{}}
	for path, b := range after {
		if was, there := s[path]; !there {
			e.added = append(e.added, path)
		} else if string(was) != string(b) {
			e.changed[path] = was
		}
	}
	for path, was := range s {
		if _, there := after[path]; !there {
			e.changed[path] = was
		}
	}
	slices.Sort(e.added)
	return e
}
