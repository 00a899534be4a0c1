package api

import (
	"time"

	"github.com/doorward/doorward"
	"github.com/doorward/doorward/internal/replay"
)

// Me is who the caller is.
type Me struct {
	doorward.Identity
	Admin bool   `json:"admin" doc:"sees everybody's reviews, sessions and runs, and may end access"`
	CSRF  string `json:"csrf,omitempty" doc:"value for the X-Doorward-CSRF header, when signed in by cookie"`
}

// Provider is a way to sign in.
type Provider struct {
	Name string `json:"name"`
	Kind string `json:"kind" enum:"local,oidc,workload"`
	URL  string `json:"url,omitempty" doc:"where a browser goes to sign in with this provider"`
}

// Secret is a password on its way in. It is never printed.
type Secret string

// String hides the secret.
func (Secret) String() string { return "[secret]" }

// GoString hides the secret.
func (Secret) GoString() string { return "[secret]" }

// LogValue hides the secret.
func (Secret) LogValue() string { return "[secret]" }

// Login is what a local sign-in needs.
type Login struct {
	Provider string `json:"provider,omitempty" maxLength:"100" doc:"name of a local provider; may be left out when there is only one"`
	User     string `json:"user" minLength:"1" maxLength:"256"`
	Password Secret `json:"password" minLength:"1" maxLength:"1024"`
}

// SignedIn answers a sign-in by cookie.
type SignedIn struct {
	Me   Me     `json:"me"`
	CSRF string `json:"csrf"`
}

// Token answers a sign-in that asks for a bearer token.
type Token struct {
	Token   string    `json:"token"`
	Expires time.Time `json:"expires"`
	Me      Me        `json:"me"`
}

// Review is a review, and what the caller may do about it.
type Review struct {
	doorward.Review
	Cut     bool   `json:"cut,omitempty" doc:"in a list: statement or parameters are longer than shown; ask for the review alone"`
	Mine    bool   `json:"mine" doc:"the caller, or an agent of theirs, asked for it"`
	CanVote bool   `json:"can_vote"`
	WhyNot  string `json:"why_not,omitempty" doc:"why the caller cannot vote"`
}

// Ballot is an answer to a review.
type Ballot struct {
	Approve bool   `json:"approve"`
	Comment string `json:"comment,omitempty" maxLength:"2000"`
	MaxRows int64  `json:"max_rows,omitempty" minimum:"0" doc:"approve as long as at most this many rows change"`
}

// Withdrawal takes a request, or one's yes to it, back.
type Withdrawal struct {
	Reason string `json:"reason,omitempty" maxLength:"2000"`
}

// AccessEnd says whose access ends, and why.
type AccessEnd struct {
	Subject string `json:"subject" minLength:"1" maxLength:"1024" doc:"as in an identity's subject: the provider's name, a colon, and who it is there"`
	Reason  string `json:"reason" minLength:"1" maxLength:"2000" doc:"for the record"`
}

// Session is one row of the session index.
type Session struct {
	ID       string            `json:"id"`
	Identity doorward.Identity `json:"identity"`
	Target   string            `json:"target"`
	Protocol string            `json:"protocol"`
	Remote   string            `json:"remote,omitempty"`
	Started  time.Time         `json:"started"`
	Ended    time.Time         `json:"ended,omitzero"`
	Why      string            `json:"why,omitempty" doc:"why it ended"`
	Live     bool              `json:"live"`
	Requests int64             `json:"requests"`
	Rows     int64             `json:"rows"`
	Bytes    int64             `json:"bytes"`
	Refused  int64             `json:"denied" doc:"requests that were denied or held"`
}

// SessionEvent is sent on the event stream when a session opens or closes.
type SessionEvent struct {
	Session
	Event string `json:"event" enum:"opened,closed"`
}

