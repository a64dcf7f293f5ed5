package market_test

import (
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"robotorq.org/reserve/market"
	"robotorq.org/reserve/market/client"
	"robotorq.org/reserve/market/routes"
	"robotorq.org/reserve/market/wire"
)

const meshToken, portalToken, adminToken = "mesh-of-the-test", "portal-of-the-test", "admin-of-the-test"

// door is the marketplace as the world sees it: over HTTP, with tokens and signatures.
type door struct {
	*floor
	url      string
	portal   *client.Portal
	operator *client.Operator
}

func openDoor(t *testing.T) door {
	t.Helper()
	f := open(t)
	s, err := routes.New(routes.Options{Desk: f.desk, Tokens: routes.Tokens{Mesh: meshToken, Portal: portalToken, Admin: adminToken}})
	f.must(err)
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	d := door{floor: f, url: server.URL}
	d.portal, err = client.NewPortal(server.URL, portalToken, "client")
	f.must(err)
	d.operator, err = client.NewOperator(server.URL, adminToken)
	f.must(err)
	f.clients = append(f.clients, "client")
	return d
}

// enter registers a robot over HTTP under a key of its own.
func (d door) enter(kind string) (*robot, *client.Robot) {
	d.Helper()
	r := &robot{id: fmt.Sprintf("robot-%d", len(d.robots)+1)}
	_, key, err := ed25519.GenerateKey(nil)
	d.must(err)
	d.must(d.stack.Bitcoind.Call(d.ctx, "miner", &r.address, "getnewaddress", "", kind))
	d.robots = append(d.robots, r)
	c, err := client.NewRobot(d.url, meshToken, r.id, client.Ed25519(key), client.Clock(d.clock.Now))
	d.must(err)
	_, err = c.Register(d.ctx, client.Registration{PayoutAddress: r.address, Capabilities: []string{"camera", "gps"}, RobotKind: "drone"})
	d.must(err)
	return r, c
}

func job(sats int64, mode market.EscrowMode) wire.CreateBody {
	return wire.CreateBody{Title: "Photograph the bridge", Description: "From the north side.", TaskKind: "physical",
		ResourceRequirements: []string{"camera"}, AmountSats: sats, EscrowMode: string(mode),
		ProofSchema: json.RawMessage(`{"type":"object","required":["photo"],"properties":{"photo":{"type":"string","pattern":"^sha256:[0-9a-f]{8}$"}}}`)}
}

// posted is a task that was paid: until a hold is taken in, the payment goes on.
func (d door) posted(body wire.CreateBody) (wire.Created, <-chan string) {
	d.Helper()
	made, err := d.portal.Create(d.ctx, body, "")
	d.must(err)
	done := d.begin(made)
	d.until("the payment", func() bool {
		t, err := d.portal.Task(d.ctx, made.Task.TaskID)
		d.must(err)
		return t.Status == market.Funded
	})
	return made, done
}

func (d door) refused(err error, status int, code string) {
	d.Helper()
	var e *client.Error
	if !errors.As(err, &e) || e.Status != status || e.Code != code {
		d.Fatalf("want %d %s, got %v", status, code, err)
	}
}

