package ledger

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/doorward/doorward"
)

func TestEncodeIsEncodingJSON(t *testing.T) {
	for i, s := range []string{"", "plain", "\"\\\x00\x01\x1f\x7f", "é\u0080\u009f\u00a0\u2028\u2029\u202e😀", "<>&'", "\xff\xfe", "a\xc3", "\n\r\t\b\f", strings.Repeat("x", 1000) + "\xe2\x80"} {
		ev := event(i)
		ev.Text, ev.Params, ev.Reason, ev.Error = s, []string{s, ""}, s, s
		ev.Took, ev.Rows, ev.Bytes, ev.Review = -5, 7, 1<<60, 9
		ev.Fields = map[string]string{s: s, "b": "2", "a": "1"}
		ev.Time = t0.Add(time.Duration(i) * time.Hour).In(time.FixedZone("x", 3600))
		checkEncoding(t, ev)
	}
}

func checkEncoding(t *testing.T, ev doorward.Event) {
	t.Helper()
	b, err := appendEvent(nil, &ev)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.ContainsFunc(b, func(r rune) bool { return r < 0x20 || r >= 0x7f && r < 0xa0 }) || !utf8.Valid(b) {
		t.Fatalf("not clean: %q", b)
	}
	got, err := decodeEvent(b)
	if err != nil {
		t.Fatalf("%v: %s", err, b)
	}
	ref, err := json.Marshal(ev)
	if err != nil {
		t.Fatal(err)
	}
	want, err := decodeEvent(ref)
	if err != nil {
		t.Fatal(err)
	}
	if !utf8.ValidString(ev.Text) {
		exact, err := base64.StdEncoding.DecodeString(got.Fields[FieldTextBase64])
		if err != nil || string(exact) != ev.Text {
			t.Fatalf("the exact text is lost: %q %v", exact, err)
		}
		delete(got.Fields, FieldTextBase64)
		delete(want.Fields, FieldTextBase64)
		if len(got.Fields) == 0 {
			got.Fields = nil
		}
		if len(want.Fields) == 0 {
			want.Fields = nil
		}
	}
	got.Time, want.Time = got.Time.UTC(), want.Time.UTC()
	if d := cmp.Diff(want, got); d != "" {
		t.Fatal(d)
	}
}

func FuzzEncode(f *testing.F) {
	f.Add("SELECT 1", "k", "v", uint64(1), int64(2))
	f.Add("\xff\x00\"\\", "text_base64", "\u2028", uint64(1<<63), int64(-1))
	f.Fuzz(func(t *testing.T, text, k, v string, u uint64, n int64) {
		ev := doorward.Event{Time: t0, Kind: doorward.EventKind(k), Text: text, Params: []string{v}, Request: u, Review: n, Took: time.Duration(n)}
		if k != "" && utf8.ValidString(k) {
			ev.Fields = map[string]string{k: v}
		}
		checkEncoding(t, ev)
	})
}

func FuzzSegment(f *testing.F) {
	dir := f.TempDir()
	l := open(f, dir, Options{Behind: 3})
	for i := range 10 {
		add(f, l, event(i))
	}
	l.Close()
	good, err := os.ReadFile(filepath.Join(dir, segmentName(0)))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(good[:len(good)-3])
	f.Add(good[:segmentHeaderSize])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		// The reader must not crash, and must find every change.
		work := t.TempDir()
		for _, n := range []string{keyName, publicName, hashesName, checkpointName, historyName} {
			data, err := os.ReadFile(filepath.Join(dir, n))
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(work, n), data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(filepath.Join(work, segmentName(0)), b, 0o600); err != nil {
			t.Fatal(err)
		}
		r := verified(t, work, VerifyOptions{})
		if r.OK && !bytes.HasPrefix(b, good) {
			t.Fatalf("a change was not found: %s", r.Summary())
		}
		l, err := Open(work, Options{})
		if err != nil {
			return
		}
		if l.Size() < 10 {
			t.Error("acknowledged events were dropped")
		}
		l.Close()
	})
}

// FuzzBatch feeds the decoder of batches.
func FuzzBatch(f *testing.F) {
	b := append(make([]byte, batchHeaderSize), 4, 0, 0, 0, 0, '{', '}', ' ')
	putBatchHeader(b, batchHeader{count: 1, first: 7})
	f.Add(b)
	f.Add(b[:20])
	f.Fuzz(func(t *testing.T, b []byte) {
		r := bytes.NewReader(b)
		var buf []byte
		for {
			h, body, err := readBatch(r, &buf)
			if err != nil {
				break
			}
			n := uint32(0)
			if splitEvents(body, h, func(i uint64, leaf []byte) error {
				if i != h.first+uint64(n) || len(leaf) == 0 || leaf[0] != 0 {
					t.Fatal(i, leaf)
				}
				n++
				return nil
			}) == nil && n != h.count {
				t.Fatal(n, h.count)
			}
		}
		// The same past the checksums.
		if len(b) > batchHeaderSize && len(b) < 1<<16 {
			c := bytes.Clone(b)
			putBatchHeader(c, batchHeader{count: 1 + uint32(c[4]), first: 7, signed: uint32(min(int(c[5]), len(c)-batchHeaderSize, maxCheckpoint))})
			h, body, err := readBatch(bytes.NewReader(c), &buf)
			if err != nil {
				t.Fatal(err)
			}
			_ = splitEvents(body, h, func(_ uint64, leaf []byte) error {
				_, _ = decodeEvent(leaf[1:])
				return nil
			})
		}
		_, _ = parseSegmentHeader(b)
	})
}

func FuzzCheckpoint(f *testing.F) {
	signer, v, err := makeSigner(f.TempDir())
	if err != nil {
		f.Fatal(err)
	}
	l := &Log{signer: signer}
	msg, err := l.sign(&tree{})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(msg)
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := parseCheckpoint(b, v)
		if err == nil && (c.size != 0 || !bytes.HasPrefix(b, msg[:len(msg)-1])) {
			t.Fatalf("a checkpoint was forged: %q", b)
		}
	})
}

func BenchmarkAppend(b *testing.B) {
	l := open(b, b.TempDir(), Options{wrap: func(_ string, f file) file { return &failing{file: f, sync: func() error { return nil }} }})
	ev := event(1)
	var last doorward.Receipt
	b.ReportAllocs()
	before := cpuTime()
	for b.Loop() {
		r, err := l.Append(b.Context(), ev)
		if err != nil {
			b.Fatal(err)
		}
		last = r
	}
	last.Wait(b.Context())
	b.ReportMetric(float64(cpuTime()-before)/float64(b.N), "cpu-ns/op")
}

// cpuTime is what this process has used, in all threads.
func cpuTime() time.Duration {
	var ru syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &ru)
	return time.Duration(ru.Utime.Nano() + ru.Stime.Nano())
}
