// Package backup copies a reserve's data directory at one moment, while the reserve
// runs, and puts such a copy back.
//
// Stations keep their books apart and number what they hand to each other, so copies
// of different moments do not fit together: one would be ahead of what another says
// it has sent, or the log ahead of the books that write it. Therefore all books are
// held still for an instant in which their snapshots begin and the heads of log and
// packs are noted ([store.Freeze]); then everything goes on, and what was noted is
// copied. Log and packs only grow, so their state of that moment is cut out of the
// later one.
//
// It trusts the disk that it reads from no further than the checks of what it copies:
// the manifest lists every file with its length and SHA-256, and Restore refuses a
// copy of which one byte differs. A copy is whole or not there: it is made under
// another name and renamed, and so is what is restored.
//
// A restored directory is older than the reserve was. It holds a [Marker] until its
// node has made sure, with the mirrors of its log, that it signs no second history
// (the proof chain specification, section 5).
package backup

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"robotorq.org/reserve/archive"
	"robotorq.org/reserve/store"
)

// Files of a copy and of a restored directory.
const (
	ManifestFile = "backup.json"
	Marker       = "restored.json"
)

const version = 1

// Code names the kind of an [Error]; codes are stable.
type Code string

// Codes.
const (
	CodeExists    Code = "exists"    // the destination is there already
	CodeMissing   Code = "missing"   // there is no reserve, or no copy
	CodeChanged   Code = "changed"   // a file of a copy is not as the manifest says
	CodeElsewhere Code = "elsewhere" // the vault's books are in a database
	CodeMoving    Code = "moving"    // the directory was changed while it was copied (a prune): try again
)

// Error is a failure with the path that it concerns.
type Error struct {
	Code   Code
	Path   string
	Detail string
	Err    error
}

// Error implements error.
func (e *Error) Error() string {
	s := e.Path + ": " + e.Detail
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// ErrorCode returns the stable code.
func (e *Error) ErrorCode() string { return string(e.Code) }

// Manifest is what a copy says of itself.
type Manifest struct {
	Version int             `json:"version"`
	Reserve json.RawMessage `json:"reserve"` // reserve.json as it was
	Taken   uint64          `json:"taken_ms"`
	Log     uint64          `json:"log_size"` // entries
	Root    bool            `json:"root_keys"`
	Files   []File          `json:"files"` // sorted by path
}

// File is one file of a copy, by its path with slashes.
type File struct {
	Path   string `json:"path"`
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"`
	Mode   uint32 `json:"mode"`
}

// Bytes is the size of a whole copy.
func (m Manifest) Bytes() (sum int64) {
	for _, f := range m.Files {
		sum += f.Bytes
	}
	return sum
}

// BooksElsewhere is the file of a data directory whose vault keeps its books in a
// PostgreSQL database. Without it a start that does not name the database would begin
// other books beside them, and a copy would lack them unseen.
const BooksElsewhere = "vault.db.elsewhere"

// Options say what is copied where.
type Options struct {
	Data string // a data directory; its reserve may run
	To   string // must not exist
	Now  func() time.Time
	// WithoutBooks copies a directory whose vault's books are in a database, without them.
	WithoutBooks bool
	Root         bool // the root keys too, which should not lie on this machine at all
}

// Take copies a data directory. What it returns is on disk.
func Take(ctx context.Context, o Options) (m Manifest, err error) {
	m = Manifest{Version: version, Root: o.Root}
	if m.Reserve, err = os.ReadFile(filepath.Join(o.Data, "reserve.json")); err != nil {
		return m, &Error{Code: CodeMissing, Path: o.Data, Detail: "there is no reserve", Err: err}
	}
	if err := o.booksElsewhere(); err != nil {
		return m, err
	}
	if _, err := os.Lstat(o.To); !errors.Is(err, fs.ErrNotExist) {
		return m, &Error{Code: CodeExists, Path: o.To, Detail: "is there already; a copy wants a new name"}
	}
	dir := o.To + ".partial"
	if err := os.RemoveAll(dir); err != nil {
		return m, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return m, err
	}
	defer os.RemoveAll(dir) // nothing after the renaming
	if err := take(ctx, o, dir, &m); err != nil {
		return m, err
	}
	if m.Files, err = list(dir); err != nil {
		return m, err
	}
	data, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return m, err
	}
	if err := writeFile(filepath.Join(dir, ManifestFile), append(data, '\n'), 0o600); err != nil {
		return m, err
	}
	return m, settle(dir, o.To)
}

// booksElsewhere refuses to copy a directory whose vault keeps its books in a database
// unless that was asked for.
func (o Options) booksElsewhere() error {
	_, err := os.Lstat(filepath.Join(o.Data, BooksElsewhere))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err == nil && o.WithoutBooks:
		return nil
	case err == nil:
		return &Error{Code: CodeElsewhere, Path: o.Data, Detail: "the vault's books are in a PostgreSQL database, which this does not copy: stop the reserve, copy the database with pg_dump, and this with --without-books"}
	}
	return err
}

func take(ctx context.Context, o Options, dir string, m *Manifest) (err error) {
	found, err := survey(o.Data, o.Root)
	if err != nil {
		return err
	}
	var paths []string
	for _, p := range found.books {
		paths = append(paths, filepath.Join(o.Data, p))
	}
	var heads heads
	defer func() { err = errors.Join(err, heads.close()) }()
	frozen, err := store.Freeze(ctx, paths, func() (err error) {
		m.Taken = uint64(o.Now().UnixMilli())
		heads, err = readHeads(o.Data)
		return err
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, frozen.Close()) }()
	m.Log = heads.size
	for i, p := range found.books {
		if err := makeParent(dir, p); err != nil {
			return err
		}
		if err := frozen.Copy(ctx, i, filepath.Join(dir, p)); err != nil {
			return err
		}
	}
	if err := heads.copy(ctx, o.Data, dir); err != nil {
		return err
	}
	for _, p := range found.plain {
		if err := copyFile(ctx, filepath.Join(o.Data, p), dir, p); err != nil {
			return err
		}
	}
	return nil
}

