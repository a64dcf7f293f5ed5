package archive

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"robotorq.org/reserve/checkpoint"
	"robotorq.org/reserve/merkle"
)

// logCheck checks the files of a log directory by themselves: that each is
// known, that entries, tiles and checkpoint agree to the byte, and that the
// writer's own state agrees with them.
type logCheck struct {
	dir    string
	files  fs.FS
	opts   Options
	sum    *Summary
	signed []byte
	cp     checkpoint.Checkpoint
	state  *treeState // nil in a mirror
	have   uint64     // entries in the bundles
	tree   frontier
	rows   []row
	doubt  *doubt
}

// row is one level of the tree of hashes, as far as it is known.
type row struct {
	nodes uint64
	tile  []byte // hashes of the tile that is being filled
}

// doubt is the first place where a bundle and its tile disagree. Which of the
// two is wrong is decided by the root of the checkpoint.
type doubt struct{ tile, bundle *Error }

func (c *logCheck) run(ctx context.Context) error {
	c.files = os.DirFS(c.dir)
	var err error
	if c.signed, err = fs.ReadFile(c.files, CheckpointFile); err != nil {
		if isNotExist(err) {
			return &Error{Code: CodeMissing, File: "log/" + CheckpointFile, Detail: "file is missing"}
		}
		return err
	}
	if c.cp, err = parseCheckpoint(c.signed); err != nil {
		return err
	}
	if err := c.readState(); err != nil {
		return err
	}
	if err := c.bundles(ctx); err != nil {
		return err
	}
	if err := c.edges(); err != nil {
		return err
	}
	if err := c.roots(); err != nil {
		return err
	}
	if err := c.account(); err != nil {
		return err
	}
	c.sum.Origin, c.sum.Size, c.sum.Root, c.sum.Checkpoint = c.cp.Origin, c.cp.Size, c.cp.Root, string(c.signed)
	c.sum.Unpublished = c.have - c.cp.Size
	return nil
}

// readState reads the files that the log's writer keeps for itself. A mirror
// has none of them.
func (c *logCheck) readState() error {
	s, err := readTreeState(c.files)
	if isNotExist(err) {
		if _, err := fs.Stat(c.files, stateDir); err == nil {
			return &Error{Code: CodeMissing, File: "log/" + treeStateFile, Detail: "file is missing"}
		}
		return nil
	}
	if err != nil {
		return err
	}
	c.state = &s
	if st, err := fs.Stat(c.files, treeStateFile); err == nil {
		c.seen(int(st.Size()))
	}
	if len(s.Root) != merkle.Size || s.Size < c.cp.Size {
		return corrupt("log/"+treeStateFile, 0, 0, "names %d entries, the checkpoint %d", s.Size, c.cp.Size)
	}
	return nil
}

// bundles reads every entry, in order, and compares the tiles that fill up.
func (c *logCheck) bundles(ctx context.Context) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := c.bundle(c.have / tileWidth)
		if err != nil {
			return err
		}
		if n < tileWidth {
			break
		}
	}
	if c.have < c.cp.Size {
		missing := tileID{entriesLevel, c.have / tileWidth, int(min(tileWidth, c.cp.Size-c.have/tileWidth*tileWidth))}
		return &Error{Code: CodeMissing, File: "log/" + missing.path(), Detail: fmt.Sprintf("the checkpoint covers %d entries, the bundles hold %d", c.cp.Size, c.have)}
	}
	return nil
}

// bundle reads the full bundle of this index, or the largest partial one, and
// compares the others with it. It returns the number of entries.
func (c *logCheck) bundle(index uint64) (int, error) {
	id := tileID{entriesLevel, index, tileWidth}
	widths, err := c.widths(id)
	if err != nil {
		return 0, err
	}
	data, err := fs.ReadFile(c.files, id.path())
	if isNotExist(err) {
		if len(widths) == 0 {
			return 0, nil
		}
		id.width = widths[len(widths)-1]
		data, err = fs.ReadFile(c.files, id.path())
	}
	if err != nil {
		return 0, err
	}
	file := "log/" + id.path()
	entries, err := parseBundle(data, index*tileWidth, file)
	if err != nil {
		return 0, err
	}
	if len(entries) != id.width {
		return 0, corrupt(file, 0, int64(len(data)), "bundle has %d entries, %d expected", len(entries), id.width)
	}
	hashes := leafHashes(entries, data)
	if err := c.suspect(id, entries, hashes); err != nil {
		return 0, err
	}
	for _, w := range widths {
		if w > len(entries) || w == id.width || c.doubt != nil {
			break // newer than what was read, read, or decided at the checkpoint
		}
		if err := c.compare(tileID{entriesLevel, index, w}, data[:entries[w-1].end]); err != nil {
			return 0, err
		}
	}
	c.seen(len(data))
	return len(entries), c.leaves(hashes)
}

