package audit

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strings"

	"robotorq.org/reserve/bus"
	"robotorq.org/reserve/feed"
	"robotorq.org/reserve/ledger"
	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/torq"
	"robotorq.org/reserve/vault"
)

// valueOf is the value in JT of the shares between two marks, floor(shares·D/2⁹⁵).
func valueOf(after, before torq.Uint128, d uint64) torq.JT {
	v := new(big.Int).Sub(wide(after), wide(before))
	v.Mul(v, new(big.Int).SetUint64(d))
	return torq.JT(v.Rsh(v, 95).Int64())
}

func wide(x torq.Uint128) *big.Int {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:], x.Hi)
	binary.BigEndian.PutUint64(b[8:], x.Lo)
	return new(big.Int).SetBytes(b[:])
}

// personal tells whether an account belongs to somebody and has a statement.
func personal(account string) bool {
	switch class, _, found := strings.Cut(account, ":"); class {
	case "member", "org", "savings", "leaving":
		return found
	}
	return false
}

// checkLines compares the statement's lines of a posting: the balances after it,
// from the last line backwards.
func (a *auditor) checkLines(ctx context.Context, p ledger.Posting) error {
	after := map[string]torq.JT{}
	for i, e := range slices.Backward(p.Entries) {
		if !personal(e.Account) {
			continue
		}
		balance, ok := after[e.Account]
		if !ok {
			balance, _ = a.books.auditor.Book().Balance(e.Account)
		}
		after[e.Account] = balance - e.Amount
		what := fmt.Sprintf("line %d of posting %d for %s", i, p.Seq, e.Account)
		var amount, kept int64
		err := a.tx.QueryRowContext(ctx, "SELECT amount, balance FROM vault_entry WHERE account = ? AND seq = ? AND line = ?", e.Account, int64(p.Seq), i).
			Scan(&amount, &kept)
		switch {
		case errors.Is(err, sql.ErrNoRows):
			return fault(what, "missing", "there is no such row in vault_entry")
		case err != nil:
			return unreadable(what, err)
		case torq.JT(amount) != e.Amount || torq.JT(kept) != balance:
			return fault(what, "stored_line", "the store says %d JT and a balance of %d, it is %d JT and %d", amount, kept, e.Amount, balance)
		}
		a.books.lines++
	}
	return nil
}

// checkDividend compares the figures of a dividend.
func (a *auditor) checkDividend(ctx context.Context, p ledger.Posting, members uint64, each torq.JT) error {
	a.books.each += each
	paid := each * torq.JT(members)
	a.sum.Dividends++
	a.sum.Paid += paid
	return a.figures(ctx, fmt.Sprintf("dividend of posting %d", p.Seq),
		"SELECT time, amount, members, each, sum FROM vault_dividend WHERE seq = ?", p.Seq,
		[]string{"time", "amount", "members", "each", "sum"}, []int64{int64(p.Time), int64(paid), int64(members), int64(each), int64(a.books.each)})
}

// checkMint compares the figures of a minting.
func (a *auditor) checkMint(ctx context.Context, p ledger.Posting, serial uint64) error {
	var paid, disto, returns, growth torq.JT
	for _, e := range p.Entries {
		switch class, _, _ := strings.Cut(e.Account, ":"); class {
		case "org", "member":
			paid += e.Amount
		case "disto":
			disto += e.Amount
		case "stake.invested", "stake.returns":
			returns += e.Amount
		case "stake.available", "stake.deployed":
			growth += e.Amount
		}
	}
	state := a.books.auditor.Book().State() // of whose supply recalls have taken their part
	return a.figures(ctx, fmt.Sprintf("minting of certificate %d", serial),
		"SELECT seq, time, supply, paid, growth, returns, disto FROM vault_mint WHERE serial = ?", serial,
		[]string{"seq", "time", "supply", "paid", "growth", "returns", "disto"},
		[]int64{int64(p.Seq), int64(p.Time), int64(state.Supply()), int64(paid), int64(growth), int64(returns), int64(disto)})
}

// figures compares the columns of one row.
func (a *auditor) figures(ctx context.Context, what, query string, key uint64, names []string, want []int64) error {
	kept := make([]int64, len(want))
	into := make([]any, len(want))
	for i := range kept {
		into[i] = &kept[i]
	}
	err := a.tx.QueryRowContext(ctx, query, int64(key)).Scan(into...)
	if errors.Is(err, sql.ErrNoRows) {
		return fault(what, "missing", "there is no such row")
	}
	if err != nil {
		return unreadable(what, err)
	}
	for i, name := range names {
		if kept[i] != want[i] {
			return fault(what, "stored_"+name, "the store says %d, it is %d", kept[i], want[i])
		}
	}
	return nil
}

