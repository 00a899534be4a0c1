// Package doorward is the vocabulary that every room of the house shares:
// who asks, what for, what it would do, what was decided, and what is kept of
// it. It holds data and the few rules that belong to the data itself, and it
// imports the standard library only.
package doorward

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"time"
)

// Identity is who asks, after a credential was checked.
type Identity struct {
	Subject    string    `json:"subject"`              // stable, provider-scoped: "corp:00u1abc"
	Name       string    `json:"name"`                 // what people know and policies name: "ada@corp.example"
	Provider   string    `json:"provider"`             // name of the identity provider in the configuration
	Groups     []string  `json:"groups,omitempty"`     //
	Agent      string    `json:"agent,omitempty"`      // the agent acting for the person; "" for people
	Run        string    `json:"run,omitempty"`        // the agent's run
	Task       string    `json:"task,omitempty"`       // why the run was started, in the person's words
	Chain      []string  `json:"chain,omitempty"`      // sub-agents, outermost first
	Workload   bool      `json:"workload,omitempty"`   // a CI job or pod, not a person
	Credential string    `json:"credential,omitempty"` // id of the credential, for revocation; never the secret
	Targets    []string  `json:"targets,omitempty"`    // targets the credential is bound to; empty: no bound of its own
	Expires    time.Time `json:"expires,omitzero"`     //
}

// String is how logs and reviewers see the identity: "ada@corp.example via codex".
func (id Identity) String() string {
	if id.Agent != "" {
		return id.Name + " via " + id.Agent
	}
	return id.Name
}

// Credential is what a client presented, not yet checked.
type Credential struct {
	Protocol string // "postgres", "http", ...
	Secret   string // bearer token; never logged
	ByID     string // instead of Secret: the id of a credential whose holder was proved by a certificate of doorward's own
	User     string // user name on the wire, if the protocol has one: a claim, not a fact
	Remote   string // address of the client
	Secure   bool   // the secret travelled over TLS, or over loopback where the configuration allows that
}

// Param is one bound parameter of a request.
type Param struct {
	Type   uint32 // type OID for Postgres; 0 when the server infers it
	Binary bool   // Value is in the binary format
	Null   bool   //
	Value  []byte //
}

// Digest binds an approval to exactly one request. It covers everything that
// changes what the request would do, each field with its length before it.
func Digest(target string, id Identity, statement string, params []Param, fingerprint string, bound int64) string {
	h := sha256.New()
	put := func(b []byte) {
		var n [8]byte
		binary.BigEndian.PutUint64(n[:], uint64(len(b)))
		h.Write(n[:])
		h.Write(b)
	}
	put([]byte("doorward review 1"))
	put([]byte(target))
	put([]byte(id.Subject))
	put([]byte(id.Agent))
	put([]byte(statement))
	put([]byte(fingerprint))
	put(binary.BigEndian.AppendUint64(nil, uint64(bound)))
	put(binary.BigEndian.AppendUint64(nil, uint64(len(params))))
	for _, p := range params {
		b := binary.BigEndian.AppendUint32(nil, p.Type)
		b = append(b, boolByte(p.Binary), boolByte(p.Null))
		put(b)
		put(p.Value)
	}
	return hex.EncodeToString(h.Sum(nil))
}

func boolByte(b bool) byte {
	if b {
		return 1
	}
	return 0
}

// Outcome of a decision.
type Outcome uint8

// Outcomes from softest to strictest: the larger wins.
const (
	Allow Outcome = iota + 1
	Hold          // written "review"
	Deny
)

// String is "allow", "review" or "deny".
func (o Outcome) String() string {
	switch o {
	case Allow:
		return "allow"
	case Hold:
		return "review"
	}
	return "deny"
}

// Limits bound one request. Zero means no limit of that kind.
type Limits struct {
	Rows      int64         `json:"rows,omitempty"`
	Bytes     int64         `json:"bytes,omitempty"`
	Time      time.Duration `json:"time,omitempty"`
	PerMinute int64         `json:"per_minute,omitempty"`
}

// Tighten gives the smaller of each limit.
func (l Limits) Tighten(m Limits) Limits {
	return Limits{Rows: tighter(l.Rows, m.Rows), Bytes: tighter(l.Bytes, m.Bytes), Time: tighter(l.Time, m.Time), PerMinute: tighter(l.PerMinute, m.PerMinute)}
}

func tighter[T int64 | time.Duration](a, b T) T {
	if a == 0 || (b != 0 && b < a) {
		return b
	}
	return a
}

// Quorum says who may approve and how many of them it takes.
type Quorum struct {
	Groups       []string `json:"groups,omitempty"`
	Users        []string `json:"users,omitempty"`
	Count        int      `json:"count"`
	SelfApproval bool     `json:"self_approval,omitempty"`
}

