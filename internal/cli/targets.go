package cli

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/doorward/doorward/internal/api"
)

// TargetsCmd lists what can be reached.
type TargetsCmd struct{ JSONFlag }

// Help is shown by --help.
func (*TargetsCmd) Help() string { return "Example:\n  doorward targets" }

// Run asks the gate.
func (t *TargetsCmd) Run(env *Env) error {
	ctx, stop := interruptible()
	defer stop()
	c, err := signedIn()
	if err != nil {
		return err
	}
	var all []api.TargetInfo
	if err := c.call(ctx, http.MethodGet, "/api/v1/targets", nil, &all); err != nil {
		return err
	}
	if t.JSON {
		return printJSON(env.Stdout, all)
	}
	if len(all) == 0 {
		fmt.Fprintln(env.Stdout, "The policy lets you reach no target.")
		return nil
	}
	tab := newTable(env.Stdout, "TARGET", "PROTOCOL", "CONNECT TO")
	for _, x := range all {
		tab.row(x.Name, x.Protocol, fmt.Sprintf("%s:%d", x.Host, x.Port))
	}
	return tab.done()
}

// ConnectCmd shows how to connect to a target.
type ConnectCmd struct {
	Target string   `arg:"" help:"Name of the target."`
	Exec   bool     `help:"Run psql now, signed in as you."`
	CAFile string   `help:"Where to write the gate's CA certificate; default: beside the credentials." name:"ca-file" type:"path"`
	Args   []string `arg:"" optional:"" passthrough:"" help:"With --exec: arguments for psql, after --."`
	JSONFlag
}

// Help is shown by --help.
func (*ConnectCmd) Help() string {
	return "Examples:\n  doorward connect orders-db\n  doorward connect --exec orders-db -- -c 'select count(*) from orders'\n\nIt writes the CA certificate that clients need, and prints how psql, pgx and JDBC connect. The password is your own token (`doorward login`); for an agent use `doorward run`, which gives it a credential of its own."
}

