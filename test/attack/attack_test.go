// Package attack_test holds the attacks of the attack book that need robots and reports.
package attack_test

import (
	"testing"

	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/proof/prooftest"
	"robotorq.org/reserve/seal"
)

// work is 16 ore an ingot and 4 ingots a certificate: the whole of a contract.
const work = 64

// Two robots of one contract report 40 ore each of the 64 that are left, at the same time.
func race(t *testing.T) (r *prooftest.Reserve, contract string, one, two seal.Envelope, a, b *prooftest.Robot) {
	r = prooftest.New(t, prooftest.Tiny())
	a, b = r.Enrol("robot-1", 2, 2), r.Enrol("robot-2", 2, 2)
	c := r.Contract(work, a, b)
	return r, c.ID, a.Report(c.ID, a.Readings(10)), b.Report(c.ID, b.Readings(10)), a, b
}

func wantOre(t *testing.T, e proof.Entry, ore uint64, rule proof.Rule) {
	t.Helper()
	if e.Ore != ore || e.Rule != rule || rule == proof.WorkComplete && e.Carry != 0 {
		t.Errorf("%+v, want %d ore by rule %q", e, ore, rule)
	}
}

func wantWhole(t *testing.T, r *prooftest.Reserve) {
	t.Helper()
	r.Pour(10)
	if n := r.Mint(); n != 1 {
		t.Errorf("%d certificates are minted of a contract over one", n)
	}
	if s, err := r.Verify(); err != nil || s.Ore != work || s.Certificates != 1 {
		t.Errorf("%d ore in %d certificates: %v", s.Ore, s.Certificates, err)
	}
}

func TestAReportReachingTheWorkFromTwoRobotsAtOnceCountsOnlyTheRest(t *testing.T) {
	r, _, one, two, _, _ := race(t)
	entries := r.Dig(one, two).Reports
	wantOre(t, entries[0].Entry, 40, proof.Counted)
	wantOre(t, entries[1].Entry, work-40, proof.WorkComplete)
	wantWhole(t, r)
}

func TestTheSameInTheOtherOrderOrInTwoBatchesCountsTheSame(t *testing.T) {
	r, _, one, two, _, _ := race(t)
	wantOre(t, r.Dig(two).Reports[0].Entry, 40, proof.Counted)
	wantOre(t, r.Dig(one).Reports[0].Entry, work-40, proof.WorkComplete)
	wantWhole(t, r)
}

func TestTheLastOreIsNotDugAgainByWhoComesLate(t *testing.T) {
	r, contract, one, two, a, b := race(t)
	r.Dig(one, two)
	for _, late := range []*prooftest.Robot{a, b, a} {
		wantOre(t, r.Dig(late.Report(contract, late.Readings(10))).Reports[0].Entry, 0, proof.WorkComplete)
	}
	wantWhole(t, r)
}

// A digger that lets both reports count in full, so that two robots are paid for the same
// last ore, is stopped by the refinery and named.
func TestADiggerThatCountsTheLastOreTwiceIsStopped(t *testing.T) {
	r, _, one, two, _, _ := race(t)
	assay := r.Assay(prooftest.Digger)
	var reports []proof.Signed
	for _, env := range []seal.Envelope{one, two} {
		s, refusal := assay.Authenticate(env)
		if refusal != nil {
			t.Fatal(refusal)
		}
		reports = append(reports, s)
	}
	batch, reports, _, _, ok := assay.Seal(reports, r.Now+20_000)
	if !ok || len(reports) != 2 {
		t.Fatalf("%d reports in the batch", len(reports))
	}
	batch.Entries[1].Ore, batch.Entries[1].Rule = 40, proof.Counted
	_, err := r.Refined.CheckBatch(r.SignBatch(batch, reports), proof.CheckOptions{NowMS: r.Now + 20_000})
	if f := proof.AsFault(err); f == nil || f.Rule != string(proof.WorkComplete) {
		t.Errorf("the refinery says %v", err)
	}
}
