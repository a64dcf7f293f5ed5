package market_test

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"robotorq.org/reserve/market"
	"robotorq.org/reserve/market/address"
	"robotorq.org/reserve/market/coordinator"
	"robotorq.org/reserve/market/lightning"
	"robotorq.org/reserve/market/rails"
	"robotorq.org/reserve/market/wire"
)

// errLost is an answer that was given and never arrived.
var errLost = errors.New("the answer was lost")

// losing drops the answers to the first n calls of a method.
func losing(method string, n int) func(string, *http.Response) (*http.Response, error) {
	return func(asked string, answer *http.Response) (*http.Response, error) {
		if asked != method || n == 0 {
			return answer, nil
		}
		n--
		answer.Body.Close()
		return nil, errLost
	}
}

// spoiled is a floor whose way to bitcoind can be disturbed.
func spoiled(t *testing.T) (*floor, *lossy) {
	t.Helper()
	f, way := open(t), &lossy{}
	f.chain = &http.Client{Transport: way}
	f.restart()
	return f, way
}

func TestALostAnswerToTheBroadcastPaysOnce(t *testing.T) {
	for lost := 1; lost <= 3; lost++ {
		f, way := spoiled(t)
		r := f.robot("bech32")
		f.earns(r, 25_000)
		way.set(losing("sendrawtransaction", lost))
		f.sweep()
		f.state(market.SweepBroadcast)
		for range lost {
			f.must(f.desk.Scheduled(f.ctx))
		}
		f.state(market.SweepSeen)
		f.mine(7)
		f.state(market.SweepFinal)
		f.square()
	}
}

func TestALostAnswerWhileBuildingPaysOnce(t *testing.T) {
	for _, method := range []string{"walletcreatefundedpsbt", "lockunspent", "walletprocesspsbt", "testmempoolaccept", "decodepsbt"} {
		t.Run(method, func(t *testing.T) {
			f, way := spoiled(t)
			r := f.robot("p2sh-segwit")
			f.earns(r, 25_000)
			way.set(losing(method, 1))
			f.sweep()
			f.restart() // what stayed locked is found at the next start
			f.sweep()
			f.mine(1)
			f.restart()
			f.sweep()
			f.mine(7)
			f.state(market.SweepFinal)
			f.square()
		})
	}
}

func TestASettlementDuringASweepGoesIntoTheNext(t *testing.T) {
	for _, point := range []string{coordinator.SweepBound, coordinator.SweepBuilt, coordinator.SweepRecorded, coordinator.SweepBroadcast} {
		t.Run(point, func(t *testing.T) {
			f := open(t)
			r := f.robot("bech32m")
			f.earns(r, 20_000)
			c := f.funded("client", 15_000)
			f.claim(r, c.Task.TaskID)
			f.prove(r, c.Task.TaskID)
			var once sync.Once
			f.at = func(at string) error {
				if at == point {
					once.Do(func() { f.settle(r, c) })
				}
				return nil
			}
			first := f.sweep()
			if first.Sweep == nil || first.Sweep.TotalSats != 18_000 {
				t.Fatalf("the first sweep: %+v", first)
			}
			f.mine(1)
			second := f.sweep()
			if second.Sweep == nil || second.Sweep.TotalSats != 13_500 {
				t.Fatalf("the second sweep: %+v", second)
			}
			f.mine(7)
			f.state(market.SweepFinal)
			f.square()
		})
	}
}

func TestAReorganisationTakesAConfirmationBack(t *testing.T) {
	for blocks := 1; blocks <= 2; blocks++ {
		f := open(t)
		r := f.robot("bech32")
		f.earns(r, 12_000)
		f.sweep()
		f.mine(blocks)
		f.equal("the depth", f.state(market.SweepConfirmed).Confirmations, int64(blocks))
		f.must(f.stack.Bitcoind.Reorganise(f.ctx, blocks))
		f.must(f.desk.Scheduled(f.ctx))
		s := f.state(market.SweepSeen)
		if s.Confirmations != 0 || s.Block != "" || s.ConfirmedAtMs != 0 {
			t.Errorf("after the reorganisation: %+v", s)
		}
		f.mine(5)
		f.state(market.SweepConfirmed)
		f.mine(1)
		f.state(market.SweepFinal)
		f.square()
	}
}

