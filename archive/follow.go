package archive

import (
	"errors"
	"io"
	"iter"
	"os"
	"path/filepath"

	"robotorq.org/reserve/merkle"
)

// What a mirror needs to know of the files: their names, first lines and frames.

// JournalFile is the name of the journal of a class below the packs directory.
func JournalFile(c Class) string { return journalName(c) }

// PackFile is the name of a pack below the packs directory.
func PackFile(c Class, seq uint64, sum merkle.Hash) string { return packName(c, seq, sum) }

// ParsePackFile takes the name of a pack apart; ok is false for any other name.
func ParsePackFile(name string) (c Class, seq uint64, sum merkle.Hash, ok bool) {
	return parsePackName(name)
}

// MaxHeader is the longest first line of a pack or journal, in bytes.
const MaxHeader = maxHeader

// Header is the first line of a pack or journal: its class, its number in the
// class (from 1), and the SHA-256 of the pack before it (zero for the first).
type Header struct {
	Class Class
	Seq   uint64
	Prev  merkle.Hash
}

// ParseJournalHeader reads the first line of a journal; n is its length.
func ParseJournalHeader(b []byte) (h Header, n int, err error) { return publicHeader(journalMagic, b) }

// ParsePackHeader reads the first line of a pack; n is its length.
func ParsePackHeader(b []byte) (h Header, n int, err error) { return publicHeader(packMagic, b) }

func publicHeader(magic string, b []byte) (Header, int, error) {
	h, n, err := parseHeader(magic, b[:min(len(b), maxHeader)])
	return Header{h.class, h.seq, h.prev}, n, err
}

// Journal is a journal that is read group by group.
type Journal struct {
	Header
	First int64 // offset of the first frame
	scan  *journalScan
	in    io.ReaderAt
}

// OpenJournal reads the first line of a journal.
func OpenJournal(in io.ReaderAt, size int64, file string) (*Journal, error) {
	scan, err := openScan(in, size, file)
	if err != nil {
		return nil, err
	}
	return &Journal{Header: Header{scan.class, scan.seq, scan.prev}, First: scan.first, scan: scan, in: in}, nil
}

// Framed is a record of a journal with the offset after its frame; Last says that
// its group ends with it.
type Framed struct {
	Record
	End  int64
	Last bool
}

// Frames yields the records from an offset (a frame's) to size, each checked
// against its check sum and its digest. Journals are cut at ends of groups alone:
// a file that ends inside a frame ends the sequence without an error.
func (j *Journal) Frames(from, size int64) iter.Seq2[Framed, error] {
	return func(yield func(Framed, error) bool) {
		for fr, err := range j.scan.frames(j.in, from, size) {
			if err == nil {
				if e := fr.Record.check(j.Class); e != nil {
					err = corrupt(j.scan.file, fr.off, fr.len, "%v", e)
				}
			}
			if !yield(Framed{fr.Record, fr.off + fr.len, fr.last}, err) || err != nil {
				return
			}
		}
	}
}

// PackRecords yields the records of one pack file, in the order in which they
// were written. Data is valid until the next record is asked for.
func PackRecords(path string, c Class, seq uint64) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		fail := func(err error) { yield(Record{}, err) }
		f, err := os.Open(path)
		if err != nil {
			fail(err)
			return
		}
		defer f.Close()
		dec, err := newDecoder(1)
		if err != nil {
			fail(err)
			return
		}
		defer dec.Close()
		p := &pack{header: header{class: c, seq: seq}, path: path, file: path}
		for at, err := range p.all(f, dec) {
			if !yield(at.Record, err) || err != nil {
				return
			}
		}
	}
}

// Tile names a file of the log below its root: a tile of hashes at a level, or a
// bundle of entries (Level [EntriesLevel]). Width is 256 for a full one.
type Tile struct {
	Level int
	Index uint64
	Width int
}

// EntriesLevel is the level of bundles of entries, TileWidth the width of full
// tiles.
const (
	EntriesLevel = entriesLevel
	TileWidth    = tileWidth
)

// Path returns the path of the file, as in C2SP tlog-tiles.
func (t Tile) Path() string { return tileID{t.Level, t.Index, t.Width}.path() }

// Leaves returns the size of the smallest tree that has this file; ok is false
// when there is none.
func (t Tile) Leaves() (n uint64, ok bool) { return tileID{t.Level, t.Index, t.Width}.leaves() }

// ParseTile reads a path that Path would write.
func ParseTile(path string) (Tile, bool) {
	t, ok := parseTilePath(path)
	return Tile{t.level, t.index, t.width}, ok
}

// Bundle reads an entry bundle that begins with the entry at first. It returns
// the entries and the offsets after each.
func Bundle(data []byte, first uint64, file string) ([]Entry, []int, error) {
	parsed, err := parseBundle(data, first, file)
	if err != nil {
		return nil, nil, err
	}
	entries, ends := make([]Entry, len(parsed)), make([]int, len(parsed))
	for i, e := range parsed {
		entries[i], ends[i] = e.Entry, e.end
	}
	return entries, ends, nil
}

// IsWriters tells whether a log directory is that of a log's writer, not a
// mirror's.
func IsWriters(logDir string) (bool, error) {
	_, err := os.Stat(filepath.Join(logDir, stateDir))
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}
