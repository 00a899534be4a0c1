package kubecases

import (
	"bytes"
	"context"
	_ "embed" // for what the cases find in the cluster
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"sigs.k8s.io/yaml"
)

//go:embed fixture.yaml
var fixtureText []byte

// manifest is an object that the runner makes.
type manifest struct {
	path string // of the object
	json []byte
	kind string
}

// resources gives the name in paths of each kind that there is in fixtures.
var resources = map[string]string{
	"Namespace": "namespaces", "Node": "nodes", "Pod": "pods", "Deployment": "deployments", "ConfigMap": "configmaps", "Secret": "secrets", "Service": "services",
	"ServiceAccount": "serviceaccounts", "Job": "jobs", "Event": "events", "Role": "roles", "RoleBinding": "rolebindings", "CustomResourceDefinition": "customresourcedefinitions",
	"Thing": "things", "ReplicaSet": "replicasets",
}

func readFixture() ([]manifest, error) {
	var out []manifest
	for _, doc := range bytes.Split(fixtureText, []byte("\n---\n")) {
		js, err := yaml.YAMLToJSON(doc)
		if err != nil {
			return nil, err
		}
		m, err := newManifest(js)
		if err != nil {
			return nil, err
		}
		out = append(out, m)
	}
	return out, nil
}

func newManifest(js []byte) (manifest, error) {
	var o meta
	if err := json.Unmarshal(js, &o); err != nil {
		return manifest{}, err
	}
	resource := resources[o.Kind]
	if resource == "" || o.Metadata.Name == "" {
		return manifest{}, fmt.Errorf("the kind %q is not known here", o.Kind)
	}
	at := object{base: "/apis/" + o.APIVersion, namespace: o.Metadata.Namespace, resource: resource, name: o.Metadata.Name}
	if !strings.Contains(o.APIVersion, "/") {
		at.base = "/api/" + o.APIVersion
	}
	return manifest{at.path(), js, o.Kind}, nil
}

// meta is what all objects have.
type meta struct {
	APIVersion, Kind string
	Metadata         struct {
		Name, Namespace, UID string
		DeletionTimestamp    *time.Time
		OwnerReferences      []json.RawMessage
	}
}

// do sends a request as the cluster's administrator, beside the gate.
func (w *world) do(ctx context.Context, method, path, contentType string, body []byte) (int, []byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, w.cluster.URL+path, bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("Accept", "application/json")
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	resp, err := w.admin.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, mostRead))
	return resp.StatusCode, b, err
}

// create makes an object; that it is there already is no error.
func (w *world) create(ctx context.Context, m manifest) error {
	o, _ := objectAt(m.path)
	status, b, err := w.do(ctx, http.MethodPost, o.collection(), "application/json", m.json)
	if err == nil && status >= 300 && status != http.StatusConflict {
		err = fmt.Errorf("POST %s: %d %s", o.collection(), status, firstLine(b))
	}
	return err
}

// remove deletes an object at once.
func (w *world) remove(ctx context.Context, path string) error {
	status, b, err := w.do(ctx, http.MethodDelete, path, "application/json", []byte(`{"kind":"DeleteOptions","apiVersion":"v1","gracePeriodSeconds":0,"propagationPolicy":"Background"}`))
	if err == nil && status >= 300 && status != http.StatusNotFound && status != http.StatusConflict && status != http.StatusMethodNotAllowed {
		err = fmt.Errorf("DELETE %s: %d %s", path, status, firstLine(b))
	}
	return err
}

// get reads an object, nil if it is not there.
func (w *world) get(ctx context.Context, path string) ([]byte, error) {
	status, b, err := w.do(ctx, http.MethodGet, path, "", nil)
	switch {
	case err != nil:
		return nil, err
	case status == http.StatusNotFound:
		return nil, nil
	case status != http.StatusOK:
		return nil, fmt.Errorf("GET %s: %d %s", path, status, firstLine(b))
	}
	return b, nil
}

// restoreWait is how long the fixture may take until it is as it was.
const restoreWait = 60 * time.Second

