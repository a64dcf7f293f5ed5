package archive

import (
	"bytes"
	"errors"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"sync"

	"github.com/klauspost/compress/zstd"

	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/seal"
)

// Reader finds artefacts in a packs directory by their digest. It sees what a
// Flush of the writer has written, in this process or in another, without being
// told; it never writes. It may be used by several goroutines. What it keeps in
// memory is a few open files, a few blocks, and the places of the records in
// the journals.
type Reader struct {
	mu     sync.Mutex
	dir    string
	views  map[Class]*view
	cache  *blockCache
	files  *fileCache
	dec    *zstd.Decoder
	closed bool
}

// view is what a reader knows of a class.
type view struct {
	class Class
	packs []*pack
	hint  int      // the pack of the last hit
	f     *os.File // the journal, nil when there is none
	scan  *journalScan
}

// OpenReader opens dir (D/packs) for reading.
func OpenReader(dir string) (*Reader, error) {
	dec, err := newDecoder(2)
	if err != nil {
		return nil, err
	}
	r := &Reader{dir: dir, views: map[Class]*view{}, cache: newBlockCache(24), files: newFileCache(24), dec: dec}
	for _, c := range Classes() {
		r.views[c] = &view{class: c}
		if err := r.refresh(r.views[c]); err != nil {
			return nil, errors.Join(err, r.Close())
		}
	}
	return r, nil
}

// Close gives files and memory back.
func (r *Reader) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil
	}
	r.closed = true
	errs := []error{r.files.close()}
	for _, v := range r.views {
		if v.f != nil {
			errs = append(errs, v.f.Close())
		}
	}
	r.dec.Close()
	return errors.Join(errs...)
}

// refresh looks at the journal of a class again, and at the list of packs when
// the journal is another one than before.
func (r *Reader) refresh(v *view) error {
	path := filepath.Join(r.dir, journalName(v.class))
	named, err := os.Stat(path)
	gone := errors.Is(err, fs.ErrNotExist)
	if err != nil && !gone {
		return err
	}
	if v.f != nil {
		held, err := v.f.Stat()
		if err != nil {
			return err
		}
		if !gone && os.SameFile(held, named) {
			return r.extend(v, held.Size())
		}
		if err := v.f.Close(); err != nil {
			return err
		}
		v.f, v.scan = nil, nil
	}
	// The journal first: a pack that is sealed from it meanwhile is then left
	// out below, for its records are read from the journal that is held.
	if !gone {
		if err := r.openJournal(v, path); err != nil {
			return err
		}
	}
	return r.list(v)
}

func (r *Reader) openJournal(v *view, path string) error {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	st, err := f.Stat()
	if err != nil {
		return errors.Join(err, f.Close())
	}
	scan, err := openScan(f, st.Size(), "packs/"+filepath.Base(path))
	if err != nil {
		return errors.Join(err, f.Close())
	}
	v.f, v.scan = f, scan
	return r.extend(v, st.Size())
}

// extend scans what was added. The end of a group that is just being written
// is left for the next time.
func (r *Reader) extend(v *view, size int64) error {
	if size == v.scan.end {
		return nil
	}
	err := v.scan.extend(v.f, size)
	if IsCode(err, CodeTorn) {
		return nil
	}
	return err
}

func (r *Reader) list(v *view) error {
	packs, err := listPacks(r.dir)
	if err != nil {
		return err
	}
	known := map[merkle.Hash]*pack{}
	for _, p := range v.packs {
		known[p.sum] = p
	}
	v.packs = v.packs[:0]
	for _, p := range packs[v.class] {
		if v.scan != nil && p.seq >= v.scan.seq {
			continue
		}
		if old := known[p.sum]; old != nil {
			p = old
		}
		v.packs = append(v.packs, p)
	}
	v.hint = max(len(v.packs)-1, 0)
	return nil
}

// place says where a record was found: in which file and which record of it
// (a slot of the index; a frame's offset).
type place struct {
	pack *pack // nil: the journal of the class
	slot int64
}

// Get returns the record with this digest, of whatever class. Its content was
// checked against the digest; the records of a pour (KindIngots) are checked by
// [Reader.Records]. The error has CodeNotFound when there is none.
func (r *Reader) Get(digest merkle.Hash) (Record, error) {
	for _, c := range []Class{Spine, Work, Identity} {
		rec, err := r.GetIn(c, digest)
		if !IsCode(err, CodeNotFound) {
			return rec, err
		}
	}
	return Record{}, notFound(digest)
}

