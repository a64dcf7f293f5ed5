package ledger_test

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"testing"

	"robotorq.org/reserve/ledger"
	"robotorq.org/reserve/policy"
	"robotorq.org/reserve/torq"
)

// crowd restores a reserve with n members who hold nothing yet.
func crowd(t testing.TB, n int) *reserve {
	r := newReserve(t, `{"min_members": 1, "genesis_growth": "0", "stake_target": 72000000}`)
	r.enrol("org:acme")
	for i := range n {
		if _, err := r.book.Apply(&ledger.Enrol{Account: fmt.Sprintf("member:%08d", i)}, r.now); err != nil {
			t.Fatal(err)
		}
		if i%10_000 == 0 {
			r.book.Drain()
			clear(r.known)
		}
	}
	r.book.Drain()
	r.book.Drain()
	return r
}

func wallets(t testing.TB, unless int) int {
	text := os.Getenv("ROBOTORQ_LEDGER_WALLETS")
	if text == "" {
		return unless
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// ROBOTORQ_LEDGER_WALLETS=10000000 measures ten million.
func TestAWalletTakesAtMost120Bytes(t *testing.T) {
	n := wallets(t, 200_000)
	before := heap()
	r := crowd(t, n)
	each := float64(heap()-before) / float64(n)
	t.Logf("%d wallets take %.1f bytes each", n, each)
	if each > 120 {
		t.Errorf("%.1f bytes a wallet", each)
	}
	runtime.KeepAlive(r)
}

func TestATickAndADividendAreOnePostingEachWhateverTheWallets(t *testing.T) {
	r := crowd(t, 5000)
	r.donate(1, 20)
	out, err := r.book.Advance(r.now + policy.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if len(out) != 2 || out[0].Posting.Kind != ledger.KindTick || out[1].Posting.Kind != ledger.KindRelease {
		t.Fatalf("%d postings", len(out))
	}
	// 14,400 JT each would take one JT more than the 72,000,000 in disto.
	if p := out[1].Posting; len(p.Entries) != 2 || out[1].Members != 5000 || out[1].Each != torq.JT(72_000_000/5000-1) {
		t.Errorf("the dividend: %+v", out[1])
	}
	if a, _ := r.book.Account("member:00004999"); a.Balance != 14_399 {
		t.Errorf("a member holds %d JT", a.Balance)
	}
}

func BenchmarkTickAndDividend(b *testing.B) {
	r := crowd(b, wallets(b, 100_000))
	r.donate(1, 20)
	b.ResetTimer()
	for i := range b.N {
		if _, err := r.book.Advance(r.now + uint64(i+1)*policy.Hour); err != nil {
			b.Fatal(err)
		}
		r.book.Drain()
	}
}

func BenchmarkApplySend(b *testing.B) {
	r := crowd(b, wallets(b, 100_000))
	r.donate(1, 20)
	r.advance(policy.Hour)
	orders := make([]*ledger.Submit, 20_000)
	for i := range orders {
		o := r.order(fmt.Sprintf("member:%08d", i*7919%100_000), ledger.Operation{Kind: ledger.OpSend, To: fmt.Sprintf("member:%08d", i*104_729%100_000), Amount: 1})
		orders[i] = unique(b, o, i)
	}
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		if i > 0 && i%len(orders) == 0 {
			b.StopTimer()
			r.book.Drain()
			r.book.Drain()
			clear(r.known)
			b.StartTimer()
		}
		if _, err := r.book.Apply(orders[i%len(orders)], r.now); err != nil && ledger.CodeOf(err) != ledger.CodeInsufficientFunds {
			b.Fatal(err)
		}
	}
}

func unique(b *testing.B, c *ledger.Submit, i int) *ledger.Submit {
	o, err := ledger.OrderFrom(c.Envelope)
	if err != nil {
		b.Fatal(err)
	}
	o.ID = [16]byte{byte(i), byte(i >> 8), byte(i >> 16), 1}
	c.Envelope.Payload = o.Encode()
	return &ledger.Submit{Envelope: c.Envelope}
}
