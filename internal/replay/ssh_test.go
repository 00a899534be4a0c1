package replay

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/doorward/doorward"
	"github.com/doorward/doorward/internal/tape"
	"github.com/doorward/doorward/internal/wire/frame"
)

var update = flag.Bool("update", false, "write the golden files anew")

// beginSSH starts the tape of an SSH session.
func beginSSH(t testing.TB, opts tape.Options) *script {
	t.Helper()
	s := &script{t: t, dir: t.TempDir()}
	h := doorward.Header{Session: "s1", Identity: doorward.Identity{Name: "ada@corp.example", Agent: "codex"}, Target: "app", Protocol: "ssh", Started: t0}
	tp, err := tape.NewRecorder(s.dir, opts).Open(context.Background(), h)
	if err != nil {
		t.Fatal(err)
	}
	s.tp = tp
	return s
}

// reply records frames as one release: kinds and bodies in turn.
func (s *script) reply(request uint64, frames ...string) {
	s.t.Helper()
	var b []byte
	for i := 0; i < len(frames); i += 2 {
		b = frame.Append(b, frames[i][0], []byte(frames[i+1]))
	}
	s.write(doorward.FrameReply, request, b)
}

const shellText = "as \"root\"\nenv \"LANG\" \"C.UTF-8\"\npty \"xterm-256color\" 100x30 -\nshell"

// sshSession has something of everything.
func sshSession(s *script) {
	s.json(doorward.FrameRequest, 1, doorward.RequestRecord{Statement: "exec df -h", Decision: "allow", Rule: "looks"})
	s.reply(1, "o", "Filesystem\n/dev/sda1 ", "o", "9G\n", "e", "df: /x: denied\n")
	s.write(doorward.FrameReply, 1, frame.AppendExit(nil, 1))
	s.json(doorward.FrameOutcome, 1, doorward.OutcomeRecord{Took: 3 * time.Millisecond})

	s.json(doorward.FrameRequest, 2, doorward.RequestRecord{Statement: "exec rm -rf /", Decision: "deny", Rule: "rest", Reason: "not on the list"})
	s.write(doorward.FrameReply, 2, frame.AppendExit(frame.Append(nil, frame.Message, []byte("doorward: not on the list (rule rest)\n")), 126))
	s.json(doorward.FrameOutcome, 2, doorward.OutcomeRecord{Error: "denied"})

	s.json(doorward.FrameRequest, 3, doorward.RequestRecord{Statement: shellText, Decision: "review", Review: 7, Rule: "shells"})
	s.write(doorward.FrameNote, 3, []byte("held"))
	s.write(doorward.FrameReply, 3, frame.AppendWindow(nil, 100, 30)) // the same: nothing to tell
	s.reply(3, "o", "\x1b[1mroot@app\x1b[0m:~# ")
	for _, k := range "ls\r" {
		s.write(doorward.FrameInput, 3, []byte(string(k)))
		s.reply(3, "o", strings.ReplaceAll(string(k), "\r", "\r\n"))
	}
	s.reply(3, "o", "\x1b[2J\x1b]52;c;ZXZ", "o", "pbA==\ax.log\r\n", "o", "caf\xc3")
	s.write(doorward.FrameReply, 3, frame.AppendWindow(nil, 0, 0))
	s.write(doorward.FrameReply, 3, frame.AppendWindow(nil, 4000000000, 40))
	s.reply(3, "o", "\xa9 \u202edown\nover")
	s.write(doorward.FrameInput, 3, []byte("\x03\x1b[A"))
	s.reply(3, "k", "KILL\x1b[2J")
	s.json(doorward.FrameOutcome, 3, doorward.OutcomeRecord{Took: time.Second})
}