func notFound(digest merkle.Hash) error {
	return &Error{Code: CodeNotFound, Detail: "artefact " + digest.String() + " is not in the packs"}
}

// GetIn is Get for one class.
func (r *Reader) GetIn(c Class, digest merkle.Hash) (Record, error) {
	rec, _, err := r.find(c, digest)
	return rec, err
}

// Envelope returns the signed artefact with this digest.
func (r *Reader) Envelope(c Class, digest merkle.Hash) (seal.Envelope, error) {
	rec, err := r.GetIn(c, digest)
	if err != nil {
		return seal.Envelope{}, err
	}
	if rec.Kind != KindEnvelope {
		return seal.Envelope{}, &Error{Code: CodeFormat, Detail: "artefact " + digest.String() + " has no envelope"}
	}
	return seal.DecodeEnvelope(rec.Data)
}

// Certificate returns the payload of the certificate with this digest.
func (r *Reader) Certificate(digest merkle.Hash) ([]byte, error) {
	rec, err := r.GetIn(Spine, digest)
	if err == nil && rec.Kind != KindCertificate {
		err = &Error{Code: CodeFormat, Detail: "artefact " + digest.String() + " is not a certificate"}
	}
	return rec.Data, err
}

// Records returns the ingot records of a pour, in order, after checking that
// their root is the one that the pour names.
func (r *Reader) Records(pour merkle.Hash) ([][]byte, error) {
	env, err := r.Envelope(Spine, pour)
	if err != nil {
		return nil, err
	}
	p, err := proof.DecodePour(env.Payload)
	if err != nil {
		return nil, err
	}
	return r.RecordsOf(pour, p)
}

// RecordsOf is Records for a caller that holds the pour.
func (r *Reader) RecordsOf(digest merkle.Hash, p proof.Pour) ([][]byte, error) {
	rec, err := r.GetIn(Ingots, digest)
	if err != nil {
		return nil, err
	}
	records, err := DecodeIngots(rec.Data)
	if err != nil {
		return nil, err
	}
	return records, checkRecords(digest, p, records)
}

func checkRecords(digest merkle.Hash, p proof.Pour, records [][]byte) error {
	leaves := make([]merkle.Hash, len(records))
	for i, b := range records {
		leaves[i] = merkle.LeafHash(b)
	}
	if uint64(len(records)) != p.Count || merkle.Root(leaves) != p.Root {
		return &Error{Code: CodeKey, Detail: "the ingot records under pour " + digest.String() + " do not have its root"}
	}
	return nil
}

func (r *Reader) find(c Class, digest merkle.Hash) (Record, place, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.lookUp(c, digest)
}

// lookUp is find for a caller that holds the lock.
func (r *Reader) lookUp(c Class, digest merkle.Hash) (Record, place, error) {
	v := r.views[c]
	if r.closed || v == nil {
		return Record{}, place{}, &Error{Code: CodeClosed, Detail: "the reader is closed"}
	}
	rec, at, err := r.findIn(v, digest)
	if isNotExist(err) { // a pack that was pruned meanwhile
		if err := r.list(v); err != nil {
			return Record{}, place{}, err
		}
		rec, at, err = r.findIn(v, digest)
	}
	if !IsCode(err, CodeNotFound) {
		return rec, at, err
	}
	if err := r.refresh(v); err != nil {
		return Record{}, place{}, err
	}
	return r.findIn(v, digest)
}

func (r *Reader) findIn(v *view, digest merkle.Hash) (Record, place, error) {
	if v.scan != nil {
		for _, off := range v.scan.offsets(digest) {
			rec, err := v.scan.readFrame(v.f, off)
			if err != nil {
				return Record{}, place{}, err
			}
			if rec.Key != digest {
				continue
			}
			if err := rec.check(v.class); err != nil {
				return Record{}, place{}, corrupt(v.scan.file, off, frameHeader+bodyHeader+int64(len(rec.Data)), "%v", err)
			}
			return rec, place{slot: off}, nil
		}
	}
	for i := range nearest(v.hint, len(v.packs)) {
		p := v.packs[i]
		rec, slot, err := r.inPack(p, digest)
		if err == nil {
			v.hint = i
			rec.Data = bytes.Clone(rec.Data) // not a whole block for one record
			return rec, place{p, int64(slot)}, nil
		}
		if !IsCode(err, CodeNotFound) {
			return Record{}, place{}, err
		}
	}
	return Record{}, place{}, notFound(digest)
}

