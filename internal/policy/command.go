package policy

import (
	"fmt"
	"regexp"
	"regexp/syntax"
	"slices"
	"strconv"
	"strings"

	"github.com/doorward/doorward"
)

// Bounds of `commands` and `words`.
const (
	maxWords       = 200  // names of one rule
	maxPatternWord = 64   // words of one pattern
	maxValue       = 4096 // bytes of a word that a placeholder can match
	maxShown       = 12   // patterns that a hint lists
)

// kindExec is the one kind of effect that `commands` can match.
const kindExec = "exec"

// commandPattern is one compiled entry of `commands`.
type commandPattern []wordPattern

// wordPattern is one word of a pattern.
type wordPattern struct {
	text   string         // the whole word, if re is nil
	re     *regexp.Regexp // anchored; its groups called n0, n1… are numbers
	ranges [][2]int64     // of the number groups, in their order
	opens  bool           // the word begins with a placeholder
}

// carriers are kinds that say how a plain command gets to where it runs, and
// nothing about what it does: exec into a pod, with or without standard input.
var carriers = map[string]bool{"create pods/exec": true, "stdin": true}

// plainCommand reports whether the effect is one plain command without a
// terminal.
func plainCommand(e *doorward.Effect) bool {
	execs := 0
	for _, k := range e.Kinds {
		if k == kindExec {
			execs++
		} else if !carriers[k] {
			return false
		}
	}
	return execs == 1 && len(e.Commands) == 1
}

// matchCommands reports whether the effect is one plain command that some pattern
// allows, word by word.
func matchCommands(list []commandPattern, e *doorward.Effect) bool {
	if !plainCommand(e) {
		return false
	}
	argv := e.Commands[0]
	return len(argv) > 0 && slices.ContainsFunc(list, func(p commandPattern) bool {
		return slices.EqualFunc(p, argv, func(w wordPattern, arg string) bool { return w.match(arg) })
	})
}

func (w *wordPattern) match(arg string) bool {
	if w.re == nil {
		return arg == w.text
	}
	// Options are literal, and a value does not climb out of its directory.
	if len(arg) > maxValue || w.opens && strings.HasPrefix(arg, "-") || climbs(arg) {
		return false
	}
	if len(w.ranges) == 0 {
		return w.re.MatchString(arg)
	}
	m := w.re.FindStringSubmatch(arg)
	if m == nil {
		return false
	}
	for i, r := range w.ranges {
		n, err := strconv.ParseInt(m[w.re.SubexpIndex(numberGroup(i))], 10, 64)
		if err != nil || n < r[0] || n > r[1] {
			return false
		}
	}
	return true
}

func numberGroup(i int) string { return "n" + strconv.Itoa(i) }

// climbs reports whether some part of a path in the word is "..".
func climbs(arg string) bool {
	return slices.Contains(strings.FieldsFunc(arg, func(c rune) bool { return strings.ContainsRune("/=:,", c) }), "..")
}

var (
	placeholderName = regexp.MustCompile(`\A[A-Za-z_][A-Za-z0-9_-]{0,63}\z`)
	numberRange     = regexp.MustCompile(`\A(0|[1-9][0-9]{0,17})\.\.(0|[1-9][0-9]{0,17})\z`)
)

// plainBytes are the bytes of a pattern that stand for themselves.
const plainBytes = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_@%+:,./=-"

// neverPlain are first words that make a script of a command: a pattern with
// one of them would never match.
var neverPlain = strings.Fields("eval exec source . command builtin alias export set unset trap read declare if for while until case time function select")

