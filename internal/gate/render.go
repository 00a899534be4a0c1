package gate

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/doorward/doorward"
)

// Printable is a text that somebody else wrote as it may stand in a log, a header
// or the record: printable ASCII, with ? for everything else.
func Printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < 0x20 || r >= 0x7f {
			return '?'
		}
		return r
	}, s)
}

// What is shown and recorded of bound parameters: all of them, and each whole
// up to maxShown bytes together. Of what goes beyond, the beginning and the
// hash, so that the record binds it.
const (
	maxShown = 256 << 10
	shownOf  = 256 // bytes of a parameter that is not shown whole
)

// RenderParams shows bound parameters to people: text as it is, binary as hex.
func RenderParams(ps []doorward.Param) []string {
	if len(ps) == 0 {
		return nil
	}
	out := make([]string, len(ps))
	left := maxShown
	for i, p := range ps {
		whole := len(p.Value) <= left || len(p.Value) <= shownOf
		v := p.Value
		if !whole {
			v = v[:shownOf]
		}
		left -= len(v)
		switch {
		case p.Null:
			out[i] = "NULL"
		case p.Binary || !utf8.Valid(p.Value):
			out[i] = "\\x" + hex.EncodeToString(v)
		default:
			out[i] = string(v)
		}
		if !whole {
			sum := sha256.Sum256(p.Value)
			out[i] += "… (" + strconv.Itoa(len(p.Value)) + " bytes, sha256 " + hex.EncodeToString(sum[:]) + ")"
		}
	}
	return out
}

// maxRefused is how many bytes of a refused text are kept: asking for what is
// refused must not fill the disk.
const maxRefused = 64 << 10

// shownOfRefused is what is kept of a text that was refused: of a long one its
// beginning, and the hash of all of it.
func shownOfRefused(text string) string {
	if len(text) <= maxRefused {
		return text
	}
	sum := sha256.Sum256([]byte(text))
	return text[:maxRefused] + "… (" + strconv.Itoa(len(text)) + " bytes, sha256 " + hex.EncodeToString(sum[:]) + ")"
}

// shownWhole reports whether RenderParams leaves nothing out.
func shownWhole(ps []doorward.Param) bool {
	n := 0
	for _, p := range ps {
		n += len(p.Value)
	}
	return n <= maxShown
}

// appendRequest and appendOutcome write the JSON of tape records by hand: they
// stand on the path of every statement.
func appendRequest(dst []byte, r doorward.RequestRecord) []byte {
	dst = appendString(append(dst, `{"statement":`...), r.Statement)
	dst = appendList(dst, "params", r.Params)
	dst = appendString(append(dst, `,"decision":`...), r.Decision)
	if r.Rule != "" {
		dst = appendString(append(dst, `,"rule":`...), r.Rule)
	}
	if r.Reason != "" {
		dst = appendString(append(dst, `,"reason":`...), r.Reason)
	}
	if r.Review != 0 {
		dst = strconv.AppendInt(append(dst, `,"review":`...), r.Review, 10)
	}
	dst = appendList(dst, "masked", r.Masked)
	return append(dst, '}')
}

func appendOutcome(dst []byte, o doorward.OutcomeRecord) []byte {
	dst = strconv.AppendInt(append(dst, `{"rows":`...), o.Rows, 10)
	dst = strconv.AppendInt(append(dst, `,"bytes":`...), o.Bytes, 10)
	if o.Error != "" {
		dst = appendString(append(dst, `,"error":`...), o.Error)
	}
	dst = strconv.AppendInt(append(dst, `,"took":`...), int64(o.Took), 10)
	return append(dst, '}')
}

func appendList(dst []byte, key string, list []string) []byte {
	if len(list) == 0 {
		return dst
	}
	dst = append(append(append(dst, `,"`...), key...), `":[`...)
	for i, v := range list {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendString(dst, v)
	}
	return append(dst, ']')
}

const hexDigits = "0123456789abcdef"

// appendString appends a JSON string. Bytes that are not UTF-8 become U+FFFD.
func appendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf {
			if c >= 0x20 && c != '"' && c != '\\' && c != 0x7f {
				i++
				continue
			}
			dst = append(dst, s[start:i]...)
			switch c {
			case '"', '\\':
				dst = append(dst, '\\', c)
			case '\n':
				dst = append(dst, '\\', 'n')
			case '\t':
				dst = append(dst, '\\', 't')
			default:
				dst = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
			}
			i++
			start = i
			continue
		}
		r, n := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && n == 1 {
			dst = append(append(dst, s[start:i]...), "\ufffd"...)
			i++
			start = i
			continue
		}
		i += n
	}
	return append(append(dst, s[start:]...), '"')
}
