package mask

// hint is what the words around a value speak of: a set of kinds, and the
// bits below.
type hint = kindSet

const (
	hintVersion hint = 1 << 14 // a version of software
	hintWeak    hint = 1 << 15 // the word speaks of many things
)

// Bounds of looking around.
const (
	maxLookBack = 56
	maxName     = 48
)

// hintOf reads the name of a column or key: "customer_phone", "cardNumber".
func hintOf(name string) hint { return nameHint([]byte(name)) }

// nameHint joins the hints of the words of a name.
func nameHint(name []byte) hint {
	h := hint(0)
	for i := 0; i < len(name); {
		if !isAlpha(name[i]) {
			i++
			continue
		}
		start := i
		i++
		for i < len(name) && isAlpha(name[i]) && (!isUpper(name[i]) || isUpper(name[i-1])) {
			i++
		}
		h |= wordHint(name[start:i])
	}
	return h
}

// wordHint knows the words that speak of a kind. The comparison does not
// allocate.
func wordHint(w []byte) hint {
	if len(w) < 2 || len(w) > 16 {
		return 0
	}
	var v [16]byte
	for i, c := range w {
		v[i] = c | 0x20
	}
	switch string(v[:len(w)]) {
	case "phone", "phones", "telephone", "phonenumber", "tel", "telefon", "telefono", "mobile", "mobil", "cell", "cellphone", "fax", "msisdn", "whatsapp", "sms", "landline", "pager", "dial", "handy":
		return 1 << kindPhone
	case "call", "calling", "called", "contact", "reach", "answering", "messages", "desk", "text", "ring", "callback", "back":
		return 1<<kindPhone | hintWeak
	case "ssn", "ssns", "social", "itin", "tin", "taxpayer", "socialsecurity", "taxid":
		return 1 << kindSSN
	case "card", "cards", "cc", "pan", "visa", "mastercard", "amex", "credit", "debit", "maestro", "creditcard", "cardnumber", "ccnum", "ccn", "cardno":
		return 1 << kindCard
	case "dob", "birth", "birthday", "birthdate", "born", "bday", "dateofbirth", "date", "geburtsdatum":
		return 1 << kindDate
	case "iban", "ibans":
		return 1 << kindIBAN
	case "version", "ver", "build", "release", "firmware":
		return hintVersion
	}
	return 0
}

// context reads what stands before a value at i: the key that it is the value
// of (then keyed is true), or the words of the sentence before it, the nearest
// first. The name of the column counts too.
func (s *search) context(i int) (h hint, keyed bool) {
	b := s.b
	p := i
	for p > 0 && i-p < 12 && opening(b[p-1]) {
		p--
	}
	if p > 0 && (b[p-1] == '\n' || b[p-1] == '\r') { // "Phone:" on a line of its own
		q := p - 1
		for q > 0 && (b[q-1] == '\n' || b[q-1] == '\r' || b[q-1] == ' ') && p-q < 4 {
			q--
		}
		if q > 0 && b[q-1] == ':' {
			p = q
		}
	}
	if p > 0 && (b[p-1] == ':' || b[p-1] == '=' || b[p-1] == '>') {
		name := s.nameBefore(p - 1)
		if len(name) > 0 {
			return nameHint(name) | s.hint, true
		}
	}
	low := max(0, i-maxLookBack)
	for p > low {
		c := b[p-1]
		if !isAlpha(c) {
			if sentenceEnds(b, p-1) {
				break
			}
			p--
			continue
		}
		end := p
		for p > low && isAlpha(b[p-1]) {
			p--
		}
		if string(b[p:end]) == "VALUES" {
			break
		}
		if w := wordHint(b[p:end]); w != 0 {
			return w | s.hint, false
		}
	}
	return s.hint | s.tableHint(i), false
}

// sentenceEnds reports whether the words before the byte at i speak of
// something else: another line, cell, field or literal.
func sentenceEnds(b []byte, i int) bool {
	switch b[i] {
	case '\n', '\t', '|', ';', '{', '}', '"':
		return true
	case ',':
		return i+1 < len(b) && b[i+1] != ' '
	case '\'': // but not the one of "They're"
		return i == 0 || i+1 >= len(b) || !isAlpha(b[i-1]) || !isAlpha(b[i+1])
	}
	return false
}

// opening reports whether a byte can stand between a key or word and a value.
func opening(c byte) bool {
	switch c {
	case ' ', '"', '\'', '\\', '(', '[', '#', '+':
		return true
	}
	return false
}

// nameBefore gives the name that ends before the separator at i: of a key with
// or without quotes, of a tag, or a label of a few words.
func (s *search) nameBefore(i int) []byte {
	b := s.b
	for n := 0; i > 0 && n < 6 && (b[i-1] == ' ' || b[i-1] == '"' || b[i-1] == '\'' || b[i-1] == '\\' || b[i-1] == ')' || b[i-1] == ']'); n++ {
		i--
	}
	start := i
	for start > 0 && i-start < maxName {
		c := b[start-1]
		if classes[c]&isToken == 0 && c != '.' && !(c == ' ' && start > 1 && isAlpha(b[start-2])) {
			break
		}
		start--
	}
	return b[start:i]
}

// versionBefore reports whether the word before a value at i says that it is a
// version of something.
func (s *search) versionBefore(i int) bool {
	b := s.b
	end := i
	for end > 0 && i-end < 6 && (opening(b[end-1]) || b[end-1] == ':' || b[end-1] == '=') {
		end--
	}
	start := end
	for start > 0 && end-start < 16 && isAlpha(b[start-1]) {
		start--
	}
	return wordHint(b[start:end])&hintVersion != 0
}
