// Package scan takes the texts of requests apart, as the classifiers of hosts,
// clusters and HTTP services write them, and reads the parts that JSON is made
// of. It must never be lenient: what is not exactly as
// expected makes the whole text fail.
package scan
