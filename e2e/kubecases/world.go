package kubecases

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"k8s.io/client-go/rest"

	"github.com/doorward/doorward/e2e/harness"
	"github.com/doorward/doorward/e2e/kubetest"
)

// world is what cases run against: a real cluster, and an API server that
// misbehaves where a case wants that.
type world struct {
	cluster *kubetest.Cluster
	rogue   *rogue
	admin   *http.Client // signs in as fixtureUser
	dir     string
	fixture []manifest
	listed  []string // collections of snapshots

	provided []string        // objects that were made for this case
	known    map[string]bool // audit ids that are accounted for
}

// fixtureUser is the administrator that the runner is on the cluster; doorward,
// and a client without doorward, is kubetest's admin.
const fixtureUser = "fixture"

func newWorld(ctx context.Context) (*world, error) {
	w := &world{known: map[string]bool{}}
	if err := w.start(ctx); err != nil {
		w.close()
		return nil, err
	}
	return w, nil
}

func (w *world) start(ctx context.Context) error {
	var err error
	if w.dir, err = os.MkdirTemp("", "doorward-kubecases-"); err != nil {
		return err
	}
	if w.rogue, err = startRogue(); err != nil {
		return err
	}
	if w.cluster, err = kubetest.Start(ctx, kubetest.Options{}); err != nil {
		return err
	}
	me, err := w.cluster.User(fixtureUser, "system:masters")
	if err != nil {
		return err
	}
	if w.admin, err = rest.HTTPClientFor(me.Config()); err != nil {
		return err
	}
	w.admin.Timeout = 30 * time.Second
	for name, b := range map[string][]byte{"cluster-ca.pem": w.cluster.CA, "rogue-ca.pem": w.rogue.ca} {
		if err := os.WriteFile(filepath.Join(w.dir, name), b, 0o600); err != nil {
			return err
		}
	}
	if err := me.Kubeconfig(filepath.Join(w.dir, "kubeconfig")); err != nil {
		return err
	}
	kubectl, err := kubetest.Kubectl(kubetest.Versions[len(kubetest.Versions)-1])
	if err != nil {
		return err
	}
	if err := os.Symlink(kubectl, filepath.Join(w.dir, "kubectl")); err != nil {
		return err
	}
	return w.furnish(ctx)
}

