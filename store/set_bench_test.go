package store_test

import (
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"syscall"
	"testing"

	"robotorq.org/reserve/store"
)

// BenchmarkInsert writes groups of 1,000 rows like a vault's: in the order of the key, and all
// over the place.
func BenchmarkInsert(b *testing.B) {
	tables := schema("books", `CREATE TABLE posting (seq INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, hash BLOB NOT NULL, body BLOB NOT NULL) STRICT;
		CREATE TABLE entry (account TEXT NOT NULL, seq INTEGER NOT NULL, amount INTEGER NOT NULL, PRIMARY KEY (account, seq)) STRICT, WITHOUT ROWID;`)
	const group = 1000
	random := rand.New(rand.NewPCG(1, 1))
	for _, what := range []string{"posting", "entry", "put"} {
		b.Run(what, func(b *testing.B) {
			db, err := store.Open(b.Context(), filepath.Join(b.TempDir(), "a.db"), store.Options{Schemas: []store.Schema{tables}, CacheKiB: 65536, LogKiB: 65536})
			if err != nil {
				b.Fatal(err)
			}
			defer db.Close()
			seq, began := int64(0), cpu()
			for b.Loop() {
				seqs, keys, accounts, hashes, bodies := make([]int64, group), make([]string, group), make([]string, group), make([][]byte, group), make([][]byte, group)
				for i := range group {
					seq++
					seqs[i], hashes[i], bodies[i] = seq, make([]byte, 32), make([]byte, 500)
					keys[i] = fmt.Sprintf("order/member:%08d/%016x%016x", random.IntN(100_000), random.Uint64(), random.Uint64())
					accounts[i] = fmt.Sprintf("member:%08d", random.IntN(100_000))
				}
				set := &store.Set{Table: "posting", Columns: []store.Column{{Name: "seq", Numbers: seqs}, {Name: "key", Texts: keys}, {Name: "hash", Bytes: hashes}, {Name: "body", Bytes: bodies}}}
				if what != "posting" {
					set = &store.Set{Table: "entry", Columns: []store.Column{{Name: "account", Texts: accounts}, {Name: "seq", Numbers: seqs}, {Name: "amount", Numbers: seqs}}}
				}
				if what == "put" {
					clear(seqs)
				}
				err := db.Update(b.Context(), func(ctx context.Context, tx *sql.Tx) error {
					if what == "put" {
						return db.Put(ctx, tx, set, 2)
					}
					return db.Insert(ctx, tx, set)
				})
				if err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*group), "ns/row")
			b.ReportMetric(float64(cpu()-began)/float64(b.N*group), "cpu-ns/row")
		})
	}
}

// cpu is the process's time on the cores so far.
func cpu() int64 {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return u.Utime.Nano() + u.Stime.Nano()
}
