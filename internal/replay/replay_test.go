package replay

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgproto3"
	"go.uber.org/goleak"

	"github.com/doorward/doorward"
	"github.com/doorward/doorward/internal/tape"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var t0 = time.Date(2026, 11, 24, 6, 0, 0, 0, time.UTC)

// script writes a tape.
type script struct {
	t   testing.TB
	tp  doorward.Tape
	ms  int
	dir string
}

func begin(t testing.TB, opts tape.Options) *script {
	t.Helper()
	s := &script{t: t, dir: t.TempDir()}
	h := doorward.Header{Session: "s1", Identity: doorward.Identity{Name: "ada@corp.example", Agent: "codex"}, Target: "orders", Protocol: "postgres", Started: t0}
	tp, err := tape.NewRecorder(s.dir, opts).Open(context.Background(), h)
	if err != nil {
		t.Fatal(err)
	}
	s.tp = tp
	return s
}

func (s *script) write(kind doorward.FrameKind, request uint64, data []byte) {
	s.t.Helper()
	s.ms += 10
	if err := s.tp.Write(doorward.Frame{Kind: kind, At: t0.Add(time.Duration(s.ms) * time.Millisecond), Request: request, Data: data}); err != nil {
		s.t.Fatal(err)
	}
}

func (s *script) json(kind doorward.FrameKind, request uint64, v any) {
	s.t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		s.t.Fatal(err)
	}
	s.write(kind, request, b)
}

func (s *script) end() *Replay {
	s.t.Helper()
	if _, err := s.tp.Close(); err != nil {
		s.t.Fatal(err)
	}
	r, err := Open(s.dir, "s1")
	if err != nil {
		s.t.Fatal(err)
	}
	return r
}

func wire(t testing.TB, msgs ...pgproto3.BackendMessage) []byte {
	t.Helper()
	var b []byte
	var err error
	for _, m := range msgs {
		if b, err = m.Encode(b); err != nil {
			t.Fatal(err)
		}
	}
	return b
}

func desc(binary bool, cols ...any) *pgproto3.RowDescription {
	d := &pgproto3.RowDescription{}
	for i := 0; i < len(cols); i += 2 {
		f := pgproto3.FieldDescription{Name: []byte(cols[i].(string)), DataTypeOID: uint32(cols[i+1].(int)), DataTypeSize: -1, TypeModifier: -1}
		if binary {
			f.Format = 1
		}
		d.Fields = append(d.Fields, f)
	}
	return d
}

func row(vals ...any) *pgproto3.DataRow {
	d := &pgproto3.DataRow{}
	for _, v := range vals {
		switch v := v.(type) {
		case nil:
			d.Values = append(d.Values, nil)
		case string:
			d.Values = append(d.Values, []byte(v))
		case []byte:
			d.Values = append(d.Values, v)
		}
	}
	return d
}

func timeline(t testing.TB, r *Replay, limit ...Limit) *Timeline {
	t.Helper()
	tl, err := r.Timeline(t.Context(), limit...)
	if err != nil {
		t.Fatal(err)
	}
	return tl
}

// lines shows a timeline in short.
func lines(tl *Timeline) []string {
	var out []string
	for _, e := range tl.Entries {
		s := fmt.Sprintf("%d %s", e.Request, e.Kind)
		for _, p := range []string{e.Statement, e.Decision, e.Error, e.Text} {
			if p != "" {
				s += " " + strings.ReplaceAll(p, "\n", "/")
			}
		}
		if len(e.Columns) > 0 {
			s += " " + strings.Join(e.Columns, ",")
		}
		for _, r := range e.Rows {
			var cells []string
			for _, v := range r {
				if v == nil {
					cells = append(cells, "NULL")
				} else {
					cells = append(cells, *v)
				}
			}
			s += " [" + strings.Join(cells, "|") + "]"
		}
		if e.RowCount > 0 {
			s += fmt.Sprintf(" rows=%d", e.RowCount)
		}
		if e.Truncated {
			s += " truncated"
		}
		out = append(out, s)
	}
	return out
}

