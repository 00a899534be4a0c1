package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime/debug"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/doorward/doorward"
	"github.com/doorward/doorward/internal/api"
	"github.com/doorward/doorward/internal/gate"
	"github.com/doorward/doorward/internal/ledger"
	"github.com/doorward/doorward/internal/replay"
	"github.com/doorward/doorward/web"
)

// verifyEvery is how old the answer about the audit log may be.
const verifyEvery = 30 * time.Second

// api makes the console's handler.
func (h *house) api() (http.Handler, error) {
	v := verifier{h: h}
	return api.New(api.Deps{
		Identity: h.identity, Reviews: h.reviews, Store: h.store, Ledger: h.ledger, Live: live{h.gate},
		Replay: func(ctx context.Context, session string) (*api.Timeline, error) {
			r, err := replay.Open(h.cfg.RecordingsDir(), session)
			if err != nil {
				return nil, err
			}
			return r.Timeline(ctx)
		},
		Tape: func(ctx context.Context, session, format string, w io.Writer) error {
			r, err := replay.Open(h.cfg.RecordingsDir(), session)
			if err != nil {
				return err
			}
			switch format {
			case "json":
				return r.JSON(ctx, w)
			case "asciicast":
				return r.Asciicast(ctx, w)
			}
			return fmt.Errorf("format %q is neither asciicast nor json", format)
		},
		Verify:  v.verify,
		Targets: h.targetInfo,
		SSH:     h.sshAccess,
		Reaches: func(id *doorward.Identity, target string) bool { return h.gate.Rules().Policy.Reaches(id, target) },
		Ready:   h.ready,
		Metrics: h.metrics(), Console: web.Assets(), Hosts: h.hosts(), URL: h.cfg.Review.URL,
		Admins:  h.cfg.Identity.Admins,
		Closing: h.closing, Version: buildVersion(), Log: h.log,
		PlainLoopback: h.cfg.Listen.PlaintextOnLoopback,
	})
}

// ready says why doorward cannot work now, or nil.
func (h *house) ready() error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	if err := h.ledger.Health(); err != nil {
		return fmt.Errorf("ledger: %w", err)
	}
	if err := h.store.Ping(ctx); err != nil {
		return fmt.Errorf("store: %w", err)
	}
	return nil
}

func (h *house) targetInfo() []api.TargetInfo {
	var out []api.TargetInfo
	for _, name := range h.targets.names() {
		t, ok := h.targets.find(name)
		if !ok {
			continue
		}
		at := h.cfg.Listen.Postgres
		switch t.Protocol {
		case "ssh":
			at = h.cfg.Listen.SSH
		case "kubernetes":
			at = h.cfg.Listen.Kubernetes
		case "http":
			at = h.cfg.Listen.HTTP
		}
		out = append(out, api.TargetInfo{Name: name, Protocol: t.Protocol, Database: t.Database, Host: h.reachedBy(at), Port: port(at), CAPEM: string(h.ca)})
	}
	return out
}

// reachedBy is the name by which clients reach a listener.
func (h *house) reachedBy(listener string) string {
	host, _, _ := net.SplitHostPort(listener)
	if h.cfg.Listen.Host != "" {
		host = h.cfg.Listen.Host
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() || host == "" {
		host = "localhost"
	}
	return host
}

// live shows the gate's open sessions to the API.
type live struct{ g *gate.Gate }

func (l live) Sessions() []api.LiveSession {
	var out []api.LiveSession
	for _, s := range l.g.Sessions() {
		out = append(out, api.LiveSession{ID: s.ID, Identity: s.Identity, Target: s.Target, Protocol: s.Protocol, Started: s.Started, Requests: int64(s.Requests)})
	}
	return out
}

func (l live) Kill(id, by string) error { return l.g.Kill(id, by) }

// verifier checks the audit log for the console, at most every verifyEvery.
type verifier struct {
	h    *house
	mu   sync.Mutex
	last api.Audit
	at   time.Time
}

func (v *verifier) verify(context.Context) (api.Audit, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if time.Since(v.at) < verifyEvery {
		return v.last, nil
	}
	cp, err := v.h.ledger.Checkpoint()
	if err != nil {
		return api.Audit{}, err
	}
	r, err := ledger.Verify(v.h.cfg.Ledger, ledger.VerifyOptions{Tapes: v.h.cfg.RecordingsDir()})
	if err != nil {
		return api.Audit{}, err
	}
	a := api.Audit{Size: r.Size, Root: r.Root, Checkpoint: string(cp), OK: r.OK, CheckedAt: time.Now()}
	for _, p := range r.Problems {
		a.Problems = append(a.Problems, fmt.Sprintf("event %d: %s", p.Index, p.What))
	}
	v.last, v.at = a, time.Now()
	return a, nil
}

// metrics makes the Prometheus handler. Counters are read from where they are
// counted, at scrape time.
func (h *house) metrics() http.Handler {
	reg := prometheus.NewRegistry()
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	st := &h.gate.Stats
	counter := func(name, help string, f func() int64) {
		reg.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Namespace: "doorward", Name: name, Help: help}, func() float64 { return float64(f()) }))
	}
	counter("sessions_total", "Sessions opened.", st.Sessions.Load)
	counter("signin_failures_total", "Credentials that were not accepted.", st.SignInsFailed.Load)
	counter("requests_allowed_total", "Requests that were let through.", st.Allowed.Load)
	counter("requests_refused_total", "Requests that were refused.", st.Refused.Load)
	counter("requests_held_total", "Requests that were held for review.", st.Held.Load)
	counter("sessions_killed_total", "Sessions that were ended from outside.", st.Killed.Load)
	counter("rows_total", "Rows released to clients.", st.Rows.Load)
	counter("bytes_total", "Bytes of rows released to clients.", st.Bytes.Load)
	counter("faults_total", "Requests refused because a part of doorward failed.", st.Faults.Load)
	reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: "doorward", Name: "sessions_open", Help: "Sessions that are open now."}, func() float64 { return float64(len(h.gate.Sessions())) }))
	reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: "doorward", Name: "ledger_events", Help: "Events in the ledger."}, func() float64 { return float64(h.ledger.Size()) }))
	return promhttp.HandlerFor(reg, promhttp.HandlerOpts{})
}

// version is set by the linker in releases.
var version string

// buildVersion names the build.
func buildVersion() string {
	if version != "" {
		return version
	}
	if b, ok := debug.ReadBuildInfo(); ok && b.Main.Version != "" {
		return b.Main.Version
	}
	return "(devel)"
}
