package mask

import (
	"bytes"
	"errors"
	"fmt"
)

// Bounds of an archive.
const (
	// MaxArchiveFile bounds one file in an archive, in bytes: it is masked as a
	// whole.
	MaxArchiveFile = 16 << 20

	maxArchiveMeta = 1 << 20 // extended headers and long names, each
	tarBlock       = 512
)

// ErrArchive is in every error about an archive that cannot be masked. The
// stream must then stop: nothing after the error is known to be masked.
var ErrArchive = errors.New("the archive cannot be masked")

// Archive masks a tar stream, as `tar cf - PATH` writes it and kubectl cp reads
// it. Each regular file is masked as [Set.Whole] does, and its size corrected;
// names, links, folders, owners and times stay. Formats: v7, ustar, GNU and
// PAX. What cannot be masked entry by entry (sparse files, parts of volumes,
// kinds of entries that are not known) is an error.
//
// It takes pieces that are split anywhere, as they come out of a container,
// and holds one file at a time. It is a writer and not a reader, because what
// it stands behind are frames that are released one by one. Not for concurrent
// use.
type Archive struct {
	set    *Set
	target string
	on     bool
	err    error

	block [tarBlock]byte // the header block so far
	n     int
	body  []byte // of the entry so far
	need  int64  // bytes of the body that are to come
	pad   int    // bytes of filling that are to come
	kind  byte   // of the entry; 0: a header comes next

	before   []byte          // extended headers for the next file: as they are
	after    []byte          // the same, behind the PAX header
	pax      *[tarBlock]byte // a PAX header for the next file
	records  []paxRecord     // what it says
	long     string          // name of the next file, where an extended header has it
	begun    bool
	zeros    int // zero blocks: the end
	position int64
	out      []byte
}

// Archive starts masking one tar stream of a target.
func (s *Set) Archive(target string) *Archive {
	return &Archive{set: s, target: target, on: s.Detects(target)}
}

// Write takes a piece and appends to dst what may be sent by now. After an
// error ([ErrArchive] is in it) dst is as it was, nothing more may be sent, and
// every call fails.
func (a *Archive) Write(dst, piece []byte) ([]byte, error) {
	switch {
	case a.err != nil:
		return dst, a.err
	case !a.on:
		return append(dst, piece...), nil
	}
	out := dst
	for len(piece) > 0 {
		n, err := 0, error(nil)
		switch {
		case a.need > 0:
			n = int(min(int64(len(piece)), a.need))
			a.body = append(a.body, piece[:n]...)
			if a.need -= int64(n); a.need == 0 {
				out, err = a.entry(out)
			}
		case a.pad > 0: // what fills a block is written anew
			n = min(len(piece), a.pad)
			a.pad -= n
		default:
			n = copy(a.block[a.n:], piece)
			if a.n += n; a.n == tarBlock {
				a.n = 0
				out, err = a.header(out)
			}
		}
		if err != nil {
			a.err = fmt.Errorf("%w: at byte %d: %w", ErrArchive, a.position, err)
			return dst, a.err
		}
		a.position += int64(n)
		piece = piece[n:]
	}
	return out, nil
}

// Close ends the stream: an archive that is not whole is an error. No archive
// at all is none: the command that was to write it has failed.
func (a *Archive) Close(dst []byte) ([]byte, error) {
	if a.err == nil && a.on && a.position > 0 && (a.zeros == 0 || a.n > 0 || a.kind != 0 || a.need > 0 || a.pad > 0) {
		a.err = fmt.Errorf("%w: at byte %d: it ended before its end: the command in the container was cut off, try again", ErrArchive, a.position)
	}
	return dst, a.err
}

// Types of entries. The letters are those of POSIX and of GNU tar.
const (
	tarFile     = '0'
	tarFileV7   = 0
	tarHard     = '1'
	tarSymbolic = '2'
	tarChar     = '3'
	tarBlockDev = '4'
	tarFolder   = '5'
	tarFIFO     = '6'
	paxNext     = 'x'
	paxGlobal   = 'g'
	gnuName     = 'L'
	gnuLink     = 'K'
)

// Fields of a header: offset and end.
const (
	nameEnd  = 100
	sizeAt   = 124
	sizeEnd  = 136
	sumAt    = 148
	sumEnd   = 156
	typeAt   = 156
	sumWidth = 8
)

// header takes a whole header block.
func (a *Archive) header(out []byte) ([]byte, error) {
	b := &a.block
	if *b == [tarBlock]byte{} {
		if a.pending() {
			return out, errors.New("it ends behind an extended header")
		}
		a.begun = true
		a.zeros++
		return append(out, b[:]...), nil
	}
	if a.zeros > 0 {
		return out, errors.New("something stands behind its end")
	}
	if !tarSum(b) {
		if !a.begun {
			return out, errors.New("it is not a tar archive (a compressed one is not either): let tar write it with no option but cf")
		}
		return out, errors.New("a header is damaged: its checksum is wrong")
	}
	a.begun = true
	size, ok := tarNumber(b[sizeAt:sizeEnd])
	if !ok {
		return out, fmt.Errorf("%s: its size cannot be read", a.name())
	}
	switch b[typeAt] {
	case tarFile, tarFileV7:
		if s, ok := a.record("size"); ok {
			n, ok := parseInt(s)
			if !ok || n < 0 {
				return out, fmt.Errorf("%s: its size cannot be read", a.name())
			}
			size = n
		}
		if size > MaxArchiveFile {
			return out, fmt.Errorf("%s: %d bytes are too many to be masked: at most %d MiB a file", a.name(), size, MaxArchiveFile>>20)
		}
	case tarHard, tarSymbolic, tarChar, tarBlockDev, tarFolder, tarFIFO:
		if _, ok := a.record("size"); ok || size != 0 {
			return out, fmt.Errorf("%s: an entry of type %q with a size", a.name(), b[typeAt])
		}
	case paxNext, paxGlobal, gnuName, gnuLink:
		if size > maxArchiveMeta {
			return out, fmt.Errorf("an extended header of %d bytes: at most %d", size, maxArchiveMeta)
		}
		if b[typeAt] == paxGlobal && a.pending() || b[typeAt] == paxNext && a.pax != nil {
			return out, errors.New("extended headers in an order that no tar writes")
		}
	case 'S':
		return out, fmt.Errorf("%s: sparse files are not masked: let tar write it without --sparse", a.name())
	default:
		return out, fmt.Errorf("%s: entries of type %q are not known", a.name(), b[typeAt])
	}
	a.kind, a.need, a.pad = b[typeAt], size, int(-size&(tarBlock-1))
	if a.kind == tarFileV7 {
		a.kind = tarFile
	}
	if size == 0 {
		return a.entry(out)
	}
	return out, nil
}

