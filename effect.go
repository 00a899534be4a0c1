package doorward

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
)

// Verb says what a request does to an object. The set is closed: a classifier
// that meets something it has no verb for uses [VerbUnknown], and unknown is
// never allowed by default.
type Verb uint16

// The closed set of verbs.
const (
	VerbRead    Verb = 1 << iota // reads data or metadata, no effect
	VerbCreate                   // adds rows, keys, files, objects
	VerbUpdate                   // changes existing data
	VerbDelete                   // removes data
	VerbDefine                   // DDL, custom resources: changes the shape of things
	VerbGrant                    // changes permissions
	VerbExecute                  // runs code, shell, or functions that may act
	VerbAdmin                    // server state, roles, files, programs, replication: never approvable by a sane policy
	VerbSession                  // harmless session settings and transaction control
	VerbUnknown                  // not understood
)

var verbNames = [...]string{"read", "create", "update", "delete", "define", "grant", "execute", "admin", "session", "unknown"}

// VerbWrites is the set of verbs that change data or its shape.
const VerbWrites = VerbCreate | VerbUpdate | VerbDelete | VerbDefine | VerbGrant

// Has reports whether v contains any verb of w.
func (v Verb) Has(w Verb) bool { return v&w != 0 }

// Names lists the verbs in v, in the order of the constants.
func (v Verb) Names() []string {
	var out []string
	for i, n := range verbNames {
		if v&(1<<i) != 0 {
			out = append(out, n)
		}
	}
	return out
}

// String joins [Verb.Names] with commas.
func (v Verb) String() string { return strings.Join(v.Names(), ",") }

// ParseVerb gives the verb with this name, or false.
func ParseVerb(name string) (Verb, bool) {
	for i, n := range verbNames {
		if n == name {
			return 1 << i, true
		}
	}
	return 0, false
}

// Trait is a property of a whole request that policies ask about.
type Trait uint32

// The closed set of traits.
const (
	TraitUnbounded    Trait = 1 << iota // a write whose row count nothing bounds
	TraitMassRead                       // a read that nothing bounds and that is likely to be large
	TraitMulti                          // more than one statement
	TraitIrreversible                   // cannot be rolled back or restored by the target itself
	TraitMasked                         // touches a masked column
	TraitLeaves                         // data leaves to, or comes from, elsewhere (files, programs, other servers)
	TraitLocks                          // takes explicit locks

	// Kubernetes.
	TraitDeletesNamespace   // deletes a namespace, and everything in it
	TraitDeleteCollection   // deletes every object that a selector matches
	TraitScaleToZero        // leaves a workload without replicas
	TraitRBAC               // changes roles or who has them
	TraitWebhook            // changes what looks at, or changes, every request to the API server
	TraitEphemeralContainer // puts a container into a pod that runs
	TraitNodeProxy          // reaches a node's agent, which can run anything on the node
	TraitToken              // makes, or checks, a credential
	TraitSecret             // reads or writes Secrets
)

var traitNames = [...]string{"unbounded", "mass_read", "multi_statement", "irreversible", "masked", "leaves", "locks",
	"deletes_namespace", "delete_collection", "scale_to_zero", "rbac", "webhook", "ephemeral_container", "node_proxy", "token", "secret"}

// Has reports whether t contains any trait of u.
func (t Trait) Has(u Trait) bool { return t&u != 0 }

// Names lists the traits in t, in the order of the constants.
func (t Trait) Names() []string {
	var out []string
	for i, n := range traitNames {
		if t&(1<<i) != 0 {
			out = append(out, n)
		}
	}
	return out
}

// Object is one thing that a request touches.
type Object struct {
	Kind string `json:"kind"` // "table", "view", "catalog", "function", "setting", "column", "role", "file", "server", "schema", ...
	Name string `json:"name"` // full path, dot separated, as resolved: "public.customers"
	Verb Verb   `json:"-"`
}

// MaskUse says how a request uses masked columns.
type MaskUse uint8

// How a request may use masked columns, from harmless to refused.
const (
	MaskNone  MaskUse = iota // no masked column is touched
	MaskPlain                // masked columns come back as plain output columns only
	MaskOther                // any other use (predicate, expression, copy elsewhere): refused
)

