package bench

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"database/sql"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/btcsuite/btcd/address/v2"
	"github.com/btcsuite/btcd/chaincfg/v2"

	"robotorq.org/reserve/market"
	marketaddress "robotorq.org/reserve/market/address"
	"robotorq.org/reserve/market/books"
	"robotorq.org/reserve/market/client"
	"robotorq.org/reserve/market/coordinator"
	"robotorq.org/reserve/market/rails"
	"robotorq.org/reserve/market/routes"
	"robotorq.org/reserve/market/signature"
	"robotorq.org/reserve/market/simulated"
	"robotorq.org/reserve/store"
)

// MarketOptions say what [Market] measures. Zero values are the defaults.
type MarketOptions struct {
	Dir     string // for the books
	Tasks   int    // claimed, proved and settled, 2,000
	Clients int    // at once, 64
	Payees  int    // of the sweep, 2,500
	Clock   coordinator.Clock
}

// MarketFigures are what was measured. Rates are a second.
type MarketFigures struct {
	Claims, Proofs, Settlements Rate
	Limit                       Rate          // the same signed requests, checked and answered without books
	Payees                      int           // in one transaction
	Sweep                       time.Duration // planned, built, recorded, broadcast and noted
	Node                        time.Duration // of it, in the node
}

// Rate is how fast and how late answers came.
type Rate struct {
	PerSecond float64
	P50, P99  time.Duration
}

// Own is the coordinator's own time for the sweep.
func (f MarketFigures) Own() time.Duration { return f.Sweep - f.Node }

// Market measures claims, proofs and settlements over HTTP on loopback, claims and proofs signed
// and everything acknowledged after its commit is on disk; then a sweep of many payees. The rails
// are simulated, and the node's part of the sweep is taken apart.
func Market(ctx context.Context, o MarketOptions) (f MarketFigures, err error) {
	o.Tasks, o.Clients, o.Payees = orElse(o.Tasks, 2_000), orElse(o.Clients, 64), orElse(o.Payees, 2_500)
	m, err := openBenchMarket(ctx, o)
	if err != nil {
		return f, err
	}
	defer func() { err = errors.Join(err, m.close()) }()
	if f.Limit, err = m.limit(ctx); err != nil {
		return f, err
	}
	tasks, err := m.fill(ctx, o.Tasks, o.Tasks, false)
	if err != nil {
		return f, err
	}
	robots, portal, err := m.clients()
	if err != nil {
		return f, err
	}
	for _, one := range []struct {
		into *Rate
		do   func(i int) error
	}{
		{&f.Claims, func(i int) error { _, err := robots[i].Claim(ctx, tasks[i]); return err }},
		{&f.Proofs, func(i int) error { _, err := robots[i].Prove(ctx, tasks[i], map[string]int{"photo": i}); return err }},
		{&f.Settlements, func(i int) error { _, err := portal.Settle(ctx, tasks[i]); return err }},
	} {
		if *one.into, err = m.measure(len(tasks), one.do); err != nil {
			return f, err
		}
	}
	return f, m.sweep(ctx, &f)
}

func orElse(n, usual int) int {
	if n <= 0 {
		return usual
	}
	return n
}

// benchMarket is a coordinator with simulated rails behind a real port.
type benchMarket struct {
	o      MarketOptions
	db     *store.DB
	desk   *coordinator.Desk
	chain  *timedChain
	server *http.Server
	url    string
	http   *http.Client
	keys   []ed25519.PrivateKey
	next   int
}

func openBenchMarket(ctx context.Context, o MarketOptions) (*benchMarket, error) {
	m := &benchMarket{o: o}
	world, err := simulated.New(marketaddress.Regtest, "", func() int64 { return o.Clock.Now().UnixMilli() })
	if err != nil {
		return nil, err
	}
	if m.db, err = store.Open(ctx, filepath.Join(o.Dir, "market.db"), store.Options{Schemas: books.Schemas(), CacheKiB: 8 << 10}); err != nil {
		return nil, err
	}
	m.chain = &timedChain{Chain: world.Chain(), now: o.Clock.Now}
	policy := market.Defaults(marketaddress.Regtest)
	policy.MaxActiveClaims, policy.HeartbeatMaxAgeMs = 1_000_000, 24*3_600_000
	m.desk, err = coordinator.Open(ctx, coordinator.Options{Policy: policy, DB: m.db, Lightning: world.Lightning(), Chain: m.chain, Clock: o.Clock})
	if err != nil {
		return nil, errors.Join(err, m.db.Close())
	}
	r, err := routes.New(routes.Options{Desk: m.desk, Tokens: routes.Tokens{Mesh: "mesh", Portal: "portal", Admin: "admin"}})
	if err != nil {
		return nil, errors.Join(err, m.desk.Close(), m.db.Close())
	}
	mux := http.NewServeMux()
	mux.Handle("/robot/", r)
	mux.HandleFunc("/limit", m.answerOnly)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, errors.Join(err, m.desk.Close(), m.db.Close())
	}
	m.url = "http://" + listener.Addr().String()
	m.server = &http.Server{Handler: mux, ReadHeaderTimeout: time.Minute}
	go m.server.Serve(listener)
	m.http = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: o.Clients}}
	return m, nil
}

