package ledger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/doorward/doorward"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv("LEDGER_CRASH_DIR"); dir != "" {
		crashChild(dir)
		return
	}
	goleak.VerifyTestMain(m)
}

var t0 = time.Date(2026, 11, 24, 6, 0, 0, 123456789, time.UTC)

func event(n int) doorward.Event {
	return doorward.Event{Time: t0.Add(time.Duration(n)), Kind: doorward.EventRefused, Session: fmt.Sprintf("s%d", n%7), Request: uint64(n),
		Name: "ada@corp.example", Subject: "corp:1", Agent: "codex", Target: "orders", Protocol: "postgres",
		Text: fmt.Sprintf("SELECT * FROM customers WHERE id = %d -- \"é\"", n), Decision: "deny", Rule: "read-orders", Policy: "v1"}
}

func open(t testing.TB, dir string, opts Options) *Log {
	t.Helper()
	l, err := Open(dir, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// add appends events and waits for the last one.
func add(t testing.TB, l *Log, events ...doorward.Event) {
	t.Helper()
	var last doorward.Receipt
	for _, ev := range events {
		r, err := l.Append(t.Context(), ev)
		if err != nil {
			t.Fatal(err)
		}
		last = r
	}
	if _, err := last.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func closeLog(t testing.TB, l *Log) {
	t.Helper()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

func verified(t testing.TB, dir string, opts VerifyOptions) Report {
	t.Helper()
	r, err := Verify(dir, opts)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestAppendReadReopenVerify(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "ledger")
	const n = 1000
	opts := Options{SegmentBytes: 16 << 10}
	var want []doorward.Event
	for part := range 4 {
		l := open(t, dir, opts)
		for i := range n / 4 {
			ev := event(part*n/4 + i)
			want = append(want, ev)
			if i%5 == 0 { // batches of one, and larger ones
				add(t, l, ev)
			} else if _, err := l.Append(t.Context(), ev); err != nil {
				t.Fatal(err)
			}
		}
		closeLog(t, l)
		if l.Recovered() != nil {
			t.Fatalf("nothing was to be recovered: %+v", l.Recovered())
		}
	}
	l := open(t, dir, opts)
	if l.Size() != n {
		t.Fatalf("size %d", l.Size())
	}
	for _, from := range []uint64{0, 1, 499, 999, 1000, 2000} {
		next := from
		err := l.Read(t.Context(), from, func(i uint64, ev doorward.Event) error {
			if i != next {
				t.Fatalf("index %d instead of %d", i, next)
			}
			if d := cmp.Diff(want[i], ev); d != "" {
				t.Fatal(d)
			}
			next++
			return nil
		})
		if err != nil || next != max(n, from) {
			t.Fatalf("from %d: read up to %d: %v", from, next, err)
		}
	}
	names, _ := segmentNames(dir)
	if len(names) < 5 {
		t.Fatalf("only %d segments", len(names))
	}
	r := verified(t, dir, VerifyOptions{})
	if !r.OK || r.Size != n || r.Signed != n {
		t.Fatal(r.Summary())
	}
	if size, root := l.Tree(); size != n || root != r.Root {
		t.Fatalf("%d %s, verify says %s", size, root, r.Root)
	}
	stop := errors.New("stop")
	if err := l.Read(t.Context(), 0, func(uint64, doorward.Event) error { return stop }); err != stop {
		t.Fatal(err)
	}
}

func TestTreeIsTlogs(t *testing.T) {
	var tr tree
	var stored []tlog.Hash
	read := tlog.HashReaderFunc(func(at []int64) ([]tlog.Hash, error) {
		var out []tlog.Hash
		for _, i := range at {
			out = append(out, stored[i])
		}
		return out, nil
	})
	for n := range int64(300) {
		data := fmt.Appendf(nil, "event %d", n)
		want, err := tlog.StoredHashes(n, data, read)
		if err != nil {
			t.Fatal(err)
		}
		got := tr.add(nil, append([]byte{0}, data...))
		if !cmp.Equal(got, want) {
			t.Fatalf("stored hashes of %d differ", n)
		}
		stored = append(stored, got...)
		root, err := tlog.TreeHash(n+1, read)
		if err != nil || root != tr.root() {
			t.Fatalf("root of %d differs: %v", n+1, err)
		}
		if int64(len(stored)) != storedCount(uint64(n+1)) {
			t.Fatal("count of stored hashes")
		}
		again, err := loadTree(uint64(n+1), read)
		if err != nil || again.root() != root {
			t.Fatalf("loaded tree of %d differs: %v", n+1, err)
		}
	}
}

func TestProofs(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, Options{})
	var early checkpointBody
	var bodies [][]byte
	for i := range 137 {
		add(t, l, event(i))
		b, _ := appendEvent(nil, new(event(i)))
		bodies = append(bodies, b)
		if i == 41 {
			msg, err := l.Checkpoint()
			if err != nil {
				t.Fatal(err)
			}
			if early, err = parseCheckpoint(msg, l.verifier); err != nil {
				t.Fatal(err)
			}
		}
	}
	waitTree(t, l, 137)
	key, err := LoadKey(filepath.Join(dir, publicName))
	if err != nil {
		t.Fatal(err)
	}
	for i := range uint64(137) {
		p, err := l.Prove(i)
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Check(key, bodies[i]); err != nil {
			t.Fatal(err)
		}
		if p.Check(key, bodies[(i+1)%137]) == nil {
			t.Fatal("a proof holds for another event")
		}
		p.Index = (i + 1) % 137
		if p.Check(key, bodies[i]) == nil {
			t.Fatal("a proof holds for another index")
		}
	}
	if _, err := l.Prove(137); err == nil {
		t.Fatal("proved an event that is not there")
	}
	hashes, msg, err := l.ProveGrowth(early.size)
	if err != nil {
		t.Fatal(err)
	}
	now, err := parseCheckpoint(msg, key)
	if err != nil {
		t.Fatal(err)
	}
	var proof tlog.TreeProof
	for _, s := range hashes {
		h, err := tlog.ParseHash(s)
		if err != nil {
			t.Fatal(err)
		}
		proof = append(proof, h)
	}
	if err := tlog.CheckTree(proof, int64(now.size), now.root, int64(early.size), early.root); err != nil {
		t.Fatal(err)
	}
}

// waitTree waits until the tree is published, which is after the receipts.
func waitTree(t testing.TB, l *Log, size uint64) {
	t.Helper()
	for range 1000 {
		if n, _ := l.Tree(); n >= size {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Fatalf("the tree did not reach %d", size)
}

func TestCheckpointFollows(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, Options{Every: 20 * time.Millisecond})
	for i := range 99 {
		add(t, l, event(i))
	}
	deadline := time.Now().Add(5 * time.Second)
	for {
		msg, err := ReadCheckpoint(dir)
		if err != nil {
			t.Fatal(err)
		}
		c, err := parseCheckpoint(msg, l.verifier)
		if err != nil {
			t.Fatal(err)
		}
		if c.size == 99 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the checkpoint stays at %d", c.size)
		}
		time.Sleep(5 * time.Millisecond)
	}
	// Within segments: never more than 100 events without a signature, with
	// no help from the file.
	for i := range 950 {
		add(t, l, event(i))
	}
	b, err := os.ReadFile(filepath.Join(dir, segmentName(0)))
	if err != nil {
		t.Fatal(err)
	}
	b = bytes.TrimRight(b[segmentHeaderSize:], "\x00")
	since := uint32(0)
	for len(b) > 0 {
		h, err := parseBatchHeader(b)
		if err != nil {
			t.Fatal(err)
		}
		if since += h.count; h.signed > 0 {
			since = 0
		}
		if since >= 100 {
			t.Fatalf("%d events without a signature", since)
		}
		b = b[batchHeaderSize+h.events+h.signed:]
	}
	closeLog(t, l)
	info, err := os.Stat(filepath.Join(dir, keyName))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatal(info.Mode(), err)
	}
}

func TestConcurrentAppends(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, Options{SegmentBytes: 64 << 10})
	var wg sync.WaitGroup
	var mu sync.Mutex
	got := map[uint64]string{}
	for g := range 16 {
		wg.Go(func() {
			for i := range 100 {
				ev := event(i)
				ev.Session = fmt.Sprintf("g%d-%d", g, i)
				r, err := l.Append(t.Context(), ev)
				if err != nil {
					t.Error(err)
					return
				}
				at, err := r.Wait(t.Context())
				if err != nil {
					t.Error(err)
					return
				}
				if l.Size() <= at {
					t.Errorf("acknowledged %d while the size is %d", at, l.Size())
				}
				mu.Lock()
				got[at] = ev.Session
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if len(got) != 1600 {
		t.Fatalf("%d indexes", len(got))
	}
	if err := l.Read(t.Context(), 0, func(i uint64, ev doorward.Event) error {
		if got[i] != ev.Session {
			return fmt.Errorf("event %d is %s, its receipt was given to %s", i, ev.Session, got[i])
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	closeLog(t, l)
	if r := verified(t, dir, VerifyOptions{}); !r.OK {
		t.Fatal(r.Summary())
	}
}

func TestOneWriter(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, Options{})
	if _, err := Open(dir, Options{}); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Fatal(err)
	}
	closeLog(t, l)
	if _, err := l.Append(t.Context(), event(1)); !errors.Is(err, ErrClosed) {
		t.Fatal(err)
	}
	if !errors.Is(l.Health(), ErrClosed) {
		t.Fatal(l.Health())
	}
	open(t, dir, Options{})
}

func TestRefusesWhatItCannotKeep(t *testing.T) {
	l := open(t, t.TempDir(), Options{})
	ev := event(1)
	ev.Text = strings.Repeat("x", MaxEvent)
	if _, err := l.Append(t.Context(), ev); err == nil {
		t.Fatal("took an event over the bound")
	}
	ev.Text = strings.Repeat("x", MaxEvent-1000)
	add(t, l, ev) // the largest is fine
	add(t, l, event(2))
	ev = event(3)
	ev.Time = time.Date(12000, 1, 1, 0, 0, 0, 0, time.UTC)
	if _, err := l.Append(t.Context(), ev); err == nil {
		t.Fatal("took a time that JSON cannot hold")
	}
	add(t, l, event(4))
	n := 0
	if err := l.Read(t.Context(), 0, func(uint64, doorward.Event) error { n++; return nil }); err != nil || n != 3 {
		t.Fatal(n, err)
	}
}

// failing is a disk that fails once told to.
type failing struct {
	file
	mu    sync.Mutex
	write func(b []byte, at int64) (int, error)
	sync  func() error
}

func (f *failing) WriteAt(b []byte, at int64) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.write != nil {
		return f.write(b, at)
	}
	return f.file.WriteAt(b, at)
}

func (f *failing) Sync() error {
	f.mu.Lock()
	sync := f.sync
	f.mu.Unlock()
	if sync != nil {
		return sync()
	}
	return f.file.Sync()
}

func (f *failing) arm(write func([]byte, int64) (int, error), sync func() error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.write, f.sync = write, sync
}

func TestFailingDisk(t *testing.T) {
	cases := map[string]func(f *failing){
		"short write": func(f *failing) {
			f.arm(func(b []byte, at int64) (int, error) { return f.file.WriteAt(b[:len(b)/2], at) }, nil)
		},
		"no space": func(f *failing) {
			f.arm(func(b []byte, at int64) (int, error) {
				n, _ := f.file.WriteAt(b[:10], at)
				return n, syscall.ENOSPC
			}, nil)
		},
		"write error": func(f *failing) {
			f.arm(func([]byte, int64) (int, error) { return 0, syscall.EIO }, nil)
		},
		"fsync error": func(f *failing) {
			calls := 0
			f.arm(nil, func() error {
				calls++
				if calls > 1 {
					panic("fsync was tried again")
				}
				return syscall.EIO
			})
		},
	}
	for name, arm := range cases {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			var disk *failing
			l := open(t, dir, Options{wrap: func(_ string, f file) file { disk = &failing{file: f}; return disk }})
			for i := range 10 {
				add(t, l, event(i))
			}
			arm(disk)
			var wg sync.WaitGroup
			for i := range 8 {
				wg.Go(func() {
					r, err := l.Append(t.Context(), event(100+i))
					if err == nil {
						_, err = r.Wait(t.Context())
					}
					if err == nil {
						t.Error("an event was acknowledged on a failing disk")
					}
				})
			}
			wg.Wait()
			disk.arm(nil, nil) // the disk is well again: the log must stay failed
			if _, err := l.Append(t.Context(), event(200)); err == nil {
				t.Fatal("a failed log took an event")
			}
			if l.Health() == nil {
				t.Fatal("a failed log says that it is well")
			}
			if l.Size() != 10 {
				t.Fatalf("size %d", l.Size())
			}
			if err := l.Close(); err == nil {
				t.Fatal("closing a failed log says nothing")
			}
			again := open(t, dir, Options{})
			n := 0
			if err := again.Read(t.Context(), 0, func(i uint64, ev doorward.Event) error {
				if i < 10 && ev.Request != i {
					t.Errorf("event %d is not the one that was acknowledged", i)
				}
				n++
				return nil
			}); err != nil || n < 10 {
				t.Fatal(n, err)
			}
			add(t, again, event(1))
			closeLog(t, again)
			if r := verified(t, dir, VerifyOptions{}); !r.OK {
				t.Fatal(r.Summary())
			}
		})
	}
}

func TestFailingRotation(t *testing.T) {
	dir := t.TempDir()
	n := 0
	l := open(t, dir, Options{SegmentBytes: 4 << 10, wrap: func(_ string, f file) file {
		n++
		d := &failing{file: f}
		if n > 1 {
			d.write = func([]byte, int64) (int, error) { return 0, syscall.ENOSPC }
		}
		return d
	}})
	acked := 0
	for i := range 100 {
		r, err := l.Append(t.Context(), event(i))
		if err == nil {
			_, err = r.Wait(t.Context())
		}
		if err != nil {
			break
		}
		acked++
	}
	if acked == 0 || acked == 100 || l.Size() != uint64(acked) {
		t.Fatal(acked, l.Size())
	}
	l.Close()
	again := open(t, dir, Options{SegmentBytes: 4 << 10})
	if again.Size() < uint64(acked) {
		t.Fatalf("%d of %d acknowledged events are left", again.Size(), acked)
	}
	closeLog(t, again)
	if r := verified(t, dir, VerifyOptions{}); !r.OK {
		t.Fatal(r.Summary())
	}
}

func TestBackPressure(t *testing.T) {
	var disk *failing
	gate := make(chan struct{})
	l := open(t, t.TempDir(), Options{wrap: func(_ string, f file) file { disk = &failing{file: f}; return disk }})
	disk.arm(nil, func() error { <-gate; return nil })
	big := event(1)
	big.Text = strings.Repeat("x", maxBatch/4)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	var err error
	n := 0
	var receipts []doorward.Receipt
	for n < 100 {
		var r doorward.Receipt
		if r, err = l.Append(ctx, big); err != nil {
			break
		}
		receipts = append(receipts, r)
		n++
	}
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("the buffer took %d MiB: %v", n, err)
	}
	if n > 12 {
		t.Fatalf("the buffer holds %d events of 1 MiB", n)
	}
	if _, err := receipts[0].Wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
	close(gate)
	for _, r := range receipts {
		if _, err := r.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

func TestOutcomesShareACommit(t *testing.T) {
	var disk *failing
	l := open(t, t.TempDir(), Options{wrap: func(_ string, f file) file { disk = &failing{file: f}; return disk }})
	var mu sync.Mutex
	syncs := 0
	disk.arm(nil, func() error { mu.Lock(); defer mu.Unlock(); syncs++; return nil })
	outcome := event(1)
	outcome.Kind = doorward.EventOutcome
	for range 100 {
		if _, err := l.Append(t.Context(), outcome); err != nil {
			t.Fatal(err)
		}
		add(t, l, event(2))
	}
	mu.Lock()
	if syncs > 130 { // a slow machine may let the timer win at times
		t.Errorf("%d commits for 100 requests", syncs)
	}
	mu.Unlock()
	// Alone, it is committed after a moment, and at once when waited for.
	if _, err := l.Append(t.Context(), outcome); err != nil {
		t.Fatal(err)
	}
	for range 1000 {
		if l.Size() == 201 {
			break
		}
		time.Sleep(time.Millisecond)
	}
	if l.Size() != 201 {
		t.Fatal("an outcome alone was not committed")
	}
	add(t, l, outcome)
}
