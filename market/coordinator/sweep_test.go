package coordinator_test

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"

	"robotorq.org/reserve/market"
	"robotorq.org/reserve/market/books"
	"robotorq.org/reserve/market/coordinator"
	"robotorq.org/reserve/market/rails"
	"robotorq.org/reserve/store"
)

func TestACoordinatorThatIsKilledDuringASweepPaysEverybodyOnce(t *testing.T) {
	for _, point := range []string{coordinator.SweepBound, coordinator.SweepBuilt, coordinator.SweepRecorded, coordinator.SweepBroadcast} {
		t.Run(point, func(t *testing.T) {
			r := newRig(t, place(t))
			r.robot("rover", payees[0])
			r.robot("drone", payees[1])
			r.earned("rover")
			r.earned("drone", sats(50_000))
			r.kill = point
			if _, err := r.desk.Sweep(t.Context()); !errors.Is(err, errKilled) {
				t.Fatalf("the sweep was not killed: %v", err)
			}
			r.restart()
			r.finish()
			r.wantPaid(map[string]int64{payees[0]: 98_000, payees[1]: 49_000})
			if s := r.sweeps(); len(s) != 1 || len(s[0].Candidates) != 1 {
				t.Fatalf("there is more than one transaction for the same earnings: %+v", s)
			}
			locked, err := r.world.Chain().Locked(t.Context())
			r.must(err)
			for _, in := range locked {
				if in != r.sweeps()[0].Candidates[0].Inputs[0] {
					t.Errorf("the coin %v stays locked for a transaction that nobody has", in)
				}
			}
		})
	}
}

func TestALostReplyToABroadcastIsAnsweredByTheSameBytes(t *testing.T) {
	for _, before := range []bool{true, false} {
		r := newRig(t, place(t))
		r.robot("rover", payees[0])
		r.earned("rover")
		r.losing("broadcast", 2, before)
		_, err := r.desk.Sweep(t.Context())
		r.must(err)
		if s := r.sweeps()[0]; s.State != market.SweepBroadcast {
			t.Fatalf("the sweep is %s, nobody knows more than broadcast", s.State)
		}
		r.restart()
		r.finish()
		r.wantPaid(map[string]int64{payees[0]: 98_000})
		if s := r.sweeps(); len(s) != 1 || len(s[0].Candidates) != 1 {
			t.Fatalf("another transaction was built: %+v", s)
		}
	}
}

func TestASettlementDuringASweepWaitsForTheNext(t *testing.T) {
	r := newRig(t, place(t))
	r.robot("rover", payees[0])
	r.earned("rover")
	late := r.proved("rover")
	r.kill = coordinator.SweepBound
	if _, err := r.desk.Sweep(t.Context()); !errors.Is(err, errKilled) {
		t.Fatal(err)
	}
	_, err := r.desk.Settle(t.Context(), late.TaskID, "alice", coordinator.Once{})
	r.must(err)
	r.finish()
	r.wantPaid(map[string]int64{payees[0]: 196_000})
	if s := r.sweeps(); len(s) != 2 || s[0].TotalSats != 98_000 || s[1].TotalSats != 98_000 {
		t.Fatalf("sweeps: %+v", s)
	}
}

func TestAReorganisationTakesAConfirmationBackAndTheAnswerSaysSo(t *testing.T) {
	for _, depth := range []int{1, 2} {
		r := newRig(t, place(t))
		r.robot("rover", payees[0])
		r.earned("rover")
		_, err := r.desk.Sweep(t.Context())
		r.must(err)
		r.world.Mine(depth)
		_, err = r.desk.Sweep(t.Context())
		r.must(err)
		if s := r.sweeps()[0]; s.State != market.SweepConfirmed || s.Confirmations != int64(depth) || s.ConfirmedAtMs == 0 {
			t.Fatalf("before the reorganisation: %+v", s)
		}
		r.world.Reorganise(depth)
		_, err = r.desk.Sweep(t.Context())
		r.must(err)
		if s := r.sweeps()[0]; s.State != market.SweepSeen || s.Confirmations != 0 || s.ConfirmedAtMs != 0 || s.Block != "" {
			t.Fatalf("after a reorganisation of %d: %+v", depth, s)
		}
		r.finish()
		r.wantPaid(map[string]int64{payees[0]: 98_000})
	}
}

