package archive

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	"robotorq.org/reserve/merkle"
)

// WriterOptions are the sizes that a writer works with; zero means the default.
type WriterOptions struct {
	Classes    []Class // classes to write; all when empty
	SealBytes  int64   // a journal of this size is sealed by the next Flush; 32 MiB
	BlockBytes int     // raw bytes of a block in a pack; 128 KiB
}

// Writer appends records to the journals of a packs directory and seals them.
// There is one writer of a class, in one process; it may be used by several
// goroutines. After an error of the disk it refuses everything: what is durable
// is known again only by opening anew.
type Writer struct {
	mu       sync.Mutex
	dir      string
	opts     WriterOptions
	journals map[Class]*journal
	failed   error
}

type journal struct {
	journalScan
	f       *os.File
	size    int64 // of the file
	pending []byte
	last    int                  // offset in pending of the newest frame
	fresh   []placed             // what is pending
	adding  map[merkle.Hash]bool // its keys
	newest  *pack                // the newest pack of the class, nil if there is none
}

// OpenWriter opens dir (D/packs) for writing, making it if need be. It finishes
// a sealing that a crash interrupted, removes temporary files, and cuts off the
// remains of a group that was never acknowledged; it refuses a journal with
// damage before a complete group (CodeCorrupt) and a class that another process
// writes (CodeLocked).
func OpenWriter(dir string, opts WriterOptions) (*Writer, error) {
	if len(opts.Classes) == 0 {
		opts.Classes = Classes()
	}
	if opts.SealBytes <= 0 {
		opts.SealBytes = 32 << 20
	}
	if opts.BlockBytes <= 0 {
		opts.BlockBytes = 128 << 10
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	if err := syncDir(filepath.Dir(dir)); err != nil {
		return nil, err
	}
	w := &Writer{dir: dir, opts: opts, journals: map[Class]*journal{}}
	for _, c := range opts.Classes {
		j, err := w.openJournal(c)
		if err != nil {
			return nil, errors.Join(err, w.release())
		}
		w.journals[c] = j
	}
	return w, syncDir(dir)
}

func (w *Writer) openJournal(c Class) (*journal, error) {
	packs, err := listPacks(w.dir)
	if err != nil {
		return nil, err
	}
	j := &journal{}
	if own := packs[c]; len(own) > 0 {
		j.newest = own[len(own)-1]
	}
	path := filepath.Join(w.dir, journalName(c))
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		if err := w.begin(c, j.newest); err != nil {
			return nil, err
		}
	}
	if err := j.open(path); err != nil {
		return nil, err
	}
	// The lock is held: nobody else is sealing, temporary files are remains.
	for _, name := range []string{sealingName(c), beginningName(c)} {
		if err := os.Remove(filepath.Join(w.dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, errors.Join(err, j.f.Close())
		}
	}
	if err := w.settle(c, j); err != nil {
		return nil, errors.Join(err, j.f.Close())
	}
	return j, nil
}

// settle brings journal and packs of a class into agreement after a crash.
func (w *Writer) settle(c Class, j *journal) error {
	if err := j.repair(); err != nil {
		return err
	}
	if j.class != c {
		return corrupt(j.file, 0, j.first, "first line names class %s", j.class)
	}
	wantSeq, wantPrev := uint64(1), merkle.Hash{}
	if j.newest != nil {
		wantSeq, wantPrev = j.newest.seq+1, j.newest.sum
	}
	switch {
	case j.seq == wantSeq && j.prev == wantPrev:
		return nil
	case j.newest != nil && j.seq == j.newest.seq:
		// A crash after the pack was made and before the journal was replaced.
		if err := sameRecords(j.newest, j.f, &j.journalScan); err != nil {
			return err
		}
		return w.replace(c, j)
	}
	return &Error{Code: CodeChain, File: j.file, Offset: 0, Length: j.first,
		Detail: fmt.Sprintf("journal is number %d after pack %s; the newest pack is number %d (%s)", j.seq, j.prev, wantSeq-1, wantPrev)}
}

// open opens and locks the journal file and reads its first line.
func (j *journal) open(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	file := "packs/" + filepath.Base(path)
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return errors.Join(&Error{Code: CodeLocked, File: file, Detail: "another process writes this class", Err: err}, f.Close())
	}
	// The file may have been replaced between open and lock.
	held, err1 := f.Stat()
	named, err2 := os.Stat(path)
	if err := errors.Join(err1, err2); err != nil {
		return errors.Join(err, f.Close())
	}
	if !os.SameFile(held, named) {
		return errors.Join(&Error{Code: CodeLocked, File: file, Detail: "another process writes this class"}, f.Close())
	}
	scan, err := openScan(f, held.Size(), file)
	if err != nil {
		return errors.Join(err, f.Close())
	}
	j.journalScan, j.f, j.size, j.adding = *scan, f, held.Size(), map[merkle.Hash]bool{}
	return nil
}

// repair scans the journal and cuts off what no Flush acknowledged.
func (j *journal) repair() error {
	err := j.extend(j.f, j.size)
	if err == nil {
		return nil
	}
	var e *Error
	if !errors.As(err, &e) {
		return err
	}
	if err := j.cutAllowed(j.f, j.size); err != nil {
		return err
	}
	if err := j.f.Truncate(j.end); err != nil {
		return err
	}
	j.size = j.end
	return j.f.Sync()
}

