package e2e

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/doorward/doorward/e2e/harness"
	"github.com/doorward/doorward/e2e/kubetest"
)

// clusters is a cluster, and a doorward before it.
type clusters struct {
	t    *testing.T
	kube *kubetest.Cluster
	gate *harness.Gate
	ada  *harness.Client
	dora *harness.Client
	via  kubetest.Access // ada's way through doorward
}

const ordersCluster = "orders-cluster"

// The rules of the cluster: reading and running goes in dev, small writes too;
// what is scaled or deleted there waits for a yes; Secrets may be read, masked.
var clusterRules = []any{
	map[string]any{"name": "reads", "targets": []string{"*"}, "when": "effect.read_only", "then": "allow", "limits": map[string]any{"rows": 100000, "bytes": "1GiB"}},
	map[string]any{"name": "runs", "targets": []string{"*"}, "when": "effect.kinds.exists(k, k in ['create pods/exec', 'create pods/attach', 'create pods/portforward'])", "then": "allow"},
	map[string]any{"name": "writes", "targets": []string{"*"}, "when": "effect.complete && effect.writes && !effect.scale_to_zero && !effect.rbac && !effect.token && effect.verbs.all(v, v in ['create', 'update', 'read']) && effect.objects.all(o, !o.kind.startsWith('deployments') || o.name != 'dev/held')", "then": "allow"},
	map[string]any{"name": "held", "targets": []string{"*"}, "when": "effect.complete && effect.writes && !effect.rbac && !effect.delete_collection && !effect.deletes_namespace && ('delete' in effect.verbs || effect.objects.exists(o, o.name == 'dev/held'))", "then": "review", "reviewers": map[string]any{"groups": []string{"dba"}}},
	map[string]any{"name": "no-zero", "targets": []string{"*"}, "when": "effect.scale_to_zero", "then": "deny", "reason": "nothing is scaled to zero here", "hint": "Scale it to 1."},
}

// openCluster starts a cluster and a doorward; change may adjust the
// configuration.
func openCluster(t *testing.T, change func(*harness.Config, *kubetest.Cluster)) *clusters {
	t.Helper()
	ctx := t.Context()
	k, err := kubetest.Start(ctx, kubetest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := k.Stop(); err != nil {
			t.Errorf("the cluster did not stop cleanly: %v", err)
		}
	})
	ca := filepath.Join(t.TempDir(), "cluster-ca.pem")
	if err := os.WriteFile(ca, k.CA, 0o600); err != nil {
		t.Fatal(err)
	}
	c := &harness.Config{Users: users, Rules: clusterRules, Wait: 20 * time.Second, Clusters: []harness.Cluster{
		{Name: ordersCluster, Address: strings.TrimPrefix(k.URL, "https://"), CA: ca, Token: k.AdminToken},
	}}
	if change != nil {
		change(c, k)
	}
	g := startGate(t, c)
	h := &clusters{t: t, kube: k, gate: g}
	if h.ada, err = g.SignIn(ctx, "ada"); err != nil {
		t.Fatal(err)
	}
	if h.dora, err = g.SignIn(ctx, "dora"); err != nil {
		t.Fatal(err)
	}
	h.via = h.through(h.ada.Token)
	if err := k.Namespace(ctx, "dev"); err != nil {
		t.Fatal(err)
	}
	return h
}

// through is the way through doorward with a token.
func (h *clusters) through(token string) kubetest.Access {
	return kubetest.Access{Server: "https://" + h.gate.Kubernetes + "/" + ordersCluster, CA: h.gate.CA, Token: token, Namespace: "dev"}
}

// both are the versions of kubectl that are tested: the old one speaks SPDY,
// the new one WebSocket.
var both = []string{"1.20", "1.37"}

// kubectl runs kubectl through doorward.
func (h *clusters) kubectl(version string, in string, args ...string) kubetest.Result {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(h.t.Context(), 90*time.Second)
	defer cancel()
	var stdin *strings.Reader
	if in != "" {
		stdin = strings.NewReader(in)
		r, err := h.via.Kubectl(ctx, version, stdin, args...)
		if err != nil {
			h.t.Fatal(err)
		}
		return r
	}
	r, err := h.via.Kubectl(ctx, version, nil, args...)
	if err != nil {
		h.t.Fatal(err)
	}
	return r
}

// good runs kubectl through doorward, and wants it to work.
func (h *clusters) good(version, in string, args ...string) string {
	h.t.Helper()
	r := h.kubectl(version, in, args...)
	if r.Status != 0 {
		h.t.Errorf("kubectl %s %s: status %d\n%s%s", version, strings.Join(args, " "), r.Status, r.Stdout, r.Stderr)
	}
	return r.Stdout
}

