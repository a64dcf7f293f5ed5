package routes_test

import (
	"testing"

	"robotorq.org/reserve/market"
	"robotorq.org/reserve/market/client"
	"robotorq.org/reserve/store/storetest"
)

func TestAWholeLifeOverHTTPPaysTheRobotToTheSat(t *testing.T) {
	storetest.Each(t, func(t *testing.T, e storetest.Engine) {
		r := newRig(t, e.Place(t))
		ctx := t.Context()
		robot := r.registered("rover-7", robotAddress)
		task := r.proved(robot, job(100_000))
		if task.Status != market.ProofSubmitted || task.RewardSats != 98_000 || task.CoordinatorFeeSats != 2_000 {
			t.Fatalf("after the proof: %+v", task)
		}
		shown, err := r.portal("alice").Task(ctx, task.TaskID)
		if err != nil || string(shown.ProofPayload) != `{"photo":"sha256:00"}` {
			t.Fatalf("the client sees the proof as %s, %v", shown.ProofPayload, err)
		}
		if task, err = r.portal("alice").Settle(ctx, task.TaskID); err != nil || task.Status != market.Settled {
			t.Fatalf("settle: %s, %v", task.Status, err)
		}
		report, err := r.operator().Sweep(ctx, "sweep-1")
		if err != nil || report.Sweep == nil || report.Sweep.State != market.SweepSeen {
			t.Fatalf("sweep: %+v, %v", report, err)
		}
		again, err := r.operator().Sweep(ctx, "sweep-1")
		if err != nil || again.Sweep == nil || again.Sweep.SweepID != report.Sweep.SweepID {
			t.Fatalf("the same sweep asked for again: %+v, %v", again, err)
		}
		r.world.Mine(6)
		if _, err := r.operator().Sweep(ctx, ""); err != nil {
			t.Fatal(err)
		}
		sweeps, err := r.operator().Sweeps(ctx, "")
		if err != nil || len(sweeps.Sweeps) != 1 || sweeps.Sweeps[0].State != market.SweepFinal {
			t.Fatalf("sweeps: %+v, %v", sweeps, err)
		}
		earned, err := robot.Earnings(ctx)
		if err != nil || earned.TotalSwept != 98_000 || earned.TotalAccrued != 0 || earned.Earnings[0].SweepTxID != sweeps.Sweeps[0].Txid {
			t.Fatalf("earnings: %+v, %v", earned, err)
		}
		if paid := r.world.Paid()[robotAddress]; paid != 98_000 {
			t.Fatalf("the chain paid %d", paid)
		}
		pots, err := r.operator().Treasury(ctx)
		if err != nil || pots.Ledger["paid"] != 98_000+sweeps.Sweeps[0].FeesSats || pots.Ledger["fees"] != 2_000-sweeps.Sweeps[0].FeesSats || !pots.Simulated {
			t.Fatalf("treasury: %+v, %v", pots, err)
		}
	})
}

func TestBooksOnAServerThatGoesAwayAndComesBackLoseNothing(t *testing.T) {
	server := storetest.OwnServer(t)
	address, err := server.Create(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	r := newRig(t, address)
	ctx := t.Context()
	robot := r.registered("rover-7", robotAddress)
	task := r.proved(robot, job(100_000))
	server.Stop(true)
	if _, err := r.portal("alice").Settle(ctx, task.TaskID); client.CodeOf(err) != "unavailable" {
		t.Fatalf("settled without a server: %v", err)
	}
	if err := server.Start(ctx); err != nil {
		t.Fatal(err)
	}
	for range 50 { // the first who come find a broken connection
		if _, err = r.portal("alice").Settle(ctx, task.TaskID); err == nil {
			break
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.operator().Sweep(ctx, ""); err != nil {
		t.Fatal(err)
	}
	r.world.Mine(6)
	if r.world.Paid()[robotAddress] != 98_000 {
		t.Fatalf("the chain paid %v", r.world.Paid())
	}
}
