package config

import (
	"time"

	"github.com/doorward/doorward/internal/mask"
	"github.com/doorward/doorward/internal/policy"
)

// Config is the whole configuration, checked and with its defaults filled in.
type Config struct {
	Listen     Listen            `yaml:"listen,omitempty"`
	Store      string            `yaml:"store,omitempty"`      // sqlite:///path/state.db
	Recordings string            `yaml:"recordings,omitempty"` // file:///path, the folder of the tapes; default: tapes beside the store
	Ledger     string            `yaml:"ledger,omitempty"`     // folder of the ledger; default: ledger beside the store
	TLS        TLS               `yaml:"tls,omitempty"`
	Identity   Identity          `yaml:"identity,omitempty"`
	Review     Review            `yaml:"review,omitempty"`
	Record     Record            `yaml:"record,omitempty"`
	Targets    map[string]Target `yaml:"targets,omitempty"`
	Policy     policy.Document   `yaml:"policy,omitempty"`
	Masking    []mask.Rule       `yaml:"masking,omitempty"`
	Tests      []Test            `yaml:"tests,omitempty"`  // cases for `doorward policy test`
	Schema     string            `yaml:"schema,omitempty"` // SQL file that tests resolve names by, relative to this file

	raw      *Config           // as read, without defaults: what Merge works on
	where    index             // where each path was written
	files    []string          // what it was read from
	compiled *policy.Policy    // of Policy
	unset    map[string]string // path → environment variable that has no value
}

// Listen says where doorward accepts connections.
type Listen struct {
	Console  string `yaml:"console,omitempty"`  // browser and API; default 127.0.0.1:8443
	Postgres string `yaml:"postgres,omitempty"` // default 127.0.0.1:15432
	SSH      string `yaml:"ssh,omitempty"`      // default 127.0.0.1:12222 where there is an SSH target
	// Kubernetes is the address for kubectl and other clients of clusters;
	// default 127.0.0.1:16443 where there is a Kubernetes target.
	Kubernetes string `yaml:"kubernetes,omitempty"`
	// HTTP is the address for clients of internal services; default
	// 127.0.0.1:18443 where there is an HTTP target.
	HTTP string `yaml:"http,omitempty"`

	Host string `yaml:"host,omitempty"` // name by which clients reach doorward; default: from the listeners

	// PlaintextOnLoopback accepts credentials without TLS. It is refused
	// unless every listener is on a loopback address.
	PlaintextOnLoopback bool `yaml:"plaintext_on_loopback,omitempty"`
}

// TLS is the certificate of the listeners. Empty: doorward makes a CA of its
// own in the state folder, and `doorward connect` trusts it.
type TLS struct {
	Cert string `yaml:"cert,omitempty"` // PEM file, leaf first
	Key  string `yaml:"key,omitempty"`  // PEM file
}

// Identity says who vouches for whom.
type Identity struct {
	Providers []Provider    `yaml:"providers,omitempty"`
	TokenTTL  time.Duration `yaml:"token_ttl,omitempty"` // life of a person's credential; default 12h
	RunTTL    time.Duration `yaml:"run_ttl,omitempty"`   // most that an agent's credential lives; default 8h
	Admins    []string      `yaml:"admins,omitempty"`    // groups whose people see everything and may revoke; default doorward-admins
}

// Provider is one source of identities: exactly one of its kinds is set.
type Provider struct {
	Name     string    `yaml:"name"`
	OIDC     *OIDC     `yaml:"oidc,omitempty"`
	Workload *Workload `yaml:"workload,omitempty"`
	Local    *Local    `yaml:"local,omitempty"`
}

// OIDC is an OpenID Connect issuer for people.
type OIDC struct {
	Issuer       string   `yaml:"issuer"`
	ClientID     string   `yaml:"client_id"`
	ClientSecret Secret   `yaml:"client_secret,omitempty"`
	GroupsClaim  string   `yaml:"groups_claim,omitempty"` // default groups
	NameClaim    string   `yaml:"name_claim,omitempty"`   // default email
	Audiences    []string `yaml:"audiences,omitempty"`    // accepted in bearer tokens; default: client_id alone
	Scopes       []string `yaml:"scopes,omitempty"`       // default openid, email, profile
	CA           string   `yaml:"ca,omitempty"`           // PEM file to trust for the issuer; default: the system's
}

// Workload is an issuer of tokens for CI jobs and pods.
type Workload struct {
	Issuer   string   `yaml:"issuer"`
	Audience string   `yaml:"audience"`
	Subject  string   `yaml:"subject,omitempty"` // claim that names the workload; default claims.sub
	Groups   []string `yaml:"groups,omitempty"`  // groups that each of its workloads has
	CA       string   `yaml:"ca,omitempty"`

	// Require are claims that must have exactly this value. An issuer that
	// serves everybody (a public CI) gives any audience to anyone who asks.
	Require map[string]string `yaml:"require,omitempty"`
}

