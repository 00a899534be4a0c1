package mask

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
)

// hidden is the value of a Secret that nothing detects.
const hidden = "correct horse battery"

// noHidden fails where the value stands in an answer in any form.
func noHidden(t *testing.T, in, out string) {
	t.Helper()
	plain := []byte(out)
	for range 4 {
		for _, v := range []string{hidden, "horse", base64.StdEncoding.EncodeToString([]byte(hidden)), "Y29ycmVjdCBob3J"} {
			if bytes.Contains(plain, []byte(v)) {
				t.Errorf("%q came out:\nfrom %s\n  to %s", v, in, out)
				return
			}
		}
		plain = unescapeJSON(nil, plain)
	}
	if shapeOf(t, in) != shapeOf(t, out) {
		t.Errorf("the form has changed:\nfrom %s\n  to %s", in, out)
	}
}

// TestSecretsNeverShown has no rule at all.
func TestSecretsNeverShown(t *testing.T) {
	set := mustCompile(t)
	b64 := base64.StdEncoding.EncodeToString([]byte(hidden))
	applied := quoteJSON(`{"apiVersion":"v1","data":{"k":"` + b64 + `"},"kind":"Secret","metadata":{"annotations":{"x":"` + hidden + `"},"name":"s"},"stringData":{"k":"` + hidden + `"}}` + "\n")
	meta := `{"name":"s","namespace":"ns","annotations":{"` + lastApplied + `":` + applied + `,"openshift.io/token-secret.value":"` + hidden + `","objectset.rio.cattle.io/applied":"` + b64 + `"},"managedFields":[{"manager":"kubectl","fieldsV1":{"f:data":{".":{},"f:k":{}}}}]}`
	secret := `"metadata":` + meta + `,"immutable":true,"data":{"k":"` + b64 + `","empty":"","n":null},"stringData":{"k":"` + hidden + `"},"type":"Opaque"`
	odd := `{"kind":"Secret","apiVersion":"v1","d\u0061ta":{"k":"` + b64 + `","list":["` + hidden + `",{"x":"` + hidden + `"}],"number":17170001,"yes":true},"newField":"` + hidden + `","newObject":{"a":["` + hidden + `"]},"type":{"a":"` + hidden + `"},"items":"` + hidden + `","metadata":{"x":"` + hidden + `","name":{"y":"` + hidden + `"},"annotations":"` + hidden + `","labels":["a"]},"kind2":"` + hidden + `"}`
	for _, in := range []string{
		`{"kind":"Secret","apiVersion":"v1",` + secret + `}`,
		`{"kind":"SecretList","apiVersion":"v1","metadata":{"resourceVersion":"1"},"items":[{` + secret + `},{` + secret + `}]}`,
		`{"apiVersion":"v1","items":[{"apiVersion":"v1","data":{"k":"` + b64 + `"},"kind":"Secret"}],"kind":"SecretList"}`,
		`{"kind":"Table","apiVersion":"meta.k8s.io/v1","columnDefinitions":[{"name":"Name"}],"rows":[{"cells":["s","Opaque",2,"5d"],"object":{"kind":"Secret","apiVersion":"v1",` + secret + `}}]}`,
		`{"kind":"Table","rows":[{"cells":["s"],"object":{"metadata":` + meta + `},"other":"` + hidden + `"}]}`,
		`{"kind":"PartialObjectMetadataList","items":[{"metadata":` + meta + `}]}`,
		odd,
		`{"kind":"Status","apiVersion":"v1","status":"Failure","message":"Secret \"s\" is invalid: data[k]: Invalid value: \"` + hidden + `\"","reason":"Invalid","details":{"name":"s","kind":"Secret","causes":[{"reason":"FieldValueInvalid","message":"Invalid value: ` + hidden + `","field":"data[k]"}],"more":"` + hidden + `"},"code":422}`,
		`{"kind":"Status","message":{"a":"` + hidden + `"},"details":"` + hidden + `","status":["` + hidden + `"]}`,
		`{"kind":"Unknown","spec":{"template":{"x":"` + hidden + `"}},"binaryData":{"x":"` + b64 + `"}}`,
	} {
		if !json.Valid([]byte(in)) {
			t.Fatalf("%s is no JSON", in)
		}
		out := maskObjects(t, set, ObjectsOptions{Secrets: true}, in)
		noHidden(t, in, out)
		event := `{"type":"ADDED","object":` + in + `}` + "\n"
		noHidden(t, event, maskObjects(t, set, ObjectsOptions{Secrets: true, Watch: true}, event))
		for cut := 1; cut < len(in); cut += 7 {
			if again, _, err := runObjects(set, ObjectsOptions{Secrets: true}, []byte(in), cut); err != nil || string(again) != out {
				t.Fatalf("in pieces of %d: %v\n%s", cut, err, again)
			}
		}
	}
	// What says itself that it is a Secret, in an answer about something else.
	for _, in := range []string{
		`{"kind":"Secret","apiVersion":"v1",` + secret + `}`,
		`{"kind":"SecretList","apiVersion":"v1","items":[{` + secret + `}]}`,
		`{"apiVersion":"v1","kind":"List","items":[{"apiVersion":"v1","kind":"Secret",` + secret + `}]}`,
		`{"apiVersion":"v1","items":[{"apiVersion":"v1","data":{"k":"` + b64 + `"},"kind":"Secret","metadata":` + meta + `,"stringData":{"x":"` + hidden + `"}}],"kind":"List"}`,
		`{"apiVersion":"work.example/v1","kind":"Work","spec":{"manifests":[{"apiVersion":"v1","data":{"k":"` + b64 + `"},"kind":"Secret","metadata":` + meta + `}]}}`,
		`{"apiVersion":"work.example/v1","kind":"Work","spec":{"manifests":[{"kind":"Secret","apiVersion":"v1",` + secret + `}]}}`,
		`{"kind":"Work","metadata":{"annotations":{"copy":` + quoteJSON(`{"kind":"Secret","data":{"k":"`+b64+`"}}`) + `}}}`,
	} {
		noHidden(t, in, maskObjects(t, objectsSet(t), ObjectsOptions{}, in))
	}
}

