package kubernetes

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// envelope makes a message as a Kubernetes client does.
func envelope(t testing.TB, apiVersion, kind string, m interface{ Marshal() ([]byte, error) }) []byte {
	t.Helper()
	raw, err := m.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return wrap(t, apiVersion, kind, raw)
}

func wrap(t testing.TB, apiVersion, kind string, raw []byte) []byte {
	t.Helper()
	b, err := (&runtime.Unknown{TypeMeta: runtime.TypeMeta{APIVersion: apiVersion, Kind: kind}, Raw: raw}).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return append(bytes.Clone(magic), b...)
}

// apiSamples is the folder in which k8s.io/api keeps a message of every kind,
// as this and earlier versions wrote it.
func apiSamples(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "k8s.io/api").Output()
	if err != nil {
		t.Skipf("go list: %v", err)
	}
	dir := filepath.Join(strings.TrimSpace(string(out)), "testdata")
	if _, err := os.Stat(dir); err != nil {
		t.Skip(err)
	}
	return dir
}

// TestEveryKind turns a message of every kind there and back, with every field
// set, as written by this version and by earlier ones.
func TestEveryKind(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(apiSamples(t), "*", "*.pb"))
	if err != nil {
		t.Fatal(err)
	}
	turned := map[string]int{}
	for _, file := range files {
		version, name := filepath.Base(filepath.Dir(file)), strings.TrimSuffix(filepath.Base(file), ".pb")
		if strings.Contains(name, ".after_roundtrip") || name == "core.v1.WatchEvent" { // see TestEvents
			continue
		}
		pb, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		doc, err := ToJSON(pb)
		if err != nil {
			// A field that has gone since, or a kind that has.
			_, gone := os.Stat(strings.TrimSuffix(file, ".pb") + ".after_roundtrip.pb")
			switch {
			case errors.Is(err, ErrUnknownKind):
			case gone == nil && errors.Is(err, ErrLossy):
			default:
				t.Errorf("%s %s: %v", version, name, err)
			}
			continue
		}
		want, err := os.ReadFile(strings.TrimSuffix(file, ".pb") + ".json")
		if err != nil {
			t.Fatal(err)
		}
		if where := difference(want, doc); where != "" {
			t.Errorf("%s %s: not the same at %s", version, name, where)
		}
		back, err := FromJSON(doc)
		if err != nil || version == "HEAD" && !bytes.Equal(back, pb) || !same(pb[len(magic):], back[len(magic):], 0) {
			t.Errorf("%s %s: the way back: %v", version, name, err)
		}
		if back, err = FromJSON(want); err != nil || version == "HEAD" && !same(pb[len(magic):], back[len(magic):], 0) {
			t.Errorf("%s %s: from the JSON of the API server: %v", version, name, err)
		}
		turned[version]++
	}
	for version, n := range turned {
		if n < 150 {
			t.Errorf("%s: %d kinds only", version, n)
		}
	}
	t.Log(turned)
}

