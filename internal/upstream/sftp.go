package upstream

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/pkg/sftp"

	classify "github.com/doorward/doorward/internal/classify/ssh"
	"github.com/doorward/doorward/internal/gate"
)

// maxEntries bounds a listing.
const maxEntries = 200_000

// Files is the SFTP subsystem of a host, opened by a permit of its own. Each
// operation spends another; concurrent calls are fine.
type Files struct {
	conn   *SSHConn
	client *sftp.Client
	home   string
}

// Files spends the permit of an sftp subsystem and opens it.
func (c *SSHConn) Files(p *gate.Permit) (*Files, error) {
	proc, err := c.Start(p)
	if err != nil {
		return nil, err
	}
	client, err := sftp.NewClientPipe(proc.ch, proc.ch, sftp.MaxConcurrentRequestsPerFile(16))
	if err != nil {
		_ = proc.Close()
		return nil, fmt.Errorf("the target speaks no SFTP: %w", err)
	}
	home, err := client.RealPath(".")
	if err != nil || !path.IsAbs(home) {
		_ = client.Close()
		return nil, errors.Join(errors.New("the target does not say where it is"), err)
	}
	return &Files{c, client, home}, nil
}

// Home is the folder that relative paths start from.
func (f *Files) Home() string { return f.home }

// Resolve gives the path that the host means, with symbolic links followed:
// all of them, or all but the last. It asks the host for names only; nothing
// of it is shown to a client. What does not exist is resolved as far as it does.
func (f *Files) Resolve(p string, last bool) (string, error) {
	if !path.IsAbs(p) {
		p = path.Join(f.home, p)
	}
	p = path.Clean(p)
	if p == "/" {
		return p, nil
	}
	if last {
		// A link to what does not exist resolves to nothing, and would be
		// followed when a file is made: what it points to is what counts. Where
		// the links do not end, nothing is resolved: hosts follow more of them
		// than they tell about.
		for range maxLinks {
			to, err := f.client.ReadLink(p)
			if err != nil {
				break
			}
			if !path.IsAbs(to) {
				dir, err := f.client.RealPath(path.Dir(p))
				if err != nil {
					return "", err
				}
				p = path.Clean(dir) + "/" + to
				if p, err = f.real(p); err != nil {
					return "", err
				}
				continue
			}
			if p, err = f.real(to); err != nil {
				return "", err
			}
		}
	}
	p, err := f.real(p)
	if err != nil {
		return "", err
	}
	if last {
		if err := f.noLink(p); err != nil {
			return "", err
		}
	}
	return p, nil
}

// maxLinks bounds how many links are followed for one path.
const maxLinks = 20

// errLink says that a path is still a link after it was resolved.
var errLink = errors.New("the path is a link that does not end")

// real resolves the folder of a path, by the host.
func (f *Files) real(p string) (string, error) {
	base := path.Base(p)
	if base == ".." || base == "." || base == "/" {
		// The last part is no name: the whole is a folder.
		real, err := f.client.RealPath(p)
		return path.Clean(real), err
	}
	// Not cleaned before the host saw it: what .. means after a link is the
	// host's to say.
	dir, err := f.client.RealPath(strings.TrimSuffix(strings.TrimRight(p, "/"), base))
	if err != nil {
		return "", err
	}
	return path.Join(path.Clean(dir), base), nil
}

// noLink says nil when the path is no link, or nothing yet.
func (f *Files) noLink(p string) error {
	i, err := f.client.Lstat(p)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case i.Mode()&fs.ModeSymlink != 0:
		return errLink
	}
	return nil
}

// File is a file on the host that a permit opened.
type File struct {
	file    *sftp.File
	session *gate.Session
	write   bool
}

// Read implements io.Reader.
func (f *File) Read(b []byte) (int, error) { return f.file.Read(b) }

// ReadAt implements io.ReaderAt.
func (f *File) ReadAt(b []byte, at int64) (int, error) { return f.file.ReadAt(b, at) }

// WriteAt writes under the spent permit that opened the file for writing.
func (f *File) WriteAt(permit *gate.Permit, b []byte, at int64) (int, error) {
	if err := permit.Streaming(f.session); err != nil || !f.write {
		return 0, errors.Join(gate.ErrPermit, err)
	}
	return f.file.WriteAt(b, at)
}

// Close closes it.
func (f *File) Close() error { return f.file.Close() }

// Open spends the permit of a read or a write and opens the file.
func (f *Files) Open(p *gate.Permit) (*File, error) {
	r, err := f.take(p, "read", "write")
	if err != nil {
		return nil, err
	}
	file, err := f.open(r)
	if err != nil {
		return nil, err
	}
	return &File{file, f.conn.session, r.Op == "write"}, nil
}

