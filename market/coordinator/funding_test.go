package coordinator_test

import (
	"context"
	"encoding/hex"
	"errors"
	"strings"
	"testing"
	"time"

	"robotorq.org/reserve/market"
	"robotorq.org/reserve/market/books"
	"robotorq.org/reserve/market/coordinator"
	"robotorq.org/reserve/market/rails"
	"robotorq.org/reserve/store/storetest"
)

const hour = 3_600_000

func hashOf(t testing.TB, task market.Task) rails.Hash {
	t.Helper()
	h, err := books.HashOf(task.PaymentHash)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestAPaymentIsSeenWhenItHappens(t *testing.T) {
	r := newRig(t, place(t))
	task, invoice := r.create()
	r.must(r.world.PayInvoice(invoice))
	for range 500 { // no job runs: only the subscription can have seen it
		if r.task(task.TaskID).Status == market.Funded {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("nobody saw the payment")
}

func TestAPaymentBetweenTwoProcessesIsFoundAtTheStart(t *testing.T) {
	r := newRig(t, place(t))
	task, invoice := r.create()
	r.must(r.desk.Close())
	r.must(r.world.PayInvoice(invoice))
	r.start()
	r.must(r.desk.Funding(t.Context()))
	r.wantTask(task.TaskID, market.Funded)
}

func TestAnInvoiceThatNobodyWasGivenLeavesNoTask(t *testing.T) {
	r := newRig(t, place(t))
	r.kill = coordinator.InvoiceMade
	_, err := r.desk.Create(t.Context(), market.Task{ClientAccountID: "alice", Title: "t", TaskKind: "compute", EscrowSats: 5}, coordinator.Once{})
	if !errors.Is(err, errKilled) {
		t.Fatal(err)
	}
	list, err := r.desk.Tasks(t.Context(), books.Filter{Limit: 10})
	r.must(err)
	if len(list) != 0 {
		t.Fatalf("there is a task without a client: %+v", list)
	}
}

func TestATaskThatIsNotPaidInTimeIsCancelledAndItsInvoiceCannotBePaid(t *testing.T) {
	r := newRig(t, place(t))
	task, invoice := r.create()
	r.advance(hour + 1000)
	r.must(r.desk.Due(t.Context()))
	r.wantTask(task.TaskID, market.Cancelled)
	if err := r.world.PayInvoice(invoice); err == nil {
		t.Fatal("the invoice of a cancelled task was paid")
	}
}

func TestAPaymentAfterTheTaskClosedIsRefundedOnce(t *testing.T) {
	r := newRig(t, place(t))
	task, _ := r.create()
	hash := hashOf(t, task)
	if _, err := r.desk.Cancel(t.Context(), task.TaskID, "alice"); err != nil {
		t.Fatal(err)
	}
	r.wantTask(task.TaskID, market.Cancelled)
	r.world.Overpay(hash, 100_000) // it was on its way: the node took it all the same
	for range 3 {
		r.reopen(hash)
		r.must(r.desk.Funding(t.Context()))
		r.restart()
	}
	if b := r.balance("alice"); b != 100_000 {
		t.Fatalf("the account holds %d", b)
	}
	r.wantTask(task.TaskID, market.Cancelled)
}

// reopen makes the scan look at an invoice again, whatever the books say about it.
func (r *rig) reopen(h rails.Hash) {
	r.t.Helper()
	_, err := r.world.Lightning().Invoice(r.t.Context(), h)
	r.must(err)
	r.must(r.desk.Tell(r.t.Context(), h))
}

func TestATaskThatIsPaidTwiceIsFundedOnceAndTheRestIsRefunded(t *testing.T) {
	r := newRig(t, place(t))
	task := r.funded()
	r.world.Overpay(hashOf(t, task), 100_000)
	r.must(r.desk.Tell(t.Context(), hashOf(t, task)))
	r.must(r.desk.Tell(t.Context(), hashOf(t, task)))
	if b := r.balance("alice"); b != 100_000 {
		t.Fatalf("the account holds %d", b)
	}
	r.wantTask(task.TaskID, market.Funded)
}

func TestAnInvoiceThatCannotBeReceivedIsRefusedWithTheReason(t *testing.T) {
	r := newRig(t, place(t))
	r.world.SetInbound(99_999)
	_, err := r.desk.Create(t.Context(), market.Task{ClientAccountID: "alice", Title: "t", TaskKind: "compute", EscrowSats: 100_000}, coordinator.Once{})
	wantCode(t, err, market.CodeCannotReceive)
	if !strings.Contains(err.Error(), "99999") {
		t.Fatal(err)
	}
}

func TestAnExpiredTaskIsRefundedToTheAccountAndTheRobotHasAStrike(t *testing.T) {
	r := newRig(t, place(t))
	r.robot("rover", payees[0])
	task := r.funded()
	_, err := r.desk.Claim(t.Context(), task.TaskID, r.signed("rover"))
	r.must(err)
	r.advance(hour) // the deadline itself still counts
	r.must(r.desk.Due(t.Context()))
	r.wantTask(task.TaskID, market.Claimed)
	r.advance(1)
	r.must(r.desk.Due(t.Context()))
	r.must(r.desk.Due(t.Context()))
	r.wantTask(task.TaskID, market.Refunded)
	if b := r.balance("alice"); b != 100_000 {
		t.Fatalf("the account holds %d", b)
	}
	a, err := r.desk.Agent(t.Context(), "rover")
	r.must(err)
	if a.FailureCount != 1 || a.NextClaimAtMs != r.desk.Now()+60_000 {
		t.Fatalf("the robot: %+v", a)
	}
}

func TestATaskIsListedAgainIfItsClientAskedForIt(t *testing.T) {
	r := newRig(t, place(t))
	r.robot("rover", payees[0])
	r.robot("drone", payees[1])
	task := r.funded(func(t *market.Task) { t.Relist = true })
	_, err := r.desk.Claim(t.Context(), task.TaskID, r.signed("rover"))
	r.must(err)
	r.advance(hour + 1)
	r.must(r.desk.Due(t.Context()))
	r.wantTask(task.TaskID, market.Funded)
	_, err = r.desk.Heartbeat(t.Context(), "rover", nil)
	r.must(err)
	_, err = r.desk.Heartbeat(t.Context(), "drone", nil)
	r.must(err)
	_, err = r.desk.Claim(t.Context(), task.TaskID, r.signed("rover"))
	wantCode(t, err, market.CodeAgentMustWait)
	_, err = r.desk.Claim(t.Context(), task.TaskID, r.signed("drone"))
	r.must(err)
	if b := r.balance("alice"); b != 0 {
		t.Fatalf("the account holds %d", b)
	}
}

func TestATaskThatNobodyClaimsIsRefunded(t *testing.T) {
	r := newRig(t, place(t))
	task := r.funded()
	r.advance(7*24*hour - 1)
	r.must(r.desk.Due(t.Context()))
	r.wantTask(task.TaskID, market.Funded)
	r.advance(1)
	r.must(r.desk.Due(t.Context()))
	r.wantTask(task.TaskID, market.Refunded)
	if b := r.balance("alice"); b != 100_000 {
		t.Fatalf("the account holds %d", b)
	}
}

func TestAnUndisputedProofSettlesByItselfAndAnUndecidedDisputeIsSplit(t *testing.T) {
	r := newRig(t, place(t))
	r.robot("rover", payees[0])
	quiet, loud := r.proved("rover"), r.proved("rover")
	r.advance(24*hour - 1)
	r.must(r.desk.Due(t.Context()))
	r.wantTask(quiet.TaskID, market.ProofSubmitted)
	_, err := r.desk.Dispute(t.Context(), loud.TaskID, "alice", "another bridge")
	r.must(err)
	r.advance(1)
	r.must(r.desk.Due(t.Context()))
	r.wantTask(quiet.TaskID, market.Settled)
	r.wantTask(loud.TaskID, market.Disputed)
	_, err = r.desk.Dispute(t.Context(), quiet.TaskID, "alice", "too late")
	wantCode(t, err, market.CodeTaskNotSubmitted)
	r.advance(14 * 24 * hour)
	r.must(r.desk.Due(t.Context()))
	split := r.wantTask(loud.TaskID, market.Settled)
	e, err := r.desk.Earnings(t.Context(), "rover", 10)
	r.must(err)
	if e.TotalAccrued != 98_000+49_000 || r.balance("alice") != 49_000 || split.Resolution == nil || split.Resolution.By != "coordinator" {
		t.Fatalf("earned %d, back %d, %+v", e.TotalAccrued, r.balance("alice"), split.Resolution)
	}
}

func TestAnAdministratorPaysRefundsOrSplitsADispute(t *testing.T) {
	for _, c := range []struct {
		r           market.Resolution
		status      market.Status
		robot, back int64
	}{
		{market.Resolution{Outcome: market.OutcomePay, Note: "good"}, market.Settled, 98_000, 0},
		{market.Resolution{Outcome: market.OutcomeRefund, Note: "bad"}, market.Refunded, 0, 100_000},
		{market.Resolution{Outcome: market.OutcomeSplit, RobotSats: 40_000, Note: "half"}, market.Settled, 40_000, 58_000},
	} {
		r := newRig(t, place(t))
		r.robot("rover", payees[0])
		task := r.proved("rover")
		_, err := r.desk.Resolve(t.Context(), task.TaskID, c.r, coordinator.Once{})
		wantCode(t, err, market.CodeTaskNotDisputed)
		_, err = r.desk.Dispute(t.Context(), task.TaskID, "alice", "")
		wantCode(t, err, market.CodeInvalid)
		_, err = r.desk.Dispute(t.Context(), task.TaskID, "alice", "another bridge")
		r.must(err)
		_, err = r.desk.Resolve(t.Context(), task.TaskID, c.r, coordinator.Once{})
		r.must(err)
		got := r.wantTask(task.TaskID, c.status)
		e, err := r.desk.Earnings(t.Context(), "rover", 10)
		r.must(err)
		if e.TotalAccrued != c.robot || r.balance("alice") != c.back || got.Resolution.Note != c.r.Note || got.Resolution.AtMs == 0 {
			t.Fatalf("%s: robot %d, client %d, %+v", c.r.Outcome, e.TotalAccrued, r.balance("alice"), got.Resolution)
		}
	}
}

func TestAHoldIsTakenInWhenItIsClaimedAndFreedWhenItIsCancelled(t *testing.T) {
	r := newRig(t, place(t))
	r.robot("rover", payees[0])
	task := r.funded(hold)
	if y, err := r.desk.Treasury(t.Context()); err != nil || y.Ledger["received"] != 0 {
		t.Fatalf("what is only held is in the ledger: %+v, %v", y.Ledger, err)
	}
	got, err := r.desk.Claim(t.Context(), task.TaskID, r.signed("rover"))
	if err != nil || got.Status != market.Claimed || got.EscrowState != market.EscrowReceived {
		t.Fatalf("claimed: %s %s, %v", got.Status, got.EscrowState, err)
	}
	other := r.funded(hold)
	got, err = r.desk.Cancel(t.Context(), other.TaskID, "alice")
	if err != nil || got.Status != market.Refunded {
		t.Fatalf("cancelled: %s, %v", got.Status, err)
	}
	inv, err := r.world.Lightning().Invoice(t.Context(), hashOf(t, other))
	if err != nil || inv.State != rails.InvoiceCancelled || r.balance("alice") != 0 {
		t.Fatalf("the hold is %s, the account holds %d, %v", inv.State, r.balance("alice"), err)
	}
}

func TestACoordinatorThatIsKilledWhileItTakesAHoldInGoesOn(t *testing.T) {
	for _, point := range []string{coordinator.HoldClaimed, coordinator.HoldSettled} {
		r := newRig(t, place(t))
		r.robot("rover", payees[0])
		task := r.funded(hold)
		r.kill = point
		if _, err := r.desk.Claim(t.Context(), task.TaskID, r.signed("rover")); !errors.Is(err, errKilled) {
			t.Fatal(err)
		}
		r.restart()
		r.must(r.desk.Due(t.Context()))
		if got := r.wantTask(task.TaskID, market.Claimed); got.EscrowState != market.EscrowReceived {
			t.Fatalf("after %s the escrow is %s", point, got.EscrowState)
		}
		if y, err := r.desk.Treasury(t.Context()); err != nil || y.Ledger["escrow"] != 100_000 {
			t.Fatalf("the ledger: %+v, %v", y.Ledger, err)
		}
	}
}

func TestALightningNodeThatDiesWhileAHoldIsAcceptedLosesNothing(t *testing.T) {
	for _, before := range []bool{true, false} {
		r := newRig(t, place(t))
		r.robot("rover", payees[0])
		task := r.funded(hold)
		r.losing("settle hold", 1, before)
		if _, err := r.desk.Claim(t.Context(), task.TaskID, r.signed("rover")); rails.ClassOf(err) != rails.Unavailable {
			t.Fatal(err)
		}
		_, err := r.desk.Prove(t.Context(), task.TaskID, r.signed("rover"), []byte(`{}`))
		r.must(err)
		if _, err = r.desk.Settle(t.Context(), task.TaskID, "alice", coordinator.Once{}); market.CodeOf(err) != market.CodeEscrowNotReceived && err != nil {
			t.Fatalf("paid before the escrow was there: %v", err)
		}
		r.must(r.desk.Due(t.Context()))
		if err != nil {
			_, err = r.desk.Settle(t.Context(), task.TaskID, "alice", coordinator.Once{})
			r.must(err)
		}
		r.finish()
		r.wantPaid(map[string]int64{payees[0]: 98_000})
	}
}

func TestAHoldThatIsGoneMakesTheClaimVoid(t *testing.T) {
	r := newRig(t, place(t))
	r.robot("rover", payees[0])
	task := r.funded(hold)
	r.must(r.world.Lightning().CancelInvoice(t.Context(), hashOf(t, task)))
	_, err := r.desk.Claim(t.Context(), task.TaskID, r.signed("rover"))
	wantCode(t, err, market.CodeTaskNotClaimable)
	r.wantTask(task.TaskID, market.Refunded)
	if a, err := r.desk.Agent(t.Context(), "rover"); err != nil || a.FailureCount != 0 || r.balance("alice") != 0 {
		t.Fatalf("robot %+v, account %d, %v", a, r.balance("alice"), err)
	}
}

func TestTheGuardianFreesAHoldBeforeTheLightningNodeWould(t *testing.T) {
	r := newRig(t, place(t))
	task := r.funded(hold)
	left := 144 - 18 - 6
	r.world.Mine(left - 1)
	r.must(r.desk.Guardian(t.Context()))
	r.wantTask(task.TaskID, market.Funded)
	r.world.Mine(1)
	r.must(r.desk.Guardian(t.Context()))
	got := r.wantTask(task.TaskID, market.Refunded)
	inv, err := r.world.Lightning().Invoice(t.Context(), hashOf(t, task))
	if err != nil || inv.State != rails.InvoiceCancelled || !strings.Contains(got.Reason, "about to end") {
		t.Fatalf("%s, %q, %v", inv.State, got.Reason, err)
	}
}

func TestAHoldRefusesATimeoutThatCannotFit(t *testing.T) {
	r := newRig(t, place(t))
	_, err := r.desk.Create(t.Context(), market.Task{ClientAccountID: "alice", Title: "t", TaskKind: "compute", EscrowSats: 5, EscrowMode: market.ModeHold, TimeoutMs: 21 * hour}, coordinator.Once{})
	wantCode(t, err, market.CodeTimeoutTooLong)
}

// credited gives alice an account with sats, as a refund does.
func (r *rig) credited(n int64) {
	r.t.Helper()
	t := r.funded(sats(n))
	_, err := r.desk.Cancel(r.t.Context(), t.TaskID, "alice")
	r.must(err)
}

func TestARefundPaysTheNextTask(t *testing.T) {
	r := newRig(t, place(t))
	r.credited(100_000)
	task, _ := r.create(func(t *market.Task) { t.EscrowMode, t.EscrowSats = market.ModeAccount, 60_000 })
	r.wantTask(task.TaskID, market.Funded)
	if b := r.balance("alice"); b != 40_000 {
		t.Fatalf("the account holds %d", b)
	}
	_, err := r.desk.Create(t.Context(), market.Task{ClientAccountID: "alice", Title: "t", TaskKind: "compute", EscrowMode: market.ModeAccount, EscrowSats: 40_001}, coordinator.Once{})
	wantCode(t, err, market.CodeInsufficientFunds)
}

func TestAWithdrawalByLightningIsPaidOnceWhateverHappens(t *testing.T) {
	for name, disturb := range map[string]func(*rig){
		"nothing":             func(*rig) {},
		"killed when debited": func(r *rig) { r.kill = coordinator.WithdrawMade },
		"killed when sent":    func(r *rig) { r.kill = coordinator.WithdrawSent },
		"the reply lost":      func(r *rig) { r.losing("pay", 1, false) },
		"the call lost":       func(r *rig) { r.losing("pay", 1, true) },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, place(t))
			r.credited(100_000)
			invoice := r.world.ForeignInvoice(50_000)
			disturb(r)
			w, err := r.desk.WithdrawLightning(t.Context(), "alice", invoice)
			if err != nil && !errors.Is(err, errKilled) {
				t.Fatal(err)
			}
			r.restart()
			r.must(r.desk.Withdrawals(t.Context()))
			again, err := r.desk.WithdrawLightning(t.Context(), "alice", invoice)
			r.must(err)
			if again.WithdrawalID != w.WithdrawalID || again.State != market.WithdrawalPaid || again.FeeSats != 1 {
				t.Fatalf("asked for again: %+v", again)
			}
			if r.world.Spent() != 50_001 || r.balance("alice") != 49_999 {
				t.Fatalf("spent %d, the account holds %d", r.world.Spent(), r.balance("alice"))
			}
			r.audit()
		})
	}
}

