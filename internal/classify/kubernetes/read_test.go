package kubernetes

import (
	"fmt"
	"strings"
	"testing"

	"github.com/doorward/doorward"
)

// send reads a request as people write it.
func send(message string) (*Request, error) {
	h, err := ParseMessage(message)
	if err != nil {
		return nil, err
	}
	return FromHTTP(h)
}

func mustSend(t testing.TB, message string) *Request {
	t.Helper()
	r, err := send(message)
	if err != nil {
		t.Fatalf("%q: %v", message, err)
	}
	return r
}

func effect(t testing.TB, message string, env *Env) *doorward.Effect {
	t.Helper()
	text, err := mustSend(t, message).Text()
	if err != nil {
		t.Fatalf("%q: %v", message, err)
	}
	reading, err := Read(text, env)
	if err != nil {
		t.Fatalf("%q: %v", message, err)
	}
	return &reading.Effect
}

// brief is an effect in one line: kinds | objects | traits, the bound where
// there is one, and "incomplete".
func brief(e *doorward.Effect) string {
	var objs []string
	for _, o := range e.Objects {
		objs = append(objs, o.Kind+":"+o.Name+"="+o.Verb.String())
	}
	s := strings.Join(e.Kinds, ", ") + " | " + strings.Join(objs, " ")
	if e.Traits != 0 {
		s += " | " + strings.Join(e.Traits.Names(), ",")
	}
	if e.Bound != -1 {
		s += fmt.Sprintf(" | %d", e.Bound)
	}
	if !e.Complete {
		s += " | incomplete"
	}
	return s
}

const (
	dev    = "/api/v1/namespaces/dev"
	apps   = "/apis/apps/v1/namespaces/dev"
	merge  = "\nContent-Type: application/merge-patch+json\n\n"
	apply  = "\nContent-Type: application/apply-patch+yaml\n\n"
	patch6 = "\nContent-Type: application/json-patch+json\n\n"
	strat  = "\nContent-Type: application/strategic-merge-patch+json\n\n"
)

