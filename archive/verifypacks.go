package archive

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/klauspost/compress/zstd"

	"robotorq.org/reserve/merkle"
)

// packCheck checks the files of a packs directory by themselves: that each is
// known and whole, that packs and journal of a class follow each other, and that
// every record is what its digest says.
type packCheck struct {
	dir   string
	opts  Options
	sum   *Summary
	mu    sync.Mutex
	count [4]ClassSummary

	pruned *Pruned
}

func (c *packCheck) run(ctx context.Context) error {
	entries, err := os.ReadDir(c.dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if c.pruned, err = ReadPruned(c.dir); err != nil {
		return err
	}
	if err := c.names(entries); err != nil {
		return err
	}
	// The journals first: one that is sealed from now on is still held.
	journals := map[Class]*os.File{}
	for _, class := range Classes() {
		f, err := os.Open(filepath.Join(c.dir, journalName(class)))
		if err == nil {
			defer f.Close()
			journals[class] = f
		} else if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	packs, err := listPacks(c.dir)
	if err != nil {
		return err
	}
	var all []*pack
	for i, class := range Classes() {
		c.count[i].Class = class
		if err := c.chain(class, packs[class]); err != nil {
			return err
		}
		all = append(all, packs[class]...)
	}
	if err := c.checkPacks(ctx, all); err != nil {
		return err
	}
	for _, class := range Classes() {
		if err := c.journal(class, packs[class], journals[class]); err != nil {
			return err
		}
	}
	c.sum.Classes = c.count[:]
	return nil
}

// names refuses files that have no meaning in a packs directory.
func (c *packCheck) names(entries []os.DirEntry) error {
	temporary := map[string]bool{}
	journals := map[string]bool{}
	for _, class := range Classes() {
		temporary[sealingName(class)], temporary[beginningName(class)] = true, true
		journals[journalName(class)] = true
	}
	for _, e := range entries {
		name := e.Name()
		_, _, _, isPack := parsePackName(name)
		switch {
		case c.pruned != nil && name == PrunedFile && e.Type().IsRegular():
			c.opts.meter.add(uint64(len(c.pruned.data)))
		case e.Type().IsRegular() && (isPruning(name) || isPack && c.pruned.supersedes(c.dir, name)):
			if err := c.sum.residue(c.dir, "packs", name, "a pruning that a crash or this moment interrupted"); err != nil {
				return err
			}
		case !e.Type().IsRegular() || !isPack && !journals[name] && !temporary[name]:
			return &Error{Code: CodeUnknown, File: "packs/" + name, Detail: "no such file belongs here"}
		case temporary[name]:
			if err := c.sum.residue(c.dir, "packs", name, "a sealing that a crash or this moment interrupted"); err != nil {
				return err
			}
		}
	}
	return nil
}

// chain checks that the packs of a class follow each other from the first one.
// What was pruned follows by what the list says of it.
func (c *packCheck) chain(class Class, packs []*pack) error {
	prev, seq := merkle.Hash{}, uint64(1)
	for _, p := range packs {
		for ; seq < p.seq; seq++ {
			g, ok := c.pruned.Find(class, seq)
			if !ok || !g.Kept.IsZero() {
				return &Error{Code: CodeMissing, File: "packs/" + packName(class, seq, merkle.Hash{})[:len(class)+9] + "-….pack",
					Detail: fmt.Sprintf("pack %d of class %s is missing", seq, class)}
			}
			if g.Prev != prev {
				return &Error{Code: CodeChain, File: "packs/" + PrunedFile,
					Detail: fmt.Sprintf("says that pack %d of class %s named %s as the pack before it, which is %s", seq, class, g.Prev, prev)}
			}
			prev = g.Sum
		}
		f, err := os.Open(p.path)
		if err != nil {
			return err
		}
		err = errors.Join(p.load(f), f.Close())
		if err != nil {
			return err
		}
		if p.prev != prev {
			return &Error{Code: CodeChain, File: p.file, Offset: 0, Length: p.first,
				Detail: fmt.Sprintf("names %s as the pack before it, which is %s", p.prev, prev)}
		}
		prev, seq = c.pruned.original(p), p.seq+1
	}
	for n := range c.pruned.Of(class) {
		if n >= seq {
			return &Error{Code: CodeMissing, File: "packs/" + PrunedFile, Detail: fmt.Sprintf("says that pack %d of class %s was pruned; the packs end with number %d", n, class, seq-1)}
		}
	}
	return nil
}

// checkPacks checks every pack by itself, several at a time. Of several faults
// the one in the first pack is returned.
func (c *packCheck) checkPacks(ctx context.Context, packs []*pack) error {
	errs := make([]error, len(packs))
	work := make(chan int)
	var wg sync.WaitGroup
	for range c.opts.workers() {
		wg.Go(func() {
			dec, err := newDecoder(1)
			for i := range work {
				if errs[i] = err; err == nil {
					errs[i] = c.checkPack(packs[i], dec)
				}
			}
			if dec != nil {
				dec.Close()
			}
		})
	}
	for i := range packs {
		select {
		case work <- i:
		case <-ctx.Done():
			close(work)
			wg.Wait()
			return ctx.Err()
		}
	}
	close(work)
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func (c *packCheck) checkPack(p *pack, dec *zstd.Decoder) error {
	f, err := os.Open(p.path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := p.load(f); err != nil {
		return err
	}
	n, err := p.check(f, dec)
	if err != nil {
		return err
	}
	h := sha256.New()
	if _, err := io.Copy(h, io.NewSectionReader(f, 0, p.size)); err != nil {
		return err
	}
	if got := merkle.Hash(h.Sum(nil)); got != p.sum {
		return corrupt(p.file, 0, p.size, "file has SHA-256 %s, not the one in its name", got)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	s := &c.count[slices.Index(Classes(), p.class)]
	s.Packs++
	s.Records += uint64(p.records)
	s.FileBytes += uint64(p.size)
	s.DataBytes += n
	c.opts.meter.add(uint64(p.size))
	return nil
}

// check checks records, table and index of a pack; it returns the bytes of data.
func (p *pack) check(f *os.File, dec *zstd.Decoder) (uint64, error) {
	table := make([]uint64, 0, p.blocks)
	index := make([]indexed, 0, p.records)
	var bytes uint64
	for r, err := range p.all(f, dec) {
		if err != nil {
			return 0, err
		}
		if err := r.Record.check(p.class); err != nil {
			return 0, corrupt(p.file, r.off, r.len, "block %d: %v", r.block, err)
		}
		if int(r.block) == len(table) {
			table = append(table, uint64(r.off))
		}
		index = append(index, r.indexed)
		bytes += uint64(len(r.Data))
	}
	return bytes, p.checkIndex(f, table, index)
}

// journal checks the journal of a class.
func (c *packCheck) journal(class Class, packs []*pack, f *os.File) error {
	file := "packs/" + journalName(class)
	if f == nil {
		if len(packs) == 0 {
			return nil
		}
		return &Error{Code: CodeMissing, File: file, Detail: "file is missing"}
	}
	st, err := f.Stat()
	if err != nil {
		return err
	}
	scan, err := openScan(f, st.Size(), file)
	if err != nil {
		return err
	}
	if err := c.torn(scan, scan.extend(f, st.Size())); err != nil {
		return err
	}
	if err := c.follows(class, packs, f, scan); err != nil {
		return err
	}
	for r, err := range scan.all(f) {
		if err != nil {
			return err
		}
		if err := r.Record.check(class); err != nil {
			return corrupt(file, r.off, r.len, "%v", err)
		}
	}
	s := &c.count[slices.Index(Classes(), class)]
	s.Records += uint64(scan.records)
	s.FileBytes += uint64(st.Size())
	s.DataBytes += uint64(scan.bytes)
	c.opts.meter.add(uint64(st.Size()))
	return nil
}

// torn lets an incomplete last group pass when the directory is in use.
func (c *packCheck) torn(scan *journalScan, err error) error {
	var e *Error
	if !c.opts.Live || !errors.As(err, &e) || e.Code != CodeTorn {
		return err
	}
	c.sum.Residue = append(c.sum.Residue, Residue{File: scan.file, Offset: e.Offset, Bytes: e.Length, Reason: "a group that is being written, or was when a crash hit"})
	return nil
}

// follows checks that the journal continues the packs.
func (c *packCheck) follows(class Class, packs []*pack, f *os.File, scan *journalScan) error {
	seq, prev := uint64(1), merkle.Hash{}
	if n := len(packs); n > 0 {
		seq, prev = packs[n-1].seq+1, packs[n-1].sum
	}
	if scan.class == class && scan.seq == seq && scan.prev == prev {
		return nil
	}
	if n := len(packs); n > 0 && scan.class == class && scan.seq == packs[n-1].seq && scan.prev == packs[n-1].prev {
		if err := sameRecords(packs[n-1], f, scan); err != nil {
			return err
		}
		c.sum.Residue = append(c.sum.Residue, Residue{File: scan.file, Bytes: scan.end, Reason: "a journal that was sealed already; all of it is in " + packs[n-1].file})
		return nil
	}
	return &Error{Code: CodeChain, File: scan.file, Offset: 0, Length: scan.first,
		Detail: fmt.Sprintf("is number %d of class %s after pack %s; the packs end with number %d, %s", scan.seq, scan.class, scan.prev, seq-1, prev)}
}

// VerifyPacks checks the files of a packs directory by themselves: all that
// [VerifyDir] checks of them but what they mean. The error is a *proof.Fault
// when something is wrong.
func VerifyPacks(ctx context.Context, dir string, opts Options) (Summary, error) {
	var s Summary
	c := packCheck{dir: dir, opts: opts, sum: &s}
	err := c.run(ctx)
	return s, asFault(err)
}
