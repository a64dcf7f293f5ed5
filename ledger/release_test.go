package ledger_test

import (
	"slices"
	"testing"

	"robotorq.org/reserve/ledger"
	"robotorq.org/reserve/policy"
)

// A dividend may cost one JT more than is due. It comes out of what falls due next, also
// when that belongs to a certificate in dispute: disto never falls below zero.
func TestWhatADividendTookAheadIsRepaidBeforeACertificateInDispute(t *testing.T) {
	r := newReserve(t, `{"min_members": 2, "genesis_growth": "0", "stake_target": 0}`)
	r.enrol("org:acme", "member:ada", "member:bob")
	terms := r.terms(1, 7_200_000, 0)
	terms.Duration = 10 * policy.Hour
	r.must(&ledger.Award{Terms: terms})
	r.must(&ledger.Fund{Contract: 1})
	r.mintOf(1)
	r.mintOf(1)
	r.advance(policy.Hour)
	if s := r.book.State(); s.Due != -1 || s.Disto != 6_479_999 {
		t.Fatalf("%d JT are due of %d in disto", s.Due, s.Disto)
	}
	r.must(&ledger.Recall{Serial: 1})
	r.must(&ledger.Recall{Serial: 2})
	r.advance(10 * policy.Hour)
	r.wants("disto", 0)
	if s := r.book.State(); s.Due != 0 || s.Recalled != 1 {
		t.Errorf("%d JT are due, %d certificates are recalled", s.Due, s.Recalled)
	}
	r.audited()
}

// A release tick is a multiple of release_every by the policy that holds at the tick, also
// when nothing is posted between the change and the tick.
func TestReleaseTicksAreThoseOfThePolicyThatHolds(t *testing.T) {
	const fields = `{"min_members": 2, "demurrage_per_year": "0", "genesis_growth": "0", "stake_target": 0, "notice": 0, "release_every": `
	for _, c := range []struct {
		before, after string
		mintAt        uint64 // minutes after the start
		want          []uint64
	}{
		{"3600000", "600000", 1, []uint64{40, 50, 60}},     // minted before the change at 35 minutes
		{"600000", "3600000", 1, []uint64{10, 20, 30, 60}}, // the other way round
		{"600000", "3600000", 50, []uint64{60}},            // minted after it: no tick lies before the minting
		{"3600000", "1200000", 50, []uint64{60}},           //
		{"1200000", "600000", 1, []uint64{20, 40, 50, 60}}, //
	} {
		r := newReserve(t, fields+c.before+"}")
		r.enrol("org:acme", "member:ada", "member:bob")
		first, err := policy.Decode(policyFile(t, fields+c.before+"}"))
		if err != nil {
			t.Fatal(err)
		}
		next, err := policy.Amend(first, []byte(`{"release_every": `+c.after+`}`))
		if err != nil {
			t.Fatal(err)
		}
		next.Version, next.Previous, next.Issued, next.Effective = 2, digestOf(&first), r.now, r.now+35*policy.Minute
		data, err := next.Encode()
		if err != nil {
			t.Fatal(err)
		}
		r.must(&ledger.Adopt{Document: data})
		terms := r.terms(1, 3_600_000, 0)
		terms.Duration = 5 * policy.Hour
		r.must(&ledger.Award{Terms: terms})
		r.must(&ledger.Fund{Contract: 1})
		r.now += c.mintAt * policy.Minute
		r.mintOf(1)
		r.advance(policy.Hour - c.mintAt*policy.Minute)
		var got []uint64
		last := uint64(0)
		for _, p := range r.postings {
			if p.Time < last {
				t.Errorf("%s is posted at %d, after one at %d", p.Key, p.Time, last)
			}
			if last = p.Time; p.Kind == ledger.KindRelease {
				got = append(got, (p.Time-start)/policy.Minute)
			}
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("every %s ms, from 35 minutes on %s: minted after %d minutes, released after %v, want %v", c.before, c.after, c.mintAt, got, c.want)
		}
		r.audited()
	}
}
