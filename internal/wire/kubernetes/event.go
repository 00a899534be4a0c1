package kubernetes

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// MaxFrame bounds one frame of a watch, in bytes: as client-go does.
const MaxFrame = 16 << 20

// frameHeader is the length of a frame's header: the length of its body,
// big-endian (k8s.io/apimachinery/pkg/util/framer).
const frameHeader = 4

// NextFrame takes the first frame of a watch in protobuf off b. A nil body with
// a nil error means that the frame is not whole yet; an empty body is not nil.
// The error, about a frame that is too large, has [ErrMessage] in it.
func NextFrame(b []byte) (body, rest []byte, err error) {
	if len(b) < frameHeader {
		return nil, b, nil
	}
	n := binary.BigEndian.Uint32(b)
	if n > MaxFrame {
		return nil, b, fmt.Errorf("%w: a frame of %d bytes: at most %d", ErrMessage, n, MaxFrame)
	}
	end := frameHeader + int(n)
	if len(b) < end {
		return nil, b, nil
	}
	return b[frameHeader:end:end], b[end:], nil
}

// AppendFrame appends a frame with this body.
func AppendFrame(dst, body []byte) ([]byte, error) {
	if len(body) > MaxFrame {
		return dst, fmt.Errorf("%w: a frame of %d bytes: at most %d", ErrMessage, len(body), MaxFrame)
	}
	return append(binary.BigEndian.AppendUint32(dst, uint32(len(body))), body...), nil
}

// EventToJSON turns the body of a frame, an event of a watch in protobuf, into
// JSON: {"type": …, "object": …}. Errors as those of [ToJSON].
func EventToJSON(body []byte) ([]byte, error) {
	var e metav1.WatchEvent
	if err := e.Unmarshal(body); err != nil {
		return nil, fmt.Errorf("%w: an event of a watch: %w", ErrMessage, err)
	}
	again, err := e.Marshal()
	if err != nil || !same(body, again, 0) {
		return nil, fmt.Errorf("%w: an event of a watch has unknown fields", ErrLossy)
	}
	object, err := ToJSON(e.Object.Raw)
	if err != nil {
		return nil, fmt.Errorf("the object of an event: %w", err)
	}
	if !isType(e.Type) {
		return nil, fmt.Errorf("%w: an event of a watch of type %.60q", ErrMessage, e.Type)
	}
	out := append([]byte(`{"type":"`), e.Type...)
	out = append(append(out, `","object":`...), object...)
	return append(out, '}'), nil
}

// EventFromJSON turns an event of a watch in JSON into the body of a frame.
// Errors as those of [FromJSON].
func EventFromJSON(doc []byte) ([]byte, error) {
	if len(doc) > MaxMessage {
		return nil, fmt.Errorf("%w: %d bytes: at most %d", ErrMessage, len(doc), MaxMessage)
	}
	kind, object, err := splitEvent(doc)
	if err != nil {
		return nil, fmt.Errorf("%w: an event of a watch: %w", ErrMessage, err)
	}
	if object, err = FromJSON(object); err != nil {
		return nil, fmt.Errorf("the object of an event: %w", err)
	}
	body, err := (&metav1.WatchEvent{Type: kind, Object: runtime.RawExtension{Raw: object}}).Marshal()
	if err != nil {
		return nil, fmt.Errorf("%w: an event of a watch: %w", ErrLossy, err)
	}
	return body, nil
}

// splitEvent reads {"type": …, "object": …}, and nothing else.
func splitEvent(doc []byte) (kind string, object json.RawMessage, err error) {
	d := json.NewDecoder(bytes.NewReader(doc))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return "", nil, errors.New("it is no object")
	}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return "", nil, err
		}
		switch {
		case key == "type" && kind == "":
			err = d.Decode(&kind)
		case key == "object" && object == nil:
			err = d.Decode(&object)
		default:
			err = fmt.Errorf("the key %.60q is not known, or there twice", key)
		}
		if err != nil {
			return "", nil, err
		}
	}
	if _, err := d.Token(); err != nil {
		return "", nil, err
	}
	if len(bytes.TrimSpace(doc[d.InputOffset():])) > 0 {
		return "", nil, errors.New("something stands behind it")
	}
	if !isType(kind) {
		return "", nil, fmt.Errorf("its type is %.60q", kind)
	}
	return kind, object, nil
}

// isType reports whether a word can be the type of an event: ADDED, BOOKMARK.
func isType(s string) bool {
	for _, c := range s {
		if c < 'A' || c > 'Z' {
			return false
		}
	}
	return s != ""
}
