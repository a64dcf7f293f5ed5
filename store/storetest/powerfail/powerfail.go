// Package powerfail is a file layer for SQLite that forgets what was not synced, for tests:
// a kill -9 leaves everything with the operating system and so proves nothing about fsync.
//
// A [Layer] is a SQLite VFS over the operating system's own. It lets every write through and
// remembers, file by file, what lay there before, until the file is synced. [Layer.Fail] cuts
// the power: from then on every write and sync fails, and a copy of the files is made as a
// disk might hold them: what was synced, and of the rest some writes whole, some not at all,
// and some torn between two sectors, in any order.
//
// What it does not model: a directory that forgets a file's name (a file that was never synced
// is empty in the copy), sectors that decay, and a disk that lies about a sync, unless it is
// told to lie.
package powerfail

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"unsafe"

	"modernc.org/libc"
	sqlite3 "modernc.org/sqlite/lib"
)

// Layer is one such file layer, registered under its name for the life of the process.
type Layer struct {
	name string
	lies bool
	real uintptr // the operating system's sqlite3_vfs

	// What SQLite calls. It holds their addresses where the garbage collector does not
	// look, so they stay here.
	xOpen     openFunc
	xWrite    writeFunc
	xTruncate truncateFunc
	xSync     syncFunc
	xClose    closeFunc

	mu      sync.Mutex
	dead    bool
	open    map[uintptr]file     // by sqlite3_file
	unsaved map[string][]unsaved // by path, oldest first
	tables  map[uintptr]uintptr  // our methods, by those of the operating system
	writes  int
	syncs   int
}

// file is an open file: its path and the operating system's methods for it.
type file struct {
	path string
	real *sqlite3.Tsqlite3_io_methods
}

// registered keeps every layer, since SQLite cannot be made to forget one in use.
var registered struct {
	sync.Mutex
	layers []*Layer
}

// unsaved is a write, or a truncation, that was not synced.
type unsaved struct {
	offset int64
	before []byte // of the same length as what was written, or up to the old end
	after  []byte // nil: the file was cut off here
	size   int64  // of the file before
}

// sector is what a disk writes whole.
const sector = 512

// New registers a layer under a name that is not taken. lies makes it say "synced" of what
// is not, so that a test can show that it would notice.
func New(name string, lies bool) (*Layer, error) {
	l := &Layer{name: name, lies: lies, open: map[uintptr]file{}, unsaved: map[string][]unsaved{}, tables: map[uintptr]uintptr{}}
	l.xOpen, l.xWrite, l.xTruncate, l.xSync, l.xClose = l.openFile, l.write, l.truncate, l.sync, l.close
	tls := libc.NewTLS()
	defer tls.Close()
	if l.real = sqlite3.Xsqlite3_vfs_find(tls, 0); l.real == 0 {
		return nil, errors.New("powerfail: SQLite has no file layer")
	}
	cname, err := libc.CString(name)
	if err != nil {
		return nil, err
	}
	ours, v := clone[sqlite3.Tsqlite3_vfs](tls, l.real)
	v.FzName, v.FpNext, v.FxOpen = cname, 0, address(&l.xOpen)
	registered.Lock()
	registered.layers = append(registered.layers, l)
	registered.Unlock()
	if rc := sqlite3.Xsqlite3_vfs_register(tls, ours, 0); rc != sqlite3.SQLITE_OK {
		return nil, fmt.Errorf("powerfail: register: %d", rc)
	}
	return l, nil
}

// Name is what store.Options.VFS wants.
func (l *Layer) Name() string { return l.name }

// Counts are the writes and syncs so far.
func (l *Layer) Counts() (writes, syncs int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.writes, l.syncs
}

// Fail cuts the power and makes in dir what a disk might hold of every open file, under its
// own base name. Nothing written through the layer succeeds afterwards, until Revive.
func (l *Layer) Fail(dir string, random *rand.Rand) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dead = true
	paths := map[string]bool{}
	for _, f := range l.open {
		paths[f.path] = true
	}
	for path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(path)), remains(data, l.unsaved[path], random), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// Revive lets files be opened again that were closed after the power failed.
func (l *Layer) Revive() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dead = false
	clear(l.unsaved)
}

// remains is what a disk might hold of a file with writes that were not synced.
func remains(data []byte, writes []unsaved, random *rand.Rand) []byte {
	for i := len(writes) - 1; i >= 0; i-- {
		w := writes[i]
		data = resize(data, max(int64(len(data)), w.offset+int64(len(w.before))))
		copy(data[w.offset:], w.before)
		data = resize(data, w.size)
	}
	mood := random.IntN(3) // nothing of them, any of them, or all up to one of them
	upTo := 0
	if len(writes) > 0 {
		upTo = random.IntN(len(writes) + 1)
	}
	for i, w := range writes {
		if mood == 0 || mood == 1 && random.IntN(2) == 0 || mood == 2 && i > upTo {
			continue
		}
		if w.after == nil {
			data = resize(data, w.offset)
			continue
		}
		after := w.after
		if mood == 1 && random.IntN(4) == 0 || mood == 2 && i == upTo {
			after = after[:len(after)*random.IntN(8)/8/sector*sector]
		}
		data = resize(data, max(int64(len(data)), w.offset+int64(len(after))))
		copy(data[w.offset:], after)
	}
	return data
}

func resize(data []byte, size int64) []byte {
	if size <= int64(len(data)) {
		return data[:size]
	}
	return append(data, make([]byte, size-int64(len(data)))...)
}

