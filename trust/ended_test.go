package trust_test

import (
	"strings"
	"testing"

	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/proof/prooftest"
	"robotorq.org/reserve/seal"
	"robotorq.org/reserve/trust"
)

// renew submits the next charter, in which a signer has other keys and the old ones end now.
func (o *office) renew(name string) (fresh *seal.Signer) {
	o.t.Helper()
	var next *seal.Charter
	now := uint64(o.clock.Now().UnixMilli())
	o.With(func(r *proof.Registry) {
		all := r.Charters()
		latest := all[len(all)-1]
		next = latest.Next(latest.Digest, now)
	})
	old := o.reserve.Signers[name]
	for _, k := range old.Keys {
		o.must(next.EndKey(k.KeyID(), now))
	}
	fresh, err := seal.NewSigner(name, old.Role)
	o.must(err)
	next.Keys = append(next.Keys, fresh.PublicKeys(now)...)
	env, err := next.Sign(o.reserve.Signers[prooftest.Root])
	o.must(err)
	o.must(o.Submit(o.t.Context(), env))
	return fresh
}

func TestWhatALeakedRegistrarsKeySignsAfterItsEndIsRefusedHoweverItIsDated(t *testing.T) {
	o := newOffice(t)
	before, _ := o.version(o.draft("ada"), as("ada"))
	o.must(o.Submit(t.Context(), before))
	o.clock.move(genesis + 60_000)
	fresh := o.renew(prooftest.Registrar)
	for issued, want := range map[uint64]trust.Code{genesis + 60_000: trust.CodeRefused, genesis + 30_000: trust.CodeBadSignature} {
		env, _ := o.version(o.draft("eve"), func(e *seal.Enrolment) { as("eve")(e); e.IssuedMS = issued })
		if err := o.Submit(t.Context(), env); codeIn(err) != want {
			t.Errorf("dated %d: %v", issued, err)
		} else if want == trust.CodeBadSignature && !strings.Contains(err.Error(), "sign it again with the key that followed") {
			t.Error(err)
		}
	}
	o.must(o.Submit(t.Context(), before)) // what was admitted before stays
	o.reserve.Signers[prooftest.Registrar] = fresh
	env, _ := o.version(o.draft("eve"), as("eve"))
	o.must(o.Submit(t.Context(), env))
	o.restart()
}

func TestWhatALeakedTrustKeyInstructsAfterItsEndIsRefusedHoweverItIsDated(t *testing.T) {
	o := newOffice(t)
	c, err := o.Propose(t.Context(), o.proposal(terms("r1")))
	o.must(err)
	leaked := o.reserve.Signers[prooftest.Trust]
	o.clock.move(genesis + 60_000)
	fresh := o.renew(prooftest.Trust)
	back := o.instruction(c, proof.ActionCountersign, leaked, func(i *proof.Instruction) { i.Issued = genesis + 30_000 })
	if _, err := o.Instruct(t.Context(), back); codeIn(err) != trust.CodeBadSignature {
		t.Errorf("dated back: %v", err)
	}
	if _, err := o.Instruct(t.Context(), o.instruction(c, proof.ActionCountersign, fresh, nil)); err != nil {
		t.Error(err)
	}
}