// restore makes the fixture as it was: what was added goes, what was changed is
// made anew.
func (w *world) restore(ctx context.Context, e effect) error {
	ctx, cancel := context.WithTimeout(ctx, restoreWait)
	defer cancel()
	for _, path := range e.added {
		if err := w.remove(ctx, path); err != nil {
			return err
		}
	}
	for path, was := range e.changed {
		o, _ := objectAt(path)
		if o.resource == "namespaces" || o.resource == "customresourcedefinitions" {
			continue // await sees whether it is on its way out
		}
		if !slices.ContainsFunc(w.fixture, func(m manifest) bool { return m.path == path }) {
			if err := w.putBack(ctx, path, was); err != nil {
				return err
			}
			continue
		}
		if err := w.remove(ctx, path); err != nil {
			return err
		}
	}
	return w.await(ctx)
}

// putBack writes an object that is not the fixture's as it was.
func (w *world) putBack(ctx context.Context, path string, was []byte) error {
	var o map[string]any
	if err := json.Unmarshal(was, &o); err != nil {
		return err
	}
	if m, ok := o["metadata"].(map[string]any); ok {
		for _, k := range []string{"uid", "resourceVersion", "creationTimestamp", "managedFields", "generation"} {
			delete(m, k)
		}
	}
	b, err := json.Marshal(o)
	if err != nil {
		return err
	}
	status, answer, err := w.do(ctx, http.MethodPut, path, "application/json", b)
	if status == http.StatusNotFound {
		at, _ := objectAt(path)
		status, answer, err = w.do(ctx, http.MethodPost, at.collection(), "application/json", b)
	}
	if err == nil && status >= 300 && status != http.StatusConflict && status != http.StatusNotFound {
		err = fmt.Errorf("put %s back: %d %s", path, status, firstLine(answer))
	}
	return err
}

// await waits until each object of the fixture is there and does its work.
func (w *world) await(ctx context.Context) error {
	for _, m := range w.fixture {
		for made := false; ; {
			ok, why, err := w.settled(ctx, m, &made)
			if err != nil {
				return fmt.Errorf("%s: %w", m.path, err)
			}
			if ok {
				break
			}
			select {
			case <-ctx.Done():
				return fmt.Errorf("%s is not as it should be: %s: %w", m.path, why, ctx.Err())
			case <-time.After(50 * time.Millisecond):
			}
		}
	}
	return nil
}

// settled makes the object where it is not there, and says whether it does its
// work.
func (w *world) settled(ctx context.Context, m manifest, made *bool) (ok bool, why string, err error) {
	b, err := w.get(ctx, m.path)
	if err != nil {
		return false, "", err
	}
	if b == nil {
		if m.kind == "Namespace" {
			o, _ := objectAt(m.path)
			return false, "it is being made", w.cluster.Namespace(ctx, o.name)
		}
		err := w.create(ctx, m)
		if err != nil && ctx.Err() == nil && (m.kind == "Thing" || *made) { // its definition is not served yet
			return false, err.Error(), nil
		}
		*made = true
		return false, "it is being made", err
	}
	var o struct {
		meta
		Spec   struct{ Replicas int }
		Status struct {
			Phase                                        string
			Replicas, ReadyReplicas, Succeeded, Capacity int
			ObservedGeneration                           int64
			Conditions                                   []struct{ Type, Status string }
		}
	}
	if err := json.Unmarshal(b, &o); err != nil && m.kind != "Node" { // which has another capacity
		return false, "", err
	}
	if o.Metadata.DeletionTimestamp != nil {
		if m.kind != "Namespace" {
			return false, "it is being deleted", w.remove(ctx, m.path)
		}
		return false, "it is being deleted", nil
	}
	is := func(condition string) bool {
		for _, c := range o.Status.Conditions {
			if c.Type == condition {
				return c.Status == "True"
			}
		}
		return false
	}
	switch m.kind {
	case "Pod":
		return is("Ready"), "it is not ready", nil
	case "Deployment":
		return o.Status.Replicas == o.Spec.Replicas && o.Status.ReadyReplicas == o.Spec.Replicas && is("Available"), "it is not ready", nil
	case "Job":
		return is("Complete"), "it is not complete", nil
	case "CustomResourceDefinition":
		return is("Established"), "it is not established", nil
	}
	return true, "", nil
}

