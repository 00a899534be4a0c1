package doorward_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/doorward/doorward/internal/config"
)

// parity is what holds for each protocol, and the tests that show it, in the
// order of protocols.
var parity = []struct {
	power string
	tests [4]string
}{
	{"identity", [...]string{"TestBadCredentials", "TestSSHRevoked", "TestKubernetesIdentity", "TestHTTPClients"}},
	{"per-request policy", [...]string{"TestCorpus", "TestSSHCorpus", "TestKubernetesCorpus", "TestHTTPCorpus"}},
	{"approval on the native wire", [...]string{"TestSpine", "TestSSHReviews", "TestKubernetesReviews", "TestHTTPReviews"}},
	{"masking of all that is sent back", [...]string{"TestLeaks", "TestSSHMasking", "TestKubernetesMasking", "TestHTTPMasking"}},
	{"limits: rows, bytes, time, requests", [...]string{"TestLimits", "TestSSHLimits", "TestKubernetesLimits", "TestHTTPLimits"}},
	{"recording and replay", [...]string{"TestSpine", "TestSSHRecord", "TestKubernetesRecord", "TestHTTPRecord"}},
	{"sealed audit", [...]string{"TestKill", "TestSSHRecord", "TestKubernetesRecord", "TestHTTPRecord"}},
	{"live view and kill", [...]string{"TestEndingASession", "TestSSHKill", "TestKubernetesKill", "TestHTTPKill"}},
}

var protocols = [4]string{"Postgres", "SSH", "Kubernetes", "HTTP"}

// TestParityTable makes the README's table from the tests that there are: a
// power whose test is missing is not in the table.
func TestParityTable(t *testing.T) {
	tests := map[string]bool{}
	files, err := filepath.Glob("e2e/*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	decl := regexp.MustCompile(`(?m)^func (Test\w+)\(t \*testing\.T\)`)
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range decl.FindAllStringSubmatch(string(b), -1) {
			tests[m[1]] = true
		}
	}
	var b strings.Builder
	b.WriteString("| | " + strings.Join(protocols[:], " | ") + " |\n|---|---|---|---|---|\n")
	for _, p := range parity {
		b.WriteString("| " + p.power + " |")
		for i, test := range p.tests {
			if !tests[test] {
				t.Errorf("%q has no test for %s: e2e has no %s", p.power, protocols[i], test)
				b.WriteString(" no |")
				continue
			}
			b.WriteString(" yes |")
		}
		b.WriteString("\n")
	}
	readme := readReadme(t)
	_, rest, ok := strings.Cut(readme, "<!-- table: parity (made by TestParityTable) -->\n")
	table, _, ok2 := strings.Cut(rest, "<!-- end -->")
	if !ok || !ok2 || table != b.String() {
		t.Errorf("the table in README.md is\n%s\nand should be\n%s", table, b.String())
	}
}

func readReadme(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// readmeConfig is the configuration that the README shows.
func readmeConfig(t *testing.T) string {
	t.Helper()
	_, rest, ok := strings.Cut(readReadme(t), "<!-- test: config -->\n```yaml\n")
	text, _, ok2 := strings.Cut(rest, "```")
	if !ok || !ok2 {
		t.Fatal("README.md shows no configuration")
	}
	return text
}

func TestTheReadmesConfigurationIsRight(t *testing.T) {
	file := filepath.Join(t.TempDir(), "doorward.yaml")
	if err := os.WriteFile(file, []byte(readmeConfig(t)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := config.Load(file); err != nil {
		t.Fatal(err)
	}
}

func TestTheReadmesLinksLeadSomewhere(t *testing.T) {
	for _, m := range regexp.MustCompile(`\]\(([^)#:]+)\)`).FindAllStringSubmatch(readReadme(t), -1) {
		if _, err := os.Stat(m[1]); err != nil {
			t.Errorf("%s: %v", m[1], err)
		}
	}
}

// TestTheReadmesMakeTargetsExist holds the two commands.
func TestTheReadmesMakeTargetsExist(t *testing.T) {
	for _, target := range []string{"demo", "check", "quick", "bench"} {
		if out, err := exec.Command("make", "-n", target).CombinedOutput(); err != nil {
			t.Errorf("make %s: %v\n%s", target, err, out)
		}
	}
}
