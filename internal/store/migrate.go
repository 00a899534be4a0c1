package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
)

// migrations bring an empty database to the present schema, one step each.
// A step that was released is never edited: changes are new steps at the end.
var migrations = []string{
	// 1: everything that the first version holds
	`
CREATE TABLE reviews (
	id       INTEGER PRIMARY KEY AUTOINCREMENT,
	digest   TEXT    NOT NULL,
	state    TEXT    NOT NULL,
	subject  TEXT    NOT NULL,
	created  BIGINT  NOT NULL,
	decided  BIGINT  NOT NULL,
	expires  BIGINT  NOT NULL,
	votes    INTEGER NOT NULL,
	body     TEXT    NOT NULL
);
CREATE UNIQUE INDEX reviews_live ON reviews (digest) WHERE state IN ('opening', 'waiting', 'approved');
CREATE INDEX reviews_digest ON reviews (digest, id);
CREATE INDEX reviews_state ON reviews (state, expires);

CREATE TABLE votes (
	review  BIGINT  NOT NULL REFERENCES reviews (id) ON DELETE CASCADE,
	number  INTEGER NOT NULL,
	subject TEXT    NOT NULL,
	name    TEXT    NOT NULL,
	body    TEXT    NOT NULL,
	PRIMARY KEY (review, number),
	UNIQUE (review, subject),
	UNIQUE (review, name)
);

CREATE TABLE sessions (
	id       TEXT   PRIMARY KEY,
	subject  TEXT   NOT NULL,
	target   TEXT   NOT NULL,
	started  BIGINT NOT NULL,
	ended    BIGINT NOT NULL,
	search   TEXT   NOT NULL,
	header   TEXT   NOT NULL,
	outcome  TEXT   NOT NULL
);
CREATE INDEX sessions_started ON sessions (started, id);
CREATE INDEX sessions_live ON sessions (started) WHERE ended = 0;

CREATE TABLE credentials (
	id       TEXT   PRIMARY KEY,
	hash     TEXT   NOT NULL UNIQUE,
	kind     TEXT   NOT NULL,
	subject  TEXT   NOT NULL,
	run      TEXT   NOT NULL,
	parent   TEXT   NOT NULL,
	created  BIGINT NOT NULL,
	expires  BIGINT NOT NULL,
	seen     BIGINT NOT NULL,
	ended    BIGINT NOT NULL,
	reason   TEXT   NOT NULL,
	identity TEXT   NOT NULL,
	task     TEXT   NOT NULL
);
CREATE INDEX credentials_subject ON credentials (subject, kind);
CREATE INDEX credentials_parent ON credentials (parent);
CREATE INDEX credentials_run ON credentials (run);
CREATE INDEX credentials_created ON credentials (kind, created);

CREATE TABLE revocations (
	kind   TEXT   NOT NULL,
	what   TEXT   NOT NULL,
	at     BIGINT NOT NULL,
	until  BIGINT NOT NULL,
	reason TEXT   NOT NULL,
	PRIMARY KEY (kind, what)
);

CREATE TABLE secrets (
	name   TEXT PRIMARY KEY,
	sealed BLOB NOT NULL
);
`,
}

// migrate brings the schema up to date, each step in a transaction of its own
// together with its number.
func migrate(ctx context.Context, db *sql.DB) error {
	if _, err := db.ExecContext(ctx, `CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL)`); err != nil {
		return fmt.Errorf("open database: %w (is it a doorward store?)", err)
	}
	var at int
	err := db.QueryRowContext(ctx, `SELECT value FROM meta WHERE name = 'schema'`).Scan(&at)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return fmt.Errorf("read schema version: %w", err)
	}
	if at > len(migrations) {
		return fmt.Errorf("the store has schema version %d, this doorward knows up to %d: use the newer doorward, or restore a backup from before the upgrade", at, len(migrations))
	}
	for n := at + 1; n <= len(migrations); n++ {
		if err := step(ctx, db, n); err != nil {
			return fmt.Errorf("bring schema to version %d: %w", n, err)
		}
	}
	return nil
}

func step(ctx context.Context, db *sql.DB, n int) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if _, err := tx.ExecContext(ctx, migrations[n-1]); err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, `INSERT INTO meta (name, value) VALUES ('schema', ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value`, n); err != nil {
		return err
	}
	return tx.Commit()
}
