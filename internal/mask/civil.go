package mask

// Dates as Postgres counts them: days since 2000-01-01, proleptic Gregorian.

const (
	epochDays  = 10957 // 2000-01-01 in days since 1970-01-01
	dayMicros  = 86400 * 1000 * 1000
	hourMicros = 3600 * 1000 * 1000
	// redactedYear is the year of a redacted date: plainly not a real one.
	redactedYear = 1900
)

// daysOf gives the day number of a date.
func daysOf(year, month, day int) int {
	if month <= 2 {
		year--
	}
	era := year / 400
	if year < 0 {
		era = (year - 399) / 400
	}
	yoe := year - era*400
	doy := (153*((month+9)%12)+2)/5 + day - 1
	doe := yoe*365 + yoe/4 - yoe/100 + doy
	return era*146097 + doe - 719468 - epochDays
}

// yearOfDays gives the year that a day number lies in.
func yearOfDays(days int) int {
	z := days + epochDays + 719468
	era := z / 146097
	if z < 0 {
		era = (z - 146096) / 146097
	}
	doe := z - era*146097
	yoe := (doe - doe/1460 + doe/36524 - doe/146096) / 365
	doy := doe - (365*yoe + yoe/4 - yoe/100)
	year := yoe + era*400
	if (5*doy+2)/153 >= 10 { // January and February belong to the next year
		year++
	}
	return year
}

// civil gives year, month and day of a day number.
func civil(days int) (year, month, day int) {
	z := days + epochDays + 719468
	era := z / 146097
	if z < 0 {
		era = (z - 146096) / 146097
	}
	doe := z - era*146097
	yoe := (doe - doe/1460 + doe/36524 - doe/146096) / 365
	doy := doe - (365*yoe + yoe/4 - yoe/100)
	mp := (5*doy + 2) / 153
	day = doy - (153*mp+2)/5 + 1
	month = (mp+2)%12 + 1
	return yearOfDays(days), month, day
}

// appendDate appends a day number as ISO, with BC where Postgres writes it.
func appendDate(dst []byte, days int) []byte {
	y, m, d := civil(days)
	bc := y <= 0
	if bc {
		y = 1 - y
	}
	dst = appendPadded(dst, y, 4)
	dst = append(dst, '-', byte('0'+m/10), byte('0'+m%10), '-', byte('0'+d/10), byte('0'+d%10))
	if bc {
		dst = append(dst, " BC"...)
	}
	return dst
}

func appendPadded(dst []byte, n, width int) []byte {
	for p := pow10(width - 1); p > 1 && n < p; p /= 10 {
		dst = append(dst, '0')
	}
	return appendInt(dst, int64(n))
}

func pow10(n int) int {
	p := 1
	for range n {
		p *= 10
	}
	return p
}

// parseDate reads an ISO date at the start of v: days, and how many bytes.
func parseDate(v []byte) (days, n int, ok bool) {
	i := 0
	year := 0
	for i < len(v) && i < 7 && isDigit(v[i]) {
		year = year*10 + int(v[i]-'0')
		i++
	}
	if i < 4 || i+6 > len(v) || v[i] != '-' || v[i+3] != '-' || !allDigits(v[i+1:i+3]) || !allDigits(v[i+4:i+6]) {
		return 0, 0, false
	}
	month, day := two(v[i+1:]), two(v[i+4:])
	if month < 1 || month > 12 || day < 1 || day > 31 {
		return 0, 0, false
	}
	i += 6
	if len(v) >= 3 && string(v[len(v)-3:]) == " BC" {
		year = 1 - year
	}
	return daysOf(year, month, day), i, true
}

func two(v []byte) int { return int(v[0]-'0')*10 + int(v[1]-'0') }

// parseClock reads hh:mm:ss[.ffffff] at the start of v as microseconds.
func parseClock(v []byte) (micros int64, n int, ok bool) {
	if len(v) < 8 || v[2] != ':' || v[5] != ':' || !allDigits(v[:2]) || !allDigits(v[3:5]) || !allDigits(v[6:8]) {
		return 0, 0, false
	}
	h, m, s := two(v), two(v[3:]), two(v[6:])
	if h > 24 || m > 59 || s > 60 {
		return 0, 0, false
	}
	micros = (int64(h)*3600 + int64(m)*60 + int64(s)) * 1e6
	n = 8
	if n < len(v) && v[n] == '.' {
		n++
		for p := int64(100000); n < len(v) && isDigit(v[n]); n++ {
			micros += int64(v[n]-'0') * p
			p /= 10
		}
	}
	return micros, n, true
}

// parseStamp reads an ISO timestamp, with a zone where it has one, as
// microseconds since 2000-01-01 (UTC).
func parseStamp(v []byte) (micros int64, ok bool) {
	days, n, ok := parseDate(v)
	if !ok || n >= len(v) || (v[n] != ' ' && v[n] != 'T') {
		return 0, false
	}
	clock, m, ok := parseClock(v[n+1:])
	if !ok {
		return 0, false
	}
	micros = int64(days)*dayMicros + clock
	z := v[n+1+m:]
	if len(z) >= 3 && (z[0] == '+' || z[0] == '-') && allDigits(z[1:3]) {
		off := int64(two(z[1:])) * 3600
		if len(z) >= 6 && z[3] == ':' && allDigits(z[4:6]) {
			off += int64(two(z[4:])) * 60
		}
		if len(z) >= 9 && z[6] == ':' && allDigits(z[7:9]) {
			off += int64(two(z[7:]))
		}
		if z[0] == '-' {
			off = -off
		}
		micros -= off * 1e6
	}
	return micros, true
}

// appendStamp appends microseconds since 2000-01-01 as ISO.
func appendStamp(dst []byte, micros int64, zone bool) []byte {
	days := micros / dayMicros
	rest := micros % dayMicros
	if rest < 0 {
		rest += dayMicros
		days--
	}
	y, m, d := civil(int(days))
	bc := y <= 0
	if bc {
		y = 1 - y
	}
	dst = appendPadded(dst, y, 4)
	dst = append(dst, '-', byte('0'+m/10), byte('0'+m%10), '-', byte('0'+d/10), byte('0'+d%10), ' ')
	dst = appendClock(dst, rest)
	if zone {
		dst = append(dst, "+00"...)
	}
	if bc {
		dst = append(dst, " BC"...)
	}
	return dst
}

func appendClock(dst []byte, micros int64) []byte {
	s := int(micros / 1e6)
	return append(dst, byte('0'+s/36000), byte('0'+s/3600%10), ':', byte('0'+s/600%6), byte('0'+s/60%10), ':', byte('0'+s/10%6), byte('0'+s%10))
}

// pseudoDate is a day between 1900 and 2099, by a digest.
func pseudoDate(n uint64) int { return int(n%73000) - 36524 }
