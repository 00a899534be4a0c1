package kubelet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// container is one container of a pod over all its runs. The pod's worker
// starts it; requests look at it at any time.
type container struct {
	spec corev1.Container
	dir  string // holds root folders and logs, a pair for each run

	mu       sync.Mutex
	now      *running
	previous *logFile
	restarts int32
	state    corev1.ContainerState
	last     corev1.ContainerState
	again    time.Time // when it is to be started again
	failures int       // in a row
}

// running is one run of a container.
type running struct {
	process *process
	log     *logFile
	out     *output
	err     *output
	stdin   io.WriteCloser // nil: none
	once    sync.Once      // closes stdin after the first client, where that is wanted
	tty     *os.File       // nil: none
	read    chan struct{}  // closed when all that the terminal showed was read
	env     []string
}

// plan is what a run of a container needs to know of its pod.
type plan struct {
	id      string // of the run
	host    string
	address string
	env     []string
	mounts  []mount
}

// idle is the process of a container that says no command: an image's own
// program is not there.
const idle = `echo "the image $1 is a name only and no command is given: waiting"
trap 'exit 0' TERM INT
while :; do sleep 3600 & wait; done
`

// argv is the command of a container, with $(NAME) replaced.
func argv(c corev1.Container, env []string) []string {
	if len(c.Command) == 0 {
		return []string{"/bin/sh", "-c", idle, "sh", c.Image}
	}
	var out []string
	for _, a := range append(append([]string(nil), c.Command...), c.Args...) {
		out = append(out, expand(a, env))
	}
	return out
}

// expand replaces $(NAME) by what env says; $$ is a dollar sign, and a name
// that is not there stays as it is written.
func expand(s string, env []string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '$' || i+1 == len(s) {
			b.WriteByte(s[i])
			continue
		}
		if s[i+1] == '$' {
			b.WriteByte('$')
			i++
			continue
		}
		end := strings.IndexByte(s[i:], ')')
		if s[i+1] != '(' || end < 0 {
			b.WriteByte('$')
			continue
		}
		name, found := s[i+2:i+end], false
		for j := len(env) - 1; j >= 0 && !found; j-- {
			if v, ok := strings.CutPrefix(env[j], name+"="); ok {
				b.WriteString(v)
				found = true
			}
		}
		if !found {
			b.WriteString(s[i : i+end+1])
		}
		i += end
	}
	return b.String()
}

// start runs the container. wake is called when it has ended.
func (c *container) start(p plan, wake func()) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	base := filepath.Join(c.dir, fmt.Sprint(c.restarts))
	if err := os.MkdirAll(base, 0o700); err != nil {
		return err
	}
	log, err := newLog(filepath.Join(base, "log"))
	if err != nil {
		return err
	}
	r := &running{log: log, out: newOutput(log), err: newOutput(log), env: p.env}
	box := &sandbox{root: filepath.Join(base, "root"), host: p.host, address: p.address, mounts: p.mounts}
	dir := c.spec.WorkingDir
	if dir == "" {
		dir = "/"
	}
	cmd, begun, err := box.command(dir, p.env, argv(c.spec, p.env))
	if err != nil {
		log.Close()
		return err
	}
	var slave io.Closer
	switch {
	case c.spec.TTY:
		if r.tty, err = ttyFor(cmd); err == nil {
			slave = cmd.Stdin.(io.Closer)
		}
	default:
		cmd.SysProcAttr.Setpgid = true
		cmd.Stdout, cmd.Stderr = r.out, r.err
		if c.spec.Stdin {
			r.stdin, err = cmd.StdinPipe()
		}
	}
	if err == nil {
		r.process, err = startProcess(cmd)
	}
	if slave != nil {
		slave.Close()
	}
	for _, f := range cmd.ExtraFiles {
		defer f.Close()
	}
	if err != nil {
		if r.tty != nil {
			r.tty.Close()
		}
		log.Close()
		return err
	}
	if r.tty != nil {
		if c.spec.Stdin {
			r.stdin = r.tty
		}
		r.read = make(chan struct{})
		go func() {
			defer close(r.read)
			_, _ = io.Copy(r.out, r.tty) // ends with EIO when nobody has the terminal any more
		}()
	}
	if err := begun(); err != nil {
		r.process.kill(syscall.SIGKILL)
		<-r.process.done
		said, _ := os.ReadFile(log.path)
		r.close()
		return fmt.Errorf("%w: %s", err, said)
	}
	c.now = r
	c.state = corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.Now()}}
	go func() {
		<-r.process.done
		r.close()
		c.ended(r, p.id)
		wake()
	}()
	return nil
}