func TestEitherOfAPayoutAndItsReplacementWins(t *testing.T) {
	for _, original := range []bool{false, true} {
		t.Run(fmt.Sprintf("original %v", original), func(t *testing.T) {
			f := open(t)
			r := f.robot("bech32m")
			f.earns(r, 60_000)
			f.sweep()
			first := f.state(market.SweepSeen)
			raw := f.raw(first.Txid)
			bumped, err := f.desk.Bump(f.ctx, first.SweepID, 4_000)
			f.must(err)
			f.equal("the number of candidates", len(bumped.Candidates), 2)
			f.state(market.SweepSeen)
			winner := bumped.Txid
			if original { // a miner never heard of the replacement
				winner = first.Txid
				var to string
				f.must(f.stack.Bitcoind.Call(f.ctx, "miner", &to, "getnewaddress"))
				f.must(f.stack.Bitcoind.Call(f.ctx, "", nil, "generateblock", to, []string{raw}))
			}
			f.mine(7)
			s := f.state(market.SweepFinal)
			f.equal("the winner", s.Txid, winner)
			won, _ := s.Candidate(winner)
			f.equal("the fee", s.FeesSats, won.FeeSats)
			f.square()
		})
	}
}

func (f *floor) raw(txid string) (text string) {
	f.Helper()
	f.must(f.stack.Bitcoind.Call(f.ctx, "", &text, "getrawtransaction", txid))
	return text
}

func TestAFeeSpikeDefersThePayoutsAndSaysWhy(t *testing.T) {
	f, way := spoiled(t)
	r := f.robot("bech32")
	f.earns(r, 30_000)
	for _, perKvB := range []string{"0.00150000", "0.00050000"} { // above ROBOT_MAX_FEE_SAT_VB; above the cap of the fees
		way.set(func(asked string, answer *http.Response) (*http.Response, error) {
			if asked != "estimatesmartfee" {
				return answer, nil
			}
			return says(answer, func(reply map[string]any) {
				reply["result"] = map[string]any{"feerate": json.Number(perKvB), "blocks": 2}
			})
		})
		report := f.sweep()
		if report.Sweep != nil || report.Deferred == "" {
			t.Fatalf("%s: %+v", perKvB, report)
		}
		t.Log(report.Deferred)
		treasury, err := f.desk.Treasury(f.ctx)
		f.must(err)
		if len(treasury.Deferred) == 0 {
			t.Error("the treasury does not say why")
		}
		f.mine(1)
		e, err := f.desk.Earnings(f.ctx, r.id, 10)
		f.must(err)
		f.equal("what waits", e.TotalAccrued, r.owed)
	}
	way.set(nil)
	f.sweep()
	f.mine(7)
	f.square()
}

func TestABadPayeeIsSetAsideAndTheOthersArePaid(t *testing.T) {
	f := open(t)
	f.policy.MinSweepSats = 1
	f.restart()
	good, bad := f.robot("bech32"), f.robot("legacy")
	f.earns(good, 30_000)
	f.earns(bad, 500) // 450 sats are dust to a P2PKH address
	report := f.sweep()
	if report.Sweep == nil || len(report.SetAside) != 1 || report.SetAside[0].AgentID != bad.id {
		t.Fatalf("%+v", report)
	}
	t.Log(report.SetAside[0].Reason)
	f.mine(7)
	f.state(market.SweepFinal)
	e, err := f.desk.Earnings(f.ctx, bad.id, 10)
	f.must(err)
	f.equal("what waits", e.TotalAccrued, int64(450))
	f.earns(bad, 20_000) // with more it is no dust
	f.sweep()
	f.mine(7)
	f.square()
}

