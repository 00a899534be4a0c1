package httpcases

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// verdict is what doorward policy eval says of a case's request; zero where it
// cannot be asked.
type verdict struct{ Decision, Reason string }

// evaluate asks for all cases whose one request can be put to it.
func (w *world) evaluate(ctx context.Context, list []*Case) (map[string]verdict, error) {
	out := map[string]verdict{}
	lines := map[*gate]*bytes.Buffer{}
	for _, c := range list {
		p, err := c.plan()
		if err != nil {
			continue // that is said where it is run
		}
		req := p.offline()
		if req == nil {
			continue
		}
		g, err := w.gate(ctx, p)
		if err != nil {
			return nil, err
		}
		if lines[g] == nil {
			lines[g] = &bytes.Buffer{}
		}
		b, err := json.Marshal(map[string]any{"id": c.ID, "http": req})
		if err != nil {
			return nil, err
		}
		lines[g].Write(append(b, '\n'))
	}
	for g, in := range lines {
		cmd, err := g.Command(ctx, "policy", "eval", "--config", g.ConfigPath(), "--target", targetName, "--user", userName, "--groups", strings.Join(g.groups, ","))
		if err != nil {
			return nil, err
		}
		var errs bytes.Buffer
		cmd.Stdin, cmd.Stderr = in, &errs
		b, err := cmd.Output()
		if err != nil {
			return nil, fmt.Errorf("doorward policy eval: %w: %s", err, errs.String())
		}
		for l := range bytes.Lines(b) {
			var a struct {
				ID               string
				Decision, Reason string
			}
			if err := json.Unmarshal(l, &a); err != nil {
				return nil, fmt.Errorf("doorward policy eval: %w in %.200s", err, l)
			}
			out[a.ID] = verdict{a.Decision, a.Reason}
		}
	}
	return out, nil
}

// offline is the case's request as policy eval takes it; nil where it cannot be
// said there, which knows nothing of framing, hosts and bytes that are no text.
func (p *plan) offline() map[string]any {
	sends := slices.DeleteFunc(slices.Clone(p.steps), func(s Step) bool { return !s.sends() })
	if len(sends) != 1 {
		return nil
	}
	m, err := sends[0].at(endpoint{})
	if err != nil || m.vague || len(m.plain) != 1 || m.plain[0] == nil || m.parts != nil && !m.parts.clean() {
		return nil
	}
	r := m.plain[0]
	if r.host != serviceHost || !r.framed() && !r.headers.has("Transfer-Encoding") || !utf8.Valid(r.body) || !utf8.ValidString(r.target) {
		return nil
	}
	headers, size := map[string][]string{}, 0
	for _, h := range r.headers {
		// How long a head may be, and who asks, is not for it to say.
		if size += len(h[0]) + len(h[1]); size > 32<<10 || strings.EqualFold(h[0], "Authorization") || strings.EqualFold(h[0], "Doorward-Review") || !utf8.ValidString(h[1]) {
			return nil
		}
		if !strings.EqualFold(h[0], "Transfer-Encoding") {
			headers[h[0]] = append(headers[h[0]], h[1])
		}
	}
	return map[string]any{"method": r.method, "target": r.target, "headers": headers, "body": string(r.body)}
}

// agrees checks that policy eval decides as doorward did.
func (j *judge) agrees(r *round) {
	if j.offline.Decision == "" || len(r.answers) == 0 {
		return
	}
	what, p := r.answers[0].is()
	if what == failed || what == denied && j.has("upstream_reply") {
		return // it is about the answer
	}
	if what != j.offline.Decision {
		j.bad("policy eval says %s (%s), on the wire it is %s (%s)", j.offline.Decision, j.offline.Reason, what, p.Reason)
	}
	j.by += " | policy eval agrees"
}
