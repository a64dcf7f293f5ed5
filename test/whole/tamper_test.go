//go:build whole

package whole_test

import (
	"context"
	"database/sql"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"robotorq.org/reserve/store"
	"robotorq.org/reserve/vault"
)

func TestOneChangedByteIsFoundAndNamed(t *testing.T) {
	original := MustDemo(t)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	for i := range 100 {
		kind := []string{"log", "packs", "postings"}[i%3]
		t.Run(fmt.Sprintf("%s %d", kind, i), func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "d")
			if err := os.CopyFS(dir, os.DirFS(original)); err != nil {
				t.Fatal(err)
			}
			var where string
			if kind == "postings" {
				where = MustChangePosting(t, dir, random)
			} else {
				where = MustFlip(t, filepath.Join(dir, kind), random)
			}
			r := Robotorq(t, "verify", dir)
			if r.Code == 0 {
				r = Robotorq(t, "audit", "--data", dir)
			}
			told := strings.TrimSpace(r.Out + r.Err)
			if r.Code != 1 || told == "" {
				t.Fatalf("%s: exit %d\n%s", where, r.Code, told)
			}
			t.Logf("%s → %s", where, lastLine(told))
		})
	}
}

func lastLine(s string) string {
	lines := strings.Split(s, "\n")
	return lines[len(lines)-1]
}

// MustFlip changes one random byte of one random file below dir, larger files
// being likelier.
func MustFlip(t *testing.T, dir string, random *rand.Rand) string {
	t.Helper()
	type file struct {
		path string
		size int64
	}
	var files []file
	var sum int64
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil && info.Size() > 0 {
			files = append(files, file{path, info.Size()})
			sum += info.Size()
		}
		return err
	})
	if err != nil || sum == 0 {
		t.Fatalf("nothing to change in %s: %v", dir, err)
	}
	// Half of the time any file alike, so that small ones are met too.
	chosen := files[random.IntN(len(files))]
	if random.IntN(2) == 0 {
		at := random.Int64N(sum)
		for _, f := range files {
			if at < f.size {
				chosen = f
				break
			}
			at -= f.size
		}
	}
	data, err := os.ReadFile(chosen.path)
	if err != nil {
		t.Fatal(err)
	}
	at := random.IntN(len(data))
	data[at] ^= byte(1 + random.IntN(255))
	if err := os.WriteFile(chosen.path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%s byte %d", strings.TrimPrefix(chosen.path, dir), at)
}

// MustChangePosting changes one random byte of one random posting.
func MustChangePosting(t *testing.T, dir string, random *rand.Rand) (where string) {
	t.Helper()
	db, err := store.Open(t.Context(), filepath.Join(dir, "vault.db"), store.Options{Schemas: vault.Schemas()})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	err = db.Update(t.Context(), func(ctx context.Context, tx *sql.Tx) error {
		var n int
		if err := tx.QueryRowContext(ctx, "SELECT count(*) FROM vault_posting").Scan(&n); err != nil {
			return err
		}
		column := []string{"body", "hash"}[random.IntN(2)]
		seq := 1 + random.IntN(n)
		var data []byte
		if err := tx.QueryRowContext(ctx, "SELECT "+column+" FROM vault_posting WHERE seq = ?", seq).Scan(&data); err != nil {
			return err
		}
		at := random.IntN(len(data))
		data[at] ^= byte(1 + random.IntN(255))
		where = fmt.Sprintf("posting %d %s byte %d", seq, column, at)
		_, err := tx.ExecContext(ctx, "UPDATE vault_posting SET "+column+" = ? WHERE seq = ?", data, seq)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return where
}
