package coordinator_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"robotorq.org/reserve/market"
	"robotorq.org/reserve/market/address"
	"robotorq.org/reserve/market/books"
	"robotorq.org/reserve/market/coordinator"
	"robotorq.org/reserve/market/rails"
	"robotorq.org/reserve/market/simulated"
	"robotorq.org/reserve/store"
	"robotorq.org/reserve/store/storetest"
)

func TestMain(m *testing.M) { os.Exit(storetest.Main(m)) }

type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) After(time.Duration) <-chan time.Time { return nil }

// Addresses of robots on regtest.
var payees = []string{
	"bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080", "bcrt1qrp33g0q5c5txsp9arysrx4k6zdkfs4nce4xj0gdcccefvpysxf3qzf4jry",
	"bcrt1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqc8gma6", "mfWxJ45yp2SFn7UciZyNpvDKrzbhyfKrY8", "2MsFDzHRUAMpjHxKyoEHU3aMCMsVtMqs1PV",
}

// rig is a coordinator that can be killed and started again on the same books and rails.
type rig struct {
	t      testing.TB
	clock  *clock
	world  *simulated.World
	db     *store.DB
	desk   *coordinator.Desk
	policy market.Policy
	nonce  int
	kill   string // the point at which the process dies next
}

var errKilled = errors.New("killed")

func newRig(t testing.TB, place string) *rig {
	t.Helper()
	r := &rig{t: t, clock: &clock{now: time.UnixMilli(1_800_000_000_000)}, policy: market.Defaults(address.Regtest)}
	var err error
	r.world, err = simulated.New(address.Regtest, "", func() int64 { return r.clock.Now().UnixMilli() })
	r.must(err)
	r.db = storetest.Open(t, place, store.Options{Schemas: books.Schemas()})
	r.start()
	t.Cleanup(func() {
		r.audit()
		r.must(r.desk.Close())
		r.must(r.db.Close())
	})
	return r
}

func (r *rig) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) options() coordinator.Options {
	return coordinator.Options{Policy: r.policy, DB: r.db, Lightning: r.world.Lightning(), Chain: r.world.Chain(), Clock: r.clock,
		At: func(point string) error {
			if point == r.kill {
				r.kill = ""
				return errKilled
			}
			return nil
		}}
}

// start opens a desk, as a process that starts does.
func (r *rig) start() {
	r.t.Helper()
	var err error
	r.desk, err = coordinator.Open(context.Background(), r.options())
	r.must(err)
}

// restart is the end of one process and the start of another.
func (r *rig) restart() {
	r.t.Helper()
	r.must(r.desk.Close())
	r.start()
}

func (r *rig) audit() {
	r.t.Helper()
	r.must(r.desk.Audit(context.Background()))
}

func (r *rig) signed(agent string) coordinator.Signed {
	r.nonce++
	return coordinator.Signed{AgentID: agent, Nonce: fmt.Sprint(r.nonce), ExpiresMs: r.desk.Now() + 300_000}
}

func (r *rig) robot(id, at string) {
	r.t.Helper()
	key := make([]byte, 32)
	copy(key, id)
	_, err := r.desk.Register(r.t.Context(), r.signed(id), market.Registration{AgentID: id, PayoutAddress: at, Capabilities: []string{"camera"}, RobotKind: "rover", PublicKey: key})
	r.must(err)
}

func (r *rig) create(change ...func(*market.Task)) (market.Task, string) {
	r.t.Helper()
	t := market.Task{ClientAccountID: "alice", Title: "Photograph the bridge", TaskKind: "physical", ResourceRequirements: []string{"camera"}, EscrowSats: 100_000}
	for _, c := range change {
		c(&t)
	}
	made, err := r.desk.Create(r.t.Context(), t, coordinator.Once{})
	r.must(err)
	if made.Invoice == nil {
		return made.Task, ""
	}
	return made.Task, made.Invoice.Bolt11
}

func (r *rig) task(id string) market.Task {
	r.t.Helper()
	t, err := r.desk.Task(r.t.Context(), id)
	r.must(err)
	return t
}

