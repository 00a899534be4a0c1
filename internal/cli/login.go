package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"golang.org/x/term"

	"github.com/doorward/doorward/internal/api"
)

// LoginCmd signs a person in.
type LoginCmd struct {
	Server        string `help:"Address of the gate's console." default:"https://127.0.0.1:8443" env:"DOORWARD_SERVER"`
	Provider      string `help:"Identity provider; may be left out when there is only one that takes passwords."`
	User          string `help:"User name; asked for when left out."`
	PasswordStdin bool   `help:"Read the password from standard input." xor:"secret"`
	TokenStdin    bool   `help:"Read a bearer token of an OIDC provider from standard input, and use that." xor:"secret"`
	CA            string `help:"The gate's CA certificate (PEM), if it made its own." name:"ca" type:"existingfile"`
	JSONFlag
}

// Help is shown by --help.
func (*LoginCmd) Help() string {
	return "Example:\n  doorward login --server https://doorward.example:8443 --user ada --ca ca.pem\n\nThe sign-in is kept in the system's keyring, or where there is none in a file that only you can read. Without a terminal, give the password by --password-stdin."
}

// Run signs in and keeps the credentials.
func (l *LoginCmd) Run(env *Env) error {
	ctx, stop := interruptible()
	defer stop()
	var ca string
	if l.CA != "" {
		pem, err := readBounded(l.CA, maxCredentials)
		if err != nil {
			return exitf(CodeUsage, "--ca: %w", err)
		}
		ca = string(pem)
	}
	c, err := newClient(l.Server, ca, "")
	if err != nil {
		return err
	}
	cred := credentials{Server: c.base.String(), CA: ca}
	var me api.Me
	if l.TokenStdin {
		token, err := secretFromStdin(env)
		if err != nil {
			return err
		}
		c.token, cred.Token = token, token
		if err := c.call(ctx, http.MethodGet, "/api/v1/me", nil, &me); err != nil {
			return err
		}
		cred.Expires = me.Expires
	} else {
		token, err := l.password(ctx, env, c)
		if err != nil {
			return err
		}
		me, cred.Token, cred.Expires = token.Me, token.Token, token.Expires
	}
	cred.Name = me.Name
	where, err := cred.save()
	if err != nil {
		return err
	}
	c.token = cred.Token
	if config, err := sshAfterLogin(ctx, c); err != nil {
		fmt.Fprintf(env.Stderr, "ssh was not set up: %s\n", cleanLine(err.Error()))
	} else if config != "" {
		fmt.Fprintf(env.Stderr, "ssh is set up: ssh -F %s TARGET.doorward, or put Include %s at the top of your ssh configuration.\n", cleanLine(shellQuote(config)), cleanLine(config))
	}
	if l.JSON {
		return printJSON(env.Stdout, map[string]any{"server": cred.Server, "name": me.Name, "groups": me.Groups, "expires": cred.Expires, "kept": where})
	}
	fmt.Fprintf(env.Stdout, "Signed in to %s as %s until %s.\n", cleanLine(cred.Server), cleanLine(me.Name), when(cred.Expires))
	fmt.Fprintf(env.Stderr, "The sign-in is kept in %s.\n", cleanLine(where))
	return nil
}

func (l *LoginCmd) password(ctx context.Context, env *Env, c *client) (api.Token, error) {
	var token api.Token
	var providers []api.Provider
	if err := c.call(ctx, http.MethodGet, "/api/v1/providers", nil, &providers); err != nil {
		return token, err
	}
	name, err := pickProvider(providers, l.Provider)
	if err != nil {
		return token, err
	}
	user := l.User
	if user == "" {
		if l.PasswordStdin {
			return token, exitf(CodeUsage, "--password-stdin needs --user as well")
		}
		if user, err = ask(env, "User: "); err != nil {
			return token, err
		}
	}
	var password string
	if l.PasswordStdin {
		password, err = secretFromStdin(env)
	} else {
		password, err = askSecret(env, fmt.Sprintf("Password of %s at %s: ", cleanLine(user), c.base.Host))
	}
	if err != nil {
		return token, err
	}
	err = c.call(ctx, http.MethodPost, "/api/v1/token", loginBody{Provider: name, User: user, Password: password}, &token)
	return token, err
}

// loginBody is [api.Login] with a password that can be sent.
type loginBody struct {
	Provider string `json:"provider,omitempty"`
	User     string `json:"user"`
	Password string `json:"password"`
}

