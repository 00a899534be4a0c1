package cli

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/doorward/doorward/internal/api"
)

// service tells how clients reach an HTTP service.
func (k *ConnectCmd) service(env *Env, conn api.Connect) error {
	if k.Exec {
		return exitf(CodeUsage, "--exec runs psql, and %s is an HTTP service: any client reaches it", cleanLine(k.Target))
	}
	file := k.CAFile
	if file == "" {
		creds, _, err := credentialsFile()
		if err != nil {
			return err
		}
		file = filepath.Join(filepath.Dir(creds), "ca-"+fileName(conn.Host)+".pem")
	}
	if err := writeSecret(file, []byte(conn.CAPEM)); err != nil {
		return fmt.Errorf("writing the CA certificate: %w", err)
	}
	at := "https://" + net.JoinHostPort(conn.Host, strconv.Itoa(conn.Port)) + "/" + k.Target
	if k.JSON {
		return printJSON(env.Stdout, map[string]any{"host": conn.Host, "port": conn.Port, "url": at, "ca_file": file})
	}
	fmt.Fprintf(env.Stdout, "URL:        %s\nCA:         %s\ncurl:       curl --cacert %s -H \"Authorization: Bearer $DOORWARD_TOKEN\" %s/\n", cleanLine(at), cleanLine(file), cleanLine(shellQuote(file)), cleanLine(shellQuote(at)))
	fmt.Fprint(env.Stdout, "token:      your own, or the run's: `doorward run --agent NAME -- CMD` sets DOORWARD_TOKEN, DOORWARD_HTTP and DOORWARD_CA for its command.\n")
	return nil
}

// runHTTP gives the variables by which a run's command reaches HTTP services:
// where they are, the run's token and the gate's CA. No client is made to send
// the token by itself: it would go to other places too.
func runHTTP(ctx context.Context, c *client, dir string, run *api.RunStarted) ([]string, error) {
	services, err := targetsOf(ctx, c, "http")
	if err != nil {
		return nil, err
	}
	if len(run.Targets) > 0 {
		services = slices.DeleteFunc(services, func(t api.TargetInfo) bool { return !slices.Contains(run.Targets, t.Name) })
	}
	if len(services) == 0 {
		return nil, nil
	}
	ca := filepath.Join(dir, "http-ca.pem")
	if err := writePrivate(ca, []byte(services[0].CAPEM)); err != nil {
		return nil, err
	}
	vars := []string{"DOORWARD_HTTP=https://" + net.JoinHostPort(services[0].Host, strconv.Itoa(services[0].Port)), "DOORWARD_TOKEN=" + run.Token, "DOORWARD_CA=" + ca}
	node, err := nodeCA(dir, []byte(services[0].CAPEM), os.Getenv("NODE_EXTRA_CA_CERTS"))
	return append(vars, "NODE_EXTRA_CA_CERTS="+node), err
}

// nodeCA writes the file of authorities that Node trusts beside its own: the
// gate's, and those that are in the file that Node was told of before.
func nodeCA(dir string, ca []byte, before string) (string, error) {
	all := append(slices.Clone(ca), '\n')
	if before != "" {
		// Node itself goes on without a file that it cannot read.
		if more, err := os.ReadFile(before); err == nil {
			all = append(all, more...)
		}
	}
	path := filepath.Join(dir, "node-ca.pem")
	return path, writePrivate(path, all)
}
