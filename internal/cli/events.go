package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

const (
	maxEvent   = 16 << 20
	watchQuiet = time.Minute // the gate sends a heartbeat every 15 s
)

// follow reads the event stream until ctx ends or see says stop, and comes
// back when the connection is lost. back is called after every (re)connection,
// so that nothing in between is missed.
func (c *client) follow(ctx context.Context, back func() (stop bool, err error), see func(kind string, data []byte) (stop bool, err error)) error {
	pause := time.Second
	for {
		stop, err := c.followOnce(ctx, back, see, func() { pause = time.Second })
		if ctx.Err() != nil { // Ctrl-C: what was asked for is done
			return nil
		}
		if stop {
			return err
		}
		var exit *Exit
		if errors.As(err, &exit) { // signed out, refused: trying again would not help
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
		pause = min(2*pause, 30*time.Second)
	}
}

func (c *client) followOnce(ctx context.Context, back func() (bool, error), see func(string, []byte) (bool, error), up func()) (stop bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	resp, err := c.open(ctx, http.MethodGet, "/api/v1/events", nil)
	if err != nil {
		return false, err
	}
	defer resp.Body.Close()
	up()
	if stop, err := back(); stop || err != nil {
		return stop, err
	}
	quiet := time.AfterFunc(watchQuiet, cancel)
	defer quiet.Stop()
	return readEvents(resp.Body, func() { quiet.Reset(watchQuiet) }, see)
}

// readEvents reads server-sent events. alive is called with every line.
func readEvents(r io.Reader, alive func(), see func(kind string, data []byte) (bool, error)) (stop bool, err error) {
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 0, 64<<10), maxEvent)
	kind, data := "", []byte(nil)
	for lines.Scan() {
		alive()
		line := lines.Text()
		switch {
		case line == "":
			if data != nil {
				if stop, err := see(kind, data); stop || err != nil {
					return stop, err
				}
			}
			kind, data = "", nil
		case strings.HasPrefix(line, "event:"):
			kind = strings.TrimSpace(line[len("event:"):])
		case strings.HasPrefix(line, "data:"):
			if data != nil {
				data = append(data, '\n')
			}
			data = append(data, strings.TrimPrefix(line[len("data:"):], " ")...)
			if len(data) > maxEvent {
				return false, fmt.Errorf("an event of the gate is longer than %d bytes", maxEvent)
			}
		}
	}
	return false, lines.Err()
}
