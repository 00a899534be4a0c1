// Package webtest is an HTTP service for tests: it writes down every request
// that comes, signs clients in by certificate and gives out OAuth tokens. A
// second kind of service does with each connection what a test wants, for the
// servers that do not behave.
//
// It knows nothing of the product.
package webtest