// session is a session with something of everything; cut splits the reply
// bytes.
func session(t testing.TB, s *script, cut func([]byte) [][]byte) {
	reply := func(n uint64, msgs ...pgproto3.BackendMessage) {
		for _, part := range cut(wire(t, msgs...)) {
			s.write(doorward.FrameReply, n, part)
		}
	}
	reply(0, &pgproto3.AuthenticationOk{}, &pgproto3.ParameterStatus{Name: "server_version", Value: "15"}, &pgproto3.ReadyForQuery{TxStatus: 'I'})
	s.json(doorward.FrameRequest, 1, doorward.RequestRecord{Statement: "SELECT id, email FROM customers", Params: []string{"1"}, Decision: "allow", Rule: "read", Masked: []string{"public.customers.email"}})
	reply(1, &pgproto3.ParseComplete{}, &pgproto3.BindComplete{}, desc(false, "id", 23, "email", 25), row("1", "a***@x"), row("2", nil), &pgproto3.CommandComplete{CommandTag: []byte("SELECT 2")})
	s.json(doorward.FrameOutcome, 1, doorward.OutcomeRecord{Rows: 2, Took: 3 * time.Millisecond})
	s.json(doorward.FrameRequest, 2, doorward.RequestRecord{Statement: "DROP TABLE customers", Decision: "deny", Rule: "no-drop", Reason: "never"})
	s.write(doorward.FrameNote, 2, []byte("refused\x1b[2J"))
	reply(2, &pgproto3.ErrorResponse{Severity: "ERROR", SeverityUnlocalized: "ERROR", Code: "42501", Message: "never", Hint: "ask"}, &pgproto3.ReadyForQuery{TxStatus: 'I'})
	s.json(doorward.FrameOutcome, 2, doorward.OutcomeRecord{Error: "42501"})
	s.json(doorward.FrameRequest, 3, doorward.RequestRecord{Statement: "COPY t TO STDOUT", Decision: "allow"})
	reply(3, &pgproto3.NoticeResponse{Severity: "NOTICE", Message: "hi"}, &pgproto3.CopyOutResponse{}, &pgproto3.CopyData{Data: []byte("1\tx\n")}, &pgproto3.CopyData{Data: []byte("2\ty\n")}, &pgproto3.CopyDone{}, &pgproto3.CommandComplete{CommandTag: []byte("COPY 2")}, &pgproto3.ReadyForQuery{TxStatus: 'I'})
	s.json(doorward.FrameOutcome, 3, doorward.OutcomeRecord{Rows: 2})
	s.json(doorward.FrameRequest, 4, doorward.RequestRecord{Statement: "COPY t FROM STDIN", Decision: "review", Review: 7})
	s.write(doorward.FrameInput, 4, []byte("3\tz\n"))
	reply(4, &pgproto3.CommandComplete{CommandTag: []byte("COPY 1")}, &pgproto3.NotificationResponse{PID: 4, Channel: "ch", Payload: "pay"})
	s.json(doorward.FrameOutcome, 4, doorward.OutcomeRecord{Rows: 1})
}

var sessionLines = []string{
	"1 request SELECT id, email FROM customers allow",
	"1 reply SELECT 2 id,email [1|a***@x] [2|NULL] rows=2",
	"1 outcome rows=2",
	"2 request DROP TABLE customers deny",
	"2 note refused\x1b[2J",
	"2 reply ERROR 42501: never HINT: ask",
	"2 outcome 42501",
	"3 request COPY t TO STDOUT allow",
	"3 note NOTICE: hi",
	"3 reply 1\tx/2\ty/COPY 2 rows=2",
	"3 outcome rows=2",
	"4 request COPY t FROM STDIN review",
	"4 input 3\tz/",
	"4 reply COPY 1",
	"4 note NOTIFY ch pay",
	"4 outcome rows=1",
}

func TestTimeline(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	cuts := map[string]func([]byte) [][]byte{
		"whole": func(b []byte) [][]byte { return [][]byte{b} },
		"bytes": func(b []byte) (out [][]byte) {
			for i := range b {
				out = append(out, b[i:i+1])
			}
			return out
		},
		"random": func(b []byte) (out [][]byte) {
			for len(b) > 0 {
				n := 1 + rnd.IntN(len(b))
				out = append(out, b[:n])
				b = b[n:]
			}
			return out
		},
	}
	for name, cut := range cuts {
		for range 20 {
			s := begin(t, tape.Options{})
			session(t, s, cut)
			tl := timeline(t, s.end())
			if d := cmp.Diff(sessionLines, lines(tl)); d != "" {
				t.Fatalf("%s: %s", name, d)
			}
			if !tl.Verified.OK || tl.Live || tl.Seal == nil || tl.Header.Session != "s1" {
				t.Fatalf("%+v", tl)
			}
			if name != "random" {
				break
			}
		}
	}
}

