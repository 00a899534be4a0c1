package mask

import "net/netip"

// noKind is for text of a masked column, where no type was detected.
const noKind kind = 255

// redactedText takes the place of a text value of a redacted column.
const redactedText = "[redacted]"

// appendText appends the masked form of a text, or of a detected value of
// kind k. It never appends a byte that needs escaping in JSON, SQL or CSV.
func (t transform) appendText(dst, v []byte, k kind) []byte {
	switch t.op {
	case opPartial:
		return appendPartial(dst, v, k)
	case opHash:
		return appendHex(dst, t.key.digest(v)[:16])
	case opPseudonym:
		return t.appendPseudonym(dst, v, k)
	case opGeneralise:
		return appendGeneral(dst, v, k)
	case opNull:
		return dst
	}
	return appendRedacted(dst, k)
}

func appendRedacted(dst []byte, k kind) []byte {
	if k == noKind {
		return append(dst, redactedText...)
	}
	return append(dst, redacted[k]...)
}

// appendPseudonym appends a stand-in that is the same for the same value, and
// that nobody takes for a real one.
func (t transform) appendPseudonym(dst, v []byte, k kind) []byte {
	sum := t.key.digest(v)
	if k == noKind && looksLikeEmail(v) {
		k = kindEmail
	}
	switch k {
	case kindEmail:
		return append(appendWord(append(dst, "p_"...), sum), "@masked.invalid"...)
	case kindURL:
		return append(appendWord(append(dst, "https://p_"...), sum), ".masked.invalid/"...)
	case kindIP:
		return pseudoAddr(sum, indexByte(v, ':') >= 0).AppendTo(dst)
	case kindDate:
		return appendDate(dst, pseudoDate(t.key.number(v)))
	}
	return appendWord(append(dst, "p_"...), sum)
}

// pseudoAddr is an address of a block that is never in use: 240.0.0.0/4, or
// the documentation block 2001:db8::/32.
func pseudoAddr(sum []byte, v6 bool) netip.Addr {
	if !v6 {
		return netip.AddrFrom4([4]byte{240 | sum[0]&15, sum[1], sum[2], sum[3]})
	}
	a := [16]byte{0x20, 0x01, 0x0d, 0xb8}
	copy(a[4:], sum[:12])
	return netip.AddrFrom16(a)
}

// appendPartial shows the last four characters of values that are long and
// hard to guess, and the shape of the rest. Short or guessable values (names,
// e-mail addresses, nine-digit numbers) show nothing of themselves.
func appendPartial(dst, v []byte, k kind) []byte {
	if k == kindEmail || (k == noKind && looksLikeEmail(v)) {
		return append(dst, "****@****"...)
	}
	letters, digits, seps := 0, 0, 0
	for _, b := range v {
		switch {
		case isDigit(b):
			digits++
		case isAlpha(b):
			letters++
		case b == ' ' || b == '-' || b == '.':
			seps++
		default:
			seps += 1000 // not a number or a token
		}
	}
	n := letters + digits
	number := digits >= 12 && letters <= 8 && n <= 40 && seps <= 10
	token := n >= 20 && digits >= 4 && letters >= 4 && seps == 0
	if k == kindSSN || k == kindPhone || k == kindDate || k == kindURL || k == kindIP || k == kindMAC {
		number, token = false, false
	}
	switch {
	case number:
		for _, b := range v {
			if isAlnum(b) {
				n--
				if n >= 4 {
					b = '*'
				}
			}
			dst = append(dst, b)
		}
		return dst
	case token:
		return append(append(dst, "****"...), v[len(v)-4:]...)
	}
	return append(dst, "****"...)
}

// appendGeneral appends something coarser: the year of a date, the network of
// an address, the first digit of a number. Other texts are redacted.
func appendGeneral(dst, v []byte, k kind) []byte {
	if k == noKind || k == kindDate {
		if y := yearOf(v); y != nil {
			return append(dst, y...)
		}
	}
	if k == kindIP || k == noKind {
		if a, ok := parseAddr(v); ok {
			a, bits := coarse(a, 128)
			return appendPrefix(dst, a, bits)
		}
	}
	if k == noKind && len(v) > 0 && len(v) <= 20 {
		if n, ok := parseInt(v); ok {
			return appendInt(dst, coarseInt(n))
		}
	}
	return appendRedacted(dst, k)
}

// looksLikeEmail is a rough test for the choice of a stand-in.
func looksLikeEmail(v []byte) bool {
	at := indexByte(v, '@')
	return at > 0 && at < len(v)-1 && len(v) <= 320 && indexByte(v, ' ') < 0
}

// yearOf gives the year in a date of the usual forms, or nil.
func yearOf(v []byte) []byte {
	if len(v) < 8 || len(v) > 40 {
		return nil
	}
	if allDigits(v[:4]) && (v[4] == '-' || v[4] == '/' || v[4] == '.') && isDigit(v[5]) {
		return v[:4]
	}
	for i := 3; i+5 <= len(v) && i <= 6; i++ {
		if s := v[i]; (s == '-' || s == '/' || s == '.') && allDigits(v[i+1:i+5]) && (i+5 == len(v) || !isAlnum(v[i+5])) && isDigit(v[0]) {
			return v[i+1 : i+5]
		}
	}
	return nil
}
