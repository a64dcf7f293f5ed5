package vault

import (
	"context"
	"database/sql"

	"robotorq.org/reserve/ledger"
	"robotorq.org/reserve/store"
)

// keys finds former postings by their key. The writer looks up the keys of a whole
// batch at once, before it holds anybody up.
type keys struct {
	db    *store.DB
	batch map[string]*ledger.Known // what was looked up; nil: there is none
}

// look finds out about the keys of a batch. They hold until the next call, or until
// something is committed that the books do not remember themselves.
func (k *keys) look(ctx context.Context, batch []string) error {
	k.batch = make(map[string]*ledger.Known, len(batch))
	if len(batch) == 0 {
		return nil
	}
	found := make(map[string]*ledger.Known)
	err := k.db.View(ctx, func(ctx context.Context, tx *sql.Tx) error {
		return knownAmong(ctx, k.db, tx, batch, func(rows *sql.Rows) error {
			key, known, err := scanKnown(rows)
			found[key] = &known
			return err
		})
	})
	if err != nil {
		return err
	}
	for _, key := range batch {
		k.batch[key] = found[key]
	}
	return nil
}

// Find implements [ledger.Keys].
func (k *keys) Find(key string) (known ledger.Known, found bool, err error) {
	if known, looked := k.batch[key]; looked {
		if known == nil {
			return ledger.Known{}, false, nil
		}
		return *known, true, nil
	}
	return find(context.Background(), k.db, key)
}

// find looks for one key on disk.
func find(ctx context.Context, db *store.DB, key string) (known ledger.Known, found bool, err error) {
	err = db.View(ctx, func(ctx context.Context, tx *sql.Tx) error {
		return knownAmong(ctx, db, tx, []string{key}, func(rows *sql.Rows) error {
			_, known, err = scanKnown(rows)
			found = err == nil
			return err
		})
	})
	return known, found, err
}

func knownAmong(ctx context.Context, db *store.DB, tx *sql.Tx, keys []string, scan func(*sql.Rows) error) error {
	return db.Among(ctx, tx, "key, seq, hash, time, fingerprint", "vault_posting", "key", keys, scan)
}

func scanKnown(rows *sql.Rows) (key string, known ledger.Known, err error) {
	var hash, print []byte
	err = rows.Scan(&key, &known.Seq, &hash, &known.Time, &print)
	copy(known.Hash[:], hash)
	copy(known.Fingerprint[:], print)
	return key, known, err
}
