package postgres

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
)

func TestReaderGivesTheSameFramesForAnySegmentation(t *testing.T) {
	var stream []byte
	var want [][]byte
	for _, n := range []int{0, 1, 5, 600, 70000, 3} {
		f := AppendFrame(nil, 'd', bytes.Repeat([]byte{byte(n)}, n))
		want = append(want, f)
		stream = append(stream, f...)
	}
	for name, src := range map[string]io.Reader{
		"whole": bytes.NewReader(stream), "bytes": iotest.OneByteReader(bytes.NewReader(stream)), "half": iotest.HalfReader(bytes.NewReader(stream)),
	} {
		rd := NewReader(src, 1<<20)
		for i, w := range want {
			got, err := rd.Next()
			if err != nil || !bytes.Equal(got, w) {
				t.Fatalf("%s: frame %d: %d bytes, %v", name, i, len(got), err)
			}
			rd.Idle()
		}
		if _, err := rd.Next(); err != io.EOF {
			t.Fatalf("%s: at the end: %v", name, err)
		}
	}
}

func TestReaderDoesNotBelieveLengths(t *testing.T) {
	for _, n := range []uint32{0, 3, 1 << 20, 1 << 31, 0xffffffff} {
		head := binary.BigEndian.AppendUint32([]byte{'Q'}, n)
		rd := NewReader(bytes.NewReader(append(head, "SELECT"...)), 1<<16)
		if _, err := rd.Next(); !errors.Is(err, ErrTooLong) {
			t.Errorf("length %d: %v", n, err)
		}
		if len(rd.buf) > bigBuf {
			t.Errorf("length %d: a buffer of %d bytes was made", n, len(rd.buf))
		}
	}
	rd := NewReader(bytes.NewReader([]byte{'Q', 0, 0, 0, 9, 'x'}), 1<<16)
	if _, err := rd.Next(); err != io.ErrUnexpectedEOF {
		t.Errorf("half a frame: %v", err)
	}
}

func TestStartup(t *testing.T) {
	packet := func(code uint32, rest string) []byte {
		b := binary.BigEndian.AppendUint32(nil, uint32(8+len(rest)))
		return append(binary.BigEndian.AppendUint32(b, code), rest...)
	}
	good, err := ReadStartup(bytes.NewReader(packet(3<<16, "user\x00ada\x00database\x00db\x00\x00")))
	if err != nil || !cmp.Equal(good.Params, [][2]string{{"user", "ada"}, {"database", "db"}}) {
		t.Fatalf("%+v, %v", good, err)
	}
	for name, b := range map[string][]byte{
		"tls with a tail": packet(CodeTLS, "Q"), "cancel too short": packet(CodeCancel, "abc"),
		"no end": packet(3<<16, "user\x00ada\x00"), "no value": packet(3<<16, "user\x00"), "bytes after the end": packet(3<<16, "user\x00a\x00\x00x"),
		"huge": {0x7f, 0xff, 0xff, 0xff}, "tiny": {0, 0, 0, 4},
	} {
		if s, err := ReadStartup(bytes.NewReader(b)); err == nil {
			t.Errorf("%s was taken: %+v", name, s)
		}
	}
}

// TestReadStartupTakesNoByteTooMany holds that what follows the packet stays
// in the socket: nothing sent before TLS is used after it.
func TestReadStartupTakesNoByteTooMany(t *testing.T) {
	b := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, 8), CodeTLS)
	src := bytes.NewReader(append(b, "injected"...))
	if _, err := ReadStartup(src); err != nil || src.Len() != len("injected") {
		t.Fatalf("%d bytes are left, %v", src.Len(), err)
	}
}

func TestBind(t *testing.T) {
	b := []byte("p\x00s\x00\x00\x01\x00\x01\x00\x02\x00\x00\x00\x01x\xff\xff\xff\xff\x00\x00")
	m, err := ParseBind(b)
	if err != nil || m.Portal != "p" || m.Statement != "s" || string(m.Values[0]) != "x" || m.Values[1] != nil || Format(m.Formats, 1) != 1 {
		t.Fatalf("%+v, %v", m, err)
	}
	for i := range b {
		if _, err := ParseBind(b[:i]); err == nil {
			t.Errorf("%d bytes of it were taken", i)
		}
	}
	for _, bad := range []string{"\x00\x00\x00\x01\x00\x02\x00\x00\x00\x00", "\x00\x00\x00\x00\x00\x01\x7f\xff\xff\xff\x00\x00", "\x00\x00\x00\x00\x00\x01\xff\xff\xff\xfe\x00\x00", "\x00\x00\x00\x00\x00\x00\x00\x00x"} {
		if m, err := ParseBind([]byte(bad)); err == nil {
			t.Errorf("%q was taken: %+v", bad, m)
		}
	}
}

