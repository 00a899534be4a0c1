package config

import (
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base64"
	"fmt"
	"os"
	"strings"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// SSHTarget is a host that is reached by SSH. Address and User may be written
// env:NAME: the environment variable's value is taken. Exactly one of Key,
// Password and CA says how doorward signs in there.
type SSHTarget struct {
	Address        string   `yaml:"address"`                   // host:port
	User           string   `yaml:"user"`                      // account when the client names none
	Users          []string `yaml:"users,omitempty"`           // further accounts that a client may name, as in root@orders-host
	Key            Secret   `yaml:"key,omitempty"`             // a private key, as PEM
	Password       Secret   `yaml:"password,omitempty"`        //
	CA             bool     `yaml:"ca,omitempty"`              // doorward signs a certificate for each session; the host trusts `doorward ssh-ca`
	HostKeys       []string `yaml:"host_keys,omitempty"`       // the host's keys, as in "ssh-ed25519 AAAA…"
	KnownHosts     string   `yaml:"known_hosts,omitempty"`     // or a file of them
	Env            []string `yaml:"env,omitempty"`             // variables that clients may set; default LANG, LC_*
	MaxConnections int      `yaml:"max_connections,omitempty"` // default 100
}

// Defaults of SSH.
const (
	DefaultSSH     = "127.0.0.1:12222"
	maxSSHAccounts = 100
)

// Accounts are all accounts that a client may name.
func (t *SSHTarget) Accounts() []string { return append([]string{t.User}, t.Users...) }

// PinnedKeys reads the host's keys: from the configuration, or those that the
// known_hosts file has for the address.
func (t *SSHTarget) PinnedKeys() ([]ssh.PublicKey, error) {
	var out []ssh.PublicKey
	for _, line := range t.HostKeys {
		key, _, options, rest, err := ssh.ParseAuthorizedKey([]byte(line))
		if err != nil || len(options) > 0 || len(strings.TrimSpace(string(rest))) > 0 {
			return nil, fmt.Errorf("%q is not a host key", clip(line, 60))
		}
		out = append(out, key)
	}
	if t.KnownHosts == "" {
		return out, nil
	}
	data, err := os.ReadFile(t.KnownHosts)
	if err != nil {
		return nil, err
	}
	for rest := data; len(rest) > 0; {
		marker, hosts, key, _, after, err := ssh.ParseKnownHosts(rest)
		if err != nil {
			break // io.EOF, or a line that is none: what counts is whether a key is found
		}
		rest = after
		if marker != "" {
			continue
		}
		for _, h := range hosts {
			if h == knownhosts.Normalize(t.Address) || hashed(h, t.Address) {
				out = append(out, key)
				break
			}
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%s has no key for %s", t.KnownHosts, t.Address)
	}
	return out, nil
}

func hashed(pattern, address string) bool {
	if !strings.HasPrefix(pattern, "|1|") {
		return false
	}
	parts := strings.Split(pattern, "|")
	if len(parts) != 4 {
		return false
	}
	return matchHash(parts[2], parts[3], knownhosts.Normalize(address))
}

// matchHash compares a host with a hashed entry of a known_hosts file: base64 of
// a salt, and of the HMAC-SHA1 of the host under it (OpenSSH HashKnownHosts).
func matchHash(salt, sum, host string) bool {
	key, err1 := base64.StdEncoding.DecodeString(salt)
	want, err2 := base64.StdEncoding.DecodeString(sum)
	if err1 != nil || err2 != nil {
		return false
	}
	mac := hmac.New(sha1.New, key)
	mac.Write([]byte(host))
	return hmac.Equal(mac.Sum(nil), want)
}

func (k *checker) sshTarget(path string, t *SSHTarget) {
	for key, value := range map[string]string{"address": t.Address, "user": t.User} {
		if k.c.unset[path+"."+key] != "" {
			continue
		}
		if k.required(path+"."+key, value); key == "address" && value != "" {
			k.address(path+".address", value)
		}
	}
	if len(t.Users) > maxSSHAccounts {
		k.bad(path+".users", fmt.Sprintf("%d accounts; the most is %d", len(t.Users), maxSSHAccounts), "")
	}
	for i, u := range t.Users {
		if !plainName(u) {
			k.bad(fmt.Sprintf("%s.users[%d]", path, i), fmt.Sprintf("%q is not an account", clip(u, 60)), "letters, digits, -, _ and . only")
		}
	}
	if k.c.unset[path+".user"] == "" && t.User != "" && !plainName(t.User) {
		k.bad(path+".user", fmt.Sprintf("%q is not an account", clip(t.User, 60)), "letters, digits, -, _ and . only")
	}
	ways := 0
	for _, has := range []bool{!t.Key.IsZero(), !t.Password.IsZero(), t.CA} {
		if has {
			ways++
		}
	}
	if ways != 1 {
		k.bad(path, fmt.Sprintf("there are %d ways to sign in; there must be one", ways), "write key: { file: … }, password: { env: … } or ca: true")
	}
	k.secret(path+".key", t.Key, false)
	k.secret(path+".password", t.Password, false)
	switch {
	case len(t.HostKeys) == 0 && t.KnownHosts == "":
		k.bad(path+".host_keys", "the host's key is not pinned", "write host_keys: [\"ssh-ed25519 AAAA…\"] (`ssh-keyscan HOST`, compared with /etc/ssh/ssh_host_ed25519_key.pub there), or known_hosts: FILE")
	case len(t.HostKeys) > 0 && t.KnownHosts != "":
		k.bad(path+".known_hosts", "the host's keys stand in host_keys already", "write one of them")
	}
	for i, line := range t.HostKeys {
		if _, err := (&SSHTarget{HostKeys: []string{line}}).PinnedKeys(); err != nil {
			k.bad(fmt.Sprintf("%s.host_keys[%d]", path, i), err.Error(), "as in \"ssh-ed25519 AAAA…\", without a host name")
		}
	}
	for i, e := range t.Env {
		name := strings.TrimSuffix(e, "*")
		if name == "" || !plainName(name) {
			k.bad(fmt.Sprintf("%s.env[%d]", path, i), fmt.Sprintf("%q is not a variable", clip(e, 60)), "a name, or the beginning of one and a star, as in LC_*")
			continue
		}
		if Dangerous(e) {
			k.bad(fmt.Sprintf("%s.env[%d]", path, i), fmt.Sprintf("with %s a client could run anything", clip(e, 60)), "remove it")
		}
	}
	if t.MaxConnections < 1 || t.MaxConnections > 100_000 {
		k.bad(path+".max_connections", "out of range", "write a number from 1 to 100000")
	}
}

// dangerous are variables, or beginnings of them, that make programs run or
// load something else than what was asked for.
var dangerous = []string{"BASH", "ENV", "LD_", "DYLD_", "PATH", "IFS", "PS4", "PROMPT_COMMAND", "SHELL", "GIT_", "PAGER", "MANPAGER", "LESS", "EDITOR", "VISUAL", "SYSTEMD_", "PERL", "PYTHON", "RUBY", "NODE_", "JAVA_", "_JAVA", "CLASSPATH", "GCONV_", "HOME", "TMPDIR", "SSH_", "KRB5", "MALLOC_", "GLIBC_", "LOCPATH", "NLSPATH", "TERMINFO", "TERMCAP", "RSYNC_", "KUBE", "HISTFILE", "INPUTRC", "ZDOTDIR", "FPATH", "CDPATH", "LANGUAGE_PATH"}

// Dangerous reports whether a variable, or pattern, can change what runs.
func Dangerous(name string) bool {
	base := strings.TrimSuffix(name, "*")
	for _, d := range dangerous {
		if strings.HasPrefix(base, d) || (base != name && strings.HasPrefix(d, base)) {
			return true
		}
	}
	return false
}

func (c *Config) fillSSH(name string, t *SSHTarget) *SSHTarget {
	p := *t
	or(&p.MaxConnections, DefaultMaxConnections)
	if p.Env == nil {
		p.Env = []string{"LANG", "LC_*"}
	}
	for key, value := range map[string]*string{"address": &p.Address, "user": &p.User} {
		var missing string
		if *value, missing = fromEnv(*value); missing != "" {
			c.unset["targets."+name+".ssh."+key] = missing
		}
	}
	return &p
}
