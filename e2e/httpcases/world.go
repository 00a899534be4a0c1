package httpcases

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/doorward/doorward/e2e/harness"
)

// world is what cases run against.
type world struct {
	service *service
	names   *names
	gates   map[string]*gate // by set of policies, and whether the service is found by its name
	opt     Options
}

func newWorld(opt Options) (*world, error) {
	w := &world{opt: opt, gates: map[string]*gate{}}
	var err error
	if w.service, err = startService(); err != nil {
		return nil, err
	}
	if w.names, err = startNames(); err != nil {
		w.service.close()
		return nil, err
	}
	return w, nil
}

func (w *world) close() {
	for _, g := range w.gates {
		g.Close()
	}
	w.names.close()
	w.service.close()
}

// people of the gate.
var people = []string{userName, "approver"}

// gate is a doorward before the service.
type gate struct {
	*harness.Gate
	agent, approver *harness.Client
	groups          []string // of the agent
	named           bool     // the service is found by its name
}

// The targets: the service, and one that may be found on this machine.
const (
	targetName  = "orders"
	controlName = "control"
	controlHost = "control.internal"
)

// gate gives the doorward that a case uses.
func (w *world) gate(ctx context.Context, p *plan) (*gate, error) {
	key := set(p.Case)
	if p.has("dns") {
		key += " by name"
	}
	if g := w.gates[key]; g != nil {
		return g, nil
	}
	g, err := w.newGate(ctx, p)
	if err != nil {
		return nil, err
	}
	w.gates[key] = g
	return g, nil
}

func (w *world) newGate(ctx context.Context, one *plan) (*gate, error) {
	g := &gate{named: one.has("dns")}
	var files []string
	for _, p := range one.Policy {
		files = append(files, filepath.Join(w.opt.Policies, p+".yaml"))
	}
	p, err := harness.LoadPolicies(files...)
	if err != nil {
		return nil, err
	}
	c := &harness.Config{Wait: w.opt.Wait}
	c.Rules, c.Masking = p.For(set(one.Case), []string{targetName})
	fields := map[string]any{"user_header": userHeader}
	if !g.named {
		// Behind another port the service is called what it is called.
		fields["host"] = serviceHost
		c.Services = []harness.Service{{Name: targetName, Address: "http://" + w.service.addr, Hosts: []string{serviceHost}, Fields: fields}}
	} else {
		fields["host"], fields["resolver"] = serviceHost, w.names.addr
		rules, masking := p.For("control", []string{controlName})
		c.Rules, c.Masking = append(c.Rules, rules...), append(c.Masking, masking...)
		c.Services = []harness.Service{
			{Name: targetName, Address: "http://" + serviceHost + ":" + w.service.port(), Hosts: []string{serviceHost}, Fields: fields},
			{Name: controlName, Address: "http://" + controlHost + ":" + w.service.port(), Hosts: []string{controlHost},
				Fields: map[string]any{"resolver": w.names.addr, "networks": []string{"127.0.0.0/8"}, "user_header": userHeader}},
		}
	}
	g.groups = slices.Compact(slices.Sorted(slices.Values(append([]string{"engineers"}, p.Groups...))))
	reviewers := slices.Compact(slices.Sorted(slices.Values(append([]string{"approvers"}, p.Reviewers...))))
	for _, name := range people {
		u := harness.User{Name: name, Password: name + "-password-0123456789", Groups: g.groups}
		if name != userName {
			u.Groups = reviewers
		}
		c.Users = append(c.Users, u)
	}
	if g.Gate, err = harness.Start(ctx, c); err != nil {
		return nil, err
	}
	if err := g.signIn(ctx); err != nil {
		g.Close()
		return nil, err
	}
	if g.named {
		err = w.control(ctx, g)
	}
	if err != nil {
		g.Close()
		return nil, err
	}
	return g, nil
}

func (g *gate) signIn(ctx context.Context) error {
	var err error
	if g.agent, err = g.SignIn(ctx, userName); err != nil {
		return err
	}
	g.approver, err = g.SignIn(ctx, "approver")
	return err
}

// to is how the agent reaches the service.
func (g *gate) to() endpoint { return endpoint{g.Services, g.agent.Token} }

// control checks that a name that may lead to this machine does, by the same
// resolver: else nothing is shown by a name that does not.
func (w *world) control(ctx context.Context, g *gate) error {
	w.names.say(map[string][][]string{controlHost: {{"127.0.0.1"}}})
	w.service.do(nil)
	text := "GET /api/v1/status HTTP/1.1\r\nHost: " + controlHost + "\r\n\r\n"
	s, err := run(ctx, []Step{{Op: "send", Request: Request{Raw: &text}}}, g.to(), g.TLS(), whole)
	if err != nil {
		return err
	}
	if len(s.answers) != 1 || s.answers[0].status != http.StatusOK || w.service.saw().dialled != 1 || w.names.questions() == 0 {
		return fmt.Errorf("a name that may lead to this machine does not: %s", s.describe())
	}
	return nil
}

// held lists the reviews that wait.
func (g *gate) held(ctx context.Context) ([]harness.Review, error) {
	return g.approver.Reviews(ctx, "waiting")
}

// again starts a doorward that ended.
func (g *gate) again(ctx context.Context) error {
	if err := g.Launch(ctx); err != nil {
		return err
	}
	return g.signIn(ctx)
}

// says are the answers of DNS that a case wants.
func (p *plan) says() map[string][][]string {
	out := map[string][][]string{}
	for _, s := range p.steps {
		if s.Op != "dns" {
			continue
		}
		name := strings.TrimSuffix(strings.ToLower(s.Name), ".")
		out[name] = append(out[name], s.Answers)
		if s.Then != nil {
			out[name] = append(out[name], s.Then)
		}
	}
	return out
}

// settle is how long what a case should not have done gets to show.
const settle = 40 * time.Millisecond
