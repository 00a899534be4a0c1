package mask

// scanV4 reads a dotted IPv4 address at the start of v.
func scanV4(v []byte) (a [4]byte, n int, ok bool) {
	for i := range 4 {
		if i > 0 {
			if n >= len(v) || v[n] != '.' {
				return a, 0, false
			}
			n++
		}
		start, x := n, 0
		for n < len(v) && n-start < 3 && isDigit(v[n]) {
			x = x*10 + int(v[n]-'0')
			n++
		}
		if n == start || x > 255 || (n-start > 1 && v[start] == '0') {
			return a, 0, false
		}
		a[i] = byte(x)
	}
	return a, n, true
}

// scanV6 reads an IPv6 address at the start of v, with :: and an IPv4 tail
// where it has them.
func scanV6(v []byte) (a [16]byte, n int, ok bool) {
	var words [8]uint16
	count, gap := 0, -1
	if len(v) >= 2 && v[0] == ':' && v[1] == ':' {
		gap, n = 0, 2
	}
	for count < 8 && n < len(v) && isHex(v[n]) {
		start, x := n, uint16(0)
		for n < len(v) && n-start < 4 && isHex(v[n]) {
			x = x<<4 | uint16(hexValue(v[n]))
			n++
		}
		if n < len(v) && v[n] == '.' && count <= 6 && (count == 6 || gap >= 0) {
			if q, m, ok := scanV4(v[start:]); ok {
				words[count] = uint16(q[0])<<8 | uint16(q[1])
				words[count+1] = uint16(q[2])<<8 | uint16(q[3])
				count += 2
				n = start + m
				break
			}
		}
		if n < len(v) && isHex(v[n]) {
			return a, 0, false // five hexadecimal digits
		}
		words[count] = x
		count++
		if n+1 >= len(v) || v[n] != ':' || count == 8 {
			break
		}
		if v[n+1] == ':' {
			if gap >= 0 {
				break
			}
			gap = count
			n += 2
			continue
		}
		if !isHex(v[n+1]) {
			break
		}
		n++
	}
	if gap < 0 && count != 8 || gap >= 0 && count > 7 {
		return a, 0, false
	}
	if gap >= 0 {
		copy(words[8-(count-gap):], words[gap:count])
		for i := gap; i < 8-(count-gap); i++ {
			words[i] = 0
		}
	}
	for i, w := range words {
		a[2*i], a[2*i+1] = byte(w>>8), byte(w)
	}
	return a, n, true
}
