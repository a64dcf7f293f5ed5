package store

import (
	"context"
	"database/sql/driver"
	"net/url"
	"strconv"
	"strings"
)

// maxStatements bounds the prepared statements that one connection keeps.
const maxStatements = 64

// connector opens connections of the SQLite driver that keep their prepared statements, so
// that every tx.ExecContext and tx.QueryContext of a station reuses them without further ado.
type connector struct {
	driver driver.Driver
	dsn    string
}

func (c *connector) Driver() driver.Driver { return c.driver }

func (c *connector) Connect(ctx context.Context) (driver.Conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	conn, err := c.driver.Open(c.dsn)
	if err != nil {
		return nil, err
	}
	inner, ok := conn.(session)
	if !ok {
		conn.Close()
		return nil, driver.ErrBadConn
	}
	return &keeper{session: inner, kept: make(map[string]statement)}, nil
}

// session is what this package uses of the driver's connection.
type session interface {
	driver.Conn
	driver.ConnBeginTx
	driver.ConnPrepareContext
	driver.ExecerContext
	driver.QueryerContext
	driver.SessionResetter
	driver.Validator
	driver.Pinger
}

type statement interface {
	driver.Stmt
	driver.StmtExecContext
	driver.StmtQueryContext
}

// keeper is a connection that keeps statements by their text. database/sql lets one goroutine
// at a time use a connection, so the map needs no lock. A statement in use is not in the map:
// the same query inside its own rows gets a statement of its own.
type keeper struct {
	session
	kept map[string]statement
}

func (k *keeper) take(ctx context.Context, query string) (statement, error) {
	if s, ok := k.kept[query]; ok {
		delete(k.kept, query)
		return s, nil
	}
	s, err := k.session.PrepareContext(ctx, query)
	if err != nil {
		return nil, err
	}
	st, ok := s.(statement)
	if !ok {
		s.Close()
		return nil, driver.ErrSkip
	}
	return st, nil
}

func (k *keeper) give(query string, s statement) error {
	if _, twice := k.kept[query]; twice {
		return s.Close()
	}
	if len(k.kept) >= maxStatements {
		for q, old := range k.kept {
			delete(k.kept, q)
			old.Close()
			break
		}
	}
	k.kept[query] = s
	return nil
}

// keepable tells single statements of ordinary length from scripts, which the driver parses
// anew at each run anyway.
func keepable(query string) bool {
	return len(query) <= 4096 && !strings.Contains(query, ";")
}

func (k *keeper) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	if !keepable(query) {
		return k.session.ExecContext(ctx, query, args)
	}
	s, err := k.take(ctx, query)
	if err != nil {
		return nil, err
	}
	res, err := s.ExecContext(ctx, args)
	if err != nil {
		s.Close()
		return nil, err
	}
	return res, k.give(query, s)
}

func (k *keeper) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	if !keepable(query) {
		return k.session.QueryContext(ctx, query, args)
	}
	s, err := k.take(ctx, query)
	if err != nil {
		return nil, err
	}
	rows, err := s.QueryContext(ctx, args)
	if err != nil {
		s.Close()
		return nil, err
	}
	return &keptRows{Rows: rows, keeper: k, query: query, statement: s}, nil
}

func (k *keeper) Close() error {
	for q, s := range k.kept {
		delete(k.kept, q)
		s.Close()
	}
	return k.session.Close()
}

// keptRows gives its statement back when it is closed.
type keptRows struct {
	driver.Rows
	keeper    *keeper
	query     string
	statement statement
}

func (r *keptRows) Close() error {
	if r.statement == nil {
		return nil
	}
	s := r.statement
	r.statement = nil
	if err := r.Rows.Close(); err != nil {
		s.Close()
		return err
	}
	return r.keeper.give(r.query, s)
}

// access is how a connection may use the file.
type access int

const (
	accessWrite     access = iota
	accessRead             // query-only, of a file that this process also writes
	accessReadOnly         // the file is opened for reading; another process may write it
	accessImmutable        // nobody writes the file: no locks, no files beside it
)

// dsn builds the address that the driver opens. The order of the pragmas matters: the busy
// timeout comes first, then the journal.
func dsn(path string, how access, o Options) string {
	q := url.Values{}
	q.Set("_busy_timeout", strconv.FormatInt(o.BusyTimeout.Milliseconds(), 10))
	q.Set("_foreign_keys", "on")
	q.Set("_dqs", "0")
	q.Set("_error_rc", "1")
	q.Add("_pragma", "cache_size(-"+strconv.Itoa(o.CacheKiB)+")")
	q.Add("_pragma", "mmap_size(0)")
	q.Add("_pragma", "temp_store(memory)")
	q.Add("_pragma", "trusted_schema(off)")
	q.Add("_pragma", "cell_size_check(on)")
	switch how {
	case accessWrite:
		q.Set("mode", "rw")
		q.Set("_journal_mode", "WAL")
		q.Set("_synchronous", "FULL")
		q.Set("_txlock", "immediate")
		q.Add("_pragma", "journal_size_limit("+strconv.Itoa(o.LogKiB<<10)+")")
		q.Add("_pragma", "wal_autocheckpoint("+strconv.Itoa(o.LogKiB<<10/pageSize)+")")
	case accessRead:
		q.Set("mode", "rw")
		q.Set("_query_only", "on")
	case accessReadOnly:
		q.Set("mode", "ro")
		q.Set("_query_only", "on")
	case accessImmutable:
		q.Set("mode", "ro")
		q.Set("immutable", "1")
		q.Set("_query_only", "on")
	}
	if o.VFS != "" {
		q.Set("vfs", o.VFS)
	}
	u := url.URL{Path: path}
	return "file:" + u.EscapedPath() + "?" + q.Encode()
}

const pageSize = 4096
