package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/doorward/doorward"
	"github.com/doorward/doorward/internal/api"
)

// ReviewsCmd groups what people do about requests that wait for them.
type ReviewsCmd struct {
	Ls       ReviewsLsCmd       `cmd:"" help:"List the reviews that wait."`
	Show     ReviewsShowCmd     `cmd:"" help:"Show one review in full."`
	Approve  ReviewsYesCmd      `cmd:"" help:"Approve a review."`
	Deny     ReviewsNoCmd       `cmd:"" help:"Deny a review."`
	Withdraw ReviewsWithdrawCmd `cmd:"" help:"Take back a request, or your yes to it, that has not run."`
	Watch    ReviewsWatchCmd    `cmd:"" help:"Print reviews as they come and change."`
}

// ReviewsLsCmd lists reviews.
type ReviewsLsCmd struct {
	All bool `help:"Also those that do not wait any more."`
	JSONFlag
}

// Help is shown by --help.
func (*ReviewsLsCmd) Help() string { return "Example:\n  doorward reviews ls --all" }

// Run lists.
func (k *ReviewsLsCmd) Run(env *Env) error {
	ctx, stop := interruptible()
	defer stop()
	c, err := signedIn()
	if err != nil {
		return err
	}
	all, err := listReviews(ctx, c, k.All)
	if err != nil {
		return err
	}
	if k.JSON {
		return printJSON(env.Stdout, all)
	}
	if len(all) == 0 {
		fmt.Fprintln(env.Stdout, "Nothing waits.")
		return nil
	}
	t := newTable(env.Stdout, "ID", "STATE", "WHO", "TARGET", "ASKED", "YOURS TO ANSWER", "STATEMENT")
	for _, r := range all {
		t.row(fmt.Sprint(r.ID), string(r.State), r.Identity.String(), r.Target, ago(r.Created), yes(r.CanVote), short(oneLine(r.Statement), 60))
	}
	return t.done()
}

