package shell

import (
	"cmp"
	"path"
	"slices"
	"strings"

	"github.com/doorward/doorward"
)

// The kinds of commands.
const (
	KindExec   = "exec"   // one command, and every word of it is known
	KindScript = "script" // what a shell reads, with shell syntax or in a shell that the command starts
	KindShell  = "shell"  // a shell that reads from elsewhere: anything may run
)

// MaxCommand bounds a command in bytes: of its text, or of all its words.
const MaxCommand = 64 << 10

// Reading is what a command would do.
type Reading struct {
	Kind     string            // one of the Kind constants
	Objects  []doorward.Object // commands, files and variables; sorted by kind and name, no duplicates
	Traits   doorward.Trait    // TraitMulti, TraitLeaves
	Complete bool              // false when not all that can run is known
	Commands [][]string        // KindExec: the words of the command; nil otherwise
}

// Text reads a command as a login shell gets it. An error means that it cannot
// be read at all; a text that is not understood is no error, its reading is
// incomplete.
func Text(command string) (*Reading, error) {
	if argv, ok := plain(command); ok {
		return &Reading{Kind: KindExec, Objects: plainObjects(argv).Sorted(), Complete: true, Commands: [][]string{argv}}, nil
	}
	return scriptReading(command)
}

func scriptReading(command string) (*Reading, error) {
	s, err := readScript(command)
	if err != nil {
		return nil, err
	}
	r := &Reading{Kind: KindScript, Objects: s.objects.Sorted(), Complete: s.sure}
	if s.calls > 1 {
		r.Traits |= doorward.TraitMulti
	}
	if s.leaves {
		r.Traits |= doorward.TraitLeaves
	}
	return r, nil
}

// plainObjects are the program of a plain command, and the files that it is
// known to copy.
func plainObjects(argv []string) Objects {
	objs := Objects{}
	objs.Add("command", argv[0], doorward.VerbExecute)
	copyFiles(argv, objs)
	return objs
}

// copyFiles adds the paths of the old scp protocol, in which the client starts
// scp -f (from) or scp -t (to) on the host. Whatever is no option is taken for
// a path: one too many makes rules stricter.
func copyFiles(argv []string, objs Objects) {
	if path.Base(argv[0]) != "scp" {
		return
	}
	var verb doorward.Verb
	for _, a := range argv[1:] {
		if strings.HasPrefix(a, "-") && strings.Contains(a, "f") {
			verb |= doorward.VerbRead
		}
		if strings.HasPrefix(a, "-") && strings.Contains(a, "t") {
			verb |= doorward.VerbCreate
		}
	}
	if verb == 0 {
		return
	}
	options := true
	for _, a := range argv[1:] {
		if options && strings.HasPrefix(a, "-") && a != "-" {
			options = a != "--"
			continue
		}
		objs.Add("file", clean(a), verb)
	}
}

// clean removes what would make one file have many names; a relative path
// stays relative.
func clean(p string) string {
	if p == "" {
		return "."
	}
	return path.Clean(p)
}

type objectKey struct{ kind, name string }

// Objects collects what a request touches, with the verbs on it.
type Objects map[objectKey]doorward.Verb

// Add notes a verb on an object.
func (o Objects) Add(kind, name string, verb doorward.Verb) { o[objectKey{kind, name}] |= verb }

// Sorted gives them by kind and name.
func (o Objects) Sorted() []doorward.Object {
	var out []doorward.Object
	for k, v := range o {
		out = append(out, doorward.Object{Kind: k.kind, Name: k.name, Verb: v})
	}
	slices.SortFunc(out, func(a, b doorward.Object) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name))
	})
	return out
}