func TestTheWholeLifeOverHTTP(t *testing.T) {
	for _, mode := range []market.EscrowMode{market.ModeSettled, market.ModeHold} {
		t.Run(string(mode), func(t *testing.T) {
			d := openDoor(t)
			r, rover := d.enter("bech32m")
			before, err := d.operator.Treasury(d.ctx)
			d.must(err)
			made, done := d.posted(job(50_000, mode))
			open, err := rover.Available(d.ctx)
			d.must(err)
			if len(open) != 1 || open[0].TaskID != made.Task.TaskID {
				t.Fatalf("%+v", open)
			}
			_, err = rover.Claim(d.ctx, made.Task.TaskID)
			d.must(err)
			d.outcome(done, "SUCCEEDED")
			_, err = rover.Prove(d.ctx, made.Task.TaskID, map[string]string{"photo": "a picture"})
			d.refused(err, http.StatusUnprocessableEntity, "proof_schema_mismatch")
			_, err = rover.Prove(d.ctx, made.Task.TaskID, map[string]string{"photo": "sha256:0badcafe"})
			d.must(err)
			settled, err := d.portal.Settle(d.ctx, made.Task.TaskID)
			d.must(err)
			if settled.RewardSats != 45_000 || settled.CoordinatorFeeSats != 5_000 {
				t.Fatalf("%+v", settled)
			}
			r.owed = 45_000

			swept, err := d.operator.Sweep(d.ctx, "of-today")
			d.must(err)
			again, err := d.operator.Sweep(d.ctx, "of-today")
			d.must(err)
			if swept.Sweep == nil || again.Sweep == nil || swept.Sweep.Txid != again.Sweep.Txid {
				t.Fatalf("%+v and %+v", swept, again)
			}
			for depth := int64(1); depth <= 6; depth++ {
				d.mine(1)
				all, err := d.operator.Sweeps(d.ctx, "")
				d.must(err)
				s, want := all.Sweeps[0], market.SweepConfirmed
				if depth == 6 {
					want = market.SweepFinal
				}
				if s.State != want || s.Confirmations != depth || s.Txid != swept.Sweep.Txid {
					t.Fatalf("%d blocks deep: %+v", depth, s)
				}
			}
			d.agree(rover, r, before, settled)
			d.square()
		})
	}
}

// agree compares what the robot is told with the pots of the treasury.
func (d door) agree(rover *client.Robot, r *robot, before wire.Treasury, settled market.Task) {
	d.Helper()
	e, err := rover.Earnings(d.ctx)
	d.must(err)
	if e.TotalSwept != r.owed || e.TotalAccrued != 0 || len(e.Earnings) != 1 || e.Earnings[0].Status != market.Swept || e.Earnings[0].SweepTxID != d.newest().Txid {
		d.Fatalf("%+v", e)
	}
	d.until("the Lightning pot", func() bool {
		after, err := d.operator.Treasury(d.ctx)
		d.must(err)
		return after.Lightning.LocalSats == before.Lightning.LocalSats+settled.EscrowSats
	})
	after, err := d.operator.Treasury(d.ctx)
	d.must(err)
	chain := func(t wire.Treasury) int64 {
		return t.Chain.ConfirmedSats + t.Chain.UnconfirmedSats + t.Chain.LockedSats
	}
	d.equal("what left the on-chain pot", chain(before)-chain(after), settled.RewardSats+d.newest().FeesSats)
	d.equal("what is left of the fees", after.Ledger[string(market.ClassFees)], settled.CoordinatorFeeSats-d.newest().FeesSats)
}

func TestADisputeIsSplit(t *testing.T) {
	d := openDoor(t)
	r, rover := d.enter("bech32")
	made, done := d.posted(job(40_000, market.ModeHold))
	_, err := rover.Claim(d.ctx, made.Task.TaskID)
	d.must(err)
	d.outcome(done, "SUCCEEDED")
	_, err = rover.Prove(d.ctx, made.Task.TaskID, map[string]string{"photo": "sha256:0badcafe"})
	d.must(err)
	_, err = d.portal.Dispute(d.ctx, made.Task.TaskID, "the picture shows another bridge")
	d.must(err)
	_, err = d.portal.Settle(d.ctx, made.Task.TaskID)
	d.refused(err, http.StatusConflict, "task_not_proof_submitted")
	resolved, err := d.operator.Resolve(d.ctx, made.Task.TaskID, wire.ResolveBody{Outcome: "split", RobotSats: 15_000, Note: "half a bridge"})
	d.must(err)
	d.equal("the task", resolved.Status, market.Settled)
	r.owed = 15_000
	account, err := d.portal.Account(d.ctx)
	d.must(err)
	d.equal("the client's account", account.BalanceSats, int64(40_000-4_000-15_000))
	invoice, err := d.stack.Bob.Invoice(d.ctx, account.BalanceSats)
	d.must(err)
	w, err := d.portal.Withdraw(d.ctx, wire.WithdrawBody{Bolt11: invoice}, "")
	d.must(err)
	d.equal("the withdrawal", w.State, market.WithdrawalPaid)
	_, err = d.operator.Sweep(d.ctx, "")
	d.must(err)
	d.mine(7)
	d.square()
}

