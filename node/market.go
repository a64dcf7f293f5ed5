package node

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"robotorq.org/reserve/api"
	"robotorq.org/reserve/market"
	"robotorq.org/reserve/market/address"
	"robotorq.org/reserve/market/books"
	"robotorq.org/reserve/market/chain"
	"robotorq.org/reserve/market/coordinator"
	"robotorq.org/reserve/market/lightning"
	"robotorq.org/reserve/market/rails"
	"robotorq.org/reserve/market/routes"
	"robotorq.org/reserve/market/simulated"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/store"
	"robotorq.org/reserve/web"
)

// MarketConfig is what the bitcoin marketplace needs to know.
type MarketConfig struct {
	Policy    market.Policy
	Tokens    routes.Tokens
	Database  string // address of a PostgreSQL database; "": a file in the data directory
	Bitcoind  string // URL with credentials and wallet path
	LND       LND
	Simulated bool // without daemons: worth nothing, and said everywhere
}

// LND is where the Lightning node is.
type LND struct{ REST, TLSCert, Macaroon string }

// marketFile and worldFile lie in the data directory.
const (
	marketFile = "market.db"
	worldFile  = "market-simulated.json"
)

// check says what is missing.
func (c MarketConfig) check() error {
	daemons := c.Bitcoind != "" || c.LND.REST != ""
	switch {
	case c.Simulated && c.Policy.Network == address.Bitcoin:
		return errors.New("the simulated rails are never used with BITCOIN_NETWORK=bitcoin: configure bitcoind and lnd")
	case c.Simulated && daemons:
		return errors.New("either the daemons or the simulated rails: leave ROBOT_BITCOIND_RPC and ROBOT_LND_REST out, or do without --demo and --simulated")
	case !c.Simulated && (c.Bitcoind == "" || c.LND.REST == "" || c.LND.Macaroon == ""):
		return errors.New("the marketplace needs ROBOT_BITCOIND_RPC, ROBOT_LND_REST and ROBOT_LND_MACAROON (and ROBOT_LND_TLS_CERT), or simulated rails: `robotorq up --demo`, `robotorq market serve --simulated`")
	}
	return c.Policy.Check()
}

// marketplace is the marketplace of a process.
type marketplace struct {
	desk   *coordinator.Desk
	routes *routes.Routes
	world  *simulated.World // nil: real rails
	db     *store.DB
}

func openMarket(ctx context.Context, c MarketConfig, data string, clock Clock, log *slog.Logger, tokens api.Tokens, ore func(context.Context, []byte) *market.OreVerdict) (m *marketplace, err error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	m = new(marketplace)
	path := c.Database
	if path == "" {
		path = filepath.Join(data, marketFile)
	}
	if m.db, err = store.Open(ctx, path, store.Options{Schemas: books.Schemas()}); err != nil {
		return nil, err
	}
	ln, bitcoin, err := m.rails(ctx, c, data, clock)
	if err != nil {
		return nil, errors.Join(err, m.db.Close())
	}
	m.desk, err = coordinator.Open(ctx, coordinator.Options{
		Policy: c.Policy, DB: m.db, Lightning: ln, Chain: bitcoin, Clock: clock, Ore: ore, Hooks: coordinator.NewHooks(c.Tokens.Portal), Log: log,
	})
	if err != nil {
		return nil, errors.Join(err, m.db.Close())
	}
	m.routes, err = routes.New(routes.Options{Desk: m.desk, Tokens: c.Tokens, Store: tokens, Log: log})
	if err != nil {
		return nil, errors.Join(err, m.close())
	}
	return m, nil
}

