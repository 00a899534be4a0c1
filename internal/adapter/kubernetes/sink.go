package kubernetes

import (
	"errors"
	"sync"

	"github.com/doorward/doorward/internal/wire/frame"
)

// receiver takes the frames of one answer.
type receiver interface {
	receive(kind byte, body []byte) error
}

// sink is the client's end of a session: it takes the frames that the gate
// releases, and gives them to the answer that is being written.
type sink struct {
	mu sync.Mutex
	to receiver // nil between requests
}

var errNoRequest = errors.New("there is no request to answer")

// use makes the sink write to an answer.
func (k *sink) use(to receiver) {
	k.mu.Lock()
	k.to = to
	k.mu.Unlock()
}

// Write implements io.Writer for whole frames.
func (k *sink) Write(frames []byte) (int, error) {
	k.mu.Lock()
	to := k.to
	k.mu.Unlock()
	if to == nil {
		return 0, errNoRequest
	}
	if err := frame.Each(frames, to.receive); err != nil {
		return 0, err
	}
	return len(frames), nil
}
