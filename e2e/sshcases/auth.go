package sshcases

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/doorward/doorward/e2e/harness"
	"github.com/doorward/doorward/e2e/sshtest"
)

// way is one way to try to sign in.
type way struct {
	name string
	auth []ssh.AuthMethod
}

// issued is a real certificate of doorward's for a person, with its key.
type issued struct {
	cert   *ssh.Certificate
	signer ssh.Signer // of the plain key
}

// issue asks doorward for a certificate, as `doorward ssh-cert` does.
func issue(ctx context.Context, c *harness.Client) (*issued, error) {
	_, signer, err := sshtest.NewKey()
	if err != nil {
		return nil, err
	}
	var access struct {
		Certificate string `json:"certificate"`
	}
	if err := c.Do(ctx, http.MethodPost, "/api/v1/ssh/certificate", map[string]any{"public_key": sshtest.Line(signer.PublicKey())}, &access); err != nil {
		return nil, err
	}
	key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(access.Certificate))
	if err != nil {
		return nil, fmt.Errorf("doorward's certificate: %w", err)
	}
	cert, ok := key.(*ssh.Certificate)
	if !ok {
		return nil, errors.New("doorward's certificate is a plain key")
	}
	return &issued{cert, signer}, nil
}

// ways lists the ways in which a step of auth tries to sign in. Every one of
// them has to be judged as the case says.
func (g *gate) ways(ctx context.Context, s *Step) ([]way, error) {
	_, attacker, err := sshtest.NewKey()
	if err != nil {
		return nil, err
	}
	_, other, err := sshtest.NewKey()
	if err != nil {
		return nil, err
	}
	switch s.Auth {
	case "none":
		return []way{{"none", nil}}, nil
	case "password":
		secret := "not-the-password"
		if s.Password != nil {
			secret = *s.Password
		}
		return []way{{"password", []ssh.AuthMethod{ssh.Password(secret)}}}, nil
	case "keyboard-interactive":
		return []way{{"keyboard-interactive", []ssh.AuthMethod{ssh.KeyboardInteractive(func(_, _ string, q []string, _ []bool) ([]string, error) { return make([]string, len(q)), nil })}}}, nil
	case "publickey", "key":
		return []way{{"a key of its own", []ssh.AuthMethod{ssh.PublicKeys(attacker)}}}, nil
	case "sk-key":
		return []way{{"security key", []ssh.AuthMethod{ssh.PublicKeys(newToken(s.UserPresence == nil || *s.UserPresence))}}}, nil
	}
	real, err := issue(ctx, g.agent)
	if err != nil {
		return nil, err
	}
	switch s.Auth {
	case "offer-then-other":
		return offers(real.cert, attacker)
	case "nested-cert":
		return nested(real.cert, attacker)
	case "cert":
		c, err := altered(real.cert, s)
		if err != nil {
			return nil, err
		}
		// Nobody but doorward has its authority's key: an attacker changes a
		// certificate and leaves the signature, or signs it with a key of his own.
		kept := *c
		kept.Signature = real.cert.Signature
		if err := c.SignCert(rand.Reader, other); err != nil {
			return nil, err
		}
		return []way{
			{"by a strange authority", []ssh.AuthMethod{ssh.PublicKeys(&liar{c, real.signer})}},
			{"doorward's own, changed afterwards", []ssh.AuthMethod{ssh.PublicKeys(&liar{&kept, real.signer})}},
		}, nil
	}
	return nil, fmt.Errorf("auth %q is not known", s.Auth)
}

// altered is a certificate as the step wants it, not yet signed.
func altered(from *ssh.Certificate, s *Step) (*ssh.Certificate, error) {
	c := *from
	c.Signature = nil
	c.CriticalOptions = s.Critical
	if s.Extensions != nil {
		c.Extensions = s.Extensions
	}
	if s.Principals != nil {
		c.ValidPrincipals = s.Principals
	}
	switch s.CertType {
	case "":
	case "host":
		c.CertType = ssh.HostCert
	default:
		return nil, fmt.Errorf("cert_type %q is not known", s.CertType)
	}
	for _, at := range []struct {
		text string
		to   *uint64
	}{{s.ValidBefore, &c.ValidBefore}, {s.ValidAfter, &c.ValidAfter}} {
		if at.text == "" {
			continue
		}
		d, err := time.ParseDuration(at.text)
		if err != nil {
			return nil, err
		}
		*at.to = uint64(time.Now().Add(d).Unix())
	}
	if c.ValidAfter >= c.ValidBefore {
		c.ValidAfter = c.ValidBefore - 3600
	}
	return &c, nil
}

