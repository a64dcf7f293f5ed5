package explorer

import (
	"context"
	"database/sql"
	"errors"
	"sync"

	"robotorq.org/reserve/digger"
	"robotorq.org/reserve/ledger"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/store"
	"robotorq.org/reserve/torq"
	"robotorq.org/reserve/vault"
)

// reportTally counts what the digger accepted: read once from its store, then from
// its hook, each batch once.
type reportTally struct {
	mu      sync.Mutex
	loaded  bool
	batches uint64 // seq of the last batch that is counted
	sealed  uint64 // of it, Unix ms
	reports uint64
	ore     uint64
	seen    map[string]uint64 // when a robot's last batch was sealed; old ones are dropped
}

// figures are what a reportTally has counted.
type figures struct{ batches, sealed, reports, ore, working uint64 }

func (t *reportTally) load(ctx context.Context, s *digger.Station, since uint64) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.seen = map[string]uint64{}
	err := s.DB.View(ctx, func(ctx context.Context, tx *sql.Tx) error {
		err := tx.QueryRowContext(ctx, "SELECT seq, sealed FROM assay_digger WHERE digger = ?", s.ID).Scan(&t.batches, &t.sealed)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		err = tx.QueryRowContext(ctx, "SELECT coalesce(sum(reports), 0), coalesce(sum(ore), 0) FROM digger_robot").Scan(&t.reports, &t.ore)
		if err != nil {
			return err
		}
		rows, err := tx.QueryContext(ctx, "SELECT robot, seen FROM digger_robot WHERE seen >= ?", int64(since))
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var robot string
			var seen uint64
			if err := rows.Scan(&robot, &seen); err != nil {
				return err
			}
			t.seen[robot] = seen
		}
		return rows.Err()
	})
	t.loaded = err == nil
	return err
}

// add counts a batch that is on disk.
func (t *reportTally) add(b proof.Batch, reports []proof.Report) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.loaded || b.Seq <= t.batches {
		return // what was on disk before load is counted by it
	}
	t.batches, t.sealed = b.Seq, b.Sealed
	t.reports += uint64(len(b.Entries))
	for i, entry := range b.Entries {
		t.ore += entry.Ore
		t.seen[reports[i].Robot] = b.Sealed
	}
}

// figures forgets the robots that were last seen before since.
func (t *reportTally) figures(since uint64) figures {
	t.mu.Lock()
	defer t.mu.Unlock()
	for robot, seen := range t.seen {
		if seen < since {
			delete(t.seen, robot)
		}
	}
	return figures{batches: t.batches, sealed: t.sealed, reports: t.reports, ore: t.ore, working: uint64(len(t.seen))}
}

// works tells whether a robot was seen since.
func (t *reportTally) works(robot string, since uint64) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	seen, ok := t.seen[robot]
	return ok && seen >= since
}

// postingTally sums up what only a walk over all postings could tell.
type postingTally struct {
	mu     sync.Mutex
	loaded bool
	sums
	saved uint64 // postings of the sums that are in the file
}

// sums are over the postings up to Posting.
type sums struct {
	posting   uint64
	orders    uint64
	collected torq.JT // demurrage
	paid      torq.JT // dividends
}

// saveEvery is after how many postings the sums are saved: as many are read again
// at most after a crash.
const saveEvery = 2000

// load reads the sums and adds the postings that came after them.
func (t *postingTally) load(ctx context.Context, own, books *store.DB) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.read(ctx, own); err != nil {
		return err
	}
	err := books.View(ctx, func(ctx context.Context, tx *sql.Tx) error {
		var last sql.NullInt64
		if err := tx.QueryRowContext(ctx, "SELECT max(seq) FROM vault_posting").Scan(&last); err != nil {
			return err
		}
		if uint64(last.Int64) < t.posting {
			t.sums = sums{} // the books are older than the file: they were restored
		}
		return t.catchUp(ctx, tx)
	})
	t.loaded = err == nil
	return err
}

func (t *postingTally) read(ctx context.Context, own *store.DB) error {
	return own.View(ctx, func(ctx context.Context, tx *sql.Tx) (err error) {
		var collected, paid uint64
		for name, into := range map[string]*uint64{"posting": &t.posting, "orders": &t.orders, "collected": &collected, "paid": &paid} {
			if *into, err = mark(ctx, tx, name); err != nil {
				return err
			}
		}
		t.collected, t.paid, t.saved = torq.JT(collected), torq.JT(paid), t.posting
		return nil
	})
}

func (t *postingTally) catchUp(ctx context.Context, tx *sql.Tx) error {
	var paid int64
	if err := tx.QueryRowContext(ctx, "SELECT coalesce(sum(amount), 0) FROM vault_dividend WHERE seq > ?", int64(t.posting)).Scan(&paid); err != nil {
		return err
	}
	t.paid += torq.JT(paid)
	rows, err := tx.QueryContext(ctx, "SELECT seq, kind, iif(kind = 'tick', body, NULL) FROM vault_posting WHERE seq > ? ORDER BY seq", int64(t.posting))
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var p ledger.Posting
		var kind string
		var body []byte
		if err := rows.Scan(&p.Seq, &kind, &body); err != nil {
			return err
		}
		if p.Kind = ledger.Kind(kind); body != nil {
			if p, err = ledger.DecodePosting(body); err != nil {
				return err
			}
		}
		t.count(&p)
	}
	return rows.Err()
}

// count adds a posting, but for dividends.
func (t *postingTally) count(p *ledger.Posting) {
	t.posting = p.Seq
	switch p.Kind {
	case ledger.KindOrder:
		t.orders++
	case ledger.KindTick:
		for _, entry := range p.Entries {
			if entry.Account == "wallets" && entry.Amount < 0 {
				t.collected -= entry.Amount
			}
		}
	}
}

// add counts a posting that is on disk and reports whether the sums should be saved.
func (t *postingTally) add(p vault.Posted) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.loaded || p.Seq <= t.posting {
		return false
	}
	t.count(&p.Posting)
	t.paid += p.Paid
	return t.posting-t.saved >= saveEvery
}

func (t *postingTally) now() sums {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.sums
}

// save writes the sums down.
func (t *postingTally) save(ctx context.Context, own *store.DB) error {
	s := t.now()
	err := own.Update(ctx, func(ctx context.Context, tx *sql.Tx) error {
		for name, v := range map[string]uint64{"posting": s.posting, "orders": s.orders, "collected": uint64(s.collected), "paid": uint64(s.paid)} {
			if err := setMark(ctx, tx, name, v); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.saved = s.posting
	}
	return err
}

func mark(ctx context.Context, tx *sql.Tx, name string) (uint64, error) {
	var v int64
	err := tx.QueryRowContext(ctx, "SELECT value FROM explorer_mark WHERE name = ?", name).Scan(&v)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, nil
	}
	return uint64(v), err
}

func setMark(ctx context.Context, tx *sql.Tx, name string, v uint64) error {
	_, err := tx.ExecContext(ctx, "INSERT INTO explorer_mark (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value", name, int64(v))
	return err
}
