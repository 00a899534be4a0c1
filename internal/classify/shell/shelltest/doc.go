// Package shelltest holds commands that look like something else than they
// are, for the tests of whatever reads commands. It must never be imported by
// the product.
package shelltest
