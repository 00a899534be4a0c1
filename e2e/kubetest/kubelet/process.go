package kubelet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
	utilexec "k8s.io/utils/exec"
)

// drain is how long output may still come after the end of a process, from
// what it left behind.
const drain = 2 * time.Second

// process is a child of this program. It is killed when this program ends.
type process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended and its output was read
	code int           // after done: exit code, or 128 and the signal
}

func startProcess(cmd *exec.Cmd) (*process, error) {
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	cmd.WaitDelay = drain
	p := &process{cmd: cmd, done: make(chan struct{})}
	started := make(chan error)
	go func() {
		// The death signal is tied to the thread that started the child.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err != nil {
			return
		}
		_ = cmd.Wait() // what it says beyond the state is of the copying
		if w, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && w.Signaled() {
			p.code = 128 + int(w.Signal())
		} else {
			p.code = cmd.ProcessState.ExitCode()
		}
		close(p.done)
	}()
	return p, <-started
}

func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// kill sends sig to the process and what is in its group.
func (p *process) kill(sig syscall.Signal) {
	if !p.ended() {
		_ = syscall.Kill(-p.cmd.Process.Pid, sig)
	}
}

// inside prepares a command that runs among the processes of a container whose
// first process is pid.
func inside(pid int, dir string, env, argv []string) *exec.Cmd {
	args := []string{"--target", strconv.Itoa(pid), "--user", "--mount", "--uts", "--pid", "--root", "--preserve-credentials", "--"}
	if dir != "" && dir != "/" {
		args = append(args, "env", "--chdir="+dir, "--")
	}
	cmd := exec.Command("/usr/bin/nsenter", append(args, argv...)...)
	cmd.Env, cmd.Dir = env, "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{}
	return cmd
}

// streams are those of one exec.
type streams struct {
	in       io.Reader
	out, err io.WriteCloser
	tty      bool
	resize   <-chan remotecommand.TerminalSize
}

// run runs cmd with the streams of a client until it ends or ctx does. The
// error of a code that is not zero is a utilexec.CodeExitError.
func run(ctx context.Context, cmd *exec.Cmd, s streams) error {
	if s.tty {
		return runTTY(ctx, cmd, s)
	}
	cmd.SysProcAttr.Setpgid = true
	var stdin io.WriteCloser
	if s.in != nil {
		w, err := cmd.StdinPipe()
		if err != nil {
			return err
		}
		stdin = w
	}
	if s.out != nil {
		cmd.Stdout = s.out
	}
	if s.err != nil {
		cmd.Stderr = s.err
	}
	p, err := startProcess(cmd)
	if err != nil {
		return err
	}
	if stdin != nil {
		go func() {
			_, _ = io.Copy(stdin, s.in)
			stdin.Close()
		}()
	}
	return p.wait(ctx)
}

func runTTY(ctx context.Context, cmd *exec.Cmd, s streams) error {
	master, err := ttyFor(cmd)
	if err != nil {
		return err
	}
	defer master.Close()
	p, err := startProcess(cmd)
	closeTTY(cmd)
	if err != nil {
		return err
	}
	go resizePTY(master, s.resize, p.done)
	if s.in != nil {
		go typeInto(master, s.in)
	}
	read := make(chan struct{})
	go func() {
		defer close(read)
		var w io.Writer = io.Discard
		if s.out != nil {
			w = s.out
		}
		_, _ = io.Copy(w, master) // ends with EIO when nobody has the terminal any more
	}()
	err = p.wait(ctx)
	select {
	case <-read:
	case <-time.After(drain):
	}
	return err
}

// ttyFor gives cmd a new terminal; closeTTY is to be called after its start.
func ttyFor(cmd *exec.Cmd) (*os.File, error) {
	master, slave, err := openPTY()
	if err != nil {
		return nil, err
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.SysProcAttr.Setsid, cmd.SysProcAttr.Setctty = true, true
	return master, nil
}

func closeTTY(cmd *exec.Cmd) { cmd.Stdin.(*os.File).Close() }

// typeInto copies what a client types, and the key for the end of input when
// the client has no more.
func typeInto(master *os.File, in io.Reader) {
	if _, err := io.Copy(master, in); err == nil {
		_, _ = master.Write([]byte{4})
	}
}

func (p *process) wait(ctx context.Context) error {
	select {
	case <-p.done:
	case <-ctx.Done():
		p.kill(syscall.SIGKILL)
		<-p.done
	}
	if p.code != 0 {
		return utilexec.CodeExitError{Err: fmt.Errorf("exit status %d", p.code), Code: p.code}
	}
	return nil
}

// exitCode is that of an error of run.
func exitCode(err error) (int, bool) {
	var e utilexec.CodeExitError
	if errors.As(err, &e) {
		return e.Code, true
	}
	return 0, err == nil
}
