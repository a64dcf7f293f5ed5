package storetest_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"robotorq.org/reserve/bus"
	"robotorq.org/reserve/store"
	"robotorq.org/reserve/store/storetest"
)

func TestMain(m *testing.M) { os.Exit(storetest.Main(m)) }

const books = `-- INTEGER in a comment, and a ';' too
CREATE TABLE account (name TEXT PRIMARY KEY, jt INTEGER NOT NULL CHECK (jt >= 0)) STRICT;
CREATE TABLE posting (seq INTEGER PRIMARY KEY, account TEXT NOT NULL REFERENCES account (name), body BLOB) STRICT;
CREATE TABLE line (
	account TEXT NOT NULL,
	seq     INTEGER NOT NULL,
	hash    BLOB NOT NULL CHECK (length(hash) = 2),
	PRIMARY KEY (account, seq)
) STRICT, WITHOUT ROWID;`

func schema(name string, files ...string) store.Schema {
	m := fstest.MapFS{}
	for i, text := range files {
		m[fmt.Sprintf("%04d_step.sql", i+1)] = &fstest.MapFile{Data: []byte(text)}
	}
	return store.Schema{Name: name, Files: m}
}

func withBooks() store.Options {
	return store.Options{Schemas: []store.Schema{schema("books", books)}, BusyTimeout: time.Second}
}

func exec(ctx context.Context, db *store.DB, query string, args ...any) error {
	return db.Update(ctx, func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, query, args...)
		return err
	})
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantCode(t testing.TB, err error, code store.Code) {
	t.Helper()
	if got := store.CodeOf(err); got != code || code == "" && err != nil {
		t.Fatalf("%v has code %q, want %q", err, got, code)
	}
}

type viewer interface {
	View(context.Context, func(context.Context, *sql.Tx) error) error
}

func number(t testing.TB, v viewer, query string, args ...any) (n int64) {
	t.Helper()
	must(t, v.View(t.Context(), func(ctx context.Context, tx *sql.Tx) error {
		return tx.QueryRowContext(ctx, query, args...).Scan(&n)
	}))
	return n
}

func TestATransactionHappensWholeOrNotAtAll(t *testing.T) {
	storetest.Each(t, func(t *testing.T, e storetest.Engine) {
		place := e.Place(t)
		db := storetest.Open(t, place, withBooks())
		refused := errors.New("refused")
		put := "INSERT INTO account (name, jt) VALUES (?, ?)"
		must(t, exec(t.Context(), db, put, "ada", int64(5)))
		err := db.Update(t.Context(), func(ctx context.Context, tx *sql.Tx) error {
			if _, err := tx.ExecContext(ctx, put, "bela", int64(1)); err != nil {
				return err
			}
			if n := number(t, db, "SELECT count(*) FROM account"); n != 1 {
				t.Errorf("a View inside an Update sees %d rows", n)
			}
			wantCode(t, exec(ctx, db, put, "chidi", int64(1)), store.CodeNested)
			return refused
		})
		if !errors.Is(err, refused) || store.CodeOf(err) != "" {
			t.Fatal(err)
		}
		if n := number(t, db, "SELECT count(*) FROM account"); n != 1 {
			t.Fatalf("%d rows", n)
		}
		wantCode(t, exec(t.Context(), db, put, "ada", int64(1)), store.CodeConstraint)
		wantCode(t, exec(t.Context(), db, "UPDATE account SET jt = ? WHERE name = ?2", int64(-1), "ada"), store.CodeConstraint)
		wantCode(t, exec(t.Context(), db, "INSERT INTO posting (seq, account) VALUES (1, 'nobody')"), store.CodeConstraint)
		wantCode(t, exec(t.Context(), db, "NONSENSE"), store.CodeSQL)
		wantCode(t, db.View(t.Context(), func(ctx context.Context, tx *sql.Tx) error {
			_, err := tx.ExecContext(ctx, "DELETE FROM account")
			return err
		}), store.CodeReadOnly)
		must(t, db.Check(t.Context()))
		must(t, db.Settle(t.Context()))
		must(t, db.Close())
		wantCode(t, exec(t.Context(), db, put, "late", int64(1)), store.CodeClosed)
		r, err := store.OpenReadOnly(t.Context(), place, withBooks().Schemas...)
		must(t, err)
		defer r.Close()
		if n := number(t, r, "SELECT jt FROM account"); n != 5 {
			t.Fatalf("reopened: %d", n)
		}
		must(t, r.Check(t.Context()))
	})
}

