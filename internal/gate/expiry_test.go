package gate

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/doorward/doorward"
)

// expiring lets in for a moment.
type expiring struct{}

func (expiring) Identify(context.Context, doorward.Credential) (doorward.Identity, error) {
	return doorward.Identity{Subject: "p:1", Name: "ada", Groups: []string{"engineers"}, Credential: "c1", Expires: time.Now().Add(50 * time.Millisecond)}, nil
}

// TestSessionEndsWithItsCredential ends a session that asks for nothing.
func TestSessionEndsWithItsCredential(t *testing.T) {
	h := newHouse(t)
	h.gate.opt.Identifier = expiring{}
	killed := make(chan struct{})
	hello := hello()
	hello.Kill = func() { close(killed) }
	s, err := h.gate.Open(t.Context(), hello, h.client)
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-killed:
	case <-time.After(5 * time.Second):
		t.Fatal("the session goes on without a credential")
	}
	if err := s.Err(); err == nil || !strings.Contains(err.Error(), "expired") {
		t.Fatalf("it ended because of %v", err)
	}
	s.Close(nil)
}
