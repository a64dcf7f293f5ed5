//go:build tiny

package tamper_test

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"

	"robotorq.org/reserve/archive"
	"robotorq.org/reserve/node"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/store"
	"robotorq.org/reserve/torq"
	"robotorq.org/reserve/vault/audit"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// reserve makes a data directory of the tiny profile as a node makes it: a contract,
// robots' reports, batches, pours, certificates of 64 ore, postings; stopped by itself.
func reserve(t *testing.T) (dir string, profile torq.Profile) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "d")
	_, err := node.BenchPipeline(t.Context(), node.Load{Dir: dir, Watts: 1, Tokens: 1, Robots: 2, Certificates: 2, Profile: "tiny"})
	must(t, err)
	must(t, os.RemoveAll(filepath.Join(dir, "backlog"))) // the benchmark's own
	profile, err = torq.ProfileByName("tiny")
	must(t, err)
	return dir, profile
}

// tally is what became of the flips of one kind of file.
type tally struct {
	files, bytes   int
	flipped, found int
	by             map[string]int // rule that named it
	reason         string         // why it means nothing
}

// table counts by kind; it may be used by several goroutines.
type table struct {
	mu    sync.Mutex
	kinds map[string]*tally
}

func (tb *table) of(kind string) *tally {
	if tb.kinds[kind] == nil {
		tb.kinds[kind] = &tally{by: map[string]int{}}
	}
	return tb.kinds[kind]
}

func (tb *table) flip(kind string, err error) {
	tb.mu.Lock()
	defer tb.mu.Unlock()
	k := tb.of(kind)
	k.flipped++
	if f := proof.AsFault(err); f != nil && f.Artefact != "" {
		k.found++
		k.by[f.Rule]++
	}
}

func (tb *table) String() string {
	var out strings.Builder
	w := tabwriter.NewWriter(&out, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "kind\tfiles\tbytes\tflipped\tfound and named\tby")
	for _, kind := range sorted(tb.kinds) {
		k := tb.kinds[kind]
		how := k.reason
		for _, rule := range sorted(k.by) {
			how += fmt.Sprintf("%s %d  ", rule, k.by[rule])
		}
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\t%s\n", kind, k.files, k.bytes, k.flipped, k.found, how)
	}
	w.Flush()
	return out.String()
}

func sorted[V any](m map[string]V) []string {
	var keys []string
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// paths lists the files of a directory, with slashes.
func paths(t *testing.T, dir string) []string {
	t.Helper()
	var out []string
	must(t, fs.WalkDir(os.DirFS(dir), ".", func(p string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			out = append(out, p)
		}
		return err
	}))
	return out
}

func copyOf(t *testing.T, dir string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "copy")
	must(t, os.CopyFS(to, os.DirFS(dir)))
	return to
}

// overwrite changes one byte of a file in place.
func overwrite(f *os.File, at int64, b byte) error {
	_, err := f.WriteAt([]byte{b}, at)
	return err
}

func TestEveryByteOfADataDirectoryIsFoundAndNamedOrMeansNothing(t *testing.T) {
	dir, profile := reserve(t)
	checks := archive.Options{Profile: profile, Workers: 1}
	_, err := archive.VerifyDir(t.Context(), dir, checks)
	must(t, err)
	_, err = audit.Run(t.Context(), dir, audit.Options{Profile: profile})
	must(t, err)
	covered, err := archive.Cover(t.Context(), dir, false)
	must(t, err)

	tb := &table{kinds: map[string]*tally{}}
	for _, c := range covered {
		k := tb.of(c.Kind)
		k.files, k.bytes = c.Files, int(c.Bytes)
		if !c.Checked {
			k.reason = strings.SplitN(c.By, ";", 2)[0]
		}
	}
	everyByteOfLogAndPacks(t, dir, checks, tb)
	everyByteAtRest(t, dir, tb)
	t.Logf("\n%s", tb)
	for kind, k := range tb.kinds {
		if k.found != k.flipped {
			t.Errorf("%s: %d of %d changed bytes were not found", kind, k.flipped-k.found, k.flipped)
		}
		if k.flipped == 0 && k.bytes > 0 && !strings.HasPrefix(k.reason, "means nothing") {
			t.Errorf("%s: %d bytes were never changed (%s)", kind, k.bytes, k.reason)
		}
	}
}