func TestWhatTheOnChainPotCannotPayIsDeferredWhole(t *testing.T) {
	f := open(t)
	r := f.robot("bech32")
	f.earns(r, 45_000)
	f.must(f.desk.Scheduled(f.ctx)) // a new coordinator frees what no sweep of its books has locked
	locked := f.lockAll()
	report := f.sweep()
	if report.Sweep != nil || !strings.Contains(report.Deferred, "nsufficient") {
		t.Fatalf("%+v", report)
	}
	t.Log(report.Deferred)
	f.must(f.rails.Unlock(f.ctx, locked))
	f.sweep()
	f.mine(7)
	f.square()
}

// lockAll puts every coin of the payout wallet out of reach.
func (f *floor) lockAll() (all []rails.Outpoint) {
	f.Helper()
	var coins []struct {
		Txid string `json:"txid"`
		Vout uint32 `json:"vout"`
	}
	f.must(f.stack.Bitcoind.Call(f.ctx, "payout", &coins, "listunspent", 0))
	for _, c := range coins {
		all = append(all, rails.Outpoint{Txid: c.Txid, Vout: c.Vout})
	}
	f.must(f.stack.Bitcoind.Call(f.ctx, "payout", nil, "lockunspent", false, coins))
	return all
}

// An operator spends the coins of a payout that bitcoind has not got yet with
// another program: only when that is final are the earnings free again.
func TestEarningsAreFreeAgainOnlyWhenAForeignSpenderIsFinal(t *testing.T) {
	f, way := spoiled(t)
	r := f.robot("bech32m")
	f.earns(r, 33_000)
	way.set(func(asked string, answer *http.Response) (*http.Response, error) {
		if asked != "sendrawtransaction" {
			return answer, nil
		}
		return says(answer, func(reply map[string]any) {
			reply["error"] = map[string]any{"code": -26, "message": "min relay fee not met"}
		})
	})
	// The transaction reaches nobody: its broadcast is refused on the way.
	f.chain.Transport = refusing{way}
	f.sweep()
	s := f.state(market.SweepBroadcast)
	f.foreign(s.Candidates[0].Inputs)
	f.chain.Transport = way
	way.set(nil)
	f.must(f.desk.Scheduled(f.ctx))
	f.state(market.SweepBroadcast)
	for range 5 {
		f.mine(1)
		f.state(market.SweepBroadcast)
		again := f.sweep()
		if again.Sweep != nil {
			t.Fatalf("bound earnings were paid again: %+v", again.Sweep)
		}
	}
	f.mine(1)
	f.state(market.SweepLost)
	f.sweep()
	f.mine(7)
	f.state(market.SweepFinal)
	f.square()
}

// refusing answers broadcasts itself and sends none on.
type refusing struct{ next http.RoundTripper }

func (r refusing) RoundTrip(q *http.Request) (*http.Response, error) {
	body, err := q.GetBody()
	if err != nil {
		return nil, err
	}
	var asked struct {
		ID     int64
		Method string
	}
	if err := json.NewDecoder(body).Decode(&asked); err != nil {
		return nil, err
	}
	if asked.Method != "sendrawtransaction" {
		return r.next.RoundTrip(q)
	}
	text := fmt.Sprintf(`{"id":%d,"error":{"code":-26,"message":"min relay fee not met"}}`, asked.ID)
	return &http.Response{StatusCode: 500, Status: "500", Header: http.Header{}, Body: readCloser{strings.NewReader(text)}, Request: q}, nil
}

// foreign spends the first of the inputs to the miner by raw calls.
func (f *floor) foreign(inputs []rails.Outpoint) {
	f.Helper()
	at := inputs[0]
	var coin struct{ Value json.Number }
	f.must(f.stack.Bitcoind.Call(f.ctx, "", &coin, "gettxout", at.Txid, at.Vout))
	var to, raw string
	f.must(f.stack.Bitcoind.Call(f.ctx, "miner", &to, "getnewaddress"))
	f.must(f.stack.Bitcoind.Call(f.ctx, "payout", &raw, "createrawtransaction",
		[]map[string]any{{"txid": at.Txid, "vout": at.Vout}}, map[string]string{to: "0.01000000"}))
	var funded struct{ Hex string }
	f.must(f.stack.Bitcoind.Call(f.ctx, "payout", &funded, "fundrawtransaction", raw, map[string]any{"add_inputs": false, "fee_rate": 5}))
	var signed struct{ Hex string }
	f.must(f.stack.Bitcoind.Call(f.ctx, "payout", &signed, "signrawtransactionwithwallet", funded.Hex))
	f.must(f.stack.Bitcoind.Call(f.ctx, "", nil, "sendrawtransaction", signed.Hex))
}

