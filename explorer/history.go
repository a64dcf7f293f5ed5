package explorer

import (
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"strings"
	"sync"

	"robotorq.org/reserve/api"
	"robotorq.org/reserve/ledger"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/store"
	"robotorq.org/reserve/torq"
	"robotorq.org/reserve/vault"
)

// This file counts the postings: where the money lies, and how that came to be. Only
// a walk over all postings could tell, so it is done once, and gone on with.

// balances are the books after a posting, with what was summed up since genesis.
type balances struct {
	supply, wallets, savings, bonds                  torq.JT
	available, deployed, invested, returns, deposits torq.JT
	disto, demurrage                                 torq.JT

	paid         torq.JT // dividends
	collected    torq.JT // demurrage
	certificates uint64  // minted
	orders       uint64
}

// fields are the columns of the file, in its order.
func (b *balances) fields() []any {
	return []any{
		&b.supply, &b.wallets, &b.savings, &b.bonds, &b.available, &b.deployed, &b.invested, &b.returns, &b.deposits, &b.disto, &b.demurrage,
		&b.paid, &b.collected, &b.certificates, &b.orders,
	}
}

// total is what an account's movements add to; nil for issuance.
func (b *balances) total(account string) *torq.JT {
	class, _, _ := strings.Cut(account, ":")
	switch class {
	case "member", "org", "leaving", "wallets":
		return &b.wallets
	case "savings":
		return &b.savings
	case "bonds":
		return &b.bonds
	case "stake.available":
		return &b.available
	case "stake.deployed":
		return &b.deployed
	case "stake.invested":
		return &b.invested
	case "stake.returns":
		return &b.returns
	case "deposit":
		return &b.deposits
	case "disto":
		return &b.disto
	case "demurrage":
		return &b.demurrage
	}
	return nil
}

// move adds a posting and the dividend that it paid.
func (b *balances) move(p *ledger.Posting, paid torq.JT) {
	for _, entry := range p.Entries {
		if entry.Account == "issuance" {
			b.supply -= entry.Amount
			continue
		}
		if total := b.total(entry.Account); total != nil {
			*total += entry.Amount
		}
		if p.Kind == ledger.KindTick && entry.Account == "wallets" && entry.Amount < 0 {
			b.collected -= entry.Amount
		}
	}
	switch p.Kind {
	case ledger.KindOrder:
		b.orders++
	case ledger.KindMint:
		b.certificates++ // one for each posting
	}
	b.paid += paid
}

// agree tells whether the balances are those of the books.
func (b *balances) agree(s *ledger.State) bool {
	return b.supply == s.Supply() && b.wallets == s.Wallets && b.savings == s.Savings && b.bonds == s.Bonds && b.available == s.Available &&
		b.deployed == s.Deployed && b.invested == s.Invested && b.returns == s.Returns && b.deposits == s.Deposits && b.disto == s.Disto &&
		b.demurrage == s.Demurrage && b.certificates == s.Certificates
}

// series are the balances at the end of each period in which there was a posting.
type series struct {
	every  uint64 // length of a period, ms
	keep   int    // periods
	points []moment
	unsent uint64 // start of the first period that is not in the file as it is here
}

// moment is the balances after the last posting of a period.
type moment struct {
	start uint64 // Unix ms
	balances
}

// The periods and how many of each are kept: one more than is shown, since what was
// paid within a period is the difference to the one before.
const (
	minute = 60_000
	hour   = 60 * minute
	day    = 24 * hour

	keptMinutes = 180 + 1
	keptHours   = 240 + 1
	keptDays    = 4000 + 1
)

func newSeries() map[api.Period]*series {
	return map[api.Period]*series{
		api.EveryMinute: {every: minute, keep: keptMinutes}, api.EveryHour: {every: hour, keep: keptHours}, api.EveryDay: {every: day, keep: keptDays},
	}
}

// add enters the balances at a time, which does not fall.
func (s *series) add(at uint64, b balances) {
	m := moment{at - at%s.every, b}
	if n := len(s.points); n > 0 && s.points[n-1].start == m.start {
		s.points[n-1] = m
		return
	}
	s.points = append(s.points, m)
	if len(s.points) > s.keep {
		s.points = slices.Delete(s.points, 0, len(s.points)-s.keep)
	}
}

// postingTally follows the postings.
type postingTally struct {
	mu      sync.Mutex
	loaded  bool
	reached // of the last posting that is counted
	balances
	series map[api.Period]*series
	saved  reached
	anew   bool // what is in the file is of other books
}

// reached is a posting.
type reached struct {
	seq  uint64
	time uint64
	head uint64 // the first eight bytes of its hash
}

