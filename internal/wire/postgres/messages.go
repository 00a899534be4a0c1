package postgres

import (
	"encoding/binary"
	"errors"
	"strconv"
)

var errShort = errors.New("message is shorter than its fields")

// Parse is the message 'P'.
type Parse struct {
	Name string
	SQL  string
	OIDs []uint32
}

// ParseParse parses the body of a Parse message.
func ParseParse(b []byte) (m Parse, err error) {
	var ok bool
	if m.Name, b, ok = cstr(b); !ok {
		return m, errShort
	}
	if m.SQL, b, ok = cstr(b); !ok {
		return m, errShort
	}
	if len(b) < 2 {
		return m, errShort
	}
	n := int(binary.BigEndian.Uint16(b))
	b = b[2:]
	if len(b) != 4*n {
		return m, errShort
	}
	for i := range n {
		m.OIDs = append(m.OIDs, binary.BigEndian.Uint32(b[4*i:]))
	}
	return m, nil
}

// Bind is the message 'B'. Values alias the body; a nil value is NULL.
type Bind struct {
	Portal, Statement string
	Formats           []int16
	Values            [][]byte
	Results           []int16
}

// ParseBind parses the body of a Bind message.
func ParseBind(b []byte) (m Bind, err error) {
	var ok bool
	if m.Portal, b, ok = cstr(b); !ok {
		return m, errShort
	}
	if m.Statement, b, ok = cstr(b); !ok {
		return m, errShort
	}
	if m.Formats, b, err = formats(b); err != nil {
		return m, err
	}
	if len(b) < 2 {
		return m, errShort
	}
	n := int(binary.BigEndian.Uint16(b))
	b = b[2:]
	if len(m.Formats) > 1 && len(m.Formats) != n {
		return m, errors.New("bind: number of parameter formats and parameters differ")
	}
	for range n {
		if len(b) < 4 {
			return m, errShort
		}
		l := int32(binary.BigEndian.Uint32(b))
		b = b[4:]
		if l == -1 {
			m.Values = append(m.Values, nil)
			continue
		}
		if l < 0 || int64(l) > int64(len(b)) {
			return m, errShort
		}
		m.Values = append(m.Values, b[:l:l])
		b = b[l:]
	}
	if m.Results, b, err = formats(b); err != nil {
		return m, err
	}
	if len(b) != 0 {
		return m, errors.New("bind: bytes after the last field")
	}
	return m, nil
}

func formats(b []byte) ([]int16, []byte, error) {
	if len(b) < 2 {
		return nil, nil, errShort
	}
	n := int(binary.BigEndian.Uint16(b))
	b = b[2:]
	if len(b) < 2*n {
		return nil, nil, errShort
	}
	var out []int16
	for i := range n {
		f := int16(binary.BigEndian.Uint16(b[2*i:]))
		if f != 0 && f != 1 {
			return nil, nil, errors.New("format code is neither 0 (text) nor 1 (binary)")
		}
		out = append(out, f)
	}
	return out, b[2*n:], nil
}

// Format gives the format of column or parameter i by the protocol's rule:
// none means text, one means all, otherwise one each.
func Format(f []int16, i int) int16 {
	switch {
	case len(f) == 0:
		return 0
	case len(f) == 1:
		return f[0]
	case i < len(f):
		return f[i]
	}
	return 0
}

// ParseExecute parses the body of an Execute message.
func ParseExecute(b []byte) (portal string, limit int32, err error) {
	portal, b, ok := cstr(b)
	if !ok || len(b) != 4 {
		return "", 0, errShort
	}
	return portal, int32(binary.BigEndian.Uint32(b)), nil
}

// ParseNamed parses the body of a Describe or a Close message: kind is 'S' or 'P'.
func ParseNamed(b []byte) (kind byte, name string, err error) {
	if len(b) < 2 {
		return 0, "", errShort
	}
	kind = b[0]
	if kind != 'S' && kind != 'P' {
		return 0, "", errors.New("neither a statement nor a portal")
	}
	name, b, ok := cstr(b[1:])
	if !ok || len(b) != 0 {
		return 0, "", errShort
	}
	return kind, name, nil
}

// ParseText parses a body that is one zero-terminated string (Query, Password,
// CopyFail, CommandComplete).
func ParseText(b []byte) (string, error) {
	s, rest, ok := cstr(b)
	if !ok || len(rest) != 0 {
		return "", errShort
	}
	return s, nil
}

// Field is one column of a RowDescription.
type Field struct {
	Name   string
	Table  uint32
	Attr   int16
	OID    uint32
	Format int16
}

