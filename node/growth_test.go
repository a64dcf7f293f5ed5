package node_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"robotorq.org/reserve/node"
)

func TestTheDiskIsToldByPartsWithItsGrowthAndTheDaysThatItLasts(t *testing.T) {
	dir := t.TempDir()
	for name, size := range map[string]int{"log/tile/0/000": 100_000, "packs/a.pack": 200_000, "vault.db": 50_000, "vault.db-wal": 50_000, "reserve.json": 10, "bus/x": 9000} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, make([]byte, size), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	parts, err := node.Sizes(dir)
	if err != nil {
		t.Fatal(err)
	}
	for name, least := range map[string]uint64{"log": 100_000, "packs": 200_000, "books": 100_000, "bus": 9000, "other": 10} {
		if got := parts[name]; got < least || got > least+64<<10 {
			t.Errorf("%s: %d bytes, of %d", name, got, least)
		}
	}

	noon := time.UnixMilli(1_790_000_000_000)
	const gib = 1 << 30
	g := node.NewGrowth(dir)
	if d, err := g.Disk(noon); err != nil || d.Measured != 0 || d.Over != 0 || d.DaysLeft != -1 || d.Free == 0 || d.Size < d.Free {
		t.Errorf("before the first measurement: %+v, %v", d, err)
	}
	g.Add(map[string]uint64{"log": gib, "packs": 3 * gib}, noon)
	d, err := g.Disk(noon.Add(-48 * time.Hour))
	if err != nil || d.Used != 4*gib || d.Growth != 2*gib || d.Over != 48*3600*1000 || d.DaysLeft != int64(d.Free/(2*gib)) {
		t.Errorf("just started: %+v, %v", d, err)
	}
	if d, err := g.Disk(noon.Add(-time.Minute)); err != nil || d.Over != 0 || d.DaysLeft != -1 {
		t.Errorf("just founded: %+v, %v", d, err)
	}
	for i := 1; i <= 30; i++ { // half a GiB an hour, by the hour
		g.Add(map[string]uint64{"packs": 4*gib + uint64(i)*gib/2}, noon.Add(time.Duration(i)*time.Hour))
	}
	if d, err := g.Disk(noon.Add(-48 * time.Hour)); err != nil || d.Growth != 12*gib || d.Over != 24*3600*1000 || g.Measurements() != 25 {
		t.Errorf("after thirty hours, of %d measurements: %+v, %v", g.Measurements(), d, err)
	}
	g.Add(map[string]uint64{"packs": gib}, noon.Add(31*time.Hour)) // pruned
	if d, err := g.Disk(noon); err != nil || d.Growth >= 0 || d.DaysLeft != -1 {
		t.Errorf("after a prune: %+v, %v", d, err)
	}
}