// TestMessages turns what clients send and servers answer beside objects.
func TestMessages(t *testing.T) {
	grace := int64(5)
	when := metav1.NewTime(time.Unix(1770000000, 0))
	for _, c := range []struct {
		apiVersion, kind string
		m                interface{ Marshal() ([]byte, error) }
		want             string
	}{
		{"v1", "DeleteOptions", &metav1.DeleteOptions{GracePeriodSeconds: &grace, DryRun: []string{"All"}}, `{"kind":"DeleteOptions","apiVersion":"v1","gracePeriodSeconds":5,"dryRun":["All"]}`},
		{"apps/v1", "DeleteOptions", &metav1.DeleteOptions{}, `{"kind":"DeleteOptions","apiVersion":"apps/v1"}`},
		{"meta.k8s.io/v1", "DeleteOptions", &metav1.DeleteOptions{}, `{"kind":"DeleteOptions","apiVersion":"meta.k8s.io/v1"}`},
		{"v1", "Status", &metav1.Status{Status: "Failure", Message: "no", Code: 404, Details: &metav1.StatusDetails{Causes: []metav1.StatusCause{{Message: "x"}}}}, `{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"no","details":{"causes":[{"message":"x"}]},"code":404}`},
		{"policy/v1", "Eviction", &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Name: "p"}, DeleteOptions: &metav1.DeleteOptions{}}, `{"kind":"Eviction","apiVersion":"policy/v1","metadata":{"name":"p"},"deleteOptions":{}}`},
		{"meta.k8s.io/v1", "PartialObjectMetadata", &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Name: "p", CreationTimestamp: when}}, `{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":{"name":"p","creationTimestamp":"2026-02-02T02:40:00Z"}}`},
		{"v1", "APIResourceList", &metav1.APIResourceList{GroupVersion: "v1", APIResources: []metav1.APIResource{{Name: "pods", Verbs: metav1.Verbs{"get"}}}}, `{"kind":"APIResourceList","apiVersion":"v1","groupVersion":"v1","resources":[{"name":"pods","singularName":"","namespaced":false,"kind":"","verbs":["get"]}]}`},
		{"v1", "Secret", &corev1.Secret{Data: map[string][]byte{"k": []byte("hi"), "e": {}}}, `{"kind":"Secret","apiVersion":"v1","metadata":{},"data":{"e":"","k":"aGk="}}`},
	} {
		pb := envelope(t, c.apiVersion, c.kind, c.m)
		doc, err := ToJSON(pb)
		if err != nil || string(doc) != c.want {
			t.Errorf("%s %s: %v\n got %s\nwant %s", c.apiVersion, c.kind, err, doc, c.want)
			continue
		}
		if back, err := FromJSON(doc); err != nil || !bytes.Equal(back, pb) {
			t.Errorf("%s %s: the way back: %v\n%q\n%q", c.apiVersion, c.kind, err, back, pb)
		}
	}
	pod := envelope(t, "v1", "Pod", &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{Resources: corev1.ResourceRequirements{Limits: corev1.ResourceList{"cpu": resource.MustParse("1500m")}}}}}})
	doc, err := ToJSON(pod)
	if err != nil || !bytes.Contains(doc, []byte(`"cpu":"1500m"`)) {
		t.Errorf("%s, %v", doc, err)
	}
	for _, doc := range []string{ // the same in other words
		`{"kind":"Pod","apiVersion":"v1","spec":{"containers":[{"name":"c","resources":{"limits":{"cpu":1.5,"memory":"1024Mi"}}}]}}`,
		`{"kind":"Pod","apiVersion":"v1","metadata":{"creationTimestamp":null,"labels":{},"name":"","deletionTimestamp":"2026-01-02T03:04:05+02:00"},"spec":{"containers":[],"volumes":null},"status":{}}`,
	} {
		if _, err := FromJSON([]byte(doc)); err != nil {
			t.Errorf("%s: %v", doc, err)
		}
	}
}

