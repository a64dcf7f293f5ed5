package node

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// latencies are how long the stations' work took: what they verify, and the commits
// of their books; and what they refused of each other. They live from before the books
// are opened until the process ends.
type latencies struct {
	verify  map[string]prometheus.Histogram // by station
	commit  map[string]prometheus.Histogram // by book
	refused map[string]*prometheus.CounterVec
}

// refused says what a station refuses of another.
var refused = map[string]figure{
	"refinery": {"refinery_refused_batches_total", "Batches that stopped their digger, by rule.", prometheus.CounterValue, []string{"rule"}},
	"mint":     {"mint_refused_pours_total", "Messages of digger and refinery that the mint stopped at, by rule.", prometheus.CounterValue, []string{"rule"}},
}

// verified says what one observation of a station is.
var verified = map[string]string{
	"digger":   "Time to check the signatures of one report.",
	"refinery": "Time to check one batch with its reports.",
	"mint":     "Time to derive one ingot again.",
	"vault":    "Time to check the signatures of one order.",
}

// newLatencies makes the histograms of the stations and of these books.
func newLatencies(books ...string) *latencies {
	l := &latencies{verify: map[string]prometheus.Histogram{}, commit: map[string]prometheus.Histogram{}, refused: map[string]*prometheus.CounterVec{}}
	for station, f := range refused {
		l.refused[station] = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "robotorq_" + f.name, Help: f.help}, f.labels)
	}
	for station, help := range verified {
		l.verify[station] = prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "robotorq_" + station + "_verify_seconds", Help: help,
			Buckets: prometheus.ExponentialBuckets(50e-6, 2, 16), // 50 µs to 1.6 s
		})
	}
	for _, book := range books {
		l.commit[book] = prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "robotorq_" + book + "_commit_seconds", Help: "Time until one commit of its books is on disk.",
			Buckets: prometheus.ExponentialBuckets(100e-6, 2, 15), // 100 µs to 1.6 s
		})
	}
	return l
}

// Describe implements prometheus.Collector.
func (l *latencies) Describe(out chan<- *prometheus.Desc) {
	l.each(func(c prometheus.Collector) { c.Describe(out) })
}

// Collect implements prometheus.Collector.
func (l *latencies) Collect(out chan<- prometheus.Metric) {
	l.each(func(c prometheus.Collector) { c.Collect(out) })
}

func (l *latencies) each(do func(prometheus.Collector)) {
	for _, of := range []map[string]prometheus.Histogram{l.verify, l.commit} {
		for _, h := range of {
			do(h)
		}
	}
	for _, c := range l.refused {
		do(c)
	}
}

// refuse counts what a consumer stopped at.
func (l *latencies) refuse(station, rule string) {
	if c, ok := l.refused[station]; ok {
		c.WithLabelValues(rule).Inc()
	}
}

// verifying is what a station calls after a check.
func (l *latencies) verifying(station string) func(time.Duration) {
	h := l.verify[station]
	return func(took time.Duration) { h.Observe(took.Seconds()) }
}

// committing times the commits of a book.
func (l *latencies) committing(book string, clock Clock) func() func() {
	h := l.commit[book]
	return func() func() {
		began := clock.Now()
		return func() { h.Observe(clock.Now().Sub(began).Seconds()) }
	}
}
