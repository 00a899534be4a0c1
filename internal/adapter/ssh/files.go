package ssh

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strconv"
	"sync"

	"github.com/pkg/sftp"

	"github.com/doorward/doorward"
	classify "github.com/doorward/doorward/internal/classify/ssh"
	"github.com/doorward/doorward/internal/gate"
	"github.com/doorward/doorward/internal/upstream"
)

const (
	maxSpool = 16 << 20 // of a file that is masked as a whole
	maxOpen  = 64       // files at once
)

// files serves the SFTP subsystem: each operation is a request of its own, by
// the path that the target means with links followed. What files hold is
// counted and not recorded.
type files struct {
	x  *channel
	up *upstream.Files

	mu   sync.Mutex // the session judges one operation at a time
	open int
}

// serveFiles runs the subsystem to its end.
func (x *channel) serveFiles(up *upstream.SSHConn, p *gate.Permit) error {
	r := p.Reply()
	if err := r.Durable(x.s.Context()); err != nil {
		return errors.Join(err, r.Done("connection lost"))
	}
	remote, err := up.Files(p)
	if err != nil {
		d := &doorward.Denial{Decision: "error", Reason: err.Error()}
		return errors.Join(r.Done("not run"), d)
	}
	defer remote.Close()
	// The session's own outcome is known once the subsystem runs; the
	// operations have outcomes of their own.
	if err := r.Next(0, ""); err != nil {
		return err
	}
	f := &files{x: x, up: remote}
	srv := sftp.NewRequestServer(unclosed{x.ch}, sftp.Handlers{FileGet: f, FilePut: f, FileCmd: f, FileList: f}, sftp.WithStartDirectory(remote.Home()))
	ended := make(chan struct{})
	defer close(ended)
	go func() {
		select {
		case <-x.s.Context().Done():
			_ = srv.Close()
			_ = x.ch.Close()
		case <-ended:
		}
	}()
	err = srv.Serve()
	_ = srv.Close()
	if errors.Is(err, io.EOF) {
		err = nil
	}
	if e := x.s.Err(); e != nil {
		return e
	}
	if err == nil {
		x.exit(0)
	}
	return err
}

// unclosed keeps the channel open when the SFTP server is done with it: the exit
// status is still to be sent.
type unclosed struct{ io.ReadWriter }

// Close implements io.Closer.
func (unclosed) Close() error { return nil }

