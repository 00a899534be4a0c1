// Package message is what the classifiers of clusters and of HTTP services have
// in common: requests of HTTP as people write them, and refusals that have a
// status. It must never say whether a request is let through.
package message
