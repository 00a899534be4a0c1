package main

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/doorward/doorward"
	adapter "github.com/doorward/doorward/internal/adapter/postgres"
	"github.com/doorward/doorward/internal/certs"
	"github.com/doorward/doorward/internal/config"
	"github.com/doorward/doorward/internal/gate"
	"github.com/doorward/doorward/internal/identity"
	"github.com/doorward/doorward/internal/ledger"
	"github.com/doorward/doorward/internal/review"
	"github.com/doorward/doorward/internal/store"
	"github.com/doorward/doorward/internal/tape"
)

// drainTime is how long open requests may finish after a signal.
const drainTime = 20 * time.Second

// house holds the rooms of a running doorward.
type house struct {
	path     string
	cfg      *config.Config
	log      *slog.Logger
	store    *store.Store
	ledger   *ledger.Log
	reviews  *review.Service
	identity *identity.Service
	gate     *gate.Gate
	targets  *targets
	tls      *tls.Config
	ca       []byte
	maskKey  []byte
	closing  chan struct{}
	conns    sync.WaitGroup
	open     sync.Map // of net.Conn: all that conns counts
}

// serve runs the gate until ctx ends, then drains it.
func serve(ctx context.Context, path string, ready func()) error {
	h := &house{path: path, log: slog.New(slog.NewJSONHandler(os.Stderr, nil)), closing: make(chan struct{})}
	var err error
	if h.cfg, err = config.Load(path); err != nil {
		return err
	}
	if err := h.cfg.Ready(); err != nil {
		return err
	}
	for _, w := range h.cfg.Warnings() {
		h.log.Warn("configuration", "warning", w.Error())
	}
	if err := h.build(ctx); err != nil {
		h.close()
		return err
	}
	return h.run(ctx, ready)
}

// build makes the rooms, from the ground up.
func (h *house) build(ctx context.Context) error {
	c := h.cfg
	var err error
	if c.TLS.Cert != "" {
		h.tls, h.ca, err = certs.Configured(c.TLS.Cert, c.TLS.Key)
	} else {
		h.tls, h.ca, err = certs.SelfMade(c.StateDir(), append(h.hosts(), serviceHosts(c)...))
	}
	if err != nil {
		return err
	}
	if h.store, err = store.Open(ctx, c.Store); err != nil {
		return err
	}
	if h.ledger, err = ledger.Open(c.Ledger, ledger.Options{}); err != nil {
		return err
	}
	if h.maskKey, err = h.store.EnsureKey(ctx, "masking", func() ([]byte, error) {
		k := make([]byte, 32)
		_, err := rand.Read(k)
		return k, err
	}); err != nil {
		return err
	}
	if h.reviews, err = review.New(h.store, review.Options{Expiry: c.Review.Expiry, URL: c.Review.URL, Ledger: h.ledger, Log: h.log}); err != nil {
		return err
	}
	providers, err := providersOf(c)
	if err != nil {
		return err
	}
	if h.identity, err = identity.New(ctx, identity.Config{Providers: providers, RunTTL: c.Identity.RunTTL, PersonTTL: c.Identity.TokenTTL}, h.store, identity.Options{Ledger: h.ledger, Log: h.log}); err != nil {
		return err
	}
	rules, err := h.rules(c)
	if err != nil {
		return err
	}
	keys, err := h.sshKeys(ctx)
	if err != nil {
		return err
	}
	h.targets = &targets{keys: keys}
	h.gate, err = gate.New(gate.Options{
		Identifier: h.identity, Reviewer: h.reviews, Ledger: h.ledger,
		Recorder: tape.NewRecorder(c.RecordingsDir(), tape.Options{SessionBytes: int64(c.Record.SessionBytes), ReplyBytes: int64(c.Record.ReplyBytes)}),
		Registry: registry{h.store}, Target: h.targets.find, Rules: rules, ReviewWait: c.Review.Wait, Log: h.log,
	})
	if err != nil {
		return err
	}
	next, err := h.targets.prepare(c, func() *gate.Rules { r := h.gate.Rules(); return &r })
	if err != nil {
		return err
	}
	h.targets.put(next)
	h.identity.Watch(h.gate.Revoke)
	return h.begin(ctx)
}

// begin writes down that the process starts, and what a crash before left open.
func (h *house) begin(ctx context.Context) error {
	for _, id := range h.store.Interrupted() {
		ev := doorward.Event{Kind: doorward.EventSessionClose, Time: time.Now(), Session: id, Reason: "interrupted: doorward did not end in order", Fields: map[string]string{ledger.FieldEnd: ledger.EndInterrupted}}
		if err := h.record(ctx, ev); err != nil {
			return err
		}
	}
	return h.record(ctx, doorward.Event{Kind: doorward.EventServerStart, Time: time.Now(), Policy: h.cfg.CompiledPolicy().Version(), Fields: map[string]string{"version": buildVersion()}})
}

