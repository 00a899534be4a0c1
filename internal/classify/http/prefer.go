package http

import (
	"strconv"
	"strings"
)

// Wait gives the seconds that a client wants to wait at most, as its header
// Prefer says (RFC 7240, 4.3: Prefer: wait=10). The first one counts. Fields are
// those that came in. It is false when there is none, or none that can be read.
func Wait(fields []Field) (seconds int, ok bool) {
	for _, f := range fields {
		if !strings.EqualFold(f.Name, "prefer") {
			continue
		}
		list, good := splitList(f.Value)
		if !good {
			return 0, false
		}
		for _, p := range list {
			if preference(p) != "wait" {
				continue
			}
			_, value, _ := strings.Cut(p, "=")
			value, _, _ = strings.Cut(value, ";")
			value = strings.Trim(value, " \t")
			if len(value) > 2 && value[0] == '"' && value[len(value)-1] == '"' {
				value = value[1 : len(value)-1]
			}
			if value == "" || len(value) > 9 || strings.Trim(value, "0123456789") != "" {
				return 0, false
			}
			n, err := strconv.Atoi(value)
			return n, err == nil
		}
	}
	return 0, false
}

// cleanPrefer takes out what is meant for the gate: how long to wait for people,
// and that the client would rather come back.
func cleanPrefer(value string) (string, error) {
	list, ok := splitList(value)
	if !ok {
		return "", bad("the header prefer holds a quote that does not end")
	}
	kept := list[:0]
	for _, p := range list {
		if name := preference(p); name != "wait" && name != "respond-async" {
			kept = append(kept, p)
		}
	}
	return strings.Join(kept, ", "), nil
}

// preference is the name of one element of the header Prefer, in lower case.
func preference(p string) string {
	if i := strings.IndexAny(p, "=;"); i >= 0 {
		p = p[:i]
	}
	return strings.ToLower(strings.Trim(p, " \t"))
}

// splitList parts a list at the commas outside of quoted strings (RFC 9110,
// 5.6.1 and 5.6.4), and leaves out what is empty.
func splitList(value string) (out []string, ok bool) {
	start, quoted := 0, false
	add := func(end int) {
		if p := strings.Trim(value[start:end], " \t"); p != "" {
			out = append(out, p)
		}
		start = end + 1
	}
	for i := 0; i < len(value); i++ {
		switch c := value[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case c == ',' && !quoted:
			add(i)
		}
	}
	add(len(value))
	return out, !quoted
}