func (m *benchMarket) close() error {
	return errors.Join(m.server.Close(), m.desk.Close(), m.db.Close())
}

// answerOnly reads and checks a signed request and answers, and does nothing.
func (m *benchMarket) answerOnly(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	if err == nil {
		var c signature.Claim
		if c, err = signature.Parse(r, body, m.o.Clock.Now().Unix()); err == nil {
			err = c.Verify(m.keys[0].Public().(ed25519.PublicKey))
		}
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusUnauthorized)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, `{"ok":true}`) // the client went away: nobody to tell
}

// limit measures requests that are signed, sent, checked and answered.
func (m *benchMarket) limit(ctx context.Context) (Rate, error) {
	m.keys = []ed25519.PrivateKey{benchKey(0)}
	sign := func(b []byte) ([]byte, error) { return ed25519.Sign(m.keys[0], b), nil }
	return m.measure(m.o.Tasks, func(int) error {
		body := []byte(`{"agentId":"robot-000000"}`)
		q, err := http.NewRequestWithContext(ctx, http.MethodPost, m.url+"/limit", bytes.NewReader(body))
		if err != nil {
			return err
		}
		now := m.o.Clock.Now().Unix()
		if err := signature.Sign(q, body, "robot-000000", sign, now, now+300, signature.NewNonce()); err != nil {
			return err
		}
		a, err := m.http.Do(q)
		if err != nil {
			return err
		}
		defer a.Body.Close()
		var answer map[string]any
		if err := json.NewDecoder(a.Body).Decode(&answer); err != nil || a.StatusCode != http.StatusOK {
			return fmt.Errorf("bench: %s: %w", a.Status, errors.Join(err))
		}
		return nil
	})
}

func benchKey(i int) ed25519.PrivateKey {
	seed := make([]byte, ed25519.SeedSize)
	binary.BigEndian.PutUint64(seed, uint64(i)+1)
	return ed25519.NewKeyFromSeed(seed)
}

func benchRobot(i int) string { return fmt.Sprintf("robot-%06d", i) }

// benchAddress is the i-th of many addresses.
func benchAddress(i int) (string, error) {
	hash := make([]byte, 20)
	binary.BigEndian.PutUint64(hash, uint64(i)+1)
	a, err := address.NewAddressWitnessPubKeyHash(hash, &chaincfg.RegressionNetParams)
	if err != nil {
		return "", err
	}
	return a.EncodeAddress(), nil
}

// fill registers robots and funds as many tasks, and settles them for those robots if they are
// to be settled; in few transactions, since it is not measured.
func (m *benchMarket) fill(ctx context.Context, robots, tasks int, settled bool) (ids []string, err error) {
	core, now := market.Machine{Policy: m.desk.Policy()}, m.desk.Now()
	first := m.next
	m.next += robots
	m.keys = m.keys[:0]
	err = m.db.Update(ctx, func(ctx context.Context, tx *sql.Tx) error {
		b := books.In(ctx, m.db, tx, core.Policy)
		for i := range tasks {
			at, err := benchAddress(first + i)
			if err != nil {
				return err
			}
			key := benchKey(first + i)
			m.keys = append(m.keys, key)
			registration := market.Registration{AgentID: benchRobot(first + i), PayoutAddress: at, Capabilities: []string{"camera"}, RobotKind: "rover", PublicKey: key.Public().(ed25519.PublicKey)}
			if _, err := core.Register(b, registration, now); err != nil {
				return err
			}
			id := fmt.Sprintf("task-%06d", first+i)
			if err := fundBench(core, b, id, now); err != nil {
				return err
			}
			if settled {
				if err := settleBench(core, b, id, registration.AgentID, now); err != nil {
					return err
				}
			}
			ids = append(ids, id)
		}
		return nil
	})
	return ids, err
}

func fundBench(core market.Machine, b market.Books, id string, now int64) error {
	t, err := core.Prepare(market.Task{ClientAccountID: "alice", Title: "Photograph the bridge", TaskKind: "physical", ResourceRequirements: []string{"camera"}, EscrowSats: 100_000}, now)
	if err != nil {
		return err
	}
	t.TaskID = id
	n := market.NewTask{Task: t}
	copy(n.Hash[:], id)
	if _, err := core.Create(b, n, now); err != nil {
		return err
	}
	_, err = core.Paid(b, rails.Invoice{Hash: n.Hash, State: rails.InvoiceSettled, PaidSats: t.EscrowSats}, now)
	return err
}

