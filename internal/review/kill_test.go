package review_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/doorward/doorward"
	"github.com/doorward/doorward/internal/ledger"
	"github.com/doorward/doorward/internal/review"
	"github.com/doorward/doorward/internal/store"
)

const (
	killEnv     = "DOORWARD_TEST_SPEND"
	killReviews = 24
)

func killedDir() string { return os.Getenv(killEnv) }

// openReal opens the rooms as a server does, on real files.
func openReal(dir string) (*review.Service, func(), error) {
	st, err := store.Open(context.Background(), "sqlite://"+filepath.Join(dir, "state.db"))
	if err != nil {
		return nil, nil, err
	}
	log, err := ledger.Open(filepath.Join(dir, "ledger"), ledger.Options{})
	if err != nil {
		st.Close()
		return nil, nil, err
	}
	sv, err := review.New(st, review.Options{Ledger: log})
	return sv, func() { sv.Close(); log.Close(); st.Close() }, err
}

// spendUntilKilled runs in the process that is killed: it redeems every
// approval again and again, and says so as soon as it may run something.
func spendUntilKilled(dir string) {
	sv, _, err := openReal(dir)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	var mu sync.Mutex
	fmt.Println("ready")
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for id := int64(1); id <= killReviews; id++ {
				if g, err := sv.Redeem(context.Background(), id, request(int(id)).Digest); err == nil {
					mu.Lock()
					fmt.Printf("ran %d\n", g.Review)
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	fmt.Println("done")
	select {}
}

// TestKilledNeverRunsTwice kills the process that redeems approvals, at
// different moments, again and again. No approval may run twice, and each one
// that ran is in the ledger.
func TestKilledNeverRunsTwice(t *testing.T) {
	dir := t.TempDir()
	sv, done, err := openReal(dir)
	if err != nil {
		t.Fatal(err)
	}
	for n := 1; n <= killReviews; n++ {
		r, err := sv.File(t.Context(), request(n))
		if err != nil {
			t.Fatal(err)
		}
		if r.ID != int64(n) {
			t.Fatalf("review %d has ID %d", n, r.ID)
		}
		if _, err := sv.Vote(t.Context(), r.ID, person("bob", "dba"), yes); err != nil {
			t.Fatal(err)
		}
	}
	done()
	ran := map[string]int{}
	rounds, finished := 0, false
	for ; rounds < 40 && !finished; rounds++ {
		lines := killAfter(t, dir, time.Duration(500+rounds*700)*time.Microsecond)
		for _, l := range lines {
			if id, ok := strings.CutPrefix(l, "ran "); ok {
				ran[id]++
			}
			finished = finished || l == "done"
		}
	}
	for id, n := range ran {
		if n > 1 {
			t.Errorf("review %s ran %d times", id, n)
		}
	}
	t.Logf("%d of %d approvals ran, over %d kills; the others were used up", len(ran), killReviews, rounds)
	log, err := ledger.Open(filepath.Join(dir, "ledger"), ledger.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	spent := map[string]int{}
	if err := log.Read(t.Context(), 0, func(_ uint64, ev doorward.Event) error {
		if ev.Kind == doorward.EventReviewSpent {
			spent[fmt.Sprint(ev.Review)]++
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	for id := range ran {
		if spent[id] != 1 {
			t.Errorf("review %s ran, and is spent %d times in the ledger", id, spent[id])
		}
	}
	for id, n := range spent {
		if n != 1 {
			t.Errorf("review %s is spent %d times in the ledger", id, n)
		}
	}
}

func killAfter(t *testing.T, dir string, d time.Duration) (lines []string) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), killEnv+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	in := bufio.NewScanner(out)
	if !in.Scan() || in.Text() != "ready" {
		t.Errorf("the process said %q", in.Text())
	}
	time.Sleep(d)
	if err := cmd.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for in.Scan() {
		lines = append(lines, in.Text())
	}
	if err := in.Err(); err != nil && err != io.EOF {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	return lines
}
