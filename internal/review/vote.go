package review

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/doorward/doorward"
	"github.com/doorward/doorward/internal/store"
)

const maxComment = 4 << 10 // bytes

// Vote counts one person's answer. who is the identity as it is now, so group
// membership is fresh; of v only Approve, Comment and MaxRows are taken. One
// deny denies; the last yes that the quorums need approves. The vote is
// durable in the ledger before it counts.
func (s *Service) Vote(ctx context.Context, id int64, who doorward.Identity, v doorward.Vote) (doorward.Review, error) {
	var none doorward.Review
	v.Comment = strings.TrimSpace(v.Comment)
	switch {
	case len(v.Comment) > maxComment:
		return none, fmt.Errorf("the comment has %d bytes, at most %d fit", len(v.Comment), maxComment)
	case v.MaxRows < 0:
		return none, fmt.Errorf("the row bound cannot be %d: leave it out, or give a positive number", v.MaxRows)
	}
	defer s.votes.lock(uint64(id))()
	r, err := s.Get(ctx, id)
	if err != nil {
		return none, err
	}
	self, err := eligible(&r, &who)
	if err != nil {
		return none, err
	}
	if r.State != doorward.ReviewWaiting {
		return r, fmt.Errorf("%w: it is %s", ErrDecided, r.State)
	}
	if slices.ContainsFunc(r.Votes, func(o doorward.Vote) bool { return same(o.Subject, o.By, who.Subject, who.Name) }) {
		return r, ErrVoted
	}
	v = doorward.Vote{By: who.Name, Subject: who.Subject, Groups: slices.Clone(who.Groups), Approve: v.Approve, Comment: strings.ToValidUTF8(v.Comment, "\uFFFD"), MaxRows: v.MaxRows, Self: self, At: s.now()}
	next := doorward.ReviewWaiting
	switch {
	case !v.Approve:
		next = doorward.ReviewDenied
	case met(r.Reviewers, append(slices.Clone(r.Votes), v)):
		next = doorward.ReviewApproved
	}
	if err := s.record(ctx, s.voteEvent(&r, &who, v, next)); err != nil {
		return none, err
	}
	now, err := s.store.AddVote(ctx, id, len(r.Votes), v, next)
	if errors.Is(err, store.ErrConflict) {
		return none, fmt.Errorf("review %d: your vote did not count, the review %w: look at it again", id, err)
	}
	if err != nil {
		return none, fmt.Errorf("review %d: the vote was not kept: %w", id, err)
	}
	now = s.shown(now)
	s.hub.publish(now)
	return now, nil
}

// voteEvent names the voter, and in its fields the requester.
func (s *Service) voteEvent(r *doorward.Review, who *doorward.Identity, v doorward.Vote, next doorward.ReviewState) doorward.Event {
	ev := s.event(doorward.EventReviewVote, r, map[string]string{"requester": r.Identity.Subject, "state": string(next)})
	ev.Name, ev.Subject, ev.Agent, ev.Run = who.Name, who.Subject, "", ""
	ev.Decision, ev.Reason, ev.Rows = "deny", v.Comment, v.MaxRows
	if v.Approve {
		ev.Decision = "approve"
	}
	if v.Self {
		ev.Fields["self"] = "true"
	}
	return ev
}

// Withdraw ends a review that has not run: by the person who asked (or whose
// agent did), or by one who approved it and no longer does. It is denied then.
func (s *Service) Withdraw(ctx context.Context, id int64, who doorward.Identity, why string) (doorward.Review, error) {
	var none doorward.Review
	defer s.votes.lock(uint64(id))()
	r, err := s.Get(ctx, id)
	if err != nil {
		return none, err
	}
	mine := same(who.Subject, who.Name, r.Identity.Subject, r.Identity.Name)
	voted := who.Agent == "" && !who.Workload && slices.ContainsFunc(r.Votes, func(o doorward.Vote) bool { return o.Approve && o.Subject == who.Subject })
	if who.Subject == "" || (!mine && !voted) {
		return none, refuse("you can withdraw only what you asked for, or what you approved", "A reviewer can vote against it while it is waiting.")
	}
	if !isOpen(r.State) {
		return r, fmt.Errorf("%w: it is %s", ErrDecided, r.State)
	}
	if len(why) > maxComment {
		return none, fmt.Errorf("the comment has %d bytes, at most %d fit", len(why), maxComment)
	}
	ev := s.voteEvent(&r, &who, doorward.Vote{Comment: why}, doorward.ReviewDenied)
	ev.Agent, ev.Run, ev.Decision = who.Agent, who.Run, "withdraw"
	// Taking back takes effect first: it must not wait for the ledger.
	at := s.now()
	now, err := s.store.MoveReview(ctx, store.ReviewMove{ID: id, From: r.State, To: doorward.ReviewDenied, Now: at, Decided: at})
	if errors.Is(err, store.ErrConflict) {
		return none, fmt.Errorf("review %d %w: look at it again", id, err)
	}
	if err != nil {
		return none, fmt.Errorf("review %d: %w", id, err)
	}
	now = s.shown(now)
	s.hub.publish(now)
	return now, s.record(ctx, ev)
}

// Redeem spends an approval: of all calls for one review exactly one, ever,
// gets the grant. A grant authorises one execution, now. If the spending could
// not be recorded the approval is used up and there is no grant.
func (s *Service) Redeem(ctx context.Context, id int64, digest string) (doorward.Grant, error) {
	var none doorward.Grant
	if len(digest) != 64 {
		return none, errors.New("redeem needs the digest of the request that is about to run")
	}
	r, err := s.store.MoveReview(ctx, store.ReviewMove{ID: id, From: doorward.ReviewApproved, To: doorward.ReviewSpent, Digest: digest, Now: s.now()})
	if errors.Is(err, store.ErrConflict) {
		return none, s.whyNot(ctx, id, digest)
	}
	if err != nil {
		return none, fmt.Errorf("review %d: the approval could not be spent: %w", id, err)
	}
	r = s.shown(r)
	s.hub.publish(r)
	g := doorward.Grant{Review: r.ID, MaxRows: r.MaxRows}
	for _, v := range r.Votes {
		if !v.Approve {
			return none, fmt.Errorf("review %d: %w: there is a vote against it", id, ErrNotApproved)
		}
		g.By = append(g.By, v.By)
		if v.MaxRows > 0 && (g.MaxRows == 0 || v.MaxRows < g.MaxRows) {
			g.MaxRows = v.MaxRows
		}
	}
	if !met(r.Reviewers, r.Votes) {
		return none, fmt.Errorf("review %d: %w: its votes do not meet what its rules ask for", id, ErrNotApproved)
	}
	ev := s.event(doorward.EventReviewSpent, &r, map[string]string{"by": strings.Join(g.By, ", ")})
	ev.Rows = g.MaxRows
	if err := s.record(ctx, ev); err != nil {
		return none, fmt.Errorf("the approval is used up and nothing ran: %w", err)
	}
	return g, nil
}

// whyNot says why there is no grant.
func (s *Service) whyNot(ctx context.Context, id int64, digest string) error {
	r, err := s.Get(ctx, id)
	switch {
	case err != nil:
		return err
	case r.Digest != digest:
		return fmt.Errorf("review %d: %w: it is of another request", id, ErrNotApproved)
	}
	return fmt.Errorf("review %d: %w: it is %s", id, ErrNotApproved, r.State)
}
