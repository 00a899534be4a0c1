package lane

import (
	"errors"
	"sync"

	"github.com/doorward/doorward/internal/wire/frame"
)

// Receiver takes the frames of one answer.
type Receiver interface {
	Receive(kind byte, body []byte) error
}

// Sink is the client's end of a session: it takes the frames that the gate
// releases, and gives them to the answer that is being written.
type Sink struct {
	mu sync.Mutex
	to Receiver // nil between requests
}

var errNoRequest = errors.New("there is no request to answer")

// Use makes the sink write to an answer; nil: there is none.
func (k *Sink) Use(to Receiver) {
	k.mu.Lock()
	k.to = to
	k.mu.Unlock()
}

// Write implements io.Writer for whole frames.
func (k *Sink) Write(frames []byte) (int, error) {
	k.mu.Lock()
	to := k.to
	k.mu.Unlock()
	if to == nil {
		return 0, errNoRequest
	}
	if err := frame.Each(frames, to.Receive); err != nil {
		return 0, err
	}
	return len(frames), nil
}
