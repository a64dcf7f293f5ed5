// Package explorer answers what people ask of a reserve: it implements the
// interfaces of package api ([api.Reader], [api.Wallets], [api.Tokens]) over the
// stations of this process.
//
// # What it does
//
// It reads what the stations have committed: their stores, the packs and the proof
// log. It remembers in a file of its own how far it has read the log and the
// postings and what it counted on the way, so that no request reads more than a
// page, and it turns the stations' hooks into the events of the live feed. Orders,
// enrolments and admissions are handed to the vault and to Trust. A unit of ore
// is shown with its offline proof, which is verified as a stranger would, and
// with the same code.
//
// # What it trusts
//
// The stations' committed state, and of what it exports nothing: proofs are
// verified before they are called checked.
//
// # What survives a crash
//
// Tokens and admissions are on disk when the call returns. Everything else in its
// file follows from log, packs and postings and is caught up at the next start.
//
// It implements the explorer of the interface specification (HTTP, Authentication) and the
// statement of the ledger specification, section 1.
package explorer

import (
	"context"
	"embed"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"robotorq.org/reserve/api"
	"robotorq.org/reserve/archive"
	"robotorq.org/reserve/digger"
	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/mint"
	"robotorq.org/reserve/refinery"
	"robotorq.org/reserve/seal"
	"robotorq.org/reserve/store"
	"robotorq.org/reserve/torq"
	"robotorq.org/reserve/trust"
	"robotorq.org/reserve/vault"
)

//go:embed schema/*.sql
var schemaFiles embed.FS

// File is the explorer's store in the data directory.
const File = "explorer.db"

func schemas() []store.Schema {
	files, err := fs.Sub(schemaFiles, "schema")
	if err != nil {
		panic("explorer: the embedded schema is missing: " + err.Error())
	}
	return []store.Schema{{Name: "explorer", Files: files}}
}

// Options say what the explorer shows. Data, Origin, Profile, Shelf and Clock are
// required.
type Options struct {
	Data    string // the reserve's directory, with log and packs
	Origin  string
	Profile torq.Profile
	Shelf   *archive.Reader // of the packs; not closed here
	Clock   api.Clock
	Feed    *api.Feed // where events go; nil: nowhere
	Started time.Time // of the process
	Logger  *slog.Logger

	// Roots pin the charter in the check of ore proofs; empty: the roots of the
	// reserve's own first charter.
	Roots []merkle.Hash

	// Registrar signs admissions; nil: this node admits nobody.
	Registrar *seal.Signer
	// SubjectKey is the file with the registrar's secret key for the keyed hash of
	// what makes a person one; made when it is missing. Empty:
	// keys/<registrar>.subject in Data.
	SubjectKey string

	// Active is how long after its last report a robot counts as working; 0 means
	// one minute.
	Active time.Duration
}

// Stations are what the explorer reads. All are required but a refinery that works in
// another process.
type Stations struct {
	Trust    *trust.Station
	Digger   *digger.Station
	Refinery *refinery.Station
	Mint     *mint.Station
	Vault    *vault.Station
}

// Explorer implements the interfaces of package api. All methods may be called
// concurrently; before Attach requests are refused as unavailable, and hooks only
// publish.
type Explorer struct {
	Options
	TokenBook
	log      *slog.Logger
	db       *store.DB
	stations atomic.Pointer[Stations]
	wake     chan struct{} // enough was counted to be saved
	grown    chan struct{} // the log is about to be longer, or is

	reports   reportTally
	chains    chains
	postings  postingTally
	directory directory
	catalogue catalogue
	details   cache[uint64, *detail]
	totals    cache[string, vault.Totals]
	supply    supplyCurve
	coming    coming
	heavy     chan struct{} // one token for each export or proof being made

	admitting sync.Mutex
	subject   []byte // the registrar's secret, read when first needed
}

var (
	_ api.Reader  = (*Explorer)(nil)
	_ api.Wallets = (*Explorer)(nil)
	_ api.Tokens  = (*Explorer)(nil)
)