// offers are the ways to offer somebody's certificate and then sign with
// another key.
func offers(theirs *ssh.Certificate, attacker ssh.Signer) ([]way, error) {
	forged := *theirs
	forged.Key = attacker.PublicKey()
	forged.Signature = nil
	if err := forged.SignCert(rand.Reader, attacker); err != nil {
		return nil, err
	}
	mine, err := ssh.NewCertSigner(&forged, attacker)
	if err != nil {
		return nil, err
	}
	return []way{
		// The certificate is asked about, and accepted; the signature is another's.
		{"the certificate offered, another key signs for it", []ssh.AuthMethod{ssh.PublicKeys(&liar{theirs, attacker})}},
		{"the certificate offered, then a certificate of its own", []ssh.AuthMethod{ssh.PublicKeys(&liar{theirs, attacker}, mine)}},
		{"the certificate offered, then a key of its own", []ssh.AuthMethod{ssh.PublicKeys(&liar{theirs, attacker}, attacker)}},
		{"the certificate offered and at once another signed", []ssh.AuthMethod{ssh.PublicKeys(&liar{&changing{theirs, &forged, 2}, attacker})}},
		{"the plain key of the certificate offered, then its own", []ssh.AuthMethod{ssh.PublicKeys(&liar{theirs.Key, attacker}, attacker)}},
		{"another's certificate with its own key in it", []ssh.AuthMethod{ssh.PublicKeys(mine)}},
	}, nil
}

// liar is a signer that shows one key and signs with another.
type liar struct {
	shows ssh.PublicKey
	signs ssh.Signer
}

// PublicKey implements ssh.Signer.
func (l *liar) PublicKey() ssh.PublicKey { return l.shows }

// Sign implements ssh.Signer.
func (l *liar) Sign(r io.Reader, data []byte) (*ssh.Signature, error) { return l.signs.Sign(r, data) }

// changing is a public key that turns into another once it was written some
// times: as it is asked about and as the answer is compared, it is the first.
type changing struct {
	ssh.PublicKey
	then ssh.PublicKey
	left int
}

// Marshal implements ssh.PublicKey.
func (c *changing) Marshal() []byte {
	if c.left--; c.left >= 0 {
		return c.PublicKey.Marshal()
	}
	return c.then.Marshal()
}

// nested are certificates whose authority is itself a certificate
// (CVE-2025-49825): the inner one says that it is of doorward's authority.
func nested(theirs *ssh.Certificate, attacker ssh.Signer) ([]way, error) {
	var out []way
	for name, key := range map[string]ssh.PublicKey{"the authority's own key inside": theirs.SignatureKey, "its own key inside": attacker.PublicKey()} {
		inner := &ssh.Certificate{
			Key: key, CertType: ssh.UserCert, KeyId: "authority", ValidPrincipals: theirs.ValidPrincipals, ValidBefore: ssh.CertTimeInfinity,
			Nonce: make([]byte, 32), SignatureKey: theirs.SignatureKey, Signature: theirs.Signature,
		}
		outer := *theirs
		outer.Key, outer.Nonce = attacker.PublicKey(), make([]byte, 32)
		outer.SignatureKey = inner
		blank := outer
		blank.Signature = nil
		body := blank.Marshal()
		var err error
		// What is signed is all but the signature, which is an empty string here.
		if outer.Signature, err = attacker.Sign(rand.Reader, body[:len(body)-4]); err != nil {
			return nil, err
		}
		out = append(out, way{name, []ssh.AuthMethod{ssh.PublicKeys(&liar{&outer, attacker})}})
	}
	return out, nil
}

// token is a security key made of software (OpenSSH PROTOCOL.u2f).
type token struct {
	private  ed25519.PrivateKey
	public   ssh.PublicKey
	presence bool
}

const tokenFormat = "sk-ssh-ed25519@openssh.com"

func newToken(presence bool) *token {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		panic(err) // the system's source of randomness does not fail
	}
	key, err := ssh.ParsePublicKey(ssh.Marshal(struct {
		Format      string
		Key         []byte
		Application string
	}{tokenFormat, public, "ssh:"}))
	if err != nil {
		panic(err)
	}
	return &token{private, key, presence}
}

// PublicKey implements ssh.Signer.
func (t *token) PublicKey() ssh.PublicKey { return t.public }

// Sign implements ssh.Signer.
func (t *token) Sign(_ io.Reader, data []byte) (*ssh.Signature, error) {
	flags := byte(0)
	if t.presence {
		flags = 1
	}
	app, message := sha256.Sum256([]byte("ssh:")), sha256.Sum256(data)
	counter := binary.BigEndian.AppendUint32(nil, 7)
	blob := append(append(append(app[:], flags), counter...), message[:]...)
	return &ssh.Signature{Format: tokenFormat, Blob: ed25519.Sign(t.private, blob), Rest: append([]byte{flags}, counter...)}, nil
}