func TestAViewIsOnePictureWhateverIsWrittenMeanwhile(t *testing.T) {
	storetest.Each(t, func(t *testing.T, e storetest.Engine) {
		db := storetest.Open(t, e.Place(t), withBooks())
		must(t, exec(t.Context(), db, "INSERT INTO account (name, jt) VALUES ('ada', 1)"))
		must(t, db.View(t.Context(), func(ctx context.Context, tx *sql.Tx) error {
			for range 3 {
				var jt int64
				if err := tx.QueryRowContext(ctx, "SELECT jt FROM account").Scan(&jt); err != nil {
					return err
				}
				if jt != 1 {
					t.Errorf("the picture changed to %d", jt)
				}
				if err := exec(t.Context(), db, "UPDATE account SET jt = jt + 1"); err != nil {
					return err
				}
			}
			return nil
		}))
		if n := number(t, db, "SELECT jt FROM account"); n != 4 {
			t.Fatalf("jt is %d", n)
		}
	})
}

// column is values of every kind, count of them.
func lines(count int) *store.Set {
	accounts, seqs, hashes := make([]string, count), make([]int64, count), make([][]byte, count)
	for i := range count {
		accounts[i], seqs[i], hashes[i] = fmt.Sprintf("account:%d", i%7), int64(i), []byte{byte(i), byte(i >> 8)}
	}
	return &store.Set{Table: "line", Columns: []store.Column{{Name: "account", Texts: accounts}, {Name: "seq", Numbers: seqs}, {Name: "hash", Bytes: hashes}}}
}

func TestASetIsWrittenRowByRowInEffect(t *testing.T) {
	storetest.Each(t, func(t *testing.T, e storetest.Engine) {
		db := storetest.Open(t, e.Place(t), withBooks())
		write := func(fn func(ctx context.Context, tx *sql.Tx) error) error { return db.Update(t.Context(), fn) }
		for _, count := range []int{0, 1, 15, 16, 17, 1000} {
			set := lines(count)
			must(t, write(func(ctx context.Context, tx *sql.Tx) error { return db.Insert(ctx, tx, set) }))
			if n := number(t, db, "SELECT count(*) FROM line"); n != int64(count) {
				t.Fatalf("%d rows of %d", n, count)
			}
			if count > 0 {
				wantCode(t, write(func(ctx context.Context, tx *sql.Tx) error { return db.Insert(ctx, tx, set) }), store.CodeConstraint)
				set.Columns[2].Bytes[0] = []byte("zz")
			}
			must(t, write(func(ctx context.Context, tx *sql.Tx) error { return db.Put(ctx, tx, set, 2) }))
			if n := number(t, db, "SELECT count(*) FROM line WHERE hash = ?", []byte("zz")); n != int64(min(count, 1)) {
				t.Fatalf("%d rows were replaced", n)
			}
			keys := &store.Set{Table: set.Table, Columns: set.Columns[:2]}
			must(t, write(func(ctx context.Context, tx *sql.Tx) error { return db.Delete(ctx, tx, keys) }))
			if n := number(t, db, "SELECT count(*) FROM line"); n != 0 {
				t.Fatalf("%d rows are left", n)
			}
		}
		// Nothing is NULL unless it is nil.
		must(t, exec(t.Context(), db, "INSERT INTO account (name, jt) VALUES ('ada', 1)"))
		bodies := &store.Set{Table: "posting", Columns: []store.Column{
			{Name: "seq", Numbers: []int64{1, 2}}, {Name: "account", Texts: []string{"ada", "ada"}}, {Name: "body", Bytes: [][]byte{nil, {}}},
		}}
		must(t, write(func(ctx context.Context, tx *sql.Tx) error { return db.Insert(ctx, tx, bodies) }))
		if n := number(t, db, "SELECT sum(seq) FROM posting WHERE body IS NULL"); n != 1 {
			t.Fatalf("NULL is in row %d", n)
		}
	})
}

