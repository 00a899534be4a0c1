package kubernetes

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"slices"

	"k8s.io/apimachinery/pkg/api/resource"
)

// Bounds of a comparison.
const (
	maxFields   = 200 // messages within messages
	maxNumber   = 1<<29 - 1
	maxQuantity = 64 // bytes of an amount such as 500m
)

// Types of fields in protobuf: https://protobuf.dev/programming-guides/encoding.
const (
	wireVarint = 0
	wire64     = 1
	wireBytes  = 2
	wire32     = 5
)

// field is one field of a message.
type field struct {
	number uint64
	wire   uint8
	n      uint64 // of numbers
	bytes  []byte // of wireBytes
}

// fields splits a message. Ok is false where it is none.
func fields(b []byte) (list []field, ok bool) {
	for len(b) > 0 {
		key, n := binary.Uvarint(b)
		if n <= 0 || key>>3 == 0 || key>>3 > maxNumber {
			return nil, false
		}
		b = b[n:]
		f := field{number: key >> 3, wire: uint8(key & 7)}
		switch f.wire {
		case wireVarint:
			if f.n, n = binary.Uvarint(b); n <= 0 {
				return nil, false
			}
			b = b[n:]
		case wire64:
			if len(b) < 8 {
				return nil, false
			}
			f.n, b = binary.LittleEndian.Uint64(b), b[8:]
		case wire32:
			if len(b) < 4 {
				return nil, false
			}
			f.n, b = uint64(binary.LittleEndian.Uint32(b)), b[4:]
		case wireBytes:
			size, n := binary.Uvarint(b)
			if n <= 0 || size > uint64(len(b)-n) {
				return nil, false
			}
			f.bytes, b = b[n:n+int(size)], b[n+int(size):]
		default: // groups: Kubernetes has none
			return nil, false
		}
		list = append(list, f)
	}
	return list, true
}

// same reports whether a message that was turned there and back still says all
// that it said. The way back may add fields that are empty: those that an older
// server does not have yet. It never drops or changes one.
func same(was, is []byte, depth int) bool {
	if bytes.Equal(was, is) {
		return true
	}
	if depth > maxFields {
		return false
	}
	a, ok := fields(was)
	b, ok2 := fields(is)
	if !ok || !ok2 {
		return false
	}
	byNumber := func(x, y field) int { return int(x.number) - int(y.number) }
	slices.SortStableFunc(a, byNumber)
	slices.SortStableFunc(b, byNumber)
	for len(a) > 0 || len(b) > 0 {
		switch {
		case len(b) > 0 && (len(a) == 0 || b[0].number < a[0].number):
			if !b[0].empty(depth) {
				return false
			}
			b = b[1:]
		case len(b) == 0 || a[0].number < b[0].number || a[0].wire != b[0].wire || a[0].n != b[0].n:
			return false
		default:
			if !sameBytes(a[0].bytes, b[0].bytes, depth) {
				return false
			}
			a, b = a[1:], b[1:]
		}
	}
	return true
}

// sameBytes compares what may be a message, JSON, or an amount.
func sameBytes(was, is []byte, depth int) bool {
	if bytes.Equal(was, is) {
		return true
	}
	if isJSON(was) && isJSON(is) {
		return compact(was) == compact(is)
	}
	if len(was) > 0 && len(was) < maxQuantity && len(is) < maxQuantity {
		a, err := resource.ParseQuantity(string(was))
		b, err2 := resource.ParseQuantity(string(is))
		if err == nil && err2 == nil {
			return a.Cmp(b) == 0
		}
	}
	return same(was, is, depth+1)
}

// empty reports whether a field says nothing.
func (f field) empty(depth int) bool {
	if f.wire != wireBytes || len(f.bytes) == 0 {
		return f.n == 0
	}
	list, ok := fields(f.bytes)
	return ok && depth <= maxFields && !slices.ContainsFunc(list, func(g field) bool { return !g.empty(depth + 1) })
}

// isJSON reports whether bytes are an object or an array.
func isJSON(b []byte) bool {
	b = bytes.TrimSpace(b)
	return len(b) > 1 && (b[0] == '{' || b[0] == '[') && json.Valid(b)
}

// compact is JSON without spaces, and with the escapes that Go writes.
func compact(b []byte) string {
	out, err := json.Marshal(json.RawMessage(b))
	if err != nil {
		return string(b)
	}
	return string(out)
}
