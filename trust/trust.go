// Package trust is the station that admits and contracts: it takes the reserve's
// charter, policies and enrolments, and leads contracts through their life.
//
// # What it does
//
// Every document that says who may do what passes here once, is checked by
// [proof.Registry] against all before it, and goes to the mint to be logged, in
// this order. A contract is proposed by an enterprise, countersigned by a trust key,
// awarded and funded by the vault, signed and logged; it counts from then on. Trust
// ends it when its deadline or too long a time without accepted ore has passed, or
// when a party asks for it, by a closing that is logged before it takes effect, and
// tells the vault what had been accepted by then.
//
// # What it trusts
//
// The charter's keys, its own store and clock, the digger for what is accepted. Not
// the parties of a contract. Enrolments that are in its store were verified, and are not
// verified again.
//
// # What survives a crash
//
// Documents and their hand-over (outbox) in one transaction, and with them the case
// that they are about. What the vault does for a contract comes before what Trust
// writes of it and may be asked for again: a crash in between leaves a case that is
// brought up to the vault's books later ([Station.Resume], [Station.Look]).
//
// It implements the proof chain specification, section 3 (enrolments) and the ledger specification, section 2
// (Contract, Ending), without bids.
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
	"robotorq.org/reserve/feed"
	"robotorq.org/reserve/ledger"
	"robotorq.org/reserve/merkle"
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
type Clock interface {
	Now() time.Time
	NewTimer(d time.Duration) (c <-chan time.Time, stop func() bool)
}

// Vault is what Trust needs of the vault. Every call may be repeated: what was done
// before gives the same answer. A refusal is a [*ledger.Error] with the reason and its
// figures, and has changed nothing; after any other error it may have been done.
type Vault interface {
	// Consider tests what an award would refuse whenever it comes, by a registry that may
	// know robots before the vault does. It changes nothing.
	Consider(c proof.Contract, registry *proof.Registry, now uint64) error
	// Award makes the vault check, locks the deposit and opens a contract to investors.
	Award(ctx context.Context, terms proof.Contract) error
	// Fund moves what the investments leave of the stake.
	Fund(ctx context.Context, contract string) (ledger.Contract, error)
	// Abandon ends a contract that was awarded and not funded.
	Abandon(ctx context.Context, contract string, withdrawn bool) error
	// Close follows a closing that is logged and has taken effect.
	Close(ctx context.Context, contract string, accepted uint64) error
	// Accepted books that all work of a contract is accepted: its robots are free.
	Accepted(ctx context.Context, contract string) error
	// Money is what the books know of a contract since its award.
	Money(contract string) (money ledger.Contract, found bool)
	// Objected reports whether a former key has objected to a rebinding, by the digest
	// of its enrolment.
	Objected(enrolment merkle.Hash) bool
}

// Digger is what Trust needs to know of a contract's progress.
type Digger interface {
	// Accepted returns the ore that was accepted under a contract.
	Accepted(contract string) uint64
	// Closed tells whether a logged closing of the contract has taken effect at the
	// digger: what it has accepted is final.
	Closed(contract string) bool
	// Head is a robot's last report that is sealed, seq 0 when there is none; ok is false
	// while the digger cannot say.
	Head(robot string) (last proof.Link, ok bool)
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
	quota    quota
	number   uint64            // of the last contract
	live     map[uint64]Case   // contracts whose life has not ended
	noted    map[uint64]uint64 // when the progress of a contract was last written, Unix ms
	broken   error             // why the book could not be read again
}

// Code names the kind of an [Error]; codes are stable.
type Code string

// Codes of this station's errors.
const (
	CodeRefused      Code = "refused"       // a document that may not be logged
	CodeNotFounded   Code = "not_founded"   // there is no policy yet
	CodeUnknownRobot Code = "unknown_robot" // not enrolled with the contract's digger
	CodeUnknownParty Code = "unknown_party" // enterprise, owner, digger or refinery

	CodeUnknownContract Code = "unknown_contract"
	CodeWrongState      Code = "wrong_state"   // not at this point of a contract's life
	CodeBadSignature    Code = "bad_signature" // not by whom it binds
	CodePartial         Code = "partial"       // signed by a key of a party to the contract
	CodeExpired         Code = "expired"       // signed too long ago, or ahead of the clock
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
	registry, err := feed.Admitted.Load(ctx, s.DB, s.Profile)
	if err == nil {
		err = s.completeKeys(ctx)
	}
	if err != nil {
		return err
	}
	var seq, number uint64
	live, enrolled := map[uint64]Case{}, quota{}
	err = s.DB.View(ctx, func(ctx context.Context, tx *sql.Tx) error {
		if err := enrolled.load(ctx, tx); err != nil {
			return err
		}
		if err := tx.QueryRowContext(ctx, "SELECT coalesce(max(seq), 0) FROM trust_document").Scan(&seq); err != nil {
			return err
		}
		if err := tx.QueryRowContext(ctx, "SELECT coalesce(max(number), 0) FROM trust_case").Scan(&number); err != nil {
			return err
		}
		cases, err := readCases(ctx, tx, "WHERE state NOT IN ('rejected', 'completed', 'cancelled', 'defaulted')")
		for _, c := range cases {
			if signed, digest, ok := registry.Contract(c.Terms.ID); ok {
				c.Terms, c.Document = signed, digest
			}
			live[c.Number] = c
		}
		return err
	})
	if err != nil {
		return err
	}
	s.quota, s.registry, s.seq, s.number, s.live, s.noted = enrolled, registry, seq, number, live, map[uint64]uint64{}
	return nil
}

