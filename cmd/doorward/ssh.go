package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/doorward/doorward"
	adapter "github.com/doorward/doorward/internal/adapter/ssh"
	"github.com/doorward/doorward/internal/api"
	"github.com/doorward/doorward/internal/certs"
	classify "github.com/doorward/doorward/internal/classify/ssh"
	"github.com/doorward/doorward/internal/config"
	"github.com/doorward/doorward/internal/gate"
	"github.com/doorward/doorward/internal/upstream"
)

// maxCertificate is how long a client's certificate lasts at most. Ending the
// credential behind it ends it at once.
const maxCertificate = 12 * time.Hour

// sshDialect reads the requests of SSH targets: the text says all.
type sshDialect struct{}

// Read implements gate.Dialect.
func (sshDialect) Read(text string, _ *gate.State) (*doorward.Reading, error) {
	return classify.Read(text)
}

// Origin implements gate.Dialect: there are no columns.
func (sshDialect) Origin(uint32, int16) (string, bool) { return "", true }

// Refresh implements gate.Dialect: there is no catalog.
func (sshDialect) Refresh(context.Context) error { return nil }

func (t *targets) sshTarget(name string, conf config.Target) (*target, error) {
	p := conf.SSH
	keys, err := p.PinnedKeys()
	if err != nil {
		return nil, fmt.Errorf("target %s: %w", name, err)
	}
	host, err := upstream.NewSSH(upstream.SSHOptions{
		Name: name, Address: p.Address, User: p.User, Accounts: p.Accounts(), HostKeys: keys,
		Auth: func(account string, s *gate.Session) ([]ssh.AuthMethod, error) { return t.sshAuth(p, account, s) },
	})
	if err != nil {
		return nil, err
	}
	return &target{
		gate: &gate.Target{Target: doorward.Target{Name: name, Protocol: "ssh"}, Dialect: sshDialect{}},
		conf: conf, host: host, slots: make(chan struct{}, max(p.MaxConnections, 1)),
	}, nil
}

// sshAuth is how doorward signs in to a host.
func (t *targets) sshAuth(p *config.SSHTarget, account string, s *gate.Session) ([]ssh.AuthMethod, error) {
	switch {
	case p.CA:
		// The host's own log names the person, the agent and the session.
		if t.keys == nil || s == nil {
			return nil, errors.New("a target with ca: true is signed in to by the running gate only")
		}
		signer, err := t.keys.ForHost(account, "doorward "+s.Identity.String()+" "+s.ID())
		if err != nil {
			return nil, err
		}
		return []ssh.AuthMethod{ssh.PublicKeys(signer)}, nil
	case !p.Key.IsZero():
		pem, err := p.Key.Resolve()
		if err != nil {
			return nil, err
		}
		signer, err := ssh.ParsePrivateKey([]byte(pem + "\n"))
		if err != nil {
			return nil, errors.New("the key cannot be read: it has to be a private key in PEM, without a passphrase")
		}
		return []ssh.AuthMethod{ssh.PublicKeys(signer)}, nil
	}
	password, err := p.Password.Resolve()
	if err != nil {
		return nil, err
	}
	return []ssh.AuthMethod{ssh.Password(password), ssh.KeyboardInteractive(func(_, _ string, questions []string, echos []bool) ([]string, error) {
		if len(questions) == 1 && !echos[0] {
			return []string{password}, nil
		}
		if len(questions) == 0 {
			return nil, nil
		}
		return nil, errors.New("the host asks for more than a password")
	})}, nil
}

// dialSSH connects a session to its host, within the target's bound.
func (t *targets) dialSSH(ctx context.Context, s *gate.Session, account string) (*upstream.SSHConn, error) {
	x, err := t.slot(ctx, s)
	if err != nil {
		return nil, err
	}
	return x.host.Dial(ctx, s, account)
}

// sshEnv lists the variables that clients of a target may set.
func (t *targets) sshEnv(name string) []string {
	if x := t.get(name); x != nil && x.conf.SSH != nil {
		return x.conf.SSH.Env
	}
	return nil
}

// sshKeys makes doorward's own keys for SSH, or finds them.
func (h *house) sshKeys(ctx context.Context) (*certs.SSHKeys, error) {
	return certs.LoadSSH(func(name string) ([]byte, error) { return h.store.EnsureKey(ctx, name, certs.NewSSHSeed) })
}

// listenSSH serves SSH clients, if there is a listener for them.
func (h *house) listenSSH(ctx context.Context) (net.Listener, error) {
	if h.cfg.Listen.SSH == "" {
		return nil, nil
	}
	l, err := net.Listen("tcp", h.cfg.Listen.SSH)
	if err != nil {
		return nil, fmt.Errorf("listen.ssh: %w", err)
	}
	srv := adapter.New(adapter.Options{HostKey: h.targets.keys.Host, Authority: h.targets.keys.Clients.PublicKey(), Dial: h.targets.dialSSH, Allowed: h.targets.sshEnv, Log: h.log})
	go h.accept(ctx, l, srv.Serve)
	return l, nil
}

// sshAccess tells how clients reach SSH targets; with a public key it certifies
// it for a credential.
func (h *house) sshAccess(publicKey string, id doorward.Identity) (api.SSHAccess, error) {
	if h.cfg.Listen.SSH == "" {
		return api.SSHAccess{}, api.ErrNoSSH
	}
	k := h.targets.keys
	out := api.SSHAccess{Host: h.reachedBy(h.cfg.Listen.SSH), Port: port(h.cfg.Listen.SSH),
		HostKey: string(ssh.MarshalAuthorizedKey(k.Host.PublicKey())), Authority: string(ssh.MarshalAuthorizedKey(k.Hosts.PublicKey()))}
	if publicKey == "" {
		return out, nil
	}
	out.Expires = time.Now().Add(maxCertificate)
	if !id.Expires.IsZero() && id.Expires.Before(out.Expires) {
		out.Expires = id.Expires
	}
	var err error
	out.Certificate, err = k.ForClient(publicKey, "doorward "+id.String(), adapter.Principal, adapter.CredentialExtension, id.Credential, out.Expires)
	if errors.Is(err, certs.ErrClientKey) {
		err = fmt.Errorf("%w: %w", api.ErrBadKey, err)
	}
	return out, err
}
