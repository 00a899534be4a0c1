package ledger

import (
	"fmt"
	"strings"
)

// Report is what Verify found.
type Report struct {
	OK          bool      `json:"ok"` // no problems
	Size        uint64    `json:"size"`
	Root        string    `json:"root"`        // of the tree over all events
	Origin      string    `json:"origin"`      // name in the key
	Signed      uint64    `json:"signed"`      // events under a checkpoint that was checked
	Checkpoints int       `json:"checkpoints"` // that were checked
	Witness     uint64    `json:"witness"`     // events under the outside checkpoint
	Sessions    int       `json:"sessions"`
	Tapes       int       `json:"tapes"`       // that are as they were sealed
	Open        []string  `json:"open"`        // sessions without an end: running, or the server was killed and not started since
	Interrupted []string  `json:"interrupted"` // sessions that a crash of the server ended
	Unknown     []Pending `json:"unknown_outcomes"`
	Problems    []Problem `json:"problems"`
	Notes       []string  `json:"notes"`
	More        int       `json:"more_problems"` // found after the list was full
}

// Pending is a request that was let through and whose end is not recorded.
type Pending struct {
	Index   uint64 `json:"index"`
	Session string `json:"session"`
	Request uint64 `json:"request"`
	Text    string `json:"text"`
}

// Problem is one thing that is not as it was recorded.
type Problem struct {
	Index uint64 `json:"index"` // of the event it is about, or the first that is affected
	What  string `json:"what"`
}

func (r *Report) problem(index uint64, format string, args ...any) {
	if len(r.Problems) >= maxProblems {
		r.More++
		return
	}
	r.Problems = append(r.Problems, Problem{index, fmt.Sprintf(format, args...)})
}

func (r *Report) note(format string, args ...any) {
	if len(r.Notes) < maxProblems {
		r.Notes = append(r.Notes, fmt.Sprintf(format, args...))
	}
}

// Summary is the report for people.
func (r Report) Summary() string {
	var b strings.Builder
	if r.OK {
		fmt.Fprintf(&b, "ok: %d events, all there and unchanged\n", r.Size)
	} else {
		fmt.Fprintf(&b, "NOT ok: %d problems in %d events\n", len(r.Problems)+r.More, r.Size)
	}
	fmt.Fprintf(&b, "log         %s\nroot        %s\nsigned      %d events, %d checkpoints checked\n", r.Origin, r.Root, r.Signed, r.Checkpoints)
	if r.Witness > 0 {
		fmt.Fprintf(&b, "witness     the outside checkpoint is over %d events\n", r.Witness)
	}
	fmt.Fprintf(&b, "sessions    %d (%d without an end, %d interrupted), %d tapes checked\n", r.Sessions, len(r.Open), len(r.Interrupted), r.Tapes)
	for _, p := range r.Problems {
		fmt.Fprintf(&b, "PROBLEM     event %d: %s\n", p.Index, p.What)
	}
	if r.More > 0 {
		fmt.Fprintf(&b, "PROBLEM     and %d more\n", r.More)
	}
	for _, u := range r.Unknown {
		fmt.Fprintf(&b, "unknown     event %d: how request %d of session %s ended is not recorded: %.200q\n", u.Index, u.Request, u.Session, u.Text)
	}
	for _, n := range r.Notes {
		fmt.Fprintf(&b, "note        %s\n", n)
	}
	return b.String()
}