func TestPayeesMayBearTheMinersFee(t *testing.T) {
	f := open(t)
	f.policy.PayeesPay = true
	f.restart()
	owed := map[*robot]int64{}
	for i, kind := range []string{"legacy", "p2sh-segwit", "bech32", "bech32m"} {
		r := f.robot(kind)
		f.earns(r, 20_000+int64(i)*1_000)
		owed[r] = r.owed
	}
	f.sweep()
	f.mine(7)
	s := f.state(market.SweepFinal)
	lost := int64(0)
	for r, sats := range owed {
		got, err := f.stack.Bitcoind.Received(f.ctx, r.address)
		f.must(err)
		share := sats - got
		if share < s.FeesSats/4 || share > s.FeesSats/4+4 {
			t.Errorf("%s bears %d of %d sats", r.id, share, s.FeesSats)
		}
		lost += share
	}
	f.equal("what the payees bear", lost, s.FeesSats)
	f.must(f.desk.Audit(f.ctx))
}

func TestEarningsBelowTheThresholdWaitForMore(t *testing.T) {
	f := open(t)
	f.policy.MinSweepSats = 19_600
	f.restart()
	r := f.robot("bech32")
	f.earns(r, 21_777) // 19,600 with the fee of 2,177 off: the threshold is inclusive
	f.equal("what is owed", r.owed, int64(19_600))
	other := f.robot("bech32m")
	f.earns(other, 21_776)
	report := f.sweep()
	if report.Sweep == nil || len(report.Sweep.Payouts) != 1 || len(report.Below) != 1 || report.Below[0].AgentID != other.id {
		t.Fatalf("%+v", report)
	}
	f.mine(1)
	f.earns(other, 5_000)
	f.sweep()
	f.mine(7)
	f.square()
}

func TestBitcoindStoppedAndBack(t *testing.T) {
	f := open(t)
	r := f.robot("bech32")
	f.earns(r, 22_000)
	f.stack.Bitcoind.Stop()
	report, err := f.desk.Sweep(f.ctx)
	if err == nil && report.Sweep != nil {
		t.Fatalf("%+v", report)
	}
	f.must(f.stack.Bitcoind.Start(f.ctx))
	f.sweep()
	f.stack.Bitcoind.Stop()
	_ = f.desk.Scheduled(f.ctx) // it may say that the node is away; what counts is what comes after
	f.must(f.stack.Bitcoind.Start(f.ctx))
	f.mine(7)
	f.state(market.SweepFinal)
	f.square()
}

// The node comes back with an empty memory pool and a wallet that sends nothing by
// itself: the coordinator gives it the stored bytes again, and builds nothing anew.
func TestAMemoryPoolThatForgotThePayoutGetsTheSameBytesAgain(t *testing.T) {
	f := open(t)
	r := f.robot("bech32m")
	f.earns(r, 24_000)
	f.sweep()
	before := f.state(market.SweepSeen)
	f.stack.Bitcoind.Stop()
	f.must(f.stack.Bitcoind.Start(f.ctx, "-persistmempool=0", "-walletbroadcast=0"))
	var pool []string
	f.must(f.stack.Bitcoind.Call(f.ctx, "", &pool, "getrawmempool"))
	f.equal("the number of transactions in the pool", len(pool), 0)
	f.must(f.desk.Scheduled(f.ctx))
	after := f.state(market.SweepSeen)
	if after.Txid != before.Txid || len(after.Candidates) != 1 {
		t.Fatalf("%+v after %+v", after, before)
	}
	f.must(f.stack.Bitcoind.Call(f.ctx, "", &pool, "getrawmempool"))
	if len(pool) != 1 || pool[0] != before.Txid {
		t.Fatalf("the pool holds %v", pool)
	}
	f.stack.Bitcoind.Stop()
	f.must(f.stack.Bitcoind.Start(f.ctx))
	f.mine(7)
	f.state(market.SweepFinal)
	f.square()
}

