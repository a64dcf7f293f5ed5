//go:build whole

package ledger_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"robotorq.org/reserve/ledger"
	"robotorq.org/reserve/store"
	"robotorq.org/reserve/store/storetest"
	"robotorq.org/reserve/vault"
)

// A client that is told "unavailable" waits and sends the same order again, until it is
// answered: then it is done once.
func TestAServerThatIsStoppedUnderAVaultLosesNothingAndDoublesNothing(t *testing.T) {
	server := storetest.OwnServer(t)
	place, err := server.Create(t.Context(), "")
	must(t, err)
	w := newWorld(t, place, store.Options{})
	db := w.open(store.Options{})
	_, at := w.at(db)
	clock := newClock(at)
	station, err := w.reserve.Open(t.Context(), db, clock)
	must(t, err)
	run, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- station.Run(run) }()

	var mu sync.Mutex
	var acks []ack
	var refused, again atomic.Int64
	ctx, enough := context.WithCancel(context.Background())
	told := func(a ack) {
		mu.Lock()
		defer mu.Unlock()
		acks = append(acks, a)
	}
	var wg sync.WaitGroup
	for c := range clients {
		wg.Go(func() {
			random := newRandom(uint64(c))
			for n := uint64(1); ctx.Err() == nil; n++ {
				env := w.reserve.Send(random.IntN(members), n<<8|uint64(c), clock.ms(), func() int { return random.IntN(members) }, 1)
				for {
					a, err := order(context.Background(), station, env, false)
					if err == nil {
						told(a)
						break
					}
					var unavailable *vault.Error
					if !errors.As(err, &unavailable) || unavailable.Code != vault.CodeUnavailable {
						if ledger.CodeOf(err) != ledger.CodeInsufficientFunds {
							t.Errorf("a client saw %v", err)
						}
						break
					}
					refused.Add(1)
					time.Sleep(20 * time.Millisecond)
					again.Add(1)
				}
			}
		})
	}
	for round := range rounds(t, 4) {
		time.Sleep(400 * time.Millisecond)
		server.Stop(round%2 == 0)
		time.Sleep(300 * time.Millisecond)
		must(t, server.Start(context.Background()))
	}
	time.Sleep(time.Second)
	enough()
	wg.Wait()
	stop()
	must(t, <-ended)
	must(t, db.Close())
	t.Logf("%d orders acknowledged, %d answers \"unavailable\", %d sent again", len(acks), refused.Load(), again.Load())
	if refused.Load() == 0 {
		t.Error("no client noticed")
	}
	for _, a := range acks {
		w.remember(a)
	}
	w.check(store.Options{})
}
