package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/doorward/doorward"
	"github.com/doorward/doorward/internal/classify/ssh"
	"github.com/doorward/doorward/internal/config"
	"github.com/doorward/doorward/internal/policy"
)

// sshLine is the part "ssh" of a line of policy eval: one act, and what the
// client set before it.
type sshLine struct {
	Account   string            `json:"account"`
	Env       map[string]string `json:"env"`
	PTY       bool              `json:"pty"`
	Exec      *string           `json:"exec"`
	Shell     bool              `json:"shell"`
	Subsystem *string           `json:"subsystem"`
	Forward   *string           `json:"forward"` // host:port
	File      *struct {
		Op    string   `json:"op"`
		Path  string   `json:"path"`
		Asked *string  `json:"asked"` // default: path
		To    string   `json:"to"`
		Flags []string `json:"flags"`
	} `json:"file"`
}

// parseSSHLine gives the request's text.
func parseSSHLine(raw json.RawMessage) (string, error) {
	var l sshLine
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(&l); err != nil {
		return "", fmt.Errorf(`"ssh" is not a request: %w`, err)
	}
	r := ssh.Request{Account: l.Account}
	names := make([]string, 0, len(l.Env))
	for name := range l.Env {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		r.Env = append(r.Env, ssh.Variable{Name: name, Value: l.Env[name]})
	}
	if l.PTY {
		r.PTY = &ssh.PTY{Term: "xterm", Columns: 80, Rows: 24}
	}
	var kinds []string
	if l.Exec != nil {
		kinds = append(kinds, ssh.KindExec)
		r.Command = *l.Exec
	}
	if l.Shell {
		kinds = append(kinds, ssh.KindShell)
	}
	if l.Subsystem != nil {
		kinds = append(kinds, ssh.KindSubsystem)
		r.Subsystem = *l.Subsystem
	}
	if l.Forward != nil {
		kinds = append(kinds, ssh.KindForward)
		cut := strings.LastIndexByte(*l.Forward, ':')
		port, err := strconv.ParseUint((*l.Forward)[cut+1:], 10, 16)
		if cut < 0 || err != nil {
			return "", fmt.Errorf("%.80q is not host:port", *l.Forward)
		}
		host := (*l.Forward)[:cut]
		if strings.HasPrefix(host, "[") && strings.HasSuffix(host, "]") {
			host = host[1 : len(host)-1]
		}
		r.Host, r.Port = host, uint32(port)
	}
	if f := l.File; f != nil {
		kinds = append(kinds, ssh.KindFile)
		r.File = &ssh.File{Op: f.Op, Path: f.Path, Asked: f.Path, To: f.To, Flags: f.Flags}
		if f.Asked != nil {
			r.File.Asked = *f.Asked
		}
	}
	if len(kinds) != 1 {
		return "", errors.New(`"ssh" holds one of "exec", "shell", "subsystem", "forward" and "file"`)
	}
	r.Kind = kinds[0]
	return r.Text()
}

// ssh gives the decision about a request's text, and the effect; nil when the
// text was not understood, or would not get as far as the policy.
func (j *judge) ssh(id *doorward.Identity, text string) (doorward.Decision, *doorward.Effect) {
	if j.host == nil {
		return j.refuse("target "+j.target+" does not speak SSH", "")
	}
	r, err := ssh.Parse(text)
	if err != nil {
		return j.refuse(err.Error(), "")
	}
	if reason := notLetThrough(j.host, r); reason != "" {
		return j.refuse(reason, "")
	}
	reading, err := ssh.Read(text)
	if err != nil {
		return j.refuse(err.Error(), "")
	}
	return j.cfg.CompiledPolicy().Decide(policy.Input{Identity: id, Target: j.target, Protocol: j.protocol, Effect: &reading.Effect, Now: j.now}), &reading.Effect
}

// notLetThrough says what the target's own settings have against a request.
func notLetThrough(host *config.SSHTarget, r *ssh.Request) string {
	if r.Account != "" && !slices.Contains(host.Accounts(), r.Account) {
		return fmt.Sprintf("the target has no account %.60q", r.Account)
	}
	for _, v := range r.Env {
		if !slices.ContainsFunc(host.Env, func(p string) bool { return policy.Glob(p, v.Name) }) {
			return "the environment variable " + v.Name + " is not let through"
		}
	}
	return ""
}

// refuse is a denial that no rule made.
func (j *judge) refuse(reason, hint string) (doorward.Decision, *doorward.Effect) {
	return doorward.Decision{Outcome: doorward.Deny, Reason: reason, Hint: hint, Version: j.cfg.CompiledPolicy().Version()}, nil
}
