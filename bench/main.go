package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/doorward/doorward/e2e/harness"
)

// settings of a run.
type settings struct {
	seconds  int
	runs     int
	clients  []int
	modes    []string
	idle     int
	wideRows int
	out      string
	parts    []string
	tls      bool
}

func main() {
	if len(os.Args) == 4 && os.Args[1] == proxyCommand {
		fmt.Fprintln(os.Stderr, "bench:", reverseProxy(os.Args[2], os.Args[3]))
		os.Exit(1)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	err := run(ctx, os.Args[1:])
	harness.Cleanup()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func parse(args []string) (settings, error) {
	root, err := harness.Root()
	if err != nil {
		return settings{}, err
	}
	s := settings{}
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.IntVar(&s.seconds, "seconds", 4, "length of each measurement")
	f.IntVar(&s.runs, "runs", 5, "measurements of each kind; the median counts")
	modes := f.String("modes", "simple,extended,prepared", "protocols of pgbench")
	clients := f.String("clients", "1,8,64", "clients of pgbench")
	parts := f.String("parts", "statements,latency,wide,idle,ssh,kubernetes,http", "what to measure")
	f.IntVar(&s.idle, "idle", 1000, "idle sessions whose memory is measured")
	f.IntVar(&s.wideRows, "rows", 100_000, "rows of the wide result")
	f.BoolVar(&s.tls, "tls", false, "clients reach doorward by TLS (the others stay without)")
	f.StringVar(&s.out, "out", filepath.Join(root, "bench/results.json"), "file for the results")
	if err := f.Parse(args); err != nil {
		return s, err
	}
	s.modes, s.parts = strings.Split(*modes, ","), strings.Split(*parts, ",")
	for _, c := range strings.Split(*clients, ",") {
		n, err := strconv.Atoi(c)
		if err != nil || n < 1 {
			return s, fmt.Errorf("-clients %q: want numbers such as 1,8,64", *clients)
		}
		s.clients = append(s.clients, n)
	}
	if s.seconds < 1 || s.runs < 1 {
		return s, errors.New("-seconds and -runs have to be at least 1")
	}
	return s, nil
}

// results are what is written.
type results struct {
	When       time.Time         `json:"when"`
	CPUs       int               `json:"cpus"`
	Load       string            `json:"load_before"` // of the machine, before the run: more than 0.5 and the figures are worth little
	Seconds    int               `json:"seconds"`
	Runs       int               `json:"runs"`
	Statements []statementResult `json:"statements,omitempty"`
	Latency    []latencyResult   `json:"latency,omitempty"`
	Wide       []wideResult      `json:"wide,omitempty"`
	Idle       []idleResult      `json:"idle,omitempty"`
	SSH        []sshResult       `json:"ssh,omitempty"`
	Kubernetes []kubeResult      `json:"kubernetes,omitempty"`
	HTTP       []httpResult      `json:"http,omitempty"`
}

func run(ctx context.Context, args []string) error {
	s, err := parse(args)
	if err != nil {
		return err
	}
	load, _ := os.ReadFile("/proc/loadavg")
	r := &results{When: time.Now().UTC(), CPUs: runtime.NumCPU(), Load: strings.TrimSpace(string(load)), Seconds: s.seconds, Runs: s.runs}
	st, err := newStage(ctx, s)
	if err != nil {
		return err
	}
	defer st.close()
	for _, part := range []struct {
		name string
		do   func(context.Context, *stage, settings, *results) error
	}{{"statements", statements}, {"latency", latency}, {"wide", wide}, {"idle", idle}, {"ssh", sshWays}, {"kubernetes", kubeWays}, {"http", httpWays}} {
		if !slices.Contains(s.parts, part.name) {
			continue
		}
		if err := part.do(ctx, st, s, r); err != nil {
			return fmt.Errorf("%s: %w", part.name, err)
		}
		r.print(os.Stdout, part.name)
	}
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(s.out, append(b, '\n'), 0o644); err != nil {
		return err
	}
	fmt.Printf("\nwritten to %s (%s processors, load before: %s)\n", s.out, fmt.Sprint(r.CPUs), r.Load)
	return nil
}

func median(v []float64) float64 {
	if len(v) == 0 {
		return 0
	}
	v = slices.Sorted(slices.Values(v))
	if n := len(v); n%2 == 0 {
		return (v[n/2-1] + v[n/2]) / 2
	}
	return v[len(v)/2]
}
