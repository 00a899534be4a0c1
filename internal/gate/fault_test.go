package gate

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/doorward/doorward"
)

var errDisk = errors.New("no space left on device")

// TestAFaultOfAnyPortLetsNothingThrough breaks each port in each way before a
// request, and holds that there is no permit and that the client saw no data.
func TestAFaultOfAnyPortLetsNothingThrough(t *testing.T) {
	faults := map[string]func(*house, fault){
		"ledger append":  func(h *house, f fault) { h.ledger.append = f },
		"ledger wait":    func(h *house, f fault) { h.ledger.wait = f },
		"recorder write": func(h *house, f fault) { f.hang = false; f.err = errDisk; h.recorder.write = f },
		"review file":    func(h *house, f fault) { h.reviewer.file = f },
		"review redeem":  func(h *house, f fault) { h.reviewer.redeem = f },
	}
	for name, set := range faults {
		for _, f := range []fault{{err: errDisk}, {hang: true}} {
			h := newHouse(t)
			s := h.open(t)
			set(h, f)
			ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
			p, err := h.try(ctx, s, "UPDATE t")
			cancel()
			h.mend() // so that the session can be closed in order
			if p != nil || err == nil {
				t.Errorf("%s %+v: a permit came out", name, f)
			}
			if strings.Contains(errText(err), "no space") {
				t.Errorf("%s: the client is told of the inside: %v", name, err)
			}
			if len(h.client.got) != 0 {
				t.Errorf("%s: the client was sent %q", name, h.client.got)
			}
		}
	}
}

func errText(err error) string {
	var d *doorward.Denial
	if errors.As(err, &d) {
		return d.Error()
	}
	return ""
}

// TestAReadIsNotReleasedBeforeItsIntentIsDurable lets the read go upstream
// beside the fsync and breaks the fsync: nothing of the answer may pass.
func TestAReadIsNotReleasedBeforeItsIntentIsDurable(t *testing.T) {
	h := newHouse(t)
	s := h.open(t)
	p := h.ask(t, s, "SELECT 1")
	h.ledger.wait.err = errDisk
	if err := p.Reply().Release([]byte("rows")); err == nil {
		t.Fatal("released")
	}
	if len(h.client.got) != 0 {
		t.Fatalf("the client was sent %q", h.client.got)
	}
	if s.Err() == nil {
		t.Fatal("the session goes on although the ledger failed")
	}
}

// TestAWriteIsNotPermittedBeforeItsIntentIsDurable is the same for everything
// that is not a read: not even the permit exists.
func TestAWriteIsNotPermittedBeforeItsIntentIsDurable(t *testing.T) {
	h := newHouse(t)
	s := h.open(t)
	h.ledger.wait.err = errDisk
	if p, err := h.try(t.Context(), s, "UPDATE t"); p != nil || err == nil {
		t.Fatalf("got %v, %v", p, err)
	}
}

// TestARecorderThatFailsStopsTheStream breaks the tape between two releases.
func TestARecorderThatFailsStopsTheStream(t *testing.T) {
	h := newHouse(t)
	s := h.open(t)
	r := h.ask(t, s, "SELECT 1").Reply()
	if err := r.Release([]byte("one")); err != nil {
		t.Fatal(err)
	}
	h.recorder.write.err = errDisk
	if err := r.Release([]byte("two")); err == nil {
		t.Fatal("released what was not recorded")
	}
	if string(h.client.got) != "one" {
		t.Fatalf("the client was sent %q", h.client.got)
	}
	if _, err := h.try(t.Context(), s, "SELECT 1"); err == nil {
		t.Fatal("the session goes on without a recording")
	}
}

func TestNoSessionWithoutItsRecord(t *testing.T) {
	for name, set := range map[string]func(*house){
		"index":    func(h *house) { h.registry.begin.err = errDisk },
		"ledger":   func(h *house) { h.ledger.wait.err = errDisk },
		"recorder": func(h *house) { h.recorder.open.err = errDisk },
	} {
		h := newHouse(t)
		set(h)
		if s, err := h.gate.Open(t.Context(), hello(), h.client); s != nil || err == nil {
			t.Errorf("%s: a session opened", name)
		}
		if n := len(h.gate.Sessions()); n != 0 {
			t.Errorf("%s: %d sessions are left", name, n)
		}
	}
}