// leafHashes returns the hashes of the entries of a bundle.
func leafHashes(entries []bundled, data []byte) []byte {
	start := 0
	hashes := make([]byte, 0, len(entries)*merkle.Size)
	for _, e := range entries {
		leaf := merkle.LeafHash(data[start+2 : e.end])
		hashes = append(hashes, leaf[:]...)
		start = e.end
	}
	return hashes
}

// leaves adds the entries of a bundle to the tree.
func (c *logCheck) leaves(hashes []byte) error {
	for i := 0; i < len(hashes); i += merkle.Size {
		leaf := merkle.Hash(hashes[i:])
		c.tree.push(leaf)
		c.have++
		if c.state != nil && c.have == c.state.Size && !bytes.Equal(c.state.Root, c.tree.rootBytes()) && c.doubt == nil {
			return corrupt("log/"+treeStateFile, 0, 0, "root of %d entries is not %x", c.have, c.state.Root)
		}
		if c.have == c.cp.Size {
			if err := c.atCheckpoint(); err != nil {
				return err
			}
		}
		if err := c.push(0, leaf); err != nil {
			return err
		}
	}
	return nil
}

// suspect compares the hashes of a bundle with the widest tile of level 0, to
// say of which entry they differ.
func (c *logCheck) suspect(id tileID, entries []bundled, hashes []byte) error {
	tile := tileID{0, id.index, id.width}
	got, err := fs.ReadFile(c.files, tile.path())
	if isNotExist(err) {
		return nil
	}
	if err != nil || c.doubt != nil {
		return err
	}
	for i, e := range entries {
		at := i * merkle.Size
		if len(got) < at+merkle.Size || !bytes.Equal(got[at:at+merkle.Size], hashes[at:at+merkle.Size]) {
			start := 0
			if i > 0 {
				start = entries[i-1].end
			}
			c.doubt = &doubt{
				tile:   corrupt("log/"+tile.path(), int64(at), merkle.Size, "is not the hash of entry %d", e.Index),
				bundle: corrupt("log/"+id.path(), int64(start), int64(e.end-start), "entry %d (%s) does not have the hash that the checkpoint covers", e.Index, e.PayloadType),
			}
			return nil
		}
	}
	return nil
}

// atCheckpoint compares the root of the checkpoint's entries.
func (c *logCheck) atCheckpoint() error {
	root := c.tree.root()
	switch {
	case c.doubt != nil && root == c.cp.Root:
		return c.doubt.tile
	case c.doubt != nil:
		return c.doubt.bundle
	case root != c.cp.Root:
		return corrupt("log/"+CheckpointFile, 0, int64(len(c.signed)), "the root of its %d entries is %s, not %s", c.cp.Size, root, c.cp.Root)
	}
	return nil
}

// push adds a node to a level and compares the tile that it fills.
func (c *logCheck) push(level int, h merkle.Hash) error {
	if level == len(c.rows) {
		c.rows = append(c.rows, row{})
	}
	r := &c.rows[level]
	r.tile = append(r.tile, h[:]...)
	r.nodes++
	if r.nodes%tileWidth != 0 {
		return nil
	}
	full := r.tile
	if err := c.tiles(tileID{level, r.nodes/tileWidth - 1, tileWidth}, full); err != nil {
		return err
	}
	var sub frontier
	for i := 0; i < len(full); i += merkle.Size {
		sub.push(merkle.Hash(full[i:]))
	}
	r.tile = r.tile[:0]
	return c.push(level+1, sub.root())
}

// edges compares the tiles on the right edge of the tree.
func (c *logCheck) edges() error {
	for level, r := range c.rows {
		if w := int(r.nodes % tileWidth); w > 0 {
			if err := c.tiles(tileID{level, r.nodes / tileWidth, w}, r.tile); err != nil {
				return err
			}
		}
	}
	return nil
}

