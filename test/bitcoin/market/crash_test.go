package market_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"robotorq.org/reserve/market"
	"robotorq.org/reserve/market/address"
	"robotorq.org/reserve/market/books"
	"robotorq.org/reserve/market/chain"
	"robotorq.org/reserve/market/coordinator"
	"robotorq.org/reserve/market/lightning"
	"robotorq.org/reserve/store"
	"robotorq.org/reserve/store/storetest"
	"robotorq.org/reserve/test/bitcoin"
)

// childOf is the variable by which this program runs as a coordinator of its own,
// to be killed.
const childOf = "ROBOTORQ_TEST_COORDINATOR"

// errand is what a child does until it kills itself at a point.
type errand struct {
	Path, RPC, LND, Certificate, Macaroon string
	Policy                                market.Policy
	NowMs                                 int64
	Point, Do, Task, Agent, Client, To    string
}

// child is a coordinator in a process of its own; it returns an exit status only
// if it was not killed.
func child(text string) int {
	err := run(text)
	fmt.Fprintln(os.Stderr, "child:", err)
	return 1
}

func run(text string) error {
	var e errand
	if err := json.Unmarshal([]byte(text), &e); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	l, err := lightning.Dial(ctx, lightning.Options{URL: e.LND, TLSCert: e.Certificate, Macaroon: e.Macaroon, Network: address.Regtest})
	if err != nil {
		return err
	}
	c, err := chain.Dial(ctx, chain.Options{URL: e.RPC, Network: address.Regtest})
	if err != nil {
		return err
	}
	db, err := store.Open(ctx, e.Path, store.Options{Schemas: books.Schemas()})
	if err != nil {
		return err
	}
	desk, err := coordinator.Open(ctx, coordinator.Options{Policy: e.Policy, DB: db, Lightning: l, Chain: c,
		Clock: &clock{now: time.UnixMilli(e.NowMs)},
		At: func(point string) error {
			if point == e.Point {
				return syscall.Kill(os.Getpid(), syscall.SIGKILL)
			}
			return nil
		}})
	if err != nil {
		return err
	}
	switch e.Do {
	case "sweep":
		_, err = desk.Sweep(ctx)
	case "claim":
		_, err = desk.Claim(ctx, e.Task, coordinator.Signed{AgentID: e.Agent, Nonce: "of-the-child", ExpiresMs: e.NowMs + 60_000})
	case "withdraw":
		_, err = desk.WithdrawLightning(ctx, e.Client, e.To)
	default:
		err = errors.New("there is no errand " + e.Do)
	}
	return fmt.Errorf("lived through %s: %v", e.Do, err)
}

// killed runs an errand in a process that is killed -9 at the point, while this
// coordinator is away, and opens it again.
func (f *floor) killed(e errand) {
	f.Helper()
	e.Path, e.RPC, e.LND = f.path, f.stack.Bitcoind.Limited("payout"), f.stack.Alice.URL()
	e.Certificate, e.Macaroon = f.stack.Alice.Certificate(), f.stack.Alice.Limited()
	e.Policy, e.NowMs = f.policy, f.desk.Now()
	text, err := json.Marshal(e)
	f.must(err)
	f.stop()
	c := exec.CommandContext(f.ctx, os.Args[0])
	c.Env = append(os.Environ(), childOf+"="+string(text))
	out, err := c.CombinedOutput()
	var ended *exec.ExitError
	if !errors.As(err, &ended) || ended.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		f.Fatalf("the child was not killed at %q: %v: %s", e.Point, err, out)
	}
	f.start()
}

func TestACoordinatorKilledDuringASweepPaysEverybodyOnce(t *testing.T) {
	for _, point := range []string{coordinator.SweepBound, coordinator.SweepBuilt, coordinator.SweepRecorded, coordinator.SweepBroadcast} {
		t.Run(point, func(t *testing.T) {
			f := open(t)
			one, two := f.robot("bech32m"), f.robot("legacy")
			f.earns(one, 30_000)
			f.earns(one, 20_001)
			f.earns(two, 40_000)
			f.killed(errand{Do: "sweep", Point: point})
			f.earns(two, 20_000) // the world goes on meanwhile
			f.sweep()
			f.mine(1)
			f.sweep() // what the first did not take
			f.mine(7)
			f.state(market.SweepFinal)
			f.square()
		})
	}
}

// The coordinator is killed again and again, at each point in turn, on one sweep.
func TestACoordinatorKilledAtEveryPointInTurn(t *testing.T) {
	bitcoin.Wanted(t)
	storetest.Each(t, func(t *testing.T, e storetest.Engine) {
		f := openAt(t, e.Place(t))
		r := f.robot("bech32")
		f.earns(r, 50_000)
		for _, point := range []string{coordinator.SweepBound, coordinator.SweepBuilt, coordinator.SweepBuilt, coordinator.SweepRecorded, coordinator.SweepBroadcast} {
			f.killed(errand{Do: "sweep", Point: point})
		}
		f.sweep()
		f.mine(7)
		f.state(market.SweepFinal)
		f.square()
	})
}

func TestACoordinatorKilledDuringAWithdrawalPaysTheClientOnce(t *testing.T) {
	for _, point := range []string{coordinator.WithdrawMade, coordinator.WithdrawSent} {
		t.Run(point, func(t *testing.T) {
			f := open(t)
			c := f.funded("client", 9_000)
			_, err := f.desk.Cancel(f.ctx, c.Task.TaskID, "client")
			f.must(err)
			invoice, err := f.stack.Bob.Invoice(f.ctx, 8_000)
			f.must(err)
			f.killed(errand{Do: "withdraw", Point: point, Client: "client", To: invoice})
			f.must(f.desk.Withdrawals(f.ctx))
			f.must(f.desk.Withdrawals(f.ctx))
			w, err := f.desk.WithdrawLightning(f.ctx, "client", invoice) // asked again
			f.must(err)
			f.equal("the withdrawal", w.State, market.WithdrawalPaid)
			_, got, err := f.stack.Bob.Invoiced(f.ctx, w.WithdrawalID)
			f.must(err)
			f.equal("what the client got", got, int64(8_000))
			a, err := f.desk.Account(f.ctx, "client")
			f.must(err)
			f.equal("the account", a.BalanceSats, int64(1_000))
			f.square()
		})
	}
}

func TestACoordinatorKilledWhileItTakesAHoldInKeepsTheClaim(t *testing.T) {
	for _, point := range []string{coordinator.HoldClaimed, coordinator.HoldSettled} {
		t.Run(point, func(t *testing.T) {
			f := open(t)
			r := f.robot("bech32m")
			c := f.task("client", 20_000, market.ModeHold)
			done := f.begin(c)
			f.becomes(c.Task.TaskID, market.Funded)
			f.register(r)
			f.killed(errand{Do: "claim", Point: point, Task: c.Task.TaskID, Agent: r.id})
			f.must(f.desk.Due(f.ctx))
			f.outcome(done, "SUCCEEDED")
			task, err := f.desk.Task(f.ctx, c.Task.TaskID)
			f.must(err)
			f.equal("the task", task.Status, market.Claimed)
			f.equal("the escrow", task.EscrowState, market.EscrowReceived)
			f.prove(r, c.Task.TaskID)
			f.settle(r, c)
			f.sweep()
			f.mine(7)
			f.square()
		})
	}
}
