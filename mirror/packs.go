package mirror

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"robotorq.org/reserve/archive"
	"robotorq.org/reserve/merkle"
)

// classPull collects the packs and the journal of one class in the stage.
type classPull struct {
	*pull
	class  archive.Class
	header archive.Header // of the journal that is collected
	path   string         // of the staged file: the journal, or what continues the mirror's own
	base   int64          // offset of that file's first byte in the journal
	size   int64          // offset after its last byte
	groups int64          // offset after the last complete group that was checked
	cut    int64          // where the journal will be cut, at the end of a group; ≤ groups
	renew  bool           // collect all of the journal, although the mirror has its beginning
}

func (c *classPull) file() string { return packsPath + archive.JournalFile(c.class) }

// sync brings the stage up to what the server has now. The journal is read
// between two looks at its first line, which agree: it is one file, then, and not
// the end of a newer one.
func (c *classPull) sync(ctx context.Context) error {
	damaged := 0
	for range 20 {
		h, err := c.probe(ctx)
		if err != nil {
			return err
		}
		if err := c.chain(ctx, h); err != nil {
			return err
		}
		if err := c.journal(ctx, h); err != nil {
			return err
		}
		again, err := c.probe(ctx)
		if err != nil {
			return err
		}
		if again != h {
			continue
		}
		err = c.scan()
		if err == nil {
			return nil
		}
		// What a crash left in the stage may be to blame, or the mirror has a group
		// that the reserve lost in a crash before it was acknowledged: once more
		// from the end of the mirror's journal, then from the start.
		if damaged++; damaged > 2 || !archive.IsCode(err, archive.CodeCorrupt) {
			return &Error{Code: CodeCorrupt, File: c.file(), Detail: "the journal is damaged", Err: err}
		}
		if err := os.Remove(c.path); err != nil {
			return err
		}
		c.groups, c.renew = 0, damaged == 2
	}
	return failf(CodeBusy, c.file(), "the journal is sealed again and again while it is read")
}

// probe reads the first line of the journal.
func (c *classPull) probe(ctx context.Context) (archive.Header, error) {
	b, err := c.remote.head(ctx, c.file(), archive.MaxHeader)
	if isNotThere(err) {
		return archive.Header{}, &Error{Code: CodeMissing, File: c.file(), Detail: "there is no reserve at " + c.remote.URL, Err: err}
	}
	if err != nil {
		return archive.Header{}, err
	}
	h, _, err := archive.ParseJournalHeader(b)
	if err != nil || h.Class != c.class {
		return h, &Error{Code: CodeCorrupt, File: c.file(), Detail: "this is not the first line of a journal of the class", Err: err}
	}
	own, _, err := c.own()
	if err == nil && (h.Seq < own.Seq || h.Seq == own.Seq && h.Prev != own.Prev) {
		return h, failf(CodePacks, c.file(), "it is number %d after pack %s, the mirror's is number %d after %s: the reserve packed anew; pull into an empty directory", h.Seq, h.Prev, own.Seq, own.Prev)
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return h, err
}

// own returns first line and size of the mirror's journal.
func (c *classPull) own() (archive.Header, int64, error) {
	path := filepath.Join(c.dir.dir, "packs", archive.JournalFile(c.class))
	st, err := os.Stat(path)
	if err != nil {
		return archive.Header{}, 0, err
	}
	h, err := journalHeader(path)
	if err != nil {
		return h, 0, &Error{Code: CodeLocal, Detail: path + " is damaged", Err: err}
	}
	return h, st.Size(), nil
}

// chain walks from the journal back to a pack that the mirror has, and collects
// the packs in between.
func (c *classPull) chain(ctx context.Context, h archive.Header) error {
	known, err := c.known()
	if err != nil {
		return err
	}
	type link struct {
		seq uint64
		sum merkle.Hash
	}
	var missing []link
	seq, sum := h.Seq-1, h.Prev
	for ; seq > 0; seq-- {
		if have, ok := known[seq]; ok {
			if have != sum {
				return failf(CodePacks, packsPath+archive.PackFile(c.class, seq, sum), "the mirror has another pack %d of class %s, %s: the reserve packed anew; pull into an empty directory", seq, c.class, have)
			}
			break
		}
		prev, there, err := c.link(ctx, seq, sum)
		if err != nil {
			return err
		}
		if there {
			missing = append(missing, link{seq, sum})
		}
		sum = prev
	}
	if seq == 0 && !sum.IsZero() {
		return failf(CodeCorrupt, c.file(), "the first pack of class %s names a pack before it, %s", c.class, sum)
	}
	slices.Reverse(missing)
	return parallel(ctx, c.remote.Parallel, missing, func(ctx context.Context, l link) error {
		return c.pack(ctx, l.seq, l.sum)
	})
}

// known returns the packs of the class that the mirror has, by their numbers and
// their first digests.
func (c *classPull) known() (map[uint64]merkle.Hash, error) {
	out := map[uint64]merkle.Hash{}
	entries, err := os.ReadDir(filepath.Join(c.dir.dir, "packs"))
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if class, seq, sum, ok := archive.ParsePackFile(e.Name()); ok && class == c.class {
			out[seq] = sum
		}
	}
	for _, gone := range c.ownPruned.Of(c.class) {
		out[gone.Seq] = gone.Sum
	}
	return out, nil
}