func TestTagRows(t *testing.T) {
	for tag, want := range map[string]struct {
		n int64
		w bool
	}{"UPDATE 3": {3, true}, "INSERT 0 7": {7, true}, "DELETE 0": {0, true}, "MERGE 2": {2, true}, "COPY 9": {9, true}, "SELECT 5": {5, false}, "BEGIN": {0, false}, "FETCH 1": {1, false}, "UPDATE": {0, false}, "UPDATE 99999999999999999999": {0, false}} {
		if n, w := TagRows([]byte(tag)); n != want.n || w != want.w {
			t.Errorf("%s: %d %v", tag, n, w)
		}
	}
}

type upper struct{}

func (upper) Passes(col int) bool { return col == 0 }
func (upper) AppendField(dst []byte, col int, v []byte) ([]byte, bool) {
	if col == 2 {
		return dst, true
	}
	return append(dst, bytes.ToUpper(v)...), false
}

func dataRow(fields ...string) []byte {
	b := binary.BigEndian.AppendUint16(nil, uint16(len(fields)))
	for _, f := range fields {
		b = append(binary.BigEndian.AppendUint32(b, uint32(len(f))), f...)
	}
	return AppendFrame(nil, 'D', b)
}

func TestAppendRow(t *testing.T) {
	got, err := AppendRow(nil, dataRow("a", "bb", "c"), 3, upper{})
	want := AppendFrame(nil, 'D', []byte("\x00\x03\x00\x00\x00\x01a\x00\x00\x00\x02BB\xff\xff\xff\xff"))
	if err != nil || !bytes.Equal(got, want) {
		t.Fatalf("%q, %v", got, err)
	}
	if _, err := AppendRow(nil, dataRow("a"), 3, upper{}); err == nil {
		t.Error("a row with another number of columns was taken")
	}
	row := dataRow("a", "bb", "c")
	for i := HeaderLen; i < len(row); i++ {
		if _, err := AppendRow(nil, row[:i], 3, upper{}); err == nil {
			t.Errorf("%d bytes of it were taken", i)
		}
	}
}

func TestAppendRowDoesNotAllocate(t *testing.T) {
	row := dataRow("abcdef", "some longer text", "c")
	dst := make([]byte, 0, 4096)
	var m RowMasker = plain{}
	if n := testing.AllocsPerRun(1000, func() { dst, _ = AppendRow(dst[:0], row, 3, m) }); n != 0 {
		t.Fatalf("%v allocations a row", n)
	}
}

type plain struct{}

func (plain) Passes(int) bool                                        { return false }
func (plain) AppendField(dst []byte, _ int, v []byte) ([]byte, bool) { return append(dst, v...), false }

func FuzzMessages(f *testing.F) {
	f.Add([]byte("p\x00s\x00\x00\x01\x00\x01\x00\x02\x00\x00\x00\x01x\xff\xff\xff\xff\x00\x00"))
	f.Add([]byte("\x00SELECT 1\x00\x00\x00"))
	f.Add([]byte("SERROR\x00C42601\x00Mm\x00\x00"))
	f.Add(Body(dataRow("a", "b")))
	f.Fuzz(func(t *testing.T, b []byte) {
		_, _ = ParseParse(b)
		if m, err := ParseBind(b); err == nil {
			n := 0
			for _, v := range m.Values {
				n += len(v)
			}
			if n > len(b) {
				t.Fatal("values are longer than the message")
			}
		}
		_, _, _ = ParseExecute(b)
		_, _, _ = ParseNamed(b)
		_, _ = ParseText(b)
		if fields, err := ParseRowDescription(b); err == nil && len(fields)*19 > len(b) {
			t.Fatal("more fields than the message can hold")
		}
		if n, err := ParseNotice(b); err == nil {
			again, err := ParseNotice(Body(AppendNotice(nil, 'E', n)))
			if err != nil || again.Message != n.Message || again.Code != n.Code {
				t.Fatalf("%+v became %+v, %v", n, again, err)
			}
		}
		_, _, _ = ParseParameterStatus(b)
		_, _, _ = ParseNotification(b)
		_, _ = ParseStartup(b)
		TagRows(b)
		frame := AppendFrame(nil, 'D', b)
		if out, err := AppendRow(nil, frame, -1, plain{}); err == nil && !bytes.Equal(out, frame) {
			t.Fatalf("a row that passes changed: %q to %q", frame, out)
		}
	})
}

func FuzzReader(f *testing.F) {
	f.Add(AppendFrame(AppendFrame(nil, 'Q', []byte("x\x00")), 'S', nil), 3)
	f.Fuzz(func(t *testing.T, b []byte, split int) {
		a := NewReader(bytes.NewReader(b), 4096)
		c := NewReader(iotest.OneByteReader(bytes.NewReader(b)), 4096)
		for {
			x, err1 := a.Next()
			x = bytes.Clone(x)
			y, err2 := c.Next()
			if (err1 == nil) != (err2 == nil) || !bytes.Equal(x, y) {
				t.Fatalf("%q, %v against %q, %v", x, err1, y, err2)
			}
			if err1 != nil {
				return
			}
		}
	})
}