// brief shows a timeline of an SSH session in short.
func brief(tl *Timeline) []string {
	var out []string
	for _, e := range tl.Entries {
		l := fmt.Sprintf("%d %s", e.Request, e.Kind)
		for _, p := range []string{e.Stream, e.Size, e.Decision, e.Error} {
			if p != "" {
				l += " " + p
			}
		}
		if t := e.Statement + e.Text; t != "" {
			l += fmt.Sprintf(" %q", t)
		}
		if e.Screen != nil {
			l += fmt.Sprintf(" drawn %q", *e.Screen)
		}
		if e.Dropped > 0 {
			l += fmt.Sprintf(" dropped %d", e.Dropped)
		}
		if e.Truncated {
			l += " truncated"
		}
		out = append(out, l)
	}
	return out
}

func TestSSHTimeline(t *testing.T) {
	s := beginSSH(t, tape.Options{})
	sshSession(s)
	r := s.end()
	want := []string{
		`1 request allow "exec df -h"`,
		`1 reply stdout "Filesystem\n/dev/sda1 9G\n"`,
		`1 reply stderr "df: /x: denied\n"`,
		`1 outcome "exit status 1"`,
		`2 request deny "exec rm -rf /"`,
		`2 reply message "doorward: not on the list (rule rest)\n"`,
		`2 outcome denied "exit status 126"`,
		`3 request 100x30 review ` + fmt.Sprintf("%q", shellText),
		`3 note "held"`,
		`3 reply stdout "\x1b[1mroot@app\x1b[0m:~# ls"`,
		`3 input "ls\r"`,
		`3 reply stdout "\r\n\x1b[2J\x1b]52;c;ZXZpbA==\ax.log\r\ncaf�" drawn "\r\n\x1b[2Jx.log\r\ncaf" dropped 16`,
		`3 resize 80x24`,
		`3 resize 1000x40`,
		`3 reply stdout "� \u202edown\nover" drawn "é down\nover"`,
		`3 input "\x03\x1b[A"`,
		`3 outcome "ended by signal KILL\\x1b[2J"`,
	}
	if d := cmp.Diff(want, brief(timeline(t, r))); d != "" {
		t.Fatal(d)
	}
}

func TestSSHText(t *testing.T) {
	s := beginSSH(t, tape.Options{})
	sshSession(s)
	var b bytes.Buffer
	if err := s.end().Text(t.Context(), &b); err != nil {
		t.Fatal(err)
	}
	for _, c := range b.String() {
		if c < 0x20 && c != '\n' && c != '\t' || c >= 0x7f && c < 0xa0 || c == '\u202e' {
			t.Fatalf("%U in %q", c, b.String())
		}
	}
	for _, want := range []string{
		"    | Filesystem\n    | /dev/sda1 9G\n    ! df: /x: denied\n[00:00:00.040] #1 done, exit status 1, 3.0 ms\n",
		"    -- doorward: not on the list (rule rest)\n",
		"failed after 0.0 ms: denied, exit status 126\n",
		"    | root@app:~# ls\n",
		"    | x.log\n    | caf\n    [16 bytes of commands to the terminal are not shown]\n    [the terminal is now 80x24]\n",
		"    | é down\n    | over\n    < \\x03\\x1b[A\n",
		"    < ls\n",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q is missing in\n%s", want, b.String())
		}
	}
}

// What a target writes cannot pass for a line of doorward's own.
func TestSSHTextIsNotForged(t *testing.T) {
	forged := "x\r\n[00:00:00.900] #2> exec true\n    -- doorward: allowed\r    ! me\x1b[H    -- up\x1b[1E    -- down\x1bE    -- next"
	for _, stream := range []string{StreamOutput, StreamErrors} {
		for line := range strings.Lines((Entry{Kind: KindReply, Stream: stream, Text: forged}).String()) {
			if !strings.HasPrefix(line, streamMarks[stream]) {
				t.Errorf("%s: forged line %q", stream, line)
			}
		}
	}
}