func TestAPaymentWhileTheCoordinatorIsAwayFundsTheTask(t *testing.T) {
	f := open(t)
	r := f.robot("bech32m")
	c := f.task("client", 18_000, market.ModeSettled)
	f.stop()
	f.pay(c, "SUCCEEDED")
	f.start()
	f.equal("the task", f.status(c.Task.TaskID), market.PendingFunding)
	f.must(f.desk.Funding(f.ctx))
	f.must(f.desk.Funding(f.ctx))
	f.equal("the task", f.status(c.Task.TaskID), market.Funded)
	f.claim(r, c.Task.TaskID)
	f.prove(r, c.Task.TaskID)
	f.clock.pass(24*time.Hour + time.Millisecond)
	f.must(f.desk.Due(f.ctx)) // the client says nothing: it is settled
	f.equal("the task", f.status(c.Task.TaskID), market.Settled)
	r.owed += 16_200
	f.sweep()
	f.mine(7)
	f.square()
}

func TestAPaymentThatMeetsTheCancellationIsRefundedOnce(t *testing.T) {
	f := open(t)
	c := f.task("client", 7_000, market.ModeSettled)
	f.stop()
	f.pay(c, "SUCCEEDED") // nobody has told the coordinator
	f.start()
	_, err := f.desk.Cancel(f.ctx, c.Task.TaskID, "client")
	f.must(err)
	f.equal("the task", f.status(c.Task.TaskID), market.Refunded)
	for range 3 {
		f.must(f.desk.Funding(f.ctx))
		f.must(f.desk.Due(f.ctx))
		_, err := f.desk.Cancel(f.ctx, c.Task.TaskID, "client")
		f.must(err)
	}
	a, err := f.desk.Account(f.ctx, "client")
	f.must(err)
	f.equal("the account", a.BalanceSats, int64(7_000))
	f.square()
}

// The subscription and any number of scans see the same payment; it counts once.
func TestAPaymentThatManySeeCountsOnce(t *testing.T) {
	f := open(t)
	for _, cancelled := range []bool{false, true} {
		client := fmt.Sprintf("client-%v", cancelled)
		c := f.task(client, 7_000, market.ModeSettled)
		stop := make(chan struct{})
		var scans sync.WaitGroup
		for range 4 {
			scans.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
						if err := f.desk.Funding(f.ctx); err != nil {
							t.Error(err)
							return
						}
					}
				}
			})
		}
		f.pay(c, "SUCCEEDED")
		f.becomes(c.Task.TaskID, market.Funded)
		want := int64(0)
		if cancelled {
			_, err := f.desk.Cancel(f.ctx, c.Task.TaskID, client)
			f.must(err)
			want = 7_000
		}
		time.Sleep(200 * time.Millisecond) // for what might still come
		close(stop)
		scans.Wait()
		a, err := f.desk.Account(f.ctx, client)
		f.must(err)
		f.equal("the account", a.BalanceSats, want)
		f.must(f.desk.Audit(f.ctx))
	}
	f.square()
}

func TestACancelledOrExpiredInvoiceCannotBePaid(t *testing.T) {
	f := open(t)
	cancelled, expired := f.task("client", 7_000, market.ModeSettled), f.task("client", 7_000, market.ModeHold)
	_, err := f.desk.Cancel(f.ctx, cancelled.Task.TaskID, "client")
	f.must(err)
	f.clock.pass(time.Hour + time.Second)
	f.must(f.desk.Due(f.ctx))
	for _, c := range []wire.Created{cancelled, expired} {
		f.equal("the task", f.status(c.Task.TaskID), market.Cancelled)
		f.pay(c, "FAILED")
	}
	f.must(f.desk.Funding(f.ctx))
	a, err := f.desk.Account(f.ctx, "client")
	f.must(err)
	f.equal("the account", a.BalanceSats, int64(0))
	f.square()
}

