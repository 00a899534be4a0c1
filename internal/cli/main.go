package cli

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/alecthomas/kong"
)

// commands is the whole command line.
type commands struct {
	Serve    ServeCmd          `cmd:"" help:"Run the gate."`
	Demo     DemoCmd           `cmd:"" help:"Run a demonstration."`
	Login    LoginCmd          `cmd:"" help:"Sign in."`
	Logout   LogoutCmd         `cmd:"" help:"Sign out."`
	Whoami   WhoamiCmd         `cmd:"" help:"Show who is signed in."`
	Targets  TargetsCmd        `cmd:"" help:"List the targets that you can reach."`
	Run      RunCmd            `cmd:"" help:"Run an agent with a credential of its own, for as long as it runs."`
	SSHCert  SSHCertCmd        `cmd:"" name:"ssh-cert" help:"Get a short-lived certificate and a configuration for ssh."`
	SSHCA    SSHCACmd          `cmd:"" name:"ssh-ca" help:"Print the authority that hosts trust (ca: true)."`
	Kube     KubeconfigCmd     `cmd:"" name:"kubeconfig" help:"Write a configuration for kubectl."`
	KubeCred KubeCredentialCmd `cmd:"" name:"kube-credential" help:"Give kubectl your credential: a plugin that it calls."`
	Connect  ConnectCmd        `cmd:"" help:"Show how to connect to a target, or run psql."`
	Reviews  ReviewsCmd        `cmd:"" help:"Requests that wait for people."`
	Doctor   DoctorCmd         `cmd:"" help:"Look for what is wrong, here or at a gate."`
	Sessions SessionsCmd       `cmd:"" help:"Sessions and their recordings."`
	Agents   AgentsCmd         `cmd:"" help:"Runs of agents."`
	Access   AccessCmd         `cmd:"" help:"What administrators do about people's access."`
	Target   TargetCmd         `cmd:"" help:"What operators do about targets."`
	Health   HealthCmd         `cmd:"" help:"Ask a gate whether it works, for probes."`
	Version  VersionCmd        `cmd:"" help:"Show the version."`

	offline
}

// stopped carries kong's wish to exit (after --help) out of its parser.
type stopped struct{ code int }

// Main runs one command line and gives its exit code. args are without the
// program's name.
func Main(env *Env, args []string) (code int) {
	defer func() {
		if v := recover(); v != nil {
			s, ok := v.(stopped)
			if !ok {
				panic(v)
			}
			code = s.code
		}
	}()
	parser, err := newParser(env)
	if err != nil {
		fmt.Fprintln(env.Stderr, "doorward:", err)
		return CodeError
	}
	if len(args) == 0 {
		args = []string{"--help"}
	}
	ctx, err := parser.Parse(args)
	if err != nil {
		return misused(env.Stderr, err)
	}
	return finish(env.Stderr, ctx.Run())
}

func newParser(env *Env) (*kong.Kong, error) {
	parser, err := kong.New(&commands{},
		kong.Name("doorward"),
		kong.Description("doorward stands between AI coding agents and production: it decides, asks people, masks and records.\n\nExit codes: 0 done, 1 failed, 2 wrong usage, 3 denied, 4 waits for people, 5 not signed in."),
		kong.Writers(env.Stdout, env.Stderr),
		kong.Exit(func(c int) { panic(stopped{c}) }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, NoExpandSubcommands: true}),
		kong.UsageOnError(),
		kong.Bind(env),
	)
	if err != nil {
		return nil, err
	}
	for _, leaf := range parser.Model.Leaves(true) {
		if e := examples[commandName(leaf.Path())]; e != "" && leaf.Detail == "" {
			leaf.Detail = "Example:\n  " + e
		}
	}
	return parser, nil
}

// commandName is a command's path without its arguments.
func commandName(path string) string {
	return strings.TrimPrefix(strings.Split(path, " <")[0], "doorward ")
}

// misused says what is wrong with the command line, and where its help is.
func misused(w io.Writer, err error) int {
	var parse *kong.ParseError
	command := "doorward"
	if errors.As(err, &parse) && parse.Context != nil {
		if path := parse.Context.Command(); path != "" {
			command += " " + strings.Split(path, " <")[0]
		}
	}
	fmt.Fprintf(w, "doorward: %s\nhint: `%s --help` shows how it is used.\n", cleanLine(err.Error()), cleanLine(command))
	return CodeUsage
}

// finish prints the error, where there is one to print.
func finish(w io.Writer, err error) int {
	var e *Exit
	if err != nil && !(errors.As(err, &e) && e.Err == nil) {
		fmt.Fprintln(w, "doorward:", cleanText(err.Error()))
	}
	return exitCode(err)
}