func TestAWithdrawalThatFailsForGoodIsCreditedBack(t *testing.T) {
	r := newRig(t, place(t))
	r.credited(100_000)
	var nobody rails.Hash
	invoice := "lnsimulated50000n1" + hex.EncodeToString(nobody[:])
	w, err := r.desk.WithdrawLightning(t.Context(), "alice", invoice)
	if err != nil || w.State != market.WithdrawalFailed || r.balance("alice") != 100_000 {
		t.Fatalf("%+v, %v, the account holds %d", w, err, r.balance("alice"))
	}
	_, err = r.desk.WithdrawLightning(t.Context(), "alice", r.world.ForeignInvoice(100_001))
	wantCode(t, err, market.CodeInsufficientFunds)
	_, ours := r.create()
	_, err = r.desk.WithdrawLightning(t.Context(), "alice", ours)
	wantCode(t, err, market.CodeInvoiceOurs)
	taken := r.world.ForeignInvoice(1_000)
	_, err = r.desk.WithdrawLightning(t.Context(), "alice", taken)
	r.must(err)
	_, err = r.desk.WithdrawLightning(t.Context(), "mallory", taken)
	wantCode(t, err, market.CodeInvoiceUsed)
}

func TestAWithdrawalOnChainLeavesWithTheNextSweepAndBearsItsFee(t *testing.T) {
	storetest.Each(t, func(t *testing.T, e storetest.Engine) {
		r := newRig(t, e.Place(t))
		r.robot("rover", payees[0])
		r.earned("rover")
		r.credited(100_000)
		w, err := r.desk.WithdrawChain(t.Context(), "alice", payees[3], 60_000, coordinator.Once{})
		r.must(err)
		if r.balance("alice") != 40_000 || w.State != market.WithdrawalQueued {
			t.Fatalf("%+v, the account holds %d", w, r.balance("alice"))
		}
		r.finish()
		a, err := r.desk.Account(t.Context(), "alice")
		r.must(err)
		if a.Withdrawals[0].State != market.WithdrawalPaid || a.Withdrawals[0].FeeSats == 0 {
			t.Fatalf("the withdrawal: %+v", a.Withdrawals)
		}
		r.wantPaid(map[string]int64{payees[0]: 98_000, payees[3]: 60_000 - a.Withdrawals[0].FeeSats})
	})
}