func (h *house) record(ctx context.Context, ev doorward.Event) error {
	r, err := h.ledger.Append(ctx, ev)
	if err == nil {
		_, err = r.Wait(ctx)
	}
	if err != nil {
		return fmt.Errorf("the ledger does not take events: %w", err)
	}
	return nil
}

func (h *house) rules(c *config.Config) (gate.Rules, error) {
	masks, err := c.MaskSet(h.maskKey)
	if err != nil {
		return gate.Rules{}, err
	}
	return gate.Rules{Policy: c.CompiledPolicy(), Masks: masks}, nil
}

// hosts are the names that doorward is reached by: the self-made certificate is
// for them, and the console answers to them.
func (h *house) hosts() []string {
	var out []string
	for _, a := range []string{h.cfg.Listen.Console, h.cfg.Listen.Postgres, h.cfg.Listen.SSH, h.cfg.Listen.Kubernetes, h.cfg.Listen.HTTP} {
		if host, _, err := net.SplitHostPort(a); err == nil {
			out = append(out, host)
		}
	}
	if h.cfg.Listen.Host != "" {
		out = append(out, h.cfg.Listen.Host)
	}
	// People are sent to the console by this name.
	if u, err := url.Parse(h.cfg.Review.URL); err == nil && u.Hostname() != "" {
		out = append(out, u.Hostname())
	}
	if name, err := os.Hostname(); err == nil {
		out = append(out, name)
	}
	return out
}

// run accepts connections until ctx ends.
func (h *house) run(ctx context.Context, ready func()) error {
	defer h.close()
	pg, err := net.Listen("tcp", h.cfg.Listen.Postgres)
	if err != nil {
		return fmt.Errorf("listen.postgres: %w", err)
	}
	defer pg.Close()
	plain, err := net.Listen("tcp", h.cfg.Listen.Console)
	if err != nil {
		return fmt.Errorf("listen.console: %w", err)
	}
	defer plain.Close()
	handler, err := h.api()
	if err != nil {
		return err
	}
	web := &http.Server{Handler: handler, TLSConfig: h.tls.Clone(), ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10, ErrorLog: slog.NewLogLogger(h.log.Handler(), slog.LevelDebug)}
	web.TLSConfig.NextProtos = []string{"h2", "http/1.1"}
	failed := make(chan error, 1)
	go func() { failed <- web.ServeTLS(plain, "", "") }()
	pgTLS := h.tls.Clone()
	pgTLS.NextProtos = []string{"postgresql"}
	srv := adapter.New(adapter.Options{TLS: pgTLS, Loopback: h.cfg.Listen.PlaintextOnLoopback, Dial: h.targets.dial, Log: h.log})
	go h.accept(ctx, pg, srv.Serve)
	hosts, err := h.listenSSH(ctx)
	if err != nil {
		return err
	}
	sshAddr := ""
	if hosts != nil {
		defer hosts.Close()
		sshAddr = hosts.Addr().String()
	}
	clusters, kubernetesAddr, err := h.listenKubernetes(ctx)
	if err != nil {
		return err
	}
	if clusters != nil {
		defer func() {
			stop, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			_ = clusters.Shutdown(stop)
		}()
	}
	services, httpAddr, err := h.listenHTTP(ctx)
	if err != nil {
		return err
	}
	if services != nil {
		defer func() {
			stop, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			_ = services.Shutdown(stop)
		}()
	}

	watch, stopWatch := context.WithCancel(ctx)
	defer stopWatch()
	go config.Watch(watch, h.path, h.reload, func(err error) {
		h.log.Error("the new configuration is wrong; the old one stays", "error", err)
	})
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)

	h.log.Info("doorward serves", "postgres", pg.Addr().String(), "ssh", sshAddr, "kubernetes", named(kubernetesAddr), "http", named(httpAddr), "console", plain.Addr().String(), "targets", h.targets.names(), "policy", h.cfg.CompiledPolicy().Version())
	ready()
	for {
		select {
		case <-hup:
			if c, err := config.Load(h.path); err != nil {
				h.log.Error("the new configuration is wrong; the old one stays", "error", err)
			} else {
				h.reload(c)
			}
			continue
		case err := <-failed:
			if !errors.Is(err, http.ErrServerClosed) {
				return fmt.Errorf("console: %w", err)
			}
		case <-ctx.Done():
		}
		break
	}
	h.log.Info("doorward drains")
	_ = pg.Close()
	if hosts != nil {
		_ = hosts.Close()
	}
	close(h.closing)
	drain, cancel := context.WithTimeout(context.Background(), drainTime)
	defer cancel()
	h.gate.Drain(drain)
	h.hangUp()
	_ = web.Shutdown(drain)
	stop, done := context.WithTimeout(context.Background(), 10*time.Second)
	defer done()
	return h.record(stop, doorward.Event{Kind: doorward.EventServerStop, Time: time.Now()})
}