// everyByteOfLogAndPacks flips each byte below log/ and packs/ and lets verify's
// check of the directory run: every file to the byte, then everything derived again.
func everyByteOfLogAndPacks(t *testing.T, dir string, checks archive.Options, tb *table) {
	var files []string
	for _, p := range paths(t, dir) {
		if k := archive.FileKind(p); k == "log" || k == "packs" {
			files = append(files, p)
		}
	}
	type job struct {
		path string
		from int64
	}
	const share = 512 // bytes of a file that one worker takes
	jobs := make(chan job)
	var work sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		own := copyOf(t, dir)
		work.Go(func() {
			for j := range jobs {
				f, err := os.OpenFile(filepath.Join(own, j.path), os.O_RDWR, 0)
				if err != nil {
					t.Error(err)
					continue
				}
				buf := make([]byte, share)
				n, _ := f.ReadAt(buf, j.from)
				for i, was := range buf[:n] {
					at := j.from + int64(i)
					err := overwrite(f, at, was^(1<<(at%8)))
					if err == nil {
						_, err = archive.VerifyDir(t.Context(), own, checks)
					}
					if proof.AsFault(err) == nil {
						t.Errorf("%s byte %d: %v", j.path, at, err)
					}
					tb.flip(archive.FileKind(j.path), err)
					if err := overwrite(f, at, was); err != nil {
						t.Error(err)
					}
				}
				if err := f.Close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for _, p := range files {
		info, err := os.Stat(filepath.Join(dir, p))
		must(t, err)
		for at := int64(0); at < info.Size(); at += share {
			jobs <- job{p, at}
		}
	}
	close(jobs)
	work.Wait()
}

// everyByteAtRest flips each byte of the other files. The check that verify makes
// of a file is that of its blocks, one after the other: so the one block is checked
// for every byte, and the whole directory for some.
func everyByteAtRest(t *testing.T, dir string, tb *table) {
	sums, ok, err := archive.ReadAtRest(dir)
	must(t, err)
	if !ok {
		t.Fatal("nothing was written down when the reserve stopped")
	}
	own := copyOf(t, dir)
	for _, sum := range sums {
		kind := archive.FileKind(sum.Path)
		data, err := os.ReadFile(filepath.Join(own, sum.Path))
		must(t, err)
		must(t, sum.Check(data))
		for i := range data {
			from, n := sum.Block(int64(i))
			data[i] ^= 1 << (i % 8)
			tb.flip(kind, sum.CheckBlock(from, data[from:from+n]))
			data[i] ^= 1 << (i % 8)
		}
		if len(data) == 0 {
			continue
		}
		at := len(data) / 3
		data[at] ^= 1
		must(t, os.WriteFile(filepath.Join(own, sum.Path), data, 0o600))
		_, err = archive.Cover(t.Context(), own, false)
		if f := proof.AsFault(err); f == nil || f.Artefact != sum.Path {
			t.Errorf("%s byte %d, by the whole directory: %v", sum.Path, at, err)
		}
		data[at] ^= 1
		must(t, os.WriteFile(filepath.Join(own, sum.Path), data, 0o600))
	}
	data, err := os.ReadFile(filepath.Join(dir, archive.AtRestFile))
	must(t, err)
	for i := range data {
		data[i] ^= 1 << (i % 8)
		_, err := archive.ParseAtRest(data)
		tb.flip(archive.FileKind(archive.AtRestFile), err)
		data[i] ^= 1 << (i % 8)
	}
}

// The vault's books with the sums of the stop taken away, as after a crash: every
// 397th byte is flipped. What audit does not find then is where SQLite keeps no row,
// or in a table that audit does not compare, which is told.
func TestWithoutTheSumsOfAStopAuditFindsEveryChangedRowOfTheBooks(t *testing.T) {
	own, profile := reserve(t)
	must(t, archive.DropAtRest(own))
	file := filepath.Join(own, "vault.db")
	whole, err := os.ReadFile(file)
	must(t, err)
	honest := rowsOf(t, file)
	named, unreadable, unused, passed := 0, 0, 0, map[string]int{}
	for at := 0; at < len(whole); at += 397 {
		whole[at] ^= 1 << (at % 8)
		must(t, os.WriteFile(file, whole, 0o600))
		_, err := audit.Run(t.Context(), own, audit.Options{Profile: profile})
		switch {
		case proof.AsFault(err) != nil:
			named++
		case err != nil:
			unreadable++
		default:
			changed := false
			for name, sum := range rowsOf(t, file) {
				if sum != honest[name] {
					passed[name]++
					changed = true
				}
			}
			if !changed {
				unused++
			}
		}
		whole[at] ^= 1 << (at % 8)
		for _, side := range []string{"-wal", "-shm"} {
			os.Remove(file + side)
		}
	}
	t.Logf("vault.db without the sums of the stop: audit names %d changed bytes, cannot read %d, passes over %d that are in no row, and over these in rows: %v",
		named, unreadable, unused, passed)
	if named == 0 {
		t.Error("audit found nothing")
	}
	for name := range passed {
		if slices.Contains(compared, name) {
			t.Errorf("audit passes over a changed row of %s, which it compares", name)
		}
	}
}

// compared are the tables that audit compares row by row.
var compared = []string{"vault_posting", "vault_row", "vault_entry", "vault_dividend", "vault_mint", "feed_logged", "feed_index", "bus_outbox"}

// rowsOf sums the rows of every table of a file.
func rowsOf(t *testing.T, file string) map[string][sha256.Size]byte {
	t.Helper()
	db, err := store.OpenReadOnly(t.Context(), file)
	must(t, err)
	defer db.Close()
	out := map[string][sha256.Size]byte{}
	must(t, db.View(t.Context(), func(ctx context.Context, tx *sql.Tx) error {
		names, err := texts(ctx, tx, "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
		if err != nil {
			return err
		}
		for _, name := range names {
			columns, err := texts(ctx, tx, "SELECT 'quote(' || name || ')' FROM pragma_table_info('"+name+"')")
			if err != nil {
				return err
			}
			rows, err := texts(ctx, tx, "SELECT "+strings.Join(columns, " || ',' || ")+" FROM "+name)
			if err != nil {
				return err
			}
			slices.Sort(rows)
			out[name] = sha256.Sum256([]byte(strings.Join(rows, "\n")))
		}
		return nil
	}))
	return out
}

func texts(ctx context.Context, tx *sql.Tx, query string) (out []string, err error) {
	rows, err := tx.QueryContext(ctx, query)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	return out, rows.Err()
}
