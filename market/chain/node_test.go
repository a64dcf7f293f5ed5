package chain_test

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"robotorq.org/reserve/market/address"
	"robotorq.org/reserve/market/chain"
	"robotorq.org/reserve/market/rails"
	"robotorq.org/reserve/test/bitcoin"
)

// shared is the node that all tests of this package use, one after the other,
// each with a wallet of its own.
var shared struct {
	once    sync.Once
	node    *bitcoin.Bitcoind
	dir     string
	wallets int
	err     error
}

func TestMain(m *testing.M) {
	code := m.Run()
	if shared.node != nil {
		shared.node.Kill()
	}
	if err := os.RemoveAll(shared.dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func start(p bitcoin.Programs) {
	if shared.dir, shared.err = os.MkdirTemp("", "robotorq-bitcoin-"); shared.err == nil {
		shared.node, shared.err = bitcoin.StartBitcoind(context.Background(), p, shared.dir)
	}
}

// desk is a real node with a payout wallet that holds coins of 0.1 bitcoin.
type desk struct {
	*testing.T
	ctx    context.Context
	btc    *bitcoin.Bitcoind
	wallet string
	chain  *chain.Node
}

func sit(t *testing.T, coins int) desk {
	t.Helper()
	p := bitcoin.Wanted(t)
	shared.once.Do(func() { start(p) })
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	t.Cleanup(cancel)
	shared.wallets++
	d := desk{T: t, ctx: ctx, btc: shared.node, wallet: fmt.Sprintf("payout-%d", shared.wallets)}
	d.must(d.btc.CreateWallet(ctx, d.wallet))
	for range coins {
		d.pay(d.address(d.wallet, "bech32"), "0.1")
	}
	d.mine(1)
	d.dial()
	return d
}

func (d *desk) dial() {
	d.Helper()
	n, err := chain.Dial(d.ctx, chain.Options{URL: d.btc.Limited(d.wallet), Network: address.Regtest})
	d.must(err)
	d.chain = n
}

func (d desk) must(err error) {
	d.Helper()
	if err != nil {
		d.Fatal(err)
	}
}

func (d desk) mine(n int)                     { d.Helper(); d.must(d.btc.Mine(d.ctx, n)) }
func (d desk) pay(to, bitcoins string)        { d.Helper(); d.must(d.btc.Pay(d.ctx, to, bitcoins)) }
func (d desk) class(err error, c rails.Class) { d.Helper(); d.equal(rails.ClassOf(err), c, err) }
func (d desk) equal(got, want any, why ...any) {
	d.Helper()
	if got != want {
		d.Fatalf("got %v, want %v %v", got, want, why)
	}
}

func (d desk) address(wallet, kind string) (text string) {
	d.Helper()
	d.must(d.btc.Call(d.ctx, wallet, &text, "getnewaddress", "", kind))
	return text
}

func (d desk) built(q rails.BuildRequest) rails.Built {
	d.Helper()
	b, err := d.chain.Build(d.ctx, q)
	d.must(err)
	return b
}

func (d desk) broadcast(raw []byte, want rails.BroadcastState) {
	d.Helper()
	got, err := d.chain.Broadcast(d.ctx, raw)
	d.must(err)
	d.equal(got.State, want, got.Reason)
}

func (d desk) received(to string, want int64) {
	d.Helper()
	got, err := d.btc.Received(d.ctx, to)
	d.must(err)
	d.equal(got, want, to)
}

// payees are addresses of all five kinds, of the miner's wallet; P2WSH is a script of nobody's.
func (d desk) payees() []string {
	d.Helper()
	var script [32]byte
	rand.Read(script[:])
	all := []string{bech32(d.T, script[:])}
	for _, kind := range []string{"legacy", "p2sh-segwit", "bech32", "bech32m"} {
		all = append(all, d.address("miner", kind))
	}
	return all
}

func (d desk) request(rate rails.FeeRate) rails.BuildRequest {
	d.Helper()
	q := rails.BuildRequest{Rate: rate, MaxFeeSats: 1_000_000}
	for i, to := range d.payees() {
		q.Outputs = append(q.Outputs, rails.Output{Address: to, Sats: 10_001 + int64(i)*1_000})
	}
	return q
}

func TestAPayoutIsKnownBeforeAnybodySeesItAndPaysToTheSat(t *testing.T) {
	d := sit(t, 2)
	q := d.request(3_000)
	b := d.built(q)
	if !slices.Equal(b.Outputs, q.Outputs) {
		t.Fatalf("%v", b.Outputs)
	}
	if rate := b.FeeSats * 1_000 / b.VSize; rate < 2_990 || rate > 3_100 {
		t.Errorf("%d sats for %d vB", b.FeeSats, b.VSize)
	}
	var pool []string
	d.must(d.btc.Call(d.ctx, "", &pool, "getrawmempool"))
	d.equal(len(pool), 0)
	_, err := d.chain.Transaction(d.ctx, b.Txid)
	d.class(err, rails.NotFound)

	d.broadcast(b.Raw, rails.InMempool)
	d.broadcast(b.Raw, rails.InMempool)
	seen, err := d.chain.Transaction(d.ctx, b.Txid)
	d.must(err)
	if !seen.InMempool || seen.Confirmations != 0 || seen.FeeSats != b.FeeSats || seen.Block != (rails.Block{}) {
		t.Errorf("%+v", seen)
	}
	d.mine(1)
	d.broadcast(b.Raw, rails.InBlock)
	seen, err = d.chain.Transaction(d.ctx, b.Txid)
	d.must(err)
	tip, err := d.chain.Tip(d.ctx)
	d.must(err)
	if seen.InMempool || seen.Confirmations != 1 || seen.Block != tip {
		t.Errorf("%+v at %+v", seen, tip)
	}
	for _, o := range q.Outputs {
		d.received(o.Address, o.Sats)
	}
}

func TestInputsStayLockedOverARestartAndAreNeverUsedTwice(t *testing.T) {
	d := sit(t, 2)
	one := rails.BuildRequest{Outputs: []rails.Output{{Address: d.address("miner", "bech32"), Sats: 1_000_000}}, Rate: 1_000, MaxFeeSats: 10_000}
	first, second := d.built(one), d.built(one)
	if len(first.Inputs) != 1 || len(second.Inputs) != 1 || first.Inputs[0] == second.Inputs[0] {
		t.Fatalf("%v and %v", first.Inputs, second.Inputs)
	}
	_, err := d.chain.Build(d.ctx, one)
	d.class(err, rails.Insufficient)
	d.btc.Stop()
	_, err = d.chain.Tip(d.ctx)
	d.class(err, rails.Unavailable)
	d.must(d.btc.Start(d.ctx))
	locked, err := d.chain.Locked(d.ctx)
	d.must(err)
	d.equal(len(locked), 2)
	_, err = d.chain.Build(d.ctx, one)
	d.class(err, rails.Insufficient)
	balance, err := d.chain.Balance(d.ctx)
	d.must(err)
	d.equal(balance, rails.ChainBalance{LockedSats: 20_000_000})

	d.must(d.chain.Unlock(d.ctx, append(first.Inputs, rails.Outpoint{Txid: second.Txid, Vout: 7})))
	d.must(d.chain.Unlock(d.ctx, first.Inputs))
	third := d.built(one)
	d.equal(third.Inputs[0], first.Inputs[0])
	d.broadcast(third.Raw, rails.InMempool)
	d.broadcast(first.Raw, rails.Replaced) // equal fee: it cannot replace, and must not
	balance, err = d.chain.Balance(d.ctx)
	d.must(err)
	d.equal(balance.ConfirmedSats, int64(0))
	d.equal(balance.LockedSats, int64(10_000_000))
	d.equal(balance.UnconfirmedSats, 10_000_000-1_000_000-third.FeeSats)
	_, err = d.chain.Build(d.ctx, one)
	d.class(err, rails.Insufficient) // the change of an unconfirmed payout is not used
}

func TestNothingIsLockedAfterARefusal(t *testing.T) {
	d := sit(t, 1)
	p2tr, p2pkh := d.address("miner", "bech32m"), d.address("miner", "legacy")
	good := rails.Output{Address: p2pkh, Sats: 20_000}
	ask := func(outputs ...rails.Output) rails.BuildRequest {
		return rails.BuildRequest{Outputs: outputs, Rate: 2_000, MaxFeeSats: 10_000}
	}
	var tooMany, tooLarge []rails.Output
	for i := range 2_501 {
		a := script(t, i)
		tooMany = append(tooMany, rails.Output{Address: a, Sats: 330})
	}
	tooLarge = tooMany[:2_400]
	cheap := ask(good)
	cheap.MaxFeeSats = 10
	shared := ask(good, rails.Output{Address: p2tr, Sats: 331})
	shared.PayeesPay, shared.Rate = true, 20_000
	large := ask(tooLarge...)
	large.MaxFeeSats = 1_000_000
	for name, row := range map[string]struct {
		q      rails.BuildRequest
		class  rails.Class
		output int
	}{
		"dust":                  {ask(good, rails.Output{Address: p2tr, Sats: 329}), rails.Refused, 2},
		"nothing":               {ask(rails.Output{Address: p2tr, Sats: 0}), rails.Refused, 1},
		"another network":       {ask(good, rails.Output{Address: "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4", Sats: 1_000}), rails.Refused, 2},
		"no address":            {ask(rails.Output{Address: "robot", Sats: 1_000}), rails.Refused, 1},
		"one address twice":     {ask(good, good), rails.Refused, 2},
		"no outputs":            {ask(), rails.Refused, 0},
		"too many outputs":      {ask(tooMany...), rails.Refused, 0},
		"too large to relay":    {large, rails.Refused, 0},
		"a fee above the limit": {cheap, rails.Refused, 0},
		"a share under the fee": {shared, rails.Refused, 2},
		"more than is there":    {ask(rails.Output{Address: p2pkh, Sats: 10_000_000}), rails.Insufficient, 0},
		"more than all coins":   {ask(rails.Output{Address: p2pkh, Sats: 1 << 62}), rails.Refused, 1},
	} {
		_, err := d.chain.Build(d.ctx, row.q)
		var e *rails.Error
		if !errors.As(err, &e) || e.Class != row.class || e.Output != row.output {
			t.Errorf("%s: %v", name, err)
		}
		if locked, err := d.chain.Locked(d.ctx); err != nil || len(locked) != 0 {
			t.Errorf("%s: %v stays locked, %v", name, locked, err)
		}
	}
	d.built(ask(good))
}

// script is a distinct P2WSH address: large outputs that nobody owns.
func script(t *testing.T, i int) string {
	t.Helper()
	var program [32]byte
	copy(program[:], fmt.Sprintf("%d", i))
	return bech32(t, program[:])
}

func TestPayeesMayBearTheFee(t *testing.T) {
	d := sit(t, 1)
	q := d.request(7_000)
	q.PayeesPay = true
	b := d.built(q)
	left := int64(0)
	for i, o := range b.Outputs {
		d.equal(o.Address, q.Outputs[i].Address)
		less := q.Outputs[i].Sats - o.Sats
		if less < b.FeeSats/5 || less > b.FeeSats/5+5 {
			t.Errorf("output %d bears %d of %d sats", i, less, b.FeeSats)
		}
		left += less
	}
	d.equal(left, b.FeeSats)
	d.broadcast(b.Raw, rails.InMempool)
	d.mine(1)
	for _, o := range b.Outputs {
		d.received(o.Address, o.Sats)
	}
}

func TestOnlyOneOfAPayoutAndItsReplacementWins(t *testing.T) {
	d := sit(t, 1)
	q := d.request(2_000)
	b := d.built(q)
	_, err := d.chain.Bump(d.ctx, b.Txid, 5_000, 100_000)
	d.class(err, rails.NotFound) // the wallet learns of it by the broadcast
	d.broadcast(b.Raw, rails.InMempool)
	_, err = d.chain.Bump(d.ctx, b.Txid, 5_000, b.FeeSats)
	d.class(err, rails.Refused)
	_, err = d.chain.Bump(d.ctx, b.Txid, 1_000, 100_000)
	d.class(err, rails.Refused)

	c, err := d.chain.Bump(d.ctx, b.Txid, 15_000, 100_000)
	d.must(err)
	if !slices.Equal(c.Outputs, q.Outputs) || c.FeeSats <= b.FeeSats || !slices.Contains(c.Inputs, b.Inputs[0]) {
		t.Fatalf("%+v after %+v", c, b)
	}
	var pool []string
	d.must(d.btc.Call(d.ctx, "", &pool, "getrawmempool"))
	d.equal(slices.Equal(pool, []string{b.Txid}), true)
	d.broadcast(c.Raw, rails.InMempool)
	d.broadcast(b.Raw, rails.Replaced)
	again, err := d.chain.Bump(d.ctx, c.Txid, 25_000, 100_000)
	d.must(err)
	d.broadcast(again.Raw, rails.InMempool)
	d.mine(1)
	_, err = d.chain.Bump(d.ctx, c.Txid, 50_000, 100_000)
	d.class(err, rails.Refused)
	d.broadcast(b.Raw, rails.InputsMissing)
	d.broadcast(again.Raw, rails.InBlock)
	lost, err := d.chain.Transaction(d.ctx, b.Txid)
	d.must(err)
	if lost.Confirmations != -1 || lost.InMempool || !slices.Contains(lost.Conflicts, again.Txid) {
		t.Errorf("%+v", lost)
	}
	by, ok, err := d.chain.SpentBy(d.ctx, b.Inputs[0])
	d.must(err)
	d.equal(ok, true)
	d.equal(by.Txid, again.Txid)
	d.equal(by.Confirmations, int64(1))
	for _, o := range q.Outputs {
		d.received(o.Address, o.Sats)
	}
}

// With all its coins in the first transaction and its change gone to dust, the
// replacement needs another coin; it is locked until the bytes are out.
func TestAReplacementMayTakeMoreCoins(t *testing.T) {
	d := sit(t, 1)
	to := d.address("miner", "bech32")
	all := rails.BuildRequest{Outputs: []rails.Output{{Address: to, Sats: 10_000_000 - 400}}, Rate: 1_000, MaxFeeSats: 10_000}
	b := d.built(all)
	d.broadcast(b.Raw, rails.InMempool)
	_, err := d.chain.Bump(d.ctx, b.Txid, 30_000, 100_000)
	d.class(err, rails.Insufficient)
	d.pay(d.address(d.wallet, "bech32"), "0.1")
	d.must(d.btc.Call(d.ctx, "", nil, "generateblock", d.address("miner", "bech32"), d.poolBut(b.Txid)))
	c, err := d.chain.Bump(d.ctx, b.Txid, 30_000, 100_000)
	d.must(err)
	d.equal(len(c.Inputs), 2)
	locked, err := d.chain.Locked(d.ctx)
	d.must(err)
	d.equal(len(locked), 1)
	d.broadcast(c.Raw, rails.InMempool)
	d.mine(1)
	d.received(to, 10_000_000-400)
}

// poolBut is the memory pool without one transaction.
func (d desk) poolBut(txid string) []string {
	d.Helper()
	var pool []string
	d.must(d.btc.Call(d.ctx, "", &pool, "getrawmempool"))
	return slices.DeleteFunc(pool, func(s string) bool { return s == txid })
}

func TestReorganisationsAreTold(t *testing.T) {
	for blocks := 1; blocks <= 2; blocks++ {
		t.Run(fmt.Sprintf("of %d", blocks), func(t *testing.T) {
			d := sit(t, 1)
			b := d.built(d.request(2_000))
			d.broadcast(b.Raw, rails.InMempool)
			from, err := d.chain.Tip(d.ctx)
			d.must(err)
			d.mine(blocks)
			came, err := d.chain.Since(d.ctx, from.Hash)
			d.must(err)
			if change := only(t, came, b.Txid); change.Confirmations != int64(blocks) || change.Removed || change.Block.Height != from.Height+1 {
				t.Fatalf("%+v", change)
			}
			d.must(d.btc.Reorganise(d.ctx, blocks))
			went, err := d.chain.Since(d.ctx, came.Last.Hash)
			d.must(err)
			removed := false
			for _, c := range went.Transactions {
				removed = removed || c.Removed && c.Txid == b.Txid
			}
			d.equal(removed, true, went)
			seen, err := d.chain.Transaction(d.ctx, b.Txid)
			d.must(err)
			if !seen.InMempool || seen.Confirmations != 0 || seen.Block != (rails.Block{}) {
				t.Fatalf("%+v", seen)
			}
			d.broadcast(b.Raw, rails.InMempool)
			d.mine(1)
			back, err := d.chain.Since(d.ctx, went.Last.Hash)
			d.must(err)
			d.equal(only(t, back, b.Txid).Confirmations, int64(1))
		})
	}
}

func only(t *testing.T, all rails.Changes, txid string) rails.Change {
	t.Helper()
	var found []rails.Change
	for _, c := range all.Transactions {
		if c.Txid == txid {
			found = append(found, c)
		}
	}
	if len(found) != 1 {
		t.Fatalf("%d changes of %s: %+v", len(found), txid, all)
	}
	return found[0]
}

func TestAnUnknownBlockBeginsAtTheBeginning(t *testing.T) {
	d := sit(t, 1)
	tip, err := d.chain.Tip(d.ctx)
	d.must(err)
	for _, hash := range []string{"", "00", "not a hash", "00000000000000000000000000000000000000000000000000000000000000aa"} {
		all, err := d.chain.Since(d.ctx, hash)
		d.must(err)
		if len(all.Transactions) != 1 || all.Last != tip {
			t.Errorf("%q: %+v", hash, all)
		}
	}
}

// A second program with the wallet's keys spends a locked input behind our back.
func TestAForeignSpenderIsNamed(t *testing.T) {
	d := sit(t, 1)
	b := d.built(d.request(2_000))
	if _, ok, err := d.chain.SpentBy(d.ctx, b.Inputs[0]); ok || err != nil {
		t.Fatal(ok, err)
	}
	foreign := d.foreign(b.Inputs[0])
	by, ok, err := d.chain.SpentBy(d.ctx, b.Inputs[0])
	d.must(err)
	if !ok || by.Txid != foreign || !by.InMempool {
		t.Fatalf("%+v", by)
	}
	d.mine(3)
	d.broadcast(b.Raw, rails.InputsMissing)
	by, ok, err = d.chain.SpentBy(d.ctx, b.Inputs[0])
	d.must(err)
	if !ok || by.Txid != foreign || by.Confirmations != 3 {
		t.Fatalf("%+v", by)
	}
}

// foreign spends an outpoint of the payout wallet to the miner by raw calls.
func (d desk) foreign(at rails.Outpoint) (txid string) {
	d.Helper()
	var raw string
	d.must(d.btc.Call(d.ctx, d.wallet, &raw, "createrawtransaction",
		[]map[string]any{{"txid": at.Txid, "vout": at.Vout}}, map[string]string{d.address("miner", "bech32"): "0.09990000"}))
	var signed struct{ Hex string }
	d.must(d.btc.Call(d.ctx, d.wallet, &signed, "signrawtransactionwithwallet", raw))
	d.must(d.btc.Call(d.ctx, "", &txid, "sendrawtransaction", signed.Hex))
	return txid
}

func TestTheFeeIsNeverUnderWhatIsRelayed(t *testing.T) {
	d := sit(t, 1)
	for _, blocks := range []int{-1, 1, 6, 5_000} {
		rate, err := d.chain.EstimateFee(d.ctx, blocks)
		d.must(err)
		if rate < 100 || rate > 10_000 {
			t.Errorf("%d blocks: %d sats per 1,000 vB", blocks, rate)
		}
	}
}

func TestANodeOnAnotherNetworkIsRefused(t *testing.T) {
	d := sit(t, 0)
	for _, o := range []chain.Options{
		{URL: d.btc.Limited(d.wallet), Network: address.Bitcoin},
		{URL: d.btc.Limited(d.wallet), Network: address.Simnet},
		{URL: d.btc.Limited(""), Network: address.Regtest},
	} {
		_, err := chain.Dial(d.ctx, o)
		d.class(err, rails.Invalid)
	}
}

func TestANodeThatIsNotThereYetIsCheckedWhenItIs(t *testing.T) {
	d := sit(t, 0)
	d.btc.Stop()
	right, err := chain.Dial(d.ctx, chain.Options{URL: d.btc.Limited(d.wallet), Network: address.Regtest})
	d.must(err)
	wrong, err := chain.Dial(d.ctx, chain.Options{URL: d.btc.Limited(d.wallet), Network: address.Bitcoin})
	d.must(err)
	for _, n := range []*chain.Node{right, wrong} {
		_, err = n.Tip(d.ctx)
		d.class(err, rails.Unavailable)
		_, err = n.Network(d.ctx)
		d.class(err, rails.Unavailable)
	}
	d.must(d.btc.Start(d.ctx))
	_, err = right.Tip(d.ctx)
	d.must(err)
	for range 2 {
		_, err = wrong.Network(d.ctx)
		d.class(err, rails.Invalid)
		_, err = wrong.Locked(d.ctx)
		d.class(err, rails.Invalid)
		_, err = wrong.Broadcast(d.ctx, []byte{1})
		d.class(err, rails.Invalid)
	}
}

func TestALockedWalletPaysLaterAndKeepsNothingLocked(t *testing.T) {
	d := sit(t, 1)
	d.must(d.btc.Call(d.ctx, d.wallet, nil, "encryptwallet", "passphrase"))
	q := d.request(2_000)
	_, err := d.chain.Build(d.ctx, q)
	d.class(err, rails.Insufficient)
	locked, err := d.chain.Locked(d.ctx)
	d.must(err)
	d.equal(len(locked), 0)
	d.must(d.btc.Call(d.ctx, d.wallet, nil, "walletpassphrase", "passphrase", 60))
	d.broadcast(d.built(q).Raw, rails.InMempool)
}

func TestAWalletWithoutKeysOrAnUnloadedOneIsNoPayoutWallet(t *testing.T) {
	d := sit(t, 0)
	d.must(d.btc.Call(d.ctx, "", nil, "createwallet", "watching", true))
	_, err := chain.Dial(d.ctx, chain.Options{URL: d.btc.Limited("watching"), Network: address.Regtest})
	d.class(err, rails.Invalid)
	d.must(d.btc.Call(d.ctx, "", nil, "unloadwallet", d.wallet))
	_, err = d.chain.Balance(d.ctx)
	d.class(err, rails.Unavailable)
	d.dial()
	_, err = d.chain.Balance(d.ctx)
	d.class(err, rails.Unavailable)
	d.must(d.btc.Call(d.ctx, "", nil, "loadwallet", d.wallet))
	_, err = d.chain.Balance(d.ctx)
	d.must(err)
}

func TestTheNodeReadsAddressesAsWeDo(t *testing.T) {
	d := sit(t, 0)
	for _, to := range d.payees() {
		a, err := address.Parse(address.Regtest, to)
		d.must(err)
		var theirs struct {
			Valid  bool   `json:"isvalid"`
			Script string `json:"scriptPubKey"`
		}
		d.must(d.btc.Call(d.ctx, "", &theirs, "validateaddress", to))
		if !theirs.Valid || theirs.Script != hex.EncodeToString(a.Script) {
			t.Errorf("%s: %+v, ours %x", to, theirs, a.Script)
		}
	}
}

func TestTwoThousandFiveHundredPayeesInOneTransaction(t *testing.T) {
	d := sit(t, 1)
	q := rails.BuildRequest{Rate: 1_000, MaxFeeSats: 200_000}
	for i := range 2_500 {
		var program [20]byte
		copy(program[:], fmt.Sprintf("%d", i))
		q.Outputs = append(q.Outputs, rails.Output{Address: bech32(t, program[:]), Sats: 1_000})
	}
	began := time.Now()
	b := d.built(q)
	t.Logf("%d vB built in %v", b.VSize, time.Since(began))
	d.broadcast(b.Raw, rails.InMempool)
	began = time.Now()
	c, err := d.chain.Bump(d.ctx, b.Txid, 3_000, 400_000)
	d.must(err)
	t.Logf("replacement built in %v", time.Since(began))
	if !slices.Equal(c.Outputs, q.Outputs) {
		t.Error("the replacement pays something else")
	}
	d.broadcast(c.Raw, rails.InMempool)
}