func TestTheSameKeyAnswersTheSame(t *testing.T) {
	r := newRig(t, place(t))
	ask := market.Task{ClientAccountID: "alice", Title: "t", TaskKind: "compute", EscrowSats: 5_000}
	once := coordinator.Once{Route: "create", Key: "k", Digest: [32]byte{1}}
	first, err := r.desk.Create(t.Context(), ask, once)
	r.must(err)
	second, err := r.desk.Create(t.Context(), ask, once)
	r.must(err)
	if first.Task.TaskID != second.Task.TaskID || first.Invoice.Bolt11 != second.Invoice.Bolt11 {
		t.Fatalf("%+v and %+v", first, second)
	}
	once.Digest[0] = 2
	_, err = r.desk.Create(context.Background(), ask, once)
	wantCode(t, err, market.CodeKeyReused)
}

func TestAPaymentThatArrivesWhileItsTaskIsCancelledIsRefundedOnce(t *testing.T) {
	r := newRig(t, place(t))
	task, invoice := r.create()
	r.world.Before = func(op string) error {
		if op == "cancel invoice" {
			r.world.Before = nil
			return r.world.PayInvoice(invoice)
		}
		return nil
	}
	got, err := r.desk.Cancel(t.Context(), task.TaskID, "alice")
	r.must(err)
	r.must(r.desk.Funding(t.Context()))
	r.must(r.desk.Tell(t.Context(), hashOf(t, task)))
	if got = r.task(task.TaskID); got.Status != market.Refunded || r.balance("alice") != 100_000 {
		t.Fatalf("the task is %s, the account holds %d", got.Status, r.balance("alice"))
	}
}

