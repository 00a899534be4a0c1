package pgtest

import (
	"os"
	"testing"
	"time"
)

func TestServerLifecycle(t *testing.T) {
	ctx := t.Context()
	s, err := Start(ctx, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Stop()
	pw, err := s.Role(ctx, "someone")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Create(ctx, "tpl", "", "someone", "CREATE TABLE t(a int); INSERT INTO t VALUES (7)"); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	if err := s.Create(ctx, "copy", "tpl", "someone", ""); err != nil {
		t.Fatal(err)
	}
	t.Logf("a copy of the template took %s", time.Since(start))
	if v, err := s.Value(ctx, "copy", "SELECT a FROM t"); v != "7" || err != nil {
		t.Fatalf("SELECT a FROM t = %q, %v", v, err)
	}
	c, err := s.ConnectAs(ctx, "someone", pw, "copy")
	if err != nil {
		t.Fatal(err)
	}
	c.Terminate()
	if _, err := s.ConnectAs(ctx, "someone", pw+"x", "copy"); err == nil {
		t.Error("a wrong password was let in")
	}
	if err := s.Drop(ctx, "copy"); err != nil {
		t.Fatal(err)
	}
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(s.Dir); !os.IsNotExist(err) {
		t.Errorf("the folder is still there: %v", err)
	}
}
