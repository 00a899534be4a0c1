package mask

import (
	"encoding/binary"
	"math"
	"net/netip"
	"strconv"
)

// appendScalar appends the masked form of a value of one type, in the format
// that the value has. Null is true where the type has no masked form.
func (p *Plan) appendScalar(dst []byte, c class, bin bool, t transform, v []byte) ([]byte, bool) {
	if t.op == opNull {
		return dst, true
	}
	switch c {
	case classText:
		return t.appendText(dst, v, noKind), false
	case classInt2:
		return appendIntField(dst, bin, 2, t, v)
	case classInt4:
		return appendIntField(dst, bin, 4, t, v)
	case classInt8:
		return appendIntField(dst, bin, 8, t, v)
	case classFloat4:
		return appendFloatField(dst, bin, 4, t, v)
	case classFloat8:
		return appendFloatField(dst, bin, 8, t, v)
	case classNumeric:
		return p.appendNumeric(dst, bin, t, v)
	case classDate:
		return appendDateField(dst, bin, t, v)
	case classTimestamp, classTimestamptz:
		return appendStampField(dst, bin, c == classTimestamptz, t, v)
	case classTime:
		return appendTimeField(dst, bin, t, v)
	case classUUID:
		return appendUUID(dst, bin, t, v)
	case classInet, classCIDR:
		return appendInet(dst, bin, c == classCIDR, t, v)
	case classJSON, classJSONB:
		if bin && c == classJSONB {
			if len(v) == 0 || v[0] != 1 {
				return dst, true
			}
			dst, v = append(dst, 1), v[1:]
		}
		dst = append(dst, '"')
		if t.op == opHash || t.op == opPseudonym {
			dst = t.appendText(dst, v, noKind)
		} else {
			dst = append(dst, redactedText...)
		}
		return append(dst, '"'), false
	case classBytea:
		var sum []byte
		if t.op.keyed() {
			if !bin {
				var ok bool
				if p.buf, ok = unhexBytea(p.buf[:0], v); !ok {
					return dst, true
				}
				v = p.buf
			}
			sum = t.key.digest(v)[:16]
		}
		if bin {
			return append(dst, sum...), false
		}
		return appendHex(append(dst, `\x`...), sum), false
	}
	return dst, true
}

// appendIntField masks int2, int4 and int8. Redacted is zero.
func appendIntField(dst []byte, bin bool, size int, t transform, v []byte) ([]byte, bool) {
	n, ok := int64(0), false
	switch {
	case !bin:
		n, ok = parseInt(v)
	case len(v) != size:
	case size == 2:
		n, ok = int64(int16(binary.BigEndian.Uint16(v))), true
	case size == 4:
		n, ok = int64(int32(binary.BigEndian.Uint32(v))), true
	default:
		n, ok = int64(binary.BigEndian.Uint64(v)), true
	}
	if !ok {
		return dst, true
	}
	m := int64(0)
	switch t.op {
	case opGeneralise:
		m = coarseInt(n)
	case opPartial:
		m = lastFour(n)
	case opHash, opPseudonym:
		m = int64(t.key.numberOf(uint64(n)) & (1<<(size*8-1) - 1))
		if m == n {
			m ^= 1
		}
	}
	if !bin {
		return appendInt(dst, m), false
	}
	switch size {
	case 2:
		return binary.BigEndian.AppendUint16(dst, uint16(m)), false
	case 4:
		return binary.BigEndian.AppendUint32(dst, uint32(m)), false
	}
	return binary.BigEndian.AppendUint64(dst, uint64(m)), false
}

// coarseInt keeps the first digit, if it is not the only one.
func coarseInt(n int64) int64 {
	p := int64(1)
	for q := n / 10; q != 0; q /= 10 {
		p *= 10
	}
	if p == 1 {
		return 0
	}
	return n / p * p
}

// lastFour keeps the last four of at least twelve digits.
func lastFour(n int64) int64 {
	if n > -100_000_000_000 && n < 100_000_000_000 {
		return 0
	}
	if n %= 10000; n < 0 {
		return -n
	}
	return n
}

// parseInt reads a decimal number that fills v.
func parseInt(v []byte) (int64, bool) {
	if len(v) == 0 || len(v) > 20 {
		return 0, false
	}
	neg := v[0] == '-'
	if neg || v[0] == '+' {
		v = v[1:]
	}
	if len(v) == 0 || !allDigits(v) {
		return 0, false
	}
	n := uint64(0)
	for _, b := range v {
		if n > (math.MaxUint64-9)/10 {
			return 0, false
		}
		n = n*10 + uint64(b-'0')
	}
	if neg {
		if n > 1<<63 {
			return 0, false
		}
		return -int64(n), true
	}
	if n > math.MaxInt64 {
		return 0, false
	}
	return int64(n), true
}

