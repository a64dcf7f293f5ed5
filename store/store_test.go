package store_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"robotorq.org/reserve/store"
)

func schema(name string, files ...string) store.Schema {
	m := fstest.MapFS{}
	for i, text := range files {
		m[fmt.Sprintf("%04d_step.sql", i+1)] = &fstest.MapFile{Data: []byte(text)}
	}
	return store.Schema{Name: name, Files: m}
}

const books = `CREATE TABLE account (name TEXT PRIMARY KEY, jt INTEGER NOT NULL CHECK (jt >= 0)) STRICT;
CREATE TABLE posting (seq INTEGER PRIMARY KEY, account TEXT NOT NULL REFERENCES account (name), body BLOB NOT NULL) STRICT;`

func open(t *testing.T, path string, schemas ...store.Schema) *store.DB {
	t.Helper()
	if schemas == nil {
		schemas = []store.Schema{schema("books", books)}
	}
	db, err := store.Open(t.Context(), path, store.Options{Schemas: schemas})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func exec(t *testing.T, db *store.DB, query string, args ...any) {
	t.Helper()
	if err := try(t.Context(), db, query, args...); err != nil {
		t.Fatal(err)
	}
}

func try(ctx context.Context, db *store.DB, query string, args ...any) error {
	return db.Update(ctx, func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, query, args...)
		return err
	})
}

type viewer interface {
	View(context.Context, func(context.Context, *sql.Tx) error) error
}

