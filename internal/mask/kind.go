package mask

// kind is a type of value that can be detected.
type kind uint8

const (
	kindEmail kind = iota
	kindPhone
	kindCard
	kindSSN
	kindIBAN
	kindIP
	kindURL
	kindDate
	kindMAC
	kindSecret
	kindCount int = iota
)

var kindNames = [kindCount]string{"EMAIL", "PHONE", "CREDIT_CARD", "US_SSN", "IBAN", "IP", "URL", "DATE", "MAC", "SECRET"}

// redacted is what takes the place of a detected value.
var redacted = [kindCount]string{"[EMAIL]", "[PHONE]", "[CREDIT_CARD]", "[US_SSN]", "[IBAN]", "[IP]", "[URL]", "[DATE]", "[MAC]", "[SECRET]"}

// String is the name that rules and spans use.
func (k kind) String() string { return kindNames[k] }

// kindSet is a set of kinds, one bit each.
type kindSet uint16

const allKinds kindSet = 1<<kindCount - 1

func (s kindSet) has(k kind) bool { return s&(1<<k) != 0 }

// Types lists the types of values that can be detected.
func Types() []string { return kindNames[:len(kindNames):len(kindNames)] }

func parseKind(s string) (kind, bool) {
	for i, n := range kindNames {
		if n == s {
			return kind(i), true
		}
	}
	return 0, false
}

// Span is one detected value: bytes Start to End of the text.
type Span struct {
	Start int    `json:"start"`
	End   int    `json:"end"`
	Type  string `json:"type"` // one of [Types]
}
