package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"

	"github.com/doorward/doorward"
	"github.com/doorward/doorward/internal/ledger"
	"github.com/doorward/doorward/internal/tape"
)

// record makes a ledger with one recorded session below dir.
func record(t *testing.T, dir string) {
	t.Helper()
	start := time.Date(2026, 11, 24, 6, 0, 0, 0, time.UTC)
	tp, err := tape.NewRecorder(filepath.Join(dir, "tapes"), tape.Options{}).Start(t.Context(), doorward.Header{Session: "s1", Identity: doorward.Identity{Name: "ada"}, Target: "orders", Protocol: "postgres", Started: start})
	if err != nil {
		t.Fatal(err)
	}
	if err := tp.Write(doorward.Frame{Kind: doorward.FrameRequest, At: start, Request: 1, Data: []byte(`{"statement":"SELECT '\u001b[2J'","decision":"allow"}`)}); err != nil {
		t.Fatal(err)
	}
	seal, err := tp.Close()
	if err != nil {
		t.Fatal(err)
	}
	l, err := ledger.Open(filepath.Join(dir, "ledger"), ledger.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, ev := range []doorward.Event{
		{Kind: doorward.EventSessionOpen, Session: "s1"},
		{Kind: doorward.EventIntent, Session: "s1", Request: 1, Text: "SELECT '\x1b[2J'"},
		{Kind: doorward.EventOutcome, Session: "s1", Request: 1},
		{Kind: doorward.EventSessionClose, Session: "s1", Reason: "closed", Fields: map[string]string{tape.FieldTape: tp.Name(), tape.FieldHash: seal.Hash, tape.FieldFrames: fmt.Sprint(seal.Frames), tape.FieldBytes: fmt.Sprint(seal.Bytes)}},
	} {
		if _, err := l.Append(t.Context(), ev); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

// auditRun runs a command line made of the commands of this file.
func auditRun(t *testing.T, args ...string) (string, error) {
	t.Helper()
	var root struct {
		Audit  AuditCmd  `cmd:""`
		Replay ReplayCmd `cmd:""`
		Export ExportCmd `cmd:""`
	}
	var out bytes.Buffer
	parser, err := kong.New(&root, kong.Name("doorward"), kong.Writers(&out, &out), kong.Exit(func(int) { t.Fatal("exit") }))
	if err != nil {
		t.Fatal(err)
	}
	ctx, err := parser.Parse(args)
	if err != nil {
		return "", err
	}
	err = ctx.Run(&Env{Stdout: &out, Stderr: &out})
	return out.String(), err
}

func TestAuditAndReplayOffline(t *testing.T) {
	dir := t.TempDir()
	record(t, dir)
	store, tapes := "sqlite://"+filepath.Join(dir, "state.db"), filepath.Join(dir, "tapes")
	out, err := auditRun(t, "audit", "verify", "--store", store, "--tapes", tapes)
	if err != nil || !strings.HasPrefix(out, "ok: 4 events") || !strings.Contains(out, "1 tapes checked") {
		t.Fatal(out, err)
	}
	out, err = auditRun(t, "audit", "verify", "--ledger", filepath.Join(dir, "ledger"), "--json")
	var report ledger.Report
	if err != nil || json.Unmarshal([]byte(out), &report) != nil || !report.OK || report.Size != 4 {
		t.Fatal(out, err)
	}
	checkpoint, err := auditRun(t, "audit", "checkpoint", "--store", store)
	if err != nil || !strings.Contains(checkpoint, "\n4\n") {
		t.Fatal(checkpoint, err)
	}
	kept := filepath.Join(dir, "kept")
	if err := os.WriteFile(kept, []byte(checkpoint), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err = auditRun(t, "audit", "verify", "--store", store, "--checkpoint", kept)
	if err != nil || !strings.Contains(out, "outside checkpoint is over 4 events") {
		t.Fatal(out, err)
	}
	out, err = auditRun(t, "audit", "export", "--store", store, "--from", "1")
	lines := strings.Split(strings.TrimSpace(out), "\n")
	var first struct {
		Index uint64
		Event doorward.Event
	}
	if err != nil || len(lines) != 3 || json.Unmarshal([]byte(lines[0]), &first) != nil || first.Index != 1 || first.Event.Text != "SELECT '\x1b[2J'" || strings.Contains(out, "\x1b") {
		t.Fatal(out, err)
	}

	out, err = auditRun(t, "replay", "s1", "--tapes", tapes)
	if err != nil || !strings.Contains(out, `SELECT '\x1b[2J'`) {
		t.Fatal(out, err)
	}
	for format, want := range map[string]string{"asciicast": `{"version":3,`, "json": `"statement": "SELECT`, "text": "session s1"} {
		if out, err = auditRun(t, "export", "s1", "--tapes", tapes, "--format", format); err != nil || !strings.Contains(out, want) {
			t.Fatal(format, out, err)
		}
	}

	// What must fail, and with which code.
	code := func(want int, args ...string) string {
		t.Helper()
		out, err := auditRun(t, args...)
		var e *Exit
		if !errors.As(err, &e) || e.Code != want {
			t.Fatalf("%q: %v instead of exit code %d: %s", args, err, want, out)
		}
		return out + e.Error()
	}
	code(CodeUsage, "audit", "verify")
	if s := code(CodeUsage, "audit", "verify", "--store", "postgres://u:secret@h/db"); strings.Contains(s, "secret") {
		t.Fatal(s)
	}
	code(CodeUsage, "audit", "verify", "--store", store, "--tapes", filepath.Join(dir, "nowhere"))
	code(CodeError, "audit", "verify", "--ledger", filepath.Join(dir, "nowhere"))
	code(CodeError, "audit", "verify", "--store", store, "--checkpoint", filepath.Join(dir, "nowhere"))
	code(CodeError, "audit", "export", "--ledger", filepath.Join(dir, "nowhere"))
	code(CodeError, "audit", "checkpoint", "--ledger", dir)
	code(CodeError, "replay", "s2", "--tapes", tapes)
	code(CodeUsage, "replay", "s1", "--tapes", tapes, "--speed=-1")
	code(CodeError, "export", "s1", "--tapes", filepath.Join(dir, "nowhere"))

	path := filepath.Join(tapes, tape.Name("s1", time.Date(2026, 11, 24, 6, 0, 0, 0, time.UTC)))
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)-1] ^= 1
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if out := code(CodeError, "audit", "verify", "--store", store, "--tapes", tapes); !strings.Contains(out, "NOT ok: 1 problems") || !strings.Contains(out, "s1.tape") {
		t.Fatal(out)
	}
	if out := code(CodeError, "audit", "verify", "--store", store); !strings.Contains(out, "s1.tape") {
		t.Fatal(out)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if out := code(CodeError, "audit", "verify", "--store", store, "--tapes", tapes); !strings.Contains(out, "missing") {
		t.Fatal(out)
	}
}

// Without --tapes the folder beside the store's file is checked, where there is one.
func TestAuditVerifyFindsTapes(t *testing.T) {
	dir := t.TempDir()
	record(t, dir)
	store, tapes, moved := "sqlite://"+filepath.Join(dir, "state.db"), filepath.Join(dir, "tapes"), filepath.Join(dir, "moved")
	checked := func(n int, args ...string) {
		t.Helper()
		out, err := auditRun(t, append([]string{"audit", "verify", "--json"}, args...)...)
		var report ledger.Report
		if err != nil || json.Unmarshal([]byte(out), &report) != nil || report.Tapes != n {
			t.Fatalf("%q: %v, want %d tapes: %s", args, err, n, out)
		}
	}
	logs := filepath.Join(dir, "ledger")
	checked(1, "--store", store)
	checked(1, "--store", store+"?mode=ro", "--ledger", logs)
	checked(0, "--ledger", logs)
	checked(0, "--ledger", logs, "--store", "postgres://h/db")
	if err := os.Rename(tapes, moved); err != nil {
		t.Fatal(err)
	}
	checked(0, "--store", store)
	checked(1, "--store", store, "--tapes", moved)
	if err := os.WriteFile(tapes, nil, 0o600); err != nil { // no folder
		t.Fatal(err)
	}
	checked(0, "--store", store)
	if err := os.Remove(tapes); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(tapes, 0o700); err != nil { // one without what was sealed
		t.Fatal(err)
	}
	if out, err := auditRun(t, "audit", "verify", "--store", store); err == nil || !strings.Contains(out, "missing") {
		t.Fatal(out, err)
	}
	checked(1, "--store", store, "--tapes", moved) // overrides
}
