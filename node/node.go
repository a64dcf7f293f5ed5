// Package node wires the stations into one process: it owns the clock, the data
// directory, every goroutine and the order in which things start and stop. It
// holds no rule of the reserve.
//
// A start reads as the way of the ore: lock the directory, open the keys and the
// bus, open Trust, digger, refinery, mint and vault on their books, connect what
// each hands over to what the next consumes, show it all on a page. When one of
// them fails the others are stopped and the process ends with its error: a start
// from the stores is the only recovery there is, and it is the same after a crash.
//
// Hand-over between stations implements the proof chain specification, section 6.
package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"robotorq.org/reserve/archive"
	"robotorq.org/reserve/bus"
	"robotorq.org/reserve/digger"
	"robotorq.org/reserve/mint"
	"robotorq.org/reserve/mint/prooflog"
	"robotorq.org/reserve/refinery"
	"robotorq.org/reserve/store"
	"robotorq.org/reserve/torq"
	"robotorq.org/reserve/trust"
	"robotorq.org/reserve/vault"
)

// Config is what a reserve in one process needs to know.
type Config struct {
	Data       string      // directory, made if need be
	Listen     string      // host:port of the page; port 0 picks a free one
	Hosts      []string    // names under which the page is asked for, beside localhost and addresses
	TLS        Certificate // of the page
	NATS       string      // host:port on which agents of other processes reach the bus; empty: none
	NATSToken  string      // what they must present; required unless NATS is a loopback address
	NATSTLS    Certificate // of that port; required unless NATS is a loopback address, or NATSPlain
	NATSPlain  bool        // the port is protected by something else, such as a tunnel
	Origin     string      // of a new reserve; empty: taken from the data directory, or made up
	Profile    string      // of a new reserve; empty: standard
	Passphrase string      // of the key files; empty: they are not encrypted
	Policy     []byte      // JSON laid over the default policy of a new reserve; nil: a demo takes DemoPolicy
	Demo       bool
	Resume     []string // diggers that were stopped and may go on
	Alone      bool     // a restored directory may start though no mirror is asked
	Witnesses  WitnessConfig
	Mirrors    []string      // addresses that are asked whether the log is behind them, before anything is signed
	Market     *MarketConfig // nil: no marketplace
	Goal       Goal

	// A reserve in several processes (see Split): what works elsewhere, or, without books,
	// what works here; the bus that they share, if it is not this process's own, and the
	// token that makes a process one of the reserve's.
	Apart        []string
	Stations     []string
	Bus          string // nats://host:port, or tls://
	ServiceToken string
	Database     string // of the one station here: a PostgreSQL address instead of a file

	VaultDatabase string // of a reserve's vault: a PostgreSQL address instead of a file

	Log     *slog.Logger // discarded if nil
	Version string

	// Started is called when everything runs.
	Started func(Running)

	clock  Clock             // of a benchmark
	minted func(mint.Minted) // beside the page; of a benchmark
	rest   time.Duration     // see mint.Options
}

// Goal ends a run by itself; zero fields do not.
type Goal struct {
	Certificates uint64 // minted in all
	Ore          uint64 // accepted in all
	For          time.Duration
}

// Node is a running reserve.
type Node struct {
	cfg      Config
	log      *slog.Logger
	clock    Clock
	started  time.Time
	identity Identity
	profile  torq.Profile
	ring     KeyRing

	bus       *bus.Bus
	packs     *archive.Writer
	shelf     *archive.Reader
	prooflog  *prooflog.Log
	witnesses *witnesses // nil: none
	dbs       map[string]*store.DB
	latency   *latencies
	boxes     []*bus.Outbox

	trust    *trust.Station
	digger   *digger.Station
	refinery *refinery.Station
	mint     *mint.Station
	vault    *vault.Station
	face     *face
	page     string // address of the page
	reports  *reportDesk
	market   *marketplace // nil: none

	awake   bool           // open has succeeded
	madeUp  bool           // the origin, by this start
	closers []func() error // in the order of opening
	stopped sync.Map       // producers that a consumer refused, with the error
	robots  sync.Map       // ids of robots whose agents run in this process
	work    sync.WaitGroup
	cancel  context.CancelCauseFunc
	reached chan struct{} // closed when the goal is reached
	goal    sync.Once
}

// errDone ends a run that reached its goal.
var errDone = errors.New("the goal is reached")

