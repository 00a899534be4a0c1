package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/doorward/doorward"
	"github.com/doorward/doorward/internal/classify/kubernetes"
	"github.com/doorward/doorward/internal/policy"
)

// kubernetesLine is the part "kubernetes" of a line of policy eval: a request
// as it comes in, without the target's own part of the path. A header's value is
// a text, or a list of them; the body is a text, or JSON as it stands.
type kubernetesLine struct {
	Method  string                     `json:"method"`
	Target  string                     `json:"target"`
	Headers map[string]json.RawMessage `json:"headers"`
	Body    json.RawMessage            `json:"body"`
}

func parseKubernetesLine(raw json.RawMessage) (kubernetes.HTTP, error) {
	var l kubernetesLine
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(&l); err != nil {
		return kubernetes.HTTP{}, fmt.Errorf(`"kubernetes" is not a request: %w`, err)
	}
	h := kubernetes.HTTP{Method: l.Method, Target: l.Target, Header: map[string][]string{}}
	for name, value := range l.Headers {
		var one string
		var several []string
		switch {
		case json.Unmarshal(value, &one) == nil && !isNull(value):
			h.Header[name] = []string{one}
		case json.Unmarshal(value, &several) == nil && !isNull(value):
			h.Header[name] = several
		default:
			return kubernetes.HTTP{}, fmt.Errorf(`the header %.60q of "kubernetes" is not a text`, name)
		}
	}
	var body string
	switch {
	case len(l.Body) == 0 || isNull(l.Body):
	case l.Body[0] == '"':
		if err := json.Unmarshal(l.Body, &body); err != nil {
			return kubernetes.HTTP{}, fmt.Errorf(`the body of "kubernetes" is not a text: %w`, err)
		}
		h.Body = []byte(body)
	default:
		h.Body = l.Body
	}
	return h, nil
}

func isNull(raw json.RawMessage) bool { return string(bytes.TrimSpace(raw)) == "null" }

// kubernetesText gives the decision about a request as people write it.
func (j *judge) kubernetesText(id *doorward.Identity, text string) (doorward.Decision, *doorward.Effect) {
	h, err := kubernetes.ParseMessage(text)
	if err != nil {
		return j.refuseKubernetes(err)
	}
	return j.kubernetes(id, h)
}

// kubernetes gives the decision about a request as it comes in, and the effect;
// nil when the request would not get as far as the policy.
func (j *judge) kubernetes(id *doorward.Identity, h kubernetes.HTTP) (doorward.Decision, *doorward.Effect) {
	if j.cluster == nil {
		return j.refuse("target "+j.target+" does not speak Kubernetes", "")
	}
	r, err := kubernetes.FromHTTP(h)
	if err != nil {
		return j.refuseKubernetes(err)
	}
	text, err := r.Text()
	if err != nil {
		return j.refuseKubernetes(err)
	}
	reading, err := kubernetes.Read(text, &kubernetes.Env{Groups: j.cluster.Groups})
	if err != nil {
		return j.refuseKubernetes(err)
	}
	return j.cfg.CompiledPolicy().Decide(policy.Input{Identity: id, Target: j.target, Protocol: j.protocol, Effect: &reading.Effect, Now: j.now}), &reading.Effect
}

func (j *judge) refuseKubernetes(err error) (doorward.Decision, *doorward.Effect) {
	var r *kubernetes.Refusal
	if errors.As(err, &r) {
		return j.refuse(r.Reason, r.Hint)
	}
	return j.refuse(err.Error(), "")
}
