// Package assaybook keeps the state of a [proof.Assay] in a station's store: the
// digger that judges and the refinery that repeats the judgement have the same
// book. It holds no rule. What [Save] wrote survives with the transaction that it
// was given.
package assaybook

import (
	"context"
	"database/sql"
	"embed"
	"fmt"
	"io/fs"

	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/store"
)

//go:embed schema/*.sql
var schemaFiles embed.FS

// Schema is the tables of the book.
func Schema() store.Schema {
	files, err := fs.Sub(schemaFiles, "schema")
	if err != nil {
		panic("assaybook: the embedded schema is missing: " + err.Error())
	}
	return store.Schema{Name: "assay", Files: files}
}

// Load reads everything that was saved.
func Load(ctx context.Context, tx *sql.Tx) (s proof.AssayState, err error) {
	s.Robots, err = list(ctx, tx, "SELECT robot, digest, seq, last_end FROM assay_robot",
		func(r *sql.Rows, x *proof.RobotState) error {
			return r.Scan(&x.Robot, digest{&x.Digest}, &x.Seq, &x.LastEnd)
		})
	if err != nil {
		return s, err
	}
	s.Carries, err = list(ctx, tx, "SELECT robot, contract, micro FROM assay_carry",
		func(r *sql.Rows, x *proof.Carry) error { return r.Scan(&x.Robot, &x.Contract, &x.Micro) })
	if err != nil {
		return s, err
	}
	s.Contracts, err = list(ctx, tx, "SELECT contract, accepted FROM assay_contract",
		func(r *sql.Rows, x *proof.ContractState) error { return r.Scan(&x.Contract, &x.Accepted) })
	if err != nil {
		return s, err
	}
	s.Diggers, err = list(ctx, tx, "SELECT digger, digest, seq, sealed FROM assay_digger",
		func(r *sql.Rows, x *proof.ProducerState) error {
			return r.Scan(&x.Producer, digest{&x.Digest}, &x.Seq, &x.Sealed)
		})
	return s, err
}

// digest scans 32 bytes.
type digest struct{ into *merkle.Hash }

func (d digest) Scan(v any) error {
	b, ok := v.([]byte)
	if !ok || len(b) != len(d.into) {
		return fmt.Errorf("assaybook: %d bytes stand where a digest of %d belongs", len(b), len(d.into))
	}
	copy(d.into[:], b)
	return nil
}

func list[T any](ctx context.Context, tx *sql.Tx, query string, scan func(*sql.Rows, *T) error) (all []T, err error) {
	rows, err := tx.QueryContext(ctx, query)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var x T
		if err := scan(rows, &x); err != nil {
			return nil, err
		}
		all = append(all, x)
	}
	return all, rows.Err()
}

// Save writes what [proof.Assay.Changed] returned.
func Save(ctx context.Context, tx *sql.Tx, s proof.AssayState) error {
	exec := func(query string, args ...any) error {
		_, err := tx.ExecContext(ctx, query, args...)
		return err
	}
	for _, x := range s.Robots {
		if err := exec(`INSERT INTO assay_robot (robot, seq, digest, last_end) VALUES (?, ?, ?, ?)
			ON CONFLICT (robot) DO UPDATE SET seq = excluded.seq, digest = excluded.digest, last_end = excluded.last_end`,
			x.Robot, int64(x.Seq), x.Digest[:], int64(x.LastEnd)); err != nil {
			return err
		}
	}
	for _, x := range s.Carries {
		if err := exec(`INSERT INTO assay_carry (robot, contract, micro) VALUES (?, ?, ?)
			ON CONFLICT (robot, contract) DO UPDATE SET micro = excluded.micro`, x.Robot, x.Contract, int64(x.Micro)); err != nil {
			return err
		}
	}
	for _, x := range s.Contracts {
		if err := exec(`INSERT INTO assay_contract (contract, accepted) VALUES (?, ?)
			ON CONFLICT (contract) DO UPDATE SET accepted = excluded.accepted`, x.Contract, int64(x.Accepted)); err != nil {
			return err
		}
	}
	for _, x := range s.Diggers {
		if err := exec(`INSERT INTO assay_digger (digger, seq, digest, sealed) VALUES (?, ?, ?, ?)
			ON CONFLICT (digger) DO UPDATE SET seq = excluded.seq, digest = excluded.digest, sealed = excluded.sealed`,
			x.Producer, int64(x.Seq), x.Digest[:], int64(x.Sealed)); err != nil {
			return err
		}
	}
	return nil
}
