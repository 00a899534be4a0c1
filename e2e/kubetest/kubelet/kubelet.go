package kubelet

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	typed "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
)

// Options of a kubelet.
type Options struct {
	API     *rest.Config    // an administrator's access to the API server
	Name    string          // of the node
	Version string          // what the node says that it runs, as in "v1.37.2"
	Address string          // in 127.0.0.0/8; NewAddress gives one
	Cert    tls.Certificate // for Address
	Clients *x509.CertPool  // authorities of who may call
	Caller  string          // the common name in the certificate of who may call
	Dir     string          // an empty folder, for what the pods write
	Log     string          // file for what goes wrong
}

// Kubelet is a running node.
type Kubelet struct {
	Name string
	Addr string // host:port of its server

	opt              Options
	address          string
	apiHost, apiPort string
	core             typed.CoreV1Interface
	log              *log.Logger
	logFile          *os.File
	server           *http.Server
	stop             context.CancelFunc
	wg               sync.WaitGroup

	mu      sync.Mutex
	pods    map[types.UID]*pod
	next    int // number of the next pod's address
	acts    []Act
	waiting map[types.UID]*corev1.Pod // without a node
	binding chan struct{}
}

// Act is one thing that the API server had the kubelet do.
type Act struct {
	Time      time.Time
	Kind      string // exec, attach, run, portforward, logs, pods
	Namespace string
	Pod       string
	Container string
	Command   []string // of exec and run
	Stdin     bool
	TTY       bool
	Port      int // of portforward
}

// actLimit is how many acts are kept; more than that is no test.
const actLimit = 200_000

// NewAddress is an address in 127.0.0.0/8 that two clusters on one machine
// hardly share; the pods' addresses have the same first two numbers.
func NewAddress() string { return fmt.Sprintf("127.%d.0.1", 16+rand.IntN(224)) }

// Start registers the node and runs its pods until Stop.
func Start(ctx context.Context, opt Options) (*Kubelet, error) {
	if runtime.GOOS != "linux" {
		return nil, errors.New("the test kubelet needs Linux: containers are its namespaces")
	}
	api, err := url.Parse(opt.API.Host)
	if err != nil {
		return nil, err
	}
	config := rest.CopyConfig(opt.API)
	config.QPS, config.Burst = 500, 1000
	core, err := typed.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	k := &Kubelet{Name: opt.Name, opt: opt, address: opt.Address, apiHost: api.Hostname(), apiPort: api.Port(), core: core, pods: map[types.UID]*pod{}, waiting: map[types.UID]*corev1.Pod{}, binding: make(chan struct{}, 1)}
	if k.logFile, err = os.OpenFile(opt.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600); err != nil {
		return nil, err
	}
	k.log = log.New(k.logFile, "", log.LstdFlags|log.Lmicroseconds)
	latest.Store(k.log)
	quiet()
	if err := k.start(ctx); err != nil {
		k.Stop()
		return nil, err
	}
	return k, nil
}

func (k *Kubelet) start(ctx context.Context) error {
	l, err := net.Listen("tcp", net.JoinHostPort(k.address, "0"))
	if err != nil {
		return err
	}
	k.Addr = l.Addr().String()
	k.server = &http.Server{
		Handler: k.handler(), ErrorLog: k.log, ReadHeaderTimeout: 10 * time.Second, MaxHeaderBytes: 1 << 20,
		// HTTP/2 has no upgrades.
		TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){},
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{k.opt.Cert}, ClientCAs: k.opt.Clients, ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS12, VerifyConnection: func(s tls.ConnectionState) error {
			if name := s.PeerCertificates[0].Subject.CommonName; name != k.opt.Caller {
				return fmt.Errorf("%q may not call this kubelet", name)
			}
			return nil
		}},
	}
	k.wg.Go(func() { _ = k.server.ServeTLS(l, "", "") })
	if err := k.register(ctx); err != nil {
		return fmt.Errorf("register the node: %w", err)
	}
	// What runs from here on ends with Stop, not with the caller's start-up.
	run, stop := context.WithCancel(context.WithoutCancel(ctx))
	k.stop = stop
	_, informer := cache.NewInformerWithOptions(cache.InformerOptions{
		ListerWatcher: cache.NewListWatchFromClient(k.core.RESTClient(), "pods", metav1.NamespaceAll, fields.Everything()),
		ObjectType:    &corev1.Pod{},
		Handler: cache.ResourceEventHandlerFuncs{
			AddFunc:    func(o any) { k.seen(run, o.(*corev1.Pod)) },
			UpdateFunc: func(_, o any) { k.seen(run, o.(*corev1.Pod)) },
			DeleteFunc: func(o any) {
				if d, ok := o.(cache.DeletedFinalStateUnknown); ok {
					o = d.Obj
				}
				if p, ok := o.(*corev1.Pod); ok {
					k.gone(p)
				}
			},
		},
	})
	k.wg.Go(func() { informer.RunWithContext(run) })
	k.wg.Go(func() { k.bind(run) })
	k.wg.Go(func() { k.heartbeat(run) })
	return nil
}