// Decision is what policy made of an Effect for an Identity.
type Decision struct {
	Outcome   Outcome
	Rule      string // the rule that decided; "" for the default
	Reason    string // for people
	Hint      string // what would be allowed
	Limits    Limits
	Reviewers []Quorum // every one must be met; set when Outcome is Hold
	MaxRows   int64    // for reviews: the row bound that an approval carries; 0: none
	Version   string   // policy version that decided
	Preview   bool     // the reviewer is to see a measured preview
}

// ReviewState is where a review stands.
type ReviewState string

// The states of a review. Only approved moves to spent, once.
const (
	ReviewWaiting  ReviewState = "waiting"
	ReviewApproved ReviewState = "approved"
	ReviewDenied   ReviewState = "denied"
	ReviewExpired  ReviewState = "expired"
	ReviewSpent    ReviewState = "spent"
)

// Vote is one reviewer's answer.
type Vote struct {
	By      string    `json:"by"`      // Identity.Name
	Subject string    `json:"subject"` // Identity.Subject
	Groups  []string  `json:"groups,omitempty"`
	Approve bool      `json:"approve"`
	Comment string    `json:"comment,omitempty"`
	MaxRows int64     `json:"max_rows,omitempty"` // "as long as it changes at most N rows"
	Self    bool      `json:"self,omitempty"`     // the requester's own, where the rule lets
	At      time.Time `json:"at"`
}

// Review is a request that waits for people.
type Review struct {
	ID          int64       `json:"id"`
	Digest      string      `json:"digest"`
	State       ReviewState `json:"state"`
	Identity    Identity    `json:"identity"`
	Target      string      `json:"target"`
	Protocol    string      `json:"protocol"`
	Session     string      `json:"session"`
	Statement   string      `json:"statement"`
	Params      []string    `json:"params,omitempty"` // rendered for people
	Effect      Effect      `json:"-"`
	Summary     Summary     `json:"effect"` // the effect, for people
	Why         string      `json:"why,omitempty"`
	Rule        string      `json:"rule"`
	Reason      string      `json:"reason"`
	Reviewers   []Quorum    `json:"reviewers"`
	MaxRows     int64       `json:"max_rows,omitempty"`
	Policy      string      `json:"policy"` // policy version
	Fingerprint string      `json:"fingerprint"`
	Preview     string      `json:"preview,omitempty"` // what would change, as a rehearsal at the target showed it, masked; nothing binds it
	URL         string      `json:"url"`
	Votes       []Vote      `json:"votes,omitempty"`
	Created     time.Time   `json:"created"`
	Decided     time.Time   `json:"decided,omitzero"`
	Expires     time.Time   `json:"expires"`
}

// Summary is an Effect for people and machines that read JSON.
type Summary struct {
	Verbs    []string        `json:"verbs"`
	Kinds    []string        `json:"kinds,omitempty"`
	Traits   []string        `json:"traits,omitempty"`
	Objects  []SummaryObject `json:"objects,omitempty"`
	Complete bool            `json:"complete"`
	ReadOnly bool            `json:"read_only"`
	Refuse   string          `json:"refuse,omitempty"`
	Bound    int64           `json:"bound"`
	Masked   []string        `json:"masked,omitempty"`
	Commands [][]string      `json:"commands,omitempty"`
}

// SummaryObject is an Object with its verbs spelled out.
type SummaryObject struct {
	Kind  string   `json:"kind"`
	Name  string   `json:"name"`
	Verbs []string `json:"verbs"`
}

// Summary spells the effect out.
func (e *Effect) Summary() Summary {
	s := Summary{Verbs: e.Verbs.Names(), Kinds: e.Kinds, Traits: e.Traits.Names(), Complete: e.Complete, ReadOnly: e.ReadOnly(), Refuse: e.Refuse, Bound: e.Bound, Masked: e.Masked, Commands: e.Commands}
	for _, o := range e.Objects {
		s.Objects = append(s.Objects, SummaryObject{o.Kind, o.Name, o.Verb.Names()})
	}
	return s
}

// Grant is an approval that was consumed: it authorises one execution, now.
type Grant struct {
	Review  int64
	MaxRows int64 // commit only if at most this many rows changed; 0: no bound
	By      []string
}

// Denial is the one error that a client gets when the answer is not yes. Each
// adapter renders it in its protocol's own way.
type Denial struct {
	Decision string `json:"decision"` // "deny", "review" (held) or "error"
	Rule     string `json:"rule,omitempty"`
	Reason   string `json:"reason"`
	Hint     string `json:"hint,omitempty"`
	Review   int64  `json:"review,omitempty"`
	URL      string `json:"url,omitempty"`
	Retry    bool   `json:"retry"`
	Code     string `json:"code,omitempty"` // protocol code hint, e.g. SQLSTATE; "" for 42501
}

// Error is the reason, with the rule where there is one.
func (d *Denial) Error() string {
	if d.Rule != "" {
		return fmt.Sprintf("%s (rule %s)", d.Reason, d.Rule)
	}
	return d.Reason
}

