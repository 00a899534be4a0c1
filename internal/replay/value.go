package replay

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math"
	"strconv"
	"time"
	"unicode/utf8"
)

// field is a column of a result.
type field struct {
	name   string
	oid    uint32
	binary bool
	guess  bool // the format is not known
}

// parseFields reads a RowDescription.
func parseFields(b []byte) []field {
	fields := []field{}
	if len(b) < 2 {
		return fields
	}
	n := int(b[0])<<8 | int(b[1])
	b = b[2:]
	for range n {
		end := bytes.IndexByte(b, 0)
		if end < 0 || len(b) < end+19 {
			break
		}
		name, _ := text(b[:end], 256)
		rest := b[end+1:]
		fields = append(fields, field{
			name:   name,
			oid:    binary.BigEndian.Uint32(rest[6:]),
			binary: binary.BigEndian.Uint16(rest[16:]) == 1,
		})
		b = rest[18:]
	}
	return fields
}

// Type OIDs whose binary form is shown as a value.
const (
	oidBool, oidBytea, oidChar, oidInt8, oidInt2, oidInt4 = 16, 17, 18, 20, 21, 23
	oidOID, oidFloat4, oidFloat8                          = 26, 700, 701
	oidDate, oidTime, oidTimestamp, oidTimestamptz        = 1082, 1083, 1114, 1184
	oidUUID, oidJSONB, oidNumeric                         = 2950, 3802, 1700
)

var textual = map[uint32]bool{25: true, 1043: true, 1042: true, 19: true, 114: true, 142: true, 705: true, 2275: true}

// show renders a value. What has no sensible text is shown in hex.
func (f field) show(v []byte, limit int) (string, bool) {
	if f.guess && f.oid == 0 {
		// Nothing is known of it.
		if printable(v) {
			return text(v, limit)
		}
		return hexValue(v, limit)
	}
	if f.guess {
		f.binary = !f.looksTextual(v)
	}
	if !f.binary || textual[f.oid] {
		return text(v, limit)
	}
	if s, ok := f.decode(v); ok {
		return s, false
	}
	if f.oid == oidJSONB && len(v) > 0 && v[0] == 1 {
		return text(v[1:], limit)
	}
	if f.oid != oidBytea && printable(v) {
		return text(v, limit)
	}
	return hexValue(v, limit)
}

func hexValue(v []byte, limit int) (string, bool) {
	cut := len(v) > limit/2
	if cut {
		v = v[:limit/2]
	}
	return `\x` + hex.EncodeToString(v), cut
}

func printable(v []byte) bool {
	if !utf8.Valid(v) {
		return false
	}
	for _, c := range v {
		if c < 0x20 && c != '\n' && c != '\t' && c != '\r' {
			return false
		}
	}
	return true
}

// looksTextual guesses the format of a value of a known type: the text forms
// of the types below are made of these bytes only.
func (f field) looksTextual(v []byte) bool {
	var set string
	switch f.oid {
	case oidBool:
		return len(v) == 1 && (v[0] == 't' || v[0] == 'f')
	case oidInt2, oidInt4, oidInt8, oidOID:
		set = "-0123456789"
	case oidFloat4, oidFloat8, oidNumeric:
		set = "-+.eE0123456789NaInfity"
	case oidUUID:
		return len(v) == 36
	case oidDate, oidTime, oidTimestamp, oidTimestamptz:
		set = "-+:. 0123456789infityBC"
	default:
		return printable(v)
	}
	for _, c := range v {
		if bytes.IndexByte([]byte(set), c) < 0 {
			return false
		}
	}
	return true
}

