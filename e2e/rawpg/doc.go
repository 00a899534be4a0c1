// Package rawpg is a PostgreSQL client made of bytes: it sends exactly what a
// test says, splits it as the test says, and keeps every byte that came back.
//
// It is for tests and measurements only. It must never repair, retry or
// interpret what it sends: a test that wants a broken message gets one.
package rawpg
