package kubelet

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// sandbox is a container's own root folder and the processes in it.
type sandbox struct {
	root    string // the folder
	host    string // the name that the machine has inside
	address string
	mounts  []mount
}

type mount struct {
	source, target string // target as it is inside
	readOnly       bool
}

// setup runs as the first process of a container, which it then becomes. It
// says on descriptor 3 that all is there.
const setup = `set -e
root=$1 host=$2 dir=$3 mounts=$4
shift 4
mount --make-rslave /
mount --bind "$root" "$root"
mount -t proc proc "$root/proc" 2>/dev/null || mount --rbind /proc "$root/proc"
while [ "$mounts" -gt 0 ]; do
  mount --bind "$1" "$root/$2"
  if [ -n "$3" ]; then mount -o "remount,bind,$3" "$root/$2"; fi
  shift 3
  mounts=$((mounts - 1))
done
hostname "$host"
cd "$root"
pivot_root . .old
cd /
umount -l /.old
rmdir /.old
cd "$dir"
echo ready >&3
exec 3>&-
exec "$@"
`

// path is a file inside, as the machine names it. Links are not followed: it
// is for the time before anything ran.
func (s *sandbox) path(inside string) string {
	return filepath.Join(s.root, filepath.Join("/", inside))
}

// prepare fills the root folder.
func (s *sandbox) prepare() error {
	if err := os.RemoveAll(s.root); err != nil { // of a start that failed
		return err
	}
	for _, dir := range []string{"proc", "dev/pts", "dev/shm", "etc", "usr", "root", "var/run", "var/log", "run", "home", "mnt", "opt", "srv"} {
		if err := os.MkdirAll(s.path(dir), 0o755); err != nil {
			return err
		}
	}
	for _, dir := range []string{"tmp", "var/tmp"} {
		if err := os.MkdirAll(s.path(dir), 0o777); err != nil {
			return err
		}
	}
	for name, text := range map[string]string{
		"etc/passwd":   "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
		"etc/group":    "root:x:0:\nnogroup:x:65534:\n",
		"etc/hostname": s.host + "\n",
		"etc/hosts":    fmt.Sprintf("127.0.0.1 localhost\n%s %s\n", s.address, s.host),
	} {
		if err := os.WriteFile(s.path(name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	all := []mount{{"/usr", "/usr", true}}
	for _, name := range []string{"/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"} {
		if to, err := os.Readlink(name); err == nil {
			if err := os.Symlink(to, s.path(name)); err != nil {
				return err
			}
		} else if st, err := os.Stat(name); err == nil && st.IsDir() {
			all = append(all, mount{name, name, true})
		}
	}
	for _, name := range []string{"/etc/alternatives", "/etc/ld.so.cache", "/etc/ssl"} {
		all = append(all, mount{name, name, true})
	}
	for _, name := range []string{"/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty", "/dev/ptmx", "/dev/pts"} {
		all = append(all, mount{name, name, false})
	}
	all = append(all, s.mounts...)
	s.mounts = nil
	for _, m := range all {
		st, err := os.Stat(m.source)
		if errors.Is(err, os.ErrNotExist) && strings.HasPrefix(m.source, "/etc/") {
			continue
		} else if err != nil {
			return err
		}
		target := s.path(m.target)
		if st.IsDir() {
			err = os.MkdirAll(target, 0o755)
		} else if err = os.MkdirAll(filepath.Dir(target), 0o755); err == nil {
			err = os.WriteFile(target, nil, 0o644)
		}
		if err != nil {
			return err
		}
		s.mounts = append(s.mounts, m)
	}
	return os.MkdirAll(s.path(".old"), 0o700)
}

// remount gives the options that make a mounted file system read-only and keep
// what it has: a namespace may not take those away.
func (m mount) remount() (string, error) {
	if !m.readOnly {
		return "", nil
	}
	var st unix.Statfs_t
	if err := unix.Statfs(m.source, &st); err != nil {
		return "", fmt.Errorf("%s: %w", m.source, err)
	}
	options := "ro"
	for flag, name := range map[int64]string{unix.ST_NOSUID: ",nosuid", unix.ST_NODEV: ",nodev", unix.ST_NOEXEC: ",noexec", unix.ST_NOATIME: ",noatime", unix.ST_RELATIME: ",relatime"} {
		if st.Flags&flag != 0 {
			options += name
		}
	}
	return options, nil
}

// command is the first process of the container: argv in folder dir. The
// function says when it has begun, and must be called after the start.
func (s *sandbox) command(dir string, env, argv []string) (*exec.Cmd, func() error, error) {
	if err := s.prepare(); err != nil {
		return nil, nil, err
	}
	if err := os.MkdirAll(s.path(dir), 0o755); err != nil {
		return nil, nil, err
	}
	args := []string{"-c", setup, "container", s.root, s.host, dir, strconv.Itoa(len(s.mounts))}
	for _, m := range s.mounts {
		options, err := m.remount()
		if err != nil {
			return nil, nil, err
		}
		args = append(args, m.source, strings.TrimPrefix(filepath.Join("/", m.target), "/"), options)
	}
	cmd := exec.Command("/bin/sh", append(args, argv...)...)
	cmd.Env, cmd.Dir = env, "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWUTS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	cmd.ExtraFiles = []*os.File{w}
	return cmd, func() error {
		defer r.Close()
		w.Close()
		_ = r.SetReadDeadline(time.Now().Add(20 * time.Second))
		if b, err := io.ReadAll(io.LimitReader(r, 64)); err != nil || string(b) != "ready\n" {
			return fmt.Errorf("the container's namespaces could not be set up (%q, %v): this machine must let users make them", b, err)
		}
		return nil
	}, nil
}
