package mirror

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/mod/sumdb/tlog"

	"robotorq.org/reserve/archive"
	"robotorq.org/reserve/checkpoint"
	"robotorq.org/reserve/merkle"
)

// Home is a reserve's own log and packs, of which nothing is being written.
type Home struct {
	Dir    string // log/ and packs/ lie in it
	Origin string // name of the reserve's log, known even when there is no log
	// Open checks that the reserve's own log has signed a checkpoint, and returns it.
	Open func(signed []byte) (checkpoint.Checkpoint, error)
	// Check says how a copy is verified before anything is taken from it. Without a
	// log of its own the reserve takes one only by Check.Roots.
	Check archive.Options
	// Restored: the directory came from a copy, so that a mirror which has nothing
	// confirms nothing, even of an empty log.
	Restored bool
	// Alone: the operator says that nobody has anything newer; a mirror may have nothing.
	Alone bool
}

// Standing says how a reserve's log stands beside that of a mirror.
type Standing struct {
	Own, Theirs checkpoint.Checkpoint // of the empty tree where there is no log yet
	// Copy is a verified copy of the mirror, when the mirror has more; "" else. Its
	// first Own.Size entries are those of the reserve. [Standing.Drop] removes it.
	Copy string
}

// tailDir is where a copy is collected, below Home.Dir.
const tailDir = ".tail"

// Compare asks a mirror whether the reserve's log is behind the one that it has.
// A log that contradicts the mirror's is an *Error with [CodeForked] and both
// checkpoints, which are kept in Dir/evidence; nothing is changed then. When the
// mirror has more, a copy of it is pulled and verified to the last entry.
//
// Nothing may be signed by the reserve before all its mirrors have been asked: a
// data directory that was restored from an older copy would sign another history.
func Compare(ctx context.Context, o Options, home Home) (Standing, error) {
	o.Dir = filepath.Join(home.Dir, tailDir)
	o, err := o.withDefaults()
	if err != nil {
		return Standing{}, err
	}
	own, err := readOwn(home)
	if err != nil {
		return Standing{}, err
	}
	s := Standing{Own: own.Checkpoint}
	signed, err := newRemote(o).small(ctx, logPath+archive.CheckpointFile, checkpoint.MaxNote)
	if isNotThere(err) {
		return s, home.unconfirmed(own, o.URL)
	}
	if err != nil {
		return s, err
	}
	theirs, err := home.Open(signed)
	switch {
	case err == nil && theirs.Size <= own.Size:
		s.Theirs = theirs
		return s, home.contains(own, head{theirs, signed})
	case err == nil && theirs.Origin != home.Origin:
		return s, home.foreign(o.URL, theirs.Origin)
	}
	// It has more, or its checkpoint is signed by keys that are not known here yet:
	// the copy brings the charters that say whose they are.
	return s.pull(ctx, o, home, own)
}

func (s Standing) pull(ctx context.Context, o Options, home Home, own head) (Standing, error) {
	if err := os.RemoveAll(o.Dir); err != nil {
		return s, err
	}
	if len(o.Roots) == 0 {
		o.Roots = home.Check.Roots
	}
	if len(o.Roots) == 0 && own.Size == 0 {
		return s, failf(CodeOptions, "", "nothing here says whose log %s has: bring back log/, trust.db or root/ of this reserve first", o.URL)
	}
	result, err := Pull(ctx, o)
	if err != nil {
		return s, err
	}
	s.Theirs = result.Checkpoint
	if result.Origin != home.Origin {
		return s, errors.Join(home.foreign(o.URL, result.Origin), os.RemoveAll(o.Dir))
	}
	theirs := head{result.Checkpoint, result.Signed}
	if theirs.Size <= own.Size {
		return s, errors.Join(home.contains(own, theirs), os.RemoveAll(o.Dir))
	}
	if err := home.continued(own, theirs, o.Dir); err != nil {
		return s, err
	}
	check := home.Check
	check.Live = false
	if _, err := archive.VerifyDir(ctx, o.Dir, check); err != nil {
		return s, err
	}
	s.Copy = o.Dir
	return s, nil
}

// unconfirmed judges a mirror that has no checkpoint. That is so before the first
// pull; later it is the answer of a wrong address or of a mirror that lost its files,
// which may once have had more than this log.
func (home Home) unconfirmed(own head, url string) error {
	if home.Alone || own.Size == 0 && !home.Restored {
		return nil
	}
	return failf(CodeMissing, logPath+archive.CheckpointFile, "%s has no checkpoint there and so did not confirm that this log of %d entries is not behind: correct the address or wait until it has pulled, take it out of the configuration, or start with --alone if nobody has anything newer", url, own.Size)
}

func (home Home) foreign(url, origin string) error {
	return failf(CodeOptions, logPath+archive.CheckpointFile, "%s is a mirror of log %q, this is %q", url, origin, home.Origin)
}

