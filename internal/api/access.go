package api

import (
	"slices"

	"github.com/doorward/doorward"
)

// admin reports whether id sees everybody's reviews, sessions and runs, and may
// end access. Agents and workloads never do.
func (s *server) admin(id doorward.Identity) bool {
	if id.Agent != "" || id.Workload {
		return false
	}
	return overlap(id.Groups, s.Admins)
}

// seesIdentity: one's own (and one's agents'), and everything for admins.
func (s *server) seesIdentity(id, owner doorward.Identity) bool {
	return (id.Subject != "" && id.Subject == owner.Subject) || s.admin(id)
}

// seesReview: who asked, who may answer, and admins.
func (s *server) seesReview(id doorward.Identity, r doorward.Review) bool {
	return s.seesIdentity(id, r.Identity) || mayAnswer(id, r)
}

// mayAnswer reports whether id is named, by user or by group, in any of the
// review's quorums.
func mayAnswer(id doorward.Identity, r doorward.Review) bool {
	if id.Agent != "" || id.Workload {
		return false
	}
	return slices.ContainsFunc(r.Reviewers, func(q doorward.Quorum) bool { return asks(q, id) })
}

// asks reports whether the quorum names id: a user by name or by subject, as
// where the vote is counted.
func asks(q doorward.Quorum, id doorward.Identity) bool {
	return slices.Contains(q.Users, id.Name) || slices.Contains(q.Users, id.Subject) || overlap(id.Groups, q.Groups)
}

// forCaller says what the caller may do about a review. It is for showing
// only: the vote itself is judged where it is counted.
func (s *server) forCaller(id doorward.Identity, r doorward.Review) Review {
	v := Review{Review: r, Mine: id.Subject == r.Identity.Subject}
	v.WhyNot = whyNot(id, r, v.Mine)
	v.CanVote = v.WhyNot == ""
	return v
}

func whyNot(id doorward.Identity, r doorward.Review, mine bool) string {
	switch {
	case id.Agent != "":
		return "agents may not answer reviews"
	case r.State != doorward.ReviewWaiting:
		return "this review is not waiting any more"
	case slices.ContainsFunc(r.Votes, func(v doorward.Vote) bool { return v.Subject == id.Subject }):
		return "you have answered already"
	case !mayAnswer(id, r):
		return "the rule does not name you or a group of yours as a reviewer"
	case mine && !slices.ContainsFunc(r.Reviewers, func(q doorward.Quorum) bool {
		return q.SelfApproval && asks(q, id)
	}):
		return "you, or an agent of yours, asked for it"
	}
	return ""
}

func overlap(a, b []string) bool {
	return slices.ContainsFunc(a, func(x string) bool { return slices.Contains(b, x) })
}
