package archive

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/seal"
	"robotorq.org/reserve/torq"
)

// PruneOptions say what is to be removed.
type PruneOptions struct {
	Profile torq.Profile
	Level   Level // LevelIngots or LevelCertificates: what is kept of the chosen certificates
	// Before chooses the certificates issued before this time, Unix ms; 0: all.
	Before uint64
	// Keep, when given, spares certificates that it returns true for.
	Keep func(proof.Certificate) bool
	// DryRun finds out what would be freed, and changes nothing.
	DryRun bool
}

// PruneResult says what was freed.
type PruneResult struct {
	Certificates uint64 `json:"certificates"` // whose level was lowered
	Dropped      int    `json:"dropped"`      // packs
	Rewritten    int    `json:"rewritten"`
	Records      uint64 `json:"records"` // removed
	Bytes        uint64 `json:"bytes"`   // freed
}

// Prune lowers the retention level of certificates of a data directory or a
// mirror, and removes from its packs what nothing that is kept needs: packs whole,
// or all but some of their records. It never removes
//
//   - what a certificate at a higher level needs: its reports, their batches, the
//     records of its pours;
//   - ore that is not minted, or of which units are not in an ingot yet;
//   - anything from the journals or from the newest pack of a class, which are
//     still written to.
//
// It may run beside the writer of the directory, and readers of it. The list
// [PrunedFile] says what is gone, and [VerifyDir] verifies what is kept and reports
// what is not. After a crash at any point the directory verifies; what was not
// removed yet is removed by the next call.
//
// Prune believes the directory: verify it before. A pruned level is not brought
// back but by pulling from a mirror that has it.
func Prune(ctx context.Context, dir string, o PruneOptions) (PruneResult, error) {
	if o.Level.rank() < 1 || o.Profile.IngotsPerCertificate == 0 {
		return PruneResult{}, &Error{Code: CodeFormat, Detail: fmt.Sprintf("there is no level %q to prune to; there are %s and %s", o.Level, LevelIngots, LevelCertificates)}
	}
	packs := filepath.Join(dir, "packs")
	lock, err := os.Open(packs)
	if err != nil {
		return PruneResult{}, err
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return PruneResult{}, &Error{Code: CodeLocked, File: "packs", Detail: "another process prunes it", Err: err}
	}
	p := &pruner{opts: o, dir: packs}
	if p.list, err = ReadPruned(packs); err != nil {
		return PruneResult{}, err
	}
	if !o.DryRun {
		if err := p.exchange(); err != nil {
			return PruneResult{}, err
		}
	}
	if p.index, err = OpenIndex(ctx, dir, o.Profile); err != nil {
		return PruneResult{}, err
	}
	err = p.run(ctx)
	return p.result, errors.Join(err, p.index.Close())
}

// pruner is one call of Prune.
type pruner struct {
	opts   PruneOptions
	dir    string
	list   *Pruned
	index  *Index
	result PruneResult

	levels []Level              // of the certificates, after this call
	needed pruneMarks           // work that a certificate at level full needs, or one to come
	spent  pruneMarks           // work of which the last unit lies in a certificate that is pruned
	begun  map[robotWork]uint64 // seq of the latest report of which an ingot has ore
	limit  uint64               // void work that was sealed before is not kept
	fresh  []PrunedPack         // lines to be added
	byPour map[uint64]pouredRange
}

func (p *pruner) run(ctx context.Context) error {
	chosen, err := p.choose()
	if err != nil || len(chosen) == 0 {
		return err
	}
	p.needed, p.spent, p.begun = pruneMarks{}, pruneMarks{}, map[robotWork]uint64{}
	if err := p.mark(ctx); err != nil {
		return err
	}
	packs, err := listPacks(p.dir)
	if err != nil {
		return err
	}
	for _, class := range []Class{Work, Ingots} {
		own := packs[class]
		for i := range len(own) - 1 { // the newest is still written to
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := p.sweep(own[i]); err != nil {
				return err
			}
		}
	}
	if p.opts.DryRun {
		return nil
	}
	return p.commit(chosen)
}

