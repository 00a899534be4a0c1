package e2e

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	typed "k8s.io/client-go/kubernetes/typed/core/v1"

	"github.com/doorward/doorward/e2e/harness"
	"github.com/doorward/doorward/e2e/kubetest"
)

const deployment = `{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":%q,"namespace":"dev"},"spec":{"replicas":2,"selector":{"matchLabels":{"app":%q}},"template":{"metadata":{"labels":{"app":%q}},"spec":{"containers":[{"name":"main","image":"none","command":["sh","-c","sleep 1000"]}]}}}}`

// answerTo waits for a review and answers it.
func (h *clusters) answerTo(yes bool) int64 {
	h.t.Helper()
	var id int64
	until(h.t, "a review is there", func() bool {
		all, err := h.dora.Reviews(h.t.Context(), "waiting")
		if err != nil {
			h.t.Fatal(err)
		}
		if len(all) > 0 {
			id = all[0].ID
		}
		return id != 0
	})
	if err := h.dora.Vote(h.t.Context(), id, yes, "", 0); err != nil {
		h.t.Fatal(err)
	}
	return id
}

// TestKubernetesReviews holds writes until a person says yes: to the object as
// it was then.
func TestKubernetesReviews(t *testing.T) {
	h := openCluster(t, func(c *harness.Config, _ *kubetest.Cluster) { c.Wait = 5 * time.Second })
	h.admin(fmt.Sprintf(deployment, "held", "held", "held"), "apply", "-f", "-")
	replicas := func() string {
		return h.admin("", "get", "deployment", "held", "-o", "jsonpath={.spec.replicas}")
	}
	for _, v := range both {
		t.Run("kubectl "+v, func(t *testing.T) {
			h := *h
			h.t = t
			h.admin("", "scale", "deployment", "held", "--replicas", "2")
			settled(&h, "held")
			// Nobody answers: the client is told where it waits, and nothing is done.
			r := h.kubectl(v, "", "scale", "deployment", "held", "--replicas", "3")
			if r.Status == 0 {
				t.Errorf("a held write was done: %+v", r)
			}
			contains(t, r.Stderr, "Warning", "held for approval, review ", "/reviews/", "held, review ")
			if n := replicas(); n != "2" {
				t.Errorf("%s replicas", n)
			}
			// What people see: the object, what would change, and nothing else.
			all, err := h.dora.Reviews(t.Context(), "waiting")
			if err != nil || len(all) != 1 {
				t.Fatalf("%d reviews, %v", len(all), err)
			}
			var review struct {
				Statement, Preview string
			}
			if err := h.dora.Do(t.Context(), http.MethodGet, fmt.Sprintf("/api/v1/reviews/%d", all[0].ID), nil, &review); err != nil {
				t.Fatal(err)
			}
			contains(t, review.Statement, "PATCH", "/namespaces/dev/deployments/held", `"replicas":3`, "resourceVersion")
			contains(t, review.Preview, "-  replicas: 2", "+  replicas: 3")
			// A yes lets the same command run, once.
			if err := h.dora.Vote(t.Context(), all[0].ID, true, "", 0); err != nil {
				t.Fatal(err)
			}
			h.good(v, "", "scale", "deployment", "held", "--replicas", "3")
			if n := replicas(); n != "3" {
				t.Errorf("%s replicas after the yes", n)
			}
			settled(&h, "held")
			h.admin("", "scale", "deployment", "held", "--replicas", "2")
			settled(&h, "held")
			if r := h.kubectl(v, "", "scale", "deployment", "held", "--replicas", "3"); r.Status == 0 {
				t.Errorf("it ran twice: %+v", r)
			}
			h.answerTo(false)
			if r := h.kubectl(v, "", "scale", "deployment", "held", "--replicas", "3"); r.Status == 0 || replicas() != "2" {
				t.Errorf("a no was no no: %+v", r)
			}
			// A yes within the wait goes on at once.
			done := make(chan kubetest.Result, 1)
			go func() {
				r, err := h.via.Kubectl(t.Context(), v, nil, "scale", "deployment", "held", "--replicas", "4")
				if err != nil {
					r.Stderr = err.Error()
				}
				done <- r
			}()
			h.answerTo(true)
			if r := <-done; r.Status != 0 || replicas() != "4" {
				t.Errorf("after a yes while it waited: %+v", r)
			}
		})
	}
	t.Run("what is not shown", func(t *testing.T) {
		h := *h
		h.t = t
		preview := func(args ...string) string {
			if r := h.kubectl("1.37", "", args...); r.Status == 0 {
				t.Fatalf("it was not held: %+v", r)
			}
			all, err := h.dora.Reviews(t.Context(), "waiting")
			if err != nil || len(all) != 1 {
				t.Fatalf("%d reviews, %v", len(all), err)
			}
			var review struct{ Preview string }
			if err := h.dora.Do(t.Context(), http.MethodGet, fmt.Sprintf("/api/v1/reviews/%d", all[0].ID), nil, &review); err != nil {
				t.Fatal(err)
			}
			if err := h.dora.Vote(t.Context(), all[0].ID, false, "", 0); err != nil {
				t.Fatal(err)
			}
			return review.Preview
		}
		contains(t, preview("patch", "deployment", "held", "--subresource=status", "--type=merge", "-p", `{"status":{"observedGeneration":77}}`), "+  observedGeneration: 77")
		contains(t, preview("annotate", "deployment", "held", "kubectl.kubernetes.io/last-applied-configuration={}", "--overwrite"), "last-applied-configuration changes")
		long := preview("annotate", "deployment", "held", "a="+strings.Repeat("long ", 20000))
		contains(t, long, "more bytes)")
		if len(long) > 4<<10 {
			t.Errorf("a preview of %d bytes", len(long))
		}
	})
	t.Run("another object by then", func(t *testing.T) {
		h := *h
		h.t = t
		settled(&h, "held")
		r := h.kubectl("1.37", "", "scale", "deployment", "held", "--replicas", "5")
		if r.Status == 0 {
			t.Fatalf("it was not held: %+v", r)
		}
		h.answerTo(true)
		h.admin("", "annotate", "deployment", "held", "changed=yes")
		r = h.kubectl("1.37", "", "scale", "deployment", "held", "--replicas", "5")
		if r.Status == 0 || replicas() == "5" {
			t.Errorf("the approval held for another object: %+v", r)
		}
	})
	t.Run("delete", func(t *testing.T) {
		h := *h
		h.t = t
		h.admin(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"goes"},"data":{"mail":"ada@corp.example"}}`, "apply", "-f", "-")
		r := h.kubectl("1.37", "", "delete", "configmap", "goes")
		if r.Status == 0 {
			t.Fatalf("it was not held: %+v", r)
		}
		// Another of the same name is not what they saw.
		id := h.answerTo(true)
		h.admin("", "delete", "configmap", "goes")
		h.admin(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"goes"},"data":{"mail":"another"}}`, "apply", "-f", "-")
		if r := h.kubectl("1.37", "", "delete", "configmap", "goes"); r.Status == 0 {
			t.Errorf("review %d was for another object: %+v", id, r)
		}
		h.admin("", "get", "configmap", "goes")
		h.answerTo(true)
		h.good("1.37", "", "delete", "configmap", "goes")
	})
}

