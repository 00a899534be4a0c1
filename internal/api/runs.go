package api

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/doorward/doorward"
	"github.com/doorward/doorward/internal/identity"
)

type targetsOutput struct{ Body []TargetInfo }

func (s *server) targets(ctx context.Context, _ *struct{}) (*targetsOutput, error) {
	c, err := asking(ctx)
	if err != nil {
		return nil, err
	}
	return &targetsOutput{Body: s.reachable(c.id)}, nil
}

// reachable lists the targets that some rule could let id use.
func (s *server) reachable(id doorward.Identity) []TargetInfo {
	out := []TargetInfo{}
	for _, t := range s.Targets() {
		if (len(id.Targets) == 0 || slices.Contains(id.Targets, t.Name)) && s.Reaches(&id, t.Name) {
			out = append(out, t)
		}
	}
	slices.SortFunc(out, func(a, b TargetInfo) int { return strings.Compare(a.Name, b.Name) })
	return out
}

type connectInput struct {
	Name string `path:"name" maxLength:"128"`
}

type connectOutput struct{ Body Connect }

func (s *server) connect(ctx context.Context, in *connectInput) (*connectOutput, error) {
	c, err := asking(ctx)
	if err != nil {
		return nil, err
	}
	for _, t := range s.reachable(c.id) {
		if t.Name == in.Name {
			return &connectOutput{Body: Connect{Host: t.Host, Port: t.Port, Database: t.Name, Protocol: t.Protocol, CAPEM: t.CAPEM}}, nil
		}
	}
	return nil, noTarget(in.Name)
}

func noTarget(name string) error {
	return problem(http.StatusNotFound, "there is no target "+clip(name, 128)+" that you can reach", "`doorward targets` lists those that the policy lets you reach.")
}

type startRunInput struct{ Body RunRequest }

type startRunOutput struct{ Body RunStarted }

func (s *server) startRun(ctx context.Context, in *startRunInput) (*startRunOutput, error) {
	c, err := asking(ctx)
	if err != nil {
		return nil, err
	}
	if c.id.Agent != "" || c.id.Workload {
		return nil, problem(http.StatusForbidden, "only a person may start a run", "Sign in as yourself with `doorward login`.")
	}
	mine := s.reachable(c.id)
	for _, name := range in.Body.Targets {
		if !slices.ContainsFunc(mine, func(t TargetInfo) bool { return t.Name == name }) {
			return nil, noTarget(name)
		}
	}
	run, token, err := s.Identity.StartRun(ctx, c.id, identity.RunRequest{Agent: in.Body.Agent, Task: in.Body.Task, Targets: in.Body.Targets, TTL: time.Duration(in.Body.TTL) * time.Second})
	if err != nil {
		return nil, s.identityFault(ctx, "the run could not be started", err)
	}
	out := &startRunOutput{Body: RunStarted{Run: run.ID, Token: token, Expires: run.Expires, Targets: run.Targets}}
	if out.Body.Targets == nil {
		out.Body.Targets = []string{}
	}
	for _, t := range mine {
		if t.Protocol == "ssh" && out.Body.SSH == nil && in.Body.SSHKey != "" && (len(run.Targets) == 0 || slices.Contains(run.Targets, t.Name)) {
			access, err := s.SSH(in.Body.SSHKey, doorward.Identity{Name: c.id.Name, Agent: run.Agent, Credential: run.Credential, Expires: run.Expires})
			if err != nil {
				return nil, s.sshFault(ctx, err)
			}
			out.Body.SSH = &access
		}
	}
	for _, t := range mine {
		if t.Protocol == "postgres" && (len(run.Targets) == 0 || slices.Contains(run.Targets, t.Name)) {
			out.Body.Postgres = &Endpoint{Host: t.Host, Port: t.Port, CAPEM: t.CAPEM}
			break
		}
	}
	return out, nil
}

type runsOutput struct{ Body []Run }

func (s *server) runs(ctx context.Context, _ *struct{}) (*runsOutput, error) {
	c, err := asking(ctx)
	if err != nil {
		return nil, err
	}
	q := identity.RunQuery{Subject: c.id.Subject}
	if s.admin(c.id) {
		q.Subject = ""
	}
	list, err := s.Identity.Runs(ctx, q)
	if err != nil {
		return nil, s.fault(ctx, "the runs cannot be read", err)
	}
	out := &runsOutput{Body: make([]Run, 0, len(list))}
	for _, r := range list {
		out.Body = append(out.Body, Run{Run: r.ID, Agent: r.Agent, Name: r.Name, Task: r.Task, Targets: r.Targets, Started: r.Created, Expires: r.Expires, Ended: r.Ended, Live: r.Live})
	}
	return out, nil
}

type runInput struct {
	ID string `path:"id" maxLength:"128" pattern:"^[A-Za-z0-9._-]+$"`
}

func (s *server) endRun(ctx context.Context, in *runInput) (*noBody, error) {
	c, err := asking(ctx)
	if err != nil {
		return nil, err
	}
	r, err := s.Identity.Run(ctx, in.ID)
	if errors.Is(err, identity.ErrNotFound) || (err == nil && r.Subject != c.id.Subject && !s.admin(c.id)) {
		return nil, problem(http.StatusNotFound, "there is no run "+clip(in.ID, 128)+" of yours", "`doorward agents ls` lists your agents' runs.")
	}
	if err == nil {
		err = s.Identity.EndRun(ctx, in.ID, c.id, "ended by "+c.id.Name)
	}
	if err != nil {
		return nil, s.identityFault(ctx, "the run could not be ended", err)
	}
	return &noBody{}, nil
}

// audits keeps the last verification: it reads the whole ledger, so it runs
// once at a time and at most once in auditAge, whoever asks.
type audits struct {
	turn chan struct{} // holds one token
	last Audit
}

const (
	auditAge  = 30 * time.Second
	auditTime = 5 * time.Minute
)

type auditOutput struct{ Body Audit }

func (s *server) audit(ctx context.Context, _ *struct{}) (*auditOutput, error) {
	if _, err := asking(ctx); err != nil {
		return nil, err
	}
	select {
	case <-ctx.Done():
		return nil, problem(http.StatusServiceUnavailable, "the audit log is still being checked", "Try again in a moment.")
	case s.audits.turn <- struct{}{}:
	}
	defer func() { <-s.audits.turn }()
	if time.Since(s.audits.last.CheckedAt) > auditAge {
		// Whoever asked may leave: the next one gets the answer then.
		check, done := context.WithTimeout(context.WithoutCancel(ctx), auditTime)
		defer done()
		a, err := s.Verify(check)
		if err != nil {
			return nil, s.fault(ctx, "the audit log could not be checked", err)
		}
		a.CheckedAt = time.Now().UTC()
		s.audits.last = a
	}
	return &auditOutput{Body: s.audits.last}, nil
}
