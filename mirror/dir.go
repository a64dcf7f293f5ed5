package mirror

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"robotorq.org/reserve/archive"
	"robotorq.org/reserve/checkpoint"
)

// Below Dir/.mirror:
//
//	lock      locked by the process that pulls
//	seen      the latest checkpoint that was seen and found good
//	commit    the marker: stage is whole and takes the place of what is there
//	stage/    what a pull collects, laid out as the directory itself, and
//	  tails/<class>.<seq>.<offset>  bytes that continue a journal of the directory
const (
	stateDir     = ".mirror"
	stageDir     = "stage"
	tailsDir     = "tails"
	partSuffix   = ".part"
	seenFile     = "seen"
	commitMarker = "commit"
)

// mirrorDir is a mirror's directory, locked.
type mirrorDir struct {
	dir   string
	lock  *os.File
	fresh bool // openDir made it
}

func (d *mirrorDir) own(parts ...string) string {
	return filepath.Join(append([]string{d.dir, stateDir}, parts...)...)
}

func (d *mirrorDir) stage(parts ...string) string {
	return d.own(append([]string{stageDir}, parts...)...)
}

// openDir locks a mirror's directory, making it if need be, and finishes an
// exchange that a crash interrupted.
func openDir(dir string) (*mirrorDir, error) {
	writers, err := archive.IsWriters(filepath.Join(dir, "log"))
	if err != nil {
		return nil, err
	}
	if writers {
		return nil, failf(CodeLocal, "", "%s is a reserve's own directory, not a mirror", dir)
	}
	d := &mirrorDir{dir: dir}
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		d.fresh = true
	}
	for _, sub := range mirrorDirs() {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			return nil, err
		}
	}
	if d.lock, err = os.OpenFile(d.own("lock"), os.O_RDWR|os.O_CREATE, 0o644); err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(d.lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(&Error{Code: CodeLocked, Detail: "another process pulls into " + dir, Err: err}, d.lock.Close())
	}
	if err := d.recover(); err != nil {
		return nil, errors.Join(err, d.close())
	}
	return d, nil
}

func (d *mirrorDir) close() error { return d.lock.Close() }

// mirrorDirs are the directories of a mirror.
func mirrorDirs() []string {
	return []string{"log", "packs", filepath.Join(stateDir, stageDir, tailsDir), filepath.Join(stateDir, stageDir, "packs"), filepath.Join(stateDir, stageDir, "log")}
}

// closeEmpty is close after a pull that failed: of a directory that was made for it and
// in which nothing came to lie, nothing stays.
func (d *mirrorDir) closeEmpty() error {
	if !d.fresh {
		return d.close()
	}
	for _, sub := range append(mirrorDirs(), filepath.Join(stateDir, stageDir)) {
		os.Remove(filepath.Join(d.dir, sub)) // it stays if something lies in it
	}
	kept, err := os.ReadDir(d.dir)
	own, err2 := os.ReadDir(d.own())
	if err != nil || err2 != nil || len(kept) > 1 || len(own) > 1 {
		return errors.Join(err, err2, d.close())
	}
	return errors.Join(os.Remove(d.own("lock")), os.Remove(d.own()), os.Remove(d.dir), d.close())
}

// Recover finishes, without the network, the exchange of files that a crash of a
// pull interrupted. Verify a mirror after it, not before.
func Recover(dir string) error {
	if _, err := os.Stat(filepath.Join(dir, stateDir, commitMarker)); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	d, err := openDir(dir)
	if err != nil {
		return err
	}
	return d.close()
}

// IsMirror tells whether a directory was made by a pull.
func IsMirror(dir string) bool {
	st, err := os.Stat(filepath.Join(dir, stateDir))
	return err == nil && st.IsDir()
}

func (d *mirrorDir) recover() error {
	if _, err := os.Stat(d.own(commitMarker)); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	return d.exchange()
}

// commit makes what is staged the mirror's own. Everything is on disk before the
// marker is, and the marker before the first file is moved.
func (d *mirrorDir) commit() error {
	if err := syncTree(d.stage()); err != nil {
		return err
	}
	if err := writeSync(d.own(commitMarker), []byte("whole\n")); err != nil {
		return err
	}
	return d.exchange()
}