// named is an address for the log; "" for none.
func named(a net.Addr) string {
	if a == nil {
		return ""
	}
	return a.String()
}

// hangUp waits until all connections are done. What is left after the sessions
// ended has not signed in, or does not read: it is closed.
func (h *house) hangUp() {
	left := time.AfterFunc(time.Second, func() {
		h.open.Range(func(c, _ any) bool { _ = c.(net.Conn).Close(); return true })
	})
	defer left.Stop()
	h.conns.Wait()
}

// maxConns bounds connections that have not signed in yet with those that have.
const maxConns = 20000

func (h *house) accept(ctx context.Context, l net.Listener, serve func(context.Context, *gate.Gate, net.Conn) error) {
	slots := make(chan struct{}, maxConns)
	for {
		conn, err := l.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			h.log.Warn("accept", "error", err)
			time.Sleep(50 * time.Millisecond)
			continue
		}
		select {
		case slots <- struct{}{}:
		default:
			_ = conn.Close()
			continue
		}
		h.conns.Add(1)
		h.open.Store(conn, nil)
		go func() {
			defer func() { h.open.Delete(conn); <-slots; h.conns.Done() }()
			defer func() {
				if p := recover(); p != nil {
					// One session's fault must not end the others.
					h.gate.Stats.Faults.Add(1)
					h.log.Error("a session ended by a fault of doorward", "panic", fmt.Sprint(p))
				}
			}()
			if err := serve(context.WithoutCancel(ctx), h.gate, conn); err != nil {
				h.log.Debug("session ended", "remote", conn.RemoteAddr().String(), "error", err)
			}
		}()
	}
}

// reload puts a new configuration in place: rules, targets and providers.
// Listeners, store and folders stay until the next start.
func (h *house) reload(c *config.Config) {
	if err := h.tryReload(c); err != nil {
		h.log.Error("the new configuration cannot be used; the old one stays", "error", err)
	}
}

func (h *house) tryReload(c *config.Config) error {
	if err := c.Ready(); err != nil {
		return err
	}
	providers, err := providersOf(c)
	if err != nil {
		return err
	}
	rules, err := h.rules(c)
	if err != nil {
		return err
	}
	// Whatever may be wrong with the new configuration shows up to here, before
	// any of it is in force.
	next, err := h.targets.prepare(c, func() *gate.Rules { r := h.gate.Rules(); return &r })
	if err != nil {
		return err
	}
	if err := h.identity.SetProviders(providers); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := h.record(ctx, doorward.Event{Kind: doorward.EventConfig, Time: time.Now(), Policy: c.CompiledPolicy().Version()}); err != nil {
		return err
	}
	h.gate.SetRules(rules)
	h.targets.put(next)
	h.dismiss()
	h.log.Info("a new configuration is in force", "policy", c.CompiledPolicy().Version())
	return nil
}

// dismiss ends the open sessions that the new configuration has no place for:
// people, groups, providers or targets that were taken out.
func (h *house) dismiss() {
	for _, s := range h.gate.Sessions() {
		if _, ok := h.targets.find(s.Target); ok && h.identity.Holds(&s.Identity) {
			continue
		}
		if err := h.gate.Kill(s.ID, "a new configuration"); err != nil {
			h.log.Debug("a session ended by itself", "session", s.ID, "error", err)
		}
	}
}

// close ends the rooms, from the roof down.
func (h *house) close() {
	if h.targets != nil {
		h.targets.close()
	}
	if h.identity != nil {
		_ = h.identity.Close()
	}
	if h.reviews != nil {
		_ = h.reviews.Close()
	}
	if h.ledger != nil {
		if err := h.ledger.Close(); err != nil {
			h.log.Error("ledger", "error", err)
		}
	}
	if h.store != nil {
		if err := h.store.Close(); err != nil {
			h.log.Error("store", "error", err)
		}
	}
}

// registry gives the gate's session index the shape of the store.
type registry struct{ *store.Store }

// EndSession implements gate.Registry.
func (r registry) EndSession(ctx context.Context, e gate.SessionEnd) error {
	return r.Store.EndSession(ctx, e.ID, store.SessionEnd{Ended: e.Ended, Reason: e.Why, Seal: e.Seal, Requests: int64(e.Requests), Refused: int64(e.Refused), Rows: e.Rows, Bytes: e.Bytes})
}

// port is the port number of a listener's address.
func port(addr string) int {
	_, p, _ := net.SplitHostPort(addr)
	n, _ := strconv.Atoi(p)
	return n
}
