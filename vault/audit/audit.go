// Package audit recomputes the reserve's books from artefacts and postings and
// names the first thing that is wrong (the ledger specification, section 4).
//
// # What it does
//
// It reads the proof log under its signed checkpoint and verifies what the books
// hang on: charters, enrolments, policies, contracts, certificates with their runs,
// and the vault's own words (distributions, heads). Then it runs every stored
// posting's command again on fresh books ([ledger.Auditor]) and compares
//
//   - the posting with what its command makes: number, link, time, entries, indices;
//   - policies, wallets, statuses and mintings with the log, one to one and in its
//     order, so that supply = certificates;
//   - orders with the keys enrolled when they were posted, and their receipts;
//   - awarded and funded contracts with the vault check and the logged contract;
//   - every contract's deposit, pay, replenishment, investments, returns and end with
//     the formulas, counted by another hand than the ledger's; closings with the logged
//     ones and the pours; the word that a contract's work is all accepted with the pours
//     of the day after; recalls with what was signed, and when;
//   - bonds with the artefacts that the mint signed, and what bearers claim with their
//     signatures; statements of solvency with the tree over all wallets;
//   - enrolments with who may change what of them, objections and enrol_per_day;
//   - distributions and heads with the postings that they tell of;
//   - every stored row, wallet movement, dividend and minting figure, every learnt
//     document and waiting message of vault.db with what follows from all that.
//
// The ore behind a certificate is package archive's business (VerifyDir).
//
// # What it trusts
//
// The root keys that it is given, or those it finds, and nothing else. It opens
// vault.db, or the database of a PostgreSQL server that holds the books, read-only and
// works beside a running vault: what was logged after the
// books were read is then not yet expected in them, what was posted and not yet
// logged is counted and let pass.
//
// Memory grows with wallets, contracts and the vault's logged words, not with
// postings. Nothing survives a crash and nothing has to.
package audit

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"

	"robotorq.org/reserve/archive"
	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/store"
	"robotorq.org/reserve/torq"
	"robotorq.org/reserve/vault"
)

// Options say how a reserve's books are audited.
type Options struct {
	Profile torq.Profile
	Origin  string        // of the reserve; "": that of the charter
	Books   string        // where the vault's books are, as [store.Open] takes it; "": vault.db in the data directory
	Roots   []merkle.Hash // pins of `--root`; without any the first charter is taken as it comes
	// Receipts are those that members kept: each must be in the books.
	Receipts []KeptReceipt
	// Progress is told how far a stage ("log" in entries, "postings", "rows") is;
	// total is 0 when it is not known. Calls do not overlap.
	Progress func(stage string, done, total uint64)
}

func (o Options) progress(stage string, done, total uint64) {
	if o.Progress != nil {
		o.Progress(stage, done, total)
	}
}

// Summary says what an audit covered.
type Summary struct {
	Origin       string      `json:"origin"`
	Pinned       bool        `json:"pinned"`
	Entries      uint64      `json:"entries"` // of the log, under the checkpoint
	Postings     uint64      `json:"postings"`
	Head         merkle.Hash `json:"head"`
	Time         uint64      `json:"time_ms"` // of the last posting
	Certificates uint64      `json:"certificates"`
	Recalled     uint64      `json:"recalled"`
	Supply       torq.JT     `json:"supply_jt"`
	Capital      torq.JT     `json:"capital_jt"`
	Wallets      uint64      `json:"wallets"`
	Members      uint64      `json:"members"` // eligible for the dividend
	Orders       uint64      `json:"orders"`
	Bonds        uint64      `json:"bonds"`      // issued
	Claims       uint64      `json:"claims"`     // redemptions and reissues by bearers
	Statements   uint64      `json:"statements"` // of solvency
	Receipts     uint64      `json:"receipts"`   // kept by members and found in the books
	Dividends    uint64      `json:"dividends"`
	Paid         torq.JT     `json:"dividends_jt"`
	Contracts    uint64      `json:"contracts"`
	Closings     uint64      `json:"closings"` // of contracts that ended early
	Disputed     uint64      `json:"disputed"` // certificates proven wrong and not yet paid back
	Policies     uint64      `json:"policies"`
	Rows         uint64      `json:"rows"` // of every table of the books
	// What is on its way: logged and not yet posted, posted and not yet logged.
	Unposted uint64 `json:"unposted"`
	Unlogged uint64 `json:"unlogged"`
}

// Run audits the data directory dir. The error is a *proof.Fault when something is
// wrong: it names the posting, row or artefact and the rule. Any other error means
// that it could not be checked.
func Run(ctx context.Context, dir string, o Options) (sum Summary, err error) {
	a := &auditor{dir: dir, opts: o}
	// What the log holds now was posted before it was logged, and the books are
	// read after: so all of it must be in them.
	if a.log.before, err = checkpointSize(dir); err != nil {
		return a.sum, asFault(err)
	}
	if a.opts.Books == "" {
		a.opts.Books = filepath.Join(dir, "vault.db")
	}
	books, err := store.OpenReadOnly(ctx, a.opts.Books, vault.Schemas()...)
	if err != nil {
		return a.sum, asFault(err)
	}
	defer func() { err = errors.Join(err, books.Close()) }()
	if err := books.Check(ctx); err != nil {
		return a.sum, asFault(err)
	}
	err = books.View(ctx, func(ctx context.Context, tx *sql.Tx) error {
		a.tx = tx
		for _, step := range []func(context.Context) error{a.count, a.readLog, a.runPostings, a.checkEnds, a.checkRows, a.checkLearnt, a.checkOutbox, a.checkStations} {
			if err := step(ctx); err != nil {
				return err
			}
		}
		return nil
	})
	return a.sum, asFault(err)
}

type auditor struct {
	dir  string
	opts Options
	tx   *sql.Tx
	sum  Summary

	log   logged
	books books
	total uint64 // postings in the store

	lastTime uint64 // of them, Unix ms
}

// count begins the picture of the store that everything is compared with.
func (a *auditor) count(ctx context.Context) error {
	return a.tx.QueryRowContext(ctx, "SELECT count(*), coalesce(max(time), 0) FROM vault_posting").Scan(&a.total, &a.lastTime)
}

// fault names what is wrong.
func fault(what, rule, format string, args ...any) *proof.Fault {
	return &proof.Fault{Artefact: what, Rule: rule, Detail: fmt.Sprintf(format, args...)}
}

func postingFault(seq uint64, rule, format string, args ...any) *proof.Fault {
	return fault(fmt.Sprintf("posting %d", seq), rule, format, args...)
}

// asFault turns what stores and archives found damaged into a fault; what could
// not be read stays what it is.
func asFault(err error) error {
	if err == nil || proof.AsFault(err) != nil {
		return err
	}
	var damaged *archive.Error
	if errors.As(err, &damaged) && damaged.Code != archive.CodeClosed {
		where := damaged.File
		if where == "" {
			where = "packs"
		}
		return &proof.Fault{Artefact: where, Rule: damaged.Code, Detail: damaged.Error()}
	}
	switch code := store.CodeOf(err); code {
	case store.CodeCorrupt, store.CodeSchemaForeign, store.CodeMigrationChanged:
		return &proof.Fault{Artefact: "vault.db", Rule: string(code), Detail: err.Error()}
	}
	return err
}
