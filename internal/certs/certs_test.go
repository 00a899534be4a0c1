package certs

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestSelfMadeIsTrustedByItsOwnAuthority(t *testing.T) {
	dir := t.TempDir()
	cfg, ca, err := SelfMade(dir, []string{"gate.example", "127.0.0.2"})
	if err != nil {
		t.Fatal(err)
	}
	_, again, err := SelfMade(dir, nil)
	if err != nil || string(again) != string(ca) {
		t.Fatalf("the authority changed at the second start: %v", err)
	}
	if st, _ := os.Stat(filepath.Join(dir, caKey)); st.Mode().Perm() != 0o600 {
		t.Fatalf("the key's mode is %v", st.Mode())
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	for _, name := range []string{"gate.example", "127.0.0.2", "localhost"} {
		a, b := net.Pipe()
		go tls.Server(a, cfg).Handshake()
		if err := tls.Client(b, &tls.Config{RootCAs: roots, ServerName: name}).Handshake(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	a, b := net.Pipe()
	go tls.Server(a, cfg).Handshake()
	if err := tls.Client(b, &tls.Config{RootCAs: roots, ServerName: "other.example"}).Handshake(); err == nil {
		t.Error("a foreign name was trusted")
	}
}

func TestDamagedAuthorityIsRefused(t *testing.T) {
	dir := t.TempDir()
	if _, _, err := SelfMade(dir, nil); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, caKey), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := SelfMade(dir, nil); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Fatalf("got %v", err)
	}
}

// leafOf is the certificate that a client would be shown.
func leafOf(t *testing.T, c *tls.Config) *x509.Certificate {
	t.Helper()
	pair, err := c.GetCertificate(nil)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func TestServerThatRunsForLongKeepsAGoodCertificate(t *testing.T) {
	dir := t.TempDir()
	ca, key, err := authority(dir)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	c := selfMade(ca, key, nil, func() time.Time { return now })
	if c.pair, err = c.make(); err != nil {
		t.Fatal(err)
	}
	cfg := server(c)
	first := leafOf(t, cfg)
	now = now.Add(time.Hour)
	if !leafOf(t, cfg).Equal(first) {
		t.Error("another certificate after an hour")
	}
	for range 20 {
		now = now.Add(29 * 24 * time.Hour)
		if cert := leafOf(t, cfg); now.After(cert.NotAfter) || now.Before(cert.NotBefore) {
			t.Fatalf("at %s the certificate is good from %s until %s", now, cert.NotBefore, cert.NotAfter)
		}
	}
}

func TestRenewedCertificateIsTaken(t *testing.T) {
	dir := t.TempDir()
	ca, key, err := authority(dir)
	if err != nil {
		t.Fatal(err)
	}
	cert, pkey := filepath.Join(dir, "tls.pem"), filepath.Join(dir, "tls.key")
	put := func(host string, at time.Time) {
		t.Helper()
		pair, err := issue(ca, key, []string{host}, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		der, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
		if err != nil {
			t.Fatal(err)
		}
		for path, b := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: pair.Certificate[0]}, pkey: {Type: "PRIVATE KEY", Bytes: der}} {
			if err := os.WriteFile(path, pem.EncodeToMemory(b), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chtimes(path, at, at); err != nil {
				t.Fatal(err)
			}
		}
	}
	put("one.example", time.Now().Add(-time.Hour))
	now := time.Now()
	c := configured(cert, pkey, func() time.Time { return now })
	if c.pair, err = c.make(); err != nil {
		t.Fatal(err)
	}
	cfg := server(c)
	first := leafOf(t, cfg)
	put("two.example", time.Now())
	now = now.Add(time.Minute) // the next look is due
	second := leafOf(t, cfg)
	if second.Equal(first) || second.VerifyHostname("two.example") != nil {
		t.Fatal("the new certificate is not taken")
	}
	if err := os.WriteFile(pkey, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	now = now.Add(time.Minute) // the next look is due
	if !leafOf(t, cfg).Equal(second) {
		t.Error("a half-written key takes the certificate away")
	}
	put("three.example", time.Now().Add(time.Second))
	now = now.Add(time.Minute) // the next look is due
	if leafOf(t, cfg).VerifyHostname("three.example") != nil {
		t.Error("it does not look again after a failure")
	}
}
