package cli

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/doorward/doorward/internal/api"
)

// SSHCertCmd gets a certificate that SSH clients sign in with.
type SSHCertCmd struct {
	Out string `help:"Folder for key, certificate, known_hosts and config; default: beside the credentials." type:"path"`
	JSONFlag
}

// Help is shown by --help.
func (*SSHCertCmd) Help() string {
	return `Makes a key, has it certified for your sign-in, and writes an ssh configuration.
The certificate ends when your sign-in does. The target's name is the user
name; an account on it stands in front, as in root@orders-host.

Example:
  doorward ssh-cert
  ssh -F ~/.config/doorward/ssh/config orders-host.doorward uptime
  ssh -F ~/.config/doorward/ssh/config -l root@orders-host orders-host.doorward

For plain ssh, put this at the top of ~/.ssh/config:
  Include ~/.config/doorward/ssh/config`
}

// Run gets the certificate.
func (k *SSHCertCmd) Run(env *Env) error {
	ctx, stop := interruptible()
	defer stop()
	c, err := signedIn()
	if err != nil {
		return err
	}
	targets, err := sshTargets(ctx, c)
	if err != nil {
		return err
	}
	config, access, err := setUpSSH(ctx, c, k.Out, targets)
	if err != nil {
		return err
	}
	if k.JSON {
		return printJSON(env.Stdout, map[string]any{"host": access.Host, "port": access.Port, "config": config, "expires": access.Expires, "targets": targets})
	}
	fmt.Fprintf(env.Stdout, "certificate: until %s\nconfig:      %s\n", when(access.Expires), cleanLine(config))
	for _, t := range targets {
		fmt.Fprintf(env.Stdout, "%-12s ssh -F %s %s.doorward\n", cleanLine(t)+":", cleanLine(shellQuote(config)), cleanLine(t))
	}
	return nil
}

// setUpSSH has a new key certified and writes what OpenSSH needs, into dir or
// beside the credentials. It gives the configuration's path.
func setUpSSH(ctx context.Context, c *client, dir string, targets []string) (string, api.SSHAccess, error) {
	var access api.SSHAccess
	if dir == "" {
		creds, _, err := credentialsFile()
		if err != nil {
			return "", access, err
		}
		dir = filepath.Join(filepath.Dir(creds), "ssh")
	}
	key, public, err := newSSHKey()
	if err != nil {
		return "", access, err
	}
	if err := c.call(ctx, http.MethodPost, "/api/v1/ssh/certificate", api.SSHCertificateRequest{PublicKey: public}, &access); err != nil {
		return "", access, err
	}
	return filepath.Join(dir, "config"), access, writeSSH(dir, key, public, access, targets)
}

// sshAfterLogin sets ssh up for somebody who reaches hosts. It gives "" for who
// reaches none.
func sshAfterLogin(ctx context.Context, c *client) (string, error) {
	targets, err := sshTargets(ctx, c)
	if err != nil || len(targets) == 0 {
		return "", err
	}
	config, _, err := setUpSSH(ctx, c, "", targets)
	return config, err
}

// SSHCACmd prints the authority that hosts trust.
type SSHCACmd struct{}

// Help is shown by --help.
func (*SSHCACmd) Help() string {
	return `Prints the public key of the authority that signs doorward's certificates for
hosts. A host whose target says ca: true trusts it by TrustedUserCAKeys in its
sshd_config.

Example:
  doorward ssh-ca | sudo tee /etc/ssh/doorward_ca.pub`
}

// Run prints it.
func (k *SSHCACmd) Run(env *Env) error {
	ctx, stop := interruptible()
	defer stop()
	c, err := signedIn()
	if err != nil {
		return err
	}
	var access api.SSHAccess
	if err := c.call(ctx, http.MethodGet, "/api/v1/ssh", nil, &access); err != nil {
		return err
	}
	_, err = fmt.Fprintln(env.Stdout, cleanLine(strings.TrimSpace(access.Authority))+" doorward")
	return err
}

