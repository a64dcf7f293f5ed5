package vault

import (
	"context"
	"database/sql"

	"robotorq.org/reserve/ledger"
	"robotorq.org/reserve/store"
)

// save writes what the books say has changed: each table at once.
func (s *Station) save(ctx context.Context, tx *sql.Tx, ch ledger.Changes, now uint64) error {
	if err := Save(ctx, s.DB, tx, ch); err != nil {
		return err
	}
	if err := s.DB.Insert(ctx, tx, entrySet(s.fresh)); err != nil {
		return err
	}
	for i := range s.fresh {
		p := &s.fresh[i]
		if err := s.publish(ctx, tx, p, max(now, p.Time)); err != nil {
			return err
		}
		if err := s.announce(ctx, tx, p, now); err != nil {
			return err
		}
	}
	return nil
}

// Save writes postings and rows of books to the vault's tables: what a station does, or
// whoever fills its books by other means.
func Save(ctx context.Context, db *store.DB, tx *sql.Tx, ch ledger.Changes) error {
	if err := db.Insert(ctx, tx, postingSet(ch.Postings, ch.Known)); err != nil {
		return err
	}
	kept, gone := rowSets(ch.Rows)
	if err := db.Delete(ctx, tx, gone); err != nil {
		return err
	}
	return db.Put(ctx, tx, kept, 2)
}

func postingSet(posted []ledger.Posting, known map[string]ledger.Known) *store.Set {
	n := len(posted)
	seqs, times, kinds, keys := make([]int64, n), make([]int64, n), make([]string, n), make([]string, n)
	hashes, prints, bodies := make([][]byte, n), make([][]byte, n), make([][]byte, n)
	for i := range posted {
		p := &posted[i]
		seqs[i], times[i], kinds[i], keys[i] = int64(p.Seq), int64(p.Time), string(p.Kind), p.Key
		hashes[i], bodies[i] = p.Hash[:], p.Body()
		if k, ok := known[p.Key]; ok {
			prints[i] = k.Fingerprint[:]
		}
	}
	return &store.Set{Table: "vault_posting", Columns: []store.Column{
		{Name: "seq", Numbers: seqs}, {Name: "time", Numbers: times}, {Name: "kind", Texts: kinds}, {Name: "key", Texts: keys},
		{Name: "hash", Bytes: hashes}, {Name: "fingerprint", Bytes: prints}, {Name: "body", Bytes: bodies},
	}}
}

func entrySet(posted []Posted) *store.Set {
	n := 0
	for i := range posted {
		n += len(posted[i].lines)
	}
	accounts := make([]string, 0, n)
	seqs, numbers, amounts, balances := make([]int64, 0, n), make([]int64, 0, n), make([]int64, 0, n), make([]int64, 0, n)
	for i := range posted {
		for _, l := range posted[i].lines {
			accounts, seqs, numbers = append(accounts, l.account), append(seqs, int64(posted[i].Seq)), append(numbers, int64(l.number))
			amounts, balances = append(amounts, int64(l.amount)), append(balances, int64(l.balance))
		}
	}
	return &store.Set{Table: "vault_entry", Columns: []store.Column{
		{Name: "account", Texts: accounts}, {Name: "seq", Numbers: seqs}, {Name: "line", Numbers: numbers},
		{Name: "amount", Numbers: amounts}, {Name: "balance", Numbers: balances},
	}}
}

// rowSets divides rows into those that are and those that are no more.
func rowSets(rows []ledger.Row) (kept, gone *store.Set) {
	var tables, keys, goneTables, goneKeys []string
	var values [][]byte
	for _, r := range rows {
		if r.Value == nil {
			goneTables, goneKeys = append(goneTables, string(r.Table)), append(goneKeys, r.Key)
			continue
		}
		tables, keys, values = append(tables, string(r.Table)), append(keys, r.Key), append(values, r.Value)
	}
	name := func(tables, keys []string) []store.Column {
		return []store.Column{{Name: "tbl", Texts: tables}, {Name: "key", Texts: keys}}
	}
	kept = &store.Set{Table: "vault_row", Columns: append(name(tables, keys), store.Column{Name: "value", Bytes: values})}
	return kept, &store.Set{Table: "vault_row", Columns: name(goneTables, goneKeys)}
}
