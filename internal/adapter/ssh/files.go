package ssh

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pkg/sftp"

	"github.com/doorward/doorward"
	classify "github.com/doorward/doorward/internal/classify/ssh"
	"github.com/doorward/doorward/internal/gate"
	"github.com/doorward/doorward/internal/upstream"
)

const (
	maxSpool = 16 << 20  // of a file that is masked as a whole
	allSpool = 128 << 20 // of all of them together, in all sessions
	maxOpen  = 64        // files at once
	// settled is how old a resolved path may be when it is used: what it names
	// is looked at again after that.
	settled = 20 * time.Millisecond
)

// spooled is how many bytes of masked files are held now.
var spooled atomic.Int64

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
	if t := p.Limits().Time; t > 0 {
		limit := time.AfterFunc(t, func() {
			_ = x.say(fmt.Sprintf("stopped at the time limit of %s", t), "Transfer less at once.")
			up.Abort()
			_ = x.ch.Close()
		})
		defer limit.Stop()
	}
	f := &files{x: x, up: remote}
	x.s.Busy(false) // until something is asked of it
	srv := sftp.NewRequestServer(unclosed{x.ch, x.s.sink}, sftp.Handlers{FileGet: f, FilePut: f, FileCmd: f, FileList: f}, sftp.WithStartDirectory(remote.Home()))
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
type unclosed struct {
	io.ReadWriter
	sink *sink
}

// Write bounds how long a client may leave it unread.
func (u unclosed) Write(b []byte) (int, error) {
	defer time.AfterFunc(writeWait, u.sink.stuck).Stop()
	return u.ReadWriter.Write(b)
}

// Close implements io.Closer.
func (unclosed) Close() error { return nil }

// look is a path that an operation is about: as it was asked for, and whether
// its last part is followed if it is a link.
type look struct {
	asked string
	last  bool
}

// ask judges one operation: it resolves the paths, makes the request of them,
// and gives the permit and the reply, whose outcome the caller writes by done.
// While people or another operation took their time, a path may have become
// another: then it is not done.
func (f *files) ask(op string, looks []look, request func(at []place) classify.File) (*gate.Permit, *gate.Reply, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.x.s.Busy(true)
	defer func() { f.x.s.Busy(f.open > 0) }()
	resolve := func() []place {
		var out []place
		for _, l := range looks {
			out = append(out, f.resolve(l.asked, l.last))
		}
		return out
	}
	start := time.Now()
	at := resolve()
	file := request(at)
	file.Op = op
	req := classify.Request{Account: f.x.c.account, Kind: classify.KindFile, File: &file}
	text, err := req.Text()
	if err != nil {
		return nil, nil, f.denied(f.x.s.Refuse(f.x.s.Context(), "sftp "+op, &doorward.Denial{Decision: "deny", Reason: "this cannot be understood, so it cannot be allowed: " + err.Error()}))
	}
	p, err := f.x.ask(text, f.x.onHold)
	if err != nil {
		return nil, nil, f.denied(err)
	}
	r := p.Reply()
	if err := r.Durable(f.x.s.Context()); err != nil {
		return nil, nil, sftp.ErrSSHFxFailure
	}
	notRun := func(why string, answer error) (*gate.Permit, *gate.Reply, error) {
		if e := r.Done("not run: " + why); e != nil {
			answer = sftp.ErrSSHFxFailure
		}
		return nil, nil, answer
	}
	for _, l := range at {
		if l.err != nil {
			return notRun(l.err.Error(), l.err)
		}
	}
	if time.Since(start) > settled && !slices.Equal(at, resolve()) {
		_ = f.x.say("the path means something else by now than when this was judged: not done", "Ask again.")
		return notRun("the path changed", sftp.ErrSSHFxPermissionDenied)
	}
	return p, r, nil
}

// caught turns a fault in an operation into its failure: the server runs
// operations in goroutines of its own.
func (f *files) caught(err *error) {
	if p := recover(); p != nil {
		f.x.c.srv.opt.Log.Error("a file operation ended by a fault of doorward", "panic", fmt.Sprint(p))
		_ = f.x.c.raw.Close()
		*err = sftp.ErrSSHFxFailure
	}
}

// denied tells the client why, on standard error, and gives what SFTP says.
func (f *files) denied(err error) error {
	var d *doorward.Denial
	if !errors.As(err, &d) {
		return sftp.ErrSSHFxFailure
	}
	_ = f.x.say(d.Error(), d.Hint)
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
	defer f.mu.Unlock()
	f.open--
	f.x.s.Busy(f.open > 0)
}