func (r *rig) wantTask(id string, s market.Status) market.Task {
	r.t.Helper()
	t := r.task(id)
	if t.Status != s {
		r.t.Fatalf("task is %s (%s), want %s", t.Status, t.Reason, s)
	}
	return t
}

func (r *rig) funded(change ...func(*market.Task)) market.Task {
	r.t.Helper()
	t, invoice := r.create(change...)
	if invoice != "" {
		r.must(r.world.PayInvoice(invoice))
		r.must(r.desk.Funding(r.t.Context()))
	}
	return r.wantTask(t.TaskID, market.Funded)
}

func (r *rig) proved(agent string, change ...func(*market.Task)) market.Task {
	r.t.Helper()
	t := r.funded(change...)
	_, err := r.desk.Heartbeat(r.t.Context(), agent, nil)
	r.must(err)
	_, err = r.desk.Claim(r.t.Context(), t.TaskID, r.signed(agent))
	r.must(err)
	t, err = r.desk.Prove(r.t.Context(), t.TaskID, r.signed(agent), []byte(`{"photo":1}`))
	r.must(err)
	return t
}

// earned is a settled task: the robot is owed its reward.
func (r *rig) earned(agent string, change ...func(*market.Task)) market.Task {
	r.t.Helper()
	t := r.proved(agent, change...)
	t, err := r.desk.Settle(r.t.Context(), t.TaskID, "alice", coordinator.Once{})
	r.must(err)
	return t
}

func sats(n int64) func(*market.Task) { return func(t *market.Task) { t.EscrowSats = n } }

func hold(t *market.Task) { t.EscrowMode = market.ModeHold }

func (r *rig) balance(client string) int64 {
	r.t.Helper()
	a, err := r.desk.Account(r.t.Context(), client)
	r.must(err)
	return a.BalanceSats
}

func (r *rig) sweeps() []market.Sweep {
	r.t.Helper()
	list, err := r.desk.Sweeps(r.t.Context(), 0, "", 100)
	r.must(err)
	return list
}

// finish mines and looks until every sweep has ended.
func (r *rig) finish() {
	r.t.Helper()
	for range 10 {
		_, err := r.desk.Sweep(r.t.Context())
		r.must(err)
		r.world.Mine(market.FinalDepth)
		_, err = r.desk.Sweep(r.t.Context())
		r.must(err)
		live := false
		for _, s := range r.sweeps() {
			live = live || s.State.Live()
		}
		if !live {
			return
		}
	}
	r.t.Fatalf("sweeps do not end: %+v", r.sweeps())
}

// wantPaid asserts what the chain paid to each address, and that the ledger says the same.
func (r *rig) wantPaid(want map[string]int64) {
	r.t.Helper()
	paid := r.world.Paid()
	var sum int64
	for at, n := range want {
		if paid[at] != n {
			r.t.Fatalf("the chain paid %d to %s, want %d", paid[at], at, n)
		}
		sum += n
	}
	for at, n := range paid {
		if n > 0 && want[at] == 0 {
			r.t.Fatalf("the chain paid %d to %s, to whom nothing was owed", n, at)
		}
	}
	y, err := r.desk.Treasury(r.t.Context())
	r.must(err)
	var fees int64
	for _, s := range r.sweeps() {
		if s.State == market.SweepFinal {
			fees += s.FeesSats
		}
	}
	if have := y.Ledger["paid"] - r.world.Spent(); have != sum+fees {
		r.t.Fatalf("the ledger paid %d on chain, the chain %d and %d of fees", have, sum, fees)
	}
	r.audit()
}

func unavailable(op string) error {
	return &rails.Error{Class: rails.Unavailable, Op: op, Reason: "the reply was lost"}
}

// losing makes the world fail n times at a call: before it happens, or with its reply lost.
func (r *rig) losing(op string, n int, before bool) {
	fault := func(at string) error {
		if at == op && n > 0 {
			n--
			return unavailable(at)
		}
		return nil
	}
	if before {
		r.world.Before = fault
	} else {
		r.world.After = fault
	}
}

func wantCode(t testing.TB, err error, code market.Code) {
	t.Helper()
	if got := market.CodeOf(err); got != code {
		t.Fatalf("got %v, want %s", err, code)
	}
}

func place(t testing.TB) string { return t.TempDir() + "/market.db" }
