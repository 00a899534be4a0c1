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
	"slices"
	"strings"

	"github.com/doorward/doorward/e2e/cases"
	"github.com/doorward/doorward/e2e/harness"
	"github.com/doorward/doorward/e2e/httpcases"
	"github.com/doorward/doorward/e2e/kubecases"
	"github.com/doorward/doorward/e2e/rawpg"
	"github.com/doorward/doorward/e2e/sshcases"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	failed, err := run(ctx, os.Args[1:])
	harness.Cleanup()
	switch {
	case err != nil:
		fmt.Fprintln(os.Stderr, "corpus:", err)
		os.Exit(2)
	case failed:
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) (failed bool, err error) {
	root, err := harness.Root()
	if err != nil {
		return false, err
	}
	f := flag.NewFlagSet("corpus", flag.ContinueOnError)
	protocol := f.String("protocol", "postgres", "protocol of the cases to run: postgres, ssh, kubernetes or http")
	via := f.String("via", "gate", "gate: through doorward; direct: straight to the server, to check that each case does what it claims")
	split := f.String("split", "none", "how the client's bytes are cut: none, random or bytes (one by one)")
	mode := f.String("mode", "both", "how cases of type sql are sent: simple, extended or both")
	only := f.String("only", "", "run only the cases with these ids, comma separated")
	asJSON := f.Bool("json", false, "print one JSON object an outcome")
	verbose := f.Bool("v", false, "print what passes, too")
	policies := f.String("policies", filepath.Join(root, "e2e/policies"), "folder with P1.yaml …")
	fixture := f.String("fixture", filepath.Join(root, "e2e/testdata/corpus/fixtures/postgres.sql"), "SQL of the template database")
	workers := f.Int("workers", 0, "cases to run beside one another (default: twice the processors)")
	seed := f.Uint64("seed", 1, "seed of the random split")
	f.Usage = func() {
		fmt.Fprintln(f.Output(), "usage: go run ./e2e/corpus --protocol postgres|ssh|kubernetes|http [flags] FILE…")
		f.PrintDefaults()
	}
	files, err := harness.Flags(f, args)
	if errors.Is(err, flag.ErrHelp) {
		return false, nil
	} else if err != nil {
		return false, err
	}
	opt := cases.Options{Fixture: *fixture, Policies: *policies, Direct: *via == "direct", Split: rawpg.Split(*split), Seed: *seed, Workers: *workers}
	switch {
	case len(files) == 0:
		return false, errors.New("no file of cases given")
	case !slices.Contains([]string{"postgres", "ssh", "kubernetes", "http"}, *protocol):
		return false, fmt.Errorf("protocol %q has no runner: postgres, ssh, kubernetes and http have", *protocol)
	case *via != "gate" && *via != "direct":
		return false, fmt.Errorf("--via %q: want gate or direct", *via)
	case !slices.Contains([]rawpg.Split{rawpg.SplitNone, rawpg.SplitRandom, rawpg.SplitBytes}, opt.Split):
		return false, fmt.Errorf("--split %q: want none, random or bytes", *split)
	}
	switch *mode {
	case "both":
		opt.Modes = []cases.Mode{cases.Simple, cases.Extended}
	case "simple", "extended":
		opt.Modes = []cases.Mode{cases.Mode(*mode)}
	default:
		return false, fmt.Errorf("--mode %q: want simple, extended or both", *mode)
	}
	ids := strings.FieldsFunc(*only, func(r rune) bool { return r == ',' })
	other := func(id string) bool { return len(ids) > 0 && !slices.Contains(ids, id) }
	out := json.NewEncoder(os.Stdout)
	opt.Report = func(o cases.Outcome) {
		switch {
		case *asJSON:
			out.Encode(o)
		case !o.OK:
			fmt.Printf("FAIL %s %s %-8s %s\n", o.ID, o.Mode, o.Outcome, o.Title)
			for _, p := range o.Problems {
				fmt.Println("     ", p)
			}
		case *verbose:
			fmt.Printf("ok   %s %s %-8s %s | %s\n", o.ID, o.Mode, o.Outcome, o.Title, o.By)
		}
	}
	var outcomes []cases.Outcome
	none := errors.New("the files hold no case to run")
	switch *protocol {
	case "ssh":
		list, err := sshcases.Load(files...)
		if err != nil {
			return false, err
		}
		if list = slices.DeleteFunc(list, func(c *sshcases.Case) bool { return other(c.ID) }); len(list) == 0 {
			return false, none
		}
		if outcomes, err = sshcases.Run(ctx, list, sshcases.Options{Policies: *policies, Direct: opt.Direct, Report: opt.Report}); err != nil {
			return false, err
		}
	case "kubernetes":
		list, err := kubecases.Load(files...)
		if err != nil {
			return false, err
		}
		if list = slices.DeleteFunc(list, func(c *kubecases.Case) bool { return other(c.ID) }); len(list) == 0 {
			return false, none
		}
		if outcomes, err = kubecases.Run(ctx, list, kubecases.Options{Policies: *policies, Direct: opt.Direct, Report: opt.Report}); err != nil {
			return false, err
		}
	case "http":
		list, err := httpcases.Load(files...)
		if err != nil {
			return false, err
		}
		if list = slices.DeleteFunc(list, func(c *httpcases.Case) bool { return other(c.ID) }); len(list) == 0 {
			return false, none
		}
		if outcomes, err = httpcases.Run(ctx, list, httpcases.Options{Policies: *policies, Direct: opt.Direct, Report: opt.Report}); err != nil {
			return false, err
		}
	default:
		list, err := cases.Load(files...)
		if err != nil {
			return false, err
		}
		if list = slices.DeleteFunc(list, func(c *cases.Case) bool { return other(c.ID) }); len(list) == 0 {
			return false, none
		}
		if outcomes, err = cases.Run(ctx, list, opt); err != nil {
			return false, err
		}
	}
	s := cases.Summarise(outcomes)
	fmt.Fprintln(os.Stderr, s)
	return s.Failed > 0, nil
}