// link returns the digest that a pack names as the one before it. there is false
// when the reserve pruned the pack and keeps nothing of it.
func (c *classPull) link(ctx context.Context, seq uint64, sum merkle.Hash) (prev merkle.Hash, there bool, err error) {
	name := archive.PackFile(c.class, seq, sum)
	b, err := readStart(c.dir.stage("packs", name))
	if errors.Is(err, fs.ErrNotExist) {
		b, err = c.remote.head(ctx, packsPath+name, archive.MaxHeader)
	}
	if isNotThere(err) {
		return c.pruned(ctx, seq, sum)
	}
	if err != nil {
		return merkle.Hash{}, false, err
	}
	h, _, err := archive.ParsePackHeader(b)
	if err != nil || h.Class != c.class || h.Seq != seq {
		return merkle.Hash{}, false, &Error{Code: CodeCorrupt, File: packsPath + name, Detail: "its first line is not that of this pack", Err: err}
	}
	return h.Prev, true, nil
}

func readStart(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, archive.MaxHeader))
}

// pruned looks a pack up that is not there in the reserve's list of what it
// pruned, and collects what it kept of it.
func (c *classPull) pruned(ctx context.Context, seq uint64, sum merkle.Hash) (merkle.Hash, bool, error) {
	name := packsPath + archive.PackFile(c.class, seq, sum)
	gone, ok := c.theirPruned.Find(c.class, seq)
	if !ok || gone.Sum != sum {
		return merkle.Hash{}, false, failf(CodeMissing, name, "the pack is not there, and not listed as pruned")
	}
	c.adoptPruned.Store(true)
	if gone.Kept.IsZero() {
		return gone.Prev, false, nil
	}
	return gone.Prev, false, c.pack(ctx, seq, gone.Kept)
}

