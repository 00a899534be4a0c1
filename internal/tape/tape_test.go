package tape

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/doorward/doorward"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var t0 = time.Date(2026, 11, 24, 6, 0, 0, 0, time.UTC)

func header(session string) doorward.Header {
	return doorward.Header{Session: session, Identity: doorward.Identity{Subject: "corp:1", Name: "ada@corp.example", Agent: "codex"}, Target: "orders", Protocol: "postgres", Remote: "127.0.0.1:5", Started: t0}
}

func start(t testing.TB, r *Recorder, session string) *Tape {
	t.Helper()
	tp, err := r.Start(context.Background(), header(session))
	if err != nil {
		t.Fatal(err)
	}
	return tp
}

func write(t testing.TB, tp *Tape, frames ...doorward.Frame) {
	t.Helper()
	for _, f := range frames {
		if err := tp.Write(f); err != nil {
			t.Fatal(err)
		}
	}
}

func frame(kind doorward.FrameKind, ms int, request uint64, data string) doorward.Frame {
	return doorward.Frame{Kind: kind, At: t0.Add(time.Duration(ms) * time.Millisecond), Request: request, Data: []byte(data)}
}

// read gives all frames of a tape, and how it ended.
func read(t testing.TB, path string) ([]doorward.Frame, *Reader, error) {
	t.Helper()
	r, err := OpenFile(path)
	if err != nil {
		return nil, nil, err
	}
	defer r.Close()
	var out []doorward.Frame
	for {
		f, err := r.Next()
		if err == io.EOF {
			return out, r, nil
		}
		if err != nil {
			return out, r, err
		}
		f.Data = bytes.Clone(f.Data)
		out = append(out, f)
	}
}

func TestWriteAndRead(t *testing.T) {
	dir := t.TempDir()
	r := NewRecorder(dir, Options{SessionBytes: 1 << 30, ReplyBytes: 1 << 30})
	tp := start(t, r, "s-1_A")
	if tp.Name() != "2026/11/24/s-1_A.tape" || tp.Name() != Name("s-1_A", t0) {
		t.Fatal(tp.Name())
	}
	rnd := rand.New(rand.NewPCG(1, 1))
	var want []doorward.Frame
	for i := range 2000 {
		data := make([]byte, rnd.IntN(300))
		for j := range data {
			data[j] = byte(rnd.IntN(20))
		}
		if i%500 == 7 {
			data = bytes.Repeat([]byte("abcdefgh"), 1<<14)
		}
		f := doorward.Frame{Kind: doorward.FrameKind(1 + rnd.IntN(6)), At: t0.Add(time.Duration(i) * time.Millisecond), Request: uint64(i / 4), Data: data}
		want = append(want, f)
		write(t, tp, f)
		if i%700 == 0 {
			r.sweep()
		}
	}
	seal, err := tp.Close()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, tp.Name())
	info, err := os.Stat(path)
	if err != nil || info.Size() != seal.Bytes || info.Mode().Perm() != 0o600 {
		t.Fatal(info.Size(), seal.Bytes, err)
	}
	got, rd, err := read(t, path)
	if err != nil {
		t.Fatal(err)
	}
	if !rd.Sealed() || rd.Seal() != seal || seal.Frames != 2000 {
		t.Fatalf("%+v %+v", rd.Seal(), seal)
	}
	if d := cmp.Diff(header("s-1_A"), rd.Header()); d != "" {
		t.Fatal(d)
	}
	if d := cmp.Diff(want, got, cmp.Comparer(func(a, b doorward.Frame) bool {
		return a.Kind == b.Kind && a.At.Equal(b.At) && a.Request == b.Request && bytes.Equal(a.Data, b.Data)
	})); d != "" {
		t.Fatal(d)
	}
	fields := map[string]string{FieldHash: seal.Hash, FieldFrames: fmt.Sprint(seal.Frames), FieldBytes: fmt.Sprint(seal.Bytes)}
	if err := CheckSeal(path, fields); err != nil {
		t.Fatal(err)
	}
	for k := range fields {
		old := fields[k]
		fields[k] = "1"
		if CheckSeal(path, fields) == nil {
			t.Fatalf("a wrong %s was taken", k)
		}
		fields[k] = old
	}
	if err := tp.Write(frame(doorward.FrameNote, 0, 0, "x")); err == nil {
		t.Fatal("a closed tape took a frame")
	}
	if _, err := tp.Close(); err == nil {
		t.Fatal("closed twice")
	}
	if _, err := r.Open(t.Context(), header("s-1_A")); !errors.Is(err, fs.ErrExist) {
		t.Fatalf("a tape was overwritten: %v", err)
	}
}

