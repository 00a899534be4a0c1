package e2e

import (
	"context"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/doorward/doorward/e2e/harness"
	"github.com/doorward/doorward/e2e/pgtest"
)

// TestConsole has a reviewer work in a real browser: sign in, see a request
// appear live, approve it, look at the session's recording.
func TestConsole(t *testing.T) {
	p := open(t, pgtest.Options{}, func(c *harness.Config) {
		c.Wait = 40 * time.Second
		// The reviewer also owns the platform: she sees other people's sessions.
		c.Users = append(c.Users, harness.User{Name: "root", Password: "root-password-0123456789", Groups: []string{"dba", "doorward-admins"}})
	})
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	out := t.TempDir()
	cmd := exec.CommandContext(ctx, "node", filepath.Join(root(t), "web/e2e/console.mjs"))
	cmd.Env = append(p.env(p.agent("ada")),
		"DOORWARD_URL="+p.gate.Console, "DOORWARD_USER=root", "DOORWARD_PASSWORD=root-password-0123456789",
		"DOORWARD_APPROVE_REVIEW=1", "DOORWARD_EXPECT_MASKED=1", "DOORWARD_SECRETS=person7@shop.example", "OUT="+out,
		`DOORWARD_TRIGGER=psql -X -v ON_ERROR_STOP=1 -c "SELECT id, name, email FROM customers WHERE id = 7" -c "UPDATE orders SET status = 'shipped' WHERE id = 7"`)
	b, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("the console: %v\n%s", err, b)
	} else {
		t.Logf("%s", b)
	}
	if v := p.value("SELECT status FROM orders WHERE id=7"); v != "shipped" {
		t.Errorf("the approved update did not run: status is %s", v)
	}
}