func TestRead(t *testing.T) {
	for _, c := range []struct{ message, want string }{
		// reads
		{"GET " + dev + "/pods", "list pods | pods:dev/*=read"},
		{"GET " + dev + "/pods/p1", "get pods | pods:dev/p1=read"},
		{"GET " + dev + "/pods?watch=true", "watch pods | pods:dev/*=read"},
		{"GET " + dev + "/pods?fieldSelector=metadata.name%3Dp1", "list pods | pods:dev/p1=read"},
		{"GET " + dev + "/pods?fieldSelector=metadata.name%3Dp1%2Cspec.nodeName%3Dn", "list pods | pods:dev/p1=read"},
		{"GET " + dev + "/pods?fieldSelector=metadata.name%21%3Dp1", "list pods | pods:dev/*=read"},
		{"GET " + dev + "/pods?fieldSelector=metadata.namespace%3Dprod", "list pods | pods:dev/*=read"},
		{"GET /api/v1/pods?limit=5", "list pods | pods:*/*=read"},
		{"GET /api/v1/pods", "list pods | pods:*/*=read | mass_read"},
		{"GET /api/v1/pods?limit=5&fieldSelector=metadata.name%3Dp1", "list pods | pods:*/*=read"},
		{"GET /api/v1/pods?watch=1", "watch pods | pods:*/*=read"},
		{"GET /apis/apps/v1/deployments?limit=1", "list deployments.apps | deployments.apps:*/*=read"},
		{"GET " + apps + "/deployments/web/status", "get deployments.apps/status | deployments.apps/status:dev/web=read"},
		{"GET /api/v1/namespaces", "list namespaces | namespaces:*=read"},
		{"GET /api/v1/namespaces/dev", "get namespaces | namespaces:dev=read"},
		{"GET /api/v1/namespaces?fieldSelector=metadata.name%3Ddev", "list namespaces | namespaces:dev=read"},
		{"GET /api/v1/nodes/n1", "get nodes | nodes:n1=read"},
		{"GET " + dev + "/secrets", "list secrets | secrets:dev/*=read | secret"},
		{"GET " + dev + "/secrets/s?resourceVersion=0", "get secrets | secrets:dev/s=read | secret"},
		{"GET " + dev + "/pods/p1/log?tailLines=5", "get pods/log | pods/log:dev/p1=read"},
		{"GET " + dev + "/pods/p1/log?follow=true", "get pods/log | pods/log:dev/p1=read | mass_read"},
		{"GET /apis/rbac.authorization.k8s.io/v1/clusterroles/system:admin", "get clusterroles.rbac.authorization.k8s.io | clusterroles.rbac.authorization.k8s.io:system:admin=read"},
		{"GET " + dev + "/configmaps/exec", "get configmaps | configmaps:dev/exec=read"},
		{"GET " + dev + "/events/proxy", "get events | events:dev/proxy=read"},

		// paths
		{"GET /api", "discovery | path:/api=read"},
		{"GET /api/v1?timeout=32s", "discovery | path:/api/v1=read"},
		{"GET /apis/apps", "discovery | path:/apis/apps=read"},
		{"GET /apis/evil.io/v1", "discovery | path:/apis/evil.io/v1=read"},
		{"GET /openapi/v3/apis/apps/v1?hash=AB", "discovery | path:/openapi/v3/apis/apps/v1=read"},
		{"GET /readyz?verbose", "discovery | path:/readyz=read"},
		{"GET /readyz/etcd", "discovery | path:/readyz/etcd=read"},
		{"GET /version", "discovery | path:/version=read"},
		{"GET /", "get path | path:/=read,admin"},
		{"GET /openid/v1/jwks", "get path | path:/openid/v1/jwks=read"},
		{"GET /logs", "get path | path:/logs=read,admin"},
		{"GET /metrics", "get path | path:/metrics=read,admin"},
		{"GET /debug/pprof/heap", "get path | path:/debug/pprof/heap=read,admin"},
		{"GET /API/v1/namespaces/dev/pods", "get path | path:/API/v1/namespaces/dev/pods=read,admin"},
		{"GET /versions", "get path | path:/versions=read,admin"},

		// streams
		{"GET " + dev + "/pods/p1/exec?command=ls&command=-l", "create pods/exec, exec | command:ls=execute pods/exec:dev/p1=execute"},
		{"POST " + dev + "/pods/p1/exec?command=ls&stdin=true&tty=true", "create pods/exec, exec, stdin, pty | command:ls=execute pods/exec:dev/p1=execute"},
		{"POST " + dev + "/pods/p1/exec?command=ls&stdin=0&tty=false", "create pods/exec, exec | command:ls=execute pods/exec:dev/p1=execute"},
		{"POST " + dev + "/pods/p1/exec?command=sh", "create pods/exec, shell | command:sh=execute pods/exec:dev/p1=execute"},
		{"POST " + dev + "/pods/p1/exec?command=sh&command=-c&command=ls%3B+id%0A", "create pods/exec, script | command:id=execute command:ls=execute command:sh=execute pods/exec:dev/p1=execute | multi_statement"},
		{"POST " + dev + "/pods/p1/exec?command=sh&command=-c&command=eval+x", "create pods/exec, script | command:eval=execute command:sh=execute pods/exec:dev/p1=execute | incomplete"},
		{"POST " + dev + "/pods/p1/exec?command=tar&command=cf&command=-&command=/etc", "create pods/exec, exec | command:tar=execute file:/etc=read pods/exec:dev/p1=execute"},
		{"GET " + dev + "/pods/p1/attach?stdin=true", "create pods/attach, stdin | pods/attach:dev/p1=execute"},
		{"POST " + dev + "/pods/p1/portforward?ports=5432", "create pods/portforward | pods/portforward:dev/p1=execute | leaves"},
		{"GET " + dev + "/pods/p1:8080/proxy/admin/", "get pods/proxy | pods/proxy:dev/p1:8080=execute | leaves"},
		{"HEAD " + dev + "/services/db/proxy?a.b=1", "get services/proxy | services/proxy:dev/db=execute | leaves"},
		{"DELETE " + dev + "/services/https:db:x/proxy/y", "delete services/proxy | services/proxy:dev/https:db:x=execute | leaves"},
		{"GET /api/v1/nodes/n1/proxy/run/dev/p1/c?cmd=id", "get nodes/proxy | nodes/proxy:n1=execute,admin | leaves,node_proxy"},

		// writes
		{"POST " + dev + "/configmaps\n{\"metadata\":{\"name\":\"c\"}}", "create configmaps | configmaps:dev/c=create | 1"},
		{"POST " + dev + "/configmaps\n{\"metadata\":{\"generateName\":\"c-\"}}", "create configmaps | configmaps:dev/*=create | 1"},
		{"POST " + dev + "/configmaps?dryRun=All\n{}", "create configmaps | configmaps:dev/*=create | 1"},
		{"PUT " + dev + "/configmaps/c\n{}", "update configmaps | configmaps:dev/c=update | 1"},
		{"PUT " + dev + "/services/c\n{}", "update services | services:dev/c=create,update | 1"},
		{"PATCH " + dev + "/configmaps/c" + merge + "{}", "patch configmaps | configmaps:dev/c=update | 1"},
		{"PATCH " + dev + "/configmaps/c?fieldManager=a&force=true" + apply + "kind: ConfigMap\n", "patch configmaps | configmaps:dev/c=create,update | 1"},
		{"DELETE " + dev + "/configmaps/c", "delete configmaps | configmaps:dev/c=delete | 1"},
		{"DELETE " + apps + "/deployments/web?dryRun=All", "delete deployments.apps | deployments.apps:dev/web=delete | 1"},
		{"DELETE " + dev + "/pods?labelSelector=a%3Db&fieldSelector=metadata.name%3Dp", "deletecollection pods | pods:dev/*=delete | unbounded,delete_collection"},
		{"DELETE /api/v1/namespaces/dev", "delete namespaces | namespaces:dev=delete | unbounded,irreversible,deletes_namespace"},
		{"DELETE /api/v1/namespaces", "deletecollection namespaces | namespaces:*=delete | unbounded,irreversible,deletes_namespace,delete_collection"},
		{"PUT /api/v1/namespaces/dev/finalize\n{}", "update namespaces/finalize | namespaces/finalize:dev=delete,admin | unbounded,irreversible,deletes_namespace"},
		{"PUT /api/v1/namespaces/dev/status\n{}", "update namespaces/status | namespaces/status:dev=update | 1"},
		{"POST /api/v1/namespaces\n{\"metadata\":{\"name\":\"x\"}}", "create namespaces | namespaces:x=create | 1"},
		{"DELETE " + dev + "/persistentvolumeclaims/d", "delete persistentvolumeclaims | persistentvolumeclaims:dev/d=delete | irreversible | 1"},
		{"POST " + dev + "/pods/p1/eviction\n{\"apiVersion\":\"policy/v1\",\"kind\":\"Eviction\",\"metadata\":{\"name\":\"p1\"}}", "create pods/eviction | pods/eviction:dev/p1=delete | 1"},
		{"POST " + dev + "/pods/p1/binding\n{\"target\":{\"kind\":\"Node\",\"name\":\"n1\"}}", "create pods/binding | pods/binding:dev/p1=admin | 1"},
		{"POST " + dev + "/bindings\n{\"metadata\":{\"name\":\"p1\"}}", "create bindings | bindings:dev/p1=admin | 1"},
		{"PATCH " + dev + "/pods/p1/ephemeralcontainers" + strat + "{\"spec\":{}}", "patch pods/ephemeralcontainers | pods/ephemeralcontainers:dev/p1=update,execute | ephemeral_container | 1"},
		{"POST " + dev + "/secrets\n{\"metadata\":{\"name\":\"s\"}}", "create secrets | secrets:dev/s=create | secret | 1"},
		{"POST " + dev + "/secrets\n{\"metadata\":{\"name\":\"s\"},\"type\":\"kubernetes.io/service-account-token\"}", "create secrets | secrets:dev/s=create,grant | token,secret | 1"},
		{"PATCH " + dev + "/secrets/s" + apply + "type: bootstrap.kubernetes.io/token\n", "patch secrets | secrets:dev/s=create,update,grant | token,secret | 1"},
		{"POST " + dev + "/serviceaccounts/default/token\n{\"spec\":{}}", "create serviceaccounts/token | serviceaccounts/token:dev/default=grant | token | 1"},
		{"POST " + dev + "/serviceaccounts\n{\"metadata\":{\"name\":\"x\"}}", "create serviceaccounts | serviceaccounts:dev/x=create | 1"},
		{"PATCH /api/v1/nodes/n1" + merge + "{\"spec\":{\"unschedulable\":true}}", "patch nodes | nodes:n1=admin | 1"},
		{"DELETE /api/v1/persistentvolumes/v", "delete persistentvolumes | persistentvolumes:v=delete,admin | irreversible | 1"},
		{"POST /apis/rbac.authorization.k8s.io/v1/namespaces/dev/rolebindings\n{\"metadata\":{\"name\":\"r\"}}", "create rolebindings.rbac.authorization.k8s.io | rolebindings.rbac.authorization.k8s.io:dev/r=grant | rbac | 1"},
		{"DELETE /apis/rbac.authorization.k8s.io/v1/clusterroles/r", "delete clusterroles.rbac.authorization.k8s.io | clusterroles.rbac.authorization.k8s.io:r=delete,grant | rbac | 1"},
		{"PUT /apis/certificates.k8s.io/v1/certificatesigningrequests/x/approval\n{}", "update certificatesigningrequests.certificates.k8s.io/approval | certificatesigningrequests.certificates.k8s.io/approval:x=grant | token | 1"},
		{"POST /apis/authentication.k8s.io/v1/tokenreviews\n{}", "create tokenreviews.authentication.k8s.io | tokenreviews.authentication.k8s.io:*=grant | token | 1"},
		{"POST /apis/authentication.k8s.io/v1/selfsubjectreviews\n{}", "create selfsubjectreviews.authentication.k8s.io | selfsubjectreviews.authentication.k8s.io:*=read"},
		{"POST /apis/authorization.k8s.io/v1/selfsubjectaccessreviews\n{}", "create selfsubjectaccessreviews.authorization.k8s.io | selfsubjectaccessreviews.authorization.k8s.io:*=read"},
		{"POST /apis/authorization.k8s.io/v1/namespaces/dev/localsubjectaccessreviews\n{}", "create localsubjectaccessreviews.authorization.k8s.io | localsubjectaccessreviews.authorization.k8s.io:dev/*=read"},
		{"POST /apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations\n{\"metadata\":{\"name\":\"m\"}}", "create mutatingwebhookconfigurations.admissionregistration.k8s.io | mutatingwebhookconfigurations.admissionregistration.k8s.io:m=define | webhook | 1"},
		{"POST /apis/apiregistration.k8s.io/v1/apiservices\n{}", "create apiservices.apiregistration.k8s.io | apiservices.apiregistration.k8s.io:*=define | webhook | 1"},
		{"POST /apis/apiextensions.k8s.io/v1/customresourcedefinitions\n{\"metadata\":{\"name\":\"a.b\"},\"spec\":{\"conversion\":{\"strategy\":\"None\"}}}", "create customresourcedefinitions.apiextensions.k8s.io | customresourcedefinitions.apiextensions.k8s.io:a.b=define | 1"},
		{"POST /apis/apiextensions.k8s.io/v1/customresourcedefinitions\n{\"metadata\":{\"name\":\"a.b\"},\"spec\":{\"conversion\":{\"strategy\":\"Webhook\"}}}", "create customresourcedefinitions.apiextensions.k8s.io | customresourcedefinitions.apiextensions.k8s.io:a.b=define | webhook | 1"},
		{"PATCH /apis/apiextensions.k8s.io/v1/customresourcedefinitions/a.b" + patch6 + "[{\"op\":\"replace\",\"path\":\"/spec/conversion/strategy\",\"value\":\"None\"}]", "patch customresourcedefinitions.apiextensions.k8s.io | customresourcedefinitions.apiextensions.k8s.io:a.b=define | webhook | 1"},
		{"DELETE /apis/apiextensions.k8s.io/v1/customresourcedefinitions/a.b", "delete customresourcedefinitions.apiextensions.k8s.io | customresourcedefinitions.apiextensions.k8s.io:a.b=delete,define | unbounded,irreversible"},
		{"DELETE /apis/storage.k8s.io/v1/storageclasses/fast", "delete storageclasses.storage.k8s.io | storageclasses.storage.k8s.io:fast=delete,define | 1"},
		{"PATCH " + apps + "/deployments/web/scale" + merge + "{\"spec\":{\"replicas\":3}}", "patch deployments.apps/scale | deployments.apps/scale:dev/web=update | 1"},
		{"PATCH " + apps + "/deployments/web/scale" + merge + "{\"spec\":{\"replicas\":0}}", "patch deployments.apps/scale | deployments.apps/scale:dev/web=update | scale_to_zero | 1"},

		// what is not known
		{"GET /apis/evil.io/v1/namespaces/dev/things", "list things.evil.io | things.evil.io:dev/*=read | incomplete"},
		{"GET /apis/apps/v1/namespaces/dev/things", "list things.apps | things.apps:dev/*=read | incomplete"},
		{"GET /apis/apps/v9/namespaces/dev/deployments", "list deployments.apps | deployments.apps:dev/*=read | incomplete"},
		{"GET /api/v2/namespaces/dev/pods", "list pods | pods:dev/*=read | incomplete"},
		{"GET /apis/evil.io/v1/namespaces/dev/vms/a/console", "get vms.evil.io/console | vms.evil.io/console:dev/a=read,unknown | incomplete"},
		{"GET /apis/apps/v1beta1/namespaces/dev/deployments", "list deployments.apps | deployments.apps:dev/*=read"},
		{"GET /apis/extensions/v1beta1/namespaces/dev/ingresses", "list ingresses.extensions | ingresses.extensions:dev/*=read"},
		{"GET /apis/apps/v1/namespaces/dev/status", "get namespaces.apps/status | namespaces.apps/status:dev/dev=read,unknown | incomplete"},
	} {
		if got := brief(effect(t, c.message, nil)); got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.message, got, c.want)
		}
	}
	e := effect(t, "POST "+dev+"/pods/p1/exec?command=cat&command=a+b%3B+c", nil)
	if len(e.Commands) != 1 || strings.Join(e.Commands[0], "|") != "cat|a b; c" {
		t.Errorf("commands are %q", e.Commands)
	}
}

