package config

import (
	"strings"
	"testing"
)

// A header that doorward sets must never be one that clients set too: a service
// that takes the first of two would believe the client.
func TestHTTPOwnHeadersAreNotTheClients(t *testing.T) {
	const text = `listen: { http: 127.0.0.1:18443 }
identity:
  providers: [ { name: local, local: { users: [ { name: a, password: { env: A } } ] } } ]
targets:
  orders: { http: { address: "https://orders.internal", WAY } }
policy: { rules: [ { name: r, targets: [orders], when: effect.read_only, then: allow } ] }
`
	for way, want := range map[string]string{
		"user_header: X-Gate-User":                          "",
		"user_header: User-Agent":                           "orders.http.user_header: a client's own user-agent is sent on",
		"user_header: X-User, agent_header: traceparent":    "orders.http.agent_header: a client's own traceparent is sent on",
		"header: { name: X-Request-ID, value: { env: K } }": "orders.http.header: a client's own x-request-id is sent on",
		"header: { name: X-Api-Key, value: { env: K } }":    "",
	} {
		_, err := Parse("doorward.yaml", []byte(strings.Replace(text, "WAY", way, 1)))
		switch {
		case err == nil && want != "":
			t.Errorf("%s: taken", way)
		case err != nil && (want == "" || !strings.Contains(err.Error(), want)):
			t.Errorf("%s: %v", way, err)
		}
	}
}

// Fields are masked in answers of HTTP services alone: a rule about others does
// nothing, and that is told.
func TestFieldsOfOthersAreWarnedOf(t *testing.T) {
	const text = `listen: { http: 127.0.0.1:18443 }
identity:
  providers: [ { name: local, local: { users: [ { name: a, password: { env: A } } ] } } ]
targets:
  orders: { http: { address: "https://orders.internal" } }
  db: { postgres: { address: "db:5432", database: d, user: u } }
policy: { rules: [ { name: r, targets: ["*"], when: effect.read_only, then: allow, limits: { rows: 1 } } ] }
masking: [ { TARGETSfields: ["$.email"], operator: redact } ]
`
	for targets, want := range map[string]bool{"": false, "targets: [orders], ": false, `targets: ["*"], `: false, "targets: [db], ": true} {
		c, err := Parse("doorward.yaml", []byte(strings.Replace(text, "TARGETS", targets, 1)))
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(Problems(c.Warnings()).Error(), "this rule is about none"); got != want {
			t.Errorf("%q: warned %v, want %v", targets, got, want)
		}
	}
}