func listReviews(ctx context.Context, c *client, all bool) ([]api.Review, error) {
	state := "waiting"
	if all {
		state = "all"
	}
	var out []api.Review
	err := c.call(ctx, http.MethodGet, "/api/v1/reviews?state="+state, nil, &out)
	return out, err
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// oneLine folds white space, for tables.
func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// ReviewsShowCmd shows one review.
type ReviewsShowCmd struct {
	ID int64 `arg:"" help:"Number of the review."`
	JSONFlag
}

// Help is shown by --help.
func (*ReviewsShowCmd) Help() string {
	return "Example:\n  doorward reviews show 12\n\nExit codes: 0 approved or spent, 3 denied or expired, 4 still waiting."
}

// Run shows.
func (k *ReviewsShowCmd) Run(env *Env) error {
	ctx, stop := interruptible()
	defer stop()
	c, err := signedIn()
	if err != nil {
		return err
	}
	var r api.Review
	if err := c.call(ctx, http.MethodGet, "/api/v1/reviews/"+strconv.FormatInt(k.ID, 10), nil, &r); err != nil {
		return err
	}
	if k.JSON {
		if err := printJSON(env.Stdout, r); err != nil {
			return err
		}
	} else {
		showReview(env.Stdout, r)
	}
	return reviewExit(r.State)
}

func reviewExit(s doorward.ReviewState) error {
	switch s {
	case doorward.ReviewWaiting:
		return &Exit{Code: CodeHeld}
	case doorward.ReviewDenied, doorward.ReviewExpired:
		return &Exit{Code: CodeDenied}
	}
	return nil
}

func showReview(w io.Writer, r api.Review) {
	fmt.Fprintf(w, "Review %d: %s\n", r.ID, cleanLine(string(r.State)))
	field(w, "who", r.Identity.String())
	field(w, "run", r.Identity.Run)
	field(w, "why", r.Why)
	field(w, "target", r.Target)
	field(w, "session", r.Session)
	field(w, "rule", r.Rule+": "+r.Reason)
	fmt.Fprintln(w, "statement:")
	block(w, r.Statement)
	for i, p := range r.Params {
		field(w, fmt.Sprintf("$%d", i+1), p)
	}
	if r.Preview != "" {
		fmt.Fprintln(w, "preview:")
		block(w, r.Preview)
	}
	field(w, "does", strings.Join(r.Summary.Verbs, ", "))
	field(w, "beware", strings.Join(r.Summary.Traits, ", "))
	for _, o := range r.Summary.Objects {
		field(w, "touches", o.Kind+" "+o.Name+" ("+strings.Join(o.Verbs, ", ")+")")
	}
	switch {
	case r.Summary.Bound >= 0:
		field(w, "rows", fmt.Sprintf("at most %d, proved", r.Summary.Bound))
	case r.MaxRows > 0:
		field(w, "rows", fmt.Sprintf("at most %d, or it is rolled back", r.MaxRows))
	}
	for _, q := range r.Reviewers {
		field(w, "needs", fmt.Sprintf("%d of %s", max(q.Count, 1), strings.Join(append(append([]string{}, q.Groups...), q.Users...), ", ")))
	}
	for _, v := range r.Votes {
		word := "denied"
		if v.Approve {
			word = "approved"
		}
		if v.MaxRows > 0 {
			word += fmt.Sprintf(" for at most %d rows", v.MaxRows)
		}
		if v.Self {
			word += " (their own request)"
		}
		field(w, "answer", fmt.Sprintf("%s by %s, %s: %s", word, v.By, when(v.At), v.Comment))
	}
	field(w, "asked", when(r.Created))
	field(w, "expires", when(r.Expires))
	field(w, "look at", r.URL)
	if r.State == doorward.ReviewWaiting {
		if r.CanVote {
			fmt.Fprintf(w, "\nAnswer with `doorward reviews approve %d` or `doorward reviews deny %d`.\n", r.ID, r.ID)
		} else {
			fmt.Fprintf(w, "\nNot yours to answer: %s.\n", cleanLine(r.WhyNot))
		}
		if r.Mine {
			fmt.Fprintf(w, "Take it back with `doorward reviews withdraw %d`.\n", r.ID)
		}
	}
}

// ReviewsYesCmd approves.
type ReviewsYesCmd struct {
	ID      int64  `arg:"" help:"Number of the review."`
	MaxRows int64  `help:"Approve only as long as at most this many rows change; otherwise it is rolled back."`
	Comment string `help:"Why."`
	JSONFlag
}

// Help is shown by --help.
func (*ReviewsYesCmd) Help() string {
	return "Example:\n  doorward reviews approve 12 --max-rows 1 --comment 'checked with support'\n\nThe exact statement may then run once, until the review expires. Exit codes: 0 approved, 4 more answers are needed."
}

// Run votes yes.
func (k *ReviewsYesCmd) Run(env *Env) error {
	if k.MaxRows < 0 {
		return exitf(CodeUsage, "--max-rows must be above 0")
	}
	return vote(env, k.ID, api.Ballot{Approve: true, MaxRows: k.MaxRows, Comment: k.Comment}, k.JSON)
}

// ReviewsNoCmd denies.
type ReviewsNoCmd struct {
	ID      int64  `arg:"" help:"Number of the review."`
	Comment string `help:"Why."`
	JSONFlag
}

// Help is shown by --help.
func (*ReviewsNoCmd) Help() string {
	return "Example:\n  doorward reviews deny 12 --comment 'use the support tool for this'"
}

// Run votes no.
func (k *ReviewsNoCmd) Run(env *Env) error {
	return vote(env, k.ID, api.Ballot{Comment: k.Comment}, k.JSON)
}

func vote(env *Env, id int64, b api.Ballot, asJSON bool) error {
	ctx, stop := interruptible()
	defer stop()
	c, err := signedIn()
	if err != nil {
		return err
	}
	var r api.Review
	if err := c.call(ctx, http.MethodPost, fmt.Sprintf("/api/v1/reviews/%d/votes", id), b, &r); err != nil {
		return err
	}
	if asJSON {
		if err := printJSON(env.Stdout, r); err != nil {
			return err
		}
	} else {
		fmt.Fprintf(env.Stdout, "Review %d is %s now.\n", r.ID, cleanLine(string(r.State)))
		if r.State == doorward.ReviewWaiting {
			fmt.Fprintln(env.Stdout, "Your answer is counted; more are needed.")
		}
	}
	if b.Approve {
		return reviewExit(r.State)
	}
	return nil
}

// ReviewsWithdrawCmd takes back.
type ReviewsWithdrawCmd struct {
	ID     int64  `arg:"" help:"Number of the review."`
	Reason string `help:"Why." placeholder:"TEXT"`
	JSONFlag
}

// Help is shown by --help.
func (*ReviewsWithdrawCmd) Help() string {
	return "Example:\n  doorward reviews withdraw 12 --reason 'wrong table'\n\nFor who asked (or whose agent did), and for who approved it and no longer does. The review is denied then. What has run cannot be withdrawn."
}

// Run withdraws.
func (k *ReviewsWithdrawCmd) Run(env *Env) error {
	ctx, stop := interruptible()
	defer stop()
	c, err := signedIn()
	if err != nil {
		return err
	}
	var r api.Review
	if err := c.call(ctx, http.MethodPost, fmt.Sprintf("/api/v1/reviews/%d/withdraw", k.ID), api.Withdrawal{Reason: k.Reason}, &r); err != nil {
		return err
	}
	if k.JSON {
		return printJSON(env.Stdout, r)
	}
	fmt.Fprintf(env.Stdout, "Review %d is withdrawn: it is %s now.\n", r.ID, cleanLine(string(r.State)))
	return nil
}

// ReviewsWatchCmd follows.
type ReviewsWatchCmd struct{ JSONFlag }

// Help is shown by --help.
func (*ReviewsWatchCmd) Help() string {
	return "Example:\n  doorward reviews watch --json | jq .statement\n\nFirst the reviews that wait, then every one that comes or changes, until Ctrl-C."
}

// Run follows the event stream.
func (k *ReviewsWatchCmd) Run(env *Env) error {
	ctx, stop := interruptible()
	defer stop()
	c, err := signedIn()
	if err != nil {
		return err
	}
	type stand struct {
		state doorward.ReviewState
		votes int
	}
	seen := map[int64]stand{}
	show := func(r api.Review) error {
		now := stand{r.State, len(r.Votes)}
		if seen[r.ID] == now {
			return nil
		}
		if len(seen) > 100_000 { // far more than can wait at once
			clear(seen)
		}
		seen[r.ID] = now
		if k.JSON {
			return printJSON(env.Stdout, r)
		}
		_, err := fmt.Fprintf(env.Stdout, "%d  %s  %s  %s  %s\n", r.ID, cleanLine(string(r.State)), cleanLine(r.Identity.String()), cleanLine(r.Target), cleanLine(short(oneLine(r.Statement), 120)))
		return err
	}
	return c.follow(ctx, func() (bool, error) {
		all, err := listReviews(ctx, c, false)
		if err != nil {
			return false, err
		}
		for _, r := range all {
			if err := show(r); err != nil {
				return true, err
			}
		}
		return false, nil
	}, func(kind string, data []byte) (bool, error) {
		if kind != "review" {
			return false, nil
		}
		var r api.Review
		if err := json.Unmarshal(data, &r); err != nil {
			return true, fmt.Errorf("the gate sent an event that this version does not understand: %w", err)
		}
		err := show(r)
		return err != nil, err
	})
}
