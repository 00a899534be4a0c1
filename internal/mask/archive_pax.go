package mask

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
)

// paxRecord is one line of a PAX header (POSIX.1-2001, pax, "Extended Header").
type paxRecord struct {
	key   string
	value []byte
}

var errPax = errors.New("an extended header cannot be read")

// paxRecords reads the records of an extended header, but for those that say
// nothing about where and how large a file is: comments, and what tools add
// under a name of their own, such as extended attributes. They are left out,
// for they can hold anything.
func paxRecords(dst []paxRecord, b []byte) ([]paxRecord, error) {
	for len(b) > 0 {
		sp := bytes.IndexByte(b, ' ')
		if sp < 1 {
			return dst, errPax
		}
		n, ok := parseInt(b[:sp])
		if !ok || b[0] == '+' || n <= int64(sp)+1 || n > int64(len(b)) || b[n-1] != '\n' {
			return dst, errPax
		}
		key, value, ok := bytes.Cut(b[sp+1:n-1], []byte("="))
		b = b[n:]
		if !ok || len(key) == 0 || bytes.IndexByte(value, 0) >= 0 {
			return dst, errPax
		}
		switch k := string(key); {
		case strings.HasPrefix(k, "GNU.sparse."):
			return dst, errors.New("sparse files are not masked: let tar write it without --sparse")
		case k == "path", k == "linkpath", k == "size", k == "mtime", k == "atime", k == "ctime", k == "uid", k == "gid", k == "uname", k == "gname", k == "charset", k == "hdrcharset":
			for _, r := range dst {
				if r.key == k {
					return dst, fmt.Errorf("an extended header says %q twice", k)
				}
			}
			dst = append(dst, paxRecord{k, bytes.Clone(value)})
		case k == "comment", strings.Contains(k, ".") && isUpper(k[0]):
		default:
			return dst, fmt.Errorf("an extended header says %.60q, which is not known", k)
		}
	}
	return dst, nil
}

// appendPax appends an extended header of these records; none without any.
func appendPax(dst []byte, header [tarBlock]byte, records []paxRecord) []byte {
	if len(records) == 0 {
		return dst
	}
	var body []byte
	for _, r := range records {
		// The length counts itself.
		rest := len(r.key) + len(r.value) + 3
		n := rest + len(fmt.Sprint(rest))
		n = rest + len(fmt.Sprint(n))
		body = fmt.Appendf(body, "%d %s=%s\n", n, r.key, r.value)
	}
	setTarSize(&header, len(body))
	return appendBlocks(append(dst, header[:]...), body)
}

// record is what the PAX header of the next file says under a key.
func (a *Archive) record(key string) ([]byte, bool) {
	for _, r := range a.records {
		if r.key == key {
			return r.value, true
		}
	}
	return nil, false
}