func TestABadCredentialOrAnUnknownTargetOpensNothing(t *testing.T) {
	h := newHouse(t)
	bad := hello()
	bad.Credential.Secret = "bad"
	other := hello()
	other.Target = "elsewhere"
	for _, x := range []Hello{bad, other} {
		if s, err := h.gate.Open(t.Context(), x, h.client); s != nil || err == nil {
			t.Errorf("%+v opened a session", x.Target)
		}
	}
	if got := h.ledger.kinds(); got != "signin.failed request.refused" {
		t.Fatalf("the record is %q", got)
	}
}

func TestDecisionsAndTheirRecord(t *testing.T) {
	h := newHouse(t)
	s := h.open(t)
	p := h.ask(t, s, "SELECT 1")
	if err := p.Reply().Done(""); err != nil {
		t.Fatal(err)
	}
	if _, err := h.try(t.Context(), s, "DROP t"); errText(err) != "denied by rule drops" && !strings.Contains(errText(err), "drops") {
		t.Fatalf("got %v", err)
	}
	if _, err := h.try(t.Context(), s, "garbage"); err == nil {
		t.Fatal("what does not parse was allowed")
	}
	h.ask(t, s, "UPDATE t")
	if h.reviewer.redeemed != 1 {
		t.Fatalf("redeemed %d times", h.reviewer.redeemed)
	}
	s.Close(nil)
	want := "session.open request.intent request.outcome request.refused request.refused request.intent session.close"
	if got := h.ledger.kinds(); got != want {
		t.Fatalf("the record is\n%s\nwant\n%s", got, want)
	}
}

func TestHeldUntilTheWaitIsOverThenHeldStill(t *testing.T) {
	h := newHouse(t)
	s := h.open(t)
	h.reviewer.await.hang = true
	told := 0
	st, err := s.Read(t.Context(), "UPDATE t")
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.Ask(t.Context(), Request{Frames: []byte("UPDATE t"), Acts: []Act{{Statement: st}}, OnHold: func(doorward.Review) error { told++; return nil }})
	var d *doorward.Denial
	if !errors.As(err, &d) || d.Decision != "review" || d.Review != 7 || !d.Retry {
		t.Fatalf("got %#v", err)
	}
	if told != 1 || h.reviewer.redeemed != 0 {
		t.Fatalf("told %d times, redeemed %d times", told, h.reviewer.redeemed)
	}
}

func TestAPolicyThatChangedWhilePeopleThoughtRefuses(t *testing.T) {
	h := newHouse(t)
	s := h.open(t)
	st, err := s.Read(t.Context(), "UPDATE t")
	if err != nil {
		t.Fatal(err)
	}
	req := Request{Frames: []byte("UPDATE t"), Acts: []Act{{Statement: st}}, OnHold: func(doorward.Review) error {
		r := h.gate.Rules()
		p := testPolicyDenyAll(t)
		h.gate.SetRules(Rules{Policy: p, Masks: r.Masks})
		return nil
	}}
	if p, err := s.Ask(t.Context(), req); p != nil || err == nil {
		t.Fatalf("got %v, %v", p, err)
	}
}

func TestAClientThatLeftDoesNotUseItsApproval(t *testing.T) {
	h := newHouse(t)
	s := h.open(t)
	st, _ := s.Read(t.Context(), "UPDATE t")
	if p, err := s.Ask(t.Context(), Request{Frames: []byte("x"), Acts: []Act{{Statement: st}}, Gone: func() bool { return true }}); p != nil || err == nil || h.reviewer.redeemed != 0 {
		t.Fatalf("got %v, %v, redeemed %d", p, err, h.reviewer.redeemed)
	}
}