// How much is kept in memory or made at a time.
const (
	keptDetails = 8    // certificates with the list of their ingots
	keptTotals  = 1024 // wallets
	maxHeavy    = 2
)

// New opens the explorer's file. Its hooks may be called from then on.
func New(ctx context.Context, o Options) (*Explorer, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Active <= 0 {
		o.Active = time.Minute
	}
	if o.SubjectKey == "" && o.Registrar != nil {
		o.SubjectKey = filepath.Join(o.Data, "keys", o.Registrar.Name+".subject")
	}
	db, err := store.Open(ctx, filepath.Join(o.Data, File), store.Options{Schemas: schemas()})
	if err != nil {
		return nil, err
	}
	e := &Explorer{
		Options: o, TokenBook: TokenBook{db: db, clock: o.Clock}, log: o.Logger.With("room", "explorer"), db: db, wake: make(chan struct{}, 1), grown: make(chan struct{}, 1), heavy: make(chan struct{}, maxHeavy),
		details: newCache[uint64, *detail](keptDetails), totals: newCache[string, vault.Totals](keptTotals),
	}
	e.catalogue = catalogue{db: db, shelf: o.Shelf, log: archive.OpenLog(os.DirFS(filepath.Join(o.Data, "log")))}
	e.directory.init()
	return e, nil
}

// Attach gives the explorer the open stations and counts what it has missed. It is
// called once, before Run and before the stations run.
func (e *Explorer) Attach(ctx context.Context, s Stations) error {
	if err := e.reports.load(ctx, s.Digger, uint64(e.Clock.Now().Add(-e.Active).UnixMilli())); err != nil {
		return err
	}
	if err := e.postings.load(ctx, e.db, s.Vault, e.log); err != nil {
		return err
	}
	if _, err := e.directory.refresh(ctx, s.Trust.DB); err != nil {
		return err
	}
	e.stations.Store(&s)
	return nil
}

// Run follows Trust's documents for the feed, reads the log as it grows, and saves what
// was counted, until ctx ends; it returns nil then.
func (e *Explorer) Run(ctx context.Context) error {
	s, err := e.attached()
	if err != nil {
		return err
	}
	changed, stop := s.Trust.DB.Watch()
	defer stop()
	var reading sync.WaitGroup
	defer reading.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	reading.Go(func() { e.readOn(ctx) })
	for {
		if err := e.follow(ctx, s); err != nil && ctx.Err() == nil {
			return err
		}
		select {
		case <-changed:
			nudge(e.grown)
		case <-e.wake:
			if err := e.postings.save(ctx, e.db); err != nil && ctx.Err() == nil {
				return err
			}
		case <-ctx.Done():
			return nil
		}
	}
}

// readOn takes in what is logged, so that whoever asks first after a quiet night does not
// wait for a night's entries.
func (e *Explorer) readOn(ctx context.Context) {
	for {
		// A request meets the same error and tells it.
		if err := e.catalogue.refresh(ctx); err != nil && ctx.Err() == nil {
			e.log.Warn("the log was not read on", "error", err)
		}
		select {
		case <-e.grown:
		case <-ctx.Done():
			return
		}
	}
}

// nudge wakes who waits at a channel, unless it is awake.
func nudge(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// follow publishes what Trust has admitted since the last time.
func (e *Explorer) follow(ctx context.Context, s *Stations) error {
	notices, err := e.directory.refresh(ctx, s.Trust.DB)
	for _, n := range notices {
		e.publish(n)
	}
	return err
}

// Close saves what was counted and closes the file. The stations are not used any
// more; requests MUST have ended.
func (e *Explorer) Close() error {
	var errs []error
	if e.stations.Load() != nil {
		errs = append(errs, e.postings.save(context.Background(), e.db))
	}
	return errors.Join(append(errs, e.db.Close())...)
}

// attached returns the stations.
func (e *Explorer) attached() (*Stations, error) {
	if s := e.stations.Load(); s != nil {
		return s, nil
	}
	return nil, api.Errorf(api.CodeUnavailable, "The reserve is starting. Try again in a few seconds.")
}

func (e *Explorer) now() uint64 { return uint64(e.Clock.Now().UnixMilli()) }
