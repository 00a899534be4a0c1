package sshcases

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/doorward/doorward/e2e/harness"
	"github.com/doorward/doorward/e2e/sshtest"
)

// world is what cases run against: a real sshd, and a target that misbehaves
// where a case wants that.
type world struct {
	host  *sshtest.Server
	rogue *sshtest.Rogue
	pin   ssh.Signer // the host key of rogue that doorward knows
	dir   string     // for markers
	lock  *os.File
	made  []string // paths outside of dir that this run made
}

// Paths on this machine that cases name: they are made, and removed, by the
// runner alone.
const (
	logs = "/var/log/app"
	bins = "/var/tmp/secbin"

	note   = ".made-by-the-tests-of-doorward"
	prefix = "doorward-ssh-" // of the folder for markers
)

func newWorld(ctx context.Context) (*world, error) {
	w := &world{}
	if err := w.start(ctx); err != nil {
		w.close()
		return nil, err
	}
	return w, nil
}

func (w *world) start(ctx context.Context) error {
	var err error
	if w.dir, err = os.MkdirTemp("", prefix); err != nil {
		return err
	}
	// The paths above are there once on a machine: two runs wait for each other.
	if w.lock, err = os.OpenFile(filepath.Join(os.TempDir(), "doorward-sshcases.lock"), os.O_CREATE|os.O_RDWR, 0o666); err != nil {
		return err
	}
	if err := lock(ctx, w.lock); err != nil {
		return err
	}
	for _, p := range []string{logs, bins} {
		if left(p) {
			os.RemoveAll(p)
		}
		if _, err := os.Lstat(p); err == nil {
			return fmt.Errorf("%s is there already: the cases make it and remove it, and what is there is not theirs", p)
		}
	}
	if w.host, err = sshtest.Start(ctx, sshtest.Options{}); err != nil {
		return err
	}
	if w.rogue, err = sshtest.StartRogue(); err != nil {
		return err
	}
	w.pin = w.rogue.Signer()
	return nil
}

// left reports whether a run that was killed left the path behind.
func left(path string) bool {
	if _, err := os.Lstat(filepath.Join(path, note)); err == nil {
		return true
	}
	b, err := os.ReadFile(filepath.Join(path, "uptime"))
	return err == nil && strings.Contains(string(b), prefix)
}

func lock(ctx context.Context, f *os.File) error {
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err != syscall.EWOULDBLOCK {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(200 * time.Millisecond):
		}
	}
}

func (w *world) close() {
	w.tidy()
	if w.host != nil {
		w.host.Stop()
	}
	if w.rogue != nil {
		w.rogue.Close()
	}
	if w.lock != nil {
		w.lock.Close()
	}
	os.RemoveAll(w.dir)
}

// prepare makes what cases find on the host, and does the case's own
// preparations.
func (w *world) prepare(ctx context.Context, p *plan) error {
	if err := os.Mkdir(logs, 0o755); err != nil {
		if !os.IsPermission(err) { // then the files are missing, with a gate and without
			return err
		}
	} else {
		w.made = append(w.made, logs)
		for _, name := range []string{note, "web-1.log", "web_1.log", "x.log"} {
			var text strings.Builder
			for i := range 300 {
				fmt.Fprintf(&text, "%s line %d\n", name, i+1)
			}
			if err := os.WriteFile(filepath.Join(logs, name), []byte(text.String()), 0o644); err != nil {
				return err
			}
		}
	}
	w.made = append(w.made, bins)
	for _, c := range p.check.Setup {
		if out, err := shell(ctx, c); err != nil {
			return fmt.Errorf("setup %q: %w: %s", c, err, out)
		}
	}
	return nil
}

// tidy removes what the runner and the case's preparations made.
func (w *world) tidy() {
	for _, p := range w.made {
		os.RemoveAll(p)
	}
	w.made = nil
}

func (w *world) cleanup(ctx context.Context, p *plan) {
	for _, c := range p.check.Cleanup {
		shell(ctx, c)
	}
	w.tidy()
}

// shell runs a command beside the gate.
func shell(ctx context.Context, command string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, "bash", "-c", command).CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

// people of the gate.
var people = []string{"agent", "approver"}

// gate is a doorward before the world.
type gate struct {
	*harness.Gate
	agent, approver *harness.Client
}

// target names the target that a case uses.
func target(p *plan) string {
	name := set(p.Case) + "-host"
	if p.has("upstream") || p.has("upstream_output") || slices.ContainsFunc(p.steps, func(s Step) bool { return s.From != "" }) {
		name = set(p.Case) + "-rogue"
	}
	return name
}

// set names the set of policies of a case.
func set(c *Case) string {
	l := slices.Clone(c.Policy)
	slices.Sort(l)
	return strings.ToLower(strings.Join(slices.Compact(l), "-"))
}

// newGate starts a doorward with two targets for each set of policies.
func (w *world) newGate(ctx context.Context, list []*Case, policies string, wait time.Duration) (*gate, error) {
	c := &harness.Config{Wait: wait}
	groups, reviewers := []string{"engineers"}, []string{"approvers"}
	done := map[string]bool{}
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
		names := []string{key + "-host", key + "-rogue"}
		rules, masking := p.For(key, names)
		c.Rules, c.Masking = append(c.Rules, rules...), append(c.Masking, masking...)
		c.Hosts = append(c.Hosts,
			harness.Host{Name: names[0], Address: w.host.Addr(), User: w.host.User, Key: w.host.Key, HostKeys: []string{w.host.HostKey}},
			harness.Host{Name: names[1], Address: w.rogue.Addr(), User: "app", Key: w.host.Key, HostKeys: []string{sshtest.Line(w.pin.PublicKey())}})
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

func (g *gate) signIn(ctx context.Context) error {
	var err error
	if g.agent, err = g.SignIn(ctx, "agent"); err != nil {
		return err
	}
	g.approver, err = g.SignIn(ctx, "approver")
	return err
}

// dialed is how the agent signs in to a target: with a good credential.
func (g *gate) dialed(user string) dialed {
	return dialed{addr: g.SSH, config: ssh.ClientConfig{
		User: user, Auth: []ssh.AuthMethod{ssh.Password(g.agent.Token)}, HostKeyCallback: ssh.InsecureIgnoreHostKey(),
	}}
}

// held lists the reviews that wait for a target.
func (g *gate) held(ctx context.Context, target string) ([]harness.Review, error) {
	all, err := g.approver.Reviews(ctx, "waiting")
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(all, func(r harness.Review) bool { return r.Target != target }), nil
}
