package upstream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/transport/spdy"
	exec "k8s.io/client-go/util/exec"
	"k8s.io/streaming/pkg/httpstream"

	classify "github.com/doorward/doorward/internal/classify/kubernetes"
	"github.com/doorward/doorward/internal/gate"
)

// streamWait bounds how long an API server may take to open a stream.
const streamWait = 30 * time.Second

// config is the cluster's, for one session.
func (k *Kubernetes) config(s *gate.Session) (*rest.Config, error) {
	who, err := k.as(s)
	if err != nil {
		return nil, err
	}
	cfg := rest.CopyConfig(k.opt.Config)
	cfg.Impersonate = who
	return cfg, nil
}

// KubernetesProcess is a command that runs in a container, or the container's
// own process that a client is attached to.
type KubernetesProcess struct {
	session *gate.Session
	cancel  context.CancelFunc
	in      *io.PipeWriter // nil: it takes no input
	out     *io.PipeReader
	errs    *io.PipeReader
	sizes   *sizes
	ended   chan End
}

// Start spends the permit and runs what it is for: exec or attach. It does not
// wait until the API server has agreed: what it has against it is in End.
func (k *Kubernetes) Start(ctx context.Context, s *gate.Session, p *gate.Permit, kind string) (*KubernetesProcess, error) {
	if kind != "exec" && kind != "attach" {
		return nil, errors.Join(gate.ErrPermit, errors.New("it is for something else"))
	}
	r, err := k.take(s, p, kind)
	if err != nil {
		return nil, err
	}
	cfg, err := k.config(s)
	if err != nil {
		return nil, err
	}
	x, err := executor(cfg, k.at(r.Path, r.Query.Encode()).String())
	if err != nil {
		return nil, fmt.Errorf("target %s: %w", k.opt.Name, err)
	}
	ctx, cancel := context.WithCancel(ctx)
	proc := &KubernetesProcess{session: s, cancel: cancel, ended: make(chan End, 1)}
	opt := remotecommand.StreamOptions{Tty: r.On("tty")}
	var outW, errW *io.PipeWriter
	proc.out, outW = io.Pipe()
	proc.errs, errW = io.Pipe()
	if r.On("stdin") {
		var in *io.PipeReader
		in, proc.in = io.Pipe()
		opt.Stdin = in
	}
	if r.On("stdout") {
		opt.Stdout = outW
	}
	if r.On("stderr") && !opt.Tty {
		opt.Stderr = errW
	}
	if opt.Tty {
		proc.sizes = newSizes(ctx)
		opt.TerminalSizeQueue = proc.sizes
	}
	go func() {
		defer cancel()
		end := endOf(x.StreamWithContext(ctx, opt))
		_ = outW.Close()
		_ = errW.Close()
		proc.ended <- end
		close(proc.ended)
	}()
	return proc, nil
}

// executor speaks WebSocket, and SPDY with API servers that do not.
func executor(cfg *rest.Config, at string) (remotecommand.Executor, error) {
	ws, err := remotecommand.NewWebSocketExecutor(cfg, http.MethodGet, at)
	if err != nil {
		return nil, err
	}
	transport, upgrader, err := spdy.RoundTripperFor(cfg)
	if err != nil {
		return nil, err
	}
	u, err := url.Parse(at)
	if err != nil {
		return nil, err
	}
	old, err := remotecommand.NewSPDYExecutorRejectRedirects(transport, upgrader, http.MethodPost, u)
	if err != nil {
		return nil, err
	}
	return remotecommand.NewFallbackExecutor(ws, old, httpstream.IsUpgradeFailure)
}

func endOf(err error) End {
	var status exec.CodeExitError
	switch {
	case err == nil:
		return End{Known: true}
	case errors.As(err, &status):
		return End{Known: true, Status: uint32(status.Code)}
	}
	return End{Failure: strings.TrimPrefix(err.Error(), "unable to upgrade streaming request: ")}
}

// Stream writes what the client streams under the spent permit that started
// the process.
func (p *KubernetesProcess) Stream(permit *gate.Permit, b []byte) error {
	if err := permit.Streaming(p.session); err != nil {
		return err
	}
	if p.in == nil {
		return errors.New("it takes no input")
	}
	_, err := p.in.Write(b)
	return err
}

// Read reads what it writes to standard output.
func (p *KubernetesProcess) Read(b []byte) (int, error) { return p.out.Read(b) }

// Stderr is what it writes to standard error.
func (p *KubernetesProcess) Stderr() io.Reader { return p.errs }

// CloseWrite tells it that no more input comes.
func (p *KubernetesProcess) CloseWrite() error {
	if p.in == nil {
		return nil
	}
	return p.in.Close()
}

// Close ends the stream.
func (p *KubernetesProcess) Close() error {
	p.cancel()
	if p.in != nil {
		_ = p.in.CloseWithError(io.ErrClosedPipe)
	}
	_ = p.out.Close()
	return p.errs.Close()
}

// Signal is nothing that an API server passes on.
func (p *KubernetesProcess) Signal(string) error { return errors.ErrUnsupported }

// Resize tells it the size of the client's window.
func (p *KubernetesProcess) Resize(columns, rows uint32) error {
	if p.sizes != nil {
		p.sizes.put(remotecommand.TerminalSize{Width: uint16(min(columns, 65535)), Height: uint16(min(rows, 65535))})
	}
	return nil
}

// Ended gets one value when it has ended.
func (p *KubernetesProcess) Ended() <-chan End { return p.ended }

// sizes hands the newest window size to client-go.
type sizes struct {
	ctx context.Context
	ch  chan remotecommand.TerminalSize
}

