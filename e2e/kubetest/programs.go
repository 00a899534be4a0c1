package kubetest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// Version of Kubernetes that is tested against. scripts/kubernetes/go.mod says
// the same.
const Version = "1.37.2"

// Versions of kubectl that are there: one that speaks SPDY only, as it was
// common for years, and the one of the cluster, which speaks WebSocket.
var Versions = []string{"1.20", "1.37"}

// Programs is the folder with the programs that scripts/kubernetes.sh makes.
func Programs() (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	return filepath.Join(cache, "doorward-e2e", "kubernetes-"+Version), nil
}

// Program is the path of one of them: etcd, kube-apiserver,
// kube-controller-manager, kubectl-1.20, kubectl-1.37, helm, k9s.
func Program(name string) (string, error) {
	dir, err := Programs()
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, name)
	if _, err := exec.LookPath(path); err != nil {
		return "", fmt.Errorf("no %s found: run scripts/kubernetes.sh, which takes some minutes the first time (%w)", name, err)
	}
	return path, nil
}

// Kubectl is the path of kubectl in one of Versions.
func Kubectl(version string) (string, error) { return Program("kubectl-" + version) }

// Helm is the path of helm.
func Helm() (string, error) { return Program("helm") }

// K9s is the path of k9s.
func K9s() (string, error) { return Program("k9s") }
