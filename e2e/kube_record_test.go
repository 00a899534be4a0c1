package e2e

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/doorward/doorward/e2e/harness"
	"github.com/doorward/doorward/e2e/kubetest"
)

// cli runs doorward itself, signed in as ada.
func (h *clusters) cli(args ...string) string {
	h.t.Helper()
	return doorwardAs(h.t, h.gate, h.ada, args...)
}

// sessionOf finds the session that shows the text.
func (h *clusters) sessionOf(text string) string {
	h.t.Helper()
	return sessionShowing(h.t, h.ada, ordersCluster, text)
}

// TestKubernetesRecord replays what was done in a cluster, and proves the record.
func TestKubernetesRecord(t *testing.T) {
	h := openCluster(t, func(c *harness.Config, _ *kubetest.Cluster) { c.Masking = clusterMasks })
	h.admin(pod("talks", "while true; do sleep 1; done"), "apply", "-f", "-")
	h.running("talks")
	h.admin(`{"apiVersion":"v1","kind":"Secret","metadata":{"name":"login"},"stringData":{"password":"hunter2-very-secret"}}`, "apply", "-f", "-")
	h.good("1.37", "", "get", "secret", "login", "-o", "yaml")
	r := h.kubectl("1.37", "typed in\n", "exec", "-i", "talks", "--", "sh", "-c", "cat; echo out-1; echo err-1 >&2; exit 3")
	if r.Status != 3 {
		t.Errorf("%+v", r)
	}
	h.kubectl("1.37", "", "create", "clusterrolebinding", "mine", "--clusterrole=cluster-admin", "--user=ada")
	id := h.sessionOf("/pods/talks/exec")
	out := h.cli("sessions", "replay", "--plain", id)
	contains(t, out, "out-1", "err-1", "typed in", "exit status 3", "allow by rule runs")
	id = h.sessionOf("/secrets/login")
	out = h.cli("sessions", "replay", "--plain", id)
	contains(t, out, "GET", "/api/v1/namespaces/dev/secrets/login", "answer: 200, application/json", base64Marker)
	hidden(t, "the replay", out)
	if cast := h.cli("sessions", "export", id, "--format", "asciicast"); !strings.HasPrefix(cast, `{"version":3,`) {
		t.Errorf("the cast is\n%.300s", cast)
	}
	out = h.cli("sessions", "replay", "--plain", h.sessionOf("clusterrolebindings"))
	contains(t, out, "deny")
	auditedWhole(t, h.gate)
}

const base64Marker = "W21hc2tlZCBieSBkb29yd2FyZF0="