// Replies of several channels come in turns, and what one leaves unfinished
// touches no other.
func TestSSHChannelsAreApart(t *testing.T) {
	s := beginSSH(t, tape.Options{})
	s.reply(1, "o", "a\x1b]0;", "e", "errors", "m", "doorward: held\n")
	s.reply(2, "o", "two\xc3")
	s.reply(1, "o", "hidden\ashown")
	s.reply(2, "o", "\xa9")
	s.write(doorward.FrameReply, 2, frame.AppendExit(nil, 0))
	want := []string{
		`1 reply stdout "a\x1b]0;" drawn "a"`,
		`1 reply stderr "errors"`,
		`1 reply message "doorward: held\n"`,
		`2 reply stdout "two�" drawn "two"`,
		`1 reply stdout "hidden\ashown" drawn "shown" dropped 11`,
		`2 reply stdout "�" drawn "é"`,
		`2 note "exit status 0"`,
	}
	if d := cmp.Diff(want, brief(timeline(t, s.end()))); d != "" {
		t.Fatal(d)
	}
}

// The recorder's bound cuts frames short and drops what follows.
func TestSSHCut(t *testing.T) {
	for _, bound := range []int64{1, 5, 6, 20, 25, 26, 40, 48, 49} {
		s := beginSSH(t, tape.Options{ReplyBytes: bound})
		s.reply(1, "o", "0123456789\x1b[31mabc\x1b]0;", "e", "0123456789")
		s.reply(1, "o", "lost")
		s.write(doorward.FrameReply, 1, frame.AppendExit(nil, 3))
		s.json(doorward.FrameOutcome, 1, doorward.OutcomeRecord{})
		s.reply(2, "o", "next")
		s.json(doorward.FrameOutcome, 2, doorward.OutcomeRecord{})
		s.reply(1, "o", "more")
		r := s.end()
		tl := timeline(t, r)
		out, cut := "", false
		for _, e := range tl.Entries {
			cut = cut || e.Kind == KindCut
			if e.Kind == KindNote && !strings.HasPrefix(e.Text, "exit status") {
				t.Errorf("bound %d: %s", bound, e.Text)
			}
			out += e.Plain()
		}
		if !cut || bound >= 9 && (!strings.Contains(out, "next") || !strings.Contains(out, "more")) || strings.Contains(out, "lost") {
			t.Errorf("bound %d: %s", bound, strings.Join(brief(tl), "\n"))
		}
		if bound == 20 {
			if d := cmp.Diff(`1 reply stdout "0123456789\x1b[31m" truncated`, brief(tl)[0]); d != "" {
				t.Error(d)
			}
		}
		var b bytes.Buffer
		if err := r.Asciicast(t.Context(), &b); err != nil || !strings.Contains(b.String(), "bytes are not recorded") {
			t.Errorf("bound %d: %v %s", bound, err, b.String())
		}
	}
}

func TestSSHBrokenFrames(t *testing.T) {
	s := beginSSH(t, tape.Options{})
	s.write(doorward.FrameReply, 1, []byte("no frames"))
	s.write(doorward.FrameReply, 1, []byte{'x', 0, 0, 0, 5, 1, 2, 3, 4, 5})
	s.write(doorward.FrameReply, 1, []byte{'o', 0xff, 0xff, 0xff, 0xff, 'x'})
	s.reply(1, "o", "good\n")
	r := s.end()
	got := brief(timeline(t, r))
	if len(got) != 4 || got[3] != `1 reply stdout "good\n"` || !strings.Contains(got[0], "is not shown") {
		t.Fatal(strings.Join(got, "\n"))
	}
	var b bytes.Buffer
	if err := r.Asciicast(t.Context(), &b); err != nil || strings.Count(b.String(), "is not shown") != 3 || !strings.Contains(b.String(), `good\r\n`) {
		t.Fatal(err, b.String())
	}
}

