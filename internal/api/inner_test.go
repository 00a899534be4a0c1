package api

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/doorward/doorward"
)

func TestLimiter(t *testing.T) {
	now := time.Unix(0, 0)
	l := newLimiter(3, time.Second, 2)
	l.now = func() time.Time { return now }
	for i := range 3 {
		if _, ok := l.take("a"); !ok {
			t.Fatalf("take %d", i)
		}
	}
	if wait, ok := l.take("a"); ok || wait <= 0 || wait > time.Second {
		t.Errorf("%v %v", wait, ok)
	}
	l.take("b")
	if _, ok := l.take("c"); ok {
		t.Error("a third key was taken")
	}
	now = now.Add(time.Second)
	if _, ok := l.take("a"); !ok {
		t.Error("no token came back")
	}
	now = now.Add(time.Minute)
	if _, ok := l.take("c"); !ok {
		t.Error("old keys are kept")
	}
	if len(l.buckets) > 2 {
		t.Errorf("%d keys", len(l.buckets))
	}
}

func TestLocalPath(t *testing.T) {
	for in, want := range map[string]string{
		"": "/", "/": "/", "/reviews/12?x=1": "/reviews/12?x=1",
		"//evil.example": "", "/\\evil.example": "", "https://evil.example": "", "reviews": "", "/a\tb": "", "/a b": "", "/\u202e": "", "/" + strings.Repeat("x", 600): "",
	} {
		got, err := localPath(in)
		if got != want || (err != nil) != (want == "") {
			t.Errorf("%q: %q %v", in, got, err)
		}
	}
}

func TestWhyNot(t *testing.T) {
	who := doorward.Identity{Subject: "x:dora", Name: "dora", Groups: []string{"dba"}}
	base := doorward.Review{State: doorward.ReviewWaiting, Identity: doorward.Identity{Subject: "x:ada"}, Reviewers: []doorward.Quorum{{Groups: []string{"dba"}}}}
	change := func(f func(*doorward.Review)) doorward.Review { r := base; f(&r); return r }
	agent := who
	agent.Agent = "codex"
	workload := who
	workload.Workload = true
	for i, c := range []struct {
		who doorward.Identity
		r   doorward.Review
		ok  bool
	}{
		{who, base, true},
		{agent, base, false},
		{who, change(func(r *doorward.Review) { r.State = doorward.ReviewApproved }), false},
		{who, change(func(r *doorward.Review) { r.Votes = []doorward.Vote{{Subject: "x:dora"}} }), false},
		{who, change(func(r *doorward.Review) { r.Reviewers[0].Groups = []string{"dba"}; r.Identity = who }), false},
		{who, change(func(r *doorward.Review) {
			r.Reviewers = []doorward.Quorum{{Users: []string{"dora"}, SelfApproval: true}}
			r.Identity = who
		}), true},
		{who, change(func(r *doorward.Review) { r.Reviewers = []doorward.Quorum{{Groups: []string{"leads"}}} }), false},
		{who, change(func(r *doorward.Review) { r.Reviewers = []doorward.Quorum{{Users: []string{"x:dora"}}} }), true}, // by subject
		{workload, base, false},
	} {
		if got := whyNot(c.who, c.r, c.who.Subject == c.r.Identity.Subject); (got == "") != c.ok {
			t.Errorf("case %d: %q", i, got)
		}
	}
	if s := fmt.Sprintf("%v %+v %#v %s", Login{User: "ada", Password: "hunter2"}, Login{Password: "hunter2"}, Login{Password: "hunter2"}, Secret("hunter2")); strings.Contains(s, "hunter2") {
		t.Errorf("a password prints: %s", s)
	}
}

func FuzzHostname(f *testing.F) {
	for _, s := range []string{"localhost:1", "[::1]:2", "a.b.", "[", "]:", "::1", ""} {
		f.Add(s)
	}
	s := &server{hosts: map[string]bool{"doorward.example": true}}
	f.Fuzz(func(t *testing.T, host string) {
		name := hostname(host)
		if s.hostAllowed(host) && strings.HasSuffix(name, ".evil.test") {
			t.Fatalf("%q is allowed", host)
		}
		if hostname(name+":1") == "" && name != "" && !strings.Contains(name, ":") {
			t.Fatalf("%q", host)
		}
	})
}
