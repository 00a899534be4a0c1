package kubetest

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	typed "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"

	"github.com/doorward/doorward/e2e/kubetest/kubelet"
	"github.com/doorward/doorward/e2e/pgtest"
)

// Names of the cluster's own parts.
const (
	nodeName       = "system:node:" + Node
	controllerName = "system:kube-controller-manager"
	waiterName     = "system:kubetest"
	callerName     = "kube-apiserver-kubelet-client"
)

// Node is the name of the cluster's one node.
const Node = "node-1"

// Cluster is a running Kubernetes.
type Cluster struct {
	URL        string // of the API server
	CA         []byte // PEM
	AdminToken string // of the user admin, of the group system:masters
	AuditLog   string // path
	Dir        string
	Kubelet    *kubelet.Kubelet // knows what was really run

	authority *authority
	waiter    *rest.Config
	etcd, api *pgtest.Process
	manager   *pgtest.Process
}

// Options of a cluster.
type Options struct {
	Server []string // further arguments of kube-apiserver
}

// StartLimit is how long a cluster may take until it is ready.
const StartLimit = 90 * time.Second

// Start runs a cluster with an authority of its own, and waits until it takes
// work. Stop must be called in the end.
func Start(ctx context.Context, opt Options) (*Cluster, error) {
	ctx, cancel := context.WithTimeout(ctx, StartLimit)
	defer cancel()
	dir, err := os.MkdirTemp(memory(), "doorward-kube-")
	if err != nil {
		return nil, err
	}
	c := &Cluster{Dir: dir, AuditLog: filepath.Join(dir, "audit.log")}
	if err := c.start(ctx, opt); err != nil {
		c.Stop()
		return nil, err
	}
	return c, nil
}

// memory is a file system in memory with room to spare, or "": etcd waits for
// the disk at every write.
func memory() string {
	const dir, room = "/dev/shm", 2 << 30
	var st syscall.Statfs_t
	if os.Getenv("TMPDIR") != "" || syscall.Statfs(dir, &st) != nil || int64(st.Bavail)*int64(st.Bsize) < room || syscall.Access(dir, 2) != nil {
		return ""
	}
	return dir
}

func (c *Cluster) path(name string) string { return filepath.Join(c.Dir, name) }

func (c *Cluster) start(ctx context.Context, opt Options) error {
	for _, name := range []string{"etcd", "kube-apiserver", "kube-controller-manager"} {
		if _, err := Program(name); err != nil {
			return err
		}
	}
	if err := c.prepare(); err != nil {
		return err
	}
	var err error
	for range 5 { // another program may take a port between our look and our start
		if err = c.startServers(ctx, opt); err == nil || ctx.Err() != nil || !strings.Contains(err.Error(), "address already in use") {
			break
		}
		c.end(c.api)
		c.end(c.etcd)
		os.RemoveAll(c.path("etcd"))
	}
	if err != nil {
		return err
	}
	if err := c.startManager(); err != nil {
		return err
	}
	if err := c.startKubelet(ctx); err != nil {
		return err
	}
	return c.awaitWork(ctx)
}

