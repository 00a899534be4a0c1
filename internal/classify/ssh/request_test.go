package ssh

import (
	"errors"
	"reflect"
	"strings"
	"testing"
)

var samples = []struct {
	r    Request
	text string
}{
	{Request{Kind: KindExec, Command: "uptime"}, "exec uptime"},
	{Request{Kind: KindExec, Command: "a\nshell\n\xff'\" "}, "exec a\nshell\n\xff'\" "},
	{Request{Kind: KindExec, Account: "root", Env: []Variable{{"LANG", "C.UTF-8"}, {"LC_X", "a\nb\"c\xff"}},
		PTY: &PTY{"xterm-256color", 80, 24, []byte{1, 0, 0xff}}, Command: "ls"},
		"as \"root\"\nenv \"LANG\" \"C.UTF-8\"\nenv \"LC_X\" \"a\\nb\\\"c\\xff\"\npty \"xterm-256color\" 80x24 0100ff\nexec ls"},
	{Request{Kind: KindShell, PTY: &PTY{Rows: 4294967295}}, "pty \"\" 0x4294967295 -\nshell"},
	{Request{Kind: KindSubsystem, Subsystem: "sftp"}, `subsystem "sftp"`},
	{Request{Kind: KindForward, Host: "::1", Port: 5432}, `forward "::1" 5432`},
	{Request{Kind: KindFile, File: &File{Op: "read", Path: "/a b", Asked: "../a b"}}, `sftp read "/a b" asked "../a b"`},
	{Request{Kind: KindFile, File: &File{Op: "write", Path: "/a", Asked: "", Flags: []string{"create", "truncate"}}}, `sftp write "/a" asked "" flags create,truncate`},
	{Request{Kind: KindFile, File: &File{Op: "rename", Path: "/a", Asked: "a", To: "/b"}}, `sftp rename "/a" asked "a" to "/b"`},
	{Request{Kind: KindFile, File: &File{Op: "symlink", Path: "/a", Asked: "a", To: "../b"}}, `sftp symlink "/a" asked "a" to "../b"`},
}

func TestText(t *testing.T) {
	for _, c := range samples {
		text, err := c.r.Text()
		if err != nil || text != c.text {
			t.Errorf("%q, %v; want %q", text, err, c.text)
			continue
		}
		back, err := Parse(text)
		if err != nil || !reflect.DeepEqual(*back, c.r) {
			t.Errorf("%q: %+v, %v", text, back, err)
		}
	}
}

func TestImpossibleRequests(t *testing.T) {
	many := make([]Variable, MaxEnv+1)
	for i := range many {
		many[i] = Variable{Name: "LANG"}
	}
	file := func(f File) Request { return Request{Kind: KindFile, File: &f} }
	for name, r := range map[string]Request{
		"no kind":           {},
		"unknown kind":      {Kind: "x11"},
		"empty command":     {Kind: KindExec},
		"blank command":     {Kind: KindExec, Command: " \t\n"},
		"NUL":               {Kind: KindExec, Command: "uptime\x00; id"},
		"long command":      {Kind: KindExec, Command: strings.Repeat("a", MaxCommand+1)},
		"two acts":          {Kind: KindShell, Command: "ls"},
		"two acts, file":    {Kind: KindExec, Command: "ls", File: &File{}},
		"many variables":    {Kind: KindShell, Env: many},
		"variable's name":   {Kind: KindShell, Env: []Variable{{"A=B", ""}}},
		"variable's name 2": {Kind: KindShell, Env: []Variable{{"1A", ""}}},
		"variable's name 3": {Kind: KindShell, Env: []Variable{{"", ""}}},
		"variable's value":  {Kind: KindShell, Env: []Variable{{"A", "\x00"}}},
		"shellshock":        {Kind: KindShell, Env: []Variable{{"LC_X", "() { :; }; id"}}},
		"account":           {Kind: KindShell, Account: "a\x00"},
		"modes":             {Kind: KindShell, PTY: &PTY{Modes: make([]byte, maxModes+1)}},
		"subsystem":         {Kind: KindSubsystem},
		"port 0":            {Kind: KindForward, Host: "a"},
		"port 65536":        {Kind: KindForward, Host: "a", Port: 65536},
		"host":              {Kind: KindForward, Host: "a b", Port: 1},
		"no host":           {Kind: KindForward, Port: 1},
		"socket":            {Kind: KindForward, Host: "/run/x.sock", Port: 1},
		"no file":           {Kind: KindFile},
		"op":                file(File{Op: "chmod", Path: "/a"}),
		"relative":          file(File{Op: "read", Path: "a"}),
		"not clean":         file(File{Op: "read", Path: "/a/../b"}),
		"not clean 2":       file(File{Op: "read", Path: "/a/"}),
		"not clean 3":       file(File{Op: "read", Path: "//a"}),
		"empty path":        file(File{Op: "read"}),
		"long path":         file(File{Op: "read", Path: "/" + strings.Repeat("a", MaxPath)}),
		"one path too many": file(File{Op: "read", Path: "/a", To: "/b"}),
		"rename":            file(File{Op: "rename", Path: "/a", To: "b"}),
		"rename nowhere":    file(File{Op: "rename", Path: "/a"}),
		"link nowhere":      file(File{Op: "symlink", Path: "/a"}),
		"flag":              file(File{Op: "write", Path: "/a", Flags: []string{"create,read"}}),
		"empty flag":        file(File{Op: "write", Path: "/a", Flags: []string{""}}),
	} {
		if text, err := r.Text(); !errors.Is(err, ErrRequest) {
			t.Errorf("%s: %q, %v", name, text, err)
		}
	}
}

