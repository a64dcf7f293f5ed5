package store

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// remote tells an address of a server from a path.
func remote(path string) bool {
	return strings.HasPrefix(path, "postgres://") || strings.HasPrefix(path, "postgresql://")
}

// shown is an address without its password.
func shown(path string) string {
	u, err := url.Parse(path)
	if !remote(path) || err != nil {
		return path
	}
	if q := u.Query(); q.Has("password") {
		q.Set("password", "xxxxx")
		u.RawQuery = q.Encode()
	}
	return u.Redacted()
}

// server is the engine that keeps the books in a database of a PostgreSQL server. The
// database, or the first schema of its search_path, belongs to this program alone.
type server struct {
	token string // of this process as the writer, written by hold
	wait  time.Duration
}

func openServer(ctx context.Context, address string, o Options) (*DB, error) {
	path := shown(address)
	config, err := pgx.ParseConfig(address)
	if err != nil {
		return nil, &Error{Code: CodeMissing, Op: "open", Path: path, Detail: "an address reads postgres://user:password@host:port/database", Err: err}
	}
	if config.ConnectTimeout == 0 {
		config.ConnectTimeout = o.BusyTimeout
	}
	random := make([]byte, 16)
	rand.Read(random)
	s := &server{token: hex.EncodeToString(random), wait: o.BusyTimeout}
	db := &DB{path: path, engine: s, timed: o.Committing, watchers: make(map[*watcher]struct{})}
	writer := &dialler{config: config, prepare: s.lock}
	db.writer = sql.OpenDB(writer)
	db.writer.SetMaxOpenConns(1)
	db.writer.SetMaxIdleConns(1)
	db.reader = openServerReaders(config, o.Readers)
	err = migrate(ctx, db.writer, s, path, o.Schemas)
	if err == nil {
		err = s.hold(ctx, db.writer)
		writer.prepare = s.relock
	}
	if err != nil {
		db.reader.Close()
		db.writer.Close()
		return nil, classify("open", path, err)
	}
	return db, nil
}

func openServerReaders(config *pgx.ConnConfig, most int) *sql.DB {
	pool := sql.OpenDB(&dialler{config: config})
	pool.SetMaxOpenConns(most)
	pool.SetMaxIdleConns(most)
	pool.SetConnMaxIdleTime(time.Minute)
	return pool
}

// lock makes a new connection the only writer of the database: it waits for whoever holds the
// lock, so that nothing of an older connection can be committed after it. It refuses a server
// that acknowledges what is not on disk.
func (s *server) lock(ctx context.Context, conn *pgx.Conn) error {
	for _, name := range []string{"fsync", "full_page_writes"} {
		var on string
		if err := conn.QueryRow(ctx, "SELECT current_setting($1)", name).Scan(&on); err != nil {
			return err
		}
		if on != "on" {
			return &Error{Code: CodeUnsafe, Op: "open", Detail: "this server has " + name + " = " + on + ": what it acknowledges may be lost"}
		}
	}
	_, err := conn.PgConn().Exec(ctx, fmt.Sprintf("SET synchronous_commit = on; SET lock_timeout = %d", s.wait.Milliseconds())).ReadAll()
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, "SELECT pg_advisory_lock($1, hashtext(current_schema()))", int32(applicationID))
	return err
}

// relock is lock for a connection after the first: if another process was the writer in
// between, what this one has in memory is not what is in the books.
func (s *server) relock(ctx context.Context, conn *pgx.Conn) error {
	if err := s.lock(ctx, conn); err != nil {
		return err
	}
	var token string
	if err := conn.QueryRow(ctx, "SELECT token FROM store_writer").Scan(&token); err != nil {
		return err
	}
	if token != s.token {
		return &Error{Code: CodeTaken, Op: "connect", Detail: "another process has become the writer of this database; stop one of them and start again"}
	}
	return nil
}

func (s *server) hold(ctx context.Context, writer *sql.DB) error {
	return inTx(ctx, writer, func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, "DELETE FROM store_writer"); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, "INSERT INTO store_writer (token) VALUES (?)", s.token)
		return err
	})
}

func (*server) reading() *sql.TxOptions {
	return &sql.TxOptions{ReadOnly: true, Isolation: sql.LevelRepeatableRead}
}

