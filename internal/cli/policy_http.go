package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/doorward/doorward"
	"github.com/doorward/doorward/internal/classify/http"
	"github.com/doorward/doorward/internal/policy"
)

// httpLine is the part "http" of a line of policy eval: a request as it comes
// in, without the target's own part of the path. A header's value is a text, or
// a list of them, one for each time that the header comes.
type httpLine struct {
	Method  string                     `json:"method"`
	Target  string                     `json:"target"`
	Headers map[string]json.RawMessage `json:"headers"`
	Body    string                     `json:"body"`
}

func parseHTTPLine(raw json.RawMessage) (http.Incoming, error) {
	var l httpLine
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(&l); err != nil {
		return http.Incoming{}, fmt.Errorf(`"http" is not a request: %w`, err)
	}
	in := http.Incoming{Method: l.Method, Target: l.Target, Body: []byte(l.Body)}
	for _, name := range slices.Sorted(maps.Keys(l.Headers)) {
		value := l.Headers[name]
		var one string
		var several []string
		switch {
		case json.Unmarshal(value, &one) == nil && !isNull(value):
			several = []string{one}
		case json.Unmarshal(value, &several) == nil && !isNull(value):
		default:
			return http.Incoming{}, fmt.Errorf(`the header %.60q of "http" is not a text`, name)
		}
		for _, v := range several {
			in.Fields = append(in.Fields, http.Field{Name: name, Value: v})
		}
	}
	return in, nil
}

// httpText gives the decision about a request as people write it.
func (j *judge) httpText(id *doorward.Identity, text string) (doorward.Decision, *doorward.Effect) {
	in, err := http.ParseMessage(text)
	if err != nil {
		return j.refuseHTTP(err)
	}
	return j.http(id, in)
}

// http gives the decision about a request as it comes in, and the effect; nil
// when the request would not get as far as the policy.
func (j *judge) http(id *doorward.Identity, in http.Incoming) (doorward.Decision, *doorward.Effect) {
	if j.service == nil {
		return j.refuse("target "+j.target+" does not speak HTTP", "")
	}
	operations, err := j.service.Operations()
	if err != nil {
		return j.refuse(err.Error(), "")
	}
	env := &http.Env{Headers: j.service.Headers, Operations: operations}
	r, err := http.FromHTTP(in, env)
	if err != nil {
		return j.refuseHTTP(err)
	}
	text, err := r.Text()
	if err != nil {
		return j.refuseHTTP(err)
	}
	reading, err := http.Read(text, env)
	if err != nil {
		return j.refuseHTTP(err)
	}
	return j.cfg.CompiledPolicy().Decide(policy.Input{Identity: id, Target: j.target, Protocol: j.protocol, Effect: &reading.Effect, Now: j.now}), &reading.Effect
}

func (j *judge) refuseHTTP(err error) (doorward.Decision, *doorward.Effect) {
	var r *http.Refusal
	if errors.As(err, &r) {
		return j.refuse(r.Reason, r.Hint)
	}
	return j.refuse(err.Error(), "")
}
