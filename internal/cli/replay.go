package cli

import (
	"context"
	"fmt"
	"os"
	"os/signal"

	"github.com/doorward/doorward/internal/replay"
)

// ReplayCmd is `sessions replay`: it shows a recording in the terminal,
// offline.
type ReplayCmd struct {
	Session string   `arg:"" help:"Id of the session."`
	Tapes   string   `help:"Folder of the recordings." required:"" type:"path" placeholder:"DIR"`
	Speed   *float64 `help:"How much faster than it was; 0 shows everything at once." placeholder:"N"`
	Plain   bool     `help:"Text only, also for an SSH session in a terminal."`
}

// Run shows the recording. What it shows cannot do anything to the terminal.
func (c *ReplayCmd) Run(env *Env) error {
	if err := checkSpeed(c.Speed); err != nil {
		return err
	}
	r, err := replay.Open(c.Tapes, c.Session)
	if err != nil {
		return exitf(CodeError, "%w. Check the id (doorward sessions ls) and --tapes", err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	drawn, err := r.Drawn(ctx)
	if err != nil {
		return exitf(CodeError, "%w", err)
	}
	if _, tty := terminal(env.Stdout); tty && !c.Plain && drawn {
		err = r.Terminal(ctx, env.Stdout, speedOr(c.Speed, 1))
	} else {
		err = r.Play(ctx, env.Stdout, speedOr(c.Speed, 0))
	}
	if err != nil {
		return exitf(CodeError, "%w", err)
	}
	return nil
}

func checkSpeed(speed *float64) error {
	if speed != nil && (*speed < 0 || *speed != *speed) {
		return exitf(CodeUsage, "--speed %v is not a speed: give 1 for as it was, 10 for ten times faster, 0 for at once", *speed)
	}
	return nil
}

func speedOr(speed *float64, otherwise float64) float64 {
	if speed == nil {
		return otherwise
	}
	return *speed
}

// ExportCmd is `sessions export`: it writes a recording in a form for other
// programs, offline.
type ExportCmd struct {
	Session string `arg:"" help:"Id of the session."`
	Tapes   string `help:"Folder of the recordings." required:"" type:"path" placeholder:"DIR"`
	Format  string `help:"asciicast (version 3), json, or text." enum:"asciicast,json,text" default:"asciicast"`
}

// Run writes the recording to standard output.
func (c *ExportCmd) Run(env *Env) error {
	r, err := replay.Open(c.Tapes, c.Session)
	if err != nil {
		return exitf(CodeError, "%w. Check the id (doorward sessions ls) and --tapes", err)
	}
	ctx := context.Background()
	switch c.Format {
	case "asciicast":
		err = r.Asciicast(ctx, env.Stdout)
	case "json":
		err = r.JSON(ctx, env.Stdout)
	case "text":
		err = r.Text(ctx, env.Stdout)
	default:
		err = fmt.Errorf("the format %q is not known: use asciicast, json or text", c.Format)
	}
	if err != nil {
		return exitf(CodeError, "%w", err)
	}
	return nil
}