// countReceipts finds receipts without an order.
func (a *auditor) countReceipts(ctx context.Context) error {
	return a.noMore(ctx, "receipt", "vault_receipt", a.books.receipts,
		"SELECT key FROM vault_receipt WHERE key NOT IN (SELECT key FROM vault_posting WHERE kind = 'order')")
}

// noMore checks that a table has as many rows as were found right; extra finds one
// that should not be there.
func (a *auditor) noMore(ctx context.Context, what, tbl string, want uint64, extra string) error {
	var n uint64
	if err := a.tx.QueryRowContext(ctx, "SELECT count(*) FROM "+tbl).Scan(&n); err != nil {
		return err
	}
	a.sum.Rows += n
	if n == want {
		return nil
	}
	name := "?"
	if err := a.tx.QueryRowContext(ctx, extra).Scan(&name); err != nil && !errors.Is(err, sql.ErrNoRows) {
		return unreadable(what, err)
	}
	return fault(what+" "+name, "surplus", "%s has %d rows, the postings make %d", tbl, n, want)
}

// checkRows compares every row of the books, both ways.
func (a *auditor) checkRows(ctx context.Context) error {
	n := uint64(0)
	for row := range a.books.auditor.Book().Rows() {
		what := fmt.Sprintf("row %s %q", row.Table, row.Key)
		var kept []byte
		err := a.tx.QueryRowContext(ctx, "SELECT value FROM vault_row WHERE tbl = ? AND key = ?", string(row.Table), row.Key).Scan(&kept)
		switch {
		case errors.Is(err, sql.ErrNoRows) && a.books.last.Seq == 0:
			continue // nothing was posted yet
		case errors.Is(err, sql.ErrNoRows):
			return fault(what, "missing", "the postings make it, the store has none")
		case err != nil:
			return unreadable(what, err)
		case !bytes.Equal(kept, row.Value):
			at := agreement(kept, row.Value)
			return fault(what, "stored_row", "from byte %d of %d on the store says %s, the postings make it %s", at, len(row.Value), short(kept[at:]), short(row.Value[at:]))
		}
		n++
		a.opts.progress("rows", n, 0)
	}
	if err := a.surplusRow(ctx, n); err != nil {
		return err
	}
	if err := a.surplusLine(ctx); err != nil {
		return err
	}
	if err := a.noMore(ctx, "dividend", "vault_dividend", a.sum.Dividends,
		"SELECT 'of posting ' || d.seq FROM vault_dividend d WHERE NOT EXISTS (SELECT 1 FROM vault_posting p WHERE p.seq = d.seq AND p.kind = 'release')"); err != nil {
		return err
	}
	if err := a.noMore(ctx, "minting of certificate", "vault_mint", a.sum.Certificates,
		fmt.Sprintf("SELECT serial FROM vault_mint WHERE serial NOT BETWEEN 1 AND %d", a.sum.Certificates)); err != nil {
		return err
	}
	a.sum.Rows += a.sum.Postings
	return nil
}

// surplusRow names a stored row that the postings do not make.
func (a *auditor) surplusRow(ctx context.Context, n uint64) error {
	var stored uint64
	if err := a.tx.QueryRowContext(ctx, "SELECT count(*) FROM vault_row").Scan(&stored); err != nil {
		return err
	}
	a.sum.Rows += stored
	if stored == n {
		return nil
	}
	made := map[string]bool{}
	for row := range a.books.auditor.Book().Rows() {
		made[string(row.Table)+"\x00"+row.Key] = true
	}
	for row, err := range vault.Rows(ctx, a.tx) {
		if err != nil {
			return unreadable("vault_row", err)
		}
		if !made[string(row.Table)+"\x00"+row.Key] {
			return fault(fmt.Sprintf("row %s %q", row.Table, row.Key), "surplus", "the postings make no such row")
		}
	}
	return fault("vault_row", "surplus", "holds %d rows, the postings make %d", stored, n)
}

// surplusLine names a stored line that no posting makes.
func (a *auditor) surplusLine(ctx context.Context) error {
	var stored uint64
	if err := a.tx.QueryRowContext(ctx, "SELECT count(*) FROM vault_entry").Scan(&stored); err != nil {
		return err
	}
	a.sum.Rows += stored
	if stored == a.books.lines {
		return nil
	}
	counts, err := a.linesOf(ctx)
	if err != nil {
		return err
	}
	for p, err := range vault.Postings(ctx, a.tx) {
		if err != nil {
			return err
		}
		made := 0
		for _, e := range p.Entries {
			if personal(e.Account) {
				made++
			}
		}
		if counts[int64(p.Seq)] != made { // those that it makes were all found
			return a.surplusLineOf(ctx, p)
		}
		delete(counts, int64(p.Seq))
	}
	for _, seq := range slices.Sorted(maps.Keys(counts)) {
		return a.surplusLineOf(ctx, ledger.Posting{Seq: uint64(seq)}) // there is no such posting
	}
	return nil
}

