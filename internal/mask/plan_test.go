package mask

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgtype"
	"pgregory.net/rapid"
)

var testKey = []byte("0123456789abcdef0123456789abcdef")

func mustCompile(t testing.TB, rules ...Rule) *Set {
	t.Helper()
	s, err := Compile(rules, testKey)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// typed is a value of a type for the property tests.
type typed struct {
	oid   uint32
	value any    // what pgx encodes
	into  any    // what pgx decodes into
	clear string // what must not be in a masked text form; "" where the type cannot promise it
}

func drawTyped(t *rapid.T) typed {
	digits := rapid.StringMatching(`[1-9][0-9]{11,15}`)
	switch rapid.IntRange(0, 16).Draw(t, "type") {
	case 0:
		v := rapid.StringMatching(`[A-Z][a-z]{5,20} [A-Z][a-z"\\,{}']{6,20}`).Draw(t, "text")
		return typed{rapid.SampledFrom([]uint32{25, 1043, 1042, 19}).Draw(t, "oid"), v, new(string), v}
	case 1:
		return typed{pgtype.Int2OID, rapid.Int16().Draw(t, "v"), new(int16), ""}
	case 2:
		v := rapid.Int32Range(1_000_001, math.MaxInt32).Draw(t, "v")/10*10 + 7
		v = min(v, 2147483637)
		return typed{pgtype.Int4OID, v, new(int32), fmt.Sprint(v)}
	case 3:
		v := rapid.Int64Range(100_000_000_001, math.MaxInt64-10).Draw(t, "v")/10*10 + 7
		return typed{pgtype.Int8OID, v, new(int64), fmt.Sprint(v)}
	case 4:
		v := digits.Draw(t, "whole") + "." + rapid.StringMatching(`[0-9]{1,6}[1-9]`).Draw(t, "frac")
		var n pgtype.Numeric
		if err := n.Scan(v); err != nil {
			t.Fatal(err)
		}
		return typed{pgtype.NumericOID, n, new(pgtype.Numeric), v}
	case 5:
		return typed{pgtype.Float4OID, float32(rapid.IntRange(1000, 1<<20).Draw(t, "v")) + 0.5, new(float32), ""}
	case 6:
		return typed{pgtype.Float8OID, rapid.Float64().Draw(t, "v"), new(float64), ""}
	case 7:
		v := time.Date(rapid.IntRange(1, 2150).Draw(t, "y"), 3, rapid.IntRange(2, 28).Draw(t, "d"), 0, 0, 0, 0, time.UTC)
		return typed{pgtype.DateOID, v, new(time.Time), v.Format("2006-01-02")}
	case 8, 9:
		v := time.Date(rapid.IntRange(1, 2150).Draw(t, "y"), 3, 7, 11, 12, rapid.IntRange(1, 59).Draw(t, "s"), 0, time.UTC)
		return typed{rapid.SampledFrom([]uint32{1114, 1184}).Draw(t, "oid"), v, new(time.Time), v.Format("2006-01-02 15:04:05")}
	case 10:
		v := pgtype.Time{Microseconds: rapid.Int64Range(3_600_000_001, 86_399_999_999).Draw(t, "us"), Valid: true}
		return typed{pgtype.TimeOID, v, new(pgtype.Time), ""}
	case 11:
		var u [16]byte
		copy(u[:], rapid.SliceOfN(rapid.ByteRange(1, 255), 16, 16).Draw(t, "uuid"))
		return typed{pgtype.UUIDOID, pgtype.UUID{Bytes: u, Valid: true}, new(pgtype.UUID), string(appendHex(nil, u[4:6])) + "-" + string(appendHex(nil, u[6:8]))}
	case 12:
		var a netip.Addr
		if rapid.Bool().Draw(t, "v6") {
			a = netip.AddrFrom16([16]byte(rapid.SliceOfN(rapid.ByteRange(1, 255), 16, 16).Draw(t, "a")))
		} else {
			a = netip.AddrFrom4([4]byte(rapid.SliceOfN(rapid.ByteRange(10, 239), 4, 4).Draw(t, "a")))
		}
		return typed{pgtype.InetOID, netip.PrefixFrom(a, a.BitLen()), new(netip.Prefix), a.String()}
	case 13:
		v := rapid.StringMatching(`[a-z]{6,20}`).Draw(t, "v")
		return typed{rapid.SampledFrom([]uint32{114, 3802}).Draw(t, "oid"), map[string]any{"name": v, "n": []any{1, nil, v}}, new(any), v}
	case 14:
		v := rapid.SliceOfN(rapid.Byte(), 8, 40).Draw(t, "v")
		return typed{pgtype.ByteaOID, v, new([]byte), string(appendHex(nil, v))}
	case 15:
		v := rapid.SliceOfN(rapid.StringMatching(`[A-Z][a-z]{7,12}[ ,"\\{}]?[a-z]{0,4}`), 1, 5).Draw(t, "v")
		return typed{pgtype.TextArrayOID, v, new([]*string), v[0]}
	}
	v := rapid.SliceOfN(rapid.Int32Range(1_000_000_01, 1_000_000_09), 0, 5).Draw(t, "v")
	clear := ""
	if len(v) > 0 {
		clear = fmt.Sprint(v[0])
	}
	return typed{pgtype.Int4ArrayOID, v, new([]*int32), clear}
}

// TestMaskedValuesDecode holds the promise of the package: every masked value
// decodes as its type, in both formats, and does not hold the clear value.
func TestMaskedValuesDecode(t *testing.T) {
	types := pgtype.NewMap()
	for _, op := range Operators() {
		set := mustCompile(t, Rule{Columns: []string{"t.c"}, Operator: op})
		rapid.Check(t, func(t *rapid.T) {
			x := drawTyped(t)
			for _, format := range []int16{pgtype.TextFormatCode, pgtype.BinaryFormatCode} {
				v, err := types.Encode(x.oid, format, x.value, nil)
				if err != nil {
					t.Fatalf("encode %T as %d: %v", x.value, x.oid, err)
				}
				p := set.Plan("db", []PlanColumn{{Masked: "t.c", OID: x.oid, Binary: format == 1}})
				out, null := p.AppendField([]byte("head"), 0, v)
				if !bytes.HasPrefix(out, []byte("head")) {
					t.Fatalf("the head is gone: %q", out)
				}
				if null {
					if op != "null" {
						t.Fatalf("%s of type %d, format %d, is NULL: %q", op, x.oid, format, v)
					}
					continue
				}
				out = out[4:]
				if err := types.Scan(x.oid, format, out, x.into); err != nil {
					t.Fatalf("%s of type %d, format %d: %q becomes %q: %v", op, x.oid, format, v, out, err)
				}
				hasClear := x.clear != "" && bytes.Contains(out, []byte(x.clear)) || len(v) >= 8 && bytes.Equal(out, v)
				if x.oid == pgtype.Float8OID || x.oid == pgtype.Float4OID || op == "generalise" && (x.oid == 1082 || x.oid == 1114 || x.oid == 1184) {
					hasClear = false
				}
				if hasClear && !(bytes.Equal(out, v) && isEmptyArray(x)) && x.oid != pgtype.TimeOID {
					t.Fatalf("%s of type %d, format %d: %q becomes %q", op, x.oid, format, v, out)
				}
				again, _ := p.AppendField(nil, 0, v)
				if !bytes.Equal(again, out) {
					t.Fatalf("%s is not stable: %q and %q", op, out, again)
				}
			}
		})
	}
}

func isEmptyArray(x typed) bool { v, ok := x.value.([]int32); return ok && len(v) == 0 }

// TestFormatsAgree: a pseudonym is the same, whatever the format.
func TestFormatsAgree(t *testing.T) {
	types := pgtype.NewMap()
	set := mustCompile(t, Rule{Columns: []string{"t.c"}, Operator: "pseudonym"})
	rapid.Check(t, func(t *rapid.T) {
		x := drawTyped(t)
		if slices.Contains([]uint32{114, 3802, pgtype.Float4OID, pgtype.TextArrayOID, pgtype.Int4ArrayOID}, x.oid) {
			return
		}
		var seen [2]any
		for format := range int16(2) {
			v, err := types.Encode(x.oid, format, x.value, nil)
			if err != nil {
				t.Fatal(err)
			}
			p := set.Plan("db", []PlanColumn{{Masked: "t.c", OID: x.oid, Binary: format == 1}})
			out, null := p.AppendField(nil, 0, v)
			if null {
				t.Fatalf("NULL for %q", v)
			}
			typ, _ := types.TypeForOID(x.oid)
			seen[format], err = typ.Codec.DecodeValue(types, x.oid, format, out)
			if err != nil {
				t.Fatalf("%q: %v", out, err)
			}
		}
		if fmt.Sprint(seen[0]) != fmt.Sprint(seen[1]) {
			t.Fatalf("type %d: %v as text, %v as binary", x.oid, seen[0], seen[1])
		}
	})
}

func TestUnknownTypesAreNull(t *testing.T) {
	set := mustCompile(t, Rule{Columns: []string{"t.c"}, Operator: "redact"})
	for _, oid := range []uint32{0, 16, 18, 600, 1186, 99999} {
		for _, bin := range []bool{false, true} {
			p := set.Plan("db", []PlanColumn{{Masked: "t.c", OID: oid, Binary: bin}})
			if out, null := p.AppendField(nil, 0, []byte("t")); !null || len(out) != 0 {
				t.Errorf("type %d, binary %v: %q", oid, bin, out)
			}
		}
	}
	p := set.Plan("db", []PlanColumn{{OID: 25}})
	if p.Touches() || p.Column(0) != Pass || p.Column(1) != Mask || p.Column(-1) != Mask {
		t.Error("a plan of one plain column must pass it, and mask what it does not know")
	}
	if _, null := p.AppendField(nil, 1, []byte("x")); !null {
		t.Error("a column that the plan does not know must be NULL")
	}
}

func TestUnknownNameIsRedacted(t *testing.T) {
	set := mustCompile(t, Rule{Columns: []string{"t.c"}, Targets: []string{"other"}, Operator: "partial"})
	p := set.Plan("db", []PlanColumn{{Masked: "t.c", OID: 25}, {Masked: "x.y", OID: 25}})
	for i := range 2 {
		if out, null := p.AppendField(nil, i, []byte("4539578763621486")); null || string(out) != redactedText {
			t.Errorf("column %d: %q", i, out)
		}
	}
}

// TestOperatorsOnText shows what each operator makes of values people know.
func TestOperatorsOnText(t *testing.T) {
	for _, c := range []struct {
		op  string
		oid uint32
		in  string
		out string
	}{
		{"redact", 25, "Ada", "[redacted]"},
		{"partial", 25, "4539-5787-6362-1486", "****-****-****-1486"},
		{"partial", 25, "536-22-8147", "****"},
		{"partial", 25, "Alexandrina Quimby-Tannenbaum", "****"},
		{"partial", 25, "ada@corp.example", "****@****"},
		{"partial", 25, "ghp_aB3dE5fG7hI9jK1lM3nO5pQ7rS9tU1vW3xY5", "****"},
		{"partial", 25, "aB3dE5fG7hI9jK1lM3nO5pQ7rS9tU1vW3xY5", "****3xY5"},
		{"generalise", 25, "1984-03-17", "1984"},
		{"generalise", 25, "203.0.113.77", "203.0.113.0/24"},
		{"generalise", 25, "87342", "80000"},
		{"generalise", 25, "Ada", "[redacted]"},
		{"generalise", 23, "-87342", "-80000"},
		{"generalise", 23, "7", "0"},
		{"generalise", 1700, "87342.50", "80000"},
		{"generalise", 1700, "0.5", "0"},
		{"generalise", 701, "87342.5", "80000"},
		{"generalise", 1082, "1984-03-17", "1984-01-01"},
		{"generalise", 1114, "1984-03-17 10:11:12.5", "1984-01-01 00:00:00"},
		{"generalise", 1184, "1984-12-31 23:30:00-05", "1985-01-01 00:00:00+00"},
		{"generalise", 1083, "10:11:12", "10:00:00"},
		{"generalise", 869, "2001:db8:1:2::3", "2001:db8:1::/48"},
		{"generalise", 650, "10.1.0.0/16", "10.1.0.0/16"},
		{"redact", 650, "10.1.0.0/16", "0.0.0.0/32"},
		{"redact", 1082, "infinity", "1900-01-01"},
		{"partial", 20, "4539578763621486", "1486"},
		{"partial", 20, "536228147", "0"},
		{"redact", 114, `{"a":1}`, `"[redacted]"`},
		{"redact", 17, `\x616263`, `\x`},
		{"redact", 1009, `{a,NULL,"NULL","b,c"}`, `{"[redacted]",NULL,"[redacted]","[redacted]"}`},
		{"redact", 1007, `[0:1]={{1,2},{3,4}}`, `[0:1]={{"0","0"},{"0","0"}}`},
	} {
		set := mustCompile(t, Rule{Columns: []string{"t.c"}, Operator: c.op})
		p := set.Plan("db", []PlanColumn{{Masked: "t.c", OID: c.oid}})
		if out, null := p.AppendField(nil, 0, []byte(c.in)); null || string(out) != c.out {
			t.Errorf("%s of %q (%d): %q, want %q", c.op, c.in, c.oid, out, c.out)
		}
	}
}

func TestScannedColumns(t *testing.T) {
	set := mustCompile(t, Rule{Detect: Types(), Operator: "redact"})
	for _, c := range []struct {
		oid     uint32
		in, out string
	}{
		{25, "mail ada@corp.example", "mail [EMAIL]"},
		{114, `{"card": 4539578763621486, "n": 12, "e":"a\u0064a\u0040corp.example\n"}`, `{"card": "[CREDIT_CARD]", "n": 12, "e":"[EMAIL]\n"}`},
		{114, `{"password":"correct horse","ssn":536228147,"qty":536228147}`, `{"password":"[SECRET]","ssn":"[US_SSN]","qty":536228147}`},
		{3802, `{"ada@corp.example": [true, null]}`, `{"[EMAIL]": [true, null]}`},
		{1009, `{"ada@corp.example",b,NULL}`, `{"[EMAIL]","b",NULL}`},
		{17, `\x61646140636f72702e6578616d706c65`, `\x5b454d41494c5d`},
		{17, `\x00ff`, `\x00ff`},
		{869, "203.0.113.77", "0.0.0.0"},
		{99999, "(1,ada@corp.example)", "(1,[EMAIL])"},
		{1082, "1984-03-17", "1984-03-17"},
		{20, "4539578763621486", "4539578763621486"},
	} {
		p := set.Plan("db", []PlanColumn{{OID: c.oid, Scan: true}})
		if out, null := p.AppendField(nil, 0, []byte(c.in)); null || string(out) != c.out {
			t.Errorf("type %d %q: %q (null %v), want %q", c.oid, c.in, out, null, c.out)
		}
	}
	p := set.Plan("db", []PlanColumn{{OID: 99999, Binary: true, Scan: true}, {OID: 25, Scan: true, Name: "ssn"}})
	if _, null := p.AppendField(nil, 0, []byte("\x00\x01ada@corp.example\x00")); !null {
		t.Error("a hit in a binary value of an unknown type must become NULL")
	}
	if out, _ := p.AppendField(nil, 1, []byte("536228147")); string(out) != "[US_SSN]" {
		t.Errorf("the name of the column is context: %q", out)
	}
	if got := string(set.Text("db", []byte("> "), []byte("Key (email)=(ada@corp.example) exists"))); got != "> Key (email)=([EMAIL]) exists" {
		t.Errorf("free text: %q", got)
	}
}

// TestScannedJSONStaysJSON masks documents with values inside.
func TestScannedJSONStaysJSON(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		set, err := Compile([]Rule{{Detect: Types(), Operator: rapid.SampledFrom(Operators()).Draw(t, "op")}}, testKey)
		if err != nil {
			t.Fatal(err)
		}
		email := rapid.StringMatching(`[a-z]{3,10}@[a-z]{3,8}\.example`).Draw(t, "email")
		doc, _ := json.Marshal(map[string]any{
			rapid.String().Draw(t, "key"): []any{email, rapid.String().Draw(t, "text"), rapid.Float64().Draw(t, "n")},
			"card":                        4539578763621486, "note": "x\n\t\"" + email + "\" é",
		})
		p := set.Plan("db", []PlanColumn{{OID: 114, Scan: true}})
		out, null := p.AppendField(nil, 0, doc)
		if null || !json.Valid(out) || bytes.Contains(out, []byte(email)) || bytes.Contains(out, []byte("4539578763621486")) {
			t.Fatalf("%s becomes %s", doc, out)
		}
	})
}

