// Package mint is the station that turns ingots into certificates and keeps the
// proof log: everything that the reserve stands on passes here and is published
// in one order.
//
// # What it does
//
// Documents of Trust and the vault are verified and logged in the order in which
// they come. Batches of the diggers are kept until a pour covers them; each must
// continue its digger's chain and the chains of its robots, so that no report
// comes twice, and count no more ore than a report gives. A pour is checked
// (signature, chain, root, time, spans unspent and in order) and logged after the
// batches that it covers are in the packs. As soon as the logged pours hold a
// certificate's ingots, in the order in which they were logged, a share of them
// chosen at random is derived again from the robots' own reports; then the
// certificates are built, sealed as a run and logged. The other ingots are
// derived again in the background. What was logged goes out as the mint's feed.
//
// Bonds are signed as the vault announces them, over the digests of certificates that
// the mint looks up itself; no certificate stands behind two.
//
// An ingot that does not derive stops the mint before anything is signed over it,
// also after a restart; when it is found later, its certificate is marked.
//
// # What it trusts
//
// The charter's keys, and nobody's arithmetic: what a refinery claims about ore
// is checked against the reports, a share at once and the rest within a day.
//
// # What survives a crash
//
// An artefact is acknowledged when it is in the mint's store, with its place in
// the log. Writing packs and log is repeated from there and changes nothing the
// second time; a certificate exists when the transaction that queued its run is
// committed, and its signature leaves the process only after that. After a
// transaction that failed, memory is read from the store again before anything
// else is taken.
//
// It implements the proof chain specification, section 2 (certificate, run), §4 (Mint), §5 and §6.
package mint

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"io/fs"
	"log/slog"
	"sync"
	"time"

	"robotorq.org/reserve/archive"
	"robotorq.org/reserve/bus"
	"robotorq.org/reserve/feed"
	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/mint/prooflog"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/seal"
	"robotorq.org/reserve/store"
	"robotorq.org/reserve/torq"
)

//go:embed schema/*.sql
var schemaFiles embed.FS

// Schemas are the tables of the mint's store.
func Schemas() []store.Schema {
	files, err := fs.Sub(schemaFiles, "schema")
	if err != nil {
		panic("mint: the embedded schema is missing: " + err.Error())
	}
	return []store.Schema{bus.Schema(), feed.Schema(), {Name: "mint", Files: files}}
}

// Clock is the time of the process.
type Clock interface {
	Now() time.Time
	NewTimer(d time.Duration) (c <-chan time.Time, stop func() bool)
}

// Options say who the mint is and how it works. ID, Profile, Signer, DB, Outbox,
// Packs, Shelf, Log and Clock are required; the mint uses them and does not close
// them.
type Options struct {
	ID      string
	Profile torq.Profile
	Signer  *seal.Signer // role mint
	DB      *store.DB    // with Schemas
	Outbox  *bus.Outbox  // the feed, producer ID
	Packs   *archive.Writer
	Shelf   *archive.Reader
	Log     *prooflog.Log
	Clock   Clock
	Logger  *slog.Logger // discarded if nil

	// Share is the part of the ingots that is derived again before a run is
	// signed, in percent; 0 means 10, at most 100.
	Share int
	// MaxRun is the most certificates that a run seals; 0 means 32, at most 256.
	MaxRun int
	// Rest is how long the ingots outside the sample may wait before they are
	// derived again, at most a day; 0 means not at all: they are taken as soon as
	// nothing else is to be done.
	Rest time.Duration

	// Minted is called after a run is logged, in order, if set. It MUST return soon.
	// After a crash it is called by Open for runs that were logged just before.
	Minted func(Minted)
	// Poured is called after a pour is logged, if set. It MUST return soon.
	Poured func(proof.Pour)
	// Verified is told how long it took to derive an ingot again, if set.
	Verified func(time.Duration)
}

// Minted tells of a logged run.
type Minted struct {
	Run          proof.Run
	Digest       merkle.Hash
	Certificates []proof.Certificate
}

