package ledger

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/doorward/doorward"
)

// crashChild appends from several goroutines and prints what was acknowledged,
// until it is killed.
func crashChild(dir string) {
	l, err := Open(dir, Options{SegmentBytes: 32 << 10, Every: 20 * time.Millisecond, History: 50 * time.Millisecond})
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := 0; ; i++ {
				ev := event(i)
				ev.Session = fmt.Sprintf("p%d-g%d-%d", os.Getpid(), g, i)
				ev.Text = strings.Repeat("x", rand.IntN(900))
				r, err := l.Append(context.Background(), ev)
				if err != nil {
					fmt.Println("error", err)
					os.Exit(1)
				}
				at, err := r.Wait(context.Background())
				if err != nil {
					fmt.Println("error", err)
					os.Exit(1)
				}
				mu.Lock()
				fmt.Printf("%d %s\n", at, ev.Session)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
}

func TestKilledProcessLosesNothing(t *testing.T) {
	rounds := 15
	switch {
	case testing.Short():
		rounds = 4
	case os.Getenv("DOORWARD_LONG_TESTS") != "":
		rounds = 1000
	}
	dir := filepath.Join(t.TempDir(), "ledger")
	acked := map[uint64]string{}
	for round := range rounds {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "LEDGER_CRASH_DIR="+dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		// Some are killed while they start, the others once they work.
		kill := func(ms int) {
			time.AfterFunc(time.Duration(rand.IntN(ms))*time.Millisecond, func() { cmd.Process.Kill() })
		}
		running := round%3 == 2
		if running {
			kill(200)
		}
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if !running {
				running = true
				kill(100)
			}
			var at uint64
			var session string
			if n, _ := fmt.Sscanf(lines.Text(), "%d %s", &at, &session); n != 2 {
				if strings.HasPrefix(lines.Text(), "error") {
					t.Fatal(lines.Text())
				}
				continue // killed in the middle of a line
			}
			if strings.Count(session, "-") < 2 {
				continue
			}
			if before, ok := acked[at]; ok {
				t.Fatalf("index %d was given twice: %s and %s", at, before, session)
			}
			acked[at] = session
		}
		cmd.Wait()
		if _, err := os.Stat(filepath.Join(dir, checkpointName)); err != nil {
			continue // killed before the log was there
		}
		if r := verified(t, dir, VerifyOptions{}); !r.OK {
			t.Fatalf("round %d, before recovery: %s", round, r.Summary())
		}
		l := open(t, dir, Options{SegmentBytes: 32 << 10})
		found := 0
		if err := l.Read(t.Context(), 0, func(i uint64, ev doorward.Event) error {
			if want, ok := acked[i]; ok {
				found++
				// The last line of a killed process may be cut.
				if !strings.HasPrefix(ev.Session, want) {
					return fmt.Errorf("event %d is of %s, acknowledged was %s", i, ev.Session, want)
				}
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if found != len(acked) {
			t.Fatalf("round %d: %d of %d acknowledged events are there", round, found, len(acked))
		}
		closeLog(t, l)
		if r := verified(t, dir, VerifyOptions{}); !r.OK {
			t.Fatalf("round %d, after recovery: %s", round, r.Summary())
		}
	}
	if len(acked) < rounds {
		t.Fatalf("only %d events were acknowledged in %d rounds", len(acked), rounds)
	}
	t.Logf("%d acknowledged events, all there", len(acked))
}

// TestTornTail cuts the last, never acknowledged batch at every byte.
func TestTornTail(t *testing.T) {
	base := t.TempDir()
	l := open(t, base, Options{})
	add(t, l, event(0), event(1))
	add(t, l, event(2))
	closeLog(t, l)
	kept := readAll(t, base)
	seg := segmentName(0)

	// The batch that a crash would leave half-written.
	body, err := appendEvent([]byte{0, 0, 0, 0, 0}, new(event(3)))
	if err != nil {
		t.Fatal(err)
	}
	body[0] = byte(len(body) - 4)
	body[1] = byte((len(body) - 4) >> 8)
	batch := append(make([]byte, batchHeaderSize), body...)
	putBatchHeader(batch, batchHeader{count: 1, first: 3, durable: 3})

	for n := 0; n <= len(batch); n++ {
		if n > batchHeaderSize+6 && n < len(batch)-2 && n%29 != 0 {
			continue
		}
		for _, zeros := range []int{0, 100} {
			dir := t.TempDir()
			tail := append(append([]byte{}, batch[:n]...), make([]byte, zeros)...)
			if n == len(batch) && zeros > 0 {
				continue // a whole batch and then a torn one: the next case of n = 0
			}
			files := map[string][]byte{}
			for k, v := range kept {
				files[k] = v
			}
			files[seg] = append(append([]byte{}, kept[seg]...), tail...)
			writeFiles(t, dir, files)
			if r := verified(t, dir, VerifyOptions{}); !r.OK {
				t.Fatalf("%d bytes: %s", n, r.Summary())
			}
			l, err := Open(dir, Options{})
			if err != nil {
				t.Fatalf("%d bytes: %v", n, err)
			}
			want := uint64(3)
			if n == len(batch) {
				want = 4
			} else if n > 0 { // zeros alone are room for what comes next
				want = 4 // and the report
				rec := l.Recovered()
				if rec == nil || rec.Bytes != int64(len(tail)) {
					t.Fatalf("%d bytes: not reported: %+v", n, rec)
				}
				found := false
				if err := l.Read(t.Context(), 3, func(_ uint64, ev doorward.Event) error {
					found = ev.Kind == doorward.EventFault && ev.Fields["segment"] == seg
					return nil
				}); err != nil || !found {
					t.Fatalf("%d bytes: no event tells of the cut: %v", n, err)
				}
			}
			if l.Size() != want {
				t.Fatalf("%d bytes: size %d instead of %d", n, l.Size(), want)
			}
			closeLog(t, l)
			if r := verified(t, dir, VerifyOptions{}); !r.OK {
				t.Fatalf("%d bytes: %s", n, r.Summary())
			}
		}
	}
}

// TestRefusesToOpen damages what was acknowledged: the log must not open, and
// must leave the files alone.
func TestRefusesToOpen(t *testing.T) {
	base := t.TempDir()
	l := open(t, base, Options{SegmentBytes: 8 << 10, Behind: 1 << 40, Every: time.Hour})
	for i := range 100 {
		add(t, l, event(i))
	}
	waitTree(t, l, 100)
	kept := readAll(t, base) // as after a kill: the checkpoint is over no event at all
	closeLog(t, l)
	names, _ := segmentNames(base)
	last, middle := names[len(names)-1], names[len(names)/2]
	kept[last] = bytes.TrimRight(kept[last], "\x00")
	edit := func(name string, fn func(b []byte) []byte) func(map[string][]byte) {
		return func(files map[string][]byte) { files[name] = fn(append([]byte{}, files[name]...)) }
	}
	cases := map[string]func(map[string][]byte){
		"byte in an acknowledged batch": edit(last, func(b []byte) []byte { b[segmentHeaderSize+60] ^= 1; return b }),
		"byte in the very last batch":   edit(last, func(b []byte) []byte { b[len(b)-9] ^= 1; return b }),
		"last batch cut off": edit(last, func(b []byte) []byte {
			at := bytesLast(b, batchMagic)
			return b[:at]
		}),
		"last batch overwritten with zeros": edit(last, func(b []byte) []byte {
			clear(b[bytesLast(b, batchMagic):])
			return append(b, make([]byte, 1000)...)
		}),
		"middle batch overwritten with zeros": edit(last, func(b []byte) []byte {
			at := segmentHeaderSize
			clear(b[at : at+1+bytes.Index(b[at+1:], []byte(batchMagic))])
			return b
		}),
		"last batch cut in the middle": edit(last, func(b []byte) []byte { return b[:len(b)-5] }),
		"older segment cut":            edit(middle, func(b []byte) []byte { return b[:len(b)-1] }),
		"older segment missing":        func(f map[string][]byte) { delete(f, middle) },
		"last segment missing":         func(f map[string][]byte) { delete(f, last) },
		"last segment emptied":         edit(last, func([]byte) []byte { return nil }),
		"all segments missing": func(f map[string][]byte) {
			for _, n := range names {
				delete(f, n)
			}
		},
		"checkpoint missing":  func(f map[string][]byte) { delete(f, checkpointName) },
		"checkpoint damaged":  edit(checkpointName, func(b []byte) []byte { b[30] ^= 1; return b }),
		"key missing":         func(f map[string][]byte) { delete(f, keyName) },
		"key of somebody":     edit(keyName, func(b []byte) []byte { return []byte("PRIVATE+KEY+x") }),
		"public key missing":  func(f map[string][]byte) { delete(f, publicName) },
		"stored hash changed": edit(hashesName, func(b []byte) []byte { b[len(b)-3] ^= 1; return b }),
	}
	for name, damage := range cases {
		t.Run(name, func(t *testing.T) {
			files := map[string][]byte{}
			for k, v := range kept {
				files[k] = v
			}
			damage(files)
			dir := t.TempDir()
			writeFiles(t, dir, files)
			l, err := Open(dir, Options{SegmentBytes: 8 << 10})
			if err == nil {
				l.Close()
				t.Fatal("it opened")
			}
			t.Log(err)
			after := readAll(t, dir)
			for k, v := range files {
				if string(after[k]) != string(v) {
					t.Errorf("%s was changed by the attempt", k)
				}
			}
		})
	}
}

// TestPowerFailure leaves what a power failure may: of the batches that were
// written and not yet synced, the disk took some and not others.
func TestPowerFailure(t *testing.T) {
	base := t.TempDir()
	l := open(t, base, Options{})
	add(t, l, event(0), event(1), event(2))
	closeLog(t, l)
	kept := readAll(t, base)
	seg := segmentName(0)
	batch := func(i int, durable uint64) []byte {
		body, err := appendEvent([]byte{0, 0, 0, 0, 0}, new(event(i)))
		if err != nil {
			t.Fatal(err)
		}
		binary.LittleEndian.PutUint32(body, uint32(len(body)-4))
		b := append(make([]byte, batchHeaderSize), body...)
		putBatchHeader(b, batchHeader{count: 1, first: uint64(i), durable: durable})
		return b
	}
	zero := func(b []byte) []byte { return make([]byte, len(b)) }
	join := func(parts ...[]byte) []byte { return bytes.Join(append(parts, make([]byte, 5000)), nil) }
	half := bytes.Clone(batch(3, 3))
	clear(half[len(half)/2:])
	for name, c := range map[string]struct {
		tail []byte
		size uint64 // 0: must not open
	}{
		"nothing":                           {join(), 3},
		"the first of two":                  {join(batch(3, 3), zero(batch(4, 3))), 4},
		"the second of two":                 {join(zero(batch(3, 3)), batch(4, 3)), 4}, // and the report
		"half, and the next whole":          {join(half, batch(4, 3), batch(5, 3)), 4},
		"both":                              {join(batch(3, 3), batch(4, 3)), 5},
		"one that was acknowledged":         {join(zero(batch(3, 3)), batch(4, 4)), 0},
		"half of one that was acknowledged": {join(half, batch(4, 3), batch(5, 4)), 0},
	} {
		t.Run(name, func(t *testing.T) {
			files := map[string][]byte{}
			for k, v := range kept {
				files[k] = v
			}
			files[seg] = append(bytes.Clone(kept[seg]), c.tail...)
			dir := t.TempDir()
			writeFiles(t, dir, files)
			if r := verified(t, dir, VerifyOptions{}); r.OK != (c.size > 0) {
				t.Fatal(r.Summary())
			}
			l, err := Open(dir, Options{})
			if c.size == 0 {
				if err == nil {
					l.Close()
					t.Fatal("it opened, and an acknowledged event is gone")
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if l.Size() != c.size {
				t.Fatalf("size %d instead of %d", l.Size(), c.size)
			}
			add(t, l, event(9))
			closeLog(t, l)
			if r := verified(t, dir, VerifyOptions{}); !r.OK {
				t.Fatal(r.Summary())
			}
		})
	}
}

func bytesLast(b []byte, s string) int { return strings.LastIndex(string(b), s) }

// TestHashesAreRebuilt loses the hashes file, or the end of it, as a power
// failure may.
func TestHashesAreRebuilt(t *testing.T) {
	base := t.TempDir()
	l := open(t, base, Options{SegmentBytes: 8 << 10})
	for i := range 100 {
		add(t, l, event(i))
	}
	closeLog(t, l)
	kept := readAll(t, base)
	for _, size := range []int{0, 5, 32, 1000, len(kept[hashesName]) - 40} {
		files := map[string][]byte{}
		for k, v := range kept {
			files[k] = v
		}
		files[hashesName] = kept[hashesName][:size]
		if size == 1000 { // zeros instead of the lost end
			files[hashesName] = append(append([]byte{}, kept[hashesName][:size]...), make([]byte, len(kept[hashesName])-size)...)
		}
		dir := t.TempDir()
		writeFiles(t, dir, files)
		l, err := Open(dir, Options{SegmentBytes: 8 << 10})
		if err != nil {
			t.Fatalf("%d bytes left: %v", size, err)
		}
		if _, err := l.Prove(3); err != nil {
			t.Fatal(err)
		}
		closeLog(t, l)
		if got := readAll(t, dir)[hashesName]; string(got) != string(kept[hashesName]) {
			t.Fatalf("%d bytes left: the file is not as it was", size)
		}
	}
}

func readAll(t testing.TB, dir string) map[string][]byte {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{}
	for _, e := range entries {
		if files[e.Name()], err = os.ReadFile(filepath.Join(dir, e.Name())); err != nil {
			t.Fatal(err)
		}
	}
	return files
}

func writeFiles(t testing.TB, dir string, files map[string][]byte) {
	t.Helper()
	for name, b := range files {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