// decode reads the binary forms that have a fixed size, and numeric.
func (f field) decode(v []byte) (string, bool) {
	switch {
	case f.oid == oidBool && len(v) == 1:
		if v[0] != 0 {
			return "t", true
		}
		return "f", true
	case f.oid == oidInt2 && len(v) == 2:
		return strconv.Itoa(int(int16(binary.BigEndian.Uint16(v)))), true
	case f.oid == oidInt4 && len(v) == 4:
		return strconv.Itoa(int(int32(binary.BigEndian.Uint32(v)))), true
	case f.oid == oidInt8 && len(v) == 8:
		return strconv.FormatInt(int64(binary.BigEndian.Uint64(v)), 10), true
	case f.oid == oidOID && len(v) == 4:
		return strconv.FormatUint(uint64(binary.BigEndian.Uint32(v)), 10), true
	case f.oid == oidFloat4 && len(v) == 4:
		return strconv.FormatFloat(float64(math.Float32frombits(binary.BigEndian.Uint32(v))), 'g', -1, 32), true
	case f.oid == oidFloat8 && len(v) == 8:
		return strconv.FormatFloat(math.Float64frombits(binary.BigEndian.Uint64(v)), 'g', -1, 64), true
	case f.oid == oidUUID && len(v) == 16:
		return fmt.Sprintf("%x-%x-%x-%x-%x", v[:4], v[4:6], v[6:8], v[8:10], v[10:]), true
	case f.oid == oidDate && len(v) == 4:
		return date(int32(binary.BigEndian.Uint32(v)))
	case (f.oid == oidTimestamp || f.oid == oidTimestamptz) && len(v) == 8:
		return timestamp(int64(binary.BigEndian.Uint64(v)), f.oid == oidTimestamptz)
	case f.oid == oidTime && len(v) == 8:
		us := int64(binary.BigEndian.Uint64(v))
		if us < 0 || us > 24*3600*1e6 {
			return "", false
		}
		return fmt.Sprintf("%02d:%02d:%02d.%06d", us/3600e6, us/60e6%60, us/1e6%60, us%1e6), true
	case f.oid == oidNumeric:
		return numeric(v)
	}
	return "", false
}

// epoch is where Postgres counts time from.
var epoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

func date(days int32) (string, bool) {
	switch days {
	case math.MaxInt32:
		return "infinity", true
	case math.MinInt32:
		return "-infinity", true
	}
	return epoch.AddDate(0, 0, int(days)).Format("2006-01-02"), true
}

func timestamp(us int64, zone bool) (string, bool) {
	switch us {
	case math.MaxInt64:
		return "infinity", true
	case math.MinInt64:
		return "-infinity", true
	}
	t := time.Unix(epoch.Unix()+us/1e6, us%1e6*1000).UTC()
	if zone {
		return t.Format("2006-01-02 15:04:05.999999+00"), true
	}
	return t.Format("2006-01-02 15:04:05.999999"), true
}

// numeric reads the binary form of numeric: digits to the base of 10,000.
func numeric(v []byte) (string, bool) {
	if len(v) < 8 {
		return "", false
	}
	digits := int(binary.BigEndian.Uint16(v))
	weight := int(int16(binary.BigEndian.Uint16(v[2:])))
	sign := binary.BigEndian.Uint16(v[4:])
	scale := int(binary.BigEndian.Uint16(v[6:]))
	switch sign {
	case 0xc000:
		return "NaN", true
	case 0xd000:
		return "Infinity", true
	case 0xf000:
		return "-Infinity", true
	}
	v = v[8:]
	if len(v) != 2*digits || scale > 1000 || weight > 250 || weight < -250 || digits > 500 {
		return "", false
	}
	digit := func(i int) int {
		if i < 0 || i >= digits {
			return 0
		}
		return int(binary.BigEndian.Uint16(v[2*i:]))
	}
	var b []byte
	if sign == 0x4000 {
		b = append(b, '-')
	}
	if weight < 0 {
		b = append(b, '0')
	}
	for i := 0; i <= weight; i++ {
		if i == 0 {
			b = strconv.AppendInt(b, int64(digit(0)), 10)
		} else {
			b = fmt.Appendf(b, "%04d", digit(i))
		}
	}
	if scale > 0 {
		b = append(b, '.')
		var frac []byte
		for i := weight + 1; len(frac) < scale; i++ {
			frac = fmt.Appendf(frac, "%04d", digit(i))
		}
		b = append(b, frac[:scale]...)
	}
	return string(b), true
}