func count(t *testing.T, v viewer, query string) (n int) {
	t.Helper()
	err := v.View(t.Context(), func(ctx context.Context, tx *sql.Tx) error {
		return tx.QueryRowContext(ctx, query).Scan(&n)
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func wantCode(t *testing.T, err error, code store.Code) {
	t.Helper()
	if store.CodeOf(err) != code {
		t.Fatalf("got %v, want code %s", err, code)
	}
}

func TestAFailedUpdateLeavesNothing(t *testing.T) {
	db := open(t, filepath.Join(t.TempDir(), "a.db"))
	refused := errors.New("refused")
	err := db.Update(t.Context(), func(ctx context.Context, tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, "INSERT INTO account VALUES ('a', 1)"); err != nil {
			return err
		}
		return refused
	})
	if err != refused {
		t.Fatalf("the error of fn comes back as it was, got %v", err)
	}
	if n := count(t, db, "SELECT count(*) FROM account"); n != 0 {
		t.Fatalf("%d rows", n)
	}
	wantCode(t, try(t.Context(), db, "INSERT INTO posting VALUES (1, 'nobody', x'00')"), store.CodeConstraint)
	wantCode(t, try(t.Context(), db, "INSERT INTO account VALUES ('b', -1)"), store.CodeConstraint)
	wantCode(t, try(t.Context(), db, "INSERT INTO nowhere VALUES (1)"), store.CodeSQL)
	wantCode(t, try(t.Context(), db, `INSERT INTO account VALUES ("a", 1)`), store.CodeSQL) // no strings in double quotes
}

func TestAnUpdateInsideAnUpdateIsRefusedInsteadOfWaitingForItself(t *testing.T) {
	db := open(t, filepath.Join(t.TempDir(), "a.db"))
	err := db.Update(t.Context(), func(ctx context.Context, tx *sql.Tx) error {
		return db.Update(ctx, func(context.Context, *sql.Tx) error { return nil })
	})
	wantCode(t, err, store.CodeNested)
	other := open(t, filepath.Join(t.TempDir(), "b.db"))
	err = db.Update(t.Context(), func(ctx context.Context, tx *sql.Tx) error {
		return other.Update(ctx, func(context.Context, *sql.Tx) error { return nil })
	})
	if err != nil {
		t.Fatalf("an update of another file: %v", err)
	}
}

func TestACancelledContextEndsTheWaitingButNotABegunUpdate(t *testing.T) {
	db := open(t, filepath.Join(t.TempDir(), "a.db"))
	ctx, cancel := context.WithCancel(t.Context())
	err := db.Update(ctx, func(ctx context.Context, tx *sql.Tx) error {
		late, stop := context.WithTimeout(context.Background(), 20*time.Millisecond)
		defer stop()
		if err := try(late, db, "INSERT INTO account VALUES ('late', 1)"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a second writer: %v", err)
		}
		cancel()
		_, err := tx.ExecContext(ctx, "INSERT INTO account VALUES ('a', 1)")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if n := count(t, db, "SELECT count(*) FROM account"); n != 1 {
		t.Fatalf("%d rows", n)
	}
	if err := try(ctx, db, "DELETE FROM account"); !errors.Is(err, context.Canceled) {
		t.Fatalf("cancelled before it began: %v", err)
	}
}

func TestAViewSeesOnePictureAndCannotWrite(t *testing.T) {
	db := open(t, filepath.Join(t.TempDir(), "a.db"))
	exec(t, db, "INSERT INTO account VALUES ('a', 1)")
	err := db.View(t.Context(), func(ctx context.Context, tx *sql.Tx) error {
		for range 2 {
			var n int
			if err := tx.QueryRowContext(ctx, "SELECT count(*) FROM account").Scan(&n); err != nil || n != 1 {
				t.Errorf("%d rows, %v", n, err)
			}
			if err := try(ctx, db, fmt.Sprintf("INSERT INTO account VALUES ('%p', 1)", &n)); err != nil {
				return err
			}
		}
		_, err := tx.ExecContext(ctx, "DELETE FROM account")
		return err
	})
	wantCode(t, err, store.CodeReadOnly)
	if n := count(t, db, "SELECT count(*) FROM account"); n != 3 {
		t.Fatalf("%d rows", n)
	}
}

func TestTheSameQueryMayRunInsideItsOwnRows(t *testing.T) {
	db := open(t, filepath.Join(t.TempDir(), "a.db"))
	exec(t, db, "INSERT INTO account VALUES ('a', 1), ('b', 2), ('c', 3)")
	const query = "SELECT name FROM account WHERE jt >= ? ORDER BY name"
	var got []string
	for range 3 {
		err := db.View(t.Context(), func(ctx context.Context, tx *sql.Tx) error {
			outer, err := tx.QueryContext(ctx, query, 2)
			if err != nil {
				return err
			}
			defer outer.Close()
			for outer.Next() {
				var a, b string
				if err := outer.Scan(&a); err != nil {
					return err
				}
				if err := tx.QueryRowContext(ctx, query, 1).Scan(&b); err != nil {
					return err
				}
				got = append(got, a+b)
			}
			return outer.Err()
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if s := strings.Join(got, " "); s != "ba ca ba ca ba ca" {
		t.Fatal(s)
	}
}

func TestDurabilitySettingsHold(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.db")
	db := open(t, path)
	err := db.Update(t.Context(), func(ctx context.Context, tx *sql.Tx) error {
		for pragma, want := range map[string]string{"journal_mode": "wal", "synchronous": "2", "foreign_keys": "1", "cache_size": "-512", "busy_timeout": "5000"} {
			var got string
			if err := tx.QueryRowContext(ctx, "PRAGMA "+pragma).Scan(&got); err != nil || got != want {
				t.Errorf("%s is %q, want %q (%v)", pragma, got, want, err)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range []string{path, path + "-wal"} {
		info, err := os.Stat(f)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", f, info.Mode(), err)
		}
	}
}

func TestCloseFoldsTheLogAndEndsEverything(t *testing.T) {
	before := runtime.NumGoroutine()
	path := filepath.Join(t.TempDir(), "a.db")
	db := open(t, path)
	exec(t, db, "INSERT INTO account VALUES ('a', 1)")
	inside, leave := make(chan struct{}), make(chan struct{})
	go db.View(context.Background(), func(context.Context, *sql.Tx) error {
		close(inside)
		<-leave
		return nil
	})
	<-inside
	time.AfterFunc(20*time.Millisecond, func() { close(leave) })
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-leave:
	default:
		t.Fatal("Close did not wait for a running View")
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	wantCode(t, try(t.Context(), db, "DELETE FROM account"), store.CodeClosed)
	wantCode(t, db.View(t.Context(), nil), store.CodeClosed)
	if left, _ := filepath.Glob(path + "-*"); len(left) != 0 {
		t.Fatalf("left behind: %v", left)
	}
	waitGoroutines(t, before)
}

func waitGoroutines(t *testing.T, want int) {
	t.Helper()
	for range 200 {
		if runtime.NumGoroutine() <= want {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	buf := make([]byte, 1<<20)
	t.Fatalf("%d goroutines, %d before\n%s", runtime.NumGoroutine(), want, buf[:runtime.Stack(buf, true)])
}

func TestWatchTellsOfEveryCommit(t *testing.T) {
	db := open(t, filepath.Join(t.TempDir(), "a.db"))
	changed, stop := db.Watch()
	exec(t, db, "INSERT INTO account VALUES ('a', 1)")
	exec(t, db, "INSERT INTO account VALUES ('b', 1)")
	<-changed
	select {
	case <-changed:
		t.Fatal("two commits before a receive are told once")
	default:
	}
	try(t.Context(), db, "INSERT INTO account VALUES ('b', 1)")
	select {
	case <-changed:
		t.Fatal("told of a refused update")
	default:
	}
	stop()
	exec(t, db, "INSERT INTO account VALUES ('c', 1)")
	select {
	case <-changed:
		t.Fatal("told after stop")
	default:
	}
}

func TestMigrationsGoForwardOnlyAndNeverChange(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.db")
	one, two := "CREATE TABLE a (x INTEGER) STRICT;", "ALTER TABLE a ADD COLUMN y INTEGER; INSERT INTO a VALUES (1, 2);"
	reopen := func(schemas ...store.Schema) error {
		db, err := store.Open(t.Context(), path, store.Options{Schemas: schemas})
		if err != nil {
			return err
		}
		defer db.Close()
		return db.Check(t.Context())
	}
	steps := []struct {
		what    string
		schemas []store.Schema
		code    store.Code
	}{
		{"new", []store.Schema{schema("a", one)}, ""},
		{"again", []store.Schema{schema("a", one)}, ""},
		{"a broken step leaves the version before it", []store.Schema{schema("a", one, "CREATE TABLE b (x); CREATE NONSENSE")}, store.CodeMigrationFailed},
		{"the next", []store.Schema{schema("a", one, two)}, ""},
		{"an older program", []store.Schema{schema("a", one)}, store.CodeSchemaNewer},
		{"a changed text", []store.Schema{schema("a", one+" ", two)}, store.CodeMigrationChanged},
		{"a second room", []store.Schema{schema("a", one, two), schema("b", "CREATE TABLE b (x);")}, ""},
		{"without the second room", []store.Schema{schema("a", one, two)}, store.CodeSchemaNewer},
		{"a room twice", []store.Schema{schema("a", one, two), schema("a", one, two)}, store.CodeSchemaInvalid},
		{"a bad room name", []store.Schema{schema("A b")}, store.CodeSchemaInvalid},
		{"a gap in numbers", []store.Schema{{Name: "a", Files: fstest.MapFS{"0002_x.sql": {}}}}, store.CodeSchemaInvalid},
	}
	for _, s := range steps {
		if err := reopen(s.schemas...); store.CodeOf(err) != s.code || (s.code == "" && err != nil) {
			t.Fatalf("%s: %v, want %q", s.what, err, s.code)
		}
	}
	r, err := store.OpenReadOnly(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	all, err := r.Versions(t.Context())
	if err != nil || fmt.Sprint(all) != "[{a 2} {b 1}]" {
		t.Fatal(all, err)
	}
	_, err = store.OpenReadOnly(t.Context(), path, schema("a", one, two, "CREATE TABLE c (x);"), schema("b", "CREATE TABLE b (x);"))
	wantCode(t, err, store.CodeSchemaOlder)
	_, err = store.OpenReadOnly(t.Context(), path, schema("a", one, two))
	wantCode(t, err, store.CodeSchemaNewer)
}

func TestForeignDamagedAndMissingFilesAreRefusedByName(t *testing.T) {
	dir := t.TempDir()
	foreign := filepath.Join(dir, "foreign.db")
	pool, err := sql.Open("sqlite", foreign)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := pool.Exec("CREATE TABLE x (y)"); err != nil {
		t.Fatal(err)
	}
	pool.Close()
	noise := filepath.Join(dir, "noise.db")
	if err := os.WriteFile(noise, []byte(strings.Repeat("not a database ", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	for path, code := range map[string]store.Code{foreign: store.CodeSchemaForeign, noise: store.CodeCorrupt, filepath.Join(dir, "no", "dir.db"): store.CodeMissing} {
		_, err := store.Open(t.Context(), path, store.Options{})
		wantCode(t, err, code)
		if !strings.Contains(err.Error(), path) {
			t.Errorf("%v does not name %s", err, path)
		}
		_, err = store.OpenReadOnly(t.Context(), path)
		wantCode(t, err, code)
	}
}

func TestReadOnlyReadsALiveFileAKilledOneAndAColdCopy(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.db")
	db := open(t, path)
	exec(t, db, "INSERT INTO account VALUES ('a', 1)")
	live, err := store.OpenReadOnly(t.Context(), path, schema("books", books))
	if err != nil {
		t.Fatal(err)
	}
	exec(t, db, "INSERT INTO account VALUES ('b', 1)")
	if n := count(t, live, "SELECT count(*) FROM account"); n != 2 {
		t.Fatalf("live: %d rows", n)
	}
	err = live.View(t.Context(), func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "DELETE FROM account")
		return err
	})
	wantCode(t, err, store.CodeReadOnly)
	if err := live.Close(); err != nil {
		t.Fatal(err)
	}

	// What a kill leaves behind: the file and its log, copied while it was open.
	killed := filepath.Join(t.TempDir(), "killed.db")
	copyFile(t, path, killed)
	copyFile(t, path+"-wal", killed+"-wal")
	read(t, killed, 2)

	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	coldDir := t.TempDir()
	cold := filepath.Join(coldDir, "cold ?#%.db")
	copyFile(t, path, cold)
	read(t, cold, 2)
	if names, _ := os.ReadDir(coldDir); len(names) != 1 {
		t.Fatalf("reading a cold copy left files beside it: %v", names)
	}
}

func read(t *testing.T, path string, want int) {
	t.Helper()
	r, err := store.OpenReadOnly(t.Context(), path, schema("books", books))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if n := count(t, r, "SELECT count(*) FROM account"); n != want {
		t.Fatalf("%s: %d rows, want %d", path, n, want)
	}
	if err := r.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	in, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(out, in); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestCheckFindsADamagedPage(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.db")
	db := open(t, path)
	for i := range 200 {
		exec(t, db, "INSERT INTO account VALUES (?, 1)", fmt.Sprintf("account %0100d", i))
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	for page := info.Size()/4096 - 3; page < info.Size()/4096; page++ {
		if _, err := f.WriteAt([]byte{0xee, 0xee, 0xee, 0xee, 0xee, 0xee, 0xee, 0xee}, page*4096); err != nil {
			t.Fatal(err)
		}
	}
	f.Close()
	r, err := store.OpenReadOnly(t.Context(), path)
	if err == nil {
		defer r.Close()
		err = r.Check(t.Context())
	}
	wantCode(t, err, store.CodeCorrupt)
}

func TestManyWritersAndReadersAtOnce(t *testing.T) {
	db := open(t, filepath.Join(t.TempDir(), "a.db"))
	exec(t, db, "INSERT INTO account VALUES ('a', 0)")
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 25 {
				if err := try(context.Background(), db, "UPDATE account SET jt = jt + 1"); err != nil {
					t.Error(err)
				}
				count(t, db, "SELECT jt FROM account")
			}
		})
	}
	wg.Wait()
	if n := count(t, db, "SELECT jt FROM account"); n != 200 {
		t.Fatalf("jt is %d", n)
	}
}
