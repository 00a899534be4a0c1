package sshcases

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/doorward/doorward/e2e/cases"
)

// Case is one line of a corpus file.
type Case struct {
	ID       string   `json:"id"`
	Protocol string   `json:"protocol"`
	Kind     string   `json:"kind"` // attack, robustness or benign
	Title    string   `json:"title"`
	Policy   []string `json:"policy"`
	Input    struct {
		Type     string            `json:"type"` // ssh
		Requests []json.RawMessage `json:"requests"`
	} `json:"input"`
	Expect struct {
		Outcome string   `json:"outcome"`
		Accept  []string `json:"accept"`
	} `json:"expect"`
	Why   string          `json:"why"`
	Tags  []string        `json:"tags"`
	Check json.RawMessage `json:"check"`

	line []byte // as it stood in the file, before substitution
}

// Check says how the effect is seen.
type Check struct {
	Marker   bool     `json:"marker"`    // the effect makes the file $M
	Leak     []string `json:"leak"`      // the effect shows these
	LeakExec bool     `json:"leak_exec"` // the effect is a file that comes by the scp protocol
	Contains []string `json:"contains"`  // what a benign case shows
	Probe    string   `json:"probe"`     // a command beside the gate that shows the effect
	Before   string   `json:"before"`    // what it prints before,
	After    string   `json:"after"`     // and after the effect
	Setup    []string `json:"setup"`     // commands beside the gate
	Cleanup  []string `json:"cleanup"`   //
	NoDirect string   `json:"no_direct"` // why it cannot be shown without a gate
}

// Step is one step of a case: exactly one of the fields that form kind is set.
type Step struct {
	// A request on the session's channel.
	Req       string  `json:"req"`
	Command   *string `json:"command"`
	Hex       *string `json:"hex"`
	Name      string  `json:"name"`  // of a variable, a subsystem or a signal
	Value     string  `json:"value"` // of a variable
	Signal    string  `json:"signal"`
	Term      string  `json:"term"`
	Columns   *uint32 `json:"columns"`
	Rows      *uint32 `json:"rows"`
	Modes     string  `json:"modes"` // hexadecimal
	Data      string  `json:"data"`  // payload of a request without a form of its own, hexadecimal
	Stdin     string  `json:"stdin"` // sent once the request is on its way
	WantReply *bool   `json:"want_reply"`

	Channel string `json:"channel"` // opens a channel of this kind
	Global  string `json:"global"`  // a request on the connection
	Host    string `json:"host"`
	Port    uint32 `json:"port"`
	Path    string `json:"path"`

	AuthUser     *string           `json:"auth_user"` // signs in under this user name
	Auth         string            `json:"auth"`      // signs in in this way
	Password     *string           `json:"password"`
	Critical     map[string]string `json:"critical"`
	Extensions   map[string]string `json:"extensions"`
	Principals   []string          `json:"principals"`
	CertType     string            `json:"cert_type"`
	ValidBefore  string            `json:"valid_before"` // from now, as in -60s
	ValidAfter   string            `json:"valid_after"`
	UserPresence *bool             `json:"user_presence"`

	From           string  `json:"from"`            // upstream: channel, global or req is opened by the target
	Upstream       string  `json:"upstream"`        // new-host-key
	UpstreamOutput *string `json:"upstream_output"` // what the target answers

	RawPrefix *string `json:"raw_prefix"` // bytes in front of the client's version
	Kex       *Kex    `json:"kex"`        // what the client offers
	Transport string  `json:"transport"`  // rekey
}

// Kex is what a client limits itself to.
type Kex struct {
	Cipher string `json:"cipher"`
	MAC    string `json:"mac"`
	Kex    string `json:"kex"`
	Strict *bool  `json:"strict"` // announces strict key exchange; yes when left out
}

// forms are the fields that say what a step is, and those that may stand beside.
var forms = map[string][]string{
	"req":             {"command", "hex", "name", "value", "signal", "term", "columns", "rows", "modes", "data", "stdin", "want_reply", "from"},
	"channel":         {"host", "port", "path", "data", "from"},
	"global":          {"host", "port", "path", "data", "want_reply", "from"},
	"auth_user":       {},
	"auth":            {"password", "critical", "extensions", "principals", "cert_type", "valid_before", "valid_after", "user_presence"},
	"upstream":        {},
	"upstream_output": {},
	"raw_prefix":      {},
	"kex":             {},
	"transport":       {},
}

