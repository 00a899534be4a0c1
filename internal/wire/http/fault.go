package http

import (
	"errors"
	"strconv"
)

// Fault says that a message is malformed, ambiguous or too large, and was
// refused. The connection that it came on cannot be used again. Neither text
// holds a value that was sent: a value may be a secret.
type Fault struct {
	Status int    // what a client is to be answered: 400, 413, 414, 417, 431, 501 or 505; 502 when a server's answer is at fault
	Reason string // what is wrong and where
	Hint   string // what to do; may be empty
}

// Error is the reason and the hint.
func (f *Fault) Error() string {
	if f.Hint == "" {
		return "http: " + f.Reason
	}
	return "http: " + f.Reason + "; " + f.Hint
}

// errUnread is a mistake of the caller: where the next message begins is not
// known while the body of the one before is not read.
var errUnread = errors.New("http: the body of the message before was not read to its end")

// Told to line's callers only, who know which limit it was and whose line.
var (
	errLong = errors.New("http: line is too long")
	errBare = errors.New("http: line ends with LF and no CR")
)

// refuse makes a fault and the end of the reader: every later call gives it.
func (r *Reader) refuse(status int, reason, hint string) error {
	f := &Fault{Status: status, Reason: reason, Hint: hint}
	if r.answer {
		f.Status, f.Reason, f.Hint = 502, "answer of the server: "+reason, ""
	}
	r.bad = f
	return f
}

// nth names the field with this index for a reason: "field 3".
func nth(i int) string { return "field " + strconv.Itoa(i+1) }