// Stop ends the pods' processes and the server. The node stays in the API.
func (k *Kubelet) Stop() {
	if k.stop != nil {
		k.stop()
	}
	if k.server != nil {
		k.server.Close()
	}
	k.mu.Lock()
	var pods []*pod
	for _, p := range k.pods {
		pods = append(pods, p)
	}
	k.mu.Unlock()
	for _, p := range pods {
		<-p.done
	}
	k.wg.Wait()
	k.logFile.Close()
}

// latest is the log of the kubelet that was started last. It gets what
// Kubernetes' own code has to say, which has one place for a whole program.
var latest atomic.Pointer[log.Logger]

type toLatest struct{}

func (toLatest) Write(p []byte) (int, error) {
	latest.Load().Print(string(p))
	return len(p), nil
}

var quiet = sync.OnceFunc(func() { klog.SetSlogLogger(slog.New(slog.NewTextHandler(toLatest{}, nil))) })

func (k *Kubelet) complain(format string, args ...any) { k.log.Printf(format, args...) }

// Acts lists what the kubelet was had to do since the start or the last
// Forget, in order.
func (k *Kubelet) Acts() []Act {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.acts)
}

// Forget empties what Acts gives.
func (k *Kubelet) Forget() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.acts = nil
}

func (k *Kubelet) note(a Act) {
	a.Time = time.Now()
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.acts) < actLimit {
		k.acts = append(k.acts, a)
	}
}

// Root gives the folder that is the root folder of a container now, to look at
// or to change what it holds beside everything.
func (k *Kubelet) Root(namespace, name, container string) (string, error) {
	c, err := k.find(namespace, name, container)
	if err != nil {
		return "", err
	}
	r := c.isRunning()
	if r == nil {
		return "", errNotRunning
	}
	return filepath.Join(filepath.Dir(r.log.path), "root"), nil
}

func (k *Kubelet) seen(ctx context.Context, spec *corev1.Pod) {
	k.mu.Lock()
	defer k.mu.Unlock()
	switch spec.Spec.NodeName {
	case "":
		if spec.DeletionTimestamp == nil {
			k.waiting[spec.UID] = spec
			select {
			case k.binding <- struct{}{}:
			default:
			}
		}
		return
	case k.Name:
		delete(k.waiting, spec.UID)
	default:
		return
	}
	p := k.pods[spec.UID]
	if p == nil {
		if ctx.Err() != nil {
			return
		}
		k.next++
		var a, b int
		_, _ = fmt.Sscanf(k.address, "127.%d.%d.", &a, &b)
		n := k.next + 255
		p = &pod{k: k, uid: spec.UID, dir: filepath.Join(k.opt.Dir, string(spec.UID)), address: fmt.Sprintf("127.%d.%d.%d", a, n/250%250, 2+n%250), started: metav1.Now(), wake: make(chan struct{}, 1), done: make(chan struct{}), containers: map[string]*container{}}
		p.spec = spec
		k.pods[spec.UID] = p
		k.wg.Go(func() {
			p.work(ctx)
			k.mu.Lock()
			delete(k.pods, spec.UID)
			k.mu.Unlock()
		})
	}
	p.seen(spec, false)
}