func TestAmongFindsEveryRowOnce(t *testing.T) {
	storetest.Each(t, func(t *testing.T, e storetest.Engine) {
		db := storetest.Open(t, e.Place(t), withBooks())
		for i := range 100 {
			must(t, exec(t.Context(), db, "INSERT INTO account (name, jt) VALUES (?, ?)", fmt.Sprint("a", i), int64(i)))
		}
		for _, count := range []int{0, 1, 2, 31, 32, 33, 65} {
			var values []string
			for i := range count {
				values = append(values, fmt.Sprint("a", 2*i)) // some are there
			}
			found := map[string]int64{}
			must(t, db.View(t.Context(), func(ctx context.Context, tx *sql.Tx) error {
				return db.Among(ctx, tx, "name, jt", "account", "name", values, func(rows *sql.Rows) error {
					var name string
					var jt int64
					err := rows.Scan(&name, &jt)
					found[name] = jt
					return err
				})
			}))
			if len(found) != min(count, 50) {
				t.Fatalf("%d found of %d", len(found), count)
			}
			for name, jt := range found {
				if name != fmt.Sprint("a", jt) {
					t.Errorf("%s is %d", name, jt)
				}
			}
		}
	})
}

func TestTextIsInTheOrderOfItsBytes(t *testing.T) {
	storetest.Each(t, func(t *testing.T, e storetest.Engine) {
		db := storetest.Open(t, e.Place(t), withBooks())
		for _, name := range []string{"b", "B", "a", "ä", "a/", "a0", "a-", "Ω"} {
			must(t, exec(t.Context(), db, "INSERT INTO account (name, jt) VALUES (?, 0)", name))
		}
		var all []byte
		must(t, db.View(t.Context(), func(ctx context.Context, tx *sql.Tx) error {
			rows, err := tx.QueryContext(ctx, "SELECT name FROM account WHERE name > ?1 AND name < ?2 ORDER BY name", "B", "Ω")
			if err != nil {
				return err
			}
			defer rows.Close()
			for rows.Next() {
				var name string
				if err := rows.Scan(&name); err != nil {
					return err
				}
				all = append(append(all, name...), ' ')
			}
			return rows.Err()
		}))
		if string(all) != "a a- a/ a0 b ä " {
			t.Fatalf("%s", all)
		}
	})
}

func TestAGroupKeepsItsContract(t *testing.T) {
	storetest.Each(t, func(t *testing.T, e storetest.Engine) {
		db := storetest.Open(t, e.Place(t), withBooks())
		g := db.Group(0)
		put := func(name string) func(context.Context, *sql.Tx) error {
			return func(ctx context.Context, tx *sql.Tx) error {
				_, err := tx.ExecContext(ctx, "INSERT INTO account (name, jt) VALUES (?, 1)", name)
				return err
			}
		}
		refused := errors.New("refused")
		var wg sync.WaitGroup
		for i := range 100 {
			wg.Go(func() {
				name := fmt.Sprint(i)
				err := g.Do(context.Background(), func(ctx context.Context, tx *sql.Tx) error {
					if i%3 == 0 {
						return refused
					}
					return put(name)(ctx, tx)
				})
				if (i%3 == 0) != errors.Is(err, refused) {
					t.Errorf("item %d: %v", i, err)
				}
				if err == nil && number(t, db, "SELECT count(*) FROM account WHERE name = ?", name) != 1 {
					t.Errorf("item %d was released before its commit", i)
				}
			})
		}
		wg.Wait()
		// What a constraint refuses has written nothing either.
		wantCode(t, g.Do(t.Context(), put("1")), store.CodeConstraint)
		must(t, g.Do(t.Context(), put("after")))
		wantCode(t, g.Do(t.Context(), func(ctx context.Context, tx *sql.Tx) error {
			return errors.Join(put("broken")(ctx, tx), refused)
		}), store.CodeStopped)
		wantCode(t, g.Do(t.Context(), put("late")), store.CodeStopped)
		if n := number(t, db, "SELECT count(*) FROM account"); n != 67 {
			t.Fatalf("%d rows", n)
		}
		if g.Close() == nil {
			t.Fatal("a stopped group closes without its error")
		}
	})
}

