package kubernetes

import (
	"slices"
	"strconv"
)

// counter is a field that says how many of a workload run.
type counter struct {
	path   []string
	absent bool // without it there are none
}

// counters are the fields that stop a workload when they are 0, or true, by
// group/resource. A subresource scale has its own.
var counters = map[string][]counter{
	"apps/deployments":                     {{path: []string{"spec", "replicas"}}},
	"apps/replicasets":                     {{path: []string{"spec", "replicas"}}},
	"apps/statefulsets":                    {{path: []string{"spec", "replicas"}}},
	"extensions/deployments":               {{path: []string{"spec", "replicas"}}},
	"extensions/replicasets":               {{path: []string{"spec", "replicas"}}},
	"/replicationcontrollers":              {{path: []string{"spec", "replicas"}}},
	"batch/jobs":                           {{path: []string{"spec", "parallelism"}}, {path: []string{"spec", "suspend"}}},
	"autoscaling/horizontalpodautoscalers": {{path: []string{"spec", "minReplicas"}}, {path: []string{"spec", "maxReplicas"}}},
}

// scalesToZero reports whether a write may leave a workload without replicas.
// Where a patch does not show what is left, it may.
func (f *facts) scalesToZero(r *Request) bool {
	if f.body == nil || f.Verb != "update" && f.Verb != "patch" || f.Subresource != "" && f.Subresource != "scale" {
		return false
	}
	list := counters[f.Group+"/"+f.Resource]
	if f.Subresource == "scale" || f.res == nil {
		// Scale has no default; what custom resources have is not known.
		list = []counter{{path: []string{"spec", "replicas"}, absent: f.Subresource == "scale"}}
	}
	return slices.ContainsFunc(list, func(c counter) bool {
		if r.ContentType == typeJSONPatch {
			return c.zeroByOperations(f.body)
		}
		return c.zeroByObject(f.body, r.ContentType == typeJSON || r.ContentType == typeApply, f.res == nil)
	})
}

// zeroByObject looks at an object, whole or the part that a patch changes.
func (c *counter) zeroByObject(n *node, whole, custom bool) bool {
	for _, key := range c.path {
		if c.absent && !whole && n.is(objectNode) && slices.ContainsFunc(n.keys, func(k string) bool { return drops[k] }) {
			return true
		}
		v := n.get(key)
		switch {
		case v == nil:
			return whole && c.absent
		case v.kind == nullNode:
			return c.absent || custom
		}
		n = v
	}
	return none(n)
}

// none reports whether a counter's value, or a switch's, may leave nothing
// running.
func none(n *node) bool {
	switch n.kind {
	case numberNode:
		v, err := strconv.ParseFloat(n.text, 64)
		return err != nil || v < 1
	case boolNode:
		return n.text == "true"
	}
	return true
}

// zeroByOperations looks at a JSON patch. What comes later can undo what came
// before, but that is not counted on.
func (c *counter) zeroByOperations(tree *node) bool {
	list, err := operations(tree)
	if err != nil {
		return true
	}
	return slices.ContainsFunc(list, func(o operation) bool {
		switch o.op {
		case "test":
			return false
		case "move":
			if related(o.from, c.path) {
				return true
			}
		}
		if !related(o.path, c.path) {
			return false
		}
		if o.op == "move" || o.op == "copy" || len(o.path) > len(c.path) {
			return true // what comes there is not in the patch
		}
		if o.op == "remove" {
			return c.absent || len(o.path) < len(c.path)
		}
		rest := counter{path: c.path[len(o.path):], absent: c.absent}
		return rest.zeroByObject(o.value, true, false)
	})
}

// touches reports whether some operation may write the field, or what it
// stands in.
func touches(tree *node, path []string) bool {
	list, err := operations(tree)
	return err != nil || slices.ContainsFunc(list, func(o operation) bool {
		return o.op != "test" && (related(o.path, path) || o.op == "move" && related(o.from, path))
	})
}

// related reports whether one path is the other, or stands in it.
func related(a, b []string) bool { return prefix(a, b) || prefix(b, a) }