func TestSessionNames(t *testing.T) {
	r := NewRecorder(t.TempDir(), Options{})
	for _, s := range []string{"", "a/b", "..", ".", "a.b", "a b", "é", "a\x00", strings.Repeat("a", 65)} {
		if _, err := r.Open(t.Context(), header(s)); err == nil {
			t.Errorf("%q became a file name", s)
		}
	}
	start(t, r, strings.Repeat("a", 64))
}

func TestBounds(t *testing.T) {
	dir := t.TempDir()
	r := NewRecorder(dir, Options{ReplyBytes: 10, SessionBytes: 50})
	tp := start(t, r, "s")
	req, rep, in, out := doorward.FrameRequest, doorward.FrameReply, doorward.FrameInput, doorward.FrameOutcome
	write(t, tp,
		frame(req, 1, 1, "q1"), frame(rep, 2, 1, "12345678"), frame(rep, 3, 1, "9abc"), frame(rep, 4, 1, "defg"), frame(out, 5, 1, "o1"),
		frame(req, 6, 2, "q2"), frame(req, 6, 3, "q3"), frame(rep, 7, 2, "0123456789"), frame(out, 7, 2, "o2"),
		frame(rep, 8, 3, "0123456789X"), frame(rep, 8, 4, "a"), frame(in, 9, 4, "0123456789+"), frame(out, 9, 4, "o4"),
		frame(rep, 10, 5, "0123456789"), frame(out, 10, 5, "o5"),
		frame(rep, 11, 6, "zz"), frame(req, 12, 7, strings.Repeat("q", 100)), frame(doorward.FrameNote, 12, 7, "note"))
	if _, err := tp.Close(); err != nil {
		t.Fatal(err)
	}
	frames, _, err := read(t, filepath.Join(dir, tp.Name()))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range frames {
		if f.Kind == doorward.FrameCut {
			var c doorward.CutRecord
			if err := json.Unmarshal(f.Data, &c); err != nil {
				t.Fatal(err)
			}
			got = append(got, fmt.Sprintf("%d: cut %d", f.Request, c.Bytes))
			continue
		}
		got = append(got, fmt.Sprintf("%d: %.10s", f.Request, f.Data))
	}
	want := []string{"1: q1", "1: 12345678", "1: 9a", "1: cut 6", "1: o1",
		"2: q2", "3: q3", "2: 0123456789", "2: o2",
		"3: 0123456789", "3: cut 1", "4: a", "4: 0123456789", "4: cut 1", "4: o4",
		"5: 012345678", "5: cut 1", "5: o5",
		"7: qqqqqqqqqq", "7: note", "6: cut 2"}
	if d := cmp.Diff(want, got); d != "" {
		t.Fatal(d)
	}
	if err := start(t, r, "big").Write(doorward.Frame{Kind: doorward.FrameNote, Data: make([]byte, MaxFrame+1)}); err == nil {
		t.Fatal("took a frame over the bound")
	}
}

func TestUnclosedTape(t *testing.T) {
	dir := t.TempDir()
	r := NewRecorder(dir, Options{})
	tp := start(t, r, "s")
	path := filepath.Join(dir, tp.Name())
	if got, rd, err := read(t, path); err != nil || len(got) != 0 || rd.Sealed() {
		t.Fatal(got, err)
	}
	write(t, tp, frame(doorward.FrameNote, 1, 1, "one"))
	r.sweep()
	write(t, tp, frame(doorward.FrameNote, 2, 1, "two"))
	got, rd, err := read(t, path)
	if err != nil || len(got) != 1 || rd.Sealed() {
		t.Fatal(got, err)
	}
	if _, err := tp.Close(); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	// Every way of cutting it: never a crash, never a wrong frame, never sealed.
	for n := range len(b) {
		rd, err := NewReader(bytes.NewReader(b[:n]))
		if err != nil {
			if !errors.Is(err, ErrDamaged) {
				t.Fatal(err)
			}
			continue
		}
		frames := 0
		for {
			f, err := rd.Next()
			if err != nil {
				if err != io.EOF && !errors.Is(err, ErrDamaged) {
					t.Fatal(err)
				}
				break
			}
			if want := []string{"one", "two"}[frames]; string(f.Data) != want {
				t.Fatalf("%q", f.Data)
			}
			frames++
		}
		if rd.Sealed() {
			t.Fatalf("sealed at %d of %d bytes", n, len(b))
		}
		rd.Close()
	}
}

