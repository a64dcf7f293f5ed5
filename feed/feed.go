// Package feed is how a station knows what has been logged. The mint publishes
// every artefact after it is covered by a checkpoint, in the order of the log;
// a station follows that feed, keeps the documents that say who may do what
// (charters, policies, enrolments, contracts, closings) in its own store, and
// builds its [proof.Registry] from them again after a restart.
//
// A station trusts the feed for order alone: each document is verified by the
// registry before it counts. What survives a crash is what was saved with the
// station's mark in one transaction. It implements the hand-over of
// spec/proof-chain.md §6 for "an artefact is judged by what was logged".
package feed

import (
	"context"
	"database/sql"
	"embed"
	"fmt"
	"io/fs"

	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/seal"
	"robotorq.org/reserve/store"
)

//go:embed schema/*.sql
var schemaFiles embed.FS

// Schema is the table of what was learnt; every station that follows has it.
func Schema() store.Schema {
	files, err := fs.Sub(schemaFiles, "schema")
	if err != nil {
		panic("feed: the embedded schema is missing: " + err.Error())
	}
	return store.Schema{Name: "feed", Files: files}
}

// Encode is the body of a feed message: the artefact's envelope and, for a run,
// the payloads of its certificates.
func Encode(env seal.Envelope, certificates [][]byte) ([]byte, error) {
	return proof.RunMessage{Run: env, Certificates: certificates}.Encode()
}

// Decode reads the body of a feed message.
func Decode(body []byte) (env seal.Envelope, certificates [][]byte, err error) {
	m, err := proof.DecodeRunMessage(body)
	return m.Run, m.Certificates, err
}

// Load adds everything that was learnt before to the registry.
func Load(ctx context.Context, db *store.DB, registry *proof.Registry) error {
	return db.View(ctx, func(ctx context.Context, tx *sql.Tx) error {
		rows, err := tx.QueryContext(ctx, "SELECT seq, envelope FROM feed_logged ORDER BY seq")
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var seq int64
			var raw []byte
			if err := rows.Scan(&seq, &raw); err != nil {
				return err
			}
			env, err := seal.DecodeEnvelope(raw)
			if err == nil {
				err = registry.Add(env)
			}
			if err != nil {
				return fmt.Errorf("learnt document %d: %w", seq, err)
			}
		}
		return rows.Err()
	})
}

// Learn adds one logged artefact to the registry and to the store if it is a
// document that stations judge by, and reports whether it was. seq is its place
// in the feed (or in the log, for the mint itself): unique and rising. The
// caller saves its mark in the same transaction. An artefact that the registry refuses is an
// error: the log holds what must not be in it, and the station stops.
func Learn(ctx context.Context, tx *sql.Tx, registry *proof.Registry, seq uint64, env seal.Envelope) (bool, error) {
	if !proof.Concerns(env.PayloadType) {
		return false, nil
	}
	raw, err := env.EncodeCBOR()
	if err != nil {
		return false, err
	}
	if err := registry.Add(env); err != nil {
		return false, fmt.Errorf("the log's %s %s: %w", env.PayloadType, env.Digest(), err)
	}
	_, err = tx.ExecContext(ctx, "INSERT INTO feed_logged (seq, envelope) VALUES (?, ?)", int64(seq), raw)
	return true, err
}
