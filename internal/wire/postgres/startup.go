package postgres

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Codes that stand where a startup packet has its protocol version.
const (
	CodeCancel = 80877102
	CodeTLS    = 80877103
	CodeGSS    = 80877104
)

// maxStartup bounds a startup packet, as the server itself does.
const maxStartup = 10000

// Startup is the first packet of a connection.
type Startup struct {
	Code   uint32 // protocol version, or one of the codes
	Params [][2]string
	PID    uint32 // CodeCancel only
	Secret []byte // CodeCancel only
}

// Version splits Code into the protocol's major and minor number.
func (s *Startup) Version() (major, minor int) { return int(s.Code >> 16), int(s.Code & 0xffff) }

// ReadStartup reads exactly one startup packet and not a byte more, so that
// nothing that came before TLS can be taken for something that came after it.
func ReadStartup(r io.Reader) (*Startup, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	return ReadStartupRest(r, head)
}

// ReadStartupRest is [ReadStartup] when the length was read already.
func ReadStartupRest(r io.Reader, head [4]byte) (*Startup, error) {
	n := binary.BigEndian.Uint32(head[:])
	if n < 8 || n > maxStartup {
		return nil, fmt.Errorf("startup packet: %w: %d bytes", ErrTooLong, n)
	}
	body := make([]byte, n-4)
	if _, err := io.ReadFull(r, body); err != nil {
		return nil, err
	}
	return ParseStartup(body)
}

// ParseStartup parses a startup packet without its length.
func ParseStartup(body []byte) (*Startup, error) {
	if len(body) < 4 {
		return nil, errors.New("startup packet: shorter than its version")
	}
	s := &Startup{Code: binary.BigEndian.Uint32(body)}
	rest := body[4:]
	switch s.Code {
	case CodeTLS, CodeGSS:
		if len(rest) != 0 {
			return nil, errors.New("startup packet: bytes after an encryption request")
		}
		return s, nil
	case CodeCancel:
		if len(rest) < 8 || len(rest) > 4+256 {
			return nil, errors.New("cancel request: bad length")
		}
		s.PID = binary.BigEndian.Uint32(rest)
		s.Secret = append([]byte(nil), rest[4:]...)
		return s, nil
	}
	if s.Code>>16 != 3 {
		return s, nil
	}
	for {
		if len(rest) == 1 && rest[0] == 0 {
			return s, nil
		}
		var k, v string
		var ok bool
		if k, rest, ok = cstr(rest); !ok || k == "" {
			return nil, errors.New("startup packet: parameters do not end properly")
		}
		if v, rest, ok = cstr(rest); !ok {
			return nil, errors.New("startup packet: a parameter has no value")
		}
		if len(s.Params) == 64 {
			return nil, errors.New("startup packet: too many parameters")
		}
		s.Params = append(s.Params, [2]string{k, v})
	}
}

// AppendCancel appends a cancel request.
func AppendCancel(dst []byte, pid uint32, secret []byte) []byte {
	dst = binary.BigEndian.AppendUint32(dst, uint32(12+len(secret)))
	dst = binary.BigEndian.AppendUint32(dst, CodeCancel)
	dst = binary.BigEndian.AppendUint32(dst, pid)
	return append(dst, secret...)
}

// AppendTLSRequest appends the request for TLS.
func AppendTLSRequest(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint32(dst, 8)
	return binary.BigEndian.AppendUint32(dst, CodeTLS)
}
