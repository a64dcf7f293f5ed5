// Package trust is the station that admits and contracts: it takes the reserve's
// charter, policies and enrolments, opens contracts and sees that the vault funds
// them.
//
// # What it does
//
// Every document that says who may do what passes here once, is checked by
// [proof.Registry] against all before it, and goes to the mint to be logged, in
// this order. A contract is checked (robots enrolled, bonded and free, rating ×
// time enough for the work, parties known), funded by the vault, signed with a
// trust key and logged; it counts from then on.
//
// # What it trusts
//
// The charter's keys; its own store and clock. Not the parties of a contract.
//
// # What survives a crash
//
// Documents and their hand-over (outbox) in one transaction. A contract that was
// being funded is funded under the same key and signed when the station opens.
//
// It implements spec/proof-chain.md §3 (enrolments) and spec/ledger.md §2
// (Contract), without bids.
package trust

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"sync"
	"time"

	"robotorq.org/reserve/bus"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/seal"
	"robotorq.org/reserve/store"
	"robotorq.org/reserve/torq"
)

//go:embed schema/*.sql
var schemaFiles embed.FS

// Schemas are the tables of Trust's store.
func Schemas() []store.Schema {
	files, err := fs.Sub(schemaFiles, "schema")
	if err != nil {
		panic("trust: the embedded schema is missing: " + err.Error())
	}
	return []store.Schema{bus.Schema(), {Name: "trust", Files: files}}
}

// Clock is the time of the process.
type Clock interface{ Now() time.Time }

// Vault is what Trust needs of the vault.
type Vault interface {
	// Fund moves the vault's part of a contract's stake, once for each contract,
	// and returns the time of that posting. A refusal is a typed error with the
	// reason and its figures.
	Fund(ctx context.Context, terms proof.Contract) (fundedMS uint64, err error)
	// Accepted books that all work of a contract is accepted: its robots are free.
	Accepted(ctx context.Context, contract string) error
}

// Digger is what Trust needs to know of a contract's progress.
type Digger interface {
	// Accepted returns the ore that was accepted under a contract.
	Accepted(contract string) uint64
}

// Options say who Trust is. All but Logger are required.
type Options struct {
	ID      string
	Profile torq.Profile
	Signer  *seal.Signer // role trust
	DB      *store.DB    // with Schemas
	Outbox  *bus.Outbox  // documents, producer ID
	Clock   Clock
	Vault   Vault
	Digger  Digger
	Logger  *slog.Logger
}

// Station is a running Trust. It may be used by several goroutines.
type Station struct {
	Options
	log *slog.Logger

	// mu orders documents and guards what follows.
	mu       sync.Mutex
	registry *proof.Registry
	seq      uint64 // of the last document
	number   uint64 // of the last contract
}

// Code names the kind of an [Error]; codes are stable.
type Code string

// Codes of this station's errors.
const (
	CodeRefused      Code = "refused"       // a document that the registry refuses
	CodeUnknownRobot Code = "unknown_robot" // not enrolled with the contract's digger
	CodeUnknownParty Code = "unknown_party" // enterprise, owner, digger or refinery
)

// Error is an error of this station.
type Error struct {
	Code   Code
	Detail string
	Err    error
}