// rails opens the daemons, or the simulated ones.
func (m *marketplace) rails(ctx context.Context, c MarketConfig, data string, clock Clock) (rails.Lightning, rails.Chain, error) {
	if c.Simulated {
		world, err := simulated.New(c.Policy.Network, filepath.Join(data, worldFile), func() int64 { return clock.Now().UnixMilli() })
		if err != nil {
			return nil, nil, err
		}
		m.world = world
		return world.Lightning(), world.Chain(), nil
	}
	ln, err := lightning.Dial(ctx, lightning.Options{URL: c.LND.REST, TLSCert: c.LND.TLSCert, Macaroon: c.LND.Macaroon, Network: c.Policy.Network})
	if err != nil {
		return nil, nil, err
	}
	bitcoin, err := chain.Dial(ctx, chain.Options{URL: c.Bitcoind, Network: c.Policy.Network})
	return ln, bitcoin, err
}

func (m *marketplace) close() error { return errors.Join(m.desk.Close(), m.db.Close()) }

// How fast the simulated world lives.
const (
	simulatedPayment = 2 * time.Second
	simulatedBlock   = 10 * time.Second
)

// run does the jobs; in a simulated world clients pay by themselves and blocks come.
func (m *marketplace) run(ctx context.Context, clock Clock) error {
	if m.world == nil {
		return m.desk.Run(ctx)
	}
	done := make(chan error, 1)
	go func() { done <- m.desk.Run(ctx) }()
	pay, stopPay := clock.NewTicker(simulatedPayment)
	defer stopPay()
	block, stopBlock := clock.NewTicker(simulatedBlock)
	defer stopBlock()
	for {
		select {
		case err := <-done:
			return err
		case <-pay:
			m.world.PayOpen()
		case <-block:
			m.world.Mine(1)
		}
	}
}

// openMarket opens the marketplace beside the reserve, if it is wanted.
func (n *Node) openMarket(ctx context.Context) (err error) {
	if n.cfg.Market == nil {
		return nil
	}
	c := *n.cfg.Market
	c.Simulated = n.cfg.Demo && c.Bitcoind == "" && c.LND.REST == ""
	home, err := n.home(ctx)
	if err != nil {
		return err
	}
	var judge func(context.Context, []byte) *market.OreVerdict
	if roots := home.Check.Roots; len(roots) > 0 { // without a pin nothing could be called valid
		judge = oreJudge(proof.VerifyOptions{Profile: n.profile, Roots: roots})
	}
	n.market, err = openMarket(ctx, c, n.cfg.Data, n.clock, n.log, n.face.explorer, judge)
	if err == nil {
		n.later(n.market.close)
		err = n.face.meters.Register(marketMeters{n.market})
	}
	return err
}

// connectMarket starts its jobs.
func (n *Node) connectMarket(ctx context.Context) {
	if n.market != nil {
		n.start(ctx, "market", func(ctx context.Context) error { return n.market.run(ctx, n.clock) })
	}
}

// marketInterface is what the page's server mounts; nil when there is no marketplace.
func (n *Node) marketInterface() api.Market {
	if n.market == nil {
		return nil
	}
	return n.market.routes
}

// marketDesk is what the pages of the marketplace ask; nil when there is none.
func (n *Node) marketDesk() *coordinator.Desk {
	if n.market == nil {
		return nil
	}
	return n.market.desk
}

// mostOre is how many ore proofs of one payload are checked.
const mostOre = 16

// oreJudge verifies the ore proofs that a payload carries as a list in its field oreProofs. A unit
// that was shown before counts once.
func oreJudge(o proof.VerifyOptions) func(context.Context, []byte) *market.OreVerdict {
	return func(_ context.Context, payload []byte) *market.OreVerdict {
		var carried struct {
			OreProofs []json.RawMessage `json:"oreProofs"`
		}
		if json.Unmarshal(payload, &carried) != nil || len(carried.OreProofs) == 0 {
			return nil
		}
		type unit struct{ serial, index uint64 }
		v, shown := new(market.OreVerdict), map[unit]int{}
		for i, raw := range carried.OreProofs {
			if i == mostOre {
				v.Faults = append(v.Faults, fmt.Sprintf("only the first %d are checked", mostOre))
				break
			}
			v.Checked++
			p, err := proof.DecodeOreProof(raw)
			var of proof.CertificateSummary
			if err == nil {
				of, err = p.Verify(o)
			}
			if err != nil {
				v.Faults = append(v.Faults, fmt.Sprintf("oreProofs/%d: %v", i, err))
				continue
			}
			if first, again := shown[unit{of.Serial, p.Unit}]; again {
				v.Faults = append(v.Faults, fmt.Sprintf("oreProofs/%d: is the unit of oreProofs/%d", i, first))
				continue
			}
			shown[unit{of.Serial, p.Unit}] = i
			v.Valid++
		}
		return v
	}
}

