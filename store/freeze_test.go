package store_test

import (
	"context"
	"database/sql"
	"fmt"
	"path/filepath"
	"sync"
	"testing"

	"robotorq.org/reserve/store"
)

// TestWhatIsFrozenIsOneMomentOfSeveralFiles lets one writer count in two files, the
// second always after the first: a copy of one moment never shows the second ahead.
func TestWhatIsFrozenIsOneMomentOfSeveralFiles(t *testing.T) {
	dir := t.TempDir()
	var dbs [2]*store.DB
	var paths []string
	for i := range dbs {
		path := filepath.Join(dir, fmt.Sprintf("%d.db", i))
		db, err := store.Open(t.Context(), path, store.Options{Schemas: []store.Schema{schema("count", "CREATE TABLE counter (n INTEGER NOT NULL, filler BLOB) STRICT; INSERT INTO counter VALUES (0, NULL);")}})
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		dbs[i], paths = db, append(paths, path)
	}
	count := func(ctx context.Context, db *store.DB) error {
		return db.Update(ctx, func(ctx context.Context, tx *sql.Tx) error {
			_, err := tx.ExecContext(ctx, "UPDATE counter SET n = n + 1, filler = randomblob(3000)")
			return err
		})
	}
	ctx, stop := context.WithCancel(t.Context())
	var work sync.WaitGroup
	work.Go(func() {
		for ctx.Err() == nil {
			for _, db := range dbs {
				if err := count(context.Background(), db); err != nil {
					t.Error(err)
					return
				}
			}
		}
	})
	for round := range 20 {
		stood := false
		f, err := store.Freeze(t.Context(), paths, func() error { stood = true; return nil })
		if err != nil || !stood {
			t.Fatal(err)
		}
		if err := count(t.Context(), dbs[0]); err != nil { // the writers go on
			t.Fatal(err)
		}
		var n [2]int64
		for i := range paths {
			to := filepath.Join(dir, fmt.Sprintf("copy-%d-%d.db", round, i))
			if err := f.Copy(t.Context(), i, to); err != nil {
				t.Fatal(err)
			}
			n[i] = counted(t, to)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		// Each round counted once more in the first file alone.
		if lead := n[0] - n[1] - int64(round); lead != 0 && lead != 1 {
			t.Errorf("round %d: the files are %d apart", round, lead)
		}
	}
	stop()
	work.Wait()
	if _, err := store.Freeze(t.Context(), []string{filepath.Join(dir, "none.db")}, func() error { return nil }); store.CodeOf(err) != store.CodeMissing {
		t.Errorf("a file that is not there: %v", err)
	}
}

func counted(t *testing.T, path string) (n int64) {
	t.Helper()
	r, err := store.OpenReadOnly(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	err = r.View(t.Context(), func(ctx context.Context, tx *sql.Tx) error {
		return tx.QueryRowContext(ctx, "SELECT n FROM counter").Scan(&n)
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}
