package cli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const serviceConfig = `
listen: { console: 127.0.0.1:0 }
store: sqlite:///var/lib/doorward/state.db
recordings: file:///var/lib/doorward/tapes
identity:
  providers:
    - { name: local, local: { users: [ { name: ada, password: { value: secret-secret } } ] } }
targets:
  orders:
    http: { address: "http://127.0.0.1:8080", headers: [x-team] }
  db:
    postgres: { address: 127.0.0.1:1, database: a, user: b, password: { value: c }, tls: off }
policy:
  rules:
    - { name: look, targets: [orders], objects: ["path:GET /api/v1/orders", "path:GET /api/v1/orders/*"], then: allow }
    - { name: team, targets: [orders], when: "http.headers['x-team'] == 'payments'", objects: ["path:GET /api/v1/teams"], then: allow }
    - { name: small, targets: [orders], when: "http.body.amount <= 100 && http.query['dry'] == ['1']", objects: ["path:POST /api/v1/refunds"], then: allow }
    - { name: ask, targets: [orders], objects: ["path:POST /api/v1/orders"], then: review, incomplete: true, reviewers: { groups: [sre] } }
tests:
  - { target: orders, as: { user: ada }, http: GET /api/v1/orders/17, expect: allow, rule: look }
  - target: orders
    as: { user: ada }
    http: |
      POST /api/v1/refunds?dry=1
      {"amount": 100}
    expect: allow
  - target: orders
    as: { user: ada }
    http: |
      POST /api/v1/orders
      Content-Type: application/x-www-form-urlencoded

      item=a&qty=1
    expect: review
  - { target: orders, as: { user: ada }, http: "GET /api/v1/orders/../../admin", expect: deny }
`