// found are the files of a data directory that are copied as they are, and the books.
type found struct{ books, plain []string }

// survey lists what lies in a data directory beside log and packs. The bus's files may
// be deleted at any time and are left out.
func survey(data string, root bool) (f found, err error) {
	skip := map[string]bool{"bus": true, "log": true, "packs": true, ".tail": true, "root": !root}
	err = filepath.WalkDir(data, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(data, path)
		switch {
		case err != nil:
			return err
		case d.IsDir() && skip[rel]:
			return fs.SkipDir
		case d.IsDir() || !d.Type().IsRegular() || rel == "lock" || rel == Marker || rel == archive.AtRestFile, // the books of a copy are other files, and it has sums of its own
			rel == archive.BackupsFile, rel == archive.BackupsFile+".partial": // a copy does not know of copies
		case strings.HasSuffix(rel, ".db"):
			f.books = append(f.books, rel)
		case strings.HasSuffix(rel, ".db-wal"), strings.HasSuffix(rel, ".db-shm"):
		default:
			f.plain = append(f.plain, rel)
		}
		return nil
	})
	slices.Sort(f.books)
	return f, err
}

// Restore puts a copy back into a directory that does not exist or is empty. Every
// file is checked as it is copied.
func Restore(ctx context.Context, from, to string) (m Manifest, err error) {
	if m, err = Read(from); err != nil {
		return m, err
	}
	if entries, err := os.ReadDir(to); err == nil && len(entries) > 0 {
		return m, &Error{Code: CodeExists, Path: to, Detail: "is not empty; a reserve is restored into a new directory"}
	}
	dir := filepath.Clean(to) + ".partial"
	if err := os.RemoveAll(dir); err != nil {
		return m, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return m, err
	}
	defer os.RemoveAll(dir)
	for _, f := range m.Files {
		if err := restoreFile(ctx, from, dir, f); err != nil {
			return m, err
		}
	}
	mark, err := json.Marshal(map[string]uint64{"taken_ms": m.Taken, "log_size": m.Log})
	if err != nil {
		return m, err
	}
	if err := writeFile(filepath.Join(dir, Marker), append(mark, '\n'), 0o600); err != nil {
		return m, err
	}
	if err := os.Remove(to); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return m, err
	}
	return m, settle(dir, to)
}

// Read reads and checks a copy's manifest.
func Read(from string) (m Manifest, err error) {
	path := filepath.Join(from, ManifestFile)
	data, err := os.ReadFile(path)
	if err != nil {
		return m, &Error{Code: CodeMissing, Path: from, Detail: "there is no backup", Err: err}
	}
	d := json.NewDecoder(strings.NewReader(string(data)))
	d.DisallowUnknownFields()
	if err := d.Decode(&m); err != nil {
		return m, &Error{Code: CodeChanged, Path: path, Detail: "is not a manifest", Err: err}
	}
	if m.Version != version {
		return m, &Error{Code: CodeChanged, Path: path, Detail: fmt.Sprintf("is of version %d, this program reads %d", m.Version, version)}
	}
	for i, f := range m.Files {
		if !fs.ValidPath(f.Path) || f.Path == ManifestFile || i > 0 && f.Path <= m.Files[i-1].Path {
			return m, &Error{Code: CodeChanged, Path: path, Detail: fmt.Sprintf("lists a file %q that cannot be", f.Path)}
		}
	}
	return m, nil
}

// Check reads a whole copy and compares it with its manifest.
func Check(ctx context.Context, from string) (Manifest, error) {
	m, err := Read(from)
	if err != nil {
		return m, err
	}
	files, err := list(from)
	if err != nil {
		return m, err
	}
	files = slices.DeleteFunc(files, func(f File) bool { return f.Path == ManifestFile })
	for i := range max(len(files), len(m.Files)) {
		switch {
		case i >= len(files) || i < len(m.Files) && m.Files[i].Path < files[i].Path:
			return m, changed(from, m.Files[i].Path, "is missing")
		case i >= len(m.Files) || files[i].Path < m.Files[i].Path:
			return m, changed(from, files[i].Path, "is not in the manifest")
		case files[i].Bytes != m.Files[i].Bytes || files[i].SHA256 != m.Files[i].SHA256:
			return m, changed(from, files[i].Path, "is not what was copied")
		}
		if err := ctx.Err(); err != nil {
			return m, err
		}
	}
	return m, nil
}

func changed(dir, path, detail string) error {
	return &Error{Code: CodeChanged, Path: filepath.Join(dir, filepath.FromSlash(path)), Detail: detail}
}

func restoreFile(ctx context.Context, from, dir string, f File) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	in, err := os.Open(filepath.Join(from, filepath.FromSlash(f.Path)))
	if err != nil {
		return &Error{Code: CodeChanged, Path: filepath.Join(from, f.Path), Detail: "cannot be read", Err: err}
	}
	defer in.Close()
	if err := makeParent(dir, f.Path); err != nil {
		return err
	}
	sum := sha256.New()
	n, err := writeFrom(filepath.Join(dir, filepath.FromSlash(f.Path)), io.TeeReader(in, sum), fs.FileMode(f.Mode))
	if err != nil {
		return err
	}
	if n != f.Bytes || hex.EncodeToString(sum.Sum(nil)) != f.SHA256 {
		return changed(from, f.Path, "is not what was copied; nothing was restored")
	}
	return nil
}
