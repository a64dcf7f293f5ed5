package store

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"
)

// CopyTo copies every row of the books in an SQLite file into other books, in one
// transaction: how a station moves from a file to a server. Both are at the same schemas.
// Books that hold a row already are left as they are, and copied is false.
//
// A column called id numbers rows where nobody else does, and is given anew in the same
// order: otherwise a server would begin again at 1.
func (db *DB) CopyTo(ctx context.Context, to *DB) (copied bool, err error) {
	err = db.View(ctx, func(ctx context.Context, from *sql.Tx) error {
		tables, err := textsOf(ctx, from, "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' AND name NOT LIKE 'store_%' ORDER BY name")
		if err != nil {
			return err
		}
		return to.Update(ctx, func(ctx context.Context, into *sql.Tx) error {
			for _, table := range tables {
				var taken int64
				err := into.QueryRowContext(ctx, "SELECT count(*) FROM (SELECT 1 FROM "+table+" LIMIT 1) AS one").Scan(&taken)
				if err != nil || taken > 0 {
					return err
				}
			}
			for _, table := range tables {
				if err := copyTable(ctx, from, into, table); err != nil {
					return fmt.Errorf("table %s: %w", table, err)
				}
			}
			copied = true
			return nil
		})
	})
	return copied && err == nil, err
}

func copyTable(ctx context.Context, from, into *sql.Tx, table string) error {
	columns, err := textsOf(ctx, from, "SELECT name FROM pragma_table_info('"+table+"') ORDER BY cid")
	if err != nil {
		return err
	}
	order := columns[0]
	columns = slices.DeleteFunc(columns, func(name string) bool { return name == "id" })
	names := strings.Join(columns, ", ")
	insert := "INSERT INTO " + table + " (" + names + ") VALUES (?" + strings.Repeat(", ?", len(columns)-1) + ")"
	// The driver gives an empty BLOB as NULL: it is asked which it is.
	rows, err := from.QueryContext(ctx, "SELECT "+names+", "+strings.Join(columns, " IS NULL, ")+" IS NULL FROM "+table+" ORDER BY "+order)
	if err != nil {
		return err
	}
	defer rows.Close()
	values, null, places := make([]any, len(columns)), make([]bool, len(columns)), make([]any, 2*len(columns))
	for i := range values {
		places[i], places[len(columns)+i] = &values[i], &null[i]
	}
	for rows.Next() {
		if err := rows.Scan(places...); err != nil {
			return err
		}
		for i, v := range values {
			if raw, isBytes := v.([]byte); !null[i] && (v == nil || isBytes && raw == nil) {
				values[i] = []byte{}
			}
		}
		if _, err := into.ExecContext(ctx, insert, values...); err != nil {
			return err
		}
	}
	return rows.Err()
}

func textsOf(ctx context.Context, tx *sql.Tx, query string) (list []string, err error) {
	rows, err := tx.QueryContext(ctx, query)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var text string
		if err := rows.Scan(&text); err != nil {
			return nil, err
		}
		list = append(list, text)
	}
	return list, rows.Err()
}