// Station is a running mint. Its handlers may be called from several goroutines;
// Run is called once.
type Station struct {
	Options
	log *slog.Logger

	// mu orders transactions and guards what follows. Only Run presses: the
	// chains of certificates and runs are its own.
	mu      sync.Mutex
	*book                 // replaced by load
	stale   bool          // memory may be ahead of the store
	arrived chan struct{} // closed and replaced when batches came in

	wake chan struct{} // something was queued or logged

	// interrupt is called at named steps of Run, for tests of crashes.
	interrupt func(step string) error
}

// book is what the store says, in memory.
type book struct {
	registry *proof.Registry
	chains   map[chainKey]chain
	spending *proof.Spending
	pourBook *proof.PourBook
	batches  map[merkle.Hash]batchOf // by report with unspent ore
	place    uint64                  // of the next entry to be queued
	logged   uint64                  // entries in the log
	ord      uint64                  // of the next ingot
}

type chainKey struct{ kind, name string }

type chain struct {
	seq    uint64
	digest merkle.Hash
	sealed uint64
	extra  uint64 // pour: seq of the next ingot
}

// Chains of artefacts that the mint follows or writes. A head's seq and digest are
// those of its posting, of the one vault (name "").
const (
	chainRobot       = "robot"
	chainHead        = "head"
	chainBatch       = "batch"
	chainPour        = "pour"
	chainCertificate = "certificate"
	chainRun         = "run"
)

// batchOf says which batch brought a report.
type batchOf struct {
	digger string
	seq    uint64
}

// Open loads the mint's book and brings packs and log to where the book is. It
// refuses a log that is behind the book or that holds what the book does not
// know (codes of prooflog).
func Open(ctx context.Context, o Options) (*Station, error) {
	if o.Share <= 0 {
		o.Share = 10
	}
	o.Share = min(o.Share, 100)
	if o.MaxRun <= 0 {
		o.MaxRun = 32
	}
	o.MaxRun = min(o.MaxRun, proof.MaxRun)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Station{
		Options: o,
		log:     o.Logger.With("station", "mint"),
		wake:    make(chan struct{}, 1),
		arrived: make(chan struct{}),

		interrupt: func(string) error { return nil },
	}
	if err := s.load(ctx); err != nil {
		return nil, err
	}
	if err := s.resume(ctx); err != nil {
		return nil, err
	}
	s.poke()
	return s, nil
}

