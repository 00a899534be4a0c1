package http

import (
	"bytes"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"strings"
)

const maxParts = 1000

// readMultipart looks at the names of a form's parts (RFC 7578), for one that
// would change the method. What the parts hold is not looked at.
func (c *content) readMultipart(body []byte, boundary string) *Refusal {
	clear, err := checkParts(body, boundary)
	if !clear {
		c.hint = "The body is not multipart/form-data as it is let through: every part needs one header Content-Disposition: form-data with a name, lines end with CRLF, and nothing stands before the first part or behind the last."
	}
	return err
}

// checkParts reports whether every reader finds the same parts.
func checkParts(body []byte, boundary string) (clear bool, err *Refusal) {
	// What stands before and behind is skipped by some readers only.
	dash := []byte("--" + boundary)
	end := bytes.TrimSuffix(body, []byte("\r\n"))
	if !bytes.HasPrefix(body, append(dash, "\r\n"...)) || !bytes.HasSuffix(end, append(append([]byte("\r\n"), dash...), "--"...)) {
		return false, nil
	}
	r := multipart.NewReader(bytes.NewReader(body), boundary)
	for range maxParts {
		part, err := r.NextRawPart()
		if errors.Is(err, io.EOF) {
			return true, nil
		}
		if err != nil {
			return false, nil
		}
		for _, d := range part.Header["Content-Disposition"] {
			if name, changes := changingName(d); changes {
				return false, refuse(statusBad, "send the method that is meant", "the part %.60q of the body would change the method", name)
			}
		}
		if !plainPart(part.Header["Content-Disposition"]) {
			return false, nil
		}
	}
	return false, nil
}

// plainPart reports whether a part has one name.
func plainPart(dispositions []string) bool {
	if len(dispositions) != 1 {
		return false
	}
	kind, params, err := mime.ParseMediaType(dispositions[0])
	return err == nil && kind == "form-data" && params["name"] != ""
}

// changingName finds a name that would change the method, however a reader
// takes the header apart.
func changingName(disposition string) (string, bool) {
	if _, params, err := mime.ParseMediaType(disposition); err == nil && override(params["name"]) {
		return params["name"], true
	}
	for part := range strings.SplitSeq(disposition, ";") {
		key, value, _ := strings.Cut(part, "=")
		value = strings.Trim(value, " \t\"'")
		if i := strings.LastIndex(value, "''"); i >= 0 {
			value = value[i+2:] // name*=utf-8''_method
		}
		if strings.HasPrefix(strings.ToLower(strings.TrimSpace(key)), "name") && override(value) {
			return value, true
		}
	}
	return "", false
}
