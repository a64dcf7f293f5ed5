package store

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"time"

	"github.com/jackc/pgx/v5"
)

// Reader is a file opened for reading only, for verify and audit.
type Reader struct {
	path   string
	engine engine
	pool   *sql.DB
}

// OpenReadOnly opens an existing file for reading: one that a running node writes, one that a
// killed node left behind, or a cold copy. It never changes the file. A cold copy (no -wal and no
// -shm beside it) is read without locks and without leaving anything beside it; it MUST NOT be
// written meanwhile. Beside a file with a -wal SQLite needs its -shm, which it makes if it can.
//
// If schemas are given the file must be exactly at them: newer and older are refused.
//
// The address of a PostgreSQL database stands for a path here too.
func OpenReadOnly(ctx context.Context, path string, schemas ...Schema) (*Reader, error) {
	r, err := openReader(path)
	if err != nil {
		return nil, err
	}
	if err := r.compare(ctx, schemas); err != nil {
		r.pool.Close()
		return nil, err
	}
	return r, nil
}

func openReader(path string) (*Reader, error) {
	if remote(path) {
		config, err := pgx.ParseConfig(path)
		if err != nil {
			return nil, &Error{Code: CodeMissing, Op: "open", Path: shown(path), Err: err}
		}
		return &Reader{path: shown(path), engine: &server{}, pool: openServerReaders(config, 2)}, nil
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, &Error{Code: CodeMissing, Op: "open", Path: path, Err: err}
	}
	if _, err := os.Stat(abs); err != nil {
		return nil, &Error{Code: CodeMissing, Op: "open", Path: path, Err: err}
	}
	how := accessReadOnly
	if absent(abs+"-wal") && absent(abs+"-shm") {
		how = accessImmutable
	}
	r := &Reader{path: path, engine: lite{}, pool: openPool(dsn(abs, how, Options{}.withDefaults()), 2)}
	r.pool.SetConnMaxIdleTime(time.Minute)
	return r, nil
}

// compare tests that the books are this program's and at the schemas, if there are any.
func (r *Reader) compare(ctx context.Context, schemas []Schema) error {
	return r.View(ctx, func(ctx context.Context, tx *sql.Tx) error {
		tables, err := r.engine.owner(ctx, tx)
		if err == nil && tables == 0 {
			err = foreign("it is empty: these are nobody's books")
		}
		if err != nil || len(schemas) == 0 {
			return err
		}
		var behind error
		err = compare(ctx, tx, r.path, schemas, func(s Schema, m migration) {
			behind = &Error{Code: CodeSchemaOlder, Op: "open", Path: r.path, Detail: "lacks " + s.Name + "/" + m.name + ": start the node once to migrate it"}
		})
		return errors.Join(err, behind)
	})
}

func absent(path string) bool {
	_, err := os.Stat(path)
	return errors.Is(err, os.ErrNotExist)
}

// Path returns the path that was given to OpenReadOnly.
func (r *Reader) Path() string { return r.path }

// View runs fn on a consistent picture of the file, as DB.View does.
func (r *Reader) View(ctx context.Context, fn func(ctx context.Context, tx *sql.Tx) error) error {
	return view(ctx, r.pool, r.engine, r.path, fn)
}

// Versions lists the schemas of the file and how far each was migrated.
func (r *Reader) Versions(ctx context.Context) (all []Version, err error) {
	err = r.View(ctx, func(ctx context.Context, tx *sql.Tx) error {
		all, err = versions(ctx, tx)
		return err
	})
	return all, err
}

// Check examines the books as DB.Check does.
func (r *Reader) Check(ctx context.Context) error {
	return r.View(ctx, func(ctx context.Context, tx *sql.Tx) error { return r.engine.check(ctx, tx, r.path) })
}

// Close closes the file.
func (r *Reader) Close() error { return classify("close", r.path, r.pool.Close()) }