// ask judges one operation. It gives the permit and the reply, whose outcome
// the caller writes by done.
func (f *files) ask(op string, file classify.File) (*gate.Permit, *gate.Reply, error) {
	file.Op = op
	req := classify.Request{Account: f.x.c.account, Kind: classify.KindFile, File: &file}
	text, err := req.Text()
	if err != nil {
		return nil, nil, f.denied(f.x.s.Refuse(f.x.s.Context(), "sftp "+op, &doorward.Denial{Decision: "deny", Reason: "this cannot be understood, so it cannot be allowed: " + err.Error()}))
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	p, err := f.x.ask(text, f.x.onHold)
	if err != nil {
		return nil, nil, f.denied(err)
	}
	r := p.Reply()
	if err := r.Durable(f.x.s.Context()); err != nil {
		return nil, nil, sftp.ErrSSHFxFailure
	}
	return p, r, nil
}

// denied tells the client why, on standard error, and gives what SFTP says.
func (f *files) denied(err error) error {
	var d *doorward.Denial
	if !errors.As(err, &d) {
		return sftp.ErrSSHFxFailure
	}
	text := d.Reason
	if d.Rule != "" {
		text += " (rule " + d.Rule + ")"
	}
	_ = f.x.say(text, d.Hint)
	return sftp.ErrSSHFxPermissionDenied
}

// done writes the outcome of an operation, and turns the target's error into
// one that the client understands.
func (f *files) done(r *gate.Reply, rows int64, n int64, err error) error {
	code := ""
	if err != nil {
		code = clip(err.Error(), 200)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	r.Pour(rows, int(n))
	if e := r.Next(0, code); e != nil {
		return sftp.ErrSSHFxFailure
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, fs.ErrNotExist):
		return sftp.ErrSSHFxNoSuchFile
	case errors.Is(err, fs.ErrPermission):
		return sftp.ErrSSHFxPermissionDenied
	}
	return sftp.ErrSSHFxFailure
}

func clip(s string, n int) string {
	if len(s) > n {
		return s[:n]
	}
	return s
}

// place is where an operation works: the path that the target means. Where the
// target cannot say, the path is the one that was asked for, made clean, and
// the operation is judged and then not done: a client must not learn from the
// answer what is there and what is not before it is allowed to ask.
type place struct {
	path string
	err  error // what SFTP says instead of doing it
}

func (f *files) resolve(asked string, last bool) place {
	p, err := f.up.Resolve(asked, last)
	if err == nil {
		return place{p, nil}
	}
	out := place{path: asked, err: sftp.ErrSSHFxPermissionDenied}
	if errors.Is(err, fs.ErrNotExist) {
		out.err = sftp.ErrSSHFxNoSuchFile
	}
	if !path.IsAbs(out.path) {
		out.path = path.Join(f.up.Home(), out.path)
	}
	out.path = path.Clean(out.path)
	return out
}

// missing ends an operation that was let through and cannot be done.
func (f *files) missing(r *gate.Reply, err error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if e := r.Done("not run: " + err.Error()); e != nil {
		return sftp.ErrSSHFxFailure
	}
	return err
}

func (f *files) hold() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.open >= maxOpen {
		return sftp.ErrSSHFxFailure
	}
	f.open++
	return nil
}

func (f *files) letGo() {
	f.mu.Lock()
	f.open--
	f.mu.Unlock()
}

// Fileread implements sftp.FileReader.
func (f *files) Fileread(req *sftp.Request) (io.ReaderAt, error) {
	at := f.resolve(req.Filepath, true)
	name := at.path
	if err := f.hold(); err != nil {
		return nil, err
	}
	p, r, err := f.ask("read", classify.File{Path: name, Asked: req.Filepath})
	if err == nil && at.err != nil {
		err = f.missing(r, at.err)
	}
	if err != nil {
		f.letGo()
		return nil, err
	}
	file, err := f.up.Open(p)
	if err != nil {
		f.letGo()
		return nil, f.done(r, 0, 0, err)
	}
	h := &handle{f: f, r: r, file: file, limit: p.Limits().Bytes}
	stream := f.x.s.Stream()
	if stream == nil {
		return h, nil
	}
	// Values may lie anywhere in it, so the whole is masked before any of it
	// is given away.
	data, err := io.ReadAll(io.LimitReader(file, maxSpool+1))
	if err == nil && len(data) > maxSpool {
		_ = f.x.say(fmt.Sprintf("%s has more than %d MiB, which is what can be masked here", name, maxSpool>>20), "Read a part of it by a command, such as tail or grep.")
		err = errors.New("too large to be masked")
	}
	if err != nil {
		_ = file.Close()
		f.letGo()
		return nil, f.done(r, 0, 0, err)
	}
	h.masked = bytes.NewReader(stream.Flush(stream.Write(nil, data)))
	return h, nil
}

// Filewrite implements sftp.FileWriter.
func (f *files) Filewrite(req *sftp.Request) (io.WriterAt, error) { return f.write(req) }

// OpenFile implements sftp.OpenFileWriter.
func (f *files) OpenFile(req *sftp.Request) (sftp.WriterAtReaderAt, error) {
	if req.Pflags().Read && f.x.s.Stream() != nil {
		_ = f.x.say("a file cannot be read and written at once where what is read has to be masked", "")
		return nil, sftp.ErrSSHFxPermissionDenied
	}
	return f.write(req)
}

