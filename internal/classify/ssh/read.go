package ssh

import (
	"net/netip"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/doorward/doorward"
	"github.com/doorward/doorward/internal/classify/shell"
)

// Kinds of effects that are not a request's own kind.
const (
	EffectScript = shell.KindScript // exec with shell syntax
	EffectPTY    = "pty"            // beside exec and script: the client also asked for a terminal
)

// Read says what a request's text would do. The error is [ErrRequest]: the
// text is not a request, or a script that cannot be read at all. A script that
// is not understood is no error; its effect is incomplete.
//
// A plain command has the kind "exec", and its words in Commands; with shell
// syntax the kind is "script". On a terminal the kind "pty" comes beside it: a
// program that has one may start a pager or an editor, in which whoever types
// can run anything.
func Read(text string) (*doorward.Reading, error) {
	r, err := Parse(text)
	if err != nil {
		return nil, err
	}
	e := doorward.Effect{Complete: true, Bound: -1}
	objs := shell.Objects{}
	switch r.Kind {
	case KindExec:
		if err := readExec(r.Command, &e, objs); err != nil {
			return nil, err
		}
		if r.PTY != nil {
			e.Kinds = append(e.Kinds, EffectPTY)
		}
	case KindShell:
		e.Kinds, e.Verbs = []string{KindShell}, doorward.VerbExecute
	case KindSubsystem:
		if r.Subsystem == "sftp" {
			e.Kinds, e.Verbs = []string{"sftp"}, doorward.VerbSession
			break
		}
		e.Kinds = []string{KindSubsystem}
		objs.Add("subsystem", r.Subsystem, doorward.VerbExecute)
	case KindFile:
		readFile(r.File, &e, objs)
	case KindForward:
		e.Kinds, e.Traits = []string{KindForward}, doorward.TraitLeaves
		objs.Add("address", address(r.Host, r.Port), doorward.VerbExecute)
	}
	if r.Account != "" {
		objs.Add("account", r.Account, doorward.VerbSession)
	}
	for _, v := range r.Env {
		objs.Add("setting", v.Name, doorward.VerbSession)
	}
	e.Objects = objs.Sorted()
	for _, o := range e.Objects {
		e.Verbs |= o.Verb
	}
	return &doorward.Reading{Effect: e, Statements: []doorward.Statement{{Kind: e.Kinds[0], Text: text, Effect: e}}}, nil
}

func readExec(command string, e *doorward.Effect, objs shell.Objects) error {
	r, err := shell.Text(command)
	if err != nil {
		return bad("%v", err)
	}
	e.Kinds, e.Verbs, e.Complete, e.Commands = []string{r.Kind}, doorward.VerbExecute, r.Complete, r.Commands
	e.Traits |= r.Traits
	for _, o := range r.Objects {
		objs.Add(o.Kind, o.Name, o.Verb)
	}
	return nil
}

// readFile gives the effect of one file operation.
func readFile(f *File, e *doorward.Effect, objs shell.Objects) {
	e.Kinds = []string{KindFile + " " + f.Op}
	verb := doorward.VerbUpdate
	switch f.Op {
	case "read", "list", "stat", "lstat", "readlink":
		verb = doorward.VerbRead
	case "write":
		if slices.Contains(f.Flags, "create") {
			verb |= doorward.VerbCreate
		}
		if slices.Contains(f.Flags, "read") {
			verb |= doorward.VerbRead
		}
	case "mkdir", "symlink":
		verb = doorward.VerbCreate
	case "remove", "rmdir", "rename":
		verb = doorward.VerbDelete
	}
	objs.Add("file", f.Path, verb)
	switch f.Op {
	case "rename":
		objs.Add("file", f.To, doorward.VerbCreate|doorward.VerbUpdate)
	case "symlink":
		to := f.To
		if !strings.HasPrefix(to, "/") {
			to = path.Dir(f.Path) + "/" + to
		}
		objs.Add("file", path.Clean(to), verb)
		if f.To == "" || backAfterName(f.To) {
			e.Complete = false
			e.Hint = "What the link is to hold has .. after a name: where that leads depends on links that the host has. Write it without."
		}
	}
}

// backAfterName reports whether .. comes after a name in a path: if the name is
// of a link, .. leads elsewhere than to where the name stands.
func backAfterName(p string) bool {
	named := false
	for part := range strings.SplitSeq(p, "/") {
		switch part {
		case "", ".":
		case "..":
			if named {
				return true
			}
		default:
			named = true
		}
	}
	return false
}

// address is "host:port" in one way of writing, as net.JoinHostPort has it.
func address(host string, port uint32) string {
	host = strings.ToLower(host)
	if a, err := netip.ParseAddr(host); err == nil {
		host = a.Unmap().String()
	}
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	return host + ":" + strconv.FormatUint(uint64(port), 10)
}
