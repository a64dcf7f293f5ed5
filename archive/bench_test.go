package archive_test

import (
	"crypto/sha256"
	"fmt"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"

	"robotorq.org/reserve/archive"
	"robotorq.org/reserve/proof/prooftest"
	"robotorq.org/reserve/torq"
)

// cpu returns the seconds of processor time that the process has used.
func cpu(b *testing.B) float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
}

// oreLimit is the least processor time for one unit of ore: three blocks of
// SHA-256 in a long message.
func oreLimit(b *testing.B) float64 {
	data := make([]byte, 1<<20)
	start := cpu(b)
	const rounds = 300
	for range rounds {
		data[0] = sha256.Sum256(data)[0]
	}
	return (cpu(b) - start) / rounds / (1 << 20) * 64 * 3
}

// BenchmarkVerifyDir verifies whole certificates of 2 kW robots from disk and
// reports processor time a certificate and its ratio to the limit.
func BenchmarkVerifyDir(b *testing.B) {
	const certificates = 4
	r := prooftest.New(b, torq.Standard())
	var robots []*prooftest.Robot
	for i := range 6 {
		robots = append(robots, r.Enrol(fmt.Sprintf("robot-%d", i), 2000, 10))
	}
	contract := r.Contract(1<<40/3600*3600, robots...)
	for len(r.Certs) < certificates {
		for _, robot := range robots {
			r.Dig(robot.Report(contract.ID, robot.Readings(10)))
		}
		r.Pour(1000)
		r.Mint()
	}
	dir := b.TempDir()
	w := openWriter(b, filepath.Join(dir, "packs"), archive.WriterOptions{})
	keepPacks(b, r, w)
	for _, c := range archive.Classes() {
		must(b, w.Seal(c))
	}
	must(b, w.Close())
	appendLog(b, r, dir, r.Log)
	limit := oreLimit(b)
	ore := float64(0)
	start := cpu(b)
	for b.Loop() {
		sum, err := archive.VerifyDir(b.Context(), dir, options(r))
		must(b, err)
		ore += float64(sum.Replay.Ingots * 3600)
	}
	used := cpu(b) - start
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	b.ReportMetric(used/ore*3.6e6, "cpu-s/certificate")
	b.ReportMetric(limit*ore/used, "of-limit")
	b.ReportMetric(float64(m.HeapSys)/1e6, "heap-MB")
}

// BenchmarkSeal seals a journal of 32 MiB into a pack.
func BenchmarkSeal(b *testing.B) {
	for b.Loop() {
		b.StopTimer()
		dir := b.TempDir()
		w := openWriter(b, dir, archive.WriterOptions{SealBytes: 1 << 40})
		fill(b, w, fleets()[2], 40)
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		size, records := w.Size(archive.Work)
		b.StartTimer()
		must(b, w.Seal(archive.Work))
		b.StopTimer()
		runtime.ReadMemStats(&after)
		b.SetBytes(size)
		b.ReportMetric(float64(records), "records")
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/1e6, "heap-growth-MB")
		must(b, w.Close())
		b.StartTimer()
	}
}

// BenchmarkGet finds reports by their digest in a sealed pack.
func BenchmarkGet(b *testing.B) {
	dir := b.TempDir()
	w := openWriter(b, dir, archive.WriterOptions{})
	fill(b, w, fleets()[2], 20)
	must(b, w.Seal(archive.Work))
	must(b, w.Close())
	r, err := archive.OpenReader(dir)
	must(b, err)
	var all []archive.Record
	for rec, err := range r.All(archive.Work) {
		must(b, err)
		all = append(all, archive.Record{Key: rec.Key})
	}
	i := 0
	for b.Loop() {
		if _, err := r.GetIn(archive.Work, all[i%len(all)].Key); err != nil {
			b.Fatal(err)
		}
		i++
	}
	must(b, r.Close())
}
