//go:build whole

package ledger_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"robotorq.org/reserve/store"
	"robotorq.org/reserve/store/storetest/powerfail"
	"robotorq.org/reserve/vault"
)

func TestAVaultWhosePowerFailsKeepsEveryAcknowledgedOrderOnce(t *testing.T) {
	random := seeds(t)
	layer, err := powerfail.New("powerfail", false)
	must(t, err)
	place := filepath.Join(t.TempDir(), "vault.db")
	w := newWorld(t, place, store.Options{})
	total := 0
	for round := range rounds(t, 20) {
		after := time.Duration(20+random.IntN(400)) * time.Millisecond
		total += w.powerCut(layer, uint64(round)+1, after, random.Uint64())
		w.check(store.Options{})
	}
	writes, syncs := layer.Counts()
	t.Logf("%d orders acknowledged, %d writes, %d syncs", total, writes, syncs)
	if total == 0 || syncs == 0 {
		t.Error("nothing happened")
	}
}

// A test that cannot fail is a defect: over a disk that lies about syncs orders are lost.
func TestADiskThatLiesAboutSyncsIsNoticed(t *testing.T) {
	layer, err := powerfail.New("powerfail-lies", true)
	must(t, err)
	w := newWorld(t, filepath.Join(t.TempDir(), "vault.db"), store.Options{})
	for round := range uint64(10) {
		w.powerCut(layer, round+1, 100*time.Millisecond, round)
		db, err := open(w.place, store.Options{})
		if err != nil {
			t.Logf("round %d: %v", round, err)
			return
		}
		err = db.Check(t.Context())
		if err == nil {
			err = db.View(t.Context(), w.audit)
		}
		must(t, db.Close())
		if err != nil {
			t.Logf("round %d: %v", round, err)
			return
		}
		w.last = nil
	}
	t.Error("ten power cuts over a lying disk lost nothing")
}

// powerCut runs the vault over the layer, cuts its power some time after the first
// acknowledgement, and leaves at w.place what a disk might hold.
func (w *world) powerCut(layer *powerfail.Layer, round uint64, after time.Duration, seed uint64) int {
	w.t.Helper()
	layer.Revive()
	db := w.open(store.Options{VFS: layer.Name(), LogKiB: 512}) // folded often
	_, at := w.at(db)
	clock := newClock(at)
	station, err := w.reserve.Open(w.t.Context(), db, clock)
	must(w.t, err)
	ended := make(chan error, 1)
	go func() { ended <- station.Run(context.Background()) }()
	var mu sync.Mutex
	var acks []ack
	first := make(chan struct{})
	told := func(a ack) {
		mu.Lock()
		defer mu.Unlock()
		if acks = append(acks, a); len(acks) == 1 {
			close(first)
		}
	}
	failed := func(err error) bool {
		var stopped *vault.Error
		if !errors.As(err, &stopped) {
			w.t.Errorf("a client saw %v", err)
		}
		return false
	}
	over := make(chan struct{})
	go func() {
		defer close(over)
		c := crowd{reserve: w.reserve, station: station, clock: clock, round: round, told: told, failed: failed}
		c.orders(context.Background())
	}()
	select {
	case <-first:
	case <-time.After(time.Minute):
		w.t.Fatal("nothing was acknowledged")
	}
	time.Sleep(after)
	disk := w.t.TempDir()
	must(w.t, layer.Fail(disk, newRandom(seed)))
	<-over
	if err := <-ended; err == nil {
		w.t.Error("the vault did not notice")
	}
	db.Close() // fails: the disk is gone
	next := filepath.Join(w.t.TempDir(), fmt.Sprintf("vault-%d.db", round))
	for _, suffix := range []string{"", "-wal"} {
		err := os.Rename(filepath.Join(disk, filepath.Base(w.place)+suffix), next+suffix)
		if err != nil && !(suffix != "" && errors.Is(err, os.ErrNotExist)) {
			w.t.Fatal(err)
		}
	}
	w.place = next
	for _, a := range acks {
		w.remember(a)
	}
	return len(acks)
}