func TestAnExpiredTaskIsRefundedOverLightning(t *testing.T) {
	f := open(t)
	r := f.robot("bech32")
	c := f.funded("client", 16_000)
	f.claim(r, c.Task.TaskID)
	f.clock.pass(time.Hour + time.Second)
	f.must(f.desk.Due(f.ctx))
	f.equal("the task", f.status(c.Task.TaskID), market.Refunded)
	invoice, err := f.stack.Bob.Invoice(f.ctx, 16_000)
	f.must(err)
	for range 2 {
		w, err := f.desk.WithdrawLightning(f.ctx, "client", invoice)
		f.must(err)
		f.equal("the withdrawal", w.State, market.WithdrawalPaid)
	}
	a, err := f.desk.Account(f.ctx, "client")
	f.must(err)
	f.equal("the account", a.BalanceSats, int64(0))
	f.square()
}

// A client withdraws to a hold invoice of its own node and keeps it on its way for
// as long as it likes: that is its own business and nobody else's.
func TestAClientThatNeverTakesItsWithdrawalStopsNothing(t *testing.T) {
	f := open(t)
	bob, err := lightning.Dial(f.ctx, lightning.Options{URL: f.stack.Bob.URL(), TLSCert: f.stack.Bob.Certificate(), Macaroon: f.stack.Bob.Limited(), Network: address.Regtest})
	f.must(err)
	c := f.funded("client", 9_000)
	_, err = f.desk.Cancel(f.ctx, c.Task.TaskID, "client")
	f.must(err)
	want := rails.InvoiceRequest{Hold: true, AmountSats: 8_000, ExpirySeconds: 900, CLTVDelta: 144}
	rand.Read(want.Preimage[:])
	made, err := bob.CreateInvoice(f.ctx, want)
	f.must(err)
	f.at = func(point string) error {
		if point == coordinator.WithdrawMade {
			return errLost // it is debited, and nothing was sent
		}
		return nil
	}
	_, err = f.desk.WithdrawLightning(f.ctx, "client", made.Bolt11)
	if !errors.Is(err, errLost) {
		t.Fatal(err)
	}
	f.at = nil
	for range 3 {
		worked := make(chan error, 1)
		go func() { worked <- f.desk.Withdrawals(f.ctx) }()
		select {
		case err := <-worked:
			f.must(err)
		case <-time.After(time.Minute):
			t.Fatal("the jobs wait for the client")
		}
	}
	a, err := f.desk.Account(f.ctx, "client")
	f.must(err)
	f.equal("the withdrawal on its way", a.Withdrawals[0].State, market.WithdrawalSending)
	f.must(bob.SettleHold(f.ctx, want.Preimage))
	f.until("the payment", func() bool {
		f.must(f.desk.Withdrawals(f.ctx))
		a, err := f.desk.Account(f.ctx, "client")
		f.must(err)
		return a.Withdrawals[0].State == market.WithdrawalPaid
	})
	f.square()
}

func TestAWithdrawalOnChainGoesWithTheNextSweep(t *testing.T) {
	f := open(t)
	c := f.funded("client", 90_000)
	_, err := f.desk.Cancel(f.ctx, c.Task.TaskID, "client")
	f.must(err)
	var to string
	f.must(f.stack.Bitcoind.Call(f.ctx, "miner", &to, "getnewaddress", "", "bech32m"))
	w, err := f.desk.WithdrawChain(f.ctx, "client", to, 80_000, coordinator.Once{})
	f.must(err)
	f.sweep()
	f.mine(7)
	a, err := f.desk.Account(f.ctx, "client")
	f.must(err)
	if len(a.Withdrawals) != 1 || a.Withdrawals[0].State != market.WithdrawalPaid {
		t.Fatalf("%+v after %+v", a, w)
	}
	got, err := f.stack.Bitcoind.Received(f.ctx, to)
	f.must(err)
	f.equal("what arrived and its fee", got+a.Withdrawals[0].FeeSats, int64(80_000))
	f.square()
}

