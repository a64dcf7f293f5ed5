package node

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"robotorq.org/reserve/bus"
	"robotorq.org/reserve/seal"
	"robotorq.org/reserve/store"
)

// RunStations runs digger, refinery or both (Config.Stations) apart from the books of
// their reserve, until ctx ends or one of them fails. The directory has the reserve's
// identity and the key file of each station that runs, and becomes the home of their
// books. Config.Listen, if set, serves /healthz, /readyz and /metrics.
func RunStations(ctx context.Context, cfg Config) error {
	n := &Node{cfg: cfg, log: cfg.Log, clock: cfg.clock, dbs: map[string]*store.DB{}, reached: make(chan struct{})}
	if n.log == nil {
		n.log = slog.New(slog.DiscardHandler)
	}
	n.started, n.reports = n.clock.Now(), newReportDesk(n)
	var listener net.Listener
	if cfg.Listen != "" {
		var err error
		if listener, err = net.Listen("tcp", cfg.Listen); err != nil {
			return fmt.Errorf("health and metrics cannot be served on %s: %w (choose another with --listen)", cfg.Listen, err)
		}
		n.later(listener.Close)
	}
	for _, step := range []func(context.Context) error{n.openHandedOver, n.openBus, n.stationStores, n.openStations, n.stayAwake} {
		if err := step(ctx); err != nil {
			return errors.Join(err, n.close())
		}
	}
	err := n.runStations(ctx, listener)
	return errors.Join(err, ignoreClosed(n.close()))
}

// ignoreClosed forgives closing what the server has closed.
func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

func (n *Node) runStations(parent context.Context, listener net.Listener) error {
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(parent))
	n.cancel = cancel
	n.connectStations(ctx)
	where := n.cfg.Bus
	if listener != nil {
		server := &http.Server{Handler: n.health(), ReadHeaderTimeout: 10 * time.Second, ErrorLog: slog.NewLogLogger(n.log.Handler(), slog.LevelWarn)}
		n.start(ctx, "health", func(ctx context.Context) error {
			stop := context.AfterFunc(ctx, func() { server.Close() })
			defer stop()
			if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
				return err
			}
			return nil
		})
		where = n.cfg.address(listener)
	}
	if n.cfg.Started != nil {
		n.page = where
		n.cfg.Started(n.running())
	}
	n.wait(parent, ctx)
	cause := context.Cause(ctx)
	cancel(errDone)
	n.work.Wait()
	if errors.Is(cause, errDone) {
		return nil
	}
	return cause
}

// openHandedOver opens a directory that its reserve has handed an identity and keys to.
func (n *Node) openHandedOver(context.Context) (err error) {
	if err := checkHandedOver(n.cfg.Data, n.cfg.Stations); err != nil {
		return err
	}
	if err := n.lockDirectory(); err != nil {
		return err
	}
	if n.identity, n.profile, err = ReadIdentity(n.cfg.Data); err != nil {
		return err
	}
	for _, k := range []struct {
		into       **seal.Signer
		name, role string
	}{{&n.ring.Digger, diggerID, seal.RoleDigger}, {&n.ring.Refinery, refineryID, seal.RoleRefinery}} {
		if !n.runs(k.role) {
			continue
		}
		if *k.into, err = openKey(n.path(keysDir, k.role+".json"), n.cfg.Passphrase, k.name, k.role, false); err != nil {
			return err
		}
	}
	return nil
}

// runs tells whether a station works in this process without books.
func (n *Node) runs(service string) bool { return slices.Contains(n.cfg.Stations, service) }

func (n *Node) openStations(ctx context.Context) error {
	if n.runs(ServiceDigger) {
		if err := n.openDigger(ctx); err != nil {
			return err
		}
	}
	if n.runs(ServiceRefinery) {
		return n.openRefinery(ctx)
	}
	return nil
}

// checkHandedOver refuses a directory of a station that lacks what its reserve gave it.
func checkHandedOver(dir string, stations []string) error {
	missing := func(file string) error {
		_, err := os.Stat(filepath.Join(dir, file))
		if errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%s has no %s: a station's directory is made by `robotorq hand-over` from that of its reserve", dir, file)
		}
		return err
	}
	if err := missing(identityFile); err != nil {
		return err
	}
	for _, name := range stations {
		if err := missing(filepath.Join(keysDir, name+".json")); err != nil {
			return err
		}
	}
	return nil
}