func appendInt(dst []byte, n int64) []byte { return strconv.AppendInt(dst, n, 10) }

// appendFloatField masks float4 and float8.
func appendFloatField(dst []byte, bin bool, size int, t transform, v []byte) ([]byte, bool) {
	f := 0.0
	switch {
	case bin && len(v) != size:
		return dst, true
	case bin && size == 4:
		f = float64(math.Float32frombits(binary.BigEndian.Uint32(v)))
	case bin:
		f = math.Float64frombits(binary.BigEndian.Uint64(v))
	case t.op == opGeneralise || t.op.keyed():
		var ok bool
		if f, ok = parseFloat(v, size*8); !ok {
			return dst, true
		}
	}
	m := 0.0
	switch t.op {
	case opGeneralise:
		if f > -1e15 && f < 1e15 { // false for NaN
			m = float64(coarseInt(int64(f)))
		}
	case opHash, opPseudonym:
		m = float64(t.key.numberOf(math.Float64bits(f)) % 1_000_000)
		if m == f {
			m++
		}
	}
	if !bin {
		return strconv.AppendFloat(dst, m, 'f', -1, size*8), false
	}
	if size == 4 {
		return binary.BigEndian.AppendUint32(dst, math.Float32bits(float32(m))), false
	}
	return binary.BigEndian.AppendUint64(dst, math.Float64bits(m)), false
}

func parseFloat(v []byte, bits int) (float64, bool) {
	if len(v) == 0 || len(v) > 400 {
		return 0, false
	}
	f, err := strconv.ParseFloat(string(v), bits)
	return f, err == nil
}

// appendDateField masks a date: redacted is 1900-01-01.
func appendDateField(dst []byte, bin bool, t transform, v []byte) ([]byte, bool) {
	days, known := 0, false
	if bin {
		if len(v) != 4 {
			return dst, true
		}
		n := int32(binary.BigEndian.Uint32(v))
		days, known = int(n), n != math.MaxInt32 && n != math.MinInt32
	} else {
		var n int
		days, n, known = parseDate(v)
		known = known && (n == len(v) || string(v[n:]) == " BC")
	}
	m := daysOf(redactedYear, 1, 1)
	switch {
	case t.op == opGeneralise && known:
		m = daysOf(yearOfDays(days), 1, 1)
	case t.op.keyed() && known:
		m = pseudoDate(t.key.numberOf(uint64(days)))
		if m == days {
			m++
		}
	case t.op.keyed():
		m = pseudoDate(t.key.number(v))
	}
	if bin {
		return binary.BigEndian.AppendUint32(dst, uint32(int32(m))), false
	}
	return appendDate(dst, m), false
}

// appendStampField masks a timestamp, with or without zone.
func appendStampField(dst []byte, bin, zone bool, t transform, v []byte) ([]byte, bool) {
	micros, known := int64(0), false
	if bin {
		if len(v) != 8 {
			return dst, true
		}
		micros = int64(binary.BigEndian.Uint64(v))
		known = micros != math.MaxInt64 && micros != math.MinInt64
	} else {
		micros, known = parseStamp(v)
	}
	m := int64(daysOf(redactedYear, 1, 1)) * dayMicros
	switch {
	case t.op == opGeneralise && known:
		days := micros / dayMicros
		if micros%dayMicros < 0 {
			days--
		}
		m = int64(daysOf(yearOfDays(int(days)), 1, 1)) * dayMicros
	case t.op.keyed() && known:
		m = int64(pseudoDate(t.key.numberOf(uint64(micros)))) * dayMicros
		if m == micros {
			m += dayMicros
		}
	case t.op.keyed():
		m = int64(pseudoDate(t.key.number(v))) * dayMicros
	}
	if bin {
		return binary.BigEndian.AppendUint64(dst, uint64(m)), false
	}
	return appendStamp(dst, m, zone), false
}

// appendTimeField masks a time of day.
func appendTimeField(dst []byte, bin bool, t transform, v []byte) ([]byte, bool) {
	micros, known := int64(0), false
	if bin {
		if len(v) != 8 {
			return dst, true
		}
		micros = int64(binary.BigEndian.Uint64(v))
		known = micros >= 0 && micros <= dayMicros
	} else {
		micros, _, known = parseClock(v)
	}
	m := int64(0)
	switch {
	case t.op == opGeneralise && known:
		m = micros / hourMicros * hourMicros
	case t.op.keyed():
		m = int64(t.key.numberOf(uint64(micros))%86400) * 1_000_000
		if m == micros {
			m = (m + 1_000_000) % dayMicros
		}
	}
	if bin {
		return binary.BigEndian.AppendUint64(dst, uint64(m)), false
	}
	return appendClock(dst, m), false
}

