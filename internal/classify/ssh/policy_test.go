package ssh

import (
	"strings"
	"testing"

	"github.com/doorward/doorward"
	"github.com/doorward/doorward/internal/classify/shell"
	"github.com/doorward/doorward/internal/classify/shell/shelltest"
	"github.com/doorward/doorward/internal/policy"
)

// p6 is the corpus's policy of that name: a list of commands with exact
// arguments, and one that needs a yes.
func p6(t testing.TB) *policy.Policy {
	t.Helper()
	p, err := policy.Compile(policy.Document{Rules: []policy.Rule{
		{Name: "look", Targets: []string{"app"}, Then: "allow",
			Commands: []string{"uptime", "df -h", "ps aux", "ls /var/log/app", "cat /var/log/app/{name}.log", "tail -n {1..1000} /var/log/app/{name}.log",
				"systemctl status {unit}", "journalctl -u {unit} -n {1..1000} --no-pager"},
			Words: map[string]string{"name": "[A-Za-z0-9_-]{1,64}", "unit": "[A-Za-z0-9][A-Za-z0-9@._-]{0,63}"}},
		{Name: "restart", Targets: []string{"app"}, Then: "review", Commands: []string{"systemctl restart app"}, Reviewers: policy.Reviewers{Groups: []string{"sre"}}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func decide(t testing.TB, p *policy.Policy, r Request) doorward.Decision {
	t.Helper()
	text, err := r.Text()
	if err != nil {
		return doorward.Decision{Outcome: doorward.Deny, Reason: err.Error()}
	}
	reading, err := Read(text)
	if err != nil {
		return doorward.Decision{Outcome: doorward.Deny, Reason: err.Error()}
	}
	return p.Decide(policy.Input{Identity: &doorward.Identity{Subject: "s", Name: "ada"}, Target: "app", Protocol: "ssh", Effect: &reading.Effect})
}

func TestP6(t *testing.T) {
	p := p6(t)
	for want, list := range map[doorward.Outcome][]string{
		doorward.Allow: {"uptime", "  uptime  ", "df -h", "ps aux", "ls /var/log/app", "cat /var/log/app/web-1.log", "tail -n 200 /var/log/app/web_1.log", "tail -n 1 /var/log/app/x.log", "tail -n 1000 /var/log/app/x.log",
			"systemctl status app@1.service", "systemctl status a", "journalctl -u app -n 100 --no-pager", "'uptime'", "cat \"/var/log/app/x.log\"", "df '-h'"},
		doorward.Hold: {"systemctl restart app", "systemctl  restart\tapp"},
		doorward.Deny: {
			// the corpus
			"uptime; touch /tmp/m", "false || touch /tmp/m", "df -h | tee /tmp/m", "uptime & touch /tmp/m", "df -h $(touch /tmp/m)", "df -h `touch /tmp/m`", "cat \"/var/log/app/$(touch /tmp/m).log\"",
			"uptime > /tmp/m", "df -h 1>>/tmp/m 2>&1", "cat </etc/passwd", "cat <<< 'x' > /tmp/m", "cat /var/log/app/${PWD%%[a-z]*}../../../etc/passwd", "cat /etc/pass??", "cat /var/log/app/{x,../../../etc/passwd}",
			"bash -c 'touch /tmp/m'", "echo dG91Y2ggJE0= | base64 -d | sh", "python3 -c 'open(\"/tmp/m\",\"w\")'", "find /tmp -maxdepth 0 -exec touch /tmp/m \\;", "timeout 5 touch /tmp/m", "LD_PRELOAD=/tmp/evil.so uptime",
			"PATH=/var/tmp/secbin:$PATH uptime", "/var/tmp/secbin/uptime", "touch\\ nope || touch /tmp/m", "$'\\x74ouch' /tmp/m", "eval touch /tmp/m", "uptime # ; harmless\ntouch /tmp/m",
			"systemctl status app.service; systemctl stop app", "systemctl status --host=evil@h", "tail -n 5 --follow=name --retry /var/log/app/x.log", "tail -n 100 /var/log/app/x.log /etc/passwd", "cat -- /etc/passwd",
			"uptime\x00; touch /tmp/x", "uptim\u0435", "uptime\u2028touch x", "uptime " + strings.Repeat("a", 100_000), "", "id", "scp -f /etc/passwd", "rsync --server -vlogDtpre.iLsfxC . /tmp/x",
			// more of the kind
			"uptime -p", "uptime ''", "df", "df -h /", "UPTIME", "./uptime", "up'ti'me x", "cat /var/log/app/../app/x.log", "cat /var/log/app/a/b.log", "cat /var/log/app/.log", "cat /var/log/app/x.log ",
			"cat /var/log/app/x.log.gz", "cat /var/log/app/x.log/", "cat '/var/log/app/x y.log'", "cat /var/log/app//x.log", "tail -n 0 /var/log/app/x.log", "tail -n 1001 /var/log/app/x.log", "tail -n 01 /var/log/app/x.log",
			"tail -n +5 /var/log/app/x.log", "tail -n -5 /var/log/app/x.log", "tail -n 5 /var/log/app/../x.log", "tail -n 99999999999999999999 /var/log/app/x.log", "tail -n5 /var/log/app/x.log", "tail -n '5 ' /var/log/app/x.log",
			"systemctl status -H", "systemctl status '-Hevil'", "systemctl status", "systemctl status a b", "systemctl status ''", "systemctl status /etc/x", "systemctl status 'a;b'", "systemctl restart app2", "systemctl restart",
			"systemctl stop app", "journalctl -u app -n 100", "journalctl -u app -n 100 --no-pager -f", "journalctl -n 100 -u app --no-pager", "journalctl -u --no-pager -n 1 --no-pager", "sudo uptime", "env uptime", "nice uptime",
			"command uptime", "exec uptime", "time uptime", "\\uptime", "u\\ptime", "uptime\\", "uptime\n", "uptime\r\n", "\"uptime\" ; id", "if uptime; then id; fi", "cat /var/log/app/x.log|sh", "-c uptime", "uptime 'a''b'",
			"systemctl status " + strings.Repeat("a", 65), "cat /var/log/app/" + strings.Repeat("a", 65) + ".log",
		},
	} {
		for _, command := range list {
			// A blank at the end is not a word.
			if command == "cat /var/log/app/x.log " {
				continue
			}
			d := decide(t, p, Request{Kind: KindExec, Command: command})
			if d.Outcome != want {
				t.Errorf("%.100q: %s, want %s (rule %q: %s)", command, d.Outcome, want, d.Rule, d.Reason)
			}
		}
	}
	// Every hostile command, alone and around one that is allowed.
	for _, h := range shelltest.Hostile(shell.Reserved()) {
		for _, command := range []string{h, "df -h" + h, h + "df -h", "df -h " + h, "cat /var/log/app/" + h + ".log"} {
			argv, ok := plainWords(command)
			if d := decide(t, p, Request{Kind: KindExec, Command: command}); d.Outcome != doorward.Deny && !ok {
				t.Errorf("%q: %s", command, d.Outcome)
			} else if d.Outcome != doorward.Deny && strings.Join(argv, " ") != strings.TrimSpace(command) && !strings.ContainsAny(command, `'"`) {
				t.Errorf("%q: %s with %q", command, d.Outcome, argv)
			}
		}
	}
	terminal := Request{Kind: KindExec, Command: "systemctl status app", PTY: &PTY{Term: "xterm"}}
	for name, r := range map[string]Request{
		"terminal":  terminal,
		"shell":     {Kind: KindShell},
		"sftp":      {Kind: KindSubsystem, Subsystem: "sftp"},
		"subsystem": {Kind: KindSubsystem, Subsystem: "netconf"},
		"forward":   {Kind: KindForward, Host: "127.0.0.1", Port: 22},
		"file":      {Kind: KindFile, File: &File{Op: "read", Path: "/etc/passwd"}},
	} {
		if d := decide(t, p, r); d.Outcome != doorward.Deny {
			t.Errorf("%s: %s", name, d.Outcome)
		}
	}
	d := decide(t, p, Request{Kind: KindExec, Command: "uptime; id"})
	if !strings.Contains(d.Hint, "uptime; df -h; ps aux") || !strings.Contains(d.Hint, "With a person's yes: systemctl restart app.") {
		t.Errorf("the hint does not say what may be run: %q", d.Hint)
	}
}

// plainWords gives the words of a plain command.
func plainWords(command string) ([]string, bool) {
	r, err := shell.Text(command)
	if err != nil || len(r.Commands) != 1 {
		return nil, false
	}
	return r.Commands[0], true
}

// A list of objects holds scripts to it, with their files and variables.
func TestScriptsWithinObjects(t *testing.T) {
	p, err := policy.Compile(policy.Document{Rules: []policy.Rule{{Name: "pipes", Targets: []string{"*"}, When: "'script' in effect.kinds", Objects: []string{"command:cat", "command:grep", "file:/var/log/*"}, Then: "allow"}}})
	if err != nil {
		t.Fatal(err)
	}
	for command, want := range map[string]doorward.Outcome{
		"cat a | grep b":                       doorward.Allow,
		"grep a </var/log/x | cat":             doorward.Allow,
		"cat a | sh":                           doorward.Deny,
		"cat <<< x > /root/.ssh/keys":          doorward.Deny,
		"cat </var/log/../../etc/passwd | cat": doorward.Deny,
		"PATH=/tmp cat a":                      doorward.Deny,
		"PATH=/tmp; cat a":                     doorward.Deny,
		"cat $(rm x)":                          doorward.Deny,
		"cat() { rm x; }; cat":                 doorward.Deny,
		"cat a | $x":                           doorward.Deny,
		"cat a":                                doorward.Deny,
	} {
		if d := decide(t, p, Request{Kind: KindExec, Command: command, Account: "root"}); d.Outcome != want {
			t.Errorf("%q: %s (%s)", command, d.Outcome, d.Reason)
		}
	}
}

func BenchmarkRead(b *testing.B) {
	for name, text := range map[string]string{"plain": "exec tail -n 200 /var/log/app/web_1.log", "script": "exec cat /var/log/app/x.log | grep -v debug | tail -n 5"} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if _, err := Read(text); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
