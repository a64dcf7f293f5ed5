package store

import (
	"context"
	"database/sql"
	"fmt"
)

// engine is what differs below the SQL that both engines understand. SQLite is the zero
// configuration; PostgreSQL is asked for by an address instead of a path.
type engine interface {
	// reading are the options of a transaction that sees one consistent picture.
	reading() *sql.TxOptions
	// ddl turns the text of a migration into the engine's own.
	ddl(text string) string
	// owner counts the tables that are there and tells whether they are this program's.
	owner(ctx context.Context, tx *sql.Tx) (tables int64, err error)
	// claim marks empty books as this program's.
	claim(ctx context.Context, tx *sql.Tx) error
	// hold makes this process the one writer, after the migrations.
	hold(ctx context.Context, writer *sql.DB) error
	// item runs one item of a group. What fn refused is refused; err ends the transaction.
	item(ctx context.Context, tx *sql.Tx, fn func() error) (refused, err error)
	// write runs one statement over all rows of a set.
	write(ctx context.Context, tx *sql.Tx, s *statementOver) error
	// among reads the rows in which a column is one of the values.
	among(ctx context.Context, tx *sql.Tx, s *selection, values []string, scan func(*sql.Rows) error) error
	// check examines the store itself, not what its rows mean.
	check(ctx context.Context, tx *sql.Tx, path string) error
	// fold tidies up before the writer is closed.
	fold(ctx context.Context, writer *sql.DB) error
}

// foreign is the refusal of books that are not this program's.
func foreign(detail string) error {
	return &Error{Code: CodeSchemaForeign, Op: "open", Detail: detail}
}

// brokeRule is the error of an item that failed after it wrote.
func brokeRule(rows int64, err error) error {
	return fmt.Errorf("an item failed after it wrote %d rows: %w", rows, err)
}
