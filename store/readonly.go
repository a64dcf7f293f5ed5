package store

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"time"
)

// Reader is a file opened for reading only, for verify and audit.
type Reader struct {
	path string
	pool *sql.DB
}

// OpenReadOnly opens an existing file for reading: one that a running node writes, one that a
// killed node left behind, or a cold copy. It never changes the file. A cold copy (no -wal and no
// -shm beside it) is read without locks and without leaving anything beside it; it MUST NOT be
// written meanwhile. Beside a file with a -wal SQLite needs its -shm, which it makes if it can.
//
// If schemas are given the file must be exactly at them: newer and older are refused.
func OpenReadOnly(ctx context.Context, path string, schemas ...Schema) (*Reader, error) {
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
	r := &Reader{path: path, pool: openPool(dsn(abs, how, Options{}.withDefaults()), 2)}
	r.pool.SetConnMaxIdleTime(time.Minute)
	err = r.View(ctx, func(ctx context.Context, tx *sql.Tx) error {
		_, id, err := header(ctx, tx)
		if err != nil {
			return err
		}
		if err := owned(id, path); err != nil || len(schemas) == 0 {
			return err
		}
		var behind error
		err = compare(ctx, tx, path, schemas, func(s Schema, m migration) {
			behind = &Error{Code: CodeSchemaOlder, Op: "open", Path: path, Detail: "lacks " + s.Name + "/" + m.name + ": start the node once to migrate it"}
		})
		return errors.Join(err, behind)
	})
	if err != nil {
		r.pool.Close()
		return nil, err
	}
	return r, nil
}

func absent(path string) bool {
	_, err := os.Stat(path)
	return errors.Is(err, os.ErrNotExist)
}

// Path returns the path that was given to OpenReadOnly.
func (r *Reader) Path() string { return r.path }

// View runs fn on a consistent picture of the file, as DB.View does.
func (r *Reader) View(ctx context.Context, fn func(ctx context.Context, tx *sql.Tx) error) error {
	return view(ctx, r.pool, r.path, fn)
}

// Versions lists the schemas of the file and how far each was migrated.
func (r *Reader) Versions(ctx context.Context) (all []Version, err error) {
	err = r.View(ctx, func(ctx context.Context, tx *sql.Tx) error {
		all, err = versions(ctx, tx)
		return err
	})
	return all, err
}

// Check lets SQLite examine every page, index and foreign key of the file.
func (r *Reader) Check(ctx context.Context) error {
	return r.View(ctx, func(ctx context.Context, tx *sql.Tx) error { return check(ctx, tx, r.path) })
}

// Close closes the file.
func (r *Reader) Close() error { return classify("close", r.path, r.pool.Close()) }