func (r *Reader) inPack(p *pack, digest merkle.Hash) (Record, int, error) {
	f, err := r.files.open(p)
	if err != nil {
		return Record{}, 0, err
	}
	return p.get(f, digest, func(i int) ([]byte, error) { return r.block(p, f, i) })
}

func (r *Reader) block(p *pack, f *os.File, i int) ([]byte, error) {
	if raw := r.cache.get(p, i); raw != nil {
		return raw, nil
	}
	raw, err := p.block(f, r.dec, i)
	if err == nil {
		r.cache.put(p, i, raw)
	}
	return raw, err
}

// nearest yields the numbers below n by their distance from hint: artefacts
// that are asked for together were written together.
func nearest(hint, n int) iter.Seq[int] {
	return func(yield func(int) bool) {
		for d := 0; d < n; d++ {
			if hint+d < n && !yield(hint+d) {
				return
			}
			if d > 0 && hint-d >= 0 && !yield(hint-d) {
				return
			}
		}
	}
}

// All yields the records of a class in the order in which they were written:
// packs, then what the journal held when the reading began. It works on its own
// files, so that a long walk keeps nobody waiting. Data is valid until the next
// record is asked for.
func (r *Reader) All(c Class) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		for p, err := range r.walk(c, 0) {
			if !yield(p.Record, err) || err != nil {
				return
			}
		}
	}
}

// walk is All from the given number of records on, with their places.
func (r *Reader) walk(c Class, skip uint64) iter.Seq2[placed, error] {
	return r.walkSome(c, func(p *pack) bool {
		if skip < uint64(p.records) {
			return false
		}
		skip -= uint64(p.records)
		return true
	}, &skip)
}

// walkSome is All with places, but for the packs that pass says to leave out,
// and the first records of what then comes.
func (r *Reader) walkSome(c Class, pass func(*pack) bool, left *uint64) iter.Seq2[placed, error] {
	return func(yield func(placed, error) bool) {
		packs, f, scan, err := r.snapshot(c)
		if err != nil {
			yield(placed{}, err)
			return
		}
		if f != nil {
			defer f.Close()
		}
		dec, err := newDecoder(1)
		if err != nil {
			yield(placed{}, err)
			return
		}
		defer dec.Close()
		for _, p := range packs {
			if !walkPack(p, dec, pass, left, yield) {
				return
			}
		}
		if scan == nil {
			return
		}
		for at, err := range scan.all(f) {
			if err == nil && *left > 0 {
				*left--
			} else if !yield(at, err) || err != nil {
				return
			}
		}
	}
}

func walkPack(p *pack, dec *zstd.Decoder, pass func(*pack) bool, skip *uint64, yield func(placed, error) bool) bool {
	f, err := os.Open(p.path)
	if err == nil {
		defer f.Close()
		err = p.load(f)
	}
	if err != nil {
		yield(placed{}, err)
		return false
	}
	if pass(p) {
		return true
	}
	for at, err := range p.all(f, dec) {
		if err == nil && *skip > 0 {
			*skip--
			continue
		}
		if !yield(at, err) || err != nil {
			return false
		}
	}
	return true
}

// count returns the number of records of a class.
func (r *Reader) count(c Class) (uint64, error) {
	packs, f, scan, err := r.snapshot(c)
	if err != nil {
		return 0, err
	}
	n := uint64(0)
	if f != nil {
		n = uint64(scan.records)
		defer f.Close()
	}
	for _, p := range packs {
		f, err := os.Open(p.path)
		if err == nil {
			err = errors.Join(p.load(f), f.Close())
		}
		if err != nil {
			return 0, err
		}
		n += uint64(p.records)
	}
	return n, nil
}

// snapshot returns copies of what is known of a class now, with the journal
// opened anew when it is still the same file.
func (r *Reader) snapshot(c Class) ([]*pack, *os.File, *journalScan, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	v := r.views[c]
	if r.closed || v == nil {
		return nil, nil, nil, &Error{Code: CodeClosed, Detail: "the reader is closed"}
	}
	if err := r.refresh(v); err != nil {
		return nil, nil, nil, err
	}
	packs := make([]*pack, len(v.packs))
	for i, p := range v.packs {
		packs[i] = newPack(r.dir, p.class, p.seq, p.sum)
	}
	if v.f == nil {
		return packs, nil, nil, nil
	}
	f, err := reopen(v.f)
	if err != nil {
		return nil, nil, nil, err
	}
	return packs, f, &journalScan{header: v.scan.header, file: v.scan.file, first: v.scan.first, end: v.scan.end, records: v.scan.records}, nil
}
