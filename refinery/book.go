package refinery

import (
	"context"
	"database/sql"
	"errors"

	"robotorq.org/reserve/assaybook"
	"robotorq.org/reserve/bus"
	"robotorq.org/reserve/proof"
)

// book is what the store says.
type book struct {
	assay     proof.AssayState
	open      []proof.OpenSpans
	end       proof.ProducerState
	nextIngot uint64
	covers    uint64
	stopped   map[string]*proof.Fault
}

func loadBook(ctx context.Context, tx *sql.Tx) (b book, err error) {
	if b.assay, err = assaybook.Load(ctx, tx); err != nil {
		return b, err
	}
	if b.open, err = loadOpen(ctx, tx); err != nil {
		return b, err
	}
	if b.stopped, err = loadStopped(ctx, tx); err != nil {
		return b, err
	}
	var digest []byte
	err = tx.QueryRowContext(ctx, "SELECT seq, digest, sealed, ingot, covers FROM refinery_chain").
		Scan(&b.end.Seq, &digest, &b.end.Sealed, &b.nextIngot, &b.covers)
	if errors.Is(err, sql.ErrNoRows) {
		b.nextIngot, err = 1, nil
	}
	copy(b.end.Digest[:], digest)
	return b, err
}

func loadOpen(ctx context.Context, tx *sql.Tx) (open []proof.OpenSpans, err error) {
	rows, err := tx.QueryContext(ctx, "SELECT contract, spans FROM refinery_open")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var x proof.OpenSpans
		var spans []byte
		if err := rows.Scan(&x.Contract, &spans); err != nil {
			return nil, err
		}
		if x.Spans, err = proof.DecodeSpans(spans); err != nil {
			return nil, err
		}
		open = append(open, x)
	}
	return open, rows.Err()
}

// saveBook writes what changed since the last call.
func saveBook(ctx context.Context, tx *sql.Tx, s proof.AssayState, builder *proof.IngotBuilder, end proof.ProducerState, covers uint64) error {
	exec := func(query string, args ...any) error {
		_, err := tx.ExecContext(ctx, query, args...)
		return err
	}
	if err := assaybook.Save(ctx, tx, s); err != nil {
		return err
	}
	for _, x := range builder.Changed() {
		query := "DELETE FROM refinery_open WHERE contract = ?"
		args := []any{x.Contract}
		if len(x.Spans) > 0 {
			query = `INSERT INTO refinery_open (contract, spans) VALUES (?, ?)
				ON CONFLICT (contract) DO UPDATE SET spans = excluded.spans`
			args = append(args, proof.EncodeSpans(x.Spans))
		}
		if err := exec(query, args...); err != nil {
			return err
		}
	}
	return exec(`INSERT INTO refinery_chain (id, seq, digest, sealed, ingot, covers) VALUES (1, ?, ?, ?, ?, ?)
		ON CONFLICT (id) DO UPDATE SET seq = excluded.seq, digest = excluded.digest, sealed = excluded.sealed,
		ingot = excluded.ingot, covers = excluded.covers`,
		int64(end.Seq), end.Digest[:], int64(end.Sealed), int64(builder.Next()), int64(covers))
}

func loadStopped(ctx context.Context, tx *sql.Tx) (map[string]*proof.Fault, error) {
	rows, err := tx.QueryContext(ctx, "SELECT digger, artefact, digest, rule, detail FROM refinery_stopped")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	stopped := map[string]*proof.Fault{}
	for rows.Next() {
		var digger string
		var digest []byte
		f := &proof.Fault{}
		if err := rows.Scan(&digger, &f.Artefact, &digest, &f.Rule, &f.Detail); err != nil {
			return nil, err
		}
		copy(f.Digest[:], digest)
		stopped[digger] = f
	}
	return stopped, rows.Err()
}

func saveStop(ctx context.Context, tx *sql.Tx, m bus.Message, now uint64, f *proof.Fault) error {
	_, err := tx.ExecContext(ctx, `INSERT INTO refinery_stopped (digger, message, time, artefact, digest, rule, detail)
		VALUES (?, ?, ?, ?, ?, ?, ?)`, m.Producer, int64(m.Seq), int64(now), f.Artefact, f.Digest[:], f.Rule, f.Detail)
	return err
}
