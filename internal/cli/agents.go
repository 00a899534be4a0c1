package cli

import (
	"fmt"
	"net/http"
	"net/url"

	"github.com/doorward/doorward/internal/api"
)

// AgentsCmd groups what there is to say about runs of agents.
type AgentsCmd struct {
	Ls     AgentsLsCmd     `cmd:"" help:"List runs of your agents."`
	Revoke AgentsRevokeCmd `cmd:"" help:"End a run: its credential stops working at once."`
}

// AgentsLsCmd lists runs.
type AgentsLsCmd struct {
	All bool `help:"Also those that have ended."`
	JSONFlag
}

// Help is shown by --help.
func (*AgentsLsCmd) Help() string { return "Example:\n  doorward agents ls" }

// Run lists.
func (k *AgentsLsCmd) Run(env *Env) error {
	ctx, stop := interruptible()
	defer stop()
	c, err := signedIn()
	if err != nil {
		return err
	}
	var got []api.Run
	if err := c.call(ctx, http.MethodGet, "/api/v1/runs", nil, &got); err != nil {
		return err
	}
	all := []api.Run{}
	for _, r := range got {
		if k.All || r.Live {
			all = append(all, r)
		}
	}
	if k.JSON {
		return printJSON(env.Stdout, all)
	}
	if len(all) == 0 {
		fmt.Fprintln(env.Stdout, "No agent runs. Start one with `doorward run --agent NAME -- CMD`.")
		return nil
	}
	t := newTable(env.Stdout, "RUN", "AGENT", "FOR", "TARGETS", "STARTED", "UNTIL", "TASK")
	for _, r := range all {
		until := when(r.Expires)
		if !r.Live {
			until = "ended"
		}
		t.row(r.Run, r.Agent, r.Name, orAll(r.Targets), ago(r.Started), until, short(oneLine(r.Task), 50))
	}
	return t.done()
}

// AgentsRevokeCmd ends runs.
type AgentsRevokeCmd struct {
	Runs []string `arg:"" help:"Runs to end, as ls shows them." name:"run"`
	JSONFlag
}

// Help is shown by --help.
func (*AgentsRevokeCmd) Help() string { return "Example:\n  doorward agents revoke run_4f2a" }

// Run ends the runs.
func (k *AgentsRevokeCmd) Run(env *Env) error {
	ctx, stop := interruptible()
	defer stop()
	c, err := signedIn()
	if err != nil {
		return err
	}
	for _, r := range k.Runs {
		if err := c.call(ctx, http.MethodDelete, "/api/v1/runs/"+url.PathEscape(r), nil, nil); err != nil {
			return err
		}
		if !k.JSON {
			fmt.Fprintf(env.Stdout, "Run %s is ended.\n", cleanLine(r))
		}
	}
	if k.JSON {
		return printJSON(env.Stdout, map[string]any{"ended": k.Runs})
	}
	return nil
}
