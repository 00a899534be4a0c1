package main

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/doorward/doorward"
	classify "github.com/doorward/doorward/internal/classify/postgres"
	"github.com/doorward/doorward/internal/gate"
	"github.com/doorward/doorward/internal/mask"
	"github.com/doorward/doorward/internal/upstream"
)

// catalogWait bounds how long a request waits for the catalog of its target.
const catalogWait = 15 * time.Second

// postgresDialect reads the requests of one Postgres target: the classifier,
// with the target's own catalog and the masks in force.
type postgresDialect struct {
	target    string
	reader    *classify.Reader
	catalog   *upstream.Catalog
	functions []string
	masks     func() *mask.Set
	env       atomic.Pointer[dialectEnv]
	looked    atomic.Int64 // when a text that was not understood last made it look again
}

// dialectEnv is what a reading depends on beside the text; it is made anew when
// the catalog or the masks are.
type dialectEnv struct {
	classify.Env
	snapshot *upstream.Snapshot
	masks    *mask.Set
}

var envs atomic.Uint64

func (d *postgresDialect) current() (*dialectEnv, error) {
	snap := d.catalog.Fresh()
	if snap == nil {
		ctx, cancel := context.WithTimeout(context.Background(), catalogWait)
		defer cancel()
		var err error
		if snap, err = d.catalog.Current(ctx); err != nil {
			return nil, &gate.CatalogError{Err: err}
		}
	}
	masks := d.masks()
	if e := d.env.Load(); e != nil && e.snapshot == snap && e.masks == masks {
		return e, nil
	}
	e := &dialectEnv{snapshot: snap, masks: masks}
	e.Env = classify.Env{
		Catalog: snap.Catalog, Functions: d.functions, Key: fmt.Sprintf("%s#%d", d.target, envs.Add(1)),
		Masked: func(schema, table, column string) string { return masks.Column(d.target, schema, table, column) },
	}
	d.env.Store(e)
	return e, nil
}

// Read implements gate.Dialect.
func (d *postgresDialect) Read(text string, st *gate.State) (*doorward.Reading, error) {
	e, err := d.current()
	if err != nil {
		return nil, err
	}
	r, err := d.reader.Read(text, &e.Env, st)
	if err != nil || r.Effect.Complete || time.Since(time.Unix(0, d.looked.Load())) < lookAgain {
		return r, err
	}
	// What is not known may be new: somebody made it less than a second ago.
	d.looked.Store(time.Now().UnixNano())
	ctx, cancel := context.WithTimeout(context.Background(), catalogWait)
	defer cancel()
	if err := d.catalog.Refresh(ctx); err != nil {
		return nil, &gate.CatalogError{Err: err}
	}
	fresh, err := d.current()
	if err != nil || fresh == e {
		return r, err
	}
	return d.reader.Read(text, &fresh.Env, st)
}

// lookAgain bounds how often statements that are not understood make doorward
// look at the catalog.
const lookAgain = 200 * time.Millisecond

// Origin implements gate.Dialect.
func (d *postgresDialect) Origin(table uint32, attr int16) (string, bool) {
	e, err := d.current()
	if err != nil {
		return "", false
	}
	n, ok := e.snapshot.Origin(table, attr)
	switch {
	case !ok:
		return "", false
	case n[2] == "" && attr > 0:
		return "", false // a column that is newer than the catalog
	case n[2] == "":
		return "", true // a system column, or none
	}
	return e.masks.Column(d.target, n[0], n[1], n[2]), true
}

// Refresh implements gate.Dialect.
func (d *postgresDialect) Refresh(ctx context.Context) error { return d.catalog.Refresh(ctx) }