// compileCommands compiles `commands` with the placeholders of `words`.
func compileCommands(r *rule, bad func(field, msg, hint string)) {
	if len(r.Words) > 0 && len(r.Commands) == 0 {
		bad("words", "words are for the patterns of commands, and there are none", "add commands: or remove words:")
	}
	if len(r.Words) > maxWords {
		bad("words", fmt.Sprintf("%d words; the most is %d", len(r.Words), maxWords), "split the rule")
		return
	}
	names := make([]string, 0, len(r.Words))
	for name := range r.Words {
		names = append(names, name)
	}
	slices.Sort(names)
	wrong := false
	for _, name := range names {
		if msg, hint := checkWord(name, r.Words[name]); msg != "" {
			bad("words."+clip(name, 40), msg, hint)
			wrong = true
		}
	}
	if wrong {
		return // the patterns would only repeat it
	}
	for _, text := range r.Commands {
		if len(text) > maxEntry {
			continue // said already
		}
		p, msg, hint := compileCommand(text, r.Words, names)
		if msg != "" {
			bad("commands", fmt.Sprintf("%q: %s", clip(text, 80), msg), hint)
			continue
		}
		r.commands = append(r.commands, p)
	}
}

// checkWord says what is wrong with a placeholder's regular expression.
func checkWord(name, expr string) (msg, hint string) {
	if !placeholderName.MatchString(name) {
		return fmt.Sprintf("%q is not a name", clip(name, 40)), "use letters, digits, - and _, as in unit"
	}
	if len(expr) > maxEntry {
		return fmt.Sprintf("longer than %d bytes", maxEntry), ""
	}
	re, err := regexp.Compile(`\A(?:` + expr + `)\z`)
	if err != nil {
		return "not a regular expression: " + clip(err.Error(), 200), "RE2 syntax, as in [A-Za-z0-9_-]{1,64}"
	}
	tree, err := syntax.Parse(expr, syntax.Perl)
	if err != nil {
		return "not a regular expression: " + clip(err.Error(), 200), "RE2 syntax, as in [A-Za-z0-9_-]{1,64}"
	}
	switch {
	case re.MatchString(""):
		return "it matches the empty word", "write + for *, as in [a-z]+"
	case len(re.SubexpNames()) > 1 && slices.ContainsFunc(re.SubexpNames(), func(n string) bool { return n != "" }):
		return "it has named groups", "write (?:…)"
	case matchesBlank(tree):
		return "it can match a blank, so it says nothing about one word", "name the characters that may be there, as in [A-Za-z0-9_.-]+"
	}
	return "", ""
}

// matchesBlank reports whether a space, a tab or the end of a line is among
// the characters that stand in the expression.
func matchesBlank(re *syntax.Regexp) bool {
	switch re.Op {
	case syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		return true
	case syntax.OpLiteral:
		return strings.ContainsAny(string(re.Rune), " \t\r\n")
	case syntax.OpCharClass:
		for i := 0; i+1 < len(re.Rune); i += 2 {
			for _, blank := range " \t\r\n" {
				if re.Rune[i] <= blank && blank <= re.Rune[i+1] {
					return true
				}
			}
		}
	}
	return slices.ContainsFunc(re.Sub, matchesBlank)
}

// compileCommand compiles one pattern; msg says what is wrong with it.
func compileCommand(text string, words map[string]string, names []string) (p commandPattern, msg, hint string) {
	fields := strings.FieldsFunc(text, func(c rune) bool { return c == ' ' || c == '\t' })
	if len(fields) > maxPatternWord {
		return nil, fmt.Sprintf("%d words; the most is %d", len(fields), maxPatternWord), ""
	}
	for i, f := range fields {
		w, msg, hint := compilePatternWord(f, words, names)
		if msg != "" {
			return nil, msg, hint
		}
		if i == 0 {
			if w.opens {
				return nil, "the command itself is a placeholder", "write one pattern for each command"
			}
			if w.re == nil && slices.Contains(neverPlain, w.text) {
				return nil, w.text + " runs what its words say or changes what names mean; it is never a plain command", "a script can be let to people by then: review and when: \"'script' in effect.kinds\""
			}
			if strings.IndexByte("+-", w.head()) >= 0 || w.re == nil && strings.ContainsAny(w.text, "@%:,=") {
				return nil, w.text + " is never the name of a plain command", "name a program, as in systemctl or /usr/bin/systemctl"
			}
		}
		p = append(p, w)
	}
	return p, "", ""
}