// Fileread implements sftp.FileReader.
func (f *files) Fileread(req *sftp.Request) (_ io.ReaderAt, err error) {
	defer f.caught(&err)
	h, err := f.openFile("read", req.Filepath, nil)
	if err != nil {
		return nil, err
	}
	if f.x.s.Stream() == nil {
		return h, nil
	}
	if err := h.mask(); err != nil {
		_ = h.file.Close()
		h.release()
		return nil, f.done(h.r, 0, 0, err)
	}
	return h, nil
}

// Filewrite implements sftp.FileWriter.
func (f *files) Filewrite(req *sftp.Request) (_ io.WriterAt, err error) {
	defer f.caught(&err)
	return f.write(req)
}

// OpenFile implements sftp.OpenFileWriter.
func (f *files) OpenFile(req *sftp.Request) (_ sftp.WriterAtReaderAt, err error) {
	defer f.caught(&err)
	if req.Pflags().Read && f.x.s.Detects() {
		_ = f.x.say("a file cannot be read and written at once where what is read has to be masked", "")
		return nil, sftp.ErrSSHFxPermissionDenied
	}
	return f.write(req)
}

func (f *files) write(req *sftp.Request) (*handle, error) {
	flags := req.Pflags()
	var words []string
	for _, w := range []struct {
		on   bool
		word string
	}{{flags.Read, "read"}, {flags.Append, "append"}, {flags.Creat, "create"}, {flags.Trunc, "truncate"}, {flags.Excl, "exclusive"}} {
		if w.on {
			words = append(words, w.word)
		}
	}
	if mode, ok := openMode(req.Attrs); ok && flags.Creat {
		words = append(words, fmt.Sprintf("mode=%#o", mode))
	}
	return f.openFile("write", req.Filepath, words)
}

// openMode is the mode that a new file is to have. pkg/sftp gives the bytes of
// the attributes without their flags; clients send the permissions alone, or
// with the times after them.
func openMode(attrs []byte) (uint32, bool) {
	if len(attrs) != 4 && len(attrs) != 12 {
		return 0, false
	}
	mode := binary.BigEndian.Uint32(attrs) & 0o777
	return mode, mode != 0
}

func (f *files) openFile(op, asked string, flags []string) (*handle, error) {
	if err := f.hold(); err != nil {
		return nil, err
	}
	p, r, err := f.ask(op, []look{{asked, true}}, func(at []place) classify.File {
		return classify.File{Path: at[0].path, Asked: asked, Flags: flags}
	})
	if err != nil {
		f.letGo()
		return nil, err
	}
	file, err := f.up.Open(p)
	if err != nil {
		f.letGo()
		return nil, f.done(r, 0, 0, err)
	}
	h := &handle{f: f, r: r, file: file, permit: p, limit: p.Limits().Bytes}
	if t := p.Limits().Time; t > 0 {
		h.until = time.Now().Add(t)
	}
	return h, nil
}

// handle is an open file of the client.
type handle struct {
	f      *files
	r      *gate.Reply
	permit *gate.Permit
	file   *upstream.File
	masked *bytes.Reader // of a read that is masked; nil: the file itself
	spool  int64         // bytes of it that are counted in spooled
	limit  int64
	until  time.Time
	mu     sync.Mutex
	n      int64
	once   sync.Once
}

// mask reads the whole file and masks it: values may lie anywhere in it, so
// none of it is given away before.
func (h *handle) mask() error {
	if spooled.Add(maxSpool) > allSpool {
		spooled.Add(-maxSpool)
		_ = h.f.x.say("too many files are being masked at once", "Try again when some of them are closed.")
		return errors.New("too many files are being masked")
	}
	h.spool = maxSpool
	data, err := io.ReadAll(io.LimitReader(h.file, maxSpool+1))
	if err != nil {
		return err
	}
	if len(data) > maxSpool {
		_ = h.f.x.say(fmt.Sprintf("the file has more than %d MiB, which is what can be masked here", maxSpool>>20), "Read a part of it by a command, such as tail or grep.")
		return errors.New("too large to be masked")
	}
	h.masked = bytes.NewReader(h.f.x.s.Whole(data))
	return nil
}

// release gives back what the handle holds beside the file.
func (h *handle) release() {
	spooled.Add(-h.spool)
	h.spool = 0
	h.f.letGo()
}

