package mirror

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/mod/sumdb/tlog"

	"robotorq.org/reserve/archive"
	"robotorq.org/reserve/checkpoint"
	"robotorq.org/reserve/merkle"
)

// Bounds of files of the log.
const (
	maxEntry  = 2 + 255 + 1 + merkle.Size
	maxBundle = archive.TileWidth * maxEntry
	maxTile   = archive.TileWidth * merkle.Size
	// bundleLevel is the height of a full bundle's subtree.
	bundleLevel = 8
)

// remoteTiles reads the server's tiles of hashes for package tlog, which checks
// them against the root of a checkpoint. It keeps the latest ones.
type remoteTiles struct {
	ctx    context.Context
	remote *remote

	mu   sync.Mutex
	kept map[tlog.Tile][]byte
}

// tilesKept bounds the tiles that are kept: each level's right edge, and more.
const tilesKept = 64

func (t *remoteTiles) Height() int                     { return bundleLevel }
func (t *remoteTiles) SaveTiles([]tlog.Tile, [][]byte) {}

func (t *remoteTiles) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	out := make([][]byte, len(tiles))
	for i, tile := range tiles {
		t.mu.Lock()
		data, ok := t.kept[tile]
		t.mu.Unlock()
		if !ok {
			var err error
			if data, err = t.read(tile); err != nil {
				return nil, err
			}
		}
		out[i] = data
	}
	return out, nil
}

func (t *remoteTiles) read(tile tlog.Tile) ([]byte, error) {
	data, err := tileOrFull(t.ctx, t.remote, archive.Tile{Level: tile.L, Index: uint64(tile.N), Width: tile.W}, maxTile)
	if err != nil {
		return nil, err
	}
	if len(data) < tile.W*merkle.Size {
		return nil, failf(CodeCorrupt, logPath+tile.Path(), "a tile of %d bytes, %d expected", len(data), tile.W*merkle.Size)
	}
	data = data[:tile.W*merkle.Size]
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.kept == nil || len(t.kept) >= tilesKept {
		t.kept = map[tlog.Tile][]byte{}
	}
	t.kept[tile] = data
	return data, nil
}

// tileOrFull reads a file of the log; the full one in place of a partial one that
// a log no longer has.
func tileOrFull(ctx context.Context, r *remote, t archive.Tile, limit int64) ([]byte, error) {
	data, err := r.small(ctx, logPath+t.Path(), limit)
	if isNotThere(err) && t.Width < archive.TileWidth {
		full := t
		full.Width = archive.TileWidth
		data, err = r.small(ctx, logPath+full.Path(), limit)
	}
	if isNotThere(err) {
		err = &Error{Code: CodeMissing, File: logPath + t.Path(), Detail: "the checkpoint needs this file of the log", Err: err}
	}
	return data, err
}

// hashes returns a reader of the server's tree under a checkpoint; what it reads
// is checked against the root.
func (p *pull) hashes(ctx context.Context, c checkpoint.Checkpoint) tlog.HashReader {
	return tlog.TileHashReader(tlog.Tree{N: int64(c.Size), Hash: tlog.Hash(c.Root)}, &remoteTiles{ctx: ctx, remote: p.remote})
}