func TestEveryChangeIsFound(t *testing.T) {
	dir := t.TempDir()
	r := NewRecorder(dir, Options{})
	tp := start(t, r, "s")
	for i := range 5 {
		write(t, tp, frame(doorward.FrameReply, i, uint64(i), strings.Repeat(fmt.Sprint(i), 100)))
		r.sweep()
	}
	seal, err := tp.Close()
	if err != nil {
		t.Fatal(err)
	}
	good, err := os.ReadFile(filepath.Join(dir, tp.Name()))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "x.tape")
	fields := map[string]string{FieldHash: seal.Hash, FieldFrames: fmt.Sprint(seal.Frames), FieldBytes: fmt.Sprint(seal.Bytes)}
	check := func(what string, b []byte) {
		t.Helper()
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := CheckSeal(path, fields); !errors.Is(err, ErrDamaged) {
			t.Fatalf("%s: %v", what, err)
		}
	}
	for i := range good {
		b := bytes.Clone(good)
		b[i] ^= 1 << (i % 8)
		check(fmt.Sprint("bit in byte ", i), b)
	}
	for i := range good {
		check(fmt.Sprint("cut at ", i), good[:i])
	}
	check("appended", append(bytes.Clone(good), 'x'))
	// Blocks dropped and exchanged, and all hashes made right again by
	// somebody who knows the format: only the seal in the ledger tells.
	head, blocks := split(t, good)
	for i := range blocks {
		check("block dropped", join(head, append(append([][]byte{}, blocks[:i]...), blocks[i+1:]...)))
		for j := range i {
			b := append([][]byte{}, blocks...)
			b[i], b[j] = b[j], b[i]
			check("blocks exchanged", join(head, b))
		}
	}
	if !bytes.Equal(join(head, blocks), good) {
		t.Fatal("the test's own picture of a tape is wrong")
	}
}

func split(t *testing.T, b []byte) (head []byte, blocks [][]byte) {
	n := len(magic) + 4 + int(binary.LittleEndian.Uint32(b[len(magic):]))
	head, b = b[:n], b[n:]
	for b[0] == blockMark {
		n := blockHeadSize + 32 + int(binary.LittleEndian.Uint32(b[1:]))
		blocks = append(blocks, b[:n])
		b = b[n:]
	}
	return head, blocks
}

func join(head []byte, blocks [][]byte) []byte {
	out := bytes.Clone(head)
	chain := sha256.Sum256(head)
	frames := uint64(0)
	for _, b := range blocks {
		chain = link(chain, b[:blockHeadSize], b[blockHeadSize+32:])
		out = append(append(append(out, b[:blockHeadSize]...), chain[:]...), b[blockHeadSize+32:]...)
		frames += uint64(binary.LittleEndian.Uint32(b[9:]))
	}
	end := binary.LittleEndian.AppendUint64([]byte{endMark}, frames)
	chain = link(chain, end, nil)
	return append(append(out, end...), chain[:]...)
}

type disk struct {
	file
	mu   sync.Mutex
	fail error
	part int
}

func (d *disk) wrap(f file) file { return &diskFile{f, d} }

type diskFile struct {
	file
	d *disk
}

func (f *diskFile) Write(b []byte) (int, error) {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	if f.d.fail != nil {
		n, _ := f.file.Write(b[:min(len(b), f.d.part)])
		return n, f.d.fail
	}
	if f.d.part > 0 {
		return f.file.Write(b[:f.d.part])
	}
	return f.file.Write(b)
}