func TestPolicyHTTP(t *testing.T) {
	config := filepath.Join(t.TempDir(), "doorward.yaml")
	if err := os.WriteFile(config, []byte(serviceConfig), 0o600); err != nil {
		t.Fatal(err)
	}
	const json1 = `"headers": {"Content-Type": "application/json"}, "body": `
	for line, want := range map[string]string{
		`{"method": "GET", "target": "/api/v1/orders?limit=5", "headers": {"Accept": "application/json"}}`:                          "allow look",
		`{"method": "GET", "target": "/api/v1/orders/%31%37"}`:                                                                      "allow look",
		`{"method": "GET", "target": "/api/v1/orders-admin/secret"}`:                                                                "deny ",
		`{"method": "GET", "target": "/ADMIN/users"}`:                                                                               "deny ",
		`{"method": "GET", "target": "/api/v1/orders/%2e%2e/admin"}`:                                                                "deny  segment",
		`{"method": "delete", "target": "/api/v1/orders/1"}`:                                                                        "deny  method",
		`{"method": "GET", "target": "/api/v1/teams", "headers": {"X-Team": "payments"}}`:                                           "allow team",
		`{"method": "GET", "target": "/api/v1/teams", "headers": {"X_Team": "payments"}}`:                                           "deny team could not be evaluated",
		`{"method": "GET", "target": "/api/v1/teams", "headers": {"X-Team": ["payments", "admin"]}}`:                                "deny  comes twice",
		`{"method": "POST", "target": "/api/v1/refunds?dry=1", ` + json1 + `"{\"amount\": 100}"}`:                                   "allow small",
		`{"method": "POST", "target": "/api/v1/refunds?dry=1", ` + json1 + `"{\"amount\": 101}"}`:                                   "deny ",
		`{"method": "POST", "target": "/api/v1/refunds?dry=1&dry=0", ` + json1 + `"{\"amount\": 100}"}`:                             "deny ",
		`{"method": "POST", "target": "/api/v1/refunds?dry=1&Dry=0", ` + json1 + `"{\"amount\": 100}"}`:                             "deny  cannot tell",
		`{"method": "POST", "target": "/api/v1/refunds?dry=1", ` + json1 + `"{\"amount\": 1, \"Amount\": 1000}"}`:                   "deny  cannot tell",
		`{"method": "POST", "target": "/api/v1/refunds?dry=1", ` + json1 + `"{\"amount\": 1, \"amount\": 1000}"}`:                   "deny  twice",
		`{"method": "POST", "target": "/api/v1/refunds?dry=1", ` + json1 + `"{}"}`:                                                  "deny small could not be evaluated",
		`{"method": "POST", "target": "/api/v1/refunds?dry=1", ` + json1 + `"{\"amount\": -12345678901234567890}"}`:                 "deny  cannot tell",
		`{"method": "POST", "target": "/api/v1/orders", "headers": {"Content-Type": "text/plain"}, "body": "{\"cancel\":\"all\""}`:  "review ask",
		`{"method": "POST", "target": "/api/v1/orders", "headers": {"Content-Type": "text/plain"}, "body": "{\"cancel\":\"all\"}"}`: "review ask",
		`{"method": "POST", "target": "/api/v1/orders", "body": "x"}`:                                                               "deny  content type",
		`{"method": "POST", "target": "/api/v1/orders"}`:                                                                            "review ask",
		`{"method": "GET", "target": "/api/v1/orders", "headers": {"Accept": null}}`:                                                "deny  not a text",
		`{"method": "GET", "target": "/api/v1/orders", "header": {}}`:                                                               "deny  unknown field",
		`{"method": "GET", "target": "/api/v1/orders", "body": {}}`:                                                                 "deny  not a request",
		`{}`:    "deny  method",
		`null`:  "deny  method",
		`"GET"`: "deny  not a request",
	} {
		stdout, stderr, code := policyRun(t, `{"id": 1, "http": `+line+"}\n", "policy", "eval", "--config", config, "--target", "orders", "--user", "ada")
		var a policyAnswer
		if err := json.Unmarshal([]byte(stdout), &a); code != 0 || err != nil {
			t.Fatalf("%s: exit code %d: %s%s", line, code, stdout, stderr)
		}
		wantDecision, rest, _ := strings.Cut(want, " ")
		rule, reason, _ := strings.Cut(rest, " ")
		if a.Decision != wantDecision || a.Rule != rule || !strings.Contains(a.Reason, reason) {
			t.Errorf("%s: %s", line, stdout)
		}
	}
	for target, line := range map[string]string{"db": `{"http": {"method": "GET", "target": "/"}}`, "orders": `{"sql": "SELECT 1"}`} {
		stdout, _, _ := policyRun(t, line, "policy", "eval", "--config", config, "--target", target, "--user", "ada")
		if !strings.Contains(stdout, `"deny"`) || !strings.Contains(stdout, "does not speak") {
			t.Errorf("%s on %s: %s", line, target, stdout)
		}
	}
	for _, line := range []string{`{"ssh": {"exec": "x"}, "http": {}}`, `{"sql": "x", "http": {}}`, `{"kubernetes": {}, "http": {}}`, `{"http": {}, "mcp": {}}`} {
		stdout, _, _ := policyRun(t, line, "policy", "eval", "--config", config, "--target", "orders", "--user", "ada")
		if !strings.Contains(stdout, "two requests") {
			t.Errorf("%s: %s", line, stdout)
		}
	}
	stdout, stderr, code := policyRun(t, "", "policy", "test", "--config", config)
	if code != 0 || !strings.Contains(stdout, "4 cases") {
		t.Errorf("policy test: %d %s%s", code, stdout, stderr)
	}
	for good, wrong := range map[string]string{
		"http: GET /api/v1/orders/17, expect: allow, rule: look": "http: GET, expect: allow",
		"http: GET /api/v1/orders/17,":                           "http: GET /, ssh: exec uptime,",
		"http: GET /api/v1/orders/17, ":                          "sql: '', ",
	} {
		if err := os.WriteFile(config, []byte(strings.Replace(serviceConfig, good, wrong, 1)), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, stderr, code := policyRun(t, "", "policy", "check", "--config", config); code == 0 || !strings.Contains(stderr, "tests[0]") {
			t.Errorf("%s: %d %s", wrong, code, stderr)
		}
	}
}
