package merkle_test

import (
	"crypto/sha256"
	"testing"
	"time"

	"robotorq.org/reserve/merkle"
)

// BenchmarkOre hashes ingots of 3,600 units and reports the time of one unit and
// its ratio to the limit, three blocks of a long message through sha256.Sum256
// measured in the same run, in slices that alternate with the work.
func BenchmarkOre(b *testing.B) {
	const units = 3600
	long := make([]byte, 1<<20)
	hasher := merkle.NewOreHasher()
	spans := []merkle.Span{{Report: merkle.LeafHash([]byte("report")), Count: units}}
	var limit, work time.Duration
	var blocks, hashed int
	for b.Loop() {
		start := time.Now()
		hasher.Root(spans)
		work += time.Since(start)
		hashed += units

		start = time.Now()
		sha256.Sum256(long[:units*3*sha256.BlockSize])
		limit += time.Since(start)
		blocks += units * 3
	}
	perOre := float64(work.Nanoseconds()) / float64(hashed)
	perLimit := 3 * float64(limit.Nanoseconds()) / float64(blocks)
	b.ReportMetric(perOre, "ns/ore")
	b.ReportMetric(perLimit, "ns/limit")
	b.ReportMetric(perLimit/perOre, "ratio")
}

// BenchmarkOreRoots hashes a certificate's ingots on every core.
func BenchmarkOreRoots(b *testing.B) {
	report := merkle.LeafHash([]byte("report"))
	ingots := make([][]merkle.Span, 1000)
	for i := range ingots {
		ingots[i] = []merkle.Span{{Report: report, First: uint64(i) * 3600, Count: 3600}}
	}
	for b.Loop() {
		merkle.OreRoots(ingots, 0)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/3.6e6, "ns/ore")
}
