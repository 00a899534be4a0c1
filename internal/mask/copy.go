package mask

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/doorward/doorward"
)

// maxCopyField bounds one field of a COPY stream, as sent.
const maxCopyField = 64 << 20

// copyMagic opens a COPY stream in the binary format.
const copyMagic = "PGCOPY\n\xff\r\n\x00"

// ErrCopy is in every error about a COPY stream that cannot be masked. The
// stream must then stop: nothing after the error is known to be masked.
var ErrCopy = errors.New("the COPY stream cannot be masked")

// CopyMasker masks the data of one COPY TO. The stream may come in chunks that
// are split anywhere. It is for one goroutine at a time and uses the buffers
// of the plan that made it.
type CopyMasker struct {
	plan  *Plan
	next  func(m *CopyMasker, dst, chunk []byte) ([]byte, error)
	err   error
	field []byte // the raw field so far, when a chunk ended inside it
	plain []byte // the field, decoded
	out   []byte // the field, masked
	col   int
	row   int64
	skip  bool // this row is the header

	// text and csv
	delim, quote, escape byte
	null                 []byte
	esc                  bool // text: the byte before was a backslash; csv: the escape byte
	quoted               bool // csv: inside quotes

	// binary
	state binaryState
	need  int
	count int
}

// Copy makes a masker for the data of a COPY TO statement. Columns of the plan
// are those of the statement, in order, with the format that the statement
// names. A format that is not known gives a masker that lets nothing through.
func (p *Plan) Copy(st *doorward.Statement) *CopyMasker {
	m := &CopyMasker{plan: p, skip: st.Header}
	m.delim, m.quote, m.escape, m.null = st.Delim, st.Quote, st.Escape, []byte(st.Null)
	switch st.Format {
	case "text", "":
		m.next = (*CopyMasker).text
		if m.delim == 0 {
			m.delim = '\t'
			if st.Null == "" { // no options were given
				m.null = []byte(`\N`)
			}
		}
	case "csv":
		m.next = (*CopyMasker).csv
		if m.delim == 0 {
			m.delim = ','
		}
		if m.quote == 0 {
			m.quote = '"'
		}
		if m.escape == 0 {
			m.escape = m.quote
		}
	case "binary":
		m.next = (*CopyMasker).binary
		m.state, m.need, m.skip = binaryHead, len(copyMagic)+8, false
	default:
		m.err = fmt.Errorf("%w: format %q is not known: use text, csv or binary", ErrCopy, st.Format)
	}
	for i := range p.cols {
		if m.err == nil && p.cols[i].action != Pass && p.cols[i].binary != (st.Format == "binary") {
			m.err = fmt.Errorf("%w: column %d of the plan has another format than the statement", ErrCopy, i+1)
		}
	}
	return m
}

// Append appends the masked form of a chunk to dst. Bytes of a field that is
// not complete yet are kept until it is. After an error every call fails.
func (m *CopyMasker) Append(dst, chunk []byte) ([]byte, error) {
	if m.err != nil {
		return dst, m.err
	}
	n := len(dst)
	out, err := m.next(m, dst, chunk)
	if err != nil {
		m.err = fmt.Errorf("%w: row %d, column %d: %w", ErrCopy, m.row+1, m.col+1, err)
		return dst[:n], m.err
	}
	return out, nil
}

// Close checks that the stream ended where a row ends.
func (m *CopyMasker) Close(dst []byte) ([]byte, error) {
	if m.err != nil {
		return dst, m.err
	}
	if m.state != binaryNone && m.state != binaryEnd || len(m.field) > 0 || m.col > 0 || m.quoted || m.esc {
		m.err = fmt.Errorf("%w: row %d, column %d: the stream ended inside of a row", ErrCopy, m.row+1, m.col+1)
		return dst, m.err
	}
	return dst, nil
}

var (
	errFieldSize = fmt.Errorf("a field is larger than %d MiB", maxCopyField>>20)
	errTooMany   = errors.New("more columns than the statement has")
	errTooFew    = errors.New("fewer columns than the statement has")
)

// keep stores a part of a field until the rest comes.
func (m *CopyMasker) keep(part []byte) error {
	if len(m.field)+len(part) > maxCopyField {
		return errFieldSize
	}
	m.field = append(m.field, part...)
	return nil
}

// whole gives the complete raw field, of which tail is the last part.
func (m *CopyMasker) whole(tail []byte) ([]byte, error) {
	if len(m.field) == 0 {
		if len(tail) > maxCopyField {
			return nil, errFieldSize
		}
		return tail, nil
	}
	err := m.keep(tail)
	return m.field, err
}

// endField checks the number of the column and moves to the next.
func (m *CopyMasker) endField(last bool) error {
	m.field = m.field[:0]
	m.col++
	if !last {
		if m.col >= len(m.plan.cols) {
			return errTooMany
		}
		return nil
	}
	if m.col < len(m.plan.cols) {
		return errTooFew
	}
	m.col = 0
	m.skip = false
	m.row++
	return nil
}

