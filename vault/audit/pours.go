package audit

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"

	"robotorq.org/reserve/archive"
	"robotorq.org/reserve/policy"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/seal"
)

func decodeEnvelope(raw []byte) (seal.Envelope, error) {
	if len(raw) == 0 {
		return seal.Envelope{}, errors.New("there is none")
	}
	return seal.DecodeEnvelope(raw)
}

// countPours counts the ingots of every contract in the pours under the checkpoint, if
// anything depends on them: contracts that were closed early, or whose work is said to be
// accepted and is not minted. Records that were pruned are not counted.
func (a *auditor) countPours(ctx context.Context) (err error) {
	a.log.poured, a.log.sealed = map[uint64]uint64{}, map[string][]uint64{}
	if len(a.books.closed) == 0 && len(a.unminted()) == 0 {
		return nil
	}
	packs, err := archive.OpenReader(filepath.Join(a.dir, "packs"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, packs.Close()) }()
	for e, err := range archive.OpenLog(os.DirFS(filepath.Join(a.dir, "log"))).Entries(0, a.sum.Entries) {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
		if e.PayloadType != proof.TypePour {
			continue
		}
		if err := a.countPour(packs, e); err != nil {
			return err
		}
	}
	return nil
}

func (a *auditor) countPour(packs *archive.Reader, e archive.Entry) error {
	env, err := packs.Envelope(archive.Spine, e.Digest)
	if err != nil {
		return err
	}
	p, err := proof.DecodePour(env.Payload)
	if err != nil {
		return fault("pour "+e.Digest.String(), "form", "%v", err)
	}
	a.log.sealed[p.Refinery] = append(a.log.sealed[p.Refinery], p.Sealed)
	records, err := packs.RecordsOf(e.Digest, p)
	if archive.IsCode(err, archive.CodeNotFound) {
		a.log.prunedPours++
		return nil
	}
	if err != nil {
		return err
	}
	for _, record := range records {
		g, err := proof.DecodeIngot(record)
		if err != nil {
			return fault("ingot of pour "+e.Digest.String(), "form", "%v", err)
		}
		if _, number, err := proof.ParseContractID(g.Contract); err == nil {
			a.log.poured[number]++
		}
	}
	return nil
}

// acceptLag is for how long a refinery may be at work after the word that all work of a
// contract is accepted before it pours its last ingot. While nothing is poured, as while
// the refinery is away, no time passes but awayAfter.
const (
	acceptLag = policy.Day
	awayAfter = policy.Hour
)

// worked is how long a refinery was at work after a time, by its pours.
func (a *auditor) worked(refinery string, since uint64) (ms uint64) {
	last := since
	for _, sealed := range a.log.sealed[refinery] {
		if sealed > last {
			ms += min(sealed-last, awayAfter)
			last = sealed
		}
	}
	return ms
}

// unminted lists the contracts whose work was said to be accepted so long ago that all of
// it may have to be poured, and of which certificates do not hold all.
func (a *auditor) unminted() (numbers []uint64) {
	for number, said := range a.books.accepted {
		t := a.books.tallies[number]
		if t != nil && t.minted < t.terms.Work && a.books.last.Time > said.time+acceptLag {
			numbers = append(numbers, number)
		}
	}
	slices.Sort(numbers)
	return numbers
}

// checkAccepted compares the word that all work of a contract is accepted, which frees its
// robots, with what was poured of it: W is whole ingots, so all of it is.
func (a *auditor) checkAccepted() error {
	for _, number := range a.unminted() {
		t, poured := a.books.tallies[number], a.log.poured[number]*a.opts.Profile.OrePerIngot
		if a.log.prunedPours > 0 {
			poured += t.minted // some of which may be counted twice: what is pruned is minted
		}
		said := a.books.accepted[number]
		if poured < t.terms.Work && a.worked(a.log.refineries[number], said.time) > acceptLag {
			return postingFault(said.seq, "accepted", "says at %d that all %d ore of contract %d are accepted; the log's pours hold %d", said.time, t.terms.Work, number, poured)
		}
	}
	return nil
}