func TestSSHBursts(t *testing.T) {
	s := beginSSH(t, tape.Options{ReplyBytes: 1 << 30, SessionBytes: 1 << 30})
	for range 40 { // 10 ms apart
		s.reply(1, "o", strings.Repeat("x", 1000))
	}
	s.reply(1, "o", strings.Repeat("y", 3*maxText))
	tl := timeline(t, s.end())
	if n := len(tl.Entries); n < 6 || n > 8 {
		t.Fatalf("%d entries", n)
	}
	total := 0
	for _, e := range tl.Entries {
		total += len(e.Text)
		if len(e.Text) > maxText || e.Truncated {
			t.Fatal(len(e.Text), e.Truncated)
		}
	}
	if total != 40*1000+3*maxText {
		t.Fatal(total)
	}
}

func TestSSHInputIsBounded(t *testing.T) {
	s := beginSSH(t, tape.Options{})
	s.write(doorward.FrameInput, 1, bytes.Repeat([]byte("k"), 3<<10))
	s.write(doorward.FrameInput, 1, bytes.Repeat([]byte("k"), 3<<10))
	s.write(doorward.FrameInput, 1, bytes.Repeat([]byte("m"), 20<<10))
	s.ms += 2000
	s.write(doorward.FrameInput, 1, []byte("late"))
	tl := timeline(t, s.end())
	var got []string
	for _, e := range tl.Entries {
		got = append(got, fmt.Sprintf("%d %v at %v", len(e.Text), e.Truncated, e.AtMS))
	}
	if d := cmp.Diff([]string{"3072 false at 10", "3072 false at 20", "4096 true at 30", "4 false at 2040"}, got); d != "" {
		t.Fatal(d)
	}
}

// castEvents checks that every line of an asciicast is in order, and harmless.
func castEvents(t testing.TB, cast []byte) (head castHead, events [][3]any) {
	t.Helper()
	lines := bytes.Split(bytes.TrimSpace(cast), []byte("\n"))
	if err := json.Unmarshal(lines[0], &head); err != nil || head.Version != 3 {
		t.Fatalf("%v: %s", err, lines[0])
	}
	for n, l := range lines[1:] {
		var ev []any
		if err := json.Unmarshal(l, &ev); err != nil || len(ev) != 3 || ev[0].(float64) < 0 {
			t.Fatalf("%v: %s", err, l)
		}
		data := ev[2].(string)
		switch ev[1] {
		case "o":
			onlyDraws(t, []byte(data))
		case "m", "x", "r":
			if data != cleanCell(data) {
				t.Fatalf("line %d: %q", n+2, l)
			}
		case "i":
			if strings.ContainsAny(data, "\x1b\x05\x0e\x00") {
				t.Fatalf("line %d: %q", n+2, l)
			}
		default:
			t.Fatalf("line %d: %s", n+2, l)
		}
		events = append(events, [3]any{ev[0], ev[1], ev[2]})
	}
	return head, events
}

func TestSSHAsciicast(t *testing.T) {
	s := beginSSH(t, tape.Options{})
	sshSession(s)
	r := s.end()
	var b bytes.Buffer
	if err := r.Asciicast(t.Context(), &b); err != nil {
		t.Fatal(err)
	}
	golden := filepath.Join("testdata", "session.cast")
	if *update {
		if err := os.WriteFile(golden, b.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), b.String()); d != "" {
		t.Fatal(d)
	}
	head, events := castEvents(t, b.Bytes())
	if head.Term != (castTerm{100, 30, "xterm-256color"}) || head.Timestamp != t0.Unix() {
		t.Fatalf("%+v", head)
	}
	sum := 0.0
	for _, e := range events {
		sum += e[0].(float64)
	}
	// The last event is the end of the shell, ten milliseconds before its outcome.
	if want := float64(s.ms-10) / 1000; sum < want-1e-9 || sum > want+1e-9 {
		t.Fatalf("lasts %v instead of %v", sum, want)
	}
	if last := events[len(events)-1]; last[1] != "x" || last[2] != "255" {
		t.Fatal(last)
	}
}