// admin does something beside doorward.
func (h *clusters) admin(in string, args ...string) string {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(h.t.Context(), 90*time.Second)
	defer cancel()
	a := h.kube.Admin()
	a.Namespace = "dev"
	r, err := a.Kubectl(ctx, "1.37", strings.NewReader(in), args...)
	if err != nil {
		h.t.Fatal(err)
	}
	if r.Status != 0 {
		h.t.Fatalf("beside doorward: kubectl %s: status %d\n%s%s", strings.Join(args, " "), r.Status, r.Stdout, r.Stderr)
	}
	return r.Stdout
}

// until waits for something to become so.
func until(t *testing.T, what string, so func() bool) {
	t.Helper()
	for end := time.Now().Add(60 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if so() {
			return
		}
	}
	t.Fatalf("not within a minute: %s", what)
}

func contains(t *testing.T, text string, want ...string) {
	t.Helper()
	for _, w := range want {
		if !strings.Contains(text, w) {
			t.Errorf("no %q in:\n%s", w, text)
		}
	}
}

// pod is a pod that writes a line now and then.
func pod(name, command string) string {
	return fmt.Sprintf(`{"apiVersion":"v1","kind":"Pod","metadata":{"name":%q,"namespace":"dev","labels":{"app":%q}},"spec":{"containers":[{"name":"main","image":"none","command":["sh","-c",%q]}]}}`, name, name, command)
}

func (h *clusters) running(name string) {
	h.t.Helper()
	until(h.t, "pod "+name+" runs", func() bool {
		return strings.Contains(h.admin("", "get", "pod", name, "-o", "jsonpath={.status.phase}"), "Running")
	})
}

// TestKubernetesClients uses a cluster through doorward as people do.
func TestKubernetesClients(t *testing.T) {
	h := openCluster(t, nil)
	h.admin(pod("talks", "i=0; while true; do echo line $i; i=$((i+1)); sleep 0.2; done"), "apply", "-f", "-")
	h.running("talks")
	for _, v := range both {
		t.Run("kubectl "+v, func(t *testing.T) {
			h := *h
			h.t = t
			contains(t, h.good(v, "", "get", "pods"), "talks", "Running")
			contains(t, h.good(v, "", "get", "pods", "-A", "-o", "wide"), "talks")
			contains(t, h.good(v, "", "get", "pod", "talks", "-o", "yaml"), "name: talks")
			contains(t, h.good(v, "", "describe", "pod", "talks"), "talks")
			contains(t, h.good(v, "", "api-resources"), "deployments")
			contains(t, h.good(v, "", "version"), "Server")
			contains(t, h.good(v, "", "explain", "pod.spec"), "containers")
			contains(t, h.good(v, "", "logs", "talks", "--tail", "3"), "line")
			contains(t, h.good(v, "", "exec", "talks", "--", "echo", "hello there"), "hello there")
			if out := h.good(v, "from here\n", "exec", "-i", "talks", "--", "cat"); out != "from here\n" {
				t.Errorf("exec -i gave %q", out)
			}
			if r := h.kubectl(v, "", "exec", "talks", "--", "sh", "-c", "echo out; echo err >&2; exit 7"); r.Status != 7 || !strings.Contains(r.Stdout, "out") || !strings.Contains(r.Stderr, "err") {
				t.Errorf("exec: %+v", r)
			}
			big := h.good(v, "", "exec", "talks", "--", "head", "-c", "3000000", "/dev/zero")
			if len(big) != 3000000 {
				t.Errorf("%d bytes of 3000000 came", len(big))
			}
			file := filepath.Join(t.TempDir(), "file")
			text := bytes.Repeat([]byte("some text\n"), 20000)
			if err := os.WriteFile(file, text, 0o600); err != nil {
				t.Fatal(err)
			}
			h.good(v, "", "cp", file, "talks:copied")
			h.good(v, "", "cp", "talks:copied", file+"2")
			if back, err := os.ReadFile(file + "2"); err != nil || !bytes.Equal(back, text) {
				t.Errorf("cp there and back: %d bytes, %v", len(back), err)
			}
			name := "made-" + strings.ReplaceAll(v, ".", "-")
			h.good(v, `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"`+name+`"},"data":{"a":"b"}}`, "apply", "-f", "-")
			h.good(v, `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"`+name+`"},"data":{"a":"c"}}`, "apply", "-f", "-")
			contains(t, h.good(v, "", "get", "configmap", name, "-o", "yaml"), "a: c")
			h.good(v, "", "label", "configmap", name, "x=y")
			h.good(v, "", "auth", "can-i", "get", "pods")
			r := h.kubectl(v, "", "create", "clusterrolebinding", "mine", "--clusterrole=cluster-admin", "--user=ada")
			if r.Status == 0 || !strings.Contains(r.Stderr, "doorward") {
				t.Errorf("a role binding: %+v", r)
			}
		})
	}
}