// readOwn reads where the reserve's own log stands, with what it has integrated and
// not published: that is what it would sign first.
func readOwn(home Home) (head, error) {
	dir := filepath.Join(home.Dir, "log")
	h, _, err := readHead(filepath.Join(dir, archive.CheckpointFile))
	if err != nil {
		return h, err
	}
	if h.signed == nil {
		h.Root = merkle.EmptyRoot()
	}
	size, root, err := archive.OpenLog(os.DirFS(dir)).Integrated()
	if err != nil {
		return h, &Error{Code: CodeLocal, Detail: "the state of the reserve's own log cannot be read", Err: err}
	}
	if size > h.Size {
		h.Size, h.Root = size, root
	}
	return h, nil
}

// rootAt is the root that the first entries of a log have.
func rootAt(dir string, c checkpoint.Checkpoint, size uint64) (merkle.Hash, error) {
	if size == 0 {
		return merkle.EmptyRoot(), nil
	}
	h, err := tlog.TreeHash(int64(size), archive.OpenLog(os.DirFS(dir)).Hashes(c.Size, c.Root))
	return merkle.Hash(h), err
}

// contains checks that the reserve's log holds all that the mirror has.
func (home Home) contains(own, theirs head) error {
	root, err := rootAt(filepath.Join(home.Dir, "log"), own.Checkpoint, theirs.Size)
	if err != nil {
		return &Error{Code: CodeLocal, Detail: "the reserve's own log cannot be read", Err: err}
	}
	if root == theirs.Root {
		return nil
	}
	return home.accuse(own, theirs, fmt.Sprintf("log %q forked: at size %d a mirror has root %s, here it is %s", theirs.Origin, theirs.Size, theirs.Root, root))
}

// continued checks that a copy begins with all that the reserve's log has.
func (home Home) continued(own, theirs head, dir string) error {
	root, err := rootAt(filepath.Join(dir, "log"), theirs.Checkpoint, own.Size)
	if err != nil {
		return &Error{Code: CodeCorrupt, Detail: "the copy of the mirror cannot be read", Err: err}
	}
	if root == own.Root {
		return nil
	}
	return home.accuse(own, theirs, fmt.Sprintf("log %q forked: at size %d its root is %s, under the mirror's checkpoint of %d entries it is %s", theirs.Origin, own.Size, own.Root, theirs.Size, root))
}

func (home Home) accuse(own, theirs head, detail string) error {
	d := &mirrorDir{dir: home.Dir}
	return d.accuse(Evidence{Kind: "forked", Origin: theirs.Origin, Kept: string(theirs.signed), Offered: string(own.signed)}, CodeForked, detail)
}

// Entries are those of the copy beyond the reserve's own, as they are logged.
func (s Standing) Entries() ([][]byte, error) {
	var out [][]byte
	for e, err := range archive.OpenLog(os.DirFS(filepath.Join(s.Copy, "log"))).Entries(s.Own.Size, s.Theirs.Size) {
		if err != nil {
			return nil, err
		}
		out = append(out, e.Bytes())
	}
	return out, nil
}

// TakePacks puts the packs of the copy into the reserve's own: sealed ones beside
// those that are there, journals in place of the older ones. After a crash at any
// moment it may be done again. What the reserve had packed and not logged is in the
// books of the station that was about to log it.
func (s Standing) TakePacks(dir string) error {
	from, to := filepath.Join(s.Copy, "packs"), filepath.Join(dir, "packs")
	if _, err := os.Stat(filepath.Join(from, archive.PrunedFile)); err == nil {
		return failf(CodePacks, packsPath+archive.PrunedFile, "this mirror was pruned: it cannot make the reserve's packs whole; ask one that keeps everything")
	}
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	var sealed, journals []string
	for _, e := range entries {
		if _, _, _, ok := archive.ParsePackFile(e.Name()); ok {
			sealed = append(sealed, e.Name())
		} else {
			journals = append(journals, e.Name())
		}
	}
	if err := mkdirSync(to, dir); err != nil {
		return err
	}
	if own, err := strangers(to, sealed); err != nil {
		return err
	} else if own != "" {
		return failf(CodePacks, packsPath+own, "the reserve sealed this pack, and the mirror has another history of packs: restore from a copy that was not run without its mirrors")
	}
	for _, name := range slices.Concat(sealed, journals) {
		if err := copyDurable(filepath.Join(from, name), filepath.Join(to, name)); err != nil {
			return err
		}
	}
	return nil
}

// strangers names a sealed pack of a directory that is not among these.
func strangers(dir string, sealed []string) (string, error) {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		if _, _, _, ok := archive.ParsePackFile(e.Name()); ok && !slices.Contains(sealed, e.Name()) {
			return e.Name(), nil
		}
	}
	return "", err
}

// copyDurable copies a file so that a crash leaves the old one or the new one.
func copyDurable(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	tmp := to + ".tmp"
	out, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	if err := errors.Join(err, out.Sync(), out.Close()); err != nil {
		return err
	}
	if err := os.Rename(tmp, to); err != nil {
		return err
	}
	return syncDir(filepath.Dir(to))
}

// Drop removes the copy, if there is one.
func (s Standing) Drop() error {
	if s.Copy == "" {
		return nil
	}
	return os.RemoveAll(s.Copy)
}
