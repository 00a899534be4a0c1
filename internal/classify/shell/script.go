package shell

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"mvdan.cc/sh/v3/syntax"

	"github.com/doorward/doorward"
	"github.com/doorward/doorward/internal/classify/scan"
)

// maxOpeners bounds what can nest in a script: the parser goes one call deeper
// for each of these.
const maxOpeners = 2000

// maxObjects bounds what a script may name: each is recorded.
const maxObjects = 1000

var openers = []string{"(", "{", "[", "`", "!", "|", "&&", "if", "while", "until", "for", "case", "do", "then", "select", "time", "coproc", "function"}

// script is what was found in a shell script.
type script struct {
	objects Objects
	calls   int
	leaves  bool
	sure    bool // every command that can run is among the objects, whichever shell it is

	open   []syntax.Node // the nodes that are being visited, outermost first
	substs int           // substitutions among them
}

// readScript reads a command with the grammar of bash. A command that does not
// parse is no error: it gives what is known of it, which is nothing for sure.
func readScript(command string) (s *script, err error) {
	n := 0
	for _, o := range openers {
		n += strings.Count(command, o)
	}
	if n > maxOpeners {
		return nil, errors.New("the script nests too much to be read")
	}
	// The parser's own faults must not end the process: the request is refused.
	defer func() {
		if p := recover(); p != nil {
			s, err = nil, fmt.Errorf("the script cannot be read: %.100s", fmt.Sprint(p))
		}
	}()
	s = &script{objects: Objects{}}
	file, parseErr := syntax.NewParser(syntax.Variant(syntax.LangBash)).Parse(strings.NewReader(command), "")
	// A shell takes a command that begins with - or + for options of its own.
	s.sure = parseErr == nil && command != "" && visible(command) && command[0] != '-' && command[0] != '+'
	if file != nil {
		syntax.Walk(file, s.visit)
	}
	if len(s.objects) > maxObjects {
		return nil, fmt.Errorf("the script names %d commands, files and variables; the most is %d", len(s.objects), maxObjects)
	}
	if len(s.objects) == 0 {
		s.sure = false
	}
	return s, nil
}

// visible reports whether people who look at the text see all of it.
func visible(text string) bool {
	return utf8.ValidString(text) && !strings.ContainsFunc(text, func(r rune) bool {
		return r != '\n' && r != '\t' && r != ' ' && (!unicode.IsPrint(r) || unicode.Is(unicode.Mn, r))
	})
}

// visit takes note of one node, or of its end (nil).
func (s *script) visit(n syntax.Node) bool {
	if n == nil {
		if substitutes(s.open[len(s.open)-1]) {
			s.substs--
		}
		s.open = s.open[:len(s.open)-1]
		return true
	}
	if substitutes(n) {
		s.substs++
	}
	s.open = append(s.open, n)
	s.note(n)
	return true
}

func substitutes(n syntax.Node) bool {
	switch n.(type) {
	case *syntax.CmdSubst, *syntax.ProcSubst:
		return true
	}
	return false
}

// note takes note of one node. Kinds of nodes that are not known here make the
// reading unsure, and so does quoting that the usual shells end in different
// places: what is text for bash could be a command for another.
func (s *script) note(n syntax.Node) {
	switch n := n.(type) {
	case *syntax.File, *syntax.Comment, *syntax.Subshell, *syntax.Block, *syntax.IfClause, *syntax.WhileClause,
		*syntax.BinaryCmd, *syntax.FuncDecl, *syntax.Lit,
		*syntax.CmdSubst, *syntax.ProcSubst, *syntax.CaseClause, *syntax.CaseItem, *syntax.TimeClause:
	case *syntax.Word:
		s.parts(n.Parts)
		// A brace by itself is an argument for bash; for zsh it ends a block
		// anywhere, and what comes next is a command.
		if l := n.Lit(); l == "{" || l == "}" {
			s.sure = false
		}
	case *syntax.SglQuoted: // dash knows no $'…', fish knows \' in '…', csh no newline
		if n.Dollar || strings.ContainsAny(n.Value, "\\\n") {
			s.sure = false
		}
	case *syntax.DblQuoted: // csh knows no \" in "…"
		s.parts(n.Parts)
		for _, p := range n.Parts {
			if l, ok := p.(*syntax.Lit); ok && strings.ContainsAny(l.Value, "\\\n") {
				s.sure = false
			}
		}
	case *syntax.Stmt:
		if n.Coprocess || n.Disown {
			s.sure = false
		}
	case *syntax.CallExpr:
		s.call(n)
	case *syntax.Redirect:
		s.redirect(n)
	case *syntax.Assign:
		s.assign(n)
	case *syntax.DeclClause:
		s.command(n.Variant.Value)
		for _, a := range n.Args {
			// An option, a word that becomes an assignment, or in dash several.
			if _, ok := literal(a.Value); a.Name == nil || a.Value != nil && !ok {
				s.sure = false
			}
		}
	case *syntax.ForClause:
		if n.Select {
			s.sure = false
		}
	case *syntax.WordIter:
		s.variable(n.Name.Value)
	case *syntax.ParamExp:
		s.expansion(n)
	default:
		// Arithmetic, arrays, coprocesses, extended globs: a variable's text can
		// be run by them. [[ … ]]: for dash, || and && end a command in it.
		s.sure = false
	}
}

