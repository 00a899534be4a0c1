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

	"github.com/doorward/doorward/e2e/harness"
	"github.com/doorward/doorward/e2e/leakcheck"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	failed, err := run(ctx, os.Args[1:])
	harness.Cleanup()
	switch {
	case err != nil:
		fmt.Fprintln(os.Stderr, "leaks:", err)
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
	f := flag.NewFlagSet("leaks", flag.ContinueOnError)
	blind := f.Bool("blind", false, "values in formats that no detector knows")
	via := f.String("via", "gate", "gate: through doorward; direct: straight to the server, to check that each case leaks")
	only := f.String("only", "", "run only the cases with these ids, comma separated")
	asJSON := f.Bool("json", false, "print one JSON object an outcome")
	verbose := f.Bool("v", false, "print what passes, too")
	schema := f.String("schema", filepath.Join(root, "e2e/testdata/masking/leak_schema.sql"), "SQL of the sample schema")
	policy := f.String("policy", filepath.Join(root, "e2e/policies/P2.yaml"), "policy in force beside the masking")
	files, err := harness.Flags(f, args)
	if errors.Is(err, flag.ErrHelp) {
		return false, nil
	} else if err != nil {
		return false, err
	}
	if *via != "gate" && *via != "direct" {
		return false, fmt.Errorf("--via %q: want gate or direct", *via)
	}
	file := filepath.Join(root, "e2e/testdata/masking/leak_cases.jsonl")
	if len(files) > 0 {
		file = files[0]
	}
	list, err := leakcheck.Load(file, *blind)
	if err != nil {
		return false, err
	}
	if *only != "" {
		ids := strings.Split(*only, ",")
		list = slices.DeleteFunc(list, func(c *leakcheck.Case) bool { return !slices.Contains(ids, c.ID) })
	}
	out := json.NewEncoder(os.Stdout)
	n, bad, denied := 0, 0, 0
	_, err = leakcheck.Run(ctx, list, leakcheck.Options{Schema: *schema, Policy: *policy, Blind: *blind, Direct: *via == "direct", Report: func(o leakcheck.Outcome) {
		n++
		if !o.OK {
			bad++
		}
		if o.Denied {
			denied++
		}
		switch {
		case *asJSON:
			out.Encode(o)
		case !o.OK:
			fmt.Printf("FAIL %s %s %s: %s\n", o.ID, o.Kind, o.Title, o.Problem)
		case *verbose:
			fmt.Printf("ok   %s %s %s %q\n", o.ID, o.Kind, o.Title, o.Errors)
		}
	}})
	fmt.Fprintf(os.Stderr, "%d cases, %d failed, %d got an error\n", n, bad, denied)
	return bad > 0, err
}
