package proof_test

import (
	"crypto/sha256"
	"testing"
	"time"

	"robotorq.org/reserve/proof/prooftest"
	"robotorq.org/reserve/torq"
)

// BenchmarkReplay derives certificates of 350 W × 10 tokens/s robots again and
// reports the ratio to the limit: three SHA-256 blocks of a long message a unit.
func BenchmarkReplay(b *testing.B) {
	r := prooftest.New(b, torq.Standard())
	robot := r.Enrol("robot-1", 350, 10)
	c := r.Contract(3600*10_000, robot).ID
	for range 211 {
		r.Dig(robot.Report(c, robot.Readings(10)))
	}
	for r.Pour(1000) > 0 {
	}
	if r.Mint() != 2 {
		b.Fatal("not two certificates")
	}
	b.ResetTimer()
	for b.Loop() {
		if _, err := r.Verify(r.Pin()); err != nil {
			b.Fatal(err)
		}
	}
	ore := float64(2 * torq.OrePerRT)
	perOre := float64(b.Elapsed().Nanoseconds()) / float64(b.N) / ore
	b.ReportMetric(perOre, "ns/ore")
	b.ReportMetric(3*perBlock()/2/perOre, "ratio-of-2-cores")
}

// perBlock times one block of SHA-256 in a long message, in ns.
func perBlock() float64 {
	message := make([]byte, 1<<20)
	const rounds = 200
	start := time.Now()
	for range rounds {
		sha256.Sum256(message)
	}
	return float64(time.Since(start).Nanoseconds()) / rounds / (1 << 14)
}
