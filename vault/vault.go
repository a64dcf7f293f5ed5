// Package vault is the station that keeps the reserve's money: the books of
// package ledger on disk.
//
// # What it does
//
// It follows the mint's feed: a policy is adopted, an enrolment opens a wallet, a
// certificate is minted into money. It funds contracts for Trust, executes
// members' signed orders and hands out receipts, and posts what is due by time:
// demurrage, releases, dividends. For every posting that concerns everybody it
// signs a distribution, and every hour the head of the postings; both go to the
// log. It pays and reissues bonds by their bearers' claims and tells the mint, which
// signs them; every day it states what it owes to all wallets (a Merkle-sum tree over a
// copy of the balances, built beside the writer) and shows each member its place; it
// keeps what former keys have objected to.
//
// # What it trusts
//
// The charter's and enrolments' keys as the registry knows them, its own store and
// clock. The mint's feed is trusted for its order alone: a certificate becomes money
// when the mint's signature over its run verifies here. Every rule of the money is in
// package ledger, whose invariants are tested after every posting; a broken one stops
// the vault before anything is committed.
//
// # What survives a crash
//
// Postings, the rows that they changed, what goes to the log (outbox) and the mark of
// the feed are one transaction. Nothing is answered before it is on disk. One goroutine
// writes; it commits whatever waits at once. A receipt is signed after its posting,
// beside the writer, and is on disk before it is handed out: a crash in between leaves
// a posting whose receipt is signed when the order is repeated. When a commit fails the
// vault stops; when the store's server went away it waits for it and reads its books
// again. What was not acknowledged may be asked for again under the same key.
//
// It implements the ledger specification, section 1 (orders, receipts, storage) and section 2 (minting,
// release) as a thin shell.
package vault

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"io/fs"
	"log/slog"
	"math"
	"slices"
	"sync"
	"time"

	"robotorq.org/reserve/bus"
	"robotorq.org/reserve/feed"
	"robotorq.org/reserve/ledger"
	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/seal"
	"robotorq.org/reserve/store"
	"robotorq.org/reserve/torq"
)

//go:embed schema/*.sql
var schemaFiles embed.FS

// Schemas are the tables of the vault's store.
func Schemas() []store.Schema {
	files, err := fs.Sub(schemaFiles, "schema")
	if err != nil {
		panic("vault: the embedded schema is missing: " + err.Error())
	}
	return []store.Schema{bus.Schema(), feed.Schema(), {Name: "vault", Files: files}}
}

// Clock is the time of the process.
type Clock interface {
	Now() time.Time
	NewTimer(d time.Duration) (c <-chan time.Time, stop func() bool)
}

// Options say who the vault is. All but Logger and the hooks are required.
type Options struct {
	ID      string
	Origin  string
	Profile torq.Profile
	Signer  *seal.Signer // role vault
	DB      *store.DB    // with Schemas
	Outbox  *bus.Outbox  // distributions and heads, producer ID
	Clock   Clock
	Logger  *slog.Logger
	// Daily has the vault make a statement of solvency every day.
	Daily bool

	// Posted is called by the writer after postings are on disk, in order, if
	// set. It MUST return soon, and MUST NOT wait for anything that waits for the
	// vault: it may call With, but neither Order nor Trust.
	Posted func(Posted)
	// Verified is told how long the signatures of an order took, if set.
	Verified func(time.Duration)
}

// Posted tells of a posting.
type Posted struct {
	ledger.Posting
	Members uint64  // of a dividend
	Each    torq.JT // of a dividend
	Paid    torq.JT // of a dividend, to all

	Certificates uint64  // minted in all, after it
	Supply       torq.JT // after it

	lines []line
	bonds []ledger.Bond // issued or changed by it
}

// line is a movement of somebody's account, with the balance after it.
type line struct {
	account         string
	number          int
	amount, balance torq.JT
}

