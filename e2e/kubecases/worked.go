package kubecases

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"
)

// worked checks that what was let through came back as it does without a gate.
func (j *judge) worked(ctx context.Context, r *round) error {
	for _, t := range j.check.Contains {
		if !bytes.Contains(r.bytes, []byte(t)) {
			j.bad("%q did not come back (%s)", t, r.describe())
		}
	}
	for _, a := range r.answers {
		if a.status == http.StatusSwitchingProtocols && !a.streams() {
			j.bad("the connection was changed to another protocol")
		}
	}
	if j.check.Rows != nil {
		if got := rows(r.answers); got != *j.check.Rows {
			j.bad("%d objects came back, want %d", got, *j.check.Rows)
		}
	}
	for _, l := range r.lines() {
		if l.writes() && !strings.Contains(l.target, "/self") {
			return nil // a second time it does something else
		}
	}
	e, conf := j.w.direct()
	s, err := run(ctx, j.steps, e, conf, func(l line) { j.w.touch(ctx, l, &touched{}) })
	if err != nil {
		return err
	}
	if len(s.answers) != len(r.answers) {
		j.bad("%d answers came, without a gate %d: %s", len(r.answers), len(s.answers), s.describe())
		return nil
	}
	for i, a := range r.answers {
		if why := a.unlike(s.answers[i], j.outcome == "masked", j.accepts()); why != "" {
			j.bad("%s", why)
		}
		if j.Kind == "benign" && a.status >= 300 && a.status != http.StatusSwitchingProtocols {
			j.bad("a benign request is answered with %d, without a gate too", a.status)
		}
	}
	return nil
}

// streams reports whether the path is one of those that change the protocol.
func (a *answer) streams() bool {
	u := a.line.url()
	if u == nil {
		return false
	}
	o, ok := objectAt(u.Path)
	return ok && o.resource == "pods" && slices.Contains([]string{"exec", "attach", "portforward"}, o.rest)
}

// accepts are the formats that the case's requests take.
func (j *judge) accepts() (out string) {
	for _, s := range j.steps {
		for _, h := range s.Headers {
			if strings.EqualFold(h[0], "Accept") {
				out += "," + h[1]
			}
		}
	}
	return out
}

// unlike says how an answer differs from the one without a gate, "" for not.
func (a *answer) unlike(b *answer, masked bool, accepts string) string {
	if a.status != b.status {
		return fmt.Sprintf("the status is %d, without a gate %d: %s", a.status, b.status, firstLine(a.body))
	}
	if a.line.method == http.MethodHead {
		return ""
	}
	typeA, typeB := a.header.Get("Content-Type"), b.header.Get("Content-Type")
	if typeA != typeB {
		if media, _, _ := strings.Cut(typeA, ";"); strings.Contains(accepts, media) {
			return "" // the client takes both, and they cannot be compared
		}
		return fmt.Sprintf("the content type is %q, without a gate %q", typeA, typeB)
	}
	switch {
	case a.status == http.StatusSwitchingProtocols:
		if len(a.body) == 0 && len(b.body) > 0 {
			return fmt.Sprintf("nothing came on the stream, without a gate %.200q", b.body)
		}
		return ""
	case strings.Contains(a.line.target, "/log"):
		return unlikeLog(a, b)
	case a.line.live():
		// The second watch began later: what it has first, the first one has.
		ea, eb := watched(a.body), watched(b.body)
		if len(ea) == 0 && len(eb) > 0 || len(ea) > 0 && len(eb) > 0 && ea[0] != eb[0] {
			return fmt.Sprintf("the watch saw %q, without a gate %q", ea, eb)
		}
		return ""
	}
	x, y := identity(a.body), identity(b.body)
	if masked && len(x) == len(y) {
		return ""
	}
	if !reflect.DeepEqual(x, y) {
		return fmt.Sprintf("what came differs from what comes without a gate: %.300q and %.300q", fmt.Sprint(x), fmt.Sprint(y))
	}
	return ""
}

