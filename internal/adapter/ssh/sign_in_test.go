package ssh

import (
	"crypto/ed25519"
	"crypto/rand"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

func newSigner(t *testing.T) ssh.Signer {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s, err := ssh.NewSignerFromKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestCertified has doorward's own authority sign what it never would, so that
// each check is seen to hold by itself.
func TestCertified(t *testing.T) {
	authority, other := newSigner(t), newSigner(t)
	srv := New(Options{Authority: authority.PublicKey()})
	now := time.Now()
	good := func() *ssh.Certificate {
		return &ssh.Certificate{Key: newSigner(t).PublicKey(), CertType: ssh.UserCert, ValidPrincipals: []string{Principal},
			ValidAfter: uint64(now.Add(-time.Minute).Unix()), ValidBefore: uint64(now.Add(time.Minute).Unix()),
			Permissions: ssh.Permissions{Extensions: map[string]string{CredentialExtension: "person_1"}}}
	}
	sign := func(c *ssh.Certificate, by ssh.Signer) *ssh.Certificate {
		if err := c.SignCert(rand.Reader, by); err != nil {
			t.Fatal(err)
		}
		return c
	}
	id, err := srv.certified(sign(good(), authority))
	if err != nil || id != "person_1" {
		t.Fatalf("a good certificate: %q, %v", id, err)
	}
	for name, c := range map[string]struct {
		change func(*ssh.Certificate)
		by     ssh.Signer
		want   string
	}{
		"of another authority":  {nil, other, "not of doorward's authority"},
		"expired":               {func(c *ssh.Certificate) { c.ValidBefore = uint64(now.Add(-time.Second).Unix()) }, authority, "not good"},
		"not yet good":          {func(c *ssh.Certificate) { c.ValidAfter = uint64(now.Add(time.Hour).Unix()) }, authority, "not good"},
		"of a host":             {func(c *ssh.Certificate) { c.CertType = ssh.HostCert }, authority, "not of doorward's authority"},
		"for somebody else":     {func(c *ssh.Certificate) { c.ValidPrincipals = []string{"root"} }, authority, "something else"},
		"for nobody":            {func(c *ssh.Certificate) { c.ValidPrincipals = nil }, authority, "something else"},
		"with a forced command": {func(c *ssh.Certificate) { c.CriticalOptions = map[string]string{"force-command": "uptime"} }, authority, "options"},
		"without a credential":  {func(c *ssh.Certificate) { c.Extensions = nil }, authority, "names no credential"},
	} {
		cert := good()
		if c.change != nil {
			c.change(cert)
		}
		if _, err := srv.certified(sign(cert, c.by)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("a certificate %s: %v", name, err)
		}
	}
	changed := sign(good(), authority)
	changed.Extensions[CredentialExtension] = "person_2"
	if _, err := srv.certified(changed); err == nil {
		t.Error("a certificate that was changed after it was signed is taken")
	}
	if _, err := srv.certified(authority.PublicKey()); err == nil {
		t.Error("a plain key is taken")
	}
	nested := sign(good(), authority)
	if _, err := srv.certified(&ssh.Certificate{Key: nested.Key, SignatureKey: nested, CertType: ssh.UserCert}); err == nil {
		t.Error("a certificate signed by a certificate is taken")
	}
}
