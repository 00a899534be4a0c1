package relay

import (
	"strings"
	"testing"
	"time"
)

func TestKeys(t *testing.T) {
	k := &keys{}
	now := time.Now()
	type step struct {
		show, press string
		wait        time.Duration
		keys, note  string
	}
	for i, s := range []step{
		{press: "l"}, {show: "l"}, {press: "x\x7fs -l"}, {show: "x\b \bs\x1b[1m -l\x1b[0m"},
		{press: "\r", keys: "lx\x7fs -l\r", note: "typed, as far as one can tell: ls -l"},
		{show: "\r\ntotal 0\r\n$ "}, {press: "sudo id\r"}, {show: "sudo id\r\n", keys: "sudo id\r", note: "sudo id"},
		{show: "[sudo] password for ada: "}, {press: "hunter2\r"},
		{wait: 2 * time.Second, note: "8 keys were typed that the screen did not show"},
		{show: "\r\nuid=0\r\n$ "}, {press: "\r", keys: "\r"},
		{press: "a\rb\r"}, {show: "a\r\n$ b", keys: "a\rb\r", note: "tell: b"},
	} {
		k.show([]byte(s.show))
		now = now.Add(s.wait)
		k.press([]byte(s.press), now)
		var got, notes string
		for _, x := range k.settled(now, false) {
			got, notes = got+string(x.keys), notes+x.note
		}
		if got != s.keys || !strings.Contains(notes, s.note) || (s.note == "" && notes != "") {
			t.Fatalf("step %d: keys %q, note %q", i, got, notes)
		}
		if strings.Contains(got+notes, "hunter") {
			t.Fatal("a password was kept")
		}
	}
	k.press([]byte("unfinished"), now)
	if x := k.settled(now, true); len(x) != 1 || strings.Contains(string(x[0].keys)+x[0].note, "unfinished") {
		t.Fatalf("%+v", x)
	}
	if x := k.settled(now, true); len(x) != 0 {
		t.Fatalf("%+v", x)
	}
	k.press([]byte(strings.Repeat("x", 100*maxLine)), now)
	if k.settled(now, false); len(k.pending) > maxPending {
		t.Fatalf("%d lines wait", len(k.pending))
	}
}