// Run writes the CA and prints, or runs psql.
func (k *ConnectCmd) Run(env *Env) error {
	ctx, stop := interruptible()
	defer stop()
	args := passed(k.Args)
	if !k.Exec && len(args) > 0 {
		return exitf(CodeUsage, "arguments after the target are for --exec")
	}
	c, err := signedIn()
	if err != nil {
		return err
	}
	var conn api.Connect
	if err := c.call(ctx, http.MethodGet, "/api/v1/targets/"+url.PathEscape(k.Target)+"/connect", nil, &conn); err != nil {
		return err
	}
	if conn.Protocol == "kubernetes" {
		return k.cluster(env, conn)
	}
	if conn.Protocol == "http" {
		return k.service(env, conn)
	}
	if conn.Protocol == "ssh" {
		return k.ssh(env, conn)
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
	if k.Exec {
		return k.psql(ctx, env, c, conn, file, args)
	}
	dsn := url.URL{Scheme: "postgresql", User: url.User("token"), Host: fmt.Sprintf("%s:%d", conn.Host, conn.Port), Path: "/" + conn.Database,
		RawQuery: url.Values{"sslmode": {"verify-full"}, "sslrootcert": {file}}.Encode()}
	jdbc := fmt.Sprintf("jdbc:postgresql://%s:%d/%s?%s", conn.Host, conn.Port, url.PathEscape(conn.Database),
		url.Values{"sslmode": {"verify-full"}, "sslrootcert": {file}, "user": {"token"}}.Encode())
	psql := "psql " + shellQuote(fmt.Sprintf("host=%s port=%d dbname=%s user=token sslmode=verify-full sslrootcert=%s", libpqQuote(conn.Host), conn.Port, libpqQuote(conn.Database), libpqQuote(file)))
	if k.JSON {
		return printJSON(env.Stdout, map[string]any{"host": conn.Host, "port": conn.Port, "database": conn.Database, "ca_file": file, "psql": psql, "url": dsn.String(), "jdbc": jdbc})
	}
	w := env.Stdout
	fmt.Fprintf(w, "psql:       %s\n", cleanLine(psql))
	fmt.Fprintf(w, "URL:        %s\n", cleanLine(dsn.String()))
	fmt.Fprintf(w, "JDBC:       %s\n", cleanLine(jdbc))
	fmt.Fprintf(w, "CA:         %s\n", cleanLine(file))
	fmt.Fprintf(w, "password:   your own token. `doorward connect --exec %s` runs psql with it; `doorward run --agent NAME -- CMD` gives an agent one of its own.\n", cleanLine(shellQuote(k.Target)))
	return nil
}

// ssh tells how SSH clients connect: the rest is in the folder of ssh-cert.
func (k *ConnectCmd) ssh(env *Env, conn api.Connect) error {
	if k.Exec {
		return exitf(CodeUsage, "--exec runs psql, and %s is a host: `doorward ssh-cert` makes a configuration for ssh", cleanLine(k.Target))
	}
	creds, _, err := credentialsFile()
	if err != nil {
		return err
	}
	config := filepath.Join(filepath.Dir(creds), "ssh", "config")
	command := fmt.Sprintf("ssh -F %s %s.doorward", shellQuote(config), conn.Database)
	if k.JSON {
		return printJSON(env.Stdout, map[string]any{"host": conn.Host, "port": conn.Port, "user": conn.Database, "config": config, "ssh": command})
	}
	if _, err := os.Stat(config); err != nil {
		fmt.Fprintln(env.Stdout, "first:      doorward ssh-cert")
	}
	fmt.Fprintf(env.Stdout, "ssh:        %s\n", cleanLine(command))
	fmt.Fprintf(env.Stdout, "by hand:    ssh -p %d -l %s %s     (password: your own token)\n", conn.Port, cleanLine(shellQuote(conn.Database)), cleanLine(conn.Host))
	return nil
}

func (k *ConnectCmd) cluster(env *Env, conn api.Connect) error {
	if k.Exec {
		return exitf(CodeUsage, "--exec runs psql, and %s is a cluster: `doorward kubeconfig` makes a configuration for kubectl", cleanLine(k.Target))
	}
	server := "https://" + net.JoinHostPort(conn.Host, strconv.Itoa(conn.Port)) + "/" + k.Target
	if k.JSON {
		return printJSON(env.Stdout, map[string]any{"host": conn.Host, "port": conn.Port, "server": server})
	}
	fmt.Fprintf(env.Stdout, "kubectl:    doorward kubeconfig --out ~/.kube/doorward\n            KUBECONFIG=~/.kube/doorward kubectl --context %s get pods\nserver:     %s\n", cleanLine(shellQuote(k.Target)), cleanLine(server))
	return nil
}

func (k *ConnectCmd) psql(ctx context.Context, env *Env, c *client, conn api.Connect, ca string, args []string) error {
	path, err := exec.LookPath("psql")
	if err != nil {
		return exitf(CodeError, "psql is not installed here: %w", err)
	}
	vars := append(withoutPostgres(os.Environ()), postgresVars(conn.Host, conn.Port, "token", c.token, ca, conn.Database)...)
	return child(ctx, env, path, args, vars)
}

var plainWord = regexp.MustCompile(`^[A-Za-z0-9_./:@%+-]+$`)

// libpqQuote writes one value of a libpq connection string.
func libpqQuote(s string) string {
	if plainWord.MatchString(s) {
		return s
	}
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'"
}

// shellQuote makes one word for a shell of anything: names come from the gate.
func shellQuote(s string) string {
	if plainWord.MatchString(s) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// fileName makes a host safe as part of a file's name.
func fileName(host string) string {
	out := []byte(host)
	for i, b := range out {
		if !(b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || b >= '0' && b <= '9' || b == '.' || b == '-') {
			out[i] = '_'
		}
	}
	return string(out)
}
