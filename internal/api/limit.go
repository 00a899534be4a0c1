package api

import (
	"sync"
	"time"
)

// limiter is a token bucket a key, with a bound on the number of keys. When
// it is full, and no bucket has refilled, new keys are refused.
type limiter struct {
	burst  float64
	refill time.Duration // time for one token
	most   int
	now    func() time.Time

	mu      sync.Mutex
	buckets map[string]bucket
}

type bucket struct {
	tokens float64
	at     time.Time
}

func newLimiter(burst int, refill time.Duration, most int) *limiter {
	return &limiter{burst: float64(burst), refill: refill, most: most, now: time.Now, buckets: map[string]bucket{}}
}

// take spends one token of key. It reports how long to wait when there is none.
func (l *limiter) take(key string) (wait time.Duration, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	b, known := l.buckets[key]
	if !known {
		if len(l.buckets) >= l.most && !l.sweep(now) {
			return l.refill, false
		}
		b = bucket{tokens: l.burst, at: now}
	}
	b = l.filled(b, now)
	if b.tokens < 1 {
		l.buckets[key] = b
		return time.Duration((1 - b.tokens) * float64(l.refill)), false
	}
	b.tokens--
	l.buckets[key] = b
	return 0, true
}

func (l *limiter) filled(b bucket, now time.Time) bucket {
	if gone := now.Sub(b.at); gone > 0 {
		b.tokens = min(l.burst, b.tokens+float64(gone)/float64(l.refill))
	}
	b.at = now
	return b
}

// sweep drops buckets that are full again and reports whether there is room.
func (l *limiter) sweep(now time.Time) bool {
	for k, b := range l.buckets {
		if l.filled(b, now).tokens >= l.burst {
			delete(l.buckets, k)
		}
	}
	return len(l.buckets) < l.most
}