// A session without a terminal takes its size from the first window, if any,
// and has no exit status while nothing ended.
func TestSSHAsciicastWithoutTerminal(t *testing.T) {
	s := beginSSH(t, tape.Options{})
	s.json(doorward.FrameRequest, 1, doorward.RequestRecord{Statement: "exec cat", Decision: "allow"})
	s.reply(1, "o", "x\n")
	r := s.end()
	var b bytes.Buffer
	if err := r.Asciicast(t.Context(), &b); err != nil {
		t.Fatal(err)
	}
	if head, events := castEvents(t, b.Bytes()); head.Term != (castTerm{80, 24, ""}) || len(events) != 2 || events[1][2] != "x\r\n" {
		t.Fatalf("%+v %v", head, events)
	}
	s = beginSSH(t, tape.Options{})
	s.write(doorward.FrameReply, 1, frame.AppendWindow(nil, 90, 20))
	b.Reset()
	if err := s.end().Asciicast(t.Context(), &b); err != nil {
		t.Fatal(err)
	}
	if head, _ := castEvents(t, b.Bytes()); head.Term != (castTerm{90, 20, ""}) {
		t.Fatalf("%+v", head)
	}
}

func TestSSHTerminal(t *testing.T) {
	s := beginSSH(t, tape.Options{})
	sshSession(s)
	s.json(doorward.FrameRequest, 4, doorward.RequestRecord{Statement: shellText, Decision: "allow"})
	s.reply(4, "o", "\x1b[?1049h\x1b[?25ltop\nleft")
	r := s.end()
	var b bytes.Buffer
	began := time.Now()
	if err := r.Terminal(t.Context(), &b, 10); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took < time.Duration(s.ms)*time.Millisecond/11 {
		t.Errorf("it took %v", took)
	}
	onlyDraws(t, b.Bytes())
	out := b.String()
	for _, want := range []string{
		"session s1: ada@corp.example via codex on app (ssh), 2026-11-24T06:00:00Z, 100x30\r\n",
		"\x1b[2m#1 allow, rule looks: exec df -h\x1b[0m\r\n",
		"Filesystem\r\n/dev/sda1 9G\r\n",
		"doorward: not on the list (rule rest)\r\n",
		"\x1b[1mroot@app\x1b[0m:~# ls\r\n\x1b[2Jx.log\r\n",
		"down\x1bDover",
		"#3 ended by signal KILL",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is missing in %q", want, out)
		}
	}
	if !strings.HasSuffix(out, "top\x1bDleft\x1b[?25h\x1b[?1049l\r\n") {
		t.Errorf("the terminal is not given back: %q", out)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.Terminal(ctx, &b, 1); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if err := r.Terminal(t.Context(), failing{}, 0); !errors.Is(err, os.ErrClosed) {
		t.Error(err)
	}
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, os.ErrClosed }