func newSizes(ctx context.Context) *sizes {
	return &sizes{ctx, make(chan remotecommand.TerminalSize, 1)}
}

func (q *sizes) put(s remotecommand.TerminalSize) {
	for {
		select {
		case q.ch <- s:
			return
		default:
		}
		select {
		case <-q.ch:
		default:
		}
	}
}

// Next implements remotecommand.TerminalSizeQueue.
func (q *sizes) Next() *remotecommand.TerminalSize {
	select {
	case s := <-q.ch:
		return &s
	case <-q.ctx.Done():
		return nil
	}
}

// KubernetesForward is a connection to a port of a pod.
type KubernetesForward struct {
	session *gate.Session
	conn    httpstream.Connection
	data    httpstream.Stream
	ended   chan struct{}
	closing sync.Once
	fault   string
	mu      sync.Mutex
}

// Forward spends the permit and connects to the port that it is for: the one
// value of ports in its query.
func (k *Kubernetes) Forward(ctx context.Context, s *gate.Session, p *gate.Permit) (*KubernetesForward, error) {
	r, err := k.take(s, p, "portforward")
	if err != nil {
		return nil, err
	}
	port, err := onePort(r)
	if err != nil {
		return nil, err
	}
	cfg, err := k.config(s)
	if err != nil {
		return nil, err
	}
	conn, err := k.dialForward(ctx, cfg, r.Path)
	if err != nil {
		return nil, fmt.Errorf("target %s: %w", k.opt.Name, err)
	}
	f, err := openForward(s, conn, port)
	if err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("target %s: %w", k.opt.Name, err)
	}
	return f, nil
}

func onePort(r *classify.Request) (string, error) {
	ports := r.Query["ports"]
	if len(ports) != 1 {
		return "", errors.Join(gate.ErrPermit, errors.New("it is not for one port"))
	}
	n, err := strconv.ParseUint(ports[0], 10, 16)
	if err != nil || n == 0 {
		return "", errors.Join(gate.ErrPermit, fmt.Errorf("%.20q is no port", ports[0]))
	}
	return strconv.FormatUint(n, 10), nil
}

func (k *Kubernetes) dialForward(ctx context.Context, cfg *rest.Config, path string) (httpstream.Connection, error) {
	at := k.at(path, "")
	ws, err := portforward.NewSPDYOverWebsocketDialerForStreaming(at, cfg)
	if err != nil {
		return nil, err
	}
	transport, upgrader, err := spdy.RoundTripperFor(cfg)
	if err != nil {
		return nil, err
	}
	client := &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return ErrRedirect }}
	dialer := portforward.NewFallbackDialerForStreaming(ws, spdy.NewDialerForStreaming(upgrader, client, http.MethodPost, at), httpstream.IsUpgradeFailure)
	type dialed struct {
		conn httpstream.Connection
		err  error
	}
	got := make(chan dialed, 1)
	go func() {
		conn, _, err := dialer.Dial("portforward.k8s.io")
		got <- dialed{conn, err}
	}()
	wait := time.NewTimer(streamWait)
	defer wait.Stop()
	select {
	case d := <-got:
		return d.conn, d.err
	case <-ctx.Done():
		err = ctx.Err()
	case <-wait.C:
		err = errors.New("the API server does not answer")
	}
	go func() {
		if d := <-got; d.conn != nil {
			_ = d.conn.Close()
		}
	}()
	return nil, err
}

// openForward opens the two streams of one forwarded connection.
func openForward(s *gate.Session, conn httpstream.Connection, port string) (*KubernetesForward, error) {
	headers := http.Header{}
	headers.Set(corev1.PortHeader, port)
	headers.Set(corev1.PortForwardRequestIDHeader, "0")
	headers.Set(corev1.StreamType, corev1.StreamTypeError)
	faults, err := conn.CreateStream(headers)
	if err != nil {
		return nil, err
	}
	_ = faults.Close() // nothing is written to it
	headers.Set(corev1.StreamType, corev1.StreamTypeData)
	data, err := conn.CreateStream(headers)
	if err != nil {
		return nil, err
	}
	f := &KubernetesForward{session: s, conn: conn, data: data, ended: make(chan struct{})}
	s.OnKill(func() { _ = f.Close() })
	go func() {
		b, _ := io.ReadAll(io.LimitReader(faults, 4096))
		f.mu.Lock()
		f.fault = string(b)
		f.mu.Unlock()
		if len(b) > 0 {
			_ = f.Close() // it did not connect, or lost the connection
		}
	}()
	go func() {
		<-conn.CloseChan()
		close(f.ended)
	}()
	return f, nil
}

// Fault is what the node said went wrong, or "".
func (f *KubernetesForward) Fault() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.fault
}

// Read reads what comes from the port.
func (f *KubernetesForward) Read(b []byte) (int, error) { return f.data.Read(b) }

// Stream writes what the client sends, under the spent permit that opened it.
func (f *KubernetesForward) Stream(permit *gate.Permit, b []byte) error {
	if err := permit.Streaming(f.session); err != nil {
		return err
	}
	_, err := f.data.Write(b)
	return err
}

// CloseWrite tells the port that no more comes.
func (f *KubernetesForward) CloseWrite() error { return f.data.Close() }

// Close ends the connection.
func (f *KubernetesForward) Close() error {
	var err error
	f.closing.Do(func() { err = f.conn.Close() })
	return err
}

// Ended is closed once the connection has ended.
func (f *KubernetesForward) Ended() <-chan struct{} { return f.ended }
