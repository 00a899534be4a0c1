package main

import (
	"os"

	"github.com/doorward/doorward/internal/cli"
)

func main() {
	os.Exit(cli.Main(&cli.Env{
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
		Serve: serve, TargetPlan: targetPlan, Reach: reach,
	}, os.Args[1:]))
}
