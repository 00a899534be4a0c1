package mask

import "encoding/binary"

// Signs in the binary form of numeric.
const (
	numericPositive = 0x0000
	numericNegative = 0x4000
	// most digits in front of the point that Postgres can hold
	numericMaxDigits = 131072
)

// appendNumeric masks a numeric. Redacted is zero; generalised keeps the first
// digit of the whole part; partial keeps the last four of at least twelve.
func (p *Plan) appendNumeric(dst []byte, bin bool, t transform, v []byte) ([]byte, bool) {
	text := v
	if bin {
		var ok bool
		p.buf, ok = numericText(p.buf[:0], v)
		if !ok {
			return dst, true
		}
		text = p.buf
	}
	neg, whole, frac := splitNumeric(text)
	if whole == nil {
		return appendNumericZero(dst, bin), false // NaN, Infinity, or not a number
	}
	switch t.op {
	case opGeneralise:
		if len(whole) < 2 {
			return appendNumericZero(dst, bin), false
		}
		return appendNumericRound(dst, bin, neg, whole[0], len(whole)-1), false
	case opPartial:
		if len(whole) < 12 {
			return appendNumericZero(dst, bin), false
		}
		n, _ := parseInt(whole[len(whole)-4:])
		return appendNumericInt(dst, bin, n), false
	case opHash, opPseudonym:
		// Canonical: sign, whole part, fraction without trailing zeros.
		for len(frac) > 0 && frac[len(frac)-1] == '0' {
			frac = frac[:len(frac)-1]
		}
		n := int64(t.key.numberParts(neg, whole, frac) % 100_000_000)
		if len(frac) == 0 && len(whole) <= 8 {
			if w, ok := parseInt(whole); ok && (w == n || len(whole) == 0 && n == 0) {
				n ^= 1
			}
		}
		return appendNumericInt(dst, bin, n), false
	}
	return appendNumericZero(dst, bin), false
}

// numberParts digests a number given in parts.
func (k *keyer) numberParts(neg bool, whole, frac []byte) uint64 {
	k.mac.Reset()
	k.buf[0] = '+'
	if neg {
		k.buf[0] = '-'
	}
	k.mac.Write(k.buf[:1])
	k.mac.Write(whole)
	k.buf[0] = '.'
	k.mac.Write(k.buf[:1])
	k.mac.Write(frac)
	return binary.BigEndian.Uint64(k.mac.Sum(k.sum[:0]))
}

// splitNumeric gives the parts of a decimal number. Whole has no leading
// zeros; it is nil when v is not a plain number.
func splitNumeric(v []byte) (neg bool, whole, frac []byte) {
	if len(v) > 0 && (v[0] == '-' || v[0] == '+') {
		neg = v[0] == '-'
		v = v[1:]
	}
	whole = v
	if i := indexByte(v, '.'); i >= 0 {
		whole, frac = v[:i], v[i+1:]
	}
	if len(v) == 0 || !allDigits(whole) || !allDigits(frac) {
		return false, nil, nil
	}
	for len(whole) > 0 && whole[0] == '0' {
		whole = whole[1:]
	}
	return neg, whole, frac
}

// numericText writes the binary form as decimal text.
func numericText(dst, v []byte) ([]byte, bool) {
	if len(v) < 8 {
		return dst, false
	}
	n := int(binary.BigEndian.Uint16(v))
	weight := int(int16(binary.BigEndian.Uint16(v[2:])))
	sign := binary.BigEndian.Uint16(v[4:])
	v = v[8:]
	if len(v) != n*2 {
		return dst, false
	}
	switch sign {
	case numericPositive:
	case numericNegative:
		dst = append(dst, '-')
	default:
		return append(dst, "NaN"...), true
	}
	digit := func(i int) int {
		if i < 0 || i >= n {
			return 0
		}
		return int(binary.BigEndian.Uint16(v[2*i:]))
	}
	for i := range n {
		if digit(i) > 9999 {
			return dst, false
		}
	}
	if weight*4 > numericMaxDigits || n-weight > numericMaxDigits/4 {
		return dst, false
	}
	dst = append(dst, '0')
	for i := 0; i <= weight; i++ {
		dst = appendPadded(dst, digit(i), 4)
	}
	dst = append(dst, '.')
	for i := weight + 1; i < n; i++ {
		dst = appendPadded(dst, digit(i), 4)
	}
	return dst, true
}

func appendNumericZero(dst []byte, bin bool) []byte { return appendNumericInt(dst, bin, 0) }

// appendNumericInt appends a number below 10^8 that is not negative.
func appendNumericInt(dst []byte, bin bool, n int64) []byte {
	switch {
	case !bin:
		return appendInt(dst, n)
	case n == 0:
		return append(dst, 0, 0, 0, 0, 0, 0, 0, 0)
	case n < 10000:
		return binary.BigEndian.AppendUint16(append(dst, 0, 1, 0, 0, 0, 0, 0, 0), uint16(n))
	}
	dst = append(dst, 0, 2, 0, 1, 0, 0, 0, 0)
	dst = binary.BigEndian.AppendUint16(dst, uint16(n/10000))
	return binary.BigEndian.AppendUint16(dst, uint16(n%10000))
}

// appendNumericRound appends a digit with zeros after it.
func appendNumericRound(dst []byte, bin, neg bool, digit byte, zeros int) []byte {
	if !bin {
		if neg {
			dst = append(dst, '-')
		}
		dst = append(dst, digit)
		for range zeros {
			dst = append(dst, '0')
		}
		return dst
	}
	sign := uint16(numericPositive)
	if neg {
		sign = numericNegative
	}
	dst = binary.BigEndian.AppendUint16(dst, 1)
	dst = binary.BigEndian.AppendUint16(dst, uint16(zeros/4))
	dst = binary.BigEndian.AppendUint16(dst, sign)
	dst = binary.BigEndian.AppendUint16(dst, 0)
	return binary.BigEndian.AppendUint16(dst, uint16(int(digit-'0')*pow10(zeros%4)))
}