func TestATransactionThatTheNodeForgotIsSentAgain(t *testing.T) {
	r := newRig(t, place(t))
	r.robot("rover", payees[0])
	r.earned("rover")
	_, err := r.desk.Sweep(t.Context())
	r.must(err)
	r.world.Forget()
	_, err = r.desk.Sweep(t.Context())
	r.must(err)
	if len(r.world.Mempool()) != 1 {
		t.Fatal("the bytes were not sent again")
	}
	r.finish()
	r.wantPaid(map[string]int64{payees[0]: 98_000})
}

func TestOfSeveralCandidatesWithOtherFeesTheOneThatConfirmsCounts(t *testing.T) {
	for _, original := range []bool{true, false} {
		r := newRig(t, place(t))
		r.robot("rover", payees[0])
		task := r.earned("rover", sats(1_000_000))
		_, err := r.desk.Sweep(t.Context())
		r.must(err)
		first := r.sweeps()[0].Candidates[0]
		if original { // the node never hears of the second one, and the first is mined
			r.losing("broadcast", 1, true)
		}
		s, err := r.desk.Bump(t.Context(), r.sweeps()[0].SweepID, 10_000)
		r.must(err)
		if len(s.Candidates) != 2 || s.Candidates[1].FeeSats <= first.FeeSats || s.Candidates[1].Inputs[0] != first.Inputs[0] {
			t.Fatalf("candidates: %+v", s.Candidates)
		}
		winner := s.Candidates[1]
		if original {
			winner = first
		}
		r.world.Mine(1)
		r.finish()
		r.wantPaid(map[string]int64{payees[0]: task.RewardSats})
		e, err := r.desk.Earnings(t.Context(), "rover", 10)
		r.must(err)
		if s := r.sweeps()[0]; s.Txid != winner.Txid || s.FeesSats != winner.FeeSats || e.Earnings[0].SweepTxID != winner.Txid {
			t.Fatalf("the winner is %s, the sweep says %s and the earning %s", winner.Txid, s.Txid, e.Earnings[0].SweepTxID)
		}
	}
}

func TestAWaitingSweepRaisesItsFeeByItselfWithinTheCap(t *testing.T) {
	r := newRig(t, place(t))
	r.robot("rover", payees[0])
	r.earned("rover") // 2,000 sats of fees are the cap
	_, err := r.desk.Sweep(t.Context())
	r.must(err)
	r.world.SetFee(12_000)
	_, err = r.desk.Sweep(t.Context())
	r.must(err)
	if n := len(r.sweeps()[0].Candidates); n != 1 {
		t.Fatalf("the fee was raised at once: %d candidates", n)
	}
	r.advance(4 * 3_600_000)
	_, err = r.desk.Sweep(t.Context())
	r.must(err)
	if s := r.sweeps()[0]; len(s.Candidates) != 2 || s.FeesSats > 2_000 {
		t.Fatalf("after four hours: %+v", s.Candidates)
	}
	r.world.SetFee(90_000) // above the cap
	r.advance(4 * 3_600_000)
	_, err = r.desk.Sweep(t.Context())
	r.must(err)
	if n := len(r.sweeps()[0].Candidates); n != 2 {
		t.Fatalf("the cap was passed: %d candidates", n)
	}
	r.finish()
	r.wantPaid(map[string]int64{payees[0]: 98_000})
}

func TestAFeeSpikeDefersTheSweepWithAReason(t *testing.T) {
	r := newRig(t, place(t))
	r.robot("rover", payees[0])
	r.earned("rover")
	for rate, why := range map[rails.FeeRate]string{50_000: "ROBOT_MAX_SWEEP_FEE_BPS", 150_000: "ROBOT_MAX_FEE_SAT_VB"} {
		r.world.SetFee(rate)
		report, err := r.desk.Sweep(t.Context())
		r.must(err)
		if report.Sweep != nil || !strings.Contains(report.Deferred, why) {
			t.Fatalf("at %d: %+v", rate, report)
		}
		y, err := r.desk.Treasury(t.Context())
		r.must(err)
		if y.Deferred["earnings"] != report.Deferred {
			t.Fatalf("the treasury says %q", y.Deferred)
		}
	}
	r.world.SetFee(2_000)
	r.finish()
	r.wantPaid(map[string]int64{payees[0]: 98_000})
	y, err := r.desk.Treasury(t.Context())
	r.must(err)
	if len(y.Deferred) != 0 {
		t.Fatalf("the treasury still says %q", y.Deferred)
	}
}