func TestFailingDisk(t *testing.T) {
	for name, arm := range map[string]func(*disk){
		"no space":    func(d *disk) { d.fail, d.part = syscall.ENOSPC, 3 },
		"short write": func(d *disk) { d.part = 5 },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			d := &disk{}
			r := NewRecorder(dir, Options{Every: 5 * time.Millisecond, open: func(path string, flag int) (file, error) {
				f, err := os.OpenFile(path, flag, 0o600)
				if err != nil {
					return nil, err
				}
				return d.wrap(f), nil
			}})
			tp, other := start(t, r, "a"), start(t, r, "b")
			write(t, tp, frame(doorward.FrameNote, 1, 1, "kept"))
			if err := func() error { tp.mu.Lock(); defer tp.mu.Unlock(); return tp.flush(true) }(); err != nil {
				t.Fatal(err)
			}
			d.mu.Lock()
			arm(d)
			d.mu.Unlock()
			// In the background: the next Write must tell.
			write(t, other, frame(doorward.FrameNote, 1, 1, "lost"))
			var err error
			for range 400 {
				time.Sleep(5 * time.Millisecond)
				if err = other.Write(frame(doorward.FrameNote, 1, 1, "lost")); err != nil {
					break
				}
			}
			if err == nil {
				t.Fatal("nobody told that the disk fails")
			}
			// In the foreground, when the buffer is full.
			for range 100 {
				if err = tp.Write(frame(doorward.FrameNote, 1, 1, strings.Repeat("x", 1000))); err != nil {
					break
				}
			}
			if err == nil {
				t.Fatal("nobody told that the disk fails")
			}
			d.mu.Lock()
			d.fail, d.part = nil, 0
			d.mu.Unlock()
			if tp.Write(frame(doorward.FrameNote, 1, 1, "x")) == nil {
				t.Fatal("a failed tape took a frame")
			}
			if _, err := tp.Close(); err == nil {
				t.Fatal("a failed tape was sealed")
			}
			got, rd, err := read(t, filepath.Join(dir, tp.Name()))
			if !errors.Is(err, ErrDamaged) || len(got) != 1 || rd.Sealed() {
				t.Fatalf("%d frames, %v", len(got), err)
			}
		})
	}
	r := NewRecorder(filepath.Join(os.DevNull, "x"), Options{})
	if _, err := r.Open(t.Context(), header("s")); err == nil {
		t.Fatal("opened a tape where there is no folder")
	}
}

func TestHotPathAllocatesNothing(t *testing.T) {
	r := NewRecorder(t.TempDir(), Options{Every: time.Hour, SessionBytes: 1 << 40, ReplyBytes: 1 << 40})
	tp := start(t, r, "s")
	f := frame(doorward.FrameReply, 1, 1, strings.Repeat("x", 100))
	n := 0
	avg := testing.AllocsPerRun(200, func() { // does not fill a block
		f.Request = uint64(n / 10)
		n++
		if err := tp.Write(f); err != nil {
			t.Fatal(err)
		}
	})
	if avg != 0 {
		t.Fatalf("%v allocations a frame", avg)
	}
}

func TestIdleSessionsCostLittle(t *testing.T) {
	r := NewRecorder(t.TempDir(), Options{Every: time.Hour})
	const n = 500
	tapes := make([]*Tape, 0, n)
	use := func() uint64 {
		runtime.GC()
		runtime.GC() // pools drop what they hold at the second
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	start(t, r, "warm")
	before := use()
	for i := range n {
		tp := start(t, r, fmt.Sprintf("s%d", i))
		write(t, tp, frame(doorward.FrameNote, 1, 1, strings.Repeat("x", 1000)))
		tapes = append(tapes, tp)
	}
	r.sweep()
	after := use()
	if per := int64(after-before) / n; after > before && per > 2048 {
		t.Fatalf("%d bytes an idle session", per)
	} else {
		t.Logf("%d bytes an idle session", per)
	}
	fds, err := os.ReadDir("/proc/self/fd")
	if err == nil && len(fds) > 50 {
		t.Fatalf("%d open files", len(fds))
	}
	for _, tp := range tapes {
		write(t, tp, frame(doorward.FrameNote, 1, 1, "again"))
	}
}

func TestManySessionsAtOnce(t *testing.T) {
	dir := t.TempDir()
	r := NewRecorder(dir, Options{Every: time.Millisecond})
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			tp := start(t, r, fmt.Sprintf("s%d", i))
			for j := range 300 {
				if err := tp.Write(frame(doorward.FrameNote, j, uint64(j), strings.Repeat(fmt.Sprint(i), j))); err != nil {
					t.Error(err)
					return
				}
				if j%50 == 0 {
					time.Sleep(time.Millisecond)
				}
			}
			if _, err := tp.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for i := range 20 {
		got, rd, err := read(t, filepath.Join(dir, Name(fmt.Sprintf("s%d", i), t0)))
		if err != nil || len(got) != 300 || !rd.Sealed() {
			t.Fatal(len(got), err)
		}
		for j, f := range got {
			if string(f.Data) != strings.Repeat(fmt.Sprint(i), j) {
				t.Fatal("a frame of another session")
			}
		}
	}
}

func FuzzReader(f *testing.F) {
	dir := f.TempDir()
	r := NewRecorder(dir, Options{})
	tp := start(f, r, "s")
	write(f, tp, frame(doorward.FrameRequest, 1, 1, `{"statement":"SELECT 1"}`), frame(doorward.FrameReply, 2, 1, "reply"))
	r.sweep()
	write(f, tp, frame(doorward.FrameOutcome, 3, 1, `{}`))
	if _, err := tp.Close(); err != nil {
		f.Fatal(err)
	}
	good, err := os.ReadFile(filepath.Join(dir, tp.Name()))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(good[:len(good)-41])
	f.Add(good[:60])
	f.Fuzz(func(t *testing.T, b []byte) {
		rd, err := NewReader(bytes.NewReader(b))
		if err != nil {
			if !errors.Is(err, ErrDamaged) {
				t.Fatal(err)
			}
			return
		}
		defer rd.Close()
		for {
			fr, err := rd.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				if !errors.Is(err, ErrDamaged) {
					t.Fatal(err)
				}
				break
			}
			if fr.Kind < 1 || fr.Kind > 6 {
				t.Fatal(fr.Kind)
			}
		}
	})
}

