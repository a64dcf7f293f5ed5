package refinery_test

import (
	"os"
	"testing"

	"robotorq.org/reserve/store/storetest"
)

func TestMain(m *testing.M) { os.Exit(storetest.Main(m)) }

func TestARefineryWorksOnBothEngines(t *testing.T) {
	storetest.Each(t, func(t *testing.T, e storetest.Engine) {
		r := newRigAt(t, e.Place(t))
		robot, contract := r.robot("robot-1")
		r.learn()
		total := uint64(0)
		for _, n := range []uint64{10, 10, 3, 31} {
			m := r.Seal(robot.Report(contract, ore(robot, n)))
			r.Deliver(m)
			r.must(r.take(r.message(m)))
			r.must(r.db.Close())
			r.open()
			total += n
			if _, ingots := r.poured(); uint64(len(ingots)) != total/16 {
				t.Fatalf("%d ingots of %d ore", len(ingots), total)
			}
		}
		if err := r.take(r.line.Next([]byte("no batch"))); err == nil || len(r.stopped) != 1 {
			t.Fatalf("%v, stopped %v", err, r.stopped)
		}
		r.must(r.s.Resume(t.Context(), "digger-1"))
	})
}