// Station is a running vault. Its methods may be called from several goroutines;
// Run is called once and must run for any of them to return.
type Station struct {
	Options
	log  *slog.Logger
	jobs chan *job
	quit chan struct{} // closed when Run has ended

	signings receipts
	keys     *keys // of the writer

	// mu guards what follows. Run holds it while it applies and commits.
	mu         sync.RWMutex
	registry   *proof.Registry
	book       *ledger.Book
	each       torq.JT              // what one member has received of all dividends
	objections map[merkle.Hash]bool // to rebindings, by the enrolment's digest
	stated     statedAt             // the newest statement of solvency
	fresh      []Posted             // applied and not yet committed
	bound      bondIndex            // of book; it has a lock of its own
	away       bool                 // the books could not be read again: these are empty
}

// job is something that waits for the writer.
type job struct {
	key    string // under which apply posts, if it is known before
	weight int    // operations of an order, 0 of anything else
	// apply changes the books in memory; may be nil. A caller's fault is returned
	// as refused and MUST have changed nothing; any other error throws the books
	// away.
	apply func(now uint64) (refused, err error)
	// save writes more in the same transaction, and may apply more; may be nil.
	save    func(ctx context.Context, tx *sql.Tx, now uint64) error
	receipt *keyed // to be kept; may be nil
	done    chan error
}

const (
	maxJobs   = 2000                   // of one transaction
	maxWeight = 5000                   // operations of orders in one transaction
	maxDue    = 1000                   // postings due by time in one transaction
	idle      = 200 * time.Millisecond // between looks at what is due by time
)

// Code names the kind of an [Error]; codes are stable.
type Code string

// Codes of this station's errors.
const (
	CodeClosed  Code = "closed"  // the vault does not run
	CodeStopped Code = "stopped" // it has just failed: whether this was posted shows after the next start

	// CodeUnavailable: the store's server does not answer. Whether this was posted shows
	// when it does again: ask again under the same key.
	CodeUnavailable Code = "unavailable"
)

// Error is an error of this station. Refusals are the ledger's, [*ledger.Error].
type Error struct {
	Code   Code
	Detail string
}

// Error implements error.
func (e *Error) Error() string { return "vault " + string(e.Code) + ": " + e.Detail }

// ErrorCode returns the stable code.
func (e *Error) ErrorCode() string { return string(e.Code) }

// unavailable gives the store's absence this station's code.
func unavailable(err error) error {
	if store.CodeOf(err) == store.CodeUnavailable {
		return &Error{Code: CodeUnavailable, Detail: err.Error()}
	}
	return err
}

func closed() error { return &Error{Code: CodeClosed, Detail: "it does not run"} }

// Open loads the vault's books.
func Open(ctx context.Context, o Options) (*Station, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Station{Options: o, log: o.Logger.With("station", "vault"), jobs: make(chan *job, maxJobs), quit: make(chan struct{})}
	s.signings.open, s.signings.ready = make(map[string]*signing), make(chan struct{})
	s.keys = &keys{db: o.DB}
	return s, s.load(ctx)
}

// load restores registry and books from the store; after an error they are as they
// were.
func (s *Station) load(ctx context.Context) error {
	if err := s.DB.Settle(ctx); err != nil {
		return err
	}
	registry, err := feed.Load(ctx, s.DB, s.Profile)
	if err != nil {
		return err
	}
	book := s.emptyBook()
	var each sql.NullInt64
	var objections map[merkle.Hash]bool
	var stated statedAt
	err = s.DB.View(ctx, func(ctx context.Context, tx *sql.Tx) (err error) {
		if objections, err = loadObjections(ctx, tx); err != nil {
			return err
		}
		if stated, err = loadStated(ctx, tx); err != nil {
			return err
		}
		if err := tx.QueryRowContext(ctx, "SELECT max(sum) FROM vault_dividend").Scan(&each); err != nil {
			return err
		}
		var any bool
		if err := tx.QueryRowContext(ctx, "SELECT EXISTS (SELECT 1 FROM vault_row)").Scan(&any); err != nil {
			return err
		}
		if any {
			if err := book.Restore(Rows(ctx, tx)); err != nil {
				return err
			}
		}
		return checkHead(ctx, tx, book.State())
	})
	if err != nil {
		return err
	}
	s.registry, s.book, s.each, s.away = registry, book, torq.JT(each.Int64), false
	stated.making, stated.after = s.stated.making, s.stated.after
	s.objections, s.stated = objections, stated
	return nil
}

func (s *Station) emptyBook() *ledger.Book { return ledger.New(s.Profile, s.Origin, s.keys) }

