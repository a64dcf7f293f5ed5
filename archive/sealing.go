package archive

import (
	"bufio"
	"bytes"
	"errors"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"

	"robotorq.org/reserve/merkle"
)

// seal turns the journal into a pack. The order of the steps is what a crash
// can rely on: the pack has its name only when all of it is on disk, and the
// journal is replaced only after the pack has its name.
func (w *Writer) seal(c Class, j *journal) error {
	tmp := filepath.Join(w.dir, sealingName(c))
	sum, err := w.writePack(tmp, j)
	if err != nil {
		return errors.Join(err, os.Remove(tmp))
	}
	name := packName(c, j.seq, sum)
	if err := os.Rename(tmp, filepath.Join(w.dir, name)); err != nil {
		return err
	}
	if err := syncDir(w.dir); err != nil {
		return err
	}
	j.newest = newPack(w.dir, c, j.seq, sum)
	return w.replace(c, j)
}

func (w *Writer) writePack(path string, j *journal) (sum merkle.Hash, err error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return merkle.Hash{}, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	buf := bufio.NewWriterSize(f, 64<<10)
	p, err := newPackWriter(buf, j.header, w.opts.BlockBytes)
	if err != nil {
		return merkle.Hash{}, err
	}
	for r, err := range j.all(j.f) {
		if err != nil {
			return merkle.Hash{}, err
		}
		if err := p.add(r.Record); err != nil {
			return merkle.Hash{}, err
		}
	}
	if sum, err = p.finish(); err != nil {
		return merkle.Hash{}, err
	}
	return sum, errors.Join(buf.Flush(), f.Sync())
}

// replace begins the journal that follows j.newest and gives j its file.
func (w *Writer) replace(c Class, j *journal) error {
	if err := w.begin(c, j.newest); err != nil {
		return err
	}
	old := j.f
	next := journal{newest: j.newest}
	if err := next.open(filepath.Join(w.dir, journalName(c))); err != nil {
		return err
	}
	*j = next
	return old.Close()
}

// begin writes an empty journal under its name, in place of any older one.
func (w *Writer) begin(c Class, newest *pack) error {
	h := header{class: c, seq: 1}
	if newest != nil {
		h.seq, h.prev = newest.seq+1, newest.sum
	}
	tmp := filepath.Join(w.dir, beginningName(c))
	if err := writeFileSync(tmp, h.line(journalMagic)); err != nil {
		return err
	}
	if err := os.Rename(tmp, filepath.Join(w.dir, journalName(c))); err != nil {
		return err
	}
	return syncDir(w.dir)
}

// sameRecords tells whether pack and journal hold the same records.
func sameRecords(p *pack, journal *os.File, j *journalScan) error {
	f, err := os.Open(p.path)
	if err != nil {
		return err
	}
	defer f.Close()
	dec, err := newDecoder(1)
	if err != nil {
		return err
	}
	defer dec.Close()
	next, stop := iter.Pull2(p.all(f, dec))
	defer stop()
	for r, err := range j.all(journal) {
		if err != nil {
			return err
		}
		q, err, more := next()
		if err != nil {
			return err
		}
		if !more || q.Key != r.Key || q.Kind != r.Kind || !bytes.Equal(q.Data, r.Data) {
			return corrupt(j.file, r.off, r.len, "record is not the one that pack %s holds in this place", filepath.Base(p.path))
		}
	}
	if _, err, more := next(); more {
		return errors.Join(err, corrupt(j.file, 0, j.end, "pack %s holds more records than the journal that it was sealed from", filepath.Base(p.path)))
	}
	return nil
}

// listPacks returns the packs in dir by class, in order of their numbers. Two
// packs with one number are an error, unless pruning is about to remove one.
func listPacks(dir string) (map[Class][]*pack, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	out := map[Class][]*pack{}
	for _, e := range entries {
		if c, seq, sum, ok := parsePackName(e.Name()); ok {
			out[c] = append(out[c], newPack(dir, c, seq, sum))
		}
	}
	for c, own := range out {
		slices.SortFunc(own, func(a, b *pack) int {
			if a.seq < b.seq {
				return -1
			}
			return 1
		})
		for i := 1; i < len(own); i++ {
			if own[i].seq == own[i-1].seq {
				if out[c], err = undouble(dir, own); err != nil {
					return nil, err
				}
				break
			}
		}
	}
	return out, nil
}

func newPack(dir string, c Class, seq uint64, sum merkle.Hash) *pack {
	name := packName(c, seq, sum)
	return &pack{header: header{class: c, seq: seq}, sum: sum, path: filepath.Join(dir, name), file: "packs/" + name}
}

func writeFileSync(path string, data []byte) (err error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if _, err := f.Write(data); err != nil {
		return err
	}
	return f.Sync()
}

func syncDir(dir string) (err error) {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return f.Sync()
}
