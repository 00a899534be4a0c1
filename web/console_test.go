package web_test

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/doorward/doorward"
	"github.com/doorward/doorward/internal/api"
	"github.com/doorward/doorward/internal/api/apitest"
	"github.com/doorward/doorward/internal/store"
	"github.com/doorward/doorward/internal/wire/frame"
	"github.com/doorward/doorward/web"
)

// Until the console is built there is nothing but a placeholder.
func TestAssets(t *testing.T) {
	_, err := fs.Stat(web.Assets(), "index.html")
	if got := err == nil; got != web.Built() {
		t.Fatalf("Built says %v, index.html: %v", web.Built(), err)
	}
}

// TestConsole walks through the console in a real browser, against the real
// API with the rooms behind it. It needs a built console, Node, the modules of
// web/ and Chromium (make setup installs them); -short leaves it out.
func TestConsole(t *testing.T) {
	if testing.Short() {
		t.Skip("a browser takes long")
	}
	if !web.Built() {
		t.Fatal("the console is not built: run npm ci && npm run build in web/")
	}
	node, err := exec.LookPath("node")
	if err != nil {
		t.Fatal("no node: make setup installs it")
	}
	if _, err := os.Stat("node_modules/playwright-core"); err != nil {
		t.Fatal("no node_modules: run npm ci in web/")
	}
	chromium := os.Getenv("CHROMIUM")
	if chromium == "" {
		chromium = "/usr/bin/chromium"
	}
	if _, err := os.Stat(chromium); err != nil {
		t.Fatal("no chromium: make setup installs it")
	}

	h := apitest.Start(t, func(d *api.Deps) {
		d.Console = web.Assets()
		d.Admins = []string{"dba"}
	})
	agent, _ := h.Agent(t, "ada")
	record(t, h, agent)
	recordSSH(t, h, agent)

	shots, err := os.MkdirTemp("", "doorward-console-") // kept: a failure names a picture in it
	if err != nil {
		t.Fatal(err)
	}
	ctx, done := context.WithTimeout(t.Context(), 5*time.Minute)
	defer done()
	cmd := exec.CommandContext(ctx, node, "e2e/console.mjs")
	cmd.Env = append(os.Environ(), "DOORWARD_URL="+h.URL, "DOORWARD_USER=dora", "DOORWARD_PASSWORD=dora's password", "DOORWARD_APPROVE_REVIEW=1",
		"DOORWARD_SESSION=s-masked", "DOORWARD_SSH_SESSION=s-ssh", "DOORWARD_EXPECT_MASKED=1", "CHROMIUM="+chromium, "OUT="+shots, "DOORWARD_TRIGGER=")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	const statement = "UPDATE orders SET status = 'refunded' WHERE id = 7 -- \u202eypo\u202c"
	var filed doorward.Review
	var said strings.Builder
	for in := bufio.NewScanner(out); in.Scan(); {
		t.Log(in.Text())
		said.WriteString(in.Text() + "\n")
		if strings.Contains(in.Text(), "waiting for another to appear") {
			filed = h.Review(t, agent, statement)
		}
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("the walk failed: %v", err)
	}

	// What the page said is one thing; what the house holds is another.
	got, err := h.Reviews.Get(t.Context(), filed.ID)
	if err != nil {
		t.Fatal(err)
	}
	if got.State != doorward.ReviewApproved || len(got.Votes) != 1 || got.Votes[0].By != "dora" || !strings.Contains(got.Votes[0].Comment, "Checked in the browser") || got.Votes[0].MaxRows != 10 {
		t.Fatalf("the review is %s, votes %+v", got.State, got.Votes)
	}
	if seen := h.Events(t, doorward.EventReplayed); len(seen) == 0 {
		t.Fatal("looking at the recording was not recorded")
	}
	for _, want := range []string{"RLO", "appeared live, without a reload", "a***@example.com", "Verified.", "terminal: $ ls"} {
		if !strings.Contains(said.String(), want) {
			t.Errorf("the walk did not see %q", want)
		}
	}
}

