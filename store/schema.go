package store

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
)

// applicationID is written into the header of every file of this package ("RTQ1").
const applicationID = 0x52545131

// Schema is the history of one room's tables: files named "0001_what.sql", "0002_…" without
// gaps, in the root of Files (an embed.FS narrowed with fs.Sub, say). A file may hold several
// statements. Once released it never changes; a change is a new file. Names are unique in a
// database, [a-z][a-z0-9_]*.
//
// The text is SQLite's. PostgreSQL gets the same with its own names for the types INTEGER, TEXT
// and BLOB and without STRICT and WITHOUT ROWID, which stand for themselves in capitals.
type Schema struct {
	Name  string
	Files fs.FS
}

// Version is the last applied migration of a schema.
type Version struct {
	Schema string
	Number int
}

type migration struct {
	number int
	name   string
	text   string
	sum    [sha256.Size]byte
}

func (s Schema) migrations() ([]migration, error) {
	if !goodName(s.Name) {
		return nil, &Error{Code: CodeSchemaInvalid, Op: "migrate", Path: s.Name, Detail: "a schema's name is [a-z][a-z0-9_]*"}
	}
	names, err := fs.Glob(s.Files, "*.sql")
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	var all []migration
	for i, name := range names {
		head, _, ok := strings.Cut(name, "_")
		number, err := strconv.Atoi(head)
		if !ok || err != nil || len(head) != 4 || number != i+1 {
			return nil, &Error{Code: CodeSchemaInvalid, Op: "migrate", Path: s.Name + "/" + name,
				Detail: fmt.Sprintf("expected a name that begins with %04d_", i+1)}
		}
		text, err := fs.ReadFile(s.Files, name)
		if err != nil {
			return nil, err
		}
		all = append(all, migration{number: number, name: name, text: string(text), sum: sha256.Sum256(text)})
	}
	return all, nil
}

func goodName(s string) bool {
	for i, c := range []byte(s) {
		letter := c >= 'a' && c <= 'z'
		if !letter && (i == 0 || !(c == '_' || c >= '0' && c <= '9')) {
			return false
		}
	}
	return s != ""
}

// migrate brings an open file to the schemas, one transaction per migration.
func migrate(ctx context.Context, writer *sql.DB, e engine, path string, schemas []Schema) error {
	if err := claim(ctx, writer, e); err != nil {
		return err
	}
	var pending []func() error
	err := inTx(ctx, writer, func(tx *sql.Tx) error {
		return compare(ctx, tx, path, schemas, func(s Schema, m migration) {
			pending = append(pending, func() error { return apply(ctx, writer, e, path, s, m) })
		})
	})
	if err != nil {
		return err
	}
	for _, run := range pending {
		if err := run(); err != nil {
			return err
		}
	}
	return nil
}

// claim marks new books as this program's and refuses those of another.
func claim(ctx context.Context, writer *sql.DB, e engine) error {
	return inTx(ctx, writer, func(tx *sql.Tx) error {
		tables, err := e.owner(ctx, tx)
		if err != nil || tables > 0 {
			return err
		}
		if err := e.claim(ctx, tx); err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, e.ddl(`CREATE TABLE store_migration (
			schema TEXT NOT NULL, number INTEGER NOT NULL, name TEXT NOT NULL, sha256 BLOB NOT NULL,
			PRIMARY KEY (schema, number)) STRICT, WITHOUT ROWID`))
		return err
	})
}

// compare checks what was applied against the schemas and calls missing, in order, for what was not.
func compare(ctx context.Context, tx *sql.Tx, path string, schemas []Schema, missing func(Schema, migration)) error {
	applied, err := history(ctx, tx)
	if err != nil {
		return err
	}
	for i, s := range schemas {
		if slices.ContainsFunc(schemas[:i], func(t Schema) bool { return t.Name == s.Name }) {
			return &Error{Code: CodeSchemaInvalid, Op: "migrate", Path: path, Detail: "schema " + s.Name + " is given twice"}
		}
		known, err := s.migrations()
		if err != nil {
			return err
		}
		done := applied[s.Name]
		if len(done) > len(known) {
			return &Error{Code: CodeSchemaNewer, Op: "open", Path: path,
				Detail: fmt.Sprintf("schema %s is at version %d, this program knows %d: use the newer program, or restore a backup from before the upgrade", s.Name, len(done), len(known))}
		}
		for j, m := range known {
			if j >= len(done) {
				missing(s, m)
			} else if done[j].sum != m.sum || done[j].number != m.number {
				return &Error{Code: CodeMigrationChanged, Op: "open", Path: path,
					Detail: fmt.Sprintf("%s/%s was applied with SHA-256 %s and is %s in this program", s.Name, m.name, hex.EncodeToString(done[j].sum[:4]), hex.EncodeToString(m.sum[:4]))}
			}
		}
	}
	for name := range applied {
		if !slices.ContainsFunc(schemas, func(s Schema) bool { return s.Name == name }) {
			return &Error{Code: CodeSchemaNewer, Op: "open", Path: path,
				Detail: "the file has a schema " + name + " that this program does not know here"}
		}
	}
	return nil
}

func history(ctx context.Context, tx *sql.Tx) (map[string][]migration, error) {
	rows, err := tx.QueryContext(ctx, "SELECT schema, number, name, sha256 FROM store_migration ORDER BY schema, number")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	applied := make(map[string][]migration)
	for rows.Next() {
		var schema string
		var m migration
		var sum []byte
		if err := rows.Scan(&schema, &m.number, &m.name, &sum); err != nil {
			return nil, err
		}
		copy(m.sum[:], sum)
		applied[schema] = append(applied[schema], m)
	}
	return applied, rows.Err()
}

func apply(ctx context.Context, writer *sql.DB, e engine, path string, s Schema, m migration) error {
	err := inTx(ctx, writer, func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, e.ddl(m.text)); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, "INSERT INTO store_migration (schema, number, name, sha256) VALUES (?, ?, ?, ?)",
			s.Name, m.number, m.name, m.sum[:])
		return err
	})
	if err == nil || interrupted(ctx, err) {
		return err
	}
	return &Error{Code: CodeMigrationFailed, Op: "migrate", Path: path, Detail: s.Name + "/" + m.name, Err: err}
}

// versions lists what was applied, sorted by schema.
func versions(ctx context.Context, tx *sql.Tx) ([]Version, error) {
	applied, err := history(ctx, tx)
	if err != nil {
		return nil, err
	}
	var all []Version
	for name, done := range applied {
		all = append(all, Version{Schema: name, Number: len(done)})
	}
	slices.SortFunc(all, func(a, b Version) int { return strings.Compare(a.Schema, b.Schema) })
	return all, nil
}

// Versions lists the schemas of the file and how far each was migrated.
func (db *DB) Versions(ctx context.Context) (all []Version, err error) {
	err = db.View(ctx, func(ctx context.Context, tx *sql.Tx) error {
		all, err = versions(ctx, tx)
		return err
	})
	return all, err
}

func inTx(ctx context.Context, pool *sql.DB, fn func(tx *sql.Tx) error) error {
	tx, err := pool.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	if err := fn(tx); err != nil {
		return errors.Join(err, ignoreDone(tx.Rollback()))
	}
	return tx.Commit()
}

func ignoreDone(err error) error {
	if errors.Is(err, sql.ErrTxDone) {
		return nil
	}
	return err
}
