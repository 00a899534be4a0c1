package kubetest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// lines keeps what a program prints, for others to wait for it.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// wait reports whether text comes within some seconds.
func (l *lines) wait(text string) bool {
	for range 2000 {
		if strings.Contains(l.String(), text) {
			return true
		}
		time.Sleep(10 * time.Millisecond)
	}
	return false
}

// screen is a terminal with a program in it.
type screen struct {
	*lines
	master *os.File
	cmd    *exec.Cmd
	read   chan struct{} // closed when all was read
}

// screen runs a program at a terminal. It ends with the test.
func (k *client) screen(program string, rows, columns uint16, args ...string) *screen {
	t := k.t
	t.Helper()
	home := t.TempDir()
	if err := k.access.Kubeconfig(filepath.Join(home, "config")); err != nil {
		t.Fatal(err)
	}
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	s := &screen{lines: &lines{}, master: master, read: make(chan struct{})}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	s.size(t, rows, columns)
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	s.cmd = Command(ctx, program, filepath.Join(home, "config"), home, args...)
	s.cmd.Stdin, s.cmd.Stdout, s.cmd.Stderr = slave, slave, slave
	s.cmd.SysProcAttr = &unix.SysProcAttr{Setsid: true, Setctty: true}
	err = s.cmd.Start()
	slave.Close()
	t.Cleanup(func() {
		cancel()
		if err == nil {
			_ = s.cmd.Wait()
		}
		master.Close()
	})
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(s.read)
		_, _ = io.Copy(s, master) // ends with EIO when nobody has the terminal any more
	}()
	return s
}

func (s *screen) size(t *testing.T, rows, columns uint16) {
	t.Helper()
	if err := unix.IoctlSetWinsize(int(s.master.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: rows, Col: columns}); err != nil {
		t.Fatal(err)
	}
}

func (s *screen) write(t *testing.T, text string) {
	t.Helper()
	if _, err := io.WriteString(s.master, text); err != nil {
		t.Fatal(err)
	}
}

// end waits for the program's end and gives all that it showed.
func (s *screen) end() (string, int) {
	_ = s.cmd.Wait()
	<-s.read
	return s.String(), s.cmd.ProcessState.ExitCode()
}

// terminal runs kubectl at a terminal, which it makes larger at the first
// output, and types a line.
func (k *client) terminal(args ...string) (string, int) {
	t := k.t
	t.Helper()
	program, err := Kubectl(k.version)
	if err != nil {
		t.Fatal(err)
	}
	s := k.screen(program, 24, 80, args...)
	if !s.wait("/dev/pts/") {
		t.Errorf("the terminal shows %q", s)
	}
	s.size(t, 31, 101)
	time.Sleep(500 * time.Millisecond) // the size goes another way than the line
	s.write(t, "hello\n")
	return s.end()
}

// running reports whether a process of this machine has argument arg.
func running(arg string) bool {
	found, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, f := range found {
		if b, err := os.ReadFile(f); err == nil && slices.Contains(strings.Split(string(b), "\x00"), arg) {
			return true
		}
	}
	return false
}
