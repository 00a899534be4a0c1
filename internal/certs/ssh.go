package certs

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"golang.org/x/crypto/ssh"
)

// SSHKeys are doorward's own keys for SSH. Each is good for one thing, so that
// what one signs is nothing for the others.
type SSHKeys struct {
	Host    ssh.Signer // shown to clients
	Clients ssh.Signer // signs the certificates that clients sign in with
	Hosts   ssh.Signer // signs those that doorward signs in to hosts with, where a target says ca: true
}

// LoadSSH makes the keys out of three secrets of 32 bytes that key gives by
// name, made by it on first use.
func LoadSSH(key func(name string) ([]byte, error)) (*SSHKeys, error) {
	out := &SSHKeys{}
	for name, to := range map[string]*ssh.Signer{"ssh-host": &out.Host, "ssh-clients": &out.Clients, "ssh-hosts": &out.Hosts} {
		seed, err := key(name)
		if err != nil {
			return nil, err
		}
		if len(seed) != ed25519.SeedSize {
			return nil, fmt.Errorf("the key %s has %d bytes instead of %d", name, len(seed), ed25519.SeedSize)
		}
		if *to, err = ssh.NewSignerFromKey(ed25519.NewKeyFromSeed(seed)); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// NewSSHSeed makes the secret behind a key.
func NewSSHSeed() ([]byte, error) {
	seed := make([]byte, ed25519.SeedSize)
	_, err := rand.Read(seed)
	return seed, err
}

// clockSkew is how far a host's or a client's clock may be off.
const clockSkew = time.Minute

// sign fills in and signs a user certificate (OpenSSH PROTOCOL.certkeys).
func sign(by ssh.Signer, key ssh.PublicKey, id, principal string, until time.Time, extensions map[string]string) (*ssh.Certificate, error) {
	var serial [8]byte
	if _, err := rand.Read(serial[:]); err != nil {
		return nil, err
	}
	cert := &ssh.Certificate{
		Key: key, Serial: binary.BigEndian.Uint64(serial[:]), CertType: ssh.UserCert, KeyId: id, ValidPrincipals: []string{principal},
		ValidAfter: uint64(time.Now().Add(-clockSkew).Unix()), ValidBefore: uint64(until.Unix()),
		Permissions: ssh.Permissions{Extensions: extensions},
	}
	return cert, cert.SignCert(rand.Reader, by)
}

// ErrClientKey says that a client's public key cannot be certified.
var ErrClientKey = errors.New("not a public key that can be certified")

// ForClient certifies a client's public key, in the form of authorized_keys,
// and gives the certificate in the same form. Only Ed25519 and ECDSA keys that
// lie in a file are taken: those of tokens need checks that doorward does not
// make.
func (k *SSHKeys) ForClient(publicKey, id, principal, extension, credential string, until time.Time) (string, error) {
	key, _, options, rest, err := ssh.ParseAuthorizedKey([]byte(publicKey))
	if err != nil || len(options) > 0 || len(rest) > 0 {
		return "", ErrClientKey
	}
	switch key.Type() {
	case ssh.KeyAlgoED25519, ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521:
	default:
		return "", fmt.Errorf("%w: a key of type %.40q", ErrClientKey, key.Type())
	}
	cert, err := sign(k.Clients, key, id, principal, until, map[string]string{extension: credential})
	if err != nil {
		return "", err
	}
	return string(ssh.MarshalAuthorizedKey(cert)), nil
}

// ForHost makes a key for one connection to a host and certifies it for one of
// its accounts.
func (k *SSHKeys) ForHost(account, id string) (ssh.Signer, error) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		return nil, err
	}
	cert, err := sign(k.Hosts, signer.PublicKey(), id, account, time.Now().Add(5*time.Minute), map[string]string{"permit-pty": "", "permit-port-forwarding": ""})
	if err != nil {
		return nil, err
	}
	return ssh.NewCertSigner(cert, signer)
}
