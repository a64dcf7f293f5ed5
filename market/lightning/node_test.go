package lightning_test

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"robotorq.org/reserve/market/address"
	"robotorq.org/reserve/market/lightning"
	"robotorq.org/reserve/market/rails"
	"robotorq.org/reserve/test/bitcoin"
)

// shared is the stack that all tests of this package use, one after the other.
var shared struct {
	once  sync.Once
	stack *bitcoin.Stack
	err   error
}

func TestMain(m *testing.M) {
	code := m.Run()
	if shared.stack != nil {
		if err := shared.stack.Close(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// desk is the coordinator's node by our client, and a client's node by the harness.
type desk struct {
	*testing.T
	ctx   context.Context
	stack *bitcoin.Stack
	alice *lightning.Node
}

func sit(t *testing.T) desk {
	t.Helper()
	p := bitcoin.Wanted(t)
	shared.once.Do(func() { shared.stack, shared.err = bitcoin.Run(context.Background(), p) })
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	d := desk{T: t, ctx: ctx, stack: shared.stack}
	d.alice = d.dial(shared.stack.Alice, nil)
	d.must(d.stack.Alice.AwaitQuiet(d.ctx))
	return d
}

func (d desk) dial(l *bitcoin.Lnd, client *http.Client) *lightning.Node {
	d.Helper()
	n, err := lightning.Dial(d.ctx, d.options(l, client))
	d.must(err)
	return n
}

func (d desk) options(l *bitcoin.Lnd, client *http.Client) lightning.Options {
	return lightning.Options{URL: l.URL(), TLSCert: l.Certificate(), Macaroon: l.Limited(), Network: address.Regtest, HTTP: client}
}

func (d desk) must(err error) {
	d.Helper()
	if err != nil {
		d.Fatal(err)
	}
}

func (d desk) class(err error, want rails.Class) {
	d.Helper()
	if err == nil || rails.ClassOf(err) != want {
		d.Fatalf("want %s, got %v", want, err)
	}
}

func (d desk) state(hash rails.Hash, want rails.InvoiceState) rails.Invoice {
	d.Helper()
	v, err := d.alice.Invoice(d.ctx, hash)
	d.must(err)
	if v.State != want {
		d.Fatalf("the invoice is %s, not %s", v.State, want)
	}
	return v
}

func secret() (p rails.Preimage) {
	rand.Read(p[:])
	return p
}

func plain(sats int64) rails.InvoiceRequest {
	return rails.InvoiceRequest{Preimage: secret(), AmountSats: sats, Memo: "task", ExpirySeconds: 900}
}

func hold(sats int64) rails.InvoiceRequest {
	q := plain(sats)
	q.Hold, q.CLTVDelta = true, 144
	return q
}

// begin has Bob pay an invoice; the outcome comes when Alice decides.
func (d desk) begin(bolt11 string) <-chan string {
	done := make(chan string, 1)
	go func() {
		outcome, err := d.stack.Bob.Pay(d.ctx, bolt11)
		if err != nil {
			outcome = err.Error()
		}
		done <- outcome
	}()
	return done
}

func (d desk) outcome(done <-chan string, want string) {
	d.Helper()
	select {
	case got := <-done:
		if got != want {
			d.Fatalf("the payer sees %s, not %s", got, want)
		}
	case <-d.ctx.Done():
		d.Fatal(d.ctx.Err())
	}
}

// held waits until a hold invoice holds.
func (d desk) held(hash rails.Hash) rails.Invoice {
	d.Helper()
	for d.ctx.Err() == nil {
		v, err := d.alice.Invoice(d.ctx, hash)
		d.must(err)
		if v.State == rails.InvoiceHeld {
			return v
		}
		time.Sleep(20 * time.Millisecond)
	}
	d.Fatal(d.ctx.Err())
	return rails.Invoice{}
}

func TestAPlainInvoiceIsFollowedUntilItIsPaid(t *testing.T) {
	d := sit(t)
	q := plain(50_000)
	made, err := d.alice.CreateInvoice(d.ctx, q)
	d.must(err)
	if made.Hash != sha256.Sum256(q.Preimage[:]) || made.State != rails.InvoiceOpen || made.Hold || made.AmountSats != 50_000 || made.PaidSats != 0 {
		t.Fatalf("%+v", made)
	}
	if left := time.Until(time.UnixMilli(made.ExpiresAtMs)); left < 14*time.Minute || left > 16*time.Minute {
		t.Errorf("it expires in %v", left)
	}
	again, err := d.alice.CreateInvoice(d.ctx, q)
	if err != nil || again != made {
		t.Fatalf("asked again: %+v, %v", again, err)
	}
	q.AmountSats++
	_, err = d.alice.CreateInvoice(d.ctx, q)
	d.class(err, rails.Refused)

	var heard []rails.InvoiceState
	followed := make(chan error, 1)
	seen := make(chan struct{}, 10)
	go func() {
		followed <- d.alice.Follow(d.ctx, made.Hash, func(v rails.Invoice) {
			heard = append(heard, v.State)
			seen <- struct{}{}
		})
	}()
	<-seen
	d.outcome(d.begin(made.Bolt11), "SUCCEEDED")
	d.must(<-followed)
	if fmt.Sprint(heard) != "[open settled]" {
		t.Errorf("heard %v", heard)
	}
	if v := d.state(made.Hash, rails.InvoiceSettled); v.PaidSats != 50_000 {
		t.Errorf("%+v", v)
	}
	d.must(d.alice.Follow(d.ctx, made.Hash, func(rails.Invoice) {}))
	d.class(d.alice.CancelInvoice(d.ctx, made.Hash), rails.Refused)
}

func TestHundredsOfInvoicesAreFollowedAtOnce(t *testing.T) {
	d := sit(t)
	ctx, cancel := context.WithCancel(d.ctx)
	const many = 300
	heard := make(chan rails.InvoiceState, 2*many)
	var last rails.Invoice
	var all sync.WaitGroup
	for range many {
		made, err := d.alice.CreateInvoice(d.ctx, plain(1_000))
		d.must(err)
		last = made
		all.Go(func() {
			if err := d.alice.Follow(ctx, made.Hash, func(v rails.Invoice) { heard <- v.State }); err != nil && ctx.Err() == nil {
				t.Error(err)
			}
		})
	}
	for range many {
		select {
		case s := <-heard:
			if s != rails.InvoiceOpen {
				t.Fatalf("heard %s", s)
			}
		case <-d.ctx.Done():
			t.Fatal("not all are followed")
		}
	}
	d.state(last.Hash, rails.InvoiceOpen) // a call still gets through
	d.outcome(d.begin(last.Bolt11), "SUCCEEDED")
	select {
	case s := <-heard:
		if s != rails.InvoiceSettled {
			t.Fatalf("heard %s", s)
		}
	case <-d.ctx.Done():
		t.Fatal("the payment was not heard of")
	}
	cancel()
	all.Wait()
}

func TestAHoldIsSettledOnce(t *testing.T) {
	d := sit(t)
	q := hold(70_000)
	made, err := d.alice.CreateInvoice(d.ctx, q)
	d.must(err)
	if !made.Hold || made.State != rails.InvoiceOpen {
		t.Fatalf("%+v", made)
	}
	d.class(d.alice.SettleHold(d.ctx, q.Preimage), rails.Refused) // nothing is held yet
	done := d.begin(made.Bolt11)
	v := d.held(made.Hash)
	height, err := d.stack.Bitcoind.Height(d.ctx)
	d.must(err)
	if v.PaidSats != 70_000 || !v.Hold || v.Height != int64(height) || v.ExpiryHeight < v.Height+144 || v.ExpiryHeight > v.Height+160 {
		t.Errorf("%+v at height %d", v, height)
	}
	d.must(d.alice.SettleHold(d.ctx, q.Preimage))
	d.must(d.alice.SettleHold(d.ctx, q.Preimage))
	d.outcome(done, "SUCCEEDED")
	if v := d.state(made.Hash, rails.InvoiceSettled); v.PaidSats != 70_000 {
		t.Errorf("%+v", v)
	}
	d.class(d.alice.CancelInvoice(d.ctx, made.Hash), rails.Refused)
}

func TestACancelledHoldGoesBackAndIsNeverSettled(t *testing.T) {
	d := sit(t)
	q := hold(70_000)
	made, err := d.alice.CreateInvoice(d.ctx, q)
	d.must(err)
	before, err := d.stack.Alice.Held(d.ctx)
	d.must(err)
	done := d.begin(made.Bolt11)
	d.held(made.Hash)
	d.must(d.alice.CancelInvoice(d.ctx, made.Hash))
	d.must(d.alice.CancelInvoice(d.ctx, made.Hash))
	d.outcome(done, "FAILED")
	d.class(d.alice.SettleHold(d.ctx, q.Preimage), rails.Refused)
	if v := d.state(made.Hash, rails.InvoiceCancelled); v.PaidSats != 0 || !v.Hold {
		t.Errorf("%+v", v)
	}
	d.must(d.stack.Alice.AwaitHeld(d.ctx, before))
}

func TestAnOpenInvoiceIsCancelledAndCannotBePaid(t *testing.T) {
	d := sit(t)
	for _, q := range []rails.InvoiceRequest{plain(1_000), hold(1_000)} {
		made, err := d.alice.CreateInvoice(d.ctx, q)
		d.must(err)
		d.must(d.alice.CancelInvoice(d.ctx, made.Hash))
		d.must(d.alice.CancelInvoice(d.ctx, made.Hash))
		d.state(made.Hash, rails.InvoiceCancelled)
		d.outcome(d.begin(made.Bolt11), "FAILED")
		d.must(d.alice.Follow(d.ctx, made.Hash, func(rails.Invoice) {}))
	}
}

func TestWhatIsUnknownIsNotFound(t *testing.T) {
	d := sit(t)
	p := secret()
	_, err := d.alice.Invoice(d.ctx, rails.Hash(p))
	d.class(err, rails.NotFound)
	_, err = d.alice.Payment(d.ctx, rails.Hash(p))
	d.class(err, rails.NotFound)
	d.class(d.alice.SettleHold(d.ctx, p), rails.NotFound)
	d.class(d.alice.CancelInvoice(d.ctx, rails.Hash(p)), rails.NotFound)
}

func TestTheCredentialCanNeitherSpendCoinsNorCloseChannels(t *testing.T) {
	d := sit(t)
	client := trusting(t, d.stack.Alice)
	macaroon, err := os.ReadFile(d.stack.Alice.Limited())
	d.must(err)
	for _, path := range []string{"/v1/transactions", "/v1/channels", "/v1/macaroon", "/v2/wallet/psbt/fund", "/v1/stop"} {
		r, err := http.NewRequestWithContext(d.ctx, http.MethodPost, d.stack.Alice.URL()+path, strings.NewReader("{}"))
		d.must(err)
		r.Header.Set("Grpc-Metadata-macaroon", fmt.Sprintf("%x", macaroon))
		answer, err := client.Do(r)
		d.must(err)
		text, err := io.ReadAll(answer.Body)
		d.must(err)
		answer.Body.Close()
		if !strings.Contains(string(text), "permission denied") {
			t.Errorf("%s: %s %s", path, answer.Status, text)
		}
	}
}

func TestRequestsThatMakeNoSenseAreInvalid(t *testing.T) {
	d := sit(t)
	for name, change := range map[string]func(*rails.InvoiceRequest){
		"no amount":      func(q *rails.InvoiceRequest) { q.AmountSats = 0 },
		"less than none": func(q *rails.InvoiceRequest) { q.AmountSats = -1 },
		"no expiry":      func(q *rails.InvoiceRequest) { q.ExpirySeconds = 0 },
		"a long memo":    func(q *rails.InvoiceRequest) { q.Memo = strings.Repeat("m", 640) },
		"no preimage":    func(q *rails.InvoiceRequest) { q.Preimage = rails.Preimage{} },
	} {
		q := plain(1_000)
		change(&q)
		if _, err := d.alice.CreateInvoice(d.ctx, q); rails.ClassOf(err) != rails.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, text := range []string{"", "lnbc", "../getinfo", "lnbcrt1/../x", strings.Repeat("l", 8_000),
		"lnbc2500u1pvjluezpp5qqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqypqdq5xysxxatsyp3k7enxv4jsxqzpu9qrsgquk0rl77nj30yxdy8j9vdx85fkpmdla2087ne0xh8nhedh8w27kyke0lp53ut353s06fv3qfegext0eh0ymjpf39tuven09sam30g4vgpfna3rh"} {
		_, err := d.alice.Decode(d.ctx, text)
		if rails.ClassOf(err) != rails.Invalid {
			t.Errorf("%q: %v", text, err)
		}
	}
	_, err := lightning.Dial(d.ctx, lightning.Options{URL: d.stack.Alice.URL(), TLSCert: d.stack.Alice.Certificate(), Macaroon: d.stack.Alice.Macaroon(), Network: address.Bitcoin})
	d.class(err, rails.Invalid)
	_, err = lightning.Dial(d.ctx, lightning.Options{URL: "http://127.0.0.1:1", Macaroon: d.stack.Alice.Macaroon(), Network: address.Regtest})
	d.class(err, rails.Invalid)
	for _, o := range []lightning.Options{
		{TLSCert: d.stack.Bob.Certificate(), Macaroon: d.stack.Alice.Limited()}, // another's certificate is not trusted
		{TLSCert: d.stack.Alice.Certificate(), Macaroon: d.stack.Bob.Limited()}, // nor are we with another's macaroon
	} {
		o.URL, o.Network = d.stack.Alice.URL(), address.Regtest
		n, err := lightning.Dial(d.ctx, o)
		d.must(err)
		_, err = n.Liquidity(d.ctx)
		d.class(err, rails.Unavailable)
	}
}

func TestANodeThatIsNotThereYetIsCheckedWhenItIs(t *testing.T) {
	d := sit(t)
	d.stack.Alice.Kill()
	right := d.dial(d.stack.Alice, nil)
	o := d.options(d.stack.Alice, nil)
	o.Network = address.Bitcoin
	wrong, err := lightning.Dial(d.ctx, o)
	d.must(err)
	for _, n := range []*lightning.Node{right, wrong} {
		_, err := n.Liquidity(d.ctx)
		d.class(err, rails.Unavailable)
		d.class(n.Follow(d.ctx, rails.Hash{}, func(rails.Invoice) {}), rails.Unavailable)
	}
	d.must(d.stack.Alice.Start(d.ctx))
	d.must(d.stack.Alice.AwaitRoute(d.ctx, d.stack.Bob))
	_, err = right.Liquidity(d.ctx)
	d.must(err)
	for range 2 {
		_, err = wrong.CreateInvoice(d.ctx, plain(1_000))
		d.class(err, rails.Invalid)
		_, err = wrong.Payment(d.ctx, rails.Hash{})
		d.class(err, rails.Invalid)
	}
}

func (d desk) asked(sats int64) rails.PayRequest {
	d.Helper()
	bolt11, err := d.stack.Bob.Invoice(d.ctx, sats)
	d.must(err)
	r, err := d.alice.Decode(d.ctx, strings.ToUpper(bolt11))
	d.must(err)
	if r.AmountSats != sats || r.Payee != d.stack.Bob.Key() || r.ExpiresAtMs < time.Now().UnixMilli() {
		d.Fatalf("%+v", r)
	}
	return rails.PayRequest{Bolt11: bolt11, Hash: r.Hash, AmountSats: max(sats, 1_234), FeeLimitSats: 10}
}

func TestAPaymentIsMadeOnceHoweverOftenItIsAsked(t *testing.T) {
	d := sit(t)
	for _, sats := range []int64{20_000, 0} {
		q := d.asked(sats)
		before, err := d.stack.Alice.Held(d.ctx)
		d.must(err)
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() {
				if v, err := d.alice.Pay(d.ctx, q); err != nil || v.State != rails.PaymentSucceeded || v.AmountSats != q.AmountSats || v.FeeSats != 0 {
					t.Errorf("%+v, %v", v, err)
				}
			})
		}
		all.Wait()
		v, err := d.alice.Payment(d.ctx, q.Hash)
		if err != nil || v.State != rails.PaymentSucceeded || v.AmountSats != q.AmountSats {
			t.Errorf("%+v, %v", v, err)
		}
		d.must(d.stack.Alice.AwaitHeld(d.ctx, before-q.AmountSats))
		if _, received, err := d.stack.Bob.Invoiced(d.ctx, fmt.Sprintf("%x", q.Hash)); err != nil || received != q.AmountSats {
			t.Errorf("bob got %d, %v", received, err)
		}
	}
}

func TestOnlyWhatTheInvoiceAsksForIsPaid(t *testing.T) {
	d := sit(t)
	q := d.asked(2_000)
	for _, change := range []func(*rails.PayRequest){
		func(q *rails.PayRequest) { q.AmountSats++ },
		func(q *rails.PayRequest) { q.Hash[0] ^= 1 },
		func(q *rails.PayRequest) { q.AmountSats = 0 },
		func(q *rails.PayRequest) { q.FeeLimitSats = -1 },
		func(q *rails.PayRequest) { q.Bolt11 = "lnbcrt1" },
	} {
		w := q
		change(&w)
		_, err := d.alice.Pay(d.ctx, w)
		d.class(err, rails.Invalid)
	}
	_, err := d.alice.Payment(d.ctx, q.Hash)
	d.class(err, rails.NotFound)
}

func TestWhatTheChannelsCannotCarryIsInsufficientAndMayBeTriedAgain(t *testing.T) {
	d := sit(t)
	q := d.asked(90_000_000)
	for range 2 {
		_, err := d.alice.Pay(d.ctx, q)
		d.class(err, rails.Insufficient)
	}
	v, err := d.alice.Payment(d.ctx, q.Hash)
	if err != nil || v.State != rails.PaymentFailed || v.Reason == "" {
		t.Errorf("%+v, %v", v, err)
	}
}

// Bob's hold invoice keeps Alice's payment on its way as long as Bob likes.
func TestAPaymentOnItsWayIsNeverFailed(t *testing.T) {
	d := sit(t)
	bob := d.dial(d.stack.Bob, nil)
	for _, settle := range []bool{true, false} {
		want := hold(3_000)
		made, err := bob.CreateInvoice(d.ctx, want)
		d.must(err)
		q := rails.PayRequest{Bolt11: made.Bolt11, Hash: made.Hash, AmountSats: 3_000, FeeLimitSats: 10}
		short, cancel := context.WithTimeout(d.ctx, 3*time.Second)
		v, err := d.alice.Pay(short, q)
		cancel()
		if err != nil || v.State != rails.PaymentInFlight {
			t.Fatalf("%+v, %v", v, err)
		}
		// The coordinator's lnd dies and comes back.
		if settle {
			d.stack.Alice.Kill()
			_, err = d.alice.Payment(d.ctx, q.Hash)
			d.class(err, rails.Unavailable)
			_, err = d.alice.Pay(d.ctx, q)
			d.class(err, rails.Unavailable)
			d.must(d.stack.Alice.Start(d.ctx))
			d.must(d.stack.Alice.AwaitRoute(d.ctx, d.stack.Bob))
		}
		if v, err := d.alice.Payment(d.ctx, q.Hash); err != nil || v.State != rails.PaymentInFlight {
			t.Fatalf("%+v, %v", v, err)
		}
		final := rails.PaymentFailed
		if settle {
			final = rails.PaymentSucceeded
			d.must(bob.SettleHold(d.ctx, want.Preimage))
		} else {
			d.must(bob.CancelInvoice(d.ctx, made.Hash))
		}
		if settle { // asked again, it reports on the first
			v, err = d.alice.Pay(d.ctx, q)
		} else {
			for v.State == rails.PaymentInFlight && d.ctx.Err() == nil && err == nil {
				v, err = d.alice.Payment(d.ctx, q.Hash)
			}
		}
		if err != nil || v.State != final {
			t.Fatalf("%+v, %v", v, err)
		}
	}
}

func TestAHoldSurvivesTheDeathOfTheNode(t *testing.T) {
	d := sit(t)
	q := hold(40_000)
	made, err := d.alice.CreateInvoice(d.ctx, q)
	d.must(err)
	followed := make(chan error, 1)
	go func() { followed <- d.alice.Follow(d.ctx, made.Hash, func(rails.Invoice) {}) }()
	done := d.begin(made.Bolt11)
	d.held(made.Hash)
	d.stack.Alice.Kill()
	d.class(<-followed, rails.Unavailable)
	d.class(d.alice.SettleHold(d.ctx, q.Preimage), rails.Unavailable)
	d.must(d.stack.Alice.Start(d.ctx))
	d.must(d.stack.Alice.AwaitRoute(d.ctx, d.stack.Bob))
	d.held(made.Hash)
	d.must(d.alice.SettleHold(d.ctx, q.Preimage))
	d.outcome(done, "SUCCEEDED")
}

func TestTheChannelReceivesWhatWeSayItCan(t *testing.T) {
	d := sit(t)
	l, err := d.alice.Liquidity(d.ctx)
	d.must(err)
	held, err := d.stack.Alice.Held(d.ctx)
	d.must(err)
	if l.LocalSats != held || !l.Synced || l.Height < 100 || l.InboundSats != l.LargestInbound || l.LargestInbound < 3_000_000 || l.LargestInbound > 4_000_000 {
		t.Fatalf("%+v; it holds %d", l, held)
	}
	made, err := d.alice.CreateInvoice(d.ctx, plain(l.LargestInbound))
	d.must(err)
	d.outcome(d.begin(made.Bolt11), "SUCCEEDED")
	l, err = d.alice.Liquidity(d.ctx)
	d.must(err)
	if l.InboundSats > 60_000 {
		t.Errorf("%+v after it received all", l)
	}
	// Back, for whatever runs after this.
	q := d.asked(2_500_000)
	if v, err := d.alice.Pay(d.ctx, q); err != nil || v.State != rails.PaymentSucceeded {
		t.Errorf("%+v, %v", v, err)
	}
}

// lossy carries requests to lnd and loses the answers to some.
type lossy struct {
	http.RoundTripper
	lose func(*http.Request) bool
}

func (l lossy) RoundTrip(r *http.Request) (*http.Response, error) {
	answer, err := l.RoundTripper.RoundTrip(r)
	if err != nil || !l.lose(r) {
		return answer, err
	}
	// The first message proves that lnd acted.
	io.ReadFull(answer.Body, make([]byte, 1))
	answer.Body.Close()
	return nil, errors.New("the answer was lost")
}

func TestALostAnswerIsNoRefusal(t *testing.T) {
	d := sit(t)
	var mu sync.Mutex
	losing := true
	client := trusting(t, d.stack.Alice)
	client.Transport = lossy{client.Transport, func(r *http.Request) bool {
		mu.Lock()
		defer mu.Unlock()
		return losing && r.Method == http.MethodPost
	}}
	n := d.dial(d.stack.Alice, client)

	q := hold(5_000)
	_, err := n.CreateInvoice(d.ctx, q)
	d.class(err, rails.Unavailable)
	made := d.state(sha256.Sum256(q.Preimage[:]), rails.InvoiceOpen)
	done := d.begin(made.Bolt11)
	d.held(made.Hash)
	d.class(n.SettleHold(d.ctx, q.Preimage), rails.Unavailable)
	d.outcome(done, "SUCCEEDED")

	// The request to pay arrived; its answer did not; what lnd knows counts.
	p := d.asked(6_000)
	v, err := n.Pay(d.ctx, p)
	if err != nil && rails.ClassOf(err) != rails.Unavailable || err == nil && v.State == rails.PaymentFailed {
		t.Fatalf("%+v, %v", v, err)
	}
	mu.Lock()
	losing = false
	mu.Unlock()
	d.must(n.SettleHold(d.ctx, q.Preimage))
	if v, err := n.Pay(d.ctx, p); err != nil || v.State != rails.PaymentSucceeded {
		t.Fatalf("%+v, %v", v, err)
	}
	if _, received, err := d.stack.Bob.Invoiced(d.ctx, fmt.Sprintf("%x", p.Hash)); err != nil || received != 6_000 {
		t.Errorf("bob got %d, %v", received, err)
	}
}