// unlikeLog compares logs that grow: the one that was read first is in the
// other, as far as that goes back.
func unlikeLog(a, b *answer) string {
	linesA, linesB := strings.Split(strings.TrimSpace(string(a.body)), "\n"), strings.Split(strings.TrimSpace(string(b.body)), "\n")
	if len(a.body) == 0 && len(b.body) > 0 {
		return "no line of the log came"
	}
	if len(linesB) < 2 || len(linesA) < 2 {
		return ""
	}
	at := slices.Index(linesA, linesB[0])
	if at < 0 {
		return fmt.Sprintf("the log %.200q has nothing of %.200q", a.body, b.body)
	}
	for i, l := range linesA[at:] {
		if i < len(linesB) && l != linesB[i] && i < len(linesA[at:])-1 { // the last line may be half
			return fmt.Sprintf("the log says %q, without a gate %q", l, linesB[i])
		}
	}
	return ""
}

// watched names the events of a watch.
func watched(body []byte) (out []string) {
	for d := json.NewDecoder(bytes.NewReader(body)); ; {
		var e struct {
			Type   string
			Object json.RawMessage
		}
		if d.Decode(&e) != nil {
			return out
		}
		out = append(out, e.Type+" "+strings.Join(identity(e.Object), " "))
	}
}

// identity says what a document is about: its objects by their uids, and for
// what has none, all of it.
func identity(body []byte) []string {
	var o struct {
		Kind     string
		Metadata struct{ UID, Name string }
		Items    []struct{ Metadata struct{ UID, Name string } }
		Rows     []struct {
			Object struct{ Metadata struct{ UID, Name string } }
		}
		Code int
	}
	if json.Unmarshal(body, &o) != nil {
		return []string{string(body)}
	}
	var out []string
	switch {
	case o.Kind == "Table":
		for _, r := range o.Rows {
			out = append(out, r.Object.Metadata.Name+" "+r.Object.Metadata.UID)
		}
	case strings.HasSuffix(o.Kind, "List") && len(o.Items) > 0 && o.Items[0].Metadata.UID != "":
		for _, i := range o.Items {
			out = append(out, i.Metadata.Name+" "+i.Metadata.UID)
		}
	case o.Metadata.UID != "":
		return []string{o.Kind, o.Metadata.Name, o.Metadata.UID}
	case o.Kind == "Status":
		return []string{o.Kind, fmt.Sprint(o.Code)}
	default:
		var any any
		_ = json.Unmarshal(body, &any)
		b, _ := json.Marshal(any) // with its keys in order
		return []string{string(b)}
	}
	slices.Sort(out)
	return append([]string{o.Kind}, out...)
}

// rows counts the objects that came.
func rows(list []*answer) int {
	n := 0
	for _, a := range list {
		n += max(len(identity(a.body))-1, 0)
	}
	return n
}

// touched are the marks that were written into objects while watches were open.
type touched struct {
	mu    sync.Mutex
	marks map[string]string // by target
}

func (t *touched) of(l line) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.marks[l.target]
}

// watchable names an object of each collection that watches in cases are of.
var watchable = map[string]string{
	"pods": "p1", "services": "db", "configmaps": "app", "deployments": "web", "jobs": "job", "events": "p1.started",
}

// touch changes an object that an open watch is of, and changes it back.
func (w *world) touch(ctx context.Context, l line, t *touched) {
	u := l.url()
	if u == nil || l.method != http.MethodGet || !l.live() {
		return
	}
	o, ok := objectAt(u.Path)
	name := watchable[o.resource]
	selector := u.Query().Get("fieldSelector") + u.Query().Get("labelSelector")
	if !ok || name == "" || o.namespace != "dev" || o.rest != "" || o.name != "" && o.name != name || selector != "" && selector != "metadata.name="+name {
		return
	}
	o.name = name
	mark := fmt.Sprintf("touched-%d", time.Now().UnixNano())
	for _, value := range []string{`"` + mark + `"`, "null"} {
		if status, _, err := w.do(ctx, http.MethodPatch, o.path(), "application/merge-patch+json", []byte(`{"metadata":{"annotations":{"doorward.test/touched":`+value+`}}}`)); err != nil || status != http.StatusOK {
			return
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.marks == nil {
		t.marks = map[string]string{}
	}
	t.marks[l.target] = mark
}
