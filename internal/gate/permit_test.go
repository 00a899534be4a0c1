package gate

import (
	"bytes"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/doorward/doorward"
)

func TestPermitsThatAreNotGoodAreRefused(t *testing.T) {
	h := newHouse(t)
	a, b := h.open(t), h.open(t)
	good := h.ask(t, a, "SELECT 1")
	for name, p := range map[string]*Permit{"nil": nil, "zero": {}, "unsealed": {session: a}} {
		if _, err := p.Spend(a); !errors.Is(err, ErrPermit) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if _, err := good.Spend(b); !errors.Is(err, ErrPermit) {
		t.Errorf("a foreign permit: got %v", err)
	}
	if _, err := good.Spend(nil); !errors.Is(err, ErrPermit) {
		t.Errorf("no session: got %v", err)
	}
	if err := good.Streaming(a); err == nil {
		t.Error("data may follow a permit that was not spent")
	}
	if got, err := good.Spend(a); err != nil || !bytes.Equal(got, []byte("SELECT 1")) {
		t.Fatalf("got %q, %v", got, err)
	}
	if _, err := good.Spend(a); !errors.Is(err, ErrPermit) {
		t.Errorf("a spent permit: got %v", err)
	}
	killed := h.ask(t, a, "SELECT 1")
	if err := h.gate.Kill(a.ID(), "test"); err != nil {
		t.Fatal(err)
	}
	if _, err := killed.Spend(a); !errors.Is(err, ErrPermit) {
		t.Errorf("a permit of a killed session: got %v", err)
	}
}

func TestAPermitKeepsItsOwnBytes(t *testing.T) {
	h := newHouse(t)
	s := h.open(t)
	frames := []byte("SELECT 1")
	st, err := s.Read(t.Context(), "SELECT 1")
	if err != nil {
		t.Fatal(err)
	}
	p, err := s.Ask(t.Context(), Request{Frames: frames, Acts: []Act{{Statement: st}}})
	if err != nil {
		t.Fatal(err)
	}
	copy(frames, "DROP ALL")
	if got, _ := p.Spend(s); string(got) != "SELECT 1" {
		t.Fatalf("what would be sent is %q", got)
	}
}

func TestAPermitIsSpentOnce(t *testing.T) {
	h := newHouse(t)
	s := h.open(t)
	for range 200 {
		p := h.ask(t, s, "SELECT 1")
		var got atomic.Int32
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				if _, err := p.Spend(s); err == nil {
					got.Add(1)
				}
			})
		}
		wg.Wait()
		if got.Load() != 1 {
			t.Fatalf("spent %d times", got.Load())
		}
	}
}

func TestRowLimitsCutExactly(t *testing.T) {
	h := newHouse(t)
	s := h.open(t)
	p := h.ask(t, s, "SELECT 1")
	p.acts[0].limits = doorward.Limits{Rows: 2, Bytes: 1000}
	r := p.Reply()
	for i, want := range []bool{true, true, false} {
		if r.Count(10) != want {
			t.Fatalf("row %d under a limit of two: %v", i+1, !want)
		}
	}
	if d := r.Over(); d.Code != "54000" || d.Decision != "deny" {
		t.Fatalf("got %+v", d)
	}
}

// A rehearsal is for what people are to decide on, and nothing else; it is
// recorded, and says what it is.
func TestRehearsals(t *testing.T) {
	h := newHouse(t)
	s := h.open(t)
	rehearse := func(text string) (*Permit, error) {
		st, err := s.Read(t.Context(), text)
		if err != nil {
			t.Fatal(err)
		}
		return s.Rehearse(t.Context(), Request{Frames: []byte(text), Acts: []Act{{Statement: st}}})
	}
	for _, text := range []string{"SELECT 1", "DROP ALL"} {
		if p, err := rehearse(text); err == nil {
			t.Errorf("%s: a permit %+v", text, p)
		}
	}
	before := h.ledger.kinds()
	p, err := rehearse("UPDATE t")
	if err != nil || !p.Rehearsal() || p.Reads() {
		t.Fatalf("%+v %v", p, err)
	}
	if now := h.ledger.kinds(); now == before || !strings.HasSuffix(now, string(doorward.EventIntent)) {
		t.Errorf("the record has %q", now)
	}
	if got, err := p.Spend(s); err != nil || string(got) != "UPDATE t" {
		t.Errorf("%q %v", got, err)
	}
	if held, err := h.try(t.Context(), s, "SELECT 1"); err != nil || held.Rehearsal() {
		t.Errorf("%+v %v", held, err)
	}
}

// What is refused is kept, but not at any length.
func TestRefusedTextsAreBounded(t *testing.T) {
	long := strings.Repeat("x", maxRefused+1)
	if got := shownOfRefused(long); len(got) > maxRefused+200 || !strings.Contains(got, "65537 bytes, sha256 ") {
		t.Errorf("%d bytes: …%s", len(got), got[len(got)-120:])
	}
	if short := strings.Repeat("x", maxRefused); shownOfRefused(short) != short {
		t.Error("a short one was changed")
	}
}
