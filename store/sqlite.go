package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
)

// lite is the engine that keeps the books in one file.
type lite struct{}

func (lite) reading() *sql.TxOptions { return &sql.TxOptions{ReadOnly: true} }

func (lite) ddl(text string) string { return text }

func (lite) owner(ctx context.Context, tx *sql.Tx) (tables int64, err error) {
	var id int64
	if err := tx.QueryRowContext(ctx, "SELECT count(*) FROM sqlite_schema").Scan(&tables); err != nil {
		return 0, err
	}
	if err := tx.QueryRowContext(ctx, "PRAGMA application_id").Scan(&id); err != nil {
		return 0, err
	}
	if tables > 0 && id != applicationID {
		return 0, foreign(fmt.Sprintf("application id %08x, expected %08x: this file belongs to another program", id, applicationID))
	}
	return tables, nil
}

func (lite) claim(ctx context.Context, tx *sql.Tx) error {
	_, err := tx.ExecContext(ctx, fmt.Sprintf("PRAGMA application_id = %d", applicationID))
	return err
}

// hold has nothing to do: SQLite's lock on the file is taken by each transaction.
func (lite) hold(context.Context, *sql.DB) error { return nil }

func (lite) item(ctx context.Context, tx *sql.Tx, fn func() error) (refused, err error) {
	before, err := changes(ctx, tx)
	if err != nil {
		return nil, err
	}
	if refused = fn(); refused == nil {
		return nil, nil
	}
	after, err := changes(ctx, tx)
	if err != nil {
		return nil, errors.Join(err, refused)
	}
	if after != before {
		return nil, brokeRule(after-before, refused)
	}
	return refused, nil
}

func changes(ctx context.Context, tx *sql.Tx) (n int64, err error) {
	err = tx.QueryRowContext(ctx, "SELECT total_changes()").Scan(&n)
	return n, err
}

// rowsAtOnce is how many rows one statement of SQLite inserts: enough that calling it costs
// less than what it does.
const rowsAtOnce = 64

// write runs the statement for several rows at once, and for what is left one by one; the
// connection keeps both statements prepared. A statement of several rows that may be undone
// alone costs more than several statements, so only those are joined whose failure ends the
// transaction (OR FAIL).
func (lite) write(ctx context.Context, tx *sql.Tx, s *statementOver) error {
	one := "(" + strings.Repeat("?, ", len(s.columns)-1) + "?)"
	most, many, head := 1, one, s.head
	if s.final {
		most, many = rowsAtOnce, strings.Repeat(one+", ", rowsAtOnce-1)+one
		head = "INSERT OR FAIL" + strings.TrimPrefix(head, "INSERT")
	}
	args := make([]any, 0, most*len(s.columns))
	for at := 0; at < s.rows; {
		n, values := 1, one
		if s.rows-at >= most {
			n, values = most, many
		}
		args = args[:0]
		for i := at; i < at+n; i++ {
			for _, c := range s.columns {
				args = append(args, c.at(i))
			}
		}
		if _, err := tx.ExecContext(ctx, head+"VALUES "+values+s.tail, args...); err != nil {
			return err
		}
		at += n
	}
	return nil
}

// among joins several values with the table at once, which costs half of IN, and repeats one
// where there are fewer, so that the connection keeps few statements.
func (lite) among(ctx context.Context, tx *sql.Tx, s *selection, values []string, scan func(*sql.Rows) error) error {
	most := min(valuesAtOnce, len(values))
	if most > 1 {
		most = valuesAtOnce
	}
	query := "WITH wanted (one) AS (VALUES " + strings.Repeat("(?), ", most-1) + "(?)) SELECT " + s.columns +
		" FROM wanted CROSS JOIN " + s.table + " ON " + s.table + "." + s.column + " = wanted.one"
	args := make([]any, most)
	for at := 0; at < len(values); at += most {
		for i := range args {
			args[i] = values[min(at+i, len(values)-1)]
		}
		if err := scanAll(ctx, tx, query, args, scan); err != nil {
			return err
		}
	}
	return nil
}

const valuesAtOnce = 32

func (lite) check(ctx context.Context, tx *sql.Tx, path string) error {
	for _, pragma := range []string{"PRAGMA integrity_check(1)", "PRAGMA foreign_key_check"} {
		if err := checkOne(ctx, tx, path, pragma); err != nil {
			return err
		}
	}
	return nil
}

func checkOne(ctx context.Context, tx *sql.Tx, path, pragma string) error {
	rows, err := tx.QueryContext(ctx, pragma)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var first sql.NullString
		cols, err := rows.Columns()
		if err != nil {
			return err
		}
		dest := make([]any, len(cols))
		for i := range dest {
			dest[i] = new(sql.NullString)
		}
		dest[0] = &first
		if err := rows.Scan(dest...); err != nil {
			return err
		}
		if first.String != "ok" {
			return &Error{Code: CodeCorrupt, Op: "check", Path: path, Detail: pragma + ": " + first.String + "; restore this file from a backup"}
		}
	}
	return rows.Err()
}

// fold moves the write-ahead log into the file.
func (lite) fold(ctx context.Context, writer *sql.DB) error {
	_, err := writer.ExecContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)")
	return err
}