func TestCutReply(t *testing.T) {
	for bound := int64(1); bound < 150; bound++ {
		s := begin(t, tape.Options{ReplyBytes: bound})
		s.json(doorward.FrameRequest, 1, doorward.RequestRecord{Statement: "SELECT 1"})
		s.write(doorward.FrameReply, 1, wire(t, desc(false, "id", 23), row("1"), row("22"), row("333"), &pgproto3.CommandComplete{CommandTag: []byte("SELECT 3")}))
		s.json(doorward.FrameOutcome, 1, doorward.OutcomeRecord{Rows: 3})
		s.json(doorward.FrameRequest, 2, doorward.RequestRecord{Statement: "SELECT 2"})
		s.write(doorward.FrameReply, 2, wire(t, &pgproto3.CommandComplete{CommandTag: []byte("OK")}))
		s.json(doorward.FrameOutcome, 2, doorward.OutcomeRecord{})
		got := lines(timeline(t, s.end()))
		cut := false
		for _, l := range got {
			cut = cut || strings.HasPrefix(l, "1 cut ")
		}
		if whole := got[1] == "1 reply SELECT 3 id [1] [22] [333] rows=3"; whole == cut {
			t.Fatalf("bound %d: %q", bound, got)
		}
		if bound >= 8 && got[len(got)-2] != "2 reply OK" {
			t.Fatalf("bound %d: what follows a cut is lost: %q", bound, got)
		}
	}
}

