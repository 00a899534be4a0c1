package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const testHostKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIExRulDvSg8bkfT3tO0cjB6HGBOfXJRlKsXRzQ8fWQ1a"

// TestSSHTargets names each mistake in an SSH target, with its place.
func TestSSHTargets(t *testing.T) {
	good := map[string]string{"address": `"h:22"`, "user": "deploy", "password": "{ env: X }", "host_keys": `["` + testHostKey + `"]`}
	for name, c := range map[string]struct{ key, value, want string }{
		"good":               {},
		"no address":         {"address", "", "address"},
		"not an address":     {"address", `"h"`, "address"},
		"no user":            {"user", "", "user"},
		"odd user":           {"user", `"a b"`, "is not an account"},
		"odd account":        {"users", `["-oProxyCommand=x y"]`, "is not an account"},
		"no key":             {"host_keys", "", "not pinned"},
		"not a key":          {"host_keys", `["AAAA"]`, "is not a host key"},
		"a key with a host":  {"host_keys", `["h ` + testHostKey + `"]`, "is not a host key"},
		"two ways":           {"ca", "true", "2 ways to sign in"},
		"no way":             {"password", "", "0 ways to sign in"},
		"both kinds of keys": {"known_hosts", "/x", "one of them"},
		"dangerous variable": {"env", "[LD_PRELOAD]", "could run anything"},
		"dangerous pattern":  {"env", `["L*"]`, "could run anything"},
		"every variable":     {"env", `["*"]`, "is not a variable"},
		"unknown field":      {"hostkeys", "[x]", "host_keys"},
	} {
		var b strings.Builder
		b.WriteString("targets:\n  host:\n    ssh:\n")
		fields := map[string]string{}
		for k, v := range good {
			fields[k] = v
		}
		if c.key != "" {
			fields[c.key] = c.value
		}
		for k, v := range fields {
			if v != "" {
				b.WriteString("      " + k + ": " + v + "\n")
			}
		}
		_, err := Parse("doorward.yaml", []byte(b.String()))
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: want %q, got %v", name, c.want, err)
		}
	}
	_, err := Parse("doorward.yaml", []byte("targets: { h: { ssh: { address: 'h:22', user: u, ca: true, host_keys: ['"+testHostKey+"'] }, postgres: { address: 'h:1', database: d, user: u } } }"))
	if err == nil || !strings.Contains(err.Error(), "more than one protocol") {
		t.Errorf("two protocols: %v", err)
	}
}

// TestKnownHosts finds a host's keys by its plain and by its hashed name.
func TestKnownHosts(t *testing.T) {
	file := filepath.Join(t.TempDir(), "known_hosts")
	// ssh-keygen -H of "[10.0.0.5]:2222"
	lines := "# a comment\nother " + testHostKey + "\n[10.0.0.5]:2222 " + testHostKey + "\n@revoked bad " + testHostKey + "\n"
	if err := os.WriteFile(file, []byte(lines), 0o600); err != nil {
		t.Fatal(err)
	}
	for addr, found := range map[string]bool{"10.0.0.5:2222": true, "other:22": true, "10.0.0.5:22": false, "bad:22": false} {
		keys, err := (&SSHTarget{Address: addr, KnownHosts: file}).PinnedKeys()
		if found != (err == nil && len(keys) == 1) {
			t.Errorf("%s: %d keys, %v", addr, len(keys), err)
		}
	}
	if !matchHash("F1E1KeoE/eEWhi10WpGv4OdiO6Y=", "3988QV0VE8wmZL7suNrYQLITLCg=", "192.168.1.61") {
		t.Error("the example of sshd(8) does not match")
	}
	if matchHash("F1E1KeoE/eEWhi10WpGv4OdiO6Y=", "3988QV0VE8wmZL7suNrYQLITLCg=", "192.168.1.62") {
		t.Error("another host matches")
	}
}
