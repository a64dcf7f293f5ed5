package bus

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"io/fs"

	"robotorq.org/reserve/store"
)

//go:embed schema/*.sql
var schemaFiles embed.FS

// Schema is the tables of outboxes and marks; every station's store has them.
func Schema() store.Schema {
	files, err := fs.Sub(schemaFiles, "schema")
	if err != nil {
		panic("bus: the embedded schema is missing: " + err.Error())
	}
	return store.Schema{Name: "bus", Files: files}
}

// SaveMark records in the consumer's own transaction that everything of producer up to m is done.
// It refuses to go back (CodeMark), which would do work twice.
func SaveMark(ctx context.Context, tx *sql.Tx, consumer, producer string, m Mark) error {
	res, err := tx.ExecContext(ctx, `INSERT INTO bus_mark (consumer, producer, seq, digest) VALUES (?, ?, ?, ?)
		ON CONFLICT (consumer, producer) DO UPDATE SET seq = excluded.seq, digest = excluded.digest
		WHERE excluded.seq > bus_mark.seq`, consumer, producer, int64(m.Seq), m.Digest[:])
	if err != nil {
		return err
	}
	if n, err := res.RowsAffected(); err != nil || n == 1 {
		return err
	}
	return &Error{Code: CodeMark, Op: "save mark", Peer: producer, Seq: m.Seq, Detail: "the saved mark is not below it"}
}

// LoadMark reads a saved mark, the zero Mark if there is none.
func LoadMark(ctx context.Context, tx *sql.Tx, consumer, producer string) (Mark, error) {
	var seq int64
	var digest []byte
	err := tx.QueryRowContext(ctx, "SELECT seq, digest FROM bus_mark WHERE consumer = ? AND producer = ?", consumer, producer).
		Scan(&seq, &digest)
	if errors.Is(err, sql.ErrNoRows) {
		return Mark{}, nil
	}
	if err != nil {
		return Mark{}, err
	}
	return mark(seq, digest), nil
}

func mark(seq int64, digest []byte) Mark {
	m := Mark{Seq: uint64(seq)}
	copy(m.Digest[:], digest)
	return m
}

// StoredMark is the usual Consumer.Mark: it reads what the handler's transactions saved in db.
func StoredMark(db *store.DB, consumer, producer string) func(context.Context) (Mark, error) {
	return func(ctx context.Context) (m Mark, err error) {
		err = db.View(ctx, func(ctx context.Context, tx *sql.Tx) error {
			m, err = LoadMark(ctx, tx, consumer, producer)
			return err
		})
		return m, err
	}
}