// Error implements error.
func (e *Error) Error() string {
	s := string(e.Code)
	if e.Detail != "" {
		s += ": " + e.Detail
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// ErrorCode returns the stable code.
func (e *Error) ErrorCode() string { return string(e.Code) }

// Open loads Trust's book.
func Open(ctx context.Context, o Options) (*Station, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Station{Options: o, log: o.Logger.With("station", "trust")}
	return s, s.load(ctx)
}

// load builds the registry from the store.
func (s *Station) load(ctx context.Context) error {
	s.registry = proof.NewRegistry(s.Profile, nil)
	s.seq, s.number = 0, 0
	return s.DB.View(ctx, func(ctx context.Context, tx *sql.Tx) error {
		rows, err := tx.QueryContext(ctx, "SELECT seq, envelope FROM trust_document ORDER BY seq")
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var raw []byte
			if err := rows.Scan(&s.seq, &raw); err != nil {
				return err
			}
			env, err := seal.DecodeEnvelope(raw)
			if err == nil {
				err = s.registry.Add(env)
			}
			if err != nil {
				return fmt.Errorf("trust document %d: %w", s.seq, err)
			}
		}
		if err := rows.Err(); err != nil {
			return err
		}
		var number sql.NullInt64
		err = tx.QueryRowContext(ctx, "SELECT max(number) FROM trust_contract").Scan(&number)
		s.number = uint64(number.Int64)
		return err
	})
}

// Submit admits a signed document: a charter, policy, enrolment or closing. It
// returns when the document is on disk and on its way to the log. The same
// document again changes nothing.
func (s *Station) Submit(ctx context.Context, env seal.Envelope) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.submit(ctx, env, nil)
}

// submit adds a document; also writes more in the same transaction.
func (s *Station) submit(ctx context.Context, env seal.Envelope, also func(context.Context, *sql.Tx) error) error {
	known, err := s.known(ctx, env)
	if err != nil || known {
		return err
	}
	raw, err := env.EncodeCBOR()
	if err != nil {
		return &Error{Code: CodeRefused, Err: err}
	}
	subject, err := s.subject(env)
	if err != nil {
		return &Error{Code: CodeRefused, Err: err}
	}
	if err := s.registry.Add(env); err != nil {
		return &Error{Code: CodeRefused, Err: err}
	}
	err = s.DB.Update(ctx, func(ctx context.Context, tx *sql.Tx) error {
		digest := env.Digest()
		_, err := tx.ExecContext(ctx, "INSERT INTO trust_document (seq, type, digest, envelope) VALUES (?, ?, ?, ?)",
			int64(s.seq+1), env.PayloadType, digest[:], raw)
		if err != nil {
			return err
		}
		if also != nil {
			if err := also(ctx, tx); err != nil {
				return err
			}
		}
		_, err = s.Outbox.Append(ctx, tx, subject, bus.Trace{}, raw)
		return err
	})
	if err != nil {
		return errors.Join(err, s.load(context.WithoutCancel(ctx)))
	}
	s.seq++
	return nil
}

func (s *Station) known(ctx context.Context, env seal.Envelope) (known bool, err error) {
	digest := env.Digest()
	err = s.DB.View(ctx, func(ctx context.Context, tx *sql.Tx) error {
		return tx.QueryRowContext(ctx, "SELECT EXISTS (SELECT 1 FROM trust_document WHERE digest = ?)", digest[:]).Scan(&known)
	})
	return known, err
}

// subject says where a document is announced.
func (s *Station) subject(env seal.Envelope) (string, error) {
	switch env.PayloadType {
	case proof.TypeContract:
		c, err := proof.DecodeContract(env.Payload)
		if err != nil {
			return "", err
		}
		return contractSubject(c.ID, "funded")
	case proof.TypeClosing:
		c, err := proof.DecodeClosing(env.Payload)
		if err != nil {
			return "", err
		}
		return contractSubject(c.Contract, "closing")
	case proof.TypeEnrolment:
		e, err := seal.DecodeEnrolment(env.Payload)
		if err != nil {
			return "", err
		}
		return bus.SubjectRobot(e.ID, "enrolled")
	}
	return bus.SubjectVault(proof.ShortType(env.PayloadType))
}

func contractSubject(id, event string) (string, error) {
	_, number, err := proof.ParseContractID(id)
	if err != nil {
		return "", err
	}
	return bus.SubjectContract(number, event)
}

// With runs fn with the registry of all documents submitted so far. fn MUST NOT
// keep it.
func (s *Station) With(fn func(*proof.Registry)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fn(s.registry)
}