// text masks the text format: fields end at the delimiter, rows at a newline,
// and a backslash takes the next byte with it.
func (m *CopyMasker) text(dst, chunk []byte) ([]byte, error) {
	start := 0
	for i := 0; i < len(chunk); i++ {
		b := chunk[i]
		if m.esc {
			m.esc = false
			continue
		}
		if b == '\\' {
			m.esc = true
			continue
		}
		if b != m.delim && b != '\n' {
			continue
		}
		raw, err := m.whole(chunk[start:i])
		if err != nil {
			return dst, err
		}
		if b == '\n' && m.col == 0 && string(raw) == `\.` {
			dst = append(dst, `\.`...) // the end mark of old protocols
			m.col = len(m.plan.cols)
		} else if dst, err = m.textField(dst, raw); err != nil {
			return dst, err
		}
		dst = append(dst, b)
		start = i + 1
		if err := m.endField(b == '\n'); err != nil {
			return dst, err
		}
	}
	return dst, m.keep(chunk[start:])
}

func (m *CopyMasker) textField(dst, raw []byte) ([]byte, error) {
	p := m.plan
	if len(p.cols) == 0 {
		if len(raw) > 0 {
			return dst, errTooMany
		}
		return dst, nil
	}
	if m.skip || p.cols[m.col].action == Pass || bytes.Equal(raw, m.null) {
		return append(dst, raw...), nil
	}
	v := raw
	if bytes.IndexByte(raw, '\\') >= 0 {
		m.plain = unescapeCopy(m.plain[:0], raw)
		v = m.plain
	}
	out, null := p.AppendField(m.out[:0], m.col, v)
	if m.out = out; null {
		return append(dst, m.null...), nil
	}
	return appendCopyText(dst, out, m.delim), nil
}

// AppendCopyText appends the masked form of one line of COPY text (without
// its newline) to dst.
func (p *Plan) AppendCopyText(dst, line []byte, delim byte, null string) ([]byte, error) {
	st := doorward.Statement{Format: "text", Delim: delim, Null: null}
	m := p.Copy(&st)
	out, err := m.Append(dst, line)
	if err == nil {
		out, err = m.Append(out, []byte{'\n'})
	}
	if err == nil {
		out, err = m.Close(out)
	}
	if err != nil {
		return dst, err
	}
	return out[:len(out)-1], nil
}

// unescapeCopy decodes the backslashes of the text format.
func unescapeCopy(dst, raw []byte) []byte {
	for i := 0; i < len(raw); i++ {
		b := raw[i]
		if b != '\\' || i+1 == len(raw) {
			dst = append(dst, b)
			continue
		}
		i++
		switch b = raw[i]; b {
		case 'b':
			b = '\b'
		case 'f':
			b = '\f'
		case 'n':
			b = '\n'
		case 'r':
			b = '\r'
		case 't':
			b = '\t'
		case 'v':
			b = '\v'
		case 'x':
			if i+1 < len(raw) && isHex(raw[i+1]) {
				i++
				b = hexValue(raw[i])
				if i+1 < len(raw) && isHex(raw[i+1]) {
					i++
					b = b<<4 | hexValue(raw[i])
				}
			}
		case '0', '1', '2', '3', '4', '5', '6', '7':
			b -= '0'
			for n := 0; n < 2 && i+1 < len(raw) && raw[i+1]-'0' < 8; n++ {
				i++
				b = b<<3 | raw[i] - '0'
			}
		}
		dst = append(dst, b)
	}
	return dst
}

// appendCopyText encodes a value for the text format, as the server does.
func appendCopyText(dst, v []byte, delim byte) []byte {
	for _, b := range v {
		switch b {
		case '\b':
			dst = append(dst, '\\', 'b')
		case '\f':
			dst = append(dst, '\\', 'f')
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		case '\t':
			dst = append(dst, '\\', 't')
		case '\v':
			dst = append(dst, '\\', 'v')
		case '\\':
			dst = append(dst, '\\', '\\')
		default:
			if b == delim {
				dst = append(dst, '\\')
			}
			dst = append(dst, b)
		}
	}
	return dst
}

// csv masks the CSV format: a quote may open anywhere in a field, and inside
// of quotes the delimiter and newlines are data.
func (m *CopyMasker) csv(dst, chunk []byte) ([]byte, error) {
	start := 0
	for i := 0; i < len(chunk); i++ {
		b := chunk[i]
		if m.esc { // inside quotes, after the escape byte
			m.esc = false
			if b == m.quote || b == m.escape {
				continue
			}
		}
		if m.quoted {
			if b == m.escape && m.escape != m.quote {
				m.esc = true
			} else if b == m.quote {
				m.quoted = false
			}
			continue
		}
		if b == m.quote {
			m.quoted = true // a doubled quote closes and opens again
			continue
		}
		if b != m.delim && b != '\n' {
			continue
		}
		raw, err := m.whole(chunk[start:i])
		if err != nil {
			return dst, err
		}
		if dst, err = m.csvField(dst, raw); err != nil {
			return dst, err
		}
		dst = append(dst, b)
		start = i + 1
		if err := m.endField(b == '\n'); err != nil {
			return dst, err
		}
	}
	return dst, m.keep(chunk[start:])
}

