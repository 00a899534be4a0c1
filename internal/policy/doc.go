// Package policy decides: given who asks, for what target, and the effect
// that the request would have, may it run (allow), must people say yes first
// (review), or is it refused (deny)?
//
// A policy is a set of rules, without an order. A rule names who and which
// targets it is about, and holds a CEL condition over the effect. Where
// several rules match, the strictest outcome wins and the smallest limits
// hold; where none matches, the request is denied.
//
// The package is pure: the same document and the same input always give the
// same decision. It must never read a clock, a file or the network, never
// depend on the order of rules, and never turn a failure into anything softer
// than a denial: a condition that errors or exceeds its cost limit denies, an
// effect that the classifier is not sure of is never allowed, and a classifier's
// refusal is final.
package policy
