package upstream

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	classify "github.com/doorward/doorward/internal/classify/postgres"
)

const (
	catalogEvery = time.Second      // how often the DDL epoch is looked at
	catalogStale = 10 * time.Second // a catalog that could not be checked for this long is not used
	catalogIdle  = 2 * time.Minute  // the watch ends when nobody asked for this long
	catalogQuery = 15 * time.Second // one reading of the catalog
)

// Catalog keeps a snapshot of a target's catalog fresh. It has a connection of
// its own, on which only the fixed catalog queries run.
type Catalog struct {
	target *Postgres

	mu    sync.Mutex // one reading at a time
	conn  *pgconn.PgConn
	epoch string

	cur     atomic.Pointer[Snapshot]
	checked atomic.Int64 // unix nanoseconds of the last good check
	asked   atomic.Int64
	watch   atomic.Bool
}

// Snapshot is what is known of a target's names at one moment.
type Snapshot struct {
	*classify.Catalog
	columns map[origin][3]string
	tables  map[uint32]bool
	list    []Table
}

type origin struct {
	table uint32
	attr  int16
}

// Origin names the column that a table OID and an attribute number mean:
// schema, table, column. ok is false when the table is not known. It comes from
// a query of its own, so that a mistake in one reading of the catalog is not in
// the other.
func (s *Snapshot) Origin(table uint32, attr int16) (names [3]string, ok bool) {
	return s.columns[origin{table, attr}], s.tables[table]
}

// Table is a relation with its columns, for people who plan grants.
type Table struct {
	Schema, Name, Kind string // Kind is "table" or "view"
	Columns            []string
}

// Tables lists the relations that people made outside of the system's schemas.
func (s *Snapshot) Tables() []Table { return s.list }

// originSQL lists the columns of relations that people made.
const originSQL = `SELECT c.oid, a.attnum, n.nspname, c.relname, a.attname, CASE WHEN c.relkind IN ('r','p') THEN 'table' ELSE 'view' END
FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid = a.attrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.oid >= 16384 AND c.relkind IN ('r','p','v','m','f') AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY n.nspname, c.relname, c.oid, a.attnum`

// NewCatalog makes the keeper of a target's catalog. Nothing is read yet.
func NewCatalog(t *Postgres) *Catalog { return &Catalog{target: t} }

// Current gives the snapshot, reading it first when there is none. It fails
// when the target could not be asked about changes for some seconds.
func (c *Catalog) Current(ctx context.Context) (*Snapshot, error) {
	if cat := c.Fresh(); cat != nil {
		return cat, nil
	}
	if err := c.Refresh(ctx); err != nil {
		return nil, err
	}
	c.start()
	return c.cur.Load(), nil
}

// Fresh gives the catalog if it is not stale, without asking anybody, or nil.
func (c *Catalog) Fresh() *Snapshot {
	now := time.Now().UnixNano()
	c.asked.Store(now)
	cat := c.cur.Load()
	if cat == nil || now-c.checked.Load() >= int64(catalogStale) {
		return nil
	}
	c.start()
	return cat
}

// Refresh looks at the DDL epoch now and reads the catalog again if it moved.
func (c *Catalog) Refresh(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, catalogQuery)
	defer cancel()
	if err := c.refresh(ctx); err != nil {
		c.hangUp()
		// A connection may have died of age: try once more with a new one.
		if err2 := c.refresh(ctx); err2 != nil {
			return fmt.Errorf("the catalog of target %s cannot be read: %w", c.target.opt.Name, err2)
		}
	}
	c.checked.Store(time.Now().UnixNano())
	return nil
}

func (c *Catalog) refresh(ctx context.Context) error {
	if c.conn == nil || c.conn.IsClosed() {
		cfg, err := c.target.config("doorward catalog", true)
		if err != nil {
			return err
		}
		cfg.RuntimeParams["search_path"] = "pg_catalog, pg_temp"
		if c.conn, err = pgconn.ConnectConfig(ctx, cfg); err != nil {
			return err
		}
	}
	rows, err := c.query(ctx, classify.EpochSQL)
	if err != nil {
		return err
	}
	if len(rows) != 1 || len(rows[0]) == 0 {
		return errors.New("the epoch query gave no row")
	}
	epoch := fmt.Sprint(rows[0])
	if c.cur.Load() != nil && epoch == c.epoch {
		return nil
	}
	cat, err := classify.LoadCatalog(ctx, c.query)
	if err != nil {
		return err
	}
	snap := &Snapshot{Catalog: cat, columns: map[origin][3]string{}, tables: map[uint32]bool{}}
	if rows, err = c.query(ctx, originSQL); err != nil {
		return err
	}
	for _, r := range rows {
		oid, err1 := strconv.ParseUint(r[0], 10, 32)
		attr, err2 := strconv.ParseInt(r[1], 10, 16)
		if err := errors.Join(err1, err2); err != nil {
			return err
		}
		if !snap.tables[uint32(oid)] {
			snap.tables[uint32(oid)] = true
			snap.list = append(snap.list, Table{Schema: r[2], Name: r[3], Kind: r[5]})
		}
		last := &snap.list[len(snap.list)-1]
		last.Columns = append(last.Columns, r[4])
		snap.columns[origin{uint32(oid), int16(attr)}] = [3]string{r[2], r[3], r[4]}
	}
	c.cur.Store(snap)
	c.epoch = epoch
	return nil
}

// Close ends the keeper's connection.
func (c *Catalog) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.hangUp()
}

func (c *Catalog) hangUp() {
	if c.conn == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = c.conn.Close(ctx)
	c.conn = nil
}

func (c *Catalog) query(ctx context.Context, sql string) ([][]string, error) {
	res, err := c.conn.Exec(ctx, sql).ReadAll()
	if err != nil {
		return nil, err
	}
	var out [][]string
	for _, r := range res {
		for _, row := range r.Rows {
			line := make([]string, len(row))
			for i, v := range row {
				line[i] = string(v)
			}
			out = append(out, line)
		}
	}
	return out, nil
}

// start runs the watch unless it runs already.
func (c *Catalog) start() {
	if !c.watch.CompareAndSwap(false, true) {
		return
	}
	go func() {
		defer c.watch.Store(false)
		tick := time.NewTicker(catalogEvery)
		defer tick.Stop()
		for range tick.C {
			if time.Now().UnixNano()-c.asked.Load() > int64(catalogIdle) {
				c.Close()
				return
			}
			if c.Refresh(context.Background()) != nil {
				// It shows as staleness in Current, and the next request asks
				// again: a target that is gone is not knocked at every second.
				return
			}
		}
	}()
}