// Run runs a reserve until ctx ends, its goal is reached (both return nil) or
// something in it fails.
func Run(ctx context.Context, cfg Config) error {
	// The port comes first: nothing is founded for a page that cannot be shown.
	listener, err := net.Listen("tcp", cfg.Listen)
	if err != nil {
		return fmt.Errorf("the page cannot listen on %s: %w (choose another with --listen or --port)", cfg.Listen, err)
	}
	secure, err := cfg.TLS.listen(listener)
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	listener = secure
	n, err := open(ctx, cfg)
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	err = n.run(ctx, listener)
	return errors.Join(err, n.close())
}

// address is where a person on this machine finds the page.
func (c Config) address(l net.Listener) string {
	scheme := "http"
	if c.TLS != (Certificate{}) {
		scheme = "https"
	}
	host, port, err := net.SplitHostPort(l.Addr().String())
	if ip := net.ParseIP(host); err == nil && ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return scheme + "://" + net.JoinHostPort(host, port)
}

// open brings everything up to the point where goroutines start.
func open(ctx context.Context, cfg Config) (*Node, error) {
	n := &Node{cfg: cfg, log: cfg.Log, clock: cfg.clock, dbs: map[string]*store.DB{}, reached: make(chan struct{})}
	if n.log == nil {
		n.log = slog.New(slog.DiscardHandler)
	}
	n.started, n.reports = n.clock.Now(), newReportDesk(n)
	steps := []func(context.Context) error{
		n.openDirectory, n.checkRestored, n.openBus, n.openStores, n.confirm, n.readWitnesses, n.openLog, n.openFace, n.openVault, n.openTrust, n.samePolicy, n.openDigger, n.openRefinery, n.openMint, n.charterFirst,
		n.openMarket, n.attachFace, n.settleRestored, n.stayAwake,
	}
	for _, step := range steps {
		if err := step(ctx); err != nil {
			return nil, errors.Join(err, n.close())
		}
	}
	return n, nil
}

// close gives everything back in the reverse order of opening.
func (n *Node) close() error {
	var errs []error
	for i := len(n.closers) - 1; i >= 0; i-- {
		errs = append(errs, n.closers[i]())
	}
	n.closers = nil
	return errors.Join(errs...)
}

func (n *Node) later(f func() error) { n.closers = append(n.closers, f) }

func (n *Node) path(elem ...string) string {
	return filepath.Join(append([]string{n.cfg.Data}, elem...)...)
}

// openDirectory locks the data directory, finds out whose it is and opens its keys.
func (n *Node) openDirectory(ctx context.Context) (err error) {
	if err := n.lockDirectory(); err != nil {
		return err
	}
	origin := n.cfg.Origin
	if _, _, err := ReadIdentity(n.cfg.Data); err != nil && origin == "" {
		origin, n.madeUp = newOrigin(n.cfg.Demo), true
	}
	if n.identity, n.profile, err = identify(n.cfg.Data, origin, n.cfg.Profile, n.cfg.Demo); err != nil {
		return err
	}
	if err := n.keepApart(); err != nil {
		return err
	}
	if err := n.settleKeys(ctx); err != nil {
		return err
	}
	n.ring, err = openKeys(n.cfg.Data, n.identity.Origin, n.cfg.Passphrase, n.cfg.Apart)
	return err
}

// lockDirectory makes the directory this process's alone, and compares what rested in it.
func (n *Node) lockDirectory() error {
	if err := os.MkdirAll(n.cfg.Data, 0o700); err != nil {
		return err
	}
	lock, err := lockFileOf(n.cfg.Data)
	if err != nil {
		return err
	}
	n.later(lock.Close)
	return n.wake()
}

// lockFileOf locks a directory until the file is closed.
func lockFileOf(dir string) (*os.File, error) {
	lock, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("%s is in use by another reserve: stop that one, or choose another --data (%w)", dir, err), lock.Close())
	}
	return lock, nil
}

func (n *Node) openBus(ctx context.Context) (err error) {
	secure, err := n.cfg.NATSTLS.config()
	if err != nil {
		return err
	}
	if n.cfg.Bus != "" {
		n.bus, err = bus.Connect(ctx, n.cfg.Bus, bus.Options{Token: n.cfg.ServiceToken, Clock: n.clock, Log: n.log.With("room", "bus")})
		if err != nil {
			err = fmt.Errorf("%w (does the process that has the bus run, and is ROBOTORQ_SERVICE_TOKEN the same here and there?)", err)
		}
	} else {
		n.bus, err = bus.Start(ctx, bus.Options{
			StoreDir: n.path(busDir), Listen: n.cfg.NATS, Token: n.cfg.NATSToken, Services: n.cfg.ServiceToken, TLS: secure, Plain: n.cfg.NATSPlain, Robots: true,
			Clock: n.clock, Log: n.log.With("room", "bus"),
		})
	}
	if err == nil {
		n.later(n.bus.Close)
	}
	return err
}

