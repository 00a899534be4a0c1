package shell

import (
	"bytes"
	"context"
	"math/rand/v2"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/doorward/doorward/internal/classify/shell/shelltest"
)

func TestPlain(t *testing.T) {
	for command, want := range map[string][]string{
		"uptime":                       {"uptime"},
		"  df \t -h ":                  {"df", "-h"},
		"a 'b c' \"d e\"f'g'":          {"a", "b c", "d efg"},
		"a '' \"\"":                    {"a", "", ""},
		"'uptime'":                     {"uptime"},
		"date +%F":                     {"date", "+%F"},
		"x --a=b c=d @ +1 a:b,c 50%":   {"x", "--a=b", "c=d", "@", "+1", "a:b,c", "50%"},
		"grep 'a|b;c>d$(e)`f`*?~#{}&'": {"grep", "a|b;c>d$(e)`f`*?~#{}&"},
		"grep \"it's;|<>()*#\"":        {"grep", "it's;|<>()*#"},
		"sh -c 'touch x; y'":           {"sh", "-c", "touch x; y"},
		"env A=b ls":                   {"env", "A=b", "ls"},
		"/usr/bin/ls-2.0+x":            {"/usr/bin/ls-2.0+x"},
		"ls '-=x' a'='b":               {"ls", "-=x", "a=b"},
		"echo '%self' \"=ls\"":         {"echo", "%self", "=ls"},
	} {
		got, ok := plain(command)
		if !ok || !slices.Equal(got, want) {
			t.Errorf("%q: %q, %v; want %q", command, got, ok, want)
		}
	}
}

var hostile = shelltest.Hostile(Reserved())

func TestNotPlain(t *testing.T) {
	for _, command := range hostile {
		// Two quotes of one kind may meet by chance above: that is plain.
		if strings.Count(command, `"`) == 2 && strings.Contains(command, `""`) || strings.Contains(command, "'''") {
			continue
		}
		if argv, ok := plain(command); ok {
			t.Errorf("%q is plain: %q", command, argv)
		}
		if r, err := Text(command); err == nil && (r.Commands != nil || r.Kind != KindScript) {
			t.Errorf("%q is read as plain: %+v", command, r)
		}
	}
	if len(hostile) < 600 {
		t.Errorf("only %d hostile commands", len(hostile))
	}
}

// shells are those that the machine has.
func shells(t *testing.T) []string {
	var out []string
	for _, name := range []string{"dash", "bash", "zsh", "fish", "ksh", "mksh", "tcsh", "csh"} {
		if path, err := exec.LookPath(name); err == nil {
			out = append(out, path)
		}
	}
	if len(out) == 0 {
		t.Fatal("there is no shell to compare with")
	}
	return out
}

// What is plain has the same words in every shell that is here.
func TestShellsAgree(t *testing.T) {
	names := shells(t)
	rnd := rand.New(rand.NewPCG(1, 2))
	pieces := []string{"a", "B7", "_", "@", "%", "+", ":", ",", ".", "/", "-", "=", "--x=", "'", "\"", "' '", "\" \"", "'*'", "\"it's\"", "'$x;|&<>'", "'\"'", "\"#{}[]~^*?\"",
		"''", "\"\"", " ", "\t", "  ", "~", "*", "\\", "$", "#", "!", ";", "{a,b}", "`", "(", "é", "\n", "if", "1", "%self", "=ls", "'%'", "'='", "'~'", "-", "..", "{", "?", "a=b"}
	var commands []string
	for len(commands) < 4000 {
		// Mostly pieces that are plain, so that many whole commands are.
		var b strings.Builder
		for range 1 + rnd.IntN(10) {
			n := len(pieces)
			if rnd.IntN(10) > 0 {
				n = 27
			}
			b.WriteString(pieces[rnd.IntN(n)])
		}
		if argv, ok := plain("printf " + b.String()); ok && len(argv) > 1 {
			commands = append(commands, b.String())
		}
	}
	for _, shell := range names {
		// One process, and its own printf, for many commands, each on a line of its own: a command
		// holds no line's end.
		var script strings.Builder
		var want bytes.Buffer
		for _, c := range commands {
			script.WriteString("printf '%s\\0' " + c + " '<end>'\n")
			argv, _ := plain("printf " + c)
			for _, a := range append(argv[1:], "<end>") {
				want.WriteString(a + "\x00")
			}
		}
		checkShell(t, shell, script.String(), want.Bytes())
		// And alone, as sshd starts them.
		for _, c := range commands[:60] {
			argv, _ := plain("printf " + c)
			var want bytes.Buffer
			for _, a := range argv[1:] {
				want.WriteString(a + "\x00")
			}
			checkShell(t, shell, "/usr/bin/printf '%s\\0' "+c, want.Bytes())
		}
	}
	t.Logf("compared with %v", names)
}

