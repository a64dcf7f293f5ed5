package storetest_test

import (
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"robotorq.org/reserve/store"
	"robotorq.org/reserve/store/storetest"
)

func TestAServerHasOneWriterAndForeignTablesAreLeftAlone(t *testing.T) {
	server := storetest.Server(t)
	place, err := server.Create(t.Context(), "")
	must(t, err)
	first := storetest.Open(t, place, withBooks())
	_, err = store.Open(t.Context(), place, withBooks())
	wantCode(t, err, store.CodeBusy)
	must(t, exec(t.Context(), first, "CREATE TABLE other (x INTEGER)"))
	must(t, first.Close())
	must(t, storetest.Open(t, place, withBooks()).Close())

	foreign, err := server.Create(t.Context(), "")
	must(t, err)
	pool := storetest.Open(t, foreign, store.Options{})
	must(t, exec(t.Context(), pool, "DROP TABLE store_writer; DROP TABLE store_migration; CREATE TABLE x (y INTEGER)"))
	must(t, pool.Close())
	_, err = store.Open(t.Context(), foreign, withBooks())
	wantCode(t, err, store.CodeSchemaForeign)
	empty, err := server.Create(t.Context(), "")
	must(t, err)
	_, err = store.OpenReadOnly(t.Context(), empty)
	wantCode(t, err, store.CodeSchemaForeign)
	u, err := url.Parse(place)
	must(t, err)
	u.Path = "/nowhere"
	_, err = store.Open(t.Context(), u.String(), withBooks())
	wantCode(t, err, store.CodeMissing)
	_, err = store.Open(t.Context(), "postgres:///x?host=/nonexistent&password=secret&user=a", withBooks())
	wantCode(t, err, store.CodeUnavailable)
	if own := err.Error(); len(own) == 0 || containsSecret(own) {
		t.Fatalf("%s", own)
	}
}

func containsSecret(s string) bool {
	for i := range len(s) - 5 {
		if s[i:i+6] == "secret" {
			return true
		}
	}
	return false
}

func TestAWriterThatWasReplacedWhileItWasAwayWritesNothingMore(t *testing.T) {
	server := storetest.OwnServer(t)
	place, err := server.Create(t.Context(), "")
	must(t, err)
	first := storetest.Open(t, place, withBooks())
	server.Stop(true)
	wantCode(t, exec(t.Context(), first, "DELETE FROM account"), store.CodeUnavailable)
	must(t, server.Start(t.Context()))
	second, err := store.Open(t.Context(), place, withBooks())
	must(t, err)
	wantCode(t, exec(t.Context(), first, "DELETE FROM account"), store.CodeBusy)
	must(t, second.Close())
	wantCode(t, exec(t.Context(), first, "DELETE FROM account"), store.CodeTaken)
}

// Every writer adds its next number to its account and to the list in one transaction, asks
// after an unclear outcome what became of it, and goes on.
func TestAServerThatIsStoppedUnderLoadLosesNothingAndDoublesNothing(t *testing.T) {
	server := storetest.OwnServer(t)
	place, err := server.Create(t.Context(), "")
	must(t, err)
	db := storetest.Open(t, place, withBooks())
	const writers, rounds = 16, 4
	var unclear, acked atomic.Int64
	ctx, stop := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	counts := make([]int64, writers)
	for w := range writers {
		name := fmt.Sprintf("writer %d", w)
		must(t, exec(t.Context(), db, "INSERT INTO account (name, jt) VALUES (?, 0)", name))
		wg.Go(func() {
			for ctx.Err() == nil {
				next := counts[w] + 1
				err := db.Update(context.Background(), func(ctx context.Context, tx *sql.Tx) error {
					if _, err := tx.ExecContext(ctx, "UPDATE account SET jt = jt + 1 WHERE name = ?", name); err != nil {
						return err
					}
					_, err := tx.ExecContext(ctx, "INSERT INTO line (account, seq, hash) VALUES (?, ?, ?)", name, next, []byte("ok"))
					return err
				})
				if err == nil {
					counts[w] = next
					acked.Add(1)
					continue
				}
				if store.CodeOf(err) != store.CodeUnavailable {
					t.Errorf("%s: %v", name, err)
					return
				}
				unclear.Add(1)
				// The server may go away again between the settling and the question.
				for err != nil {
					time.Sleep(10 * time.Millisecond)
					if err = db.Settle(context.Background()); err == nil {
						err = db.View(context.Background(), func(ctx context.Context, tx *sql.Tx) error {
							return tx.QueryRowContext(ctx, "SELECT jt FROM account WHERE name = ?", name).Scan(&counts[w])
						})
					}
					if err != nil && store.CodeOf(err) != store.CodeUnavailable {
						t.Errorf("%s: %v", name, err)
						return
					}
				}
				if counts[w] != next && counts[w] != next-1 {
					t.Errorf("%s is at %d after %d", name, counts[w], next)
				}
			}
		})
	}
	for round := range rounds {
		time.Sleep(time.Duration(100+rand.IntN(200)) * time.Millisecond)
		server.Stop(round%2 == 0)
		time.Sleep(100 * time.Millisecond)
		must(t, server.Start(context.Background()))
	}
	time.Sleep(200 * time.Millisecond)
	stop()
	wg.Wait()
	for w, want := range counts {
		name := fmt.Sprintf("writer %d", w)
		if n := number(t, db, "SELECT jt FROM account WHERE name = ?", name); n != want {
			t.Errorf("%s: %d, want %d", name, n, want)
		}
		if n := number(t, db, "SELECT count(*) FROM line WHERE account = ?", name); n != want {
			t.Errorf("%s: %d lines, want %d", name, n, want)
		}
	}
	t.Logf("%d transactions acknowledged, %d with an unclear outcome, over %d stops", acked.Load(), unclear.Load(), rounds)
	if acked.Load() == 0 || unclear.Load() == 0 {
		t.Error("the server was not stopped under load")
	}
}
