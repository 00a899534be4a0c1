package api

import (
	"context"
	"errors"
	"net/http"
	"strings"
)

// ErrNoSSH says that the gate has no SSH listener; ErrBadKey that a public key
// cannot be certified.
var (
	ErrNoSSH  = errors.New("the gate serves no SSH")
	ErrBadKey = errors.New("the public key cannot be certified")
)

type sshOutput struct{ Body SSHAccess }

func (s *server) sshInfo(ctx context.Context, _ *struct{}) (*sshOutput, error) {
	c, err := asking(ctx)
	if err != nil {
		return nil, err
	}
	a, err := s.SSH("", c.id)
	if err != nil {
		return nil, s.sshFault(ctx, err)
	}
	return &sshOutput{a}, nil
}

type sshCertificateInput struct{ Body SSHCertificateRequest }

func (s *server) sshCertificate(ctx context.Context, in *sshCertificateInput) (*sshOutput, error) {
	c, err := asking(ctx)
	if err != nil {
		return nil, err
	}
	// A token of an identity provider is not kept here, so nothing could rest on it.
	if own := strings.HasPrefix(c.id.Credential, "person_") || strings.HasPrefix(c.id.Credential, "agent_"); !own || c.cookie {
		return nil, problem(http.StatusForbidden, "a certificate rests on a credential of doorward's own", "Sign in with `doorward login`, and ask with that token.")
	}
	a, err := s.SSH(in.Body.PublicKey, c.id)
	if err != nil {
		return nil, s.sshFault(ctx, err)
	}
	return &sshOutput{a}, nil
}

func (s *server) sshFault(ctx context.Context, err error) error {
	switch {
	case errors.Is(err, ErrNoSSH):
		return problem(http.StatusNotFound, "the gate serves no SSH", "Its configuration has no SSH target, or no listen.ssh.")
	case errors.Is(err, ErrBadKey):
		return problem(http.StatusBadRequest, err.Error(), "Send an Ed25519 or ECDSA public key, as ssh-keygen -t ed25519 makes it.")
	}
	return s.fault(ctx, "the certificate could not be signed", err)
}
