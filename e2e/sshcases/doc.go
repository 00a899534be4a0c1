// Package sshcases runs adversarial SSH cases against a real sshd through
// doorward, request by request, and judges what they did by their effect.
//
// It decides nothing itself: what a case accepts stands in the case. A case
// with a step that this package does not know fails; it never passes silently.
package sshcases