type (
	openFunc     = func(*libc.TLS, uintptr, uintptr, uintptr, int32, uintptr) int32
	readFunc     = func(*libc.TLS, uintptr, uintptr, int32, int64) int32
	writeFunc    = func(*libc.TLS, uintptr, uintptr, int32, int64) int32
	truncateFunc = func(*libc.TLS, uintptr, int64) int32
	syncFunc     = func(*libc.TLS, uintptr, int32) int32
	sizeFunc     = func(*libc.TLS, uintptr, uintptr) int32
	closeFunc    = func(*libc.TLS, uintptr) int32
)

// address is what SQLite keeps of a Go function, and function the function at it.
func address[F any](f *F) uintptr { return *(*uintptr)(unsafe.Pointer(f)) }

func function[F any](address uintptr) F { return *(*F)(unsafe.Pointer(&address)) }

// at is the value at an address outside of Go's memory.
func at[T any](address uintptr) *T { return *(**T)(unsafe.Pointer(&address)) }

// clone copies a value to new memory outside of Go's.
func clone[T any](tls *libc.TLS, of uintptr) (uintptr, *T) {
	p := libc.Xmalloc(tls, libc.Tsize_t(unsafe.Sizeof(*at[T](of))))
	if p == 0 {
		panic("powerfail: out of memory")
	}
	*at[T](p) = *at[T](of)
	return p, at[T](p)
}

// copied are bytes from outside of Go's memory.
func copied(address uintptr, n int32) []byte {
	if n == 0 {
		return []byte{}
	}
	return bytes.Clone(unsafe.Slice(at[byte](address), n))
}

func (l *Layer) openFile(tls *libc.TLS, _, name, handle uintptr, flags int32, outFlags uintptr) int32 {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.dead {
		return sqlite3.SQLITE_CANTOPEN
	}
	rc := function[openFunc](at[sqlite3.Tsqlite3_vfs](l.real).FxOpen)(tls, l.real, name, handle, flags, outFlags)
	f := at[sqlite3.Tsqlite3_file](handle)
	if rc != sqlite3.SQLITE_OK || name == 0 || flags&(sqlite3.SQLITE_OPEN_MAIN_DB|sqlite3.SQLITE_OPEN_WAL|sqlite3.SQLITE_OPEN_MAIN_JOURNAL) == 0 {
		return rc
	}
	l.open[handle] = file{path: libc.GoString(name), real: at[sqlite3.Tsqlite3_io_methods](f.FpMethods)}
	ours, known := l.tables[f.FpMethods]
	if !known {
		var m *sqlite3.Tsqlite3_io_methods
		ours, m = clone[sqlite3.Tsqlite3_io_methods](tls, f.FpMethods)
		m.FxWrite, m.FxTruncate, m.FxSync, m.FxClose = address(&l.xWrite), address(&l.xTruncate), address(&l.xSync), address(&l.xClose)
		l.tables[f.FpMethods] = ours
	}
	f.FpMethods = ours
	return rc
}

func (l *Layer) write(tls *libc.TLS, handle, data uintptr, amount int32, offset int64) int32 {
	l.mu.Lock()
	defer l.mu.Unlock()
	f := l.open[handle]
	if l.dead {
		return sqlite3.SQLITE_IOERR_WRITE
	}
	before, size, ok := f.look(tls, handle, offset, int64(amount))
	if !ok {
		return sqlite3.SQLITE_IOERR_READ
	}
	rc := function[writeFunc](f.real.FxWrite)(tls, handle, data, amount, offset)
	if rc == sqlite3.SQLITE_OK {
		l.writes++
		l.unsaved[f.path] = append(l.unsaved[f.path], unsaved{offset, before, copied(data, amount), size})
	}
	return rc
}

// look reads what lies in a file, zeros behind its end, and its size.
func (f file) look(tls *libc.TLS, handle uintptr, offset, amount int64) (before []byte, size int64, ok bool) {
	p := libc.Xmalloc(tls, libc.Tsize_t(amount+8))
	if p == 0 {
		return nil, 0, false
	}
	defer libc.Xfree(tls, p)
	if rc := function[sizeFunc](f.real.FxFileSize)(tls, handle, p+uintptr(amount)); rc != sqlite3.SQLITE_OK {
		return nil, 0, false
	}
	size = *at[int64](p + uintptr(amount))
	rc := function[readFunc](f.real.FxRead)(tls, handle, p, int32(amount), offset)
	return copied(p, int32(amount)), size, rc == sqlite3.SQLITE_OK || rc == sqlite3.SQLITE_IOERR_SHORT_READ
}

func (l *Layer) truncate(tls *libc.TLS, handle uintptr, to int64) int32 {
	l.mu.Lock()
	defer l.mu.Unlock()
	f := l.open[handle]
	if l.dead {
		return sqlite3.SQLITE_IOERR_TRUNCATE
	}
	_, size, ok := f.look(tls, handle, 0, 0)
	if !ok {
		return sqlite3.SQLITE_IOERR_FSTAT
	}
	before, _, ok := f.look(tls, handle, to, max(size-to, 0))
	if !ok {
		return sqlite3.SQLITE_IOERR_READ
	}
	rc := function[truncateFunc](f.real.FxTruncate)(tls, handle, to)
	if rc == sqlite3.SQLITE_OK {
		l.unsaved[f.path] = append(l.unsaved[f.path], unsaved{to, before, nil, size})
	}
	return rc
}

func (l *Layer) sync(_ *libc.TLS, handle uintptr, _ int32) int32 {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.dead {
		return sqlite3.SQLITE_IOERR_FSYNC
	}
	l.syncs++
	if !l.lies {
		delete(l.unsaved, l.open[handle].path)
	}
	return sqlite3.SQLITE_OK
}

func (l *Layer) close(tls *libc.TLS, handle uintptr) int32 {
	l.mu.Lock()
	defer l.mu.Unlock()
	f := l.open[handle]
	delete(l.open, handle)
	return function[closeFunc](f.real.FxClose)(tls, handle)
}
