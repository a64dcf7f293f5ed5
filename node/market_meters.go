package node

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"robotorq.org/reserve/market"
	"robotorq.org/reserve/market/books"
)

// marketMeters show the marketplace's ledger whenever they are asked.
type marketMeters struct{ m *marketplace }

var (
	marketSats   = prometheus.NewDesc("robotorq_market_ledger_sats", "Sats by class of account; received is everything that ever came in.", []string{"class"}, nil)
	marketSweeps = prometheus.NewDesc("robotorq_market_sweeps_live", "Payout transactions that are not final yet.", nil, nil)
	marketTasks  = prometheus.NewDesc("robotorq_market_tasks", "Tasks by state.", []string{"status"}, nil)
	marketOwed   = prometheus.NewDesc("robotorq_market_unbound_sats", "Sats that wait for a payout on chain and are in none.", []string{"payee"}, nil)
	marketPayees = prometheus.NewDesc("robotorq_market_unbound_payees", "Payees that wait for a payout on chain.", []string{"payee"}, nil)
)

// Describe implements prometheus.Collector.
func (marketMeters) Describe(c chan<- *prometheus.Desc) {
	c <- marketSats
	c <- marketSweeps
	c <- marketTasks
	c <- marketOwed
	c <- marketPayees
}

// Collect implements prometheus.Collector.
func (c marketMeters) Collect(out chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	totals, live, err := c.m.desk.Ledger(ctx)
	if err != nil {
		out <- prometheus.NewInvalidMetric(marketSats, err)
		return
	}
	for _, class := range market.Classes {
		n := totals[class]
		if class == market.ClassReceived {
			n = -n
		}
		out <- prometheus.MustNewConstMetric(marketSats, prometheus.GaugeValue, float64(n), string(class))
	}
	out <- prometheus.MustNewConstMetric(marketSweeps, prometheus.GaugeValue, float64(live))
	c.work(ctx, out)
}

// work shows the tasks and who waits to be paid.
func (c marketMeters) work(ctx context.Context, out chan<- prometheus.Metric) {
	counts, err := c.m.desk.Count(ctx)
	if err != nil {
		out <- prometheus.NewInvalidMetric(marketTasks, err)
		return
	}
	for _, status := range market.Statuses {
		out <- prometheus.MustNewConstMetric(marketTasks, prometheus.GaugeValue, float64(counts[status]), string(status))
	}
	waiting, err := c.m.desk.Waiting(ctx, 0)
	if err != nil {
		out <- prometheus.NewInvalidMetric(marketOwed, err)
		return
	}
	for payee, owed := range map[string]books.Owed{"robot": waiting.Robots, "client": waiting.Clients} {
		out <- prometheus.MustNewConstMetric(marketOwed, prometheus.GaugeValue, float64(owed.Sats), payee)
		out <- prometheus.MustNewConstMetric(marketPayees, prometheus.GaugeValue, float64(owed.Payees), payee)
	}
}
