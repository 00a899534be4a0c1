package policy

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/doorward/doorward"
)

func running(argv ...string) *doorward.Effect {
	return &doorward.Effect{Kinds: []string{"exec"}, Verbs: doorward.VerbExecute, Complete: true, Bound: -1, Commands: [][]string{argv},
		Objects: []doorward.Object{{Kind: "account", Name: "root", Verb: doorward.VerbSession}, {Kind: "command", Name: argv[0], Verb: doorward.VerbExecute}}}
}

func TestCommands(t *testing.T) {
	p := compile(t, Rule{Name: "r", Targets: all, Then: "allow",
		Commands: []string{"uptime", "cat /log/{name}.log", "tail -n {1..1000} {path}", "x {0..0}-{5..7}", "y --to={name}", "z {any}", "w a{b}c{b}", "  v\t{1..9}  x "},
		Words:    map[string]string{"name": "[a-z]+|B", "path": `/[a-z./-]+`, "any": `\S+`, "b": "(?i:b)|x+", "unused": "x"}})
	for command, want := range map[string]bool{
		"uptime": true, "uptime|": false, "uptime|x": false, "Uptime": false, "": false,
		"cat|/log/a.log": true, "cat|/log/B.log": true, "cat|/log/aB.log": false, "cat|/log/.log": false, "cat|/log/aXlog": false, "cat|/log/a.log\n": false, "cat|/log/a\n.log": false, "cat": false, "cat|/log/a.log|x": false, "cat|x|/log/a.log": false,
		"tail|-n|1|/a": true, "tail|-n|1000|/a": true, "tail|-n|1001|/a": false, "tail|-n|0|/a": false, "tail|-n|01|/a": false, "tail|-n|+1|/a": false, "tail|-n||/a": false, "tail|-n|999999999999999999999999|/a": false, "tail|-n|1|/a/../b": false,
		"tail|-n|1|/a/..": false, "tail|-n|1|/a/...": true, "tail|-n|1|/a..b": true,
		"x|0-5": true, "x|0-7": true, "x|0-8": false, "x|1-5": false, "x|0-05": false,
		"y|--to=a": true, "y|--to=": false, "y|--to=A": false,
		"z|a;b": true, "z|-a": false, "z|--": false, "z|-": false, "z|..": false, "z|a=..": false, "z|../x": false, "z|a b": false, "z|": false,
		"w|abcb": true, "w|aBcxx": true, "w|abcbc": false,
		"v|5|x": true, "v|10|x": false,
	} {
		if got := p.ask(ada, running(strings.Split(command, "|")...)).Outcome == doorward.Allow; got != want {
			t.Errorf("%q: %v", command, got)
		}
	}
	if p.ask(ada, running("z", strings.Repeat("a", maxValue+1))).Outcome == doorward.Allow {
		t.Error("a word of any length matches")
	}
	for name, change := range map[string]func(e *doorward.Effect){
		"script":       func(e *doorward.Effect) { e.Kinds = []string{"script"} },
		"terminal":     func(e *doorward.Effect) { e.Kinds = []string{"exec", "pty"} },
		"twice":        func(e *doorward.Effect) { e.Kinds = []string{"exec", "exec"} },
		"no kind":      func(e *doorward.Effect) { e.Kinds = nil },
		"two commands": func(e *doorward.Effect) { e.Commands = append(e.Commands, e.Commands[0]) },
		"no command":   func(e *doorward.Effect) { e.Commands = nil },
		"no words":     func(e *doorward.Effect) { e.Commands = [][]string{{}} },
		"incomplete":   func(e *doorward.Effect) { e.Complete = false },
		"refused":      func(e *doorward.Effect) { e.Refuse = "x" },
	} {
		e := running("uptime")
		change(e)
		if d := p.ask(ada, e); d.Outcome != doorward.Deny {
			t.Errorf("%s: %+v", name, d)
		}
	}
}