// saveEvery is after how many postings the sums are saved: as many are read again
// at most after a crash. They are saved after every full hour, too.
const saveEvery = 2000

// load reads what is in the file and counts the postings that came after it; when
// the file is of other books, or not of these, all of them.
func (t *postingTally) load(ctx context.Context, own *store.DB, v *vault.Station, log *slog.Logger) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.read(ctx, own); err != nil {
		return err
	}
	var state ledger.State
	v.With(func(b *ledger.Book, _ *proof.Registry) { state = b.State() })
	err := v.DB.View(ctx, func(ctx context.Context, tx *sql.Tx) error {
		same, err := t.follows(ctx, tx)
		if err != nil {
			return err
		}
		if same {
			if err := t.catchUp(ctx, tx); err != nil || t.agree(&state) {
				return err
			}
			log.Warn("what was counted of the postings does not agree with the books and is counted anew", "posting", t.seq)
		}
		t.reached, t.balances, t.series, t.saved, t.anew = reached{}, balances{}, newSeries(), reached{}, true
		return t.catchUp(ctx, tx)
	})
	if err == nil && !t.agree(&state) {
		log.Error("the postings do not make the books that the vault has; run robotorq audit", "posting", t.seq)
	}
	t.loaded = err == nil
	return err
}

// follows tells whether the last posting that was counted is one of these books.
func (t *postingTally) follows(ctx context.Context, tx *sql.Tx) (bool, error) {
	if t.seq == 0 {
		return true, nil
	}
	var hash []byte
	err := tx.QueryRowContext(ctx, "SELECT hash FROM vault_posting WHERE seq = ?", int64(t.seq)).Scan(&hash)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	return err == nil && len(hash) >= 8 && binary.BigEndian.Uint64(hash) == t.head, err
}

// historyColumns are those of balances, after every and start.
const historyColumns = "supply, wallets, savings, bonds, available, deployed, invested, returns, deposits, disto, demurrage, paid, collected, certificates, orders"

func (t *postingTally) read(ctx context.Context, own *store.DB) error {
	t.series = newSeries()
	lengths := map[uint64]*series{}
	for _, s := range t.series {
		lengths[s.every] = s
	}
	err := own.View(ctx, func(ctx context.Context, tx *sql.Tx) (err error) {
		for name, into := range map[string]*uint64{"posting": &t.seq, "posting_ms": &t.time, "posting_head": &t.head} {
			if *into, err = mark(ctx, tx, name); err != nil {
				return err
			}
		}
		// A few thousand rows: what is kept is bounded.
		rows, err := tx.QueryContext(ctx, "SELECT every, start, "+historyColumns+" FROM explorer_history ORDER BY every, start")
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var every uint64
			var m moment
			if err := rows.Scan(append([]any{&every, &m.start}, m.fields()...)...); err != nil {
				return err
			}
			if s := lengths[every]; s != nil {
				s.points = append(s.points, m)
				s.unsent = m.start
			} else {
				t.balances = m.balances
			}
		}
		return rows.Err()
	})
	t.saved = t.reached
	return err
}

func (t *postingTally) catchUp(ctx context.Context, tx *sql.Tx) error {
	rows, err := tx.QueryContext(ctx, "SELECT p.body, coalesce(d.amount, 0) FROM vault_posting p LEFT JOIN vault_dividend d ON d.seq = p.seq WHERE p.seq > ? ORDER BY p.seq", int64(t.seq))
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var body []byte
		var paid torq.JT
		if err := rows.Scan(&body, &paid); err != nil {
			return err
		}
		p, err := ledger.DecodePosting(body)
		if err != nil {
			return fmt.Errorf("posting after %d: %w", t.seq, err)
		}
		t.count(&p, paid)
	}
	return rows.Err()
}

func (t *postingTally) count(p *ledger.Posting, paid torq.JT) {
	t.reached = reached{p.Seq, p.Time, binary.BigEndian.Uint64(p.Hash[:8])}
	t.move(p, paid)
	for _, s := range t.series {
		s.add(p.Time, t.balances)
	}
}

// add counts a posting that is on disk and reports whether the sums should be saved.
func (t *postingTally) add(p *vault.Posted) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.loaded || p.Seq <= t.seq {
		return false
	}
	t.count(&p.Posting, p.Paid)
	return t.seq-t.saved.seq >= saveEvery || t.time/hour > t.saved.time/hour
}

func (t *postingTally) now() balances {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.balances
}