func (m *CopyMasker) csvField(dst, raw []byte) ([]byte, error) {
	p := m.plan
	if len(p.cols) == 0 {
		if len(raw) > 0 {
			return dst, errTooMany
		}
		return dst, nil
	}
	if m.skip || p.cols[m.col].action == Pass || bytes.Equal(raw, m.null) {
		return append(dst, raw...), nil
	}
	m.plain = m.plain[:0]
	in := false
	for i := 0; i < len(raw); i++ {
		b := raw[i]
		if in && b == m.escape && i+1 < len(raw) && (raw[i+1] == m.quote || raw[i+1] == m.escape) {
			i++
			m.plain = append(m.plain, raw[i])
			continue
		}
		if b == m.quote {
			in = !in
			continue
		}
		m.plain = append(m.plain, b)
	}
	out, null := p.AppendField(m.out[:0], m.col, m.plain)
	if m.out = out; null {
		return append(dst, m.null...), nil
	}
	return m.appendCSV(dst, out), nil
}

// appendCSV encodes a value for the CSV format.
func (m *CopyMasker) appendCSV(dst, v []byte) []byte {
	need := bytes.Equal(v, m.null) || len(v) == 0 || string(v) == `\.`
	for _, b := range v {
		if b == m.delim || b == m.quote || b == '\n' || b == '\r' {
			need = true
			break
		}
	}
	if !need {
		return append(dst, v...)
	}
	dst = append(dst, m.quote)
	for _, b := range v {
		if b == m.quote || b == m.escape {
			dst = append(dst, m.escape)
		}
		dst = append(dst, b)
	}
	return append(dst, m.quote)
}

// binaryState is where in the binary format a masker stands.
type binaryState uint8

const (
	binaryNone binaryState = iota // not the binary format
	binaryHead                    // signature, flags, length of the extension
	binaryExtension
	binaryRow   // number of fields
	binarySize  // length of a field
	binaryValue // the field
	binaryEnd   // after the trailer
)

// binary masks the binary format.
func (m *CopyMasker) binary(dst, chunk []byte) ([]byte, error) {
	for {
		if m.state == binaryEnd {
			if len(chunk) > 0 {
				return dst, errors.New("bytes after the end of the stream")
			}
			return dst, nil
		}
		if n := m.need - len(m.field); len(chunk) < n {
			return dst, m.keep(chunk)
		}
		n := m.need - len(m.field)
		part, err := m.whole(chunk[:n])
		if err != nil {
			return dst, err
		}
		chunk = chunk[n:]
		if dst, err = m.binaryPart(dst, part); err != nil {
			return dst, err
		}
		m.field = m.field[:0]
	}
}

// binaryPart handles one complete part and says what comes next.
func (m *CopyMasker) binaryPart(dst, part []byte) ([]byte, error) {
	switch m.state {
	case binaryHead:
		if string(part[:len(copyMagic)]) != copyMagic {
			return dst, errors.New("the signature of the binary format is missing")
		}
		if flags := binary.BigEndian.Uint32(part[len(copyMagic):]); flags>>16 != 0 {
			return dst, errors.New("flags of the binary format that are not known")
		}
		m.need = int(binary.BigEndian.Uint32(part[len(copyMagic)+4:]))
		if m.need > 1<<16 {
			return dst, errors.New("the header extension is too large")
		}
		m.state = binaryExtension
		dst = append(dst, part...)
	case binaryExtension:
		m.state, m.need = binaryRow, 2
		dst = append(dst, part...)
	case binaryRow:
		dst = append(dst, part...)
		n := int(int16(binary.BigEndian.Uint16(part)))
		if n == -1 {
			m.state, m.need = binaryEnd, 0
			return dst, nil
		}
		if n != len(m.plan.cols) {
			return dst, fmt.Errorf("a row of %d columns where the statement has %d", n, len(m.plan.cols))
		}
		m.count = n
		m.nextValue()
	case binarySize:
		n := int(int32(binary.BigEndian.Uint32(part)))
		switch {
		case n == -1:
			dst = append(dst, part...)
			m.col++
			m.nextValue()
		case n < 0 || n > maxCopyField:
			return dst, errFieldSize
		default:
			m.state, m.need = binaryValue, n
		}
	case binaryValue:
		at := len(dst)
		dst = append(dst, 0, 0, 0, 0)
		out, null := m.plan.AppendField(dst, m.col, part)
		dst = out
		if null {
			dst = append(dst[:at], 0xff, 0xff, 0xff, 0xff)
		} else {
			binary.BigEndian.PutUint32(dst[at:], uint32(len(dst)-at-4))
		}
		m.col++
		m.nextValue()
	}
	return dst, nil
}

func (m *CopyMasker) nextValue() {
	if m.col < m.count {
		m.state, m.need = binarySize, 4
		return
	}
	m.col = 0
	m.row++
	m.state, m.need = binaryRow, 2
}
