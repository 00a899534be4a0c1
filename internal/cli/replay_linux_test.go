package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/doorward/doorward"
	"github.com/doorward/doorward/internal/api/apitest"
	"github.com/doorward/doorward/internal/store"
	"github.com/doorward/doorward/internal/wire/frame"
)

// inTerminal runs a command whose standard output is a terminal, and gives
// what came out of it.
func inTerminal(t *testing.T, args ...string) (code int, out, errs string) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer master.Close()
	var number, locked int32
	for request, arg := range map[uintptr]*int32{syscall.TIOCGPTN: &number, syscall.TIOCSPTLCK: &locked} {
		if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, master.Fd(), request, uintptr(unsafe.Pointer(arg))); errno != 0 {
			t.Fatal(errno)
		}
	}
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	read := make(chan string)
	go func() {
		b, _ := io.ReadAll(master) // ends with an error once the other end is closed
		read <- string(b)
	}()
	var e strings.Builder
	code = Main(&Env{Stdin: strings.NewReader(""), Stdout: slave, Stderr: &e}, args)
	slave.Close()
	return code, <-read, e.String()
}

func TestReplaySSH(t *testing.T) {
	h := apitest.Start(t, nil)
	agent, _ := h.Agent(t, "ada")
	head := doorward.Header{Session: "s-ssh", Identity: agent, Target: "app", Protocol: "ssh", Started: time.Now().UTC()}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(h.Store.BeginSession(t.Context(), head))
	tp, err := h.Recorder.Open(t.Context(), head)
	must(err)
	request, err := json.Marshal(doorward.RequestRecord{Statement: "exec cat /var/log/app/x.log", Decision: "allow", Rule: "looks"})
	must(err)
	reply := frame.Append(nil, frame.Output, []byte("\x1b[32mgreen\x1b[0m\n\x1b]52;c;ZXZpbA==\a\x1b[6nlast\n"))
	reply = frame.AppendExit(frame.Append(reply, frame.Message, []byte("doorward: cut\n")), 3)
	for i, f := range []doorward.Frame{{Kind: doorward.FrameRequest, Data: request}, {Kind: doorward.FrameReply, Data: reply}, {Kind: doorward.FrameOutcome, Data: []byte(`{"took":1000000}`)}} {
		f.Request, f.At = 1, head.Started.Add(time.Duration(i)*300*time.Millisecond)
		must(tp.Write(f))
	}
	seal, err := tp.Close()
	must(err)
	must(h.Store.EndSession(t.Context(), head.Session, store.SessionEnd{Ended: time.Now(), Reason: "closed", Seal: seal, Requests: 1}))
	h.Session(t, "s-pg", agent, "select 1", false)
	login(t, h, "ada")
	tapes := filepath.Join(h.Dir, "tapes")

	played := "\x1b[2m#1 allow, rule looks: exec cat /var/log/app/x.log\x1b[0m"
	for _, args := range [][]string{{}, {"--tapes", tapes}, {"--speed", "0"}} {
		began := time.Now()
		code, out, errs := inTerminal(t, append([]string{"sessions", "replay", "s-ssh"}, args...)...)
		if code != 0 || !strings.Contains(out, played) || !strings.Contains(out, "\x1b[32mgreen\x1b[0m") || !strings.Contains(out, "last\r") || !strings.Contains(out, "exit status 3") {
			t.Errorf("%v: %d %q %s", args, code, out, errs)
		}
		if strings.Contains(out, "\x1b]") || strings.Contains(out, "\x1b[6n") || strings.Contains(out, "ZXZ") {
			t.Errorf("%v: it acts on the terminal: %q", args, out)
		}
		if took := time.Since(began); len(args) == 0 && took < 300*time.Millisecond {
			t.Errorf("%v took %v", args, took)
		}
	}
	text := func(out string) {
		t.Helper()
		if strings.Contains(out, "\x1b") || strings.Contains(out, "ZXZ") || !strings.Contains(out, "green") || !strings.Contains(out, "exit status 3") || !strings.Contains(out, "doorward: cut") || !strings.Contains(out, "16 bytes of commands to the terminal are not shown") {
			t.Errorf("%q", out)
		}
	}
	for _, args := range [][]string{{"--plain"}, {"--plain", "--tapes", tapes}} {
		code, out, errs := inTerminal(t, append([]string{"sessions", "replay", "s-ssh"}, args...)...)
		if code != 0 {
			t.Error(out, errs)
		}
		text(out)
	}
	text(run(t, 0, "sessions", "replay", "s-ssh").out)
	text(run(t, 0, "sessions", "replay", "s-ssh", "--tapes", tapes).out)
	text(run(t, 0, "sessions", "export", "s-ssh", "--format", "text").out)
	run(t, CodeUsage, "sessions", "replay", "s-ssh", "--speed", "2")
	if code, out, _ := inTerminal(t, "sessions", "replay", "s-pg", "--speed", "2"); code != CodeUsage {
		t.Error(code, out)
	}
	if code, _, _ := inTerminal(t, "sessions", "replay", "s-ssh", "--speed=-1"); code != CodeUsage {
		t.Error(code)
	}
	if code, out, _ := inTerminal(t, "sessions", "replay", "s-pg"); code != 0 || !strings.Contains(out, "whole and unchanged") {
		t.Error(code, out)
	}
	d := doorwardWith(&Env{}, "sessions", "export", "s-ssh")
	if d.code != 0 || !strings.HasPrefix(d.out, `{"version":3,"term":{"cols":80,"rows":24}`) || !strings.HasSuffix(d.out, "[0.3,\"x\",\"3\"]\n") && !strings.HasSuffix(d.out, "[0,\"x\",\"3\"]\n") || strings.Contains(d.out, "ZXZ") {
		t.Error(d.out)
	}
}
