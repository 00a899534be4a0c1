package config

import (
	"bytes"
	"context"
	"errors"
	"os"
	"time"
)

// How often Watch looks.
const watchEvery = time.Second

// Watch looks at the file each second until ctx ends. When its content has
// changed, stands still for one look and is right, it calls onChange with the
// new configuration; when it is, and stays, wrong, empty or gone, it calls
// onError once for that, and the old configuration stays. Both are called from this goroutine,
// one at a time. The first look only remembers: what was loaded before is taken
// to be what is there.
func Watch(ctx context.Context, path string, onChange func(*Config), onError func(error)) {
	watch(ctx, path, watchEvery, onChange, onError)
}

func watch(ctx context.Context, path string, every time.Duration, onChange func(*Config), onError func(error)) {
	w := &watcher{path: path, settled: 3 * every}
	w.current, _ = readFile(path)
	w.stat, _ = os.Stat(path)
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		data, err := w.look()
		if err != nil {
			onError(err)
			continue
		}
		if data == nil {
			continue
		}
		c, err := Parse(path, data)
		if err != nil {
			onError(err)
			continue
		}
		onChange(c)
	}
}

type watcher struct {
	path    string
	settled time.Duration // after this, times and size tell that nothing changed
	current []byte        // what was taken, or told to be wrong
	next    []byte        // what the last look saw, if it differs
	stat    os.FileInfo   // of the last look
	failing string        // the error that the last look saw
	failed  string        // the error that was told
}

// look gives the content once it is new and stands still: an editor may be in
// the middle of writing it. It gives nil when there is nothing new.
func (w *watcher) look() ([]byte, error) {
	stat, err := os.Stat(w.path)
	if err == nil && w.failing == "" && w.next == nil && w.stat != nil && time.Since(stat.ModTime()) > w.settled &&
		os.SameFile(stat, w.stat) && stat.ModTime().Equal(w.stat.ModTime()) && stat.Size() == w.stat.Size() {
		return nil, nil
	}
	data, err := readFile(w.path)
	if err == nil && len(bytes.TrimSpace(data)) == 0 {
		err = errors.New("the configuration " + w.path + " is empty; the one before stays in force")
	}
	if err != nil {
		again := w.failing == err.Error()
		w.failing, w.next, w.stat = err.Error(), nil, nil
		if !again || w.failed == w.failing {
			return nil, nil
		}
		w.failed = w.failing
		return nil, err
	}
	w.failing = ""
	switch {
	case bytes.Equal(data, w.current):
		w.failed, w.next, w.stat = "", nil, stat
		return nil, nil
	case w.next == nil || !bytes.Equal(data, w.next):
		w.next = data
		return nil, nil
	}
	w.failed, w.current, w.next, w.stat = "", data, nil, stat
	return data, nil
}