// TestLoss wants an error for what the other form would not say.
func TestLoss(t *testing.T) {
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "s"}}
	raw, _ := secret.Marshal()
	extra := func(raw []byte, more ...byte) []byte { return append(bytes.Clone(raw), more...) }
	meta, _ := (&metav1.ObjectMeta{Name: "s"}).Marshal()
	inner := extra(meta, 0xfa, 0x3f, 1, 'x') // field 1023
	nested := append([]byte{0x0a, byte(len(inner))}, inner...)
	stamp := append([]byte{0x0a, 6, 0x42, 4, 0x08, 0x05, 0x10, 0x07}, 0x12, 0) // creationTimestamp with nanoseconds
	for what, c := range map[string]struct {
		b    []byte
		want error
	}{
		"unknown field":        {wrap(t, "v1", "Secret", extra(raw, 0xfa, 0x3f, 1, 'x')), ErrLossy},
		"unknown empty field":  {wrap(t, "v1", "Secret", extra(raw, 0xfa, 0x3f, 0)), ErrLossy},
		"unknown nested field": {wrap(t, "v1", "Secret", nested), ErrLossy},
		"field twice":          {wrap(t, "v1", "Secret", extra(raw, 0x1a, 1, 'a', 0x1a, 1, 'b')), ErrLossy},
		"key twice":            {wrap(t, "v1", "Secret", extra(raw, 0x12, 6, 0x0a, 1, 'k', 0x12, 1, 'a', 0x12, 6, 0x0a, 1, 'k', 0x12, 1, 'b')), ErrLossy},
		"nanoseconds":          {wrap(t, "v1", "Secret", stamp), ErrLossy},
		"not UTF-8":            {envelope(t, "v1", "Secret", &corev1.Secret{StringData: map[string]string{"a": "\xff"}}), ErrLossy},
		"raw that is no JSON":  {envelope(t, "apps/v1", "ControllerRevision", &appsv1.ControllerRevision{Data: runtime.RawExtension{Raw: magic}}), ErrLossy},
		"envelope field":       {extra(wrap(t, "v1", "Secret", raw), 0xfa, 0x3f, 1, 'x'), ErrLossy},
		"custom kind":          {wrap(t, "example.com/v1", "Widget", nil), ErrUnknownKind},
		"Table":                {wrap(t, "meta.k8s.io/v1", "Table", nil), ErrUnknownKind},
		"unknown kind":         {wrap(t, "v1", "Widget", nil), ErrUnknownKind},
		"no kind":              {wrap(t, "", "", nil), ErrMessage},
		"no magic":             {[]byte("{}"), ErrMessage},
		"nothing":              {nil, ErrMessage},
		"magic only":           {magic, ErrMessage},
		"broken":               {wrap(t, "v1", "Secret", []byte{0x0a, 9, 1}), ErrMessage},
		"broken envelope":      {append(bytes.Clone(magic), 0x0a, 9, 1), ErrMessage},
		"too large":            {append(bytes.Clone(magic), make([]byte, MaxMessage)...), ErrMessage},
		"other content":        {unknown(t, runtime.Unknown{TypeMeta: runtime.TypeMeta{APIVersion: "v1", Kind: "Secret"}, Raw: []byte("{}"), ContentType: "application/json"}), ErrMessage},
		"encoded content":      {unknown(t, runtime.Unknown{TypeMeta: runtime.TypeMeta{APIVersion: "v1", Kind: "Secret"}, Raw: raw, ContentEncoding: "gzip"}), ErrMessage},
	} {
		if doc, err := ToJSON(c.b); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v: %s", what, err, c.want, doc)
		}
	}
	for doc, want := range map[string]error{
		`{"kind":"Secret","apiVersion":"v1","newField":"x"}`:                                            ErrLossy,
		`{"kind":"Secret","apiVersion":"v1","Data":{"a":"aGk="}}`:                                       ErrLossy,
		`{"kind":"Secret","apiVersion":"v1","data":{"a":"aGk="},"data":{"a":"aGk="}}`:                   ErrLossy,
		`{"kind":"Secret","apiVersion":"v1","metadata":{"newField":0}}`:                                 ErrLossy,
		`{"kind":"Secret","apiVersion":"v1","metadata":{"creationTimestamp":"2026-01-02T03:04:05.5Z"}}`: ErrLossy,
		`{"kind":"PodList","apiVersion":"v1","items":[{"kind":"Pod","apiVersion":"v1"}]}`:               ErrLossy,
		`{"kind":"Widget","apiVersion":"example.com/v1"}`:                                               ErrUnknownKind,
		`{"kind":"Table","apiVersion":"meta.k8s.io/v1"}`:                                                ErrUnknownKind,
		`{}`: ErrMessage, ``: ErrMessage, `[]`: ErrMessage, `{"kind":"Secret","apiVersion":"v1"`: ErrMessage, `{"kind":"Secret","apiVersion":"v1","data":7}`: ErrMessage, `{"kind":"Secret","apiVersion":"v1"} {}`: ErrMessage,
	} {
		if b, err := FromJSON([]byte(doc)); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v: %q", doc, err, want, b)
		}
	}
}

