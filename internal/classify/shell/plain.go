package shell

import (
	"maps"
	"slices"
	"strings"

	"github.com/doorward/doorward/internal/classify/scan"
)

// maxWords bounds the words of a plain command: each is recorded.
const maxWords = 1000

// plain gives the words of a command that every usual login shell (sh, bash,
// zsh, fish, csh) splits in the same way and runs as one command; false for
// everything else. Each rule below says which shell would differ.
func plain(command string) ([]string, bool) {
	var argv []string
	rest := command
	for {
		rest = strings.TrimLeft(rest, " \t")
		if rest == "" {
			break
		}
		word, n, ok := plainWord(rest)
		if !ok {
			return nil, false
		}
		argv = append(argv, word)
		rest = rest[n:]
	}
	if len(argv) == 0 || len(argv) > maxWords || !plainName(argv[0]) {
		return nil, false
	}
	return argv, true
}

// plainWord takes one word off s, which does not begin with a blank, and says
// how long it is as written.
func plainWord(s string) (word string, n int, ok bool) {
	var b strings.Builder
	for n < len(s) {
		switch c := s[n]; {
		case c == ' ' || c == '\t':
			return b.String(), n, true
		case c == '\'' || c == '"':
			text, ok := plainQuoted(s[n:])
			if !ok {
				return "", 0, false
			}
			n += len(text) + 2
			// With RC_QUOTES, zsh takes 'a''b' for one quote inside.
			if c == '\'' && n < len(s) && s[n] == '\'' {
				return "", 0, false
			}
			b.WriteString(text)
		case scan.Letter(c) || scan.Digit(c) || strings.IndexByte("_@+:,./-", c) >= 0:
			b.WriteByte(c)
			n++
		// zsh expands =name, tcsh =number, and fish %self, at the start of a word.
		case (c == '=' || c == '%') && b.Len() > 0:
			b.WriteByte(c)
			n++
		default:
			return "", 0, false
		}
	}
	return b.String(), n, true
}

// plainQuoted gives what stands between the quote that s begins with and the
// next one.
func plainQuoted(s string) (string, bool) {
	end := strings.IndexByte(s[1:], s[0])
	if end < 0 {
		return "", false
	}
	text := s[1 : 1+end]
	for i := range len(text) {
		c := text[i]
		// fish knows \' and \\ between single quotes; csh expands ! anywhere.
		if c < ' ' || c > '~' || c == '\\' || c == '!' || s[0] == '"' && (c == '$' || c == '`') {
			return "", false
		}
	}
	return text, true
}

// plainName reports whether the first word is a command of its own: not an
// option, a job (%1), a label of csh (name:), an assignment, or a word that a
// shell takes for more than a name.
func plainName(name string) bool {
	if name == "" || name[0] == '+' || name[0] == '-' {
		return false
	}
	for i := range len(name) {
		if c := name[i]; !scan.Letter(c) && !scan.Digit(c) && strings.IndexByte("_./+-", c) < 0 {
			return false
		}
	}
	return !shellWords[name]
}

// shellWords are the keywords of the usual shells, and the builtins that run
// what their words say, load something or change what later names mean. A
// command with such a name is not plain, and a script with one is incomplete
// (but see leaving).
var shellWords = setOf(
	// sh, bash, ksh, zsh
	"if then else elif fi for while until do done case esac in function select time coproc repeat foreach end nocorrect noglob declare typeset local readonly export float integer let private global bool compound enum nameref always",
	"eval exec source . command builtin alias unalias unfunction set unset shopt setopt unsetopt emulate enable disable trap return break continue exit logout bye suspend redirect alarm",
	"read readarray mapfile getopts getln vared wait print bind bindkey complete compgen compopt compdef compctl compcall compadd hash rehash unhash autoload functions zmodload zle zcompile zstyle zparseopts zformat zregexparse zpty ztcp zsocket zftp zselect zsystem sysopen sched history hist r fc dirs pushd popd fg bg jobs disown caller strftime",
	// fish
	"begin and or not abbr funced funcsave argparse emit block set_color psub fish_config breakpoint commandline",
	// csh, tcsh
	"breaksw default endif endsw switch goto onintr setenv unsetenv limit unlimit hup notify stop alloc @ filetest ls-F telltc termname uncomplete settc setty echotc inlib ver where watchlog",
	// what begins a command of zsh without being it
	"-",
)

// Reserved gives the words that are never the name of a plain command, sorted.
func Reserved() []string { return slices.Sorted(maps.Keys(shellWords)) }

func setOf(lists ...string) map[string]bool {
	set := map[string]bool{}
	for _, list := range lists {
		for _, w := range strings.Fields(list) {
			set[w] = true
		}
	}
	return set
}
