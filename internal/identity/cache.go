package identity

import (
	"sync"
	"time"

	"github.com/doorward/doorward"
)

const (
	cacheSize = 10_000
	cacheTime = time.Minute // after that the credential is checked again
)

// cache keeps who a credential is, by the hash of the secret, for a short time.
type cache struct {
	mu      sync.RWMutex
	entries map[[32]byte]cached
	gen     uint64 // grows with every removal: what was read before is not put
}

type cached struct {
	id    doorward.Identity
	until time.Time
}

func (c *cache) get(key [32]byte, now time.Time) (doorward.Identity, bool) {
	c.mu.RLock()
	e, ok := c.entries[key]
	c.mu.RUnlock()
	if !ok || !now.Before(e.until) {
		return doorward.Identity{}, false
	}
	return clone(e.id), true
}

func (c *cache) generation() uint64 {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.gen
}

// put keeps an identity that was checked at generation gen.
func (c *cache) put(gen uint64, key [32]byte, id doorward.Identity, until, now time.Time) {
	if limit := now.Add(cacheTime); until.After(limit) {
		until = limit
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gen != gen {
		return
	}
	if len(c.entries) >= cacheSize {
		c.makeRoom(now)
	}
	if c.entries == nil {
		c.entries = map[[32]byte]cached{}
	}
	c.entries[key] = cached{clone(id), until}
}

// makeRoom drops what is over, or else a tenth, whichever come first.
func (c *cache) makeRoom(now time.Time) {
	for k, e := range c.entries {
		if !now.Before(e.until) {
			delete(c.entries, k)
		}
	}
	for k := range c.entries {
		if len(c.entries) < cacheSize*9/10 {
			return
		}
		delete(c.entries, k)
	}
}

func (c *cache) clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.entries = nil
	c.gen++
}

// drop removes the entries of identities that match.
func (c *cache) drop(match func(*doorward.Identity) bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gen++
	for k, e := range c.entries {
		if match(&e.id) {
			delete(c.entries, k)
		}
	}
}