// prepare writes the keys and the settings.
func (c *Cluster) prepare() error {
	var err error
	if c.authority, err = newAuthority("doorward test cluster"); err != nil {
		return err
	}
	c.CA = c.authority.pem
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	accounts, err := keyPEM(key)
	if err != nil {
		return err
	}
	caKey, err := keyPEM(c.authority.key)
	if err != nil {
		return err
	}
	token := make([]byte, 24)
	_, _ = rand.Read(token) // never fails
	c.AdminToken = hex.EncodeToString(token)
	files := map[string][]byte{
		"ca.pem": c.CA, "ca-key.pem": caKey, "accounts.pem": accounts, "policy.json": []byte(policy),
		"tokens.csv": fmt.Appendf(nil, "%s,admin,admin,system:masters\n", c.AdminToken),
	}
	for name, subject := range map[string]pkix.Name{
		"api":     {CommonName: "kube-apiserver"},
		"calls":   {CommonName: callerName},
		"manager": {CommonName: controllerName, Organization: []string{"system:masters"}},
		"node":    {CommonName: nodeName, Organization: []string{"system:masters"}},
		"waiter":  {CommonName: waiterName, Organization: []string{"system:masters"}},
	} {
		var names, addresses []string
		if name == "api" {
			names, addresses = []string{"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"}, []string{"127.0.0.1"}
		}
		p, err := c.authority.issue(subject, names, addresses...)
		if err != nil {
			return err
		}
		files[name+".pem"], files[name+"-key.pem"] = p.Cert, p.Key
	}
	for name, data := range files {
		if err := os.WriteFile(c.path(name), data, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// pair reads what prepare wrote.
func (c *Cluster) pair(name string) (Pair, error) {
	cert, err := os.ReadFile(c.path(name + ".pem"))
	if err != nil {
		return Pair{}, err
	}
	key, err := os.ReadFile(c.path(name + "-key.pem"))
	return Pair{Cert: cert, Key: key}, err
}

// as is the access of one of the cluster's own parts.
func (c *Cluster) as(name string) (Access, error) {
	p, err := c.pair(name)
	return Access{Server: c.URL, CA: c.CA, Client: p}, err
}

// spawn runs a program that logs to a file.
func (c *Cluster) spawn(name string, args ...string) (*pgtest.Process, error) {
	program, err := Program(name)
	if err != nil {
		return nil, err
	}
	log, err := os.OpenFile(c.path(name+".log"), os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := exec.Command(program, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = c.Dir, log, log
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=" + c.Dir, "TMPDIR=" + c.Dir}
	return pgtest.Spawn(cmd, syscall.SIGKILL)
}

// Log is the end of what a part has logged: etcd, kube-apiserver,
// kube-controller-manager or kubelet.
func (c *Cluster) Log(part string) string {
	b, _ := os.ReadFile(c.path(part + ".log"))
	return string(b[max(0, len(b)-8000):])
}

func (c *Cluster) startServers(ctx context.Context, opt Options) error {
	var ports [3]int
	for i := range ports {
		// The same port may be free twice in a row.
		for ports[i] == 0 || slices.Contains(ports[:i], ports[i]) {
			var err error
			if ports[i], err = pgtest.FreePort(); err != nil {
				return err
			}
		}
	}
	etcd, peer := fmt.Sprintf("http://127.0.0.1:%d", ports[0]), fmt.Sprintf("http://127.0.0.1:%d", ports[1])
	c.URL = fmt.Sprintf("https://127.0.0.1:%d", ports[2])
	var err error
	c.etcd, err = c.spawn("etcd", "--name", "test", "--data-dir", c.path("etcd"), "--listen-client-urls", etcd, "--advertise-client-urls", etcd,
		"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", "test="+peer, "--snapshot-count", "100000", "--log-level", "error")
	if err != nil {
		return err
	}
	c.api, err = c.spawn("kube-apiserver", append([]string{
		"--etcd-servers=" + etcd, "--bind-address=127.0.0.1", fmt.Sprintf("--secure-port=%d", ports[2]),
		"--advertise-address=127.0.0.1", "--endpoint-reconciler-type=none", "--service-cluster-ip-range=127.240.0.0/16",
		"--tls-cert-file=" + c.path("api.pem"), "--tls-private-key-file=" + c.path("api-key.pem"), "--client-ca-file=" + c.path("ca.pem"),
		"--token-auth-file=" + c.path("tokens.csv"), "--authorization-mode=RBAC",
		"--kubelet-certificate-authority=" + c.path("ca.pem"), "--kubelet-client-certificate=" + c.path("calls.pem"), "--kubelet-client-key=" + c.path("calls-key.pem"),
		"--kubelet-preferred-address-types=InternalIP",
		"--service-account-issuer=https://kubernetes.default.svc", "--service-account-signing-key-file=" + c.path("accounts.pem"), "--service-account-key-file=" + c.path("accounts.pem"),
		"--audit-policy-file=" + c.path("policy.json"), "--audit-log-path=" + c.AuditLog, "--audit-log-mode=blocking", "--audit-log-maxsize=4096",
		// The node taints itself with nothing, and nobody is there to take it away.
		"--disable-admission-plugins=TaintNodesByCondition",
		"--allow-privileged=true", "--profiling=false", "--watch-cache=false", "--v=0",
	}, opt.Server...)...)
	if err != nil {
		return err
	}
	w, err := c.as("waiter")
	if err != nil {
		return err
	}
	c.waiter = w.Config()
	client, err := rest.HTTPClientFor(c.waiter)
	if err != nil {
		return err
	}
	client.Timeout = 5 * time.Second
	return c.poll(ctx, "kube-apiserver", func() (bool, error) {
		for name, p := range map[string]*pgtest.Process{"etcd": c.etcd, "kube-apiserver": c.api} {
			if p.Ended() {
				return false, fmt.Errorf("%s ended at start: %v\n%s", name, p.Err(), c.Log(name))
			}
		}
		r, err := client.Get(c.URL + "/readyz")
		if err != nil {
			return false, nil
		}
		r.Body.Close()
		return r.StatusCode == 200, nil
	})
}

// poll waits until ready says so. What part logged is in the error.
func (c *Cluster) poll(ctx context.Context, part string, ready func() (bool, error)) error {
	for {
		if ok, err := ready(); ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s was not ready within %s: %w\n%s", part, StartLimit, ctx.Err(), c.Log(part))
		case <-time.After(25 * time.Millisecond):
		}
	}
}

func (c *Cluster) startManager() error {
	a, err := c.as("manager")
	if err != nil {
		return err
	}
	if err := a.Kubeconfig(c.path("manager.conf")); err != nil {
		return err
	}
	c.manager, err = c.spawn("kube-controller-manager", "--kubeconfig="+c.path("manager.conf"), "--leader-elect=false", "--secure-port=0",
		"--service-account-private-key-file="+c.path("accounts.pem"), "--root-ca-file="+c.path("ca.pem"),
		"--cluster-signing-cert-file="+c.path("ca.pem"), "--cluster-signing-key-file="+c.path("ca-key.pem"),
		// A program that was stopped for some minutes must not lose its pods:
		// nobody watches whether the node is alive. The others have no use here.
		"--controllers=*,-node-lifecycle-controller,-node-ipam-controller,-persistentvolume-attach-detach-controller,-taint-eviction-controller",
		"--kube-api-qps=500", "--kube-api-burst=1000", "--profiling=false", "--v=0")
	return err
}

func (c *Cluster) startKubelet(ctx context.Context) error {
	address := kubelet.NewAddress()
	serving, err := c.authority.issue(pkix.Name{CommonName: nodeName}, nil, address)
	if err != nil {
		return err
	}
	cert, err := serving.TLS()
	if err != nil {
		return err
	}
	a, err := c.as("node")
	if err != nil {
		return err
	}
	pods := c.path("pods")
	if err := os.Mkdir(pods, 0o700); err != nil {
		return err
	}
	callers := x509.NewCertPool()
	callers.AddCert(c.authority.cert)
	c.Kubelet, err = kubelet.Start(ctx, kubelet.Options{API: a.Config(), Name: Node, Version: "v" + Version, Address: address, Cert: cert, Clients: callers, Caller: callerName, Dir: pods, Log: c.path("kubelet.log")})
	return err
}

// awaitWork waits until pods can be made: for the namespace's account and for
// the authority's certificate that is put into pods.
func (c *Cluster) awaitWork(ctx context.Context) error {
	core, err := typed.NewForConfig(c.waiter)
	if err != nil {
		return err
	}
	return c.poll(ctx, "kube-controller-manager", func() (bool, error) {
		if c.manager.Ended() {
			return false, fmt.Errorf("kube-controller-manager ended at start: %v\n%s", c.manager.Err(), c.Log("kube-controller-manager"))
		}
		_, err := core.ServiceAccounts("default").Get(ctx, "default", metav1.GetOptions{})
		if err == nil {
			_, err = core.ConfigMaps("default").Get(ctx, "kube-root-ca.crt", metav1.GetOptions{})
		}
		return err == nil, nil
	})
}

// Namespace makes a namespace that pods can be made in. Who wants it gone
// deletes it: tests of one cluster take a namespace each.
func (c *Cluster) Namespace(ctx context.Context, name string) error {
	core, err := typed.NewForConfig(c.waiter)
	if err != nil {
		return err
	}
	if _, err := core.Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	return c.poll(ctx, "kube-controller-manager", func() (bool, error) {
		_, err := core.ServiceAccounts(name).Get(ctx, "default", metav1.GetOptions{})
		if err == nil {
			_, err = core.ConfigMaps(name).Get(ctx, "kube-root-ca.crt", metav1.GetOptions{})
		}
		return err == nil, nil
	})
}

// Pause stops the API server from answering (dead network, not a closed port).
func (c *Cluster) Pause() error { return c.api.Signal(syscall.SIGSTOP) }

// Resume undoes Pause.
func (c *Cluster) Resume() error { return c.api.Signal(syscall.SIGCONT) }

// PIDs of the cluster's programs, by their names.
func (c *Cluster) PIDs() map[string]int {
	return map[string]int{"etcd": c.etcd.PID(), "kube-apiserver": c.api.PID(), "kube-controller-manager": c.manager.PID()}
}

func (c *Cluster) end(p *pgtest.Process) error {
	if p == nil || p.Ended() {
		return nil
	}
	_ = p.Signal(syscall.SIGCONT)
	// Nothing of theirs is kept, so they need not say farewell.
	return p.Stop(syscall.SIGKILL, 5*time.Second)
}

// Stop ends the cluster and all that runs in it, and removes its folder; with
// DOORWARD_KEEP set the folder stays.
func (c *Cluster) Stop() error {
	var wg sync.WaitGroup
	if c.Kubelet != nil {
		wg.Go(c.Kubelet.Stop)
	}
	err := c.end(c.manager)
	wg.Wait()
	err = errors.Join(err, c.end(c.api), c.end(c.etcd))
	if os.Getenv("DOORWARD_KEEP") == "" {
		os.RemoveAll(c.Dir)
	}
	return err
}