func (k *Kubelet) gone(spec *corev1.Pod) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.waiting, spec.UID)
	if p := k.pods[spec.UID]; p != nil {
		p.seen(spec, true)
	}
}

// register makes the Node, and says that it is ready.
func (k *Kubelet) register(ctx context.Context) error {
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: k.Name, Labels: map[string]string{
		corev1.LabelHostname: k.Name, corev1.LabelOSStable: runtime.GOOS, corev1.LabelArchStable: runtime.GOARCH,
	}}}
	if _, err := k.core.Nodes().Create(ctx, node, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		return err
	}
	return k.ready(ctx)
}

func (k *Kubelet) ready(ctx context.Context) error {
	_, portText, err := net.SplitHostPort(k.Addr)
	if err != nil {
		return err
	}
	port, err := strconv.Atoi(portText)
	if err != nil {
		return err
	}
	now := metav1.Now()
	room := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("8"), corev1.ResourceMemory: resource.MustParse("16Gi"), corev1.ResourcePods: resource.MustParse("1000"), corev1.ResourceEphemeralStorage: resource.MustParse("64Gi")}
	status := corev1.NodeStatus{
		Capacity: room, Allocatable: room,
		Addresses:       []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: k.address}, {Type: corev1.NodeHostName, Address: k.Name}},
		DaemonEndpoints: corev1.NodeDaemonEndpoints{KubeletEndpoint: corev1.DaemonEndpoint{Port: int32(port)}},
		NodeInfo:        corev1.NodeSystemInfo{KubeletVersion: k.opt.Version, OperatingSystem: runtime.GOOS, Architecture: runtime.GOARCH, ContainerRuntimeVersion: "process://1", OSImage: "test", KernelVersion: "test"},
		Conditions:      []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "KubeletReady", Message: "the test kubelet is running", LastHeartbeatTime: now, LastTransitionTime: now}},
	}
	patch, err := json.Marshal(map[string]any{"status": status})
	if err != nil {
		return err
	}
	_, err = k.core.Nodes().Patch(ctx, k.Name, types.MergePatchType, patch, metav1.PatchOptions{}, "status")
	return err
}

func (k *Kubelet) heartbeat(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(20 * time.Second):
		}
		if err := k.ready(ctx); err != nil && ctx.Err() == nil {
			k.complain("status of the node: %v", err)
		}
	}
}

// bind gives this node to the pods that have none, as the scheduler would:
// unless the node is cordoned, or the pod wants another.
func (k *Kubelet) bind(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-k.binding:
		case <-time.After(time.Second): // the node may have changed
		}
		k.mu.Lock()
		var list []*corev1.Pod
		for _, p := range k.waiting {
			if p.Spec.SchedulerName == corev1.DefaultSchedulerName && len(p.Spec.SchedulingGates) == 0 {
				list = append(list, p)
			}
		}
		k.mu.Unlock()
		if len(list) == 0 {
			continue
		}
		node, err := k.core.Nodes().Get(ctx, k.Name, metav1.GetOptions{})
		if err != nil {
			k.complain("look at the node: %v", err)
			continue
		}
		slices.SortFunc(list, func(a, b *corev1.Pod) int { return a.CreationTimestamp.Compare(b.CreationTimestamp.Time) })
		for _, p := range list {
			if node.Spec.Unschedulable || !labels.SelectorFromSet(p.Spec.NodeSelector).Matches(labels.Set(node.Labels)) {
				continue
			}
			err := k.core.Pods(p.Namespace).Bind(ctx, &corev1.Binding{ObjectMeta: metav1.ObjectMeta{Name: p.Name, UID: p.UID}, Target: corev1.ObjectReference{Kind: "Node", Name: k.Name}}, metav1.CreateOptions{})
			if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
				k.complain("bind pod %s/%s: %v", p.Namespace, p.Name, err)
				continue
			}
			k.mu.Lock()
			delete(k.waiting, p.UID)
			k.mu.Unlock()
		}
	}
}
