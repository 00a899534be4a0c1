package e2e

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/doorward/doorward/e2e/sshtest"
)

// TestSSHAnsible has ansible look after a host through doorward, with pipelining:
// its modules then come by standard input, to commands that can be read.
func TestSSHAnsible(t *testing.T) {
	if _, err := exec.LookPath("ansible"); err != nil {
		t.Fatal("ansible is missing: run scripts/setup.sh")
	}
	h := openHost(t, sshtest.Options{}, nil)
	inventory := h.write("inventory", orders+".doorward ansible_python_interpreter=/usr/bin/python3\n", 0o600)
	run := func(args ...string) ended {
		cmd := h.command(h.cert, append([]string{"ansible", "all", "-i", inventory}, args...)...)
		cmd.Env = append(cmd.Env, "ANSIBLE_SSH_ARGS=-F "+h.cert, "ANSIBLE_PIPELINING=True", "ANSIBLE_HOME="+h.dir, "ANSIBLE_LOCAL_TEMP="+h.dir, "ANSIBLE_REMOTE_TEMP="+h.sshd.Home()+"/.ansible", "LC_ALL=C.UTF-8", "HOME="+h.dir)
		return h.run(cmd)
	}
	for _, args := range [][]string{{"-m", "ping"}, {"-m", "command", "-a", "echo by ansible"}, {"-m", "stat", "-a", "path=" + h.sshd.Home()}} {
		e := run(args...)
		if e.status != 0 || !strings.Contains(e.out, orders+".doorward | ") {
			t.Errorf("ansible %s: %+v", strings.Join(args, " "), e)
		}
	}
}
