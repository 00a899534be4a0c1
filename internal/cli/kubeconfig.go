package cli

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/doorward/doorward/internal/api"
)

// KubeconfigCmd writes a configuration for kubectl.
type KubeconfigCmd struct {
	Target []string `arg:"" optional:"" help:"Clusters; default: all that you reach."`
	Out    string   `help:"Write it to this file instead of standard output." type:"path"`
	JSONFlag
}

// Help is shown by --help.
func (*KubeconfigCmd) Help() string {
	return `Writes a configuration for kubectl, helm, k9s and other clients of clusters. It
holds no credential: clients ask ` + "`doorward kube-credential`" + ` for yours when they
connect.

Example:
  doorward kubeconfig > ~/.kube/doorward
  KUBECONFIG=~/.kube/doorward kubectl --context orders-cluster get pods`
}

// Run writes it.
func (k *KubeconfigCmd) Run(env *Env) error {
	ctx, stop := interruptible()
	defer stop()
	c, err := signedIn()
	if err != nil {
		return err
	}
	clusters, err := targetsOf(ctx, c, "kubernetes")
	if err != nil {
		return err
	}
	for _, want := range k.Target {
		if !slices.ContainsFunc(clusters, func(t api.TargetInfo) bool { return t.Name == want }) {
			return exitf(CodeError, "no cluster %q is open to you; `doorward targets` lists what is", cleanLine(want))
		}
	}
	if len(k.Target) > 0 {
		clusters = slices.DeleteFunc(clusters, func(t api.TargetInfo) bool { return !slices.Contains(k.Target, t.Name) })
	}
	if len(clusters) == 0 {
		return exitf(CodeError, "no cluster is open to you; `doorward targets` lists what is")
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	text, err := kubeconfig(clusters, pluginUser(self))
	if err != nil {
		return err
	}
	if k.Out != "" {
		if err := writePrivate(k.Out, text); err != nil {
			return err
		}
	}
	switch {
	case k.JSON:
		var names []string
		for _, t := range clusters {
			names = append(names, t.Name)
		}
		return printJSON(env.Stdout, map[string]any{"kubeconfig": string(text), "contexts": names})
	case k.Out != "":
		fmt.Fprintf(env.Stderr, "KUBECONFIG=%s kubectl --context %s get pods\n", cleanLine(shellQuote(k.Out)), cleanLine(clusters[0].Name))
		return nil
	}
	_, err = env.Stdout.Write(text)
	return err
}

func writePrivate(path string, text []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	return os.WriteFile(path, text, 0o600)
}

// targetsOf are the targets of a protocol that the person reaches, with the
// gate's authority.
func targetsOf(ctx context.Context, c *client, protocol string) ([]api.TargetInfo, error) {
	var all []api.TargetInfo
	if err := c.call(ctx, http.MethodGet, "/api/v1/targets", nil, &all); err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, func(t api.TargetInfo) bool { return t.Protocol != protocol })
	if len(all) == 0 {
		return nil, nil
	}
	// The authority is the gate's, and the same for all of them.
	var at api.Connect
	if err := c.call(ctx, http.MethodGet, "/api/v1/targets/"+url.PathEscape(all[0].Name)+"/connect", nil, &at); err != nil {
		return nil, err
	}
	for i := range all {
		all[i].CAPEM = at.CAPEM
	}
	return all, nil
}

// pluginUser is the user of a kubeconfig whose credential the plugin gives. The
// version of the plugin's protocol is the one that kubectl has known longest.
func pluginUser(self string) map[string]any {
	return map[string]any{"exec": map[string]any{
		"apiVersion": execV1beta1, "command": self, "args": []string{"kube-credential"}, "interactiveMode": "Never",
		"installHint": "doorward is the gate to this cluster: see its README.",
	}}
}

// kubeconfig is a configuration for clients of clusters, in YAML.
func kubeconfig(clusters []api.TargetInfo, user map[string]any) ([]byte, error) {
	type named map[string]any
	var cs, contexts []named
	for _, t := range clusters {
		cs = append(cs, named{"name": t.Name, "cluster": named{
			"server":                     "https://" + net.JoinHostPort(t.Host, strconv.Itoa(t.Port)) + "/" + t.Name,
			"certificate-authority-data": base64.StdEncoding.EncodeToString([]byte(t.CAPEM)),
		}})
		contexts = append(contexts, named{"name": t.Name, "context": named{"cluster": t.Name, "user": "doorward"}})
	}
	return yaml.Marshal(named{
		"apiVersion": "v1", "kind": "Config", "clusters": cs, "contexts": contexts,
		"users": []named{{"name": "doorward", "user": user}}, "current-context": clusters[0].Name,
	})
}

// runKubernetes writes the kubeconfig of a run and gives the variable that
// points at it.
func runKubernetes(ctx context.Context, c *client, dir string, run *api.RunStarted) ([]string, error) {
	clusters, err := targetsOf(ctx, c, "kubernetes")
	if err != nil {
		return nil, err
	}
	if len(run.Targets) > 0 {
		clusters = slices.DeleteFunc(clusters, func(t api.TargetInfo) bool { return !slices.Contains(run.Targets, t.Name) })
	}
	if len(clusters) == 0 {
		return nil, nil
	}
	token := filepath.Join(dir, "kube-token")
	if err := writePrivate(token, []byte(run.Token)); err != nil {
		return nil, err
	}
	text, err := kubeconfig(clusters, map[string]any{"tokenFile": token})
	if err != nil {
		return nil, err
	}
	path := filepath.Join(dir, "kubeconfig")
	return []string{"KUBECONFIG=" + path}, writePrivate(path, text)
}

// The versions of the protocol of credential plugins.
const (
	execV1beta1 = "client.authentication.k8s.io/v1beta1"
	execV1      = "client.authentication.k8s.io/v1"
)

// KubeCredentialCmd is a credential plugin of kubectl.
type KubeCredentialCmd struct{}

// Help is shown by --help.
func (*KubeCredentialCmd) Help() string {
	return `Prints your credential the way kubectl and other clients of clusters want it
(client.authentication.k8s.io). ` + "`doorward kubeconfig`" + ` makes them call it.

Example:
  doorward kube-credential`
}

// Run prints it.
func (k *KubeCredentialCmd) Run(env *Env) error {
	kept, err := loadCredentials()
	if err != nil {
		return err
	}
	version := execV1beta1
	if info := os.Getenv("KUBERNETES_EXEC_INFO"); strings.Contains(info, `"`+execV1+`"`) {
		version = execV1
	}
	status := map[string]any{"token": kept.Token}
	if !kept.Expires.IsZero() {
		status["expirationTimestamp"] = kept.Expires.UTC().Format(time.RFC3339)
	}
	return json.NewEncoder(env.Stdout).Encode(map[string]any{"apiVersion": version, "kind": "ExecCredential", "status": status})
}
