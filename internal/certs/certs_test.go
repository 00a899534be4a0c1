package certs

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
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
