// Package web holds the built console. It serves nothing itself and knows
// nothing of the API: it only hands out the files that were built into it, and
// must never hold a secret or a decision.
package web