func TestReadGroups(t *testing.T) {
	env := &Env{Groups: []string{"good.io"}}
	for _, c := range []struct{ message, want string }{
		{"GET /apis/good.io/v1/namespaces/dev/things", "list things.good.io | things.good.io:dev/*=read"},
		{"GET /apis/good.io/v1/namespaces/dev/things?fieldSelector=metadata.name%3Da", "list things.good.io | things.good.io:dev/*=read"},
		{"GET /apis/good.io/v1/things", "list things.good.io | things.good.io:*/*=read | mass_read"},
		{"GET /apis/good.io/v1/things/a", "get things.good.io | things.good.io:a=read"},
		{"POST /apis/good.io/v1/things\n{\"metadata\":{\"name\":\"a\"},\"kind\":\"Thing\"}", "create things.good.io | things.good.io:a=create | 1"},
		{"GET /apis/good.io/v1/namespaces/dev/things/a/status", "get things.good.io/status | things.good.io/status:dev/a=read"},
		{"PUT /apis/good.io/v1/namespaces/dev/things/a/scale\n{}", "update things.good.io/scale | things.good.io/scale:dev/a=update | scale_to_zero | 1"},
		{"PATCH /apis/good.io/v1/namespaces/dev/things/a" + merge + "{\"spec\":{\"replicas\":null}}", "patch things.good.io | things.good.io:dev/a=update | scale_to_zero | 1"},
		{"PATCH /apis/good.io/v1/namespaces/dev/things/a" + merge + "{\"spec\":{\"x\":null}}", "patch things.good.io | things.good.io:dev/a=update | 1"},
		{"DELETE /apis/good.io/v1/namespaces/dev/things", "deletecollection things.good.io | things.good.io:dev/*=delete | unbounded,delete_collection"},
		{"GET /apis/good.io/v1/namespaces/dev/things/a/console", "get things.good.io/console | things.good.io/console:dev/a=read,unknown | incomplete"},
		{"GET /apis/evil.good.io/v1/namespaces/dev/things", "list things.evil.good.io | things.evil.good.io:dev/*=read | incomplete"},
	} {
		if got := brief(effect(t, c.message, env)); got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.message, got, c.want)
		}
	}
}