func TestOneBadPayeeIsSetAsideAndPaidAfterItChangedItsAddress(t *testing.T) {
	r := newRig(t, place(t))
	r.robot("rover", payees[0])
	r.robot("drone", payees[1])
	r.earned("rover")
	r.earned("drone")
	r.world.RefuseAddress(payees[1], "scriptpubkey")
	report, err := r.desk.Sweep(t.Context())
	r.must(err)
	if report.Sweep == nil || len(report.Sweep.Payouts) != 1 {
		t.Fatalf("the good payee was not paid: %+v", report)
	}
	report, err = r.desk.Sweep(t.Context())
	r.must(err)
	if len(report.SetAside) != 1 || report.SetAside[0].AgentID != "drone" || !strings.Contains(report.SetAside[0].Reason, "scriptpubkey") {
		t.Fatalf("set aside: %+v", report.SetAside)
	}
	r.robot("drone", payees[2]) // counts after a day
	r.finish()
	r.wantPaid(map[string]int64{payees[0]: 98_000})
	r.advance(25 * 3_600_000)
	r.finish()
	r.wantPaid(map[string]int64{payees[0]: 98_000, payees[2]: 98_000})
}

func TestASweepThatTheChainPotCannotPayIsDeferredWhole(t *testing.T) {
	r := newRig(t, place(t))
	r.robot("rover", payees[0])
	r.robot("drone", payees[1])
	r.earned("rover")
	r.earned("drone")
	r.world.SetCoins(150_000) // enough for one of the two
	report, err := r.desk.Sweep(t.Context())
	r.must(err)
	if report.Sweep != nil || !strings.Contains(report.Deferred, "coins") {
		t.Fatalf("report: %+v", report)
	}
	if s := r.sweeps()[0]; s.State != market.SweepDeferred {
		t.Fatalf("the sweep is %s", s.State)
	}
	r.world.SetCoins(1_000_000)
	r.finish()
	r.wantPaid(map[string]int64{payees[0]: 98_000, payees[1]: 98_000})
}

func TestEntriesAreReleasedOnlyWhenAFinalForeignTransactionSpentAnInput(t *testing.T) {
	r := newRig(t, place(t))
	r.robot("rover", payees[0])
	r.earned("rover")
	r.losing("broadcast", 1, true)
	_, err := r.desk.Sweep(t.Context())
	r.must(err)
	s := r.sweeps()[0]
	r.world.Steal(s.Candidates[0].Inputs[0])
	for blocks := range market.FinalDepth {
		_, err := r.desk.Sweep(t.Context())
		r.must(err)
		if n := r.sweeps(); len(n) != 1 || n[0].State != market.SweepBroadcast {
			t.Fatalf("after %d blocks: %+v", blocks, n)
		}
		r.world.Mine(1)
	}
	r.finish()
	list := r.sweeps()
	if len(list) != 2 || list[1].State != market.SweepLost && list[0].State != market.SweepLost {
		t.Fatalf("after %d blocks: %+v", market.FinalDepth, list)
	}
	r.wantPaid(map[string]int64{payees[0]: 98_000})
}

func TestPayeesBelowTheThresholdWaitAndThoseAtItArePaid(t *testing.T) {
	r := newRig(t, place(t))
	r.policy.FeeBps = 0
	r.policy.PayeesPay = true
	r.restart()
	r.robot("rover", payees[0])
	r.robot("drone", payees[1])
	r.earned("rover", sats(10_000))
	r.earned("drone", sats(9_999))
	report, err := r.desk.Sweep(t.Context())
	r.must(err)
	if report.Sweep == nil || len(report.Sweep.Payouts) != 1 || report.Sweep.Payouts[0].AgentID != "rover" || len(report.Below) != 1 || report.Below[0].AgentID != "drone" {
		t.Fatalf("report: %+v", report)
	}
	r.finish()
	s := r.sweeps()[0]
	r.wantPaid(map[string]int64{payees[0]: 10_000 - s.FeesSats})
	e, err := r.desk.Earnings(t.Context(), "drone", 10)
	r.must(err)
	if e.TotalAccrued != 9_999 || e.TotalSwept != 0 {
		t.Fatalf("the other robot: %+v", e)
	}
}

