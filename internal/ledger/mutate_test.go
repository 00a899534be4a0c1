package ledger

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/doorward/doorward"
	"github.com/doorward/doorward/internal/tape"
)

// image is a ledger taken apart, so that a test can do what somebody would
// who can write every file and knows the format, but has no signing key: it
// puts all checksums, sizes, names and hashes right again.
type image struct{ segments [][]batchImage }

type batchImage struct {
	leaves  [][]byte
	signed  []byte
	durable uint64
}

func takeApart(t testing.TB, files map[string][]byte) image {
	t.Helper()
	var im image
	for _, name := range slices.Sorted(keys(files)) {
		if !strings.HasSuffix(name, segmentSuffix) {
			continue
		}
		var seg []batchImage
		r := bytes.NewReader(files[name][segmentHeaderSize:])
		for {
			var buf []byte
			h, body, err := readBatch(r, &buf)
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			var b batchImage
			if err := splitEvents(body, h, func(_ uint64, leaf []byte) error {
				b.leaves = append(b.leaves, bytes.Clone(leaf))
				return nil
			}); err != nil {
				t.Fatal(err)
			}
			b.signed, b.durable = bytes.Clone(body[h.events:]), h.durable
			seg = append(seg, b)
		}
		im.segments = append(im.segments, seg)
	}
	return im
}

func keys(m map[string][]byte) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// putTogether writes the image into files, with all that can be made right
// without the key.
func (im image) putTogether(files map[string][]byte) {
	for name := range files {
		if strings.HasSuffix(name, segmentSuffix) {
			delete(files, name)
		}
	}
	var tr tree
	var hashes []tlog.Hash
	var head segmentHeader
	for _, seg := range im.segments {
		first := tr.size
		head = segmentHeader{first, head.first, head.prevSize, tr.root()}
		if first == 0 {
			head = segmentHeader{root: tr.root()}
		}
		out := head.encode()
		for _, b := range seg {
			if len(b.leaves) == 0 {
				continue
			}
			buf := make([]byte, batchHeaderSize)
			start := tr.size
			for _, leaf := range b.leaves {
				buf = binary.LittleEndian.AppendUint32(buf, uint32(len(leaf)))
				buf = append(buf, leaf...)
				hashes = tr.add(hashes, leaf)
			}
			buf = append(buf, b.signed...)
			putBatchHeader(buf, batchHeader{count: uint32(len(b.leaves)), first: start, durable: min(b.durable, start), signed: uint32(len(b.signed))})
			out = append(out, buf...)
		}
		if tr.size == first && first > 0 {
			continue
		}
		files[segmentName(first)] = out
		head.prevSize = uint64(len(out))
	}
	var raw []byte
	for _, h := range hashes {
		raw = append(raw, h[:]...)
	}
	files[hashesName] = raw
}

func (im image) clone() image {
	var out image
	for _, seg := range im.segments {
		var s []batchImage
		for _, b := range seg {
			s = append(s, batchImage{slices.Clone(b.leaves), b.signed, b.durable})
		}
		out.segments = append(out.segments, s)
	}
	return out
}

// at finds event n.
func (im image) at(n int) (b *batchImage, i int) {
	for s := range im.segments {
		for j := range im.segments[s] {
			if b := &im.segments[s][j]; n < len(b.leaves) {
				return b, n
			} else {
				n -= len(b.leaves)
			}
		}
	}
	panic("no such event")
}

func (im image) strip() {
	for s := range im.segments {
		for j := range im.segments[s] {
			im.segments[s][j].signed = nil
		}
	}
}

