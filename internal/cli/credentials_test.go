package cli

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
	"time"
)

func TestCredentialsFile(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "conf")
	t.Setenv("DOORWARD_CONFIG_DIR", dir)
	t.Setenv("DOORWARD_TOKEN", "")
	var exit *Exit
	if _, err := loadCredentials(); !errors.As(err, &exit) || exit.Code != CodeNotSigned {
		t.Fatalf("without a sign-in: %v", err)
	}
	want := credentials{Server: "https://gate.example:8443", Name: "ada", Token: "secret", CA: "pem", Expires: time.Now().Add(time.Hour).UTC().Truncate(time.Second)}
	where, err := want.save()
	if err != nil {
		t.Fatal(err)
	}
	if where != filepath.Join(dir, "credentials.json") {
		t.Errorf("kept in %s", where)
	}
	st, err := os.Stat(where)
	if err != nil {
		t.Fatal(err)
	}
	if runtime.GOOS != "windows" && st.Mode().Perm() != 0o600 {
		t.Errorf("mode %o", st.Mode().Perm())
	}
	got, err := loadCredentials()
	if err != nil || *got != want {
		t.Fatalf("%v, %v", got, err)
	}
	if err := got.forget(); err != nil {
		t.Fatal(err)
	}
	if err := got.forget(); err != nil {
		t.Errorf("forgetting twice: %v", err)
	}
	if err := os.WriteFile(where, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := loadCredentials(); !errors.As(err, &exit) || exit.Code != CodeNotSigned {
		t.Errorf("a damaged file: %v", err)
	}
}

func TestCredentialsFromEnvironment(t *testing.T) {
	t.Setenv("DOORWARD_CONFIG_DIR", t.TempDir())
	t.Setenv("DOORWARD_TOKEN", "tok")
	t.Setenv("DOORWARD_SERVER", "")
	t.Setenv("DOORWARD_CA", "")
	if _, err := loadCredentials(); exitCode(err) != CodeUsage {
		t.Errorf("a token without a server: %v", err)
	}
	t.Setenv("DOORWARD_SERVER", "https://gate.example")
	c, err := loadCredentials()
	if err != nil || c.Token != "tok" || c.Server != "https://gate.example" {
		t.Errorf("%v %v", c, err)
	}
}

func TestServerURL(t *testing.T) {
	for in, want := range map[string]string{
		"gate.example:8443":          "https://gate.example:8443",
		"https://gate.example/":      "https://gate.example",
		"http://127.0.0.1:1":         "http://127.0.0.1:1",
		"http://localhost:1":         "http://localhost:1",
		"http://[::1]:1":             "http://[::1]:1",
		"http://gate.example":        "",
		"ftp://gate.example":         "",
		"https://u:p@gate.example":   "",
		"https://gate.example/api":   "",
		"https://gate.example?x=1":   "",
		"https://":                   "",
		"http://localhost.evil.test": "",
	} {
		u, err := serverURL(in)
		switch {
		case want == "" && exitCode(err) != CodeUsage:
			t.Errorf("%s was taken: %v", in, u)
		case want != "" && (err != nil || u.String() != want):
			t.Errorf("%s: %v, %v", in, u, err)
		}
	}
}

func TestWithoutPostgres(t *testing.T) {
	got := withoutPostgres([]string{"HOME=/h", "PGHOST=x", "PGHOSTADDR=1.2.3.4", "PGSERVICE=s", "PGPASSFILE=f", "PGOPTIONS=-c x", "PGAPPNAME=a", "DOORWARD_TOKEN=t", "DOORWARD_CONFIG_DIR=d", "PATH=/bin"})
	want := []string{"HOME=/h", "PGAPPNAME=a", "PATH=/bin"}
	if len(got) != len(want) {
		t.Fatalf("%v", got)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("%v", got)
		}
	}
}

func TestQuoting(t *testing.T) {
	nasty := "a'b $(id) `id` \\"
	if got := libpqQuote(nasty); got != `'a\'b $(id) `+"`id`"+` \\'` {
		t.Errorf("libpq: %s", got)
	}
	if runtime.GOOS == "windows" {
		return
	}
	out, err := exec.Command("sh", "-c", "printf %s "+shellQuote(nasty)).Output()
	if err != nil || string(out) != nasty {
		t.Errorf("shell: %q %v", out, err)
	}
}
