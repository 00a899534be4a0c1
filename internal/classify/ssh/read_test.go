package ssh

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/doorward/doorward"
)

func readRequest(t testing.TB, r Request) *doorward.Effect {
	t.Helper()
	text, err := r.Text()
	if err != nil {
		t.Fatalf("%+v: %v", r, err)
	}
	reading, err := Read(text)
	if err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	return &reading.Effect
}

// brief is an effect in one line: kinds | verbs | objects | traits, and
// "incomplete".
func brief(e *doorward.Effect) string {
	var objs []string
	for _, o := range e.Objects {
		objs = append(objs, o.Kind+":"+o.Name+"="+o.Verb.String())
	}
	s := fmt.Sprintf("%s | %s | %s", strings.Join(e.Kinds, ","), e.Verbs, strings.Join(objs, " "))
	if e.Traits != 0 {
		s += " | " + strings.Join(e.Traits.Names(), ",")
	}
	if !e.Complete {
		s += " | incomplete"
	}
	return s
}

func TestRead(t *testing.T) {
	file := func(op, path, to string, flags ...string) Request {
		return Request{Kind: KindFile, File: &File{Op: op, Path: path, Asked: "x", To: to, Flags: flags}}
	}
	command := func(c string) Request { return Request{Kind: KindExec, Command: c} }
	onTerminal := command("systemctl status app")
	onTerminal.PTY = &PTY{Term: "xterm"}
	script := command("a; b")
	script.PTY = onTerminal.PTY
	for _, c := range []struct {
		r    Request
		want string
	}{
		{command("systemctl status app"), "exec | execute | command:systemctl=execute"},
		{onTerminal, "exec,pty | execute | command:systemctl=execute"},
		{script, "script,pty | execute | command:a=execute command:b=execute | multi_statement"},
		{Request{Kind: KindExec, Command: "ls", Account: "root", Env: []Variable{{"LC_A", "x"}, {"LANG", "C"}, {"LANG", "D"}}},
			"exec | execute,session | account:root=session command:ls=execute setting:LANG=session setting:LC_A=session"},
		{Request{Kind: KindShell, PTY: onTerminal.PTY}, "shell | execute | "},
		{Request{Kind: KindSubsystem, Subsystem: "sftp"}, "sftp | session | "},
		{Request{Kind: KindSubsystem, Subsystem: "netconf"}, "subsystem | execute | subsystem:netconf=execute"},
		{Request{Kind: KindForward, Host: "DB.internal", Port: 5432}, "forward | execute | address:db.internal:5432=execute | leaves"},
		{Request{Kind: KindForward, Host: "0:0::1", Port: 22}, "forward | execute | address:[::1]:22=execute | leaves"},
		{Request{Kind: KindForward, Host: "::ffff:127.0.0.1", Port: 22}, "forward | execute | address:127.0.0.1:22=execute | leaves"},
		{file("read", "/a", ""), "sftp read | read | file:/a=read"},
		{file("list", "/", ""), "sftp list | read | file:/=read"},
		{file("write", "/a", ""), "sftp write | update | file:/a=update"},
		{file("write", "/a", "", "create", "truncate"), "sftp write | create,update | file:/a=create,update"},
		{file("write", "/a", "", "read"), "sftp write | read,update | file:/a=read,update"},
		{file("mkdir", "/a", ""), "sftp mkdir | create | file:/a=create"},
		{file("setstat", "/a", "", "mode"), "sftp setstat | update | file:/a=update"},
		{file("rename", "/b", "/a"), "sftp rename | create,update,delete | file:/a=create,update file:/b=delete"},
		{file("remove", "/a", ""), "sftp remove | delete | file:/a=delete"},
		{file("rmdir", "/a", ""), "sftp rmdir | delete | file:/a=delete"},
		{file("symlink", "/d/a", "../etc/x"), "sftp symlink | create | file:/d/a=create file:/etc/x=create"},
		{file("symlink", "/d/a", "../../etc//./x/"), "sftp symlink | create | file:/d/a=create file:/etc/x=create"},
		{file("symlink", "/d/a", "/../etc/..x"), "sftp symlink | create | file:/d/a=create file:/etc/..x=create"},
		{file("symlink", "/d/a", "/e/../etc/x"), "sftp symlink | create | file:/d/a=create file:/etc/x=create | incomplete"},
		{file("symlink", "/d/a", "e/.."), "sftp symlink | create | file:/d=create file:/d/a=create | incomplete"},
		{file("symlink", "/d/a", "../e/.//../x"), "sftp symlink | create | file:/d/a=create file:/x=create | incomplete"},
		{command("scp -f /var/log/../../etc/passwd"), "exec | read,execute | command:scp=execute file:/etc/passwd=read"},
		{command("/usr/bin/scp -v -r -p -t -- /tmp/x -y"), "exec | create,execute | command:/usr/bin/scp=execute file:-y=create file:/tmp/x=create"},
		{command("scp -rt ''"), "exec | create,execute | command:scp=execute file:.=create"},
		{command("scp a b:c"), "exec | execute | command:scp=execute"},
	} {
		if got := brief(readRequest(t, c.r)); got != c.want {
			t.Errorf("%+v:\n got %s\nwant %s", c.r, got, c.want)
		}
	}
	e := readRequest(t, command("a 'b c'"))
	if len(e.Commands) != 1 || !slices.Equal(e.Commands[0], []string{"a", "b c"}) || e.Bound != -1 {
		t.Errorf("%+v", e)
	}
}

// A script that cannot be read at all is no request.
func TestUnreadableScript(t *testing.T) {
	if _, err := Read("exec " + strings.Repeat("(", MaxCommand)); !errors.Is(err, ErrRequest) {
		t.Errorf("a script that nests without end is read: %v", err)
	}
}