// templates make an object of each kind that a case may name and the fixture
// may not have.
var templates = map[string]string{
	"pods":            `{"apiVersion":"v1","kind":"Pod","spec":{"containers":[{"name":"c1","image":"box"}]}}`,
	"services":        `{"apiVersion":"v1","kind":"Service","spec":{"ports":[{"port":80}]}}`,
	"configmaps":      `{"apiVersion":"v1","kind":"ConfigMap","data":{"mode":"plain"}}`,
	"secrets":         `{"apiVersion":"v1","kind":"Secret","stringData":{"password":"Tr0ub4dor-of-a-case"}}`,
	"serviceaccounts": `{"apiVersion":"v1","kind":"ServiceAccount"}`,
	"events":          `{"apiVersion":"v1","kind":"Event","reason":"Noted","message":"noted by the fixture","type":"Normal"}`,
	"deployments":     `{"apiVersion":"apps/v1","kind":"Deployment","spec":{"replicas":1,"selector":{"matchLabels":{"app":"case"}},"template":{"metadata":{"labels":{"app":"case"}},"spec":{"terminationGracePeriodSeconds":0,"containers":[{"name":"main","image":"box"}]}}}}`,
	"replicasets":     `{"apiVersion":"apps/v1","kind":"ReplicaSet","spec":{"replicas":1,"selector":{"matchLabels":{"app":"case"}},"template":{"metadata":{"labels":{"app":"case"}},"spec":{"terminationGracePeriodSeconds":0,"containers":[{"name":"main","image":"box"}]}}}}`,
	"jobs":            `{"apiVersion":"batch/v1","kind":"Job","spec":{"template":{"spec":{"restartPolicy":"Never","containers":[{"name":"main","image":"box","command":["echo","done"]}]}}}}`,
}

// provide makes the objects that the requests are about, where an object has to
// be there for the request to do anything.
func (w *world) provide(ctx context.Context, lines []line, applies bool) error {
	for _, l := range lines {
		u := l.url()
		if u == nil {
			continue
		}
		o, ok := objectAt(u.Path)
		template := templates[o.resource]
		if !ok || template == "" || o.name == "" || !plainName(o.name) || !slices.Contains([]string{"dev", "prod", "kube-system", "default"}, o.namespace) {
			continue
		}
		if l.method == http.MethodPatch && applies || l.method == http.MethodPost && o.rest == "" {
			continue // it makes the object
		}
		if b, err := w.get(ctx, o.path()); err != nil || b != nil {
			if err != nil {
				return err
			}
			continue
		}
		var m map[string]any
		if err := json.Unmarshal([]byte(template), &m); err != nil {
			return err
		}
		md := map[string]any{"name": o.name, "namespace": o.namespace}
		m["metadata"] = md
		if o.resource == "events" {
			m["involvedObject"] = map[string]any{"apiVersion": "v1", "kind": "Pod", "name": "p1", "namespace": o.namespace}
		}
		js, err := json.Marshal(m)
		if err != nil {
			return err
		}
		made, err := newManifest(js)
		if err != nil {
			return err
		}
		if made.path != o.path() {
			continue // another group or version has something of that name
		}
		if err := w.create(ctx, made); err != nil {
			return err
		}
		if err := w.until(ctx, made); err != nil {
			return err
		}
		w.provided = append(w.provided, made.path)
	}
	return nil
}

func (w *world) until(ctx context.Context, m manifest) error {
	ctx, cancel := context.WithTimeout(ctx, restoreWait)
	defer cancel()
	made := true
	for {
		ok, why, err := w.settled(ctx, m, &made)
		if ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return errors.New(m.path + " " + why)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func plainName(s string) bool {
	return strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-.") == "" && len(s) < 64
}

// secretValues are the values of all Secrets, plain and as the API writes them.
func (w *world) secretValues(ctx context.Context) ([]string, error) {
	b, err := w.get(ctx, "/api/v1/secrets")
	if err != nil {
		return nil, err
	}
	var list struct {
		Items []struct{ Data map[string][]byte }
	}
	if err := json.Unmarshal(b, &list); err != nil {
		return nil, err
	}
	var out []string
	for _, s := range list.Items {
		for _, v := range s.Data {
			if len(v) >= 6 {
				out = append(out, string(v), base64.StdEncoding.EncodeToString(v))
			}
		}
	}
	return out, nil
}
