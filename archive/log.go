package archive

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"strings"

	"golang.org/x/mod/sumdb/tlog"

	"robotorq.org/reserve/checkpoint"
	"robotorq.org/reserve/merkle"
)

// Log reads the static files of a tlog-tiles log (D/log, or a mirror of it).
// It holds nothing in memory and may be used by several goroutines.
type Log struct{ files fs.FS }

// OpenLog returns a reader of the log in files.
func OpenLog(files fs.FS) *Log { return &Log{files} }

// Entry is an entry of the log: which artefact was logged where.
type Entry struct {
	Index       uint64
	PayloadType string
	Digest      merkle.Hash
}

// Bytes returns the entry as it is logged: payloadType "\n" digest.
func (e Entry) Bytes() []byte { return append([]byte(e.PayloadType+"\n"), e.Digest[:]...) }

// Checkpoint returns the bytes of the published checkpoint, unchecked.
func (l *Log) Checkpoint() ([]byte, error) { return fs.ReadFile(l.files, CheckpointFile) }

// Entries yields the entries [from, size) of a tree of that size.
func (l *Log) Entries(from, size uint64) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		for from < size {
			t := tileID{entriesLevel, from / tileWidth, int(min(size-from/tileWidth*tileWidth, tileWidth))}
			b, file, err := l.read(t)
			if err != nil {
				yield(Entry{}, err)
				return
			}
			bundle, err := parseBundle(b, t.index*tileWidth, file)
			if err == nil && len(bundle) < t.width {
				err = corrupt(file, 0, int64(len(b)), "bundle has %d entries, %d expected", len(bundle), t.width)
			}
			if err != nil {
				yield(Entry{}, err)
				return
			}
			for _, e := range bundle[from%tileWidth : t.width] {
				if !yield(e.Entry, nil) {
					return
				}
				from++
			}
		}
	}
}

// Entry returns one entry of a tree of the given size.
func (l *Log) Entry(index, size uint64) (Entry, error) {
	for e, err := range l.Entries(index, size) {
		return e, err
	}
	return Entry{}, &Error{Code: CodeNotFound, Detail: fmt.Sprintf("log entry %d of %d", index, size)}
}

// read returns the file of a tile: the partial one of its width, else the full
// one, which supersedes it.
func (l *Log) read(t tileID) ([]byte, string, error) {
	b, err := fs.ReadFile(l.files, t.path())
	if isNotExist(err) && t.width < tileWidth {
		t.width = tileWidth
		b, err = fs.ReadFile(l.files, t.path())
	}
	file := "log/" + t.path()
	if isNotExist(err) {
		err = &Error{Code: CodeMissing, File: file, Detail: "file is missing"}
	}
	return b, file, err
}

type bundled struct {
	Entry
	end int // offset after the entry in the bundle
}

// parseBundle reads an entry bundle that begins with the entry at first.
func parseBundle(b []byte, first uint64, file string) ([]bundled, error) {
	var out []bundled
	for pos := 0; pos < len(b); {
		if len(b)-pos < 2 || len(b)-pos-2 < int(binary.BigEndian.Uint16(b[pos:])) {
			return nil, corrupt(file, int64(pos), int64(len(b)-pos), "entry %d is cut off", first+uint64(len(out)))
		}
		end := pos + 2 + int(binary.BigEndian.Uint16(b[pos:]))
		e := Entry{Index: first + uint64(len(out))}
		var err error
		if e.PayloadType, e.Digest, err = checkpoint.ParseEntry(b[pos+2 : end]); err != nil {
			return nil, corrupt(file, int64(pos), int64(end-pos), "entry %d: %v", e.Index, err)
		}
		out = append(out, bundled{e, end})
		pos = end
	}
	if len(out) > tileWidth {
		return nil, corrupt(file, 0, int64(len(b)), "bundle has %d entries", len(out))
	}
	return out, nil
}

// Hashes returns a reader of the hashes of a tree of this size and root, for
// [tlog.ProveRecord] and [tlog.ProveTree]. What it reads is checked against the
// root.
func (l *Log) Hashes(size uint64, root merkle.Hash) tlog.HashReader {
	return tlog.TileHashReader(tlog.Tree{N: int64(size), Hash: tlog.Hash(root)}, tileReader{l})
}

type tileReader struct{ log *Log }

func (tileReader) Height() int                     { return 8 }
func (tileReader) SaveTiles([]tlog.Tile, [][]byte) {}

func (r tileReader) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	out := make([][]byte, len(tiles))
	for i, t := range tiles {
		id := tileID{t.L, uint64(t.N), t.W}
		b, file, err := r.log.read(id)
		if err != nil {
			return nil, err
		}
		if len(b) < t.W*merkle.Size {
			return nil, corrupt(file, 0, int64(len(b)), "tile has %d bytes, %d expected", len(b), t.W*merkle.Size)
		}
		out[i] = b[:t.W*merkle.Size]
	}
	return out, nil
}

// treeState is the state that the log's writer keeps for itself.
type treeState struct {
	Size uint64 `json:"size"`
	Root []byte `json:"root"`
}

func readTreeState(log fs.FS) (treeState, error) {
	var s treeState
	return s, readState(log, treeStateFile, &s)
}

// readState reads a JSON file that must be exactly as encoding/json writes it.
func readState(log fs.FS, name string, into any) error {
	b, err := fs.ReadFile(log, name)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, into); err != nil {
		return &Error{Code: CodeCorrupt, File: "log/" + name, Length: int64(len(b)), Detail: "not a state file", Err: err}
	}
	again, err := json.Marshal(into)
	if err != nil {
		return err
	}
	if !bytes.Equal(again, b) {
		return corrupt("log/"+name, 0, int64(len(b)), "state file is not written as its writer writes it")
	}
	return nil
}

func isNotExist(err error) bool { return errors.Is(err, fs.ErrNotExist) }

// parseCheckpoint reads the text of a signed checkpoint without checking the
// signatures.
func parseCheckpoint(signed []byte) (checkpoint.Checkpoint, error) {
	text, _, ok := strings.Cut(string(signed), "\n\n")
	c, err := checkpoint.Parse(text + "\n")
	if err == nil && (!ok || len(c.Extensions) > 0) {
		err = errors.New("not three lines and signatures")
	}
	if err != nil {
		return c, &Error{Code: CodeCorrupt, File: "log/" + CheckpointFile, Length: int64(len(signed)), Detail: "not a checkpoint", Err: err}
	}
	return c, nil
}

// Integrated is how many entries the log's writer has integrated, published or not,
// and their root; zero and the root of the empty tree where nothing was written yet.
// The root is not checked.
func (l *Log) Integrated() (uint64, merkle.Hash, error) {
	s, err := readTreeState(l.files)
	if isNotExist(err) {
		return 0, merkle.EmptyRoot(), nil
	}
	if err != nil {
		return 0, merkle.Hash{}, err
	}
	if s.Size == 0 {
		return 0, merkle.EmptyRoot(), nil
	}
	root, err := merkle.HashOf(s.Root)
	return s.Size, root, err
}
