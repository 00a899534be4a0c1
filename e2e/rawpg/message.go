package rawpg

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
)

// Msg frames a frontend message.
func Msg(t byte, body []byte) []byte {
	b := binary.BigEndian.AppendUint32([]byte{t}, uint32(len(body)+4))
	return append(b, body...)
}

// StartupPacket frames a startup packet.
func StartupPacket(version uint32, pairs [][2]string) []byte {
	b := binary.BigEndian.AppendUint32(nil, version)
	for _, p := range pairs {
		b = append(append(b, p[0]...), 0)
		b = append(append(b, p[1]...), 0)
	}
	b = append(b, 0)
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(b)+4)), b...)
}

// Parse is the body of a Parse message.
func Parse(name string, sql []byte, oids []uint32) []byte {
	b := append([]byte(name), 0)
	b = append(append(b, sql...), 0)
	b = binary.BigEndian.AppendUint16(b, uint16(len(oids)))
	for _, o := range oids {
		b = binary.BigEndian.AppendUint32(b, o)
	}
	return b
}

// Bind is the body of a Bind message; a nil parameter is NULL.
func Bind(portal, stmt string, formats []int16, params [][]byte, results []int16) []byte {
	b := append([]byte(portal), 0)
	b = append(append(b, stmt...), 0)
	b = appendFormats(b, formats)
	b = binary.BigEndian.AppendUint16(b, uint16(len(params)))
	for _, p := range params {
		if p == nil {
			b = binary.BigEndian.AppendUint32(b, 0xffffffff)
			continue
		}
		b = binary.BigEndian.AppendUint32(b, uint32(len(p)))
		b = append(b, p...)
	}
	return appendFormats(b, results)
}

func appendFormats(b []byte, formats []int16) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(len(formats)))
	for _, f := range formats {
		b = binary.BigEndian.AppendUint16(b, uint16(f))
	}
	return b
}

// Execute is the body of an Execute message.
func Execute(portal string, max uint32) []byte {
	return binary.BigEndian.AppendUint32(append([]byte(portal), 0), max)
}

// FunctionCall is the body of a FunctionCall message.
func FunctionCall(oid uint32, formats []int16, args [][]byte, result int16) []byte {
	b := binary.BigEndian.AppendUint32(nil, oid)
	b = appendFormats(b, formats)
	b = binary.BigEndian.AppendUint16(b, uint16(len(args)))
	for _, a := range args {
		b = binary.BigEndian.AppendUint32(b, uint32(len(a)))
		b = append(b, a...)
	}
	return binary.BigEndian.AppendUint16(b, uint16(result))
}

// Error is an ErrorResponse or NoticeResponse by field.
type Error map[byte]string

// String is the code and the message, with detail and hint.
func (e Error) String() string {
	s := e['C'] + " " + e['M']
	for _, f := range []byte{'D', 'H'} {
		if e[f] != "" {
			s += " | " + e[f]
		}
	}
	return s
}

// Column is one column of a RowDescription.
type Column struct {
	Name   string
	Table  uint32
	Number int16
	Type   uint32
	Format int16
}

// Result is what a client saw.
type Result struct {
	Rows    [][][]byte
	Errors  []Error
	Notices []Error
	Columns [][]Column
	Tags    []string
	Bytes   []byte // bodies of all messages, one after the other, each followed by a newline
	Data    []byte // the values of the rows
	Other   []byte // bodies of all but errors and rows
}

// Result reads what the connection kept.
func (c *Conn) Result() *Result { return Read(c.Messages, c.Raw) }

// Read makes a Result of messages.
func Read(messages []Message, raw []byte) *Result {
	r := &Result{Bytes: bytes.Clone(raw)}
	for _, m := range messages {
		r.Bytes = append(append(r.Bytes, m.Body...), '\n')
		if m.Type != 'E' && m.Type != 'D' {
			r.Other = append(append(r.Other, m.Body...), '\n')
		}
		switch m.Type {
		case 'D':
			row := Row(m.Body)
			r.Rows = append(r.Rows, row)
			r.Data = append(append(r.Data, bytes.Join(row, []byte("|"))...), '\n')
		case 'E':
			r.Errors = append(r.Errors, parseError(m.Body))
		case 'N':
			r.Notices = append(r.Notices, parseError(m.Body))
		case 'T':
			r.Columns = append(r.Columns, RowDescription(m.Body))
		case 'C':
			r.Tags = append(r.Tags, strings.TrimRight(string(m.Body), "\x00"))
		}
	}
	return r
}

// FirstError is the first error as text, or "".
func (r *Result) FirstError() string {
	if len(r.Errors) == 0 {
		return ""
	}
	return r.Errors[0].String()
}

// Value is the first column of the first row as text, or the error.
func (r *Result) Value() string {
	switch {
	case len(r.Rows) > 0 && len(r.Rows[0]) > 0:
		return string(r.Rows[0][0])
	case len(r.Errors) > 0:
		return "ERR " + r.Errors[0]['M']
	}
	return ""
}

func parseError(b []byte) Error {
	e := Error{}
	for _, f := range bytes.Split(b, []byte{0}) {
		if len(f) > 0 {
			e[f[0]] = string(f[1:])
		}
	}
	return e
}

// Row splits a DataRow; a NULL is nil.
func Row(b []byte) [][]byte {
	if len(b) < 2 {
		return nil
	}
	n := int(binary.BigEndian.Uint16(b))
	b = b[2:]
	var out [][]byte
	for range n {
		if len(b) < 4 {
			return out
		}
		l := int32(binary.BigEndian.Uint32(b))
		b = b[4:]
		if l < 0 {
			out = append(out, nil)
			continue
		}
		if int(l) > len(b) {
			return out
		}
		out = append(out, b[:l:l])
		b = b[l:]
	}
	return out
}

// RowDescription reads a RowDescription's body.
func RowDescription(b []byte) []Column {
	if len(b) < 2 {
		return nil
	}
	n := int(binary.BigEndian.Uint16(b))
	b = b[2:]
	var out []Column
	for range n {
		i := bytes.IndexByte(b, 0)
		if i < 0 || len(b) < i+19 {
			return out
		}
		name := string(b[:i])
		b = b[i+1:]
		out = append(out, Column{name, binary.BigEndian.Uint32(b), int16(binary.BigEndian.Uint16(b[4:])), binary.BigEndian.Uint32(b[6:]), int16(binary.BigEndian.Uint16(b[16:]))})
		b = b[18:]
	}
	return out
}

func fields(b []byte, n int) []string {
	var out []string
	for _, f := range bytes.SplitN(b, []byte{0}, n+1) {
		if len(out) < n {
			out = append(out, string(f))
		}
	}
	return out
}

// Describe explains an unexpected set of messages, for test output.
func (r *Result) Describe() string {
	var s []string
	for _, e := range r.Errors {
		s = append(s, e.String())
	}
	return fmt.Sprintf("%d rows, tags %q, errors %q", len(r.Rows), r.Tags, s)
}