func (f *files) write(req *sftp.Request) (*handle, error) {
	at := f.resolve(req.Filepath, true)
	flags := req.Pflags()
	file := classify.File{Path: at.path, Asked: req.Filepath}
	for _, w := range []struct {
		on   bool
		word string
	}{{flags.Read, "read"}, {flags.Append, "append"}, {flags.Creat, "create"}, {flags.Trunc, "truncate"}, {flags.Excl, "exclusive"}} {
		if w.on {
			file.Flags = append(file.Flags, w.word)
		}
	}
	if err := f.hold(); err != nil {
		return nil, err
	}
	p, r, err := f.ask("write", file)
	if err == nil && at.err != nil {
		err = f.missing(r, at.err)
	}
	if err != nil {
		f.letGo()
		return nil, err
	}
	out, err := f.up.Open(p)
	if err != nil {
		f.letGo()
		return nil, f.done(r, 0, 0, err)
	}
	return &handle{f: f, r: r, file: out, permit: p, limit: p.Limits().Bytes}, nil
}

// handle is an open file of the client.
type handle struct {
	f      *files
	r      *gate.Reply
	permit *gate.Permit // of a write
	file   *upstream.File
	masked *bytes.Reader // of a read that is masked; nil: the file itself
	limit  int64
	mu     sync.Mutex
	n      int64
	once   sync.Once
}

func (h *handle) count(n int) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.limit > 0 && h.n+int64(n) > h.limit {
		_ = h.f.x.say(fmt.Sprintf("stopped: more than %d bytes of one file", h.limit), "Ask for less at once.")
		return sftp.ErrSSHFxPermissionDenied
	}
	h.n += int64(n)
	return h.f.x.s.Err()
}

// ReadAt implements io.ReaderAt.
func (h *handle) ReadAt(b []byte, at int64) (int, error) {
	var n int
	var err error
	if h.masked != nil {
		n, err = h.masked.ReadAt(b, at)
	} else {
		n, err = h.file.ReadAt(b, at)
	}
	if e := h.count(n); e != nil {
		clear(b[:n])
		return 0, e
	}
	return n, err
}

// WriteAt implements io.WriterAt.
func (h *handle) WriteAt(b []byte, at int64) (int, error) {
	if err := h.count(len(b)); err != nil {
		return 0, err
	}
	return h.file.WriteAt(h.permit, b, at)
}

// Close implements io.Closer.
func (h *handle) Close() error {
	var err error
	h.once.Do(func() {
		err = h.file.Close()
		h.f.letGo()
		h.mu.Lock()
		n := h.n
		h.mu.Unlock()
		err = h.f.done(h.r, 0, n, err)
	})
	return err
}

// Filecmd implements sftp.FileCmder.
func (f *files) Filecmd(req *sftp.Request) error {
	file := classify.File{Asked: req.Filepath}
	op := map[string]string{"Setstat": "setstat", "Rename": "rename", "Rmdir": "rmdir", "Mkdir": "mkdir", "Symlink": "symlink", "Remove": "remove"}[req.Method]
	var at, to place
	switch op {
	case "setstat":
		var err error
		if file.Flags, err = attributes(req); err != nil {
			return err
		}
		at = f.resolve(req.Filepath, true)
	case "symlink":
		// Here pkg/sftp has what the link holds as Filepath, and the link as Target.
		file.Asked, file.To = req.Target, req.Filepath
		at = f.resolve(req.Target, false)
	case "rename":
		at, to = f.resolve(req.Filepath, false), f.resolve(req.Target, false)
		file.To = to.path
	case "":
		return sftp.ErrSSHFxOpUnsupported // hard links, and whatever else there will be
	default:
		at = f.resolve(req.Filepath, false)
	}
	file.Path = at.path
	return f.change(op, file, at, to)
}

