// Package scan takes the texts of requests apart, as the classifiers of hosts
// and of clusters write them. It must never be lenient: what is not exactly as
// expected makes the whole text fail.
package scan
