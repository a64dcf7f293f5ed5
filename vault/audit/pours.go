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
	a.log.poured = map[uint64]uint64{}
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
	records, err := packs.Records(e.Digest)
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

// acceptLag is how long after the word that all work of a contract is accepted its last
// ingot may be poured: the refinery may have been away.
const acceptLag = policy.Day

// unminted lists the contracts whose work was said to be accepted so long ago that all of
// it must be poured, and of which certificates do not hold all.
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
		if poured < t.terms.Work {
			said := a.books.accepted[number]
			return postingFault(said.seq, "accepted", "says at %d that all %d ore of contract %d are accepted; the log's pours hold %d", said.time, t.terms.Work, number, poured)
		}
	}
	return nil
}