// Submit admits a signed document: a charter, policy, enrolment or closing. It
// returns when the document is on disk and on its way to the log. The same
// document again changes nothing. A document that may not be logged is refused with
// [CodeRefused], an enrolment under a registrar's key that has ended by now with
// [CodeBadSignature]; a contract is opened by
// [Station.Propose].
func (s *Station) Submit(ctx context.Context, env seal.Envelope) error {
	by, err := s.genuine(ctx, env)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if known, err := s.known(ctx, env); err != nil || known {
		return err
	}
	if err := s.admissible(env, uint64(s.Clock.Now().UnixMilli())); err != nil {
		if coded := (*Error)(nil); errors.As(err, &coded) || store.CodeOf(err) != "" {
			return err // a store that could not be read refuses nothing
		}
		return &Error{Code: CodeRefused, Detail: err.Error()}
	}
	add := s.registry.Add
	if by != nil && by == s.registry.Charter() {
		add = s.registry.Restore // its signatures are verified
	}
	return s.submit(ctx, env, add, nil)
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
		if err != nil || d.Version <= 1 {
			return nil
		}
		if p, _, ok := s.registry.Policy(now); ok && d.Effective < now+p.Notice {
			return fmt.Errorf("policy version %d would hold from %d on, %d ms before its notice of %d ms has run: it is %d",
				d.Version, d.Effective, now+p.Notice-d.Effective, p.Notice, now)
		}
	case proof.TypeEnrolment:
		if err := s.stillOpen(env, seal.RoleRegistrar, now); err != nil {
			return err
		}
		e, err := seal.DecodeEnrolment(env.Payload)
		if _, _, founded := s.registry.Policy(torq.TimeLimitMS); err == nil && e.Robot == nil && !founded {
			return &Error{Code: CodeNotFounded, Detail: "the reserve is being founded, and there is no wallet before its first policy"}
		}
		if err == nil {
			if err := s.checkKeys(e); err != nil {
				return err
			}
		}
		if err == nil && e.Robot == nil {
			return s.admissiblePerson(e, now)
		}
		if err == nil {
			return s.admissibleRobot(e, now)
		}
	case proof.TypeClosing:
		c, err := proof.DecodeClosing(env.Payload)
		if p, _, ok := s.registry.Policy(now); err == nil && ok && c.Closed < now+p.ClosingNotice {
			return fmt.Errorf("a closing is logged at least %d ms before closed_ms %d, it is %d", p.ClosingNotice, c.Closed, now)
		}
	}
	return nil
}

// submit adds a document that is not known to the registry and the store; also writes more
// in the same transaction.
func (s *Station) submit(ctx context.Context, env seal.Envelope, add func(seal.Envelope) error, also func(context.Context, *sql.Tx) error) error {
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
	if err := add(env); proof.AsFault(err) != nil {
		return &Error{Code: CodeRefused, Err: err}
	} else if err != nil {
		return err
	}
	err = s.DB.Update(ctx, func(ctx context.Context, tx *sql.Tx) error {
		digest := env.Digest()
		_, err := tx.ExecContext(ctx, "INSERT INTO trust_document (seq, type, digest, envelope) VALUES (?, ?, ?, ?)",
			int64(s.seq+1), env.PayloadType, digest[:], raw)
		if err != nil {
			return err
		}
		if err := feed.Admitted.Index(ctx, tx, s.seq+1, env); err != nil {
			return err
		}
		if err := saveKeys(ctx, tx, s.seq+1, env); err != nil {
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
	s.quota.submitted(env)
	s.registry.Stored()
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
