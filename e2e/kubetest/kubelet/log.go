package kubelet

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

const (
	logLimit  = 32 << 20 // bytes of one container's log; what comes later is not kept
	lineLimit = 16 << 10 // bytes of a line, as a container runtime cuts them
)

// logFile keeps what one run of a container printed: a line for each line,
// after the time at which it came.
type logFile struct {
	path string

	mu     sync.Mutex
	file   *os.File
	size   int64
	part   bytes.Buffer // the line that is not ended yet
	ended  bool
	change chan struct{} // closed at every change
}

func newLog(path string) (*logFile, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	return &logFile{path: path, file: f, change: make(chan struct{})}, nil
}

// Write takes output. It never fails: a process must not end for its log.
func (l *logFile) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	rest := p
	for len(rest) > 0 {
		n := bytes.IndexByte(rest, '\n')
		take := len(rest)
		if n >= 0 {
			take = n + 1
		}
		take = min(take, lineLimit-l.part.Len())
		l.part.Write(rest[:take])
		rest = rest[take:]
		if b := l.part.Bytes(); b[len(b)-1] == '\n' || len(b) >= lineLimit {
			l.flush()
		}
	}
	l.announce()
	return len(p), nil
}

func (l *logFile) flush() {
	b := bytes.TrimSuffix(l.part.Bytes(), []byte("\n"))
	if !l.ended && l.size < logLimit {
		line := fmt.Appendf(nil, "%s %s\n", time.Now().UTC().Format(time.RFC3339Nano), b)
		n, _ := l.file.Write(line)
		l.size += int64(n)
	}
	l.part.Reset()
}

func (l *logFile) announce() {
	close(l.change)
	l.change = make(chan struct{})
}

// Close ends the log: who follows it comes to an end.
func (l *logFile) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		return nil
	}
	if l.part.Len() > 0 {
		l.flush()
	}
	l.ended = true
	l.announce()
	return l.file.Close()
}

// logOptions are those of the API's logs.
type logOptions struct {
	follow, timestamps bool
	tail               int64 // lines; -1: all
	limit              int64 // bytes; -1: no limit
	since              time.Time
}

// copyTo writes the log to w.
func (l *logFile) copyTo(ctx context.Context, w io.Writer, o logOptions) error {
	f, err := os.Open(l.path)
	if err != nil {
		return err
	}
	defer f.Close()
	var kept []byte // read and not ended
	first := true
	buf := make([]byte, 32<<10)
	for {
		l.mu.Lock()
		size, ended, change := l.size, l.ended, l.change
		l.mu.Unlock()
		at, err := f.Seek(0, io.SeekCurrent)
		if err != nil {
			return err
		}
		data := kept
		for at < size {
			n, err := f.Read(buf[:min(int64(len(buf)), size-at)])
			if err != nil {
				return err
			}
			data, at = append(data, buf[:n]...), at+int64(n)
		}
		lines := bytes.SplitAfter(data, []byte("\n"))
		kept = bytes.Clone(lines[len(lines)-1])
		lines = lines[:len(lines)-1]
		if first && o.tail >= 0 && int64(len(lines)) > o.tail {
			lines = lines[int64(len(lines))-o.tail:]
		}
		first = false
		for _, line := range lines {
			stamp, text, _ := bytes.Cut(line, []byte(" "))
			if t, err := time.Parse(time.RFC3339Nano, string(stamp)); err == nil && t.Before(o.since) {
				continue
			}
			if !o.timestamps {
				line = text
			}
			if o.limit >= 0 {
				line = line[:min(int64(len(line)), o.limit)]
				o.limit -= int64(len(line))
			}
			if _, err := w.Write(line); err != nil || o.limit == 0 {
				return err
			}
		}
		if ended || !o.follow {
			return nil
		}
		select {
		case <-change:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