// exchange moves what is staged to where it belongs, in an order in which a
// reader that comes upon it half done finds what it would find in a directory
// that a reserve is writing: packs, journals, tiles, the checkpoint. Each step may
// be repeated.
func (d *mirrorDir) exchange() error {
	steps := []func() error{
		d.movePacks, d.moveTails, d.moveJournals, d.moveTiles, d.moveCheckpoint, d.dropStale,
		func() error { return os.Remove(d.own(commitMarker)) },
		func() error { return syncDir(d.own()) },
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

func (d *mirrorDir) movePacks() error {
	return d.move("packs", func(name string) bool {
		_, _, _, ok := archive.ParsePackFile(name)
		return ok || name == archive.PrunedFile
	})
}

func (d *mirrorDir) moveJournals() error {
	return d.move("packs", func(name string) bool { return strings.HasSuffix(name, ".open") })
}

// move renames staged files of a directory, in order of their names.
func (d *mirrorDir) move(sub string, which func(name string) bool) error {
	entries, err := os.ReadDir(d.stage(sub))
	if err != nil {
		return err
	}
	for _, e := range entries {
		if which(e.Name()) {
			if err := os.Rename(d.stage(sub, e.Name()), filepath.Join(d.dir, sub, e.Name())); err != nil {
				return err
			}
		}
	}
	return syncDir(filepath.Join(d.dir, sub))
}

// moveTails appends what continues the directory's own journals.
func (d *mirrorDir) moveTails() error {
	entries, err := os.ReadDir(d.stage(tailsDir))
	if err != nil {
		return err
	}
	for _, e := range entries {
		t, ok := parseTail(e.Name())
		if ok {
			err = d.moveTail(t)
		}
		if err == nil {
			err = os.Remove(d.stage(tailsDir, e.Name()))
		}
		if err != nil {
			return err
		}
	}
	return syncDir(d.stage(tailsDir))
}

// tail names a file of bytes that continue a journal.
type tail struct {
	class  archive.Class
	seq    uint64
	offset int64
}

func (t tail) name() string { return fmt.Sprintf("%s.%d.%d", t.class, t.seq, t.offset) }

func parseTail(name string) (tail, bool) {
	f := strings.Split(name, ".")
	if len(f) != 3 {
		return tail{}, false
	}
	seq, err1 := strconv.ParseUint(f[1], 10, 63)
	offset, err2 := strconv.ParseInt(f[2], 10, 64)
	t := tail{archive.Class(f[0]), seq, offset}
	return t, err1 == nil && err2 == nil && t.name() == name && slices.Contains(archive.Classes(), t.class)
}

// moveTail makes the journal end with the tail. A journal that is another one by
// now was replaced, and needs no tail.
func (d *mirrorDir) moveTail(t tail) error {
	path := filepath.Join(d.dir, "packs", archive.JournalFile(t.class))
	h, err := journalHeader(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && h.Seq != t.seq {
		return nil
	}
	if err != nil {
		return err
	}
	data, err := os.Open(d.stage(tailsDir, t.name()))
	if err != nil {
		return err
	}
	defer data.Close()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	n, err := io.Copy(io.NewOffsetWriter(f, t.offset), data)
	if err == nil {
		err = f.Truncate(t.offset + n)
	}
	return errors.Join(err, f.Sync(), f.Close())
}

func journalHeader(path string) (archive.Header, error) {
	f, err := os.Open(path)
	if err != nil {
		return archive.Header{}, err
	}
	defer f.Close()
	b := make([]byte, archive.MaxHeader)
	n, err := f.ReadAt(b, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return archive.Header{}, err
	}
	h, _, err := archive.ParseJournalHeader(b[:n])
	return h, err
}

// moveTiles renames the staged files of the log, but for the checkpoint.
func (d *mirrorDir) moveTiles() error {
	touched := map[string]bool{}
	err := fs.WalkDir(os.DirFS(d.stage("log")), ".", func(p string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		if _, ok := archive.ParseTile(p); !ok {
			return nil
		}
		to := filepath.Join(d.dir, "log", filepath.FromSlash(p))
		if err := mkdirSync(filepath.Dir(to), filepath.Join(d.dir, "log")); err != nil {
			return err
		}
		touched[filepath.Dir(to)] = true
		return os.Rename(d.stage("log", filepath.FromSlash(p)), to)
	})
	for dir := range touched {
		err = errors.Join(err, syncDir(dir))
	}
	return err
}

func (d *mirrorDir) moveCheckpoint() error {
	err := os.Rename(d.stage("log", archive.CheckpointFile), filepath.Join(d.dir, "log", archive.CheckpointFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return syncDir(filepath.Join(d.dir, "log"))
}

// dropStale removes partial tiles whose full one is there, as a log may.
func (d *mirrorDir) dropStale() error {
	root := filepath.Join(d.dir, "log", "tile")
	return filepath.WalkDir(root, func(p string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || !e.IsDir() || !strings.HasSuffix(p, ".p") {
			return err
		}
		if _, err := os.Stat(strings.TrimSuffix(p, ".p")); err != nil {
			return fs.SkipDir
		}
		if err := os.RemoveAll(p); err != nil {
			return err
		}
		return fs.SkipDir
	})
}

// clean removes from the stage what is made anew by every pull. Packs, journals
// and full bundles stay: they are what a pull resumes with.
func (d *mirrorDir) clean() error {
	if err := os.Remove(d.stage("log", archive.CheckpointFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return filepath.WalkDir(d.stage("log"), func(p string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		rel, err := filepath.Rel(d.stage("log"), p)
		if err != nil {
			return err
		}
		if t, ok := archive.ParseTile(filepath.ToSlash(rel)); ok && t.Level == archive.EntriesLevel && t.Width == archive.TileWidth {
			return nil
		}
		return os.Remove(p)
	})
}

// head is a signed checkpoint with what it says.
type head struct {
	checkpoint.Checkpoint
	signed []byte
}

// readHead reads a checkpoint that this directory keeps; ok is false when there
// is none.
func readHead(path string) (h head, ok bool, err error) {
	h.signed, err = os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return head{}, false, nil
	}
	if err != nil {
		return head{}, false, err
	}
	h.Checkpoint, err = checkpoint.Parse(checkpoint.NoteText(h.signed))
	if err != nil {
		return head{}, false, &Error{Code: CodeLocal, Detail: path + " is damaged", Err: err}
	}
	return h, true, nil
}

// writeSync writes a file so that after a crash it has its old content or all of
// the new.
func writeSync(path string, data []byte) error {
	tmp := path + ".tmp"
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, bytes.NewReader(data))
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(tmp, path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// mkdirSync makes a directory below root, each new level durable in its parent.
func mkdirSync(dir, root string) error {
	if _, err := os.Stat(dir); err == nil || dir == root {
		return err
	}
	parent := filepath.Dir(dir)
	if err := mkdirSync(parent, root); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncDir(parent)
}

// syncTree makes all files and directories below dir durable.
func syncTree(dir string) error {
	return filepath.WalkDir(dir, func(p string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return syncDir(p)
	})
}

// syncDir makes a directory, or a file, durable.
func syncDir(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
