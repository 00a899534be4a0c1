package shell

import (
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/doorward/doorward"
	"github.com/doorward/doorward/internal/classify/scan"
)

// Args reads a list of words that is run as it stands, without a shell: the
// first is the program. An error means that it cannot be a command, or cannot
// be read at all.
//
// A program that is not a shell is one command, and its words are exactly the
// argv. What a shell is told to read (sh -c TEXT) is a script even where it
// looks plain: policies compare words only where nothing reads them again. A
// shell that reads from a file, from its standard input or from a person is a
// shell, and so is one whose options are not known here.
//
// Programs that start what their words say (env, timeout, sudo, nsenter) are
// commands as any other: their words are compared as they are.
func Args(argv []string) (*Reading, error) {
	if err := checkArgs(argv); err != nil {
		return nil, err
	}
	words := argv
	if boxes[path.Base(argv[0])] && len(argv) > 1 {
		words = argv[1:] // busybox sh -c TEXT
	}
	family := shellFamily(words[0])
	if family == noShell {
		objs := plainObjects(argv)
		archiveFiles(argv, objs)
		return &Reading{Kind: KindExec, Objects: objs.Sorted(), Complete: true, Commands: [][]string{argv}}, nil
	}
	self := Objects{}
	self.Add("command", argv[0], doorward.VerbExecute)
	text, ok := textOf(words[1:])
	if family != knownShell || !ok {
		return &Reading{Kind: KindShell, Objects: self.Sorted(), Complete: true}, nil
	}
	var r *Reading
	if inner, ok := plain(text); ok {
		r = &Reading{Kind: KindScript, Objects: plainObjects(inner).Sorted(), Complete: true}
	} else {
		var err error
		if r, err = scriptReading(text); err != nil {
			return nil, err
		}
	}
	for _, o := range r.Objects {
		self.Add(o.Kind, o.Name, o.Verb)
	}
	if len(self) > maxObjects {
		return nil, fmt.Errorf("the script names %d commands, files and variables; the most is %d", len(self), maxObjects)
	}
	r.Objects = self.Sorted()
	return r, nil
}

func checkArgs(argv []string) error {
	if len(argv) == 0 || argv[0] == "" {
		return errors.New("the command is empty")
	}
	if len(argv) > maxWords {
		return fmt.Errorf("the command has %d words; the most is %d", len(argv), maxWords)
	}
	size := 0
	for _, a := range argv {
		if strings.IndexByte(a, 0) >= 0 {
			return errors.New("the command holds a NUL byte")
		}
		size += len(a) + 1
	}
	if size > MaxCommand {
		return fmt.Errorf("the command has %d bytes; the most is %d", size, MaxCommand)
	}
	return nil
}

// boxes are programs that hold many others; the second word says which.
var boxes = setOf("busybox toybox")

// What a program is to the reader of its words.
const (
	noShell    = iota
	otherShell // a shell with a grammar or options of its own
	knownShell // a shell whose scripts readScript reads with care for all of them
)

var (
	knownShells = setOf("sh bash rbash dash ash hush zsh rzsh ksh rksh mksh lksh pdksh oksh loksh yash posh fish csh tcsh")
	otherShells = setOf("rc es elvish nu nushell xonsh osh ysh ion oil sash scsh rush murex pwsh powershell cmd cmd.exe powershell.exe pwsh.exe")
)

// shellFamily says whether a program is a shell, by the last part of its path:
// also with a version behind the name, as in bash-5.2 or ksh93, and with a dash
// before it, as login writes it.
func shellFamily(program string) int {
	name := strings.TrimPrefix(path.Base(program), "-")
	for _, n := range []string{name, strings.ToLower(name), strings.TrimRight(strings.TrimSuffix(strings.ToLower(name), "-static"), ".-0123456789"), strings.TrimSuffix(strings.ToLower(name), ".exe")} {
		switch {
		case knownShells[n]:
			return knownShell
		case otherShells[n]:
			return otherShell
		}
	}
	return noShell
}

// settings are what set -o knows and what changes nothing about which commands
// there are.
var settings = setOf("pipefail errexit nounset xtrace noglob noclobber")

// textOf gives the text that a shell with these arguments runs, and false for a
// shell that reads from elsewhere or has options that are not known here. What
// follows the text are the script's $0, $1 and so on, which it reads as
// expansions.
func textOf(args []string) (string, bool) {
	found := false
	for i := 0; i < len(args); i++ {
		a := args[i]
		if len(a) < 2 || a[0] != '-' {
			if !found || strings.HasPrefix(a, "-") || strings.HasPrefix(a, "+") {
				return "", false
			}
			return a, true
		}
		for j, c := range a[1:] {
			switch c {
			case 'c':
				found = true
			case 'e', 'u', 'x', 'f', 'l':
			case 'o':
				// -o NAME, or -euo NAME: the name is the next word.
				if j != len(a)-2 || i+1 == len(args) || !settings[args[i+1]] {
					return "", false
				}
				i++
			default:
				return "", false
			}
		}
	}
	return "", false
}

// archiveFiles adds the paths of tar, which is how kubectl copies files: it
// starts tar in the container and talks to it. Whatever is no option is taken
// for a path, and the word after -C or -f too.
func archiveFiles(argv []string, objs Objects) {
	if path.Base(argv[0]) != "tar" || len(argv) < 2 {
		return
	}
	var verb doorward.Verb
	options := true
	var paths []string
	for i, a := range argv[1:] {
		switch {
		case options && a == "--":
			options = false
		case options && (i == 0 || strings.HasPrefix(a, "-") && a != "-"):
			verb |= archiveVerb(a)
			if i == 0 && !strings.HasPrefix(a, "-") && strings.Trim(a, archiveLetters) != "" {
				paths = append(paths, a)
			}
			if at := strings.IndexFunc(strings.TrimLeft(a, "-"), notLetter); at > 0 {
				paths = append(paths, strings.TrimPrefix(strings.TrimLeft(a, "-")[at:], "=")) // -C/x, --directory=/x
			}
		case a != "-":
			paths = append(paths, a)
		}
	}
	if verb == 0 {
		verb = doorward.VerbRead | doorward.VerbCreate | doorward.VerbUpdate
	}
	for _, p := range paths {
		objs.Add("file", clean(p), verb)
	}
}

func notLetter(c rune) bool { return c != '-' && (c > 0x7f || !scan.Letter(byte(c))) }

// archiveLetters are those of tar's options in the old style, as in tar xmf.
const archiveLetters = "ABCFGHIJKLMNOPRSTUVWXZabcdefghijklmnoprstuvwxz"

// archiveVerb says what an option makes tar do with files.
func archiveVerb(option string) doorward.Verb {
	if strings.HasPrefix(option, "--") {
		switch strings.TrimPrefix(option, "--") {
		case "create", "list", "append", "update", "diff", "compare":
			return doorward.VerbRead
		case "extract", "get":
			return doorward.VerbCreate | doorward.VerbUpdate
		}
		return 0
	}
	option = strings.TrimPrefix(option, "-")
	if end := strings.IndexFunc(option, notLetter); end >= 0 {
		option = option[:end] // -C/x
	}
	var verb doorward.Verb
	if strings.ContainsAny(option, "ctru") {
		verb |= doorward.VerbRead
	}
	if strings.Contains(option, "x") {
		verb |= doorward.VerbCreate | doorward.VerbUpdate
	}
	return verb
}
