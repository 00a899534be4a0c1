package review

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/doorward/doorward"
)

func vote(name string, groups ...string) doorward.Vote {
	return doorward.Vote{By: name, Subject: "corp:" + name, Groups: groups, Approve: true}
}

func q(count int, groups ...string) doorward.Quorum {
	return doorward.Quorum{Groups: groups, Count: count}
}

func TestMet(t *testing.T) {
	for name, c := range map[string]struct {
		quorums []doorward.Quorum
		votes   []doorward.Vote
		want    bool
	}{
		"nobody asked":          {nil, []doorward.Vote{vote("a", "dba")}, false},
		"nobody answered":       {[]doorward.Quorum{q(1, "dba")}, nil, false},
		"one":                   {[]doorward.Quorum{q(1, "dba")}, []doorward.Vote{vote("a", "x", "dba")}, true},
		"a count of zero":       {[]doorward.Quorum{q(0, "dba")}, nil, false},
		"wrong group":           {[]doorward.Quorum{q(1, "dba")}, []doorward.Vote{vote("a", "eng")}, false},
		"two of two":            {[]doorward.Quorum{q(2, "dba")}, []doorward.Vote{vote("a", "dba"), vote("b", "dba")}, true},
		"one of two":            {[]doorward.Quorum{q(2, "dba")}, []doorward.Vote{vote("a", "dba")}, false},
		"one person, two sets":  {[]doorward.Quorum{q(1, "dba"), q(1, "sec")}, []doorward.Vote{vote("a", "dba", "sec")}, false},
		"two people, two sets":  {[]doorward.Quorum{q(1, "dba"), q(1, "sec")}, []doorward.Vote{vote("a", "dba", "sec"), vote("b", "sec")}, true},
		"the other way round":   {[]doorward.Quorum{q(1, "dba"), q(1, "sec")}, []doorward.Vote{vote("b", "sec"), vote("a", "dba", "sec")}, true},
		"needs to move a seat":  {[]doorward.Quorum{q(1, "sec"), q(1, "dba")}, []doorward.Vote{vote("a", "dba", "sec"), vote("b", "sec")}, true},
		"the same need, not it": {[]doorward.Quorum{q(1, "sec"), q(1, "dba")}, []doorward.Vote{vote("a", "sec"), vote("b", "sec")}, false},
		"a no":                  {[]doorward.Quorum{q(1, "dba")}, []doorward.Vote{{By: "a", Groups: []string{"dba"}}}, false},
		"own, not allowed":      {[]doorward.Quorum{q(1, "dba")}, []doorward.Vote{{By: "a", Groups: []string{"dba"}, Approve: true, Self: true}}, false},
	} {
		if got := met(c.quorums, c.votes); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestMerge(t *testing.T) {
	got, err := merge([]doorward.Quorum{q(1, "b", "a"), q(2, "a", "b", "a"), {Groups: []string{"c"}, SelfApproval: true}, {Groups: []string{"c"}}})
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 2 || got[0].Count != 2 || got[1].Count != 1 || got[1].SelfApproval {
		t.Fatalf("%+v", got)
	}
}

// TestMetIsAMatching compares with trying every assignment of people to seats.
func TestMetIsAMatching(t *testing.T) {
	groups := []string{"a", "b", "c"}
	rapid.Check(t, func(t *rapid.T) {
		some := rapid.SliceOfNDistinct(rapid.SampledFrom(groups), 1, 3, rapid.ID[string])
		quorums := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) doorward.Quorum {
			return doorward.Quorum{Groups: some.Draw(t, "groups"), Count: rapid.IntRange(1, 2).Draw(t, "count"), SelfApproval: rapid.Bool().Draw(t, "self")}
		}), 1, 3).Draw(t, "quorums")
		n := rapid.IntRange(0, 5).Draw(t, "votes")
		var votes []doorward.Vote
		for i := range n {
			v := vote(fmt.Sprint("p", i), some.Draw(t, "member")...)
			v.Self, v.Approve = rapid.Bool().Draw(t, "own"), rapid.IntRange(0, 4).Draw(t, "yes") > 0
			votes = append(votes, v)
		}
		var seats []*doorward.Quorum
		for i := range quorums {
			for range quorums[i].Count {
				seats = append(seats, &quorums[i])
			}
		}
		if want, got := try(seats, votes, nil), met(quorums, votes); want != got {
			t.Fatalf("met says %v, trying all says %v", got, want)
		}
	})
}

func try(seats []*doorward.Quorum, votes []doorward.Vote, used []int) bool {
	if len(seats) == 0 {
		return true
	}
	for i := range votes {
		if !slices.Contains(used, i) && counts(seats[0], &votes[i]) && try(seats[1:], votes, append(slices.Clone(used), i)) {
			return true
		}
	}
	return false
}
