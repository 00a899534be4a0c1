package ledger

import (
	"encoding/base64"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/doorward/doorward"
)

// FieldTextBase64 is the key in Event.Fields that holds the exact bytes of a
// text that is not valid UTF-8. Text itself then shows U+FFFD in their place.
const FieldTextBase64 = "text_base64"

// appendEvent appends ev as one JSON object, as encoding/json would write it
// but for HTML escapes, and without its cost.
func appendEvent(b []byte, ev *doorward.Event) ([]byte, error) {
	t := ev.Time.UTC()
	if y := t.Year(); y < 1 || y > 9999 {
		return b, fmt.Errorf("event %q has no usable time (year %d): set Event.Time", ev.Kind, y)
	}
	b = append(b, `{"time":"`...)
	b = t.AppendFormat(b, time.RFC3339Nano)
	b = append(b, `","kind":`...)
	b = appendString(b, string(ev.Kind))
	b = appendText(b, `,"session":`, ev.Session)
	if ev.Request != 0 {
		b = append(b, `,"request":`...)
		b = strconv.AppendUint(b, ev.Request, 10)
	}
	b = appendText(b, `,"name":`, ev.Name)
	b = appendText(b, `,"subject":`, ev.Subject)
	b = appendText(b, `,"agent":`, ev.Agent)
	b = appendText(b, `,"run":`, ev.Run)
	b = appendText(b, `,"target":`, ev.Target)
	b = appendText(b, `,"protocol":`, ev.Protocol)
	b = appendText(b, `,"text":`, ev.Text)
	if len(ev.Params) > 0 {
		b = append(b, `,"params":[`...)
		for i, p := range ev.Params {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendString(b, p)
		}
		b = append(b, ']')
	}
	b = appendText(b, `,"decision":`, ev.Decision)
	b = appendText(b, `,"rule":`, ev.Rule)
	b = appendText(b, `,"reason":`, ev.Reason)
	b = appendText(b, `,"policy":`, ev.Policy)
	b = appendInt(b, `,"review":`, ev.Review)
	b = appendInt(b, `,"rows":`, ev.Rows)
	b = appendInt(b, `,"bytes":`, ev.Bytes)
	b = appendText(b, `,"error":`, ev.Error)
	b = appendInt(b, `,"took":`, int64(ev.Took))
	return append(appendFields(b, ev), '}'), nil
}

func appendFields(b []byte, ev *doorward.Event) []byte {
	exact := ev.Text != "" && !utf8.ValidString(ev.Text)
	if len(ev.Fields) == 0 && !exact {
		return b
	}
	b = append(b, `,"fields":{`...)
	n := 0
	for _, k := range slices.Sorted(maps.Keys(ev.Fields)) {
		if exact && k == FieldTextBase64 {
			continue
		}
		if n > 0 {
			b = append(b, ',')
		}
		n++
		b = append(appendString(b, k), ':')
		b = appendString(b, ev.Fields[k])
	}
	if exact {
		if n > 0 {
			b = append(b, ',')
		}
		b = append(appendString(b, FieldTextBase64), `:"`...)
		b = base64.StdEncoding.AppendEncode(b, []byte(ev.Text))
		b = append(b, '"')
	}
	return append(b, '}')
}

func appendText(b []byte, key, s string) []byte {
	if s == "" {
		return b
	}
	return appendString(append(b, key...), s)
}

func appendInt(b []byte, key string, n int64) []byte {
	if n == 0 {
		return b
	}
	return strconv.AppendInt(append(b, key...), n, 10)
}

const hexDigits = "0123456789abcdef"

// plain marks the ASCII bytes that stand for themselves in a JSON string.
var plain = func() (t [256]bool) {
	for c := 0x20; c < 0x7f; c++ {
		t[c] = c != '"' && c != '\\'
	}
	return t
}()

func appendString(b []byte, s string) []byte {
	b = append(b, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if plain[c] {
			i++
			continue
		}
		if c >= utf8.RuneSelf {
			r, n := utf8.DecodeRuneInString(s[i:])
			if (r == utf8.RuneError && n == 1) || r == '\u2028' || r == '\u2029' || r < 0xa0 {
				b = append(b, s[start:i]...)
				b = append(b, '\\', 'u', hexDigits[r>>12&15], hexDigits[r>>8&15], hexDigits[r>>4&15], hexDigits[r&15])
				start = i + n
			}
			i += n
			continue
		}
		b = append(b, s[start:i]...)
		switch c {
		case '"', '\\':
			b = append(b, '\\', c)
		case '\n':
			b = append(b, '\\', 'n')
		case '\r':
			b = append(b, '\\', 'r')
		case '\t':
			b = append(b, '\\', 't')
		default:
			b = append(b, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		}
		i++
		start = i
	}
	return append(append(b, s[start:]...), '"')
}
