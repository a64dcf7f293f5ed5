package archive

import (
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"
)

// The layout of a tlog-tiles directory: files below the log's root.
const (
	CheckpointFile = "checkpoint"
	tileWidth      = 256
	stateDir       = ".state"
	treeStateFile  = stateDir + "/treeState"
	gcStateFile    = stateDir + "/gcState"
	versionFile    = stateDir + "/version"
	entriesLevel   = -1
)

// tileID names a file below tile/: a tile of hashes, or a bundle of entries
// when level is entriesLevel. Width is 256 for a full one.
type tileID struct {
	level int
	index uint64
	width int
}

// nodes returns how many nodes of its level the row must have for this file.
func (t tileID) nodes() uint64 { return t.index*tileWidth + uint64(t.width) }

// leaves returns the size of the smallest tree that has this file; ok is false
// when there is none below 2⁶³.
func (t tileID) leaves() (n uint64, ok bool) {
	n = t.nodes()
	for range max(t.level, 0) * 8 {
		if n >= 1<<62 {
			return 0, false
		}
		n <<= 1
	}
	return n, n < 1<<63
}

// full returns the path of the full file, stem of the partial ones' directory.
func (t tileID) full() string {
	dir := "tile/entries"
	if t.level >= 0 {
		dir = fmt.Sprintf("tile/%d", t.level)
	}
	n := fmt.Sprintf("%03d", t.index%1000)
	for i := t.index / 1000; i > 0; i /= 1000 {
		n = fmt.Sprintf("x%03d/%s", i%1000, n)
	}
	return dir + "/" + n
}

func (t tileID) partials() string { return t.full() + ".p" }

func (t tileID) path() string {
	if t.width == tileWidth {
		return t.full()
	}
	return fmt.Sprintf("%s/%d", t.partials(), t.width)
}

// parseTilePath reads a path below the log's root that path would write.
func parseTilePath(p string) (tileID, bool) {
	f := strings.Split(p, "/")
	if len(f) < 3 || f[0] != "tile" {
		return tileID{}, false
	}
	t := tileID{level: entriesLevel, width: tileWidth}
	if f[1] != "entries" {
		l, err := strconv.ParseUint(f[1], 10, 6)
		if err != nil || l > 7 {
			return tileID{}, false
		}
		t.level = int(l)
	}
	f = f[2:]
	if n := len(f); n >= 2 && strings.HasSuffix(f[n-2], ".p") {
		w, err := strconv.ParseUint(f[n-1], 10, 8)
		if err != nil {
			return tileID{}, false
		}
		t.width = int(w)
		f = f[:n-1]
		f[n-2] = strings.TrimSuffix(f[n-2], ".p")
	}
	for _, s := range f {
		v, err := strconv.ParseUint(strings.TrimPrefix(s, "x"), 10, 16)
		if err != nil || t.index > 1<<53 {
			return tileID{}, false
		}
		t.index = t.index*1000 + v
	}
	if t.width == 0 || t.path() != p {
		return tileID{}, false
	}
	return t, true
}

// temporary tells whether the path is that of a temporary file of the log's
// writer: the name of a file that belongs here and a random number.
func temporary(p string) bool {
	dir, base := path.Split(p)
	const least = 7 // digits; fewer would be ambiguous, and are next to impossible
	stem := strings.TrimRight(base, "0123456789")
	switch dir + stem {
	case CheckpointFile, treeStateFile, gcStateFile, versionFile:
		return len(base)-len(stem) >= 1
	}
	if stem != "" && stem != "x" || len(base) < least {
		return false
	}
	for n := 1; n <= 3 && n < len(base); n++ {
		if _, ok := parseTilePath(dir + base[:n]); ok {
			return true
		}
	}
	return false
}

// LogResidue lists the files of a log directory that a crash of its writer left
// and that its tree state does not cover: temporary files, and bundles and
// tiles of entries that were never integrated. The writer removes them before
// it goes on, so that no stale bytes stay behind. A directory without a tree
// state has none.
func LogResidue(log fs.FS) ([]string, error) {
	state, err := readTreeState(log)
	if err != nil {
		if isNotExist(err) {
			return nil, nil
		}
		return nil, err
	}
	var out []string
	err = fs.WalkDir(log, ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if t, ok := parseTilePath(p); ok {
			if n, ok := t.leaves(); !ok || n > state.Size {
				out = append(out, p)
			}
		} else if temporary(p) {
			out = append(out, p)
		}
		return nil
	})
	return out, err
}
