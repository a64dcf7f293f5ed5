// Package market_test lives the marketplace's whole life on real daemons: sats
// come in over Lightning from another node, robots work, and payouts leave in
// real transactions, while processes and daemons are killed, answers are lost and
// blocks are taken back. After each story what every robot got on chain is what
// its ledger says.
package market_test

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"robotorq.org/reserve/market"
	"robotorq.org/reserve/market/address"
	"robotorq.org/reserve/market/books"
	"robotorq.org/reserve/market/chain"
	"robotorq.org/reserve/market/coordinator"
	"robotorq.org/reserve/market/lightning"
	"robotorq.org/reserve/market/rails"
	"robotorq.org/reserve/market/wire"
	"robotorq.org/reserve/store"
	"robotorq.org/reserve/store/storetest"
	"robotorq.org/reserve/test/bitcoin"
)

// shared is the network that all stories use, one after the other.
var shared struct {
	once  sync.Once
	stack *bitcoin.Stack
	err   error
}

func TestMain(m *testing.M) {
	if text := os.Getenv(childOf); text != "" {
		os.Exit(child(text))
	}
	code := storetest.Main(m)
	if shared.stack != nil {
		if err := shared.stack.Close(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// clock shows a time that the story moves.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) After(d time.Duration) <-chan time.Time { return time.After(d) }

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// floor is a coordinator on the real daemons, with its clients and robots.
type floor struct {
	*testing.T
	ctx    context.Context
	stack  *bitcoin.Stack
	clock  *clock
	policy market.Policy
	path   string
	chain  *http.Client // what asks bitcoind, nil for the usual
	at     func(string) error

	db    *store.DB
	desk  *coordinator.Desk
	rails struct {
		rails.Lightning
		rails.Chain
	}
	robots  []*robot
	clients []string
}

// robot is a robot with an address that nobody else is paid to.
type robot struct {
	id, address string
	key         []byte
	owed        int64 // what its settled tasks promised
}

func open(t *testing.T) *floor {
	t.Helper()
	return openAt(t, filepath.Join(t.TempDir(), "market.db"))
}

// openAt opens a coordinator whose books are at a place of the store's.
func openAt(t *testing.T, place string) *floor {
	t.Helper()
	p := bitcoin.Wanted(t)
	shared.once.Do(func() { shared.stack, shared.err = bitcoin.Run(context.Background(), p) })
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	t.Cleanup(cancel)
	f := &floor{T: t, ctx: ctx, stack: shared.stack, clock: &clock{now: time.Now()}, policy: market.Defaults(address.Regtest),
		path: place}
	f.policy.MinSweepSats = 1_000
	f.policy.FeeBps = 1_000 // bitcoind learns from each story's fees: no other may be deferred for them
	f.must(f.stack.Alice.AwaitQuiet(ctx))
	f.balance()
	f.start()
	t.Cleanup(f.stop)
	return f
}

// balance gives the client's node back what earlier stories brought over.
func (f *floor) balance() {
	f.Helper()
	const low, back = 2_500_000, 1_500_000
	held, err := f.stack.Bob.Held(f.ctx)
	f.must(err)
	if held > low {
		return
	}
	invoice, err := f.stack.Bob.Invoice(f.ctx, back)
	f.must(err)
	outcome, err := f.stack.Alice.Pay(f.ctx, invoice)
	f.must(err)
	f.equal("the balancing", outcome, "SUCCEEDED")
	f.must(f.stack.Bob.AwaitQuiet(f.ctx))
}

// start opens the coordinator; stop ends it in order.
func (f *floor) start() {
	f.Helper()
	l, err := lightning.Dial(f.ctx, lightning.Options{URL: f.stack.Alice.URL(), TLSCert: f.stack.Alice.Certificate(), Macaroon: f.stack.Alice.Limited(), Network: address.Regtest})
	f.must(err)
	c, err := chain.Dial(f.ctx, chain.Options{URL: f.stack.Bitcoind.Limited("payout"), Network: address.Regtest, HTTP: f.chain})
	f.must(err)
	f.rails.Lightning, f.rails.Chain = l, c
	f.db, err = store.Open(f.ctx, f.path, store.Options{Schemas: books.Schemas()})
	f.must(err)
	f.desk, err = coordinator.Open(f.ctx, coordinator.Options{Policy: f.policy, DB: f.db, Lightning: l, Chain: c, Clock: f.clock,
		At: func(point string) error {
			if f.at == nil {
				return nil
			}
			return f.at(point)
		}})
	f.must(err)
}

func (f *floor) stop() {
	f.Helper()
	if f.desk == nil {
		return
	}
	f.must(f.desk.Close())
	f.must(f.db.Close())
	f.desk = nil
}

func (f *floor) restart() { f.Helper(); f.stop(); f.start() }

func (f *floor) must(err error) {
	f.Helper()
	if err != nil {
		f.Fatal(err)
	}
}

func (f *floor) equal(what string, got, want any) {
	f.Helper()
	if got != want {
		f.Fatalf("%s is %v, not %v", what, got, want)
	}
}

// until repeats a look until it is true.
func (f *floor) until(what string, look func() bool) {
	f.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for !look() {
		if time.Now().After(deadline) || f.ctx.Err() != nil {
			f.Fatalf("waited too long for %s", what)
		}
		time.Sleep(30 * time.Millisecond)
	}
}

func (f *floor) signed(r *robot) coordinator.Signed {
	var nonce [16]byte
	rand.Read(nonce[:])
	return coordinator.Signed{AgentID: r.id, Nonce: hex.EncodeToString(nonce[:]), ExpiresMs: f.desk.Now() + 60_000}
}

// robot enters a robot that is paid to an address of the kind.
func (f *floor) robot(kind string) *robot {
	f.Helper()
	r := &robot{id: fmt.Sprintf("robot-%d", len(f.robots)+1), key: make([]byte, 32)}
	rand.Read(r.key)
	f.must(f.stack.Bitcoind.Call(f.ctx, "miner", &r.address, "getnewaddress", "", kind))
	f.register(r)
	f.robots = append(f.robots, r)
	return r
}

func (f *floor) register(r *robot) {
	f.Helper()
	_, err := f.desk.Register(f.ctx, f.signed(r), market.Registration{AgentID: r.id, PayoutAddress: r.address, Capabilities: []string{"camera"}, RobotKind: "rover", PublicKey: r.key})
	f.must(err)
}

// task is a new task of a client, not paid yet.
func (f *floor) task(client string, sats int64, mode market.EscrowMode) wire.Created {
	f.Helper()
	made, err := f.desk.Create(f.ctx, market.Task{ClientAccountID: client, Title: "look", TaskKind: "physical",
		ResourceRequirements: []string{"camera"}, EscrowSats: sats, EscrowMode: mode}, coordinator.Once{})
	f.must(err)
	if !slices.Contains(f.clients, client) {
		f.clients = append(f.clients, client)
	}
	return made
}

// pay has the client's node pay and sees the outcome.
func (f *floor) pay(c wire.Created, want string) {
	f.Helper()
	f.outcome(f.begin(c), want)
}

// begin has the client's node pay, which for a hold invoice lasts until it is decided.
func (f *floor) begin(c wire.Created) <-chan string {
	done := make(chan string, 1)
	go func() {
		outcome, err := f.stack.Bob.Pay(f.ctx, c.Invoice.Bolt11)
		if err != nil {
			outcome = err.Error()
		}
		done <- outcome
	}()
	return done
}

func (f *floor) outcome(done <-chan string, want string) {
	f.Helper()
	select {
	case got := <-done:
		f.equal("the payer's outcome", got, want)
	case <-f.ctx.Done():
		f.Fatal(f.ctx.Err())
	}
}

func (f *floor) status(id string) market.Status {
	f.Helper()
	t, err := f.desk.Task(f.ctx, id)
	f.must(err)
	return t.Status
}

// becomes waits until the coordinator has seen what happened.
func (f *floor) becomes(id string, want market.Status) {
	f.Helper()
	f.until("task "+string(want), func() bool { return f.status(id) == want })
}

// funded is a task that the client's node has paid.
func (f *floor) funded(client string, sats int64) wire.Created {
	f.Helper()
	c := f.task(client, sats, market.ModeSettled)
	f.pay(c, "SUCCEEDED")
	f.becomes(c.Task.TaskID, market.Funded)
	return c
}

func (f *floor) claim(r *robot, id string) {
	f.Helper()
	f.register(r) // seen just now
	t, err := f.desk.Claim(f.ctx, id, f.signed(r))
	f.must(err)
	f.equal("the claimer", t.ClaimedBy, r.id)
}

func (f *floor) prove(r *robot, id string) {
	f.Helper()
	_, err := f.desk.Prove(f.ctx, id, f.signed(r), json.RawMessage(`{"seen":true}`))
	f.must(err)
}

func (f *floor) settle(r *robot, c wire.Created) {
	f.Helper()
	t, err := f.desk.Settle(f.ctx, c.Task.TaskID, c.Task.ClientAccountID, coordinator.Once{})
	f.must(err)
	r.owed += t.RewardSats
}

// earns takes a robot through a whole task.
func (f *floor) earns(r *robot, sats int64) {
	f.Helper()
	c := f.funded("client", sats)
	f.claim(r, c.Task.TaskID)
	f.prove(r, c.Task.TaskID)
	f.settle(r, c)
}

func (f *floor) sweep() wire.SweepReport {
	f.Helper()
	f.clock.pass(time.Second) // so that sweeps have an order
	r, err := f.desk.Sweep(f.ctx)
	f.must(err)
	return r
}

// mine mines blocks one by one, and the coordinator looks after each.
func (f *floor) mine(blocks int) {
	f.Helper()
	for range blocks {
		f.must(f.stack.Bitcoind.Mine(f.ctx, 1))
		f.must(f.desk.Scheduled(f.ctx))
	}
}

// newest is the newest sweep as everybody sees it.
func (f *floor) newest() market.Sweep {
	f.Helper()
	all, err := f.desk.Sweeps(f.ctx, 1<<62, "", 1)
	f.must(err)
	if len(all) == 0 {
		f.Fatal("there is no sweep")
	}
	return all[0]
}

func (f *floor) state(want market.SweepState) market.Sweep {
	f.Helper()
	s := f.newest()
	if s.State != want {
		f.Fatalf("the sweep is %s (%s), not %s", s.State, s.Reason, want)
	}
	return s
}

// square is the end of every story: every robot has on chain exactly what the
// ledger says, which is what its tasks promised; nothing is left in the air; the
// ledger agrees with itself; no coin stays locked.
func (f *floor) square() {
	f.Helper()
	for _, r := range f.robots {
		e, err := f.desk.Earnings(f.ctx, r.id, 100)
		f.must(err)
		got, err := f.stack.Bitcoind.Received(f.ctx, r.address)
		f.must(err)
		if e.TotalAccrued != 0 || e.TotalSwept != r.owed || got != r.owed {
			f.Errorf("%s was promised %d sats, the ledger says %d paid and %d not, the chain has %d", r.id, r.owed, e.TotalSwept, e.TotalAccrued, got)
		}
	}
	f.must(f.desk.Audit(f.ctx))
	locked, err := f.rails.Locked(f.ctx)
	f.must(err)
	f.equal("the number of locked coins", len(locked), 0)
	t, err := f.desk.Treasury(f.ctx)
	f.must(err)
	f.equal("the number of live sweeps", t.LiveSweeps, 0)
	owed := int64(0)
	for _, client := range f.clients {
		a, err := f.desk.Account(f.ctx, client)
		f.must(err)
		owed += a.BalanceSats
	}
	f.equal("what clients are owed", t.Ledger[string(market.ClassClient)], owed)
}

// lossy is a way to bitcoind on which something happens to some requests.
type lossy struct {
	mu    sync.Mutex
	spoil func(method string, answer *http.Response) (*http.Response, error)
}

func (l *lossy) set(spoil func(string, *http.Response) (*http.Response, error)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.spoil = spoil
}

func (l *lossy) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := r.GetBody()
	if err != nil {
		return nil, err
	}
	var asked struct{ Method string }
	if err := json.NewDecoder(body).Decode(&asked); err != nil {
		return nil, err
	}
	answer, err := http.DefaultTransport.RoundTrip(r)
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil || l.spoil == nil {
		return answer, err
	}
	return l.spoil(asked.Method, answer)
}

// says replaces an answer's body.
func says(answer *http.Response, change func(reply map[string]any)) (*http.Response, error) {
	var reply map[string]any
	decoder := json.NewDecoder(answer.Body)
	decoder.UseNumber()
	if err := decoder.Decode(&reply); err != nil {
		return nil, err
	}
	answer.Body.Close()
	change(reply)
	text, err := json.Marshal(reply)
	if err != nil {
		return nil, err
	}
	answer.Body = readCloser{strings.NewReader(string(text))}
	answer.ContentLength = int64(len(text))
	return answer, nil
}

type readCloser struct{ *strings.Reader }

func (readCloser) Close() error { return nil }