func TestValues(t *testing.T) {
	be := func(v any) []byte {
		b, err := binary.Append(nil, binary.BigEndian, v)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	numeric := func(ndigits, weight int16, sign uint16, scale int16, digits ...int16) []byte {
		b := append(be(ndigits), be(weight)...)
		b = append(append(b, be(sign)...), be(scale)...)
		for _, d := range digits {
			b = append(b, be(d)...)
		}
		return b
	}
	cases := []struct {
		oid  uint32
		v    []byte
		want string
	}{
		{oidBool, []byte{1}, "t"}, {oidBool, []byte{0}, "f"},
		{oidInt2, be(int16(-2)), "-2"}, {oidInt4, be(int32(-70000)), "-70000"}, {oidInt8, be(int64(1 << 40)), "1099511627776"},
		{oidOID, be(uint32(4000000000)), "4000000000"},
		{oidFloat4, be(float32(1.5)), "1.5"}, {oidFloat8, be(math.Inf(-1)), "-Inf"},
		{25, []byte("héllo"), "héllo"}, {1043, []byte{0xff, 'a'}, "\uFFFDa"}, {25, []byte{0, 0xff}, `\x00ff`},
		{oidBytea, []byte("abc"), `\x616263`},
		{oidUUID, []byte("0123456789abcdef"), "30313233-3435-3637-3839-616263646566"},
		{oidDate, be(int32(0)), "2000-01-01"}, {oidDate, be(int32(math.MaxInt32)), "infinity"}, {oidDate, be(int32(-1)), "1999-12-31"},
		{oidTimestamp, be(int64(1500000)), "2000-01-01 00:00:01.5"}, {oidTimestamptz, be(int64(-1000000)), "1999-12-31 23:59:59+00"},
		{oidTime, be(int64(3661000001)), "01:01:01.000001"},
		{oidJSONB, []byte("\x01{\"a\":1}"), `{"a":1}`},
		{oidNumeric, numeric(2, 0, 0, 2, 12, 3400), "12.34"}, {oidNumeric, numeric(1, -1, 0x4000, 3, 50), "-0.005"},
		{oidNumeric, numeric(2, 1, 0, 0, 1, 2), "10002"}, {oidNumeric, numeric(0, 0, 0xc000, 0), "NaN"}, {oidNumeric, numeric(0, 0, 0, 0), "0"},
		{oidInt4, []byte{1}, `\x01`}, {99999, []byte{1, 2}, `\x0102`}, {99999, []byte("text"), "text"},
	}
	for _, c := range cases {
		got, cut := field{oid: c.oid, binary: true}.show(c.v, 4096)
		if got != c.want || cut {
			t.Errorf("oid %d, %x: %q instead of %q", c.oid, c.v, got, c.want)
		}
	}
	// Formats that are not told, as after a Bind without Describe.
	for _, c := range []struct {
		oid  uint32
		v    []byte
		want string
	}{{oidInt4, []byte("42"), "42"}, {oidInt4, be(int32(42)), "42"}, {oidInt8, be(int64(7)), "7"}, {0, []byte("x y"), "x y"}, {0, []byte{0, 0, 0, 9}, `\x00000009`}, {oidBool, []byte("t"), "t"}, {oidBool, []byte{1}, "t"}} {
		if got, _ := (field{oid: c.oid, guess: true}).show(c.v, 4096); got != c.want {
			t.Errorf("oid %d, %x: %q instead of %q", c.oid, c.v, got, c.want)
		}
	}
	if got, cut := (field{oid: 25}).show([]byte("aéé"), 4); got != "aé" || !cut {
		t.Errorf("%q %v", got, cut)
	}
}

func TestColumnsAreRemembered(t *testing.T) {
	s := begin(t, tape.Options{})
	q := doorward.RequestRecord{Statement: "SELECT n FROM t WHERE id = $1"}
	s.json(doorward.FrameRequest, 1, q)
	s.write(doorward.FrameReply, 1, wire(t, desc(false, "n", oidInt4), row("5"), &pgproto3.CommandComplete{CommandTag: []byte("SELECT 1")}))
	s.json(doorward.FrameRequest, 2, q)
	s.write(doorward.FrameReply, 2, wire(t, &pgproto3.BindComplete{}, row([]byte{0, 0, 1, 0}), &pgproto3.CommandComplete{CommandTag: []byte("SELECT 1")}))
	s.json(doorward.FrameRequest, 3, doorward.RequestRecord{Statement: "SELECT other"})
	s.write(doorward.FrameReply, 3, wire(t, row([]byte{0, 0, 1, 0}, "x"), &pgproto3.CommandComplete{CommandTag: []byte("SELECT 1")}))
	want := []string{"1 request " + q.Statement, "1 reply SELECT 1 n [5] rows=1", "2 request " + q.Statement, "2 reply SELECT 1 n [256] rows=1", "3 request SELECT other", `3 reply SELECT 1 [\x00000100|x] rows=1`}
	if d := cmp.Diff(want, lines(timeline(t, s.end()))); d != "" {
		t.Fatal(d)
	}
}

func TestLimits(t *testing.T) {
	s := begin(t, tape.Options{ReplyBytes: 1 << 30, SessionBytes: 1 << 30})
	for n := range uint64(50) {
		s.json(doorward.FrameRequest, n+1, doorward.RequestRecord{Statement: "SELECT"})
		msgs := []pgproto3.BackendMessage{desc(false, "c", 25)}
		for range 300 {
			msgs = append(msgs, row(strings.Repeat("x", 100)))
		}
		if n == 3 {
			msgs = append(msgs, row(strings.Repeat("y", maxMessage)), row("after"))
		}
		msgs = append(msgs, &pgproto3.CommandComplete{CommandTag: []byte("SELECT")})
		s.write(doorward.FrameReply, n+1, wire(t, msgs...))
	}
	r := s.end()
	tl := timeline(t, r)
	if len(tl.Entries) != 100 || tl.Truncated {
		t.Fatal(len(tl.Entries))
	}
	if e := tl.Entries[7]; len(e.Rows) != 200 || !e.Truncated || e.RowCount != 302 || e.Text != "SELECT" {
		t.Fatalf("%d rows, %d counted, %v", len(e.Rows), e.RowCount, e.Truncated)
	}
	if tl = timeline(t, r, Limit{Entries: 10}); len(tl.Entries) != 10 || !tl.Truncated || tl.Seal == nil {
		t.Fatal(len(tl.Entries))
	}
	if tl = timeline(t, r, Limit{Rows: 2, Cell: 8}); len(tl.Entries[1].Rows) != 2 || *tl.Entries[1].Rows[0][0] != "xxxxxxxx" {
		t.Fatalf("%+v", tl.Entries[1])
	}
	if tl = timeline(t, r, Limit{Bytes: 100000}); !tl.Truncated || len(tl.Entries) > 10 {
		t.Fatal(len(tl.Entries))
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.Timeline(ctx); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
}

func TestDamagedTape(t *testing.T) {
	s := begin(t, tape.Options{})
	session(t, s, func(b []byte) [][]byte { return [][]byte{b} })
	r := s.end()
	b, err := os.ReadFile(r.Path())
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)-100] ^= 1
	if err := os.WriteFile(r.Path(), b, 0o600); err != nil {
		t.Fatal(err)
	}
	tl := timeline(t, r)
	if tl.Verified.OK || len(tl.Verified.Problems) != 1 {
		t.Fatalf("%+v", tl.Verified)
	}
	if err := r.Text(t.Context(), &bytes.Buffer{}); !errors.Is(err, tape.ErrDamaged) {
		t.Fatal(err)
	}
	if err := os.Truncate(r.Path(), int64(len(b)-41)); err != nil {
		t.Fatal(err)
	}
	b[len(b)-100] ^= 1
	if err := os.WriteFile(r.Path(), b[:len(b)-41], 0o600); err != nil {
		t.Fatal(err)
	}
	tl = timeline(t, r)
	if !tl.Verified.OK || !tl.Live || len(tl.Entries) != len(sessionLines) {
		t.Fatalf("%+v", tl)
	}
}