// appendUUID masks a uuid: redacted is the nil uuid, keyed ones are version 8.
func appendUUID(dst []byte, bin bool, t transform, v []byte) ([]byte, bool) {
	var u [16]byte
	ok := bin && len(v) == 16
	if ok {
		copy(u[:], v)
	} else if !bin {
		u, ok = parseUUID(v)
	}
	if !ok {
		return dst, true
	}
	var m [16]byte
	if t.op.keyed() {
		copy(t.key.buf[:], u[:])
		copy(m[:], t.key.digest(t.key.buf[:16]))
		m[6] = m[6]&0x0f | 0x80
		m[8] = m[8]&0x3f | 0x80
	}
	if bin {
		return append(dst, m[:]...), false
	}
	for i, n := range [...]int{0, 4, 6, 8, 10} {
		if i > 0 {
			dst = append(dst, '-')
		}
		end := [...]int{4, 6, 8, 10, 16}[i]
		dst = appendHex(dst, m[n:end])
	}
	return dst, false
}

func parseUUID(v []byte) (u [16]byte, ok bool) {
	n := 0
	for _, b := range v {
		switch {
		case b == '-' || b == '{' || b == '}':
		case !isHex(b) || n >= 32:
			return u, false
		default:
			u[n/2] = u[n/2]<<4 | hexValue(b)
			n++
		}
	}
	return u, n == 32
}

// Address families in the binary form of inet and cidr.
const (
	familyV4 = 2
	familyV6 = 3
)

// appendInet masks inet and cidr: redacted is 0.0.0.0 or ::.
func appendInet(dst []byte, bin, cidr bool, t transform, v []byte) ([]byte, bool) {
	a, bits, ok := readInet(bin, v)
	if !ok {
		return dst, true
	}
	m, mbits := netip.IPv4Unspecified(), 32
	if a.Is6() {
		m, mbits = netip.IPv6Unspecified(), 128
	}
	switch t.op {
	case opGeneralise:
		m, mbits = coarse(a, bits)
	case opHash, opPseudonym:
		b := a.As16()
		copy(t.key.buf[:], b[:])
		t.key.buf[16] = byte(bits)
		m = pseudoAddr(t.key.digest(t.key.buf[:17]), a.Is6())
		if m == a {
			m = m.Next()
		}
	}
	if !bin {
		if mbits == m.BitLen() && !cidr {
			return m.AppendTo(dst), false
		}
		return appendPrefix(dst, m, mbits), false
	}
	flag := byte(0)
	if cidr {
		flag = 1
	}
	if m.Is4() {
		b := m.As4()
		dst = append(dst, familyV4, byte(mbits), flag, 4)
		return append(dst, b[:]...), false
	}
	b := m.As16()
	dst = append(dst, familyV6, byte(mbits), flag, 16)
	return append(dst, b[:]...), false
}

// readInet reads inet or cidr.
func readInet(bin bool, v []byte) (a netip.Addr, bits int, ok bool) {
	if bin {
		switch {
		case len(v) == 8 && v[0] == familyV4 && v[3] == 4:
			return netip.AddrFrom4([4]byte(v[4:8])), int(v[1]), v[1] <= 32
		case len(v) == 20 && v[0] == familyV6 && v[3] == 16:
			return netip.AddrFrom16([16]byte(v[4:20])), int(v[1]), v[1] <= 128
		}
		return a, 0, false
	}
	addr := v
	bits = -1
	if i := indexByte(v, '/'); i >= 0 {
		n, ok := parseInt(v[i+1:])
		if !ok || n < 0 || n > 128 {
			return a, 0, false
		}
		addr, bits = v[:i], int(n)
	}
	a, ok = parseAddr(addr)
	if !ok {
		return a, 0, false
	}
	if bits < 0 {
		bits = a.BitLen()
	}
	return a, bits, bits <= a.BitLen()
}

// coarse gives the network of an address: /24 or /48, or the address's own
// network where that is larger.
func coarse(a netip.Addr, bits int) (netip.Addr, int) {
	most := 24
	if a.Is6() {
		most = 48
	}
	bits = min(bits, most)
	p, err := a.Prefix(bits)
	if err != nil {
		return netip.IPv4Unspecified(), 0
	}
	return p.Addr(), bits
}

func appendPrefix(dst []byte, a netip.Addr, bits int) []byte {
	return appendInt(append(a.AppendTo(dst), '/'), int64(bits))
}

// parseAddr reads an address that fills v.
func parseAddr(v []byte) (netip.Addr, bool) {
	if a, n, ok := scanV4(v); ok && n == len(v) {
		return netip.AddrFrom4(a), true
	}
	if a, n, ok := scanV6(v); ok && n == len(v) {
		return netip.AddrFrom16(a), true
	}
	return netip.Addr{}, false
}