// Event is one entry of the ledger.
type Event struct {
	Time     time.Time         `json:"time"`
	Kind     EventKind         `json:"kind"`
	Session  string            `json:"session,omitempty"`
	Request  uint64            `json:"request,omitempty"` // number of the request within its session, from 1
	Name     string            `json:"name,omitempty"`    // Identity.Name
	Subject  string            `json:"subject,omitempty"`
	Agent    string            `json:"agent,omitempty"`
	Run      string            `json:"run,omitempty"`
	Target   string            `json:"target,omitempty"`
	Protocol string            `json:"protocol,omitempty"`
	Text     string            `json:"text,omitempty"`   // the exact statement
	Params   []string          `json:"params,omitempty"` // rendered
	Decision string            `json:"decision,omitempty"`
	Rule     string            `json:"rule,omitempty"`
	Reason   string            `json:"reason,omitempty"`
	Policy   string            `json:"policy,omitempty"` // policy version
	Review   int64             `json:"review,omitempty"`
	Rows     int64             `json:"rows,omitempty"`
	Bytes    int64             `json:"bytes,omitempty"`
	Error    string            `json:"error,omitempty"`
	Took     time.Duration     `json:"took,omitempty"` // nanoseconds
	Fields   map[string]string `json:"fields,omitempty"`
}

// EventKind names what happened.
type EventKind string

// The kinds of events.
const (
	EventSessionOpen   EventKind = "session.open"
	EventSessionClose  EventKind = "session.close"
	EventSignInFailed  EventKind = "signin.failed"
	EventIntent        EventKind = "request.intent"  // decided yes: durable before it runs
	EventRefused       EventKind = "request.refused" // decided no, or held
	EventOutcome       EventKind = "request.outcome" // how an intent ended
	EventReviewOpened  EventKind = "review.opened"
	EventReviewVote    EventKind = "review.vote"
	EventReviewSpent   EventKind = "review.spent"
	EventCredential    EventKind = "credential.issued"
	EventRevoked       EventKind = "credential.revoked"
	EventReplayed      EventKind = "session.viewed"
	EventConfig        EventKind = "config.loaded"
	EventServerStart   EventKind = "server.start"
	EventServerStop    EventKind = "server.stop"
	EventFault         EventKind = "fault" // something of ours failed
	EventSessionKilled EventKind = "session.killed"
)

// Receipt is the promise that an event will be durable. Wait returns the
// event's index in the log once it is on disk, or why it is not.
type Receipt interface {
	Wait(context.Context) (uint64, error)
}

// FrameKind says what a tape frame holds.
type FrameKind uint8

// The kinds of tape frames.
const (
	FrameRequest FrameKind = iota + 1 // Data: JSON of RequestRecord
	FrameReply                        // Data: wire bytes as released to the client (masked)
	FrameNote                         // Data: text for people, from doorward itself
	FrameOutcome                      // Data: JSON of OutcomeRecord
	FrameCut                          // Data: JSON of CutRecord: bytes left out by the size bound
	FrameInput                        // Data: what the client sent outside of requests: COPY data, keystrokes
)

// RequestRecord is what a tape keeps of one request.
type RequestRecord struct {
	Statement string   `json:"statement"`
	Params    []string `json:"params,omitempty"`
	Decision  string   `json:"decision"`
	Rule      string   `json:"rule,omitempty"`
	Reason    string   `json:"reason,omitempty"`
	Review    int64    `json:"review,omitempty"`
	Masked    []string `json:"masked,omitempty"`
}

// OutcomeRecord is how a request ended.
type OutcomeRecord struct {
	Rows  int64         `json:"rows"`
	Bytes int64         `json:"bytes"`
	Error string        `json:"error,omitempty"`
	Took  time.Duration `json:"took"`
}

// CutRecord says what the size bound left out of a tape.
type CutRecord struct {
	Bytes int64  `json:"bytes"`
	Why   string `json:"why"`
}

// Frame is one record of a tape.
type Frame struct {
	Kind    FrameKind
	At      time.Time
	Request uint64
	Data    []byte // not kept after Write returns
}

// Header opens a tape.
type Header struct {
	Session  string    `json:"session"`
	Identity Identity  `json:"identity"`
	Target   string    `json:"target"`
	Protocol string    `json:"protocol"`
	Remote   string    `json:"remote"`
	Started  time.Time `json:"started"`
}

// Seal closes a tape: what must be true of its file.
type Seal struct {
	Hash   string `json:"hash"` // last link of the chain, hex SHA-256
	Frames uint64 `json:"frames"`
	Bytes  int64  `json:"bytes"` // of the file
}

// Tape is one session's recording while it is being made. Write may be called
// from one goroutine at a time. An error means: nothing more may be released.
type Tape interface {
	Write(Frame) error
	Close() (Seal, error)
}

// ErrRevoked says that access ended while a session was open.
var ErrRevoked = errors.New("access was ended")

// Target is a production system behind the gate.
type Target struct {
	Name     string `json:"name"`
	Protocol string `json:"protocol"`
	Database string `json:"database,omitempty"`
}