// TestEveryMutationIsFound makes one random change at a time. A checkpoint is
// kept elsewhere, as an outside witness does.
func TestEveryMutationIsFound(t *testing.T) {
	trials := 2000
	switch {
	case testing.Short():
		trials = 400
	case os.Getenv("DOORWARD_LONG_TESTS") != "":
		trials = 1_000_000
	}
	base, outside := t.TempDir(), t.TempDir()
	const n = 120
	opts := Options{SegmentBytes: 6 << 10, Every: time.Millisecond, History: 100 * time.Millisecond, Behind: 20}
	l := open(t, base, opts)
	var early map[string][]byte
	for i := 0; i < n; {
		if i == n/2 {
			waitTree(t, l, n/2)
			closeLog(t, l)
			early = readAll(t, base)
			l = open(t, base, opts)
		}
		var evs []doorward.Event
		for range 1 + i%4 {
			if i < n && (i != n/2 || len(evs) == 0) {
				evs = append(evs, event(i))
				i++
			}
		}
		add(t, l, evs...)
	}
	closeLog(t, l)
	kept := readAll(t, base)
	witness := filepath.Join(outside, "checkpoint")
	if err := os.WriteFile(witness, kept[checkpointName], 0o600); err != nil {
		t.Fatal(err)
	}
	key := filepath.Join(outside, "key.pub")
	if err := os.WriteFile(key, kept[publicName], 0o600); err != nil {
		t.Fatal(err)
	}
	vopts := VerifyOptions{Checkpoint: witness, Key: key}
	if r := verified(t, base, vopts); !r.OK || r.Size != n || len(r.Notes) > 0 {
		t.Fatal(r.Summary())
	}
	whole := takeApart(t, kept)
	other := otherLog(t, n) // same events but one, signed by another key
	again := map[string][]byte{}
	for k, v := range kept {
		again[k] = v
	}
	whole.putTogether(again)
	for k, v := range kept {
		if !bytes.Equal(again[k], v) {
			t.Fatalf("the test's own picture of %s is wrong", k)
		}
	}

	names, _ := segmentNames(base)
	rnd := rand.New(rand.NewPCG(1, 2))
	event := func() int { return rnd.IntN(n) }
	segment := func() string { return names[rnd.IntN(len(names))] }
	// Each returns false when what it picked changes nothing.
	mutations := map[string]func(f map[string][]byte) bool{
		"flip a bit": func(f map[string][]byte) bool {
			name := segment()
			b := bytes.Clone(f[name])
			b[rnd.IntN(len(b))] ^= 1 << rnd.IntN(8)
			f[name] = b
			return true
		},
		"flip a bit of the hashes": func(f map[string][]byte) bool {
			b := bytes.Clone(f[hashesName])
			b[rnd.IntN(len(b))] ^= 1 << rnd.IntN(8)
			f[hashesName] = b
			return true
		},
		"flip a bit of the checkpoints": func(f map[string][]byte) bool {
			name := []string{checkpointName, historyName}[rnd.IntN(2)]
			b := bytes.Clone(f[name])
			b[rnd.IntN(len(b)-len(historyEnd)-1)] ^= 1 << rnd.IntN(7)
			f[name] = b
			return true
		},
		"cut a file": func(f map[string][]byte) bool {
			name := segment()
			f[name] = f[name][:rnd.IntN(len(f[name]))]
			return true
		},
		"remove a file": func(f map[string][]byte) bool { delete(f, segment()); return true },
		"exchange two files": func(f map[string][]byte) bool {
			a, b := segment(), segment()
			f[a], f[b] = f[b], f[a]
			return a != b
		},
		"drop bytes": func(f map[string][]byte) bool {
			name := segment()
			b := bytes.Clone(f[name])
			i := rnd.IntN(len(b))
			j := min(len(b), i+1+rnd.IntN(300))
			f[name] = slices.Delete(b, i, j)
			return true
		},
		"insert bytes": func(f map[string][]byte) bool {
			name := segment()
			b := bytes.Clone(f[name])
			i := rnd.IntN(len(b))
			add := b[i:min(len(b), i+1+rnd.IntN(300))]
			f[name] = slices.Insert(bytes.Clone(b), i, add...)
			return true
		},
		"edit": func(f map[string][]byte) bool {
			im := whole.clone()
			b, i := im.at(event())
			leaf := bytes.Clone(b.leaves[i])
			at := bytes.Index(leaf, []byte("customers"))
			leaf[at+rnd.IntN(9)] = 'z'
			b.leaves[i] = leaf
			im.putTogether(f)
			return true
		},
		"edit and strip signatures": func(f map[string][]byte) bool {
			im := whole.clone()
			b, i := im.at(event())
			b.leaves[i] = bytes.Replace(b.leaves[i], []byte(`"deny"`), []byte(`"allow"`), 1)
			im.strip()
			im.putTogether(f)
			return true
		},
		"drop": func(f map[string][]byte) bool {
			im := whole.clone()
			b, i := im.at(event())
			b.leaves = slices.Delete(b.leaves, i, i+1)
			if rnd.IntN(2) == 0 {
				im.strip()
			}
			im.putTogether(f)
			return true
		},
		"swap": func(f map[string][]byte) bool {
			im := whole.clone()
			x, y := event(), event()
			b, i := im.at(x)
			c, j := im.at(y)
			b.leaves[i], c.leaves[j] = c.leaves[j], b.leaves[i]
			if rnd.IntN(2) == 0 {
				im.strip()
			}
			im.putTogether(f)
			return x != y
		},
		"double": func(f map[string][]byte) bool {
			im := whole.clone()
			// Not the very last one: what is added after the last checkpoint
			// is reported as unsigned, which a note does.
			b, i := im.at(rnd.IntN(n - 1))
			b.leaves = slices.Insert(b.leaves, i, b.leaves[i])
			im.putTogether(f)
			return true
		},
		"truncate": func(f map[string][]byte) bool {
			im := whole.clone()
			for k := n - 1 - rnd.IntN(n-1); k < n; k++ {
				last := &im.segments[len(im.segments)-1]
				for len(*last) == 0 || len((*last)[len(*last)-1].leaves) == 0 {
					if len(*last) == 0 {
						im.segments = im.segments[:len(im.segments)-1]
						last = &im.segments[len(im.segments)-1]
						continue
					}
					*last = (*last)[:len(*last)-1]
				}
				b := &(*last)[len(*last)-1]
				b.leaves, b.signed = b.leaves[:len(b.leaves)-1], nil
			}
			im.putTogether(f)
			return true
		},
		"splice": func(f map[string][]byte) bool {
			im := whole.clone()
			b, i := im.at(event())
			o, j := other.at(event())
			if bytes.Equal(b.leaves[i], o.leaves[j]) {
				return false
			}
			b.leaves[i] = o.leaves[j]
			im.putTogether(f)
			return true
		},
		"rollback": func(f map[string][]byte) bool {
			for k := range f {
				delete(f, k)
			}
			for k, v := range early {
				f[k] = v
			}
			return true
		},
	}
	kinds := slices.Sorted(func(yield func(string) bool) {
		for k := range mutations {
			if !yield(k) {
				return
			}
		}
	})
	dir := t.TempDir()
	writeFiles(t, dir, kept)
	done := 0
	for trial := range trials {
		kind := kinds[trial%len(kinds)]
		files := map[string][]byte{}
		for k, v := range kept {
			files[k] = v
		}
		if !mutations[kind](files) {
			continue
		}
		same := len(files) == len(kept)
		for k, v := range files {
			same = same && bytes.Equal(v, kept[k])
		}
		if same {
			continue
		}
		// Only what differs is written, and put back after.
		for k := range kept {
			if _, ok := files[k]; !ok {
				os.Remove(filepath.Join(dir, k))
			}
		}
		for k, v := range files {
			if !bytes.Equal(v, kept[k]) {
				if err := os.WriteFile(filepath.Join(dir, k), v, 0o600); err != nil {
					t.Fatal(err)
				}
			}
		}
		r, err := Verify(dir, vopts)
		if err != nil {
			t.Fatalf("trial %d, %s: %v", trial, kind, err)
		}
		// Rubbish after the last event looks like a batch that a crash cut
		// short: all events are there, and a note tells of it.
		told := kind == "insert bytes" && r.Size == n && len(r.Notes) > 0
		if (r.OK || len(r.Problems) == 0) && !told {
			t.Fatalf("trial %d: %s was not found: %s", trial, kind, r.Summary())
		}
		done++
		for k := range files {
			if _, ok := kept[k]; !ok {
				os.Remove(filepath.Join(dir, k))
			}
		}
		for k, v := range kept {
			if !bytes.Equal(v, files[k]) {
				if err := os.WriteFile(filepath.Join(dir, k), v, 0o600); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	if r := verified(t, dir, vopts); !r.OK {
		t.Fatal("the test did not put everything back")
	}
	t.Logf("%d of %d changes found", done, done)
}

func otherLog(t testing.TB, n int) image {
	dir := t.TempDir()
	l := open(t, dir, Options{})
	for i := range n {
		ev := event(i)
		ev.Name = "eve@corp.example"
		if _, err := l.Append(t.Context(), ev); err != nil {
			t.Fatal(err)
		}
	}
	closeLog(t, l)
	return takeApart(t, readAll(t, dir))
}

// TestForkIsFound gives the key itself to whoever rewrites the log: only the
// checkpoint kept outside can tell.
func TestForkIsFound(t *testing.T) {
	base := t.TempDir()
	l := open(t, base, Options{})
	closeLog(t, l)
	start := readAll(t, base)
	grow := func(name string, n int) string {
		dir := t.TempDir()
		writeFiles(t, dir, start)
		l := open(t, dir, Options{})
		for i := range n {
			ev := event(i)
			ev.Name = name
			add(t, l, ev)
		}
		closeLog(t, l)
		if r := verified(t, dir, VerifyOptions{}); !r.OK {
			t.Fatal(r.Summary())
		}
		return dir
	}
	ada := grow("ada", 50)
	witness := VerifyOptions{Checkpoint: filepath.Join(ada, checkpointName)}
	for _, n := range []int{20, 50, 80} {
		r := verified(t, grow("eve", n), witness)
		if r.OK {
			t.Fatalf("the fork of %d events was not found", n)
		}
	}
	l = open(t, ada, Options{})
	add(t, l, event(99))
	closeLog(t, l)
	if r := verified(t, ada, VerifyOptions{Checkpoint: witness.Checkpoint}); !r.OK || r.Witness == 0 {
		t.Fatal(r.Summary())
	}
	// A checkpoint of another log is no witness.
	dir := t.TempDir()
	closeLog(t, open(t, dir, Options{}))
	if r := verified(t, ada, VerifyOptions{Checkpoint: filepath.Join(dir, checkpointName)}); r.OK {
		t.Fatal("a strange checkpoint was taken")
	}
	if r := verified(t, ada, VerifyOptions{Key: filepath.Join(dir, publicName)}); r.OK {
		t.Fatal("a strange key was taken")
	}
}

func TestStory(t *testing.T) {
	tapes := t.TempDir()
	rec := tape.NewRecorder(tapes, tape.Options{})
	sealed := func(session string) map[string]string {
		tp, err := rec.Start(t.Context(), doorward.Header{Session: session, Started: t0})
		if err != nil {
			t.Fatal(err)
		}
		if err := tp.Write(doorward.Frame{Kind: doorward.FrameNote, At: t0, Data: []byte("hello")}); err != nil {
			t.Fatal(err)
		}
		seal, err := tp.Close()
		if err != nil {
			t.Fatal(err)
		}
		return map[string]string{tape.FieldTape: tp.Name(), tape.FieldHash: seal.Hash, tape.FieldFrames: fmt.Sprint(seal.Frames), tape.FieldBytes: fmt.Sprint(seal.Bytes)}
	}
	good, cut, changed, missing, short := sealed("good"), sealed("cut"), sealed("changed"), sealed("missing"), sealed("short")
	path := func(f map[string]string) string { return filepath.Join(tapes, f[tape.FieldTape]) }
	os.Remove(path(missing))
	b, err := os.ReadFile(path(cut))
	if err != nil {
		t.Fatal(err)
	}
	os.WriteFile(path(cut), b[:len(b)-41], 0o600)
	b, _ = os.ReadFile(path(changed))
	b[len(b)-50] ^= 1
	os.WriteFile(path(changed), b, 0o600)
	b, _ = os.ReadFile(path(short))
	os.WriteFile(path(short), b[:len(b)-3], 0o600)

	k := func(kind doorward.EventKind, session string, request uint64, review int64, fields map[string]string) doorward.Event {
		return doorward.Event{Time: t0, Kind: kind, Session: session, Request: request, Review: review, Fields: fields, Text: "SELECT 1"}
	}
	o, c, in, out, sp, st := doorward.EventSessionOpen, doorward.EventSessionClose, doorward.EventIntent, doorward.EventOutcome, doorward.EventReviewSpent, doorward.EventServerStart
	cases := []struct {
		name    string
		events  []doorward.Event
		problem string // part of the problem; "": none
		unknown int
		open    int
		inter   int
	}{
		{"whole", []doorward.Event{k(st, "", 0, 0, nil), k(o, "good", 0, 0, nil), k(sp, "good", 1, 5, nil), k(in, "good", 1, 5, nil), k(out, "good", 1, 0, nil), k(in, "good", 2, 0, nil), k(out, "good", 2, 0, nil), k(c, "good", 0, 0, good)}, "", 0, 0, 0},
		{"still open", []doorward.Event{k(o, "a", 0, 0, nil), k(in, "a", 1, 0, nil)}, "", 1, 1, 0},
		{"killed", []doorward.Event{k(o, "a", 0, 0, nil), k(in, "a", 1, 0, nil), k(st, "", 0, 0, nil)}, "", 1, 0, 1},
		{"marked interrupted", []doorward.Event{k(o, "a", 0, 0, nil), k(in, "a", 1, 0, nil), k(c, "a", 0, 0, map[string]string{FieldEnd: EndInterrupted})}, "", 1, 0, 1},
		{"no outcome", []doorward.Event{k(o, "good", 0, 0, nil), k(in, "good", 1, 0, nil), k(c, "good", 0, 0, good)}, "how its request 1 ended", 1, 0, 0},
		{"no intent", []doorward.Event{k(o, "a", 0, 0, nil), k(out, "a", 1, 0, nil)}, "no record that it was let through", 0, 1, 0},
		{"two outcomes", []doorward.Event{k(o, "a", 0, 0, nil), k(in, "a", 1, 0, nil), k(out, "a", 1, 0, nil), k(out, "a", 1, 0, nil)}, "no record that it was let through", 0, 1, 0},
		{"no open", []doorward.Event{k(c, "a", 0, 0, good)}, "not open", 0, 0, 0},
		{"request without session", []doorward.Event{k(in, "a", 1, 0, nil)}, "not open", 0, 0, 0},
		{"opened twice", []doorward.Event{k(o, "a", 0, 0, nil), k(o, "a", 0, 0, nil)}, "opened twice", 0, 1, 0},
		{"closed twice", []doorward.Event{k(o, "good", 0, 0, nil), k(c, "good", 0, 0, good), k(c, "good", 0, 0, good)}, "not open", 0, 0, 0},
		{"spent twice", []doorward.Event{k(sp, "a", 1, 5, nil), k(sp, "b", 1, 5, nil)}, "spent twice", 0, 0, 0},
		{"used twice", []doorward.Event{k(sp, "a", 1, 5, nil), k(o, "a", 0, 0, nil), k(in, "a", 1, 5, nil), k(out, "a", 1, 0, nil), k(in, "a", 3, 5, nil)}, "used twice", 1, 1, 0},
		{"used twice in a row", []doorward.Event{k(sp, "a", 1, 5, nil), k(o, "a", 0, 0, nil), k(in, "a", 1, 5, nil), k(out, "a", 1, 0, nil), k(in, "a", 2, 5, nil)}, "used twice", 1, 1, 0},
		{"used by two sessions", []doorward.Event{k(sp, "a", 1, 5, nil), k(o, "a", 0, 0, nil), k(o, "b", 0, 0, nil), k(in, "a", 1, 5, nil), k(in, "b", 2, 5, nil)}, "used twice", 2, 2, 0},
		{"used by the parts of one request", []doorward.Event{k(sp, "a", 1, 5, nil), k(o, "a", 0, 0, nil), k(in, "a", 1, 5, nil), k(in, "a", 2, 5, nil)}, "", 2, 1, 0},
		{"not spent", []doorward.Event{k(o, "a", 0, 0, nil), k(in, "a", 1, 5, nil)}, "not spent", 1, 1, 0},
		{"broken off", []doorward.Event{k(o, "good", 0, 0, nil), k(in, "good", 1, 0, nil), broken(k(c, "good", 0, 0, good))}, "", 1, 0, 0},
		{"marked interrupted, not open", []doorward.Event{k(c, "a", 0, 0, map[string]string{FieldEnd: EndInterrupted})}, "", 0, 0, 0},
		{"no seal", []doorward.Event{k(o, "a", 0, 0, nil), k(in, "a", 1, 0, nil), k(out, "a", 1, 0, nil), k(c, "a", 0, 0, nil)}, "without the seal", 0, 0, 0},
		{"nothing done, no seal", []doorward.Event{k(o, "a", 0, 0, nil), k(c, "a", 0, 0, nil)}, "", 0, 0, 0},
		{"tape missing", []doorward.Event{k(o, "a", 0, 0, nil), k(c, "a", 0, 0, missing)}, "missing", 0, 0, 0},
		{"tape's end cut off", []doorward.Event{k(o, "a", 0, 0, nil), k(c, "a", 0, 0, cut)}, "its end is missing", 0, 0, 0},
		{"tape cut", []doorward.Event{k(o, "a", 0, 0, nil), k(c, "a", 0, 0, short)}, "cut short", 0, 0, 0},
		{"tape changed", []doorward.Event{k(o, "a", 0, 0, nil), k(c, "a", 0, 0, changed)}, "changed", 0, 0, 0},
		{"another tape", []doorward.Event{k(o, "a", 0, 0, nil), k(c, "a", 0, 0, map[string]string{tape.FieldTape: good[tape.FieldTape], tape.FieldHash: cut[tape.FieldHash], tape.FieldFrames: "1", tape.FieldBytes: "1"})}, "not the tape that was sealed", 0, 0, 0},
		{"tape elsewhere", []doorward.Event{k(o, "a", 0, 0, nil), k(c, "a", 0, 0, map[string]string{tape.FieldTape: "../../etc/passwd", tape.FieldHash: "x"})}, "outside of the recordings", 0, 0, 0},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			l := open(t, dir, Options{})
			add(t, l, tc.events...)
			closeLog(t, l)
			r := verified(t, dir, VerifyOptions{Tapes: tapes})
			if r.OK != (tc.problem == "") || !r.OK && !strings.Contains(r.Problems[0].What, tc.problem) {
				t.Fatal(r.Summary())
			}
			if len(r.Unknown) != tc.unknown || len(r.Open) != tc.open || len(r.Interrupted) != tc.inter {
				t.Fatalf("%d unknown, %d open, %d interrupted: %s", len(r.Unknown), len(r.Open), len(r.Interrupted), r.Summary())
			}
		})
	}
}

func broken(ev doorward.Event) doorward.Event {
	ev.Reason = "the target went away"
	return ev
}

// TestVerifyWhileWritten verifies a log that is being written all the time.
func TestVerifyWhileWritten(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, Options{SegmentBytes: 32 << 10, Every: 5 * time.Millisecond, History: 10 * time.Millisecond})
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			// Bounded: every verification reads all, so writers that are
			// faster would never be caught up with.
			for i := 0; i < 3000 && ctx.Err() == nil; i++ {
				r, err := l.Append(t.Context(), event(i))
				if err == nil && i%3 == 0 {
					_, err = r.Wait(t.Context())
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for range 40 {
		before := l.Size()
		if r := verified(t, dir, VerifyOptions{}); !r.OK || r.Size < before {
			t.Errorf("%d events before: %s", before, r.Summary())
			break
		}
	}
	stop()
	wg.Wait()
	closeLog(t, l)
}

func TestExportWhileWritten(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, Options{SegmentBytes: 8 << 10})
	for i := range 60 {
		add(t, l, event(i))
	}
	names, _ := segmentNames(dir)
	f, err := os.OpenFile(filepath.Join(dir, names[len(names)-1]), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	f.WriteAt([]byte("DWB2 half"), l.size)
	f.Close()
	next := uint64(7)
	if err := Export(t.Context(), dir, 7, func(i uint64, b []byte) error {
		want, _ := appendEvent(nil, new(event(int(i))))
		if i != next || !bytes.Equal(b, want) {
			return fmt.Errorf("event %d: %s", i, b)
		}
		next++
		return nil
	}); err != nil || next != 60 {
		t.Fatal(next, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Export(ctx, dir, 0, func(uint64, []byte) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
}
