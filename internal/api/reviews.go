package api

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/doorward/doorward"
	"github.com/doorward/doorward/internal/review"
	"github.com/doorward/doorward/internal/store"
)

const (
	reviewPages = 200     // looked through for those that the caller may see
	reviewList  = 200     // shown at most
	listText    = 4 << 10 // bytes of statement, and of parameters, in a list
	maxComment  = 4 << 10 // bytes of a comment or a reason, as where they are kept
)

type reviewsInput struct {
	State string `query:"state" enum:"waiting,all" default:"waiting"`
}

type reviewsOutput struct{ Body []Review }

func (s *server) reviews(ctx context.Context, in *reviewsInput) (*reviewsOutput, error) {
	c, err := asking(ctx)
	if err != nil {
		return nil, err
	}
	q := review.Query{Limit: reviewList}
	if in.State == "waiting" {
		q.State = doorward.ReviewWaiting
	}
	out := &reviewsOutput{Body: []Review{}}
	for range reviewPages {
		page, err := s.Reviews.List(ctx, q)
		if err != nil {
			return nil, s.fault(ctx, "the reviews cannot be read", err)
		}
		for _, r := range page {
			if q.Before == 0 || r.ID < q.Before {
				q.Before = r.ID
			}
			if s.seesReview(c.id, r) && len(out.Body) < reviewList {
				out.Body = append(out.Body, shortened(s.forCaller(c.id, r)))
			}
		}
		if len(page) == 0 || len(out.Body) >= reviewList {
			break
		}
	}
	return out, nil
}

// shortened bounds what a list says of one review, so that a few huge ones
// keep nobody from seeing the others. The review alone has all of it.
func shortened(r Review) Review {
	if len(r.Statement) > listText {
		r.Statement, r.Cut = clip(r.Statement, listText), true
	}
	r.Preview = "" // the review alone has it
	left := listText
	for i, p := range r.Params {
		if left -= len(p); left < 0 {
			r.Params, r.Cut = append(r.Params[:i:i], "…"), true
			break
		}
	}
	return r
}

type reviewInput struct {
	ID int64 `path:"id" minimum:"1"`
}

type reviewOutput struct{ Body Review }

func (s *server) review(ctx context.Context, in *reviewInput) (*reviewOutput, error) {
	c, r, err := s.visibleReview(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	return &reviewOutput{Body: s.forCaller(c.id, r)}, nil
}

func (s *server) visibleReview(ctx context.Context, id int64) (*caller, doorward.Review, error) {
	c, err := asking(ctx)
	if err != nil {
		return nil, doorward.Review{}, err
	}
	r, err := s.Reviews.Get(ctx, id)
	if errors.Is(err, review.ErrNotFound) || (err == nil && !s.seesReview(c.id, r)) {
		return nil, r, problem(http.StatusNotFound, "there is no such review that you may see", "Reviews are shown to who asked, to those whom the rule names as reviewers, and to administrators.")
	}
	if err != nil {
		return nil, r, s.fault(ctx, "the review cannot be read", err)
	}
	return c, r, nil
}

type voteInput struct {
	ID   int64 `path:"id" minimum:"1"`
	Body Ballot
}

// vote counts the answer of the person signed in, and of nobody else: who
// votes is never taken from what the client says.
func (s *server) vote(ctx context.Context, in *voteInput) (*reviewOutput, error) {
	c, r, err := s.visibleReview(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	if c.id.Agent != "" || c.id.Workload {
		return nil, problem(http.StatusForbidden, "only a person may answer a review", "Sign in as yourself, in the console or with `doorward login`.")
	}
	if !in.Body.Approve && in.Body.MaxRows != 0 {
		return nil, problem(http.StatusUnprocessableEntity, "max_rows belongs to an approval", "Leave it out when you deny.")
	}
	if err := fits(in.Body.Comment); err != nil {
		return nil, err
	}
	if why := s.forCaller(c.id, r).WhyNot; why != "" {
		status := http.StatusForbidden
		if r.State != doorward.ReviewWaiting || strings.Contains(why, "already") {
			status = http.StatusConflict
		}
		return nil, problem(status, why, "GET /api/v1/reviews shows which you can answer.")
	}
	v := doorward.Vote{By: c.id.Name, Subject: c.id.Subject, Groups: c.id.Groups, Approve: in.Body.Approve,
		Comment: strings.TrimSpace(in.Body.Comment), MaxRows: in.Body.MaxRows, Self: c.id.Subject == r.Identity.Subject, At: time.Now().UTC()}
	after, err := s.Reviews.Vote(ctx, in.ID, c.id, v)
	if err != nil {
		return nil, s.reviewFault(ctx, "the answer could not be counted", err)
	}
	return &reviewOutput{Body: s.forCaller(c.id, after)}, nil
}

type withdrawInput struct {
	ID   int64       `path:"id" minimum:"1"`
	Body *Withdrawal // may be left out
}

// withdraw takes back what the caller asked for, or approved. Who may is judged
// where it is done.
func (s *server) withdraw(ctx context.Context, in *withdrawInput) (*reviewOutput, error) {
	c, _, err := s.visibleReview(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	why := ""
	if in.Body != nil {
		why = strings.TrimSpace(in.Body.Reason)
	}
	if err := fits(why); err != nil {
		return nil, err
	}
	whole, done := throughout(ctx)
	defer done()
	after, err := s.Reviews.Withdraw(whole, in.ID, c.id, why)
	switch {
	case err == nil:
		return &reviewOutput{Body: s.forCaller(c.id, after)}, nil
	case after.State == doorward.ReviewDenied && !errors.Is(err, review.ErrDecided):
		s.log.Error("a withdrawal could not be recorded", "review", in.ID, "by", c.id.Name, "error", err)
		return nil, problem(http.StatusInternalServerError, "the review is withdrawn, but that could not be written down", "Nothing runs on it any more. Tell whoever runs doorward: the server's log says more.")
	}
	return nil, s.reviewFault(ctx, "the review could not be withdrawn", err)
}

// fits bounds a comment in bytes: its schema counts characters.
func fits(comment string) error {
	if len(comment) > maxComment {
		return problem(http.StatusUnprocessableEntity, "the text is too long", "Make it shorter: at most 2000 characters and 4 KiB.")
	}
	return nil
}

// reviewFault tells what the room of reviews refused from faults of ours.
func (s *server) reviewFault(ctx context.Context, what string, err error) error {
	var denial *doorward.Denial
	switch {
	case errors.As(err, &denial):
		return problem(http.StatusForbidden, denial.Reason, denial.Hint)
	case errors.Is(err, review.ErrDecided), errors.Is(err, review.ErrVoted), errors.Is(err, store.ErrConflict):
		return problem(http.StatusConflict, clip(err.Error(), 300), "Look at it again.")
	}
	return s.fault(ctx, what, err)
}