func unknown(t *testing.T, u runtime.Unknown) []byte {
	t.Helper()
	b, err := u.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return append(bytes.Clone(magic), b...)
}

// TestOlderServer: a message without a field that came later is whole.
func TestOlderServer(t *testing.T) {
	raw := []byte{0x0a, 3, 0x0a, 1, 's'} // metadata with a name, and nothing else
	doc, err := ToJSON(wrap(t, "v1", "Secret", raw))
	if err != nil || string(doc) != `{"kind":"Secret","apiVersion":"v1","metadata":{"name":"s"}}` {
		t.Errorf("%s, %v", doc, err)
	}
}

func TestEvents(t *testing.T) {
	object := envelope(t, "v1", "Pod", &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p"}})
	body, err := (&metav1.WatchEvent{Type: "ADDED", Object: runtime.RawExtension{Raw: object}}).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	doc, err := EventToJSON(body)
	if err != nil || !bytes.HasPrefix(doc, []byte(`{"type":"ADDED","object":{"kind":"Pod","apiVersion":"v1","metadata":{"name":"p"}`)) || !json.Valid(doc) {
		t.Fatalf("%s, %v", doc, err)
	}
	back, err := EventFromJSON(doc)
	if err != nil || !bytes.Equal(back, body) {
		t.Fatalf("%q, %v", back, err)
	}
	stream, err := AppendFrame(nil, body)
	if err == nil {
		stream, err = AppendFrame(stream, nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	for cut := range len(stream) {
		first, rest, err := NextFrame(stream[:cut])
		if err != nil || (first != nil) != (cut >= len(body)+frameHeader) {
			t.Fatalf("cut at %d: %q, %v", cut, first, err)
		}
		if first == nil && len(rest) != cut {
			t.Fatalf("cut at %d: %d bytes are left", cut, len(rest))
		}
	}
	first, rest, err := NextFrame(stream)
	if err != nil || !bytes.Equal(first, body) {
		t.Fatalf("%q, %v", first, err)
	}
	if last, rest, err := NextFrame(rest); err != nil || last == nil || len(last) > 0 || len(rest) > 0 {
		t.Fatalf("%q, %q, %v", last, rest, err)
	}
	if _, _, err := NextFrame([]byte{0xff, 0, 0, 0}); !errors.Is(err, ErrMessage) {
		t.Errorf("a frame that is too large is taken: %v", err)
	}
	if _, err := AppendFrame(nil, make([]byte, MaxFrame+1)); !errors.Is(err, ErrMessage) {
		t.Errorf("a frame that is too large is written: %v", err)
	}
	bad, _ := (&metav1.WatchEvent{Type: "A\"B", Object: runtime.RawExtension{Raw: object}}).Marshal()
	plain, _ := (&metav1.WatchEvent{Type: "ADDED", Object: runtime.RawExtension{Raw: []byte(`{"kind":"Pod"}`)}}).Marshal()
	for what, body := range map[string][]byte{"type": bad, "object in JSON": plain, "nothing": nil, "unknown field": append(bytes.Clone(body), 0xfa, 0x3f, 1, 'x'), "broken": body[:len(body)-1]} {
		if doc, err := EventToJSON(body); err == nil {
			t.Errorf("%s: %s", what, doc)
		}
	}
	pod := `{"kind":"Pod","apiVersion":"v1"}`
	for _, doc := range []string{``, `[]`, `{}`, `{"type":"ADDED"}`, `{"object":` + pod + `}`, `{"type":"added","object":` + pod + `}`, `{"Type":"ADDED","object":` + pod + `}`, `{"type":"ADDED","type":"DELETED","object":` + pod + `}`, `{"type":"ADDED","object":` + pod + `,"object":` + pod + `}`, `{"type":"ADDED","object":` + pod + `,"x":1}`, `{"type":"ADDED","object":` + pod + `}{}`, `{"type":"ADDED","object":` + pod, `{"type":"ADDED","object":{"kind":"X","apiVersion":"x/v1"}}`} {
		if body, err := EventFromJSON([]byte(doc)); err == nil {
			t.Errorf("%s: %q", doc, body)
		}
	}
}

// TestKnown has each kind that is known be created without a panic.
func TestKnown(t *testing.T) {
	n := 0
	for gvk := range known().AllKnownTypes() {
		if gvk.Version == runtime.APIVersionInternal {
			continue
		}
		m, err := create(gvk)
		if errors.Is(err, ErrUnknownKind) {
			t.Logf("no protobuf: %s", gvk)
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", gvk, err)
			continue
		}
		m.GetObjectKind().SetGroupVersionKind(gvk)
		if _, err := FromJSON([]byte(`{"kind":"` + gvk.Kind + `","apiVersion":"` + gvk.GroupVersion().String() + `"}`)); err != nil && gvk.Kind != "WatchEvent" {
			t.Errorf("%s: %v", gvk, err)
		}
		n++
	}
	if n < 500 {
		t.Errorf("%d kinds only", n)
	}
	if _, err := create(schema.GroupVersionKind{Version: "v1", Kind: "Secret"}); err != nil {
		t.Error(err)
	}
}

func FuzzToJSON(f *testing.F) {
	f.Add(envelope(f, "v1", "Secret", &corev1.Secret{Data: map[string][]byte{"k": []byte("hi")}}))
	f.Add(envelope(f, "v1", "Pod", &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i"}}}}))
	f.Add(envelope(f, "v1", "Status", &metav1.Status{Message: "m"}))
	f.Fuzz(func(t *testing.T, b []byte) {
		doc, err := ToJSON(b)
		if err != nil {
			return
		}
		if !json.Valid(doc) {
			t.Fatalf("%s", doc)
		}
		back, err := FromJSON(doc)
		if err != nil || !same(b[len(magic):], back[len(magic):], 0) {
			t.Fatalf("the way back: %v\n%q\n%s\n%q", err, b, doc, back)
		}
	})
}

func FuzzFromJSON(f *testing.F) {
	f.Add([]byte(`{"kind":"Pod","apiVersion":"v1","spec":{"containers":[{"name":"c","resources":{"limits":{"cpu":1.5}}}]}}`))
	f.Add([]byte(`{"kind":"ConfigMap","apiVersion":"v1","data":{"a":"b"},"binaryData":{"c":"aGk="}}`))
	f.Fuzz(func(t *testing.T, doc []byte) {
		b, err := FromJSON(doc)
		if err != nil {
			return
		}
		again, err := ToJSON(b)
		if err != nil {
			t.Fatalf("%s became %q: %v", doc, b, err)
		}
		if where := difference(doc, again); where != "" {
			t.Fatalf("not the same at %s:\n%s\n%s", where, doc, again)
		}
	})
}

func FuzzEvents(f *testing.F) {
	object := envelope(f, "v1", "Secret", &corev1.Secret{})
	body, _ := (&metav1.WatchEvent{Type: "ADDED", Object: runtime.RawExtension{Raw: object}}).Marshal()
	frame, _ := AppendFrame(nil, body)
	f.Add(frame)
	f.Fuzz(func(t *testing.T, b []byte) {
		for {
			body, rest, err := NextFrame(b)
			if err != nil || body == nil {
				return
			}
			if again, err := AppendFrame(nil, body); err != nil || !bytes.Equal(again, b[:len(b)-len(rest)]) {
				t.Fatalf("%q became %q: %v", b, again, err)
			}
			if doc, err := EventToJSON(body); err == nil {
				if _, err := EventFromJSON(doc); err != nil {
					t.Fatalf("%s: %v", doc, err)
				}
			}
			b = rest
		}
	})
}
