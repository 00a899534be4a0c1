package kubelet

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cri-streaming/pkg/streaming/portforward"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
)

// streamIdle is when a stream that carries nothing is given up.
const streamIdle = time.Hour

func (k *Kubelet) handler() http.Handler {
	mux := http.NewServeMux()
	for _, method := range []string{"GET", "POST"} {
		for _, id := range []string{"", "/{uid}"} {
			mux.HandleFunc(method+" /exec/{namespace}/{pod}"+id+"/{container}", k.serveExec)
			mux.HandleFunc(method+" /attach/{namespace}/{pod}"+id+"/{container}", k.serveAttach)
			mux.HandleFunc(method+" /portForward/{namespace}/{pod}"+id, k.servePortForward)
		}
	}
	for _, id := range []string{"", "/{uid}"} {
		mux.HandleFunc("POST /run/{namespace}/{pod}"+id+"/{container}", k.serveRun)
	}
	mux.HandleFunc("GET /containerLogs/{namespace}/{pod}/{container}", k.serveLogs)
	mux.HandleFunc("GET /pods", k.servePods)
	mux.HandleFunc("GET /runningpods/{$}", k.servePods)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") })
	return mux
}

// find gives a container; an empty name is the pod's first.
func (k *Kubelet) find(namespace, name, container string) (*container, error) {
	p, err := k.pod(namespace, name)
	if err != nil {
		return nil, err
	}
	if spec, _ := p.latest(); container == "" && len(spec.Spec.Containers) > 0 {
		container = spec.Spec.Containers[0].Name
	}
	c := p.container(container)
	if c == nil {
		return nil, fmt.Errorf("container %q not found in pod %q", container, name)
	}
	return c, nil
}

func (k *Kubelet) pod(namespace, name string) (*pod, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, p := range k.pods {
		if spec, gone := p.latest(); !gone && spec.Namespace == namespace && spec.Name == name {
			return p, nil
		}
	}
	return nil, fmt.Errorf("pod %q not found", name)
}

// asked gives the container that a request names, or answers it.
func (k *Kubelet) asked(w http.ResponseWriter, r *http.Request) *container {
	c, err := k.find(r.PathValue("namespace"), r.PathValue("pod"), r.PathValue("container"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusNotFound)
		return nil
	}
	return c
}

// act is what a request asks for.
func act(kind string, r *http.Request) Act {
	q := r.URL.Query()
	return Act{
		Kind: kind, Namespace: r.PathValue("namespace"), Pod: r.PathValue("pod"), Container: r.PathValue("container"),
		Command: q["command"], Stdin: q.Get(remotecommand.ExecStdinParam) == "1", TTY: q.Get(remotecommand.ExecTTYParam) == "1",
	}
}

// executor has the container do what a stream is for.
type executor struct{ c *container }

func (x executor) ExecInContainer(ctx context.Context, _, _, _ string, cmd []string, in io.Reader, out, errs io.WriteCloser, tty bool, resize <-chan remotecommand.TerminalSize, _ time.Duration) error {
	return x.c.exec(ctx, cmd, streams{in, out, errs, tty, resize})
}

func (x executor) AttachContainer(ctx context.Context, _, _, _ string, in io.Reader, out, errs io.WriteCloser, tty bool, resize <-chan remotecommand.TerminalSize) error {
	return x.c.attach(ctx, streams{in, out, errs, tty, resize})
}