func pickProvider(all []api.Provider, want string) (string, error) {
	var local []string
	for _, p := range all {
		if want != "" && p.Name == want {
			switch p.Kind {
			case "local":
				return p.Name, nil
			case "oidc":
				return "", exitf(CodeUsage, "%s signs in by browser: open the console there, or pipe one of its tokens into `doorward login --token-stdin`", cleanLine(want))
			}
			return "", exitf(CodeUsage, "%s is for workloads: pipe its token into `doorward login --token-stdin`, or set DOORWARD_TOKEN", cleanLine(want))
		}
		if p.Kind == "local" {
			local = append(local, p.Name)
		}
	}
	switch {
	case want != "":
		return "", exitf(CodeUsage, "the gate has no identity provider %q", cleanLine(want))
	case len(local) == 1:
		return local[0], nil
	case len(local) == 0:
		return "", exitf(CodeUsage, "no identity provider of this gate takes passwords: sign in at the console, or pipe a token into `doorward login --token-stdin`")
	}
	return "", exitf(CodeUsage, "choose one with --provider: %s", cleanLine(strings.Join(local, ", ")))
}

func terminal(v any) (int, bool) {
	f, ok := v.(*os.File)
	if !ok {
		return 0, false
	}
	return int(f.Fd()), term.IsTerminal(int(f.Fd()))
}

func ask(env *Env, prompt string) (string, error) {
	if _, ok := terminal(env.Stdin); !ok {
		return "", exitf(CodeUsage, "there is no terminal to ask on; use --user")
	}
	fmt.Fprint(env.Stderr, prompt)
	line, err := bufio.NewReader(io.LimitReader(env.Stdin, 4096)).ReadString('\n')
	if err != nil {
		return "", fmt.Errorf("reading the user name: %w", err)
	}
	return strings.TrimSpace(line), nil
}

func askSecret(env *Env, prompt string) (string, error) {
	fd, ok := terminal(env.Stdin)
	if !ok {
		return "", exitf(CodeUsage, "there is no terminal to ask for the password on; use --password-stdin")
	}
	fmt.Fprint(env.Stderr, prompt)
	p, err := term.ReadPassword(fd)
	fmt.Fprintln(env.Stderr)
	if err != nil {
		return "", fmt.Errorf("reading the password: %w", err)
	}
	return string(p), nil
}

func secretFromStdin(env *Env) (string, error) {
	raw, err := readAll(env.Stdin, "standard input", 64<<10)
	if err != nil {
		return "", err
	}
	s := strings.TrimRight(string(raw), "\r\n")
	if s == "" {
		return "", exitf(CodeUsage, "standard input holds no secret")
	}
	return s, nil
}

// interruptible gives a context that ends by Ctrl-C or SIGTERM.
func interruptible() (context.Context, context.CancelFunc) {
	return signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
}

// LogoutCmd ends the sign-in.
type LogoutCmd struct{ JSONFlag }

// Help is shown by --help.
func (*LogoutCmd) Help() string { return "Example:\n  doorward logout" }

// Run ends the sign-in at the gate and forgets it here, even when the gate
// cannot be reached.
func (l *LogoutCmd) Run(env *Env) error {
	ctx, stop := interruptible()
	defer stop()
	cred, err := loadCredentials()
	if err != nil {
		var e *Exit
		if errors.As(err, &e) && e.Code == CodeNotSigned {
			if l.JSON {
				return printJSON(env.Stdout, map[string]any{"signed_out": true, "was_signed_in": false})
			}
			fmt.Fprintln(env.Stdout, "Not signed in.")
			return nil
		}
		return err
	}
	c, err := newClient(cred.Server, cred.CA, cred.Token)
	if err == nil {
		err = c.call(ctx, http.MethodPost, "/api/v1/signout", nil, nil)
	}
	if ferr := cred.forget(); ferr != nil {
		return ferr
	}
	if err != nil && exitCode(err) != CodeNotSigned {
		return fmt.Errorf("the sign-in is forgotten here, but the gate was not told: %w; it ends by itself at %s", err, when(cred.Expires))
	}
	if l.JSON {
		return printJSON(env.Stdout, map[string]any{"signed_out": true, "was_signed_in": true})
	}
	fmt.Fprintln(env.Stdout, "Signed out.")
	return nil
}

// WhoamiCmd says who is signed in.
type WhoamiCmd struct{ JSONFlag }

// Help is shown by --help.
func (*WhoamiCmd) Help() string { return "Example:\n  doorward whoami --json" }

// Run asks the gate.
func (w *WhoamiCmd) Run(env *Env) error {
	ctx, stop := interruptible()
	defer stop()
	c, err := signedIn()
	if err != nil {
		return err
	}
	var me api.Me
	if err := c.call(ctx, http.MethodGet, "/api/v1/me", nil, &me); err != nil {
		return err
	}
	if w.JSON {
		return printJSON(env.Stdout, me)
	}
	fmt.Fprintln(env.Stdout, cleanLine(me.Identity.String()))
	field(env.Stdout, "server", c.base.String())
	field(env.Stdout, "provider", me.Provider)
	field(env.Stdout, "groups", strings.Join(me.Groups, ", "))
	if me.Admin {
		field(env.Stdout, "admin", "yes")
	}
	if !me.Expires.IsZero() {
		field(env.Stdout, "until", when(me.Expires)+" ("+ago(me.Expires.Add(-time.Second))+")")
	}
	return nil
}