func TestScaleToZero(t *testing.T) {
	op := func(s string) string { return patch6 + "[" + s + "]" }
	for _, c := range []struct {
		method, path, rest string
		want               bool
	}{
		{"PUT", "/deployments/d", "\n{\"spec\":{\"replicas\":0}}", true},
		{"PUT", "/deployments/d", "\n{\"spec\":{\"replicas\":0.0}}", true},
		{"PUT", "/deployments/d", "\n{\"spec\":{\"replicas\":-0}}", true},
		{"PUT", "/deployments/d", "\n{\"spec\":{\"replicas\":0e9}}", true},
		{"PUT", "/deployments/d", "\n{\"spec\":{\"replicas\":\"0\"}}", true},
		{"PUT", "/deployments/d", "\n{\"spec\":{\"replicas\":1}}", false},
		{"PUT", "/deployments/d", "\n{\"spec\":{\"replicas\":null}}", false},
		{"PUT", "/deployments/d", "\n{}", false},
		{"PUT", "/deployments/d/status", "\n{\"spec\":{\"replicas\":0}}", false},
		{"PUT", "/statefulsets/d", "\n{\"spec\":{\"replicas\":0}}", true},
		{"PUT", "/replicasets/d", "\n{\"spec\":{\"replicas\":0}}", true},
		{"PUT", "/daemonsets/d", "\n{\"spec\":{\"replicas\":0}}", false},
		{"PUT", "/deployments/d/scale", "\n{}", true},
		{"PUT", "/deployments/d/scale", "\n{\"spec\":{}}", true},
		{"PUT", "/deployments/d/scale", "\n{\"spec\":{\"replicas\":null}}", true},
		{"PUT", "/deployments/d/scale", "\n{\"spec\":{\"replicas\":2}}", false},
		{"PATCH", "/deployments/d", merge + "{\"spec\":{\"replicas\":0}}", true},
		{"PATCH", "/deployments/d", merge + "{\"spec\":{\"paused\":true}}", false},
		{"PATCH", "/deployments/d", strat + "{\"spec\":{\"replicas\":0}}", true},
		{"PATCH", "/deployments/d", strat + "{\"spec\":{\"\\u0072eplicas\":0}}", true},
		{"PATCH", "/deployments/d", apply + "spec: {replicas: 0}\n", true},
		{"PATCH", "/deployments/d", apply + "spec:\n  replicas: 3\n", false},
		{"PATCH", "/deployments/d/scale", merge + "{\"spec\":{}}", false},
		{"PATCH", "/deployments/d/scale", merge + "{\"spec\":null}", true},
		{"PATCH", "/deployments/d/scale", merge + "{\"spec\":{\"replicas\":null}}", true},
		{"PATCH", "/deployments/d/scale", strat + "{\"spec\":{\"$patch\":\"replace\"}}", true},
		{"PATCH", "/deployments/d/scale", strat + "{\"spec\":{\"$retainKeys\":[\"x\"]}}", true},
		{"PATCH", "/deployments/d/scale", apply + "{}\n", true},
		{"PATCH", "/deployments/d", op(`{"op":"replace","path":"/spec/replicas","value":0}`), true},
		{"PATCH", "/deployments/d", op(`{"op":"add","path":"/spec/replicas","value":3}`), false},
		{"PATCH", "/deployments/d", op(`{"op":"add","path":"/spec/replicas","value":0},{"op":"add","path":"/spec/replicas","value":3}`), true},
		{"PATCH", "/deployments/d", op(`{"op":"test","path":"/spec/replicas","value":0}`), false},
		{"PATCH", "/deployments/d", op(`{"op":"add","path":"/spec","value":{"replicas":0}}`), true},
		{"PATCH", "/deployments/d", op(`{"op":"add","path":"/spec","value":{"replicas":2}}`), false},
		{"PATCH", "/deployments/d", op(`{"op":"copy","from":"/metadata/labels/zero","path":"/spec/replicas"}`), true},
		{"PATCH", "/deployments/d", op(`{"op":"move","from":"/spec/x","path":"/spec"}`), true},
		{"PATCH", "/deployments/d", op(`{"op":"move","from":"/spec/replicas","path":"/spec/x"}`), true},
		{"PATCH", "/deployments/d", op(`{"op":"remove","path":"/spec"}`), true},
		{"PATCH", "/deployments/d", op(`{"op":"remove","path":"/spec/replicas"}`), false},
		{"PATCH", "/deployments/d", op(`{"op":"replace","path":"/spec/paused","value":0}`), false},
		{"PATCH", "/deployments/d/scale", op(`{"op":"remove","path":"/spec/replicas"}`), true},
		{"PATCH", "/deployments/d/scale", op(`{"op":"replace","path":"/spec","value":{}}`), true},
		{"PATCH", "/deployments/d/scale", op(`{"op":"replace","path":"/spec/replicas","value":5}`), false},
		{"POST", "/deployments", "\n{\"spec\":{\"replicas\":0}}", false},
	} {
		m := c.method + " " + apps + c.path + c.rest
		if got := effect(t, m, nil).Traits.Has(doorward.TraitScaleToZero); got != c.want {
			t.Errorf("%s: %v", m, got)
		}
	}
	for m, want := range map[string]bool{
		"PATCH /apis/batch/v1/namespaces/dev/jobs/j" + merge + "{\"spec\":{\"parallelism\":0}}":                                true,
		"PATCH /apis/batch/v1/namespaces/dev/jobs/j" + merge + "{\"spec\":{\"suspend\":true}}":                                 true,
		"PATCH /apis/batch/v1/namespaces/dev/jobs/j" + merge + "{\"spec\":{\"suspend\":false}}":                                false,
		"PATCH /apis/autoscaling/v2/namespaces/dev/horizontalpodautoscalers/h" + merge + "{\"spec\":{\"minReplicas\":0}}":      true,
		"PATCH " + dev + "/replicationcontrollers/r" + merge + "{\"spec\":{\"replicas\":0}}":                                   true,
		"PATCH " + dev + "/replicationcontrollers/r/scale" + merge + "{\"spec\":{\"replicas\":0}}":                             true,
		"PATCH /apis/extensions/v1beta1/namespaces/dev/deployments/d" + merge + "{\"spec\":{\"replicas\":0}}":                  true,
		"PATCH /apis/extensions/v1beta1/namespaces/dev/replicationcontrollers/d/scale" + merge + "{\"spec\":{\"replicas\":0}}": true,
	} {
		if got := effect(t, m, nil).Traits.Has(doorward.TraitScaleToZero); got != want {
			t.Errorf("%s: %v", m, got)
		}
	}
}

