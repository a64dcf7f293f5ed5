package books_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"reflect"
	"testing"

	"robotorq.org/reserve/market"
	"robotorq.org/reserve/market/books"
	"robotorq.org/reserve/market/markettest"
	"robotorq.org/reserve/market/rails"
	"robotorq.org/reserve/store"
	"robotorq.org/reserve/store/storetest"
)

func TestMain(m *testing.M) { os.Exit(storetest.Main(m)) }

// both reads from two books and says when they differ, and writes to both.
type both struct {
	t    *testing.T
	a, b market.Books
}

// compare takes what the one said and what the other said.
func compare[V any](w both, what string, va V, okA bool, errA error, vb V, okB bool, errB error) (V, bool, error) {
	w.t.Helper()
	if errA != nil || errB != nil {
		w.t.Fatalf("%s: %v, %v", what, errA, errB)
	}
	if okA != okB || okA && text(w.t, va) != text(w.t, vb) {
		w.t.Fatalf("%s: memory says %+v (%v), the store %+v (%v)", what, va, okA, vb, okB)
	}
	return va, okA, nil
}

// text is all of a value: what is not in its JSON is in no pointer.
func text(t *testing.T, v any) string {
	t.Helper()
	body, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	if entries, ok := v.([]market.Entry); ok {
		return fmt.Sprintf("%+v", entries)
	}
	return string(body)
}

func list[V any](w both, what string, va V, errA error, vb V, errB error) (V, error) {
	w.t.Helper()
	v, _, err := compare(w, what, va, true, errA, vb, true, errB)
	return v, err
}

func (w both) write(write func(market.Books) error) error {
	if err := write(w.a); err != nil {
		return err
	}
	return write(w.b)
}

func (w both) Task(id string) (market.Task, bool, error) {
	va, oa, ea := w.a.Task(id)
	vb, ob, eb := w.b.Task(id)
	return compare(w, "task", va, oa, ea, vb, ob, eb)
}

func (w both) Agent(id string) (market.Agent, bool, error) {
	va, oa, ea := w.a.Agent(id)
	vb, ob, eb := w.b.Agent(id)
	return compare(w, "agent", va, oa, ea, vb, ob, eb)
}

func (w both) ActiveClaims(id string) (int64, error) {
	va, ea := w.a.ActiveClaims(id)
	vb, eb := w.b.ActiveClaims(id)
	return list(w, "claims", va, ea, vb, eb)
}

func (w both) Invoice(h rails.Hash) (market.InvoiceNote, bool, error) {
	va, oa, ea := w.a.Invoice(h)
	vb, ob, eb := w.b.Invoice(h)
	return compare(w, "invoice", va, oa, ea, vb, ob, eb)
}

func (w both) Withdrawal(id string) (market.Withdrawal, bool, error) {
	va, oa, ea := w.a.Withdrawal(id)
	vb, ob, eb := w.b.Withdrawal(id)
	return compare(w, "withdrawal", va, oa, ea, vb, ob, eb)
}

func (w both) Unbound(withdrawals bool) ([]market.Entry, error) {
	va, ea := w.a.Unbound(withdrawals)
	vb, eb := w.b.Unbound(withdrawals)
	return list(w, "unbound entries", va, ea, vb, eb)
}

func (w both) Bound(id string) ([]market.Entry, error) {
	va, ea := w.a.Bound(id)
	vb, eb := w.b.Bound(id)
	return list(w, "bound entries", va, ea, vb, eb)
}

func (w both) Sweep(id string) (market.Sweep, bool, error) {
	va, oa, ea := w.a.Sweep(id)
	vb, ob, eb := w.b.Sweep(id)
	return compare(w, "sweep", va, oa, ea, vb, ob, eb)
}

func (w both) Balances(a []market.Account) ([]int64, error) {
	va, ea := w.a.Balances(a)
	vb, eb := w.b.Balances(a)
	return list(w, "balances", va, ea, vb, eb)
}

func (w both) Totals() (market.Totals, error) {
	va, ea := w.a.Totals()
	vb, eb := w.b.Totals()
	if ea != nil || eb != nil {
		w.t.Fatal(ea, eb)
	}
	for _, c := range market.Classes {
		if va[c] != vb[c] {
			w.t.Fatalf("total of %s: %d in memory, %d in the store", c, va[c], vb[c])
		}
	}
	return va, nil
}