// TestSecretsForm says how a masked Secret looks.
func TestSecretsForm(t *testing.T) {
	set := mustCompile(t)
	in := `{"kind":"Secret","apiVersion":"v1","metadata":{"name":"s","namespace":"ns","uid":"1","resourceVersion":"5","labels":{"app":"web"},"annotations":{"kubernetes.io/service-account.name":"default","note":"x"},"managedFields":[{"manager":"m","operation":"Update","fieldsV1":{"f:data":{"f:a.key":{}}}}]},"data":{"a.key":"aGk="},"stringData":{"b":"hi"},"immutable":true,"type":"Opaque"}`
	want := `{"kind":"Secret","apiVersion":"v1","metadata":{"name":"s","namespace":"ns","uid":"1","resourceVersion":"5","labels":{"app":"web"},"annotations":{"kubernetes.io/service-account.name":"default","note":"[masked by doorward]"},"managedFields":[{"manager":"m","operation":"Update","fieldsV1":{"f:data":{"f:a.key":{}}}}]},"data":{"a.key":"W21hc2tlZCBieSBkb29yd2FyZF0="},"stringData":{"b":"[masked by doorward]"},"immutable":true,"type":"Opaque"}`
	if out := maskObjects(t, set, ObjectsOptions{Secrets: true}, in); out != want {
		t.Errorf("\n got %s\nwant %s", out, want)
	}
	if base64.StdEncoding.EncodeToString([]byte(SecretMarker)) != SecretMarkerBase64 {
		t.Error("the two markers are not the same")
	}
	for _, body := range []string{want, `stringData: {a: "[masked by doorward]"}`, `data: {a: W21hc2tlZCBieSBkb29yd2FyZF0=}`} {
		if !HoldsSecretMarker([]byte(body)) {
			t.Errorf("a write of %s is not seen", body)
		}
	}
	if HoldsSecretMarker([]byte(in)) {
		t.Error("a marker where there is none")
	}
	// An object that is not a Secret keeps its data, and what is applied too.
	in = `{"kind":"ConfigMap","apiVersion":"v1","metadata":{"annotations":{"` + lastApplied + `":"{\"apiVersion\":\"v1\",\"data\":{\"level\":\"info\"},\"kind\":\"ConfigMap\"}\n"}},"data":{"level":"info"}}`
	if out := maskObjects(t, set, ObjectsOptions{}, in); out != in {
		t.Errorf("a ConfigMap was changed: %s", out)
	}
	in = `{"kind":"Event","involvedObject":{"kind":"Secret","namespace":"ns","name":"s","apiVersion":"v1"},"message":"hi"}`
	if out := maskObjects(t, set, ObjectsOptions{}, in); out != in {
		t.Errorf("a reference was changed: %s", out)
	}
}

