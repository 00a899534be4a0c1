package kubernetes

import (
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
)

// Bounds of a query.
const (
	maxParameters = 1100 // of all names together; a command has at most 1000 words
	maxSelector   = 16 << 10
	maxToken      = 16 << 10 // bytes of a continue token
	maxValue      = 1024     // bytes of any other value
	maxPorts      = 64
)

// parseQuery reads a query strictly: what two parsers could read in two ways is
// a refusal.
func parseQuery(raw string) (url.Values, error) {
	if len(raw) > maxQuery {
		return nil, refuse(statusTooLarge, "", "the query has %d bytes; the most is %d", len(raw), maxQuery)
	}
	if raw == "" {
		return nil, nil
	}
	for i := range len(raw) {
		switch c := raw[i]; {
		case c == ';':
			return nil, bad("the query holds a semicolon").WithHint("separate parameters with &, and write a semicolon in a value as %3B")
		case c <= ' ' || c > '~' || c == '#':
			return nil, bad("the query holds the byte %q as it is", c).WithHint("encode it")
		}
	}
	values := url.Values{}
	n := 0
	for part := range strings.SplitSeq(raw, "&") {
		name, value, _ := strings.Cut(part, "=")
		if name == "" {
			return nil, bad("the query holds a parameter without a name")
		}
		if strings.ContainsAny(name, "%+") {
			return nil, bad("the name of the parameter %.60q is encoded", name).WithHint("write it as it is")
		}
		if n++; n > maxParameters {
			return nil, bad("the query has more than %d parameters", maxParameters)
		}
		v, err := url.QueryUnescape(value)
		if err != nil {
			return nil, bad("the value of the parameter %.60q is not encoded as it should be", name)
		}
		values[name] = append(values[name], v)
	}
	return values, nil
}

// check says what is wrong with a value, or "".
type check func(v string) string

// The parameters that each kind of request may have.
var (
	writing = parameters{
		"dryRun": oneOf("All"), "fieldManager": text(128), "fieldValidation": oneOf("Ignore", "Warn", "Strict"),
	}
	answering = parameters{"pretty": boolean, "timeout": duration}
	deleting  = parameters{
		"gracePeriodSeconds": number, "orphanDependents": boolean, "propagationPolicy": oneOf("Orphan", "Background", "Foreground"), "dryRun": oneOf("All"),
		"ignoreStoreReadErrorWithClusterBreakingPotential": boolean,
	}
	selecting = parameters{
		"labelSelector": labelSelector, "fieldSelector": fieldSelector, "limit": number, "continue": text(maxToken), "resourceVersion": text(maxValue),
		"resourceVersionMatch": oneOf("Exact", "NotOlderThan"), "timeoutSeconds": number,
	}
	container = parameters{"container": label}
	streaming = parameters{"stdin": boolean, "stdout": boolean, "stderr": boolean, "tty": boolean}

	byRequest = map[string]parameters{
		"get":              answering.and(parameters{"resourceVersion": text(maxValue), "includeObject": oneOf("None", "Metadata", "Object")}),
		"list":             answering.and(selecting, parameters{"watch": boolean, "allowWatchBookmarks": boolean, "sendInitialEvents": boolean, "shardSelector": text(maxSelector), "includeObject": oneOf("None", "Metadata", "Object")}),
		"create":           answering.and(writing),
		"update":           answering.and(writing),
		"patch":            answering.and(writing, parameters{"force": boolean}),
		"delete":           answering.and(deleting),
		"deletecollection": answering.and(selecting, deleting),
		"log": answering.and(container, parameters{"follow": boolean, "previous": boolean, "sinceSeconds": number, "sinceTime": moment, "timestamps": boolean,
			"tailLines": number, "limitBytes": number, "insecureSkipTLSVerifyBackend": boolean, "stream": oneOf("All", "Stdout", "Stderr")}),
		"exec":        container.and(streaming, parameters{"command": word}),
		"attach":      container.and(streaming),
		"portforward": {"ports": port},
		"path":        answering.and(parameters{"hash": text(maxValue), "verbose": flag, "exclude": text(maxValue)}),
	}
)

// several are the parameters that may come more than once.
var several = map[string]int{"command": 1000, "ports": maxPorts}

// parameters are names of parameters, and what their values have to be.
type parameters map[string]check

func (p parameters) and(more ...parameters) parameters {
	out := parameters{}
	for _, m := range append(more, p) {
		for name, c := range m {
			out[name] = c
		}
	}
	return out
}

