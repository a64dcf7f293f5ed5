package archive

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"

	"robotorq.org/reserve/merkle"
)

// journalScan reads the frames of a journal from a place on and keeps where
// each record lies. It is shared by the writer, which scans once, and by
// readers, which scan what was added since they last looked.
type journalScan struct {
	header
	file    string // in messages
	first   int64  // offset of the first frame
	end     int64  // offset after the last complete group
	records int
	bytes   int64            // data bytes of the records
	at      map[uint64]int64 // digest prefix → offset of its first frame
	more    map[uint64][]int64
	heads   []int64 // frames that hold a batch
}

// openScan reads the first line of the journal in f.
func openScan(f io.ReaderAt, size int64, file string) (*journalScan, error) {
	head := make([]byte, min(maxHeader, size))
	if _, err := f.ReadAt(head, 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	h, n, err := parseHeader(journalMagic, head)
	if err != nil {
		return nil, corrupt(file, 0, int64(len(head)), "first line cannot be read")
	}
	return &journalScan{header: h, file: file, first: int64(n), end: int64(n),
		at: map[uint64]int64{}, more: map[uint64][]int64{}}, nil
}

// note remembers where a record lies. Of the placed record it needs the key,
// the offset, the length of the data and whether it is a batch.
func (s *journalScan) note(g placed) {
	p := prefix(g.Key)
	if _, ok := s.at[p]; ok {
		s.more[p] = append(s.more[p], g.off)
	} else {
		s.at[p] = g.off
	}
	if g.batch {
		s.heads = append(s.heads, g.off)
	}
	s.records++
	s.bytes += g.len
}

// offsets returns the frames whose key begins like this one.
func (s *journalScan) offsets(key merkle.Hash) []int64 {
	off, ok := s.at[prefix(key)]
	if !ok {
		return nil
	}
	return append([]int64{off}, s.more[prefix(key)]...)
}

// extend scans the groups between s.end and size. It returns an *Error with
// CodeTorn, after noting every complete group, when the file ends inside a
// group, and CodeCorrupt when bytes do not agree with their check sums.
func (s *journalScan) extend(f io.ReaderAt, size int64) error {
	var group []placed
	for r, err := range s.frames(f, s.end, size) {
		if err != nil {
			return err
		}
		group = append(group, placed{Record: Record{Key: r.Key}, off: r.off, len: int64(len(r.Data)), batch: isBatch(r.Record)})
		if !r.last {
			continue
		}
		for _, g := range group {
			s.note(g)
		}
		group, s.end = group[:0], r.off+r.len
	}
	if s.end != size {
		return &Error{Code: CodeTorn, File: s.file, Offset: s.end, Length: size - s.end,
			Detail: "its last group is incomplete: a crash came while it was written, or the file was cut"}
	}
	return nil
}

type frame struct {
	placed
	last bool
}

// frames yields the frames from off to size. A file that ends inside a frame
// ends the sequence without an error.
func (s *journalScan) frames(f io.ReaderAt, off, size int64) iter.Seq2[frame, error] {
	return func(yield func(frame, error) bool) {
		in := bufio.NewReaderSize(io.NewSectionReader(f, off, size-off), 64<<10)
		h := make([]byte, frameHeader)
		for size-off >= frameHeader {
			if _, err := io.ReadFull(in, h); err != nil {
				yield(frame{}, err)
				return
			}
			n, last, ok := frameSize(h)
			if !ok {
				yield(frame{}, corrupt(s.file, off, frameHeader, "frame header does not agree with its check sum"))
				return
			}
			if size-off-frameHeader < n {
				return
			}
			body := make([]byte, n)
			if _, err := io.ReadFull(in, body); err != nil {
				yield(frame{}, err)
				return
			}
			rec, err := checkBody(h, body)
			if err != nil {
				yield(frame{}, corrupt(s.file, off, frameHeader+n, "%v", err))
				return
			}
			if !yield(frame{placed{Record: rec, off: off, len: frameHeader + n}, last}, nil) {
				return
			}
			off += frameHeader + n
		}
	}
}

func checkBody(h, body []byte) (Record, error) {
	if !bodyAgrees(h, body) {
		return Record{}, errors.New("frame does not agree with its check sum")
	}
	r := parseBody(body)
	if !r.Kind.valid() {
		return Record{}, fmt.Errorf("record of unknown kind %d", r.Kind)
	}
	return r, nil
}

// readFrame reads the one frame at off.
func (s *journalScan) readFrame(f io.ReaderAt, off int64) (Record, error) {
	h := make([]byte, frameHeader)
	if _, err := f.ReadAt(h, off); err != nil {
		return Record{}, err
	}
	n, _, ok := frameSize(h)
	if !ok {
		return Record{}, corrupt(s.file, off, frameHeader, "frame header does not agree with its check sum")
	}
	body := make([]byte, n)
	if _, err := f.ReadAt(body, off+frameHeader); err != nil {
		return Record{}, err
	}
	r, err := checkBody(h, body)
	if err != nil {
		return Record{}, corrupt(s.file, off, frameHeader+n, "%v", err)
	}
	return r, nil
}

// all yields the records of complete groups, in order.
func (s *journalScan) all(f io.ReaderAt) iter.Seq2[placed, error] {
	return func(yield func(placed, error) bool) {
		for fr, err := range s.frames(f, s.first, s.end) {
			if !yield(fr.placed, err) || err != nil {
				return
			}
		}
	}
}

// cutAllowed decides whether the bytes from s.end to size may be cut off when a
// journal is opened for writing: only when no complete frame that belongs to a
// finished group lies in them, for such a group may have been acknowledged.
func (s *journalScan) cutAllowed(f *os.File, size int64) error {
	const most = 64 << 20
	n := size - s.end
	if n > most {
		return corrupt(s.file, s.end, n, "too much to be the remains of one group")
	}
	tail := make([]byte, n)
	if _, err := f.ReadAt(tail, s.end); err != nil {
		return err
	}
	for i := int64(0); i+frameHeader <= n; i++ {
		h := tail[i : i+frameHeader]
		size, last, ok := frameSize(h)
		if ok && last && i+frameHeader+size <= n {
			body := tail[i+frameHeader : i+frameHeader+size]
			if bodyAgrees(h, body) {
				return corrupt(s.file, s.end, i, "damaged bytes before a complete group at %d; restore this file from a mirror", s.end+i)
			}
		}
	}
	return nil
}
