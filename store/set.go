package store

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
)

// Set is many rows of one table, column by column. Values are int64, string or []byte; a nil
// []byte is NULL. All columns have the same length.
type Set struct {
	Table   string
	Columns []Column
}

// Column is one column of a [Set]; exactly one of its lists is used.
type Column struct {
	Name    string
	Numbers []int64
	Texts   []string
	Bytes   [][]byte
}

func (c *Column) length() int { return max(len(c.Numbers), len(c.Texts), len(c.Bytes)) }

func (c *Column) at(i int) any {
	switch {
	case c.Numbers != nil:
		return c.Numbers[i]
	case c.Texts != nil:
		return c.Texts[i]
	case c.Bytes[i] == nil:
		return nil
	}
	return c.Bytes[i]
}

// statementOver is a statement that takes the rows of a set.
type statementOver struct {
	head, tail string // around the rows
	columns    []*Column
	rows       int
	final      bool // an INSERT whose failure ends the transaction
}

func over(s *Set) (*statementOver, []string, error) {
	o := &statementOver{}
	names := make([]string, len(s.Columns))
	for i := range s.Columns {
		c := &s.Columns[i]
		if i == 0 {
			o.rows = c.length()
		}
		if c.length() != o.rows {
			return nil, nil, fmt.Errorf("store: column %s.%s has %d rows, the first has %d", s.Table, c.Name, c.length(), o.rows)
		}
		names[i] = c.Name
		o.columns = append(o.columns, c)
	}
	return o, names, nil
}

// Insert adds the rows of a set: on PostgreSQL by one statement, on SQLite by few. A key that
// is there already is CodeConstraint, and the transaction MUST be given up.
func (db *DB) Insert(ctx context.Context, tx *sql.Tx, s *Set) error {
	o, names, err := over(s)
	if err != nil || o.rows == 0 {
		return err
	}
	o.final = true
	o.head = "INSERT INTO " + s.Table + " (" + strings.Join(names, ", ") + ") "
	return db.engine.write(ctx, tx, o)
}

// Put adds the rows of a set or replaces those that have the same key, which is its first keys
// columns. A key MUST occur once in the set.
func (db *DB) Put(ctx context.Context, tx *sql.Tx, s *Set, keys int) error {
	o, names, err := over(s)
	if err != nil || o.rows == 0 {
		return err
	}
	set := make([]string, 0, len(names))
	for _, n := range names[keys:] {
		set = append(set, n+" = excluded."+n)
	}
	o.head = "INSERT INTO " + s.Table + " (" + strings.Join(names, ", ") + ") "
	o.tail = " ON CONFLICT (" + strings.Join(names[:keys], ", ") + ") DO UPDATE SET " + strings.Join(set, ", ")
	return db.engine.write(ctx, tx, o)
}

// Delete removes the rows whose columns are those of a row of the set.
func (db *DB) Delete(ctx context.Context, tx *sql.Tx, s *Set) error {
	o, names, err := over(s)
	if err != nil || o.rows == 0 {
		return err
	}
	o.head = "DELETE FROM " + s.Table + " WHERE (" + strings.Join(names, ", ") + ") IN ("
	o.tail = ")"
	return db.engine.write(ctx, tx, o)
}

// Among reads columns of the rows of a table in which a column of text is one of the values,
// and calls scan for each; a row may be seen more than once if a value is.
func (db *DB) Among(ctx context.Context, tx *sql.Tx, columns, table, column string, values []string, scan func(*sql.Rows) error) error {
	if len(values) == 0 {
		return nil
	}
	return db.engine.among(ctx, tx, &selection{columns, table, column}, values, scan)
}

// selection is what Among reads.
type selection struct{ columns, table, column string }

func scanAll(ctx context.Context, tx *sql.Tx, query string, args []any, scan func(*sql.Rows) error) error {
	rows, err := tx.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := scan(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}
