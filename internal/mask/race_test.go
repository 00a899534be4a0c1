//go:build race

package mask

// raced says that the race detector is on: it makes sync.Pool drop what it is
// given, so allocations are counted without it only (make test does both).
const raced = true
