package kubetest

import (
	"bytes"
	"context"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	authv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	typed "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
)

// Access is what a client needs to reach an API server, the cluster's own or
// what stands before it. Credentials that are empty are not sent.
type Access struct {
	Server    string // as in https://127.0.0.1:6443
	CA        []byte // PEM
	Namespace string // "": default
	Token     string
	Client    Pair
	Home      string // folder in which clients keep what they learnt of the server; "": a new one for each run
}

// Admin is the access of the cluster's administrator, by token.
func (c *Cluster) Admin() Access { return Access{Server: c.URL, CA: c.CA, Token: c.AdminToken} }

// User is the access of a user with a certificate of the cluster's authority.
// There is no user to be made: the name and the groups are what RBAC sees.
func (c *Cluster) User(name string, groups ...string) (Access, error) {
	p, err := c.authority.issue(pkix.Name{CommonName: name, Organization: groups}, nil)
	return Access{Server: c.URL, CA: c.CA, Client: p}, err
}

// ServiceAccountToken makes a token of a service account that is there. It is
// valid for an hour.
func (c *Cluster) ServiceAccountToken(ctx context.Context, namespace, name string) (string, error) {
	core, err := typed.NewForConfig(c.waiter)
	if err != nil {
		return "", err
	}
	hour := int64(3600)
	r, err := core.ServiceAccounts(namespace).CreateToken(ctx, name, &authv1.TokenRequest{Spec: authv1.TokenRequestSpec{ExpirationSeconds: &hour}}, metav1.CreateOptions{})
	if err != nil {
		return "", err
	}
	return r.Status.Token, nil
}

// Config is an administrator's access for client-go.
func (c *Cluster) Config() *rest.Config { return c.Admin().Config() }

// Config is the access for client-go.
func (a Access) Config() *rest.Config {
	return &rest.Config{Host: a.Server, BearerToken: a.Token, TLSClientConfig: rest.TLSClientConfig{CAData: a.CA, CertData: a.Client.Cert, KeyData: a.Client.Key}, QPS: 500, Burst: 1000}
}

// Kubeconfig writes the access to a file that kubectl and helm take.
func (a Access) Kubeconfig(path string) error {
	type m = map[string]any
	user := m{}
	if a.Token != "" {
		user["token"] = a.Token
	}
	if len(a.Client.Cert) > 0 {
		user["client-certificate-data"], user["client-key-data"] = a.Client.Cert, a.Client.Key
	}
	namespace := a.Namespace
	if namespace == "" {
		namespace = "default"
	}
	b, err := json.MarshalIndent(m{
		"apiVersion": "v1", "kind": "Config", "current-context": "it",
		"clusters": []m{{"name": "it", "cluster": m{"server": a.Server, "certificate-authority-data": a.CA}}},
		"users":    []m{{"name": "it", "user": user}},
		"contexts": []m{{"name": "it", "context": m{"cluster": "it", "user": "it", "namespace": namespace}}},
	}, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, b, 0o600)
}

// Command prepares a run of kubectl or helm with a kubeconfig file, and with
// nothing of the user's own settings. What the program caches is below home.
func Command(ctx context.Context, program, kubeconfig, home string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + home, "KUBECONFIG=" + kubeconfig, "TMPDIR=" + os.TempDir(), "TERM=xterm", "EDITOR=false", "PAGER=cat"}
	if driver := os.Getenv("HELM_DRIVER"); driver != "" { // where helm keeps its releases
		cmd.Env = append(cmd.Env, "HELM_DRIVER="+driver)
	}
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

// Result of a run of a program.
type Result struct {
	Stdout, Stderr string
	Status         int
}

// Kubectl runs kubectl in one of Versions as a, with in as its input where it
// is not nil. A status that is not zero is no error.
func (a Access) Kubectl(ctx context.Context, version string, in io.Reader, args ...string) (Result, error) {
	program, err := Kubectl(version)
	if err != nil {
		return Result{}, err
	}
	return a.run(ctx, program, in, args...)
}

// Helm runs helm as a.
func (a Access) Helm(ctx context.Context, args ...string) (Result, error) {
	program, err := Helm()
	if err != nil {
		return Result{}, err
	}
	return a.run(ctx, program, nil, args...)
}

func (a Access) run(ctx context.Context, program string, in io.Reader, args ...string) (Result, error) {
	dir, err := os.MkdirTemp("", "doorward-kubectl-")
	if err != nil {
		return Result{}, err
	}
	defer os.RemoveAll(dir)
	config, home := filepath.Join(dir, "config"), a.Home
	if home == "" {
		home = dir
	}
	if err := a.Kubeconfig(config); err != nil {
		return Result{}, err
	}
	cmd := Command(ctx, program, config, home, args...)
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = in, &out, &errs
	err = cmd.Run()
	r := Result{Stdout: out.String(), Stderr: errs.String(), Status: cmd.ProcessState.ExitCode()}
	var exit *exec.ExitError
	if errors.As(err, &exit) && ctx.Err() == nil {
		err = nil
	}
	if err != nil {
		err = fmt.Errorf("%s: %w: %s", filepath.Base(program), err, r.Stderr)
	}
	return r, err
}