// do hands a job to the writer and waits until it is on disk or refused. Once the
// writer may have it ctx does not end the waiting, so that every outcome is told:
// after ctx's error and after [CodeClosed] nothing was done.
func (s *Station) do(ctx context.Context, j *job) error {
	j.done = make(chan error, 1)
	select {
	case s.jobs <- j:
	case <-s.quit:
		return closed()
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-j.done:
		return err
	case <-s.quit:
		select {
		case err := <-j.done:
			return err
		default:
			return closed()
		}
	}
}

// Run is the writer. It ends with ctx and returns nil then, or what stopped the
// vault.
func (s *Station) Run(ctx context.Context) error {
	defer close(s.quit)
	err := s.signOwed(context.WithoutCancel(ctx))
	close(s.signings.ready)
	if err != nil {
		return unavailable(err)
	}
	for {
		timer, stop := s.Clock.NewTimer(idle)
		var batch []*job
		select {
		case j := <-s.jobs:
			stop()
			batch = s.collect(j)
		case <-timer:
		case <-ctx.Done():
			stop()
			return nil
		}
		err := s.commit(ctx, batch)
		if err == nil {
			s.daily(ctx)
		}
		if store.CodeOf(err) == store.CodeUnavailable {
			s.log.Warn("the store does not answer; orders are refused until it does", "error", err)
			err = s.await(ctx)
		}
		if err != nil {
			return err
		}
	}
}

// await reads the books again when the store answers, and refuses what is asked of it
// meanwhile.
func (s *Station) await(ctx context.Context) error {
	timer, stop := s.Clock.NewTimer(idle)
	defer func() { stop() }()
	for {
		select {
		case j := <-s.jobs:
			j.done <- &Error{Code: CodeUnavailable, Detail: "the store does not answer; nothing was done"}
		case <-timer:
			s.mu.Lock()
			err := s.load(ctx)
			s.mu.Unlock()
			if store.CodeOf(err) != store.CodeUnavailable {
				return err
			}
			timer, stop = s.Clock.NewTimer(idle)
		case <-ctx.Done():
			return nil
		}
	}
}

func (s *Station) collect(first *job) []*job {
	batch := []*job{first}
	for weight := first.weight; len(batch) < maxJobs && weight < maxWeight; {
		select {
		case j := <-s.jobs:
			batch = append(batch, j)
			weight += j.weight
		default:
			return batch
		}
	}
	return batch
}

// commit posts what is due, applies the jobs, writes it all and answers. What is due
// may take several transactions; the jobs are in the last.
func (s *Station) commit(ctx context.Context, batch []*job) error {
	ctx = context.WithoutCancel(ctx)
	if err := s.keys.look(ctx, keysOf(batch)); err != nil {
		return s.fail(batch, err)
	}
	for done := false; !done; {
		var refused []error
		var posted []Posted
		var err error
		refused, posted, done, err = s.transact(ctx, batch)
		if err != nil {
			return s.fail(batch, err)
		}
		if done {
			for i, j := range batch {
				j.done <- refused[i]
			}
		}
		if s.Posted != nil {
			for _, p := range posted {
				s.Posted(p)
			}
		}
	}
	return nil
}

// fail tells every caller of a batch that it is not known to be on disk. Its cause is
// not their fault.
func (s *Station) fail(batch []*job, err error) error {
	code := CodeStopped
	if store.CodeOf(err) == store.CodeUnavailable {
		code = CodeUnavailable
	}
	for _, j := range batch {
		j.done <- &Error{Code: code, Detail: err.Error()}
	}
	return err
}

func keysOf(batch []*job) []string {
	var keys []string
	for _, j := range batch {
		if j.key != "" {
			keys = append(keys, j.key)
		}
	}
	return keys
}

// transact is one transaction. Without done it was full of what is due, and nothing
// of the batch is in it. After an error registry and books are what is on disk or,
// if that cannot be read, empty: they never show what may not be.
func (s *Station) transact(ctx context.Context, batch []*job) (refused []error, posted []Posted, done bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fresh = nil
	now := uint64(s.Clock.Now().UnixMilli())
	if done, err = s.advance(now, maxDue); err == nil {
		if !done {
			batch = nil
		}
		refused, err = s.write(ctx, batch, now)
	}
	posted, s.fresh = s.fresh, nil
	if err == nil {
		s.registry.Stored()
		return refused, posted, done, nil
	}
	if unread := s.load(ctx); unread != nil {
		s.leave()
		err = errors.Join(err, unread)
	}
	return nil, nil, false, err
}

