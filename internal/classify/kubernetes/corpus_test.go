package kubernetes

import (
	"encoding/json"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"github.com/doorward/doorward"
	"github.com/doorward/doorward/internal/policy"
)

type corpusCase struct {
	ID, Kind string
	Input    struct {
		Type, Method, Target string
		Headers              map[string]string
		Body                 string
	}
	Expect struct{ Accept []string }
	Check  struct {
		Attrs *struct{ Verb, Group, Namespace, Resource, Subresource, Name string }
	}
}

func corpus(t testing.TB) []corpusCase {
	t.Helper()
	b, err := os.ReadFile("testdata/kubernetes.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	var out []corpusCase
	for line := range strings.Lines(string(b)) {
		var c corpusCase
		if err := json.Unmarshal([]byte(line), &c); err != nil {
			t.Fatal(err)
		}
		if c.Input.Type == "http" {
			out = append(out, c)
		}
	}
	if len(out) < 50 {
		t.Fatalf("only %d cases", len(out))
	}
	return out
}

func (c *corpusCase) http() HTTP {
	h := HTTP{Method: c.Input.Method, Target: c.Input.Target, Header: map[string][]string{}, Body: []byte(c.Input.Body)}
	for k, v := range c.Input.Headers {
		h.Header[k] = []string{v}
	}
	return h
}

// p5 is the standard policy of that name, as the tests with real clusters run
// it.
func p5(t testing.TB) *policy.Policy {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "..", "..", "e2e", "policies", "P5.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Policy policy.Document `yaml:"policy"`
	}
	if err := yaml.Unmarshal(b, &file); err != nil {
		t.Fatal(err)
	}
	p, err := policy.Compile(file.Policy)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// decide gives the outcome for a request as it came in, and the rule or the
// reason.
func decide(p *policy.Policy, h HTTP, env *Env) (doorward.Outcome, string) {
	r, err := FromHTTP(h)
	if err != nil {
		return doorward.Deny, err.Error()
	}
	text, err := r.Text()
	if err != nil {
		return doorward.Deny, err.Error()
	}
	reading, err := Read(text, env)
	if err != nil {
		return doorward.Deny, err.Error()
	}
	d := p.Decide(policy.Input{Identity: &doorward.Identity{Subject: "s", Name: "ada"}, Target: "app", Protocol: "kubernetes", Effect: &reading.Effect})
	return d.Outcome, d.Rule + ": " + d.Reason
}

func TestCorpus(t *testing.T) {
	p := p5(t)
	for _, c := range corpus(t) {
		got, why := decide(p, c.http(), nil)
		if !slices.Contains(c.Expect.Accept, got.String()) {
			t.Errorf("%s (%s %s): %s (%s), want %v", c.ID, c.Input.Method, c.Input.Target, got, why, c.Expect.Accept)
		}
		t.Logf("%s %s %s", c.ID, got, why)
		if c.Check.Attrs == nil {
			continue
		}
		u, err := url.Parse(c.Input.Target)
		if err != nil {
			t.Errorf("%s: %v", c.ID, err)
			continue
		}
		a, _, err := resolve(c.Input.Method, u.Path, u.Query())
		if err != nil {
			t.Errorf("%s: %v", c.ID, err)
		}
		if w := c.Check.Attrs; a.Verb != w.Verb || a.Group != w.Group || a.Namespace != w.Namespace || a.Resource != w.Resource || a.Subresource != w.Subresource || a.Name != w.Name || !a.IsResource {
			t.Errorf("%s: %+v, want %+v", c.ID, a, *w)
		}
		// What is let through is resolved to the same.
		if r, err := FromHTTP(c.http()); err == nil {
			if b, err := r.Attributes(); err != nil || b != a {
				t.Errorf("%s: let through as %+v, %v; want %+v", c.ID, b, err, a)
			}
		}
	}
}