// TestKubernetesIdentity signs in by the credential plugin and in a run, and has
// the cluster see who asks.
func TestKubernetesIdentity(t *testing.T) {
	h := openCluster(t, func(c *harness.Config, k *kubetest.Cluster) {
		ca := c.Clusters[0].CA
		c.Clusters = append(c.Clusters, harness.Cluster{Name: "seen", Address: c.Clusters[0].Address, CA: ca, Token: k.AdminToken, Fields: map[string]any{"impersonate": map[string]any{"user_prefix": "corp:", "group_prefix": "corp:"}}})
		user, err := k.User("gate", "system:masters")
		if err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		for name, b := range map[string][]byte{"cert.pem": user.Client.Cert, "key.pem": user.Client.Key, "plugin": []byte("#!/bin/sh\necho '{\"apiVersion\":\"client.authentication.k8s.io/v1\",\"kind\":\"ExecCredential\",\"status\":{\"token\":\"'$GATE_TOKEN'\"}}'\n")} {
			if err := os.WriteFile(filepath.Join(dir, name), b, 0o700); err != nil {
				t.Fatal(err)
			}
		}
		c.Clusters = append(c.Clusters,
			harness.Cluster{Name: "by-certificate", Address: c.Clusters[0].Address, CA: ca, Fields: map[string]any{"client_cert": filepath.Join(dir, "cert.pem"), "client_key": filepath.Join(dir, "key.pem")}},
			harness.Cluster{Name: "by-plugin", Address: c.Clusters[0].Address, CA: ca, Fields: map[string]any{"exec": map[string]any{"command": filepath.Join(dir, "plugin"), "env": map[string]string{"GATE_TOKEN": k.AdminToken}}}})
		c.Clusters = append(c.Clusters, harness.Cluster{Name: "stale", Address: c.Clusters[0].Address, CA: ca, Token: "not-a-token-that-is-known-0123456789"})
	})
	// A role for the group of the person, and no other.
	h.admin(`{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"ClusterRoleBinding","metadata":{"name":"corp"},"roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"ClusterRole","name":"view"},"subjects":[{"apiGroup":"rbac.authorization.k8s.io","kind":"Group","name":"corp:engineers"}]}`, "apply", "-f", "-")
	file := filepath.Join(t.TempDir(), "kubeconfig")
	h.cli("kubeconfig", "--out", file)
	text, err := os.ReadFile(file)
	if err != nil || bytes.Contains(text, []byte(h.ada.Token)) {
		t.Errorf("the kubeconfig holds the credential, or nothing: %v", err)
	}
	plugin := func(version string, args ...string) (string, error) {
		program, err := kubetest.Kubectl(version)
		if err != nil {
			t.Fatal(err)
		}
		cmd := kubetest.Command(t.Context(), program, file, t.TempDir(), args...)
		cmd.Env = append(cmd.Env, signedInAs(h.gate, h.ada)...)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	for _, v := range both {
		for _, cluster := range []string{ordersCluster, "seen"} {
			at, err := h.kube.AuditSize()
			if err != nil {
				t.Fatal(err)
			}
			out, err := plugin(v, "--context", cluster, "get", "pods", "-n", "dev")
			if err != nil {
				t.Errorf("kubectl %s by the plugin: %v %s", v, err, out)
			}
			if cluster != "seen" {
				continue
			}
			events, err := h.kube.Audit(at)
			if err != nil {
				t.Fatal(err)
			}
			seen := false
			for _, e := range events {
				as := fmt.Sprintf("%+v", e.As)
				if e.As != nil {
					as = fmt.Sprintf("%+v", *e.As)
				}
				seen = seen || e.Object.Resource == "pods" && strings.Contains(as, "corp:ada") && strings.Contains(as, "corp:engineers") && strings.Contains(as, "doorward-session")
			}
			if !seen {
				t.Errorf("the cluster did not see who asks: %+v", events)
			}
			// Its own RBAC decides too.
			if out, err := plugin(v, "--context", "seen", "create", "configmap", "no", "-n", "dev"); err == nil || !strings.Contains(out, "corp:ada") {
				t.Errorf("the cluster's own RBAC did not decide: %v %s", err, out)
			}
		}
	}
	h.admin(pod("talks", "sleep 1000"), "apply", "-f", "-")
	h.running("talks")
	for _, cluster := range []string{"by-certificate", "by-plugin"} {
		for _, args := range [][]string{{"get", "pods", "-n", "dev"}, {"exec", "-n", "dev", "talks", "--", "echo", "talks"}} {
			if out, err := plugin("1.37", append([]string{"--context", cluster}, args...)...); err != nil || !strings.Contains(out, "talks") {
				t.Errorf("%s: %v %s", cluster, err, out)
			}
		}
	}
	if out, err := plugin("1.37", "--context", "stale", "get", "pods"); err == nil || !strings.Contains(out, "does not take doorward's own credential") {
		t.Errorf("a stale credential of doorward's: %v %s", err, out)
	}
	kubectl, err := kubetest.Kubectl("1.37")
	if err != nil {
		t.Fatal(err)
	}
	out := h.cli("run", "--agent", "codex", "--task", "look", "--target", ordersCluster, "--", "sh", "-c", kubectl+" config get-contexts -o name; "+kubectl+" get pods -n kube-system && echo it works; env | grep -c DOORWARD_TOKEN || true")
	contains(t, out, ordersCluster+"\n", "it works", "\n0\n")
	if strings.Contains(out, "seen") {
		t.Errorf("the run reaches more than its target: %s", out)
	}
	for name, token := range map[string]string{"nonsense": "nonsense", "of the cluster itself": h.kube.AdminToken} {
		bad := *h
		bad.via = h.through(token)
		if r := bad.kubectl("1.37", "", "get", "pods"); r.Status == 0 || !strings.Contains(r.Stderr+r.Stdout, "logged in") && !strings.Contains(r.Stderr, "Unauthorized") && !strings.Contains(r.Stderr, "doorward") {
			t.Errorf("a token that is %s: %+v", name, r)
		}
	}
}

// TestKubernetesFaults has the cluster be away, lead elsewhere and talk nonsense,
// and clients send what is no request.
func TestKubernetesFaults(t *testing.T) {
	followed := make(chan string, 10)
	elsewhere := &http.Server{Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { followed <- r.URL.Path })}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go elsewhere.Serve(l)
	defer elsewhere.Close()
	rogue, ca := rogueServer(t, func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasSuffix(r.URL.Path, "/configmaps/redirect"):
			http.Redirect(w, r, "http://"+l.Addr().String()+"/taken", http.StatusTemporaryRedirect)
		case strings.HasSuffix(r.URL.Path, "/configmaps/garbage"):
			w.Header().Set("Content-Type", "application/json")
			io.WriteString(w, `{"kind":"ConfigMap","data":{"a":"lovelace@corp.example"`)
		case strings.HasSuffix(r.URL.Path, "/configmaps/binary"):
			w.Header().Set("Content-Type", "application/vnd.kubernetes.protobuf")
			io.WriteString(w, "k8s\x00lovelace@corp.example")
		case strings.HasSuffix(r.URL.Path, "/configmaps/switch"):
			w.Header().Set("Upgrade", "websocket")
			w.Header().Set("Connection", "Upgrade")
			w.WriteHeader(http.StatusSwitchingProtocols)
		case strings.HasSuffix(r.URL.Path, "/configmaps/zipped"):
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Content-Encoding", "gzip")
			z := gzip.NewWriter(w)
			io.WriteString(z, `{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"zipped"},"data":{"a":"lovelace@corp.example"}}`)
			z.Close()
		case strings.HasSuffix(r.URL.Path, "/configmaps/deep"):
			w.Header().Set("Content-Type", "application/json")
			io.WriteString(w, strings.Repeat(`{"a":`, 100000))
		default:
			w.Header().Set("Content-Type", "application/json")
			io.WriteString(w, `{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"ok"}}`)
		}
	})
	h := openCluster(t, func(c *harness.Config, _ *kubetest.Cluster) {
		c.Masking = clusterMasks
		c.Clusters = append(c.Clusters, harness.Cluster{Name: "rogue", Address: rogue, CA: ca, Token: "rogue-token-0123456789"})
		c.Clusters = append(c.Clusters, harness.Cluster{Name: "dead", Address: "127.0.0.1:1", CA: ca, Token: "dead-token-0123456789"})
		c.Clusters = append(c.Clusters, harness.Cluster{Name: "untrusted", Address: c.Clusters[0].Address, CA: ca, Token: "untrusted-token-0123456789"})
	})
	ask := func(target, path string) (int, string, error) {
		a := *h
		a.via.Server = "https://" + h.gate.Kubernetes + "/" + target
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		res := a.raw(ctx, path, "application/json")
		b, err := io.ReadAll(res.Body)
		return res.StatusCode, string(b), err
	}
	if code, text, err := ask("rogue", "/api/v1/namespaces/dev/configmaps/ok"); code != 200 || err != nil {
		t.Errorf("%d %s %v", code, text, err)
	}
	if code, text, err := ask("rogue", "/api/v1/namespaces/dev/configmaps/zipped"); code != 200 || err != nil || !strings.Contains(text, "[EMAIL]") {
		t.Errorf("%d %s %v", code, text, err)
	}
	for name, want := range map[string]string{"redirect": "does not go there", "switch": "does not go there", "binary": "cannot be masked"} {
		code, text, err := ask("rogue", "/api/v1/namespaces/dev/configmaps/"+name)
		if err != nil || code != 502 || !strings.Contains(text, want) {
			t.Errorf("%s: %d %s %v", name, code, text, err)
		}
		hidden(t, name, text)
	}
	for _, name := range []string{"garbage", "deep"} {
		_, text, err := ask("rogue", "/api/v1/namespaces/dev/configmaps/"+name)
		if err == nil {
			t.Errorf("%s ended as if it were whole: %.200s", name, text)
		}
		hidden(t, name, text)
	}
	select {
	case p := <-followed:
		t.Errorf("a redirect was followed to %s", p)
	default:
	}
	for _, name := range []string{"dead", "untrusted"} {
		if code, text, err := ask(name, "/api/v1/namespaces/dev/configmaps/ok"); err != nil || code != 502 || !strings.Contains(text, "cannot be reached") {
			t.Errorf("%s: %d %s %v", name, code, text, err)
		}
	}
	// What is no request, or too much of one.
	for what, request := range map[string]string{
		"no HTTP":                   "SSH-2.0-hello\r\n\r\n",
		"a huge header":             "GET /" + ordersCluster + "/api HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("a", 200<<10) + "\r\n\r\n",
		"a huge body":               "POST /" + ordersCluster + "/api/v1/namespaces/dev/configmaps HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + h.ada.Token + "\r\nContent-Type: application/json\r\nContent-Length: 99999999\r\n\r\n{",
		"a body that ends early":    "POST /" + ordersCluster + "/api/v1/namespaces/dev/configmaps HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + h.ada.Token + "\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
		"two credentials":           "GET /" + ordersCluster + "/api HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + h.ada.Token + "\r\nAuthorization: Bearer x\r\n\r\n",
		"a body that does not come": "POST /" + ordersCluster + "/api/v1/namespaces/dev/configmaps HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + h.ada.Token + "\r\nContent-Type: application/json\r\nContent-Length: 60\r\n\r\nhello",
		"no target":                 "GET / HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + h.ada.Token + "\r\n\r\n",
	} {
		conf := h.gate.TLS()
		conf.NextProtos = []string{"http/1.1"}
		c, err := tls.Dial("tcp", h.gate.Kubernetes, conf)
		if err != nil {
			t.Fatal(err)
		}
		_ = c.SetDeadline(time.Now().Add(45 * time.Second))
		if what == "a huge body" {
			go io.CopyN(c, zeros{}, 8<<20)
		}
		fmt.Fprint(c, request)
		b := make([]byte, 12)
		n, err := io.ReadFull(c, b)
		if n == 12 && !strings.HasPrefix(string(b), "HTTP/1.1 4") || n < 12 && err == nil {
			t.Errorf("%s: %q %v", what, b[:n], err)
		}
		c.Close()
	}
	// Certificates of another, plain text: nothing of it is answered.
	if c, err := net.Dial("tcp", h.gate.Kubernetes); err == nil {
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		fmt.Fprintf(c, "GET /%s/api HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n\r\n", ordersCluster, h.ada.Token)
		b, _ := io.ReadAll(c)
		if bytes.Contains(b, []byte(" 200 ")) {
			t.Errorf("plain text was answered: %q", b)
		}
		c.Close()
	}
	h.good("1.37", "", "get", "pods")
	// A cluster that stops answering: the request ends with its limit, and an
	// event.
	if err := h.kube.Pause(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	if r, err := h.via.Kubectl(ctx, "1.37", nil, "get", "pods", "--request-timeout=2s"); err == nil && r.Status == 0 {
		t.Errorf("a cluster that stands still answered: %+v", r)
	}
	if err := h.kube.Resume(); err != nil {
		t.Fatal(err)
	}
	until(t, "the cluster answers again", func() bool { return h.kubectl("1.37", "", "get", "pods").Status == 0 })
}

type zeros struct{}

// Read implements io.Reader.
func (zeros) Read(b []byte) (int, error) { return len(b), nil }

// rogueServer is an API server that misbehaves. It gives its address and the
// file of its authority.
func rogueServer(t *testing.T, handler http.HandlerFunc) (addr, ca string) {
	t.Helper()
	s := httptest.NewUnstartedServer(handler)
	s.EnableHTTP2 = false
	s.StartTLS()
	t.Cleanup(s.Close)
	ca = filepath.Join(t.TempDir(), "rogue-ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	return s.Listener.Addr().String(), ca
}