func TestOfAHundredConcurrentClaimsOneWins(t *testing.T) {
	d := openDoor(t)
	const claimers = 100
	rovers := make([]*client.Robot, claimers)
	for i := range rovers {
		_, rovers[i] = d.enter("bech32")
	}
	made, done := d.posted(job(30_000, market.ModeHold))
	var all sync.WaitGroup
	start := make(chan struct{})
	results := make([]error, claimers)
	for i, rover := range rovers {
		all.Go(func() {
			<-start
			_, results[i] = rover.Claim(d.ctx, made.Task.TaskID)
		})
	}
	close(start)
	all.Wait()
	winner := -1
	for i, err := range results {
		switch {
		case err == nil && winner < 0:
			winner = i
		case err == nil:
			t.Fatalf("robots %d and %d both won", winner, i)
		default:
			d.refused(err, http.StatusConflict, "task_not_claimable")
		}
	}
	if winner < 0 {
		t.Fatal("nobody won")
	}
	d.outcome(done, "SUCCEEDED")
	_, err := rovers[winner].Prove(d.ctx, made.Task.TaskID, map[string]string{"photo": "sha256:0badcafe"})
	d.must(err)
	_, err = d.portal.Settle(d.ctx, made.Task.TaskID)
	d.must(err)
	d.robots[winner].owed = 27_000
	_, err = d.operator.Sweep(d.ctx, "")
	d.must(err)
	d.mine(7)
	d.square()
}

func TestAnInvoiceThatCannotBeReceivedIsRefused(t *testing.T) {
	d := openDoor(t)
	_, err := d.portal.Create(d.ctx, job(90_000_000, market.ModeSettled), "")
	d.refused(err, http.StatusServiceUnavailable, "inbound_capacity_insufficient")
	d.square()
}

func TestATaskThatNobodyClaimsGoesBackToItsPayer(t *testing.T) {
	d := openDoor(t)
	made, done := d.posted(job(20_000, market.ModeHold))
	d.clock.pass(8 * 24 * time.Hour)
	d.must(d.desk.Due(d.ctx))
	d.outcome(done, "FAILED") // it never left the payer's node
	task, err := d.portal.Task(d.ctx, made.Task.TaskID)
	d.must(err)
	d.equal("the task", task.Status, market.Refunded)
	account, err := d.portal.Account(d.ctx)
	d.must(err)
	d.equal("the client's account", account.BalanceSats, int64(0))
	d.square()
}

func TestAnExpiredTaskIsRefundedOverLightningAndHTTP(t *testing.T) {
	d := openDoor(t)
	_, rover := d.enter("bech32")
	made, done := d.posted(job(16_000, market.ModeSettled))
	_, err := rover.Claim(d.ctx, made.Task.TaskID)
	d.must(err)
	d.outcome(done, "SUCCEEDED")
	d.clock.pass(time.Hour + time.Second)
	d.must(d.desk.Due(d.ctx))
	task, err := d.portal.Task(d.ctx, made.Task.TaskID)
	d.must(err)
	d.equal("the task", task.Status, market.Refunded)
	invoice, err := d.stack.Bob.Invoice(d.ctx, 16_000)
	d.must(err)
	for range 2 { // the second time is answered as the first, and pays nothing
		w, err := d.portal.Withdraw(d.ctx, wire.WithdrawBody{Bolt11: invoice}, "refund")
		d.must(err)
		d.equal("the withdrawal", w.State, market.WithdrawalPaid)
	}
	account, err := d.portal.Account(d.ctx)
	d.must(err)
	d.equal("the client's account", account.BalanceSats, int64(0))
	d.square()
}
