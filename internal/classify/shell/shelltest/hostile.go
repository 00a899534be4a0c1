package shelltest

// Hostile gives commands that some shell does not take for one program with
// words as written. The words are those that no plain command has for a name:
// shell.Reserved.
func Hostile(words []string) []string {
	list := []string{
		"", " ", "\t", "uptime; id", "uptime;id", ";uptime", "uptime;", "uptime&&id", "uptime&", "uptime & id", "uptime||id", "uptime|id", "|uptime", "!uptime", "! uptime",
		"uptime\nid", "uptime\n", "\nuptime", "uptime\rid", "uptime\vid", "uptime\fid", "uptime\x1bid", "uptime\x7f", "uptim\u0435", "uptime\u2028id", "uptime\u00a0id", "uptime \xffid",
		"echo $x", "echo ${x}", "echo $(id)", "echo `id`", "echo $((1))", "echo $[1]", "echo \"$x\"", "echo \"`id`\"", "echo $'x'", "echo $\"x\"", "echo $", "echo a$",
		"echo >x", "echo <x", "echo >>x", "echo 2>&1", "echo >&2", "echo <<x", "echo <<<x", "echo <(id)", "echo >(id)", "echo &>x", "echo >|x", "echo <>x", "echo 1>x",
		"echo *", "echo ?", "echo [a]", "echo a[1]", "echo {a,b}", "echo {1..3}", "echo ~", "echo ~root", "echo ~/x", "echo a^b", "echo #x", "echo a#b", "uptime # x", "#uptime",
		"echo \\a", "echo a\\", "echo \\\nid", "touch\\ x", "echo 'a\\b'", "echo 'a\\'", "echo \"a\\\"b\"", "echo 'a!b'", "echo \"a!b\"", "echo a!b", "echo 'a\nb'", "echo \"a\nb\"",
		"echo 'a''b'", "echo '", "echo \"", "echo 'a", "echo a'b", "echo \"a", "echo 'a\tb'", "echo 'é'",
		"A=b", "A=b uptime", "PATH=/tmp uptime", "LD_PRELOAD=/x uptime", "a'='b", "'A=b' uptime", "=ls", "echo =ls", "echo ''=ls", "echo %self", "echo ''%self", "%1", "%", "@ x", "@", "'@' x",
		"(id)", "{ id; }", "()", "f() id", "f () { id; }", "function f { id; }", "((1))", "[[ a ]]", "[ a ]", "-c id", "- id", "+x", "'-c' id", "a:", "x: y", ":", "a,b",
		"''", "\"\"", "'' uptime", "'my prog'", "a'b c'", "\"a;b\"", "a@b", "a%b",
		"uptime\x00id", "uptime\x00", "\x00",
	}
	for _, word := range words {
		list = append(list, word, word+" uptime", "'"+word+"' uptime", "  \""+word+"\"")
		if len(word) > 1 {
			list = append(list, word[:1]+"'"+word[1:]+"' x", "'"+word[:1]+"'"+word[1:])
		}
	}
	// Each byte that shells give a meaning, in each place.
	for _, c := range "\n\r\x00\x01\x1b\x7f!\"#$&'()*;<>?[\\]^`{|}~" {
		s := string(c)
		list = append(list, s+"uptime", s+" uptime", "uptime"+s, "uptime "+s, "uptime "+s+"x", "uptime x"+s, "uptime x"+s+"y", "uptime -n "+s+" x", "uptime ''"+s, "uptime "+s+"''")
	}
	return list
}