// PosixRename implements sftp.PosixRenameFileCmder.
func (f *files) PosixRename(req *sftp.Request) error {
	at, to := f.resolve(req.Filepath, false), f.resolve(req.Target, false)
	return f.change("rename", classify.File{Path: at.path, Asked: req.Filepath, To: to.path, Flags: []string{"replace"}}, at, to)
}

func (f *files) change(op string, file classify.File, places ...place) error {
	p, r, err := f.ask(op, file)
	if err != nil {
		return err
	}
	for _, at := range places {
		if at.err != nil {
			return f.missing(r, at.err)
		}
	}
	return f.done(r, 0, 0, f.up.Change(p))
}

// attributes spells out what a setstat would set.
func attributes(req *sftp.Request) ([]string, error) {
	a, on := req.Attributes(), req.AttrFlags()
	var out []string
	if on.Size {
		out = append(out, "size="+strconv.FormatUint(a.Size, 10))
	}
	if on.Permissions {
		out = append(out, fmt.Sprintf("mode=%#o", a.FileMode().Perm()|special(a.FileMode())))
	}
	if on.UidGid {
		out = append(out, "uid="+strconv.FormatUint(uint64(a.UID), 10), "gid="+strconv.FormatUint(uint64(a.GID), 10))
	}
	if on.Acmodtime {
		out = append(out, "atime="+strconv.FormatUint(uint64(a.Atime), 10), "mtime="+strconv.FormatUint(uint64(a.Mtime), 10))
	}
	if len(out) == 0 {
		return nil, sftp.ErrSSHFxOpUnsupported
	}
	return out, nil
}

// special are the bits beyond rwx, as Unix counts them.
func special(m os.FileMode) os.FileMode {
	var out os.FileMode
	for bit, n := range map[os.FileMode]os.FileMode{os.ModeSetuid: 0o4000, os.ModeSetgid: 0o2000, os.ModeSticky: 0o1000} {
		if m&bit != 0 {
			out |= n
		}
	}
	return out
}

// Filelist implements sftp.FileLister.
func (f *files) Filelist(req *sftp.Request) (sftp.ListerAt, error) {
	switch req.Method {
	case "List":
		return f.entries("list", req.Filepath, true)
	case "Stat":
		return f.entries("stat", req.Filepath, true)
	}
	return nil, sftp.ErrSSHFxOpUnsupported
}

// Lstat implements sftp.LstatFileLister.
func (f *files) Lstat(req *sftp.Request) (sftp.ListerAt, error) {
	return f.entries("lstat", req.Filepath, false)
}

// Readlink implements sftp.ReadlinkFileLister.
func (f *files) Readlink(asked string) (string, error) {
	list, err := f.entries("readlink", asked, false)
	if err != nil {
		return "", err
	}
	return list[0].Name(), nil
}

// RealPath implements sftp.RealPathFileLister: a path as the client sees it. It
// is worked out here, so that it tells nothing about the target.
func (f *files) RealPath(asked string) (string, error) {
	if !path.IsAbs(asked) {
		asked = path.Join(f.up.Home(), asked)
	}
	return path.Clean(asked), nil
}

func (f *files) entries(op, asked string, last bool) (lister, error) {
	at := f.resolve(asked, last)
	p, r, err := f.ask(op, classify.File{Path: at.path, Asked: asked})
	if err == nil && at.err != nil {
		err = f.missing(r, at.err)
	}
	if err != nil {
		return nil, err
	}
	list, err := f.up.Entries(f.x.s.Context(), p)
	if err = f.done(r, int64(len(list)), 0, err); err != nil {
		return nil, err
	}
	return lister(list), nil
}

// lister is a listing.
type lister []os.FileInfo

// ListAt implements sftp.ListerAt.
func (l lister) ListAt(dst []os.FileInfo, at int64) (int, error) {
	if at >= int64(len(l)) {
		return 0, io.EOF
	}
	n := copy(dst, l[at:])
	if n < len(dst) {
		return n, io.EOF
	}
	return n, nil
}
