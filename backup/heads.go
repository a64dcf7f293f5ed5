package backup

import (
	"cmp"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"robotorq.org/reserve/archive"
	"robotorq.org/reserve/merkle"
)

func sortFiles(files []File) {
	slices.SortFunc(files, func(a, b File) int { return cmp.Compare(a.Path, b.Path) })
}

// heads are the ends of what only grows, as noted at one moment: the log's size with
// its state files, and packs with the journals held open, so that one which is sealed
// meanwhile can still be read.
type heads struct {
	size     uint64
	state    map[string][]byte // state files of the log by path below the log
	packs    []string          // immutable files of packs/
	journals []journal
}

type journal struct {
	name string
	file *os.File
	size int64
}

func (h *heads) close() error {
	var errs []error
	for _, j := range h.journals {
		errs = append(errs, j.file.Close())
	}
	return errors.Join(errs...)
}

// readHeads notes the ends. Nothing may be written to the books meanwhile.
func readHeads(data string) (h heads, err error) {
	h.state = map[string][]byte{}
	logDir := filepath.Join(data, "log")
	for _, name := range []string{archive.CheckpointFile, ".state/treeState", ".state/gcState", ".state/version"} {
		b, err := os.ReadFile(filepath.Join(logDir, filepath.FromSlash(name)))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return h, err
		}
		h.state[name] = b
	}
	if state, ok := h.state[".state/treeState"]; ok {
		var tree struct{ Size uint64 }
		if err := json.Unmarshal(state, &tree); err != nil {
			return h, fmt.Errorf("%s: the state of the log cannot be read: %w", logDir, err)
		}
		h.size = tree.Size
	}
	entries, err := os.ReadDir(filepath.Join(data, "packs"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return h, err
	}
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".open") {
			h.packs = append(h.packs, e.Name())
			continue
		}
		f, err := os.Open(filepath.Join(data, "packs", e.Name()))
		if err != nil {
			return h, err
		}
		h.journals = append(h.journals, journal{name: e.Name(), file: f})
		info, err := f.Stat()
		if err != nil {
			return h, err
		}
		h.journals[len(h.journals)-1].size = info.Size()
	}
	return h, nil
}

// copy writes log and packs as they were when the heads were read.
func (h *heads) copy(ctx context.Context, data, dir string) error {
	for _, name := range h.packs {
		if err := copyFile(ctx, filepath.Join(data, "packs", name), dir, filepath.Join("packs", name)); err != nil {
			return err
		}
	}
	for _, j := range h.journals {
		rel := filepath.Join("packs", j.name)
		if err := makeParent(dir, rel); err != nil {
			return err
		}
		n, err := writeFrom(filepath.Join(dir, rel), io.NewSectionReader(j.file, 0, j.size), 0o644)
		if err == nil && n != j.size {
			err = &Error{Code: CodeMoving, Path: filepath.Join(data, rel), Detail: "was cut while it was copied; try again"}
		}
		if err != nil {
			return err
		}
	}
	for name, b := range h.state {
		rel := filepath.Join("log", filepath.FromSlash(name))
		if err := makeParent(dir, rel); err != nil {
			return err
		}
		if err := writeFile(filepath.Join(dir, rel), b, 0o644); err != nil {
			return err
		}
	}
	for t := range tiles(h.size) {
		if err := ctx.Err(); err != nil {
			return err
		}
		b, err := readTile(filepath.Join(data, "log"), t)
		if err != nil {
			return err
		}
		rel := filepath.Join("log", filepath.FromSlash(t.Path()))
		if err := makeParent(dir, rel); err != nil {
			return err
		}
		if err := writeFile(filepath.Join(dir, rel), b, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// tiles are the files of a log of a size: bundles of entries, and tiles of hashes.
func tiles(size uint64) func(yield func(archive.Tile) bool) {
	return func(yield func(archive.Tile) bool) {
		row := func(level int, nodes uint64) bool {
			for i := range nodes / archive.TileWidth {
				if !yield(archive.Tile{Level: level, Index: i, Width: archive.TileWidth}) {
					return false
				}
			}
			rest := nodes % archive.TileWidth
			return rest == 0 || yield(archive.Tile{Level: level, Index: nodes / archive.TileWidth, Width: int(rest)})
		}
		if !row(archive.EntriesLevel, size) {
			return
		}
		for level, nodes := 0, size; nodes > 0; level, nodes = level+1, nodes/archive.TileWidth {
			if !row(level, nodes) {
				return
			}
		}
	}
}

// readTile reads a file of the log. A partial one that went away, since a wider one
// replaced it, is cut out of the wider one.
func readTile(dir string, t archive.Tile) ([]byte, error) {
	path := filepath.Join(dir, filepath.FromSlash(t.Path()))
	b, err := os.ReadFile(path)
	if err == nil || !errors.Is(err, fs.ErrNotExist) || t.Width == archive.TileWidth {
		return b, err
	}
	for width := t.Width + 1; width <= archive.TileWidth; width++ {
		wide := archive.Tile{Level: t.Level, Index: t.Index, Width: width}
		b, err = os.ReadFile(filepath.Join(dir, filepath.FromSlash(wide.Path())))
		if err == nil {
			return cut(b, t)
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	return nil, &Error{Code: CodeMissing, Path: path, Detail: "the log lacks it", Err: err}
}

// cut takes the first t.Width hashes or entries of a wider file.
func cut(b []byte, t archive.Tile) ([]byte, error) {
	if t.Level >= 0 {
		if len(b) < t.Width*merkle.Size {
			return nil, fmt.Errorf("%s: a wider tile has only %d bytes", t.Path(), len(b))
		}
		return b[:t.Width*merkle.Size], nil
	}
	end := 0
	for range t.Width {
		if len(b)-end < 2 {
			return nil, fmt.Errorf("%s: a wider bundle ends in an entry", t.Path())
		}
		end += 2 + int(binary.BigEndian.Uint16(b[end:]))
		if end > len(b) {
			return nil, fmt.Errorf("%s: a wider bundle ends in an entry", t.Path())
		}
	}
	return b[:end], nil
}