// settled waits until the controllers have done with a deployment.
func settled(h *clusters, name string) {
	h.t.Helper()
	h.admin("", "rollout", "status", "deployment", name, "--timeout", "60s")
	before := ""
	until(h.t, name+" rests", func() bool {
		now := h.admin("", "get", "deployment", name, "-o", "jsonpath={.metadata.resourceVersion}")
		same := now == before
		before = now
		if !same {
			time.Sleep(700 * time.Millisecond)
		}
		return same
	})
}

// what must never be shown.
var leaks = []string{"lovelace@corp.example", "4111111111111111", "hunter2-very-secret", "base64:lovelace@corp.example"}

func hidden(t *testing.T, what, text string) {
	t.Helper()
	for _, l := range leaks {
		plain := strings.TrimPrefix(l, "base64:")
		for _, form := range []string{plain, base64.StdEncoding.EncodeToString([]byte(plain))[:8*len(plain)/6/4*4]} {
			if strings.Contains(text, form) {
				t.Errorf("%s shows %q:\n%s", what, form, text)
			}
		}
	}
}

var clusterMasks = []any{map[string]any{"targets": []string{"*"}, "detect": []string{"EMAIL", "CREDIT_CARD", "SECRET"}, "operator": "redact"}}

// TestKubernetesMasking shows Secrets, ConfigMaps, logs and output in every form
// that a client can ask for.
func TestKubernetesMasking(t *testing.T) {
	h := openCluster(t, func(c *harness.Config, _ *kubetest.Cluster) { c.Masking = clusterMasks })
	h.admin(`{"apiVersion":"v1","kind":"Secret","metadata":{"name":"login"},"stringData":{"password":"hunter2-very-secret","mail":"lovelace@corp.example"}}`, "apply", "-f", "-")
	h.admin(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"app","annotations":{"owner":"lovelace@corp.example"}},"data":{"mail":"to: lovelace@corp.example\n","json":"{\"card\":\"4111 1111 1111 1111\",\"esc\":\"lovelace\\u0040corp.example\"}"},"binaryData":{"b":"`+base64.StdEncoding.EncodeToString([]byte("mail lovelace@corp.example"))+`"}}`, "apply", "-f", "-")
	h.admin(pod("talks", "while true; do echo user lovelace@corp.example paid with 4111111111111111; sleep 0.3; done"), "apply", "-f", "-")
	h.running("talks")
	h.admin("", "exec", "talks", "--", "sh", "-c", `printf '#!/bin/sh\necho lovelace@corp.example >&2; printf love; sleep 0.05; printf "lace@corp.example 4111111111111111\\n"\n' > pieces; chmod +x pieces`)
	for _, v := range both {
		t.Run("kubectl "+v, func(t *testing.T) {
			h := *h
			h.t = t
			for _, args := range [][]string{
				{"get", "secrets"}, {"get", "secret", "login", "-o", "yaml"}, {"get", "secrets", "-o", "json"}, {"get", "secrets", "-A", "-o", "json"},
				{"get", "secret", "login", "-o", "jsonpath={.data.password}"}, {"get", "secret", "login", "-o", "go-template={{.data.password | base64decode}}"},
				{"describe", "secret", "login"}, {"get", "secrets", "--show-labels", "-o", "wide"},
				{"get", "configmap", "app", "-o", "yaml"}, {"get", "configmaps", "-o", "json"}, {"describe", "configmap", "app"},
				{"logs", "talks", "--tail", "5"}, {"logs", "talks", "--tail", "5", "--timestamps"},
				{"exec", "talks", "--", "echo", "lovelace@corp.example"}, {"exec", "talks", "--", "./pieces"},
				{"get", "events", "-o", "json"}, {"get", "pod", "talks", "-o", "yaml"}, {"get", "pods", "-o", "json"},
				{"get", "--raw", "/api/v1/namespaces/dev/secrets"}, {"get", "--raw", "/api/v1/namespaces/dev/configmaps/app"}, {"get", "--raw", "/api/v1/secrets?limit=500"},
			} {
				if v == "1.20" && args[1] == "--raw" {
					continue // it forgets that the server has a path
				}
				r := h.kubectl(v, "", args...)
				hidden(t, strings.Join(args, " "), r.Stdout+r.Stderr)
				if r.Status != 0 {
					t.Errorf("%s: %+v", strings.Join(args, " "), r)
				}
			}
			contains(t, h.good(v, "", "get", "secret", "login", "-o", "jsonpath={.data.password}"), base64.StdEncoding.EncodeToString([]byte("[masked by doorward]")))
			// Shown masked, written back: it would take the value away.
			object := h.good(v, "", "get", "secret", "login", "-o", "json")
			if r := h.kubectl(v, object, "replace", "-f", "-"); r.Status == 0 || !strings.Contains(r.Stderr, "mask") {
				t.Errorf("a masked Secret was written back: %+v", r)
			}
			contains(t, h.admin("", "get", "secret", "login", "-o", "jsonpath={.data.password}"), base64.StdEncoding.EncodeToString([]byte("hunter2-very-secret")))
			object = h.good(v, "", "get", "configmap", "app", "-o", "json")
			if r := h.kubectl(v, object, "replace", "-f", "-"); r.Status == 0 || !strings.Contains(r.Stderr, "mask") {
				t.Errorf("a masked ConfigMap was written back: %+v", r)
			}
			contains(t, h.admin("", "get", "configmap", "app", "-o", "jsonpath={.data.mail}"), "lovelace@corp.example")
			// A patch can carry a value to where it is shown, or tell whether it is as guessed.
			for _, patch := range []string{
				`[{"op":"copy","from":"/data/password","path":"/metadata/annotations/meta.helm.sh~1release-name"}]`,
				`[{"op":"add","path":"/metadata/labels","value":{}},{"op":"copy","from":"/data/password","path":"/metadata/labels/x"}]`,
				`[{"op":"move","from":"/data/password","path":"/metadata/labels"}]`,
				`[{"op":"test","path":"/data/password","value":"` + base64.StdEncoding.EncodeToString([]byte("hunter2-very-secret")) + `"}]`,
				`[{"op":"test","path":"","value":{}}]`,
			} {
				r := h.kubectl(v, "", "patch", "secret", "login", "--type", "json", "-p", patch, "--dry-run=server", "-o", "yaml")
				hidden(t, patch, r.Stdout+r.Stderr)
				if r.Status == 0 || !strings.Contains(r.Stderr, "doorward") {
					t.Errorf("%s: %+v", patch, r)
				}
			}
			dir := t.TempDir()
			h.admin("", "exec", "talks", "--", "sh", "-c", "mkdir -p d; echo lovelace@corp.example > d/mail; head -c 70000 /dev/zero > d/zeros")
			h.good(v, "", "cp", "talks:d", filepath.Join(dir, "d"))
			b, err := os.ReadFile(filepath.Join(dir, "d", "mail"))
			if err != nil || len(b) == 0 {
				t.Errorf("cp: %q %v", b, err)
			}
			hidden(t, "cp", string(b))
			if st, err := os.Stat(filepath.Join(dir, "d", "zeros")); err != nil || st.Size() != 70000 {
				t.Errorf("cp: %v %v", st, err)
			}
			for _, words := range [][]string{{"tar", "-cf", "-", "d"}, {"tar", "-c", "-f", "-", "d"}, {"tar", "--create", "--file=-", "d"}, {"tar", "c", "d"}} {
				out := h.good(v, "", append([]string{"exec", "talks", "--"}, words...)...)
				hidden(t, strings.Join(words, " "), out)
				files := tar.NewReader(strings.NewReader(out))
				for {
					head, err := files.Next()
					if err == io.EOF {
						break
					}
					if err != nil {
						t.Errorf("%v writes no archive any more: %v", words, err)
						break
					}
					if b, err := io.ReadAll(files); err != nil || int64(len(b)) != head.Size {
						t.Errorf("%v: %s: %v", words, head.Name, err)
					}
				}
			}
			if r := h.kubectl(v, "", "port-forward", "talks", "0:80"); r.Status == 0 || !strings.Contains(r.Stderr, "masked") {
				t.Errorf("a forward that cannot be masked: %+v", r)
			}
		})
	}
	t.Run("watch", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		for _, accept := range []string{"application/json", "application/json;as=Table;v=v1;g=meta.k8s.io;includeObject=Object"} {
			res := h.raw(ctx, "/api/v1/namespaces/dev/secrets?watch=true&timeoutSeconds=3&includeObject=Object", accept)
			b, err := io.ReadAll(res.Body)
			if err != nil || len(b) < 100 || res.StatusCode != 200 {
				t.Errorf("%s %d bytes %v: %s", res.Status, len(b), err, b)
			}
			hidden(t, "watch as "+accept, string(b))
		}
	})
	t.Run("protobuf", func(t *testing.T) {
		cfg := h.via.Config()
		cfg.ContentType, cfg.AcceptContentTypes = "application/vnd.kubernetes.protobuf", "application/vnd.kubernetes.protobuf"
		core, err := typed.NewForConfig(cfg)
		if err != nil {
			t.Fatal(err)
		}
		s, err := core.Secrets("dev").Get(t.Context(), "login", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if string(s.Data["password"]) != "[masked by doorward]" {
			t.Errorf("password: %q", s.Data["password"])
		}
		m, err := core.ConfigMaps("dev").List(t.Context(), metav1.ListOptions{})
		if err != nil || len(m.Items) < 1 {
			t.Fatalf("%v %v", m, err)
		}
		b, _ := json.Marshal(m)
		hidden(t, "protobuf", string(b))
		s.Name, s.ResourceVersion, s.UID = "another", "", ""
		s.Data = map[string][]byte{"a": []byte("b")}
		s.Annotations = nil
		if _, err := core.Secrets("dev").Create(t.Context(), s, metav1.CreateOptions{}); err != nil {
			t.Errorf("a protobuf body: %v", err)
		}
	})
}

// raw asks doorward by HTTP.
func (h *clusters) raw(ctx context.Context, target, accept string) *http.Response {
	h.t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, h.via.Server+target, nil)
	if err != nil {
		h.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+h.via.Token)
	req.Header.Set("Accept", accept)
	c := &http.Client{Transport: &http.Transport{TLSClientConfig: h.gate.TLS(), ForceAttemptHTTP2: true}}
	res, err := c.Do(req)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { res.Body.Close(); c.CloseIdleConnections() })
	return res
}

// TestKubernetesForward moves bytes to a port of a pod, each connection judged.
func TestKubernetesForward(t *testing.T) {
	h := openCluster(t, nil)
	h.admin(pod("serves", "sleep 1000"), "apply", "-f", "-")
	h.running("serves")
	l, err := net.Listen("tcp", h.admin("", "get", "pod", "serves", "-o", "jsonpath={.status.podIP}")+":0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				line, _ := bufio.NewReader(c).ReadString('\n')
				fmt.Fprintf(c, "you said %s", line)
			}()
		}
	}()
	port := l.Addr().(*net.TCPAddr).Port
	for _, v := range both {
		t.Run("kubectl "+v, func(t *testing.T) {
			h := *h
			h.t = t
			local, stop := h.forward(v, "serves", port)
			defer stop()
			dead, stopDead := h.forward(v, "serves", 1)
			defer stopDead()
			if got := say(t, dead, "hello\n"); got != "" {
				t.Errorf("a port where nobody listens said %q", got)
			}
			for i := range 5 {
				if got := say(t, local, fmt.Sprintf("hello %d\n", i)); got != fmt.Sprintf("you said hello %d\n", i) {
					t.Errorf("%q", got)
				}
			}
		})
	}
}

// forward starts kubectl port-forward and gives the local address.
func (h *clusters) forward(version, pod string, port int) (string, func()) {
	h.t.Helper()
	file := filepath.Join(h.t.TempDir(), "kubeconfig")
	if err := h.via.Kubeconfig(file); err != nil {
		h.t.Fatal(err)
	}
	program, err := kubetest.Kubectl(version)
	if err != nil {
		h.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(h.t.Context())
	cmd := kubetest.Command(ctx, program, file, h.t.TempDir(), "port-forward", pod, fmt.Sprintf(":%d", port))
	out, err := cmd.StdoutPipe()
	if err != nil {
		h.t.Fatal(err)
	}
	var errs bytes.Buffer
	cmd.Stderr = &errs
	if err := cmd.Start(); err != nil {
		h.t.Fatal(err)
	}
	stop := func() {
		cancel()
		_ = cmd.Wait()
		if h.t.Failed() {
			h.t.Logf("port-forward said: %s", errs.String())
		}
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	addr := ""
	if i := strings.Index(line, "127.0.0.1:"); i >= 0 {
		addr, _, _ = strings.Cut(line[i:], " ")
	}
	if err != nil || addr == "" {
		stop()
		h.t.Fatalf("port-forward: %q %v %s", line, err, errs.String())
	}
	go io.Copy(io.Discard, out)
	return addr, stop
}

func say(t *testing.T, addr, text string) string {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	fmt.Fprint(c, text)
	b, _ := io.ReadAll(c)
	return string(b)
}

// TestKubernetesLimits cuts answers and streams at their limits.
func TestKubernetesLimits(t *testing.T) {
	h := openCluster(t, func(c *harness.Config, _ *kubetest.Cluster) {
		c.Rules = []any{
			map[string]any{"name": "few", "targets": []string{"*"}, "when": "effect.kinds.exists(k, k == 'list configmaps')", "then": "allow", "limits": map[string]any{"rows": 3}},
			map[string]any{"name": "rare", "targets": []string{"*"}, "when": "effect.kinds.exists(k, k == 'get configmaps')", "then": "allow", "limits": map[string]any{"per_minute": 3}},
			map[string]any{"name": "small", "targets": []string{"*"}, "when": "effect.kinds.exists(k, k.endsWith('pods/log'))", "then": "allow", "limits": map[string]any{"bytes": "1KiB"}},
			map[string]any{"name": "short", "targets": []string{"*"}, "when": "effect.kinds.exists(k, k.endsWith('pods/exec')) || effect.kinds.exists(k, k == 'watch pods')", "then": "allow", "limits": map[string]any{"time": "2s", "bytes": "1MiB"}},
			map[string]any{"name": "look", "targets": []string{"*"}, "when": "effect.kinds.exists(k, k in ['discovery', 'get pods'])", "then": "allow"},
		}
	})
	h.admin(pod("talks", "i=0; while true; do echo line $i; i=$((i+1)); sleep 0.01; done"), "apply", "-f", "-")
	h.running("talks")
	if out := h.good("1.37", "", "get", "configmaps"); !strings.Contains(out, "kube-root-ca.crt") {
		t.Errorf("fewer than the limit: %s", out)
	}
	for i := range 5 {
		h.admin(fmt.Sprintf(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"m%d"}}`, i), "apply", "-f", "-")
	}
	if r := h.kubectl("1.37", "", "get", "configmaps"); r.Status == 0 {
		t.Errorf("more rows than the limit: %+v", r)
	}
	for range 3 {
		h.good("1.37", "", "get", "configmap", "m1")
	}
	if r := h.kubectl("1.37", "", "get", "configmap", "m1"); r.Status == 0 || !strings.Contains(r.Stderr, "more than 3 requests in a minute") {
		t.Errorf("the fourth in a minute: %+v", r)
	}
	until(t, "the log is long", func() bool { return len(h.admin("", "logs", "talks")) > 4096 })
	if r := h.kubectl("1.37", "", "logs", "talks"); len(r.Stdout) > 1024 {
		t.Errorf("%d bytes of a log, the limit is 1024", len(r.Stdout))
	}
	for _, v := range both {
		start := time.Now()
		r := h.kubectl(v, "", "exec", "talks", "--", "sleep", "30")
		if took := time.Since(start); r.Status == 0 || took > 15*time.Second || !strings.Contains(r.Stderr, "time limit") {
			t.Errorf("exec past its time: %s %+v", took, r)
		}
		if r := h.kubectl(v, "", "exec", "talks", "--", "head", "-c", "2000000", "/dev/zero"); len(r.Stdout) > 1<<20 || !strings.Contains(r.Stderr, "cut") {
			t.Errorf("exec past its bytes: %d, %s", len(r.Stdout), r.Stderr)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	start := time.Now()
	res := h.raw(ctx, "/api/v1/namespaces/dev/pods?watch=true&resourceVersion=1", "application/json")
	_, err := io.ReadAll(res.Body)
	if took := time.Since(start); err == nil || took > 10*time.Second {
		t.Errorf("a watch past its time ended after %s with %v", took, err)
	}
}

// TestKubernetesKill ends what runs: a watch, a log, a command, a forward.
func TestKubernetesKill(t *testing.T) {
	h := openCluster(t, nil)
	h.admin(pod("talks", "while true; do echo line; sleep 0.2; done"), "apply", "-f", "-")
	h.running("talks")
	run, token, err := h.ada.Run(t.Context(), "codex", "look after pods", []string{ordersCluster}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	agent := *h
	agent.via = h.through(token)
	type ended struct {
		what string
		r    kubetest.Result
	}
	all := [][]string{{"get", "pods", "-w"}, {"logs", "-f", "talks"}, {"exec", "talks", "--", "sleep", "60"}, {"exec", "-i", "talks", "--", "sh", "-c", "sleep 61"}}
	for _, how := range []string{"kill", "revoke"} {
		done := make(chan ended, 2*len(all))
		for _, v := range both {
			for _, args := range all {
				go func() {
					r, err := agent.via.Kubectl(t.Context(), v, nil, args...)
					if err != nil {
						r.Stderr = err.Error()
					}
					done <- ended{v + " " + strings.Join(args, " "), r}
				}()
			}
		}
		runs := func() []harness.Session {
			list, err := h.ada.Sessions(t.Context(), "live=true&q=codex")
			if err != nil {
				t.Fatal(err)
			}
			return list
		}
		until(t, "all of them run", func() bool { return len(runs()) >= 2*len(all) })
		time.Sleep(2 * time.Second)
		start := time.Now()
		if how == "kill" {
			for _, s := range runs() {
				_ = h.ada.Do(t.Context(), http.MethodPost, "/api/v1/sessions/"+s.ID+"/kill", map[string]any{}, nil) // it may have ended by itself
			}
		} else if err := h.ada.Do(t.Context(), http.MethodDelete, "/api/v1/runs/"+run, nil, nil); err != nil {
			t.Fatal(err)
		}
		// A client that watches opens its watch again after a kill; it is stopped
		// for good when its credential is.
		want := 2 * len(all)
		if how == "kill" {
			want -= 2
		}
		for range want {
			select {
			case e := <-done:
				if strings.Contains(e.what, "exec") && e.r.Status == 0 {
					t.Errorf("%s after %s: %+v", e.what, how, e.r)
				}
			case <-time.After(20 * time.Second):
				t.Fatalf("after %s something goes on: %d live", how, len(runs()))
			}
		}
		t.Logf("%s took %s", how, time.Since(start))
		if how == "revoke" {
			if r := agent.kubectl("1.37", "", "get", "pods"); r.Status == 0 {
				t.Errorf("a revoked credential: %+v", r)
			}
		}
	}
}