// choose decides the levels. It returns the runs of serials whose level falls,
// each of one former level.
func (p *pruner) choose() ([]serials, error) {
	var out []serials
	n := p.index.Certificates()
	was := LevelFull
	for serial := uint64(1); serial <= n; serial++ {
		c, err := p.index.Certificate(serial)
		if err != nil {
			return nil, err
		}
		level := p.list.Level(serial)
		lower := p.opts.Level.rank() > level.rank() && (p.opts.Before == 0 || c.Issued < p.opts.Before) && (p.opts.Keep == nil || !p.opts.Keep(c))
		if lower {
			p.result.Certificates++
			if k := len(out); k > 0 && out[k-1].last == serial-1 && was == level {
				out[k-1].last = serial
			} else {
				out = append(out, serials{p.opts.Level, serial, serial})
			}
			was, level = level, p.opts.Level
		}
		if level == LevelFull && p.limit == 0 {
			p.limit = c.First
		} else if p.limit == 0 && serial == n {
			p.limit = c.Last
		}
		p.levels = append(p.levels, level)
	}
	return out, nil
}

// level returns the level, after this call, of what holds ingot number i (from 0)
// of all: full while it is not minted.
func (p *pruner) level(i uint64) Level {
	if serial := i / p.opts.Profile.IngotsPerCertificate; serial < uint64(len(p.levels)) {
		return p.levels[serial]
	}
	return LevelFull
}

// mark walks over the ingots and marks the reports that they are of.
func (p *pruner) mark(ctx context.Context) error {
	for _, at := range p.index.pours {
		if err := ctx.Err(); err != nil {
			return err
		}
		env, digest, err := p.index.envelope(at.entry)
		if err != nil {
			return err
		}
		pour, err := proof.DecodePour(env.Payload)
		if err != nil {
			return err
		}
		records, err := p.index.packs.RecordsOf(digest, pour)
		if IsCode(err, CodeNotFound) && p.prunedBefore(at.total, pour.Count) {
			continue
		}
		if err != nil {
			return err
		}
		for i, record := range records {
			if err := p.markIngot(at.total+uint64(i), record); err != nil {
				return err
			}
		}
	}
	return nil
}

// prunedBefore tells whether no ingot of a pour is of a certificate whose ingots
// were kept before this call.
func (p *pruner) prunedBefore(first, count uint64) bool {
	n := p.opts.Profile.IngotsPerCertificate
	for serial := first/n + 1; serial <= (first+count-1)/n+1; serial++ {
		if serial > uint64(len(p.levels)) || p.list.Level(serial) != LevelCertificates {
			return false
		}
	}
	return true
}

// robotWork is a robot's work under a contract, of which ore is used in order of
// the reports.
type robotWork struct{ robot, contract string }