func TestRows(t *testing.T) {
	set := mustCompile(t,
		Rule{Columns: []string{"customers.email", "customers.ssn"}, Operator: "pseudonym"},
		Rule{Detect: []string{"EMAIL", "CREDIT_CARD"}, Operator: "partial"})
	p := set.Plan("db", []PlanColumn{
		{Masked: "customers.email", OID: 25}, {Masked: "customers.ssn", OID: 1043}, {OID: 25, Scan: true}, {OID: 23, Scan: true},
		{Masked: "customers.email", OID: 1009}, {Masked: "customers.email", OID: 1700, Binary: true}, {OID: 114, Scan: true},
		{Masked: "customers.ssn", OID: 1082}, {Masked: "customers.ssn", OID: 2950}, {Masked: "customers.ssn", OID: 869}, {Masked: "customers.ssn", OID: 20},
	})
	row := []string{"ada@corp.example", "536-22-8147", "paid with 4539 5787 6362 1486 by ada@corp.example", "7", "{a,b}",
		"\x00\x01\x00\x00\x00\x00\x00\x00\x00\x07", `{"a":"x\nada@corp.example"}`, "1984-03-17", "8e81cf38-b1ed-4a27-9c95-97656487b0b2", "203.0.113.7", "536228147"}
	fields := make([][]byte, len(row))
	for i, v := range row {
		fields[i] = []byte(v)
	}
	var buf []byte
	mask := func() {
		buf = buf[:0]
		for i, v := range fields {
			buf, _ = p.AppendField(buf, i, v)
		}
	}
	mask()
	if n := testing.AllocsPerRun(100, mask); n > 0 && !raced {
		t.Errorf("%v allocations a row", n)
	}
	if p.Column(3) != Pass {
		t.Error("an int column is not searched")
	}
	if bytes.Contains(buf, []byte("corp.example")) || bytes.Contains(buf, []byte("5787")) {
		t.Errorf("clear values in %q", buf)
	}
}

