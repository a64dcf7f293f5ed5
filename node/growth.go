package node

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"robotorq.org/reserve/api"
)

// How the data directory is measured.
const (
	measureEvery  = time.Minute
	measureShare  = 100              // of the time at most one part goes into measuring
	growthWindow  = 24 * time.Hour   // over which growth is told
	growthAtLeast = 10 * time.Minute // before which it is not
)

// partsOfData are the parts that the operator is told of, in their order.
var partsOfData = []string{"log", "packs", "books", "bus", "other"}

// measured is what the data directory took at one moment.
type measured struct {
	at    time.Time
	bytes uint64
}

// growth measures the data directory and remembers a day of it.
type growth struct {
	dir   string
	clock Clock

	mu    sync.Mutex
	parts map[string]uint64
	past  []measured // oldest first
}

// watch measures until ctx ends. A directory that takes long to measure is measured
// less often.
func (g *growth) watch(ctx context.Context) error {
	for {
		began := g.clock.Now()
		parts, err := sizes(g.dir)
		if err != nil {
			return err
		}
		now := g.clock.Now()
		g.add(parts, now)
		next, stop := g.clock.NewTimer(max(measureEvery, now.Sub(began)*measureShare))
		select {
		case <-next:
		case <-ctx.Done():
			stop()
			return nil
		}
	}
}

func (g *growth) add(parts map[string]uint64, now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.parts = parts
	m := measured{at: now}
	for _, bytes := range parts {
		m.bytes += bytes
	}
	g.past = append(g.past, m)
	old := 0
	for len(g.past)-old > 2 && now.Sub(g.past[old].at) > growthWindow {
		old++
	}
	g.past = append(g.past[:0:0], g.past[old:]...)
}

// disk is what is known now. Of a process that has just started the growth is that since
// the reserve was founded.
func (g *growth) disk(founded time.Time) (api.Disk, error) {
	d := api.Disk{DaysLeft: -1}
	var of syscall.Statfs_t
	if err := syscall.Statfs(g.dir, &of); err != nil {
		return d, err
	}
	d.Free, d.Size = of.Bavail*uint64(of.Bsize), of.Blocks*uint64(of.Bsize)
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.past) == 0 {
		return d, nil
	}
	for _, name := range partsOfData {
		d.Parts = append(d.Parts, api.DiskPart{Name: name, Bytes: g.parts[name]})
	}
	first, last := g.past[0], g.past[len(g.past)-1]
	d.Used, d.Measured = last.bytes, last.at.UnixMilli()
	if last.at.Sub(first.at) < growthAtLeast && !founded.IsZero() {
		first = measured{at: founded}
	}
	d.Growth, d.Over = perDay(first, last)
	if d.Over > 0 && d.Growth > 0 {
		d.DaysLeft = int64(d.Free / uint64(d.Growth))
	}
	return d, nil
}

// perDay is the growth between two measurements, if they lie far enough apart.
func perDay(first, last measured) (bytes, over int64) {
	passed := last.at.Sub(first.at)
	if passed < growthAtLeast {
		return 0, 0
	}
	const day = int64(24 * time.Hour / time.Millisecond)
	grown := int64(last.bytes) - int64(first.bytes)
	// In KiB, so that the product stays in 64 bits up to a directory of 100 TiB.
	return grown / 1024 * day / passed.Milliseconds() * 1024, passed.Milliseconds()
}

// sizes is what the parts of a data directory take on the disk. Files that come and go
// meanwhile are passed over.
func sizes(dir string) (map[string]uint64, error) {
	parts := map[string]uint64{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		var info fs.FileInfo
		if err == nil {
			info, err = d.Info()
		}
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil
		case err != nil:
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		parts[partOf(filepath.ToSlash(rel))] += allocated(info)
		return nil
	})
	return parts, err
}

// allocated is what a file takes on the disk, which for many small files is more than
// they hold.
func allocated(info fs.FileInfo) uint64 {
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		const unit = 512 // of st_blocks, whatever the file system's blocks are
		return uint64(s.Blocks) * unit
	}
	return uint64(info.Size())
}

func partOf(path string) string {
	top, _, below := strings.Cut(path, "/")
	switch {
	case top == logDir, top == packsDir, top == busDir:
		return top
	case !below && strings.Contains(path, ".db"):
		return "books"
	}
	return "other"
}
