package mask

import (
	"bytes"
	"encoding/binary"
	"encoding/csv"
	"errors"
	"strings"
	"testing"

	"github.com/doorward/doorward"
	"pgregory.net/rapid"
)

var copyRules = []Rule{
	{Columns: []string{"t.name"}, Operator: "redact"},
	{Columns: []string{"t.gone"}, Operator: "null"},
	{Detect: Types(), Operator: "redact"},
}

func copyPlan(t testing.TB, bin bool) *Plan {
	return mustCompile(t, copyRules...).Plan("db", []PlanColumn{
		{OID: 23, Binary: bin}, {Masked: "t.name", OID: 25, Binary: bin}, {OID: 25, Binary: bin, Scan: true}, {Masked: "t.gone", OID: 25, Binary: bin},
	})
}

// feed sends a stream in chunks of the given sizes, then the rest.
func feed(m *CopyMasker, stream []byte, sizes []int) ([]byte, error) {
	var out []byte
	var err error
	for _, n := range sizes {
		n = min(n, len(stream))
		if out, err = m.Append(out, stream[:n]); err != nil {
			return out, err
		}
		stream = stream[n:]
	}
	if out, err = m.Append(out, stream); err != nil {
		return out, err
	}
	return m.Close(out)
}

func TestCopyFormats(t *testing.T) {
	for _, c := range []struct {
		name    string
		st      doorward.Statement
		in, out string
	}{
		{"text", doorward.Statement{Format: "text", Delim: '\t', Null: `\N`},
			"1\tAda\\tQ\tmail ada@corp.example\tx\n2\t\\N\tplain \\\\ text\\n\t\\N\n",
			"1\t[redacted]\tmail [EMAIL]\t\\N\n2\t\\N\tplain \\\\ text\\n\t\\N\n"},
		{"text with options", doorward.Statement{Format: "text", Delim: '|', Null: "NIL", Header: true},
			"id|name|ada@corp.example|gone\n1|A\\|b|ada@\\x63orp.ex\\141mple|x\n",
			"id|name|ada@corp.example|gone\n1|[redacted]|[EMAIL]|NIL\n"},
		{"csv", doorward.Statement{Format: "csv", Delim: ',', Quote: '"', Escape: '"'},
			"1,\"Ada, Q\",\"said \"\"ada@corp.example\"\"\n, twice\",x\n2,,\"\",\n",
			"1,[redacted],\"said \"\"[EMAIL]\"\"\n, twice\",\n2,,\"\",\n"},
		{"csv with options", doorward.Statement{Format: "csv", Delim: ';', Quote: '\'', Escape: '\\', Null: "NULL", Header: true},
			"a;b;c;d\n1;'x\\'y;z';'ada@corp.example \\' \\\\';NULL\n",
			"a;b;c;d\n1;[redacted];'[EMAIL] \\' \\\\';NULL\n"},
		{"end mark", doorward.Statement{Format: "text", Delim: '\t', Null: `\N`}, "1\ta\tb\tc\n\\.\n", "1\t[redacted]\tb\t\\N\n\\.\n"},
	} {
		p := copyPlan(t, false)
		got, err := feed(p.Copy(&c.st), []byte(c.in), nil)
		if err != nil || string(got) != c.out {
			t.Errorf("%s:\n got %q (%v)\nwant %q", c.name, got, err, c.out)
		}
	}
}

// binaryCopy writes rows in the binary format; a nil field is NULL.
func binaryCopy(rows [][][]byte) []byte {
	b := append([]byte(copyMagic), 0, 0, 0, 0, 0, 0, 0, 0)
	for _, r := range rows {
		b = binary.BigEndian.AppendUint16(b, uint16(len(r)))
		for _, f := range r {
			if f == nil {
				b = append(b, 0xff, 0xff, 0xff, 0xff)
				continue
			}
			b = append(binary.BigEndian.AppendUint32(b, uint32(len(f))), f...)
		}
	}
	return append(b, 0xff, 0xff)
}