// schemas are the tables of each station's file.
func schemas() map[string][]store.Schema {
	return map[string][]store.Schema{
		"trust": trust.Schemas(), "digger": digger.Schemas(), "refinery": refinery.Schemas(), "mint": mint.Schemas(), "vault": vault.Schemas(),
	}
}

// outbox opens what a station hands over, and remembers to relay it.
func (n *Node) outbox(ctx context.Context, db, producer string, consumers ...string) (*bus.Outbox, error) {
	o, err := bus.NewOutbox(ctx, n.dbs[db], producer, consumers...)
	if err == nil {
		n.boxes = append(n.boxes, o)
	}
	return o, err
}

// serve runs the page until ctx ends.
func (n *Node) serve(ctx context.Context, l net.Listener) error {
	server := &http.Server{
		Handler:           n.face.handler,
		ReadHeaderTimeout: 10 * time.Second,
		WriteTimeout:      5 * time.Minute, // event streams set their own with each write
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(n.log.Handler(), slog.LevelWarn),
	}
	stopped := make(chan error, 1)
	go func() { stopped <- server.Serve(l) }()
	select {
	case err := <-stopped:
		return err
	case <-ctx.Done():
	}
	n.face.close()
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	err := server.Shutdown(bounded)
	<-stopped
	return errors.Join(err, server.Close())
}

// start runs f until ctx ends; its error ends everything.
func (n *Node) start(ctx context.Context, what string, f func(context.Context) error) {
	n.work.Go(func() {
		err := f(ctx)
		if ctx.Err() != nil {
			if err != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, errDone) {
				n.log.Warn("stopped with an error", "what", what, "err", err)
			}
			return
		}
		if err == nil {
			err = errors.New("it ended by itself")
		}
		n.log.Error("failed", "what", what, "err", err)
		n.cancel(fmt.Errorf("%s: %w", what, err))
	})
}

// run starts every goroutine and waits for the end.
func (n *Node) run(parent context.Context, listener net.Listener) error {
	// The page and the demo end before the stations, so that nothing is asked of
	// a station that has ended.
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(parent))
	n.cancel = cancel
	defer cancel(nil)
	front, stopFront := context.WithCancel(ctx)
	defer stopFront()

	n.connect(ctx)
	n.connectMarket(ctx)
	n.page = n.cfg.address(listener)
	n.start(ctx, "disk", n.face.growth.watch)
	var frontWork sync.WaitGroup
	inFront := func(what string, f func(context.Context) error) {
		frontWork.Go(func() {
			if err := f(front); err != nil && front.Err() == nil {
				n.log.Error("failed", "what", what, "err", err)
				cancel(fmt.Errorf("%s: %w", what, err))
			}
		})
	}
	inFront("page", func(ctx context.Context) error { return n.serve(ctx, listener) })
	inFront("simulator", n.face.runs.Run)
	if err := n.begin(ctx); err != nil {
		cancel(err)
	}
	if n.cfg.Demo {
		inFront("demo", n.demo)
	}
	if n.cfg.Started != nil && ctx.Err() == nil {
		n.awaitFounded(parent, ctx)
		n.cfg.Started(n.running())
	}
	n.wait(parent, ctx)
	stopFront()
	frontWork.Wait()
	cause := context.Cause(ctx)
	cancel(errDone)
	n.work.Wait()
	if errors.Is(cause, errDone) {
		return nil
	}
	return cause
}

// wait returns when the run is to end.
func (n *Node) wait(parent, ctx context.Context) {
	var after <-chan time.Time
	if n.cfg.Goal.For > 0 {
		timer, stop := n.clock.NewTimer(n.cfg.Goal.For)
		defer stop()
		after = timer
	}
	select {
	case <-parent.Done():
	case <-ctx.Done():
	case <-n.reached:
	case <-after:
	}
}

// begin finishes what was interrupted, and on the first start founds the reserve.
func (n *Node) begin(ctx context.Context) error {
	amend := n.cfg.Policy
	if amend == nil && n.cfg.Demo {
		amend = DemoPolicy
	}
	if err := genesis(ctx, n.trust, n.ring, n.identity.Origin, amend, uint64(n.clock.Now().UnixMilli())); err != nil {
		return err
	}
	if err := n.listWitnesses(ctx); err != nil {
		return err
	}
	return n.trust.Resume(ctx)
}