func TestMigrationsGoForwardOnlyOnEveryEngine(t *testing.T) {
	storetest.Each(t, func(t *testing.T, e storetest.Engine) {
		place := e.Place(t)
		one, two := "CREATE TABLE a (x INTEGER) STRICT;", "ALTER TABLE a ADD COLUMN y INTEGER; INSERT INTO a VALUES (1, 2);"
		for _, step := range []struct {
			what    string
			schemas []store.Schema
			code    store.Code
		}{
			{"new", []store.Schema{schema("a", one)}, ""},
			{"again", []store.Schema{schema("a", one)}, ""},
			{"a broken step", []store.Schema{schema("a", one, "CREATE TABLE b (x INTEGER); CREATE NONSENSE")}, store.CodeMigrationFailed},
			{"the next", []store.Schema{schema("a", one, two)}, ""},
			{"an older program", []store.Schema{schema("a", one)}, store.CodeSchemaNewer},
			{"a changed text", []store.Schema{schema("a", one+" ", two)}, store.CodeMigrationChanged},
			{"a second room", []store.Schema{schema("a", one, two), schema("b", "CREATE TABLE b (x INTEGER);")}, ""},
			{"without it", []store.Schema{schema("a", one, two)}, store.CodeSchemaNewer},
		} {
			db, err := store.Open(t.Context(), place, store.Options{Schemas: step.schemas})
			if wantCode(t, err, step.code); err == nil {
				must(t, db.Close())
			}
		}
		_, err := store.OpenReadOnly(t.Context(), place, schema("a", one, two, "CREATE TABLE c (x INTEGER);"), schema("b", "CREATE TABLE b (x INTEGER);"))
		wantCode(t, err, store.CodeSchemaOlder)
		r, err := store.OpenReadOnly(t.Context(), place)
		must(t, err)
		defer r.Close()
		all, err := r.Versions(t.Context())
		if must(t, err); fmt.Sprint(all) != "[{a 2} {b 1}]" {
			t.Fatal(all)
		}
	})
}

func TestMarksAndOutboxMoveWithTheStateOrNotAtAll(t *testing.T) {
	storetest.Each(t, func(t *testing.T, e storetest.Engine) {
		o := withBooks()
		o.Schemas = append(o.Schemas, bus.Schema())
		db := storetest.Open(t, e.Place(t), o)
		out, err := bus.NewOutbox(t.Context(), db, "vault", "mint", "trust")
		must(t, err)
		_, err = bus.NewOutbox(t.Context(), db, "vault", "mint") // again
		must(t, err)
		subject, err := bus.SubjectVault("head")
		must(t, err)
		var last bus.Mark
		step := func(seq uint64, fail error) error {
			return db.Update(t.Context(), func(ctx context.Context, tx *sql.Tx) error {
				m, err := out.Append(ctx, tx, subject, bus.Trace{}, fmt.Appendf(nil, "message %d", seq))
				if err != nil {
					return err
				}
				if err := bus.SaveMark(ctx, tx, "vault", "mint", bus.Mark{Seq: seq, Digest: m.Digest}); err != nil {
					return err
				}
				if fail == nil {
					last = m
				}
				return fail
			})
		}
		lost := errors.New("lost")
		for seq := uint64(1); seq <= 5; seq++ {
			if err := step(seq, lost); !errors.Is(err, lost) {
				t.Fatal(err)
			}
			must(t, step(seq, nil))
		}
		if err := step(5, nil); bus.CodeOf(err) != bus.CodeMark {
			t.Fatalf("a mark went back: %v", err)
		}
		m, err := bus.StoredMark(db, "vault", "mint")(t.Context())
		if must(t, err); m.Seq != 5 || m.Digest != last.Digest || last.Seq != 5 {
			t.Fatalf("mark %+v, last message %+v", m, last)
		}
		var body []byte
		must(t, db.View(t.Context(), func(ctx context.Context, tx *sql.Tx) error {
			return tx.QueryRowContext(ctx, "SELECT body FROM bus_outbox WHERE producer = ? AND seq = 5", "vault").Scan(&body)
		}))
		if !bytes.Equal(body, []byte("message 5")) {
			t.Fatalf("%q", body)
		}
	})
}
