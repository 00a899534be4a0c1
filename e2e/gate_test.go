package e2e

import (
	"bytes"
	"context"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/doorward/doorward/e2e/harness"
)

// startGate starts a doorward that ends with the test, in order.
func startGate(t *testing.T, c *harness.Config) *harness.Gate {
	t.Helper()
	g, err := harness.Start(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the end of doorward's log:\n%s", g.LogTail(4000))
		}
		if err := g.Close(); err != nil {
			t.Errorf("doorward did not stop cleanly: %v", err)
		}
	})
	return g
}

// signedInAs are the variables by which doorward's own commands sign in.
func signedInAs(g *harness.Gate, c *harness.Client) []string {
	return []string{"DOORWARD_TOKEN=" + c.Token, "DOORWARD_SERVER=" + g.Console, "DOORWARD_CA=" + g.CAPath()}
}

// doorwardAs runs doorward itself, signed in, and gives what it printed.
func doorwardAs(t *testing.T, g *harness.Gate, c *harness.Client, args ...string) string {
	t.Helper()
	cmd, err := g.Command(t.Context(), args...)
	if err != nil {
		t.Fatal(err)
	}
	cmd.Env = append(cmd.Env, signedInAs(g, c)...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("doorward %s: %v\n%s%s", strings.Join(args, " "), err, &out, &errs)
	}
	return out.String()
}

// sessionShowing finds the live or recorded session of a target that shows the
// text.
func sessionShowing(t *testing.T, c *harness.Client, target, text string) string {
	t.Helper()
	for range 100 {
		list, err := c.Sessions(t.Context(), "target="+target)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range list {
			tl, err := c.Timeline(t.Context(), s.ID)
			if err != nil {
				continue
			}
			for _, e := range tl.Entries {
				if strings.Contains(e.Statement, text) {
					return s.ID
				}
			}
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatalf("no session shows %q", text)
	return ""
}

// auditedWhole stops doorward and checks that its record is whole.
func auditedWhole(t *testing.T, g *harness.Gate) {
	t.Helper()
	if err := g.Stop(15 * time.Second); err != nil {
		t.Error(err)
	}
	out, err := g.CLI(context.WithoutCancel(t.Context()), "audit", "verify", "--ledger", filepath.Join(g.State, "ledger"), "--tapes", filepath.Join(g.State, "tapes"))
	if err != nil {
		t.Errorf("audit verify: %v\n%s", err, out)
	}
}