func (w both) PutTask(t market.Task) error {
	return w.write(func(b market.Books) error { return b.PutTask(t) })
}
func (w both) PutProof(id string, p []byte) error {
	return w.write(func(b market.Books) error { return b.PutProof(id, p) })
}
func (w both) PutAgent(a market.Agent) error {
	return w.write(func(b market.Books) error { return b.PutAgent(a) })
}
func (w both) PutInvoice(n market.InvoiceNote) error {
	return w.write(func(b market.Books) error { return b.PutInvoice(n) })
}
func (w both) PutWithdrawal(x market.Withdrawal) error {
	return w.write(func(b market.Books) error { return b.PutWithdrawal(x) })
}
func (w both) PutEntries(e []market.Entry) error {
	return w.write(func(b market.Books) error { return b.PutEntries(e) })
}
func (w both) PutSweep(s market.Sweep) error {
	return w.write(func(b market.Books) error { return b.PutSweep(s) })
}
func (w both) PutPayouts(id string, p []market.Payout) error {
	return w.write(func(b market.Books) error { return b.PutPayouts(id, p) })
}
func (w both) PutRaw(id string, raw []byte) error {
	return w.write(func(b market.Books) error { return b.PutRaw(id, raw) })
}
func (w both) Post(p []market.Posting, a []market.Account, n []int64, t market.Totals) error {
	return w.write(func(b market.Books) error { return b.Post(p, a, n, t) })
}

func TestBooksInAStoreSayWhatBooksInMemorySay(t *testing.T) {
	storetest.Each(t, func(t *testing.T, e storetest.Engine) {
		db := storetest.Open(t, e.Place(t), store.Options{Schemas: books.Schemas()})
		r := rand.New(rand.NewPCG(7, 7))
		policy := markettest.Policy()
		w := markettest.New(t, policy, r.IntN)
		w.Run = func(op func(market.Books) error) error {
			var refused error
			err := db.Update(t.Context(), func(ctx context.Context, tx *sql.Tx) error {
				b := books.In(ctx, db, tx, policy)
				refused = op(both{t, w.Memory, b})
				if refused != nil && b.Wrote() {
					t.Fatalf("an operation was refused (%v) after it had written", refused)
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			return refused
		}
		for range 4_000 {
			w.Step()
		}
		err := db.View(t.Context(), func(ctx context.Context, tx *sql.Tx) error {
			f, err := books.In(ctx, db, tx, policy).Facts()
			if err != nil {
				return err
			}
			due := map[string]int64{}
			list, err := books.In(ctx, db, tx, policy).Due(1<<62, books.DueTask{}, 1<<20)
			if err != nil {
				return err
			}
			for _, d := range list {
				due[d.TaskID] = d.DueMs
			}
			for id, task := range w.Memory.Tasks {
				at, ok := task.DueMs(policy)
				if have, listed := due[id]; listed != ok || have != at && ok {
					t.Errorf("task %s is due at %d (%v), the store says %d (%v)", id, at, ok, have, listed)
				}
			}
			if have, want := f.Balances, w.Memory.Accounts; !reflect.DeepEqual(have, want) {
				t.Errorf("balances: %v in the store, %v in memory", have, want)
			}
			return market.Audit(f)
		})
		if err != nil {
			t.Fatal(err)
		}
		if w.Done["settle"] == 0 || w.Done["record"] == 0 {
			t.Fatalf("the walk went nowhere: %v", w.Done)
		}
	})
}

func TestTheDatabaseItselfRefusesALedgerThatDoesNotBalance(t *testing.T) {
	storetest.Each(t, func(t *testing.T, e storetest.Engine) {
		db := storetest.Open(t, e.Place(t), store.Options{Schemas: books.Schemas()})
		err := db.Update(t.Context(), func(ctx context.Context, tx *sql.Tx) error {
			_, err := tx.ExecContext(ctx, "UPDATE market_total SET fees = fees + 1")
			return err
		})
		if store.CodeOf(err) != store.CodeConstraint {
			t.Fatalf("a sat from nowhere: %v", err)
		}
	})
}