func settleBench(core market.Machine, b market.Books, id, robot string, now int64) error {
	if _, err := core.Claim(b, id, robot, now); err != nil {
		return err
	}
	if _, err := core.Prove(b, id, market.Proof{AgentID: robot, Payload: []byte(`{}`)}, now); err != nil {
		return err
	}
	_, err := core.Settle(b, id, "alice", "entry-"+id, now)
	return err
}

func (m *benchMarket) clients() ([]*client.Robot, *client.Portal, error) {
	robots := make([]*client.Robot, len(m.keys))
	for i, key := range m.keys {
		r, err := client.NewRobot(m.url, "mesh", benchRobot(i), client.Ed25519(key), client.HTTP(m.http), client.Clock(m.o.Clock.Now))
		if err != nil {
			return nil, nil, err
		}
		robots[i] = r
	}
	portal, err := client.NewPortal(m.url, "portal", "alice", client.HTTP(m.http))
	return robots, portal, err
}

// measure does n things by so many clients at once.
func (m *benchMarket) measure(n int, do func(i int) error) (Rate, error) {
	took := make([]time.Duration, n)
	var next atomic.Int64
	var failed atomic.Pointer[error]
	var all sync.WaitGroup
	start := m.o.Clock.Now()
	for range min(m.o.Clients, n) {
		all.Go(func() {
			for i := int(next.Add(1)) - 1; i < n && failed.Load() == nil; i = int(next.Add(1)) - 1 {
				began := m.o.Clock.Now()
				if err := do(i); err != nil {
					failed.Store(&err)
				}
				took[i] = m.o.Clock.Now().Sub(began)
			}
		})
	}
	all.Wait()
	whole := m.o.Clock.Now().Sub(start)
	if err := failed.Load(); err != nil {
		return Rate{}, *err
	}
	slices.Sort(took)
	return Rate{float64(n) / whole.Seconds(), took[n/2], took[n*99/100]}, nil
}

// sweep pays as many robots as fit into one transaction.
func (m *benchMarket) sweep(ctx context.Context, f *MarketFigures) error {
	if _, err := m.desk.Sweep(ctx); err != nil { // what was settled over HTTP goes first
		return err
	}
	if _, err := m.fill(ctx, m.o.Payees, m.o.Payees, true); err != nil {
		return err
	}
	m.chain.took.Store(0)
	start := m.o.Clock.Now()
	report, err := m.desk.Sweep(ctx)
	if err != nil {
		return err
	}
	f.Sweep, f.Node = m.o.Clock.Now().Sub(start), time.Duration(m.chain.took.Load())
	if report.Sweep == nil || report.Sweep.State != market.SweepSeen {
		return fmt.Errorf("bench: the sweep was not made: %s", report.Deferred)
	}
	f.Payees = len(report.Sweep.Payouts)
	return nil
}

// timedChain adds up the time that is spent in the node.
type timedChain struct {
	rails.Chain
	now  func() time.Time
	took atomic.Int64
}

func (c *timedChain) clock() func() {
	start := c.now()
	return func() { c.took.Add(int64(c.now().Sub(start))) }
}

// EstimateFee, Build, Broadcast, Transaction, Since and Locked are those that a sweep calls.
func (c *timedChain) EstimateFee(ctx context.Context, blocks int) (rails.FeeRate, error) {
	defer c.clock()()
	return c.Chain.EstimateFee(ctx, blocks)
}

// Build implements rails.Chain.
func (c *timedChain) Build(ctx context.Context, r rails.BuildRequest) (rails.Built, error) {
	defer c.clock()()
	return c.Chain.Build(ctx, r)
}

// Broadcast implements rails.Chain.
func (c *timedChain) Broadcast(ctx context.Context, raw []byte) (rails.Broadcast, error) {
	defer c.clock()()
	return c.Chain.Broadcast(ctx, raw)
}

// Transaction implements rails.Chain.
func (c *timedChain) Transaction(ctx context.Context, txid string) (rails.Transaction, error) {
	defer c.clock()()
	return c.Chain.Transaction(ctx, txid)
}

// Since implements rails.Chain.
func (c *timedChain) Since(ctx context.Context, hash string) (rails.Changes, error) {
	defer c.clock()()
	return c.Chain.Since(ctx, hash)
}

// Locked implements rails.Chain.
func (c *timedChain) Locked(ctx context.Context) ([]rails.Outpoint, error) {
	defer c.clock()()
	return c.Chain.Locked(ctx)
}
