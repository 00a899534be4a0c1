package shell

import (
	"slices"
	"strings"
	"testing"

	"github.com/doorward/doorward"
	"github.com/doorward/doorward/internal/classify/shell/shelltest"
)

// brief is a reading in one line: kind | objects | traits, and "incomplete".
func brief(r *Reading) string {
	var b strings.Builder
	b.WriteString(r.Kind + " |")
	for _, o := range r.Objects {
		b.WriteString(" " + o.Kind + ":" + o.Name)
		if o.Kind == "file" {
			b.WriteString("=" + o.Verb.String())
		}
	}
	if r.Traits != 0 {
		b.WriteString(" | " + strings.Join(r.Traits.Names(), ","))
	}
	if !r.Complete {
		b.WriteString(" | incomplete")
	}
	return b.String()
}

func TestArgs(t *testing.T) {
	for _, c := range []struct {
		argv []string
		want string
	}{
		{[]string{"ls", "-la"}, "exec | command:ls"},
		{[]string{"ls; id", "$(x)"}, "exec | command:ls; id"},
		{[]string{"/bin/cat", "/etc/../etc/passwd"}, "exec | command:/bin/cat"},
		{[]string{"env", "sh", "-c", "id"}, "exec | command:env"},
		{[]string{"shred", "x"}, "exec | command:shred"},
		{[]string{"busybox", "ls"}, "exec | command:busybox"},
		{[]string{"busybox"}, "exec | command:busybox"},
		{[]string{"sh"}, "shell | command:sh"},
		{[]string{"/usr/bin/bash"}, "shell | command:/usr/bin/bash"},
		{[]string{"-bash"}, "shell | command:-bash"},
		{[]string{"busybox", "sh"}, "shell | command:busybox"},
		{[]string{"bash-5.2", "-i"}, "shell | command:bash-5.2"},
		{[]string{"ksh93"}, "shell | command:ksh93"},
		{[]string{"pwsh", "-c", "ls"}, "shell | command:pwsh"},
		{[]string{"nu", "-c", "ls"}, "shell | command:nu"},
		{[]string{"sh", "/tmp/x"}, "shell | command:sh"},
		{[]string{"sh", "-s"}, "shell | command:sh"},
		{[]string{"sh", "-ic", "ls"}, "shell | command:sh"},
		{[]string{"sh", "-c"}, "shell | command:sh"},
		{[]string{"sh", "-c", "-e", "ls"}, "script | command:ls command:sh"},
		{[]string{"sh", "-c", "--", "ls"}, "shell | command:sh"},
		{[]string{"sh", "-c", "+x", "ls"}, "shell | command:sh"},
		{[]string{"sh", "-c", "-", "ls"}, "shell | command:sh"},
		{[]string{"bash", "--rcfile", "/tmp/x", "-c", "ls"}, "shell | command:bash"},
		{[]string{"bash", "-O", "extglob", "-c", "ls"}, "shell | command:bash"},
		{[]string{"bash", "-o", "vi", "-c", "ls"}, "shell | command:bash"},
		{[]string{"bash", "-oc", "pipefail", "ls"}, "shell | command:bash"},
		{[]string{"sh", "-c", "ls -la"}, "script | command:ls command:sh"},
		{[]string{"bash", "-lc", "ls; id"}, "script | command:bash command:id command:ls | multi_statement"},
		{[]string{"bash", "-e", "-c", "ls"}, "script | command:bash command:ls"},
		{[]string{"bash", "-euo", "pipefail", "-c", "ls | wc"}, "script | command:bash command:ls command:wc | multi_statement"},
		{[]string{"bash", "-o", "pipefail", "-ec", "ls"}, "script | command:bash command:ls"},
		{[]string{"busybox", "sh", "-c", "ls >/etc/x"}, "script | command:busybox command:ls file:/etc/x=create,update"},
		{[]string{"sh", "-c", "cat \"$1\"", "sh", "/etc/passwd"}, "script | command:cat command:sh"},
		{[]string{"sh", "-c", "\"$@\"", "sh", "reboot"}, "script | command:sh | incomplete"},
		{[]string{"sh", "-c", "eval x"}, "script | command:eval command:sh | incomplete"},
		{[]string{"sh", "-c", ""}, "script | command:sh | incomplete"},
		{[]string{"sh", "-c", " "}, "script | command:sh | incomplete"},
		{[]string{"sh", "-c", "scp -f /x"}, "script | command:scp command:sh file:/x=read"},
		{[]string{"scp", "-f", "/x"}, "exec | command:scp file:/x=read"},
		{[]string{"tar", "cf", "-", "/var/../etc/x"}, "exec | command:tar file:/etc/x=read"},
		{[]string{"tar", "-xmf", "-", "-C", "/srv"}, "exec | command:tar file:/srv=create,update"},
		{[]string{"tar", "--no-same-permissions", "--no-same-owner", "-xmf", "-", "-C/srv"}, "exec | command:tar file:/srv=create,update"},
		{[]string{"tar", "--extract", "--directory=/srv", "--", "-a"}, "exec | command:tar file:-a=create,update file:/srv=create,update"},
		{[]string{"tar", "/x"}, "exec | command:tar file:/x=read,create,update"},
	} {
		r, err := Args(c.argv)
		if err != nil {
			t.Errorf("%q: %v", c.argv, err)
			continue
		}
		if got := brief(r); got != c.want {
			t.Errorf("%q:\n got %s\nwant %s", c.argv, got, c.want)
		}
		if r.Kind == KindExec && (len(r.Commands) != 1 || !slices.Equal(r.Commands[0], c.argv)) || r.Kind != KindExec && r.Commands != nil {
			t.Errorf("%q: commands are %q", c.argv, r.Commands)
		}
	}
	for _, argv := range [][]string{nil, {}, {""}, {"", "ls"}, {"ls", "a\x00b"}, make([]string, maxWords+1), {"ls", strings.Repeat("a", MaxCommand)}, {"sh", "-c", strings.Repeat("(", maxOpeners+1)}} {
		if r, err := Args(argv); err == nil {
			t.Errorf("%.60q is read: %+v", argv, r)
		}
	}
}

