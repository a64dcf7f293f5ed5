package store

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"time"

	"modernc.org/sqlite"
)

// Frozen is one moment of several files of books, read while their writers go on. It
// keeps their write-ahead logs from being folded in until it is closed.
type Frozen struct {
	pools []*sql.DB
	conns []*sql.Conn
	paths []string
}

// Freeze waits until none of the files is being written, calls still, and lets the
// writers go on; what the Frozen then copies is as it was when still was called. A
// writer waits for as long as still takes, so it must be short. Files that nobody
// has open are frozen as well; PostgreSQL has its own means.
//
// A file that stays busy is an error with CodeBusy, and all is as before.
func Freeze(ctx context.Context, paths []string, still func() error) (f *Frozen, err error) {
	f = &Frozen{paths: paths}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close())
			f = nil
		}
	}()
	const wait = time.Second // far below what a station waits for its own file
	var locks []*sql.Conn
	defer func() {
		for _, lock := range locks {
			_, rollback := lock.ExecContext(context.WithoutCancel(ctx), "ROLLBACK")
			err = errors.Join(err, rollback, lock.Close())
		}
	}()
	for _, path := range paths {
		if _, err := os.Stat(path); err != nil {
			return f, &Error{Code: CodeMissing, Op: "freeze", Path: path, Err: err}
		}
		o := Options{BusyTimeout: wait}.withDefaults()
		writer, reader := openPool(dsn(path, accessWrite, o), 1), openPool(dsn(path, accessRead, o), 1)
		f.pools = append(f.pools, writer, reader)
		lock, err := writer.Conn(ctx)
		if err != nil {
			return f, classify("freeze", path, err)
		}
		if _, err := lock.ExecContext(ctx, "BEGIN IMMEDIATE"); err != nil {
			return f, errors.Join(classify("freeze", path, err), lock.Close())
		}
		locks = append(locks, lock)
	}
	for i, path := range paths {
		conn, err := f.pools[2*i+1].Conn(ctx)
		if err != nil {
			return f, classify("freeze", path, err)
		}
		f.conns = append(f.conns, conn)
		if err := snapshot(ctx, conn); err != nil {
			return f, classify("freeze", path, err)
		}
	}
	return f, still()
}

// snapshot begins to read: from here on the connection sees this moment.
func snapshot(ctx context.Context, conn *sql.Conn) error {
	if _, err := conn.ExecContext(ctx, "BEGIN"); err != nil {
		return err
	}
	var n int64
	return conn.QueryRowContext(ctx, "SELECT count(*) FROM sqlite_schema").Scan(&n)
}

// pagesAtOnce is how many pages are copied between two looks at the context.
const pagesAtOnce = 2048

// Copy writes the i-th file, as it was, to a new file at to.
func (f *Frozen) Copy(ctx context.Context, i int, to string) error {
	if err := create(to, ""); err != nil {
		return &Error{Code: CodeMissing, Op: "copy", Path: to, Err: err}
	}
	err := f.conns[i].Raw(func(c any) error {
		source, ok := c.(*keeper).session.(interface {
			NewBackup(to string) (*sqlite.Backup, error)
		})
		if !ok {
			return errors.New("the driver copies no files")
		}
		backup, err := source.NewBackup(to)
		if err != nil {
			return err
		}
		for more := true; more && err == nil; {
			if more, err = backup.Step(pagesAtOnce); err == nil {
				err = ctx.Err()
			}
		}
		return errors.Join(err, backup.Finish())
	})
	return classify("copy", f.paths[i], err)
}

// Close lets the files go.
func (f *Frozen) Close() error {
	var errs []error
	for _, conn := range f.conns {
		_, err := conn.ExecContext(context.Background(), "ROLLBACK")
		errs = append(errs, err, conn.Close())
	}
	for _, pool := range f.pools {
		errs = append(errs, pool.Close())
	}
	return errors.Join(errs...)
}