// MarketServer is a coordinator in a process of its own.
type MarketServer struct {
	Market  MarketConfig
	Data    string // directory, made if need be
	Listen  string
	Hosts   []string
	TLS     Certificate
	Tokens  RoleTokens // beside those of the environment; nil: none
	Log     *slog.Logger
	Version string
	Started func(url string)
}

// ServeMarket runs a coordinator until ctx ends.
func ServeMarket(ctx context.Context, c MarketServer) error {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	plain, err := net.Listen("tcp", c.Listen)
	if err != nil {
		return fmt.Errorf("the marketplace cannot listen on %s: %w (choose another with --listen)", c.Listen, err)
	}
	listener, err := c.TLS.listen(plain)
	if err != nil {
		return errors.Join(err, plain.Close())
	}
	if err := os.MkdirAll(c.Data, 0o700); err != nil {
		return errors.Join(err, listener.Close())
	}
	var tokens api.Tokens // a nil RoleTokens in it would not be nil
	if c.Tokens != nil {
		tokens = c.Tokens
	}
	m, err := openMarket(ctx, c.Market, c.Data, Clock{}, c.Log, tokens, nil)
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	handler, err := m.handler(c)
	if err != nil {
		return errors.Join(err, listener.Close(), m.close())
	}
	return errors.Join(m.serve(ctx, c, listener, handler), m.close())
}

// handler is all that a coordinator of its own serves: the interface for programs, and the
// pages.
func (m *marketplace) handler(c MarketServer) (http.Handler, error) {
	spec, err := m.routes.Document(c.Version)
	if err != nil {
		return nil, err
	}
	pages, err := web.NewMarket(web.MarketOptions{
		Desk: m.desk, Clock: Clock{}, Log: c.Log, Version: c.Version,
		Holders: func(ctx context.Context, digest [sha256.Size]byte) (web.Holder, error) {
			return holderOf(ctx, m, c.Tokens, digest)
		},
	})
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("/robot/", m.routes)
	mux.HandleFunc("GET /healthz", alive)
	mux.HandleFunc("GET /api/openapi.json", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/openapi+json")
		_, _ = w.Write(spec) // the client went away: nobody to tell
	})
	mux.Handle("/", pages)
	return api.Guard(c.Hosts, mux), nil
}

// serve answers and does the jobs until one of them ends.
func (m *marketplace) serve(ctx context.Context, c MarketServer, listener net.Listener, handler http.Handler) error {
	server := &http.Server{
		Handler: handler, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: time.Minute, WriteTimeout: 2 * time.Minute,
		IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10, ErrorLog: slog.NewLogLogger(c.Log.Handler(), slog.LevelWarn),
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	served, worked := make(chan error, 1), make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	go func() { worked <- m.run(ctx, Clock{}) }()
	if c.Started != nil {
		c.Started(Config{TLS: c.TLS}.address(listener))
	}
	var err error
	select {
	case err = <-served:
		cancel()
		<-worked
		return err
	case err = <-worked:
	case <-ctx.Done():
		err = <-worked
	}
	bounded, stop := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer stop()
	shut := server.Shutdown(bounded)
	<-served
	if errors.Is(err, context.Canceled) {
		err = nil
	}
	return errors.Join(err, shut, server.Close())
}