// FuzzFrames fuzzes what is inside of a block, past its hash.
func FuzzFrames(f *testing.F) {
	fr := frame(doorward.FrameReply, 5, 7, "data")
	f.Add(appendFrame(nil, &fr, 5))
	f.Fuzz(func(t *testing.T, b []byte) {
		for len(b) > 0 {
			fr, n, err := parseFrame(b, t0)
			if err != nil {
				return
			}
			if n < 4 || n > len(b) {
				t.Fatal(n)
			}
			again, m, err := parseFrame(appendFrame(nil, &fr, fr.At.Sub(t0).Nanoseconds()), t0)
			if err != nil || m > n || again.Request != fr.Request || !bytes.Equal(again.Data, fr.Data) {
				t.Fatal(err, again, fr)
			}
			b = b[n:]
		}
	})
}

func BenchmarkWrite(b *testing.B) {
	r := NewRecorder(b.TempDir(), Options{SessionBytes: 1 << 50, ReplyBytes: 1 << 50})
	tp := start(b, r, "s")
	req := frame(doorward.FrameRequest, 1, 1, `{"statement":"SELECT abalance FROM pgbench_accounts WHERE aid = 123456","decision":"allow","rule":"read"}`)
	rep := frame(doorward.FrameReply, 1, 1, strings.Repeat("T\x00\x00\x00\x21abalance\x00", 6))
	out := frame(doorward.FrameOutcome, 1, 1, `{"rows":1,"bytes":30,"took":230000}`)
	b.ReportAllocs()
	for b.Loop() { // one statement
		if tp.Write(req) != nil || tp.Write(rep) != nil || tp.Write(out) != nil {
			b.Fatal("write")
		}
		req.Request++
		rep.Request++
		out.Request++
	}
}

// TestWhole keeps a request past the bound of requests, up to that of sessions.
func TestWhole(t *testing.T) {
	r := NewRecorder(t.TempDir(), Options{ReplyBytes: 100, SessionBytes: 1000})
	tp, err := r.Start(t.Context(), doorward.Header{Session: "whole", Protocol: "ssh"})
	if err != nil {
		t.Fatal(err)
	}
	tp.Whole(2)
	for n := range uint64(3) {
		for range 4 {
			if err := tp.Write(doorward.Frame{Kind: doorward.FrameReply, At: time.Now(), Request: n + 1, Data: make([]byte, 90)}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if tp.kept != 100+360+100 {
		t.Fatalf("%d bytes are kept", tp.kept)
	}
	for range 20 {
		if err := tp.Write(doorward.Frame{Kind: doorward.FrameReply, At: time.Now(), Request: 2, Data: make([]byte, 90)}); err != nil {
			t.Fatal(err)
		}
	}
	if tp.kept != 1000 {
		t.Fatalf("%d bytes are kept of a session of 1000", tp.kept)
	}
	if _, err := tp.Close(); err != nil {
		t.Fatal(err)
	}
}