func (p *pruner) markIngot(number uint64, record []byte) error {
	g, err := proof.DecodeIngot(record)
	if err != nil {
		return err
	}
	full := p.level(number) == LevelFull
	gone := p.list.Level(number/p.opts.Profile.IngotsPerCertificate+1) != LevelFull
	for _, span := range g.Spans {
		rec, at, err := p.index.packs.find(Work, span.Report)
		if IsCode(err, CodeNotFound) && gone {
			continue
		}
		if err == nil {
			err = p.markSpan(rec, at, span, full)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (p *pruner) markSpan(rec Record, at place, span merkle.Span, full bool) error {
	report, err := reportIn(rec)
	if err != nil {
		return err
	}
	of := robotWork{report.Robot, report.Contract}
	p.begun[of] = max(p.begun[of], report.Seq)
	switch {
	case at.pack == nil: // in the journal, which is not touched
		return nil
	case full:
		p.needed.set(at)
		return nil
	}
	_, batch, err := p.index.packs.BatchOf(span.Report)
	if err != nil {
		return err
	}
	for _, e := range batch.Entries {
		if e.Report == span.Report && e.Ore == span.First+span.Count {
			p.spent.set(at)
		}
	}
	return nil
}

func reportIn(rec Record) (proof.Report, error) {
	env, err := seal.DecodeEnvelope(rec.Data)
	if err != nil {
		return proof.Report{}, err
	}
	return proof.DecodeReport(env.Payload)
}

// pruneMarks are bits for records of packs, by the slots of their indexes.
type pruneMarks map[merkle.Hash][]uint64

func (m pruneMarks) set(at place) {
	bits := m[at.pack.sum]
	if bits == nil {
		bits = make([]uint64, (at.pack.records+63)/64)
		m[at.pack.sum] = bits
	}
	bits[at.slot/64] |= 1 << (at.slot % 64)
}

func (m pruneMarks) has(p *pack, slot int) bool {
	bits := m[p.sum]
	return bits != nil && bits[slot/64]>>(slot%64)&1 == 1
}

// Temporary names: what is to take the place of a file, and what is being written.
const pruningSuffix = ".pruning"

// commit writes the list and exchanges the files. The replacements are on disk
// before the list names them, and the originals are removed after they are in
// their place: at any moment the directory is whole by the list that it has.
func (p *pruner) commit(chosen []serials) error {
	list := newPruned()
	if p.list != nil {
		var err error
		if list, err = ParsePruned(p.list.data); err != nil {
			return err
		}
	}
	for _, s := range chosen {
		if err := list.append(s.line()); err != nil {
			return err
		}
	}
	for _, g := range p.fresh {
		if err := list.append(g.line()); err != nil {
			return err
		}
	}
	tmp := filepath.Join(p.dir, PrunedFile+pruningSuffix)
	if err := writeFileSync(tmp, list.data); err != nil {
		return err
	}
	if err := syncDir(p.dir); err != nil {
		return err
	}
	if err := os.Rename(tmp, filepath.Join(p.dir, PrunedFile)); err != nil {
		return err
	}
	p.list = list
	return p.exchange()
}

// exchange brings the files into agreement with the list: replacements get their
// names, originals are removed, and so is what an interrupted call left. It may be
// repeated.
func (p *pruner) exchange() error {
	if err := syncDir(p.dir); err != nil {
		return err
	}
	for _, class := range Classes() {
		for seq, g := range p.list.Of(class) {
			if err := p.place(class, seq, g); err != nil {
				return err
			}
		}
	}
	if err := syncDir(p.dir); err != nil {
		return err
	}
	entries, err := os.ReadDir(p.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if class, seq, sum, ok := parsePackName(e.Name()); ok {
			g, pruned := p.list.Find(class, seq)
			if !pruned || sum == g.Kept {
				continue
			}
		} else if !strings.HasSuffix(e.Name(), pruningSuffix) {
			continue
		}
		if err := os.Remove(filepath.Join(p.dir, e.Name())); err != nil {
			return err
		}
	}
	return syncDir(p.dir)
}

func (p *pruner) place(class Class, seq uint64, g PrunedPack) error {
	if g.Kept.IsZero() {
		return nil
	}
	final := filepath.Join(p.dir, packName(class, seq, g.Kept))
	err := os.Rename(final+pruningSuffix, final)
	if errors.Is(err, fs.ErrNotExist) {
		if _, err = os.Stat(final); errors.Is(err, fs.ErrNotExist) {
			return &Error{Code: CodeMissing, File: "packs/" + packName(class, seq, g.Kept), Detail: "what was kept of a pruned pack is missing"}
		}
	}
	return err
}

// isPruning tells whether a file is one that an interrupted Prune left.
func isPruning(name string) bool {
	stem, ok := strings.CutSuffix(name, pruningSuffix)
	if !ok {
		return false
	}
	_, _, _, pack := parsePackName(stem)
	return pack || stem == PrunedFile || Class(stem).valid()
}

// decide returns, of two packs under one number, the one that the list says is
// kept; ok is false when it says nothing of them.
func (p *Pruned) decide(a, b *pack) (kept *pack, ok bool) {
	g, pruned := p.Find(a.class, a.seq)
	switch {
	case pruned && a.sum == g.Kept:
		return a, true
	case pruned && b.sum == g.Kept:
		return b, true
	}
	return nil, false
}

// original returns the digest by which the successor of a pack names it.
func (p *Pruned) original(k *pack) merkle.Hash {
	if g, ok := p.Find(k.class, k.seq); ok && g.Kept == k.sum {
		return g.Sum
	}
	return k.sum
}
