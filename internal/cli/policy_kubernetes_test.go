package cli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const clusterConfig = `
listen: { console: 127.0.0.1:0 }
store: sqlite:///var/lib/doorward/state.db
recordings: file:///var/lib/doorward/tapes
identity:
  providers:
    - { name: local, local: { users: [ { name: ada, password: { value: secret-secret } } ] } }
targets:
  cluster:
    kubernetes: { address: "127.0.0.1:6443", token: { value: t }, groups: [good.io] }
  db:
    postgres: { address: 127.0.0.1:1, database: a, user: b, password: { value: c }, tls: off }
policy:
  rules:
    - { name: discovery, targets: [cluster], when: "effect.kinds == ['discovery']", then: allow }
    - { name: look, targets: [cluster], when: effect.read_only, objects: ["pods:dev/*", "things.good.io:dev/*"], then: allow }
    - { name: change, targets: [cluster], when: effect.writes && !effect.scale_to_zero, objects: ["deployments.apps:dev/*", "deployments.apps/scale:dev/*"], then: review, reviewers: { groups: [sre] } }
    - { name: run, targets: [cluster], commands: [uptime], objects: ["pods/exec:dev/*", "command:*"], then: allow }
    - { name: collections, targets: [cluster], when: effect.delete_collection, then: deny, hint: Name the objects. }
tests:
  - { target: cluster, as: { user: ada }, kubernetes: GET /api/v1/namespaces/dev/pods, expect: allow, rule: look }
  - target: cluster
    as: { user: ada }
    kubernetes: |
      PATCH /apis/apps/v1/namespaces/dev/deployments/web
      Content-Type: application/merge-patch+json

      {"spec": {"replicas": 3}}
    expect: review
  - target: cluster
    as: { user: ada }
    kubernetes: |
      PUT /apis/apps/v1/namespaces/dev/deployments/web/scale
      {"spec": {"replicas": 0}}
    expect: deny
  - { target: cluster, as: { user: ada }, kubernetes: "GET /api/v1/namespaces/dev/pods\nImpersonate-User: admin\n", expect: deny }
`

func TestPolicyKubernetes(t *testing.T) {
	config := filepath.Join(t.TempDir(), "doorward.yaml")
	if err := os.WriteFile(config, []byte(clusterConfig), 0o600); err != nil {
		t.Fatal(err)
	}
	for line, want := range map[string]string{
		`{"method": "GET", "target": "/api/v1/namespaces/dev/pods?limit=500", "headers": {"Accept": "application/json"}}`:                                          "allow look",
		`{"method": "GET", "target": "/api/v1/namespaces/prod/pods"}`:                                                                                              "deny ",
		`{"method": "GET", "target": "/api/v1/namespaces/dev/pods", "headers": {"Impersonate-User": "admin"}}`:                                                     "deny  another user's",
		`{"method": "GET", "target": "/api/v1/namespaces/dev/%73ecrets"}`:                                                                                          "deny  percent-encoded",
		`{"method": "GET", "target": "/version"}`:                                                                                                                  "allow discovery",
		`{"method": "GET", "target": "/apis/good.io/v1/namespaces/dev/things"}`:                                                                                    "allow look",
		`{"method": "GET", "target": "/apis/evil.io/v1/namespaces/dev/things"}`:                                                                                    "deny  cannot tell",
		`{"method": "PATCH", "target": "/apis/apps/v1/namespaces/dev/deployments/web", "headers": {"Content-Type": "application/merge-patch+json"}, "body": "{}"}`: "review change",
		`{"method": "PATCH", "target": "/apis/apps/v1/namespaces/dev/deployments/web", "headers": {"content-type": ["application/merge-patch+json"]}, "body": {}}`: "review change",
		`{"method": "PUT", "target": "/apis/apps/v1/namespaces/dev/deployments/web/scale", "body": "{\"spec\":{\"replicas\":0}}"}`:                                 "deny ",
		`{"method": "DELETE", "target": "/apis/apps/v1/namespaces/dev/deployments"}`:                                                                               "deny collections",
		`{"method": "POST", "target": "/api/v1/namespaces/dev/pods/p/exec?command=uptime&stdin=true"}`:                                                             "allow run",
		`{"method": "POST", "target": "/api/v1/namespaces/dev/pods/p/exec?command=uptime&tty=true"}`:                                                               "deny ",
		`{"method": "POST", "target": "/api/v1/namespaces/dev/pods/p/exec?command=sh&command=-c&command=uptime"}`:                                                  "deny ",
		`{"method": "POST", "target": "/api/v1/namespaces/prod/pods/p/exec?command=uptime"}`:                                                                       "deny ",
		`{"method": "GET", "target": "/api/v1/namespaces/dev/pods", "headers": {"Accept": null}}`:                                                                  "deny  not a text",
		`{"method": "GET", "target": "/api/v1/namespaces/dev/pods", "header": {}}`:                                                                                 "deny  unknown field",
		`{"method": "GET", "target": "/api/v1/namespaces/dev/pods", "body": null}`:                                                                                 "allow look",
		`{}`:    "deny  not a path",
		`null`:  "deny  not a path",
		`"GET"`: "deny  not a request",
	} {
		stdout, stderr, code := policyRun(t, `{"id": 1, "kubernetes": `+line+"}\n", "policy", "eval", "--config", config, "--target", "cluster", "--user", "ada")
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
	for target, line := range map[string]string{"db": `{"kubernetes": {"method": "GET", "target": "/version"}}`, "cluster": `{"sql": "SELECT 1"}`} {
		stdout, _, _ := policyRun(t, line, "policy", "eval", "--config", config, "--target", target, "--user", "ada")
		if !strings.Contains(stdout, `"deny"`) || !strings.Contains(stdout, "does not speak") {
			t.Errorf("%s on %s: %s", line, target, stdout)
		}
	}
	for _, line := range []string{`{"ssh": {"exec": "x"}, "kubernetes": {}}`, `{"sql": "x", "kubernetes": {}}`, `{"kubernetes": {}, "mcp": {}}`} {
		stdout, _, _ := policyRun(t, line, "policy", "eval", "--config", config, "--target", "cluster", "--user", "ada")
		if !strings.Contains(stdout, "two requests") {
			t.Errorf("%s: %s", line, stdout)
		}
	}
	stdout, stderr, code := policyRun(t, "", "policy", "test", "--config", config)
	if code != 0 || !strings.Contains(stdout, "4 cases") {
		t.Errorf("policy test: %d %s%s", code, stdout, stderr)
	}
	for good, wrong := range map[string]string{
		"kubernetes: GET /api/v1/namespaces/dev/pods, expect: allow, rule: look": "kubernetes: GET, expect: allow",
		"kubernetes: GET /api/v1/namespaces/dev/pods,":                           "kubernetes: GET /version, ssh: exec uptime,",
		"kubernetes: GET /api/v1/namespaces/dev/pods, ":                          "sql: '', ",
	} {
		if err := os.WriteFile(config, []byte(strings.Replace(clusterConfig, good, wrong, 1)), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, stderr, code := policyRun(t, "", "policy", "check", "--config", config); code == 0 || !strings.Contains(stderr, "tests[0]") {
			t.Errorf("%s: %d %s", wrong, code, stderr)
		}
	}
}
