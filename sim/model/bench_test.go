package model_test

import (
	"testing"
	"time"

	"robotorq.org/reserve/sim/model"
)

// The whole economy: flow executions a second.
func BenchmarkEconomy(b *testing.B) {
	for _, c := range []struct {
		name   string
		level  model.Level
		engine model.Engine
	}{{"ticks", model.LogOff, model.Ticks}, {"steps", model.LogOff, model.Closed}, {"events", model.LogAll, model.Closed}} {
		b.Run(c.name, func(b *testing.B) {
			var executed uint64
			var spent time.Duration
			for b.Loop() {
				w := world(b, "robots=10000", "bondholders=1000", "steps=60")
				w.SetLog(c.level)
				at := time.Now()
				must(b, w.RunWith(w.End(), c.engine, 1, func() error { w.DropEvents(); return nil }))
				spent += time.Since(at)
				executed += w.Stats().Executed
			}
			b.ReportMetric(float64(executed)/spent.Seconds()/1e6, "Mflows/s")
		})
	}
}
