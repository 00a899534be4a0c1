package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/doorward/doorward/e2e/rawpg"
)

// wideResult is one large result, read as fast as it comes.
type wideResult struct {
	Way  string  `json:"way"`
	MBs  float64 `json:"mb_per_second"`
	CPU  float64 `json:"cpu_micros_per_row"`
	Rows int     `json:"rows"`
	Peak int64   `json:"memory_after"` // of the process in the middle
}

func wide(ctx context.Context, st *stage, s settings, r *results) error {
	ways := append(append([]*way{}, st.ways...), st.masked)
	conns := map[string]*rawpg.Conn{}
	for _, w := range ways {
		c, err := w.connect(ctx)
		if err != nil {
			return fmt.Errorf("%s: %w", w.name, err)
		}
		defer c.Terminate()
		conns[w.name] = c
	}
	speed, cpu := map[string][]float64{}, map[string][]float64{}
	for i := range s.runs + 1 { // the first warms up
		for _, w := range ways {
			before, err := w.cpu()
			if err != nil {
				return err
			}
			start := time.Now()
			c := conns[w.name]
			c.Send(rawpg.Msg('Q', []byte("SELECT * FROM wide\x00")))
			size, rows, err := c.Discard(5 * time.Minute)
			if err != nil {
				return fmt.Errorf("%s: %w", w.name, err)
			}
			took := time.Since(start)
			if rows != s.wideRows {
				return fmt.Errorf("%s: %d rows came back, want %d", w.name, rows, s.wideRows)
			}
			after, err := w.cpu()
			if err != nil {
				return err
			}
			if i > 0 {
				speed[w.name] = append(speed[w.name], float64(size)/1e6/took.Seconds())
				cpu[w.name] = append(cpu[w.name], float64((after-before).Microseconds())/float64(rows))
			}
		}
	}
	for _, w := range ways {
		res := wideResult{Way: w.name, MBs: median(speed[w.name]), CPU: median(cpu[w.name]), Rows: s.wideRows}
		if w.pid != 0 {
			var err error
			if res.Peak, err = w.memory(); err != nil {
				return err
			}
		}
		r.Wide = append(r.Wide, res)
	}
	return nil
}

// idleResult is what sessions cost that do nothing.
type idleResult struct {
	Way      string  `json:"way"`
	Sessions int     `json:"sessions"`
	Before   int64   `json:"memory_before"`
	After    int64   `json:"memory_after"`
	Each     float64 `json:"kib_each"`
}

// idle opens many sessions, each of which has run one statement.
func idle(ctx context.Context, st *stage, s settings, r *results) error {
	for _, w := range st.ways {
		if w.pid == 0 {
			continue
		}
		res, err := idleOne(ctx, w, s.idle)
		if err != nil {
			return fmt.Errorf("%s: %w", w.name, err)
		}
		r.Idle = append(r.Idle, res)
	}
	return nil
}

func idleOne(ctx context.Context, w *way, n int) (idleResult, error) {
	res := idleResult{Way: w.name, Sessions: n}
	var err error
	if res.Before, err = w.memory(); err != nil {
		return res, err
	}
	conns := make([]*rawpg.Conn, n)
	errs := make(chan error, n)
	var wg sync.WaitGroup
	work := make(chan int)
	for range 8 {
		wg.Go(func() {
			for i := range work {
				c, err := w.connect(ctx)
				if err != nil {
					errs <- fmt.Errorf("session %d: %w", i+1, err)
					continue
				}
				conns[i] = c
				if _, err := c.Query("SELECT 1", 30*time.Second); err != nil {
					errs <- fmt.Errorf("session %d: %w", i+1, err)
				}
			}
		})
	}
	for i := range n {
		work <- i
	}
	close(work)
	wg.Wait()
	defer func() {
		for _, c := range conns {
			if c != nil {
				c.Terminate()
			}
		}
	}()
	select {
	case err := <-errs:
		return res, err
	default:
	}
	time.Sleep(5 * time.Second) // let a collector do its work
	if res.After, err = w.memory(); err != nil {
		return res, err
	}
	res.Each = float64(res.After-res.Before) / float64(n) / 1024
	return res, nil
}
