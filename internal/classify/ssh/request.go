package ssh

import (
	"encoding/hex"
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"

	"github.com/doorward/doorward/internal/classify/scan"
)

// Bounds of a request.
const (
	MaxText    = 128 << 10 // bytes of a request's text
	MaxCommand = 64 << 10  // bytes of a command
	MaxEnv     = 64        // environment variables
	MaxPath    = 4096      // bytes of a path
	maxName    = 256       // bytes of an account, a variable's name, a terminal, a subsystem, a host
	maxValue   = 16 << 10  // bytes of a variable's value
	maxModes   = 4096      // bytes of encoded terminal modes
	maxFlags   = 16        // flags of a file operation
	maxFlag    = 24        // bytes of one flag
)

// The kinds of requests.
const (
	KindExec      = "exec"
	KindShell     = "shell"
	KindSubsystem = "subsystem"
	KindFile      = "sftp"
	KindForward   = "forward"
)

// Request is one act that a client asks for on a channel, with everything that
// was set on the channel before (RFC 4254, sections 6 and 7.2).
type Request struct {
	Account   string     // account on the target; "" when the client named none
	Env       []Variable // in the order sent
	PTY       *PTY       // nil when no terminal was asked for
	Kind      string     // one of the Kind constants; says which of the fields below are set
	Command   string     // KindExec: the exact bytes
	Subsystem string     // KindSubsystem
	File      *File      // KindFile
	Host      string     // KindForward
	Port      uint32     // KindForward: 1 to 65535
}

// Variable is an environment variable. Its name is a shell identifier.
type Variable struct {
	Name  string
	Value string
}

// PTY is a terminal as a client asks for it.
type PTY struct {
	Term    string
	Columns uint32
	Rows    uint32
	Modes   []byte // encoded as in RFC 4254, section 8
}

// File is one operation of a file transfer session.
type File struct {
	Op    string   // read, write, list, stat, lstat, readlink, mkdir, rmdir, remove, rename, setstat or symlink
	Path  string   // absolute and clean, as the target resolves it; symlink: of the link
	Asked string   // as the client wrote it
	To    string   // rename: the new path, absolute and clean; symlink: what the link is to hold
	Flags []string // lower-case words, such as create, truncate and append for write, or mode=0644 for setstat
}

// ErrRequest says that a request cannot be, or that a text is not one.
var ErrRequest = errors.New("not an SSH request")

func bad(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrRequest, fmt.Sprintf(format, args...))
}

// fileOps are the operations on files, and whether they take a second path.
var fileOps = map[string]bool{
	"read": false, "write": false, "list": false, "stat": false, "lstat": false, "readlink": false, "mkdir": false,
	"rmdir": false, "remove": false, "setstat": false, "rename": true, "symlink": true,
}

// Text is the request as it is judged, recorded and shown: header lines, then
// the act, which takes all the rest of the text.
//
//	as "root"
//	env "LANG" "C.UTF-8"
//	pty "xterm" 80x24 MODES          (hexadecimal, or -)
//	exec COMMAND                     (exact bytes to the end)
//	shell
//	subsystem "netconf"
//	sftp OP "PATH" asked "ASKED" [to "TO"] [flags FLAG,FLAG]
//	forward "127.0.0.1" 5432
//
// A request that is out of bounds or contradicts itself is an [ErrRequest].
func (r *Request) Text() (string, error) {
	if err := r.check(); err != nil {
		return "", err
	}
	var b strings.Builder
	if r.Account != "" {
		fmt.Fprintf(&b, "as %q\n", r.Account)
	}
	for _, v := range r.Env {
		fmt.Fprintf(&b, "env %q %q\n", v.Name, v.Value)
	}
	if p := r.PTY; p != nil {
		modes := "-"
		if len(p.Modes) > 0 {
			modes = hex.EncodeToString(p.Modes)
		}
		fmt.Fprintf(&b, "pty %q %dx%d %s\n", p.Term, p.Columns, p.Rows, modes)
	}
	switch r.Kind {
	case KindExec:
		b.WriteString("exec " + r.Command)
	case KindShell:
		b.WriteString("shell")
	case KindSubsystem:
		fmt.Fprintf(&b, "subsystem %q", r.Subsystem)
	case KindForward:
		fmt.Fprintf(&b, "forward %q %d", r.Host, r.Port)
	case KindFile:
		fmt.Fprintf(&b, "sftp %s %q asked %q", r.File.Op, r.File.Path, r.File.Asked)
		if fileOps[r.File.Op] {
			fmt.Fprintf(&b, " to %q", r.File.To)
		}
		if len(r.File.Flags) > 0 {
			b.WriteString(" flags " + strings.Join(r.File.Flags, ","))
		}
	}
	if b.Len() > MaxText {
		return "", bad("its text has %d bytes; the most is %d", b.Len(), MaxText)
	}
	return b.String(), nil
}

