package ssh

import (
	"encoding/binary"
	"errors"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/doorward/doorward/internal/wire/frame"
)

const writeWait = 5 * time.Minute // for a client that does not read

// sink is the client's end of a session: it takes the frames that the gate
// releases and writes what they say to the channel.
type sink struct {
	stuck func() // closes the connection of a client that does not read
	mu    sync.Mutex
	ch    ssh.Channel // nil before there is one
	done  bool
}

var errNoChannel = errors.New("the client has no channel yet")

// use makes the sink write to a channel.
func (k *sink) use(ch ssh.Channel) {
	k.mu.Lock()
	k.ch = ch
	k.mu.Unlock()
}

func (k *sink) end() {
	k.mu.Lock()
	k.done = true
	k.mu.Unlock()
}

func (k *sink) ended() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.done
}

// Write implements io.Writer for whole frames.
func (k *sink) Write(frames []byte) (int, error) {
	k.mu.Lock()
	ch := k.ch
	k.mu.Unlock()
	if ch == nil {
		return 0, errNoChannel
	}
	defer time.AfterFunc(writeWait, k.stuck).Stop()
	err := frame.Each(frames, func(kind byte, body []byte) (err error) {
		switch kind {
		case frame.Output:
			_, err = ch.Write(body)
		case frame.Errors, frame.Message:
			_, err = ch.Stderr().Write(body)
		case frame.Exit:
			_, err = ch.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{binary.BigEndian.Uint32(body)}))
		case frame.Signal:
			_, err = ch.SendRequest("exit-signal", false, ssh.Marshal(struct {
				Signal        string
				Core          bool
				Message, Lang string
			}{string(body), false, "", ""}))
		}
		return err
	})
	if err != nil {
		return 0, err
	}
	return len(frames), nil
}