// commands narrows a rule of any outcome, beside its other parts.
func TestCommandsAmongRules(t *testing.T) {
	p := compile(t,
		Rule{Name: "all", Targets: all, Then: "allow", Objects: []string{"command:*"}},
		Rule{Name: "ask", Targets: all, Then: "review", Reviewers: Reviewers{Groups: []string{"g"}}, Commands: []string{"b {x}"}, Words: map[string]string{"x": "[a-z]"}},
		Rule{Name: "no", Targets: all, Then: "deny", Commands: []string{"b z", "c"}},
		Rule{Name: "not for codex", Targets: all, Then: "deny", Commands: []string{"d"}, When: "identity.agent == 'codex'"},
		Rule{Name: "cel", Targets: all, Then: "deny", When: "effect.commands.exists(c, c[0] == 'e' && size(c) > 1)"},
	)
	for _, c := range []struct {
		id   *doorward.Identity
		argv string
		want string
	}{
		{ada, "a", "allow all"}, {ada, "b x", "review ask"}, {ada, "b z", "deny no"}, {ada, "b -", "allow all"}, {ada, "c", "deny no"}, {ada, "d", "allow all"}, {codex, "d", "deny not for codex"},
		{ada, "e", "allow all"}, {ada, "e x", "deny cel"},
	} {
		d := p.ask(c.id, running(strings.Fields(c.argv)...))
		if got := d.Outcome.String() + " " + d.Rule; got != c.want {
			t.Errorf("%s: %s, want %s", c.argv, got, c.want)
		}
	}
	if d := p.ask(ada, read("t")); d.Outcome != doorward.Deny || d.Rule != "" {
		t.Errorf("no command at all: %+v", d)
	}
}

func TestCommandErrors(t *testing.T) {
	for name, c := range map[string]struct {
		commands []string
		words    map[string]string
		field    string
		want     string
	}{
		"unknown":         {[]string{"a {nmae}"}, map[string]string{"name": "x"}, "commands", "did you mean {name}?"},
		"unknown 2":       {[]string{"a {zzz}"}, nil, "commands", "there is no word {zzz}; say in words:"},
		"open":            {[]string{"a {b"}, nil, "commands", "a { without its }"},
		"stray":           {[]string{"a }"}, nil, "commands", `"}" never matches`},
		"glob":            {[]string{"cat /var/log/*"}, nil, "commands", "is a glob"},
		"syntax":          {[]string{"a; b"}, nil, "commands", `";" never matches`},
		"variable":        {[]string{"a $HOME"}, nil, "commands", "never matches"},
		"quotes":          {[]string{"a 'b'"}, nil, "commands", "never matches"},
		"letters":         {[]string{"a é"}, nil, "commands", `"é" never matches`},
		"builtin":         {[]string{"eval a"}, nil, "commands", "never a plain command"},
		"option":          {[]string{"-a b"}, nil, "commands", "never the name"},
		"assignment":      {[]string{"A=b c"}, nil, "commands", "never the name"},
		"any command":     {[]string{"{a} b"}, map[string]string{"a": "x"}, "commands", "one pattern for each command"},
		"blank":           {[]string{" "}, nil, "commands", "empty"},
		"long":            {[]string{strings.Repeat("a", maxEntry+1)}, nil, "commands", "longer"},
		"many words":      {[]string{strings.Repeat("a ", maxPatternWord+1)}, nil, "commands", "the most is 64"},
		"range":           {[]string{"a {5..1}"}, nil, "commands", "smaller number first"},
		"range 2":         {[]string{"a {01..5}"}, nil, "commands", "there is no word"},
		"range 3":         {[]string{"a {-1..5}"}, nil, "commands", "there is no word"},
		"regexp":          {[]string{"a {b}"}, map[string]string{"b": "[a-"}, "words.b", "not a regular expression"},
		"regexp 2":        {[]string{"a {b}"}, map[string]string{"b": "a)(?:b"}, "words.b", "not a regular expression"},
		"regexp 3":        {[]string{"a {b}"}, map[string]string{"b": `\z)|(?:.`}, "words.b", "not a regular expression"},
		"empty word":      {[]string{"a {b}"}, map[string]string{"b": "x*"}, "words.b", "empty word"},
		"empty word 2":    {[]string{"a {b}"}, map[string]string{"b": ""}, "words.b", "empty word"},
		"empty word 3":    {[]string{"a {b}"}, map[string]string{"b": "^$|x"}, "words.b", "empty word"},
		"dot":             {[]string{"a {b}"}, map[string]string{"b": ".+"}, "words.b", "can match a blank"},
		"not":             {[]string{"a {b}"}, map[string]string{"b": "[^/]+"}, "words.b", "can match a blank"},
		"tab":             {[]string{"a {b}"}, map[string]string{"b": `x\t?`}, "words.b", "can match a blank"},
		"space":           {[]string{"a {b}"}, map[string]string{"b": `x(?:[a-z ]|y)`}, "words.b", "can match a blank"},
		"class":           {[]string{"a {b}"}, map[string]string{"b": `[\x00-\x20]x`}, "words.b", "can match a blank"},
		"group":           {[]string{"a {b}"}, map[string]string{"b": `(?P<n0>x)`}, "words.b", "named groups"},
		"name":            {[]string{"a"}, map[string]string{"b c": `x`}, "words.b c", "not a name"},
		"words alone":     {nil, map[string]string{"b": `x`}, "words", "there are none"},
		"words too many":  {[]string{"a"}, manyWords(), "words", "split the rule"},
		"long expression": {[]string{"a {b}"}, map[string]string{"b": strings.Repeat("x", maxEntry+1)}, "words.b", "longer"},
	} {
		_, err := Compile(Document{Rules: []Rule{{Name: "r", Targets: all, Then: "allow", Commands: c.commands, Words: c.words}}})
		var es Errors
		if !errors.As(err, &es) {
			t.Errorf("%s: compiles", name)
			continue
		}
		if es[0].Field != c.field || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: field %q: %v", name, es[0].Field, err)
		}
	}
}