// No request that is not a plain get, list or watch is read-only, whatever its
// method.
func TestNothingHidesInAMethod(t *testing.T) {
	for name, g := range groups {
		for resource, res := range g.resources {
			for sub := range res.subresources {
				prefix := "/apis/" + name
				if name == "" {
					prefix = "/api"
				}
				for v := range g.versions {
					prefix += "/" + v
					break
				}
				if res.namespaced {
					prefix += "/namespaces/dev"
				}
				for _, method := range []string{"GET", "POST", "PUT", "PATCH", "DELETE"} {
					m := method + " " + prefix + "/" + resource + "/x/" + sub
					if sub == "exec" {
						m += "?command=ls"
					} else if method == "PATCH" {
						m += merge + "{}"
					} else if method != "GET" && method != "DELETE" {
						m += "\n{}"
					}
					r, err := send(m)
					if err != nil {
						if sub != "exec" && sub != "attach" && sub != "portforward" && sub != "proxy" {
							t.Errorf("%s: %v", m, err)
						}
						continue
					}
					text, err := r.Text()
					if err != nil {
						t.Fatal(err)
					}
					reading, err := Read(text, nil)
					if err != nil {
						t.Fatal(err)
					}
					acts := sub == "exec" || sub == "attach" || sub == "portforward" || sub == "proxy"
					if got := reading.Effect.ReadOnly(); got != (method == "GET" && !acts) {
						t.Errorf("%s: read-only is %v: %s", m, got, brief(&reading.Effect))
					}
				}
			}
		}
	}
}

func BenchmarkRead(b *testing.B) {
	for name, message := range map[string]string{
		"list": "GET " + dev + "/pods?limit=500", "exec": "POST " + dev + "/pods/p1/exec?command=cat&command=/var/log/x.log",
		"patch": "PATCH " + apps + "/deployments/web" + strat + `{"spec":{"template":{"spec":{"containers":[{"name":"a","image":"b:1"}]}}}}`,
	} {
		text, err := mustSend(b, message).Text()
		if err != nil {
			b.Fatal(err)
		}
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Read(text, nil); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