// tiles compares the full and all partial files of a tile whose hashes, as far
// as the tree has them, are given, and misses what the checkpoint needs.
func (c *logCheck) tiles(id tileID, hashes []byte) error {
	known := id.width
	widths, err := c.widths(id)
	if err != nil {
		return err
	}
	full := tileID{id.level, id.index, tileWidth}
	if _, err := fs.Stat(c.files, full.path()); err == nil {
		widths = append(widths, tileWidth)
	} else if !isNotExist(err) {
		return err
	}
	for _, w := range widths {
		if w > known {
			break // account names it
		}
		if err := c.compare(tileID{id.level, id.index, w}, hashes[:w*merkle.Size]); err != nil {
			return err
		}
	}
	nodes := c.cp.Size >> (8 * id.level)
	if nodes <= id.index*tileWidth {
		return nil
	}
	need := int(min(tileWidth, nodes-id.index*tileWidth))
	if !slices.Contains(widths, need) && !slices.Contains(widths, tileWidth) {
		return &Error{Code: CodeMissing, File: "log/" + tileID{id.level, id.index, need}.path(), Detail: "file is missing"}
	}
	return nil
}

// widths lists the partial files of a tile, narrowest first.
func (c *logCheck) widths(id tileID) ([]int, error) {
	es, err := fs.ReadDir(c.files, id.partials())
	if isNotExist(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var out []int
	for _, e := range es {
		w, err := strconv.Atoi(e.Name())
		if err == nil && w > 0 && w < tileWidth && strconv.Itoa(w) == e.Name() {
			out = append(out, w)
		}
	}
	slices.Sort(out)
	return out, nil
}

// compare compares a file with the bytes that it must have.
func (c *logCheck) compare(id tileID, want []byte) error {
	got, err := fs.ReadFile(c.files, id.path())
	if isNotExist(err) && c.opts.Live {
		return nil // a full file took its place
	}
	if err != nil {
		return err
	}
	file := "log/" + id.path()
	if i := mismatch(got, want); i >= 0 {
		if c.doubt != nil && id.level >= 0 {
			return nil // decided at the checkpoint
		}
		return corrupt(file, int64(i), 1, "is not what the entries make it (%d bytes, %d expected)", len(got), len(want))
	}
	c.seen(len(got))
	return nil
}

// mismatch returns where two byte strings part, -1 if they are equal.
func mismatch(a, b []byte) int {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] != b[i] {
			return i
		}
	}
	if len(a) != len(b) {
		return n
	}
	return -1
}

// roots compares what the end of the entries decides.
func (c *logCheck) roots() error {
	if c.cp.Size == 0 && c.cp.Root != merkle.Root(nil) {
		return corrupt("log/"+CheckpointFile, 0, int64(len(c.signed)), "the root of no entries is not %s", c.cp.Root)
	}
	if c.doubt != nil { // beyond the checkpoint
		return c.doubt.bundle
	}
	if c.state == nil {
		if c.have != c.cp.Size && !c.opts.Live {
			return corrupt("log/"+CheckpointFile, 0, int64(len(c.signed)), "covers %d entries, the bundles hold %d", c.cp.Size, c.have)
		}
		return nil
	}
	if c.state.Size > c.have {
		return corrupt("log/"+treeStateFile, 0, 0, "names %d entries, the bundles hold %d", c.state.Size, c.have)
	}
	if c.state.Size == 0 && !bytes.Equal(c.state.Root, c.tree.emptyRoot()) {
		return corrupt("log/"+treeStateFile, 0, 0, "root of no entries is not %x", c.state.Root)
	}
	return nil
}

// account looks at every file of the directory and names what is unknown.
func (c *logCheck) account() error {
	return fs.WalkDir(c.files, ".", func(p string, d fs.DirEntry, err error) error {
		if isNotExist(err) && c.opts.Live {
			return nil
		}
		if err != nil || d.IsDir() {
			return err
		}
		if !d.Type().IsRegular() {
			return &Error{Code: CodeUnknown, File: "log/" + p, Detail: "not a regular file"}
		}
		return c.file(p)
	})
}

func (c *logCheck) file(p string) error {
	unknown := &Error{Code: CodeUnknown, File: "log/" + p, Detail: "no such file belongs here"}
	switch {
	case p == CheckpointFile:
		c.seen(len(c.signed))
		return nil
	case strings.HasPrefix(p, stateDir+"/"):
		return c.stateFile(p)
	case temporary(p):
		return c.sum.residue(c.dir, "log", p, "a write that a crash or this moment interrupted")
	}
	id, ok := parseTilePath(p)
	if !ok {
		return unknown
	}
	nodes := c.have
	if id.level >= 0 {
		nodes = 0
		if id.level < len(c.rows) {
			nodes = c.rows[id.level].nodes
		}
	}
	if id.nodes() > nodes && !c.opts.Live {
		unknown.Detail = fmt.Sprintf("the log has no such file with %d entries", c.have)
		return unknown
	}
	return nil
}