// Effect is what a request would do, in one vocabulary for every protocol.
// It is a value: two requests with equal effects are the same to policy.
type Effect struct {
	Verbs    Verb     // union of the verbs of all objects and statements
	Traits   Trait    //
	Objects  []Object // sorted by kind, name; no duplicates
	Kinds    []string // statement kinds in order of first appearance: "SELECT", "DROP TABLE"
	Complete bool     // false whenever the classifier is not sure
	Refuse   string   // not empty: may never run, whatever the policy says; the reason for people
	Hint     string   // what would be possible instead, if the classifier knows
	Bound    int64    // most rows that a write can touch, when provable; -1 otherwise
	MaskUse  MaskUse
	Masked   []string   // masked columns touched, "schema.table.column", sorted
	Commands [][]string // words of each command that is run, where every one of them is known; nil otherwise
	HTTP     *HTTP      // of a request to an HTTP service; nil otherwise. It is shared: nobody changes it
}

// HTTP is what a request to an HTTP service says, for conditions of a policy.
type HTTP struct {
	Method  string
	Path    string              // decoded
	Query   map[string][]string // decoded; values in order
	Headers map[string]string   // as sent on, names in lower case
	Body    any                 // JSON: nil, bool, int64, float64, string, []any, map[string]any; a form: map[string]any of string or []string; nil for anything else
	Size    int64               // bytes of the body

	Operation string         // operationId in the service's OpenAPI document; "" without one
	Args      map[string]any // its parameters by their types: string, int64, float64, bool, []any of these
}

// ReadOnly reports whether the effect is complete and nothing but reads and
// harmless session settings.
func (e *Effect) ReadOnly() bool {
	return e.Complete && e.Refuse == "" && e.Verbs&^(VerbRead|VerbSession) == 0
}

// Digest is a hash of the whole effect: what an approval binds beside the text,
// since the same text may do something else once the target has changed.
func (e *Effect) Digest() string {
	h := sha256.New()
	plain := *e
	plain.HTTP = nil // %#v would write where it is in memory
	fmt.Fprintf(h, "%#v", plain)
	if e.HTTP != nil {
		fmt.Fprintf(h, "%#v", *e.HTTP) // keys of maps in order
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// Writes reports whether the effect changes data, shape or permissions.
func (e *Effect) Writes() bool { return e.Verbs.Has(VerbWrites) }

// Control is the part that a statement plays in the session's own state.
type Control uint8

// The parts a statement can play.
const (
	ControlNone Control = iota
	ControlBegin
	ControlCommit
	ControlRollback
	ControlSavepoint
	ControlRollbackTo
	ControlRelease
	ControlPrepare    // Name is the prepared statement's
	ControlExecute    // Name is the prepared statement's
	ControlDeallocate // Name, or "" for all
	ControlDeclare    // Name is the cursor's
	ControlFetch      // Name is the cursor's
	ControlClose      // Name is the cursor's, or "" for all
	ControlCopyIn
	ControlCopyOut
	ControlSet
	ControlListen
	ControlDiscard
)

// Column is an output column of a statement.
type Column struct {
	Name   string // as the client sees it
	Source string // "schema.table.column" when it is plainly one column, "" otherwise
	Masked string // name of the masked column whose rule applies, "" when unmasked
}

// Statement is one statement of a request, as the classifier read it.
type Statement struct {
	Kind     string   // "SELECT", "UPDATE", ...
	Text     string   // the statement's own part of the request
	Control  Control  //
	Name     string   // see Control
	ReadOnly bool     // transaction control: BEGIN READ ONLY
	Columns  []Column // output columns when Known
	Known    bool     // Columns are complete and in order
	Returns  bool     // sends rows
	Counted  bool     // the target's own answer counts every row that the statement itself changes
	Effect   Effect   // this statement's own effect
	Inner    *Reading // for ControlPrepare and ControlDeclare: what executing or fetching does
	Format   string   // for COPY: "text", "csv" or "binary"
	Delim    byte     // for COPY: the delimiter
	Null     string   // for COPY: the null marker
	Quote    byte     // for COPY csv
	Escape   byte     // for COPY csv
	Header   bool     // for COPY text and csv
}

// Reading is what a classifier made of one request text. It is immutable and
// may be shared between sessions.
type Reading struct {
	Effect     Effect
	Statements []Statement
	Stateful   bool // depends on session state (prepared names, cursors): not to be cached by text
}