func checkShell(t *testing.T, shell, script string, want []byte) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, shell, "-c", script)
	cmd.Dir = t.TempDir()
	if len(script) > 100_000 { // more than one argument may have
		cmd = exec.CommandContext(ctx, shell)
		cmd.Stdin = strings.NewReader(script)
	}
	got, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v: %.300q", shell, err, script)
	}
	if !bytes.Equal(got, want) {
		i := 0
		for i < min(len(got), len(want)) && got[i] == want[i] {
			i++
		}
		from := max(0, i-60)
		t.Fatalf("%s reads other words: %q, want %q", shell, got[from:min(len(got), i+60)], want[from:min(len(want), i+60)])
	}
}

// The first word is the program, in every shell that is here.
func TestShellsAgreeOnTheProgram(t *testing.T) {
	for _, shell := range shells(t) {
		for _, c := range []string{"/usr/bin/printf x", "'/usr/bin/printf' x", "/usr/'bin'/\"printf\" x", " \t/usr/bin/printf\tx "} {
			if argv, ok := plain(c); !ok || argv[0] != "/usr/bin/printf" {
				t.Fatalf("%q: %q", c, argv)
			}
			checkShell(t, shell, c, []byte("x"))
		}
		// What compgen or type call keyword or builtin is either on the list or
		// does what its name says.
		harmless := strings.Fields("[ cd echo false kill printf pwd test times true type ulimit umask wait shift chdir shift : help local{ let{ return{ ]] [[ ! { } ( )")
		if strings.HasSuffix(shell, "/bash") {
			out, err := exec.CommandContext(t.Context(), shell, "-c", "compgen -b; compgen -k").Output()
			if err != nil {
				t.Fatal(err)
			}
			for _, w := range strings.Fields(string(out)) {
				if _, ok := plain(w); ok && !slices.Contains(harmless, w) {
					t.Errorf("%s: the builtin %s is plain", shell, w)
				}
			}
		}
	}
}

func FuzzPlain(f *testing.F) {
	for _, c := range hostile {
		f.Add(c)
	}
	f.Add("a 'b c' \"d\"")
	f.Fuzz(func(t *testing.T, command string) {
		argv, ok := plain(command)
		if !ok {
			return
		}
		if strings.ContainsAny(command, "\\\n\r\x00!") {
			t.Fatalf("%q is plain", command)
		}
		// Quoted again, each word by itself, it is the same.
		var b strings.Builder
		for _, a := range argv {
			if strings.Contains(a, "'") {
				b.WriteString("\"")
				if strings.ContainsAny(a, "\"$`") {
					return
				}
				b.WriteString(a + "\" ")
			} else {
				b.WriteString("'" + a + "' ")
			}
		}
		again, ok := plain(b.String())
		if !ok || !slices.Equal(again, argv) {
			t.Fatalf("%q is %q, and quoted %q is %q", command, argv, b.String(), again)
		}
	})
}
