package kubelet

import (
	"bytes"
	"context"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

func TestLog(t *testing.T) {
	l, err := newLog(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"one\ntw", "o\n", "\n", "four", strings.Repeat("x", lineLimit), "\n"} {
		_, _ = l.Write([]byte(part))
	}
	read := func(o logOptions) string {
		var b bytes.Buffer
		if err := l.copyTo(t.Context(), &b, o); err != nil {
			t.Error(err)
		}
		return b.String()
	}
	long := "four" + strings.Repeat("x", lineLimit-4) + "\nxxxx\n"
	all := logOptions{tail: -1, limit: -1}
	if got := read(all); got != "one\ntwo\n\n"+long {
		t.Errorf("all is %.100q", got)
	}
	for _, c := range []struct {
		o    logOptions
		want string
	}{
		{logOptions{tail: 1, limit: -1}, "xxxx\n"},
		{logOptions{tail: 0, limit: -1}, ""},
		{logOptions{tail: -1, limit: 6}, "one\ntw"},
		{logOptions{tail: -1, limit: -1, since: time.Now().Add(time.Minute)}, ""},
	} {
		if got := read(c.o); got != c.want {
			t.Errorf("%+v gives %.100q", c.o, got)
		}
	}
	if got := read(logOptions{tail: -1, limit: 60, timestamps: true}); !regexp.MustCompile(`^20\S+Z one\n20`).MatchString(got) {
		t.Errorf("with times it is %.100q", got)
	}
	// Who follows gets what comes later, and ends with the log or by itself.
	got := make(chan string)
	go func() { got <- read(logOptions{tail: 1, limit: -1, follow: true}) }()
	time.Sleep(10 * time.Millisecond)
	_, _ = l.Write([]byte("later\nand not ended"))
	l.Close()
	if s := <-got; !strings.HasSuffix(s, "later\nand not ended\n") {
		t.Errorf("followed it is %q", s)
	}
	l.ended = false
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := l.copyTo(ctx, &bytes.Buffer{}, logOptions{tail: -1, limit: -1, follow: true}); err == nil {
		t.Error("followed without an end it ended")
	}
}

func TestExpand(t *testing.T) {
	env := []string{"A=1", "B=two", "A=2"}
	for in, want := range map[string]string{
		"$(A)-$(B)": "2-two", "$$(A)": "$(A)", "$(C)": "$(C)", "$A $( $": "$A $( $", "a$(": "a$(", "$()": "$()",
	} {
		if got := expand(in, env); got != want {
			t.Errorf("expand(%q) = %q, want %q", in, got, want)
		}
	}
}

// TestOutput attaches while output comes, and after its end.
func TestOutput(t *testing.T) {
	var log bytes.Buffer
	o := newOutput(&log)
	var b bytes.Buffer
	first := o.attach(&b)
	_, _ = o.Write([]byte("one "))
	_, _ = o.Write([]byte("two"))
	o.end()
	<-first.done
	if b.String() != "one two" || log.String() != "one two" {
		t.Errorf("attached %q, log %q", b.String(), log.String())
	}
	late := o.attach(&b)
	<-late.done
}