// entries collects the bundles from the mirror's own size up to the checkpoint,
// checks them and computes the tiles.
func (p *pull) entries(ctx context.Context, to head) error {
	tree, err := p.edge()
	if err != nil {
		return err
	}
	if to.Size == tree.size {
		return p.sameRoot(tree, to)
	}
	first := tree.size / archive.TileWidth
	n := (to.Size+archive.TileWidth-1)/archive.TileWidth - first
	authentic := p.hashes(ctx, to.Checkpoint)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	coming := p.bundles(ctx, first, n, to.Size)
	for b := range coming {
		got := <-b
		if got.err != nil {
			return got.err
		}
		if err := p.bundle(ctx, authentic, tree, got); err != nil {
			return err
		}
		p.report("log", tree.size, to.Size)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := tree.edges(); err != nil {
		return err
	}
	return p.sameRoot(tree, to)
}

func (p *pull) sameRoot(tree *tree, to head) error {
	if tree.size != to.Size || tree.root() != to.Root {
		return failf(CodeCorrupt, logPath+archive.CheckpointFile, "the %d entries that came have root %s, the checkpoint of %d entries says %s", tree.size, tree.root(), to.Size, to.Root)
	}
	return nil
}

// got is a bundle as it came.
type got struct {
	tile   archive.Tile
	data   []byte
	staged bool // from the stage, not from the server
	err    error
}

// bundles reads n bundles ahead, in order, a few at a time.
func (p *pull) bundles(ctx context.Context, first, n, size uint64) <-chan chan got {
	out := make(chan chan got, 2*p.remote.Parallel)
	go func() {
		defer close(out)
		for i := first; i < first+n; i++ {
			t := archive.Tile{Level: archive.EntriesLevel, Index: i, Width: int(min(archive.TileWidth, size-i*archive.TileWidth))}
			one := make(chan got, 1)
			select {
			case out <- one:
			case <-ctx.Done():
				return
			}
			go func() { one <- p.readBundle(ctx, t, true) }()
		}
	}()
	return out
}

// readBundle reads a bundle from the stage, when it is a full one that is there,
// or from the server.
func (p *pull) readBundle(ctx context.Context, t archive.Tile, fromStage bool) got {
	if t.Width == archive.TileWidth && fromStage {
		data, err := os.ReadFile(p.dir.stage("log", filepath.FromSlash(t.Path())))
		if err == nil {
			return got{tile: t, data: data, staged: true}
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return got{err: err}
		}
	}
	data, err := tileOrFull(ctx, p.remote, t, maxBundle)
	return got{tile: t, data: data, err: err}
}

// bundle checks a bundle against the tree of the checkpoint and stages it.
func (p *pull) bundle(ctx context.Context, authentic tlog.HashReader, tree *tree, b got) error {
	data, leaves, err := p.checked(authentic, b)
	if err != nil && b.staged {
		if b = p.readBundle(ctx, b.tile, false); b.err != nil {
			return b.err
		}
		data, leaves, err = p.checked(authentic, b)
	}
	if err != nil {
		return err
	}
	if !b.staged {
		if err := p.stageLog(b.tile, data); err != nil {
			return err
		}
	}
	for _, leaf := range leaves[tree.size-b.tile.Index*archive.TileWidth:] {
		if err := tree.push(leaf); err != nil {
			return err
		}
	}
	return nil
}

// checked reads the entries of a bundle. A full one must have the hash that the
// tree under the checkpoint has there; the last, partial one is checked with the
// root.
func (p *pull) checked(authentic tlog.HashReader, b got) (data []byte, leaves []merkle.Hash, err error) {
	file := logPath + b.tile.Path()
	entries, ends, err := archive.Bundle(b.data, b.tile.Index*archive.TileWidth, file)
	if err != nil {
		return nil, nil, &Error{Code: CodeCorrupt, File: file, Detail: "the bundle cannot be read", Err: err}
	}
	if len(entries) < b.tile.Width {
		return nil, nil, failf(CodeCorrupt, file, "the bundle has %d entries, %d expected", len(entries), b.tile.Width)
	}
	for _, e := range entries[:b.tile.Width] {
		leaves = append(leaves, merkle.LeafHash(e.Bytes()))
	}
	data = b.data[:ends[b.tile.Width-1]]
	if b.tile.Width < archive.TileWidth {
		return data, leaves, nil
	}
	want, err := authentic.ReadHashes([]int64{tlog.StoredHashIndex(bundleLevel, int64(b.tile.Index))})
	if err != nil {
		return nil, nil, tileError(err)
	}
	if got := merkle.Root(leaves); tlog.Hash(got) != want[0] {
		return nil, nil, failf(CodeCorrupt, file, "the bundle hashes to %s, the tree has %s there", got, want[0])
	}
	return data, leaves, nil
}

// tileError names an error of reading tiles, unless it is named already.
func tileError(err error) error {
	var e *Error
	if errors.As(err, &e) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return &Error{Code: CodeCorrupt, File: logPath + "tile", Detail: "the tiles do not have the root of the checkpoint", Err: err}
}

// stageLog stages a file of the log.
func (p *pull) stageLog(t archive.Tile, data []byte) error {
	path := p.dir.stage("log", filepath.FromSlash(t.Path()))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	// A file that a crash cut off is found by its hash, and read anew.
	return os.WriteFile(path, data, 0o644)
}

// edge returns the tree of the mirror's own entries, read from its tiles and
// checked against its checkpoint.
func (p *pull) edge() (*tree, error) {
	t := &tree{stage: p.stageLog}
	if p.kept == nil || p.kept.Size == 0 {
		return t, nil
	}
	n := p.kept.Size
	own := archive.OpenLog(os.DirFS(filepath.Join(p.dir.dir, "log"))).Hashes(n, p.kept.Root)
	read := func(level int, index uint64) (merkle.Hash, error) {
		h, err := own.ReadHashes([]int64{tlog.StoredHashIndex(level, int64(index))})
		if err != nil {
			return merkle.Hash{}, &Error{Code: CodeLocal, Detail: fmt.Sprintf("the mirror's own log in %s is damaged; verify it, and pull into an empty directory", p.dir.dir), Err: err}
		}
		return merkle.Hash(h[0]), nil
	}
	t.size = n
	for level := 62; level >= 0; level-- { // perfect subtrees, largest first
		if n>>level&1 == 1 {
			h, err := read(level, n>>level-1)
			if err != nil {
				return nil, err
			}
			t.subs = append(t.subs, h)
		}
	}
	for level := 0; n>>(bundleLevel*level) > 0; level++ {
		nodes := n >> (bundleLevel * level)
		r := row{nodes: nodes}
		for i := nodes - nodes%archive.TileWidth; i < nodes; i++ {
			h, err := read(bundleLevel*level, i)
			if err != nil {
				return nil, err
			}
			r.tile = append(r.tile, h[:]...)
		}
		t.rows = append(t.rows, r)
	}
	return t, nil
}

// tree is the right edge of the growing tree: the roots of its perfect subtrees
// and the tile of each level that is being filled. Full tiles are staged.
type tree struct {
	size  uint64
	subs  []merkle.Hash // largest first
	rows  []row
	stage func(archive.Tile, []byte) error
}

type row struct {
	nodes uint64
	tile  []byte
}

func (t *tree) push(leaf merkle.Hash) error {
	t.subs = append(t.subs, leaf)
	t.size++
	for n := t.size; n%2 == 0; n /= 2 {
		k := len(t.subs)
		t.subs[k-2] = merkle.NodeHash(t.subs[k-2], t.subs[k-1])
		t.subs = t.subs[:k-1]
	}
	return t.node(0, leaf)
}

func (t *tree) node(level int, h merkle.Hash) error {
	if level == len(t.rows) {
		t.rows = append(t.rows, row{})
	}
	r := &t.rows[level]
	r.tile = append(r.tile, h[:]...)
	r.nodes++
	if r.nodes%archive.TileWidth != 0 {
		return nil
	}
	if err := t.stage(archive.Tile{Level: level, Index: r.nodes/archive.TileWidth - 1, Width: archive.TileWidth}, r.tile); err != nil {
		return err
	}
	nodes := make([]merkle.Hash, 0, archive.TileWidth)
	for i := 0; i < len(r.tile); i += merkle.Size {
		nodes = append(nodes, merkle.Hash(r.tile[i:]))
	}
	for len(nodes) > 1 {
		for i := range len(nodes) / 2 {
			nodes[i] = merkle.NodeHash(nodes[2*i], nodes[2*i+1])
		}
		nodes = nodes[:len(nodes)/2]
	}
	r.tile = r.tile[:0]
	return t.node(level+1, nodes[0])
}

// edges stages the partial tiles of the right edge.
func (t *tree) edges() error {
	for level, r := range t.rows {
		if w := int(r.nodes % archive.TileWidth); w > 0 {
			if err := t.stage(archive.Tile{Level: level, Index: r.nodes / archive.TileWidth, Width: w}, r.tile); err != nil {
				return err
			}
		}
	}
	return nil
}

func (t *tree) root() merkle.Hash {
	if len(t.subs) == 0 {
		return merkle.EmptyRoot()
	}
	h := t.subs[len(t.subs)-1]
	for i := len(t.subs) - 2; i >= 0; i-- {
		h = merkle.NodeHash(t.subs[i], h)
	}
	return h
}