// entry takes an entry whose body is complete.
func (a *Archive) entry(out []byte) ([]byte, error) {
	kind := a.kind
	a.kind = 0
	body := a.body
	a.body = body[:0]
	switch kind {
	case gnuName, gnuLink:
		if kind == gnuName {
			a.long = string(bytes.TrimRight(body, "\x00"))
		}
		to := &a.before
		if a.pax != nil {
			to = &a.after
		}
		if len(*to) > 4*maxArchiveMeta {
			return out, errors.New("too many extended headers before a file")
		}
		*to = appendBlocks(append(*to, a.block[:]...), body)
		return out, nil
	case paxNext, paxGlobal:
		records, err := paxRecords(a.records[:0], body)
		if err != nil {
			return out, err
		}
		if kind == paxGlobal {
			for _, r := range records {
				if r.key == "size" {
					return out, errors.New("a size for all files in an extended header")
				}
			}
			a.records = records[:0]
			return appendPax(out, a.block, records), nil
		}
		header := a.block
		a.pax, a.records = &header, records
		return out, nil
	}
	a.out = a.out[:0]
	if kind == tarFile {
		a.out = a.set.Whole(a.target, a.out, body)
		setTarSize(&a.block, len(a.out))
		for i := range a.records {
			if a.records[i].key == "size" {
				a.records[i].value = fmt.Appendf(nil, "%d", len(a.out))
			}
		}
	}
	out = append(out, a.before...)
	if a.pax != nil {
		out = appendPax(out, *a.pax, a.records)
	}
	out = append(out, a.after...)
	out = appendBlocks(append(out, a.block[:]...), a.out)
	a.before, a.after, a.pax, a.records, a.long = trim(a.before), trim(a.after), nil, a.records[:0], ""
	a.body, a.out = trimTo(a.body, archiveKeep), trimTo(a.out, archiveKeep)
	return out, nil
}

// archiveKeep is the most that a buffer holds on to between files.
const archiveKeep = 1 << 20

func trimTo(b []byte, most int) []byte {
	if cap(b) > most {
		return nil
	}
	return b[:0]
}

// pending reports whether extended headers wait for their file.
func (a *Archive) pending() bool { return len(a.before) > 0 || len(a.after) > 0 || a.pax != nil }

// maxArchiveName bounds a name in an error.
const maxArchiveName = 200

// name is the entry's, for an error.
func (a *Archive) name() string {
	name := string(a.block[:nameEnd])
	if i := bytes.IndexByte(a.block[:nameEnd], 0); i >= 0 {
		name = name[:i]
	}
	if a.long != "" {
		name = a.long
	}
	if path, ok := a.record("path"); ok {
		name = string(path)
	}
	return fmt.Sprintf("%.*q", maxArchiveName, name)
}

// appendBlocks appends a body and fills its last block.
func appendBlocks(dst, body []byte) []byte {
	dst = append(dst, body...)
	for n := -len(body) & (tarBlock - 1); n > 0; n-- {
		dst = append(dst, 0)
	}
	return dst
}

// setTarSize changes the size in a header, and its checksum.
func setTarSize(b *[tarBlock]byte, size int) {
	if n, ok := tarNumber(b[sizeAt:sizeEnd]); ok && n == int64(size) {
		return
	}
	copy(b[sizeAt:sizeEnd], fmt.Sprintf("%011o\x00", size))
	copy(b[sumAt:sumEnd], fmt.Sprintf("%06o\x00 ", sumOf(b)))
}

// sumOf is the checksum of a header: the sum of its bytes, with blanks for the
// sum itself.
func sumOf(b *[tarBlock]byte) int64 {
	sum := int64(sumWidth * ' ')
	for i, c := range b {
		if i < sumAt || i >= sumEnd {
			sum += int64(c)
		}
	}
	return sum
}

// tarSum checks the checksum of a header.
func tarSum(b *[tarBlock]byte) bool {
	n, ok := tarNumber(b[sumAt:sumEnd])
	return ok && n == sumOf(b)
}

// tarNumber reads a field: octal digits between blanks and zero bytes, or, for
// large numbers of GNU tar, binary. A negative one is no number.
func tarNumber(v []byte) (int64, bool) {
	if v[0]&0x80 != 0 {
		if v[0] != 0x80 {
			return 0, false
		}
		n := int64(0)
		for _, c := range v[1:] {
			if n >= 1<<54 {
				return 0, false
			}
			n = n<<8 | int64(c)
		}
		return n, true
	}
	v = bytes.Trim(v, " \x00")
	n := int64(0)
	for _, c := range v {
		if c < '0' || c > '7' {
			return 0, false
		}
		n = n<<3 | int64(c-'0')
	}
	return n, true
}