func TestOpen(t *testing.T) {
	s := begin(t, tape.Options{})
	r := s.end()
	for _, id := range []string{"s2", "", "../s1", "s1/x", "2026/11/24/s1"} {
		if _, err := Open(s.dir, id); !errors.Is(err, ErrNotFound) {
			t.Errorf("%q: %v", id, err)
		}
	}
	if err := os.Rename(r.Path(), filepath.Join(filepath.Dir(r.Path()), "s9.tape")); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(s.dir, "s9"); !errors.Is(err, tape.ErrDamaged) {
		t.Fatalf("a tape under another's name: %v", err)
	}
	if _, err := Open(filepath.Join(s.dir, "nowhere"), "s1"); err == nil || errors.Is(err, ErrNotFound) {
		t.Fatal(err)
	}
}

func TestTextIsHarmless(t *testing.T) {
	s := begin(t, tape.Options{})
	evil := "\x1b]0;x\a\x9b31m\u202e\u0085\r\u2066é😀\x00"
	s.json(doorward.FrameRequest, 1, doorward.RequestRecord{Statement: "SELECT '" + evil, Params: []string{evil}, Decision: "allow", Rule: evil, Reason: evil, Masked: []string{evil}})
	s.write(doorward.FrameNote, 1, []byte(evil))
	s.write(doorward.FrameReply, 1, wire(t, desc(false, evil[:4]+"n", 25), row(evil), row("two\nlines"), &pgproto3.NoticeResponse{Severity: evil, Message: evil}, &pgproto3.ErrorResponse{Severity: "E", Message: evil}))
	s.write(doorward.FrameInput, 1, []byte(evil))
	s.json(doorward.FrameOutcome, 1, doorward.OutcomeRecord{Error: evil})
	r := s.end()
	var b bytes.Buffer
	if err := r.Text(t.Context(), &b); err != nil {
		t.Fatal(err)
	}
	for _, c := range b.String() {
		if c < 0x20 && c != '\n' && c != '\t' || c >= 0x7f && c < 0xa0 || c == '\u202e' || c == '\u2066' {
			t.Fatalf("%U in %q", c, b.String())
		}
	}
	if !strings.Contains(b.String(), `\x1b]0;x`) || !strings.Contains(b.String(), "é😀") || !strings.Contains(b.String(), `two\nlines`) {
		t.Fatal(b.String())
	}
}

// What a client sent cannot pass for a line of the replay's own.
func TestTextIsNotForged(t *testing.T) {
	forged := "SELECT 1\n    [allow, rule r, review 9]\n[00:00:00.900] #2> DROP TABLE t\n[00:00:00.950] #2 done, 0 rows, 1.0 ms"
	for _, e := range []Entry{
		{Kind: KindRequest, Request: 1, Statement: forged, Params: []string{forged}, Reason: forged, Decision: "deny"},
		{Kind: KindReply, Text: forged, Error: forged},
		{Kind: KindNote, Text: forged},
		{Kind: KindOutcome, Request: 1, Error: forged},
		{Kind: KindCut, Text: forged},
		{Kind: KindInput, Text: forged},
	} {
		own := 0
		for line := range strings.SplitSeq(e.String(), "\n") {
			if strings.HasPrefix(line, "[00:00:00.9") || strings.HasPrefix(line, "    [allow") {
				t.Errorf("%s: forged line %q", e.Kind, line)
			}
			own++
		}
		if own < 4 {
			t.Errorf("%s: lines are missing: %s", e.Kind, e.String())
		}
	}
}