func TestCopyBinary(t *testing.T) {
	in := binaryCopy([][][]byte{{{0, 0, 0, 1}, []byte("Ada"), []byte("ada@corp.example"), []byte("x")}, {nil, nil, {}, nil}})
	want := binaryCopy([][][]byte{{{0, 0, 0, 1}, []byte("[redacted]"), []byte("[EMAIL]"), nil}, {nil, nil, {}, nil}})
	got, err := feed(copyPlan(t, true).Copy(&doorward.Statement{Format: "binary"}), in, nil)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("got %q (%v), want %q", got, err, want)
	}
}

func TestCopyMalformed(t *testing.T) {
	text := doorward.Statement{Format: "text", Delim: '\t', Null: `\N`}
	csvForm := doorward.Statement{Format: "csv", Delim: ',', Quote: '"', Escape: '"'}
	bin := doorward.Statement{Format: "binary"}
	for name, c := range map[string]struct {
		st doorward.Statement
		in string
	}{
		"too few":        {text, "1\ta\tb\n"},
		"too many":       {text, "1\ta\tb\tc\td\n"},
		"cut":            {text, "1\ta\tb\tc"},
		"cut at escape":  {text, "1\ta\tb\tc\\"},
		"csv too few":    {csvForm, "1,2\n"},
		"csv open quote": {csvForm, "1,a,b,\"c\n"},
		"no magic":       {bin, strings.Repeat("x", 40)},
		"no trailer":     {bin, copyMagic + "\x00\x00\x00\x00\x00\x00\x00\x00"},
		"columns":        {bin, copyMagic + "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01"},
		"flags":          {bin, copyMagic + "\x00\x01\x00\x00\x00\x00\x00\x00"},
		"length":         {bin, copyMagic + "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x04\x7f\xff\xff\xff"},
		"after the end":  {bin, copyMagic + "\x00\x00\x00\x00\x00\x00\x00\x00\xff\xffx"},
		"unknown format": {doorward.Statement{Format: "parquet"}, "1\n"},
	} {
		m := copyPlan(t, c.st.Format == "binary").Copy(&c.st)
		_, err := feed(m, []byte(c.in), nil)
		if !errors.Is(err, ErrCopy) {
			t.Errorf("%s: %v", name, err)
		}
		if out, err := m.Append(nil, []byte("1\ta\tb\tc\n")); err == nil || len(out) > 0 {
			t.Errorf("%s: goes on after an error: %q", name, out)
		}
	}
	m := copyPlan(t, false).Copy(&text)
	big := bytes.Repeat([]byte("x"), 1<<20)
	var err error
	for range maxCopyField>>20 + 1 {
		if _, err = m.Append(nil, big); err != nil {
			break
		}
	}
	if !errors.Is(err, errFieldSize) {
		t.Errorf("a field without end: %v", err)
	}
	if err == nil || strings.Contains(err.Error(), "xxx") {
		t.Errorf("the error holds data: %v", err)
	}
}