// TestSecretsLate refuses an object whose kind comes after its values, where
// these were shown.
func TestSecretsLate(t *testing.T) {
	in := `{"kind":"Work","spec":{"data":{"k":"aGk="},"kind":"Secret"}}`
	if _, _, err := runObjects(mustCompile(t), ObjectsOptions{}, []byte(in), 1<<20); !errors.Is(err, errLate) {
		t.Errorf("it was taken: %v", err)
	}
	in = `{"kind":"Work","spec":{"copy":` + quoteJSON(`{"data":{"k":"aGk="},"kind":"Secret"}`) + `}}`
	if out := maskObjects(t, objectsSet(t), ObjectsOptions{}, in); strings.Contains(out, "aGk=") {
		t.Errorf("it came out: %s", out)
	}
}

// TestSecretsMessages shows what holds nothing but names.
func TestSecretsMessages(t *testing.T) {
	set := mustCompile(t)
	for message, shown := range map[string]bool{
		`secrets "db" not found`:      true,
		`secrets "db" already exists`: true,
		`Operation cannot be fulfilled on secrets "db": the object has been modified; please apply your changes to the latest version and try again`: true,
		`secrets "db" is forbidden: User "system:serviceaccount:ns:x" cannot get resource "secrets" in API group "" in the namespace "ns"`:           true,
		`secrets is forbidden: User "ada@corp.example" cannot list resource "secrets" in API group "" at the cluster scope`:                          true,
		`secrets "db" not found "hunter2"`: false,
		`secrets "db hunter2" not found`:   false,
		`secrets "" not found`:             false,
		`secrets "db" is forbidden: User "x" cannot get resource "secrets" in API group "" in the namespace "ns": hunter2`: false,
		`secrets "db" is forbidden: exceeded quota: hunter2`:                                                               false,
		`admission webhook "w.example" denied the request: hunter2 is too short`:                                           false,
		`Secret in version "v1" cannot be handled as a Secret: illegal base64 data at input byte 3`:                        false,
		``: false,
	} {
		in := `{"kind":"Status","status":"Failure","message":` + quoteJSON(message) + `,"code":404}`
		out := maskObjects(t, set, ObjectsOptions{Secrets: true}, in)
		if (out == in) != shown || strings.Contains(out, "hunter2") {
			t.Errorf("%s: %s", message, out)
		}
		if out := maskObjects(t, set, ObjectsOptions{}, in); out != in {
			t.Errorf("%s: a Status about something else was changed: %s", message, out)
		}
	}
}

// TestSecretsOfHelm has a release of Helm kept in a ConfigMap: JSON in gzip in
// base64.
func TestSecretsOfHelm(t *testing.T) {
	value := "ada.lovelace@corp.example"
	for form, text := range inForms(value) {
		if form != "gzip" && form != "base64 json" {
			continue
		}
		in := fmt.Sprintf(`{"kind":"ConfigMap","apiVersion":"v1","data":{"release":%s}}`, text)
		out := maskObjects(t, objectsSet(t), ObjectsOptions{}, in)
		var doc struct{ Data map[string]string }
		if err := json.Unmarshal([]byte(out), &doc); err != nil {
			t.Fatal(err)
		}
		raw, err := base64.StdEncoding.DecodeString(doc.Data["release"])
		if err != nil || bytes.Contains(raw, []byte("lovelace")) || bytes.HasPrefix(raw, gzipMagic) {
			t.Errorf("%s: %q, %v", form, raw, err)
		}
	}
}
