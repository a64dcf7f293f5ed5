package coordinator_test

import (
	"strings"
	"testing"

	"robotorq.org/reserve/market"
	"robotorq.org/reserve/market/books"
	"robotorq.org/reserve/store/storetest"
)

func TestWhatIsShownOfWaitingPayeesIsWhatIsPaid(t *testing.T) {
	storetest.Each(t, func(t *testing.T, e storetest.Engine) {
		r := newRig(t, e.Place(t))
		ctx := t.Context()
		r.robot("rover", payees[0])
		r.robot("drone", payees[1])
		good, bad := r.earned("rover"), r.earned("drone")
		want := func(what string, w books.Owed, payees, sats int64) {
			t.Helper()
			if w != (books.Owed{Payees: payees, Sats: sats}) {
				t.Fatalf("%s: %+v, want %d payees and %d sats", what, w, payees, sats)
			}
		}
		w, err := r.desk.Waiting(ctx, 10)
		r.must(err)
		want("robots", w.Robots, 2, 196_000)
		want("clients", w.Clients, 0, 0)
		r.world.RefuseAddress(payees[1], "scriptpubkey")
		_, err = r.desk.Sweep(ctx)
		r.must(err)
		w, err = r.desk.Waiting(ctx, 10)
		r.must(err)
		want("robots after the payout", w.Robots, 1, 98_000)
		if len(w.SetAside) != 1 || w.SetAside[0].AgentID != "drone" || !strings.Contains(w.SetAside[0].SetAside, "scriptpubkey") {
			t.Fatalf("set aside: %+v", w.SetAside)
		}
		for _, of := range []struct {
			task  market.Task
			bound bool
		}{{good, true}, {bad, false}} {
			entry, by, err := r.desk.Payout(ctx, of.task)
			r.must(err)
			if entry == nil || entry.TaskID != of.task.TaskID || entry.EarnedSats != 98_000 || (by != nil) != of.bound {
				t.Fatalf("task %s: %+v in %+v", of.task.TaskID, entry, by)
			}
		}
		counts, err := r.desk.Count(ctx)
		r.must(err)
		if len(counts) != 1 || counts[market.Settled] != 2 {
			t.Fatalf("tasks: %v", counts)
		}
		if !r.desk.Simulated() {
			t.Fatal("simulated rails do not say so")
		}
	})
}
