package kubelet

import (
	"io"
	"sync"
	"time"
)

const (
	outputQueue = 256              // chunks that an attached client may be behind
	outputStall = 10 * time.Second // how long it may hold up the process
)

// output gives what a process prints to its log and to who is attached.
type output struct {
	log io.Writer

	mu    sync.Mutex
	ended bool
	taps  map[*tap]bool
}

// tap is one attached client's stream.
type tap struct {
	queue chan []byte
	done  chan struct{} // closed when the client has got all, or is gone
}

func newOutput(log io.Writer) *output { return &output{log: log, taps: map[*tap]bool{}} }

func (o *output) Write(p []byte) (int, error) {
	_, _ = o.log.Write(p)
	o.mu.Lock()
	defer o.mu.Unlock()
	for t := range o.taps {
		chunk := append([]byte(nil), p...)
		select {
		case t.queue <- chunk:
			continue
		case <-t.done:
		default:
			select {
			case t.queue <- chunk:
				continue
			case <-t.done:
			case <-time.After(outputStall):
			}
		}
		delete(o.taps, t)
		close(t.queue)
	}
	return len(p), nil
}

// attach copies to w from now on until the end of the process, which closes
// done of the tap.
func (o *output) attach(w io.Writer) *tap {
	t := &tap{queue: make(chan []byte, outputQueue), done: make(chan struct{})}
	o.mu.Lock()
	if o.ended {
		close(t.queue)
	} else {
		o.taps[t] = true
	}
	o.mu.Unlock()
	go func() {
		defer close(t.done)
		for chunk := range t.queue {
			if _, err := w.Write(chunk); err != nil {
				return
			}
		}
	}()
	return t
}

// end lets all clients come to an end.
func (o *output) end() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.ended = true
	for t := range o.taps {
		delete(o.taps, t)
		close(t.queue)
	}
}
