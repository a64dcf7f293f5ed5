package node

import (
	"context"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// stationMeters reads the stations' figures when they are asked for; nothing is
// counted in their loops.
type stationMeters struct{ n *Node }

type figure struct {
	name, help string
	kind       prometheus.ValueType
	labels     []string
}

func (f figure) desc() *prometheus.Desc {
	return prometheus.NewDesc("robotorq_"+f.name, f.help, f.labels, nil)
}

// Figures, named robotorq_<service>_<what>_<unit>.
var (
	diggerOre        = figure{"digger_ore_total", "Ore accepted, JT.", prometheus.CounterValue, nil}
	diggerReports    = figure{"digger_reports_total", "Reports accepted, void ones included.", prometheus.CounterValue, nil}
	diggerPending    = figure{"digger_pending_reports", "Reports that wait for their batch.", prometheus.GaugeValue, nil}
	reportsRefused   = figure{"digger_refused_reports_total", "Reports void or refused, by rule.", prometheus.CounterValue, []string{"rule"}}
	refineryIngots   = figure{"refinery_ingots_total", "Ingots poured.", prometheus.CounterValue, nil}
	refineryOpen     = figure{"refinery_open_ore", "Ore that waits for the rest of its ingot.", prometheus.GaugeValue, nil}
	mintCertificates = figure{"mint_certificates", "Certificates minted and not recalled.", prometheus.GaugeValue, nil}
	mintWaiting      = figure{"mint_waiting_ingots", "Ingots that wait for a certificate.", prometheus.GaugeValue, nil}
	logEntries       = figure{"mint_log_entries", "Entries of the proof log.", prometheus.GaugeValue, nil}
	vaultSupply      = figure{"vault_supply_jt", "Money in existence.", prometheus.GaugeValue, nil}
	vaultHolding     = figure{"vault_holding_jt", "Money by class of account.", prometheus.GaugeValue, []string{"class"}}
	vaultPostings    = figure{"vault_postings_total", "Postings.", prometheus.CounterValue, nil}
	walletMembers    = figure{"wallet_members", "Members that receive the dividend.", prometheus.GaugeValue, nil}
	walletOrders     = figure{"wallet_orders_total", "Orders executed.", prometheus.CounterValue, nil}
	outboxDepth      = figure{"bus_outbox_messages", "Messages that some consumer has not confirmed.", prometheus.GaugeValue, []string{"producer"}}
	outboxResent     = figure{"bus_resent_messages_total", "Messages sent again since the start.", prometheus.CounterValue, []string{"producer"}}
	markLag          = figure{"bus_mark_lag_messages", "How far a consumer's mark is behind.", prometheus.GaugeValue, []string{"producer", "consumer"}}
	vaultDividends   = figure{"vault_dividends_jt_total", "Dividends paid since genesis.", prometheus.CounterValue, nil}
	vaultDemurrage   = figure{"vault_demurrage_jt_total", "Demurrage collected since genesis.", prometheus.CounterValue, nil}
	vaultCapital     = figure{"vault_capital_jt", "What the StakeVault has, at hand and at work.", prometheus.GaugeValue, nil}
	scrapeFailed     = figure{"node_scrape_failed", "1 when the stations' figures could not be read for this answer.", prometheus.GaugeValue, nil}
	nodeUp           = figure{"node_uptime_seconds", "Since the process started.", prometheus.GaugeValue, nil}
	nodeReady        = figure{"node_ready", "1 when the reserve is ready, as /readyz says.", prometheus.GaugeValue, nil}
	nodeDisk         = figure{"node_disk_free_bytes", "Left on the disk of the data directory.", prometheus.GaugeValue, nil}
	nodeInfo         = figure{"node_info", "Version and name of the log.", prometheus.GaugeValue, []string{"version", "origin", "demo"}}
)

// Describe implements prometheus.Collector.
func (m *stationMeters) Describe(out chan<- *prometheus.Desc) {
	for _, f := range []figure{
		diggerOre, diggerReports, diggerPending, reportsRefused, refineryIngots, refineryOpen, mintCertificates, mintWaiting, logEntries,
		vaultSupply, vaultHolding, vaultPostings, vaultDividends, vaultDemurrage, vaultCapital, scrapeFailed, walletMembers, walletOrders, outboxDepth, outboxResent, markLag, nodeUp, nodeReady, nodeDisk, nodeInfo,
	} {
		out <- f.desc()
	}
}

// Collect implements prometheus.Collector.
func (m *stationMeters) Collect(out chan<- prometheus.Metric) {
	m.n.collectProcess(out, m.n.notReady(context.Background()) == nil)
	send := func(f figure, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(f.desc(), f.kind, v, labels...)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	o, err := m.n.face.server.Overview(ctx)
	if err != nil {
		m.n.log.Warn("figures for /metrics could not be read", "err", err)
		send(scrapeFailed, 1)
		return
	}
	r, err := m.n.face.explorer.Reserve(ctx)
	if err != nil {
		m.n.log.Warn("figures for /metrics could not be read", "err", err)
		send(scrapeFailed, 1)
		return
	}
	send(scrapeFailed, 0)
	send(vaultDividends, float64(r.Paid))
	send(vaultDemurrage, float64(r.Collected))
	send(vaultCapital, float64(r.Capital))
	send(diggerOre, float64(o.Digger.Ore))
	send(diggerReports, float64(o.Digger.Reports))
	send(diggerPending, float64(o.Digger.Pending))
	for _, r := range o.Refusals {
		send(reportsRefused, float64(r.Count), r.Rule)
	}
	send(refineryIngots, float64(o.Refinery.Ingots))
	send(refineryOpen, float64(o.Refinery.OpenOre))
	send(mintCertificates, float64(o.Mint.Certificates))
	send(mintWaiting, float64(o.Mint.WaitingIngots))
	send(logEntries, float64(o.Mint.LogSize))
	send(vaultSupply, float64(o.Vault.Supply))
	for _, h := range o.Vault.Holdings {
		send(vaultHolding, float64(h.JT), h.Class)
	}
	send(vaultPostings, float64(o.Vault.Postings))
	send(walletMembers, float64(o.Wallets.Members))
	send(walletOrders, float64(o.Wallets.Orders))
}

// collectProcess sends the figures that every process of a reserve has.
func (n *Node) collectProcess(out chan<- prometheus.Metric, ready bool) {
	send := func(f figure, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(f.desc(), f.kind, v, labels...)
	}
	send(nodeUp, n.clock.Now().Sub(n.started).Seconds())
	send(nodeInfo, 1, n.cfg.Version, n.identity.Origin, strconv.FormatBool(n.cfg.Demo))
	if free, err := freeDisk(n.cfg.Data); err == nil {
		send(nodeDisk, float64(free))
	}
	up := 0.0
	if ready {
		up = 1
	}
	send(nodeReady, up)
	for _, box := range n.boxes {
		s := box.Stats()
		send(outboxDepth, float64(s.Depth), box.Producer())
		send(outboxResent, float64(s.Resent), box.Producer())
		for _, c := range s.Consumers {
			send(markLag, float64(c.Lag), box.Producer(), c.Consumer)
		}
	}
}