// linesOf counts the stored lines by posting.
func (a *auditor) linesOf(ctx context.Context) (map[int64]int, error) {
	rows, err := a.tx.QueryContext(ctx, "SELECT seq, count(*) FROM vault_entry GROUP BY seq")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	counts := map[int64]int{}
	for rows.Next() {
		var seq int64
		var n int
		if err := rows.Scan(&seq, &n); err != nil {
			return nil, unreadable("vault_entry", err)
		}
		counts[seq] = n
	}
	return counts, rows.Err()
}

// surplusLineOf names a stored line of a posting that it does not make.
func (a *auditor) surplusLineOf(ctx context.Context, p ledger.Posting) error {
	rows, err := a.tx.QueryContext(ctx, "SELECT account, line FROM vault_entry WHERE seq = ? ORDER BY line", int64(p.Seq))
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var account string
		var line int64
		if err := rows.Scan(&account, &line); err != nil {
			return unreadable("vault_entry", err)
		}
		if line < 0 || line >= int64(len(p.Entries)) || p.Entries[line].Account != account || !personal(account) {
			return fault(fmt.Sprintf("line %d of posting %d for %s", line, p.Seq, account), "surplus", "the posting has no such line")
		}
	}
	return rows.Err()
}

// checkLearnt compares the documents that the vault judges by with the log.
func (a *auditor) checkLearnt(ctx context.Context) error {
	var mark int64 // how far the vault has followed the feed
	if err := a.tx.QueryRowContext(ctx, "SELECT coalesce(max(seq), 0) FROM bus_mark").Scan(&mark); err != nil {
		return unreadable("bus_mark", err)
	}
	i, last := 0, int64(0)
	for row, err := range feed.Logged.Rows(ctx, a.tx) {
		if err != nil {
			return unreadable("feed_logged", err)
		}
		seq := int64(row.Seq)
		what := fmt.Sprintf("learnt document %d (feed_logged %d)", i+1, seq)
		switch {
		case i >= len(a.log.learnt):
			return fault(what, "unlogged", "the log holds %d documents", len(a.log.learnt))
		case merkle.LeafHash(row.Raw) != a.log.learnt[i]:
			return fault(what, "stored_document", "is not the document that the log holds there")
		case seq <= last || seq > mark:
			return fault(what, "order", "its place is not above %d, or above the mark of the feed, %d", last, mark)
		}
		if err := checkIndex(what, row); err != nil {
			return err
		}
		i, last = i+1, seq
	}
	a.sum.Rows += uint64(i)
	return noMoreIndexed(ctx, a.tx, feed.Logged)
}

// checkOutbox checks the chain of what waits to be handed over.
func (a *auditor) checkOutbox(ctx context.Context) error {
	rows, err := a.tx.QueryContext(ctx, "SELECT producer, seq, prev, digest, subject, body FROM bus_outbox ORDER BY producer, seq")
	if err != nil {
		return err
	}
	defer rows.Close()
	var producer string
	var seq uint64
	var digest bus.Digest
	for rows.Next() {
		var who, subject string
		var n uint64
		var prev, kept, body []byte
		if err := rows.Scan(&who, &n, &prev, &kept, &subject, &body); err != nil {
			return unreadable("bus_outbox", err)
		}
		what := fmt.Sprintf("outbox message %d of %s", n, who)
		switch {
		case producer != "" && who != producer:
			return fault(what, "producer", "the vault hands over as %s", producer)
		case producer != "" && (n != seq+1 || !bytes.Equal(prev, digest[:])):
			return fault(what, "link", "does not follow message %d", seq)
		}
		var before bus.Digest
		copy(before[:], prev)
		producer, seq, digest = who, n, bus.LinkDigest(before, n, subject, body)
		if !bytes.Equal(kept, digest[:]) {
			return fault(what, "digest", "is %s, the store says %x", digest, kept)
		}
		a.sum.Rows++
	}
	return rows.Err()
}

// agreement is how many bytes two values have in common at their beginning.
func agreement(a, b []byte) int {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] != b[i] {
			return i
		}
	}
	return n
}

// short is the hex form of the beginning of a value, "nothing" when it is empty.
func short(value []byte) string {
	const most = 16
	switch {
	case len(value) == 0:
		return "nothing"
	case len(value) > most:
		return fmt.Sprintf("%x…", value[:most])
	}
	return fmt.Sprintf("%x", value)
}