// ParseRowDescription parses the body of a RowDescription.
func ParseRowDescription(b []byte) ([]Field, error) {
	if len(b) < 2 {
		return nil, errShort
	}
	n := int(binary.BigEndian.Uint16(b))
	b = b[2:]
	if len(b) < 19*n {
		return nil, errShort
	}
	out := make([]Field, 0, n)
	for range n {
		name, rest, ok := cstr(b)
		if !ok || len(rest) < 18 {
			return nil, errShort
		}
		out = append(out, Field{
			Name: name, Table: binary.BigEndian.Uint32(rest), Attr: int16(binary.BigEndian.Uint16(rest[4:])),
			OID: binary.BigEndian.Uint32(rest[6:]), Format: int16(binary.BigEndian.Uint16(rest[16:])),
		})
		b = rest[18:]
	}
	if len(b) != 0 {
		return nil, errShort
	}
	return out, nil
}

// RowMasker rewrites one field. null means that the field becomes NULL.
type RowMasker interface {
	AppendField(dst []byte, col int, v []byte) (out []byte, null bool)
	Passes(col int) bool
}

// AppendRow appends the DataRow frame with its fields rewritten by m, where m
// does not let them pass. A frame whose fields do not add up is an error, and
// so is one that has another number of columns than cols (when cols >= 0).
func AppendRow(dst, frame []byte, cols int, m RowMasker) ([]byte, error) {
	b := Body(frame)
	if len(b) < 2 {
		return dst, errShort
	}
	n := int(binary.BigEndian.Uint16(b))
	if cols >= 0 && n != cols {
		return dst, errors.New("row has another number of columns than was described")
	}
	dst, at := begin(dst, 'D')
	dst = append(dst, b[0], b[1])
	b = b[2:]
	for i := range n {
		if len(b) < 4 {
			return dst, errShort
		}
		l := int32(binary.BigEndian.Uint32(b))
		if l == -1 {
			dst = append(dst, b[:4]...)
			b = b[4:]
			continue
		}
		if l < 0 || int64(l) > int64(len(b)-4) {
			return dst, errShort
		}
		if m.Passes(i) {
			dst = append(dst, b[:4+l]...)
			b = b[4+l:]
			continue
		}
		mark := len(dst)
		dst = append(dst, 0, 0, 0, 0)
		out, null := m.AppendField(dst, i, b[4:4+l])
		if null {
			dst = append(out[:mark], 0xff, 0xff, 0xff, 0xff)
		} else {
			dst = out
			binary.BigEndian.PutUint32(dst[mark:], uint32(len(dst)-mark-4))
		}
		b = b[4+l:]
	}
	if len(b) != 0 {
		return dst, errShort
	}
	return end(dst, at), nil
}

// Notice is an ErrorResponse or a NoticeResponse.
type Notice struct {
	Severity, Code, Message, Detail, Hint, Where string
}

// ParseNotice parses the body of an ErrorResponse or NoticeResponse; other
// fields (file, line, internal query, ...) are dropped.
func ParseNotice(b []byte) (n Notice, err error) {
	for len(b) > 0 && b[0] != 0 {
		k := b[0]
		v, rest, ok := cstr(b[1:])
		if !ok {
			return n, errShort
		}
		switch k {
		case 'V':
			n.Severity = v
		case 'S':
			if n.Severity == "" {
				n.Severity = v
			}
		case 'C':
			n.Code = v
		case 'M':
			n.Message = v
		case 'D':
			n.Detail = v
		case 'H':
			n.Hint = v
		case 'W':
			n.Where = v
		}
		b = rest
	}
	if len(b) != 1 {
		return n, errShort
	}
	return n, nil
}

// AppendNotice appends an ErrorResponse (typ 'E') or a NoticeResponse ('N').
func AppendNotice(dst []byte, typ byte, n Notice) []byte {
	dst, at := begin(dst, typ)
	put := func(k byte, v string) {
		if v == "" {
			return
		}
		dst = append(dst, k)
		for i := range len(v) {
			if v[i] != 0 {
				dst = append(dst, v[i])
			}
		}
		dst = append(dst, 0)
	}
	put('S', n.Severity)
	put('V', n.Severity)
	put('C', n.Code)
	put('M', n.Message)
	put('D', n.Detail)
	put('H', n.Hint)
	dst = append(dst, 0)
	return end(dst, at)
}

// AppendReady appends ReadyForQuery with the transaction status 'I', 'T' or 'E'.
func AppendReady(dst []byte, status byte) []byte {
	dst, at := begin(dst, 'Z')
	dst = append(dst, status)
	return end(dst, at)
}

// AppendParameterStatus appends a ParameterStatus.
func AppendParameterStatus(dst []byte, k, v string) []byte {
	dst, at := begin(dst, 'S')
	dst = append(append(append(append(dst, k...), 0), v...), 0)
	return end(dst, at)
}