func TestTheSameAddressGetsOneOutput(t *testing.T) {
	r := newRig(t, place(t))
	r.robot("rover", payees[0])
	r.robot("drone", payees[0])
	r.earned("rover")
	r.earned("drone")
	report, err := r.desk.Sweep(t.Context())
	r.must(err)
	if s := report.Sweep; s == nil || len(s.Payouts) != 2 || s.Payouts[0].Output != 0 || s.Payouts[1].Output != 0 {
		t.Fatalf("report: %+v", report)
	}
	r.finish()
	r.wantPaid(map[string]int64{payees[0]: 196_000})
}

func TestABatchIsBoundedByItsOutputs(t *testing.T) {
	// The core plans; what a node makes of 2,500 outputs is measured by the benchmark.
	m := market.Machine{Policy: market.Defaults("regtest")}
	var entries []market.Entry
	for i := range 3_000 {
		entries = append(entries, market.Entry{EntryID: string(rune(i)), AgentID: string(rune(i)), EarnedSats: 20_000, FeeSats: 1_000_000, Address: p2wpkh(t, i)})
	}
	p := m.PlanSweep(entries, false, 1_000)
	if n := len(market.Outputs(p.Payouts)); n != market.MaxPayouts || !p.More || p.Deferred != "" {
		t.Fatalf("%d outputs, more %v, %q", n, p.More, p.Deferred)
	}
}

func TestTheCoordinatorNeverPaysMoreThanItsFeesForABatchOfSmallPayees(t *testing.T) {
	m := market.Machine{Policy: market.Defaults("regtest")}
	var entries []market.Entry
	for i := range 2_500 { // 204 sats of fee each, 31 vB of output at 50 sat/vB
		entries = append(entries, market.Entry{EntryID: string(rune(i)), AgentID: string(rune(i)), EarnedSats: 10_000, FeeSats: 204, Address: p2wpkh(t, i)})
	}
	if p := m.PlanSweep(entries, false, 50_000); p.Deferred == "" {
		t.Fatalf("a fee of %d was accepted for fees of %d", p.FeeGuess, p.MaxFeeSats)
	}
	if p := m.PlanSweep(entries, false, 5_000); p.Deferred != "" || p.MaxFeeSats != 2_500*204 {
		t.Fatalf("at 5 sat/vB: %+v", p.Deferred)
	}
}

func TestTwoProcessesOnTheSameBooksDoNothingTwice(t *testing.T) {
	r := newRig(t, place(t))
	other, err := coordinator.Open(context.Background(), r.options())
	r.must(err)
	t.Cleanup(func() { r.must(other.Close()) })
	want := map[string]int64{}
	for i := range 3 {
		r.robot(string(rune('a'+i)), payees[i])
	}
	for round := range 4 {
		for i := range 3 {
			id := string(rune('a' + i))
			_, err := r.desk.Heartbeat(t.Context(), id, nil)
			r.must(err)
			r.proved(id, hold)
			want[payees[i]] += 98_000
		}
		r.advance(25 * 3_600_000) // the proofs settle by themselves
		done := make(chan error, 2)
		for _, d := range []*coordinator.Desk{r.desk, other} {
			go func() {
				for range 5 {
					if err := errors.Join(d.Due(context.Background()), d.Funding(context.Background()), d.Guardian(context.Background()), d.Scheduled(context.Background()), d.Withdrawals(context.Background())); err != nil {
						done <- err
						return
					}
					_, err := d.Sweep(context.Background())
					if err != nil {
						done <- err
						return
					}
				}
				done <- nil
			}()
		}
		for range 2 {
			if err := <-done; err != nil {
				t.Fatalf("round %d: %v", round, err)
			}
		}
		r.world.Mine(1)
	}
	r.finish()
	r.wantPaid(want)
}