func sshTargets(ctx context.Context, c *client) ([]string, error) {
	var all []api.TargetInfo
	if err := c.call(ctx, http.MethodGet, "/api/v1/targets", nil, &all); err != nil {
		return nil, err
	}
	names := []string{}
	for _, t := range all {
		if t.Protocol == "ssh" {
			names = append(names, t.Name)
		}
	}
	return names, nil
}

// newSSHKey makes an Ed25519 key: the private half in OpenSSH's form, and the
// public half as a line of authorized_keys.
func newSSHKey() (private []byte, public string, err error) {
	pub, priv, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, "", err
	}
	block, err := ssh.MarshalPrivateKey(priv, "doorward")
	if err != nil {
		return nil, "", err
	}
	line, err := ssh.NewPublicKey(pub)
	if err != nil {
		return nil, "", err
	}
	return pem.EncodeToMemory(block), string(ssh.MarshalAuthorizedKey(line)), nil
}

// writeSSH writes what an OpenSSH client needs into a folder.
func writeSSH(dir string, key []byte, public string, a api.SSHAccess, targets []string) error {
	if strings.ContainsAny(dir, "\"\n") {
		return errors.New("the folder's name has a quote or a line end, which an ssh configuration cannot hold")
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	known := a.Host
	if a.Port != 22 {
		known = "[" + a.Host + "]:" + strconv.Itoa(a.Port)
	}
	var b strings.Builder
	for _, t := range targets {
		fmt.Fprintf(&b, "Host %s.doorward\n  User %s\n", t, t)
	}
	fmt.Fprintf(&b, `Host *.doorward
  HostName %s
  Port %d
  HostKeyAlias %s
  IdentityFile "%s"
  CertificateFile "%s"
  IdentitiesOnly yes
  UserKnownHostsFile "%s"
  GlobalKnownHostsFile /dev/null
  StrictHostKeyChecking yes
  ForwardAgent no
  ForwardX11 no
`, a.Host, a.Port, "doorward", filepath.Join(dir, "id_ed25519"), filepath.Join(dir, "id_ed25519-cert.pub"), filepath.Join(dir, "known_hosts"))
	hostKey := strings.TrimSpace(a.HostKey)
	for name, data := range map[string]string{
		"id_ed25519": string(key), "id_ed25519.pub": public, "id_ed25519-cert.pub": a.Certificate,
		"known_hosts": "doorward " + hostKey + "\n" + known + " " + hostKey + "\n", "config": b.String(),
	} {
		path := filepath.Join(dir, name)
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := writeSecret(path, []byte(data)); err != nil {
			return fmt.Errorf("writing %s: %w", name, err)
		}
	}
	return nil
}

// sshVars points ssh, scp, sftp, rsync and git at the configuration of a run,
// for programs that take one from the environment.
func sshVars(dir string, a *api.SSHAccess) []string {
	config := filepath.Join(dir, "config")
	return []string{"DOORWARD_SSH_CONFIG=" + config, "RSYNC_RSH=ssh -F " + shellQuote(config), "GIT_SSH_COMMAND=ssh -F " + shellQuote(config),
		"DOORWARD_SSH=" + net.JoinHostPort(a.Host, strconv.Itoa(a.Port))}
}

// sshShims are small programs in front of the PATH of a run, so that plain ssh,
// scp and sftp use its configuration and not the person's own keys.
func sshShims(dir string) error {
	bin := filepath.Join(dir, "bin")
	if err := os.MkdirAll(bin, 0o700); err != nil {
		return err
	}
	for _, name := range []string{"ssh", "scp", "sftp"} {
		path := os.Getenv("PATH")
		script := fmt.Sprintf("#!/bin/sh\n# Made by doorward run: uses the configuration of the run.\nPATH=%s exec %s -F %s \"$@\"\n", shellQuote(path), name, shellQuote(filepath.Join(dir, "config")))
		if err := os.WriteFile(filepath.Join(bin, name), []byte(script), 0o700); err != nil {
			return err
		}
	}
	return nil
}
