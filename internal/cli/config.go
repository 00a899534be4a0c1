package cli

import (
	"errors"
	"fmt"

	"github.com/doorward/doorward/internal/config"
)

// ConfigCmd groups the commands about the configuration file.
type ConfigCmd struct {
	Check ConfigCheckCmd `cmd:"" help:"Check configuration files without starting anything."`
}

// ConfigCheckCmd checks files and says what is wrong with them.
type ConfigCheckCmd struct {
	Files []string `arg:"" name:"file" help:"Configuration files; several are merged."`
	Ready bool     `help:"Also check that environment variables and secret files are there."`
	JSON  bool     `help:"Print JSON."`
}

// Help is shown by --help.
func (*ConfigCheckCmd) Help() string {
	return `Prints every problem with its file and line, what is wrong and what was probably
meant. Exit code 0: the files are right; 2: they are not, and serve would refuse
them.

Example:
  doorward config check /etc/doorward/doorward.yaml`
}

type problemJSON struct {
	File    string `json:"file,omitempty"`
	Line    int    `json:"line,omitempty"`
	Column  int    `json:"column,omitempty"`
	Path    string `json:"path,omitempty"`
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
}

func problemsJSON(ps []*config.Problem) []problemJSON {
	out := []problemJSON{}
	for _, p := range ps {
		out = append(out, problemJSON{p.File, p.Line, p.Col, p.Path, p.Msg, p.Hint})
	}
	return out
}

type checkAnswer struct {
	OK       bool          `json:"ok"`
	Version  string        `json:"version,omitempty"` // of the policy
	Targets  int           `json:"targets"`
	Rules    int           `json:"rules"`
	Masking  int           `json:"masking"`
	Problems []problemJSON `json:"problems"`
	Warnings []problemJSON `json:"warnings"`
}

// Run checks the files.
func (c *ConfigCheckCmd) Run(env *Env) error {
	return checkFiles(env, c.Files, c.Ready, c.JSON)
}

func checkFiles(env *Env, files []string, ready, asJSON bool) error {
	cfg, err := config.LoadFiles(files...)
	if err == nil && ready {
		err = cfg.Ready()
	}
	var problems config.Problems
	if err != nil && !errors.As(err, &problems) {
		problems = config.Problems{{Msg: err.Error()}}
	}
	answer := checkAnswer{OK: err == nil, Problems: problemsJSON(problems), Warnings: []problemJSON{}}
	if err == nil {
		answer.Version, answer.Targets, answer.Rules = cfg.CompiledPolicy().Version(), len(cfg.Targets), len(cfg.Policy.Rules)
		answer.Masking, answer.Warnings = len(cfg.Masking), problemsJSON(cfg.Warnings())
	}
	if asJSON {
		if err := printJSON(env.Stdout, answer); err != nil {
			return err
		}
		if !answer.OK {
			return &Exit{Code: CodeUsage}
		}
		return nil
	}
	if err != nil {
		return &Exit{Code: CodeUsage, Err: err}
	}
	for _, w := range cfg.Warnings() {
		fmt.Fprintln(env.Stderr, "warning: "+cleanText(w.Error()))
	}
	fmt.Fprintf(env.Stdout, "right: %s, %s, %s (policy %.12s)\n", count(answer.Targets, "target"), count(answer.Rules, "rule"),
		count(answer.Masking, "masking rule"), answer.Version)
	return nil
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// loadConfig reads the files that --config named.
func loadConfig(files []string) (*config.Config, error) {
	if len(files) == 0 {
		return nil, exitf(CodeUsage, "no configuration was named; give --config FILE")
	}
	cfg, err := config.LoadFiles(files...)
	if err != nil {
		return nil, &Exit{Code: CodeUsage, Err: err}
	}
	return cfg, nil
}
