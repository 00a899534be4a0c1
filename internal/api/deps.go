package api

import (
	"context"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"time"

	"github.com/doorward/doorward"
	"github.com/doorward/doorward/internal/identity"
	"github.com/doorward/doorward/internal/review"
	"github.com/doorward/doorward/internal/store"
)

// Deps is all that the API needs of the rest of the house.
type Deps struct {
	Identity Identity
	Reviews  Reviews
	Store    Sessions
	Ledger   Ledger
	Live     Live

	// Replay gives the timeline of a recorded session, verified.
	Replay func(ctx context.Context, session string) (*Timeline, error)
	// Tape writes a recording as a file: format is "asciicast" or "json".
	Tape func(ctx context.Context, session, format string, w io.Writer) error
	// Verify checks the whole audit log. CheckedAt is filled in here.
	Verify func(ctx context.Context) (Audit, error)
	// Targets lists the targets that are served.
	Targets func() []TargetInfo
	// SSH tells how SSH clients connect and, with a public key, certifies it
	// for the credential of id. It fails with ErrNoSSH or ErrBadKey.
	SSH func(publicKey string, id doorward.Identity) (SSHAccess, error)
	// Reaches reports whether some rule could let id use the target.
	Reaches func(id *doorward.Identity, target string) bool
	// Ready reports why the gate cannot work now, or nil.
	Ready func() error

	Metrics http.Handler    // nil: no /metrics
	Console fs.FS           // files of the console; nil: none
	Hosts   []string        // names that the console is reached by; addresses and localhost always work
	URL     string          // address of the console for people, for sign-in by OIDC
	Admins  []string        // groups that see everybody's reviews, sessions and runs, and end them and access
	Closing <-chan struct{} // closed when the server drains, so that event streams end; may be nil
	Version string
	Log     *slog.Logger

	// PlainLoopback accepts credentials without TLS from loopback addresses.
	PlainLoopback bool
}

// Reviews is the room of reviews.
type Reviews interface {
	List(ctx context.Context, q review.Query) ([]doorward.Review, error)
	Get(ctx context.Context, id int64) (doorward.Review, error)
	Vote(ctx context.Context, id int64, who doorward.Identity, v doorward.Vote) (doorward.Review, error)
	Withdraw(ctx context.Context, id int64, who doorward.Identity, why string) (doorward.Review, error)
	Subscribe(ctx context.Context) <-chan doorward.Review
}

// Sessions is the index of sessions.
type Sessions interface {
	Session(ctx context.Context, id string) (store.SessionRow, error)
	Sessions(ctx context.Context, q store.SessionQuery) ([]store.SessionRow, error)
}

// Ledger is where events become durable.
type Ledger interface {
	Append(ctx context.Context, ev doorward.Event) (doorward.Receipt, error)
}

// Live is what is open at the gate.
type Live interface {
	Sessions() []LiveSession
	Kill(id, by string) error
}

// Identity is the room of identities. It records sign-ins that fail, and what
// it issues and ends.
type Identity interface {
	Providers() []identity.ProviderInfo
	Identify(ctx context.Context, c doorward.Credential) (doorward.Identity, error)
	SignIn(ctx context.Context, provider, user, password string) (doorward.Identity, error)
	StartSignIn(ctx context.Context, provider, redirect string) (url, state string, err error)
	FinishSignIn(ctx context.Context, state, code string) (doorward.Identity, error)

	Issue(ctx context.Context, id doorward.Identity, ttl time.Duration) (token string, expires time.Time, err error)
	RevokeToken(ctx context.Context, token, reason string) error
	RevokeSubject(ctx context.Context, subject string, by doorward.Identity, reason string) error
	Watch(fn func(credential string))

	NewWebSession(ctx context.Context, id doorward.Identity) (cookie, csrf string, err error)
	WebSession(ctx context.Context, cookie string) (id doorward.Identity, csrf string, err error)
	EndWebSession(ctx context.Context, cookie string) error

	StartRun(ctx context.Context, person doorward.Identity, r identity.RunRequest) (identity.Run, string, error)
	Run(ctx context.Context, id string) (identity.Run, error)
	Runs(ctx context.Context, q identity.RunQuery) ([]identity.Run, error)
	EndRun(ctx context.Context, run string, by doorward.Identity, reason string) error
}