func TestLndKilledWhileAHoldIsAccepted(t *testing.T) {
	f := open(t)
	r := f.robot("bech32m")
	c := f.task("client", 21_000, market.ModeHold)
	done := f.begin(c)
	f.becomes(c.Task.TaskID, market.Funded)
	f.register(r)
	f.stack.Alice.Kill()
	if t2, err := f.desk.Claim(f.ctx, c.Task.TaskID, f.signed(r)); err == nil && t2.EscrowState == market.EscrowReceived {
		t.Fatal("the hold was taken in by a dead node")
	}
	_ = f.desk.Funding(f.ctx)
	_ = f.desk.Guardian(f.ctx)
	_ = f.desk.Due(f.ctx)
	f.must(f.stack.Alice.Start(f.ctx))
	f.must(f.stack.Alice.AwaitRoute(f.ctx, f.stack.Bob))
	f.must(f.desk.Funding(f.ctx))
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
}

// Two holds: one is guarded, the other is left to lnd, which cancels it itself
// some blocks later. Both payers have their sats back, and both tasks say so.
func TestTheGuardianFreesAHoldBeforeLndDoes(t *testing.T) {
	f := open(t)
	f.policy.HoldDeltaBlocks = 40
	f.restart()
	c := f.task("client", 11_000, market.ModeHold)
	done := f.begin(c)
	f.becomes(c.Task.TaskID, market.Funded)
	height := func() int64 {
		l, err := f.rails.Liquidity(f.ctx)
		f.must(err)
		return l.Height
	}
	hash := f.hash(c)
	held, err := f.rails.Invoice(f.ctx, hash)
	f.must(err)
	for height() < held.ExpiryHeight-24 {
		f.must(f.desk.Guardian(f.ctx))
		f.equal("the task", f.status(c.Task.TaskID), market.Funded)
		f.block(height)
	}
	still, err := f.rails.Invoice(f.ctx, hash)
	f.must(err)
	f.equal("the invoice before the guardian", still.State, rails.InvoiceHeld)
	f.must(f.desk.Guardian(f.ctx))
	f.outcome(done, "FAILED")
	f.equal("the task", f.status(c.Task.TaskID), market.Refunded)
	freed, err := f.rails.Invoice(f.ctx, hash)
	f.must(err)
	f.equal("the invoice after the guardian", freed.State, rails.InvoiceCancelled)
	a, err := f.desk.Account(f.ctx, "client")
	f.must(err)
	f.equal("the account", a.BalanceSats, int64(0)) // it never was ours
	f.square()
}

func TestAHoldThatLndCancelledItselfIsRefunded(t *testing.T) {
	f := open(t)
	f.policy.HoldDeltaBlocks = 40
	f.restart()
	c := f.task("client", 11_000, market.ModeHold)
	done := f.begin(c)
	f.becomes(c.Task.TaskID, market.Funded)
	height := func() int64 {
		l, err := f.rails.Liquidity(f.ctx)
		f.must(err)
		return l.Height
	}
	hash := f.hash(c)
	held, err := f.rails.Invoice(f.ctx, hash)
	f.must(err)
	gone := int64(0)
	for gone == 0 && height() < held.ExpiryHeight {
		f.block(height)
		now, err := f.rails.Invoice(f.ctx, hash)
		f.must(err)
		if now.State == rails.InvoiceCancelled {
			gone = height()
		}
	}
	f.outcome(done, "FAILED")
	t.Logf("lnd cancels %d blocks before the expiry", held.ExpiryHeight-gone)
	if held.ExpiryHeight-gone > 20 {
		t.Errorf("lnd cancels %d blocks before the expiry: the guardian comes too late", held.ExpiryHeight-gone)
	}
	f.must(f.desk.Funding(f.ctx))
	f.must(f.desk.Guardian(f.ctx))
	f.becomes(c.Task.TaskID, market.Refunded)
	f.square()
}

// block mines one and waits until the Lightning node has it.
func (f *floor) block(height func() int64) {
	f.Helper()
	before := height()
	f.must(f.stack.Bitcoind.Mine(f.ctx, 1))
	f.until("a block", func() bool { return height() > before })
}

func (f *floor) hash(c wire.Created) (h rails.Hash) {
	f.Helper()
	_, err := hex.Decode(h[:], []byte(c.Invoice.PaymentHash))
	f.must(err)
	return h
}
