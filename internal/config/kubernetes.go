package config

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
)

// KubernetesTarget is the API server of a cluster. Address may be written
// env:NAME: the environment variable's value is taken. Exactly one of Token,
// ClientCert and Exec says how doorward signs in there.
type KubernetesTarget struct {
	Address     string       `yaml:"address"`                // host:port of the API server, which is reached by TLS
	CA          string       `yaml:"ca,omitempty"`           // PEM file; default: the system's
	ServerName  string       `yaml:"server_name,omitempty"`  // that the server's certificate has; default: the address's host
	Token       Secret       `yaml:"token,omitempty"`        // of a service account; a file is read again when it changes
	ClientCert  string       `yaml:"client_cert,omitempty"`  // PEM file
	ClientKey   string       `yaml:"client_key,omitempty"`   // PEM file
	Exec        *Exec        `yaml:"exec,omitempty"`         // a credential plugin that doorward runs
	Impersonate *Impersonate `yaml:"impersonate,omitempty"`  // the cluster sees who asks; its own RBAC decides too
	Groups      []string     `yaml:"groups,omitempty"`       // API groups of custom resources that may be used, as in cert-manager.io
	Secrets     string       `yaml:"secrets,omitempty"`      // masked (default) or shown: the values of Secrets
	MaxRequests int          `yaml:"max_requests,omitempty"` // at once; default 400
}

// Exec is a credential plugin of client-go (client.authentication.k8s.io).
type Exec struct {
	Command    string            `yaml:"command"`
	Args       []string          `yaml:"args,omitempty"`
	Env        map[string]string `yaml:"env,omitempty"`
	APIVersion string            `yaml:"api_version,omitempty"` // default client.authentication.k8s.io/v1
}

// Impersonate says as whom doorward acts on the cluster: the person's name, with
// the person's groups, each with a prefix. Names that begin with "system:" are
// never taken from an identity provider.
type Impersonate struct {
	UserPrefix  string `yaml:"user_prefix,omitempty"`
	GroupPrefix string `yaml:"group_prefix,omitempty"`
}

// Defaults of Kubernetes.
const (
	DefaultKubernetes  = "127.0.0.1:16443"
	DefaultMaxRequests = 400
	maxAPIGroups       = 500
	maxExecArgs        = 100
)

// The values of KubernetesTarget.Secrets.
const (
	SecretsMasked = "masked"
	SecretsShown  = "shown"
)

var apiGroup = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`)

func (k *checker) kubernetesTarget(path string, t *KubernetesTarget) {
	if k.c.unset[path+".address"] == "" {
		if k.required(path+".address", t.Address); t.Address != "" {
			k.address(path+".address", t.Address)
		}
	}
	ways := 0
	for _, has := range []bool{!t.Token.IsZero(), t.ClientCert != "" || t.ClientKey != "", t.Exec != nil} {
		if has {
			ways++
		}
	}
	if ways != 1 {
		k.bad(path, fmt.Sprintf("there are %d ways to sign in; there must be one", ways), "write token: { file: … }, client_cert: and client_key:, or exec: { command: … }")
	}
	k.secret(path+".token", t.Token, false)
	if (t.ClientCert == "") != (t.ClientKey == "") {
		k.bad(path+".client_cert", "a certificate goes with its key", "write client_cert: and client_key:")
	}
	if e := t.Exec; e != nil {
		k.required(path+".exec.command", e.Command)
		if len(e.Args) > maxExecArgs {
			k.bad(path+".exec.args", fmt.Sprintf("%d arguments; the most is %d", len(e.Args), maxExecArgs), "")
		}
		if v := e.APIVersion; v != "" && v != "client.authentication.k8s.io/v1" && v != "client.authentication.k8s.io/v1beta1" {
			k.bad(path+".exec.api_version", fmt.Sprintf("%q is not a version of credential plugins", clip(v, 60)), "write client.authentication.k8s.io/v1")
		}
	}
	if i := t.Impersonate; i != nil {
		for key, v := range map[string]string{"user_prefix": i.UserPrefix, "group_prefix": i.GroupPrefix} {
			if strings.HasPrefix(v, "system:") || strings.ContainsFunc(v, func(r rune) bool { return r <= ' ' || r > '~' }) || len(v) > 63 {
				k.bad(path+".impersonate."+key, fmt.Sprintf("%q cannot stand before a name", clip(v, 60)), "write something like doorward: ; the cluster's own names begin with system:")
			}
		}
	}
	if len(t.Groups) > maxAPIGroups {
		k.bad(path+".groups", fmt.Sprintf("%d groups; the most is %d", len(t.Groups), maxAPIGroups), "")
	}
	for i, g := range t.Groups {
		if len(g) > 253 || !apiGroup.MatchString(g) {
			k.bad(fmt.Sprintf("%s.groups[%d]", path, i), fmt.Sprintf("%q is not an API group", clip(g, 60)), "as in cert-manager.io, without a version")
		}
	}
	if t.Secrets != SecretsMasked && t.Secrets != SecretsShown {
		k.bad(path+".secrets", fmt.Sprintf("%q is not known", clip(t.Secrets, 60)), "write masked or shown")
	}
	if t.MaxRequests < 1 || t.MaxRequests > 100_000 {
		k.bad(path+".max_requests", "out of range", "write a number from 1 to 100000")
	}
}

func (c *Config) fillKubernetes(name string, t *KubernetesTarget) *KubernetesTarget {
	p := *t
	or(&p.MaxRequests, DefaultMaxRequests)
	or(&p.Secrets, SecretsMasked)
	var missing string
	if p.Address, missing = fromEnv(p.Address); missing != "" {
		c.unset["targets."+name+".kubernetes.address"] = missing
	}
	return &p
}

// readable says what is wrong with the files that the target names, by key.
func (t *KubernetesTarget) readable() map[string]error {
	out := map[string]error{}
	if t.CA != "" {
		pem, err := os.ReadFile(t.CA)
		if err == nil && !x509.NewCertPool().AppendCertsFromPEM(pem) {
			err = errors.New("there is no certificate in " + t.CA)
		}
		out["ca"] = err
	}
	if t.ClientCert != "" && t.ClientKey != "" {
		_, err := tls.LoadX509KeyPair(t.ClientCert, t.ClientKey)
		out["client_cert"] = err
	}
	_, err := t.Token.Resolve()
	out["token"] = err
	return out
}
