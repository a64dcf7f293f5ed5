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
// Documents and their hand-over (outbox) in one transaction. A contract is written
// down before the vault is asked to fund it, and forgotten only when the vault
// refuses it: one that a crash or a failure left in between is funded under the same
// number and signed later ([Station.Resume]).
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
	"robotorq.org/reserve/policy"
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
	// and returns the time of that posting; the same contract again gives the same
	// answer. A refusal is a [*ledger.Error] with the reason and its figures, and
	// has changed nothing; after any other error the contract may be funded.
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
	mu         sync.Mutex
	registry   *proof.Registry
	seq        uint64 // of the last document
	number     uint64 // of the last contract
	unfinished bool   // a contract may be funded and is not signed
	broken     error  // why the book could not be read again
}

// Code names the kind of an [Error]; codes are stable.
type Code string

// Codes of this station's errors.
const (
	CodeRefused      Code = "refused"       // a document that may not be logged
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

// load builds the registry from the store; after an error it is as it was.
func (s *Station) load(ctx context.Context) error {
	registry := proof.NewRegistry(s.Profile, nil)
	var seq, number, open uint64
	err := s.DB.View(ctx, func(ctx context.Context, tx *sql.Tx) error {
		rows, err := tx.QueryContext(ctx, "SELECT seq, envelope FROM trust_document ORDER BY seq")
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var raw []byte
			if err := rows.Scan(&seq, &raw); err != nil {
				return err
			}
			env, err := seal.DecodeEnvelope(raw)
			if err == nil {
				err = registry.Add(env)
			}
			if err != nil {
				return fmt.Errorf("trust document %d: %w", seq, err)
			}
		}
		if err := rows.Err(); err != nil {
			return err
		}
		return tx.QueryRowContext(ctx, "SELECT coalesce(max(number), 0), count(*) - count(document) FROM trust_contract").Scan(&number, &open)
	})
	if err != nil {
		return err
	}
	s.registry, s.seq, s.number, s.unfinished = registry, seq, number, open > 0
	return nil
}

// Submit admits a signed document: a charter, policy, enrolment or closing. It
// returns when the document is on disk and on its way to the log. The same
// document again changes nothing. A document that may not be logged is refused with
// [CodeRefused]; a contract is opened by [Station.Award].
func (s *Station) Submit(ctx context.Context, env seal.Envelope) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if known, err := s.known(ctx, env); err != nil || known {
		return err
	}
	if err := s.admissible(env, uint64(s.Clock.Now().UnixMilli())); err != nil {
		return &Error{Code: CodeRefused, Detail: err.Error()}
	}
	return s.submit(ctx, env, nil)
}

// admissible tests what the registry, which knows no clock, does not: that a document
// comes in time and that the other stations can follow it.
func (s *Station) admissible(env seal.Envelope, now uint64) error {
	switch env.PayloadType {
	case proof.TypeContract:
		return errors.New("a contract is logged when the vault has funded it")
	case proof.TypePolicy:
		// The first one founds the reserve.
		d, err := policy.Decode(env.Payload)
		if err == nil && d.Version > 1 && d.Effective <= now {
			return fmt.Errorf("policy version %d would hold since %d, it is %d", d.Version, d.Effective, now)
		}
	case proof.TypeEnrolment:
		e, err := seal.DecodeEnrolment(env.Payload)
		if _, _, founded := s.registry.Policy(torq.TimeLimitMS); err == nil && e.Robot == nil && !founded {
			return errors.New("there is no wallet before the first policy")
		}
	case proof.TypeClosing:
		c, err := proof.DecodeClosing(env.Payload)
		if p, _, ok := s.registry.Policy(now); err == nil && ok && c.Closed < now+p.ClosingNotice {
			return fmt.Errorf("a closing is logged at least %d ms before closed_ms %d, it is %d", p.ClosingNotice, c.Closed, now)
		}
	}
	return nil
}

// submit adds a document that is not known; also writes more in the same
// transaction.
func (s *Station) submit(ctx context.Context, env seal.Envelope, also func(context.Context, *sql.Tx) error) error {
	if s.broken != nil {
		return s.broken
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
		// The registry is ahead of the store.
		if unread := s.load(context.WithoutCancel(ctx)); unread != nil {
			s.registry = proof.NewRegistry(s.Profile, nil) // never shows what may not be on disk
			s.broken = fmt.Errorf("trust has stopped: its book cannot be read: %w", unread)
			return errors.Join(err, s.broken)
		}
		return err
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
// keep it nor call the station, and must be short.
func (s *Station) With(fn func(*proof.Registry)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fn(s.registry)
}