// record makes a session with a masked result.
func record(t *testing.T, h *apitest.House, id doorward.Identity) {
	t.Helper()
	head := doorward.Header{Session: "s-masked", Identity: id, Target: "orders-db", Protocol: "postgres", Remote: "127.0.0.1:1", Started: time.Now().UTC()}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(h.Store.BeginSession(t.Context(), head))
	tp, err := h.Recorder.Open(t.Context(), head)
	must(err)
	frame := func(after time.Duration, request uint64, kind doorward.FrameKind, data []byte) {
		must(tp.Write(doorward.Frame{Kind: kind, At: head.Started.Add(after), Request: request, Data: data}))
	}
	asJSON := func(v any) []byte {
		b, err := json.Marshal(v)
		must(err)
		return b
	}
	frame(10*time.Millisecond, 1, doorward.FrameRequest, asJSON(doorward.RequestRecord{Statement: "SELECT id, email FROM customers", Decision: "allow", Rule: "reads", Masked: []string{"public.customers.email"}}))
	var reply []byte
	reply = message(reply, 'T', row("id", "email"))
	reply = message(reply, 'D', values("1", "a***@example.com"))
	reply = message(reply, 'D', values("2", "b***@example.com"))
	reply = message(reply, 'C', []byte("SELECT 2\x00"))
	reply = message(reply, 'Z', []byte("I"))
	frame(20*time.Millisecond, 1, doorward.FrameReply, reply)
	frame(21*time.Millisecond, 1, doorward.FrameOutcome, asJSON(doorward.OutcomeRecord{Rows: 2, Bytes: int64(len(reply)), Took: 11 * time.Millisecond}))
	frame(3*time.Second, 2, doorward.FrameRequest, asJSON(doorward.RequestRecord{Statement: "DROP TABLE customers", Decision: "deny", Rule: "no-ddl", Reason: "tables are not dropped here"}))
	seal, err := tp.Close()
	must(err)
	must(h.Store.EndSession(t.Context(), head.Session, store.SessionEnd{Ended: head.Started.Add(4 * time.Second), Reason: "closed", Seal: seal, Requests: 2, Rows: 2, Bytes: int64(len(reply))}))
}

// recordSSH makes a session with a terminal, whose output tries to act on it.
func recordSSH(t *testing.T, h *apitest.House, id doorward.Identity) {
	t.Helper()
	head := doorward.Header{Session: "s-ssh", Identity: id, Target: "app", Protocol: "ssh", Remote: "127.0.0.1:1", Started: time.Now().UTC()}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(h.Store.BeginSession(t.Context(), head))
	tp, err := h.Recorder.Open(t.Context(), head)
	must(err)
	request, err := json.Marshal(doorward.RequestRecord{Statement: "pty \"xterm-256color\" 60x12 -\nshell", Decision: "allow", Rule: "shells"})
	must(err)
	for i, f := range []doorward.Frame{
		{Kind: doorward.FrameRequest, Data: request},
		{Kind: doorward.FrameReply, Data: frame.Append(nil, frame.Output, []byte("$ "))},
		{Kind: doorward.FrameInput, Data: []byte("ls\r")},
		{Kind: doorward.FrameReply, Data: frame.Append(nil, frame.Output, []byte("ls\r\n\x1b]52;c;ZXZpbA==\a\x1b]0;owned\a\x1b[1;32mbin\x1b[0m  <script>alert(1)</script>\r\n$ "))},
		{Kind: doorward.FrameReply, Data: frame.AppendExit(frame.AppendWindow(nil, 100, 20), 0)},
		{Kind: doorward.FrameOutcome, Data: []byte(`{"took":900000000}`)},
	} {
		f.Request, f.At = 1, head.Started.Add(time.Duration(i)*300*time.Millisecond)
		must(tp.Write(f))
	}
	seal, err := tp.Close()
	must(err)
	must(h.Store.EndSession(t.Context(), head.Session, store.SessionEnd{Ended: head.Started.Add(2 * time.Second), Reason: "closed", Seal: seal, Requests: 1}))
}

// message appends a message of PostgreSQL's protocol.
func message(dst []byte, kind byte, body []byte) []byte {
	dst = append(dst, kind)
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(body)+4))
	return append(dst, body...)
}

// row describes columns of type text.
func row(names ...string) []byte {
	b := binary.BigEndian.AppendUint16(nil, uint16(len(names)))
	for _, n := range names {
		b = append(append(b, n...), 0)
		b = append(b, 0, 0, 0, 0, 0, 0)                         // table, column
		b = binary.BigEndian.AppendUint32(b, 25)                // text
		b = append(b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0) // size, modifier, format
	}
	return b
}

func values(vs ...string) []byte {
	b := binary.BigEndian.AppendUint16(nil, uint16(len(vs)))
	for _, v := range vs {
		b = append(binary.BigEndian.AppendUint32(b, uint32(len(v))), v...)
	}
	return b
}

// The files of the console are served with a policy that lets nothing inline
// run; so they may hold nothing inline.
func TestNothingInline(t *testing.T) {
	if !web.Built() {
		t.Fatal("the console is not built")
	}
	page, err := fs.ReadFile(web.Assets(), "index.html")
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"<style", " style=", "javascript:", " onload=", " onclick=", "http://", "https://"} {
		if strings.Contains(strings.ToLower(string(page)), bad) {
			t.Errorf("index.html holds %q", bad)
		}
	}
	if got := http.DetectContentType(page); !strings.HasPrefix(got, "text/html") {
		t.Errorf("index.html looks like %s", got)
	}
}
