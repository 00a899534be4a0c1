package kubetest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
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

// terminal runs kubectl at a terminal, which it makes larger at the first
// output, and types a line.
func (k *client) terminal(args ...string) (string, int) {
	t := k.t
	t.Helper()
	program, err := Kubectl(k.version)
	if err != nil {
		t.Fatal(err)
	}
	home := t.TempDir()
	if err := k.access.Kubeconfig(filepath.Join(home, "config")); err != nil {
		t.Fatal(err)
	}
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer master.Close()
	fd := int(master.Fd())
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		err = unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: 80})
	}
	if err != nil {
		t.Fatal(err)
	}
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	cmd := Command(ctx, program, filepath.Join(home, "config"), home, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.SysProcAttr = &unix.SysProcAttr{Setsid: true, Setctty: true}
	err = cmd.Start()
	slave.Close()
	if err != nil {
		t.Fatal(err)
	}
	out, read := &lines{}, make(chan struct{})
	go func() {
		defer close(read)
		_, _ = io.Copy(out, master)
	}()
	if !out.wait("/dev/pts/") {
		t.Errorf("the terminal shows %q", out)
	}
	if err := unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 31, Col: 101}); err != nil {
		t.Fatal(err)
	}
	time.Sleep(500 * time.Millisecond) // the size goes another way than the line
	if _, err := io.WriteString(master, "hello\n"); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	<-read
	return out.String(), cmd.ProcessState.ExitCode()
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
