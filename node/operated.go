package node

import (
	"log/slog"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"robotorq.org/reserve/api"
	"robotorq.org/reserve/bus"
	"robotorq.org/reserve/explorer"
	"robotorq.org/reserve/mint/prooflog"
	"robotorq.org/reserve/torq"
)

// Operated is a reserve whose stations something else has opened than a [Node], of which an
// operator can be told all the same: what that costs is measured with books that no node
// could have filled in the time of a test.
type Operated struct {
	Data     string
	Origin   string
	Profile  torq.Profile
	Stations explorer.Stations
	Explorer *explorer.Explorer
	Bus      *bus.Bus
	Outboxes []*bus.Outbox
}

// Operations tells of it. The server, which is made with it, is given to show before it is
// asked.
func (o Operated) Operations() (tells api.Operations, show func(*api.Server)) {
	n := &Node{
		cfg: Config{Data: o.Data}, log: slog.New(slog.DiscardHandler), identity: Identity{Origin: o.Origin}, profile: o.Profile,
		bus: o.Bus, boxes: o.Outboxes, prooflog: new(prooflog.Log), stopped: sync.Map{}, latency: newLatencies("trust", "digger", "refinery", "mint", "vault"),
		trust: o.Stations.Trust, digger: o.Stations.Digger, refinery: o.Stations.Refinery, mint: o.Stations.Mint, vault: o.Stations.Vault,
	}
	n.started = n.clock.Now()
	n.face = &face{explorer: o.Explorer, meters: prometheus.NewRegistry(), growth: &growth{dir: o.Data, clock: n.clock}}
	n.face.meters.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), &stationMeters{n}, &witnessMeters{n}, n.latency)
	return operations{n}, func(s *api.Server) { n.face.server = s }
}