// leaving are the words among shellWords that hide nothing from a script when
// what follows them is a number.
var leaving = setOf("break continue return exit")

// integers are variables that hold numbers: zsh, ksh and bash evaluate what
// some of them are set to, and run commands that stand in a subscript of it.
var integers = setOf("BASHPID BAUD COLUMNS DIRSTACKSIZE EGID EPOCHREALTIME EPOCHSECONDS ERRNO EUID FUNCNEST GID HISTCMD HISTSIZE KEYTIMEOUT LINENO LINES LISTMAX LOGCHECK MAILCHECK OPTIND PPID RANDOM SAVEHIST SECONDS SHLVL SRANDOM TMOUT TRY_BLOCK_ERROR TRY_BLOCK_INTERRUPT TTYIDLE UID USER_ID")

func (s *script) call(c *syntax.CallExpr) {
	if len(c.Args) == 0 {
		return
	}
	name, ok := literal(c.Args[0])
	if !ok || name == "" {
		s.calls++
		s.sure = false
		return
	}
	s.command(name)
	switch {
	case leaving[name]:
		for _, a := range c.Args[1:] { // zsh and ksh evaluate it
			if text, ok := literal(a); !exitStatus(a) && (!ok || !number(text)) {
				s.sure = false
			}
		}
	case shellWords[name]:
		s.sure = false
	case name == "test" || name == "[":
		s.test(c.Args[1:])
	case name == "printf" && len(c.Args) > 1:
		if text, ok := literal(c.Args[1]); !ok || strings.HasPrefix(text, "-") || !textFormat(text) {
			s.sure = false
		}
	}
}

// test looks at the words of a test: -v evaluates a subscript, and zsh and ksh
// evaluate what is compared as numbers.
func (s *script) test(args []*syntax.Word) {
	var words []string
	for _, a := range args {
		text, ok := literal(a)
		if !ok || text == "-v" || text == "-R" {
			s.sure = false
		}
		words = append(words, text)
	}
	for i, w := range words {
		switch w {
		case "-eq", "-ne", "-lt", "-le", "-gt", "-ge":
			if i == 0 || i+1 == len(words) || !number(words[i-1]) || !number(words[i+1]) {
				s.sure = false
			}
		case "-t":
			if i+1 < len(words) && words[i+1] != "]" && !number(words[i+1]) {
				s.sure = false
			}
		}
	}
}

// textFormat reports whether a format of printf takes its arguments for text:
// zsh and ksh evaluate those that are to be numbers.
func textFormat(f string) bool {
	for {
		i := strings.IndexByte(f, '%')
		if i < 0 {
			return true
		}
		f = strings.TrimLeft(f[i+1:], "-+0123456789.")
		if f == "" || strings.IndexByte("sbcq%", f[0]) < 0 {
			return false
		}
		f = f[1:]
	}
}

// number reports whether a word is a number and nothing to be evaluated.
func number(w string) bool {
	w = strings.TrimPrefix(w, "-")
	return w != "" && strings.Trim(w, "0123456789") == ""
}

// exitStatus reports whether a word is $?.
func exitStatus(w *syntax.Word) bool {
	if len(w.Parts) != 1 {
		return false
	}
	p, ok := w.Parts[0].(*syntax.ParamExp)
	return ok && p.Short && p.Param != nil && p.Param.Value == "?"
}

// subscript is what zsh takes for a subscript, in which it evaluates, or for
// one of its flags of an expansion, and bash for text: $x[…], $#x[…], $~x. A
// short expansion is \x01, $# is \x02, and \x00 is any other part.
var subscript = regexp.MustCompile(`\x01\[|[\x02$][^ \t\n\x00\[]*\[|\$[~=+^]`)

