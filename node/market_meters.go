package node

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"robotorq.org/reserve/market"
)

// marketMeters show the marketplace's ledger whenever they are asked.
type marketMeters struct{ m *marketplace }

var (
	marketSats   = prometheus.NewDesc("robotorq_market_ledger_sats", "Sats by class of account; received is everything that ever came in.", []string{"class"}, nil)
	marketSweeps = prometheus.NewDesc("robotorq_market_sweeps_live", "Payout transactions that are not final yet.", nil, nil)
)

// Describe implements prometheus.Collector.
func (marketMeters) Describe(c chan<- *prometheus.Desc) {
	c <- marketSats
	c <- marketSweeps
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
}
