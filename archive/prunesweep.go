package archive

import (
	"bufio"
	"errors"
	"os"
	"path/filepath"
	"slices"

	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/seal"
)

// sweep decides what of a pack is kept, and writes what is to take its place.
func (p *pruner) sweep(k *pack) error {
	if g, ok := p.list.Find(k.class, k.seq); ok && g.Kept != k.sum {
		return nil // the original of one that is pruned; exchange removes it
	}
	f, err := os.Open(k.path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := k.load(f); err != nil {
		return err
	}
	keep, kept, err := p.keepers(k, f)
	if err != nil || kept == k.records {
		return err
	}
	gone := PrunedPack{Class: k.class, Seq: k.seq, Sum: p.list.original(k), Prev: k.prev, Bytes: uint64(k.size), Records: uint64(k.records)}
	p.result.Records += uint64(k.records - kept)
	size := int64(0)
	if kept == 0 {
		p.result.Dropped++
	} else {
		p.result.Rewritten++
		if gone.Kept, size, err = p.rewrite(k, f, keep); err != nil {
			return err
		}
	}
	p.result.Bytes += uint64(max(k.size-size, 0))
	p.fresh = append(p.fresh, gone)
	return nil
}

// keepers says of every record of a pack, in order, whether it is kept.
func (p *pruner) keepers(k *pack, f *os.File) (keep []bool, kept int, err error) {
	dec, err := newDecoder(1)
	if err != nil {
		return nil, 0, err
	}
	defer dec.Close()
	keep = make([]bool, 0, k.records)
	g := pruneGroup{pruner: p}
	for r, err := range k.all(f, dec) {
		if err != nil {
			return nil, 0, err
		}
		switch {
		case k.class == Ingots:
			stays, err := p.keepsIngots(r.Key)
			if err != nil {
				return nil, 0, err
			}
			keep = append(keep, stays)
		case isBatch(r.Record):
			if err := g.begin(r.Data, len(keep)); err != nil {
				return nil, 0, err
			}
			keep = append(keep, false)
		default:
			stays, err := g.keeps(k, f, r)
			if err != nil {
				return nil, 0, err
			}
			keep = append(keep, stays)
			keep[g.at] = keep[g.at] || stays
		}
	}
	for _, stays := range keep {
		if stays {
			kept++
		}
	}
	return keep, kept, nil
}

// pruneGroup is a batch with its reports.
type pruneGroup struct {
	*pruner
	at     int // number of the batch's record
	sealed uint64
	ore    map[merkle.Hash]uint64
}

func (g *pruneGroup) begin(data []byte, at int) error {
	env, err := seal.DecodeEnvelope(data)
	if err != nil {
		return err
	}
	b, err := proof.DecodeBatch(env.Payload)
	if err != nil {
		return err
	}
	g.at, g.sealed, g.ore = at, b.Sealed, make(map[merkle.Hash]uint64, len(b.Entries))
	for _, e := range b.Entries {
		g.ore[e.Report] = e.Ore
	}
	return nil
}

// keeps decides on a report: it stays while something needs it, or while it has
// ore that is in no ingot; one without ore stays as long as the work around it
// may. Ore of a robot and contract is used in order, so that a report is used up
// when a later one is begun.
func (g *pruneGroup) keeps(k *pack, f *os.File, r placed) (bool, error) {
	slots, found, err := k.find(f, r.Key)
	if err != nil {
		return false, err
	}
	i := slices.Index(found, r.indexed)
	switch {
	case i < 0, g.needed.has(k, slots[i]):
		return true, nil
	case g.ore[r.Key] == 0:
		return g.sealed >= g.limit, nil
	case g.spent.has(k, slots[i]):
		return false, nil
	}
	report, err := reportIn(r.Record)
	return report.Seq >= g.begun[robotWork{report.Robot, report.Contract}], err
}

// keepsIngots decides on the records of a pour: they stay while one of its ingots
// is of something above level certificates. Those of a pour that is not logged
// stay.
func (p *pruner) keepsIngots(pour merkle.Hash) (bool, error) {
	if p.byPour == nil {
		p.byPour = make(map[uint64]pouredRange, len(p.index.pours))
		for i, at := range p.index.pours {
			e, err := p.index.log.Entry(at.entry, p.index.scanned)
			if err != nil {
				return false, err
			}
			end := p.index.ingots
			if i+1 < len(p.index.pours) {
				end = p.index.pours[i+1].total
			}
			p.byPour[prefix(e.Digest)] = pouredRange{at.total, end}
		}
	}
	r, ok := p.byPour[prefix(pour)]
	if !ok {
		return true, nil
	}
	for i := r.first; i < r.end; i += p.opts.Profile.IngotsPerCertificate {
		if p.level(i) != LevelCertificates {
			return true, nil
		}
	}
	return p.level(r.end-1) != LevelCertificates, nil
}

// pouredRange are the numbers of a pour's ingots among all.
type pouredRange struct{ first, end uint64 }

// rewrite writes what is kept of a pack, under the name that it will have with the
// suffix of what is being pruned.
func (p *pruner) rewrite(k *pack, in *os.File, keep []bool) (sum merkle.Hash, size int64, err error) {
	if p.opts.DryRun {
		return merkle.Hash{}, k.size * int64(countTrue(keep)) / int64(len(keep)), nil
	}
	tmp := filepath.Join(p.dir, string(k.class)+pruningSuffix)
	out, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return merkle.Hash{}, 0, err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	buf := bufio.NewWriterSize(out, 64<<10)
	w, err := newPackWriter(buf, k.header, 128<<10)
	if err != nil {
		return merkle.Hash{}, 0, err
	}
	dec, err := newDecoder(1)
	if err != nil {
		return merkle.Hash{}, 0, err
	}
	defer dec.Close()
	i := 0
	for r, err := range k.all(in, dec) {
		if err == nil && keep[i] {
			err = w.add(r.Record)
		}
		if err != nil {
			return merkle.Hash{}, 0, err
		}
		i++
	}
	if sum, err = w.finish(); err != nil {
		return merkle.Hash{}, 0, err
	}
	if err := errors.Join(buf.Flush(), out.Sync()); err != nil {
		return merkle.Hash{}, 0, err
	}
	return sum, w.pos, os.Rename(tmp, filepath.Join(p.dir, packName(k.class, k.seq, sum)+pruningSuffix))
}

func countTrue(flags []bool) (n int) {
	for _, f := range flags {
		if f {
			n++
		}
	}
	return n
}