// TestKubernetesMoreClients runs the rest of what people do: helm, debug, attach,
// apply in its kinds, client-go's informers.
func TestKubernetesMoreClients(t *testing.T) {
	h := openCluster(t, func(c *harness.Config, _ *kubetest.Cluster) {
		c.Rules = []any{map[string]any{"name": "all", "targets": []string{"*"}, "when": "effect.complete || effect.kinds.exists(k, k == 'script')", "then": "allow", "limits": map[string]any{"bytes": "1GiB"}}}
	})
	h.admin(strings.Replace(pod("talks", "while true; do read line && echo heard $line; sleep 0.1; done"), `"image":`, `"stdin":true,"image":`, 1), "apply", "-f", "-")
	h.running("talks")
	for _, v := range both {
		t.Run("kubectl "+v, func(t *testing.T) {
			h := *h
			h.t = t
			name := "web-" + strings.ReplaceAll(v, ".", "-")
			text := fmt.Sprintf(deployment, name, name, name)
			h.good(v, text, "apply", "-f", "-")
			h.good(v, text, "apply", "--server-side", "--force-conflicts", "-f", "-")
			h.good(v, "", "rollout", "status", "deployment", name, "--timeout", "60s")
			h.good(v, "", "scale", "deployment", name, "--replicas", "1")
			h.good(v, "", "patch", "deployment", name, "-p", `{"metadata":{"labels":{"a":"b"}}}`)
			h.good(v, "", "patch", "deployment", name, "--type", "merge", "-p", `{"metadata":{"labels":{"a":"c"}}}`)
			h.good(v, "", "patch", "deployment", name, "--type", "json", "-p", `[{"op":"replace","path":"/metadata/labels/a","value":"d"}]`)
			contains(t, h.good(v, "", "get", "deployment", name, "-o", "jsonpath={.metadata.labels.a}"), "d")
			h.good(v, "", "rollout", "restart", "deployment", name)
			h.good(v, "", "set", "env", "deployment/"+name, "A=B")
			h.good(v, "", "rollout", "history", "deployment", name)
			h.good(v, "", "rollout", "undo", "deployment", name)
			h.good(v, "", "expose", "deployment", name, "--port", "80")
			h.good(v, "", "create", "job", "job-"+name, "--image", "none", "--", "true")
			h.good(v, "", "wait", "--for=condition=Available", "deployment/"+name, "--timeout", "60s")
			h.good(v, "", "annotate", "deployment", name, "x=y")
			h.good(v, "", "delete", "deployment,service", name)
			h.good(v, "", "cordon", kubetest.Node)
			h.good(v, "", "uncordon", kubetest.Node)
			if v != "1.20" {
				contains(t, h.good(v, "", "create", "token", "default"), "eyJ")
				out := h.good(v, "", "debug", "talks", "--image", "none", "--attach=false", "--", "sh", "-c", "echo from the debugger; sleep 100")
				t.Log(out)
				until(t, "the debugger runs", func() bool {
					return strings.Contains(h.admin("", "get", "pod", "talks", "-o", "jsonpath={.status.ephemeralContainerStatuses[0].state}"), "running")
				})
			}
		})
	}
	t.Run("helm", func(t *testing.T) {
		chart := filepath.Join(t.TempDir(), "chart")
		for name, text := range map[string]string{
			"Chart.yaml":                "apiVersion: v2\nname: small\nversion: 0.1.0\n",
			"values.yaml":               "word: one\n",
			"templates/configmap.yaml":  "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {{ .Release.Name }}\ndata:\n  word: {{ .Values.word }}\n",
			"templates/deployment.yaml": "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: \"{{ .Release.Name }}\"}\nspec: {replicas: 1, selector: {matchLabels: {app: helm}}, template: {metadata: {labels: {app: helm}}, spec: {containers: [{name: main, image: none}]}}}\n",
		} {
			file := filepath.Join(chart, name)
			if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		// Releases are Secrets, whose values are masked: they are kept in
		// ConfigMaps here.
		t.Setenv("HELM_DRIVER", "configmap")
		for _, args := range [][]string{
			{"install", "shop", chart, "--wait", "--timeout", "60s"}, {"list"}, {"upgrade", "shop", chart, "--set", "word=two"}, {"history", "shop"},
			{"get", "manifest", "shop"}, {"rollback", "shop", "1"}, {"uninstall", "shop"},
		} {
			r, err := h.via.Helm(t.Context(), args...)
			if err != nil || r.Status != 0 {
				t.Errorf("helm %s: %v %+v", strings.Join(args, " "), err, r)
			}
		}
	})
	t.Run("attach", func(t *testing.T) {
		for _, v := range both {
			ctx, cancel := context.WithTimeout(t.Context(), 6*time.Second)
			r, err := h.via.Kubectl(ctx, v, strings.NewReader("hello\n"), "attach", "-i", "talks", "-c", "main")
			cancel()
			if !strings.Contains(r.Stdout, "heard hello") {
				t.Errorf("kubectl %s attach: %v %+v", v, err, r)
			}
		}
	})
}

// TestKubernetesTogether has three people look at a cluster with k9s at once,
// while others list and watch: all of it keeps working.
func TestKubernetesTogether(t *testing.T) {
	h := openCluster(t, func(c *harness.Config, _ *kubetest.Cluster) { c.Masking = clusterMasks })
	h.admin(pod("talks", "while true; do echo line; sleep 0.2; done"), "apply", "-f", "-")
	h.running("talks")
	program, err := kubetest.Program("k9s")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for _, name := range []string{"ada", "bob", "dora"} {
		c, err := h.gate.SignIn(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		file := filepath.Join(dir, "kubeconfig")
		if err := h.through(c.Token).Kubeconfig(file); err != nil {
			t.Fatal(err)
		}
		all.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), 120*time.Second)
			defer cancel()
			cmd := kubetest.Command(ctx, "script", file, dir, "-qefc", "stty rows 40 cols 160; exec "+program+" --kubeconfig "+file+" -n dev -c pods", "/dev/null")
			cmd.Env = append(cmd.Env, "XDG_CONFIG_HOME="+dir, "XDG_DATA_HOME="+dir, "XDG_STATE_HOME="+dir, "XDG_CACHE_HOME="+dir, "USER="+name)
			if err := watchWithK9s(cmd); err != nil {
				t.Errorf("k9s of %s: %v", name, err)
			}
		})
		all.Go(func() {
			a := h.through(c.Token)
			for range 5 {
				for _, args := range [][]string{{"get", "pods", "-A"}, {"logs", "talks", "--tail", "1"}, {"get", "configmaps", "-o", "yaml"}} {
					r, err := a.Kubectl(t.Context(), "1.37", nil, args...)
					if err != nil || r.Status != 0 {
						t.Errorf("%s: %v %v %+v", name, args, err, r)
					}
				}
			}
		})
	}
	all.Wait()
}