// pack collects one pack and checks that it is the one with this digest.
func (c *classPull) pack(ctx context.Context, seq uint64, sum merkle.Hash) error {
	name := archive.PackFile(c.class, seq, sum)
	path := c.dir.stage("packs", name)
	if _, err := os.Stat(path); err == nil {
		return nil // it was checked before it got its name
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	part := path + partSuffix
	f, err := os.OpenFile(part, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	for try := 0; ; try++ {
		size, err := c.remote.extend(ctx, packsPath+name, f, 0)
		if isNotThere(err) {
			return &Error{Code: CodeMissing, File: packsPath + name, Detail: "the pack vanished", Err: err}
		}
		if err != nil {
			return err
		}
		h := sha256.New()
		if _, err := io.Copy(h, io.NewSectionReader(f, 0, size)); err != nil {
			return err
		}
		got := merkle.Hash(h.Sum(nil))
		if got == sum {
			break
		}
		// The remains of an earlier pull may be to blame: once more from the start.
		if try > 0 {
			return failf(CodeCorrupt, packsPath+name, "the pack has SHA-256 %s", got)
		}
		if err := f.Truncate(0); err != nil {
			return err
		}
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := os.Rename(part, path); err != nil {
		return err
	}
	c.report("packs", c.remote.bytes.Load(), 0)
	c.packs.Add(1)
	return syncDir(c.dir.stage("packs"))
}

// journal collects the journal with this first line: what continues the mirror's
// own, or all of it.
func (c *classPull) journal(ctx context.Context, h archive.Header) error {
	own, end, err := c.own()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	fresh := c.dir.stage("packs", archive.JournalFile(c.class))
	continues := err == nil && own == h && !c.renew
	path, base := fresh, int64(0)
	if continues {
		t := tail{c.class, h.Seq, end}
		path, base = c.dir.stage(tailsDir, t.name()), end
	}
	if err := c.forget(path); err != nil {
		return err
	}
	if !continues {
		if staged, err := journalHeader(fresh); err == nil && staged != h {
			if err := os.Remove(fresh); err != nil {
				return err
			}
		}
	}
	if path != c.path || h != c.header {
		c.groups, c.cut = 0, 0
	}
	c.header, c.path, c.base = h, path, base
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	n, err := c.remote.extend(ctx, c.file(), f, base)
	c.size = base + n
	if isNotThere(err) {
		err = &Error{Code: CodeMissing, File: c.file(), Detail: "the journal vanished", Err: err}
	}
	c.report("packs", c.remote.bytes.Load(), 0)
	return errors.Join(err, f.Close())
}

// forget removes staged files of the class's journal other than the one at path.
func (c *classPull) forget(path string) error {
	entries, err := os.ReadDir(c.dir.stage(tailsDir))
	if err != nil {
		return err
	}
	stale := []string{c.dir.stage("packs", archive.JournalFile(c.class))}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), string(c.class)+".") {
			stale = append(stale, c.dir.stage(tailsDir, e.Name()))
		}
	}
	for _, s := range stale {
		if s == path {
			continue
		}
		if err := os.Remove(s); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// joined reads a journal whose beginning is the mirror's own and whose end is
// staged.
type joined struct {
	own    *os.File // nil when all of it is staged
	staged *os.File
	base   int64
}

func (j *joined) ReadAt(b []byte, off int64) (n int, err error) {
	if off < j.base {
		n, err = j.own.ReadAt(b[:min(int64(len(b)), j.base-off)], off)
		if err != nil || n == len(b) {
			return n, err
		}
	}
	m, err := j.staged.ReadAt(b[n:], off+int64(n)-j.base)
	return n + m, err
}

func (j *joined) close() error {
	if j.own == nil {
		return j.staged.Close()
	}
	return errors.Join(j.own.Close(), j.staged.Close())
}

func (c *classPull) open() (*joined, *archive.Journal, error) {
	j := &joined{base: c.base}
	var err error
	if j.staged, err = os.Open(c.path); err != nil {
		return nil, nil, err
	}
	if c.base > 0 {
		if j.own, err = os.Open(filepath.Join(c.dir.dir, "packs", archive.JournalFile(c.class))); err != nil {
			return nil, nil, errors.Join(err, j.staged.Close())
		}
	}
	read, err := archive.OpenJournal(j, c.size, c.file())
	if err != nil {
		return nil, nil, errors.Join(err, j.close())
	}
	return j, read, nil
}

// scan checks the frames that came and finds the end of the last complete group.
func (c *classPull) scan() error {
	j, read, err := c.open()
	if err != nil {
		return err
	}
	defer j.close()
	from := max(c.base, read.First, c.groups)
	c.groups = from
	for f, err := range read.Frames(from, c.size) {
		if err != nil {
			return err
		}
		if f.Last {
			c.groups = f.End
		}
	}
	c.cut = c.groups
	return nil
}

// frames yields the frames of complete groups from an offset on.
func (c *classPull) frames(from int64) iter.Seq2[archive.Framed, error] {
	return func(yield func(archive.Framed, error) bool) {
		j, read, err := c.open()
		if err != nil {
			yield(archive.Framed{}, err)
			return
		}
		defer j.close()
		for f, err := range read.Frames(max(from, c.base, read.First), c.groups) {
			if !yield(f, err) || err != nil {
				return
			}
		}
	}
}

// staged yields the records that are in the stage, not in the mirror: those of
// the journal, then those of packs, the newest first.
func (c *classPull) staged() iter.Seq2[archive.Record, error] {
	return func(yield func(archive.Record, error) bool) {
		for f, err := range c.frames(0) {
			if !yield(f.Record, err) || err != nil {
				return
			}
		}
		entries, err := os.ReadDir(c.dir.stage("packs"))
		if err != nil {
			yield(archive.Record{}, err)
			return
		}
		slices.Reverse(entries)
		for _, e := range entries {
			class, seq, _, ok := archive.ParsePackFile(e.Name())
			if !ok || class != c.class {
				continue
			}
			for r, err := range archive.PackRecords(c.dir.stage("packs", e.Name()), class, seq) {
				if !yield(r, err) || err != nil {
					return
				}
			}
		}
	}
}

// trim cuts the staged journal where it is to end.
func (c *classPull) trim() error {
	if c.cut == c.base && c.base > 0 {
		return os.Remove(c.path) // nothing came
	}
	return os.Truncate(c.path, c.cut-c.base)
}

// parallel runs work on every item, at most n at a time, and returns the first
// error.
func parallel[T any](ctx context.Context, n int, items []T, work func(context.Context, T) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	slots := make(chan struct{}, n)
	for _, item := range items {
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
		}
		if ctx.Err() != nil {
			break
		}
		wg.Go(func() {
			defer func() { <-slots }()
			if err := work(ctx, item); err != nil {
				cancel(err)
			}
		})
	}
	wg.Wait()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}
