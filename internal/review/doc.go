// Package review keeps requests that wait for people: it opens them, counts
// votes, wakes who waits, and hands an approval out exactly once.
//
// What a reader can rely on: a review is durable and in the ledger before
// anybody sees it; a vote is in the ledger before it counts; an approval goes
// from approved to spent in one compare-and-set of the store, and that is in
// the ledger before [Service.Redeem] returns. An error anywhere means: not
// approved.
//
// What it must never do: run anything, ask policy (the gate does, again, at
// execution), let an agent, a workload or the requester vote, count one person
// twice, or bring back a review that was decided.
package review