func TestDaemonsThatAreAwayAndBackLoseNothing(t *testing.T) {
	r := newRig(t, place(t))
	r.robot("rover", payees[0])
	r.earned("rover")
	r.world.Before = unavailable
	if report, err := r.desk.Sweep(t.Context()); err != nil || report.Sweep != nil || report.Deferred == "" {
		t.Fatalf("a sweep without a node: %+v, %v", report, err)
	}
	if _, err := r.desk.Create(t.Context(), market.Task{ClientAccountID: "alice", Title: "t", TaskKind: "compute", EscrowSats: 5}, coordinator.Once{}); rails.ClassOf(err) != rails.Unavailable || err == nil {
		t.Fatalf("a task without a Lightning node: %v", err)
	}
	r.restart()
	r.world.Before = nil
	r.finish()
	r.wantPaid(map[string]int64{payees[0]: 98_000})
}

func TestTheBytesAreInTheBooksBeforeAnybodySeesThem(t *testing.T) {
	r := newRig(t, place(t))
	r.robot("rover", payees[0])
	r.earned("rover", sats(1_000_000))
	seen := 0
	r.world.Before = func(op string) error {
		if op != "broadcast" {
			return nil
		}
		seen++
		if s := r.sweeps(); len(s) != 1 || len(s[0].Candidates) != seen || s[0].Txid != s[0].Candidates[seen-1].Txid {
			t.Errorf("broadcast %d of a transaction that is not recorded: %+v", seen, s)
		}
		return nil
	}
	_, err := r.desk.Sweep(t.Context())
	r.must(err)
	_, err = r.desk.Bump(t.Context(), r.sweeps()[0].SweepID, 10_000)
	r.must(err)
	if seen != 2 {
		t.Fatalf("%d broadcasts", seen)
	}
	r.world.Before = nil
	r.finish()
}

func TestAScheduledSweepIsMadeOncePerIntervalOverRestarts(t *testing.T) {
	r := newRig(t, place(t))
	r.robot("rover", payees[0])
	r.must(r.desk.Scheduled(t.Context())) // the interval begins
	r.earned("rover")
	r.advance(24*hour - 1)
	r.restart()
	r.must(r.desk.Scheduled(t.Context()))
	if len(r.sweeps()) != 0 {
		t.Fatal("a sweep before its time")
	}
	r.advance(1)
	r.must(r.desk.Scheduled(t.Context()))
	r.restart()
	_, err := r.desk.Heartbeat(t.Context(), "rover", nil)
	r.must(err)
	r.earned("rover")
	r.must(r.desk.Scheduled(t.Context()))
	if n := len(r.sweeps()); n != 1 {
		t.Fatalf("%d sweeps in one interval", n)
	}
	r.finish()
}

func TestBooksThatAreOlderThanTheWalletPayNothingUntilSomebodyHasLooked(t *testing.T) {
	at := place(t)
	r := newRig(t, at)
	r.robot("rover", payees[0])
	_, err := r.desk.Sweep(t.Context()) // the books remember a block from here on
	r.must(err)
	r.earned("rover")
	r.must(r.desk.Close())
	r.must(r.db.Close())
	backup, err := os.ReadFile(at)
	r.must(err)
	reopen := func() {
		t.Helper()
		db, err := store.Open(context.Background(), at, store.Options{Schemas: books.Schemas()})
		r.must(err)
		r.db = db
		r.start()
	}
	reopen()
	_, err = r.desk.Sweep(t.Context())
	r.must(err)
	txid := r.sweeps()[0].Txid
	r.world.Mine(1)
	r.must(r.desk.Close())
	r.must(r.db.Close())
	r.must(os.WriteFile(at, backup, 0o600)) // restored: the robot is owed again what it has got
	reopen()
	for range 2 {
		report, err := r.desk.Sweep(t.Context())
		r.must(err)
		if report.Sweep != nil || !strings.Contains(report.Deferred, txid) {
			t.Fatalf("the restored books pay again: %+v", report)
		}
	}
	r.restart()
	report, err := r.desk.Sweep(t.Context())
	r.must(err)
	if report.Sweep != nil {
		t.Fatal("a restart was enough to pay twice")
	}
	r.must(r.desk.Know(t.Context(), []string{txid}))
	r.restart()
	report, err = r.desk.Sweep(t.Context())
	r.must(err)
	if report.Sweep == nil {
		t.Fatalf("still nothing is paid after the operator said what it was: %+v", report)
	}
}