// checkQuery holds the query to what this kind of request may have.
func checkQuery(kind string, q url.Values) error {
	allowed := byRequest[kind]
	n := 0
	for _, name := range sortedNames(q) {
		values := q[name]
		if n += len(values); n > maxParameters {
			return bad("the query has more than %d parameters", maxParameters)
		}
		c, known := allowed[name]
		if kind == "proxy" {
			c, known = text(maxValue), proxyParameter(name)
		}
		if !known {
			return bad("the parameter %.60q is not known for this kind of request (%s)", name, kind).WithHint("leave it out; known are " + strings.Join(sortedNames(allowed), ", "))
		}
		if most := max(1, several[name]); len(values) > most {
			return bad("the parameter %q comes %d times; the most is %d", name, len(values), most)
		}
		if len(values) == 0 {
			return bad("the parameter %q has no value", name)
		}
		for _, v := range values {
			if !utf8.ValidString(v) {
				return bad("the parameter %q is not valid UTF-8", name)
			}
			if wrong := c(v); wrong != "" {
				return bad("the parameter %q is %s", name, wrong)
			}
		}
	}
	return nil
}

// proxyParameter reports whether a parameter may be passed on through a proxy.
// The API server sets path itself.
func proxyParameter(name string) bool {
	return name != "path" && len(name) <= maxLabel && strings.Trim(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-[]") == ""
}

func sortedNames[V any](m map[string]V) []string {
	var out []string
	for name := range m {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

// boolean takes what every reader takes for the same: an API server takes much
// more for true.
func boolean(v string) string {
	switch v {
	case "true", "false", "1", "0":
		return ""
	}
	return "neither true nor false"
}

// flag is a boolean that may also stand without a value.
func flag(v string) string {
	if v == "" {
		return ""
	}
	return boolean(v)
}

// On reports whether a parameter that is a boolean is on, as an API server reads
// it.
func (r *Request) On(name string) bool { return isTrue(r.Query, name) }

// isTrue reads a boolean as an API server does: a parameter that is there, and
// is not false or 0, is true.
func isTrue(q url.Values, name string) bool {
	v, there := q[name]
	return there && len(v) > 0 && v[0] != "false" && v[0] != "0"
}

func number(v string) string {
	if _, err := strconv.ParseInt(v, 10, 64); err != nil || strings.Trim(v, "0123456789") != "" {
		return "not a whole number"
	}
	return ""
}

func port(v string) string {
	if n, err := strconv.ParseUint(v, 10, 16); err != nil || n == 0 || v[0] == '0' || v[0] == '+' {
		return "not a port"
	}
	return ""
}

func label(v string) string {
	if !dnsLabel(v) {
		return "not the name of a container"
	}
	return ""
}

func duration(v string) string {
	if strings.Trim(v, "0123456789") == "" && v != "" {
		return number(v) // old clients write seconds
	}
	if d, err := time.ParseDuration(v); err != nil || d < 0 {
		return "not a duration, as in 32s"
	}
	return ""
}

func moment(v string) string {
	if _, err := time.Parse(time.RFC3339, v); err != nil {
		return "not a time, as in 2026-01-31T09:30:00Z"
	}
	return ""
}

func oneOf(known ...string) check {
	return func(v string) string {
		if !slices.Contains(known, v) {
			return "not one of " + strings.Join(known, ", ")
		}
		return ""
	}
}

// text is anything that people can see.
func text(most int) check {
	return func(v string) string {
		switch {
		case len(v) > most:
			return "longer than " + strconv.Itoa(most) + " bytes"
		case strings.ContainsFunc(v, func(c rune) bool { return c != ' ' && !unicode.IsPrint(c) }):
			return "text with control characters"
		}
		return ""
	}
}

// word is a word of a command: scripts have lines and tabs.
func word(v string) string {
	if strings.ContainsFunc(v, func(c rune) bool { return c != '\n' && c != '\t' && unicode.IsControl(c) }) {
		return "a word with control characters"
	}
	return ""
}

func labelSelector(v string) string {
	if wrong := text(maxSelector)(v); wrong != "" {
		return wrong
	}
	if _, err := labels.Parse(v); err != nil {
		return "not a label selector"
	}
	return ""
}

func fieldSelector(v string) string {
	if wrong := text(maxSelector)(v); wrong != "" {
		return wrong
	}
	if _, err := fields.ParseSelector(v); err != nil {
		return "not a field selector"
	}
	return ""
}