// dialect is how the declarations of SQLite's strict tables read in PostgreSQL. Text compares
// byte by byte in both.
var dialect = []struct {
	from *regexp.Regexp
	to   string
}{
	{regexp.MustCompile(`(?m)--.*$`), ""},
	{regexp.MustCompile(`\bINTEGER\b`), "BIGINT"},
	{regexp.MustCompile(`\bBLOB\b`), "BYTEA"},
	{regexp.MustCompile(`\bTEXT\b`), `TEXT COLLATE "C"`},
	{regexp.MustCompile(`\)\s*STRICT\s*(,\s*WITHOUT\s+ROWID)?`), ")"},
}

func (*server) ddl(text string) string {
	for _, d := range dialect {
		text = d.from.ReplaceAllString(text, d.to)
	}
	return text
}

func (*server) owner(ctx context.Context, tx *sql.Tx) (tables int64, err error) {
	var ours int64
	err = tx.QueryRowContext(ctx, `SELECT count(*), count(*) FILTER (WHERE tablename = 'store_writer')
		FROM pg_tables WHERE schemaname = current_schema()`).Scan(&tables, &ours)
	if err == nil && tables > 0 && ours == 0 {
		return 0, foreign("it has tables of another program; give the books a database of their own")
	}
	return tables, err
}

func (*server) claim(ctx context.Context, tx *sql.Tx) error {
	_, err := tx.ExecContext(ctx, "CREATE TABLE store_writer (token TEXT NOT NULL)")
	return err
}

// item runs in a savepoint, for a failed statement ends a transaction of PostgreSQL otherwise.
func (*server) item(ctx context.Context, tx *sql.Tx, fn func() error) (refused, err error) {
	wrote, ok := ctx.Value(writing{}).(*connection)
	if !ok {
		return nil, errors.New("store: an item runs in a transaction of Update")
	}
	if _, err := tx.ExecContext(ctx, "SAVEPOINT item"); err != nil {
		return nil, err
	}
	before := wrote.rows
	end := "RELEASE SAVEPOINT item"
	if refused = fn(); refused != nil {
		if wrote.rows != before {
			return nil, brokeRule(wrote.rows-before, refused)
		}
		end = "ROLLBACK TO SAVEPOINT item"
	}
	_, err = tx.ExecContext(ctx, end)
	return refused, err
}

// write hands each column over as one array.
func (*server) write(ctx context.Context, tx *sql.Tx, s *statementOver) error {
	args := make([]any, len(s.columns))
	var types strings.Builder
	for i, c := range s.columns {
		if i > 0 {
			types.WriteString(", ")
		}
		switch {
		case c.Numbers != nil:
			args[i] = c.Numbers
			types.WriteString("?::bigint[]")
		case c.Texts != nil:
			args[i] = c.Texts
			types.WriteString("?::text[]")
		default:
			args[i] = c.Bytes
			types.WriteString("?::bytea[]")
		}
	}
	_, err := tx.ExecContext(ctx, s.head+"SELECT * FROM unnest("+types.String()+")"+s.tail, args...)
	return err
}

func (*server) among(ctx context.Context, tx *sql.Tx, s *selection, values []string, scan func(*sql.Rows) error) error {
	query := "SELECT " + s.columns + " FROM " + s.table + " WHERE " + s.column + " = ANY (?)"
	return scanAll(ctx, tx, query, []any{values}, scan)
}

// check reads every row of every table; the server verifies its pages while it does if it was
// set up with checksums.
func (*server) check(ctx context.Context, tx *sql.Tx, path string) error {
	rows, err := tx.QueryContext(ctx, "SELECT tablename FROM pg_tables WHERE schemaname = current_schema() ORDER BY tablename")
	if err != nil {
		return err
	}
	defer rows.Close()
	var tables []string
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return err
		}
		tables = append(tables, name)
	}
	if err := rows.Err(); err != nil {
		return err
	}
	for _, name := range tables {
		var n sql.NullInt64
		if err := tx.QueryRowContext(ctx, "SELECT sum(length(t::text)) FROM "+pgx.Identifier{name}.Sanitize()+" t").Scan(&n); err != nil {
			return &Error{Code: CodeCorrupt, Op: "check", Path: path, Detail: "table " + name + "; restore this database from a backup", Err: err}
		}
	}
	return nil
}

func (*server) fold(context.Context, *sql.DB) error { return nil }