// unsaved are the periods that are not in the file as they are here.
func (t *postingTally) unsaved() (at reached, now balances, changed map[*series][]moment, anew bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	changed = map[*series][]moment{}
	for _, s := range t.series {
		from, _ := slices.BinarySearchFunc(s.points, s.unsent, func(m moment, start uint64) int {
			if m.start < start {
				return -1
			}
			return 1
		})
		changed[s] = slices.Clone(s.points[from:])
	}
	return t.reached, t.balances, changed, t.anew
}

// save writes down what was counted.
func (t *postingTally) save(ctx context.Context, own *store.DB) error {
	at, now, changed, anew := t.unsaved()
	err := own.Update(ctx, func(ctx context.Context, tx *sql.Tx) error {
		if anew {
			if _, err := tx.ExecContext(ctx, "DELETE FROM explorer_history"); err != nil {
				return err
			}
		}
		for name, v := range map[string]uint64{"posting": at.seq, "posting_ms": at.time, "posting_head": at.head} {
			if err := setMark(ctx, tx, name, v); err != nil {
				return err
			}
		}
		if err := writeMoment(ctx, tx, 0, moment{0, now}); err != nil {
			return err
		}
		for s, moments := range changed {
			for _, m := range moments {
				if err := writeMoment(ctx, tx, s.every, m); err != nil {
					return err
				}
			}
			if err := s.forget(ctx, tx); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.saved, t.anew = at, false
	for s, moments := range changed {
		if len(moments) > 0 {
			s.unsent = moments[len(moments)-1].start
		}
	}
	return nil
}

// forget deletes the periods that are too old.
func (s *series) forget(ctx context.Context, tx *sql.Tx) error {
	_, err := tx.ExecContext(ctx, `DELETE FROM explorer_history WHERE every = ? AND start <
		coalesce((SELECT start FROM explorer_history WHERE every = ? ORDER BY start DESC LIMIT 1 OFFSET ?), 0)`, int64(s.every), int64(s.every), s.keep-1)
	return err
}

func writeMoment(ctx context.Context, tx *sql.Tx, every uint64, m moment) error {
	args := []any{int64(every), int64(m.start)}
	for _, field := range m.fields() {
		switch v := field.(type) {
		case *torq.JT:
			args = append(args, int64(*v))
		case *uint64:
			args = append(args, int64(*v))
		}
	}
	_, err := tx.ExecContext(ctx, "INSERT OR REPLACE INTO explorer_history (every, start, "+historyColumns+") VALUES (?, ?"+strings.Repeat(", ?", len(args)-2)+")", args...)
	return err
}

// History implements [api.Records].
func (e *Explorer) History(_ context.Context, every api.Period, page api.Page) (list api.List[api.HistoryPoint], err error) {
	s, err := e.attached()
	if err != nil {
		return list, err
	}
	from, err := number(page.Cursor, math.MaxInt64)
	if err != nil {
		return list, err
	}
	n := limit(page)
	all, err := e.postings.points(every, from, n+1)
	if err != nil {
		return list, err
	}
	list = cut(all, n, func(p api.HistoryPoint) string { return decimal(uint64(p.Start)) })
	s.Vault.With(func(b *ledger.Book, _ *proof.Registry) {
		for i := range list.Items {
			if p := b.Policy(uint64(list.Items[i].Start)); p != nil {
				list.Items[i].Target = torq.JT(p.StakeTarget)
			}
		}
	})
	return list, nil
}

// points lists up to n periods from a start backwards.
func (t *postingTally) points(every api.Period, from uint64, n int) (list []api.HistoryPoint, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.series[every]
	if s == nil {
		return nil, api.Errorf(api.CodeMalformed, "A history is by minute, hour or day, not by %q.", string(every))
	}
	for i := len(s.points) - 1; i >= 0 && len(list) < n; i-- {
		m := s.points[i]
		if m.start > from {
			continue
		}
		var before balances
		switch {
		case i > 0:
			before = s.points[i-1].balances
		case len(s.points) == s.keep:
			return list, nil // kept for the sake of the next one
		}
		list = append(list, pointOf(&m, &before))
	}
	return list, nil
}

func pointOf(m *moment, before *balances) api.HistoryPoint {
	return api.HistoryPoint{
		Start: int64(m.start), Supply: m.supply, Wallets: m.wallets, Savings: m.savings, Bonds: m.bonds, Available: m.available, Deployed: m.deployed,
		Invested: m.invested, Returns: m.returns, Deposits: m.deposits, Disto: m.disto, Demurrage: m.demurrage, Capital: m.available + m.deployed,
		Paid: m.paid - before.paid, Collected: m.collected - before.collected, Certificates: m.certificates - before.certificates, Orders: m.orders - before.orders,
	}
}