// check holds a request to its bounds, and to the fields of its kind.
func (r *Request) check() error {
	if err := checkText("the account", r.Account, 0, maxName); err != nil {
		return err
	}
	if len(r.Env) > MaxEnv {
		return bad("%d environment variables; the most is %d", len(r.Env), MaxEnv)
	}
	for _, v := range r.Env {
		if len(v.Name) > maxName || !scan.Identifier(v.Name) {
			return bad("%.40q is not the name of an environment variable", v.Name)
		}
		if err := checkText("the value of "+v.Name, v.Value, 0, maxValue); err != nil {
			return err
		}
		// Old versions of bash take such a value for a function, and run what
		// stands behind it (CVE-2014-6271).
		if strings.HasPrefix(v.Value, "() {") {
			return bad("the value of %s is a shell function", v.Name)
		}
	}
	if p := r.PTY; p != nil {
		if err := checkText("the terminal", p.Term, 0, maxName); err != nil {
			return err
		}
		if len(p.Modes) > maxModes {
			return bad("%d bytes of terminal modes; the most is %d", len(p.Modes), maxModes)
		}
	}
	want := Request{Account: r.Account, Env: r.Env, PTY: r.PTY, Kind: r.Kind}
	var err error
	switch r.Kind {
	case KindExec:
		want.Command = r.Command
		if strings.TrimSpace(r.Command) == "" {
			return bad("the command is empty")
		}
		err = checkText("the command", r.Command, 1, MaxCommand)
	case KindShell:
	case KindSubsystem:
		want.Subsystem = r.Subsystem
		err = checkText("the subsystem", r.Subsystem, 1, maxName)
	case KindFile:
		want.File = r.File
		err = r.File.check()
	case KindForward:
		want.Host, want.Port = r.Host, r.Port
		if r.Port < 1 || r.Port > 65535 {
			return bad("%d is not a port", r.Port)
		}
		err = checkHost(r.Host)
	default:
		return bad("there is no kind %.20q", r.Kind)
	}
	if err != nil {
		return err
	}
	if want.Command != r.Command || want.Subsystem != r.Subsystem || want.File != r.File || want.Host != r.Host || want.Port != r.Port {
		return bad("it asks for more than %s", r.Kind)
	}
	return nil
}

func (f *File) check() error {
	if f == nil {
		return bad("a file operation without its parts")
	}
	two, known := fileOps[f.Op]
	if !known {
		return bad("there is no file operation %.20q", f.Op)
	}
	if err := checkPath(f.Path); err != nil {
		return err
	}
	if err := checkText("the path asked for", f.Asked, 0, MaxPath); err != nil {
		return err
	}
	switch {
	case !two && f.To != "":
		return bad("%s takes one path", f.Op)
	case f.Op == "rename":
		if err := checkPath(f.To); err != nil {
			return err
		}
	case f.Op == "symlink":
		if err := checkText("the link", f.To, 1, MaxPath); err != nil {
			return err
		}
	}
	if len(f.Flags) > maxFlags {
		return bad("%d flags; the most is %d", len(f.Flags), maxFlags)
	}
	for _, w := range f.Flags {
		if w == "" || len(w) > maxFlag || strings.Trim(w, "abcdefghijklmnopqrstuvwxyz-=0123456789") != "" {
			return bad("%.30q is not a flag", w)
		}
	}
	return nil
}