// Put adds one record to the next group of its class. A record that is already
// there (in the journal or the newest pack) is left out. The key must be the
// digest of the bytes.
func (w *Writer) Put(class Class, key merkle.Hash, kind Kind, data []byte) error {
	return w.Append(class, Record{Key: key, Kind: kind, Data: data})
}

// Append adds records that belong together, in this order and with nothing in
// between: a batch and its reports. When the first of them is already there,
// all of them are, and nothing is added. Nothing is sure to be durable before
// Flush returns; a reader sees it then, or earlier when so much has been added
// that it was written to save memory.
//
// Batches must be those that the digger's book has committed: a batch in the
// packs that is not in its digger's chain is a fault.
func (w *Writer) Append(class Class, records ...Record) error {
	for _, r := range records {
		if err := r.check(class); err != nil {
			return err
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	j, err := w.journal(class)
	if err != nil || len(records) == 0 {
		return err
	}
	there, err := w.has(j, records[0].Key)
	if err != nil || there {
		return err
	}
	for _, r := range records {
		j.last = len(j.pending)
		j.pending = appendFrame(j.pending, r)
		j.fresh = append(j.fresh, placed{Record: Record{Key: r.Key}, off: j.size + int64(j.last), len: int64(len(r.Data))})
		j.adding[r.Key] = true
	}
	if len(j.pending) < mostPending {
		return nil
	}
	if err := w.flushClass(class, j); err != nil {
		return w.fail(err)
	}
	return nil
}

// mostPending bounds the bytes that wait for a Flush, but for one call of
// Append.
const mostPending = 4 << 20

func (w *Writer) journal(class Class) (*journal, error) {
	if w.failed != nil {
		return nil, w.failed
	}
	j := w.journals[class]
	if j == nil {
		return nil, &Error{Code: CodeClosed, Detail: fmt.Sprintf("class %q is not open for writing", class)}
	}
	return j, nil
}

// has tells whether the record is pending, in the journal, or in the newest
// pack (to which a crash may have moved it).
func (w *Writer) has(j *journal, key merkle.Hash) (bool, error) {
	if j.adding[key] {
		return true, nil
	}
	for _, off := range j.offsets(key) {
		r, err := j.readFrame(j.f, off)
		if err != nil {
			return false, w.fail(err)
		}
		if r.Key == key {
			return true, nil
		}
	}
	if j.newest == nil {
		return false, nil
	}
	f, err := os.Open(j.newest.path)
	if err != nil {
		return false, err
	}
	defer f.Close()
	_, _, err = j.newest.get(f, key, func(i int) ([]byte, error) {
		dec, err := newDecoder(1)
		if err != nil {
			return nil, err
		}
		defer dec.Close()
		return j.newest.block(f, dec, i)
	})
	if IsCode(err, CodeNotFound) {
		return false, nil
	}
	return err == nil, err
}

func (w *Writer) fail(err error) error {
	w.failed = &Error{Code: CodeClosed, Detail: "packs cannot be written any more", Err: err}
	return w.failed
}

// Flush writes what was added since the last Flush as one group per class and
// returns when it is durable. A journal that has reached its size is sealed.
func (w *Writer) Flush() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.flush()
}

func (w *Writer) flush() error {
	for _, c := range Classes() {
		if j := w.journals[c]; w.failed == nil && j != nil && len(j.pending) > 0 {
			if err := w.flushClass(c, j); err != nil {
				return w.fail(err)
			}
		}
	}
	return w.failed
}

func (w *Writer) flushClass(c Class, j *journal) error {
	if err := j.flush(); err != nil {
		return err
	}
	if j.size < w.opts.SealBytes {
		return nil
	}
	return w.seal(c, j)
}

func (j *journal) flush() error {
	endGroup(j.pending[j.last : j.last+frameHeader])
	if _, err := j.f.WriteAt(j.pending, j.size); err != nil {
		return err
	}
	if err := j.f.Sync(); err != nil {
		return err
	}
	j.size += int64(len(j.pending))
	j.end = j.size
	for _, p := range j.fresh {
		j.note(p)
	}
	j.fresh = j.fresh[:0]
	clear(j.adding)
	if cap(j.pending) > 1<<20 {
		j.pending = nil
	}
	j.pending = j.pending[:0]
	return nil
}

// Seal flushes the class and makes its journal a pack. A journal without
// records is left as it is.
func (w *Writer) Seal(class Class) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.flush(); err != nil {
		return err
	}
	j, err := w.journal(class)
	if err != nil || j.records == 0 {
		return err
	}
	if err := w.seal(class, j); err != nil {
		return w.fail(err)
	}
	return nil
}

// Size returns the bytes in the journal of a class and the number of its
// records that are durable.
func (w *Writer) Size(class Class) (bytes int64, records int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if j := w.journals[class]; j != nil {
		return j.size, j.records
	}
	return 0, 0
}

// Close flushes and gives the journals back. The writer cannot be used after.
func (w *Writer) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	err := w.flush()
	if w.failed == nil {
		w.failed = &Error{Code: CodeClosed, Detail: "the writer was closed"}
	}
	return errors.Join(err, w.release())
}

func (w *Writer) release() error {
	var errs []error
	for c, j := range w.journals {
		errs = append(errs, j.f.Close())
		delete(w.journals, c)
	}
	return errors.Join(errs...)
}