// stateFile checks a file of the writer's own state.
func (c *logCheck) stateFile(p string) error {
	name := "log/" + p
	fixed := func(want string) error {
		got, err := fs.ReadFile(c.files, p)
		if err != nil {
			return err
		}
		if string(got) != want {
			return corrupt(name, 0, int64(max(len(got), 1)), "content is not %q", want)
		}
		c.seen(len(got))
		return nil
	}
	switch p {
	case treeStateFile:
		return nil // read before
	case versionFile:
		return fixed("1")
	case treeStateFile + ".lock", gcStateFile + ".lock", stateDir + "/publish.lock":
		return fixed("")
	case gcStateFile:
		var s struct {
			FromSize uint64 `json:"fromSize"`
		}
		if err := readState(c.files, p, &s); err != nil {
			return err
		}
		if s.FromSize%tileWidth != 0 || s.FromSize > c.cp.Size && !c.opts.Live {
			return corrupt(name, 0, 0, "%d is not a number of entries in full bundles under the checkpoint", s.FromSize)
		}
		if st, err := fs.Stat(c.files, p); err == nil {
			c.seen(int(st.Size()))
		}
		return nil
	}
	if temporary(p) {
		return c.sum.residue(c.dir, "log", p, "a write that a crash or this moment interrupted")
	}
	return &Error{Code: CodeUnknown, File: name, Detail: "no such file belongs here"}
}

// seen counts a file that was checked.
func (c *logCheck) seen(n int) {
	c.sum.LogFiles++
	c.sum.LogBytes += uint64(n)
	c.opts.meter.add(uint64(n))
}

// signatures checks the lines of the checkpoint: one by every verifier, and no
// others.
func (c *logCheck) signatures(verifiers []note.Verifier) error {
	file := "log/" + CheckpointFile
	whole := int64(len(c.signed))
	if _, err := checkpoint.Open(c.signed, c.cp.Origin, verifiers...); err != nil {
		return &Error{Code: "signature", File: file, Length: whole, Detail: "checkpoint", Err: err}
	}
	n, err := note.Open(c.signed, note.VerifierList(verifiers...))
	if err != nil {
		return &Error{Code: "signature", File: file, Length: whole, Detail: "checkpoint", Err: err}
	}
	if len(n.UnverifiedSigs) > 0 {
		at := bytes.Index(c.signed, []byte("— "+n.UnverifiedSigs[0].Name+" "+n.UnverifiedSigs[0].Base64))
		return &Error{Code: "signature", File: file, Offset: int64(max(at, 0)), Length: whole - int64(max(at, 0)),
			Detail: "a line is signed by a key that is neither the log's nor a witness's in the charter"}
	}
	return nil
}

// frontier is the right edge of a growing RFC 6962 tree: the roots of its
// perfect subtrees, largest first.
type frontier struct {
	size uint64
	subs []merkle.Hash
}

func (f *frontier) push(h merkle.Hash) {
	f.subs = append(f.subs, h)
	f.size++
	for n := f.size; n%2 == 0; n /= 2 {
		k := len(f.subs)
		f.subs[k-2] = merkle.NodeHash(f.subs[k-2], f.subs[k-1])
		f.subs = f.subs[:k-1]
	}
}

func (f *frontier) root() merkle.Hash {
	if len(f.subs) == 0 {
		return merkle.Root(nil)
	}
	h := f.subs[len(f.subs)-1]
	for i := len(f.subs) - 2; i >= 0; i-- {
		h = merkle.NodeHash(f.subs[i], h)
	}
	return h
}

func (f *frontier) rootBytes() []byte { h := f.root(); return h[:] }
func (*frontier) emptyRoot() []byte   { h := merkle.Root(nil); return h[:] }

// VerifyLog checks the files of a log directory by themselves: all that
// [VerifyDir] checks of them but what the entries mean. Verifiers are the log's;
// each must have signed the checkpoint, and nobody else. The error is a
// *proof.Fault when something is wrong.
func VerifyLog(ctx context.Context, dir string, opts Options, verifiers ...note.Verifier) (Summary, error) {
	var s Summary
	c := logCheck{dir: dir, opts: opts, sum: &s}
	err := c.run(ctx)
	if err == nil {
		err = c.signatures(verifiers)
	}
	return s, asFault(err)
}