// watchWithK9s goes through k9s' views as fast as it shows them. What is typed
// before it listens is lost, so it is typed again.
func watchWithK9s(cmd *exec.Cmd) error {
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	var mu sync.Mutex
	var screen bytes.Buffer
	over := make(chan struct{})
	go func() {
		defer close(over)
		b := make([]byte, 32<<10)
		for {
			n, err := out.Read(b)
			mu.Lock()
			screen.Write(b[:n])
			mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	defer func() {
		for range 5 { // the first may only close a prompt
			_, _ = io.WriteString(in, "\x03")
			select {
			case <-over:
			case <-time.After(time.Second):
				continue
			}
			break
		}
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	for _, step := range []struct{ keys, shows string }{{"", "talks"}, {":secrets\r", "(?i)secrets\\("}, {":configmaps\r", "kube-root-ca"}, {":events\r", "(?i)events\\("}, {":pods\r", "(?i)pods\\("}} {
		mu.Lock()
		from := screen.Len()
		mu.Unlock()
		if step.keys == "" {
			from = 0
		}
		want := regexp.MustCompile(step.shows)
		for try := 0; ; try++ {
			if try%60 == 0 {
				_, _ = io.WriteString(in, step.keys)
			}
			time.Sleep(100 * time.Millisecond)
			mu.Lock()
			text := escapes.ReplaceAllString(screen.String()[from:], "")
			mu.Unlock()
			if want.MatchString(text) {
				break
			}
			if try == 400 {
				return fmt.Errorf("after %q it does not show %s:\n%.3000q", step.keys, step.shows, text)
			}
		}
	}
	return nil
}

// escapes are the control sequences of a terminal.
var escapes = regexp.MustCompile(`\x1b(\[[0-9;?]*[a-zA-Z]|\([A-Z0-9]|[=>])`)
