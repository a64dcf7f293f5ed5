package bench

import (
	"context"
	"database/sql"
	"errors"

	"robotorq.org/reserve/store"
)

// written are the rows that a measurement has left in the books, in the order of the
// postings.
type written struct {
	seqs, times          []int64
	kinds, keys          []string
	hashes, prints, body [][]byte
	accounts             []string
	entrySeq, line       []int64
	amount, balance      []int64
	walletKeys           []string // of a group
	walletTables         []string
	values               [][]byte
	entries              []int // up to posting i
}

func lastPosting(ctx context.Context, db *store.DB) (seq int64, err error) {
	err = db.View(ctx, func(ctx context.Context, tx *sql.Tx) error {
		return tx.QueryRowContext(ctx, "SELECT max(seq) FROM vault_posting").Scan(&seq)
	})
	return seq, err
}

// most transfers are written again to find the limit: more than the vault posts in a
// measurement of a few seconds, even when a thousand clients wait with a thousand each.
const most = 2_000_000

// limit is how many transfers a second the driver itself writes: all the postings that the
// vault has just made, their entries and their wallets' rows, in groups as large as there
// were clients, into a copy of the same books. A prefix of them would flatter the driver:
// the books, and what a group dirties of them, grow with every posting.
func (l *ledgerBench) limit(ctx context.Context, from *store.DB, after int64, row *LedgerRow) (rate float64, err error) {
	w, err := read(ctx, from, after, most/row.Batch)
	if err != nil {
		return 0, err
	}
	place, err := l.place(ctx, l.filled)
	if err != nil {
		return 0, err
	}
	db, err := l.open(ctx, place)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, db.Close(), l.remove(ctx, place)) }()
	group := min(row.Clients, max(1, groupWeight/row.Batch))
	began := l.Clock.Now()
	done := 0
	for done < len(w.seqs) {
		end := min(done+group, len(w.seqs))
		if err := db.Update(ctx, func(ctx context.Context, tx *sql.Tx) error { return w.write(ctx, db, tx, done, end) }); err != nil {
			return 0, err
		}
		done = end
	}
	return float64(done*row.Batch) / l.Clock.Now().Sub(began).Seconds(), nil
}

// groupWeight is the vault's own bound of transfers in one transaction.
const groupWeight = 5000

func read(ctx context.Context, db *store.DB, after int64, count int) (*written, error) {
	w := &written{}
	err := db.View(ctx, func(ctx context.Context, tx *sql.Tx) error {
		rows, err := tx.QueryContext(ctx, `SELECT seq, time, kind, key, hash, fingerprint, body FROM vault_posting
			WHERE seq > ? AND kind = 'order' ORDER BY seq LIMIT ?`, after, int64(count))
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var seq, time int64
			var kind, key string
			var hash, print, body []byte
			if err := rows.Scan(&seq, &time, &kind, &key, &hash, &print, &body); err != nil {
				return err
			}
			w.seqs, w.times, w.kinds, w.keys = append(w.seqs, seq), append(w.times, time), append(w.kinds, kind), append(w.keys, key)
			w.hashes, w.prints, w.body = append(w.hashes, hash), append(w.prints, print), append(w.body, body)
		}
		return rows.Err()
	})
	if err != nil || len(w.seqs) == 0 {
		return w, err
	}
	return w, db.View(ctx, func(ctx context.Context, tx *sql.Tx) error { return w.readEntries(ctx, tx) })
}

func (w *written) readEntries(ctx context.Context, tx *sql.Tx) error {
	rows, err := tx.QueryContext(ctx, `SELECT account, seq, line, amount, balance FROM vault_entry
		WHERE seq >= ? AND seq <= ? ORDER BY seq, line DESC`, w.seqs[0], w.seqs[len(w.seqs)-1])
	if err != nil {
		return err
	}
	defer rows.Close()
	at := 0
	for rows.Next() {
		var account string
		var seq, line, amount, balance int64
		if err := rows.Scan(&account, &seq, &line, &amount, &balance); err != nil {
			return err
		}
		for ; at < len(w.seqs) && w.seqs[at] < seq; at++ {
			w.entries = append(w.entries, len(w.accounts))
		}
		w.accounts, w.entrySeq, w.line = append(w.accounts, account), append(w.entrySeq, seq), append(w.line, line)
		w.amount, w.balance = append(w.amount, amount), append(w.balance, balance)
	}
	for ; at < len(w.seqs); at++ {
		w.entries = append(w.entries, len(w.accounts))
	}
	return rows.Err()
}

// write writes the postings from one to another and what goes with them.
func (w *written) write(ctx context.Context, db *store.DB, tx *sql.Tx, from, to int) error {
	err := db.Insert(ctx, tx, &store.Set{Table: "vault_posting", Columns: []store.Column{
		{Name: "seq", Numbers: w.seqs[from:to]}, {Name: "time", Numbers: w.times[from:to]}, {Name: "kind", Texts: w.kinds[from:to]},
		{Name: "key", Texts: w.keys[from:to]}, {Name: "hash", Bytes: w.hashes[from:to]}, {Name: "fingerprint", Bytes: w.prints[from:to]},
		{Name: "body", Bytes: w.body[from:to]},
	}})
	if err != nil {
		return err
	}
	first, last := 0, w.entries[to-1]
	if from > 0 {
		first = w.entries[from-1]
	}
	err = db.Insert(ctx, tx, &store.Set{Table: "vault_entry", Columns: []store.Column{
		{Name: "account", Texts: w.accounts[first:last]}, {Name: "seq", Numbers: w.entrySeq[first:last]}, {Name: "line", Numbers: w.line[first:last]},
		{Name: "amount", Numbers: w.amount[first:last]}, {Name: "balance", Numbers: w.balance[first:last]},
	}})
	if err != nil {
		return err
	}
	return db.Put(ctx, tx, w.wallets(w.accounts[first:last]), 2)
}

// wallets are the rows that the entries of a group have changed, and the books' state.
func (w *written) wallets(accounts []string) *store.Set {
	seen := make(map[string]bool, len(accounts))
	w.walletKeys, w.walletTables, w.values = append(w.walletKeys[:0], ""), append(w.walletTables[:0], "state"), append(w.values[:0], make([]byte, 400))
	for _, account := range accounts {
		if seen[account] {
			continue
		}
		seen[account] = true
		w.walletKeys, w.walletTables, w.values = append(w.walletKeys, account), append(w.walletTables, "wallet"), append(w.values, make([]byte, 49))
	}
	return &store.Set{Table: "vault_row", Columns: []store.Column{{Name: "tbl", Texts: w.walletTables}, {Name: "key", Texts: w.walletKeys}, {Name: "value", Bytes: w.values}}}
}
