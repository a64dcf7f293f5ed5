package node

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"syscall"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"robotorq.org/reserve/api"
	"robotorq.org/reserve/explorer"
	"robotorq.org/reserve/mirror"
	"robotorq.org/reserve/sim/queue"
	"robotorq.org/reserve/sim/watch"
	"robotorq.org/reserve/web"
)

// face is what people and programs see of the node: pages, API, metrics, health.
type face struct {
	explorer *explorer.Explorer
	feed     *api.Feed
	server   *api.Server
	handler  http.Handler
	growth   *growth
	meters   *prometheus.Registry
	runs     *queue.Queue // of the simulator
}

// close ends the event streams, so that the server can stop.
func (f *face) close() { f.server.Close() }

// openFace opens what the stations report to.
func (n *Node) openFace(ctx context.Context) (err error) {
	f := &face{feed: api.NewFeed(n.clock), meters: prometheus.NewRegistry(), growth: &growth{dir: n.cfg.Data, clock: n.clock}, runs: n.simulator()}
	f.explorer, err = explorer.New(ctx, explorer.Options{
		Data: n.cfg.Data, Origin: n.identity.Origin, Profile: n.profile, Shelf: n.shelf, Clock: n.clock, Feed: f.feed,
		Started: n.started, Logger: n.log, Registrar: n.ring.Registrar,
	})
	if err != nil {
		return err
	}
	n.later(f.explorer.Close)
	n.face = f
	return nil
}

// attachFace shows the open stations.
func (n *Node) attachFace(ctx context.Context) error {
	f := n.face
	err := f.explorer.Attach(ctx, explorer.Stations{Trust: n.trust, Digger: n.digger, Refinery: n.refinery, Mint: n.mint, Vault: n.vault})
	if err != nil {
		return err
	}
	f.meters.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), &stationMeters{n}, &witnessMeters{n}, n.latency)
	f.server, err = api.New(api.Options{
		Reader: f.explorer, Feed: f.feed, Clock: n.clock, Wallets: f.explorer, Desk: desk{n}, Reports: n.reports, Market: n.marketInterface(), Tokens: f.explorer, Node: operations{n}, Simulator: watch.New(f.runs), Hosts: n.cfg.Hosts,
		Health:  http.HandlerFunc(alive),
		Ready:   http.HandlerFunc(n.ready),
		Metrics: promhttp.HandlerFor(f.meters, promhttp.HandlerOpts{Registry: f.meters}),
		Meter:   f.meters, Log: n.log, Version: n.cfg.Version,
	})
	if err != nil {
		return err
	}
	pages, err := web.New(web.Options{
		Reader: f.explorer, Overview: f.server.Overview, OpenAPI: f.server.OpenAPI(), Bonds: f.explorer, Solvent: f.explorer, Simulator: f.runs, SimulatorOpen: loopback(n.cfg.Listen), Holders: n.holder, Node: operations{n}, Market: n.marketDesk(), Clock: n.clock, Log: n.log, Version: n.cfg.Version,
	})
	if err != nil {
		return err
	}
	// The proof ledger itself: static files that anybody may mirror.
	files := mirror.Handler(os.DirFS(n.path(logDir)), os.DirFS(n.path(packsDir)))
	mux := http.NewServeMux()
	mux.Handle("/log/", files)
	mux.Handle("/packs/", files)
	mux.Handle("/", pages)
	f.handler = f.server.Handler(mux)
	return nil
}

func alive(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "alive") }

// ready answers 200 when the bus stands, the reserve is founded, the vault has books and
// there is disk.
func (n *Node) ready(w http.ResponseWriter, r *http.Request) {
	if err := n.notReady(r.Context()); err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "ready")
	n.tellWitnesses(w)
}

const leastDisk = 64 << 20 // bytes below which nothing should be promised any more

// freeDisk is what this user may still write where dir lies, in bytes.
func freeDisk(dir string) (uint64, error) {
	var disk syscall.Statfs_t
	err := syscall.Statfs(dir, &disk)
	return disk.Bavail * uint64(disk.Bsize), err
}

func (n *Node) notReady(ctx context.Context) error {
	if !n.bus.Ready() {
		return errors.New("the bus is not connected")
	}
	if err := errors.Join(n.lowDisk(), n.stoppedProducer()); err != nil {
		return err
	}
	if err := n.contradicted(); err != nil {
		return err
	}
	if !n.inForce() {
		return errors.New("the reserve is being founded: its first charter and policy are not in the log yet")
	}
	_, err := n.face.explorer.Overview(ctx)
	return err
}

func (n *Node) lowDisk() error {
	free, err := freeDisk(n.cfg.Data)
	if err == nil && free < leastDisk {
		err = fmt.Errorf("%d MiB are left on the disk of %s", free>>20, n.cfg.Data)
	}
	return err
}

// stoppedProducer is the fault of a station whose artefacts one of this process refused.
func (n *Node) stoppedProducer() (stopped error) {
	n.stopped.Range(func(producer, err any) bool {
		stopped = fmt.Errorf("%v is stopped (when you have looked at why, start again with --resume %v): %w", producer, producer, err.(error))
		return false
	})
	return stopped
}
