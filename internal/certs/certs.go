package certs

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// Files of the self-made authority, in the state directory.
const (
	caCert = "ca.pem"
	caKey  = "ca.key"
)

// Configured loads the operator's certificate. The returned PEM is what clients
// need to trust it when they do not already. When the files are exchanged
// (certificates are renewed every few weeks), new connections get the new one;
// while what is there cannot be used, they get the one before.
func Configured(cert, key string) (*tls.Config, []byte, error) {
	c := configured(cert, key, time.Now)
	var err error
	if c.pair, err = c.make(); err != nil {
		return nil, nil, fmt.Errorf("tls: the certificate %s with key %s cannot be used: %w", cert, key, err)
	}
	pemBytes, err := os.ReadFile(cert)
	if err != nil {
		return nil, nil, err
	}
	return server(c), pemBytes, nil
}

func configured(cert, key string, now func() time.Time) *current {
	seen := stamps(cert, key)
	return &current{every: lookEvery, now: now,
		make: func() (tls.Certificate, error) { return tls.LoadX509KeyPair(cert, key) },
		stale: func(time.Time) bool {
			before := seen
			seen = stamps(cert, key)
			return seen != before
		}}
}

// stamps tells one state of files from another.
func stamps(paths ...string) (out [2]string) {
	for i, p := range paths {
		if st, err := os.Stat(p); err == nil {
			out[i] = fmt.Sprint(st.ModTime().UnixNano(), st.Size())
		}
	}
	return out
}

// How often a certificate is looked at, and when a self-made one is replaced.
const (
	lookEvery  = 10 * time.Second
	leafLife   = 90 * 24 * time.Hour
	leafRenew  = 30 * 24 * time.Hour // before its end
	retryAfter = time.Minute
)

// current is the certificate in use.
type current struct {
	mu    sync.Mutex
	pair  tls.Certificate
	make  func() (tls.Certificate, error)
	stale func(now time.Time) bool // is it time for another?
	every time.Duration
	next  time.Time // the next look
	retry bool      // the last make failed
	now   func() time.Time
}

// get implements tls.Config.GetCertificate.
func (c *current) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	if !now.Before(c.next) {
		c.next = now.Add(c.every)
		if c.stale(now) || c.retry {
			pair, err := c.make()
			if c.retry = err != nil; c.retry {
				c.next = now.Add(min(c.every, retryAfter))
			} else {
				c.pair = pair
			}
		}
	}
	pair := c.pair
	return &pair, nil
}

func server(c *current) *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: c.get, NextProtos: []string{"postgresql", "h2", "http/1.1"}}
}

// SelfMade gives a certificate for the hosts (names and addresses; loopback is
// always among them), issued by the authority in dir, which is made at first.
// The certificate itself is new at each start and lives for 90 days; a server
// that runs for longer makes the next one in time.
func SelfMade(dir string, hosts []string) (*tls.Config, []byte, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, nil, fmt.Errorf("tls: the state directory cannot be made: %w", err)
	}
	ca, key, err := authority(dir)
	if err != nil {
		return nil, nil, err
	}
	c := selfMade(ca, key, hosts, time.Now)
	if c.pair, err = c.make(); err != nil {
		return nil, nil, err
	}
	return server(c), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.Raw}), nil
}

func selfMade(ca *x509.Certificate, key *ecdsa.PrivateKey, hosts []string, now func() time.Time) *current {
	var renew time.Time
	return &current{every: time.Minute, now: now, stale: func(t time.Time) bool { return t.After(renew) }, make: func() (tls.Certificate, error) {
		pair, err := issue(ca, key, hosts, now())
		if err == nil {
			renew = now().Add(leafLife - leafRenew)
		}
		return pair, err
	}}
}

func issue(ca *x509.Certificate, key *ecdsa.PrivateKey, hosts []string, now time.Time) (tls.Certificate, error) {
	leaf, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	t := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: "doorward"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(leafLife),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
	}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			if !ip.IsUnspecified() {
				t.IPAddresses = append(t.IPAddresses, ip)
			}
		} else if h != "" {
			t.DNSNames = append(t.DNSNames, h)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, t, ca, &leaf.PublicKey, key)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.Certificate{Certificate: [][]byte{der, ca.Raw}, PrivateKey: leaf}, nil
}

func serial() *big.Int {
	n, _ := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	return n
}

// authority loads the authority of dir, or makes it.
func authority(dir string) (*x509.Certificate, *ecdsa.PrivateKey, error) {
	certPEM, err := os.ReadFile(filepath.Join(dir, caCert))
	if errors.Is(err, os.ErrNotExist) {
		return makeAuthority(dir)
	}
	if err != nil {
		return nil, nil, err
	}
	keyPEM, err := os.ReadFile(filepath.Join(dir, caKey))
	if st, serr := os.Stat(filepath.Join(dir, caKey)); serr == nil && st.Mode().Perm()&0o077 != 0 {
		return nil, nil, fmt.Errorf("tls: the key of the self-made authority %s can be read by others (mode %04o): chmod 600 it", filepath.Join(dir, caKey), st.Mode().Perm())
	}
	if err != nil {
		return nil, nil, fmt.Errorf("tls: the key of the self-made authority cannot be read: %w", err)
	}
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return nil, nil, fmt.Errorf("tls: the self-made authority in %s is damaged (remove ca.pem and ca.key to make a new one, and hand it to the clients): %w", dir, err)
	}
	cert, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		return nil, nil, err
	}
	if time.Now().After(cert.NotAfter) {
		return nil, nil, fmt.Errorf("tls: the self-made authority in %s expired on %s: remove ca.pem and ca.key to make a new one", dir, cert.NotAfter.Format(time.DateOnly))
	}
	key, ok := pair.PrivateKey.(*ecdsa.PrivateKey)
	if !ok {
		return nil, nil, errors.New("tls: the self-made authority has a key of another kind than doorward makes")
	}
	return cert, key, nil
}

func makeAuthority(dir string) (*x509.Certificate, *ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	host, _ := os.Hostname()
	t := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: "doorward on " + host},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(10 * 365 * 24 * time.Hour),
		KeyUsage: x509.KeyUsageCertSign, IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, &key.PublicKey, key)
	if err != nil {
		return nil, nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, nil, err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, err
	}
	// The key first: a certificate without its key would look whole.
	if err := write(filepath.Join(dir, caKey), "PRIVATE KEY", keyDER, 0o600); err != nil {
		return nil, nil, err
	}
	return cert, key, write(filepath.Join(dir, caCert), "CERTIFICATE", der, 0o644)
}

func write(path, kind string, der []byte, mode os.FileMode) error {
	tmp := path + ".new"
	if err := os.Remove(tmp); err != nil && !errors.Is(err, os.ErrNotExist) { // it may have another mode
		return err
	}
	if err := os.WriteFile(tmp, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), mode); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}
