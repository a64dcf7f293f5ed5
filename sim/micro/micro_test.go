package micro_test

import (
	"testing"

	"robotorq.org/reserve/sim/micro"
)

func TestCompletionsAreThoseOfTheSpecification(t *testing.T) {
	m := micro.New(100_000)
	for range 960 / 24 {
		m.Leap(0, m.Robots(), 24)
	}
	if got := m.Completions(); got != 2_364_847 {
		t.Errorf("%d completions in closed form, want 2,364,847", got)
	}
	if got := micro.Float(10_000, 1_000); got != 241_621 {
		t.Errorf("%d completions in float64, want 241,621", got)
	}
}

func TestBothEnginesAgree(t *testing.T) {
	for _, step := range []int{1, 7, 24, 500} {
		a, b, c := micro.New(1003), micro.New(1003), micro.New(1003)
		for range 5 {
			a.Tick(0, a.Robots(), step)
			b.Leap(0, b.Robots(), step)
			for from := 0; from < c.Robots(); from += 100 {
				c.Tick(from, min(from+100, c.Robots()), step)
			}
		}
		if a.Hash() != b.Hash() || a.Hash() != c.Hash() {
			t.Errorf("steps of %d ticks: the engines differ", step)
		}
	}
}

func BenchmarkTick(b *testing.B) {
	m := micro.New(100_000)
	for b.Loop() {
		m.Tick(0, m.Robots(), 24)
	}
	b.ReportMetric(float64(b.N)*24*1e5/b.Elapsed().Seconds()/1e9, "Gticks/s")
}

func BenchmarkLeap(b *testing.B) {
	m := micro.New(100_000)
	for b.Loop() {
		m.Leap(0, m.Robots(), 24)
	}
	b.ReportMetric(float64(b.N)*24*1e5/b.Elapsed().Seconds()/1e9, "Gticks/s")
}
