package gate

import (
	"context"
	"time"

	"github.com/doorward/doorward"
)

// Identifier turns what a client presented into an identity, or refuses it.
type Identifier interface {
	Identify(context.Context, doorward.Credential) (doorward.Identity, error)
}

// Reviewer keeps requests that wait for people.
type Reviewer interface {
	// File finds the live review of the same digest or opens one. It is durable on return.
	File(context.Context, doorward.Review) (doorward.Review, error)
	// Await returns once people have decided, or with the context's error.
	Await(ctx context.Context, id int64) (doorward.Review, error)
	// Redeem turns an approval into the right to run once, atomically and durably.
	Redeem(ctx context.Context, id int64, digest string) (doorward.Grant, error)
}

// Ledger writes events down. A Receipt resolves only when its event is durable.
type Ledger interface {
	Append(context.Context, doorward.Event) (doorward.Receipt, error)
}

// Recorder opens the tape of a session.
type Recorder interface {
	Open(context.Context, doorward.Header) (doorward.Tape, error)
}

// Registry keeps the index of sessions.
type Registry interface {
	BeginSession(context.Context, doorward.Header) error
	EndSession(context.Context, SessionEnd) error
}

// SessionEnd is what the index keeps of a session that ended.
type SessionEnd struct {
	ID       string
	Ended    time.Time
	Why      string // "closed", "killed: ...", an error
	Requests uint64
	Refused  uint64
	Held     uint64
	Rows     int64
	Bytes    int64
	Tape     string // file, relative to the recordings
	Seal     doorward.Seal
}

// CatalogError says that a target's catalog cannot be read. Its text is for the
// operator's log, not for clients.
type CatalogError struct{ Err error }

func (e *CatalogError) Error() string { return "the catalog cannot be read: " + e.Err.Error() }
func (e *CatalogError) Unwrap() error { return e.Err }

// Dialect reads the requests of one target.
type Dialect interface {
	// Read gives what the text would do. An error means that it does not parse,
	// or is a *CatalogError.
	Read(text string, st *State) (*doorward.Reading, error)
	// Origin names the rule of the masked column that this table OID and
	// attribute number belong to, or "". ok is false when the catalog does not
	// know the column, which is then an error for a relation of users.
	Origin(table uint32, attr int16) (masked string, ok bool)
	// Refresh reads the catalog again if the target's DDL epoch moved.
	Refresh(context.Context) error
}

// Target is a production system as the gate sees it.
type Target struct {
	doorward.Target
	Dialect Dialect
}
