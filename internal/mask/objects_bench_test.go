package mask

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"testing"
)

// podList is a list as an API server sends it: so many pods, each of some 7 KB.
func podList(n int) []byte {
	r := rand.New(rand.NewPCG(5, 6))
	type m = map[string]any
	hex := func(n int) string { return fmt.Sprintf("%0*x", n, r.Uint64()>>(64-4*min(n, 16))) }
	uid := func() string { return hex(8) + "-" + hex(4) + "-4" + hex(3) + "-a" + hex(3) + "-" + hex(12) }
	out := []byte(`{"kind":"PodList","apiVersion":"v1","metadata":{"resourceVersion":"184467","remainingItemCount":12},"items":[`)
	for i := range n {
		name := fmt.Sprintf("checkout-%s-%s", hex(9), hex(5))
		images := []string{"registry.internal.example/shop/checkout:v1.42.7", "registry.internal.example/mesh/proxy:1.21.0"}
		var containers, statuses []any
		for k, image := range images {
			c := fmt.Sprintf("c%d", k)
			containers = append(containers, m{
				"name": c, "image": image, "imagePullPolicy": "IfNotPresent", "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
				"command":         []any{"/usr/local/bin/serve", "--listen", ":8443", "--log-level=info"},
				"ports":           []any{m{"containerPort": 8443, "name": "https", "protocol": "TCP"}},
				"env":             []any{m{"name": "LOG_FORMAT", "value": "json"}, m{"name": "DB_HOST", "value": "orders-db.data.svc.cluster.local"}, m{"name": "DB_PASSWORD", "valueFrom": m{"secretKeyRef": m{"name": "orders-db", "key": "password"}}}, m{"name": "POD_IP", "valueFrom": m{"fieldRef": m{"apiVersion": "v1", "fieldPath": "status.podIP"}}}},
				"resources":       m{"limits": m{"cpu": "500m", "memory": "512Mi"}, "requests": m{"cpu": "250m", "memory": "256Mi"}},
				"readinessProbe":  m{"httpGet": m{"path": "/healthz", "port": 8443, "scheme": "HTTPS"}, "initialDelaySeconds": 5, "timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3},
				"volumeMounts":    []any{m{"name": "kube-api-access-" + hex(5), "readOnly": true, "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}},
				"securityContext": m{"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "runAsUser": 10001},
			})
			statuses = append(statuses, m{"name": c, "ready": true, "restartCount": r.IntN(4), "started": true, "image": image, "imageID": image + "@sha256:" + hex(16) + hex(16) + hex(16) + hex(16), "containerID": "containerd://" + hex(16) + hex(16) + hex(16) + hex(16), "state": m{"running": m{"startedAt": "2026-03-04T11:22:33Z"}}, "lastState": m{}})
		}
		var conditions []any
		for _, c := range []string{"PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"} {
			conditions = append(conditions, m{"type": c, "status": "True", "lastProbeTime": nil, "lastTransitionTime": "2026-03-04T11:22:35Z"})
		}
		fields := m{"f:metadata": m{"f:labels": m{".": m{}, "f:app": m{}, "f:pod-template-hash": m{}}, "f:ownerReferences": m{".": m{}, `k:{"uid":"` + uid() + `"}`: m{}}}, "f:spec": m{"f:containers": m{`k:{"name":"c0"}`: m{".": m{}, "f:image": m{}, "f:imagePullPolicy": m{}, "f:name": m{}, "f:resources": m{".": m{}, "f:limits": m{".": m{}, "f:cpu": m{}, "f:memory": m{}}}}}, "f:dnsPolicy": m{}, "f:restartPolicy": m{}, "f:schedulerName": m{}}}
		pod := m{
			"metadata": m{"name": name, "generateName": name[:len(name)-5], "namespace": "shop", "uid": uid(), "resourceVersion": fmt.Sprint(100000 + i), "creationTimestamp": "2026-03-04T11:22:30Z", "labels": m{"app": "checkout", "app.kubernetes.io/part-of": "shop", "pod-template-hash": hex(9), "topology.kubernetes.io/zone": "eu-west-1b"}, "annotations": m{"prometheus.io/scrape": "true", "prometheus.io/port": "9102", "cni.example/podIPs": "[\"10.42.3.17\"]"}, "ownerReferences": []any{m{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": name[:len(name)-6], "uid": uid(), "controller": true, "blockOwnerDeletion": true}},
				"managedFields": []any{m{"manager": "kube-controller-manager", "operation": "Update", "apiVersion": "v1", "time": "2026-03-04T11:22:30Z", "fieldsType": "FieldsV1", "fieldsV1": fields}}},
			"spec":   m{"volumes": []any{m{"name": "kube-api-access-" + hex(5), "projected": m{"sources": []any{m{"serviceAccountToken": m{"expirationSeconds": 3607, "path": "token"}}, m{"configMap": m{"name": "kube-root-ca.crt", "items": []any{m{"key": "ca.crt", "path": "ca.crt"}}}}}, "defaultMode": 420}}}, "containers": containers, "restartPolicy": "Always", "terminationGracePeriodSeconds": 30, "dnsPolicy": "ClusterFirst", "serviceAccountName": "checkout", "nodeName": "node-" + hex(4), "schedulerName": "default-scheduler", "tolerations": []any{m{"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}}, "priority": 0, "enableServiceLinks": true, "preemptionPolicy": "PreemptLowerPriority"},
			"status": m{"phase": "Running", "conditions": conditions, "hostIP": "192.168.7.21", "podIP": "10.42.3.17", "startTime": "2026-03-04T11:22:30Z", "containerStatuses": statuses, "qosClass": "Burstable"},
		}
		b, err := json.Marshal(pod)
		if err != nil {
			panic(err)
		}
		if i > 0 {
			out = append(out, ',')
		}
		out = append(out, b...)
	}
	return append(out, "]}\n"...)
}

func BenchmarkObjects(b *testing.B) {
	list := podList(5000)
	for _, c := range []struct {
		name  string
		rules []Rule
		opt   ObjectsOptions
	}{
		{"check", nil, ObjectsOptions{}},
		{"secrets", nil, ObjectsOptions{Secrets: true}},
		{"usual", []Rule{{Detect: []string{"EMAIL", "CREDIT_CARD", "US_SSN", "IBAN", "PHONE", "SECRET"}, Operator: "redact"}}, ObjectsOptions{}},
		{"all", []Rule{{Detect: Types(), Operator: "redact"}}, ObjectsOptions{}},
	} {
		b.Run(c.name, func(b *testing.B) {
			set := mustCompile(b, c.rules...)
			b.SetBytes(int64(len(list)))
			b.ReportAllocs()
			var out []byte
			for b.Loop() {
				o := set.Objects("cluster", c.opt)
				for rest := list; len(rest) > 0; {
					n := min(len(rest), 32<<10)
					var err error
					if out, err = o.Write(out[:0], rest[:n]); err != nil {
						b.Fatal(err)
					}
					rest = rest[n:]
				}
				if _, err := o.Close(out[:0]); err != nil {
					b.Fatal(err)
				}
				if o.Rows() != 5000 {
					b.Fatalf("%d rows", o.Rows())
				}
			}
		})
	}
}
