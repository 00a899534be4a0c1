package cli

import "os"

// offline are the commands that work on files, without a gate.
type offline struct {
	Policy PolicyCmd `cmd:"" help:"Check, try and question the policy."`
	Config ConfigCmd `cmd:"" help:"Check configuration files."`
	Audit  AuditCmd  `cmd:"" help:"Check and export the audit log."`
	Mask   MaskCmd   `cmd:"" help:"Try the masking."`
}

// examples are for commands whose own help has none.
var examples = map[string]string{
	"audit verify":     "doorward audit verify --store sqlite:///var/lib/doorward/state.db",
	"audit checkpoint": "doorward audit checkpoint --store sqlite:///var/lib/doorward/state.db > kept-elsewhere.txt",
	"audit export":     "doorward audit export --store sqlite:///var/lib/doorward/state.db | jq -c 'select(.event.decision == \"deny\")'",
}

// SessionsCmd groups what there is to say about sessions.
type SessionsCmd struct {
	Ls     SessionsLsCmd     `cmd:"" help:"List sessions."`
	Show   SessionsShowCmd   `cmd:"" help:"Show one session."`
	Watch  SessionsWatchCmd  `cmd:"" help:"Print sessions as they open and close."`
	Replay SessionsReplayCmd `cmd:"" help:"Show what happened in a session."`
	Export SessionsExportCmd `cmd:"" help:"Write a session's recording for other programs."`
	Kill   SessionsKillCmd   `cmd:"" help:"End a live session now."`
}

// SessionsReplayCmd shows a recording: as the gate renders it, or from files.
type SessionsReplayCmd struct {
	Session string   `arg:"" help:"Id of the session."`
	Tapes   string   `help:"Folder of the recordings: read the files, without a gate." type:"path" placeholder:"DIR"`
	Speed   *float64 `help:"How much faster than it was; 0 shows everything at once. For SSH sessions in a terminal (1 unless given), and with --tapes (0 unless given)." placeholder:"N"`
	Plain   bool     `help:"Text only, also for an SSH session in a terminal."`
	JSONFlag
}

// Help is shown by --help.
func (*SessionsReplayCmd) Help() string {
	return "Examples:\n  doorward sessions replay 01jd3k\n  doorward sessions replay 01jd3k --tapes /var/lib/doorward/tapes --speed 10\n\nIn a terminal, an SSH session is played as it was. What is shown cannot do anything to the terminal but draw; with --plain, or without a terminal, it is text.\n\nExit code 1 when the recording is not whole. Looking at a recording through the gate is itself recorded."
}

// Run shows.
func (k *SessionsReplayCmd) Run(env *Env) error {
	_, tty := terminal(env.Stdout)
	switch {
	case k.Tapes != "" && k.JSON:
		return (&ExportCmd{Session: k.Session, Tapes: k.Tapes, Format: "json"}).Run(env)
	case k.Tapes != "":
		return (&ReplayCmd{Session: k.Session, Tapes: k.Tapes, Speed: k.Speed, Plain: k.Plain}).Run(env)
	case tty && !k.Plain && !k.JSON:
		return playOnline(env, k.Session, k.Speed)
	case k.Speed != nil:
		return exitf(CodeUsage, "--speed is for --tapes, and for SSH sessions in a terminal")
	}
	return replayOnline(env, k.Session, k.JSON)
}

// SessionsExportCmd writes a recording: from the gate, or from files.
type SessionsExportCmd struct {
	Session string `arg:"" help:"Id of the session."`
	Format  string `help:"asciicast (version 3), json, or text." enum:"asciicast,json,text" default:"asciicast"`
	Out     string `help:"File to write; it must not exist. Default: standard output." type:"path" placeholder:"FILE"`
	Tapes   string `help:"Folder of the recordings: read the files, without a gate." type:"path" placeholder:"DIR"`
	JSON    bool   `help:"The same as --format json."`
}

// Help is shown by --help.
func (*SessionsExportCmd) Help() string {
	return "Examples:\n  doorward sessions export 01jd3k --out session.cast\n  doorward sessions export 01jd3k --format json | jq '.entries[].statement'"
}

// Run writes.
func (k *SessionsExportCmd) Run(env *Env) error {
	if k.JSON {
		k.Format = "json"
	}
	if k.Tapes == "" && k.Format != "text" {
		return exportOnline(env, k.Session, k.Format, k.Out)
	}
	write := func(env *Env) error {
		if k.Tapes == "" {
			return replayOnline(env, k.Session, false)
		}
		return (&ExportCmd{Session: k.Session, Tapes: k.Tapes, Format: k.Format}).Run(env)
	}
	if k.Out == "" || k.Out == "-" {
		return write(env)
	}
	f, err := os.OpenFile(k.Out, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	into := *env
	into.Stdout = f
	if err := write(&into); err != nil {
		f.Close()
		os.Remove(k.Out)
		return err
	}
	return f.Close()
}