func TestSSHTerminalDamaged(t *testing.T) {
	s := beginSSH(t, tape.Options{})
	sshSession(s)
	r := s.end()
	b, err := os.ReadFile(r.Path())
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)-60] ^= 1
	if err := os.WriteFile(r.Path(), b, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, write := range map[string]func() error{
		"terminal":  func() error { return r.Terminal(t.Context(), &bytes.Buffer{}, 0) },
		"asciicast": func() error { return r.Asciicast(t.Context(), &bytes.Buffer{}) },
		"text":      func() error { return r.Text(t.Context(), &bytes.Buffer{}) },
	} {
		if err := write(); !errors.Is(err, tape.ErrDamaged) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestPlayCastRefuses(t *testing.T) {
	for _, bad := range []string{"", "x", `{"version":2}`, `[1]`, "{\"version\":3}\n[0,\"o\"", "{\"version\":3}\n{}", "{\"version\":3}\n[0,\"o\",1]"} {
		if err := PlayCast(t.Context(), strings.NewReader(bad), &bytes.Buffer{}, 0); !errors.Is(err, ErrCast) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	// A gate that sends escapes of its own achieves nothing.
	var b bytes.Buffer
	evil := `{"version":3,"title":"\u001b]0;x\u0007"}` + "\n# \x1b[2J\n" + `[0,"o","\u001b]52;c;eA==\u0007ok"]` + "\n" + `[0,"m","#1 \u001b[5i"]` + "\n" + `[1e308,"i","\u001b[5i"]` + "\n"
	if err := PlayCast(t.Context(), strings.NewReader(evil), &b, 0); err != nil || !strings.Contains(b.String(), "ok") {
		t.Fatal(err, b.String())
	}
	onlyDraws(t, b.Bytes())
}

// FuzzSSHFrames: whatever a tape holds, nothing but drawing comes out, and
// every entry is bounded.
func FuzzSSHFrames(f *testing.F) {
	frames := frame.AppendExit(frame.AppendWindow(frame.Append(frame.Append(nil, 'o', []byte("\x1b]52;c;\x1b[1mé")), 'm', []byte("doorward: no\n")), 80, 24), 3)
	f.Add(frames, uint8(9), []byte("exec ls"), []byte("l\r"))
	f.Add(frame.Append(nil, 'k', []byte("KILL")), uint8(255), []byte(shellText), []byte("\x1b[A"))
	f.Add([]byte{'e', 0, 0, 1, 0, 'x', 'y'}, uint8(3), []byte("pty \"x\" 1x1 -\nshell"), []byte{0})
	f.Fuzz(func(t *testing.T, b []byte, step uint8, statement, input []byte) {
		record, err := json.Marshal(doorward.RequestRecord{Statement: string(statement), Decision: "allow"})
		if err != nil {
			t.Fatal(err)
		}
		var all []doorward.Frame
		frame := func(kind doorward.FrameKind, request uint64, data []byte) {
			all = append(all, doorward.Frame{Kind: kind, At: t0.Add(time.Duration(30*len(all)) * time.Millisecond), Request: request, Data: data})
		}
		frame(doorward.FrameRequest, 1, record)
		frame(doorward.FrameReply, 1, b)
		frame(doorward.FrameInput, 1, input)
		for i := 0; len(b) > 0; i++ {
			k := min(len(b), 1+int(step))
			frame(doorward.FrameReply, uint64(1+i/3), b[:k])
			b = b[k:]
			if i%5 == 4 {
				frame(doorward.FrameCut, uint64(1+i/3), input)
				frame(doorward.FrameOutcome, uint64(i/3), []byte(`{}`))
			}
		}
		d := &decoder{limit: Limit{}.orDefaults(), started: t0, protocol: protocolSSH, emit: func(e Entry) error {
			if e.size() > 8*maxText {
				t.Fatalf("an entry of %d bytes", e.size())
			}
			if e.Kind == KindReply {
				onlyDraws(t, []byte(drawn(e)))
			}
			for _, r := range e.String() {
				if r < 0x20 && r != '\n' && r != '\t' || r >= 0x7f && r < 0xa0 {
					t.Fatalf("%U in %q", r, e.String())
				}
			}
			_, err := json.Marshal(e)
			return err
		}}
		var cast bytes.Buffer
		c := newCastWriter(&cast)
		s := &sshCast{c: c, started: t0}
		if err := c.enc.Encode(castHead{Version: 3}); err != nil {
			t.Fatal(err)
		}
		for _, f := range all {
			if err := d.frame(f); err != nil {
				t.Fatal(err)
			}
			if err := s.frame(f); err != nil {
				t.Fatal(err)
			}
		}
		if err := d.finish(); err != nil {
			t.Fatal(err)
		}
		if err := c.out.Flush(); err != nil {
			t.Fatal(err)
		}
		castEvents(t, cast.Bytes())
		var screen bytes.Buffer
		if err := PlayCast(t.Context(), &cast, &screen, 0); err != nil {
			t.Fatal(err)
		}
		onlyDraws(t, screen.Bytes())
	})
}

// drawn is what the entry shows in a terminal.
func drawn(e Entry) string {
	if e.Screen != nil {
		return *e.Screen
	}
	return e.Text
}
