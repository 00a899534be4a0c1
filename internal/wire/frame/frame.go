package frame

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// The kinds of frames. A frame is its kind, the length of its body (4 bytes,
// big-endian), and the body.
const (
	Output  = 'o' // what the target wrote to standard output
	Errors  = 'e' // what the target wrote to standard error
	Message = 'm' // a message of doorward's own, shown on standard error
	Window  = 'w' // columns and rows, 4 bytes each, big-endian; recorded only
	Exit    = 'x' // exit status, 4 bytes, big-endian
	Signal  = 'k' // name of the signal that ended the command, without SIG
	Head    = 'h' // status and headers of an HTTP answer, as JSON; its body follows as output
)

// HeaderLen is the length of a frame without its body.
const HeaderLen = 5

// MaxBody bounds the body of a frame.
const MaxBody = 1 << 20

// Append appends a frame with this body.
func Append(dst []byte, kind byte, body []byte) []byte {
	dst = append(dst, kind)
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(body)))
	return append(dst, body...)
}

// AppendExit appends the end of a command by its exit status.
func AppendExit(dst []byte, status uint32) []byte {
	return Append(dst, Exit, binary.BigEndian.AppendUint32(nil, status))
}

// AppendWindow appends a window size in characters.
func AppendWindow(dst []byte, columns, rows uint32) []byte {
	return Append(dst, Window, binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, columns), rows))
}

// ErrFrame says that bytes are not frames.
var ErrFrame = errors.New("not a frame of a session")

// Next takes the first frame off b. A nil body with a nil error means that the
// frame is not whole yet; an empty body is not nil.
func Next(b []byte) (kind byte, body, rest []byte, err error) {
	if len(b) < HeaderLen {
		return 0, nil, b, nil
	}
	n := binary.BigEndian.Uint32(b[1:])
	switch b[0] {
	case Output, Errors, Message, Signal, Head:
	case Window:
		if n != 8 {
			return 0, nil, b, fmt.Errorf("%w: a window size of %d bytes", ErrFrame, n)
		}
	case Exit:
		if n != 4 {
			return 0, nil, b, fmt.Errorf("%w: an exit status of %d bytes", ErrFrame, n)
		}
	default:
		return 0, nil, b, fmt.Errorf("%w: kind %q", ErrFrame, b[0])
	}
	if n > MaxBody {
		return 0, nil, b, fmt.Errorf("%w: a body of %d bytes", ErrFrame, n)
	}
	end := HeaderLen + int(n)
	if len(b) < end {
		return 0, nil, b, nil
	}
	return b[0], b[HeaderLen:end:end], b[end:], nil
}

// Each calls fn with each frame of b, which holds whole ones. An error of fn
// ends it.
func Each(b []byte, fn func(kind byte, body []byte) error) error {
	for len(b) > 0 {
		kind, body, rest, err := Next(b)
		if err != nil {
			return err
		}
		if body == nil {
			return io.ErrShortWrite
		}
		if err := fn(kind, body); err != nil {
			return err
		}
		b = rest
	}
	return nil
}