// No text that a shell is given to read is ever taken for a command of its own.
func TestNoWordsThroughAShell(t *testing.T) {
	texts := append(shelltest.Hostile(Reserved()), "ls", "ls -la", "'ls'")
	for _, sh := range []string{"sh", "/bin/bash", "dash", "zsh", "ksh", "fish", "csh", "ash"} {
		for _, text := range texts {
			r, err := Args([]string{sh, "-c", text})
			if err != nil {
				continue
			}
			if r.Kind == KindExec || r.Commands != nil {
				t.Errorf("%s -c %q is %+v", sh, text, r)
			}
			if want, err := Text(text); err == nil && r.Kind == KindScript && r.Complete != want.Complete && strings.TrimSpace(text) != "" {
				t.Errorf("%s -c %q is complete: %v; the text by itself: %v", sh, text, r.Complete, want.Complete)
			}
		}
	}
}

func FuzzArgs(f *testing.F) {
	f.Add("sh", "-c", "ls; id")
	f.Add("tar", "-xmf", "-C/x")
	f.Add("busybox", "sh", "-c")
	f.Fuzz(func(t *testing.T, a, b, c string) {
		argv := []string{a, b, c}
		r, err := Args(argv)
		if err != nil {
			return
		}
		if len(r.Objects) == 0 || !slices.ContainsFunc(r.Objects, func(o doorward.Object) bool {
			return o.Kind == "command" && o.Name == a && o.Verb.Has(doorward.VerbExecute)
		}) {
			t.Fatalf("%q does not name its program: %+v", argv, r)
		}
		if r.Kind == KindExec && !slices.Equal(r.Commands[0], argv) || r.Kind != KindExec && r.Commands != nil {
			t.Fatalf("%q: %+v", argv, r)
		}
		if r.Kind == KindExec && shellFamily(a) != noShell {
			t.Fatalf("%q is a command", argv)
		}
	})
}