// parts looks at the parts of a word, or of a text in quotes, side by side.
func (s *script) parts(list []syntax.WordPart) {
	var b strings.Builder
	for _, p := range list {
		switch p := p.(type) {
		case *syntax.Lit:
			b.WriteString(p.Value)
		case *syntax.ParamExp:
			switch {
			case !p.Short:
				b.WriteByte(0)
			case p.Param != nil && p.Param.Value == "#":
				b.WriteByte(2)
			default:
				b.WriteByte(1)
			}
		default:
			b.WriteByte(0)
		}
	}
	if subscript.MatchString(b.String()) {
		s.sure = false
	}
}

func (s *script) command(name string) {
	s.calls++
	s.objects.Add("command", name, doorward.VerbExecute)
}

// variable notes that a variable is set: PATH, IFS or LD_PRELOAD change what
// commands do.
func (s *script) variable(name string) {
	s.objects.Add("variable", name, doorward.VerbSession)
	if integers[name] {
		s.sure = false
	}
}

func (s *script) assign(a *syntax.Assign) {
	if a.Index != nil || a.Array != nil {
		s.sure = false
	}
	if a.Name != nil {
		s.variable(a.Name.Value)
	}
}

func (s *script) expansion(p *syntax.ParamExp) {
	switch {
	case p.Excl, p.Index != nil, p.Slice != nil, p.Flags != nil, p.NestedParam != nil, p.Width, p.IsSet, len(p.Modifiers) > 0, p.Param == nil, p.Repl != nil:
		s.sure = false
	case p.Exp != nil:
		switch p.Exp.Op {
		case syntax.OtherParamOps: // ${x@P} runs what is in x
			s.sure = false
		case syntax.AssignUnset, syntax.AssignUnsetOrNull:
			s.variable(p.Param.Value)
		}
		// Shells differ on quotes within the braces.
		if w := p.Exp.Word; w != nil {
			for _, part := range w.Parts {
				if l, ok := part.(*syntax.Lit); !ok || strings.ContainsAny(l.Value, "\\'\"") {
					s.sure = false
				}
			}
		}
	}
}

// redirect notes the file that a redirection opens.
func (s *script) redirect(r *syntax.Redirect) {
	if r.N != nil && strings.Trim(r.N.Value, "0123456789") != "" {
		s.sure = false // {name}> sets a variable
	}
	verb := doorward.VerbCreate | doorward.VerbUpdate
	switch r.Op {
	case syntax.WordHdoc:
		return
	case syntax.Hdoc, syntax.DashHdoc:
		if end, ok := literal(r.Word); !ok || !scan.Identifier(end) || s.substs > 0 {
			s.sure = false // shells differ on where it ends
		}
		return
	case syntax.RdrIn:
		verb = doorward.VerbRead
	case syntax.RdrInOut:
		verb |= doorward.VerbRead
	case syntax.DplIn, syntax.DplOut:
		if to, ok := literal(r.Word); ok && to != "" && strings.Trim(strings.TrimSuffix(to, "-"), "0123456789") == "" {
			return
		}
		s.sure = false // a file for some shells only
	case syntax.RdrOut, syntax.AppOut, syntax.RdrClob:
	default:
		// &>: dash ends the command at the &, and what comes after the file is
		// a command of its own.
		s.sure = false
	}
	name, ok := literal(r.Word)
	if !ok || name == "" {
		s.sure = false
		return
	}
	// bash connects to /dev/tcp/host/port.
	if strings.HasPrefix(clean(name), "/dev/tcp/") || strings.HasPrefix(clean(name), "/dev/udp/") {
		s.leaves, s.sure = true, false
	}
	s.objects.Add("file", clean(name), verb)
}

// literal gives the text of a word that no shell expands.
func literal(w *syntax.Word) (string, bool) {
	var b strings.Builder
	var parts func(list []syntax.WordPart, quoted bool) bool
	parts = func(list []syntax.WordPart, quoted bool) bool {
		for _, p := range list {
			switch p := p.(type) {
			case *syntax.Lit:
				special := `\*?[]{}~=%^!#`
				if quoted {
					special = `\!`
				}
				if strings.ContainsAny(p.Value, special) && p.Value != "[" && p.Value != "]" {
					return false
				}
				b.WriteString(p.Value)
			case *syntax.SglQuoted:
				if p.Dollar {
					return false
				}
				b.WriteString(p.Value)
			case *syntax.DblQuoted:
				if p.Dollar || !parts(p.Parts, true) {
					return false
				}
			default:
				return false
			}
		}
		return true
	}
	if w == nil || !parts(w.Parts, false) {
		return "", false
	}
	return b.String(), true
}
