package mask

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// runArchive masks an archive in pieces of a size.
func runArchive(s *Set, in []byte, size int) (out []byte, err error) {
	a := s.Archive("cluster")
	for len(in) > 0 {
		n := min(len(in), size)
		if out, err = a.Write(out, in[:n]); err != nil {
			return out, err
		}
		in = in[n:]
	}
	return a.Close(out)
}

// gnuTar runs tar, or skips the test.
func gnuTar(t *testing.T, in []byte, args ...string) []byte {
	t.Helper()
	if _, err := exec.LookPath("tar"); err != nil {
		t.Skip("there is no tar")
	}
	cmd := exec.Command("tar", args...)
	cmd.Stdin = bytes.NewReader(in)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("tar %s: %v: %s", args, err, &errs)
	}
	return out
}

// tree is what a folder holds: for each name what it is and says.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	m := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(dir, path)
		what := info.Mode().String() + " " + info.ModTime().UTC().Format(time.RFC3339) + " "
		switch {
		case info.Mode()&fs.ModeSymlink != 0:
			to, err := os.Readlink(path)
			if err != nil {
				return err
			}
			m[name] = "link " + to
			return nil
		case info.Mode().IsRegular():
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			what += string(b)
		}
		m[name] = what
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// TestArchiveOfTar lets tar write an archive in each format, and tar unpack
// what comes of it.
func TestArchiveOfTar(t *testing.T) {
	set := objectsSet(t)
	dir := t.TempDir()
	long := strings.Repeat("a-long-name/", 12) + strings.Repeat("n", 120)
	files := map[string]string{
		"app.conf":              "mail = ada@corp.example\npassword = hunter2!x\nport = 80\n",
		"empty":                 "",
		"block":                 strings.Repeat("x", tarBlock),
		"grows":                 strings.Repeat("a@b.co\n", 200),
		"shrinks":               strings.Repeat("postgres://app:Tr0ub4dor3@db.internal:5432/orders_of_the_whole_year\n", 200),
		"binary":                "\x00\x01\x02 ada@corp.example \xff\xfe",
		"with blank ä":          "4111 1111 1111 1111",
		long:                    "ssn 078-05-1120\n",
		"big":                   strings.Repeat("a line of text with nothing in it\n", 1<<15) + "ada@corp.example\n",
		"clean/readme.txt":      "nothing here\n",
		"clean/deeper/x/y.json": `{"a": "b"}`,
	}
	when := time.Date(2026, 2, 3, 4, 5, 6, 0, time.UTC)
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o640); err != nil {
			t.Fatal(err)
		}
		os.Chtimes(path, when, when)
	}
	for link, to := range map[string]string{"link": "app.conf", "broken": "nowhere/" + long, "folder-link": "clean"} {
		if err := os.Symlink(to, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Link(filepath.Join(dir, "app.conf"), filepath.Join(dir, "hard")); err != nil {
		t.Fatal(err)
	}
	files["hard"] = files["app.conf"]
	before := tree(t, dir)
	for _, format := range []string{"gnu", "oldgnu", "pax", "posix", "ustar", "v7"} {
		args := []string{"--format=" + format, "-cf", "-", "-C", dir}
		if format == "ustar" || format == "v7" { // they cannot hold long names
			args = append(args, "--exclude=nnnn*", "--exclude=broken", "--exclude=a-long-name")
		}
		in := gnuTar(t, nil, append(args, ".")...)
		whole, err := runArchive(set, in, len(in))
		if err != nil {
			t.Fatalf("%s: %v", format, err)
		}
		for _, size := range []int{1, 100, 511, 512, 513, 32 << 10} {
			if size < 100 && len(in) > 4<<20 {
				continue
			}
			if out, err := runArchive(set, in, size); err != nil || !bytes.Equal(out, whole) {
				t.Fatalf("%s: in pieces of %d: %v", format, size, err)
			}
		}
		to := t.TempDir()
		gnuTar(t, whole, "-xf", "-", "-C", to)
		after := tree(t, to)
		for name, what := range before {
			if strings.HasPrefix(name, "a-long-name") && (format == "ustar" || format == "v7") || name == "broken" && len(args) > 4 {
				continue
			}
			if text, ok := files[name]; ok {
				what = strings.TrimSuffix(what, text) + string(set.Whole("cluster", nil, []byte(text)))
			}
			if strings.HasPrefix(what, "d") {
				what, after[name] = what[:10], after[name][:min(10, len(after[name]))]
			}
			if after[name] != what {
				t.Errorf("%s: %s:\n got %.300q\nwant %.300q", format, name, after[name], what)
			}
		}
		for _, v := range []string{"ada@corp", "hunter2", "4111", "078-05", "Tr0ub4dor3"} {
			if bytes.Contains(whole, []byte(v)) {
				t.Errorf("%s: %q came out", format, v)
			}
		}
		// What holds nothing to mask comes out byte by byte.
		in = gnuTar(t, nil, "--format="+format, "-cf", "-", "-C", dir, "clean")
		if out, err := runArchive(set, in, 1000); err != nil || !bytes.Equal(out, in) {
			t.Errorf("%s: a clean archive was changed: %v", format, err)
		}
	}
}

// archiveOf writes an archive of headers with bodies.
func archiveOf(t testing.TB, entries ...any) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for i := 0; i < len(entries); i += 2 {
		h := entries[i].(tar.Header)
		body := entries[i+1].(string)
		h.Size = int64(len(body))
		if h.Mode == 0 && h.Typeflag != tar.TypeXGlobalHeader {
			h.Mode = 0o644
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, body); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestArchiveExtended keeps what PAX headers say of names and times, corrects
// sizes in them, and leaves out what could hold anything.
func TestArchiveExtended(t *testing.T) {
	set := objectsSet(t)
	in := archiveOf(t,
		tar.Header{Typeflag: tar.TypeXGlobalHeader, PAXRecords: map[string]string{"comment": "ada@corp.example"}}, "",
		tar.Header{Name: "ä/" + strings.Repeat("p", 150), Format: tar.FormatPAX, ModTime: time.Unix(1, 500), PAXRecords: map[string]string{"SCHILY.xattr.user.note": "ada@corp.example"}}, "to ada@corp.example",
		tar.Header{Name: "b", Format: tar.FormatPAX, PAXRecords: map[string]string{"SCHILY.xattr.user.note": "ada@corp.example"}}, "clean",
	)
	out, err := runArchive(set, in, 700)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(out, []byte("ada@corp")) {
		t.Error("a value came out of an extended header")
	}
	r := tar.NewReader(bytes.NewReader(out))
	h, err := r.Next()
	if err != nil || h.Name != "ä/"+strings.Repeat("p", 150) || !h.ModTime.Equal(time.Unix(1, 500)) {
		t.Fatalf("%+v, %v", h, err)
	}
	if b, err := io.ReadAll(r); err != nil || string(b) != "to [EMAIL]" {
		t.Fatalf("%q, %v", b, err)
	}
	if h, err = r.Next(); err != nil || h.Name != "b" {
		t.Fatalf("%+v, %v", h, err)
	}

	// A size in the extended header is what counts.
	body := "to ada@corp.example"
	sized := tarEntry(paxNext, "x", []byte("11 size=19\n"), -1)
	sized = append(sized, tarEntry(tarFile, "f", []byte(body), 7)...)
	sized = append(sized, make([]byte, 2*tarBlock)...)
	if out, err = runArchive(set, sized, 100); err != nil {
		t.Fatal(err)
	}
	r = tar.NewReader(bytes.NewReader(out))
	if _, err = r.Next(); err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(r); err != nil || string(b) != "to [EMAIL]" {
		t.Fatalf("%q, %v", b, err)
	}
}

// tarEntry makes an entry by hand. Size: what the header says, if not -1.
func tarEntry(kind byte, name string, body []byte, size int) []byte {
	var b [tarBlock]byte
	copy(b[:], name)
	copy(b[100:], "0000644\x000000000\x000000000\x00")
	copy(b[136:], "00000000001\x00")
	b[typeAt] = kind
	copy(b[257:], "ustar\x0000")
	if size < 0 {
		size = len(body)
	}
	copy(b[sizeAt:], "x")
	setTarSize(&b, size)
	return appendBlocks(b[:], body)
}

// TestArchiveRefuses what cannot be masked entry by entry.
func TestArchiveRefuses(t *testing.T) {
	set := objectsSet(t)
	end := make([]byte, 2*tarBlock)
	damaged := tarEntry(tarFile, "f", []byte("x"), -1)
	damaged[0] ^= 1
	huge := tarEntry(tarFile, "f", nil, 0)
	copy(huge[sizeAt:], "\x80\x00\x00\x00\x00\x00\x00\x40\x00\x00\x00\x00")
	negative := tarEntry(tarFile, "f", nil, 0)
	copy(negative[sizeAt:], "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff")
	for _, b := range [][]byte{huge, negative} {
		copy(b[sumAt:], "        ")
		copy(b[sumAt:sumEnd], tarEntrySum(b))
	}
	join := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	for what, in := range map[string][]byte{
		"sparse":             join(tarEntry('S', "f", []byte("x"), -1), end),
		"sparse, pax":        join(tarEntry(paxNext, "x", []byte("22 GNU.sparse.major=1\n"), -1), tarEntry(tarFile, "f", []byte("x"), -1), end),
		"volume":             join(tarEntry('M', "f", []byte("x"), -1), end),
		"contiguous":         join(tarEntry('7', "f", []byte("x"), -1), end),
		"unknown":            join(tarEntry('Z', "f", nil, -1), end),
		"unknown key":        join(tarEntry(paxNext, "x", []byte("8 new=x\n"), -1), tarEntry(tarFile, "f", nil, -1), end),
		"key twice":          join(tarEntry(paxNext, "x", []byte("10 path=a\n10 path=b\n"), -1), tarEntry(tarFile, "f", nil, -1), end),
		"pax record":         join(tarEntry(paxNext, "x", []byte("99 path=a\n"), -1), tarEntry(tarFile, "f", nil, -1), end),
		"pax twice":          join(tarEntry(paxNext, "x", []byte("10 path=a\n"), -1), tarEntry(paxNext, "x", []byte("10 path=b\n"), -1), end),
		"global size":        join(tarEntry(paxGlobal, "x", []byte("11 size=99\n"), -1), tarEntry(tarFile, "f", nil, -1), end),
		"global in between":  join(tarEntry(paxNext, "x", []byte("10 path=a\n"), -1), tarEntry(paxGlobal, "x", []byte("10 path=b\n"), -1), end),
		"link with a body":   join(tarEntry(tarHard, "f", []byte("secret"), -1), end),
		"folder with a body": join(tarEntry(tarFolder, "f/", []byte("secret"), -1), end),
		"folder, pax size":   join(tarEntry(paxNext, "x", []byte("11 size=19\n"), -1), tarEntry(tarFolder, "f/", nil, -1), end),
		"too large":          join(tarEntry(tarFile, "f", nil, MaxArchiveFile+1), end),
		"too large, pax":     join(tarEntry(paxNext, "x", []byte("17 size=99999999\n"), -1), tarEntry(tarFile, "f", nil, -1), end),
		"huge":               join(huge, end),
		"negative":           join(negative, end),
		"large name":         join(tarEntry(gnuName, "x", nil, maxArchiveMeta+1), end),
		"behind the end":     join(tarEntry(tarFile, "f", nil, -1), end, tarEntry(tarFile, "g", []byte("x"), -1)),
		"lone zero block":    join(tarEntry(tarFile, "f", nil, -1), end[:tarBlock], tarEntry(tarFile, "g", []byte("x"), -1)),
		"end after pax":      join(tarEntry(paxNext, "x", []byte("10 path=a\n"), -1), end),
		"damaged":            join(damaged, end),
		"no end":             tarEntry(tarFile, "f", []byte("x"), -1),
		"no end of a body":   tarEntry(tarFile, "f", []byte("x"), 1000),
		"no filling":         tarEntry(tarFile, "f", []byte("x"), -1)[:tarBlock+1],
		"no whole header":    tarEntry(tarFile, "f", nil, -1)[:100],
		"no whole zeros":     join(tarEntry(tarFile, "f", nil, -1), end[:600]),
		"compressed":         join([]byte("\x1f\x8b\x08"), bytes.Repeat([]byte("x"), 2000)),
		"text":               []byte(strings.Repeat("tar: not found\n", 100)),
	} {
		for _, size := range []int{1, 512, 1 << 20} {
			if out, err := runArchive(set, in, size); !errors.Is(err, ErrArchive) {
				t.Errorf("%s is taken in pieces of %d: %v: %.100q", what, size, err, out)
			}
		}
	}
	if out, err := runArchive(set, nil, 1); err != nil || len(out) > 0 {
		t.Errorf("nothing at all: %q, %v", out, err)
	}
	if out, err := runArchive(mustCompile(t), []byte("anything"), 3); err != nil || string(out) != "anything" {
		t.Errorf("without rules: %q, %v", out, err)
	}
	a := set.Archive("cluster")
	if out, err := a.Write([]byte("before"), damaged); err == nil || string(out) != "before" {
		t.Errorf("%q, %v", out, err)
	}
	if _, err := a.Write(nil, end); err == nil {
		t.Error("it went on after an error")
	}
}

// tarEntrySum is the checksum of a header as it stands in it.
func tarEntrySum(b []byte) string {
	sum := sumOf((*[tarBlock]byte)(b))
	digits := []byte("000000\x00 ")
	for i := 5; i >= 0; i-- {
		digits[i] = byte('0' + sum&7)
		sum >>= 3
	}
	return string(digits)
}

// TestArchiveMemory gives back what a large file took.
func TestArchiveMemory(t *testing.T) {
	set := objectsSet(t)
	a := set.Archive("cluster")
	in := archiveOf(t, tar.Header{Name: "big"}, strings.Repeat("line\n", 2<<20), tar.Header{Name: "small"}, "x")
	var out []byte
	for rest := in; len(rest) > 0; {
		n := min(len(rest), 32<<10)
		var err error
		if out, err = a.Write(out[:0], rest[:n]); err != nil {
			t.Fatal(err)
		}
		rest = rest[n:]
	}
	if _, err := a.Close(nil); err != nil || cap(a.body) > archiveKeep || cap(a.out) > archiveKeep {
		t.Errorf("%v, %d and %d bytes are kept", err, cap(a.body), cap(a.out))
	}
}

func FuzzArchive(f *testing.F) {
	f.Add(archiveOf(f, tar.Header{Name: "a"}, "ada@corp.example"), uint16(7))
	f.Add(archiveOf(f, tar.Header{Name: strings.Repeat("p", 150), Format: tar.FormatPAX}, "x"), uint16(512))
	f.Add(archiveOf(f, tar.Header{Name: strings.Repeat("p", 150), Format: tar.FormatGNU, Typeflag: tar.TypeSymlink, Linkname: "x"}, ""), uint16(100))
	set := objectsSet(f)
	f.Fuzz(func(t *testing.T, in []byte, size uint16) {
		// Checksums would keep the fuzzer out.
		for at := 0; at+tarBlock <= len(in); at += tarBlock {
			if size&1 == 0 && !bytes.Equal(in[at:at+tarBlock], make([]byte, tarBlock)) && bytes.HasPrefix(in[at+257:], []byte("ustar")) {
				copy(in[at+sumAt:at+sumEnd], tarEntrySum(in[at:at+tarBlock]))
			}
		}
		whole, err := runArchive(set, in, len(in)+1)
		out, err2 := runArchive(set, in, int(size)+1)
		if (err == nil) != (err2 == nil) || err == nil && !bytes.Equal(out, whole) {
			t.Fatalf("in pieces of %d: %v, %v", size, err, err2)
		}
		if err != nil {
			return
		}
		if again, err := runArchive(set, whole, len(whole)+1); err != nil || !bytes.Equal(again, whole) {
			t.Fatalf("what came out is not taken again: %v", err)
		}
	})
}
