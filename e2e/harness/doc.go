// Package harness runs the real doorward binary for tests, benchmarks and the
// demo: it writes a configuration, starts the process, signs people and agents
// in and speaks the HTTP API as a reviewer would.
//
// It knows the product by its process interface only (command line, files,
// wire, HTTP) and must never import a package of the product.
package harness