// strict reads JSON and refuses what it does not know.
func strict(raw []byte, out any) error {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	return d.Decode(out)
}

// form is the field that says what the step is.
func (s *Step) form(raw []byte) (string, error) {
	var keys map[string]json.RawMessage
	if err := json.Unmarshal(raw, &keys); err != nil {
		return "", err
	}
	var found []string
	for f := range forms {
		if _, ok := keys[f]; ok {
			found = append(found, f)
		}
	}
	if len(found) != 1 {
		return "", fmt.Errorf("the step %s is %d things at once", raw, len(found))
	}
	for k := range keys {
		if k != found[0] && !slices.Contains(forms[found[0]], k) {
			return "", fmt.Errorf("the step %s has a field %q that its form does not take", raw, k)
		}
	}
	return found[0], nil
}

// longCommand is how long the command of a case about limits is made.
const longCommand = 100_000

// text is the command's bytes.
func (s *Step) text(c *Case) (string, error) {
	switch {
	case s.Command != nil && s.Hex == nil:
		return *s.Command, nil
	case s.Hex != nil && s.Command == nil:
		b, err := hex.DecodeString(*s.Hex)
		if err != nil {
			return "", err
		}
		if slices.Contains(c.Tags, "limits") && len(b) > 0 && len(b) < longCommand {
			b = append(b, bytes.Repeat(b[len(b)-1:], longCommand-len(b))...)
		}
		return string(b), nil
	}
	return "", fmt.Errorf("exec wants a command or hex")
}

// plan is a case read whole, with $M put in.
type plan struct {
	*Case
	check Check
	steps []Step
	forms []string // of the steps
}

// at reads the case with the marker's path put in.
func (c *Case) at(marker string) (*plan, error) {
	line := bytes.ReplaceAll(c.line, []byte("$M"), []byte(marker))
	at := &Case{line: c.line}
	if err := json.Unmarshal(line, at); err != nil {
		return nil, err
	}
	p := &plan{Case: at}
	if at.Input.Type != "ssh" {
		return nil, fmt.Errorf("input type %q is not known", at.Input.Type)
	}
	if len(at.Check) > 0 {
		if err := strict(at.Check, &p.check); err != nil {
			return nil, fmt.Errorf("check: %w", err)
		}
	}
	// Every output holds the empty string.
	p.check.Leak = slices.DeleteFunc(p.check.Leak, func(s string) bool { return s == "" })
	for i, raw := range at.Input.Requests {
		var s Step
		if err := strict(raw, &s); err != nil {
			return nil, fmt.Errorf("step %d: %w", i+1, err)
		}
		form, err := s.form(raw)
		if err != nil {
			return nil, fmt.Errorf("step %d: %w", i+1, err)
		}
		if s.From != "" && s.From != "upstream" {
			return nil, fmt.Errorf("step %d: from %q is not known", i+1, s.From)
		}
		p.steps, p.forms = append(p.steps, s), append(p.forms, form)
	}
	if len(p.steps) == 0 {
		return nil, fmt.Errorf("there is no step")
	}
	return p, nil
}

// has reports whether some step has the form.
func (p *plan) has(form string) bool { return slices.Contains(p.forms, form) }

// step gives the first step of the form, nil if there is none.
func (p *plan) step(form string) *Step {
	if i := slices.Index(p.forms, form); i >= 0 {
		return &p.steps[i]
	}
	return nil
}

// Load reads the SSH cases of files.
func Load(files ...string) ([]*Case, error) {
	var out []*Case
	err := cases.Lines(files, func(line []byte) error {
		var c Case
		if err := json.Unmarshal(line, &c); err != nil {
			return err
		}
		c.line = bytes.Clone(line)
		if c.Protocol == "ssh" {
			out = append(out, &c)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// unescape makes the bytes that a text means by \r and \n.
func unescape(s string) string {
	return strings.NewReplacer(`\r`, "\r", `\n`, "\n", `\\`, `\`).Replace(s)
}
