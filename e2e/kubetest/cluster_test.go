package kubetest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/modfile"

	"github.com/doorward/doorward/e2e/kubetest/kubelet"
	"github.com/doorward/doorward/e2e/pgtest"
)

// TestVersion wants the programs to be those that the script makes.
func TestVersion(t *testing.T) {
	const path = "../../scripts/kubernetes/go.mod"
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	f, err := modfile.Parse(path, b, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range f.Require {
		if r.Mod.Path == "k8s.io/kubernetes" && r.Mod.Version != "v"+Version {
			t.Errorf("%s makes %s, the tests want v%s", path, r.Mod.Version, Version)
		}
	}
}

// TestCluster has real clients work on a cluster, without anything between.
func TestCluster(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a minute, and programs that take twenty minutes to make")
	}
	begin := time.Now()
	c, err := Start(t.Context(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if t.Failed() {
			t.Logf("kubelet's log:\n%s", c.Log("kubelet"))
		}
		if err := c.Stop(); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(c.Dir); !os.IsNotExist(err) {
			t.Errorf("the folder is still there: %v", err)
		}
	}()
	t.Logf("the start took %s", time.Since(begin).Round(10*time.Millisecond))
	for _, version := range Versions {
		t.Run("kubectl "+version, func(t *testing.T) { clients(t, c, version) })
	}
	t.Run("users", func(t *testing.T) { users(t, c) })
	t.Run("audit", func(t *testing.T) { audit(t, c) })
	t.Run("helm", func(t *testing.T) { helm(t, c) })
	t.Run("k9s", func(t *testing.T) { k9s(t, c) })
}

// client runs one kubectl in one namespace.
type client struct {
	t       *testing.T
	access  Access
	version string
}

func newClient(t *testing.T, c *Cluster, version, namespace string) *client {
	t.Helper()
	if err := c.Namespace(t.Context(), namespace); err != nil {
		t.Fatal(err)
	}
	k := &client{t, c.Admin(), version}
	k.access.Namespace = namespace
	return k
}

func (k *client) run(in io.Reader, args ...string) Result {
	k.t.Helper()
	ctx, cancel := context.WithTimeout(k.t.Context(), 60*time.Second)
	defer cancel()
	r, err := k.access.Kubectl(ctx, k.version, in, args...)
	if err != nil {
		k.t.Fatalf("kubectl %s: %v", strings.Join(args, " "), err)
	}
	return r
}

// ok gives the output of a run that is to succeed.
func (k *client) ok(in io.Reader, args ...string) string {
	k.t.Helper()
	r := k.run(in, args...)
	if r.Status != 0 {
		k.t.Fatalf("kubectl %s ended with %d: %s%s", strings.Join(args, " "), r.Status, r.Stdout, r.Stderr)
	}
	return r.Stdout
}

// start runs kubectl in the background until its output has the text, and
// gives the output and what ends it.
func (k *client) start(text string, args ...string) (*lines, func()) {
	k.t.Helper()
	program, err := Kubectl(k.version)
	if err != nil {
		k.t.Fatal(err)
	}
	home := k.t.TempDir()
	if err := k.access.Kubeconfig(filepath.Join(home, "config")); err != nil {
		k.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(k.t.Context())
	cmd := Command(ctx, program, filepath.Join(home, "config"), home, args...)
	out := &lines{}
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		k.t.Fatal(err)
	}
	end := func() {
		cancel()
		_ = cmd.Wait()
	}
	if !out.wait(text) {
		end()
		k.t.Fatalf("kubectl %s printed %q, and not %q", strings.Join(args, " "), out, text)
	}
	return out, end
}

const pod = `
apiVersion: v1
kind: Secret
metadata: {name: keys}
stringData: {password: hunter2}
---
apiVersion: v1
kind: Pod
metadata: {name: one, labels: {app: one}}
spec:
  initContainers:
  - {name: first, image: box, command: [sh, -c, "echo made by first >/shared/note"], volumeMounts: [{name: shared, mountPath: /shared}]}
  containers:
  - name: main
    image: box
    command: [sh, -c, 'i=0; while :; do i=$((i+1)); echo "line $i of $(NAME)"; sleep 0.1; done']
    env:
    - {name: NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
    - {name: PASSWORD, valueFrom: {secretKeyRef: {name: keys, key: password}}}
    volumeMounts: [{name: shared, mountPath: /shared}, {name: keys, mountPath: /keys, readOnly: true}]
  - name: talk
    image: box
    stdin: true
    command: [sh, -c, 'while read line; do echo "heard $line"; done']
    volumeMounts: [{name: shared, mountPath: /shared}]
  - name: web
    image: box
    env: [{name: IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}]
    command: [/usr/bin/python3, -m, http.server, --bind, $(IP), --directory, /shared, "8080"]
    ports: [{containerPort: 8080}]
    volumeMounts: [{name: shared, mountPath: /shared}]
  volumes:
  - {name: shared, emptyDir: {}}
  - {name: keys, secret: {secretName: keys}}
`

func clients(t *testing.T, c *Cluster, version string) {
	namespace := "k" + strings.ReplaceAll(version, ".", "-")
	k := newClient(t, c, version, namespace)
	if v := k.ok(nil, "version", "--client"); !strings.Contains(v, "v"+version+".") && !strings.Contains(v, `Minor:"`+strings.TrimPrefix(version, "1.")) {
		t.Errorf("it is not kubectl %s but %s", version, v)
	}
	if got := k.ok(nil, "get", "nodes"); !strings.Contains(got, Node) || !strings.Contains(got, " Ready ") {
		t.Errorf("nodes are %q", got)
	}
	begin := time.Now()
	k.ok(strings.NewReader(pod), "apply", "-f", "-")
	k.ok(nil, "wait", "--for=condition=Ready", "pod/one", "--timeout=30s")
	t.Logf("the pod was ready after %s", time.Since(begin).Round(10*time.Millisecond))
	if got := k.ok(nil, "get", "pods"); !regexp.MustCompile(`one +3/3 +Running +0 `).MatchString(got) {
		t.Errorf("pods are %q", got)
	}
	t.Run("exec", func(t *testing.T) { k.on(t).exec(c, namespace) })
	t.Run("cp", func(t *testing.T) { k.on(t).cp() })
	t.Run("logs", func(t *testing.T) { k.on(t).logs() })
	t.Run("attach", func(t *testing.T) { k.on(t).attach(c) })
	t.Run("port-forward", func(t *testing.T) { k.on(t).forward() })
	t.Run("deployment", func(t *testing.T) { k.on(t).deployment() })
	t.Run("run", func(t *testing.T) { k.on(t).oneShot() })
	if version != "1.20" { // there it was another thing, in alpha
		t.Run("debug", func(t *testing.T) { k.on(t).debug() })
	}
	t.Run("node", func(t *testing.T) { k.on(t).node(c) })
	t.Run("delete", func(t *testing.T) {
		k := k.on(t)
		root, err := c.Kubelet.Root(namespace, "one", "main")
		if err != nil {
			t.Fatal(err)
		}
		sleep := fmt.Sprint(1_000_000 + time.Now().UnixNano()%1_000_000)
		k.ok(nil, "exec", "one", "-c", "main", "--", "sh", "-c", "setsid sleep "+sleep+" >/dev/null 2>&1 </dev/null &")
		if !running(sleep) {
			t.Error("what an exec leaves behind does not run")
		}
		k.ok(nil, "delete", "pod", "one", "--timeout=30s")
		if r := k.run(nil, "get", "pod", "one"); r.Status == 0 || !strings.Contains(r.Stderr, "NotFound") {
			t.Errorf("after its end the pod is %+v", r)
		}
		for i := 0; ; i++ {
			if _, err := os.Stat(root); os.IsNotExist(err) {
				break
			} else if i == 200 {
				t.Fatal("the pod's folder is still there")
			}
			time.Sleep(10 * time.Millisecond)
		}
		if running(sleep) {
			t.Error("a process has outlived its pod")
		}
	})
}

func (k *client) on(t *testing.T) *client { return &client{t, k.access, k.version} }

func (k *client) exec(c *Cluster, namespace string) {
	t := k.t
	c.Kubelet.Forget()
	r := k.run(strings.NewReader("some input"), "exec", "-i", "one", "-c", "main", "--", "sh", "-c", "cat; echo oops >&2; exit 7")
	if r.Stdout != "some input" || !strings.HasPrefix(r.Stderr, "oops\n") || r.Status != 7 {
		t.Errorf("exec gave %+v", r)
	}
	acts := c.Kubelet.Acts()
	want := kubelet.Act{Kind: "exec", Namespace: namespace, Pod: "one", Container: "main", Command: []string{"sh", "-c", "cat; echo oops >&2; exit 7"}, Stdin: true}
	if len(acts) != 1 {
		t.Fatalf("the kubelet says that it did %+v", acts)
	}
	if want.Time = acts[0].Time; fmt.Sprint(acts[0]) != fmt.Sprint(want) {
		t.Errorf("the kubelet says that it did %+v", acts)
	}
	big := bytes.Repeat([]byte("0123456789abcdef"), 1<<18)
	if r := k.run(bytes.NewReader(big), "exec", "-i", "one", "-c", "main", "--", "cat"); r.Stdout != string(big) || r.Status != 0 {
		t.Errorf("of %d bytes %d came back, status %d %s", len(big), len(r.Stdout), r.Status, r.Stderr)
	}
	if got := k.ok(nil, "exec", "one", "-c", "main", "--", "sh", "-c", "echo $PASSWORD; cat /keys/password /shared/note; hostname; echo $$"); !regexp.MustCompile(`^hunter2\nhunter2made by first\none\n\d{1,2}\n$`).MatchString(got) {
		t.Errorf("inside there is %q", got)
	}
	if got := k.ok(nil, "exec", "one", "-c", "main", "--", "cat", "/var/run/secrets/kubernetes.io/serviceaccount/token"); strings.Count(got, ".") != 2 {
		t.Errorf("the account's token is %q", got)
	}
	if r := k.run(nil, "exec", "one", "-c", "main", "--", "no-such-program"); r.Status == 0 || !strings.Contains(r.Stderr, "no-such-program") {
		t.Errorf("a program that is not there gave %+v", r)
	}
	if r := k.run(nil, "exec", "one", "-c", "main", "--", "sh", "-c", "kill -9 $$"); r.Status != 137 {
		t.Errorf("a killed program gave %+v", r)
	}
	// What is written stays inside.
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	if r := k.run(nil, "exec", "one", "-c", "main", "--", "sh", "-c", `echo x >/doorward-kubetest; if touch /usr/x || ls "$0"; then exit 9; fi`, here); r.Status != 0 {
		t.Errorf("a container reaches the machine's files: %+v", r)
	}
	if _, err := os.Stat("/doorward-kubetest"); err == nil {
		t.Error("the machine's root folder was written")
	}
	// A terminal, of a size that changes.
	out, status := k.terminal("exec", "-it", "one", "-c", "main", "--", "sh", "-c", "stty size; tty; read line; stty size; echo got $line; exit 5")
	if !strings.Contains(out, "24 80\r\n") || !strings.Contains(out, "/dev/pts/") || !strings.Contains(out, "31 101\r\n") || !strings.Contains(out, "got hello\r\n") || status != 5 {
		t.Errorf("the terminal showed %q, status %d", out, status)
	}
}

func (k *client) cp() {
	t := k.t
	dir := t.TempDir()
	from := filepath.Join(dir, "from")
	if err := os.MkdirAll(filepath.Join(from, "deep"), 0o755); err != nil {
		t.Fatal(err)
	}
	text := strings.Repeat("some text\n", 20000)
	if err := os.WriteFile(filepath.Join(from, "deep", "file"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	k.ok(nil, "cp", "-c", "main", from, "one:/tmp/there")
	if got := k.ok(nil, "exec", "one", "-c", "main", "--", "cat", "/tmp/there/deep/file"); got != text {
		t.Errorf("%d of %d bytes are there", len(got), len(text))
	}
	k.ok(nil, "cp", "-c", "main", "one:/tmp/there", filepath.Join(dir, "back"))
	if b, err := os.ReadFile(filepath.Join(dir, "back", "deep", "file")); string(b) != text {
		t.Errorf("%d of %d bytes came back, %v", len(b), len(text), err)
	}
}

func (k *client) logs() {
	t := k.t
	got := k.ok(nil, "logs", "one", "-c", "main", "--tail=2")
	if !regexp.MustCompile(`^line \d+ of one\nline \d+ of one\n$`).MatchString(got) {
		t.Errorf("the log ends with %q", got)
	}
	if got := k.ok(nil, "logs", "one", "-c", "main", "--timestamps", "--tail=1"); !regexp.MustCompile(`^20\d\d-\S+Z line \d+ of one\n$`).MatchString(got) {
		t.Errorf("with its time a line is %q", got)
	}
	out, end := k.start("of one\n", "logs", "-f", "one", "-c", "main", "--tail=1")
	defer end()
	first := out.String()
	var n int
	if _, err := fmt.Sscanf(first, "line %d", &n); err != nil || !out.wait(fmt.Sprintf("line %d of", n+5)) {
		t.Errorf("followed, the log says %q and later %q", first, out)
	}
}

func (k *client) attach(c *Cluster) {
	t := k.t
	r, w := io.Pipe()
	defer w.Close()
	out := &lines{}
	program, err := Kubectl(k.version)
	if err != nil {
		t.Fatal(err)
	}
	home := t.TempDir()
	if err := k.access.Kubeconfig(filepath.Join(home, "config")); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	cmd := Command(ctx, program, filepath.Join(home, "config"), home, "attach", "-i", "one", "-c", "talk")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = r, out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		cancel()
		w.Close()
		_ = cmd.Wait()
	}()
	if _, err := io.WriteString(w, "me well\n"); err != nil {
		t.Fatal(err)
	}
	if !out.wait("heard me well\n") {
		t.Errorf("attached one reads %q", out)
	}
	if got := k.ok(nil, "logs", "one", "-c", "talk"); !strings.Contains(got, "heard me well\n") {
		t.Errorf("the log has %q", got)
	}
}

func (k *client) forward() {
	t := k.t
	port, err := pgtest.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	out, end := k.start("Forwarding from", "port-forward", "--address=127.0.0.1", "pod/one", fmt.Sprintf("%d:8080", port))
	defer end()
	for range 3 {
		res, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/note", port))
		if err != nil {
			t.Fatalf("%v, kubectl says %q", err, out)
		}
		b, err := io.ReadAll(res.Body)
		res.Body.Close()
		if string(b) != "made by first\n" || err != nil {
			t.Errorf("the port gave %q, %v", b, err)
		}
	}
	// What the pod does not listen on is refused.
	free, err := pgtest.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	out, end = k.start("Forwarding from", "port-forward", "--address=127.0.0.1", "pod/one", fmt.Sprintf("%d:9", free))
	defer end()
	conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", free))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, _ = conn.Write([]byte("x"))
	if !out.wait("failed to connect to port 9") {
		t.Errorf("of a closed port kubectl says %q", out)
	}
}

func (k *client) deployment() {
	t := k.t
	const text = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: many}
spec:
  replicas: 1
  selector: {matchLabels: {app: many}}
  template:
    metadata: {labels: {app: many}}
    spec: {containers: [{name: main, image: box}]}
`
	k.ok(strings.NewReader(text), "apply", "-f", "-")
	k.ok(nil, "rollout", "status", "deployment/many", "--timeout=30s")
	k.ok(nil, "scale", "deployment/many", "--replicas=3")
	k.ok(nil, "rollout", "status", "deployment/many", "--timeout=30s")
	if got := k.ok(nil, "get", "pods", "-l", "app=many", "-o", "name"); strings.Count(got, "pod/many-") != 3 {
		t.Errorf("pods are %q", got)
	}
	k.ok(nil, "rollout", "restart", "deployment/many")
	k.ok(nil, "rollout", "status", "deployment/many", "--timeout=30s")
	k.ok(nil, "delete", "deployment", "many")
	if r := k.run(nil, "wait", "--for=delete", "pod", "-l", "app=many", "--timeout=30s"); r.Status != 0 && !strings.Contains(r.Stderr, "no matching resources") {
		t.Errorf("waiting for the end of the pods gave %+v", r)
	}
}

// oneShot runs pods that end, and one whose container is started again.
func (k *client) oneShot() {
	t := k.t
	r := k.run(strings.NewReader("typed\n"), "run", "once", "--image=box", "-i", "--restart=Never", "--command", "--", "sh", "-c", "read a; echo read $a; exit 3")
	if !strings.Contains(r.Stdout, "read typed\n") || r.Status != 3 {
		t.Errorf("run gave %+v", r)
	}
	if got := k.ok(nil, "get", "pod", "once", "-o", "jsonpath={.status.phase} {.status.containerStatuses[0].state.terminated.exitCode}"); got != "Failed 3" {
		t.Errorf("the pod is %q", got)
	}
	k.ok(nil, "run", "again", "--image=box", "--command", "--", "sh", "-c", "echo run; exit 1")
	k.await("again", "jsonpath={.status.containerStatuses[0].restartCount}", "1")
	if got := k.ok(nil, "logs", "again", "--previous"); got != "run\n" {
		t.Errorf("the run before printed %q", got)
	}
	k.ok(nil, "delete", "pod", "once", "again")
	k.ok(strings.NewReader(`{"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "job"}, "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "box", "command": ["echo", "done"]}]}}}}`), "apply", "-f", "-")
	k.ok(nil, "wait", "--for=condition=Complete", "job/job", "--timeout=30s")
	k.ok(nil, "delete", "job", "job")
}

func (k *client) await(pod, output, want string) {
	k.t.Helper()
	for i := 0; ; i++ {
		if got := k.ok(nil, "get", "pod", pod, "-o", output); got == want {
			return
		} else if i == 100 {
			k.t.Fatalf("pod %s is %q, and not %q", pod, got, want)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func (k *client) debug() {
	r := k.run(strings.NewReader("look\n"), "debug", "-i", "one", "--image=tools", "--container=looker", "--", "sh", "-c", "read a; echo saw $a")
	if !strings.Contains(r.Stdout, "saw look\n") {
		k.t.Errorf("debug gave %+v", r)
	}
	k.await("one", "jsonpath={.status.ephemeralContainerStatuses[?(@.name=='looker')].state.terminated.exitCode}", "0")
}

// node asks the kubelet itself, and cordons.
func (k *client) node(c *Cluster) {
	t := k.t
	calls, err := c.as("calls")
	if err != nil {
		t.Fatal(err)
	}
	calls.Server = "https://" + c.Kubelet.Addr
	direct := &client{t, calls, k.version}
	if got := direct.ok(nil, "get", "--raw", "/pods"); !strings.Contains(got, `"PodList"`) || !strings.Contains(got, `"name":"one"`) {
		t.Errorf("the node's pods are %.300q", got)
	}
	if got := direct.ok(strings.NewReader(""), "create", "--raw", "/run/"+k.access.Namespace+"/one/main?cmd=echo+a++b", "-f", "-"); got != "a b\n" {
		t.Errorf("run gave %q", got)
	}
	// The API server proxies to no loopback address, but the request comes so far.
	if r := k.run(nil, "get", "--raw", "/api/v1/nodes/"+Node+"/proxy/pods"); !strings.Contains(r.Stderr, "address not allowed") {
		t.Errorf("by the API server's proxy the node's pods are %+v", r)
	}
	k.ok(nil, "cordon", Node)
	k.ok(nil, "run", "late", "--image=box")
	time.Sleep(300 * time.Millisecond)
	if got := k.ok(nil, "get", "pod", "late", "-o", "jsonpath={.status.phase}{.spec.nodeName}"); got != "Pending" {
		t.Errorf("a pod for a cordoned node is %q", got)
	}
	k.ok(nil, "uncordon", Node)
	k.ok(nil, "wait", "--for=condition=Ready", "pod/late", "--timeout=30s")
	k.ok(nil, "delete", "pod", "late", "--grace-period=0", "--force")
}

func users(t *testing.T, c *Cluster) {
	k := newClient(t, c, "1.37", "users")
	k.ok(nil, "create", "serviceaccount", "robot")
	k.ok(nil, "create", "role", "look", "--verb=get,list", "--resource=pods")
	k.ok(nil, "create", "rolebinding", "look", "--role=look", "--serviceaccount=users:robot", "--user=eve", "--group=readers")
	token, err := c.ServiceAccountToken(t.Context(), "users", "robot")
	if err != nil {
		t.Fatal(err)
	}
	eve, err := c.User("eve")
	if err != nil {
		t.Fatal(err)
	}
	reader, err := c.User("someone", "readers")
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := c.User("stranger")
	if err != nil {
		t.Fatal(err)
	}
	for name, a := range map[string]Access{"robot": {Server: c.URL, CA: c.CA, Token: token}, "eve": eve, "reader": reader, "stranger": stranger, "nobody": {Server: c.URL, CA: c.CA}} {
		a.Namespace = "users"
		u := &client{t, a, "1.37"}
		may := name == "robot" || name == "eve" || name == "reader"
		if r := u.run(nil, "get", "pods"); (r.Status == 0) != may {
			t.Errorf("%s reads pods: %+v", name, r)
		}
		if r := u.run(nil, "get", "secrets"); r.Status == 0 {
			t.Errorf("%s reads secrets: %+v", name, r)
		}
	}
	// The node answers to the API server only.
	for _, a := range []Access{c.Admin(), eve} {
		a.Server = "https://" + c.Kubelet.Addr
		if r := (&client{t, a, "1.37"}).run(nil, "get", "--raw", "/pods"); r.Status == 0 {
			t.Errorf("the kubelet answers to others: %.200s", r.Stdout)
		}
	}
}

func audit(t *testing.T, c *Cluster) {
	k := newClient(t, c, "1.37", "audit")
	at, err := c.AuditSize()
	if err != nil {
		t.Fatal(err)
	}
	k.ok(nil, "--as=jane", "--as-group=system:masters", "create", "configmap", "one", "--from-literal=a=b")
	events, err := c.Audit(at)
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(events, func(e Event) bool {
		return e.Verb == "create" && e.Object.Resource == "configmaps" && e.Object.Namespace == "audit"
	})
	if i < 0 {
		t.Fatalf("no such event in %+v", events)
	}
	if e := events[i]; e.User.Username != "admin" || e.As == nil || e.As.Username != "jane" || !slices.Contains(e.As.Groups, "system:masters") || e.Status.Code != 201 || e.Object.Name != "one" || e.Stage != "ResponseComplete" {
		t.Errorf("the event is %+v", e)
	}
}

func helm(t *testing.T, c *Cluster) {
	k := newClient(t, c, "1.37", "helm")
	chart := filepath.Join(t.TempDir(), "tiny")
	for name, text := range map[string]string{
		"Chart.yaml":            "apiVersion: v2\nname: tiny\nversion: 0.1.0\n",
		"values.yaml":           "replicas: 1\n",
		"templates/config.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: {{ .Release.Name }}-config}\ndata: {replicas: {{ .Values.replicas | quote }}}\n",
		"templates/deploy.yaml": "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: {{ .Release.Name }}}\nspec:\n  replicas: {{ .Values.replicas }}\n  selector: {matchLabels: {app: tiny}}\n  template:\n    metadata: {labels: {app: tiny}}\n    spec: {containers: [{name: main, image: box}]}\n",
	} {
		path := filepath.Join(chart, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, args := range [][]string{{"install", "rel", chart, "--wait", "--timeout=60s"}, {"upgrade", "rel", chart, "--set", "replicas=2", "--wait", "--timeout=60s"}, {"list"}} {
		r, err := k.access.Helm(t.Context(), args...)
		if err != nil || r.Status != 0 {
			t.Fatalf("helm %q gave %+v, %v", args, r, err)
		}
	}
	if got := k.ok(nil, "get", "configmap", "rel-config", "-o", "jsonpath={.data.replicas}"); got != "2" {
		t.Errorf("after the upgrade there are %q", got)
	}
	if r, err := k.access.Helm(t.Context(), "uninstall", "rel", "--wait", "--timeout=60s"); err != nil || r.Status != 0 {
		t.Errorf("uninstall gave %+v, %v", r, err)
	}
}

func k9s(t *testing.T, c *Cluster) {
	k := newClient(t, c, "1.37", "screens")
	k.ok(nil, "run", "shown", "--image=box", "--command", "--", "sh", "-c", "echo its log; sleep 1000")
	k.ok(nil, "wait", "--for=condition=Ready", "pod/shown", "--timeout=30s")
	program, err := K9s()
	if err != nil {
		t.Fatal(err)
	}
	s := k.screen(program, 40, 160, "--namespace", "screens", "--command", "pods", "--logFile", filepath.Join(t.TempDir(), "log"))
	if !s.wait("shown") || !s.wait("Running") {
		t.Fatalf("k9s shows %q", s)
	}
	s.write(t, "l") // logs
	if !s.wait("its log") {
		t.Errorf("k9s shows %q", s)
	}
	s.write(t, "\x03")
	if _, status := s.end(); status != 0 {
		t.Errorf("k9s ended with %d", status)
	}
}