func manyWords() map[string]string {
	m := map[string]string{}
	for i := range maxWords + 1 {
		m[fmt.Sprintf("w%d", i)] = "x"
	}
	return m
}

func TestCommandsInTheVersion(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range []Rule{
		{Commands: []string{"a {x}"}, Words: map[string]string{"x": "a"}},
		{Commands: []string{"a {x}"}, Words: map[string]string{"x": "b"}},
		{Commands: []string{"b {x}"}, Words: map[string]string{"x": "a"}},
		{},
	} {
		r.Name, r.Targets, r.Then = "r", all, "allow"
		seen[compile(t, r).Version()] = true
	}
	if len(seen) != 4 {
		t.Error("a change of commands or words does not change the version")
	}
}

// What could be done: a filter by commands may match or not, and never matches
// what is no command.
func TestCommandsPossible(t *testing.T) {
	run := Rule{Name: "run", Targets: all, Commands: []string{"uptime"}, Then: "allow"}
	ask := Rule{Name: "ask", Targets: all, Commands: []string{"reboot"}, Then: "review", Reviewers: Reviewers{Groups: []string{"sre"}}}
	no := Rule{Name: "no", Targets: all, Commands: []string{"uptime"}, Then: "deny"}
	p := compile(t, run, ask)
	if !p.Reaches(ada, "x") || !p.CouldWrite(ada, "x") || !p.CouldAnyoneWrite("x") {
		t.Error("a command may do anything")
	}
	if p = compile(t, Rule{Name: "all", Targets: all, Then: "allow"}, no); !p.Reaches(ada, "x") || !p.CouldWrite(ada, "x") || !p.CouldAnyoneWrite("x") {
		t.Error("a denial of one command denies everything")
	}
	for verb, want := range map[doorward.Verb]string{doorward.VerbExecute: "no ask run", doorward.VerbDelete: "", doorward.VerbRead: ""} {
		var got []string
		for _, x := range compile(t, run, ask, no).WhoCan("x", verb) {
			got = append(got, x.Rule)
			if x.Always || len(x.Commands) != 1 || x.When != "" {
				t.Errorf("%+v", x)
			}
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: %v, want %s", verb, got, want)
		}
	}
	d := compile(t, run, ask).ask(ada, running("id"))
	if want := "On orders-db you may run: uptime. With a person's yes: reboot. One command at a time, without shell syntax and without a terminal."; d.Hint != want {
		t.Errorf("hint: %q", d.Hint)
	}
	if d = compile(t, ask).ask(ada, running("id")); !strings.HasPrefix(d.Hint, "On orders-db you may run, with a person's yes: reboot.") {
		t.Errorf("hint: %q", d.Hint)
	}
	if d = compile(t, Rule{Name: "r", Targets: all, When: "effect.read_only", Then: "allow"}).ask(ada, running("id")); !strings.Contains(d.Hint, "you may: read") {
		t.Errorf("hint: %q", d.Hint)
	}
	var many []string
	for i := range 500 {
		many = append(many, fmt.Sprintf("c%d %s", i, strings.Repeat("x", 400)))
	}
	if d = compile(t, Rule{Name: "r", Targets: all, Commands: many, Then: "allow"}).ask(ada, running("id")); len(d.Hint) > 2000 || !strings.Contains(d.Hint, "and 488 more") {
		t.Errorf("the hint has %d bytes", len(d.Hint))
	}
}