// leave shows nothing until the books can be read again, and what is asked of them is not
// refused but unavailable. Objections are never taken back: those that were known stay, so
// that no key counts meanwhile that must not. The caller holds mu.
func (s *Station) leave() {
	s.registry, s.book, s.each, s.away = proof.NewRegistry(s.Profile, nil), s.emptyBook(), 0, true
}

// readable fails while the books could not be read. The caller holds mu.
func (s *Station) readable() error {
	if s.away {
		return &Error{Code: CodeUnavailable, Detail: "the store does not answer"}
	}
	return nil
}

func (s *Station) write(ctx context.Context, batch []*job, now uint64) (refused []error, err error) {
	refused = make([]error, len(batch))
	saves := false
	for i, j := range batch {
		if j.apply != nil {
			if refused[i], err = j.apply(now); err != nil {
				return nil, err
			}
		}
		saves = saves || j.receipt != nil || j.save != nil && refused[i] == nil
	}
	if len(s.fresh) == 0 && !saves {
		return refused, nil
	}
	return refused, s.DB.Update(ctx, func(ctx context.Context, tx *sql.Tx) error {
		for i, j := range batch {
			if j.save == nil || refused[i] != nil {
				continue
			}
			if err := j.save(ctx, tx, now); err != nil {
				return err
			}
		}
		if err := s.saveReceipts(ctx, tx, batch); err != nil {
			return err
		}
		return s.save(ctx, tx, s.book.Drain(), now)
	})
}

// advance posts what is due by time, at most so many postings, and reports whether
// that was all.
func (s *Station) advance(now uint64, most int) (all bool, err error) {
	for range most {
		c, at := s.book.Due(max(now, s.book.State().Time))
		if c == nil {
			return true, nil
		}
		if _, refused, err := s.apply(c, at); err != nil || refused != nil {
			return false, errors.Join(err, refused)
		}
	}
	return false, nil
}

// apply posts one command in memory. An error of the command is refused; one that
// leaves the books unusable is err.
func (s *Station) apply(c ledger.Command, now uint64) (out ledger.Outcome, refused, err error) {
	before := s.bondsBefore(c)
	out, refused = s.book.Apply(c, now)
	if ledger.CodeOf(refused) == ledger.CodeBehind {
		// Something became due by what was posted just before: a contract's end.
		if all, err := s.advance(now, math.MaxInt); err != nil || !all {
			return out, nil, errors.Join(err, refused)
		}
		out, refused = s.book.Apply(c, now)
	}
	switch ledger.CodeOf(refused) {
	case ledger.CodeInvariant, ledger.CodeKeyLookup, ledger.CodeBehind, ledger.CodeOutOfOrder:
		return out, nil, refused
	}
	if refused == nil && !out.Repeated {
		state := s.book.State()
		p := Posted{
			Posting: *out.Posting, Members: out.Members, Each: out.Each,
			Certificates: state.Certificates, Supply: state.Supply(), lines: s.lines(out.Posting.Entries),
			bonds: s.bondsAfter(before),
		}
		s.fresh = append(s.fresh, p)
	}
	return out, refused, nil
}

// lines are the movements of people's accounts in the posting just made, from the
// balances as they are now backwards.
func (s *Station) lines(entries []ledger.Entry) []line {
	var lines []line
	after := map[string]torq.JT{}
	for i, e := range slices.Backward(entries) {
		if !personal(e.Account) {
			continue
		}
		balance, ok := after[e.Account]
		if !ok {
			balance, _ = s.book.Balance(e.Account)
		}
		after[e.Account] = balance - e.Amount
		lines = append(lines, line{account: e.Account, number: i, amount: e.Amount, balance: balance})
	}
	return lines
}

// With runs fn with the books and the registry as they are committed. fn MUST NOT
// change or keep them, MUST NOT call the station, and must be short.
func (s *Station) With(fn func(*ledger.Book, *proof.Registry)) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	fn(s.book, s.registry)
}
