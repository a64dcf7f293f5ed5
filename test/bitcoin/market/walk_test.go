package market_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"testing"

	"robotorq.org/reserve/market"
	"robotorq.org/reserve/market/books"
	"robotorq.org/reserve/market/coordinator"
	"robotorq.org/reserve/market/rails"
	"robotorq.org/reserve/store"
)

// TestNothingIsPaidTwiceOnARandomWalk does in any order what goes wrong in life,
// and then lets everything come to rest. ROBOTORQ_SEED repeats a walk, as far as
// the daemons' own timing allows.
func TestNothingIsPaidTwiceOnARandomWalk(t *testing.T) {
	seed := rand.Uint64()
	if text := os.Getenv("ROBOTORQ_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("ROBOTORQ_SEED=%d", seed)
	f, way := spoiled(t)
	w := walk{floor: f, way: way, random: rand.New(rand.NewPCG(seed, 0))}
	for _, kind := range []string{"legacy", "p2sh-segwit", "bech32", "bech32m"} {
		f.robot(kind)
	}
	steps := []struct {
		name   string
		weight int
		do     func()
	}{
		{"earn", 6, w.earn},
		{"sweep", 4, w.try},
		{"block", 5, w.block},
		{"empty block", 1, func() { f.must(f.stack.Bitcoind.MineEmpty(f.ctx)) }},
		{"reorganisation", 2, w.reorganise},
		{"kill", 4, w.kill},
		{"lost answer", 4, w.lose},
		{"higher fee", 3, w.bump},
		{"restart", 2, f.restart},
		{"two at once", 2, w.together},
	}
	total := 0
	for _, s := range steps {
		total += s.weight
	}
	for range 70 {
		at := w.random.IntN(total)
		for _, s := range steps {
			if at -= s.weight; at < 0 {
				w.did = append(w.did, s.name)
				s.do()
				break
			}
		}
		if t.Failed() {
			break
		}
		f.must(f.desk.Audit(f.ctx))
	}
	w.rest()
	if t.Failed() {
		t.Logf("the walk: %v", w.did)
	}
}

type walk struct {
	*floor
	way    *lossy
	random *rand.Rand
	did    []string
}

func (w *walk) earn() {
	w.Helper()
	w.earns(w.robots[w.random.IntN(len(w.robots))], 15_000+w.random.Int64N(45_000))
}

// try sweeps; an error is what a disturbed node gives, and is tried again later.
func (w *walk) try() {
	w.Helper()
	if _, err := w.desk.Sweep(w.ctx); err != nil {
		w.did = append(w.did, err.Error())
	}
}

func (w *walk) block() {
	w.Helper()
	w.must(w.stack.Bitcoind.Mine(w.ctx, 1))
	if err := w.desk.Scheduled(w.ctx); err != nil {
		w.did = append(w.did, err.Error())
	}
}

func (w *walk) reorganise() {
	w.Helper()
	w.must(w.stack.Bitcoind.Reorganise(w.ctx, 1+w.random.IntN(2)))
	if w.random.IntN(2) == 0 {
		w.must(w.desk.Scheduled(w.ctx))
	}
}

// kill has a process die at a point, if it comes to it.
func (w *walk) kill() {
	w.Helper()
	points := []string{coordinator.SweepBound, coordinator.SweepBuilt, coordinator.SweepRecorded, coordinator.SweepBroadcast}
	e := errand{Do: "sweep", Point: points[w.random.IntN(len(points))]}
	w.did = append(w.did, e.Point)
	e.Path, e.RPC, e.LND = w.path, w.stack.Bitcoind.Limited("payout"), w.stack.Alice.URL()
	e.Certificate, e.Macaroon, e.Policy, e.NowMs = w.stack.Alice.Certificate(), w.stack.Alice.Limited(), w.policy, w.desk.Now()
	text, err := json.Marshal(e)
	w.must(err)
	w.stop()
	c := exec.CommandContext(w.ctx, os.Args[0])
	c.Env = append(os.Environ(), childOf+"="+string(text))
	_ = c.Run() // killed, or there was nothing to sweep
	w.start()
}

func (w *walk) lose() {
	w.Helper()
	methods := []string{"sendrawtransaction", "walletcreatefundedpsbt", "lockunspent", "walletprocesspsbt", "gettransaction", "psbtbumpfee", "listsinceblock", "estimatesmartfee"}
	method := methods[w.random.IntN(len(methods))]
	w.did = append(w.did, method)
	w.way.set(losing(method, 1+w.random.IntN(2)))
	w.try()
	w.way.set(nil)
}

func (w *walk) bump() {
	w.Helper()
	all, err := w.desk.Sweeps(w.ctx, 1<<62, "", 3)
	w.must(err)
	for _, s := range all {
		if s.State != market.SweepSeen {
			continue
		}
		c := s.Candidates[len(s.Candidates)-1]
		if _, err := w.desk.Bump(w.ctx, s.SweepID, c.Rate*3/2+rails.FeeRate(w.random.Int64N(1_000))); err != nil {
			w.did = append(w.did, err.Error())
		}
		return
	}
}

// together runs a second coordinator on the same books at the same time.
func (w *walk) together() {
	w.Helper()
	db, err := store.Open(w.ctx, w.path, store.Options{Schemas: books.Schemas()})
	w.must(err)
	other, err := coordinator.Open(w.ctx, coordinator.Options{Policy: w.policy, DB: db, Lightning: w.rails.Lightning, Chain: w.rails.Chain, Clock: w.clock})
	w.must(err)
	var both sync.WaitGroup
	for _, d := range []*coordinator.Desk{w.desk, other} {
		for _, do := range []func(context.Context) error{
			func(ctx context.Context) error { _, err := d.Sweep(ctx); return err }, d.Due, d.Funding, d.Scheduled} {
			both.Go(func() { _ = do(w.ctx) }) // what one could not do the next does
		}
	}
	both.Wait()
	w.must(other.Close())
	w.must(db.Close())
}

// rest lets everything come to its end.
func (w *walk) rest() {
	w.Helper()
	w.restart()
	for _, r := range w.robots { // enough for any fee that the chain asks by now
		w.earns(r, 60_000)
	}
	for round := 0; ; round++ {
		w.try()
		w.block()
		waiting := int64(0)
		for _, r := range w.robots {
			e, err := w.desk.Earnings(w.ctx, r.id, 1)
			w.must(err)
			waiting += e.TotalAccrued
		}
		t, err := w.desk.Treasury(w.ctx)
		w.must(err)
		if waiting == 0 && t.LiveSweeps == 0 {
			break
		}
		if round == 60 {
			w.Fatalf("after %d blocks %d sats wait and %d sweeps are not final: %v", round, waiting, t.LiveSweeps, fmt.Sprintf("%+v", w.newest()))
		}
	}
	w.square()
}