// close ends the streams of a run whose process has ended.
func (r *running) close() {
	if r.tty != nil {
		select {
		case <-r.read:
		case <-time.After(drain):
		}
		r.tty.Close()
	}
	r.out.end()
	r.err.end()
	r.log.Close()
}

func (c *container) ended(r *running, id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := &corev1.ContainerStateTerminated{ExitCode: int32(r.process.code), Reason: "Completed", FinishedAt: metav1.Now(), ContainerID: id}
	if c.state.Running != nil {
		t.StartedAt = c.state.Running.StartedAt
	}
	if t.ExitCode != 0 {
		t.Reason = "Error"
	}
	c.state = corev1.ContainerState{Terminated: t}
	if time.Since(t.StartedAt.Time) > 10*time.Second {
		c.failures = 0
	}
	c.again = time.Now().Add(min(10*time.Second, time.Second<<min(c.failures, 4)))
	c.failures++
}

// restart makes the container ready for start to be called again.
func (c *container) restart() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last, c.state = c.state, corev1.ContainerState{}
	if c.previous != nil {
		os.RemoveAll(filepath.Dir(c.previous.path))
	}
	c.previous, c.now = c.now.log, nil
	c.restarts++
}

// isRunning gives the run that is going on, or nil.
func (c *container) isRunning() *running {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.now == nil || c.now.process.ended() {
		return nil
	}
	return c.now
}

// stop asks the first process to end and kills the container after grace.
func (c *container) stop(grace time.Duration) {
	r := c.isRunning()
	if r == nil {
		return
	}
	if grace > 0 {
		_ = r.process.cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-r.process.done:
			return
		case <-time.After(grace):
		}
	}
	// The first process takes all others of its namespace with it.
	_ = r.process.cmd.Process.Signal(syscall.SIGKILL)
	<-r.process.done
}

var errNotRunning = errors.New("container is not running")

// exec runs a command in the container.
func (c *container) exec(ctx context.Context, argv []string, s streams) error {
	r := c.isRunning()
	if r == nil {
		return errNotRunning
	}
	env := r.env
	if s.tty {
		env = append(append([]string(nil), env...), "TERM=xterm")
	}
	return run(ctx, inside(r.process.cmd.Process.Pid, c.spec.WorkingDir, env, argv), s)
}

// attach joins the first process's streams until it ends.
func (c *container) attach(ctx context.Context, s streams) error {
	r := c.isRunning()
	if r == nil {
		return errNotRunning
	}
	var taps []*tap
	if s.out != nil {
		taps = append(taps, r.out.attach(s.out))
	}
	if s.err != nil && r.tty == nil {
		taps = append(taps, r.err.attach(s.err))
	}
	if r.tty != nil && s.resize != nil {
		go resizePTY(r.tty, s.resize, r.process.done)
	}
	if s.in != nil && r.stdin != nil {
		go func() {
			_, _ = io.Copy(r.stdin, s.in)
			if c.spec.StdinOnce && r.tty == nil {
				r.once.Do(func() { r.stdin.Close() })
			}
		}()
	}
	for _, t := range taps {
		select {
		case <-t.done: // the process has ended, or the client has gone
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	select {
	case <-r.process.done:
	case <-ctx.Done():
		return ctx.Err()
	default:
		if len(taps) == 0 {
			<-r.process.done
		}
	}
	return nil
}

// logs gives the log of the run that is going on, or of the one before.
func (c *container) logs(previous bool) (*logFile, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case previous && c.previous != nil:
		return c.previous, nil
	case previous:
		return nil, fmt.Errorf("previous terminated container %q not found", c.spec.Name)
	case c.now != nil:
		return c.now.log, nil
	case c.previous != nil:
		return c.previous, nil
	}
	return nil, fmt.Errorf("container %q is waiting to start: ContainerCreating", c.spec.Name)
}

// status is what the API shows of the container.
func (c *container) status(id string) corev1.ContainerStatus {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := corev1.ContainerStatus{
		Name: c.spec.Name, Image: c.spec.Image, ImageID: c.spec.Image, RestartCount: c.restarts,
		State: c.state, LastTerminationState: c.last, Ready: c.state.Running != nil,
	}
	started := s.Ready
	s.Started = &started
	if s.State == (corev1.ContainerState{}) {
		s.State.Waiting = &corev1.ContainerStateWaiting{Reason: "ContainerCreating"}
	} else {
		s.ContainerID = id
	}
	return s
}

// code is the exit code of a run that has ended.
func (c *container) code() (int, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if t := c.state.Terminated; t != nil {
		return int(t.ExitCode), true
	}
	return 0, false
}

// begun reports whether there is a run, be it that it has just ended.
func (c *container) begun() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now != nil
}

// wait is how long it takes until the container may be started again.
func (c *container) wait() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Until(c.again)
}
