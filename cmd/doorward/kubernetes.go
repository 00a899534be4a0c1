package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"slices"
	"strings"

	"golang.org/x/net/netutil"
	"k8s.io/client-go/rest"
	clientcmd "k8s.io/client-go/tools/clientcmd/api"
	"k8s.io/klog/v2"

	"github.com/doorward/doorward"
	adapter "github.com/doorward/doorward/internal/adapter/kubernetes"
	classify "github.com/doorward/doorward/internal/classify/kubernetes"
	"github.com/doorward/doorward/internal/config"
	"github.com/doorward/doorward/internal/gate"
	"github.com/doorward/doorward/internal/upstream"
)

// kubernetesDialect reads the requests of one cluster.
type kubernetesDialect struct{ env classify.Env }

// Read implements gate.Dialect.
func (d *kubernetesDialect) Read(text string, _ *gate.State) (*doorward.Reading, error) {
	return classify.Read(text, &d.env)
}

// Origin implements gate.Dialect: there are no columns.
func (*kubernetesDialect) Origin(uint32, int16) (string, bool) { return "", true }

// Refresh implements gate.Dialect: there is no catalog.
func (*kubernetesDialect) Refresh(context.Context) error { return nil }

func kubernetesTarget(name string, conf config.Target) (*target, error) {
	p := conf.Kubernetes
	cfg, err := restConfig(p)
	if err != nil {
		return nil, fmt.Errorf("target %s: %w", name, err)
	}
	opt := upstream.KubernetesOptions{Name: name, Config: cfg}
	if i := p.Impersonate; i != nil {
		opt.Impersonate = func(s *gate.Session) (rest.ImpersonationConfig, error) { return impersonate(i, s) }
	}
	cluster, err := upstream.NewKubernetes(opt)
	if err != nil {
		return nil, err
	}
	return &target{
		gate: &gate.Target{Target: doorward.Target{Name: name, Protocol: "kubernetes"}, Dialect: &kubernetesDialect{classify.Env{Groups: slices.Clone(p.Groups)}}},
		conf: conf, cluster: cluster, slots: make(chan struct{}, max(p.MaxRequests, 1)),
	}, nil
}

// restConfig is how doorward signs in to a cluster.
func restConfig(p *config.KubernetesTarget) (*rest.Config, error) {
	cfg := &rest.Config{Host: "https://" + p.Address, TLSClientConfig: rest.TLSClientConfig{CAFile: p.CA, ServerName: p.ServerName, CertFile: p.ClientCert, KeyFile: p.ClientKey}}
	switch {
	case p.Token.File != "":
		cfg.BearerTokenFile = p.Token.File // read again when it changes
		if _, err := p.Token.Resolve(); err != nil {
			return nil, err
		}
	case !p.Token.IsZero():
		token, err := p.Token.Resolve()
		if err != nil {
			return nil, err
		}
		cfg.BearerToken = token
	case p.Exec != nil:
		e := &clientcmd.ExecConfig{Command: p.Exec.Command, Args: p.Exec.Args, APIVersion: p.Exec.APIVersion, InteractiveMode: clientcmd.NeverExecInteractiveMode, StdinUnavailable: true}
		if e.APIVersion == "" {
			e.APIVersion = "client.authentication.k8s.io/v1"
		}
		for _, name := range slices.Sorted(maps.Keys(p.Exec.Env)) {
			e.Env = append(e.Env, clientcmd.ExecEnvVar{Name: name, Value: p.Exec.Env[name]})
		}
		cfg.ExecProvider = e
	}
	return cfg, nil
}

// impersonate says as whom a session acts on the cluster. Names of the cluster's
// own, such as system:masters, are never taken from elsewhere.
func impersonate(i *config.Impersonate, s *gate.Session) (rest.ImpersonationConfig, error) {
	id := &s.Identity
	out := rest.ImpersonationConfig{UserName: i.UserPrefix + id.Name, Extra: map[string][]string{"doorward-session": {s.ID()}, "doorward-subject": {gate.Printable(id.Subject)}}}
	own := func(name string) bool {
		// HTTP takes blanks at the ends of a header away.
		return name == "" || name != strings.TrimSpace(name) || strings.HasPrefix(name, "system:") || strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f })
	}
	if own(out.UserName) {
		return out, upstream.ErrAs
	}
	for _, g := range id.Groups {
		if g = i.GroupPrefix + g; own(g) {
			return out, upstream.ErrAs
		}
		out.Groups = append(out.Groups, g)
	}
	for key, v := range map[string]string{"doorward-agent": id.Agent, "doorward-run": id.Run} {
		if v != "" {
			out.Extra[key] = []string{gate.Printable(v)}
		}
	}
	return out, nil
}

// clusterOf gives a session its cluster, within the target's bound of requests
// at once.
func (t *targets) clusterOf(ctx context.Context, s *gate.Session) (*upstream.Kubernetes, func(), error) {
	x, leave, err := t.enterNow(ctx, s)
	if err != nil {
		return nil, nil, err
	}
	return x.cluster, leave, nil
}

// showsSecrets reports whether a cluster's Secrets are shown with their values.
func (t *targets) showsSecrets(name string) bool {
	x := t.get(name)
	return x != nil && x.conf.Kubernetes != nil && x.conf.Kubernetes.Secrets == config.SecretsShown
}

// listenKubernetes serves clients of clusters, if there is a listener for them.
func (h *house) listenKubernetes(ctx context.Context) (*adapter.Server, net.Addr, error) {
	if h.cfg.Listen.Kubernetes == "" {
		return nil, nil, nil
	}
	quietKubernetes()
	l, err := net.Listen("tcp", h.cfg.Listen.Kubernetes)
	if err != nil {
		return nil, nil, fmt.Errorf("listen.kubernetes: %w", err)
	}
	conf := h.tls.Clone()
	conf.NextProtos = []string{"h2", "http/1.1"}
	srv := adapter.New(adapter.Options{Gate: h.gate, Cluster: h.targets.clusterOf, ShowSecrets: h.targets.showsSecrets, Log: h.log})
	go func() {
		if err := srv.Serve(tls.NewListener(netutil.LimitListener(l, maxConns), conf)); err != nil && !errors.Is(err, net.ErrClosed) && ctx.Err() == nil {
			h.log.Error("the listener for clusters ended", "error", err)
		}
	}()
	return srv, l.Addr(), nil
}

// quietKubernetes keeps the libraries of Kubernetes from logging by themselves:
// what they would say can hold what clients sent.
func quietKubernetes() {
	klog.SetSlogLogger(slog.New(slog.DiscardHandler))
}
