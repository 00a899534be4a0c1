package replay

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

// maxCastLine bounds one line of an asciicast that is played.
const maxCastLine = 16 << 20

// ErrCast says that something is not an asciicast v3.
var ErrCast = errors.New("this is not an asciicast version 3")

// Terminal plays an SSH session in a terminal as it was: with its timing
// divided by speed, 0 meaning without any. What it writes can do nothing to the
// terminal but draw, and the terminal is left as it was found.
func (r *Replay) Terminal(ctx context.Context, w io.Writer, speed float64) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	from, to := io.Pipe()
	wrote := make(chan error, 1)
	go func() {
		err := r.Asciicast(ctx, to)
		to.CloseWithError(err)
		wrote <- err
	}()
	err := PlayCast(ctx, from, w, speed)
	from.CloseWithError(io.ErrClosedPipe)
	<-wrote
	return err
}

// PlayCast plays an asciicast v3 in a terminal. It does not trust it: what is
// drawn goes through a [Filter]. Markers about requests ("#…") are lines of
// their own. An error of src is returned after what came before it was shown.
func PlayCast(ctx context.Context, src io.Reader, w io.Writer, speed float64) error {
	in := bufio.NewScanner(src)
	in.Buffer(make([]byte, 0, 64<<10), maxCastLine)
	if !in.Scan() {
		return errors.Join(ErrCast, in.Err())
	}
	var head castHead
	if err := json.Unmarshal(in.Bytes(), &head); err != nil || head.Version != 3 {
		return ErrCast
	}
	p := &player{w: w, speed: speed}
	p.filter.lines = linesIndex
	if _, err := fmt.Fprintf(w, "%s, %dx%d\r\n\r\n", cleanCell(head.Title), head.Term.Cols, head.Term.Rows); err != nil {
		return err
	}
	err := p.all(ctx, in)
	// Also when it was interrupted.
	if _, e := w.Write(append(p.filter.Reset(nil), '\r', '\n')); err == nil {
		err = e
	}
	return err
}

type player struct {
	w      io.Writer
	speed  float64
	filter Filter
	out    []byte
}

func (p *player) all(ctx context.Context, in *bufio.Scanner) error {
	for in.Scan() {
		line := bytes.TrimSpace(in.Bytes())
		if len(line) == 0 || line[0] == '#' {
			continue
		}
		var ev [3]json.RawMessage
		var after float64
		var code, data string
		if json.Unmarshal(line, &ev) != nil || json.Unmarshal(ev[0], &after) != nil || json.Unmarshal(ev[1], &code) != nil || json.Unmarshal(ev[2], &data) != nil {
			return ErrCast
		}
		if err := p.wait(ctx, after); err != nil {
			return err
		}
		if err := p.event(code, data); err != nil {
			return err
		}
	}
	return in.Err()
}

// wait waits for seconds of the recording.
func (p *player) wait(ctx context.Context, seconds float64) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if !(p.speed > 0 && seconds > 0) {
		return nil
	}
	pause := time.NewTimer(time.Duration(min(seconds/p.speed, maxPause.Seconds()) * float64(time.Second)))
	defer pause.Stop()
	select {
	case <-pause.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (p *player) event(code, data string) error {
	switch {
	case code == "o":
		p.out = p.filter.Append(p.out[:0], []byte(data))
	case code == "m" && strings.HasPrefix(data, "#") && !p.filter.alt:
		p.out = fmt.Appendf(p.filter.Reset(p.out[:0]), "\r\n\x1b[2m%s\x1b[0m\r\n", cleanCell(data))
	default:
		return nil
	}
	_, err := p.w.Write(p.out)
	return err
}