func (h *handle) count(n int) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.limit > 0 && h.n+int64(n) > h.limit {
		_ = h.f.x.say(fmt.Sprintf("stopped: more than %d bytes of one file", h.limit), "Ask for less at once.")
		return sftp.ErrSSHFxPermissionDenied
	}
	if !h.until.IsZero() && time.Now().After(h.until) {
		_ = h.f.x.say("stopped at the time limit of one file", "Ask for less at once.")
		return sftp.ErrSSHFxPermissionDenied
	}
	h.n += int64(n)
	return h.f.x.s.Err()
}

// ReadAt implements io.ReaderAt.
func (h *handle) ReadAt(b []byte, at int64) (n int, err error) {
	defer h.f.caught(&err)
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
func (h *handle) WriteAt(b []byte, at int64) (_ int, err error) {
	defer h.f.caught(&err)
	if err := h.count(len(b)); err != nil {
		return 0, err
	}
	return h.file.WriteAt(h.permit, b, at)
}

// Close implements io.Closer.
func (h *handle) Close() (err error) {
	defer h.f.caught(&err)
	h.once.Do(func() {
		err = h.file.Close()
		h.release()
		h.mu.Lock()
		n := h.n
		h.mu.Unlock()
		err = h.f.done(h.r, 0, n, err)
	})
	return err
}

// Filecmd implements sftp.FileCmder.
func (f *files) Filecmd(req *sftp.Request) (err error) {
	defer f.caught(&err)
	asked := req.Filepath
	one := func(at []place) classify.File { return classify.File{Path: at[0].path, Asked: asked} }
	switch req.Method {
	case "Setstat":
		flags, err := attributes(req)
		if err != nil {
			return err
		}
		return f.change("setstat", []look{{asked, true}}, func(at []place) classify.File {
			return classify.File{Path: at[0].path, Asked: asked, Flags: flags}
		})
	case "Symlink":
		// Here pkg/sftp has what the link holds as Filepath, and the link as Target.
		return f.change("symlink", []look{{req.Target, false}}, func(at []place) classify.File {
			return classify.File{Path: at[0].path, Asked: req.Target, To: asked}
		})
	case "Rename":
		return f.rename(req, nil)
	case "Rmdir":
		return f.change("rmdir", []look{{asked, false}}, one)
	case "Mkdir":
		return f.change("mkdir", []look{{asked, false}}, one)
	case "Remove":
		return f.change("remove", []look{{asked, false}}, one)
	}
	return sftp.ErrSSHFxOpUnsupported // hard links, and whatever else there will be
}

// PosixRename implements sftp.PosixRenameFileCmder.
func (f *files) PosixRename(req *sftp.Request) (err error) {
	defer f.caught(&err)
	return f.rename(req, []string{"replace"})
}

func (f *files) rename(req *sftp.Request, flags []string) error {
	return f.change("rename", []look{{req.Filepath, false}, {req.Target, false}}, func(at []place) classify.File {
		return classify.File{Path: at[0].path, Asked: req.Filepath, To: at[1].path, Flags: flags}
	})
}

func (f *files) change(op string, looks []look, request func(at []place) classify.File) error {
	p, r, err := f.ask(op, looks, request)
	if err != nil {
		return err
	}
	return f.done(r, 0, 0, f.up.Change(p))
}

// attributes spells out what a setstat would set.
func attributes(req *sftp.Request) ([]string, error) {
	a, on := req.Attributes(), req.AttrFlags()
	if a == nil { // fewer bytes than the flags promise
		return nil, sftp.ErrSSHFxBadMessage
	}
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
func (f *files) Filelist(req *sftp.Request) (_ sftp.ListerAt, err error) {
	defer f.caught(&err)
	switch req.Method {
	case "List":
		return f.entries("list", req.Filepath, true)
	case "Stat":
		return f.entries("stat", req.Filepath, true)
	}
	return nil, sftp.ErrSSHFxOpUnsupported
}

// Lstat implements sftp.LstatFileLister.
func (f *files) Lstat(req *sftp.Request) (_ sftp.ListerAt, err error) {
	defer f.caught(&err)
	return f.entries("lstat", req.Filepath, false)
}

// Readlink implements sftp.ReadlinkFileLister.
func (f *files) Readlink(asked string) (_ string, err error) {
	defer f.caught(&err)
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
	p, r, err := f.ask(op, []look{{asked, last}}, func(at []place) classify.File {
		return classify.File{Path: at[0].path, Asked: asked}
	})
	if err != nil {
		return nil, err
	}
	list, err := f.up.Entries(f.x.s.Context(), p)
	if most := p.Limits().Rows; err == nil && most > 0 && int64(len(list)) > most {
		_ = f.x.say(fmt.Sprintf("the folder has more than %d entries", most), "")
		list, err = nil, fmt.Errorf("more than %d entries", most)
	}
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
