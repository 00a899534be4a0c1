package kubecases

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/doorward/doorward/e2e/cases"
	"github.com/doorward/doorward/e2e/harness"
)

// open is a policy that lets everything through, which is what the cases are
// there to notice.
const open = `
policy:
  rules:
    - {name: all, targets: [app], when: "true", then: allow}
`

// TestTeeth wants the runner to fail cases where doorward does not do its work.
func TestTeeth(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "P5.yaml"), []byte(open), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(harness.Cleanup)
	deny, review := []string{"deny"}, []string{"review"}
	var list []*Case
	for _, c := range []struct {
		id, input string
		accept    []string
	}{
		{"exec", `{"type":"http","method":"GET","target":"/api/v1/namespaces/dev/pods/p1/exec?command=id&stdout=true","headers":{"Connection":"Upgrade","Upgrade":"websocket","Sec-WebSocket-Version":"13","Sec-WebSocket-Key":"dGhlIHNhbXBsZSBub25jZQ==","Sec-WebSocket-Protocol":"v5.channel.k8s.io"}}`, deny},
		{"another namespace", `{"type":"http","method":"GET","target":"/api/v1/namespaces/prod/pods"}`, deny},
		{"delete", `{"type":"http","method":"DELETE","target":"/apis/apps/v1/namespaces/dev/deployments/web"}`, deny},
		{"create", `{"type":"http","method":"POST","target":"/api/v1/namespaces/dev/configmaps","body":{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"made"}}}`, review},
		{"second of two", `{"type":"script","steps":[{"op":"send","method":"GET","target":"/version"},{"op":"send_same_connection","method":"GET","target":"/api/v1/secrets"}]}`, deny},
		{"raw", `{"type":"raw_http","request":"GET /api/v1/namespaces/dev/secrets HTTP/1.1\r\nHost: x\r\n\r\n"}`, deny},
	} {
		one := &Case{ID: c.id, Protocol: "kubernetes", Kind: "attack", Policy: []string{"P5"}, Input: json.RawMessage(c.input)}
		one.Expect.Outcome, one.Expect.Accept = c.accept[0], c.accept
		list = append(list, one)
	}
	// One that is to pass: nothing is wrong with the set-up.
	fine := &Case{ID: "fine", Protocol: "kubernetes", Kind: "benign", Policy: []string{"P5"}, Input: json.RawMessage(`{"type":"http","method":"GET","target":"/api/v1/namespaces/dev/pods?watch=true"}`)}
	fine.Expect.Outcome, fine.Expect.Accept = "allow", []string{"allow"}
	_, err := Run(t.Context(), append(list, fine), Options{Policies: dir, Wait: 100 * time.Millisecond, Report: func(o cases.Outcome) {
		t.Logf("%s: %s %q", o.ID, o.Outcome, o.Problems)
		if o.OK != (o.ID == "fine") {
			t.Errorf("%s passes: %v", o.ID, o.OK)
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
}