// furnish makes what the cases find in the cluster.
func (w *world) furnish(ctx context.Context) error {
	var err error
	if w.fixture, err = readFixture(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 2*restoreWait)
	defer cancel()
	if err := w.await(ctx); err != nil {
		return err
	}
	// The second node is the first one by another name.
	b, err := w.get(ctx, "/api/v1/nodes/"+kubetest.Node)
	if err != nil {
		return err
	}
	if status, answer, err := w.do(ctx, http.MethodPatch, "/api/v1/nodes/n1/status", "application/merge-patch+json", nodeStatus(b)); err != nil || status != http.StatusOK {
		return fmt.Errorf("status of n1: %d %s, %w", status, firstLine(answer), err)
	}
	for {
		b, err := w.get(ctx, "/apis/apiregistration.k8s.io/v1/apiservices/v1.evil.io")
		if err != nil {
			return err
		}
		if b != nil {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	if w.listed, err = w.collections(ctx); err != nil {
		return err
	}
	if things := "/apis/evil.io/v1/things"; !slices.Contains(w.listed, things) {
		w.listed = append(w.listed, things)
	}
	return nil
}

// nodeStatus is a patch that gives another node the status of this one.
func nodeStatus(node []byte) []byte {
	var o struct {
		Status json.RawMessage `json:"status"`
	}
	_ = json.Unmarshal(node, &o)
	b, _ := json.Marshal(o)
	return b
}

func (w *world) close() {
	if w.cluster != nil {
		_ = w.cluster.Stop()
	}
	if w.rogue != nil {
		w.rogue.close()
	}
	os.RemoveAll(w.dir)
}

// shell runs a command beside the gate; kubectl is there an administrator's.
func (w *world) shell(ctx context.Context, command string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-c", command)
	cmd.Env = []string{"PATH=" + w.dir + ":" + os.Getenv("PATH"), "KUBECONFIG=" + filepath.Join(w.dir, "kubeconfig"), "HOME=" + w.dir}
	out, err := cmd.CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

func (w *world) probe(ctx context.Context, p *plan) (string, error) {
	if p.check.Probe == "" {
		return "", nil
	}
	out, err := w.shell(ctx, p.check.Probe)
	if err != nil {
		err = fmt.Errorf("probe: %w: %s", err, out)
	}
	return out, err
}

// people of the gate.
var people = []string{"agent", "approver"}

// gate is a doorward before the world.
type gate struct {
	*harness.Gate
	agent, approver *harness.Client
}

// target names the target that a case uses: one whose API server misbehaves,
// or whose name leads elsewhere, where the case says so.
func target(p *plan) string {
	switch {
	case p.has("upstream_reply"):
		return set(p.Case) + "-rogue"
	case p.has("dns"):
		return set(p.Case) + "-stray"
	}
	return set(p.Case) + "-cluster"
}

// set names the set of policies of a case.
func set(c *Case) string {
	l := slices.Clone(c.Policy)
	slices.Sort(l)
	return strings.ToLower(strings.Join(slices.Compact(l), "-"))
}

// newGate starts a doorward with three targets for each set of policies.
func (w *world) newGate(ctx context.Context, list []*Case, policies string, wait time.Duration) (*gate, error) {
	c := &harness.Config{Wait: wait}
	groups, reviewers := []string{"engineers"}, []string{"approvers"}
	done := map[string]bool{}
	api := strings.TrimPrefix(w.cluster.URL, "https://")
	clusterCA, rogueCA := filepath.Join(w.dir, "cluster-ca.pem"), filepath.Join(w.dir, "rogue-ca.pem")
	for _, one := range list {
		key := set(one)
		if done[key] || len(one.Policy) == 0 {
			continue
		}
		done[key] = true
		var files []string
		for _, p := range one.Policy {
			files = append(files, filepath.Join(policies, p+".yaml"))
		}
		p, err := harness.LoadPolicies(files...)
		if err != nil {
			return nil, err
		}
		names := []string{key + "-cluster", key + "-rogue", key + "-stray"}
		rules, masking := p.For(key, names)
		c.Rules, c.Masking = append(c.Rules, rules...), append(c.Masking, masking...)
		c.Clusters = append(c.Clusters,
			harness.Cluster{Name: names[0], Address: api, CA: clusterCA, Token: w.cluster.AdminToken},
			harness.Cluster{Name: names[1], Address: w.rogue.addr, CA: rogueCA, Token: rogueToken},
			// The address is another's than the one that doorward knows.
			harness.Cluster{Name: names[2], Address: w.rogue.addr, CA: clusterCA, Token: rogueToken})
		groups, reviewers = append(groups, p.Groups...), append(reviewers, p.Reviewers...)
	}
	slices.Sort(groups)
	slices.Sort(reviewers)
	for _, name := range people {
		u := harness.User{Name: name, Password: name + "-password-0123456789", Groups: slices.Compact(groups)}
		if name == "approver" {
			u.Groups = slices.Compact(reviewers)
		}
		c.Users = append(c.Users, u)
	}
	h, err := harness.Start(ctx, c)
	if err != nil {
		return nil, err
	}
	g := &gate{Gate: h}
	if err := g.signIn(ctx); err != nil {
		h.Close()
		return nil, err
	}
	return g, nil
}

// rogueToken is doorward's credential for the API server that misbehaves.
const rogueToken = "token-of-doorward-for-the-rogue"

func (g *gate) signIn(ctx context.Context) error {
	var err error
	if g.agent, err = g.SignIn(ctx, "agent"); err != nil {
		return err
	}
	g.approver, err = g.SignIn(ctx, "approver")
	return err
}

// to is how the agent reaches a target.
func (g *gate) to(target string) endpoint {
	return endpoint{g.Kubernetes, "/" + target, g.agent.Token}
}

// direct is how the over-privileged account reaches the API server itself.
func (w *world) direct() (endpoint, *tls.Config) {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(w.cluster.CA)
	return endpoint{strings.TrimPrefix(w.cluster.URL, "https://"), "", w.cluster.AdminToken}, &tls.Config{RootCAs: pool, ServerName: "127.0.0.1"}
}

// held lists the reviews that wait for a target.
func (g *gate) held(ctx context.Context, target string) ([]harness.Review, error) {
	all, err := g.approver.Reviews(ctx, "waiting")
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(all, func(r harness.Review) bool { return r.Target != target }), nil
}

// events are what reached the API server from a place in its log on, of others
// than the runner, and once each.
func (w *world) events(from int64) ([]kubetest.Event, error) {
	all, err := w.cluster.Audit(from)
	if err != nil {
		return nil, err
	}
	var out []kubetest.Event
	for _, e := range all {
		if e.User.Username == fixtureUser || e.ID == "" || w.known[e.ID] {
			continue
		}
		w.known[e.ID] = true
		out = append(out, e)
	}
	return out, nil
}
