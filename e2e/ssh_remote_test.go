package e2e

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os/exec"
	"regexp"
	"testing"
	"time"

	"github.com/doorward/doorward/e2e/harness"
	"github.com/doorward/doorward/e2e/sshtest"
)

// TestSSHRemoteEditor does what VS Code's Remote-SSH does with ssh: one
// connection with a SOCKS proxy (-D) that runs a shell without a terminal, to
// whose input a script comes that starts a server on the host; the editor then
// speaks to the server through the proxy. The editor itself is not run.
func TestSSHRemoteEditor(t *testing.T) {
	for _, allowed := range []bool{true, false} {
		t.Run(fmt.Sprintf("allowed %v", allowed), func(t *testing.T) {
			h := openHost(t, sshtest.Options{}, func(c *harness.Config, _ *sshtest.Server) {
				if allowed {
					c.Rules = append(c.Rules, map[string]any{"name": "editor-server", "targets": []string{"*"}, "when": "effect.kinds.all(k, k == 'forward') && effect.objects.all(o, o.name.startsWith('127.0.0.1:'))", "then": "allow"})
				}
			})
			h.remoteEditor(t, allowed)
		})
	}
}

func (h *hosts) remoteEditor(t *testing.T, allowed bool) {
	if _, err := exec.LookPath("/usr/bin/python3"); err != nil {
		t.Fatal("python3 is missing: run scripts/setup.sh")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	proxy := l.Addr().String()
	_, port, err := net.SplitHostPort(proxy)
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	cmd := h.command(h.cert, "ssh", "-F", h.cert, "-T", "-D", port, "-o", "ConnectTimeout=15", orders+".doorward", "bash")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		in.Close()
		cmd.Process.Kill()
		cmd.Wait()
	}()
	// As the editor's script does: work in the home, start the server, say where
	// it listens between marks, and stay.
	script := `echo 'install: start'
cd "$HOME" && echo served-by-the-host > editor.txt
/usr/bin/python3 -u - <<'PY' &
import http.server
s = http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler)
print("listeningOn==%d==" % s.server_port, flush=True)
s.serve_forever()
PY
trap 'kill %1' EXIT
read -r forever
`
	if _, err := io.WriteString(in, script); err != nil {
		t.Fatal(err)
	}
	found := make(chan string, 1)
	go func() {
		at := regexp.MustCompile(`listeningOn==(\d+)==`)
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			if m := at.FindStringSubmatch(lines.Text()); m != nil {
				found <- m[1]
			}
		}
	}()
	var server string
	select {
	case server = <-found:
	case <-time.After(30 * time.Second):
		t.Fatal("the server on the host does not say where it listens")
	}
	through := &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{Proxy: func(*http.Request) (*url.URL, error) { return url.Parse("socks5h://" + proxy) }}}
	defer through.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for range 3 {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://127.0.0.1:"+server+"/editor.txt", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := through.Do(req)
		if !allowed {
			if err == nil {
				t.Fatalf("what no rule lets through came through: %s", resp.Status)
			}
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || string(b) != "served-by-the-host\n" {
			t.Fatalf("through the editor's proxy: %q, %v", b, err)
		}
	}
}