// stationStores opens the books of stations that run without the reserve's.
func (n *Node) stationStores(ctx context.Context) error {
	all := schemas()
	n.latency = newLatencies(n.cfg.Stations...)
	for _, name := range n.cfg.Stations {
		o := store.Options{Schemas: all[name], Committing: n.latency.committing(name, n.clock)}
		db, err := n.stationBook(ctx, name, o)
		if err != nil {
			return err
		}
		n.later(db.Close)
		n.dbs[name] = db
	}
	return nil
}

// stationBook opens the books of a station that was handed over. They came as a file; who
// names a database has them moved there first, once, and the file goes: with other books,
// or none, the station would sign another history with its key.
func (n *Node) stationBook(ctx context.Context, name string, o store.Options) (*store.DB, error) {
	path := n.path(name + ".db")
	gone, err := absent(path)
	switch {
	case err != nil:
		return nil, err
	case n.cfg.Database == "" && gone:
		return nil, fmt.Errorf("%s is not there: if its books were moved to a database, name that with --db; a hand-over brings them otherwise", path)
	case n.cfg.Database == "":
		return store.Open(ctx, path, o)
	}
	db, err := store.Open(ctx, n.cfg.Database, o)
	if err != nil || gone {
		return db, err
	}
	if err = copyBook(ctx, path, db, o.Schemas, lastSent); err == nil {
		err = os.Remove(path)
	}
	if err == nil {
		err = syncDir(filepath.Dir(path))
	}
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

// copyBook copies the books in a file into those of a database, unless that was done: then
// both must have the same ends.
func copyBook(ctx context.Context, path string, into *store.DB, schemas []store.Schema, ends func(context.Context, *store.DB) ([]bus.Mark, error)) error {
	from, err := store.Open(ctx, path, store.Options{Schemas: schemas})
	if err != nil {
		return err
	}
	copied, err := from.CopyTo(ctx, into)
	if err == nil && !copied { // a crash came before the file was removed, or these are other books
		var here, there []bus.Mark
		here, err = ends(ctx, from)
		if err == nil {
			there, err = ends(ctx, into)
		}
		if err == nil && !slices.Equal(here, there) {
			err = fmt.Errorf("both %s and the database hold books of this station, and not the same: move the one aside that is old", path)
		}
	}
	return errors.Join(err, from.Close())
}

// lastSent is the last message of each outbox in a book.
func lastSent(ctx context.Context, db *store.DB) ([]bus.Mark, error) {
	return marksOf(ctx, db, "SELECT o.seq, o.digest FROM bus_outbox o WHERE o.seq = (SELECT max(seq) FROM bus_outbox l WHERE l.producer = o.producer) ORDER BY o.producer")
}

func marksOf(ctx context.Context, db *store.DB, query string) (marks []bus.Mark, err error) {
	err = db.View(ctx, func(ctx context.Context, tx *sql.Tx) error {
		marks = nil
		rows, err := tx.QueryContext(ctx, query)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var m bus.Mark
			var digest []byte
			if err := rows.Scan(&m.Seq, &digest); err != nil {
				return err
			}
			copy(m.Digest[:], digest)
			marks = append(marks, m)
		}
		return rows.Err()
	})
	return marks, err
}

// connectStations starts the stations of a process without books.
func (n *Node) connectStations(ctx context.Context) {
	n.relay(ctx)
	logged := own(bus.SubjectCertificate(mintID))
	if n.digger != nil {
		n.connectDigger(ctx, logged)
		n.start(ctx, "answers", n.answerQuestions)
	}
	if n.refinery != nil {
		n.connectRefinery(ctx, logged)
	}
}

// health answers whether the stations of this process work, and how.
func (n *Node) health() http.Handler {
	meters := prometheus.NewRegistry()
	meters.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), &processMeters{n}, n.latency)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", alive)
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if err := n.stationsNotReady(); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ready")
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(meters, promhttp.HandlerOpts{Registry: meters}))
	return mux
}

func (n *Node) stationsNotReady() error {
	if !n.bus.Ready() {
		return fmt.Errorf("the bus is not connected: is the process with the books running, and is its bus at %s?", n.cfg.Bus)
	}
	return errors.Join(n.lowDisk(), n.stoppedProducer())
}

// processMeters are the figures that every process of a reserve has.
type processMeters struct{ n *Node }

// Describe implements prometheus.Collector.
func (m *processMeters) Describe(out chan<- *prometheus.Desc) {
	for _, f := range []figure{outboxDepth, outboxResent, markLag, nodeUp, nodeReady, nodeDisk, nodeInfo} {
		out <- f.desc()
	}
}

// Collect implements prometheus.Collector.
func (m *processMeters) Collect(out chan<- prometheus.Metric) {
	m.n.collectProcess(out, m.n.stationsNotReady() == nil)
}
