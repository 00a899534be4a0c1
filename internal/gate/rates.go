package gate

import (
	"sync"
	"time"
)

// maxRates bounds how many (person, rule) pairs are counted at once.
const maxRates = 100000

// rates counts requests a minute by key, in fixed windows.
type rates struct {
	mu sync.Mutex
	m  map[string]*window
}

type window struct {
	start time.Time
	n     int64
}

// take counts one request and reports whether it is within limit. When there
// are more keys than can be held, nobody is let through.
func (r *rates) take(key string, limit int64, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.m == nil {
		r.m = map[string]*window{}
	}
	w := r.m[key]
	if w == nil {
		if len(r.m) >= maxRates {
			for k, v := range r.m {
				if now.Sub(v.start) >= time.Minute {
					delete(r.m, k)
				}
			}
			if len(r.m) >= maxRates {
				return false
			}
		}
		w = &window{start: now}
		r.m[key] = w
	}
	if now.Sub(w.start) >= time.Minute {
		w.start, w.n = now, 0
	}
	w.n++
	return w.n <= limit
}