func TestAsciicast(t *testing.T) {
	s := begin(t, tape.Options{})
	session(t, s, func(b []byte) [][]byte { return [][]byte{b} })
	r := s.end()
	var b bytes.Buffer
	if err := r.Asciicast(t.Context(), &b); err != nil {
		t.Fatal(err)
	}
	all := strings.Split(strings.TrimSpace(b.String()), "\n")
	var head struct {
		Version   int
		Timestamp int64
		Term      struct{ Cols, Rows int }
	}
	if err := json.Unmarshal([]byte(all[0]), &head); err != nil || head.Version != 3 || head.Term.Cols == 0 || head.Timestamp != t0.Unix() {
		t.Fatal(all[0], err)
	}
	sum, out := 0.0, ""
	for _, l := range all[1:] {
		var ev []any
		if err := json.Unmarshal([]byte(l), &ev); err != nil || len(ev) != 3 {
			t.Fatal(l, err)
		}
		sum += ev[0].(float64)
		if ev[1] == "o" {
			out += ev[2].(string)
		}
	}
	if want := float64(s.ms) / 1000; math.Abs(sum-want) > 0.001 {
		t.Fatalf("lasts %v instead of %v", sum, want)
	}
	var text bytes.Buffer
	if err := r.Play(t.Context(), &text, 1000); err != nil {
		t.Fatal(err)
	}
	if strings.ReplaceAll(out, "\r\n", "\n") != text.String() {
		t.Fatal("the asciicast shows something else than the text")
	}
	b.Reset()
	if err := r.JSON(t.Context(), &b); err != nil {
		t.Fatal(err)
	}
	var tl Timeline
	if err := json.Unmarshal(b.Bytes(), &tl); err != nil || len(tl.Entries) != len(sessionLines) {
		t.Fatal(err)
	}
}

func FuzzReply(f *testing.F) {
	f.Add(wire(f, desc(true, "a", oidNumeric, "b", oidTimestamp), row([]byte{0, 1}, []byte{1, 2, 3, 4, 5, 6, 7, 8}), &pgproto3.CommandComplete{CommandTag: []byte("X")}), uint8(3), false)
	f.Add([]byte{'D', 0xff, 0xff, 0xff, 0xff, 1}, uint8(1), true)
	f.Add([]byte{'T', 0, 0, 0, 0}, uint8(2), false)
	f.Fuzz(func(t *testing.T, b []byte, step uint8, other bool) {
		n := 0
		d := &decoder{limit: Limit{}.orDefaults(), started: t0, protocol: "postgres", shapes: map[string][]field{}, emit: func(e Entry) error {
			n++
			if e.size() > 64<<20 {
				t.Fatal("an entry without bound")
			}
			_ = e.String()
			return nil
		}}
		if other {
			d.protocol = "redis"
		}
		for i := 0; len(b) > 0; i++ {
			k := min(len(b), 1+int(step))
			if err := d.frame(doorward.Frame{Kind: doorward.FrameReply, At: t0, Request: uint64(i / 7), Data: b[:k]}); err != nil {
				t.Fatal(err)
			}
			if len(d.partial) > maxMessage+256 {
				t.Fatal("unbounded reassembly")
			}
			b = b[k:]
		}
		if err := d.finish(); err != nil {
			t.Fatal(err)
		}
	})
}

func FuzzFrame(f *testing.F) {
	for k := range uint8(8) {
		f.Add(k, []byte(`{"statement":"x","params":["y"],"rows":1,"error":"z","bytes":2,"why":"w"}`))
	}
	f.Fuzz(func(t *testing.T, kind uint8, b []byte) {
		d := &decoder{limit: Limit{}.orDefaults(), started: t0, protocol: "postgres", shapes: map[string][]field{}, emit: func(e Entry) error {
			_ = e.String()
			_, err := json.Marshal(e)
			return err
		}}
		if err := d.frame(doorward.Frame{Kind: doorward.FrameKind(kind), At: t0, Request: 1, Data: b}); err != nil {
			t.Fatal(err)
		}
		if err := d.finish(); err != nil {
			t.Fatal(err)
		}
	})
}
