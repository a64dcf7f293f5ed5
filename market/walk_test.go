package market_test

import (
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"

	"robotorq.org/reserve/market"
	"robotorq.org/reserve/market/markettest"
)

func TestARandomWalkOfAHundredThousandOperationsKeepsTheLedgerIdentity(t *testing.T) {
	const seed = 20260101
	r := rand.New(rand.NewPCG(seed, 1))
	w := markettest.New(t, markettest.Policy(), r.IntN)
	for i := range 100_000 {
		w.Step()
		if i%5_000 == 0 {
			w.Audit()
		}
		if i%1_000 == 0 { // what has ended is left behind, so that it stays quick
			w.Prune()
		}
	}
	w.Audit()
	t.Logf("seed %d: done %v; refused %v", seed, w.Done, w.Refused)
	for _, name := range w.Names() {
		if w.Done[name] == 0 {
			t.Errorf("%s was never done: the walk does not go everywhere", name)
		}
	}
	states := map[market.Status]bool{}
	sweeps := map[market.SweepState]bool{}
	for _, x := range w.Memory.Tasks {
		states[x.Status] = true
	}
	for _, x := range w.Memory.Sweeps {
		sweeps[x.State] = true
	}
	for _, s := range []market.Status{market.Settled, market.Refunded, market.Cancelled} {
		if !states[s] {
			t.Errorf("no task became %s", s)
		}
	}
	for _, s := range []market.SweepState{market.SweepFinal, market.SweepDeferred, market.SweepLost} {
		if !sweeps[s] {
			t.Errorf("no sweep became %s", s)
		}
	}
}

func TestNoSequenceOfOperationsMakesAnIllegalTransition(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pick := func(n int) int { return rapid.IntRange(0, max(n-1, 0)).Draw(t, "pick") }
		p := markettest.Policy()
		p.PayeesPay = rapid.Bool().Draw(t, "payees pay")
		p.FeeBps = rapid.Int64Range(0, market.MaxBps).Draw(t, "fee")
		w := markettest.New(t, p, pick)
		for range rapid.IntRange(1, 200).Draw(t, "operations") {
			w.Step()
		}
		w.Audit()
	})
}