func TestWhatIsPaidBeyondThePriceGoesToTheAccountWithAHoldToo(t *testing.T) {
	r := newRig(t, place(t))
	r.robot("rover", payees[0])
	task := r.funded(hold)
	r.world.HoldMore(hashOf(t, task), 500)
	_, err := r.desk.Claim(t.Context(), task.TaskID, r.signed("rover"))
	r.must(err)
	if b := r.balance("alice"); b != 500 {
		t.Fatalf("the account holds %d", b)
	}
}

func TestOfTwoProcessesOnlyOneSendsAWithdrawalAndFindsThatItFailed(t *testing.T) {
	r := newRig(t, place(t))
	r.credited(100_000)
	other, err := coordinator.Open(context.Background(), r.options())
	r.must(err)
	defer func() { r.must(other.Close()) }()
	invoice := r.world.ForeignInvoice(50_000)
	pays := 0
	r.world.Before = func(op string) error {
		if op != "pay" {
			return nil
		}
		pays++
		// While this one is about to pay, the other does its jobs, and at first there is no route.
		return other.Withdrawals(context.Background())
	}
	w, err := r.desk.WithdrawLightning(t.Context(), "alice", invoice)
	if err != nil || w.State != market.WithdrawalPaid || pays != 1 {
		t.Fatalf("%+v after %d payments, %v", w, pays, err)
	}
	if r.world.Spent()+r.balance("alice") != 100_000 {
		t.Fatalf("spent %d, the account holds %d", r.world.Spent(), r.balance("alice"))
	}
}
