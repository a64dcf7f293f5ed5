package store_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"robotorq.org/reserve/store"
)

func put(name string) func(context.Context, *sql.Tx) error {
	return func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "INSERT INTO account VALUES (?, 1)", name)
		return err
	}
}

func TestAGroupCommitsManyCallersInFewTransactions(t *testing.T) {
	db := open(t, filepath.Join(t.TempDir(), "a.db"))
	g := db.Group(0)
	changed, stop := db.Watch()
	defer stop()
	var commits atomic.Int64
	quit := make(chan struct{})
	var watching sync.WaitGroup
	watching.Go(func() {
		for {
			select {
			case <-changed:
				commits.Add(1)
			case <-quit:
				return
			}
		}
	})
	// The first item holds the transaction open until all the others wait.
	const callers = 500
	var waiting, wg sync.WaitGroup
	waiting.Add(callers)
	wg.Go(func() {
		err := g.Do(context.Background(), func(context.Context, *sql.Tx) error {
			waiting.Wait()
			time.Sleep(20 * time.Millisecond)
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	})
	for i := range callers {
		wg.Go(func() {
			waiting.Done()
			name := fmt.Sprintf("account-%d", i)
			if err := g.Do(context.Background(), put(name)); err != nil {
				t.Error(err)
			}
			if n := count(t, db, "SELECT count(*) FROM account WHERE name = '"+name+"'"); n != 1 {
				t.Errorf("%s was released before its commit", name)
			}
		})
	}
	wg.Wait()
	close(quit)
	watching.Wait()
	if n := commits.Load(); n > 50 {
		t.Errorf("%d commits for %d callers", n, callers)
	}
	if err := g.Close(); err != nil {
		t.Fatal(err)
	}
	wantCode(t, g.Do(t.Context(), put("late")), store.CodeClosed)
}

func TestAnItemThatRefusesBeforeItWritesFailsAlone(t *testing.T) {
	db := open(t, filepath.Join(t.TempDir(), "a.db"))
	g := db.Group(0)
	defer g.Close()
	refused := errors.New("refused")
	var wg sync.WaitGroup
	for i := range 100 {
		wg.Go(func() {
			err := g.Do(context.Background(), func(ctx context.Context, tx *sql.Tx) error {
				if i%3 == 0 {
					return refused
				}
				return put(fmt.Sprint(i))(ctx, tx)
			})
			if (i%3 == 0) != errors.Is(err, refused) {
				t.Errorf("item %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	if n := count(t, db, "SELECT count(*) FROM account"); n != 66 {
		t.Fatalf("%d rows", n)
	}
	// A row that a constraint refuses has written nothing either.
	wantCode(t, g.Do(t.Context(), put("1")), store.CodeConstraint)
	if err := g.Do(t.Context(), put("after")); err != nil {
		t.Fatal(err)
	}
}

func TestAnItemThatFailsAfterItWroteStopsTheGroup(t *testing.T) {
	db := open(t, filepath.Join(t.TempDir(), "a.db"))
	g := db.Group(0)
	release := make(chan struct{})
	results := make(chan error, 3)
	go func() {
		results <- g.Do(context.Background(), func(ctx context.Context, tx *sql.Tx) error {
			<-release
			return put("innocent")(ctx, tx)
		})
	}()
	time.Sleep(10 * time.Millisecond)
	go func() {
		results <- g.Do(context.Background(), func(ctx context.Context, tx *sql.Tx) error {
			if err := put("half")(ctx, tx); err != nil {
				return err
			}
			return errors.New("too late")
		})
	}()
	time.Sleep(10 * time.Millisecond)
	go func() { results <- g.Do(context.Background(), put("waiting")) }()
	time.Sleep(10 * time.Millisecond)
	close(release)
	for range 3 {
		wantCode(t, <-results, store.CodeStopped)
	}
	wantCode(t, g.Do(t.Context(), put("later")), store.CodeStopped)
	wantCode(t, g.Close(), store.CodeStopped)
	if n := count(t, db, "SELECT count(*) FROM account"); n != 0 {
		t.Fatalf("%d rows of a group that stopped", n)
	}
}

func TestAFailingCommitIsToldToAll(t *testing.T) {
	deferred := schema("books", books+`CREATE TABLE later (account TEXT REFERENCES account (name) DEFERRABLE INITIALLY DEFERRED);`)
	db := open(t, filepath.Join(t.TempDir(), "a.db"), deferred)
	g := db.Group(0)
	release := make(chan struct{})
	results := make(chan error, 2)
	go func() {
		results <- g.Do(context.Background(), func(ctx context.Context, tx *sql.Tx) error {
			<-release
			_, err := tx.ExecContext(ctx, "INSERT INTO later VALUES ('nobody')") // refused at commit
			return err
		})
	}()
	time.Sleep(10 * time.Millisecond)
	go func() { results <- g.Do(context.Background(), put("innocent")) }()
	time.Sleep(10 * time.Millisecond)
	close(release)
	wantCode(t, <-results, store.CodeStopped)
	wantCode(t, <-results, store.CodeStopped)
	wantCode(t, g.Close(), store.CodeStopped)
}

func TestACallerMayWithdrawUntilItIsTaken(t *testing.T) {
	db := open(t, filepath.Join(t.TempDir(), "a.db"))
	g := db.Group(0)
	defer g.Close()
	taken, release := make(chan struct{}), make(chan struct{})
	first := make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		first <- g.Do(ctx, func(ctx context.Context, tx *sql.Tx) error {
			close(taken)
			<-release
			return put("first")(ctx, tx)
		})
	}()
	<-taken
	short, stop := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer stop()
	if err := g.Do(short, put("second")); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
	cancel() // too late for the first, which is told the outcome
	close(release)
	if err := <-first; err != nil {
		t.Fatal(err)
	}
	if n := count(t, db, "SELECT count(*) FROM account"); n != 1 {
		t.Fatalf("%d rows", n)
	}
}

func BenchmarkGroup(b *testing.B) {
	db, err := store.Open(b.Context(), filepath.Join(b.TempDir(), "a.db"), store.Options{Schemas: []store.Schema{schema("books", books)}})
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	g := db.Group(0)
	defer g.Close()
	var n atomic.Int64
	body := make([]byte, 200)
	if err := g.Do(b.Context(), put("a")); err != nil {
		b.Fatal(err)
	}
	b.SetParallelism(1000)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			err := g.Do(context.Background(), func(ctx context.Context, tx *sql.Tx) error {
				_, err := tx.ExecContext(ctx, "INSERT INTO posting VALUES (?, 'a', ?)", n.Add(1), body)
				return err
			})
			if err != nil {
				b.Error(err)
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "items/s")
}