// LiveSession is a session that is open at the gate now.
type LiveSession struct {
	ID       string
	Identity doorward.Identity
	Target   string
	Protocol string
	Remote   string
	Started  time.Time
	Requests int64
}

// Timeline is a recording, for people.
type Timeline = replay.Timeline

// Entry is one thing that happened in a session.
type Entry = replay.Entry

// TargetInfo is a target as people may know it.
type TargetInfo struct {
	Name     string `json:"name"`
	Protocol string `json:"protocol"`
	Database string `json:"database,omitempty"`
	Host     string `json:"host" doc:"where clients connect: doorward, not the target"`
	Port     int    `json:"port"`
	CAPEM    string `json:"-"`
}

// Connect is what a client needs to reach a target through doorward.
type Connect struct {
	Host     string `json:"host"`
	Port     int    `json:"port"`
	Database string `json:"database" doc:"the name of the target"`
	Protocol string `json:"protocol"`
	CAPEM    string `json:"ca_pem"`
}

// RunRequest asks for a credential for an agent.
type RunRequest struct {
	Agent   string   `json:"agent" minLength:"1" maxLength:"64" pattern:"^[a-z0-9._-]+$" patternDescription:"small letters, digits, dot, dash and underscore"`
	Task    string   `json:"task,omitempty" maxLength:"500" doc:"why, for reviewers"`
	Targets []string `json:"targets,omitempty" maxItems:"64" doc:"bind the credential to these; empty: all that the person reaches"`
	SSHKey  string   `json:"ssh_public_key,omitempty" maxLength:"4096" doc:"certified for the run, where the gate serves SSH"`
	TTL     int64    `json:"ttl_seconds,omitempty" minimum:"0" maximum:"86400" doc:"0: the server's default"`
}

// Run is a run of an agent.
type Run struct {
	Run     string    `json:"run"`
	Agent   string    `json:"agent"`
	Name    string    `json:"name" doc:"the person"`
	Task    string    `json:"task,omitempty"`
	Targets []string  `json:"targets,omitempty"`
	Started time.Time `json:"started,omitzero"`
	Expires time.Time `json:"expires"`
	Ended   time.Time `json:"ended,omitzero"`
	Live    bool      `json:"live"`
}

// RunStarted is the one answer that carries a run's secret.
type RunStarted struct {
	Run      string     `json:"run"`
	Token    string     `json:"token"`
	Expires  time.Time  `json:"expires"`
	Targets  []string   `json:"targets"`
	Postgres *Endpoint  `json:"postgres,omitempty"`
	SSH      *SSHAccess `json:"ssh,omitempty"`
}

// SSHAccess is what an SSH client needs to reach targets through doorward.
type SSHAccess struct {
	Host        string    `json:"host"`
	Port        int       `json:"port"`
	HostKey     string    `json:"host_key" doc:"doorward's own, as in known_hosts without the name"`
	Authority   string    `json:"authority" doc:"signs the certificates that doorward signs in to hosts with: for TrustedUserCAKeys of hosts whose target says ca: true"`
	Certificate string    `json:"certificate,omitempty" doc:"for the public key that was given, as in id_ed25519-cert.pub"`
	Expires     time.Time `json:"expires,omitzero"`
}

// SSHCertificateRequest asks for a certificate.
type SSHCertificateRequest struct {
	PublicKey string `json:"public_key" minLength:"16" maxLength:"4096" doc:"as in id_ed25519.pub"`
}

// Endpoint is where the clients of one protocol connect.
type Endpoint struct {
	Host  string `json:"host"`
	Port  int    `json:"port"`
	CAPEM string `json:"ca_pem"`
}

// Audit is the state of the ledger.
type Audit struct {
	Size       uint64    `json:"size"`
	Root       string    `json:"root"`
	Checkpoint string    `json:"checkpoint"`
	OK         bool      `json:"ok"`
	Problems   []string  `json:"problems,omitempty"`
	CheckedAt  time.Time `json:"checked_at,omitzero"`
}
