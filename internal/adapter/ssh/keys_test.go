package ssh

import (
	"strings"
	"testing"
)

func TestKeys(t *testing.T) {
	k := &keys{}
	type step struct{ show, press, keys, note string }
	for i, s := range []step{
		{press: "l"}, {show: "l"}, {press: "x\x7fs -l"}, {show: "x\b \bs\x1b[1m -l\x1b[0m"},
		{press: "\r", keys: "lx\x7fs -l\r", note: "typed, as far as one can tell: ls -l"},
		{show: "\r\ntotal 0\r\n$ "}, {press: "sudo id"}, {show: "sudo id"}, {press: "\r", keys: "sudo id\r", note: "sudo id"},
		{show: "\r\n[sudo] password for ada: "}, {press: "hunter2"},
		{press: "\r", note: "8 keys were typed that the screen did not show"},
		{show: "\r\nuid=0\r\n$ "}, {press: "\r", keys: "\r"},
	} {
		k.show([]byte(s.show))
		var got, notes string
		for _, x := range k.press([]byte(s.press)) {
			got, notes = got+string(x.keys), notes+x.note
		}
		if got != s.keys || !strings.Contains(notes, s.note) || (s.note == "" && notes != "") {
			t.Fatalf("step %d: keys %q, note %q", i, got, notes)
		}
		if strings.Contains(got+notes, "hunter") {
			t.Fatal("a password was kept")
		}
	}
	k.press([]byte("unfinished"))
	if x, ok := k.rest(); !ok || strings.Contains(string(x.keys)+x.note, "unfinished") {
		t.Fatalf("%+v", x)
	}
	if _, ok := k.rest(); ok {
		t.Fatal("there is nothing left")
	}
	if got := k.press([]byte(strings.Repeat("x", 5*maxLine))); len(got) != 5 {
		t.Fatalf("%d pieces", len(got))
	}
}
