// Package ledger is the tamper-evident log of every decision and outcome:
// append-only segment files, a Merkle tree over all events (RFC 6962 hashes,
// as the Go checksum database has it), and signed checkpoints of that tree.
//
// An event is durable before [Receipt.Wait] returns. Many callers share one
// write and one fdatasync (group commit). After any error of the disk the log
// is failed for good: nothing is acknowledged any more, and no fsync is tried
// twice, since the kernel may have dropped the pages that the first one lost.
//
// [Verify] reads the files on its own, without the code that wrote them.
//
// The package must never acknowledge an event that is not on disk, rewrite or
// drop one that was acknowledged, repair a damaged log in silence, or look at
// what an event means (only Verify does).
package ledger