// TestCopyChunks: what comes out does not depend on how the stream is cut, and
// holds no secret.
func TestCopyChunks(t *testing.T) {
	const secret = "zuleika.quimby@secretmail.test"
	rapid.Check(t, func(t *rapid.T) {
		format := rapid.SampledFrom([]string{"text", "csv", "binary"}).Draw(t, "format")
		st := doorward.Statement{Format: format, Delim: '\t', Null: `\N`}
		if format == "csv" {
			st = doorward.Statement{Format: "csv", Delim: ',', Quote: '"', Escape: rapid.SampledFrom([]byte{'"', '\\'}).Draw(t, "escape")}
		}
		set, err := Compile(copyRules, testKey)
		if err != nil {
			t.Fatal(err)
		}
		bin := format == "binary"
		plan := func() *Plan {
			return set.Plan("db", []PlanColumn{{OID: 25, Binary: bin}, {Masked: "t.name", OID: 25, Binary: bin}, {OID: 25, Binary: bin, Scan: true}})
		}
		var stream []byte
		var rows [][][]byte
		field := rapid.StringOf(rapid.SampledFrom([]rune("ab \t\n\\\",|.é")))
		enc := &CopyMasker{plan: plan(), delim: st.Delim, quote: st.Quote, escape: st.Escape, null: []byte(st.Null)}
		for range rapid.IntRange(0, 5).Draw(t, "rows") {
			row := [][]byte{[]byte(field.Draw(t, "a")), []byte(field.Draw(t, "b") + secret), []byte(field.Draw(t, "c") + " " + secret + " " + field.Draw(t, "d"))}
			rows = append(rows, row)
			for i, f := range row {
				switch format {
				case "text":
					stream = appendCopyText(stream, f, st.Delim)
				case "csv":
					stream = enc.appendCSV(stream, f)
				}
				stream = append(stream, "\t\t\n"[i])
				if format == "csv" && i < 2 {
					stream[len(stream)-1] = ','
				}
			}
		}
		if bin {
			stream = binaryCopy(rows)
		}
		whole, err := feed(plan().Copy(&st), stream, nil)
		if err != nil {
			t.Fatalf("%v in %q", err, stream)
		}
		if bytes.Contains(whole, []byte("quimby")) || bytes.Contains(whole, []byte("secretmail")) {
			t.Fatalf("%q becomes %q", stream, whole)
		}
		parts, err := feed(plan().Copy(&st), stream, rapid.SliceOfN(rapid.IntRange(0, 9), 0, 60).Draw(t, "cuts"))
		if err != nil || !bytes.Equal(whole, parts) {
			t.Fatalf("cut: %q (%v), whole: %q", parts, err, whole)
		}
		// Fields that are not masked come back as they were.
		if format == "csv" && st.Escape == '"' {
			r := csv.NewReader(bytes.NewReader(whole))
			r.FieldsPerRecord = 3
			got, err := r.ReadAll()
			if err != nil || len(got) != len(rows) {
				t.Fatalf("%q: %v", whole, err)
			}
			for i := range got {
				if got[i][0] != strings.ReplaceAll(string(rows[i][0]), "\r\n", "\n") || got[i][1] != redactedText {
					t.Fatalf("row %d of %q", i, whole)
				}
			}
		}
	})
}

func FuzzCopy(f *testing.F) {
	f.Add("text", []byte("1\ta\tada@corp.example\tx\n"), 3)
	f.Add("csv", []byte("1,\"a\",\"\"\"ada@corp.example\",x\n"), 2)
	f.Add("binary", binaryCopy([][][]byte{{{1}, {2}, []byte("ada@corp.example"), nil}}), 5)
	f.Fuzz(func(t *testing.T, format string, stream []byte, cut int) {
		st := doorward.Statement{Format: format}
		bin := format == "binary"
		whole, err := feed(copyPlan(t, bin).Copy(&st), stream, nil)
		if err == nil && bytes.Contains(whole, []byte("ada@corp.example")) && !bin {
			// Only the first column, which is not masked, may hold it.
			for _, line := range bytes.Split(whole, []byte{'\n'}) {
				if i := bytes.Index(line, []byte("ada@corp.example")); i > 0 && bytes.Count(line[:i], []byte{'\t'}) >= 1 && st.Format == "text" {
					t.Fatalf("%q becomes %q", stream, whole)
				}
			}
		}
		if cut = cut % 17; cut < 1 {
			cut = 1
		}
		var sizes []int
		for n := 0; n < len(stream); n += cut {
			sizes = append(sizes, cut)
		}
		parts, perr := feed(copyPlan(t, bin).Copy(&st), stream, sizes)
		if (err == nil) != (perr == nil) || err == nil && !bytes.Equal(whole, parts) {
			t.Fatalf("whole: %q %v; cut by %d: %q %v", whole, err, cut, parts, perr)
		}
	})
}