func (k *Kubelet) serveExec(w http.ResponseWriter, r *http.Request) {
	c := k.asked(w, r)
	if c == nil {
		return
	}
	options, err := remotecommand.NewOptions(r)
	if err == nil && len(r.URL.Query()["command"]) == 0 {
		err = fmt.Errorf("there is no command")
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	k.note(act("exec", r))
	remotecommand.ServeExec(w, r, executor{c}, r.PathValue("pod"), "", r.PathValue("container"), r.URL.Query()["command"], options, streamIdle, remotecommand.DefaultStreamCreationTimeout, remotecommand.SupportedStreamingProtocols)
}

func (k *Kubelet) serveAttach(w http.ResponseWriter, r *http.Request) {
	c := k.asked(w, r)
	if c == nil {
		return
	}
	options, err := remotecommand.NewOptions(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	k.note(act("attach", r))
	remotecommand.ServeAttach(w, r, executor{c}, r.PathValue("pod"), "", r.PathValue("container"), options, streamIdle, remotecommand.DefaultStreamCreationTimeout, remotecommand.SupportedStreamingProtocols)
}

// serveRun runs a command and answers with what it printed.
func (k *Kubelet) serveRun(w http.ResponseWriter, r *http.Request) {
	c := k.asked(w, r)
	if c == nil {
		return
	}
	argv := strings.Fields(r.URL.Query().Get("cmd"))
	if len(argv) == 0 {
		http.Error(w, "there is no command", http.StatusBadRequest)
		return
	}
	a := act("run", r)
	a.Command = argv
	k.note(a)
	ctx, cancel := context.WithTimeout(r.Context(), time.Minute)
	defer cancel()
	out := &capped{left: 8 << 20}
	err := c.exec(ctx, argv, streams{out: out, err: out})
	if _, ended := exitCode(err); !ended {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	if err != nil {
		w.WriteHeader(http.StatusInternalServerError)
		fmt.Fprintf(out, "command terminated: %v\n", err)
	}
	_, _ = w.Write(out.data)
}

// capped keeps the first bytes. The two outputs of a command are written by
// two goroutines, unless they are one writer, which os/exec sees.
type capped struct {
	data []byte
	left int
}

func (c *capped) Write(p []byte) (int, error) {
	n := min(len(p), c.left)
	c.data, c.left = append(c.data, p[:n]...), c.left-n
	return len(p), nil
}

func (c *capped) Close() error { return nil }

func (k *Kubelet) serveLogs(w http.ResponseWriter, r *http.Request) {
	c := k.asked(w, r)
	if c == nil {
		return
	}
	q := r.URL.Query()
	truth := func(name string) bool { b, _ := strconv.ParseBool(q.Get(name)); return b }
	number := func(name string) int64 {
		n, err := strconv.ParseInt(q.Get(name), 10, 64)
		if err != nil {
			return -1
		}
		return n
	}
	o := logOptions{follow: truth("follow"), timestamps: truth("timestamps"), tail: number("tailLines"), limit: number("limitBytes")}
	if s := number("sinceSeconds"); s >= 0 {
		o.since = time.Now().Add(-time.Duration(min(s, 1e9)) * time.Second)
	} else if t, err := time.Parse(time.RFC3339, q.Get("sinceTime")); err == nil {
		o.since = t
	}
	l, err := c.logs(truth("previous"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	k.note(act("logs", r))
	w.Header().Set("Content-Type", "text/plain")
	rc := http.NewResponseController(w)
	_ = rc.Flush()
	_ = l.copyTo(r.Context(), flusher{w, rc}, o)
}

type flusher struct {
	io.Writer
	rc *http.ResponseController
}

func (f flusher) Write(p []byte) (int, error) {
	n, err := f.Writer.Write(p)
	if err == nil {
		err = f.rc.Flush()
	}
	return n, err
}

func (k *Kubelet) servePods(w http.ResponseWriter, r *http.Request) {
	k.note(act("pods", r))
	list := corev1.PodList{TypeMeta: metav1.TypeMeta{Kind: "PodList", APIVersion: "v1"}, Items: []corev1.Pod{}}
	k.mu.Lock()
	for _, p := range k.pods {
		spec, _ := p.latest()
		list.Items = append(list.Items, *spec)
	}
	k.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(list)
}

// forwarder connects to a pod's ports.
type forwarder struct {
	k *Kubelet
	p *pod
}

// PortForward connects to the port at the pod's address, or at 127.0.0.1 when
// the pod has declared it: there it may be the port of anybody.
func (f forwarder) PortForward(ctx context.Context, name, _ string, port int32, stream io.ReadWriteCloser) error {
	spec, _ := f.p.latest()
	f.k.note(Act{Kind: "portforward", Namespace: spec.Namespace, Pod: spec.Name, Port: int(port)})
	dialer := net.Dialer{Timeout: 5 * time.Second}
	conn, err := dialer.DialContext(ctx, "tcp", net.JoinHostPort(f.p.address, strconv.Itoa(int(port))))
	if err != nil && declares(spec, port) {
		conn, err = dialer.DialContext(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(int(port))))
	}
	if err != nil {
		return fmt.Errorf("failed to connect to port %d inside pod %q: %w", port, name, err)
	}
	defer conn.Close()
	defer stream.Close()
	go func() {
		_, _ = io.Copy(conn, stream)
		_ = conn.(*net.TCPConn).CloseWrite()
	}()
	_, err = io.Copy(stream, conn)
	return err
}

func declares(spec *corev1.Pod, port int32) bool {
	for _, c := range spec.Spec.Containers {
		for _, p := range c.Ports {
			if p.ContainerPort == port && (p.Protocol == corev1.ProtocolTCP || p.Protocol == "") {
				return true
			}
		}
	}
	return false
}

func (k *Kubelet) servePortForward(w http.ResponseWriter, r *http.Request) {
	p, err := k.pod(r.PathValue("namespace"), r.PathValue("pod"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusNotFound)
		return
	}
	options, err := portforward.NewV4Options(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	portforward.ServePortForward(w, r, forwarder{k, p}, r.PathValue("pod"), "", options, streamIdle, remotecommand.DefaultStreamCreationTimeout, portforward.SupportedProtocols)
}
