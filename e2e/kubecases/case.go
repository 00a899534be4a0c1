package kubecases

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/doorward/doorward/e2e/cases"
)

// Case is one line of a corpus file.
type Case struct {
	ID       string          `json:"id"`
	Protocol string          `json:"protocol"`
	Kind     string          `json:"kind"` // attack, robustness or benign
	Title    string          `json:"title"`
	Policy   []string        `json:"policy"`
	Input    json.RawMessage `json:"input"`
	Expect   struct {
		Outcome string   `json:"outcome"`
		Accept  []string `json:"accept"`
	} `json:"expect"`
	Why   string          `json:"why"`
	Tags  []string        `json:"tags"`
	Check json.RawMessage `json:"check"`
}

// Check says how the effect is seen. Probe, Setup and Cleanup are commands
// beside the gate: kubectl signs in there as an administrator.
type Check struct {
	Attrs       *Attrs   `json:"attrs"`        // what the API server makes of the request
	Leak        []string `json:"leak"`         // the effect shows these
	Evidence    []string `json:"evidence"`     // text that shows the ungated effect
	Contains    []string `json:"contains"`     // what a benign case shows
	Rows        *int     `json:"rows"`         // objects that come back
	Probe       string   `json:"probe"`        // prints
	Before      string   `json:"before"`       // this before,
	After       string   `json:"after"`        // and this after the effect
	ServerError string   `json:"server_error"` // status or reason of the API server's error
	MinMS       int64    `json:"min_ms"`
	HangMS      int64    `json:"hang_ms"`
	ConnClosed  bool     `json:"conn_closed"`
	GoReads     string   `json:"go_reads"` // METHOD|path that net/http reads, or "reject"
	Setup       []string `json:"setup"`
	Cleanup     []string `json:"cleanup"`
	NoDirect    string   `json:"no_direct"` // why it cannot be shown without a gate
}

// Attrs are the attributes of a request that an API server decides by.
type Attrs struct {
	Verb, Group, Namespace, Resource, Subresource, Name string
}

// Headers are those of a request, in order; one may come more than once.
type Headers [][2]string

// UnmarshalJSON reads an object whose values are texts or lists of texts. Its
// order counts, and so does a name that comes twice.
func (h *Headers) UnmarshalJSON(b []byte) error {
	d := json.NewDecoder(bytes.NewReader(b))
	if t, err := d.Token(); err != nil || t == nil {
		return err
	} else if t != json.Delim('{') {
		return errors.New("headers are not an object")
	}
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return err
		}
		var v any
		if err := d.Decode(&v); err != nil {
			return err
		}
		name := t.(string)
		switch v := v.(type) {
		case string:
			*h = append(*h, [2]string{name, v})
		case []any:
			for _, one := range v {
				*h = append(*h, [2]string{name, fmt.Sprint(one)})
			}
		default:
			return fmt.Errorf("the header %s is neither a text nor a list", name)
		}
	}
	return nil
}

func (h Headers) has(name string) bool {
	return slices.ContainsFunc(h, func(x [2]string) bool { return strings.EqualFold(x[0], name) })
}

// Request is what a client sends: the parts of a request, or bytes as they are.
type Request struct {
	Method  string          `json:"method"`
	Target  string          `json:"target"`
	Headers Headers         `json:"headers"`
	Body    json.RawMessage `json:"body"` // a text, or JSON
	BodyHex string          `json:"body_hex"`
	BodyGen json.RawMessage `json:"body_gen"`

	Raw    *string `json:"request"`
	RawHex *string `json:"request_hex"`
}

// Input is what a case does.
type Input struct {
	Type  string            `json:"type"` // http, raw_http or script
	Steps []json.RawMessage `json:"steps"`
	Request
}

// Step is one step of a script.
type Step struct {
	Op string `json:"op"` // one of ops
	Request

	Status int `json:"status"` // of upstream_reply

	Name    string   `json:"name"` // of dns
	Answers []string `json:"answers"`

	IntervalMS  int `json:"interval_ms"` // of send_slow: between two pieces; 0: slowEvery
	Bytes       int `json:"bytes"`       // of a piece; 0: 1
	Connections int `json:"connections"` // that do so at once; 0: 1
	TimeoutMS   int `json:"timeout_ms"`  // how long the client goes on; 0: slowFor
}

