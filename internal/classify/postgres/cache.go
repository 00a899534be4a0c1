package postgres

import (
	"container/list"
	"hash/maphash"
	"sync"

	"github.com/doorward/doorward"
)

const shards = 32

// cacheKey is all that a reading depends on. It compares by value.
type cacheKey struct{ text, epoch, env string }

// cache is a least-recently-used map of readings, bounded by bytes, in shards
// so that sessions do not wait for each other.
type cache struct {
	seed   maphash.Seed
	shards [shards]shard
}

type shard struct {
	mu    sync.Mutex
	max   int64
	bytes int64
	byKey map[cacheKey]*list.Element
	order *list.List // front: most recently used
	_     [24]byte   // keeps neighbours off one cache line
}

type entry struct {
	key     cacheKey
	reading *doorward.Reading
	bytes   int64
}

func newCache(maxBytes int64) *cache {
	c := &cache{seed: maphash.MakeSeed()}
	for i := range c.shards {
		c.shards[i].max = maxBytes / shards
		c.shards[i].byKey = map[cacheKey]*list.Element{}
		c.shards[i].order = list.New()
	}
	return c
}

func (c *cache) shard(text string) *shard {
	return &c.shards[maphash.String(c.seed, text)%shards]
}

func (c *cache) get(k cacheKey) *doorward.Reading {
	s := c.shard(k.text)
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.byKey[k]
	if e == nil {
		return nil
	}
	s.order.MoveToFront(e)
	return e.Value.(*entry).reading
}

func (c *cache) put(k cacheKey, r *doorward.Reading) {
	s := c.shard(k.text)
	size := readingSize(r) + int64(len(k.text)+len(k.epoch)+len(k.env)) + 256
	if size > s.max/2 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.byKey[k] != nil {
		return
	}
	s.byKey[k] = s.order.PushFront(&entry{k, r, size})
	s.bytes += size
	for s.bytes > s.max {
		last := s.order.Back()
		old := last.Value.(*entry)
		s.order.Remove(last)
		delete(s.byKey, old.key)
		s.bytes -= old.bytes
	}
}

// readingSize estimates what a reading holds on to, on the high side.
func readingSize(r *doorward.Reading) int64 {
	n := int64(256) + effectSize(&r.Effect)
	for i := range r.Statements {
		st := &r.Statements[i]
		n += 384 + effectSize(&st.Effect) + int64(len(st.Kind)+len(st.Name)+len(st.Null))
		for _, c := range st.Columns {
			n += int64(64 + len(c.Name) + len(c.Source) + len(c.Masked))
		}
		if st.Inner != nil {
			n += readingSize(st.Inner)
		}
	}
	return n
}

func effectSize(e *doorward.Effect) int64 {
	n := int64(160 + len(e.Refuse) + len(e.Hint))
	for _, o := range e.Objects {
		n += int64(48 + len(o.Kind) + len(o.Name))
	}
	for _, k := range e.Kinds {
		n += int64(24 + len(k))
	}
	for _, m := range e.Masked {
		n += int64(24 + len(m))
	}
	return n
}
