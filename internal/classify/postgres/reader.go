package postgres

import (
	"fmt"
	"strings"
	"sync"

	pg "github.com/pganalyze/pg_query_go/v6"

	"github.com/doorward/doorward"
)

// Env is what a reading depends on beside the text.
type Env struct {
	Catalog   *Catalog
	Functions []string                                  // user functions known to be free of side effects: "price_of" or "public.price_of"
	Masked    func(schema, table, column string) string // name of the masking rule that applies to a column, or ""
	Key       string                                    // names Functions and Masked: equal keys, equal meaning
}

// State is what a session knows by name.
type State interface {
	// Prepared gives what executing the named statement does.
	Prepared(name string) (*doorward.Reading, bool)
	// Cursor gives what fetching from the named cursor or portal does.
	Cursor(name string) (*doorward.Reading, bool)
}

// Reader reads request texts and remembers what it read. It is safe for use
// by many goroutines.
type Reader struct {
	cache *cache
	mu    sync.Mutex
	masks map[maskKey]*sync.Map // what is masked in each relation
}

type maskKey struct {
	catalog *Catalog
	env     string
}

// maskCaches bounds how many catalogs and environments are remembered at once.
const maskCaches = 64

// NewReader makes a Reader that keeps at most so many bytes of readings.
func NewReader(maxCacheBytes int64) *Reader {
	return &Reader{cache: newCache(maxCacheBytes), masks: map[maskKey]*sync.Map{}}
}

var emptyCatalog = newCatalog("public")

// Read says what a request text would do. The error is for a text that does
// not parse or is over a limit: there is no reading then, and the text must
// not run. st may be nil: then no prepared statement or cursor is known.
func (r *Reader) Read(text string, env *Env, st State) (*doorward.Reading, error) {
	cat := emptyCatalog
	if env != nil && env.Catalog != nil {
		cat = env.Catalog
	}
	key := cacheKey{text: text, epoch: cat.epoch}
	if env != nil {
		key.env = env.Key
	}
	if out := r.cache.get(key); out != nil {
		return out, nil
	}
	out, err := read(strings.Clone(text), env, cat, st, r.maskCache(cat, key.env))
	if err != nil {
		return nil, err
	}
	if !out.Stateful {
		key.text = strings.Clone(text)
		r.cache.put(key, out)
	}
	return out, nil
}

func (r *Reader) maskCache(cat *Catalog, env string) *sync.Map {
	r.mu.Lock()
	defer r.mu.Unlock()
	k := maskKey{cat, env}
	m := r.masks[k]
	if m == nil {
		if len(r.masks) >= maskCaches {
			clear(r.masks)
		}
		m = &sync.Map{}
		r.masks[k] = m
	}
	return m
}

func read(text string, env *Env, cat *Catalog, st State, masks *sync.Map) (out *doorward.Reading, err error) {
	tree, err := parse(text)
	if err != nil {
		return nil, err
	}
	defer func() {
		if p := recover(); p != nil {
			out, err = nil, fmt.Errorf("the statement could not be understood: simplify it")
		}
	}()
	a := newAnalyzer(env, cat, st)
	a.masks = masks
	return a.read(text, tree), nil
}

// statementText cuts one statement out of the text it came in.
func statementText(text string, raw *pg.RawStmt) string {
	from := int(raw.GetStmtLocation())
	to := from + int(raw.GetStmtLen())
	if raw.GetStmtLen() == 0 {
		to = len(text)
	}
	if from < 0 || to > len(text) || from > to {
		return text
	}
	return strings.TrimSpace(text[from:to])
}