// checkPath wants a path that policies can compare: no "..", no "//".
func checkPath(p string) error {
	if err := checkText("the path", p, 1, MaxPath); err != nil {
		return err
	}
	if p[0] != '/' || path.Clean(p) != p {
		return bad("the path %.80q is not absolute and clean", p)
	}
	return nil
}

// checkHost wants a name or an address, without anything that would make
// "host:port" mean something else.
func checkHost(h string) error {
	if err := checkText("the host", h, 1, maxName); err != nil {
		return err
	}
	for i := range len(h) {
		if c := h[i]; !scan.Letter(c) && !scan.Digit(c) && !strings.ContainsRune("._:%-", rune(c)) {
			return bad("%.80q is not a host", h)
		}
	}
	return nil
}

func checkText(what, s string, least, most int) error {
	switch {
	case len(s) < least:
		return bad("%s is empty", what)
	case len(s) > most:
		return bad("%s has %d bytes; the most is %d", what, len(s), most)
	case strings.IndexByte(s, 0) >= 0:
		return bad("%s holds a NUL byte", what)
	}
	return nil
}

// Parse reads a text that [Request.Text] gave, and no other: a text that Text
// would write differently is an [ErrRequest].
func Parse(text string) (*Request, error) {
	if len(text) > MaxText {
		return nil, bad("the text has %d bytes; the most is %d", len(text), MaxText)
	}
	r := &Request{}
	s := scanner{scan.Scanner{Rest: text}}
	if s.Word("as ") {
		r.Account = s.Quoted()
		s.Expect("\n")
	}
	for len(r.Env) <= MaxEnv && s.Word("env ") {
		v := Variable{Name: s.Quoted()}
		s.Expect(" ")
		v.Value = s.Quoted()
		s.Expect("\n")
		r.Env = append(r.Env, v)
	}
	if s.Word("pty ") {
		r.PTY = s.pty()
	}
	switch {
	case s.Word("exec "):
		r.Kind, r.Command, s.Rest = KindExec, s.Rest, ""
	case s.Word("shell"):
		r.Kind = KindShell
	case s.Word("subsystem "):
		r.Kind, r.Subsystem = KindSubsystem, s.Quoted()
	case s.Word("forward "):
		r.Kind, r.Host = KindForward, s.Quoted()
		s.Expect(" ")
		r.Port = s.number()
	case s.Word("sftp "):
		r.Kind, r.File = KindFile, s.file()
	default:
		s.Failed = true
	}
	if s.Failed || s.Rest != "" {
		return nil, bad("%.60q is not the text of one", text)
	}
	again, err := r.Text()
	if err != nil {
		return nil, err
	}
	if again != text {
		return nil, bad("%.60q is not how it is written", text)
	}
	return r, nil
}

// scanner takes a request's text apart.
type scanner struct{ scan.Scanner }

func (s *scanner) number() uint32 {
	n, err := strconv.ParseUint(s.Span("0123456789"), 10, 32)
	if err != nil {
		s.Failed = true
	}
	return uint32(n)
}

func (s *scanner) pty() *PTY {
	p := &PTY{Term: s.Quoted()}
	s.Expect(" ")
	p.Columns = s.number()
	s.Expect("x")
	p.Rows = s.number()
	s.Expect(" ")
	if !s.Word("-") {
		modes, err := hex.DecodeString(s.Span("0123456789abcdef"))
		if err != nil || len(modes) == 0 {
			s.Failed = true
		}
		p.Modes = modes
	}
	s.Expect("\n")
	return p
}

func (s *scanner) file() *File {
	f := &File{Op: s.Span("abcdefghijklmnopqrstuvwxyz")}
	s.Expect(" ")
	f.Path = s.Quoted()
	s.Expect(" asked ")
	f.Asked = s.Quoted()
	if s.Word(" to ") {
		f.To = s.Quoted()
	}
	if s.Word(" flags ") {
		f.Flags = strings.Split(s.Span("abcdefghijklmnopqrstuvwxyz-=0123456789,"), ",")
	}
	return f
}