// ops are the steps, and the fields that each takes.
var ops = map[string][]string{
	"send":                 request,
	"send_same_connection": request,
	"send_slow":            append([]string{"interval_ms", "bytes", "connections", "timeout_ms"}, request...),
	"upstream_reply":       {"status", "headers", "body", "body_hex", "body_gen"},
	"dns":                  {"name", "answers"},
}

var request = []string{"method", "target", "headers", "body", "body_hex", "body_gen", "request", "request_hex"}

// plan is a case read whole.
type plan struct {
	*Case
	check Check
	steps []Step
}

func (c *Case) plan() (*plan, error) {
	p := &plan{Case: c}
	if len(c.Check) > 0 {
		if err := cases.Strict(c.Check, &p.check); err != nil {
			return nil, fmt.Errorf("check: %w", err)
		}
	}
	// Every output holds the empty string.
	p.check.Leak = slices.DeleteFunc(p.check.Leak, func(s string) bool { return s == "" })
	var in Input
	if err := cases.Strict(c.Input, &in); err != nil {
		return nil, fmt.Errorf("input: %w", err)
	}
	switch in.Type {
	case "http", "raw_http":
		if raw := in.Raw != nil || in.RawHex != nil; raw != (in.Type == "raw_http") || len(in.Steps) > 0 {
			return nil, fmt.Errorf("the input is not of type %s alone", in.Type)
		}
		p.steps = []Step{{Op: "send", Request: in.Request}}
		return p, nil
	case "script":
	default:
		return nil, fmt.Errorf("input type %q is not known", in.Type)
	}
	for i, raw := range in.Steps {
		s, err := readStep(raw)
		if err != nil {
			return nil, fmt.Errorf("step %d: %w", i+1, err)
		}
		p.steps = append(p.steps, s)
	}
	if !slices.ContainsFunc(p.steps, Step.sends) {
		return nil, errors.New("nothing is sent")
	}
	return p, nil
}

func readStep(raw []byte) (Step, error) {
	var s Step
	if err := cases.Strict(raw, &s); err != nil {
		return s, err
	}
	takes, known := ops[s.Op]
	if !known {
		return s, fmt.Errorf("op %q is not known", s.Op)
	}
	var keys map[string]json.RawMessage
	if err := json.Unmarshal(raw, &keys); err != nil {
		return s, err
	}
	for k := range keys {
		if k != "op" && !slices.Contains(takes, k) {
			return s, fmt.Errorf("%s takes no %q", s.Op, k)
		}
	}
	return s, nil
}

// sends reports whether the client sends something in this step.
func (s Step) sends() bool { return strings.HasPrefix(s.Op, "send") }

// has reports whether some step is an op.
func (p *plan) has(op string) bool {
	return slices.ContainsFunc(p.steps, func(s Step) bool { return s.Op == op })
}

// bytes of the body, nil if there is none.
func (r *Request) body() ([]byte, error) {
	switch {
	case len(r.BodyGen) > 0:
		_, b, err := generate(r.BodyGen)
		return b, err
	case r.BodyHex != "":
		return hex.DecodeString(r.BodyHex)
	case len(r.Body) == 0 || string(r.Body) == "null":
		return nil, nil
	case r.Body[0] == '"':
		var s string
		err := json.Unmarshal(r.Body, &s)
		return []byte(s), err
	}
	return r.Body, nil
}

// Load reads the Kubernetes cases of files.
func Load(files ...string) ([]*Case, error) {
	var out []*Case
	err := cases.Lines(files, func(line []byte) error {
		var c Case
		if err := json.Unmarshal(line, &c); err != nil {
			return err
		}
		if c.Protocol == "kubernetes" {
			out = append(out, &c)
		}
		return nil
	})
	return out, err
}