func TestTextAllocatesNothing(t *testing.T) {
	set := mustCompile(t, Rule{Detect: []string{"EMAIL"}, Operator: "hash"})
	src := []byte("Key (email)=(ada@corp.example) already exists.")
	var buf []byte
	if n := testing.AllocsPerRun(100, func() { buf = set.Text("db", buf[:0], src) }); n > 0 && !raced {
		t.Errorf("%v allocations a text", n)
	}
}

func TestRules(t *testing.T) {
	set := mustCompile(t,
		Rule{Columns: []string{"customers.email", "public.customers.card", "*.ssn", "hr.*", "Weird.Name"}, Operator: "partial"},
		Rule{Targets: []string{"orders-*"}, Columns: []string{"customers.email", "billing.customers.*"}, Operator: "null"})
	for _, c := range []struct{ target, schema, table, column, want string }{
		{"db", "public", "customers", "email", "customers.email"},
		{"db", "any", "customers", "email", "customers.email"},
		{"db", "public", "customers", "Email", ""},
		{"db", "public", "customers", "card", "public.customers.card"},
		{"db", "billing", "customers", "card", ""},
		{"orders-db", "billing", "customers", "card", "billing.customers.*"},
		{"db", "x", "y", "ssn", "*.ssn"},
		{"db", "x", "hr", "salary", "hr.*"},
		{"db", "x", "Weird", "Name", "Weird.Name"},
		{"db", "x", "weird", "name", ""},
	} {
		if got := set.Column(c.target, c.schema, c.table, c.column); got != c.want {
			t.Errorf("%v: %q", c, got)
		}
	}
	if set.operatorFor("orders-db", "customers.email") != opNull || set.operatorFor("db", "customers.email") != opPartial {
		t.Error("the strictest operator of the rules of a target must win")
	}
}