func TestAccountsDoNotCount(t *testing.T) {
	p := compile(t, Rule{Name: "r", Targets: all, Objects: []string{"command:uptime"}, Then: "allow"}, Rule{Name: "o", Targets: all, Outside: []string{"command:*"}, Then: "deny"})
	if d := p.ask(ada, running("uptime")); d.Outcome != doorward.Allow {
		t.Errorf("%+v", d)
	}
}

func FuzzCommandPattern(f *testing.F) {
	f.Add("cat /log/{name}.log", "[a-z]+", "/log/a.log")
	f.Add("x {1..10}{name}", "[0-9]", "105")
	f.Fuzz(func(t *testing.T, pattern, expr, arg string) {
		p, err := Compile(Document{Rules: []Rule{{Name: "r", Targets: all, Then: "allow", Commands: []string{pattern}, Words: map[string]string{"name": expr}}}})
		if err != nil {
			return
		}
		fields := strings.Fields(pattern)
		argv := append(append([]string{}, fields[:len(fields)-1]...), arg)
		d := p.ask(ada, running(argv...))
		if d.Outcome != doorward.Allow {
			return
		}
		last := fields[len(fields)-1]
		if strings.ContainsAny(arg, " \t\n") || arg == "" || strings.HasPrefix(last, "{") && arg[0] == '-' || !strings.Contains(last, "{") && arg != last {
			t.Fatalf("%q with %q matches %q", pattern, expr, argv)
		}
	})
}

// On a cluster, how the command gets to its pod stands beside it.
func TestCommandsInPods(t *testing.T) {
	p, err := Compile(Document{Rules: []Rule{{Name: "look", Targets: all, Commands: []string{"uptime"}, Objects: []string{"pods/exec:dev/*", "command:*"}, Then: "allow"}}})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		kinds []string
		pod   string
		want  doorward.Outcome
	}{
		{[]string{"create pods/exec", "exec"}, "dev/p1", doorward.Allow},
		{[]string{"create pods/exec", "exec", "stdin"}, "dev/p1", doorward.Allow},
		{[]string{"create pods/exec", "exec"}, "prod/p1", doorward.Deny},
		{[]string{"create pods/exec", "exec", "pty"}, "dev/p1", doorward.Deny},
		{[]string{"create pods/exec", "script"}, "dev/p1", doorward.Deny},
		{[]string{"create pods/exec"}, "dev/p1", doorward.Deny},
		{[]string{"create pods/exec", "exec", "exec"}, "dev/p1", doorward.Deny},
		{[]string{"create pods/attach", "exec"}, "dev/p1", doorward.Deny},
	} {
		e := running("uptime")
		e.Kinds = c.kinds
		e.Objects = append(e.Objects, doorward.Object{Kind: "pods/exec", Name: c.pod, Verb: doorward.VerbExecute})
		d := p.Decide(Input{Identity: &doorward.Identity{Subject: "s", Name: "ada"}, Target: "cluster", Protocol: "kubernetes", Effect: e})
		if d.Outcome != c.want {
			t.Errorf("%v in %s: %s (%s)", c.kinds, c.pod, d.Outcome, d.Reason)
		}
	}
}
