package review

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/doorward/doorward"
)

// Bounds of what a review may ask of people.
const (
	maxQuorums = 16
	maxPeople  = 32 // over all quorums
)

// merge puts quorums that ask the same people into one that asks the larger
// count, so that two rules which want the same yes do not want it twice.
func merge(in []doorward.Quorum) ([]doorward.Quorum, error) {
	var out []doorward.Quorum
	total := 0
	for _, q := range in {
		if len(q.Groups)+len(q.Users) == 0 {
			return nil, errors.New("the rule asks for reviewers and names none: give it groups or users")
		}
		q.Groups, q.Users = sorted(q.Groups), sorted(q.Users)
		q.Count = max(q.Count, 1)
		i := slices.IndexFunc(out, func(o doorward.Quorum) bool {
			return slices.Equal(o.Groups, q.Groups) && slices.Equal(o.Users, q.Users)
		})
		if i < 0 {
			out = append(out, q)
			continue
		}
		out[i].Count = max(out[i].Count, q.Count)
		out[i].SelfApproval = out[i].SelfApproval && q.SelfApproval
	}
	for _, q := range out {
		if q.Count > maxPeople {
			return nil, fmt.Errorf("the rules ask for %d reviewers, at most %d can be asked for", q.Count, maxPeople)
		}
		total += q.Count
	}
	switch {
	case len(out) == 0:
		return nil, errors.New("the request is held and no reviewers are named: the policy must say who may approve")
	case len(out) > maxQuorums || total > maxPeople:
		return nil, fmt.Errorf("the rules ask for %d reviewers in %d sets, at most %d in %d can be asked for", total, len(out), maxPeople, maxQuorums)
	}
	return out, nil
}

func sorted(in []string) []string {
	out := slices.Clone(in)
	slices.Sort(out)
	return slices.Compact(out)
}

// member says whether this person is among those that the quorum asks. Groups
// and users are compared exactly; a user is named by name or by subject.
func member(q *doorward.Quorum, name, subject string, groups []string) bool {
	if slices.Contains(q.Users, name) || slices.Contains(q.Users, subject) {
		return true
	}
	return slices.ContainsFunc(groups, func(g string) bool { return slices.Contains(q.Groups, g) })
}

// counts says whether a vote counts towards a quorum.
func counts(q *doorward.Quorum, v *doorward.Vote) bool {
	return v.Approve && (!v.Self || q.SelfApproval) && member(q, v.By, v.Subject, v.Groups)
}

// met says whether the approving votes meet every quorum, each person
// counting once. It is a matching of seats to people, so the order in which
// people voted does not matter.
func met(quorums []doorward.Quorum, votes []doorward.Vote) bool {
	if len(quorums) == 0 {
		return false
	}
	var seats []*doorward.Quorum
	for i := range quorums {
		for range max(quorums[i].Count, 1) {
			seats = append(seats, &quorums[i])
		}
	}
	if len(seats) > len(votes) {
		return false
	}
	taken := make([]int, len(votes)) // the seat each vote fills, plus one
	var fill func(seat int, tried []bool) bool
	fill = func(seat int, tried []bool) bool {
		for v := range votes {
			if tried[v] || !counts(seats[seat], &votes[v]) {
				continue
			}
			tried[v] = true
			if taken[v] == 0 || fill(taken[v]-1, tried) {
				taken[v] = seat + 1
				return true
			}
		}
		return false
	}
	for seat := range seats {
		if !fill(seat, make([]bool, len(votes))) {
			return false
		}
	}
	return true
}

// same says whether two identities are one person: the same account, or the
// same name at another provider.
func same(subjectA, nameA, subjectB, nameB string) bool {
	return subjectA == subjectB || (nameA != "" && strings.EqualFold(strings.TrimSpace(nameA), strings.TrimSpace(nameB)))
}

// eligible says whether this identity may vote on the review, and whether the
// vote is the requester's own; or why it may not.
func eligible(r *doorward.Review, who *doorward.Identity) (self bool, err error) {
	switch {
	case who.Subject == "" || who.Name == "":
		return false, refuse("you are not signed in", "Sign in, and vote again.")
	case who.Agent != "" || who.Run != "" || len(who.Chain) > 0:
		return false, refuse("agents cannot vote on reviews", "A person answers, signed in as themselves.")
	case who.Workload:
		return false, refuse("workloads cannot vote on reviews", "A person answers, signed in as themselves.")
	}
	self = same(who.Subject, who.Name, r.Identity.Subject, r.Identity.Name)
	asked := false
	for i := range r.Reviewers {
		q := &r.Reviewers[i]
		if !member(q, who.Name, who.Subject, who.Groups) {
			continue
		}
		if asked = true; !self || q.SelfApproval {
			return self, nil
		}
	}
	if asked || self {
		return self, refuse("you cannot vote on what you, or an agent of yours, asked for", "Another reviewer answers: "+askedOf(r.Reviewers)+".")
	}
	return false, refuse("you are not among the reviewers of this request", "It asks for "+askedOf(r.Reviewers)+".")
}

// askedOf names the people that quorums ask, for people.
func askedOf(qs []doorward.Quorum) string {
	var parts []string
	for _, q := range qs {
		names := append(slices.Clone(q.Groups), q.Users...)
		parts = append(parts, fmt.Sprintf("%d of %s", q.Count, strings.Join(names, ", ")))
	}
	return strings.Join(parts, "; and ")
}

func refuse(reason, hint string) error {
	return &doorward.Denial{Decision: "deny", Reason: reason, Hint: hint}
}
