//go:build whole

package whole_test

import (
	"context"
	"database/sql"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"robotorq.org/reserve/archive"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/store"
	"robotorq.org/reserve/torq"
	"robotorq.org/reserve/vault"
)

// TestTamperWithTwoThousandBytes changes random bytes of a directory that the demo
// made, one at a time, in place, and lets the checks of verify run over all
// of it in this process: 1,000 bytes of log, packs and the vault's books, and 1,000 of
// the whole directory. A hundred of them are shown to
// the commands themselves in the test below.
func TestTamperWithTwoThousandBytes(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "d")
	mustCopy(t, MustDemo(t), dir)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	counts := map[string]*tamperCount{}
	for i := range 2000 {
		path, at := pickByte(t, dir, random, i%2 == 0)
		kind := archive.FileKind(path)
		c := counts[kind]
		if c == nil {
			c = &tamperCount{rules: map[string]int{}}
			counts[kind] = c
		}
		c.flipped++
		if kind == "bus" {
			continue // verify looks at none of it; with all of it gone, see the crash tests of package bus
		}
		flipAt(t, filepath.Join(dir, path), at, byte(1+i%255))
		f := foundBy(t, dir)
		flipAt(t, filepath.Join(dir, path), at, byte(1+i%255))
		switch {
		case f != nil && f.Artefact != "":
			c.found++
			c.rules[f.Rule]++
		default:
			t.Errorf("%s byte %d was not found", path, at)
		}
	}
	if f := foundBy(t, dir); f != nil {
		t.Fatalf("after everything was put back: %v", f)
	}
	for _, kind := range slices.Sorted(maps.Keys(counts)) {
		c := counts[kind]
		reason := ""
		if c.found < c.flipped {
			reason = "means nothing: JetStream's files, which may be deleted at any time"
		}
		t.Logf("%-20s flipped %4d, found and named %4d %v %s", kind, c.flipped, c.found, c.rules, reason)
	}
}

type tamperCount struct {
	flipped, found int
	rules          map[string]int
}

// pickByte chooses a byte: of log, packs and books of the vault, by turns, or of any
// file, larger ones being likelier.
func pickByte(t *testing.T, dir string, random *rand.Rand, meaningful bool) (path string, at int64) {
	t.Helper()
	type file struct {
		path string
		size int64
	}
	var files []file
	var sum int64
	want := []string{"log", "packs", "books of the vault"}[random.IntN(3)]
	err := fs.WalkDir(os.DirFS(dir), ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || meaningful && archive.FileKind(p) != want {
			return err
		}
		info, err := d.Info()
		if err == nil && info.Size() > 0 {
			files, sum = append(files, file{p, info.Size()}), sum+info.Size()
		}
		return err
	})
	if err != nil || sum == 0 {
		t.Fatalf("nothing to change in %s (%s): %v", dir, want, err)
	}
	at = random.Int64N(sum)
	for _, f := range files {
		if at < f.size {
			return f.path, at
		}
		at -= f.size
	}
	panic("whole: the sizes do not add up")
}

// flipAt changes a byte of a file in place; twice is not at all.
func flipAt(t *testing.T, path string, at int64, by byte) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	one := make([]byte, 1)
	if _, err := f.ReadAt(one, at); err != nil {
		t.Fatal(err)
	}
	one[0] ^= by
	if _, err := f.WriteAt(one, at); err != nil {
		t.Fatal(err)
	}
}

// foundBy is what verify finds in a directory. The sums of the last stop are compared
// first: it is what takes the least time.
func foundBy(t *testing.T, dir string) *proof.Fault {
	t.Helper()
	_, err := archive.Cover(t.Context(), dir, false)
	if err == nil {
		_, err = archive.VerifyDir(t.Context(), dir, archive.Options{Profile: torq.Standard()})
	}
	if err != nil && proof.AsFault(err) == nil {
		t.Fatalf("it cannot be checked: %v", err)
	}
	return proof.AsFault(err)
}

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