// ParseParameterStatus parses the body of a ParameterStatus.
func ParseParameterStatus(b []byte) (k, v string, err error) {
	k, b, ok := cstr(b)
	if !ok {
		return "", "", errShort
	}
	v, b, ok = cstr(b)
	if !ok || len(b) != 0 {
		return "", "", errShort
	}
	return k, v, nil
}

// AppendAuth appends an authentication request: 0 is ok, 3 asks for the
// cleartext password.
func AppendAuth(dst []byte, code uint32) []byte {
	dst, at := begin(dst, 'R')
	dst = binary.BigEndian.AppendUint32(dst, code)
	return end(dst, at)
}

// AppendKey appends BackendKeyData.
func AppendKey(dst []byte, pid uint32, secret []byte) []byte {
	dst, at := begin(dst, 'K')
	dst = binary.BigEndian.AppendUint32(dst, pid)
	dst = append(dst, secret...)
	return end(dst, at)
}

// AppendNegotiate appends NegotiateProtocolVersion: the newest minor version
// spoken here, and the protocol options that are not known.
func AppendNegotiate(dst []byte, code uint32, unknown []string) []byte {
	dst, at := begin(dst, 'v')
	dst = binary.BigEndian.AppendUint32(dst, code)
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(unknown)))
	for _, u := range unknown {
		dst = append(append(dst, u...), 0)
	}
	return end(dst, at)
}

// AppendQuery appends a Query.
func AppendQuery(dst []byte, sql string) []byte {
	dst, at := begin(dst, 'Q')
	dst = append(append(dst, sql...), 0)
	return end(dst, at)
}

// AppendParse appends a Parse without parameters.
func AppendParse(dst []byte, name, sql string) []byte {
	dst, at := begin(dst, 'P')
	dst = append(append(append(append(dst, name...), 0), sql...), 0, 0, 0)
	return end(dst, at)
}

// AppendBind appends a Bind without parameters, for results as text.
func AppendBind(dst []byte, portal, statement string) []byte {
	dst, at := begin(dst, 'B')
	dst = append(append(append(append(dst, portal...), 0), statement...), 0)
	dst = append(dst, 0, 0, 0, 0, 0, 0)
	return end(dst, at)
}

// AppendExecute appends an Execute for all rows.
func AppendExecute(dst []byte, portal string) []byte {
	dst, at := begin(dst, 'E')
	dst = append(append(dst, portal...), 0, 0, 0, 0, 0)
	return end(dst, at)
}

// AppendNamed appends a Describe (typ 'D') or a Close ('C') of a statement
// (kind 'S') or a portal ('P').
func AppendNamed(dst []byte, typ, kind byte, name string) []byte {
	dst, at := begin(dst, typ)
	dst = append(dst, kind)
	dst = append(append(dst, name...), 0)
	return end(dst, at)
}

// AppendNotification appends a NotificationResponse.
func AppendNotification(dst []byte, pid uint32, channel, payload string) []byte {
	dst, at := begin(dst, 'A')
	dst = binary.BigEndian.AppendUint32(dst, pid)
	dst = append(append(append(append(dst, channel...), 0), payload...), 0)
	return end(dst, at)
}

// ParseNotification parses the body of a NotificationResponse.
func ParseNotification(b []byte) (channel, payload string, err error) {
	if len(b) < 4 {
		return "", "", errShort
	}
	channel, b, ok := cstr(b[4:])
	if !ok {
		return "", "", errShort
	}
	payload, b, ok = cstr(b)
	if !ok || len(b) != 0 {
		return "", "", errShort
	}
	return channel, payload, nil
}

// TagRows takes the number of rows from a command tag such as "UPDATE 3",
// "INSERT 0 1" or "SELECT 5"; writes tells whether it counts changed rows.
func TagRows(tag []byte) (rows int64, writes bool) {
	i := len(tag)
	for i > 0 && tag[i-1] >= '0' && tag[i-1] <= '9' {
		i--
	}
	if i == len(tag) || i == 0 || tag[i-1] != ' ' {
		return 0, false
	}
	n, err := strconv.ParseInt(string(tag[i:]), 10, 64)
	if err != nil {
		return 0, false
	}
	switch {
	case len(tag) > 6 && (string(tag[:6]) == "UPDATE" || string(tag[:6]) == "DELETE" || string(tag[:6]) == "INSERT"):
		return n, true
	case len(tag) > 5 && string(tag[:5]) == "MERGE":
		return n, true
	case len(tag) > 4 && string(tag[:4]) == "COPY":
		return n, true
	}
	return n, false
}