// head is the first byte of the word.
func (w *wordPattern) head() byte {
	if w.text == "" {
		return 0
	}
	return w.text[0]
}

func compilePatternWord(word string, words map[string]string, names []string) (w wordPattern, msg, hint string) {
	w.text, w.opens = word, strings.HasPrefix(word, "{")
	var expr strings.Builder
	for rest := word; rest != ""; {
		n := len(rest) - len(strings.TrimLeft(rest, plainBytes))
		expr.WriteString(regexp.QuoteMeta(rest[:n]))
		if rest = rest[n:]; rest == "" {
			break
		}
		if rest[0] != '{' {
			return w, fmt.Sprintf("%q never matches: only plain words are compared, and nothing in a pattern is a glob or shell syntax", firstRune(rest)),
				"write a placeholder, as in {name}, and say in words: what it stands for"
		}
		name, after, ok := strings.Cut(rest[1:], "}")
		if !ok {
			return w, "a { without its }", "write {name} or {1..1000}"
		}
		rest = after
		if m := numberRange.FindStringSubmatch(name); m != nil {
			low, _ := strconv.ParseInt(m[1], 10, 64) // at most 18 digits
			high, _ := strconv.ParseInt(m[2], 10, 64)
			if low > high {
				return w, "{" + name + "} holds no number", "write the smaller number first"
			}
			fmt.Fprintf(&expr, "(?P<%s>0|[1-9][0-9]{0,17})", numberGroup(len(w.ranges)))
			w.ranges = append(w.ranges, [2]int64{low, high})
			continue
		}
		sub, known := words[name]
		if !known {
			hint = "say in words: what it stands for, as in words: { " + clip(name, 40) + ": \"[a-z0-9-]+\" }; numbers are written {1..1000}"
			if hit := Closest(name, names); hit != "" {
				hint = "did you mean {" + hit + "}?"
			}
			return w, "there is no word {" + clip(name, 40) + "}", hint
		}
		expr.WriteString("(?:" + sub + ")")
	}
	if !strings.Contains(word, "{") {
		return w, "", ""
	}
	re, err := regexp.Compile(`\A(?:` + expr.String() + `)\z`)
	if err != nil {
		return w, "cannot be made a regular expression: " + clip(err.Error(), 200), ""
	}
	w.re = re
	return w, "", ""
}

func firstRune(s string) string {
	for _, r := range s {
		return string(r)
	}
	return ""
}

// commandHint lists the patterns that the identity may run, or is "".
func (v *view) commandHint(id *doorward.Identity, target string) string {
	var free, asked []string
	w := doing(id, target, doorward.VerbExecute)
	for _, r := range v.rules {
		if r.possible(w) == no || len(r.commands) == 0 {
			continue
		}
		switch r.outcome {
		case doorward.Allow:
			free = append(free, r.Commands...)
		case doorward.Hold:
			asked = append(asked, r.Commands...)
		}
	}
	if len(free)+len(asked) == 0 {
		return ""
	}
	var b strings.Builder
	b.WriteString("On " + target)
	if len(free) > 0 {
		b.WriteString(" you may run: " + shown(free) + ".")
		if len(asked) > 0 {
			b.WriteString(" With a person's yes: " + shown(asked) + ".")
		}
	} else {
		b.WriteString(" you may run, with a person's yes: " + shown(asked) + ".")
	}
	b.WriteString(" One command at a time, without shell syntax and without a terminal.")
	return b.String()
}

// shown joins the first patterns, each once.
func shown(patterns []string) string {
	var out []string
	for _, p := range patterns {
		if p = clip(strings.Join(strings.Fields(p), " "), 80); !slices.Contains(out, p) {
			out = append(out, p)
		}
	}
	if n := len(out); n > maxShown {
		return fmt.Sprintf("%s; and %d more", strings.Join(out[:maxShown], "; "), n-maxShown)
	}
	return strings.Join(out, "; ")
}