// load reads the book into memory. Until it has succeeded the station is stale.
func (s *Station) load(ctx context.Context) error {
	s.stale = true
	registry, err := feed.Load(ctx, s.DB, s.Profile)
	if err != nil {
		return err
	}
	b := &book{
		registry: registry, spending: proof.NewSpending(),
		chains: map[chainKey]chain{}, batches: map[merkle.Hash]batchOf{},
	}
	b.pourBook = proof.NewPourBook(b.registry, b.spending)
	err = s.DB.View(ctx, func(ctx context.Context, tx *sql.Tx) error {
		for _, part := range []func(context.Context, *sql.Tx) error{b.loadCounters, b.loadChains, b.loadOre} {
			if err := part(ctx, tx); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		s.book, s.stale = b, false
	}
	return err
}

// fresh makes sure that memory says what the store says.
func (s *Station) fresh(ctx context.Context) error {
	if !s.stale {
		return nil
	}
	return s.load(ctx)
}

// reload reads the book again after a transaction that did not commit, so that
// memory never says more than the store, and returns the transaction's error.
func (s *Station) reload(ctx context.Context, cause error) error {
	return errors.Join(cause, s.load(context.WithoutCancel(ctx)))
}

func (b *book) loadCounters(ctx context.Context, tx *sql.Tx) error {
	for name, into := range map[string]*uint64{"logged": &b.logged, "next": &b.place, "ingots": &b.ord} {
		var v int64
		err := tx.QueryRowContext(ctx, "SELECT value FROM mint_counter WHERE name = ?", name).Scan(&v)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		*into = uint64(v)
	}
	return nil
}

func (b *book) loadOre(ctx context.Context, tx *sql.Tx) error {
	rows, err := tx.QueryContext(ctx, "SELECT report, robot, contract, seq, ore, spent, first_ms, last_ms, sealed, digger, batch FROM mint_ore")
	if err != nil {
		return err
	}
	defer rows.Close()
	var all []proof.OreState
	for rows.Next() {
		var o proof.OreState
		var report []byte
		var of batchOf
		if err := rows.Scan(&report, &o.Robot, &o.Contract, &o.Seq, &o.Ore, &o.Spent, &o.First, &o.Last, &o.Sealed, &of.digger, &of.seq); err != nil {
			return err
		}
		copy(o.Report[:], report)
		b.batches[o.Report] = of
		all = append(all, o)
	}
	b.spending.Restore(all...)
	return rows.Err()
}

func (b *book) loadChains(ctx context.Context, tx *sql.Tx) error {
	rows, err := tx.QueryContext(ctx, "SELECT kind, name, seq, digest, sealed, extra FROM mint_chain")
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var k chainKey
		var c chain
		var digest []byte
		if err := rows.Scan(&k.kind, &k.name, &c.seq, &digest, &c.sealed, &c.extra); err != nil {
			return err
		}
		copy(c.digest[:], digest)
		b.chains[k] = c
		if k.kind == chainPour {
			b.pourBook.Restore(refineryState(k.name, c))
		}
	}
	return rows.Err()
}

func refineryState(id string, c chain) proof.RefineryState {
	return proof.RefineryState{ProducerState: proof.ProducerState{Producer: id, Seq: c.seq, Digest: c.digest, Sealed: c.sealed}, NextIngot: c.extra}
}

// resume finishes what a crash interrupted between the log and the book. The log
// is ahead of the book by one append at most, which took what queued returns.
func (s *Station) resume(ctx context.Context) error {
	items, err := s.queued(ctx)
	if err != nil {
		return err
	}
	pending := make([][]byte, len(items))
	for i, it := range items {
		if pending[i], err = it.entry(); err != nil {
			return err
		}
	}
	n, err := s.Log.Resume(s.logged, pending)
	if err != nil || n == 0 {
		return err
	}
	// Packs were flushed before the entries were logged; writing them again is harmless.
	if err := s.pack(ctx, items[:n]); err != nil {
		return err
	}
	return s.settle(ctx, items[:n])
}

// poke wakes Run.
func (s *Station) poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// nowMS is the clock in Unix milliseconds.
func (s *Station) nowMS() uint64 { return uint64(s.Clock.Now().UnixMilli()) }

// setChain records the end of a chain in the transaction and in memory.
func (s *Station) setChain(ctx context.Context, tx *sql.Tx, k chainKey, c chain) error {
	_, err := tx.ExecContext(ctx, `INSERT INTO mint_chain (kind, name, seq, digest, sealed, extra) VALUES (?, ?, ?, ?, ?, ?)
		ON CONFLICT (kind, name) DO UPDATE SET seq = excluded.seq, digest = excluded.digest, sealed = excluded.sealed, extra = excluded.extra`,
		k.kind, k.name, int64(c.seq), c.digest[:], int64(c.sealed), int64(c.extra))
	if err == nil {
		s.chains[k] = c
	}
	return err
}

func setCounter(ctx context.Context, tx *sql.Tx, name string, v uint64) error {
	_, err := tx.ExecContext(ctx, `INSERT INTO mint_counter (name, value) VALUES (?, ?)
		ON CONFLICT (name) DO UPDATE SET value = excluded.value`, name, int64(v))
	return err
}

// enqueue gives an artefact its place in the log.
func (s *Station) enqueue(ctx context.Context, tx *sql.Tx, payloadType string, body []byte) (place uint64, err error) {
	place = s.place
	if _, err := tx.ExecContext(ctx, "INSERT INTO mint_queue (place, type, body) VALUES (?, ?, ?)", int64(place), payloadType, body); err != nil {
		return 0, err
	}
	s.place++
	return place, setCounter(ctx, tx, "next", s.place)
}