func (f *Files) open(r *classify.File) (*sftp.File, error) {
	// It may have become a link since it was resolved: people may have thought
	// about it for hours.
	if err := f.noLink(r.Path); err != nil {
		return nil, err
	}
	if r.Op == "read" {
		return f.client.Open(r.Path)
	}
	_, missing := f.client.Lstat(r.Path)
	mode := fs.FileMode(0)
	flags := os.O_WRONLY
	for _, word := range r.Flags {
		switch word {
		case "read":
			flags = flags&^os.O_WRONLY | os.O_RDWR
		case "append":
			flags |= os.O_APPEND
		case "create":
			flags |= os.O_CREATE
		case "truncate":
			flags |= os.O_TRUNC
		case "exclusive":
			flags |= os.O_EXCL
		default:
			n, err := strconv.ParseUint(strings.TrimPrefix(word, "mode="), 8, 32)
			if err != nil || n > 0o777 {
				return nil, fmt.Errorf("%w: flag %q", gate.ErrPermit, word)
			}
			mode = fs.FileMode(n)
		}
	}
	file, err := f.client.OpenFile(r.Path, flags)
	if err != nil || mode == 0 || !errors.Is(missing, fs.ErrNotExist) {
		return file, err
	}
	// A new file gets its mode before its first byte, less what an umask of 022
	// takes away.
	if err := file.Chmod(mode &^ 0o022); err != nil {
		_ = file.Close()
		return nil, err
	}
	return file, nil
}

// Entries spends the permit of a list, stat, lstat or readlink. A readlink
// gives one entry whose name is where the link points.
func (f *Files) Entries(ctx context.Context, p *gate.Permit) ([]fs.FileInfo, error) {
	r, err := f.take(p, "list", "stat", "lstat", "readlink")
	if err != nil {
		return nil, err
	}
	switch r.Op {
	case "list":
		list, err := f.client.ReadDirContext(ctx, r.Path)
		if len(list) > maxEntries {
			return nil, fmt.Errorf("the folder has more than %d entries", maxEntries)
		}
		return list, err
	case "stat":
		i, err := f.client.Stat(r.Path)
		return []fs.FileInfo{i}, err
	case "lstat":
		i, err := f.client.Lstat(r.Path)
		return []fs.FileInfo{i}, err
	}
	to, err := f.client.ReadLink(r.Path)
	return []fs.FileInfo{linkInfo(to)}, err
}

// linkInfo is the target of a link as an entry.
type linkInfo string

func (l linkInfo) Name() string     { return string(l) }
func (linkInfo) Size() int64        { return 0 }
func (linkInfo) Mode() fs.FileMode  { return fs.ModeSymlink | 0o777 }
func (linkInfo) ModTime() time.Time { return time.Time{} }
func (linkInfo) IsDir() bool        { return false }
func (linkInfo) Sys() any           { return nil }

// Change spends the permit of an operation that changes names or attributes.
func (f *Files) Change(p *gate.Permit) error {
	r, err := f.take(p, "mkdir", "rmdir", "remove", "rename", "setstat", "symlink")
	if err != nil {
		return err
	}
	switch r.Op {
	case "mkdir":
		return f.client.Mkdir(r.Path)
	case "rmdir":
		return f.client.RemoveDirectory(r.Path)
	case "remove":
		return f.client.Remove(r.Path)
	case "symlink":
		return f.client.Symlink(r.To, r.Path)
	case "rename":
		if len(r.Flags) == 1 && r.Flags[0] == "replace" {
			return f.client.PosixRename(r.Path, r.To)
		}
		return f.client.Rename(r.Path, r.To)
	}
	return f.setstat(r)
}

// setstat applies attributes, which are flags such as mode=0644, size=0,
// uid=0, gid=0, atime=1700000000 and mtime=1700000000.
func (f *Files) setstat(r *classify.File) error {
	got := map[string]int64{}
	for _, flag := range r.Flags {
		name, value, _ := strings.Cut(flag, "=")
		base := 10
		if name == "mode" {
			base = 8
		}
		n, err := strconv.ParseInt(value, base, 64)
		if err != nil || n < 0 {
			return fmt.Errorf("%w: attribute %q", gate.ErrPermit, flag)
		}
		got[name] = n
	}
	var errs []error
	if n, ok := got["size"]; ok {
		errs = append(errs, f.client.Truncate(r.Path, n))
	}
	if n, ok := got["mode"]; ok {
		errs = append(errs, f.client.Chmod(r.Path, fs.FileMode(n)))
	}
	if uid, ok := got["uid"]; ok {
		errs = append(errs, f.client.Chown(r.Path, int(uid), int(got["gid"])))
	}
	if a, ok := got["atime"]; ok {
		errs = append(errs, f.client.Chtimes(r.Path, time.Unix(a, 0), time.Unix(got["mtime"], 0)))
	}
	return errors.Join(errs...)
}

func (f *Files) take(p *gate.Permit, ops ...string) (*classify.File, error) {
	r, err := f.conn.take(p, "sftp")
	if err != nil {
		return nil, err
	}
	for _, op := range ops {
		if r.File.Op == op {
			return r.File, nil
		}
	}
	return nil, fmt.Errorf("%w: it is for %q", gate.ErrPermit, r.File.Op)
}

// Close ends the subsystem.
func (f *Files) Close() error { return f.client.Close() }