func TestCompileErrors(t *testing.T) {
	for want, r := range map[string]Rule{
		"operator":            {Columns: []string{"a.b"}, Operator: "shred"},
		"exactly one":         {Columns: []string{"a.b"}, Detect: []string{"EMAIL"}, Operator: "redact"},
		"exactly one of":      {Operator: "redact"},
		"table.column":        {Columns: []string{"email"}, Operator: "redact"},
		"is empty":            {Columns: []string{"a."}, Operator: "redact"},
		"not a valid pattern": {Columns: []string{"a.[b"}, Operator: "redact"},
		"detect":              {Detect: []string{"SHOE_SIZE"}, Operator: "redact"},
		"target":              {Targets: []string{""}, Detect: []string{"EMAIL"}, Operator: "redact"},
	} {
		if _, err := Compile([]Rule{r}, testKey); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", r, err, want)
		}
	}
	if _, err := Compile([]Rule{{Columns: []string{"a.b"}, Operator: "hash"}}, []byte("short")); err == nil {
		t.Error("a short key must be refused")
	}
}

// FuzzMaskedField feeds anything to every type: no panic, the head stays, and
// a scanned array or number never grows without bound.
func FuzzMaskedField(f *testing.F) {
	f.Add(uint32(1009), false, []byte("{a,\"b\",NULL}"))
	f.Add(uint32(1009), true, binary.BigEndian.AppendUint32(nil, 1))
	f.Add(uint32(1700), true, []byte("\x00\x01\x7f\xff\x00\x00\x00\x00\x00\x01"))
	f.Add(uint32(3802), true, []byte("\x01{\"a\":1}"))
	f.Add(uint32(869), true, []byte{2, 32, 0, 4, 1, 2, 3, 4})
	sets := make([]*Set, 0, 7)
	for _, op := range Operators() {
		s, err := Compile([]Rule{{Columns: []string{"t.c"}, Operator: op}, {Detect: Types(), Operator: op}}, testKey)
		if err != nil {
			f.Fatal(err)
		}
		sets = append(sets, s)
	}
	f.Fuzz(func(t *testing.T, oid uint32, bin bool, v []byte) {
		for _, s := range sets {
			p := s.Plan("db", []PlanColumn{{Masked: "t.c", OID: oid, Binary: bin}, {OID: oid, Binary: bin, Scan: true}})
			for i := range 2 {
				out, null := p.AppendField([]byte("head"), i, v)
				if !bytes.HasPrefix(out, []byte("head")) || null && len(out) != 4 || len(out) > 300_000+64*len(v) {
					t.Fatalf("column %d of type %d: %d bytes, null %v", i, oid, len(out), null)
				}
			}
		}
	})
}