// Local is a list of people with passwords, for development and the demo.
type Local struct {
	Users []LocalUser `yaml:"users"`
}

// LocalUser is one person of a local provider.
type LocalUser struct {
	Name     string   `yaml:"name"`
	Password Secret   `yaml:"password"`
	Groups   []string `yaml:"groups,omitempty"`
}

// Review says how requests wait for people.
type Review struct {
	Wait   time.Duration `yaml:"wait,omitempty"`   // how long a client waits on the wire; default 45s
	Expiry time.Duration `yaml:"expiry,omitempty"` // how long a review lives; default 1h
	URL    string        `yaml:"url,omitempty"`    // address of the console for people; default from listen.console
}

// Record bounds what tapes keep.
type Record struct {
	ReplyBytes   policy.Size `yaml:"reply_bytes,omitempty"`   // of each reply; default 256KiB
	SessionBytes policy.Size `yaml:"session_bytes,omitempty"` // of each session; default 64MiB
}

// Target is one production system: exactly one of its protocols is set.
type Target struct {
	Postgres *PostgresTarget `yaml:"postgres,omitempty"`
	SSH      *SSHTarget      `yaml:"ssh,omitempty"`

	Kubernetes *KubernetesTarget `yaml:"kubernetes,omitempty"`
	HTTP       *HTTPTarget       `yaml:"http,omitempty"`
}

// Protocol is the name of the target's protocol.
func (t Target) Protocol() string {
	switch {
	case t.Postgres != nil:
		return "postgres"
	case t.SSH != nil:
		return "ssh"
	case t.Kubernetes != nil:
		return "kubernetes"
	case t.HTTP != nil:
		return "http"
	}
	return ""
}

// PostgresTarget is a PostgreSQL server. Address, Database and User may be
// written env:NAME: the environment variable's value is taken.
type PostgresTarget struct {
	Address        string   `yaml:"address"`                   // host:port
	Database       string   `yaml:"database"`                  //
	User           string   `yaml:"user"`                      // the account that doorward uses; clients never see it
	Password       Secret   `yaml:"password,omitempty"`        //
	TLS            string   `yaml:"tls,omitempty"`             // verify-full (default), verify-ca, require, off
	CA             string   `yaml:"ca,omitempty"`              // PEM file; default: the system's
	ClientCert     string   `yaml:"client_cert,omitempty"`     // PEM file
	ClientKey      string   `yaml:"client_key,omitempty"`      // PEM file
	Functions      []string `yaml:"functions,omitempty"`       // own functions that are free of side effects
	MaxConnections int      `yaml:"max_connections,omitempty"` // default 100
}

// Test is one case of `doorward policy test`.
type Test struct {
	Name   string  `yaml:"name,omitempty"`
	Target string  `yaml:"target"`
	As     TestWho `yaml:"as,omitempty"`
	SQL    string  `yaml:"sql,omitempty"` // for a target that speaks SQL
	SSH    string  `yaml:"ssh,omitempty"` // for a host: the request as a text, such as "exec uptime"
	// Kubernetes is the request to a cluster's API server, as HTTP writes it:
	// "GET /api/v1/namespaces/dev/pods", then headers, an empty line, a body.
	Kubernetes string `yaml:"kubernetes,omitempty"`
	// HTTP is the request to a service in the same form: "GET /orders/17".
	HTTP string `yaml:"http,omitempty"`

	Expect string   `yaml:"expect"`          // allow, review or deny
	Rule   string   `yaml:"rule,omitempty"`  // the rule that has to decide
	Masks  []string `yaml:"masks,omitempty"` // masked columns that have to be touched, all of them
}

// TestWho is who asks in a Test.
type TestWho struct {
	User     string   `yaml:"user,omitempty"`
	Groups   []string `yaml:"groups,omitempty"`
	Agent    string   `yaml:"agent,omitempty"`
	Workload bool     `yaml:"workload,omitempty"`
	Provider string   `yaml:"provider,omitempty"`
}

// Defaults of what may be left out.
const (
	DefaultConsole        = "127.0.0.1:8443"
	DefaultPostgres       = "127.0.0.1:15432"
	DefaultStore          = "sqlite:///var/lib/doorward/state.db"
	DefaultReviewWait     = 45 * time.Second
	DefaultReviewExpiry   = time.Hour
	DefaultTokenTTL       = 12 * time.Hour
	DefaultRunTTL         = 8 * time.Hour
	DefaultAdmins         = "doorward-admins"
	DefaultReplyBytes     = policy.Size(256 << 10)
	DefaultSessionBytes   = policy.Size(64 << 20)
	DefaultMaxConnections = 100
)
