// Package feed is how a station knows what has been logged. The mint publishes
// every artefact after it is covered by a checkpoint, in the order of the log;
// a station follows that feed, keeps the documents that say who may do what
// (charters, policies, enrolments, contracts, closings) in its own store, and
// builds its [proof.Registry] from them again after a restart.
//
// A station trusts the feed for order alone: each document is verified by the
// registry before it counts. What is in the station's own store was, and is not verified
// again. What survives a crash is what was saved with the
// station's mark in one transaction. Of members and organisations a registry holds
// nothing: it reads an enrolment when it is asked for it ([Book]). It implements the hand-over of
// the proof chain specification, section 6 for "an artefact is judged by what was logged".
package feed

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"

	"robotorq.org/reserve/bus"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/seal"
	"robotorq.org/reserve/store"
	"robotorq.org/reserve/torq"
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

// Load is a registry of everything that was learnt before.
func Load(ctx context.Context, db *store.DB, profile torq.Profile) (*proof.Registry, error) {
	return Logged.Load(ctx, db, profile)
}

// LoadBefore is Load of what was learnt at places below seq: what was known then of
// whoever is not a member or an organisation.
func LoadBefore(ctx context.Context, db *store.DB, profile torq.Profile, seq uint64) (*proof.Registry, error) {
	return Logged.load(ctx, db, profile, seq)
}

// Learn adds one logged artefact to the registry and to the store if it is a
// document that stations judge by, and reports whether it was. seq is its place
// in the feed (or in the log, for the mint itself): unique and rising. The
// caller saves its mark in the same transaction, and tells the registry when it has
// committed ([proof.Registry.Stored]). An artefact that the registry
// refuses is an error that wraps a *proof.Fault: the log holds what must not be in
// it. Then neither registry nor store has changed.
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
	if _, err = tx.ExecContext(ctx, "INSERT INTO feed_logged (seq, envelope) VALUES (?, ?)", int64(seq), raw); err != nil {
		return false, err
	}
	return true, Logged.Index(ctx, tx, seq, env)
}

// Follow learns from messages of the feed and saves the consumer's mark, in the
// consumer's transaction. It returns the largest time at which a logged artefact
// was made, as it says itself, 0 if none of them does.
//
// It takes the messages up to the first that must not be in a log; when that is
// the first of all the error is a bus.Halt, for it will not become right by being
// sent again. After any error the transaction has to be undone and the registry
// loaded again.
func Follow(ctx context.Context, tx *sql.Tx, registry *proof.Registry, consumer string, msgs []bus.Message) (made uint64, err error) {
	for i, m := range msgs {
		env, _, err := Decode(m.Body)
		if err != nil {
			err = bus.Halt(m.Seq, "malformed", err)
		} else if _, err = Learn(ctx, tx, registry, m.Seq, env); err != nil {
			fault := proof.AsFault(err)
			if fault == nil {
				return 0, err
			}
			err = bus.Halt(m.Seq, fault.Rule, err)
		}
		if err != nil && i == 0 {
			return 0, err
		}
		if err != nil {
			msgs = msgs[:i] // it is the first of the next call
			break
		}
		made = max(made, madeAt(env))
	}
	if len(msgs) == 0 {
		return 0, errors.New("feed: no message")
	}
	last := msgs[len(msgs)-1]
	return made, bus.SaveMark(ctx, tx, consumer, last.Producer, last.Mark())
}

// madeAt returns when an artefact says that it was sealed or issued, 0 for those
// that do not tell or that nobody has to believe yet.
func madeAt(env seal.Envelope) uint64 {
	switch env.PayloadType {
	case proof.TypePour:
		if p, err := proof.DecodePour(env.Payload); err == nil {
			return p.Sealed
		}
	case proof.TypeRun:
		if r, err := proof.DecodeRun(env.Payload); err == nil {
			return r.Sealed
		}
	case proof.TypeHead:
		if h, err := proof.DecodeHead(env.Payload); err == nil {
			return h.Issued
		}
	}
	return 0
}