func TestBoundOfText(t *testing.T) {
	r := Request{Kind: KindExec, Command: strings.Repeat("a", MaxCommand)}
	text, err := r.Text()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Parse(text); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		r.Env = append(r.Env, Variable{"A", strings.Repeat("\xff", maxValue)})
	}
	if _, err := r.Text(); !errors.Is(err, ErrRequest) {
		t.Error("a text of more than MaxText bytes is written")
	}
	if _, err := Parse("exec " + strings.Repeat("a", MaxText)); !errors.Is(err, ErrRequest) {
		t.Error("a text of more than MaxText bytes is read")
	}
}

func TestStrictParse(t *testing.T) {
	for _, text := range []string{
		"", "exec", "exec ", "exec \n", "Exec ls", " exec ls", "exec\tls", "shell\n", "shell ", "shellx", "as \"\"\nshell", "as \"a\"", "as a\nshell",
		"as \"a\"\nas \"b\"\nshell", "env \"A\" \"b\"\nas \"a\"\nshell", "as `a`\nshell", "as 'a'\nshell", "as \"\\x61\"\nshell", "as \"a\"\r\nshell",
		"pty \"a\" 080x24 -\nshell", "pty \"a\" 80x24 \nshell", "pty \"a\" 80x24 0\nshell", "pty \"a\" 80x24 AA\nshell", "pty \"a\" 80x4294967296 -\nshell",
		"pty \"a\" 1x1 -\npty \"a\" 1x1 -\nshell", "pty \"a\" 1x1 -\nenv \"A\" \"b\"\nshell", "subsystem sftp", "subsystem \"sftp\" ", "subsystem \"\"",
		"forward \"a\" 01", "forward \"a\" +1", "forward \"a\"  1", "sftp read \"/a\"", "sftp  \"/a\" asked \"\"", "sftp read \"/a\" asked \"\" flags ",
		"sftp read \"/a\" asked \"\" flags a,", "sftp rename \"/a\" asked \"\"", "sftp read \"/a\" asked \"\" to \"/b\"", "sftp write \"/a\" asked \"\" flags a flags b",
		"forward \"a\" 1\nexec ls", "exec a\x00",
	} {
		if r, err := Parse(text); !errors.Is(err, ErrRequest) {
			t.Errorf("%q is read as %+v, %v", text, r, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, c := range samples {
		f.Add(c.text)
	}
	f.Add("env \"A\" \"b\"\nexec $(x) <<a\nb\na")
	f.Fuzz(func(t *testing.T, text string) {
		r, err := Parse(text)
		if err != nil {
			if !errors.Is(err, ErrRequest) {
				t.Fatalf("%v is not ErrRequest", err)
			}
			return
		}
		again, err := r.Text()
		if err != nil || again != text {
			t.Fatalf("%q is written %q, %v", text, again, err)
		}
		reading, err := Read(text)
		if err != nil {
			return
		}
		e := &reading.Effect
		if len(e.Kinds) == 0 || e.Verbs == 0 {
			t.Fatalf("%q does nothing: %+v", text, e)
		}
		if e.Commands != nil && (e.Kinds[0] != KindExec || len(e.Commands) != 1 || len(e.Commands[0]) == 0) {
			t.Fatalf("%q: %+v", text, e)
		}
		if r.Kind == KindExec && e.ReadOnly() {
			t.Fatalf("%q is a command and read-only", text)
		}
	})
}

// FuzzText makes requests of any parts: what can be written is read back.
func FuzzText(f *testing.F) {
	f.Add("root", "LANG", "C", "xterm", uint32(80), []byte{1}, "exec", "ls", "/a", "/b", "create", uint32(22))
	f.Fuzz(func(t *testing.T, account, name, value, term string, n uint32, modes []byte, kind, act, path, to, flag string, port uint32) {
		r := Request{Account: account, Kind: kind}
		if name != "" {
			r.Env = []Variable{{name, value}, {name, account}}
		}
		if term != "" {
			r.PTY = &PTY{Term: term, Columns: n, Rows: port, Modes: modes}
		}
		switch kind {
		case KindExec:
			r.Command = act
		case KindSubsystem:
			r.Subsystem = act
		case KindForward:
			r.Host, r.Port = act, port
		case KindFile:
			r.File = &File{Op: act, Path: path, Asked: value, To: to}
			if flag != "" {
				r.File.Flags = []string{flag, flag}
			}
		}
		text, err := r.Text()
		if err != nil {
			return
		}
		back, err := Parse(text)
		if err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		if r.PTY != nil && len(r.PTY.Modes) == 0 {
			r.PTY.Modes = nil
		}
		if !reflect.DeepEqual(*back, r) {
			t.Fatalf("%+v is written %q and read %+v", r, text, back)
		}
	})
}
